//! dnstap frame streams. Enters: frames; leaves: observations.
//!
//! The message that CoreDNS puts into a frame is re-encoded by it, so sizes and malformed details are not the wire's.
//! On forwarder legs the id is the client's; before 1.14.5 the client address there is the pod's (see `Hints::version`).
//! Deliberately absent: what these versions mean for joining.

mod frame;
mod proto;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use truename_model::observation::DnsEvent;
use truename_model::{
    Body, ClockBasis, Decoded, Endpoint, Event, Flags, Hints, Interval, Nanos, ObservedAt, Transport, Vantage,
};

use crate::corednslog::TextCache;
use crate::decoder::{CacheStats, CacheUse, DecodeContext, Decoder};
use crate::wire::WireDecoder;

pub use frame::{
    CONTENT_TYPE, Control, Frame, Frames, MAX_FRAME, content_types, looks_like, read as read_frame,
};
pub use proto::{Tap, TapMessage, read as read_tap};

/// Decodes the frames of one stream, given in order.
#[derive(Debug)]
pub struct TapDecoder {
    context: DecodeContext,
    wire: WireDecoder,
    hints: TextCache<Arc<Hints>>,
    // The body of frames without a message.
    unseen: Arc<Body>,
    key: Vec<u8>,
    last: u64,
    open: bool,
}

impl TapDecoder {
    /// A decoder for one item.
    #[must_use]
    pub fn new(context: DecodeContext) -> Self {
        Self {
            context,
            wire: WireDecoder::default(),
            hints: TextCache::new(1 << 8),
            unseen: Arc::new(unseen_body()),
            key: Vec::new(),
            last: 0,
            open: false,
        }
    }

    fn control(&mut self, ordinal: u64, control: Control) -> Decoded {
        let phrase = match control {
            Control::Start => "dnstap START",
            Control::Stop => "dnstap STOP",
            Control::Ready => "dnstap READY",
            Control::Accept => "dnstap ACCEPT",
            Control::Finish => "dnstap FINISH",
            Control::Unknown => return self.context.undecodable(ordinal, "unknown dnstap control frame", 8),
        };
        match control {
            Control::Start => self.open = true,
            Control::Stop => self.open = false,
            _ => {}
        }
        self.context.ignored(ordinal, phrase)
    }

    fn data(&mut self, ordinal: u64, payload: &[u8]) -> Decoded {
        let tap = match proto::read(payload) {
            Ok(tap) => tap,
            Err(at) => return self.context.undecodable(ordinal, "not a dnstap message", at + 4),
        };
        let Some(message) = &tap.message else {
            return self.context.ignored(ordinal, "dnstap frame without a message");
        };
        if message.kind == 0 {
            return self.context.undecodable(ordinal, "dnstap message without a type", 4);
        }
        let (at, event) = self.event(&tap, message);
        self.context.observation(ordinal, at, Event::Dns(event))
    }

