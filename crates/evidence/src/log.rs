//! The outer log on disk: entries, tiles, signed checkpoint.
//!
//! Enters: entries in order, some reserved and filled later (segment manifests); leaves: tiles and a checkpoint in
//! `evidence/`. A log of a larger size is published by one rename (`Log::commit`).
//! Deliberately absent: segments, items, MANIFEST.

use std::collections::VecDeque;

use crate::entry::LogEntry;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::key::SigningKeyFile;
use crate::merkle::{self, CompactRange, Hash};
use crate::note::{self, Checkpoint, MAX_NOTE, Vkey};
use crate::problem::Problem;
use crate::tiles::{self, MAX_ENTRIES, Tile, WIDTH};

/// Name of the checkpoint file inside `evidence/`.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// Largest entry bundle: 256 entries of 65,535 bytes with their lengths.
pub(crate) const MAX_BUNDLE: u64 = WIDTH * (65_535 + 2);

/// A log as read from disk: everything that its checkpoint covers.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) note: Vec<u8>,
    pub(crate) leaves: Vec<Hash>,
    pub(crate) entries: Vec<LogEntry>,
}

/// Reads the entries below `size` from the bundles, one bundle in memory at a time.
///
/// `each` gets index, name of the bundle, offset in it, and bytes of every entry.
pub(crate) fn read_entries(
    folder: &Folder,
    size: u64,
    mut each: impl FnMut(u64, &str, u64, &[u8]) -> Result<()>,
) -> Result<()> {
    if size > MAX_ENTRIES {
        let problem = Problem::file(CHECKPOINT, format!("at most {MAX_ENTRIES} entries"), format!("{size}"));
        return Err(Error::integrity(problem));
    }
    for tile in tiles::files(size).into_iter().filter(|tile| tile.level.is_none()) {
        let name = tile.name();
        let bytes = folder.read_if_any(&name, MAX_BUNDLE)?;
        let bytes = bytes.ok_or_else(|| {
            let expected = format!("{} log entries", tile.width);
            Error::integrity(Problem::file(&name, expected, "no such file"))
        })?;
        let entries = tiles::parse_bundle(&bytes, tile.width).ok_or_else(|| {
            let expected = format!("exactly {} entries with their lengths", tile.width);
            Error::integrity(Problem::file(&name, expected, "something else"))
        })?;
        let mut offset = 0u64;
        for (position, entry) in (0u64..).zip(entries) {
            each(tile.index * WIDTH + position, &name, offset + 2, entry)?;
            offset += 2 + entry.len() as u64;
        }
    }
    Ok(())
}

impl Published {
    /// Reads the published log. With a key, the checkpoint's signature is checked; the root always is.
    pub(crate) fn read(folder: &Folder, vkey: Option<&Vkey>) -> Result<Option<Self>> {
        let Some(note) = folder.read_if_any(CHECKPOINT, MAX_NOTE as u64)? else { return Ok(None) };
        let bad = |found: String| Error::integrity(Problem::file(CHECKPOINT, "a signed checkpoint", found));
        let text = match vkey {
            Some(vkey) => note::open(&note, vkey).map_err(|e| bad(e.to_string()))?,
            None => note::unverified_text(&note).ok_or_else(|| bad("not a signed note".to_owned()))?,
        };
        let checkpoint = Checkpoint::parse(text).ok_or_else(|| bad("another text".to_owned()))?;
        let (mut leaves, mut entries, mut range) = (Vec::new(), Vec::new(), CompactRange::default());
        read_entries(folder, checkpoint.size, |index, name, offset, bytes| {
            let entry = LogEntry::parse(bytes).ok_or_else(|| {
                let expected = format!("entry {index} in its canonical form");
                Error::integrity(Problem::at(name, offset, expected, "something else"))
            })?;
            let leaf = merkle::leaf_hash(bytes);
            range.push(leaf);
            leaves.push(leaf);
            entries.push(entry);
            Ok(())
        })?;
        if range.root() != checkpoint.root {
            let problem = Problem::file(
                "tile/entries",
                format!("entries with the signed root {}", note::base64(&checkpoint.root)),
                note::base64(&range.root()),
            );
            return Err(Error::integrity(problem));
        }
        Ok(Some(Self { checkpoint, note, leaves, entries }))
    }
}

