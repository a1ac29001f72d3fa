//! From facts to findings: runs the rules, sums their drafts up, gives ids, applies the profile's suppressions.
//!
//! Enters: facts in order of time; leaves: findings in a fixed order, incidents, the state of every rule.
//! Deliberately absent: what a rule looks for (see `rules`).

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use truename_model::{
    ChangeSource, Citation, Evidence, Finding, Incident, Interval, Nanos, Profile, RecordRef, RuleMeta,
    RuleState, Vantage,
};

use crate::catalogue::{Catalogue, CatalogueError};
use crate::facts::{Context, Draft, Fact, Rule};
use crate::incidents;
use crate::rules;
use crate::text::{escaped, glob};

/// Findings kept; a flood beyond that is counted, not remembered.
const FINDINGS_MAX: usize = 65_536;
/// Events of one rule, subject and target within this time are one finding, nanoseconds.
const SAME_FINDING_NS: i64 = 3_600 * 1_000_000_000;
const EVIDENCE_MAX: usize = 64;
const VICTIMS_MAX: usize = 256;
const OBJECTS_MAX: usize = 64;
/// Rules that cannot run without the cluster domain.
const NEED_DOMAIN: [&str; 8] = ["R03", "R04", "R05", "R06", "R07", "R21", "H02", "H15"];
/// Rules that count what is absent: known losses make them say less.
const COUNT_ABSENCE: [&str; 2] = ["H17", "P11"];

/// What detection concludes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detected {
    /// Findings: worst first, then by time, then by id.
    pub findings: Vec<Finding>,
    /// Incidents: worst first.
    pub incidents: Vec<Incident>,
    /// State of every rule of the catalogue.
    pub states: BTreeMap<String, RuleState>,
    /// Entries forgotten by bounded tables, by rule; rules that forgot nothing are absent.
    pub evictions: BTreeMap<String, u64>,
    /// SHA-256 of catalogue and profile.
    pub rule_set: String,
}

/// Runs the rules over a stream of facts.
pub struct Detector {
    catalogue: Catalogue,
    rules: Vec<Box<dyn Rule + Send>>,
    fresh: Vec<Draft>,
    merged: BTreeMap<(String, String, String), Vec<Draft>>,
    count: usize,
    overflow: u64,
    sources: BTreeSet<char>,
    span: Option<Interval>,
    losses: u64,
}

/// A rule that forgot what it had counted, for want of room, may have missed what it looks for.
fn after_forgetting(state: RuleState, forgotten: u64) -> RuleState {
    if forgotten == 0 {
        return state;
    }
    let why = format!("for want of room it forgot {forgotten} entries that it had counted");
    match state {
        RuleState::Run => RuleState::RunReduced(why),
        RuleState::RunReduced(before) => RuleState::RunReduced(format!("{before}; {why}")),
        RuleState::NotRun(before) => RuleState::NotRun(before),
    }
}

impl Detector {
    /// A detector with every rule of the catalogue.
    ///
    /// # Errors
    /// When the profile names rules or thresholds that do not exist.
    pub fn new(profile: &Profile) -> Result<Self, CatalogueError> {
        let catalogue = Catalogue::new(profile)?;
        let rules = rules::all(&catalogue);
        Ok(Self {
            catalogue,
            rules,
            fresh: Vec::new(),
            merged: BTreeMap::new(),
            count: 0,
            overflow: 0,
            sources: BTreeSet::new(),
            span: None,
            losses: 0,
        })
    }

    /// Shows one fact to every rule.
    pub fn observe(&mut self, fact: &Fact<'_>, cx: &Context<'_>) {
        self.note(fact);
        let again = matches!(fact, Fact::Lookup(judged) if cx.is_second_sighting(judged));
        for rule in &mut self.rules {
            // Reconnaissance is counted by who asks.
            if again && rule.meta().id.starts_with('R') {
                continue;
            }
            rule.observe(fact, cx, &mut self.fresh);
        }
        if !self.fresh.is_empty() {
            self.absorb();
        }
    }

    /// The stream has ended.
    #[must_use]
    pub fn finish(mut self, cx: &Context<'_>) -> Detected {
        let mut evictions = BTreeMap::new();
        for rule in &mut self.rules {
            rule.finish(cx, &mut self.fresh);
            if rule.evictions() > 0 {
                evictions.insert(rule.meta().id.clone(), rule.evictions());
            }
        }
        self.absorb();
        if self.overflow > 0 {
            evictions.insert("findings".to_owned(), self.overflow);
        }
        let states = self.states(cx, &evictions);
        let drafts: Vec<Draft> = std::mem::take(&mut self.merged).into_values().flatten().collect();
        let mut findings: Vec<Finding> =
            drafts.into_iter().filter_map(|draft| self.finding(draft, cx)).collect();
        findings.sort_by(|a, b| {
            let time = |finding: &Finding| finding.seen.map_or(Nanos(i64::MAX), |seen| seen.lo);
            b.severity.cmp(&a.severity).then(time(a).cmp(&time(b))).then_with(|| a.id.cmp(&b.id))
        });
        // What the profile suppresses makes no incident; it stays among the findings, marked.
        let loud: Vec<Finding> =
            findings.iter().filter(|finding| finding.suppressed.is_none()).cloned().collect();
        let incidents = incidents::correlate(&self.catalogue.incidents, &loud);
        Detected { findings, incidents, states, evictions, rule_set: self.catalogue.hash }
    }

