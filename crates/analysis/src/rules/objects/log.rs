//! The changes of the cluster in one order, each version once, with the states before it.
//!
//! Enters: changes from snapshots, watches and the audit log, in any order; leaves: steps to walk through and the
//! cluster as it stood. The same version told by two sources is one step with all its records and its actor.
//! Deliberately absent: objects that no rule looks at, and pod updates that change nothing a rule reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smallvec::SmallVec;
use truename_model::object::{EndpointSlice, Pod, Service};
use truename_model::{
    Actor, ChangeKind, ChangeSource, ClusterChange, Meta, Nanos, Object, ObjectRef, ObservedAt, RecordRef,
};

use crate::facts::Draft;
use crate::text::glob;

/// Namespace and name.
pub(crate) type Key = (String, String);

/// One change, merged over its sources.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) at: Option<Nanos>,
    pub(crate) when: ObservedAt,
    pub(crate) kind: ChangeKind,
    pub(crate) meta: Arc<Meta>,
    pub(crate) object: Arc<Object>,
    pub(crate) actor: Option<Arc<Actor>>,
    pub(crate) records: SmallVec<[RecordRef; 2]>,
    version: u64,
}

impl Step {
    /// Reference to the object.
    pub(crate) fn object_ref(&self) -> ObjectRef {
        ObjectRef {
            kind: self.object.kind().to_owned(),
            namespace: self.meta.namespace.clone(),
            name: self.meta.name.clone(),
            uid: self.meta.uid.clone(),
            resource_version: self.meta.resource_version.clone(),
        }
    }

    pub(crate) fn key(&self) -> Key {
        (self.meta.namespace.clone(), self.meta.name.clone())
    }

    /// The user of the audit log, unless it is a part of the cluster itself that writes such objects.
    pub(crate) fn person(&self) -> Option<&Arc<Actor>> {
        self.actor.as_ref().filter(|actor| !is_own_part(actor, &self.object))
    }

    /// Puts the step into a draft: subject, target, evidence, object.
    pub(crate) fn fill(&self, draft: &mut Draft) {
        let target = self.object_ref();
        draft.subject = match self.person() {
            Some(actor) => user_text(actor),
            None => match &*self.object {
                Object::Pod(_) => format!("pod {}/{}", self.meta.namespace, self.meta.name),
                _ => target.to_string(),
            },
        };
        draft.actor = self.actor.clone();
        draft.target = target.to_string();
        draft.seen = self.when.interval();
        let what = match self.kind {
            ChangeKind::Listed => "found",
            ChangeKind::Created => "created",
            ChangeKind::Updated => "changed",
            ChangeKind::Deleted => "deleted",
        };
        let by = self.actor.as_ref().map(|actor| format!(" by {}", actor.user)).unwrap_or_default();
        for record in &self.records {
            draft.evidence.push((self.at, *record, format!("{target} {what}{by}")));
        }
        draft.objects.push(target);
    }
}

/// Service accounts of the controller manager, all in `kube-system`
/// (kubernetes `plugin/pkg/auth/authorizer/rbac/bootstrappolicy/controller_policy.go`): whoever may make accounts there
/// may make one that is merely called like a controller.
const CONTROLLERS: [&str; 23] = [
    "cronjob-controller",
    "daemon-set-controller",
    "deployment-controller",
    "disruption-controller",
    "endpoint-controller",
    "endpointslice-controller",
    "endpointslicemirroring-controller",
    "generic-garbage-collector",
    "horizontal-pod-autoscaler",
    "job-controller",
    "namespace-controller",
    "node-controller",
    "pod-garbage-collector",
    "replicaset-controller",
    "replication-controller",
    "root-ca-cert-publisher",
    "route-controller",
    "service-account-controller",
    "service-cidrs-controller",
    "service-controller",
    "statefulset-controller",
    "taint-eviction-controller",
    "ttl-after-finished-controller",
];

/// True for a part of the control plane that writes objects of many kinds; never for who acts as if it were one.
pub(crate) fn is_controller(actor: &Actor) -> bool {
    let user = actor.user.as_str();
    actor.impersonator.is_none()
        && (matches!(user, "system:kube-controller-manager" | "system:apiserver")
            || user
                .strip_prefix("system:serviceaccount:kube-system:")
                .is_some_and(|account| CONTROLLERS.binary_search(&account).is_ok()))
}

