//! Owner references that lie, and those that do not (H04, H05): each attack beside the genuine change that looks most
//! like it. Enters: objects written by hand; leaves: findings.

use std::sync::Arc;

use truename_model::object::{Controller, OwnerRef, Pod};
use truename_model::{ChangeKind, Finding, Meta, Object, Severity};

use super::changes::*;
use super::fixture::*;

const RS_MAKER: &str = "system:serviceaccount:kube-system:replicaset-controller";
const DEPLOYER: &str = "system:serviceaccount:kube-system:deployment-controller";

/// A controller called `name` with this UID, owned by `parent` (kind, name, UID).
fn controller_of(space: &str, kind: &str, name: &str, parent: Option<(&str, &str, &str)>) -> (Meta, Object) {
    let image = if space == "kube-system" { COREDNS } else { "registry.example/db:1" };
    let object =
        Object::Controller(kind.into(), Controller { images: vec![image.into()], ..Controller::default() });
    let uid = format!("{}-{name}", kind.to_lowercase());
    let mut made = Meta { uid, ..meta(space, name, &[]) };
    made.owners.extend(parent.map(|(kind, name, uid)| reference(kind, name, uid)));
    (made, object)
}

fn reference(kind: &str, name: &str, uid: &str) -> OwnerRef {
    OwnerRef { kind: kind.into(), name: name.into(), uid: uid.into(), controller: true }
}

fn told(secs: f64, kind: ChangeKind, user: &str, (meta, object): (Meta, Object)) -> Owned {
    Owned::Change(change(secs, kind, user, meta, object))
}

/// A Deployment with its ReplicaSet, there from the beginning.
fn deployment(space: &str, name: &str) -> Vec<Owned> {
    let uid = format!("deployment-{name}");
    let old = |(mut meta, object): (Meta, Object)| {
        meta.created = Some(truename_model::Nanos(START - 9_000_000_000_000));
        (meta, object)
    };
    vec![
        told(-30.0, ChangeKind::Listed, "", old(controller_of(space, "Deployment", name, None))),
        told(
            -29.0,
            ChangeKind::Listed,
            "",
            old(controller_of(space, "ReplicaSet", &format!("{name}-abc"), Some(("Deployment", name, &uid)))),
        ),
    ]
}

/// A pod of these labels and this owner, made by `user` (nobody: a watch tells).
fn pod_of(
    secs: f64,
    user: &str,
    space: &str,
    name: &str,
    app: (&str, &str),
    owner: OwnerRef,
    image: &str,
) -> Owned {
    let mut made = meta(space, name, &[app]);
    made.owners = vec![owner];
    told(secs, ChangeKind::Created, user, (made, pod("10.244.1.66", image)))
}

fn real(mut fact: Owned, uid: &str) -> Owned {
    if let Owned::Change(change) = &mut fact {
        Arc::make_mut(&mut change.meta).owners[0].uid = uid.into();
    }
    fact
}

/// The DNS add-on or the shop with their controllers; their pods name the ReplicaSet that is there.
fn addon() -> Vec<Owned> {
    let facts = dns_addon().into_iter().map(|fact| match fact {
        Owned::Change(change) if matches!(&*change.object, Object::Pod(_)) => {
            real(Owned::Change(change), "replicaset-coredns-abc")
        }
        other => other,
    });
    let mut all = deployment("kube-system", "coredns");
    // The add-on's own Deployment object has another UID: it is replaced by the one above.
    all.extend(facts.filter(
        |fact| !matches!(fact, Owned::Change(change) if matches!(&*change.object, Object::Controller(..))),
    ));
    all
}

fn store() -> Vec<Owned> {
    let mut all = deployment("shop", "db");
    all.extend(shop().into_iter().map(|fact| match fact {
        Owned::Change(change) if matches!(&*change.object, Object::Pod(_)) => {
            real(Owned::Change(change), "replicaset-db-abc")
        }
        other => other,
    }));
    all
}

