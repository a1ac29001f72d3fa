//! Typed plugins: what the options of a stanza become.

use truename_model::{Name, Rcode, Rtype};

use crate::corefile::evidence::LogClass;
use crate::corefile::forward::Upstream;
use crate::corefile::order::position;
use crate::corefile::policy::AclAction;
use crate::corefile::rewrite::{Action, Mode};
use crate::corefile::{
    Corefile, Env, LabelSelector, Plugin, PodMode, Transport, Version, parse, parse_for, server_for,
    servers_for,
};

const KUBEADM: &str = ".:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
";

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn clean(text: &str) -> Corefile {
    let corefile = parse(text, &Env::default()).unwrap();
    assert!(corefile.would_start(), "{:?}", corefile.invalid);
    corefile
}

/// The first plugin of a stanza in the root zone.
fn first(stanza: &str) -> Plugin {
    let corefile = clean(&format!(". {{\n{stanza}\n}}"));
    corefile.servers[0].plugins.first().cloned().unwrap()
}

#[test]
fn the_corefile_of_kubeadm_is_read_in_every_version() {
    for minor in 8..16 {
        let corefile = parse_for(KUBEADM, &Env::default(), Version(1, minor, 6)).unwrap();
        let unknown = corefile.invalid.iter().filter(|error| !error.message.contains("disable")).count();
        assert_eq!(unknown, 0, "1.{minor}: {:?}", corefile.invalid);
    }
    let corefile = clean(KUBEADM);
    let options = corefile.servers[0].kubernetes().unwrap();
    assert_eq!((options.line, options.ttl, options.pods), (7, 30, PodMode::Insecure));
    assert_eq!(options.primary_zone, name("cluster.local"));
    assert!(
        options.fallthrough.passes(&name("1.0.0.10.in-addr.arpa"))
            && !options.fallthrough.passes(&name("a.cluster.local"))
    );
    assert_eq!(options.zone_of(&name("kubernetes.default.svc.cluster.local")), Some(&name("cluster.local")));
    let chain: Vec<&str> =
        corefile.servers[0].chain(Version::NEWEST).iter().map(|directive| directive.name.as_str()).collect();
    assert_eq!(
        chain,
        [
            "reload",
            "ready",
            "health",
            "prometheus",
            "errors",
            "loadbalance",
            "cache",
            "kubernetes",
            "loop",
            "forward"
        ]
    );
    assert!(
        position("kubernetes", Version(1, 8, 6)).unwrap() < position("forward", Version(1, 8, 6)).unwrap()
    );
}

#[test]
fn the_longest_zone_takes_the_query_and_views_may_decline() {
    let text = ".:53 {\n whoami\n}\nexample.org:53 sub.example.org:53 {\n whoami\n}\nexample.org:1053 tls://a.sub.example.org {\n whoami\n}\n\
                10.0.0.0/15 {\n whoami\n}\nv.example {\n view one {\n  expr true\n }\n whoami\n}\nv.example {\n whoami\n}\n";
    let corefile = clean(text);
    let line = |who: &str, port| server_for(&corefile, &name(who), port).map(|server| server.line);
    assert_eq!(line("x.sub.example.org", 53), Some(4));
    assert_eq!(line("badexample.org", 53), Some(1));
    assert_eq!(line("a.sub.example.org", 1053), Some(7));
    assert_eq!(line("other", 1053), None);
    assert_eq!(line("9.9.1.10.in-addr.arpa", 53), Some(10));
    assert_eq!(line("9.9.2.10.in-addr.arpa", 53), Some(1));
    let views: Vec<u32> =
        servers_for(&corefile, &name("x.v.example"), 53).iter().map(|server| server.line).collect();
    assert_eq!(views, [13, 19]);
}

