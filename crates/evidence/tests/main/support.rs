//! Helpers for the tests: small cases with known content.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use truename_evidence::{
    Case, ItemBegin, ItemId, ItemSummary, Limits, NewPiece, Options, Reader, SigningKeyFile,
};
use truename_model::{Nanos, Sha256};

/// Small limits, so that few records make several blocks and segments.
pub(crate) const SMALL: Limits = Limits { block_raw: 2_000, segment_leaves: 300, segment_raw: 1 << 20 };

pub(crate) struct Bed {
    _dir: tempfile::TempDir,
    pub(crate) case: PathBuf,
    pub(crate) key: Arc<SigningKeyFile>,
}

pub(crate) fn bed() -> Bed {
    // In memory where that can be had: these tests write thousands of times, durably.
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let key = Arc::new(SigningKeyFile::load_or_create(&dir.path().join("key")).unwrap());
    Bed { case: dir.path().join("case"), key, _dir: dir }
}

pub(crate) fn options(limits: Limits) -> Options {
    Options { now: Box::new(|| Nanos(1_700_000_000_000_000_000)), tool: "truename test".into(), limits }
}

impl Bed {
    pub(crate) fn open(&self) -> Case {
        Case::open_or_create(&self.case, Arc::clone(&self.key), options(SMALL)).unwrap()
    }
}

/// Content of record `ordinal` of item `item`: different lengths, some empty, some secret in the middle.
pub(crate) fn record(item: u32, ordinal: u64) -> Vec<u8> {
    let len = (u64::from(item) * 31 + ordinal * 17) % 120;
    (0..len).map(|i| (ordinal as u8).wrapping_mul(7).wrapping_add(i as u8 ^ item as u8)).collect()
}

pub(crate) fn digest(item: u32) -> Sha256 {
    Sha256([item as u8 + 1; 32])
}

pub(crate) fn begin(item: u32) -> ItemBegin {
    ItemBegin {
        path: format!("logs/\u{1b}[31m{item}.log"),
        sha256: digest(item),
        operator: "tester".into(),
        format: "test".into(),
        ..ItemBegin::default()
    }
}

/// The pieces of a record: whole, or cut in three with a secret middle.
pub(crate) fn pieces(item: u32, ordinal: u64, offset: u64, bytes: &[u8]) -> Vec<NewPiece<'_>> {
    let _ = item;
    let whole = NewPiece { ordinal, offset, more: false, secret: false, bytes };
    if ordinal % 7 != 3 || bytes.len() < 9 {
        return vec![whole];
    }
    let (head, rest) = bytes.split_at(bytes.len() / 3);
    let (middle, tail) = rest.split_at(rest.len() / 2);
    let at = offset + head.len() as u64;
    vec![
        NewPiece { more: true, bytes: head, ..whole },
        NewPiece { more: true, secret: true, offset: at, bytes: middle, ..whole },
        NewPiece { offset: at + middle.len() as u64, bytes: tail, ..whole },
    ]
}

/// Writes an item from where it stands.
pub(crate) fn fill(case: &mut Case, item: u32, records: u64) -> ItemId {
    let (id, skip) = match case.resume_point(&digest(item)) {
        Some(point) => (point.item, point.pieces),
        None => (case.begin_item(begin(item)).unwrap(), 0),
    };
    let (mut offset, mut number) = (0, 0);
    for ordinal in 0..records {
        let bytes = record(item, ordinal);
        for piece in pieces(item, ordinal, offset, &bytes) {
            if number >= skip {
                case.append(id, piece).unwrap();
            }
            number += 1;
        }
        offset += bytes.len() as u64;
    }
    case.end_item(id, ItemSummary { offered: records, complete: true, ..ItemSummary::default() }).unwrap();
    id
}

/// All records of an item as the reader gives them.
pub(crate) fn read_all(reader: &Reader, item: ItemId) -> Vec<Vec<u8>> {
    let mut cursor = reader.records(item).unwrap();
    let (mut out, mut open) = (Vec::new(), false);
    while let Some(piece) = cursor.next().unwrap() {
        if !open {
            assert_eq!(piece.ordinal, out.len() as u64);
            out.push(Vec::new());
        }
        out.last_mut().unwrap().extend_from_slice(piece.bytes);
        open = piece.more;
    }
    out
}

pub(crate) fn expected(item: u32, records: u64) -> Vec<Vec<u8>> {
    (0..records).map(|ordinal| record(item, ordinal)).collect()
}

/// Every file below a folder, relative, sorted.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut stack = vec![dir.to_path_buf()];
    while let Some(next) = stack.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                stack.push(entry.path());
            } else {
                out.push(entry.path().strip_prefix(dir).unwrap().to_path_buf());
            }
        }
    }
    out.sort();
    out
}
