//! A second evaluator, written sentence by sentence from the comments of the API types over the raw JSON, and every
//! policy of a small grammar judged by both. Nothing is shared with the evaluator under test but the facts of pods.
//!
//! Sources: k8s.io/api networking/v1 types.go, meta/v1 LabelSelector, network-policy-api v1alpha1 types.

use std::net::IpAddr;

use serde_json::{Value, json};
use truename_model::object::{ContainerPort, Meta, Pod, StringMap};

use super::decide::{Decision, Policy, decide};
use super::flow::{Flow, Nodes, Party, PodFacts, Protocol};

struct Thing {
    namespace: &'static str,
    name: &'static str,
    labels: StringMap,
    namespace_labels: StringMap,
    pod: Option<Pod>,
    ips: Vec<IpAddr>,
}

fn labels(of: &[(&str, &str)]) -> StringMap {
    of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Three pods in two namespaces, dual stack, and something outside.
fn things() -> Vec<Thing> {
    let pod = |namespace, name, own: &[(&str, &str)], team: &[(&str, &str)], ips: &[&str], web: u16| {
        let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        let port = ContainerPort { name: "web".to_owned(), protocol: "TCP".to_owned(), port: web };
        let pod = Some(Pod { ips: ips.clone(), ports: vec![port], ..Pod::default() });
        Thing { namespace, name, labels: labels(own), namespace_labels: labels(team), pod, ips }
    };
    vec![
        pod("a", "p", &[("app", "one")], &[("team", "x")], &["10.0.0.1", "fd00::1"], 80),
        pod("a", "q", &[], &[("team", "x")], &["10.0.0.2", "fd00::2"], 81),
        pod("b", "r", &[("app", "one")], &[], &["10.1.0.1", "fd00:1::1"], 80),
        Thing {
            namespace: "",
            name: "outside",
            labels: StringMap::new(),
            namespace_labels: StringMap::new(),
            pod: None,
            ips: vec!["192.0.2.9".parse().unwrap(), "2001:db8::9".parse().unwrap()],
        },
    ]
}

/// "matchLabels is a map of {key,value} pairs … matchExpressions is a list of label selector requirements. The
/// requirements are ANDed. An empty label selector matches all objects."
fn selected(selector: &Value, labels: &StringMap) -> bool {
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        if labels.get(key).map(String::as_str) != value.as_str() {
            return false;
        }
    }
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let value = labels.get(expression["key"].as_str().unwrap());
        let listed =
            |value: &String| expression["values"].as_array().unwrap().iter().any(|one| one == value.as_str());
        let holds = match expression["operator"].as_str().unwrap() {
            "In" => value.is_some() && listed(value.unwrap()),
            "NotIn" => value.is_none() || !listed(value.unwrap()),
            "Exists" => value.is_some(),
            _ => value.is_none(),
        };
        if !holds {
            return false;
        }
    }
    true
}

fn in_cidr(text: &str, ip: IpAddr) -> bool {
    let (base, length) = text.split_once('/').unwrap();
    let bits = |ip: IpAddr| -> Vec<bool> {
        let octets = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        octets.iter().flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1 == 1)).collect()
    };
    let (base, ip) = (bits(base.parse().unwrap()), bits(ip));
    let length: usize = length.parse().unwrap();
    base.len() == ip.len() && base[..length] == ip[..length]
}

struct Traffic<'a> {
    from: &'a Thing,
    from_ip: IpAddr,
    to: &'a Thing,
    to_ip: IpAddr,
    protocol: &'static str,
    port: u16,
}

/// "This field defaults to TCP … a numerical or named port on a pod. If this field is not provided, this matches all
/// port names and numbers … endPort … the range of ports from port to endPort, inclusive".
fn port_matches(item: &Value, traffic: &Traffic<'_>) -> bool {
    if item["protocol"].as_str().unwrap_or("TCP") != traffic.protocol {
        return false;
    }
    if item["port"].is_null() {
        return true;
    }
    if let Some(name) = item["port"].as_str() {
        let ports = traffic.to.pod.as_ref().map_or(&[][..], |pod| &pod.ports);
        return ports.iter().any(|one| {
            (one.name.as_str(), one.protocol.as_str(), one.port) == (name, traffic.protocol, traffic.port)
        });
    }
    let first = item["port"].as_u64().unwrap();
    let last = item["endPort"].as_u64().unwrap_or(first);
    first <= u64::from(traffic.port) && u64::from(traffic.port) <= last
}

