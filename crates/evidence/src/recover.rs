//! Opening a case that exists: what was published is checked, what was written after it is brought in, the rest kept aside.
//!
//! Enters: a case folder after any crash; leaves: the log, its segments, the open segment to go on with, and the gaps
//! to be logged. Nothing that could be evidence is deleted. A torn tail is told from damage: if a valid commit frame
//! follows the first bad byte, the case is refused. Deliberately absent: creation, the lock.

use std::sync::Arc;

use sha2::Digest as _;
use truename_model::{Nanos, Sha256 as Digest};

use crate::entry::{FileRef, GapCause, GapEntry, LogEntry};
use crate::error::{Error, Result};
use crate::folder::{Folder, Listed};
use crate::frame::{Frame, Kind};
use crate::inventory::{self, KEPT, MANIFEST, expected};
use crate::log::{Log, Published};
use crate::merkle;
use crate::note::Vkey;
use crate::pipeline::{OpenFile, Sealed, at_end, manifest_of};
use crate::problem::Problem;
use crate::reader::{Contents, Segment, load_footer};
use crate::segment::{self, BlockReader, Header, ScanEnd, Tree};

/// A recovered case.
pub(crate) struct Recovered {
    pub(crate) log: Log,
    pub(crate) contents: Contents,
    pub(crate) segments: Vec<Segment>,
    pub(crate) open: Option<(Header, Tree, OpenFile)>,
    pub(crate) gaps: Vec<GapEntry>,
}

/// Bring a case back to a state from which it can go on.
pub(crate) fn recover(
    folder: &Arc<Folder>,
    published: &Published,
    vkey: &Vkey,
    time: Nanos,
) -> Result<Recovered> {
    let contents = Contents::read(&published.entries)?;
    if contents.key.origin != published.checkpoint.origin || contents.key.vkey != vkey.to_string() {
        let problem = Problem::file("tile/entries (entry 0)", format!("the key {vkey}"), "another key");
        return Err(Error::integrity(problem));
    }
    let mut log = Log::resume(published)?;
    let mut listing = Listing::read(folder, published, &contents)?;
    let mut segments = Vec::new();
    for (index, manifest) in &contents.manifests {
        let footer = Arc::new(load_footer(folder, manifest)?);
        segments.push(Segment { manifest: manifest.clone(), footer, index: *index });
    }
    let mut work = Recovered { log: Log::new(""), contents, segments, open: None, gaps: Vec::new() };
    for _ in 0..listing.unlogged {
        adopt_sealed(folder, &mut log, &mut work)?;
    }
    let mut broken = false;
    for number in listing.open.clone() {
        if broken {
            // A segment before it is not whole (power was lost), so this one has no place; its items are read again.
            let name = segment::open_name(number);
            let digest = inventory::digest(folder, &name)?.sha256.to_string();
            let kept = format!("quarantine/{number:08}-0-{}.bin", &digest[..16]);
            folder.move_to(&name, &kept)?;
            listing.quarantined.push(kept);
        } else {
            broken = !open_tail(folder, &mut log, &mut work, time, &mut listing)?;
        }
    }
    work.log = log;
    set_aside(folder, &listing, &mut work, time)?;
    KEPT.iter().try_for_each(|name| folder.remove_empty(name))?;
    Ok(work)
}

/// What lies in the folder beyond what the log names.
struct Listing {
    /// Sealed segments without a manifest, directly after the logged ones.
    unlogged: u64,
    /// Segments after them that were not yet sealed.
    open: Vec<u64>,
    /// Quarantined files without a gap entry.
    quarantined: Vec<String>,
    /// Originals without a custody entry.
    originals: Vec<String>,
}

