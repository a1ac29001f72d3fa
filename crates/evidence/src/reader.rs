//! Reading a case: items, records in order or by ordinal, inclusion proofs.
//!
//! Enters: a case folder (hostile) or a just written case; leaves: pieces of records and proofs. Every block is
//! compared with the signed manifest before it is decoded. A cursor holds one block. Deliberately absent: writing.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use truename_model::{Nanos, Sha256 as Digest};

use crate::entry::{Conclusion, GapEntry, ItemBegin, ItemEnd, KeyEntry, LogEntry, SegmentManifest};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::frame::{Frame, Frames, Kind, NO_ITEM, Place, SALT, Salts, parse_payload, payload, salted_leaf};
use crate::log::Published;
use crate::merkle::{self, Hash};
use crate::note::{Checkpoint, Vkey};
use crate::problem::Problem;
use crate::segment::{BlockReader, Footer, Run, read_tail};

/// Number of an item in the order of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId(pub u32);

/// An item in custody, with what was written of it so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its number.
    pub id: ItemId,
    /// Index in the log of its first custody entry.
    pub entry: u64,
    /// Its first custody entry.
    pub begin: ItemBegin,
    /// Its last custody entry, if it was read to an end.
    pub end: Option<ItemEnd>,
    /// Index in the log of that entry.
    pub end_entry: Option<u64>,
    /// Frames written.
    pub pieces: u64,
    /// Records written to their end.
    pub records: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Ordinal of the last frame written.
    pub last_ordinal: Option<u64>,
}

impl Item {
    pub(crate) fn new(id: u32, entry: u64, begin: ItemBegin) -> Self {
        Self {
            id: ItemId(id),
            entry,
            begin,
            end: None,
            end_entry: None,
            pieces: 0,
            records: 0,
            bytes: 0,
            last_ordinal: None,
        }
    }

    /// True if custody ended and the item was read completely.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.complete)
    }

    pub(crate) fn count(&mut self, run: &Run) {
        self.pieces += u64::from(run.frames);
        self.records += u64::from(run.records);
        self.bytes = self.bytes.saturating_add(run.bytes);
        self.last_ordinal = Some(run.last_ordinal);
    }
}

/// A sealed segment: its manifest and its footer.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) manifest: SegmentManifest,
    pub(crate) footer: Arc<Footer>,
    /// Index of the manifest in the outer log.
    pub(crate) index: u64,
}

/// What the entries of a log say, sorted out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    pub(crate) key: KeyEntry,
    pub(crate) items: Vec<Item>,
    pub(crate) gaps: Vec<(u64, GapEntry)>,
    /// Conclusions with their index in the log.
    pub(crate) conclusions: Vec<(u64, Conclusion)>,
    pub(crate) manifests: Vec<(u64, SegmentManifest)>,
}

impl Contents {
    /// Adds an entry; `Err` says why it cannot stand at this place.
    pub(crate) fn add(&mut self, index: u64, entry: LogEntry) -> std::result::Result<(), String> {
        match entry {
            LogEntry::Key(key) if index == 0 => self.key = key,
            LogEntry::Key(_) => return Err("no second key entry".to_owned()),
            _ if index == 0 => return Err("a key entry".to_owned()),
            LogEntry::ItemBegin(begin) => {
                let id = u32::try_from(self.items.len()).unwrap_or(NO_ITEM);
                self.items.push(Item::new(id, index, begin));
            }
            LogEntry::ItemEnd(end) => {
                let slot = usize::try_from(end.item).ok().and_then(|at| self.items.get_mut(at));
                match slot {
                    Some(item) if item.end.is_none() && item.begin.sha256 == end.sha256 => {
                        item.end = Some(end);
                        item.end_entry = Some(index);
                    }
                    _ => return Err("the end of an open item".to_owned()),
                }
            }
            LogEntry::Segment(manifest) => {
                let next = self.manifests.len() as u64;
                let leaves = self.manifests.last().map_or(0, |(_, m)| m.first_leaf.saturating_add(m.leaves));
                if manifest.segment != next || manifest.first_leaf != leaves {
                    return Err(format!("the manifest of segment {next}, whose first leaf is {leaves}"));
                }
                self.manifests.push((index, manifest));
            }
            LogEntry::Gap(gap) => self.gaps.push((index, gap)),
            LogEntry::Conclusion(conclusion) => self.conclusions.push((index, conclusion)),
        }
        Ok(())
    }

