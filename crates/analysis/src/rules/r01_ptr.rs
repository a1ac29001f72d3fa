//! R01 and R02: reverse sweeps of the service range and of the pod range.
//!
//! Enters: PTR lookups per workload and the ranges that the objects state; leaves: one draft per sweep, at its end.
//! Targets are placed into ranges at the end, so that objects read late still count. Deliberately absent: rates of
//! repeated questions; only different addresses count.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use truename_model::{Flags, Nanos, ObservedAt, Rcode, RecordRef, Rtype, RuleMeta, Severity};

use super::bounded::{Table, Tally, limit, limit_ns, ratio};
use super::lookup;
use super::names::{reverse_address, shown};
use super::ranges::{Place, Ranges, is_private, number};
use super::who::Who;
use crate::facts::{Context, Draft, Fact, Rule};

/// Which range a rule instance watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swept {
    /// R01.
    Services,
    /// R02.
    Pods,
}

/// Different addresses kept per workload.
const TARGETS_MAX: usize = 4_096;
/// Different addresses kept of all workloads together. Beyond it the workloads with the fewest are forgotten: never one
/// that is nearer to a sweep than another that stays.
const TARGETS_OF_ALL_MAX: usize = 1 << 18;

#[derive(Clone, Debug)]
struct Target {
    at: Nanos,
    when: ObservedAt,
    record: Option<RecordRef>,
    denied: bool,
    recursion_desired: bool,
    name: String,
}

#[derive(Debug, Default)]
struct Sweep {
    targets: BTreeMap<IpAddr, Target>,
    more: u64,
}

/// The rule.
pub(crate) struct PtrSweep {
    meta: RuleMeta,
    swept: Swept,
    ranges: Ranges,
    sweeps: Table<Who, Sweep>,
    // Addresses kept now, of all workloads.
    targets: usize,
}

impl PtrSweep {
    pub(crate) fn new(meta: RuleMeta, swept: Swept) -> Self {
        // Every workload has an address, so the table is never full before the bound is reached.
        Self {
            meta,
            swept,
            ranges: Ranges::default(),
            sweeps: Table::new(TARGETS_OF_ALL_MAX + 1),
            targets: 0,
        }
    }

    /// What of the sweep lies in the watched range: (range as text, whether it is only a guess, addresses).
    fn split<'s>(&self, sweep: &'s Sweep) -> BTreeMap<(String, bool), Vec<(IpAddr, &'s Target)>> {
        let mut split: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (&ip, target) in &sweep.targets {
            let key = match (self.swept, self.ranges.place(ip)) {
                (Swept::Services, Place::Service(cidr)) => (cidr.to_string(), false),
                (Swept::Pods, Place::Pod(cidr)) => (cidr.to_string(), false),
                (Swept::Services, Place::Outside) if self.ranges.is_empty() && is_private(ip) => {
                    ("private addresses".to_owned(), true)
                }
                _ => continue,
            };
            split.entry(key).or_default().push((ip, target));
        }
        split
    }

    fn take(&mut self, who: Who, ip: IpAddr, target: Target) {
        let sweep = self.sweeps.slot(who, Sweep::default);
        if sweep.targets.contains_key(&ip) {
            return;
        }
        if sweep.targets.len() < TARGETS_MAX {
            sweep.targets.insert(ip, target);
            self.targets += 1;
        } else {
            sweep.more += 1;
        }
    }

    /// Makes room; what is forgotten is judged first.
    fn forget(&mut self, cx: &Context<'_>, out: &mut Vec<Draft>) {
        if self.targets <= TARGETS_OF_ALL_MAX {
            return;
        }
        let mut evicted = Vec::new();
        let keep = TARGETS_OF_ALL_MAX / 8 * 7;
        self.sweeps.evict_lightest(keep, |sweep| sweep.targets.len(), &mut evicted);
        for (who, sweep) in evicted {
            self.targets = self.targets.saturating_sub(sweep.targets.len());
            self.judge(&who, &sweep, cx, out);
        }
    }

    fn judge(&self, who: &Who, sweep: &Sweep, cx: &Context<'_>, out: &mut Vec<Draft>) {
        if who.is_infrastructure(cx.profile) {
            return;
        }
        for ((range, guessed), targets) in self.split(sweep) {
            let shared = limit(&self.meta, "node_factor");
            // Where no object tells what an address is, it may be a node's.
            let factor = if guessed && who.is_bare() { shared } else { who.factor(shared) };
            let fast = densest(&targets, limit_ns(&self.meta, "window_fast_secs"));
            let slow = densest(&targets, limit_ns(&self.meta, "window_slow_secs"));
            let enough = fast as f64 >= limit(&self.meta, "distinct_fast") * factor
                || slow as f64 >= limit(&self.meta, "distinct_slow") * factor;
            let adjacency = adjacency(&targets);
            let denied = ratio(targets.iter().filter(|(_, target)| target.denied).count(), targets.len());
            if enough
                && (adjacency >= limit(&self.meta, "adjacency") || denied >= limit(&self.meta, "nx_ratio"))
            {
                out.push(self.draft(who, &range, guessed, &targets, (fast, adjacency, denied), sweep.more));
            }
        }
    }

    fn draft(
        &self,
        who: &Who,
        range: &str,
        guessed: bool,
        targets: &[(IpAddr, &Target)],
        (fast, adjacency, denied): (usize, f64, f64),
        more: u64,
    ) -> Draft {
        let severity = self.severity(targets, adjacency);
        let what = if self.swept == Swept::Services { "service" } else { "pod" };
        let title =
            format!("{} looked up {} addresses of the {what} range in reverse", who.text(), targets.len());
        let mut draft = Draft::new(&self.meta.id, severity, title);
        let (mut by_time, mut tally) = (targets.to_vec(), Tally::default());
        by_time.sort_by_key(|(ip, target)| (target.at, target.record, *ip));
        for (_, target) in &by_time {
            tally.add(target.when, target.record, || format!("PTR {}", target.name));
        }
        tally.fill(&mut draft);
        draft.count += more;
        draft.severity = severity;
        draft.subject = who.text();
        draft.workload = who.workload();
        draft.target = range.to_owned();
        draft.why = format!(
            "{} different addresses, at most {fast} of them within the fast window; {:.0} % have a neighbour that was \
             asked as well; {:.0} % were denied.{}",
            targets.len(),
            adjacency * 100.0,
            denied * 100.0,
            fingerprint(&by_time),
        );
        if guessed {
            draft.severity = draft.severity.lowered();
            draft.graded.push(
                "the cluster's ranges are not in the evidence, only that these addresses are private"
                    .to_owned(),
            );
        } else if !targets.iter().any(|(ip, _)| self.ranges.is_stated(*ip)) {
            draft
                .why
                .push_str(" No object states the range: it is drawn around known addresses of the cluster.");
        }
        draft
    }

    fn severity(&self, targets: &[(IpAddr, &Target)], adjacency: f64) -> Severity {
        let high = match self.swept {
            Swept::Services => {
                targets.len() as f64 >= limit(&self.meta, "wide")
                    || adjacency >= limit(&self.meta, "adjacency")
            }
            Swept::Pods => self.covers_a_block(targets),
        };
        if high { Severity::High } else { Severity::Medium }
    }

    /// A quarter of some /24 within the coverage window.
    fn covers_a_block(&self, targets: &[(IpAddr, &Target)]) -> bool {
        let mut blocks: BTreeMap<u128, Vec<(IpAddr, &Target)>> = BTreeMap::new();
        for (ip, target) in targets {
            blocks.entry(number(*ip) >> 8).or_default().push((*ip, target));
        }
        let window = limit_ns(&self.meta, "coverage_window_secs");
        blocks.values().any(|block| densest(block, window) as f64 >= 256.0 * limit(&self.meta, "coverage"))
    }
}

