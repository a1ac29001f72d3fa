//! pcap and pcapng as containers: where records end, and the packet in each. Enters: bytes; leaves: packets.
//!
//! (draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.) Total: file header, packets and blocks are one record each, and
//! bytes that cannot be one are a single record up to the end. Deliberately absent: what is inside a packet.

use truename_model::{ClockBasis, Interval, Nanos, ObservedAt};

use crate::piece::{Boundary, Found};

/// Longest packet of a pcap file, octets; libpcap's own limit is 262,144.
const MAX_PACKET: usize = 1 << 20;
/// Longest block of a pcapng file, octets.
const MAX_BLOCK: usize = 16 << 20;
/// Interfaces kept per section.
const MAX_INTERFACES: usize = 4_096;
/// Section header block.
const SHB: u32 = 0x0a0d_0d0a;

/// Byte order and kind of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// pcap: big-endian, nanosecond time stamps, and octets of the packet header (Kuznetzov's patch adds eight).
    Pcap { big: bool, nano: bool, header: usize },
    /// pcapng: byte order of the current section.
    Ng { big: bool },
}

fn u32_at(bytes: &[u8], at: usize, big: bool) -> Option<u32> {
    let octets: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(if big { u32::from_be_bytes(octets) } else { u32::from_le_bytes(octets) })
}

fn u16_at(bytes: &[u8], at: usize, big: bool) -> Option<u16> {
    let octets: [u8; 2] = bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
    Some(if big { u16::from_be_bytes(octets) } else { u16::from_le_bytes(octets) })
}

/// The kind told by a file's first octets; `None` if they are neither.
fn kind(head: &[u8]) -> Option<Kind> {
    match u32_at(head, 0, true)? {
        0xa1b2_c3d4 => Some(Kind::Pcap { big: true, nano: false, header: PACKET_HEADER }),
        0xd4c3_b2a1 => Some(Kind::Pcap { big: false, nano: false, header: PACKET_HEADER }),
        0xa1b2_3c4d => Some(Kind::Pcap { big: true, nano: true, header: PACKET_HEADER }),
        0x4d3c_b2a1 => Some(Kind::Pcap { big: false, nano: true, header: PACKET_HEADER }),
        0xa1b2_cd34 => Some(Kind::Pcap { big: true, nano: false, header: PACKET_HEADER + 8 }),
        0x34cd_b2a1 => Some(Kind::Pcap { big: false, nano: false, header: PACKET_HEADER + 8 }),
        SHB => section_order(head).map(|big| Kind::Ng { big }),
        _ => None,
    }
}

fn section_order(block: &[u8]) -> Option<bool> {
    match u32_at(block, 8, true)? {
        0x1a2b_3c4d => Some(true),
        0x4d3c_2b1a => Some(false),
        _ => None,
    }
}

/// True if a file with this head is pcap.
#[must_use]
pub fn is_pcap(head: &[u8]) -> bool {
    matches!(kind(head), Some(Kind::Pcap { .. }))
}

/// True if a file with this head is pcapng.
#[must_use]
pub fn is_pcapng(head: &[u8]) -> bool {
    matches!(kind(head), Some(Kind::Ng { .. }))
}

/// The length of a record told by its head.
enum Size {
    Whole(usize),
    Unknown,
    Bad,
}

const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;

/// Both kinds: `first` says that the record opens the file.
fn size(head: &[u8], first: bool, known: Option<Kind>) -> (Size, Option<Kind>) {
    if head.len() < 12 {
        return (Size::Unknown, known);
    }
    let kind = if first { kind(head) } else { known };
    let size = match kind {
        None => Size::Bad,
        Some(Kind::Pcap { .. }) if first => Size::Whole(FILE_HEADER),
        Some(Kind::Pcap { big, header, .. }) => match u32_at(head, 8, big).map(|len| len as usize) {
            Some(len) if len <= MAX_PACKET => Size::Whole(header + len),
            Some(_) => Size::Bad,
            None => Size::Unknown,
        },
        Some(Kind::Ng { big }) => return block_size(head, big),
    };
    (size, kind)
}

fn block_size(head: &[u8], big: bool) -> (Size, Option<Kind>) {
    let is_section = u32_at(head, 0, true) == Some(SHB);
    // A section brings its own byte order.
    let order = if is_section { section_order(head) } else { Some(big) };
    let Some(big) = order else { return (Size::Bad, None) };
    let kind = Some(Kind::Ng { big });
    match u32_at(head, 4, big).map(|len| len as usize) {
        Some(len) if (12..=MAX_BLOCK).contains(&len) && len % 4 == 0 => (Size::Whole(len), kind),
        _ => (Size::Bad, kind),
    }
}

