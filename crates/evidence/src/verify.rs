//! Offline verification of a case: every file, every leaf, every count, against the signed checkpoint.
//!
//! Enters: a case folder (hostile), perhaps a pinned key and a receipt; leaves: what was found, each deviation with
//! file, place and what it should have been. Memory is bounded by one segment's index and the entries of the log.
//! Deliberately absent: writing, locks, repair.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use truename_model::Sha256 as Digest;

use crate::entry::{LogEntry, SegmentManifest};
use crate::error::{Error, Result};
use crate::folder::{Folder, Listed};
use crate::frame::{Frame, Kind};
use crate::inventory::{self, Inventory, MANIFEST};
use crate::key::OPERATOR;
use crate::log::{CHECKPOINT, MAX_BUNDLE, read_entries};
use crate::merkle::{self, CompactRange, Hash};
use crate::note::{self, Checkpoint, MAX_NOTE, Vkey, base64};
use crate::problem::{Problem, shown};
use crate::reader::{Contents, Item};
use crate::receipt::Receipt;
use crate::segment::{self, BlockReader, origin_hash};
use crate::tiles;

/// Most problems that are listed.
const MAX_PROBLEMS: usize = 1000;

/// Whether the key that signs the log is the expected one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinning {
    /// The key was given from outside (`--vkey` or `--receipt`).
    Pinned,
    /// The key was taken from the case itself.
    Unpinned,
}

/// What a receipt showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptCheck {
    /// None was given: an older state of the whole folder could not be told from the newest.
    NotGiven,
    /// The log is what the receipt says.
    Same,
    /// The log extends what the receipt says by this many entries.
    Extends(u64),
    /// It contradicts the receipt; the problems say how.
    Contradicts,
    /// One was given, and there is no checkpoint to compare it with.
    NotCompared,
}

/// Result of a verification.
#[derive(Clone, Debug)]
pub struct VerifyReport {
    /// Deviations; empty means intact.
    pub problems: Vec<Problem>,
    /// Deviations beyond those listed.
    pub problems_omitted: u64,
    /// Whether the key was given from outside.
    pub pinning: Pinning,
    /// What the receipt showed.
    pub receipt: ReceiptCheck,
    /// The checkpoint, if it could be read.
    pub checkpoint: Option<Checkpoint>,
    /// The key that was used.
    pub vkey: Option<Vkey>,
    /// Items, segments, records and leaves seen.
    pub items: u64,
    /// Sealed segments.
    pub segments: u64,
    /// Records written to their end.
    pub records: u64,
    /// Leaves.
    pub leaves: u64,
    /// Gap entries.
    pub gaps: u64,
    /// Records lost or not kept, by the entries.
    pub lost: u64,
    /// Items in custody without an end (an unfinished run).
    pub unfinished: u64,
}

impl VerifyReport {
    /// True if nothing deviates.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.problems.is_empty() && self.problems_omitted == 0
    }

    /// The answer in one line.
    #[must_use]
    pub fn verdict(&self) -> String {
        match (self.is_intact(), self.pinning) {
            (true, Pinning::Pinned) => "intact, key pinned".to_owned(),
            (true, Pinning::Unpinned) => {
                "intact, key unpinned (whoever holds the case could have re-signed it)".to_owned()
            }
            (false, _) => {
                let count = self.problems.len() as u64 + self.problems_omitted;
                format!("NOT intact: {count} problem{}", if count == 1 { "" } else { "s" })
            }
        }
    }

    /// What the receipt showed, in one line.
    #[must_use]
    pub fn receipt_line(&self) -> String {
        match self.receipt {
            ReceiptCheck::NotGiven => {
                "no receipt given: whether the case was rolled back to an older state, it cannot know"
                    .to_owned()
            }
            ReceiptCheck::Same => "the log is the one that the receipt names".to_owned(),
            ReceiptCheck::Extends(n) => {
                format!("the log extends the one that the receipt names by {n} entries")
            }
            ReceiptCheck::Contradicts => "the log contradicts the receipt".to_owned(),
            ReceiptCheck::NotCompared => {
                "the receipt has nothing to be compared with: the case has no checkpoint that can be read"
                    .to_owned()
            }
        }
    }

    fn new(receipt: Option<&Receipt>) -> Self {
        Self {
            problems: Vec::new(),
            problems_omitted: 0,
            pinning: Pinning::Unpinned,
            receipt: if receipt.is_some() { ReceiptCheck::NotCompared } else { ReceiptCheck::NotGiven },
            checkpoint: None,
            vkey: None,
            items: 0,
            segments: 0,
            records: 0,
            leaves: 0,
            gaps: 0,
            lost: 0,
            unfinished: 0,
        }
    }

    fn add(&mut self, problem: Problem) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.problems_omitted += 1;
        }
    }

    /// Notes an integrity error; passes on errors of the machine.
    fn note<T>(&mut self, name: &str, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::Integrity(problem)) => {
                self.add(problem);
                Ok(None)
            }
            Err(Error::Io { source, .. }) if is_content(&source) => {
                let found = match source.kind() {
                    std::io::ErrorKind::NotFound => "no such file".to_owned(),
                    _ => source.to_string(),
                };
                self.add(Problem::file(name, "a regular file", found));
                Ok(None)
            }
            Err(Error::Refused(found)) => {
                self.add(Problem::file(name, "what a case folder may hold", shown(&found)));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Errors of opening that say something about the folder, not about the machine.
fn is_content(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    let link = rustix::io::Errno::LOOP.raw_os_error();
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::UnexpectedEof)
        || error.raw_os_error() == Some(link)
        || error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error())
}

