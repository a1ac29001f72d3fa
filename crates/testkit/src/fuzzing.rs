//! Bodies of the fuzz targets, as plain functions, so that seeds run through them on a stable toolchain too.
//!
//! Enters: any bytes; leaves: nothing, if nothing panics and what is promised of any input holds: pieces concatenate to
//! the input, every record yields something, secret ranges are sorted and inside the record. Deliberately absent: the
//! engines that make up inputs (`fuzz/fuzz_targets`, and the seeds below).

use std::fs;
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use truename_cluster::corefile::{Env, diff, parse, running_hash, running_json};
use truename_engine::{Input, Settings, ingest};
use truename_evidence::{Case, Limits, Options, Reader, SigningKeyFile, verify};
use truename_model::{Nanos, OriginId};
use truename_sources::DecodeContext;
use truename_sources::decode::{decoder, secret_ranges as ranges};
use truename_sources::kube::Syntax;
use truename_sources::layer::{self, LayerPath, Visitor};
use truename_sources::logformat::LogFormat;
use truename_sources::recognise::{Format, HEAD, Recognised, recognise};
use truename_sources::split::split;
use truename_sources::wire::WireDecoder;

pub mod seeds;

/// Every body under the name of its target.
pub const TARGETS: &[(&str, fn(&[u8]))] = &[
    ("audit", audit),
    ("case_folder", case_folder),
    ("corednslog", corednslog),
    ("corefile", corefile),
    ("dnstap", dnstap),
    ("evidence", evidence),
    ("kube", kube),
    ("layers", layers),
    ("logformat", logformat),
    ("pcap", pcap),
    ("secret_ranges", secret_ranges),
    ("watch", watch),
    ("wire", wire),
];

/// Octets that containers may expand to: a fuzzer's run is not there to inflate.
const EXPANDED: u64 = 8 << 20;

/// A log line of each dialect, after which recognition takes whatever follows for that dialect.
const DIALECTS: [&[u8]; 4] = [
    b"[INFO] 10.0.0.1:40000 - 1 \"A IN a.example. udp 27 false 512\" NOERROR qr,rd,ra 60 0.001s\n",
    b"2026-11-25T03:00:00.000000001Z stdout F [INFO] 10.0.0.1:40000 - 1 \"A IN a.example. udp 27 false 512\" NOERROR qr,rd,ra 60 0.001s\n",
    b"{\"log\":\"[INFO] 10.0.0.1:40000 - 1 \\\"A IN a.example. udp 27 false 512\\\" NOERROR qr,rd,ra 60 0.001s\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-25T03:00:00Z\"}\n",
    b"[pod/kube-system/coredns-1/coredns] [INFO] 10.0.0.1:40000 - 1 \"A IN a.example. udp 27 false 512\" NOERROR qr,rd,ra 60 0.001s\n",
];

/// Splits by `format` and decodes every record.
fn walk(format: &Format, bytes: &[u8]) {
    // Small tables: most of an input's time would else go into clearing memory.
    let mut context = DecodeContext { names_max: 64, ..DecodeContext::new(0, OriginId(0)) };
    context.log_formats.extend(LogFormat::compile("{remote} {name} {type} {rcode}"));
    let mut decoder = decoder(format, context);
    let (mut joined, mut record, mut out) = (Vec::with_capacity(bytes.len()), Vec::new(), Vec::new());
    let done = split(format, &mut Cursor::new(bytes), &mut |piece| {
        assert!(!piece.bytes.is_empty(), "an empty piece");
        assert_eq!(piece.offset as usize, joined.len(), "a piece out of its place");
        joined.extend_from_slice(piece.bytes);
        record.extend_from_slice(piece.bytes);
        if !piece.more {
            check_ranges(format, &record);
            out.clear();
            decoder.decode(piece.ordinal, &record, &mut out);
            assert!(!out.is_empty(), "a record that yields nothing");
            record.clear();
        }
        Ok(())
    });
    assert!(done.is_ok_and(|summary| summary.bytes == bytes.len() as u64), "splitting is total");
    assert!(joined == bytes, "the pieces are the input");
    decoder.finish(&mut out);
    let _ = decoder.caches();
}

fn check_ranges(format: &Format, record: &[u8]) {
    let mut end = 0;
    for range in ranges(format, record) {
        assert!(range.start >= end && range.end >= range.start && range.end <= record.len(), "{range:?}");
        end = range.end;
    }
}

/// DNS messages, whole and as a capture cut them.
pub fn wire(bytes: &[u8]) {
    let mut decoder = WireDecoder::new(4, 4);
    let first = decoder.read(bytes, false);
    assert_eq!(first, decoder.read(bytes, false), "the table of bodies changes no message");
    decoder.read(bytes, true);
}

/// `CoreDNS` output in every wrapping, and as recognised.
pub fn corednslog(bytes: &[u8]) {
    for line in DIALECTS {
        let both = [line, bytes].concat();
        let Recognised::Format(format) = recognise(&both) else { continue };
        walk(&format, &both);
        if matches!(format, Format::CoreDnsLog(_)) {
            walk(&format, bytes);
        }
    }
}

