//! Which connections a set of policies allows, over every pair of ends and every class of ports.
//!
//! Enters: a topology, policies, the boundaries of ports and addresses of all sets that are compared; leaves: one bit per
//! connection for "allowed" and one for "allowed by a rule". Addresses stand for what is outside of the cluster alone, as
//! in the goldens: between pods, blocks of addresses are left out of the rules.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;
use truename_cluster::policy::{Decision, Effect, Nodes, Policy, Protocol, Ruling, decide};
use truename_model::object::Meta;

use super::cast::{End, flow};
use super::topology::Topology;

/// Policies by namespace and name.
pub(super) type Specs = BTreeMap<(String, String), Value>;

/// The classes of connections that some policy can tell apart.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    /// First port of each class.
    pub(super) ports: Vec<u16>,
    /// First address of each class.
    pub(super) addresses: Vec<IpAddr>,
}

/// A pair of ends: indices of kinds of pods, or of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// A kind of pod.
    Pod(usize),
    /// An address class.
    Outside(usize),
}

/// What a set of policies allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Relation {
    /// Allowed at all.
    pub(super) allowed: BTreeSet<(Place, Place, Protocol, u16)>,
    /// Allowed by a rule of at least one direction.
    pub(super) explicit: BTreeSet<(Place, Place, Protocol, u16)>,
    /// Connections without a definite answer.
    pub(super) unknown: usize,
}

impl Grid {
    /// The boundaries of all these policies and of the ports that pods declare.
    pub(super) fn of(topology: &Topology, sets: &[&Specs]) -> Self {
        let mut ports = BTreeSet::from([1u16]);
        let mut addresses = BTreeSet::from([IpAddr::V4(Ipv4Addr::UNSPECIFIED)]);
        let declared = topology.kinds.iter().flat_map(|kind| &kind.pod.ports).map(|port| port.port);
        declared.for_each(|port| ports.extend([port, port.saturating_add(1)]));
        for spec in sets.iter().flat_map(|set| set.values()) {
            gather(spec, &mut ports, &mut addresses);
        }
        Self { ports: ports.into_iter().collect(), addresses: addresses.into_iter().collect() }
    }
}

fn gather(value: &Value, ports: &mut BTreeSet<u16>, addresses: &mut BTreeSet<IpAddr>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let number = value.as_u64().and_then(|port| u16::try_from(port).ok());
                if let ("port" | "endPort", Some(port)) = (field.as_str(), number) {
                    ports.extend([port.max(1), port.saturating_add(1)]);
                }
                if field == "cidr" {
                    addresses.extend(value.as_str().into_iter().flat_map(bounds));
                }
                if field == "except" {
                    let texts = value.as_array().into_iter().flatten().filter_map(Value::as_str);
                    addresses.extend(texts.flat_map(bounds));
                }
                gather(value, ports, addresses);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, ports, addresses)),
        _ => {}
    }
}

/// The first address of a block and the first behind it.
fn bounds(text: &str) -> Vec<IpAddr> {
    let Some((base, length)) = text.split_once('/') else { return Vec::new() };
    let Some(length) = length.parse::<u32>().ok() else { return Vec::new() };
    match base.parse::<IpAddr>() {
        Ok(IpAddr::V4(base)) => {
            let mask = u32::MAX.checked_shl(32u32.saturating_sub(length)).unwrap_or(0);
            let first = base.to_bits() & mask;
            let next = (first | !mask).checked_add(1);
            [Some(first), next].into_iter().flatten().map(|bits| Ipv4Addr::from_bits(bits).into()).collect()
        }
        Ok(IpAddr::V6(base)) => {
            let mask = u128::MAX.checked_shl(128u32.saturating_sub(length)).unwrap_or(0);
            let first = base.to_bits() & mask;
            let next = (first | !mask).checked_add(1);
            let bits = [Some(0), Some(first), next].into_iter().flatten();
            bits.map(|bits| Ipv6Addr::from_bits(bits).into()).collect()
        }
        Err(_) => Vec::new(),
    }
}

