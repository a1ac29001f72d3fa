//! The report as one self-contained page: timeline, a graph for each incident, every finding with its evidence.
//!
//! The template escapes every value; a content security policy with digests keeps anything else from running.
//! Positions in the drawings are computed here, so the page shows them without its script too.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use base64::Engine as _;
use sha2::{Digest as _, Sha256};
use truename_model::{Citation, Evidence, Finding, Incident, Outcome, SourceCoverage};

use crate::escape::terminal;
use crate::summary::{coverage_line, forgotten_words};
use crate::table::{Leaf, history};

const STYLE: &str = include_str!("../templates/report.css");
const SCRIPT: &str = include_str!("../templates/report.js");
/// Drawing area of the timeline, in its own units.
const LEFT: i64 = 74;
const WIDTH: i64 = 906;
/// Nodes drawn in one column of a graph; the rest is summed up in a last node.
const COLUMN_MAX: usize = 12;
/// Where the first row of a graph begins, and the height of a row.
const TOP: i64 = 26;
const ROW: i64 = 34;

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    title: String,
    style: &'static str,
    script: &'static str,
    style_hash: String,
    script_hash: String,
    coverage_line: String,
    receipt: String,
    timeline_height: i64,
    lanes: Vec<Lane>,
    ticks: Vec<Tick>,
    marks: Vec<Mark>,
    incidents: Vec<IncidentView>,
    findings: Vec<FindingView>,
    open: usize,
    suppressed: usize,
    sources: Vec<SourceView>,
    notes: Vec<String>,
}

struct Lane {
    y: i64,
    label: String,
}

struct Tick {
    x: i64,
    label: String,
}

struct Mark {
    id: String,
    severity: &'static str,
    x: i64,
    y: i64,
    width: i64,
    title: String,
}

struct Node {
    role: &'static str,
    x: i64,
    y: i64,
    label: String,
    /// Rules that found something about it; empty for all but targets.
    rules: String,
}

struct Edge {
    x1: i64,
    y1: i64,
    x2: i64,
    y2: i64,
    severity: &'static str,
}

struct IncidentView {
    name: String,
    severity: &'static str,
    story: String,
    height: i64,
    heads: Vec<(i64, &'static str)>,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    findings: Vec<String>,
}

struct EvidenceView {
    at: String,
    shows: String,
    citation: String,
    leaf: String,
    text: String,
}

struct FindingView {
    id: String,
    severity: &'static str,
    rule: String,
    title: String,
    suppressed: String,
    first: String,
    subject: String,
    target: String,
    count: u64,
    why: String,
    graded: Vec<String>,
    actor: String,
    objects: Vec<String>,
    victims: Vec<String>,
    evidence: Vec<EvidenceView>,
    false_alarm_if: String,
    next_step: String,
    attack: String,
    needs: String,
    history: String,
}

struct SourceView {
    path: String,
    format: String,
    records: u64,
    decoded: u64,
    undecodable: u64,
    ignored: String,
    span: String,
    losses: String,
}

/// Renders the page. `leaves` gives the log's leaf for a citation, where the caller looked it up.
///
/// # Errors
/// [`std::fmt::Error`] if the template cannot be rendered, which plain values never cause.
pub fn page(
    outcome: &Outcome,
    title: &str,
    receipt: &str,
    leaves: &BTreeMap<Citation, Leaf>,
) -> Result<String, std::fmt::Error> {
    let lanes = lanes(&outcome.findings);
    let timeline_height = 40 + 18 * lanes.len() as i64;
    let suppressed = outcome.findings.iter().filter(|finding| finding.suppressed.is_some()).count();
    let page = Page {
        title: terminal(title),
        style: STYLE,
        script: SCRIPT,
        style_hash: digest(STYLE),
        script_hash: digest(SCRIPT),
        coverage_line: coverage_line(&outcome.coverage),
        receipt: terminal(receipt),
        timeline_height,
        ticks: ticks(&outcome.findings),
        marks: marks(&outcome.findings, &lanes),
        lanes: lanes.into_iter().map(|(label, y)| Lane { y, label }).collect(),
        incidents: outcome
            .incidents
            .iter()
            .map(|incident| incident_view(incident, &outcome.findings))
            .collect(),
        findings: outcome.findings.iter().map(|finding| finding_view(finding, leaves)).collect(),
        open: outcome.findings.len() - suppressed,
        suppressed,
        sources: outcome.coverage.sources.iter().map(source_view).collect(),
        notes: notes(outcome),
    };
    page.render().map_err(|_| std::fmt::Error)
}

/// Digest of an inline element for the content security policy (CSP Level 3 §6.7.3.3).
fn digest(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text.as_bytes()))
}

