//! Machine-readable forms: JSON, JSON lines, CSV, Timesketch (<https://timesketch.org/guides/user/import-from-json-csv/>).

use serde_json::json;
use truename_model::{Finding, Outcome};

use crate::escape::{csv, terminal};
use crate::row::Row;

/// One finding per line, as the canonical bytes whose SHA-256 the log's conclusion holds.
#[must_use]
pub fn findings_jsonl(outcome: &Outcome) -> String {
    lines(outcome.findings.iter().map(to_json))
}

/// The whole outcome as one JSON document.
#[must_use]
pub fn outcome_json(outcome: &Outcome) -> String {
    let mut text = serde_json::to_string_pretty(outcome).unwrap_or_default();
    text.push('\n');
    text
}

/// The findings as CSV with a header.
#[must_use]
pub fn findings_csv(outcome: &Outcome) -> String {
    let mut out = "first,last,severity,rule,title,subject,target,count,id,suppressed\r\n".to_owned();
    for finding in &outcome.findings {
        let time = |pick: fn(truename_model::Interval) -> truename_model::Nanos| {
            finding.seen.map(|seen| pick(seen).to_string()).unwrap_or_default()
        };
        let cells = [
            time(|seen| seen.lo),
            time(|seen| seen.hi),
            finding.severity.word().to_owned(),
            finding.rule.clone(),
            finding.title.clone(),
            finding.subject.clone(),
            finding.target.clone(),
            finding.count.to_string(),
            finding.id.clone(),
            finding.suppressed.clone().unwrap_or_default(),
        ];
        out.push_str(&cells.map(|cell| csv(&cell)).join(","));
        out.push_str("\r\n");
    }
    out
}

/// Header of the timeline's CSV form.
pub const ROWS_CSV_HEADER: &str = "at,kind,who,what,judged,item,record\r\n";

/// One timeline row as CSV.
#[must_use]
pub fn row_csv(row: &Row) -> String {
    let (item, record) =
        row.citation.map_or_else(Default::default, |c| (c.item.to_string(), c.record.to_string()));
    let at = row.at.map(|at| at.to_string()).unwrap_or_default();
    let cells = [at.as_str(), row.kind.describes(), &row.who, &row.what, &row.judged, &item, &record];
    format!("{}\r\n", cells.map(csv).join(","))
}

/// One timeline row as a JSON line.
#[must_use]
pub fn row_jsonl(row: &Row) -> String {
    let row = Row { who: terminal(&row.who), what: terminal(&row.what), ..row.clone() };
    lines(std::iter::once(to_json(&row)))
}

/// One timeline row as a Timesketch JSON line; `None` without a time, which Timesketch cannot place.
#[must_use]
pub fn row_timesketch(row: &Row) -> Option<String> {
    let at = row.at?;
    let tag: Vec<&str> = if row.judged.is_empty() { Vec::new() } else { vec![&row.judged] };
    let value = json!({
        "message": terminal(&format!("{} {}", row.who, row.what)),
        "datetime": at.to_string(),
        "timestamp": at.0.div_euclid(1_000),
        "timestamp_desc": row.kind.describes(),
        "tag": tag,
        "item_sha256": row.citation.map(|c| c.item.to_string()),
        "record": row.citation.map(|c| c.record),
    });
    Some(format!("{value}\n"))
}

/// One finding as a Timesketch JSON line; `None` without a time.
#[must_use]
pub fn finding_timesketch(finding: &Finding) -> Option<String> {
    let at = finding.seen?.lo;
    let value = json!({
        "message": format!("{} {}: {} → {}", finding.rule, finding.title, finding.subject, finding.target),
        "datetime": at.to_string(),
        "timestamp": at.0.div_euclid(1_000),
        "timestamp_desc": "Finding first seen",
        "tag": [finding.severity.word(), &finding.rule],
        "finding_id": finding.id,
    });
    Some(format!("{value}\n"))
}

fn to_json<T: serde::Serialize>(value: &T) -> String {
    // Plain data with string keys: serialisation cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}

fn lines(items: impl Iterator<Item = String>) -> String {
    items.fold(String::new(), |mut out, line| {
        out.push_str(&line);
        out.push('\n');
        out
    })
}
