//! Attacks by changes of objects and configuration, each with the same facts but for its one signal. Enters: whether the
//! signal is there; leaves: facts.

use truename_model::{
    ChangeKind, Diagnostic, Explanation, IntentOutcome, Meta, ObjectRef, Rcode, Rtype, Verdict,
};

use super::attacks::service_lookup;
use super::fixture::*;

pub(super) const COREFILE: &str = ".:53 {\n  errors\n  log\n  kubernetes cluster.local in-addr.arpa ip6.arpa {\n    ttl 30\n  }\n  forward . 203.0.113.53\n  cache 30\n}\n";

pub(super) fn config(secs: f64, user: &str, text: &str) -> Owned {
    let kind = if secs < 0.0 { ChangeKind::Listed } else { ChangeKind::Updated };
    Owned::Change(change(secs, kind, user, meta("kube-system", "coredns", &[]), corefile(text)))
}

pub(super) fn listed(name: &str, object: truename_model::Object) -> Owned {
    Owned::Change(change(-10.0, ChangeKind::Listed, "", meta("shop", name, &[]), object))
}

/// Service `db` with one pod of its own, a day old.
pub(super) fn shop() -> Vec<Owned> {
    let own = owned(meta("shop", "db-1", &[("app", "db")]), "db");
    vec![
        Owned::Change(change(-20.0, ChangeKind::Listed, "", meta("", "node-1", &[]), node())),
        listed("db", service("None", &[("app", "db")])),
        Owned::Change(change(-9.0, ChangeKind::Listed, "", own, pod("10.244.1.9", "registry.example/db:1"))),
    ]
}

pub(super) fn hand_made(name: &str, service: &str) -> Meta {
    meta("shop", name, &[("kubernetes.io/service-name", service)])
}

pub(super) fn injected_endpoint(signal: bool) -> Vec<Owned> {
    let mut facts = shop();
    let user = if signal { "bob" } else { "system:serviceaccount:kube-system:endpointslice-controller" };
    facts.push(Owned::Change(change(
        5.0,
        ChangeKind::Created,
        user,
        hand_made("db-extra", "db"),
        slice(&["198.51.100.66"]),
    )));
    let qname = format!("db.shop.svc.{ZONE}");
    let answer =
        ask("shop/web", 6.0, &qname, Rtype::A).answer(Rcode::NOERROR, vec![a(&qname, 30, "198.51.100.66")]);
    facts.push(answer.verdict(verified()).fact());
    facts
}

/// A slice by hand with this address.
fn injected(address: &str) -> Vec<Owned> {
    let mut facts = shop();
    let extra = hand_made("db-extra", "db");
    facts.push(Owned::Change(change(5.0, ChangeKind::Created, "bob", extra, slice(&[address]))));
    facts
}

/// An address of the pod range that no pod has; without the signal the service's own pod.
pub(super) fn injected_stranger(signal: bool) -> Vec<Owned> {
    injected(if signal { "10.244.1.200" } else { "10.244.1.9" })
}

pub(super) fn injected_loopback(signal: bool) -> Vec<Owned> {
    injected(if signal { "127.0.0.1" } else { "10.244.1.9" })
}

pub(super) fn joined_by_labels(signal: bool) -> Vec<Owned> {
    let mut facts = shop();
    let label = if signal { "db" } else { "other" };
    let rogue = meta("shop", "helper", &[("app", label)]);
    facts.push(Owned::Change(change(
        5.0,
        ChangeKind::Created,
        "bob",
        rogue,
        pod("10.244.1.77", "registry.example/db:1"),
    )));
    facts
}

pub(super) const COREDNS: &str = "registry.k8s.io/coredns/coredns:v1";

pub(super) fn dns_addon() -> Vec<Owned> {
    let kube_dns = meta("kube-system", "kube-dns", &[]);
    let own = owned(meta("kube-system", "coredns-1", &[("k8s-app", "kube-dns")]), "coredns");
    vec![
        Owned::Change(change(
            -20.0,
            ChangeKind::Listed,
            "",
            kube_dns,
            service("10.96.0.10", &[("k8s-app", "kube-dns")]),
        )),
        Owned::Change(change(-19.0, ChangeKind::Listed, "", own, pod("10.244.0.2", COREDNS))),
        Owned::Change(change(
            -18.0,
            ChangeKind::Listed,
            "",
            meta("kube-system", "coredns", &[]),
            controller(COREDNS),
        )),
    ]
}

