//! Random worlds of namespaces, pods and NetworkPolicies, judged by cyclonus 0.5.6 and by our evaluator.
//!
//! Enters: a seed; leaves: the files that cyclonus reads, its answers read back, and each difference. Cyclonus is given
//! what the API server would have stored (`policyTypes` by default filled in), our evaluator what was written. It is one
//! reading of the API: where both differ the text decides, and a difference counts as decided only if our evaluator gives
//! cyclonus's answer as soon as it is made to read that sentence as cyclonus does.

use std::net::IpAddr;

use serde_json::{Value, json};
use truename_cluster::policy::{Decision, Nodes, Policy, Protocol, Ruling, decide};
use truename_model::object::{ContainerPort, Meta, Pod, StringMap};

use super::cast::{End, Member, flow};
use crate::generate::Random;

/// A world: pods, policies as written, questions.
#[derive(Clone, Debug)]
pub struct World {
    /// The seed it came from.
    pub seed: u64,
    pods: Vec<Member>,
    /// Namespace, name and `spec`.
    policies: Vec<(String, String, Value)>,
    asked: Vec<Asked>,
}

/// A question: indices of pods, or outside, and which address family.
#[derive(Clone, Debug)]
struct Asked {
    from: Option<usize>,
    to: Option<usize>,
    from_ip: IpAddr,
    to_ip: IpAddr,
    protocol: Protocol,
    port: u16,
}

/// A question on which both differ.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The question, in words.
    pub what: String,
    /// What the API's text says of it, if it was decided.
    pub decided: Option<&'static str>,
}

/// How a world came out.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// Questions on which both agree.
    pub agree: u64,
    /// Those of them that are allowed.
    pub allowed: u64,
    /// The others.
    pub differences: Vec<Difference>,
}

const KEYS: [&str; 3] = ["app", "tier", "zone"];
const VALUES: [&str; 3] = ["a", "b", "c"];
const NAMESPACES: [&str; 4] = ["one", "two", "three", "four"];
const PORT_NAMES: [&str; 3] = ["web", "dns", "admin"];
const PORTS: [u16; 5] = [53, 80, 81, 443, 8080];
const BLOCKS: [&str; 8] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.1.0/24",
    "10.0.0.0/30",
    "192.0.2.0/24",
    "192.0.2.128/25",
    "::/0",
    "fd00:0:0:1::/64",
];
const OUTSIDE: [&str; 4] = ["192.0.2.7", "192.0.2.200", "198.51.100.1", "2001:db8::1"];
/// Questions per world.
const ASKED: usize = 24;

/// Draws a world.
#[must_use]
pub fn world(seed: u64) -> World {
    let mut dice = Random::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    for _ in 0..8 {
        dice.bits();
    }
    let namespaces = 1 + pick(&mut dice, NAMESPACES.len());
    let namespace_labels: Vec<StringMap> = (0..namespaces).map(|_| labels(&mut dice)).collect();
    let pods: Vec<Member> = (0..2 + pick(&mut dice, 5))
        .map(|index| pod(&mut dice, index, &NAMESPACES[..namespaces], &namespace_labels))
        .collect();
    let policies = (0..1 + pick(&mut dice, 5))
        .map(|index| {
            (NAMESPACES[pick(&mut dice, namespaces)].to_owned(), format!("policy-{index}"), spec(&mut dice))
        })
        .collect();
    let asked = (0..ASKED).map(|_| asked(&mut dice, &pods)).collect();
    World { seed, pods, policies, asked }
}

fn pick(dice: &mut Random, of: usize) -> usize {
    dice.below(of as u32) as usize
}

fn one<'a>(dice: &mut Random, of: &[&'a str]) -> &'a str {
    of[pick(dice, of.len())]
}

fn chance(dice: &mut Random, percent: u32) -> bool {
    dice.below(100) < percent
}

fn labels(dice: &mut Random) -> StringMap {
    let mut labels = StringMap::new();
    for key in KEYS {
        if chance(dice, 55) {
            labels.insert(key.to_owned(), one(dice, &VALUES).to_owned());
        }
    }
    labels
}

