//! `networking.k8s.io/v1` NetworkPolicy, read and matched as its API comments say.
//!
//! Enters: the `spec` as JSON; leaves: rules and whether they match. Absent and empty lists of `from`, `to` and
//! `ports` restrict nothing; an absent or empty list of rules allows nothing. Reading is strict: what the API server
//! refuses is refused, for nobody can say what a plugin made of it. Deliberately absent: which policies apply when.

use serde_json::Value;

use super::cidr::Cidr;
use super::flow::{Direction, Party, PodFacts, Protocol};
use super::ports::Ports;
use super::selector::Selector;
use super::why::{Match, Why};

/// A NetworkPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Pods of its namespace that it applies to.
    pub pods: Selector,
    /// Rules for traffic to them; `None`: it does not concern that direction.
    pub ingress: Option<Vec<Rule>>,
    /// Rules for traffic from them.
    pub egress: Option<Vec<Rule>>,
}

/// A rule: what it lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Any of these; empty: everybody.
    pub peers: Vec<Peer>,
    /// Any of these; empty: every port.
    pub ports: Vec<Ports>,
}

/// One peer of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Pods by selector, in the policy's own namespace (`None`) or in those selected.
    Pods {
        /// Namespaces.
        namespaces: Option<Selector>,
        /// Pods.
        pods: Selector,
    },
    /// Addresses of a block without those of others.
    Block {
        /// The block.
        cidr: Cidr,
        /// What is left out.
        except: Vec<Cidr>,
    },
}

impl NetworkPolicy {
    /// Reads the `spec`.
    ///
    /// # Errors
    /// What the API server refuses it for.
    pub fn read(spec: &Value) -> Result<Self, String> {
        only(spec, &["podSelector", "ingress", "egress", "policyTypes"])?;
        let pods = Selector::read(&spec["podSelector"])?;
        let ingress = rules(&spec["ingress"], "from")?;
        let egress = rules(&spec["egress"], "to")?;
        let mut types = Vec::new();
        for word in list(&spec["policyTypes"])? {
            match word.as_str() {
                Some("Ingress") => types.push(Direction::Ingress),
                Some("Egress") => types.push(Direction::Egress),
                _ => return Err(format!("the policy type {word}")),
            }
        }
        if types.is_empty() {
            // "policies that contain an egress section are assumed to affect egress, and all policies … ingress":
            // the default looks at whether egress rules exist.
            types.push(Direction::Ingress);
            types.extend((!egress.is_empty()).then_some(Direction::Egress));
        }
        let of = |direction, rules| types.contains(&direction).then_some(rules);
        Ok(Self { pods, ingress: of(Direction::Ingress, ingress), egress: of(Direction::Egress, egress) })
    }