pub(super) fn impostor_pod(signal: bool) -> Vec<Owned> {
    let mut facts = dns_addon();
    let labels = [("k8s-app", if signal { "kube-dns" } else { "metrics" })];
    facts.push(Owned::Change(change(
        5.0,
        ChangeKind::Created,
        "bob",
        meta("kube-system", "helper", &labels),
        pod("10.244.1.66", "x"),
    )));
    facts
}

pub(super) fn impostor_slice(signal: bool) -> Vec<Owned> {
    let mut facts = dns_addon();
    let user = if signal { "bob" } else { "system:kube-controller-manager" };
    let extra = meta("kube-system", "dns-extra", &[("kubernetes.io/service-name", "kube-dns")]);
    facts.push(Owned::Change(change(5.0, ChangeKind::Created, user, extra, slice(&["10.244.1.66"]))));
    facts
}

pub(super) fn dns_service_edited(signal: bool) -> Vec<Owned> {
    let mut facts = dns_addon();
    let selector = [("k8s-app", if signal { "mine" } else { "kube-dns" })];
    facts.push(Owned::Change(change(
        5.0,
        ChangeKind::Updated,
        "",
        meta("kube-system", "kube-dns", &[("note", "x")]),
        service("10.96.0.10", &selector),
    )));
    facts
}

pub(super) fn dns_address_claimed(signal: bool) -> Vec<Owned> {
    let mut facts = dns_addon();
    let claim = truename_model::object::Service {
        service_type: "ClusterIP".into(),
        cluster_ips: vec!["10.96.0.99".into()],
        external_ips: vec![ip(if signal { "10.96.0.10" } else { "198.51.100.9" })],
        ..truename_model::object::Service::default()
    };
    let object = truename_model::Object::Service(claim);
    facts.push(Owned::Change(change(5.0, ChangeKind::Created, "bob", meta("guest", "lure", &[]), object)));
    facts
}

/// The Deployment of CoreDNS becomes another.
fn dns_deployment(user: &str, object: truename_model::Object) -> Vec<Owned> {
    let mut facts = dns_addon();
    let coredns = meta("kube-system", "coredns", &[]);
    facts.push(Owned::Change(change(5.0, ChangeKind::Updated, user, coredns, object)));
    facts
}

pub(super) fn dns_image_replaced(signal: bool) -> Vec<Owned> {
    let image = if signal { "registry.example/own/dns:1" } else { COREDNS };
    dns_deployment("bob", controller(image))
}

pub(super) fn dns_image_retagged(signal: bool) -> Vec<Owned> {
    // An approved requester upgrades as he likes.
    dns_deployment(if signal { "bob" } else { "argocd" }, controller("registry.k8s.io/coredns/coredns:v2"))
}

pub(super) fn dns_args_edited(signal: bool) -> Vec<Owned> {
    let conf = if signal { "/etc/other/Corefile" } else { "/etc/coredns/Corefile" };
    dns_deployment("bob", dns_workload(COREDNS, conf, "coredns"))
}

pub(super) fn dns_volumes_edited(signal: bool) -> Vec<Owned> {
    let map = if signal { "helper" } else { "coredns" };
    dns_deployment("bob", dns_workload(COREDNS, "/etc/coredns/Corefile", map))
}

pub(super) fn dns_service_written(signal: bool) -> Vec<Owned> {
    let mut facts = dns_addon();
    facts.push(Owned::Change(change(
        5.0,
        ChangeKind::Updated,
        if signal { "bob" } else { "argocd" },
        meta("kube-system", "kube-dns", &[("note", "x")]),
        service("10.96.0.10", &[("k8s-app", "kube-dns")]),
    )));
    facts
}

pub(super) fn dns_slice_deleted(signal: bool) -> Vec<Owned> {
    let mut facts = dns_addon();
    let own = || meta("kube-system", "kube-dns-abc", &[("kubernetes.io/service-name", "kube-dns")]);
    let controller = "system:serviceaccount:kube-system:endpointslice-controller";
    facts.push(Owned::Change(change(1.0, ChangeKind::Created, controller, own(), slice(&["10.244.0.2"]))));
    let user = if signal { "bob" } else { controller };
    facts.push(Owned::Change(change(5.0, ChangeKind::Deleted, user, own(), slice(&["10.244.0.2"]))));
    facts
}

pub(super) fn selector_removed(signal: bool) -> Vec<Owned> {
    let mut facts = shop();
    let selector: &[(&str, &str)] = if signal { &[] } else { &[("app", "db")] };
    facts.push(Owned::Change(change(
        5.0,
        ChangeKind::Updated,
        "bob",
        meta("shop", "db", &[]),
        service("None", selector),
    )));
    facts.push(Owned::Change(change(
        9.0,
        ChangeKind::Created,
        "bob",
        hand_made("db-extra", "db"),
        slice(&["198.51.100.66"]),
    )));
    facts
}

