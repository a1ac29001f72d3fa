//! Questions worth asking of a cluster and a Corefile: existing names, near misses, reverse and odd ones, and edits.
//!
//! Enters: dice, a [`World`], a [`Section`]. Leaves: lines of a plan. Deliberately absent: answers.

use std::net::IpAddr;

use serde_json::{Value, json};
use truename_cluster::corefile::zone::reverse_name;

use super::dice::Dice;
use super::grammar::Section;
use super::world::{OUTSIDE, Svc, World};

const TYPES: [&str; 16] = [
    "A", "A", "A", "AAAA", "AAAA", "SRV", "SRV", "CNAME", "TXT", "MX", "NS", "SOA", "HTTPS", "ANY", "PTR",
    "DS",
];

/// A question without its flags.
type Asked = (String, String);

/// Questions of one section.
pub struct Asker<'a> {
    dice: &'a mut Dice,
    world: &'a World,
    section: &'a Section,
    /// Who has to ask the next question.
    client: Option<String>,
}

impl<'a> Asker<'a> {
    /// An asker.
    pub fn new(dice: &'a mut Dice, world: &'a World, section: &'a Section) -> Self {
        Self { dice, world, section, client: None }
    }

    /// `count` questions as lines of a plan.
    pub fn lines(&mut self, count: usize) -> Vec<Value> {
        (0..count).map(|_| self.line()).collect()
    }

    fn line(&mut self) -> Value {
        let (mut name, kind) = self.asked();
        if self.dice.chance(8) {
            name = self.mixed(&name);
        }
        if !name.ends_with('.') {
            name.push('.');
        }
        let of_server = [".bind.", ".server."].iter().any(|end| name.to_ascii_lowercase().ends_with(end));
        let class = match self.dice.below(if of_server { 2 } else { 80 }) {
            0 => "CH",
            1 => "ANY",
            _ => "IN",
        };
        let flags = self.flags(&kind);
        json!({ "q": [name, kind, class, flags], "timeout_ms": self.section.timeout_ms() })
    }

    fn flags(&mut self, kind: &str) -> String {
        let mut words = Vec::new();
        if self.dice.chance(85) {
            words.push("rd".to_owned());
        }
        for (percent, word) in [(8, "ad"), (6, "cd"), (8, "do"), (6, "cookie")] {
            if self.dice.chance(percent) {
                words.push(word.to_owned());
            }
        }
        match self.dice.below(12) {
            0 => words.push("edns=4096".to_owned()),
            1 => words.push("edns=1232".to_owned()),
            2 => words.push("edns=512".to_owned()),
            _ => {}
        }
        if self.dice.chance(6) && kind != "AXFR" {
            words.push("tcp".to_owned());
        }
        if kind == "AXFR" && self.dice.chance(15) {
            words.push("udp".to_owned());
        }
        if let Some(client) = self.client.take() {
            words.push(format!("src={client}"));
            return words.join(" ");
        }
        let clients = &self.section.clients;
        if !clients.is_empty() && self.dice.chance(55) {
            words.push(format!("src={}", self.dice.pick(clients)));
        } else if self.dice.chance(6) {
            words.push("src=fd00:244::99".to_owned());
        }
        words.join(" ")
    }

    fn mixed(&mut self, name: &str) -> String {
        name.chars().map(|ch| if self.dice.chance(40) { ch.to_ascii_uppercase() } else { ch }).collect()
    }

    fn kind(&mut self) -> String {
        self.dice.word(&TYPES)
    }

    fn zone(&mut self) -> String {
        self.dice.pick(&self.section.zones)
    }

    fn service(&mut self) -> Svc {
        self.dice.pick(&self.world.services)
    }

    fn asked(&mut self) -> Asked {
        match self.dice.below(100) {
            0..=18 => self.of_service(),
            19..=26 => self.of_port(),
            27..=32 => self.of_endpoint(),
            33..=40 => self.reverse(),
            41..=46 => self.of_pod(),
            47..=52 => self.fixed(),
            53..=56 => self.near(),
            57..=59 => self.deep(),
            60..=62 => self.wild(),
            63..=66 => self.transfer(),
            67..=72 => self.outside(),
            _ => self.configured(),
        }
    }