    /// Which sources there are, and what time they span.
    fn note(&mut self, fact: &Fact<'_>) {
        let at = match fact {
            Fact::Lookup(judged) => {
                for vantage in &judged.transaction.vantages {
                    self.sources.insert(letter(*vantage));
                }
                judged.transaction.asked.interval()
            }
            Fact::Intent(intent) => {
                let vantages = intent.steps.first().map(|step| &step.transaction.vantages);
                self.sources.extend(vantages.into_iter().flatten().map(|vantage| letter(*vantage)));
                return;
            }
            Fact::Exchange(exchange) => {
                if let Some(response) = &exchange.response {
                    self.sources.insert(letter(response.vantage));
                }
                if exchange.wire_id.is_some() || exchange.is_unasked() {
                    self.sources.extend(['P', 'U']);
                }
                Some(exchange.at)
            }
            Fact::Change(change) => {
                self.sources.insert('K');
                if change.source == ChangeSource::Audit {
                    self.sources.insert('A');
                }
                change.seen_at
            }
            Fact::Diagnostic { observation, .. } => {
                self.sources.insert('M');
                observation.at.interval()
            }
            Fact::Loss { observation, .. } => {
                self.losses += 1;
                observation.at.interval()
            }
        };
        if let Some(at) = at {
            self.span = Some(self.span.map_or(at, |span| join(span, at)));
        }
    }

    fn absorb(&mut self) {
        for draft in std::mem::take(&mut self.fresh) {
            let who = draft.workload.as_ref().map_or("", |workload| workload.owner_uid());
            let who = if who.is_empty() { draft.subject.clone() } else { who.to_owned() };
            let group = self.merged.entry((draft.rule.clone(), who, draft.target.clone())).or_default();
            match group.iter_mut().find(|known| is_same_hour(known, &draft)) {
                Some(known) => merge(known, draft),
                None if self.count < FINDINGS_MAX => {
                    self.count += 1;
                    group.push(bounded(draft));
                }
                None => self.overflow += 1,
            }
        }
    }

    fn states(&self, cx: &Context<'_>, evictions: &BTreeMap<String, u64>) -> BTreeMap<String, RuleState> {
        let state = |meta: &RuleMeta| {
            let forgotten = evictions.get(&meta.id).copied().unwrap_or(0);
            (meta.id.clone(), after_forgetting(self.state(meta, cx), forgotten))
        };
        self.catalogue.rules().map(state).collect()
    }

    fn state(&self, meta: &RuleMeta, cx: &Context<'_>) -> RuleState {
        let has = |set: &String| set.chars().all(|letter| self.sources.contains(&letter));
        if !meta.needs.iter().any(has) {
            let sets: Vec<String> = meta.needs.iter().map(|set| in_words(set)).collect();
            return RuleState::NotRun(format!("needs {}", sets.join(", or ")));
        }
        if NEED_DOMAIN.contains(&meta.id.as_str()) && cx.knowledge.cluster_domain().is_none() {
            return RuleState::NotRun(
                "the cluster domain is not known: give clusterDomain in the profile".to_owned(),
            );
        }
        if meta.id == "R21" && cx.knowledge.policies().is_none() {
            return RuleState::NotRun("no network policy is in the evidence".to_owned());
        }
        let secs =
            self.span.map_or(0, |span| u64::try_from(span.hi.since(span.lo) / 1_000_000_000).unwrap_or(0));
        if secs < meta.history_secs {
            return RuleState::RunReduced(format!(
                "history: {} of {}",
                duration(secs),
                duration(meta.history_secs)
            ));
        }
        if self.losses > 0 && COUNT_ABSENCE.contains(&meta.id.as_str()) {
            return RuleState::RunReduced(format!(
                "{} gaps in the evidence; silence near them is not counted",
                self.losses
            ));
        }
        RuleState::Run
    }

