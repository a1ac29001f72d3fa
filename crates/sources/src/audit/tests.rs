//! Audit events as the API server writes them: what changed, by whom, and what only looks like a change.

use serde_json::json;
use truename_model::{Event, OriginId};

use super::*;

/// An event with the usual members; `more` replaces or adds some.
fn event(verb: &str, code: i64, target: Value, more: Value) -> Value {
    let mut event = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "auditID": "id-1",
        "stage": "ResponseComplete", "requestURI": "/api/v1/namespaces/kube-system/configmaps/coredns?fieldManager=kubectl-edit",
        "verb": verb, "user": {"username": "alice", "groups": ["ops", "system:authenticated"]},
        "sourceIPs": ["192.0.2.9"], "userAgent": "kubectl/v1.36", "objectRef": target,
        "responseStatus": {"metadata": {}, "code": code},
        "requestReceivedTimestamp": "2026-11-22T04:00:00.100000Z", "stageTimestamp": "2026-11-22T04:00:00.200000Z",
        "annotations": {"authorization.k8s.io/decision": "allow"}
    });
    for (key, member) in more.as_object().into_iter().flatten() {
        event[key] = member.clone();
    }
    event
}

fn run(event: &Value) -> Vec<Decoded> {
    let mut out = Vec::new();
    let mut decoder = Audit::new(DecodeContext::new(0, OriginId(0)));
    decoder.decode(0, format!("{event}\n").as_bytes(), &mut out);
    assert!(!out.is_empty());
    decoder.finish(&mut out);
    out
}

fn change(event: &Value) -> ClusterChange {
    match &run(event)[..] {
        [Decoded::Change(change)] => (**change).clone(),
        other => panic!("{other:?}"),
    }
}

fn ignored(event: &Value) -> &'static str {
    match &run(event)[..] {
        [Decoded::Observation(seen)] => match seen.event {
            Event::Ignored(why) => why,
            ref other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// The cause of the loss that an event leaves, at once or at the end.
fn loss(event: &Value) -> &'static str {
    match run(event).last() {
        Some(Decoded::Observation(seen)) => match &seen.event {
            Event::Loss(loss) => loss.cause,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn config_map() -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "coredns", "namespace": "kube-system", "uid": "u", "resourceVersion": "42"}, "data": {"Corefile": ". {\n}\n"}})
}

fn pods() -> Value {
    json!({"resource": "pods", "namespace": "shop", "name": "web-1", "apiVersion": "v1"})
}

fn pod(more: Value) -> Value {
    let mut value = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "web-1", "namespace": "shop", "uid": "p"}, "spec": {"nodeName": "w"}});
    for (key, member) in more.as_object().into_iter().flatten() {
        value["metadata"][key] = member.clone();
    }
    value
}

#[test]
fn an_edit_is_a_change_with_its_actor_and_bounds() {
    let target =
        json!({"resource": "configmaps", "namespace": "kube-system", "name": "coredns", "apiVersion": "v1"});
    let got = change(&event("patch", 200, target, json!({"responseObject": config_map()})));
    assert_eq!((got.kind, got.source), (ChangeKind::Updated, ChangeSource::Audit));
    assert!(matches!(&*got.object, Object::ConfigMap(map) if map.data["Corefile"] == ". {\n}\n"));
    let at = got.at.interval().unwrap();
    assert_eq!(at.hi.since(at.lo), 100_000_000);
    let actor = got.actor.unwrap();
    assert_eq!(
        (actor.user.as_str(), actor.verb.as_str(), actor.audit_id.as_str()),
        ("alice", "patch", "id-1")
    );
    assert_eq!(
        (actor.impersonator.as_deref(), actor.source_ips.as_slice()),
        (None, &["192.0.2.9".to_owned()][..])
    );
}

#[test]
fn an_impersonated_request_names_both() {
    let more = json!({"responseObject": pod(json!({})), "impersonatedUser": {"username": "system:serviceaccount:a:b", "groups": ["g"]}});
    let actor = change(&event("create", 201, pods(), more)).actor.unwrap();
    assert_eq!(
        (actor.user.as_str(), actor.impersonator.as_deref()),
        ("system:serviceaccount:a:b", Some("alice"))
    );
    assert_eq!(actor.groups, ["g"]);
}

