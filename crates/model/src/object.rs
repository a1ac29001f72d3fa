//! Kubernetes objects as far as DNS depends on them, and their changes with who made them and when they were known.
//!
//! Enters: decoded API JSON or YAML. Field names are the API's in snake case. Secrets are never held here.
//! Deliberately absent: histories (see the `cluster` crate).

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::origin::{OriginId, RecordRef};
use crate::time::{Interval, Nanos, ObservedAt};

/// Labels or annotations.
pub type StringMap = BTreeMap<String, String>;

/// A controlling owner (`metadata.ownerReferences[]`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OwnerRef {
    /// Kind, for example `ReplicaSet`.
    pub kind: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// `controller: true`.
    pub controller: bool,
}

/// Object metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID; empty if the dump has none.
    pub uid: String,
    /// Resource version as the API server wrote it; opaque, but compared as a number where both are.
    pub resource_version: String,
    /// Labels.
    pub labels: StringMap,
    /// Annotations.
    pub annotations: StringMap,
    /// Owners.
    pub owners: Vec<OwnerRef>,
    /// `creationTimestamp` (API server clock, whole seconds).
    pub created: Option<Nanos>,
    /// `deletionTimestamp`: the object is terminating.
    pub deleting: Option<Nanos>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    /// Name; may be empty.
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Port.
    pub port: u16,
    /// `targetPort` as text (number or name).
    pub target_port: String,
}

