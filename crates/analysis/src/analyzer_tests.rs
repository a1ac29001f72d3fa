//! The façade: counters add up, and neither batches nor waiting facts change what comes out.

use super::*;
use crate::fixture::*;
use proptest::prelude::*;
use truename_model::time::MILLI;
use truename_model::{ClockBasis, ObservedAt, Origin, OriginId, Profile, RecordRef, Sha256};

fn run(observations: &[Observation], batch: usize) -> (Vec<String>, Outcome) {
    let origins = vec![Origin::default(); 8];
    let items = vec![Sha256::default(); 8];
    let profile = Profile::default();
    let cx = Context { knowledge: &Small, profile: &profile, origins: &origins, items: &items };
    let mut analyzer = Analyzer::new(cx, &[]).unwrap();
    let mut shown = Vec::new();
    for part in observations.chunks(batch.max(1)) {
        let mut part = part.to_vec();
        analyzer.observe(&mut part, &mut |judged| shown.push(format!("{judged:?}")));
        assert!(part.is_empty());
    }
    let (outcome, _) = analyzer.finish(&mut |judged| shown.push(format!("{judged:?}")));
    (shown, outcome)
}

fn line(ms: i64, diagnostic: Diagnostic) -> Observation {
    Observation {
        record: RecordRef { item: 0, ordinal: ms as u64 },
        at: ObservedAt::Known(Interval::at(Nanos(T0 + ms * MILLI)), ClockBasis::ContainerRuntime),
        origin: OriginId(0),
        event: Event::Diagnostic(diagnostic),
    }
}

/// Searches of a few pods, some answered falsely, with lines of the server between them.
fn day() -> Vec<Observation> {
    let mut all = Vec::new();
    for n in 0..40u16 {
        let at = f64::from(n) * 700.0;
        let client = format!("10.244.1.{}:{}", n % 5, 40_000 + n);
        let svc = format!("s{}.shop.svc.cluster.local", n % 7);
        let ip = if n % 9 == 8 { "203.0.113.66" } else { "10.96.0.1" };
        all.push(cq(at, &client, n, &svc).0);
        all.push(cr(at + 0.3, &client, n, &svc, &[a(&svc, ip, 30)]).asked(at).0);
        all.push(log(at + 1.0, &client, n, &svc, 0.3).0);
        all.push(line(i64::from(n) * 700 + 2, Diagnostic::Other("x".to_owned())));
    }
    all.push(log(99_000.0, POD, 1, "late.example", 0.1).timeless().0);
    all
}

#[test]
fn counters_add_up() {
    let (shown, outcome) = run(&day(), 7);
    let coverage = &outcome.coverage;
    assert_eq!((shown.len(), coverage.lookups), (41, 41));
    assert_eq!(coverage.attribution.values().sum::<u64>(), 41);
    assert_eq!(coverage.verdicts.values().sum::<u64>(), 41);
    assert_eq!(coverage.attribution.get("unknown"), Some(&1));
    assert_eq!(coverage.verdicts.get("contradicted"), Some(&4));
    assert_eq!(coverage.verdicts.get("unverifiable"), Some(&1));
    assert_eq!(coverage.unverifiable.values().sum::<u64>(), 1);
}

#[test]
fn facts_that_wait_are_bounded() {
    let profile = Profile::default();
    let cx = Context { knowledge: &Small, profile: &profile, origins: &[], items: &[] };
    let mut analyzer = Analyzer::new(cx, &[]).unwrap();
    for n in 0..200_000i64 {
        let mut batch = vec![line(n / 1_000, Diagnostic::Other(String::new()))];
        analyzer.observe(&mut batch, &mut |_| {});
        assert!(analyzer.lines.len() <= WAITING_MAX + 1);
    }
    assert!(analyzer.finish(&mut |_| {}).0.coverage.evictions.contains_key("facts shown early"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn batches_do_not_matter(batch in 1usize..60) {
        let day = day();
        prop_assert_eq!(run(&day, batch), run(&day, usize::MAX));
    }
}