/// Verifies a case folder offline.
///
/// `vkey` pins the key: either the key of this case or the operator's key (named `truename`). `receipt` pins the key
/// and a state of the log: a rollback to an older prefix and a diverging log are then found.
///
/// # Errors
/// Only errors of the machine; everything about the evidence is in the report.
pub fn verify(dir: &Path, vkey: Option<&Vkey>, receipt: Option<&Receipt>) -> Result<VerifyReport> {
    let mut report = VerifyReport::new(receipt);
    let folder = Folder::open(dir)?;
    let Some(folder) = report.note("evidence", folder.child("evidence"))? else { return Ok(report) };
    let (files, empty) = folder.list_all()?;
    let files: BTreeMap<String, Listed> = files.into_iter().map(|file| (file.name.clone(), file)).collect();
    let Some(bytes) = report.note(CHECKPOINT, folder.read(CHECKPOINT, MAX_NOTE as u64))? else {
        check_unlisted(&mut report, &files, &Inventory::new());
        return Ok(report);
    };
    let pins: Vec<&Vkey> = vkey.into_iter().chain(receipt.map(|r| &r.vkey)).collect();
    let named = named_key(&folder, &files);
    let trust = check_signature(&mut report, &bytes, &pins, named.as_ref());
    let size = match &trust {
        Trust::Signed(checkpoint) | Trust::NoKey(checkpoint) => checkpoint.size,
        Trust::None => size_on_disk(&files),
    };
    let log = read_log(&mut report, &folder, size, trust)?;
    check_origin(&mut report, &log, &bytes);
    check_receipt(&mut report, &log, receipt);
    check_tiles(&mut report, &folder, &log)?;
    let mut tally = Tally::new(&log);
    check_segments(&mut report, &folder, &log, &mut tally)?;
    tally.check(&mut report, &log);
    let inventory = inventory::expected(log.leaves.len() as u64, log.entries.iter());
    check_files(&mut report, &folder, &files, &inventory)?;
    let concluded = matches!(log.entries.last(), Some(LogEntry::Conclusion(_)));
    for name in empty.iter().filter(|name| !inventory::may_be_empty(name, &inventory, concluded)) {
        report.add(Problem::file(name, "no such folder", "an empty folder that the log has no use for"));
    }
    Ok(report)
}

/// What can be said of the checkpoint before the entries are read.
enum Trust {
    /// Every key that is known has signed it.
    Signed(Checkpoint),
    /// No key is known: the first entry cannot be read and none was given.
    NoKey(Checkpoint),
    /// It is malformed, or a known key has not signed it.
    None,
}

impl Trust {
    fn checkpoint(&self) -> Option<&Checkpoint> {
        match self {
            Self::Signed(checkpoint) | Self::NoKey(checkpoint) => Some(checkpoint),
            Self::None => None,
        }
    }
}

/// The log as the bundles hold it.
struct ReadLog {
    trust: Trust,
    /// Hashes of the entries, as the signed root demands them where that can be told.
    leaves: Vec<Hash>,
    entries: Vec<LogEntry>,
    contents: Contents,
}

