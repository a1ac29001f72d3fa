//! TCP reassembly for DNS (RFC 7766), bounded. Enters: segments of one direction; leaves: messages, holes, and why nothing.
//!
//! A direction whose SYN was not seen is picked up at its first data. A hole is given up when the peer acknowledges what
//! lies behind it. Then the framing is lost: reading goes on at the first segment that begins like a message.
//! Deliberately absent: anything but octets in order.

use std::collections::BTreeMap;

use truename_model::ObservedAt;
use truename_model::observation::PacketFacts;

use super::net::Segment;

/// Octets kept that cannot be read yet because earlier ones are missing.
const MAX_AHEAD: usize = 256 << 10;
/// Segments kept ahead.
const MAX_SEGMENTS: usize = 256;
/// The length field, a DNS header.
const LENGTH: usize = 2;

/// The record that brought the last octet of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) ordinal: u64,
    pub(super) at: ObservedAt,
    pub(super) facts: PacketFacts,
}

impl Default for Mark {
    fn default() -> Self {
        Self { ordinal: 0, at: ObservedAt::None, facts: PacketFacts::default() }
    }
}

/// What a segment gave, and the record that it came from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) mark: Mark,
    pub(super) what: What,
}

/// See [`Given`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A message; `true` if the capture cut it.
    Message(Vec<u8>, bool),
    /// Octets that are missing, if their number is known.
    Hole(Option<u64>),
    /// Octets that belong to no message.
    Skipped(u64),
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Stream {
    next: Option<u32>,
    buffer: Vec<u8>,
    // Segments ahead of `next`, by the number of octets before them.
    ahead: BTreeMap<u64, (Mark, Vec<u8>)>,
    ahead_octets: usize,
    // Octets taken so far: turns 32-bit sequence numbers into distances that do not wrap.
    taken: u64,
    // The framing is not known: wait for a segment that begins like a message.
    lost: bool,
    // The first sequence number, if a SYN told it.
    first: Option<u32>,
    pub(super) tick: u64,
    // The record last taken from.
    mark: Mark,
}

/// What a segment was, if it gave no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// No data in it.
    Empty,
    /// All of it was seen before.
    Repeated,
    /// Data was taken.
    Taken,
}

impl Stream {
    /// Takes a segment of the record `mark`; `missing` octets at its end were cut by the capture.
    pub(super) fn take(
        &mut self,
        segment: &Segment<'_>,
        missing: usize,
        mark: Mark,
        out: &mut Vec<Given>,
    ) -> Step {
        if segment.syn {
            self.open(segment.seq, out);
        }
        // A SYN takes one sequence number; data behind it is TCP fast open (RFC 7413).
        let seq = segment.seq.wrapping_add(u32::from(segment.syn));
        let mut step = Step::Empty;
        if !segment.data.is_empty() || missing > 0 {
            step = self.data(seq, segment.data, missing, mark, out);
        }
        if segment.fin || segment.rst {
            self.drain(out);
        }
        step
    }

    fn open(&mut self, seq: u32, out: &mut Vec<Given>) {
        let start = seq.wrapping_add(1);
        // A repeated SYN of the same connection changes nothing.
        if self.first == Some(start) {
            return;
        }
        self.drain(out);
        *self = Self { next: Some(start), first: Some(start), tick: self.tick, ..Self::default() };
    }

    fn data(&mut self, seq: u32, data: &[u8], missing: usize, mark: Mark, out: &mut Vec<Given>) -> Step {
        let next = *self.next.get_or_insert_with(|| {
            self.lost = true;
            seq
        });
        // Distance on the sequence circle, negative for what was seen already (RFC 9293 §3.4).
        let distance = i64::from(seq.wrapping_sub(next) as i32);
        let whole = data.len() as i64 + missing as i64;
        if distance + whole <= 0 {
            return Step::Repeated;
        }
        if distance > 0 {
            self.hold(distance as u64, data, mark, out);
        } else {
            let seen = usize::try_from(-distance).unwrap_or(usize::MAX);
            self.append(data.get(seen..).unwrap_or_default(), mark, out);
        }
        self.join(out);
        if missing > 0 && distance <= 0 {
            self.cut(missing, out);
        }
        Step::Taken
    }

    fn advance(&mut self, len: u64) {
        self.taken = self.taken.saturating_add(len);
        self.next = self.next.map(|next| next.wrapping_add(len as u32));
    }

    fn give(&self, what: What, out: &mut Vec<Given>) {
        out.push(Given { mark: self.mark, what });
    }

    fn append(&mut self, data: &[u8], mark: Mark, out: &mut Vec<Given>) {
        self.advance(data.len() as u64);
        self.mark = mark;
        if self.lost {
            match beginning(data) {
                Beginning::Framed => self.lost = false,
                Beginning::Headless => return self.give(What::Message(data.to_vec(), false), out),
                Beginning::Unknown => return self.give(What::Skipped(data.len() as u64), out),
            }
        }
        self.buffer.extend_from_slice(data);
        self.messages(out);
    }

    fn messages(&mut self, out: &mut Vec<Given>) {
        let mut at = 0;
        while let Some(head) = self.buffer.get(at..at + LENGTH) {
            let len = usize::from(head[0]) << 8 | usize::from(head[1]);
            let Some(message) = self.buffer.get(at + LENGTH..at + LENGTH + len) else { break };
            out.push(Given { mark: self.mark, what: What::Message(message.to_vec(), false) });
            at += LENGTH + len;
        }
        self.buffer.drain(..at);
    }

