//! What passes in the walk as rows of a timeline, in words.

use truename_engine::Passing;
use truename_model::{
    Attribution, Citation, ClusterChange, Diagnostic, Event, Nanos, Observation, ObservedAt, RecordRef,
    Sha256, transaction::Judged,
};
use truename_report::{Row, RowKind};

/// Alternatives named in a row.
const ALTERNATIVES_MAX: usize = 3;
/// Answers named in a row.
const ANSWERS_MAX: usize = 4;

/// The row of something that passed, if it is worth one.
pub(crate) fn row(passing: &Passing<'_>, items: &[Sha256]) -> Option<Row> {
    match passing {
        Passing::Lookup(judged) => Some(lookup(judged, items)),
        Passing::Change(change) => Some(changed(change, items)),
        Passing::Seen(observation) => seen(observation, items),
    }
}

fn cite(record: RecordRef, items: &[Sha256]) -> Option<Citation> {
    Some(Citation { item: *items.get(record.item as usize)?, record: record.ordinal })
}

fn instant(at: ObservedAt) -> Option<Nanos> {
    at.interval().map(|interval| interval.lo)
}

/// Who asked, in words: a name, the alternatives, or why nobody is named.
pub(crate) fn who(attribution: &Attribution) -> String {
    match attribution {
        Attribution::Exact(workload, _) => workload.to_string(),
        Attribution::Ambiguous(alternatives) => {
            let names: Vec<String> =
                alternatives.iter().take(ALTERNATIVES_MAX).map(|a| a.workload.to_string()).collect();
            let more = alternatives.len().saturating_sub(names.len());
            let rest = if more > 0 { format!(" or {more} more") } else { String::new() };
            format!("one of {}{rest}", names.join(", "))
        }
        Attribution::Unknown(why) => format!("unknown ({})", why.phrase()),
    }
}

fn lookup(judged: &Judged, items: &[Sha256]) -> Row {
    let transaction = &judged.transaction;
    let client =
        transaction.client.map(|client| format!(" ({}:{})", client.ip, client.port)).unwrap_or_default();
    let rcode = transaction.rcode().map_or_else(|| "no answer".to_owned(), |rcode| rcode.to_string());
    let body = transaction.response.as_ref().map(|response| &response.body);
    let answers: Vec<String> = body
        .map(|body| body.answers.iter().take(ANSWERS_MAX).map(|record| record.rdata.to_string()).collect())
        .unwrap_or_default();
    let question = &transaction.question;
    Row {
        at: instant(transaction.asked),
        kind: RowKind::Lookup,
        who: format!("{}{client}", who(&judged.attribution)),
        what: format!("{} {} → {rcode} {}", question.name, question.rtype, answers.join(" "))
            .trim_end()
            .to_owned(),
        judged: judged.verdict.word().to_owned(),
        citation: transaction.records.first().and_then(|record| cite(*record, items)),
    }
}

fn changed(change: &ClusterChange, items: &[Sha256]) -> Row {
    let by =
        change.actor.as_ref().map_or_else(|| "cluster".to_owned(), |actor| format!("user {}", actor.user));
    Row {
        at: instant(change.at).or(change.seen_at.map(|seen| seen.lo)),
        kind: RowKind::Change,
        who: by,
        what: format!("{:?} {}", change.kind, change.object_ref()).to_lowercase(),
        judged: String::new(),
        citation: cite(change.record, items),
    }
}

fn seen(observation: &Observation, items: &[Sha256]) -> Option<Row> {
    let (kind, what) = match &observation.event {
        Event::Loss(loss) => (RowKind::Loss, loss.text.clone()),
        Event::Diagnostic(diagnostic) => (RowKind::Server, server_line(diagnostic)),
        Event::Dns(_) | Event::Undecodable { .. } | Event::Ignored(_) => return None,
    };
    let citation = cite(observation.record, items);
    Some(Row {
        at: instant(observation.at),
        kind,
        who: "dns server".to_owned(),
        what,
        judged: String::new(),
        citation,
    })
}

fn server_line(diagnostic: &Diagnostic) -> String {
    match diagnostic {
        Diagnostic::Version(version) => format!("started, version {version}"),
        Diagnostic::RunningConfiguration { algorithm, digest } => {
            format!("running configuration {algorithm} {digest}")
        }
        Diagnostic::Reload { succeeded: true } => "configuration reloaded".to_owned(),
        Diagnostic::Reload { succeeded: false } => "reload failed, the old configuration stays".to_owned(),
        Diagnostic::DnstapDropped(count) => format!("{count} dnstap messages dropped"),
        Diagnostic::DnstapNoConnection => "no connection to the dnstap endpoint".to_owned(),
        Diagnostic::UnsyncedApi => "answers before it has seen the objects".to_owned(),
        Diagnostic::QueryError { name, rtype, message, .. } => format!("error for {name} {rtype}: {message}"),
        Diagnostic::OutgoingTransfer { records, zone } => format!("transferred {records} records of {zone}"),
        Diagnostic::Other(text) => text.clone(),
    }
}

/// A record for display: text as it is, anything else as hexadecimal, both bounded by the caller.
pub(crate) fn record_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => text.trim_end().to_owned(),
        _ => bytes.iter().take(512).map(|byte| format!("{byte:02x}")).collect(),
    }
}
