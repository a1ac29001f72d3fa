//! Correlated incidents: findings that together tell a story, as the catalogue's data describes them.
//!
//! Enters: findings; leaves: incidents, worst first. Deliberately absent: any look at facts.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use truename_model::{Finding, Incident, Interval, Nanos};

use crate::catalogue::{IncidentMeta, Pattern, Same};

/// Every incident that the findings make.
#[must_use]
pub fn correlate(metas: &[IncidentMeta], findings: &[Finding]) -> Vec<Incident> {
    let mut incidents: Vec<Incident> = metas.iter().flat_map(|meta| one_kind(meta, findings)).collect();
    incidents.sort_by(|a, b| {
        let time = |incident: &Incident| incident.seen.map_or(Nanos(i64::MAX), |seen| seen.lo);
        b.severity.cmp(&a.severity).then(time(a).cmp(&time(b))).then_with(|| a.id.cmp(&b.id))
    });
    incidents
}

fn one_kind(meta: &IncidentMeta, findings: &[Finding]) -> Vec<Incident> {
    let mut shared: BTreeMap<String, Vec<&Finding>> = BTreeMap::new();
    for finding in
        findings.iter().filter(|finding| meta.all.iter().flatten().any(|pattern| pattern.fits(finding)))
    {
        let key = match meta.same {
            Same::Subject => finding.subject.clone(),
            Same::Target => finding.target.clone(),
            Same::Nothing => String::new(),
        };
        shared.entry(key).or_default().push(finding);
    }
    shared.into_values().filter_map(|together| incident(meta, together)).collect()
}

/// One incident from findings that share what must be shared, if every group is there and near enough in time.
fn incident(meta: &IncidentMeta, mut together: Vec<&Finding>) -> Option<Incident> {
    together.sort_by_key(|finding| (finding.seen.map(|seen| seen.lo), finding.id.clone()));
    let anchors: Vec<&Finding> = together
        .iter()
        .copied()
        .filter(|finding| meta.all.first().is_some_and(|group| has(group, finding)))
        .collect();
    let near = |finding: &Finding| {
        anchors.iter().any(|anchor| distance_secs(anchor.seen, finding.seen) <= meta.within_secs as f64)
    };
    together.retain(|finding| near(finding));
    if !groups_are_filled(meta, &together) {
        return None;
    }
    if meta.victims {
        let told = together.iter().any(|finding| !finding.victims.is_empty());
        // Findings without victims belong to the story only if another one shows that it had an effect.
        if !told {
            return None;
        }
        if meta.all.len() == 1 {
            together.retain(|finding| !finding.victims.is_empty());
        }
    }
    Some(build(meta, &together))
}

fn has(group: &[Pattern], finding: &Finding) -> bool {
    group.iter().any(|pattern| pattern.fits(finding))
}

/// Each group takes a finding of its own, the earliest that is left; where order counts, none that began before the
/// group before it.
fn groups_are_filled(meta: &IncidentMeta, findings: &[&Finding]) -> bool {
    let mut used: BTreeSet<&str> = BTreeSet::new();
    let mut reached: Option<Nanos> = None;
    meta.all.iter().all(|group| {
        let in_order = |finding: &Finding| match (reached, finding.seen) {
            (Some(reached), Some(seen)) if meta.ordered => seen.lo >= reached,
            _ => true,
        };
        let free = findings
            .iter()
            .find(|finding| has(group, finding) && !used.contains(finding.id.as_str()) && in_order(finding));
        // A group that names the rule of a group before it may be filled by the same finding only if that finding
        // stands for both: a cause that names its own victims.
        let shared = || findings.iter().find(|finding| has(group, finding) && !finding.victims.is_empty());
        match free.or_else(|| if group.len() > 1 { shared() } else { None }) {
            Some(finding) => {
                used.insert(&finding.id);
                reached = finding.seen.map(|seen| seen.lo).or(reached);
                true
            }
            None => false,
        }
    })
}

fn distance_secs(a: Option<Interval>, b: Option<Interval>) -> f64 {
    match (a, b) {
        (Some(a), Some(b)) if a.overlaps(b) => 0.0,
        (Some(a), Some(b)) => b.lo.since(a.hi).max(a.lo.since(b.hi)) as f64 / 1e9,
        // Without times nothing can be said against it.
        _ => 0.0,
    }
}

/// Who did it through the API, from where, and what a change of configuration was.
fn author(finding: &Finding) -> String {
    let Some(actor) = &finding.actor else { return String::new() };
    let from = if actor.source_ips.is_empty() {
        String::new()
    } else {
        format!(" from {}", crate::text::escaped(&actor.source_ips.join(", ")))
    };
    let diff = if finding.rule == "H08" {
        format!(": {}", finding.why.trim_end_matches('.'))
    } else {
        String::new()
    };
    format!(", by {}{from}{diff}", crate::text::escaped(&actor.user))
}

fn build(meta: &IncidentMeta, together: &[&Finding]) -> Incident {
    let ids: Vec<String> = together.iter().map(|finding| finding.id.clone()).collect();
    let mut subjects: BTreeSet<String> = together.iter().map(|finding| finding.subject.clone()).collect();
    let actors = together.iter().filter_map(|finding| finding.actor.as_ref());
    subjects.extend(actors.map(|actor| format!("user {}", crate::text::escaped(&actor.user))));
    let mut story = meta.story.clone();
    for finding in together.iter().take(16) {
        story.push_str(&format!(" {}: {}{}.", finding.rule, finding.title, author(finding)));
    }
    let victims: BTreeSet<&str> =
        together.iter().flat_map(|finding| finding.victims.iter().map(String::as_str)).collect();
    if !victims.is_empty() {
        let shown: Vec<&str> = victims.iter().take(16).copied().collect();
        let more = if victims.len() > shown.len() { " and others" } else { "" };
        story.push_str(&format!(
            " {} clients received a false answer: {}{more}.",
            victims.len(),
            shown.join(", ")
        ));
    }
    let mut digest = Sha256::new();
    digest.update(meta.name.as_bytes());
    if let Some(first) = ids.first() {
        digest.update(first.as_bytes());
    }
    let id = truename_model::Sha256(digest.finalize().into()).to_string();
    let seen = together
        .iter()
        .filter_map(|finding| finding.seen)
        .reduce(|a, b| Interval { lo: a.lo.min(b.lo), hi: a.hi.max(b.hi) });
    Incident {
        id: id.chars().take(16).collect(),
        name: meta.name.clone(),
        severity: meta.severity,
        story,
        findings: ids,
        subjects: subjects.into_iter().collect(),
        seen,
    }
}
