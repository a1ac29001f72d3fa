//! P11: the TTL of an upstream answer jumps together with new data, pins an answer for more than a week, or rises
//! on the client side without any upstream answer.
//!
//! Enters: exchanges and lookups seen beyond the log; leaves: one draft per upstream or replica and name.
//! Deliberately absent: names of the cluster, whose TTL the truth model judges.

use std::collections::BTreeSet;

use truename_model::{
    ClockBasis, Diagnostic, Explanation, Flags, Judged, Name, Nanos, ObservedAt, OriginId, Rcode, RecordRef,
    Rtype, RuleMeta, Severity, UpstreamExchange, Verdict,
};

use super::bounded::{Table, Tally, limit, limit_ns};
use super::lookup;
use super::names::{is_public, shown};
use super::p01_race::subject;
use super::who::replica;
use crate::compare::data_hash;
use crate::facts::{Context, Draft, Fact, Rule};

/// TTLs remembered per name.
const TTLS_MAX: usize = 64;
/// Different data remembered per name.
const DATA_MAX: usize = 64;
/// Slack for a TTL that falls by whole seconds while clocks differ.
const SLACK_SECS: i64 = 3;

#[derive(Debug, Default)]
struct Past {
    ttls: Vec<u32>,
    data: BTreeSet<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct CacheKey {
    origin: OriginId,
    name: Name,
    rtype: Rtype,
    // CoreDNS caches answers with and without DNSSEC apart.
    dnssec: bool,
    checking_disabled: bool,
}

#[derive(Debug)]
struct Served {
    at: Nanos,
    ttl: u32,
    rises: Vec<(Nanos, RecordRef, u32)>,
    reported: bool,
}

/// The rule.
pub(crate) struct TtlJump {
    meta: RuleMeta,
    past: Table<(OriginId, Name, Rtype), Past>,
    served: Table<CacheKey, Served>,
    // Replicas whose upstream leg is in the evidence: only there is an absent exchange a sign.
    taps: BTreeSet<OriginId>,
}

impl TtlJump {
    pub(crate) fn new(meta: RuleMeta) -> Self {
        Self { meta, past: Table::new(16_384), served: Table::new(16_384), taps: BTreeSet::new() }
    }

    fn exchange(&mut self, exchange: &UpstreamExchange, cx: &Context<'_>, out: &mut Vec<Draft>) {
        self.taps.insert(exchange.origin);
        self.forget(exchange.origin, &exchange.question.name);
        let Some(response) = exchange.response.as_ref() else { return };
        let answers = &response.body.answers;
        if response.rcode != Some(Rcode::NOERROR) || !response.body.sections_seen || answers.is_empty() {
            return;
        }
        let ttl = answers.iter().map(|record| record.ttl).min().unwrap_or(0);
        let key = (exchange.origin, exchange.question.name.clone(), exchange.question.rtype);
        let past = self.past.slot(key, Past::default);
        let hash = data_hash(answers);
        let is_new = !past.data.contains(&hash) && !past.data.is_empty();
        let jump = jump(&self.meta, past, ttl, is_new);
        if past.ttls.len() >= TTLS_MAX {
            past.ttls.remove(0);
        }
        past.ttls.push(ttl);
        if past.data.len() < DATA_MAX {
            past.data.insert(hash);
        }
        if let Some((severity, why, graded)) = jump {
            let name = shown(&exchange.question.name);
            let mut draft =
                Draft::new(&self.meta.id, severity, format!("The TTL of {name} jumped to {ttl} s"));
            draft.subject = subject(exchange, cx);
            draft.target = name;
            draft.why = why;
            draft.graded.extend(graded);
            let mut tally = Tally::default();
            tally.add(ObservedAt::Known(exchange.at, ClockBasis::Dnstap), Some(response.record), || {
                lookup::line_of(&exchange.question, Some(response))
            });
            tally.fill(&mut draft);
            out.push(draft);
        }
    }

    /// An upstream answer renews what the cache holds of a name.
    fn forget(&mut self, origin: OriginId, name: &Name) {
        for rtype in [Rtype::A, Rtype::AAAA] {
            for (dnssec, checking_disabled) in [(false, false), (false, true), (true, false), (true, true)] {
                self.served.remove(&CacheKey {
                    origin,
                    name: name.clone(),
                    rtype,
                    dnssec,
                    checking_disabled,
                });
            }
        }
    }

