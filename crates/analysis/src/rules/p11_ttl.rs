//! P11: the TTL of an upstream answer jumps together with new data, pins an answer for more than a week, or rises
//! on the client side without any upstream answer.
//!
//! Enters: exchanges and lookups seen beyond the log; leaves: one draft per upstream or replica and name.
//! Deliberately absent: names of the cluster, whose TTL the truth model judges.

use std::collections::BTreeSet;
use std::net::IpAddr;

use truename_model::{
    ClockBasis, Diagnostic, Endpoint, Explanation, Flags, Judged, Name, Nanos, ObservedAt, OriginId, Rcode,
    RecordRef, Rtype, RuleMeta, Severity, UpstreamExchange, Vantage, Verdict,
};

use super::bounded::{Table, Tally, limit};
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
    // Rises that no upstream answer explains so far: exchanges are told of some seconds after what they caused.
    rises: Vec<Rise>,
}

#[derive(Debug)]
struct Rise {
    at: Nanos,
    when: ObservedAt,
    record: RecordRef,
    ttl: u32,
    server: Option<Endpoint>,
    client: String,
}

/// How long a rise waits for the upstream answer that explains it: longer than exchanges are held open.
const WAIT_NS: i64 = 30_000_000_000;
/// By how much an upstream answer may seem to come after what it caused.
const SKEW_NS: i64 = 1_000_000_000;
/// Rises kept per name.
const RISES_MAX: usize = 16;

/// The rule.
pub(crate) struct TtlJump {
    meta: RuleMeta,
    past: Table<(OriginId, Name, Rtype), Past>,
    served: Table<CacheKey, Served>,
    // Replicas whose upstream leg is in the evidence: only there is an absent exchange a sign. A capture may show the leg of
    // one server and the clients of another: its addresses tell them apart, those of a tap do not.
    taps: BTreeSet<(OriginId, Option<IpAddr>)>,
}

impl TtlJump {
    pub(crate) fn new(meta: RuleMeta) -> Self {
        Self { meta, past: Table::new(16_384), served: Table::new(16_384), taps: BTreeSet::new() }
    }

    fn exchange(&mut self, exchange: &UpstreamExchange, cx: &Context<'_>, out: &mut Vec<Draft>) {
        self.renew(exchange);
        let Some(response) = exchange.response.as_ref() else { return };
        let captured = response.vantage == Vantage::PacketResponse;
        self.taps.insert((exchange.origin, exchange.local.filter(|_| captured).map(|local| local.ip)));
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

    /// An upstream answer renews what the cache holds of a name, and explains the rises after it.
    fn renew(&mut self, exchange: &UpstreamExchange) {
        for rtype in [Rtype::A, Rtype::AAAA] {
            for (dnssec, checking_disabled) in [(false, false), (false, true), (true, false), (true, true)] {
                let (origin, name) = (exchange.origin, exchange.question.name.clone());
                let key = CacheKey { origin, name, rtype, dnssec, checking_disabled };
                let Some(mut served) = self.served.remove(&key) else { continue };
                served.rises.retain(|rise| rise.at.plus(SKEW_NS) < exchange.at.lo);
                if !served.rises.is_empty() {
                    // The baseline goes on at the greatest TTL there is, so that it explains whatever follows.
                    served.ttl = u32::MAX;
                    self.served.slot(key, || served);
                }
            }
        }
    }

    fn is_tapped(&self, origin: OriginId, server: Option<Endpoint>) -> bool {
        let at = |server: Endpoint| self.taps.contains(&(origin, Some(server.ip)));
        self.taps.contains(&(origin, None)) || server.is_some_and(at)
    }

    fn served(&mut self, judged: &Judged, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let transaction = &judged.transaction;
        let Some(response) = transaction.response.as_ref() else { return };
        let question = &transaction.question;
        let from_upstream = matches!(&judged.verdict, Verdict::Explained { by: Explanation::Upstream(_) })
            || matches!(&judged.verdict, Verdict::Unverifiable { .. });
        if !from_upstream
            || !self.is_tapped(transaction.origin, response.server)
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
        // The lookup that made the replica ask is the renewal itself.
        if !transaction.upstream.is_empty() {
            self.served.slot(key, || Served { at, ttl, rises: Vec::new() }).ttl = ttl;
            return;
        }
        let served = self.served.slot(key, || Served { at, ttl, rises: Vec::new() });
        let elapsed = at.since(served.at) / 1_000_000_000;
        let left = (i64::from(served.ttl) - elapsed).max(0);
        let rises = elapsed >= 0 && i64::from(ttl) > left + SLACK_SECS && at > served.at;
        if rises && served.rises.len() < RISES_MAX {
            let (when, record) = (lookup::at(transaction), response.record);
            let client = lookup::who(judged).text();
            served.rises.push(Rise { at, when, record, ttl, server: response.server, client });
        }
        (served.at, served.ttl) = (at, ttl);
        if served.rises.first().is_some_and(|first| at.since(first.at) > WAIT_NS) {
            let rises = std::mem::take(&mut served.rises);
            out.push(rising(&self.meta, (transaction.origin, &question.name), rises, cx));
        }
    }
}

fn rising(meta: &RuleMeta, (origin, name): (OriginId, &Name), rises: Vec<Rise>, cx: &Context<'_>) -> Draft {
    let name = shown(name);
    let title = format!("The TTL of {name} rises without an upstream answer");
    let mut draft = Draft::new(&meta.id, Severity::High, title);
    let first = rises.first();
    let at = first.and_then(|rise| rise.when.interval());
    draft.subject = replica(cx, origin, first.and_then(|rise| rise.server), at);
    draft.target = name;
    draft.why =
        "A cached TTL only falls until the replica asks again, and its upstream leg shows no question."
            .to_owned();
    let mut tally = Tally::default();
    for rise in rises {
        tally.add(rise.when, Some(rise.record), || format!("TTL {}", rise.ttl));
        tally.victim(rise.client);
    }
    tally.fill(&mut draft);
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

    fn finish(&mut self, cx: &Context<'_>, out: &mut Vec<Draft>) {
        for (key, served) in self.served.drain() {
            if !served.rises.is_empty() {
                out.push(rising(&self.meta, (key.origin, &key.name), served.rises, cx));
            }
        }
    }

    fn evictions(&self) -> u64 {
        self.past.evictions() + self.served.evictions()
    }
}