fn notes(outcome: &Outcome) -> Vec<String> {
    let coverage = &outcome.coverage;
    let unread = coverage.unrecognised.iter().map(|path| format!("not read: {path}"));
    let lost = coverage.gaps.iter().map(|gap| format!("lost: {gap}"));
    unread
        .chain(lost)
        .chain(forgotten_words(coverage))
        .chain(coverage.notes.iter().cloned())
        .map(|note| terminal(&note))
        .collect()
}

fn span(findings: &[Finding]) -> Option<(i64, i64)> {
    let seen: Vec<_> = findings.iter().filter_map(|finding| finding.seen).collect();
    let lo = seen.iter().map(|interval| interval.lo.0).min()?;
    let hi = seen.iter().map(|interval| interval.hi.0).max()?;
    Some((lo, hi.max(lo.saturating_add(1))))
}

fn place(at: i64, (lo, hi): (i64, i64)) -> i64 {
    let (offset, whole) = (i128::from(at) - i128::from(lo), i128::from(hi) - i128::from(lo));
    LEFT + (offset * i128::from(WIDTH) / whole.max(1)) as i64
}

/// One lane per rule, by id: (label, baseline).
fn lanes(findings: &[Finding]) -> Vec<(String, i64)> {
    let rules: BTreeSet<&str> =
        findings.iter().filter(|f| f.seen.is_some()).map(|f| f.rule.as_str()).collect();
    rules.into_iter().zip(0..).map(|(rule, at)| (rule.to_owned(), 24 + 18 * at)).collect()
}

fn ticks(findings: &[Finding]) -> Vec<Tick> {
    let Some((lo, hi)) = span(findings) else { return Vec::new() };
    let instant =
        |step: i64| (i128::from(lo) + (i128::from(hi) - i128::from(lo)) * i128::from(step) / 4) as i64;
    (0..=4)
        .map(|step| {
            let at = instant(step);
            let text = truename_model::Nanos(at).to_string();
            Tick {
                x: place(at, (lo, hi)).clamp(130, 930),
                label: text.get(..19).unwrap_or_default().replace('T', " "),
            }
        })
        .collect()
}

fn marks(findings: &[Finding], lanes: &[(String, i64)]) -> Vec<Mark> {
    let Some(whole) = span(findings) else { return Vec::new() };
    let baseline = |rule: &str| lanes.iter().find(|(label, _)| label == rule).map(|(_, y)| *y);
    findings
        .iter()
        .filter_map(|finding| {
            let seen = finding.seen?;
            let x = place(seen.lo.0, whole);
            Some(Mark {
                id: finding.id.clone(),
                severity: finding.severity.word(),
                x,
                y: baseline(&finding.rule)?,
                width: (place(seen.hi.0, whole) - x).max(5),
                title: terminal(&format!("{} {}: {}", seen.lo, finding.rule, finding.title)),
            })
        })
        .collect()
}

