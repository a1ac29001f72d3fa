//! The API server's audit log (`audit.k8s.io/v1` Event). Enters: one event per record; leaves: changes with their actor.
//!
//! Only requests that ended well and changed an object count: stage `ResponseComplete`, code 2xx, no dry run. The
//! change happened between `requestReceivedTimestamp` and `stageTimestamp`, API server clock.
//! Deliberately absent: the last state of objects whose deletion does not show them (the history knows it).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use truename_model::object::{Actor, ChangeSource};
use truename_model::{
    ChangeKind, ClockBasis, ClusterChange, Decoded, Interval, Meta, Nanos, Object, ObservedAt, RecordRef,
};

use crate::decoder::{DecodeContext, Decoder};
use crate::kube::decoder::skip;
use crate::kube::fields::{at, list, text_ref};
use crate::kube::object::{DNS_CONFIG_MAPS, Skipped, object};
use crate::kube::text::{bare, json_reason, offset_of};

/// The parts of an event that are read; bodies only where they matter.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuditEvent<'a> {
    #[serde(borrow, default)]
    stage: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    verb: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "auditID")]
    audit_id: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "requestURI")]
    request_uri: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    user_agent: Option<Cow<'a, str>>,
    #[serde(default)]
    user: Option<User>,
    #[serde(default)]
    impersonated_user: Option<User>,
    #[serde(default, rename = "sourceIPs")]
    source_ips: Option<Vec<String>>,
    #[serde(default)]
    object_ref: Option<Target>,
    #[serde(default)]
    response_status: Option<Status>,
    #[serde(borrow, default)]
    request_object: Option<&'a RawValue>,
    #[serde(borrow, default)]
    response_object: Option<&'a RawValue>,
    #[serde(borrow, default)]
    request_received_timestamp: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    stage_timestamp: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Default)]
struct User {
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    groups: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Target {
    #[serde(default)]
    resource: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    uid: Option<String>,
    #[serde(default)]
    api_group: Option<String>,
    #[serde(default)]
    api_version: Option<String>,
    #[serde(default)]
    subresource: Option<String>,
}

#[derive(Deserialize, Default)]
struct Status {
    #[serde(default)]
    code: Option<i64>,
}

/// Decodes the events of one audit log.
#[derive(Debug)]
pub struct Audit {
    context: DecodeContext,
    /// Changes without a body, by kind: told together at the end. As many entries as there are kinds at most.
    unseen: BTreeMap<&'static str, Unseen>,
}

/// Changes whose content the audit policy left out.
#[derive(Debug)]
struct Unseen {
    count: u64,
    first: u64,
    span: Option<Interval>,
}

/// What surrounds a change: the same for every object of one request.
struct Request {
    record: RecordRef,
    at: ObservedAt,
    ended: Option<Nanos>,
    actor: Arc<Actor>,
    kind: Option<&'static str>,
    api_version: Option<String>,
    target: Target,
}

impl Audit {
    /// A decoder for one item.
    #[must_use]
    pub fn new(context: DecodeContext) -> Self {
        Self { context, unseen: BTreeMap::new() }
    }

    fn event(&mut self, ordinal: u64, event: AuditEvent<'_>, out: &mut Vec<Decoded>) {
        if let Some(why) = irrelevant(&event) {
            out.push(self.context.ignored(ordinal, why));
            return;
        }
        let body = event.response_object.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
        let verb = event.verb.as_deref().unwrap_or_default().to_owned();
        let sent = event.request_object;
        let code = event.response_status.as_ref().and_then(|status| status.code);
        let request = self.request(ordinal, event);
        match body {
            Some(body) if is_status(&body) => self.without_body(&request, &verb, (Some(&body), sent), out),
            Some(body) if at(&body, &["items"]).is_some() => {
                for item in list(&body, &["items"]) {
                    let kind = text_ref(&body, &["kind"]).and_then(|kind| kind.strip_suffix("List"));
                    let version = text_ref(&body, &["apiVersion"]);
                    out.push(self.changed(&request, &verb, code, item, (kind, version)));
                }
            }
            Some(body) => out.push(self.changed(&request, &verb, code, &body, (None, None))),
            None => self.without_body(&request, &verb, (None, sent), out),
        }
        if out.is_empty() {
            out.push(self.context.ignored(ordinal, "a collection of nothing"));
        }
    }

