//! `cargo xtask score DIR`: the table of every case, what differs, and one line of JSON.

#![allow(clippy::print_stdout, reason = "a development command prints")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use truename_testkit::recording::Recording;
use truename_testkit::score::{Score, score_case};
use truename_testkit::subsets::{Claims, Violation, Whole, cuts, scattered, single_lists, sources, subset};
use truename_testkit::truth_file::{Strength, find_cases, must_fire, read_case};

/// Partial recordings of each case with files chosen by chance.
const SCATTERED: u64 = 40;
const STRENGTH: &str = include_str!("../../../../docs/formats/verdict-strength.tsv");

fn main() -> ExitCode {
    let (options, words): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word.starts_with("--"));
    let (root, only, subsets) = match (words.as_slice(), options.as_slice()) {
        ([root], []) => (root, None, false),
        ([root, only], []) => (root, Some(only), false),
        ([root], [option]) if option == "--subsets" => (root, None, true),
        ([root, only], [option]) if option == "--subsets" => (root, Some(only), true),
        _ => {
            println!("usage: cargo xtask score DIR [CASE] [--subsets]");
            return ExitCode::from(2);
        }
    };
    if subsets {
        return match every_subset(Path::new(root), only.map(String::as_str)) {
            Ok(0) => ExitCode::SUCCESS,
            Ok(_) => ExitCode::FAILURE,
            Err(error) => {
                println!("score: {error}");
                ExitCode::FAILURE
            }
        };
    }
    match run(Path::new(root), only.map(String::as_str)) {
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

/// Every subset of the sources of every full case, and its cuts in time: how many claims were not allowed.
fn every_subset(root: &Path, only: Option<&str>) -> std::io::Result<usize> {
    let (mut runs, mut wrong, mut cases) = (0, 0, 0);
    for dir in find_cases(root)? {
        let case = read_case(&dir)?;
        if case.case.partial_of.is_some() || only.is_some_and(|only| only != case.case.name) {
            continue;
        }
        let name = case.case.name.clone();
        let mut grown = Grown::default();
        subsets_of(Whole::new(Recording::of(case)?)?, &mut grown)?;
        println!(
            "{name:<26} {:>4} partial recordings, {:>4} claim more than they may",
            grown.runs, grown.bad
        );
        for (kind, (count, part, what)) in &grown.seen {
            println!("    {count:>6} × {kind}, as in [{part}]: {what}");
        }
        (cases, runs, wrong) = (cases + 1, runs + grown.runs, wrong + grown.bad);
    }
    println!("{{\"cases\":{cases},\"partial_recordings\":{runs},\"claims_grew\":{wrong}}}");
    Ok(wrong)
}

/// Claims that were not allowed.
#[derive(Default)]
struct Grown {
    runs: usize,
    bad: usize,
    /// Per kind: how often, and the smallest partial recording that shows it, against which one.
    seen: BTreeMap<String, (usize, String, String)>,
}

impl Grown {
    fn add(&mut self, part: &str, violations: Vec<Violation>) {
        self.runs += 1;
        self.bad += usize::from(!violations.is_empty());
        for violation in violations {
            let fresh = || (0, part.to_owned(), violation.what.clone());
            let entry = self.seen.entry(violation.kind).or_insert_with(fresh);
            entry.0 += 1;
            if part.len() < entry.1.len() {
                (entry.1, entry.2) = (part.to_owned(), violation.what);
            }
        }
    }
}

/// A subset is compared with every one that has one source more, the whole last: so no claim grows on any way to it.
fn subsets_of(whole: Whole, grown: &mut Grown) -> std::io::Result<()> {
    let recording = whole.recording();
    let count = sources(recording).len();
    let last = (1u32 << count) - 1;
    let mut claims: BTreeMap<u32, Claims> = BTreeMap::from([(last, whole.claims().clone())]);
    for mask in (1..last).rev() {
        let part = subset(recording, mask);
        let said = Claims::of(&part.recording)?;
        let mut violations = said.false_claims.clone();
        for more in (0..count).map(|bit| mask | 1 << bit).filter(|more| *more != mask) {
            let Some(larger) = claims.get(&more) else { continue };
            violations.extend(said.beyond(larger).into_iter().map(|mut one| {
                one.what = format!("{}, which is [{}]", one.what, subset(recording, more).name);
                one
            }));
        }
        grown.add(&part.name, violations);
        claims.insert(mask, said);
    }
    for (mask, part) in single_lists(recording) {
        let said = Claims::of(&part.recording)?;
        let beyond = claims.get(&mask).map(|more| said.beyond(more)).unwrap_or_default();
        grown.add(&part.name, said.false_claims.into_iter().chain(beyond).collect());
    }
    for part in cuts(recording)?.into_iter().chain(scattered(recording, SCATTERED)?) {
        let violations = whole.compare(&part.recording)?;
        grown.add(&part.name, violations);
    }
    Ok(())
}