/// As [`is_controller`], with the kubelets and the scheduler for what is theirs to write.
pub(crate) fn is_own_part(actor: &Actor, object: &Object) -> bool {
    let of_nodes = || {
        actor.impersonator.is_none()
            && (actor.user == "system:kube-scheduler" || actor.user.starts_with("system:node:"))
    };
    is_controller(actor) || (matches!(object, Object::Pod(_) | Object::Node(_)) && of_nodes())
}

/// True if the profile approves the user for changes of cluster DNS; who acts as another needs approval, too.
pub(crate) fn is_approved(actor: Option<&Arc<Actor>>, approved: &[String]) -> bool {
    let listed = |user: &str| approved.iter().any(|pattern| glob(pattern, user));
    actor.is_some_and(|actor| {
        is_controller(actor) || (listed(&actor.user) && actor.impersonator.as_deref().is_none_or(listed))
    })
}

/// A user as the subject of a finding: who acts as another is named first.
pub(crate) fn user_text(actor: &Actor) -> String {
    match &actor.impersonator {
        Some(own) => format!("user {own} as {}", actor.user),
        None => format!("user {}", actor.user),
    }
}

/// ConfigMaps that configure cluster DNS, in `kube-system`; OpenShift's lies elsewhere.
const DNS_MAPS: [&str; 5] =
    ["coredns", "coredns-custom", "node-local-dns", "kube-dns", "rke2-coredns-rke2-coredns"];
const OPENSHIFT_MAP: (&str, &str) = ("openshift-dns", "dns-default");

/// True for a ConfigMap that configures cluster DNS.
pub(crate) fn is_dns_map(meta: &Meta) -> bool {
    let (namespace, name) = (meta.namespace.as_str(), meta.name.as_str());
    (namespace == "kube-system" && DNS_MAPS.contains(&name)) || (namespace, name) == OPENSHIFT_MAP
}

/// Changes kept; more are counted as evictions.
const STEPS_MAX: usize = 2_000_000;

/// Endpoint names kept per service.
const HOSTNAMES_MAX: usize = 256;

/// All changes that rules look at.
#[derive(Debug, Default)]
pub(crate) struct Log {
    steps: Vec<Step>,
    // Last kept state of a pod, to drop updates that say nothing new.
    pods: BTreeMap<String, (Arc<Meta>, Arc<Object>)>,
    pub(crate) dropped: u64,
}

impl Log {
    /// Adds a change.
    pub(crate) fn push(&mut self, change: &ClusterChange) {
        if !self.matters(change) {
            return;
        }
        if self.steps.len() >= STEPS_MAX {
            self.dropped += 1;
            return;
        }
        // Audit times are the API server's own; for snapshots and watches the time they were read is the firmest.
        let when = match (change.source, change.seen_at) {
            (ChangeSource::Audit, _) | (_, None) => change.at,
            (_, Some(seen)) => ObservedAt::Known(seen, truename_model::ClockBasis::Snapshot),
        };
        self.steps.push(Step {
            at: when.interval().map(|at| at.lo),
            when,
            kind: change.kind,
            meta: Arc::clone(&change.meta),
            object: Arc::clone(&change.object),
            actor: change.actor.clone(),
            records: SmallVec::from_slice(&[change.record]),
            version: change.meta.resource_version.parse().unwrap_or(0),
        });
    }

    fn matters(&mut self, change: &ClusterChange) -> bool {
        match &*change.object {
            Object::Service(_)
            | Object::EndpointSlice(_)
            | Object::Namespace
            | Object::Node(_)
            | Object::Controller(..) => true,
            Object::ConfigMap(_) => is_dns_map(&change.meta),
            Object::Pod(pod) => {
                let known = self.pods.get(&change.meta.uid);
                let same = known.is_some_and(|(meta, object)| {
                    matches!(&**object, Object::Pod(old) if same_pod(meta, old, &change.meta, pod))
                });
                if change.kind == ChangeKind::Deleted {
                    self.pods.remove(&change.meta.uid);
                    return true;
                }
                if !same {
                    self.pods.insert(
                        change.meta.uid.clone(),
                        (Arc::clone(&change.meta), Arc::clone(&change.object)),
                    );
                }
                // A creation with its author is kept even when a watch has told of the pod already.
                !same || (change.actor.is_some() && change.kind == ChangeKind::Created)
            }
            Object::Other(kind, _) if kind == "ConfigMap" => is_dns_map(&change.meta),
            Object::Other(kind, _) => matches!(kind.as_str(), "ServiceCIDR" | "DNS"),
            Object::Policy(..) => false,
        }
    }

