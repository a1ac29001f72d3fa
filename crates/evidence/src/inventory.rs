//! Which files a case may have under `evidence/`, and the MANIFEST that lists them.
//!
//! Enters: the entries of the log; leaves: expected names with digests, MANIFEST text. The MANIFEST adds nothing to
//! what the log says; it lets `sha256sum` and the eye check a folder. Deliberately absent: trust in the MANIFEST.

use std::collections::BTreeMap;
use std::io::Read as _;

use sha2::{Digest as _, Sha256};
use truename_model::Sha256 as Digest;

use crate::entry::{FileRef, ItemBegin, LogEntry};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::log::CHECKPOINT;
use crate::tiles;

/// Name of the list inside `evidence/`.
pub(crate) const MANIFEST: &str = "MANIFEST";
const TITLE: &str = "truename evidence manifest v1\n";

/// Expected files by name; the digest is known where an entry states it.
pub(crate) type Inventory = BTreeMap<String, Option<FileRef>>;

/// Name of the copy of an original.
pub(crate) fn original_name(sha256: &Digest) -> String {
    format!("originals/{sha256}")
}

fn original(begin: &ItemBegin) -> Option<FileRef> {
    let outer = begin.layers.first();
    let (size, sha256) = outer.map_or((begin.size, begin.sha256), |layer| (layer.size, layer.sha256));
    begin.original_kept.then(|| FileRef { file: original_name(&sha256), size, sha256 })
}

/// The file that an entry speaks of.
fn named_file(entry: &LogEntry) -> Option<FileRef> {
    match entry {
        LogEntry::Segment(manifest) => Some(manifest.file.clone()),
        LogEntry::Gap(gap) => gap.quarantine.clone(),
        LogEntry::ItemBegin(begin) => original(begin),
        LogEntry::Key(_) | LogEntry::ItemEnd(_) | LogEntry::Conclusion(_) => None,
    }
}

/// Everything that a log of these entries has on disk, without the MANIFEST.
pub(crate) fn expected<'a>(size: u64, entries: impl Iterator<Item = &'a LogEntry>) -> Inventory {
    let mut out: Inventory = tiles::files(size).iter().map(|tile| (tile.name(), None)).collect();
    out.insert(CHECKPOINT.to_owned(), None);
    for file in entries.filter_map(named_file) {
        out.insert(file.file.clone(), Some(file));
    }
    out
}

/// Folders of what is kept beside the log.
pub(crate) const KEPT: [&str; 2] = ["quarantine", "originals"];

/// Whether the log's own writer may have left this folder empty: the place of a segment, of a tile that has grown since,
/// and, while a run has not come to its conclusion, of what it was about to keep.
pub(crate) fn may_be_empty(folder: &str, inventory: &Inventory, concluded: bool) -> bool {
    let grown = folder.strip_suffix(".p").is_some_and(|tile| inventory.contains_key(tile));
    let above = format!("{folder}/");
    folder == "segments"
        || (!concluded && KEPT.contains(&folder))
        || grown
        || inventory.keys().any(|name| name.starts_with(&above))
}

/// Size and SHA-256 of a file, read in pieces.
pub(crate) fn digest(folder: &Folder, name: &str) -> Result<FileRef> {
    let path = folder.path_of(name);
    let mut file = folder.file(name)?;
    let (mut hasher, mut size) = (Sha256::new(), 0u64);
    let mut buffer = vec![0u8; 128 << 10];
    loop {
        let len = file.read(&mut buffer).map_err(Error::io("read", &path))?;
        if len == 0 {
            break;
        }
        hasher.update(&buffer[..len]);
        size += len as u64;
    }
    Ok(FileRef { file: name.to_owned(), size, sha256: Digest(hasher.finalize().into()) })
}

/// Text of the MANIFEST for files in the order of their names.
pub(crate) fn manifest_text<'a>(files: impl Iterator<Item = &'a FileRef>) -> String {
    let mut out = TITLE.to_owned();
    for file in files {
        out.push_str(&format!("{} {} {}\n", file.sha256, file.size, file.file));
    }
    out
}

/// Writes the MANIFEST of the expected files; digests that entries state are taken from there.
pub(crate) fn write_manifest(folder: &Folder, inventory: &Inventory) -> Result<()> {
    let mut files = Vec::new();
    for (name, stated) in inventory {
        files.push(match stated {
            Some(file) => file.clone(),
            None => digest(folder, name)?,
        });
    }
    folder.write_atomic(MANIFEST, manifest_text(files.iter()).as_bytes())
}
