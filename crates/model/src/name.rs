//! Domain names (RFC 1035 §3.1, RFC 4343): compared without case, kept in wire form, shown with escapes.
//!
//! Enters: wire bytes or presentation text; leaves: the same, lower-cased. A name is an immutable shared value;
//! [`NameInterner`] lets decoders reuse one allocation for a name seen again, within a bound.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest name in wire form, root label included (RFC 1035 §2.3.4).
pub const WIRE_MAX: usize = 255;

/// Why bytes or text are not a domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A label of more than 63 octets, or an empty label before the end.
    #[error("a label has 1 to 63 octets")]
    Label,
    /// More than 255 octets in wire form.
    #[error("a name has at most 255 octets")]
    TooLong,
    /// The bytes end before the root label, or go on after it.
    #[error("the name is not closed by the root label")]
    NotClosed,
    /// A backslash that starts no `\DDD` or `\X` escape.
    #[error("a backslash begins \\DDD or \\X")]
    Escape,
}

/// A domain name: uncompressed wire form in lower case, closed by the root label.
#[derive(Clone)]
pub struct Name {
    // 1 <= wire.len() <= 255, labels 1..=63 octets, last octet 0, no upper-case ASCII.
    wire: Arc<[u8]>,
    // [`label_hash`] over `wire`: stable across runs, so it may order work but never decide equality.
    hash: u64,
}

impl Name {
    /// The root.
    #[must_use]
    pub fn root() -> Self {
        Self::from_checked(&[0])
    }

    /// Reads an uncompressed wire-form name that fills `wire` exactly.
    ///
    /// # Errors
    /// Every [`NameError`] but `Escape`.
    pub fn from_wire(wire: &[u8]) -> Result<Self, NameError> {
        check_wire(wire)?;
        let mut buffer = [0u8; WIRE_MAX];
        let lower = &mut buffer[..wire.len()];
        lower.copy_from_slice(wire);
        // Length octets are below 64, so they are never in A–Z.
        lower.make_ascii_lowercase();
        Ok(Self::from_checked(lower))
    }

