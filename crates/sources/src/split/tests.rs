//! Splitting is total for every format, whatever the bytes and however the reader hands them over.

use proptest::prelude::*;

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

/// Gives its bytes in steps of the given lengths, over and over.
struct Steps<'a> {
    bytes: &'a [u8],
    steps: Vec<usize>,
    turn: usize,
}

impl Read for Steps<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let step = self.steps.get(self.turn % self.steps.len().max(1)).copied().unwrap_or(1).max(1);
        self.turn += 1;
        let len = step.min(buf.len()).min(self.bytes.len());
        buf[..len].copy_from_slice(&self.bytes[..len]);
        self.bytes = &self.bytes[len..];
        Ok(len)
    }
}

fn records(format: &Format, bytes: &[u8], steps: Vec<usize>) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    let mut offset = 0u64;
    let mut open = false;
    let summary = split(format, &mut Steps { bytes, steps, turn: 0 }, &mut |piece| {
        assert!(!piece.bytes.is_empty() && piece.bytes.len() <= MAX_PIECE);
        assert_eq!(piece.offset, offset);
        offset += piece.bytes.len() as u64;
        if open {
            assert_eq!(piece.ordinal + 1, out.len() as u64);
            out.last_mut().unwrap().extend_from_slice(piece.bytes);
        } else {
            assert_eq!(piece.ordinal, out.len() as u64);
            out.push(piece.bytes.to_vec());
        }
        open = piece.more;
        Ok(())
    })
    .unwrap();
    assert!(!open);
    assert_eq!((summary.bytes, summary.records), (bytes.len() as u64, out.len() as u64));
    out
}

fn texts(format: &Format, bytes: &str) -> Vec<String> {
    let whole = records(format, bytes.as_bytes(), vec![1 << 20]);
    let single = records(format, bytes.as_bytes(), vec![1]);
    assert_eq!(whole, single, "the reader's steps must not matter");
    whole.into_iter().map(|record| String::from_utf8(record).unwrap()).collect()
}

const JSON: Format = Format::KubeObjects(Syntax::Json);
const YAML: Format = Format::KubeObjects(Syntax::Yaml);