/// Formats of `CoreDNS`'s `log` plugin: the first line is the format, the rest are lines to read.
pub fn logformat(bytes: &[u8]) {
    let end = bytes.iter().position(|octet| *octet == b'\n').unwrap_or(bytes.len());
    let Ok(text) = std::str::from_utf8(&bytes[..end]) else { return };
    let Ok(format) = LogFormat::compile(text) else { return };
    for line in bytes[end..].split(|octet| *octet == b'\n') {
        let _ = format.read(line);
    }
}

/// dnstap frame streams.
pub fn dnstap(bytes: &[u8]) {
    walk(&Format::Dnstap, bytes);
}

/// Packet captures, both kinds.
pub fn pcap(bytes: &[u8]) {
    walk(&Format::Pcap, bytes);
    walk(&Format::PcapNg, bytes);
}

/// Kubernetes objects, JSON and YAML.
pub fn kube(bytes: &[u8]) {
    walk(&Format::KubeObjects(Syntax::Json), bytes);
    walk(&Format::KubeObjects(Syntax::Yaml), bytes);
}

/// Watch streams.
pub fn watch(bytes: &[u8]) {
    walk(&Format::KubeWatch, bytes);
}

/// API audit logs.
pub fn audit(bytes: &[u8]) {
    walk(&Format::Audit, bytes);
}

/// Ranges of secret values, the bytes taken for one record.
pub fn secret_ranges(bytes: &[u8]) {
    let syntaxes = [Format::KubeObjects(Syntax::Json), Format::KubeObjects(Syntax::Yaml)];
    for format in syntaxes.into_iter().chain([Format::KubeWatch, Format::Audit]) {
        check_ranges(&format, bytes);
    }
}

/// Corefiles: language, running hash, difference of both halves.
pub fn corefile(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let env = Env::default();
    let parsed = parse(&text, &env);
    assert_eq!(running_hash(&text, &env).is_ok(), running_json(&text, &env).is_ok());
    if let Ok(parsed) = &parsed {
        let _ = diff(parsed, parsed);
    }
    walk(&Format::Corefile, bytes);
}

struct Leaves;

impl Visitor for Leaves {
    fn leaf(&mut self, _: &LayerPath, format: &Format, head: &[u8], reader: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        // A damaged container ends in an error after what it did give.
        let _ = reader.take(EXPANDED).read_to_end(&mut bytes);
        assert!(head.len() <= HEAD && bytes.starts_with(head), "the head is the beginning");
        walk(format, &bytes);
        Ok(())
    }
}

/// Containers in each other, recognition, splitting and decoding of what is inside.
pub fn layers(bytes: &[u8]) {
    let limits = layer::Limits { expanded: EXPANDED, ..layer::Limits::default() };
    let walked = layer::open(&mut Cursor::new(bytes), &limits, &mut Leaves);
    assert!(walked.is_ok(), "what cannot be read is a loss");
}

/// Parsers of the evidence log.
pub fn evidence(bytes: &[u8]) {
    truename_evidence::fuzzing::parse_all(bytes);
}

/// A case folder altered by an outsider: each three octets change one octet of one file. Neither `verify` nor a reader
/// may panic, and an untouched case is intact. That every change is noticed is for the tests of `evidence`.
pub fn case_folder(bytes: &[u8]) {
    let Ok(work) = tempfile::tempdir() else { return };
    assert!(make_case(work.path()).is_some(), "a small case can be written");
    let dir = work.path().join("case");
    let mut files = Vec::new();
    list(&dir.join("evidence"), &mut files);
    files.sort();
    let mut altered = false;
    for step in bytes.chunks_exact(3).take(16) {
        let path = &files[usize::from(step[0]) % files.len()];
        let Ok(mut content) = fs::read(path) else { continue };
        let len = content.len();
        let Some(octet) = content.get_mut(usize::from(step[1]) * len / 256) else { continue };
        *octet ^= step[2];
        altered |= step[2] != 0 && len > 0;
        assert!(fs::write(path, content).is_ok());
    }
    let report = verify(&dir, None, None);
    if !altered {
        assert!(report.is_ok_and(|report| report.is_intact()), "an untouched case is intact");
    }
    read_all(&dir);
}

fn read_all(dir: &Path) {
    let Ok(reader) = Reader::open(dir) else { return };
    for item in reader.items() {
        let Ok(mut cursor) = reader.records(item.id) else { continue };
        while let Ok(Some(_)) = cursor.next() {}
        let _ = reader.proof(item.id, 0);
    }
}

fn make_case(work: &Path) -> Option<()> {
    let key = SigningKeyFile::load_or_create(&work.join("key")).ok()?;
    let options = Options { now: Box::new(|| Nanos(0)), tool: "fuzz".into(), limits: Limits::default() };
    let mut case = Case::open_or_create(&work.join("case"), Arc::new(key), options).ok()?;
    let open = || Ok(Box::new(Cursor::new(DIALECTS[0])) as Box<dyn Read + Send>);
    let input = Input { label: "a.log".into(), size: DIALECTS[0].len() as u64, open: Box::new(open) };
    ingest(&mut case, &[input], &Settings::default(), &|| Nanos(0), &mut |_| {}).ok()?;
    case.close().ok().map(|_| ())
}

fn list(dir: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            list(&entry.path(), files);
        } else {
            files.push(entry.path());
        }
    }
}

#[cfg(test)]
mod tests;