/// A log being written.
#[derive(Debug)]
pub(crate) struct Log {
    origin: String,
    /// Hashes of all published entries.
    leaves: Vec<Hash>,
    /// Bytes of the published entries of the last, partial bundle.
    edge: Vec<Vec<u8>>,
    /// Entries after the published ones; `None` is reserved and not yet filled.
    pending: VecDeque<Option<Vec<u8>>>,
}

impl Log {
    /// A log without entries.
    pub(crate) fn new(origin: &str) -> Self {
        Self { origin: origin.to_owned(), leaves: Vec::new(), edge: Vec::new(), pending: VecDeque::new() }
    }

    /// Continues a published log.
    pub(crate) fn resume(published: &Published) -> Result<Self> {
        let keep = published.entries.len() / WIDTH as usize * WIDTH as usize;
        let edge: Result<Vec<Vec<u8>>> =
            published.entries.iter().skip(keep).map(LogEntry::to_bytes).collect();
        Ok(Self {
            origin: published.checkpoint.origin.clone(),
            leaves: published.leaves.clone(),
            edge: edge?,
            pending: VecDeque::new(),
        })
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// Number of published entries.
    pub(crate) fn published(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// Index that the next entry gets.
    pub(crate) fn next_index(&self) -> u64 {
        (self.leaves.len() + self.pending.len()) as u64
    }

    /// Appends an entry in memory.
    pub(crate) fn append(&mut self, bytes: Vec<u8>) -> u64 {
        self.pending.push_back(Some(bytes));
        self.next_index() - 1
    }

    /// Reserves the next index.
    pub(crate) fn reserve(&mut self) -> u64 {
        self.pending.push_back(None);
        self.next_index() - 1
    }

    /// Fills a reserved index.
    pub(crate) fn fill(&mut self, index: u64, bytes: Vec<u8>) -> Result<()> {
        let at = index.checked_sub(self.published()).and_then(|at| usize::try_from(at).ok());
        match at.and_then(|at| self.pending.get_mut(at)) {
            Some(slot @ None) => {
                *slot = Some(bytes);
                Ok(())
            }
            _ => Err(Error::Refused(format!("log entry {index} was not reserved"))),
        }
    }

    /// Leaf hash of a published or pending entry.
    pub(crate) fn leaf(&self, index: u64) -> Option<Hash> {
        let index = usize::try_from(index).ok()?;
        if let Some(leaf) = self.leaves.get(index) {
            return Some(*leaf);
        }
        self.pending.get(index - self.leaves.len())?.as_deref().map(merkle::leaf_hash)
    }

    /// True if a reserved entry is still to be filled.
    pub(crate) fn waits(&self) -> bool {
        self.pending.iter().any(Option::is_none)
    }

    /// The checkpoint that covers what is published.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        Checkpoint { origin: self.origin.clone(), size: self.published(), root: merkle::root(&self.leaves) }
    }

    /// Publishes all pending entries: tiles first, then the checkpoint. Reserved entries must have been filled.
    pub(crate) fn commit(&mut self, folder: &Folder, key: &SigningKeyFile) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.waits() {
            return Err(Error::Refused("a segment is still being sealed".to_owned()));
        }
        let old = self.published();
        let added: Vec<Vec<u8>> = std::mem::take(&mut self.pending).into_iter().flatten().collect();
        self.leaves.extend(added.iter().map(|entry| merkle::leaf_hash(entry)));
        self.edge.extend(added);
        let size = self.published();
        if size > MAX_ENTRIES {
            return Err(Error::Refused(format!("a log of more than {MAX_ENTRIES} entries")));
        }
        let first = old / WIDTH * WIDTH;
        for tile in tiles::files(size) {
            if tile_is_unchanged(&tile, old) {
                continue;
            }
            let content = match tile.level {
                Some(_) => tile.hashes(&self.leaves),
                None => {
                    let skip = (tile.index * WIDTH).saturating_sub(first) as usize;
                    let entries = self.edge.iter().skip(skip).take(tile.width as usize);
                    tiles::bundle(entries.map(Vec::as_slice))
                }
            };
            folder.write_atomic(&tile.name(), &content)?;
        }
        let signed = key.sign(&self.checkpoint().body(), &self.origin);
        // Commit point. A crash before this line leaves the old checkpoint and some unpublished tiles, which the next
        // opening removes; a crash after it leaves the new log with some superseded tiles, removed likewise.
        folder.write_atomic(CHECKPOINT, signed.as_bytes())?;
        self.edge.drain(..((size / WIDTH * WIDTH).saturating_sub(first) as usize).min(self.edge.len()));
        self.remove_superseded(folder, old)
    }

