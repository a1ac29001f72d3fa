//! Whom a counter belongs to: the workload by its owner's UID, else the node or the bare address.
//!
//! Enters: attributions; leaves: keys for bounded tables and texts for findings. Deliberately absent: guessing.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use truename_model::attribution::Alternative;
use truename_model::{
    Attribution, Endpoint, Interval, OriginId, Profile, UnknownOwner, Workload, WorkloadKind,
};

use crate::facts::Context;
use crate::text::glob;

/// The key of a counter.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// A workload; equal to any other pod of the same topmost owner.
    Workload(Arc<Workload>),
    /// A node's NodeLocal cache, for any of the node's pods.
    Cache(Arc<str>),
    /// A node's address, and whether a NodeLocal cache asked from it is not known.
    Shared(IpAddr),
    /// Only an address is known.
    Address(IpAddr),
    /// Not even that.
    Nobody,
}

impl Who {
    /// The key for an asking client.
    pub(crate) fn new(attribution: &Attribution, client: Option<IpAddr>) -> Self {
        match (attribution, client) {
            (Attribution::Exact(workload, _), _) => Self::Workload(Arc::clone(workload)),
            (Attribution::Unknown(UnknownOwner::ThroughNodeLocal(node)), _) => Self::Cache(Arc::clone(node)),
            (Attribution::Ambiguous(all), Some(ip)) if all.iter().any(is_node) => Self::Shared(ip),
            (_, Some(ip)) => Self::Address(ip),
            (_, None) => Self::Nobody,
        }
    }

    /// As shown in a finding.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Workload(workload) => workload.to_string(),
            Self::Cache(node) => format!("NodeLocal DNSCache of node {node}"),
            Self::Shared(ip) | Self::Address(ip) => format!("address {ip}"),
            Self::Nobody => "unknown client".to_owned(),
        }
    }

    /// The workload, if one is known exactly.
    pub(crate) fn workload(&self) -> Option<Arc<Workload>> {
        match self {
            Self::Workload(workload) => Some(Arc::clone(workload)),
            Self::Cache(_) | Self::Shared(_) | Self::Address(_) | Self::Nobody => None,
        }
    }

    /// The workload's namespace, empty if unknown.
    pub(crate) fn namespace(&self) -> &str {
        match self {
            Self::Workload(workload) => &workload.namespace,
            Self::Cache(_) | Self::Shared(_) | Self::Address(_) | Self::Nobody => "",
        }
    }

    /// By how much thresholds rise: all hostNetwork pods of a node share its address, all its pods its NodeLocal cache.
    pub(crate) fn factor(&self, node_factor: f64) -> f64 {
        match self {
            Self::Workload(workload) if workload.kind == WorkloadKind::Node => node_factor,
            Self::Cache(_) | Self::Shared(_) => node_factor,
            _ => 1.0,
        }
    }

    /// True if nothing is known but the address.
    pub(crate) fn is_bare(&self) -> bool {
        matches!(self, Self::Address(_))
    }

    /// True if the profile says that this workload fans out by design.
    pub(crate) fn is_infrastructure(&self, profile: &Profile) -> bool {
        let Self::Workload(workload) = self else { return false };
        let owner = workload.owner.as_ref().map_or(workload.name.as_str(), |owner| owner.name.as_str());
        profile.infrastructure.iter().any(|pattern| {
            glob(pattern, &format!("{}/{owner}", workload.namespace))
                || glob(pattern, &format!("{}/{}", workload.namespace, workload.name))
        })
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Workload(_) => 0,
            Self::Cache(_) => 1,
            Self::Shared(_) => 2,
            Self::Address(_) => 3,
            Self::Nobody => 4,
        }
    }
}

impl PartialEq for Who {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Who {}

impl Ord for Who {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Workload(a), Self::Workload(b)) => key(a).cmp(&key(b)),
            (Self::Cache(a), Self::Cache(b)) => a.cmp(b),
            (Self::Shared(a), Self::Shared(b)) | (Self::Address(a), Self::Address(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Who {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Who {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Workload(workload) => key(workload).hash(state),
            Self::Cache(node) => node.hash(state),
            Self::Shared(ip) | Self::Address(ip) => ip.hash(state),
            Self::Nobody => state.write_u8(2),
        }
    }
}

fn is_node(one: &Alternative) -> bool {
    one.workload.kind == WorkloadKind::Node
}

/// The owner's UID decides; dumps without UIDs fall back to the name.
fn key(workload: &Workload) -> (&str, &str, &str) {
    let uid = workload.owner_uid();
    if uid.is_empty() { ("", &workload.namespace, &workload.name) } else { (uid, "", "") }
}

/// The server instance as a subject: `replica NAME` where a name is known, else the holder of its address.
pub(crate) fn replica(
    cx: &Context<'_>,
    origin: OriginId,
    server: Option<Endpoint>,
    at: Option<Interval>,
) -> String {
    if let Some(name) = cx.origin(origin).and_then(|origin| origin.replica.value()) {
        return format!("replica {name}");
    }
    let Some(server) = server else { return "replica unknown".to_owned() };
    let holder = at.map(|at| cx.knowledge.owners(server.ip, at).0);
    match holder.as_ref().and_then(Attribution::exact) {
        Some(workload) if workload.kind == WorkloadKind::Pod => format!("replica {}", workload.name),
        Some(workload) => workload.to_string(),
        None => format!("address {}", server.ip),
    }
}
