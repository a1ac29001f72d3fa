//! Whether a client's denied cluster names stand for themselves, or are steps of search lists whose other steps are not in
//! the evidence: stubs open a new socket for each suffix, so the steps of one walk come to different replicas, and not
//! every replica's log need be at hand.
//!
//! Enters: intents; leaves: whether an intent is such a lone name, and whether the client's lone names may be counted.
//! Deliberately absent: how many servers the cluster has; what the client asks tells enough, and no claim may depend on
//! objects being left out.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use truename_model::{Intent, IntentOutcome, Judged, Name, Rcode};

use super::bounded::Table;
use super::names::{ClusterName, is_tld};
use super::who::Who;

// Where a head was asked.
const IN_NAMESPACE: u8 = 1;
const IN_SVC: u8 = 2;
const IN_ZONE: u8 = 4;
const AS_GIVEN: u8 = 8;
const PLACES: u8 = 15;
/// As given it exists.
const RESOLVED: u8 = 16;
/// It was denied below the cluster's zone, alone.
const LONE: u8 = 32;
/// Its head ends in a top-level domain.
const PUBLIC: u8 = 64;

/// Heads kept of each generation: minutes of a busy cluster, where a walk takes seconds.
const HEADS_MAX: usize = 1 << 17;
/// Clients whose lone names are counted.
const CLIENTS_MAX: usize = 1 << 15;
/// One lone name of so many that turns out to be a step is enough to count none: where one replica of this many is in
/// the evidence, as large a part of them is seen twice.
const SHARE: u32 = 32;

#[derive(Clone, Copy, Debug, Default)]
struct Lone {
    all: u32,
    steps: u32,
}

/// What was asked of late, by client and by what stands in front of a suffix.
#[derive(Debug)]
pub(crate) struct Walks {
    young: HashMap<u64, u8, FixedState>,
    old: HashMap<u64, u8, FixedState>,
    lone: Table<Who, Lone>,
}

impl Walks {
    pub(crate) fn new() -> Self {
        let map = || HashMap::with_hasher(FixedState::default());
        Self { young: map(), old: map(), lone: Table::new(CLIENTS_MAX) }
    }

    /// Takes an intent; true if it is a denied name below the cluster's zone that may be a step of a walk.
    pub(crate) fn observe(&mut self, who: &Who, intent: &Intent, zone: &Name) -> bool {
        let lone = lone_name(intent, zone);
        let resolved = matches!(intent.outcome, IntentOutcome::ResolvedAbsolute);
        let client = FixedState::default().hash_one(who);
        let mut names: Vec<&Name> =
            intent.steps.iter().map(|step| &step.transaction.question.name).take(8).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            if !name.is_at_or_below(zone) {
                let found = if resolved && *name == intent.base { RESOLVED } else { 0 };
                self.mark(who, client ^ name.stable_hash(), AS_GIVEN | found);
                continue;
            }
            for (head, place, public) in heads(name, zone) {
                let own = match lone {
                    Some(place_of) if place_of == place && public => LONE | PUBLIC,
                    Some(place_of) if place_of == place => LONE,
                    _ => 0,
                };
                self.mark(who, client ^ head, place | own);
            }
        }
        lone.is_some()
    }

    /// True unless too many of the client's lone names were asked another way as well.
    pub(crate) fn stand_alone(&self, who: &Who) -> bool {
        self.lone.get(who).is_none_or(|lone| lone.steps.saturating_mul(SHARE) <= lone.all)
    }

    fn mark(&mut self, who: &Who, key: u64, flags: u8) {
        let before = self.young.get(&key).or_else(|| self.old.get(&key)).copied().unwrap_or(0);
        let after = before | flags;
        if after == before && self.young.contains_key(&key) {
            return;
        }
        if self.young.len() >= HEADS_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, after);
        let (new, step) = (is_lone(after) && !is_lone(before), is_step(after) && !is_step(before));
        if new || step {
            let lone = self.lone.slot(who.clone(), Lone::default);
            lone.all = lone.all.saturating_add(u32::from(new));
            lone.steps = lone.steps.saturating_add(u32::from(step));
        }
    }
}

fn is_lone(flags: u8) -> bool {
    flags & LONE != 0
}

/// A public name with a suffix behind it is no service, whatever came of the public name; of any other name only that it
/// exists as given tells.
fn is_step(flags: u8) -> bool {
    let elsewhere = flags & PUBLIC != 0 && (flags & PLACES).count_ones() > 1;
    is_lone(flags) && (elsewhere || flags & RESOLVED != 0)
}

/// The place of the one name that was asked, if it lies below the zone and was denied.
fn lone_name(intent: &Intent, zone: &Name) -> Option<u8> {
    let denied = |step: &Arc<Judged>| step.transaction.rcode() == Some(Rcode::NXDOMAIN);
    let name = &intent.steps.first()?.transaction.question.name;
    let one = intent.queries <= 2
        && intent.steps.iter().all(|step| step.transaction.question.name == *name && denied(step));
    if !one || !name.is_at_or_below(zone) {
        return None;
    }
    Some(if ClusterName::parse(name, zone)?.service().is_some() { IN_SVC } else { IN_ZONE })
}

/// What of a name below the zone may be a name of its own, of at least two labels: (hash, place, whether it ends in a
/// top-level domain).
fn heads(name: &Name, zone: &Name) -> impl Iterator<Item = (u64, u8, bool)> {
    let above = name.label_count().saturating_sub(zone.label_count());
    let labels: Vec<&[u8]> = name.labels().take(above).collect();
    let is_svc = labels.last().is_some_and(|label| *label == b"svc");
    let cuts: &[(usize, u8)] = if is_svc { &[(1, IN_SVC), (2, IN_NAMESPACE)] } else { &[(0, IN_ZONE)] };
    let hashes: Vec<u64> = name.prefixes().map(|(_, hash)| hash).take(above + 1).collect();
    let found: Vec<(u64, u8, bool)> = cuts
        .iter()
        .filter_map(|(behind, place)| {
            let len = above.checked_sub(*behind).filter(|len| *len >= 2)?;
            Some((*hashes.get(len)?, *place, is_tld(labels.get(len - 1)?)))
        })
        .collect();
    found.into_iter()
}
