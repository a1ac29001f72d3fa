//! What a verdict costs: `cargo xtask bench truth`.
//!
//! Enters: a seed, sizes, a clock of the thread's CPU time. Leaves: verdicts per second and core through the provenance
//! that investigations use, when facts repeat and when none does, and how the cost grows with the cluster. Answers are
//! the servers' own for the generated services, but for a known share of lies; what was concluded is counted, so that a
//! meaningless run is seen. Deliberately absent: decoding, joining and rules, which `bench investigate` measures.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use smallvec::SmallVec;
use truename_analysis::join::Joined;
use truename_analysis::knowledge::ClusterKnowledge;
use truename_analysis::provenance::Provenance;
use truename_analysis::replica::{ReplicaId, Replicas};
use truename_cluster::history::{CorefileHistory, History, Kind};
use truename_cluster::truth::Truth;
use truename_model::object::{ChangeKind, ChangeSource, ClusterChange};
use truename_model::observation::{Transport, Vantage};
use truename_model::time::{ClockBasis, Interval, Nanos, ObservedAt, SECOND};
use truename_model::{
    Body, Class, Flags, Known, Name, Origin, OriginId, Question, Rcode, Rdata, Record, RecordRef, Response,
    Rtype, Transaction,
};

use crate::generate::{COREFILE, Random, Zipf};

/// Questions that are asked about each service.
const FORMS: u32 = 8;
/// Every so many services' addresses are answered with a lie.
const LIES: u32 = 50;
/// Lookups that are made before they are judged.
const BATCH: usize = 1_024;
/// When the first lookup was asked, nanoseconds.
const START: i64 = 1_780_000_000 * SECOND;
/// How long lookups go on.
const SPAN: i64 = 3_600 * SECOND;
/// When some services are made anew and some slices change.
const CHANGE: i64 = START + SPAN / 2;

/// What is measured; the last line of the command.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Verdicts per second of CPU, facts drawn by Zipf's law.
    pub repeated_per_s_core: f64,
    /// Verdicts per second of CPU, each on a fact that was not judged before.
    pub distinct_per_s_core: f64,
    /// CPU of a distinct truth with the most services over that with the fewest.
    pub growth_services: f64,
    /// The same where both clusters are asked the same number of facts again and again.
    pub growth_repeated: f64,
    /// Services in the cluster of the first two figures.
    pub services: u32,
    /// Verdicts delivered when facts repeat.
    pub repeated: u64,
    /// Verdicts delivered on distinct facts.
    pub distinct: u64,
    /// Verdicts of both by word.
    pub verdicts: BTreeMap<String, u64>,
}

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Services of the cluster.
    pub services: u32,
    /// Lookups that repeat facts.
    pub lookups: u32,
    /// Distinct facts that the repeated lookups draw from, by Zipf's law with exponent 1.
    pub facts: u32,
    /// Fewest and most services of the growth.
    pub growth: (u32, u32),
    /// Rounds of the growth; each asks every fact of the smaller cluster once.
    pub rounds: u32,
}

impl Default for Size {
    fn default() -> Self {
        Self { services: 12_500, lookups: 8_000_000, facts: 20_000, growth: (100, 50_000), rounds: 125 }
    }
}

