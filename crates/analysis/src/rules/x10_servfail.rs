//! X10: many server failures in a short time, told apart by where they come from; X11: forwarded lookups that
//! become slow for minutes.
//!
//! Enters: lookups with return code and duration; leaves: one draft per kind of failure, one per slow stretch.
//! Deliberately absent: the cause (an outage looks the same as an attack from here).

use std::collections::{BTreeMap, VecDeque};

use truename_model::{Judged, Name, Nanos, ObservedAt, Rcode, RecordRef, RuleMeta, Severity};

use super::bounded::{Tally, limit, limit_ns};
use super::lookup;
use super::names::{registrable_name, shown};
use crate::facts::{Context, Draft, Fact, Rule};

const HOUR_NS: i64 = 3_600_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Cluster,
    Forwarded,
}

#[derive(Debug, Default)]
struct Burst {
    // Per second: (second, lookups, failures).
    seconds: VecDeque<(i64, u32, u32)>,
    waiting: VecDeque<(Nanos, ObservedAt, Option<RecordRef>, String)>,
    domains: BTreeMap<Name, u64>,
    open: Option<Tally>,
    from: Option<Nanos>,
    most: (u64, f64),
}

/// X10.
pub(crate) struct ServfailBurst {
    meta: RuleMeta,
    cluster: Burst,
    forwarded: Burst,
}

impl ServfailBurst {
    pub(crate) fn new(meta: RuleMeta) -> Self {
        Self { meta, cluster: Burst::default(), forwarded: Burst::default() }
    }

    fn lookup(&mut self, judged: &Judged, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let transaction = &judged.transaction;
        let (Some(rcode), Some(at)) = (transaction.rcode(), lookup::instant(transaction)) else { return };
        let zone = cx.knowledge.cluster_domain();
        let in_cluster = zone.as_ref().is_some_and(|zone| transaction.question.name.is_at_or_below(zone));
        let (kind, burst) = if in_cluster {
            (Kind::Cluster, &mut self.cluster)
        } else {
            (Kind::Forwarded, &mut self.forwarded)
        };
        let window = limit_ns(&self.meta, "window_secs");
        let failed = rcode == Rcode::SERVFAIL;
        count(burst, at, failed, window);
        if !failed {
            return;
        }
        if burst.from.is_some_and(|from| at.since(from) > HOUR_NS) {
            close(&self.meta, kind, burst, cx, out);
        }
        fail(burst, judged, at, window);
        let (all, failures) = burst
            .seconds
            .iter()
            .fold((0u64, 0u64), |(all, failures), (_, a, f)| (all + u64::from(*a), failures + u64::from(*f)));
        let share = failures as f64 / all.max(1) as f64;
        if failures as f64 >= limit(&self.meta, "count") && share >= limit(&self.meta, "ratio") {
            burst.from.get_or_insert(at);
            let tally = burst.open.get_or_insert_with(Tally::default);
            for (_, when, record, line) in burst.waiting.drain(..) {
                tally.add(when, record, || line);
            }
            if failures > burst.most.0 {
                burst.most = (failures, share);
            }
        }
    }
}

fn count(burst: &mut Burst, at: Nanos, failed: bool, window_ns: i64) {
    let second = at.0.div_euclid(1_000_000_000);
    match burst.seconds.back_mut() {
        // Joined lookups come in order but for small skews; those count where they arrive.
        Some(last) if last.0 >= second => {
            last.1 = last.1.saturating_add(1);
            last.2 = last.2.saturating_add(u32::from(failed));
        }
        _ => burst.seconds.push_back((second, 1, u32::from(failed))),
    }
    while burst.seconds.front().is_some_and(|first| second - first.0 > window_ns / 1_000_000_000) {
        burst.seconds.pop_front();
    }
}

fn fail(burst: &mut Burst, judged: &Judged, at: Nanos, window_ns: i64) {
    let transaction = &judged.transaction;
    let domain = registrable_name(&transaction.question.name);
    if burst.domains.len() < 1_024 || burst.domains.contains_key(&domain) {
        *burst.domains.entry(domain).or_default() += 1;
    }
    while burst.waiting.front().is_some_and(|(then, ..)| at.since(*then) > window_ns)
        || burst.waiting.len() >= 256
    {
        burst.waiting.pop_front();
    }
    burst.waiting.push_back((
        at,
        lookup::at(transaction),
        lookup::record(transaction),
        lookup::line(transaction),
    ));
}

