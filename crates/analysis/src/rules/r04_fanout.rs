//! R04: a workload suddenly asks for services of many namespaces that are not its own.
//!
//! Enters: intents; leaves: one draft per workload, with its own past as the baseline. Deliberately absent: workloads
//! without a namespace of their own, and those that the profile calls infrastructure.

use std::collections::{BTreeMap, VecDeque};

use smallvec::SmallVec;
use truename_model::{Intent, IntentOutcome, Name, Nanos, ObservedAt, RuleMeta, Severity};

use super::bounded::{Table, Tally, limit, limit_ns};
use super::lookup;
use super::names::{ClusterName, shown};
use super::who::Who;
use crate::facts::{Context, Draft, Fact, Rule};

/// Foreign namespaces remembered per workload; more than that is a fan-out in any case.
const NAMESPACES_MAX: usize = 1_024;
/// Ten-minute buckets of 14 days.
const BUCKETS: usize = 2_016;

#[derive(Debug, Default)]
struct Client {
    recent: BTreeMap<Box<[u8]>, Nanos>,
    first: Option<Nanos>,
    // Number of the running bucket and the most namespaces of one window in it; the past buckets' most.
    bucket: (i64, u16),
    past: VecDeque<u16>,
    most: usize,
    needed: f64,
    tally: Tally,
}

/// The rule.
pub(crate) struct FanOut {
    meta: RuleMeta,
    clients: Table<Who, Client>,
    since: Option<Nanos>,
}

impl FanOut {
    pub(crate) fn new(meta: RuleMeta) -> Self {
        Self { meta, clients: Table::new(2_048), since: None }
    }

    fn intent(&mut self, intent: &Intent, zone: &Name, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let who = Who::new(&intent.attribution, Some(intent.client));
        let Some(namespace) = foreign_namespace(intent, zone, who.namespace()) else { return };
        let window = limit_ns(&self.meta, "window_secs").max(1);
        let factor = who.factor(limit(&self.meta, "node_factor"));
        let mut evicted = Vec::new();
        let client = self.clients.entry(who, Client::default, &mut evicted);
        let at = intent.from.lo;
        if note(client, namespace, at, window) {
            let step = intent.steps.first().map(|step| &step.transaction);
            let record = step.and_then(|step| lookup::first_record(step));
            let when = step.map_or(ObservedAt::None, |step| lookup::at(step));
            client.tally.add(when, record, || format!("asked for {}", shown(&intent.base)));
            check(&self.meta, client, at, window, factor);
        }
        for (who, client) in evicted {
            self.close(&who, client, cx, out);
        }
    }

    fn close(&self, who: &Who, client: Client, cx: &Context<'_>, out: &mut Vec<Draft>) {
        if client.most == 0 || who.is_infrastructure(cx.profile) {
            return;
        }
        let title = format!("{} asked for services of {} foreign namespaces", who.text(), client.most);
        let mut draft = Draft::new(&self.meta.id, Severity::Medium, title);
        client.tally.fill(&mut draft);
        draft.subject = who.text();
        draft.workload = who.workload();
        draft.target = cx.knowledge.cluster_domain().map(|zone| shown(&zone)).unwrap_or_default();
        draft.why =
            format!("{} namespaces within ten minutes; {:.0} were needed.", client.most, client.needed);
        let have = match (self.since, draft.seen) {
            (Some(since), Some(seen)) => seen.hi.since(since) / 1_000_000_000,
            _ => 0,
        };
        if (have as u64) < self.meta.history_secs {
            draft.severity = draft.severity.lowered();
            draft.graded.push(format!("baseline: {} min instead of 14 days", have / 60));
        }
        out.push(draft);
    }
}

/// The namespace that the application meant, if it is another than its own.
fn foreign_namespace<'i>(intent: &'i Intent, zone: &Name, own: &str) -> Option<&'i [u8]> {
    let parsed = |name: &'i Name| ClusterName::parse(name, zone)?.service().map(|(_, namespace)| namespace);
    let namespace = match intent.outcome {
        IntentOutcome::ResolvedSearch(_) | IntentOutcome::Captured(_) => parsed(&intent.last)?,
        _ => parsed(lookup::meant(intent, zone)).or_else(|| {
            let labels: SmallVec<[&[u8]; 4]> = intent.base.labels().take(4).collect();
            match labels.as_slice() {
                [_, namespace, b"svc"] => Some(*namespace),
                _ => None,
            }
        })?,
    };
    (!own.is_empty() && namespace != own.as_bytes()).then_some(namespace)
}

/// Notes a namespace; true if it was not asked within the window before.
fn note(client: &mut Client, namespace: &[u8], at: Nanos, window: i64) -> bool {
    client.first.get_or_insert(at);
    if let Some(last) = client.recent.get_mut(namespace) {
        let fresh = at.since(*last) > window;
        *last = at;
        return fresh;
    }
    if client.recent.len() >= NAMESPACES_MAX {
        client.recent.retain(|_, last| at.since(*last) <= window);
    }
    if client.recent.len() < NAMESPACES_MAX {
        client.recent.insert(Box::from(namespace), at);
    }
    true
}

fn check(meta: &RuleMeta, client: &mut Client, at: Nanos, window: i64, factor: f64) {
    let distinct = client.recent.values().filter(|last| at.since(**last) <= window).count();
    let bucket = at.0.div_euclid(window);
    if client.bucket.0 != bucket {
        if client.past.len() >= BUCKETS {
            client.past.pop_front();
        }
        client.past.push_back(client.bucket.1);
        client.bucket = (bucket, 0);
    }
    client.bucket.1 = client.bucket.1.max(u16::try_from(distinct).unwrap_or(u16::MAX));
    let is_new = client.first.is_some_and(|first| (at.since(first) as f64) < limit(meta, "new_secs") * 1e9);
    let least = limit(meta, if is_new { "distinct_new" } else { "distinct" });
    if (distinct as f64) < least * factor {
        return;
    }
    let needed = least.max(limit(meta, "baseline_factor") * percentile99(&client.past)) * factor;
    if distinct as f64 >= needed && distinct > client.most {
        (client.most, client.needed) = (distinct, needed);
    }
}

fn percentile99(past: &VecDeque<u16>) -> f64 {
    let mut sorted: Vec<u16> = past.iter().copied().collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() * 99 / 100).map_or(0.0, |value| f64::from(*value))
}

impl Rule for FanOut {
    fn meta(&self) -> &RuleMeta {
        &self.meta
    }

    fn observe(&mut self, fact: &Fact<'_>, cx: &Context<'_>, out: &mut Vec<Draft>) {
        if let Fact::Intent(intent) = fact {
            self.since = Some(self.since.map_or(intent.from.lo, |since| since.min(intent.from.lo)));
            if let Some(zone) = cx.knowledge.cluster_domain() {
                self.intent(intent, &zone, cx, out);
            }
        }
    }

    fn finish(&mut self, cx: &Context<'_>, out: &mut Vec<Draft>) {
        for (who, client) in self.clients.drain() {
            self.close(&who, client, cx, out);
        }
    }

    fn evictions(&self) -> u64 {
        self.clients.evictions()
    }
}
