//! The first screen: coverage and gaps, then incidents, then findings by severity, then the busiest subjects.
//!
//! Its last line repeats the coverage in short, so that nobody reads the findings without it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use truename_model::{Coverage, Finding, Outcome, RuleState, Severity, SourceCoverage};

use crate::escape::terminal;
use crate::style::Style;

/// Rows of each list on the first screen.
const SHOWN_MAX: usize = 20;

/// The summary of a run.
#[must_use]
pub fn summary(outcome: &Outcome, style: Style) -> String {
    let mut out = String::new();
    write_coverage(&mut out, &outcome.coverage, style);
    write_incidents(&mut out, outcome, style);
    write_findings(&mut out, outcome, style);
    write_subjects(&mut out, outcome, style);
    write_talkers(&mut out, &outcome.coverage, style);
    let _ = writeln!(out, "\n{}", coverage_line(&outcome.coverage));
    out
}

/// The coverage in one line.
#[must_use]
pub fn coverage_line(coverage: &Coverage) -> String {
    let losses: usize = coverage.sources.iter().map(|source| source.losses.len()).sum();
    let losses = losses + coverage.gaps.len();
    let undecodable: u64 = coverage.sources.iter().map(|source| source.undecodable).sum();
    let not_run = coverage.rules.values().filter(|state| matches!(state, RuleState::NotRun(_))).count();
    let forgotten: u64 = forgotten(coverage).map(|(_, count)| count).sum();
    let forgotten = if forgotten > 0 { format!(", {forgotten} entries forgotten") } else { String::new() };
    format!(
        "coverage: {} sources, {} lookups, {} attributed exactly, {} losses{forgotten}, {} undecodable records, {} of {} rules not run",
        coverage.sources.len(),
        coverage.lookups,
        percent(coverage.attribution.get("exact").copied().unwrap_or(0), coverage.lookups),
        losses,
        undecodable,
        not_run,
        coverage.rules.len()
    )
}

/// What bounded tables forgot, without the memos, whose entries are made anew.
fn forgotten(coverage: &Coverage) -> impl Iterator<Item = (&str, u64)> {
    let told = coverage.evictions.iter().filter(|(table, _)| !table.ends_with("memo"));
    told.map(|(table, count)| (table.as_str(), *count))
}

/// What bounded tables forgot, in words; `None` if nothing was lost by it.
#[must_use]
pub fn forgotten_words(coverage: &Coverage) -> Option<String> {
    let words: Vec<String> = forgotten(coverage).map(|(table, count)| format!("{table} {count}")).collect();
    (!words.is_empty()).then(|| format!("forgotten for want of room: {}", words.join(", ")))
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "–".to_owned() } else { format!("{:.1} %", part as f64 * 100.0 / whole as f64) }
}

fn write_coverage(out: &mut String, coverage: &Coverage, style: Style) {
    let _ = writeln!(out, "{}", style.heading("Coverage"));
    for source in &coverage.sources {
        write_source(out, source, style);
    }
    for (word, lines) in [("not read:", &coverage.unrecognised), ("lost:", &coverage.gaps)] {
        for line in lines.iter().take(SHOWN_MAX) {
            let _ = writeln!(out, "  {} {}", style.warning(word), terminal(line));
        }
        if let Some(more) = lines.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
            let _ = writeln!(out, "  {} {more} more: truename report CASE -o json", style.warning(word));
        }
    }
    for note in &coverage.notes {
        let _ = writeln!(out, "  {} {}", style.warning("note:"), terminal(note));
    }
    if let Some(words) = forgotten_words(coverage) {
        let _ = writeln!(out, "  {}", style.warning(&terminal(&words)));
    }
    let _ = writeln!(
        out,
        "  lookups {}  attributed: {}",
        coverage.lookups,
        words(&coverage.attribution, coverage.lookups)
    );
    let answers: u64 = coverage.verdicts.values().sum();
    let _ = writeln!(out, "  answers: {}", words(&coverage.verdicts, answers));
    if !coverage.unverifiable.is_empty() {
        let _ = writeln!(out, "  unverifiable because: {}", words(&coverage.unverifiable, answers));
    }
    write_rules(out, coverage, style);
}

fn write_source(out: &mut String, source: &SourceCoverage, style: Style) {
    let span = source.span.map_or_else(|| "no time".to_owned(), |span| format!("{} … {}", span.lo, span.hi));
    let ignored: u64 = source.ignored.values().sum();
    let ignored = if ignored > 0 { format!(", {ignored} of no concern") } else { String::new() };
    let _ = writeln!(
        out,
        "  {}  {} records ({} read, {} undecodable{ignored})  {}  {}",
        terminal(&source.format),
        source.records,
        source.decoded,
        source.undecodable,
        span,
        style.dim(&terminal(&source.path))
    );
    if let Some((lo, hi, basis)) = &source.clock_offset_ns {
        let ms = |ns: &i64| *ns as f64 / 1e6;
        let _ = writeln!(out, "    clock offset {:.1} … {:.1} ms ({})", ms(lo), ms(hi), terminal(basis));
    }
    for loss in &source.losses {
        let _ = writeln!(out, "    {} {}", style.warning("lost:"), terminal(loss));
    }
}

