//! Offsets between the clocks of origins, found where two origins saw the same answer.
//!
//! Enters: observations in any order, before any offset is applied; leaves: for each origin an interval to add to its
//! times. The reference clock is one that most kinds of source agree with (a replica's rotated logs are one clock, not
//! many), of these the best kind (dnstap, then packets, then logs). Deliberately absent: drift (one offset for the whole item), and the API
//! server's clock, of which only who asks tells (`presence`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::hash::{BuildHasher, Hash};
use truename_model::time::{MILLI, SECOND};
use truename_model::{Event, Nanos, Observation, ObservedAt, Origin, OriginId, Vantage};

/// Bound on answers remembered; beyond it a smaller sample is kept, the same lookups for every origin.
const KEYS_MAX: usize = 1 << 16;
/// Agreement between two clocks: differences inside this width are one offset with its jitter (a log line's lag).
const WIDTH: i64 = SECOND;
/// A smaller offset than this is the delay between vantages, not a clock, and is not applied.
const NOISE: i64 = 250 * MILLI;
/// At least so many answers must agree.
const SUPPORT: usize = 3;
/// And at least this part of the answers of the smaller origin: a stub's retry goes to another replica after 2.5 or 5 s
/// with the same address, port and id, so two replicas share a few queries that say nothing of their clocks.
const SHARE: usize = 20;

/// An origin's offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offset {
    /// The origin.
    pub origin: OriginId,
    /// Nanoseconds to add (lowest, highest).
    pub bounds: (i64, i64),
    /// What it rests on, in words.
    pub basis: String,
    /// Whose clock it is relative to.
    pub reference: OriginId,
    /// Answers that agree on it.
    pub support: usize,
}

type Sighting = (OriginId, i64, i64);

/// Collects sightings of the same answer by several origins.
pub struct Estimator {
    clusters: Vec<Option<String>>,
    replicas: Vec<Option<String>>,
    sightings: HashMap<u64, SmallVec<[Sighting; 2]>, FixedState>,
    hasher: FixedState,
    mask: u64,
    // Best clock seen of each origin, lower is better.
    ranks: BTreeMap<OriginId, u8>,
}

impl Estimator {
    /// An estimator for the origins of a run; origins of different clusters are never compared.
    #[must_use]
    pub fn new(origins: &[Origin]) -> Self {
        Self {
            clusters: origins.iter().map(|origin| origin.cluster.value().cloned()).collect(),
            replicas: origins.iter().map(|origin| origin.replica.value().cloned()).collect(),
            sightings: HashMap::with_hasher(FixedState::with_seed(3)),
            hasher: FixedState::with_seed(7),
            mask: 0,
            ranks: BTreeMap::new(),
        }
    }

    /// Looks at one observation. Every observation of every item may be given; memory stays bounded.
    pub fn observe(&mut self, observation: &Observation) {
        let (Event::Dns(dns), Some(at)) = (&observation.event, observation.at.interval()) else { return };
        let (Some(client), Some(question)) = (dns.client, &dns.body.question) else { return };
        // Answers only: a query that was lost is sent again, to another server perhaps, after exactly a stub's timeout.
        let (client_leg, own_socket) = match dns.vantage {
            Vantage::LogLine | Vantage::ClientResponse => (true, false),
            Vantage::ForwarderResponse => (false, true),
            Vantage::PacketResponse => (true, true),
            _ => return,
        };
        let rank = self.ranks.entry(observation.origin).or_insert(u8::MAX);
        *rank = (*rank).min(clock_rank(observation.at));
        let name = question.name.stable_hash();
        let sighting = (observation.origin, at.lo.0, at.hi.0);
        if client_leg {
            self.sight((client.ip, client.port, Some(dns.id), name, question.rtype.0), sighting);
        }
        // The replica's own socket is seen by its tap and on its upstream leg; the tap hides the id.
        if own_socket {
            self.sight((client.ip, client.port, None, name, question.rtype.0), sighting);
        }
    }

