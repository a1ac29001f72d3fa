//! H15: replicas that give different answers to the same question at the same time.
//!
//! Enters: lookups with answers, by replica; leaves: one draft per name. Cluster names: disjoint answers whose times
//! interleave, one of them not what the objects say (or, without objects, for longer than caches and watch lag
//! explain). Public names: only the stricter form. Deliberately absent: rotation, and origins without a replica.

use std::collections::BTreeSet;
use std::net::IpAddr;

use smallvec::SmallVec;
use truename_model::{
    Explanation, Judged, Name, Nanos, ObservedAt, OriginId, Rcode, RecordRef, Rtype, RuleMeta, Severity,
    Verdict,
};

use super::bounded::{Table, Tally, limit, limit_ns};
use super::lookup;
use super::names::{is_public, registrable_name, shown};
use crate::facts::{Context, Draft, Fact, Rule};

type Set = SmallVec<[IpAddr; 4]>;

/// What the verdict says of an answer, as far as this rule needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    True,
    /// The configuration or a forger makes it, or it is false.
    Odd,
    Open,
}

/// Equal answers of one replica, one after the other.
#[derive(Clone, Debug)]
struct Run {
    replica: String,
    set: Set,
    alias: Option<Name>,
    standing: Standing,
    first: Nanos,
    last: Nanos,
    // The last three times: what the stricter form asks for.
    times: SmallVec<[Nanos; 3]>,
    when: ObservedAt,
    record: Option<RecordRef>,
    ttl: u32,
}

#[derive(Debug, Default)]
struct Answers {
    // At most one run per replica; a run ends when its replica answers otherwise.
    runs: SmallVec<[Run; 2]>,
    distinct: BTreeSet<IpAddr>,
    alarm: Option<(Severity, String, String)>,
    tally: Tally,
}

/// Replicas followed per name.
const REPLICAS_MAX: usize = 16;

/// The rule.
pub(crate) struct Divergence {
    meta: RuleMeta,
    names: Table<(Name, Rtype), Answers>,
}

impl Divergence {
    pub(crate) fn new(meta: RuleMeta) -> Self {
        Self { meta, names: Table::new(16_384) }
    }

    fn lookup(&mut self, judged: &Judged, replica: &str, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let transaction = &judged.transaction;
        let question = &transaction.question;
        let Some(response) = transaction.response.as_ref().filter(|response| response.body.sections_seen)
        else {
            return;
        };
        if response.rcode != Some(Rcode::NOERROR) || response.body.answers.is_empty() {
            return;
        }
        let Some(at) = lookup::instant(transaction) else { return };
        let mut set: Set = response.body.addresses().take(64).collect();
        set.sort_unstable();
        let zone = cx.knowledge.cluster_domain();
        let in_cluster = zone.as_ref().is_some_and(|zone| question.name.is_at_or_below(zone));
        if set.is_empty() || !(in_cluster || is_public(&question.name, zone.as_ref(), cx.profile)) {
            return;
        }
        let mut evicted = Vec::new();
        let answers =
            self.names.entry((question.name.clone(), question.rtype), Answers::default, &mut evicted);
        for ip in &set {
            if answers.distinct.len() <= 8 {
                answers.distinct.insert(*ip);
            }
        }
        let run = note(answers, judged, replica, set, at);
        if let Some(run) = run {
            compare(&self.meta, answers, run, judged, in_cluster);
        }
        for (key, answers) in evicted {
            self.close(&key.0, answers, out);
        }
    }

    fn close(&self, name: &Name, answers: Answers, out: &mut Vec<Draft>) {
        let Some((severity, subject, why)) = answers.alarm else { return };
        let target = shown(name);
        let mut draft =
            Draft::new(&self.meta.id, severity, format!("Replicas answer differently for {target}"));
        answers.tally.fill(&mut draft);
        draft.subject = subject;
        draft.target = target;
        draft.why = why;
        if severity == Severity::Medium {
            draft.graded.push(
                "without a table of networks, different /16 blocks stand for different networks".to_owned(),
            );
        }
        out.push(draft);
    }
}