fn found(facts: &[Owned], rule: &str) -> Vec<Finding> {
    run(facts).findings.into_iter().filter(|finding| finding.rule == rule).collect()
}

fn worst(facts: &[Owned], rule: &str) -> Option<Severity> {
    found(facts, rule).iter().map(|finding| finding.severity).max()
}

fn with(mut facts: Vec<Owned>, more: Vec<Owned>) -> Vec<Owned> {
    facts.extend(more);
    facts
}

const DNS: (&str, &str) = ("k8s-app", "kube-dns");
const DB: (&str, &str) = ("app", "db");

fn dns_pod(user: &str, owner: OwnerRef, image: &str) -> Owned {
    pod_of(5.0, user, "kube-system", "coredns-helper", DNS, owner, image)
}

fn db_pod(user: &str, name: &str, owner: OwnerRef) -> Owned {
    pod_of(5.0, user, "shop", name, DB, owner, "registry.example/db:1")
}

#[test]
fn a_dns_pod_is_not_genuine_by_the_names_that_it_bears() {
    let evil = "registry.evil.example/attacker/coredns-helper:raw";
    let bogus = || reference("ReplicaSet", "coredns-abc", "11111111");
    let ci = "system:serviceaccount:ci:deployer";
    // Made by an account, with a ReplicaSet's name and no object behind it.
    let facts = with(addon(), vec![dns_pod(ci, bogus(), evil)]);
    let finding = &found(&facts, "H05")[0];
    assert_eq!(finding.severity, Severity::Critical);
    assert!(finding.why.contains("made by system:serviceaccount:ci:deployer"), "{}", finding.why);
    // The same image, too.
    assert_eq!(worst(&with(addon(), vec![dns_pod(ci, bogus(), COREDNS)]), "H05"), Some(Severity::Critical));
    // Even the real ReplicaSet, whoever tells of it.
    let own = || reference("ReplicaSet", "coredns-abc", "replicaset-coredns-abc");
    assert_eq!(worst(&with(addon(), vec![dns_pod("bob", own(), COREDNS)]), "H05"), Some(Severity::Critical));
    // The real Deployment itself, which the garbage collector leaves alone.
    let top = || reference("Deployment", "coredns", "deployment-coredns");
    for user in ["", "bob"] {
        let facts = with(addon(), vec![dns_pod(user, top(), COREDNS)]);
        assert_eq!(worst(&facts, "H05"), Some(Severity::Critical), "{user}");
    }
    // The UID of something else.
    let other = || reference("ReplicaSet", "coredns-abc", "deployment-coredns");
    assert_eq!(worst(&with(addon(), vec![dns_pod("", other(), COREDNS)]), "H05"), Some(Severity::Critical));
    // What the controller makes is CoreDNS.
    for user in [RS_MAKER, ""] {
        assert_eq!(worst(&with(addon(), vec![dns_pod(user, own(), COREDNS)]), "H05"), None, "{user}");
    }
}

#[test]
fn an_owner_that_a_whole_history_lacks_is_made_up_and_one_that_may_be_missing_is_not() {
    let bogus = || reference("ReplicaSet", "coredns-abc", "11111111");
    let mut facts = with(addon(), store());
    facts.push(dns_pod("", bogus(), COREDNS));
    let h05 = |found: Vec<Finding>| found.into_iter().find(|finding| finding.rule == "H05");
    let finding = h05(run_in_history(&facts).findings).unwrap();
    assert!(finding.why.contains("there was no such ReplicaSet"), "{}", finding.why);
    assert!(h05(run(&facts).findings).is_none());
    // Only Deployments were watched: nothing can be said of a ReplicaSet.
    let is_set = |fact: &Owned| matches!(fact, Owned::Change(change) if change.object.kind() == "ReplicaSet");
    facts.retain(|fact| !is_set(fact));
    assert!(h05(run_in_history(&facts).findings).is_none());
}

