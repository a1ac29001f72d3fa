//! Development commands: `tidy` keeps the house; the others start programs of `testkit` and `app`.
//!
//! Depends on no crate of the workspace, so that it builds in seconds and cannot hide behind their code.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

mod source;
mod tidy;

const USAGE: &str = "usage: cargo xtask COMMAND
  tidy                     crate edges, module order, file heads, function sizes, the map in ARCHITECTURE.md
  score DIR                compares every case below DIR with its truth; last line is JSON
  conformance DIR          compares decoders and models with other projects' goldens; last line is JSON
  bench investigate [ARG]  measures the walk stage by stage (release build); last line is JSON
  golden                   rewrites the golden outputs, to be read as a diff
  fuzz [SECONDS]           runs every fuzz target with cargo-fuzz, where a nightly toolchain has it";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let root = workspace_root();
    match words.as_slice() {
        ["tidy"] => report(&tidy::check(&root)),
        ["score", rest @ ..] => testkit(&root, "score", rest, false),
        ["conformance", rest @ ..] => testkit(&root, "conformance", rest, false),
        ["bench", rest @ ..] => testkit(&root, "bench", rest, true),
        ["golden"] => run(Command::new("cargo").args(["test", "--workspace"]).env("UPDATE", "1"), &root),
        ["fuzz", rest @ ..] => fuzz(&root, rest.first().copied().unwrap_or("60")),
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

/// Builds and starts a program of `testkit`; figures are measured on release builds only.
fn testkit(root: &Path, program: &str, args: &[&str], release: bool) -> ExitCode {
    let mut command = Command::new("cargo");
    command.args(["run", "--quiet", "--package", "truename-testkit", "--bin", program]);
    if release {
        command.arg("--release");
    }
    run(command.arg("--").args(args), root)
}

fn fuzz(root: &Path, seconds: &str) -> ExitCode {
    let fuzz_dir = root.join("fuzz");
    let list = Command::new("cargo").args(["+nightly", "fuzz", "list"]).current_dir(&fuzz_dir).output();
    let targets = match list {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        _ => {
            say("fuzz: not run: it needs a nightly toolchain with cargo-fuzz (cargo install cargo-fuzz)");
            return ExitCode::SUCCESS;
        }
    };
    for target in targets.lines() {
        let limit = format!("-max_total_time={seconds}");
        let code =
            run(Command::new("cargo").args(["+nightly", "fuzz", "run", target, "--", &limit]), &fuzz_dir);
        if code != ExitCode::SUCCESS {
            return code;
        }
    }
    ExitCode::SUCCESS
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