/// Adds the answer to its replica's run; gives that run's index.
fn note(answers: &mut Answers, judged: &Judged, replica: &str, set: Set, at: Nanos) -> Option<usize> {
    let transaction = &judged.transaction;
    let response = transaction.response.as_ref()?;
    let index = match answers.runs.iter().position(|run| run.replica == replica) {
        Some(index) => index,
        None if answers.runs.len() < REPLICAS_MAX => {
            answers.runs.push(run(judged, replica, at)?);
            answers.runs.len() - 1
        }
        None => return None,
    };
    let known = answers.runs.get_mut(index)?;
    if known.set != set {
        *known = run(judged, replica, at)?;
        known.set = set;
        return Some(index);
    }
    known.standing = standing(&judged.verdict);
    known.last = known.last.max(at);
    if known.times.len() == 3 {
        known.times.remove(0);
    }
    known.times.push(at);
    (known.when, known.record) = (lookup::at(transaction), Some(response.record));
    Some(index)
}

fn run(judged: &Judged, replica: &str, at: Nanos) -> Option<Run> {
    let transaction = &judged.transaction;
    let response = transaction.response.as_ref()?;
    let mut set: Set = response.body.addresses().take(64).collect();
    set.sort_unstable();
    let address =
        response.body.answers.iter().rev().find(|record| matches!(record.rtype, Rtype::A | Rtype::AAAA));
    let alias =
        address.map(|record| record.owner.clone()).filter(|owner| *owner != transaction.question.name);
    Some(Run {
        replica: replica.to_owned(),
        set,
        alias,
        standing: standing(&judged.verdict),
        first: at,
        last: at,
        times: SmallVec::from_slice(&[at]),
        when: lookup::at(transaction),
        record: Some(response.record),
        ttl: response.body.answers.iter().map(|record| record.ttl).max().unwrap_or(0),
    })
}

fn standing(verdict: &Verdict) -> Standing {
    match verdict {
        Verdict::Verified { .. } | Verdict::Stale { .. } => Standing::True,
        Verdict::Contradicted { .. } => Standing::Odd,
        Verdict::Explained { by } if !matches!(by, Explanation::Upstream(_)) => Standing::Odd,
        Verdict::Explained { .. } | Verdict::Unverifiable { .. } => Standing::Open,
    }
}

fn compare(meta: &RuleMeta, answers: &mut Answers, index: usize, judged: &Judged, in_cluster: bool) {
    let Some(own) = answers.runs.get(index) else { return };
    let differs =
        |other: &&Run| other.replica != own.replica && own.set.iter().all(|ip| !other.set.contains(ip));
    // Replicas agree nearly always: nothing is copied then.
    let others: SmallVec<[Run; 2]> = answers.runs.iter().filter(differs).cloned().collect();
    if others.is_empty() {
        return;
    }
    let own = own.clone();
    for other in &others {
        let found = if in_cluster {
            cluster_divergence(meta, &own, other)
        } else {
            public_divergence(meta, &own, other, answers.distinct.len())
        };
        if let Some(why) = found {
            report(answers, &own, other, judged, why, in_cluster);
        }
    }
}

/// Nanoseconds during which both runs held.
fn overlap(a: &Run, b: &Run) -> i64 {
    a.last.min(b.last).since(a.first.max(b.first))
}

fn cluster_divergence(meta: &RuleMeta, a: &Run, b: &Run) -> Option<&'static str> {
    let both = overlap(a, b);
    match (a.standing, b.standing) {
        // Both were right at a moment within TTL and watch lag.
        (Standing::True, Standing::True) => None,
        (Standing::Open, Standing::Open) => {
            let lag = limit_ns(meta, "lag_secs")
                + limit_ns(meta, "cache_secs")
                + i64::from(a.ttl.max(b.ttl)).saturating_mul(1_000_000_000);
            (both > lag).then_some("They differ for longer than caches and watch lag explain.")
        }
        _ => (both >= 0)
            .then_some("One says what the objects say, the other does not, and their answers interleave."),
    }
}

