//! Worked examples of the API's documentation, and what it leaves open.

use std::net::IpAddr;

use serde_json::{Value, json};
use truename_model::object::ChangeKind::{Created, Deleted, Updated};
use truename_model::object::{ContainerPort, Meta, Node, Object, Pod, StringMap};
use truename_model::time::Interval;

use super::decide::{Decision, Policy, Ruling, decide};
use super::flow::{Flow, NodeFacts, Nodes, Party, PodFacts, Protocol};
use super::why::{Effect, Why};
use super::{Answer, Policies, Question, ServiceQuestion, Target, When};
use crate::fixture::{Told, at, meta, ms, of_service, service, slice};

struct Being {
    namespace: &'static str,
    name: &'static str,
    labels: StringMap,
    namespace_labels: Option<StringMap>,
    pod: Pod,
}

fn labels(of: &[(&str, &str)]) -> StringMap {
    of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A pod `namespace/name` with labels and an address; its namespace bears the label of its name.
fn being(key: &'static str, own: &[(&str, &str)], ip: &str) -> Being {
    let (namespace, name) = key.split_once('/').unwrap();
    let pod = Pod { ips: vec![ip.parse().unwrap()], node_name: "n1".to_owned(), ..Pod::default() };
    let namespace_labels = Some(labels(&[("kubernetes.io/metadata.name", namespace)]));
    Being { namespace, name, labels: labels(own), namespace_labels, pod }
}

impl Being {
    fn party(&self) -> Party<'_> {
        Party::Pod(PodFacts {
            namespace: self.namespace,
            name: self.name,
            labels: &self.labels,
            namespace_labels: self.namespace_labels.as_ref(),
            pod: &self.pod,
        })
    }

    fn on_host(mut self) -> Self {
        self.pod.host_network = true;
        self
    }

    fn with_port(mut self, name: &str, protocol: &str, port: u16) -> Self {
        self.pod.ports.push(ContainerPort { name: name.to_owned(), protocol: protocol.to_owned(), port });
        self
    }
}

fn flow<'a>(from: &'a Being, to: &'a Being, port: u16) -> Flow<'a> {
    Flow {
        source: from.party(),
        source_ip: from.pod.ips.first().copied(),
        destination: to.party(),
        destination_ip: to.pod.ips.first().copied(),
        service: None,
        protocol: Protocol::Tcp,
        port,
    }
}

fn outwards<'a>(from: &'a Being, ip: &str, port: u16) -> Flow<'a> {
    let ip: IpAddr = ip.parse().unwrap();
    Flow { destination: Party::Address, destination_ip: Some(ip), ..flow(from, from, port) }
}

fn inwards<'a>(ip: &str, to: &'a Being, port: u16) -> Flow<'a> {
    let ip: IpAddr = ip.parse().unwrap();
    Flow { source: Party::Address, source_ip: Some(ip), ..flow(to, to, port) }
}

fn policy(kind: &str, key: &str, spec: &Value) -> Policy {
    let (namespace, name) = key.split_once('/').unwrap();
    let meta = Meta { namespace: namespace.to_owned(), name: name.to_owned(), ..Meta::default() };
    Policy::read(kind, &meta, spec).unwrap()
}

fn network(key: &str, spec: Value) -> Policy {
    policy("NetworkPolicy", key, &spec)
}

fn rule(policies: &[Policy], flow: &Flow<'_>) -> Ruling {
    let policies: Vec<&Policy> = policies.iter().collect();
    decide(&policies, Nodes { known: &[], all: true }, flow)
}

fn is(policies: &[Policy], flow: &Flow<'_>, expected: Decision) -> Ruling {
    let ruling = rule(policies, flow);
    assert_eq!(ruling.decision, expected, "{ruling:#?}");
    ruling
}

use Decision::{Allowed, Denied, Unknown};

/// The example of the documentation of NetworkPolicy: a database that lets in a block with an exception, a project's
/// namespace and its own front end, on one port, and goes out to one block.
fn database() -> Policy {
    network(
        "default/test-network-policy",
        json!({"podSelector": {"matchLabels": {"role": "db"}}, "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [
                {"ipBlock": {"cidr": "172.17.0.0/16", "except": ["172.17.1.0/24"]}},
                {"namespaceSelector": {"matchLabels": {"project": "myproject"}}},
                {"podSelector": {"matchLabels": {"role": "frontend"}}}],
                "ports": [{"protocol": "TCP", "port": 6379}]}],
            "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/24"}}], "ports": [{"protocol": "TCP", "port": 5978}]}]}),
    )
}

