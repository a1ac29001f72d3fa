//! One API object out of its JSON form (Kubernetes API reference v1.36; field names there).
//!
//! Enters: a value; leaves: metadata and the parts that DNS depends on. Container environments, Secrets and the
//! `last-applied-configuration` annotation (which repeats both) are left out here and nowhere else come in.

use std::sync::Arc;

use serde_json::{Map, Value};
use truename_model::Nanos;
use truename_model::object::{
    ConfigMap, ContainerPort, Controller, EndpointSlice, Meta, Node, Object, ObjectRef, OwnerRef, Pod,
    Service, ServicePort, SliceEndpoint, SlicePort,
};

use super::fields::{at, instant, ip, list, map, port, scalar, text, text_ref, texts, truth};

/// The annotation that repeats the whole object as text.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Why a value gives no object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Skipped {
    /// A Secret: never held.
    #[error("a secret, not decoded")]
    Secret,
    /// A kind that changes often and says nothing of DNS.
    #[error("an object kind that says nothing of DNS")]
    Irrelevant,
    /// No `kind` and no kind known from its list.
    #[error("an object without kind")]
    NoKind,
    /// No `metadata.name`.
    #[error("an object without name")]
    NoName,
}

/// Kinds never turned into changes: frequent, or about requests rather than state.
const IRRELEVANT: [&str; 12] = [
    "Event",
    "Lease",
    "ControllerRevision",
    "PodMetrics",
    "NodeMetrics",
    "TokenReview",
    "TokenRequest",
    "SubjectAccessReview",
    "SelfSubjectAccessReview",
    "SelfSubjectReview",
    "LocalSubjectAccessReview",
    "APIService",
];

/// ConfigMaps that configure cluster DNS, by name, in `kube-system`.
pub const DNS_CONFIG_MAPS: [&str; 5] =
    ["coredns", "coredns-custom", "node-local-dns", "kube-dns", "rke2-coredns-rke2-coredns"];

/// Kinds of other groups whose specification says what names and addresses exist, or how they are answered (OpenShift's
/// `DNS`).
const KEPT_OTHERS: [&str; 5] = ["ServiceEntry", "ServiceImport", "ServiceExport", "ServiceCIDR", "DNS"];

/// Longest specification kept of those, octets of JSON.
const KEPT_SPEC_MAX: usize = 64 << 10;

/// Builds the object of a value. `kind` and `api_version` come from its list where the value has none.
///
/// # Errors
/// [`Skipped`] says why there is none.
pub fn object(
    value: &Value,
    kind: Option<&str>,
    api_version: Option<&str>,
) -> Result<(Meta, Object), Skipped> {
    let kind = text_ref(value, &["kind"]).filter(|kind| !kind.is_empty()).or(kind).ok_or(Skipped::NoKind)?;
    let api_version = text_ref(value, &["apiVersion"]).or(api_version);
    let group = api_version.map(|version| version.split_once('/').map_or("", |(group, _)| group));
    if kind == "Secret" {
        return Err(Skipped::Secret);
    }
    if IRRELEVANT.contains(&kind) {
        return Err(Skipped::Irrelevant);
    }
    let meta = meta(value);
    if meta.name.is_empty() {
        return Err(Skipped::NoName);
    }
    let object = content(value, kind, group, &meta);
    Ok((meta, object))
}

/// An object of a kind with nothing known of its content, for a deletion that does not show it.
#[must_use]
pub fn bare(kind: &str, group: &str) -> Object {
    content(&Value::Null, kind, Some(group), &Meta::default())
}

