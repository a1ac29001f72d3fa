//! Whom a pod belongs to. An owner reference is text that whoever makes an object may write: each is looked up among
//! the objects of the evidence, and followed upward.
//!
//! Enters: the steps of the log, and what the history covers; leaves: the lineage of a pod, proven, merely claimed, or
//! forged with the reason. Deliberately absent: labels and images, and any verdict on who may own what.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use truename_cluster::history::{History, Kind};
use truename_model::object::{Controller, OwnerRef, StringMap};
use truename_model::{Actor, ChangeKind, Interval, Meta, Nanos, Object, Profile};

use super::log::{Key, State, Step, is_controller, repository, takes};

/// Longest chain of owners that is followed.
const DEPTH_MAX: usize = 8;
/// How long before and after a reference was seen its object must be in a complete history to be called absent.
const ABSENT_NS: i64 = 5_000_000_000;
/// An address that a pod has had for so long is in no slice for the pod that had it before.
const SETTLED_NS: i64 = 300_000_000_000;
/// A pod seen so long before is still there.
const ALIVE_NS: i64 = 10_000_000_000;

/// The topmost controller of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Top {
    pub(crate) kind: String,
    pub(crate) name: String,
    /// UID of its object in the evidence; empty where only its name is known.
    pub(crate) uid: String,
}

impl Top {
    /// Kind and name are the same: a Deployment keeps both while its ReplicaSets change.
    pub(crate) fn is_called_like(&self, other: &Self) -> bool {
        (&self.kind, &self.name) == (&other.kind, &other.name)
    }

    /// Called alike, and not known to be two objects.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.is_called_like(other) && (self.uid == other.uid || self.uid.is_empty() || other.uid.is_empty())
    }
}

impl std::fmt::Display for Top {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// Whom a pod belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lineage {
    /// It names no controller.
    Alone,
    /// Every reference up to the top is an object of the evidence.
    Proven(Top),
    /// A controller on the way is not in the evidence: what it is called is all that is known.
    Claimed(Top),
    /// It names a controller that cannot be its own.
    Forged {
        /// What it names.
        claim: String,
        /// Why that cannot be, as the rest of a sentence that begins with the pod.
        why: String,
    },
}

impl Lineage {
    /// The topmost controller, unless there is none or the reference lies.
    pub(crate) fn top(&self) -> Option<&Top> {
        match self {
            Self::Proven(top) | Self::Claimed(top) => Some(top),
            Self::Alone | Self::Forged { .. } => None,
        }
    }

    /// For a sentence `it belongs to …`.
    pub(crate) fn owner_text(&self) -> String {
        self.top().map_or_else(|| "no controller".to_owned(), ToString::to_string)
    }
}

/// An object that may be named as an owner.
#[derive(Debug)]
struct Known {
    kind: String,
    namespace: String,
    name: String,
    parent: Option<OwnerRef>,
    created: Option<Nanos>,
    /// Its creation is in the evidence.
    born: bool,
    /// Image names of its pod template, in all its versions.
    images: BTreeSet<String>,
}

/// The owners in the evidence, by UID.
#[derive(Debug, Default)]
pub(crate) struct Lineages<'h> {
    known: BTreeMap<String, Known>,
    // Who made which object, by its UID.
    makers: BTreeMap<String, Arc<Actor>>,
    history: Option<&'h History>,
}

impl<'h> Lineages<'h> {
    /// Gathers the owners of all steps; with changes `dropped` nothing counts as absent.
    pub(crate) fn build(steps: &[Step], history: Option<&'h History>, dropped: u64) -> Self {
        let mut all = Self { history: history.filter(|_| dropped == 0), ..Self::default() };
        for step in steps.iter().filter(|step| !step.meta.uid.is_empty()) {
            let born = step.kind == ChangeKind::Created;
            if let (true, Some(actor)) = (born, &step.actor) {
                all.makers.entry(step.meta.uid.clone()).or_insert_with(|| Arc::clone(actor));
            }
            let (kind, controller) = match &*step.object {
                Object::Controller(kind, controller) => (kind.as_str(), Some(controller)),
                Object::Node(_) => ("Node", None),
                Object::Service(_) => ("Service", None),
                _ => continue,
            };
            all.learn(step, kind, controller, born);
        }
        all
    }