    fn event(&mut self, tap: &Tap<'_>, message: &TapMessage<'_>) -> (ObservedAt, DnsEvent) {
        let vantage = vantage(message.kind);
        let is_response = vantage.is_response();
        let query_time = instant(message.query_sec, message.query_nsec);
        let response_time = instant(message.response_sec, message.response_nsec);
        let at = match if is_response { response_time } else { query_time } {
            Some(nanos) => ObservedAt::Known(Interval::at(nanos), ClockBasis::Dnstap),
            None => ObservedAt::None,
        };
        let bytes =
            if is_response { message.response.or(message.query) } else { message.query.or(message.response) };
        let decoded = bytes.map(|bytes| self.wire.read(bytes, false));
        let size = bytes.map_or(0, |bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        let (id, flags, rcode, body) = match decoded {
            Some(read) => (read.id, read.flags, is_response.then_some(read.rcode), read.body),
            None => (0, Flags(0), None, Arc::clone(&self.unseen)),
        };
        let bufsize =
            (!is_response && bytes.is_some()).then(|| body.edns.as_ref().map_or(512, |edns| edns.udp_size));
        let event = DnsEvent {
            vantage,
            client: endpoint(message.query_address, message.query_port),
            server: endpoint(message.response_address, message.response_port),
            transport: transport(message.protocol),
            id,
            flags,
            rcode,
            body,
            duration_ns: query_time
                .zip(response_time)
                .filter(|_| is_response)
                .map(|(asked, answered)| answered.since(asked)),
            query_time,
            size,
            response_size: is_response.then_some(size).filter(|size| *size > 0),
            bufsize,
            packet: None,
            hints: self.hints(tap),
        };
        (at, event)
    }

    fn hints(&mut self, tap: &Tap<'_>) -> Option<Arc<Hints>> {
        let parts = [tap.identity, tap.version, tap.extra];
        if parts.iter().all(Option::is_none) {
            return None;
        }
        self.key.clear();
        for part in parts {
            // Lengths keep `ab`, `c` apart from `a`, `bc`.
            let len = part.map_or(u32::MAX, |bytes| bytes.len() as u32);
            self.key.extend_from_slice(&len.to_be_bytes());
            self.key.extend_from_slice(part.unwrap_or_default());
        }
        let text = |part: Option<&[u8]>| part.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let make = || {
            Arc::new(Hints {
                identity: text(tap.identity),
                version: text(tap.version),
                extra: text(tap.extra),
                ..Hints::default()
            })
        };
        Some(self.hints.get(&self.key, make).map_or_else(make, |hints| Arc::clone(hints)))
    }
}

fn unseen_body() -> Body {
    Body {
        question: None,
        qname_case: None,
        answers: Vec::new(),
        authority: Vec::new(),
        additional: Vec::new(),
        edns: None,
        sections_seen: false,
        malformed: None,
    }
}

/// Types beyond the 14 of today keep the rule that even numbers are responses.
fn vantage(kind: u64) -> Vantage {
    match kind {
        5 => Vantage::ClientQuery,
        6 => Vantage::ClientResponse,
        7 => Vantage::ForwarderQuery,
        8 => Vantage::ForwarderResponse,
        other if other % 2 == 1 => Vantage::OtherQuery,
        _ => Vantage::OtherResponse,
    }
}

fn transport(protocol: u64) -> Transport {
    match protocol {
        1 => Transport::Udp,
        2 => Transport::Tcp,
        3 => Transport::Dot,
        4 => Transport::Doh,
        7 => Transport::Doq,
        _ => Transport::Unknown,
    }
}

fn instant(secs: Option<u64>, nanos: u32) -> Option<Nanos> {
    if nanos >= 1_000_000_000 {
        return None;
    }
    Nanos::from_parts(i64::try_from(secs?).ok()?, nanos)
}

/// An address by its length, since CoreDNS ≤ 1.14.4 wrote 16 octets with the family of four (#8186).
fn endpoint(address: Option<&[u8]>, port: u64) -> Option<Endpoint> {
    let address = address?;
    let ip = if let Ok(octets) = <[u8; 4]>::try_from(address) {
        IpAddr::V4(Ipv4Addr::from(octets))
    } else {
        IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?)).to_canonical()
    };
    Some(Endpoint { ip, port: u16::try_from(port).unwrap_or(0) })
}

impl Decoder for TapDecoder {
    fn decode(&mut self, ordinal: u64, bytes: &[u8], out: &mut Vec<Decoded>) {
        self.last = ordinal;
        let decoded = match frame::read(bytes) {
            Frame::Data(payload) => self.data(ordinal, payload),
            Frame::Control(control, _) => self.control(ordinal, control),
            Frame::Truncated => {
                let text = "the stream ends inside a frame".to_owned();
                out.push(self.context.loss(ordinal, ObservedAt::None, "truncated-file", Some(1), text));
                self.open = false;
                self.context.undecodable(ordinal, "truncated frame", bytes.len())
            }
            Frame::Garbage => {
                let text = format!("{} octets are no frames; nothing after them can be split", bytes.len());
                out.push(self.context.loss(ordinal, ObservedAt::None, "dnstap-garbage", None, text));
                self.open = false;
                self.context.undecodable(ordinal, "not a frame", 0)
            }
        };
        out.push(decoded);
    }

    fn finish(&mut self, out: &mut Vec<Decoded>) {
        if std::mem::take(&mut self.open) {
            let text = "the stream ends without STOP: what its sender still held is missing".to_owned();
            out.push(self.context.loss(self.last, ObservedAt::None, "dnstap-no-stop", None, text));
        }
    }

    fn caches(&self) -> CacheStats {
        let of = |name, entries, evictions| CacheUse { name, entries, evictions };
        let wire = self.wire.stats();
        CacheStats {
            caches: vec![
                of("dnstap-hints", self.hints.entries(), self.hints.evictions),
                of("dnstap-bodies", wire.body_entries, wire.body_evictions),
                of("dnstap-names", 0, wire.name_evictions),
            ],
        }
    }
}

#[cfg(test)]
mod tests;