#[test]
fn what_changed_nothing_is_ignored() {
    let body = json!({"responseObject": pod(json!({}))});
    let with = |more: Value| {
        let mut event = event("update", 200, pods(), body.clone());
        for (key, member) in more.as_object().into_iter().flatten() {
            event[key] = member.clone();
        }
        event
    };
    assert_eq!(ignored(&with(json!({"stage": "RequestReceived"}))), "an audit stage before the response");
    assert_eq!(ignored(&with(json!({"verb": "list"}))), "a read");
    assert_eq!(ignored(&with(json!({"responseStatus": {"code": 403}}))), "a request that failed");
    assert_eq!(ignored(&with(json!({"responseStatus": null}))), "a request whose outcome is not told");
    assert_eq!(ignored(&with(json!({"requestURI": "/api/v1/x?a=b&dryRun=All"}))), "a dry run");
    let sub =
        |name: &str| json!({"resource": "pods", "namespace": "shop", "name": "web-1", "subresource": name});
    assert_eq!(
        ignored(&with(json!({"objectRef": sub("binding")}))),
        "a subresource whose answer is not the object"
    );
    assert_eq!(ignored(&with(json!({"objectRef": sub("exec")}))), "a subresource that changes no object");
    assert_eq!(change(&with(json!({"objectRef": sub("status")}))).kind, ChangeKind::Updated);
}

#[test]
fn a_graceful_pod_deletion_ends_with_the_second_request() {
    let terminating =
        pod(json!({"deletionTimestamp": "2026-11-22T04:00:30Z", "deletionGracePeriodSeconds": 30}));
    let gone = pod(json!({"deletionTimestamp": "2026-11-22T04:00:01Z", "deletionGracePeriodSeconds": 0}));
    assert_eq!(
        change(&event("delete", 200, pods(), json!({"responseObject": terminating}))).kind,
        ChangeKind::Updated
    );
    let status = event("patch", 200, pods(), json!({"responseObject": terminating}));
    assert_eq!(change(&status).kind, ChangeKind::Updated);
    assert_eq!(
        change(&event("delete", 200, pods(), json!({"responseObject": gone}))).kind,
        ChangeKind::Deleted
    );
    let held = pod(
        json!({"deletionTimestamp": "2026-11-22T04:00:01Z", "deletionGracePeriodSeconds": 0, "finalizers": ["x/y"]}),
    );
    assert_eq!(
        change(&event("delete", 200, pods(), json!({"responseObject": held}))).kind,
        ChangeKind::Updated
    );
}

#[test]
fn a_namespace_is_gone_with_its_last_finalizer() {
    let namespace = |finalizers: Value| json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "n", "deletionTimestamp": "2026-11-22T04:00:01Z"}, "spec": {"finalizers": finalizers}});
    let target = json!({"resource": "namespaces", "name": "n", "namespace": "n", "apiVersion": "v1"});
    let asked =
        event("delete", 200, target.clone(), json!({"responseObject": namespace(json!(["kubernetes"]))}));
    assert_eq!(change(&asked).kind, ChangeKind::Updated);
    let mut last = event("update", 200, target, json!({"responseObject": namespace(Value::Null)}));
    last["objectRef"]["subresource"] = json!("finalize");
    assert_eq!(change(&last).kind, ChangeKind::Deleted);
}

#[test]
fn a_deletion_that_shows_no_object_is_known_by_its_reference() {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": {"name": "web", "kind": "services", "uid": "s-1"}});
    let target = json!({"resource": "services", "namespace": "shop", "name": "web", "apiVersion": "v1"});
    let got = change(&event("delete", 200, target.clone(), json!({"responseObject": status})));
    assert_eq!(
        (got.kind, got.meta.uid.as_str(), got.meta.name.as_str()),
        (ChangeKind::Deleted, "s-1", "web")
    );
    assert!(matches!(&*got.object, Object::Service(_)));
    assert_eq!(change(&event("delete", 200, target, json!({}))).kind, ChangeKind::Deleted);
    assert_eq!(loss(&event("delete", 200, pods(), json!({}))), "audit-no-body");
}

#[test]
fn bodies_that_the_policy_left_out_are_losses() {
    let config =
        json!({"resource": "configmaps", "namespace": "kube-system", "name": "coredns", "apiVersion": "v1"});
    let told = run(&event("patch", 200, config, json!({})));
    assert!(
        matches!(&told[..], [Decoded::Change(_), Decoded::Observation(seen)] if matches!(&seen.event, Event::Loss(loss) if loss.text.contains("alice"))),
        "{told:?}"
    );
    let lease = json!({"resource": "configmaps", "namespace": "shop", "name": "leader", "apiVersion": "v1"});
    assert_eq!(ignored(&event("update", 200, lease, json!({}))), "a ConfigMap that does not configure DNS");
    let target = json!({"resource": "services", "namespace": "shop", "name": "web", "apiVersion": "v1"});
    assert_eq!(loss(&event("update", 200, target, json!({}))), "audit-no-body");
    let widget = json!({"resource": "widgets", "name": "w"});
    assert_eq!(
        ignored(&event("update", 200, widget, json!({}))),
        "a change of a resource that says nothing of DNS"
    );
    let all = json!({"resource": "pods", "namespace": "shop", "apiVersion": "v1"});
    let status = json!({"kind": "Status", "metadata": {}, "status": "Success"});
    assert_eq!(
        loss(&event("deletecollection", 200, all.clone(), json!({"responseObject": status}))),
        "audit-collection-delete"
    );
    let items = json!({"kind": "PodList", "apiVersion": "v1", "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b", "deletionTimestamp": "2026-11-22T04:00:30Z", "deletionGracePeriodSeconds": 30}}]});
    let got = run(&event("deletecollection", 200, all, json!({"responseObject": items})));
    let kinds: Vec<_> = got
        .iter()
        .map(|one| match one {
            Decoded::Change(c) => c.kind,
            Decoded::Observation(o) => panic!("{o:?}"),
        })
        .collect();
    assert_eq!(kinds, [ChangeKind::Deleted, ChangeKind::Updated]);
}

