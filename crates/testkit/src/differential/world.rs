//! Random clusters: the objects of a plan, and the names and addresses in them that are worth asking for.
//!
//! Enters: dice. Leaves: a [`World`]. Deliberately absent: what any of it answers.

use serde_json::{Value, json};

use super::dice::Dice;

/// CoreDNS's own address.
pub const SERVER: &str = "10.244.0.2";
/// The same in IPv6.
pub const SERVER6: &str = "fd00:10:244::2";

/// A Service as far as questions depend on it.
#[derive(Clone, Debug, Default)]
pub struct Svc {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `(name, protocol)` of its ports.
    pub ports: Vec<(String, String)>,
    /// Endpoint labels.
    pub endpoints: Vec<String>,
    /// It is an ExternalName.
    pub external: bool,
}

/// A cluster.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Raw API objects.
    pub objects: Vec<Value>,
    /// Namespaces.
    pub namespaces: Vec<String>,
    /// Services.
    pub services: Vec<Svc>,
    /// Addresses of services, endpoints and pods.
    pub ips: Vec<String>,
    /// `(namespace, address)` of pods.
    pub pods: Vec<(String, String)>,
    /// External addresses of services.
    pub external_ips: Vec<String>,
    /// Names of ServiceImports: namespace, name.
    pub imports: Vec<(String, String)>,
    v4: u32,
}

/// Names of the upstream zones that ExternalNames and questions use.
pub const OUTSIDE: [&str; 14] = [
    "www.example.com",
    "v4only.example.com",
    "v6only.example.com",
    "alias.example.com",
    "chain.example.com",
    "loop1.example.com",
    "incluster.example.com",
    "nothing.example.com",
    "empty.example.com",
    "x.wild.example.com",
    "api.node.example",
    "web.corp.example",
    "www.other.test",
    "long.ttl.example.com",
];

fn meta(namespace: &str, name: &str, labels: Value) -> Value {
    json!({ "namespace": namespace, "name": name, "labels": labels })
}

fn app(dice: &mut Dice) -> Value {
    match dice.below(4) {
        0 => json!({ "app": "a" }),
        1 => json!({ "app": "b", "tier": "front" }),
        2 => json!({ "tier": "back" }),
        _ => json!({}),
    }
}

impl World {
    /// A cluster by the dice.
    #[must_use]
    pub fn roll(dice: &mut Dice) -> Self {
        let mut world = Self::default();
        let pool = ["shop", "db", "web", "any", "com", "svc", "team-a", "pod", "dns"];
        world.namespaces.extend(["default".to_owned(), "kube-system".to_owned(), "shop".to_owned()]);
        for name in dice.some(&pool[1..], 35) {
            world.namespaces.push(name.to_owned());
        }
        for name in world.namespaces.clone() {
            if name != "default" && name != "kube-system" {
                let labels =
                    if dice.chance(50) { json!({ "env": "prod" }) } else { json!({ "env": "dev", "x": "" }) };
                world.objects.push(json!({ "apiVersion": "v1", "kind": "Namespace",
                    "metadata": { "name": name, "labels": labels } }));
            }
        }
        world.kube_dns(dice);
        for _ in 0..6 + dice.below(10) {
            world.cluster_ip(dice);
        }
        for _ in 0..4 + dice.below(6) {
            world.headless(dice);
        }
        for _ in 0..3 + dice.below(6) {
            world.external_name(dice);
        }
        world.loops(dice);
        world.oddities(dice);
        for _ in 0..5 + dice.below(8) {
            world.pod(dice);
        }
        if dice.chance(40) {
            world.imports(dice);
        }
        world
    }

    fn namespace(&self, dice: &mut Dice) -> String {
        dice.pick(&self.namespaces)
    }

    fn fresh(&self, dice: &mut Dice, namespace: &str) -> String {
        let pool = [
            "web",
            "db",
            "api",
            "cache",
            "redis",
            "any",
            "com",
            "kubernetes",
            "a",
            "mail",
            "x",
            "http",
            "svc",
        ];
        let mut name = dice.word(&pool);
        while self.services.iter().any(|svc| svc.namespace == namespace && svc.name == name)
            || (namespace == "default" && name == "kubernetes")
        {
            name.push_str(&dice.word(&["1", "2", "-b", "x"]));
        }
        name
    }

    fn pod_ip(&mut self) -> String {
        self.v4 += 1;
        format!("10.244.{}.{}", 1 + self.v4 / 200, 10 + self.v4 % 200)
    }

