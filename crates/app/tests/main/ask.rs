//! `truename ask` on a dump of objects and on a case.

use std::fs;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::{investigate, text, truename};

const COREFILE: &str = ".:53 {
    kubernetes cluster.local in-addr.arpa {
        pods verified
        ttl 30
    }
    hosts {
        192.0.2.66 pay.shop.example
        fallthrough
    }
    rewrite name exact old.shop.example db.shop.svc.cluster.local
    forward . /etc/resolv.conf
    cache 30
}
";

/// What `kubectl get -o json` gives of a small shop with its DNS server; `corefile`: the ConfigMap as well.
fn dump(corefile: bool) -> Value {
    let meta = |namespace: &str, name: &str| json!({"name": name, "namespace": namespace, "uid": name, "resourceVersion": "9"});
    let pod = |namespace: &str, name: &str, ip: &str, image: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta(namespace, name),
            "spec": {"nodeName": "n1", "dnsPolicy": "ClusterFirst", "containers": [{"name": "c", "image": image}]},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}})
    };
    let service = |name: &str, spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": meta("shop", name), "spec": spec});
    let mut slice = meta("shop", "db-x");
    slice["labels"] = json!({"kubernetes.io/service-name": "db"});
    let mut items = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "uid": "ns", "resourceVersion": "1"}}),
        pod("shop", "web", "10.1.0.1", "web:1"),
        pod("kube-system", "coredns-a", "10.1.0.9", "registry.example/coredns/coredns:v1.14.4"),
        service(
            "db",
            json!({"clusterIP": "10.96.0.20", "clusterIPs": ["10.96.0.20"], "ports": [{"name": "pg", "port": 5432, "protocol": "TCP"}]}),
        ),
        service("out", json!({"type": "ExternalName", "externalName": "db.example.org"})),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": slice, "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.1.0.3"], "conditions": {"ready": true}}],
            "ports": [{"name": "pg", "port": 5432, "protocol": "TCP"}]}),
    ];
    if corefile {
        items.push(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("kube-system", "coredns"),
            "data": {"Corefile": COREFILE}}),
        );
    }
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

fn answers(output: &Output) -> (Vec<Value>, Value) {
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(output)));
    (told["answers"].as_array().unwrap().clone(), told)
}

/// Return code, data of the answer section, what lies beyond.
fn shape(answer: &Value) -> (String, Vec<String>, String) {
    let data = answer["answer"].as_array().unwrap().iter();
    (
        answer["rcode"].as_str().unwrap_or_default().to_owned(),
        data.map(|record| record["data"].as_str().unwrap().to_owned()).collect(),
        answer["beyond"].as_str().unwrap_or_default().to_owned(),
    )
}

#[test]
fn a_dump_tells_what_would_be_true_and_why() {
    let work = tempfile::tempdir().unwrap();
    fs::write(work.path().join("dump.json"), dump(true).to_string()).unwrap();
    let ask = |name: &str, rtype: &str| {
        let words = ["ask", "dump.json", name, rtype, "--as", "shop/web", "-o", "json"];
        let (answers, told) = answers(&truename(work.path()).args(words).output().unwrap());
        assert_eq!(answers.len(), 1, "{told:#}");
        assert_eq!(answers[0]["holds"], "true", "{told:#}");
        answers[0].clone()
    };
    let upstream =
        "unverifiable: what the servers of CoreDNS's own /etc/resolv.conf answer to www.example.org. A";
    for (name, rtype, rcode, data, beyond, line) in [
        ("db.shop.svc.cluster.local", "A", "NOERROR", &["10.96.0.20"][..], "", 2),
        ("DB.shop.svc.cluster.local.", "aaaa", "NOERROR", &[], "", 2),
        ("nosuch.shop.svc.cluster.local", "A", "NXDOMAIN", &[], "", 2),
        ("20.0.96.10.in-addr.arpa", "PTR", "NOERROR", &["db.shop.svc.cluster.local."], "", 2),
        ("pay.shop.example", "A", "NOERROR", &["192.0.2.66"], "", 7),
        ("old.shop.example", "A", "NOERROR", &["10.96.0.20"], "", 10),
        ("www.example.org", "A", "", &[], upstream, 11),
        (
            "out.shop.svc.cluster.local",
            "A",
            "NOERROR",
            &["db.example.org."],
            "followed by what the lookup of db.example.org. gives",
            11,
        ),
    ] {
        let answer = ask(name, rtype);
        let data: Vec<String> = data.iter().map(|one| (*one).to_owned()).collect();
        assert_eq!(shape(&answer), (rcode.to_owned(), data, beyond.to_owned()), "{name} {answer:#}");
        let lines = answer["lines"].as_array().unwrap();
        assert!(lines.iter().any(|of| of["line"] == line), "{name} {answer:#}");
    }
    let objects = ask("db.shop.svc.cluster.local", "A")["objects"].clone();
    assert!(objects.as_array().unwrap().iter().any(|of| of["kind"] == "Service" && of["name"] == "db"));
    for words in [
        ["ask", "dump.json", "a..b", "A", "--as", "shop/web"],
        ["ask", "dump.json", "a.b", "B", "--as", "shop/web"],
        ["ask", "dump.json", "a.b", "A", "--as", "shop/nobody"],
    ] {
        let output = truename(work.path()).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?} {}", text(&output));
    }
    // Nothing shows what was before the dump.
    let then =
        ["ask", "dump.json", "db.shop.svc.cluster.local", "A", "--as", "web", "--at", "2026-11-01T00:00:00Z"];
    let output = truename(work.path()).args(then).output().unwrap();
    assert!(!text(&output).contains("\ntrue "), "{}", text(&output));
    assert_eq!(fs::read_dir(work.path()).unwrap().count(), 1, "nothing is left behind");
}

#[test]
fn what_is_assumed_is_said() {
    let work = tempfile::tempdir().unwrap();
    fs::write(work.path().join("dump.json"), dump(false).to_string()).unwrap();
    let words = ["ask", "dump.json", "db.shop.svc.cluster.local", "A", "--as", "web", "-o", "json"];
    let (answers, told) = answers(&truename(work.path()).args(words).output().unwrap());
    assert_eq!(shape(&answers[0]).1, ["10.96.0.20"], "{told:#}");
    assert!(told["open"][0].as_str().unwrap().starts_with("no Corefile in the evidence"), "{told:#}");
    assert_eq!(answers[0]["lines"].as_array().unwrap().len(), 0, "{told:#}");
}

const TOLD: &str = "db.shop.svc.cluster.local. A asked by shop/web (10.1.0.1) as last seen in the evidence
true     NOERROR aa rd
    db.shop.svc.cluster.local. 30 A 10.96.0.20
  by kube-system/coredns-a (CoreDNS 1.14.4)
  from Namespace shop version 1
  from Service shop/db version 9
  through ConfigMap kube-system/coredns line 2: kubernetes cluster.local in-addr.arpa {
  through ConfigMap kube-system/coredns line 12: cache 30
";

#[test]
fn a_case_and_its_dump_give_the_same_answer() {
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("dump.json");
    fs::write(&path, dump(true).to_string()).unwrap();
    let taken = investigate(work.path(), &[&path], &[]);
    assert!(taken.status.success(), "{}", text(&taken));
    let ask = |of: &str| {
        let words = ["ask", of, "db.shop.svc.cluster.local", "A", "--as", "shop/web"];
        let output = truename(work.path()).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(ask("case"), ask("dump.json"));
    assert_eq!(ask("case"), TOLD);
}
