//! Observations of many items as one stream in order of time.
//!
//! Enters: chunks of each item, nearly in order; leaves: observations ordered by (time, item, ordinal, position).
//! An item is trusted to be out of order by at most [`SLACK_NS`]; what comes later than that is still given out, and
//! counted. Observations without time are left to a second pass of the caller, so that they need no memory here.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use truename_model::{Nanos, Observation};

/// How far an item may be out of order: a server gives up on an upstream after 2 to 5 s and reports it then.
pub const SLACK_NS: i64 = 6 * truename_model::time::SECOND;

/// Most observations held back. A denser stream is released early, which is counted.
const HELD_MAX: usize = 400_000;

/// With more items than this a look at the head of each costs more than the heap, which then holds all.
const RUNS_MAX: usize = 16;

/// Place of an observation in the merged order: (time, item, ordinal, position in its record, slot).
type Key = (i64, u32, u64, u32, u32);

/// Place in the merged order: (time, item, ordinal, position).
type Place = (i64, u32, u64, u32);

/// What one item gave in order: chunks as they came, so that nothing moves before it is given out.
type InOrder = VecDeque<std::vec::IntoIter<Observation>>;

/// The merger. One per cluster and run.
#[derive(Debug)]
pub struct Merge {
    // Items in the caller's numbering; a frontier is the greatest time seen minus the slack.
    frontiers: Vec<Frontier>,
    // Only what came out of order needs the heap.
    runs: Vec<InOrder>,
    // The place of the last observation of each run: (time, item, ordinal, position).
    last: Vec<Option<Place>>,
    held: usize,
    heap: BinaryHeap<Reverse<Key>>,
    // Slots of observations in the heap; free slots are listed in `free`.
    slots: Vec<Option<Observation>>,
    free: Vec<u32>,
    released_to: i64,
    late: u64,
    forced: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frontier {
    // No observation with a time yet.
    Unknown,
    At(i64),
    Ended,
}

impl Merge {
    /// A merger of `items` items.
    #[must_use]
    pub fn new(items: usize) -> Self {
        Self {
            frontiers: vec![Frontier::Unknown; items],
            runs: (0..if items > RUNS_MAX { 0 } else { items }).map(|_| InOrder::new()).collect(),
            last: vec![None; items],
            held: 0,
            heap: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            released_to: i64::MIN,
            late: 0,
            forced: 0,
        }
    }

    /// The item whose next chunk is needed before anything more can be released; `None` when all have ended.
    #[must_use]
    pub fn wants(&self) -> Option<usize> {
        let key = |frontier: &Frontier| match frontier {
            Frontier::Unknown => Some(i64::MIN),
            Frontier::At(at) => Some(*at),
            Frontier::Ended => None,
        };
        let open =
            self.frontiers.iter().enumerate().filter_map(|(item, frontier)| Some((key(frontier)?, item)));
        open.min().map(|(_, item)| item)
    }

    /// Takes a chunk of an item. Observations without a time must have been taken out.
    pub fn push(&mut self, item: usize, mut chunk: Vec<Observation>) {
        let (mut greatest, mut before, mut position) = (i64::MIN, None, 0u32);
        let runs = item < self.runs.len();
        let mut strays = Vec::new();
        chunk.retain_mut(|observation| {
            let Some(interval) = observation.at.interval() else { return false };
            let Nanos(at) = interval.lo;
            greatest = greatest.max(at);
            self.late += u64::from(at < self.released_to);
            let record = observation.record;
            position = if before == Some(record) { position + 1 } else { 0 };
            before = Some(record);
            let place = (at, record.item, record.ordinal, position);
            self.held += 1;
            if runs && self.last[item].is_none_or(|last| last < place) {
                self.last[item] = Some(place);
                return true;
            }
            strays.push((place, observation.clone()));
            false
        });
        for ((at, record, ordinal, position), observation) in strays {
            let slot = self.store(observation);
            self.heap.push(Reverse((at, record, ordinal, position, slot)));
        }
        if !chunk.is_empty() {
            self.runs[item].push_back(chunk.into_iter());
        }
        if greatest != i64::MIN {
            let reached = greatest.saturating_sub(SLACK_NS);
            let frontier = &mut self.frontiers[item];
            *frontier = match *frontier {
                Frontier::At(old) => Frontier::At(old.max(reached)),
                Frontier::Unknown => Frontier::At(reached),
                Frontier::Ended => Frontier::Ended,
            };
        }
    }

    /// The item has no more chunks.
    pub fn end(&mut self, item: usize) {
        self.frontiers[item] = Frontier::Ended;
    }