#[test]
fn label_selectors_select_as_kubernetes_does() {
    let labels =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let matches =
        |text: &str, pairs: &[(&str, &str)]| LabelSelector::parse(text).unwrap().matches(&labels(pairs));
    assert!(matches("app=web, tier in (a, b)", &[("app", "web"), ("tier", "b")]));
    assert!(!matches("app=web,tier in (a)", &[("app", "web"), ("tier", "b")]));
    assert!(
        matches("app!=web", &[])
            && matches("tier notin (a)", &[])
            && !matches("app", &[])
            && matches("!app", &[])
    );
    for bad in ["a in", "=b", "a==b=c d", "a in (b", "-a=b"] {
        assert_eq!(LabelSelector::parse(bad), None, "{bad}");
    }
}

#[test]
fn targets_of_forward_are_addresses_files_and_names() {
    let Plugin::Forward(forward) = first(
        "forward . 192.0.2.1 [2001:db8::1]:54 tls://192.0.2.2%dns.example /etc/resolv.conf up.example {\n except cluster.local\n policy sequential\n force_tcp\n next NXDOMAIN\n}",
    ) else {
        panic!("no forward")
    };
    let found: Vec<_> = forward.targets.iter().map(|t| (t.transport, t.upstream.clone(), t.port)).collect();
    assert_eq!(found[0], (Transport::Dns, Upstream::Address("192.0.2.1".parse().unwrap()), 53));
    assert_eq!(found[1], (Transport::Dns, Upstream::Address("2001:db8::1".parse().unwrap()), 54));
    assert_eq!(found[2], (Transport::Tls, Upstream::Address("192.0.2.2".parse().unwrap()), 853));
    assert_eq!(forward.targets[2].server_name.as_deref(), Some("dns.example"));
    assert_eq!(found[3].1, Upstream::File("/etc/resolv.conf".to_owned()));
    assert_eq!(found[4].1, Upstream::Host("up.example".to_owned()));
    assert!(forward.takes(&name("a.example")) && !forward.takes(&name("a.cluster.local")));
    assert_eq!(
        (forward.policy.as_str(), forward.force_tcp, forward.next.as_slice()),
        ("sequential", true, &[Rcode::NXDOMAIN][..])
    );
}

#[test]
fn lifetimes_of_the_cache_follow_its_words() {
    const S: i64 = 1_000_000_000;
    let Plugin::Cache(cache) = first(
        "cache 900 cluster.local {\n denial 9984 30\n success 9984 100 7\n serve_stale 2h verify\n servfail 0s\n disable denial a.example\n}",
    ) else {
        panic!("no cache")
    };
    assert_eq!((cache.success, cache.denial, cache.servfail), ((100 * S, 7 * S), (30 * S, 5 * S), 0));
    let stale = cache.stale.unwrap();
    assert_eq!((stale.up_to, stale.verify), (7200 * S, true));
    assert_eq!((cache.no_denial.as_slice(), cache.no_success.len()), (&[name("a.example")][..], 0));
    assert!(cache.holds(&name("x.cluster.local")) && !cache.holds(&name("x.example")));
    let Plugin::Cache(default) = first("cache") else { panic!("no cache") };
    assert_eq!(
        (default.success, default.denial, default.servfail),
        ((3600 * S, 5 * S), (1800 * S, 5 * S), 5 * S)
    );
}

#[test]
fn log_rules_have_names_format_and_classes() {
    let Plugin::Log(plain) = first("log") else { panic!("no log") };
    assert!(plain.is_complete() && !plain.custom && plain.covers(&name("a")));
    let Plugin::Log(rule) =
        first("log a.example b.example \"{common} {/x/y}\" {\n class denial error denial\n}")
    else {
        panic!("no log")
    };
    assert!(
        rule.custom
            && rule.format.starts_with("{remote}:{port}")
            && rule.format.ends_with("{duration} {/x/y}")
    );
    assert_eq!(rule.classes, [LogClass::Denial, LogClass::Error]);
    assert!(rule.covers(&name("x.b.example")) && !rule.covers(&name("c.example")));
}