    /// Reads presentation text (RFC 1035 §5.1 escapes), with or without the final dot.
    ///
    /// # Errors
    /// Every [`NameError`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        Self::parse_bytes(text.as_bytes())
    }

    /// As [`Name::parse`], for text that need not be UTF-8.
    ///
    /// # Errors
    /// Every [`NameError`].
    pub fn parse_bytes(text: &[u8]) -> Result<Self, NameError> {
        let mut buffer = [0u8; WIRE_MAX];
        let len = wire_from_text(text, &mut buffer)?;
        Ok(Self::from_checked(&buffer[..len]))
    }

    fn from_checked(lower: &[u8]) -> Self {
        Self { wire: Arc::from(lower), hash: wire_hash(lower) }
    }

    /// Lower-case wire form, root label included.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// A hash that is the same in every run.
    #[must_use]
    pub fn stable_hash(&self) -> u64 {
        self.hash
    }

    /// Every way to cut the name after a whole label, in order: (octets in front, [`Name::stable_hash`] of these as a
    /// name of their own). The root and the whole name are among them.
    pub fn prefixes(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let mut state = HASH_START;
        let mut at = 0usize;
        std::iter::from_fn(move || {
            let here = (at, label_hash(state, &[0]));
            let len = usize::from(*self.wire.get(at)?);
            let next = if len == 0 { self.wire.len() } else { at + len + 1 };
            state = label_hash(state, &self.wire[at..next]);
            at = next;
            Some(here)
        })
    }

    /// Labels from left to right, without the root.
    pub fn labels(&self) -> Labels<'_> {
        Labels { rest: &self.wire }
    }

    /// Number of labels without the root.
    #[must_use]
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// True for the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.wire.len() == 1
    }

    /// The name without its first label; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let first = usize::from(self.wire[0]);
        (first > 0).then(|| Self::from_checked(&self.wire[first + 1..]))
    }

    /// True if `self` equals `zone` or lies below it, by whole labels.
    #[must_use]
    pub fn is_at_or_below(&self, zone: &Self) -> bool {
        self.prefix_len(zone).is_some()
    }

    /// The labels of `self` in front of `zone`; `None` if it is not at or below it.
    #[must_use]
    pub fn labels_above<'a>(&'a self, zone: &Self) -> Option<Vec<&'a [u8]>> {
        let prefix = self.prefix_len(zone)?;
        let mut rest = &self.wire[..prefix];
        let mut labels = Vec::new();
        while let Some((&len, tail)) = rest.split_first() {
            let (label, next) = tail.split_at_checked(usize::from(len))?;
            labels.push(label);
            rest = next;
        }
        Some(labels)
    }

    /// `self` with the suffix `zone` cut off, as a name of its own (`a.b.example` above `example` is `a.b`).
    #[must_use]
    pub fn without_suffix(&self, zone: &Self) -> Option<Self> {
        let prefix = self.prefix_len(zone)?;
        let mut buffer = [0u8; WIRE_MAX];
        buffer[..prefix].copy_from_slice(&self.wire[..prefix]);
        Some(Self::from_checked(&buffer[..=prefix]))
    }

    /// `self` followed by `suffix`.
    ///
    /// # Errors
    /// [`NameError::TooLong`].
    pub fn joined(&self, suffix: &Self) -> Result<Self, NameError> {
        let head = &self.wire[..self.wire.len() - 1];
        if head.len() + suffix.wire.len() > WIRE_MAX {
            return Err(NameError::TooLong);
        }
        let mut buffer = [0u8; WIRE_MAX];
        buffer[..head.len()].copy_from_slice(head);
        buffer[head.len()..head.len() + suffix.wire.len()].copy_from_slice(&suffix.wire);
        Ok(Self::from_checked(&buffer[..head.len() + suffix.wire.len()]))
    }

    fn prefix_len(&self, zone: &Self) -> Option<usize> {
        let mut at = 0usize;
        while self.wire.len() - at > zone.wire.len() {
            at += usize::from(self.wire[at]) + 1;
        }
        (self.wire[at..] == *zone.wire).then_some(at)
    }
}

/// Iterator over labels, left to right, root excluded.
#[derive(Clone, Debug)]
pub struct Labels<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&len, tail) = self.rest.split_first()?;
        if len == 0 {
            return None;
        }
        let (label, rest) = tail.split_at_checked(usize::from(len))?;
        self.rest = rest;
        Some(label)
    }
}

fn check_wire(wire: &[u8]) -> Result<(), NameError> {
    if wire.len() > WIRE_MAX {
        return Err(NameError::TooLong);
    }
    let mut at = 0usize;
    loop {
        match wire.get(at).copied() {
            None => return Err(NameError::NotClosed),
            Some(0) if at + 1 == wire.len() => return Ok(()),
            Some(0) => return Err(NameError::NotClosed),
            Some(len) if len > 63 => return Err(NameError::Label),
            Some(len) => at += usize::from(len) + 1,
        }
    }
}

/// Writes the lower-case wire form of `text` and returns its length.
fn wire_from_text(text: &[u8], out: &mut [u8; WIRE_MAX]) -> Result<usize, NameError> {
    if text.is_empty() || text == b"." {
        return Ok(1);
    }
    let (mut label_at, mut len) = (0usize, 1usize);
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'.' {
            close_label(out, label_at, len)?;
            if rest.is_empty() {
                return finish(out, len);
            }
            label_at = len;
            len += 1;
            continue;
        }
        let octet = if byte == b'\\' { unescape(&mut rest)? } else { byte };
        // Two octets stay free: the next length octet and the root.
        if len + 1 >= WIRE_MAX {
            return Err(NameError::TooLong);
        }
        out[len] = octet.to_ascii_lowercase();
        len += 1;
    }
    close_label(out, label_at, len)?;
    finish(out, len)
}

