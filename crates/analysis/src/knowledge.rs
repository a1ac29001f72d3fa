//! What the analysis asks of the cluster's history: owners of addresses, verdicts, stub configuration.
//!
//! Enters: addresses, questions, intervals on the reference clock; leaves: answers of the `cluster` crate. A trait,
//! so that joins and rules are tested against a few hand-written facts. Deliberately absent: any state.

use std::net::IpAddr;
use std::sync::Arc;

use truename_model::{
    Attribution, Body, Flags, Interval, Name, ObjectRef, Question, Rcode, UnknownOwner, Verdict,
    WhyUnverifiable, Workload,
};

/// An answer to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The question.
    pub question: &'a Question,
    /// Extended return code.
    pub rcode: Rcode,
    /// Header bits of the response.
    pub flags: Flags,
    /// Sections.
    pub body: &'a Body,
    /// When it was given, reference clock, with all uncertainty.
    pub at: Interval,
    /// Who asked, where one address is known.
    pub client: Option<IpAddr>,
    /// CoreDNS version of the answering replica (`1.15.0`), if known.
    pub version: Option<&'a str>,
}

/// What the truth model says of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The objects or the configuration decide.
    Verdict(Verdict),
    /// The name lies outside every zone that the objects answer: an upstream must have said it.
    NotCluster,
    /// The first records are right (an ExternalName's alias); the rest is the answer of another lookup of `target`.
    Chase {
        /// Name whose records remain to be explained.
        target: Name,
        /// Objects that decided the first part.
        by: Arc<[ObjectRef]>,
    },
}

/// How a pod's stub resolver is set up by its objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StubConfig {
    /// Search list as kubelet writes it, without the node's own suffixes.
    pub search: Vec<Name>,
    /// `ndots`.
    pub ndots: u8,
}

/// What an address means to the cluster's DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsRole {
    /// A DNS server instance with that pod name.
    Replica(String),
    /// The address of the cluster's DNS service (or of a node-local cache): some instance answers behind it.
    Service,
    /// Known not to be a server of cluster DNS.
    Other,
    /// The objects do not tell.
    Unknown,
}

/// Questions to the cluster's history. All instants are on the reference clock.
pub trait Knowledge: Sync {
    /// Who held `ip` during `at`.
    fn owners(&self, ip: IpAddr, at: Interval) -> Attribution;

    /// Changes if, and only if, [`Knowledge::owners`] may answer differently for `ip`; `None`: never memoise.
    fn owners_epoch(&self, ip: IpAddr, at: Interval) -> Option<u64>;

    /// Whether an answer was true.
    fn judge(&self, answer: &Answer<'_>) -> Judgement;

    /// Changes if any object or configuration that the question depends on did; `None`: never memoise.
    fn judge_epoch(&self, question: &Question, at: Interval) -> Option<u64>;

    /// The stub configuration of a workload, if its objects tell it.
    fn stub(&self, workload: &Workload, at: Interval) -> Option<StubConfig>;

    /// What `ip` was to cluster DNS.
    fn dns_role(&self, ip: IpAddr, at: Interval) -> DnsRole;

    /// The cluster domain, if known.
    fn cluster_domain(&self) -> Option<Name>;

    /// How long after its TTL a cached answer may still be served, nanoseconds (`serve_stale`), for that replica's
    /// configuration at that time.
    fn stale_ns(&self, at: Interval) -> i64;
}

/// A cluster of which nothing is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoKnowledge;

impl Knowledge for NoKnowledge {
    fn owners(&self, _: IpAddr, _: Interval) -> Attribution {
        Attribution::Unknown(UnknownOwner::NoObjects)
    }

    fn owners_epoch(&self, _: IpAddr, _: Interval) -> Option<u64> {
        Some(0)
    }

    fn judge(&self, _: &Answer<'_>) -> Judgement {
        Judgement::Verdict(Verdict::unverifiable(WhyUnverifiable::NoObjects))
    }

    fn judge_epoch(&self, _: &Question, _: Interval) -> Option<u64> {
        Some(0)
    }

    fn stub(&self, _: &Workload, _: Interval) -> Option<StubConfig> {
        None
    }

    fn dns_role(&self, _: IpAddr, _: Interval) -> DnsRole {
        DnsRole::Unknown
    }

    fn cluster_domain(&self) -> Option<Name> {
        None
    }

    fn stale_ns(&self, _: Interval) -> i64 {
        0
    }
}
