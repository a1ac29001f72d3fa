//! `cargo xtask score DIR`: the table of every case, what differs, and one line of JSON.

#![allow(clippy::print_stdout, reason = "a development command prints")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use truename_testkit::score::{Score, score_case};
use truename_testkit::truth_file::{Strength, find_cases, must_fire, read_case};

const STRENGTH: &str = include_str!("../../../../docs/formats/verdict-strength.tsv");

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(root), only) = (args.next(), args.next()) else {
        println!("usage: cargo xtask score DIR [CASE]");
        return ExitCode::from(2);
    };
    match run(Path::new(&root), only.as_deref()) {
        Ok((total, full)) => {
            println!(
                "full recordings: {} of {} lookups with one possible owner exact, {} of {} answers weaker than possible",
                full.one_owner_exact, full.one_owner, full.weaker_than_possible, full.lookups
            );
            println!("{}", serde_json::to_string(&total).unwrap_or_default());
            if total.passes() && full.is_strong() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            println!("score: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(root: &Path, only: Option<&str>) -> std::io::Result<(Score, Score)> {
    let strength = Strength::parse(STRENGTH);
    let (mut total, mut whole) = (Score::default(), Score::default());
    let mut fired = BTreeSet::new();
    for dir in find_cases(root)? {
        let case = read_case(&dir)?;
        if only.is_some_and(|only| only != case.case.name) {
            continue;
        }
        let full = match &case.case.partial_of {
            Some(name) => read_case(&dir.with_file_name(name))?.case.expect,
            None => Vec::new(),
        };
        let work = tempfile::tempdir()?;
        let compared = score_case(&case, &strength, &full, work.path())?;
        let score = &compared.score;
        println!(
            "{:<26} lookups {:>5}  exact {:>5} of {:>5}  wrong {}  verified {:>5}  weaker {:>4}  false+ {} false- {} missed {}  findings -{} +{}",
            case.case.name,
            score.lookups,
            score.one_owner_exact,
            score.one_owner,
            score.wrong_exact,
            score.verified,
            score.weaker_than_possible,
            score.false_contradicted,
            score.verified_but_false,
            score.missed_contradicted,
            score.findings_missing,
            score.findings_extra
        );
        let shown = if only.is_some() { compared.differences.len() } else { 12 };
        compared.differences.iter().take(shown).for_each(|line| println!("    {line}"));
        total.add(score);
        if compared.full {
            whole.add(score);
            fired.extend(compared.fired);
        }
    }
    let silent: Vec<String> = must_fire(root).into_iter().filter(|rule| !fired.contains(rule)).collect();
    if only.is_none() && !silent.is_empty() {
        return Err(std::io::Error::other(format!(
            "no full case shows these rules firing: {}",
            silent.join(" ")
        )));
    }
    Ok((total, whole))
}
