//! Link, network and transport headers. Enters: a packet; leaves: a datagram, a segment, a fragment or why not.
//!
//! Lengths come from the headers, so Ethernet padding is not data; where the capture is shorter than a header says,
//! that is told apart from a sender that lies. Deliberately absent: checksums (offload makes them wrong in captures).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use truename_model::observation::PacketFacts;

/// What a packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Carried<'a> {
    /// A whole IP payload.
    Whole(Payload<'a>),
    /// A piece of one.
    Fragment(Payload<'a>, Piece),
    /// Nothing for us; the phrase is stable.
    Nothing(&'static str),
    /// Headers that cannot be read.
    Bad(&'static str),
}

/// An IP payload with its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Payload<'a> {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) protocol: u8,
    pub(super) facts: PacketFacts,
    pub(super) bytes: &'a [u8],
    /// Octets that the IP header promises and the packet does not hold.
    pub(super) missing: usize,
}

impl Payload<'_> {
    /// The capture cut a packet only if something of the IP datagram is missing; link padding does not count.
    fn settled(mut self, promised: usize, held: usize) -> Self {
        self.missing = promised.saturating_sub(held);
        self.facts.cut = self.facts.cut && self.missing > 0;
        self
    }
}

/// Where a fragment belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) id: u32,
    pub(super) offset: u32,
    pub(super) more: bool,
}

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

const NOT_IP: Carried<'static> = Carried::Nothing("not IP");

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_be_bytes)
}

/// Takes the link layer off and reads the IP header. `cut` says that the capture is shorter than the packet.
pub(super) fn read(link: u32, bytes: &[u8], cut: bool) -> Carried<'_> {
    let facts = PacketFacts { cut, ..PacketFacts::default() };
    link_layer(link, bytes, facts).unwrap_or(Carried::Bad("link header cut short"))
}

fn link_layer(link: u32, bytes: &[u8], mut facts: PacketFacts) -> Option<Carried<'_>> {
    match link {
        1 => {
            facts.mac = bytes.get(6..12)?.try_into().ok();
            ether_type(be16(bytes, 12)?, bytes.get(14..)?, facts)
        }
        // RAW under its numbers in files and on BSDs, and the plain IP types.
        12 | 14 | 101 | 228 | 229 => Some(ip(bytes, facts)),
        0 | 108 => loopback(bytes, facts),
        113 => {
            facts.mac = (be16(bytes, 4)? == 6).then(|| bytes.get(6..12)?.try_into().ok()).flatten();
            ether_type(be16(bytes, 14)?, bytes.get(16..)?, facts)
        }
        276 => {
            facts.mac = (*bytes.get(11)? == 6).then(|| bytes.get(12..18)?.try_into().ok()).flatten();
            ether_type(be16(bytes, 0)?, bytes.get(20..)?, facts)
        }
        9 | 50 => ppp(bytes, facts),
        51 => ppp(bytes.get(6..)?, facts),
        // Cisco HDLC.
        104 => ether_type(be16(bytes, 2)?, bytes.get(4..)?, facts),
        _ => Some(Carried::Nothing("link type not supported")),
    }
}

fn ether_type(mut kind: u16, mut bytes: &[u8], facts: PacketFacts) -> Option<Carried<'_>> {
    for _ in 0..4 {
        match kind {
            // 802.1Q, 802.1ad and the older QinQ number.
            0x8100 | 0x88a8 | 0x9100 => {
                kind = be16(bytes, 2)?;
                bytes = bytes.get(4..)?;
            }
            0x0800 | 0x86dd => return Some(ip(bytes, facts)),
            0x8864 => return ppp(bytes.get(6..)?, facts),
            0x0806 => return Some(Carried::Nothing("ARP")),
            _ => return Some(NOT_IP),
        }
    }
    Some(NOT_IP)
}

/// BSD loopback: the address family in the capturing host's byte order.
fn loopback(bytes: &[u8], facts: PacketFacts) -> Option<Carried<'_>> {
    let head: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    let family = u32::from_be_bytes(head).min(u32::from_le_bytes(head));
    match family {
        2 | 10 | 24 | 28 | 30 => Some(ip(bytes.get(4..)?, facts)),
        _ => Some(NOT_IP),
    }
}

/// PPP with or without address and control octets; the protocol may be compressed to one octet (RFC 1661 §6.5).
fn ppp(bytes: &[u8], facts: PacketFacts) -> Option<Carried<'_>> {
    let bytes = bytes.strip_prefix(&[0xff, 0x03]).unwrap_or(bytes);
    let first = *bytes.first()?;
    let (protocol, rest) =
        if first & 1 == 1 { (u16::from(first), bytes.get(1..)?) } else { (be16(bytes, 0)?, bytes.get(2..)?) };
    match protocol {
        0x21 | 0x57 => Some(ip(rest, facts)),
        _ => Some(NOT_IP),
    }
}

fn ip(bytes: &[u8], facts: PacketFacts) -> Carried<'_> {
    let read = match bytes.first().map(|octet| octet >> 4) {
        Some(4) => ipv4(bytes, facts),
        Some(6) => ipv6(bytes, facts),
        Some(_) => return Carried::Bad("neither IPv4 nor IPv6"),
        None => None,
    };
    read.unwrap_or(Carried::Bad("IP header cut short"))
}

