//! Values of Secrets, tokens and container environments are kept apart in the log and never displayed.

use std::fs;
use std::path::Path;

use crate::support::{investigate, text, truename};

const VALUE: &str = "aHVudGVyMi1uZXZlci1zaG93bg";

#[test]
fn secret_values_are_stored_and_never_shown() {
    let work = tempfile::tempdir().unwrap();
    let list = format!(
        r#"{{"kind":"List","apiVersion":"v1","items":[
{{"kind":"Secret","apiVersion":"v1","metadata":{{"name":"db","namespace":"shop","uid":"u1","resourceVersion":"1"}},"data":{{"password":"{VALUE}"}}}},
{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"web","namespace":"shop","uid":"u2","resourceVersion":"2"}},"spec":{{"containers":[{{"name":"c","image":"i","env":[{{"name":"TOKEN","value":"{VALUE}"}}]}}]}},"status":{{"phase":"Running","podIP":"10.244.0.9"}}}}
]}}"#
    );
    fs::create_dir(work.path().join("in")).unwrap();
    fs::write(work.path().join("in/objects.json"), list).unwrap();
    let output = investigate(work.path(), &[Path::new("in")], &[]);
    assert!(output.status.success(), "{}", text(&output));
    let mut shown = text(&output);
    for verb in ["timeline", "findings", "report"] {
        shown.push_str(&text(&truename(work.path()).args([verb, "case"]).output().unwrap()));
    }
    for derived in ["findings.jsonl", "outcome.json", "report.html"] {
        shown.push_str(&fs::read_to_string(work.path().join("case/derived").join(derived)).unwrap());
    }
    assert!(shown.contains("web"), "the pod itself is shown: {shown}");
    assert!(!shown.contains(VALUE));
    // The evidence holds it: a reader of the log finds the value in a leaf marked as secret.
    let reader = truename_evidence::Reader::open(&work.path().join("case")).unwrap();
    let mut secret = Vec::new();
    for item in reader.items() {
        let mut cursor = reader.records(item.id).unwrap();
        while let Some(piece) = cursor.next().unwrap() {
            if !truename_evidence::may_be_shown(&piece) {
                secret.push(String::from_utf8_lossy(piece.bytes).into_owned());
            }
        }
    }
    assert_eq!(secret.iter().filter(|text| text.contains(VALUE)).count(), 2, "{secret:?}");
    assert!(secret.iter().all(|text| !text.contains("password")), "only the value is set apart: {secret:?}");
}