/// The key that the first entry names, whatever the checkpoint says about the size.
fn named_key(folder: &Folder, files: &BTreeMap<String, Listed>) -> Option<Vkey> {
    let name = files.keys().find(|name| name.starts_with("tile/entries/000"))?;
    let bytes = folder.read(name, 1 << 24).ok()?;
    let len = usize::from(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]));
    match LogEntry::parse(bytes.get(2..len + 2)?)? {
        LogEntry::Key(key) => Vkey::parse(&key.vkey).filter(|vkey| vkey.name() == key.origin),
        _ => None,
    }
}

/// Size of the log by the names of its bundles; used only if the checkpoint cannot be trusted.
fn size_on_disk(files: &BTreeMap<String, Listed>) -> u64 {
    let size = |name: &str| {
        let rest = name.strip_prefix("tile/entries/")?;
        let (index, width) = rest.split_once(".p/").unwrap_or((rest, "256"));
        let digits: String = index.chars().filter(char::is_ascii_digit).collect();
        let (index, width): (u64, u64) = (digits.parse().ok()?, width.parse().ok()?);
        index.checked_mul(256)?.checked_add(width).filter(|size| *size <= tiles::MAX_ENTRIES)
    };
    files.keys().filter_map(|name| size(name)).max().unwrap_or(0)
}

/// Checks who signed the checkpoint: every pinned key, and the key that the log names itself.
fn check_signature(report: &mut VerifyReport, note: &[u8], pins: &[&Vkey], named: Option<&Vkey>) -> Trust {
    report.pinning = if pins.is_empty() { Pinning::Unpinned } else { Pinning::Pinned };
    let checkpoint = note::unverified_text(note).and_then(Checkpoint::parse);
    let Some(checkpoint) = checkpoint else {
        report.add(Problem::file(CHECKPOINT, "a signed note of origin, size and root", "something else"));
        return Trust::None;
    };
    let before = report.problems.len();
    for pin in pins.iter().filter(|pin| pin.name() != checkpoint.origin && pin.name() != OPERATOR) {
        report.add(Problem::at(
            CHECKPOINT,
            0,
            format!("the origin {}", pin.name()),
            checkpoint.origin.clone(),
        ));
    }
    for key in pins.iter().copied().chain(named) {
        let Some(key) = key.renamed(&checkpoint.origin) else { continue };
        if let Err(error) = note::open(note, &key) {
            report.add(Problem::file(CHECKPOINT, format!("a signature by {key}"), error.to_string()));
        }
        report.vkey.get_or_insert(key);
    }
    // One signature, in the one spelling that this program writes: nothing can hide in the file.
    if note.iter().filter(|b| **b == b'\n').count() != 5 {
        report.add(Problem::file(CHECKPOINT, "three lines, a blank one and one signature", "another form"));
    }
    report.checkpoint = Some(checkpoint.clone());
    match (report.problems.len() == before, &report.vkey) {
        (true, Some(_)) => Trust::Signed(checkpoint),
        (true, None) => {
            report.add(Problem::file(
                "tile/entries (entry 0)",
                "the key of the log",
                "none that can be read",
            ));
            Trust::NoKey(checkpoint)
        }
        (false, _) => Trust::None,
    }
}

/// Reads `size` entries. If they do not have the signed root, the stored leaf hashes say which of them is at fault.
fn read_log(report: &mut VerifyReport, folder: &Folder, size: u64, trust: Trust) -> Result<ReadLog> {
    let mut log = ReadLog { trust, leaves: Vec::new(), entries: Vec::new(), contents: Contents::default() };
    let (mut range, mut found, mut offsets) = (CompactRange::default(), Vec::new(), Vec::new());
    let read = read_entries(folder, size, |index, name, offset, bytes| {
        let leaf = merkle::leaf_hash(bytes);
        range.push(leaf);
        log.leaves.push(leaf);
        offsets.push(offset);
        let Some(entry) = LogEntry::parse(bytes) else {
            let expected = format!("log entry {index} in its canonical form");
            found.push(Problem::at(name, offset, expected, "something else"));
            return Ok(());
        };
        if let Err(expected) = log.contents.add(index, entry.clone()) {
            found.push(Problem::at(name, offset, expected, format!("another entry {index}")));
        }
        log.entries.push(entry);
        Ok(())
    });
    let whole = report.note("tile/entries", read)?.is_some();
    let wrong = log.trust.checkpoint().filter(|checkpoint| whole && checkpoint.root != range.root());
    if let Some(root) = wrong.map(|checkpoint| checkpoint.root) {
        match stored_leaves(folder, size).filter(|stored| merkle::root(stored) == root) {
            Some(stored) => {
                blame_entries(report, &stored, &log.leaves, &offsets);
                log.leaves = stored;
            }
            None => {
                let expected = format!("entries with the signed root {}", base64(&root));
                report.add(Problem::file("tile/entries", expected, base64(&range.root())));
            }
        }
    }
    found.into_iter().for_each(|problem| report.add(problem));
    report.items = log.contents.items.len() as u64;
    report.gaps = log.contents.gaps.len() as u64;
    Ok(log)
}