    pub(crate) fn read(entries: &[LogEntry]) -> Result<Self> {
        let mut contents = Self::default();
        for (index, entry) in (0u64..).zip(entries) {
            contents.add(index, entry.clone()).map_err(|expected| {
                let file = format!("tile/entries (entry {index})");
                Error::integrity(Problem::file(&file, expected, "another entry"))
            })?;
        }
        Ok(contents)
    }

    /// Counts the frames of a segment into its items.
    pub(crate) fn count(&mut self, footer: &Footer) {
        for run in footer.runs.iter().filter(|run| run.item != NO_ITEM) {
            if let Some(item) = self.items.get_mut(run.item as usize) {
                item.count(run);
            }
        }
    }
}

/// Loads the footer of a segment and compares it with the manifest.
pub(crate) fn load_footer(folder: &Folder, manifest: &SegmentManifest) -> Result<Footer> {
    use sha2::Digest as _;
    let name = &manifest.file.file;
    if *name != crate::segment::sealed_name(manifest.segment) {
        let expected = crate::segment::sealed_name(manifest.segment);
        return Err(Error::integrity(Problem::file(name, expected, "another name in the manifest")));
    }
    let tail = read_tail(folder, name, manifest.footer_offset)?;
    let digest: Hash = sha2::Sha256::digest(&tail).into();
    let footer = (digest == manifest.footer_sha256.0).then(|| Footer::parse(&tail, manifest.footer_offset));
    footer.flatten().ok_or_else(|| {
        let expected = format!("a footer with SHA-256 {}", manifest.footer_sha256);
        Error::integrity(Problem::at(name, manifest.footer_offset, expected, "another one"))
    })
}

struct Inner {
    folder: Arc<Folder>,
    contents: Contents,
    segments: Vec<Segment>,
    /// Runs of each item: (segment, run), in order.
    runs: BTreeMap<u32, Vec<(u32, u32)>>,
    leaves: Vec<Hash>,
    entries: Vec<Vec<u8>>,
    note: Vec<u8>,
    checkpoint: Checkpoint,
}

/// An open case, for reading. Cheap to clone; cursors are independent and `Send`.
#[derive(Clone)]
pub struct Reader {
    inner: Arc<Inner>,
}

/// A piece of a record.
pub type StoredPiece<'a> = Frame<'a>;

impl Reader {
    /// Opens a case for reading, without a lock. The checkpoint must be signed by the key that the case names; whether
    /// that is the right key only [`crate::verify`] with a pinned key can say.
    ///
    /// # Errors
    /// [`Error::Integrity`] if the folder contradicts its log; [`Error::Io`].
    pub fn open(dir: &Path) -> Result<Self> {
        let folder = Arc::new(Folder::open(dir)?.child("evidence")?);
        let published = Published::read(&folder, None)?.ok_or_else(|| {
            Error::integrity(Problem::file(crate::log::CHECKPOINT, "a signed checkpoint", "no such file"))
        })?;
        let contents = Contents::read(&published.entries)?;
        let vkey = Vkey::parse(&contents.key.vkey)
            .filter(|vkey| vkey.name() == published.checkpoint.origin)
            .ok_or_else(|| {
                let problem =
                    Problem::file("tile/entries (entry 0)", "the key of this origin", "another key");
                Error::integrity(problem)
            })?;
        crate::note::open(&published.note, &vkey).map_err(|e| {
            Error::integrity(Problem::file(crate::log::CHECKPOINT, "a signed checkpoint", e.to_string()))
        })?;
        let mut segments = Vec::new();
        for (index, manifest) in &contents.manifests {
            let footer = Arc::new(load_footer(&folder, manifest)?);
            segments.push(Segment { manifest: manifest.clone(), footer, index: *index });
        }
        Self::build(folder, published, segments)
    }

