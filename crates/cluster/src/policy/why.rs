//! Three-valued matches: what the objects and the API text settle, and what they leave open, with the reason.
//!
//! Enters: answers of single questions; leaves: their conjunction and disjunction (Kleene). Deliberately absent:
//! policies themselves.

use std::fmt;
use std::sync::Arc;

use truename_model::object::ObjectRef;
use truename_model::time::Nanos;

use super::flow::Direction;

/// Why a question has no definite answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// A policy of a network plugin's own kind may decide and is not evaluated.
    Foreign(Arc<ObjectRef>),
    /// A pod on the host network: whether policies see it as a pod is undefined.
    HostNetwork(String),
    /// The API server refuses such an object; what was enforced cannot be told.
    Malformed(Arc<ObjectRef>, String),
    /// A rule of a newer version of the API than this evaluator knows.
    UnknownField(Arc<ObjectRef>, usize, String),
    /// The namespace's labels are not in the evidence.
    NamespaceLabels(String),
    /// An address that a rule asks for is not in the evidence.
    NoAddress(String),
    /// A rule asks for nodes, and not all nodes are in the evidence.
    Nodes,
    /// `domainNames`: the addresses behind a name are the plugin's knowledge.
    DomainNames(Arc<ObjectRef>, usize),
    /// A block of addresses and a Service: whether rewriting happens before or after the policy is not defined.
    Rewritten(Arc<ObjectRef>, usize),
    /// Policies of the same priority disagree; the plugin may apply either.
    SamePriority(i64),
    /// Both generations of the cluster-wide API apply and disagree; their order is not stated.
    TwoApis,
    /// The pod's own node: the documentation exempts it, the API text does so only for traffic to the pod.
    OwnNode(String),
    /// An AdminNetworkPolicy denies a pod to itself; the API text does not say whether that can be.
    OwnPod(String),
    /// A port name is declared with several numbers.
    PortName(String),
    /// The address may belong to a pod that is not in the evidence.
    UnknownPod(String),
    /// Nothing shows that the policies of this namespace are all in the evidence.
    Unlisted(String),
    /// An object that the answer rests on may have changed without a record.
    Unseen,
    /// The pod did not exist then.
    NoPod(String),
    /// The service did not exist then.
    NoService(String),
    /// The service leads outside of what policies of this cluster can be asked about.
    External(String),
    /// The service has no endpoint of that port.
    NoEndpoint,
    /// The answer differs within the window; the instants around which objects changed.
    Changed(Vec<Nanos>),
    /// More versions of the objects in the window than are tried.
    TooManyWorlds,
    /// The endpoints of the service differ in their answers.
    EndpointsDiffer,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(policy) => {
                write!(f, "{policy} decides too; policies of network plugins are not evaluated")
            }
            Self::HostNetwork(pod) => {
                write!(
                    f,
                    "{pod} is on the host network; whether a policy sees it as a pod or as its node is undefined"
                )
            }
            Self::Malformed(policy, what) => {
                write!(f, "{policy} is not valid ({what}); what was enforced cannot be told")
            }
            Self::UnknownField(policy, rule, field) => {
                write!(f, "rule {rule} of {policy} has the field {field}, which is not evaluated")
            }
            Self::NamespaceLabels(name) => {
                write!(f, "the labels of namespace {name} are not in the evidence")
            }
            Self::NoAddress(of) => write!(f, "the address of {of} is not in the evidence"),
            Self::Nodes => f.write_str("a rule names nodes, and not all nodes are in the evidence"),
            Self::DomainNames(policy, rule) => {
                write!(f, "rule {rule} of {policy} names domains; their addresses are the plugin's knowledge")
            }
            Self::Rewritten(policy, rule) => write!(
                f,
                "rule {rule} of {policy} is a block of addresses; whether a Service's address is rewritten before is not defined"
            ),
            Self::SamePriority(priority) => {
                write!(f, "policies of priority {priority} disagree; which one is applied is not defined")
            }
            Self::TwoApis => f.write_str(
                "AdminNetworkPolicy and ClusterNetworkPolicy disagree; their order is not defined",
            ),
            Self::OwnNode(pod) => write!(
                f,
                "the traffic goes to the node of {pod}; whether policies can forbid it is undefined"
            ),
            Self::OwnPod(pod) => {
                write!(f, "an AdminNetworkPolicy denies {pod} to itself; whether it can is undefined")
            }
            Self::PortName(name) => write!(f, "the port name {name} is declared with several numbers"),
            Self::UnknownPod(ip) => write!(f, "{ip} may belong to a pod that is not in the evidence"),
            Self::Unlisted(namespace) if namespace.is_empty() => {
                f.write_str("no NetworkPolicy is in the evidence, and nothing shows that there was none")
            }
            Self::Unlisted(namespace) => {
                write!(f, "nothing shows that all policies of namespace {namespace} are in the evidence")
            }
            Self::Unseen => {
                f.write_str("an object that the answer rests on may have changed without a record")
            }
            Self::NoPod(pod) => write!(f, "the pod {pod} is not known to have existed then"),
            Self::NoService(service) => write!(f, "the service {service} is not known to have existed then"),
            Self::External(target) => {
                write!(f, "the service stands for the name {target}, outside of these policies")
            }
            Self::NoEndpoint => f.write_str("the service had no endpoint for that port"),
            Self::Changed(times) if times.is_empty() => {
                f.write_str("the evidence does not tell which version of an object held then")
            }
            Self::Changed(times) => {
                f.write_str("changed at ")?;
                for (index, at) in times.iter().enumerate() {
                    write!(f, "{}{at}", if index > 0 { ", " } else { "" })?;
                }
                Ok(())
            }
            Self::TooManyWorlds => f.write_str("the objects changed too often in the window"),
            Self::EndpointsDiffer => f.write_str("the endpoints differ"),
        }
    }
}

/// Whether something matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It is not settled.
    Open(Why),
}

impl Match {
    /// Both.
    #[must_use]
    pub fn and(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::No => Self::No,
            Self::Yes => other(),
            Self::Open(why) => match other() {
                Self::No => Self::No,
                Self::Yes | Self::Open(_) => Self::Open(why),
            },
        }
    }

    /// Any of them.
    #[must_use]
    pub fn any(of: impl IntoIterator<Item = Self>) -> Self {
        let mut open = None;
        for one in of {
            match one {
                Self::Yes => return Self::Yes,
                Self::No => {}
                Self::Open(why) => {
                    open.get_or_insert(why);
                }
            }
        }
        open.map_or(Self::No, Self::Open)
    }
}

impl From<bool> for Match {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// A rule, an action or the lack of one, that decided or may decide.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason {
    /// The policy.
    pub policy: Arc<ObjectRef>,
    /// Direction, seen from the pod that the policy selects.
    pub direction: Direction,
    /// Index of the rule, from 0; `None`: the policy selects the pod and no rule matches.
    pub rule: Option<usize>,
    /// What it does.
    pub effect: Effect,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Lets the traffic through.
    Allow,
    /// Forbids it.
    Deny,
    /// Hands it to the next tier.
    Pass,
    /// Selects the pod, so that what no rule allows is forbidden.
    Isolate,
}

impl Effect {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allows",
            Self::Deny => "denies",
            Self::Pass => "passes on",
            Self::Isolate => "selects the pod and no rule matches",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            Some(rule) => {
                write!(f, "{} {} rule {rule} {}", self.policy, self.direction.as_str(), self.effect.as_str())
            }
            None => write!(f, "{} {} {}", self.policy, self.direction.as_str(), self.effect.as_str()),
        }
    }
}
