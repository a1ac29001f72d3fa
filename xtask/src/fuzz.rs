//! `fuzz [SECONDS]`: every fuzz target with cargo-fuzz, each begun with the seeds of the tests.
//!
//! Says what it does as it goes; the last line is JSON. Deliberately absent: the bodies (`testkit::fuzzing`).

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::say;

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(15);

/// How a target fared.
struct Told {
    target: String,
    executions: Option<u64>,
    /// Where the input lies that breaks it.
    breaks: Option<String>,
    /// Why it did not run.
    not_run: Option<String>,
}

/// Runs every target for `seconds`.
pub(crate) fn run(root: &Path, seconds: &str) -> ExitCode {
    let dir = root.join("fuzz");
    let targets = match targets(&dir) {
        Ok(targets) => targets,
        Err(why) => {
            say(&format!("fuzz: no target was run: {why}"));
            return ExitCode::SUCCESS;
        }
    };
    let seeds = dir.join("corpus/seeds");
    if crate::program(root, "seeds", &[&seeds.to_string_lossy()], false) != ExitCode::SUCCESS {
        return ExitCode::FAILURE;
    }
    let mut told = Vec::new();
    for (index, target) in targets.iter().enumerate() {
        say(&format!("fuzz: {target} ({} of {}), {seconds} s after its build …", index + 1, targets.len()));
        let one = one(&dir, target, seconds, &seeds);
        say(&format!("fuzz: {}", one.line()));
        told.push(one);
    }
    say("");
    told.iter().for_each(|one| say(&format!("  {}", one.line())));
    say(&json(&told));
    if told.iter().all(Told::clean) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Told {
    fn clean(&self) -> bool {
        self.breaks.is_none() && self.not_run.is_none()
    }

    fn line(&self) -> String {
        let Self { target, executions, breaks, not_run } = self;
        match (breaks, not_run) {
            (Some(path), _) => format!("{target:<14} BREAKS on {path}"),
            (None, Some(why)) => format!("{target:<14} not run: {why}"),
            (None, None) => format!("{target:<14} clean, {} executions", executions.unwrap_or(0)),
        }
    }
}

fn json(told: &[Told]) -> String {
    let count = |is: &dyn Fn(&&Told) -> bool| told.iter().filter(is).count();
    let executions: u64 = told.iter().filter_map(|one| one.executions).sum();
    format!(
        "{{\"targets\":{},\"clean\":{},\"broken\":{},\"not_run\":{},\"executions\":{executions}}}",
        told.len(),
        count(&|one| one.clean()),
        count(&|one| one.breaks.is_some()),
        count(&|one| one.not_run.is_some())
    )
}

/// Names of the targets, or why there is nothing to run them with.
fn targets(dir: &Path) -> Result<Vec<String>, String> {
    let nightly = Command::new("cargo").args(["+nightly", "--version"]).output();
    if !nightly.is_ok_and(|output| output.status.success()) {
        return Err("no nightly toolchain (rustup toolchain install nightly)".to_owned());
    }
    // cargo-fuzz would write the lock file anew in silence.
    let locked =
        Command::new("cargo").args(["metadata", "--locked", "--format-version=1"]).current_dir(dir).output();
    if !locked.is_ok_and(|output| output.status.success()) {
        return Err("fuzz/Cargo.lock is not what the manifests ask for (cargo update --workspace in fuzz/)"
            .to_owned());
    }
    let list = Command::new("cargo").args(["+nightly", "fuzz", "list"]).current_dir(dir).output();
    match list {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or_default();
            Err(format!("cargo fuzz does not list them: {last} (cargo install --locked cargo-fuzz)"))
        }
        Err(error) => Err(format!("cargo: {error}")),
    }
}

/// Runs a target, saying now and then how far it is.
fn one(dir: &Path, target: &str, seconds: &str, seeds: &Path) -> Told {
    let mut told = Told { target: target.to_owned(), executions: None, breaks: None, not_run: None };
    let own = dir.join("corpus").join(target);
    let mut command = Command::new("cargo");
    command.args(["+nightly", "fuzz", "run", target]).arg(&own).arg(seeds).arg("--");
    command.args([&format!("-max_total_time={seconds}"), "-print_final_stats=1"]);
    command.current_dir(dir).stdout(Stdio::null()).stderr(Stdio::piped());
    let started = fs::create_dir_all(&own).and_then(|()| command.spawn());
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            told.not_run = Some(error.to_string());
            return told;
        }
    };
    let (mut error, mut last, mut shown) = (None, String::new(), Instant::now());
    let lines = child.stderr.take().map(BufReader::new);
    for line in lines.into_iter().flat_map(|reader| reader.lines().map_while(Result::ok)) {
        if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            told.executions = count.trim().parse().ok();
        }
        if let Some(path) = line.split("Test unit written to ").nth(1) {
            told.breaks = Some(path.to_owned());
        }
        if line.starts_with("error") || line.starts_with("ERROR") {
            error.get_or_insert_with(|| line.clone());
        }
        if shown.elapsed() >= PROGRESS {
            shown = Instant::now();
            say(&format!("  {target}: {}", line.trim()));
        }
        last = line;
    }
    let clean = child.wait().is_ok_and(|status| status.success()) && told.executions.is_some();
    if !clean && told.breaks.is_none() {
        told.not_run = Some(error.unwrap_or(last));
    }
    told
}
