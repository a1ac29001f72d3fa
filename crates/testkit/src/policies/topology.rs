//! Pods, namespaces and policies out of files, as the schemes of network-config-analyzer name them.
//!
//! Enters: paths of files or folders; leaves: pods (those of workloads' templates too) and NetworkPolicies. Objects of
//! other policy languages are noticed, not read.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use truename_cluster::policy::{Content, Match, Policy};
use truename_model::object::{ContainerPort, Object, StringMap};
use truename_sources::kube::text::yaml;

use super::cast::Member;

/// A pod and the workload it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// `namespace/workload[Kind]`.
    pub(super) workload: String,
    /// Index of its kind among [`Topology::kinds`].
    pub(super) kind: usize,
}

/// What the files hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Topology {
    /// Pods, each with its workload.
    pub(super) pods: Vec<Named>,
    /// Pods that policies cannot tell apart, once.
    pub(super) kinds: Vec<Member>,
    /// How many pods of each kind there are.
    pub(super) counts: Vec<usize>,
    /// Policies by namespace and name.
    pub(super) policies: BTreeMap<(String, String), Value>,
    /// Why the files cannot be compared, if they cannot.
    pub(super) foreign: Option<&'static str>,
}

/// Reads objects of files; `None`: a file is not there.
pub(super) fn objects(paths: &[std::path::PathBuf]) -> Option<Vec<Value>> {
    let mut objects = Vec::new();
    for path in paths {
        read(path, &mut objects)?;
    }
    Some(objects)
}

fn read(path: &Path, out: &mut Vec<Value>) -> Option<()> {
    if path.is_dir() {
        let mut inside: Vec<_> = std::fs::read_dir(path).ok()?.flatten().map(|entry| entry.path()).collect();
        inside.sort();
        let wanted = |path: &Path| {
            path.is_dir()
                || path.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|one| end == *one))
        };
        inside.iter().filter(|path| wanted(path)).try_for_each(|path| read(path, out))?;
        return Some(());
    }
    let text = std::fs::read_to_string(path).ok()?;
    if let Ok(value) = serde_json::from_str::<Value>(&text) {
        flatten(value, out);
        return Some(());
    }
    for document in format!("\n{text}").split("\n---") {
        if let Ok(value) = yaml(document.as_bytes()) {
            flatten(value, out);
        }
    }
    Some(())
}

fn flatten(mut value: Value, out: &mut Vec<Value>) {
    let kind = value["kind"].as_str().unwrap_or_default().to_owned();
    let of_list = kind.strip_suffix("List").map(str::to_owned);
    match value.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => {
            for mut item in items {
                if let Some(kind) = of_list.as_ref().filter(|kind| !kind.is_empty() && item["kind"].is_null())
                {
                    item["kind"] = json!(kind);
                }
                flatten(item, out);
            }
        }
        _ => match value {
            Value::Array(values) => values.into_iter().for_each(|value| flatten(value, out)),
            Value::Object(_) => out.push(value),
            _ => {}
        },
    }
}

impl Topology {
    /// Sorts objects into pods and policies.
    pub(super) fn of(objects: &[Value]) -> Self {
        let namespaces = namespaces(objects);
        let mut topology = Self::default();
        for object in objects {
            let group = object["apiVersion"]
                .as_str()
                .and_then(|version| version.split_once('/'))
                .map_or("", |it| it.0);
            match (object["kind"].as_str().unwrap_or_default(), group) {
                ("NetworkPolicy", "networking.k8s.io" | "extensions") => topology.add_policy(object),
                ("NetworkPolicy" | "GlobalNetworkPolicy" | "Profile", _) => {
                    topology.foreign = Some("its policies are Calico's: outside of these policies");
                }
                (
                    "Ingress"
                    | "Gateway"
                    | "VirtualService"
                    | "AuthorizationPolicy"
                    | "Sidecar"
                    | "HTTPRoute",
                    _,
                ) => {
                    topology.foreign = Some(
                        "its inputs hold Ingress or Istio objects, which shape the golden: outside of these policies",
                    );
                }
                (kind, _) => topology.add_pods(kind, object, &namespaces),
            }
        }
        topology
    }