    fn sight(&mut self, key: (IpAddr, u16, Option<u16>, u64, u16), sighting: Sighting) {
        let hash = self.hasher.hash_one(KeyHash(key));
        if hash & self.mask != 0 {
            return;
        }
        let list = self.sightings.entry(hash).or_default();
        let known = list.len();
        match list.iter_mut().find(|known| known.0 == sighting.0) {
            Some(known) if sighting.1 < known.1 => *known = sighting,
            Some(_) => {}
            None if known < 32 => list.push(sighting),
            None => {}
        }
        while self.sightings.len() > KEYS_MAX {
            self.mask = (self.mask << 1) | 1;
            let mask = self.mask;
            self.sightings.retain(|hash, _| hash & mask == 0);
        }
    }

    /// The offsets of every origin that could be compared with the reference, the reference's own included.
    #[must_use]
    pub fn finish(self) -> Vec<Offset> {
        let pairs = self.differences();
        let counts = self.counts();
        let whole =
            |a: &OriginId, b: &OriginId| counts.get(a).copied().min(counts.get(b).copied()).unwrap_or(0);
        let edges: BTreeMap<(OriginId, OriginId), (i64, i64, usize)> = pairs
            .into_iter()
            .filter_map(|(pair, list)| densest(list).map(|found| (pair, found)))
            .filter(|((a, b), (_, _, support))| support * SHARE >= whole(a, b))
            .collect();
        let mut left: BTreeSet<OriginId> = edges.keys().flat_map(|&(a, b)| [a, b]).collect();
        let mut out = Vec::new();
        while let Some(&start) = left.first() {
            let part = self.connected(start, &edges);
            left.retain(|origin| !part.contains(origin));
            out.extend(self.solve(&part, &edges));
        }
        out.sort_by_key(|offset: &Offset| offset.origin);
        out
    }

    /// Answers of the sample by origin.
    fn counts(&self) -> BTreeMap<OriginId, usize> {
        let mut counts = BTreeMap::new();
        for (origin, _, _) in self.sightings.values().flatten() {
            *counts.entry(*origin).or_insert(0) += 1;
        }
        counts
    }

    /// For each pair of origins `a < b`: what to add to b's times to reach a's.
    fn differences(&self) -> BTreeMap<(OriginId, OriginId), Vec<(i64, i64)>> {
        let mut pairs: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for list in self.sightings.values() {
            for x in list {
                for y in list {
                    if x.0 < y.0 && self.comparable(x.0, y.0) {
                        let difference = (x.1.saturating_sub(y.2), x.2.saturating_sub(y.1));
                        pairs.entry((x.0, y.0)).or_default().push(difference);
                    }
                }
            }
        }
        pairs
    }

    /// Two instances never see the same query, but for a second try, which proves nothing.
    fn comparable(&self, a: OriginId, b: OriginId) -> bool {
        let same = |names: &[Option<String>]| {
            let name = |id: OriginId| names.get(id.0 as usize).and_then(Option::as_ref);
            name(a).is_none_or(|x| name(b).is_none_or(|y| x == y))
        };
        same(&self.clusters) && same(&self.replicas)
    }

    fn connected(
        &self,
        start: OriginId,
        edges: &BTreeMap<(OriginId, OriginId), (i64, i64, usize)>,
    ) -> BTreeSet<OriginId> {
        let mut part = BTreeSet::from([start]);
        loop {
            let before = part.len();
            for &(a, b) in edges.keys() {
                if part.contains(&a) || part.contains(&b) {
                    part.extend([a, b]);
                }
            }
            if part.len() == before {
                return part;
            }
        }
    }

