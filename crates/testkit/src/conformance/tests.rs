//! The suites over the corpora, where they are present.

use std::path::PathBuf;

use super::*;

fn corpora() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora");
    let dir = std::env::var_os("TRUENAME_CORPORA").map_or(beside, PathBuf::from);
    dir.join("README.md").exists().then_some(dir)
}

#[test]
fn no_golden_differs_without_a_written_reason() {
    let Some(dir) = corpora() else { return println!("skipped: corpora absent") };
    let mut failed = Vec::new();
    for suite in run(&dir) {
        println!(
            "{}: cases {} agree {} explained {} wrong {}",
            suite.suite, suite.cases, suite.agree, suite.explained, suite.wrong
        );
        for miss in suite.misses.iter().take(20) {
            println!("  {}", miss.chars().take(420).collect::<String>());
        }
        if suite.cases == 0 || suite.wrong > 0 {
            failed.push(suite.suite);
        }
    }
    assert!(failed.is_empty(), "wrong, or nothing to compare: {failed:?}");
}