#[test]
fn server_side_apply_may_create_and_secrets_are_never_held() {
    let target =
        json!({"resource": "configmaps", "namespace": "kube-system", "name": "coredns", "apiVersion": "v1"});
    assert_eq!(
        change(&event("patch", 201, target, json!({"responseObject": config_map()}))).kind,
        ChangeKind::Created
    );
    let secret =
        json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}, "data": {"a": "AA=="}});
    let target = json!({"resource": "secrets", "namespace": "n", "name": "s", "apiVersion": "v1"});
    assert_eq!(
        ignored(&event("update", 200, target, json!({"responseObject": secret}))),
        "a secret, not decoded"
    );
}

#[test]
fn damage_is_named_with_its_place() {
    let mut out = Vec::new();
    let mut decoder = Audit::new(DecodeContext::new(0, OriginId(0)));
    decoder.decode(0, b"{\"stage\":\"Resp", &mut out);
    decoder.decode(1, b"\n", &mut out);
    decoder.decode(2, b"]}", &mut out);
    let events: Vec<_> = out
        .iter()
        .map(|one| match one {
            Decoded::Observation(o) => o.event.clone(),
            Decoded::Change(_) => panic!(),
        })
        .collect();
    assert!(
        matches!(events[0], Event::Undecodable { reason: "JSON cut short", offset: 14 | 13 }),
        "{:?}",
        events[0]
    );
    assert_eq!(events[1..], [Event::Ignored("blank"), Event::Ignored("the frame of a list")]);
}

/// What a write to the ConfigMap of DNS gives whose answer is not kept: the change, and whether a loss is told.
fn written(verb: &str, sent: Value) -> (ClusterChange, bool) {
    let target =
        json!({"resource": "configmaps", "namespace": "kube-system", "name": "coredns", "apiVersion": "v1"});
    let sent = if sent.is_null() { json!({}) } else { json!({"requestObject": sent}) };
    let out = run(&event(verb, 200, target, sent));
    let Some(Decoded::Change(change)) = out.first() else { panic!("{out:?}") };
    ((**change).clone(), out.len() > 1)
}

#[test]
fn a_request_tells_what_was_written_to_the_configuration_of_dns() {
    let (whole, lost) = written("update", config_map());
    assert!(!lost && whole.meta.resource_version.is_empty());
    assert!(matches!(&*whole.object, Object::ConfigMap(map) if map.data["Corefile"] == ". {\n}\n"));
    // A request need not repeat where it goes.
    let (made, _) = written("create", json!({"data": {"Corefile": "x"}}));
    assert!(matches!(&*made.object, Object::ConfigMap(map) if map.data["Corefile"] == "x"));
    assert_eq!((made.kind, made.meta.namespace.as_str()), (ChangeKind::Created, "kube-system"));
    let data = |verb: &str, sent: Value| match &*written(verb, sent).0.object {
        Object::Other(kind, body) if kind == "ConfigMap" => body.get("data").cloned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        data("patch", json!({"data": {"Corefile": "x", "old": null}})),
        Some(json!({"Corefile": "x", "old": null}))
    );
    assert_eq!(data("patch", json!({"metadata": {"labels": {"a": "b"}}})), Some(json!({})));
    let steps = json!([
        {"op": "test", "path": "/data/Corefile", "value": "y"},
        {"op": "replace", "path": "/data/Corefile", "value": "x"},
        {"op": "remove", "path": "/data/a~1b"}
    ]);
    assert_eq!(data("patch", steps), Some(json!({"Corefile": "x", "a/b": null})));
    for untold in [
        Value::Null,
        json!({"data": null}),
        json!({"data": {"$patch": "replace"}}),
        json!([{"op": "replace", "path": "/data", "value": {}}]),
        json!([{"op": "move", "from": "/data/a", "path": "/data/Corefile"}]),
    ] {
        assert_eq!(data("patch", untold.clone()), None, "{untold}");
        assert!(written("patch", untold).1);
    }
    assert_eq!(data("update", Value::Null), None);
}