/// The largest number of addresses first asked within `window_ns`.
fn densest(targets: &[(IpAddr, &Target)], window_ns: i64) -> usize {
    let mut times: Vec<Nanos> = targets.iter().map(|(_, target)| target.at).collect();
    times.sort_unstable();
    let (mut from, mut most) = (0, 0);
    for (at, time) in times.iter().enumerate() {
        while time.since(times[from]) > window_ns {
            from += 1;
        }
        most = most.max(at + 1 - from);
    }
    most
}

fn adjacency(targets: &[(IpAddr, &Target)]) -> f64 {
    let numbers: BTreeSet<u128> = targets.iter().map(|(ip, _)| number(*ip)).collect();
    let beside = |n: &u128| {
        n.checked_add(1).is_some_and(|next| numbers.contains(&next))
            || n.checked_sub(1).is_some_and(|before| numbers.contains(&before))
    };
    ratio(numbers.iter().filter(|n| beside(n)).count(), numbers.len())
}

/// Which tool sweeps like this: only a hint, said as one.
fn fingerprint(by_time: &[(IpAddr, &Target)]) -> &'static str {
    if by_time.iter().all(|(_, target)| !target.recursion_desired) {
        return " All without the recursion bit, as coredns-enum asks.";
    }
    let ascents =
        by_time.windows(2).filter(|pair| number(pair[1].0).checked_sub(1) == Some(number(pair[0].0))).count();
    if ratio(ascents, by_time.len()) >= 0.8 {
        return " In ascending order, as k8spider and nmap ask.";
    }
    let mut runs: Vec<u128> = Vec::new();
    for (ip, _) in by_time {
        match runs.iter().position(|last| number(*ip).checked_sub(1) == Some(*last)) {
            Some(run) => runs[run] = number(*ip),
            None if runs.len() < 64 => runs.push(number(*ip)),
            None => return "",
        }
    }
    if runs.len() == 16 { " In 16 interleaved ascending runs, as k8spider asks in batches." } else { "" }
}

impl Rule for PtrSweep {
    fn meta(&self) -> &RuleMeta {
        &self.meta
    }

    fn observe(&mut self, fact: &Fact<'_>, cx: &Context<'_>, out: &mut Vec<Draft>) {
        match fact {
            Fact::Change(change) => self.ranges.learn(change),
            Fact::Lookup(judged) if judged.transaction.question.rtype == Rtype::PTR => {
                let transaction = &judged.transaction;
                let (Some(ip), Some(at)) =
                    (reverse_address(&transaction.question.name), lookup::instant(transaction))
                else {
                    return;
                };
                let target = Target {
                    at,
                    when: lookup::at(transaction),
                    record: lookup::first_record(transaction),
                    denied: transaction.rcode() == Some(Rcode::NXDOMAIN),
                    recursion_desired: recursion_desired(transaction),
                    name: shown(&transaction.question.name),
                };
                self.take(lookup::who(judged), ip, target);
                self.forget(cx, out);
            }
            _ => {}
        }
    }

    fn finish(&mut self, cx: &Context<'_>, out: &mut Vec<Draft>) {
        self.ranges.read_profile(cx.profile);
        for (who, sweep) in self.sweeps.drain() {
            self.judge(&who, &sweep, cx, out);
        }
    }

    fn evictions(&self) -> u64 {
        self.sweeps.evictions()
    }
}

/// The recursion bit of the query, which a response repeats.
fn recursion_desired(transaction: &truename_model::Transaction) -> bool {
    let flags =
        transaction.query_flags.or_else(|| transaction.response.as_ref().map(|response| response.flags));
    flags.is_none_or(|flags| flags.has(Flags::RD))
}
