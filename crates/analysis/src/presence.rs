//! Whether the clock of recordings fits the cluster's: lookups from addresses that nobody held, and of servers that were
//! not there.
//!
//! Enters: lookups by origin, before any offset is applied, and the history of the objects; leaves: by how much the clock
//! may be off so that they fit. Other recordings show only how clocks differ from each other (`clock`); what ties them to
//! the API server's is that nobody asks from the address of a pod that is not there. Deliberately absent: the answers. One
//! that was right an hour ago is what a poisoner may tell, and must not be allowed to move the clock by which it is judged.

use std::collections::BTreeSet;
use std::net::IpAddr;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::hash::BuildHasher;
use truename_cluster::history::History;
use truename_cluster::history::timeline::Kind;
use truename_model::time::SECOND;
use truename_model::{Event, Interval, Observation, OriginId};

use crate::attribute::{LINE_LAG, SKEW};

/// Lookups remembered per origin; beyond it a smaller sample is kept.
const SAMPLE: usize = 1 << 12;
/// Fewer addresses whose lookups do not fit say nothing: one pod may outlive its object.
const MISFITS: usize = 2;
/// Clocks are tried that differ by up to this much: any zone taken for another, and its summer time.
const RANGE: i64 = 26 * 3_600 * SECOND;

/// Lookups of each origin, one per address and second at most.
#[derive(Debug, Default)]
pub struct Lookups {
    by_origin: HashMap<OriginId, Sample, FixedState>,
    hasher: FixedState,
}

#[derive(Debug, Default)]
struct Sample {
    seen: HashMap<(IpAddr, i64), Interval, FixedState>,
    mask: u64,
}

/// How the lookups of one clock fit the objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// Lookups for whose time the objects tell who was there.
    pub tested: usize,
    /// Of these, from addresses that nobody held, or of a server that was not there.
    pub misfits: usize,
    /// The clock may be off by so much before more of them do not fit, nanoseconds (lowest, highest).
    pub slack: (i64, i64),
    /// What to add to the times so that both the clock as it is and every better one is meant; `None` while it fits.
    pub doubt: Option<(i64, i64)>,
}

/// What is recorded by one clock.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Its origin.
    pub origin: OriginId,
    /// What is added to its times, nanoseconds (lowest, highest).
    pub offset: (i64, i64),
    /// When the server that wrote it existed, if the objects tell.
    pub server: Option<Interval>,
}

impl Lookups {
    /// Notes one observation; memory stays bounded.
    pub fn observe(&mut self, observation: &Observation) {
        let (Event::Dns(dns), Some(at)) = (&observation.event, observation.at.interval()) else { return };
        let Some(client) = dns.client else { return };
        let at = Interval { lo: dns.query_time.map_or(at.lo, |asked| asked.min(at.lo)), hi: at.hi };
        let key = (client.ip, at.lo.0.div_euclid(SECOND));
        let hash = self.hasher.hash_one(key);
        let sample = self.by_origin.entry(observation.origin).or_default();
        if hash & sample.mask != 0 {
            return;
        }
        sample.seen.entry(key).or_insert(at);
        while sample.seen.len() > SAMPLE {
            sample.mask = (sample.mask << 1) | 1;
            let (mask, hasher) = (sample.mask, &self.hasher);
            sample.seen.retain(|key, _| hasher.hash_one(key) & mask == 0);
        }
    }

    /// How the lookups of recordings that share a clock fit the objects.
    #[must_use]
    pub fn fit(&self, recordings: &[Recording], history: &History) -> Fit {
        let mut shifts = Shifts::default();
        let mut vacancies: HashMap<IpAddr, Option<Vec<Interval>>, FixedState> = HashMap::default();
        let mut misfits: BTreeSet<IpAddr> = BTreeSet::new();
        for recording in recordings {
            let Some(sample) = self.by_origin.get(&recording.origin) else { continue };
            for ((ip, _), at) in &sample.seen {
                let (lo, hi) = recording.offset;
                let at = Interval { lo: at.lo.plus(lo), hi: at.hi.plus(hi) }.widened(SKEW);
                if let Some(vacant) = vacancies.entry(*ip).or_insert_with(|| history.vacancies(*ip)) {
                    shifts.lookup(vacant, Interval { lo: at.lo.plus(-LINE_LAG), hi: at.hi }, history);
                }
                if let Some(life) = recording.server {
                    shifts.written(at, life);
                }
                let vacant = vacancies.get(ip).into_iter().flatten().flatten();
                let is_misfit = |gap: &Interval| gap.lo <= at.lo.plus(-LINE_LAG) && at.hi <= gap.hi;
                if vacant.into_iter().any(is_misfit)
                    || recording.server.is_some_and(|life| !life.overlaps(at))
                {
                    misfits.insert(*ip);
                }
            }
        }
        let mut fit = shifts.fit();
        fit.doubt = fit.doubt.filter(|_| misfits.len() >= MISFITS);
        fit
    }
}

