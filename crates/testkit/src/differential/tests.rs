//! Recordings of real CoreDNS judged, altered recordings seen, slips of form named.

use std::collections::BTreeSet;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::figures::Figures;
use super::judge::{judge, versions_of};
use super::plan::{Size, plan};
use super::recording::read;

fn recordings() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("recorded");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn text_of(path: &Path) -> String {
    let packed = std::fs::read(path).unwrap();
    String::from_utf8(zstd::decode_all(packed.as_slice()).unwrap()).unwrap()
}

fn judged(text: &str) -> Figures {
    let recording = read(BufReader::new(text.as_bytes())).unwrap();
    let mut figures = Figures::default();
    judge(&recording, &versions_of(&recording), &mut figures);
    figures
}

#[test]
fn recorded_clusters_are_foretold() {
    let mut answers = 0;
    let mut plugins = BTreeSet::new();
    for path in recordings() {
        let figures = judged(&text_of(&path));
        assert!(figures.is_clean(), "{}:\n{}", path.display(), figures.text(5));
        let chance: u64 = figures.unforetellable.values().sum();
        assert!(chance * 200 <= figures.agree, "{}: {chance} of {}", path.display(), figures.agree);
        answers += figures.agree;
        plugins.extend(figures.plugins.keys().copied());
    }
    assert!(answers > 10_000, "{answers}");
    for plugin in
        ["autopath", "cache", "dns64", "file", "forward", "k8s_external", "rewrite", "template", "transfer"]
    {
        assert!(plugins.contains(plugin), "no answer by {plugin}: {plugins:?}");
    }
}

/// The lines of one cluster up to its first `count` questions.
fn beginning(path: &Path, count: usize) -> Vec<String> {
    text_of(path).lines().take(2 + count).map(str::to_owned).collect()
}

#[test]
fn an_altered_answer_is_seen() {
    let path = recordings().into_iter().next().unwrap();
    let lines = beginning(&path, 120);
    assert_eq!(judged(&lines.join("\n")).disagree, 0);
    let alterations: [(&str, &str); 6] = [
        ("\"rcode\":\"NXDOMAIN\"", "\"rcode\":\"NOERROR\""),
        ("\"rcode\":\"NOERROR\"", "\"rcode\":\"NXDOMAIN\""),
        ("\"flags\":\"aa rd", "\"flags\":\"rd"),
        (",\"A\",\"10.", ",\"A\",\"11."),
        ("SERIAL 7200", "SERIAL 7201"),
        ("\"authority\":[[\"cluster.local.\",", "\"authority\":[[\"cluster.local.\",1"),
    ];
    for (from, to) in alterations {
        let at = lines.iter().position(|line| line.starts_with("{\"q\"") && line.contains(from));
        let Some(at) = at else { continue };
        let mut altered = lines.clone();
        altered[at] = altered[at].replacen(from, to, 1);
        let figures = judged(&altered.join("\n"));
        assert!(figures.disagree > 0, "{from} to {to} in line {}: {}", at + 1, lines[at]);
        assert_eq!(figures.misses.first().map(|miss| miss.line), Some(at + 1));
    }
}

#[test]
fn slips_of_form_are_named_with_their_line() {
    let fault = |text: &str| read(BufReader::new(text.as_bytes())).unwrap_err();
    let head = "{\"seed\":1,\"objects\":[]}\n{\"corefile\":\".:53 {\\n}\\n\"}\n";
    assert_eq!(fault("").line, 1);
    assert_eq!(fault("{\"objects\":[]}").line, 1);
    assert_eq!(fault("{\"seed\":1,\"objects\":[]}\n{\"q\":[\"a.\",\"A\",\"IN\",\"\"],\"a\":{}}").line, 2);
    for (line, wanted) in [
        ("{\"q\":[\"a.\",\"A\",\"IN\",\"rd\"]}", "without a"),
        ("{\"q\":[\"a.\",\"BAD\",\"IN\",\"rd\"],\"a\":{}}", "unknown type"),
        ("{\"q\":[\"a.\",\"A\",\"IN\",\"loud\"],\"a\":{}}", "unknown flag"),
        ("{\"q\":[\"a.\",\"A\",\"IN\",\"rd\"],\"a\":{\"*\":{\"flags\":\"\"}}}", "no rcode"),
        ("{\"edit\":7}", "edit"),
        ("nonsense", "no JSON"),
        ("{\"neither\":1}", "neither"),
    ] {
        let found = fault(&format!("{head}{line}\n"));
        assert_eq!(found.line, 3, "{line}");
        assert!(found.what.contains(wanted), "{line}: {found}");
    }
}

#[test]
fn edits_are_read_in_every_form_that_names_type_and_object() {
    let head = "{\"seed\":1,\"objects\":[]}\n{\"corefile\":\".:53 {\\n}\\n\"}\n";
    let object = "{\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"}}";
    for form in [
        format!("{{\"type\":\"DELETED\",\"object\":{object}}}"),
        format!("[{{\"type\":\"DELETED\",\"object\":{object}}}]"),
        format!("[\"delete\",{object}]"),
        format!("{{\"deleted\":[{object}]}}"),
        "{\"op\":\"delete\",\"kind\":\"Pod\",\"name\":\"a\"}".to_owned(),
    ] {
        let text = format!("{head}{{\"edit\":{form},\"t_ms\":5}}\n");
        let recording = read(BufReader::new(text.as_bytes())).unwrap();
        let Some(super::recording::Step::Edit { events, settled, done }) =
            recording.sections[0].steps.first()
        else {
            panic!("{form}");
        };
        assert_eq!(
            (events.len(), events[0].0.as_str(), *settled, *done),
            (1, "DELETED", None, Some(5)),
            "{form}"
        );
    }
}

#[test]
fn a_seed_gives_one_plan() {
    let size = Size { sections: 2, questions: 20 };
    assert_eq!(plan(7, size), plan(7, size));
    assert_ne!(plan(7, size), plan(8, size));
    let first = plan(7, size);
    assert!(first.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
}
