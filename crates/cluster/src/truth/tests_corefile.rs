//! Verdicts under a Corefile: what the kubernetes plugin was told, what stands before it, what was in force when.

use truename_model::name::Name;
use truename_model::object::ChangeKind::{Created, Updated};
use truename_model::object::{ConfigMap, Object};
use truename_model::rr::{Body, Class, Flags, Question, Rcode, Rdata, Record, Rtype};
use truename_model::verdict::{Explanation, Verdict, WhyUnverifiable};

use super::{Judgement, Truth};
use crate::fixture::{Told, at, meta, service, versioned};
use crate::history::CorefileHistory;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// The kubeadm Corefile with `lines` put before kubernetes.
fn corefile(lines: &str) -> String {
    format!(
        ".:53 {{\n    errors\n    ready\n{lines}    kubernetes cluster.local in-addr.arpa ip6.arpa {{\n        pods insecure\n        \
         fallthrough in-addr.arpa ip6.arpa\n        ttl 30\n    }}\n    forward . /etc/resolv.conf\n    cache 30\n    reload\n}}\n"
    )
}

fn config(text: &str) -> Object {
    Object::ConfigMap(ConfigMap { data: [("Corefile".to_owned(), text.to_owned())].into() })
}

struct Setting {
    told: Told,
    corefiles: CorefileHistory,
}

impl Setting {
    /// Texts, each in force from its time in milliseconds.
    fn new(texts: &[(i64, String)]) -> Self {
        Self::beside(texts, &[])
    }

    /// The same with other maps of `kube-system`: when, name, an item and its text.
    fn beside(texts: &[(i64, String)], maps: &[(i64, &str, &str, &str)]) -> Self {
        let mut told = Told::new();
        told.watch(1_000, Created, meta("shop", "web"), service(&["10.96.1.1"], &[("http", 80)]));
        for (index, (millis, text)) in texts.iter().enumerate() {
            let kind = if index == 0 { Created } else { Updated };
            told.watch(*millis, kind, meta("kube-system", "coredns"), config(text));
        }
        for (index, (millis, map, item, text)) in maps.iter().enumerate() {
            let kind = if maps[..index].iter().any(|one| one.1 == *map) { Updated } else { Created };
            let data = [((*item).to_owned(), (*text).to_owned())].into();
            told.watch(*millis, kind, meta("kube-system", map), Object::ConfigMap(ConfigMap { data }));
        }
        Self::of(told)
    }

    fn of(told: Told) -> Self {
        let mut corefiles = CorefileHistory::new();
        told.changes.iter().for_each(|change| {
            corefiles.fold(change);
        });
        corefiles.finish(&told.history(10_000_000));
        Self { told, corefiles }
    }

    fn judge(
        &self,
        asked: &str,
        rtype: Rtype,
        rcode: Rcode,
        answers: &[(&str, &str, u32)],
        millis: i64,
    ) -> Judgement {
        let history = self.told.history(10_000_000);
        let truth = Truth::new(&history, &self.corefiles);
        let question = Question { name: name(asked), rtype, class: Class::IN };
        let mut body = Body::question_only(question.clone());
        body.sections_seen = true;
        for (owner, data, ttl) in answers {
            let rdata = match data.parse::<std::net::IpAddr>() {
                Ok(std::net::IpAddr::V4(ip)) => Rdata::A(ip),
                Ok(std::net::IpAddr::V6(ip)) => Rdata::Aaaa(ip),
                Err(_) => Rdata::Cname(name(data)),
            };
            let rtype = if matches!(rdata, Rdata::Cname(_)) { Rtype::CNAME } else { rtype };
            body.answers.push(Record { owner: name(owner), rtype, class: Class::IN, ttl: *ttl, rdata });
        }
        truth.judge(&question, Some(rcode), Flags(0), &body, at(millis), Some("1.15.0"))
    }

    fn word(&self, asked: &str, data: &str, millis: i64) -> String {
        word(&self.judge(asked, Rtype::A, Rcode::NOERROR, &[(asked, data, 30)], millis))
    }
}

