//! Facts written by hand, for the tests of rules. Enters: a few words; leaves: lookups, intents, exchanges, changes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use smallvec::SmallVec;
use truename_cluster::history::{History, Kind};
use truename_cluster::policy::Policies;
use truename_model::object::{
    ConfigMap, Controller, EndpointSlice, Node, OwnerRef, Pod, Service, ServicePort, SliceEndpoint,
    SlicePort, StringMap,
};
use truename_model::{
    Actor, Attribution, AttributionBasis, Body, ChangeKind, ChangeSource, Class, ClockBasis, ClusterChange,
    Contradiction, Diagnostic, Edns, Endpoint, Event, Flags, Intent, IntentOutcome, Interval, Judged, Known,
    Loss, Meta, Name, Nanos, Object, Observation, ObservedAt, Origin, OriginId, Profile, Question, Rcode,
    Rdata, Record, RecordRef, Response, Rtype, Sha256, Transaction, Transport, UnknownOwner,
    UpstreamExchange, Vantage, Verdict, Workload, WorkloadKind,
};

use super::{Detected, Detector};
use crate::facts::{Context, Fact};
use crate::knowledge::{Answer, DnsRole, Judgement, Knowledge, StubConfig};

pub(super) const START: i64 = 1_764_000_000_000_000_000;
pub(super) const ZONE: &str = "cluster.local";

/// What rules ask: the cluster domain, in some tests the history, and the network policies.
struct Zone<'a>(Option<Name>, Option<&'a History>, Option<&'a Policies<'a>>);

impl Knowledge for Zone<'_> {
    fn policies(&self) -> Option<&Policies<'_>> {
        self.2
    }
    fn owners(&self, _: IpAddr, _: Interval) -> (Attribution, Option<Interval>) {
        (Attribution::Unknown(UnknownOwner::NoSuchAddress), None)
    }
    fn judge(&self, _: &Answer<'_>) -> (Judgement, Option<Interval>) {
        (Judgement::NotCluster, None)
    }
    fn stub(&self, _: &Workload, _: Interval) -> Option<StubConfig> {
        None
    }
    fn dns_role(&self, _: IpAddr, _: Interval) -> (DnsRole, Option<Interval>) {
        (DnsRole::Unknown, None)
    }
    fn history(&self) -> Option<&History> {
        self.1
    }
    fn cluster_domain(&self) -> Option<Name> {
        self.0.clone()
    }
    fn passes_on(&self, _: &Name, _: Interval) -> bool {
        true
    }

    fn stale_ns(&self, _: Interval) -> i64 {
        0
    }
}

pub(super) enum Owned {
    Lookup(Judged),
    Intent(Intent),
    Exchange(UpstreamExchange),
    Change(ClusterChange),
    Line(Observation),
}

pub(super) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// `secs` after the start.
pub(super) fn at(secs: f64) -> ObservedAt {
    ObservedAt::Known(moment(secs), ClockBasis::Dnstap)
}

pub(super) fn moment(secs: f64) -> Interval {
    let at = Nanos(START + (secs * 1e9) as i64);
    Interval { lo: at, hi: at }
}

/// A record whose ordinal is the time in milliseconds: every fact has its own.
fn record(item: u32, secs: f64) -> RecordRef {
    RecordRef { item, ordinal: (secs * 1_000.0) as u64 }
}

pub(super) fn pod_named(text: &str) -> Attribution {
    let (namespace, pod) = text.split_once('/').unwrap();
    let owner = OwnerRef {
        kind: "Deployment".into(),
        name: pod.into(),
        uid: format!("owner-{text}"),
        controller: true,
    };
    let workload = Workload {
        kind: WorkloadKind::Pod,
        namespace: namespace.into(),
        name: format!("{pod}-1"),
        uid: format!("uid-{text}"),
        owner: Some(owner),
        node: "node-1".into(),
        labels: StringMap::new(),
        service_account: String::new(),
    };
    Attribution::Exact(Arc::new(workload), AttributionBasis::History)
}

pub(super) fn a(owner: &str, ttl: u32, address: &str) -> Record {
    let (rtype, rdata) = match ip(address) {
        IpAddr::V4(v4) => (Rtype::A, Rdata::A(v4)),
        IpAddr::V6(v6) => (Rtype::AAAA, Rdata::Aaaa(v6)),
    };
    Record { owner: name(owner), rtype, class: Class::IN, ttl, rdata }
}

pub(super) fn soa(zone: &str, primary: &str, ttl: u32) -> Record {
    let mname = name(primary);
    let rdata =
        Rdata::Soa { mname, rname: name("hostmaster.example"), numbers: [1, 7_200, 1_800, 86_400, ttl] };
    Record { owner: name(zone), rtype: Rtype::SOA, class: Class::IN, ttl, rdata }
}