    /// Its rules for a direction; `None`: it does not concern it.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

impl Peer {
    /// Whether a pod is selected; `own` is the policy's namespace.
    #[must_use]
    pub fn selects(&self, own: &str, pod: &PodFacts<'_>) -> Match {
        match self {
            Self::Block { .. } => Match::No,
            Self::Pods { namespaces: None, pods } => {
                (own == pod.namespace && pods.matches(pod.labels)).into()
            }
            Self::Pods { namespaces: Some(namespaces), pods } => {
                Match::from(pods.matches(pod.labels)).and(|| in_namespaces(namespaces, pod))
            }
        }
    }
}

/// Whether the pod's namespace is selected.
#[must_use]
pub fn in_namespaces(selector: &Selector, pod: &PodFacts<'_>) -> Match {
    match selector.matches_namespace(pod.namespace, pod.namespace_labels) {
        Some(yes) => yes.into(),
        None => Match::Open(Why::NamespaceLabels(pod.namespace.to_owned())),
    }
}

/// Whether the party is a pod that the peer selects.
#[must_use]
pub fn selects_party(peer: &Peer, own: &str, party: &Party<'_>) -> Match {
    party.pod().map_or(Match::No, |pod| peer.selects(own, pod))
}

fn rules(value: &Value, peers: &str) -> Result<Vec<Rule>, String> {
    let mut rules = Vec::new();
    for rule in list(value)? {
        only(rule, &[peers, "ports"])?;
        let mut read = Rule { peers: Vec::new(), ports: Vec::new() };
        for value in list(&rule[peers])? {
            read.peers.push(peer(value)?);
        }
        for value in list(&rule["ports"])? {
            read.ports.push(port(value)?);
        }
        rules.push(read);
    }
    Ok(rules)
}

fn peer(value: &Value) -> Result<Peer, String> {
    only(value, &["podSelector", "namespaceSelector", "ipBlock"])?;
    let present = |field: &str| value.get(field).filter(|value| !value.is_null());
    let (pods, namespaces) = (present("podSelector"), present("namespaceSelector"));
    match (present("ipBlock"), pods, namespaces) {
        (Some(block), None, None) => block_of(block),
        (Some(_), ..) => Err("a peer with ipBlock and a selector".to_owned()),
        (None, None, None) => Err("a peer without a field".to_owned()),
        (None, pods, namespaces) => Ok(Peer::Pods {
            namespaces: namespaces.map(Selector::read).transpose()?,
            pods: pods.map(Selector::read).transpose()?.unwrap_or_default(),
        }),
    }
}

fn block_of(value: &Value) -> Result<Peer, String> {
    only(value, &["cidr", "except"])?;
    let cidr = Cidr::parse(value["cidr"].as_str().ok_or("an ipBlock without cidr")?)?;
    let mut except = Vec::new();
    for value in list(&value["except"])? {
        let inner = Cidr::parse(value.as_str().ok_or("an exception that is no text")?)?;
        if !cidr.covers(&inner) || inner == cidr {
            return Err("an exception outside of its block".to_owned());
        }
        except.push(inner);
    }
    Ok(Peer::Block { cidr, except })
}

fn port(value: &Value) -> Result<Ports, String> {
    only(value, &["protocol", "port", "endPort"])?;
    let protocol = protocol(&value["protocol"])?;
    let end = Some(&value["endPort"]).filter(|end| !end.is_null());
    match (&value["port"], end) {
        (Value::Null, None) => Ok(Ports::All(protocol)),
        (Value::String(name), None) => Ok(Ports::Named(Some(protocol), port_name(name)?)),
        (Value::Null | Value::String(_), Some(_)) => Err("endPort without a number as port".to_owned()),
        (first, end) => {
            let first = number(first)?;
            let last = end.map_or(Ok(first), number)?;
            if last < first {
                Err("endPort below port".to_owned())
            } else {
                Ok(Ports::Range(protocol, first, last))
            }
        }
    }
}

/// A protocol; absent: TCP.
///
/// # Errors
/// The value, if it is none.
pub(super) fn protocol(value: &Value) -> Result<Protocol, String> {
    match value {
        Value::Null => Ok(Protocol::Tcp),
        value => value.as_str().and_then(Protocol::parse).ok_or_else(|| format!("the protocol {value}")),
    }
}

/// A port number.
///
/// # Errors
/// The value, if it is none.
pub(super) fn number(value: &Value) -> Result<u16, String> {
    let port = value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    port.ok_or_else(|| format!("the port {value}"))
}

/// IANA service name as the API demands it: 1–15 of lower-case letters, digits, `-`, with a letter.
pub(super) fn port_name(name: &str) -> Result<String, String> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good = (1..=15).contains(&name.len())
        && name.bytes().all(legal)
        && name.bytes().any(|byte| byte.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    if good { Ok(name.to_owned()) } else { Err(format!("the port name {name}")) }
}

/// The items of a list; absent (null) is empty.
///
/// # Errors
/// What it is instead.
pub(super) fn list(value: &Value) -> Result<&[Value], String> {
    match value {
        Value::Null => Ok(&[]),
        Value::Array(items) => Ok(items),
        _ => Err("a list that is none".to_owned()),
    }
}

/// Refuses fields that the API does not have.
///
/// # Errors
/// The first such field.
pub(super) fn only(value: &Value, fields: &[&str]) -> Result<(), String> {
    let object = value.as_object().ok_or("an object that is none")?;
    match object.keys().find(|key| !fields.contains(&key.as_str())) {
        Some(field) => Err(format!("the unknown field {field}")),
        None => Ok(()),
    }
}
