//! Other people's files, where they are present: recognised where they are of a known format, never a panic.

use std::path::PathBuf;

use truename_sources::kube::Syntax;
use truename_sources::recognise::Format;

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

/// Files that bear a name and are something else, or are damaged on purpose, each with what it is.
const NOT_WHAT_THE_NAME_SAYS: [&str; 1] = ["TEST_COMMANDS_INDEX"];

#[test]
fn every_file_is_walked_without_a_panic_and_captures_are_recognised() {
    let Some(folder) = corpora() else { return };
    let mut unrecognised = Vec::new();
    for path in files(&folder) {
        let shown = path.strip_prefix(&folder).unwrap_or(&path).display().to_string();
        for leaf in leaves(&path) {
            let name = shown.rsplit('/').next().unwrap_or_default();
            let is_capture = name.contains(".pcap") || name.ends_with(".dnstap") || name.ends_with(".fstrm");
            let known = !matches!(leaf.format, Format::Unknown(_));
            if is_capture && !known && !NOT_WHAT_THE_NAME_SAYS.iter().any(|other| name.starts_with(other)) {
                unrecognised.push(format!("{shown} {}: {}", leaf.layer, leaf.format));
            }
            println!("{shown} [{}] {}: {} records {:?}", leaf.layer, leaf.format, leaf.records, leaf.counts);
        }
    }
    println!("{}", unrecognised.join("\n"));
}

#[test]
fn corefiles_of_other_projects_are_recognised() {
    let Some(folder) = corpora() else { return };
    let mut missed = Vec::new();
    let mut seen = 0;
    for path in files(&folder.join("corefiles")) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with("Corefile") && !name.ends_with("Corefile") {
            continue;
        }
        seen += 1;
        for leaf in leaves(&path) {
            if leaf.format != Format::Corefile && leaf.format != Format::KubeObjects(Syntax::Yaml) {
                missed.push(format!("{}: {}", path.display(), leaf.format));
            }
        }
    }
    println!("{seen} corefiles, {} missed\n{}", missed.len(), missed.join("\n"));
}
