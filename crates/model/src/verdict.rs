//! Whether an answer was true at its time: the five verdicts and what decides them (design §2, step 9).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::object::ObjectRef;

/// In which way an answer contradicts what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contradiction {
    /// None of the addresses is admissible.
    WrongAddress,
    /// Right addresses and one that is not.
    ExtraAddress,
    /// A positive answer for a name that does not exist.
    ShouldNotExist,
    /// A denial of a name that exists.
    ShouldExist,
    /// An alias to another target than the object's.
    WrongAlias,
    /// A TTL above what the configuration can produce.
    TtlBeyondConfiguration,
    /// Upstream exchange won by a forger, seen on the wire.
    ForgedUpstream,
    /// No cluster object, upstream answer or configuration line explains it, though all are covered.
    NoProvenance,
}

impl Contradiction {
    /// A phrase for people.
    #[must_use]
    pub fn phrase(self) -> &'static str {
        match self {
            Self::WrongAddress => "wrong address",
            Self::ExtraAddress => "extra address",
            Self::ShouldNotExist => "should not exist",
            Self::ShouldExist => "should exist",
            Self::WrongAlias => "wrong alias",
            Self::TtlBeyondConfiguration => "TTL beyond configuration",
            Self::ForgedUpstream => "forged upstream",
            Self::NoProvenance => "no provenance",
        }
    }
}

/// What explains an answer that the objects alone do not give.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Explanation {
    /// A line of the Corefile then in force.
    Corefile {
        /// ConfigMap version that holds it.
        config: ObjectRef,
        /// Line, counted from 1.
        line: u32,
        /// The line's text.
        text: String,
    },
    /// An answer that the upstream gave on this replica (server address as text).
    Upstream(String),
    /// An object that is not a Service (ServiceEntry, ServiceImport …).
    Object(ObjectRef),
    /// A rule of CoreDNS itself, by name (`dns-version`, `autopath`, `any` …).
    Builtin(String),
}

/// Why an answer cannot be judged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhyUnverifiable {
    /// The source does not show the answer (log lines, dnstap without `full`).
    AnswerNotSeen,
    /// The record has no usable time.
    NoTime,
    /// No objects of this cluster are in the evidence.
    NoObjects,
    /// The object history does not reach this time.
    OutsideHistory,
    /// The Corefile in force is not known.
    NoCorefile,
    /// No upstream leg was captured for this replica.
    NoUpstreamLeg,
    /// The upstream exchange of this answer is not in the evidence though that leg is captured (a loss or an older cache entry).
    UpstreamNotSeen,
    /// The upstream, named, gave it as far as the server's own tap tells; to the server a forged reply that wins the race
    /// looks the same, and only packets show the race.
    OnlyTapped(String),
    /// The upstream, named, gave it, but replies with other ids came as well, and nothing tells the guesser from the
    /// upstream. That they carry other data says nothing: a forger may guess with any.
    Raced(String),
    /// The upstream, named, gave something else for this very lookup.
    UpstreamDiffers(String),
    /// Another replica, named, gave a different answer at the time.
    Disputed(String),
    /// The answering resolver is not one that the model covers, or is not known.
    UnknownResolver,
    /// The name is served by something whose state lies elsewhere (etcd plugin, dynupdate, mesh, multicluster).
    StateElsewhere(String),
    /// The message was cut or malformed.
    Damaged,
    /// No answer was seen at all (timeout, drop, loss).
    NoResponse,
    /// The server failed or refused: nothing was claimed that could be false.
    ServerFailure,
    /// The question is of a kind that the model does not judge; the text names it.
    OutOfModel(String),
}

/// The verdict on one answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// It is what the objects imply for its time.
    Verified {
        /// Deciding objects.
        by: Arc<[ObjectRef]>,
    },
    /// It was right at a moment within TTL, cache and watch lag before, and is no longer.
    Stale {
        /// Deciding objects in the versions that made it right.
        by: Arc<[ObjectRef]>,
    },
    /// Something other than the cluster's objects produces it, and that is known.
    Explained {
        /// What.
        by: Explanation,
    },
    /// It cannot be judged.
    Unverifiable {
        /// Why.
        why: WhyUnverifiable,
    },
    /// It is false.
    Contradicted {
        /// How.
        how: Contradiction,
        /// Deciding objects.
        by: Arc<[ObjectRef]>,
        /// What was expected, for people.
        expected: String,
    },
}

impl Verdict {
    /// The verdict's word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Verified { .. } => "verified",
            Self::Stale { .. } => "stale",
            Self::Explained { .. } => "explained",
            Self::Unverifiable { .. } => "unverifiable",
            Self::Contradicted { .. } => "contradicted",
        }
    }

    /// Shorthand for an unverifiable verdict.
    #[must_use]
    pub fn unverifiable(why: WhyUnverifiable) -> Self {
        Self::Unverifiable { why }
    }
}