#[test]
fn a_second_dns_workload_is_judged_by_who_made_it_and_a_first_one_is_the_installation() {
    let made = |user: &str| {
        let parent = Some(("Deployment", "coredns-2", "deployment-coredns-2"));
        vec![
            told(
                3.0,
                ChangeKind::Created,
                user,
                controller_of("kube-system", "Deployment", "coredns-2", None),
            ),
            told(
                4.0,
                ChangeKind::Created,
                DEPLOYER,
                controller_of("kube-system", "ReplicaSet", "coredns-2-x", parent),
            ),
            dns_pod(RS_MAKER, reference("ReplicaSet", "coredns-2-x", "replicaset-coredns-2-x"), COREDNS),
        ]
    };
    assert_eq!(worst(&with(addon(), made("bob")), "H05"), Some(Severity::Critical));
    let unknown = found(&with(addon(), made("")), "H05");
    assert_eq!(unknown[0].severity, Severity::High);
    assert!(unknown[0].graded[0].contains("not in the evidence"));
    assert_eq!(worst(&with(addon(), made("argocd")), "H05"), None);
    assert_eq!(worst(&with(vec![], made("bob")), "H05"), None);
}

#[test]
fn a_dns_pod_that_runs_what_its_template_does_not_is_found() {
    let own = || reference("ReplicaSet", "coredns-abc", "replicaset-coredns-abc");
    // A pod without an owner is taken in by the ReplicaSet whose labels it bears.
    let adopted = |image: &str| worst(&with(addon(), vec![dns_pod("", own(), image)]), "H05");
    assert_eq!(adopted("registry.evil.example/coredns:1"), Some(Severity::High));
    assert_eq!(adopted("registry.k8s.io/coredns/coredns:v9"), None);
    // The image of a living pod is replaced.
    let edited = |image: &str| {
        let mut later = owned(meta("kube-system", "coredns-1", &[DNS]), "coredns");
        later.owners[0].uid = "replicaset-coredns-abc".into();
        let step = told(6.0, ChangeKind::Updated, "bob", (later, pod("10.244.0.2", image)));
        worst(&with(addon(), vec![step]), "H05")
    };
    assert_eq!(edited("registry.evil.example/coredns:1"), Some(Severity::High));
    assert_eq!(edited("registry.k8s.io/coredns/coredns:v9"), None);
}

#[test]
fn a_hand_made_pod_is_no_part_of_the_deployment_that_it_names() {
    let top = || reference("Deployment", "db", "deployment-db");
    for user in ["bob", ""] {
        let facts = with(store(), vec![db_pod(user, "db-debug", top())]);
        assert_eq!(worst(&facts, "H04"), Some(Severity::High), "{user}");
    }
    let own = || reference("ReplicaSet", "db-abc", "replicaset-db-abc");
    let facts = with(store(), vec![db_pod("bob", "db-debug", own())]);
    assert_eq!(worst(&facts, "H04"), Some(Severity::High));
    for user in [RS_MAKER, "system:kube-controller-manager", ""] {
        let facts = with(store(), vec![db_pod(user, "db-2", own())]);
        assert_eq!(worst(&facts, "H04"), None, "{user}");
    }
    // The Deployment's next ReplicaSet, in the evidence or not.
    let parent = Some(("Deployment", "db", "deployment-db"));
    let next =
        told(4.0, ChangeKind::Created, DEPLOYER, controller_of("shop", "ReplicaSet", "db-def", parent));
    let pod = || db_pod(RS_MAKER, "db-2", reference("ReplicaSet", "db-def", "replicaset-db-def"));
    assert_eq!(worst(&with(store(), vec![next, pod()]), "H04"), None);
    assert_eq!(worst(&with(store(), vec![pod()]), "H04"), None);
    // A ReplicaSet that is merely called like one of the Deployment's, and one that somebody gave to it.
    let alone = told(4.0, ChangeKind::Created, "", controller_of("shop", "ReplicaSet", "db-def", None));
    assert!(worst(&with(store(), vec![alone, pod()]), "H04").is_some());
    let given = told(4.0, ChangeKind::Created, "bob", controller_of("shop", "ReplicaSet", "db-def", parent));
    assert_eq!(worst(&with(store(), vec![given, pod()]), "H04"), Some(Severity::High));
}

