//! H03: endpoints written by hand into a service; H17: slices without a Service, which silence reverse names; the
//! part of H05 that concerns slices of the DNS service.
//!
//! Enters: slice steps and the cluster as it stood; leaves: drafts. Deliberately absent: services without a selector
//! by design, whose endpoints are kept by hand.

use std::collections::BTreeMap;
use std::net::IpAddr;

use truename_model::object::{EndpointSlice, Service};
use truename_model::{ChangeKind, Nanos, Object, Profile, RuleMeta, Severity};

use super::dns::is_dns_service;
use super::lineage::Lineages;
use super::log::{Key, State, Step, is_approved, takes};
use crate::facts::Draft;
use crate::rules::bounded::limit;
use crate::rules::ranges::{Place, Ranges, is_local_only};

/// Addresses of one slice that are looked at; the API allows 1,000 endpoints.
const ADDRESSES_MAX: usize = 1_024;
const CONTROLLERS: [&str; 2] =
    ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];

/// The service that a slice belongs to by its label; legacy Endpoints belong by name.
pub(crate) fn service_of(step: &Step, slice: &EndpointSlice) -> Option<Key> {
    if slice.legacy {
        return Some(step.key());
    }
    let name = step.meta.labels.get("kubernetes.io/service-name").filter(|name| !name.is_empty())?;
    Some((step.meta.namespace.clone(), name.clone()))
}

/// True if a controller of the cluster, or an approved requester, stands behind this version.
pub(crate) fn is_made_by_controller(step: &Step, slice: &EndpointSlice, profile: &Profile) -> bool {
    // The API server keeps its own endpoints.
    if step.meta.namespace == "default" && step.meta.name.starts_with("kubernetes") && step.person().is_none()
    {
        return true;
    }
    if let Some(actor) = &step.actor {
        return is_approved(Some(actor), &profile.approved_requesters);
    }
    if slice.legacy {
        return true;
    }
    let label = step.meta.labels.get("endpointslice.kubernetes.io/managed-by").map(String::as_str);
    let owned = step.meta.owners.iter().any(|owner| matches!(owner.kind.as_str(), "Service" | "Endpoints"));
    label.is_some_and(|label| CONTROLLERS.contains(&label)) && owned
}

/// An address that does not belong into a slice, how bad that is, and why.
pub(crate) type Stranger = (IpAddr, Severity, &'static str);

/// What gives a slice away that says of itself that a controller keeps it.
pub(crate) struct Pretence {
    pub(crate) why: String,
    /// Addresses that are certainly no endpoints of the Service; empty where only the claim itself is known to lie.
    pub(crate) strangers: Vec<Stranger>,
}

/// Why a slice that says of itself that a controller keeps it cannot be the controller's. Labels and owner references
/// are its author's to choose; without the audit log only a lie gives him away.
pub(crate) fn pretence(
    step: &Step,
    slice: &EndpointSlice,
    state: &State,
    lineages: &Lineages<'_>,
    ranges: &Ranges,
) -> Option<Pretence> {
    if step.actor.is_some() || slice.legacy {
        return None;
    }
    let key = service_of(step, slice)?;
    let named = step.meta.owners.iter().find(|owner| owner.kind == "Service");
    let lie = |why: String| Some(Pretence { why, strangers: Vec::new() });
    let told = step.kind != ChangeKind::Listed;
    if let Some(owner) = named.filter(|_| told)
        && (owner.name != key.1 || lineages.is_another(&key.0, owner))
    {
        return lie(format!("it says that it is owned by Service {}, which is another object", owner.name));
    }
    let texts = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
    let ips: Vec<IpAddr> = texts.filter_map(|text| text.parse().ok()).take(ADDRESSES_MAX).collect();
    let strangers: Vec<Stranger> = ips.iter().filter_map(|ip| stranger(*ip, &key, step, lineages)).collect();
    if let Some((ip, _, what)) = strangers.first().filter(|_| named.is_some()) {
        return Some(Pretence { why: format!("{ip} {what}"), strangers });
    }
    // Endpoints of a selector are pods; those of a mirrored object are anything.
    let (_, service) = state.services.get(&key)?;
    named.filter(|_| told && !service.selector.is_empty())?;
    let outside = ips
        .iter()
        .find(|ip| ranges.place(**ip) == Place::Outside && lineages.was_never_a_pods(**ip, step.at))?;
    lie(format!("it lists {outside}, which no pod ever had"))
}

/// The address, if another pod has it for certain than one that the selector takes.
fn stranger(ip: IpAddr, key: &Key, step: &Step, lineages: &Lineages<'_>) -> Option<Stranger> {
    let holder = lineages.holder_apart(key, ip, step.at)?;
    Some(if holder == key.0 {
        (ip, Severity::High, "is a pod that the selector does not take")
    } else {
        (ip, Severity::Critical, "is a pod of another namespace")
    })
}

/// H03 for a slice that a controller is said to keep, with these addresses in it.
pub(crate) fn foreign(
    meta: &RuleMeta,
    step: &Step,
    slice: &EndpointSlice,
    strangers: &[Stranger],
) -> Option<(Draft, Key, Vec<IpAddr>)> {
    let key = service_of(step, slice)?;
    let worst = strangers.iter().map(|(_, severity, _)| *severity).max()?;
    let title = format!("{} has endpoints that are not of service {}/{}", step.object_ref(), key.0, key.1);
    let mut draft = Draft::new(&meta.id, worst, title);
    step.fill(&mut draft);
    let reasons: Vec<String> = strangers.iter().take(8).map(|(ip, _, why)| format!("{ip} {why}")).collect();
    draft.why =
        format!("The endpoint controllers write the Service's own pods only: {}.", reasons.join("; "));
    Some((draft, key, strangers.iter().map(|(ip, ..)| *ip).collect()))
}

/// When a service lost its selector.
pub(crate) type Removed = BTreeMap<Key, (Nanos, Service)>;

/// H03 for one slice version, and whether it injects something into the service named.
pub(crate) fn injection(
    meta: &RuleMeta,
    step: &Step,
    slice: &EndpointSlice,
    state: &State,
    ranges: &Ranges,
    removed: &Removed,
) -> Option<(Draft, Key, Vec<IpAddr>)> {
    let key = service_of(step, slice)?;
    let (_, service) = state.services.get(&key)?;
    let lost = removed.get(&key).filter(|(at, _)| {
        step.at.is_none_or(|now| now.since(*at) as f64 <= limit(meta, "selector_removed_secs") * 1e9)
    });
    // A selector counts if the service has it or had it until a moment ago.
    let selector = if service.selector.is_empty() {
        lost.map(|(_, old)| &old.selector)
    } else {
        Some(&service.selector)
    };
    let (mut worst, mut bad, mut reasons) = (None, Vec::new(), Vec::new());
    for ip in
        slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses).filter_map(|text| text.parse().ok())
    {
        let Some((severity, reason)) = judge(ip, &step.meta.namespace, selector, state, ranges) else {
            continue;
        };
        worst = worst.max(Some(severity));
        bad.push(ip);
        if reasons.len() < 8 {
            reasons.push(format!("{ip} {reason}"));
        }
    }
    let title = format!("{} puts endpoints of its own into service {}/{}", step.object_ref(), key.0, key.1);
    let mut draft = Draft::new(&meta.id, worst?, title);
    step.fill(&mut draft);
    draft.why = format!("It was not written by the endpoint controllers: {}.", reasons.join("; "));
    if lost.is_some() && service.selector.is_empty() {
        draft.why.push_str(" The service had lost its selector shortly before.");
    }
    Some((draft, key, bad))
}

