//! A row of the timeline: one instant, what happened, to whom, and the record that shows it.

use serde::Serialize;
use truename_model::{Citation, Nanos};

/// What kind of instant a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowKind {
    /// A lookup by a client, at its query time.
    Lookup,
    /// A change of a cluster object.
    Change,
    /// A line about the DNS server itself.
    Server,
    /// Known loss of evidence.
    Loss,
    /// A finding's first instant.
    Finding,
}

impl RowKind {
    /// Name of the instant, for outputs that want one row per named time.
    #[must_use]
    pub fn describes(self) -> &'static str {
        match self {
            Self::Lookup => "DNS query sent",
            Self::Change => "Object changed",
            Self::Server => "DNS server line",
            Self::Loss => "Evidence lost",
            Self::Finding => "Finding first seen",
        }
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// When, reference clock; absent for records known by order only.
    pub at: Option<Nanos>,
    /// Kind.
    pub kind: RowKind,
    /// Who (`pod shop/web-1`, `user alice`, `one of pod a/b, pod c/d`).
    pub who: String,
    /// What happened, in one line.
    pub what: String,
    /// Verdict word or severity word; empty where there is none.
    pub judged: String,
    /// The record that shows it.
    pub citation: Option<Citation>,
}
