//! P07: the upstream answers another question than was asked, as a forger's answer with a lucky id does.
//!
//! Enters: exchanges; FORMERR lookups where only the log shows them; leaves: one draft per upstream and hour.
//! Deliberately absent: FORMERR that the upstream itself sent.

use truename_model::{
    ClockBasis, Judged, Nanos, ObservedAt, Rcode, RuleMeta, Severity, UpstreamExchange, Vantage,
};

use super::bounded::{Table, Tally, Window, limit, limit_ns};
use super::lookup;
use super::names::{is_public, shown};
use super::p01_race::subject;
use super::who::replica;
use crate::facts::{Context, Draft, Fact, Rule};

#[derive(Debug)]
struct Seen {
    target: String,
    window: Window<()>,
    most: usize,
    in_log_only: bool,
    tally: Tally,
}

/// The rule.
pub(crate) struct WrongQuestion {
    meta: RuleMeta,
    upstreams: Table<String, Seen>,
}

impl WrongQuestion {
    pub(crate) fn new(meta: RuleMeta) -> Self {
        Self { meta, upstreams: Table::new(512) }
    }

    fn entry(
        &mut self,
        who: String,
        target: String,
        at: Option<Nanos>,
        in_log_only: bool,
        out: &mut Vec<Draft>,
    ) -> &mut Tally {
        let fresh = || Seen {
            target,
            window: Window::default(),
            most: 0,
            in_log_only: true,
            tally: Tally::default(),
        };
        let mut evicted = Vec::new();
        let (window_ns, meta) = (limit_ns(&self.meta, "window_secs"), &self.meta);
        let seen = self.upstreams.entry(who, fresh, &mut evicted);
        for (who, seen) in evicted {
            out.push(draft(meta, who, seen));
        }
        seen.in_log_only &= in_log_only;
        if let Some(at) = at {
            seen.window.push(at, (), window_ns, 1_024);
        }
        seen.most = seen.most.max(seen.window.len());
        &mut seen.tally
    }

    fn exchange(&mut self, exchange: &UpstreamExchange, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let target = shown(&exchange.question.name);
        let tally = self.entry(subject(exchange, cx), target.clone(), Some(exchange.at.lo), false, out);
        let at = ObservedAt::Known(exchange.at, ClockBasis::Packet);
        let record = exchange.response.as_ref().map(|response| response.record).or(exchange.query);
        tally.add(at, record, || {
            let other = exchange.response.as_ref().and_then(|response| response.body.question.as_ref());
            let other = other
                .map_or_else(|| "another question".to_owned(), |q| format!("{} {}", q.rtype, shown(&q.name)));
            format!("asked {} {target}, answered {other}", exchange.question.rtype)
        });
    }

    fn format_error(&mut self, judged: &Judged, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let transaction = &judged.transaction;
        let when = lookup::at(transaction);
        let who = replica(cx, transaction.origin, None, when.interval());
        let tally =
            self.entry(who, shown(&transaction.question.name), lookup::instant(transaction), true, out);
        tally.add(when, lookup::record(transaction), || lookup::line(transaction));
    }
}

fn draft(meta: &RuleMeta, who: String, seen: Seen) -> Draft {
    let several = seen.most as f64 >= limit(meta, "several");
    let severity = if several { Severity::High } else { Severity::Medium };
    let title = format!("{who} answered other questions than were asked ({} times)", seen.tally.count);
    let mut draft = Draft::new(&meta.id, severity, title);
    seen.tally.fill(&mut draft);
    draft.why = format!(
        "At most {} within the window; a forger that hits the id still has to know the question.",
        seen.most
    );
    if seen.in_log_only {
        draft.severity = draft.severity.lowered();
        draft.graded.push("only FORMERR lines of the log show it, not the upstream's answers".to_owned());
    }
    draft.subject = who;
    draft.target = seen.target;
    draft
}

/// A FORMERR that CoreDNS made itself, in a log, where no other vantage shows what the upstream answered.
fn is_own_format_error(judged: &Judged, cx: &Context<'_>) -> bool {
    let transaction = &judged.transaction;
    transaction.rcode() == Some(Rcode::FORMERR)
        && transaction.upstream.iter().all(|exchange| exchange.response.is_none())
        && transaction.vantages.contains(&Vantage::LogLine)
        && is_public(&transaction.question.name, cx.knowledge.cluster_domain().as_ref(), cx.profile)
}

impl Rule for WrongQuestion {
    fn meta(&self) -> &RuleMeta {
        &self.meta
    }

    fn observe(&mut self, fact: &Fact<'_>, cx: &Context<'_>, out: &mut Vec<Draft>) {
        match fact {
            Fact::Exchange(exchange) if exchange.wrong_question => self.exchange(exchange, cx, out),
            Fact::Lookup(judged) if is_own_format_error(judged, cx) => self.format_error(judged, cx, out),
            _ => {}
        }
    }

    fn finish(&mut self, _: &Context<'_>, out: &mut Vec<Draft>) {
        for (who, seen) in self.upstreams.drain() {
            out.push(draft(&self.meta, who, seen));
        }
    }

    fn evictions(&self) -> u64 {
        self.upstreams.evictions()
    }
}
