//! Captures of one leg, of other ports, and what the server's own log says of lost taps, as the user sees it.

use std::fs;
use std::path::Path;

use crate::support::{findings, investigate, recording, text, truename, unpack};

const LATE: &str = "forged-upstream-late";

fn rules(work: &Path) -> Vec<String> {
    let rule = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["rule"].as_str().unwrap().to_owned()
    };
    findings(work).lines().map(rule).collect()
}

#[test]
fn a_capture_of_the_upstream_leg_alone_shows_the_race_and_no_lookups() {
    if !recording(LATE).exists() {
        return println!("skipped: {LATE}");
    }
    let work = tempfile::tempdir().unwrap();
    unpack(LATE, &work.path().join("in"), &|path| path.starts_with("pcap/upstream-"));
    let shown = text(&investigate(work.path(), &[Path::new("in")], &[]));
    assert_eq!(rules(work.path()), ["P06", "P01"], "{shown}");
    assert!(
        shown.contains("lookups 0 ") && shown.contains("is taken for a server of the cluster's DNS"),
        "{shown}"
    );
    // Stated, it is no guess.
    fs::remove_dir_all(work.path().join("case")).unwrap();
    let shown = text(&investigate(work.path(), &[Path::new("in")], &["--origin", "*upstream*:leg=upstream"]));
    assert!(rules(work.path()) == ["P06", "P01"] && !shown.contains("is taken for a server"), "{shown}");
}

#[test]
fn with_the_taps_of_the_replicas_the_upstream_leg_proves_the_false_answers() {
    if !recording(LATE).exists() {
        return println!("skipped: {LATE}");
    }
    let work = tempfile::tempdir().unwrap();
    let keep = |path: &str| path.starts_with("pcap/upstream-") || path.starts_with("dnstap/");
    unpack(LATE, &work.path().join("in"), &keep);
    let shown = text(&investigate(work.path(), &[Path::new("in")], &[]));
    assert!(shown.contains("contradicted") && shown.contains("clients received a false"), "{shown}");
    assert!(rules(work.path()).contains(&"P01".to_owned()), "{shown}");
}

#[test]
fn a_client_leg_alone_does_not_claim_to_have_looked_for_races() {
    if !recording(LATE).exists() {
        return println!("skipped: {LATE}");
    }
    let work = tempfile::tempdir().unwrap();
    unpack(LATE, &work.path().join("in"), &|path| path.starts_with("pcap/client-"));
    let shown = text(&investigate(work.path(), &[Path::new("in")], &[]));
    assert!(shown.contains("P01 not run: needs packets between the DNS server and its upstreams"), "{shown}");
    assert!(!shown.contains("nothing tells whether"), "{shown}");
}

/// A capture of raw IPv4 of one lookup and its answer per pair of ports, one every 10 ms.
fn capture(ports: &[(u16, u16)]) -> Vec<u8> {
    let mut out = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101].map(u32::to_le_bytes).concat();
    for (index, &(client, server)) in ports.iter().enumerate() {
        for back in [false, true] {
            let flags: [u8; 2] = if back { [0x81, 0x80] } else { [1, 0] };
            let mut message =
                [&(index as u16).to_be_bytes()[..], &flags, &[0, 1, 0, u8::from(back), 0, 0, 0, 0]].concat();
            message.extend_from_slice(b"\x03www\x07example\0\0\x01\0\x01");
            if back {
                message.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x1e\0\x04\xcb\0\x71\x42");
            }
            let (src, dst) = if back { (server, client) } else { (client, server) };
            let udp =
                [src.to_be_bytes(), dst.to_be_bytes(), (8 + message.len() as u16).to_be_bytes(), [0, 0]]
                    .concat();
            let ends: [[u8; 4]; 2] = [[10, 128, 0, 9], [172, 30, 0, 10]];
            let (from, to) = if back { (ends[1], ends[0]) } else { (ends[0], ends[1]) };
            let len = (28 + message.len() as u16).to_be_bytes();
            let ip = [&[0x45, 0][..], &len, &[0, 1, 0, 0, 64, 17, 0, 0], &from, &to, &udp, &message].concat();
            let time =
                [1_764_000_000, index as u32 * 10_000 + u32::from(back), ip.len() as u32, ip.len() as u32];
            out.extend(time.map(u32::to_le_bytes).concat());
            out.extend_from_slice(&ip);
        }
    }
    out
}

#[test]
fn dns_on_any_port_is_kept_and_read() {
    let work = tempfile::tempdir().unwrap();
    let ports: Vec<(u16, u16)> = (0..50).map(|n| (40_000 + n, 5_353)).collect();
    fs::write(work.path().join("a.pcap"), capture(&ports)).unwrap();
    let shown = text(&investigate(work.path(), &[Path::new("a.pcap")], &[]));
    assert!(shown.contains("lookups 50 ") && !shown.contains("lost:"), "{shown}");
    assert!(shown.contains("nothing tells whether the asker is a client or a server"), "{shown}");
}

#[test]
fn a_port_stated_by_the_operator_keeps_what_is_malformed_there() {
    let mut broken = capture(&[(40_000, 1_053)]);
    // The question's class of the query, the last octets of the first packet.
    let end = 24 + 16 + 28 + 12 + 17;
    broken[end - 1] = 77;
    let kept = |more: &[&str]| {
        let work = tempfile::tempdir().unwrap();
        fs::write(work.path().join("a.pcap"), &broken).unwrap();
        let shown = text(&investigate(work.path(), &[Path::new("a.pcap")], more));
        shown.contains("1 packets that are not DNS, by port or content, were not kept")
    };
    assert!(kept(&[]) && !kept(&["--dns-port", "1053"]));
}

#[test]
fn taps_that_the_server_lost_are_losses() {
    let work = tempfile::tempdir().unwrap();
    let line = |text: &str| format!("2026-11-25T03:00:01.000000000Z stdout F {text}\n");
    let lookup =
        "[INFO] 10.244.0.9:4000 - 7 \"A IN a.example. udp 40 false 512\" NOERROR qr,aa,rd 60 0.0001s";
    let log = [
        line(lookup),
        line("[WARNING] plugin/dnstap: Dropped dnstap messages: 5"),
        line("[WARNING] plugin/dnstap: Dropped dnstap messages: 7"),
        line("[ERROR] plugin/dnstap: No connection to dnstap endpoint"),
    ];
    fs::write(work.path().join("0.log"), log.concat()).unwrap();
    let shown = text(&investigate(work.path(), &[Path::new("0.log")], &[]));
    assert!(shown.contains("lost: the server says that it dropped 12 dnstap messages"), "{shown}");
    assert!(shown.contains("no connection to its dnstap endpoint") && shown.contains("2 losses"), "{shown}");
    let report = text(&truename(work.path()).args(["report", "case"]).output().unwrap());
    assert!(report.contains("dropped 12 dnstap messages"), "{report}");
}
