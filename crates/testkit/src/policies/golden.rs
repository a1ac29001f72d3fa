//! Connectivity maps as network-config-analyzer prints them, read back.
//!
//! Enters: the printed text; leaves: lines of (source, destination, connections) with names of pods and ranges of
//! addresses expanded. Lines about pods that the tool made up (`-livesim`) are left out.

use std::collections::BTreeSet;
use std::net::IpAddr;

use truename_cluster::policy::Protocol;
use truename_model::object::StringMap;

use super::relation::{Grid, Place};
use super::topology::Topology;

type Connection = (Place, Place, Protocol, u16);

/// Reads one map; `None`: it has a form that is not known.
pub(super) fn read(text: &str, topology: &Topology, grid: &Grid) -> Option<BTreeSet<Connection>> {
    let mut connections = BTreeSet::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains("-livesim")) {
        let (from, to, ports) = match line.split_once(" => ") {
            Some((from, rest)) => {
                let (to, ports) = rest.split_once(" : ")?;
                (named(from.trim(), topology, grid)?, named(to.trim(), topology, grid)?, ports)
            }
            None => {
                let (ends, ports) = line.split_once(" conn: ")?;
                let split = ends.find(" dst_ns: ").or_else(|| ends.find(" dst: "))?;
                (grouped(&ends[..split], topology, grid)?, grouped(&ends[split..], topology, grid)?, ports)
            }
        };
        let ports = classes(ports.trim(), grid)?;
        for (from, to) in from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to))) {
            let same = |kind: usize| topology.counts[kind] < 2;
            if from == to && matches!(from, Place::Pod(kind) if same(kind)) {
                continue;
            }
            connections.extend(ports.iter().map(|(protocol, port)| (from, to, *protocol, *port)));
        }
    }
    Some(connections)
}

/// `namespace/workload[Kind]`, an address, a block or a range of addresses.
fn named(text: &str, topology: &Topology, grid: &Grid) -> Option<Vec<Place>> {
    if text.contains('[') {
        let kinds: BTreeSet<usize> =
            topology.pods.iter().filter(|pod| pod.workload == text).map(|pod| pod.kind).collect();
        return (!kinds.is_empty()).then(|| kinds.into_iter().map(Place::Pod).collect());
    }
    addresses(text, grid)
}

fn addresses(text: &str, grid: &Grid) -> Option<Vec<Place>> {
    let within: Box<dyn Fn(IpAddr) -> bool> = if text == "0.0.0.0/0" {
        Box::new(|ip| ip.is_ipv4())
    } else if let Some((first, last)) = text.split_once('-') {
        let (first, last): (IpAddr, IpAddr) = (first.parse().ok()?, last.parse().ok()?);
        Box::new(move |ip| first <= ip && ip <= last && ip.is_ipv4() == first.is_ipv4())
    } else if text.contains('/') {
        let block = truename_cluster::policy::cidr::Cidr::parse(text).ok()?;
        Box::new(move |ip| block.contains(ip))
    } else {
        let one: IpAddr = text.parse().ok()?;
        Box::new(move |ip| ip == one)
    };
    let hit = grid.addresses.iter().enumerate().filter(|(_, ip)| within(**ip));
    Some(hit.map(|(index, _)| Place::Outside(index)).collect())
}

/// `src_ns: [a,b] src_pods: [*]`, `src: 0.0.0.0/0`, the same with `dst`.
fn grouped(text: &str, topology: &Topology, grid: &Grid) -> Option<Vec<Place>> {
    let text = text.trim();
    if let Some(blocks) = text.strip_prefix("src: ").or_else(|| text.strip_prefix("dst: ")) {
        let each: Option<Vec<_>> = blocks.split(',').map(|block| addresses(block.trim(), grid)).collect();
        return each.map(|each| each.concat());
    }
    let bracket = |label: &str| {
        let rest = text.split_once(label)?.1;
        rest.strip_prefix('[')?.split_once(']').map(|it| it.0)
    };
    let namespaces: Vec<&str> = bracket("_ns: ")?.split(',').collect();
    let wanted = bracket("_pods: ")?;
    let mut kinds = BTreeSet::new();
    for pod in &topology.pods {
        let kind = &topology.kinds[pod.kind];
        if namespaces.contains(&kind.namespace.as_str()) && selects(wanted, &pod.workload, kind)? {
            kinds.insert(pod.kind);
        }
    }
    Some(kinds.into_iter().map(Place::Pod).collect())
}

