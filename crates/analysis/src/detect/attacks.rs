//! The attacks that rules must find, each with the same facts but for its one signal. Enters: whether the signal is
//! there; leaves: facts.

use truename_model::{
    ChangeKind, Class, Contradiction, Diagnostic, Explanation, Flags, IntentOutcome, Meta, ObjectRef, Rcode,
    RecordRef, Rtype, Severity, Verdict,
};

use super::fixture::*;

/// One attack: rule, severity, facts with the signal (true) and the same facts without it (false).
pub(super) type Case = (&'static str, Severity, fn(bool) -> Vec<Owned>);

pub(super) const CASES: [Case; 62] = [
    ("R01", Severity::High, sweep_services),
    ("R02", Severity::High, sweep_pods),
    ("R03", Severity::High, brute_force),
    ("R04", Severity::Low, fan_out),
    ("R05", Severity::High, ports_enumerated),
    ("R05", Severity::High, bare_services),
    ("R06", Severity::High, wildcard),
    ("R06", Severity::High, wildcard_beside_a_service_any),
    ("R07", Severity::Critical, mode_probe),
    ("R08", Severity::High, transfer),
    ("R08", Severity::Critical, transfer_given),
    ("R09", Severity::Medium, chaos),
    ("R09", Severity::Low, any_type),
    ("R09", Severity::Medium, any_and_nsid),
    ("H01", Severity::Critical, false_answer),
    ("H01", Severity::Critical, false_answer_on_the_path),
    ("H02", Severity::Critical, odd_shape),
    ("H02", Severity::Medium, question_case_lost),
    ("H02", Severity::Medium, records_added),
    ("H02", Severity::Medium, denial_without_soa),
    ("H02", Severity::Medium, denial_of_another_zone),
    ("H03", Severity::Critical, injected_endpoint),
    ("H04", Severity::High, joined_by_labels),
    ("H05", Severity::Critical, impostor_pod),
    ("H05", Severity::Critical, impostor_slice),
    ("H05", Severity::Critical, dns_service_edited),
    ("H05", Severity::Critical, dns_address_claimed),
    ("H05", Severity::Critical, dns_image_replaced),
    ("H05", Severity::Medium, dns_image_retagged),
    ("H05", Severity::Critical, dns_args_edited),
    ("H05", Severity::Critical, dns_volumes_edited),
    ("H05", Severity::Critical, dns_service_written),
    ("H05", Severity::Critical, dns_slice_deleted),
    ("H06", Severity::Critical, selector_removed),
    ("H07", Severity::High, became_external),
    ("H07", Severity::Medium, dangling_alias),
    ("H07", Severity::Low, new_alias),
    ("H08", Severity::Critical, corefile_tampered),
    ("H08", Severity::Critical, replicas_run_different_files),
    ("H08", Severity::Critical, forwarded_elsewhere),
    ("H08", Severity::Critical, zone_block_added),
    ("H08", Severity::High, log_removed),
    ("H08", Severity::High, import_added),
    ("H08", Severity::Critical, stub_domain_added),
    ("H08", Severity::Critical, hosts_item_changed),
    ("H08", Severity::Critical, operator_resource_changed),
    ("H09", Severity::Critical, captured),
    ("H09", Severity::Info, namespace_like_a_domain),
    ("H09", Severity::High, reserved_namespace),
    ("H09", Severity::High, short_name_shadowed),
    ("H11", Severity::Critical, rebinding),
    ("H15", Severity::Critical, replicas_disagree),
    ("H17", Severity::High, silenced),
    ("P01", Severity::High, guessed_ids),
    ("P01", Severity::Medium, guesses_too_late),
    ("P06", Severity::Critical, second_answer),
    ("P07", Severity::High, other_question),
    ("P11", Severity::Medium, ttl_jump),
    ("X08", Severity::High, flood),
    ("X08", Severity::High, fast_client),
    ("X08", Severity::Medium, denied_everywhere),
    ("X10", Severity::Medium, failures),
];

pub(super) fn sweep(signal: bool, network: &str, from: f64) -> Vec<Owned> {
    let mut facts =
        vec![Owned::Change(change(-1.0, ChangeKind::Listed, "", meta("", "node-1", &[]), node()))];
    for n in 0..70u32 {
        // The benign twin asks as often, for few peers.
        let last = if signal { n } else { n % 5 * 40 };
        let qname = format!("{last}.{network}.in-addr.arpa");
        facts.push(
            ask("guest/scan", from + f64::from(n) * 0.2, &qname, Rtype::PTR)
                .answer(Rcode::NXDOMAIN, vec![])
                .fact(),
        );
    }
    facts
}

pub(super) fn sweep_services(signal: bool) -> Vec<Owned> {
    sweep(signal, "0.96.10", 10.0)
}

pub(super) fn sweep_pods(signal: bool) -> Vec<Owned> {
    sweep(signal, "1.244.10", 10.0)
}

pub(super) fn brute_force(signal: bool) -> Vec<Owned> {
    (0..40)
        .map(|n| {
            // The benign twin waits for the same two services.
            let n = if signal { n } else { n % 2 };
            let base = format!("svc{n}.ns{n}.svc.{ZONE}");
            Owned::Intent(intent("guest/scan", f64::from(n), &base, IntentOutcome::NxDomain, Rtype::A))
        })
        .collect()
}

pub(super) fn fan_out(signal: bool) -> Vec<Owned> {
    let mut facts =
        vec![Owned::Change(change(-1.0, ChangeKind::Listed, "", meta("", "node-1", &[]), node()))];
    facts.extend((0..20).map(|n| {
        let base = format!("api.ns{}.svc.{ZONE}", if signal { n } else { n % 3 });
        Owned::Intent(intent("guest/scan", f64::from(n), &base, IntentOutcome::ResolvedAbsolute, Rtype::A))
    }));
    facts
}

pub(super) fn ports_enumerated(signal: bool) -> Vec<Owned> {
    (0..12)
        .map(|n| {
            let base = format!("_p{}._tcp.api.shop.svc.{ZONE}", if signal { n } else { n % 3 });
            Owned::Intent(intent(
                "guest/scan",
                30.0 + f64::from(n),
                &base,
                IntentOutcome::NxDomain,
                Rtype::SRV,
            ))
        })
        .collect()
}

pub(super) fn bare_services(signal: bool) -> Vec<Owned> {
    let rtype = if signal { Rtype::SRV } else { Rtype::A };
    (0..4)
        .map(|n| {
            let base = format!("api{n}.shop.svc.{ZONE}");
            Owned::Intent(intent("guest/scan", f64::from(n), &base, IntentOutcome::ResolvedAbsolute, rtype))
        })
        .collect()
}

pub(super) fn wildcard(signal: bool) -> Vec<Owned> {
    let first = if signal { "any" } else { "anyone" };
    let qname = format!("{first}.shop.svc.{ZONE}");
    vec![ask("guest/scan", 1.0, &qname, Rtype::SRV).answer(Rcode::NXDOMAIN, vec![]).fact()]
}

pub(super) fn mode_probe(signal: bool) -> Vec<Owned> {
    let (version, wildcard) = (format!("dns-version.{ZONE}"), format!("any.any.svc.{ZONE}"));
    let mut facts = vec![ask("guest/scan", 3.0, &wildcard, Rtype::A).answer(Rcode::NXDOMAIN, vec![]).fact()];
    if signal {
        facts.push(ask("guest/scan", 1.0, &version, Rtype::TXT).answer(Rcode::NOERROR, vec![]).fact());
    }
    facts
}

pub(super) fn transfer(signal: bool) -> Vec<Owned> {
    let rtype = if signal { Rtype::AXFR } else { Rtype::SOA };
    vec![ask("guest/scan", 1.0, ZONE, rtype).answer(Rcode::REFUSED, vec![]).fact()]
}

pub(super) fn transfer_given(signal: bool) -> Vec<Owned> {
    let records = Diagnostic::OutgoingTransfer { records: 40, zone: format!("{ZONE}.") };
    let rtype = if signal { Rtype::AXFR } else { Rtype::SOA };
    vec![ask("guest/scan", 1.0, ZONE, rtype).fact(), line(1.2, 0, records)]
}

pub(super) fn chaos(signal: bool) -> Vec<Owned> {
    let class = if signal { Class::CH } else { Class::IN };
    ["version.bind", "hostname.bind"]
        .iter()
        .map(|qname| {
            let lookup = ask("guest/scan", 1.0, qname, Rtype::TXT).answer(Rcode::REFUSED, vec![]);
            lookup.with(|transaction| transaction.question.class = class).fact()
        })
        .collect()
}

pub(super) fn any_type(signal: bool) -> Vec<Owned> {
    let rtype = if signal { Rtype::ANY } else { Rtype::TXT };
    vec![ask("guest/scan", 1.0, "example.com", rtype).answer(Rcode::NOERROR, vec![]).fact()]
}

/// A query as it was sent, with an EDNS option of this code and a name in this case.
pub(super) fn odd_query(option: Option<u16>, qname: Option<&str>) -> std::sync::Arc<truename_model::Body> {
    let question = truename_model::Question { name: name("x.example"), rtype: Rtype::A, class: Class::IN };
    let options = option.map(|code| (code, Box::from([]))).into_iter().collect();
    std::sync::Arc::new(truename_model::Body {
        edns: option.map(|_| truename_model::Edns { options, ..edns() }),
        qname_case: qname.map(Box::from),
        ..truename_model::Body::question_only(question)
    })
}

pub(super) fn any_and_nsid(signal: bool) -> Vec<Owned> {
    // A cookie (option 10) is what clients send; a name server identifier (option 3) is asked for by tools.
    let query = odd_query(Some(if signal { 3 } else { 10 }), None);
    let rtype = if signal { Rtype::ANY } else { Rtype::A };
    let lookup = ask("guest/scan", 1.0, "example.com", rtype).answer(Rcode::NOERROR, vec![]);
    vec![lookup.with(|transaction| transaction.odd_query = Some(query)).fact()]
}

/// Somebody's own Service `any` in another namespace excuses nothing; one in the namespace asked does.
pub(super) fn wildcard_beside_a_service_any(signal: bool) -> Vec<Owned> {
    let namespace = if signal { "guest" } else { "shop" };
    let own = meta(namespace, "any", &[]);
    let mut facts =
        vec![Owned::Change(change(-1.0, ChangeKind::Listed, "", own, service("10.96.0.90", &[])))];
    facts.extend(wildcard(true));
    facts
}

pub(super) fn service_lookup(secs: f64, address: &str) -> Ask {
    let qname = format!("api.shop.svc.{ZONE}");
    ask("shop/web", secs, &qname, Rtype::A).answer(Rcode::NOERROR, vec![a(&qname, 30, address)])
}

pub(super) fn false_answer(signal: bool) -> Vec<Owned> {
    let verdict = if signal { contradicted(Contradiction::WrongAddress) } else { verified() };
    let mut facts = shop();
    facts.push(service_lookup(1.0, "192.0.2.66").verdict(verdict).fact());
    facts
}

pub(super) fn false_answer_on_the_path(signal: bool) -> Vec<Owned> {
    let qname = format!("api.shop.svc.{ZONE}");
    let wire = if signal { "192.0.2.66" } else { "10.96.0.20" };
    let mut facts = shop();
    facts.push(
        service_lookup(1.0, "10.96.0.20").verdict(verified()).dissent(vec![a(&qname, 30, wire)]).fact(),
    );
    facts
}

pub(super) const COREFILE: &str = ".:53 {\n  errors\n  log\n  kubernetes cluster.local in-addr.arpa ip6.arpa {\n    ttl 30\n  }\n  forward . 203.0.113.53\n  cache 30\n}\n";

pub(super) fn config(secs: f64, user: &str, text: &str) -> Owned {
    let kind = if secs < 0.0 { ChangeKind::Listed } else { ChangeKind::Updated };
    Owned::Change(change(secs, kind, user, meta("kube-system", "coredns", &[]), corefile(text)))
}

pub(super) fn odd_shape(signal: bool) -> Vec<Owned> {
    let qname = format!("api.shop.svc.{ZONE}");
    let lookup = ask("shop/web", 1.0, &qname, Rtype::A);
    let lookup =
        lookup.answer(Rcode::NOERROR, vec![a(&qname, if signal { 3_600 } else { 30 }, "10.96.0.20")]);
    let lookup = lookup.verdict(verified()).with(|transaction| {
        if let Some(response) = transaction.response.as_mut().filter(|_| signal) {
            response.flags = Flags(Flags::QR | Flags::RD);
        }
    });
    vec![config(-1.0, "", COREFILE), lookup.fact()]
}

pub(super) fn question_case_lost(signal: bool) -> Vec<Owned> {
    let cased = format!("aPi.shOp.svc.{ZONE}.");
    let lookup = service_lookup(1.0, "10.96.0.20").verdict(verified()).with(|transaction| {
        transaction.odd_query = Some(odd_query(None, Some(&cased)));
        let body = std::sync::Arc::make_mut(&mut transaction.response.as_mut().unwrap().body);
        body.qname_case = (!signal).then(|| Box::from(cased.as_str()));
    });
    vec![config(-1.0, "", COREFILE), lookup.fact()]
}

pub(super) fn records_added(signal: bool) -> Vec<Owned> {
    let lookup = service_lookup(1.0, "10.96.0.20").verdict(verified()).with(|transaction| {
        let body = std::sync::Arc::make_mut(&mut transaction.response.as_mut().unwrap().body);
        body.authority.extend(signal.then(|| a("ns.evil.example", 30, "192.0.2.66")));
    });
    vec![config(-1.0, "", COREFILE), lookup.fact()]
}

/// A denial of a service, with these SOA records in its authority section.
fn denial(authority: Vec<truename_model::Record>) -> Vec<Owned> {
    let qname = format!("nothing.shop.svc.{ZONE}");
    let lookup = ask("shop/web", 1.0, &qname, Rtype::A).answer(Rcode::NXDOMAIN, vec![]).verdict(verified());
    let lookup = lookup.with(|transaction| {
        std::sync::Arc::make_mut(&mut transaction.response.as_mut().unwrap().body).authority = authority;
    });
    vec![config(-1.0, "", COREFILE), lookup.fact()]
}

pub(super) fn denial_without_soa(signal: bool) -> Vec<Owned> {
    denial(if signal { vec![] } else { vec![soa(ZONE, &format!("ns.dns.{ZONE}"), 30)] })
}

pub(super) fn denial_of_another_zone(signal: bool) -> Vec<Owned> {
    let primary = format!("ns.dns.{ZONE}");
    denial(vec![soa(ZONE, if signal { "a.root-servers.net" } else { &primary }, 30)])
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
    let conf = if signal { "/tmp/Corefile" } else { "/etc/coredns/Corefile" };
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

/// The Corefile with this in place of that, written by bob; without the signal by an approved requester.
fn edited(signal: bool, old: &str, new: &str) -> Vec<Owned> {
    let user = if signal { "bob" } else { "argocd" };
    vec![config(-1.0, "", COREFILE), config(5.0, user, &COREFILE.replace(old, new))]
}

pub(super) fn forwarded_elsewhere(signal: bool) -> Vec<Owned> {
    edited(signal, "forward . 203.0.113.53", "forward . 198.51.100.53")
}

pub(super) fn zone_block_added(signal: bool) -> Vec<Owned> {
    edited(signal, ".:53 {", "corp.internal:53 {\n  errors\n}\n.:53 {")
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

pub(super) fn rebinding(signal: bool) -> Vec<Owned> {
    let inside = if signal { "169.254.169.254" } else { "198.51.100.92" };
    ["198.51.100.91", inside, "198.51.100.91"]
        .iter()
        .zip(0..)
        .map(|(address, n)| {
            let lookup = ask("shop/web", f64::from(n) * 10.0, "r1.badcdn.example", Rtype::A);
            lookup.answer(Rcode::NOERROR, vec![a("r1.badcdn.example", 1, address)]).fact()
        })
        .collect()
}

pub(super) fn replicas_disagree(signal: bool) -> Vec<Owned> {
    let other = if signal { "192.0.2.66" } else { "10.96.0.20" };
    let odd = || if signal { contradicted(Contradiction::WrongAddress) } else { verified() };
    vec![
        service_lookup(1.0, "10.96.0.20").verdict(verified()).fact(),
        service_lookup(2.0, other).by(1).verdict(odd()).fact(),
        service_lookup(3.0, "10.96.0.20").verdict(verified()).fact(),
        service_lookup(4.0, other).by(1).verdict(odd()).fact(),
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

pub(super) fn guessed_ids(signal: bool) -> Vec<Owned> {
    let mut one =
        exchange(5.0, "gateway.payments.example", vec![a("gateway.payments.example", 60, "192.0.2.66")]);
    if signal {
        (one.mismatched_count, one.mismatched_open) = (16, 16);
        one.mismatched_like_answer = 16;
        one.mismatched.push(RecordRef { item: 2, ordinal: 9 });
    }
    vec![Owned::Exchange(one)]
}

/// Wrong ids that came when the query was answered already: a port is sprayed, no race is run.
pub(super) fn guesses_too_late(signal: bool) -> Vec<Owned> {
    let mut one =
        exchange(5.0, "gateway.payments.example", vec![a("gateway.payments.example", 60, "203.0.113.80")]);
    one.mismatched_count = if signal { 12 } else { 2 };
    vec![Owned::Exchange(one)]
}

pub(super) fn second_answer(signal: bool) -> Vec<Owned> {
    let mut one =
        exchange(5.0, "gateway.payments.example", vec![a("gateway.payments.example", 60, "192.0.2.66")]);
    // The benign twin repeats the same data.
    let address = if signal { "203.0.113.80" } else { "192.0.2.66" };
    let second = exchange(5.4, "gateway.payments.example", vec![a("gateway.payments.example", 60, address)]);
    one.second = second.response.map(Box::new);
    vec![Owned::Exchange(one)]
}

pub(super) fn other_question(signal: bool) -> Vec<Owned> {
    (0..3)
        .map(|n| {
            let mut one =
                exchange(f64::from(n), "www.victim.example", vec![a("www.other.example", 60, "192.0.2.66")]);
            one.wrong_question = signal;
            Owned::Exchange(one)
        })
        .collect()
}

pub(super) fn ttl_jump(signal: bool) -> Vec<Owned> {
    (0..25)
        .map(|n| {
            let (ttl, address) =
                if n == 24 && signal { (3_600, "192.0.2.66") } else { (60, "198.51.100.40") };
            Owned::Exchange(exchange(
                f64::from(n) * 60.0,
                "pool.weather.example",
                vec![a("pool.weather.example", ttl, address)],
            ))
        })
        .collect()
}

pub(super) fn flood(signal: bool) -> Vec<Owned> {
    (0..150)
        .map(|n| {
            // The benign twin asks as often, for three names.
            let label = if signal { n } else { n % 3 };
            let base = format!("r{label}.victim.example");
            Owned::Intent(intent("guest/bot", f64::from(n) * 0.2, &base, IntentOutcome::NxDomain, Rtype::A))
        })
        .collect()
}

/// 250 lookups within one second, of one client, each below a domain of its own.
pub(super) fn fast_client(signal: bool) -> Vec<Owned> {
    let outcome = if signal { IntentOutcome::NxDomain } else { IntentOutcome::ResolvedAbsolute };
    (0..250)
        .map(|n| {
            let base = format!("www.site{n}.example");
            Owned::Intent(intent("guest/bot", 1.0 + f64::from(n) * 0.003, &base, outcome, Rtype::A))
        })
        .collect()
}

/// Sixty denials per second for a minute, of as many clients and domains: no client and no zone stands out.
pub(super) fn denied_everywhere(signal: bool) -> Vec<Owned> {
    let outcome = if signal { IntentOutcome::NxDomain } else { IntentOutcome::ResolvedAbsolute };
    (0..3_900u32)
        .map(|n| {
            let (who, base) = (format!("shop/web{}", n % 60), format!("www.site{}.example", n % 600));
            Owned::Intent(intent(&who, f64::from(n) / 60.0, &base, outcome, Rtype::A))
        })
        .collect()
}

pub(super) fn failures(signal: bool) -> Vec<Owned> {
    (0..40)
        .map(|n| {
            let rcode = if signal { Rcode::SERVFAIL } else { Rcode::NOERROR };
            ask("shop/web", f64::from(n), &format!("h{n}.site{n}.example"), Rtype::A)
                .answer(rcode, vec![])
                .fact()
        })
        .collect()
}

/// One lookup every two seconds for eleven minutes, slow in the last six if told so.
pub(super) fn latency(slow: bool) -> Vec<Owned> {
    (0..330)
        .map(|n| {
            let secs = f64::from(n) * 2.0;
            let lookup =
                ask("shop/web", secs, "telemetry.example.com", Rtype::A).answer(Rcode::NOERROR, vec![]);
            let ms = if slow && secs > 300.0 { 900 } else { 20 };
            lookup.with(|transaction| transaction.duration_ns = Some(ms * 1_000_000)).fact()
        })
        .collect()
}