fn pod(dice: &mut Random, index: usize, namespaces: &[&str], namespace_labels: &[StringMap]) -> Member {
    let at = pick(dice, namespaces.len());
    let mut ports = Vec::new();
    for name in PORT_NAMES {
        let protocol = if chance(dice, 30) { "UDP" } else { "TCP" }.to_owned();
        let port = PORTS[pick(dice, PORTS.len())];
        // cyclonus is told one name per port.
        let free = !ports.iter().any(|one: &ContainerPort| (&one.protocol, one.port) == (&protocol, port));
        if chance(dice, 60) && free {
            ports.push(ContainerPort { name: name.to_owned(), protocol, port });
        }
    }
    let ips = [format!("10.0.{at}.{}", index + 1), format!("fd00:0:0:{at}::{}", index + 1)];
    let ips = ips.iter().filter_map(|ip| ip.parse().ok()).collect();
    Member {
        namespace: namespaces[at].to_owned(),
        name: format!("pod-{index}"),
        labels: labels(dice),
        namespace_labels: namespace_labels[at].clone(),
        pod: Pod { ips, ports, ..Pod::default() },
    }
}

fn asked(dice: &mut Random, pods: &[Member]) -> Asked {
    let family = usize::from(chance(dice, 25));
    let from = (!chance(dice, 15)).then(|| pick(dice, pods.len()));
    let to = (from.is_none() || !chance(dice, 15)).then(|| pick(dice, pods.len()));
    let outside = |dice: &mut Random| -> IpAddr {
        let text = if family == 0 { OUTSIDE[pick(dice, 3)] } else { OUTSIDE[3] };
        text.parse().unwrap_or(IpAddr::from([0, 0, 0, 0]))
    };
    let from_ip = from.map_or_else(|| outside(dice), |index| pods[index].pod.ips[family]);
    let to_ip = to.map_or_else(|| outside(dice), |index| pods[index].pod.ips[family]);
    let protocol = Protocol::ALL[if chance(dice, 10) { 2 } else { usize::from(chance(dice, 30)) }];
    Asked { from, to, from_ip, to_ip, protocol, port: PORTS[pick(dice, PORTS.len())] }
}

fn spec(dice: &mut Random) -> Value {
    let mut spec = json!({});
    if chance(dice, 80) {
        spec["podSelector"] = selector(dice);
    }
    for (field, peers) in [("ingress", "from"), ("egress", "to")] {
        match dice.below(4) {
            0 => {}
            1 => spec[field] = json!([]),
            _ => spec[field] = (0..1 + dice.below(2)).map(|_| rule(dice, peers)).collect(),
        }
    }
    match dice.below(4) {
        0 => {}
        1 => spec["policyTypes"] = json!(["Ingress"]),
        2 => spec["policyTypes"] = json!(["Egress"]),
        _ => spec["policyTypes"] = json!(["Ingress", "Egress"]),
    }
    spec
}

fn selector(dice: &mut Random) -> Value {
    let mut selector = json!({});
    if chance(dice, 40) {
        selector["matchLabels"] = json!({one(dice, &KEYS): one(dice, &VALUES)});
    }
    if chance(dice, 40) {
        let expressions: Vec<Value> = (0..1 + dice.below(2)).map(|_| expression(dice)).collect();
        selector["matchExpressions"] = expressions.into();
    }
    selector
}

fn expression(dice: &mut Random) -> Value {
    let key = one(dice, &KEYS);
    match dice.below(4) {
        0 => json!({"key": key, "operator": "Exists"}),
        1 => json!({"key": key, "operator": "DoesNotExist"}),
        two => {
            let operator = if two == 2 { "In" } else { "NotIn" };
            let values: Vec<&str> = (0..1 + dice.below(2)).map(|_| one(dice, &VALUES)).collect();
            json!({"key": key, "operator": operator, "values": values})
        }
    }
}

fn rule(dice: &mut Random, peers: &str) -> Value {
    let mut rule = json!({});
    match dice.below(6) {
        0 => {}
        1 => rule[peers] = json!([]),
        _ => rule[peers] = (0..1 + dice.below(2)).map(|_| peer(dice)).collect(),
    }
    match dice.below(5) {
        0 => {}
        1 => rule["ports"] = json!([]),
        _ => rule["ports"] = (0..1 + dice.below(2)).map(|_| port(dice)).collect(),
    }
    rule
}

