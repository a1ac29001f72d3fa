//! Whether a connection was allowed by the cluster's policies, and what says so.
//!
//! Enters: nothing; leaves: the answer to "may this pod reach that" as data for every output. Deliberately absent: how it
//! is decided, and whether anything enforces it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::object::ObjectRef;
use crate::time::Interval;

/// What policies say of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Every reading lets it through.
    Allowed,
    /// Every reading forbids it.
    Denied,
    /// Neither.
    Unknown,
}

impl Decision {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Unknown => "unknown",
        }
    }
}

/// A policy's part in a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyReason {
    /// `ingress` or `egress`, seen from the pod that the policy selects.
    pub direction: String,
    /// The policy, in the version that held.
    pub policy: ObjectRef,
    /// Index of the rule in its list, from 0; `None`: the policy selects the pod and no rule of it matches.
    pub rule: Option<usize>,
    /// What it does, in words.
    pub effect: String,
}

/// One connection that the question is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Address of the other end; `None` if the evidence does not tell it.
    pub ip: Option<IpAddr>,
    /// Port of the other end.
    pub port: u16,
    /// Namespace and name of the pod behind it, if it is one.
    pub pod: Option<String>,
    /// Address and port of the service that is rewritten to it.
    pub service: Option<(IpAddr, u16)>,
    /// The decision.
    pub decision: Decision,
    /// The decision by the objects in the evidence alone, whatever may be missing from it.
    pub known: Decision,
    /// Why it is not settled.
    pub open: Vec<String>,
    /// The policies that decide or may decide.
    pub reasons: Vec<PolicyReason>,
    /// What decides where no policy does.
    pub otherwise: Vec<String>,
}

/// The answer to "may this pod reach that".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    /// Namespace and name of the pod that connects.
    pub pod: String,
    /// What it wants to reach, as it was understood.
    pub target: String,
    /// Cluster, if the evidence names one.
    pub cluster: Option<String>,
    /// The time asked about, reference clock; `None`: the last state in the evidence.
    pub at: Option<Interval>,
    /// The decision on all connections.
    pub decision: Decision,
    /// The decision by the objects in the evidence alone.
    pub known: Decision,
    /// What is left open for all of them.
    pub open: Vec<String>,
    /// The connections.
    pub connections: Vec<Connection>,
    /// Objects the answer rests on beside the policies, in the versions that held.
    pub objects: Vec<ObjectRef>,
}