pub(super) fn ptr(owner: &str, target: &str) -> Record {
    Record {
        owner: name(owner),
        rtype: Rtype::PTR,
        class: Class::IN,
        ttl: 30,
        rdata: Rdata::Ptr(name(target)),
    }
}

pub(super) fn body(question: &Question, answers: Vec<Record>) -> Arc<Body> {
    Arc::new(Body { answers, sections_seen: true, ..Body::question_only(question.clone()) })
}

/// A lookup that is changed step by step.
pub(super) struct Ask(pub(super) Judged);

pub(super) fn ask(who: &str, secs: f64, qname: &str, rtype: Rtype) -> Ask {
    let question = Question { name: name(qname), rtype, class: Class::IN };
    let transaction = Transaction {
        client: Some(Endpoint { ip: ip("10.244.1.5"), port: 40_000 }),
        id: 1,
        transport: Transport::Udp,
        question,
        query_flags: Some(Flags(Flags::RD)),
        bufsize: Some(512),
        odd_query: None,
        asked: at(secs),
        answered: at(secs),
        origin: OriginId(0),
        records: SmallVec::from_slice(&[record(0, secs)]),
        vantages: SmallVec::from_slice(&[Vantage::ClientQuery, Vantage::ClientResponse]),
        response: None,
        dissent: None,
        upstream: Vec::new(),
        retransmissions: 0,
        duration_ns: Some(1_000_000),
        response_size: None,
        hints: None,
    };
    let verdict = Verdict::unverifiable(truename_model::WhyUnverifiable::NoUpstreamLeg);
    Ask(Judged { transaction: Arc::new(transaction), attribution: pod_named(who), verdict })
}

impl Ask {
    pub(super) fn with(mut self, change: impl FnOnce(&mut Transaction)) -> Self {
        change(Arc::make_mut(&mut self.0.transaction));
        self
    }

    fn respond(&self, vantage: Vantage, rcode: Rcode, answers: Vec<Record>) -> Response {
        let transaction = &self.0.transaction;
        let secs = (transaction.asked.interval().unwrap().lo.0 - START) as f64 / 1e9;
        Response {
            record: record(1, secs),
            vantage,
            at: transaction.asked,
            flags: Flags(Flags::QR | Flags::AA | Flags::RD),
            rcode: Some(rcode),
            body: body(&transaction.question, answers),
            server: None,
            packet: None,
        }
    }

    pub(super) fn answer(self, rcode: Rcode, answers: Vec<Record>) -> Self {
        let response = self.respond(Vantage::ClientResponse, rcode, answers);
        self.with(|transaction| transaction.response = Some(response))
    }

    pub(super) fn dissent(self, answers: Vec<Record>) -> Self {
        let response = self.respond(Vantage::PacketResponse, Rcode::NOERROR, answers);
        self.with(|transaction| transaction.dissent = Some(Box::new(response)))
    }

    pub(super) fn by(self, replica: u32) -> Self {
        self.with(|transaction| transaction.origin = OriginId(replica))
    }

    pub(super) fn verdict(mut self, verdict: Verdict) -> Self {
        self.0.verdict = verdict;
        self
    }

    pub(super) fn fact(self) -> Owned {
        Owned::Lookup(self.0)
    }
}

pub(super) fn verified() -> Verdict {
    Verdict::Verified { by: Arc::from([]) }
}

pub(super) fn contradicted(how: Contradiction) -> Verdict {
    Verdict::Contradicted { how, by: Arc::from([]), expected: "10.96.0.20".into() }
}

pub(super) fn intent(who: &str, secs: f64, base: &str, outcome: IntentOutcome, rtype: Rtype) -> Intent {
    let rcode = if outcome == IntentOutcome::NxDomain { Rcode::NXDOMAIN } else { Rcode::NOERROR };
    let step = ask(who, secs, base, rtype).answer(rcode, Vec::new());
    Intent {
        client: ip("10.244.1.5"),
        attribution: pod_named(who),
        base: name(base),
        last: name(base),
        from: moment(secs),
        to: moment(secs),
        rtypes: SmallVec::from_slice(&[rtype]),
        outcome,
        queries: 1,
        steps: vec![Arc::new(step.0)],
    }
}