/// `v1/Service`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// `spec.type`; `ClusterIP` when absent.
    pub service_type: String,
    /// `spec.clusterIPs` (or `clusterIP` alone); the text `None` means headless.
    pub cluster_ips: Vec<String>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.selector`; empty: none.
    pub selector: StringMap,
    /// `spec.externalName`.
    pub external_name: String,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress[].ip`.
    pub load_balancer_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress[].hostname`.
    pub load_balancer_hosts: Vec<String>,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready: bool,
}

impl Service {
    /// True for `clusterIP: None`.
    #[must_use]
    pub fn is_headless(&self) -> bool {
        self.service_type != "ExternalName" && self.cluster_ips.first().is_some_and(|ip| ip == "None")
    }
}

/// An endpoint of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceEndpoint {
    /// Addresses as text (IP or, for `FQDN` slices, names).
    pub addresses: Vec<String>,
    /// `conditions.ready`; absent counts as true.
    pub ready: Option<bool>,
    /// `conditions.serving`.
    pub serving: Option<bool>,
    /// `conditions.terminating`.
    pub terminating: Option<bool>,
    /// `hostname`.
    pub hostname: Option<String>,
    /// `nodeName`.
    pub node_name: Option<String>,
    /// `zone`.
    pub zone: Option<String>,
    /// `targetRef` as (kind, namespace, name, uid).
    pub target: Option<ObjectRef>,
}

/// A port of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlicePort {
    /// Name; may be empty.
    pub name: String,
    /// Protocol.
    pub protocol: String,
    /// Number; absent is legal.
    pub port: Option<u16>,
}

/// `discovery.k8s.io/v1/EndpointSlice`; legacy `v1/Endpoints` are turned into this form by the decoder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSlice {
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: String,
    /// Endpoints.
    pub endpoints: Vec<SliceEndpoint>,
    /// Ports.
    pub ports: Vec<SlicePort>,
    /// True if it was written as a legacy `v1/Endpoints`.
    pub legacy: bool,
}

/// A port that a container of a pod declares; policies may name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContainerPort {
    /// Name; may be empty.
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Number on the pod's address.
    pub port: u16,
}

/// `v1/Pod`, the parts attribution, truth and policies need. Container environments are never held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// `spec.nodeName`.
    pub node_name: String,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// `spec.serviceAccountName`.
    pub service_account: String,
    /// `spec.hostname`.
    pub hostname: String,
    /// `spec.subdomain`.
    pub subdomain: String,
    /// `spec.dnsPolicy`; `ClusterFirst` when absent.
    pub dns_policy: String,
    /// `spec.dnsConfig` nameservers.
    pub dns_nameservers: Vec<String>,
    /// `spec.dnsConfig` searches.
    pub dns_searches: Vec<String>,
    /// `spec.dnsConfig` option `ndots`.
    pub ndots: Option<u8>,
    /// Container images, in order.
    pub images: Vec<String>,
    /// Ports of containers and of init containers that stay (`restartPolicy: Always`), in order.
    #[serde(default)]
    pub ports: Vec<ContainerPort>,
    /// `status.phase`.
    pub phase: String,
    /// `status.podIPs` (or `podIP` alone).
    pub ips: Vec<IpAddr>,
    /// `status.hostIP`.
    pub host_ip: Option<IpAddr>,
    /// `status.startTime`.
    pub started: Option<Nanos>,
    /// Since when the status shows that it has had its address, kubelet's clock, cut to whole seconds: the start of a
    /// container that runs (it cannot before the sandbox has its network), or a condition that says as much.
    #[serde(default)]
    pub addressed: Option<Nanos>,
    /// Latest `finishedAt` of a container once all have ended.
    pub finished: Option<Nanos>,
    /// Condition `Ready`.
    pub ready: bool,
}

/// `v1/Node`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// `status.addresses` that are IPs.
    pub addresses: Vec<IpAddr>,
    /// `spec.podCIDRs`, as text.
    pub pod_cidrs: Vec<String>,
}

/// `v1/ConfigMap`; only those that configure cluster DNS keep their data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigMap {
    /// `data`.
    pub data: StringMap,
}

/// A workload controller (`Deployment`, `ReplicaSet`, `DaemonSet`, `StatefulSet`, `Job`, `CronJob`): its owners matter,
/// and of those beside cluster DNS what they run and with which files. Environments are never held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Controller {
    /// Pod template images.
    pub images: Vec<String>,
    /// Commands and arguments of the pod template's containers, one text per container; only in namespaces of cluster DNS.
    #[serde(default)]
    pub args: Vec<String>,
    /// Volumes of the pod template with what they hold, and where they are mounted; only in namespaces of cluster DNS.
    #[serde(default)]
    pub volumes: Vec<String>,
}

/// An object of a kind that Truename reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Object {
    /// Service.
    Service(Service),
    /// EndpointSlice or Endpoints.
    EndpointSlice(EndpointSlice),
    /// Pod.
    Pod(Pod),
    /// Node.
    Node(Node),
    /// Namespace.
    Namespace,
    /// ConfigMap.
    ConfigMap(ConfigMap),
    /// Workload controller of the named kind.
    Controller(String, Controller),
    /// NetworkPolicy and kin, kept whole for the evaluator: (kind, spec as JSON).
    Policy(String, Arc<serde_json::Value>),
    /// Any other kind, by name: its presence may change what can be verified (ServiceEntry, ServiceImport …).
    Other(String, Arc<serde_json::Value>),
}

impl Object {
    /// The API kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::Service(_) => "Service",
            Self::EndpointSlice(slice) if slice.legacy => "Endpoints",
            Self::EndpointSlice(_) => "EndpointSlice",
            Self::Pod(_) => "Pod",
            Self::Node(_) => "Node",
            Self::Namespace => "Namespace",
            Self::ConfigMap(_) => "ConfigMap",
            Self::Controller(kind, _) | Self::Policy(kind, _) | Self::Other(kind, _) => kind,
        }
    }
}

/// A reference to an object in one version.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Kind.
    pub kind: String,
    /// Namespace; empty for cluster scope.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID; empty if unknown.
    pub uid: String,
    /// Resource version; empty if unknown.
    pub resource_version: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// What happened to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It existed when a list or snapshot was taken; nothing is said of before.
    Listed,
    /// It was created.
    Created,
    /// It was changed.
    Updated,
    /// It was removed; `object` is its last state.
    Deleted,
}

/// Which kind of record told of the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeSource {
    /// `kubectl get -o json|yaml` or a single object.
    Snapshot,
    /// A watch stream.
    Watch,
    /// The API server's audit log.
    Audit,
}

/// Who made a change, from the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// `user.username`, or the impersonated user if there is one.
    pub user: String,
    /// The impersonator, if the request was impersonated.
    pub impersonator: Option<String>,
    /// `user.groups`.
    pub groups: Vec<String>,
    /// `sourceIPs`, as text.
    pub source_ips: Vec<String>,
    /// `userAgent`.
    pub user_agent: String,
    /// `verb`.
    pub verb: String,
    /// `auditID`.
    pub audit_id: String,
}

/// A change of the cluster, or an object as it stood at a time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterChange {
    /// The record that tells it.
    #[serde(skip)]
    pub record: RecordRef,
    /// Its origin.
    #[serde(skip)]
    pub origin: OriginId,
    /// What happened.
    pub kind: ChangeKind,
    /// Which kind of record.
    pub source: ChangeSource,
    /// Metadata in the new state.
    pub meta: Arc<Meta>,
    /// The new state (for `Deleted`, the last one).
    pub object: Arc<Object>,
    /// When the state began to hold, API server clock: exact for audit, bounded for watches
    /// (between `creationTimestamp` or the previous record and this one), `None` if the record has no time.
    pub at: ObservedAt,
    /// When the state was known to hold by the time of the record itself (snapshot or watch receive time), if told.
    pub seen_at: Option<Interval>,
    /// Who did it, audit only.
    pub actor: Option<Arc<Actor>>,
}

impl ClusterChange {
    /// Reference to the object in this version.
    #[must_use]
    pub fn object_ref(&self) -> ObjectRef {
        ObjectRef {
            kind: self.object.kind().to_owned(),
            namespace: self.meta.namespace.clone(),
            name: self.meta.name.clone(),
            uid: self.meta.uid.clone(),
            resource_version: self.meta.resource_version.clone(),
        }
    }
}