fn close_label(out: &mut [u8; WIRE_MAX], label_at: usize, len: usize) -> Result<(), NameError> {
    let size = len.saturating_sub(label_at + 1);
    if size == 0 || size > 63 || len > WIRE_MAX {
        return Err(if len > WIRE_MAX { NameError::TooLong } else { NameError::Label });
    }
    out[label_at] = size as u8;
    Ok(())
}

fn finish(out: &mut [u8; WIRE_MAX], len: usize) -> Result<usize, NameError> {
    *out.get_mut(len).ok_or(NameError::TooLong)? = 0;
    Ok(len + 1)
}

fn unescape(rest: &mut &[u8]) -> Result<u8, NameError> {
    match *rest {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', tail @ ..] => {
            *rest = tail;
            let value = u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0');
            u8::try_from(value).map_err(|_| NameError::Escape)
        }
        [byte, tail @ ..] if !byte.is_ascii_digit() => {
            *rest = tail;
            Ok(*byte)
        }
        _ => Err(NameError::Escape),
    }
}

const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

/// Goes on from `state` over one label with its length octet, eight octets at a time: going on label by label gives the
/// hash of every prefix of a name.
fn label_hash(state: u64, label: &[u8]) -> u64 {
    label.chunks(8).fold(state, |state, chunk| {
        let mut word = [0u8; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        let mixed = (state ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 32)
    })
}

/// The hash of a whole name in wire form.
fn wire_hash(wire: &[u8]) -> u64 {
    let (mut state, mut rest) = (HASH_START, wire);
    while let Some(&len) = rest.first() {
        let (label, after) = rest.split_at(rest.len().min(usize::from(len) + 1));
        state = label_hash(state, label);
        rest = after;
    }
    state
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && (Arc::ptr_eq(&self.wire, &other.wire) || self.wire == other.wire)
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Canonical order (RFC 4034 §6.1): by labels from the right.
impl Ord for Name {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let (mut a, mut b): (Vec<_>, Vec<_>) = (self.labels().collect(), other.labels().collect());
        a.reverse();
        b.reverse();
        a.cmp(&b)
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Presentation form with the final dot; every octet outside `!`–`~` is `\DDD`, so the text is safe on a terminal.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for label in self.labels() {
            for &octet in label {
                match octet {
                    b'.' | b' ' | b'\'' | b'@' | b';' | b'(' | b')' | b'"' | b'\\' => {
                        write!(f, "\\{}", octet as char)?
                    }
                    b'!'..=b'~' => write!(f, "{}", octet as char)?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A bounded table that gives one shared [`Name`] for the same name seen again.
///
/// When it is full it is emptied (names in use live on elsewhere) and the eviction is counted, so a flood of
/// distinct names costs time, never memory.
#[derive(Debug)]
pub struct NameInterner {
    // Direct-mapped: slot = hash & mask. One probe, no chains, bounded by construction.
    slots: Vec<Option<Name>>,
    evictions: u64,
}

impl NameInterner {
    /// A table of `2^bits` slots.
    #[must_use]
    pub fn new(bits: u32) -> Self {
        Self { slots: vec![None; 1 << bits.min(24)], evictions: 0 }
    }

    /// The shared name for `lower`, a lower-case wire form already checked by the caller's decoder.
    ///
    /// # Errors
    /// As [`Name::from_wire`], when the bytes are no name after all.
    pub fn intern(&mut self, lower: &[u8]) -> Result<Name, NameError> {
        check_wire(lower)?;
        Ok(self.checked(lower))
    }

    /// The shared name for presentation text, as [`Name::parse_bytes`] reads it.
    ///
    /// # Errors
    /// Every [`NameError`].
    pub fn intern_text(&mut self, text: &[u8]) -> Result<Name, NameError> {
        let mut buffer = [0u8; WIRE_MAX];
        let len = wire_from_text(text, &mut buffer)?;
        Ok(self.checked(&buffer[..len]))
    }

    fn checked(&mut self, lower: &[u8]) -> Name {
        let hash = wire_hash(lower);
        let mask = self.slots.len() - 1;
        let slot = &mut self.slots[hash as usize & mask];
        if let Some(name) = slot
            && name.hash == hash
            && *name.wire == *lower
        {
            return name.clone();
        }
        let name = Name { wire: Arc::from(lower), hash };
        self.evictions += u64::from(slot.is_some());
        *slot = Some(name.clone());
        name
    }

    /// How many names were pushed out so far.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn names_compare_without_case_and_show_escapes() {
        assert_eq!(name("WWW.Example.COM"), name("www.example.com."));
        assert_eq!(name("a\\.b\\032c.\\\"x").to_string(), "a\\.b\\ c.\\\"x.");
        assert_eq!(name("\\027[31m.evil").to_string(), "\\027[31m.evil.");
        assert_eq!(name(".").to_string(), ".");
    }

    #[test]
    fn prefixes_hash_as_names_of_their_own() {
        let whole = name("a.bc.example.com");
        let cut: Vec<(usize, u64)> = whole.prefixes().collect();
        let texts = [".", "a", "a.bc", "a.bc.example", "a.bc.example.com"];
        let own: Vec<(usize, u64)> =
            texts.iter().map(|text| (name(text).wire().len() - 1, name(text).stable_hash())).collect();
        assert_eq!(cut, own);
        assert_eq!(Name::root().prefixes().collect::<Vec<_>>(), [(0, Name::root().stable_hash())]);
    }

    #[test]
    fn bad_names_are_refused() {
        assert_eq!(Name::parse("a..b"), Err(NameError::Label));
        assert_eq!(Name::parse(&"a".repeat(64)), Err(NameError::Label));
        assert_eq!(Name::parse("a\\"), Err(NameError::Escape));
        assert_eq!(Name::parse("a\\25"), Err(NameError::Escape));
        assert_eq!(Name::parse("a\\256"), Err(NameError::Escape));
        let long = vec!["a".repeat(63); 4].join(".");
        assert_eq!(Name::parse(&long), Err(NameError::TooLong));
        assert_eq!(Name::from_wire(&[3, b'a']), Err(NameError::NotClosed));
        assert_eq!(Name::from_wire(&[1, b'a', 0, 0]), Err(NameError::NotClosed));
        assert_eq!(Name::from_wire(&[]), Err(NameError::NotClosed));
    }

    #[test]
    fn the_longest_name_fits() {
        let longest = format!("{}.{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61));
        assert_eq!(name(&longest).wire().len(), WIRE_MAX);
        assert_eq!(Name::parse(&format!("{longest}d")), Err(NameError::TooLong));
    }

    #[test]
    fn suffixes_are_whole_labels() {
        let zone = name("cluster.local");
        assert!(name("a.svc.cluster.local").is_at_or_below(&zone));
        assert!(!name("xcluster.local").is_at_or_below(&zone));
        assert_eq!(name("a.svc.cluster.local").without_suffix(&zone), Some(name("a.svc")));
        assert_eq!(name("a.b").joined(&zone), Ok(name("a.b.cluster.local")));
        let labels = name("a.svc.cluster.local");
        assert_eq!(labels.labels_above(&zone), Some(vec![&b"a"[..], &b"svc"[..]]));
    }

    #[test]
    fn the_interner_is_bounded_and_counts_what_it_forgets() {
        let mut table = NameInterner::new(1);
        for n in 0..100u8 {
            let wire = [1, b'a' + n % 26, 1, b'a' + n / 26, 0];
            assert_eq!(table.intern(&wire).unwrap().wire(), wire);
        }
        assert!(table.evictions() >= 98);
    }

    proptest! {
        #[test]
        fn any_wire_name_survives_its_text(labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..8)) {
            let mut wire = Vec::new();
            for label in &labels {
                wire.push(label.len() as u8);
                wire.extend_from_slice(label);
            }
            wire.push(0);
            let from_wire = Name::from_wire(&wire).unwrap();
            prop_assert_eq!(Name::parse(&from_wire.to_string()).unwrap(), from_wire);
        }
    }
}
