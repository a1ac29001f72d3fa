//! The house rules as a check: each returns a sentence per breach, naming file, line and what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::source::{self, Function};

/// Lines of the longest function that is let through.
const FUNCTION_LINES_MAX: usize = 80;
/// 95th percentile of function lengths.
const FUNCTION_LINES_P95: usize = 40;
/// Lines of the longest file that is let through.
const FILE_LINES_MAX: usize = 900;

/// Names that say nothing about what is inside.
const BANNED_NAMES: [&str; 5] = ["util", "common", "core", "helpers", "misc"];
/// (dependency, the only crates that may name it).
const CONFINED: [(&str, &[&str]); 6] = [
    ("kube", &["app", "respond"]),
    ("arrow", &["hunt"]),
    ("parquet", &["hunt"]),
    ("datafusion", &["hunt"]),
    ("axum", &["web"]),
    ("clap", &["app", "testkit"]),
];

/// Checks the tree at `root`.
pub(crate) fn check(root: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    let architecture = read(&root.join("ARCHITECTURE.md"));
    problems.extend(crate_edges(root, &architecture));
    problems.extend(map(root, &architecture));
    for name in crate_names(root) {
        problems.extend(manifest(root, &name));
        problems.extend(module_order(root, &name));
    }
    problems.extend(files(root));
    problems.extend(function_sizes(&all_functions(root)));
    problems
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn crate_names(root: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root.join("crates")) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Workspace crates that a manifest names in `[dependencies]` (dev-dependencies are free, cycles cargo refuses).
fn edges_of(manifest: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut edges = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section == "[dependencies]"
            && let Some(rest) = line.strip_prefix("truename-")
        {
            edges.insert(rest.split(['.', ' ', '=']).next().unwrap_or_default().to_owned());
        }
    }
    edges
}

/// Lines `| crate | depends on |` of the table under "## Crate edges".
fn allowed_edges(architecture: &str) -> BTreeMap<String, BTreeSet<String>> {
    section(architecture, "## Crate edges")
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            let name = cells.next()?.trim_matches('`').to_owned();
            let edges = cells.next()?.split(',').map(|cell| cell.trim().trim_matches('`').to_owned());
            Some((name, edges.filter(|edge| !edge.is_empty() && edge != "–").collect()))
        })
        .collect()
}

fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let Some(start) = text.find(heading) else { return "" };
    let body = &text[start + heading.len()..];
    body.find("\n## ").map_or(body, |end| &body[..end])
}

fn crate_edges(root: &Path, architecture: &str) -> Vec<String> {
    let allowed = allowed_edges(architecture);
    let mut problems = Vec::new();
    for name in crate_names(root) {
        let edges = edges_of(&read(&root.join("crates").join(&name).join("Cargo.toml")));
        let Some(listed) = allowed.get(&name) else {
            problems.push(format!(
                "ARCHITECTURE.md: crate `{name}` is missing in the table under \"Crate edges\""
            ));
            continue;
        };
        for edge in edges.difference(listed) {
            problems.push(format!(
                "crates/{name}/Cargo.toml: `{name}` may not depend on `{edge}` (ARCHITECTURE.md, Crate edges)"
            ));
        }
    }
    problems
}

/// Every module of every crate has its line in the map, and the map names nothing that is gone.
fn map(root: &Path, architecture: &str) -> Vec<String> {
    let listed: BTreeSet<&str> = section(architecture, "## Map")
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("- `")?.split('`').next())
        .collect();
    let mut real = BTreeSet::new();
    for name in crate_names(root) {
        let text = read(&root.join("crates").join(&name).join("src/lib.rs"));
        real.extend(source::declared_modules(&text).into_iter().map(|module| format!("{name}::{module}")));
    }
    let mut problems = Vec::new();
    problems.extend(
        real.iter()
            .filter(|m| !listed.contains(m.as_str()))
            .map(|m| format!("ARCHITECTURE.md: the map lacks `{m}`")),
    );
    problems.extend(
        listed
            .iter()
            .filter(|m| m.contains("::") && !real.contains(**m))
            .map(|m| format!("ARCHITECTURE.md: the map names `{m}`, which is gone")),
    );
    problems
}

fn manifest(root: &Path, name: &str) -> Vec<String> {
    let text = read(&root.join("crates").join(name).join("Cargo.toml"));
    let mut problems = Vec::new();
    if !text.contains("[lints]\nworkspace = true") {
        problems.push(format!("crates/{name}/Cargo.toml: add `[lints] workspace = true`"));
    }
    if text.contains("[features]") {
        problems
            .push(format!("crates/{name}/Cargo.toml: no Cargo features: they double what must be tested"));
    }
    for (dependency, owners) in CONFINED {
        let named = text.lines().any(|line| {
            line.starts_with(&format!("{dependency}.")) || line.starts_with(&format!("{dependency} "))
        });
        if named && !owners.contains(&name) {
            problems.push(format!(
                "crates/{name}/Cargo.toml: `{dependency}` may be named only by {}",
                owners.join(", ")
            ));
        }
    }
    problems
}

