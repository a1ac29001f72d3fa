//! Machine-readable forms: JSON, JSON lines, CSV, Timesketch (<https://timesketch.org/guides/user/import-from-json-csv/>).

use serde_json::json;
use truename_model::{Finding, Nanos, Outcome};

use crate::escape::{csv, html, terminal};
use crate::row::{Row, Shown};

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
pub const ROWS_CSV_HEADER: &str = "not_before,not_after,basis,kind,who,what,judged,item,record\r\n";

/// One timeline row as CSV.
#[must_use]
pub fn row_csv(row: &Row) -> String {
    let (item, record) =
        row.citation.map_or_else(Default::default, |c| (c.item.to_string(), c.record.to_string()));
    let [from, to] = bounds(row).map(Option::unwrap_or_default);
    let cells =
        [&from, &to, &row.basis, row.kind.describes(), &row.who, &row.what, &row.judged, &item, &record];
    format!("{}\r\n", cells.map(csv).join(","))
}

/// One timeline row as a JSON line.
#[must_use]
pub fn row_jsonl(row: &Row) -> String {
    let row = Row { who: terminal(&row.who), what: terminal(&row.what), ..row.clone() };
    lines(std::iter::once(to_json(&row)))
}

/// One timeline row as a Timesketch JSON line. A row without time is placed at the epoch, and says so.
#[must_use]
pub fn row_timesketch(row: &Row) -> String {
    let describes = row.kind.describes();
    let (at, desc) = match row.shown() {
        Shown::At(at) => (at, describes.to_owned()),
        Shown::NotAfter(at) => (at, format!("{describes} (not later than this)")),
        Shown::NotBefore(at) => (at, format!("{describes} (not before this)")),
        Shown::Never => (Nanos(0), format!("{describes} ({NO_TIME})")),
    };
    let timeless = (row.shown() == Shown::Never).then_some("no-time");
    let judged = (!row.judged.is_empty()).then_some(row.judged.as_str());
    let [from, to] = bounds(row);
    let value = json!({
        "message": terminal(&format!("{} {}", row.who, row.what)),
        "datetime": at.to_string(),
        "timestamp": at.0.div_euclid(1_000),
        "timestamp_desc": desc,
        "not_before": from,
        "not_after": to,
        "time_basis": row.basis,
        "tag": judged.into_iter().chain(timeless).collect::<Vec<_>>(),
        "item_sha256": row.citation.map(|c| c.item.to_string()),
        "record": row.citation.map(|c| c.record),
    });
    format!("{value}\n")
}

/// What is said of a time that nobody knows, in a form that must have one.
const NO_TIME: &str = "time not known; placed at the epoch";

fn bounds(row: &Row) -> [Option<String>; 2] {
    [row.not_before, row.not_after].map(|at| at.map(|at| at.to_string()))
}

/// Beginning of the timeline's page: no script, and nothing may be loaded.
#[must_use]
pub fn rows_html_head(title: &str) -> String {
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\"><title>Truename: {0}</title>\
         <style>body{{font:14px sans-serif}}td,th{{padding:.1em .6em;text-align:left;vertical-align:top}}\
         td.t{{font-family:monospace;white-space:nowrap}}</style></head><body><h1>Truename: timeline of {0}</h1>\n\
         <table><thead><tr><th>not before</th><th>not after</th><th>by</th><th>kind</th><th>who</th><th>what</th>\
         <th>judged</th><th>record</th></tr></thead><tbody>\n",
        html(title)
    )
}

/// End of the timeline's page.
pub const ROWS_HTML_FOOT: &str = "</tbody></table></body></html>\n";

/// One timeline row as a row of the page's table.
#[must_use]
pub fn row_html(row: &Row) -> String {
    let [from, to] = bounds(row).map(Option::unwrap_or_default);
    let record = row.citation.map(|c| format!("{} #{}", c.item, c.record)).unwrap_or_default();
    let cells = [&row.basis, row.kind.describes(), &row.who, &row.what, &row.judged, &record];
    let cells: String = cells.map(|cell| format!("<td>{}</td>", html(cell))).concat();
    format!("<tr><td class=\"t\">{from}</td><td class=\"t\">{to}</td>{cells}</tr>\n")
}

/// One finding as a Timesketch JSON line. A finding without time is placed at the epoch, and says so.
#[must_use]
pub fn finding_timesketch(finding: &Finding) -> String {
    let at = finding.seen.map_or(Nanos(0), |seen| seen.lo);
    let timeless = finding.seen.is_none().then_some("no-time");
    let desc = "Finding first seen";
    let tags: Vec<&str> =
        [finding.severity.word(), finding.rule.as_str()].into_iter().chain(timeless).collect();
    let value = json!({
        "message": format!("{} {}: {} → {}", finding.rule, finding.title, finding.subject, finding.target),
        "datetime": at.to_string(),
        "timestamp": at.0.div_euclid(1_000),
        "timestamp_desc": timeless.map_or_else(|| desc.to_owned(), |_| format!("{desc} ({NO_TIME})")),
        "tag": tags,
        "finding_id": finding.id,
    });
    format!("{value}\n")
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
