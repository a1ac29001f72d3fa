//! Recordings of real CoreDNS judged, altered recordings seen, slips of form named.

use std::collections::BTreeSet;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::figures::Figures;
use super::judge::{judge, versions_of};
use super::plan::{Size, plan};
use super::recording::read;

fn recordings() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("recorded");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn text_of(path: &Path) -> String {
    let packed = std::fs::read(path).unwrap();
    String::from_utf8(zstd::decode_all(packed.as_slice()).unwrap()).unwrap()
}

fn judged(text: &str) -> Figures {
    let recording = read(BufReader::new(text.as_bytes())).unwrap();
    let mut figures = Figures::default();
    judge(&recording, &versions_of(&recording), &mut figures);
    figures
}

#[test]
fn recorded_clusters_are_foretold() {
    let mut answers = 0;
    let mut plugins = BTreeSet::new();
    for path in recordings() {
        let figures = judged(&text_of(&path));
        assert!(figures.is_clean(), "{}:\n{}", path.display(), figures.text(5));
        let chance: u64 = figures.unforetellable.values().sum();
        assert!(chance * 200 <= figures.agree, "{}: {chance} of {}", path.display(), figures.agree);
        answers += figures.agree;
        plugins.extend(figures.plugins.keys().copied());
    }
    assert!(answers > 10_000, "{answers}");
    for plugin in
        ["autopath", "cache", "dns64", "file", "forward", "k8s_external", "rewrite", "template", "transfer"]
    {
        assert!(plugins.contains(plugin), "no answer by {plugin}: {plugins:?}");
    }
}

/// The lines of one cluster up to its first `count` questions.
fn beginning(path: &Path, count: usize) -> Vec<String> {
    text_of(path).lines().take(2 + count).map(str::to_owned).collect()
}

#[test]
fn an_altered_answer_is_seen() {
    let path = recordings().into_iter().next().unwrap();
    let lines = beginning(&path, 120);
    assert_eq!(judged(&lines.join("\n")).disagree, 0);
    let alterations: [(&str, &str); 6] = [
        ("\"rcode\":\"NXDOMAIN\"", "\"rcode\":\"NOERROR\""),
        ("\"rcode\":\"NOERROR\"", "\"rcode\":\"NXDOMAIN\""),
        ("\"flags\":\"aa rd", "\"flags\":\"rd"),
        (",\"A\",\"10.", ",\"A\",\"11."),
        ("SERIAL 7200", "SERIAL 7201"),
        ("\"authority\":[[\"cluster.local.\",", "\"authority\":[[\"cluster.local.\",1"),
    ];
    for (from, to) in alterations {
        let at = lines.iter().position(|line| line.starts_with("{\"q\"") && line.contains(from));
        let Some(at) = at else { continue };
        let mut altered = lines.clone();
        altered[at] = altered[at].replacen(from, to, 1);
        let figures = judged(&altered.join("\n"));
        assert!(figures.disagree > 0, "{from} to {to} in line {}: {}", at + 1, lines[at]);
        assert_eq!(figures.misses.first().map(|miss| miss.line), Some(at + 1));
    }
}

#[test]
fn slips_of_form_are_named_with_their_line() {
    let fault = |text: &str| read(BufReader::new(text.as_bytes())).unwrap_err();
    let head = "{\"seed\":1,\"objects\":[]}\n{\"corefile\":\".:53 {\\n}\\n\"}\n";
    assert_eq!(fault("").line, 1);
    assert_eq!(fault("{\"objects\":[]}").line, 1);
    assert_eq!(fault("{\"seed\":1,\"objects\":[]}\n{\"q\":[\"a.\",\"A\",\"IN\",\"\"],\"a\":{}}").line, 2);
    for (line, wanted) in [
        ("{\"q\":[\"a.\",\"A\",\"IN\",\"rd\"]}", "without a"),
        ("{\"q\":[\"a.\",\"BAD\",\"IN\",\"rd\"],\"a\":{}}", "unknown type"),
        ("{\"q\":[\"a.\",\"A\",\"IN\",\"loud\"],\"a\":{}}", "unknown flag"),
        ("{\"q\":[\"a.\",\"A\",\"IN\",\"rd\"],\"a\":{\"*\":{\"flags\":\"\"}}}", "no rcode"),
        ("{\"edit\":7}", "edit"),
        ("nonsense", "no JSON"),
        ("{\"neither\":1}", "neither"),
    ] {
        let found = fault(&format!("{head}{line}\n"));
        assert_eq!(found.line, 3, "{line}");
        assert!(found.what.contains(wanted), "{line}: {found}");
    }
}

