//! Bounded memory for rules: tables that forget their oldest entry, evidence lists that stop growing, windows.
//!
//! Enters: keys, records, instants; leaves: counts and drafts. What is forgotten is handed back and counted.

use std::collections::{BTreeSet, VecDeque};
use std::hash::Hash;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use truename_model::{Interval, Nanos, ObjectRef, ObservedAt, RecordRef, RuleMeta};

use crate::facts::Draft;

/// Pieces of evidence that one draft cites; `count` is the whole number.
pub(crate) const EVIDENCE_MAX: usize = 64;
/// Victims that one draft names.
pub(crate) const VICTIMS_MAX: usize = 256;

/// A table with a fixed capacity. When it is full, the eighth that was touched longest ago is handed back.
#[derive(Debug)]
pub(crate) struct Table<K, V> {
    map: HashMap<K, (u64, V), FixedState>,
    capacity: usize,
    tick: u64,
    evictions: u64,
}

impl<K: Hash + Ord + Clone, V> Table<K, V> {
    /// An empty table.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            map: HashMap::with_hasher(FixedState::default()),
            capacity: capacity.max(8),
            tick: 0,
            evictions: 0,
        }
    }

    /// The entry of `key`, made if absent; entries pushed out by it are appended to `evicted`, in order of key.
    pub(crate) fn entry(&mut self, key: K, make: impl FnOnce() -> V, evicted: &mut Vec<(K, V)>) -> &mut V {
        if self.map.len() >= self.capacity && !self.map.contains_key(&key) {
            self.evict(evicted);
        }
        self.tick += 1;
        let tick = self.tick;
        let slot = self.map.entry(key).or_insert_with(|| (tick, make()));
        slot.0 = tick;
        &mut slot.1
    }

    /// As [`Table::entry`] where nothing is to be done for what is pushed out.
    pub(crate) fn slot(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.entry(key, make, &mut Vec::new())
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key).map(|(_, value)| value)
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.map.remove(key).map(|(_, value)| value)
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.map.retain(|key, (_, value)| keep(key, value));
    }

    /// Everything, in order of key: the map's own order must reach no output.
    pub(crate) fn drain(&mut self) -> Vec<(K, V)> {
        let mut all: Vec<(K, V)> = self.map.drain().map(|(key, (_, value))| (key, value)).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    pub(crate) fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Forgets whole entries, those of least weight first and of these the one touched longest ago, until no more than
    /// `keep` of weight is left.
    pub(crate) fn evict_lightest(
        &mut self,
        keep: usize,
        weight: impl Fn(&V) -> usize,
        evicted: &mut Vec<(K, V)>,
    ) {
        let mut order: Vec<(usize, u64, K)> =
            self.map.iter().map(|(key, (tick, value))| (weight(value), *tick, key.clone())).collect();
        order.sort_unstable_by_key(|(weight, tick, _)| (*weight, *tick));
        let mut all: usize = order.iter().map(|(weight, ..)| weight).sum();
        for (weight, _, key) in order {
            if all <= keep {
                break;
            }
            all = all.saturating_sub(weight);
            if let Some(value) = self.remove(&key) {
                evicted.push((key, value));
                self.evictions += 1;
            }
        }
    }

    /// Forgets the eighth that was touched longest ago.
    pub(crate) fn evict(&mut self, evicted: &mut Vec<(K, V)>) {
        let mut ticks: Vec<u64> = self.map.values().map(|(tick, _)| *tick).collect();
        ticks.sort_unstable();
        let Some(&limit) = ticks.get(ticks.len().min(self.capacity) / 8) else { return };
        let from = evicted.len();
        evicted
            .extend(self.map.extract_if(|_, (tick, _)| *tick <= limit).map(|(key, (_, value))| (key, value)));
        evicted[from..].sort_by(|a, b| a.0.cmp(&b.0));
        self.evictions += (evicted.len() - from) as u64;
    }
}

/// What an alarm cites and whom it befell, in bounded memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    pub(crate) seen: Option<Interval>,
    pub(crate) evidence: Vec<(Option<Nanos>, RecordRef, String)>,
    pub(crate) victims: BTreeSet<String>,
    pub(crate) objects: BTreeSet<ObjectRef>,
}

