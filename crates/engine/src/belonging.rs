//! Whether what an item says of its server fits the cluster with whose objects it would be read.
//!
//! Enters: an item's path and origin, and a cluster's history; leaves: yes, or the server that the cluster does not
//! have. Clusters often share their address ranges: with the recordings of one and the objects of another every address
//! would find an owner, and a wrong one. Deliberately absent: items that name no server, which nothing can check.

use std::collections::BTreeSet;

use truename_cluster::corefile::{self, Env, Plugin};
use truename_cluster::history::timeline::EVER;
use truename_cluster::history::{CorefileHistory, Entry, History, Kind, Timeline};
use truename_model::time::SECOND;
use truename_model::{Interval, Known, Object, Origin};

use crate::origins::kubelet_log_path;

/// Clocks of a node and of the API server may differ by so much before a server seems to write outside of its life.
const LIFE_SLACK: i64 = 2 * SECOND;

/// The DNS server that an item names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// By the kubelet's log path.
    Pod {
        /// Namespace.
        namespace: &'a str,
        /// Name.
        name: &'a str,
        /// UID, or the hash of a static pod's manifest.
        uid: &'a str,
    },
    /// By a host name or what the Corefile sets instead.
    Instance(&'a str),
}

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pod { namespace, name, uid } => write!(f, "{namespace}/{name} (UID {uid})"),
            Self::Instance(name) => f.write_str(name),
        }
    }
}

/// The server that an item names by itself; what the operator states needs no check.
#[must_use]
pub fn named<'a>(path: &'a str, origin: &'a Origin) -> Option<Named<'a>> {
    if matches!(origin.cluster, Known::Given(_)) {
        return None;
    }
    match (&origin.replica, kubelet_log_path(path)) {
        (Known::Given(_) | Known::Unknown, _) => None,
        (Known::Found(..), Some((namespace, name, uid))) => Some(Named::Pod { namespace, name, uid }),
        (Known::Found(name, _), None) => Some(Named::Instance(name)),
    }
}

/// The servers of a cluster by every name under which a recording may know them.
#[derive(Debug)]
pub struct Servers<'a> {
    history: &'a History,
    names: BTreeSet<&'a str>,
    // Set in a Corefile, with placeholders that only the process could fill.
    set: BTreeSet<String>,
    open: bool,
}

impl<'a> Servers<'a> {
    /// `None` where the objects know no pod of cluster DNS: then no absence means anything.
    #[must_use]
    pub fn of(history: &'a History, corefiles: &CorefileHistory) -> Option<Self> {
        if history.facts().dns_pods.is_empty() {
            return None;
        }
        let mut names = BTreeSet::new();
        for timeline in history.timelines().iter().filter(|timeline| timeline.kind == Kind::Pod) {
            names.insert(timeline.name.as_ref());
            for state in timeline.entries.iter().filter_map(|entry| entry.state.as_ref()) {
                if let Object::Pod(pod) = &*state.object {
                    names.extend([pod.hostname.as_str(), pod.node_name.as_str()]);
                }
            }
        }
        let set = identities(corefiles);
        let open = set.iter().any(|identity| identity.contains(['{', '%']));
        Some(Self { history, names, set, open })
    }

    /// When a server may have run, by the one pod that it is; `None` where the objects know none or several.
    #[must_use]
    pub fn life(&self, named: Named<'_>) -> Option<Interval> {
        let (timeline, uid) = match named {
            Named::Pod { namespace, name, uid } => {
                let ids = self.history.find(Kind::Pod, namespace.as_bytes(), name.as_bytes());
                (self.history.timeline(*ids.first()?), uid.contains('-').then_some(uid)?)
            }
            Named::Instance(name) => {
                let is_it = |one: &&Timeline| one.kind == Kind::Pod && &*one.name == name;
                let mut pods = self.history.timelines().iter().filter(is_it);
                (pods.next().filter(|_| pods.next().is_none())?, "")
            }
        };
        let of_uid = |entry: &&Entry| {
            entry.state.as_ref().is_some_and(|state| uid.is_empty() || state.meta.uid == uid)
        };
        let first = timeline.entries.iter().find(of_uid)?;
        let last = timeline.entries.iter().rfind(of_uid)?;
        // The first state that is known need not be the first that there was.
        let created = first.state.as_ref().and_then(|state| state.meta.created).unwrap_or(EVER);
        let life = Interval { lo: created, hi: last.ended.hi };
        (life.lo <= life.hi).then(|| life.widened(LIFE_SLACK))
    }

    /// True unless the cluster's objects show that it has no such server.
    #[must_use]
    pub fn have(&self, named: Named<'_>) -> bool {
        match named {
            Named::Instance(name) => self.open || self.names.contains(name) || self.set.contains(name),
            Named::Pod { namespace, name, uid } => {
                let ids = self.history.find(Kind::Pod, namespace.as_bytes(), name.as_bytes());
                let states = || {
                    let entries = ids.iter().flat_map(|id| &self.history.timeline(*id).entries);
                    entries.filter_map(|entry| entry.state.as_ref()).map(|state| state.meta.uid.as_str())
                };
                // A static pod's folder has a hash instead of the UID.
                let by_uid = uid.contains('-') && states().any(|known| !known.is_empty());
                !ids.is_empty() && (!by_uid || states().any(|known| known == uid))
            }
        }
    }
}

fn identities(corefiles: &CorefileHistory) -> BTreeSet<String> {
    let parsed = corefiles
        .versions()
        .iter()
        .filter_map(|version| corefile::parse(&version.text, &Env::default()).ok());
    let mut identities = BTreeSet::new();
    for corefile in parsed {
        for plugin in corefile.servers.iter().flat_map(|server| &server.plugins) {
            if let Plugin::Dnstap(options) = plugin {
                identities.extend(options.identity.clone());
            }
        }
    }
    identities
}
