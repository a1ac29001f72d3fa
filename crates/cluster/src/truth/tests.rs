//! One table per rule, named after the specification's section or measured row.

use truename_model::name::Name;
use truename_model::object::ChangeKind::{Created, Deleted, Updated};
use truename_model::object::{ObjectRef, SliceEndpoint};
use truename_model::rr::{Body, Class, Flags, Question, Rcode, Rdata, Record, Rtype};
use truename_model::verdict::{Contradiction, Verdict, WhyUnverifiable};

use super::options::Options;
use super::{Expected, Judgement, Truth};
use crate::corefile::PodMode;
use crate::fixture::{
    Told, at, endpoint, external, meta, of_service, pod, service, slice, slice_of, versioned,
};
use crate::history::{CorefileHistory, History};

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn zone() -> Name {
    name("cluster.local")
}

fn options() -> Options {
    let zones = ["cluster.local", "in-addr.arpa", "ip6.arpa"].map(name).to_vec();
    Options { ttl: 30, pods: PodMode::Insecure, ..Options::defaults(zones) }
}

fn question(qname: &str, rtype: Rtype) -> Question {
    let full = if qname.ends_with("arpa") { name(qname) } else { name(qname).joined(&zone()).unwrap() };
    Question { name: full, rtype, class: Class::IN }
}

fn datum(owner: &Name, text: &str, ttl: u32) -> Record {
    let short =
        |text: &str| if text.contains("example") { name(text) } else { name(text).joined(&zone()).unwrap() };
    let (rtype, rdata) = match text.split_once(' ') {
        None if text.contains(':') => (Rtype::AAAA, Rdata::Aaaa(text.parse().unwrap())),
        None => (Rtype::A, Rdata::A(text.parse().unwrap())),
        Some(("CNAME", target)) => (Rtype::CNAME, Rdata::Cname(short(target))),
        Some(("PTR", target)) => (Rtype::PTR, Rdata::Ptr(short(target))),
        Some(("SRV", rest)) => {
            let parts: Vec<&str> = rest.split(' ').collect();
            let (weight, port) = (parts[0].parse().unwrap(), parts[1].parse().unwrap());
            (Rtype::SRV, Rdata::Srv { priority: 0, weight, port, target: short(parts[2]) })
        }
        Some(("TXT", text)) => {
            let mut wire = vec![text.len() as u8];
            wire.extend(text.as_bytes());
            (Rtype::TXT, Rdata::Txt(wire.into()))
        }
        Some(other) => panic!("{other:?}"),
    };
    Record { owner: owner.clone(), rtype, class: Class::IN, ttl, rdata }
}

fn body(question: &Question, answers: &[&str]) -> Body {
    let mut body = Body::question_only(question.clone());
    body.sections_seen = true;
    let mut owner = question.name.clone();
    for text in answers {
        let record = datum(&owner, text, 30);
        if let Rdata::Cname(target) = &record.rdata {
            owner = target.clone();
        }
        body.answers.push(record);
    }
    body
}

/// `NX`, `-` (no data) or answers separated by `;`; behind `|` what [`add_beside`] reads.
fn judged(
    history: &History,
    options: &Options,
    asked: (&str, Rtype),
    answer: &str,
    millis: i64,
) -> Judgement {
    let corefiles = CorefileHistory::new();
    let truth = Truth::new(history, &corefiles).with_options(options.clone());
    let question = question(asked.0, asked.1);
    let (answer, beside) = answer.split_once('|').unwrap_or((answer, ""));
    let (rcode, answers): (Rcode, Vec<&str>) = match answer {
        "NX" => (Rcode::NXDOMAIN, Vec::new()),
        "-" => (Rcode::NOERROR, Vec::new()),
        answers => (Rcode::NOERROR, answers.split(';').collect()),
    };
    let mut body = body(&question, &answers);
    add_beside(&mut body, beside);
    let (judgement, stretch) =
        truth.judge_epoch(&question, Some(rcode), Flags(0), &body, at(millis), Some("1.15.0"));
    if let Some(stretch) = stretch {
        assert!(stretch.lo <= at(millis).lo && stretch.hi >= at(millis).hi, "{stretch:?}");
        // A judgement that is said to last must be the same at both ends of its stretch.
        for edge in [stretch.lo, stretch.hi] {
            let there = truename_model::time::Interval::at(edge);
            let (again, _) =
                truth.judge_epoch(&question, Some(rcode), Flags(0), &body, there, Some("1.15.0"));
            assert_eq!(again, judgement, "{asked:?} {answer} from {millis} ms at {edge}");
        }
    }
    judgement
}