fn ipv4(bytes: &[u8], mut facts: PacketFacts) -> Option<Carried<'_>> {
    let header = usize::from(bytes[0] & 0xf) * 4;
    if header < 20 {
        return Some(Carried::Bad("IPv4 header length below 20"));
    }
    let total = match usize::from(be16(bytes, 2)?) {
        // Segmentation offload leaves the length empty.
        0 => bytes.len(),
        total => total,
    };
    if total < header {
        return Some(Carried::Bad("IPv4 total length below its header"));
    }
    facts.ip_id = be16(bytes, 4)?;
    facts.ip_ttl = *bytes.get(8)?;
    let flags = be16(bytes, 6)?;
    let address =
        |at: usize| <[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok().map(|o| IpAddr::V4(Ipv4Addr::from(o)));
    let payload = Payload {
        src: address(12)?,
        dst: address(16)?,
        protocol: *bytes.get(9)?,
        facts,
        bytes: bytes.get(header..total.min(bytes.len())).unwrap_or_default(),
        missing: 0,
    }
    .settled(total, bytes.len());
    let piece = Piece {
        id: u32::from(facts.ip_id),
        offset: u32::from(flags & 0x1fff) * 8,
        more: flags & 0x2000 != 0,
    };
    Some(if piece.more || piece.offset > 0 {
        Carried::Fragment(payload, piece)
    } else {
        Carried::Whole(payload)
    })
}

fn ipv6(bytes: &[u8], mut facts: PacketFacts) -> Option<Carried<'_>> {
    let header = bytes.get(..40)?;
    facts.ip_ttl = header[7];
    let address =
        |at: usize| <[u8; 16]>::try_from(&header[at..at + 16]).ok().map(|o| IpAddr::V6(Ipv6Addr::from(o)));
    let (src, dst) = (address(8)?, address(24)?);
    let len = match usize::from(be16(header, 4)?) {
        0 => bytes.len() - 40,
        len => len,
    };
    let mut rest = &bytes[40..bytes.len().min(40 + len)];
    let (mut next, mut piece) = (header[6], None);
    for _ in 0..8 {
        let size = match next {
            // Hop-by-hop, routing, destination options.
            0 | 43 | 60 => (usize::from(*rest.get(1)?) + 1) * 8,
            51 => (usize::from(*rest.get(1)?) + 2) * 4,
            44 => {
                let field = be16(rest, 2)?;
                let id = rest.get(4..8)?.try_into().ok().map(u32::from_be_bytes)?;
                piece = Some(Piece { id, offset: u32::from(field & 0xfff8), more: field & 1 != 0 });
                8
            }
            _ => break,
        };
        next = *rest.first()?;
        rest = rest.get(size..)?;
        if piece.is_some_and(|piece| piece.offset > 0) {
            break;
        }
    }
    let payload =
        Payload { src, dst, protocol: next, facts, bytes: rest, missing: 0 }.settled(40 + len, bytes.len());
    Some(match piece {
        // An atomic fragment is a whole payload (RFC 6946).
        Some(piece) if piece.more || piece.offset > 0 => Carried::Fragment(payload, piece),
        _ => Carried::Whole(payload),
    })
}

/// A UDP datagram: ports and data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    pub(super) src: u16,
    pub(super) dst: u16,
    pub(super) data: &'a [u8],
    /// The header says more than there is.
    pub(super) short: bool,
}

pub(super) fn udp(bytes: &[u8]) -> Option<Datagram<'_>> {
    let (src, dst) = (be16(bytes, 0)?, be16(bytes, 2)?);
    let len = usize::from(be16(bytes, 4)?);
    let held = bytes.get(8..)?;
    // Length 0 stands for "as long as the packet" in jumbograms and some offloads.
    let want = if len == 0 { held.len() } else { len.checked_sub(8)? };
    Some(Datagram { src, dst, data: &held[..want.min(held.len())], short: want > held.len() })
}

/// A TCP segment: ports, sequence, flags and data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) src: u16,
    pub(super) dst: u16,
    pub(super) seq: u32,
    /// What the sender has received, if the ACK bit is set.
    pub(super) ack: Option<u32>,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    pub(super) data: &'a [u8],
}

pub(super) fn tcp(bytes: &[u8]) -> Option<Segment<'_>> {
    let header = usize::from(*bytes.get(12)? >> 4) * 4;
    let flags = *bytes.get(13)?;
    if header < 20 {
        return None;
    }
    Some(Segment {
        src: be16(bytes, 0)?,
        dst: be16(bytes, 2)?,
        seq: bytes.get(4..8)?.try_into().ok().map(u32::from_be_bytes)?,
        ack: bytes.get(8..12)?.try_into().ok().map(u32::from_be_bytes).filter(|_| flags & 0x10 != 0),
        syn: flags & 0x02 != 0,
        fin: flags & 0x01 != 0,
        rst: flags & 0x04 != 0,
        data: bytes.get(header..).unwrap_or_default(),
    })
}

/// The ports of a UDP datagram or TCP segment, from its first four octets.
pub(super) fn ports(bytes: &[u8]) -> Option<(u16, u16)> {
    Some((be16(bytes, 0)?, be16(bytes, 2)?))
}
