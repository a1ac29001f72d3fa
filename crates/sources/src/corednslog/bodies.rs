//! Bounded tables from printed text to shared values: questions to bodies, metadata to hints.
//!
//! Direct-mapped: a newcomer pushes the old entry out and that is counted. Keys are compared whole.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::fast::FixedState;
use smallvec::SmallVec;
use truename_model::{Body, Class, Name, NameInterner, Question, Rtype};

/// Longest key kept; a longer one is made anew each time.
const LONGEST_KEY: usize = 1_100;

/// A table of `2^bits` shared values by their text.
#[derive(Debug)]
pub(crate) struct TextCache<T> {
    // Most keys stand in the slot itself: one place in memory to look at instead of two.
    slots: Vec<Option<(SmallVec<[u8; 56]>, Arc<T>)>>,
    hash: FixedState,
    pub(crate) entries: u64,
    pub(crate) evictions: u64,
}

impl<T> TextCache<T> {
    pub(crate) fn new(bits: u32) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(1 << bits.min(20), || None);
        Self { slots, hash: FixedState::with_seed(0x6e61_6d65), entries: 0, evictions: 0 }
    }

    /// The value for `key`, made by `make` if it is not in the table.
    pub(crate) fn get(&mut self, key: &[u8], make: impl FnOnce() -> T) -> Arc<T> {
        if key.len() > LONGEST_KEY {
            return Arc::new(make());
        }
        let mut hasher = self.hash.build_hasher();
        hasher.write(key);
        let index = hasher.finish() as usize & (self.slots.len() - 1);
        let slot = &mut self.slots[index];
        if let Some((text, value)) = slot
            && **text == *key
        {
            return Arc::clone(value);
        }
        if slot.is_some() {
            self.evictions += 1;
        } else {
            self.entries += 1;
        }
        let value = Arc::new(make());
        *slot = Some((SmallVec::from_slice(key), Arc::clone(&value)));
        value
    }
}

/// The body of a line with this question, as printed.
///
/// A type that is not shown is number 0, which the registry reserves; a class that is not shown is IN, the only one
/// that reaches CoreDNS's plugins without `chaos`.
pub(super) fn body(
    rtype: Option<&[u8]>,
    class: Option<&[u8]>,
    name: &[u8],
    names: &mut NameInterner,
) -> Body {
    let text =
        |bytes: Option<&[u8]>| bytes.and_then(|bytes| std::str::from_utf8(bytes).ok().map(str::to_owned));
    let shared = Name::parse_bytes(name).and_then(|name| names.intern(name.wire()));
    let rtype = rtype.map_or(Some(Rtype(0)), |_| text(rtype).and_then(|text| type_number(&text)));
    let class = class.map_or(Some(Class::IN), |_| text(class).and_then(|text| class_number(&text)));
    match (shared, rtype, class) {
        (Ok(name), Some(rtype), Some(class)) => Body::question_only(Question { name, rtype, class }),
        _ => Body {
            question: None,
            malformed: Some("unreadable question"),
            ..Body::question_only(Question { name: Name::root(), rtype: Rtype(0), class: Class::IN })
        },
    }
}

/// miekg/dns spells classes as the registry does, but for CSNET (2).
fn class_number(text: &str) -> Option<Class> {
    if text == "CSNET" { Some(Class(2)) } else { Class::parse(text) }
}

/// Types that miekg/dns names and the model does not.
fn type_number(text: &str) -> Option<Rtype> {
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
    Rtype::parse(text)
        .or_else(|| MORE.iter().find(|(name, _)| *name == text).map(|(_, number)| Rtype(*number)))
}
