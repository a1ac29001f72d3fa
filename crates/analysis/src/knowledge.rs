//! What the analysis asks of the cluster's history: owners of addresses, verdicts, stub configuration.
//!
//! Enters: addresses, questions, intervals on the reference clock; leaves: answers of the `cluster` crate. A trait,
//! so that joins and rules are tested against a few hand-written facts. Deliberately absent: any state.

use std::net::IpAddr;

use crate::servers::Learned;
use truename_cluster::history::{CorefileHistory, History, Kind};
use truename_cluster::names;
use truename_cluster::policy::Policies;
pub use truename_cluster::truth::{Chase, Judgement};
use truename_cluster::truth::{LAG_NS, Truth};
use truename_model::time::SECOND;
use truename_model::{
    Attribution, Body, Flags, Interval, Name, Nanos, Object, Question, Rcode, UnknownOwner, Verdict,
    WhyUnverifiable, Workload, WorkloadKind,
};

/// An answer to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The question.
    pub question: &'a Question,
    /// Extended return code.
    pub rcode: Rcode,
    /// Header bits of the response.
    pub flags: Flags,
    /// Sections.
    pub body: &'a Body,
    /// When it was given, reference clock, with all uncertainty.
    pub at: Interval,
    /// CoreDNS version of the answering replica (`1.15.0`), if known.
    pub version: Option<&'a str>,
}

/// How a pod's stub resolver is set up by its objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StubConfig {
    /// Search list as kubelet writes it, without the node's own suffixes.
    pub search: Vec<Name>,
    /// `ndots`.
    pub ndots: u8,
}

/// What an address means to the cluster's DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsRole {
    /// A DNS server instance with that pod name.
    Replica(String),
    /// The address of the cluster's DNS service (or of a node-local cache): some instance answers behind it.
    Service,
    /// Known not to be a server of cluster DNS.
    Other,
    /// The objects do not tell.
    Unknown,
}

/// Questions to the cluster's history. All instants are on the reference clock.
pub trait Knowledge: Sync {
    /// Who held `ip` through the whole of `at`, and the stretch in which every interval has this answer (`None`: do
    /// not remember it).
    fn owners(&self, ip: IpAddr, at: Interval) -> (Attribution, Option<Interval>);

    /// Whether an answer was true, and the stretch of time in which an equal answer gets the same word (`None`: do
    /// not remember it).
    fn judge(&self, answer: &Answer<'_>) -> (Judgement, Option<Interval>);

    /// The NodeLocal cache, by its pod's name, that alone may have asked from this address then.
    fn node_cache(&self, _: IpAddr, _: Interval) -> Option<&str> {
        None
    }

    /// True if the instance of this name is a NodeLocal cache: what it forwards, another instance answers.
    fn is_node_cache(&self, _: &str) -> bool {
        false
    }

    /// True if the objects made `target` what stands behind `name` at some moment of `at` (an ExternalName).
    fn is_alias(&self, _name: &Name, _target: &Name, _at: Interval) -> bool {
        false
    }

    /// The object history itself, for rules that compare objects.
    fn history(&self) -> Option<&History> {
        None
    }

    /// The network policies, if any was ever seen.
    fn policies(&self) -> Option<&Policies<'_>> {
        None
    }

    /// The Corefiles in force.
    fn corefiles(&self) -> Option<&CorefileHistory> {
        None
    }

    /// The stub configuration of a workload, if its objects tell it.
    fn stub(&self, workload: &Workload, at: Interval) -> Option<StubConfig>;

    /// What `ip` was to cluster DNS, with the stretch in which that holds.
    fn dns_role(&self, ip: IpAddr, at: Interval) -> (DnsRole, Option<Interval>);

    /// The cluster domain, if known.
    fn cluster_domain(&self) -> Option<Name>;

    /// How long after its TTL a cached answer may still be served, nanoseconds (`serve_stale`), for that replica's
    /// configuration at that time.
    fn stale_ns(&self, at: Interval) -> i64;

    /// True if, at any moment of `at`, the server gives what an upstream answers for `name` to the client as it is, and
    /// asks upstreams only for what its cache does not hold.
    fn passes_on(&self, name: &Name, at: Interval) -> bool;
}

/// All of time.
pub const ALWAYS: Interval = Interval { lo: Nanos(i64::MIN), hi: Nanos(i64::MAX) };

/// A cluster of which nothing is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoKnowledge;

impl Knowledge for NoKnowledge {
    fn owners(&self, _: IpAddr, _: Interval) -> (Attribution, Option<Interval>) {
        (Attribution::Unknown(UnknownOwner::NoObjects), Some(ALWAYS))
    }

    fn judge(&self, _: &Answer<'_>) -> (Judgement, Option<Interval>) {
        (Judgement::Verdict(Verdict::unverifiable(WhyUnverifiable::NoObjects)), Some(ALWAYS))
    }

    fn stub(&self, _: &Workload, _: Interval) -> Option<StubConfig> {
        None
    }

    fn dns_role(&self, _: IpAddr, _: Interval) -> (DnsRole, Option<Interval>) {
        (DnsRole::Unknown, Some(ALWAYS))
    }

