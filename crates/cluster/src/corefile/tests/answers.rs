//! What a server block does with a question.

use std::net::IpAddr;

use proptest::prelude::*;
use truename_model::{Class, Name, Question, Rcode, Rdata, Rtype};

use crate::corefile::{
    Corefile, Effect, End, Env, Query, Trace, Version, answers_before_kubernetes, parse, trace,
};

const BASE: &str = "kubernetes cluster.local 10.96.0.0/12\nforward . 192.0.2.53\n";

fn corefile(front: &str) -> Corefile {
    let corefile = parse(&format!(". {{\n{front}\n{BASE}}}"), &Env::default()).unwrap();
    assert!(corefile.would_start(), "{:?}", corefile.invalid);
    corefile
}

fn question(name: &str, rtype: Rtype) -> Question {
    Question { name: Name::parse(name).unwrap(), rtype, class: Class::IN }
}

fn ask(front: &str, name: &str, rtype: Rtype) -> Trace {
    trace(&corefile(front).servers[0], &question(name, rtype), Query::default())
}

/// Response code, owners, data, TTLs.
type Answer = (Rcode, Vec<String>, Vec<String>, Vec<u32>);

fn addresses(trace: &Trace) -> Option<Answer> {
    let (rcode, records) = trace.answer()?;
    let owners = records.iter().map(|record| record.owner.to_string()).collect();
    let data = records.iter().map(|record| record.rdata.to_string()).collect();
    Some((rcode, owners, data, records.iter().map(|record| record.ttl).collect()))
}

fn good(owner: &str, data: &str, ttl: u32) -> Option<Answer> {
    Some((Rcode::NOERROR, vec![owner.to_owned()], vec![data.to_owned()], vec![ttl]))
}

#[test]
fn nothing_in_front_leaves_cluster_names_to_kubernetes_and_others_to_forward() {
    assert_eq!(ask("", "a.b.svc.cluster.local", Rtype::A).end, End::Kubernetes(3));
    assert_eq!(ask("", "5.1.97.10.in-addr.arpa", Rtype::PTR).end, End::Kubernetes(3));
    assert_eq!(ask("", "example.org", Rtype::A).end, End::Forward(4));
    let servers = corefile("").servers;
    assert_eq!(
        answers_before_kubernetes(&servers[0], &question("a.cluster.local", Rtype::A), Query::default()),
        None
    );
}

#[test]
fn a_hosts_entry_hijacks_a_service_and_its_reverse() {
    let hosts = "hosts {\n 203.0.113.66 api.shop.svc.cluster.local *.wild.example\n ::ffff:203.0.113.67 v6.example\n ttl 60\n fallthrough\n}";
    let hit = ask(hosts, "API.shop.svc.cluster.local", Rtype::A);
    assert_eq!(addresses(&hit), good("api.shop.svc.cluster.local.", "203.0.113.66", 60));
    let step = hit.answering().unwrap();
    assert_eq!((step.line, step.plugin.as_str()), (3, "hosts"));
    assert_eq!(step.text, "203.0.113.66 api.shop.svc.cluster.local *.wild.example");
    // The other family is NODATA, not kubernetes.
    assert_eq!(
        addresses(&ask(hosts, "api.shop.svc.cluster.local", Rtype::AAAA)),
        Some((Rcode::NOERROR, vec![], vec![], vec![]))
    );
    assert_eq!(addresses(&ask(hosts, "v6.example", Rtype::A)), good("v6.example.", "203.0.113.67", 60));
    assert_eq!(
        addresses(&ask(hosts, "a.wild.example", Rtype::A)),
        good("a.wild.example.", "203.0.113.66", 60)
    );
    assert_eq!(ask(hosts, "b.a.wild.example", Rtype::A).end, End::Forward(9));
    let reverse = ask(hosts, "66.113.0.203.in-addr.arpa", Rtype::PTR);
    assert!(
        matches!(&reverse.answering().unwrap().effect, Effect::Answers { records, .. } if matches!(&records[0].as_ref().unwrap().rdata, Rdata::Ptr(_)))
    );
    // Without fallthrough every other name ends here.
    let shut = ask("hosts {\n 203.0.113.66 a.example\n}", "b.cluster.local", Rtype::A);
    assert_eq!(addresses(&shut), Some((Rcode::SERVFAIL, vec![], vec![], vec![])));
}

