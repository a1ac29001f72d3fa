//! A bounded table of bodies by their bytes: an answer seen again costs a hash and a comparison, no allocation.
//!
//! Direct-mapped: a slot holds one body and the mark of the last key that asked for the place. Only a key that finds its
//! own mark is kept: most bodies of a long recording come once, and would push out those that come often. What is pushed
//! out is counted. The hash has a fixed seed, so evictions are the same in every run; it never decides equality.

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

#[derive(Debug, Default)]
struct Place {
    // The upper half of the hash of what asked last and was not here.
    mark: u32,
    // The upper half of the hash of what is here: most strangers are told by it, without a look at the body.
    tag: u32,
    slot: Option<Box<Slot>>,
}

/// The table.
#[derive(Debug)]
pub(super) struct BodyCache {
    places: Vec<Place>,
    hash: FixedState,
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) evictions: u64,
    pub(super) entries: u64,
}

impl BodyCache {
    /// A table of `2^bits` slots.
    pub(super) fn new(bits: u32) -> Self {
        let mut places = Vec::new();
        places.resize_with(1 << bits.min(20), Place::default);
        Self {
            places,
            hash: FixedState::with_seed(0x7472_7565),
            hits: 0,
            misses: 0,
            evictions: 0,
            entries: 0,
        }
    }

    /// The body for `key`, made by `make` if it is not in the table.
    pub(super) fn get(&mut self, key: &[u8], make: impl FnOnce() -> Parsed) -> Parsed {
        if key.len() > LONGEST {
            self.misses += 1;
            return make();
        }
        let mut hasher = self.hash.build_hasher();
        hasher.write(key);
        let hash = hasher.finish();
        let tag = (hash >> 32) as u32;
        let index = hash as usize & (self.places.len() - 1);
        let place = &mut self.places[index];
        if place.tag == tag
            && let Some(found) = &place.slot
            && *found.key == *key
        {
            self.hits += 1;
            return found.parsed.clone();
        }
        self.misses += 1;
        let parsed = make();
        if std::mem::replace(&mut place.mark, tag) == tag {
            let full = place.slot.is_some();
            self.evictions += u64::from(full);
            self.entries += u64::from(!full);
            place.tag = tag;
            place.slot = Some(Box::new(Slot { key: Box::from(key), parsed: parsed.clone() }));
        }
        parsed
    }
}
