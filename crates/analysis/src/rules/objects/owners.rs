//! H04: a pod of another owner joins a service through its labels.
//!
//! Enters: pod steps, the cluster before them and the lineages of pods; leaves: drafts. Deliberately absent: roll-outs
//! (same Deployment), canaries (same images, account and application, made by the same requester), and services whose
//! pods had several owners before.

use std::collections::BTreeSet;

use truename_model::{Actor, ChangeKind, Nanos, RuleMeta, Severity};

use super::dns::{is_dns_service, is_genuine};
use super::lineage::{Around, Lineage, Top, controller_of};
use super::log::{Key, LivingPod, Step, is_approved, takes};
use crate::facts::Draft;
use crate::rules::bounded::limit;

/// Drafts for the services that the pod of `step` joins; the cluster is as it was before the step.
pub(crate) fn joins(meta: &RuleMeta, step: &Step, around: &Around<'_>) -> Vec<Draft> {
    if step.kind == ChangeKind::Deleted || step.meta.deleting.is_some() {
        return Vec::new();
    }
    let state = around.state;
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
        if !joined || known || (is_dns_service(key) && is_genuine(&newcomer, step.at, around)) {
            continue;
        }
        let backing: Vec<&LivingPod> = state
            .selected(&step.meta.namespace, selector)
            .filter(|pod| pod.meta.uid != step.meta.uid)
            .collect();
        out.extend(judge(meta, step, &newcomer, key, &backing, around));
    }
    out
}

/// A pod that a listing shows beside others: the younger one has joined.
pub(crate) fn listed(meta: &RuleMeta, step: &Step, around: &Around<'_>) -> Vec<Draft> {
    let state = around.state;
    let Some(newcomer) = state.pods.get(&step.meta.namespace).and_then(|pods| pods.get(&step.meta.name))
    else {
        return Vec::new();
    };
    let own = around.lineages.of(&newcomer.meta, step.at);
    let from = (step.meta.namespace.clone(), String::new());
    let mut out = Vec::new();
    for (key, (_, service)) in
        state.services.range(from..).take_while(|(key, _)| key.0 == step.meta.namespace)
    {
        if service.selector.is_empty()
            || !takes(&service.selector, &newcomer.meta.labels)
            || (is_dns_service(key) && is_genuine(newcomer, step.at, around))
        {
            continue;
        }
        let all = state.selected(&step.meta.namespace, &service.selector);
        let other = |pod: &&LivingPod| !is_kin(newcomer, &own, pod, step.at, around);
        let backing: Vec<&LivingPod> = all.filter(other).collect();
        let is_younger = backing.iter().all(|pod| pod.meta.created < newcomer.meta.created);
        if is_younger {
            out.extend(judge(meta, step, newcomer, key, &backing, around));
        }
    }
    out
}

/// True if both pods belong to the same controller, or are both without one.
fn is_kin(
    newcomer: &LivingPod,
    own: &Lineage,
    other: &LivingPod,
    at: Option<Nanos>,
    around: &Around<'_>,
) -> bool {
    if newcomer.meta.uid == other.meta.uid {
        return true;
    }
    match (own, own.top()) {
        (Lineage::Forged { .. }, _) => false,
        (_, Some(top)) => around.lineages.of(&other.meta, at).top().is_some_and(|theirs| top.is_same(theirs)),
        _ => around.lineages.of(&other.meta, at) == Lineage::Alone,
    }
}

/// What of the newcomer differs from the pods that were there.
#[derive(Clone, Copy)]
struct Differs {
    image: bool,
    account: bool,
}

impl Differs {
    fn of(newcomer: &LivingPod, backing: &[&LivingPod]) -> Self {
        let repositories: BTreeSet<String> = backing.iter().flat_map(|pod| pod.repositories()).collect();
        let accounts: BTreeSet<&str> =
            backing.iter().filter_map(|pod| pod.pod()).map(|pod| pod.service_account.as_str()).collect();
        Self {
            image: newcomer.repositories().iter().any(|image| !repositories.contains(image)),
            account: newcomer.pod().is_some_and(|pod| !accounts.contains(pod.service_account.as_str())),
        }
    }

    fn any(self) -> bool {
        self.image || self.account
    }

    fn text(self) -> &'static str {
        match (self.image, self.account) {
            (true, true) => ", runs another image and has another service account.",
            (true, false) => " and runs another image.",
            (false, true) => " and has another service account.",
            (false, false) => ".",
        }
    }
}

