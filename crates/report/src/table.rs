//! The findings as a table for a terminal, and one finding told in full.

use std::fmt::Write as _;

use truename_model::{Evidence, Finding, Outcome};

use crate::escape::terminal;
use crate::style::Style;

/// A leaf of the log that backs a piece of evidence, looked up by the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Index in the outer log of the segment that holds it, and its number inside.
    pub place: String,
    /// Leaf hash, hexadecimal.
    pub hash: String,
    /// Whether its inclusion proof was checked just now.
    pub proved: bool,
    /// The record as split, for display (cut by the caller to a bound).
    pub text: String,
}

/// All findings, worst first.
#[must_use]
pub fn findings(outcome: &Outcome, style: Style) -> String {
    let mut out = String::new();
    if outcome.findings.is_empty() {
        return "no findings\n".to_owned();
    }
    for finding in &outcome.findings {
        let mark = if finding.suppressed.is_some() { " [suppressed]" } else { "" };
        let first = finding.seen.map_or_else(|| "no time".to_owned(), |seen| seen.lo.to_string());
        let _ = writeln!(
            out,
            "{} {} {:<4} {}{mark}",
            style.severity(finding.severity),
            finding.id,
            finding.rule,
            terminal(&finding.title)
        );
        let _ = writeln!(
            out,
            "         {} {} → {} {}",
            style.dim(&first),
            terminal(&finding.subject),
            terminal(&finding.target),
            style.dim(&format!("×{}", finding.count))
        );
    }
    out
}

/// One finding with everything that justifies it. `leaves` runs parallel to the finding's evidence.
#[must_use]
pub fn explain(finding: &Finding, leaves: &[Option<Leaf>], style: Style) -> String {
    let mut out = String::new();
    let _ =
        writeln!(out, "{} {} {}", style.severity(finding.severity), finding.rule, terminal(&finding.title));
    let _ = writeln!(out, "id       {}", finding.id);
    let _ = writeln!(out, "subject  {}", terminal(&finding.subject));
    let _ = writeln!(out, "target   {}", terminal(&finding.target));
    if let Some(seen) = finding.seen {
        let _ = writeln!(out, "seen     {} … {}  ×{}", seen.lo, seen.hi, finding.count);
    }
    if let Some(actor) = &finding.actor {
        let by =
            actor.impersonator.as_ref().map(|who| format!(" (impersonated by {who})")).unwrap_or_default();
        let _ = writeln!(
            out,
            "actor    {}{} {} from {}",
            terminal(&actor.user),
            terminal(&by),
            terminal(&actor.verb),
            terminal(&actor.source_ips.join(", "))
        );
    }
    if let Some(reason) = &finding.suppressed {
        let _ =
            writeln!(out, "{}", style.warning(&format!("suppressed by the profile: {}", terminal(reason))));
    }
    let _ = writeln!(out, "\n{}\n{}", style.heading("why"), terminal(&finding.why));
    for graded in &finding.graded {
        let _ = writeln!(out, "graded: {}", terminal(graded));
    }
    write_objects(&mut out, finding, style);
    let _ = writeln!(out, "\n{}", style.heading("evidence"));
    for (at, evidence) in finding.evidence.iter().enumerate() {
        write_evidence(&mut out, evidence, leaves.get(at).and_then(Option::as_ref), style);
    }
    if finding.count > finding.evidence.len() as u64 {
        let _ = writeln!(
            out,
            "{}",
            style.dim(&format!("… {} shown of {}", finding.evidence.len(), finding.count))
        );
    }
    let _ = writeln!(
        out,
        "{}",
        style.dim(&format!(
            "complete proofs, to be checked without this program: truename explain CASE {} -o json",
            finding.id
        ))
    );
    let _ = writeln!(out, "\n{}\n{}", style.heading("a false alarm if"), terminal(&finding.false_alarm_if));
    let _ = writeln!(out, "\n{}\n{}", style.heading("next step"), terminal(&finding.next_step));
    let _ = writeln!(out, "\n{}", style.heading("the rule"));
    let _ = writeln!(out, "ATT&CK   {}", terminal(&finding.attack.join(", ")));
    let _ = writeln!(out, "needs    {}", terminal(&finding.needs.join(", or ")));
    let _ = writeln!(out, "history  {}", history(finding));
    out
}

/// How long a past the rule compares with, as people say it.
#[must_use]
pub fn history(finding: &Finding) -> String {
    match finding.history_secs {
        0 => "none".to_owned(),
        secs @ ..7_200 => format!("{} min", secs / 60),
        secs @ ..172_800 => format!("{} h", secs / 3_600),
        secs => format!("{} days", secs / 86_400),
    }
}

fn write_objects(out: &mut String, finding: &Finding, style: Style) {
    if !finding.objects.is_empty() {
        let _ = writeln!(out, "\n{}", style.heading("deciding objects"));
    }
    for object in &finding.objects {
        let _ = writeln!(
            out,
            "  {}  uid {} resourceVersion {}",
            terminal(&object.to_string()),
            terminal(&object.uid),
            terminal(&object.resource_version)
        );
    }
    if !finding.victims.is_empty() {
        let _ = writeln!(out, "\n{}", style.heading("clients that received it"));
        for victim in &finding.victims {
            let _ = writeln!(out, "  {}", terminal(victim));
        }
    }
}

fn write_evidence(out: &mut String, evidence: &Evidence, leaf: Option<&Leaf>, style: Style) {
    let at = evidence.at.map_or_else(|| "no time".to_owned(), |at| at.to_string());
    let _ = writeln!(out, "  {at}  {}", terminal(&evidence.shows));
    let _ = writeln!(
        out,
        "    {}",
        style.dim(&format!("item {} record {}", evidence.citation.item, evidence.citation.record))
    );
    if let Some(leaf) = leaf {
        let proved = if leaf.proved { "inclusion proved" } else { "inclusion NOT proved" };
        let _ = writeln!(
            out,
            "    {}",
            style.dim(&format!("leaf {} {} ({proved})", terminal(&leaf.place), terminal(&leaf.hash)))
        );
        let _ = writeln!(out, "    {}", terminal(&leaf.text));
    }
}