#[test]
fn the_documented_example() {
    let db = being("default/db", &[("role", "db")], "10.9.0.1");
    let frontend = being("default/web", &[("role", "frontend")], "10.9.0.2");
    let other = being("default/other", &[], "10.9.0.3");
    let mut project = being("team/any", &[], "10.9.0.4");
    project.namespace_labels = Some(labels(&[("project", "myproject")]));
    let stranger = being("team/web", &[("role", "frontend")], "10.9.0.5");
    let policies = [database()];
    let ruling = is(&policies, &flow(&frontend, &db, 6379), Allowed);
    let texts: Vec<String> = ruling.reasons().iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["NetworkPolicy default/test-network-policy ingress rule 0 allows"]);
    is(&policies, &flow(&project, &db, 6379), Allowed);
    is(&policies, &inwards("172.17.0.9", &db, 6379), Allowed);
    is(&policies, &outwards(&db, "10.0.0.200", 5978), Allowed);
    // Neither is selected: nothing restricts them.
    is(&policies, &flow(&frontend, &other, 80), Allowed);
    let ruling = is(&policies, &inwards("172.17.1.9", &db, 6379), Denied);
    assert_eq!((ruling.reasons()[0].rule, ruling.reasons()[0].effect), (None, Effect::Isolate));
    is(&policies, &flow(&frontend, &db, 6380), Denied);
    is(&policies, &Flow { protocol: Protocol::Udp, ..flow(&frontend, &db, 6379) }, Denied);
    is(&policies, &flow(&stranger, &db, 6379), Denied);
    is(&policies, &flow(&other, &db, 6379), Denied);
    is(&policies, &outwards(&db, "10.0.1.1", 5978), Denied);
    is(&policies, &flow(&db, &frontend, 80), Denied);
}

#[test]
fn both_ends_must_allow() {
    let (a, b) = (being("x/a", &[], "10.0.0.1"), being("y/b", &[], "10.0.0.2"));
    let out = network("x/out", json!({"policyTypes": ["Egress"], "egress": [{}]}));
    let shut = network("y/shut", json!({"policyTypes": ["Ingress"]}));
    is(std::slice::from_ref(&out), &flow(&a, &b, 1), Allowed);
    let ruling = is(&[out, shut], &flow(&a, &b, 1), Denied);
    assert_eq!((ruling.egress.decision, ruling.ingress.decision), (Allowed, Denied));
    assert_eq!(ruling.reasons().len(), 1, "only the side that denies bears the denial");
}

#[test]
fn an_empty_list_of_rules_allows_nothing_and_an_empty_list_of_peers_everything() {
    let (a, b) = (being("x/a", &[], "10.0.0.1"), being("x/b", &[], "10.0.0.2"));
    // Some public tables expect the first to allow; the API: "If this field is empty then this NetworkPolicy does not
    // allow any traffic".
    is(&[network("x/p", json!({"podSelector": {}, "ingress": []}))], &flow(&a, &b, 1), Denied);
    is(&[network("x/p", json!({"podSelector": {}}))], &flow(&a, &b, 1), Denied);
    is(&[network("x/p", json!({"ingress": [{"from": [], "ports": []}]}))], &flow(&a, &b, 1), Allowed);
    is(&[network("x/p", json!({"ingress": [{"from": null, "ports": null}]}))], &flow(&a, &b, 1), Allowed);
    // Types by default: ingress always, egress where there are rules.
    let (in_only, out) = (json!({"egress": []}), json!({"egress": [{"ports": [{"port": 1}]}]}));
    let from_outside = inwards("192.0.2.1", &a, 1);
    is(&[network("x/p", in_only.clone())], &outwards(&a, "192.0.2.1", 2), Allowed);
    is(&[network("x/p", out.clone())], &outwards(&a, "192.0.2.1", 2), Denied);
    is(&[network("x/p", in_only)], &from_outside, Denied);
    is(&[network("x/p", out)], &from_outside, Denied);
}

