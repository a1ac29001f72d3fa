//! What was seen and what was not: the outcomes of several clusters as one, and the table of sources.
//!
//! Enters: outcomes, tallies, origins; leaves: sums in fixed orders. Deliberately absent: judging anything.

use std::collections::BTreeMap;

use truename_analysis::clock::Offset;
use truename_model::{Coverage, Known, Nanos, Origin, Outcome, RuleState, SourceCoverage};

use crate::clocks::Fits;
use crate::error::EngineError;
use crate::plan::Plan;
use crate::pump::Tally;
use crate::settings::Settings;

/// One outcome of several: findings and incidents worst first, counts summed, a rule's state the best of its states.
///
/// # Errors
/// [`EngineError::Catalogue`] if there is nothing to merge and the rules cannot be read.
pub fn merged(outcomes: Vec<Outcome>, settings: &Settings) -> Result<Outcome, EngineError> {
    let mut whole = Outcome::default();
    for outcome in outcomes {
        whole.findings.extend(outcome.findings);
        whole.incidents.extend(outcome.incidents);
        whole.rule_set = outcome.rule_set;
        add(&mut whole.coverage, outcome.coverage);
    }
    let first = |seen: Option<truename_model::Interval>| seen.map_or(Nanos(i64::MAX), |seen| seen.lo);
    whole.findings.sort_by(|a, b| {
        b.severity.cmp(&a.severity).then(first(a.seen).cmp(&first(b.seen))).then_with(|| a.id.cmp(&b.id))
    });
    whole.incidents.sort_by(|a, b| {
        b.severity.cmp(&a.severity).then(first(a.seen).cmp(&first(b.seen))).then_with(|| a.id.cmp(&b.id))
    });
    if whole.rule_set.is_empty() {
        let detector = truename_analysis::detect::Detector::new(&settings.profile);
        detector.map_err(|error| EngineError::Profile(error.to_string()))?;
    }
    Ok(whole)
}

fn add(whole: &mut Coverage, part: Coverage) {
    let sum = |into: &mut BTreeMap<String, u64>, from: BTreeMap<String, u64>| {
        from.into_iter().for_each(|(word, count)| *into.entry(word).or_insert(0) += count);
    };
    whole.lookups += part.lookups;
    sum(&mut whole.attribution, part.attribution);
    sum(&mut whole.verdicts, part.verdicts);
    sum(&mut whole.unverifiable, part.unverifiable);
    sum(&mut whole.evictions, part.evictions);
    whole.talkers.extend(part.talkers);
    whole.talkers.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    whole.talkers.truncate(10);
    whole.notes.extend(part.notes);
    for (rule, state) in part.rules {
        let better = match (whole.rules.get(&rule), &state) {
            (None, _) | (Some(RuleState::NotRun(_)), _) => true,
            (Some(RuleState::RunReduced(_)), new) => *new == RuleState::Run,
            (Some(RuleState::Run), _) => false,
        };
        if better {
            whole.rules.insert(rule, state);
        }
    }
}

/// The table of sources, in item order.
#[must_use]
pub fn sources(
    plan: &Plan,
    tallies: &BTreeMap<usize, Tally>,
    origins: &[Origin],
    found: &[Offset],
    fits: &Fits,
) -> Vec<SourceCoverage> {
    let empty = Tally::default();
    plan.items
        .iter()
        .enumerate()
        .map(|(index, item)| {
            let tally = tallies.get(&index).unwrap_or(&empty);
            let ignored: u64 = tally.ignored.values().sum();
            let mut losses = item.losses.clone();
            losses.extend(tally.told());
            SourceCoverage {
                path: item.path.clone(),
                item: item.sha256,
                format: item.format.to_string(),
                bytes: item.bytes,
                records: tally.records,
                decoded: tally.records.saturating_sub(tally.undecodable).saturating_sub(ignored),
                undecodable: tally.undecodable,
                ignored: tally.ignored.iter().map(|(why, count)| ((*why).to_owned(), *count)).collect(),
                losses,
                span: tally.span,
                clock_offset_ns: fits.told(index, offset(index, origins, found)),
                origin: words(&origins[index]),
            }
        })
        .collect()
}

fn offset(index: usize, origins: &[Origin], found: &[Offset]) -> Option<(i64, i64, String)> {
    if let Known::Given((lo, hi)) = origins[index].clock_offset_ns {
        return Some((lo, hi, "given by the operator".to_owned()));
    }
    let found = found.iter().find(|offset| offset.origin.0 as usize == index)?;
    Some((found.bounds.0, found.bounds.1, found.basis.clone()))
}

/// An origin in words.
fn words(origin: &Origin) -> String {
    let fields = [
        ("replica", &origin.replica),
        ("node", &origin.node),
        ("version", &origin.version),
        ("cluster", &origin.cluster),
    ];
    let told: Vec<String> = fields
        .iter()
        .filter_map(|(key, field)| match field {
            Known::Found(value, how) => Some(format!("{key} {value} ({how})")),
            Known::Given(value) => Some(format!("{key} {value} (given)")),
            Known::Unknown => None,
        })
        .collect();
    told.join(", ")
}