fn close(meta: &RuleMeta, kind: Kind, burst: &mut Burst, cx: &Context<'_>, out: &mut Vec<Draft>) {
    let (domains, most) = (std::mem::take(&mut burst.domains), std::mem::take(&mut burst.most));
    burst.from = None;
    let Some(tally) = burst.open.take() else { return };
    let all: u64 = domains.values().sum();
    let single = domains.iter().find(|(_, count)| **count * 10 >= all * 8).map(|(domain, _)| shown(domain));
    let (target, cause) = match (kind, single) {
        (Kind::Cluster, _) => {
            let zone = cx.knowledge.cluster_domain().map(|zone| shown(&zone)).unwrap_or_default();
            (zone, "Names of the cluster fail: the API server is not reached, or not allowed.")
        }
        (Kind::Forwarded, Some(domain)) => {
            (domain, "Nearly all failures are below one domain: its servers, or its signatures.")
        }
        (Kind::Forwarded, None) => {
            (".".to_owned(), "Names of many domains fail: the upstream does not answer.")
        }
    };
    let mut draft =
        Draft::new(&meta.id, Severity::Medium, format!("Burst of server failures below {target}"));
    tally.fill(&mut draft);
    draft.subject = format!("zone {target}");
    draft.target = target;
    draft.why =
        format!("{} failures within the window, {:.0} % of the lookups. {cause}", most.0, most.1 * 100.0);
    out.push(draft);
}

impl Rule for ServfailBurst {
    fn meta(&self) -> &RuleMeta {
        &self.meta
    }

    fn observe(&mut self, fact: &Fact<'_>, cx: &Context<'_>, out: &mut Vec<Draft>) {
        if let Fact::Lookup(judged) = fact {
            self.lookup(judged, cx, out);
        }
    }

    fn finish(&mut self, cx: &Context<'_>, out: &mut Vec<Draft>) {
        close(&self.meta, Kind::Cluster, &mut self.cluster, cx, out);
        close(&self.meta, Kind::Forwarded, &mut self.forwarded, cx, out);
    }
}

/// Steps of the duration histogram: four per doubling, from 2^-4 ms on.
const STEPS: usize = 96;
/// Minutes of 24 hours.
const MINUTES: usize = 1_440;

#[derive(Clone, Debug)]
struct Minute {
    minute: i64,
    counts: [u32; STEPS],
    all: u32,
}

/// X11.
pub(crate) struct LatencySpike {
    meta: RuleMeta,
    current: Option<Minute>,
    past: VecDeque<Minute>,
    slow: u32,
    first: Option<Nanos>,
    worst_ms: f64,
    baseline_ms: Option<f64>,
    waiting: Tally,
}

impl LatencySpike {
    pub(crate) fn new(meta: RuleMeta) -> Self {
        let (current, past, slow, first, waiting) = (None, VecDeque::new(), 0, None, Tally::default());
        Self { meta, current, past, slow, first, worst_ms: 0.0, baseline_ms: None, waiting }
    }

    fn lookup(&mut self, judged: &Judged, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let transaction = &judged.transaction;
        let (Some(duration), Some(at)) = (transaction.duration_ns, lookup::instant(transaction)) else {
            return;
        };
        let zone = cx.knowledge.cluster_domain();
        let in_cluster = zone.is_some_and(|zone| transaction.question.name.is_at_or_below(&zone));
        let upstream = transaction.hints.as_ref().and_then(|hints| hints.upstream.as_deref());
        // An answer from the cache in well under a millisecond was not forwarded.
        let cached = transaction.upstream.is_empty() && (upstream == Some("-") || duration < 1_000_000);
        if in_cluster || cached {
            return;
        }
        self.first.get_or_insert(at);
        let minute = at.0.div_euclid(60_000_000_000);
        if self.current.as_ref().is_some_and(|current| current.minute < minute) {
            self.roll(minute, cx, out);
        }
        let ms = duration.max(0) as f64 / 1e6;
        let current = self.current.get_or_insert(Minute { minute, counts: [0; STEPS], all: 0 });
        current.counts[step(ms)] += 1;
        current.all += 1;
        if ms >= limit(&self.meta, "p95_ms") {
            self.waiting.add(lookup::at(transaction), lookup::record(transaction), || {
                format!("{ms:.0} ms: {}", lookup::line(transaction))
            });
        }
    }

