//! A case's life: append, read back, reopen, resume, prove, verify.

use std::sync::Arc;

use truename_evidence::{
    Case, Conclusion, Error, ItemSummary, Limits, LogEntry, Loss, NewPiece, Reader, ReceiptCheck,
    SigningKeyFile, merkle, verify,
};

use crate::support::{SMALL, bed, begin, digest, expected, fill, options, read_all, record};

#[test]
fn what_is_appended_is_read_back_and_verifies() {
    let bed = bed();
    let mut case = bed.open();
    let (a, b) = (fill(&mut case, 0, 1000), fill(&mut case, 1, 10));
    case.seal().unwrap();
    let reader = case.reader().unwrap();
    assert_eq!(read_all(&reader, a), expected(0, 1000));
    assert_eq!(read_all(&reader, b), expected(1, 10));
    case.conclude(Conclusion { prefix: case.log_size(), ..Conclusion::default() }).unwrap();
    let receipt = case.close().unwrap();
    let report = verify(&bed.case, Some(&bed.key.vkey()), Some(&receipt)).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(report.verdict(), "intact, key pinned");
    assert_eq!(report.receipt, ReceiptCheck::Same);
    assert_eq!((report.items, report.records, report.unfinished), (2, 1010, 0));
    assert!(report.segments > 3);
    let report = verify(&bed.case, None, None).unwrap();
    assert_eq!(report.verdict(), "intact, key unpinned (whoever holds the case could have re-signed it)");
    let reader = Reader::open(&bed.case).unwrap();
    assert_eq!(read_all(&reader, a), expected(0, 1000));
    assert_eq!(reader.conclusions().len(), 1);
    for ordinal in [0, 1, 3, 499, 999] {
        assert_eq!(reader.record(a, ordinal, 1 << 20).unwrap().unwrap(), record(0, ordinal));
    }
    assert_eq!(reader.record(a, 1000, 100).unwrap(), None);
}

#[test]
fn a_second_run_appends_to_the_same_log() {
    let bed = bed();
    let mut case = bed.open();
    fill(&mut case, 0, 400);
    let first = case.close().unwrap();
    let mut case = bed.open();
    assert!(case.items()[0].is_complete());
    assert_eq!(case.resume_point(&digest(0)), None);
    let b = fill(&mut case, 1, 400);
    let second = case.close().unwrap();
    let reader = Reader::open(&bed.case).unwrap();
    assert_eq!(read_all(&reader, b), expected(1, 400));
    let report = verify(&bed.case, None, Some(&first)).unwrap();
    assert_eq!(report.problems, []);
    let added = second.checkpoint.size - first.checkpoint.size;
    assert_eq!(report.receipt, ReceiptCheck::Extends(added));
}

#[test]
fn every_record_can_be_proven_and_an_altered_proof_fails() {
    let bed = bed();
    let mut case = bed.open();
    let (a, b) = (fill(&mut case, 0, 700), fill(&mut case, 1, 3));
    let vkey = case.vkey();
    case.close().unwrap();
    let reader = Reader::open(&bed.case).unwrap();
    for (item, ordinals) in [(a, 0..700), (b, 0..3)] {
        for ordinal in ordinals.step_by(13) {
            let proof = reader.proof(item, ordinal).unwrap().unwrap();
            let checkpoint = proof.check(&vkey).unwrap_or_else(|e| panic!("{ordinal}: {e}"));
            assert_eq!(&checkpoint, reader.checkpoint());
            let mut altered = proof.clone();
            altered.payload[10] ^= 1;
            assert!(altered.check(&vkey).is_err());
            let mut altered = proof.clone();
            altered.leaf_index += 1;
            assert!(altered.check(&vkey).is_err());
            assert!(proof.check(&bed.key.vkey()).is_err(), "the key of another name");
        }
    }
}

#[test]
fn a_record_in_pieces_is_proven_piece_by_piece_with_its_custody() {
    let bed = bed();
    let mut case = bed.open();
    fill(&mut case, 0, 10);
    let item = case.begin_item(begin(1)).unwrap();
    let parts: [(&[u8], bool); 3] = [(b"name: ", false), (b"hunter2", true), (b";", false)];
    for (at, (bytes, secret)) in parts.into_iter().enumerate() {
        case.append(item, NewPiece { ordinal: 0, offset: at as u64, more: at < 2, secret, bytes }).unwrap();
    }
    let vkey = case.vkey();
    case.end_item(item, ItemSummary { complete: true, offered: 1, ..ItemSummary::default() }).unwrap();
    case.close().unwrap();
    let reader = Reader::open(&bed.case).unwrap();
    let proof = reader.record_proof(item, 0, 10).unwrap().unwrap();
    let shown: Vec<bool> = proof.pieces.iter().map(|piece| piece.may_be_shown()).collect();
    assert_eq!((shown, proof.pieces_omitted), (vec![true, false, true], 0));
    proof.pieces.iter().for_each(|piece| assert_eq!(&piece.check(&vkey).unwrap(), reader.checkpoint()));
    let checkpoint = reader.checkpoint();
    for entry in [&proof.begin, proof.end.as_ref().unwrap()] {
        let leaf = merkle::leaf_hash(&entry.entry);
        assert!(merkle::check_inclusion(&leaf, entry.index, checkpoint.size, &entry.path, &checkpoint.root));
    }
    assert!(matches!(LogEntry::parse(&proof.begin.entry), Some(LogEntry::ItemBegin(_))));
    assert!(
        matches!(LogEntry::parse(&proof.end.unwrap().entry), Some(LogEntry::ItemEnd(end)) if end.item == 1)
    );
    let cut = reader.record_proof(item, 0, 2).unwrap().unwrap();
    assert_eq!((cut.pieces.len(), cut.pieces_omitted), (2, 1));
    assert_eq!(reader.record_proof(item, 1, 10).unwrap(), None);
}

