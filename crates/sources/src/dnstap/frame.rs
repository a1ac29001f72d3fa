//! Frame Streams (fstrm): where frames end and what they are. Enters: bytes of a stream; leaves: frames.
//!
//! Total: control frames are records of their own, and bytes that cannot be a frame are one record up to the end,
//! since a length-prefixed stream has no mark to find the next frame by.

use crate::piece::{Boundary, Found};

/// Longest data frame, octets: the limit of the Go library. A DNS message has at most 65,535.
pub const MAX_FRAME: usize = 1 << 20;

/// Longest control frame payload, octets (fstrm's FSTRM_CONTROL_FRAME_LENGTH_MAX).
const MAX_CONTROL: usize = 512;

/// The content type of dnstap.
pub const CONTENT_TYPE: &[u8] = b"protobuf:dnstap.Dnstap";

/// Kinds of control frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Reader to writer: content types accepted.
    Accept,
    /// Writer: data follows.
    Start,
    /// Writer: no data follows.
    Stop,
    /// Writer to reader: content types offered.
    Ready,
    /// Reader to writer: STOP was seen.
    Finish,
    /// A number that the protocol has not.
    Unknown,
}

/// One record of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A data frame's payload.
    Data(&'a [u8]),
    /// A control frame and its fields.
    Control(Control, &'a [u8]),
    /// The stream ends inside this frame.
    Truncated,
    /// No frame begins so.
    Garbage,
}

/// What the head of a frame says.
enum Size {
    Whole(usize),
    Unknown,
    Bad,
}

fn be32(bytes: &[u8], at: usize) -> Option<usize> {
    let octets: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(octets)).ok()
}

fn size(head: &[u8]) -> Size {
    match be32(head, 0) {
        None => Size::Unknown,
        Some(0) => match be32(head, 4) {
            None => Size::Unknown,
            Some(len) if (4..=MAX_CONTROL).contains(&len) => Size::Whole(8 + len),
            Some(_) => Size::Bad,
        },
        Some(len) if len <= MAX_FRAME => Size::Whole(4 + len),
        Some(_) => Size::Bad,
    }
}

/// The rule that finds where frames end.
#[derive(Debug, Default)]
pub struct Frames {
    garbage: bool,
    // Octets of the current record that are still to come, once its length is known and a part was given out.
    left: Option<usize>,
    len: usize,
}

impl Boundary for Frames {
    fn find(&mut self, pending: &[u8]) -> Found {
        if self.garbage {
            return Found::More { sure: pending.len() };
        }
        let len = match self.left {
            Some(left) => left,
            None => match size(pending) {
                Size::Whole(len) => len,
                Size::Unknown => return Found::More { sure: 0 },
                Size::Bad => {
                    self.garbage = true;
                    return Found::More { sure: pending.len() };
                }
            },
        };
        if pending.len() >= len {
            self.left = None;
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

/// Reads a record that [`Frames`] split off.
#[must_use]
pub fn read(record: &[u8]) -> Frame<'_> {
    match size(record) {
        Size::Whole(len) if len == record.len() => match be32(record, 0) {
            Some(0) => Frame::Control(kind(be32(record, 8)), record.get(12..).unwrap_or_default()),
            _ => Frame::Data(record.get(4..).unwrap_or_default()),
        },
        Size::Whole(len) if len > record.len() => Frame::Truncated,
        Size::Unknown => Frame::Truncated,
        _ => Frame::Garbage,
    }
}

fn kind(number: Option<usize>) -> Control {
    match number {
        Some(1) => Control::Accept,
        Some(2) => Control::Start,
        Some(3) => Control::Stop,
        Some(4) => Control::Ready,
        Some(5) => Control::Finish,
        _ => Control::Unknown,
    }
}

/// The content types in the fields of a control frame.
pub fn content_types(fields: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = fields;
    std::iter::from_fn(move || {
        let (kind, len) = (be32(rest, 0)?, be32(rest, 4)?);
        let value = rest.get(8..8usize.checked_add(len)?)?;
        rest = rest.get(8 + len..)?;
        (kind == 1).then_some(value)
    })
}

/// True if a stream with this head is dnstap: it opens with READY or START for dnstap, or for no type in particular.
#[must_use]
pub fn looks_like(head: &[u8]) -> bool {
    let Size::Whole(len) = size(head) else { return false };
    let Some(first) = head.get(..len) else { return false };
    let Frame::Control(Control::Ready | Control::Start, fields) = read(first) else { return false };
    let mut types = content_types(fields).peekable();
    types.peek().is_none() || types.any(|content| content == CONTENT_TYPE)
}
