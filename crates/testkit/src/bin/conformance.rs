//! `cargo xtask conformance DIR`: every suite against other projects' goldens, each miss with its reason, then JSON.

#![allow(clippy::print_stdout, reason = "a development command prints")]

use std::path::Path;
use std::process::ExitCode;

use truename_testkit::suite::SuiteResult;
use truename_testkit::{conformance, corefiles, oracle};

fn main() -> ExitCode {
    let Some(dir) = std::env::args().nth(1) else {
        println!("usage: cargo xtask conformance DIR");
        return ExitCode::from(2);
    };
    let dir = Path::new(&dir);
    if !dir.is_dir() {
        println!("skipped: conformance (no corpora at {})", dir.display());
        return ExitCode::SUCCESS;
    }
    let mut suites: Vec<SuiteResult> = vec![oracle::run(&dir.join("k8s_dns/extracted/coredns_oracle.json"))];
    suites.extend(conformance::run(dir));
    suites.extend(corefiles::run(dir));
    for suite in &suites {
        println!(
            "{:<34} cases {:>6}  agree {:>6}  explained {:>5}  wrong {:>4}",
            suite.suite, suite.cases, suite.agree, suite.explained, suite.wrong
        );
        suite.misses.iter().for_each(|miss| println!("    {miss}"));
    }
    let empty: Vec<&str> =
        suites.iter().filter(|suite| suite.cases == 0).map(|suite| suite.suite.as_str()).collect();
    if !empty.is_empty() {
        println!("no cases found for: {}", empty.join(", "));
    }
    println!("{}", serde_json::to_string(&suites).unwrap_or_default());
    let passed = suites.iter().all(|suite| suite.wrong == 0 && suite.cases > 0);
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