fn word(judgement: &Judgement) -> String {
    match judgement {
        Judgement::Verdict(Verdict::Contradicted { how, .. }) => how.phrase().to_owned(),
        Judgement::Verdict(Verdict::Unverifiable { why }) => format!("unverifiable {why:?}"),
        Judgement::Verdict(verdict) => verdict.word().to_owned(),
        Judgement::NotCluster => "not cluster".to_owned(),
        Judgement::Chase(chase) => format!("chase {}", chase.target),
    }
}

/// Every row: question, answer, verdict in a word, at 100 s.
fn table(told: &Told, options: &Options, rows: &[(&str, Rtype, &str, &str)]) {
    let history = told.history(1_000_000);
    for (qname, rtype, answer, expected) in rows {
        let judgement = judged(&history, options, (qname, *rtype), answer, 100_000);
        assert_eq!(&word(&judgement), expected, "{qname} {rtype} {answer}");
    }
}

const VERIFIED: &str = "verified";
const WRONG: &str = "wrong address";
const EXTRA: &str = "extra address";
const NOT: &str = "should not exist";
const SHOULD: &str = "should exist";

fn shop() -> Told {
    let mut told = Told::new();
    told.watch(
        1_000,
        Created,
        meta("shop", "web"),
        service(&["10.96.1.1", "fd00::11"], &[("http", 80), ("x", 81)]),
    );
    told.watch(1_000, Created, meta("shop", "db"), service(&["None"], &[]));
    told.watch(
        1_000,
        Created,
        of_service("shop", "web-a", "web"),
        slice(&["10.244.1.1"], &[("http", Some(8080))]),
    );
    told.watch(
        1_000,
        Created,
        of_service("shop", "db-a", "db"),
        slice(&["10.244.1.2"], &[("pg", Some(5432))]),
    );
    let named = SliceEndpoint { hostname: Some("db-1".to_owned()), ..endpoint("10.244.1.3", None) };
    let hidden = endpoint("10.244.1.4", Some(false));
    told.watch(
        1_000,
        Created,
        of_service("shop", "db-b", "db"),
        slice_of(vec![named, hidden], &[("pg", Some(5432))]),
    );
    told
}

#[test]
fn spec_2_3_cluster_ip_services() {
    table(
        &shop(),
        &options(),
        &[
            ("web.shop.svc", Rtype::A, "10.96.1.1", VERIFIED),
            ("web.shop.svc", Rtype::AAAA, "fd00::11", VERIFIED),
            ("web.shop.svc", Rtype::A, "10.96.1.2", WRONG),
            ("web.shop.svc", Rtype::A, "10.96.1.1;6.6.6.6", EXTRA),
            ("web.shop.svc", Rtype::A, "NX", SHOULD),
            ("web.shop.svc", Rtype::A, "-", SHOULD),
            ("web.shop.svc", Rtype::MX, "-", VERIFIED),
            ("nope.shop.svc", Rtype::A, "NX", VERIFIED),
            ("nope.shop.svc", Rtype::A, "6.6.6.6", NOT),
            ("web.none.svc", Rtype::A, "NX", VERIFIED),
            ("web.shop.svc", Rtype::A, "CNAME evil.example;6.6.6.6", "wrong alias"),
            // An endpoint of a ClusterIP service has a name too.
            ("10-244-1-1.web.shop.svc", Rtype::A, "10.244.1.1", VERIFIED),
            ("10-244-1-9.web.shop.svc", Rtype::A, "NX", VERIFIED),
        ],
    );
}

