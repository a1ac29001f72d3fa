//! Unit tests of the dnstap reader, with prost as a second encoder.

use super::*;
use crate::piece::{SplitSummary, cut};
use prost::Message as _;
use truename_model::{OriginId, Rcode};

#[derive(Clone, PartialEq, prost::Message)]
struct PbTap {
    #[prost(bytes = "vec", optional, tag = "1")]
    identity: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    version: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    extra: Option<Vec<u8>>,
    #[prost(message, optional, tag = "14")]
    message: Option<PbMessage>,
    #[prost(int32, required, tag = "15")]
    kind: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PbMessage {
    #[prost(int32, required, tag = "1")]
    kind: i32,
    #[prost(int32, optional, tag = "2")]
    family: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    protocol: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "4")]
    query_address: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "5")]
    response_address: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "6")]
    query_port: Option<u32>,
    #[prost(uint32, optional, tag = "7")]
    response_port: Option<u32>,
    #[prost(uint64, optional, tag = "8")]
    query_sec: Option<u64>,
    #[prost(fixed32, optional, tag = "9")]
    query_nsec: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "10")]
    query: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "11")]
    zone: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "12")]
    response_sec: Option<u64>,
    #[prost(fixed32, optional, tag = "13")]
    response_nsec: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "14")]
    response: Option<Vec<u8>>,
    #[prost(string, optional, tag = "99")]
    unknown: Option<String>,
}

const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x02ex\0\0\x01\0\x01";
const ANSWER: &[u8] = b"\x12\x34\x85\x83\0\x01\0\0\0\0\0\0\x01a\x02ex\0\0\x01\0\x01";

fn tap(kind: i32) -> PbTap {
    PbTap {
        identity: Some(b"coredns-1".to_vec()),
        version: Some(b"CoreDNS-1.14.4".to_vec()),
        extra: Some(b"v1 - 10.96.0.10".to_vec()),
        kind: 1,
        message: Some(PbMessage {
            kind,
            family: Some(1),
            protocol: Some(1),
            query_address: Some("::ffff:10.0.0.7".parse::<Ipv6Addr>().unwrap().octets().to_vec()),
            query_port: Some(4_242),
            query_sec: Some(1_700_000_000),
            query_nsec: Some(5),
            response_sec: Some(1_700_000_001),
            response_nsec: Some(7),
            query: Some(QUERY.to_vec()),
            response: Some(ANSWER.to_vec()),
            unknown: Some("later".into()),
            ..PbMessage::default()
        }),
    }
}

fn data(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes()[..], payload].concat()
}

fn control(kind: u32, content: Option<&[u8]>) -> Vec<u8> {
    let mut body = kind.to_be_bytes().to_vec();
    if let Some(content) = content {
        body.extend_from_slice(&1u32.to_be_bytes());
        body.extend_from_slice(&(content.len() as u32).to_be_bytes());
        body.extend_from_slice(content);
    }
    [&[0; 4][..], &(body.len() as u32).to_be_bytes(), &body].concat()
}

fn stream() -> Vec<u8> {
    let mut bytes = control(4, Some(CONTENT_TYPE));
    bytes.extend(control(2, Some(CONTENT_TYPE)));
    for kind in 1..=14 {
        bytes.extend(data(&tap(kind).encode_to_vec()));
    }
    bytes.extend(control(3, None));
    bytes
}

fn split(bytes: &[u8]) -> (Vec<Vec<u8>>, SplitSummary) {
    let mut records: Vec<Vec<u8>> = Vec::new();
    let mut input = bytes;
    let summary = cut(&mut Frames::default(), &mut input, &mut |piece| {
        records.resize(piece.ordinal as usize + 1, Vec::new());
        records[piece.ordinal as usize].extend_from_slice(piece.bytes);
        Ok(())
    });
    (records, summary.unwrap())
}

fn decode(bytes: &[u8]) -> Vec<(ObservedAt, Event)> {
    let mut decoder = TapDecoder::new(DecodeContext::new(0, OriginId(0)));
    let mut out = Vec::new();
    for (ordinal, record) in split(bytes).0.iter().enumerate() {
        let before = out.len();
        decoder.decode(ordinal as u64, record, &mut out);
        assert!(out.len() > before);
    }
    decoder.finish(&mut out);
    let observation = |decoded| match decoded {
        Decoded::Observation(observation) => (observation.at, observation.event),
        Decoded::Change(_) => panic!("a tap holds no objects"),
    };
    out.into_iter().map(observation).collect()
}

