//! Every change of any file under `evidence/` is found, with file and place; so are rollback and divergence.

use std::path::{Path, PathBuf};

use truename_evidence::{
    Case, Conclusion, Error, GapCause, GapEntry, ItemBegin, Reader, Receipt, SigningKeyFile, VerifyReport,
    verify,
};
use truename_model::Nanos;

use crate::support::{Bed, SMALL, bed, begin, digest, expected, files, fill, options, read_all};

/// A small case that has every kind of file: two segments, a kept original, a quarantined tail, all tiles.
fn small() -> (Bed, Receipt) {
    let bed = bed();
    let mut case = bed.open();
    let kept = case.keep_original(&mut &b"the original"[..]).unwrap();
    let original = ItemBegin { sha256: kept.sha256, size: kept.size, original_kept: true, ..begin(9) };
    case.begin_item(original).unwrap();
    case.commit().unwrap();
    // The state after a kill, with half a block after it.
    let snapshot = bed.case.with_extension("killed");
    copy(&bed.case, &snapshot);
    drop(case);
    std::fs::remove_dir_all(&bed.case).unwrap();
    std::fs::rename(&snapshot, &bed.case).unwrap();
    let open = bed.case.join("evidence/segments/00000000.open");
    let mut bytes = std::fs::read(&open).unwrap();
    bytes.extend_from_slice(b"TNB1 half a block");
    std::fs::write(&open, bytes).unwrap();
    let mut case = bed.open();
    assert!(case.gaps()[0].1.quarantine.is_some());
    fill(&mut case, 0, 20);
    case.seal().unwrap();
    fill(&mut case, 1, 5);
    case.conclude(Conclusion::default()).unwrap();
    let receipt = case.close().unwrap();
    (bed, receipt)
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(&file);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(from.join(&file), target).unwrap();
    }
}

fn check(case: &Path) -> VerifyReport {
    verify(case, None, None).unwrap()
}

#[test]
fn every_flipped_byte_of_every_file_is_found_and_named() {
    let (bed, _) = small();
    assert_eq!(check(&bed.case).problems, []);
    let evidence = bed.case.join("evidence");
    let (mut flips, mut named, mut misnamed) = (0, 0, Vec::<String>::new());
    let all = files(&evidence);
    for kind in ["MANIFEST", "checkpoint", "originals", "quarantine", "segments", "tile/0", "tile/entries"] {
        assert!(all.iter().any(|f| f.starts_with(kind)), "the case has {kind}");
    }
    for file in all {
        let path = evidence.join(&file);
        let content = std::fs::read(&path).unwrap();
        for at in 0..content.len() {
            let mut altered = content.clone();
            // Another bit at each byte.
            altered[at] ^= 1 << (at % 8);
            std::fs::write(&path, &altered).unwrap();
            let report = check(&bed.case);
            assert!(!report.is_intact(), "{} at {at} was not noticed", file.display());
            let name = file.to_str().unwrap();
            flips += 1;
            let place = |p: &truename_evidence::Problem| {
                p.file == name && p.offset.is_none_or(|offset| offset <= at as u64)
            };
            let here = report.problems.iter().any(place);
            named += u32::from(here);
            if !here && misnamed.len() < 10 {
                misnamed.push(format!("{name} at {at}: {:?}", report.problems));
            }
        }
        std::fs::write(&path, &content).unwrap();
    }
    assert_eq!(check(&bed.case).problems, []);
    println!("{flips} flips found; file and place named in {named}");
    assert!(flips > 3_000);
    assert_eq!(misnamed, [""; 0], "file and place named in {named} of {flips}");
}

