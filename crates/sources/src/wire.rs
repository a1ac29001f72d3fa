//! DNS messages (RFC 1035 §4, RFC 3597, RFC 6891): enters a message's octets, leaves id, flags and a shared [`Body`].
//!
//! One pass, no recursion, bounded by the length of the message. A malformed message keeps what was read and says
//! what is wrong; nothing is ever dropped. Deliberately absent: validation of DNSSEC, decoding of rare types.

mod fault;
mod name;
mod cache;
mod message;

use std::sync::Arc;

use truename_model::{Body, Flags, NameInterner, Rcode};

use cache::{BodyCache, Parsed};
pub use fault::Fault;

/// Octets of the fixed header.
pub const HEADER: usize = 12;

/// A decoded message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Message id.
    pub id: u16,
    /// Header bits.
    pub flags: Flags,
    /// Return code with its EDNS extension; meaningful in responses.
    pub rcode: Rcode,
    /// Question and sections, shared with equal messages.
    pub body: Arc<Body>,
}

impl Message {
    /// True for a response (QR).
    #[must_use]
    pub fn is_response(&self) -> bool {
        self.flags.has(Flags::QR)
    }
}

/// How full the decoder's bounded tables were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireStats {
    /// Messages answered from the table of bodies.
    pub body_hits: u64,
    /// Messages that were parsed.
    pub body_misses: u64,
    /// Bodies in the table.
    pub body_entries: u64,
    /// Bodies pushed out of the table.
    pub body_evictions: u64,
    /// Names pushed out of the table.
    pub name_evictions: u64,
}

/// The decoder: one per item, so that its tables are local and deterministic.
#[derive(Debug)]
pub struct WireDecoder {
    names: NameInterner,
    bodies: BodyCache,
}

impl Default for WireDecoder {
    fn default() -> Self {
        Self::new(14, 13)
    }
}

impl WireDecoder {
    /// A decoder with `2^name_bits` names and `2^body_bits` bodies kept for reuse.
    #[must_use]
    pub fn new(name_bits: u32, body_bits: u32) -> Self {
        Self { names: NameInterner::new(name_bits), bodies: BodyCache::new(body_bits) }
    }

    /// Decodes a message. `cut` says that the capture may have cut it, so that a missing rest is not the sender's.
    pub fn read(&mut self, bytes: &[u8], cut: bool) -> Message {
        let field = |at: usize| match (bytes.get(at), bytes.get(at + 1)) {
            (Some(&high), Some(&low)) => u16::from(high) << 8 | u16::from(low),
            (Some(&high), None) => u16::from(high) << 8,
            _ => 0,
        };
        let (id, flags) = (field(0), Flags(field(2)));
        let Self { names, bodies } = self;
        let parsed = if bytes.len() < HEADER {
            let fault = if cut { Fault::CutByCapture } else { Fault::ShortHeader };
            Parsed { body: Arc::new(message::empty(fault)), extended_rcode: 0 }
        } else if cut {
            // Not shared: the same octets without a cut are another body.
            message::parse(bytes, names, true)
        } else {
            bodies.get(&bytes[4..], || message::parse(bytes, names, false))
        };
        let rcode = Rcode(u16::from(parsed.extended_rcode) << 4 | flags.rcode().0);
        Message { id, flags, rcode, body: parsed.body }
    }

    /// The interner, for decoders that read names from text beside messages.
    pub fn names(&mut self) -> &mut NameInterner {
        &mut self.names
    }

    /// Counters of the tables.
    #[must_use]
    pub fn stats(&self) -> WireStats {
        WireStats {
            body_hits: self.bodies.hits,
            body_misses: self.bodies.misses,
            body_entries: self.bodies.entries,
            body_evictions: self.bodies.evictions,
            name_evictions: self.names.evictions(),
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod differential;
