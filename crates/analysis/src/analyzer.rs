//! The façade: observations in, judged lookups to the sink, an outcome at the end.
//!
//! Enters: observations in order of time on the reference clock (those without time last), and all changes of the
//! cluster beforehand; leaves: judged lookups in order of asking, and findings, incidents and counters. Facts reach the
//! rules in order of time. The analysis has two halves: the front judges lookups, the rear collapses intents and runs the
//! rules over the front's facts; a caller may run the halves on two threads ([`Analyzer::split`]), which changes no result.
//! Deliberately absent: coverage of the sources (the engine's), rendering.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use truename_model::{
    Attribution, ClusterChange, Diagnostic, Event, Intent, Interval, Judged, Nanos, Observation, Outcome,
    UpstreamExchange, Verdict, WhyUnverifiable, Workload,
};

use crate::attribute::Attributor;
use crate::catalogue::CatalogueError;
use crate::detect::Detector;
use crate::exchange::Closed;
use crate::facts::{Context, Fact};
use crate::intent::Intents;
use crate::join::{Joined, Joiner, Output};
use crate::provenance::Provenance;
use crate::replica::Replicas;

/// Clients counted for the list of those that asked most; later ones are counted together.
const TALKERS_MAX: usize = 1 << 14;
/// Clients named in that list.
const TALKERS_SHOWN: usize = 10;
/// Bound on facts that wait for the lookups before them.
const WAITING_MAX: usize = 1 << 16;

/// A fact on its way from the front to the rear.
pub enum Passed<'a> {
    /// A judged lookup.
    Lookup(Arc<Judged>),
    /// A closed upstream exchange.
    Exchange(Arc<UpstreamExchange>),
    /// A change of the cluster.
    Change(&'a ClusterChange),
    /// A line of the server about itself, or a loss.
    Line(Box<Observation>),
}

/// The rear half: intents and rules.
pub struct Rear<'a> {
    cx: Context<'a>,
    intents: Intents,
    intents_out: Vec<Intent>,
    detector: Detector,
}

impl<'a> Rear<'a> {
    fn new(cx: Context<'a>) -> Result<Self, CatalogueError> {
        let (intents, intents_out) = (Intents::default(), Vec::new());
        Ok(Self { detector: Detector::new(cx.profile)?, cx, intents, intents_out })
    }

    /// Takes facts in their order and empties the list.
    pub fn take(&mut self, facts: &mut Vec<Passed<'a>>) {
        for fact in facts.drain(..) {
            match fact {
                Passed::Lookup(judged) => {
                    self.detector.observe(&Fact::Lookup(&judged), &self.cx);
                    if !self.cx.is_second_sighting(&judged) {
                        self.intents.observe(&judged, self.cx.knowledge, &mut self.intents_out);
                        self.show_intents();
                    }
                }
                Passed::Exchange(exchange) => self.detector.observe(&Fact::Exchange(&exchange), &self.cx),
                Passed::Change(change) => self.detector.observe(&Fact::Change(change), &self.cx),
                Passed::Line(observation) => self.show_line(&observation),
            }
        }
    }

    fn show_intents(&mut self) {
        for intent in self.intents_out.drain(..) {
            self.detector.observe(&Fact::Intent(&intent), &self.cx);
        }
    }

    fn show_line(&mut self, observation: &Observation) {
        let fact = match &observation.event {
            Event::Diagnostic(diagnostic) => Fact::Diagnostic { observation, diagnostic },
            Event::Loss(loss) => Fact::Loss { observation, loss },
            _ => return,
        };
        self.detector.observe(&fact, &self.cx);
    }

    /// The facts have ended: concludes into `outcome`.
    pub fn finish(mut self, outcome: &mut Outcome) {
        self.intents.finish(&mut self.intents_out);
        self.show_intents();
        let evictions = &mut outcome.coverage.evictions;
        if self.intents.evictions() > 0 {
            evictions.insert("open intents".to_owned(), self.intents.evictions());
        }
        let detected = self.detector.finish(&self.cx);
        evictions.extend(detected.evictions.into_iter().map(|(rule, count)| (format!("rule {rule}"), count)));
        outcome.findings = detected.findings;
        outcome.incidents = detected.incidents;
        outcome.rule_set = detected.rule_set;
        outcome.coverage.rules = detected.states;
    }
}