    fn request(&self, ordinal: u64, event: AuditEvent<'_>) -> Request {
        let instant =
            |text: Option<&Cow<'_, str>>| text.and_then(|text| Nanos::parse_rfc3339(text.as_bytes()));
        let began = instant(event.request_received_timestamp.as_ref());
        let ended = instant(event.stage_timestamp.as_ref());
        let at = match (began, ended) {
            (Some(began), Some(ended)) => {
                ObservedAt::Known(Interval::between(began, ended), ClockBasis::Audit)
            }
            (Some(one), None) | (None, Some(one)) => ObservedAt::Known(Interval::at(one), ClockBasis::Audit),
            (None, None) => ObservedAt::OrderOnly,
        };
        let target = event.object_ref.unwrap_or_default();
        let group = target.api_group.as_deref().unwrap_or_default();
        let version = target.api_version.as_deref().unwrap_or("v1");
        Request {
            record: RecordRef { item: self.context.item, ordinal },
            at,
            ended,
            actor: Arc::new(actor(
                event.user.unwrap_or_default(),
                event.impersonated_user,
                event.source_ips.unwrap_or_default(),
                (event.user_agent, event.verb, event.audit_id),
            )),
            kind: kind_of(target.resource.as_deref().unwrap_or_default()),
            api_version: Some(if group.is_empty() {
                version.to_owned()
            } else {
                format!("{group}/{version}")
            }),
            target,
        }
    }

    /// A body with an object in it.
    fn changed(
        &self,
        request: &Request,
        verb: &str,
        code: Option<i64>,
        body: &Value,
        (kind, version): (Option<&str>, Option<&str>),
    ) -> Decoded {
        let kind = kind.or(request.kind);
        let version = version.or(request.api_version.as_deref());
        match object(body, kind, version) {
            Ok((meta, object)) => {
                let change = change_kind(verb, code, body, &meta, &object);
                self.change(request, change, meta, object)
            }
            Err(Skipped::NoKind | Skipped::NoName) => {
                self.context.ignored(request.record.ordinal, "a request whose answer shows no object")
            }
            Err(skipped) => skip(&self.context, request.record.ordinal, skipped),
        }
    }

    /// A deletion that shows no object is known by its reference; of anything else without a body the loss is counted;
    /// where it configures DNS, its request may tell.
    fn without_body(
        &mut self,
        request: &Request,
        verb: &str,
        (status, sent): (Option<&Value>, Option<&RawValue>),
        out: &mut Vec<Decoded>,
    ) {
        let ordinal = request.record.ordinal;
        let target = &request.target;
        let resource = target.resource.as_deref().unwrap_or_default();
        let Some(kind) = request.kind else {
            out.push(self.context.ignored(ordinal, "a change of a resource that says nothing of DNS"));
            return;
        };
        let namespace = target.namespace.clone().unwrap_or_default();
        let name = target.name.clone().unwrap_or_default();
        if verb == "delete" && !name.is_empty() {
            let detail = status.and_then(|status| text_ref(status, &["details", "uid"])).map(str::to_owned);
            let uid = target.uid.clone().or(detail).unwrap_or_default();
            let meta = Meta { namespace, name, uid, ..Meta::default() };
            let object = crate::kube::object::bare(kind, target.api_group.as_deref().unwrap_or_default());
            // Without a body a graceful deletion cannot be told from the removal: for pods it is a loss instead.
            if status.is_some() || kind != "Pod" {
                out.push(self.change(request, ChangeKind::Deleted, meta, object));
                return;
            }
        }
        if verb == "deletecollection" {
            let place = target.namespace.as_deref().unwrap_or("every namespace");
            let text =
                format!("the audit log does not show which {resource} of {place} were deleted together");
            out.push(self.context.loss(ordinal, request.at, "audit-collection-delete", None, text));
        } else if kind != "ConfigMap" {
            self.note_unseen(kind, request);
            out.push(self.context.ignored(ordinal, "a change that the audit policy keeps no body of"));
        } else if is_dns_config_map(target) {
            self.configured(request, verb, sent, out);
        } else {
            out.push(self.context.ignored(ordinal, "a ConfigMap that does not configure DNS"));
        }
    }

    /// A write to a ConfigMap of DNS whose result is not kept: what its request says of it, or only that it was written to.
    fn configured(&self, request: &Request, verb: &str, sent: Option<&RawValue>, out: &mut Vec<Decoded>) {
        let target = &request.target;
        let namespace = target.namespace.clone().unwrap_or_default();
        let name = target.name.clone().unwrap_or_default();
        let mut body = sent.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
        if let (Some(body), "create" | "update") = (body.as_mut(), verb)
            && let Some(whole) = written_whole(body, &namespace, &name)
        {
            let kind = if verb == "create" { ChangeKind::Created } else { ChangeKind::Updated };
            out.push(self.change(request, kind, whole.0, whole.1));
            return;
        }
        let patch = body.as_ref().filter(|_| verb == "patch").and_then(patched);
        let what = if patch.is_some() {
            "the audit log keeps what was asked for, not what came of it: answers are not compared with"
        } else {
            "the audit log does not show what came of"
        };
        let text = format!("{what} {verb} of ConfigMap {namespace}/{name} by {}", request.actor.user);
        let meta = Meta { namespace, name, uid: target.uid.clone().unwrap_or_default(), ..Meta::default() };
        let object = Object::Other("ConfigMap".to_owned(), Arc::new(patch.unwrap_or(Value::Null)));
        out.push(self.change(request, ChangeKind::Updated, meta, object));
        out.push(self.context.loss(request.record.ordinal, request.at, "audit-no-body", Some(1), text));
    }