#[test]
fn spec_2_4_headless_services_and_rows_8_9() {
    table(
        &shop(),
        &options(),
        &[
            ("db.shop.svc", Rtype::A, "10.244.1.3;10.244.1.2", VERIFIED),
            ("db.shop.svc", Rtype::A, "10.244.1.3;10.244.1.2;10.244.1.4", EXTRA),
            ("db.shop.svc", Rtype::A, "10.244.1.4", WRONG),
            ("db.shop.svc", Rtype::AAAA, "-", VERIFIED),
            ("db.shop.svc", Rtype::AAAA, "NX", SHOULD),
            ("db-1.db.shop.svc", Rtype::A, "10.244.1.3", VERIFIED),
            ("10-244-1-3.db.shop.svc", Rtype::A, "NX", VERIFIED),
            ("10-244-1-2.db.shop.svc", Rtype::A, "10.244.1.2", VERIFIED),
        ],
    );
    let mut told = shop();
    told.watch(2_000, Created, meta("shop", "empty"), service(&["None"], &[("http", 80)]));
    told.watch(
        2_000,
        Created,
        of_service("shop", "e", "empty"),
        slice_of(vec![endpoint("10.244.9.9", Some(false))], &[]),
    );
    table(
        &told,
        &options(),
        &[
            ("empty.shop.svc", Rtype::A, "NX", VERIFIED),
            ("_http._tcp.empty.shop.svc", Rtype::SRV, "NX", VERIFIED),
            ("empty.shop.svc", Rtype::A, "10.244.9.9", NOT),
        ],
    );
}

#[test]
fn row_15_ignore_empty_service() {
    let mut told = shop();
    told.watch(2_000, Created, meta("shop", "idle"), service(&["10.96.1.7"], &[("http", 80)]));
    table(&told, &options(), &[("idle.shop.svc", Rtype::A, "10.96.1.7", VERIFIED)]);
    let ignoring = Options { ignore_empty: true, ..options() };
    table(
        &told,
        &ignoring,
        &[("idle.shop.svc", Rtype::A, "NX", VERIFIED), ("web.shop.svc", Rtype::A, "10.96.1.1", VERIFIED)],
    );
}

#[test]
fn spec_2_3_2_srv_and_rows_20_37() {
    table(
        &shop(),
        &options(),
        &[
            // Two families and two ports: 100 / 4.
            ("web.shop.svc", Rtype::SRV, "SRV 25 80 web.shop.svc;SRV 25 81 web.shop.svc", VERIFIED),
            ("_http._tcp.web.shop.svc", Rtype::SRV, "SRV 50 80 web.shop.svc", VERIFIED),
            ("http.tcp.web.shop.svc", Rtype::SRV, "SRV 50 80 web.shop.svc", VERIFIED),
            ("_http._tcp.web.shop.svc", Rtype::SRV, "SRV 50 666 web.shop.svc", WRONG),
            ("_nope._tcp.web.shop.svc", Rtype::SRV, "NX", VERIFIED),
            ("_http._tcp.web.shop.svc", Rtype::A, "10.96.1.1", VERIFIED),
            (
                "_pg._tcp.db.shop.svc",
                Rtype::SRV,
                "SRV 50 5432 10-244-1-2.db.shop.svc;SRV 50 5432 db-1.db.shop.svc",
                VERIFIED,
            ),
        ],
    );
    let mut told = shop();
    told.watch(2_000, Created, of_service("shop", "p", "plain"), slice(&["10.244.3.3"], &[]));
    told.watch(2_000, Created, meta("shop", "plain"), service(&["None"], &[]));
    table(
        &told,
        &options(),
        &[
            ("plain.shop.svc", Rtype::A, "10.244.3.3", VERIFIED),
            ("plain.shop.svc", Rtype::SRV, "-", VERIFIED),
        ],
    );
}

