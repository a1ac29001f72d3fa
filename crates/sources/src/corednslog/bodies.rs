//! Bounded tables from printed text to shared values: names to the bodies that ask for them, metadata to hints.
//!
//! A table grows with what it holds, in the order of first sight, so that what comes often stands close together; when it
//! is full it is emptied, and what it forgets is counted. A newcomer waits aside until it is asked for again after
//! another one: most names of a long recording come once (a pair of A and AAAA), and would fill the table. Keys are
//! compared whole.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::fast::FixedState;
use smallvec::SmallVec;
use truename_model::{Body, Class, Name, Question, Rtype};

/// Longest key kept; a longer one is made anew each time.
const LONGEST_KEY: usize = 1_100;
/// Slots at first.
const SLOTS_MIN: usize = 1 << 8;
/// Places looked at for one key: the hash is known to everyone, so names can be made that all want the same place.
const PROBES: usize = 64;
/// Newcomers whose mark is remembered, at most.
const MARKS: usize = 1 << 16;

/// A table of values by their text.
#[derive(Debug)]
pub(crate) struct TextCache<V> {
    // Linear probing, at most half full: (part of the hash, place in `values` + 1); place 0 is a free slot.
    slots: Vec<(u32, u32)>,
    // Most keys stand in the entry itself: one place in memory to look at instead of two.
    values: Vec<(SmallVec<[u8; 48]>, V)>,
    // What was asked for last and is not in the table.
    aside: Option<(SmallVec<[u8; 48]>, V)>,
    // Marks of newcomers, by a part of their hash: one that finds its own is kept.
    marks: Vec<u32>,
    room: usize,
    hash: FixedState,
    pub(crate) evictions: u64,
}

impl<V> TextCache<V> {
    /// A table of at most `room` values.
    pub(crate) fn new(room: usize) -> Self {
        let hash = FixedState::with_seed(0x6e61_6d65);
        let room = room.clamp(1, 1 << 24);
        let marks = vec![0; room.next_power_of_two().clamp(1 << 6, MARKS)];
        Self {
            slots: vec![(0, 0); SLOTS_MIN],
            values: Vec::new(),
            aside: None,
            marks,
            room,
            hash,
            evictions: 0,
        }
    }

    pub(crate) fn entries(&self) -> u64 {
        self.values.len() as u64
    }

    /// The value for `key`, made by `make` if it is not in the table; `None` if the key is too long to be kept.
    pub(crate) fn get(&mut self, key: &[u8], make: impl FnOnce() -> V) -> Option<&mut V> {
        if key.len() > LONGEST_KEY {
            return None;
        }
        if self.aside.as_ref().is_some_and(|(known, _)| **known == *key) {
            return self.aside.as_mut().map(|(_, value)| value);
        }
        let mut hasher = self.hash.build_hasher();
        hasher.write(key);
        let hash = hasher.finish();
        let tag = hash as u32;
        let place = match self.find(tag, key) {
            Some(place) => place,
            None if self.is_new((hash >> 32) as u32, tag) => {
                let (_, value) = self.aside.insert((SmallVec::from_slice(key), make()));
                return Some(value);
            }
            None => self.keep(tag, key, make()),
        };
        self.values.get_mut(place).map(|(_, value)| value)
    }

    /// True at the first sight of a key, as far as the marks remember.
    fn is_new(&mut self, at: u32, tag: u32) -> bool {
        let at = at as usize & (self.marks.len() - 1);
        std::mem::replace(&mut self.marks[at], tag) != tag
    }

    fn find(&self, tag: u32, key: &[u8]) -> Option<usize> {
        for at in self.probes(tag) {
            let (known, place) = self.slots[at];
            let place = place.checked_sub(1)? as usize;
            if known == tag && *self.values[place].0 == *key {
                return Some(place);
            }
        }
        None
    }

    /// Where a key may stand, in order.
    fn probes(&self, tag: u32) -> impl Iterator<Item = usize> + use<V> {
        let mask = self.slots.len() - 1;
        (0..PROBES).map(move |step| (tag as usize + step) & mask)
    }

    #[cold]
    fn keep(&mut self, tag: u32, key: &[u8], value: V) -> usize {
        if self.values.len() >= self.room {
            self.evictions += self.values.len() as u64;
            self.values.clear();
            self.slots.fill((0, 0));
        }
        if self.values.len() * 2 >= self.slots.len() {
            let wider = vec![(0, 0); self.slots.len() * 2];
            let old = std::mem::replace(&mut self.slots, wider);
            old.into_iter().filter(|slot| slot.1 != 0).for_each(|slot| self.link(slot));
        }
        self.values.push((SmallVec::from_slice(key), value));
        self.link((tag, self.values.len() as u32));
        self.values.len() - 1
    }

