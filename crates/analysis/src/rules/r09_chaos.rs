//! R09: questions of class CHAOS, which ask a server what it is.
//!
//! Enters: lookups; leaves: one draft per workload. Deliberately absent: NSID options, which no joined lookup carries.

use std::collections::BTreeSet;

use truename_model::{Class, RuleMeta, Severity};

use super::bounded::{Table, Tally, limit};
use super::lookup;
use super::names::shown;
use super::who::Who;
use crate::facts::{Context, Draft, Fact, Rule};

/// Different names kept per workload.
const NAMES_MAX: usize = 64;

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
        let title = format!("{} asked the server what it is ({} CHAOS names)", who.text(), names.len());
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
        if transaction.question.class != Class::CH {
            return;
        }
        let (name, mut evicted) = (shown(&transaction.question.name), Vec::new());
        let first = name.clone();
        let (names, _, tally) = self.clients.entry(
            lookup::who(judged),
            || (BTreeSet::new(), first, Tally::default()),
            &mut evicted,
        );
        if names.len() < NAMES_MAX {
            names.insert(name);
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
