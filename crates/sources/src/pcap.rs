//! Packet captures. Enters: records of pcap and pcapng; leaves: observations of DNS over UDP and TCP.
//!
//! The one source that shows the wire: ids, ports, TTL and MAC as sent, forged packets included. DNS is what has a
//! configured port or reads as a DNS message; a record that completes a message cites itself. Deliberately absent: encrypted transports, tunnels.

mod container;
mod net;
mod content;
mod fragments;
mod tcp;

use std::collections::BTreeMap;
use std::net::IpAddr;

use truename_model::observation::{DnsEvent, PacketFacts};
use truename_model::{Decoded, Endpoint, Event, Flags, ObservedAt, Transport, Vantage};

use crate::decoder::{CacheStats, CacheUse, DecodeContext, Decoder};
use crate::wire::WireDecoder;
use container::{Container, Item, Packet};
use content::Content;
use fragments::{Fragments, GivenUp};
use net::{Carried, Payload};
use tcp::{Given, Mark, Step, Stream, What};

pub use container::{Records, is_pcap, is_pcapng};

/// Directions of TCP connections followed at once.
const MAX_STREAMS: usize = 4_096;

type StreamKey = (Endpoint, Endpoint);

/// What all messages of one record share.
#[derive(Clone, Copy)]
struct Seen {
    ordinal: u64,
    at: ObservedAt,
    src: Endpoint,
    dst: Endpoint,
    facts: PacketFacts,
}

/// Decodes the records of one capture, given in order.
#[derive(Debug)]
pub struct PcapDecoder {
    context: DecodeContext,
    container: Container,
    content: Content,
    wire: WireDecoder,
    fragments: Fragments,
    streams: BTreeMap<StreamKey, Stream>,
    stream_evictions: u64,
    tick: u64,
}

impl PcapDecoder {
    /// A decoder for one item.
    #[must_use]
    pub fn new(context: DecodeContext) -> Self {
        Self {
            content: Content::new(context.dns_ports.clone()),
            context,
            container: Container::default(),
            wire: WireDecoder::default(),
            fragments: Fragments::default(),
            streams: BTreeMap::new(),
            stream_evictions: 0,
            tick: 0,
        }
    }

    fn packet(&mut self, ordinal: u64, packet: &Packet<'_>, out: &mut Vec<Decoded>) {
        match net::read(packet.link, packet.bytes, packet.cut) {
            Carried::Nothing(why) => out.push(self.context.ignored(ordinal, why)),
            Carried::Bad(why) if packet.cut => out.push(self.context.ignored(ordinal, why)),
            Carried::Bad(why) => out.push(self.context.undecodable(ordinal, why, 0)),
            Carried::Whole(payload) => self.payload(ordinal, packet.at, &payload, out),
            Carried::Fragment(payload, piece) => self.fragment(ordinal, packet.at, &payload, piece, out),
        }
    }

    fn fragment(
        &mut self,
        ordinal: u64,
        at: ObservedAt,
        payload: &Payload<'_>,
        piece: net::Piece,
        out: &mut Vec<Decoded>,
    ) {
        if !matches!(payload.protocol, net::UDP | net::TCP) {
            return out.push(self.context.ignored(ordinal, "neither UDP nor TCP"));
        }
        let now = at.interval().map(|interval| interval.lo);
        let mut lost = Vec::new();
        let whole = self.fragments.take(payload, piece, ordinal, now, &mut lost);
        self.report(&lost, at, out);
        let Some(whole) = whole else {
            return out.push(self.context.ignored(ordinal, "IP fragment, waits for the rest"));
        };
        if whole.overlap {
            let text =
                format!("fragments from {} to {} disagree about the same octets", payload.src, payload.dst);
            out.push(self.context.loss(ordinal, at, "fragment-overlap", Some(1), text));
        }
        let joined = Payload { bytes: &whole.bytes, facts: whole.facts, missing: 0, ..payload.clone() };
        self.payload(ordinal, at, &joined, out);
    }

    fn report(&self, lost: &[GivenUp], at: ObservedAt, out: &mut Vec<Decoded>) {
        for given_up in lost {
            let text = format!("IP datagram from {} to {}: {}", given_up.src, given_up.dst, given_up.why);
            out.push(self.context.loss(given_up.ordinal, at, "fragment-missing", Some(1), text));
        }
    }

    fn payload(&mut self, ordinal: u64, at: ObservedAt, payload: &Payload<'_>, out: &mut Vec<Decoded>) {
        let ignored = match payload.protocol {
            net::UDP | net::TCP => match net::ports(payload.bytes) {
                None if payload.facts.cut => Some("transport header cut by the capture"),
                None => return out.push(self.context.undecodable(ordinal, "transport header cut short", 0)),
                Some(ports) => (!self.content.is_dns(payload, ports)).then_some("neither a DNS port nor DNS"),
            },
            1 | 58 => Some("ICMP"),
            _ => Some("neither UDP nor TCP"),
        };
        if let Some(why) = ignored {
            return out.push(self.context.ignored(ordinal, why));
        }
        if payload.protocol == net::UDP {
            self.udp(ordinal, at, payload, out);
        } else {
            self.tcp(ordinal, at, payload, out);
        }
    }

