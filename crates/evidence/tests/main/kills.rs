//! A writing process is killed (SIGKILL) at random moments; the case goes on and ends like an undisturbed one.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use truename_evidence::{Case, Reader, SigningKeyFile, verify};

use crate::support::{SMALL, bed, digest, expected, fill, options, read_all};

const CHILD: &str = "TRUENAME_EVIDENCE_CHILD";
const ITEMS: [(u32, u64); 4] = [(0, 500), (1, 30), (2, 900), (3, 1)];

/// What the child does, and the parent after the kill: every item that is not complete, then the seal.
fn session(case: &mut Case) {
    for (item, records) in ITEMS {
        if case.items().iter().any(|i| i.begin.sha256 == digest(item) && i.is_complete()) {
            continue;
        }
        fill(case, item, records);
        if item == 1 {
            case.commit().unwrap();
        }
    }
    case.seal().unwrap();
}

/// Body of the child process; does nothing when run as a test.
#[test]
fn child() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let dir = std::path::Path::new(&dir);
    let key = Arc::new(SigningKeyFile::load(&dir.with_file_name("key")).unwrap());
    let mut case = Case::open_or_create(dir, key, options(SMALL)).unwrap();
    session(&mut case);
}

fn spawn(dir: &std::path::Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::child", "--test-threads=1"])
        .env(CHILD, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_case_killed_at_sixty_moments_goes_on_and_ends_like_an_undisturbed_one() {
    let whole = {
        let bed = bed();
        let start = Instant::now();
        assert!(spawn(&bed.case).wait().unwrap().success());
        start.elapsed()
    };
    let (mut killed, mut unclean, mut torn) = (0, 0, 0);
    // A fixed sequence of moments (the moments of the machine differ anyway).
    let mut state = 12_345u64;
    let mut moment = |of: Duration| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        of.mul_f64((state >> 40) as f64 / f64::from(1 << 24))
    };
    for round in 0..30 {
        let bed = bed();
        for _ in 0..2 {
            let mut process = spawn(&bed.case);
            std::thread::sleep(moment(whole));
            // SIGKILL, to this one child only.
            process.kill().unwrap();
            killed += u32::from(!process.wait().unwrap().success());
        }
        let mut case = bed.open();
        unclean += u32::from(!case.gaps().is_empty());
        torn += u32::from(case.gaps().iter().any(|(_, gap)| gap.quarantine.is_some()));
        session(&mut case);
        let receipt = case.close().unwrap();
        let report = verify(&bed.case, Some(&bed.key.vkey()), Some(&receipt)).unwrap();
        assert_eq!(report.problems, [], "round {round}");
        assert_eq!((report.items, report.unfinished), (4, 0), "round {round}");
        let reader = Reader::open(&bed.case).unwrap();
        for (item, records) in ITEMS {
            let id = reader.items().iter().find(|i| i.begin.sha256 == digest(item)).unwrap().id;
            assert_eq!(read_all(&reader, id), expected(item, records), "round {round}, item {item}");
        }
    }
    println!("killed {killed} of 60, unclean {unclean}, torn {torn}");
    assert!(killed >= 20, "the kills came too late: {killed}");
}
