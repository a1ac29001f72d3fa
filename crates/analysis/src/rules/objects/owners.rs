//! H04: a pod of another owner joins a service through its labels.
//!
//! Enters: pod steps and the cluster before them; leaves: drafts. Deliberately absent: roll-outs (same Deployment),
//! canaries (same images and account, or the same requester), and services whose pods had several owners before.

use std::collections::BTreeSet;

use truename_model::{ChangeKind, Nanos, Profile, RuleMeta, Severity};

use super::dns::{is_dns_service, is_genuine};
use super::log::{Key, LivingPod, State, Step, takes};
use crate::facts::Draft;
use crate::rules::bounded::limit;

/// Drafts for the services that the pod of `step` joins; `state` is the cluster before the step.
pub(crate) fn joins(meta: &RuleMeta, step: &Step, state: &State, profile: &Profile) -> Vec<Draft> {
    if step.kind == ChangeKind::Deleted || step.meta.deleting.is_some() {
        return Vec::new();
    }
    let newcomer =
        LivingPod { meta: step.meta.clone(), object: step.object.clone(), creator: step.actor.clone() };
    let before = state.pods.get(&step.meta.namespace).and_then(|pods| pods.get(&step.meta.name));
    let before = before.filter(|pod| pod.meta.uid == step.meta.uid);
    let from = (step.meta.namespace.clone(), String::new());
    let mut out = Vec::new();
    for (key, (_, service)) in
        state.services.range(from..).take_while(|(key, _)| key.0 == step.meta.namespace)
    {
        let selector = &service.selector;
        let joined = !selector.is_empty() && takes(selector, &step.meta.labels);
        let known = before.is_some_and(|pod| takes(selector, &pod.meta.labels));
        // CoreDNS beside CoreDNS is an upgrade of the add-on.
        if !joined || known || (is_dns_service(key) && is_genuine(&newcomer, profile)) {
            continue;
        }
        let backing: Vec<&LivingPod> = state
            .selected(&step.meta.namespace, selector)
            .filter(|pod| pod.meta.uid != step.meta.uid)
            .collect();
        out.extend(judge(meta, step, &newcomer, key, &backing));
    }
    out
}

/// A pod that a listing shows beside others: the younger one has joined.
pub(crate) fn listed(meta: &RuleMeta, step: &Step, state: &State, profile: &Profile) -> Vec<Draft> {
    let Some(newcomer) = state.pods.get(&step.meta.namespace).and_then(|pods| pods.get(&step.meta.name))
    else {
        return Vec::new();
    };
    let from = (step.meta.namespace.clone(), String::new());
    let mut out = Vec::new();
    for (key, (_, service)) in
        state.services.range(from..).take_while(|(key, _)| key.0 == step.meta.namespace)
    {
        if service.selector.is_empty()
            || !takes(&service.selector, &newcomer.meta.labels)
            || (is_dns_service(key) && is_genuine(newcomer, profile))
        {
            continue;
        }
        let all = state.selected(&step.meta.namespace, &service.selector);
        let backing: Vec<&LivingPod> = all.filter(|pod| pod.owner() != newcomer.owner()).collect();
        let is_younger = backing.iter().all(|pod| pod.meta.created < newcomer.meta.created);
        if is_younger {
            out.extend(judge(meta, step, newcomer, key, &backing));
        }
    }
    out
}

fn judge(
    meta: &RuleMeta,
    step: &Step,
    newcomer: &LivingPod,
    key: &Key,
    backing: &[&LivingPod],
) -> Option<Draft> {
    let owners: BTreeSet<Option<(String, String)>> = backing.iter().map(|pod| pod.owner()).collect();
    let own = newcomer.owner();
    if owners.len() != 1 || owners.contains(&own) {
        return None;
    }
    let repositories: BTreeSet<String> = backing.iter().flat_map(|pod| pod.repositories()).collect();
    let accounts: BTreeSet<&str> =
        backing.iter().filter_map(|pod| pod.pod()).map(|pod| pod.service_account.as_str()).collect();
    let other_image = newcomer.repositories().iter().any(|image| !repositories.contains(image));
    let other_account = newcomer.pod().is_some_and(|pod| !accounts.contains(pod.service_account.as_str()));
    if own.is_some() && is_canary(newcomer, backing, other_image || other_account) {
        return None;
    }
    let severity = if other_image || other_account { Severity::Critical } else { Severity::High };
    let pod = format!("pod {}/{}", step.meta.namespace, step.meta.name);
    let title = format!("{pod} joins service {}/{} by its labels", key.0, key.1);
    let mut draft = Draft::new(&meta.id, severity, title);
    step.fill(&mut draft);
    let old = owners
        .into_iter()
        .next()
        .flatten()
        .map_or_else(|| "no controller".to_owned(), |(kind, name)| format!("{kind} {name}"));
    let new = own.map_or_else(|| "no controller".to_owned(), |(kind, name)| format!("{kind} {name}"));
    draft.why = format!("The service's pods belonged to {old}; this one belongs to {new}");
    draft.why.push_str(match (other_image, other_account) {
        (true, true) => ", runs another image and has another service account.",
        (true, false) => " and runs another image.",
        (false, true) => " and has another service account.",
        (false, false) => ".",
    });
    settle(meta, &mut draft, backing, step.at);
    Some(draft)
}

/// A second controller with the same images, account and application name is a canary, unless somebody else made it.
fn is_canary(newcomer: &LivingPod, backing: &[&LivingPod], differs: bool) -> bool {
    let application = |pod: &LivingPod| {
        let labels = &pod.meta.labels;
        ["app.kubernetes.io/instance", "app.kubernetes.io/name", "app"]
            .iter()
            .find_map(|key| labels.get(*key).cloned())
    };
    !differs
        && backing
            .first()
            .is_some_and(|pod| application(pod).is_some() && application(pod) == application(newcomer))
}

/// Full severity needs an hour with one owner.
fn settle(meta: &RuleMeta, draft: &mut Draft, backing: &[&LivingPod], at: Option<Nanos>) {
    let oldest = backing.iter().filter_map(|pod| pod.meta.created).min();
    let secs = match (oldest, at) {
        (Some(oldest), Some(at)) => at.since(oldest).max(0) / 1_000_000_000,
        _ => 0,
    };
    if (secs as f64) < limit(meta, "settled_secs") {
        draft.severity = draft.severity.lowered();
        draft
            .graded
            .push(format!("the service had its one owner for {} min only, not for an hour", secs / 60));
    }
}
