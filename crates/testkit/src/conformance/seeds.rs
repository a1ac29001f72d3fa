//! Inputs without goldens: hostile messages and captures must be read without panic, within bounds, and totally.

use std::fs;
use std::path::{Path, PathBuf};

use truename_model::{Decoded, Diagnostic, Event};
use truename_sources::Decoder;
use truename_sources::corednslog::LogDecoder;
use truename_sources::pcap::{PcapDecoder, Records};
use truename_sources::piece::cut;
use truename_sources::wire::WireDecoder;

use super::capture::{capture, context, observations};
use super::reasons::reason;
use crate::suite::SuiteResult;

/// Every file below `dir`, in a fixed order.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Messages, names and rdata of fuzzers, each as a message: read whole, cut in many places, and twice the same.
pub(super) fn wire(dir: &Path) -> SuiteResult {
    let mut result = SuiteResult::new("wire-seeds");
    for path in files(dir) {
        let Ok(bytes) = fs::read(&path) else { continue };
        let mut decoder = WireDecoder::new(8, 8);
        let first = decoder.read(&bytes, false);
        let again = decoder.read(&bytes, false);
        for len in (0..bytes.len()).step_by(bytes.len() / 256 + 1) {
            let _ = decoder.read(&bytes[..len], len % 2 == 0);
        }
        let count = first.body.answers.len() + first.body.authority.len() + first.body.additional.len();
        // Eleven octets are the shortest record, so this bound holds for any message.
        if first == again && count <= bytes.len() / 11 {
            result.agrees();
        } else {
            result.differs(&path.display().to_string(), None);
        }
    }
    result
}

/// Every capture: splitting gives back the bytes, and every record gives at least one observation.
pub(super) fn captures(dir: &Path) -> SuiteResult {
    let mut result = SuiteResult::new("captures");
    let is_capture = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "pcap" || ext == "pcapng");
    for path in files(dir).into_iter().filter(is_capture) {
        let Ok(bytes) = fs::read(&path) else { continue };
        let mut joined = Vec::new();
        let mut input = &bytes[..];
        let cutting = cut(&mut Records::default(), &mut input, &mut |piece| {
            joined.extend_from_slice(piece.bytes);
            Ok(())
        });
        let mut decoder = PcapDecoder::new(context(&[53]));
        let seen = observations::<Records>(&path, &mut decoder).unwrap_or_default();
        let records = cutting.map_or(0, |summary| summary.records);
        let mut ordinals: Vec<u64> = seen.iter().map(|observation| observation.record.ordinal).collect();
        ordinals.sort_unstable();
        ordinals.dedup();
        if joined == bytes && ordinals.len() as u64 == records {
            result.agrees();
        } else {
            result.differs(&path.display().to_string(), None);
        }
    }
    result
}

/// Real lines quoted in issues: a query line gives its lookup, an error line its error, and nothing is invented.
pub(super) fn log_lines(dir: &Path) -> SuiteResult {
    let mut result = SuiteResult::new("coredns-log-lines");
    let Ok(text) = fs::read_to_string(dir.join("issues_real_lines.log")) else { return result };
    let mut decoder = LogDecoder::new(context(&[53]));
    for (ordinal, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let mut out = Vec::new();
        decoder.decode(ordinal as u64, line.as_bytes(), &mut out);
        let right = out.iter().any(|decoded| match decoded {
            Decoded::Observation(seen) => match &seen.event {
                Event::Dns(dns) => {
                    dns.body.question.as_ref().is_some_and(|q| line.contains(&q.name.to_string()))
                }
                Event::Diagnostic(Diagnostic::QueryError { name, .. }) => line.contains(name.as_str()),
                _ => false,
            },
            Decoded::Change(_) => false,
        });
        if right { result.agrees() } else { result.differs(line, None) }
    }
    result
}

/// Whole DNS messages per capture: gold by compactor's own count, the others by tshark 4.0.17 on the same files.
const COUNTS: [(&str, usize); 5] = [
    ("gold.pcap.xz", 1_998),
    ("matching.pcap.xz", 11),
    ("unmatched.pcap.xz", 2),
    ("knot-live.raw.pcap.xz", 16_531),
    ("nsd-live.raw.pcap.xz", 20_864),
];

/// Real authoritative traffic: as many whole messages as other decoders find.
pub(super) fn compactor(dir: &Path) -> SuiteResult {
    const SUITE: &str = "compactor";
    let mut result = SuiteResult::new(SUITE);
    for (file, wanted) in COUNTS {
        let Ok(seen) = capture(&dir.join(file), &[53]) else { continue };
        // The head of a message whose rest is not in the capture is ours alone.
        let whole =
            seen.iter().filter(|message| message.dns.body.malformed != Some("cut by the capture")).count();
        let case = format!("{file}: {whole} messages, wanted {wanted}");
        if whole == wanted { result.agrees() } else { result.differs(&case, reason(SUITE, &case)) }
    }
    result
}
