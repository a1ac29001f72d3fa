//! Who asked: a workload named with its basis, its alternatives, or the reason why it cannot be named (design, I4).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::object::{OwnerRef, StringMap};
use crate::time::Interval;

/// What kind of thing holds an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadKind {
    /// A pod with an address of its own.
    Pod,
    /// A node: the host itself or any hostNetwork pod on it.
    Node,
    /// An address that a Service holds (seen as a source only through odd NAT).
    Service,
    /// The API server or another address named by the cluster's objects.
    ControlPlane,
    /// Outside every range of the cluster.
    External,
}

/// The owner of an address at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Workload {
    /// Kind.
    pub kind: WorkloadKind,
    /// Namespace; empty for nodes.
    pub namespace: String,
    /// Pod, node or Service name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// The topmost known controller (Deployment rather than its ReplicaSet).
    pub owner: Option<OwnerRef>,
    /// Node the pod ran on.
    pub node: String,
    /// Labels at that time.
    pub labels: StringMap,
    /// Service account.
    pub service_account: String,
}

impl Workload {
    /// Key for counting per workload: the topmost owner's UID, else the own one.
    #[must_use]
    pub fn owner_uid(&self) -> &str {
        self.owner.as_ref().map_or(&self.uid, |owner| &owner.uid)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            WorkloadKind::Pod => write!(f, "pod {}/{}", self.namespace, self.name),
            WorkloadKind::Node => write!(f, "node {}", self.name),
            WorkloadKind::Service => write!(f, "service {}/{}", self.namespace, self.name),
            WorkloadKind::ControlPlane => write!(f, "control plane {}", self.name),
            WorkloadKind::External => write!(f, "external {}", self.name),
        }
    }
}

/// Why a workload is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttributionBasis {
    /// Watch or audit history covers the whole interval without a break.
    History,
    /// Snapshots around the interval agree and nothing contradicts them.
    SnapshotsAround,
    /// One snapshot on one side only, within the stated reach.
    SnapshotNear,
    /// The node's own address.
    NodeAddress,
}

/// One possible owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alternative {
    /// The workload.
    pub workload: Arc<Workload>,
    /// When it may have held the address.
    pub held: Interval,
}

/// Why nobody is named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownOwner {
    /// The record has no time.
    NoTime,
    /// The record has no client address.
    NoClient,
    /// No object of the cluster ever held the address.
    NoSuchAddress,
    /// Objects hold the address at other times only.
    NoneAtThatTime,
    /// The history does not reach this time.
    OutsideHistory,
    /// No objects of this cluster are in the evidence.
    NoObjects,
    /// The address asks for others: a NodeLocal DNSCache on this node, whose own log would tell the pod.
    ThroughNodeLocal(Arc<str>),
}

impl UnknownOwner {
    /// A phrase for people.
    #[must_use]
    pub fn phrase(&self) -> Cow<'static, str> {
        let fixed = match self {
            Self::ThroughNodeLocal(node) => {
                return format!("asked through the NodeLocal DNSCache of node {node}").into();
            }
            Self::NoTime => "no time",
            Self::NoClient => "no client address",
            Self::NoSuchAddress => "no object ever held the address",
            Self::NoneAtThatTime => "nobody is known to have held the address then",
            Self::OutsideHistory => "the object history does not reach this time",
            Self::NoObjects => "no objects of this cluster in the evidence",
        };
        fixed.into()
    }
}

/// Who asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attribution {
    /// One owner through the whole interval.
    Exact(Arc<Workload>, AttributionBasis),
    /// Several possible owners, in order of name.
    Ambiguous(Arc<[Alternative]>),
    /// Nobody can be named.
    Unknown(UnknownOwner),
}

impl Attribution {
    /// The workload if it is exact.
    #[must_use]
    pub fn exact(&self) -> Option<&Arc<Workload>> {
        match self {
            Self::Exact(workload, _) => Some(workload),
            Self::Ambiguous(_) | Self::Unknown(_) => None,
        }
    }
}
