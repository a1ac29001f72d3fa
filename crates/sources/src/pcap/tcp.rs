//! TCP reassembly for DNS (RFC 7766), bounded. Enters: segments of one direction; leaves: messages, holes, and why nothing.
//!
//! A direction whose SYN was not seen is picked up at its first data. After a hole the framing is lost: reading goes on
//! at the first segment that begins like a length and a DNS header. Deliberately absent: anything but octets in order.

use std::collections::BTreeMap;

use super::net::Segment;

/// Octets kept that cannot be read yet because earlier ones are missing.
const MAX_AHEAD: usize = 256 << 10;
/// Segments kept ahead.
const MAX_SEGMENTS: usize = 256;
/// The length field, a DNS header.
const LENGTH: usize = 2;

/// What a segment gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Given {
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
    // Segments ahead of `next`, by their distance from `base`.
    ahead: BTreeMap<u64, Vec<u8>>,
    ahead_octets: usize,
    // Octets taken so far: turns 32-bit sequence numbers into distances that do not wrap.
    taken: u64,
    // The framing is not known: wait for a segment that begins like a message.
    lost: bool,
    // The first sequence number, if a SYN told it.
    first: Option<u32>,
    pub(super) tick: u64,
    pub(super) ordinal: u64,
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
    /// Takes a segment; `missing` octets at its end were cut by the capture.
    pub(super) fn take(&mut self, segment: &Segment<'_>, missing: usize, out: &mut Vec<Given>) -> Step {
        if segment.syn {
            self.open(segment.seq, out);
        }
        // A SYN takes one sequence number; data behind it is TCP fast open (RFC 7413).
        let seq = segment.seq.wrapping_add(u32::from(segment.syn));
        let mut step = Step::Empty;
        if !segment.data.is_empty() || missing > 0 {
            step = self.data(seq, segment.data, missing, out);
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
        *self = Self {
            next: Some(start),
            first: Some(start),
            tick: self.tick,
            ordinal: self.ordinal,
            ..Self::default()
        };
    }

    fn data(&mut self, seq: u32, data: &[u8], missing: usize, out: &mut Vec<Given>) -> Step {
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
            self.hold(distance as u64, data, out);
        } else {
            let seen = usize::try_from(-distance).unwrap_or(usize::MAX);
            self.append(data.get(seen..).unwrap_or_default(), out);
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

    fn append(&mut self, data: &[u8], out: &mut Vec<Given>) {
        self.advance(data.len() as u64);
        if self.lost {
            if !plausible(data) {
                out.push(Given::Skipped(data.len() as u64));
                return;
            }
            self.lost = false;
        }
        self.buffer.extend_from_slice(data);
        self.messages(out);
    }

    fn messages(&mut self, out: &mut Vec<Given>) {
        let mut at = 0;
        while let Some(head) = self.buffer.get(at..at + LENGTH) {
            let len = usize::from(head[0]) << 8 | usize::from(head[1]);
            let Some(message) = self.buffer.get(at + LENGTH..at + LENGTH + len) else { break };
            out.push(Given::Message(message.to_vec(), false));
            at += LENGTH + len;
        }
        self.buffer.drain(..at);
    }

    /// Keeps a segment that came early; with too many of them the octets before are given up.
    fn hold(&mut self, distance: u64, data: &[u8], out: &mut Vec<Given>) {
        let at = self.taken.saturating_add(distance);
        let longer = self.ahead.get(&at).is_none_or(|held| held.len() < data.len());
        if longer {
            let before = self.ahead.insert(at, data.to_vec()).map_or(0, |held| held.len());
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
            let data = entry.remove();
            self.ahead_octets -= data.len();
            let seen = usize::try_from(self.taken - at).unwrap_or(usize::MAX);
            if let Some(fresh) = data.get(seen..).filter(|fresh| !fresh.is_empty()) {
                self.append(fresh, out);
            }
        }
    }

    /// Gives up the octets before the first segment ahead.
    fn skip_hole(&mut self, out: &mut Vec<Given>) {
        let Some(at) = self.ahead.keys().next().copied() else { return };
        let hole = at.saturating_sub(self.taken);
        self.give_partial(out);
        out.push(Given::Hole(Some(hole)));
        self.advance(hole);
        self.lost = true;
    }

    /// The capture cut the end of the segment just taken.
    fn cut(&mut self, missing: usize, out: &mut Vec<Given>) {
        self.give_partial(out);
        out.push(Given::Hole(Some(missing as u64)));
        self.advance(missing as u64);
        self.lost = true;
        self.join(out);
    }

    /// A message whose end will not come is given out if it shows its header.
    fn give_partial(&mut self, out: &mut Vec<Given>) {
        let held = std::mem::take(&mut self.buffer);
        if held.len() >= LENGTH + crate::wire::HEADER {
            out.push(Given::Message(held[LENGTH..].to_vec(), true));
        } else if !held.is_empty() {
            out.push(Given::Skipped(held.len() as u64));
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
            out.push(Given::Hole(None));
        }
    }
}

/// True if `data` begins like a length and a DNS header: used only where the framing is not known.
fn plausible(data: &[u8]) -> bool {
    let field = |at: usize| match (data.get(at), data.get(at + 1)) {
        (Some(&high), Some(&low)) => Some(u16::from(high) << 8 | u16::from(low)),
        _ => None,
    };
    let Some(len) = field(0) else { return !data.is_empty() };
    if usize::from(len) < crate::wire::HEADER {
        return false;
    }
    // Opcodes beyond 6 are not assigned; a count above what the length can hold is noise.
    let opcode = field(4).map_or(0, |flags| flags >> 11 & 0xf);
    let fits = |at, octets: u32| field(at).is_none_or(|count| u32::from(count) * octets <= u32::from(len));
    opcode <= 6
        && field(6).is_none_or(|questions| questions <= 2)
        && [8, 10, 12].into_iter().all(|at| fits(at, 11))
}
