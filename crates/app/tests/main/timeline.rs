//! The timeline says of each time what is known of it, in order, each change once, and in every format the same.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::support::{investigate, recording, text, truename};

fn shown(work: &std::path::Path, verb: &str, form: &str) -> String {
    let output = truename(work).args([verb, "case", "-o", form]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn times_are_bounds_rows_are_in_order_and_a_change_stands_once() {
    let work = tempfile::tempdir().unwrap();
    investigate(work.path(), &[&recording("dns-impostor")], &[]);
    let rows = shown(work.path(), "timeline", "jsonl");
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rows.len() > 500);
    let end = |row: &Value| row["not_after"].as_i64().or(row["not_before"].as_i64()).unwrap_or(i64::MAX);
    assert!(rows.is_sorted_by_key(end));
    let mut told = BTreeSet::new();
    for row in &rows {
        if let (Some(lo), Some(hi)) = (row["not_before"].as_i64(), row["not_after"].as_i64()) {
            assert!(lo <= hi && !row["basis"].as_str().unwrap().is_empty(), "{row}");
        }
        let what = row["what"].as_str().unwrap();
        if row["kind"] == "change" && !what.starts_with("updated") && !what.starts_with("listed") {
            assert!(told.insert(what.to_owned()), "{what} stands twice");
        }
    }
    // The slice is made, then removed; both are told by the audit log and by the watch.
    let of = |what: &str| rows.iter().position(|row| row["what"] == what).unwrap();
    let (made, gone) = (
        of("created endpointslice kube-system/dns-extra"),
        of("deleted endpointslice kube-system/dns-extra"),
    );
    assert!(made < gone);
    for at in [made, gone] {
        let basis = rows[at]["basis"].as_str().unwrap();
        assert!(basis.starts_with("audit log, watch ("), "{basis}");
        assert!(end(&rows[at]) - rows[at]["not_before"].as_i64().unwrap() < 1_000_000_000, "{}", rows[at]);
    }
    let table = shown(work.path(), "timeline", "table");
    assert_eq!(table.lines().count(), rows.len());
    let bounded = table.lines().filter(|line| line.starts_with('≤')).count();
    let wide =
        rows.iter().filter(|row| row["not_after"].is_i64() && row["not_before"] != row["not_after"]).count();
    assert_eq!(bounded, wide);
    assert_same_rows(work.path(), &rows);
}

/// Every format has every row, and a range is one in each.
fn assert_same_rows(work: &std::path::Path, rows: &[Value]) {
    let json: Vec<Value> = serde_json::from_str(&shown(work, "timeline", "json")).unwrap();
    assert_eq!(json, rows);
    let csv = shown(work, "timeline", "csv");
    assert!(csv.starts_with("not_before,not_after,basis,"));
    assert_eq!(csv.lines().count(), rows.len() + 1);
    let html = shown(work, "timeline", "html");
    assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>\n"));
    assert_eq!(html.matches("<tr><td class").count(), rows.len());
    let sketch = shown(work, "timeline", "timesketch");
    let sketch: Vec<Value> = sketch.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(sketch.len(), rows.len());
    for (one, row) in sketch.iter().zip(rows) {
        let exact = row["not_before"] == row["not_after"];
        let desc = one["timestamp_desc"].as_str().unwrap();
        assert_eq!(exact, !desc.contains('('), "{one}");
        assert!(one["datetime"].is_string() && (exact || one["time_basis"].is_string()), "{one}");
    }
}

#[test]
fn what_has_no_time_is_in_every_format_too() {
    let work = tempfile::tempdir().unwrap();
    for (version, upstream) in [(7, "/etc/resolv.conf"), (8, "203.0.113.66")] {
        let map = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: coredns\n  namespace: kube-system\n  uid: u\n  \
             resourceVersion: \"{version}\"\ndata:\n  Corefile: |\n    .:53 {{\n        kubernetes cluster.local\n        \
             forward . {upstream}\n    }}\n"
        );
        fs::create_dir_all(work.path().join("in")).unwrap();
        fs::write(work.path().join(format!("in/{version}.yaml")), map).unwrap();
    }
    let log: String = (0..3)
        .map(|n| format!("[INFO] 10.244.0.9:{} - 7 \"A IN h{n}.example. udp 40 false 512\" NOERROR qr,rd,ra 60 0.0001s\n", 4000 + n))
        .collect();
    fs::write(work.path().join("in/coredns.log"), log).unwrap();
    let output = investigate(work.path(), &[std::path::Path::new("in")], &[]);
    let found = shown(work.path(), "findings", "jsonl");
    assert!(found.contains("\"seen\":null"), "{}", text(&output));
    let sketch = shown(work.path(), "findings", "timesketch");
    assert_eq!(sketch.lines().count(), found.lines().count());
    assert_eq!(
        sketch.matches("time not known; placed at the epoch").count(),
        found.matches("\"seen\":null").count()
    );
    let rows = shown(work.path(), "timeline", "jsonl");
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rows.iter().filter(|row| row["basis"] == "order only").count() >= 3, "{rows:?}");
    let id = serde_json::from_str::<Value>(found.lines().next().unwrap()).unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for (form, begins) in [
        ("jsonl", "{\"checkpoint\""),
        ("csv", "first,last"),
        ("timesketch", "{\"datetime\""),
        ("html", "<!doctype"),
    ] {
        let output = truename(work.path()).args(["explain", "case", &id, "-o", form]).output().unwrap();
        assert!(text(&output).starts_with(begins), "{form}: {}", text(&output));
    }
}