    /// A minute has ended.
    fn roll(&mut self, next: i64, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let Some(minute) = self.current.take() else { return };
        let p95 = percentile95(std::iter::once(&minute));
        // While a slow stretch lasts, its own minutes are no baseline.
        let before = self.past.len().saturating_sub(self.slow as usize);
        let baseline = percentile95(self.past.iter().take(before));
        let needed =
            baseline.map_or(0.0, |ms| ms * limit(&self.meta, "factor")).max(limit(&self.meta, "p95_ms"));
        let enough = f64::from(minute.all) >= limit(&self.meta, "per_minute");
        let adjacent = next - minute.minute <= 2;
        match p95 {
            Some(ms) if enough && ms > needed => {
                self.slow += 1;
                self.worst_ms = self.worst_ms.max(ms);
                self.baseline_ms = baseline;
                self.past.push_back(minute);
                if !adjacent {
                    self.close(cx, out);
                }
            }
            _ => {
                self.close(cx, out);
                self.past.push_back(minute);
            }
        }
        while self.past.len() > MINUTES {
            self.past.pop_front();
        }
    }

    fn close(&mut self, _: &Context<'_>, out: &mut Vec<Draft>) {
        let (slow, tally) = (std::mem::take(&mut self.slow), std::mem::take(&mut self.waiting));
        let worst = std::mem::take(&mut self.worst_ms);
        if f64::from(slow) < limit(&self.meta, "minutes") {
            return;
        }
        let mut draft = Draft::new(&self.meta.id, Severity::Low, "Forwarded lookups became slow");
        tally.fill(&mut draft);
        draft.subject = "zone .".to_owned();
        draft.target = ".".to_owned();
        let before = self.baseline_ms.map_or_else(|| "unknown".to_owned(), |ms| format!("{ms:.0} ms"));
        draft.why =
            format!("The 95th percentile reached {worst:.0} ms over {slow} minutes; before it was {before}.");
        let have = match (self.first, draft.seen) {
            (Some(first), Some(seen)) => u64::try_from(seen.hi.since(first) / 1_000_000_000).unwrap_or(0),
            _ => 0,
        };
        if have < self.meta.history_secs {
            draft.severity = draft.severity.lowered();
            draft.graded.push(format!("baseline: {} min instead of 24 h", have / 60));
        }
        out.push(draft);
    }
}

fn step(ms: f64) -> usize {
    ((ms.max(0.0625).log2() + 4.0) * 4.0).clamp(0.0, (STEPS - 1) as f64) as usize
}

fn percentile95<'a>(minutes: impl Iterator<Item = &'a Minute>) -> Option<f64> {
    let (mut counts, mut all) = ([0u64; STEPS], 0u64);
    for minute in minutes {
        all += u64::from(minute.all);
        counts.iter_mut().zip(&minute.counts).for_each(|(sum, count)| *sum += u64::from(*count));
    }
    let mut seen = 0;
    for (at, count) in counts.iter().enumerate() {
        seen += count;
        if all > 0 && seen * 100 >= all * 95 {
            // The middle of the step.
            return Some(2f64.powf((at as f64 + 0.5) / 4.0 - 4.0));
        }
    }
    None
}

impl Rule for LatencySpike {
    fn meta(&self) -> &RuleMeta {
        &self.meta
    }

    fn observe(&mut self, fact: &Fact<'_>, cx: &Context<'_>, out: &mut Vec<Draft>) {
        if let Fact::Lookup(judged) = fact {
            self.lookup(judged, cx, out);
        }
    }

    fn finish(&mut self, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let end = self.current.as_ref().map_or(0, |minute| minute.minute + 1);
        self.roll(end, cx, out);
        self.close(cx, out);
    }
}