    pub(crate) fn build(folder: Arc<Folder>, published: Published, segments: Vec<Segment>) -> Result<Self> {
        let mut contents = Contents::read(&published.entries)?;
        let mut runs: BTreeMap<u32, Vec<(u32, u32)>> = BTreeMap::new();
        for (number, segment) in (0u32..).zip(&segments) {
            contents.count(&segment.footer);
            for (at, run) in (0u32..).zip(&segment.footer.runs) {
                runs.entry(run.item).or_default().push((number, at));
            }
        }
        let entries: Result<Vec<Vec<u8>>> = published.entries.iter().map(LogEntry::to_bytes).collect();
        let Published { checkpoint, note, leaves, .. } = published;
        let inner = Inner { folder, contents, segments, runs, leaves, entries: entries?, note, checkpoint };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Items in the order of the log.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.inner.contents.items
    }

    /// Gap entries in the order of the log, with their entries' index.
    #[must_use]
    pub fn gaps(&self) -> &[(u64, GapEntry)] {
        &self.inner.contents.gaps
    }

    /// Conclusions with their index in the log, in order.
    #[must_use]
    pub fn conclusions(&self) -> &[(u64, Conclusion)] {
        &self.inner.contents.conclusions
    }

    /// The checkpoint that was read.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.inner.checkpoint
    }

    /// When the case was opened first, the caller's clock.
    #[must_use]
    pub fn created(&self) -> Nanos {
        self.inner.contents.key.time
    }

    /// Evidence bytes stored in sealed segments, and the bytes of these files.
    #[must_use]
    pub fn volume(&self) -> (u64, u64) {
        let manifests = self.inner.segments.iter().map(|s| &s.manifest);
        manifests.fold((0u64, 0u64), |(raw, file), m| {
            (raw.saturating_add(m.raw_bytes), file.saturating_add(m.file.size))
        })
    }

    /// The pieces of an item, in order.
    ///
    /// # Errors
    /// [`Error::Io`] if decompression cannot start.
    pub fn records(&self, item: ItemId) -> Result<Cursor> {
        Cursor::new(Arc::clone(&self.inner), item, 0)
    }

    /// The pieces of an item from the record `ordinal` on.
    ///
    /// # Errors
    /// As [`Reader::records`].
    pub fn records_from(&self, item: ItemId, ordinal: u64) -> Result<Cursor> {
        let list = self.inner.runs.get(&item.0).map(Vec::as_slice).unwrap_or_default();
        let before = list.partition_point(|&(segment, run)| {
            self.inner.run(segment, run).is_some_and(|run| run.last_ordinal < ordinal)
        });
        let mut cursor = Cursor::new(Arc::clone(&self.inner), item, before)?;
        cursor.skip_below = ordinal;
        Ok(cursor)
    }

    /// The key that the case names as its own.
    #[must_use]
    pub fn vkey(&self) -> Option<Vkey> {
        Vkey::parse(&self.inner.contents.key.vkey)
    }

    /// As [`Reader::record`], for display: secret pieces are left out, with a mark in their place.
    ///
    /// # Errors
    /// As [`Reader::record`].
    pub fn shown_record(&self, item: ItemId, ordinal: u64, max: usize) -> Result<Option<Vec<u8>>> {
        let mut cursor = self.records_from(item, ordinal)?;
        let (mut out, mut any) = (Vec::new(), false);
        while let Some(piece) = cursor.next()? {
            if piece.ordinal != ordinal || out.len() >= max {
                break;
            }
            any = true;
            let shown: &[u8] = if may_be_shown(&piece) { piece.bytes } else { b"(secret)" };
            out.extend_from_slice(&shown[..shown.len().min(max - out.len())]);
            if !piece.more {
                break;
            }
        }
        Ok(any.then_some(out))
    }

    /// All bytes of one record, if the case has it. At most `max` bytes are collected.
    ///
    /// # Errors
    /// [`Error::Integrity`] if a block is not the logged one; [`Error::Io`].
    pub fn record(&self, item: ItemId, ordinal: u64, max: usize) -> Result<Option<Vec<u8>>> {
        let mut cursor = self.records_from(item, ordinal)?;
        let (mut out, mut any) = (Vec::new(), false);
        while let Some(piece) = cursor.next()? {
            if piece.ordinal != ordinal {
                break;
            }
            any = true;
            let room = max.saturating_sub(out.len()).min(piece.bytes.len());
            out.extend_from_slice(&piece.bytes[..room]);
            if !piece.more {
                break;
            }
        }
        Ok(any.then_some(out))
    }

    /// Proof that the first piece of a record is in the log.
    ///
    /// # Errors
    /// As [`Reader::record`].
    pub fn proof(&self, item: ItemId, ordinal: u64) -> Result<Option<InclusionProof>> {
        let mut cursor = self.records_from(item, ordinal)?;
        let payload = match cursor.next()? {
            Some(piece) if piece.ordinal == ordinal => payload(&piece),
            _ => return Ok(None),
        };
        let Some((segment, leaf)) = cursor.last_leaf() else { return Ok(None) };
        self.prove(payload, segment, leaf).map(Some)
    }

    /// Proof of a whole record: each of its first `max_pieces` pieces, and the custody of its item.
    ///
    /// # Errors
    /// As [`Reader::record`].
    pub fn record_proof(&self, id: ItemId, ordinal: u64, max_pieces: usize) -> Result<Option<RecordProof>> {
        let Some(item) = self.items().get(id.0 as usize) else { return Ok(None) };
        let mut cursor = self.records_from(id, ordinal)?;
        let (mut pieces, mut pieces_omitted) = (Vec::new(), 0);
        while let Some(piece) = cursor.next()? {
            if piece.ordinal != ordinal {
                break;
            }
            let more = piece.more;
            if pieces.len() < max_pieces {
                let payload = payload(&piece);
                let Some((segment, leaf)) = cursor.last_leaf() else { return Ok(None) };
                pieces.push(self.prove(payload, segment, leaf)?);
            } else {
                pieces_omitted += 1;
            }
            if !more {
                break;
            }
        }
        let (begin, end) = (self.entry_proof(item.entry), item.end_entry.and_then(|at| self.entry_proof(at)));
        let proof = begin.map(|begin| RecordProof { pieces, pieces_omitted, begin, end });
        Ok(proof.filter(|proof| !proof.pieces.is_empty()))
    }

    fn entry_proof(&self, index: u64) -> Option<EntryProof> {
        let at = usize::try_from(index).ok()?;
        let entry = self.inner.entries.get(at)?.clone();
        Some(EntryProof { entry, index, path: merkle::inclusion_path(&self.inner.leaves, at)? })
    }

    fn prove(&self, payload: Vec<u8>, segment: u32, leaf: u32) -> Result<InclusionProof> {
        let segment = &self.inner.segments[segment as usize];
        let (salt, path) = self.inner.inner_path(segment, leaf)?;
        let outer = usize::try_from(segment.index).unwrap_or(usize::MAX);
        let outer_path = merkle::inclusion_path(&self.inner.leaves, outer).unwrap_or_default();
        Ok(InclusionProof {
            payload,
            salt,
            leaf_index: u64::from(leaf),
            inner_path: path,
            manifest: self.inner.entries.get(outer).cloned().unwrap_or_default(),
            entry_index: segment.index,
            outer_path,
            checkpoint: String::from_utf8_lossy(&self.inner.note).into_owned(),
        })
    }
}

