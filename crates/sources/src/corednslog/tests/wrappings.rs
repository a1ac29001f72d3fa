//! Wrappings composed of layers: each gives the same lookup, the time that counts, and the pod where a layer names it.

use serde_json::json;
use truename_model::Observation;

use super::*;

const T: &str = "2026-11-25T03:00:01.000001Z";
const AT: &str = "2026-11-25T03:00:01.000001000Z";

/// A text (one line, or an object over several), its time, its pod, and what its layers are called.
struct Case {
    text: String,
    at: String,
    pod: Option<&'static str>,
    name: &'static str,
}

fn case(text: String, at: &str, pod: Option<&'static str>, name: &'static str) -> Case {
    Case { text, at: at.to_owned(), pod, name }
}

fn syslog_and_journal() -> Vec<Case> {
    let journal = "journald or syslog";
    let point = format!("{AT} Journal");
    let octets: Vec<u8> = format!("\x1b[32m[INFO]\x1b[0m {QUERY}").into_bytes();
    let us = "1795575601000001";
    let export = |message: serde_json::Value| {
        json!({"__CURSOR": "s=1", "__REALTIME_TIMESTAMP": us, "_HOSTNAME": "node-1", "MESSAGE": message,
            "CONTAINER_NAME": "k8s_coredns_coredns-1_kube-system_9c0e_0"})
    };
    let whole = |text| format!("{text} 2026-11-25T03:00:01Z node-1 coredns[7]: [INFO] {QUERY}");
    vec![
        case(format!("<30>1 {T} node-1 coredns 77 - - [INFO] {QUERY}"), &point, None, journal),
        case(
            format!("<30>1 {T} node-1 coredns 77 ID1 [a@1 k=\"x ]\\\" y\"][b] \u{feff}[INFO] {QUERY}"),
            &point,
            None,
            journal,
        ),
        case(format!("1 {T} - - - - - [INFO] {QUERY}"), &point, None, journal),
        case(format!("<30>1 - node-1 coredns 77 - - [INFO] {QUERY}"), "OrderOnly", None, journal),
        case(
            whole("<30>").replacen("<30> ", "<30>", 1),
            "2026-11-25T03:00:01.000000000Z..01.999999999Z Journal",
            None,
            journal,
        ),
        case(
            format!("<30>Nov 25 03:00:01 node-1 coredns[7]: #033[32m[INFO]#033[0m {QUERY}"),
            "OrderOnly",
            None,
            journal,
        ),
        case(export(json!(format!("[INFO] {QUERY}"))).to_string(), &point, Some("coredns-1"), journal),
        case(export(json!(octets)).to_string(), &point, Some("coredns-1"), journal),
        case(format!("{:#}", export(json!(octets))), &point, Some("coredns-1"), journal),
        case(
            format!("<30>1 2026-11-25T03:00:02.5Z node-1 containerd 1 - - {T} stdout F [INFO] {QUERY}"),
            &format!("{AT} ContainerRuntime"),
            None,
            "CRI in journald or syslog",
        ),
    ]
}

fn runtimes() -> Vec<Case> {
    let at = format!("{AT} ContainerRuntime");
    let docker = |line: String| json!({"log": line + "\n", "stream": "stdout", "time": T}).to_string();
    vec![
        case(
            docker(format!("2026-11-25T03:00:00.9Z stdout F [INFO] {QUERY}")),
            &at,
            None,
            "CRI in docker json-file",
        ),
        case(
            format!("{T} stdout F {}", docker(format!("\x1b[32m[INFO]\x1b[0m {QUERY}"))),
            &at,
            None,
            "docker json-file in CRI",
        ),
        case(format!("\x1b[32m[INFO]\x1b[0m {QUERY}"), "OrderOnly", None, "bare"),
        case(format!("{T} stdout F \x1b[1;32m[INFO]\x1b[0m {QUERY}"), &at, None, "CRI"),
    ]
}

