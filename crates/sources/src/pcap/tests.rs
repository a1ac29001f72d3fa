//! Unit tests of the packet reader on packets made here.

use super::*;
use crate::piece::cut;
use truename_model::{OriginId, Rcode};

const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x02ex\0\0\x01\0\x01";
const ANSWER: &[u8] = b"\x12\x34\x85\x83\0\x01\0\0\0\0\0\0\x01a\x02ex\0\0\x01\0\x01";

fn ipv4(protocol: u8, flags: u16, id: u16, payload: &[u8], back: bool) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&(20 + payload.len() as u16).to_be_bytes());
    packet.extend_from_slice(&id.to_be_bytes());
    packet.extend_from_slice(&flags.to_be_bytes());
    packet.extend_from_slice(&[61, protocol, 0, 0]);
    let (client, server) = ([10, 0, 0, 7], [10, 96, 0, 10]);
    let (src, dst) = if back { (server, client) } else { (client, server) };
    packet.extend_from_slice(&src);
    packet.extend_from_slice(&dst);
    packet.extend_from_slice(payload);
    packet
}

fn udp(src: u16, dst: u16, data: &[u8]) -> Vec<u8> {
    let mut out =
        [src.to_be_bytes(), dst.to_be_bytes(), (8 + data.len() as u16).to_be_bytes(), [0, 0]].concat();
    out.extend_from_slice(data);
    out
}