    fn of_service(&mut self) -> Asked {
        let (svc, zone) = (self.service(), self.zone());
        let externals: Vec<Svc> = self.world.services.iter().filter(|svc| svc.external).cloned().collect();
        let svc =
            if self.dice.chance(30) && !externals.is_empty() { self.dice.pick(&externals) } else { svc };
        let kind = self.kind();
        (format!("{}.{}.svc.{zone}", svc.name, svc.namespace), kind)
    }

    fn of_port(&mut self) -> Asked {
        let (svc, zone) = (self.service(), self.zone());
        let (port, protocol) = self.dice.pick(&svc.ports);
        let port = if port.is_empty() || self.dice.chance(20) {
            self.dice.word(&["http", "nosuch", "dns", "x"])
        } else {
            port
        };
        let protocol = if protocol.is_empty() || self.dice.chance(10) {
            self.dice.word(&["TCP", "UDP", "SCTP"])
        } else {
            protocol
        };
        let (a, b) = match self.dice.below(8) {
            0 => ("", ""),
            1 => ("_", ""),
            2 => ("", "_"),
            _ => ("_", "_"),
        };
        let kind = if self.dice.chance(70) { "SRV".to_owned() } else { self.kind() };
        (format!("{a}{port}.{b}{}.{}.{}.svc.{zone}", protocol.to_lowercase(), svc.name, svc.namespace), kind)
    }

    fn of_endpoint(&mut self) -> Asked {
        let (mut svc, zone) = (self.service(), self.zone());
        for _ in 0..6 {
            if svc.endpoints.is_empty() {
                svc = self.service();
            }
        }
        let label = self.dice.pick(&svc.endpoints);
        let label = if label.is_empty() || self.dice.chance(12) {
            self.dice.word(&["web-0", "nosuch", "10-244-1-11", "a"])
        } else {
            label
        };
        let kind = self.kind();
        (format!("{label}.{}.{}.svc.{zone}", svc.name, svc.namespace), kind)
    }

    fn reverse(&mut self) -> Asked {
        let text = match self.dice.below(12) {
            0 => "10.99.99.99".to_owned(),
            1 if !self.world.external_ips.is_empty() => self.dice.pick(&self.world.external_ips),
            2 => "10.96.0.1".to_owned(),
            _ => self.dice.pick(&self.world.ips),
        };
        let Ok(ip) = text.parse::<IpAddr>() else { return ("in-addr.arpa".to_owned(), "PTR".to_owned()) };
        let full = reverse_name(ip).to_string();
        let name = match self.dice.below(14) {
            0 => full.split_once('.').map_or(full.clone(), |(_, rest)| rest.to_owned()),
            1 => format!("x.{full}"),
            _ => full,
        };
        let kind = if self.dice.chance(85) { "PTR".to_owned() } else { self.kind() };
        (name, kind)
    }

    fn of_pod(&mut self) -> Asked {
        let (namespace, ip) = self.dice.pick(&self.world.pods);
        let zone = self.zone();
        let mut label = ip.replace(['.', ':'], "-");
        match self.dice.below(14) {
            0 => {
                label = self.dice.word(&[
                    "0-0-0-0",
                    "--1",
                    "1--2",
                    "010-1-1-1",
                    "1-2-3",
                    "1-2-3-4-5",
                    "10-99-99-99-",
                    "pod-1",
                    "fd00-0244-0001-0000-0000-0000-0000-0012",
                ])
            }
            1 => label = format!("x.{label}"),
            2 => label = format!("a.b.{label}"),
            3 => label = "192-0-2-77".to_owned(),
            _ => {}
        }
        let namespace = if namespace.is_empty() || self.dice.chance(12) {
            self.dice.word(&["default", "nosuch", "shop"])
        } else {
            namespace
        };
        let kind = if self.dice.chance(70) { self.dice.word(&["A", "AAAA"]) } else { self.kind() };
        (format!("{label}.{namespace}.pod.{zone}"), kind)
    }