/// Runs the whole analysis over one cluster.
pub struct Analyzer<'a> {
    cx: Context<'a>,
    changes: VecDeque<&'a ClusterChange>,
    replicas: Replicas<'a>,
    join: Joiner<'a>,
    joined: Output,
    attributor: Attributor,
    provenance: Provenance,
    // What the rear is to be told.
    told: Vec<Passed<'a>>,
    // Absent: the caller runs it.
    rear: Option<Rear<'a>>,
    lines: VecDeque<(Nanos, Observation)>,
    exchanges: VecDeque<Closed>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    lookups: u64,
    attribution: [u64; 3],
    verdicts: BTreeMap<&'static str, u64>,
    unverifiable: BTreeMap<&'static str, u64>,
    early_facts: u64,
    // By UID of the workload: how it is shown, and its lookups.
    talkers: HashMap<String, (Arc<Workload>, u64), FixedState>,
    talkers_missed: u64,
}

impl<'a> Analyzer<'a> {
    /// An analysis; `changes` are all changes of this cluster, in any order.
    ///
    /// # Errors
    /// When the profile names rules or thresholds that do not exist.
    pub fn new(cx: Context<'a>, changes: &'a [ClusterChange]) -> Result<Self, CatalogueError> {
        let mut sorted: Vec<&ClusterChange> = changes.iter().collect();
        sorted.sort_by_key(|change| (change_time(change), change.record));
        Ok(Self {
            rear: Some(Rear::new(cx)?),
            told: Vec::new(),
            replicas: Replicas::new(cx.knowledge, cx.origins),
            cx,
            changes: sorted.into(),
            join: Joiner::new(cx.knowledge),
            joined: Output::default(),
            attributor: Attributor::default(),
            provenance: Provenance::default(),
            lines: VecDeque::new(),
            exchanges: VecDeque::new(),
            counts: Counts::default(),
        })
    }