    fn finding(&self, draft: Draft, cx: &Context<'_>) -> Option<Finding> {
        let meta = self.catalogue.rule(&draft.rule)?;
        let mut evidence: Vec<Evidence> =
            draft.evidence.iter().filter_map(|(at, record, shows)| cite(*at, *record, shows, cx)).collect();
        // What has a time comes first: the id hangs on the first citation, and order without time says nothing.
        evidence.sort_by(|a, b| (a.at.is_none(), a).cmp(&(b.at.is_none(), b)));
        evidence.dedup();
        let mut finding = Finding {
            id: String::new(),
            rule: draft.rule,
            severity: draft.severity,
            title: escaped(&draft.title).into_owned(),
            subject: escaped(&draft.subject).into_owned(),
            workload: draft.workload.as_deref().cloned(),
            actor: draft.actor.as_deref().cloned(),
            target: escaped(&draft.target).into_owned(),
            seen: draft.seen,
            count: draft.count,
            why: escaped(&draft.why).into_owned(),
            graded: draft.graded.iter().map(|text| escaped(text).into_owned()).collect(),
            objects: draft.objects,
            evidence,
            attack: meta.attack.clone(),
            needs: meta.needs.iter().map(|set| in_words(set)).collect(),
            history_secs: meta.history_secs,
            false_alarm_if: meta.false_alarm_if.clone(),
            next_step: meta.next_step.clone(),
            victims: draft.victims.iter().map(|text| escaped(text).into_owned()).collect(),
            suppressed: None,
        };
        finding.id = id(&finding);
        finding.suppressed = suppression(&finding, cx.profile);
        Some(finding)
    }
}

fn letter(vantage: Vantage) -> char {
    match vantage {
        Vantage::LogLine => 'L',
        Vantage::PacketQuery | Vantage::PacketResponse => 'P',
        _ => 'T',
    }
}

fn in_words(set: &str) -> String {
    let words: Vec<&str> = set
        .chars()
        .map(|letter| match letter {
            'L' => "CoreDNS log lines",
            'T' => "dnstap",
            'P' => "packets",
            'U' => "packets between the DNS server and its upstreams",
            'K' => "cluster objects",
            'A' => "the audit log",
            _ => "the server's own lines",
        })
        .collect();
    words.join(" with ")
}

fn duration(secs: u64) -> String {
    match secs {
        0..120 => format!("{secs} s"),
        120..7_200 => format!("{} min", secs / 60),
        7_200..172_800 => format!("{} h", secs / 3_600),
        _ => format!("{} days", secs / 86_400),
    }
}

fn join(a: Interval, b: Interval) -> Interval {
    Interval { lo: a.lo.min(b.lo), hi: a.hi.max(b.hi) }
}

fn is_same_hour(known: &Draft, new: &Draft) -> bool {
    match (known.seen, new.seen) {
        (Some(known), Some(new)) => new.lo.since(known.lo).abs() <= SAME_FINDING_NS,
        _ => true,
    }
}

fn merge(known: &mut Draft, new: Draft) {
    known.count = known.count.saturating_add(new.count);
    known.seen = match (known.seen, new.seen) {
        (Some(a), Some(b)) => Some(join(a, b)),
        (a, b) => a.or(b),
    };
    if new.severity > known.severity {
        (known.severity, known.title, known.why, known.graded) =
            (new.severity, new.title, new.why, new.graded);
    }
    known.actor = known.actor.take().or(new.actor);
    // Facts come in order of time, so what is there already is the earlier evidence.
    known.evidence.extend(new.evidence);
    known.victims.extend(new.victims);
    known.objects.extend(new.objects);
    trim(known);
}

fn bounded(mut draft: Draft) -> Draft {
    trim(&mut draft);
    draft
}

fn trim(draft: &mut Draft) {
    draft.evidence.truncate(EVIDENCE_MAX);
    draft.victims.sort();
    draft.victims.dedup();
    draft.victims.truncate(VICTIMS_MAX);
    draft.objects.sort();
    draft.objects.dedup();
    draft.objects.truncate(OBJECTS_MAX);
}

fn cite(at: Option<Nanos>, record: RecordRef, shows: &str, cx: &Context<'_>) -> Option<Evidence> {
    let item = *cx.items.get(record.item as usize)?;
    Some(Evidence {
        at,
        citation: Citation { item, record: record.ordinal },
        shows: escaped(shows).into_owned(),
    })
}

/// The first 16 hexadecimal digits of SHA-256 over rule, subject, target and first citation.
fn id(finding: &Finding) -> String {
    let mut digest = Sha256::new();
    for part in [&finding.rule, &finding.subject, &finding.target] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part.as_bytes());
    }
    if let Some(first) = finding.evidence.first() {
        digest.update(first.citation.item.0);
        digest.update(first.citation.record.to_le_bytes());
    }
    truename_model::Sha256(digest.finalize().into()).to_string().chars().take(16).collect()
}

/// The reason of the first suppression that covers the finding and still held at its last time.
fn suppression(finding: &Finding, profile: &Profile) -> Option<String> {
    let covers = |pattern: &str, text: &str| pattern.is_empty() || glob(pattern, text);
    profile
        .suppressions
        .iter()
        .find(|one| {
            let in_time = match (finding.seen, one.expires_at()) {
                (Some(seen), Some(expires)) => seen.hi <= expires,
                (None, Some(_)) => true,
                (_, None) => false,
            };
            one.rule == finding.rule
                && in_time
                && covers(&one.subject, &finding.subject)
                && covers(&one.target, &finding.target)
        })
        .map(|one| escaped(&one.reason).into_owned())
}

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod changes;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod owners_tests;
#[cfg(test)]
mod tests;