#[test]
fn a_canary_is_one_only_by_the_same_requester() {
    let canary = |first: &str, second: &str| {
        let mut facts = store();
        for fact in &mut facts {
            if let Owned::Change(change) = fact
                && change.object.kind() == "Deployment"
                && !first.is_empty()
            {
                change.kind = ChangeKind::Created;
                change.actor =
                    Some(Arc::new(truename_model::Actor { user: first.into(), ..Default::default() }));
            }
        }
        let parent = Some(("Deployment", "db-canary", "deployment-db-canary"));
        facts.push(told(
            2.0,
            ChangeKind::Created,
            second,
            controller_of("shop", "Deployment", "db-canary", None),
        ));
        facts.push(told(
            3.0,
            ChangeKind::Created,
            DEPLOYER,
            controller_of("shop", "ReplicaSet", "db-canary-x", parent),
        ));
        for name in ["db-canary-1", "db-canary-2"] {
            facts.push(db_pod(
                RS_MAKER,
                name,
                reference("ReplicaSet", "db-canary-x", "replicaset-db-canary-x"),
            ));
        }
        found(&facts, "H04")
    };
    let stranger = canary("flagger", "bob");
    assert_eq!((stranger.len(), stranger[0].severity), (1, Severity::High));
    assert!(canary("flagger", "flagger").is_empty());
    assert!(canary("", "argocd").is_empty());
    let unknown = canary("", "bob");
    assert_eq!((unknown.len(), unknown[0].severity), (1, Severity::Low));
    assert!(unknown[0].graded[0].contains("not in the evidence"), "{:?}", unknown[0].graded);
}

#[test]
fn one_rogue_pod_does_not_hide_the_next() {
    let rogue = |name: &str| {
        let object = Object::Pod(Pod { images: vec!["registry.example/db:1".into()], ..Pod::default() });
        told(5.0, ChangeKind::Created, "bob", (meta("shop", name, &[DB]), object))
    };
    assert_eq!(found(&with(store(), vec![rogue("one"), rogue("two")]), "H04").len(), 2);
}

#[test]
fn who_acts_as_the_controller_manager_is_not_the_controller_manager() {
    let worn = |user: &str, impersonator: Option<&str>| {
        let mut facts = with(addon(), vec![]);
        let mut step = change(
            5.0,
            ChangeKind::Updated,
            user,
            meta("kube-system", "kube-dns", &[("note", "x")]),
            service("10.96.0.10", &[DNS]),
        );
        Arc::make_mut(step.actor.as_mut().unwrap()).impersonator = impersonator.map(Into::into);
        facts.push(Owned::Change(step));
        found(&facts, "H05").iter().map(|finding| finding.subject.clone()).collect::<Vec<_>>()
    };
    let manager = "system:kube-controller-manager";
    assert!(worn(manager, None).is_empty());
    assert_eq!(worn(manager, Some("bob")), ["user bob as system:kube-controller-manager"]);
    assert_eq!(worn("argocd", Some("bob")), ["user bob as argocd"]);
    // An account of that namespace that is merely called like a controller; a kubelet, which writes no services.
    for user in ["system:serviceaccount:kube-system:helper-controller", "system:node:node-1"] {
        assert_eq!(worn(user, None).len(), 1, "{user}");
    }
}

