//! What rules read and write: facts in order of time, the context, the rule trait, and the draft of a finding.
//!
//! Enters: joined and judged lookups, intents, changes; leaves: drafts, which `detect` turns into findings.
//! Deliberately absent: grading, ids, suppression (see `detect`).

use std::sync::Arc;

use truename_model::{
    Actor, Attribution, ClusterChange, Diagnostic, Intent, Interval, Judged, Loss, Nanos, ObjectRef,
    Observation, Origin, OriginId, Profile, RecordRef, RuleMeta, Severity, Sha256, UnknownOwner,
    UpstreamExchange, Workload,
};

use crate::knowledge::Knowledge;

/// One thing that happened, as rules see it. Facts come in order of time; records without time come last.
#[derive(Clone, Copy, Debug)]
pub enum Fact<'a> {
    /// A lookup with its conclusions.
    Lookup(&'a Arc<Judged>),
    /// An application's lookup: the search list walked.
    Intent(&'a Intent),
    /// An exchange of a replica with an upstream, once it is closed (answered or given up).
    Exchange(&'a Arc<UpstreamExchange>),
    /// A change of the cluster.
    Change(&'a ClusterChange),
    /// A line of the server about itself.
    Diagnostic {
        /// The record, with its time and origin.
        observation: &'a Observation,
        /// What it says.
        diagnostic: &'a Diagnostic,
    },
    /// Evidence known to be missing.
    Loss {
        /// The record, with its time and origin.
        observation: &'a Observation,
        /// What is missing.
        loss: &'a Loss,
    },
}

/// What rules may look up. Nothing in it changes while rules run.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The cluster's history.
    pub knowledge: &'a dyn Knowledge,
    /// What the operator approved.
    pub profile: &'a Profile,
    /// Origins by [`OriginId`].
    pub origins: &'a [Origin],
    /// SHA-256 of items by item index.
    pub items: &'a [Sha256],
}

impl<'a> Context<'a> {
    /// The origin of a record, if its id is in the table.
    #[must_use]
    pub fn origin(&self, id: OriginId) -> Option<&'a Origin> {
        self.origins.get(id.0 as usize)
    }

    /// True for a question that a NodeLocal cache passed on while the cache's own log is in the evidence: that log tells
    /// who asked, so counters of askers must not count it once more.
    #[must_use]
    pub fn is_second_sighting(&self, judged: &Judged) -> bool {
        if !matches!(judged.attribution, Attribution::Unknown(UnknownOwner::ThroughNodeLocal(_))) {
            return false;
        }
        let transaction = &judged.transaction;
        let (Some(ip), Some(at)) = (transaction.client_ip(), transaction.asked.interval()) else {
            return false;
        };
        let Some(cache) = self.knowledge.node_cache(ip, at) else { return false };
        self.origins.iter().any(|origin| origin.replica.value().is_some_and(|name| name == cache))
    }

    /// The replica's name, `unknown replica` if none is known.
    #[must_use]
    pub fn replica(&self, id: OriginId) -> &'a str {
        self.origin(id).and_then(|origin| origin.replica.value()).map_or("unknown replica", String::as_str)
    }
}

/// A rule: data (its meta) and a small state machine over facts.
pub trait Rule {
    /// What the catalogue says of it.
    fn meta(&self) -> &RuleMeta;

    /// Looks at one fact. State must be bounded; what is evicted must be counted in [`Rule::evictions`].
    fn observe(&mut self, fact: &Fact<'_>, cx: &Context<'_>, out: &mut Vec<Draft>);

    /// The stream has ended.
    fn finish(&mut self, cx: &Context<'_>, out: &mut Vec<Draft>);

    /// How many entries a bounded table of this rule has forgotten.
    fn evictions(&self) -> u64 {
        0
    }
}

/// A claim before it is graded and given an id. Text may hold hostile names in their escaped display form only.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Rule id.
    pub rule: String,
    /// Severity before corrections.
    pub severity: Severity,
    /// One sentence: what happened.
    pub title: String,
    /// Who did it or whom it befell, as shown.
    pub subject: String,
    /// The workload behind the subject, if exact.
    pub workload: Option<Arc<Workload>>,
    /// Who acted through the API.
    pub actor: Option<Arc<Actor>>,
    /// What it is about.
    pub target: String,
    /// First and last time seen, reference clock.
    pub seen: Option<Interval>,
    /// How many events it sums up.
    pub count: u64,
    /// Why we say so.
    pub why: String,
    /// Deciding objects.
    pub objects: Vec<ObjectRef>,
    /// Evidence: time, record, what it shows.
    pub evidence: Vec<(Option<Nanos>, RecordRef, String)>,
    /// Clients that received a false answer.
    pub victims: Vec<String>,
    /// Corrections already applied to the severity, with their reasons.
    pub graded: Vec<String>,
}

impl Draft {
    /// A draft with a rule, a severity and a title; everything else empty, `count` 1.
    #[must_use]
    pub fn new(rule: &str, severity: Severity, title: impl Into<String>) -> Self {
        Self {
            rule: rule.to_owned(),
            severity,
            title: title.into(),
            subject: String::new(),
            workload: None,
            actor: None,
            target: String::new(),
            seen: None,
            count: 1,
            why: String::new(),
            objects: Vec::new(),
            evidence: Vec::new(),
            victims: Vec::new(),
            graded: Vec::new(),
        }
    }
}
