//! The recorded cases: real output of CoreDNS, the API server, tcpdump and dnstap.

use std::collections::BTreeMap;

use truename_model::time::SECOND;
use truename_model::{ChangeKind, ClusterChange, Interval};
use truename_sources::recognise::Format;

use crate::walk::{files, leaves, root};

/// The format that a recording's folder promises.
fn expected(path: &str, format: &Format) -> bool {
    let Some((_, inside)) = path.split_once("/recording/") else { return true };
    match inside.split('/').next().unwrap_or_default() {
        "watch" => *format == Format::KubeWatch || *format == Format::Unknown("an empty file"),
        "objects" | "corefile" => matches!(format, Format::KubeObjects(_)),
        "logs" => matches!(format, Format::CoreDnsLog(_)),
        "dnstap" => *format == Format::Dnstap,
        "pcap" => *format == Format::Pcap,
        name if name.starts_with("audit.log") => *format == Format::Audit,
        _ => true,
    }
}

#[test]
fn every_recording_is_recognised_and_read_to_the_last_record() {
    let mut recordings = 0;
    for path in files(&root().join("cases")) {
        let shown = path.display().to_string();
        for leaf in leaves(&path) {
            if !shown.contains("/recording/") {
                continue;
            }
            recordings += 1;
            println!("{shown}: {leaf:?}");
            assert!(expected(&shown, &leaf.format), "{shown}: {}", leaf.format);
            assert_eq!(leaf.count("undecodable"), 0, "{shown}: {:?}", leaf.counts);
            assert!(leaf.losses.is_empty(), "{shown}: {:?}", leaf.losses);
        }
    }
    assert!(recordings > 0, "no case is committed");
}

/// Every change of a case, by recording kind.
fn changes(case: &std::path::Path) -> Vec<(bool, ClusterChange)> {
    let mut out = Vec::new();
    for path in files(&case.join("recording")) {
        for leaf in leaves(&path) {
            let is_audit = leaf.format == Format::Audit;
            if is_audit || leaf.format == Format::KubeWatch {
                out.extend(leaf.changes.into_iter().map(|change| (is_audit, change)));
            }
        }
    }
    out
}

/// The audit log knows to the millisecond when a version was written; what a watch stream says of the same version from
/// the object's own fields must hold that moment.
#[test]
fn times_read_from_a_watch_hold_what_the_audit_log_saw() {
    let mut compared = 0;
    for case in std::fs::read_dir(root().join("cases")).into_iter().flatten().flatten() {
        let mut written: BTreeMap<(String, String, bool), Interval> = BTreeMap::new();
        let all = changes(&case.path());
        let key = |change: &ClusterChange| {
            let gone = change.kind == ChangeKind::Deleted;
            (change.meta.uid.clone(), change.meta.resource_version.clone(), gone)
        };
        for (_, change) in all.iter().filter(|(is_audit, _)| *is_audit) {
            written.extend(change.at.interval().map(|at| (key(change), at)));
        }
        for (_, change) in all.iter().filter(|(is_audit, _)| !*is_audit) {
            let (Some(told), Some(truth)) = (change.at.interval(), written.get(&key(change))) else {
                continue;
            };
            compared += 1;
            // The recorder and the API server share a clock here; 50 ms are for the order of two reads of it.
            assert!(
                told.widened(SECOND / 20).overlaps(*truth),
                "{} {}: {told:?}, audit {truth:?}, seen {:?}",
                change.object_ref(),
                change.meta.resource_version,
                change.seen_at
            );
        }
    }
    println!("{compared} versions seen by both");
    assert!(compared > 20, "the recordings share too few versions: {compared}");
}
