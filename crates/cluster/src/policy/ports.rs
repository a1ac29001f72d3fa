//! Ports as rules name them: all of a protocol, a range, or a name that the destination pod declares.
//!
//! Enters: rule ports and the destination; leaves: whether the flow's port is one of them.

use super::flow::{Party, Protocol};
use super::why::{Match, Why};

/// One port of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Every port of the protocol.
    All(Protocol),
    /// From the first to the last, inclusive.
    Range(Protocol, u16, u16),
    /// The port that the destination pod declares under this name; `None`: of whatever protocol it declares.
    Named(Option<Protocol>, String),
}

impl Ports {
    /// Whether traffic to `destination` on this port matches.
    #[must_use]
    pub fn matches(&self, destination: &Party<'_>, protocol: Protocol, port: u16) -> Match {
        match self {
            Self::All(of) => (*of == protocol).into(),
            Self::Range(of, first, last) => (*of == protocol && (*first..=*last).contains(&port)).into(),
            Self::Named(of, _) if of.is_some_and(|of| of != protocol) => Match::No,
            Self::Named(_, name) => named(name, destination, protocol, port),
        }
    }
}

/// A port name is a name on a pod; nothing else has names.
fn named(name: &str, destination: &Party<'_>, protocol: Protocol, port: u16) -> Match {
    let Some(pod) = destination.pod() else { return Match::No };
    let mut declared = pod
        .pod
        .ports
        .iter()
        .filter(|declared| declared.name == name && declared.protocol == protocol.as_str());
    let Some(first) = declared.next() else { return Match::No };
    if declared.any(|other| other.port != first.port) {
        return Match::Open(Why::PortName(name.to_owned()));
    }
    (first.port == port).into()
}

/// Whether the port is one of a list; an empty list restricts nothing.
#[must_use]
pub fn any(list: &[Ports], destination: &Party<'_>, protocol: Protocol, port: u16) -> Match {
    if list.is_empty() {
        return Match::Yes;
    }
    Match::any(list.iter().map(|ports| ports.matches(destination, protocol, port)))
}
