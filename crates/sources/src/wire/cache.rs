//! A bounded table of bodies by their bytes: an answer seen again costs a hash and a comparison, no allocation.
//!
//! Direct-mapped: a slot holds one body, a newcomer pushes the old one out, and that is counted.
//! The hash has a fixed seed, so evictions are the same in every run; it never decides equality.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::fast::FixedState;
use truename_model::Body;

/// Bodies of more octets than this are not kept: they are rare, and the table must stay small.
const LONGEST: usize = 1_232;

/// What the bytes after id and flags decode to.
#[derive(Clone, Debug)]
pub(super) struct Parsed {
    pub(super) body: Arc<Body>,
    /// Upper eight bits of the extended return code (RFC 6891 §6.1.3).
    pub(super) extended_rcode: u8,
}

#[derive(Debug)]
struct Slot {
    key: Box<[u8]>,
    parsed: Parsed,
}

/// The table.
#[derive(Debug)]
pub(super) struct BodyCache {
    slots: Vec<Option<Slot>>,
    hash: FixedState,
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) evictions: u64,
}

impl BodyCache {
    /// A table of `2^bits` slots.
    pub(super) fn new(bits: u32) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(1 << bits.min(20), || None);
        Self { slots, hash: FixedState::with_seed(0x7472_7565), hits: 0, misses: 0, evictions: 0 }
    }

    /// The body for `key`, made by `make` if it is not in the table.
    pub(super) fn get(&mut self, key: &[u8], make: impl FnOnce() -> Parsed) -> Parsed {
        if key.len() > LONGEST {
            self.misses += 1;
            return make();
        }
        let mut hasher = self.hash.build_hasher();
        hasher.write(key);
        let index = hasher.finish() as usize & (self.slots.len() - 1);
        let slot = &mut self.slots[index];
        if let Some(found) = slot
            && *found.key == *key
        {
            self.hits += 1;
            return found.parsed.clone();
        }
        self.misses += 1;
        self.evictions += u64::from(slot.is_some());
        let parsed = make();
        *slot = Some(Slot { key: Box::from(key), parsed: parsed.clone() });
        parsed
    }
}
