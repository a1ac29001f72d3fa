//! Inputs without goldens: hostile messages and captures must be read without panic, within bounds, and totally.

use std::fs;
use std::path::{Path, PathBuf};

use truename_sources::pcap::{PcapDecoder, Records};
use truename_sources::piece::cut;
use truename_sources::wire::WireDecoder;

use super::capture::{context, observations};
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
