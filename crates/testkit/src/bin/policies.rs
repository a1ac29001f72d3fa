//! `cargo xtask policies [N] [--seed S]`: N random worlds of network policies judged by cyclonus and by us.
//!
//! Builds cyclonus from the Go module proxy into the range's cache if it is not there; where it cannot be had, says so and
//! judges nothing. Prints each difference with what decides it, then counts, and as its last line JSON.

#![allow(clippy::print_stdout, reason = "a development command prints")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use truename_testkit::policies::cyclonus::{Compared, world};

/// Where `range/parts/build` puts the evaluator.
const PART: &str = "parts/cyclonus-0.5.6/cyclonus";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (worlds, seed) = match words.as_slice() {
        [] => (Some(2_000), Some(1)),
        [worlds] => (worlds.parse().ok(), Some(1)),
        ["--seed", seed] => (Some(2_000), seed.parse().ok()),
        [worlds, "--seed", seed] => (worlds.parse().ok(), seed.parse().ok()),
        _ => (None, None),
    };
    let (Some(worlds), Some(seed)): (Option<u64>, Option<u64>) = (worlds, seed) else {
        println!("usage: cargo xtask policies [N] [--seed S]");
        return ExitCode::from(2);
    };
    let Some(program) = program() else {
        println!(
            "skipped: policies (cyclonus is not in the cache and `range/parts/build --policies` cannot build it)"
        );
        println!("{}", serde_json::json!({"skipped": "cyclonus could not be had"}));
        return ExitCode::SUCCESS;
    };
    match run(&program, worlds, seed) {
        Ok(wrong) => {
            if wrong == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            println!("policies: {error}");
            ExitCode::FAILURE
        }
    }
}

fn program() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/truename"));
    let cache = std::env::var_os("TRUENAME_CACHE").map(PathBuf::from).or_else(home)?;
    let path = cache.join(PART);
    if !path.is_file() {
        // From the Go module proxy into the cache; what cannot be had is missing afterwards.
        let _ = Command::new("range/parts/build").arg("--policies").status();
    }
    Some(path).filter(|path| path.is_file())
}

fn run(program: &Path, worlds: u64, seed: u64) -> Result<u64, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (mut agree, mut allowed, mut explained, mut wrong) = (0, 0, 0, 0);
    for seed in (0..worlds).map(|index| seed.wrapping_add(index)) {
        let compared = one(program, dir.path(), seed).map_err(|error| format!("seed {seed}: {error}"))?;
        agree += compared.agree;
        allowed += compared.allowed;
        if compared.differences.iter().any(|difference| difference.decided.is_none()) {
            println!("seed {seed}: policies {}", world(seed).policy_file());
        }
        for difference in compared.differences {
            match difference.decided {
                Some(reason) => {
                    explained += 1;
                    println!("{}\n    decided: {reason}", difference.what);
                }
                None => {
                    wrong += 1;
                    println!("{}\n    WRONG", difference.what);
                }
            }
        }
    }
    let flows = agree + explained + wrong;
    println!(
        "{worlds} worlds, {flows} flows: {agree} agree ({allowed} allowed), {explained} differ and are decided by the API text, {wrong} differ"
    );
    println!(
        "{}",
        serde_json::json!({"worlds": worlds, "flows": flows, "agree": agree, "allowed": allowed, "explained": explained, "wrong": wrong, "seed": seed})
    );
    Ok(wrong)
}

fn one(program: &Path, dir: &Path, seed: u64) -> Result<Compared, String> {
    let world = world(seed);
    let (policies, traffic) = (dir.join("policies.json"), dir.join("traffic.json"));
    std::fs::write(&policies, world.policy_file()).map_err(|error| error.to_string())?;
    std::fs::write(&traffic, world.traffic_file()).map_err(|error| error.to_string())?;
    let output = Command::new(program)
        .args(["analyze", "--mode", "query-traffic", "--policy-path"])
        .arg(&policies)
        .arg("--traffic-path")
        .arg(&traffic)
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    world.compare(&String::from_utf8_lossy(&output.stdout))
}