    fn fixed(&mut self) -> Asked {
        let zone = self.zone();
        let namespace = self.dice.pick(&self.world.namespaces);
        let reverse = self.dice.word(&["in-addr.arpa", "10.in-addr.arpa", "ip6.arpa"]);
        let name = match self.dice.below(14) {
            0..=2 => zone,
            3 | 4 => format!("ns.dns.{zone}"),
            5 => format!("dns-version.{zone}"),
            6 => format!("svc.{zone}"),
            7 => format!("pod.{zone}"),
            8 => format!("{namespace}.svc.{zone}"),
            9 => format!("{namespace}.pod.{zone}"),
            10 => format!("dns.{zone}"),
            11 => format!("ns.dns.{zone}.{zone}"),
            12 => format!("ns.dns.{reverse}"),
            _ => reverse,
        };
        let kind = if self.dice.chance(40) { self.dice.word(&["NS", "SOA", "TXT"]) } else { self.kind() };
        (name, kind)
    }

    fn near(&mut self) -> Asked {
        let (svc, zone) = (self.service(), self.zone());
        let namespace = self.dice.pick(&self.world.namespaces);
        let name = match self.dice.below(7) {
            0 => format!("{}x.{}.svc.{zone}", svc.name, svc.namespace),
            1 => format!("{}.{namespace}.svc.{zone}", svc.name),
            2 => format!("{}.nosuch.svc.{zone}", svc.name),
            3 => format!("{}.{}.sv.{zone}", svc.name, svc.namespace),
            4 => format!("{}.{}.{zone}", svc.name, svc.namespace),
            5 => format!("{}.{}.svc", svc.name, svc.namespace),
            _ => format!("{}.{}.pod.{zone}", svc.name, svc.namespace),
        };
        let kind = self.kind();
        (name, kind)
    }

    fn deep(&mut self) -> Asked {
        let (svc, zone) = (self.service(), self.zone());
        let head = self.dice.word(&[
            "a.b.c",
            "_a._http._tcp",
            "zone-a.pin._zone",
            "zone-b.prefer._zone",
            "us-east.1a.pin._zone",
            "nozone.prefer._zone",
            "x.other._zone",
        ]);
        let kind = self.kind();
        (format!("{head}.{}.{}.svc.{zone}", svc.name, svc.namespace), kind)
    }

    fn wild(&mut self) -> Asked {
        let (svc, zone) = (self.service(), self.zone());
        let name = match self.dice.below(7) {
            0 => format!("*.{}.svc.{zone}", svc.namespace),
            1 => format!("any.{}.svc.{zone}", svc.namespace),
            2 => format!("{}.*.svc.{zone}", svc.name),
            3 => format!("*.*.svc.{zone}"),
            4 => format!("*.{}.{}.svc.{zone}", svc.name, svc.namespace),
            5 => format!("*.*.{}.{}.svc.{zone}", svc.name, svc.namespace),
            _ => format!("any.any.svc.{zone}"),
        };
        let kind = self.dice.word(&["A", "AAAA", "SRV", "TXT"]);
        (name, kind)
    }

    fn transfer(&mut self) -> Asked {
        let zone = self.zone();
        let name = match self.dice.below(9) {
            0..=4 => zone,
            5 => format!("svc.{zone}"),
            6 => self.dice.word(&["in-addr.arpa", "10.in-addr.arpa", "ip6.arpa"]),
            7 => "example.com".to_owned(),
            _ => format!("default.svc.{zone}"),
        };
        (name, if self.dice.chance(85) { "AXFR" } else { "IXFR" }.to_owned())
    }

    fn outside(&mut self) -> Asked {
        let name = if self.dice.chance(60) {
            self.dice.word(&OUTSIDE)
        } else {
            self.dice.word(&[
                "example.com",
                "dangling.example.com",
                "away.example.com",
                "ent.example.com",
                "a.b.ent.example.com",
                "y.z.wild.example.com",
                "_http._tcp.example.com",
                "zero.example.com",
                "nosuch",
                "com",
                "localhost",
                "mail.example.com",
                "www.node.example",
                "x.y.other.test",
            ])
        };
        let (name, kind) = match self.dice.below(6) {
            0 => (format!("{name}.default.svc.cluster.local"), "A".to_owned()),
            1 => (format!("{name}.cluster.local"), "AAAA".to_owned()),
            _ => (name, self.kind()),
        };
        (name, kind)
    }

