//! Cluster-wide policies of `policy.networking.k8s.io`: AdminNetworkPolicy and BaselineAdminNetworkPolicy (v1alpha1),
//! ClusterNetworkPolicy (v1alpha2), read as their API comments say.
//!
//! Enters: the `spec` as JSON; leaves: tier, priority, subject and rules. A peer without any field makes its rule fail
//! closed, as the comments demand of implementations; one with an unknown field stays open, since nobody can say which
//! version the plugin implements. Deliberately absent: the order of tiers.

use serde_json::Value;

use super::cidr::Cidr;
use super::flow::{Direction, PodFacts};
use super::network::{in_namespaces, list, number, only, protocol};
use super::ports::Ports;
use super::selector::Selector;
use super::why::{Effect, Match};

/// Where a policy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Before NetworkPolicy.
    Admin,
    /// After it.
    Baseline,
}

/// Which API it is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    /// v1alpha1: AdminNetworkPolicy, BaselineAdminNetworkPolicy.
    Alpha1,
    /// v1alpha2: ClusterNetworkPolicy.
    Alpha2,
}

/// A cluster-wide policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminPolicy {
    /// Tier.
    pub tier: Tier,
    /// API.
    pub api: Api,
    /// Lower comes first; 0 for a BaselineAdminNetworkPolicy, of which there is one.
    pub priority: i64,
    /// Whom it applies to.
    pub subject: Pods,
    /// Rules for traffic to them, in order.
    pub ingress: Vec<AdminRule>,
    /// Rules for traffic from them, in order.
    pub egress: Vec<AdminRule>,
}

/// Pods by namespace and label. Pods on the host network are never among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pods {
    /// Namespaces.
    pub namespaces: Selector,
    /// Pods.
    pub pods: Selector,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminRule {
    /// What it does.
    pub action: Effect,
    /// Whom it is about; any of them.
    pub peers: Vec<AdminPeer>,
    /// Which ports; empty: all.
    pub ports: Vec<Ports>,
}

/// A peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminPeer {
    /// Pods.
    Pods(Pods),
    /// Nodes by label, by their addresses.
    Nodes(Selector),
    /// Blocks of addresses.
    Networks(Vec<Cidr>),
    /// Domain names.
    DomainNames,
    /// No field: fail closed.
    Nothing,
    /// A field of another version.
    Unknown(String),
}

impl AdminPolicy {
    /// Reads the `spec` of a policy of this kind; `None`: the kind is not of this API.
    ///
    /// # Errors
    /// What the API server refuses it for.
    pub fn read(kind: &str, spec: &Value) -> Option<Result<Self, String>> {
        let (tier, api) = match kind {
            "AdminNetworkPolicy" => (Tier::Admin, Api::Alpha1),
            "BaselineAdminNetworkPolicy" => (Tier::Baseline, Api::Alpha1),
            "ClusterNetworkPolicy" if spec["tier"] == "Baseline" => (Tier::Baseline, Api::Alpha2),
            "ClusterNetworkPolicy" => (Tier::Admin, Api::Alpha2),
            _ => return None,
        };
        Some(Self::of(tier, api, spec))
    }

    fn of(tier: Tier, api: Api, spec: &Value) -> Result<Self, String> {
        only(spec, &["tier", "priority", "subject", "ingress", "egress"])?;
        if api == Api::Alpha2 && !matches!(spec["tier"].as_str(), Some("Admin" | "Baseline")) {
            return Err(format!("the tier {}", spec["tier"]));
        }
        let single = tier == Tier::Baseline && api == Api::Alpha1;
        let priority = match &spec["priority"] {
            Value::Null if single => 0,
            value => value
                .as_i64()
                .filter(|it| (0..=1000).contains(it))
                .ok_or_else(|| format!("the priority {value}"))?,
        };
        Ok(Self {
            tier,
            api,
            priority,
            subject: subject(&spec["subject"])?,
            ingress: rules(&spec["ingress"], "from", tier, api)?,
            egress: rules(&spec["egress"], "to", tier, api)?,
        })
    }

    /// True if a rule of it asks which node an address belongs to.
    #[must_use]
    pub fn asks_for_nodes(&self) -> bool {
        let peers = self.ingress.iter().chain(&self.egress).flat_map(|rule| &rule.peers);
        peers.into_iter().any(|peer| matches!(peer, AdminPeer::Nodes(_)))
    }