/// Leaf hashes as the tiles of level 0 hold them.
fn stored_leaves(folder: &Folder, size: u64) -> Option<Vec<Hash>> {
    let mut out = Vec::new();
    for tile in tiles::files(size).into_iter().filter(|tile| tile.level == Some(0)) {
        let bytes = folder.read(&tile.name(), 1 << 16).ok()?;
        out.extend(bytes.chunks_exact(32).filter_map(|hash| Hash::try_from(hash).ok()));
    }
    (out.len() as u64 == size).then_some(out)
}

fn blame_entries(report: &mut VerifyReport, stored: &[Hash], found: &[Hash], offsets: &[u64]) {
    let size = stored.len() as u64;
    let bundles: Vec<String> =
        tiles::files(size).iter().filter(|tile| tile.level.is_none()).map(tiles::Tile::name).collect();
    for (index, (want, have)) in stored.iter().zip(found).enumerate().filter(|(_, (a, b))| a != b) {
        let name = bundles.get(index / tiles::WIDTH as usize).map_or("tile/entries", String::as_str);
        let expected = format!("entry {index} with the leaf hash {}", base64(want));
        let offset = offsets.get(index).copied().unwrap_or(0);
        report.add(Problem::at(name, offset, expected, base64(have)));
    }
}

/// The first entry names origin and key; a checkpoint that is not signed is compared with what the entries demand.
fn check_origin(report: &mut VerifyReport, log: &ReadLog, note: &[u8]) {
    let key = &log.contents.key;
    match &log.trust {
        Trust::NoKey(_) => {}
        Trust::Signed(checkpoint) => {
            let named = Vkey::parse(&key.vkey).map(|vkey| vkey.name().to_owned());
            if key.origin != checkpoint.origin || named.as_ref() != Some(&checkpoint.origin) {
                let expected = format!("the origin {} and its key", checkpoint.origin);
                report.add(Problem::file("tile/entries (entry 0)", expected, key.origin.clone()));
            }
        }
        Trust::None => {
            let (size, root) = (log.leaves.len() as u64, merkle::root(&log.leaves));
            let expected = Checkpoint { origin: key.origin.clone(), size, root }.body();
            if !note.starts_with(expected.as_bytes()) {
                report.add(Problem::difference(CHECKPOINT, expected.as_bytes(), note));
            }
        }
    }
}

fn check_receipt(report: &mut VerifyReport, log: &ReadLog, receipt: Option<&Receipt>) {
    let (Some(receipt), Some(checkpoint)) = (receipt, log.trust.checkpoint()) else {
        if receipt.is_some() && report.checkpoint.is_some() {
            report.receipt = ReceiptCheck::Contradicts;
        }
        return;
    };
    let want = &receipt.checkpoint;
    let have = log.leaves.len() as u64;
    let problem = if want.origin != checkpoint.origin {
        Some((format!("the origin {} of the receipt", want.origin), checkpoint.origin.clone()))
    } else if want.size > checkpoint.size.min(have) {
        let found = format!("{} entries: the log was rolled back or cut", checkpoint.size.min(have));
        Some((format!("at least the {} entries of the receipt", want.size), found))
    } else {
        let root = merkle::root(&log.leaves[..usize::try_from(want.size).unwrap_or(0)]);
        (root != want.root).then(|| {
            let expected = format!("the root {} at size {} of the receipt", base64(&want.root), want.size);
            (expected, format!("{}: the log diverges from the one of the receipt", base64(&root)))
        })
    };
    report.receipt = match problem {
        Some((expected, found)) => {
            report.add(Problem::file(CHECKPOINT, expected, found));
            ReceiptCheck::Contradicts
        }
        None if want.size == checkpoint.size => ReceiptCheck::Same,
        None => ReceiptCheck::Extends(checkpoint.size - want.size),
    };
}