    /// Gives the rear half away. From now on the caller passes [`Analyzer::facts`] to it after every batch, in order.
    pub fn split(&mut self) -> Option<Rear<'a>> {
        self.rear.take()
    }

    /// The facts that the rear has not been told yet.
    pub fn facts(&mut self) -> Vec<Passed<'a>> {
        std::mem::take(&mut self.told)
    }

    /// Takes a batch of observations and empties it. Every judged lookup goes to `sink`.
    pub fn observe(&mut self, batch: &mut Vec<Observation>, sink: &mut dyn FnMut(&Arc<Judged>)) {
        for observation in &*batch {
            match &observation.event {
                Event::Dns(dns) => {
                    self.join.observe(observation, dns, &mut self.replicas, &mut self.joined);
                    if !self.joined.lookups.is_empty() || !self.joined.exchanges.is_empty() {
                        self.drain(sink);
                    }
                }
                Event::Diagnostic(_) | Event::Loss(_) => self.line(observation, sink),
                Event::Undecodable { .. } | Event::Ignored(_) => {}
            }
        }
        batch.clear();
        if let Some(rear) = &mut self.rear {
            rear.take(&mut self.told);
        }
    }

    /// A line of the server about itself, or a loss: waits until the lookups before it are out.
    fn line(&mut self, observation: &Observation, sink: &mut dyn FnMut(&Arc<Judged>)) {
        let Some(at) = observation.at.interval() else {
            self.told.push(Passed::Line(Box::new(observation.clone())));
            return;
        };
        self.join.advance(at.lo, &mut self.joined);
        self.drain(sink);
        self.note_line(observation, at);
        self.lines.push_back((at.lo, observation.clone()));
        if self.lines.len() > WAITING_MAX {
            self.counts.early_facts += 1;
            let until = self.lines.front().map_or(at.lo, |(time, _)| *time);
            self.release(until);
        }
    }

    /// What a line means for the completeness of the upstream leg.
    fn note_line(&mut self, observation: &Observation, at: Interval) {
        let Some(replica) = self.replicas.of_origin(observation.origin) else { return };
        match &observation.event {
            Event::Diagnostic(Diagnostic::Version(version)) => {
                self.replicas.learn_version(replica, version);
                self.provenance.restarted(replica, at.lo);
            }
            Event::Diagnostic(
                Diagnostic::DnstapDropped(_) | Diagnostic::DnstapNoConnection | Diagnostic::Reload { .. },
            )
            | Event::Loss(_) => self.provenance.lost(replica, at.hi),
            _ => {}
        }
    }

    fn drain(&mut self, sink: &mut dyn FnMut(&Arc<Judged>)) {
        let mut joined = std::mem::take(&mut self.joined);
        for closed in joined.exchanges.drain(..) {
            // Whose answers such an exchange could explain is not known.
            if !closed.exchange.unplaced {
                let stale_ns = self.cx.knowledge.stale_ns(closed.exchange.at);
                self.provenance.exchange(closed.replica, &closed.exchange, stale_ns);
            }
            self.exchanges.push_back(closed);
        }
        for lookup in joined.lookups.drain(..) {
            self.lookup(lookup, sink);
        }
        self.joined = joined;
        while self.exchanges.len() > WAITING_MAX {
            self.counts.early_facts += 1;
            self.show_exchange();
        }
    }

    fn lookup(&mut self, joined: Joined, sink: &mut dyn FnMut(&Arc<Judged>)) {
        if let Some(asked) = joined.transaction.asked.interval() {
            self.release(asked.lo);
        }
        let attribution = self.attributor.of(&joined.transaction, self.cx.knowledge);
        let verdict = self.provenance.judge(&joined, &mut self.replicas, self.cx.knowledge);
        self.counts.add(&attribution, &verdict);
        let judged = Arc::new(Judged { transaction: joined.transaction, attribution, verdict });
        sink(&judged);
        self.told.push(Passed::Lookup(judged));
    }

    /// Shows every waiting fact up to `until` to the rules, in order of time.
    fn release(&mut self, until: Nanos) {
        loop {
            let change = self.changes.front().map_or(Nanos(i64::MAX), |change| change_time(change));
            let line = self.lines.front().map_or(Nanos(i64::MAX), |(time, _)| *time);
            let exchange = self.exchanges.front().map_or(Nanos(i64::MAX), |closed| closed.exchange.at.lo);
            let next = change.min(line).min(exchange);
            if next > until || next.0 == i64::MAX {
                return;
            }
            if change == next {
                self.told.extend(self.changes.pop_front().map(Passed::Change));
            } else if line == next {
                let line = self.lines.pop_front();
                self.told.extend(line.map(|(_, observation)| Passed::Line(Box::new(observation))));
            } else {
                self.show_exchange();
            }
        }
    }

    fn show_exchange(&mut self) {
        self.told.extend(self.exchanges.pop_front().map(|closed| Passed::Exchange(closed.exchange)));
    }

    /// Ends the stream: the last lookups go to `sink`, and everything is concluded. After [`Analyzer::split`] the last
    /// facts come with the outcome, and the rear concludes the rest of it.
    #[must_use]
    pub fn finish(mut self, sink: &mut dyn FnMut(&Arc<Judged>)) -> (Outcome, Vec<Passed<'a>>) {
        let mut joined = std::mem::take(&mut self.joined);
        self.join.finish(&mut joined);
        self.joined = joined;
        self.drain(sink);
        self.release(Nanos(i64::MAX - 1));
        self.told.extend(self.changes.drain(..).map(Passed::Change));
        let mut outcome = Outcome::default();
        self.coverage(&mut outcome);
        if let Some(mut rear) = self.rear {
            rear.take(&mut self.told);
            rear.finish(&mut outcome);
        }
        (outcome, self.told)
    }

    fn coverage(&self, outcome: &mut Outcome) {
        let coverage = &mut outcome.coverage;
        coverage.lookups = self.counts.lookups;
        coverage.talkers = self.counts.top_talkers();
        let words = ["exact", "ambiguous", "unknown"];
        for (word, count) in words.iter().zip(self.counts.attribution) {
            coverage.attribution.insert((*word).to_owned(), count);
        }
        let named =
            |map: &BTreeMap<&'static str, u64>| map.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
        coverage.verdicts = named(&self.counts.verdicts);
        coverage.unverifiable = named(&self.counts.unverifiable);
        let stats = self.join.stats();
        let evictions = [
            ("open lookups", stats.evictions),
            ("open exchanges", stats.exchange_evictions),
            ("lookups of one port and id", stats.crowded),
            ("attribution memo", self.attributor.evictions()),
            ("verdict memo", self.provenance.evictions()),
            ("upstream answers", self.provenance.forgotten()),
            ("facts shown early", self.counts.early_facts),
            ("clients not counted apart", self.counts.talkers_missed),
        ];
        for (cache, count) in evictions {
            if count > 0 {
                coverage.evictions.insert(cache.to_owned(), count);
            }
        }
        if stats.stray_replies > 0 {
            coverage.notes.push(format!(
                "{} upstream replies came to sockets without an open query",
                stats.stray_replies
            ));
        }
        coverage.notes.extend(self.unplaced());
        if stats.unjoined > 0 {
            coverage.notes.push(format!(
                "{} dnstap messages of kinds that belong to no client lookup were not joined",
                stats.unjoined
            ));
        }
    }
}

