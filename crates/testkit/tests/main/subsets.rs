//! Evidence may only shrink claims: recordings with sources taken out claim nothing beyond the truth or the whole.
//!
//! A covering choice here; `cargo xtask score cases --subsets` runs every subset of every full case.

use truename_testkit::subsets::{Whole, cuts, sources, subset};

use crate::mutations::recording;

/// Cases whose claims depended on evidence in different ways, and how many subsets of each are run.
const CASES: [&str; 6] =
    ["on-path", "dns-impostor", "externalname-drift", "corefile-tamper", "forged-upstream", "recon"];

/// Subsets in which any two sources are together, apart either way, and both absent: bit `n` of a row says whether the
/// source that has number `n` modulo ten is there.
const ROWS: [u32; 6] =
    [0b11_1111_1111, 0b00_0000_1111, 0b00_0111_0001, 0b01_1011_0010, 0b10_1101_0100, 0b11_0110_1000];

#[test]
fn evidence_taken_away_makes_no_claim_grow() {
    let (mut runs, mut wrong) = (0, Vec::new());
    for (at, case) in CASES.iter().enumerate() {
        let whole = Whole::new(recording(case)).unwrap();
        let last = (1u32 << sources(whole.recording()).len()) - 1;
        let masks = ROWS.iter().skip(1).flat_map(|row| [row & last, !row & last]);
        // Each case takes its part of the rows; of the smallest every single source as well.
        let mut chosen: Vec<u32> = masks.skip(at % 3).step_by(3).collect();
        if at == 0 {
            chosen.extend((0..sources(whole.recording()).len()).map(|bit| 1 << bit));
        }
        let parts = chosen.into_iter().filter(|mask| *mask != 0).map(|mask| subset(whole.recording(), mask));
        let cut = cuts(whole.recording()).unwrap().into_iter().skip(at).step_by(CASES.len() * 2);
        for part in parts.chain(cut) {
            runs += 1;
            for violation in whole.compare(&part.recording).unwrap() {
                wrong.push(format!("{case} [{}] {}: {}", part.name, violation.kind, violation.what));
            }
        }
    }
    assert!(runs > 20, "{runs} partial recordings");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// To the server that took it, and so to its tap, a forged answer is like any other; another server's tap disputes it.
#[test]
fn the_tap_of_the_poisoned_server_alone_says_nothing_good_of_its_answers() {
    let whole = Whole::new(recording("forged-upstream")).unwrap();
    let keep = |name: &str| {
        let tap = name.contains("dnstap/") && name.contains("coredns-1-14-4-");
        tap || name.contains("watch/") || name.contains("objects/")
    };
    let rest = whole.recording().clone().without_files(&|name| !keep(name));
    let lies = rest.case.truth.iter().filter(|line| !line.is_true).count();
    assert!(lies > 20, "{lies}");
    let wrong: Vec<String> = whole.compare(&rest).unwrap().into_iter().map(|one| one.what).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
