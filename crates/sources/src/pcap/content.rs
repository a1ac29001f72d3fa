//! Tells packets that carry DNS: by a configured port, else by their content, whatever the port.
//!
//! Enters: IP payloads in order; leaves: yes or no. A datagram is DNS if all of it reads as one message with one question;
//! a TCP connection is, from the first segment that begins with such a message. OpenShift's servers listen on 5353,
//! others on 1053, and what is kept is decided before any object or Corefile is read. Deliberately absent: multicast DNS,
//! LLMNR and NetBIOS, whose messages look alike and are other protocols.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::net::{self, Payload};
use crate::wire::{HEADER, WireDecoder};

/// Ports of LLMNR and NetBIOS names, told apart by nothing else.
const LOOKALIKES: [u16; 2] = [137, 5_355];
/// Multicast DNS; unicast between two such ports is its own.
const MDNS: u16 = 5_353;
/// Shortest message with a question: header, root name, type, class.
const SHORTEST: usize = HEADER + 5;
/// TCP connections known by their content.
const FLOWS_MAX: usize = 4_096;

type End = (IpAddr, u16);

/// What was learned of one capture.
#[derive(Debug)]
pub(super) struct Content {
    ports: Vec<u16>,
    wire: WireDecoder,
    flows: BTreeSet<(End, End)>,
}

impl Content {
    pub(super) fn new(ports: Vec<u16>) -> Self {
        Self { ports, wire: WireDecoder::new(8, 4), flows: BTreeSet::new() }
    }

    /// True if a UDP or TCP payload with these ports carries DNS.
    pub(super) fn is_dns(&mut self, payload: &Payload<'_>, (src, dst): (u16, u16)) -> bool {
        // A resolver's port 53 → 53 is DNS too.
        if self.ports.iter().any(|port| *port == src || *port == dst) {
            return true;
        }
        let lookalike = LOOKALIKES.iter().any(|port| *port == src || *port == dst);
        if lookalike || (src == MDNS && dst == MDNS) || payload.dst.is_multicast() {
            return false;
        }
        if payload.protocol == net::UDP {
            let datagram = net::udp(payload.bytes);
            return datagram.is_some_and(|data| self.is_message(data.data, payload.facts.cut && data.short));
        }
        let (one, other) = ((payload.src, src), (payload.dst, dst));
        let flow = (one.min(other), one.max(other));
        if self.flows.contains(&flow) {
            return true;
        }
        let Some(segment) = net::tcp(payload.bytes) else { return false };
        let framed = |data: &[u8]| {
            let len = usize::from(data.first().copied()?) << 8 | usize::from(data.get(1).copied()?);
            data.get(2..2 + len).map(<[u8]>::to_vec)
        };
        // Some stubs send the length in a segment of its own.
        let found = framed(segment.data).is_some_and(|message| self.is_message(&message, false))
            || self.is_message(segment.data, false);
        if found && self.flows.len() < FLOWS_MAX {
            self.flows.insert(flow);
        }
        found
    }

    /// True for one whole message with one question; if the capture cut it, as far as it goes.
    fn is_message(&mut self, data: &[u8], cut: bool) -> bool {
        if data.len() < SHORTEST {
            return false;
        }
        let field = |at: usize| u16::from(data[at]) << 8 | u16::from(data[at + 1]);
        let (flags, questions) = (field(2), field(4));
        let others = [field(6), field(8), field(10)];
        let is_response = flags & 0x8000 != 0;
        // QUERY, NOTIFY and UPDATE; the reserved bit is zero (RFC 1035 §4.1.1, RFC 1996, RFC 2136).
        let opcode = flags >> 11 & 0xf;
        let plain = matches!(opcode, 0 | 4 | 5) && flags & 0x0040 == 0 && questions == 1;
        // A query holds no answer, for a transfer one SOA, and OPT and TSIG.
        let bare = opcode != 0 || is_response || (others[0] == 0 && others[1] <= 1 && others[2] <= 2);
        let records: usize = others.iter().map(|count| usize::from(*count)).sum();
        if !plain || !bare || (!cut && SHORTEST + records * 11 > data.len()) {
            return false;
        }
        let read = self.wire.read(data, cut);
        let whole = match read.body.malformed {
            None => true,
            Some(why) => cut && why == "cut by the capture",
        };
        let asked = read.body.question.as_ref();
        whole
            && asked.is_some_and(|asked| asked.rtype.0 != 0 && matches!(asked.class.0, 1 | 3 | 4 | 254 | 255))
    }
}