fn content(value: &Value, kind: &str, group: Option<&str>, meta: &Meta) -> Object {
    // A kind is only what it seems in its own API group: Knative has a `Service`, Calico a `NetworkPolicy`.
    let own = |wanted: &str| group.is_none_or(|group| group == wanted);
    match kind {
        "Service" if own("") => Object::Service(service(value)),
        "EndpointSlice" if own("discovery.k8s.io") => Object::EndpointSlice(endpoint_slice(value)),
        "Endpoints" if own("") => Object::EndpointSlice(endpoints(value)),
        "Pod" if own("") => Object::Pod(pod(value)),
        "Node" if own("") => Object::Node(node(value)),
        "Namespace" if own("") => Object::Namespace,
        "ConfigMap" if own("") => Object::ConfigMap(config_map(value, meta)),
        "ReplicationController" if own("") => Object::Controller(kind.to_owned(), controller(value, meta)),
        "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet" if own("apps") || own("extensions") => {
            Object::Controller(kind.to_owned(), controller(value, meta))
        }
        "Job" | "CronJob" if own("batch") => Object::Controller(kind.to_owned(), controller(value, meta)),
        _ if is_policy(kind) => Object::Policy(qualified(kind, group), Arc::new(policy_spec(value))),
        _ => Object::Other(qualified(kind, group), Arc::new(other_spec(value, kind))),
    }
}

/// Kinds that say what traffic may pass, whatever their group: the cluster's own and those of network plugins.
fn is_policy(kind: &str) -> bool {
    matches!(
        kind,
        "NetworkPolicy"
            | "AdminNetworkPolicy"
            | "BaselineAdminNetworkPolicy"
            | "ClusterNetworkPolicy"
            | "CiliumNetworkPolicy"
            | "CiliumClusterwideNetworkPolicy"
            | "CiliumLocalRedirectPolicy"
            | "GlobalNetworkPolicy"
            | "GlobalNetworkSet"
            | "NetworkSet"
            | "EgressFirewall"
            | "EgressNetworkPolicy"
            | "FQDNNetworkPolicy"
            | "ApplicationNetworkPolicy"
    )
}

/// `Kind`, or `Kind.group` where another group's object bears the name of a known kind.
fn qualified(kind: &str, group: Option<&str>) -> String {
    let Some(group) = group else { return kind.to_owned() };
    let shared = match kind {
        "Service" | "Pod" | "Node" | "Namespace" | "ConfigMap" | "Endpoints" | "EndpointSlice" | "Job"
        | "Deployment" => true,
        "NetworkPolicy" => group != "networking.k8s.io" && group != "extensions",
        "AdminNetworkPolicy" | "BaselineAdminNetworkPolicy" | "ClusterNetworkPolicy" => {
            group != "policy.networking.k8s.io"
        }
        _ => false,
    };
    if shared { format!("{kind}.{group}") } else { kind.to_owned() }
}

fn meta(value: &Value) -> Meta {
    let mut annotations = map(value, &["metadata", "annotations"]);
    annotations.remove(LAST_APPLIED);
    Meta {
        namespace: text(value, &["metadata", "namespace"]),
        name: text(value, &["metadata", "name"]),
        uid: text(value, &["metadata", "uid"]),
        resource_version: scalar(value, &["metadata", "resourceVersion"]),
        labels: map(value, &["metadata", "labels"]),
        annotations,
        owners: list(value, &["metadata", "ownerReferences"]).map(owner).collect(),
        created: instant(value, &["metadata", "creationTimestamp"]),
        deleting: instant(value, &["metadata", "deletionTimestamp"]),
    }
}

fn owner(value: &Value) -> OwnerRef {
    OwnerRef {
        kind: text(value, &["kind"]),
        name: text(value, &["name"]),
        uid: text(value, &["uid"]),
        controller: truth(value, &["controller"]).unwrap_or(false),
    }
}

/// The latest `managedFields[].time`: whole seconds, the time of the last write that changed something.
#[must_use]
pub fn last_written(value: &Value) -> Option<Nanos> {
    list(value, &["metadata", "managedFields"]).filter_map(|entry| instant(entry, &["time"])).max()
}