    fn udp(&mut self, ordinal: u64, at: ObservedAt, payload: &Payload<'_>, out: &mut Vec<Decoded>) {
        let Some(datagram) = net::udp(payload.bytes) else {
            return out.push(self.context.undecodable(ordinal, "bad UDP header", 0));
        };
        let facts = PacketFacts { cut: payload.facts.cut && datagram.short, ..payload.facts };
        let seen = seen(ordinal, at, payload, (datagram.src, datagram.dst), facts);
        out.push(self.message(datagram.data, Transport::Udp, seen));
    }

    fn message(&mut self, data: &[u8], transport: Transport, seen: Seen) -> Decoded {
        let read = self.wire.read(data, seen.facts.cut);
        // Without flags the port tells the direction.
        let is_response = if data.len() >= 4 {
            read.flags.has(Flags::QR)
        } else {
            self.context.dns_ports.contains(&seen.src.port)
        };
        let (client, server) = if is_response { (seen.dst, seen.src) } else { (seen.src, seen.dst) };
        let bufsize = (!is_response).then(|| read.body.edns.as_ref().map_or(512, |edns| edns.udp_size));
        let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let event = DnsEvent {
            vantage: if is_response { Vantage::PacketResponse } else { Vantage::PacketQuery },
            client: Some(client),
            server: Some(server),
            transport,
            id: read.id,
            flags: read.flags,
            rcode: is_response.then_some(read.rcode),
            body: read.body,
            duration_ns: None,
            query_time: None,
            size,
            response_size: is_response.then_some(size),
            bufsize,
            packet: Some(seen.facts),
            hints: None,
        };
        self.context.observation(seen.ordinal, seen.at, Event::Dns(event))
    }

    fn tcp(&mut self, ordinal: u64, at: ObservedAt, payload: &Payload<'_>, out: &mut Vec<Decoded>) {
        let Some(segment) = net::tcp(payload.bytes) else {
            let why = "bad TCP header";
            return out.push(if payload.facts.cut {
                self.context.ignored(ordinal, why)
            } else {
                self.context.undecodable(ordinal, why, 0)
            });
        };
        let seen = seen(ordinal, at, payload, (segment.src, segment.dst), payload.facts);
        self.make_room((seen.src, seen.dst), out);
        self.tick += 1;
        let before = out.len();
        self.acknowledge(&segment, seen, out);
        let mut given = Vec::new();
        let stream = self.streams.entry((seen.src, seen.dst)).or_default();
        stream.tick = self.tick;
        let missing = if payload.facts.cut { payload.missing } else { 0 };
        let step = stream.take(&segment, missing, Mark { ordinal, at, facts: payload.facts }, &mut given);
        self.give(given, seen, out);
        // What was given may cite earlier records; this one must be accounted for too.
        let own = |decoded: &Decoded| matches!(decoded, Decoded::Observation(seen) if seen.record.ordinal == ordinal);
        if !out[before..].iter().any(own) {
            let why = match step {
                Step::Empty => "TCP segment without data",
                Step::Repeated => "TCP retransmission",
                Step::Taken => "TCP segment, message goes on",
            };
            out.push(self.context.ignored(ordinal, why));
        }
    }

    /// Tells the other direction what has arrived.
    fn acknowledge(&mut self, segment: &net::Segment<'_>, seen: Seen, out: &mut Vec<Decoded>) {
        let Some(ack) = segment.ack else { return };
        let Some(stream) = self.streams.get_mut(&(seen.dst, seen.src)) else { return };
        let mut given = Vec::new();
        stream.acknowledged(ack, &mut given);
        self.give(given, Seen { src: seen.dst, dst: seen.src, ..seen }, out);
    }

    fn give(&mut self, given: Vec<Given>, seen: Seen, out: &mut Vec<Decoded>) {
        for Given { mark, what } in given {
            let seen = Seen { ordinal: mark.ordinal, at: mark.at, facts: mark.facts, ..seen };
            let decoded = match what {
                What::Message(bytes, cut) => {
                    let facts = PacketFacts { cut, ..seen.facts };
                    self.message(&bytes, Transport::Tcp, Seen { facts, ..seen })
                }
                What::Hole(count) => {
                    let octets = count.map_or("octets".to_owned(), |count| format!("{count} octets"));
                    let text = format!(
                        "TCP {} to {}: {octets} are not in the capture",
                        show(seen.src),
                        show(seen.dst)
                    );
                    self.context.loss(seen.ordinal, seen.at, "tcp-hole", None, text)
                }
                What::Skipped(count) => {
                    let text = format!(
                        "TCP {} to {}: {count} octets belong to no message that can be told",
                        show(seen.src),
                        show(seen.dst)
                    );
                    self.context.loss(seen.ordinal, seen.at, "tcp-unframed", None, text)
                }
            };
            out.push(decoded);
        }
    }