fn peer(dice: &mut Random) -> Value {
    match dice.below(4) {
        0 => json!({"podSelector": selector(dice)}),
        1 => json!({"namespaceSelector": selector(dice)}),
        2 => json!({"namespaceSelector": selector(dice), "podSelector": selector(dice)}),
        _ => {
            let block = one(dice, &BLOCKS);
            let inner: &[&str] = match block {
                "0.0.0.0/0" => &["10.0.1.0/24", "192.0.2.0/24", "198.51.100.0/24"],
                "10.0.0.0/8" => &["10.0.0.0/24", "10.0.0.2/31"],
                "192.0.2.0/24" => &["192.0.2.128/25"],
                "::/0" => &["fd00::/16", "2001:db8::/32"],
                _ => &[],
            };
            let except: Vec<&str> = inner.iter().copied().filter(|_| chance(dice, 40)).collect();
            match except.is_empty() {
                true => json!({"ipBlock": {"cidr": block}}),
                false => json!({"ipBlock": {"cidr": block, "except": except}}),
            }
        }
    }
}

fn port(dice: &mut Random) -> Value {
    let mut port = json!({});
    match dice.below(4) {
        0 => {}
        1 => port["port"] = json!(one(dice, &PORT_NAMES)),
        2 => port["port"] = json!(PORTS[pick(dice, PORTS.len())]),
        _ => {
            let first = PORTS[pick(dice, PORTS.len())];
            port["port"] = json!(first);
            port["endPort"] = json!(u32::from(first) + dice.below(400));
        }
    }
    match dice.below(4) {
        0 | 1 => {}
        2 => port["protocol"] = json!("UDP"),
        _ => port["protocol"] = json!(one(dice, &["TCP", "SCTP"])),
    }
    port
}