    /// The steps in order, each version once.
    pub(crate) fn ordered(&mut self) -> Vec<Step> {
        let mut steps = std::mem::take(&mut self.steps);
        steps.sort_by_key(|step| (step.at, step.version, step.records.first().copied()));
        let mut last = 0;
        for step in &mut steps {
            // Without a version a change stands where its time puts it.
            if step.version == 0 { step.version = last } else { last = last.max(step.version) }
        }
        steps.sort_by_key(|step| step.version);
        merge_versions(steps)
    }
}

fn same_pod(old_meta: &Meta, old: &Pod, meta: &Meta, pod: &Pod) -> bool {
    old_meta.labels == meta.labels
        && old_meta.owners == meta.owners
        && old_meta.deleting.is_some() == meta.deleting.is_some()
        && old.ips == pod.ips
        && old.images == pod.images
        && is_over(old) == is_over(pod)
}

fn is_over(pod: &Pod) -> bool {
    matches!(pod.phase.as_str(), "Succeeded" | "Failed")
}

fn merge_versions(steps: Vec<Step>) -> Vec<Step> {
    let mut out: Vec<Step> = Vec::with_capacity(steps.len());
    let mut places: BTreeMap<(u64, String, String, String, bool), usize> = BTreeMap::new();
    for step in steps {
        let key = (
            step.version,
            step.object.kind().to_owned(),
            step.meta.namespace.clone(),
            step.meta.name.clone(),
            step.kind == ChangeKind::Deleted,
        );
        match places.get(&key).and_then(|at| out.get_mut(*at)) {
            Some(known) if !step.meta.resource_version.is_empty() => unite(known, step),
            _ => {
                places.insert(key, out.len());
                out.push(step);
            }
        }
    }
    out
}

fn unite(known: &mut Step, step: Step) {
    known.records.extend(step.records);
    known.records.sort();
    let seen = step.kind != ChangeKind::Listed;
    if known.kind == ChangeKind::Listed {
        known.kind = step.kind;
        // A dump need not tell when; who saw the change does.
        if seen && step.at.is_some() {
            (known.at, known.when) = (step.at, step.when);
        }
    }
    if known.actor.is_none() && step.actor.is_some() {
        // The audit log has the author and the server's own time; its body may be less complete than the watch's.
        known.actor = step.actor;
        (known.at, known.when) =
            (step.at.or(known.at), if step.at.is_some() { step.when } else { known.when });
    }
}

/// A living pod.
#[derive(Clone, Debug)]
pub(crate) struct LivingPod {
    pub(crate) meta: Arc<Meta>,
    pub(crate) object: Arc<Object>,
    /// Who created it, if the audit log says so.
    pub(crate) creator: Option<Arc<Actor>>,
}

impl LivingPod {
    pub(crate) fn pod(&self) -> Option<&Pod> {
        match &*self.object {
            Object::Pod(pod) => Some(pod),
            _ => None,
        }
    }

    /// Image names without tag and digest, sorted.
    pub(crate) fn repositories(&self) -> Vec<String> {
        let images = self.pod().map(|pod| pod.images.as_slice()).unwrap_or_default();
        let mut out: Vec<String> = images.iter().map(|image| repository(image).to_owned()).collect();
        out.sort();
        out.dedup();
        out
    }
}

/// `registry/name` of `registry/name:tag@digest`.
pub(crate) fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        // A colon before a slash belongs to the registry's port.
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

/// The cluster as it stands after the steps folded so far.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) services: BTreeMap<Key, (Arc<Meta>, Service)>,
    pub(crate) pods: BTreeMap<String, BTreeMap<String, LivingPod>>,
    pub(crate) namespaces: BTreeMap<String, Option<Arc<Actor>>>,
    pub(crate) service_creators: BTreeMap<Key, Arc<Actor>>,
    /// Host names that slices give to endpoints of a Service, up to a bound.
    pub(crate) hostnames: BTreeMap<Key, BTreeSet<String>>,
    /// First record of each Service and (with an empty name) of each Namespace.
    pub(crate) first_records: BTreeMap<Key, (ObservedAt, RecordRef)>,
}