    /// Moves everything that nothing can precede any more to `out`.
    pub fn release(&mut self, out: &mut Vec<Observation>) {
        let mut limit = i64::MAX;
        for frontier in &self.frontiers {
            match frontier {
                Frontier::Unknown => limit = i64::MIN,
                Frontier::At(at) => limit = limit.min(*at),
                Frontier::Ended => {}
            }
        }
        while let Some((at, from)) = self.first() {
            let crowded = self.held > HELD_MAX;
            if at >= limit && limit != i64::MAX && !crowded {
                break;
            }
            self.forced += u64::from(at >= limit && limit != i64::MAX);
            self.released_to = self.released_to.max(at);
            self.held -= 1;
            match from {
                Some(item) => {
                    let run = &mut self.runs[item];
                    out.extend(run.front_mut().and_then(Iterator::next));
                    if run.front().is_some_and(|chunk| chunk.as_slice().is_empty()) {
                        run.pop_front();
                    }
                }
                None => {
                    let Some(Reverse((.., slot))) = self.heap.pop() else { break };
                    out.extend(self.slots[slot as usize].take());
                    self.free.push(slot);
                }
            }
        }
    }

    /// The time of the earliest observation held, and the run that it heads; `None`: the heap has it.
    fn first(&self) -> Option<(i64, Option<usize>)> {
        // A run holds one item, so places of two runs differ before the position does.
        let place = |(item, run): (usize, &InOrder)| {
            let head = run.front()?.as_slice().first()?;
            Some(((head.at.interval()?.lo.0, head.record.item, head.record.ordinal, 0), Some(item)))
        };
        let heads = self.runs.iter().enumerate().filter_map(place);
        let heap = self
            .heap
            .peek()
            .map(|Reverse((at, item, ordinal, position, _))| ((*at, *item, *ordinal, *position), None));
        heads.chain(heap).min_by_key(|(key, _)| *key).map(|(key, from)| (key.0, from))
    }

    /// Observations that came out of order beyond the slack, and those released early for want of room.
    #[must_use]
    pub fn disorder(&self) -> (u64, u64) {
        (self.late, self.forced)
    }

    fn store(&mut self, observation: Observation) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(observation);
            return slot;
        }
        self.slots.push(Some(observation));
        // HELD_MAX plus one chunk bounds the slots far below 2^32.
        (self.slots.len() - 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use truename_model::{ClockBasis, Event, Interval, ObservedAt, OriginId, RecordRef};

    fn at(item: u32, ordinal: u64, ns: i64) -> Observation {
        Observation {
            record: RecordRef { item, ordinal },
            at: ObservedAt::Known(Interval::at(Nanos(ns)), ClockBasis::Packet),
            origin: OriginId(0),
            event: Event::Ignored("test"),
        }
    }

    fn run(items: &[Vec<i64>], chunk: usize) -> (Vec<(i64, u32, u64)>, (u64, u64)) {
        let mut merge = Merge::new(items.len());
        let mut next = vec![0usize; items.len()];
        let mut out = Vec::new();
        while let Some(item) = merge.wants() {
            let from = next[item];
            let to = (from + chunk).min(items[item].len());
            let batch: Vec<_> = (from..to).map(|n| at(item as u32, n as u64, items[item][n])).collect();
            if batch.is_empty() {
                merge.end(item);
            }
            next[item] = to;
            merge.push(item, batch);
            merge.release(&mut out);
        }
        let order =
            out.iter().map(|o| (o.at.interval().unwrap().lo.0, o.record.item, o.record.ordinal)).collect();
        (order, merge.disorder())
    }

    #[test]
    fn what_is_later_than_the_slack_is_counted_and_not_lost() {
        let (order, (late, _)) = run(&[vec![0, 100 * SLACK_NS, 102 * SLACK_NS, 1]], 1);
        assert_eq!(order.len(), 4);
        assert_eq!(late, 1);
    }

    proptest! {
        /// For items in order up to the slack, any chunking gives the sorted whole.
        #[test]
        fn the_merged_order_is_the_sorted_order(
            items in prop::collection::vec(prop::collection::vec(0i64..40_000_000_000, 0..40), 0..5),
            chunk in 1usize..7,
        ) {
            let mut items = items;
            for item in &mut items {
                item.sort_unstable();
                // Disorder within the slack: swap neighbours less than 6 s apart.
                for n in (1..item.len()).step_by(2) {
                    if item[n] - item[n - 1] < SLACK_NS { item.swap(n - 1, n); }
                }
            }
            let (order, _) = run(&items, chunk);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(order.len(), items.iter().map(Vec::len).sum::<usize>());
            prop_assert_eq!(order, sorted);
        }
    }
}