#[test]
fn every_truncated_swapped_added_or_deleted_file_is_found() {
    let (bed, _) = small();
    let evidence = bed.case.join("evidence");
    let all = files(&evidence);
    let found = |what: &str, file: &Path| {
        let report = check(&bed.case);
        assert!(!report.is_intact(), "{what} {} was not noticed", file.display());
        report
    };
    for file in &all {
        let path = evidence.join(file);
        let content = std::fs::read(&path).unwrap();
        for len in [0, 1, content.len() / 2, content.len() - 1] {
            std::fs::write(&path, &content[..len]).unwrap();
            found("truncated", file);
        }
        std::fs::write(&path, [content.as_slice(), b"\n"].concat()).unwrap();
        found("longer", file);
        std::fs::remove_file(&path).unwrap();
        let report = found("deleted", file);
        assert!(report.problems.iter().any(|p| p.file == file.to_str().unwrap()), "{:?}", report.problems);
        std::os::unix::fs::symlink(bed.case.join("case.lock"), &path).unwrap();
        found("linked", file);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, &content).unwrap();
    }
    for (at, one) in all.iter().enumerate() {
        for other in &all[at + 1..] {
            let (a, b) =
                (std::fs::read(evidence.join(one)).unwrap(), std::fs::read(evidence.join(other)).unwrap());
            std::fs::write(evidence.join(one), &b).unwrap();
            std::fs::write(evidence.join(other), &a).unwrap();
            if a != b {
                found("swapped", one);
            }
            std::fs::write(evidence.join(one), &a).unwrap();
            std::fs::write(evidence.join(other), &b).unwrap();
        }
    }
    for name in
        ["x", "segments/00000002.seg", "segments/00000002.open", "tile/0/001", "quarantine/y", "MANIFEST.tmp"]
    {
        let path = evidence.join(name);
        std::fs::write(&path, "planted").unwrap();
        let report = found("added", Path::new(name));
        assert!(report.problems.iter().any(|p| p.file == name), "{:?}", report.problems);
        std::fs::remove_file(&path).unwrap();
    }
    assert_eq!(check(&bed.case).problems, []);
}

#[test]
fn a_rollback_is_found_with_a_receipt_and_without_one_said_to_be_unknowable() {
    let bed = bed();
    let mut case = bed.open();
    fill(&mut case, 0, 50);
    case.close().unwrap();
    let old = bed.case.with_extension("old");
    copy(&bed.case, &old);
    let mut case = bed.open();
    fill(&mut case, 1, 50);
    let receipt = case.close().unwrap();
    assert!(verify(&bed.case, None, Some(&receipt)).unwrap().is_intact());
    let report = verify(&old, None, None).unwrap();
    assert!(report.is_intact());
    assert!(report.receipt_line().contains("cannot know"), "{}", report.receipt_line());
    let report = verify(&old, None, Some(&receipt)).unwrap();
    assert_eq!(report.problems.len(), 1);
    assert_eq!(report.problems[0].file, "checkpoint");
    assert!(report.problems[0].found.contains("rolled back"), "{}", report.problems[0]);
}

#[test]
fn a_history_rewritten_with_the_same_key_diverges_from_the_receipt() {
    let bed = bed();
    let mut case = bed.open();
    fill(&mut case, 0, 5);
    case.seal().unwrap();
    let base = bed.case.with_extension("base");
    copy(&bed.case, &base);
    fill(&mut case, 1, 5);
    let receipt = case.close().unwrap();
    let mut other = Case::open_or_create(&base, std::sync::Arc::clone(&bed.key), options(SMALL)).unwrap();
    fill(&mut other, 2, 5);
    fill(&mut other, 3, 5);
    other.close().unwrap();
    assert!(verify(&base, Some(&bed.key.vkey()), None).unwrap().is_intact());
    let report = verify(&base, None, Some(&receipt)).unwrap();
    assert_eq!(report.problems.len(), 1);
    assert!(report.problems[0].found.contains("diverges"), "{}", report.problems[0]);
}

#[test]
fn another_case_or_another_key_is_not_taken_for_the_pinned_one() {
    let one = bed();
    let mut case = one.open();
    fill(&mut case, 0, 5);
    let vkey = case.vkey();
    case.close().unwrap();
    let other = Case::open_or_create(
        &one.case.with_extension("other"),
        std::sync::Arc::clone(&one.key),
        options(SMALL),
    );
    other.unwrap().close().unwrap();
    let report = verify(&one.case.with_extension("other"), Some(&vkey), None).unwrap();
    assert!(!report.is_intact(), "same operator, another case");
    let stranger = SigningKeyFile::load_or_create(&one.case.with_extension("key2")).unwrap();
    let report = verify(&one.case, Some(&stranger.vkey()), None).unwrap();
    assert!(report.problems[0].found.contains("no signature by the key"), "{}", report.problems[0]);
    assert!(verify(&one.case, Some(&vkey), None).unwrap().is_intact());
}