/// Runs the benchmark; `clock`: CPU time of the calling thread. Returns lines for people too.
#[must_use]
pub fn run(size: Size, clock: &dyn Fn() -> Duration) -> (Vec<String>, Figures) {
    let mut figures = Figures { services: size.services, ..Figures::default() };
    let mut lines = Vec::new();
    let world = World::new(size.services);
    let mut told = |what: &str, done: &Done| {
        for (word, count) in &done.words {
            *figures.verdicts.entry((*word).to_owned()).or_default() += count;
        }
        lines.push(format!(
            "{what}: {} verdicts, {:.0} ns each: {}",
            done.verdicts,
            done.ns(),
            done.shares()
        ));
    };
    let repeated = world.bench(clock, |bench| bench.repeated(size.facts, size.lookups));
    told(&format!("{} services, {} facts by Zipf's law", size.services, size.facts), &repeated);
    let distinct = world.bench(clock, |bench| bench.distinct());
    told(&format!("{} services, distinct facts", size.services), &distinct);
    drop(world);
    let (few, many) = size.growth;
    let grown = [few, many].map(|services| {
        let world = World::new(services);
        let facts = few * FORMS;
        let distinct = world.bench(clock, |bench| bench.rounds(facts, size.rounds));
        told(&format!("{services} services, {facts} distinct facts a round"), &distinct);
        let repeated = world.bench(clock, |bench| bench.repeated(facts, size.lookups / 8));
        told(&format!("{services} services, {facts} facts by Zipf's law"), &repeated);
        (distinct.ns(), repeated.ns())
    });
    figures.repeated_per_s_core = 1e9 / repeated.ns();
    figures.distinct_per_s_core = 1e9 / distinct.ns();
    (figures.repeated, figures.distinct) = (repeated.verdicts, distinct.verdicts);
    figures.growth_services = grown[1].0 / grown[0].0;
    figures.growth_repeated = grown[1].1 / grown[0].1;
    (lines, figures)
}

/// What one measurement delivered.
#[derive(Clone, Debug, Default)]
struct Done {
    verdicts: u64,
    spent: Duration,
    words: Vec<(&'static str, u64)>,
}

impl Done {
    fn count(&mut self, word: &'static str) {
        self.verdicts += 1;
        match self.words.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => self.words.push((word, 1)),
        }
    }

    fn ns(&self) -> f64 {
        self.spent.as_nanos() as f64 / self.verdicts.max(1) as f64
    }

    fn shares(&self) -> String {
        let mut words = self.words.clone();
        words.sort_unstable();
        let share = |count: u64| count as f64 * 100.0 / self.verdicts.max(1) as f64;
        let words: Vec<String> =
            words.iter().map(|(word, count)| format!("{word} {:.2} %", share(*count))).collect();
        words.join(", ")
    }
}

/// A cluster with services of several kinds, a part of which changes while lookups go on.
struct World {
    services: u32,
    history: History,
    corefiles: CorefileHistory,
}

impl World {
    fn new(services: u32) -> Self {
        let mut history = History::new();
        let mut ordinal = 0u64;
        let mut tell = |kind: ChangeKind, object: &Value, at: i64| {
            let Ok((meta, object)) = truename_sources::kube::object(object, None, None) else { return };
            ordinal += 1;
            history.fold(ClusterChange {
                record: RecordRef { item: 0, ordinal },
                origin: OriginId(0),
                kind,
                source: ChangeSource::Watch,
                meta: Arc::new(meta),
                object: Arc::new(object),
                at: ObservedAt::Known(Interval::at(Nanos(at)), ClockBasis::Snapshot),
                seen_at: Some(Interval::at(Nanos(at))),
                actor: None,
            });
        };
        let made = START - SPAN;
        for number in 0..50 {
            tell(ChangeKind::Created, &namespace(number), made);
        }
        for number in 0..services {
            tell(ChangeKind::Created, &service(number, 0), made);
            tell(ChangeKind::Created, &slice(number, 0), made);
            if is_made_anew(number) {
                tell(ChangeKind::Deleted, &service(number, 0), CHANGE);
                tell(ChangeKind::Created, &service(number, 1), CHANGE + 1_000);
            } else if is_headless(number) && number.is_multiple_of(3) {
                tell(ChangeKind::Updated, &slice(number, 1), CHANGE);
            }
        }
        let span = Interval { lo: Nanos(made - SECOND), hi: Nanos(START + 2 * SPAN) };
        history.note_span(0, ChangeSource::Watch, span);
        for kind in [Kind::Service, Kind::Slice, Kind::Pod, Kind::Namespace, Kind::Other] {
            history.declare_complete(kind, span);
        }
        history.finish();
        let mut corefiles = CorefileHistory::new();
        corefiles.add_file("Corefile", Arc::from(COREFILE));
        corefiles.finish(&history);
        Self { services, history, corefiles }
    }