#[test]
fn edits_are_read_in_every_form_that_names_type_and_object() {
    let head = "{\"seed\":1,\"objects\":[]}\n{\"corefile\":\".:53 {\\n}\\n\"}\n";
    let object = "{\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"}}";
    for form in [
        format!("{{\"type\":\"DELETED\",\"object\":{object}}}"),
        format!("[{{\"type\":\"DELETED\",\"object\":{object}}}]"),
        format!("[\"delete\",{object}]"),
        format!("{{\"deleted\":[{object}]}}"),
        "{\"op\":\"delete\",\"kind\":\"Pod\",\"name\":\"a\"}".to_owned(),
    ] {
        let text = format!("{head}{{\"edit\":{form},\"t_ms\":5}}\n");
        let recording = read(BufReader::new(text.as_bytes())).unwrap();
        let Some(super::recording::Step::Edit { events, settled, done }) =
            recording.sections[0].steps.first()
        else {
            panic!("{form}");
        };
        assert_eq!(
            (events.len(), events[0].0.as_str(), *settled, *done),
            (1, "DELETED", None, Some(5)),
            "{form}"
        );
    }
}

#[test]
fn a_seed_gives_one_plan() {
    let size = Size { sections: 2, questions: 20 };
    assert_eq!(plan(7, size), plan(7, size));
    assert_ne!(plan(7, size), plan(8, size));
    let first = plan(7, size);
    assert!(first.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
}

/// A recording as a stranger would write it: every field of the form once, and what is absent has its default.
const BY_HAND: &str = r#"{"seed":"by hand","objects":[{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"default"}},{"apiVersion":"v1","kind":"Service","metadata":{"namespace":"default","name":"kubernetes"},"spec":{"type":"ClusterIP","clusterIP":"10.96.0.1","clusterIPs":["10.96.0.1"],"ports":[{"name":"https","port":443,"protocol":"TCP"}]}}]}
{"corefile":".:53 {\n    kubernetes cluster.local in-addr.arpa {\n        ttl 30\n    }\n    cache 30\n    forward . /etc/resolv.conf\n}\n","zones":["cluster.local."],"cached":true,"upstream_zone":"$TTL 1h\n$ORIGIN example.com.\n@ SOA ns hostmaster 1 2h 30m 1d 45\n@ NS ns\nns A 203.0.113.53\nwww 20 A 192.0.2.10\n","upstreams":["203.0.113.53"],"server_ips":["10.244.0.2"],"resolv_conf":"nameserver 203.0.113.53\n"}
{"q":["kubernetes.default.svc.cluster.local.","A","IN","rd"],"a":{"*":{"rcode":"NOERROR","flags":"aa rd","answer":[["kubernetes.default.svc.cluster.local.",30,"A","10.96.0.1"]],"authority":[],"additional":[]}},"hot":{"1.15.0,1.14.4":{"rcode":"NOERROR","flags":"aa rd","answer":[["kubernetes.default.svc.cluster.local.",29,"A","10.96.0.1"]],"authority":[],"additional":[]}}}
{"q":["kubernetes.default.svc.cluster.local.","SRV","IN","rd do cookie tcp src=10.244.1.9"],"a":{"1.15.0":{"rcode":"NOERROR","flags":"aa rd","answer":[["kubernetes.default.svc.cluster.local.",30,"SRV","0 100 443 kubernetes.default.svc.cluster.local."]],"authority":[],"additional":[["kubernetes.default.svc.cluster.local.",30,"A","10.96.0.1"]],"opt":{"size":1232,"do":true,"options":{}}},"1.14.4,1.8.6":{"rcode":"NOERROR","flags":"aa rd","answer":[["kubernetes.default.svc.cluster.local.",30,"SRV","0 100 443 kubernetes.default.svc.cluster.local."]],"authority":[],"additional":[["kubernetes.default.svc.cluster.local.",30,"A","10.96.0.1"]]}}}
{"q":["nosuch.default.svc.cluster.local.","A","IN","rd edns=512"],"a":{"*":{"rcode":"NXDOMAIN","flags":"aa rd","answer":[],"authority":[["cluster.local.",30,"SOA","ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 30"]],"additional":[]}}}
{"q":["www.example.com.","A","IN","rd"],"a":{"*":{"rcode":"NOERROR","flags":"aa rd","answer":[["www.example.com.",20,"A","192.0.2.10"]],"authority":[],"additional":[]}}}
{"q":["www.example.com.","MX","IN",""],"a":{"*":{"rcode":"NOERROR","flags":"","answer":[],"authority":[],"additional":[]}},"alt":{"1.15.0":[{"rcode":"NOERROR","flags":"aa","answer":[],"authority":[["example.com.",30,"SOA","ns.example.com. hostmaster.example.com. 1 7200 1800 86400 45"]],"additional":[]}]}}
{"edit":[{"type":"DELETED","object":{"kind":"Service","apiVersion":"v1","metadata":{"namespace":"default","name":"kubernetes"}}}],"t_ms":100000}
{"q":["kubernetes.default.svc.cluster.local.","TXT","IN","rd"],"a":{"*":{"rcode":"NOERROR","flags":"aa rd","answer":[],"authority":[["cluster.local.",30,"SOA","ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 30"]],"additional":[]}},"t_ms":100005}
{"corefile":".:53 {\n    kubernetes cluster.local\n    dns64 {\n        allow_ipv4\n    }\n    forward . /etc/resolv.conf\n}\n","not_started":{"1.8.6":"plugin/dns64: unknown property 'allow_ipv4'"}}
{"q":["cluster.local.","NS","IN","rd"],"a":{"*":{"rcode":"NOERROR","flags":"aa rd","answer":[["cluster.local.",5,"NS","ns.dns.cluster.local."]],"authority":[],"additional":[["ns.dns.cluster.local.",5,"A","10.0.0.1"]]}}}
{"q":["www.example.com.","A","IN","rd"],"a":{"*":{"rcode":"NOERROR","flags":"rd","answer":[["www.example.com.",5,"A","192.0.2.1"]],"authority":[],"additional":[]}}}
{"q":["dns-version.cluster.local.","TXT","IN","rd"],"a":{"*":{"rcode":"NOERROR","flags":"aa rd","answer":[["dns-version.cluster.local.",28800,"TXT","\"1.1.0\""]],"authority":[],"additional":[]}}}
"#;

#[test]
fn a_recording_written_by_hand_is_judged_by_its_form() {
    let figures = judged(BY_HAND);
    // Of `alt` and `a` one is right for 1.15.0; the other two versions have none and disagree.
    let wrong: Vec<(usize, &str)> =
        figures.misses.iter().map(|miss| (miss.line, miss.version.as_str())).collect();
    assert_eq!(wrong, [(7, "1.14.4"), (7, "1.8.6")], "{}", figures.text(9));
    assert_eq!(figures.starts.disagree, 0, "{}", figures.text(0));
    assert_eq!(
        figures.versions.iter().map(String::as_str).collect::<Vec<_>>(),
        ["1.14.4", "1.15.0", "1.8.6"]
    );
    // What hangs on absent fields: the server's own addresses, and what an upstream gives; two versions started.
    let open: Vec<(&str, u64)> =
        figures.not_judged.iter().map(|(why, count)| (why.as_str(), *count)).collect();
    assert_eq!(open, [("the server's own addresses", 2), ("upstream_zone is absent", 2)]);
    assert_eq!((figures.clusters, figures.sections, figures.questions), (1, 2, 9));
    assert_eq!((figures.hot, figures.after_edit), (2, 3));
    let json = figures.json();
    for key in [
        "clusters",
        "questions",
        "versions",
        "agree",
        "disagree",
        "unforetellable",
        "not_judged",
        "hot",
        "after_edit",
    ] {
        assert!(json.get(key).is_some(), "{key}");
    }
    assert_eq!(figures.asked_kinds.values().sum::<u64>(), 7, "each question once: {:?}", figures.asked_kinds);
}

/// One cluster with one section, whose upstream serves example.com.
fn small(objects: &[&str], corefile: &str, steps: &[String]) -> Figures {
    let zone = "$TTL 1h\n$ORIGIN example.com.\n@ SOA ns hostmaster 1 2h 30m 1d 45\n@ NS ns\nns A 203.0.113.53\nwww 20 A 192.0.2.10\nv4only 20 A 192.0.2.12\n";
    let head = serde_json::json!({
        "corefile": corefile, "zones": ["cluster.local."], "cached": corefile.contains("cache"),
        "upstream_zone": zone, "upstreams": ["203.0.113.53"], "server_ips": ["10.244.0.2"],
        "resolv_conf": "nameserver 203.0.113.53\n",
    });
    let namespace = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"default"}}"#;
    let objects = [&[namespace], objects].concat().join(",");
    let mut text = format!("{{\"seed\":\"small\",\"objects\":[{objects}]}}\n{head}\n");
    steps.iter().for_each(|step| text.extend([step, "\n"]));
    judged(&text)
}

