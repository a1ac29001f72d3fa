//! The same evidence gives the same bytes: whatever the folder, the packing, the order of arguments, the threads.

use std::fs;
use std::path::Path;

use crate::support::{findings, investigate, recording, text, truename, unpack};

#[test]
fn folder_packing_order_and_threads_change_no_byte() {
    let packed = tempfile::tempdir().unwrap();
    let output = investigate(packed.path(), &[&recording("forged-upstream")], &["--threads", "1"]);
    assert!(output.status.success(), "{}", text(&output));
    let expected = findings(packed.path());
    assert!(expected.lines().count() >= 2, "the case has findings");

    let plain = tempfile::tempdir().unwrap();
    unpack("forged-upstream", &plain.path().join("deep/er"), &|_| true);
    let mut parts: Vec<_> =
        fs::read_dir(plain.path().join("deep/er")).unwrap().flatten().map(|entry| entry.path()).collect();
    parts.sort();
    parts.reverse();
    let parts: Vec<&Path> = parts.iter().map(AsRef::as_ref).collect();
    let output = investigate(plain.path(), &parts, &["--threads", "2"]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(findings(plain.path()), expected);
}

#[test]
fn a_second_run_takes_nothing_twice_and_what_is_derived_can_be_rebuilt() {
    let work = tempfile::tempdir().unwrap();
    let first = investigate(work.path(), &[&recording("recon")], &[]);
    let expected = findings(work.path());
    let again = investigate(work.path(), &[&recording("recon")], &[]);
    assert!(text(&again).contains("0 items taken"), "{}", text(&again));
    assert_eq!(findings(work.path()), expected);
    fs::remove_dir_all(work.path().join("case/derived")).unwrap();
    let shown = truename(work.path()).args(["findings", "case", "-o", "jsonl"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&shown.stdout), expected, "{}", text(&first));
}

#[test]
fn a_doctored_outcome_is_not_believed() {
    let work = tempfile::tempdir().unwrap();
    investigate(work.path(), &[&recording("dns-impostor")], &[]);
    let path = work.path().join("case/derived/outcome.json");
    let whole = fs::read_to_string(&path).unwrap();
    let shown = |verb: &str, output: &str| {
        let run = truename(work.path()).args([verb, "case", "-o", output]).output().unwrap();
        (String::from_utf8(run.stdout).unwrap(), String::from_utf8(run.stderr).unwrap())
    };
    let honest = shown("report", "table");
    assert_eq!(honest.1, "", "what the log concluded is read, not computed again");
    let outcome: serde_json::Value = serde_json::from_str(&whole).unwrap();
    for (pointer, value) in [
        ("/incidents", serde_json::json!([])),
        ("/coverage/attribution", serde_json::json!({"exact": 464})),
        ("/coverage/sources/0/losses", serde_json::json!([])),
        ("/coverage/gaps", serde_json::json!(["made up"])),
        ("/rule_set", serde_json::json!("")),
    ] {
        let mut doctored = outcome.clone();
        *doctored.pointer_mut(pointer).unwrap() = value;
        fs::write(&path, format!("{doctored} ")).unwrap();
        let now = shown("report", "table");
        assert_eq!(now.0, honest.0, "{pointer}");
        assert!(now.1.contains("not what the log concluded"), "{pointer}: {}", now.1);
        assert_eq!(shown("report", "json").0, whole, "{pointer}: rebuilt, it is the same bytes");
    }
}

#[test]
fn evidence_added_later_is_appended_to_the_same_log() {
    let work = tempfile::tempdir().unwrap();
    unpack("corefile-tamper", &work.path().join("a"), &|path| path.starts_with("dnstap"));
    unpack("corefile-tamper", &work.path().join("b"), &|path| !path.starts_with("dnstap"));
    investigate(work.path(), &[&work.path().join("a")], &[]);
    let output = investigate(work.path(), &[&work.path().join("b")], &[]);
    assert!(output.status.success(), "{}", text(&output));
    let whole = tempfile::tempdir().unwrap();
    investigate(whole.path(), &[&recording("corefile-tamper")], &[]);
    assert_eq!(findings(work.path()), findings(whole.path()));
    let verified = truename(work.path()).args(["verify", "case"]).output().unwrap();
    assert!(verified.status.success(), "{}", text(&verified));
}

#[test]
fn an_older_result_stays_addressable() {
    let work = tempfile::tempdir().unwrap();
    unpack("corefile-tamper", &work.path().join("a"), &|path| path.starts_with("logs"));
    unpack("corefile-tamper", &work.path().join("b"), &|path| !path.starts_with("logs"));
    investigate(work.path(), &[&work.path().join("a")], &[]);
    let older = findings(work.path());
    investigate(work.path(), &[&work.path().join("b")], &[]);
    assert_ne!(findings(work.path()), older);
    let log = truename(work.path()).args(["custody", "log", "case"]).output().unwrap();
    let log = text(&log);
    let first = log.lines().find_map(|line| line.split_once(" entries: findings ")).unwrap().0;
    let size = first.rsplit(' ').next().unwrap();
    let shown =
        truename(work.path()).args(["findings", "case", "-o", "jsonl", "--at-size", size]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&shown.stdout), older, "{log}");
}

#[test]
fn what_was_stated_for_the_last_conclusion_holds_on() {
    let work = tempfile::tempdir().unwrap();
    unpack("recon", &work.path().join("a"), &|path| path.starts_with("logs"));
    unpack("recon", &work.path().join("b"), &|path| path.starts_with("corefile"));
    let profile = "apiVersion: truename/v1\nkind: Profile\nclusterDomain: cluster.local\n";
    fs::write(work.path().join("p.yaml"), profile).unwrap();
    let stated = ["--profile", "p.yaml", "--origin", "a*:cluster=east"];
    let first = text(&investigate(work.path(), &[Path::new("a")], &stated));
    assert!(!first.contains("the cluster domain is not in the evidence"), "{first}");
    let found = findings(work.path());
    assert!(!found.is_empty(), "{first}");
    let shown = text(&investigate(work.path(), &[Path::new("a")], &[]));
    assert!(
        shown.contains("of the case's last conclusion, the profile (--profile replaces it) and the origins"),
        "{shown}"
    );
    assert_eq!(findings(work.path()), found);
    let shown = text(&investigate(work.path(), &[Path::new("a")], &["--afresh"]));
    assert!(shown.contains("the cluster domain is not in the evidence"), "{shown}");
    assert_ne!(findings(work.path()), found);
}
