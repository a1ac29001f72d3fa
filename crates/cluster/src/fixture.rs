//! Small clusters for the tests of this crate: objects in one line each, told by watch, snapshot or audit.

use std::net::IpAddr;
use std::sync::Arc;

use truename_model::object::{
    ChangeKind, ChangeSource, ClusterChange, EndpointSlice, Meta, Object, OwnerRef, Pod, Service,
    ServicePort, SliceEndpoint, SlicePort,
};
use truename_model::origin::{OriginId, RecordRef};
use truename_model::time::{ClockBasis, Interval, MILLI, Nanos, ObservedAt, SECOND};

use crate::history::History;

pub(crate) fn ms(millis: i64) -> Nanos {
    Nanos(millis * MILLI)
}

pub(crate) fn at(millis: i64) -> Interval {
    Interval::at(ms(millis))
}

/// Changes told by one watch (item 0), whose span is given at the end.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) changes: Vec<ClusterChange>,
    rv: u64,
}

impl Told {
    pub(crate) fn new() -> Self {
        let mut told = Self::default();
        for name in ["default", "kube-system", "shop"] {
            told.watch(0, ChangeKind::Created, meta("", name), Object::Namespace);
        }
        told.watch(
            0,
            ChangeKind::Created,
            meta("default", "kubernetes"),
            service(&["10.96.0.1"], &[("https", 443)]),
        );
        told.watch(
            0,
            ChangeKind::Created,
            meta("kube-system", "kube-dns"),
            service(&["10.96.0.10"], &[("dns", 53)]),
        );
        for (namespace, name) in [("default", "kubernetes"), ("kube-system", "kube-dns")] {
            let mut meta = meta(namespace, &format!("{name}-x"));
            meta.labels.insert(crate::history::SERVICE_NAME.to_owned(), name.to_owned());
            told.watch(0, ChangeKind::Created, meta, slice(&["192.168.0.1"], &[]));
            let meta = self::meta(namespace, &format!("{name}-pod"));
            told.watch(0, ChangeKind::Created, meta, pod("n1", "Running", &[]));
        }
        told
    }

    /// One change by the watch: began within 5 ms before `millis`.
    pub(crate) fn watch(
        &mut self,
        millis: i64,
        kind: ChangeKind,
        mut meta: Meta,
        object: Object,
    ) -> &mut Self {
        self.rv += 1;
        if meta.resource_version.is_empty() {
            meta.resource_version = self.rv.to_string();
        }
        if kind == ChangeKind::Created && meta.created.is_none() {
            meta.created = Some(Nanos(ms(millis).0 / SECOND * SECOND));
        }
        let began = Interval { lo: ms(millis - 5), hi: ms(millis) };
        self.push(kind, ChangeSource::Watch, meta, object, Some(began), at(millis), 0)
    }

    /// The same change by the audit log (item 1), to the millisecond.
    pub(crate) fn audit(&mut self, millis: i64, kind: ChangeKind, meta: Meta, object: Object) -> &mut Self {
        self.push(kind, ChangeSource::Audit, meta, object, Some(at(millis)), at(millis), 1)
    }

    /// One object of a snapshot (item 2).
    pub(crate) fn snapshot(&mut self, millis: i64, meta: Meta, object: Object) -> &mut Self {
        self.push(ChangeKind::Listed, ChangeSource::Snapshot, meta, object, None, at(millis), 2)
    }

    #[allow(clippy::too_many_arguments, reason = "one row of a table")]
    fn push(
        &mut self,
        kind: ChangeKind,
        source: ChangeSource,
        meta: Meta,
        object: Object,
        began: Option<Interval>,
        seen: Interval,
        item: u32,
    ) -> &mut Self {
        let record = RecordRef { item, ordinal: self.changes.len() as u64 };
        let at = began.map_or(ObservedAt::None, |began| ObservedAt::Known(began, ClockBasis::Snapshot));
        let change = ClusterChange {
            record,
            origin: OriginId(0),
            kind,
            source,
            meta: Arc::new(meta),
            object: Arc::new(object),
            at,
            seen_at: Some(seen),
            actor: None,
        };
        self.changes.push(change);
        self
    }

    /// The history, with the watch going on until `until` milliseconds.
    pub(crate) fn history(&self, until: i64) -> History {
        let mut history = History::new();
        self.changes.iter().for_each(|change| history.fold(change.clone()));
        history.note_span(0, ChangeSource::Watch, at(until));
        history.finish();
        history
    }

    /// The history of snapshots and audit logs alone.
    pub(crate) fn bare_history(&self) -> History {
        let mut history = History::new();
        self.changes.iter().for_each(|change| history.fold(change.clone()));
        history.finish();
        history
    }
}

pub(crate) fn meta(namespace: &str, name: &str) -> Meta {
    Meta {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{namespace}-{name}"),
        ..Meta::default()
    }
}

pub(crate) fn versioned(namespace: &str, name: &str, uid: &str, rv: u64, created_secs: i64) -> Meta {
    Meta {
        uid: uid.to_owned(),
        resource_version: rv.to_string(),
        created: Some(Nanos(created_secs * SECOND)),
        ..meta(namespace, name)
    }
}

pub(crate) fn owned(mut meta: Meta, kind: &str, name: &str, uid: &str) -> Meta {
    let (kind, name, uid) = (kind.to_owned(), name.to_owned(), uid.to_owned());
    meta.owners.push(OwnerRef { kind, name, uid, controller: true });
    meta
}

pub(crate) fn of_service(namespace: &str, name: &str, service: &str) -> Meta {
    let mut meta = meta(namespace, name);
    meta.labels.insert(crate::history::SERVICE_NAME.to_owned(), service.to_owned());
    meta
}

pub(crate) fn service(ips: &[&str], ports: &[(&str, u16)]) -> Object {
    let ports = ports.iter().map(|(name, port)| ServicePort {
        name: (*name).to_owned(),
        protocol: "TCP".to_owned(),
        port: *port,
        target_port: String::new(),
    });
    Object::Service(Service {
        service_type: "ClusterIP".to_owned(),
        cluster_ips: ips.iter().map(|ip| (*ip).to_owned()).collect(),
        ports: ports.collect(),
        ..Service::default()
    })
}

pub(crate) fn external(target: &str) -> Object {
    Object::Service(Service {
        service_type: "ExternalName".to_owned(),
        external_name: target.to_owned(),
        ..Service::default()
    })
}

pub(crate) fn endpoint(ip: &str, ready: Option<bool>) -> SliceEndpoint {
    SliceEndpoint { addresses: vec![ip.to_owned()], ready, ..SliceEndpoint::default() }
}

pub(crate) fn slice_of(endpoints: Vec<SliceEndpoint>, ports: &[(&str, Option<u16>)]) -> Object {
    let ports = ports.iter().map(|(name, port)| SlicePort {
        name: (*name).to_owned(),
        protocol: "TCP".to_owned(),
        port: *port,
    });
    Object::EndpointSlice(EndpointSlice {
        address_type: "IPv4".to_owned(),
        endpoints,
        ports: ports.collect(),
        legacy: false,
    })
}

pub(crate) fn slice(ips: &[&str], ports: &[(&str, Option<u16>)]) -> Object {
    slice_of(ips.iter().map(|ip| endpoint(ip, Some(true))).collect(), ports)
}

pub(crate) fn pod(node: &str, phase: &str, ips: &[&str]) -> Object {
    Object::Pod(Pod {
        node_name: node.to_owned(),
        phase: phase.to_owned(),
        ips: ips.iter().map(|ip| address(ip)).collect(),
        ..Pod::default()
    })
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}
