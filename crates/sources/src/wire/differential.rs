//! Our parser against hickory-proto: messages that it writes must read the same here, and damaged ones must end.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Edns, Message as Theirs, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name as TheirName, RData, Record as TheirRecord, RecordType};
use proptest::prelude::*;
use truename_model::{Name, Rdata, Record};

use super::WireDecoder;

fn names() -> impl Strategy<Value = Vec<Vec<u8>>> {
    // Few letters and labels, so that compression has something to do; any octet now and then.
    let letter = prop_oneof![4 => prop::sample::select(b"abAB".to_vec()), 1 => any::<u8>()];
    prop::collection::vec(prop::collection::vec(letter, 1..6), 0..6)
}

fn their_name(labels: &[Vec<u8>]) -> TheirName {
    TheirName::from_labels(labels.iter().map(Vec::as_slice)).unwrap()
}

fn our_name(labels: &[Vec<u8>]) -> Name {
    let mut wire: Vec<u8> =
        labels.iter().flat_map(|label| [&[label.len() as u8][..], label].concat()).collect();
    wire.push(0);
    Name::from_wire(&wire).unwrap()
}

#[derive(Clone, Debug)]
struct Made {
    owner: Vec<Vec<u8>>,
    ttl: u32,
    kind: u8,
    target: Vec<Vec<u8>>,
    number: u32,
}

fn made() -> impl Strategy<Value = Made> {
    (names(), 0..0x7fff_ffffu32, 0..9u8, names(), any::<u32>())
        .prop_map(|(owner, ttl, kind, target, number)| Made { owner, ttl, kind, target, number })
}

/// The same data for both sides.
fn data(made: &Made) -> (RData, Rdata) {
    let (n, theirs, ours) = (made.number, their_name(&made.target), our_name(&made.target));
    let port = n as u16;
    match made.kind {
        0 => (RData::A(A(Ipv4Addr::from(n))), Rdata::A(Ipv4Addr::from(n))),
        1 => {
            let ip = Ipv6Addr::from(u128::from(n) << 90);
            (RData::AAAA(AAAA(ip)), Rdata::Aaaa(ip))
        }
        2 => (RData::CNAME(CNAME(theirs)), Rdata::Cname(ours)),
        3 => (RData::NS(NS(theirs)), Rdata::Ns(ours)),
        4 => (RData::PTR(PTR(theirs)), Rdata::Ptr(ours)),
        5 => (RData::MX(MX::new(port, theirs)), Rdata::Mx(port, ours)),
        6 => {
            let srv = Rdata::Srv { priority: port, weight: 1, port: 2, target: ours };
            (RData::SRV(SRV::new(port, 1, 2, theirs)), srv)
        }
        7 => {
            let soa = Rdata::Soa { mname: ours.clone(), rname: ours, numbers: [n, 1, 2, 3, 4] };
            (RData::SOA(SOA::new(theirs.clone(), theirs, n, 1, 2, 3, 4)), soa)
        }
        _ => {
            let text = n.to_string();
            let wire = [&[text.len() as u8][..], text.as_bytes()].concat();
            (RData::TXT(TXT::new(vec![text])), Rdata::Txt(wire.into_boxed_slice()))
        }
    }
}

fn written(id: u16, qname: &[Vec<u8>], records: &[Made], edns: Option<u16>) -> Vec<u8> {
    let mut message = Theirs::new(id, MessageType::Response, OpCode::Query);
    message.add_query(Query::query(their_name(qname), RecordType::AAAA));
    for made in records {
        message.add_answer(TheirRecord::from_rdata(their_name(&made.owner), made.ttl, data(made).0));
    }
    if let Some(size) = edns {
        let mut opt = Edns::new();
        opt.set_max_payload(size).set_dnssec_ok(true);
        message.set_edns(opt);
    }
    message.to_vec().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_hickory_writes_reads_the_same(
        id in any::<u16>(),
        qname in names(),
        records in prop::collection::vec(made(), 0..8),
        edns in prop::option::of(512..4_096u16),
    ) {
        let bytes = written(id, &qname, &records, edns);
        let read = WireDecoder::new(6, 4).read(&bytes, false);
        prop_assert_eq!(read.body.malformed, None);
        prop_assert_eq!(read.id, id);
        let question = read.body.question.as_ref().map(|question| (question.name.clone(), question.rtype.0));
        prop_assert_eq!(question, Some((our_name(&qname), 28)));
        prop_assert_eq!(read.body.answers.len(), records.len());
        for (ours, made) in read.body.answers.iter().zip(&records) {
            let Record { owner, ttl, rdata, .. } = ours;
            prop_assert_eq!((owner, *ttl, rdata), (&our_name(&made.owner), made.ttl, &data(made).1));
        }
        let seen = read.body.edns.as_ref().map(|edns| (edns.udp_size, edns.dnssec_ok));
        prop_assert_eq!(seen, edns.map(|size| (size, true)));
    }

    #[test]
    fn a_damaged_message_ends_and_what_hickory_still_reads_is_not_lost(
        qname in names(),
        records in prop::collection::vec(made(), 0..6),
        at in any::<prop::sample::Index>(),
        octet in any::<u8>(),
    ) {
        let mut bytes = written(7, &qname, &records, Some(1_232));
        let at = at.index(bytes.len());
        bytes[at] = octet;
        let read = WireDecoder::new(6, 4).read(&bytes, false);
        let count = read.body.answers.len() + read.body.authority.len() + read.body.additional.len();
        prop_assert!(count <= bytes.len() / 11);
        if let (Ok(theirs), None) = (Theirs::from_vec(&bytes), read.body.malformed) {
            prop_assert_eq!(theirs.answers.len(), read.body.answers.len());
        }
    }

    #[test]
    fn any_octets_are_read(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = WireDecoder::new(6, 4).read(&bytes, false);
    }
}