    /// Judges with the provenance of an investigation.
    fn bench(&self, clock: &dyn Fn() -> Duration, work: impl FnOnce(&mut Bench<'_, '_>) -> Done) -> Done {
        let truth = Truth::new(&self.history, &self.corefiles);
        let knowledge = ClusterKnowledge::new(&self.history, &self.corefiles, &truth, None);
        let origins = [Origin {
            replica: Known::Given("coredns-0".to_owned()),
            version: Known::Given("1.14.4".to_owned()),
            ..Origin::default()
        }];
        let mut replicas = Replicas::new(&knowledge, &origins);
        let replica = replicas.of_origin(OriginId(0));
        work(&mut Bench {
            services: self.services,
            knowledge: &knowledge,
            replicas: &mut replicas,
            replica,
            clock,
            random: Random::new(17),
        })
    }
}

/// One measurement.
struct Bench<'b, 'a> {
    services: u32,
    knowledge: &'b ClusterKnowledge<'a>,
    replicas: &'b mut Replicas<'a>,
    replica: Option<ReplicaId>,
    clock: &'b dyn Fn() -> Duration,
    random: Random,
}

impl Bench<'_, '_> {
    /// `count` distinct facts about services drawn without repeats, in no order; a fact is the answer before the
    /// change and the one after it.
    fn facts(&mut self, count: u32) -> Vec<[Joined; 2]> {
        let mut numbers: Vec<u32> = (0..self.services * FORMS).collect();
        let count = count.min(self.services * FORMS);
        for at in 0..count {
            let other = at + self.random.below(numbers.len() as u32 - at);
            numbers.swap(at as usize, other as usize);
        }
        numbers.truncate(count as usize);
        numbers.iter().map(|number| [0, 1].map(|state| lookup(*number, state, self.replica))).collect()
    }

    /// Judges lookups of facts in order of time. Each is made just before, as the join hands it over: only names and
    /// bodies are shared. Making them is not counted.
    fn judge(
        &mut self,
        provenance: &mut Provenance,
        facts: &[[Joined; 2]],
        lookups: impl ExactSizeIterator<Item = usize>,
        done: &mut Done,
    ) {
        let step = SPAN / (lookups.len() as i64).max(1);
        let mut batch = Vec::with_capacity(BATCH);
        let mut lookups = lookups.enumerate();
        loop {
            batch.clear();
            batch.extend(lookups.by_ref().take(BATCH).map(|(number, fact)| {
                let at = START + step * number as i64;
                let of = &facts[fact][usize::from(at > CHANGE)];
                let mut transaction = (*of.transaction).clone();
                if let Some(response) = &mut transaction.response {
                    response.at = known(at);
                }
                Joined { transaction: Arc::new(transaction), replica: of.replica }
            }));
            if batch.is_empty() {
                return;
            }
            let start = (self.clock)();
            for joined in &batch {
                done.count(provenance.judge(joined, self.replicas, self.knowledge).word());
            }
            done.spent += (self.clock)().saturating_sub(start);
        }
    }

    /// Lookups whose facts follow Zipf's law.
    fn repeated(&mut self, facts: u32, lookups: u32) -> Done {
        let facts = self.facts(facts);
        let zipf = Zipf::new(facts.len() as u32, 1.0);
        let ranks: Vec<u32> = (0..lookups).map(|_| zipf.rank(&mut self.random)).collect();
        let (mut provenance, mut done) = (Provenance::default(), Done::default());
        let ranks = ranks.iter().map(|rank| *rank as usize);
        self.judge(&mut provenance, &facts, ranks, &mut done);
        done
    }

    /// Every fact of the cluster once, before or after the change.
    fn distinct(&mut self) -> Done {
        let facts = self.facts(u32::MAX);
        let (mut provenance, mut done) = (Provenance::default(), Done::default());
        self.judge(&mut provenance, &facts, 0..facts.len(), &mut done);
        done
    }

    /// `count` distinct facts a round, drawn anew from the whole cluster; each round begins with nothing remembered.
    fn rounds(&mut self, count: u32, rounds: u32) -> Done {
        let mut done = Done::default();
        for _ in 0..rounds {
            let facts = self.facts(count);
            self.judge(&mut Provenance::default(), &facts, 0..facts.len(), &mut done);
        }
        done
    }
}