    fn note_unseen(&mut self, kind: &'static str, request: &Request) {
        let first = request.record.ordinal;
        let entry = self.unseen.entry(kind).or_insert(Unseen { count: 0, first, span: None });
        entry.count += 1;
        entry.span = match (entry.span, request.at.interval()) {
            (Some(a), Some(b)) => Some(Interval { lo: a.lo.min(b.lo), hi: a.hi.max(b.hi) }),
            (a, b) => a.or(b),
        };
    }

    fn change(&self, request: &Request, kind: ChangeKind, meta: Meta, object: Object) -> Decoded {
        Decoded::Change(Box::new(ClusterChange {
            record: request.record,
            origin: self.context.origin,
            kind,
            source: ChangeSource::Audit,
            meta: Arc::new(meta),
            object: Arc::new(object),
            at: request.at,
            seen_at: request.ended.map(Interval::at),
            actor: Some(Arc::clone(&request.actor)),
        }))
    }
}

fn is_dns_config_map(target: &Target) -> bool {
    let name = target.name.as_deref().unwrap_or_default();
    target.namespace.as_deref() == Some("kube-system") && DNS_CONFIG_MAPS.contains(&name)
}

/// The ConfigMap that a request writes whole. The version that the request names is the one before, so it has none.
fn written_whole(body: &mut Value, namespace: &str, name: &str) -> Option<(Meta, Object)> {
    at(body, &["data"]).and_then(Value::as_object)?;
    let meta = body.as_object_mut()?.entry("metadata").or_insert_with(|| Value::Object(Default::default()));
    let meta = meta.as_object_mut()?;
    meta.insert("namespace".to_owned(), Value::from(namespace));
    meta.insert("name".to_owned(), Value::from(name));
    let (mut meta, object) = object(body, Some("ConfigMap"), Some("v1")).ok()?;
    meta.resource_version.clear();
    matches!(object, Object::ConfigMap(_)).then_some((meta, object))
}

/// What a patch says of the items of a ConfigMap, as `{"data": {item: text or null}}`; `None` where that cannot be told
/// (RFC 7386 merge patch, RFC 6902 JSON patch; strategic merge and server-side apply of maps of text are as the former).
fn patched(patch: &Value) -> Option<Value> {
    let mut data = serde_json::Map::new();
    match patch {
        Value::Object(members) if members.keys().any(|key| key.starts_with('$')) => return None,
        Value::Object(members) => match members.get("data") {
            None => {}
            Some(Value::Object(items)) if !items.keys().any(|key| key.starts_with('$')) => {
                data = items.clone()
            }
            Some(_) => return None,
        },
        Value::Array(steps) => {
            for step in steps {
                let (op, path) = (text_ref(step, &["op"])?, text_ref(step, &["path"])?);
                if op == "test" || !(path == "/data" || path.is_empty() || path.starts_with("/data/")) {
                    continue;
                }
                let item = path.strip_prefix("/data/")?.replace("~1", "/").replace("~0", "~");
                match op {
                    "add" | "replace" => drop(data.insert(item, at(step, &["value"])?.clone())),
                    "remove" => drop(data.insert(item, Value::Null)),
                    _ => return None,
                }
            }
        }
        _ => return None,
    }
    Some(serde_json::json!({ "data": data }))
}

/// Why an event changes nothing for us.
fn irrelevant(event: &AuditEvent<'_>) -> Option<&'static str> {
    if event.stage.as_deref() != Some("ResponseComplete") {
        return Some("an audit stage before the response");
    }
    let verb = event.verb.as_deref().unwrap_or_default();
    if !matches!(verb, "create" | "update" | "patch" | "delete" | "deletecollection") {
        return Some("a read");
    }
    let code = event.response_status.as_ref().and_then(|status| status.code);
    let Some(code) = code else { return Some("a request whose outcome is not told") };
    if !(200..300).contains(&code) {
        return Some("a request that failed");
    }
    let uri = event.request_uri.as_deref().unwrap_or_default();
    if uri.split_once('?').is_some_and(|(_, query)| query.split('&').any(|pair| pair.starts_with("dryRun=")))
    {
        return Some("a dry run");
    }
    match event.object_ref.as_ref().and_then(|target| target.subresource.as_deref()).unwrap_or_default() {
        "" | "status" | "finalize" | "ephemeralcontainers" | "resize" => None,
        // The body of these is not the object; the object's own change follows as another event.
        "binding" | "scale" | "eviction" => Some("a subresource whose answer is not the object"),
        _ => Some("a subresource that changes no object"),
    }
}

fn actor(
    user: User,
    impersonated: Option<User>,
    source_ips: Vec<String>,
    (user_agent, verb, audit_id): (Option<Cow<'_, str>>, Option<Cow<'_, str>>, Option<Cow<'_, str>>),
) -> Actor {
    let owned = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned).unwrap_or_default();
    let (user, impersonator) = match impersonated.filter(|user| user.username.is_some()) {
        Some(effective) => (effective, user.username),
        None => (user, None),
    };
    Actor {
        user: user.username.unwrap_or_default(),
        impersonator,
        groups: user.groups.unwrap_or_default(),
        source_ips,
        user_agent: owned(user_agent),
        verb: owned(verb),
        audit_id: owned(audit_id),
    }
}

fn is_status(body: &Value) -> bool {
    text_ref(body, &["kind"]) == Some("Status") && at(body, &["metadata", "name"]).is_none()
}

/// What a request did to the object that its answer shows.
fn change_kind(verb: &str, code: Option<i64>, body: &Value, meta: &Meta, object: &Object) -> ChangeKind {
    let grace = at(body, &["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64);
    let has_finalizers = list(body, &["metadata", "finalizers"]).next().is_some()
        || (matches!(object, Object::Namespace) && list(body, &["spec", "finalizers"]).next().is_some());
    let waits = has_finalizers || grace.is_some_and(|grace| grace > 0);
    match verb {
        "create" => ChangeKind::Created,
        "delete" | "deletecollection" if meta.deleting.is_some() && waits => ChangeKind::Updated,
        "delete" | "deletecollection" => ChangeKind::Deleted,
        // The last finalizer of a terminating object was taken away: the update removed it.
        _ if meta.deleting.is_some() && !waits => ChangeKind::Deleted,
        // PUT and server-side apply may create.
        _ if code == Some(201) => ChangeKind::Created,
        _ => ChangeKind::Updated,
    }
}

/// The kind of a resource that DNS depends on.
fn kind_of(resource: &str) -> Option<&'static str> {
    Some(match resource {
        "services" => "Service",
        "endpointslices" => "EndpointSlice",
        "endpoints" => "Endpoints",
        "pods" => "Pod",
        "nodes" => "Node",
        "namespaces" => "Namespace",
        "configmaps" => "ConfigMap",
        "deployments" => "Deployment",
        "replicasets" => "ReplicaSet",
        "replicationcontrollers" => "ReplicationController",
        "daemonsets" => "DaemonSet",
        "statefulsets" => "StatefulSet",
        "jobs" => "Job",
        "cronjobs" => "CronJob",
        "networkpolicies" => "NetworkPolicy",
        "adminnetworkpolicies" => "AdminNetworkPolicy",
        "baselineadminnetworkpolicies" => "BaselineAdminNetworkPolicy",
        "clusternetworkpolicies" => "ClusterNetworkPolicy",
        "ciliumnetworkpolicies" => "CiliumNetworkPolicy",
        "ciliumclusterwidenetworkpolicies" => "CiliumClusterwideNetworkPolicy",
        "globalnetworkpolicies" => "GlobalNetworkPolicy",
        "serviceentries" => "ServiceEntry",
        "serviceimports" => "ServiceImport",
        "serviceexports" => "ServiceExport",
        _ => return None,
    })
}

impl Decoder for Audit {
    fn decode(&mut self, ordinal: u64, bytes: &[u8], out: &mut Vec<Decoded>) {
        let (text, lead) = bare(bytes);
        if text.is_empty() {
            out.push(self.context.ignored(ordinal, "blank"));
            return;
        }
        if text.starts_with(b"]") || text.ends_with(b"[") {
            out.push(self.context.ignored(ordinal, "the frame of a list"));
            return;
        }
        let mut found = Vec::new();
        match serde_json::from_slice::<AuditEvent<'_>>(text) {
            Ok(event) => self.event(ordinal, event, &mut found),
            Err(error) => {
                let offset = lead + offset_of(text, &error);
                found.push(self.context.undecodable(ordinal, json_reason(&error), offset));
            }
        }
        out.append(&mut found);
    }

    fn finish(&mut self, out: &mut Vec<Decoded>) {
        for (kind, unseen) in std::mem::take(&mut self.unseen) {
            let at =
                unseen.span.map_or(ObservedAt::OrderOnly, |span| ObservedAt::Known(span, ClockBasis::Audit));
            let text = format!(
                "the audit policy keeps no bodies: what {} changes of {kind} did is not known",
                unseen.count
            );
            out.push(self.context.loss(unseen.first, at, "audit-no-body", Some(unseen.count), text));
        }
    }
}

#[cfg(test)]
mod tests;
