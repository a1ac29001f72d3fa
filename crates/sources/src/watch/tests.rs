//! Watch recordings: what was listed, what changed and when, and what was missed.

use serde_json::json;
use truename_model::{Event, OriginId};

use super::*;

fn pod(name: &str, created: &str, written: Option<&str>, more: Value) -> Value {
    let mut value = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "namespace": "shop", "uid": name,
        "resourceVersion": "7", "creationTimestamp": created}, "status": {"podIP": "10.244.0.9"}});
    if let Some(written) = written {
        value["metadata"]["managedFields"] = json!([{"manager": "kubelet", "time": written}]);
    }
    for (key, member) in more.as_object().into_iter().flatten() {
        value["metadata"][key] = member.clone();
    }
    value
}

fn run(records: &[Value]) -> Vec<Decoded> {
    let mut decoder = Watch::new(DecodeContext::new(0, OriginId(0)));
    let mut out = Vec::new();
    for (ordinal, record) in records.iter().enumerate() {
        decoder.decode(ordinal as u64, format!("{record}\n").as_bytes(), &mut out);
    }
    decoder.finish(&mut out);
    out
}

fn change(decoded: &Decoded) -> &ClusterChange {
    match decoded {
        Decoded::Change(change) => change,
        Decoded::Observation(seen) => panic!("{seen:?}"),
    }
}

fn time(text: &str) -> Nanos {
    Nanos::parse_rfc3339(text.as_bytes()).unwrap()
}

fn bookmark() -> Value {
    json!({"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "8",
        "annotations": {"k8s.io/initial-events-end": "true"}}}})
}

#[test]
fn the_initial_list_is_not_a_creation() {
    let old = pod("a", "2026-11-22T03:00:00Z", None, json!({}));
    let new = pod("b", "2026-11-22T04:00:07Z", Some("2026-11-22T04:00:07Z"), json!({}));
    let out = run(&[
        json!({"type": "ADDED", "object": old}),
        bookmark(),
        json!({"type": "ADDED", "object": new, "received": "2026-11-22T04:00:07.250Z"}),
        json!({"type": "ADDED", "object": old, "received": "2026-11-22T04:00:08Z"}),
    ]);
    assert_eq!(change(&out[0]).kind, ChangeKind::Listed);
    assert_eq!(change(&out[2]).kind, ChangeKind::Created);
    assert_eq!(
        change(&out[2]).at.interval().unwrap(),
        Interval { lo: time("2026-11-22T04:00:07Z"), hi: time("2026-11-22T04:00:07.250Z") }
    );
    assert_eq!(change(&out[2]).seen_at.unwrap().lo, time("2026-11-22T04:00:07.250Z"));
    assert_eq!(change(&out[3]).kind, ChangeKind::Listed, "listed again after a reconnection");
}

#[test]
fn a_kind_is_live_by_itself() {
    let out = run(&[
        bookmark(),
        json!({"type": "ADDED", "object": {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "n", "creationTimestamp": "2026-11-22T03:00:00Z"}}}),
    ]);
    assert_eq!(change(&out[1]).kind, ChangeKind::Listed);
}

#[test]
fn an_update_is_bounded_by_its_write_and_its_receipt() {
    let of = |written: Option<&str>, received: Option<&str>| {
        let mut event =
            json!({"type": "MODIFIED", "object": pod("a", "2026-11-22T03:00:00Z", written, json!({}))});
        if let Some(received) = received {
            event = json!({"received": received, "event": event});
        }
        let before = json!({"received": "2026-11-22T04:00:00Z", "event": bookmark()});
        change(&run(&[before, event])[1]).at
    };
    let known = |lo: &str, hi: &str, basis| ObservedAt::Known(Interval { lo: time(lo), hi: time(hi) }, basis);
    assert_eq!(
        of(Some("2026-11-22T04:00:05Z"), Some("2026-11-22T04:00:05.4Z")),
        known("2026-11-22T04:00:05Z", "2026-11-22T04:00:05.4Z", ClockBasis::ObjectField)
    );
    assert_eq!(
        of(Some("2026-11-22T04:00:05Z"), None),
        known("2026-11-22T04:00:05Z", "2026-11-22T04:00:05.999999999Z", ClockBasis::ObjectField)
    );
    assert_eq!(
        of(Some("2026-11-22T03:30:00Z"), Some("2026-11-22T04:00:05Z")),
        known("2026-11-22T03:30:00Z", "2026-11-22T04:00:05Z", ClockBasis::ObjectField)
    );
    assert_eq!(
        of(None, Some("2026-11-22T04:00:05Z")),
        known("2026-11-22T03:59:59Z", "2026-11-22T04:00:05Z", ClockBasis::Snapshot)
    );
    assert_eq!(of(None, None), ObservedAt::OrderOnly);
}

