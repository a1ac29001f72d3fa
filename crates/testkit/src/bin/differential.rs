//! `cargo xtask differential`: random clusters and Corefiles played on real CoreDNS, and its answers judged.
//!
//! `--recorded DIR` judges recordings, whoever made them. `--plans DIR` only writes plans. Without either, plans are
//! written to a scratch folder, played by `range/differential` and judged.

#![allow(clippy::print_stdout, reason = "a development command prints")]

use std::collections::BTreeSet;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use truename_testkit::differential::figures::Figures;
use truename_testkit::differential::judge::{judge, versions_of};
use truename_testkit::differential::plan::{Size, plan};
use truename_testkit::differential::recording::{Recording, read};

const USAGE: &str =
    "usage: cargo xtask differential [--clusters N] [--seed S] [--questions N] [--keep DIR] [--versions V,V]
       cargo xtask differential --recorded DIR [--misses N]
       cargo xtask differential --plans DIR [--clusters N] [--seed S]";

/// Misses printed in full unless told otherwise.
const MISSES: u64 = 20;

struct Args(Vec<String>);

impl Args {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().position(|arg| arg == name).and_then(|at| self.0.get(at + 1)).map(String::as_str)
    }

    fn number(&self, name: &str, default: u64) -> u64 {
        self.text(name).and_then(|text| text.parse().ok()).unwrap_or(default)
    }
}

fn main() -> ExitCode {
    let args = Args(std::env::args().skip(1).collect());
    if args.0.iter().any(|arg| arg == "--help" || arg == "-h") {
        println!("{USAGE}");
        return ExitCode::from(2);
    }
    let most = usize::try_from(args.number("--misses", MISSES)).unwrap_or(usize::MAX);
    if let Some(dir) = args.text("--recorded") {
        return recorded(Path::new(dir), most);
    }
    if let Some(dir) = args.text("--plans") {
        return write_plans(&args, Path::new(dir)).map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS);
    }
    played(&args, most)
}

fn fail(what: &str) -> ExitCode {
    println!("differential: {what}");
    ExitCode::FAILURE
}

fn write_plans(args: &Args, dir: &Path) -> Result<(), String> {
    let (seed, clusters) = (args.number("--seed", 1), args.number("--clusters", 5));
    let default = Size::default();
    let questions =
        usize::try_from(args.number("--questions", default.questions as u64)).unwrap_or(default.questions);
    std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    for at in seed..seed.saturating_add(clusters) {
        let path = dir.join(format!("c{at:06}.jsonl"));
        std::fs::write(&path, plan(at, Size { questions, ..default }))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Plans, the range, and the judge.
fn played(args: &Args, most: usize) -> ExitCode {
    let scratch = match tempfile::tempdir() {
        Ok(scratch) => scratch,
        Err(error) => return fail(&error.to_string()),
    };
    let plans = scratch.path().join("plans");
    let out = args.text("--keep").map_or_else(|| scratch.path().join("recorded"), PathBuf::from);
    if let Err(error) = write_plans(args, &plans) {
        return fail(&error);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut play = Command::new("python3");
    play.arg(root.join("range/differential")).arg(&plans).arg(&out);
    if let Some(versions) = args.text("--versions") {
        play.args(["--versions", versions]);
    }
    match play.status().map(|status| status.code()) {
        Ok(Some(0)) => recorded(&out, most),
        // What the machine lacks was named by the range itself.
        Ok(Some(75)) => ExitCode::SUCCESS,
        Ok(code) => fail(&format!("range/differential ended with {code:?}")),
        Err(error) => fail(&format!("python3: {error}")),
    }
}

fn recordings(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| {
        path.to_string_lossy().ends_with(".jsonl.zst")
            && !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
    });
    paths.sort();
    if paths.is_empty() { Err(format!("no *.jsonl.zst in {}", dir.display())) } else { Ok(paths) }
}

fn open(path: &Path) -> Result<Recording, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let packed = zstd::Decoder::new(file).map_err(|error| format!("{}: {error}", path.display()))?;
    read(BufReader::new(packed)).map_err(|error| format!("{}: {error}", path.display()))
}

fn recorded(dir: &Path, most: usize) -> ExitCode {
    let paths = match recordings(dir) {
        Ok(paths) => paths,
        Err(error) => return fail(&error),
    };
    // Sections that name no version are those in which all agree: every version of the set answered there.
    let mut versions = BTreeSet::new();
    for path in &paths {
        match open(path) {
            Ok(recording) => versions.extend(versions_of(&recording)),
            Err(error) => return fail(&error),
        }
    }
    let mut figures = Figures::default();
    for path in &paths {
        match open(path) {
            Ok(recording) => judge(&recording, &versions, &mut figures),
            Err(error) => return fail(&error),
        }
    }
    print!("{}", figures.text(most));
    println!("{}", figures.json());
    if figures.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