fn stern() -> Vec<Case> {
    let at = format!("{AT} ContainerRuntime");
    let pod = Some("coredns-6f-x");
    let line = format!("[INFO] {QUERY}");
    let mode = json!({"time": T, "level": "INFO", "msg": QUERY, "plugin": "log", "client_ip": "10.0.0.7",
        "client_port": 50145, "qname": "www.example.org.", "qtype": "A", "qclass": "IN", "protocol": "udp",
        "id": 10450, "opcode": 0, "request_size": 51, "bufsize": 1232, "rcode": "NXDOMAIN", "response_size": 101,
        "duration_seconds": 0.002747802});
    let own = format!("{AT} LogLine");
    let pretty = |message: &serde_json::Value| {
        format!(
            "{{\n  \"pod\": \"coredns-6f-x\",\n  \"container\": \"coredns\",\n  \"message\": {message}\n}}"
        )
    };
    vec![
        case(format!("coredns-6f-x coredns {line}"), "OrderOnly", pod, "stern"),
        case(format!("kube-system coredns-6f-x coredns {line}"), "OrderOnly", pod, "stern"),
        case(format!("coredns-6f-x coredns {T} {line}"), &at, pod, "kubectl --timestamps in stern"),
        case(format!("\x1b[36mcoredns-6f-x\x1b[0m \x1b[96mcoredns\x1b[0m {line}"), "OrderOnly", pod, "stern"),
        case(format!("{T} {line}"), &at, None, "kubectl --timestamps"),
        case(
            json!({"message": line, "nodeName": "node-1", "namespace": "kube-system", "podName": "coredns-6f-x",
                "containerName": "coredns"})
            .to_string(),
            "OrderOnly",
            pod,
            "stern",
        ),
        case(
            json!({"pod": "coredns-6f-x", "container": "coredns", "message": format!("{T} {line}")}).to_string(),
            &at,
            pod,
            "kubectl --timestamps in stern",
        ),
        case(json!({"pod": "coredns-6f-x", "container": "coredns", "message": mode}).to_string(), &own, pod, "stern"),
        case(
            format!("{{\"pod\": \"\x1b[36mcoredns-6f-x\x1b[0m\", \"container\": \"c\", \"message\": {}}}", json!(line)),
            "OrderOnly",
            pod,
            "stern",
        ),
        case(pretty(&json!(line)), "OrderOnly", pod, "stern"),
        case(pretty(&mode), &own, pod, "stern"),
    ]
}

fn collectors() -> Vec<Case> {
    let name = "log collector's JSON";
    let pod = Some("coredns-6f-x");
    let line = format!("[INFO] {QUERY}");
    let kubernetes = json!({"pod_name": "coredns-6f-x", "namespace_name": "kube-system", "host": "node-1",
        "container_name": "coredns", "labels": {"k8s-app": "kube-dns"}});
    let runtime = format!("{AT} ContainerRuntime");
    let collected = format!("{AT} Journal");
    let double = "2026-11-25T03:00:01.000000524Z..01.000001524Z Journal";
    vec![
        case(json!({"log": line, "stream": "stdout", "logtag": "F", "time": T, "kubernetes": kubernetes}).to_string(), &runtime, pod, name),
        case(json!({"date": 1_795_575_601.000_001f64, "log": line, "kubernetes": kubernetes}).to_string(), double, pod, name),
        case(json!({"date": 1_795_575_601, "log": line, "kubernetes": kubernetes}).to_string(), "2026-11-25T03:00:01.000000000Z..01.999999999Z Journal", pod, name),
        case(json!({"@timestamp": T, "message": line, "kubernetes": kubernetes}).to_string(), &collected, pod, name),
        case(json!({"message": line, "stream": "stdout", "timestamp": T, "kubernetes": kubernetes}).to_string(), &collected, pod, name),
        case(
            json!({"@timestamp": T, "message": line, "log": {"offset": 7, "file": {"path": "x"}},
                "kubernetes": {"pod": {"name": "coredns-6f-x", "uid": "u"}, "node": {"name": "n"}}})
            .to_string(),
            &collected,
            pod,
            name,
        ),
        case(
            json!({"@timestamp": "2026-11-25T03:00:09Z", "log": format!("{T} stdout F {line}\n"), "kubernetes": kubernetes}).to_string(),
            &runtime,
            pod,
            "CRI in log collector's JSON",
        ),
    ]
}

fn decoded(context: DecodeContext, text: &str) -> Vec<Decoded> {
    let (mut decoder, mut out) = (LogDecoder::new(context), Vec::new());
    for (ordinal, line) in text.split('\n').enumerate() {
        decoder.decode(ordinal as u64, line.as_bytes(), &mut out);
    }
    decoder.finish(&mut out);
    out
}

