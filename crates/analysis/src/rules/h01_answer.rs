//! H01: answers that contradict the cluster. The verdict decides, never a rule of thumb.
//!
//! Enters: judged lookups; leaves: a draft per false answer, which detection sums up per server and name.
//! Deliberately absent: forged upstream answers (P01, P06) and shapes (H02).

use truename_model::{Contradiction, Judged, RuleMeta, Severity, Verdict};

use super::lookup;
use super::names::shown;
use super::who::replica;
use crate::facts::{Context, Draft, Fact, Rule};

/// The rule.
pub(crate) struct FalseAnswer {
    meta: RuleMeta,
}

impl FalseAnswer {
    pub(crate) fn new(meta: RuleMeta) -> Self {
        Self { meta }
    }

    fn draft(&self, judged: &Judged, severity: Severity, cx: &Context<'_>) -> Option<Draft> {
        let Verdict::Contradicted { how, by, expected } = &judged.verdict else { return None };
        let transaction = &judged.transaction;
        let (when, name) = (lookup::at(transaction), shown(&transaction.question.name));
        let server = transaction.response.as_ref().and_then(|response| response.server);
        let subject = replica(cx, transaction.origin, server, when.interval());
        let mut draft = Draft::new(
            &self.meta.id,
            severity,
            format!("{subject} gave a false answer for {name}: {}", how.phrase()),
        );
        draft.subject = subject;
        draft.target = name;
        draft.seen = when.interval();
        draft.why = format!("Answered: {}. Expected: {expected}.", lookup::line(transaction));
        draft.objects = by.to_vec();
        if let Some(record) = lookup::record(transaction) {
            draft.evidence.push((when.interval().map(|at| at.lo), record, lookup::line(transaction)));
        }
        draft.victims.push(lookup::who(judged).text());
        Some(draft)
    }
}

impl Rule for FalseAnswer {
    fn meta(&self) -> &RuleMeta {
        &self.meta
    }

    fn observe(&mut self, fact: &Fact<'_>, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let Fact::Lookup(judged) = fact else { return };
        let Verdict::Contradicted { how, .. } = &judged.verdict else { return };
        let severity = match how {
            Contradiction::WrongAddress | Contradiction::ExtraAddress | Contradiction::WrongAlias => {
                Severity::Critical
            }
            Contradiction::ShouldNotExist | Contradiction::ShouldExist | Contradiction::NoProvenance => {
                Severity::High
            }
            Contradiction::TtlBeyondConfiguration | Contradiction::ForgedUpstream => return,
        };
        out.extend(self.draft(judged, severity, cx));
    }

    fn finish(&mut self, _: &Context<'_>, _: &mut Vec<Draft>) {}
}