    fn pod_ip6(&mut self, dice: &mut Dice) -> String {
        self.v4 += 1;
        match dice.below(3) {
            0 => format!("fd00:244:1::{:x}", 0x10 + self.v4),
            1 => format!("fd00:244::{:x}", 0x10 + self.v4),
            _ => format!("fd00:244:1:2:3:4:5:{:x}", 0x10 + self.v4),
        }
    }

    fn kube_dns(&mut self, dice: &mut Dice) {
        if dice.chance(15) {
            return;
        }
        let ports = json!([{ "name": "dns", "port": 53, "protocol": "UDP" }, { "name": "dns-tcp", "port": 53, "protocol": "TCP" }]);
        let mut spec = json!({ "ports": ports, "clusterIP": "10.96.0.10" });
        match dice.below(6) {
            0 => spec = json!({ "ports": ports, "clusterIP": "None" }),
            1 | 2 => {
                spec["clusterIPs"] = json!(["10.96.0.10", "fd00:96::a"]);
                spec["ipFamilyPolicy"] = json!("RequireDualStack");
                spec["ipFamilies"] = json!(["IPv4", "IPv6"]);
            }
            _ => {}
        }
        self.objects.push(json!({ "apiVersion": "v1", "kind": "Service",
            "metadata": meta("kube-system", "kube-dns", app(dice)), "spec": spec }));
        self.ips.push("10.96.0.10".to_owned());
        let own = [("dns".to_owned(), "UDP".to_owned()), ("dns-tcp".to_owned(), "TCP".to_owned())];
        self.services.push(Svc {
            namespace: "kube-system".to_owned(),
            name: "kube-dns".to_owned(),
            ports: own.into(),
            endpoints: vec!["10-244-0-2".to_owned()],
            external: false,
        });
        if dice.chance(90) {
            let mut endpoints =
                vec![json!({ "addresses": [SERVER], "conditions": { "ready": !dice.chance(8) } })];
            if dice.chance(30) {
                endpoints.push(json!({ "addresses": ["10.244.0.3"], "conditions": { "ready": true } }));
            }
            self.slice("kube-system", Some("kube-dns"), "kube-dns-1", "IPv4", endpoints, ports.clone(), dice);
            if dice.chance(30) {
                let endpoints = vec![json!({ "addresses": [SERVER6], "conditions": { "ready": true } })];
                self.slice("kube-system", Some("kube-dns"), "kube-dns-6", "IPv6", endpoints, ports, dice);
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one object")]
    fn slice(
        &mut self,
        namespace: &str,
        service: Option<&str>,
        name: &str,
        family: &str,
        endpoints: Vec<Value>,
        ports: Value,
        dice: &mut Dice,
    ) {
        let mut labels = app(dice);
        if let Some(service) = service {
            labels["kubernetes.io/service-name"] = json!(service);
        }
        let ports = match ports {
            Value::Array(list) => Value::Array(list.into_iter().map(|port| {
                let mut out = json!({ "name": port["name"].as_str().unwrap_or(""), "protocol": port["protocol"].as_str().unwrap_or("TCP") });
                if let Some(number) = port["port"].as_u64() {
                    out["port"] = json!(number);
                }
                out
            }).collect()),
            other => other,
        };
        self.objects.push(
            json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
            "metadata": meta(namespace, name, labels), "endpoints": endpoints, "ports": ports }),
        );
    }

    fn ports(dice: &mut Dice) -> (Value, Vec<(String, String)>) {
        let kinds = [
            ("http", "TCP", 80),
            ("dns", "UDP", 53),
            ("grpc", "TCP", 9000),
            ("metrics", "TCP", 9090),
            ("http", "UDP", 80),
        ];
        let mut chosen = match dice.below(8) {
            0 => vec![("", "TCP", 8080)],
            1 | 2 => vec![kinds[0]],
            _ => dice.some(&kinds[..4], 45),
        };
        if chosen.is_empty() {
            chosen.push(kinds[3]);
        }
        let values = chosen.iter().map(|(name, protocol, port)| match name.is_empty() {
            true => json!({ "port": port, "protocol": protocol }),
            false => json!({ "name": name, "port": port, "protocol": protocol }),
        });
        let values: Vec<Value> = values.collect();
        (
            Value::Array(values),
            chosen.iter().map(|(name, protocol, _)| ((*name).to_owned(), (*protocol).to_owned())).collect(),
        )
    }

    fn cluster_ip(&mut self, dice: &mut Dice) {
        let namespace = self.namespace(dice);
        let name = self.fresh(dice, &namespace);
        let (ports, known) = Self::ports(dice);
        self.v4 += 1;
        let (v4, v6) = (
            format!("10.{}.{}.{}", 100 + dice.below(11), dice.below(250), 1 + self.v4 % 250),
            format!("fd00:96::{:x}", 0x4000 + 256 * dice.below(150) + self.v4 as usize % 256),
        );
        let mut spec = json!({ "ports": ports, "clusterIP": v4 });
        match dice.below(5) {
            0 => {
                spec = json!({ "ports": ports, "clusterIPs": [v4, v6], "clusterIP": v4,
                "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"] })
            }
            1 => {
                spec = json!({ "ports": ports, "clusterIPs": [v6], "clusterIP": v6, "ipFamilyPolicy": "SingleStack",
                "ipFamilies": ["IPv6"] })
            }
            _ => {}
        }
        let mut object =
            json!({ "apiVersion": "v1", "kind": "Service", "metadata": meta(&namespace, &name, app(dice)) });
        if dice.chance(35) {
            let ip = format!("198.18.0.{}", 1 + dice.below(6));
            let ip6 = format!("2001:db8:18::{}", 1 + dice.below(4));
            match dice.below(4) {
                0 => spec["externalIPs"] = json!([ip]),
                1 => spec["externalIPs"] = json!([ip, ip6]),
                2 => {
                    spec["type"] = json!("LoadBalancer");
                    object["status"] = json!({ "loadBalancer": { "ingress": [{ "ip": ip }] } });
                }
                _ => {
                    spec["type"] = json!("LoadBalancer");
                    object["status"] =
                        json!({ "loadBalancer": { "ingress": [{ "hostname": dice.word(&OUTSIDE) }] } });
                }
            }
            self.external_ips.extend([ip, ip6]);
        }
        object["spec"] = spec;
        self.objects.push(object);
        self.ips.extend([v4, v6]);
        let endpoints =
            if dice.chance(65) { self.slices(dice, &namespace, &name, &ports) } else { Vec::new() };
        self.services.push(Svc { namespace, name, ports: known, endpoints, external: false });
    }

