//! Other people's files, where they are present: recognised where they are of a known format, never a panic.

use std::path::{Path, PathBuf};

use truename_sources::recognise::{Format, Recognised, recognise};

use crate::walk::{files, leaves, root};

fn corpora() -> Option<PathBuf> {
    let given = std::env::var_os("TRUENAME_CORPORA").map(PathBuf::from);
    let folder = given.unwrap_or_else(|| root().join("../shared/corpora"));
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: corpora absent");
    None
}

/// Captures by name that are something else, each with what it is.
const NO_CAPTURES: [(&str, &str); 3] = [
    ("test.fstrm", "a frame stream of another content type than dnstap"),
    ("dns.pcap.lz4", "an lz4 file"),
    ("gold.pcap.info", "text of no known kind"),
];

#[test]
fn every_file_is_walked_without_a_panic_and_captures_are_recognised() {
    let Some(folder) = corpora() else { return };
    let mut captures = 0;
    for path in files(&folder) {
        let shown = path.strip_prefix(&folder).unwrap_or(&path).display().to_string();
        for leaf in leaves(&path) {
            println!("{shown} [{}] {}: {} records {:?}", leaf.layer, leaf.format, leaf.records, leaf.counts);
            let name = shown.rsplit('/').next().unwrap_or_default();
            if !name.contains(".pcap") && !name.ends_with(".dnstap") && !name.ends_with(".fstrm") {
                continue;
            }
            captures += 1;
            let other = NO_CAPTURES.iter().find(|(other, _)| *other == name).map(|(_, what)| *what);
            match (&leaf.format, other) {
                (Format::Unknown(what), other) => assert_eq!(Some(*what), other, "{shown}"),
                (known, other) => assert_eq!(other, None, "{shown}: {known}"),
            }
        }
    }
    println!("{captures} captures");
    assert!(captures > 60);
}

/// Texts of a file of JSON lines, under a key.
fn texts(path: &Path, key: &str, only: Option<(&str, &str)>) -> Vec<String> {
    let lines = std::fs::read_to_string(path).unwrap_or_default();
    let values = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    values
        .filter(|value| only.is_none_or(|(key, wanted)| value[key] == wanted))
        .filter_map(|value| value[key].as_str().map(str::to_owned))
        .collect()
}

/// Corefiles that other formats' recognition must not take, and that ours must: the integration tests and the READMEs of
/// CoreDNS. Missed ones are named; those are blocks of plugins that live outside of CoreDNS, or no server blocks at all.
#[test]
fn corefiles_of_other_projects_are_recognised() {
    let Some(folder) = corpora() else { return };
    let extracted = folder.join("corefiles/extracted");
    let mut all = texts(&extracted.join("coredns_integration_corefiles.jsonl"), "corefile", None);
    all.extend(texts(&extracted.join("readme_blocks.jsonl"), "text", Some(("kind", "corefile"))));
    let missed: Vec<_> = all
        .iter()
        .filter(|text| recognise(text.as_bytes()) != Recognised::Format(Format::Corefile))
        .collect();
    for text in &missed {
        println!("missed:\n{text}\n");
    }
    println!("{} corefiles, {} missed", all.len(), missed.len());
    assert!(all.len() > 100 && missed.len() * 50 <= all.len());
}