impl Listing {
    /// Sorts the files of the folder. Unpublished tiles and temporary files are removed; unknown files are refused.
    fn read(folder: &Folder, published: &Published, contents: &Contents) -> Result<Self> {
        let expected = expected(published.checkpoint.size, published.entries.iter());
        let files = folder.list()?;
        let first = contents.manifests.len() as u64;
        let has = |name: &str| files.iter().any(|file| file.name == name);
        for (name, stated) in &expected {
            let found = files.iter().find(|file| file.name == *name);
            check_presence(name, stated.as_ref(), found)?;
        }
        let unlogged = (first..).take_while(|n| has(&segment::sealed_name(*n))).count() as u64;
        let open: Vec<u64> = (first + unlogged..).take_while(|n| has(&segment::open_name(*n))).collect();
        let open_names: Vec<String> = open.iter().map(|n| segment::open_name(*n)).collect();
        let mut out = Self { unlogged, open, quarantined: Vec::new(), originals: Vec::new() };
        for file in files.iter().filter(|file| !expected.contains_key(&file.name) && file.name != MANIFEST) {
            let name = &file.name;
            let is_next = (first..first + unlogged).any(|n| segment::sealed_name(n) == *name);
            if !file.regular {
                let problem = Problem::file(name, "no such file", "something that is no regular file");
                return Err(Error::integrity(problem));
            } else if open_names.contains(name) {
                continue;
            } else if name.starts_with("tile/") || name.ends_with(".tmp") {
                folder.remove_if_any(name)?;
            } else if name.starts_with("quarantine/") {
                out.quarantined.push(name.clone());
            } else if name.starts_with("originals/") {
                out.originals.push(name.clone());
            } else if !is_next {
                let problem = Problem::file(name, "no such file", "a file that the log does not name");
                return Err(Error::integrity(problem));
            }
        }
        Ok(out)
    }
}

fn check_presence(name: &str, stated: Option<&FileRef>, found: Option<&Listed>) -> Result<()> {
    let Some(found) = found.filter(|file| file.regular) else {
        return Err(Error::integrity(Problem::file(name, "a regular file", "no such file")));
    };
    match stated {
        Some(stated) if stated.size != found.size => {
            let (expected, found) = (format!("{} bytes", stated.size), format!("{} bytes", found.size));
            Err(Error::integrity(Problem::file(name, expected, found)))
        }
        _ => Ok(()),
    }
}

/// Log entries journalled in a segment: those not yet published are appended, the others must be the published ones.
fn replay(log: &mut Log, contents: &mut Contents, name: &str, frame: &Frame<'_>) -> Result<()> {
    if frame.kind != Kind::Entry {
        return Ok(());
    }
    let bad = |found: &str| {
        let expected = format!("entry {} of the log", frame.ordinal);
        Error::integrity(Problem::file(name, expected, found))
    };
    if frame.ordinal < log.next_index() {
        let same = log.leaf(frame.ordinal) == Some(merkle::leaf_hash(frame.bytes));
        return if same { Ok(()) } else { Err(bad("another entry")) };
    }
    let entry = LogEntry::parse(frame.bytes).ok_or_else(|| bad("no log entry"))?;
    if frame.ordinal != log.next_index() {
        return Err(bad("an entry after a missing one"));
    }
    contents.add(frame.ordinal, entry).map_err(|expected| bad(&format!("not {expected}")))?;
    log.append(frame.bytes.to_vec());
    Ok(())
}

/// Takes in a sealed segment whose manifest was not logged.
fn adopt_sealed(folder: &Folder, log: &mut Log, work: &mut Recovered) -> Result<()> {
    let number = work.segments.len() as u64;
    let name = segment::sealed_name(number);
    let mut reader = BlockReader::new()?;
    let mut take = |frame: &Frame<'_>| replay(log, &mut work.contents, &name, frame);
    segment::check(folder, &name, &mut reader, Some(&mut take))?;
    let Sealed { index, manifest, footer } = manifest_of(folder, number, log.next_index(), &mut reader)?;
    let entry = LogEntry::Segment(manifest.clone());
    log.append(entry.to_bytes()?);
    let bad = |expected: String| Error::integrity(Problem::file(&name, expected, "another segment"));
    work.contents.add(index, entry).map_err(bad)?;
    work.segments.push(Segment { manifest, footer: Arc::new(footer), index });
    Ok(())
}

