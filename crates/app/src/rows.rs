//! What passes in the walk as rows of a timeline, in words.

use truename_engine::{OneChange, Passing};
use truename_model::{
    Attribution, Citation, ClockBasis, Diagnostic, Event, Nanos, Observation, ObservedAt, RecordRef, Sha256,
    object::ChangeSource, transaction::Judged,
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

/// Bounds and basis of a time.
fn when(at: ObservedAt) -> (Option<Nanos>, Option<Nanos>, String) {
    match at {
        ObservedAt::Known(interval, basis) => (Some(interval.lo), Some(interval.hi), clock(basis).to_owned()),
        ObservedAt::OrderOnly => (None, None, "order only".to_owned()),
        ObservedAt::None => (None, None, String::new()),
    }
}

fn clock(basis: ClockBasis) -> &'static str {
    match basis {
        ClockBasis::Packet => "packet",
        ClockBasis::Dnstap => "dnstap",
        ClockBasis::ContainerRuntime => "container runtime",
        ClockBasis::LogLine => "log line",
        ClockBasis::Journal => "journal",
        ClockBasis::Audit => "audit log",
        ClockBasis::ObjectField => "time field",
        ClockBasis::Snapshot => "receipt",
        ClockBasis::Inferred => "inferred",
    }
}

/// Every source of a change with the clock it goes by: `audit log, watch (receipt)`.
fn sources(one: &OneChange<'_>) -> String {
    let words = one.told.iter().map(|(source, basis)| {
        let by = basis.map_or("receipt", clock);
        match source {
            ChangeSource::Audit => "audit log".to_owned(),
            ChangeSource::Watch => format!("watch ({by})"),
            ChangeSource::Snapshot => format!("snapshot ({by})"),
        }
    });
    words.collect::<Vec<_>>().join(", ")
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
    let (not_before, not_after, basis) = when(transaction.asked);
    Row {
        not_before,
        not_after,
        basis,
        kind: RowKind::Lookup,
        who: format!("{}{client}", who(&judged.attribution)),
        what: format!("{} {} → {rcode} {}", question.name, question.rtype, answers.join(" "))
            .trim_end()
            .to_owned(),
        judged: judged.verdict.word().to_owned(),
        citation: transaction.records.first().and_then(|record| cite(*record, items)),
    }
}

fn changed(one: &OneChange<'_>, items: &[Sha256]) -> Row {
    let change = one.change;
    let by =
        change.actor.as_ref().map_or_else(|| "cluster".to_owned(), |actor| format!("user {}", actor.user));
    Row {
        not_before: one.not_before,
        not_after: one.not_after,
        basis: sources(one),
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
    let (not_before, not_after, basis) = when(observation.at);
    Some(Row {
        not_before,
        not_after,
        basis,
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
