//! Claims and their evidence: rules, findings, incidents, coverage, and the whole outcome of a run.
//!
//! A finding is the same bytes on every machine: it cites items by SHA-256 and records by ordinal, never by
//! leaf index, path or run-local number (design, I3).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::attribution::Workload;
use crate::object::{Actor, ObjectRef};
use crate::origin::Sha256;
use crate::time::{Interval, Nanos};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look.
    Low,
    /// Needs an explanation.
    Medium,
    /// Probably an attack or a dangerous fault.
    High,
    /// Act now.
    Critical,
}

impl Severity {
    /// Lower-case word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// One grade lower, `Info` at the least.
    #[must_use]
    pub fn lowered(self) -> Self {
        match self {
            Self::Info | Self::Low => Self::Info,
            Self::Medium => Self::Low,
            Self::High => Self::Medium,
            Self::Critical => Self::High,
        }
    }
}

/// What a rule says of itself; the catalogue is data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleMeta {
    /// Identifier of the catalogue (`R01`, `H08` …).
    pub id: String,
    /// Short name.
    pub title: String,
    /// The highest severity it gives.
    pub severity: Severity,
    /// ATT&CK technique ids.
    pub attack: Vec<String>,
    /// Evidence needed: any of these sets of source letters suffices (L T P K A M, `evidence-sources`).
    pub needs: Vec<String>,
    /// Seconds of history that the full severity needs.
    pub history_secs: u64,
    /// What would have to be true for it to be a false alarm.
    pub false_alarm_if: String,
    /// What to do next.
    pub next_step: String,
    /// Numeric thresholds by name; the profile may override them.
    #[serde(default)]
    pub thresholds: BTreeMap<String, f64>,
}

/// Whether a rule ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleState {
    /// It ran over everything it needs.
    Run,
    /// It ran with less history or coverage than it wants: graded one lower; the text says what was missing.
    RunReduced(String),
    /// It did not run; the text says what is needed.
    NotRun(String),
}

/// A record by content: stable across machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Citation {
    /// SHA-256 of the item's bytes.
    pub item: Sha256,
    /// Record ordinal in the item.
    pub record: u64,
}

/// One piece of evidence of a finding, with a line for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Evidence {
    /// When, reference clock; absent for records without time.
    pub at: Option<Nanos>,
    /// The record.
    pub citation: Citation,
    /// What it shows (escaped text).
    pub shows: String,
}

/// A claim with its evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable id: first 16 hexadecimal digits of SHA-256 over rule, subject, target and first citation.
    pub id: String,
    /// Rule id.
    pub rule: String,
    /// Severity after all corrections.
    pub severity: Severity,
    /// One sentence: what happened.
    pub title: String,
    /// Who did it or whom it befell, as shown (`pod shop/web-1`, `user alice`).
    pub subject: String,
    /// The workload behind the subject, if it is one and known exactly.
    pub workload: Option<Workload>,
    /// Who acted through the API, if the audit log shows it.
    pub actor: Option<Actor>,
    /// What it is about (a name, an object, an address).
    pub target: String,
    /// First and last time seen, reference clock.
    pub seen: Option<Interval>,
    /// How many events it sums up.
    pub count: u64,
    /// Why we say so, in sentences; escaped text.
    pub why: String,
    /// Corrections applied to the severity, each with its reason.
    pub graded: Vec<String>,
    /// Deciding objects.
    pub objects: Vec<ObjectRef>,
    /// Evidence, ordered; bounded, `count` is the whole number.
    pub evidence: Vec<Evidence>,
    /// ATT&CK technique ids.
    pub attack: Vec<String>,
    /// Evidence that the rule needs, in words: any of these suffices.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Seconds of history that the rule's full severity needs.
    #[serde(default)]
    pub history_secs: u64,
    /// What would have to be true for it to be a false alarm.
    pub false_alarm_if: String,
    /// What to do next.
    pub next_step: String,
    /// Clients that received a false answer, for the blast radius: escaped text, sorted.
    pub victims: Vec<String>,
    /// Reason of the profile's suppression; a suppressed finding stays visible, marked.
    pub suppressed: Option<String>,
}

/// Findings that belong together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Stable id, made as a finding's.
    pub id: String,
    /// Name of the correlation (`coredns poisoning via configmap` …).
    pub name: String,
    /// Severity.
    pub severity: Severity,
    /// Story in sentences; escaped text.
    pub story: String,
    /// Ids of its findings, in time order.
    pub findings: Vec<String>,
    /// Subjects involved.
    pub subjects: Vec<String>,
    /// Time span.
    pub seen: Option<Interval>,
}

/// What one item contributed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceCoverage {
    /// Path as given, escaped.
    pub path: String,
    /// SHA-256 of the item.
    pub item: Sha256,
    /// Format as recognised, in words.
    pub format: String,
    /// Size in octets.
    pub bytes: u64,
    /// Records split off it.
    pub records: u64,
    /// Records that a decoder understood as DNS or objects.
    pub decoded: u64,
    /// Records kept as undecodable.
    pub undecodable: u64,
    /// Records that hold nothing for us, by reason.
    pub ignored: BTreeMap<String, u64>,
    /// Known losses, as sentences.
    pub losses: Vec<String>,
    /// Time span by the item's clock.
    pub span: Option<Interval>,
    /// Estimated offset to the reference clock, nanoseconds (lowest, highest), and its basis.
    pub clock_offset_ns: Option<(i64, i64, String)>,
    /// Replica or cluster named by it.
    pub origin: String,
}

/// What was seen, what was lost, what could not be done: stated before any finding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Items, in the fixed order.
    pub sources: Vec<SourceCoverage>,
    /// Files that were not recognised, with what they look like.
    pub unrecognised: Vec<String>,
    /// What is missing beyond single items: what could not be read, and what is never followed or opened.
    #[serde(default)]
    pub gaps: Vec<String>,
    /// Notes that the reader must know (inferred years, missing cluster domain, clusters kept apart …).
    pub notes: Vec<String>,
    /// Lookups by attribution word: `exact`, `ambiguous`, `unknown`.
    pub attribution: BTreeMap<String, u64>,
    /// Answers by verdict word.
    pub verdicts: BTreeMap<String, u64>,
    /// Reasons of `unverifiable`, counted.
    pub unverifiable: BTreeMap<String, u64>,
    /// Rule states by rule id.
    pub rules: BTreeMap<String, RuleState>,
    /// Lookups in all.
    pub lookups: u64,
    /// The clients that asked most, as shown, with their lookups; most first.
    pub talkers: Vec<(String, u64)>,
    /// Evictions of bounded caches, by cache.
    pub evictions: BTreeMap<String, u64>,
}

/// Everything a run concludes: what every output format is rendered from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Coverage and gaps.
    pub coverage: Coverage,
    /// Incidents, worst first.
    pub incidents: Vec<Incident>,
    /// Findings, worst first, then by time, then by id.
    pub findings: Vec<Finding>,
    /// SHA-256 of the rule set and profile.
    pub rule_set: String,
}
