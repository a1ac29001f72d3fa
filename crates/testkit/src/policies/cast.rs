//! Pods of a test world, owned, and flows between them. Enters: names, labels, addresses; leaves: facts for the
//! evaluator. An end that is no pod is an address outside of the cluster.

use std::net::IpAddr;

use truename_cluster::policy::{Flow, Party, PodFacts, Protocol};
use truename_model::object::{Pod, StringMap};

/// A pod with what policies see of it.
#[derive(Clone, Debug, Default)]
pub struct Member {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: StringMap,
    /// Labels of its namespace.
    pub namespace_labels: StringMap,
    /// Specification and status.
    pub pod: Pod,
}

impl Member {
    /// As one end of a flow.
    #[must_use]
    pub fn party(&self) -> Party<'_> {
        Party::Pod(PodFacts {
            namespace: &self.namespace,
            name: &self.name,
            labels: &self.labels,
            namespace_labels: Some(&self.namespace_labels),
            pod: &self.pod,
        })
    }
}

/// One end of a flow.
#[derive(Clone, Copy, Debug)]
pub enum End<'a> {
    /// A pod and the address of it that is used, if it has one.
    Pod(&'a Member, Option<IpAddr>),
    /// Outside.
    Outside(IpAddr),
}

impl<'a> End<'a> {
    fn parts(self) -> (Party<'a>, Option<IpAddr>) {
        match self {
            Self::Pod(member, ip) => (member.party(), ip),
            Self::Outside(ip) => (Party::Address, Some(ip)),
        }
    }
}

/// The flow between two ends.
#[must_use]
pub fn flow<'a>(from: End<'a>, to: End<'a>, protocol: Protocol, port: u16) -> Flow<'a> {
    let ((source, source_ip), (destination, destination_ip)) = (from.parts(), to.parts());
    Flow { source, source_ip, destination, destination_ip, service: None, protocol, port }
}
