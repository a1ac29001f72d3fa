//! Random Corefiles from a grammar, with the surroundings that they need: upstream zones, files, addresses.
//!
//! Enters: dice. Leaves: [`Section`]s as lines of a plan, and names that only this configuration knows. Deliberately
//! absent: what the configuration answers.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::dice::Dice;
use super::world::{SERVER, SERVER6};

/// A Corefile and what belongs to it.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// The plan's line.
    pub line: Map<String, Value>,
    /// Zones of the kubernetes plugin that are not reverse zones, without final dot.
    pub zones: Vec<String>,
    /// Names worth asking for: name without final dot, type.
    pub names: Vec<(String, &'static str)>,
    /// Answers are cached.
    pub cached: bool,
    /// Clients that this configuration treats in their own way.
    pub clients: Vec<String>,
    /// Zones of k8s_external.
    pub external: Option<String>,
    /// A multicluster zone.
    pub multicluster: Option<String>,
    /// The server walks its clients' search lists.
    pub autopath: bool,
}

/// Zones that knot serves.
pub const UPSTREAM: &str = "$ORIGIN .
$TTL 300
@ SOA a.root. hostmaster.root. 1 1800 900 604800 60
@ NS a.root.
a.root. A 203.0.113.53
localhost. A 127.0.0.1
$ORIGIN example.com.
$TTL 60
@ SOA ns hostmaster 7 3600 900 604800 45
@ NS ns
@ MX 10 mail
@ A 192.0.2.1
@ TXT \"v=spf1 -all\" \"second\"
ns A 203.0.113.53
mail A 192.0.2.25
mail AAAA 2001:db8::25
www A 192.0.2.10
www A 192.0.2.11
www AAAA 2001:db8::10
v4only 20 A 192.0.2.12
v6only AAAA 2001:db8::12
alias 5 CNAME www
chain 4000 CNAME alias
loop1 CNAME loop2
loop2 CNAME loop1
dangling CNAME nosuch
away CNAME www.other.test.
incluster CNAME kubernetes.default.svc.cluster.local.
empty TXT \"nothing but text\"
a.b.ent A 192.0.2.77
*.wild A 192.0.2.88
*.wild TXT \"wild\"
_http._tcp SRV 0 5 80 www
zero 0 A 192.0.2.13
long.ttl 90000 A 192.0.2.14
$ORIGIN node.example.
$TTL 320
@ SOA ns hostmaster 3 3600 900 604800 600
@ NS ns
ns A 203.0.113.53
api A 192.0.2.60
web A 192.0.2.61
web AAAA 2001:db8::61
txt TXT \"node\"
$ORIGIN corp.example.
$TTL 120
@ SOA ns hostmaster 3 3600 900 604800 30
@ NS ns
ns A 203.0.113.53
web A 192.0.2.70
www.default A 192.0.2.71
$ORIGIN other.test.
$TTL 30
@ SOA ns hostmaster 3 3600 900 604800 30
@ NS ns
ns A 203.0.113.53
www A 192.0.2.90
";

const ZONE_FILE: &str = "$ORIGIN file.test.
$TTL 90
@ SOA ns.file.test. admin.file.test. 11 7300 1900 86500 40
@ NS ns.file.test.
@ A 198.51.100.1
ns A 198.51.100.53
ns AAAA 2001:db8:f::53
www A 198.51.100.10
www AAAA 2001:db8:f::10
mail MX 5 www
_s._tcp SRV 1 2 443 www
_s._tcp SRV 1 2 8443 outside.example.com.
alias CNAME www
alias2 CNAME alias
out CNAME www.example.com.
kube CNAME kubernetes.default.svc.cluster.local.
gone CNAME nosuch
deep.ent.x A 198.51.100.30
*.wild A 198.51.100.40
*.cwild CNAME www
sub NS ns.sub
ns.sub A 198.51.100.99
txt TXT \"a\" \"b c\"
";

/// One block under construction.
struct Block {
    text: String,
    section: Section,
    forwards: bool,
}

