//! The attacks that rules must find, each with the same facts but for its one signal. Enters: whether the signal is
//! there; leaves: facts.

use truename_model::{
    ChangeKind, Class, Contradiction, Diagnostic, Flags, IntentOutcome, Object, Rcode, RecordRef, Rtype,
    Severity, Vantage,
};

use super::changes::*;
use super::fixture::*;

/// One attack: rule, severity, facts with the signal (true) and the same facts without it (false).
pub(super) type Case = (&'static str, Severity, fn(bool) -> Vec<Owned>);

pub(super) const CASES: [Case; 92] = [
    ("R01", Severity::High, sweep_services),
    ("R01", Severity::High, sweep_in_a_crowd),
    ("R02", Severity::High, sweep_pods),
    ("R03", Severity::High, brute_force),
    ("R04", Severity::Low, fan_out),
    ("R05", Severity::High, ports_enumerated),
    ("R05", Severity::High, bare_services),
    ("R05", Severity::Low, bare_service_once),
    ("R06", Severity::High, wildcard),
    ("R06", Severity::Critical, wildcard_answered),
    ("R06", Severity::High, wildcard_beside_a_service_any),
    ("R07", Severity::Critical, mode_probe),
    ("R07", Severity::Medium, version_probe),
    ("R08", Severity::High, transfer),
    ("R08", Severity::Critical, transfer_given),
    ("R08", Severity::Medium, own_name),
    ("R09", Severity::Medium, chaos),
    ("R09", Severity::Low, any_type),
    ("R09", Severity::Medium, any_and_nsid),
    ("R21", Severity::Medium, forbidden),
    ("R21", Severity::High, forbidden_often),
    ("H01", Severity::Critical, false_answer),
    ("H01", Severity::Critical, false_answer_on_the_path),
    ("H01", Severity::High, false_denial),
    ("H02", Severity::Critical, odd_shape),
    ("H02", Severity::Medium, question_case_lost),
    ("H02", Severity::Medium, records_added),
    ("H02", Severity::Medium, denial_without_soa),
    ("H02", Severity::Medium, denial_of_another_zone),
    ("H03", Severity::Critical, injected_endpoint),
    ("H03", Severity::High, injected_stranger),
    ("H03", Severity::Critical, injected_loopback),
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
    ("H06", Severity::Medium, selector_removed_alone),
    ("H07", Severity::High, became_external),
    ("H07", Severity::Medium, dangling_alias),
    ("H07", Severity::Low, new_alias),
    ("H07", Severity::High, alias_into_another_namespace),
    ("H07", Severity::High, alias_of_the_metadata_service),
    ("H08", Severity::Critical, corefile_tampered),
    ("H08", Severity::High, hijacked_from_the_start),
    ("H08", Severity::High, written_unseen),
    ("H08", Severity::Critical, patched),
    ("H08", Severity::Critical, replicas_run_different_files),
    ("H08", Severity::High, replica_off_the_map),
    ("H08", Severity::Critical, forwarded_elsewhere),
    ("H08", Severity::Critical, another_api_server),
    ("H08", Severity::Medium, ttl_beside_an_endpoint),
    ("H08", Severity::Critical, zone_block_added),
    ("H08", Severity::Critical, public_zone_of_k8s_external),
    ("H08", Severity::Critical, alias_target_rewritten),
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
    ("H11", Severity::High, inside_answer),
    ("H11", Severity::Low, private_answer),
    ("H15", Severity::Critical, replicas_disagree),
    ("H17", Severity::High, silenced),
    ("H17", Severity::Medium, orphan_alone),
    ("P01", Severity::High, guessed_ids),
    ("P01", Severity::Medium, guesses_too_late),
    ("P01", Severity::Critical, guesses_in_five_queries),
    ("P01", Severity::Critical, sprayed_ports),
    ("P01", Severity::Medium, one_closed_port),
    ("P06", Severity::Critical, second_answer),
    ("P07", Severity::High, other_question),
    ("P07", Severity::Medium, other_question_once),
    ("P11", Severity::Medium, ttl_jump),
    ("P11", Severity::High, ttl_rises),
    ("P11", Severity::High, ttl_rises_before_it_is_asked_again),
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

/// Hundreds of pods log the names of their hosts meanwhile.
pub(super) fn sweep_in_a_crowd(signal: bool) -> Vec<Owned> {
    let mut facts = Vec::new();
    for (at, fact) in sweep(signal, "0.96.10", 10.0).into_iter().enumerate() {
        facts.push(fact);
        facts.extend((0..300).map(|n| {
            let lookup =
                ask(&format!("shop/p{n}"), 10.0 + at as f64 * 0.2, "1.0.96.10.in-addr.arpa", Rtype::PTR);
            lookup.answer(Rcode::NXDOMAIN, vec![]).fact()
        }));
    }
    facts
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

/// Services of a shop, each with a pod behind it, a policy over all of them, and who resolves them.
pub(super) fn guarded(services: usize, kind: &str, spec: &str) -> Vec<Owned> {
    let created = |meta, object| Owned::Change(change(-600.0, ChangeKind::Created, "", meta, object));
    let mut facts = vec![created(meta("", "shop", &[]), Object::Namespace)];
    facts.push(created(meta("", "guest", &[]), Object::Namespace));
    facts.push(created(meta("guest", "scan-1", &[]), pod("10.244.1.5", "scan")));
    let spec = serde_json::from_str(spec).unwrap();
    facts.push(created(
        meta("shop", "guard", &[]),
        Object::Policy(kind.to_owned(), std::sync::Arc::new(spec)),
    ));
    let elsewhere = serde_json::json!({"podSelector": {"matchLabels": {"no": "pod"}}});
    let elsewhere = Object::Policy("NetworkPolicy".to_owned(), std::sync::Arc::new(elsewhere));
    facts.push(created(meta("guest", "other", &[]), elsewhere));
    // A service elsewhere shows that those of all namespaces are watched.
    facts.push(created(meta("guest", "api", &[]), service("10.96.0.99", &[])));
    facts.push(created(meta("guest", "api-x", &[("kubernetes.io/service-name", "api")]), slice(&[])));
    for n in 0..services {
        let (name, address) = (format!("db{n}"), format!("10.244.2.{}", n + 1));
        facts.push(created(meta("shop", &format!("{name}-0"), &[]), pod(&address, "db")));
        facts
            .push(created(meta("shop", &name, &[]), with_port(service(&format!("10.96.0.{}", n + 20), &[]))));
        let slice = with_port(slice(&[&address]));
        facts.push(created(
            meta("shop", &format!("{name}-x"), &[("kubernetes.io/service-name", &name)]),
            slice,
        ));
    }
    facts.extend((0..services).map(|n| {
        let base = format!("db{n}.shop.svc.{ZONE}");
        Owned::Intent(intent("guest/scan", n as f64, &base, IntentOutcome::ResolvedAbsolute, Rtype::A))
    }));
    facts
}

fn guard(signal: bool) -> &'static str {
    if signal { "{\"podSelector\": {}}" } else { "{\"podSelector\": {}, \"ingress\": [{}]}" }
}

pub(super) fn forbidden(signal: bool) -> Vec<Owned> {
    guarded(1, "NetworkPolicy", guard(signal))
}

pub(super) fn forbidden_often(signal: bool) -> Vec<Owned> {
    guarded(3, "NetworkPolicy", guard(signal))
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

pub(super) fn bare_service_once(signal: bool) -> Vec<Owned> {
    bare_services(signal).into_iter().take(1).collect()
}

/// Answered with data: CoreDNS before 1.9.0, or a wildcard plugin.
pub(super) fn wildcard_answered(signal: bool) -> Vec<Owned> {
    let qname = format!("{}.shop.svc.{ZONE}", if signal { "*" } else { "api" });
    let lookup = ask("guest/scan", 1.0, &qname, Rtype::A);
    vec![lookup.answer(Rcode::NOERROR, vec![a(&qname, 5, "10.96.0.20")]).fact()]
}

pub(super) fn version_probe(signal: bool) -> Vec<Owned> {
    mode_probe(signal).into_iter().skip(1).collect()
}

pub(super) fn own_name(signal: bool) -> Vec<Owned> {
    let qname = format!("{}.dns.{ZONE}", if signal { "ns" } else { "api" });
    vec![ask("guest/scan", 1.0, &qname, Rtype::A).answer(Rcode::NOERROR, vec![]).fact()]
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

pub(super) fn false_denial(signal: bool) -> Vec<Owned> {
    let verdict = if signal { contradicted(Contradiction::ShouldExist) } else { verified() };
    let lookup = ask("shop/web", 1.0, &format!("api.shop.svc.{ZONE}"), Rtype::A);
    let mut facts = shop();
    facts.push(lookup.answer(Rcode::NXDOMAIN, vec![]).verdict(verdict).fact());
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

/// A public name answered with this, always.
fn answered_with(address: &str) -> Vec<Owned> {
    let node = Owned::Change(change(-1.0, ChangeKind::Listed, "", meta("", "node-1", &[]), node()));
    let lookup = ask("shop/web", 1.0, "r1.badcdn.com", Rtype::A);
    vec![node, lookup.answer(Rcode::NOERROR, vec![a("r1.badcdn.com", 300, address)]).fact()]
}

pub(super) fn inside_answer(signal: bool) -> Vec<Owned> {
    answered_with(if signal { "10.96.0.1" } else { "198.51.100.91" })
}

pub(super) fn private_answer(signal: bool) -> Vec<Owned> {
    answered_with(if signal { "172.16.3.4" } else { "198.51.100.91" })
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

pub(super) fn guesses_in_five_queries(signal: bool) -> Vec<Owned> {
    (0..5)
        .map(|n| {
            let answer = vec![a("gateway.payments.example", 60, "203.0.113.80")];
            let mut one = exchange(f64::from(n) * 60.0, "gateway.payments.example", answer);
            (one.mismatched_count, one.mismatched_open) = if signal { (3, 3) } else { (2, 2) };
            Owned::Exchange(one)
        })
        .collect()
}

pub(super) fn other_question_once(signal: bool) -> Vec<Owned> {
    other_question(signal).into_iter().take(1).collect()
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

/// Replies to no open question: port 0 stands for many ports.
fn unasked(secs: f64, port: u16, count: u32) -> Owned {
    let mut one = exchange(secs, "gateway.payments.example", Vec::new());
    one.mismatched.extend(one.query.take());
    (one.response, one.wire_id, one.mismatched_count) = (None, None, count);
    one.local.as_mut().unwrap().port = port;
    Owned::Exchange(one)
}

pub(super) fn sprayed_ports(signal: bool) -> Vec<Owned> {
    // The benign twin has as many answers, minutes apart.
    (0..4).map(|n| unasked(f64::from(n) * if signal { 2.0 } else { 60.0 }, 0, 30)).collect()
}

pub(super) fn one_closed_port(signal: bool) -> Vec<Owned> {
    // The benign twin has as many answers, over several ports.
    (0..4).map(|n| unasked(f64::from(n) * 0.4, if signal { 41_000 } else { 41_000 + n as u16 }, 3)).collect()
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

/// An exchange as the tap of the replica tells it.
fn tapped(secs: f64, name: &str, address: &str) -> Owned {
    let mut exchange = exchange(secs, name, vec![a(name, 60, address)]);
    exchange.response.iter_mut().for_each(|response| response.vantage = Vantage::ForwarderResponse);
    Owned::Exchange(exchange)
}

/// Lookups of one name with TTL 60, 50 and then 58, on a replica whose upstream leg is seen.
fn rising() -> Vec<Owned> {
    let mut facts = vec![tapped(0.0, "other.example.net", "198.51.100.1")];
    for (secs, ttl) in [(1.0, 60), (11.0, 50), (20.0, 58)] {
        let lookup = ask("shop/web", secs, "pool.weather.example", Rtype::A);
        facts.push(
            lookup.answer(Rcode::NOERROR, vec![a("pool.weather.example", ttl, "198.51.100.40")]).fact(),
        );
    }
    facts
}

fn asked_again(secs: f64) -> Owned {
    tapped(secs, "pool.weather.example", "198.51.100.40")
}

pub(super) fn ttl_rises(signal: bool) -> Vec<Owned> {
    let mut facts = rising();
    // The exchange that explains it is told of after the lookup.
    facts.extend((!signal).then(|| asked_again(18.0)));
    facts
}

pub(super) fn ttl_rises_before_it_is_asked_again(signal: bool) -> Vec<Owned> {
    let mut facts = rising();
    facts.push(asked_again(if signal { 40.0 } else { 18.0 }));
    facts
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