/// The policies, with or without their blocks of addresses.
pub(super) fn read(specs: &Specs, blocks: bool) -> Vec<Policy> {
    let read = specs.iter().filter_map(|((namespace, name), spec)| {
        let meta = Meta { namespace: namespace.clone(), name: name.clone(), ..Meta::default() };
        let spec = if blocks { spec.clone() } else { without_blocks(spec) };
        Policy::read("NetworkPolicy", &meta, &spec)
    });
    read.collect()
}

/// The policy without blocks of addresses: a rule that has nothing else matches no pod.
fn without_blocks(spec: &Value) -> Value {
    let mut spec = with_types(spec);
    for (field, peers) in [("ingress", "from"), ("egress", "to")] {
        let Some(rules) = spec.get_mut(field).and_then(Value::as_array_mut) else { continue };
        rules.retain_mut(|rule| {
            let Some(list) = rule.get_mut(peers).and_then(Value::as_array_mut) else { return true };
            let before = list.len();
            list.retain(|peer| peer.get("ipBlock").is_none());
            before == 0 || !list.is_empty()
        });
    }
    spec
}

/// The policy with its types written out, so that taking a rule away does not change them.
pub(super) fn with_types(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if spec.is_object() && spec["policyTypes"].as_array().is_none_or(Vec::is_empty) {
        let egress = spec["egress"].as_array().is_some_and(|rules| !rules.is_empty());
        spec["policyTypes"] =
            if egress { serde_json::json!(["Ingress", "Egress"]) } else { serde_json::json!(["Ingress"]) };
    }
    spec
}

impl Relation {
    /// What the policies allow on the grid.
    pub(super) fn of(topology: &Topology, specs: &Specs, grid: &Grid) -> Self {
        let (whole, between_pods) = (read(specs, true), read(specs, false));
        let whole: Vec<&Policy> = whole.iter().collect();
        let between_pods: Vec<&Policy> = between_pods.iter().collect();
        let mut relation = Self::default();
        let places = (0..topology.kinds.len()).map(Place::Pod);
        let places: Vec<Place> = places.chain((0..grid.addresses.len()).map(Place::Outside)).collect();
        for (from, to) in places.iter().flat_map(|from| places.iter().map(move |to| (*from, *to))) {
            let policies = match (from, to) {
                (Place::Outside(_), Place::Outside(_)) => continue,
                // A pod of a kind reaches another of the same kind, if there is one.
                (Place::Pod(from), Place::Pod(to)) if from == to && topology.counts[from] < 2 => continue,
                (Place::Pod(_), Place::Pod(_)) => &between_pods,
                _ => &whole,
            };
            for (protocol, port) in
                Protocol::ALL.iter().flat_map(|one| grid.ports.iter().map(move |port| (*one, *port)))
            {
                relation.ask(topology, grid, policies, (from, to, protocol, port));
            }
        }
        relation
    }

    fn ask(
        &mut self,
        topology: &Topology,
        grid: &Grid,
        policies: &[&Policy],
        asked: (Place, Place, Protocol, u16),
    ) {
        let (from, to, protocol, port) = asked;
        let end = |place| match place {
            Place::Pod(kind) => End::Pod(&topology.kinds[kind], None),
            Place::Outside(index) => End::Outside(grid.addresses[index]),
        };
        let mut other;
        let mut to_end = end(to);
        if from == to
            && let Place::Pod(kind) = to
        {
            other = topology.kinds[kind].clone();
            other.name.push_str("-2");
            to_end = End::Pod(&other, None);
        }
        let ruling =
            decide(policies, Nodes { known: &[], all: true }, &flow(end(from), to_end, protocol, port));
        match ruling.decision {
            Decision::Allowed => {
                self.allowed.insert(asked);
                if by_rule(&ruling) {
                    self.explicit.insert(asked);
                }
            }
            Decision::Denied => {}
            Decision::Unknown => self.unknown += 1,
        }
    }
}

fn by_rule(ruling: &Ruling) -> bool {
    ruling.reasons().iter().any(|reason| reason.effect == Effect::Allow)
}