#[test]
fn every_composition_of_layers_gives_the_same_lookup() {
    for Case { text, at, pod, name } in
        [syslog_and_journal(), runtimes(), stern(), collectors()].into_iter().flatten()
    {
        let dialect = detect(text.as_bytes()).unwrap_or_else(|| panic!("not recognised: {text}"));
        let json = if dialect.json { ", JSON" } else { "" };
        assert_eq!(dialect.phrase(), format!("CoreDNS log ({name}{json})"), "{text}");
        let events: Vec<_> = decoded(context(), &text)
            .into_iter()
            .filter_map(|decoded| match decoded {
                Decoded::Observation(seen) if !matches!(seen.event, Event::Ignored(_)) => Some(seen),
                _ => None,
            })
            .collect();
        let [seen] = &events[..] else { panic!("{text}: {events:?}") };
        let Event::Dns(event) = &seen.event else { panic!("{text}: {seen:?}") };
        assert_eq!(at_text(seen.at), at, "{text}");
        let question = event.body.question.as_ref().unwrap();
        assert_eq!((question.name.to_string().as_str(), event.id), ("www.example.org.", 10450), "{text}");
        assert_eq!(event.client, Some(Endpoint { ip: "10.0.0.7".parse().unwrap(), port: 50145 }));
        assert_eq!((event.rcode, event.response_size), (Some(Rcode::NXDOMAIN), Some(101)), "{text}");
        assert_eq!(event.hints.as_ref().and_then(|hints| hints.identity.as_deref()), pod, "{text}");
        // What a finding cites is the line with the message in it.
        let cited = text.split('\n').nth(seen.record.ordinal as usize).unwrap();
        assert!(cited.contains("NXDOMAIN") || cited.contains("\"MESSAGE\""), "{cited}");
    }
}

#[test]
fn layers_are_bounded_and_other_texts_keep_what_they_are() {
    let mut deep = format!("[INFO] {QUERY}");
    for _ in 0..40 {
        deep = json!({"log": deep + "\n", "stream": "stdout", "time": T}).to_string();
        if deep.len() > 1 << 20 {
            break;
        }
    }
    let out = decoded(context(), &deep);
    assert!(!out.iter().any(|decoded| format!("{decoded:?}").contains("Dns(")), "deeper than any wrapping");
    for text in [
        "the quick brown fox",
        "coredns-1 coredns something else",
        "<html><body>",
        "<30>1 2026-11-25T03:00:01Z host",
        "{\"message\": \"hello\", \"kubernetes\": {\"pod_name\": \"web\"}}",
        "{\"message\": 7}",
        "#033[x",
        "\x1b[",
    ] {
        assert_eq!(detect(text.as_bytes()), None, "{text}");
        let out = decoded(context(), text);
        assert!(format!("{out:?}").contains("Undecodable"), "{text}: {out:?}");
    }
}

#[test]
fn parts_of_lines_of_two_pods_are_not_joined_to_each_other() {
    let (head, tail) = QUERY.split_at(30);
    let part = |pod: &str, tag: &str, log: &str| {
        json!({"log": log, "stream": "stdout", "logtag": tag, "time": T, "kubernetes": {"pod_name": pod}})
            .to_string()
    };
    let lines = [
        part("a", "P", &format!("[INFO] {head}")),
        part("b", "P", &format!("[INFO] {}", head.replace("10.0.0.7", "10.0.0.8"))),
        part("b", "F", tail),
        part("a", "F", tail),
        part("c", "P", "no end"),
    ]
    .join("\n");
    let out = decoded(context(), &lines);
    let clients: Vec<_> = out
        .iter()
        .filter_map(|decoded| match decoded {
            Decoded::Observation(Observation { event: Event::Dns(dns), .. }) => Some((
                dns.client.unwrap().ip.to_string(),
                dns.hints.as_ref().unwrap().identity.clone().unwrap(),
            )),
            _ => None,
        })
        .collect();
    assert_eq!(clients, [("10.0.0.8".to_owned(), "b".to_owned()), ("10.0.0.7".to_owned(), "a".to_owned())]);
    assert!(format!("{out:?}").contains("have no end"));
}

#[test]
fn an_object_over_lines_that_does_not_end_is_a_loss() {
    let out = decoded(context(), &format!("{{\n  \"pod\": \"x\",\n[INFO] {QUERY}\n{{\n  \"log\": \"x\""));
    let text = format!("{out:?}");
    assert_eq!(text.matches("2 lines begin a JSON object that has no end").count(), 2, "{text}");
    assert!(text.contains("Dns("), "the line that broke it is read: {text}");
}