impl Tally {
    /// Counts one event; its text is made only while there is room for it.
    pub(crate) fn add(&mut self, at: ObservedAt, record: Option<RecordRef>, shows: impl FnOnce() -> String) {
        self.count += 1;
        self.cite(at, record, shows);
    }

    /// Cites a record without counting an event.
    pub(crate) fn cite(&mut self, at: ObservedAt, record: Option<RecordRef>, shows: impl FnOnce() -> String) {
        let at = at.interval();
        if let Some(at) = at {
            self.seen = Some(self.seen.map_or(at, |seen| join(seen, at)));
        }
        if let Some(record) = record
            && self.evidence.len() < EVIDENCE_MAX
        {
            self.evidence.push((at.map(|at| at.lo), record, shows()));
        }
    }

    /// Names a client that received a false answer.
    pub(crate) fn victim(&mut self, text: String) {
        if self.victims.len() < VICTIMS_MAX {
            self.victims.insert(text);
        }
    }

    /// Puts everything into a draft.
    pub(crate) fn fill(self, draft: &mut Draft) {
        draft.count = self.count.max(1);
        draft.seen = self.seen;
        draft.evidence = self.evidence;
        draft.victims = self.victims.into_iter().collect();
        draft.objects = self.objects.into_iter().collect();
    }
}

/// The smallest interval that holds both.
pub(crate) fn join(a: Interval, b: Interval) -> Interval {
    Interval { lo: a.lo.min(b.lo), hi: a.hi.max(b.hi) }
}

/// A sliding window of instants, at most `capacity` of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window<T> {
    items: VecDeque<(Nanos, T)>,
}

impl<T> Window<T> {
    /// Adds an event and forgets those older than `span_ns` before it, or beyond `capacity`.
    pub(crate) fn push(&mut self, at: Nanos, item: T, span_ns: i64, capacity: usize) {
        self.items.push_back((at, item));
        while self.items.front().is_some_and(|(first, _)| at.since(*first) > span_ns)
            || self.items.len() > capacity
        {
            self.items.pop_front();
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Nanos, T)> {
        self.items.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }
}

/// A threshold of the catalogue; one that is missing can never be reached.
pub(crate) fn limit(meta: &RuleMeta, name: &str) -> f64 {
    meta.thresholds.get(name).copied().unwrap_or(f64::INFINITY)
}

/// A threshold in seconds as nanoseconds.
pub(crate) fn limit_ns(meta: &RuleMeta, name: &str) -> i64 {
    let secs = limit(meta, name);
    if secs.is_finite() { (secs.min(4e9) * 1e9) as i64 } else { 0 }
}

/// `part / whole`, 0 of nothing.
pub(crate) fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_hands_back_what_was_touched_longest_ago() {
        let mut table: Table<u32, u32> = Table::new(16);
        let mut evicted = Vec::new();
        for key in 0..16 {
            table.entry(key, || key, &mut evicted);
        }
        table.entry(0, || 99, &mut evicted);
        table.entry(100, || 100, &mut evicted);
        assert_eq!(evicted.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((table.evictions(), table.get(&0)), (3, Some(&0)));
    }

    #[test]
    fn the_lightest_are_forgotten_first() {
        let mut table: Table<u32, usize> = Table::new(64);
        for key in 0..20 {
            table.slot(key, || if key == 3 { 9 } else { 1 });
        }
        let mut evicted = Vec::new();
        table.evict_lightest(12, |weight| *weight, &mut evicted);
        assert_eq!(evicted.len(), 16);
        assert!(!evicted.iter().any(|(key, _)| [3, 17, 18, 19].contains(key)), "{evicted:?}");
        assert_eq!((table.get(&3), table.evictions()), (Some(&9), 16));
    }

    #[test]
    fn evidence_stops_growing_and_the_count_goes_on() {
        let mut tally = Tally::default();
        for n in 0..1_000 {
            let record = RecordRef { item: 0, ordinal: n };
            tally.add(ObservedAt::None, Some(record), String::new);
        }
        assert_eq!((tally.count, tally.evidence.len()), (1_000, EVIDENCE_MAX));
    }
}
