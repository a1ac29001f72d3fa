//! Every format is told by its bytes alone; what is none of them is named by what it looks like.

use super::*;

fn format_of(head: &[u8]) -> Format {
    match recognise(head) {
        Recognised::Format(format) => format,
        Recognised::Container(container) => panic!("taken for {container:?}"),
    }
}

fn unknown(head: &[u8]) -> &'static str {
    match format_of(head) {
        Format::Unknown(what) => what,
        other => panic!("taken for {other}"),
    }
}

#[test]
fn containers_are_told_by_their_magic() {
    let mut tar = vec![0u8; 512];
    tar[257..262].copy_from_slice(b"ustar");
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9][..], &[0x28, 0xb5, 0x2f, 0xfd]].concat();
    for (head, container) in [
        (&[0x1f, 0x8b, 8, 0][..], Container::Gzip),
        (&[0x28, 0xb5, 0x2f, 0xfd], Container::Zstd),
        (&skippable, Container::Zstd),
        (b"\xfd7zXZ\0", Container::Xz),
        (&tar, Container::Tar),
    ] {
        assert_eq!(recognise(head), Recognised::Container(container));
    }
}

#[test]
fn captures_and_frame_streams_are_told_by_their_magic() {
    for magic in [0xa1b2_c3d4u32, 0xa1b2_3c4d, 0xa1b2_cd34] {
        assert_eq!(format_of(&magic.to_be_bytes()), Format::Pcap);
        assert_eq!(format_of(&magic.to_le_bytes()), Format::Pcap);
    }
    assert_eq!(format_of(b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a"), Format::PcapNg);
    assert_eq!(format_of(b"\x0a\x0d\x0d\x0a\0\0\0\x1c\x1a\x2b\x3c\x4d"), Format::PcapNg);
    let start = |content: &[u8]| {
        let mut frame = vec![0, 0, 0, 0];
        let fields = if content.is_empty() { 0 } else { 8 + content.len() };
        frame.extend((4 + fields as u32).to_be_bytes());
        frame.extend(2u32.to_be_bytes());
        if !content.is_empty() {
            frame.extend(1u32.to_be_bytes());
            frame.extend((content.len() as u32).to_be_bytes());
            frame.extend(content);
        }
        frame
    };
    assert_eq!(format_of(&start(b"protobuf:dnstap.Dnstap")), Format::Dnstap);
    assert_eq!(format_of(&start(b"")), Format::Dnstap);
    assert_eq!(unknown(&start(b"test:hello")), "a frame stream of another content type than dnstap");
}

#[test]
fn kubernetes_json_is_told_apart() {
    let objects = Format::KubeObjects(Syntax::Json);
    for (text, want) in [
        (r#"{"apiVersion":"v1","items":[{"apiVersion":"v1","kind":"Pod"}],"kind":"List"}"#, &objects),
        (r#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[{"metadata":{"name":"a"#, &objects),
        (r#"{"apiVersion":"v1","items":[{"apiVersion":"v1","kind":"Pod","metadata":{"#, &objects),
        (r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}"#, &objects),
        (r#"[{"apiVersion":"v1","kind":"Service"}]"#, &objects),
        (r#"{"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1"}}"#, &Format::KubeWatch),
        (
            r#"{"received":"2026-01-01T00:00:00Z","event":{"type":"BOOKMARK","object":{}}}"#,
            &Format::KubeWatch,
        ),
        (
            r#"{"received":"2026-01-01T00:00:00Z","type":"DELETED","object":{"kind":"Pod"}}"#,
            &Format::KubeWatch,
        ),
        (r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata"}"#, &Format::Audit),
        (r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{"auditID":"x"}]}"#, &Format::Audit),
    ] {
        for lead in ["", "\u{feff}", "\r\n\n  "] {
            assert_eq!(&format_of(format!("{lead}{text}\r\n").as_bytes()), want, "{text}");
        }
    }
    // A rotated file begins in the middle of an event.
    let torn = "{\"a\":\"b\n{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\"}\n";
    assert_eq!(format_of(torn.as_bytes()), Format::Audit);
    assert_eq!(format_of(b"{\"kind\":\"Event\",\"apiVersion\":\"v1\",\"type\":\"Normal\"}"), objects);
}

#[test]
fn yaml_and_corefiles_are_told_apart() {
    let yaml = Format::KubeObjects(Syntax::Yaml);
    assert_eq!(format_of(b"apiVersion: v1\nkind: ConfigMap\ndata:\n  Corefile: |\n    .:53 {\n"), yaml);
    assert_eq!(
        format_of(b"\xef\xbb\xbf---\r\napiVersion: v1\r\nitems:\r\n- apiVersion: v1\r\n  kind: Pod\r\n"),
        yaml
    );
    assert_eq!(format_of(b"{\"kind\":\"Pod\",\"apiVersion\":\"v1\"}\n---\napiVersion: v1\n"), yaml);
    let prose = "# Recipe\n\nSave this:\n\n```yaml\napiVersion: v1\nkind: Pod\n```\n";
    assert_eq!(unknown(prose.as_bytes()), "text of no known kind");
    for corefile in [
        ".:53 {\n    errors\n    kubernetes cluster.local\n}\n",
        "# mine\nexample.org:53 cluster.local {\n  forward . 1.1.1.1 # up\n}",
        "(snip) {\n log\n}\n. {\n import snip\n}\n",
        "import conf/*\n\n. {\n whoami\n}\n",
        "tls://.:853 {\n  tls a b\n  forward . /etc/resolv.conf\n}",
        ".\nwhoami\n",
        "com {\n whoami\n health :8080\n}\nnet {\n log\n}\n",
        ". {\n header {\n  response set ra\n }\n}\n",
    ] {
        assert_eq!(format_of(corefile.as_bytes()), Format::Corefile, "{corefile}");
    }
    for other in [
        "server {\n listen 80;\n}\n",
        "fn main() {\n  log();\n}\n",
        "a.b {\n color: red;\n}\n",
        "hello. world\n",
        "example.com {\n respond x\n}\n",
        "http {\n log {\n  a b\n }\n root /srv\n gzip on\n}\n",
    ] {
        assert_eq!(unknown(other.as_bytes()), "text of no known kind", "{other}");
    }
}

#[test]
fn logs_of_coredns_are_told_in_their_wrappings() {
    let line = "[INFO] 10.244.1.7:40512 - 5513 \"A IN web.shop.svc.cluster.local. udp 49 false 1232\" NOERROR qr,aa,rd 96 0.000120s";
    let docker =
        serde_json::json!({"log": format!("{line}\n"), "stream": "stdout", "time": "2026-11-22T03:55:59.9Z"});
    let json = r#"{"time":"2026-11-22T03:55:59.901294713Z","level":"INFO","msg":"x","plugin":"log","client_ip":"127.0.0.1","client_port":50145,"qname":"nx.example.","qtype":"A","qclass":"IN","protocol":"udp","id":10450,"opcode":0,"request_size":51,"dnssec_ok":false,"bufsize":1232,"rcode":"NXDOMAIN","response_size":101,"duration_seconds":0.002753953}"#;
    for text in [
        line.to_owned(),
        format!("2026-11-22T03:55:59.9Z stdout F {line}"),
        docker.to_string(),
        json.to_owned(),
    ] {
        let format = format_of(format!("\r\n{text}\n").as_bytes());
        assert!(matches!(format, Format::CoreDnsLog(_)), "{text}: {format}");
    }
}

#[test]
fn what_is_unknown_is_named_by_its_looks() {
    assert_eq!(unknown(b""), "an empty file");
    assert_eq!(unknown(b"\n \r\n"), "blank text");
    assert_eq!(unknown(b"PK\x03\x04..."), "a zip archive");
    assert_eq!(unknown(b"\x7fELF\x02"), "a program (ELF)");
    assert_eq!(unknown(b"{\"hello\": \"world\"}\n"), "JSON of no known kind");
    assert_eq!(unknown(b"<html>"), "HTML or XML");
    assert_eq!(unknown(b"\0\x01\x02"), "binary data of no known format");
    assert_eq!(unknown(b"just a note\n"), "text of no known kind");
    assert_eq!(unknown(b"\xff\xfea\0"), "text in UTF-16");
}

#[test]
fn what_is_wrapped_and_not_read_so_is_named_with_the_next_step() {
    let event = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"x"}"#;
    let docker =
        serde_json::json!({"log": format!("{event}\n"), "stream": "stdout", "time": "2026-11-22T03:55:59Z"});
    for text in [docker.to_string(), format!("2026-11-22T03:55:59.9Z stdout F {event}")] {
        assert_eq!(unknown(text.as_bytes()), WRAPPED);
    }
    assert!(next_step(WRAPPED).contains("jq -r .log"));
    for looks in ["a zip archive", "JSON of no known kind", "text of no known kind", "text in UTF-16"] {
        assert!(!next_step(looks).is_empty(), "{looks}");
    }
    assert_eq!(next_step("an empty file"), "");
}
