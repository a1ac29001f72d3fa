//! H05: pods that join the cluster DNS service, writes to that service, and what runs as the DNS server.
//!
//! Enters: steps and the cluster before them; leaves: drafts. Deliberately absent: scaling, roll-outs of CoreDNS
//! itself, approved requesters, environments (never held), and metadata that nobody in the audit log wrote.

use truename_model::object::{Controller, Service};
use truename_model::{ChangeKind, Profile, RuleMeta, Severity};

use super::log::{Key, LivingPod, State, Step, is_approved, repository, takes};
use crate::facts::Draft;
use crate::text::glob;

/// Namespaces that installers put cluster DNS into.
const NAMESPACES: [&str; 2] = ["kube-system", "openshift-dns"];
/// Names that installers give to the DNS service.
const SERVICES: [&str; 4] = ["kube-dns", "coredns", "rke2-coredns-rke2-coredns", "dns-default"];
/// How owners and images of genuine DNS pods are called.
const SERVERS: [&str; 5] = ["coredns", "kube-dns", "node-local-dns", "nodelocaldns", "k8s-dns"];

/// True for the Service that pods send their lookups to.
pub(crate) fn is_dns_service(key: &Key) -> bool {
    NAMESPACES.contains(&key.0.as_str()) && SERVICES.contains(&key.1.as_str())
}

/// The DNS services among the services of a cluster, in order, without a look at the others.
fn dns_services(state: &State) -> impl Iterator<Item = &Service> {
    let of = |namespace: &str| {
        let from = (namespace.to_owned(), String::new());
        let namespace = namespace.to_owned();
        state.services.range(from..).take_while(move |(key, _)| key.0 == namespace)
    };
    let all = NAMESPACES.into_iter().flat_map(of);
    all.filter(|(key, _)| is_dns_service(key)).map(|(_, (_, service))| service)
}

/// H05 for a pod step.
pub(crate) fn pod(meta: &RuleMeta, step: &Step, state: &State, profile: &Profile) -> Option<Draft> {
    // Only what lives beside a DNS service can be selected by it.
    if step.kind == ChangeKind::Deleted || !NAMESPACES.contains(&step.meta.namespace.as_str()) {
        return None;
    }
    let selected = |labels: &truename_model::object::StringMap| {
        let known =
            state.services.iter().filter(|(key, _)| is_dns_service(key) && key.0 == step.meta.namespace);
        let mut known = known
            .map(|(_, (_, service))| &service.selector)
            .filter(|selector| !selector.is_empty())
            .peekable();
        if known.peek().is_none() {
            return step.meta.namespace == "kube-system"
                && labels.get("k8s-app").is_some_and(|app| app == "kube-dns");
        }
        known.any(|selector| takes(selector, labels))
    };
    let before = state.pods.get(&step.meta.namespace).and_then(|pods| pods.get(&step.meta.name));
    let was = before.is_some_and(|pod| pod.meta.uid == step.meta.uid && selected(&pod.meta.labels));
    if was || !selected(&step.meta.labels) {
        return None;
    }
    let pod = LivingPod { meta: step.meta.clone(), object: step.object.clone(), creator: None };
    if is_genuine(&pod, profile)
        || step.person().is_some_and(|actor| is_approved(Some(actor), &profile.approved_requesters))
    {
        return None;
    }
    let title = format!("pod {}/{} poses as a cluster DNS server", step.meta.namespace, step.meta.name);
    let mut draft = Draft::new(&meta.id, Severity::Critical, title);
    step.fill(&mut draft);
    let owner =
        pod.owner().map_or_else(|| "no controller".to_owned(), |(kind, name)| format!("{kind} {name}"));
    draft.why = format!(
        "Its labels make it an endpoint of the DNS service, and it belongs to {owner}, not to CoreDNS."
    );
    Some(draft)
}

/// True for a pod of CoreDNS itself, by its owner's name and its image.
pub(crate) fn is_genuine(pod: &LivingPod, profile: &Profile) -> bool {
    let Some((_, owner)) = pod.owner() else { return false };
    let listed = profile
        .infrastructure
        .iter()
        .any(|pattern| glob(pattern, &format!("{}/{owner}", pod.meta.namespace)));
    let images = pod.repositories();
    let by_image =
        images.is_empty() || images.iter().any(|image| is_server(image.rsplit('/').next().unwrap_or(image)));
    listed || (is_server(&owner) && by_image)
}

fn is_server(name: &str) -> bool {
    SERVERS.iter().any(|server| name.contains(server))
}

