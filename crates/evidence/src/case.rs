//! A case being written: custody, append, seal, commit.
//!
//! Enters: items and their pieces, in any order of items; leaves: durable evidence and a signed checkpoint.
//! Entries made while a segment is open are journalled in it, so that a kill at any moment loses at most what was not
//! yet written. Deliberately absent: interpretation, a clock (the caller gives it), formats of sources.

use std::fs::File;
use std::io::{Read, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::Digest as _;
use truename_model::{Nanos, Sha256 as Digest};

use crate::entry::{Conclusion, FileRef, GapEntry, ItemBegin, ItemEnd, ItemSummary, KeyEntry, LogEntry, fit};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::frame::{Frame, Kind, MAX_PIECE, NO_ITEM, Place, encode};
use crate::inventory::{self, original_name};
use crate::key::{SigningKeyFile, random};
use crate::log::{Log, Published};
use crate::merkle::Hash;
use crate::note::{Vkey, hex};
use crate::pipeline::{Pipeline, SealRequest, Sealed};
use crate::problem::Problem;
use crate::reader::{Contents, Item, ItemId, Reader, Segment};
use crate::receipt::Receipt;
use crate::recover::recover;
use crate::segment::{BLOCK_RAW, Footer, Header, SEGMENT_LEAVES, SEGMENT_RAW, Tree, origin_hash};

/// Sizes at which blocks are cut and segments sealed. Only tests need others than the default.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Raw bytes of a block, at most 256 KiB.
    pub block_raw: usize,
    /// Leaves of a segment, at most 2^18.
    pub segment_leaves: u64,
    /// Raw bytes of a segment, at most 64 MiB.
    pub segment_raw: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { block_raw: BLOCK_RAW, segment_leaves: SEGMENT_LEAVES, segment_raw: SEGMENT_RAW }
    }
}

/// What the caller gives when it opens a case.
pub struct Options {
    /// Current time, asked for key and gap entries only.
    pub now: Box<dyn Fn() -> Nanos + Send>,
    /// Tool and version for the log.
    pub tool: String,
    /// Sizes.
    pub limits: Limits,
}

/// One piece to append.
#[derive(Clone, Copy, Debug)]
pub struct NewPiece<'a> {
    /// Ordinal of the record in its item.
    pub ordinal: u64,
    /// Offset in the innermost layer.
    pub offset: u64,
    /// True if the record goes on in the next piece.
    pub more: bool,
    /// True for bytes that are secret.
    pub secret: bool,
    /// The bytes, at most 1 MiB.
    pub bytes: &'a [u8],
}

/// Where an item that was begun and not ended goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumePoint {
    /// The item; do not begin it again.
    pub item: ItemId,
    /// Pieces already durable: the caller splits again from the start and does not append these.
    pub pieces: u64,
    /// Records already durable to their end.
    pub records: u64,
}

/// The segment being filled.
struct Filling {
    header: Header,
    tree: Tree,
    raw: Vec<u8>,
    place: Place,
}

/// A case opened for writing. One process at a time (`case.lock`).
pub struct Case {
    dir: PathBuf,
    folder: Arc<Folder>,
    key: Arc<SigningKeyFile>,
    options: Options,
    log: Log,
    contents: Contents,
    segments: Vec<Segment>,
    filling: Option<Filling>,
    /// A block's buffer between two segments.
    spare: Vec<u8>,
    next_segment: u64,
    next_leaf: u64,
    last_root: Hash,
    pipeline: Pipeline,
    stopped: Option<String>,
    _lock: Lock,
}

/// The lock of a case, held while it lives.
pub(crate) struct Lock(File);

impl Drop for Lock {
    /// Closing the file is not enough: a child that the process is just starting shares it until it runs its program.
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.0, rustix::fs::FlockOperation::Unlock);
    }
}

fn lock(dir: &Path) -> Result<Lock> {
    let path = dir.join("case.lock");
    let folder = Folder::open(dir)?;
    let mut file = match folder.create("case.lock") {
        Ok(file) => file,
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {
            folder.file_rw("case.lock")?
        }
        Err(error) => return Err(error),
    };
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let _ = (&mut file).take(32).read_to_string(&mut text);
            let pid = text.trim().parse::<u32>().map_or_else(|_| "unknown".to_owned(), |pid| pid.to_string());
            return Err(Error::Busy { path, pid });
        }
        Err(e) => return Err(Error::io("lock", &path)(e.into())),
    }
    file.set_len(0).map_err(Error::io("write", &path))?;
    let file = Lock(file);
    writeln!(&file.0, "{}", std::process::id()).map_err(Error::io("write", &path))?;
    Ok(file)
}