/// Hash tiles are recomputed from the entries and compared byte by byte.
fn check_tiles(report: &mut VerifyReport, folder: &Folder, log: &ReadLog) -> Result<()> {
    for tile in tiles::files(log.leaves.len() as u64).into_iter().filter(|tile| tile.level.is_some()) {
        let name = tile.name();
        let expected = tile.hashes(&log.leaves);
        let Some(found) = report.note(&name, folder.read(&name, 1 << 16))? else { continue };
        if found != expected {
            report.add(Problem::difference(&name, &expected, &found));
        }
    }
    Ok(())
}

/// Counts of one item over all segments.
struct Tally<'a> {
    items: Vec<(&'a Item, Item)>,
    /// Frames of items that the log does not know.
    strangers: BTreeSet<u32>,
    /// Journalled entries that are not the entries of the log.
    misfits: Vec<(String, u64)>,
}

impl<'a> Tally<'a> {
    fn new(log: &'a ReadLog) -> Self {
        let fresh = |item: &'a Item| (item, Item::new(item.id.0, item.entry, item.begin.clone()));
        let items = log.contents.items.iter().map(fresh).collect();
        Self { items, strangers: BTreeSet::new(), misfits: Vec::new() }
    }

    fn frame(&mut self, log: &ReadLog, name: &str, frame: &Frame<'_>) {
        if frame.kind == Kind::Entry {
            let at = usize::try_from(frame.ordinal).unwrap_or(usize::MAX);
            if log.leaves.get(at) != Some(&merkle::leaf_hash(frame.bytes)) && self.misfits.len() < 16 {
                self.misfits.push((name.to_owned(), frame.ordinal));
            }
            return;
        }
        let Some((_, item)) = self.items.get_mut(frame.item as usize) else {
            if self.strangers.len() < 16 {
                self.strangers.insert(frame.item);
            }
            return;
        };
        item.pieces += 1;
        item.records += u64::from(!frame.more);
        item.bytes = item.bytes.saturating_add(frame.bytes.len() as u64);
        item.last_ordinal = Some(frame.ordinal);
    }

    /// The accounting identity: records found + losses = records offered, for every ended item.
    fn check(&self, report: &mut VerifyReport, log: &ReadLog) {
        for stranger in &self.strangers {
            report.add(Problem::file("segments", format!("no item {stranger}"), "frames of it"));
        }
        for (name, ordinal) in &self.misfits {
            report.add(Problem::file(name, format!("entry {ordinal} of the log"), "another entry"));
        }
        for (stated, found) in &self.items {
            report.records += found.records;
            let Some(end) = &stated.end else {
                report.unfinished += 1;
                continue;
            };
            let lost = end.losses.iter().fold(0u64, |sum, loss| sum.saturating_add(loss.records));
            report.lost = report.lost.saturating_add(lost);
            let counts = (end.stored, end.pieces, end.bytes);
            if counts != (found.records, found.pieces, found.bytes) {
                let expected = format!("{} records, {} pieces, {} bytes", end.stored, end.pieces, end.bytes);
                let have =
                    format!("{} records, {} pieces, {} bytes", found.records, found.pieces, found.bytes);
                report.add(Problem::file(&format!("segments (item {})", stated.id.0), expected, have));
            }
            if end.stored.saturating_add(lost) != end.offered {
                let expected = format!("{} records written or lost, as offered", end.offered);
                let have = format!("{} written and {lost} lost", end.stored);
                report.add(Problem::file(&format!("segments (item {})", stated.id.0), expected, have));
            }
        }
        for (_, gap) in &log.contents.gaps {
            report.lost = report.lost.saturating_add(gap.records);
        }
    }
}

