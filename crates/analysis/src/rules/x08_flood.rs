//! X08: many different names below one domain, nearly all denied; a client that fails at a high rate; a flood of
//! denied names in the cluster zone.
//!
//! Enters: intents; leaves: one draft per zone or client. Deliberately absent: the same few names denied again and
//! again, which is a broken dependency.

use std::collections::{BTreeMap, VecDeque};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use truename_model::{Intent, IntentOutcome, Name, Nanos, ObservedAt, RuleMeta, Severity};

use super::bounded::{Table, Tally, limit, limit_ns};
use super::lookup;
use super::names::{is_public, registrable, shown};
use super::who::Who;
use crate::facts::{Context, Draft, Fact, Rule};

/// Events of one zone kept in the window.
const WINDOW_MAX: usize = 8_192;
/// Zones followed; the one asked longest ago is forgotten.
const ZONES: usize = 2_048;
/// Clients named per zone.
const CLIENTS_MAX: usize = 256;

#[derive(Debug, Default)]
struct Zone {
    window: VecDeque<(Nanos, u64, bool)>,
    names: HashMap<u64, u32, FixedState>,
    failed: usize,
    unique_most: usize,
    share: f64,
    clients: BTreeMap<Who, u64>,
    tally: Tally,
    // Cluster zone only: denied intents per second.
    seconds: VecDeque<(i64, u32)>,
    flooded: bool,
}

#[derive(Debug, Default)]
struct Second {
    second: i64,
    failed: u32,
    all: u32,
    most: u32,
    tally: Tally,
}

/// The rule.
pub(crate) struct Flood {
    meta: RuleMeta,
    zones: Table<Box<[u8]>, Zone>,
    clients: Table<Who, Second>,
    since: Option<Nanos>,
}

impl Flood {
    pub(crate) fn new(meta: RuleMeta) -> Self {
        Self { meta, zones: Table::new(ZONES), clients: Table::new(4_096), since: None }
    }

    fn intent(&mut self, intent: &Intent, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let failed = matches!(intent.outcome, IntentOutcome::NxDomain | IntentOutcome::ServFail);
        let zone = cx.knowledge.cluster_domain();
        let at = intent.from.lo;
        let in_cluster = zone.as_ref().is_some_and(|zone| intent.base.is_at_or_below(zone));
        let domain = match (&zone, in_cluster) {
            (Some(zone), true) => zone.wire(),
            _ if is_public(&intent.base, zone.as_ref(), cx.profile) => match registrable(&intent.base) {
                Some((domain, _)) => domain,
                None => return,
            },
            _ => return,
        };
        self.client(intent, failed, at);
        let key: Box<[u8]> = Box::from(domain);
        // A zone is followed from its first failure on.
        if !failed && self.zones.get(&key).is_none() {
            return;
        }
        let mut evicted = Vec::new();
        let zone = self.zones.entry(key, Zone::default, &mut evicted);
        push(zone, at, intent.base.stable_hash(), failed, limit_ns(&self.meta, "window_secs"));
        if failed {
            name(zone, intent);
            let unique = zone.names.len();
            let share = zone.failed as f64 / zone.window.len().max(1) as f64;
            let dense = unique as f64 >= limit(&self.meta, "unique");
            let fast = !in_cluster || cluster_rate(&self.meta, zone, at);
            if dense && fast && share >= limit(&self.meta, "failed_ratio") {
                zone.flooded = true;
                if unique > zone.unique_most {
                    (zone.unique_most, zone.share) = (unique, share);
                }
            }
        }
        for (key, zone) in evicted {
            self.close(&key, zone, cx, out);
        }
    }

    /// Failures of one client per second, whatever the zones.
    fn client(&mut self, intent: &Intent, failed: bool, at: Nanos) {
        let who = Who::new(&intent.attribution, Some(intent.client));
        if !failed && self.clients.get(&who).is_none() {
            return;
        }
        let second = self.clients.slot(who, Second::default);
        let now = at.0.div_euclid(1_000_000_000);
        if second.second != now {
            (second.second, second.failed, second.all) = (now, 0, 0);
        }
        second.all += 1;
        second.failed += u32::from(failed);
        let dense = f64::from(second.failed) >= limit(&self.meta, "client_per_sec");
        if dense && f64::from(second.failed) / f64::from(second.all) >= limit(&self.meta, "failed_ratio") {
            second.most = second.most.max(second.failed);
            cite(&mut second.tally, intent);
        }
    }