    fn learn(&mut self, step: &Step, kind: &str, controller: Option<&Controller>, born: bool) {
        let known = self.known.entry(step.meta.uid.clone()).or_insert_with(|| Known {
            kind: kind.to_owned(),
            namespace: step.meta.namespace.clone(),
            name: step.meta.name.clone(),
            parent: None,
            created: step.meta.created,
            born: false,
            images: BTreeSet::new(),
        });
        known.born |= born;
        known.parent = controller_of(&step.meta).cloned();
        let images = controller.into_iter().flat_map(|controller| &controller.images);
        known.images.extend(images.map(|image| repository(image).to_owned()));
    }

    /// The lineage of a pod as it stood at `at`.
    pub(crate) fn of(&self, pod: &Meta, at: Option<Nanos>) -> Lineage {
        let Some(first) = controller_of(pod) else { return Lineage::Alone };
        let forged = |why: String| Lineage::Forged { claim: format!("{} {}", first.kind, first.name), why };
        if matches!(first.kind.as_str(), "Deployment" | "CronJob") {
            return forged(format!("a {} controls no pods itself", first.kind));
        }
        if let Some(why) = self.lie(&pod.uid, &pod.namespace, first) {
            return forged(why);
        }
        if !self.known.contains_key(&first.uid) && self.is_absent(first, at) {
            return forged(format!("there was no such {} then", first.kind));
        }
        let (mut reference, mut proven) = (first.clone(), true);
        for _ in 0..DEPTH_MAX {
            let Some(known) = self.known.get(&reference.uid) else {
                proven = false;
                break;
            };
            let Some(next) = &known.parent else { break };
            if let Some(why) = self.lie(&reference.uid, &pod.namespace, next) {
                return forged(format!(
                    "{} {} names {} {}: {why}",
                    known.kind, known.name, next.kind, next.name
                ));
            }
            reference = next.clone();
        }
        let uid = if proven { reference.uid.clone() } else { String::new() };
        let (kind, name) = if reference.kind == "ReplicaSet" && !proven {
            // The Deployment is not known, but ReplicaSets are called after theirs.
            ("Deployment".to_owned(), stem(pod, &reference.name).to_owned())
        } else {
            (reference.kind, reference.name)
        };
        let top = Top { kind, name, uid };
        if proven { Lineage::Proven(top) } else { Lineage::Claimed(top) }
    }

    /// Why the object of this UID cannot have the controller that it names.
    fn lie(&self, child: &str, namespace: &str, owner: &OwnerRef) -> Option<String> {
        let known = self.known.get(&owner.uid).filter(|_| !owner.uid.is_empty());
        if let Some(maker) = self.makers.get(child)
            && makes(maker, &owner.kind, known.is_some()) == Some(false)
        {
            return Some(format!("it was made by {}, not by the controller of such objects", maker.user));
        }
        let known = known?;
        let same = known.kind == owner.kind
            && known.name == owner.name
            && (known.namespace == namespace || known.namespace.is_empty());
        (!same).then(|| format!("the UID that it gives is that of {} {}", known.kind, known.name))
    }

    fn is_absent(&self, owner: &OwnerRef, at: Option<Nanos>) -> bool {
        let (Some(history), Some(at)) = (self.history, at) else { return false };
        let around = Interval { lo: at.plus(-ABSENT_NS), hi: at.plus(ABSENT_NS) };
        history.coverage().knows_all_workloads(&owner.kind, around)
    }

    /// True if the UID of this reference is known to be that of something else.
    pub(crate) fn is_another(&self, namespace: &str, owner: &OwnerRef) -> bool {
        self.known.get(&owner.uid).is_some_and(|known| {
            known.kind != owner.kind || known.name != owner.name || known.namespace != namespace
        })
    }

    /// True if every pod is known and none ever had this address.
    pub(crate) fn was_never_a_pods(&self, ip: IpAddr, at: Option<Nanos>) -> bool {
        let (Some(history), Some(at)) = (self.history, at) else { return false };
        let around = Interval { lo: at.plus(-ABSENT_NS), hi: at.plus(ABSENT_NS) };
        history.coverage().is_exhaustive(Kind::Pod, around) && history.pods_at(ip).is_empty()
    }

