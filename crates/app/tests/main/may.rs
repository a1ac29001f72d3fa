//! `truename may` on a dump of objects and on a case.

use std::fs;
use std::process::Output;

use crate::support::{investigate, text, truename};

/// What `kubectl get namespaces,pods,services,endpointslices,networkpolicies -A -o json` gives of a small shop: `db` lets
/// `api` in, on the port that it calls `pg`.
fn dump() -> serde_json::Value {
    let pod = |name: &str, ip: &str| {
        serde_json::json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "7", "labels": {"app": name}},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"name": "pg", "containerPort": 5432}]}]},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}})
    };
    let meta = |name: &str| serde_json::json!({"name": name, "namespace": "shop", "uid": name, "resourceVersion": "9"});
    let mut slice = meta("db-x");
    slice["labels"] = serde_json::json!({"kubernetes.io/service-name": "db"});
    serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "uid": "ns", "resourceVersion": "1"}},
        pod("web", "10.1.0.1"), pod("api", "10.1.0.2"), pod("db", "10.1.0.3"),
        {"apiVersion": "v1", "kind": "Service", "metadata": meta("db"), "spec": {"clusterIP": "10.96.0.20",
            "clusterIPs": ["10.96.0.20"], "ports": [{"name": "pg", "port": 5432, "protocol": "TCP"}]}},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": slice, "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.1.0.3"], "conditions": {"ready": true},
                "targetRef": {"kind": "Pod", "namespace": "shop", "name": "db"}}],
            "ports": [{"name": "pg", "port": 5432, "protocol": "TCP"}]},
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta("guard"), "spec": {
            "podSelector": {"matchLabels": {"app": "db"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "api"}}}], "ports": [{"port": "pg"}]}]}}]})
}

fn decision(output: &Output) -> (String, serde_json::Value) {
    let answer: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(output)));
    (answer["decision"].as_str().unwrap().to_owned(), answer)
}

#[test]
fn a_dump_is_asked_for_what_it_shows() {
    let work = tempfile::tempdir().unwrap();
    fs::write(work.path().join("dump.json"), dump().to_string()).unwrap();
    let may = |pod: &str, target: &str, more: &[&str]| {
        let words = ["may", "dump.json", pod, target, "-o", "json"];
        truename(work.path()).args(words).args(more).output().unwrap()
    };
    let (denied, answer) = decision(&may("shop/web", "db.shop.svc.cluster.local", &[]));
    assert_eq!(denied, "denied", "{answer:#}");
    let reason = &answer["connections"][0]["reasons"][0];
    assert_eq!((&reason["policy"]["name"], &reason["direction"]), (&"guard".into(), &"ingress".into()));
    assert!(answer["objects"].as_array().unwrap().iter().any(|object| object["kind"] == "EndpointSlice"));
    for (pod, target, more, expected) in [
        ("api", "db", &[][..], "allowed"),
        ("api", "10.96.0.20", &["--port", "5432"], "allowed"),
        ("web", "pod/shop/db", &["--port", "5432/tcp"], "denied"),
        ("api", "pod/shop/db", &["--port", "5433"], "denied"),
        ("db", "pod/shop/web", &["--port", "80"], "allowed"),
        // Nothing shows when these objects held.
        ("api", "db", &["--at", "2026-11-01T00:00:00Z"], "unknown"),
    ] {
        let (found, answer) = decision(&may(pod, target, more));
        assert_eq!(found, expected, "{pod} {target} {more:?} {answer:#}");
    }
    for (pod, target, more) in [
        ("nobody", "db", &[][..]),
        ("web", "www.example.org.", &[]),
        ("web", "192.0.2.1", &[]),
        ("web", "db", &["--at", "noon"]),
    ] {
        let output = may(pod, target, more);
        assert_eq!(output.status.code(), Some(2), "{pod} {target} {}", text(&output));
    }
    assert_eq!(fs::read_dir(work.path()).unwrap().count(), 1, "nothing is left behind");
}

#[test]
fn a_case_and_its_dump_give_the_same_answer() {
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("dump.json");
    fs::write(&path, dump().to_string()).unwrap();
    let taken = investigate(work.path(), &[&path], &[]);
    assert!(taken.status.success(), "{}", text(&taken));
    let ask = |of: &str| truename(work.path()).args(["may", of, "shop/web", "shop/db"]).output().unwrap();
    let (case, dump) = (ask("case"), ask("dump.json"));
    assert_eq!(String::from_utf8_lossy(&case.stdout), String::from_utf8_lossy(&dump.stdout));
    assert!(
        text(&case).starts_with("denied   shop/web → service shop/db as last seen in the evidence\n"),
        "{}",
        text(&case)
    );
}