pub(super) fn selector_removed_alone(signal: bool) -> Vec<Owned> {
    let mut facts = selector_removed(signal);
    facts.pop();
    facts
}

/// A new ExternalName; one that the profile's silence leaves alone leads to a domain known already.
fn alias_of(target: &str) -> Vec<Owned> {
    let made = meta("shop", "more", &[]);
    vec![
        listed("assets", external("static.cdn.example")),
        Owned::Change(change(5.0, ChangeKind::Created, "bob", made, external(target))),
    ]
}

pub(super) fn alias_into_another_namespace(signal: bool) -> Vec<Owned> {
    let there = format!("vault.security.svc.{ZONE}");
    alias_of(if signal { &there } else { "img.cdn.example" })
}

pub(super) fn alias_of_the_metadata_service(signal: bool) -> Vec<Owned> {
    alias_of(if signal { "metadata.google.internal" } else { "img.cdn.example" })
}

pub(super) fn became_external(signal: bool) -> Vec<Owned> {
    let mut facts = vec![listed("images", service("10.96.0.30", &[("app", "images")]))];
    let after =
        if signal { external("img.badcdn.example") } else { service("10.96.0.30", &[("app", "images")]) };
    facts.push(Owned::Change(change(
        5.0,
        ChangeKind::Updated,
        "bob",
        meta("shop", "images", &[("a", "b")]),
        after,
    )));
    facts
}

pub(super) fn dangling_alias(signal: bool) -> Vec<Owned> {
    let mut facts = vec![listed("legacy", external("legacy.example.net"))];
    for n in 0..4 {
        let answers = if signal { vec![] } else { vec![a("legacy.example.net", 60, "198.51.100.1")] };
        facts.push(Owned::Exchange(exchange(f64::from(n) * 60.0, "legacy.example.net", answers)));
    }
    facts
}

pub(super) fn new_alias(signal: bool) -> Vec<Owned> {
    let mut facts = vec![listed("assets", external("static.cdn.example"))];
    // Another name of a domain that a service of the cluster leads to already is nothing new.
    let target = external(if signal { "static.strange.example" } else { "img.cdn.example" });
    facts.push(Owned::Change(change(5.0, ChangeKind::Created, "bob", meta("shop", "more", &[]), target)));
    facts
}

/// One replica runs for five minutes what the ConfigMap does not say.
pub(super) fn replica_off_the_map(signal: bool) -> Vec<Owned> {
    use truename_cluster::corefile::{Env, running_hash};
    let text = if signal { TAMPERED } else { COREFILE };
    let digest = running_hash(text, &Env::default()).unwrap();
    let running = Diagnostic::RunningConfiguration { algorithm: "SHA512".into(), digest };
    vec![
        config(-1.0, "", COREFILE),
        line(0.0, 0, running),
        service_lookup(300.0, "10.96.0.20").verdict(verified()).fact(),
    ]
}

/// The Corefile with this in place of that, written by bob; without the signal by an approved requester.
fn edited(signal: bool, old: &str, new: &str) -> Vec<Owned> {
    let user = if signal { "bob" } else { "argocd" };
    vec![config(-1.0, "", COREFILE), config(5.0, user, &COREFILE.replace(old, new))]
}

pub(super) fn forwarded_elsewhere(signal: bool) -> Vec<Owned> {
    edited(signal, "forward . 203.0.113.53", "forward . 198.51.100.53")
}

pub(super) fn another_api_server(signal: bool) -> Vec<Owned> {
    edited(signal, "    ttl 30\n", "    ttl 30\n    endpoint https://198.51.100.66:6443\n")
}

/// The API server stays what it was.
pub(super) fn ttl_beside_an_endpoint(signal: bool) -> Vec<Owned> {
    let user = if signal { "bob" } else { "argocd" };
    let with = |ttl: &str| {
        COREFILE.replace("    ttl 30\n", &format!("    ttl {ttl}\n    endpoint https://10.0.0.1:6443\n"))
    };
    vec![config(-1.0, "", &with("30")), config(5.0, user, &with("5"))]
}

pub(super) fn zone_block_added(signal: bool) -> Vec<Owned> {
    edited(signal, ".:53 {", "corp.internal:53 {\n  errors\n}\n.:53 {")
}

pub(super) fn public_zone_of_k8s_external(signal: bool) -> Vec<Owned> {
    edited(signal, "  cache 30\n", "  k8s_external bank.example.com\n  cache 30\n")
}