/// `*`, names of workloads, or an expression over labels.
fn selects(wanted: &str, workload: &str, kind: &super::cast::Member) -> Option<bool> {
    if wanted == "*" {
        return Some(true);
    }
    if wanted.contains(['(', '!', '=']) {
        return holds(wanted, &kind.labels);
    }
    if wanted.contains(':') {
        return None;
    }
    let name = workload.split_once('/').and_then(|(_, rest)| rest.split_once('[')).map(|it| it.0)?;
    Some(wanted.split(',').any(|one| one.trim() == name))
}

/// `A and B`, `A or B`, `(A)`, `{A}`, `!has(key)`, `key=value`, `key!=value`, `key in (a,b)`; `None`: something else.
fn holds(text: &str, labels: &StringMap) -> Option<bool> {
    let text = text.trim();
    for (word, any) in [(" or ", true), (" and ", false)] {
        let parts = outside_of_brackets(text, word);
        if parts.len() > 1 {
            let each: Option<Vec<bool>> = parts.iter().map(|part| holds(part, labels)).collect();
            return each.map(|each| if any { each.contains(&true) } else { !each.contains(&false) });
        }
    }
    for (open, close) in [('(', ')'), ('{', '}')] {
        if let Some(inner) = text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close)) {
            return holds(inner, labels);
        }
    }
    if let Some(key) = text.strip_prefix("!has(").and_then(|rest| rest.strip_suffix(')')) {
        return Some(!labels.contains_key(key));
    }
    if let Some(key) = text.strip_prefix("has(").and_then(|rest| rest.strip_suffix(')')) {
        return Some(labels.contains_key(key));
    }
    if let Some((key, values)) = text.split_once(" in (") {
        let value = labels.get(key.trim());
        let values = values.strip_suffix(')')?;
        return Some(value.is_some_and(|value| values.split(',').any(|one| one.trim() == value)));
    }
    if let Some((key, value)) = text.split_once("!=") {
        return Some(labels.get(key).is_none_or(|found| found != value));
    }
    let (key, value) = text.split_once('=')?;
    Some(labels.get(key).is_some_and(|found| found == value))
}

/// The parts of a text between the occurrences of a word that no bracket encloses.
fn outside_of_brackets<'t>(text: &'t str, word: &str) -> Vec<&'t str> {
    let (mut parts, mut depth, mut begun) = (Vec::new(), 0i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' | '{' => depth += 1,
            ')' | '}' => depth -= 1,
            ' ' if depth == 0 && text[at..].starts_with(word) && at >= begun => {
                parts.push(&text[begun..at]);
                begun = at + word.len();
            }
            _ => {}
        }
    }
    parts.push(&text[begun..]);
    parts
}

/// `All connections` or `{protocols:TCP,dst_ports:80-81}`.
fn classes(text: &str, grid: &Grid) -> Option<Vec<(Protocol, u16)>> {
    if text == "All connections" {
        let each = Protocol::ALL.iter().flat_map(|one| grid.ports.iter().map(move |port| (*one, *port)));
        return Some(each.collect());
    }
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let protocol = Protocol::parse(inner.strip_prefix("protocols:")?.split(',').next()?)?;
    let ports = inner.split_once("dst_ports:")?.1;
    let mut out = Vec::new();
    for range in ports.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        out.extend(
            grid.ports.iter().filter(|port| (first..=last).contains(*port)).map(|port| (protocol, *port)),
        );
    }
    Some(out)
}