fn words(counts: &BTreeMap<String, u64>, whole: u64) -> String {
    let parts: Vec<String> =
        counts.iter().map(|(word, n)| format!("{} {n} ({})", terminal(word), percent(*n, whole))).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

fn write_rules(out: &mut String, coverage: &Coverage, style: Style) {
    let run = coverage.rules.values().filter(|state| **state == RuleState::Run).count();
    let _ = writeln!(out, "  rules run {run} of {}", coverage.rules.len());
    for (rule, state) in &coverage.rules {
        match state {
            RuleState::Run => {}
            RuleState::RunReduced(why) => {
                let _ = writeln!(out, "    {rule} {} {}", style.warning("reduced:"), terminal(why));
            }
            RuleState::NotRun(why) => {
                let _ = writeln!(out, "    {rule} {} {}", style.warning("not run:"), terminal(why));
            }
        }
    }
}

fn write_incidents(out: &mut String, outcome: &Outcome, style: Style) {
    if outcome.incidents.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", style.heading("Incidents"));
    for incident in outcome.incidents.iter().take(SHOWN_MAX) {
        let first = incident.seen.map(|seen| seen.lo.to_string()).unwrap_or_default();
        let _ = writeln!(
            out,
            "{} {} {} {}",
            style.severity(incident.severity),
            incident.id,
            style.dim(&first),
            terminal(&incident.name)
        );
        let _ = writeln!(out, "         {}", terminal(&incident.story));
    }
}

fn write_findings(out: &mut String, outcome: &Outcome, style: Style) {
    let order = [Severity::Critical, Severity::High, Severity::Medium, Severity::Low, Severity::Info];
    // What the profile suppresses is shown, but counted apart.
    let loud = || outcome.findings.iter().filter(|finding| finding.suppressed.is_none());
    let mut counts: Vec<String> = order
        .iter()
        .map(|grade| format!("{} {}", grade.word(), loud().filter(|f| f.severity == *grade).count()))
        .collect();
    let suppressed = outcome.findings.len() - loud().count();
    if suppressed > 0 {
        counts.push(format!("suppressed {suppressed}"));
    }
    let _ = writeln!(out, "\n{}  {}", style.heading("Findings"), counts.join("  "));
    for finding in outcome.findings.iter().take(SHOWN_MAX) {
        write_finding(out, finding, style);
    }
    if outcome.findings.len() > SHOWN_MAX {
        let _ = writeln!(
            out,
            "{}",
            style.dim(&format!("… {} more: truename findings CASE", outcome.findings.len() - SHOWN_MAX))
        );
    }
}

fn write_finding(out: &mut String, finding: &Finding, style: Style) {
    let mark = if finding.suppressed.is_some() { " [suppressed]" } else { "" };
    let (grade, title) = (style.severity(finding.severity), terminal(&finding.title));
    let _ = writeln!(out, "{grade} {} {:<4} {title}{mark}", finding.id, finding.rule);
    let (subject, target) = (terminal(&finding.subject), terminal(&finding.target));
    let _ = writeln!(out, "         {subject} → {target}  ×{}", finding.count);
    if let Some(seen) = finding.seen {
        let _ = writeln!(out, "         {}", style.dim(&format!("first {}  last {}", seen.lo, seen.hi)));
    }
    if !finding.objects.is_empty() {
        let objects: Vec<String> = finding.objects.iter().take(4).map(|o| terminal(&o.to_string())).collect();
        let _ = writeln!(out, "         {}", style.dim(&format!("decided by {}", objects.join(", "))));
    }
}

fn write_talkers(out: &mut String, coverage: &Coverage, style: Style) {
    if coverage.talkers.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", style.heading("Asked most"));
    for (who, lookups) in coverage.talkers.iter().take(5) {
        let _ = writeln!(out, "{lookups:>9} lookups  {}", terminal(who));
    }
}

fn write_subjects(out: &mut String, outcome: &Outcome, style: Style) {
    let mut by_subject: BTreeMap<&str, (Severity, u64)> = BTreeMap::new();
    for finding in outcome.findings.iter().filter(|finding| finding.suppressed.is_none()) {
        let entry = by_subject.entry(&finding.subject).or_insert((Severity::Info, 0));
        *entry = (entry.0.max(finding.severity), entry.1 + 1);
    }
    if by_subject.is_empty() {
        return;
    }
    let mut ranked: Vec<_> = by_subject.into_iter().collect();
    ranked.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let _ = writeln!(out, "\n{}", style.heading("Subjects"));
    for (subject, (worst, count)) in ranked.into_iter().take(5) {
        let _ = writeln!(out, "{} {} findings  {}", style.severity(worst), count, terminal(subject));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_forgotten_is_said_and_what_is_made_anew_is_not() {
        let mut outcome = Outcome::default();
        outcome.coverage.evictions.insert("attribution memo".into(), 9);
        let shown = summary(&outcome, Style::default());
        assert!(!shown.contains("forgotten"), "{shown}");
        outcome.coverage.evictions.insert("rule R03".into(), 1_498_980);
        let shown = summary(&outcome, Style::default());
        assert!(shown.contains("forgotten for want of room: rule R03 1498980\n"), "{shown}");
        assert!(
            shown.ends_with(
                "0 losses, 1498980 entries forgotten, 0 undecodable records, 0 of 0 rules not run\n"
            ),
            "{shown}"
        );
    }

    #[test]
    fn records_that_were_ignored_are_counted_where_the_source_is_named() {
        let mut outcome = Outcome::default();
        outcome.coverage.sources.push(SourceCoverage {
            records: 8,
            ignored: [("a read".to_owned(), 6), ("a request that failed".to_owned(), 2)]
                .into_iter()
                .collect(),
            ..SourceCoverage::default()
        });
        let shown = summary(&outcome, Style::default());
        assert!(shown.contains("8 records (0 read, 0 undecodable, 8 of no concern)"), "{shown}");
    }
}