fn service(value: &Value) -> Service {
    let mut cluster_ips = texts(value, &["spec", "clusterIPs"]);
    if cluster_ips.is_empty() {
        cluster_ips
            .extend(text_ref(value, &["spec", "clusterIP"]).filter(|ip| !ip.is_empty()).map(str::to_owned));
    }
    let service_type = text_ref(value, &["spec", "type"]).unwrap_or("ClusterIP").to_owned();
    Service {
        service_type,
        cluster_ips,
        ports: list(value, &["spec", "ports"]).map(service_port).collect(),
        selector: map(value, &["spec", "selector"]),
        external_name: text(value, &["spec", "externalName"]),
        external_ips: texts(value, &["spec", "externalIPs"]).iter().filter_map(|text| ip(text)).collect(),
        load_balancer_ips: list(value, &["status", "loadBalancer", "ingress"])
            .filter_map(|entry| ip(text_ref(entry, &["ip"])?))
            .collect(),
        load_balancer_hosts: list(value, &["status", "loadBalancer", "ingress"])
            .filter_map(|entry| text_ref(entry, &["hostname"]).map(str::to_owned))
            .collect(),
        publish_not_ready: truth(value, &["spec", "publishNotReadyAddresses"]).unwrap_or(false),
    }
}

fn service_port(value: &Value) -> ServicePort {
    ServicePort {
        name: text(value, &["name"]),
        protocol: text_ref(value, &["protocol"]).unwrap_or("TCP").to_owned(),
        port: port(value, &["port"]).unwrap_or(0),
        target_port: scalar(value, &["targetPort"]),
    }
}

fn endpoint_slice(value: &Value) -> EndpointSlice {
    EndpointSlice {
        address_type: text(value, &["addressType"]),
        endpoints: list(value, &["endpoints"]).map(slice_endpoint).collect(),
        ports: list(value, &["ports"]).map(slice_port).collect(),
        legacy: false,
    }
}

fn slice_endpoint(value: &Value) -> SliceEndpoint {
    let optional = |path: &[&str]| text_ref(value, path).map(str::to_owned);
    SliceEndpoint {
        addresses: texts(value, &["addresses"]),
        ready: truth(value, &["conditions", "ready"]),
        serving: truth(value, &["conditions", "serving"]),
        terminating: truth(value, &["conditions", "terminating"]),
        hostname: optional(&["hostname"]),
        // v1beta1 kept the node in the topology labels.
        node_name: optional(&["nodeName"]).or_else(|| optional(&["topology", "kubernetes.io/hostname"])),
        zone: optional(&["zone"]),
        target: at(value, &["targetRef"]).map(object_ref),
    }
}

fn object_ref(value: &Value) -> ObjectRef {
    ObjectRef {
        kind: text(value, &["kind"]),
        namespace: text(value, &["namespace"]),
        name: text(value, &["name"]),
        uid: text(value, &["uid"]),
        resource_version: scalar(value, &["resourceVersion"]),
    }
}

fn slice_port(value: &Value) -> SlicePort {
    SlicePort {
        name: text(value, &["name"]),
        protocol: text_ref(value, &["protocol"]).unwrap_or("TCP").to_owned(),
        port: port(value, &["port"]),
    }
}

/// `v1/Endpoints` in the form of a slice: all subsets together, their ports united in order.
fn endpoints(value: &Value) -> EndpointSlice {
    let mut slice =
        EndpointSlice { address_type: "IPv4".to_owned(), legacy: true, ..EndpointSlice::default() };
    for subset in list(value, &["subsets"]) {
        for (key, ready) in [("addresses", true), ("notReadyAddresses", false)] {
            for address in list(subset, &[key]) {
                slice.endpoints.push(legacy_endpoint(address, ready));
            }
        }
        for port in list(subset, &["ports"]).map(slice_port) {
            if !slice.ports.contains(&port) {
                slice.ports.push(port);
            }
        }
    }
    let first = slice.endpoints.first().and_then(|endpoint| endpoint.addresses.first());
    if first.is_some_and(|address| address.contains(':')) {
        "IPv6".clone_into(&mut slice.address_type);
    }
    slice
}

