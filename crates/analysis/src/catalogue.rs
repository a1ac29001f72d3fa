//! The detection catalogue: rules and correlations as data, read strictly, with the profile's thresholds applied.
//!
//! Enters: the files under `rules/` (embedded) and the profile; leaves: metas by id and the hash of the rule set.
//! Deliberately absent: what the rules do.

use std::collections::BTreeMap;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use truename_model::{Finding, Profile, RuleMeta, Severity};

use crate::text::glob;

/// One file per rule, in order of id.
const RULES: [&str; 29] = [
    include_str!("../../../rules/h01.yaml"),
    include_str!("../../../rules/h02.yaml"),
    include_str!("../../../rules/h03.yaml"),
    include_str!("../../../rules/h04.yaml"),
    include_str!("../../../rules/h05.yaml"),
    include_str!("../../../rules/h06.yaml"),
    include_str!("../../../rules/h07.yaml"),
    include_str!("../../../rules/h08.yaml"),
    include_str!("../../../rules/h09.yaml"),
    include_str!("../../../rules/h11.yaml"),
    include_str!("../../../rules/h15.yaml"),
    include_str!("../../../rules/h17.yaml"),
    include_str!("../../../rules/p01.yaml"),
    include_str!("../../../rules/p06.yaml"),
    include_str!("../../../rules/p07.yaml"),
    include_str!("../../../rules/p11.yaml"),
    include_str!("../../../rules/r01.yaml"),
    include_str!("../../../rules/r02.yaml"),
    include_str!("../../../rules/r03.yaml"),
    include_str!("../../../rules/r04.yaml"),
    include_str!("../../../rules/r05.yaml"),
    include_str!("../../../rules/r06.yaml"),
    include_str!("../../../rules/r07.yaml"),
    include_str!("../../../rules/r08.yaml"),
    include_str!("../../../rules/r09.yaml"),
    include_str!("../../../rules/r21.yaml"),
    include_str!("../../../rules/x08.yaml"),
    include_str!("../../../rules/x10.yaml"),
    include_str!("../../../rules/x11.yaml"),
];
const INCIDENTS: &str = include_str!("../../../rules/incidents.yaml");

/// Why the catalogue or the profile's part in it cannot be used; the operator can mend the profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// The data shipped with the program is broken.
    #[error("the detection catalogue cannot be read: {0}")]
    Data(String),
    /// The profile overrides a threshold that no rule has.
    #[error("profile: rule {rule} has no threshold `{threshold}`; it has: {known}")]
    Threshold {
        /// Rule id as written.
        rule: String,
        /// Threshold as written.
        threshold: String,
        /// What may be written instead.
        known: String,
    },
    /// The profile names a rule that does not exist.
    #[error("profile: there is no rule `{0}`")]
    Rule(String),
    /// A suppression without a reason or with an expiry that is no instant.
    #[error("profile: the suppression of rule {0} needs a reason and an RFC 3339 expiry")]
    Suppression(String),
}

/// What the findings of a correlation must share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Same {
    /// The workload or subject.
    Subject,
    /// The target.
    Target,
    /// Nothing but the time.
    Nothing,
}

/// Findings of a rule, all or those whose target fits a glob; written `R08` or `R08@ns.dns.*`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Pattern {
    /// Rule id.
    pub rule: String,
    /// Glob over the target; `*` fits every one.
    pub target: String,
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        let (rule, target) = text.split_once('@').unwrap_or((&text, "*"));
        Self { rule: rule.to_owned(), target: target.to_owned() }
    }
}

impl Pattern {
    /// True for a finding that is meant.
    #[must_use]
    pub fn fits(&self, finding: &Finding) -> bool {
        self.rule == finding.rule && glob(&self.target, &finding.target)
    }
}

/// A correlation of findings, as data.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentMeta {
    /// Name as shown.
    pub name: String,
    /// Severity.
    pub severity: Severity,
    /// Groups of patterns: each group needs one finding of its own.
    pub all: Vec<Vec<Pattern>>,
    /// True if each group must begin no earlier than the one before it.
    #[serde(default)]
    pub ordered: bool,
    /// What the findings share.
    pub same: Same,
    /// Seconds from the first to the last finding.
    pub within_secs: u64,
    /// True if one finding must name victims.
    pub victims: bool,
    /// What it means.
    pub story: String,
}

/// The catalogue with the profile applied.
#[derive(Clone, Debug)]
pub struct Catalogue {
    rules: BTreeMap<String, RuleMeta>,
    /// Correlations, in the file's order.
    pub incidents: Vec<IncidentMeta>,
    /// SHA-256 over the data and the profile, hexadecimal.
    pub hash: String,
}

impl Catalogue {
    /// Reads the embedded data and applies the profile's thresholds.
    ///
    /// # Errors
    /// When the profile names a rule or threshold that does not exist (a slip must not silently change nothing).
    pub fn new(profile: &Profile) -> Result<Self, CatalogueError> {
        let mut rules = BTreeMap::new();
        for text in RULES {
            let meta: RuleMeta = read(text)?;
            rules.insert(meta.id.clone(), meta);
        }
        apply(profile, &mut rules)?;
        let incidents = read(INCIDENTS)?;
        Ok(Self { rules, incidents, hash: hash(profile)? })
    }