    fn served(&mut self, judged: &Judged, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let transaction = &judged.transaction;
        let Some(response) = transaction.response.as_ref() else { return };
        let question = &transaction.question;
        let from_upstream = matches!(&judged.verdict, Verdict::Explained { by: Explanation::Upstream(_) })
            || matches!(&judged.verdict, Verdict::Unverifiable { .. });
        if !from_upstream
            || !self.taps.contains(&transaction.origin)
            || !matches!(question.rtype, Rtype::A | Rtype::AAAA)
            || response.rcode != Some(Rcode::NOERROR)
            || !is_public(&question.name, cx.knowledge.cluster_domain().as_ref(), cx.profile)
        {
            return;
        }
        let (Some(at), Some(ttl)) =
            (lookup::instant(transaction), response.body.answers.iter().map(|r| r.ttl).min())
        else {
            return;
        };
        let key = CacheKey {
            origin: transaction.origin,
            name: question.name.clone(),
            rtype: question.rtype,
            dnssec: response.body.edns.as_ref().is_some_and(|edns| edns.dnssec_ok),
            checking_disabled: response.flags.has(Flags::CD),
        };
        let served = self.served.slot(key, || Served { at, ttl, rises: Vec::new(), reported: false });
        let elapsed = at.since(served.at) / 1_000_000_000;
        let left = (i64::from(served.ttl) - elapsed).max(0);
        if elapsed >= 0 && i64::from(ttl) > left + SLACK_SECS && at > served.at {
            let window = limit_ns(&self.meta, "increase_window_secs");
            served.rises.retain(|(then, _, _)| at.since(*then) <= window);
            if served.rises.len() < 16 {
                served.rises.push((at, response.record, ttl));
            }
        }
        (served.at, served.ttl) = (at, ttl);
        if served.rises.len() as f64 >= limit(&self.meta, "increases") && !served.reported {
            served.reported = true;
            out.push(rising(&self.meta, judged, served, cx));
        }
    }
}

fn rising(meta: &RuleMeta, judged: &Judged, served: &Served, cx: &Context<'_>) -> Draft {
    let transaction = &judged.transaction;
    let name = shown(&transaction.question.name);
    let title = format!("The TTL of {name} rises without an upstream answer");
    let mut draft = Draft::new(&meta.id, Severity::High, title);
    let server = transaction.response.as_ref().and_then(|response| response.server);
    draft.subject = replica(cx, transaction.origin, server, lookup::at(transaction).interval());
    draft.target = name;
    draft.count = served.rises.len() as u64;
    draft.seen = lookup::at(transaction).interval();
    draft.evidence =
        served.rises.iter().map(|(at, record, ttl)| (Some(*at), *record, format!("TTL {ttl}"))).collect();
    draft.why =
        "A cached TTL only falls until the replica asks again, and its upstream leg shows no question."
            .to_owned();
    draft.victims.push(lookup::who(judged).text());
    draft
}

type Jump = (Severity, String, Option<String>);

fn jump(meta: &RuleMeta, past: &Past, ttl: u32, is_new: bool) -> Option<Jump> {
    let value = f64::from(ttl);
    if value > limit(meta, "pin_secs") {
        return Some((
            Severity::Medium,
            format!("A TTL of {ttl} s would pin the answer for more than a week."),
            None,
        ));
    }
    let most = f64::from(past.ttls.iter().copied().max().unwrap_or(0));
    let samples = past.ttls.len() as f64;
    // Short TTLs double all the time; only a lifetime that outlasts the usual cache matters.
    if !is_new || value <= most || value < 60.0 {
        return None;
    }
    let mut sorted = past.ttls.clone();
    sorted.sort_unstable();
    let median = f64::from(sorted.get(sorted.len() / 2).copied().unwrap_or(0)).max(1.0);
    if samples >= limit(meta, "samples") && value >= limit(meta, "factor") * median {
        return Some((
            Severity::Medium,
            format!("TTL {ttl} s with new data; the median of {samples} answers was {median} s."),
            None,
        ));
    }
    let far = value >= limit(meta, "few_factor") * most.max(1.0) || value > limit(meta, "day_secs");
    (samples >= limit(meta, "few_samples") && samples < limit(meta, "samples") && far).then(|| {
        let why = format!("TTL {ttl} s with new data; the largest of {samples} answers was {most} s.");
        (Severity::Low, why, Some(format!("baseline: {samples} answers")))
    })
}

impl Rule for TtlJump {
    fn meta(&self) -> &RuleMeta {
        &self.meta
    }

    fn observe(&mut self, fact: &Fact<'_>, cx: &Context<'_>, out: &mut Vec<Draft>) {
        match fact {
            Fact::Exchange(exchange) => self.exchange(exchange, cx, out),
            Fact::Lookup(judged) if !self.taps.is_empty() && lookup::beyond_log(&judged.transaction) => {
                self.served(judged, cx, out);
            }
            // Around a gap an absent exchange means nothing; which replica lost it is not always known.
            Fact::Loss { .. } => self.served.retain(|_, _| false),
            Fact::Diagnostic { diagnostic, .. } => {
                let gap = matches!(
                    diagnostic,
                    Diagnostic::Version(_)
                        | Diagnostic::Reload { .. }
                        | Diagnostic::DnstapDropped(_)
                        | Diagnostic::DnstapNoConnection
                );
                if gap {
                    self.served.retain(|_, _| false);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &Context<'_>, _: &mut Vec<Draft>) {}

    fn evictions(&self) -> u64 {
        self.past.evictions() + self.served.evictions()
    }
}