    fn headless(&mut self, dice: &mut Dice) {
        let namespace = self.namespace(dice);
        let name = self.fresh(dice, &namespace);
        let (mut ports, mut known) = Self::ports(dice);
        if dice.chance(15) {
            (ports, known) = (Value::Null, Vec::new());
        }
        let mut spec = json!({ "clusterIP": "None", "publishNotReadyAddresses": dice.chance(15) });
        if !ports.is_null() {
            spec["ports"] = ports.clone();
        }
        if dice.chance(10) {
            spec["externalIPs"] = json!(["198.18.0.9"]);
            self.external_ips.push("198.18.0.9".to_owned());
        }
        self.objects.push(json!({ "apiVersion": "v1", "kind": "Service", "metadata": meta(&namespace, &name, app(dice)), "spec": spec }));
        let endpoints =
            if dice.chance(88) { self.slices(dice, &namespace, &name, &ports) } else { Vec::new() };
        self.services.push(Svc { namespace, name, ports: known, endpoints, external: false });
    }

    /// One to three slices of a service; the labels of their endpoints.
    fn slices(&mut self, dice: &mut Dice, namespace: &str, name: &str, ports: &Value) -> Vec<String> {
        let mut labels = Vec::new();
        let families: &[&str] = match dice.below(6) {
            0 => &["IPv4", "IPv6"],
            1 => &["IPv6"],
            2 => &["IPv4", "IPv4"],
            _ => &["IPv4"],
        };
        for (number, family) in families.iter().enumerate() {
            let count = match dice.below(12) {
                0 => 0,
                1 => 15,
                _ => 1 + dice.below(4),
            };
            let mut endpoints = Vec::new();
            for _ in 0..count {
                endpoints.push(self.endpoint(dice, family, &mut labels));
            }
            self.slice(
                namespace,
                Some(name),
                &format!("{name}-{number}"),
                family,
                endpoints,
                ports.clone(),
                dice,
            );
        }
        labels
    }