    /// The rules, by id.
    pub fn rules(&self) -> impl Iterator<Item = &RuleMeta> {
        self.rules.values()
    }

    /// One rule.
    #[must_use]
    pub fn rule(&self, id: &str) -> Option<&RuleMeta> {
        self.rules.get(id)
    }
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, CatalogueError> {
    serde_saphyr::from_str(text).map_err(|error| CatalogueError::Data(error.to_string()))
}

fn apply(profile: &Profile, rules: &mut BTreeMap<String, RuleMeta>) -> Result<(), CatalogueError> {
    for (id, overrides) in &profile.thresholds {
        let meta = rules.get_mut(id).ok_or_else(|| CatalogueError::Rule(id.clone()))?;
        for (name, value) in overrides {
            let known = || meta.thresholds.keys().cloned().collect::<Vec<_>>().join(", ");
            if !meta.thresholds.contains_key(name) || !value.is_finite() || *value < 0.0 {
                let (rule, threshold, known) = (id.clone(), name.clone(), known());
                return Err(CatalogueError::Threshold { rule, threshold, known });
            }
            meta.thresholds.insert(name.clone(), *value);
        }
    }
    for suppression in &profile.suppressions {
        if !rules.contains_key(&suppression.rule) {
            return Err(CatalogueError::Rule(suppression.rule.clone()));
        }
        if suppression.reason.trim().is_empty() || suppression.expires_at().is_none() {
            return Err(CatalogueError::Suppression(suppression.rule.clone()));
        }
    }
    Ok(())
}

fn hash(profile: &Profile) -> Result<String, CatalogueError> {
    let mut digest = Sha256::new();
    let canonical = serde_json::to_vec(profile).map_err(|error| CatalogueError::Data(error.to_string()))?;
    for part in RULES.iter().map(|text| text.as_bytes()).chain([INCIDENTS.as_bytes(), &canonical]) {
        // Lengths keep two different splits of the same bytes apart.
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    Ok(truename_model::Sha256(digest.finalize().into()).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use truename_model::profile::Suppression;

    fn with_threshold(rule: &str, name: &str, value: f64) -> Profile {
        let thresholds = BTreeMap::from([(rule.to_owned(), BTreeMap::from([(name.to_owned(), value)]))]);
        Profile { thresholds, ..Profile::default() }
    }

    #[test]
    fn every_rule_is_read_and_the_incidents_name_only_rules() {
        let catalogue = Catalogue::new(&Profile::default()).unwrap();
        assert_eq!(catalogue.rules().count(), RULES.len());
        for meta in catalogue.rules() {
            assert!(!meta.false_alarm_if.is_empty() && !meta.next_step.is_empty(), "{}", meta.id);
            assert!(
                meta.needs.iter().flat_map(|set| set.chars()).all(|c| "LTPUKAM".contains(c)),
                "{}",
                meta.id
            );
            assert!(meta.attack.iter().all(|id| id.starts_with('T')), "{}", meta.id);
        }
        for pattern in catalogue.incidents.iter().flat_map(|incident| incident.all.iter().flatten()) {
            assert!(catalogue.rule(&pattern.rule).is_some(), "{pattern:?}");
        }
    }

    #[test]
    fn a_threshold_is_overridden_and_a_slip_is_refused() {
        let catalogue = Catalogue::new(&with_threshold("R01", "distinct_fast", 5.0)).unwrap();
        assert_eq!(catalogue.rule("R01").unwrap().thresholds["distinct_fast"], 5.0);
        assert_ne!(catalogue.hash, Catalogue::new(&Profile::default()).unwrap().hash);
        for profile in [
            with_threshold("R01", "distinct_fats", 5.0),
            with_threshold("R99", "x", 5.0),
            with_threshold("R01", "distinct_fast", f64::NAN),
        ] {
            assert!(Catalogue::new(&profile).is_err());
        }
    }

    #[test]
    fn a_suppression_needs_a_reason_and_an_end() {
        let suppression = |reason: &str, expires: &str| Profile {
            suppressions: vec![Suppression {
                rule: "R09".into(),
                subject: String::new(),
                target: String::new(),
                reason: reason.into(),
                expires: expires.into(),
            }],
            ..Profile::default()
        };
        assert!(Catalogue::new(&suppression("probe", "2026-12-01T00:00:00Z")).is_ok());
        assert!(Catalogue::new(&suppression("", "2026-12-01T00:00:00Z")).is_err());
        assert!(Catalogue::new(&suppression("probe", "soon")).is_err());
    }

    #[test]
    fn unknown_keys_in_the_data_are_refused() {
        let text = RULES[0].replace("history_secs", "history_sec");
        assert!(read::<RuleMeta>(&text).is_err());
    }
}