/// Three columns: who acted, on what, and who received it. A client that received a false answer is the subject of
/// that finding; it acted on nothing, so it stands in the last column only.
fn incident_view(incident: &Incident, all: &[Finding]) -> IncidentView {
    let findings: Vec<&Finding> =
        all.iter().filter(|finding| incident.findings.contains(&finding.id)).collect();
    let acted = findings.iter().filter(|f| !f.victims.contains(&f.subject)).map(|f| f.subject.as_str());
    let subjects = column(acted, "subject", 10);
    let mut targets = column(findings.iter().map(|f| f.target.as_str()), "target", 360);
    for (target, node) in &mut targets {
        let rules: BTreeSet<&str> =
            findings.iter().filter(|f| f.target == *target).map(|f| f.rule.as_str()).collect();
        node.rules = terminal(&rules.into_iter().collect::<Vec<_>>().join(" "));
    }
    let victims = column(findings.iter().flat_map(|f| f.victims.iter().map(String::as_str)), "victim", 710);
    let mut edges = Vec::new();
    for finding in &findings {
        link(&mut edges, &subjects, &finding.subject, &targets, &finding.target, finding);
        for victim in &finding.victims {
            link(&mut edges, &targets, &finding.target, &victims, victim, finding);
        }
    }
    let rows = subjects.len().max(targets.len()).max(victims.len()) as i64;
    let columns = [("who acted", &subjects), ("on what", &targets), ("who received it", &victims)];
    let heads = columns.iter().filter_map(|(word, nodes)| nodes.first().map(|(_, node)| (node.x, *word)));
    IncidentView {
        name: terminal(&incident.name),
        severity: incident.severity.word(),
        story: terminal(&incident.story),
        height: TOP + 10 + ROW * rows.max(1),
        heads: heads.collect(),
        nodes: subjects.into_iter().chain(targets).chain(victims).map(|(_, node)| node).collect(),
        edges,
        findings: incident.findings.iter().map(|id| terminal(id)).collect(),
    }
}

fn column<'a>(labels: impl Iterator<Item = &'a str>, role: &'static str, x: i64) -> Vec<(String, Node)> {
    let labels: BTreeSet<&str> = labels.collect();
    let hidden = labels.len().saturating_sub(COLUMN_MAX);
    let node = |row: i64, label: String| Node { role, x, y: TOP + ROW * row, label, rules: String::new() };
    let shown = labels.into_iter().take(COLUMN_MAX).zip(0..);
    let mut nodes: Vec<(String, Node)> =
        shown.map(|(label, row)| (label.to_owned(), node(row, cut(&terminal(label), 38)))).collect();
    if hidden > 0 {
        nodes.push((String::new(), node(COLUMN_MAX as i64, format!("… and {hidden} more"))));
    }
    nodes
}

fn cut(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    text.chars().take(chars - 1).chain(['…']).collect()
}

fn link(
    edges: &mut Vec<Edge>,
    left: &[(String, Node)],
    from: &str,
    right: &[(String, Node)],
    to: &str,
    finding: &Finding,
) {
    let find = |column: &[(String, Node)], key: &str| {
        column.iter().find(|(name, _)| name == key).map(|(_, n)| (n.x, n.y))
    };
    if let (Some((x1, y1)), Some((x2, y2))) = (find(left, from), find(right, to)) {
        let severity = finding.severity.word();
        edges.push(Edge { x1: x1 + 280, y1: y1 + 12, x2, y2: y2 + 12, severity });
    }
}

fn finding_view(finding: &Finding, leaves: &BTreeMap<Citation, Leaf>) -> FindingView {
    let actor = finding.actor.as_ref().map(|actor| {
        format!("{} ({}) {} from {}", actor.user, actor.user_agent, actor.verb, actor.source_ips.join(", "))
    });
    FindingView {
        id: terminal(&finding.id),
        severity: finding.severity.word(),
        rule: terminal(&finding.rule),
        title: terminal(&finding.title),
        suppressed: terminal(finding.suppressed.as_deref().unwrap_or_default()),
        first: finding.seen.map_or_else(|| "no time".to_owned(), |seen| seen.lo.to_string()),
        subject: terminal(&finding.subject),
        target: terminal(&finding.target),
        count: finding.count,
        why: terminal(&finding.why),
        graded: finding.graded.iter().map(|text| terminal(text)).collect(),
        actor: terminal(&actor.unwrap_or_default()),
        objects: finding
            .objects
            .iter()
            .map(|o| terminal(&format!("{o}, uid {}, resourceVersion {}", o.uid, o.resource_version)))
            .collect(),
        victims: finding.victims.iter().map(|victim| terminal(victim)).collect(),
        evidence: finding.evidence.iter().map(|e| evidence_view(e, leaves.get(&e.citation))).collect(),
        false_alarm_if: terminal(&finding.false_alarm_if),
        next_step: terminal(&finding.next_step),
        attack: terminal(&finding.attack.join(", ")),
        needs: terminal(&finding.needs.join(", or ")),
        history: history(finding),
    }
}