    /// Removes the partial tiles of an older size.
    fn remove_superseded(&self, folder: &Folder, old: u64) -> Result<()> {
        let current = tiles::files(self.published());
        for tile in tiles::files(old).into_iter().filter(|tile| tile.width < WIDTH) {
            if !current.contains(&tile) {
                folder.remove_if_any(&tile.name())?;
            }
        }
        Ok(())
    }
}

/// True if a log of `old` entries already had this tile with this width.
fn tile_is_unchanged(tile: &Tile, old: u64) -> bool {
    let nodes = old >> (8 * u32::from(tile.level.unwrap_or(0)));
    nodes.saturating_sub(tile.index * WIDTH).min(WIDTH) == tile.width
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Conclusion;

    fn entry(n: u64) -> Vec<u8> {
        LogEntry::Conclusion(Conclusion { prefix: n, ..Conclusion::default() }).to_bytes().unwrap()
    }

    #[test]
    fn a_log_grown_in_steps_is_read_back_and_has_the_files_of_its_size() {
        let dir = tempfile::tempdir().unwrap();
        let key = SigningKeyFile::load_or_create(&dir.path().join("key")).unwrap();
        std::fs::create_dir(dir.path().join("log")).unwrap();
        let folder = Folder::open(&dir.path().join("log")).unwrap();
        let mut log = Log::new("truename/test");
        let mut n = 0;
        for step in [1u64, 0, 254, 1, 1, 255, 300, 3] {
            for _ in 0..step {
                log.append(entry(n));
                n += 1;
            }
            log.commit(&folder, &key).unwrap();
            let vkey = key.vkey_as("truename/test");
            let read = Published::read(&folder, Some(&vkey)).unwrap().unwrap();
            assert_eq!((read.checkpoint.size, read.entries.len() as u64), (n, n));
            assert_eq!(read.entries.last().unwrap().to_bytes().unwrap(), entry(n - 1));
            let mut want: Vec<String> = tiles::files(n).iter().map(Tile::name).collect();
            want.push(CHECKPOINT.to_owned());
            want.sort();
            let found: Vec<String> = folder.list().unwrap().into_iter().map(|l| l.name).collect();
            assert_eq!(found, want, "size {n}");
            for tile in tiles::files(n).iter().filter(|t| t.level.is_some()) {
                assert_eq!(folder.read(&tile.name(), 1 << 20).unwrap(), tile.hashes(&read.leaves));
            }
            log = Log::resume(&read).unwrap();
        }
    }

    #[test]
    fn a_reserved_entry_keeps_its_place_and_holds_the_commit_back() {
        let dir = tempfile::tempdir().unwrap();
        let key = SigningKeyFile::load_or_create(&dir.path().join("key")).unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let mut log = Log::new("truename/test");
        let reserved = log.reserve();
        log.append(entry(7));
        assert!(matches!(log.commit(&folder, &key), Err(Error::Refused(_))));
        log.fill(reserved, entry(1)).unwrap();
        assert!(log.fill(reserved, entry(2)).is_err());
        log.commit(&folder, &key).unwrap();
        let read = Published::read(&folder, None).unwrap().unwrap();
        assert_eq!(read.entries[0].to_bytes().unwrap(), entry(1));
    }
}
