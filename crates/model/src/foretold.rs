//! What a DNS server of the cluster would have answered, and what says so.
//!
//! Enters: nothing; leaves: the answer to "what would have been true" as data for every output. Deliberately absent: how
//! it is foretold.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::object::ObjectRef;
use crate::time::Interval;

/// A record of a foretold answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForetoldRecord {
    /// Owner, presentation form.
    pub owner: String,
    /// Most seconds.
    pub ttl: u32,
    /// Type.
    pub rtype: String,
    /// Data, presentation form.
    pub data: String,
}

/// A line of a Corefile that takes part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConfigLine {
    /// The ConfigMap version, or kind `Corefile` for a file.
    pub config: ObjectRef,
    /// Line, from 1.
    pub line: u32,
    /// Its text.
    pub text: String,
}

/// Whether an answer was true at the time asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holds {
    /// It was, and nothing else was.
    True,
    /// It may have been: the evidence leaves more than one answer open, or does not reach so far.
    Possible,
    /// It was true before; caches and the lag of a watch may still have served it.
    Stale,
}

impl Holds {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::Possible => "possible",
            Self::Stale => "stale",
        }
    }
}

/// One answer that is foretold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foretold {
    /// Whether it was true.
    pub holds: Holds,
    /// Return code; `None`: it cannot be foretold, or nothing is sent.
    pub rcode: Option<String>,
    /// Words of the flags as `dig` writes them, for a question with RD.
    pub flags: String,
    /// Answer section.
    pub answer: Vec<ForetoldRecord>,
    /// Authority section.
    pub authority: Vec<ForetoldRecord>,
    /// Additional section without OPT.
    pub additional: Vec<ForetoldRecord>,
    /// What is not told by objects and configuration: why there is no return code, or what follows the records.
    pub beyond: Option<String>,
    /// Servers that answer so: pods, or releases where the evidence names no server.
    pub servers: Vec<String>,
    /// Objects that it rests on, in the versions that held.
    pub objects: Vec<ObjectRef>,
    /// Lines of the Corefile that take part.
    pub lines: Vec<ConfigLine>,
}

/// The answer to "what would have been true".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foretelling {
    /// Name asked for.
    pub name: String,
    /// Type.
    pub rtype: String,
    /// Namespace and name of the pod that asks.
    pub pod: String,
    /// Its addresses.
    pub clients: Vec<IpAddr>,
    /// Cluster, if the evidence names one.
    pub cluster: Option<String>,
    /// The time asked about, reference clock; `None`: the last state in the evidence.
    pub at: Option<Interval>,
    /// The answers: the true one, or each possible one, then stale ones.
    pub answers: Vec<Foretold>,
    /// What is left open, and what is assumed.
    pub open: Vec<String>,
}