    /// Its rules for a direction.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> &[AdminRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

impl Pods {
    /// Whether the pod is among them.
    #[must_use]
    pub fn select(&self, pod: &PodFacts<'_>) -> Match {
        let here = !pod.pod.host_network && self.pods.matches(pod.labels);
        Match::from(here).and(|| in_namespaces(&self.namespaces, pod))
    }
}

fn subject(value: &Value) -> Result<Pods, String> {
    match peer(value)? {
        AdminPeer::Pods(pods) => Ok(pods),
        _ => Err("a subject that selects no pods".to_owned()),
    }
}

fn rules(value: &Value, peers: &str, tier: Tier, api: Api) -> Result<Vec<AdminRule>, String> {
    let ports_field = if api == Api::Alpha1 { "ports" } else { "protocols" };
    let mut rules = Vec::new();
    for rule in list(value)? {
        only(rule, &["name", "action", peers, ports_field])?;
        let action = action(&rule["action"], tier, api)?;
        let mut read = AdminRule { action, peers: Vec::new(), ports: Vec::new() };
        for value in list(&rule[peers])? {
            read.peers.push(peer(value)?);
        }
        if read.peers.is_empty() {
            return Err("a rule without peers".to_owned());
        }
        for value in list(&rule[ports_field])? {
            match api {
                Api::Alpha1 => read.ports.push(port_alpha1(value)?),
                Api::Alpha2 => read.ports.push(port_alpha2(value)?),
            }
        }
        if read.ports.is_empty() && !rule[ports_field].is_null() {
            return Err(format!("an empty list of {ports_field}"));
        }
        rules.push(read);
    }
    Ok(rules)
}

fn action(value: &Value, tier: Tier, api: Api) -> Result<Effect, String> {
    match (value.as_str(), api) {
        (Some("Allow"), Api::Alpha1) | (Some("Accept"), Api::Alpha2) => Ok(Effect::Allow),
        (Some("Deny"), _) => Ok(Effect::Deny),
        (Some("Pass"), _) if tier == Tier::Admin || api == Api::Alpha2 => Ok(Effect::Pass),
        _ => Err(format!("the action {value}")),
    }
}

fn peer(value: &Value) -> Result<AdminPeer, String> {
    let fields = value.as_object().ok_or("a peer that is no object")?;
    let mut present = fields.iter().filter(|(_, value)| !value.is_null());
    let Some((field, value)) = present.next() else { return Ok(AdminPeer::Nothing) };
    if present.next().is_some() {
        return Err("a peer with more than one field".to_owned());
    }
    Ok(match field.as_str() {
        "namespaces" => {
            AdminPeer::Pods(Pods { namespaces: Selector::read(value)?, pods: Selector::default() })
        }
        "pods" => {
            only(value, &["namespaceSelector", "podSelector"])?;
            let namespaces = Selector::read(&value["namespaceSelector"])?;
            AdminPeer::Pods(Pods { namespaces, pods: Selector::read(&value["podSelector"])? })
        }
        "nodes" => AdminPeer::Nodes(Selector::read(value)?),
        "networks" => {
            let texts = list(value)?.iter().map(|text| text.as_str().ok_or("a network that is no text"));
            let texts = texts.collect::<Result<Vec<_>, _>>()?;
            AdminPeer::Networks(texts.into_iter().map(Cidr::parse).collect::<Result<_, _>>()?)
        }
        "domainNames" => AdminPeer::DomainNames,
        field => AdminPeer::Unknown(field.to_owned()),
    })
}

fn range(protocol: super::flow::Protocol, value: &Value) -> Result<Ports, String> {
    let (start, end) = (number(&value["start"])?, number(&value["end"])?);
    if end < start {
        Err("a range that ends before it starts".to_owned())
    } else {
        Ok(Ports::Range(protocol, start, end))
    }
}

fn port_alpha1(value: &Value) -> Result<Ports, String> {
    let fields =
        value.as_object().filter(|fields| fields.len() == 1).ok_or("a port without exactly one field")?;
    let (field, value) = fields.iter().next().ok_or("a port without a field")?;
    match field.as_str() {
        "portNumber" => {
            let port = number(&value["port"])?;
            Ok(Ports::Range(protocol(&value["protocol"])?, port, port))
        }
        "portRange" => range(protocol(&value["protocol"])?, value),
        "namedPort" => {
            Ok(Ports::Named(None, value.as_str().ok_or("a port name that is no text")?.to_owned()))
        }
        field => Err(format!("a port with {field}")),
    }
}

fn port_alpha2(value: &Value) -> Result<Ports, String> {
    let fields =
        value.as_object().filter(|fields| fields.len() == 1).ok_or("a protocol without exactly one field")?;
    let (field, value) = fields.iter().next().ok_or("a protocol without a field")?;
    let protocol = match field.as_str() {
        "tcp" => super::flow::Protocol::Tcp,
        "udp" => super::flow::Protocol::Udp,
        "sctp" => super::flow::Protocol::Sctp,
        "destinationNamedPort" => {
            return Ok(Ports::Named(None, value.as_str().ok_or("a port name that is no text")?.to_owned()));
        }
        field => return Err(format!("a protocol with {field}")),
    };
    let port = &value["destinationPort"];
    match (port.get("number"), port.get("range")) {
        (Some(value), None) => number(value).map(|port| Ports::Range(protocol, port, port)),
        (None, Some(value)) => range(protocol, value),
        (None, None) if port.is_null() => Ok(Ports::All(protocol)),
        _ => Err("a destinationPort without exactly one of number and range".to_owned()),
    }
}