fn legacy_endpoint(value: &Value, ready: bool) -> SliceEndpoint {
    let optional = |path: &[&str]| text_ref(value, path).filter(|text| !text.is_empty()).map(str::to_owned);
    SliceEndpoint {
        addresses: optional(&["ip"]).into_iter().collect(),
        ready: Some(ready),
        hostname: optional(&["hostname"]),
        node_name: optional(&["nodeName"]),
        target: at(value, &["targetRef"]).map(object_ref),
        ..SliceEndpoint::default()
    }
}

fn pod(value: &Value) -> Pod {
    let mut ips: Vec<_> =
        list(value, &["status", "podIPs"]).filter_map(|entry| ip(text_ref(entry, &["ip"])?)).collect();
    if ips.is_empty() {
        ips.extend(text_ref(value, &["status", "podIP"]).and_then(ip));
    }
    let account = text_ref(value, &["spec", "serviceAccountName"]).filter(|name| !name.is_empty());
    let account = account.or_else(|| text_ref(value, &["spec", "serviceAccount"])).unwrap_or_default();
    let ndots = list(value, &["spec", "dnsConfig", "options"])
        .filter(|option| text_ref(option, &["name"]) == Some("ndots"))
        .find_map(|option| scalar(option, &["value"]).parse().ok());
    Pod {
        node_name: text(value, &["spec", "nodeName"]),
        host_network: truth(value, &["spec", "hostNetwork"]).unwrap_or(false),
        service_account: account.to_owned(),
        hostname: text(value, &["spec", "hostname"]),
        subdomain: text(value, &["spec", "subdomain"]),
        dns_policy: text_ref(value, &["spec", "dnsPolicy"]).unwrap_or("ClusterFirst").to_owned(),
        dns_nameservers: texts(value, &["spec", "dnsConfig", "nameservers"]),
        dns_searches: texts(value, &["spec", "dnsConfig", "searches"]),
        ndots,
        images: images(value, &["spec", "containers"]),
        ports: container_ports(value),
        phase: text(value, &["status", "phase"]),
        ips,
        host_ip: text_ref(value, &["status", "hostIP"]).and_then(ip),
        started: instant(value, &["status", "startTime"]),
        addressed: addressed(value),
        finished: finished(value),
        ready: list(value, &["status", "conditions"])
            .any(|it| text_ref(it, &["type"]) == Some("Ready") && text_ref(it, &["status"]) == Some("True")),
    }
}

/// Since when the pod has had its present sandbox, and so its address. `startTime` is no such bound: volumes may keep the
/// sandbox waiting for hours. A container that was started again, and readiness, are later bounds, never wrong ones.
fn addressed(value: &Value) -> Option<Nanos> {
    let lists = [["status", "containerStatuses"], ["status", "initContainerStatuses"]];
    let statuses = lists.iter().flat_map(|path| list(value, path));
    let runs = statuses.filter_map(|status| instant(status, &["state", "running", "startedAt"]));
    let holds = |names: &'static [&'static str]| {
        list(value, &["status", "conditions"])
            .filter(|it| text_ref(it, &["type"]).is_some_and(|name| names.contains(&name)))
            .filter(|it| text_ref(it, &["status"]) == Some("True"))
            .filter_map(|it| instant(it, &["lastTransitionTime"]))
    };
    let network = runs.chain(holds(&["PodReadyToStartContainers"])).min();
    network.or_else(|| holds(&["ContainersReady", "Ready"]).min())
}

/// Ports of the containers that run as long as the pod does.
fn container_ports(value: &Value) -> Vec<ContainerPort> {
    let stays = |container: &&Value| text_ref(container, &["restartPolicy"]) == Some("Always");
    let sidecars = list(value, &["spec", "initContainers"]).filter(stays);
    let containers = list(value, &["spec", "containers"]).chain(sidecars);
    let ports = containers.flat_map(|container| list(container, &["ports"]));
    ports
        .filter_map(|value| {
            Some(ContainerPort {
                name: text(value, &["name"]),
                protocol: text_ref(value, &["protocol"]).unwrap_or("TCP").to_owned(),
                port: port(value, &["containerPort"])?,
            })
        })
        .collect()
}