    fn configured(&mut self) -> Asked {
        if let Some(zone) = self.section.external.clone()
            && self.dice.chance(50)
        {
            return self.external(&zone);
        }
        if let Some(zone) = self.section.multicluster.clone()
            && self.dice.chance(60)
        {
            return self.imported(&zone);
        }
        if self.section.autopath && self.dice.chance(50) {
            return self.walked();
        }
        if self.section.names.is_empty() {
            return self.of_service();
        }
        let (name, kind) = self.section.names[self.dice.below(self.section.names.len())].clone();
        let kind = if self.dice.chance(20) && kind != "AXFR" { self.kind() } else { kind.to_owned() };
        (name, kind)
    }

    /// A name with the first suffix of its client's search list behind it.
    fn walked(&mut self) -> Asked {
        let (namespace, ip) = self.dice.pick(&self.world.pods);
        let namespace = if self.dice.chance(10) { "default".to_owned() } else { namespace };
        let svc = self.service();
        let own = [svc.name.clone(), format!("{}.{}", svc.name, svc.namespace)];
        let base = match self.dice.below(4) {
            0 => own[self.dice.below(2)].clone(),
            _ => self.dice.word(&[
                "www.example.com",
                "api",
                "web",
                "nosuch.example.com",
                "kubernetes.default",
                "txt",
                "empty.example.com",
                "alias.example.com",
                "www",
            ]),
        };
        self.client = Some(ip).filter(|ip| !ip.is_empty());
        let kind = if self.dice.chance(75) { self.dice.word(&["A", "AAAA"]) } else { self.dice.word(&TYPES) };
        (format!("{base}.{namespace}.svc.cluster.local"), kind)
    }

    fn external(&mut self, zone: &str) -> Asked {
        let svc = self.service();
        let head = match self.dice.below(8) {
            0 => format!("{}.", self.dice.pick(&svc.endpoints)),
            1 => "_http._tcp.".to_owned(),
            2 => "_nosuch._tcp.".to_owned(),
            3 => "a.b.c.".to_owned(),
            _ => String::new(),
        };
        let head = if head == "." { String::new() } else { head };
        let kind = self.kind();
        (format!("{head}{}.{}.{zone}", svc.name, svc.namespace), kind)
    }

    fn imported(&mut self, zone: &str) -> Asked {
        let (namespace, name) = self.dice.pick(&self.world.imports);
        let head = self.dice.word(&[
            "",
            "",
            "",
            "web-0.east.",
            "web-0.west.",
            "_http._tcp.",
            "_x._tcp.",
            "east.",
            "a.b.c.",
            "10-244-1-11.east.",
        ]);
        let service = match self.dice.below(8) {
            0 => "nosuch".to_owned(),
            1 => String::new(),
            _ => name,
        };
        let kind = if self.dice.chance(10) { "AXFR".to_owned() } else { self.kind() };
        match service.is_empty() || kind == "AXFR" {
            true => (self.dice.word(&[zone, &format!("ns.dns.{zone}"), &format!("svc.{zone}")]), kind),
            false => (format!("{head}{service}.{namespace}.svc.{zone}"), kind),
        }
    }
}