impl Section {
    /// A configuration by the dice. `imports`: the cluster has ServiceImports.
    #[must_use]
    pub fn roll(dice: &mut Dice, imports: bool, pod_clients: &[String]) -> Self {
        let mut block = Block { text: String::new(), section: Self::default(), forwards: dice.chance(85) };
        let reverse = dice.chance(80);
        block.section.zones.push("cluster.local".to_owned());
        block.plain(dice);
        block.kubernetes(dice, reverse, imports, pod_clients);
        for _ in 0..1 + dice.below(4) {
            block.extra(dice, pod_clients);
        }
        if dice.chance(45) {
            block.cache(dice);
        }
        block.forward(dice);
        let mut corefile = format!(".:53 {{\n{}}}\n", block.text);
        if dice.chance(20) {
            corefile.push_str(&second_block(dice, &mut block.section));
        }
        if dice.chance(8) {
            corefile = with_view(dice, &corefile, &mut block.section, pod_clients);
        }
        if dice.chance(10) {
            corefile = format!(
                "(common) {{\n    errors\n    log\n}}\n{}",
                corefile.replacen("    errors\n", "    import common\n", 1)
            );
        }
        let mut section = block.section;
        if dice.chance(10) {
            corefile = corefile.replace("203.0.113.53", "{$UPSTREAM}");
            section.line.insert("env".to_owned(), json!({ "UPSTREAM": "203.0.113.53" }));
        }
        section.finish(dice, corefile);
        section
    }

    fn finish(&mut self, dice: &mut Dice, corefile: String) {
        let servers = match dice.below(4) {
            0 => vec![SERVER],
            _ => vec![SERVER, SERVER6],
        };
        let zones: Vec<String> = self.zones.iter().map(|zone| format!("{zone}.")).collect();
        self.line.insert("corefile".to_owned(), json!(corefile));
        self.line.insert("zones".to_owned(), json!(zones));
        self.line.insert("cached".to_owned(), json!(self.cached));
        self.line.insert("upstream_zone".to_owned(), json!(UPSTREAM));
        self.line.insert("server_ips".to_owned(), json!(servers));
        self.line.insert(
            "resolv_conf".to_owned(),
            json!("search node.example other.test\nnameserver 203.0.113.53\noptions ndots:5\n"),
        );
    }

    /// How long one try waits for its answer: one that gets none is what takes longest. A server whose only upstream is
    /// dead asks it again and again until it is found to be down.
    #[must_use]
    pub fn timeout_ms(&self) -> u32 {
        let corefile = self.line.get("corefile").and_then(Value::as_str).unwrap_or_default();
        if corefile.contains("forward . 203.0.113.99") { 2_500 } else { 700 }
    }

    fn file(&mut self, name: &str, text: &str) {
        let files = self.line.entry("files").or_insert_with(|| json!({}));
        files[name] = json!(text);
    }
}

impl Block {
    fn put(&mut self, line: &str) {
        let _ = writeln!(self.text, "    {line}");
    }