fn images(value: &Value, path: &[&str]) -> Vec<String> {
    list(value, path).filter_map(|container| text_ref(container, &["image"]).map(str::to_owned)).collect()
}

/// The latest end of a container, if all have ended.
fn finished(value: &Value) -> Option<Nanos> {
    let mut latest = None;
    for status in list(value, &["status", "containerStatuses"]) {
        let ended = at(status, &["state", "terminated"])?;
        latest = latest.max(instant(ended, &["finishedAt"]));
    }
    latest
}

fn node(value: &Value) -> Node {
    let mut pod_cidrs = texts(value, &["spec", "podCIDRs"]);
    if pod_cidrs.is_empty() {
        pod_cidrs.extend(text_ref(value, &["spec", "podCIDR"]).map(str::to_owned));
    }
    let addresses = list(value, &["status", "addresses"])
        .filter_map(|entry| ip(text_ref(entry, &["address"])?))
        .collect();
    Node { addresses, pod_cidrs }
}

fn config_map(value: &Value, meta: &Meta) -> ConfigMap {
    let by_name = meta.namespace == "kube-system" && DNS_CONFIG_MAPS.contains(&meta.name.as_str());
    if by_name || at(value, &["data", "Corefile"]).is_some() {
        ConfigMap { data: map(value, &["data"]) }
    } else {
        ConfigMap::default()
    }
}

/// Namespaces that installers put cluster DNS into: of controllers there more than the images is kept.
const DNS_NAMESPACES: [&str; 2] = ["kube-system", "openshift-dns"];

/// Longest text kept of a command or a volume, octets.
const KEPT_TEXT_MAX: usize = 4 << 10;

fn controller(value: &Value, meta: &Meta) -> Controller {
    let template = ["spec", "template", "spec"];
    let job = ["spec", "jobTemplate", "spec", "template", "spec"];
    let path = if at(value, &template).is_some() { &template[..] } else { &job[..] };
    let Some(pod) = at(value, path) else { return Controller::default() };
    let images = images(pod, &["containers"]);
    if !DNS_NAMESPACES.contains(&meta.namespace.as_str()) {
        return Controller { images, ..Controller::default() };
    }
    let containers = || list(pod, &["containers"]).chain(list(pod, &["initContainers"]));
    let args = containers().map(|container| {
        let words = texts(container, &["command"]).into_iter().chain(texts(container, &["args"]));
        bounded(words.collect::<Vec<_>>().join(" "))
    });
    let mounts = containers().flat_map(|container| list(container, &["volumeMounts"])).map(|mount| {
        bounded(format!(
            "{} at {} {}",
            text(mount, &["name"]),
            text(mount, &["mountPath"]),
            text(mount, &["subPath"])
        ))
    });
    // A volume is its name and its source as JSON: which ConfigMap, which of its items, which path of the host.
    let volumes = list(pod, &["volumes"]).map(|volume| bounded(volume.to_string()));
    Controller { images, args: args.collect(), volumes: volumes.chain(mounts).collect() }
}

fn bounded(mut text: String) -> String {
    if text.len() > KEPT_TEXT_MAX {
        let end = (0..=KEPT_TEXT_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// The policy's `spec`; Cilium may have `specs`, then both are kept under their names.
fn policy_spec(value: &Value) -> Value {
    match (value.get("spec"), value.get("specs")) {
        (Some(spec), None) => spec.clone(),
        (spec, Some(specs)) => {
            let mut both = Map::new();
            both.extend(spec.map(|spec| ("spec".to_owned(), spec.clone())));
            both.insert("specs".to_owned(), specs.clone());
            Value::Object(both)
        }
        (None, None) => Value::Object(Map::new()),
    }
}

fn other_spec(value: &Value, kind: &str) -> Value {
    let spec = value.get("spec").filter(|_| KEPT_OTHERS.contains(&kind));
    let small = spec.filter(|spec| spec.to_string().len() <= KEPT_SPEC_MAX);
    small.cloned().unwrap_or_else(|| Value::Object(Map::new()))
}
