//! One collector for all replicas writes their taps into one stream: what is found is what separate taps show.
//!
//! Enters: recorded cases with their taps merged by time; leaves: the same findings about the same replicas.

use std::collections::BTreeSet;

use truename_sources::dnstap::{Frame, read_frame, read_tap};
use truename_testkit::recording::{Recording, source_of};

use crate::mutations::recording;

/// The frames of a stream, control frames too.
fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let be32 = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let len = match be32(bytes) {
            0 => 8 + be32(&bytes[4..]),
            len => 4 + len,
        };
        let (frame, rest) = bytes.split_at(len);
        out.push(frame);
        bytes = rest;
    }
    out
}

/// When a message was seen; control frames have no time.
fn time(frame: &[u8]) -> Option<(u64, u32)> {
    let Frame::Data(payload) = read_frame(frame) else { return None };
    let message = read_tap(payload).unwrap().message.unwrap();
    let asked = message.query_sec.map(|secs| (secs, message.query_nsec));
    let answered = message.response_sec.map(|secs| (secs, message.response_nsec));
    if message.kind.is_multiple_of(2) { answered.or(asked) } else { asked }
}

/// All taps of a recording as one.
fn collected(whole: &Recording) -> Recording {
    let taps: Vec<String> =
        whole.names().filter(|name| source_of(name) == "dnstap").map(str::to_owned).collect();
    assert!(taps.len() > 1, "a case with one tap shows nothing");
    let mut messages: Vec<((u64, u32), &[u8])> = Vec::new();
    let mut controls = Vec::new();
    for tap in &taps {
        let frames = frames(whole.file(tap).unwrap());
        controls = frames.iter().filter(|frame| time(frame).is_none()).map(|frame| frame.to_vec()).collect();
        messages.extend(frames.into_iter().filter_map(|frame| Some((time(frame)?, frame))));
    }
    messages.sort_by_key(|(time, _)| *time);
    let mut bytes: Vec<u8> = controls[0].clone();
    messages.iter().for_each(|(_, frame)| bytes.extend_from_slice(frame));
    bytes.extend_from_slice(controls.last().unwrap());
    whole.clone().without_files(&|name| source_of(name) == "dnstap").with_file("dnstap/all.fstrm", bytes)
}

#[test]
fn taps_of_all_replicas_in_one_stream_show_what_they_show_apart() {
    for case in ["forged-upstream", "corefile-tamper", "dual-stack"] {
        let whole = recording(case);
        let told = |recording: &Recording| -> BTreeSet<String> {
            let found = recording.investigate().unwrap();
            let told = found.outcome.findings.iter();
            told.map(|f| format!("{} {:?} {} → {} ({})", f.rule, f.severity, f.subject, f.target, f.title))
                .collect()
        };
        let (apart, together) = (told(&whole), told(&collected(&whole)));
        assert_eq!(together, apart, "{case}");
    }
}
