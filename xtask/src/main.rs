//! Development commands: `tidy` keeps the house; the others start programs of `testkit` and `app`.
//!
//! Depends on no crate of the workspace, so that it builds in seconds and cannot hide behind their code.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

mod fuzz;
mod source;
mod tidy;

const USAGE: &str = "usage: cargo xtask COMMAND
  tidy                     crate edges, module order, file heads, function sizes, the map in ARCHITECTURE.md
  score DIR [CASE]         compares every case below DIR with its truth; last line is JSON
  score DIR [CASE] --subsets
                           the same for every subset of the sources of each full case: no claim may grow (release build)
  conformance DIR [GROUP]  compares decoders and models with other projects' goldens; last line is JSON
  differential [ARG]       random clusters on real CoreDNS against the truth model (range/differential); last line is JSON
                           --recorded DIR judges recordings instead; --clusters N, --seed S, --keep DIR (goes on
                           with what is recorded there), --versions V,V, --plans DIR
  policies [N] [--seed S]  judges N random worlds of network policies by cyclonus too; last line is JSON
  bench investigate [ARG]  measures the walk stage by stage (release build); last line is JSON
  bench truth              verdicts per second and core, repeated and distinct, and their growth; last line is JSON
  demo [ARG]               the program's demo, from the build that the tests share
  golden                   rewrites the golden outputs, to be read as a diff
  fuzz [SECONDS]           runs every fuzz target with cargo-fuzz, where a nightly toolchain has it";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let root = workspace_root();
    match words.as_slice() {
        ["tidy"] => report(&tidy::check(&root)),
        ["score", rest @ ..] => program(&root, "score", rest, rest.contains(&"--subsets")),
        ["conformance", rest @ ..] => program(&root, "conformance", rest, false),
        ["differential", rest @ ..] => program(&root, "differential", rest, false),
        ["policies", rest @ ..] => program(&root, "policies", rest, false),
        ["bench", rest @ ..] => program(&root, "bench", rest, true),
        ["demo", ..] => program(&root, "truename", &words, false),
        ["golden"] => run(Command::new("cargo").args(["test", "--workspace"]).env("UPDATE", "1"), &root),
        ["fuzz", rest @ ..] => fuzz::run(&root, rest.first().copied().unwrap_or("60")),
        _ => {
            say(USAGE);
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stderr, reason = "a development command talks to its caller")]
fn say(text: &str) {
    eprintln!("{text}");
}

fn report(problems: &[String]) -> ExitCode {
    for problem in problems {
        say(problem);
    }
    say(&format!("tidy: {} problems", problems.len()));
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Builds and starts a program of the workspace; figures are measured on release builds only.
///
/// `--workspace` and an example (which needs development dependencies) make cargo choose the features that `cargo test
/// --workspace` chooses: nothing is compiled a second time after the tests.
fn program(root: &Path, name: &str, args: &[&str], release: bool) -> ExitCode {
    let mut build = Command::new("cargo");
    build.args(["build", "--quiet", "--workspace", "--bin", name, "--example", "throughput"]);
    if release {
        build.arg("--release");
    }
    let built = run(&mut build, root);
    // Beside this program, which cargo has just built in the development profile.
    let here = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.parent()?.to_path_buf()));
    match here {
        _ if built != ExitCode::SUCCESS => built,
        Some(target) => {
            let profile = if release { "release" } else { "debug" };
            run(Command::new(target.join(profile).join(name)).args(args), root)
        }
        None => ExitCode::FAILURE,
    }
}

fn run(command: &mut Command, dir: &Path) -> ExitCode {
    match command.current_dir(dir).status() {
        Ok(status) => {
            status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
        }
        Err(error) => {
            say(&format!("{}: {error}", command.get_program().to_string_lossy()));
            ExitCode::FAILURE
        }
    }
}