const SERVICE: &str = r#"{"apiVersion":"v1","kind":"Service","metadata":{"namespace":"default","name":"kubernetes"},"spec":{"type":"ClusterIP","clusterIP":"10.96.0.1","clusterIPs":["10.96.0.1"],"ports":[{"name":"https","port":443,"protocol":"TCP"}]}}"#;

#[test]
fn since_1_15_a_cache_keeps_only_answers_of_the_class_asked_for() {
    let corefile = ".:53 {\n    kubernetes cluster.local in-addr.arpa {\n        ttl 30\n    }\n    header {\n        query clear rd\n    }\n    cache 30\n    forward . /etc/resolv.conf\n}\n";
    let answer = |flags: &str| {
        format!(
            r#"{{"rcode":"NOERROR","flags":"{flags}","answer":[["1.0.96.10.in-addr.arpa.",30,"PTR","kubernetes.default.svc.cluster.local."]],"authority":[],"additional":[]}}"#
        )
    };
    let (missed, held) = (answer("aa"), answer("aa rd"));
    let step = |new: &str, old: &str| {
        format!(
            r#"{{"q":["1.0.96.10.in-addr.arpa.","PTR","CH","rd"],"a":{{"*":{missed}}},"hot":{{"1.15.0":{new},"1.14.4":{old}}},"t_ms":9}}"#
        )
    };
    let right = small(&[SERVICE], corefile, &[step(&missed, &held)]);
    assert_eq!((right.agree, right.disagree), (4, 0), "{}", right.text(5));
    let wrong = small(&[SERVICE], corefile, &[step(&held, &missed)]);
    assert_eq!((wrong.agree, wrong.disagree), (2, 2), "{}", wrong.text(5));
}

