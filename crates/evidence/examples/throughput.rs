//! Measures the log alone: appends and seals records of 170 bytes, reads them back, verifies.
//!
//! Enters: number of records and a folder (default 5,000,000 and a new temporary folder); leaves: one line of JSON.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use truename_evidence::{
    Case, Error, ItemBegin, ItemSummary, Limits, NewPiece, Options, Reader, SigningKeyFile, verify,
};
use truename_model::{Nanos, Sha256};

/// A CoreDNS-like line of 170 bytes; about as compressible as real ones.
fn line(number: u64, out: &mut Vec<u8>) {
    out.clear();
    let mix = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (a, b, c) = (mix >> 56, (mix >> 40) % 2000, (mix >> 20) % 65_536);
    let text = format!(
        "2026-11-22T03:{:02}:{:02}.{:09}Z stdout F [INFO] 10.244.{}.{}:{} - {} \"A IN service-{}.namespace-{}.svc.cluster.local. udp 60 false 512\" NOERROR qr,aa,rd 118 0.000{:06}s",
        number / 3_000_000 % 60,
        number / 50_000 % 60,
        mix % 1_000_000_000,
        b >> 8,
        b & 255,
        c,
        mix & 0xffff,
        a,
        b % 97,
        c
    );
    out.extend_from_slice(text.as_bytes());
    out.resize(169, b' ');
    out.push(b'\n');
}

/// User and system CPU seconds of this process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(|f| f.parse().unwrap_or(0.0))
        .collect();
    fields.get(11..13).map_or(0.0, |times| (times[0] + times[1]) / 100.0)
}

fn peak_rss_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let records: u64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(5_000_000);
    let dir = arguments.next().map_or_else(
        || std::env::temp_dir().join(format!("truename-throughput-{}", std::process::id())),
        PathBuf::from,
    );
    let key = Arc::new(SigningKeyFile::load_or_create(&dir.join("key"))?);
    let options =
        Options { now: Box::new(|| Nanos(0)), tool: "throughput".into(), limits: Limits::default() };
    // Lines are made before the clock starts: only the log is measured.
    let pool: Vec<Vec<u8>> = (0..200_000)
        .map(|n| {
            let mut out = Vec::new();
            line(n, &mut out);
            out
        })
        .collect();
    let mut case = Case::open_or_create(&dir.join("case"), key, options)?;
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let begin = ItemBegin { path: "synthetic".into(), sha256: Sha256([1; 32]), ..ItemBegin::default() };
    let item = case.begin_item(begin)?;
    for ordinal in 0..records {
        let bytes = &pool[(ordinal % pool.len() as u64) as usize];
        case.append(item, NewPiece { ordinal, offset: ordinal * 170, more: false, secret: false, bytes })?;
    }
    case.end_item(item, ItemSummary { offered: records, complete: true, ..ItemSummary::default() })?;
    case.close()?;
    let (wrote, write_cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let write_rss = peak_rss_mb();
    let reader = Reader::open(&dir.join("case"))?;
    let (start, mut cursor, mut bytes) = (Instant::now(), reader.records(item)?, 0u64);
    while let Some(piece) = cursor.next()? {
        bytes += piece.bytes.len() as u64;
    }
    let read = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let report = verify(&dir.join("case"), None, None)?;
    let verified = start.elapsed().as_secs_f64();
    let per_record = reader.volume().1 as f64 / records as f64;
    println!("{}", report.verdict());
    println!(
        "{{\"records\":{records},\"write_records_per_s\":{:.0},\"write_cpu_s\":{write_cpu:.2},\"read_records_per_s\":{:.0},\
         \"verify_records_per_s\":{:.0},\"bytes_per_record\":{per_record:.1},\"raw_bytes\":{bytes},\"peak_rss_mb\":{write_rss}}}",
        records as f64 / wrote,
        records as f64 / read,
        records as f64 / verified,
    );
    let _ = std::fs::remove_dir_all(&dir);
    Ok(())
}
