//! Decoders of every format take any record without a panic and answer each with something.

use proptest::prelude::*;
use truename_model::OriginId;

use super::*;
use crate::corednslog::Dialect;

fn formats() -> Vec<Format> {
    vec![
        Format::CoreDnsLog(Dialect::default()),
        Format::Dnstap,
        Format::Pcap,
        Format::PcapNg,
        Format::KubeObjects(Syntax::Json),
        Format::KubeObjects(Syntax::Yaml),
        Format::KubeWatch,
        Format::Audit,
        Format::Corefile,
        Format::Unknown("text"),
    ]
}

#[test]
fn a_corefile_is_a_stand_in_config_map() {
    let mut out = Vec::new();
    let mut decoder = decoder(&Format::Corefile, DecodeContext::new(3, OriginId(1)));
    decoder.decode(0, b"\xef\xbb\xbf. {\n whoami\n}\n", &mut out);
    let [Decoded::Change(change)] = &out[..] else { panic!("{out:?}") };
    assert_eq!((change.meta.namespace.as_str(), change.meta.name.as_str()), ("", COREFILE_NAME));
    let Object::ConfigMap(map) = &*change.object else { panic!() };
    assert_eq!(map.data["Corefile"], ". {\n whoami\n}\n");
}

fn jsonish() -> impl Strategy<Value = Vec<u8>> {
    let parts = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        "\"",
        ",",
        ":",
        "\n",
        "null",
        "1e999",
        "\"type\":\"ADDED\"",
        "\"object\":",
        "\"kind\":\"Pod\"",
        "\"items\":[",
        "\"metadata\":{\"name\":\"a\"}",
        "\"stage\":\"ResponseComplete\"",
        "\"verb\":\"delete\"",
        "\"responseStatus\":{\"code\":200}",
        "\"data\":",
        "\"kind\":\"Secret\"",
        "\"env\":[{\"value\":\"x\"}]",
        "&a [*a,*a]",
        "- ",
        "kind: Secret\n",
        "data:\n  a: b\n",
        "  ",
        "\u{0}",
        "é",
    ]);
    prop::collection::vec(parts, 0..40).prop_map(|parts| parts.concat().into_bytes())
}

fn check(bytes: &[u8]) {
    for format in formats() {
        let mut out = Vec::new();
        let mut decoder = decoder(&format, DecodeContext::new(0, OriginId(0)));
        for ordinal in 0..2 {
            decoder.decode(ordinal, bytes, &mut out);
        }
        decoder.finish(&mut out);
        assert!(!out.is_empty(), "{format}");
        let mut end = 0;
        for range in secret_ranges(&format, bytes) {
            assert!(
                range.start >= end && range.start < range.end && range.end <= bytes.len(),
                "{format}: {range:?}"
            );
            end = range.end;
        }
    }
    let _ = crate::recognise::recognise(bytes);
}

proptest! {
    #[test]
    fn any_octets_are_answered(bytes in prop::collection::vec(any::<u8>(), 1..400)) {
        check(&bytes);
    }

    #[test]
    fn any_structure_is_answered(bytes in jsonish()) {
        check(&bytes);
    }
}

#[test]
fn deep_nesting_is_bounded() {
    for open in ["[", "{\"a\":", "- ", "{a: ", "&a [*a, "] {
        let started = std::time::Instant::now();
        check(open.repeat(100_000).as_bytes());
        assert!(started.elapsed().as_secs() < 20, "{open}: {:?}", started.elapsed());
    }
}