impl Analyzer<'_> {
    /// Conversations that are taken for a client's because nothing tells otherwise.
    fn unplaced(&self) -> Option<String> {
        let unplaced = self.replicas.unplaced();
        let packets: u64 = unplaced.values().sum();
        let mut most: Vec<_> = unplaced.iter().collect();
        most.sort_by_key(|(pair, count)| (std::cmp::Reverse(**count), **pair));
        let shown: Vec<String> =
            most.iter().take(3).map(|((asker, server), _)| format!("{asker} asks {server}")).collect();
        let more = if most.len() > 3 { ", …" } else { "" };
        (packets > 0).then(|| {
            format!(
                "{packets} packets ({}{more}): nothing tells whether the asker is a client or a server of the cluster's DNS; \
                 they count as lookups of clients, and are searched for guessed ids and second answers. Add the objects or \
                 the server's taps or logs, or state it: --origin 'GLOB:leg=upstream' (or leg=client) for captures, \
                 address=IP for a server's own address",
                shown.join(", ")
            )
        })
    }
}

impl Counts {
    fn add(&mut self, attribution: &Attribution, verdict: &Verdict) {
        self.lookups += 1;
        let word = match attribution {
            Attribution::Exact(..) => 0,
            Attribution::Ambiguous(_) => 1,
            Attribution::Unknown(_) => 2,
        };
        self.attribution[word] += 1;
        if let Attribution::Exact(workload, _) = attribution {
            self.talks(workload);
        }
        *self.verdicts.entry(verdict.word()).or_default() += 1;
        if let Verdict::Unverifiable { why } = verdict {
            *self.unverifiable.entry(why_word(why)).or_default() += 1;
        }
    }
}

impl Counts {
    fn talks(&mut self, workload: &Arc<Workload>) {
        // A node has no UID in the objects of its pods; its name is as good.
        let key = if workload.uid.is_empty() { &workload.name } else { &workload.uid };
        if let Some((_, count)) = self.talkers.get_mut(key.as_str()) {
            *count += 1;
        } else if self.talkers.len() < TALKERS_MAX {
            self.talkers.insert(key.clone(), (Arc::clone(workload), 1));
        } else {
            self.talkers_missed += 1;
        }
    }

    fn top_talkers(&self) -> Vec<(String, u64)> {
        let mut all: Vec<(String, u64)> =
            self.talkers.values().map(|(workload, count)| (workload.to_string(), *count)).collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all.truncate(TALKERS_SHOWN);
        all
    }
}

/// When a change reaches the rules: once it certainly holds; changes without time come first.
fn change_time(change: &ClusterChange) -> Nanos {
    let at = change.at.interval().or(change.seen_at);
    at.map_or(Nanos(i64::MIN), |at| at.hi)
}

/// A phrase for a reason, as counted in the coverage.
#[must_use]
pub fn why_word(why: &WhyUnverifiable) -> &'static str {
    match why {
        WhyUnverifiable::AnswerNotSeen => "answer not seen",
        WhyUnverifiable::NoTime => "no time",
        WhyUnverifiable::NoObjects => "no objects",
        WhyUnverifiable::OutsideHistory => "outside the object history",
        WhyUnverifiable::NoCorefile => "Corefile not known",
        WhyUnverifiable::NoUpstreamLeg => "no upstream leg captured",
        WhyUnverifiable::UpstreamNotSeen => "upstream exchange not seen",
        WhyUnverifiable::OnlyTapped(_) => "upstream exchange seen by the server's tap alone",
        WhyUnverifiable::Raced(_) => "replies with other ids raced the upstream's",
        WhyUnverifiable::UpstreamDiffers(_) => "the upstream gave something else",
        WhyUnverifiable::Disputed(_) => "disputed by another replica",
        WhyUnverifiable::UnknownResolver => "unknown resolver",
        WhyUnverifiable::StateElsewhere(_) => "state lies elsewhere",
        WhyUnverifiable::Damaged => "damaged",
        WhyUnverifiable::NoResponse => "no response",
        WhyUnverifiable::ServerFailure => "server failure",
        WhyUnverifiable::OutOfModel(_) => "out of model",
    }
}

#[cfg(test)]
#[path = "analyzer_tests.rs"]
mod tests;