fn tcp(seq: u32, flags: u8, data: &[u8]) -> Vec<u8> {
    let mut out = [4_242u16.to_be_bytes(), 53u16.to_be_bytes()].concat();
    out.extend_from_slice(&seq.to_be_bytes());
    out.extend_from_slice(&0u32.to_be_bytes());
    out.extend_from_slice(&[0x50, flags, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(data);
    ipv4(net::TCP, 0, 9, &out, false)
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

/// A pcap file of these packets, one a second, with this link type.
fn pcap(big: bool, nano: bool, link: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    let word = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let magic = if nano { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let mut out = word(magic).to_vec();
    for value in [if big { 0x0002_0004 } else { 0x0004_0002 }, 0, 0, 65_535, link] {
        out.extend_from_slice(&word(value));
    }
    for (index, packet) in packets.iter().enumerate() {
        for value in [1_700_000_000 + index as u32, 7, packet.len() as u32, packet.len() as u32] {
            out.extend_from_slice(&word(value));
        }
        out.extend_from_slice(packet);
    }
    out
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut padded = body.to_vec();
    padded.resize(body.len().next_multiple_of(4), 0);
    let len = (padded.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &len, &padded, &len].concat()
}

fn pcapng(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut out =
        block(0x0a0d_0d0a, &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
    // Link type 101, no snap length, nanosecond resolution.
    out.extend(block(1, &[101, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]));
    for (index, packet) in packets.iter().enumerate() {
        let ticks = (1_700_000_000 + index as u64) * 1_000_000_000 + 7;
        let mut body = 0u32.to_le_bytes().to_vec();
        for value in [(ticks >> 32) as u32, ticks as u32, packet.len() as u32, packet.len() as u32] {
            body.extend_from_slice(&value.to_le_bytes());
        }
        body.extend_from_slice(packet);
        out.extend(block(6, &body));
    }
    out.extend(block(5, &[[0; 12].to_vec(), vec![5, 0, 8, 0, 3, 0, 0, 0, 0, 0, 0, 0]].concat()));
    out
}

fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut records: Vec<Vec<u8>> = Vec::new();
    let mut input = bytes;
    cut(&mut Records::default(), &mut input, &mut |piece| {
        records.resize(piece.ordinal as usize + 1, Vec::new());
        records[piece.ordinal as usize].extend_from_slice(piece.bytes);
        Ok(())
    })
    .unwrap();
    records
}

fn decode(bytes: &[u8]) -> Vec<(u64, ObservedAt, Event)> {
    let mut decoder = PcapDecoder::new(DecodeContext::new(0, OriginId(0)));
    let mut out = Vec::new();
    for (ordinal, record) in split(bytes).iter().enumerate() {
        decoder.decode(ordinal as u64, record, &mut out);
        let seen = |decoded: &Decoded| matches!(decoded, Decoded::Observation(o) if o.record.ordinal == ordinal as u64);
        assert!(out.iter().any(seen), "record {ordinal} is accounted for");
    }
    decoder.finish(&mut out);
    let observation = |decoded| match decoded {
        Decoded::Observation(seen) => (seen.record.ordinal, seen.at, seen.event),
        Decoded::Change(_) => panic!("a capture holds no objects"),
    };
    out.into_iter().map(observation).collect()
}

fn messages(bytes: &[u8]) -> Vec<(u64, DnsEvent)> {
    let message = |(ordinal, _, event)| match event {
        Event::Dns(dns) => Some((ordinal, dns)),
        _ => None,
    };
    decode(bytes).into_iter().filter_map(message).collect()
}

fn causes(bytes: &[u8]) -> Vec<&'static str> {
    let cause = |(_, _, event)| match event {
        Event::Loss(loss) => Some(loss.cause),
        _ => None,
    };
    decode(bytes).into_iter().filter_map(cause).collect()
}

fn exchange() -> Vec<Vec<u8>> {
    let query = ipv4(net::UDP, 0, 1, &udp(4_242, 53, QUERY), false);
    let answer = ipv4(net::UDP, 0, 2, &udp(53, 4_242, ANSWER), true);
    vec![query, answer]
}

#[test]
fn every_container_gives_the_same_exchange() {
    for (bytes, fraction) in [
        (pcap(false, false, 101, &exchange()), 7_000),
        (pcap(true, false, 101, &exchange()), 7_000),
        (pcap(false, true, 101, &exchange()), 7),
        (pcap(true, true, 101, &exchange()), 7),
        (pcapng(&exchange()), 7),
    ] {
        let seen = messages(&bytes);
        assert_eq!(seen.len(), 2);
        let (query, answer) = (&seen[0].1, &seen[1].1);
        assert_eq!((query.vantage, answer.vantage), (Vantage::PacketQuery, Vantage::PacketResponse));
        assert_eq!((query.client, query.server), (answer.client, answer.server));
        assert_eq!(query.client, Some(Endpoint { ip: "10.0.0.7".parse().unwrap(), port: 4_242 }));
        assert_eq!((answer.id, answer.rcode), (0x1234, Some(Rcode::NXDOMAIN)));
        assert_eq!(query.packet.map(|facts| (facts.ip_ttl, facts.ip_id, facts.cut)), Some((61, 1, false)));
        let at = decode(&bytes)
            .into_iter()
            .find_map(|(_, at, event)| matches!(event, Event::Dns(_)).then_some(at));
        let at = at.and_then(ObservedAt::interval).unwrap();
        assert_eq!(at.lo.0, 1_700_000_000_000_000_000 + fraction);
    }
    assert_eq!(causes(&pcapng(&exchange())), ["capture-drops"]);
}

#[test]
fn every_link_layer_leads_to_the_same_packet() {
    let packet = &exchange()[0];
    let mac = [2u8, 0, 0, 0, 0, 9];
    let ether = [&[0; 6][..], &mac].concat();
    let cases: [(u32, Vec<u8>, bool); 12] = [
        (1, [&ether[..], &[8, 0]].concat(), true),
        (1, [&ether[..], &[0x81, 0, 0, 11, 8, 0]].concat(), true),
        (1, [&ether[..], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 11, 8, 0]].concat(), true),
        (0, vec![2, 0, 0, 0], false),
        (108, vec![0, 0, 0, 2], false),
        (113, [&[0, 0, 0, 1, 0, 6][..], &mac, &[0, 0, 8, 0]].concat(), true),
        (276, [&[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6][..], &mac, &[0, 0]].concat(), true),
        (9, vec![0xff, 0x03, 0x00, 0x21], false),
        (9, vec![0x21], false),
        (51, [&[0x11; 6][..], &[0, 0x21]].concat(), false),
        (228, vec![], false),
        (12, vec![], false),
    ];
    for (link, head, has_mac) in cases {
        let mut framed = [head, packet.clone()].concat();
        // Padding behind the datagram is not data.
        framed.extend_from_slice(&[0; 5]);
        let seen = messages(&pcap(false, false, link, &[framed]));
        assert_eq!(seen.len(), 1, "link {link}");
        assert_eq!(seen[0].1.body.malformed, None, "link {link}");
        assert_eq!(seen[0].1.packet.and_then(|facts| facts.mac), has_mac.then_some(mac), "link {link}");
    }
}

#[test]
fn ipv6_extension_headers_are_passed() {
    let data = udp(4_242, 53, QUERY);
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend_from_slice(&(data.len() as u16 + 16).to_be_bytes());
    packet.extend_from_slice(&[0, 64]);
    packet.extend_from_slice(&[0xfd; 32]);
    packet.extend_from_slice(&[60, 0, 0, 0, 0, 0, 0, 0]);
    packet.extend_from_slice(&[17, 0, 0, 0, 0, 0, 0, 0]);
    packet.extend_from_slice(&data);
    let seen = messages(&pcap(false, false, 101, &[packet]));
    assert_eq!(seen[0].1.packet.map(|facts| facts.ip_ttl), Some(64));
}

#[test]
fn fragments_are_joined_in_any_order_and_missing_ones_are_a_loss() {
    let data = udp(53, 4_242, &[ANSWER, &[0; 20]].concat());
    let piece = |from: usize, to: usize, more: bool| {
        let flags = (from / 8) as u16 | if more { 0x2000 } else { 0 };
        ipv4(net::UDP, flags, 5, &data[from..to], true)
    };
    let pieces = [piece(0, 16, true), piece(16, 32, true), piece(32, data.len(), false)];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let packets = order.map(|index: usize| pieces[index].clone());
        let seen = messages(&pcap(false, false, 101, &packets));
        assert_eq!(seen.len(), 1);
        assert_eq!(
            (seen[0].0, seen[0].1.size as usize),
            (3, data.len() - 8),
            "cites the record that completes it"
        );
    }
    assert_eq!(causes(&pcap(false, false, 101, &pieces[..2])), ["fragment-missing"]);
    let mut forged = pieces[1].clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let packets = [pieces[0].clone(), pieces[1].clone(), forged, pieces[2].clone()];
    assert_eq!(causes(&pcap(false, false, 101, &packets)), ["fragment-overlap"]);
    let flood: Vec<_> = (0..600u16).map(|id| ipv4(net::UDP, 0x2000, id, &data[..16], true)).collect();
    assert_eq!(causes(&pcap(false, false, 101, &flood)).len(), 600, "each one is accounted for");
}

#[test]
fn tcp_messages_are_read_however_they_are_cut() {
    let stream = [framed(QUERY), framed(QUERY), framed(QUERY)].concat();
    for size in [1, 2, 3, 7, 25, 100] {
        let mut packets = vec![tcp(99, 0x02, b"")];
        for (index, chunk) in stream.chunks(size).enumerate() {
            packets.push(tcp(100 + (index * size) as u32, 0x18, chunk));
        }
        assert_eq!(messages(&pcap(false, false, 101, &packets)).len(), 3, "{size}");
        packets[1..].reverse();
        assert_eq!(messages(&pcap(false, false, 101, &packets)).len(), 3, "{size} reversed");
    }
}

#[test]
fn tcp_fast_open_wraparound_and_repeats() {
    let data = framed(QUERY);
    assert_eq!(messages(&pcap(false, false, 101, &[tcp(7, 0x02, &data)])).len(), 1, "data in the SYN");
    let near = u32::MAX - 5;
    let packets = [tcp(near - 1, 0x02, b""), tcp(near, 0x18, &data), tcp(near, 0x18, &data)];
    assert_eq!(
        messages(&pcap(false, false, 101, &packets)).len(),
        1,
        "over the end of the sequence space, once"
    );
    let after = near.wrapping_add(data.len() as u32);
    let packets = [tcp(near - 1, 0x02, b""), tcp(near, 0x18, &data), tcp(after, 0x18, &data)];
    assert_eq!(messages(&pcap(false, false, 101, &packets)).len(), 2);
}

#[test]
fn a_hole_is_a_loss_and_reading_goes_on_behind_it() {
    let data = framed(QUERY);
    let len = data.len() as u32;
    let packets = [
        tcp(99, 0x02, b""),
        tcp(100, 0x18, &data),
        tcp(100 + len + 50, 0x18, &data),
        tcp(100 + 2 * len + 50, 0x11, b""),
    ];
    let bytes = pcap(false, false, 101, &packets);
    let ordinals: Vec<u64> = messages(&bytes).iter().map(|(ordinal, _)| *ordinal).collect();
    assert_eq!((ordinals, causes(&bytes)), (vec![2, 3], vec!["tcp-hole"]));
    // Without a SYN the first segment is taken if it begins like a message.
    assert_eq!(messages(&pcap(false, false, 101, &[tcp(5, 0x18, &data)])).len(), 1);
    assert_eq!(causes(&pcap(false, false, 101, &[tcp(5, 0x18, b"GET / HTTP/1.1")])), ["tcp-unframed"]);
}

#[test]
fn connections_are_bounded() {
    let mut decoder = PcapDecoder::new(DecodeContext::new(0, OriginId(0)));
    let mut out = Vec::new();
    for (ordinal, record) in split(&pcap(false, false, 101, &[])).iter().enumerate() {
        decoder.decode(ordinal as u64, record, &mut out);
    }
    for port in 0..6_000u32 {
        let mut packet = tcp(1, 0x18, &framed(QUERY)[..5]);
        packet[20..22].copy_from_slice(&(port as u16 + 1_024).to_be_bytes());
        let record = pcap(false, false, 101, &[packet])[24..].to_vec();
        decoder.decode(u64::from(port) + 1, &record, &mut out);
    }
    let streams = decoder.caches().caches[1];
    assert!(streams.entries <= MAX_STREAMS as u64 && streams.evictions > 0, "{streams:?}");
}

#[test]
fn cut_captures_are_told_from_malformed_messages() {
    let mut bytes = pcap(false, false, 101, &exchange()[..1]);
    // The packet says it was longer than what is captured.
    let short = bytes.len() - 6;
    bytes.truncate(short);
    let captured = (exchange()[0].len() - 6) as u32;
    bytes[32..36].copy_from_slice(&captured.to_le_bytes());
    let seen = messages(&bytes);
    assert_eq!(seen[0].1.body.malformed, Some("cut by the capture"));
    assert_eq!(seen[0].1.packet.map(|facts| facts.cut), Some(true));
    let empty = pcap(false, false, 101, &[ipv4(net::UDP, 0, 1, &udp(4_242, 53, b""), false)]);
    let seen = messages(&empty);
    assert_eq!((seen[0].1.body.malformed, seen[0].1.vantage), (Some("short header"), Vantage::PacketQuery));
}

#[test]
fn splitting_is_total_and_decoding_survives_every_cut_and_flip() {
    let packets =
        [exchange(), vec![tcp(7, 0x02, &framed(QUERY)), ipv4(net::UDP, 0x2000, 5, &[0; 16], true)]].concat();
    for bytes in [pcap(false, false, 101, &packets), pcap(true, true, 101, &packets), pcapng(&packets)] {
        for len in 0..bytes.len() {
            let records = split(&bytes[..len]);
            assert_eq!(records.concat(), &bytes[..len], "{len}");
            let _ = decode(&bytes[..len]);
            for octet in [0u8, 0x7f, 0xff] {
                let mut flipped = bytes.clone();
                flipped[len] = octet;
                assert_eq!(split(&flipped).concat(), flipped);
                let _ = decode(&flipped);
            }
        }
    }
}

#[test]
fn the_sieve_keeps_what_may_be_dns() {
    let mut sieve = Sieve::new(vec![53]);
    let packets = [
        exchange()[0].clone(),
        ipv4(net::UDP, 0, 1, &udp(4_242, 4_789, b"not a message of DNS"), false),
        ipv4(1, 0, 1, &[8, 0, 0, 0], false),
        ipv4(net::UDP, 0x2000, 5, &[0; 16], true),
        tcp(7, 0x02, b""),
    ];
    let kept: Vec<bool> =
        split(&pcap(false, false, 101, &packets)).iter().map(|record| sieve.keeps(record)).collect();
    assert_eq!(kept, [true, true, false, false, true, true]);
}

fn tcp_to(port: u16, seq: u32, data: &[u8]) -> Vec<u8> {
    let mut packet = tcp(seq, 0x18, data);
    packet[22..24].copy_from_slice(&port.to_be_bytes());
    packet
}

/// What the sieve keeps of packets, and how many messages the decoder reads in them.
fn kept(packets: &[Vec<u8>]) -> (Vec<bool>, usize) {
    let bytes = pcap(false, false, 101, packets);
    let mut sieve = Sieve::new(vec![53]);
    // The file's header is a record, too.
    let kept = split(&bytes).iter().map(|record| sieve.keeps(record)).skip(1).collect();
    (kept, messages(&bytes).len())
}

#[test]
fn dns_is_known_by_its_content_on_any_port() {
    for port in [5_353, 1_053, 65_000] {
        let both = [
            ipv4(net::UDP, 0, 1, &udp(4_242, port, QUERY), false),
            ipv4(net::UDP, 0, 1, &udp(port, 4_242, ANSWER), true),
        ];
        assert_eq!(kept(&both), (vec![true, true], 2), "{port}");
        let seen = messages(&pcap(false, false, 101, &both));
        assert_eq!(seen[1].1.server.map(|server| server.port), Some(port));
    }
    // A connection is DNS from its first message on, whatever its segments hold afterwards.
    let message = framed(QUERY);
    let connection = [
        tcp_to(1_053, 0, b"GET / HTTP/1.1\r\n\r\n"),
        tcp_to(1_053, 18, &message),
        tcp_to(1_053, 18 + message.len() as u32, &message[..7]),
        tcp_to(1_053, 25 + message.len() as u32, &message[7..]),
    ];
    assert_eq!(kept(&connection), (vec![false, true, true, true], 2));
}

#[test]
fn what_only_looks_like_dns_is_not() {
    let mut odd = vec![QUERY.to_vec(); 5];
    odd[0][5] = 2; // two questions
    odd[1][2] |= 0x78; // an opcode that is not assigned
    odd[2][7] = 1; // a query with an answer that is not there
    odd[3].truncate(QUERY.len() - 1);
    *odd[4].last_mut().unwrap() = 77; // a class that nobody uses
    let packets: Vec<_> =
        odd.iter().map(|data| ipv4(net::UDP, 0, 1, &udp(4_242, 4_789, data), false)).collect();
    assert_eq!(kept(&packets), (vec![false; 5], 0));
    let mut multicast = ipv4(net::UDP, 0, 1, &udp(4_242, 5_353, QUERY), false);
    multicast[16..20].copy_from_slice(&[224, 0, 0, 251]);
    let others = [
        multicast,
        ipv4(net::UDP, 0, 1, &udp(5_353, 5_353, QUERY), false),
        ipv4(net::UDP, 0, 1, &udp(137, 137, QUERY), false),
        ipv4(net::UDP, 0, 1, &udp(4_242, 5_355, QUERY), false),
    ];
    assert_eq!(kept(&others), (vec![false; 4], 0));
}