fn word(judgement: &Judgement) -> String {
    match judgement {
        Judgement::Verdict(Verdict::Explained { by: Explanation::Corefile { line, text, .. } }) => {
            format!("line {line}: {text}")
        }
        Judgement::Verdict(Verdict::Contradicted { how, .. }) => how.phrase().to_owned(),
        Judgement::Verdict(Verdict::Unverifiable { why }) => format!("{why:?}"),
        Judgement::Verdict(verdict) => verdict.word().to_owned(),
        Judgement::NotCluster => "not cluster".to_owned(),
        Judgement::Chase(chase) => format!("chase {}", chase.target),
    }
}

const WEB: &str = "web.shop.svc.cluster.local";

#[test]
fn a_tampered_corefile_explains_its_answers_while_it_may_be_in_force() {
    let hosts = "    hosts {\n        6.6.6.6 web.shop.svc.cluster.local\n        fallthrough\n    }\n";
    let setting = Setting::new(&[(1_000, corefile("")), (500_000, corefile(hosts)), (900_000, corefile(""))]);
    for (millis, data, expected) in [
        (499_000, "6.6.6.6", "wrong address"),
        (501_000, "6.6.6.6", "line 5: 6.6.6.6 web.shop.svc.cluster.local"),
        (501_000, "10.96.1.1", "verified"),
        // Reverted, but the kubelet and `reload` may lag.
        (1_000_000, "6.6.6.6", "line 5: 6.6.6.6 web.shop.svc.cluster.local"),
        (1_081_000, "6.6.6.6", "wrong address"),
        (800_000, "7.7.7.7", "wrong address"),
    ] {
        assert_eq!(setting.word(WEB, data, millis), expected, "{data} at {millis}");
    }
}

/// A dump without a time may be of any later day: between two versions that nothing but such dumps and lists show, a third
/// may have run.
#[test]
fn between_two_dumps_another_configuration_may_have_run() {
    let mut told = Told::default();
    let version = |rv: u64| versioned("kube-system", "coredns", "u1", rv, 1);
    told.snapshot(200_000, version(10), config(&corefile("")));
    told.snapshot(500_000, version(30), config(&corefile("")));
    for rv in [10, 30] {
        told.snapshot(0, version(rv), config(&corefile("")));
        told.changes.last_mut().unwrap().seen_at = None;
    }
    let mut corefiles = CorefileHistory::new();
    assert!(told.changes.iter().all(|change| corefiles.fold(change)));
    corefiles.finish(&told.bare_history());
    assert!(corefiles.is_known(at(150_000)));
    assert!(!corefiles.is_known(at(300_000)) && !corefiles.is_known(at(499_000)));
    // As the lists alone say.
    told.changes.truncate(2);
    let mut lists = CorefileHistory::new();
    told.changes.iter().for_each(|change| assert!(lists.fold(change)));
    lists.finish(&told.bare_history());
    assert!(!lists.is_known(at(300_000)));
}