pub(super) fn exchange(secs: f64, qname: &str, answers: Vec<Record>) -> UpstreamExchange {
    let question = Question { name: name(qname), rtype: Rtype::A, class: Class::IN };
    let response = Response {
        record: record(2, secs),
        vantage: Vantage::PacketResponse,
        at: at(secs),
        flags: Flags(Flags::QR | Flags::RD | Flags::RA),
        rcode: Some(if answers.is_empty() { Rcode::NXDOMAIN } else { Rcode::NOERROR }),
        body: body(&question, answers),
        server: None,
        packet: None,
    };
    UpstreamExchange {
        origin: OriginId(0),
        question,
        upstream: Some(Endpoint { ip: ip("203.0.113.53"), port: 53 }),
        local: Some(Endpoint { ip: ip("10.244.0.2"), port: 50_000 }),
        wire_id: Some(7),
        at: moment(secs),
        query: Some(record(3, secs)),
        response: Some(response),
        mismatched: SmallVec::new(),
        mismatched_count: 0,
        mismatched_open: 0,
        mismatched_like_answer: 0,
        mismatched_apart: false,
        second: None,
        wrong_question: false,
        unplaced: false,
    }
}

pub(super) fn labels(pairs: &[(&str, &str)]) -> StringMap {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A change made by `user` through the audit log; an empty user: seen by a watch.
pub(super) fn change(secs: f64, kind: ChangeKind, user: &str, meta: Meta, object: Object) -> ClusterChange {
    let meta = Meta {
        uid: if meta.uid.is_empty() {
            format!("uid-{}-{}", meta.namespace, meta.name)
        } else {
            meta.uid.clone()
        },
        resource_version: format!("{}", 1_000 + (secs * 10.0) as u64),
        created: meta.created.or(Some(Nanos(START + (secs.min(0.0) * 1e9) as i64))),
        ..meta
    };
    let actor = (!user.is_empty()).then(|| Arc::new(Actor { user: user.into(), ..Actor::default() }));
    ClusterChange {
        record: record(4, secs.max(0.0) + meta.name.len() as f64 / 1_000.0),
        origin: OriginId(0),
        kind,
        source: if user.is_empty() { ChangeSource::Watch } else { ChangeSource::Audit },
        meta: Arc::new(meta),
        object: Arc::new(object),
        at: at(secs),
        seen_at: Some(moment(secs)),
        actor,
    }
}

pub(super) fn meta(namespace: &str, name: &str, pairs: &[(&str, &str)]) -> Meta {
    Meta { namespace: namespace.into(), name: name.into(), labels: labels(pairs), ..Meta::default() }
}

/// `meta` owned by a ReplicaSet of Deployment `deployment`.
pub(super) fn owned(mut meta: Meta, deployment: &str) -> Meta {
    meta.labels.insert("pod-template-hash".into(), "abc".into());
    meta.owners = vec![OwnerRef {
        kind: "ReplicaSet".into(),
        name: format!("{deployment}-abc"),
        uid: format!("rs-{deployment}"),
        controller: true,
    }];
    // Old enough for a service to have settled.
    meta.created = Some(Nanos(START - 7_200_000_000_000));
    meta
}

pub(super) fn pod(address: &str, image: &str) -> Object {
    Object::Pod(Pod {
        ips: vec![ip(address)],
        images: vec![image.into()],
        phase: "Running".into(),
        ..Pod::default()
    })
}

pub(super) fn service(cluster_ip: &str, selector: &[(&str, &str)]) -> Object {
    Object::Service(Service {
        service_type: "ClusterIP".into(),
        cluster_ips: vec![cluster_ip.into()],
        selector: labels(selector),
        ..Service::default()
    })
}

/// A service or slice with one TCP port.
pub(super) fn with_port(mut object: Object) -> Object {
    let (name, protocol) = (String::new(), "TCP".to_owned());
    match &mut object {
        Object::Service(service) => {
            service.ports.push(ServicePort { name, protocol, port: 5_432, ..Default::default() })
        }
        Object::EndpointSlice(slice) => slice.ports.push(SlicePort { name, protocol, port: Some(5_432) }),
        _ => {}
    }
    object
}

pub(super) fn external(target: &str) -> Object {
    Object::Service(Service {
        service_type: "ExternalName".into(),
        external_name: target.into(),
        ..Service::default()
    })
}

pub(super) fn slice(addresses: &[&str]) -> Object {
    let endpoint = |text: &&str| SliceEndpoint {
        addresses: vec![(*text).to_owned()],
        ready: Some(true),
        ..SliceEndpoint::default()
    };
    Object::EndpointSlice(EndpointSlice {
        address_type: "IPv4".into(),
        endpoints: addresses.iter().map(endpoint).collect(),
        ..EndpointSlice::default()
    })
}

pub(super) fn corefile(text: &str) -> Object {
    Object::ConfigMap(ConfigMap { data: labels(&[("Corefile", text)]) })
}

/// The Deployment of CoreDNS as kubeadm writes it, with this image.
pub(super) fn controller(image: &str) -> Object {
    dns_workload(image, "/etc/coredns/Corefile", "coredns")
}

/// As [`controller`], with this file and this ConfigMap.
pub(super) fn dns_workload(image: &str, conf: &str, map: &str) -> Object {
    let volume = format!("{{\"name\":\"config-volume\",\"configMap\":{{\"name\":\"{map}\"}}}}");
    let args = vec![format!("-conf {conf}")];
    let controller = Controller { images: vec![image.into()], args, volumes: vec![volume] };
    Object::Controller("Deployment".into(), controller)
}

pub(super) fn node() -> Object {
    Object::Node(Node { addresses: vec![ip("10.10.0.1")], pod_cidrs: vec!["10.244.0.0/16".into()] })
}

pub(super) fn line(secs: f64, replica: u32, diagnostic: Diagnostic) -> Owned {
    let event = Event::Diagnostic(diagnostic);
    Owned::Line(Observation { record: record(5, secs), at: at(secs), origin: OriginId(replica), event })
}

pub(super) fn gap(secs: f64) -> Owned {
    let event = Event::Loss(Loss { cause: "dnstap-dropped", count: Some(3), text: "3 messages lost".into() });
    Owned::Line(Observation { record: record(5, secs), at: at(secs), origin: OriginId(0), event })
}

pub(super) fn edns() -> Edns {
    Edns { udp_size: 1_232, version: 0, dnssec_ok: false, options: Vec::new() }
}

/// A profile that approves the GitOps controller and knows the ranges.
pub(super) fn profile() -> Profile {
    Profile {
        approved_requesters: vec!["argocd".into()],
        service_cidrs: vec!["10.96.0.0/12".into()],
        pod_cidrs: vec!["10.244.0.0/16".into()],
        thresholds: BTreeMap::new(),
        ..Profile::default()
    }
}

pub(super) fn run(facts: &[Owned]) -> Detected {
    run_with(facts, &profile())
}

pub(super) fn run_with(facts: &[Owned], profile: &Profile) -> Detected {
    let items: Vec<Sha256> = (0..6u8).map(|n| Sha256([n; 32])).collect();
    run_over(facts, profile, &items)
}

/// As [`run_with`], with the digests of the items in their order.
pub(super) fn run_over(facts: &[Owned], profile: &Profile, items: &[Sha256]) -> Detected {
    run_knowing(facts, profile, items, false)
}

/// As [`run`], with the history of the changes among the facts, told by a watch that went on to the end.
pub(super) fn run_in_history(facts: &[Owned]) -> Detected {
    let items: Vec<Sha256> = (0..6u8).map(|n| Sha256([n; 32])).collect();
    run_knowing(facts, &profile(), &items, true)
}

fn run_knowing(facts: &[Owned], profile: &Profile, items: &[Sha256], historical: bool) -> Detected {
    let mut history = History::new();
    for fact in facts {
        if let Owned::Change(change) = fact {
            history.fold(change.clone());
        }
    }
    history.note_span(4, ChangeSource::Watch, moment(600.0));
    history.finish();
    let policies = Policies::new(&history);
    let any = history.timelines().iter().any(|timeline| timeline.kind == Kind::Policy);
    let knowledge = Zone(Some(name(ZONE)), historical.then_some(&history), any.then_some(&policies));
    let replica = |text: &str| Origin { replica: Known::Given(text.to_owned()), ..Origin::default() };
    let origins = [replica("coredns-a"), replica("coredns-b"), Origin::default()];
    let cx = Context { knowledge: &knowledge, profile, origins: &origins, items };
    let mut detector = Detector::new(profile).unwrap();
    for fact in facts {
        match fact {
            Owned::Lookup(judged) => detector.observe(&Fact::Lookup(&Arc::new(judged.clone())), &cx),
            Owned::Intent(intent) => detector.observe(&Fact::Intent(intent), &cx),
            Owned::Exchange(exchange) => detector.observe(&Fact::Exchange(&Arc::new(exchange.clone())), &cx),
            Owned::Change(change) => detector.observe(&Fact::Change(change), &cx),
            Owned::Line(observation) => match &observation.event {
                Event::Diagnostic(diagnostic) => {
                    detector.observe(&Fact::Diagnostic { observation, diagnostic }, &cx)
                }
                Event::Loss(loss) => detector.observe(&Fact::Loss { observation, loss }, &cx),
                _ => {}
            },
        }
    }
    detector.finish(&cx)
}