/// The pods that a newcomer is measured by, with their owner: those that have one and that nothing was said of, else
/// all. `None` if they have several.
fn measure<'a>(
    backing: &[&'a LivingPod],
    at: Option<Nanos>,
    around: &Around<'_>,
) -> Option<(Vec<&'a LivingPod>, Option<Top>)> {
    let innocent = |pod: &&&LivingPod| !around.accused.contains(&pod.meta.uid);
    let (mut owned, mut owners): (Vec<&LivingPod>, Vec<Top>) = (Vec::new(), Vec::new());
    for pod in backing.iter().filter(innocent) {
        let Some(top) = around.lineages.of(&pod.meta, at).top().cloned() else { continue };
        owned.push(pod);
        if !owners.iter().any(|known| known.is_called_like(&top)) {
            owners.push(top);
        }
        if owners.len() > 1 {
            return None;
        }
    }
    match owners.pop() {
        Some(top) => Some((owned, Some(top))),
        None if backing.is_empty() => None,
        None => Some((backing.to_vec(), None)),
    }
}

fn judge(
    meta: &RuleMeta,
    step: &Step,
    newcomer: &LivingPod,
    key: &Key,
    backing: &[&LivingPod],
    around: &Around<'_>,
) -> Option<Draft> {
    let own = around.lineages.of(&newcomer.meta, step.at);
    // Nearly all pods that join are further ones of a controller that is there.
    let is_sibling = |pod: &&LivingPod| match (controller_of(&pod.meta), controller_of(&newcomer.meta)) {
        (Some(other), Some(own)) => !own.uid.is_empty() && other.uid == own.uid,
        _ => false,
    };
    if own.top().is_some() && backing.iter().any(is_sibling) {
        return None;
    }
    let told = |pod: &&&LivingPod| around.accused.contains(&pod.meta.uid);
    // One finding is enough for all pods of a controller.
    if own.top().is_some()
        && backing.iter().filter(told).any(|pod| is_kin(newcomer, &own, pod, step.at, around))
    {
        return None;
    }
    let (backing, owner) = measure(backing, step.at, around)?;
    let differs = Differs::of(newcomer, &backing);
    let kin = backing.iter().any(|pod| is_kin(newcomer, &own, pod, step.at, around));
    // Made anew under its old name, a Deployment runs what it ran.
    let again = own.top().zip(owner.as_ref()).is_some_and(|(own, old)| own.is_called_like(old));
    if kin || (again && !differs.any()) {
        return None;
    }
    let canary = match own.top() {
        Some(top) if !differs.any() && is_same_application(newcomer, &backing) => {
            Some(canary(top, owner.as_ref(), around))
        }
        _ => None,
    };
    let severity = match canary {
        Some(Canary::SameRequester) => return None,
        // What is there when the evidence begins is how the service was set up.
        Some(Canary::Unknown) if step.kind == ChangeKind::Listed => return None,
        Some(Canary::Unknown) => Severity::Low,
        _ if differs.any() => Severity::Critical,
        _ => Severity::High,
    };
    let pod = format!("pod {}/{}", step.meta.namespace, step.meta.name);
    let title = format!("{pod} joins service {}/{} by its labels", key.0, key.1);
    let mut draft = Draft::new(&meta.id, severity, title);
    step.fill(&mut draft);
    let old = owner.map_or_else(|| "no controller".to_owned(), |top| top.to_string());
    let new = match &own {
        Lineage::Forged { claim, why } => format!("names {claim}, but {why}"),
        _ => format!("belongs to {}", own.owner_text()),
    };
    draft.why = format!("The service's pods belonged to {old}; this one {new}{}", differs.text());
    if matches!(canary, Some(Canary::Unknown)) {
        draft.graded.push("a canary looks the same, and who made the two is not in the evidence".to_owned());
    }
    settle(meta, &mut draft, &backing, step.at);
    Some(draft)
}

/// A second controller with the same images, account and application, by who made it.
#[derive(Clone, Copy)]
enum Canary {
    /// Whoever made the first, or somebody that the profile approves.
    SameRequester,
    Stranger,
    /// Not both are in the evidence.
    Unknown,
}

fn canary(own: &Top, old: Option<&Top>, around: &Around<'_>) -> Canary {
    let maker = |top: &Top| around.lineages.maker(&top.uid).cloned();
    let (own, old) = (maker(own), old.and_then(maker));
    let who = |actor: &Actor| (actor.user.clone(), actor.impersonator.clone());
    match (&own, &old) {
        (Some(_), _) if is_approved(own.as_ref(), &around.profile.approved_requesters) => {
            Canary::SameRequester
        }
        (Some(own), Some(old)) if who(own) == who(old) => Canary::SameRequester,
        (Some(_), Some(_)) => Canary::Stranger,
        _ => Canary::Unknown,
    }
}

fn is_same_application(newcomer: &LivingPod, backing: &[&LivingPod]) -> bool {
    let application = |pod: &LivingPod| {
        let labels = &pod.meta.labels;
        ["app.kubernetes.io/instance", "app.kubernetes.io/name", "app"]
            .iter()
            .find_map(|key| labels.get(*key).cloned())
    };
    let first = backing.first().and_then(|pod| application(pod));
    first.is_some() && first == application(newcomer)
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