    /// The peer acknowledges everything before `ack`: what is not here by now was not captured.
    pub(super) fn acknowledged(&mut self, ack: u32, out: &mut Vec<Given>) {
        loop {
            let (Some(next), Some(at)) = (self.next, self.ahead.keys().next().copied()) else { return };
            let distance = i64::from(ack.wrapping_sub(next) as i32);
            let hole = at.saturating_sub(self.taken);
            if distance <= 0 || hole >= distance as u64 {
                return;
            }
            self.skip_hole(out);
            self.join(out);
        }
    }

    /// Keeps a segment that came early; with too many of them the octets before are given up.
    fn hold(&mut self, distance: u64, data: &[u8], mark: Mark, out: &mut Vec<Given>) {
        let at = self.taken.saturating_add(distance);
        let longer = self.ahead.get(&at).is_none_or(|(_, held)| held.len() < data.len());
        if longer {
            let before = self.ahead.insert(at, (mark, data.to_vec())).map_or(0, |(_, held)| held.len());
            self.ahead_octets += data.len() - before;
        }
        if self.ahead_octets > MAX_AHEAD || self.ahead.len() > MAX_SEGMENTS {
            self.skip_hole(out);
            self.join(out);
        }
    }

    /// Takes the segments ahead that now fit.
    fn join(&mut self, out: &mut Vec<Given>) {
        while let Some(entry) = self.ahead.first_entry() {
            let at = *entry.key();
            if at > self.taken {
                return;
            }
            let (mark, data) = entry.remove();
            self.ahead_octets -= data.len();
            let seen = usize::try_from(self.taken - at).unwrap_or(usize::MAX);
            if let Some(fresh) = data.get(seen..).filter(|fresh| !fresh.is_empty()) {
                self.append(fresh, mark, out);
            }
        }
    }

    /// Gives up the octets before the first segment ahead.
    fn skip_hole(&mut self, out: &mut Vec<Given>) {
        let Some(at) = self.ahead.keys().next().copied() else { return };
        let hole = at.saturating_sub(self.taken);
        self.give_partial(out);
        self.give(What::Hole(Some(hole)), out);
        self.advance(hole);
        self.lost = true;
    }

    /// The capture cut the end of the segment just taken.
    fn cut(&mut self, missing: usize, out: &mut Vec<Given>) {
        self.give_partial(out);
        self.give(What::Hole(Some(missing as u64)), out);
        self.advance(missing as u64);
        self.lost = true;
        self.join(out);
    }

    /// A message whose end will not come is given out if it shows its header.
    fn give_partial(&mut self, out: &mut Vec<Given>) {
        let held = std::mem::take(&mut self.buffer);
        if held.len() >= LENGTH + crate::wire::HEADER {
            self.give(What::Message(held[LENGTH..].to_vec(), true), out);
        } else if !held.is_empty() {
            self.give(What::Skipped(held.len() as u64), out);
        }
    }

    /// Ends the direction: holes stay holes.
    pub(super) fn drain(&mut self, out: &mut Vec<Given>) {
        while !self.ahead.is_empty() {
            self.skip_hole(out);
            self.join(out);
        }
        if !self.buffer.is_empty() {
            self.give_partial(out);
            self.give(What::Hole(None), out);
        }
    }
}

/// How a segment begins where the framing is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beginning {
    /// With a length and a DNS header.
    Framed,
    /// With a DNS message whose length field was in a segment that is missing.
    Headless,
    /// Otherwise.
    Unknown,
}

fn field(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from(*data.get(at)?) << 8 | u16::from(*data.get(at + 1)?))
}

fn beginning(data: &[u8]) -> Beginning {
    let framed = plausible(data);
    let whole = field(data, 0).is_some_and(|len| data.len() >= LENGTH + usize::from(len));
    if framed && whole {
        Beginning::Framed
    } else if headless(data) {
        Beginning::Headless
    } else if framed {
        Beginning::Framed
    } else {
        Beginning::Unknown
    }
}

/// True if `data` begins like a length and a DNS header, as far as it goes.
fn plausible(data: &[u8]) -> bool {
    let Some(len) = field(data, 0) else { return !data.is_empty() };
    if usize::from(len) < crate::wire::HEADER {
        return false;
    }
    // Opcodes beyond 6 are not assigned; a count above what the length can hold is noise.
    let opcode = field(data, 4).map_or(0, |flags| flags >> 11 & 0xf);
    let fits = |at| field(data, at).is_none_or(|count| u32::from(count) * 11 <= u32::from(len));
    opcode <= 6 && field(data, 6).is_none_or(|questions| questions <= 2) && [8, 10, 12].into_iter().all(fits)
}

/// True if `data` is a DNS message from its first octet: one question whose name, type and class can be read.
fn headless(data: &[u8]) -> bool {
    let opcode = field(data, 2).map_or(15, |flags| flags >> 11 & 0xf);
    if opcode > 6 || field(data, 4) != Some(1) {
        return false;
    }
    let mut at = crate::wire::HEADER;
    while let Some(&len) = data.get(at) {
        match len {
            0 => return field(data, at + 3).is_some_and(|class| matches!(class, 1 | 3 | 4 | 254 | 255)),
            1..=63 => at += usize::from(len) + 1,
            _ => return false,
        }
    }
    false
}
