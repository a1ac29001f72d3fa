//! Values of Secrets, tokens and container environments are kept apart in the log and never displayed.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{investigate, text, truename, unpack};

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

/// A list of objects as operators have them: environments, a Secret, what `kubectl apply` leaves, texts of several lines.
fn dressed(mut list: Value) -> Value {
    let items = list["items"].as_array_mut().unwrap();
    for item in items.iter_mut() {
        let applied = json!({"kind": item["kind"], "env": [{"value": VALUE}]});
        item["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] =
            json!(format!("{applied}\n"));
        if let Some(containers) = item["spec"]["containers"].as_array_mut() {
            let environment = json!([
                {"name": "A", "value": VALUE},
                {"name": "B", "value": format!("{VALUE}\n# {VALUE}\n- {VALUE}: {VALUE}\n")},
                {"name": "C", "value": ""},
            ]);
            containers.iter_mut().for_each(|container| container["env"] = environment.clone());
        }
    }
    items.push(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "shop"},
        "data": {"a": VALUE, "b": format!("-----\n{VALUE}: {VALUE}\n-----\n")}, "type": "Opaque"}));
    list
}

#[test]
fn a_dump_in_yaml_is_understood_as_the_same_in_json() {
    let work = tempfile::tempdir().unwrap();
    let recorded = work.path().join("recorded");
    unpack("benign-day", &recorded, &|path| !path.contains("watch") && !path.contains("audit"));
    let list = fs::read_to_string(recorded.join("objects/end.json")).unwrap();
    let list = dressed(serde_json::from_str(&list).unwrap());
    fs::remove_dir_all(recorded.join("objects")).unwrap();
    let outcomes = [("json", list.to_string()), ("yaml", serde_saphyr::to_string(&list).unwrap())].map(
        |(syntax, dump)| {
            assert!(dump.contains(VALUE));
            fs::write(recorded.join("objects.txt"), dump).unwrap();
            let case = format!("case-{syntax}");
            let run =
                truename(work.path()).args(["investigate", "recorded", "--case", &case]).output().unwrap();
            assert!(run.status.success(), "{}", text(&run));
            let outcome = fs::read_to_string(work.path().join(case).join("derived/outcome.json")).unwrap();
            assert!(!outcome.contains(VALUE) && !text(&run).contains(VALUE));
            serde_json::from_str::<Value>(&outcome).unwrap()
        },
    );
    let [json, yaml] = &outcomes;
    for (outcome, format) in outcomes.iter().zip(["JSON", "YAML"]) {
        let sources = outcome["coverage"]["sources"].as_array().unwrap();
        let objects = sources.iter().find(|source| source["path"] == "recorded/objects.txt").unwrap();
        assert!(objects["format"].as_str().unwrap().contains(format), "{objects}");
        assert_eq!(objects["undecodable"], 0, "{objects}");
    }
    for count in ["attribution", "verdicts", "lookups", "unverifiable"] {
        assert_eq!(json["coverage"][count], yaml["coverage"][count], "{count}");
    }
    assert!(json["coverage"]["attribution"]["exact"].as_u64().unwrap() > 500, "{}", json["coverage"]);
}