#[test]
fn what_autopath_looks_up_keeps_the_letter_case_of_the_question() {
    let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"default","name":"web"},"status":{"podIP":"10.244.1.9","podIPs":[{"ip":"10.244.1.9"}],"phase":"Running"}}"#;
    let corefile = ".:53 {\n    kubernetes cluster.local {\n        pods verified\n    }\n    autopath @kubernetes\n    rewrite cname exact www.example.com v4only.example.com\n    forward . /etc/resolv.conf\n}\n";
    let ask = |name: &str| {
        let long = format!("{name}.default.svc.cluster.local.");
        format!(
            r#"{{"q":["{long}","A","IN","rd src=10.244.1.9"],"a":{{"1.15.0":{{"rcode":"NOERROR","flags":"aa rd","answer":[["{name}.",20,"A","192.0.2.10"],["{long}",20,"CNAME","{name}."]],"authority":[],"additional":[]}}}}}}"#
        )
    };
    let capitals = small(&[SERVICE, pod], corefile, &[ask("WWw.example.com")]);
    assert_eq!((capitals.agree, capitals.disagree), (1, 0), "{}", capitals.text(5));
    // In lower case the rule applies.
    let plain = small(&[SERVICE, pod], corefile, &[ask("www.example.com")]);
    assert_eq!((plain.agree, plain.disagree), (0, 1), "{}", plain.text(5));
}

#[test]
fn what_cannot_be_seen_of_a_cache_stays_in_doubt() {
    let alias = r#"{"apiVersion":"v1","kind":"Service","metadata":{"namespace":"default","name":"ext"},"spec":{"type":"ExternalName","externalName":"www.example.com"}}"#;
    let corefile = ".:53 {\n    kubernetes cluster.local\n    cache 30\n    forward . /etc/resolv.conf\n}\n";
    let www = |ttl: u32, at: u32| {
        format!(
            r#"{{"q":["www.example.com.","A","IN","rd"],"a":{{"1.9.4":{{"rcode":"NOERROR","flags":"aa rd","answer":[["www.example.com.",{ttl},"A","192.0.2.10"]],"authority":[],"additional":[]}}}},"t_ms":{at}}}"#
        )
    };
    let denied = |rcode: &str, name: &str, rtype: &str| {
        format!(
            r#"{{"q":["{name}","{rtype}","IN","rd"],"a":{{"1.9.4":{{"rcode":"{rcode}","flags":"aa rd","answer":[],"authority":[["cluster.local.",5,"SOA","ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5"]],"additional":[]}}}},"t_ms":19000}}"#
        )
    };
    // The entry is almost over: whether the denial of a DS record, for which the alias is looked up, renews it cannot
    // be seen; much later in the same volley it is.
    let steps = |ttl: u32| {
        let edit = r#"{"edit":[],"settle":true,"t_ms":18000,"done_ms":18001}"#.to_owned();
        let mut steps = vec![www(20, 0), edit, denied("NOERROR", "ext.default.svc.cluster.local.", "DS")];
        let others = (0..80).map(|n| denied("NXDOMAIN", &format!("no{n}.default.svc.cluster.local."), "A"));
        steps.extend(others);
        steps.push(www(ttl, 19_100));
        steps
    };
    for (ttl, wrong) in [(1, 0), (20, 0), (9, 1)] {
        let figures = small(&[SERVICE, alias], corefile, &steps(ttl));
        assert_eq!(figures.disagree, wrong, "{ttl}: {}", figures.text(5));
    }
}
