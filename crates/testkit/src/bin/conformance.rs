//! `cargo xtask conformance DIR`: every suite against other projects' goldens, each miss with its reason, then JSON.

#![allow(clippy::print_stdout, reason = "a development command prints")]

use std::path::Path;
use std::process::ExitCode;

use truename_testkit::policies::tables;
use truename_testkit::suite::SuiteResult;
use truename_testkit::{conformance, corefiles, oracle};

/// A group of suites over the folder of the corpora.
type Group = (&'static str, fn(&Path) -> Vec<SuiteResult>);

const GROUPS: [Group; 4] = [
    ("truth", |dir| vec![oracle::run(&dir.join("k8s_dns/extracted/coredns_oracle.json"))]),
    ("decoders", conformance::run),
    ("corefiles", corefiles::run),
    ("policies", |dir| vec![tables::run(&dir.join("netpol/np-guard+network-config-analyzer/tests"))]),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let group = words.get(1).map(String::as_str);
    let known = group.is_none_or(|wanted| GROUPS.iter().any(|(name, _)| *name == wanted));
    let (Some(dir), true) = (words.first(), known) else {
        println!("usage: cargo xtask conformance DIR [truth|decoders|corefiles|policies]");
        return ExitCode::from(2);
    };
    let dir = Path::new(dir);
    if !dir.is_dir() {
        println!("skipped: conformance (no corpora at {})", dir.display());
        return ExitCode::SUCCESS;
    }
    let wanted = GROUPS.iter().filter(|(name, _)| group.is_none_or(|wanted| wanted == *name));
    let suites: Vec<SuiteResult> = wanted.flat_map(|(_, run)| run(dir)).collect();
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
