//! Items whose lines lack the year or the zone (klog, syslog): a guess is tried, and kept only with a basis.
//!
//! Enters: what the first look at each item gave; leaves: year and zone by item, with a note each. The guess (the year
//! of everything else, UTC) becomes an inference only if lookups of the item are found in another source as well: then
//! the clock estimate corrects what the guess got wrong, and says so. Without that the lines stay without time, since a
//! wrong zone would name the wrong pod with confidence.

use std::collections::{BTreeMap, BTreeSet};

use truename_analysis::clock::Offset;
use truename_model::{Event, Observation, ObservedAt};

use crate::objects::Told;
use crate::plan::Plan;
use crate::replay::Decoding;

/// Which items have lines without a usable time, and which years everything else speaks of.
#[derive(Clone, Debug, Default)]
pub struct Timeless {
    items: BTreeSet<usize>,
    years: BTreeSet<i64>,
}

impl Timeless {
    /// Starts with the years that the objects tell.
    #[must_use]
    pub fn new(told: &[Told]) -> Self {
        let spans = told.iter().filter_map(|told| told.tally.span);
        Self { items: BTreeSet::new(), years: spans.map(|span| span.hi.civil().0).collect() }
    }

    /// Notes one observation of an item.
    pub fn note(&mut self, index: usize, observation: &Observation) {
        match (observation.at, &observation.event) {
            (ObservedAt::OrderOnly, Event::Dns(_)) => {
                self.items.insert(index);
            }
            (ObservedAt::Known(at, _), _) => {
                self.years.insert(at.hi.civil().0);
            }
            _ => {}
        }
    }

    /// The decoding with a guess for each such item; none if the rest speaks of no year or of several.
    #[must_use]
    pub fn trial(&self, decoding: &Decoding) -> Decoding {
        let mut trial = decoding.clone();
        if let (Some(first), Some(last)) = (self.years.first(), self.years.last())
            && first == last
            && let Ok(year) = i32::try_from(*first)
        {
            trial.inferred = self.items.iter().map(|index| (*index, (year, 0))).collect();
        }
        trial
    }
}

/// The guesses that the clock estimate bears out.
#[must_use]
pub fn confirmed(
    trial: &Decoding,
    found: &[Offset],
    plan: &Plan,
    notes: &mut Vec<String>,
) -> BTreeMap<usize, (i32, i32)> {
    let mut kept = BTreeMap::new();
    for (index, guess) in &trial.inferred {
        let path = &plan.items[*index].path;
        match found.iter().find(|offset| offset.origin.0 as usize == *index) {
            Some(Offset { bounds: (lo, hi), basis, .. }) => {
                kept.insert(*index, *guess);
                let seconds = (lo / 2 + hi / 2) as f64 / 1e9;
                notes.push(format!(
                    "{path}: lines without year or zone are taken for {} UTC and moved by {seconds:.1} s ({basis})",
                    guess.0
                ));
            }
            None => notes.push(format!(
                "{path}: lines without year or zone stay without time; --origin '{path}:tz=…,year=…' states them"
            )),
        }
    }
    kept
}