    fn cluster_domain(&self) -> Option<Name> {
        None
    }

    fn stale_ns(&self, _: Interval) -> i64 {
        0
    }

    fn passes_on(&self, _: &Name, _: Interval) -> bool {
        false
    }
}

/// The knowledge of a finished history.
pub struct ClusterKnowledge<'a> {
    history: &'a History,
    corefiles: &'a CorefileHistory,
    truth: &'a Truth<'a>,
    domain: Option<Name>,
    zones: Vec<Name>,
    servers: Learned,
    policies: Option<Policies<'a>>,
}

impl<'a> ClusterKnowledge<'a> {
    /// Binds the three together; `domain` is the operator's word where the objects do not tell it.
    #[must_use]
    pub fn new(
        history: &'a History,
        corefiles: &'a CorefileHistory,
        truth: &'a Truth<'a>,
        domain: Option<Name>,
    ) -> Self {
        let domain = history.facts().domain.clone().or(domain);
        let any = history.timelines().iter().any(|timeline| timeline.kind == Kind::Policy);
        let policies = any.then(|| Policies::new(history));
        let zones = truth.zones().into_iter().chain(domain.clone()).collect();
        Self { history, corefiles, truth, domain, zones, servers: Learned::default(), policies }
    }

    /// Adds the instances that lookups name by address, for addresses of which the objects say nothing.
    #[must_use]
    pub fn with_servers(mut self, servers: Learned) -> Self {
        self.servers = servers;
        self
    }

    /// Notes on addresses that are taken for servers only because of how they use their sockets.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let unknown = |ip: &&IpAddr| self.history.pods_at(**ip).is_empty();
        let note = |(ip, server): (&IpAddr, &IpAddr)| {
            format!(
                "{ip} is taken for a server of the cluster's DNS: it asks {server} for many names from one port and for none \
                 of the cluster's, as a forwarder does. If it is a client, say so: --origin 'GLOB:leg=client'; if it is a \
                 server whose taps or logs are here, name it: --origin 'GLOB:leg=upstream,replica=NAME'"
            )
        };
        self.servers.pooled.iter().filter(|(ip, _)| unknown(ip)).map(note).collect()
    }

    /// The one pod that ever showed the address of a DNS server, where nobody is known to hold it at the time.
    fn only_server(&self, ip: IpAddr) -> DnsRole {
        let mut names = self.history.pods_at(ip).iter().map(|id| &self.history.timeline(*id).name);
        match (names.next(), names.next()) {
            (Some(name), None) => DnsRole::Replica(name.to_string()),
            _ => DnsRole::Unknown,
        }
    }

    /// The search list of kubelet for ClusterFirst.
    fn cluster_search(&self, namespace: &str) -> Vec<Name> {
        let Some(domain) = self.domain.clone().or_else(|| Name::parse("cluster.local").ok()) else {
            return Vec::new();
        };
        let svc = Name::parse("svc").and_then(|svc| svc.joined(&domain));
        let own = svc.clone().and_then(|svc| Name::parse(namespace)?.joined(&svc));
        own.into_iter().chain(svc).chain([domain]).collect()
    }
}

/// Pods that serve cluster DNS carry this label value, whatever the server's own name is.
fn serves_dns(workload: &Workload) -> bool {
    let app = |key: &str| workload.labels.get(key).map(String::as_str);
    matches!(app("k8s-app"), Some("kube-dns" | "coredns" | "node-local-dns"))
        || matches!(app("app.kubernetes.io/name"), Some("coredns"))
}

