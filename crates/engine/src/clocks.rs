//! Whether the clocks of the recordings fit the cluster's, and what follows where they do not.
//!
//! Enters: lookups of every item, offsets between them, the objects; leaves: wider times for a clock that most of its
//! lookups speak against, and words for every clock. Between recordings and the API server no offset can be measured as
//! between two recordings: that both clocks are one is an assumption, which is told, and tested where pods come and go.

use std::collections::BTreeMap;

use truename_analysis::clock::{Offset, Offsets};
use truename_analysis::presence::{Fit, Lookups, Recording};
use truename_cluster::history::{CorefileHistory, History};
use truename_model::{Origin, OriginId};

use crate::belonging::{Servers, named};
use crate::plan::Plan;

/// Shifts beyond this are told as "any", nanoseconds.
const ANY: i64 = 24 * 3_600 * 1_000_000_000;

/// How the lookups of each item fit the objects of its cluster.
#[derive(Clone, Debug, Default)]
pub struct Fits {
    by_item: BTreeMap<usize, Fit>,
    /// What the reader must know.
    pub notes: Vec<String>,
}

/// What is known of the items before their clocks are tested.
pub struct Items<'a> {
    /// The items.
    pub plan: &'a Plan,
    /// Their origins.
    pub origins: &'a [Origin],
    /// Index of the cluster of each.
    pub of_item: &'a [Option<usize>],
    /// Offsets between them.
    pub found: &'a [Offset],
}

/// Tests every clock against the objects of its cluster, and widens the times of those that are contradicted.
#[must_use]
pub fn test(
    items: &Items<'_>,
    lookups: &Lookups,
    folded: &BTreeMap<usize, (History, CorefileHistory)>,
    offsets: &mut Offsets,
) -> Fits {
    let mut fits = Fits::default();
    for (cluster, (history, corefiles)) in folded {
        let servers = Servers::of(history, corefiles);
        let mut clocks: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for index in (0..items.plan.items.len()).filter(|index| items.of_item[*index] == Some(*cluster)) {
            if !items.plan.items[index].tells_objects() {
                clocks.entry(items.clock(index)).or_default().push(index);
            }
        }
        for group in clocks.values() {
            let recording = |index: &usize| Recording {
                origin: OriginId(*index as u32),
                offset: offsets.of(OriginId(*index as u32)),
                server: servers.as_ref().and_then(|servers| {
                    servers.life(named(&items.plan.items[*index].path, &items.origins[*index])?)
                }),
            };
            let recordings: Vec<Recording> = group.iter().map(recording).collect();
            let fit = lookups.fit(&recordings, history);
            if let Some(doubt) = fit.doubt {
                recordings.iter().for_each(|recording| offsets.widen(recording.origin, doubt));
                fits.notes.push(items.note(group, &fit, doubt));
            }
            fits.by_item.extend(group.iter().map(|index| (*index, fit.clone())));
        }
    }
    fits
}

impl Items<'_> {
    /// Names the clock of an item: items that were compared share one, and so do the logs of one server.
    fn clock(&self, index: usize) -> String {
        let found = self.found.iter().find(|offset| offset.origin.0 as usize == index);
        let reference = found.map_or(index, |offset| offset.reference.0 as usize);
        let server = self.origins.get(reference).and_then(|origin| origin.replica.value());
        server.map_or_else(|| format!("#{reference}"), |name| format!("server {name}"))
    }

    fn note(&self, group: &[usize], fit: &Fit, (lo, hi): (i64, i64)) -> String {
        let first = group.iter().map(|index| self.plan.items[*index].path.as_str()).min().unwrap_or_default();
        let more = if group.len() > 1 { format!(" and {} more", group.len() - 1) } else { String::new() };
        format!(
            "{first}{more}: {} lookups come from addresses that nobody held at their time, or from before or after the life \
             of the server that tells them. A clock that is off by {:.1} … {:.1} s would explain most of them: times are \
             taken to be as uncertain as that, and nothing is claimed that holds by one clock only. --origin \
             GLOB:offset=SECONDS states it",
            fit.misfits,
            seconds(lo),
            seconds(hi)
        )
    }
}

impl Fits {
    /// Bounds and basis of an item's clock: `found` is what other recordings tell.
    #[must_use]
    pub fn told(&self, index: usize, found: Option<(i64, i64, String)>) -> Option<(i64, i64, String)> {
        let Some(fit) = self.by_item.get(&index) else { return found };
        let (lo, hi, basis) = found.unwrap_or((0, 0, "no other recording to compare it with".to_owned()));
        let (less, more) = fit.doubt.unwrap_or((0, 0));
        Some((lo.saturating_add(less), hi.saturating_add(more), format!("{basis}; {}", words(fit))))
    }
}

/// What ties the clock to the API server's.
fn words(fit: &Fit) -> String {
    let end = |ns: i64| if ns.abs() >= ANY { "any".to_owned() } else { format!("{:+.1} s", seconds(ns)) };
    match (fit.doubt, fit.slack) {
        (Some(_), _) => format!("{} lookups contradict that it is the API server's", fit.misfits),
        _ if fit.tested == 0 => "assumed to be the API server's within 50 ms, nothing tests it".to_owned(),
        (None, (lo, hi)) if lo <= -ANY && hi >= ANY => {
            format!(
                "assumed to be the API server's within 50 ms, {} lookups fit that and any other",
                fit.tested
            )
        }
        (None, (lo, hi)) => format!(
            "assumed to be the API server's within 50 ms, {} lookups fit that and offsets from {} to {}",
            fit.tested.saturating_sub(fit.misfits),
            end(lo),
            end(hi)
        ),
    }
}

fn seconds(ns: i64) -> f64 {
    ns as f64 / 1e9
}