/// Records outside the answer section: the section (`+` additional, `!` authority), owner and data.
#[test]
fn what_stands_beside_the_answer_is_compared_too() {
    let strange = "unverifiable OutOfModel(\"records beside the answer\")";
    let http = ("_http._tcp.web.shop.svc", Rtype::SRV, "SRV 50 80 web.shop.svc");
    let pg = "SRV 50 5432 10-244-1-2.db.shop.svc;SRV 50 5432 db-1.db.shop.svc";
    let db = ("_pg._tcp.db.shop.svc", Rtype::SRV, pg);
    let web = ("web.shop.svc", Rtype::A, "10.96.1.1");
    let nothing = ("nope.shop.svc", Rtype::A, "NX");
    let rows = [
        (http, "+web.shop.svc 10.96.1.1;+web.shop.svc fd00::11", VERIFIED),
        (http, "+web.shop.svc 10.96.1.1", VERIFIED),
        (http, "", VERIFIED),
        (http, "+web.shop.svc 6.6.6.6", WRONG),
        (http, "+web.shop.svc 10.96.1.1;+web.shop.svc 6.6.6.6", WRONG),
        (http, "+web.shop.svc 10.96.1.1;+db.shop.svc 6.6.6.6", EXTRA),
        (http, "+web.shop.svc 10.96.1.1;+evil.example 6.6.6.6", strange),
        (db, "+10-244-1-2.db.shop.svc 10.244.1.2;+db-1.db.shop.svc 10.244.1.3", VERIFIED),
        (db, "+10-244-1-2.db.shop.svc 10.244.1.2;+db-1.db.shop.svc 10.244.1.2", WRONG),
        (web, "+db.shop.svc 6.6.6.6", EXTRA),
        (web, "+web.shop.svc 10.96.1.1", EXTRA),
        (web, "! NS evil.example", strange),
        (web, "!evil.example NS evil.example", strange),
        (web, "! SOA", VERIFIED),
        (nothing, "! SOA", VERIFIED),
        (nothing, "", VERIFIED),
        (nothing, "!shop.svc SOA", strange),
        (nothing, "! SOA;+web.shop.svc 6.6.6.6", EXTRA),
    ];
    let history = shop().history(1_000_000);
    for ((qname, rtype, answer), beside, expected) in rows {
        let judgement = judged(&history, &options(), (qname, rtype), &format!("{answer}|{beside}"), 100_000);
        assert_eq!(word(&judgement), expected, "{qname} {rtype} {answer} {beside}");
    }
}

fn add_beside(body: &mut Body, text: &str) {
    for one in text.split(';').filter(|one| !one.is_empty()) {
        let (section, rest) = one.split_at(1);
        let (owner, data) = rest.split_once(' ').unwrap();
        let owner = match owner {
            "" => zone(),
            owner if owner.ends_with("example") => name(owner),
            owner => name(owner).joined(&zone()).unwrap(),
        };
        let record = match data.split_once(' ') {
            Some(("NS", target)) => Record { rdata: Rdata::Ns(name(target)), ..datum(&owner, "6.6.6.6", 30) },
            _ if data == "SOA" => {
                let rdata = super::model::soa_data(&owner, 30).unwrap();
                Record { rdata, ..datum(&owner, "6.6.6.6", 30) }
            }
            _ => datum(&owner, data, 30),
        };
        match section {
            "+" => body.additional.push(record),
            _ => body.authority.push(record),
        }
    }
}

