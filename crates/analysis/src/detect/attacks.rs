//! The attacks that rules must find, each with the same facts but for its one signal. Enters: whether the signal is
//! there; leaves: facts.

use truename_model::{
    ChangeKind, Class, Contradiction, Diagnostic, Explanation, Flags, IntentOutcome, Meta, ObjectRef, Rcode,
    RecordRef, Rtype, Severity, Verdict,
};

use super::fixture::*;

/// One attack: rule, severity, facts with the signal (true) and the same facts without it (false).
pub(super) type Case = (&'static str, Severity, fn(bool) -> Vec<Owned>);

pub(super) const CASES: [Case; 36] = [
    ("R01", Severity::High, sweep_services),
    ("R02", Severity::High, sweep_pods),
    ("R03", Severity::High, brute_force),
    ("R04", Severity::Low, fan_out),
    ("R05", Severity::High, ports_enumerated),
    ("R05", Severity::High, bare_services),
    ("R06", Severity::High, wildcard),
    ("R07", Severity::Critical, mode_probe),
    ("R08", Severity::High, transfer),
    ("R08", Severity::Critical, transfer_given),
    ("R09", Severity::Medium, chaos),
    ("H01", Severity::Critical, false_answer),
    ("H01", Severity::Critical, false_answer_on_the_path),
    ("H02", Severity::Critical, odd_shape),
    ("H03", Severity::Critical, injected_endpoint),
    ("H04", Severity::High, joined_by_labels),
    ("H05", Severity::Critical, impostor_pod),
    ("H05", Severity::Critical, impostor_slice),
    ("H05", Severity::Critical, dns_service_edited),
    ("H05", Severity::Critical, dns_address_claimed),
    ("H05", Severity::Critical, dns_image_replaced),
    ("H06", Severity::Critical, selector_removed),
    ("H07", Severity::High, became_external),
    ("H07", Severity::Medium, dangling_alias),
    ("H08", Severity::Critical, corefile_tampered),
    ("H08", Severity::Critical, replicas_run_different_files),
    ("H09", Severity::Critical, captured),
    ("H11", Severity::Critical, rebinding),
    ("H15", Severity::Critical, replicas_disagree),
    ("H17", Severity::High, silenced),
    ("P01", Severity::High, guessed_ids),
    ("P06", Severity::Critical, second_answer),
    ("P07", Severity::High, other_question),
    ("P11", Severity::Medium, ttl_jump),
    ("X08", Severity::High, flood),
    ("X10", Severity::Medium, failures),
];

pub(super) fn sweep(signal: bool, network: &str) -> Vec<Owned> {
    let mut facts =
        vec![Owned::Change(change(-1.0, ChangeKind::Listed, "", meta("", "node-1", &[]), node()))];
    for n in 0..70u32 {
        // The benign twin asks as often, for few peers.
        let last = if signal { n } else { n % 5 * 40 };
        let qname = format!("{last}.{network}.in-addr.arpa");
        facts.push(
            ask("guest/scan", f64::from(n) * 0.2, &qname, Rtype::PTR).answer(Rcode::NXDOMAIN, vec![]).fact(),
        );
    }
    facts
}

pub(super) fn sweep_services(signal: bool) -> Vec<Owned> {
    sweep(signal, "0.96.10")
}

pub(super) fn sweep_pods(signal: bool) -> Vec<Owned> {
    sweep(signal, "1.244.10")
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
    (0..20)
        .map(|n| {
            let base = format!("api.ns{}.svc.{ZONE}", if signal { n } else { n % 3 });
            Owned::Intent(intent(
                "guest/scan",
                f64::from(n),
                &base,
                IntentOutcome::ResolvedAbsolute,
                Rtype::A,
            ))
        })
        .collect()
}

pub(super) fn ports_enumerated(signal: bool) -> Vec<Owned> {
    (0..12)
        .map(|n| {
            let base = format!("_p{}._tcp.api.shop.svc.{ZONE}", if signal { n } else { n % 3 });
            Owned::Intent(intent("guest/scan", f64::from(n), &base, IntentOutcome::NxDomain, Rtype::SRV))
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
        Owned::Change(change(
            -19.0,
            ChangeKind::Listed,
            "",
            own,
            pod("10.244.0.2", "registry.k8s.io/coredns/coredns:v1"),
        )),
        Owned::Change(change(
            -18.0,
            ChangeKind::Listed,
            "",
            meta("kube-system", "coredns", &[]),
            controller("registry.k8s.io/coredns/coredns:v1"),
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
        "bob",
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

pub(super) fn dns_image_replaced(signal: bool) -> Vec<Owned> {
    let mut facts = dns_addon();
    let image = if signal { "registry.example/own/dns:1" } else { "registry.k8s.io/coredns/coredns:v2" };
    facts.push(Owned::Change(change(
        5.0,
        ChangeKind::Updated,
        "bob",
        meta("kube-system", "coredns", &[]),
        controller(image),
    )));
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
        one.mismatched_count = 16;
        one.mismatched_like_answer = 16;
        one.mismatched.push(RecordRef { item: 2, ordinal: 9 });
    }
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
