//! H01: answers that contradict the cluster. The verdict decides, never a rule of thumb.
//!
//! Enters: judged lookups; leaves: a draft per false answer, which detection sums up per server and name, or per
//! victim and name where only the wire shows the answer (then any server may be innocent).
//! Deliberately absent: forged upstream answers (P01, P06) and shapes (H02).

use truename_model::{
    Contradiction, Endpoint, Judged, ObjectRef, Response, RuleMeta, Severity, Transaction, Vantage, Verdict,
    WorkloadKind,
};

use super::lookup;
use super::names::shown;
use super::who::replica;
use crate::compare::is_part_of;
use crate::facts::{Context, Draft, Fact, Rule};

/// The rule.
pub(crate) struct FalseAnswer {
    meta: RuleMeta,
}

/// What is false in a lookup, and how it reads.
struct Claim<'a> {
    severity: Severity,
    how: &'static str,
    answer: &'a Response,
    objects: &'a [ObjectRef],
    expected: String,
}

impl FalseAnswer {
    pub(crate) fn new(meta: RuleMeta) -> Self {
        Self { meta }
    }

    fn draft(&self, judged: &Judged, claim: &Claim<'_>, cx: &Context<'_>) -> Draft {
        let transaction = &judged.transaction;
        let (when, name) = (lookup::at(transaction), shown(&transaction.question.name));
        let who = lookup::who(judged);
        let by_server = server(transaction, claim.answer, cx);
        let title = format!("{} received a false answer for {name}: {}", who.text(), claim.how);
        let mut draft = Draft::new(&self.meta.id, claim.severity, title);
        match by_server {
            Some(replica) => draft.subject = replica,
            None => {
                draft.subject = who.text();
                draft.workload = who.workload();
            }
        }
        let line = lookup::line_of(&transaction.question, Some(claim.answer));
        draft.target = name;
        draft.seen = when.interval();
        draft.why = format!("Answered: {line}. Expected: {}.", claim.expected);
        draft.objects = claim.objects.to_vec();
        let at = claim.answer.at.interval().or(when.interval());
        draft.evidence.push((at.map(|at| at.lo), claim.answer.record, line));
        draft.victims.push(who.text());
        draft
    }
}

/// The replica that said it, where its own records show that it did, or a capture shows its own address answering;
/// what else the wire shows is nobody's, for anybody may have sent it.
pub(crate) fn server(transaction: &Transaction, answer: &Response, cx: &Context<'_>) -> Option<String> {
    let own_record = !matches!(answer.vantage, Vantage::PacketResponse);
    let own_address =
        || answer.server.is_some_and(|server| is_named_replica(cx, server, transaction, answer));
    (own_record || own_address())
        .then(|| replica(cx, transaction.origin, answer.server, answer.at.interval()))
}

/// True if the answering address belongs to the very pod that the capture's origin names.
fn is_named_replica(
    cx: &Context<'_>,
    server: Endpoint,
    transaction: &Transaction,
    answer: &Response,
) -> bool {
    let Some(at) = answer.at.interval() else { return false };
    let named = cx.origin(transaction.origin).and_then(|origin| origin.replica.value());
    let holder = cx.knowledge.owners(server.ip, at).0;
    let pod = holder.exact().filter(|workload| workload.kind == WorkloadKind::Pod);
    pod.zip(named).is_some_and(|(pod, named)| pod.name == *named)
}

/// The verdict's contradiction; else an answer on the wire that differs from a true one of the server.
fn claim(judged: &Judged) -> Option<Claim<'_>> {
    let response = judged.transaction.response.as_ref()?;
    match &judged.verdict {
        Verdict::Contradicted { how, by, expected } => Some(Claim {
            severity: severity(*how)?,
            how: how.phrase(),
            answer: the_false_one(&judged.transaction, response, expected),
            objects: by,
            expected: expected.clone(),
        }),
        Verdict::Verified { by } | Verdict::Stale { by } => {
            let other = judged.transaction.dissent.as_deref()?;
            let claims = other.body.sections_seen && !other.body.answers.is_empty();
            (claims && !is_part_of(&other.body.answers, &response.body.answers)).then(|| Claim {
                severity: Severity::Critical,
                how: "the wire shows another answer than the server gave",
                answer: other,
                objects: by,
                expected: lookup::line_of(&judged.transaction.question, Some(response)),
            })
        }
        _ => None,
    }
}

/// Where vantages differ, the answer that is not what was expected: the verdict is on the lookup as a whole.
fn the_false_one<'a>(transaction: &'a Transaction, response: &'a Response, expected: &str) -> &'a Response {
    let Some(other) = transaction.dissent.as_deref() else { return response };
    let is_expected = |response: &Response| {
        let mut addresses = response.body.addresses().peekable();
        addresses.peek().is_some() && addresses.all(|ip| expected.contains(&ip.to_string()))
    };
    if is_expected(response) && !is_expected(other) { other } else { response }
}

fn severity(how: Contradiction) -> Option<Severity> {
    match how {
        Contradiction::WrongAddress | Contradiction::ExtraAddress | Contradiction::WrongAlias => {
            Some(Severity::Critical)
        }
        Contradiction::ShouldNotExist | Contradiction::ShouldExist | Contradiction::NoProvenance => {
            Some(Severity::High)
        }
        Contradiction::TtlBeyondConfiguration | Contradiction::ForgedUpstream => None,
    }
}

impl Rule for FalseAnswer {
    fn meta(&self) -> &RuleMeta {
        &self.meta
    }

    fn observe(&mut self, fact: &Fact<'_>, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let Fact::Lookup(judged) = fact else { return };
        if let Some(claim) = claim(judged) {
            out.push(self.draft(judged, &claim, cx));
        }
    }

    fn finish(&mut self, _: &Context<'_>, _: &mut Vec<Draft>) {}
}