#[test]
fn spec_2_5_external_names_and_rows_10_21_30_to_33() {
    let mut told = shop();
    for (name, target) in [
        ("ext", "www.example.com"),
        ("inside", "web.shop.svc.cluster.local"),
        ("nowhere", "nope.shop.svc.cluster.local"),
        ("itself", "itself.shop.svc.cluster.local"),
        ("apex", "cluster.local"),
        ("literal", "192.0.2.1"),
        ("twice", "inside.shop.svc.cluster.local"),
    ] {
        told.watch(1_000, Created, meta("shop", name), external(target));
    }
    table(
        &told,
        &options(),
        &[
            ("ext.shop.svc", Rtype::A, "CNAME www.example.com;192.0.2.9", "chase www.example.com."),
            ("ext.shop.svc", Rtype::A, "CNAME www.example.com", VERIFIED),
            ("ext.shop.svc", Rtype::A, "CNAME evil.example;6.6.6.6", "wrong alias"),
            ("ext.shop.svc", Rtype::A, "6.6.6.6", "wrong alias"),
            ("ext.shop.svc", Rtype::CNAME, "CNAME www.example.com", VERIFIED),
            ("ext.shop.svc", Rtype::SRV, "-", VERIFIED),
            ("ext.shop.svc", Rtype::TXT, "-", VERIFIED),
            ("x.ext.shop.svc", Rtype::A, "NX", VERIFIED),
            ("inside.shop.svc", Rtype::A, "CNAME web.shop.svc;10.96.1.1", VERIFIED),
            ("inside.shop.svc", Rtype::A, "CNAME web.shop.svc;6.6.6.6", WRONG_BEHIND_ALIAS),
            ("twice.shop.svc", Rtype::A, "CNAME inside.shop.svc;CNAME web.shop.svc;10.96.1.1", VERIFIED),
            ("nowhere.shop.svc", Rtype::A, "-", VERIFIED),
            ("itself.shop.svc", Rtype::A, "-", VERIFIED),
            ("apex.shop.svc", Rtype::A, "-", VERIFIED),
            ("literal.shop.svc", Rtype::A, "NX", VERIFIED),
            ("literal.shop.svc", Rtype::MX, "NX", VERIFIED),
        ],
    );
}

const WRONG_BEHIND_ALIAS: &str = EXTRA;

#[test]
fn rows_14_19_22_23_pod_names() {
    let mut told = shop();
    told.watch(1_000, Created, meta("shop", "a"), pod("n1", "Running", &["10.244.1.9", "fd00:244:1::37"]));
    told.watch(1_000, Created, meta("shop", "done"), pod("n1", "Succeeded", &["10.244.1.8"]));
    let insecure = options();
    table(
        &told,
        &insecure,
        &[
            ("1-2-3-4.shop.pod", Rtype::A, "1.2.3.4", VERIFIED),
            ("1-2-3-4.none.pod", Rtype::A, "NX", VERIFIED),
            ("x.1-2-3-4.shop.pod", Rtype::A, "1.2.3.4", VERIFIED),
            ("--1.shop.pod", Rtype::AAAA, "::1", VERIFIED),
            ("010-1-1-1.shop.pod", Rtype::A, "NX", VERIFIED),
            ("1-2-3.shop.pod", Rtype::A, "NX", VERIFIED),
            ("1-2-3-4.shop.pod", Rtype::AAAA, "-", VERIFIED),
            ("shop.pod", Rtype::A, "-", VERIFIED),
            ("none.pod", Rtype::A, "NX", VERIFIED),
            ("1-2-3-4.shop.pod", Rtype::A, "6.6.6.6", WRONG),
        ],
    );
    let verified = Options { pods: PodMode::Verified, ..options() };
    table(
        &told,
        &verified,
        &[
            ("10-244-1-9.shop.pod", Rtype::A, "10.244.1.9", VERIFIED),
            ("10-244-1-9.default.pod", Rtype::A, "NX", VERIFIED),
            ("10-244-1-8.shop.pod", Rtype::A, "NX", VERIFIED),
            ("fd00-244-1--37.shop.pod", Rtype::AAAA, "fd00:244:1::37", VERIFIED),
            ("fd00-0244-0001--37.shop.pod", Rtype::AAAA, "NX", VERIFIED),
        ],
    );
    let disabled = Options { pods: PodMode::Disabled, ..options() };
    table(
        &told,
        &disabled,
        &[
            ("1-2-3-4.shop.pod", Rtype::A, "NX", VERIFIED),
            ("shop.pod", Rtype::A, "NX", VERIFIED),
            ("pod", Rtype::A, "-", VERIFIED),
        ],
    );
}

