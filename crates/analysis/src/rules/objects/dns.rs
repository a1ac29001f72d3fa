//! H05: pods that join the cluster DNS service, writes to that service, and what runs as the DNS server.
//!
//! Enters: steps, the cluster before them and the lineages of pods; leaves: drafts. Deliberately absent: scaling,
//! roll-outs of CoreDNS itself, approved requesters, environments (never held), and metadata that nobody in the audit log wrote.

use std::collections::{BTreeMap, BTreeSet};

use truename_model::object::{Controller, Service};
use truename_model::{ChangeKind, Nanos, Profile, RuleMeta, Severity};

use super::lineage::{Around, Lineage, Top};
use super::log::{Key, LivingPod, State, Step, is_approved, repository, takes};
use crate::facts::Draft;
use crate::text::glob;

/// Namespaces that installers put cluster DNS into.
const NAMESPACES: [&str; 2] = ["kube-system", "openshift-dns"];
/// Names that installers give to the DNS service.
const SERVICES: [&str; 4] = ["kube-dns", "coredns", "rke2-coredns-rke2-coredns", "dns-default"];
/// How owners and images of genuine DNS pods are called.
const SERVERS: [&str; 6] =
    ["coredns", "kube-dns", "node-local-dns", "nodelocaldns", "k8s-dns", "dns-default"];

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
pub(crate) fn pod(meta: &RuleMeta, step: &Step, around: &Around<'_>) -> Option<Draft> {
    // Only what lives beside a DNS service can be selected by it.
    if step.kind == ChangeKind::Deleted || !NAMESPACES.contains(&step.meta.namespace.as_str()) {
        return None;
    }
    let pod = LivingPod { meta: step.meta.clone(), object: step.object.clone(), creator: None };
    let namespace = &step.meta.namespace;
    let before = around.state.pods.get(namespace).and_then(|pods| pods.get(&step.meta.name));
    let was = before.filter(|pod| pod.meta.uid == step.meta.uid && is_selected(pod, around.state));
    // What runs in a pod may be changed while it lives.
    let same = was.is_some_and(|old| old.repositories() == pod.repositories());
    if same || !is_selected(&pod, around.state) {
        return None;
    }
    if step.person().is_some_and(|actor| is_approved(Some(actor), &around.profile.approved_requesters)) {
        return None;
    }
    let doubt = doubt(&pod, step.at, around)?;
    let title = format!("pod {}/{} poses as a cluster DNS server", step.meta.namespace, step.meta.name);
    let mut draft = Draft::new(&meta.id, doubt.severity, title);
    step.fill(&mut draft);
    draft.why = format!("Its labels make it an endpoint of the DNS service, and {}.", doubt.why);
    draft.graded.extend(doubt.graded);
    Some(draft)
}

/// True if a DNS service of its namespace selects the pod; where none is known, by the label of most installers.
fn is_selected(pod: &LivingPod, state: &State) -> bool {
    let labels = &pod.meta.labels;
    let from = (pod.meta.namespace.clone(), String::new());
    let mut known = state
        .services
        .range(from..)
        .take_while(|(key, _)| key.0 == pod.meta.namespace)
        .filter(|(key, (_, service))| is_dns_service(key) && !service.selector.is_empty())
        .map(|(_, (_, service))| &service.selector)
        .peekable();
    if known.peek().is_none() {
        return pod.meta.namespace == "kube-system"
            && labels.get("k8s-app").is_some_and(|app| app == "kube-dns");
    }
    known.any(|selector| takes(selector, labels))
}

/// True for a pod of CoreDNS itself.
pub(crate) fn is_genuine(pod: &LivingPod, at: Option<Nanos>, around: &Around<'_>) -> bool {
    doubt(pod, at, around).is_none()
}

/// Why a pod behind the DNS service is not one of CoreDNS itself, as a clause about it.
struct Doubt {
    severity: Severity,
    why: String,
    graded: Option<String>,
}

impl Doubt {
    fn certain(why: String) -> Self {
        Self { severity: Severity::Critical, why, graded: None }
    }
}