impl Knowledge for ClusterKnowledge<'_> {
    fn owners(&self, ip: IpAddr, at: Interval) -> (Attribution, Option<Interval>) {
        match self.history.owner_epoch(ip, at) {
            Some((stretch, attribution)) => (attribution, Some(stretch)),
            None => (self.history.owners(ip, at), None),
        }
    }

    fn judge(&self, answer: &Answer<'_>) -> (Judgement, Option<Interval>) {
        self.truth.judge_epoch(
            answer.question,
            Some(answer.rcode),
            answer.flags,
            answer.body,
            answer.at,
            answer.version,
        )
    }

    fn node_cache(&self, ip: IpAddr, at: Interval) -> Option<&str> {
        self.history.node_cache(ip, at)
    }

    fn is_node_cache(&self, instance: &str) -> bool {
        self.history.is_node_cache(instance)
    }

    fn is_alias(&self, name: &Name, target: &Name, at: Interval) -> bool {
        let mut requests = self.zones.iter().filter_map(|zone| names::parse(name, zone, false, false));
        // The server may not have seen the newest state yet.
        let at = Interval { lo: at.lo.plus(-LAG_NS), hi: at.hi };
        requests.any(|request| {
            let ids = self.history.find(Kind::Service, request.namespace, request.service);
            let states = ids.iter().flat_map(|id| self.history.timeline(*id).within(at));
            states.filter_map(|entry| entry.state.as_ref()).any(|state| match &*state.object {
                Object::Service(service) => {
                    Name::parse(&service.external_name).is_ok_and(|name| name == *target)
                }
                _ => false,
            })
        })
    }

    fn history(&self) -> Option<&History> {
        Some(self.history)
    }

    fn policies(&self) -> Option<&Policies<'_>> {
        self.policies.as_ref()
    }

    fn corefiles(&self) -> Option<&CorefileHistory> {
        Some(self.corefiles)
    }

    fn stub(&self, workload: &Workload, at: Interval) -> Option<StubConfig> {
        if workload.kind != WorkloadKind::Pod {
            return None;
        }
        let ids = self.history.find(Kind::Pod, workload.namespace.as_bytes(), workload.name.as_bytes());
        let entries = ids.iter().flat_map(|id| self.history.timeline(*id).within(at));
        let mut states = entries.filter_map(|entry| entry.state.as_ref());
        let state = states.find(|state| state.meta.uid == workload.uid)?;
        let Object::Pod(pod) = &*state.object else { return None };
        let policy = match (pod.dns_policy.as_str(), pod.host_network) {
            ("" | "ClusterFirst", true) => "Default",
            ("", false) => "ClusterFirst",
            (policy, _) => policy,
        };
        let cluster = matches!(policy, "ClusterFirst" | "ClusterFirstWithHostNet");
        let mut search = if cluster { self.cluster_search(&workload.namespace) } else { Vec::new() };
        for name in pod.dns_searches.iter().filter_map(|text| Name::parse(text).ok()) {
            if !search.contains(&name) && search.len() < 32 {
                search.push(name);
            }
        }
        Some(StubConfig { search, ndots: pod.ndots.unwrap_or(if cluster { 5 } else { 1 }) })
    }

    fn dns_role(&self, ip: IpAddr, at: Interval) -> (DnsRole, Option<Interval>) {
        let facts = self.history.facts();
        if facts.dns_ips.contains(&ip) || is_node_local(ip) {
            return (DnsRole::Service, Some(ALWAYS));
        }
        let (attribution, stretch) = self.owners(ip, at);
        let learned = self.servers.names.get(&ip);
        let role = match &attribution {
            Attribution::Unknown(_) if learned.is_some() => {
                learned.map_or(DnsRole::Unknown, |name| DnsRole::Replica(name.clone()))
            }
            Attribution::Unknown(_) if self.servers.services.contains(&ip) => DnsRole::Service,
            Attribution::Exact(workload, _) if serves_dns(workload) => {
                DnsRole::Replica(workload.name.clone())
            }
            Attribution::Exact(..) => DnsRole::Other,
            Attribution::Ambiguous(all) => {
                let mut servers = all.iter().filter(|one| serves_dns(&one.workload));
                match (servers.next(), servers.next()) {
                    (Some(one), None) => DnsRole::Replica(one.workload.name.clone()),
                    (None, _) => DnsRole::Other,
                    _ => DnsRole::Unknown,
                }
            }
            Attribution::Unknown(UnknownOwner::ThroughNodeLocal(_)) => {
                match self.history.node_cache(ip, at) {
                    Some(cache) => DnsRole::Replica(cache.to_owned()),
                    None => DnsRole::Unknown,
                }
            }
            Attribution::Unknown(_) if facts.dns_pods.contains(&ip) => self.only_server(ip),
            Attribution::Unknown(UnknownOwner::NoSuchAddress | UnknownOwner::NoneAtThatTime)
                if self.history.coverage().is_exhaustive(Kind::Pod, at) =>
            {
                DnsRole::Other
            }
            Attribution::Unknown(_) => DnsRole::Unknown,
        };
        (role, stretch)
    }

    fn cluster_domain(&self) -> Option<Name> {
        self.domain.clone()
    }

    fn stale_ns(&self, at: Interval) -> i64 {
        let versions = self.corefiles.versions().get(self.corefiles.in_force(at)).unwrap_or(&[]);
        versions.iter().map(|version| stale_of(&version.text)).max().unwrap_or(0)
    }

    fn passes_on(&self, name: &Name, at: Interval) -> bool {
        self.truth.passes_on(name, at)
    }
}

/// The address that NodeLocal DNSCache listens on by default.
fn is_node_local(ip: IpAddr) -> bool {
    ip == IpAddr::from([169, 254, 20, 10])
}

/// The longest `serve_stale` of a Corefile, nanoseconds (one hour where no duration is given).
fn stale_of(text: &str) -> i64 {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("serve_stale"));
    lines
        .map(|rest| match rest.split_whitespace().next() {
            Some(word) => duration_ns(word).unwrap_or(3_600 * SECOND),
            None => 3_600 * SECOND,
        })
        .max()
        .unwrap_or(0)
}

/// Go durations of whole units (`1h30m`, `15s`).
fn duration_ns(word: &str) -> Option<i64> {
    let (mut total, mut number) = (0i64, None::<i64>);
    for c in word.chars() {
        if let Some(digit) = c.to_digit(10) {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(i64::from(digit))?);
            continue;
        }
        let unit = match c {
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    if number.is_some() {
        return None;
    }
    total.checked_mul(SECOND)
}