impl State {
    /// Applies a step.
    pub(crate) fn fold(&mut self, step: &Step) {
        let gone = step.kind == ChangeKind::Deleted;
        let named = match &*step.object {
            Object::Service(_) => Some(step.key()),
            Object::Namespace => Some((step.meta.name.clone(), String::new())),
            _ => None,
        };
        if let (Some(key), Some(record)) = (named, step.records.first()) {
            self.first_records.entry(key).or_insert((step.when, *record));
        }
        match &*step.object {
            Object::Service(_) if gone => {
                self.services.remove(&step.key());
            }
            Object::Service(service) => {
                if let (ChangeKind::Created, Some(actor)) = (step.kind, &step.actor) {
                    self.service_creators.insert(step.key(), Arc::clone(actor));
                }
                self.services.insert(step.key(), (Arc::clone(&step.meta), service.clone()));
            }
            Object::Pod(pod) => self.fold_pod(step, gone || is_over(pod)),
            Object::EndpointSlice(slice) if !gone => self.fold_hostnames(step, slice),
            Object::Namespace if gone => {
                self.namespaces.remove(&step.meta.name);
            }
            Object::Namespace => {
                let creator = step.actor.clone().filter(|_| step.kind == ChangeKind::Created);
                let entry = self.namespaces.entry(step.meta.name.clone()).or_default();
                *entry = entry.take().or(creator);
            }
            _ => {}
        }
    }

    fn fold_hostnames(&mut self, step: &Step, slice: &EndpointSlice) {
        let label = step.meta.labels.get("kubernetes.io/service-name");
        let service = if slice.legacy { Some(&step.meta.name) } else { label };
        let hosts = || slice.endpoints.iter().filter_map(|endpoint| endpoint.hostname.as_ref());
        let Some(service) = service.filter(|_| hosts().next().is_some()) else { return };
        let known = self.hostnames.entry((step.meta.namespace.clone(), service.clone())).or_default();
        for host in hosts() {
            if known.len() < HOSTNAMES_MAX {
                known.insert(host.clone());
            }
        }
    }

    fn fold_pod(&mut self, step: &Step, gone: bool) {
        let pods = self.pods.entry(step.meta.namespace.clone()).or_default();
        if gone {
            if pods.get(&step.meta.name).is_some_and(|pod| pod.meta.uid == step.meta.uid) {
                pods.remove(&step.meta.name);
            }
            return;
        }
        let known = pods.get(&step.meta.name).filter(|pod| pod.meta.uid == step.meta.uid);
        let creator = known.and_then(|pod| pod.creator.clone());
        let creator = creator.or_else(|| step.actor.clone().filter(|_| step.kind == ChangeKind::Created));
        let pod = LivingPod { meta: Arc::clone(&step.meta), object: Arc::clone(&step.object), creator };
        pods.insert(step.meta.name.clone(), pod);
    }

    /// Pods that a selector takes in a namespace.
    pub(crate) fn selected<'a>(
        &'a self,
        namespace: &str,
        selector: &'a truename_model::object::StringMap,
    ) -> impl Iterator<Item = &'a LivingPod> {
        let pods = self.pods.get(namespace).into_iter().flat_map(BTreeMap::values);
        pods.filter(move |pod| !selector.is_empty() && takes(selector, &pod.meta.labels))
    }
}

/// True if every pair of the selector is among the labels.
pub(crate) fn takes(
    selector: &truename_model::object::StringMap,
    labels: &truename_model::object::StringMap,
) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_names_lose_tag_and_digest_but_not_the_port() {
        assert_eq!(repository("registry.example:5000/a/b"), "registry.example:5000/a/b");
        assert_eq!(repository("registry.example:5000/a/b:v1@sha256:00"), "registry.example:5000/a/b");
        assert_eq!(repository("busybox:1"), "busybox");
    }

    #[test]
    fn only_parts_of_the_control_plane_are_controllers() {
        let actor = |user: &str| Actor { user: user.into(), ..Actor::default() };
        assert!(CONTROLLERS.is_sorted());
        assert!(is_controller(&actor("system:serviceaccount:kube-system:endpointslice-controller")));
        assert!(!is_controller(&actor("system:serviceaccount:kube-system:deployer")));
        assert!(!is_controller(&actor("system:serviceaccount:kube-system:helper-controller")));
        assert!(!is_controller(&actor("system:serviceaccount:ci:endpointslice-controller")));
        let worn = Actor { impersonator: Some("bob".into()), ..actor("system:kube-controller-manager") };
        assert!(!is_controller(&worn) && is_controller(&actor("system:kube-controller-manager")));
        // A kubelet writes pods, and no Services.
        let (pod, service) = (Object::Pod(Pod::default()), Object::Service(Service::default()));
        assert!(is_own_part(&actor("system:node:node-1"), &pod));
        assert!(!is_own_part(&actor("system:node:node-1"), &service));
    }
}