    fn solve(
        &self,
        part: &BTreeSet<OriginId>,
        edges: &BTreeMap<(OriginId, OriginId), (i64, i64, usize)>,
    ) -> Vec<Offset> {
        // Offsets relative to each candidate; the one that agrees with most kinds of others is the reference.
        let rank = |id: &OriginId| self.ranks.get(id).copied().unwrap_or(u8::MAX);
        let score = |id: &OriginId| {
            let relative = relative_to(*id, edges);
            let near: Vec<&OriginId> = relative
                .iter()
                .filter(|(_, (lo, hi, _))| (lo / 2 + hi / 2).abs() < 2 * SECOND)
                .map(|(id, _)| id)
                .collect();
            let kinds: BTreeSet<u8> = near.iter().map(|id| rank(id)).collect();
            (Reverse(kinds.len()), rank(id), Reverse(near.len()), *id)
        };
        let Some(reference) = part.iter().min_by_key(|id| score(id)).copied() else { return Vec::new() };
        let relative = relative_to(reference, edges);
        let word = match rank(&reference) {
            0 => "dnstap",
            1 => "packet capture",
            _ => "log",
        };
        relative
            .into_iter()
            .map(|(origin, (lo, hi, support))| {
                let basis = if origin == reference {
                    format!("reference clock ({word})")
                } else if is_noise(lo, hi) {
                    format!("{support} answers seen by both it and the reference ({word}): same clock, not applied")
                } else {
                    format!("{support} answers seen by both it and the reference ({word}): applied")
                };
                Offset { origin, bounds: (lo, hi), basis, reference, support }
            })
            .collect()
    }
}

/// Hashes a key piecewise; a tuple with an address has no cheaper stable form.
struct KeyHash((IpAddr, u16, Option<u16>, u64, u16));

impl Hash for KeyHash {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let (ip, port, id, name, rtype) = self.0;
        match ip {
            IpAddr::V4(v4) => state.write_u32(v4.to_bits()),
            IpAddr::V6(v6) => state.write_u128(v6.to_bits()),
        }
        state.write_u64(u64::from(port) << 40 | id.map_or(1 << 39, u64::from) << 17 | u64::from(rtype));
        state.write_u64(name);
    }
}

fn clock_rank(at: ObservedAt) -> u8 {
    match at {
        ObservedAt::Known(_, truename_model::ClockBasis::Dnstap) => 0,
        ObservedAt::Known(_, truename_model::ClockBasis::Packet) => 1,
        _ => 2,
    }
}

fn is_noise(lo: i64, hi: i64) -> bool {
    (lo / 2 + hi / 2).abs() < NOISE
}

/// The densest window of differences: (lowest, highest, how many), if enough agree and they are the majority.
fn densest(mut list: Vec<(i64, i64)>) -> Option<(i64, i64, usize)> {
    list.sort_unstable_by_key(|&(lo, hi)| (lo / 2 + hi / 2, lo, hi));
    let mid = |&(lo, hi): &(i64, i64)| lo / 2 + hi / 2;
    let (mut best, mut start) = ((0usize, 0usize), 0usize);
    for end in 0..list.len() {
        while mid(&list[end]) - mid(&list[start]) > WIDTH {
            start += 1;
        }
        if end + 1 - start > best.1 - best.0 {
            best = (start, end + 1);
        }
    }
    let members = &list[best.0..best.1];
    if members.len() < SUPPORT || members.len() * 2 < list.len() {
        return None;
    }
    // The outermost fiftieth on each side is left out: a retried query or a stalled log reader is no clock.
    let cut = members.len() / 50;
    let core = &members[cut..members.len() - cut];
    let lo = core.iter().map(|d| d.0).min()?;
    let hi = core.iter().map(|d| d.1).max()?;
    Some((lo, hi, members.len()))
}

/// Offsets of every origin reachable from `reference`, over as few comparisons as possible.
fn relative_to(
    reference: OriginId,
    edges: &BTreeMap<(OriginId, OriginId), (i64, i64, usize)>,
) -> BTreeMap<OriginId, (i64, i64, usize)> {
    let mut known = BTreeMap::from([(reference, (0i64, 0i64, 0usize))]);
    loop {
        let mut found = Vec::new();
        for (&(a, b), &(lo, hi, support)) in edges {
            // The edge says what to add to b to reach a.
            match (known.get(&a), known.get(&b)) {
                (Some(base), None) => {
                    found.push((b, (base.0.saturating_add(lo), base.1.saturating_add(hi), support)))
                }
                (None, Some(base)) => {
                    found.push((a, (base.0.saturating_sub(hi), base.1.saturating_sub(lo), support)))
                }
                _ => {}
            }
        }
        if found.is_empty() {
            return known;
        }
        // Of several paths of equal length the narrowest.
        found.sort_by_key(|&(origin, (lo, hi, _))| (origin, hi.saturating_sub(lo), lo));
        for (origin, value) in found {
            known.entry(origin).or_insert(value);
        }
    }
}