    fn close(&self, key: &[u8], zone: Zone, cx: &Context<'_>, out: &mut Vec<Draft>) -> Option<Who> {
        if !zone.flooded {
            return None;
        }
        let target = Name::from_wire(key).map(|name| shown(&name)).unwrap_or_default();
        let all: u64 = zone.clients.values().sum();
        let top = zone.clients.iter().max_by_key(|(_, count)| **count).filter(|(_, count)| **count * 2 > all);
        let title = format!("Flood of names that do not exist below {target}");
        let mut draft = Draft::new(&self.meta.id, Severity::High, title);
        zone.tally.fill(&mut draft);
        draft.why = format!(
            "At most {} different names within the window, {:.0} % of the questions failed, {} clients asked.",
            zone.unique_most,
            zone.share * 100.0,
            zone.clients.len()
        );
        let asked_by = top.map(|(who, _)| who.clone());
        draft.subject = asked_by.as_ref().map_or_else(|| format!("zone {target}"), Who::text);
        draft.workload = asked_by.as_ref().and_then(Who::workload);
        let in_cluster = cx.knowledge.cluster_domain().is_some_and(|zone| zone.wire() == key);
        let hour =
            draft.seen.zip(self.since).is_some_and(|(seen, since)| seen.hi.since(since) >= 3_600_000_000_000);
        if in_cluster && !hour {
            draft.severity = draft.severity.lowered();
            draft.graded.push("baseline: less than an hour".to_owned());
        }
        draft.target = target;
        out.push(draft);
        asked_by
    }

    fn close_client(&self, who: &Who, second: Second, out: &mut Vec<Draft>) {
        if second.most == 0 {
            return;
        }
        let title = format!("{} fails {} times per second", who.text(), second.most);
        let mut draft = Draft::new(&self.meta.id, Severity::High, title);
        second.tally.fill(&mut draft);
        draft.subject = who.text();
        draft.workload = who.workload();
        draft.target = ".".to_owned();
        draft.why = format!("{} failed lookups within one second, over several zones.", second.most);
        out.push(draft);
    }
}

fn push(zone: &mut Zone, at: Nanos, name: u64, failed: bool, window_ns: i64) {
    zone.window.push_back((at, name, failed));
    zone.failed += usize::from(failed);
    if failed {
        *zone.names.entry(name).or_default() += 1;
    }
    while let Some(&(then, old, old_failed)) = zone.window.front() {
        if at.since(then) <= window_ns && zone.window.len() <= WINDOW_MAX {
            break;
        }
        zone.window.pop_front();
        if old_failed {
            zone.failed -= 1;
            if let Some(count) = zone.names.get_mut(&old) {
                *count -= 1;
                if *count == 0 {
                    zone.names.remove(&old);
                }
            }
        }
    }
}

fn name(zone: &mut Zone, intent: &Intent) {
    let who = Who::new(&intent.attribution, Some(intent.client));
    if zone.clients.len() < CLIENTS_MAX || zone.clients.contains_key(&who) {
        *zone.clients.entry(who).or_default() += 1;
    }
    cite(&mut zone.tally, intent);
}

fn cite(tally: &mut Tally, intent: &Intent) {
    let step = intent.steps.last().map(|step| &step.transaction);
    let record = step.and_then(|step| lookup::record(step));
    tally.add(step.map_or(ObservedAt::None, |step| lookup::at(step)), record, || {
        format!("failed: {}", shown(&intent.base))
    });
}

/// More denied intents in this second than the catalogue's rate and than the median second of the hour allows.
fn cluster_rate(meta: &RuleMeta, zone: &mut Zone, at: Nanos) -> bool {
    let now = at.0.div_euclid(1_000_000_000);
    match zone.seconds.back_mut() {
        Some((second, count)) if *second == now => *count += 1,
        _ => zone.seconds.push_back((now, 1)),
    }
    while zone.seconds.front().is_some_and(|(second, _)| now - second > 3_600) {
        zone.seconds.pop_front();
    }
    let current = zone.seconds.back().map_or(0, |(_, count)| *count);
    if f64::from(current) < limit(meta, "cluster_per_sec") {
        return false;
    }
    let mut counts: Vec<u32> = zone.seconds.iter().rev().skip(1).map(|(_, count)| *count).collect();
    counts.sort_unstable();
    // Seconds without any denied name count as zero, so the median is over the whole hour.
    let quiet = 3_600usize.saturating_sub(counts.len());
    let median = if quiet >= 1_800 { 0 } else { counts.get(1_800 - quiet).copied().unwrap_or(0) };
    f64::from(current) > limit(meta, "cluster_factor") * f64::from(median)
}

impl Rule for Flood {
    fn meta(&self) -> &RuleMeta {
        &self.meta
    }

    fn observe(&mut self, fact: &Fact<'_>, cx: &Context<'_>, out: &mut Vec<Draft>) {
        if let Fact::Intent(intent) = fact {
            self.since.get_or_insert(intent.from.lo);
            self.intent(intent, cx, out);
        }
    }

    fn finish(&mut self, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let mut named = Vec::new();
        for (key, zone) in self.zones.drain() {
            named.extend(self.close(&key, zone, cx, out));
        }
        for (who, second) in self.clients.drain() {
            if !named.contains(&who) {
                self.close_client(&who, second, out);
            }
        }
    }

    fn evictions(&self) -> u64 {
        self.zones.evictions() + self.clients.evictions()
    }
}
