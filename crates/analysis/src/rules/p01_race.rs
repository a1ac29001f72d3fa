//! P01: answers sent to the forwarder with wrong query ids, or to ports without an open question; P06: a second,
//! different answer to one question.
//!
//! Enters: upstream exchanges from packets, and lookups whose answer was judged forged (their clients are victims);
//! leaves: one draft per upstream and name. Deliberately absent: late replies, which the join has sorted out.

use std::net::IpAddr;

use truename_model::{
    ClockBasis, Contradiction, Judged, Name, Nanos, ObservedAt, RuleMeta, Severity, UpstreamExchange, Verdict,
};

use super::bounded::{Table, Tally, Window, limit, limit_ns};
use super::lookup;
use super::names::shown;
use super::who::replica;
use crate::compare::same_data;
use crate::facts::{Context, Draft, Fact, Rule};

/// What an instance looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Race {
    /// P01.
    Guess,
    /// P06.
    Second,
}

#[derive(Debug)]
struct Attack {
    severity: Severity,
    guesses: u64,
    // Of these: answers to no open question.
    unasked: u64,
    queries: u64,
    // The asker, where nothing tells what it is.
    unplaced: Option<IpAddr>,
    won: bool,
    tally: Tally,
}

/// The rule.
pub(crate) struct UpstreamRace {
    meta: RuleMeta,
    race: Race,
    attacks: Table<(String, Name), Attack>,
    victims: Table<Name, Tally>,
    // Per upstream: (guesses, port) of recent exchanges.
    recent: Table<String, Window<(u32, u16)>>,
    guessed_queries: Table<String, u64>,
}

/// Exchanges remembered per upstream.
const RECENT_MAX: usize = 4_096;

impl UpstreamRace {
    pub(crate) fn new(meta: RuleMeta, race: Race) -> Self {
        Self {
            meta,
            race,
            attacks: Table::new(4_096),
            victims: Table::new(4_096),
            recent: Table::new(256),
            guessed_queries: Table::new(256),
        }
    }

    fn exchange(&mut self, exchange: &UpstreamExchange, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let subject = subject(exchange, cx);
        let severity = match self.race {
            Race::Guess => self.guessed(exchange, &subject),
            Race::Second => self.second(exchange),
        };
        let Some(severity) = severity else { return };
        let fresh = || Attack {
            severity,
            guesses: 0,
            unasked: 0,
            queries: 0,
            unplaced: None,
            won: false,
            tally: Tally::default(),
        };
        let mut evicted = Vec::new();
        let attack = self.attacks.entry((subject, exchange.question.name.clone()), fresh, &mut evicted);
        attack.severity = attack.severity.max(severity);
        attack.guesses += u64::from(exchange.mismatched_count);
        attack.unplaced =
            attack.unplaced.or(exchange.local.filter(|_| exchange.unplaced).map(|local| local.ip));
        if exchange.is_unasked() {
            attack.unasked += u64::from(exchange.mismatched_count);
        } else {
            attack.queries += 1;
        }
        attack.won |= exchange.mismatched_like_answer > 0 || self.race == Race::Second;
        cite(exchange, self.race, &mut attack.tally);
        evicted.into_iter().for_each(|(key, attack)| self.close(key, attack, out));
    }

    /// The catalogue's four thresholds for guessed ids.
    fn guessed(&mut self, exchange: &UpstreamExchange, subject: &str) -> Option<Severity> {
        let count = exchange.mismatched_count;
        if count == 0 {
            return None;
        }
        let at = exchange.at.hi;
        let port = exchange.local.map_or(0, |local| local.port);
        let longest = limit_ns(&self.meta, "flood_window_secs").max(limit_ns(&self.meta, "port_window_secs"));
        let recent = self.recent.slot(subject.to_owned(), Window::default);
        recent.push(at, (count, port), longest, RECENT_MAX);
        let sum = |window_ns: i64, same_port: bool| -> f64 {
            let inside = recent.iter().filter(|(then, (_, p))| {
                at.since(*then) <= window_ns && (!same_port || (*p == port && port != 0))
            });
            inside.map(|(_, (count, _))| f64::from(*count)).sum()
        };
        let flood = sum(limit_ns(&self.meta, "flood_window_secs"), false) >= limit(&self.meta, "flood");
        let on_port = sum(limit_ns(&self.meta, "port_window_secs"), true) >= limit(&self.meta, "port_count");
        // Only what came while the query was open is part of a race; the rest counts for its port.
        let many = f64::from(exchange.mismatched_open) >= limit(&self.meta, "per_query");
        if many {
            *self.guessed_queries.slot(subject.to_owned(), || 0) += 1;
        }
        let queries = self.guessed_queries.get(&subject.to_owned()).copied().unwrap_or(0) as f64;
        if flood || (many && queries >= limit(&self.meta, "queries")) {
            Some(Severity::Critical)
        } else if many && exchange.response.is_some() {
            // The catalogue asks for a match after them, not whose it was: the incident tells whether the forger won.
            Some(Severity::High)
        } else {
            on_port.then_some(Severity::Medium)
        }
    }

    fn second(&self, exchange: &UpstreamExchange) -> Option<Severity> {
        let (first, second) = (exchange.response.as_ref()?, exchange.second.as_ref()?);
        let (first_at, second_at) = (first.at.interval()?, second.at.interval()?);
        let soon = second_at.lo.since(first_at.hi).abs() <= limit_ns(&self.meta, "window_secs");
        // A plugin that answers SERVFAIL twice says nothing; two different sets of data do.
        let claims = first.body.sections_seen && second.body.sections_seen;
        let some_data = !(first.body.answers.is_empty() && second.body.answers.is_empty());
        (soon && claims && some_data && !same_data(&first.body, &second.body)).then_some(Severity::Critical)
    }