/// Offsets as they are applied to observations while they are read.
#[derive(Clone, Debug, Default)]
pub struct Offsets {
    by_origin: Vec<(i64, i64)>,
    contradicted: Vec<Offset>,
}

impl Offsets {
    /// Offsets found and offsets given by the operator (`Origin::clock_offset_ns`), which win.
    #[must_use]
    pub fn new(found: &[Offset], origins: &[Origin]) -> Self {
        let mut by_origin = vec![(0, 0); origins.len()];
        for offset in found {
            let (lo, hi) = offset.bounds;
            if let Some(slot) = by_origin.get_mut(offset.origin.0 as usize)
                && !is_noise(lo, hi)
            {
                *slot = (lo, hi);
            }
        }
        for (slot, origin) in by_origin.iter_mut().zip(origins) {
            if let Some(&given) = origin.clock_offset_ns.value() {
                *slot = given;
            }
        }
        let mut this = Self { by_origin, contradicted: Vec::new() };
        for offset in found {
            this.doubt(offset, origins);
        }
        this
    }

    /// Where the lookups contradict an offset that the operator gave, both may be meant: the times become as wide as
    /// both, so that nothing is claimed that holds by one of the clocks only.
    fn doubt(&mut self, offset: &Offset, origins: &[Origin]) {
        let is_given = |id: OriginId| {
            origins.get(id.0 as usize).is_some_and(|origin| origin.clock_offset_ns.value().is_some())
        };
        if !is_given(offset.origin) && !is_given(offset.reference) {
            return;
        }
        let (own, reference) = (self.of(offset.origin), self.of(offset.reference));
        let lo = own.0.saturating_sub(reference.1).saturating_sub(offset.bounds.1);
        let hi = own.1.saturating_sub(reference.0).saturating_sub(offset.bounds.0);
        if lo <= WIDTH && hi >= -WIDTH {
            return;
        }
        // What each would be by the other.
        let by_reference =
            (reference.0.saturating_add(offset.bounds.0), reference.1.saturating_add(offset.bounds.1));
        let by_own = (own.0.saturating_sub(offset.bounds.1), own.1.saturating_sub(offset.bounds.0));
        for (id, other) in [(offset.origin, by_reference), (offset.reference, by_own)] {
            if let Some(slot) = self.by_origin.get_mut(id.0 as usize) {
                *slot = (slot.0.min(other.0), slot.1.max(other.1));
            }
        }
        self.contradicted.push(offset.clone());
    }

    /// Makes an origin's times wider by what its clock may be off besides.
    pub fn widen(&mut self, origin: OriginId, (lo, hi): (i64, i64)) {
        if let Some(slot) = self.by_origin.get_mut(origin.0 as usize) {
            *slot = (slot.0.saturating_add(lo), slot.1.saturating_add(hi));
        }
    }

    /// Offsets found that contradict what the operator gave.
    #[must_use]
    pub fn contradicted(&self) -> &[Offset] {
        &self.contradicted
    }

    /// The offset applied to an origin, nanoseconds (lowest, highest).
    #[must_use]
    pub fn of(&self, origin: OriginId) -> (i64, i64) {
        self.by_origin.get(origin.0 as usize).copied().unwrap_or((0, 0))
    }

    /// Moves an observation's times to the reference clock. `query_time` moves with the low end, so that it keeps
    /// its place in the interval of the query's own record.
    pub fn apply(&self, observation: &mut Observation) {
        let (lo, hi) = self.of(observation.origin);
        if (lo, hi) == (0, 0) {
            return;
        }
        if let ObservedAt::Known(interval, _) = &mut observation.at {
            interval.lo = interval.lo.plus(lo);
            interval.hi = interval.hi.plus(hi).max(interval.lo);
        }
        if let Event::Dns(dns) = &mut observation.event
            && let Some(time) = &mut dns.query_time
        {
            *time = Nanos(time.0.saturating_add(lo));
        }
    }
}

#[cfg(test)]
#[path = "clock_tests.rs"]
mod tests;
