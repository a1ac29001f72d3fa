//! dnstap goldens: dnswire's field dump, whatever the chunks, and tinyframe's frames of another content type.

use std::fs;
use std::io::Read;
use std::path::Path;

use truename_model::{Nanos, Transport, Vantage};
use truename_sources::dnstap::{Frame, Frames, TapDecoder, looks_like, read_frame};
use truename_sources::piece::cut;

use super::capture::{Message, context, messages, observations};
use super::reasons::reason;
use crate::suite::SuiteResult;

fn check(suite: &'static str, case: &str, agrees: bool, result: &mut SuiteResult) {
    if agrees {
        result.agrees();
    } else {
        result.differs(case, reason(suite, case));
    }
}

pub(super) fn dnswire(dir: &Path) -> SuiteResult {
    const SUITE: &str = "dnswire";
    let mut result = SuiteResult::new(SUITE);
    let path = dir.join("test.dnstap");
    let Ok(all) = observations::<Frames>(&path, &mut TapDecoder::new(context(&[53]))) else { return result };
    let ours = messages(&all);
    for gold in ["test1.gold", "test2.gold"] {
        let Ok(text) = fs::read_to_string(dir.join(gold)) else { continue };
        // test2 prints the same messages once per chunk size.
        for (index, block) in text.split("---- dnstap").skip(1).enumerate() {
            let Some(message) = ours.get(index % ours.len().max(1)) else { continue };
            for (field, want) in fields(block) {
                let Some(have) = field_of(message, field) else { continue };
                check(
                    SUITE,
                    &format!("{gold} message {index} {field} {want}: ours {have}"),
                    have == want,
                    &mut result,
                );
            }
        }
    }
    for size in [1usize, 10, 18, 32, 64, 4096] {
        let same = chunked(&path, size) == chunked(&path, usize::MAX);
        check(SUITE, &format!("chunks of {size}"), same, &mut result);
    }
    result
}

fn fields(block: &str) -> impl Iterator<Item = (&str, &str)> {
    block.lines().filter_map(|line| line.trim().split_once(": "))
}

/// Our value in dnswire's spelling; `None` for fields that we do not keep.
fn field_of(message: &Message, field: &str) -> Option<String> {
    let dns = &message.dns;
    let ip = |end: Option<truename_model::Endpoint>| end.map(|end| end.ip.to_string());
    let port = |end: Option<truename_model::Endpoint>| end.map(|end| end.port.to_string());
    match field {
        "version" => dns.hints.as_ref()?.version.clone(),
        "type" => {
            Some(if dns.vantage == Vantage::OtherQuery { "TOOL_QUERY" } else { "TOOL_RESPONSE" }.to_owned())
        }
        "query_time" => dns.query_time.map(time),
        "response_time" => message.at.map(time),
        "socket_family" => Some(if dns.client?.ip.is_ipv4() { "INET" } else { "INET6" }.to_owned()),
        "socket_protocol" => Some(if dns.transport == Transport::Udp { "UDP" } else { "TCP" }.to_owned()),
        "query_address" => ip(dns.client),
        "query_port" => port(dns.client),
        "response_address" => ip(dns.server),
        "response_port" => port(dns.server),
        "query_message_length" | "response_message_length" => Some(dns.size.to_string()),
        _ => None,
    }
}

/// dnswire prints the nanoseconds without leading zeros.
fn time(at: Nanos) -> String {
    format!("{}.{}", at.0.div_euclid(1_000_000_000), at.0.rem_euclid(1_000_000_000))
}

struct Chunks<R>(R, usize);

impl<R: Read> Read for Chunks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = buffer.len().min(self.1);
        self.0.read(&mut buffer[..len])
    }
}

fn chunked(path: &Path, size: usize) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let bytes = fs::read(path).unwrap_or_default();
    let cutting = cut(&mut Frames::default(), &mut Chunks(&bytes[..], size), &mut |piece| {
        records.push(piece.bytes.to_vec());
        Ok(())
    });
    if cutting.is_ok() { records } else { Vec::new() }
}

pub(super) fn tinyframe(dir: &Path) -> SuiteResult {
    const SUITE: &str = "tinyframe";
    let mut result = SuiteResult::new(SUITE);
    let path = dir.join("test.fstrm");
    if !path.exists() {
        return result;
    }
    let records = chunked(&path, 7);
    check(SUITE, "twelve records", records.len() == 12, &mut result);
    for (index, record) in records.iter().enumerate().skip(1).take(10) {
        let want = format!("Hello, world #{}\n", index - 1);
        check(SUITE, &want, read_frame(record) == Frame::Data(want.as_bytes()), &mut result);
    }
    let first = records.first().map(Vec::as_slice).unwrap_or_default();
    check(SUITE, "another content type is not dnstap", !looks_like(first), &mut result);
    result
}