#[test]
fn a_receipt_that_cannot_be_compared_is_not_said_to_be_missing() {
    let bed = bed();
    let mut case = bed.open();
    fill(&mut case, 0, 10);
    let receipt = case.close().unwrap();
    std::fs::remove_file(bed.case.join("evidence/checkpoint")).unwrap();
    let report = verify(&bed.case, None, Some(&receipt)).unwrap();
    assert!(!report.is_intact());
    assert_eq!(report.receipt, ReceiptCheck::NotCompared);
    std::fs::remove_dir_all(bed.case.join("evidence")).unwrap();
    let report = verify(&bed.case, None, Some(&receipt)).unwrap();
    assert!(!report.is_intact() && report.receipt_line().contains("nothing to be compared"));
}

#[test]
fn an_empty_folder_in_a_concluded_case_is_named_and_the_next_opening_removes_it() {
    let bed = bed();
    let mut case = bed.open();
    fill(&mut case, 0, 10);
    case.seal().unwrap();
    for folder in ["evidence/quarantine", "evidence/originals"] {
        std::fs::create_dir(bed.case.join(folder)).unwrap();
    }
    let problems = || verify(&bed.case, None, None).unwrap().problems.len();
    assert_eq!(problems(), 0, "a run that goes on may be about to keep something");
    case.conclude(Conclusion { prefix: case.log_size(), ..Conclusion::default() }).unwrap();
    case.close().unwrap();
    assert_eq!(problems(), 2);
    bed.open().close().unwrap();
    assert_eq!(problems(), 0);
}

#[test]
fn a_second_writer_is_refused_and_told_who_writes() {
    let bed = bed();
    let _case = bed.open();
    match Case::open_or_create(&bed.case, Arc::clone(&bed.key), options(SMALL)) {
        Err(error @ Error::Busy { .. }) => {
            assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
        }
        _ => panic!("a second writer was let in"),
    }
}

#[test]
fn another_operators_key_is_refused_by_name() {
    let bed = bed();
    bed.open().close().unwrap();
    let other = Arc::new(SigningKeyFile::load_or_create(&bed.case.join("../other")).unwrap());
    let Err(error) = Case::open_or_create(&bed.case, other, options(SMALL)) else { panic!("accepted") };
    assert!(matches!(error, Error::Key(_)), "{error}");
}

#[test]
fn records_offered_must_be_records_written_and_lost() {
    let bed = bed();
    let mut case = bed.open();
    let item = case.begin_item(begin(0)).unwrap();
    let piece = NewPiece { ordinal: 0, offset: 0, more: false, secret: false, bytes: b"x" };
    case.append(item, piece).unwrap();
    let summary = ItemSummary { offered: 3, complete: true, ..ItemSummary::default() };
    assert!(matches!(case.end_item(item, summary.clone()), Err(Error::Refused(_))));
    let losses = vec![Loss { cause: "not-dns".into(), records: 2, ..Loss::default() }];
    case.end_item(item, ItemSummary { losses, ..summary }).unwrap();
    assert!(matches!(case.append(item, piece), Err(Error::Refused(_))), "an ended item takes nothing");
    case.close().unwrap();
    let report = verify(&bed.case, None, None).unwrap();
    assert_eq!((report.problems.len(), report.records, report.lost), (0, 1, 2));
}

#[test]
fn pieces_up_to_a_mebibyte_pass_and_longer_ones_are_refused() {
    let bed = bed();
    let mut case = Case::open_or_create(&bed.case, Arc::clone(&bed.key), options(Limits::default())).unwrap();
    let item = case.begin_item(begin(0)).unwrap();
    let big: Vec<u8> = (0..(1u32 << 20)).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for ordinal in 0..3 {
        let piece = NewPiece { ordinal, offset: ordinal << 20, more: false, secret: false, bytes: &big };
        case.append(item, piece).unwrap();
    }
    let long = vec![0u8; (1 << 20) + 1];
    let piece = NewPiece { ordinal: 3, offset: 0, more: false, secret: false, bytes: &long };
    assert!(matches!(case.append(item, piece), Err(Error::Refused(_))));
    case.end_item(item, ItemSummary { offered: 3, complete: true, ..ItemSummary::default() }).unwrap();
    case.close().unwrap();
    let reader = Reader::open(&bed.case).unwrap();
    assert_eq!(reader.record(item, 2, usize::MAX).unwrap().unwrap(), big);
    assert!(verify(&bed.case, None, None).unwrap().is_intact());
}