/// "namespaceSelector … If podSelector is also set … the pods matching podSelector in the namespaces selected. Otherwise
/// it selects all pods in the namespaces", "podSelector … otherwise … in the policy's own namespace", "except … CIDRs
/// that should not be included".
fn peer_matches(peer: &Value, own: &str, other: &Thing, ip: IpAddr) -> bool {
    if peer.get("ipBlock").is_some() {
        let block = &peer["ipBlock"];
        let mut except = block["except"].as_array().into_iter().flatten();
        return in_cidr(block["cidr"].as_str().unwrap(), ip)
            && !except.any(|one| in_cidr(one.as_str().unwrap(), ip));
    }
    if other.pod.is_none() {
        return false;
    }
    let namespace = match peer.get("namespaceSelector") {
        Some(selector) => selected(selector, &other.namespace_labels),
        None => other.namespace == own,
    };
    namespace && peer.get("podSelector").is_none_or(|selector| selected(selector, &other.labels))
}

/// "The traffic must match both ports and from. … If this field is empty or missing, this rule matches all".
fn rule_matches(rule: &Value, ingress: bool, own: &str, traffic: &Traffic<'_>) -> bool {
    let (peers, other, ip) = match ingress {
        true => (&rule["from"], traffic.from, traffic.from_ip),
        false => (&rule["to"], traffic.to, traffic.to_ip),
    };
    let none = Vec::new();
    let peers = peers.as_array().unwrap_or(&none);
    let ports = rule["ports"].as_array().unwrap_or(&none);
    (peers.is_empty() || peers.iter().any(|peer| peer_matches(peer, own, other, ip)))
        && (ports.is_empty() || ports.iter().any(|port| port_matches(port, traffic)))
}

/// "Traffic is allowed to a pod if there are no NetworkPolicies selecting the pod …, OR if the traffic matches at least
/// one ingress rule across all of the NetworkPolicy objects whose podSelector matches the pod." `None`: none selects it.
fn network_allows(policies: &[(&str, &Value)], ingress: bool, traffic: &Traffic<'_>) -> Option<bool> {
    let subject = if ingress { traffic.to } else { traffic.from };
    let mut isolated = false;
    for (namespace, spec) in policies {
        let word = if ingress { "Ingress" } else { "Egress" };
        let none = Vec::new();
        let types = spec["policyTypes"].as_array().unwrap_or(&none);
        let rules = spec[word.to_lowercase().as_str()].as_array().unwrap_or(&none);
        let affects = match types.is_empty() {
            // "policies that contain an egress section are assumed to affect egress, and all … ingress"
            true => ingress || !rules.is_empty(),
            false => types.iter().any(|one| one == word),
        };
        if !affects || *namespace != subject.namespace || !selected(&spec["podSelector"], &subject.labels) {
            continue;
        }
        isolated = true;
        if rules.iter().any(|rule| rule_matches(rule, ingress, namespace, traffic)) {
            return Some(true);
        }
    }
    isolated.then_some(false)
}

fn admin_subject(subject: &Value, thing: &Thing) -> bool {
    match subject.get("namespaces") {
        Some(selector) => selected(selector, &thing.namespace_labels),
        None => {
            selected(&subject["pods"]["namespaceSelector"], &thing.namespace_labels)
                && selected(&subject["pods"]["podSelector"], &thing.labels)
        }
    }
}

