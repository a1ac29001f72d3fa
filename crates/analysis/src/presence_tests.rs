//! Clocks that fit, clocks an hour off, and lookups that say nothing.

use std::sync::Arc;

use truename_cluster::history::History;
use truename_model::object::{ChangeKind, ChangeSource, ClusterChange, Meta, Object, Pod};
use truename_model::{ClockBasis, Interval, Nanos, ObservedAt, OriginId, RecordRef};

use super::*;
use crate::fixture::{T0, log};

const HOUR: i64 = 3_600;

fn instant(secs: i64) -> Nanos {
    Nanos(T0 + secs * SECOND)
}

fn at(secs: i64) -> Interval {
    Interval::at(instant(secs))
}

fn change(kind: ChangeKind, secs: i64, (namespace, n, from): (&str, u8, i64), ordinal: u64) -> ClusterChange {
    let name = format!("{namespace}-{n}-{from}");
    let ips = vec![format!("10.244.1.{n}").parse().unwrap()];
    let pod = Pod { node_name: "n1".to_owned(), phase: "Running".to_owned(), ips, ..Pod::default() };
    let meta = Meta {
        namespace: namespace.to_owned(),
        uid: format!("uid-{name}"),
        name,
        resource_version: (ordinal + 1).to_string(),
        created: Some(instant(from)),
        ..Meta::default()
    };
    ClusterChange {
        record: RecordRef { item: 0, ordinal },
        origin: OriginId(0),
        kind,
        source: ChangeSource::Watch,
        meta: Arc::new(meta),
        object: Arc::new(Object::Pod(pod)),
        at: ObservedAt::Known(at(secs), ClockBasis::Snapshot),
        seen_at: Some(at(secs)),
        actor: None,
    }
}

/// When pods of ten addresses came and went, irregularly for twelve hours; an address is free for some minutes in between.
fn lives() -> Vec<(u8, &'static str, i64, i64)> {
    let mut lives = Vec::new();
    for n in 0..10i64 {
        let (mut from, mut k) = (0, 0);
        while from < 12 * HOUR {
            let to = from + 1_500 + (n * 7_919 + k * 104_729) % 2_500;
            lives.push((n as u8, if k % 2 == 0 { "shop" } else { "guest" }, from, to));
            (from, k) = (to + 300, k + 1);
        }
    }
    lives
}

fn churn() -> History {
    let mut changes = Vec::new();
    for (n, namespace, from, to) in lives() {
        let pod = (namespace, n, from);
        changes.extend([(from, ChangeKind::Created, pod), (to, ChangeKind::Deleted, pod)]);
    }
    changes.sort_by_key(|(secs, ..)| *secs);
    let mut history = History::new();
    for (ordinal, (secs, kind, pod)) in (0u64..).zip(changes) {
        history.fold(change(kind, secs, pod, ordinal));
    }
    history.note_span(0, ChangeSource::Watch, at(12 * HOUR));
    history.finish();
    history
}

/// Every pod asks each minute as long as it is there, from the third to the fourth hour, by a clock that is off.
fn asked(off: i64) -> Lookups {
    let mut lookups = Lookups::default();
    for now in (3 * HOUR..4 * HOUR).step_by(60) {
        let there = lives().into_iter().filter(|(_, _, from, to)| (*from..*to).contains(&now));
        for (n, ..) in there {
            let client = format!("10.244.1.{n}:4000");
            lookups.observe(&log((now + off) as f64 * 1e3, &client, n.into(), "a.example", 1.0).0);
        }
    }
    lookups
}

fn one(offset: i64, server: Option<Interval>) -> [Recording; 1] {
    [Recording { origin: OriginId(0), offset: (offset * SECOND, offset * SECOND), server }]
}

#[test]
fn a_clock_that_fits_is_left_alone_and_its_room_is_told() {
    let fit = asked(0).fit(&one(0, None), &churn());
    assert_eq!((fit.misfits, fit.doubt), (0, None));
    assert!(fit.tested > 400, "{fit:?}");
    // Pods that come and go within the hour leave a minute of room.
    assert!(fit.slack.0 > -70 * SECOND && fit.slack.1 < 70 * SECOND, "{fit:?}");
}

#[test]
fn an_hour_off_is_shown_by_addresses_that_nobody_held() {
    for (off, needed) in [(HOUR, -HOUR), (-HOUR, HOUR)] {
        let fit = asked(off).fit(&one(0, None), &churn());
        assert!(fit.misfits >= MISFITS, "{fit:?}");
        let (lo, hi) = fit.doubt.unwrap();
        assert!(lo <= (needed * SECOND).min(0) && hi >= (needed * SECOND).max(0), "{off}: {fit:?}");
        assert!(hi - lo < 5 * HOUR * SECOND, "not merely as wide as anything: {fit:?}");
        // The operator states it, and it fits.
        assert_eq!(asked(off).fit(&one(needed, None), &churn()).doubt, None);
    }
}

#[test]
fn a_server_writes_nothing_before_it_is_made() {
    let mut lookups = Lookups::default();
    for n in 0..10 {
        // From an address that no object ever held: only the server's life tells.
        let client = format!("192.0.2.{n}:4000");
        lookups.observe(&log((100 + n) as f64 * 1e3, &client, 1, "a.example", 1.0).0);
    }
    let made = Interval { lo: instant(HOUR), hi: Nanos(i64::MAX) };
    let fit = lookups.fit(&one(0, Some(made)), &History::new());
    assert_eq!(fit.misfits, 10);
    let (lo, hi) = fit.doubt.unwrap();
    assert!(lo == 0 && hi >= (HOUR - 100) * SECOND, "{fit:?}");
    assert_eq!(lookups.fit(&one(HOUR, Some(made)), &History::new()).doubt, None);
    assert_eq!(lookups.fit(&one(0, None), &History::new()).doubt, None);
}

#[test]
fn a_pod_that_outlived_its_object_moves_no_clock() {
    let mut lookups = asked(0);
    let gone = lives().into_iter().find(|(n, _, _, to)| *n == 4 && *to > 3 * HOUR + 600).unwrap().3;
    for n in 0..20 {
        let late = (gone + 10 + n) as f64 * 1e3;
        lookups.observe(&log(late, "10.244.1.4:4000", 7, "a.example", 1.0).0);
    }
    let fit = lookups.fit(&one(0, None), &churn());
    assert_eq!((fit.misfits, fit.doubt), (20, None));
}

#[test]
fn memory_is_bounded_and_the_sample_still_tells() {
    let mut lookups = Lookups::default();
    for n in 0..60_000i64 {
        lookups.observe(&log(n as f64 * 1e3, "10.244.1.1:4000", 1, "a.example", 1.0).0);
    }
    assert!(lookups.by_origin[&OriginId(0)].seen.len() <= SAMPLE);
}
