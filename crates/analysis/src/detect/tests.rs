//! Each rule fires on its attack, and falls silent when the one signal that it looks for is taken away; what only
//! looks like an attack stays silent. Enters: facts written by hand; leaves: findings.

use truename_model::profile::Suppression;
use truename_model::{
    ChangeKind, Class, Contradiction, Diagnostic, Explanation, Flags, IntentOutcome, Meta, ObjectRef,
    Profile, Rcode, RecordRef, Rtype, RuleState, Severity, Verdict,
};

use super::fixture::*;

/// One attack: rule, severity, facts with the signal (true) and the same facts without it (false).
type Case = (&'static str, Severity, fn(bool) -> Vec<Owned>);

const CASES: [Case; 36] = [
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

#[test]
fn every_rule_fires_on_its_attack() {
    for (at, (rule, severity, case)) in CASES.iter().enumerate() {
        let detected = run(&case(true));
        let found: Vec<_> = detected.findings.iter().filter(|finding| finding.rule == *rule).collect();
        let worst = found.iter().map(|finding| finding.severity).max();
        assert_eq!(worst, Some(*severity), "case {at} {rule}: {:?}", detected.findings);
        for finding in found {
            assert!(!finding.subject.is_empty() && !finding.target.is_empty(), "{finding:?}");
            assert!(!finding.evidence.is_empty(), "{finding:?}");
            assert!(
                !matches!(detected.states[*rule], RuleState::NotRun(_)),
                "{rule}: {:?}",
                detected.states[*rule]
            );
        }
    }
}

#[test]
fn without_its_one_signal_every_rule_is_silent() {
    for (at, (rule, _, case)) in CASES.iter().enumerate() {
        let found = run(&case(false)).findings;
        let found: Vec<_> = found.iter().filter(|finding| finding.rule == *rule).collect();
        assert!(found.is_empty(), "case {at} {rule}: {found:?}");
    }
}

#[test]
fn the_table_covers_the_catalogue() {
    let catalogue = crate::catalogue::Catalogue::new(&Profile::default()).unwrap();
    for meta in catalogue.rules() {
        let covered = CASES.iter().any(|(rule, ..)| *rule == meta.id);
        // X11 needs minutes of traffic: its test is below.
        assert!(covered || meta.id == "X11", "{}", meta.id);
    }
}

fn sweep(signal: bool, network: &str) -> Vec<Owned> {
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

fn sweep_services(signal: bool) -> Vec<Owned> {
    sweep(signal, "0.96.10")
}

fn sweep_pods(signal: bool) -> Vec<Owned> {
    sweep(signal, "1.244.10")
}

fn brute_force(signal: bool) -> Vec<Owned> {
    (0..40)
        .map(|n| {
            // The benign twin waits for the same two services.
            let n = if signal { n } else { n % 2 };
            let base = format!("svc{n}.ns{n}.svc.{ZONE}");
            Owned::Intent(intent("guest/scan", f64::from(n), &base, IntentOutcome::NxDomain, Rtype::A))
        })
        .collect()
}

fn fan_out(signal: bool) -> Vec<Owned> {
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

fn ports_enumerated(signal: bool) -> Vec<Owned> {
    (0..12)
        .map(|n| {
            let base = format!("_p{}._tcp.api.shop.svc.{ZONE}", if signal { n } else { n % 3 });
            Owned::Intent(intent("guest/scan", f64::from(n), &base, IntentOutcome::NxDomain, Rtype::SRV))
        })
        .collect()
}

fn bare_services(signal: bool) -> Vec<Owned> {
    let rtype = if signal { Rtype::SRV } else { Rtype::A };
    (0..4)
        .map(|n| {
            let base = format!("api{n}.shop.svc.{ZONE}");
            Owned::Intent(intent("guest/scan", f64::from(n), &base, IntentOutcome::ResolvedAbsolute, rtype))
        })
        .collect()
}

fn wildcard(signal: bool) -> Vec<Owned> {
    let first = if signal { "any" } else { "anyone" };
    let qname = format!("{first}.shop.svc.{ZONE}");
    vec![ask("guest/scan", 1.0, &qname, Rtype::SRV).answer(Rcode::NXDOMAIN, vec![]).fact()]
}

fn mode_probe(signal: bool) -> Vec<Owned> {
    let (version, wildcard) = (format!("dns-version.{ZONE}"), format!("any.any.svc.{ZONE}"));
    let mut facts = vec![ask("guest/scan", 3.0, &wildcard, Rtype::A).answer(Rcode::NXDOMAIN, vec![]).fact()];
    if signal {
        facts.push(ask("guest/scan", 1.0, &version, Rtype::TXT).answer(Rcode::NOERROR, vec![]).fact());
    }
    facts
}

fn transfer(signal: bool) -> Vec<Owned> {
    let rtype = if signal { Rtype::AXFR } else { Rtype::SOA };
    vec![ask("guest/scan", 1.0, ZONE, rtype).answer(Rcode::REFUSED, vec![]).fact()]
}

fn transfer_given(signal: bool) -> Vec<Owned> {
    let records = Diagnostic::OutgoingTransfer { records: 40, zone: format!("{ZONE}.") };
    let rtype = if signal { Rtype::AXFR } else { Rtype::SOA };
    vec![ask("guest/scan", 1.0, ZONE, rtype).fact(), line(1.2, 0, records)]
}

fn chaos(signal: bool) -> Vec<Owned> {
    let class = if signal { Class::CH } else { Class::IN };
    ["version.bind", "hostname.bind"]
        .iter()
        .map(|qname| {
            let lookup = ask("guest/scan", 1.0, qname, Rtype::TXT).answer(Rcode::REFUSED, vec![]);
            lookup.with(|transaction| transaction.question.class = class).fact()
        })
        .collect()
}

fn service_lookup(secs: f64, address: &str) -> Ask {
    let qname = format!("api.shop.svc.{ZONE}");
    ask("shop/web", secs, &qname, Rtype::A).answer(Rcode::NOERROR, vec![a(&qname, 30, address)])
}

fn false_answer(signal: bool) -> Vec<Owned> {
    let verdict = if signal { contradicted(Contradiction::WrongAddress) } else { verified() };
    let mut facts = shop();
    facts.push(service_lookup(1.0, "192.0.2.66").verdict(verdict).fact());
    facts
}

fn false_answer_on_the_path(signal: bool) -> Vec<Owned> {
    let qname = format!("api.shop.svc.{ZONE}");
    let wire = if signal { "192.0.2.66" } else { "10.96.0.20" };
    let mut facts = shop();
    facts.push(
        service_lookup(1.0, "10.96.0.20").verdict(verified()).dissent(vec![a(&qname, 30, wire)]).fact(),
    );
    facts
}

const COREFILE: &str = ".:53 {\n  errors\n  log\n  kubernetes cluster.local in-addr.arpa ip6.arpa {\n    ttl 30\n  }\n  forward . 203.0.113.53\n  cache 30\n}\n";

fn config(secs: f64, user: &str, text: &str) -> Owned {
    let kind = if secs < 0.0 { ChangeKind::Listed } else { ChangeKind::Updated };
    Owned::Change(change(secs, kind, user, meta("kube-system", "coredns", &[]), corefile(text)))
}

fn odd_shape(signal: bool) -> Vec<Owned> {
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

fn listed(name: &str, object: truename_model::Object) -> Owned {
    Owned::Change(change(-10.0, ChangeKind::Listed, "", meta("shop", name, &[]), object))
}

/// Service `db` with one pod of its own, a day old.
fn shop() -> Vec<Owned> {
    let own = owned(meta("shop", "db-1", &[("app", "db")]), "db");
    vec![
        Owned::Change(change(-20.0, ChangeKind::Listed, "", meta("", "node-1", &[]), node())),
        listed("db", service("None", &[("app", "db")])),
        Owned::Change(change(-9.0, ChangeKind::Listed, "", own, pod("10.244.1.9", "registry.example/db:1"))),
    ]
}

fn hand_made(name: &str, service: &str) -> Meta {
    meta("shop", name, &[("kubernetes.io/service-name", service)])
}

fn injected_endpoint(signal: bool) -> Vec<Owned> {
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

fn joined_by_labels(signal: bool) -> Vec<Owned> {
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

fn dns_addon() -> Vec<Owned> {
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

fn impostor_pod(signal: bool) -> Vec<Owned> {
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

fn impostor_slice(signal: bool) -> Vec<Owned> {
    let mut facts = dns_addon();
    let user = if signal { "bob" } else { "system:kube-controller-manager" };
    let extra = meta("kube-system", "dns-extra", &[("kubernetes.io/service-name", "kube-dns")]);
    facts.push(Owned::Change(change(5.0, ChangeKind::Created, user, extra, slice(&["10.244.1.66"]))));
    facts
}

fn dns_service_edited(signal: bool) -> Vec<Owned> {
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

fn dns_address_claimed(signal: bool) -> Vec<Owned> {
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

fn dns_image_replaced(signal: bool) -> Vec<Owned> {
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

fn selector_removed(signal: bool) -> Vec<Owned> {
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

fn became_external(signal: bool) -> Vec<Owned> {
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

fn dangling_alias(signal: bool) -> Vec<Owned> {
    let mut facts = vec![listed("legacy", external("legacy.example.net"))];
    for n in 0..4 {
        let answers = if signal { vec![] } else { vec![a("legacy.example.net", 60, "198.51.100.1")] };
        facts.push(Owned::Exchange(exchange(f64::from(n) * 60.0, "legacy.example.net", answers)));
    }
    facts
}

const TAMPERED: &str = ".:53 {\n  errors\n  log\n  hosts {\n    198.51.100.66 api.shop.svc.cluster.local\n    fallthrough\n  }\n  kubernetes cluster.local in-addr.arpa ip6.arpa {\n    ttl 30\n  }\n  forward . 203.0.113.53\n  cache 30\n}\n";

fn corefile_tampered(signal: bool) -> Vec<Owned> {
    let commented = format!("# reviewed\n{COREFILE}");
    let text = if signal { TAMPERED } else { &commented };
    let config_ref = ObjectRef { resource_version: "1050".into(), ..ObjectRef::default() };
    let by = Explanation::Corefile { config: config_ref, line: 5, text: "198.51.100.66".into() };
    let lookup = service_lookup(8.0, "198.51.100.66").verdict(Verdict::Explained { by });
    vec![config(-1.0, "", COREFILE), config(5.0, "bob", text), lookup.fact(), config(30.0, "alice", COREFILE)]
}

fn replicas_run_different_files(signal: bool) -> Vec<Owned> {
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

fn captured(signal: bool) -> Vec<Owned> {
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

fn rebinding(signal: bool) -> Vec<Owned> {
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

fn replicas_disagree(signal: bool) -> Vec<Owned> {
    let other = if signal { "192.0.2.66" } else { "10.96.0.20" };
    let odd = || if signal { contradicted(Contradiction::WrongAddress) } else { verified() };
    vec![
        service_lookup(1.0, "10.96.0.20").verdict(verified()).fact(),
        service_lookup(2.0, other).by(1).verdict(odd()).fact(),
        service_lookup(3.0, "10.96.0.20").verdict(verified()).fact(),
        service_lookup(4.0, other).by(1).verdict(odd()).fact(),
    ]
}

fn silenced(signal: bool) -> Vec<Owned> {
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

fn guessed_ids(signal: bool) -> Vec<Owned> {
    let mut one =
        exchange(5.0, "gateway.payments.example", vec![a("gateway.payments.example", 60, "192.0.2.66")]);
    if signal {
        one.mismatched_count = 16;
        one.mismatched_like_answer = 16;
        one.mismatched.push(RecordRef { item: 2, ordinal: 9 });
    }
    vec![Owned::Exchange(one)]
}

fn second_answer(signal: bool) -> Vec<Owned> {
    let mut one =
        exchange(5.0, "gateway.payments.example", vec![a("gateway.payments.example", 60, "192.0.2.66")]);
    // The benign twin repeats the same data.
    let address = if signal { "203.0.113.80" } else { "192.0.2.66" };
    let second = exchange(5.4, "gateway.payments.example", vec![a("gateway.payments.example", 60, address)]);
    one.second = second.response.map(Box::new);
    vec![Owned::Exchange(one)]
}

fn other_question(signal: bool) -> Vec<Owned> {
    (0..3)
        .map(|n| {
            let mut one =
                exchange(f64::from(n), "www.victim.example", vec![a("www.other.example", 60, "192.0.2.66")]);
            one.wrong_question = signal;
            Owned::Exchange(one)
        })
        .collect()
}

fn ttl_jump(signal: bool) -> Vec<Owned> {
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

fn flood(signal: bool) -> Vec<Owned> {
    (0..150)
        .map(|n| {
            // The benign twin asks as often, for three names.
            let label = if signal { n } else { n % 3 };
            let base = format!("r{label}.victim.example");
            Owned::Intent(intent("guest/bot", f64::from(n) * 0.2, &base, IntentOutcome::NxDomain, Rtype::A))
        })
        .collect()
}

fn failures(signal: bool) -> Vec<Owned> {
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
fn latency(slow: bool) -> Vec<Owned> {
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

#[test]
fn slow_minutes_are_reported_one_grade_lower_without_a_day_of_history() {
    let detected = run(&latency(true));
    let found: Vec<_> = detected.findings.iter().filter(|finding| finding.rule == "X11").collect();
    assert_eq!((found.len(), found[0].severity), (1, Severity::Info));
    assert!(found[0].graded[0].contains("24 h"));
    assert!(matches!(detected.states["X11"], RuleState::RunReduced(_)));
    assert!(run(&latency(false)).findings.is_empty());
}

#[test]
fn what_only_looks_like_an_attack_is_silent() {
    let mut facts = dns_addon();
    facts.extend(shop());
    // A roll-out: the Deployment's next ReplicaSet. A canary: same image, same application.
    let mut next = owned(meta("shop", "db-2", &[("app", "db")]), "db");
    next.owners[0].name = "db-def".into();
    next.labels.insert("pod-template-hash".into(), "def".into());
    facts.push(Owned::Change(change(
        5.0,
        ChangeKind::Created,
        "",
        next,
        pod("10.244.1.10", "registry.example/db:2"),
    )));
    let canary = owned(meta("shop", "db-canary-1", &[("app", "db")]), "db-canary");
    facts.push(Owned::Change(change(
        6.0,
        ChangeKind::Created,
        "",
        canary,
        pod("10.244.1.11", "registry.example/db:2"),
    )));
    // CoreDNS itself rolls out and is upgraded; the Corefile is reviewed, and changed by an approved requester.
    let coredns = owned(meta("kube-system", "coredns-2", &[("k8s-app", "kube-dns")]), "coredns");
    facts.push(Owned::Change(change(
        7.0,
        ChangeKind::Created,
        "",
        coredns,
        pod("10.244.0.3", "registry.k8s.io/coredns/coredns:v2"),
    )));
    facts.push(config(-5.0, "", COREFILE));
    facts.push(config(8.0, "bob", &format!("# reviewed\n{COREFILE}")));
    facts.push(config(9.0, "argocd", TAMPERED));
    // An external database behind a service without a selector.
    facts.push(listed("external-db", service("10.96.0.40", &[])));
    facts.push(Owned::Change(change(
        10.0,
        ChangeKind::Created,
        "bob",
        hand_made("external-db-1", "external-db"),
        slice(&["198.51.100.7"]),
    )));
    // Short names of services in a namespace that is also a top-level domain.
    let mut short = intent("tools/cron", 11.0, "api.shop", IntentOutcome::Captured(1), Rtype::A);
    short.last = name(&format!("api.shop.svc.{ZONE}"));
    facts.push(Owned::Intent(short));
    // Named ports, a content network that rotates, a block list, split horizon, server failures of a restart.
    for n in 0..30 {
        let secs = 20.0 + f64::from(n);
        facts.push(Owned::Intent(intent(
            "monitoring/prometheus",
            secs,
            &format!("_web._tcp.api.shop.svc.{ZONE}"),
            IntentOutcome::ResolvedAbsolute,
            Rtype::SRV,
        )));
        let edge = format!("198.51.{}.7{}", n % 9, n % 4);
        let lookup = ask("shop/web", secs, "edge.cdn.example", Rtype::A).by(u32::from(n % 2 == 0));
        facts.push(lookup.answer(Rcode::NOERROR, vec![a("edge.cdn.example", 5, &edge)]).fact());
        let blocked = ask("shop/web", secs, "ads.example.org", Rtype::A);
        facts.push(blocked.answer(Rcode::NOERROR, vec![a("ads.example.org", 5, "0.0.0.0")]).fact());
    }
    let horizon = ask("shop/web", 60.0, "db.corp.example", Rtype::A);
    facts.push(horizon.answer(Rcode::NOERROR, vec![a("db.corp.example", 300, "172.16.3.4")]).fact());
    for n in 0..10 {
        facts.push(
            ask("shop/web", 61.0 + f64::from(n), "example.com", Rtype::A)
                .answer(Rcode::SERVFAIL, vec![])
                .fact(),
        );
    }
    let detected = run(&facts);
    let loud: Vec<_> =
        detected.findings.iter().filter(|finding| finding.severity >= Severity::Medium).collect();
    assert!(loud.is_empty(), "{loud:#?}");
    assert!(detected.incidents.is_empty());
}

#[test]
fn a_corefile_put_back_is_no_second_alarm_and_names_the_clients_it_lied_to() {
    let found = run(&corefile_tampered(true)).findings;
    let tampered: Vec<_> = found.iter().filter(|finding| finding.rule == "H08").collect();
    assert_eq!(tampered.len(), 1);
    assert_eq!(tampered[0].subject, "user bob");
    assert_eq!(tampered[0].target, "ConfigMap kube-system/coredns");
    assert_eq!(tampered[0].victims, ["pod shop/web-1"]);
    assert!(
        tampered[0].why.contains("+hosts { 198.51.100.66 api.shop.svc.cluster.local }"),
        "{}",
        tampered[0].why
    );
}

#[test]
fn incidents_are_told_with_their_victims() {
    let names = |facts: &[Owned]| {
        run(facts).incidents.iter().map(|incident| incident.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&corefile_tampered(true)), ["CoreDNS poisoning via ConfigMap"]);
    assert_eq!(names(&injected_endpoint(true)), ["endpoint injection"]);
    let mut enumeration = mode_probe(true);
    enumeration.extend(sweep_services(true));
    enumeration.extend(ports_enumerated(true));
    assert_eq!(names(&enumeration), ["coredns-enum run"]);
    let mut spider = transfer(true);
    spider.push(
        ask("guest/scan", 0.5, &format!("ns.dns.{ZONE}"), Rtype::A).answer(Rcode::NOERROR, vec![]).fact(),
    );
    spider.extend(sweep_services(true));
    assert_eq!(names(&spider), ["k8spider run"]);
    let mut poisoned = guessed_ids(true);
    assert!(names(&poisoned).is_empty());
    let lookup = ask("shop/web", 6.0, "gateway.payments.example", Rtype::A);
    let lookup = lookup.answer(Rcode::NOERROR, vec![a("gateway.payments.example", 30, "192.0.2.66")]);
    poisoned.push(lookup.verdict(contradicted(Contradiction::ForgedUpstream)).fact());
    assert_eq!(names(&poisoned), ["successful poisoning of the forwarder"]);
    assert_eq!(run(&poisoned).findings[0].victims, ["pod shop/web-1"]);
}

#[test]
fn findings_sum_up_within_an_hour_and_split_after_it() {
    let lies: Vec<Owned> = (0..200)
        .map(|n| {
            service_lookup(f64::from(n), "192.0.2.66")
                .verdict(contradicted(Contradiction::WrongAddress))
                .fact()
        })
        .collect();
    let found = run(&lies).findings;
    assert_eq!((found.len(), found[0].count, found[0].evidence.len()), (1, 200, 64));
    let late =
        service_lookup(4_000.0, "192.0.2.66").verdict(contradicted(Contradiction::WrongAddress)).fact();
    let found = run(&[lies.into_iter().next().unwrap(), late]).findings;
    assert_eq!(found.len(), 2);
    assert_ne!(found[0].id, found[1].id);
}

#[test]
fn the_same_facts_give_the_same_findings_in_the_same_order() {
    let all = || CASES.iter().flat_map(|(_, _, case)| case(true)).collect::<Vec<_>>();
    let (one, two) = (run(&all()), run(&all()));
    assert_eq!(one, two);
    let order: Vec<_> = one
        .findings
        .iter()
        .map(|f| (std::cmp::Reverse(f.severity), f.seen.map(|seen| seen.lo), f.id.clone()))
        .collect();
    let mut sorted = order.clone();
    sorted.sort();
    assert_eq!(order, sorted);
    assert!(one.findings.iter().all(|finding| finding.id.len() == 16));
}

#[test]
fn a_suppression_marks_and_ends() {
    let with = |expires: &str| {
        let suppression = Suppression {
            rule: "H01".into(),
            subject: "replica *".into(),
            target: String::new(),
            reason: "drill".into(),
            expires: expires.into(),
        };
        let profile = Profile { suppressions: vec![suppression], ..profile() };
        run_with(&false_answer(true), &profile).findings[0].suppressed.clone()
    };
    assert_eq!(with("2030-01-01T00:00:00Z").as_deref(), Some("drill"));
    assert_eq!(with("2020-01-01T00:00:00Z"), None);
}

#[test]
fn hostile_text_reaches_no_field_raw() {
    let mut facts = shop();
    let user = "bob\u{1b}[31m\u{202e}<script>";
    facts.push(Owned::Change(change(
        5.0,
        ChangeKind::Created,
        user,
        hand_made("db-extra", "db"),
        slice(&["198.51.100.66"]),
    )));
    let qname = format!("\\027[31m.shop.svc.{ZONE}");
    facts.push(
        ask("shop/web", 6.0, &qname, Rtype::A)
            .answer(Rcode::NOERROR, vec![])
            .verdict(contradicted(Contradiction::ShouldNotExist))
            .fact(),
    );
    let found = run(&facts).findings;
    assert_eq!(found.len(), 2, "{found:?}");
    for finding in found {
        let texts = [&finding.title, &finding.subject, &finding.target, &finding.why];
        let shown = finding.evidence.iter().map(|evidence| &evidence.shows).chain(&finding.victims);
        for text in texts.into_iter().chain(shown) {
            assert!(!text.chars().any(char::is_control) && !text.contains('\u{202e}'), "{text:?}");
        }
    }
}

#[test]
fn silence_near_a_gap_is_not_counted() {
    let mut facts = silenced(true);
    facts.push(gap(9.0));
    let found = run(&facts).findings;
    let orphan: Vec<_> = found.iter().filter(|finding| finding.rule == "H17").collect();
    assert_eq!((orphan.len(), orphan[0].severity), (1, Severity::Medium));
}

#[test]
fn a_version_told_by_watch_and_audit_is_one_finding_with_its_author() {
    let mut facts = shop();
    for user in ["", "bob"] {
        facts.push(Owned::Change(change(
            5.0,
            ChangeKind::Created,
            user,
            hand_made("db-extra", "db"),
            slice(&["198.51.100.66"]),
        )));
    }
    let found = run(&facts).findings;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].subject, "user bob");
}

#[test]
fn rules_without_their_evidence_say_what_they_need() {
    let detected = run(&[]);
    assert_eq!(detected.states.len(), 28);
    assert!(matches!(&detected.states["P01"], RuleState::NotRun(why) if why.contains("packets")));
    assert!(detected.states.values().all(|state| matches!(state, RuleState::NotRun(_))));
}

#[test]
fn edns_lost_on_the_wire_is_an_odd_shape() {
    let qname = format!("api.shop.svc.{ZONE}");
    let case = |with_edns: bool| {
        let lookup = service_lookup(1.0, "10.96.0.20")
            .verdict(verified())
            .with(|transaction| transaction.bufsize = Some(1_232));
        let lookup = lookup.dissent(vec![a(&qname, 30, "10.96.0.20")]).with(|transaction| {
            let response = transaction.dissent.as_mut().unwrap();
            let body = std::sync::Arc::make_mut(&mut response.body);
            body.edns = with_edns.then(edns);
        });
        run(&[config(-1.0, "", COREFILE), lookup.fact()]).findings
    };
    assert_eq!(case(false).iter().filter(|finding| finding.rule == "H02").count(), 1);
    assert!(case(true).is_empty());
}

#[test]
fn an_orphan_that_answers_reverse_names_is_found() {
    let mut facts = shop();
    facts.push(Owned::Change(change(
        5.0,
        ChangeKind::Created,
        "bob",
        hand_made("metrics", "nothing"),
        slice(&["10.244.1.9"]),
    )));
    let reverse = "9.1.244.10.in-addr.arpa";
    let answer = ptr(reverse, &format!("10-244-1-9.nothing.shop.svc.{ZONE}"));
    facts.push(ask("tools/cron", 8.0, reverse, Rtype::PTR).answer(Rcode::NOERROR, vec![answer]).fact());
    let found = run(&facts).findings;
    let orphan: Vec<_> = found.iter().filter(|finding| finding.rule == "H17").collect();
    assert_eq!((orphan.len(), orphan[0].severity), (1, Severity::High));
    assert_eq!(orphan[0].victims, ["pod tools/cron-1"]);
}

#[test]
fn a_hijacking_corefile_speaks_for_itself_when_the_version_before_is_not_there() {
    let found = run(&[config(5.0, "mallory", TAMPERED), config(30.0, "bob", COREFILE)]).findings;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].rule.as_str(), found[0].subject.as_str()), ("H08", "user mallory"));
    assert!(run(&[config(5.0, "mallory", COREFILE)]).findings.is_empty());
}

#[test]
fn a_reverse_lookup_logged_but_never_sent_is_silent() {
    let case = |sent: bool| {
        let mut facts = silenced(true);
        facts.pop();
        let lookup =
            ask("tools/cron", 8.0, "9.1.244.10.in-addr.arpa", Rtype::PTR).answer(Rcode::NOERROR, vec![]);
        let lookup = lookup.with(|transaction| {
            transaction
                .vantages
                .retain(|vantage| sent || *vantage != truename_model::Vantage::ClientResponse);
            let response = transaction.response.as_mut().unwrap();
            response.vantage = truename_model::Vantage::LogLine;
            std::sync::Arc::make_mut(&mut response.body).sections_seen = false;
        });
        facts.push(lookup.fact());
        run(&facts).findings.iter().find(|finding| finding.rule == "H17").map(|finding| finding.severity)
    };
    assert_eq!((case(false), case(true)), (Some(Severity::High), Some(Severity::Medium)));
}

#[test]
fn a_name_cut_at_a_guessed_suffix_still_counts() {
    let facts: Vec<Owned> = (0..12)
        .map(|n| {
            let base = format!("_p{n}._tcp.api.shop");
            let mut one = intent("guest/scan", f64::from(n), &base, IntentOutcome::NxDomain, Rtype::SRV);
            one.last = name(&format!("{base}.svc.{ZONE}"));
            Owned::Intent(one)
        })
        .collect();
    assert_eq!(run(&facts).findings.iter().filter(|finding| finding.rule == "R05").count(), 1);
}