    fn victim(&mut self, judged: &Judged) {
        let transaction = &judged.transaction;
        let tally = self.victims.slot(transaction.question.name.clone(), Tally::default);
        let answer = transaction.response.as_ref();
        let at = answer.map_or_else(|| lookup::at(transaction), |answer| answer.at);
        let record = answer.map_or_else(|| lookup::record(transaction), |answer| Some(answer.record));
        tally.add(at, record, || {
            format!("given to {}: {}", lookup::who(judged).text(), lookup::line(transaction))
        });
        tally.victim(lookup::who(judged).text());
    }

    fn close(&mut self, (subject, name): (String, Name), mut attack: Attack, out: &mut Vec<Draft>) {
        let target = shown(&name);
        let title = match self.race {
            Race::Guess if attack.unasked == attack.guesses => {
                format!("{} answers for {target} came to ports without an open question", attack.guesses)
            }
            Race::Guess => {
                let guesses = attack.guesses - attack.unasked;
                format!("{guesses} answers with wrong ids were sent to open questions for {target}")
            }
            Race::Second => format!("The question for {target} was answered twice, with different data"),
        };
        let mut draft = Draft::new(&self.meta.id, attack.severity, title);
        let count = attack.tally.count;
        draft.why = match (attack.queries, attack.unasked) {
            (0, _) => "No question that was open at the time explains them.".to_owned(),
            (queries, 0) => format!("{queries} of the forwarder's questions were concerned."),
            (queries, unasked) => format!(
                "{queries} of the forwarder's questions were concerned; {unasked} more answers came to ports without an \
                 open question."
            ),
        };
        if let Some(asker) = attack.unplaced {
            draft.why.push_str(&format!(
                " The evidence does not tell whether the asker, {asker}, is a server of the cluster's DNS or a client."
            ));
        }
        if let Some(victims) = self.victims.get(&name) {
            attack.won = true;
            attack.severity = attack.severity.max(Severity::High);
            let given = victims.count;
            draft.why.push_str(&format!(" The replica then gave the forged data to clients {given} times."));
            attack.tally.victims.extend(victims.victims.iter().cloned());
            for (at, record, shows) in &victims.evidence {
                let when = at.map_or(ObservedAt::None, known);
                attack.tally.cite(when, Some(*record), || shows.clone());
            }
        }
        if attack.won && self.race == Race::Guess {
            draft.why.push_str(" The sender that guessed wrong ids also sent the answer that was taken.");
        }
        attack.tally.fill(&mut draft);
        draft.count = count.max(1);
        draft.subject = subject;
        draft.target = target;
        out.push(draft);
    }
}

fn known(at: Nanos) -> ObservedAt {
    ObservedAt::Known(truename_model::Interval { lo: at, hi: at }, ClockBasis::Packet)
}

/// The upstream whose address the answers bear, else the replica.
pub(crate) fn subject(exchange: &UpstreamExchange, cx: &Context<'_>) -> String {
    match exchange.upstream {
        Some(server) if exchange.unplaced => format!("server {}", server.ip),
        Some(upstream) => format!("upstream {}", upstream.ip),
        None => replica(cx, exchange.origin, exchange.local, Some(exchange.at)),
    }
}

fn cite(exchange: &UpstreamExchange, race: Race, tally: &mut Tally) {
    let at = ObservedAt::Known(exchange.at, ClockBasis::Packet);
    let name = shown(&exchange.question.name);
    tally.add(at, exchange.query, || format!("asked upstream: {} {name}", exchange.question.rtype));
    if race == Race::Guess {
        let unasked = exchange.is_unasked();
        let what = if unasked { "to no open question" } else { "with a wrong id" };
        for (index, record) in exchange.mismatched.iter().take(8).enumerate() {
            // The exchange keeps which packets did not match, not when each came but for the first.
            let at = if unasked && index == 0 { at } else { ObservedAt::None };
            tally.cite(at, Some(*record), || format!("answer for {name} {what}"));
        }
    }
    let answers = exchange
        .response
        .iter()
        .map(|first| (first, "taken"))
        .chain(exchange.second.as_deref().map(|second| (second, "second answer")));
    for (response, which) in answers {
        tally.cite(response.at, Some(response.record), || {
            let data: Vec<String> =
                response.body.answers.iter().take(8).map(|r| r.rdata.to_string()).collect();
            format!("{which}: {name} {}", data.join(" "))
        });
    }
}

impl Rule for UpstreamRace {
    fn meta(&self) -> &RuleMeta {
        &self.meta
    }

    fn observe(&mut self, fact: &Fact<'_>, cx: &Context<'_>, out: &mut Vec<Draft>) {
        match fact {
            Fact::Exchange(exchange) => self.exchange(exchange, cx, out),
            Fact::Lookup(judged) => {
                if let Verdict::Contradicted { how: Contradiction::ForgedUpstream, .. } = judged.verdict {
                    self.victim(judged);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &Context<'_>, out: &mut Vec<Draft>) {
        for (key, attack) in self.attacks.drain() {
            self.close(key, attack, out);
        }
    }

    fn evictions(&self) -> u64 {
        self.attacks.evictions() + self.victims.evictions() + self.recent.evictions()
    }
}
