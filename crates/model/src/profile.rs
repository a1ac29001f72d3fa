//! The operator's profile: what is approved in this cluster. Evidence, and part of the rule-set hash.
//!
//! Read strictly: an unknown key is an error, so that a typing slip cannot silently approve nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::Nanos;

/// One reason to keep a finding quiet; it stays visible, marked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Suppression {
    /// Rule id.
    pub rule: String,
    /// Subject as shown in findings, or a glob over it; empty: any.
    #[serde(default)]
    pub subject: String,
    /// Target as shown, or a glob over it; empty: any.
    #[serde(default)]
    pub target: String,
    /// Why; must not be empty.
    pub reason: String,
    /// RFC 3339 instant after which it no longer holds (compared with the finding's last time).
    pub expires: String,
}

impl Suppression {
    /// The expiry as an instant; `None` if it is no RFC 3339 text.
    #[must_use]
    pub fn expires_at(&self) -> Option<Nanos> {
        Nanos::parse_rfc3339(self.expires.as_bytes())
    }
}

/// The profile (`apiVersion: truename/v1`, `kind: Profile`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Profile {
    /// Must be `truename/v1`.
    pub api_version: String,
    /// Must be `Profile`.
    pub kind: String,
    /// Cluster domain, where the objects do not tell it.
    pub cluster_domain: Option<String>,
    /// Pod CIDRs.
    pub pod_cidrs: Vec<String>,
    /// Service CIDRs.
    pub service_cidrs: Vec<String>,
    /// Users (exact or glob) that may change cluster DNS objects.
    pub approved_requesters: Vec<String>,
    /// Approved Corefile running-configuration digests (SHA-512, hexadecimal).
    pub corefile_hashes: Vec<String>,
    /// Workloads (`namespace/name` globs of the owner) that fan out by design.
    pub infrastructure: Vec<String>,
    /// Names (globs) that ExternalName services may point to.
    pub external_targets: Vec<String>,
    /// Zones served privately upstream: private answers below them are expected.
    pub internal_zones: Vec<String>,
    /// Threshold overrides: rule id → name → value.
    pub thresholds: BTreeMap<String, BTreeMap<String, f64>>,
    /// Suppressions.
    pub suppressions: Vec<Suppression>,
}