    /// The namespace of the pod that has had this address for long, if it is certain that the Service's selector never took
    /// a pod with this address: neither selector nor labels changed in the evidence.
    pub(crate) fn holder_apart(&self, service: &Key, ip: IpAddr, at: Option<Nanos>) -> Option<&'h str> {
        let (history, at) = (self.history?, at?);
        let selector = lasting_selector(history, service)?;
        let mut holder = None;
        for id in history.pods_at(ip) {
            let timeline = history.timeline(*id);
            for entry in &timeline.entries {
                let Some(state) = &entry.state else { continue };
                let Object::Pod(pod) = &*state.object else { continue };
                if *timeline.namespace == *service.0 && takes(selector, &state.meta.labels) {
                    return None;
                }
                let since = pod.addressed.or(pod.started);
                let settled = since.is_some_and(|since| at.since(since) >= SETTLED_NS);
                let over = matches!(pod.phase.as_str(), "Succeeded" | "Failed");
                let alive = entry.began.lo <= at && entry.known_to.since(at) >= -ALIVE_NS && !over;
                if settled && alive && !pod.host_network && pod.ips.contains(&ip) {
                    holder = Some(&*timeline.namespace);
                }
            }
        }
        holder
    }

    /// True if the creation of the object of this UID is in the evidence.
    pub(crate) fn is_born(&self, uid: &str) -> bool {
        self.known.get(uid).is_some_and(|known| known.born)
    }

    /// Who made the object of this UID, if the audit log says so.
    pub(crate) fn maker(&self, uid: &str) -> Option<&Arc<Actor>> {
        self.makers.get(uid)
    }

    /// True if the second object is known to be older.
    pub(crate) fn is_younger(&self, uid: &str, than: &str) -> bool {
        let created = |uid: &str| self.known.get(uid).and_then(|known| known.created);
        created(uid).zip(created(than)).is_some_and(|(own, other)| own > other)
    }

    /// Image names in the templates of the controller that the pod names.
    pub(crate) fn template(&self, pod: &Meta) -> Option<&BTreeSet<String>> {
        let known = self.known.get(&controller_of(pod)?.uid)?;
        (!known.images.is_empty()).then_some(&known.images)
    }
}

/// What a pod is judged by.
pub(crate) struct Around<'a> {
    /// The cluster before the step.
    pub(crate) state: &'a State,
    pub(crate) lineages: &'a Lineages<'a>,
    pub(crate) profile: &'a Profile,
    /// UIDs of pods that H04 has told of.
    pub(crate) accused: &'a BTreeSet<String>,
}

/// The selector that the Service has in all its versions, unless it has none.
fn lasting_selector<'h>(history: &'h History, (namespace, name): &Key) -> Option<&'h StringMap> {
    let ids = history.find(Kind::Service, namespace.as_bytes(), name.as_bytes());
    let entries = ids.iter().flat_map(|id| &history.timeline(*id).entries);
    let mut selectors = entries.filter_map(|entry| match &*entry.state.as_ref()?.object {
        Object::Service(service) => Some(&service.selector),
        _ => None,
    });
    let first = selectors.next().filter(|selector| !selector.is_empty())?;
    selectors.all(|selector| selector == first).then_some(first)
}

/// The controller that an object names.
pub(crate) fn controller_of(meta: &Meta) -> Option<&OwnerRef> {
    meta.owners.iter().find(|owner| owner.controller)
}

/// What a ReplicaSet's Deployment is called.
fn stem<'a>(pod: &Meta, name: &'a str) -> &'a str {
    let hash = pod.labels.get("pod-template-hash").map(String::as_str);
    let stem = hash.and_then(|hash| name.strip_suffix(hash)).and_then(|stem| stem.strip_suffix('-'));
    stem.or_else(|| name.rsplit_once('-').map(|(stem, _)| stem)).unwrap_or(name)
}

/// True if objects controlled by this kind are made by this identity; `None` where nobody can say: kinds of other
/// projects may be called like the API's own, and then their operators make the pods.
fn makes(maker: &Actor, kind: &str, is_own_kind: bool) -> Option<bool> {
    let account = match kind {
        "ReplicaSet" => "replicaset-controller",
        "ReplicationController" => "replication-controller",
        "Deployment" => "deployment-controller",
        "CronJob" => "cronjob-controller",
        "DaemonSet" => "daemon-set-controller",
        "StatefulSet" => "statefulset-controller",
        "Job" => "job-controller",
        "Node" => return Some(maker.impersonator.is_none() && maker.user.starts_with("system:node:")),
        _ => "",
    };
    let is_account = maker.user.starts_with("system:serviceaccount:");
    let right = maker.user == "system:kube-controller-manager"
        || (!account.is_empty()
            && maker.user.strip_prefix("system:serviceaccount:kube-system:") == Some(account));
    if right && is_controller(maker) {
        return Some(true);
    }
    let ambiguous = match kind {
        "DaemonSet" | "StatefulSet" | "Job" | "CronJob" => !is_own_kind,
        _ => account.is_empty(),
    };
    (!(ambiguous && is_account && maker.impersonator.is_none())).then_some(false)
}
