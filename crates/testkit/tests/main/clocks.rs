//! A log alone by a clock that is off: no pod is named for certain that only that clock makes the owner.
//!
//! Enters: a recorded case with the times of its logs moved; leaves: nobody named wrongly, and a report that says so.

use std::collections::{BTreeMap, BTreeSet};

use truename_model::Nanos;
use truename_testkit::recording::{Recording, source_of};
use truename_testkit::score::{Investigated, Key, key_of};

use crate::mutations::recording;

const SECOND: i64 = 1_000_000_000;

/// The logs and the objects' watch of the case with the most churn; the watch goes on for two hours, in which nothing
/// changes any more.
fn logs_and_watch() -> Recording {
    let case = recording("benign-day")
        .without_files(&|name| !matches!(source_of(name), "log" | "watch" | "corefile"));
    let last = "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"99999\"}},\
                \"received\":\"2026-11-25T05:22:16.000000000Z\"}\n";
    let mut pods = case.file("watch/pods.jsonl").unwrap().to_vec();
    pods.extend_from_slice(last.as_bytes());
    case.without_files(&|name| name == "watch/pods.jsonl").with_file("watch/pods.jsonl", pods)
}

/// The same with every line of the logs later by `seconds`.
fn moved(mut recording: Recording, seconds: i64) -> Recording {
    let logs: Vec<String> =
        recording.names().filter(|name| source_of(name) == "log").map(str::to_owned).collect();
    for log in logs {
        let text = String::from_utf8(recording.file(&log).unwrap().to_vec()).unwrap();
        let line = |line: &str| {
            let (time, rest) = line.split_once(' ').unwrap();
            let at = Nanos::parse_rfc3339(time.as_bytes()).unwrap();
            format!("{} {rest}\n", at.plus(seconds * SECOND))
        };
        let bytes = text.lines().map(line).collect::<String>().into_bytes();
        recording = recording.without_files(&|name| name == log).with_file(&log, bytes);
    }
    recording
}

/// Lookups named for certain: (rightly, wrongly), by what makes a lookup and not by when it was.
fn named(recording: &Recording, found: &Investigated) -> (usize, Vec<String>) {
    let mut owners: BTreeMap<Key, BTreeSet<&str>> = BTreeMap::new();
    for line in &recording.case.truth {
        let name = line.name.trim_end_matches('.').to_owned();
        let key = (line.client, line.port, line.id, name, line.rtype.clone());
        owners.entry(key).or_default().extend(line.owners.iter().map(String::as_str));
    }
    let (mut right, mut wrong) = (0, Vec::new());
    for judged in &found.judged {
        let (Some(workload), Some(key)) = (judged.attribution.exact(), key_of(judged)) else { continue };
        let Some(owners) = owners.get(&key) else { continue };
        let node = format!("node:{}", workload.name);
        if owners.contains(workload.uid.as_str()) || owners.contains(node.as_str()) {
            right += 1;
        } else {
            wrong.push(format!("{key:?} is {workload}"));
        }
    }
    (right, wrong)
}

#[test]
fn a_log_by_a_wrong_clock_names_nobody_wrongly() {
    let all = logs_and_watch();
    let found = all.investigate().unwrap();
    let (right, wrong) = named(&all, &found);
    assert!(right > 1_000 && wrong.is_empty(), "{right} {wrong:?}");
    let clocks = |found: &Investigated| {
        let sources = found.outcome.coverage.sources.iter().filter(|source| source.path.contains("logs/"));
        sources.map(|source| source.clock_offset_ns.clone().unwrap()).collect::<Vec<_>>()
    };
    for (lo, hi, basis) in clocks(&found) {
        assert_eq!((lo, hi), (0, 0));
        assert!(basis.contains("assumed to be the API server's within 50 ms"), "{basis}");
    }
    for seconds in [3_600, -3_600, 40, -40, 15, -15, 5] {
        let off = moved(all.clone(), seconds);
        let found = off.investigate().unwrap();
        let (right, wrong) = named(&off, &found);
        let notes = &found.outcome.coverage.notes;
        assert!(
            wrong.is_empty(),
            "{seconds} s: {} of {right}: {:?} {:?} {notes:?}",
            wrong.len(),
            wrong.first(),
            clocks(&found)
        );
        let told = found.outcome.coverage.notes.iter().any(|note| note.contains("A clock that is off by"));
        assert!(told, "{seconds} s: {:?}", found.outcome.coverage.notes);
        assert!(
            clocks(&found).iter().any(|(lo, hi, _)| (lo..=hi).contains(&&(-seconds * SECOND))),
            "{seconds} s"
        );
    }
}
