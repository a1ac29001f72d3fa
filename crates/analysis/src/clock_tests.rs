//! Offsets found, refused and applied.

use super::*;
use crate::fixture::*;
use truename_model::time::MILLI;
use truename_model::{Interval, Known};

const N: &str = "www.example.com";

fn shifted(mut m: Msg, ns: i64) -> Observation {
    if let ObservedAt::Known(at, _) = &mut m.0.at {
        *at = at.shifted(ns);
    }
    if let Event::Dns(dns) = &mut m.0.event
        && let Some(time) = &mut dns.query_time
    {
        *time = time.plus(ns);
    }
    m.0
}

fn find(observations: &[Observation]) -> Vec<Offset> {
    let mut estimator = Estimator::new(&vec![Origin::default(); 4]);
    observations.iter().for_each(|o| estimator.observe(o));
    estimator.finish()
}

/// Twenty lookups seen by log (item 0), tap (1) and packets (2), with an offset of each clock.
fn lookups(log_ns: i64, tap_ns: i64, packet_ns: i64) -> Vec<Observation> {
    let mut all = Vec::new();
    for n in 0..20u16 {
        let (at, client) = (f64::from(n) * 977.0, format!("10.244.1.5:{}", 40_000 + n));
        all.push(shifted(cr(at + 2.0, &client, n, N, &[]).asked(at), tap_ns));
        all.push(shifted(pr(at + 2.1, &client, n, N, &[]), packet_ns));
        all.push(shifted(log(at + 5.0 + f64::from(n), &client, n, N, 2.0), log_ns));
    }
    all
}

const HOUR: i64 = 3_600 * SECOND;

#[test]
fn an_hour_between_log_and_tap_is_found_and_undone() {
    let mut all = lookups(-HOUR, 0, 0);
    let found = find(&all);
    assert_eq!(found.len(), 3);
    let (lo, hi) = found[0].bounds;
    assert!(lo <= HOUR && HOUR - 30 * MILLI <= hi && hi - lo < 50 * MILLI, "{lo} {hi}");
    assert!(found[0].basis.contains("20 answers"), "{}", found[0].basis);
    let offsets = Offsets::new(&found, &vec![Origin::default(); 4]);
    assert_eq!(offsets.of(OriginId(1)), (0, 0));
    let before = all[2].at.interval().unwrap();
    offsets.apply(&mut all[2]);
    let after = all[2].at.interval().unwrap();
    assert_eq!(after, Interval { lo: before.lo.plus(lo), hi: before.hi.plus(hi) });
}

#[test]
fn the_majority_is_the_reference() {
    let found = find(&lookups(0, HOUR, 0));
    let tap = found.iter().find(|offset| offset.origin == OriginId(1)).unwrap();
    assert!((tap.bounds.0 + HOUR).abs() < SECOND, "{tap:?}");
    let others = found.iter().filter(|offset| offset.origin != OriginId(1));
    assert!(others.map(|offset| offset.bounds).all(|(lo, hi)| is_noise(lo, hi)));
}

#[test]
fn the_lag_of_a_log_is_no_clock() {
    let found = find(&lookups(0, 0, 0));
    let offsets = Offsets::new(&found, &vec![Origin::default(); 4]);
    assert_eq!((0..3).map(|n| offsets.of(OriginId(n))).collect::<Vec<_>>(), [(0, 0); 3]);
}

#[test]
fn an_offset_that_takes_lookups_apart_is_contradicted() {
    let found = find(&lookups(-HOUR, 0, 0));
    let contradicted = |offset: Option<i64>, item: usize| {
        let mut origins = vec![Origin::default(); 4];
        if let Some(offset) = offset {
            origins[item].clock_offset_ns = truename_model::Known::Given((offset, offset));
        }
        let offsets = Offsets::new(&found, &origins);
        offsets.contradicted().iter().map(|offset| offset.origin.0).collect::<Vec<_>>()
    };
    assert_eq!(contradicted(None, 0), [0; 0]);
    assert_eq!(contradicted(Some(HOUR), 0), [0; 0], "what the lookups say themselves");
    assert_eq!(contradicted(Some(0), 0), [0]);
    assert_eq!(contradicted(Some(-HOUR), 0), [0]);
    assert_eq!(contradicted(Some(-HOUR), 2), [2]);
}

/// Nobody can tell which of the two is meant, so nothing is claimed by one alone.
#[test]
fn a_contradicted_offset_makes_the_times_as_wide_as_both() {
    let found = find(&lookups(0, 0, 0));
    let mut origins = vec![Origin::default(); 4];
    origins[0].clock_offset_ns = Known::Given((HOUR, HOUR));
    let offsets = Offsets::new(&found, &origins);
    let (lo, hi) = offsets.of(OriginId(0));
    assert!(lo < SECOND && hi == HOUR, "{lo} {hi}");
    let (lo, hi) = offsets.of(OriginId(1));
    assert!(lo <= 0 && hi > HOUR - SECOND, "{lo} {hi}");
}

