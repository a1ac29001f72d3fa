//! Each rule fires on its attack, and falls silent when the one signal that it looks for is taken away; what only
//! looks like an attack stays silent. Enters: facts written by hand; leaves: findings.

use truename_model::profile::Suppression;
use truename_model::{
    ChangeKind, Contradiction, IntentOutcome, Object, Profile, Rcode, Rtype, RuleState, Severity,
};

use super::attacks::*;
use super::changes::*;
use super::fixture::*;

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
fn what_policies_leave_open_forbids_nothing() {
    let forbids = |facts: &[Owned]| run(facts).findings.iter().any(|finding| finding.rule == "R21");
    assert!(forbids(&guarded(1, "NetworkPolicy", "{}")));
    // A network plugin's own policy decides too; and a policy that the API server refuses.
    assert!(!forbids(&guarded(1, "CiliumNetworkPolicy", "{}")));
    assert!(!forbids(&guarded(1, "NetworkPolicy", "{\"unknown\": 1}")));
    let changed = |secs: f64| {
        let mut facts = guarded(1, "NetworkPolicy", "{}");
        let gone = Object::Policy("NetworkPolicy".to_owned(), std::sync::Arc::new(serde_json::json!({})));
        let change = change(secs, ChangeKind::Deleted, "", meta("shop", "guard", &[]), gone);
        facts.insert(facts.len() - 1, Owned::Change(change));
        facts
    };
    assert!(!forbids(&changed(5.0)), "around its change a policy may be enforced or not");
    assert!(forbids(&changed(60.0)));
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
        tampered[0].why.contains("+5 hosts 198.51.100.66 api.shop.svc.cluster.local"),
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

/// SHA-256 over rule, subject and target, each after its length, and the first citation: written here a second time.
fn id_by_hand(finding: &truename_model::Finding) -> String {
    use sha2::{Digest, Sha256};
    let mut bytes = Vec::new();
    for part in [&finding.rule, &finding.subject, &finding.target] {
        bytes.extend((part.len() as u64).to_le_bytes());
        bytes.extend(part.bytes());
    }
    let first = &finding.evidence[0].citation;
    bytes.extend(first.item.0);
    bytes.extend(first.record.to_le_bytes());
    truename_model::Sha256(Sha256::digest(&bytes).into()).to_string()[..16].to_owned()
}

#[test]
fn an_id_is_made_of_rule_subject_target_and_first_citation_and_nothing_else() {
    for (rule, _, case) in CASES {
        for finding in run(&case(true)).findings {
            assert_eq!(finding.id, id_by_hand(&finding), "{rule}");
        }
    }
    let id = |detected: &crate::detect::Detected| {
        let found: Vec<_> = detected.findings.iter().filter(|finding| finding.rule == "R09").collect();
        assert_eq!(found.len(), 1);
        found[0].id.clone()
    };
    let plain = run(&chaos(true));
    // Every version of the tool must give this id to these facts.
    assert_eq!(id(&plain), "c306c15e3350a780");
    // Severity and words change with a threshold of the profile, count and evidence with more events.
    let thresholds = [("R09".to_owned(), [("distinct".to_owned(), 9.0)].into())].into();
    let milder = run_with(&chaos(true), &Profile { thresholds, ..profile() });
    assert_ne!(milder.findings[0].severity, plain.findings[0].severity);
    assert_eq!(id(&milder), id(&plain));
    let mut more = chaos(true);
    more.extend(chaos(true).into_iter().map(|fact| match fact {
        Owned::Lookup(judged) => Ask(judged).with(|transaction| transaction.asked = at(30.0)).fact(),
        other => other,
    }));
    let more = run(&more);
    assert_ne!(more.findings[0].count, plain.findings[0].count);
    assert_eq!(id(&more), id(&plain));
    // The same items in another order: other numbers, the same digests.
    let digest = |n: u8| truename_model::Sha256([n; 32]);
    let moved: Vec<Owned> = chaos(true)
        .into_iter()
        .map(|fact| match fact {
            Owned::Lookup(judged) => {
                let moved = Ask(judged).with(|transaction| {
                    transaction.response.as_mut().unwrap().record.item = 5;
                });
                moved.fact()
            }
            other => other,
        })
        .collect();
    let items = [0, 5, 2, 3, 4, 1].map(digest);
    assert_eq!(id(&run_over(&moved, &profile(), &items)), id(&plain));
}

#[test]
fn evidence_without_time_is_never_the_first_citation() {
    let found = run(&guessed_ids(true)).findings;
    let timeless = found[0].evidence.iter().filter(|evidence| evidence.at.is_none()).count();
    assert!(timeless > 0 && found[0].evidence[0].at.is_some(), "{:?}", found[0].evidence);
}

#[test]
fn a_sweep_of_private_addresses_without_ranges_is_one_grade_lower_and_says_so() {
    let mut facts = sweep_services(true);
    facts.remove(0);
    let found = run_with(&facts, &Profile::default()).findings;
    let sweep = found.iter().find(|finding| finding.rule == "R01").unwrap();
    assert_eq!((sweep.severity, sweep.target.as_str()), (Severity::Medium, "private addresses"));
    assert!(sweep.graded[0].contains("not in the evidence"));
}

#[test]
fn an_incident_needs_its_order_and_its_targets() {
    let names = |facts: &[Owned]| {
        run(facts).incidents.iter().map(|incident| incident.name.clone()).collect::<Vec<_>>()
    };
    // Two transfers tried and a sweep are no k8spider: it asks for the server's own name first.
    let mut twice = sweep_services(true);
    for (zone, secs) in [(ZONE, 1.0), ("10.in-addr.arpa", 2.0)] {
        twice.push(ask("guest/scan", secs, zone, Rtype::AXFR).answer(Rcode::REFUSED, vec![]).fact());
    }
    assert!(names(&twice).is_empty());
    // coredns-enum asks for the version first.
    let mut backwards = ports_enumerated(true);
    backwards.extend(sweep_services(true));
    let probe = ask("guest/scan", 50.0, &format!("dns-version.{ZONE}"), Rtype::TXT);
    backwards.push(probe.answer(Rcode::NOERROR, vec![]).fact());
    assert!(names(&backwards).is_empty());
}

#[test]
fn an_incident_names_the_author_his_address_and_the_diff() {
    let mut facts = corefile_tampered(true);
    for fact in &mut facts {
        if let Owned::Change(change) = fact
            && let Some(actor) = &mut change.actor
        {
            std::sync::Arc::make_mut(actor).source_ips = vec!["10.244.0.13".into()];
        }
    }
    let story = run(&facts).incidents[0].story.clone();
    assert!(story.contains("by bob from 10.244.0.13") && story.contains("+5 hosts 198.51.100.66"), "{story}");
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
    assert_eq!(detected.states.len(), 29);
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
fn a_word_list_is_found_without_the_objects_of_its_pod() {
    let case = |rcode: Rcode| {
        let facts: Vec<Owned> = (0..30)
            .map(|n| {
                let qname = format!("svc{n}.team{n}.svc.{ZONE}");
                let mut one = intent("guest/scan", f64::from(n), &qname, IntentOutcome::Abandoned, Rtype::A);
                one.attribution =
                    truename_model::Attribution::Unknown(truename_model::UnknownOwner::NoObjects);
                one.base = name(&format!("svc{n}.team{n}"));
                one.steps = vec![std::sync::Arc::new(
                    ask("guest/scan", f64::from(n), &qname, Rtype::A).answer(rcode, vec![]).0,
                )];
                Owned::Intent(one)
            })
            .collect();
        run(&facts).findings.into_iter().find(|finding| finding.rule == "R03")
    };
    let found = case(Rcode::NXDOMAIN).unwrap();
    assert_eq!((found.severity, found.subject.as_str()), (Severity::High, "address 10.244.1.5"));
    assert!(case(Rcode::SERVFAIL).is_none());
}

#[test]
fn a_namespace_called_like_a_top_level_domain_hides_no_word_list() {
    // `prod`, `dev`, `shop`: without objects nobody knows that such a namespace exists.
    let case = |steps: &[&str]| {
        let facts: Vec<Owned> = (0..30)
            .map(|n| {
                let base = format!("word{n}.prod");
                let mut one = intent("guest/scan", f64::from(n), &base, IntentOutcome::Abandoned, Rtype::A);
                one.attribution =
                    truename_model::Attribution::Unknown(truename_model::UnknownOwner::NoObjects);
                let step = |suffix: &&str| {
                    let asked = ask("guest/scan", f64::from(n), &format!("{base}{suffix}"), Rtype::A);
                    std::sync::Arc::new(asked.answer(Rcode::NXDOMAIN, vec![]).0)
                };
                one.steps = steps.iter().map(step).collect();
                one.last = one.steps.last().unwrap().transaction.question.name.clone();
                one.queries = u32::try_from(steps.len()).unwrap();
                Owned::Intent(one)
            })
            .collect();
        run(&facts).findings.into_iter().find(|finding| finding.rule == "R03")
    };
    let svc = format!(".svc.{ZONE}");
    assert_eq!(case(&[svc.as_str()]).unwrap().severity, Severity::High);
    // A stub that walks its list for a public name.
    let zone = format!(".{ZONE}");
    assert!(case(&[svc.as_str(), zone.as_str(), ""]).is_none());
}

#[test]
fn a_label_of_the_attacker_does_not_make_an_inside_answer_harmless() {
    let severity = |qname: &str, address: &str| {
        let node = Owned::Change(change(-1.0, ChangeKind::Listed, "", meta("", "node-1", &[]), node()));
        let lookup = ask("shop/web", 1.0, qname, Rtype::A);
        let fact = lookup.answer(Rcode::NOERROR, vec![a(qname, 300, address)]).fact();
        let found = run(&[node, fact]).findings;
        found.into_iter().find(|finding| finding.rule == "H11").map(|finding| finding.severity)
    };
    for name in ["x.privatelink.evil.com", "169-254-169-254.nip.io", "x.privatelink.database.windows.net"] {
        assert_eq!(severity(name, "169.254.169.254"), Some(Severity::High), "{name}");
        assert_eq!(severity(name, "10.96.0.1"), Some(Severity::High), "{name}");
    }
    assert_eq!(severity("x.privatelink.evil.com", "172.16.3.4"), Some(Severity::Low));
    assert_eq!(severity("x.privatelink.evil.com", "127.0.0.1"), Some(Severity::High));
    for name in ["x.privatelink.database.windows.net", "172-16-3-4.nip.io"] {
        assert_eq!(severity(name, "172.16.3.4"), None, "{name}");
    }
    assert_eq!(severity("app.localtest.me", "127.0.0.1"), None);
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

#[test]
fn a_rule_that_forgot_did_not_run_in_full() {
    use super::after_forgetting;
    use truename_model::RuleState;
    assert_eq!(after_forgetting(RuleState::Run, 0), RuleState::Run);
    let reduced = |state| match after_forgetting(state, 7) {
        RuleState::RunReduced(why) => why,
        other => panic!("{other:?}"),
    };
    assert!(reduced(RuleState::Run).contains("forgot 7 entries"));
    let both = reduced(RuleState::RunReduced("history: 1 s of 7 days".into()));
    assert!(both.contains("history") && both.contains("forgot 7"), "{both}");
}

/// A cluster has thousands of pods: those that ask once between two halves of a walk must not make it forgotten.
#[test]
fn a_crowd_does_not_hide_who_guesses_service_names() {
    let guess = |n: u32| {
        let base = format!("svc{n}.ns{n}.svc.{ZONE}");
        Owned::Intent(intent("guest/scan", f64::from(n), &base, IntentOutcome::NxDomain, Rtype::A))
    };
    let crowd = |n: u32| {
        let (who, base) = (format!("shop/p{n}"), format!("api.shop.svc.{ZONE}"));
        let at = 11.0 + f64::from(n) / 4_000.0;
        Owned::Intent(intent(&who, at, &base, IntentOutcome::ResolvedAbsolute, Rtype::A))
    };
    let facts: Vec<Owned> =
        (0..12).map(guess).chain((0..3_000).map(crowd)).chain((12..24).map(guess)).collect();
    let detected = run(&facts);
    let found = detected.findings.iter().find(|finding| finding.rule == "R03").unwrap();
    assert_eq!((found.subject.as_str(), found.count), ("pod guest/scan-1", 24));
    assert!(!detected.evictions.contains_key("R03"), "{:?}", detected.evictions);
}

/// Stubs open a socket for each suffix, so with the log of one replica of two half of the steps are missing.
#[test]
fn steps_of_walks_in_part_are_no_guesses() {
    let step = |n: u32, qname: &str, base: &str, outcome: IntentOutcome, known: bool| {
        let at = f64::from(n) * 0.3;
        let resolved = outcome == IntentOutcome::ResolvedAbsolute;
        let stated = if resolved { outcome } else { IntentOutcome::NxDomain };
        let mut one = intent("guest/scan", at, qname, stated, Rtype::A);
        one.outcome = outcome;
        if !known {
            one.attribution = truename_model::Attribution::Unknown(truename_model::UnknownOwner::NoObjects);
            one.base = name(base);
        }
        Owned::Intent(one)
    };
    let case = |ending: &str, walks: bool, known: bool| {
        let mut facts = Vec::new();
        for n in 0..120u32 {
            let base = format!("www{n}.site{n}.{ending}");
            let denied = if known { IntentOutcome::NxDomain } else { IntentOutcome::Abandoned };
            facts.push(step(n, &format!("{base}.svc.{ZONE}"), &base, denied, known));
            if walks && n % 3 == 0 {
                facts.push(step(n, &base, &base, IntentOutcome::ResolvedAbsolute, known));
            }
        }
        let rules = run(&facts).findings.into_iter().map(|finding| finding.rule);
        rules.filter(|rule| ["R03", "X08"].contains(&rule.as_str())).collect::<Vec<_>>()
    };
    for ending in ["com", "lan"] {
        // Full names of services that nobody asked another way.
        assert_eq!(case(ending, false, true), ["R03", "X08"], "{ending}");
        assert_eq!(case(ending, false, false), ["R03"], "{ending}");
        for known in [true, false] {
            assert!(
                case(ending, true, known).is_empty(),
                "{ending} {known}: {:?}",
                case(ending, true, known)
            );
        }
    }
}

/// What stands in the first version answers for a Service with something else, or is none of its business.
#[test]
fn only_lines_that_answer_for_a_service_stand_out_from_the_start() {
    let found = |old: &str, new: &str| {
        let facts = [
            config(-1.0, "", &COREFILE.replace(old, new)),
            listed_later("api", service("10.96.0.20", &[("app", "api")])),
            listed_later("db", service("10.96.0.21", &[("app", "db")])),
        ];
        run(&facts).findings.into_iter().filter(|finding| finding.rule == "H08").collect::<Vec<_>>()
    };
    let line = |text: &str| found("  cache 30\n", &format!("  {text}\n  cache 30\n"));
    for text in [
        format!("hosts {{\n 6.6.6.6 api.shop.svc.{ZONE}\n fallthrough\n }}"),
        format!("rewrite name api.shop.svc.{ZONE} db.shop.svc.{ZONE}"),
        format!("rewrite stop name regex api\\.(.*)\\.svc\\.cluster\\.local db.{{1}}.svc.{ZONE}"),
        format!(
            "template IN A {ZONE} {{\n match ^api[.]shop\n answer \"{{{{ .Name }}}} 60 IN A 6.6.6.6\"\n }}"
        ),
    ] {
        let found = line(&text);
        assert_eq!(found.iter().map(|one| one.severity).collect::<Vec<_>>(), [Severity::High], "{text}");
        assert!(
            found[0].graded.iter().any(|why| why.contains("before the evidence")),
            "{:?}",
            found[0].graded
        );
        assert!(found[0].why.contains("api.shop.svc"), "{}", found[0].why);
    }
    for text in [
        format!("hosts {{\n 10.96.0.20 api.shop.svc.{ZONE}\n 6.6.6.6 old.shop.svc.{ZONE}\n fallthrough\n }}"),
        "hosts /etc/coredns/NodeHosts {\n fallthrough\n }".to_owned(),
        format!("rewrite name api.example.com api.shop.svc.{ZONE}"),
        format!("rewrite name suffix .old.local .{ZONE}"),
        "rewrite ttl regex .* 5".to_owned(),
        "rewrite type ANY HINFO".to_owned(),
        "template IN AAAA . {\n rcode NOERROR\n }".to_owned(),
        "template ANY ANY . {\n match \"^ip-[0-9-]+[.]example[.]\"\n answer \"{{ .Name }} 60 IN A 6.6.6.6\"\n }".to_owned(),
    ] {
        assert!(line(&text).is_empty(), "{text}: {:?}", line(&text));
    }
    let stub = format!("shop.svc.{ZONE}:53 {{\n  forward . 6.6.6.6\n}}\n.:53 {{");
    assert_eq!(found(".:53 {", &stub).len(), 1);
    let apart = "guest.example:53 {\n  forward . 6.6.6.6\n}\n.:53 {";
    assert!(found(".:53 {", apart).is_empty());
}

/// It may be wanted: nobody is called a victim, and it makes no incident of a change.
#[test]
fn what_stood_from_the_start_makes_no_incident() {
    let mut facts = hijacked_from_the_start(true);
    let changed = corefile_tampered(true);
    facts.extend(changed.into_iter().filter(|fact| matches!(fact, Owned::Lookup(_))).map(
        |fact| match fact {
            Owned::Lookup(mut judged) => {
                let config =
                    truename_model::ObjectRef { resource_version: "1000".into(), ..Default::default() };
                let by =
                    truename_model::Explanation::Corefile { config, line: 5, text: "198.51.100.66".into() };
                judged.verdict = truename_model::Verdict::Explained { by };
                Owned::Lookup(judged)
            }
            other => other,
        },
    ));
    let detected = run(&facts);
    let found = detected.findings.iter().find(|finding| finding.rule == "H08").unwrap();
    assert!(
        found.why.contains("received 1 answers that these lines made. Among them: pod shop/web-1."),
        "{}",
        found.why
    );
    assert!(found.victims.is_empty() && detected.incidents.is_empty(), "{:?}", detected.incidents);
}

/// The audit log names the author and keeps no body, a watch shows the version: one finding with both.
#[test]
fn a_version_has_the_author_that_the_audit_log_names() {
    let facts = |user: &str, text: &str| {
        let unseen = written(4.9, user, serde_json::Value::Null);
        let found = run(&[config(-1.0, "", COREFILE), unseen, config(5.0, "", text)]).findings;
        let found = found.into_iter().filter(|finding| finding.rule == "H08");
        found.map(|finding| (finding.severity, finding.subject)).collect::<Vec<_>>()
    };
    assert_eq!(facts("bob", TAMPERED), [(Severity::Critical, "user bob".to_owned())]);
    assert!(facts("bob", &format!("# reviewed\n{COREFILE}")).is_empty());
    assert!(facts("argocd", TAMPERED).is_empty());
    // Of another time it is another write: nobody is named for it, and the author's own is told apart.
    let apart = [
        config(-1.0, "", COREFILE),
        written(4.9, "bob", serde_json::Value::Null),
        config(99.0, "", TAMPERED),
    ];
    let found = run(&apart).findings;
    let version = found.iter().find(|f| f.rule == "H08" && f.severity == Severity::Critical).unwrap();
    assert_eq!(version.actor, None, "{version:?}");
    // The request as it was written, and the version that it made.
    let body = serde_json::json!({"data": {"Corefile": TAMPERED}});
    let both = run(&[config(-1.0, "", COREFILE), written(4.9, "bob", body), config(5.0, "", TAMPERED)]);
    assert_eq!(both.findings.iter().filter(|finding| finding.rule == "H08").count(), 1);
}

#[test]
fn unseen_writes_of_one_author_are_one_finding() {
    let mut facts = vec![config(-1.0, "", COREFILE)];
    facts.extend(
        (0..300)
            .map(|n| written(f64::from(n), if n % 2 == 0 { "bob" } else { "eve" }, serde_json::Value::Null)),
    );
    let found = run(&facts).findings;
    let told: Vec<_> = found
        .iter()
        .filter(|f| f.rule == "H08")
        .map(|f| (f.subject.as_str(), f.count, f.evidence.len()))
        .collect();
    assert_eq!(told, [("user bob", 150, 64), ("user eve", 150, 64)]);
}

/// A patch may be short and the text long: past a bound it is told as a write only.
#[test]
fn patches_beyond_a_bound_are_writes_whose_content_is_not_known() {
    let mut facts = vec![config(-1.0, "", COREFILE)];
    let body = |text: &str| serde_json::json!({"data": {"Corefile": text}});
    facts.extend((0..1_000).map(|n| written(f64::from(n) / 10.0, "bob", body(COREFILE))));
    facts.push(written(200.0, "bob", body(TAMPERED)));
    let found = run(&facts).findings;
    let told: Vec<_> =
        found.iter().filter(|f| f.rule == "H08").map(|f| (f.severity, f.title.as_str())).collect();
    assert_eq!(told, [(Severity::High, "ConfigMap kube-system/coredns was written to")]);
}