    /// Puts a slot in the first free place; where a run of others leaves none, the first of them is forgotten.
    fn link(&mut self, slot: (u32, u32)) {
        let free = self.probes(slot.0).find(|&at| self.slots[at].1 == 0);
        self.evictions += u64::from(free.is_none());
        let at = free.unwrap_or(slot.0 as usize & (self.slots.len() - 1));
        self.slots[at] = slot;
    }
}

/// What was asked about one name: stubs ask for A and AAAA together, so both stand side by side.
#[derive(Debug, Default)]
pub(super) struct Asked {
    bodies: SmallVec<[((Rtype, Class), Arc<Body>); 2]>,
}

/// Types that are kept for one name.
const TYPES_MAX: usize = 16;

/// The body of a line with this question, as printed.
///
/// A type that is not shown is number 0, which the registry reserves; a class that is not shown is IN, the only one
/// that reaches CoreDNS's plugins without `chaos`.
pub(super) fn body(
    questions: &mut TextCache<Asked>,
    rtype: Option<&[u8]>,
    class: Option<&[u8]>,
    name: &[u8],
) -> Arc<Body> {
    let rtype = rtype.map_or(Some(Rtype(0)), type_number);
    let class = class.map_or(Some(Class::IN), class_number);
    let (Some(rtype), Some(class)) = (rtype, class) else { return unreadable() };
    let Some(asked) = questions.get(name, Asked::default) else { return unreadable() };
    if let Some((_, body)) = asked.bodies.iter().find(|(kind, _)| *kind == (rtype, class)) {
        return Arc::clone(body);
    }
    let known = asked.bodies.first().and_then(|(_, body)| body.question.as_ref()).map(|q| q.name.clone());
    let Some(name) = known.or_else(|| Name::parse_bytes(name).ok()) else { return unreadable() };
    let body = Arc::new(Body::question_only(Question { name, rtype, class }));
    if asked.bodies.len() < TYPES_MAX {
        asked.bodies.push(((rtype, class), Arc::clone(&body)));
    }
    body
}

fn unreadable() -> Arc<Body> {
    let nothing = Question { name: Name::root(), rtype: Rtype(0), class: Class::IN };
    Arc::new(Body { question: None, malformed: Some("unreadable question"), ..Body::question_only(nothing) })
}

/// miekg/dns spells classes as the registry does, but for CSNET (2).
fn class_number(text: &[u8]) -> Option<Class> {
    match text {
        b"IN" => Some(Class::IN),
        b"CSNET" => Some(Class(2)),
        _ => Class::parse(std::str::from_utf8(text).ok()?),
    }
}

/// Types that miekg/dns names and the model does not.
fn type_number(text: &[u8]) -> Option<Rtype> {
    const MORE: [(&str, u16); 45] = [
        ("MD", 3),
        ("MF", 4),
        ("MB", 7),
        ("MG", 8),
        ("MR", 9),
        ("MINFO", 14),
        ("AFSDB", 18),
        ("X25", 19),
        ("ISDN", 20),
        ("RT", 21),
        ("PX", 26),
        ("GPOS", 27),
        ("NXT", 30),
        ("EID", 31),
        ("NIMLOC", 32),
        ("ATMA", 34),
        ("KX", 36),
        ("APL", 42),
        ("IPSECKEY", 45),
        ("DHCID", 49),
        ("SMIMEA", 53),
        ("HIP", 55),
        ("NINFO", 56),
        ("RKEY", 57),
        ("TALINK", 58),
        ("OPENPGPKEY", 61),
        ("CSYNC", 62),
        ("ZONEMD", 63),
        ("UINFO", 100),
        ("UID", 101),
        ("GID", 102),
        ("UNSPEC", 103),
        ("NID", 104),
        ("L32", 105),
        ("L64", 106),
        ("LP", 107),
        ("EUI48", 108),
        ("EUI64", 109),
        ("NXNAME", 128),
        ("MAILA", 254),
        ("AVC", 258),
        ("AMTRELAY", 260),
        ("RESINFO", 261),
        ("TA", 32768),
        ("DLV", 32769),
    ];
    match text {
        b"A" => return Some(Rtype::A),
        b"AAAA" => return Some(Rtype::AAAA),
        _ => {}
    }
    let text = std::str::from_utf8(text).ok()?;
    Rtype::parse(text)
        .or_else(|| MORE.iter().find(|(name, _)| *name == text).map(|(_, number)| Rtype(*number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys of one tag: what a hostile client can make offline.
    #[test]
    fn keys_that_want_one_place_cost_a_bounded_search_and_are_forgotten() {
        let mut table: TextCache<u32> = TextCache::new(1 << 10);
        for n in 0..300u32 {
            table.keep(7, &n.to_be_bytes(), n);
        }
        assert_eq!(table.evictions, 300 - PROBES as u64);
        assert_eq!(table.probes(7).count(), PROBES);
        assert_eq!(table.find(7, &299u32.to_be_bytes()), Some(299));
        assert_eq!(table.find(7, &0u32.to_be_bytes()), None);
    }
}