/// The state after a kill, cut off at many places: the torn bytes are kept aside, the case goes on.
#[test]
fn a_tail_torn_anywhere_is_kept_aside_and_the_case_goes_on() {
    let bed = bed();
    let mut case = bed.open();
    let item = case.begin_item(begin(0)).unwrap();
    case.commit().unwrap();
    for ordinal in 0..90 {
        let bytes = crate::support::record(0, ordinal);
        for piece in crate::support::pieces(0, ordinal, 0, &bytes) {
            // Offsets differ from those of `fill`, which only the content test below would care about.
            case.append(item, piece).unwrap();
        }
    }
    case.commit().unwrap();
    let whole = bed.case.with_extension("whole");
    copy(&bed.case, &whole);
    drop(case);
    let name = "evidence/segments/00000000.open";
    let bytes = std::fs::read(whole.join(name)).unwrap();
    let torn = bed.case.with_extension("torn");
    let mut quarantined = 0;
    for len in (0..=bytes.len()).step_by(41).chain([123, 124, 125, bytes.len() - 1]) {
        let _ = std::fs::remove_dir_all(&torn);
        copy(&whole, &torn);
        std::fs::write(torn.join(name), &bytes[..len]).unwrap();
        let opened = Case::open_or_create(&torn, std::sync::Arc::clone(&bed.key), options(SMALL));
        let mut case = opened.unwrap_or_else(|e| panic!("cut at {len}: {e}"));
        assert_eq!(case.gaps()[0].1.cause, GapCause::UncleanStop, "cut at {len}");
        quarantined += u32::from(case.gaps().iter().any(|(_, gap)| gap.quarantine.is_some()));
        let id = fill(&mut case, 0, 90);
        case.close().unwrap();
        assert_eq!(check(&torn).problems, [], "cut at {len}");
        assert_eq!(read_all(&Reader::open(&torn).unwrap(), id), expected(0, 90), "cut at {len}");
    }
    assert!(quarantined > 20, "{quarantined}");
}

#[test]
fn damage_before_a_valid_commit_is_refused_and_nothing_is_cut() {
    let bed = bed();
    let mut case = bed.open();
    let item = case.begin_item(begin(0)).unwrap();
    for ordinal in 0..200 {
        let bytes = crate::support::record(0, ordinal);
        let whole =
            truename_evidence::NewPiece { ordinal, offset: 0, more: false, secret: false, bytes: &bytes };
        case.append(item, whole).unwrap();
    }
    case.commit().unwrap();
    let damaged = bed.case.with_extension("damaged");
    copy(&bed.case, &damaged);
    drop(case);
    let path = damaged.join("evidence/segments/00000000.open");
    let content = std::fs::read(&path).unwrap();
    for at in [130, 200, 400, 1200, content.len() / 2] {
        let mut altered = content.clone();
        altered[at] ^= 4;
        std::fs::write(&path, &altered).unwrap();
        match Case::open_or_create(&damaged, std::sync::Arc::clone(&bed.key), options(SMALL)) {
            Err(error @ Error::Integrity(_)) => {
                assert!(error.to_string().contains("no torn tail"), "{error}");
            }
            _ => panic!("a flip at {at} was accepted"),
        }
        assert_eq!(std::fs::read(&path).unwrap(), altered, "nothing was cut off");
    }
}

#[test]
fn an_unclosed_case_is_said_to_be_unclosed() {
    let bed = bed();
    let mut case = bed.open();
    fill(&mut case, 0, 50);
    case.gap(GapEntry {
        cause: GapCause::ReadError,
        item: None,
        records: 2,
        detail: "x".into(),
        quarantine: None,
        time: Nanos(1),
    })
    .unwrap();
    case.commit().unwrap();
    let report = check(&bed.case);
    assert!(report.problems.iter().any(|p| p.file.ends_with(".open")), "{:?}", report.problems);
    assert!(report.problems.iter().any(|p| p.expected.contains("run the same command again")));
    let _ = digest(0);
}

/// Anything may stand in the files: no panic, no endless loop, an answer.
#[test]
fn hostile_folders_get_an_answer() {
    let (bed, _) = small();
    let evidence = bed.case.join("evidence");
    let all: Vec<PathBuf> = files(&evidence);
    let mut state = 99u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for _ in 0..400 {
        let file = &all[next() % all.len()];
        let path = evidence.join(file);
        let content = std::fs::read(&path).unwrap();
        let mut altered = content.clone();
        match next() % 4 {
            0 => altered = (0..next() % 300).map(|_| next() as u8).collect(),
            1 => {
                let at = next() % altered.len();
                altered[at..].fill(0xff);
            }
            2 => {
                let (from, to) = (next() % altered.len(), next() % altered.len());
                let part = altered[from..].to_vec();
                altered.splice(to.., part);
            }
            _ => {
                let at = next() % altered.len();
                let end = (at + 8).min(altered.len());
                altered[at..end].fill(0xff);
            }
        }
        std::fs::write(&path, &altered).unwrap();
        if altered != content {
            assert!(!check(&bed.case).is_intact());
        }
        if let Ok(reader) = Reader::open(&bed.case) {
            for item in reader.items() {
                let Ok(mut cursor) = reader.records(item.id) else { continue };
                while let Ok(Some(_)) = cursor.next() {}
                let _ = reader.proof(item.id, 0);
            }
        }
        std::fs::write(&path, &content).unwrap();
    }
}