#[test]
fn rows_1_24_reverse_names() {
    let mut told = shop();
    told.watch(1_000, Created, of_service("shop", "o", "orphan"), slice(&["10.244.2.17"], &[]));
    told.watch(1_000, Created, meta("shop", "unlabelled"), slice(&["10.244.1.2"], &[]));
    table(
        &told,
        &options(),
        &[
            ("1.1.96.10.in-addr.arpa", Rtype::PTR, "PTR web.shop.svc", VERIFIED),
            ("1.1.96.10.in-addr.arpa", Rtype::PTR, "PTR evil.shop.svc", WRONG),
            ("3.1.244.10.in-addr.arpa", Rtype::PTR, "PTR db-1.db.shop.svc", VERIFIED),
            ("17.2.244.10.in-addr.arpa", Rtype::PTR, "PTR 10-244-2-17.orphan.shop.svc", VERIFIED),
            ("9.9.9.9.in-addr.arpa", Rtype::PTR, "NX", VERIFIED),
            ("1.1.96.10.in-addr.arpa", Rtype::A, "NX", VERIFIED),
            // The unlabelled slice silences the address: any answer is false.
            ("2.1.244.10.in-addr.arpa", Rtype::PTR, "PTR 10-244-1-2.db.shop.svc", NOT),
        ],
    );
    let falling = Options { fallthrough: vec![name("in-addr.arpa")], ..options() };
    table(&told, &falling, &[("9.9.9.9.in-addr.arpa", Rtype::PTR, "NX", "not cluster")]);
}

#[test]
fn rows_11_to_13_and_18_kinds_that_differ() {
    table(
        &shop(),
        &options(),
        &[
            ("dns-version", Rtype::A, "NX", VERIFIED),
            ("foo", Rtype::SOA, "-", VERIFIED),
            ("foo", Rtype::A, "NX", VERIFIED),
            ("svc", Rtype::TXT, "NX", VERIFIED),
            ("svc", Rtype::A, "-", VERIFIED),
            ("shop.svc", Rtype::A, "-", VERIFIED),
            ("web.shop.svc", Rtype::TXT, "-", VERIFIED),
            ("web.shop.svc", Rtype::HTTPS, "-", VERIFIED),
            ("nope.shop.svc", Rtype::HTTPS, "NX", VERIFIED),
            ("dns-version", Rtype::TXT, "TXT 1.1.0", VERIFIED),
        ],
    );
}

#[test]
fn section_3_a_ttl_above_the_option_is_not_the_plugins() {
    let history = shop().history(1_000_000);
    let low = Options { ttl: 5, ..options() };
    let judgement = judged(&history, &low, ("web.shop.svc", Rtype::A), "10.96.1.1", 100_000);
    assert_eq!(word(&judgement), "TTL beyond configuration");
}

#[test]
fn rows_35_36_names_of_the_server_itself_are_never_denied() {
    let mut told = Told::new();
    let mut server = meta("kube-system", "coredns-1");
    server.labels.insert("k8s-app".to_owned(), "kube-dns".to_owned());
    told.watch(1_000, Created, server, pod("n1", "Running", &["10.244.0.2"]));
    let of_dns = of_service("kube-system", "kube-dns-a", "kube-dns");
    told.watch(1_000, Created, of_dns, slice(&["10.244.0.2"], &[("dns", Some(53))]));
    let unknown = "unverifiable OutOfModel(\"the server's own addresses\")";
    table(
        &told,
        &options(),
        &[
            ("ns.dns", Rtype::A, "10.96.0.10", VERIFIED),
            ("ns.dns", Rtype::AAAA, "-", VERIFIED),
            ("ns.dns", Rtype::MX, "-", VERIFIED),
            ("ns.dns", Rtype::A, "6.6.6.6", unknown),
        ],
    );
    let local = Options { local_ips: Some(vec!["10.244.0.2".parse().unwrap()]), ..options() };
    table(
        &told,
        &local,
        &[("ns.dns", Rtype::A, "10.96.0.10", VERIFIED), ("ns.dns", Rtype::A, "6.6.6.6", WRONG)],
    );
}

