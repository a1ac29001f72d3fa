//! H08 for what stood in the configuration before the evidence begins: lines that answer for a Service of the cluster with
//! something else than the Service is. Also for a write of which the audit log keeps nothing.
//!
//! Enters: the first version of a map and the Services of the evidence; leaves: drafts, one grade lower and told why.
//! Deliberately absent: lines about any other name, which only a change makes remarkable.

use std::collections::BTreeSet;
use std::net::IpAddr;

use truename_cluster::corefile::{CorefileChange, Hit, Topic};
use truename_model::{ChangeKind, Name, RuleMeta, Severity};

use super::corefile::{Targets, Version, additions, is_allowed, line};
use super::log::{State, Step};
use crate::facts::Draft;
use crate::rules::names::shown;

/// Services tried.
const SERVICES_MAX: usize = 4_096;

/// A Service as its name should answer.
pub(crate) struct Known {
    name: Name,
    ips: Vec<IpAddr>,
}

/// The Services of a cluster with zone `zone`: their own addresses, and those of the pods behind them.
pub(crate) fn known(zone: &Name, state: &State) -> Vec<Known> {
    let one =
        |((namespace, service), (_, object)): (&(String, String), &(_, truename_model::object::Service))| {
            let name = Name::parse(&format!("{service}.{namespace}.svc.{zone}")).ok()?;
            let pods = state.selected(namespace, &object.selector).filter_map(|pod| pod.pod());
            let ips = object.cluster_ips.iter().filter_map(|text| text.parse().ok());
            Some(Known { name, ips: ips.chain(pods.flat_map(|pod| pod.ips.clone())).collect() })
        };
    state.services.iter().take(SERVICES_MAX).filter_map(one).collect()
}

/// Draft for the first version of a map, and the numbers of the lines that it is about.
pub(crate) fn standing(
    meta: &RuleMeta,
    first: &Version,
    services: &[Known],
    targets: &Targets<'_>,
) -> Option<(Draft, BTreeSet<u32>)> {
    if is_allowed(first, targets.profile) {
        return None;
    }
    let zone = targets.zone?;
    let mut said = Vec::new();
    let mut lines = BTreeSet::new();
    for change in first.parsed.as_ref().map(|parsed| additions(parsed)).unwrap_or_default() {
        if let Some(service) = services.iter().find(|service| usurps(&change, service, zone)) {
            said.push(format!("{} (for {})", line(&change, "", &first.text), shown(&service.name)));
            lines.insert(change.line);
        }
    }
    for (key, text) in &first.items {
        let found =
            text.lines().find_map(|line| services.iter().find(|service| is_hosts_line(line, service)));
        said.extend(found.map(|service| format!("item `{key}` (for {})", shown(&service.name))));
    }
    if said.is_empty() {
        return None;
    }
    let title = format!("{} answers for Services of the cluster", first.step.object_ref());
    let mut draft = Draft::new(&meta.id, Severity::Critical, title);
    first.step.fill(&mut draft);
    said.truncate(12);
    draft.why = format!("It gives something else than the Services are: {}.", said.join(" | "));
    if first.step.kind == ChangeKind::Listed {
        draft.severity = draft.severity.lowered();
        draft.graded.push(
            "it stood there before the evidence begins: who wrote it, and whether it is wanted, is not known"
                .to_owned(),
        );
    }
    Some((draft, lines))
}

/// Draft for a write whose content is not kept.
pub(crate) fn unseen(meta: &RuleMeta, step: &Step) -> Draft {
    let mut draft = Draft::new(&meta.id, Severity::Critical, format!("{} was written to", step.object_ref()));
    step.fill(&mut draft);
    draft.why = "It says how the cluster answers. Its author is not approved.".to_owned();
    draft.severity = draft.severity.lowered();
    draft.graded.push("what was written is not known: the audit log keeps no body of it, or so many patches that they are not followed".to_owned());
    draft
}

/// True if the line answers for the Service with something else.
fn usurps(change: &CorefileChange, service: &Known, zone: &Name) -> bool {
    let hits = || change.hits.iter().any(|hit| hit.matches(&service.name) == Some(true));
    let mut words = change.text.split_whitespace();
    match change.topic {
        Topic::Hosts => {
            let given = words.next().and_then(|word| word.parse::<IpAddr>().ok());
            given.is_some_and(|ip| !service.ips.contains(&ip)) && hits()
        }
        // Without an answer of its own it only denies a type, as many do for AAAA.
        Topic::Template => words.any(|word| word == "answer") && hits(),
        Topic::Rewrite => {
            let mut what = words.skip_while(|word| matches!(*word, "rewrite" | "continue" | "stop" | "{"));
            matches!(what.next(), Some("name" | "cname")) && hits()
        }
        // The zone itself is commonly handed on, by a cache on the node for one.
        Topic::Forward | Topic::ZoneData => change.hits.iter().any(|hit| match hit {
            Hit::Below(part) => {
                part != zone && part.is_at_or_below(zone) && service.name.is_at_or_below(part)
            }
            _ => false,
        }),
        _ => false,
    }
}

/// True if a line of a hosts file gives the Service's name another address.
fn is_hosts_line(line: &str, service: &Known) -> bool {
    let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
    let Some(ip) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { return false };
    !service.ips.contains(&ip) && words.any(|word| Name::parse(word).is_ok_and(|name| name == service.name))
}
