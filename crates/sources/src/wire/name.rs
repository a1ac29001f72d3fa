//! Names inside a message (RFC 1035 §3.1, §4.1.4): enters a message and an offset, leaves the lower-case wire form.
//!
//! Pointers go strictly backward and a bounded number of times, so every read ends. Deliberately absent: interning.

use truename_model::name::WIRE_MAX;

use super::fault::Fault;

/// Pointers followed for one name. A name has at most 127 labels; real encoders need one or two hops.
const HOP_LIMIT: u32 = 32;

/// A name read from a message: lower-case wire form, and whether lowering changed anything.
#[derive(Clone, Debug)]
pub(super) struct NameBuf {
    bytes: [u8; WIRE_MAX],
    len: usize,
    /// True if an octet was upper case on the wire.
    pub(super) had_upper: bool,
}

impl NameBuf {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; WIRE_MAX], len: 0, had_upper: false }
    }

    /// The lower-case wire form of the last name read.
    pub(super) fn wire(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, label: &[u8], lower: bool) -> Result<(), Fault> {
        let end = self.len + 1 + label.len();
        // The root octet must still fit behind this label.
        if end >= WIRE_MAX {
            return Err(Fault::NameTooLong);
        }
        self.bytes[self.len] = label.len() as u8;
        let target = &mut self.bytes[self.len + 1..end];
        target.copy_from_slice(label);
        if label.iter().any(u8::is_ascii_uppercase) {
            self.had_upper = true;
            if lower {
                target.make_ascii_lowercase();
            }
        }
        self.len = end;
        Ok(())
    }
}

/// Reads the name at `at`; leaves it in `out` and returns the offset behind it.
pub(super) fn read(message: &[u8], at: usize, out: &mut NameBuf) -> Result<usize, Fault> {
    read_cased(message, at, out, true)
}

/// As [`read`], keeping the case of the wire if `lower` is false.
pub(super) fn read_cased(message: &[u8], at: usize, out: &mut NameBuf, lower: bool) -> Result<usize, Fault> {
    out.len = 0;
    out.had_upper = false;
    let (mut here, mut segment, mut hops) = (at, at, 0u32);
    let mut after = None;
    loop {
        let len = *message.get(here).ok_or(Fault::Truncated)?;
        match len {
            0 => {
                out.bytes[out.len] = 0;
                out.len += 1;
                return Ok(after.unwrap_or(here + 1));
            }
            1..=63 => {
                let end = here + 1 + usize::from(len);
                out.push(message.get(here + 1..end).ok_or(Fault::Truncated)?, lower)?;
                here = end;
            }
            0xc0..=0xff => {
                let low = *message.get(here + 1).ok_or(Fault::Truncated)?;
                let target = usize::from(len & 0x3f) << 8 | usize::from(low);
                after = after.or(Some(here + 2));
                hops += 1;
                check_pointer(target, segment, here, hops)?;
                (here, segment) = (target, target);
            }
            _ => return Err(Fault::BadLabelType),
        }
    }
}

/// A pointer may only lead in front of the run of labels that holds it: then no cycle is possible.
fn check_pointer(target: usize, segment: usize, here: usize, hops: u32) -> Result<(), Fault> {
    if target > here {
        return Err(Fault::ForwardPointer);
    }
    if target >= segment {
        return Err(Fault::PointerLoop);
    }
    if target < super::HEADER {
        return Err(Fault::PointerIntoHeader);
    }
    if hops > HOP_LIMIT {
        return Err(Fault::TooManyPointers);
    }
    Ok(())
}

/// Presentation form of an uncompressed wire-form name, case kept, escapes as in `Name`'s display.
pub(super) fn presentation(wire: &[u8]) -> String {
    let mut text = String::with_capacity(wire.len() + 8);
    let mut rest = wire;
    while let Some((&len, tail)) = rest.split_first() {
        let Some((label, next)) = tail.split_at_checked(usize::from(len)) else { break };
        for &octet in label {
            push_octet(&mut text, octet);
        }
        if !label.is_empty() || text.is_empty() {
            text.push('.');
        }
        rest = next;
    }
    text
}

fn push_octet(text: &mut String, octet: u8) {
    match octet {
        b'.' | b' ' | b'\'' | b'@' | b';' | b'(' | b')' | b'"' | b'\\' => {
            text.push('\\');
            text.push(char::from(octet));
        }
        b'!'..=b'~' => text.push(char::from(octet)),
        _ => {
            text.push('\\');
            for digit in [octet / 100, octet / 10 % 10, octet % 10] {
                text.push(char::from(b'0' + digit));
            }
        }
    }
}