/// Makes the folders of a case and takes its lock.
pub(crate) fn prepare(dir: &Path) -> Result<Lock> {
    // Evidence holds values of secrets: nobody but its owner reads it.
    let mut private = std::fs::DirBuilder::new();
    private.recursive(true).mode(0o700);
    private.create(dir).map_err(Error::io("make folder", dir))?;
    let lock = lock(dir)?;
    for name in ["evidence", "derived"] {
        private.create(dir.join(name)).map_err(Error::io("make folder", &dir.join(name)))?;
    }
    Ok(lock)
}

impl Case {
    /// Opens a case, or makes it if the folder has none. Takes the lock and recovers what an earlier run left.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process writes; [`Error::Integrity`] if the folder is not what its log says;
    /// [`Error::Key`] if the case belongs to another key; [`Error::Io`].
    pub fn open_or_create(dir: &Path, key: Arc<SigningKeyFile>, options: Options) -> Result<Self> {
        let lock = prepare(dir)?;
        let folder = Arc::new(Folder::open(dir)?.child("evidence")?);
        Self::open_in(dir, folder, lock, key, options)
    }

    pub(crate) fn open_in(
        dir: &Path,
        folder: Arc<Folder>,
        lock: Lock,
        key: Arc<SigningKeyFile>,
        options: Options,
    ) -> Result<Self> {
        create_log(&folder, &key, &options)?;
        let (published, vkey) = read_own(&folder, &key)?;
        let work = recover(&folder, &published, &vkey, (options.now)())?;
        let (filling, open_file) = match work.open {
            Some((header, tree, file)) => {
                (Some(Filling { header, tree, raw: Vec::new(), place: Place::default() }), Some(file))
            }
            None => (None, None),
        };
        let last = work.segments.last().map(|s| &s.manifest);
        let mut case = Self {
            dir: dir.to_path_buf(),
            next_segment: work.segments.len() as u64 + u64::from(filling.is_some()),
            next_leaf: last.map_or(0, |m| m.first_leaf.saturating_add(m.leaves)),
            last_root: last.map_or([0; 32], |m| m.root.0),
            pipeline: Pipeline::start(Arc::clone(&folder), open_file)?,
            folder,
            key,
            options,
            log: work.log,
            contents: work.contents,
            segments: work.segments,
            filling,
            spare: Vec::new(),
            stopped: None,
            _lock: lock,
        };
        case.count_recovered();
        for gap in work.gaps {
            case.gap(gap)?;
        }
        case.commit()?;
        Ok(case)
    }

    fn count_recovered(&mut self) {
        for segment in &self.segments {
            self.contents.count(&segment.footer);
        }
        let runs = self.filling.as_ref().map(|f| f.tree.runs.clone()).unwrap_or_default();
        self.contents.count(&Footer { runs, ..Footer::default() });
    }

