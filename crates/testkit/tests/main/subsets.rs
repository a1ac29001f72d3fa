//! Evidence may only shrink claims: recordings with sources taken out claim nothing beyond the truth or the whole.
//!
//! A covering choice here; `cargo xtask score cases --subsets` runs every subset of every full case.

use truename_model::Nanos;
use truename_testkit::recording::source_of;
use truename_testkit::subsets::{Claims, Partial, Whole, cuts, single_lists, sources, subset};

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

/// What is left of a case where only the named sources were kept.
fn only(whole: &Whole, words: &[&str]) -> Partial {
    let all = sources(whole.recording());
    let bits = all.iter().enumerate().filter(|(_, word)| words.contains(word));
    subset(whole.recording(), bits.fold(0, |mask, (bit, _)| mask | 1 << bit))
}

#[test]
fn a_claim_that_grows_is_seen() {
    // The other way round: what the objects add counts as growth.
    let whole = Whole::new(recording("recon")).unwrap();
    let less = Whole::new(only(&whole, &["log", "dnstap"]).recording).unwrap();
    let grown = less.compare(whole.recording()).unwrap();
    let kinds: std::collections::BTreeSet<&str> = grown.iter().map(|one| one.kind.as_str()).collect();
    assert!(kinds.contains("exact beyond the whole"), "{kinds:?}");
    assert!(kinds.iter().any(|kind| kind.starts_with("finding beyond the whole")), "{kinds:?}");
}

/// A NodeLocal cache that was there before an audit log begins asks from its node's address, and nothing shows it.
#[test]
fn a_log_of_changes_names_no_node_from_which_a_cache_may_ask() {
    let whole = Whole::new(recording("node-local")).unwrap();
    for words in [&["log", "audit"][..], &["log"], &["dnstap", "audit"]] {
        let part = only(&whole, words);
        let grown = whole.compare(&part.recording).unwrap();
        assert!(grown.is_empty(), "{}: {:?}", part.name, grown.first());
    }
    // An address of which nothing is known may be the node's, too.
    let claims = |words: &[&str]| Claims::of(&only(&whole, words).recording).unwrap();
    let grown = claims(&["dnstap"]).beyond(&claims(&["dnstap", "audit"]));
    assert!(grown.is_empty(), "{:?}", grown.first());
}

#[test]
fn objects_alone_tell_of_a_capture_no_more_than_with_its_lookups() {
    let whole = Whole::new(recording("search-capture")).unwrap();
    let grown = whole.compare(&only(&whole, &["audit"]).recording).unwrap();
    assert!(grown.is_empty(), "{grown:?}");
}

/// The older of two lists of objects names pods that the newer one does not; it takes nothing from what that one proves.
#[test]
fn one_list_of_objects_less_makes_nothing_exact() {
    let whole = Whole::new(recording("benign-day")).unwrap();
    let words = ["dnstap", "pcap-client", "corefile", "objects"];
    let both = only(&whole, &words);
    let all = Claims::of(&both.recording).unwrap();
    let mut exact = Vec::new();
    for (_, part) in single_lists(whole.recording()).into_iter().filter(|(_, part)| {
        part.name.strip_prefix(&both.name).is_some_and(|rest| rest.starts_with(" without "))
    }) {
        let said = Claims::of(&part.recording).unwrap();
        let grown = said.beyond(&all);
        assert!(grown.is_empty() && said.false_claims.is_empty(), "{}: {:?}", part.name, grown.first());
        exact.push(said.exact());
    }
    // The older list alone says nothing of what came after it; the newer one says since when it holds.
    assert!(
        exact.len() == 2 && exact.iter().all(|exact| *exact <= all.exact()),
        "{exact:?} of {}",
        all.exact()
    );
    assert!(exact.iter().any(|exact| *exact > 1_000), "{exact:?}");
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

/// The first that an audit log tells of a server is a change of its status: it was there since it was created.
#[test]
fn a_server_that_an_audit_log_names_late_leaves_no_doubt_of_its_clock() {
    let whole = Whole::new(recording("benign-day")).unwrap();
    let claims = |words: &[&str]| Claims::of(&only(&whole, words).recording).unwrap();
    let less = claims(&["pcap-client", "audit"]);
    let grown = less.beyond(&claims(&["log", "pcap-client", "audit"]));
    assert!(grown.is_empty() && less.exact() > 0, "{}: {:?}", less.exact(), grown.first());
}

/// Watches that all fall silent together, after changes every few seconds, were cut: they say nothing of what came later.
#[test]
fn watches_that_break_off_name_nobody_afterwards() {
    let whole = Whole::new(recording("benign-day")).unwrap();
    let cut = Nanos::parse_rfc3339(b"2026-11-25T03:21:45Z").unwrap();
    let mut rest = whole
        .recording()
        .clone()
        .without_files(&|name| matches!(source_of(name), "audit") || name.ends_with("objects/end.json"));
    rest.without(&|shown| source_of(shown.file) == "watch" && shown.at.is_some_and(|at| at > cut)).unwrap();
    let grown = whole.compare(&rest).unwrap();
    assert!(grown.is_empty(), "{}: {:?}", grown.len(), grown.first());
}

/// Of a configuration that ran between two others nothing is left but what it answered.
#[test]
fn a_version_of_the_corefile_that_nobody_kept_contradicts_nothing() {
    let whole = Whole::new(recording("corefile-tamper")).unwrap();
    let rest = whole.recording().clone().without_files(&|name| {
        source_of(name) == "audit" || name.ends_with("watch/configmaps.jsonl") || name.contains("corefile/2-")
    });
    assert!(rest.names().any(|name| name.contains("corefile/1-")), "{:?}", rest.names().collect::<Vec<_>>());
    let grown = whole.compare(&rest).unwrap();
    assert!(grown.is_empty(), "{}: {:?}", grown.len(), grown.first());
}