#[test]
fn a_deletion_is_not_before_it_was_asked_for() {
    let grace = json!({"deletionTimestamp": "2026-11-22T04:00:30Z", "deletionGracePeriodSeconds": 30});
    let gone = pod("a", "2026-11-22T03:00:00Z", None, grace);
    let out = run(&[
        json!({"received": "2026-11-22T03:59:00Z", "type": "MODIFIED", "object": pod("b", "2026-11-22T03:00:00Z", None, json!({}))}),
        json!({"received": "2026-11-22T04:00:03Z", "type": "DELETED", "object": gone}),
    ]);
    assert_eq!(change(&out[1]).kind, ChangeKind::Deleted);
    assert_eq!(
        change(&out[1]).at.interval().unwrap(),
        Interval { lo: time("2026-11-22T04:00:00Z"), hi: time("2026-11-22T04:00:03Z") }
    );
    let out = run(&[json!({"type": "DELETED", "object": gone})]);
    assert!(
        matches!(change(&out[0]).at, ObservedAt::Known(at, ClockBasis::Inferred) if at.lo == time("2026-11-22T04:00:00Z"))
    );
}

#[test]
fn an_expired_watch_is_a_loss_and_ends_being_live() {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "too old resource version: 1 (2)", "reason": "Expired", "code": 410});
    let out = run(&[
        bookmark(),
        json!({"type": "ERROR", "object": status}),
        json!({"type": "ADDED", "object": pod("a", "2026-11-22T03:00:00Z", None, json!({}))}),
    ]);
    let Decoded::Observation(seen) = &out[1] else { panic!() };
    assert!(
        matches!(&seen.event, Event::Loss(loss) if loss.cause == "watch-expired" && loss.text.contains("410"))
    );
    assert_eq!(change(&out[2]).kind, ChangeKind::Listed);
}

#[test]
fn a_list_before_the_stream_is_split_and_still_read() {
    let text = concat!(
        r#"{"kind":"PodList","apiVersion":"v1","received":"2026-11-22T04:00:00Z","items":[{"metadata":{"name":"a"}},"#,
        r#"{"metadata":{"name":"b"}}]}"#,
        "\n",
        r#"{"type":"DELETED","object":{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}}"#,
        "\n"
    );
    let mut decoder = Watch::new(DecodeContext::new(0, OriginId(0)));
    let mut out = Vec::new();
    crate::piece::cut(
        &mut crate::kube::records::JsonRecords::default(),
        &mut text.as_bytes(),
        &mut |piece| {
            decoder.decode(piece.ordinal, piece.bytes, &mut out);
            Ok(())
        },
    )
    .unwrap();
    let kinds = out.iter().filter_map(|one| match one {
        Decoded::Change(change) => Some((change.kind, change.meta.name.clone(), change.seen_at.is_some())),
        Decoded::Observation(_) => None,
    });
    assert_eq!(
        kinds.collect::<Vec<_>>(),
        [
            (ChangeKind::Listed, "a".to_owned(), true),
            (ChangeKind::Listed, "b".to_owned(), true),
            (ChangeKind::Deleted, "a".to_owned(), false)
        ]
    );
}

#[test]
fn lists_and_bare_objects_in_a_stream_are_listed() {
    let list = json!({"received": "2026-11-22T04:00:00Z", "kind": "PodList", "apiVersion": "v1", "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]});
    let out = run(&[list, json!({"kind": "Secret", "metadata": {"name": "s"}})]);
    assert!(
        out[..2].iter().all(|one| change(one).kind == ChangeKind::Listed && change(one).seen_at.is_some())
    );
    assert!(
        matches!(&out[2], Decoded::Observation(seen) if seen.event == Event::Ignored("a secret, not decoded"))
    );
}