    /// Folder of the case.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Origin line of the log, `truename/<case id>`.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.log.origin()
    }

    /// Items in the order of the log.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.contents.items
    }

    /// Gap entries in the order of the log, with their entries' index.
    #[must_use]
    pub fn gaps(&self) -> &[(u64, GapEntry)] {
        &self.contents.gaps
    }

    /// Conclusions with their index in the log.
    #[must_use]
    pub fn conclusions(&self) -> &[(u64, Conclusion)] {
        &self.contents.conclusions
    }

    /// The last item of this digest that was begun and not ended, and how much of it is durable.
    #[must_use]
    pub fn resume_point(&self, sha256: &Digest) -> Option<ResumePoint> {
        let item = self.contents.items.iter().rev().find(|item| item.begin.sha256 == *sha256)?;
        let open = item.end.is_none();
        open.then_some(ResumePoint { item: item.id, pieces: item.pieces, records: item.records })
    }

    /// Runs a step; the first failure of the machine stops the case for good.
    fn step<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if let Some(cause) = &self.stopped {
            return Err(Error::Stopped(cause.clone()));
        }
        let result = work(self);
        if let Err(error @ (Error::Io { .. } | Error::Integrity(_) | Error::Stopped(_))) = &result {
            self.stopped = Some(error.to_string());
        }
        result
    }

    /// Custody of an item begins.
    ///
    /// # Errors
    /// [`Error::Refused`] if the entry is too long; [`Error::Io`].
    pub fn begin_item(&mut self, begin: ItemBegin) -> Result<ItemId> {
        self.step(|case| {
            let id = u32::try_from(case.contents.items.len()).ok().filter(|id| *id < NO_ITEM);
            let id = id.ok_or_else(|| Error::Refused("too many items in one case".to_owned()))?;
            LogEntry::ItemBegin(begin.clone()).to_bytes()?;
            case.ensure_segment()?;
            case.enter(LogEntry::ItemBegin(begin))?;
            Ok(ItemId(id))
        })
    }

    /// Appends a piece of a record. Ordinals of an item never go back, and a record is finished before the next begins.
    ///
    /// # Errors
    /// [`Error::Refused`] for a piece that breaks these rules; [`Error::Io`] from the writing thread.
    pub fn append(&mut self, item: ItemId, piece: NewPiece<'_>) -> Result<()> {
        if let Some(cause) = &self.stopped {
            return Err(Error::Stopped(cause.clone()));
        }
        let slot = self.contents.items.get_mut(item.0 as usize).filter(|slot| slot.end.is_none());
        let Some(slot) = slot else {
            return Err(Error::Refused(format!("item {} is not open", item.0)));
        };
        let in_order = slot.last_ordinal.is_none_or(|last| piece.ordinal >= last);
        if piece.bytes.len() > MAX_PIECE || !in_order {
            return Err(Error::Refused(format!(
                "record {} of item {}: a piece of {} bytes, after record {:?}",
                piece.ordinal,
                item.0,
                piece.bytes.len(),
                slot.last_ordinal
            )));
        }
        slot.pieces += 1;
        slot.records += u64::from(!piece.more);
        slot.bytes += piece.bytes.len() as u64;
        slot.last_ordinal = Some(piece.ordinal);
        let kind = if piece.secret { Kind::Secret } else { Kind::Record };
        let NewPiece { ordinal, offset, more, bytes, .. } = piece;
        self.push(&Frame { kind, more, item: item.0, ordinal, offset, bytes })
    }

    /// Custody of an item ends. `summary.offered` must be what was appended plus the losses.
    ///
    /// # Errors
    /// [`Error::Refused`] if the numbers do not add up; [`Error::Io`].
    pub fn end_item(&mut self, item: ItemId, summary: ItemSummary) -> Result<()> {
        self.step(|case| {
            let slot = case.contents.items.get(item.0 as usize).filter(|slot| slot.end.is_none());
            let slot = slot.ok_or_else(|| Error::Refused(format!("item {} is not open", item.0)))?;
            let lost = summary.losses.iter().fold(0u64, |sum, loss| sum.saturating_add(loss.records));
            if slot.records.saturating_add(lost) != summary.offered {
                return Err(Error::Refused(format!(
                    "item {}: {} records written and {lost} lost are not the {} offered",
                    item.0, slot.records, summary.offered
                )));
            }
            let entry = fit(ItemEnd {
                item: item.0,
                sha256: slot.begin.sha256,
                offered: summary.offered,
                stored: slot.records,
                pieces: slot.pieces,
                bytes: slot.bytes,
                losses: summary.losses,
                layers: summary.layers,
                complete: summary.complete,
                time: summary.time,
                note: summary.note,
            })?;
            case.enter(entry)
        })
    }

    /// Logs a gap.
    ///
    /// # Errors
    /// [`Error::Refused`] if the entry is too long; [`Error::Io`].
    pub fn gap(&mut self, gap: GapEntry) -> Result<()> {
        self.step(|case| case.enter(LogEntry::Gap(gap)))
    }

    /// Logs a conclusion.
    ///
    /// # Errors
    /// As [`Case::gap`].
    pub fn conclude(&mut self, conclusion: Conclusion) -> Result<()> {
        self.step(|case| case.enter(LogEntry::Conclusion(conclusion)))
    }

    /// Copies a file into the case and returns its digest. Its item's entry then says `original_kept`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn keep_original(&mut self, input: &mut dyn Read) -> Result<FileRef> {
        self.step(|case| {
            let temporary = "originals/copy.tmp";
            case.folder.remove_if_any(temporary)?;
            let mut file = case.folder.create(temporary)?;
            let path = case.folder.path_of(temporary);
            let (mut hasher, mut size) = (sha2::Sha256::new(), 0u64);
            let mut buffer = vec![0u8; 256 << 10];
            loop {
                let len = input.read(&mut buffer).map_err(Error::io("read the original for", &path))?;
                if len == 0 {
                    break;
                }
                hasher.update(&buffer[..len]);
                case.folder.write(&mut file, temporary, &buffer[..len])?;
                size += len as u64;
            }
            case.folder.sync(&file, temporary)?;
            let sha256 = Digest(hasher.finalize().into());
            let name = original_name(&sha256);
            case.folder.rename(temporary, &name)?;
            Ok(FileRef { file: name, size, sha256 })
        })
    }

    /// Makes everything appended so far durable and publishes the log with a signed checkpoint.
    ///
    /// # Errors
    /// [`Error::Io`]; the case then writes nothing more.
    pub fn commit(&mut self) -> Result<()> {
        self.step(|case| {
            case.cut_block()?;
            case.pipeline.sync()?;
            case.take_sealed(true)?;
            case.log.commit(&case.folder, &case.key)
        })
    }

    /// Seals the open segment, publishes the log and writes the MANIFEST. Records can be read after it.
    ///
    /// # Errors
    /// As [`Case::commit`].
    pub fn seal(&mut self) -> Result<()> {
        self.step(|case| {
            case.cut_block()?;
            case.seal_segment()?;
            case.take_sealed(true)?;
            case.log.commit(&case.folder, &case.key)?;
            case.write_manifest()
        })
    }

    /// Seals and ends. Returns the receipt.
    ///
    /// # Errors
    /// As [`Case::commit`].
    pub fn close(mut self) -> Result<Receipt> {
        self.seal()?;
        Ok(self.receipt())
    }

    /// The line to note down: origin, size, root, key of what is published now.
    #[must_use]
    pub fn receipt(&self) -> Receipt {
        Receipt { checkpoint: self.log.checkpoint(), vkey: self.vkey() }
    }

    /// Verifier key of this case.
    #[must_use]
    pub fn vkey(&self) -> Vkey {
        self.key.vkey_as(self.log.origin())
    }

    /// Number of entries in the log, published or not.
    #[must_use]
    pub fn log_size(&self) -> u64 {
        self.log.next_index()
    }

    /// A reader over everything sealed.
    ///
    /// # Errors
    /// [`Error::Refused`] while a segment is open (call [`Case::seal`] before).
    pub fn reader(&self) -> Result<Reader> {
        if self.filling.is_some() || self.log.next_index() != self.log.published() {
            return Err(Error::Refused("the case must be sealed before it is read".to_owned()));
        }
        let (published, _) = read_own(&self.folder, &self.key)?;
        Reader::build(Arc::clone(&self.folder), published, self.segments.clone())
    }

    /// Puts an entry into the log: by way of the open segment, or published at once if there is none.
    pub(crate) fn enter(&mut self, entry: LogEntry) -> Result<()> {
        let bytes = entry.to_bytes()?;
        let index = self.log.next_index();
        let misplaced = |expected: String| Error::Refused(format!("log entry {index} should be {expected}"));
        self.contents.add(index, entry).map_err(misplaced)?;
        self.log.append(bytes.clone());
        if self.filling.is_none() {
            self.take_sealed(true)?;
            self.log.commit(&self.folder, &self.key)?;
            return self.write_manifest();
        }
        let frame =
            Frame { kind: Kind::Entry, more: false, item: NO_ITEM, ordinal: index, offset: 0, bytes: &bytes };
        self.push(&frame)
    }

    fn ensure_segment(&mut self) -> Result<()> {
        if self.filling.is_some() {
            return Ok(());
        }
        let header = Header {
            number: self.next_segment,
            first_leaf: self.next_leaf,
            seed: random::<32>()?,
            origin: origin_hash(self.log.origin()),
            previous: self.last_root,
        };
        self.pipeline.open(header)?;
        self.next_segment += 1;
        let tree = Tree::new(&header.seed);
        let raw = std::mem::take(&mut self.spare);
        self.filling = Some(Filling { header, tree, raw, place: Place::default() });
        Ok(())
    }

    fn push(&mut self, frame: &Frame<'_>) -> Result<()> {
        if self.filling.is_none() {
            self.step(Self::ensure_segment)?;
        }
        let limits = self.options.limits;
        let Some(filling) = &mut self.filling else { return Ok(()) };
        encode(&mut filling.raw, &mut filling.place, frame);
        filling.tree.push(frame);
        let full =
            filling.tree.leaves() >= limits.segment_leaves || filling.tree.raw_bytes >= limits.segment_raw;
        if full || filling.raw.len() >= limits.block_raw {
            self.step(|case| {
                case.cut_block()?;
                if full { case.seal_segment() } else { Ok(()) }
            })?;
        }
        Ok(())
    }

    fn cut_block(&mut self) -> Result<()> {
        let Some(filling) = &mut self.filling else { return Ok(()) };
        if filling.tree.in_block() == 0 {
            return Ok(());
        }
        let cut = filling.tree.cut();
        let raw = std::mem::take(&mut filling.raw);
        filling.place = Place::default();
        let mut buffer = self.pipeline.block(raw, cut)?;
        buffer.clear();
        filling.raw = buffer;
        Ok(())
    }

    /// Starts sealing the open segment; its manifest keeps the next place in the log.
    fn seal_segment(&mut self) -> Result<()> {
        let Some(filling) = self.filling.take() else { return Ok(()) };
        let Filling { header, tree, raw, .. } = filling;
        self.spare = raw;
        let footer = Footer {
            root: tree.root(),
            leaves: tree.leaves(),
            raw_bytes: tree.raw_bytes,
            runs: tree.runs,
            subtrees: tree.subtrees,
            blocks: Vec::new(),
        };
        self.next_leaf = header.first_leaf + footer.leaves;
        self.last_root = footer.root;
        let index = self.log.reserve();
        self.pipeline.seal(SealRequest { index, footer })?;
        self.take_sealed(false)
    }

    /// Logs the manifests of segments that were sealed and re-read meanwhile.
    fn take_sealed(&mut self, wait: bool) -> Result<()> {
        while let Some(sealed) = self.pipeline.sealed(wait)? {
            let Sealed { index, manifest, footer } = sealed;
            let entry = LogEntry::Segment(manifest.clone());
            self.log.fill(index, entry.to_bytes()?)?;
            let misplaced =
                |expected: String| Error::Refused(format!("log entry {index} should be {expected}"));
            self.contents.add(index, entry).map_err(misplaced)?;
            self.segments.push(Segment { manifest, footer: Arc::new(footer), index });
        }
        Ok(())
    }

    fn write_manifest(&self) -> Result<()> {
        let (published, _) = read_own(&self.folder, &self.key)?;
        let inventory = inventory::expected(published.checkpoint.size, published.entries.iter());
        inventory::write_manifest(&self.folder, &inventory)
    }
}

