//! Unit tests of the log decoder: one line per dialect, and what must never happen.

use super::*;
use truename_model::{OriginId, Rtype};

mod wrappings;

fn context() -> DecodeContext {
    DecodeContext::new(3, OriginId(0))
}

fn decode_with(context: DecodeContext, lines: &[&str]) -> Vec<(ObservedAt, Event)> {
    let mut decoder = LogDecoder::new(context);
    let mut out = Vec::new();
    for (ordinal, line) in lines.iter().enumerate() {
        let before = out.len();
        decoder.decode(ordinal as u64, line.as_bytes(), &mut out);
        assert!(out.len() > before, "a record gives at least one value");
    }
    decoder.finish(&mut out);
    let observation = |decoded| match decoded {
        Decoded::Observation(observation) => (observation.at, observation.event),
        Decoded::Change(_) => panic!("a log holds no objects"),
    };
    out.into_iter().map(observation).collect()
}

fn decode(lines: &[&str]) -> Vec<(ObservedAt, Event)> {
    decode_with(context(), lines)
}

fn one(line: &str) -> (ObservedAt, DnsEvent) {
    let mut events = decode(&[line]);
    assert_eq!(events.len(), 1, "{events:?}");
    match events.remove(0) {
        (at, Event::Dns(event)) => (at, event),
        (_, other) => panic!("{line}: {other:?}"),
    }
}

fn diagnostic(line: &str) -> Diagnostic {
    match decode(&[line]).remove(0) {
        (_, Event::Diagnostic(diagnostic)) => diagnostic,
        (_, other) => panic!("{line}: {other:?}"),
    }
}

const QUERY: &str =
    "10.0.0.7:50145 - 10450 \"A IN www.example.org. udp 51 false 1232\" NXDOMAIN qr,rd,ra 101 0.002747802s";