impl Inner {
    fn run(&self, segment: u32, run: u32) -> Option<&Run> {
        self.segments.get(segment as usize)?.footer.runs.get(run as usize)
    }

    /// Salt and audit path of a leaf inside its segment: the lowest eight levels are recomputed from the blocks.
    fn inner_path(&self, segment: &Segment, leaf: u32) -> Result<([u8; SALT], Vec<Hash>)> {
        let file = self.folder.file(&segment.manifest.file.file)?;
        let header = read_header(&self.folder, segment, &file)?;
        let first = leaf / 256 * 256;
        let mut salts = Salts::new(&header, first);
        let (mut chunk, mut own_salt) = (Vec::new(), [0u8; SALT]);
        let mut blocks = BlockReader::new()?;
        for entry in &segment.footer.blocks {
            let end = entry.first_leaf.saturating_add(entry.leaves);
            if end <= first || entry.first_leaf >= first.saturating_add(256) {
                continue;
            }
            load(&self.folder, segment, &mut blocks, &file, entry)?;
            let mut frames = Frames::new(blocks.raw());
            let mut number = entry.first_leaf;
            while let Ok(Some(frame)) = frames.next() {
                if (first..first.saturating_add(256)).contains(&number) {
                    let salt = salts.next();
                    if number == leaf {
                        own_salt = salt;
                    }
                    chunk.push(salted_leaf(&salt, &payload(&frame)));
                }
                number = number.saturating_add(1);
            }
        }
        let mut path = merkle::inclusion_path(&chunk, (leaf - first) as usize).unwrap_or_default();
        let mut tops = segment.footer.subtrees.clone();
        if !(segment.footer.leaves).is_multiple_of(256) {
            tops.push(self.last_chunk(segment, leaf, &chunk)?);
        }
        path.extend(merkle::inclusion_path(&tops, (leaf / 256) as usize).unwrap_or_default());
        Ok((own_salt, path))
    }