#[test]
fn items_of_a_json_list_are_records_between_a_head_and_a_tail() {
    let text = "{\n \"apiVersion\": \"v1\",\n \"items\": [\n  {\"a\": \"}],{[\\\"\"},\n  {\"items\": [1]}\n ],\n \"kind\": \"List\"\n}\n";
    assert_eq!(
        texts(&JSON, text),
        [
            "{\n \"apiVersion\": \"v1\",\n \"items\": [",
            "\n  {\"a\": \"}],{[\\\"\"}",
            ",\n  {\"items\": [1]}",
            "\n ],\n \"kind\": \"List\"\n}\n",
        ]
    );
    assert_eq!(texts(&JSON, r#"[{"a":1},{"b":2}]"#), ["[", r#"{"a":1}"#, r#",{"b":2}"#, "]"]);
    assert_eq!(texts(&JSON, r#"{"kind":"PodList","items":[]}"#), [r#"{"kind":"PodList","items":["#, "]}"]);
}

#[test]
fn values_in_lines_and_pretty_values_in_a_row_are_records() {
    assert_eq!(texts(&Format::Audit, "{\"a\":1}\r\n\n{\"b\":2}"), ["{\"a\":1}\r\n", "\n", "{\"b\":2}"]);
    assert_eq!(
        texts(&JSON, "{\n  \"a\": {}\n}\n{\n  \"b\": []\n}\n"),
        ["{\n  \"a\": {}\n}\n", "{\n  \"b\": []\n}\n"]
    );
    assert_eq!(texts(&JSON, "{}{} {}"), ["{}", "{} ", "{}"]);
}

#[test]
fn a_torn_line_does_not_swallow_the_next_one() {
    let torn_value = "{\"a\":{\"b\":1\n{\"c\":1}\n{\"d\":1}\n";
    assert_eq!(texts(&Format::Audit, torn_value), ["{\"a\":{\"b\":1\n", "{\"c\":1}\n", "{\"d\":1}\n"]);
    let torn_string = "{\"a\":\"b\n{\"c\":1}\n";
    assert_eq!(texts(&Format::Audit, torn_string), ["{\"a\":\"b\n", "{\"c\":1}\n"]);
    let no_json = "garbage ] } here\n{\"c\":1}\n";
    assert_eq!(texts(&Format::Audit, no_json).last().map(String::as_str), Some("{\"c\":1}\n"));
}

#[test]
fn only_items_of_the_top_object_are_list_items() {
    let event = "{\"type\":\"ADDED\",\"object\":{\"items\":[{\"a\":1},{\"b\":2}]}}\n";
    assert_eq!(texts(&Format::KubeWatch, event), [event]);
    let value = "{\"x\":\"items\",\"y\":[{\"a\":1}]}";
    assert_eq!(texts(&JSON, value), [value]);
}

#[test]
fn yaml_documents_and_list_items_are_records() {
    assert_eq!(
        texts(&YAML, "# dump\n---\na: |\n  ---\n  - x\n---\nb: 2\n...\n"),
        ["# dump\n---\na: |\n  ---\n  - x\n", "---\nb: 2\n...\n"]
    );
    let list = "apiVersion: v1\nitems:\n- a: 1\n  b:\n  - c\n- a: 2\n\nkind: List\nmetadata:\n  x: y\n";
    assert_eq!(
        texts(&YAML, list),
        [
            "apiVersion: v1\nitems:\n",
            "- a: 1\n  b:\n  - c\n",
            "- a: 2\n\n",
            "kind: List\nmetadata:\n  x: y\n"
        ]
    );
    let indented = "items:\n  - a: 1\n    l:\n      - q\n  - a: 2\nkind: List\n";
    assert_eq!(
        texts(&YAML, indented),
        ["items:\n", "  - a: 1\n    l:\n      - q\n", "  - a: 2\n", "kind: List\n"]
    );
    assert_eq!(texts(&YAML, "- a: 1\r\n- a: 2\r\n"), ["- a: 1\r\n", "- a: 2\r\n"]);
}

#[test]
fn a_line_of_two_gigabytes_passes_with_bounded_pieces() {
    let len = 2u64 << 30;
    let mut total = 0u64;
    let mut last = true;
    let summary =
        split(&Format::CoreDnsLog(Dialect::default()), &mut io::repeat(b'x').take(len), &mut |piece| {
            assert!(piece.bytes.len() <= MAX_PIECE && piece.ordinal == 0);
            total += piece.bytes.len() as u64;
            last = piece.more;
            Ok(())
        })
        .unwrap();
    assert_eq!((total, summary.records, last), (len, 1, false));
}

#[test]
fn long_records_of_every_format_are_total() {
    let filler = "x".repeat(3 << 20);
    for text in [
        format!("{{\"items\":[{{\"a\":\"{filler}\"}},{{\"b\":\"{filler}\"}}]}}\n{{}}"),
        format!("a: |\n  {filler}\n---\nb: {filler}\n"),
        format!("{}{}", " ".repeat(2 << 20), filler),
    ] {
        for format in formats() {
            let got = records(&format, text.as_bytes(), vec![300_000]);
            assert_eq!(got.concat(), text.as_bytes(), "{format}");
        }
    }
}

fn structural() -> impl Strategy<Value = Vec<u8>> {
    let parts = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        ",",
        ":",
        "\n",
        " ",
        "  ",
        "- ",
        "---",
        "items",
        "\"items\":[",
        "items:\n",
        "kind: List",
        "a: 1",
        "\r\n",
        "\u{feff}",
        "\0\0\0\0",
        "\0\0\0\u{4}",
        "#",
        "...",
    ]);
    prop::collection::vec(parts, 0..60).prop_map(|parts| parts.concat().into_bytes())
}

proptest! {
    #[test]
    fn pieces_concatenate_to_random_input(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        steps in prop::collection::vec(1usize..90, 1..5),
    ) {
        for format in formats() {
            prop_assert_eq!(records(&format, &bytes, steps.clone()).concat(), bytes.clone());
        }
    }

    #[test]
    fn record_ends_do_not_depend_on_the_readers_steps(
        bytes in structural(),
        steps in prop::collection::vec(1usize..9, 1..5),
    ) {
        for format in formats() {
            let whole = records(&format, &bytes, vec![1 << 20]);
            prop_assert_eq!(whole.concat(), bytes.clone());
            prop_assert_eq!(records(&format, &bytes, steps.clone()), whole, "{}", format);
        }
    }
}