/// A reader either gives the bytes that were written or an error, never other bytes.
#[test]
fn a_reader_never_gives_altered_bytes() {
    let bed = bed();
    let mut case = bed.open();
    let item = fill(&mut case, 0, 60);
    case.close().unwrap();
    let path = bed.case.join("evidence/segments/00000000.seg");
    let content = std::fs::read(&path).unwrap();
    let whole: Vec<u8> = expected(0, 60).concat();
    let mut refused = 0;
    for at in (0..content.len()).step_by(3) {
        let mut altered = content.clone();
        altered[at] ^= 0x20;
        std::fs::write(&path, &altered).unwrap();
        let Ok(reader) = Reader::open(&bed.case) else {
            refused += 1;
            continue;
        };
        let mut cursor = reader.records(item).unwrap();
        let mut given = Vec::new();
        let outcome = loop {
            match cursor.next() {
                Ok(Some(piece)) => given.extend_from_slice(piece.bytes),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        assert!(whole.starts_with(&given), "altered bytes were given out (flip at {at})");
        match outcome {
            Ok(()) => assert!(given == whole && at < 124, "only the header is not read here (flip at {at})"),
            Err(error) => {
                assert!(error.is_integrity(), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 500, "{refused}");
}

/// What an outsider may leave in a case besides changed bytes. Each is named, and none makes `verify` wait or fill memory.
#[test]
fn things_that_are_no_files_of_the_log_are_named() {
    let (bed, _) = small();
    let evidence = bed.case.join("evidence");
    let planted = |name: &str| {
        let report = check(&bed.case);
        assert!(report.problems.iter().any(|p| p.file == name), "{name}: {:?}", report.problems);
    };
    for name in ["empty", "segments/empty", "tile/9", "tile/0/x001", ".git", "a/b/c", "CHECKPOINT.p"] {
        let path = evidence.join(name);
        std::fs::create_dir_all(&path).unwrap();
        planted(name);
        let top = evidence.join(name.split('/').next().unwrap());
        let own = if name.starts_with("a/") { &top } else { &path };
        std::fs::remove_dir_all(own).unwrap();
    }
    for name in ["Checkpoint", "manifest", "segments/00000000.SEG", ".hidden", "checkpoint "] {
        std::fs::copy(evidence.join("checkpoint"), evidence.join(name)).unwrap();
        planted(name);
        std::fs::remove_file(evidence.join(name)).unwrap();
    }
    for name in ["segments/pipe", "checkpoint"] {
        let path = evidence.join(name);
        let content = std::fs::read(&path).ok();
        content.iter().for_each(|_| std::fs::remove_file(&path).unwrap());
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        planted(name);
        std::fs::remove_file(&path).unwrap();
        content.iter().for_each(|bytes| std::fs::write(&path, bytes).unwrap());
    }
    let socket = std::os::unix::net::UnixListener::bind(evidence.join("socket")).unwrap();
    planted("socket");
    drop(socket);
    std::fs::remove_file(evidence.join("socket")).unwrap();
    for name in ["segments/00000000.seg", "checkpoint", "MANIFEST", "planted"] {
        let path = evidence.join(name);
        let content = std::fs::read(&path).ok();
        let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path).unwrap();
        // Sparse: a terabyte that is not there must not be read.
        file.set_len(1 << 40).unwrap();
        planted(name);
        match content {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
    }
    assert_eq!(check(&bed.case).problems, []);
    // A second name of the same file elsewhere changes no byte of the case.
    std::fs::hard_link(evidence.join("checkpoint"), bed.case.join("outside")).unwrap();
    assert_eq!(check(&bed.case).problems, []);
    std::fs::hard_link(evidence.join("checkpoint"), evidence.join("inside")).unwrap();
    planted("inside");
}