/// Goes on with a segment that was not sealed. True if it turns out to be whole, so that another may follow it.
fn open_tail(
    folder: &Folder,
    log: &mut Log,
    work: &mut Recovered,
    time: Nanos,
    listing: &mut Listing,
) -> Result<bool> {
    let number = work.segments.len() as u64;
    let name = segment::open_name(number);
    let mut reader = BlockReader::new()?;
    let mut take = |frame: &Frame<'_>| replay(log, &mut work.contents, &name, frame);
    let mut scan = segment::scan(folder, &name, &mut reader, Some(&mut take))?;
    let fits = scan.header.is_none_or(|header| {
        let last = work.segments.last();
        header.number == number
            && header.origin == segment::origin_hash(log.origin())
            && header.first_leaf
                == last.map_or(0, |s| s.manifest.first_leaf.saturating_add(s.manifest.leaves))
            && header.previous == last.map_or([0; 32], |s| s.manifest.root.0)
    });
    if !fits {
        let problem = Problem::at(&name, 0, "the header of this segment of this case", "another one");
        return Err(Error::integrity(problem));
    }
    if scan.end == ScanEnd::Footer && segment::check(folder, &name, &mut reader, None).is_ok() {
        // The crash came between the footer and the rename: the segment is whole.
        folder.rename(&name, &segment::sealed_name(number))?;
        return adopt_sealed(folder, log, work).map(|()| true);
    }
    let valid = if scan.header.is_some() { scan.layout.offset } else { 0 };
    let torn = scan.size - valid;
    if let Some(at) = segment::commit_follows(folder, &name, valid)? {
        let expected = format!(
            "a block with its commit frame (a valid commit frame follows at byte {at}, so \
                                this is no torn tail)"
        );
        return Err(Error::integrity(Problem::at(&name, valid, expected, "something else")));
    }
    if torn > 0 {
        let file = quarantine(folder, &name, number, valid)?;
        if !listing.quarantined.contains(&file) {
            listing.quarantined.push(file);
        }
    }
    if torn == 0 {
        work.gaps.push(GapEntry {
            cause: GapCause::UncleanStop,
            item: None,
            records: 0,
            detail: format!("an earlier run stopped without closing segment {number}; no torn bytes"),
            quarantine: None,
            time,
        });
    }
    let Some(header) = scan.header else {
        folder.remove_if_any(&name)?;
        return Ok(false);
    };
    let path = folder.path_of(&name);
    let file = folder.file_rw(&name)?;
    if torn > 0 {
        folder.truncate(&file, &name, valid)?;
    }
    segment::reposition(&mut scan.tree, &header.seed);
    let file = at_end(file, valid, &path)?;
    work.open = Some((header, scan.tree, OpenFile { number, file, layout: scan.layout }));
    Ok(false)
}

/// Copies the bytes after the last valid block aside, durably, before they are cut off.
fn quarantine(folder: &Folder, name: &str, number: u64, valid: u64) -> Result<String> {
    use std::os::unix::fs::FileExt as _;
    let path = folder.path_of(name);
    let file = folder.file(name)?;
    let size = file.metadata().map_err(Error::io("read", &path))?.len();
    let mut bytes = vec![0u8; usize::try_from(size - valid).unwrap_or(0)];
    file.read_exact_at(&mut bytes, valid).map_err(Error::io("read", &path))?;
    let digest = Digest(sha2::Sha256::digest(&bytes).into()).to_string();
    // The digest in the name lets two tails torn at one place stand side by side.
    let kept = format!("quarantine/{number:08}-{valid}-{}.bin", &digest[..16]);
    folder.write_atomic(&kept, &bytes)?;
    Ok(kept)
}

/// Every file kept aside gets a gap entry; originals without custody are moved aside first.
fn set_aside(folder: &Folder, listing: &Listing, work: &mut Recovered, time: Nanos) -> Result<()> {
    let pending = |name: &str, work: &Recovered| {
        let gaps = work.contents.gaps.iter().filter_map(|(_, gap)| gap.quarantine.as_ref());
        let kept = work.contents.items.iter().filter(|item| item.begin.original_kept);
        gaps.map(|file| file.file.clone())
            .chain(kept.map(|item| {
                let begin = &item.begin;
                inventory::original_name(&begin.layers.first().map_or(begin.sha256, |l| l.sha256))
            }))
            .any(|known| known == name)
    };
    let mut kept = listing.quarantined.clone();
    for name in &listing.originals {
        if pending(name, work) {
            continue;
        }
        let moved = format!("quarantine/original-{}.bin", name.trim_start_matches("originals/"));
        folder.move_to(name, &moved)?;
        kept.push(moved);
    }
    for name in kept {
        if pending(&name, work) {
            continue;
        }
        let file = inventory::digest(folder, &name)?;
        work.gaps.push(GapEntry {
            cause: GapCause::UncleanStop,
            item: None,
            records: 0,
            detail: "an earlier run stopped while writing; what it left behind is kept aside".to_owned(),
            quarantine: Some(file),
            time,
        });
    }
    Ok(())
}