/// The rule that finds where records end, in either container.
#[derive(Debug, Default)]
pub struct Records {
    started: bool,
    kind: Option<Kind>,
    garbage: bool,
    left: Option<usize>,
    len: usize,
}

impl Boundary for Records {
    fn find(&mut self, pending: &[u8]) -> Found {
        if self.garbage {
            return Found::More { sure: pending.len() };
        }
        let len = match self.left {
            Some(left) => left,
            None => match size(pending, !self.started, self.kind) {
                (Size::Whole(len), kind) => {
                    self.kind = kind;
                    len
                }
                (Size::Unknown, _) => return Found::More { sure: 0 },
                (Size::Bad, _) => {
                    self.garbage = true;
                    return Found::More { sure: pending.len() };
                }
            },
        };
        if pending.len() >= len {
            (self.left, self.started) = (None, true);
            return Found::Record(len);
        }
        self.len = len;
        Found::More { sure: pending.len() }
    }

    fn taken(&mut self, len: usize) {
        if !self.garbage {
            self.left = Some(self.len.saturating_sub(len));
        }
    }
}

/// A captured packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub(super) at: ObservedAt,
    /// LINKTYPE number.
    pub(super) link: u32,
    pub(super) bytes: &'a [u8],
    /// The packet was longer than what was captured.
    pub(super) cut: bool,
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    Packet(Packet<'a>),
    /// A header or a block without a packet.
    Plain(&'static str),
    /// An interface's own count of packets that it lost.
    Dropped(u64),
    /// The file ends inside this record.
    Truncated,
    /// Not a record of this container.
    Garbage(&'static str),
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u32,
    snaplen: u32,
    resolution: u8,
    offset_secs: i64,
}

/// Reads the records that [`Records`] split off, in order.
#[derive(Debug, Default)]
pub(super) struct Container {
    started: bool,
    kind: Option<Kind>,
    link: u32,
    interfaces: Vec<Interface>,
}

impl Container {
    pub(super) fn read<'a>(&mut self, record: &'a [u8]) -> Item<'a> {
        let first = !std::mem::replace(&mut self.started, true);
        match size(record, first, self.kind) {
            (Size::Whole(len), kind) => {
                self.kind = kind;
                if len > record.len() {
                    return Item::Truncated;
                }
                if len < record.len() {
                    return Item::Garbage("record longer than its header says");
                }
            }
            (Size::Unknown, _) => return Item::Truncated,
            (Size::Bad, _) => return Item::Garbage("no packet record begins so"),
        }
        match self.kind {
            Some(Kind::Pcap { big, .. }) if first => {
                // The upper bits of the field hold FCS length and class.
                self.link = u32_at(record, 20, big).unwrap_or(0) & 0xffff;
                Item::Plain("pcap file header")
            }
            Some(Kind::Pcap { big, nano, header }) => self.packet(record, big, nano, header),
            Some(Kind::Ng { big }) => self.block(record, big),
            None => Item::Garbage("no packet record begins so"),
        }
    }

    fn packet<'a>(&self, record: &'a [u8], big: bool, nano: bool, header: usize) -> Item<'a> {
        let field = |at| u32_at(record, at, big).unwrap_or(0);
        let bytes = record.get(header..).unwrap_or_default();
        let fraction = i64::from(field(4)).saturating_mul(if nano { 1 } else { 1_000 });
        let at = Nanos::from_parts(i64::from(field(0)), 0).map(|secs| secs.plus(fraction));
        Item::Packet(Packet { at: known(at), link: self.link, bytes, cut: field(12) as usize > bytes.len() })
    }

    fn block<'a>(&mut self, block: &'a [u8], big: bool) -> Item<'a> {
        match u32_at(block, 0, big).unwrap_or(0) {
            SHB => {
                self.interfaces.clear();
                Item::Plain("pcapng section header")
            }
            1 => self.interface(block, big),
            2 | 6 => self.enhanced(block, big),
            3 => self.simple(block, big),
            5 => statistics(block, big),
            _ => Item::Plain("pcapng block without a packet"),
        }
    }

    fn interface(&mut self, block: &[u8], big: bool) -> Item<'static> {
        let mut interface = Interface {
            link: u32::from(u16_at(block, 8, big).unwrap_or(0)),
            snaplen: u32_at(block, 12, big).unwrap_or(0),
            resolution: 6,
            offset_secs: 0,
        };
        for (code, value) in options(block.get(16..).unwrap_or_default(), big) {
            match (code, value) {
                (9, [resolution, ..]) => interface.resolution = *resolution,
                (14, value) => {
                    if let Ok(octets) = <[u8; 8]>::try_from(value) {
                        interface.offset_secs =
                            if big { i64::from_be_bytes(octets) } else { i64::from_le_bytes(octets) };
                    }
                }
                _ => {}
            }
        }
        if self.interfaces.len() >= MAX_INTERFACES {
            return Item::Garbage("more interfaces than any capture has");
        }
        self.interfaces.push(interface);
        Item::Plain("pcapng interface description")
    }

    /// Enhanced packet block, and the obsolete packet block with its 16-bit interface.
    fn enhanced<'a>(&self, block: &'a [u8], big: bool) -> Item<'a> {
        let obsolete = u32_at(block, 0, big) == Some(2);
        let index = if obsolete { u16_at(block, 8, big).map(u32::from) } else { u32_at(block, 8, big) };
        let Some(interface) = index.and_then(|index| self.interfaces.get(index as usize)) else {
            return Item::Garbage("packet of an interface that is not described");
        };
        let field = |at| u32_at(block, at, big).unwrap_or(0);
        let len = field(20) as usize;
        let end = block.len().saturating_sub(4);
        let Some(bytes) =
            28usize.checked_add(len).filter(|stop| *stop <= end).and_then(|stop| block.get(28..stop))
        else {
            return Item::Garbage("packet longer than its block");
        };
        let ticks = u64::from(field(12)) << 32 | u64::from(field(16));
        let at = known(nanos(ticks, interface));
        Item::Packet(Packet { at, link: interface.link, bytes, cut: field(24) as usize > len })
    }

    /// Simple packet block: no time, the first interface.
    fn simple<'a>(&self, block: &'a [u8], big: bool) -> Item<'a> {
        let Some(interface) = self.interfaces.first() else {
            return Item::Garbage("packet of an interface that is not described");
        };
        let original = u32_at(block, 8, big).unwrap_or(0) as usize;
        let held = block.get(12..block.len().saturating_sub(4)).unwrap_or_default();
        let snaplen = if interface.snaplen == 0 { usize::MAX } else { interface.snaplen as usize };
        let len = original.min(snaplen).min(held.len());
        let at = ObservedAt::OrderOnly;
        Item::Packet(Packet { at, link: interface.link, bytes: &held[..len], cut: original > len })
    }
}