/// The action of the first rule that matches, policies by priority ("lower priority values have higher precedence"),
/// rules "by the order in which the rule is written".
fn admin_action<'v>(policies: &[&'v Value], ingress: bool, traffic: &Traffic<'_>) -> Option<&'v str> {
    let mut policies = policies.to_vec();
    policies.sort_by_key(|spec| spec["priority"].as_i64());
    let (subject, other, ip) = match ingress {
        true => (traffic.to, traffic.from, traffic.from_ip),
        false => (traffic.from, traffic.to, traffic.to_ip),
    };
    for spec in policies.into_iter().filter(|spec| admin_subject(&spec["subject"], subject)) {
        for rule in spec[if ingress { "ingress" } else { "egress" }].as_array().into_iter().flatten() {
            let peers = rule[if ingress { "from" } else { "to" }].as_array().unwrap();
            let peer = peers.iter().any(|peer| match peer.get("networks") {
                Some(blocks) => {
                    blocks.as_array().unwrap().iter().any(|block| in_cidr(block.as_str().unwrap(), ip))
                }
                None => other.pod.is_some() && admin_subject(peer, other),
            });
            let port = rule["ports"].as_array().is_none_or(|ports| {
                ports.iter().any(|port| {
                    let number = &port["portNumber"];
                    number["protocol"] == traffic.protocol && number["port"] == traffic.port
                })
            });
            if peer && port {
                return rule["action"].as_str();
            }
        }
    }
    None
}

/// Admin before NetworkPolicy before the baseline; both directions must allow.
fn naive(network: &[(&str, &Value)], admin: &[&Value], baseline: &[&Value], traffic: &Traffic<'_>) -> bool {
    [true, false].into_iter().all(|ingress| {
        if (if ingress { traffic.to } else { traffic.from }).pod.is_none() {
            return true;
        }
        match admin_action(admin, ingress, traffic) {
            Some("Allow") => return true,
            Some("Deny") => return false,
            _ => {}
        }
        if let Some(allowed) = network_allows(network, ingress, traffic) {
            return allowed;
        }
        admin_action(baseline, ingress, traffic) != Some("Deny")
    })
}

fn party(thing: &Thing) -> Party<'_> {
    match &thing.pod {
        None => Party::Address,
        Some(pod) => Party::Pod(PodFacts {
            namespace: thing.namespace,
            name: thing.name,
            labels: &thing.labels,
            namespace_labels: Some(&thing.namespace_labels),
            pod,
        }),
    }
}

fn policy(kind: &str, namespace: &str, name: &str, spec: &Value) -> Policy {
    let meta = Meta { namespace: namespace.to_owned(), name: name.to_owned(), ..Meta::default() };
    Policy::read(kind, &meta, spec).unwrap()
}

/// Judges every flow of the small world by both; returns how many.
fn compare(network: &[(&str, &Value)], admin: &[&Value], baseline: &[&Value], things: &[Thing]) -> u64 {
    let mut policies: Vec<Policy> = network
        .iter()
        .enumerate()
        .map(|(i, (ns, spec))| policy("NetworkPolicy", ns, &format!("n{i}"), spec))
        .collect();
    policies.extend(
        admin.iter().map(|spec| policy("AdminNetworkPolicy", "", &spec["priority"].to_string(), spec)),
    );
    policies.extend(baseline.iter().map(|spec| policy("BaselineAdminNetworkPolicy", "", "default", spec)));
    let policies: Vec<&Policy> = policies.iter().collect();
    let mut flows = 0;
    for (from, to) in things.iter().flat_map(|from| things.iter().map(move |to| (from, to))) {
        if from.name == to.name || (from.pod.is_none() && to.pod.is_none()) {
            continue;
        }
        for (family, protocol, port) in [(0, "TCP", 80), (0, "TCP", 81), (1, "TCP", 80), (0, "UDP", 80)] {
            let traffic =
                Traffic { from, from_ip: from.ips[family], to, to_ip: to.ips[family], protocol, port };
            let flow = Flow {
                source: party(from),
                source_ip: Some(traffic.from_ip),
                destination: party(to),
                destination_ip: Some(traffic.to_ip),
                service: None,
                protocol: Protocol::parse(protocol).unwrap(),
                port,
            };
            let ruling = decide(&policies, Nodes { known: &[], all: true }, &flow);
            let expected =
                if naive(network, admin, baseline, &traffic) { Decision::Allowed } else { Decision::Denied };
            assert_eq!(
                ruling.decision, expected,
                "{} -> {} {protocol}/{port} family {family}\n{network:?}\n{admin:?}\n{baseline:?}\n{ruling:#?}",
                from.name, to.name
            );
            flows += 1;
        }
    }
    flows
}

