//! A row of the timeline: one instant, what happened, to whom, and the record that shows it.

use serde::{Deserialize, Serialize};
use truename_model::{Citation, Nanos};

/// What kind of instant a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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

/// How a row's time is shown in one place: the mark says what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// It was then.
    At(Nanos),
    /// It was then or before.
    NotAfter(Nanos),
    /// It was then or later.
    NotBefore(Nanos),
    /// Nothing is known but the order.
    Never,
}

impl Row {
    /// The time to show, and to order by: the latest it can have been, for what is known to be earlier then stands
    /// before it.
    #[must_use]
    pub fn shown(&self) -> Shown {
        match (self.not_before, self.not_after) {
            (Some(lo), Some(hi)) if lo == hi => Shown::At(hi),
            (_, Some(hi)) => Shown::NotAfter(hi),
            (Some(lo), None) => Shown::NotBefore(lo),
            (None, None) => Shown::Never,
        }
    }

    /// Place in an order of time; rows without one come last.
    #[must_use]
    pub fn place(&self) -> i64 {
        self.not_after.or(self.not_before).map_or(i64::MAX, |at| at.0)
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Not earlier than this, reference clock; absent where nothing bounds it.
    pub not_before: Option<Nanos>,
    /// Not later than this; both absent: known by order only.
    pub not_after: Option<Nanos>,
    /// Who says so, and by which clock.
    pub basis: String,
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