pub(super) fn alias_target_rewritten(signal: bool) -> Vec<Owned> {
    let rule = "  rewrite cname exact edge.example.com. edge.example.net.\n  cache 30\n";
    edited(signal, "  cache 30\n", rule)
}

pub(super) fn log_removed(signal: bool) -> Vec<Owned> {
    edited(signal, "  log\n", "")
}

pub(super) fn import_added(signal: bool) -> Vec<Owned> {
    edited(signal, "  cache 30\n", "  cache 30\n  import /etc/coredns/custom/*.override\n")
}

/// A ConfigMap beside the Corefile, or with more than it, before and after.
fn map_edited(name: &str, user: &str, before: &[(&str, &str)], after: &[(&str, &str)]) -> Vec<Owned> {
    let step = |secs: f64, kind: ChangeKind, user: &str, data: &[(&str, &str)]| {
        let object =
            truename_model::Object::ConfigMap(truename_model::object::ConfigMap { data: labels(data) });
        Owned::Change(change(secs, kind, user, meta("kube-system", name, &[]), object))
    };
    vec![step(-1.0, ChangeKind::Listed, "", before), step(5.0, ChangeKind::Updated, user, after)]
}

pub(super) fn stub_domain_added(signal: bool) -> Vec<Owned> {
    let user = if signal { "bob" } else { "argocd" };
    map_edited("kube-dns", user, &[], &[("stubDomains", "{\"corp.example\": [\"198.51.100.53\"]}")])
}

pub(super) fn hosts_item_changed(signal: bool) -> Vec<Owned> {
    let hosts = if signal {
        "10.10.0.1 node-1\n198.51.100.66 api.shop.svc.cluster.local"
    } else {
        "10.10.0.1 node-1\n10.10.0.2 node-2"
    };
    let before = [("Corefile", COREFILE), ("NodeHosts", "10.10.0.1 node-1")];
    map_edited("coredns", "bob", &before, &[("Corefile", COREFILE), ("NodeHosts", hosts)])
}

pub(super) fn operator_resource_changed(signal: bool) -> Vec<Owned> {
    let spec = |upstream: &str| {
        let upstreams = serde_json::json!([{"type": "Network", "address": upstream}]);
        let spec = serde_json::json!({"upstreamResolvers": {"upstreams": upstreams}, "logLevel": upstream});
        truename_model::Object::Other("DNS".into(), std::sync::Arc::new(spec))
    };
    let step =
        |secs, kind, object| Owned::Change(change(secs, kind, "bob", meta("", "default", &[]), object));
    let after = if signal { "198.51.100.53" } else { "203.0.113.53" };
    vec![step(-1.0, ChangeKind::Listed, spec("203.0.113.53")), step(5.0, ChangeKind::Updated, spec(after))]
}

pub(super) const TAMPERED: &str = ".:53 {\n  errors\n  log\n  hosts {\n    198.51.100.66 api.shop.svc.cluster.local\n    fallthrough\n  }\n  kubernetes cluster.local in-addr.arpa ip6.arpa {\n    ttl 30\n  }\n  forward . 203.0.113.53\n  cache 30\n}\n";

pub(super) fn corefile_tampered(signal: bool) -> Vec<Owned> {
    let commented = format!("# reviewed\n{COREFILE}");
    let text = if signal { TAMPERED } else { &commented };
    let config_ref = ObjectRef { resource_version: "1050".into(), ..ObjectRef::default() };
    let by = Explanation::Corefile { config: config_ref, line: 5, text: "198.51.100.66".into() };
    let lookup = service_lookup(8.0, "198.51.100.66").verdict(Verdict::Explained { by });
    vec![config(-1.0, "", COREFILE), config(5.0, "bob", text), lookup.fact(), config(30.0, "alice", COREFILE)]
}

pub(super) fn replicas_run_different_files(signal: bool) -> Vec<Owned> {
    let hash =
        |digest: &str| Diagnostic::RunningConfiguration { algorithm: "SHA512".into(), digest: digest.into() };
    let other = if signal { "bb" } else { "aa" };
    vec![
        line(0.0, 0, hash("aa")),
        line(1.0, 1, hash(other)),
        service_lookup(300.0, "10.96.0.20").verdict(verified()).fact(),
        service_lookup(301.0, "10.96.0.20").by(1).verdict(verified()).fact(),
    ]
}

