//! What is asked: traffic from one party to another on a port.
//!
//! Enters: pods and addresses as borrowed facts; leaves: a flow that the evaluator judges. Deliberately absent: time.

use std::net::IpAddr;

use truename_model::object::{ObjectRef, Pod, StringMap};

/// Direction, seen from the pod that a policy selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To the pod.
    Ingress,
    /// From the pod.
    Egress,
}

impl Direction {
    /// The API's word, lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// Transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// Reads the API's word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == text)
    }

    /// The API's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// A pod as policies see it.
#[derive(Clone, Copy, Debug)]
pub struct PodFacts<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
    /// Labels.
    pub labels: &'a StringMap,
    /// Labels of the namespace; `None`: not in the evidence.
    pub namespace_labels: Option<&'a StringMap>,
    /// Specification and status.
    pub pod: &'a Pod,
}

impl PodFacts<'_> {
    /// `namespace/name`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// True if both are the same pod.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        (self.namespace, self.name) == (other.namespace, other.name)
    }
}

/// One end of a flow.
#[derive(Clone, Copy, Debug)]
pub enum Party<'a> {
    /// A pod.
    Pod(PodFacts<'a>),
    /// Anything else: a node, or an address outside of the cluster.
    Address,
}

impl<'a> Party<'a> {
    /// The pod, if it is one.
    #[must_use]
    pub fn pod(&self) -> Option<&PodFacts<'a>> {
        match self {
            Self::Pod(pod) => Some(pod),
            Self::Address => None,
        }
    }

    /// True for a pod on the host network.
    #[must_use]
    pub fn on_host(&self) -> bool {
        self.pod().is_some_and(|pod| pod.pod.host_network)
    }
}

/// Traffic in question.
#[derive(Clone, Copy, Debug)]
pub struct Flow<'a> {
    /// Who connects.
    pub source: Party<'a>,
    /// From which address, if known.
    pub source_ip: Option<IpAddr>,
    /// To whom, after the address of a Service was rewritten.
    pub destination: Party<'a>,
    /// To which address, if known; after rewriting.
    pub destination_ip: Option<IpAddr>,
    /// Address and port of the Service that the client connects to, if it is rewritten on the way.
    pub service: Option<(IpAddr, u16)>,
    /// Protocol.
    pub protocol: Protocol,
    /// Port of the destination; after rewriting.
    pub port: u16,
}

/// A node as policies see it.
#[derive(Clone, Copy, Debug)]
pub struct NodeFacts<'a> {
    /// Name.
    pub name: &'a str,
    /// Labels.
    pub labels: &'a StringMap,
    /// Addresses.
    pub addresses: &'a [IpAddr],
}

/// The nodes of the cluster.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nodes<'a> {
    /// Those that are known.
    pub known: &'a [NodeFacts<'a>],
    /// True if there are no others.
    pub all: bool,
}

/// Names an object of cluster or namespace scope.
#[must_use]
pub fn reference(kind: &str, namespace: &str, name: &str) -> ObjectRef {
    ObjectRef {
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..ObjectRef::default()
    }
}
