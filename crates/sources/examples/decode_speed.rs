//! Decoding speed on one core: CoreDNS log lines (CRI) and dnstap messages made in memory, CPU time, best of five.
//!
//! `cargo run --release -p truename-sources --example decode_speed`
#![allow(clippy::print_stdout, reason = "a measuring program")]

use truename_model::{Decoded, OriginId};
use truename_sources::corednslog::LogDecoder;
use truename_sources::dnstap::TapDecoder;
use truename_sources::{DecodeContext, Decoder};

/// Distinct names, as in a cluster of some size.
const NAMES: u32 = 5_000;
const RECORDS: u32 = 400_000;

/// A skewed choice: low ranks come often.
fn rank(n: u32) -> u32 {
    let mut x = n.wrapping_mul(0x9e37_79b9);
    x ^= x >> 15;
    let draw = f64::from(x) / f64::from(u32::MAX);
    (f64::from(NAMES).powf(draw) as u32).min(NAMES - 1)
}

fn lines() -> Vec<Vec<u8>> {
    (0..RECORDS)
        .map(|n| {
            let (rank, pod) = (rank(n), n % 2_000);
            format!(
                "2026-11-22T03:55:{:02}.{:09}Z stdout F [INFO] 10.244.{}.{}:{} - {} \"A IN svc-{rank}.ns-{}.svc.cluster.local. \
                 udp 61 false 1232\" NOERROR qr,aa,rd 106 0.{:09}s\n",
                n / 10_000 % 60,
                n % 1_000_000 * 997 % 1_000_000_000,
                pod / 250,
                pod % 250 + 1,
                1_024 + n % 60_000,
                n % 65_536,
                rank % 40,
                40_000 + n % 90_000
            )
            .into_bytes()
        })
        .collect()
}

fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    let mut len = bytes.len();
    while len > 127 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, number: u8, mut value: u64) {
    out.push(number << 3);
    while value > 127 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn message(n: u32) -> Vec<u8> {
    let rank = rank(n);
    let mut dns = (n as u16).to_be_bytes().to_vec();
    dns.extend_from_slice(&[0x85, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
    for label in
        [format!("svc-{rank}"), format!("ns-{}", rank % 40), "svc".into(), "cluster".into(), "local".into()]
    {
        dns.push(label.len() as u8);
        dns.extend_from_slice(label.as_bytes());
    }
    dns.extend_from_slice(&[
        0,
        0,
        1,
        0,
        1,
        0xc0,
        12,
        0,
        1,
        0,
        1,
        0,
        0,
        0,
        5,
        0,
        4,
        10,
        96,
        (rank >> 8) as u8,
        rank as u8,
    ]);
    dns
}

fn frames() -> Vec<Vec<u8>> {
    (0..RECORDS)
        .map(|n| {
            let mut message_bytes = Vec::new();
            varint(&mut message_bytes, 1, 6);
            varint(&mut message_bytes, 2, 1);
            varint(&mut message_bytes, 3, 1);
            field(&mut message_bytes, 4, &[10, 244, (n % 2_000 / 250) as u8, (n % 250) as u8 + 1]);
            varint(&mut message_bytes, 6, u64::from(1_024 + n % 60_000));
            varint(&mut message_bytes, 8, 1_780_000_000);
            message_bytes.extend_from_slice(&[9 << 3 | 5, 1, 2, 3, 0]);
            varint(&mut message_bytes, 12, 1_780_000_000);
            message_bytes.extend_from_slice(&[13 << 3 | 5, 1, 2, 4, 0]);
            field(&mut message_bytes, 14, &message(n));
            let mut tap = Vec::new();
            field(&mut tap, 1, b"coredns-7db6d8ff4d-abcde");
            field(&mut tap, 2, b"CoreDNS-1.15.0");
            field(&mut tap, 14, &message_bytes);
            varint(&mut tap, 15, 1);
            [&(tap.len() as u32).to_be_bytes()[..], &tap].concat()
        })
        .collect()
}

/// Nanoseconds that this thread was on a core: wall time says little on a shared machine.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn measure(what: &str, records: &[Vec<u8>], mut decoder: impl Decoder) {
    let mut best = u64::MAX;
    let mut out: Vec<Decoded> = Vec::new();
    for _ in 0..5 {
        let before = cpu_ns();
        for (ordinal, record) in records.iter().enumerate() {
            decoder.decode(ordinal as u64, record, &mut out);
            if out.len() >= 512 {
                out.clear();
            }
        }
        best = best.min(cpu_ns() - before);
    }
    let per_record = best as f64 / f64::from(RECORDS);
    println!("{what}: {per_record:.0} ns each, {:.2} M/s/core", 1e3 / per_record);
}

fn main() {
    println!("one decoded value: {} octets", std::mem::size_of::<Decoded>());
    let context = || DecodeContext::new(0, OriginId(0));
    measure("CoreDNS log lines", &lines(), LogDecoder::new(context()));
    measure("dnstap messages", &frames(), TapDecoder::new(context()));
}