    /// Root of the last, incomplete subtree of a segment.
    fn last_chunk(&self, segment: &Segment, leaf: u32, chunk: &[Hash]) -> Result<Hash> {
        let last = segment.footer.leaves / 256 * 256;
        if u64::from(leaf) >= last {
            return Ok(merkle::root(chunk));
        }
        let file = self.folder.file(&segment.manifest.file.file)?;
        let header = read_header(&self.folder, segment, &file)?;
        let mut salts = Salts::new(&header, last as u32);
        let mut blocks = BlockReader::new()?;
        let mut leaves = Vec::new();
        for entry in &segment.footer.blocks {
            if u64::from(entry.first_leaf) + u64::from(entry.leaves) <= last {
                continue;
            }
            load(&self.folder, segment, &mut blocks, &file, entry)?;
            let mut frames = Frames::new(blocks.raw());
            let mut number = u64::from(entry.first_leaf);
            while let Ok(Some(frame)) = frames.next() {
                if number >= last {
                    leaves.push(salted_leaf(&salts.next(), &payload(&frame)));
                }
                number += 1;
            }
        }
        Ok(merkle::root(&leaves))
    }
}

fn read_header(folder: &Folder, segment: &Segment, file: &File) -> Result<[u8; 32]> {
    use std::os::unix::fs::FileExt as _;
    let mut bytes = [0u8; crate::segment::HEADER];
    let name = &segment.manifest.file.file;
    file.read_exact_at(&mut bytes, 0).map_err(Error::io("read", &folder.path_of(name)))?;
    crate::segment::Header::parse(&bytes)
        .map(|header| header.seed)
        .ok_or_else(|| Error::integrity(Problem::at(name, 0, "the header of a segment", "something else")))
}

fn load(
    folder: &Folder,
    segment: &Segment,
    blocks: &mut BlockReader,
    file: &File,
    entry: &crate::segment::BlockEntry,
) -> Result<()> {
    let name = &segment.manifest.file.file;
    if blocks.load(file, entry).map_err(Error::io("read", &folder.path_of(name)))? {
        return Ok(());
    }
    let expected = format!("a block with SHA-256 {}", Digest(entry.sha256));
    Err(Error::integrity(Problem::at(name, entry.offset, expected, "another block")))
}