/// A replica that started anew has two log files: they are one clock, and the tap is the better one.
#[test]
fn rotated_logs_do_not_outvote_a_tap() {
    let halves = lookups(HOUR, 0, 0).into_iter().filter(|o| o.origin != OriginId(2)).enumerate();
    let all: Vec<Observation> = halves
        .map(|(index, mut observation)| {
            if observation.origin == OriginId(0) && index >= 20 {
                (observation.origin, observation.record.item) = (OriginId(3), 3);
            }
            observation
        })
        .collect();
    let found = find(&all);
    let offsets = Offsets::new(&found, &vec![Origin::default(); 4]);
    assert_eq!(offsets.of(OriginId(1)), (0, 0), "{found:?}");
    assert!(
        (offsets.of(OriginId(0)).0 + HOUR).abs() < SECOND
            && (offsets.of(OriginId(3)).0 + HOUR).abs() < SECOND
    );
}

#[test]
fn chance_meetings_give_no_offset() {
    // The same ports and ids at unrelated times.
    let mut all = Vec::new();
    for n in 0..20u16 {
        let client = format!("10.244.1.5:{}", 40_000 + n);
        all.push(cr(f64::from(n) * 1_000.0, &client, n, N, &[]).0);
        all.push(pr(f64::from(n * n) * 7_919.0, &client, n, N, &[]).0);
    }
    assert_eq!(find(&all), []);
    assert_eq!(find(&lookups(0, 0, 0)[..6]), [], "two lookups are too few");
}

/// A replica is down: its clients ask again after five seconds and another replica answers.
#[test]
fn second_tries_at_another_replica_are_no_clock() {
    let at_replica = |m: Msg, item: u32| {
        let mut m = m;
        (m.0.origin, m.0.record.item) = (OriginId(item), item);
        m.0
    };
    let mut all = Vec::new();
    for n in 0..200u16 {
        let (at, client) = (f64::from(n) * 977.0, format!("10.244.1.5:{}", 40_000 + n));
        // Packets at the dead replica's node (item 3), the tap of the living one (item 1).
        all.push(at_replica(pq(at, &client, n, N), 3));
        all.push(at_replica(cr(at + 5_000.0, &client, n, N, &[]), 1));
        // A few were answered by both, the second time five seconds later.
        if n < 4 {
            all.push(at_replica(pr(at + 1.0, &client, n, N, &[]), 3));
        } else {
            all.push(at_replica(pr(at + 1.0, &format!("10.244.1.6:{}", 40_000 + n), n, N, &[]), 3));
        }
    }
    assert_eq!(find(&all), []);
    // With names of replicas even many prove nothing.
    let mut origins = vec![Origin::default(); 4];
    origins[1].replica = Known::Given("coredns-a".to_owned());
    origins[3].replica = Known::Given("coredns-b".to_owned());
    let mut estimator = Estimator::new(&origins);
    for n in 0..50u16 {
        let (at, client) = (f64::from(n) * 977.0, format!("10.244.1.5:{}", 40_000 + n));
        estimator.observe(&at_replica(pr(at, &client, n, N, &[]), 3));
        estimator.observe(&at_replica(cr(at + 5_000.0, &client, n, N, &[]), 1));
    }
    assert_eq!(estimator.finish(), []);
}

#[test]
fn the_operator_wins() {
    let mut origins = vec![Origin::default(); 4];
    let given = (HOUR + 5, HOUR + 7);
    origins[0].clock_offset_ns = Known::Given(given);
    let offsets = Offsets::new(&find(&lookups(-HOUR, 0, 0)), &origins);
    assert_eq!(offsets.of(OriginId(0)), given);
}

#[test]
fn memory_is_bounded_and_the_sample_is_the_same_everywhere() {
    let mut estimator = Estimator::new(&vec![Origin::default(); 4]);
    for n in 0..200_000u32 {
        let client = format!("10.244.{}.5:{}", n / 60_000, 1_024 + n % 60_000);
        estimator.observe(&cr(f64::from(n), &client, 7, N, &[]).0);
        estimator.observe(&shifted(pr(f64::from(n), &client, 7, N, &[]), HOUR));
        assert!(estimator.sightings.len() <= KEYS_MAX);
    }
    let found = estimator.finish();
    assert_eq!(found.len(), 2);
    let near = |bound: i64| (bound + HOUR).abs() < SECOND;
    assert!(found.iter().map(|offset| offset.bounds).any(|(lo, hi)| near(lo) && near(hi)));
}