#[test]
fn what_a_corefile_imports_counts_as_if_it_stood_there() {
    let hosts = "hosts {\n  6.6.6.6 web.shop.svc.cluster.local\n  fallthrough\n}\n";
    let texts = [(1_000, corefile("    import custom/*.override\n"))];
    // Nobody knows what is imported: no denial. The objects' own answer stays good.
    let unseen = Setting::new(&texts);
    assert_eq!(unseen.word(WEB, "6.6.6.6", 500_000), "NoCorefile");
    assert_eq!(unseen.word(WEB, "10.96.1.1", 500_000), "verified");
    // All maps are watched, and there is none to import.
    let none = Setting::beside(&texts, &[(1_000, "kube-root-ca.crt", "ca.crt", "")]);
    assert_eq!(none.word(WEB, "6.6.6.6", 500_000), "wrong address");
    let maps = [
        (1_000, "coredns-custom", "empty.override", ""),
        (400_000, "coredns-custom", "lie.override", hosts),
        (800_000, "coredns-custom", "lie.server", ""),
    ];
    let seen = Setting::beside(&texts, &maps);
    let line = "line 2: lie.override: 6.6.6.6 web.shop.svc.cluster.local";
    for (millis, expected) in [(399_000, "wrong address"), (500_000, line), (981_000, "wrong address")] {
        assert_eq!(seen.word(WEB, "6.6.6.6", millis), expected, "{millis}");
    }
    match seen.judge(WEB, Rtype::A, Rcode::NOERROR, &[(WEB, "6.6.6.6", 30)], 500_000) {
        Judgement::Verdict(Verdict::Explained { by: Explanation::Corefile { config, .. } }) => {
            assert_eq!(config.name, "coredns-custom");
        }
        other => panic!("{other:?}"),
    }
    // Nothing is imported before the map is made.
    let made = Setting::beside(&texts, &[(400_000, "coredns-custom", "lie.override", hosts)]);
    assert_eq!(made.word(WEB, "6.6.6.6", 300_000), "wrong address");
    assert_eq!(made.word(WEB, "6.6.6.6", 500_000), line);
    // Lines behind the import keep the numbers that they have in the Corefile.
    let after =
        "    import custom/*.override\n    rewrite name exact web.shop.svc.cluster.local evil.example\n";
    let shifted = Setting::beside(&[(1_000, corefile(after))], &maps[..2]);
    let expected = "line 5: rewrite name exact web.shop.svc.cluster.local evil.example";
    assert_eq!(shifted.word(WEB, "7.7.7.7", 700_000), expected);
    // What an imported item imports itself, and other folders, stay unknown; so does a variable of the process.
    for lines in
        ["    import other/*.conf\n", "    hosts {\n        {$IP} x.example\n        fallthrough\n    }\n"]
    {
        let open = Setting::beside(&[(1_000, corefile(lines))], &maps);
        assert_eq!(open.word(WEB, "6.6.6.6", 500_000), "NoCorefile", "{lines}");
    }
}

#[test]
fn a_map_of_a_tenant_and_a_plugin_of_another_build_decide_nothing() {
    let lie =
        corefile("    hosts {\n        6.6.6.6 web.shop.svc.cluster.local\n        fallthrough\n    }\n");
    let mut told = Told::new();
    told.watch(1_000, Created, meta("shop", "web"), service(&["10.96.1.1"], &[("http", 80)]));
    told.watch(1_000, Created, meta("shop", "mydns"), config(&lie));
    assert!(Setting::of(told).corefiles.versions().is_empty());
    let records = "    records {\n        web.shop.svc.cluster.local. 60 IN A 6.6.6.6\n    }\n";
    let setting = Setting::new(&[(1_000, corefile(records))]);
    assert_eq!(setting.word(WEB, "6.6.6.6", 500_000), "OutOfModel(\"records\")");
    assert_eq!(setting.word(WEB, "10.96.1.1", 500_000), "verified");
}

/// k3s: the hosts file is another item of the same ConfigMap.
#[test]
fn a_hosts_file_of_the_corefiles_own_map_is_read() {
    let text = corefile("    hosts /etc/coredns/NodeHosts {\n        ttl 60\n        fallthrough\n    }\n");
    let mut told = Told::new();
    told.watch(1_000, Created, meta("shop", "web"), service(&["10.96.1.1"], &[("http", 80)]));
    for (millis, kind, hosts) in [
        (1_000, Created, "10.0.0.1 node-1\n"),
        (500_000, Updated, "10.0.0.1 node-1\n6.6.6.6 web.shop.svc.cluster.local\n"),
    ] {
        let data = [("Corefile".to_owned(), text.clone()), ("NodeHosts".to_owned(), hosts.to_owned())].into();
        told.watch(millis, kind, meta("kube-system", "coredns"), Object::ConfigMap(ConfigMap { data }));
    }
    let setting = Setting::of(told);
    assert_eq!(setting.word(WEB, "6.6.6.6", 400_000), "wrong address");
    assert_eq!(
        setting.word(WEB, "6.6.6.6", 600_000),
        "line 2: NodeHosts: 6.6.6.6 web.shop.svc.cluster.local"
    );
    assert_eq!(setting.word(WEB, "7.7.7.7", 800_000), "wrong address");
    assert_eq!(setting.word(WEB, "10.96.1.1", 400_000), "verified");
}