#[test]
fn a_port_name_is_the_destination_pods() {
    let a = being("x/a", &[], "10.0.0.1").with_port("web", "TCP", 1);
    let b = being("x/b", &[], "10.0.0.2").with_port("web", "TCP", 8080).with_port("dns", "UDP", 53);
    let twice = being("x/b", &[], "10.0.0.2").with_port("web", "TCP", 8080).with_port("web", "TCP", 8081);
    let into = [network("x/p", json!({"podSelector": {}, "ingress": [{"ports": [{"port": "web"}]}]}))];
    is(&into, &flow(&a, &b, 8080), Allowed);
    is(&into, &flow(&a, &b, 1), Denied);
    let ruling = is(&into, &flow(&a, &twice, 8080), Unknown);
    assert_eq!(ruling.open(), [&Why::PortName("web".to_owned())]);
    let out = [network(
        "x/p",
        json!({"policyTypes": ["Egress"], "egress": [{"ports": [{"port": "dns", "protocol": "UDP"}]}]}),
    )];
    is(&out, &Flow { protocol: Protocol::Udp, ..flow(&a, &b, 53) }, Allowed);
    is(&out, &flow(&a, &b, 53), Denied);
    is(&out, &Flow { protocol: Protocol::Udp, ..outwards(&a, "192.0.2.1", 53) }, Denied);
}

