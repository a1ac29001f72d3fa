//! Killed at any moment, the same command goes on: the findings of an uninterrupted run, and evidence that verifies.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{findings, investigate, recording, text, truename};

/// Kills, spread over the time that one run takes.
const KILLS: u32 = 50;

#[test]
fn fifty_kills_lose_nothing() {
    let whole = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let output = investigate(whole.path(), &[&recording("recon")], &[]);
    let run = started.elapsed();
    assert!(output.status.success(), "{}", text(&output));
    let expected = findings(whole.path());

    let work = tempfile::tempdir().unwrap();
    // A fixed sequence of moments: Weyl's, dense in the unit interval.
    for kill in 0..KILLS {
        let moment = run.mul_f64(f64::from(kill).mul_add(0.618_033_988_75, 0.05).fract());
        let mut child = truename(work.path())
            .arg("investigate")
            .arg(recording("recon"))
            .args(["--case", "case"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(moment.max(Duration::from_millis(2)));
        child.kill().unwrap();
        child.wait().unwrap();
        if kill % 10 == 9 {
            // From here a new case, so that early moments of a run are met again and again.
            finish(work.path(), &expected);
            fs::remove_dir_all(work.path().join("case")).unwrap();
        }
    }
    finish(work.path(), &expected);
}

fn finish(work: &std::path::Path, expected: &str) {
    let output = investigate(work, &[&recording("recon")], &[]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(findings(work), expected);
    let receipt = String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("receipt").map(|rest| rest.trim().to_owned()));
    let verified = truename(work).args(["verify", "case", "--receipt", &receipt.unwrap()]).output().unwrap();
    assert!(text(&verified).contains("intact, key pinned"), "{}", text(&verified));
}

#[test]
fn a_changed_byte_ends_with_4() {
    let work = tempfile::tempdir().unwrap();
    investigate(work.path(), &[&recording("externalname-drift")], &[]);
    let segment =
        fs::read_dir(work.path().join("case/evidence/segments")).unwrap().flatten().next().unwrap().path();
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let mut permissions = fs::metadata(&segment).unwrap().permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "a test's own file")]
    permissions.set_readonly(false);
    fs::set_permissions(&segment, permissions).unwrap();
    fs::write(&segment, bytes).unwrap();
    let verified = truename(work.path()).args(["verify", "case"]).output().unwrap();
    assert_eq!(verified.status.code(), Some(4), "{}", text(&verified));
    assert!(text(&verified).contains("NOT INTACT"), "{}", text(&verified));
    let again = investigate(work.path(), &[&recording("externalname-drift")], &[]);
    assert_eq!(
        again.status.code(),
        Some(4),
        "a case that is not intact is never continued: {}",
        text(&again)
    );
}