#[test]
fn rewrites_explain_the_names_they_turn_into_others() {
    let rewrite = "    rewrite name exact web.shop.svc.cluster.local evil.example\n";
    let setting = Setting::new(&[(1_000, corefile(rewrite))]);
    let expected = "line 4: rewrite name exact web.shop.svc.cluster.local evil.example";
    assert_eq!(setting.word(WEB, "6.6.6.6", 500_000), expected);
    // A rewrite onto a cluster name is only as good as what that name gives.
    let alias = "    rewrite name exact short.example web.shop.svc.cluster.local\n";
    let setting = Setting::new(&[(1_000, corefile(alias))]);
    assert_eq!(
        setting.word("short.example", "10.96.1.1", 500_000),
        "line 4: rewrite name exact short.example web.shop.svc.cluster.local"
    );
    assert_eq!(setting.word("short.example", "6.6.6.6", 500_000), "wrong address");
    assert_eq!(setting.word("other.example", "6.6.6.6", 500_000), "not cluster");
}

#[test]
fn templates_answer_before_kubernetes() {
    let template = "    template IN A cluster.local {\n        match ^api[.]\n        answer \"{{ .Name }} 60 IN A 6.6.6.6\"\n        fallthrough\n    }\n";
    let setting = Setting::new(&[(1_000, corefile(template))]);
    let judged = setting.word("api.shop.svc.cluster.local", "6.6.6.6", 500_000);
    assert!(judged.starts_with("line 4: template IN A cluster.local"), "{judged}");
    assert_eq!(setting.word("api.shop.svc.cluster.local", "7.7.7.7", 500_000), "should not exist");
}

#[test]
fn plugins_with_data_elsewhere_leave_the_answer_open() {
    let setting =
        Setting::new(&[(1_000, corefile("    hosts /etc/coredns/extra {\n        fallthrough\n    }\n"))]);
    let expected = format!("{:?}", WhyUnverifiable::StateElsewhere("hosts".to_owned()));
    assert_eq!(setting.word(WEB, "6.6.6.6", 500_000), expected);
    assert_eq!(setting.word(WEB, "10.96.1.1", 500_000), "verified");
}

#[test]
fn row_41_dns64_makes_addresses_of_cluster_names() {
    let setting = Setting::new(&[(1_000, corefile("    dns64 {\n        allow_ipv4\n    }\n"))]);
    let judge = |ip: &str| word(&setting.judge(WEB, Rtype::AAAA, Rcode::NOERROR, &[(WEB, ip, 30)], 500_000));
    assert_eq!(judge("64:ff9b::10.96.1.1"), "line 4: dns64 {");
    assert_eq!(judge("64:ff9b::6.6.6.6"), "should not exist");
}

#[test]
fn row_42_autopath_answers_with_an_alias_to_the_name_it_found() {
    let setting = Setting::new(&[(1_000, corefile("    autopath @kubernetes\n"))]);
    let asked = "www.example.com.shop.svc.cluster.local";
    let answers = [(asked, "www.example.com", 320), ("www.example.com", "192.0.2.7", 320)];
    let judged = setting.judge(asked, Rtype::A, Rcode::NOERROR, &answers, 500_000);
    let Judgement::Chase(chase) = judged else { panic!("{judged:?}") };
    assert_eq!((chase.target, chase.rest.len()), (name("www.example.com"), 1));
    assert!(matches!(chase.explained, Some(Explanation::Corefile { line: 4, .. })));
    let asked = "web.shop.svc.shop.svc.cluster.local";
    let answers = [(asked, WEB, 30), (WEB, "10.96.1.1", 30)];
    let judged = setting.judge(asked, Rtype::A, Rcode::NOERROR, &answers, 500_000);
    assert_eq!(word(&judged), "line 4: autopath @kubernetes");
}

#[test]
fn ttls_are_bounded_by_the_option_unless_a_rule_or_cache_raises_them() {
    let ttl = |lines: &str, ttl: u32| {
        let setting = Setting::new(&[(1_000, corefile(lines))]);
        word(&setting.judge(WEB, Rtype::A, Rcode::NOERROR, &[(WEB, "10.96.1.1", ttl)], 500_000))
    };
    assert_eq!(ttl("", 30), "verified");
    assert_eq!(ttl("", 31), "TTL beyond configuration");
    let rule = "    rewrite ttl suffix cluster.local 300\n";
    assert_eq!(ttl(rule, 300), "line 4: rewrite ttl suffix cluster.local 300");
}