fn check_segments(
    report: &mut VerifyReport,
    folder: &Folder,
    log: &ReadLog,
    tally: &mut Tally<'_>,
) -> Result<()> {
    let origin = origin_hash(&log.contents.key.origin);
    let (mut previous, mut reader) = ([0u8; 32], BlockReader::new()?);
    for (_, manifest) in &log.contents.manifests {
        let name = segment::sealed_name(manifest.segment);
        let mut count = |frame: &Frame<'_>| {
            tally.frame(log, &name, frame);
            Ok(())
        };
        let checked = segment::check(folder, &name, &mut reader, Some(&mut count));
        report.segments += 1;
        report.leaves = report.leaves.saturating_add(manifest.leaves);
        if let Some(checked) = report.note(&name, checked)? {
            let header = checked.header;
            if header.number != manifest.segment || header.origin != origin || header.previous != previous {
                let expected = "the header of this segment of this case";
                report.add(Problem::at(&name, 0, expected, "the header of another one"));
            }
            compare(report, manifest, &name, &checked);
        }
        previous = manifest.root.0;
    }
    Ok(())
}

fn compare(report: &mut VerifyReport, manifest: &SegmentManifest, name: &str, checked: &segment::Checked) {
    let facts = [
        ("size", manifest.file.size.to_string(), checked.size.to_string()),
        ("SHA-256", manifest.file.sha256.to_string(), Digest(checked.sha256).to_string()),
        ("root", manifest.root.to_string(), Digest(checked.footer.root).to_string()),
        ("leaves", manifest.leaves.to_string(), checked.footer.leaves.to_string()),
        ("first leaf", manifest.first_leaf.to_string(), checked.header.first_leaf.to_string()),
        ("footer offset", manifest.footer_offset.to_string(), checked.footer_offset.to_string()),
        ("footer SHA-256", manifest.footer_sha256.to_string(), Digest(checked.footer_sha256).to_string()),
        ("raw bytes", manifest.raw_bytes.to_string(), checked.footer.raw_bytes.to_string()),
        ("name", manifest.file.file.clone(), name.to_owned()),
    ];
    for (what, expected, found) in facts.into_iter().filter(|(_, expected, found)| expected != found) {
        report.add(Problem::file(name, format!("{what} {expected}"), found));
    }
}

fn check_unlisted(report: &mut VerifyReport, files: &BTreeMap<String, Listed>, inventory: &Inventory) {
    for (name, file) in files.iter().filter(|(name, _)| *name != MANIFEST && *name != CHECKPOINT) {
        if inventory.contains_key(name) {
            continue;
        }
        if name.ends_with(".open") && file.regular {
            let expected = "no open segment (a run was killed or still goes on: run the same command again)";
            report.add(Problem::file(
                name,
                expected,
                format!("{} bytes that no checkpoint covers", file.size),
            ));
        } else {
            report.add(Problem::file(name, "no such file", "a file that the log does not name"));
        }
    }
}

/// Every file is there, has the digest that the log states, and stands in the MANIFEST; no other file is there.
fn check_files(
    report: &mut VerifyReport,
    folder: &Folder,
    files: &BTreeMap<String, Listed>,
    inventory: &Inventory,
) -> Result<()> {
    check_unlisted(report, files, inventory);
    let mut found_all = Vec::new();
    for (name, stated) in inventory {
        let Some(file) = files.get(name).filter(|file| file.regular) else {
            report.add(Problem::file(name, "a regular file", "no such file"));
            continue;
        };
        // Nothing longer than it may be is read to its end.
        let limit = stated.as_ref().map_or(MAX_BUNDLE, |stated| stated.size);
        if file.size > limit {
            let expected = format!("at most {limit} bytes");
            report.add(Problem::file(name, expected, format!("{} bytes", file.size)));
            continue;
        }
        let Some(found) = report.note(name, inventory::digest(folder, name))? else { continue };
        // Segments were compared with their manifests already, block by block.
        if let Some(stated) = stated.as_ref().filter(|s| **s != found && !name.starts_with("segments/")) {
            let expected = format!("{} bytes with SHA-256 {}", stated.size, stated.sha256);
            let have = format!("{} bytes with SHA-256 {}", found.size, found.sha256);
            report.add(Problem::file(name, expected, have));
        }
        found_all.push(stated.clone().unwrap_or(found));
    }
    let expected = inventory::manifest_text(found_all.iter());
    let limit = expected.len() as u64 * 2 + (1 << 20);
    let Some(found) = report.note(MANIFEST, folder.read(MANIFEST, limit))? else { return Ok(()) };
    if found != expected.as_bytes() {
        report.add(Problem::difference(MANIFEST, expected.as_bytes(), &found));
    }
    Ok(())
}