/// Interface statistics: `isb_ifdrop` (5) and `isb_osdrop` (7).
fn statistics(block: &[u8], big: bool) -> Item<'static> {
    let mut dropped = 0u64;
    for (code, value) in options(block.get(20..).unwrap_or_default(), big) {
        if let (5 | 7, Ok(octets)) = (code, <[u8; 8]>::try_from(value)) {
            let count = if big { u64::from_be_bytes(octets) } else { u64::from_le_bytes(octets) };
            dropped = dropped.saturating_add(count);
        }
    }
    if dropped > 0 { Item::Dropped(dropped) } else { Item::Plain("pcapng interface statistics") }
}

/// Options of a block body; what does not fit ends them.
fn options(body: &[u8], big: bool) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let (code, len) = (u16_at(rest, 0, big)?, usize::from(u16_at(rest, 2, big)?));
        let value = rest.get(4..4 + len)?;
        rest = rest.get(4 + len.next_multiple_of(4)..).unwrap_or_default();
        (code != 0).then_some((code, value))
    })
}

fn nanos(ticks: u64, interface: &Interface) -> Option<Nanos> {
    let exponent = u32::from(interface.resolution & 0x7f);
    let value = if interface.resolution & 0x80 != 0 {
        (u128::from(ticks) * 1_000_000_000).checked_shr(exponent)?
    } else if exponent <= 9 {
        u128::from(ticks) * u128::from(10u32.pow(9 - exponent))
    } else {
        u128::from(ticks) / 10u128.checked_pow(exponent - 9)?
    };
    let base = Nanos(i64::try_from(value).ok()?);
    interface.offset_secs.checked_mul(1_000_000_000).map(|offset| base.plus(offset))
}

fn known(at: Option<Nanos>) -> ObservedAt {
    at.map_or(ObservedAt::None, |at| ObservedAt::Known(Interval::at(at), ClockBasis::Packet))
}