impl World {
    /// The policies as the API server stores them: a list in JSON.
    #[must_use]
    pub fn policy_file(&self) -> String {
        let items: Vec<Value> = self
            .policies
            .iter()
            .map(|(namespace, name, spec)| {
                let mut spec = spec.clone();
                if spec["policyTypes"].is_null() {
                    let egress = spec["egress"].as_array().is_some_and(|rules| !rules.is_empty());
                    spec["policyTypes"] =
                        if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
                }
                json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"namespace": namespace, "name": name}, "spec": spec})
            })
            .collect();
        json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
    }

    /// The questions in cyclonus's form.
    #[must_use]
    pub fn traffic_file(&self) -> String {
        let end = |index: Option<usize>, ip: IpAddr| match index {
            None => json!({"IP": ip.to_string()}),
            Some(index) => {
                let pod = &self.pods[index];
                json!({"IP": ip.to_string(), "Internal": {"Namespace": pod.namespace,
                    "PodLabels": pod.labels, "NamespaceLabels": pod.namespace_labels}})
            }
        };
        let asked: Vec<Value> = self
            .asked
            .iter()
            .map(|asked| {
                json!({"Source": end(asked.from, asked.from_ip), "Destination": end(asked.to, asked.to_ip),
                "ResolvedPort": asked.port, "ResolvedPortName": self.port_name(asked),
                "Protocol": asked.protocol.as_str()})
            })
            .collect();
        Value::from(asked).to_string()
    }

    fn port_name(&self, asked: &Asked) -> &str {
        let ports = asked.to.map_or(&[][..], |index| &self.pods[index].pod.ports);
        let named =
            ports.iter().find(|one| one.port == asked.port && one.protocol == asked.protocol.as_str());
        named.map_or("", |one| &one.name)
    }

    /// Compares our answers with what cyclonus printed.
    ///
    /// # Errors
    /// The output does not answer every question.
    pub fn compare(&self, printed: &str) -> Result<Compared, String> {
        let theirs: Vec<bool> = printed
            .lines()
            .filter_map(|line| line.split_once("IS ALLOWED?"))
            .map(|(_, rest)| rest.contains("TRUE"))
            .collect();
        if theirs.len() != self.asked.len() {
            return Err(format!("{} answers to {} questions", theirs.len(), self.asked.len()));
        }
        let (as_written, as_read) = (self.read(|spec| spec.clone()), self.read(not_in_needs_the_key));
        let mut compared = Compared::default();
        for (asked, theirs) in self.asked.iter().zip(theirs) {
            let theirs = if theirs { Decision::Allowed } else { Decision::Denied };
            let ours = self.judge(&as_written, asked, false);
            if ours.decision == theirs {
                compared.agree += 1;
                compared.allowed += u64::from(theirs == Decision::Allowed);
                continue;
            }
            let what = format!(
                "seed {}: {} -> {} {}/{}: cyclonus {}, ours {}: {:?}",
                self.seed,
                self.named(asked.from, asked.from_ip),
                self.named(asked.to, asked.to_ip),
                asked.protocol.as_str(),
                asked.port,
                theirs.as_str(),
                ours.decision.as_str(),
                ours.reasons().iter().map(ToString::to_string).collect::<Vec<_>>()
            );
            let own = asked.from.is_some() && asked.from == asked.to;
            let by = |policies, twin| self.judge(policies, asked, twin).decision == theirs;
            let decided = if own && by(&as_written, true) {
                Some(OWN_POD)
            } else if by(&as_read, false) {
                Some(NOT_IN)
            } else {
                (own && by(&as_read, true)).then_some(BOTH)
            };
            compared.differences.push(Difference { what, decided });
        }
        Ok(compared)
    }

    fn read(&self, change: impl Fn(&Value) -> Value) -> Vec<Policy> {
        let policies = self.policies.iter().filter_map(|(namespace, name, spec)| {
            let meta = Meta { namespace: namespace.clone(), name: name.clone(), ..Meta::default() };
            Policy::read("NetworkPolicy", &meta, &change(spec))
        });
        policies.collect()
    }

    /// Our ruling; `twin`: a pod that talks to itself talks to another one just like it.
    fn judge(&self, policies: &[Policy], asked: &Asked, twin: bool) -> Ruling {
        let policies: Vec<&Policy> = policies.iter().collect();
        let (from, to) = (self.end(asked.from, asked.from_ip), self.end(asked.to, asked.to_ip));
        let other = match to {
            End::Pod(pod, _) if twin => Some(Member { name: format!("{}-twin", pod.name), ..pod.clone() }),
            _ => None,
        };
        let to = other.as_ref().map_or(to, |other| End::Pod(other, Some(asked.to_ip)));
        decide(&policies, Nodes { known: &[], all: true }, &flow(from, to, asked.protocol, asked.port))
    }

    fn end(&self, index: Option<usize>, ip: IpAddr) -> End<'_> {
        index.map_or(End::Outside(ip), |index| End::Pod(&self.pods[index], Some(ip)))
    }

    fn named(&self, index: Option<usize>, ip: IpAddr) -> String {
        index.map_or_else(
            || ip.to_string(),
            |index| format!("{}/{}", self.pods[index].namespace, self.pods[index].name),
        )
    }
}

/// Cyclonus knows no pod by name; Kubernetes, Network Policies: "a pod cannot block access to itself".
const OWN_POD: &str =
    "a pod cannot block access to itself (Kubernetes, Network Policies); cyclonus has no identity of pods";
/// Kubernetes, Labels and Selectors: "tier notin (frontend, backend)" selects "all resources with no labels with the tier
/// key" too.
const NOT_IN: &str =
    "NotIn selects what lacks the key too (Kubernetes, Labels and Selectors); to cyclonus it is no match";
const BOTH: &str = "both: a pod cannot block access to itself, and NotIn selects what lacks the key too";

/// The policy as cyclonus reads it: every `NotIn` asks for the key as well.
fn not_in_needs_the_key(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(field, value)| {
                let mut value = not_in_needs_the_key(value);
                if let ("matchExpressions", Some(list)) = (field.as_str(), value.as_array_mut()) {
                    let strict = list.iter().filter(|one| one["operator"] == "NotIn");
                    let exist = strict.map(|one| json!({"key": one["key"], "operator": "Exists"}));
                    let exist: Vec<Value> = exist.collect();
                    list.extend(exist);
                }
                (field.clone(), value)
            })
            .collect(),
        Value::Array(items) => items.iter().map(not_in_needs_the_key).collect(),
        value => value.clone(),
    }
}