#[test]
fn what_the_api_server_refuses_is_unknown() {
    let (a, b) = (being("x/a", &[], "10.0.0.1"), being("x/b", &[], "10.0.0.2"));
    for spec in [
        json!({"ingress": [{"ports": [{"port": 80, "endPort": 79}]}]}),
        json!({"ingress": [{"ports": [{"port": 80, "endPort": 65537}]}]}),
        json!({"ingress": [{"ports": [{"port": "web", "endPort": 80}]}]}),
        json!({"ingress": [{"ports": [{"endPort": 80}]}]}),
        json!({"ingress": [{"ports": [{"port": "80"}]}]}),
        json!({"ingress": [{"ports": [{"protocol": "ICMP"}]}]}),
        json!({"ingress": [{"from": [{}]}]}),
        json!({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}]}),
        json!({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["fd00::/16"]}}]}]}),
        json!({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/33"}}]}]}),
        json!({"ingress": [{"from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}]}]}),
        json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}),
        json!({"podselector": {}}),
        json!({"policyTypes": ["ingress"]}),
    ] {
        let ruling = is(&[network("x/p", spec)], &flow(&a, &b, 80), Unknown);
        assert!(matches!(ruling.open()[0], Why::Malformed(..)));
    }
    // What another policy allows, a NetworkPolicy cannot forbid.
    let broken = network("x/p", json!({"policyTypes": ["ingress"]}));
    let open = network("x/q", json!({"ingress": [{}], "egress": [{}], "policyTypes": ["Ingress", "Egress"]}));
    is(&[broken, open], &flow(&a, &b, 80), Allowed);
}

#[test]
fn pods_on_the_host_network_are_judged_both_ways() {
    let host = being("x/host", &[("app", "agent")], "192.168.0.1").on_host();
    let pod = being("x/b", &[], "10.0.0.2");
    let shut = [network(
        "x/p",
        json!({"podSelector": {"matchLabels": {"app": "agent"}}, "policyTypes": ["Ingress", "Egress"]}),
    )];
    let ruling = is(&shut, &flow(&host, &pod, 80), Unknown);
    assert_eq!(ruling.open(), [&Why::HostNetwork("x/host".to_owned())]);
    // As a pod it is not selected, as a node it is not in the block: denied by both readings.
    let block = [network(
        "x/p",
        json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}),
    )];
    is(&block, &flow(&host, &pod, 80), Denied);
    // "Note that host-networked pods are not included in subject selection" nor among peers.
    let admin = [policy(
        "AdminNetworkPolicy",
        "/a",
        &json!({"priority": 1, "subject": {"namespaces": {}}, "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]}),
    )];
    is(&admin, &flow(&host, &pod, 80), Allowed);
    is(&admin, &flow(&pod, &host, 80), Allowed);
    is(&admin, &flow(&pod, &being("x/c", &[], "10.0.0.3"), 80), Denied);
}

#[test]
fn the_own_node_and_the_own_pod_are_exempt_as_far_as_it_is_said() {
    let mut pod = being("x/a", &[], "10.0.0.1");
    pod.pod.host_ip = Some("192.168.0.1".parse().unwrap());
    let shut = [network("x/p", json!({"policyTypes": ["Ingress", "Egress"]}))];
    is(&shut, &inwards("192.168.0.1", &pod, 80), Allowed);
    is(&shut, &inwards("192.168.0.2", &pod, 80), Denied);
    let ruling = is(&shut, &outwards(&pod, "192.168.0.1", 80), Unknown);
    assert_eq!(ruling.open(), [&Why::OwnNode("x/a".to_owned())]);
    is(&shut, &flow(&pod, &pod, 80), Allowed);
    let denied = |kind: &str, action: &str| {
        let spec = json!({"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, "egress": [{"action": action, "to": [{"namespaces": {}}]}]});
        [policy(kind, "/a", &spec)]
    };
    is(&denied("AdminNetworkPolicy", "Deny"), &flow(&pod, &pod, 80), Unknown);
    // "A Pod connecting to its own Pod IP is not subject to CNP", through a Service it is.
    is(&denied("ClusterNetworkPolicy", "Deny"), &flow(&pod, &pod, 80), Allowed);
    let service = Some(("10.96.0.1".parse().unwrap(), 80));
    is(&denied("ClusterNetworkPolicy", "Deny"), &Flow { service, ..flow(&pod, &pod, 80) }, Denied);
}

/// The user stories of the cluster-wide API.
#[test]
fn the_stories_of_the_cluster_wide_api() {
    let named = |name: &str| json!({"matchLabels": {"kubernetes.io/metadata.name": name}});
    let cnp = |name: &str, spec: Value| policy("ClusterNetworkPolicy", name, &spec);
    let deny = cnp(
        "/deny",
        json!({"tier": "Admin", "priority": 10, "subject": {"namespaces": named("sensitive-ns")},
        "ingress": [{"action": "Deny", "name": "select-all-deny-all", "from": [{"namespaces": {"matchLabels": {}}}]}]}),
    );
    let accept = cnp(
        "/accept",
        json!({"tier": "Admin", "priority": 30, "subject": {"namespaces": {}},
        "ingress": [{"action": "Accept", "from": [{"namespaces": named("monitoring-ns")}]}],
        "egress": [{"action": "Accept", "to": [{"pods": {"namespaceSelector": named("kube-system"), "podSelector": {"matchLabels": {"app": "kube-dns"}}}}]}]}),
    );
    let pass = cnp(
        "/pass",
        json!({"tier": "Admin", "priority": 20, "subject": {"namespaces": {}},
        "egress": [{"action": "Pass", "to": [{"pods": {"namespaceSelector": named("bar-ns-1"), "podSelector": {"matchLabels": {"app": "svc-pub"}}}}],
            "protocols": [{"tcp": {"destinationPort": {"number": 8080}}}, {"destinationNamedPort": "web-alt"}, {"udp": {"destinationPort": {"number": 53}}}]}]}),
    );
    let last = cnp(
        "/last",
        json!({"tier": "Admin", "priority": 40, "subject": {"namespaces": {}}, "egress": [{"action": "Deny", "to": [{"networks": ["0.0.0.0/0"]}]}]}),
    );
    let baseline = cnp(
        "/default",
        json!({"tier": "Baseline", "priority": 10, "subject": {"namespaces": {}}, "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]}),
    );
    let (monitor, secret) =
        (being("monitoring-ns/m", &[], "10.0.0.1"), being("sensitive-ns/s", &[], "10.0.0.2"));
    let dns = being("kube-system/dns", &[("app", "kube-dns")], "10.0.0.3");
    let app = being("foo-ns-1/app", &[], "10.0.0.4");
    let svc = being("bar-ns-1/svc", &[("app", "svc-pub")], "10.0.0.5").with_port("web-alt", "TCP", 9090);
    // Story 1 before story 2: the lower priority has the higher precedence.
    let ruling = is(&[accept.clone(), deny], &flow(&monitor, &secret, 80), Denied);
    assert_eq!(ruling.reasons()[0].to_string(), "ClusterNetworkPolicy deny ingress rule 0 denies");
    // Story 2: developers cannot take DNS away.
    let shut = network("foo-ns-1/shut", json!({"policyTypes": ["Ingress", "Egress"]}));
    is(&[accept.clone(), shut.clone()], &Flow { protocol: Protocol::Udp, ..flow(&app, &dns, 53) }, Allowed);
    is(&[accept.clone(), shut.clone()], &flow(&monitor, &app, 80), Allowed);
    is(&[accept.clone(), shut.clone()], &flow(&secret, &app, 80), Denied);
    // Story 3: passed on to NetworkPolicy, on these ports alone; what is denied below is skipped.
    for (port, expected) in [(8080, Allowed), (9090, Allowed), (80, Denied)] {
        is(&[pass.clone(), last.clone()], &flow(&app, &svc, port), expected);
    }
    is(&[pass, last, shut], &flow(&app, &svc, 8080), Denied);
    // Story 5: closed by default, opened by a NetworkPolicy.
    is(std::slice::from_ref(&baseline), &flow(&app, &svc, 80), Denied);
    let open = network("bar-ns-1/open", json!({"podSelector": {}, "ingress": [{}]}));
    is(&[baseline, open], &flow(&app, &svc, 80), Allowed);
}

#[test]
fn what_the_cluster_wide_api_leaves_open_is_unknown() {
    let (a, b) = (being("x/a", &[], "10.0.0.1"), being("y/b", &[], "10.0.0.2"));
    let anp = |name: &str, priority: i64, rule: Value| {
        policy(
            "AdminNetworkPolicy",
            name,
            &json!({"priority": priority, "subject": {"namespaces": {}}, "egress": [rule]}),
        )
    };
    let all = json!([{"namespaces": {}}]);
    let allow = anp("/allow", 5, json!({"action": "Allow", "to": all}));
    let deny = anp("/deny", 5, json!({"action": "Deny", "to": all}));
    let ruling = is(&[allow.clone(), deny.clone()], &flow(&a, &b, 80), Unknown);
    assert_eq!(ruling.open(), [&Why::SamePriority(5)]);
    // Whichever of the two is applied, the result is the same.
    is(&[allow.clone(), anp("/pass", 5, json!({"action": "Pass", "to": all}))], &flow(&a, &b, 80), Allowed);
    let named = anp("/names", 1, json!({"action": "Allow", "to": [{"domainNames": ["*.example.org"]}]}));
    let rest = anp("/rest", 9, json!({"action": "Deny", "to": [{"networks": ["0.0.0.0/0", "::/0"]}]}));
    let ruling = is(&[named.clone(), rest.clone()], &outwards(&a, "192.0.2.1", 443), Unknown);
    assert!(matches!(ruling.open()[0], Why::DomainNames(_, 0)));
    is(&[named], &outwards(&a, "192.0.2.1", 443), Allowed);
    // A peer without a field fails closed, one with a field of another version stays open.
    is(&[anp("/closed", 1, json!({"action": "Allow", "to": [{}]})), rest.clone()], &flow(&a, &b, 80), Denied);
    let ruling = is(&[anp("/closed", 1, json!({"action": "Pass", "to": [{}]}))], &flow(&a, &b, 80), Denied);
    assert_eq!(ruling.reasons()[0].effect, Effect::Deny);
    is(&[anp("/new", 1, json!({"action": "Deny", "to": [{"services": {}}]}))], &flow(&a, &b, 80), Unknown);
    // Nodes are told by their addresses.
    let nodes =
        anp("/nodes", 1, json!({"action": "Deny", "to": [{"nodes": {"matchLabels": {"role": "master"}}}]}));
    let (master, address) = (labels(&[("role", "master")]), ["192.168.0.1".parse().unwrap()]);
    let known = [NodeFacts { name: "m", labels: &master, addresses: &address }];
    for (ip, all, expected) in
        [("192.168.0.1", true, Denied), ("192.168.0.2", true, Allowed), ("192.168.0.2", false, Unknown)]
    {
        let ruling = decide(&[&nodes], Nodes { known: &known, all }, &outwards(&a, ip, 6443));
        assert_eq!(ruling.decision, expected, "{ip} {all}");
    }
    let old = anp("/old", 1, json!({"action": "Allow", "to": all}));
    let new = policy(
        "ClusterNetworkPolicy",
        "/new",
        &json!({"tier": "Admin", "priority": 2, "subject": {"namespaces": {}}, "egress": [{"action": "Deny", "to": all}]}),
    );
    let ruling = is(&[old, new], &flow(&a, &b, 80), Unknown);
    assert_eq!(ruling.open(), [&Why::TwoApis]);
}

#[test]
fn policies_of_network_plugins_make_the_answer_unknown_where_they_reach() {
    let (a, b) = (being("x/a", &[], "10.0.0.1"), being("y/b", &[], "10.0.0.2"));
    let shut = network("y/shut", json!({"policyTypes": ["Ingress"]}));
    for (kind, key, expected) in [
        ("CiliumNetworkPolicy", "x/c", Unknown),
        ("CiliumNetworkPolicy", "z/c", Allowed),
        ("CiliumClusterwideNetworkPolicy", "/c", Unknown),
        ("NetworkPolicy.crd.projectcalico.org", "y/c", Unknown),
        ("GlobalNetworkPolicy", "/c", Unknown),
        ("ClusterNetworkPolicy.crd.antrea.io", "/c", Unknown),
    ] {
        let foreign = policy(kind, key, &json!({"anything": true}));
        let ruling = is(std::slice::from_ref(&foreign), &flow(&a, &b, 80), expected);
        assert_eq!(ruling.open().is_empty(), expected == Allowed);
    }
    // A policy of the source's namespace cannot open what the destination's closes.
    is(&[policy("CiliumNetworkPolicy", "x/c", &json!({})), shut.clone()], &flow(&a, &b, 80), Denied);
    is(&[policy("CiliumNetworkPolicy", "y/c", &json!({})), shut], &flow(&a, &b, 80), Unknown);
    assert_eq!(Policy::read("GlobalNetworkSet", &Meta::default(), &json!({})), None);
}

#[test]
fn facts_that_are_missing_leave_the_answer_open_only_where_they_matter() {
    let a = being("x/a", &[("app", "web")], "10.0.0.1");
    let mut b = being("y/b", &[], "10.0.0.2");
    b.namespace_labels = None;
    let by_name = |name: &str| {
        [network(
            "x/p",
            json!({"policyTypes": ["Egress"], "egress": [{"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}]}]}),
        )]
    };
    is(&by_name("y"), &flow(&a, &b, 80), Allowed);
    is(&by_name("z"), &flow(&a, &b, 80), Denied);
    let by_label = |pods: Value| {
        [network(
            "x/p",
            json!({"policyTypes": ["Egress"], "egress": [{"to": [{"namespaceSelector": {"matchLabels": {"team": "t"}}, "podSelector": pods}]}]}),
        )]
    };
    let ruling = is(&by_label(json!({})), &flow(&a, &b, 80), Unknown);
    assert_eq!(ruling.open(), [&Why::NamespaceLabels("y".to_owned())]);
    is(&by_label(json!({"matchLabels": {"app": "db"}})), &flow(&a, &b, 80), Denied);
    b.pod.ips.clear();
    let block = [network(
        "x/p",
        json!({"policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}),
    )];
    is(&block, &flow(&a, &b, 80), Unknown);
}

/// "Connections from pods to Service IPs … may or may not be subject to ipBlock-based policies".
#[test]
fn a_block_of_addresses_and_a_service_are_certain_only_where_both_addresses_agree() {
    let a = being("x/a", &[], "10.0.0.1");
    let service = Some(("10.96.0.1".parse().unwrap(), 443));
    let to = |cidr: &str, port: u16| {
        [network(
            "x/p",
            json!({"policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": cidr}}], "ports": [{"port": port}]}]}),
        )]
    };
    let b = being("x/b", &[], "10.0.0.2");
    let flow = Flow { service, ..flow(&a, &b, 8443) };
    is(&to("10.0.0.0/16", 8443), &flow, Unknown);
    is(&to("10.96.0.0/16", 443), &flow, Unknown);
    is(&to("10.0.0.0/8", 8443), &flow, Unknown);
    is(&to("192.0.2.0/24", 8443), &flow, Denied);
    is(&to("10.0.0.0/8", 8443), &Flow { service: None, ..flow }, Allowed);
    // Selectors see the endpoint.
    let selected = [network(
        "x/p",
        json!({"policyTypes": ["Egress"], "egress": [{"to": [{"podSelector": {}}], "ports": [{"port": 8443}]}]}),
    )];
    is(&selected, &flow, Allowed);
}

fn object(kind: &str, spec: Value) -> Object {
    Object::Policy(kind.to_owned(), std::sync::Arc::new(spec))
}

#[test]
fn policies_that_one_record_tells_of_are_kept_apart() {
    let mut told = shop();
    let aside = json!({"podSelector": {"matchLabels": {"a": "b"}}});
    told.watch(2_000, Created, meta("shop", "aside"), object("NetworkPolicy", aside));
    let record = told.changes.iter().find(|change| change.meta.name == "shut").unwrap().record;
    told.changes.last_mut().unwrap().record = record;
    for (when, expected) in [(10_000, Allowed), (30_000, Denied)] {
        assert_eq!(ask(&told, at(when)).decision, expected, "{when}");
    }
}

/// A shop with a web pod and a database behind a service, a policy that shuts the database from 20 s to 40 s.
fn shop() -> Told {
    let mut told = Told::new();
    let pod = |ip: &str| {
        let ports = vec![ContainerPort { name: "pg".to_owned(), protocol: "TCP".to_owned(), port: 5432 }];
        Object::Pod(Pod {
            node_name: "n1".to_owned(),
            ips: vec![ip.parse().unwrap()],
            ports,
            ..Pod::default()
        })
    };
    let node = Node { addresses: vec!["192.168.7.1".parse().unwrap()], ..Node::default() };
    told.watch(0, Created, meta("", "n1"), Object::Node(node));
    told.watch(1_000, Created, meta("shop", "web"), pod("10.1.0.1"));
    told.watch(1_000, Created, meta("shop", "db-0"), pod("10.1.0.2"));
    told.watch(1_000, Created, meta("shop", "db"), service(&["10.96.0.20"], &[("pg", 5432)]));
    told.watch(1_000, Created, of_service("shop", "db-x", "db"), slice(&["10.1.0.2"], &[("pg", Some(5432))]));
    // A policy elsewhere shows that policies of all namespaces are watched.
    told.watch(
        1_000,
        Created,
        meta("default", "other"),
        object("NetworkPolicy", json!({"podSelector": {"matchLabels": {"a": "b"}}})),
    );
    told.watch(20_000, Created, meta("shop", "shut"), object("NetworkPolicy", json!({"podSelector": {}})));
    let open = json!({"podSelector": {}, "ingress": [{"ports": [{"port": "pg"}]}]});
    told.watch(40_000, Updated, meta("shop", "shut"), object("NetworkPolicy", open));
    told
}

fn ask(told: &Told, window: Interval) -> Answer {
    let history = told.history(60_000);
    let policies = Policies::new(&history);
    let target = Target { pod: None, ip: Some("10.1.0.2".parse().unwrap()) };
    policies.may(&Question {
        source: ("shop", "web"),
        target: &target,
        service: None,
        protocol: Protocol::Tcp,
        port: 5432,
        when: When::Within(window),
    })
}

#[test]
fn the_answer_is_that_of_its_time() {
    let told = shop();
    for (when, expected) in [(10_000, Allowed), (30_000, Denied), (50_000, Allowed)] {
        let answer = ask(&told, at(when));
        assert_eq!((answer.decision, answer.open.as_slice()), (expected, &[][..]), "{when}: {answer:#?}");
    }
    let answer = ask(&told, at(30_000));
    assert_eq!(answer.rulings[0].reasons()[0].policy.name, "shut");
    assert!(answer.objects.iter().any(|object| object.name == "db-0"));
    // Over a change the answer is unknown, and says when.
    let answer = ask(&told, Interval { lo: ms(15_000), hi: ms(25_000) });
    assert_eq!((answer.decision, answer.known), (Unknown, Unknown));
    let Some(Why::Changed(times)) = answer.open.iter().find(|why| matches!(why, Why::Changed(_))) else {
        panic!("{answer:#?}")
    };
    assert!(
        times.iter().all(|time| *time >= ms(19_990) && *time <= ms(20_000)) && !times.is_empty(),
        "{times:?}"
    );
    // Before the pod was there.
    let answer = ask(&told, at(500));
    assert_eq!(answer.decision, Unknown);
    assert!(answer.open.contains(&Why::NoPod("shop/web".to_owned())));
}

#[test]
fn after_the_end_of_the_records_the_known_versions_are_told_apart_from_the_answer() {
    let answer = ask(&shop(), at(600_000));
    assert_eq!((answer.decision, answer.known), (Unknown, Allowed), "{answer:#?}");
    assert!(answer.open.contains(&Why::Unseen));
}

#[test]
fn without_any_policy_in_the_evidence_nothing_is_said() {
    let mut told = shop();
    told.changes.retain(|change| !matches!(*change.object, Object::Policy(..)));
    let answer = ask(&told, at(10_000));
    assert_eq!((answer.decision, answer.known), (Unknown, Allowed));
    assert!(answer.open.contains(&Why::Unlisted(String::new())), "{answer:#?}");
    let mut told = shop();
    told.changes.retain(|change| change.meta.name != "other");
    assert_eq!(ask(&told, at(30_000)).decision, Denied, "the stream tells of this namespace");
    told.changes.retain(|change| change.meta.name != "shut");
    let elsewhere = object("NetworkPolicy", json!({"podSelector": {}}));
    told.watch(5_000, Created, meta("default", "p"), elsewhere);
    let answer = ask(&told, at(30_000));
    assert_eq!(answer.open, [Why::Unlisted("shop".to_owned())]);
}

#[test]
fn a_denial_stands_without_the_policies_of_the_other_namespace() {
    let mut told = shop();
    told.changes.retain(|change| change.meta.name != "other");
    told.watch(1_000, Created, meta("far", "away"), crate::fixture::pod("n1", "Running", &["10.1.0.9"]));
    let history = told.history(60_000);
    let policies = Policies::new(&history);
    let target = Target { pod: Some(("shop".to_owned(), "db-0".to_owned())), ip: None };
    let ask = |when| {
        let (source, service, protocol) = (("far", "away"), None, Protocol::Tcp);
        policies.may(&Question {
            source,
            target: &target,
            service,
            protocol,
            port: 5432,
            when: When::Within(at(when)),
        })
    };
    assert_eq!(ask(30_000).decision, Denied);
    let allowed = ask(50_000);
    assert_eq!((allowed.decision, allowed.known), (Unknown, Allowed));
    assert_eq!(allowed.open, [Why::Unlisted("far".to_owned())]);
}

#[test]
fn an_endpoint_that_came_within_the_window_says_so() {
    let mut told = shop();
    told.watch(50_000, Created, meta("shop", "db-1"), crate::fixture::pod("n1", "Running", &["10.1.0.3"]));
    let both = slice(&["10.1.0.2", "10.1.0.3"], &[("pg", Some(5432))]);
    told.watch(55_000, Updated, of_service("shop", "db-x", "db"), both);
    let history = told.history(60_000);
    let when = When::Within(Interval { lo: ms(52_000), hi: ms(58_000) });
    let question = ServiceQuestion {
        source: ("shop", "web"),
        service: ("shop", "db"),
        port: None,
        protocol: None,
        when,
    };
    let answer = Policies::new(&history).may_reach(&question);
    let changed =
        |index: usize| answer.endpoints[index].answer.open.iter().any(|why| matches!(why, Why::Changed(_)));
    assert_eq!((changed(0), changed(1)), (false, true), "{answer:#?}");
}

#[test]
fn a_service_is_its_endpoints() {
    let mut told = shop();
    let ask = |told: &Told, port: Option<&str>, window: Interval| {
        let history = told.history(60_000);
        let question = ServiceQuestion {
            source: ("shop", "web"),
            service: ("shop", "db"),
            port,
            protocol: None,
            when: When::Within(window),
        };
        Policies::new(&history).may_reach(&question)
    };
    let answer = ask(&told, Some("5432"), at(30_000));
    assert_eq!((answer.decision, answer.endpoints.len()), (Denied, 1), "{answer:#?}");
    assert_eq!(answer.endpoints[0].endpoint.rewritten, Some("10.96.0.20".parse().unwrap()));
    assert_eq!(ask(&told, Some("pg"), at(10_000)).decision, Allowed);
    assert_eq!(ask(&told, Some("http"), at(10_000)).open, [Why::NoEndpoint]);
    // A second endpoint that a policy of its own shuts.
    let shut = json!({"podSelector": {"matchLabels": {"app": "db"}}});
    told.watch(50_000, Deleted, meta("shop", "shut"), object("NetworkPolicy", json!({})));
    told.watch(50_000, Created, meta("shop", "shut-db"), object("NetworkPolicy", shut));
    let mut labelled = meta("shop", "db-1");
    labelled.labels.insert("app".to_owned(), "db".to_owned());
    told.watch(50_000, Created, labelled, crate::fixture::pod("n1", "Running", &["10.1.0.3"]));
    told.watch(
        50_000,
        Updated,
        of_service("shop", "db-x", "db"),
        slice(&["10.1.0.2", "10.1.0.3"], &[("pg", Some(5432))]),
    );
    let answer = ask(&told, None, at(55_000));
    assert_eq!(
        (answer.decision, answer.open.as_slice()),
        (Unknown, &[Why::EndpointsDiffer][..]),
        "{answer:#?}"
    );
    let decisions: Vec<_> = answer.endpoints.iter().map(|reach| reach.answer.decision).collect();
    assert_eq!(decisions, [Allowed, Denied]);
    let answer = ask(&told, None, Interval { lo: ms(45_000), hi: ms(55_000) });
    assert!(answer.endpoints[1].answer.open.iter().any(|why| matches!(why, Why::Changed(_))), "{answer:#?}");
}

#[test]
fn a_dump_without_times_is_asked_for_its_latest_state() {
    let told = shop();
    let mut dump = Told::default();
    for change in &told.changes {
        let bare = Meta { created: None, ..(*change.meta).clone() };
        dump.snapshot(50_000, bare, (*change.object).clone());
    }
    dump.changes.iter_mut().for_each(|change| change.seen_at = None);
    let history = dump.bare_history();
    let question = ServiceQuestion {
        source: ("shop", "web"),
        service: ("shop", "db"),
        port: None,
        protocol: None,
        when: When::Latest,
    };
    let answer = Policies::new(&history).may_reach(&question);
    assert_eq!(answer.decision, Allowed, "{answer:#?}");
}
