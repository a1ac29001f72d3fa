//! What changed between Corefiles, and which text a replica ran.

use std::sync::Arc;

use truename_model::time::SECOND;
use truename_model::{Interval, Name, Nanos, ObjectRef, OriginId};

use crate::corefile::{
    Corefile, CorefileChange, CorefileTimeline, Env, Topic, Turn, Version, diff, parse, running_hash,
};

const PLAIN: &str = ".:53 {
    errors
    log
    dnstap tcp://192.0.2.9:6000 full
    kubernetes cluster.local in-addr.arpa {
        fallthrough in-addr.arpa
    }
    forward . 192.0.2.53 192.0.2.54
    cache 30
    reload
}
";

fn read(text: &str) -> Corefile {
    parse(text, &Env::default()).unwrap()
}

fn changes(new: &str) -> Vec<CorefileChange> {
    diff(&read(PLAIN), &read(new))
}

fn with(line: &str) -> String {
    PLAIN.replace("    cache 30\n", &format!("{line}\n    cache 30\n"))
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

#[test]
fn layout_comments_and_order_change_nothing() {
    let same = [
        PLAIN.replace("    ", "\t"),
        PLAIN.replace("errors\n", "errors # all of them\n\n"),
        format!("# by hand\n{PLAIN}\n# end\n"),
        PLAIN.replace("    errors\n    log\n", "    log\n    errors\n"),
        PLAIN.replace("cluster.local in-addr.arpa {", "\"cluster.local\" in-addr.arpa {"),
        format!(
            "(logging) {{\n    errors\n    log\n}}\n{}",
            PLAIN.replace("    errors\n    log\n", "    import logging\n")
        ),
    ];
    for text in same {
        assert_eq!(changes(&text), [], "{text}");
    }
}

#[test]
fn a_new_target_hits_every_forwarded_name() {
    let found = changes(&PLAIN.replace("192.0.2.54", "203.0.113.66"));
    let turns: Vec<_> = found.iter().map(|change| (change.topic, change.turn, change.line)).collect();
    assert_eq!(turns, [(Topic::Forward, Turn::Added, 8), (Topic::Forward, Turn::Removed, 8)]);
    assert!(found[0].text.contains("203.0.113.66"), "{}", found[0].text);
    assert_eq!(found[0].hits_name(&name("example.org")), Some(true));
}

#[test]
fn hosts_templates_and_rewrites_hit_the_names_they_say() {
    let service = name("kubernetes.default.svc.cluster.local");
    let zone = name("cluster.local");
    let found = changes(&with(
        "    hosts {\n        203.0.113.66 api.cluster.local pay.example\n        fallthrough\n    }",
    ));
    let hosts: Vec<_> = found.iter().filter(|change| change.topic == Topic::Hosts).collect();
    let entries: Vec<_> =
        hosts.iter().map(|change| (change.line, change.text.as_str(), change.touches(&zone))).collect();
    assert_eq!(
        entries,
        [
            (9, "hosts /etc/hosts", false),
            (10, "203.0.113.66 api.cluster.local.", true),
            (10, "203.0.113.66 pay.example.", false)
        ]
    );
    assert_eq!(hosts[1].hits_name(&service), Some(false));

    let template = &changes(&with(
        "    template IN A cluster.local {\n        match ^kube.*\n        answer \"{{ .Name }} 60 IN A 203.0.113.66\"\n    }",
    ))[0];
    assert_eq!((template.topic, template.turn, template.line), (Topic::Template, Turn::Added, 9));
    assert_eq!(
        (template.hits_name(&service), template.hits_name(&name("x.cluster.local"))),
        (Some(true), Some(false))
    );

    let rewrite = &changes(&with("    rewrite name suffix .svc.cluster.local .evil.example answer auto"))[0];
    assert_eq!((rewrite.topic, rewrite.hits_name(&service)), (Topic::Rewrite, Some(true)));
    assert!(rewrite.touches(&zone) && !rewrite.touches(&name("github.com")));
    let narrow = &changes(&with("    rewrite name api.github.com evil.example"))[0];
    assert!(narrow.touches(&name("github.com")) && !narrow.touches(&zone));
}

#[test]
fn a_new_block_and_an_unknown_import_are_told() {
    let found = changes(&format!("{PLAIN}github.com:53 {{\n    errors\n    forward . 203.0.113.66\n}}\n"));
    let kinds: Vec<_> = found.iter().map(|change| (change.topic, change.turn, change.line)).collect();
    assert_eq!(kinds, [(Topic::Zone, Turn::Added, 12), (Topic::Forward, Turn::Added, 14)]);
    assert_eq!(found[1].hits_name(&name("api.github.com")), Some(true));
    assert_eq!(found[1].hits_name(&name("example.org")), Some(false));
    let import = changes(&with("    import /etc/coredns/custom/*.override"));
    assert_eq!((import[0].topic, import.len()), (Topic::Import, 1));
}

#[test]
fn evidence_is_removed_only_if_less_is_recorded() {
    let removed = |text: &str| changes(text).into_iter().filter(CorefileChange::removes_evidence).count();
    assert_eq!(removed(&PLAIN.replace("    log\n", "")), 1);
    assert_eq!(removed(&PLAIN.replace("    errors\n    log\n", "")), 2);
    assert_eq!(removed(&PLAIN.replace(" full", "")), 1);
    assert_eq!(removed(&PLAIN.replace("192.0.2.9:6000", "203.0.113.66:6000")), 1);
    assert_eq!(removed(&PLAIN.replace("    log\n", "    log . {\n        class error\n    }\n")), 1);
    assert_eq!(removed(&PLAIN.replace("    log\n", "    log .\n")), 0);
    let narrow = PLAIN.replace("    log\n", "    log . {\n        class error\n    }\n");
    let wider = diff(&read(&narrow), &read(PLAIN));
    assert!(wider.iter().all(|change| !change.removes_evidence()), "{wider:?}");
}

#[test]
fn secrets_of_opaque_sources_are_not_shown() {
    let found = changes(&with("    etcd skydns.local {\n        credentials root hunter2\n    }"));
    assert!(found.iter().all(|change| !change.text.contains("hunter2")), "{found:?}");
    assert_eq!(found[0].topic, Topic::ZoneData);
}

fn at(secs: i64) -> Interval {
    Interval::at(Nanos(secs * SECOND))
}

fn timeline(texts: &[(i64, &str)]) -> CorefileTimeline {
    let mut timeline = CorefileTimeline::default();
    for (began, text) in texts.iter().rev() {
        let config = ObjectRef { resource_version: began.to_string(), ..ObjectRef::default() };
        timeline.push(at(*began), Arc::from(*text), config, None, Version::NEWEST);
    }
    timeline.finish();
    timeline
}

#[test]
fn a_change_takes_up_to_three_minutes_to_be_in_force() {
    let second = PLAIN.replace("cache 30", "cache 31");
    let timeline = timeline(&[(0, PLAIN), (1000, &second)]);
    assert_eq!(timeline.in_force(at(-1)), Vec::<usize>::new());
    assert_eq!(timeline.in_force(at(999)), [0]);
    assert_eq!(timeline.in_force(at(1100)), [0, 1]);
    assert_eq!(timeline.in_force(at(1181)), [1]);
    assert_eq!(timeline.in_force(Interval::between(Nanos(0), Nanos(2000 * SECOND))), [0, 1]);
}

#[test]
fn a_text_that_coredns_refuses_or_never_reloads_leaves_the_old_one_running() {
    let broken = PLAIN.replace("cache 30", "cache 0");
    let refused = timeline(&[(0, PLAIN), (1000, &broken)]);
    assert_eq!(refused.in_force(at(5000)), [0]);
    let still = PLAIN.replace("    reload\n", "");
    let unseen = timeline(&[(0, &still), (1000, PLAIN)]);
    assert_eq!(unseen.in_force(at(5000)), [0, 1]);
}

#[test]
fn a_running_hash_binds_a_replica_to_its_text() {
    let second = PLAIN.replace("cache 30", "cache 31");
    let hash = |text: &str| running_hash(text, &Env::default()).unwrap();
    let mut timeline = timeline(&[(0, PLAIN), (1000, &second)]);
    let (one, two) = (OriginId(1), OriginId(2));
    timeline.bind(one, at(10), &hash(PLAIN));
    timeline.bind(one, at(1060), &hash(&second).to_uppercase());
    timeline.bind(two, at(10), &hash(PLAIN));
    timeline.finish();
    let running = |origin, secs| timeline.on_replica(origin, at(secs));
    assert_eq!((running(one, 1050).versions, running(one, 1050).bound), (vec![0], true));
    assert_eq!(running(one, 1061).versions, [1]);
    assert_eq!(timeline.on_replica(one, Interval::between(at(1050).lo, at(1070).lo)).versions, [0, 1]);
    assert!(!running(one, 5).bound && running(OriginId(9), 1100).versions == [0, 1]);
    // The second replica never followed.
    assert_eq!(timeline.drifts(Nanos(1100 * SECOND)), []);
    let drifts = timeline.drifts(Nanos(3000 * SECOND));
    assert_eq!(drifts.len(), 1);
    assert_eq!(
        (drifts[0].origin, drifts[0].runs, drifts[0].wanted, drifts[0].since),
        (two, Some(0), 1, at(1180).lo)
    );
    // A hash that fits nothing is a text that nobody gave.
    timeline.bind(two, at(2000), &"ab".repeat(64));
    timeline.finish();
    let foreign = timeline.on_replica(two, at(2500));
    assert_eq!((foreign.versions.len(), foreign.unknown.len()), (0, 1));
}