#[test]
fn a_named_hosts_file_may_say_anything() {
    let file = "hosts /etc/coredns/NodeHosts {\n fallthrough\n}";
    let maybe = ask(file, "node1.example", Rtype::A);
    assert!(!maybe.is_certain() && maybe.end == End::Forward(6));
    let mut known = corefile(file);
    let crate::corefile::Plugin::Hosts(hosts) =
        known.servers[0].plugins.iter_mut().find(|plugin| plugin.name() == "hosts").unwrap()
    else {
        panic!("no hosts")
    };
    hosts.add_file("# nodes\n192.0.2.7\tnode1.example node1 # first\n");
    let known = trace(&known.servers[0], &question("node1.example", Rtype::A), Query::default());
    assert_eq!(addresses(&known), good("node1.example.", "192.0.2.7", 3600));
}

#[test]
fn a_rewrite_sends_a_name_elsewhere_and_back() {
    let to_service = "rewrite name exact pay.example.org pay.shop.svc.cluster.local";
    let renamed = ask(to_service, "pay.example.org", Rtype::A);
    assert_eq!(renamed.end, End::Kubernetes(3));
    assert_eq!(renamed.question.name.to_string(), "pay.shop.svc.cluster.local.");
    assert!(matches!(&renamed.steps[0].effect, Effect::Renames { restored: true, .. }));
    // A rewrite and a hosts entry together: the client sees its own name.
    let both = "rewrite stop name regex (.*)\\.shop\\.svc\\.cluster\\.local {1}.evil.example answer auto\nrewrite ttl api.evil.example 5\nhosts {\n 203.0.113.66 api.evil.example\n fallthrough\n}";
    assert_eq!(
        addresses(&ask(both, "api.shop.svc.cluster.local", Rtype::A)),
        good("api.shop.svc.cluster.local.", "203.0.113.66", 3600)
    );
    let chained = both.replace("rewrite stop", "rewrite continue");
    assert_eq!(
        addresses(&ask(&chained, "api.shop.svc.cluster.local", Rtype::A)),
        good("api.shop.svc.cluster.local.", "203.0.113.66", 5)
    );
    // Answers are not touched unless the rule says so.
    let plain = both.replace(" answer auto", "");
    assert_eq!(
        addresses(&ask(&plain, "api.shop.svc.cluster.local", Rtype::A)),
        good("api.evil.example.", "203.0.113.66", 3600)
    );
    let kind = ask("rewrite type AAAA A", "a.cluster.local", Rtype::AAAA);
    assert_eq!(kind.question.rtype, Rtype::A);
}

#[test]
fn a_template_answers_by_pattern_and_group() {
    let template = "template IN A example.org cluster.local {\n match ^ip-(?P<a>[0-9]+)-([0-9]+)\\.(.*)$\n answer \"{{ .Name }} 90 IN A 10.0.{{ .Group.a }}.{{ index .Match 2 }}\"\n fallthrough\n}";
    assert_eq!(
        addresses(&ask(template, "ip-7-9.x.cluster.local", Rtype::A)),
        good("ip-7-9.x.cluster.local.", "10.0.7.9", 90)
    );
    assert_eq!(ask(template, "other.cluster.local", Rtype::A).end, End::Kubernetes(7));
    assert_eq!(ask(template, "ip-7-9.x.cluster.local", Rtype::AAAA).end, End::Kubernetes(7));
    let shut = template.replace("\n fallthrough", "");
    assert_eq!(
        addresses(&ask(&shut, "other.example.org", Rtype::A)),
        Some((Rcode::SERVFAIL, vec![], vec![], vec![]))
    );
    let denial = "template ANY ANY evil.example {\n rcode NXDOMAIN\n}";
    assert_eq!(
        addresses(&ask(denial, "a.evil.example", Rtype::A)),
        Some((Rcode::NXDOMAIN, vec![], vec![], vec![]))
    );
    // What the small reader of templates does not know makes the answer uncertain, never wrong.
    let unknown = template.replace("{{ .Name }} 90", "{{ .Name | len }} 90");
    let unknown = ask(&unknown, "ip-7-9.x.cluster.local", Rtype::A);
    assert!(unknown.answer().is_none() && !unknown.is_certain() && unknown.end == End::Step);
}

