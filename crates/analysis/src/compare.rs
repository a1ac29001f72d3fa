//! Answer sets compared: order, TTL and repetition do not count, data does (answer-truth §1, item 2).
//!
//! Enters: decoded bodies; leaves: equal, subset, or a hash that does not depend on order. Pure functions only.

use std::hash::{Hash, Hasher};

use truename_model::{Body, Rcode, Record, Response};

/// FNV-1a over what the derived `Hash` writes: the same in every run of one build, never shown.
#[derive(Clone, Copy, Debug)]
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn same_record(a: &Record, b: &Record) -> bool {
    a.rtype == b.rtype && a.rdata == b.rdata && a.owner == b.owner
}

/// True if every answer record of `part` has its like in `whole`, TTL aside.
#[must_use]
pub fn is_part_of(part: &[Record], whole: &[Record]) -> bool {
    // Answer sections are short; the quadratic walk is bounded so that a hostile 64 KiB section costs little.
    if part.len() > 64 && whole.len() > 64 {
        return sorted_is_part(part, whole);
    }
    part.iter().all(|record| whole.iter().any(|other| same_record(record, other)))
}

fn sorted_is_part(part: &[Record], whole: &[Record]) -> bool {
    let key = |record: &Record| (record.owner.clone(), record.rtype, record.rdata.clone());
    let set: std::collections::BTreeSet<_> = whole.iter().map(key).collect();
    part.iter().all(|record| set.contains(&key(record)))
}

/// True if both answer sections hold the same set of data.
#[must_use]
pub fn same_data(a: &Body, b: &Body) -> bool {
    std::ptr::eq(a, b) || (is_part_of(&a.answers, &b.answers) && is_part_of(&b.answers, &a.answers))
}

/// A hash of the answer section's data that does not depend on order, TTL or repetition of neighbours.
#[must_use]
pub fn data_hash(answers: &[Record]) -> u64 {
    answers.iter().fold(answers.is_empty().into(), |sum: u64, record| {
        let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
        (record.owner.stable_hash(), record.rtype.0).hash(&mut hasher);
        record.rdata.hash(&mut hasher);
        sum.wrapping_add(hasher.finish())
    })
}

/// True if two responses claim the same: return code and, where both show sections, data.
///
/// A cut or truncated message can only be a part of the other.
#[must_use]
pub fn agree(a: &Response, b: &Response) -> bool {
    if let (Some(x), Some(y)) = (a.rcode, b.rcode)
        && x != y
    {
        return false;
    }
    let readable = |r: &Response| r.body.sections_seen && r.body.malformed.is_none();
    if !readable(a) || !readable(b) {
        return true;
    }
    match (is_partial(a), is_partial(b)) {
        (true, true) => true,
        (true, false) => is_part_of(&a.body.answers, &b.body.answers),
        (false, true) => is_part_of(&b.body.answers, &a.body.answers),
        (false, false) => same_data(&a.body, &b.body),
    }
}

/// True if a response of the server can have been made from what the upstream gave.
#[must_use]
pub fn served_from(response: &Response, given: &Response) -> bool {
    if response.rcode != given.rcode {
        return false;
    }
    let (own, theirs) = (&response.body.answers, &given.body.answers);
    is_part_of(own, theirs)
        && (is_partial(response) || is_partial(given) || is_part_of(theirs, own))
        && (!own.is_empty() || theirs.is_empty() || is_partial(response))
}

/// True if both answer sections hold the same addresses, and some.
#[must_use]
pub fn same_addresses(a: &Body, b: &Body) -> bool {
    let of = |body: &Body| body.addresses().collect::<std::collections::BTreeSet<_>>();
    let own = of(a);
    !own.is_empty() && own == of(b)
}

/// True if the message may lack records: truncated by the server or cut by the capture.
#[must_use]
pub fn is_partial(response: &Response) -> bool {
    response.flags.has(truename_model::Flags::TC) || response.packet.is_some_and(|packet| packet.cut)
}

/// True for a return code that claims nothing about the name.
#[must_use]
pub fn is_failure(rcode: Rcode) -> bool {
    rcode != Rcode::NOERROR && rcode != Rcode::NXDOMAIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use truename_model::{Class, Name, Rdata, Rtype};

    fn a(owner: &str, last: u8, ttl: u32) -> Record {
        let rdata = Rdata::A([192, 0, 2, last].into());
        Record { owner: Name::parse(owner).unwrap(), rtype: Rtype::A, class: Class::IN, ttl, rdata }
    }

    #[test]
    fn order_and_ttl_do_not_count_but_data_and_owner_do() {
        let (x, y) =
            ([a("n.example", 1, 30), a("n.example", 2, 30)], [a("n.example", 2, 7), a("N.example", 1, 7)]);
        assert!(is_part_of(&x, &y) && is_part_of(&y, &x));
        assert_eq!(data_hash(&x), data_hash(&y));
        assert!(!is_part_of(&x, &y[..1]));
        assert!(!is_part_of(&[a("m.example", 1, 30)], &x));
        assert_ne!(data_hash(&x), data_hash(&x[..1]));
        assert_ne!(data_hash(&[]), data_hash(&x));
    }

    #[test]
    fn long_sections_compare_the_same_way() {
        let long: Vec<_> = (0..200).map(|n| a("n.example", n, 1)).collect();
        let mut other = long.clone();
        other.reverse();
        assert!(is_part_of(&long, &other));
        other.pop();
        assert!(!is_part_of(&long, &other));
    }
}