/// Lists of peers: absent, empty, and each form.
fn peer_lists() -> Vec<Option<Value>> {
    let one = json!({"matchLabels": {"app": "one"}});
    let not_one =
        json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["one", "two"]}]});
    let has_team = json!({"matchExpressions": [{"key": "team", "operator": "Exists"}]});
    let no_team = json!({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]});
    let in_team = json!({"matchExpressions": [{"key": "team", "operator": "In", "values": ["x"]}, {"key": "app", "operator": "DoesNotExist"}]});
    vec![
        None,
        Some(json!([])),
        Some(json!([{"podSelector": {}}])),
        Some(json!([{"podSelector": one}])),
        Some(json!([{"podSelector": not_one}])),
        Some(json!([{"namespaceSelector": {}}])),
        Some(json!([{"namespaceSelector": has_team}])),
        Some(json!([{"namespaceSelector": no_team, "podSelector": one}])),
        Some(json!([{"namespaceSelector": no_team}, {"podSelector": not_one}])),
        Some(json!([{"namespaceSelector": in_team, "podSelector": {}}])),
        Some(json!([{"ipBlock": {"cidr": "10.0.0.0/8"}}])),
        Some(json!([{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/24", "192.0.2.8/29"]}}])),
        Some(json!([{"ipBlock": {"cidr": "fd00::/16"}}, {"ipBlock": {"cidr": "192.0.2.9/32"}}])),
    ]
}

fn port_lists() -> Vec<Option<Value>> {
    vec![
        None,
        Some(json!([])),
        Some(json!([{}])),
        Some(json!([{"protocol": "UDP"}])),
        Some(json!([{"port": 80}])),
        Some(json!([{"port": "web"}])),
        Some(json!([{"protocol": "UDP", "port": "web"}])),
        Some(json!([{"port": 79, "endPort": 80}, {"protocol": "UDP", "port": 80, "endPort": 80}])),
    ]
}

fn set(object: &mut Value, field: &str, value: Option<&Value>) {
    if let Some(value) = value {
        object[field] = value.clone();
    }
}

/// Rule lists of one direction: absent, empty, one rule of every form.
fn rule_lists(peers: &str) -> Vec<Option<Value>> {
    let mut lists = vec![None, Some(json!([]))];
    for who in peer_lists() {
        for ports in port_lists() {
            let mut rule = json!({});
            set(&mut rule, peers, who.as_ref());
            set(&mut rule, "ports", ports.as_ref());
            lists.push(Some(json!([rule])));
        }
    }
    lists
}

fn specs() -> Vec<Value> {
    let selectors = [None, Some(json!({})), Some(json!({"matchLabels": {"app": "one"}}))];
    let types = [
        None,
        Some(json!([])),
        Some(json!(["Ingress"])),
        Some(json!(["Egress"])),
        Some(json!(["Ingress", "Egress"])),
    ];
    let (ingress, egress) = (rule_lists("from"), rule_lists("to"));
    // Both directions are independent, so every form of one meets a few of the other.
    let few = [0, 1, 2, 40];
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    pairs.extend((0..ingress.len()).flat_map(|i| few.map(|e| (i, e))));
    pairs.extend((0..egress.len()).flat_map(|e| few.map(|i| (i, e))));
    let mut specs = Vec::new();
    for (selector, types) in
        selectors.iter().flat_map(|selector| types.iter().map(move |types| (selector, types)))
    {
        for (i, e) in &pairs {
            let mut spec = json!({});
            set(&mut spec, "podSelector", selector.as_ref());
            set(&mut spec, "policyTypes", types.as_ref());
            set(&mut spec, "ingress", ingress[*i].as_ref());
            set(&mut spec, "egress", egress[*e].as_ref());
            specs.push(spec);
        }
    }
    specs
}

#[test]
fn every_policy_of_the_small_grammar_is_judged_as_the_api_comments_say() {
    let things = things();
    let specs = specs();
    let flows: u64 = specs.iter().map(|spec| compare(&[("a", spec)], &[], &[], &things)).sum();
    assert!(specs.len() > 12_000 && flows > 500_000, "{} policies, {flows} flows", specs.len());
}

#[test]
fn policies_of_two_namespaces_are_one_union() {
    let things = things();
    let specs: Vec<Value> = specs().into_iter().step_by(173).collect();
    let mut flows = 0;
    for (index, one) in specs.iter().enumerate() {
        for other in specs.iter().skip(index % 2).step_by(2) {
            flows += compare(&[("a", one), ("a", other)], &[], &[], &things);
            flows += compare(&[("a", one), ("b", other)], &[], &[], &things);
        }
    }
    assert!(flows > 200_000, "{flows} flows");
}

/// Cluster-wide rules of one direction: none, one, two of every pair of actions.
fn admin_specs(actions: &[&str]) -> Vec<Value> {
    let one = json!({"matchLabels": {"app": "one"}});
    let peers = [
        json!({"namespaces": {}}),
        json!({"pods": {"namespaceSelector": {"matchLabels": {"team": "x"}}, "podSelector": one}}),
        json!({"networks": ["10.0.0.0/8", "2001:db8::/32"]}),
    ];
    let subjects =
        [json!({"namespaces": {}}), json!({"pods": {"namespaceSelector": {}, "podSelector": one}})];
    let mut specs = Vec::new();
    for (subject, first) in
        subjects.iter().flat_map(|subject| actions.iter().map(move |first| (subject, first)))
    {
        for (index, peer) in peers.iter().enumerate() {
            let mut rule = json!({"action": first, "to": [peer], "ports": [{"portNumber": {"protocol": "TCP", "port": 80}}]});
            specs.push(json!({"subject": subject, "egress": [rule]}));
            rule.as_object_mut().unwrap().remove("ports");
            for second in actions {
                let last = json!({"action": second, "to": [{"networks": ["0.0.0.0/0", "::/0"]}]});
                let mut from = json!([{"action": first, "from": [peer]}, {"action": second, "from": [{"namespaces": {}}]}]);
                if index == 2 {
                    // Ingress peers have no networks.
                    from = json!([]);
                }
                specs.push(json!({"subject": subject, "egress": [rule, last], "ingress": from}));
            }
        }
    }
    specs
}

#[test]
fn cluster_wide_policies_come_in_the_order_that_the_api_states() {
    let things = things();
    let admins = admin_specs(&["Allow", "Deny", "Pass"]);
    let baselines = admin_specs(&["Allow", "Deny"]);
    let deny = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
    let open = json!({"podSelector": {"matchLabels": {"app": "one"}}, "ingress": [{}], "egress": [{"ports": [{"port": 80}]}], "policyTypes": ["Ingress", "Egress"]});
    let networks: [&[(&str, &Value)]; 3] = [&[], &[("a", &deny)], &[("a", &open), ("b", &deny)]];
    let mut flows = 0;
    let with_priority = |spec: &Value, priority: i64| {
        let mut spec = spec.clone();
        spec["priority"] = json!(priority);
        spec
    };
    for (index, one) in admins.iter().enumerate() {
        let (one, other) = (with_priority(one, 7), &admins[(index * 7 + 3) % admins.len()]);
        let (higher, lower) = (with_priority(other, 3), with_priority(other, 9));
        for network in networks {
            let baseline = &baselines[(index * 5) % baselines.len()];
            flows += compare(network, &[&one], &[], &things);
            flows += compare(network, &[], &[baseline], &things);
            flows += compare(network, &[&one, &higher], &[baseline], &things);
            flows += compare(network, &[&lower, &one], &[baseline], &things);
        }
    }
    assert!(flows > 30_000, "{flows} flows");
}