pub(super) fn captured(signal: bool) -> Vec<Owned> {
    let mut facts =
        vec![Owned::Intent(intent("shop/web", 1.0, "github.com", IntentOutcome::ResolvedAbsolute, Rtype::A))];
    if signal {
        facts.push(Owned::Change(change(
            5.0,
            ChangeKind::Created,
            "bob",
            meta("", "com", &[]),
            truename_model::Object::Namespace,
        )));
        facts.push(Owned::Change(change(
            6.0,
            ChangeKind::Created,
            "bob",
            meta("com", "github", &[]),
            service("10.96.0.66", &[("a", "b")]),
        )));
        let mut caught = intent("shop/web", 7.0, "github.com", IntentOutcome::Captured(1), Rtype::A);
        caught.last = name(&format!("github.com.svc.{ZONE}"));
        facts.push(Owned::Intent(caught));
    }
    facts
}

fn namespace(secs: f64, name: &str) -> Owned {
    Owned::Change(change(
        secs,
        ChangeKind::Created,
        "bob",
        meta("", name, &[]),
        truename_model::Object::Namespace,
    ))
}

pub(super) fn namespace_like_a_domain(signal: bool) -> Vec<Owned> {
    vec![namespace(5.0, if signal { "com" } else { "commerce" })]
}

pub(super) fn reserved_namespace(signal: bool) -> Vec<Owned> {
    vec![namespace(5.0, if signal { "svc" } else { "backend" })]
}

/// `redis.stock` asked in `shop` is answered by endpoint `redis` of the service `stock` there.
pub(super) fn short_name_shadowed(signal: bool) -> Vec<Owned> {
    let host = if signal { "redis" } else { "helper" };
    let made = |name: &str, space: &str, object| {
        Owned::Change(change(5.0, ChangeKind::Created, "bob", meta(space, name, &[]), object))
    };
    let lure = truename_model::object::Pod {
        hostname: host.into(),
        subdomain: "stock".into(),
        phase: "Running".into(),
        ..truename_model::object::Pod::default()
    };
    vec![
        namespace(1.0, "stock"),
        made("redis", "stock", service("10.96.0.31", &[("app", "redis")])),
        made("stock", "shop", service("None", &[("app", "lure")])),
        made("lure", "shop", truename_model::Object::Pod(lure)),
    ]
}

pub(super) fn silenced(signal: bool) -> Vec<Owned> {
    let mut facts = shop();
    let pairs: &[(&str, &str)] = if signal { &[] } else { &[("kubernetes.io/service-name", "db")] };
    facts.push(Owned::Change(change(
        5.0,
        ChangeKind::Created,
        "bob",
        meta("shop", "metrics", pairs),
        slice(&["10.244.1.9"]),
    )));
    facts.push(ask("tools/cron", 8.0, "9.1.244.10.in-addr.arpa", Rtype::PTR).fact());
    facts
}

pub(super) fn orphan_alone(signal: bool) -> Vec<Owned> {
    let mut facts = silenced(signal);
    facts.pop();
    facts
}

/// A line that stood in the Corefile before the evidence begins; without the signal it says what the Service does.
pub(super) fn hijacked_from_the_start(signal: bool) -> Vec<Owned> {
    let text = if signal { TAMPERED.to_owned() } else { TAMPERED.replace("198.51.100.66", "10.96.0.20") };
    vec![config(-1.0, "", &text), listed_later("api", service("10.96.0.20", &[("app", "api")]))]
}

/// A Service of the shop whose last version is younger than the ConfigMap.
pub(super) fn listed_later(name: &str, object: truename_model::Object) -> Owned {
    Owned::Change(change(1.0, ChangeKind::Listed, "", meta("shop", name, &[]), object))
}

/// A write to the ConfigMap of which the audit log keeps this of its body, and no version.
pub(super) fn written(secs: f64, user: &str, body: serde_json::Value) -> Owned {
    let object = truename_model::Object::Other("ConfigMap".into(), std::sync::Arc::new(body));
    let mut step = change(secs, ChangeKind::Updated, user, meta("kube-system", "coredns", &[]), object);
    std::sync::Arc::make_mut(&mut step.meta).resource_version.clear();
    Owned::Change(step)
}

pub(super) fn written_unseen(signal: bool) -> Vec<Owned> {
    let user = if signal { "bob" } else { "argocd" };
    vec![config(-1.0, "", COREFILE), written(5.0, user, serde_json::Value::Null)]
}

pub(super) fn patched(signal: bool) -> Vec<Owned> {
    let commented = format!("# reviewed\n{COREFILE}");
    let text = if signal { TAMPERED } else { &commented };
    vec![config(-1.0, "", COREFILE), written(5.0, "bob", serde_json::json!({"data": {"Corefile": text}}))]
}