#[test]
fn a_version_that_cannot_start_leaves_its_predecessor_running() {
    let broken = "    no_such_plugin\n";
    let hosts = "    hosts {\n        6.6.6.6 web.shop.svc.cluster.local\n        fallthrough\n    }\n";
    let setting = Setting::new(&[(1_000, corefile(hosts)), (500_000, corefile(broken))]);
    assert_eq!(setting.word(WEB, "6.6.6.6", 1_000_000), "line 5: 6.6.6.6 web.shop.svc.cluster.local");
}

#[test]
fn without_a_corefile_only_agreement_is_claimed() {
    let setting = Setting::new(&[]);
    let history = setting.told.history(10_000_000);
    let truth = Truth::new(&history, &setting.corefiles).with_domain(name("cluster.local"));
    let question = Question { name: name(WEB), rtype: Rtype::A, class: Class::IN };
    let mut body = Body::question_only(question.clone());
    body.sections_seen = true;
    let mut judge = |ip: [u8; 4]| {
        let rdata = Rdata::A(ip.into());
        body.answers = vec![Record { owner: name(WEB), rtype: Rtype::A, class: Class::IN, ttl: 300, rdata }];
        word(&truth.judge(&question, Some(Rcode::NOERROR), Flags(0), &body, at(500_000), None))
    };
    assert_eq!(judge([10, 96, 1, 1]), "verified");
    assert_eq!(judge([6, 6, 6, 6]), "NoCorefile");
    assert_eq!(setting.word(WEB, "6.6.6.6", 500_000), "NoCorefile");
    assert_eq!(setting.word("www.example.com", "6.6.6.6", 500_000), "not cluster");
}

#[test]
fn what_shows_no_answer_is_not_judged() {
    let setting = Setting::new(&[(1_000, corefile(""))]);
    let history = setting.told.history(10_000_000);
    let truth = Truth::new(&history, &setting.corefiles);
    let question = Question { name: name(WEB), rtype: Rtype::A, class: Class::IN };
    let body = Body::question_only(question.clone());
    let judge = |rcode: Option<Rcode>, question: &Question, body: &Body| {
        word(&truth.judge(question, rcode, Flags(0), body, at(500_000), None))
    };
    assert_eq!(judge(Some(Rcode::NOERROR), &question, &body), "AnswerNotSeen");
    assert_eq!(judge(Some(Rcode::SERVFAIL), &question, &body), "ServerFailure");
    assert_eq!(judge(Some(Rcode::REFUSED), &question, &body), "ServerFailure");
    assert_eq!(judge(None, &question, &body), "NoResponse");
    let seen = Body { sections_seen: true, ..body };
    let any = Question { rtype: Rtype::ANY, ..question.clone() };
    assert_eq!(judge(Some(Rcode::NOERROR), &any, &seen), "OutOfModel(\"ANY questions\")");
    let damaged = Body { malformed: Some("cut"), ..seen };
    assert_eq!(judge(Some(Rcode::NOERROR), &question, &damaged), "Damaged");
}

#[test]
fn what_an_upstream_gives_is_passed_on_unless_a_plugin_may_change_it_or_ask_ahead() {
    let with = |lines: &str| {
        let setting = Setting::new(&[(1_000, corefile(lines))]);
        let history = setting.told.history(10_000_000);
        Truth::new(&history, &setting.corefiles).passes_on(&name("www.example.com"), at(400_000))
    };
    assert!(with(""));
    assert!(with("    loadbalance\n    prometheus :9153\n    hosts {\n        fallthrough\n    }\n"));
    for lines in [
        "    rewrite name a.example b.example\n",
        "    cache 30 {\n        prefetch 5\n    }\n",
        "    cache 30 {\n        serve_stale\n    }\n",
        "    dns64\n",
        "    somebodys_plugin\n",
    ] {
        assert!(!with(lines), "{lines}");
    }
}