/// H05 for a step of a Service; `before` is its state before.
pub(crate) fn service(
    meta: &RuleMeta,
    step: &Step,
    service: &Service,
    state: &State,
    profile: &Profile,
) -> Option<Draft> {
    if is_approved(step.actor.as_ref(), &profile.approved_requesters) {
        return None;
    }
    let key = step.key();
    let before = state.services.get(&key).map(|(_, service)| service);
    let what = if is_dns_service(&key) {
        own_service(step, before, service)?
    } else {
        claims_address(before, service, state)?
    };
    let mut draft = Draft::new(&meta.id, Severity::Critical, format!("{} {what}", step.object_ref()));
    step.fill(&mut draft);
    draft.why = "Who controls this service or its address answers the lookups of every pod.".to_owned();
    Some(draft)
}

fn own_service(step: &Step, before: Option<&Service>, after: &Service) -> Option<&'static str> {
    // What exists when the evidence begins, and the first creation, are how the cluster was set up.
    let before = before?;
    if step.kind == ChangeKind::Deleted {
        return Some("(the cluster DNS service) was deleted");
    }
    let changed = |differs: bool, what: &'static str| differs.then_some(what);
    changed(before.selector != after.selector, "(the cluster DNS service) got another selector")
        .or_else(|| {
            changed(before.cluster_ips != after.cluster_ips, "(the cluster DNS service) got another address")
        })
        .or_else(|| {
            changed(before.service_type != after.service_type, "(the cluster DNS service) got another type")
        })
        .or_else(|| changed(before.ports != after.ports, "(the cluster DNS service) got other ports"))
        .or_else(|| {
            changed(
                before.external_ips != after.external_ips,
                "(the cluster DNS service) got external addresses",
            )
        })
        // The catalogue counts every write; only of the audit log is it known that somebody wrote.
        .or_else(|| changed(step.person().is_some(), "(the cluster DNS service) was written to"))
}

fn claims_address(before: Option<&Service>, after: &Service, state: &State) -> Option<&'static str> {
    let dns: Vec<&String> =
        dns_services(state).flat_map(|service| &service.cluster_ips).filter(|ip| *ip != "None").collect();
    let claims = |service: &Service| {
        let other = service.external_ips.iter().chain(&service.load_balancer_ips).map(ToString::to_string);
        other.chain(service.cluster_ips.iter().cloned()).any(|ip| dns.contains(&&ip))
    };
    (claims(after) && !before.is_some_and(claims)).then_some("claims the address of the cluster DNS service")
}

/// True for the Deployment or DaemonSet of CoreDNS itself.
pub(crate) fn is_server_workload(step: &Step, kind: &str) -> bool {
    NAMESPACES.contains(&step.meta.namespace.as_str())
        && matches!(kind, "Deployment" | "DaemonSet")
        && is_server(&step.meta.name)
}

/// H05 for the Deployment or DaemonSet of CoreDNS itself: image, command, arguments or volumes became others.
pub(crate) fn controller(
    meta: &RuleMeta,
    step: &Step,
    before: Option<&Controller>,
    after: &Controller,
    profile: &Profile,
) -> Option<Draft> {
    let before = before?;
    let gone = step.kind == ChangeKind::Deleted;
    if gone || is_approved(step.actor.as_ref(), &profile.approved_requesters) {
        return None;
    }
    let same_program = |image: &String| before.images.iter().any(|old| repository(old) == repository(image));
    let other_program = after.images.iter().find(|image| !same_program(image));
    let mut changed = Vec::new();
    for (what, old, new) in [
        ("image", &before.images, &after.images),
        ("command", &before.args, &after.args),
        ("volumes", &before.volumes, &after.volumes),
    ] {
        changed.extend(difference(what, old, new));
    }
    // A new tag of the same image and nothing else is how an upgrade looks.
    let upgrade = other_program.is_none() && before.args == after.args && before.volumes == after.volumes;
    let (severity, title) = match other_program {
        _ if changed.is_empty() => return None,
        Some(_) => (Severity::Critical, "runs another program as the cluster DNS server"),
        None if upgrade => (Severity::Medium, "runs another version of the cluster DNS server"),
        None => (Severity::Critical, "runs the cluster DNS server in another way"),
    };
    let mut draft = Draft::new(&meta.id, severity, format!("{} {title}", step.object_ref()));
    step.fill(&mut draft);
    draft.why = format!("{}.", changed.join("; "));
    if upgrade {
        draft.graded.push("only the tag of the same image changed, as an upgrade does".to_owned());
    }
    Some(draft)
}

/// What is new and what is gone, in one phrase; order does not count.
fn difference(what: &str, old: &[String], new: &[String]) -> Option<String> {
    let only = |of: &[String], other: &[String]| -> Vec<String> {
        of.iter().filter(|text| !other.contains(text)).take(4).cloned().collect()
    };
    let (added, removed) = (only(new, old), only(old, new));
    let none = |texts: &[String]| if texts.is_empty() { "none".to_owned() } else { texts.join(", ") };
    (!(added.is_empty() && removed.is_empty()))
        .then(|| format!("Its {what} became {}; before: {}", none(&added), none(&removed)))
}
