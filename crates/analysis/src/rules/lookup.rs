//! A lookup as rules read it: when, who, what came back. Enters: [`Judged`]; leaves: small values.

use truename_model::{
    Intent, IntentOutcome, Judged, Name, Nanos, ObservedAt, Question, RecordRef, Response, Transaction,
    Vantage,
};

use super::names::shown;
use super::who::Who;

/// When a lookup happened: its question's time, else its answer's.
pub(crate) fn at(transaction: &Transaction) -> ObservedAt {
    match transaction.asked {
        ObservedAt::Known(..) => transaction.asked,
        ObservedAt::OrderOnly | ObservedAt::None => transaction.answered,
    }
}

/// The earliest instant of [`at`].
pub(crate) fn instant(transaction: &Transaction) -> Option<Nanos> {
    at(transaction).interval().map(|at| at.lo)
}

/// The record to cite: the answer's, else the first.
pub(crate) fn record(transaction: &Transaction) -> Option<RecordRef> {
    transaction
        .response
        .as_ref()
        .map(|response| response.record)
        .or_else(|| transaction.records.first().copied())
}

/// The record of the question.
pub(crate) fn first_record(transaction: &Transaction) -> Option<RecordRef> {
    transaction.records.first().copied()
}

/// Who asked.
pub(crate) fn who(judged: &Judged) -> Who {
    Who::new(&judged.attribution, judged.transaction.client_ip())
}

/// `A gateway.example: NOERROR 192.0.2.66`, escaped.
pub(crate) fn line(transaction: &Transaction) -> String {
    line_of(&transaction.question, transaction.response.as_ref())
}

/// As [`line`], for any response to a question.
pub(crate) fn line_of(question: &Question, response: Option<&Response>) -> String {
    let mut text = format!("{} {}: ", question.rtype, shown(&question.name));
    let Some(response) = response else {
        text.push_str("no answer seen");
        return text;
    };
    text.push_str(&response.rcode.map_or_else(|| "no answer written".to_owned(), |rcode| rcode.to_string()));
    for record in response.body.answers.iter().take(8) {
        text.push(' ');
        text.push_str(&record.rdata.to_string());
    }
    if response.body.answers.len() > 8 {
        text.push_str(" …");
    }
    text
}

/// True if the lookup was seen in dnstap or packets, where sections can be.
pub(crate) fn beyond_log(transaction: &Transaction) -> bool {
    transaction.vantages.iter().any(|vantage| *vantage != Vantage::LogLine)
}

/// The name that the application meant: what the search list answered, or the name as it was given. Without the pod's
/// objects a name may have been cut at a suffix that was never in its search list; if there was only one step, the name
/// asked is as good.
pub(crate) fn meant<'i>(intent: &'i Intent, zone: &Name) -> &'i Name {
    match intent.outcome {
        IntentOutcome::ResolvedSearch(_) => &intent.last,
        _ if intent.queries <= 2 && !intent.base.is_at_or_below(zone) && intent.last.is_at_or_below(zone) => {
            &intent.last
        }
        _ => &intent.base,
    }
}