/// An edit of the cluster, and names whose answers it changes.
#[must_use]
pub fn edit(dice: &mut Dice, world: &World, timeout_ms: u32) -> (Value, Vec<Value>) {
    let mut events = Vec::new();
    let mut asked = Vec::new();
    let of_kind = |kind: &str| -> Vec<&Value> {
        world.objects.iter().filter(|object| object["kind"] == kind).collect()
    };
    let (slices, services, pods) = (of_kind("EndpointSlice"), of_kind("Service"), of_kind("Pod"));
    for _ in 0..1 + dice.below(3) {
        match dice.below(5) {
            0 if !slices.is_empty() => {
                let slice = slices[dice.below(slices.len())];
                if slice["addressType"] == "IPv4" {
                    let ip = format!("10.244.88.{}", 1 + dice.below(200));
                    events.push(json!({ "type": "MODIFIED", "object": { "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
                        "metadata": { "namespace": slice["metadata"]["namespace"], "name": slice["metadata"]["name"] },
                        "endpoints": [{ "addresses": [ip], "conditions": { "ready": dice.chance(80) } }] } }));
                    asked.push((
                        reverse_name(ip.parse().unwrap_or(IpAddr::from([127, 0, 0, 1]))).to_string(),
                        "PTR".to_owned(),
                    ));
                }
                asked.extend(of_slice(slice));
            }
            1 if !slices.is_empty() => {
                let slice = slices[dice.below(slices.len())];
                events.push(json!({ "type": "DELETED", "object": { "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
                    "metadata": { "namespace": slice["metadata"]["namespace"], "name": slice["metadata"]["name"] } } }));
                asked.extend(of_slice(slice));
            }
            2 if !services.is_empty() => {
                let service = services[dice.below(services.len())];
                events.push(json!({ "type": "DELETED", "object": { "kind": "Service", "apiVersion": "v1",
                    "metadata": { "namespace": service["metadata"]["namespace"], "name": service["metadata"]["name"] } } }));
                asked.extend(of_service(service));
            }
            3 => {
                let name = format!("new-{}", dice.below(90));
                let target = dice.word(&["www.example.com", "kubernetes.default.svc.cluster.local"]);
                events.push(json!({ "type": "ADDED", "object": { "kind": "Service", "apiVersion": "v1", "metadata": { "namespace": "shop", "name": name },
                    "spec": { "type": "ExternalName", "externalName": target } } }));
                asked.push((format!("{name}.shop.svc.cluster.local"), "A".to_owned()));
            }
            _ if !pods.is_empty() => {
                let pod = pods[dice.below(pods.len())];
                events.push(json!({ "type": "DELETED", "object": { "kind": "Pod", "apiVersion": "v1",
                    "metadata": { "namespace": pod["metadata"]["namespace"], "name": pod["metadata"]["name"] } } }));
                let ip = pod["status"]["podIP"].as_str().unwrap_or_default().replace(['.', ':'], "-");
                let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
                asked.push((format!("{ip}.{namespace}.pod.cluster.local"), "A".to_owned()));
            }
            _ => {}
        }
    }
    let settle = !dice.chance(30);
    let line = json!({ "edit": events, "settle": settle });
    let mut lines = Vec::new();
    for (name, kind) in asked {
        let name = if name.ends_with('.') { name } else { format!("{name}.") };
        lines.push(json!({ "q": [name, kind, "IN", "rd"], "timeout_ms": timeout_ms }));
    }
    (line, lines)
}

fn of_service(service: &Value) -> Vec<Asked> {
    let (name, namespace) = (
        service["metadata"]["name"].as_str().unwrap_or("x"),
        service["metadata"]["namespace"].as_str().unwrap_or("x"),
    );
    let mut asked = vec![
        (format!("{name}.{namespace}.svc.cluster.local"), "A".to_owned()),
        (format!("{name}.{namespace}.svc.cluster.local"), "SRV".to_owned()),
    ];
    if let Some(ip) = service["spec"]["clusterIP"].as_str().and_then(|ip| ip.parse::<IpAddr>().ok()) {
        asked.push((reverse_name(ip).to_string(), "PTR".to_owned()));
    }
    asked
}

fn of_slice(slice: &Value) -> Vec<Asked> {
    let namespace = slice["metadata"]["namespace"].as_str().unwrap_or("x");
    let service = slice["metadata"]["labels"]["kubernetes.io/service-name"].as_str().unwrap_or("x");
    let mut asked = vec![
        (format!("{service}.{namespace}.svc.cluster.local"), "A".to_owned()),
        (format!("{service}.{namespace}.svc.cluster.local"), "SRV".to_owned()),
    ];
    let texts = slice["endpoints"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|endpoint| endpoint["addresses"][0].as_str());
    for ip in texts.take(2).filter_map(|text| text.parse::<IpAddr>().ok()) {
        asked.push((reverse_name(ip).to_string(), "PTR".to_owned()));
    }
    asked
}
