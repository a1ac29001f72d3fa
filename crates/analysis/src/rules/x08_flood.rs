//! X08: many different first labels below one domain, nearly all denied; a client that asks at a high rate and is
//! nearly always denied; more denials in the whole cluster than its past hour allows.
//!
//! Enters: intents; leaves: one draft per zone or client, and one for the cluster where no zone and no client explains
//! it. Deliberately absent: steps of walks whose other steps are not in the evidence (see `walks`); the same few names denied again and again, which is a broken dependency, and reverse names,
//! whose sweeps are R01 and R02.

use std::collections::{BTreeMap, VecDeque};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use truename_model::{Intent, IntentOutcome, Name, Nanos, ObservedAt, RuleMeta, Severity};

use super::bounded::{Table, Tally, limit, limit_ns};
use super::lookup;
use super::names::{is_public, registrable, shown};
use super::walks::Walks;
use super::who::Who;
use crate::facts::{Context, Draft, Fact, Rule};

/// Events of one zone kept in the window.
const WINDOW_MAX: usize = 8_192;
/// Zones followed; the one asked longest ago is forgotten.
const ZONES: usize = 2_048;
/// Clients named per zone.
const CLIENTS_MAX: usize = 256;
const HOUR_SECS: i64 = 3_600;

#[derive(Debug, Default)]
struct Zone {
    window: VecDeque<(Nanos, u64, bool)>,
    names: HashMap<u64, u32, FixedState>,
    failed: usize,
    unique_most: usize,
    share: f64,
    clients: BTreeMap<Who, u64>,
    tally: Tally,
    flooded: bool,
}

/// Denied intents of the whole cluster.
#[derive(Debug, Default)]
struct Everyone {
    // Denials by second, of the past hour; seconds without any are absent.
    seconds: VecDeque<(i64, u32)>,
    // Rate that this second needs, computed once per second.
    needed: (i64, f64),
    most: f64,
    clients: BTreeMap<Who, u64>,
    tally: Tally,
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
    everyone: Everyone,
    walks: Walks,
    since: Option<Nanos>,
}

impl Flood {
    pub(crate) fn new(meta: RuleMeta) -> Self {
        Self {
            meta,
            zones: Table::new(ZONES),
            clients: Table::new(4_096),
            everyone: Everyone::default(),
            walks: Walks::new(),
            since: None,
        }
    }

    fn intent(&mut self, intent: &Intent, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let failed = matches!(intent.outcome, IntentOutcome::NxDomain | IntentOutcome::ServFail);
        let zone = cx.knowledge.cluster_domain();
        let at = intent.from.lo;
        if let Some(zone) = &zone {
            let who = Who::new(&intent.attribution, Some(intent.client));
            if self.walks.observe(&who, intent, zone) && !self.walks.stand_alone(&who) {
                return;
            }
        }
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
        if intent.outcome == IntentOutcome::NxDomain {
            everyone(&self.meta, &mut self.everyone, intent, at);
        }
        let key: Box<[u8]> = Box::from(domain);
        // A zone is followed from its first failure on.
        if !failed && self.zones.get(&key).is_none() {
            return;
        }
        let mut evicted = Vec::new();
        let zone = self.zones.entry(key, Zone::default, &mut evicted);
        push(zone, at, first_label(&intent.base), failed, limit_ns(&self.meta, "window_secs"));
        if failed {
            name(zone, intent);
            let unique = zone.names.len();
            let share = zone.failed as f64 / zone.window.len().max(1) as f64;
            if unique as f64 >= limit(&self.meta, "unique") && share >= limit(&self.meta, "failed_ratio") {
                zone.flooded = true;
                if unique > zone.unique_most {
                    (zone.unique_most, zone.share) = (unique, share);
                }
            }
        }
        for (key, zone) in evicted {
            self.close(&key, zone, out);
        }
    }