#[test]
fn taps_say_where_they_write_and_what() {
    let tap = |text: &str, version| {
        let corefile = parse_for(&format!(". {{\n{text}\n}}"), &Env::default(), version).unwrap();
        corefile.servers[0].plugins.iter().find_map(|plugin| match plugin {
            Plugin::Dnstap(tap) => Some(tap.clone()),
            _ => None,
        })
    };
    let newest = tap(
        "dnstap tcp://192.0.2.1:6000 full 4 8 {\n identity a\n extra \"{/forward/upstream}\"\n}",
        Version::NEWEST,
    )
    .unwrap();
    assert_eq!((newest.transport, newest.endpoint.as_str(), newest.full), ("tcp", "192.0.2.1:6000", true));
    assert_eq!(
        (newest.identity.as_deref(), newest.extra.as_deref()),
        (Some("a"), Some("{/forward/upstream}"))
    );
    // Before 1.11.4 two more words switch the packets off.
    assert!(!tap("dnstap tcp://192.0.2.1:6000 full 4 8", Version(1, 11, 3)).unwrap().full);
    let socket = tap("dnstap /run/tap.sock", Version::NEWEST).unwrap();
    assert_eq!((socket.transport, socket.endpoint.as_str(), socket.full), ("unix", "/run/tap.sock", false));
    assert!(tap("dnstap listen unix:///run/tap.sock full", Version::NEWEST).unwrap().listen);
}

#[test]
fn acl_decides_by_zone_type_and_client() {
    let Plugin::Acl(acl) = first(
        "acl cluster.local {\n allow net 10.0.0.0/8\n block type AXFR ANY net *\n filter net 192.0.2.0/24\n drop\n}",
    ) else {
        panic!("no acl")
    };
    let client = |text: &str| Some(text.parse().unwrap());
    let who = name("a.cluster.local");
    let action =
        |kind, client| acl.decide(&who, kind, client).map(|policy| policy.map(|policy| policy.action));
    assert_eq!(action(Rtype::A, client("10.1.2.3")).unwrap(), Some(AclAction::Allow));
    assert_eq!(action(Rtype::ANY, client("198.51.100.1")).unwrap(), Some(AclAction::Block));
    assert_eq!(action(Rtype::A, client("::ffff:192.0.2.9")).unwrap(), Some(AclAction::Filter));
    assert_eq!(action(Rtype::A, client("2001:db8::1")).unwrap(), Some(AclAction::Drop));
    assert!(action(Rtype::A, None).is_err());
    assert_eq!(acl.decide(&name("example"), Rtype::A, None), Ok(None));
}

#[test]
fn rewrites_are_read_in_their_forms() {
    let rule = |text: &str| match first(text) {
        Plugin::Rewrite(rule) => rule,
        other => panic!("{other:?}"),
    };
    let exact = rule("rewrite continue name foo.example bar.example");
    assert_eq!(exact.mode, Mode::Continue);
    assert!(matches!(&exact.action, Action::Name { to, answer, .. } if to == "bar.example." && answer.auto));
    let block = rule(
        "rewrite stop {\n name regex (.*)\\.a\\.example {1}.b.example\n answer name (.*)\\.b\\.example {1}.a.example\n}",
    );
    assert!(matches!(&block.action, Action::Name { answer, .. } if answer.names.len() == 1 && !answer.auto));
    let ttl = rule("rewrite ttl suffix example.org 30-");
    assert!(matches!(ttl.action, Action::Ttl { min: 30, max: 0x7fff_ffff, .. }));
    for bad in [
        "rewrite name regex (.* x",
        "rewrite name regex (.*) {1}{2}",
        "rewrite answer name a b",
        "rewrite ttl a 5-1",
        "rewrite type A",
        "rewrite edns0 local set 0xffee {bad}",
        "rewrite name a b answer auto answer name c d",
        "rewrite",
        "rewrite rcode a NXDOMAIN",
        "rewrite name suffix a b answer",
        "rewrite edns0 subnet set 33 56",
    ] {
        let found = parse(&format!(". {{\n{bad}\n}}"), &Env::default()).unwrap();
        assert_eq!(found.invalid.len(), 1, "{bad}");
    }
}