#[test]
fn acl_depends_on_the_client_and_the_order_on_the_version() {
    let corefile = corefile("acl {\n block net 10.9.0.0/16\n}\nrewrite name a.example b.example");
    let run = |client: Option<&str>, version| {
        let client = client.map(|text| text.parse::<IpAddr>().unwrap());
        let query = Query { version, client, behind_kubernetes: false };
        trace(&corefile.servers[0], &question("a.example", Rtype::A), query)
    };
    assert_eq!(run(Some("10.9.1.1"), Version::NEWEST).answer(), Some((Rcode::REFUSED, vec![])));
    assert!(run(Some("10.8.1.1"), Version::NEWEST).is_certain() && !run(None, Version::NEWEST).is_certain());
    let order =
        |version| -> Vec<String> { run(None, version).steps.into_iter().map(|step| step.plugin).collect() };
    assert_eq!(order(Version(1, 14, 1)), ["acl", "rewrite"]);
    assert_eq!(order(Version(1, 14, 4)), ["rewrite", "acl"]);
}

#[test]
fn data_outside_the_corefile_is_named() {
    let file = ask("file db.example example.org", "a.example.org", Rtype::A);
    assert!(matches!(file.answering().unwrap().effect, Effect::Elsewhere));
    let k8s = trace(
        &corefile("etcd skydns.local {\n fallthrough\n}").servers[0],
        &question("a.skydns.local", Rtype::A),
        Query::default(),
    );
    assert!(!k8s.is_certain() && k8s.end == End::Forward(6));
    assert!(matches!(ask("any", "a.cluster.local", Rtype::ANY).answering().unwrap().effect, Effect::Builtin));
    assert_eq!(addresses(&ask("local", "x.localhost", Rtype::A)), good("x.localhost.", "127.0.0.1", 604_800));
}

proptest! {
    #[test]
    fn any_question_passes_any_block(
        labels in proptest::collection::vec("[a-z0-9*-]{1,8}", 0..6),
        rtype in prop_oneof![Just(1u16), Just(28), Just(12), Just(255), Just(252), any::<u16>()],
        pattern in "[a-z.(){}*+0-9|^$\\[\\]-]{0,12}",
        entry in "[a-z*.]{0,20}",
    ) {
        let text = format!(
            ". {{\n rewrite name regex {pattern}x {{0}}{{0}}.y\n hosts {{\n 192.0.2.1 {entry}x\n fallthrough\n }}\n template ANY ANY {{\n match {pattern}x\n answer \"{{{{ .Name }}}} 1 IN A 192.0.2.2\"\n fallthrough\n }}\n whoami\n}}"
        );
        if let Ok(corefile) = parse(&text, &Env::default())
            && let Ok(name) = Name::parse(&labels.join("."))
        {
            let question = Question { name, rtype: Rtype(rtype), class: Class::IN };
            let trace = trace(&corefile.servers[0], &question, Query::default());
            let _ = trace.answer();
            prop_assert!(trace.ttl_range().0 <= trace.ttl_range().1);
        }
    }
}