#[test]
fn a_slice_is_not_its_controllers_by_the_label_that_it_bears() {
    let controller = "endpointslice-controller.k8s.io";
    let found = |uid: &str, address: &str| {
        let mut facts = store();
        // Services and pods of two namespaces: the watch is not a view of one.
        facts.extend(addon());
        let pairs =
            [("kubernetes.io/service-name", "db"), ("endpointslice.kubernetes.io/managed-by", controller)];
        let mut made = meta("shop", "db-x", &pairs);
        made.owners = vec![reference("Service", "db", uid)];
        facts.push(told(5.0, ChangeKind::Created, "", (made, slice(&[address]))));
        let found = run_in_history(&facts).findings;
        found.into_iter().filter(|finding| finding.rule == "H03").collect::<Vec<_>>()
    };
    let outside = found("uid-shop-db", "198.51.100.66");
    assert_eq!(outside.iter().map(|finding| finding.severity).max(), Some(Severity::Critical));
    assert!(outside[0].why.contains("no pod ever had"), "{}", outside[0].why);
    assert_eq!(found("deployment-db", "198.51.100.66").len(), 1);
    // Its own pod; and an address of the pod range, whose pod may be gone.
    assert!(found("uid-shop-db", "10.244.1.9").is_empty());
    assert!(found("uid-shop-db", "10.244.1.99").is_empty());
}

/// A pod of another namespace, or one that the selector never took, in a slice that its controller is said to keep.
#[test]
fn a_controllers_slice_lists_no_pods_of_others() {
    let found = |kind: ChangeKind, address: &str, relabelled: bool| {
        let mut facts = store();
        facts.extend(addon());
        let old = |namespace: &str, name: &str, label: &str| {
            let mut meta = meta(namespace, name, &[("app", label)]);
            meta.created = Some(truename_model::Nanos(START - 3_600_000_000_000));
            meta
        };
        let settled = |address: &str| {
            let Object::Pod(mut pod) = pod(address, "x") else { unreachable!() };
            pod.started = Some(truename_model::Nanos(START - 3_600_000_000_000));
            Object::Pod(pod)
        };
        let listed = |meta, address: &str| told(-5.0, ChangeKind::Listed, "", (meta, settled(address)));
        facts.push(listed(old("guest", "tool", "db"), "10.244.1.70"));
        facts.push(listed(old("shop", "web", "web"), "10.244.1.71"));
        for (secs, label) in [(2.0, "db"), (4.0, "web")].into_iter().filter(|_| relabelled) {
            let step = (old("shop", "web", label), settled("10.244.1.71"));
            facts.push(told(secs, ChangeKind::Updated, "", step));
        }
        let controller = "endpointslice-controller.k8s.io";
        let pairs =
            [("kubernetes.io/service-name", "db"), ("endpointslice.kubernetes.io/managed-by", controller)];
        let mut made = meta("shop", "db-x", &pairs);
        made.owners = vec![reference("Service", "db", "uid-shop-db")];
        facts.push(told(5.0, kind, "", (made, slice(&["10.244.1.9", address]))));
        let found = run_in_history(&facts).findings;
        found.into_iter().filter(|finding| finding.rule == "H03").collect::<Vec<_>>()
    };
    for kind in [ChangeKind::Updated, ChangeKind::Listed] {
        let foreign = found(kind, "10.244.1.70", false);
        assert_eq!(
            foreign.iter().map(|finding| finding.severity).max(),
            Some(Severity::Critical),
            "{kind:?}"
        );
        assert!(foreign[0].why.contains("10.244.1.70 is a pod of another namespace"), "{}", foreign[0].why);
        assert!(!foreign[0].why.contains("10.244.1.9 "), "{}", foreign[0].why);
        let other = found(kind, "10.244.1.71", false);
        assert_eq!(other.iter().map(|finding| finding.severity).max(), Some(Severity::High), "{kind:?}");
        // Its labels fitted a moment ago.
        assert!(found(kind, "10.244.1.71", true).is_empty());
        assert!(found(kind, "10.244.1.9", false).is_empty());
    }
}