fn known(at: i64) -> ObservedAt {
    ObservedAt::Known(Interval::at(Nanos(at)), ClockBasis::Dnstap)
}

fn is_headless(service: u32) -> bool {
    service % 5 == 4
}

/// Services that are deleted and made anew with another address.
fn is_made_anew(service: u32) -> bool {
    service % 20 == 3
}

fn cluster_ip(service: u32, life: u32) -> Ipv4Addr {
    let anew = if is_made_anew(service) { life } else { 0 };
    Ipv4Addr::from(0x0A60_0000 + 256 + service + anew * 0x10_0000)
}

/// The two endpoints of a slice; the second moves with the change where the slice changes.
fn endpoints(service: u32, state: u32) -> [Ipv4Addr; 2] {
    let moved = if is_headless(service) && service.is_multiple_of(3) { state } else { 0 };
    let first = 0x0A80_0000 + 256 + service * 4;
    [Ipv4Addr::from(first), Ipv4Addr::from(first + 1 + moved)]
}

fn namespace(number: u32) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": format!("ns{number}"), "uid": format!("n-{number}"), "resourceVersion": "1"}})
}

fn service(number: u32, life: u32) -> Value {
    let ip = match is_headless(number) {
        true => "None".to_owned(),
        false => cluster_ip(number, life).to_string(),
    };
    json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": format!("svc{number}"), "namespace": format!("ns{}", number % 50),
            "uid": format!("s-{number}-{life}"), "resourceVersion": format!("{}", 2 + life)},
        "spec": {"clusterIP": ip, "clusterIPs": [ip], "type": "ClusterIP", "ipFamilies": ["IPv4"],
            "ports": [{"name": "http", "protocol": "TCP", "port": 80}]}})
}

fn slice(number: u32, state: u32) -> Value {
    let endpoints = endpoints(number, state);
    let endpoints = endpoints.map(|ip| json!({"addresses": [ip.to_string()], "conditions": {"ready": true}}));
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("svc{number}-x"), "namespace": format!("ns{}", number % 50),
            "uid": format!("e-{number}"), "resourceVersion": format!("{}", 2 + state),
            "labels": {"kubernetes.io/service-name": format!("svc{number}")}},
        "endpoints": endpoints, "ports": [{"name": "http", "protocol": "TCP", "port": 80}]})
}

/// One of the questions about a service, and its answer before (`state` 0) or after the change.
fn lookup(number: u32, state: u32, replica: Option<ReplicaId>) -> Joined {
    let (service, form) = (number / FORMS, number % FORMS);
    let (name, rtype, rcode, answers) = claim(service, form, state);
    let name = parsed(&name);
    let question = Question { name, rtype, class: Class::IN };
    let authority = if answers.is_empty() { vec![soa()] } else { Vec::new() };
    let body = Body { answers, authority, sections_seen: true, ..Body::question_only(question.clone()) };
    let response = Response {
        record: RecordRef { item: 0, ordinal: u64::from(number) },
        vantage: Vantage::ClientResponse,
        at: known(START),
        flags: Flags(Flags::QR | Flags::AA | Flags::RD),
        rcode: Some(rcode),
        body: Arc::new(body),
        server: None,
        packet: None,
    };
    let transaction = Transaction {
        client: None,
        id: 7,
        transport: Transport::Udp,
        question,
        query_flags: None,
        bufsize: None,
        odd_query: None,
        asked: known(START),
        answered: known(START),
        origin: OriginId(0),
        records: SmallVec::new(),
        vantages: SmallVec::new(),
        response: Some(response),
        dissent: None,
        upstream: Vec::new(),
        retransmissions: 0,
        duration_ns: None,
        response_size: None,
        hints: None,
    };
    Joined { transaction: Arc::new(transaction), replica }
}

type Claim = (String, Rtype, Rcode, Vec<Record>);