fn evidence_view(evidence: &Evidence, leaf: Option<&Leaf>) -> EvidenceView {
    let item = evidence.citation.item.to_string();
    EvidenceView {
        at: evidence.at.map_or_else(|| "no time".to_owned(), |at| at.to_string()),
        shows: terminal(&evidence.shows),
        citation: format!("{}… #{}", &item[..12], evidence.citation.record),
        leaf: leaf
            .map(|leaf| format!("{} {}", terminal(&leaf.place), terminal(&leaf.hash)))
            .unwrap_or_default(),
        text: leaf.map(|leaf| terminal(&leaf.text)).unwrap_or_default(),
    }
}

/// Records that are whole and hold nothing for us, by reason.
fn ignored(source: &SourceCoverage) -> String {
    source.ignored.iter().map(|(why, count)| format!("{why} {count}")).collect::<Vec<_>>().join("; ")
}

fn source_view(source: &SourceCoverage) -> SourceView {
    SourceView {
        path: terminal(&source.path),
        format: terminal(&source.format),
        records: source.records,
        decoded: source.decoded,
        undecodable: source.undecodable,
        ignored: terminal(&ignored(source)),
        span: source.span.map_or_else(|| "no time".to_owned(), |span| format!("{} … {}", span.lo, span.hi)),
        losses: terminal(&source.losses.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use truename_model::{Interval, Nanos, Severity};

    fn hostile() -> Outcome {
        let evil = "<script>alert(1)</script>\u{1b}[31m\"><img src=x onerror=alert(2)>";
        let finding = Finding {
            id: "0011223344556677".into(),
            rule: "H01".into(),
            severity: Severity::Critical,
            title: evil.into(),
            subject: evil.into(),
            workload: None,
            actor: None,
            target: evil.into(),
            seen: Some(Interval { lo: Nanos(1), hi: Nanos(5_000_000_000) }),
            count: 3,
            why: evil.into(),
            graded: vec![evil.into()],
            objects: Vec::new(),
            evidence: vec![Evidence {
                at: None,
                citation: Citation { item: Default::default(), record: 7 },
                shows: evil.into(),
            }],
            attack: vec![evil.into()],
            needs: vec![evil.into()],
            history_secs: 0,
            false_alarm_if: evil.into(),
            next_step: evil.into(),
            victims: vec![evil.into()],
            suppressed: Some(evil.into()),
        };
        let incident = Incident {
            id: "ff".into(),
            name: evil.into(),
            severity: Severity::High,
            story: evil.into(),
            findings: vec![finding.id.clone()],
            subjects: vec![evil.into()],
            seen: finding.seen,
        };
        Outcome { findings: vec![finding], incidents: vec![incident], ..Outcome::default() }
    }

    #[test]
    fn hostile_text_stays_text() {
        let html = page(&hostile(), "<b>", "receipt", &BTreeMap::new()).unwrap();
        assert_eq!(html.matches("<script>").count(), 1, "only the page's own script");
        assert!(!html.contains("<img") && !html.contains('\u{1b}'));
        assert!(
            html.contains("&#60;script&#62;") || html.contains("&lt;script&gt;"),
            "the name is shown, escaped"
        );
    }

    #[test]
    fn timeline_and_graph_are_drawn_without_the_script() {
        let html = page(&hostile(), "t", "r", &BTreeMap::new()).unwrap();
        assert_eq!(html.matches("<rect class=\"critical\"").count(), 1);
        assert!(html.contains("class=\"node victim\"") && html.contains("class=\"edge critical\""));
    }
}