    fn ask(&mut self, names: &[(&str, &'static str)]) {
        self.section.names.extend(names.iter().map(|(name, kind)| ((*name).to_owned(), *kind)));
    }

    fn plain(&mut self, dice: &mut Dice) {
        self.put("errors");
        if dice.chance(40) {
            self.put("reload");
        }
        if dice.chance(30) {
            self.put("log");
        }
        if dice.chance(20) {
            self.put("bufsize 1232");
        }
        if dice.chance(30) {
            self.put("loadbalance");
        }
        if dice.chance(15) {
            self.put("loop");
        }
    }

    fn kubernetes(&mut self, dice: &mut Dice, reverse: bool, imports: bool, pod_clients: &[String]) {
        let mut zones = vec!["cluster.local"];
        if dice.chance(20) {
            zones.push("second.zone");
            self.section.zones.push("second.zone".to_owned());
        }
        if reverse {
            zones.extend(match dice.below(4) {
                0 => vec!["in-addr.arpa"],
                1 => vec!["10.in-addr.arpa", "ip6.arpa"],
                2 => vec!["10.96.0.0/12", "10.244.0.0/16", "fd00::/8"],
                _ => vec!["in-addr.arpa", "ip6.arpa"],
            });
        }
        let multi = imports && dice.chance(60);
        if multi {
            zones.push("clusterset.local");
            self.section.multicluster = Some("clusterset.local".to_owned());
        }
        let mut lines: Vec<String> = Vec::new();
        let pods = match dice.below(4) {
            0 => "disabled",
            1 => "insecure",
            _ => "verified",
        };
        lines.push(format!("pods {pods}"));
        let options: [(u64, &str); 9] = [
            (25, "endpoint_pod_names"),
            (12, "namespaces default shop kube-system"),
            (12, "labels app=a"),
            (10, "labels app notin (b)"),
            (7, "noendpoints"),
            (15, "ignore empty_service"),
            (60, "fallthrough in-addr.arpa ip6.arpa"),
            (12, "fallthrough"),
            (8, "zonal"),
        ];
        for (percent, line) in options {
            let word = line.split(' ').next().unwrap_or_default();
            let clashes = lines.iter().any(|other| other.split(' ').next() == Some(word))
                || (word == "zonal" && lines.iter().any(|other| other == "noendpoints"));
            if !clashes && dice.chance(percent) {
                lines.push(line.to_owned());
            }
        }
        if dice.chance(12) && !lines.iter().any(|line| line.starts_with("namespaces")) {
            lines.push("namespace_labels env=prod".to_owned());
        }
        if dice.chance(60) {
            lines.push(format!("ttl {}", dice.word(&["0", "30", "30", "60", "1", "3600"])));
        }
        if multi {
            lines.push("multicluster clusterset.local".to_owned());
        }
        let autopath = pods == "verified" && dice.chance(40);
        self.put(&format!("kubernetes {} {{", zones.join(" ")));
        for line in lines {
            self.put(&format!("    {line}"));
        }
        self.put("}");
        if autopath {
            self.put("autopath @kubernetes");
            self.section.clients.extend(pod_clients.iter().cloned());
            self.section.autopath = true;
        }
    }

    fn cache(&mut self, dice: &mut Dice) {
        self.section.cached = true;
        match dice.below(9) {
            0 => self.put("cache"),
            7 => self.nested("cache 30", &["keepttl"]),
            1 => self.put("cache 30"),
            2 => self.put("cache 10 cluster.local example.com"),
            3 => self.nested("cache 60", &["success 100 20", "denial 100 10"]),
            4 => self.nested("cache 30", &["success 100 40 8", "denial 100 20 3"]),
            5 => self.nested("cache", &["disable denial cluster.local", "servfail 2s"]),
            6 => self.nested("cache 30", &["disable success"]),
            _ => self.nested("cache 40", &["serve_stale"]),
        }
    }

    fn nested(&mut self, head: &str, lines: &[&str]) {
        self.put(&format!("{head} {{"));
        for line in lines {
            self.put(&format!("    {line}"));
        }
        self.put("}");
    }

    fn forward(&mut self, dice: &mut Dice) {
        if !self.forwards {
            return;
        }
        match dice.below(10) {
            0 => self.nested("forward . 203.0.113.53", &["except corp.example", "policy sequential"]),
            1 => self.nested("forward . 203.0.113.53 203.0.113.99", &["max_fails 0"]),
            2 => self.put("forward example.com 203.0.113.53"),
            3 => self.nested("forward . 203.0.113.53", &["force_tcp"]),
            4 => self.nested("forward . 203.0.113.53", &["prefer_udp", "max_concurrent 1000"]),
            _ => self.put("forward . /etc/resolv.conf"),
        }
    }

    fn has(&self, word: &str) -> bool {
        self.text.lines().any(|line| line.split_whitespace().next() == Some(word))
    }

    fn extra(&mut self, dice: &mut Dice, pod_clients: &[String]) {
        match dice.below(19) {
            0..=2 => self.rewrite(dice),
            15 => self.put_local(dice),
            16 if !self.has("dns64") => self.dns64(dice),
            3 | 17 if !self.has("hosts") => self.hosts(dice),
            4 | 18 => self.template(dice),
            5 if !self.has("file") => self.zone_file(dice),
            6 if !self.has("dns64") => self.dns64(dice),
            7 if !self.has("k8s_external") => self.external(dice),
            8 if !self.has("acl") => self.acl(dice, pod_clients),
            9 if !self.has("any") => {
                self.put("any");
                self.ask(&[
                    ("kubernetes.default.svc.cluster.local", "ANY"),
                    ("nosuch.default.svc.cluster.local", "ANY"),
                    ("www.example.com", "ANY"),
                    ("example.com", "ANY"),
                    ("1.0.96.10.in-addr.arpa", "ANY"),
                ]);
            }
            10 if !self.has("minimal") => self.put("minimal"),
            11 if !self.has("header") => {
                let line = dice.word(&[
                    "response set ra",
                    "response clear ra aa",
                    "response set aa",
                    "query clear rd",
                ]);
                self.nested("header", &[&line]);
            }
            12 | 13 if !self.has("transfer") => {
                let to = dice.word(&["to *", "to 10.244.200.9", "to 192.0.2.250"]);
                self.nested("transfer", &[&to]);
            }
            14 => self.put_local(dice),
            _ => {}
        }
    }

    fn put_local(&mut self, dice: &mut Dice) {
        if self.has("local") || self.has("chaos") {
            return;
        }
        let line = dice.word(&["local", "local", "chaos CoreDNS-x admin@example.com"]);
        self.put(&line);
        self.ask(&[
            ("localhost", "A"),
            ("localhost", "AAAA"),
            ("x.localhost", "A"),
            ("localhost.example.com", "A"),
            ("localhost", "TXT"),
            ("1.0.0.127.in-addr.arpa", "PTR"),
            ("127.in-addr.arpa", "SOA"),
            ("0.in-addr.arpa", "NS"),
            ("5.255.in-addr.arpa", "PTR"),
            ("version.bind", "TXT"),
            ("localhost.default.svc.cluster.local", "A"),
        ]);
    }

    fn rewrite(&mut self, dice: &mut Dice) {
        let rules: [&str; 24] = [
            "rewrite name exact foo.example.com kubernetes.default.svc.cluster.local",
            "rewrite name suffix .corp.example .svc.cluster.local answer auto",
            "rewrite stop name suffix .corp.example .svc.cluster.local",
            "rewrite name regex (.*)\\.corp\\.example {1}.svc.cluster.local",
            "rewrite stop name regex (.*)\\.corp\\.example {1}.svc.cluster.local answer auto",
            "rewrite stop name regex (.*)\\.corp\\.example {1}.svc.cluster.local answer name (.*)\\.svc\\.cluster\\.local {1}.corp.example",
            "rewrite stop name regex (.*)\\.corp\\.example {1}.svc.cluster.local answer name (.*)\\.svc\\.cluster\\.local {1}.corp.example answer value (.*)\\.svc\\.cluster\\.local {1}.corp.example",
            "rewrite name prefix pre- www. answer auto",
            "rewrite continue name prefix pre- www.",
            "rewrite name substring .via. .default. answer auto",
            "rewrite continue name exact foo.example.com bar.example.com",
            "rewrite name exact bar.example.com www.example.com",
            "rewrite type ANY HINFO",
            "rewrite continue type MX A",
            "rewrite ttl exact www.example.com 3-6",
            "rewrite ttl suffix .svc.cluster.local 10-",
            "rewrite continue ttl regex .*\\.example\\.com 120",
            "rewrite rcode suffix .example.com NXDOMAIN NOERROR",
            "rewrite cname exact www.example.com v4only.example.com",
            "rewrite cname suffix .example.com. .other.test.",
            "rewrite class CH IN",
            "rewrite edns0 local set 0xffee 0x61626364",
            "rewrite name suffix .my.test .example.com answer auto",
            "rewrite continue name suffix .second.test .cluster.local answer auto",
        ];
        for _ in 0..1 + dice.below(2) {
            let rule = dice.word(&rules);
            self.put(&rule);
        }
        self.ask(&[
            ("foo.example.com", "A"),
            ("foo.example.com", "AAAA"),
            ("bar.example.com", "A"),
            ("kubernetes.default.corp.example", "A"),
            ("kubernetes.default.corp.example", "SRV"),
            ("_https._tcp.kubernetes.default.corp.example", "SRV"),
            ("kube-dns.kube-system.corp.example", "A"),
            ("nosuch.default.corp.example", "A"),
            ("www.default.corp.example", "A"),
            ("pre-example.com", "A"),
            ("kubernetes.via.svc.cluster.local", "A"),
            ("www.my.test", "A"),
            ("alias.my.test", "A"),
            ("my.test", "SOA"),
            ("nothing.my.test", "A"),
            ("www.my.test", "MX"),
            ("kubernetes.default.svc.second.test", "A"),
            ("second.test", "NS"),
            ("www.example.com", "MX"),
            ("www.example.com", "ANY"),
            ("alias.example.com", "A"),
            ("chain.example.com", "A"),
            ("corp.example", "SOA"),
            ("cluster.local", "ANY"),
        ]);
        for name in ["web", "db", "api"] {
            for namespace in ["default", "shop"] {
                self.section.names.push((format!("{name}.{namespace}.corp.example"), "A"));
                self.section.names.push((format!("_http._tcp.{name}.{namespace}.corp.example"), "SRV"));
                self.section.names.push((format!("{name}.{namespace}.corp.example"), "SRV"));
            }
        }
    }

    fn hosts(&mut self, dice: &mut Dice) {
        let mut lines = vec![
            "192.0.2.200 one.hosts.test two.hosts.test",
            "2001:db8::200 one.hosts.test",
            "192.0.2.201 One.hosts.test",
            "192.0.2.202 kubernetes.default.svc.cluster.local",
            "2001:db8::203 six.hosts.test",
            "10.244.77.7 pod.hosts.test",
        ];
        if dice.chance(30) {
            lines.push("192.0.2.204 *.wild.hosts.test");
        }
        for (percent, line) in [(20, "ttl 77"), (15, "no_reverse")] {
            if dice.chance(percent) {
                lines.push(line);
            }
        }
        match dice.below(4) {
            0 => {}
            1 => lines.push("fallthrough hosts.test example.com cluster.local"),
            _ => lines.push("fallthrough"),
        }
        let mut head = "hosts".to_owned();
        if dice.chance(50) {
            head.push_str(" extra.hosts");
            self.section.file("extra.hosts", "# comment\n192.0.2.210 file.hosts.test  second.file.hosts.test # tail\n::ffff:192.0.2.211 mapped.hosts.test\n2001:db8::212 file.hosts.test\nbad line\n");
            if dice.chance(30) {
                head.push_str(" hosts.test cluster.local");
            }
        }
        self.nested(&head, &lines);
        self.ask(&[
            ("one.hosts.test", "A"),
            ("ONE.hosts.test", "AAAA"),
            ("two.hosts.test", "A"),
            ("two.hosts.test", "AAAA"),
            ("one.hosts.test", "TXT"),
            ("six.hosts.test", "A"),
            ("file.hosts.test", "A"),
            ("file.hosts.test", "AAAA"),
            ("mapped.hosts.test", "A"),
            ("nosuch.hosts.test", "A"),
            ("kubernetes.default.svc.cluster.local", "A"),
            ("kubernetes.default.svc.cluster.local", "SRV"),
            ("a.wild.hosts.test", "A"),
            ("a.b.wild.hosts.test", "A"),
            ("*.wild.hosts.test", "A"),
            ("200.2.0.192.in-addr.arpa", "PTR"),
            ("201.2.0.192.in-addr.arpa", "PTR"),
            ("210.2.0.192.in-addr.arpa", "PTR"),
            ("7.77.244.10.in-addr.arpa", "PTR"),
            ("one.hosts.test", "ANY"),
            ("hosts.test", "SOA"),
        ]);
    }

    fn template(&mut self, dice: &mut Dice) {
        let blocks: [(&str, &[&str]); 8] = [
            (
                "template IN A tmpl.test",
                &[
                    "match ^ip-(?P<a>[0-9]+)-(?P<b>[0-9]+)[.]tmpl[.]test[.]$",
                    "answer \"{{ .Name }} 60 IN A 10.0.{{ .Group.a }}.{{ .Group.b }}\"",
                    "fallthrough",
                ],
            ),
            (
                "template IN ANY blocked.test",
                &[
                    "rcode NXDOMAIN",
                    "authority \"blocked.test. 60 IN SOA ns.blocked.test. admin.blocked.test. 1 60 60 60 60\"",
                ],
            ),
            (
                "template IN A tmpl.test",
                &[
                    "match (.*)[.]al[.]tmpl[.]test[.]$",
                    "answer \"{{ .Name }} 30 IN CNAME {{ index .Match 1 }}.example.com.\"",
                    "fallthrough",
                ],
            ),
            ("template IN AAAA", &["rcode NOERROR", "fallthrough"]),
            ("template ANY ANY refused.test", &["rcode REFUSED"]),
            (
                "template IN MX tmpl.test",
                &[
                    "answer \"{{ .Name }} 60 IN MX 10 mail.{{ .Zone }}\"",
                    "additional \"mail.{{ .Zone }} 60 IN A 192.0.2.99\"",
                ],
            ),
            ("template IN A tmpl.test", &["match ^strict", "answer \"{{ .Name }} 60 IN A 192.0.2.98\""]),
            (
                "template IN A cluster.local",
                &["match ^fake[.]", "answer \"{{ .Name }} 60 IN A 192.0.2.97\"", "fallthrough"],
            ),
        ];
        for _ in 0..1 + dice.below(2) {
            let (head, lines) = blocks[dice.below(blocks.len())];
            self.nested(head, lines);
        }
        self.ask(&[
            ("ip-1-2.tmpl.test", "A"),
            ("IP-1-2.tmpl.test", "A"),
            ("ip-300-2.tmpl.test", "A"),
            ("x.tmpl.test", "A"),
            ("www.al.tmpl.test", "A"),
            ("nothing.al.tmpl.test", "A"),
            ("v6only.al.tmpl.test", "A"),
            ("tmpl.test", "MX"),
            ("strict.tmpl.test", "A"),
            ("a.blocked.test", "A"),
            ("a.blocked.test", "MX"),
            ("refused.test", "A"),
            ("fake.default.svc.cluster.local", "A"),
            ("ip-1-2.tmpl.test", "ANY"),
            ("www.example.com", "AAAA"),
            ("kubernetes.default.svc.cluster.local", "AAAA"),
        ]);
    }

    fn zone_file(&mut self, dice: &mut Dice) {
        self.section.file("db.file", ZONE_FILE);
        match dice.below(3) {
            0 => self.nested("file db.file file.test", &["reload 0"]),
            _ => self.put("file db.file file.test"),
        }
        self.ask(&[
            ("file.test", "SOA"),
            ("file.test", "NS"),
            ("file.test", "A"),
            ("file.test", "MX"),
            ("www.file.test", "A"),
            ("WWW.file.test", "AAAA"),
            ("www.file.test", "TXT"),
            ("mail.file.test", "MX"),
            ("_s._tcp.file.test", "SRV"),
            ("alias.file.test", "A"),
            ("alias2.file.test", "AAAA"),
            ("alias2.file.test", "CNAME"),
            ("alias.file.test", "MX"),
            ("out.file.test", "A"),
            ("kube.file.test", "A"),
            ("kube.file.test", "SRV"),
            ("gone.file.test", "A"),
            ("ent.x.file.test", "A"),
            ("x.file.test", "A"),
            ("a.wild.file.test", "A"),
            ("a.b.wild.file.test", "A"),
            ("a.wild.file.test", "TXT"),
            ("a.cwild.file.test", "A"),
            ("nosuch.file.test", "A"),
            ("sub.file.test", "A"),
            ("a.sub.file.test", "A"),
            ("sub.file.test", "NS"),
            ("sub.file.test", "DS"),
            ("ns.sub.file.test", "A"),
            ("txt.file.test", "TXT"),
            ("www.file.test", "ANY"),
            ("file.test", "AXFR"),
            ("www.file.test", "AXFR"),
        ]);
    }

    fn dns64(&mut self, dice: &mut Dice) {
        match dice.below(5) {
            0 => self.put("dns64"),
            1 => self.nested("dns64", &["allow_ipv4"]),
            2 => self.nested("dns64 2001:db8:64::/96", &["allow_ipv4", "translate_all"]),
            3 => self.nested("dns64", &["prefix 2001:db8:64::/48", "allow_ipv4"]),
            _ => self.put("dns64 64:1337::/96"),
        }
        self.section.clients.push("fd00:244::77".to_owned());
        self.ask(&[
            ("v4only.example.com", "AAAA"),
            ("www.example.com", "AAAA"),
            ("alias.example.com", "AAAA"),
            ("nothing.example.com", "AAAA"),
            ("empty.example.com", "AAAA"),
            ("kubernetes.default.svc.cluster.local", "AAAA"),
            ("dangling.example.com", "AAAA"),
            ("zero.example.com", "AAAA"),
        ]);
    }

    fn external(&mut self, dice: &mut Dice) {
        let zone = dice.word(&["ext.test", "ext.test", "example.ext"]);
        let zones = if dice.chance(30) { format!("{zone} 198.18.0.0/16") } else { zone.clone() };
        let mut lines = Vec::new();
        for (percent, line) in [(40, "headless"), (30, "ttl 40"), (25, "apex dnsx"), (25, "fallthrough")] {
            if dice.chance(percent) {
                lines.push(line);
            }
        }
        match lines.is_empty() {
            true => self.put(&format!("k8s_external {zones}")),
            false => self.nested(&format!("k8s_external {zones}"), &lines),
        }
        for (name, kind) in [
            ("", "SOA"),
            ("", "NS"),
            ("", "A"),
            ("dns.", "A"),
            ("ns1.dns.", "A"),
            ("ns1.dns.", "AAAA"),
            ("x.dns.", "A"),
            ("dnsx.", "A"),
            ("ns1.dnsx.", "A"),
            ("default.", "A"),
            ("shop.", "SRV"),
            ("nosuch.", "A"),
            ("nosuch.default.", "A"),
            ("a.b.c.d.", "A"),
            ("a.ns1.dns.", "A"),
            ("", "AXFR"),
        ] {
            self.section.names.push((format!("{name}{zone}"), kind));
        }
        self.section.external = Some(zone);
    }

    fn acl(&mut self, dice: &mut Dice, pod_clients: &[String]) {
        let client = dice.pick(pod_clients);
        let client = if client.is_empty() { "10.244.1.11".to_owned() } else { client };
        let rules = [
            format!("block type AAAA net {client}"),
            "filter type TXT".to_owned(),
            format!("allow net {client}"),
            "block net 10.244.200.0/24 type SRV".to_owned(),
            format!("drop net {client} type A"),
            "block type ANY net *".to_owned(),
            "filter net 172.16.0.0/12".to_owned(),
        ];
        let mut lines: Vec<&str> = Vec::new();
        for _ in 0..1 + dice.below(3) {
            lines.push(rules[dice.below(rules.len())].as_str());
        }
        let zone = dice.word(&["", " cluster.local", " example.com cluster.local"]);
        self.nested(&format!("acl{zone}"), &lines);
        self.section.clients.extend([client, "172.16.3.4".to_owned()]);
    }
}

fn second_block(dice: &mut Dice, section: &mut Section) -> String {
    section.names.extend([
        ("www.stub.test".to_owned(), "A"),
        ("stub.test".to_owned(), "SOA"),
        ("x.corp.example".to_owned(), "A"),
        ("web.corp.example".to_owned(), "A"),
        ("corp.example".to_owned(), "DS"),
        ("www.other.test".to_owned(), "A"),
    ]);
    let text = [
        "corp.example:53 {\n    errors\n    forward . 203.0.113.53\n}\n",
        "stub.test corp.example {\n    errors\n    forward . 203.0.113.99\n}\n",
        "other.test {\n    whoami\n}\n",
        "stub.test:53 {\n    errors\n    hosts {\n        192.0.2.5 www.stub.test\n    }\n}\n",
        "stub.test {\n}\n",
        "dns://corp.example {\n    template IN ANY {\n        rcode NXDOMAIN\n    }\n}\n",
    ];
    text[dice.below(text.len())].to_owned()
}

/// A block in front of the first that takes some clients only.
fn with_view(dice: &mut Dice, corefile: &str, section: &mut Section, pod_clients: &[String]) -> String {
    let client = dice.pick(pod_clients);
    let expressions = [
        "incidr(client_ip(), '172.16.0.0/12')".to_owned(),
        format!("client_ip() == '{client}'"),
        "type() in ['AAAA', 'SRV']".to_owned(),
        "name() startsWith 'w' && type() == 'A'".to_owned(),
        "not (name() endsWith 'cluster.local.')".to_owned(),
        "metadata('kubernetes/client-namespace') == 'shop'".to_owned(),
        "proto() == 'tcp' or do()".to_owned(),
    ];
    let expression = &expressions[dice.below(expressions.len())];
    section.clients.extend([client, "172.16.3.4".to_owned()]);
    let metadata = if expression.contains("metadata") {
        "    metadata\n    kubernetes cluster.local {\n        pods verified\n        fallthrough\n    }\n"
    } else {
        ""
    };
    let view = format!(
        ".:53 {{\n    view special {{\n        expr {expression}\n    }}\n{metadata}    hosts {{\n        192.0.2.250 viewed.test www.example.com kubernetes.default.svc.cluster.local\n        fallthrough\n    }}\n    forward . 203.0.113.53\n}}\n"
    );
    section.names.extend([
        ("viewed.test".to_owned(), "A"),
        ("www.example.com".to_owned(), "A"),
        ("viewed.test".to_owned(), "AAAA"),
    ]);
    format!("{view}{corefile}")
}