fn at_text(at: ObservedAt) -> String {
    match at {
        ObservedAt::Known(interval, basis) if interval.lo == interval.hi => {
            format!("{} {basis:?}", interval.lo)
        }
        ObservedAt::Known(interval, basis) => {
            let (lo, hi) = (interval.lo.to_string(), interval.hi.to_string());
            format!("{lo}..{} {basis:?}", &hi[17..])
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn every_wrapping_gives_the_same_lookup() {
    let escaped = QUERY.replace('"', "\\\"");
    let cases = [
        (format!("[INFO] {QUERY}\n"), "OrderOnly"),
        (QUERY.to_owned(), "OrderOnly"),
        (format!("node-cache [INFO] {QUERY}"), "OrderOnly"),
        (
            format!("2026-11-22T03:55:59.901294713Z stdout F [INFO] {QUERY}\n"),
            "2026-11-22T03:55:59.901294713Z ContainerRuntime",
        ),
        (
            format!("2026-11-22T03:55:59.901294713Z [INFO] {QUERY}\r\n"),
            "2026-11-22T03:55:59.901294713Z ContainerRuntime",
        ),
        (format!("2019-07-19T08:24:57.565Z [INFO] {QUERY}"), "2019-07-19T08:24:57.565000000Z LogLine"),
        (
            format!("[pod/coredns-1/coredns] 2026-11-22T03:55:59.5Z [INFO] {QUERY}"),
            "2026-11-22T03:55:59.500000000Z ContainerRuntime",
        ),
        (format!("[pod/coredns-1/coredns] [INFO] {QUERY}"), "OrderOnly"),
        (
            format!(
                "{{\"log\":\"[INFO] {escaped}\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-22T03:55:59.9Z\"}}\n"
            ),
            "2026-11-22T03:55:59.900000000Z ContainerRuntime",
        ),
        (
            format!("{{\"__REALTIME_TIMESTAMP\":\"1763783759900000\",\"MESSAGE\":\"[INFO] {escaped}\"}}"),
            "2025-11-22T03:55:59.900000000Z Journal",
        ),
        (
            format!("2026-11-22T03:55:59+0000 node-1 coredns[12]: [INFO] {QUERY}"),
            "2026-11-22T03:55:59.000000000Z..59.999999999Z Journal",
        ),
        (format!("Nov 22 03:55:59 node-1 coredns[12]: [INFO] {QUERY}"), "OrderOnly"),
    ];
    for (line, want) in &cases {
        let (at, event) = one(line);
        assert_eq!(at_text(at), *want, "{line}");
        let question = event.body.question.as_ref().unwrap();
        assert_eq!((question.name.to_string().as_str(), question.rtype), ("www.example.org.", Rtype::A));
        assert_eq!(event.client, Some(Endpoint { ip: "10.0.0.7".parse().unwrap(), port: 50145 }));
        assert_eq!((event.id, event.rcode, event.flags.0), (10450, Some(Rcode::NXDOMAIN), 0x8183));
        assert_eq!((event.duration_ns, event.size, event.response_size), (Some(2_747_802), 51, Some(101)));
        let point = at.interval().filter(|interval| interval.lo == interval.hi);
        assert_eq!(event.query_time, point.map(|interval| interval.lo.plus(-2_747_802)));
        let pod = event.hints.as_ref().and_then(|hints| hints.identity.clone());
        assert_eq!(pod.is_some(), line.starts_with("[pod/"));
    }
}

#[test]
fn given_year_and_zone_make_yearless_times_known() {
    let context = DecodeContext { zone_secs: Some(3_600), year: Some(2026), ..context() };
    let line = format!("Nov 22 03:55:59 node-1 coredns[12]: [INFO] {QUERY}");
    let klog = "E0602 12:34:56.789012       1 reflector.go:127] pkg/x: failed to list *v1.Service";
    let out = decode_with(context, &[&line, klog]);
    assert_eq!(at_text(out[0].0), "2026-11-22T02:55:59.000000000Z..59.999999999Z Journal");
    assert_eq!(at_text(out[1].0), "2026-06-02T11:34:56.789012000Z LogLine");
    assert!(matches!(&out[1].1, Event::Diagnostic(Diagnostic::Other(text)) if text.starts_with("pkg/x")));
}

#[test]
fn the_json_mode_is_read() {
    let line = r#"{"time":"2026-11-22T03:55:59.901294713Z","level":"INFO","msg":"127.0.0.1:50145 - 10450 \"A IN we\\\"ird\\ n.example. udp 51 false 1232\" NXDOMAIN qr,rd,ra 101 0.002747802s","plugin":"log","client_ip":"127.0.0.1","client_port":50145,"qname":"we\\\"ird\\ n.example.","qtype":"A","qclass":"IN","protocol":"udp","id":10450,"opcode":0,"request_size":51,"dnssec_ok":false,"bufsize":1232,"rcode":"NXDOMAIN","response_size":101,"duration_seconds":0.002753953,"new_key":[1]}"#;
    let (at, event) = one(line);
    assert_eq!(at_text(at), "2026-11-22T03:55:59.901294713Z LogLine");
    assert_eq!(event.body.question.as_ref().unwrap().name.to_string(), "we\\\"ird\\ n.example.");
    assert_eq!(
        (event.flags.0, event.rcode, event.duration_ns),
        (0x8183, Some(Rcode::NXDOMAIN), Some(2_753_953))
    );
    let (_, dropped) = one(&line.replace("\"rcode\":\"NXDOMAIN\"", "\"rcode\":null"));
    assert_eq!(dropped.rcode, None);
    assert_eq!(
        diagnostic(r#"{"time":"x","level":"INFO","msg":"CoreDNS-1.15.0\nlinux/amd64, go1.26.8, "}"#),
        Diagnostic::Version("1.15.0".into())
    );
    let error =
        r#"{"level":"ERROR","msg":"2 drop.example. A: read udp A:p->B:p: i/o timeout","plugin":"errors"}"#;
    assert!(matches!(diagnostic(error), Diagnostic::QueryError { rcode: 2, .. }));
    let unsynced =
        r#"{"level":"WARN","msg":"starting server with unsynced Kubernetes API","plugin":"kubernetes"}"#;
    assert_eq!(diagnostic(unsynced), Diagnostic::UnsyncedApi);
}

#[test]
fn diagnostics_are_told_apart() {
    assert_eq!(diagnostic("CoreDNS-1.11.1"), Diagnostic::Version("1.11.1".into()));
    assert!(matches!(diagnostic("linux/amd64, go1.20.7, ae2bbc2"), Diagnostic::Other(_)));
    assert!(matches!(diagnostic(".:53"), Diagnostic::Other(_)));
    let running = "[INFO] plugin/reload: Running configuration SHA512 = 485f62";
    let want = Diagnostic::RunningConfiguration { algorithm: "SHA512".into(), digest: "485f62".into() };
    assert_eq!(diagnostic(running), want);
    assert_eq!(diagnostic("[INFO] Reloading complete"), Diagnostic::Reload { succeeded: true });
    for failed in [
        "[ERROR] Restart failed: plugin/x: bad",
        "[ERROR] plugin/reload: Corefile changed but reload failed: x",
        "[ERROR] Corefile changed but reload failed",
    ] {
        assert_eq!(diagnostic(failed), Diagnostic::Reload { succeeded: false });
    }
    assert_eq!(
        diagnostic("[WARNING] plugin/dnstap: Dropped dnstap messages: 12"),
        Diagnostic::DnstapDropped(12)
    );
    let none = "[ERROR] plugin/dnstap: No connection to dnstap endpoint: dial tcp";
    assert_eq!(diagnostic(none), Diagnostic::DnstapNoConnection);
    let unsynced = "[WARNING] plugin/kubernetes: starting server with unsynced Kubernetes API";
    assert_eq!(diagnostic(unsynced), Diagnostic::UnsyncedApi);
    let transfer =
        "[INFO] plugin/transfer: Outgoing transfer of 5 records of zone example.org. to 10.0.0.1 done";
    assert_eq!(
        diagnostic(transfer),
        Diagnostic::OutgoingTransfer { records: 5, zone: "example.org.".into() }
    );
    for error in [
        "[ERROR] plugin/errors: 2 a\\ b.org. A: read udp 10.0.0.1:53->8.8.8.8:53: i/o timeout",
        "29/Nov/2017:23:16:11 +0000 [ERROR 2 a\\ b.org. A] read udp 10.0.0.1:53->8.8.8.8:53: i/o timeout",
        "2018/09/21 00:09:46 [ERROR] 2 a\\ b.org. A: read udp 10.0.0.1:53->8.8.8.8:53: i/o timeout",
    ] {
        let Diagnostic::QueryError { rcode, name, rtype, message } = diagnostic(error) else {
            panic!("{error}")
        };
        assert_eq!((rcode, name.as_str(), rtype.as_str()), (2, "a\\ b.org.", "A"));
        assert!(message.starts_with("read udp"));
    }
}

#[test]
fn partial_lines_are_joined_per_stream() {
    let (head, tail) = QUERY.split_at(40);
    let time = "2026-11-22T03:55:59.901294713Z";
    let lines = [
        format!("{time} stdout P [INFO] {head}"),
        format!("{time} stderr F [ERROR] plugin/errors: x"),
        format!("{time} stdout F {tail}"),
        format!("{time} stdout P [INFO] no end"),
    ];
    let out = decode(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(matches!(out[0].1, Event::Ignored("partial line, goes on")));
    assert!(matches!(out[1].1, Event::Diagnostic(_)));
    assert!(matches!(&out[2].1, Event::Dns(event) if event.id == 10450));
    assert!(matches!(out[3].1, Event::Ignored(_)));
    assert!(matches!(&out[4].1, Event::Loss(loss) if loss.cause == "partial-line"));
}

#[test]
fn cut_and_foreign_lines_invent_nothing() {
    let out = decode(&[
        "[INFO] 10.244.1.9:47251 - 12346 \"A IN api.shop.svc.cluster.local. udp 55 false 512\" NOERROR",
    ]);
    assert!(
        matches!(&out[0].1, Event::Dns(event) if event.response_size.is_none() && event.rcode == Some(Rcode::NOERROR))
    );
    assert!(matches!(&out[1].1, Event::Loss(loss) if loss.cause == "line-cut"));
    let masked = one(
        "[INFO] x.x.x.x:56799 - 51264 \"A IN example.com. udp 52 false 512\" NXDOMAIN qr,rd,ra 52 0.001029851s",
    );
    assert_eq!(masked.1.client, None);
    let out = decode(&["", "random text", "I0602 no klog", "{\"a\":1}"]);
    assert!(matches!(out[0].1, Event::Ignored("blank line")));
    assert!(out[1..].iter().all(|(_, event)| matches!(event, Event::Undecodable { .. })), "{out:?}");
}

#[test]
fn custom_formats_of_the_case_are_used() {
    let formats = [
        "{remote}:{port} {type} {class} {name} {rcode}",
        "{common} {local} {/forward/upstream} {/kubernetes/client-pod-name}",
    ];
    let context = DecodeContext {
        log_formats: formats.iter().map(|format| LogFormat::compile(format).unwrap()).collect(),
        ..context()
    };
    let tail = format!("[INFO] {QUERY} 10.96.0.10 - web-1");
    let out = decode_with(context, &["[INFO] 10.233.71.0:58322 AAAA IN localhost.test. -", &tail]);
    let Event::Dns(short) = &out[0].1 else { panic!("{out:?}") };
    assert_eq!((short.rcode, short.client.unwrap().port), (None, 58322));
    let Event::Dns(long) = &out[1].1 else { panic!("{out:?}") };
    let hints = long.hints.as_ref().unwrap();
    assert_eq!((hints.local.as_deref(), hints.upstream.as_deref()), (Some("10.96.0.10"), Some("-")));
    assert_eq!(hints.client_pod.as_deref(), Some("web-1"));
}

#[test]
fn equal_questions_share_a_body() {
    let out = decode(&[QUERY, QUERY]);
    let (Event::Dns(a), Event::Dns(b)) = (&out[0].1, &out[1].1) else { panic!("{out:?}") };
    assert!(Arc::ptr_eq(&a.body, &b.body));
    assert!(!a.body.sections_seen);
}

#[test]
fn detection_needs_a_line_that_coredns_writes() {
    let cri = format!("2026-11-22T03:55:59.9Z stdout F [INFO] {QUERY}\n");
    assert_eq!(detect(cri.as_bytes()).unwrap().phrase(), "CoreDNS log (CRI)");
    let json = r#"{"time":"x","level":"INFO","msg":"x","plugin":"log","qname":"a."}"#;
    assert_eq!(detect(json.as_bytes()).unwrap().phrase(), "CoreDNS log (bare, JSON)");
    assert_eq!(
        detect(b"[INFO] 10.233.71.0:58322 AAAA IN localhost.test.svc. - -\n"),
        Some(Dialect::default())
    );
    assert_eq!(detect(b"[INFO] Server started.\n[INFO] done\n"), None);
    assert_eq!(detect(b"{\"kind\":\"List\"}"), None);
    assert_eq!(detect(b""), None);
}

#[test]
fn every_prefix_and_every_flipped_octet_of_every_dialect_is_survived() {
    let escaped = QUERY.replace('"', "\\\"");
    for line in [
        format!("2026-11-22T03:55:59.901294713Z stdout F [INFO] {QUERY}"),
        format!(
            "[pod/a/b] {{\"log\":\"[INFO] {escaped}\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-22T03:55:59.9Z\"}}"
        ),
        format!("Nov 22 03:55:59 node-1 coredns[12]: E0602 12:34:56.789012  1 a.go:1] {QUERY}"),
        format!("[2024-09-05 16:00:01] [INFO] {QUERY}"),
    ] {
        let bytes = line.as_bytes();
        let mut decoder =
            LogDecoder::new(DecodeContext { zone_secs: Some(0), year: Some(2026), ..context() });
        let mut out = Vec::new();
        for index in 0..bytes.len() {
            decoder.decode(0, &bytes[..index], &mut out);
            for octet in [0u8, b' ', b'\\', b'"', b':', 0xff] {
                let mut flipped = bytes.to_vec();
                flipped[index] = octet;
                decoder.decode(0, &flipped, &mut out);
            }
            out.clear();
        }
    }
}

/// What a table remembers changes cost, never what a line says: any order of names and types, a table of two names.
#[test]
fn a_full_table_of_names_forgets_and_counts_and_changes_nothing() {
    let mut small = LogDecoder::new(DecodeContext { names_max: 2, ..DecodeContext::new(0, OriginId(0)) });
    let (names, types) =
        (["a.", "B.example.", "c\\.d.", "a.b.", "a..b."], ["A", "AAAA", "SRV", "TYPE65280", "!"]);
    for n in 0..500u64 {
        let (name, rtype) = (names[(n * 7 % 11 % 5) as usize], types[(n * 5 % 13 % 5) as usize]);
        let line = format!(
            "[INFO] 10.0.0.9:4000 - {n} \"{rtype} IN {name} udp 40 false 512\" NOERROR qr 60 0.0001s"
        );
        let (mut got, mut want) = (Vec::new(), Vec::new());
        small.decode(n, line.as_bytes(), &mut got);
        LogDecoder::new(DecodeContext::new(0, OriginId(0))).decode(n, line.as_bytes(), &mut want);
        assert_eq!(format!("{got:?}"), format!("{want:?}"), "{line}");
    }
    let caches = small.caches().caches;
    assert!(
        caches.iter().any(|cache| cache.name == "log-names" && cache.entries <= 2 && cache.evictions > 50)
    );
}

#[test]
fn a_lookup_in_a_format_of_its_own_is_told_from_a_line_about_the_server() {
    let read = |line: &str| {
        let mut out = Vec::new();
        LogDecoder::new(DecodeContext::new(0, OriginId(0))).decode(0, line.as_bytes(), &mut out);
        format!("{out:?}").contains(NO_FORMAT)
    };
    for line in [
        "[INFO] who=10.244.0.9 asked=b.example. got=NOERROR",
        "[INFO] client=fd00::9 port=4001 q=h1.example. t=A rc=NOERROR",
        "[INFO] h1.example.",
        "[INFO] PTR 9.0.244.10.in-addr.arpa.",
        "I1125 03:00:01.000001       1 log.go:9] 10.244.0.9:4001 NXDOMAIN",
    ] {
        assert!(read(line), "{line}");
    }
    for line in [
        "[INFO] Reloading complete",
        "[INFO] plugin/reload: Running configuration SHA512 = 5b9c",
        "[INFO] plugin/kubernetes: waiting for 10.96.0.1 before serving cluster.local.",
        "[ERROR] plugin/errors: 2 a.example. A: read udp 10.0.0.1:1->8.8.8.8:53: i/o timeout",
        "[WARNING] No files matching import glob pattern: custom/*.override",
        "[INFO] SIGTERM: Shutting down servers then terminating",
        "[INFO] 127.0.0.1:38461 - 38661 \"HINFO IN 6.example. udp 57 false 512\" NXDOMAIN qr,rd,ra 132 0.01s",
    ] {
        assert!(!read(line), "{line}");
    }
}