type Selector = truename_model::object::StringMap;

/// How bad an address in a hand-made slice is; `None`: it is one of the service's own pods, or nobody can say.
fn judge(
    ip: IpAddr,
    namespace: &str,
    selector: Option<&Selector>,
    state: &State,
    ranges: &Ranges,
) -> Option<(Severity, &'static str)> {
    if is_local_only(ip) {
        return Some((Severity::Critical, "is a loopback or link-local address"));
    }
    let selector = selector?;
    let holds = |pod: &&super::log::LivingPod| pod.pod().is_some_and(|pod| pod.ips.contains(&ip));
    let own = state.pods.get(namespace).and_then(|pods| pods.values().find(holds));
    if let Some(pod) = own {
        return (!takes(selector, &pod.meta.labels))
            .then_some((Severity::High, "is a pod that the selector does not take"));
    }
    let elsewhere = state
        .pods
        .iter()
        .filter(|(other, _)| *other != namespace)
        .any(|(_, pods)| pods.values().any(|pod| holds(&pod)));
    if elsewhere {
        return Some((Severity::Critical, "is a pod of another namespace"));
    }
    match ranges.place(ip) {
        Place::Outside => Some((Severity::Critical, "lies outside the cluster")),
        _ => Some((Severity::High, "is no pod that the selector takes")),
    }
}

/// H05 for a slice of the DNS service that no controller wrote, or that a controller's hand did not remove.
pub(crate) fn dns_slice(
    meta: &RuleMeta,
    step: &Step,
    slice: &EndpointSlice,
    profile: &Profile,
) -> Option<Draft> {
    let key = service_of(step, slice)?;
    if !is_dns_service(&key) {
        return None;
    }
    let gone = step.kind == ChangeKind::Deleted;
    // Slices go with their service and with collections; only a person's own deletion is a write of theirs.
    if gone && step.person().is_none_or(|actor| is_approved(Some(actor), &profile.approved_requesters)) {
        return None;
    }
    let what = if gone { "is removed from" } else { "adds servers to" };
    let title = format!("{} {what} the cluster DNS service", step.object_ref());
    let mut draft = Draft::new(&meta.id, Severity::Critical, title);
    step.fill(&mut draft);
    let addresses: Vec<&str> =
        slice.endpoints.iter().flat_map(|e| &e.addresses).take(8).map(String::as_str).collect();
    draft.why = if gone {
        format!(
            "No pod is sent to {} with its lookups until a controller writes it again.",
            addresses.join(", ")
        )
    } else {
        format!("Every pod may be sent to {} with its lookups.", addresses.join(", "))
    };
    Some(draft)
}

/// A slice that may silence reverse names.
#[derive(Clone, Debug)]
pub(crate) struct Orphan {
    pub(crate) step: Step,
    pub(crate) addresses: Vec<IpAddr>,
    /// Service that its label names; `None`: no label at all.
    pub(crate) service: Option<Key>,
    pub(crate) until: Option<Nanos>,
}

/// The slice as an orphan, if no Service can be behind it.
pub(crate) fn orphan(step: &Step, slice: &EndpointSlice) -> Option<Orphan> {
    if slice.legacy || slice.address_type == "FQDN" {
        return None;
    }
    let ready = slice.endpoints.iter().filter(|endpoint| endpoint.ready.unwrap_or(true));
    let addresses: Vec<IpAddr> =
        ready.flat_map(|e| &e.addresses).filter_map(|text| text.parse().ok()).take(1_024).collect();
    let service = service_of(step, slice);
    (!addresses.is_empty()).then(|| Orphan { step: step.clone(), addresses, service, until: None })
}

/// The slice of a step.
pub(crate) fn slice_of(step: &Step) -> Option<&EndpointSlice> {
    match &*step.object {
        Object::EndpointSlice(slice) => Some(slice),
        _ => None,
    }
}