    fn endpoint(&mut self, dice: &mut Dice, family: &str, labels: &mut Vec<String>) -> Value {
        let shared = dice.chance(12);
        let ip = match (family, shared) {
            ("IPv6", _) => self.pod_ip6(dice),
            (_, true) => "10.244.9.9".to_owned(),
            _ => self.pod_ip(),
        };
        let ready = match dice.below(8) {
            0 => json!({ "ready": false, "serving": true, "terminating": true }),
            1 => json!({ "ready": false }),
            2 => json!({}),
            3 => json!({ "ready": true, "serving": false, "terminating": true }),
            _ => json!({ "ready": true }),
        };
        let mut endpoint = json!({ "addresses": [ip], "conditions": ready });
        if dice.chance(40) {
            let host = dice.word(&["web-0", "web-1", "db", "com", "github", "redis", "x"]);
            endpoint["hostname"] = json!(host);
            labels.push(host);
        }
        if dice.chance(30) {
            let pod = dice.word(&["web-abc", "pod-1", "db-0"]);
            endpoint["targetRef"] = json!({ "kind": "Pod", "name": pod, "namespace": "default" });
            labels.push(pod);
        }
        if dice.chance(60) {
            endpoint["zone"] = json!(dice.word(&["zone-a", "zone-b", "us-east.1a"]));
        }
        labels.push(ip.replace(['.', ':'], "-"));
        self.ips.push(ip);
        endpoint
    }

    fn external_name(&mut self, dice: &mut Dice) {
        let namespace = self.namespace(dice);
        let name = self.fresh(dice, &namespace);
        let other = dice.pick(&self.services);
        let target = match dice.below(13) {
            0..=5 => dice.word(&OUTSIDE),
            6 | 7 => format!("{}.{}.svc.cluster.local", other.name, other.namespace),
            8 => format!("{name}.{namespace}.svc.cluster.local"),
            9 => "192.0.2.33".to_owned(),
            10 => dice.word(&[
                "cluster.local",
                "nosuch.shop.svc.cluster.local",
                "ns.dns.cluster.local",
                "svc.cluster.local",
            ]),
            11 => "10-244-1-11.shop.pod.cluster.local".to_owned(),
            _ => format!("{}.{}.svc.second.zone", other.name, other.namespace),
        };
        self.name_to(dice, &namespace, &name, &target);
    }

    fn name_to(&mut self, dice: &mut Dice, namespace: &str, name: &str, target: &str) {
        self.objects.push(
            json!({ "apiVersion": "v1", "kind": "Service", "metadata": meta(namespace, name, app(dice)),
            "spec": { "type": "ExternalName", "externalName": target } }),
        );
        self.services.push(Svc {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            external: true,
            ..Svc::default()
        });
    }

    fn loops(&mut self, dice: &mut Dice) {
        if dice.chance(50) {
            self.name_to(dice, "shop", "loop-a", "loop-b.shop.svc.cluster.local");
            self.name_to(dice, "shop", "loop-b", "loop-a.shop.svc.cluster.local");
        }
        if dice.chance(50) {
            let end = match dice.below(3) {
                0 => "www.example.com".to_owned(),
                1 => "kubernetes.default.svc.cluster.local".to_owned(),
                _ => "nosuch.default.svc.cluster.local".to_owned(),
            };
            let length = 2 + dice.below(13);
            for step in 0..length {
                let target = if step + 1 == length {
                    end.clone()
                } else {
                    format!("hop-{}.shop.svc.cluster.local", step + 1)
                };
                self.name_to(dice, "shop", &format!("hop-{step}"), &target);
            }
        }
    }

    fn oddities(&mut self, dice: &mut Dice) {
        if dice.chance(12) {
            let endpoints =
                vec![json!({ "addresses": ["10.244.9.9"] }), json!({ "addresses": ["10.244.66.6"] })];
            self.slice(
                "shop",
                None,
                "unlabelled",
                "IPv4",
                endpoints,
                json!([{ "name": "http", "port": 80 }]),
                dice,
            );
            self.ips.push("10.244.66.6".to_owned());
        }
        if dice.chance(40) {
            let endpoints = vec![json!({ "addresses": ["10.244.55.5"], "conditions": { "ready": true } })];
            self.slice(
                "shop",
                Some("orphan"),
                "orphan-1",
                "IPv4",
                endpoints,
                json!([{ "name": "http", "port": 80 }]),
                dice,
            );
            self.ips.push("10.244.55.5".to_owned());
        }
        if dice.chance(25) {
            self.names_as_addresses(dice);
        }
        if dice.chance(10) {
            let endpoints = vec![json!({ "addresses": ["10.244.44.4"] })];
            self.slice(
                "shop",
                Some("numberless"),
                "numberless-1",
                "IPv4",
                endpoints,
                json!([{ "name": "http" }]),
                dice,
            );
            self.objects.push(json!({ "apiVersion": "v1", "kind": "Service", "metadata": meta("shop", "numberless", json!({})),
                "spec": { "clusterIP": "None", "ports": [{ "name": "http", "port": 80 }] } }));
            self.services.push(Svc {
                namespace: "shop".to_owned(),
                name: "numberless".to_owned(),
                ports: vec![("http".to_owned(), "TCP".to_owned())],
                endpoints: vec!["10-244-44-4".to_owned()],
                external: false,
            });
        }
    }