/// Makes the first entry and the first checkpoint, if there is no log and nothing that a log should name.
fn create_log(folder: &Folder, key: &SigningKeyFile, options: &Options) -> Result<()> {
    let files = folder.list()?;
    if files.iter().any(|file| file.name == crate::log::CHECKPOINT) {
        return Ok(());
    }
    if let Some(file) =
        files.iter().find(|file| !file.name.starts_with("tile/") && !file.name.ends_with(".tmp"))
    {
        let problem =
            Problem::file(crate::log::CHECKPOINT, "a signed checkpoint", format!("none, but {}", file.name));
        return Err(Error::integrity(problem));
    }
    for file in &files {
        folder.remove_if_any(&file.name)?;
    }
    let origin = format!("truename/{}", hex(&random::<8>()?));
    let mut log = Log::new(&origin);
    let entry = LogEntry::Key(KeyEntry {
        vkey: key.vkey_as(&origin).to_string(),
        origin,
        tool: options.tool.clone(),
        time: (options.now)(),
    });
    log.append(entry.to_bytes()?);
    log.commit(folder, key)
}

/// Reads the published log and checks that this operator's key signed it.
fn read_own(folder: &Folder, key: &SigningKeyFile) -> Result<(Published, Vkey)> {
    let missing =
        || Error::integrity(Problem::file(crate::log::CHECKPOINT, "a signed checkpoint", "no such file"));
    let note =
        folder.read_if_any(crate::log::CHECKPOINT, crate::note::MAX_NOTE as u64)?.ok_or_else(missing)?;
    let text = crate::note::unverified_text(&note).and_then(crate::note::Checkpoint::parse);
    let checkpoint = text.ok_or_else(|| {
        Error::integrity(Problem::file(crate::log::CHECKPOINT, "a signed checkpoint", "something else"))
    })?;
    let vkey = key.vkey_as(&checkpoint.origin);
    if let Err(crate::note::NoteError::Unsigned(_)) = crate::note::open(&note, &vkey) {
        let path = key.path().display();
        return Err(Error::Key(format!(
            "this case was signed by another key than {path} ({vkey}); give that key with --key"
        )));
    }
    let published = Published::read(folder, Some(&vkey))?.ok_or_else(missing)?;
    Ok((published, vkey))
}