fn dns(event: &(ObservedAt, Event)) -> &DnsEvent {
    match &event.1 {
        Event::Dns(dns) => dns,
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_types_of_a_whole_stream_are_read() {
    let out = decode(&stream());
    assert_eq!(out.len(), 17);
    assert!(matches!(out[0].1, Event::Ignored("dnstap READY")));
    assert!(matches!(out[16].1, Event::Ignored("dnstap STOP")));
    let query = dns(&out[2 + 4]);
    assert_eq!(query.vantage, Vantage::ClientQuery);
    assert_eq!(
        query.client,
        Some(Endpoint { ip: "10.0.0.7".parse().unwrap(), port: 4242 }),
        "16 octets, unmapped"
    );
    assert_eq!((query.id, query.rcode, query.bufsize), (0x1234, None, Some(512)));
    assert_eq!(out[6].0.interval(), Some(Interval::at(Nanos(1_700_000_000_000_000_005))));
    let answer = dns(&out[2 + 5]);
    assert_eq!((answer.vantage, answer.rcode), (Vantage::ClientResponse, Some(Rcode::NXDOMAIN)));
    assert_eq!(answer.duration_ns, Some(1_000_000_002));
    assert_eq!(out[7].0.interval(), Some(Interval::at(Nanos(1_700_000_001_000_000_007))));
    let hints = answer.hints.as_ref().unwrap();
    assert_eq!(hints.version.as_deref(), Some("CoreDNS-1.14.4"));
    assert_eq!(hints.extra.as_deref(), Some("v1 - 10.96.0.10"));
    assert!(Arc::ptr_eq(hints, query.hints.as_ref().unwrap()));
    assert_eq!(dns(&out[8]).vantage, Vantage::ForwarderQuery);
    assert_eq!(dns(&out[9]).vantage, Vantage::ForwarderResponse);
    assert_eq!(dns(&out[2]).vantage, Vantage::OtherQuery);
    assert_eq!(dns(&out[15]).vantage, Vantage::OtherResponse);
}

#[test]
fn without_message_or_time_nothing_is_invented() {
    let mut bare = tap(6);
    let message = bare.message.as_mut().unwrap();
    (message.query, message.response, message.response_sec, message.query_address) =
        (None, None, None, Some(vec![1]));
    let out = decode(&data(&bare.encode_to_vec()));
    let event = dns(&out[0]);
    assert_eq!((out[0].0, event.rcode, event.client), (ObservedAt::None, None, None));
    assert!(!event.body.sections_seen && event.body.question.is_none());
    assert_eq!(event.query_time, Some(Nanos(1_700_000_000_000_000_005)));
    assert_eq!(event.duration_ns, None);
}

#[test]
fn the_walker_reads_what_prost_writes() {
    for kind in 1..=16 {
        let pb = tap(kind);
        let bytes = pb.encode_to_vec();
        let tap = read_tap(&bytes).unwrap();
        let message = tap.message.unwrap();
        assert_eq!((tap.identity, tap.version), (pb.identity.as_deref(), pb.version.as_deref()));
        assert_eq!(message.kind, kind as u64);
        assert_eq!((message.query, message.response), (Some(QUERY), Some(ANSWER)));
        assert_eq!((message.query_port, message.query_nsec), (4_242, 5));
    }
}

#[test]
fn splitting_is_total_at_every_cut_and_for_garbage() {
    let bytes = stream();
    for len in 0..bytes.len() {
        let (records, summary) = split(&bytes[..len]);
        assert_eq!(records.concat(), &bytes[..len], "{len}");
        assert_eq!(summary.bytes, len as u64);
        let out = decode(&bytes[..len]);
        let losses = out.iter().filter(|(_, event)| matches!(event, Event::Loss(_))).count();
        // Cut inside a frame, or after START without STOP: said either way, but not before the stream began.
        assert!(losses > 0 || len == 0 || records.len() < 2, "{len}");
    }
    let mut garbage = stream();
    let tail = garbage.len();
    garbage.extend_from_slice(&[0xff; 3_000_000]);
    let (records, summary) = split(&garbage);
    assert_eq!((records.len(), summary.records), (18, 18), "one record to the end");
    assert_eq!(records[17].len(), garbage.len() - tail);
    assert!(matches!(frame::read(&records[17]), Frame::Garbage));
}

#[test]
fn hostile_payloads_are_undecodable_with_an_offset() {
    let good = tap(5).encode_to_vec();
    for len in 0..good.len() {
        for octet in [0u8, 0x7f, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[len] = octet;
            let _ = (read_tap(&bad), decode(&data(&bad)), read_tap(&good[..len]));
        }
    }
    let out = decode(&data(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]));
    assert!(matches!(out[0].1, Event::Undecodable { reason: "not a dnstap message", offset: 4 }));
    let out = decode(&control(77, None));
    assert!(matches!(out[0].1, Event::Undecodable { .. }));
}

#[test]
fn a_stream_is_recognised_by_its_content_type() {
    assert!(looks_like(&stream()));
    assert!(looks_like(&control(2, None)));
    assert!(!looks_like(&control(2, Some(b"test:hello"))));
    assert!(!looks_like(&control(3, None)));
    assert!(!looks_like(b"\0\0\0"));
}
