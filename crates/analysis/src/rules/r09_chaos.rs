//! R09: questions that ask a server what it is: names of class CHAOS, the NSID option (RFC 5001), the type ANY.
//!
//! Enters: lookups; leaves: one draft per workload. Deliberately absent: different names asked with ANY or NSID, which
//! are one probe each, and options that no source but dnstap and packets shows.

use std::collections::BTreeSet;

use smallvec::SmallVec;
use truename_model::{Class, Rtype, RuleMeta, Severity, Transaction};

use super::bounded::{Table, Tally, limit};
use super::lookup;
use super::names::shown;
use super::who::Who;
use crate::facts::{Context, Draft, Fact, Rule};

/// Different probes kept per workload.
const NAMES_MAX: usize = 64;
/// Option code of the name server identifier (RFC 5001 §2.3).
const NSID: u16 = 3;

/// What of the question asks after the server itself.
fn probes(transaction: &Transaction) -> SmallVec<[String; 2]> {
    let mut found = SmallVec::new();
    let question = &transaction.question;
    if question.class == Class::CH {
        found.push(shown(&question.name));
    } else if question.rtype == Rtype::ANY {
        found.push("type ANY".to_owned());
    }
    let options = transaction.odd_query.as_ref().and_then(|query| query.edns.as_ref());
    if options.is_some_and(|edns| edns.options.iter().any(|(code, _)| *code == NSID)) {
        found.push("option NSID".to_owned());
    }
    found
}

/// The rule.
pub(crate) struct Chaos {
    meta: RuleMeta,
    clients: Table<Who, (BTreeSet<String>, String, Tally)>,
}

impl Chaos {
    pub(crate) fn new(meta: RuleMeta) -> Self {
        Self { meta, clients: Table::new(1_024) }
    }

    fn close(
        &self,
        who: &Who,
        (names, first, tally): (BTreeSet<String>, String, Tally),
        out: &mut Vec<Draft>,
    ) {
        let several = names.len() as f64 >= limit(&self.meta, "distinct");
        let severity = if several { Severity::Medium } else { Severity::Low };
        let title = format!("{} asked the server what it is ({} kinds of probe)", who.text(), names.len());
        let mut draft = Draft::new(&self.meta.id, severity, title);
        tally.fill(&mut draft);
        draft.subject = who.text();
        draft.workload = who.workload();
        draft.target = first;
        draft.why = format!("Asked: {}.", names.into_iter().collect::<Vec<_>>().join(", "));
        out.push(draft);
    }
}

impl Rule for Chaos {
    fn meta(&self) -> &RuleMeta {
        &self.meta
    }

    fn observe(&mut self, fact: &Fact<'_>, _: &Context<'_>, out: &mut Vec<Draft>) {
        let Fact::Lookup(judged) = fact else { return };
        let transaction = &judged.transaction;
        let found = probes(transaction);
        let Some(first) = found.first().cloned() else { return };
        let mut evicted = Vec::new();
        let (names, _, tally) = self.clients.entry(
            lookup::who(judged),
            || (BTreeSet::new(), first, Tally::default()),
            &mut evicted,
        );
        for probe in found {
            if names.len() < NAMES_MAX {
                names.insert(probe);
            }
        }
        tally.add(lookup::at(transaction), lookup::record(transaction), || lookup::line(transaction));
        evicted.into_iter().for_each(|(who, state)| self.close(&who, state, out));
    }

    fn finish(&mut self, _: &Context<'_>, out: &mut Vec<Draft>) {
        for (who, state) in self.clients.drain() {
            self.close(&who, state, out);
        }
    }

    fn evictions(&self) -> u64 {
        self.clients.evictions()
    }
}
