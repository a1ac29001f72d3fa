//! Signals that no recording holds: packets written octet by octet into a capture beside a real recording, and objects
//! of a recording changed as the API server would write them. Enters: a recording and the change; leaves: findings.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};
use truename_model::Nanos;

use truename_testkit::recording::Recording;

use crate::mutations::recording;

const DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const ANY: u16 = 255;
const NSID: u16 = 3;

/// A name in wire form, in the case given.
fn wire(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.') {
        out.push(label.len() as u8);
        out.extend(label.bytes());
    }
    out.push(0);
    out
}

fn be(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// RFC 1035 §4.1: header, question, and what follows.
fn message(id: u16, flags: u16, counts: [u16; 3], name: &str, rtype: u16, rest: &[u8]) -> Vec<u8> {
    let mut out = be(&[id, flags, 1, counts[0], counts[1], counts[2]]);
    out.extend(wire(name));
    out.extend(be(&[rtype, 1]));
    out.extend(rest);
    out
}

/// An OPT record (RFC 6891 §6.1.2) with one empty option, or none.
fn opt(option: Option<u16>) -> Vec<u8> {
    let data = option.map(|code| be(&[code, 0])).unwrap_or_default();
    let mut out = vec![0];
    out.extend(be(&[41, 1_232, 0, 0, data.len() as u16]));
    out.extend(data);
    out
}

/// An A record whose owner is the question's name.
fn a(ttl: u32, address: Ipv4Addr) -> Vec<u8> {
    let mut out = be(&[0xc00c, 1, 1]);
    out.extend(ttl.to_be_bytes());
    out.extend(be(&[4]));
    out.extend(address.octets());
    out
}

/// Ethernet, IPv4 and UDP around a payload.
fn frame(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let mut ip = vec![0x45, 0];
    ip.extend(be(&[28 + payload.len() as u16, 1, 0]));
    ip.extend([64, 17, 0, 0]);
    ip.extend(from.0.octets());
    ip.extend(to.0.octets());
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    ip[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    let mut out = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    out.extend(ip);
    out.extend(be(&[from.1, to.1, 8 + payload.len() as u16, 0]));
    out.extend(payload);
    out
}

/// A capture with nanoseconds: question and answer, a millisecond apart.
fn capture(client: Ipv4Addr, at_ns: i64, question: &[u8], answer: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for number in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        out.extend(number.to_le_bytes());
    }
    let frames = [
        (at_ns, frame((client, 41_234), (DNS, 53), question)),
        (at_ns + 1_000_000, frame((DNS, 53), (client, 41_234), answer)),
    ];
    for (at, frame) in frames {
        let (secs, nanos) = ((at / 1_000_000_000) as u32, (at % 1_000_000_000) as u32);
        for number in [secs, nanos, frame.len() as u32, frame.len() as u32] {
            out.extend(number.to_le_bytes());
        }
        out.extend(frame);
    }
    out
}

/// Rules, severities and subjects that a capture adds to what the recording shows without it.
fn added(make: impl Fn(Ipv4Addr, i64) -> Vec<u8>) -> Vec<(String, String, String)> {
    let recording = recording("on-path");
    let Some((IpAddr::V4(client), at)) = recording.asker("github.com.") else { panic!("an IPv4 recording") };
    added_by(recording, "pcap/pod-extra.pcap", make(client, at))
}

/// The same for any file.
fn added_by(recording: Recording, name: &str, bytes: Vec<u8>) -> Vec<(String, String, String)> {
    let told = |recording: &Recording| {
        let findings = recording.investigate().unwrap().outcome.findings;
        findings
            .into_iter()
            .map(|one| (one.rule, one.severity.word().to_owned(), one.subject))
            .collect::<Vec<_>>()
    };
    let before = told(&recording);
    let after = told(&recording.with_file(name, bytes));
    assert!(before.iter().all(|finding| after.contains(finding)), "{before:?} {after:?}");
    after.into_iter().filter(|finding| !before.contains(finding)).collect()
}

#[test]
fn any_and_nsid_are_fingerprints_and_a_cookie_is_none() {
    let case = |rtype: u16, option: u16| {
        added(|client, at| {
            let question = message(7, 0x0100, [0, 0, 1], "example.com", rtype, &opt(Some(option)));
            let answer = message(7, 0x8180, [0, 0, 1], "example.com", rtype, &opt(None));
            capture(client, at, &question, &answer)
        })
    };
    let both = case(ANY, NSID);
    assert_eq!(both.len(), 1, "{both:?}");
    assert_eq!((both[0].0.as_str(), both[0].1.as_str()), ("R09", "medium"));
    assert!(both[0].2.starts_with("pod tools/cron-"), "{both:?}");
    assert_eq!(case(1, NSID)[0].1, "low");
    assert_eq!(case(1, 10), []);
}

#[test]
fn an_answer_that_loses_the_question_s_case_has_an_odd_shape() {
    let case = |echoed: &str| {
        added(|client, at| {
            let asked = "pAyMents.shop.svC.cluster.local";
            let question = message(9, 0x0100, [0, 0, 0], asked, 1, &[]);
            let answer = message(9, 0x8500, [1, 0, 0], echoed, 1, &a(30, Ipv4Addr::new(10, 96, 50, 50)));
            capture(client, at, &question, &answer)
        })
    };
    let lost = case("payments.shop.svc.cluster.local");
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!((lost[0].0.as_str(), lost[0].1.as_str()), ("H02", "medium"));
    assert_eq!(case("pAyMents.shop.svC.cluster.local"), []);
}

/// The audit event of a change to the Deployment of CoreDNS by bob, in the middle of the recording.
fn deployment_edited(edit: impl Fn(&mut Value)) -> Vec<(String, String, String)> {
    let recording = recording("on-path");
    let at = Nanos(recording.asker("github.com.").unwrap().1).to_string();
    let list: Value = serde_json::from_slice(recording.file("objects/start.json").unwrap()).unwrap();
    let items = list["items"].as_array().unwrap();
    let is_server = |item: &&Value| {
        item["kind"] == "Deployment" && item["metadata"]["name"].as_str().unwrap().starts_with("coredns")
    };
    let mut changed = items.iter().find(is_server).unwrap().clone();
    changed["metadata"]["resourceVersion"] = json!("900000");
    edit(&mut changed);
    let name = changed["metadata"]["name"].clone();
    let event = json!({"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse",
        "auditID": "471bc381-f00e-471f-bf7f-a26ed284b2c8", "stage": "ResponseComplete",
        "requestURI": "/apis/apps/v1/namespaces/kube-system/deployments/coredns", "verb": "patch",
        "user": {"username": "bob@example.com", "groups": ["developers", "system:authenticated"]},
        "sourceIPs": ["10.10.0.1"], "userAgent": "kubectl/v1.36.3",
        "objectRef": {"resource": "deployments", "namespace": "kube-system", "name": name, "apiGroup": "apps", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 200}, "responseObject": changed,
        "requestReceivedTimestamp": at, "stageTimestamp": at});
    added_by(recording, "audit-extra.log", format!("{event}\n").into_bytes())
}

#[test]
fn what_runs_as_the_dns_server_may_not_change_unseen() {
    let helper = json!([{"name": "config-volume",
        "configMap": {"name": "helper", "items": [{"key": "Corefile", "path": "Corefile"}]}}]);
    let volumes = deployment_edited(|one| one["spec"]["template"]["spec"]["volumes"] = helper.clone());
    let expected = [("H05".to_owned(), "critical".to_owned(), "user bob@example.com".to_owned())];
    assert_eq!(volumes, expected);
    let command = json!(["-conf", "/etc/other/Corefile"]);
    let args =
        deployment_edited(|one| one["spec"]["template"]["spec"]["containers"][0]["args"] = command.clone());
    assert_eq!(args, expected);
    assert_eq!(deployment_edited(|one| one["spec"]["replicas"] = json!(3)), []);
    assert_eq!(deployment_edited(|one| one["metadata"]["annotations"] = json!({"note": "x"})), []);
}

#[test]
fn the_service_range_is_the_one_that_the_api_states() {
    let stated = json!({"kind": "List", "apiVersion": "v1", "items": [{"apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR", "metadata": {"name": "kubernetes", "uid": "c1", "resourceVersion": "5"},
        "spec": {"cidrs": ["10.96.0.0/12"]}}]});
    let recording = recording("recon").with_file("objects/ranges.json", stated.to_string().into_bytes());
    let findings = recording.investigate().unwrap().outcome.findings;
    let ranges: Vec<&str> =
        findings.iter().filter(|one| one.rule == "R01").map(|one| one.target.as_str()).collect();
    assert_eq!(ranges, ["10.96.0.0/12", "10.96.0.0/12"]);
}