/// Disjoint, another network (or another domain at the end of the alias chain), thrice each within a minute, and a
/// name that has few answers at all: content networks give many.
fn public_divergence(meta: &RuleMeta, a: &Run, b: &Run, distinct: usize) -> Option<&'static str> {
    let window = limit_ns(meta, "public_window_secs");
    let persists = |run: &Run| run.times.len() as f64 >= limit(meta, "public_times").min(3.0);
    let (Some(a_from), Some(b_from)) = (a.times.first(), b.times.first()) else { return None };
    let (latest, earliest) = (a.last.max(b.last), (*a_from).min(*b_from));
    if !persists(a) || !persists(b) || latest.since(earliest) > window || *a_from > b.last || *b_from > a.last
    {
        return None;
    }
    match (&a.alias, &b.alias) {
        (Some(x), Some(y)) => (registrable_name(x) != registrable_name(y))
            .then_some("Their alias chains end in different domains, three times each within a minute."),
        (None, None) if distinct <= 4 => {
            let shared = a.set.iter().any(|x| b.set.iter().any(|y| network(*x) == network(*y)));
            (!shared).then_some("They name different networks, three times each within a minute, for a name with few addresses.")
        }
        _ => None,
    }
}

fn network(ip: IpAddr) -> (bool, u128) {
    match ip {
        IpAddr::V4(ip) => (true, u128::from(u32::from(ip) >> 16)),
        IpAddr::V6(ip) => (false, u128::from(ip) >> 96),
    }
}

fn report(answers: &mut Answers, own: &Run, other: &Run, judged: &Judged, why: &str, in_cluster: bool) {
    let severity = if in_cluster { Severity::Critical } else { Severity::Medium };
    let odd = if own.standing == Standing::Odd || other.standing != Standing::Odd { own } else { other };
    let tally = &mut answers.tally;
    if answers.alarm.is_none() {
        let addresses =
            |run: &Run| run.set.iter().take(8).map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let text = format!(
            "{} answers {}, {} answers {}. {why}",
            own.replica,
            addresses(own),
            other.replica,
            addresses(other)
        );
        answers.alarm = Some((severity, format!("replica {}", odd.replica), text));
        tally.cite(other.when, other.record, || format!("{}: {}", other.replica, addresses(other)));
    }
    let transaction = &judged.transaction;
    tally.add(own.when, own.record, || format!("{}: {}", own.replica, lookup::line(transaction)));
    if own.standing == Standing::Odd {
        tally.victim(lookup::who(judged).text());
    }
}

impl Rule for Divergence {
    fn meta(&self) -> &RuleMeta {
        &self.meta
    }

    fn observe(&mut self, fact: &Fact<'_>, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let Fact::Lookup(judged) = fact else { return };
        let transaction = &judged.transaction;
        if !matches!(transaction.question.rtype, Rtype::A | Rtype::AAAA) || !lookup::beyond_log(transaction) {
            return;
        }
        if let Some(replica) = replica_name(cx, transaction.origin) {
            self.lookup(judged, replica, cx, out);
        }
    }

    fn finish(&mut self, _: &Context<'_>, out: &mut Vec<Draft>) {
        for ((name, _), answers) in self.names.drain() {
            self.close(&name, answers, out);
        }
    }

    fn evictions(&self) -> u64 {
        self.names.evictions()
    }
}

fn replica_name<'a>(cx: &Context<'a>, origin: OriginId) -> Option<&'a str> {
    cx.origin(origin)?.replica.value().map(String::as_str)
}
