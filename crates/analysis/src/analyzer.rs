//! The façade: observations in, judged lookups to the sink, an outcome at the end.
//!
//! Enters: observations in order of time on the reference clock (those without time last), and all changes of the
//! cluster beforehand; leaves: judged lookups in order of asking, and findings, incidents and counters. Facts reach the
//! rules in order of time. Deliberately absent: coverage of the sources (the engine's), rendering.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use truename_model::{
    Attribution, ClusterChange, Diagnostic, Event, Intent, Interval, Judged, Nanos, Observation, Outcome,
    Verdict, WhyUnverifiable,
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

/// Bound on facts that wait for the lookups before them.
const WAITING_MAX: usize = 1 << 16;

/// Runs the whole analysis over one cluster.
pub struct Analyzer<'a> {
    cx: Context<'a>,
    changes: VecDeque<&'a ClusterChange>,
    replicas: Replicas<'a>,
    join: Joiner,
    joined: Output,
    attributor: Attributor,
    provenance: Provenance,
    intents: Intents,
    intents_out: Vec<Intent>,
    detector: Detector,
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
            detector: Detector::new(cx.profile)?,
            replicas: Replicas::new(cx.knowledge, cx.origins),
            cx,
            changes: sorted.into(),
            join: Joiner::default(),
            joined: Output::default(),
            attributor: Attributor::default(),
            provenance: Provenance::default(),
            intents: Intents::default(),
            intents_out: Vec::new(),
            lines: VecDeque::new(),
            exchanges: VecDeque::new(),
            counts: Counts::default(),
        })
    }

    /// Takes a batch of observations and empties it. Every judged lookup goes to `sink`.
    pub fn observe(&mut self, batch: &mut Vec<Observation>, sink: &mut dyn FnMut(&Arc<Judged>)) {
        for observation in batch.drain(..) {
            match &observation.event {
                Event::Dns(dns) => {
                    self.join.observe(&observation, dns, &mut self.replicas, &mut self.joined);
                    if !self.joined.lookups.is_empty() || !self.joined.exchanges.is_empty() {
                        self.drain(sink);
                    }
                }
                Event::Diagnostic(_) | Event::Loss(_) => self.line(observation, sink),
                Event::Undecodable { .. } | Event::Ignored(_) => {}
            }
        }
    }

    /// A line of the server about itself, or a loss: waits until the lookups before it are out.
    fn line(&mut self, observation: Observation, sink: &mut dyn FnMut(&Arc<Judged>)) {
        let Some(at) = observation.at.interval() else {
            self.show_line(&observation);
            return;
        };
        self.join.advance(at.lo, &mut self.joined);
        self.drain(sink);
        self.note_line(&observation, at);
        self.lines.push_back((at.lo, observation));
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
            let stale_ns = self.cx.knowledge.stale_ns(closed.exchange.at);
            self.provenance.exchange(closed.replica, &closed.exchange, stale_ns);
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
        let judged = Arc::new(Judged { transaction: Arc::new(joined.transaction), attribution, verdict });
        sink(&judged);
        self.detector.observe(&Fact::Lookup(&judged), &self.cx);
        self.intents.observe(&judged, self.cx.knowledge, &mut self.intents_out);
        self.show_intents();
    }

    fn show_intents(&mut self) {
        for intent in self.intents_out.drain(..) {
            self.detector.observe(&Fact::Intent(&intent), &self.cx);
        }
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
                if let Some(change) = self.changes.pop_front() {
                    self.detector.observe(&Fact::Change(change), &self.cx);
                }
            } else if line == next {
                if let Some((_, observation)) = self.lines.pop_front() {
                    self.show_line(&observation);
                }
            } else {
                self.show_exchange();
            }
        }
    }

    fn show_exchange(&mut self) {
        if let Some(closed) = self.exchanges.pop_front() {
            self.detector.observe(&Fact::Exchange(&closed.exchange), &self.cx);
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

    /// Ends the stream: the last lookups go to `sink`, and everything is concluded.
    #[must_use]
    pub fn finish(mut self, sink: &mut dyn FnMut(&Arc<Judged>)) -> Outcome {
        let mut joined = std::mem::take(&mut self.joined);
        self.join.finish(&mut joined);
        self.joined = joined;
        self.drain(sink);
        self.release(Nanos(i64::MAX - 1));
        while let Some(change) = self.changes.pop_front() {
            self.detector.observe(&Fact::Change(change), &self.cx);
        }
        let mut last = std::mem::take(&mut self.intents_out);
        self.intents.finish(&mut last);
        self.intents_out = last;
        self.show_intents();
        let mut outcome = Outcome::default();
        self.coverage(&mut outcome);
        let detected = self.detector.finish(&self.cx);
        outcome.findings = detected.findings;
        outcome.incidents = detected.incidents;
        outcome.rule_set = detected.rule_set;
        outcome.coverage.rules = detected.states;
        for (rule, count) in detected.evictions {
            outcome.coverage.evictions.insert(format!("rule {rule}"), count);
        }
        outcome
    }

    fn coverage(&self, outcome: &mut Outcome) {
        let coverage = &mut outcome.coverage;
        coverage.lookups = self.counts.lookups;
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
            ("attribution memo", self.attributor.evictions()),
            ("verdict memo", self.provenance.evictions()),
            ("upstream answers", self.provenance.forgotten()),
            ("open intents", self.intents.evictions()),
            ("facts shown early", self.counts.early_facts),
        ];
        for (cache, count) in evictions {
            if count > 0 {
                coverage.evictions.insert(cache.to_owned(), count);
            }
        }
        if stats.stray_replies > 0 {
            coverage.notes.push(format!(
                "{} upstream replies came to sockets without a known query",
                stats.stray_replies
            ));
        }
        if stats.unjoined > 0 {
            coverage.notes.push(format!(
                "{} dnstap messages of kinds that belong to no client lookup were not joined",
                stats.unjoined
            ));
        }
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
        *self.verdicts.entry(verdict.word()).or_default() += 1;
        if let Verdict::Unverifiable { why } = verdict {
            *self.unverifiable.entry(why_word(why)).or_default() += 1;
        }
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