/// A module may use only modules declared above it, so the `mod` list reads as the data's path and has no cycles.
fn module_order(root: &Path, name: &str) -> Vec<String> {
    let src = root.join("crates").join(name).join("src");
    let modules = source::declared_modules(&read(&src.join("lib.rs")));
    let mut problems = Vec::new();
    for (layer, module) in modules.iter().enumerate() {
        if BANNED_NAMES.contains(&module.as_str()) {
            problems
                .push(format!("crates/{name}: a module named `{module}` says nothing about what is inside"));
        }
        let mut files = source::rust_files(&src.join(module));
        files.push(src.join(format!("{module}.rs")));
        for file in files.iter().filter(|file| file.is_file()) {
            for (line, used) in source::crate_paths(&read(file)) {
                if modules.iter().position(|m| *m == used).is_some_and(|at| at > layer) {
                    let shown = file.strip_prefix(root).unwrap_or(file).display();
                    problems.push(format!(
                        "{shown}:{line}: `{module}` uses `{used}`, which is declared below it in lib.rs"
                    ));
                }
            }
        }
    }
    problems
}

fn files(root: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for file in ["crates", "xtask", "fuzz"].iter().flat_map(|dir| source::rust_files(&root.join(dir))) {
        let text = read(&file);
        let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        if !text.starts_with("//!") && !text.starts_with("#![") {
            problems.push(format!(
                "{shown}:1: begin the file with `//!`: what enters, what leaves, what is absent"
            ));
        }
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            problems.push(format!(
                "{shown}: {lines} lines, {FILE_LINES_MAX} at most: cut it where the subject changes"
            ));
        }
    }
    problems
}

fn all_functions(root: &Path) -> Vec<Function> {
    ["crates", "xtask"]
        .iter()
        .flat_map(|dir| source::rust_files(&root.join(dir)))
        .filter(|file| !is_test(file))
        .flat_map(|file| source::functions(file.strip_prefix(root).unwrap_or(&file), &read(&file)))
        .collect()
}

/// Test code may tell long stories: tables and recorded sequences.
fn is_test(file: &Path) -> bool {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    file.components().any(|part| part.as_os_str() == "tests") || stem == "tests" || stem.ends_with("_tests")
}

fn function_sizes(functions: &[Function]) -> Vec<String> {
    let mut problems: Vec<String> = functions
        .iter()
        .filter(|function| function.lines > FUNCTION_LINES_MAX)
        .map(|f| {
            format!(
                "{}:{}: `{}` has {} lines, {FUNCTION_LINES_MAX} at most",
                f.file.display(),
                f.line,
                f.name,
                f.lines
            )
        })
        .collect();
    let mut lengths: Vec<usize> = functions.iter().map(|function| function.lines).collect();
    lengths.sort_unstable();
    if let Some(&p95) = lengths.get(lengths.len() * 95 / 100)
        && p95 > FUNCTION_LINES_P95
    {
        problems.push(format!("95 % of functions must have at most {FUNCTION_LINES_P95} lines, now {p95}"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_is_tidy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let problems = check(root);
        assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    }

    /// Writes a small workspace with one breach of each kind, and sees each one named.
    #[test]
    fn each_breach_is_named() {
        let root = std::env::temp_dir().join(format!("truename-tidy-{}", std::process::id()));
        let src = root.join("crates/model/src");
        std::fs::create_dir_all(&src).unwrap();
        let manifest =
            "[dependencies]\ntruename-analysis.workspace = true\naxum.workspace = true\n[features]\n";
        std::fs::write(root.join("crates/model/Cargo.toml"), manifest).unwrap();
        std::fs::write(src.join("lib.rs"), "//! x\nmod a;\nmod util;\n").unwrap();
        let body = "    let x = 1;\n".repeat(81);
        std::fs::write(src.join("a.rs"), format!("use crate::util::X;\nfn long() {{\n{body}}}\n")).unwrap();
        std::fs::write(src.join("util.rs"), "//! x\n".repeat(901)).unwrap();
        let text = "## Crate edges\n| `model` | – |\n## Map\n- `model::a` x\n- `model::gone` x\n";
        std::fs::write(root.join("ARCHITECTURE.md"), text).unwrap();
        let problems = check(&root).join("\n");
        std::fs::remove_dir_all(&root).unwrap();
        let expected = [
            "`model` may not depend on `analysis`",
            "the map lacks `model::util`",
            "names `model::gone`",
            "add `[lints]",
            "no Cargo features",
            "`axum` may be named only",
            "named `util`",
            "`a` uses `util`",
            "a.rs:1: begin the file",
            "901 lines",
            "`long` has 83 lines",
            "now 83",
        ];
        for want in expected {
            assert!(problems.contains(want), "{want} is not among:\n{problems}");
        }
    }
}
