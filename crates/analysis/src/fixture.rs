//! Hand-made observations for tests: one line of a test is one message at a vantage.

use std::net::IpAddr;
use std::sync::Arc;

use truename_model::observation::PacketFacts;
use truename_model::time::{MILLI, SECOND};
use truename_model::*;

use crate::knowledge::{ALWAYS, Answer, DnsRole, Judgement, Knowledge, StubConfig};

pub(crate) const POD: &str = "10.244.1.5:40000";
pub(crate) const DNS: &str = "10.96.0.10:53";
pub(crate) const CORE: &str = "10.244.0.2:50000";
pub(crate) const UP: &str = "192.0.2.53:53";
pub(crate) const T0: i64 = 1_800_000_000 * SECOND;

/// One message at one vantage; fields are set by the methods.
#[derive(Clone, Debug)]
pub(crate) struct Msg(pub Observation);

pub(crate) fn end(text: &str) -> Endpoint {
    let socket: std::net::SocketAddr = text.parse().unwrap();
    Endpoint { ip: socket.ip(), port: socket.port() }
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub(crate) fn question(text: &str, rtype: Rtype) -> Question {
    Question { name: name(text), rtype, class: Class::IN }
}

pub(crate) fn a(owner: &str, ip: &str, ttl: u32) -> Record {
    let (rtype, rdata) = match ip.parse::<IpAddr>().unwrap() {
        IpAddr::V4(v4) => (Rtype::A, Rdata::A(v4)),
        IpAddr::V6(v6) => (Rtype::AAAA, Rdata::Aaaa(v6)),
    };
    Record { owner: name(owner), rtype, class: Class::IN, ttl, rdata }
}

pub(crate) fn alias(owner: &str, target: &str, ttl: u32) -> Record {
    Record {
        owner: name(owner),
        rtype: Rtype::CNAME,
        class: Class::IN,
        ttl,
        rdata: Rdata::Cname(name(target)),
    }
}

/// A message `ms` after the start, from item `item`.
pub(crate) fn msg(vantage: Vantage, item: u32, ms: f64, client: &str, id: u16, qname: &str) -> Msg {
    let at = Interval::at(Nanos(T0 + (ms * MILLI as f64) as i64));
    let basis = match vantage {
        Vantage::LogLine => ClockBasis::ContainerRuntime,
        Vantage::PacketQuery | Vantage::PacketResponse => ClockBasis::Packet,
        _ => ClockBasis::Dnstap,
    };
    let server = matches!(vantage, Vantage::PacketQuery | Vantage::PacketResponse).then(|| end(DNS));
    let mut body = Body::question_only(question(qname, Rtype::A));
    body.sections_seen = vantage != Vantage::LogLine;
    let hints =
        (!matches!(vantage, Vantage::PacketQuery | Vantage::PacketResponse | Vantage::LogLine)).then(|| {
            Arc::new(Hints {
                identity: Some("coredns-a".to_owned()),
                version: Some("CoreDNS-1.15.0".to_owned()),
                ..Hints::default()
            })
        });
    let dns = DnsEvent {
        vantage,
        client: Some(end(client)),
        server,
        transport: Transport::Udp,
        id,
        flags: Flags(if vantage.is_response() { 0x8400 } else { 0x0100 }),
        rcode: vantage.is_response().then_some(Rcode::NOERROR),
        body: Arc::new(body),
        duration_ns: None,
        query_time: None,
        size: 40,
        response_size: None,
        bufsize: None,
        packet: matches!(vantage, Vantage::PacketQuery | Vantage::PacketResponse)
            .then(|| PacketFacts { ip_ttl: 64, ..PacketFacts::default() }),
        hints,
    };
    Msg(Observation {
        record: RecordRef { item, ordinal: (ms * 1000.0) as u64 },
        at: ObservedAt::Known(at, basis),
        origin: OriginId(item),
        event: Event::Dns(dns),
    })
}

impl Msg {
    pub(crate) fn dns(mut self, change: impl FnOnce(&mut DnsEvent)) -> Self {
        let Event::Dns(dns) = &mut self.0.event else { unreachable!() };
        change(dns);
        self
    }

    pub(crate) fn body(self, change: impl FnOnce(&mut Body)) -> Self {
        self.dns(|dns| change(Arc::make_mut(&mut dns.body)))
    }

    pub(crate) fn answers(self, answers: &[Record]) -> Self {
        self.body(|body| body.answers = answers.to_vec())
    }

    pub(crate) fn rcode(self, rcode: Rcode) -> Self {
        self.dns(|dns| dns.rcode = Some(rcode))
    }

    pub(crate) fn lasted(self, ms: f64) -> Self {
        self.dns(|dns| dns.duration_ns = Some((ms * MILLI as f64) as i64))
    }

    /// Query time, milliseconds after the start.
    pub(crate) fn asked(self, ms: f64) -> Self {
        self.dns(|dns| dns.query_time = Some(Nanos(T0 + (ms * MILLI as f64) as i64)))
    }

    pub(crate) fn server(self, server: &str) -> Self {
        self.dns(|dns| dns.server = Some(end(server)))
    }

    pub(crate) fn identity(self, identity: &str, version: &str) -> Self {
        self.dns(|dns| {
            dns.hints = Some(Arc::new(Hints {
                identity: Some(identity.to_owned()),
                version: Some(version.to_owned()),
                ..Hints::default()
            }));
        })
    }

    pub(crate) fn ordinal(mut self, ordinal: u64) -> Self {
        self.0.record.ordinal = ordinal;
        self
    }

    pub(crate) fn timeless(mut self) -> Self {
        self.0.at = ObservedAt::OrderOnly;
        self
    }
}

pub(crate) fn cq(ms: f64, client: &str, id: u16, qname: &str) -> Msg {
    msg(Vantage::ClientQuery, 1, ms, client, id, qname)
}

pub(crate) fn cr(ms: f64, client: &str, id: u16, qname: &str, answers: &[Record]) -> Msg {
    msg(Vantage::ClientResponse, 1, ms, client, id, qname).answers(answers)
}

/// A query packet on the client leg.
pub(crate) fn pq(ms: f64, client: &str, id: u16, qname: &str) -> Msg {
    msg(Vantage::PacketQuery, 2, ms, client, id, qname)
}

/// A response packet on the client leg.
pub(crate) fn pr(ms: f64, client: &str, id: u16, qname: &str, answers: &[Record]) -> Msg {
    msg(Vantage::PacketResponse, 2, ms, client, id, qname).answers(answers)
}

pub(crate) fn log(ms: f64, client: &str, id: u16, qname: &str, lasted: f64) -> Msg {
    msg(Vantage::LogLine, 0, ms, client, id, qname).lasted(lasted)
}

/// A forwarder query of the replica's own socket.
pub(crate) fn fq(ms: f64, local: &str, id: u16, qname: &str) -> Msg {
    msg(Vantage::ForwarderQuery, 1, ms, local, id, qname).server(UP)
}

pub(crate) fn fr(ms: f64, asked: f64, local: &str, id: u16, qname: &str, answers: &[Record]) -> Msg {
    msg(Vantage::ForwarderResponse, 1, ms, local, id, qname).server(UP).asked(asked).answers(answers)
}

/// A query packet on the upstream leg.
pub(crate) fn uq(ms: f64, local: &str, id: u16, qname: &str) -> Msg {
    msg(Vantage::PacketQuery, 3, ms, local, id, qname).server(UP)
}

/// A reply packet on the upstream leg.
pub(crate) fn ur(ms: f64, local: &str, id: u16, qname: &str, answers: &[Record]) -> Msg {
    msg(Vantage::PacketResponse, 3, ms, local, id, qname).server(UP).answers(answers)
}

/// A small cluster: 10.244.0.2 is `coredns-a`, 10.244.0.3 `coredns-b`, 10.244.1.N pod N of namespace shop, all else
/// foreign. Names below cluster.local are true if they answer 10.96.0.1.
pub(crate) struct Small;

pub(crate) fn pod(n: u8) -> Arc<Workload> {
    Arc::new(Workload {
        kind: WorkloadKind::Pod,
        namespace: "shop".to_owned(),
        name: format!("web-{n}"),
        uid: format!("uid-{n}"),
        owner: None,
        node: "n1".to_owned(),
        labels: object::StringMap::new(),
        service_account: String::new(),
    })
}

impl Knowledge for Small {
    fn owners(&self, ip: IpAddr, _: Interval) -> (Attribution, Option<Interval>) {
        let attribution = match ip {
            IpAddr::V4(v4) if v4.octets()[..3] == [10, 244, 1] => {
                Attribution::Exact(pod(v4.octets()[3]), AttributionBasis::History)
            }
            _ => Attribution::Unknown(UnknownOwner::NoSuchAddress),
        };
        (attribution, Some(ALWAYS))
    }

    fn judge(&self, answer: &Answer<'_>) -> (Judgement, Option<Interval>) {
        if !answer.question.name.is_at_or_below(&name("cluster.local")) {
            return (Judgement::NotCluster, Some(ALWAYS));
        }
        let by: Arc<[ObjectRef]> = Arc::from([ObjectRef::default()]);
        if let Some(Record { rdata: Rdata::Cname(target), .. }) = answer.body.answers.first() {
            let rest = answer.body.answers[1..].to_vec();
            let chase =
                crate::knowledge::Chase { by, stale: false, explained: None, target: target.clone(), rest };
            return (Judgement::Chase(chase), Some(ALWAYS));
        }
        let right = answer.body.addresses().all(|ip| ip == IpAddr::from([10, 96, 0, 1]));
        let verdict = match right {
            true => Verdict::Verified { by },
            false => {
                let expected = "10.96.0.1".to_owned();
                Verdict::Contradicted { how: Contradiction::WrongAddress, by, expected }
            }
        };
        (Judgement::Verdict(verdict), Some(ALWAYS))
    }

    fn is_alias(&self, alias: &Name, target: &Name, _: Interval) -> bool {
        (alias, target) == (&name("db.shop.svc.cluster.local"), &name("www.example.com"))
    }

    fn stub(&self, workload: &Workload, _: Interval) -> Option<StubConfig> {
        crate::intent::by_namespace(&workload.namespace, &Some(name("cluster.local")))
    }

    fn dns_role(&self, ip: IpAddr, _: Interval) -> (DnsRole, Option<Interval>) {
        let role = match ip.to_string().as_str() {
            "10.96.0.10" => DnsRole::Service,
            "10.244.0.2" => DnsRole::Replica("coredns-a".to_owned()),
            "10.244.0.3" => DnsRole::Replica("coredns-b".to_owned()),
            _ => DnsRole::Other,
        };
        (role, Some(ALWAYS))
    }

    fn cluster_domain(&self) -> Option<Name> {
        Some(name("cluster.local"))
    }

    fn passes_on(&self, name: &Name, _: Interval) -> bool {
        !name.to_string().starts_with("rewritten.")
    }

    fn stale_ns(&self, _: Interval) -> i64 {
        0
    }
}