fn doubt(pod: &LivingPod, at: Option<Nanos>, around: &Around<'_>) -> Option<Doubt> {
    let lineage = around.lineages.of(&pod.meta, at);
    let top = match &lineage {
        Lineage::Forged { claim, why } => {
            return Some(Doubt::certain(format!("it names {claim} as its controller, but {why}")));
        }
        Lineage::Alone => None,
        Lineage::Proven(top) | Lineage::Claimed(top) => Some(top),
    };
    let full = |top: &Top| format!("{}/{}", pod.meta.namespace, top.name);
    let listed = |top: &Top| around.profile.infrastructure.iter().any(|pattern| glob(pattern, &full(top)));
    if top.is_some_and(listed) {
        return None;
    }
    let Some(top) = top.filter(|top| is_server(&top.name)) else {
        return Some(Doubt::certain(format!("it belongs to {}, not to CoreDNS", lineage.owner_text())));
    };
    let others = other_servers(pod, at, top, around);
    newcomer(top, &others, around)
        .or_else(|| stranger(pod, top, &others, around))
        .or_else(|| strange_image(pod, &lineage, &others, around))
}

/// The other pods behind the DNS services of the namespace that are what they say, with their owners.
fn other_servers<'a>(
    pod: &LivingPod,
    at: Option<Nanos>,
    top: &Top,
    around: &'a Around<'_>,
) -> Vec<(&'a LivingPod, Top)> {
    let pods = around.state.pods.get(&pod.meta.namespace).into_iter().flat_map(BTreeMap::values);
    let others = pods.filter(|other| {
        other.meta.uid != pod.meta.uid
            && !around.accused.contains(&other.meta.uid)
            && is_selected(other, around.state)
    });
    let owned = others.filter_map(|other| {
        let owner = around.lineages.of(&other.meta, at).top()?.clone();
        (is_server(&owner.name) && (owner == *top || !around.lineages.is_born(&owner.uid)))
            .then_some((other, owner))
    });
    owned.collect()
}

/// A workload that was made before our eyes, while another already served.
fn newcomer(top: &Top, others: &[(&LivingPod, Top)], around: &Around<'_>) -> Option<Doubt> {
    if !around.lineages.is_born(&top.uid) || others.iter().all(|(_, owner)| owner == top) {
        return None;
    }
    let maker = around.lineages.maker(&top.uid);
    let why = format!("it belongs to {top}, which was made while other servers answered");
    match maker {
        Some(maker) if is_approved(Some(maker), &around.profile.approved_requesters) => None,
        Some(maker) => Some(Doubt::certain(format!("{why}, by {}", maker.user))),
        None => Some(Doubt {
            severity: Severity::High,
            why,
            graded: Some("who made it is not in the evidence; an upgrade may, too".to_owned()),
        }),
    }
}

/// A workload with another program than that of an older one.
fn stranger(pod: &LivingPod, top: &Top, others: &[(&LivingPod, Top)], around: &Around<'_>) -> Option<Doubt> {
    let older = || others.iter().filter(|(_, owner)| around.lineages.is_younger(&top.uid, &owner.uid));
    let (_, first) = older().next()?;
    let images = pod.repositories();
    let foreign = older().all(|(other, _)| other.repositories().iter().all(|image| !images.contains(image)));
    (foreign && !images.is_empty()).then(|| Doubt {
        severity: Severity::High,
        why: format!("it belongs to {top}, which is younger than {first} and runs another image"),
        graded: None,
    })
}

/// An image that neither the controller's template nor the other servers have.
fn strange_image(
    pod: &LivingPod,
    lineage: &Lineage,
    others: &[(&LivingPod, Top)],
    around: &Around<'_>,
) -> Option<Doubt> {
    let images = pod.repositories();
    let beside: BTreeSet<String> = others.iter().flat_map(|(other, _)| other.repositories()).collect();
    let runs = |image: &String| format!("it runs {image}, which no other of them does");
    if let (Lineage::Proven(top), Some(template)) = (lineage, around.lineages.template(&pod.meta)) {
        let known = |image: &&String| template.contains(*image) || beside.contains(*image);
        // With no other server to compare with, more containers than the template has may have been injected.
        let foreign = images.iter().find(|image| !known(image));
        let foreign = foreign.filter(|_| !beside.is_empty() || !images.iter().any(|image| known(&image)));
        return foreign.map(|image| Doubt {
            severity: Severity::High,
            why: format!("it belongs to {top}, but runs {image}, which that does not start"),
            graded: None,
        });
    }
    let first = images.first()?;
    if !beside.is_empty() {
        return (!images.iter().any(|image| beside.contains(image))).then(|| Doubt {
            severity: Severity::Medium,
            why: runs(first),
            graded: Some("its controller is not in the evidence; an upgrade changes images, too".to_owned()),
        });
    }
    let named = images.iter().any(|image| is_server(image.rsplit('/').next().unwrap_or(image)));
    // OpenShift's images bear no names.
    (!named && pod.meta.namespace != "openshift-dns").then(|| Doubt {
        severity: Severity::Critical,
        why: format!("it runs {first}, not CoreDNS"),
        graded: None,
    })
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