/// Name, type, return code and answer section.
fn claim(service: u32, form: u32, state: u32) -> Claim {
    let own = format!("svc{service}.ns{}.svc.cluster.local", service % 50);
    let (ip, endpoints, headless) =
        (cluster_ip(service, state), endpoints(service, state), is_headless(service));
    let lie = service.is_multiple_of(LIES);
    let address = |owner: &str, ip: Ipv4Addr| record(owner, Rtype::A, Rdata::A(ip));
    let noerror = Rcode::NOERROR;
    match form {
        0 if lie => {
            let answer = address(&own, Ipv4Addr::from(0xC633_6400 + service % 256));
            (own, Rtype::A, noerror, vec![answer])
        }
        0 if headless => {
            let answers = endpoints.iter().map(|ip| address(&own, *ip)).collect();
            (own, Rtype::A, noerror, answers)
        }
        0 => {
            let answer = address(&own, ip);
            (own, Rtype::A, noerror, vec![answer])
        }
        1 => (own, Rtype::AAAA, noerror, Vec::new()),
        2 => {
            let name = format!("_http._tcp.{own}");
            let one = |target: &str, weight| {
                let rdata = Rdata::Srv { priority: 0, weight, port: 80, target: parsed(target) };
                record(&name, Rtype::SRV, rdata)
            };
            let answers = match headless {
                true => endpoints.iter().map(|ip| one(&format!("{}.{own}", dashed(*ip)), 50)).collect(),
                false => vec![one(&own, 100)],
            };
            (name.clone(), Rtype::SRV, noerror, answers)
        }
        3 => (format!("{own}.svc.cluster.local"), Rtype::A, Rcode::NXDOMAIN, Vec::new()),
        4 | 5 => {
            let other = (service + 7) % 50;
            let rtype = if form == 4 { Rtype::A } else { Rtype::AAAA };
            (format!("svc{service}.ns{other}.svc.cluster.local"), rtype, Rcode::NXDOMAIN, Vec::new())
        }
        6 => {
            let of = if headless { endpoints[0] } else { ip };
            let [a, b, c, d] = of.octets();
            let name = format!("{d}.{c}.{b}.{a}.in-addr.arpa");
            let target = if headless { format!("{}.{own}", dashed(of)) } else { own };
            let answer = record(&name, Rtype::PTR, Rdata::Ptr(parsed(&target)));
            (name, Rtype::PTR, noerror, vec![answer])
        }
        _ => {
            let ip = endpoints[0];
            let name = format!("{}.ns{}.pod.cluster.local", dashed(ip), service % 50);
            let answer = address(&name, ip);
            (name, Rtype::A, noerror, vec![answer])
        }
    }
}

fn dashed(ip: Ipv4Addr) -> String {
    ip.to_string().replace('.', "-")
}

fn parsed(text: &str) -> Name {
    Name::parse(text).unwrap_or_else(|_| Name::root())
}

fn record(owner: &str, rtype: Rtype, rdata: Rdata) -> Record {
    Record { owner: parsed(owner), rtype, class: Class::IN, ttl: 30, rdata }
}

fn soa() -> Record {
    let numbers = [1_780_000_000, 7_200, 1_800, 86_400, 30];
    let (mname, rname) = (parsed("ns.dns.cluster.local"), parsed("hostmaster.cluster.local"));
    record("cluster.local", Rtype::SOA, Rdata::Soa { mname, rname, numbers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn true_answers_are_verified_and_lies_are_not() {
        let size = Size { services: 200, lookups: 4_000, facts: 400, growth: (50, 100), rounds: 2 };
        let ticks = std::cell::Cell::new(0);
        let clock = || {
            ticks.set(ticks.get() + 1);
            Duration::from_secs(ticks.get())
        };
        let (lines, figures) = run(size, &clock);
        assert_eq!(figures.repeated, 4_000);
        assert_eq!(figures.distinct, u64::from(200 * FORMS));
        let of = |word: &str| figures.verdicts.get(word).copied().unwrap_or(0);
        // A lie in every fiftieth service's address, in one of eight questions; moved endpoints may be told late.
        assert!(of("contradicted") > 0, "{lines:#?}");
        let all: u64 = figures.verdicts.values().sum();
        assert!(of("verified") + of("stale") > all * 97 / 100, "{lines:#?}");
        assert!(of("unverifiable") + of("explained") == 0, "{lines:#?}");
    }
}