/// Pieces of one item, in order. Holds one block and one open file.
pub struct Cursor {
    inner: Arc<Inner>,
    item: ItemId,
    /// Next run in the item's list.
    next_run: usize,
    /// Frames left in the current run.
    left: u32,
    /// Segment and file that are open.
    file: Option<(u32, File)>,
    /// Block that is loaded: (segment, block).
    loaded: Option<(u32, u32)>,
    blocks: BlockReader,
    /// Place in the loaded block.
    at: usize,
    place: Place,
    /// Number in the block of the next frame.
    number: u32,
    skip_below: u64,
}

impl Cursor {
    fn new(inner: Arc<Inner>, item: ItemId, next_run: usize) -> Result<Self> {
        Ok(Self {
            inner,
            item,
            next_run,
            left: 0,
            file: None,
            loaded: None,
            blocks: BlockReader::new()?,
            at: 0,
            place: Place::default(),
            number: 0,
            skip_below: 0,
        })
    }

    /// Next piece, `None` at the end of the item. The bytes live until the next call.
    ///
    /// # Errors
    /// [`Error::Integrity`] if a block is not the logged one; [`Error::Io`].
    // Not an iterator: a piece borrows the cursor's block.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<StoredPiece<'_>>> {
        loop {
            while self.left == 0 {
                if !self.start_run()? {
                    return Ok(None);
                }
            }
            self.left -= 1;
            let head = self.step()?;
            if head.item == self.item.0 && head.ordinal >= self.skip_below {
                // Its bytes end where the next frame begins; a borrow from `step` could not leave this loop.
                let bytes = &self.blocks.raw()[self.at - head.len..self.at];
                let Head { kind, more, item, ordinal, offset, .. } = head;
                return Ok(Some(Frame { kind, more, item, ordinal, offset, bytes }));
            }
        }
    }

    /// Segment and leaf number of the piece returned last.
    fn last_leaf(&self) -> Option<(u32, u32)> {
        let (segment, block) = self.loaded?;
        let entry = self.inner.segments.get(segment as usize)?.footer.blocks.get(block as usize)?;
        Some((segment, entry.first_leaf.checked_add(self.number.checked_sub(1)?)?))
    }

    fn bad_block(&self) -> Error {
        let name = self.loaded.and_then(|(segment, _)| self.inner.segments.get(segment as usize));
        let name = name.map_or("segments", |s| s.manifest.file.file.as_str());
        Error::integrity(Problem::file(name, "frames as the footer counts them", "other frames"))
    }

    fn step(&mut self) -> Result<Head> {
        let mut frames = Frames::resume(self.blocks.raw(), self.at, self.place);
        let Ok(Some(frame)) = frames.next() else { return Err(self.bad_block()) };
        let Frame { kind, more, item, ordinal, offset, bytes } = frame;
        let head = Head { kind, more, item, ordinal, offset, len: bytes.len() };
        (self.at, self.place) = frames.position(self.blocks.raw());
        self.number += 1;
        Ok(head)
    }

    fn start_run(&mut self) -> Result<bool> {
        let inner = Arc::clone(&self.inner);
        let list = inner.runs.get(&self.item.0).map(Vec::as_slice).unwrap_or_default();
        let Some(&(number, at)) = list.get(self.next_run) else { return Ok(false) };
        self.next_run += 1;
        let Some(run) = inner.run(number, at) else { return Err(self.bad_block()) };
        let segment = &inner.segments[number as usize];
        if self.file.as_ref().is_none_or(|(open, _)| *open != number) {
            self.file = Some((number, inner.folder.file(&segment.manifest.file.file)?));
        }
        let Some((_, file)) = &self.file else { return Err(self.bad_block()) };
        if self.loaded != Some((number, run.block)) || self.number > run.frame {
            let Some(entry) = segment.footer.blocks.get(run.block as usize) else {
                return Err(self.bad_block());
            };
            load(&inner.folder, segment, &mut self.blocks, file, entry)?;
            self.loaded = Some((number, run.block));
            (self.at, self.place, self.number) = (0, Place::default(), 0);
        }
        while self.number < run.frame {
            self.step()?;
        }
        self.left = run.frames;
        Ok(true)
    }
}