#[test]
fn row_29_labels_select_each_object_by_its_own() {
    let selecting = Options { labels: crate::corefile::LabelSelector::parse("app=web"), ..options() };
    table(&shop(), &selecting, &[("web.shop.svc", Rtype::A, "NX", VERIFIED)]);
}

#[test]
fn section_2_right_before_but_no_longer_is_stale() {
    let mut told = shop();
    told.watch(
        100_000,
        Updated,
        of_service("shop", "db-a", "db"),
        slice(&["10.244.7.7"], &[("pg", Some(5432))]),
    );
    told.watch(100_000, Deleted, meta("shop", "web"), service(&["10.96.1.1"], &[("http", 80)]));
    told.watch(100_000, Created, meta("shop", "new"), service(&["10.96.1.5"], &[("http", 80)]));
    let history = told.history(1_000_000);
    let db = ("db.shop.svc", Rtype::A);
    for (asked, answer, millis, expected) in [
        (db, "10.244.1.2;10.244.1.3", 99_000, VERIFIED),
        (db, "10.244.1.2;10.244.1.3", 101_000, "stale"),
        // With its full TTL an answer is fresh: only the watch lag is admitted.
        (db, "10.244.1.2;10.244.1.3", 110_000, "stale"),
        (db, "10.244.1.2;10.244.1.3", 112_000, EXTRA),
        (db, "10.244.7.7;10.244.1.3", 101_000, VERIFIED),
        (db, "10.244.7.7;10.244.1.3", 99_000, EXTRA),
        (("web.shop.svc", Rtype::A), "10.96.1.1", 101_000, "stale"),
        (("web.shop.svc", Rtype::A), "10.96.1.1", 112_000, NOT),
        (("web.shop.svc", Rtype::A), "NX", 101_000, VERIFIED),
        (("new.shop.svc", Rtype::A), "NX", 101_000, "stale"),
        (("new.shop.svc", Rtype::A), "NX", 171_000, SHOULD),
        (("new.shop.svc", Rtype::A), "10.96.1.5", 101_000, VERIFIED),
    ] {
        let judgement = judged(&history, &options(), asked, answer, millis);
        assert_eq!(word(&judgement), expected, "{} {answer} at {millis}", asked.0);
    }
}

#[test]
fn a_ttl_that_has_counted_down_tells_how_old_an_answer_may_be() {
    let mut told = shop();
    told.watch(
        100_000,
        Updated,
        of_service("shop", "db-a", "db"),
        slice(&["10.244.7.7"], &[("pg", Some(5432))]),
    );
    let history = told.history(1_000_000);
    let corefiles = CorefileHistory::new();
    let truth = Truth::new(&history, &corefiles).with_options(options());
    let question = question("db.shop.svc", Rtype::A);
    let mut body = body(&question, &["10.244.1.2", "10.244.1.3"]);
    for (ttl, millis, expected) in
        [(1, 139_000, "stale"), (1, 141_000, EXTRA), (20, 120_000, "stale"), (20, 122_000, EXTRA)]
    {
        body.answers.iter_mut().for_each(|record| record.ttl = ttl);
        let judgement = truth.judge(&question, Some(Rcode::NOERROR), Flags(0), &body, at(millis), None);
        assert_eq!(word(&judgement), expected, "TTL {ttl} at {millis}");
    }
}

