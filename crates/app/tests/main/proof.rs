//! A finding's proof stands without Truename: checked here with nothing but SHA-256, Ed25519 and the words of
//! docs/formats/receipt.md.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::{investigate, recording, text, truename};

type Hash = [u8; 32];

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut state = Sha256::new();
    parts.iter().for_each(|part| state.update(part));
    state.finalize().into()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn hash(value: &Value) -> Hash {
    unhex(value.as_str().unwrap()).try_into().unwrap()
}

/// RFC 9162 §2.1.3.2.
fn leads_to(leaf: Hash, index: u64, size: u64, path: &Value) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut node, mut last, mut root) = (index, size - 1, leaf);
    for step in path.as_array()?.iter().map(hash) {
        if last == 0 {
            return None;
        }
        if node % 2 == 1 || node == last {
            root = sha256(&[&[1], &step, &root]);
            while node % 2 == 0 && node != 0 {
                (node, last) = (node / 2, last / 2);
            }
        } else {
            root = sha256(&[&[1], &root, &step]);
        }
        (node, last) = (node / 2, last / 2);
    }
    (last == 0).then_some(root)
}

/// Origin, size and root of a note that the key has signed (C2SP signed-note, tlog-checkpoint).
fn checkpoint(document: &Value) -> Option<(u64, Hash)> {
    let vkey = document["vkey"].as_str()?;
    let (name, rest) = vkey.split_once('+')?;
    let (id, key) = rest.split_once('+')?;
    let key = STANDARD.decode(key).ok()?;
    let key = VerifyingKey::from_bytes(key[1..].try_into().ok()?).ok()?;
    let (body, signed) = document["checkpoint"].as_str()?.split_once("\n\n")?;
    let signature = signed.trim_end().strip_prefix("— ")?.strip_prefix(name)?.strip_prefix(' ')?;
    let signature = STANDARD.decode(signature).ok()?;
    if signature.get(..4)? != unhex(id) {
        return None;
    }
    let signature = Signature::from_slice(&signature[4..]).ok()?;
    key.verify_strict(format!("{body}\n").as_bytes(), &signature).ok()?;
    let mut lines = body.lines();
    assert_eq!(lines.next()?, name, "the log of this key");
    Some((lines.next()?.parse().ok()?, STANDARD.decode(lines.next()?).ok()?.try_into().ok()?))
}

/// What one proven record says: its bytes, with secret pieces left out.
fn check_record(document: &Value, record: &Value) -> Option<Vec<u8>> {
    let (size, root) = checkpoint(document)?;
    let in_log = |entry: &Value, index: &Value, path: &Value| {
        let entry = entry.as_str()?;
        let leaf = sha256(&[&[0], entry.as_bytes()]);
        (leads_to(leaf, index.as_u64()?, size, path)? == root)
            .then(|| serde_json::from_str::<Value>(entry).unwrap())
    };
    let custody = &record["custody"];
    let begin = in_log(&custody["begin"]["entry"], &custody["begin"]["index"], &custody["begin"]["path"])?;
    let end = in_log(&custody["end"]["entry"], &custody["end"]["index"], &custody["end"]["path"])?;
    for entry in [&begin, &end] {
        if entry["sha256"] != record["item"] {
            return None;
        }
    }
    let mut bytes = Vec::new();
    let pieces = record["pieces"].as_array()?;
    for (at, piece) in pieces.iter().enumerate() {
        let manifest = in_log(&piece["manifest"], &piece["entry_index"], &piece["outer_path"])?;
        let mut leaf = hash(&piece["leaf_hash"]);
        if piece["secret"] == Value::Bool(false) {
            let payload = STANDARD.decode(piece["payload"].as_str()?).ok()?;
            leaf = sha256(&[&[0], &unhex(piece["salt"].as_str()?), &payload]);
            assert_eq!(payload[0], 0, "a record");
            let item = u32::from_le_bytes(payload[2..6].try_into().unwrap());
            let ordinal = u64::from_le_bytes(payload[6..14].try_into().unwrap());
            let more = at + 1 < pieces.len();
            if u64::from(item) != end["item"].as_u64()?
                || ordinal != record["record"].as_u64()?
                || (payload[1] == 1) != more
            {
                return None;
            }
            bytes.extend_from_slice(&payload[22..]);
        }
        let leaves = manifest["leaves"].as_u64()?;
        if leads_to(leaf, piece["leaf_index"].as_u64()?, leaves, &piece["inner_path"])?
            != hash(&manifest["root"])
        {
            return None;
        }
    }
    Some(bytes)
}

#[test]
fn a_finding_is_proven_by_what_explain_prints_and_nothing_else() {
    let work = tempfile::tempdir().unwrap();
    investigate(work.path(), &[&recording("dns-impostor")], &[]);
    let found = truename(work.path()).args(["findings", "case", "-o", "jsonl"]).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    let mut proven = 0;
    for finding in found.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let id = finding["id"].as_str().unwrap();
        let output = truename(work.path()).args(["explain", "case", id, "-o", "json"]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["finding"], finding);
        let records = document["records"].as_array().unwrap();
        assert_eq!(records.len(), finding["evidence"].as_array().unwrap().len());
        for (record, evidence) in records.iter().zip(finding["evidence"].as_array().unwrap()) {
            assert_eq!(record["item"], evidence["citation"]["item"]);
            assert_eq!(record["record"], evidence["citation"]["record"]);
            let bytes = check_record(&document, record).unwrap();
            assert!(!bytes.is_empty());
            proven += 1;
        }
        assert_altered_proofs_fail(&document);
    }
    assert!(proven > 20, "{proven}");
}

/// Every part of a proof carries weight: change it, and the check fails.
fn assert_altered_proofs_fail(document: &Value) {
    let flip = |value: &mut Value| match value {
        Value::Number(number) => *value = Value::from(number.as_u64().unwrap() + 1),
        Value::Array(steps) => drop(steps.pop()),
        Value::String(text) => {
            // A digit in the middle, so that a canonical entry stays JSON.
            let middle = text.char_indices().filter(|(_, c)| c.is_ascii_digit());
            let places: Vec<usize> = middle.map(|(at, _)| at).collect();
            let at = places[places.len() / 2];
            let digit = if &text[at..=at] == "1" { "2" } else { "1" };
            text.replace_range(at..=at, digit);
        }
        _ => panic!("{value}"),
    };
    let paths = [
        "/checkpoint",
        "/records/0/item",
        "/records/0/record",
        "/records/0/pieces/0/payload",
        "/records/0/pieces/0/salt",
        "/records/0/pieces/0/leaf_index",
        "/records/0/pieces/0/inner_path",
        "/records/0/pieces/0/manifest",
        "/records/0/pieces/0/entry_index",
        "/records/0/pieces/0/outer_path",
        "/records/0/custody/begin/entry",
        "/records/0/custody/begin/index",
        "/records/0/custody/end/entry",
        "/records/0/custody/end/path",
    ];
    for path in paths {
        let mut altered = document.clone();
        let value = altered.pointer_mut(path).unwrap_or_else(|| panic!("{path}: {document}"));
        flip(value);
        let record = altered["records"][0].clone();
        assert!(check_record(&altered, &record).is_none(), "{path}");
    }
}