/// A frame without its bytes.
struct Head {
    kind: Kind,
    more: bool,
    item: u32,
    ordinal: u64,
    offset: u64,
    len: usize,
}

/// Proof that a piece of a record is covered by a checkpoint; complete in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionProof {
    /// Canonical payload of the leaf (see `docs/formats/segment.md`).
    pub payload: Vec<u8>,
    /// Salt of the leaf.
    pub salt: [u8; SALT],
    /// Leaf number inside the segment.
    pub leaf_index: u64,
    /// Audit path inside the segment.
    pub inner_path: Vec<Hash>,
    /// The log entry that holds the root of the segment.
    pub manifest: Vec<u8>,
    /// Index of that entry.
    pub entry_index: u64,
    /// Audit path inside the log.
    pub outer_path: Vec<Hash>,
    /// Signed checkpoint.
    pub checkpoint: String,
}

/// Proof of a whole record and of the custody of its item; complete in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordProof {
    /// One proof per piece, in order; never empty.
    pub pieces: Vec<InclusionProof>,
    /// Pieces that follow and were not asked for.
    pub pieces_omitted: u64,
    /// The entry by which custody of the item began: path, digests, operator, time.
    pub begin: EntryProof,
    /// The entry by which it ended, which ties the item's number (in every payload) to its SHA-256; absent while the
    /// item is unfinished.
    pub end: Option<EntryProof>,
}

/// An entry of the log with its audit path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryProof {
    /// Canonical bytes of the entry.
    pub entry: Vec<u8>,
    /// Its index.
    pub index: u64,
    /// Audit path to the root of the checkpoint.
    pub path: Vec<Hash>,
}

impl InclusionProof {
    /// True if the payload may be displayed: it is no value of a secret.
    #[must_use]
    pub fn may_be_shown(&self) -> bool {
        parse_payload(&self.payload).is_some_and(|piece| may_be_shown(&piece))
    }

    /// SHA-256 of the leaf.
    #[must_use]
    pub fn leaf_hash(&self) -> Hash {
        salted_leaf(&self.salt, &self.payload)
    }

    /// Checks the proof against a key, without any file. Returns the checkpoint.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub fn check(&self, vkey: &Vkey) -> std::result::Result<Checkpoint, String> {
        let text = crate::note::open(self.checkpoint.as_bytes(), vkey).map_err(|e| e.to_string())?;
        let checkpoint = Checkpoint::parse(text).ok_or("not a checkpoint")?;
        let entry = merkle::leaf_hash(&self.manifest);
        if !merkle::check_inclusion(
            &entry,
            self.entry_index,
            checkpoint.size,
            &self.outer_path,
            &checkpoint.root,
        ) {
            return Err("the manifest is not in the log of this checkpoint".to_owned());
        }
        let Some(LogEntry::Segment(manifest)) = LogEntry::parse(&self.manifest) else {
            return Err("the log entry is no segment manifest".to_owned());
        };
        let (leaf, index) = (self.leaf_hash(), self.leaf_index);
        if !merkle::check_inclusion(&leaf, index, manifest.leaves, &self.inner_path, &manifest.root.0) {
            return Err("the leaf is not in the segment of this manifest".to_owned());
        }
        Ok(checkpoint)
    }
}

/// True for pieces that may be displayed.
#[must_use]
pub fn may_be_shown(piece: &StoredPiece<'_>) -> bool {
    piece.kind == Kind::Record
}
