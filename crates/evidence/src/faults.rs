//! Fault table: every change of the disk fails once; the next opening goes on and nothing is lost.
//!
//! Enters: a number of changes that succeed; leaves: assertions. Test only. Deliberately absent: kills from outside
//! (`tests/main/kills.rs`).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use truename_model::{Nanos, Sha256 as Digest};

use crate::case::{Case, Limits, NewPiece, Options, prepare};
use crate::entry::{Conclusion, ItemBegin, ItemEnd, ItemSummary, LogEntry};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::key::SigningKeyFile;
use crate::problem::Problem;
use crate::reader::Reader;
use crate::receipt::Receipt;

const LIMITS: Limits = Limits { block_raw: 300, segment_leaves: 40, segment_raw: 1 << 20 };

struct Bed {
    dir: tempfile::TempDir,
    key: Arc<SigningKeyFile>,
}

impl Bed {
    fn new() -> Self {
        let dir =
            tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" }).unwrap();
        let key = Arc::new(SigningKeyFile::load_or_create(&dir.path().join("key")).unwrap());
        Self { dir, key }
    }

    /// Opens the case so that the operation after `faultless` changes of the disk fails, and all after it.
    fn open(&self, faultless: i64) -> Result<Case> {
        let dir = self.dir.path().join("case");
        let lock = prepare(&dir)?;
        let folder = Folder::open(&dir)?.child("evidence")?;
        folder.left.store(faultless, Ordering::SeqCst);
        let options = Options { now: Box::new(|| Nanos(7)), tool: "test".into(), limits: LIMITS };
        Case::open_in(&dir, Arc::new(folder), lock, Arc::clone(&self.key), options)
    }

    fn verify(&self, receipt: Option<&Receipt>) -> Vec<Problem> {
        crate::verify::verify(&self.dir.path().join("case"), Some(&self.key.vkey()), receipt)
            .unwrap()
            .problems
    }
}

fn text(item: u8, ordinal: u64) -> Vec<u8> {
    format!("item {item} record {ordinal} {}", "x".repeat((ordinal % 30) as usize)).into_bytes()
}

fn write_item(case: &mut Case, item: u8, records: u64) -> Result<()> {
    let sha256 = Digest([item; 32]);
    if case.items().iter().any(|i| i.begin.sha256 == sha256 && i.end.is_some()) {
        return Ok(());
    }
    let (id, skip) = match case.resume_point(&sha256) {
        Some(point) => (point.item, point.pieces),
        None => (case.begin_item(ItemBegin { sha256, ..ItemBegin::default() })?, 0),
    };
    for ordinal in skip..records {
        let bytes = text(item, ordinal);
        let piece = NewPiece { ordinal, offset: ordinal * 100, more: false, secret: false, bytes: &bytes };
        case.append(id, piece)?;
    }
    case.end_item(id, ItemSummary { offered: records, complete: true, ..ItemSummary::default() })
}

/// A session that uses every operation.
fn session(case: &mut Case) -> Result<()> {
    write_item(case, 1, 60)?;
    case.commit()?;
    write_item(case, 2, 5)?;
    case.seal()?;
    case.conclude(Conclusion::default())?;
    write_item(case, 3, 50)?;
    case.seal()
}

fn check_content(bed: &Bed, context: &str) {
    let reader = Reader::open(&bed.dir.path().join("case")).unwrap();
    assert_eq!(reader.items().len(), 3, "{context}");
    for (item, records) in [(1u8, 60u64), (2, 5), (3, 50)] {
        let found = reader.items().iter().find(|i| i.begin.sha256 == Digest([item; 32])).unwrap();
        let mut cursor = reader.records(found.id).unwrap();
        for ordinal in 0..records {
            let piece = cursor.next().unwrap().unwrap_or_else(|| panic!("{context}: {item}/{ordinal}"));
            assert_eq!((piece.ordinal, piece.bytes), (ordinal, text(item, ordinal).as_slice()), "{context}");
        }
        assert_eq!(cursor.next().unwrap(), None, "{context}: item {item}");
    }
}

/// Runs the session with a fault after each number of changes, then (for some) a second fault in the recovery,
/// then to the end without faults: the content is that of an undisturbed run, and it verifies.
#[test]
fn a_fault_at_every_change_of_the_disk_loses_nothing_that_was_offered_again() {
    let mut faults = 0;
    for first in 0.. {
        let bed = Bed::new();
        let run = bed.open(first).and_then(|mut case| session(&mut case).map(|()| case.receipt()));
        let whole = run.is_ok();
        if !whole {
            for second in [first % 7, first % 23] {
                let _ = bed.open(second).and_then(|mut case| session(&mut case));
            }
        }
        let context = format!("fault after {first} changes");
        let mut case = bed.open(i64::MAX).unwrap_or_else(|e| panic!("{context}: {e}"));
        session(&mut case).unwrap_or_else(|e| panic!("{context}: {e}"));
        let receipt = case.close().unwrap();
        check_content(&bed, &context);
        assert_eq!(bed.verify(Some(&receipt)), [], "{context}");
        if whole {
            break;
        }
        faults += 1;
    }
    println!("faults injected: {faults}");
    assert!(faults > 60, "{faults}");
}

#[test]
fn after_a_failed_write_nothing_more_is_written() {
    let bed = Bed::new();
    let mut case = bed.open(40).unwrap();
    let failed = session(&mut case).unwrap_err();
    assert!(matches!(failed, Error::Io { .. } | Error::Stopped(_)), "{failed}");
    assert!(matches!(case.commit(), Err(Error::Stopped(_))));
    assert!(matches!(case.begin_item(ItemBegin::default()), Err(Error::Stopped(_))));
}

/// A writer that holds the key can sign false numbers; the verifier counts itself.
#[test]
fn signed_counts_that_the_segments_do_not_bear_out_are_found() {
    for (stored, offered, found) in [(1, 1, 0), (2, 2, 1), (1, 3, 1)] {
        let bed = Bed::new();
        let mut case = bed.open(i64::MAX).unwrap();
        let item = case.begin_item(ItemBegin::default()).unwrap();
        let piece = NewPiece { ordinal: 0, offset: 0, more: false, secret: false, bytes: b"one" };
        case.append(item, piece).unwrap();
        let end = ItemEnd { item: item.0, stored, offered, pieces: 1, bytes: 3, ..ItemEnd::default() };
        case.enter(LogEntry::ItemEnd(end)).unwrap();
        let receipt = case.close().unwrap();
        let problems = bed.verify(Some(&receipt));
        assert_eq!(problems.len(), found, "{problems:?}");
        assert!(problems.iter().all(|p| p.file == "segments (item 0)"), "{problems:?}");
    }
}