    /// Drops the eighth of the streams that were silent longest when a new one finds no room.
    fn make_room(&mut self, key: StreamKey, out: &mut Vec<Decoded>) {
        if self.streams.len() < MAX_STREAMS || self.streams.contains_key(&key) {
            return;
        }
        let mut ticks: Vec<(u64, StreamKey)> =
            self.streams.iter().map(|(key, stream)| (stream.tick, *key)).collect();
        ticks.sort_unstable_by_key(|(tick, _)| *tick);
        for (_, key) in ticks.into_iter().take(MAX_STREAMS / 8) {
            self.stream_evictions += 1;
            self.close(key, out);
        }
    }

    fn close(&mut self, key: StreamKey, out: &mut Vec<Decoded>) {
        let Some(mut stream) = self.streams.remove(&key) else { return };
        let mut given = Vec::new();
        stream.drain(&mut given);
        let facts = PacketFacts::default();
        let at = ObservedAt::OrderOnly;
        self.give(given, Seen { ordinal: 0, at, src: key.0, dst: key.1, facts }, out);
    }
}

fn seen(ordinal: u64, at: ObservedAt, payload: &Payload<'_>, ports: (u16, u16), facts: PacketFacts) -> Seen {
    let end = |ip: IpAddr, port| Endpoint { ip: ip.to_canonical(), port };
    Seen { ordinal, at, src: end(payload.src, ports.0), dst: end(payload.dst, ports.1), facts }
}

fn show(endpoint: Endpoint) -> std::net::SocketAddr {
    std::net::SocketAddr::new(endpoint.ip, endpoint.port)
}

impl Decoder for PcapDecoder {
    fn decode(&mut self, ordinal: u64, bytes: &[u8], out: &mut Vec<Decoded>) {
        match self.container.read(bytes) {
            Item::Packet(packet) => self.packet(ordinal, &packet, out),
            Item::Plain(what) => out.push(self.context.ignored(ordinal, what)),
            Item::Dropped(count) => {
                let text = format!("the capturing interface lost {count} packets");
                out.push(self.context.loss(ordinal, ObservedAt::None, "capture-drops", Some(count), text));
            }
            Item::Truncated => {
                let text = "the capture ends inside a record".to_owned();
                out.push(self.context.loss(ordinal, ObservedAt::None, "truncated-file", Some(1), text));
                out.push(self.context.undecodable(ordinal, "truncated capture record", bytes.len()));
            }
            Item::Garbage(why) => out.push(self.context.undecodable(ordinal, why, 0)),
        }
    }

    fn finish(&mut self, out: &mut Vec<Decoded>) {
        let mut lost = Vec::new();
        self.fragments.finish(&mut lost);
        self.report(&lost, ObservedAt::OrderOnly, out);
        for key in self.streams.keys().copied().collect::<Vec<_>>() {
            self.close(key, out);
        }
    }

    fn caches(&self) -> CacheStats {
        let of = |name, entries: usize, evictions| CacheUse { name, entries: entries as u64, evictions };
        let wire = self.wire.stats();
        CacheStats {
            caches: vec![
                of("pcap-fragments", self.fragments.len(), self.fragments.evictions),
                of("pcap-streams", self.streams.len(), self.stream_evictions),
                of("pcap-bodies", wire.body_entries as usize, wire.body_evictions),
                of("pcap-names", 0, wire.name_evictions),
            ],
        }
    }
}

/// Tells the records that may matter from packets that are certainly not DNS, so that only those need to be kept.
#[derive(Debug)]
pub struct Sieve {
    container: Container,
    content: Content,
}

impl Sieve {
    /// A sieve for one item; `dns_ports` as in the decode context.
    #[must_use]
    pub fn new(dns_ports: Vec<u16>) -> Self {
        Self { container: Container::default(), content: Content::new(dns_ports) }
    }

    /// False for a packet that is certainly not DNS. Headers, fragments and what cannot be read are kept. Records must be
    /// given in order.
    pub fn keeps(&mut self, record: &[u8]) -> bool {
        let Item::Packet(packet) = self.container.read(record) else { return true };
        match net::read(packet.link, packet.bytes, packet.cut) {
            Carried::Nothing(_) => false,
            Carried::Bad(_) => true,
            Carried::Fragment(payload, _) => matches!(payload.protocol, net::UDP | net::TCP),
            Carried::Whole(payload) if matches!(payload.protocol, net::UDP | net::TCP) => {
                net::ports(payload.bytes).is_none_or(|ports| self.content.is_dns(&payload, ports))
            }
            Carried::Whole(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;