    fn add_policy(&mut self, object: &Value) {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.policies.insert((namespace, name), object["spec"].clone());
    }

    fn add_pods(&mut self, kind: &str, object: &Value, namespaces: &BTreeMap<String, StringMap>) {
        let (template, replicas) = match kind {
            "Pod" => (object.clone(), 1),
            "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicationController" => {
                let template = &object["spec"]["template"];
                (template.clone(), object["spec"]["replicas"].as_u64().unwrap_or(1).min(2))
            }
            "CronJob" => (object["spec"]["jobTemplate"]["spec"]["template"].clone(), 1),
            _ => return,
        };
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let mut pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": template["metadata"], "spec": template["spec"]});
        if !pod["metadata"].is_object() {
            pod["metadata"] = json!({});
        }
        pod["metadata"]["name"] = json!(name);
        let Ok((meta, Object::Pod(mut pod))) = truename_sources::kube::object(&pod, None, None) else {
            return;
        };
        // The goldens take pods on the host network for pods like any other, one of the two readings that Kubernetes'
        // documentation leaves; by both readings many of their queries have no answer.
        pod.host_network = false;
        let owner = meta.owners.first();
        let workload = match owner {
            Some(owner) => format!("{namespace}/{}[{}]", owner.name, owner.kind),
            None => format!("{namespace}/{name}[{kind}]"),
        };
        let member = Member {
            namespace_labels: namespaces.get(&namespace).cloned().unwrap_or_default(),
            namespace,
            name: name.to_owned(),
            labels: meta.labels,
            pod,
        };
        let alike = |other: &Member| {
            (&other.namespace, &other.labels, &other.pod.ports)
                == (&member.namespace, &member.labels, &member.pod.ports)
        };
        let kind = self.kinds.iter().position(alike).unwrap_or_else(|| {
            self.kinds.push(member.clone());
            self.counts.push(0);
            self.kinds.len() - 1
        });
        for _ in 0..replicas {
            self.pods.push(Named { workload: workload.clone(), kind });
            self.counts[kind] += 1;
        }
    }

    /// The same with pods that none of these policies tell apart as one kind.
    pub(super) fn merged(&self, policies: &[Policy]) -> Self {
        let mut merged = Self { kinds: Vec::new(), counts: Vec::new(), ..self.clone() };
        let mut seen: BTreeMap<(Vec<bool>, Vec<ContainerPort>), usize> = BTreeMap::new();
        let mut new_kind = Vec::new();
        for (kind, count) in self.kinds.iter().zip(&self.counts) {
            let at = *seen.entry((seen_by(policies, kind), kind.pod.ports.clone())).or_insert_with(|| {
                merged.kinds.push(kind.clone());
                merged.counts.push(0);
                merged.kinds.len() - 1
            });
            merged.counts[at] += count;
            new_kind.push(at);
        }
        merged.pods.iter_mut().for_each(|pod| pod.kind = new_kind[pod.kind]);
        merged
    }

    /// True if both hold the same pods.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.pods == other.pods && self.kinds.len() == other.kinds.len()
    }
}

/// Which selectors of the policies select the pod, in order.
fn seen_by(policies: &[Policy], kind: &Member) -> Vec<bool> {
    let mut seen = Vec::new();
    let party = kind.party();
    for policy in policies {
        let (Content::Network(network), Some(pod)) = (&policy.content, party.pod()) else { continue };
        let own = policy.object.namespace.as_str();
        seen.push(own == kind.namespace && network.pods.matches(&kind.labels));
        let rules = [&network.ingress, &network.egress].into_iter().flatten().flatten();
        let peers = rules.flat_map(|rule| &rule.peers);
        seen.extend(peers.map(|peer| peer.selects(own, pod) == Match::Yes));
    }
    seen
}

fn namespaces(objects: &[Value]) -> BTreeMap<String, StringMap> {
    let of = |value: &Value| -> StringMap {
        let labels = value["metadata"]["labels"].as_object().into_iter().flatten();
        labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    };
    let named = objects.iter().filter(|object| object["kind"] == "Namespace");
    named.filter_map(|object| Some((object["metadata"]["name"].as_str()?.to_owned(), of(object)))).collect()
}
