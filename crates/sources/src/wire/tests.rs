//! Unit tests of the message parser; the differential test against a second decoder is in `tests/`.

use super::*;
use truename_model::{Class, Name, Question, Rdata, Rtype};

fn question(name: &[u8]) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(name);
    message.extend_from_slice(&[0, 1, 0, 1]);
    message
}

/// A response with a CNAME chain, an address, an SOA and an OPT with one option.
fn response() -> Vec<u8> {
    let mut m = vec![0x12, 0x34, 0x85, 0x80, 0, 1, 0, 2, 0, 1, 0, 1];
    m.extend_from_slice(b"\x03wWw\x02ex\0\0\x01\0\x01"); // 12: www.ex.
    m.extend_from_slice(b"\xc0\x0c\0\x05\0\x01\0\0\0\x1e\0\x04\x01a\xc0\x10"); // a.ex.
    m.extend_from_slice(b"\xc0\x24\0\x01\0\x01\0\0\0\x05\0\x04\x0a\0\0\x01");
    m.extend_from_slice(b"\xc0\x10\0\x06\0\x01\0\0\0\x05\0\x1a\xc0\x10\x01r\xc0\x10");
    m.extend_from_slice(&[0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]);
    m.extend_from_slice(b"\0\0\x29\x04\xd0\x01\0\x80\0\0\x06\0\x0a\0\x02\xaa\xbb");
    m
}

fn read(bytes: &[u8]) -> Message {
    WireDecoder::new(4, 2).read(bytes, false)
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

#[test]
fn a_response_is_read_whole() {
    let message = read(&response());
    let body = &message.body;
    assert_eq!(body.malformed, None);
    assert_eq!((message.id, message.flags.0), (0x1234, 0x8580));
    assert_eq!(message.rcode, Rcode::BADVERS, "extended code 1 over 0");
    let want = Question { name: name("www.ex"), rtype: Rtype::A, class: Class::IN };
    assert_eq!(body.question.as_ref(), Some(&want));
    assert_eq!(body.qname_case.as_deref(), Some("wWw.ex."));
    assert_eq!(body.answers[0].rdata, Rdata::Cname(name("a.ex")));
    assert_eq!(body.answers[1].owner, name("a.ex"));
    assert_eq!(body.addresses().next(), Some("10.0.0.1".parse().unwrap()));
    let soa = Rdata::Soa { mname: name("ex"), rname: name("r.ex"), numbers: [7, 1, 2, 3, 4] };
    assert_eq!(body.authority[0].rdata, soa);
    assert!(body.additional.is_empty());
    let edns = body.edns.as_ref().unwrap();
    assert_eq!((edns.udp_size, edns.version, edns.dnssec_ok), (1232, 0, true));
    assert_eq!(edns.options, vec![(10, Box::from(&[0xaa, 0xbb][..]))]);
}

#[test]
fn every_fault_has_its_phrase_and_keeps_what_was_read() {
    let cases: [(&[u8], &str); 8] = [
        (b"\x40", "bad label type"),
        (b"\x80", "bad label type"),
        (b"\xc0\x40", "forward pointer"),
        (b"\xc0\x0c", "pointer loop"),
        (b"\x01a\xc0\x0c", "pointer loop"),
        (b"\xc0\x04", "pointer into the header"),
        (b"\x05ab", "truncated record"),
        (b"\xc0", "truncated record"),
    ];
    for (bad, phrase) in cases {
        let mut bytes = question(bad);
        if phrase.starts_with("truncated") {
            bytes.truncate(HEADER + bad.len());
        }
        let message = read(&bytes);
        assert_eq!((message.id, message.body.malformed), (0x1234, Some(phrase)), "{bad:?}");
    }
    let long = [&[63u8; 64][..], &[63; 64], &[63; 64], &[63; 64], &[0]].concat();
    assert_eq!(read(&question(&long)).body.malformed, Some("name too long"));
    let mut trailing = question(b"\x01a\0");
    trailing.push(0);
    let message = read(&trailing);
    assert_eq!(message.body.malformed, Some("trailing bytes"));
    assert_eq!(message.body.question.as_ref().unwrap().name, name("a"));
    assert_eq!(read(&[1, 2, 3]).body.malformed, Some("short header"));
    assert_eq!(read(&[1, 2, 3]).id, 0x0102);
}

#[test]
fn bad_record_data_does_not_hide_the_records_behind_it() {
    let mut m = vec![0, 1, 0x80, 0, 0, 0, 0, 2, 0, 0, 0, 0];
    m.extend_from_slice(b"\x01a\0\0\x01\0\x01\0\0\0\x05\0\x03\x01\x02\x03");
    m.extend_from_slice(b"\x01b\0\0\x01\0\x01\0\0\0\x05\0\x04\x01\x02\x03\x04");
    let body = read(&m).body;
    assert_eq!(body.malformed, Some("bad record data"));
    assert_eq!(body.answers[0].rdata, Rdata::Other(Box::from(&[1, 2, 3][..])));
    assert_eq!(body.answers[1].rdata, Rdata::A([1, 2, 3, 4].into()));
}

#[test]
fn a_message_cut_at_any_octet_is_read_without_panic_and_named() {
    let bytes = response();
    for len in 0..bytes.len() {
        let message = read(&bytes[..len]);
        assert!(message.body.malformed.is_some(), "{len}");
        let cut = WireDecoder::new(4, 2).read(&bytes[..len], true);
        assert_eq!(cut.body.malformed, Some("cut by the capture"), "{len}");
    }
}

#[test]
fn equal_bytes_share_a_body_from_the_second_sight_and_other_ids_do_not_matter() {
    let mut decoder = WireDecoder::new(4, 4);
    let mut bytes = response();
    decoder.read(&bytes, false);
    assert_eq!(decoder.stats().body_entries, 0);
    let first = decoder.read(&bytes, false).body;
    bytes[0] = 99;
    let second = decoder.read(&bytes, false);
    assert!(Arc::ptr_eq(&first, &second.body));
    assert_eq!(second.id, 0x6334);
    bytes[30] ^= 1;
    assert!(!Arc::ptr_eq(&first, &decoder.read(&bytes, false).body));
    assert_eq!(decoder.stats().body_hits, 1);
}

#[test]
fn the_tables_are_bounded_and_count_what_they_forget() {
    let mut decoder = WireDecoder::new(2, 2);
    for n in (0..200u8).flat_map(|n| [n, n]) {
        let message = decoder.read(&question(&[1, n, 0]), false);
        assert_eq!(message.body.malformed, None);
    }
    assert!(decoder.stats().body_evictions >= 196);
    assert!(decoder.stats().name_evictions >= 100);
}

#[test]
fn many_pointers_end() {
    // Each pointer leads to the one before it; the bound on hops stops the walk.
    let mut bytes = question(b"\0");
    let mut last = 12u16;
    for _ in 0..60 {
        let at = bytes.len() as u16;
        bytes.extend_from_slice(&(0xc000 | last).to_be_bytes());
        last = at;
    }
    let mut buf = super::name::NameBuf::new();
    assert_eq!(super::name::read(&bytes, usize::from(last), &mut buf), Err(Fault::TooManyPointers));
}