#[test]
fn i5_nothing_is_denied_beyond_the_history() {
    let mut told = shop();
    told.changes.retain(|change| change.meta.namespace != "x");
    let history = told.history(50_000);
    let outside = format!("unverifiable {:?}", WhyUnverifiable::OutsideHistory);
    for (answer, millis, expected) in [
        // Nothing that nobody recorded can have had an address outside every range of the cluster.
        ("6.6.6.6", 5_000, WRONG),
        ("10.96.1.2", 5_000, outside.as_str()),
        ("10.96.1.1", 40_000, VERIFIED),
        ("10.96.1.2", 40_000, WRONG),
        // The watch ends at 50 s and is taken to go on for its stated reach.
        ("10.96.1.1", 171_000, outside.as_str()),
        ("6.6.6.6", 171_000, outside.as_str()),
    ] {
        let judgement = judged(&history, &options(), ("web.shop.svc", Rtype::A), answer, millis);
        assert_eq!(word(&judgement), expected, "{answer} at {millis}");
    }
}

#[test]
fn a_snapshot_after_the_query_verifies_and_denies_nothing() {
    let mut told = Told::default();
    told.snapshot(200_000, versioned("shop", "web", "u1", 7, 50), service(&["10.96.1.1"], &[("http", 80)]));
    told.snapshot(200_000, versioned("", "shop", "u0", 3, 40), truename_model::object::Object::Namespace);
    let history = told.bare_history();
    let outside = format!("unverifiable {:?}", WhyUnverifiable::OutsideHistory);
    let web = ("web.shop.svc", Rtype::A);
    for (asked, answer, millis, expected) in [
        (web, "10.96.1.1", 100_000, VERIFIED),
        (web, "10.96.1.1", 300_000, outside.as_str()),
        (web, "6.6.6.6", 100_000, WRONG),
        (web, "10.96.1.2", 51_000, outside.as_str()),
        (web, "NX", 100_000, outside.as_str()),
        (("nope.shop.svc", Rtype::A), "6.6.6.6", 100_000, outside.as_str()),
        (("nope.shop.svc", Rtype::A), "NX", 100_000, outside.as_str()),
    ] {
        let judgement = judged(&history, &options(), asked, answer, millis);
        assert_eq!(word(&judgement), expected, "{} {answer} at {millis}", asked.0);
    }
}

#[test]
fn a_contradiction_names_the_deciding_objects_and_what_was_expected() {
    let history = shop().history(1_000_000);
    let judgement = judged(&history, &options(), ("web.shop.svc", Rtype::A), "6.6.6.6", 100_000);
    let Judgement::Verdict(Verdict::Contradicted { how, by, expected }) = judgement else {
        panic!("{judgement:?}")
    };
    assert_eq!(how, Contradiction::WrongAddress);
    assert_eq!(expected, "10.96.1.1");
    let kinds: Vec<&str> = by.iter().map(|of: &ObjectRef| of.kind.as_str()).collect();
    assert_eq!(kinds, ["Namespace", "Service"]);
    assert!(by.iter().all(|of| !of.uid.is_empty() && !of.resource_version.is_empty()));
}

#[test]
fn admissible_lists_every_world_of_the_window() {
    let mut told = shop();
    told.watch(
        100_000,
        Updated,
        of_service("shop", "db-a", "db"),
        slice(&["10.244.7.7"], &[("pg", Some(5432))]),
    );
    let history = told.history(1_000_000);
    let corefiles = CorefileHistory::new();
    let truth = Truth::new(&history, &corefiles).with_options(options());
    let asked = question("db.shop.svc", Rtype::A);
    let window = truename_model::time::Interval { lo: at(90_000).lo, hi: at(110_000).hi };
    let Expected::Answers { possibilities, complete } = truth.admissible(&asked, window, None) else {
        panic!()
    };
    assert!(complete);
    assert_eq!(possibilities.len(), 2);
    assert_ne!(truth.epoch(&asked, window), truth.epoch(&asked, at(120_000)));
    assert_eq!(truth.epoch(&asked, at(130_000)), truth.epoch(&asked, at(120_000)));
}