    /// Lookups of one client per second, whatever the zones, of which nearly all fail.
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
        let dense = f64::from(second.all) >= limit(&self.meta, "client_per_sec");
        if dense && f64::from(second.failed) / f64::from(second.all) >= limit(&self.meta, "failed_ratio") {
            second.most = second.most.max(second.all);
            cite(&mut second.tally, intent);
        }
    }

    fn close(&self, key: &[u8], zone: Zone, out: &mut Vec<Draft>) -> Option<Who> {
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
            "At most {} different first labels within the window, {:.0} % of the questions failed, {} clients asked.",
            zone.unique_most,
            zone.share * 100.0,
            zone.clients.len()
        );
        let asked_by = top.map(|(who, _)| who.clone());
        draft.subject = asked_by.as_ref().map_or_else(|| format!("zone {target}"), Who::text);
        draft.workload = asked_by.as_ref().and_then(Who::workload);
        draft.target = target;
        out.push(draft);
        asked_by
    }

    fn close_client(&self, who: &Who, second: Second, out: &mut Vec<Draft>) {
        if second.most == 0 {
            return;
        }
        let title =
            format!("{} asks {} times per second and is nearly always denied", who.text(), second.most);
        let mut draft = Draft::new(&self.meta.id, Severity::High, title);
        second.tally.fill(&mut draft);
        draft.subject = who.text();
        draft.workload = who.workload();
        draft.target = ".".to_owned();
        draft.why = format!("{} lookups within one second, over several zones.", second.most);
        out.push(draft);
    }

    /// The whole cluster, one grade lower without an hour to compare with.
    fn close_everyone(&mut self, out: &mut Vec<Draft>) {
        let Everyone { most, clients, tally, .. } = std::mem::take(&mut self.everyone);
        if most == 0.0 {
            return;
        }
        let title = "More names are denied in the whole cluster than before";
        let mut draft = Draft::new(&self.meta.id, Severity::High, title);
        tally.fill(&mut draft);
        draft.subject = "cluster".to_owned();
        draft.target = ".".to_owned();
        let top =
            clients.iter().max_by_key(|(_, count)| **count).map(|(who, _)| who.text()).unwrap_or_default();
        draft.why = format!(
            "{most:.0} denied lookups per second over the window, of {} clients; {top} was denied most often.",
            clients.len()
        );
        let past = draft.seen.zip(self.since).map_or(0, |(seen, since)| seen.lo.since(since) / 1_000_000_000);
        if past < HOUR_SECS {
            draft.severity = draft.severity.lowered();
            draft.graded.push(format!("baseline: {} min instead of an hour", past / 60));
        }
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

fn first_label(name: &Name) -> u64 {
    use std::hash::BuildHasher;
    FixedState::default().hash_one(name.labels().next().unwrap_or_default())
}

/// Denials per second over the window, against the catalogue's rate and the median second of the hour before.
fn everyone(meta: &RuleMeta, all: &mut Everyone, intent: &Intent, at: Nanos) {
    let now = at.0.div_euclid(1_000_000_000);
    let window = (limit_ns(meta, "window_secs") / 1_000_000_000).max(1);
    match all.seconds.back_mut() {
        // Intents come in order but for small skews; those count where they arrive.
        Some((second, count)) if *second >= now => *count = count.saturating_add(1),
        _ => all.seconds.push_back((now, 1)),
    }
    while all.seconds.front().is_some_and(|(second, _)| now - second > HOUR_SECS) {
        all.seconds.pop_front();
    }
    let inside = all.seconds.iter().rev().take_while(|(second, _)| now - second < window);
    let rate = inside.map(|(_, count)| f64::from(*count)).sum::<f64>() / window as f64;
    if rate <= limit(meta, "cluster_per_sec") {
        return;
    }
    if all.needed.0 != now {
        let median = median_before(&all.seconds, now - window);
        let needed = (limit(meta, "cluster_factor") * median).max(limit(meta, "cluster_per_sec"));
        all.needed = (now, needed);
    }
    if rate > all.needed.1 {
        all.most = all.most.max(rate);
        let who = Who::new(&intent.attribution, Some(intent.client));
        if all.clients.len() < CLIENTS_MAX || all.clients.contains_key(&who) {
            *all.clients.entry(who).or_default() += 1;
        }
        cite(&mut all.tally, intent);
    }
}

/// The median second of the hour that ends at `until`; seconds without denials count as zero.
fn median_before(seconds: &VecDeque<(i64, u32)>, until: i64) -> f64 {
    let mut counts: Vec<u32> =
        seconds.iter().filter(|(second, _)| *second <= until).map(|(_, count)| *count).collect();
    counts.sort_unstable();
    let (half, hour) = (HOUR_SECS as usize / 2, HOUR_SECS as usize);
    let quiet = hour.saturating_sub(counts.len());
    if quiet >= half { 0.0 } else { counts.get(half - quiet).map_or(0.0, |count| f64::from(*count)) }
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

    fn finish(&mut self, _: &Context<'_>, out: &mut Vec<Draft>) {
        let (mut named, from) = (Vec::new(), out.len());
        for (key, zone) in self.zones.drain() {
            named.extend(self.close(&key, zone, out));
        }
        for (who, second) in self.clients.drain() {
            if !named.contains(&who) {
                self.close_client(&who, second, out);
            }
        }
        if out.len() == from {
            self.close_everyone(out);
        }
    }

    fn evictions(&self) -> u64 {
        self.zones.evictions() + self.clients.evictions()
    }
}