    /// A headless service with a slice whose addresses are names, beside one of addresses or alone.
    fn names_as_addresses(&mut self, dice: &mut Dice) {
        let ports = json!([{ "name": "http", "port": 80, "protocol": "TCP" }]);
        self.objects.push(
            json!({ "apiVersion": "v1", "kind": "Service", "metadata": meta("shop", "fqdn", app(dice)),
            "spec": { "clusterIP": "None", "ports": ports } }),
        );
        let inside = dice.word(&[
            "kubernetes.default.svc.cluster.local",
            "nosuch.shop.svc.cluster.local",
            "fqdn.shop.svc.cluster.local",
        ]);
        let mut endpoints =
            vec![json!({ "addresses": [dice.word(&OUTSIDE)], "conditions": { "ready": true } })];
        if dice.chance(50) {
            endpoints.push(json!({ "addresses": [inside], "hostname": "named", "conditions": {} }));
        }
        self.slice("shop", Some("fqdn"), "fqdn-names", "FQDN", endpoints, ports.clone(), dice);
        if dice.chance(60) {
            let ip = self.pod_ip();
            let endpoints = vec![json!({ "addresses": [ip], "conditions": { "ready": true } })];
            self.slice("shop", Some("fqdn"), "fqdn-plain", "IPv4", endpoints, ports, dice);
            self.ips.push(ip);
        }
        for _ in 0..3 {
            // Listed more than once, so that it is asked for more often than its share.
            self.services.push(Svc {
                namespace: "shop".to_owned(),
                name: "fqdn".to_owned(),
                ports: vec![("http".to_owned(), "TCP".to_owned())],
                endpoints: vec!["named".to_owned()],
                external: false,
            });
        }
    }

    fn pod(&mut self, dice: &mut Dice) {
        let namespace = self.namespace(dice);
        let (v4, v6) = (self.pod_ip(), self.pod_ip6(dice));
        let ips = match dice.below(4) {
            0 => vec![v4.clone(), v6.clone()],
            1 => vec![v6.clone()],
            _ => vec![v4.clone()],
        };
        let listed: Vec<Value> = ips.iter().map(|ip| json!({ "ip": ip })).collect();
        let phase =
            dice.word(&["Running", "Running", "Running", "Running", "Pending", "Succeeded", "Failed"]);
        let mut object = json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": meta(&namespace, &format!("pod-{}", self.v4), app(dice)),
            "spec": { "nodeName": "node-1", "hostNetwork": false },
            "status": { "phase": phase, "podIP": ips[0], "podIPs": listed } });
        if dice.chance(15) {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        self.objects.push(object);
        self.pods.extend([(namespace.clone(), v4.clone()), (namespace, v6.clone())]);
        self.ips.extend([v4, v6]);
    }

    fn imports(&mut self, dice: &mut Dice) {
        for number in 0..2 + dice.below(3) {
            let namespace = self.namespace(dice);
            let name = format!("import-{number}");
            let headless = dice.chance(50);
            let mut spec = json!({ "type": if headless { "Headless" } else { "ClusterSetIP" },
                "ports": [{ "name": "http", "protocol": "TCP", "port": 80 }] });
            if !headless {
                spec["ips"] = json!([format!("10.98.0.{}", 1 + number)]);
            }
            self.objects
                .push(json!({ "apiVersion": "multicluster.x-k8s.io/v1alpha1", "kind": "ServiceImport",
                "metadata": { "namespace": namespace, "name": name }, "spec": spec }));
            for cluster in ["east", "west"] {
                let ip = self.pod_ip();
                let labels = json!({ "multicluster.kubernetes.io/service-name": name, "multicluster.kubernetes.io/source-cluster": cluster });
                let mut endpoint = json!({ "addresses": [ip], "conditions": { "ready": !dice.chance(15) } });
                if dice.chance(50) {
                    endpoint["hostname"] = json!("web-0");
                }
                self.objects.push(json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                    "metadata": meta(&namespace, &format!("{name}-{cluster}"), labels), "endpoints": [endpoint],
                    "ports": [{ "name": "http", "protocol": "TCP", "port": 80 }] }));
                self.ips.push(ip);
            }
            self.imports.push((namespace, name));
        }
    }
}