/// For each shift of a clock, how many lookups would not fit and how many would be tested: where these counts change.
#[derive(Debug, Default)]
struct Shifts {
    // (shift, change of misfits, change of tested).
    steps: Vec<(i64, i64, i64)>,
}

/// A stretch of shifts with the same counts.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    lo: i64,
    hi: i64,
    misfits: i64,
    tested: i64,
}

impl Shifts {
    fn lookup(&mut self, vacant: &[Interval], at: Interval, history: &History) {
        let reach = at.widened(RANGE);
        let first = vacant.partition_point(|gap| gap.hi < reach.lo);
        let near = vacant.get(first..).unwrap_or_default().iter().take_while(|gap| gap.lo <= reach.hi);
        near.for_each(|gap| self.add(gap.lo.since(at.lo), gap.hi.since(at.hi), (1, 0)));
        for span in history.coverage().spans(Kind::Pod) {
            self.add(span.lo.since(at.lo), span.hi.since(at.hi), (0, 1));
        }
    }

    /// A server writes nothing before it is made or after it is gone.
    fn written(&mut self, at: Interval, life: Interval) {
        self.add(-RANGE, life.lo.since(at.hi).saturating_sub(1), (1, 0));
        self.add(life.hi.since(at.lo).saturating_add(1), RANGE, (1, 0));
        self.add(life.lo.since(at.hi), life.hi.since(at.lo), (0, 1));
    }

    fn add(&mut self, lo: i64, hi: i64, (misfits, tested): (i64, i64)) {
        let (lo, hi) = (lo.max(-RANGE), hi.min(RANGE));
        if lo <= hi {
            self.steps.extend([(lo, misfits, tested), (hi + 1, -misfits, -tested)]);
        }
    }

    fn stretches(mut self) -> Vec<Stretch> {
        self.steps.extend([(-RANGE, 0, 0), (0, 0, 0), (1, 0, 0)]);
        self.steps.sort_unstable();
        let mut stretches: Vec<Stretch> = Vec::new();
        let (mut misfits, mut tested) = (0, 0);
        for chunk in self.steps.chunk_by(|a, b| a.0 == b.0) {
            let lo = chunk[0].0;
            if let Some(last) = stretches.last_mut() {
                last.hi = lo - 1;
            }
            misfits += chunk.iter().map(|step| step.1).sum::<i64>();
            tested += chunk.iter().map(|step| step.2).sum::<i64>();
            stretches.push(Stretch { lo, hi: RANGE, misfits, tested });
        }
        stretches.retain(|stretch| stretch.lo <= RANGE);
        stretches
    }

    fn fit(self) -> Fit {
        let stretches = self.stretches();
        let Some(at) = stretches.iter().position(|stretch| stretch.lo == 0) else { return Fit::default() };
        let now = stretches[at];
        let as_good = |stretch: &&Stretch| stretch.misfits <= now.misfits;
        let lo = stretches[..=at].iter().rev().take_while(as_good).last().map_or(0, |stretch| stretch.lo);
        let hi = stretches[at..].iter().take_while(as_good).last().map_or(0, |stretch| stretch.hi);
        Fit {
            tested: usize::try_from(now.tested).unwrap_or(0),
            misfits: usize::try_from(now.misfits).unwrap_or(0),
            slack: (lo, hi),
            doubt: doubt(&stretches, now),
        }
    }
}

/// Zero and every shift by which most of what does not fit would; among these not such as leave the history, where nothing
/// can be wrong.
fn doubt(stretches: &[Stretch], now: Stretch) -> Option<(i64, i64)> {
    let fewest = stretches.iter().map(|stretch| stretch.misfits).min()?;
    if now.misfits == 0 || fewest * 2 > now.misfits {
        return None;
    }
    let good = |stretch: &&Stretch| stretch.misfits <= fewest + (now.misfits - fewest) / 4;
    let most = stretches.iter().filter(good).map(|stretch| stretch.tested).max()?;
    let held = |stretch: &&Stretch| stretch.tested * 4 >= most * 3;
    let best = || stretches.iter().filter(good).filter(held);
    let (lo, hi) = (best().map(|stretch| stretch.lo).min()?, best().map(|stretch| stretch.hi).max()?);
    Some((lo.min(0), hi.max(0)))
}

#[cfg(test)]
#[path = "presence_tests.rs"]
mod tests;
