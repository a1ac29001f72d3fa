//! Which DNS server instance a record belongs to, and on which side of it a packet was seen.
//!
//! Enters: origins, dnstap identities, addresses; leaves: small numbers for instances, and the leg of a packet.
//! A name comes from the origin, else from the message's identity, else from the objects, else from what the
//! traffic shows. Deliberately absent: joining.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use foldhash::fast::FixedState;
use truename_model::{DnsEvent, Interval, Known, Origin, OriginId, Side, Vantage};

use crate::knowledge::{DnsRole, Knowledge};

/// A DNS server instance of this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub u32);

/// CoreDNS version as numbers.
pub type Version = (u32, u32, u32);

/// The side of a DNS server on which a packet was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    /// Between a client and a server.
    Client,
    /// Between that instance and its upstream.
    Upstream(ReplicaId),
    /// Nothing tells whether the asker is a client or a server of cluster DNS.
    Unplaced,
}

/// [`DnsRole`] with the instance as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Replica(ReplicaId),
    Service,
    Other,
    Unknown,
}

/// Bound on learned addresses: a capture names a handful of servers, a flood of forged sources must not grow it.
const LEARNED_MAX: usize = 4_096;

/// Names, aliases and versions of instances.
pub struct Replicas<'a> {
    knowledge: &'a dyn Knowledge,
    origins: &'a [Origin],
    clusters: Vec<u32>,
    by_origin: Vec<Option<ReplicaId>>,
    by_name: HashMap<(u32, String), ReplicaId>,
    names: Vec<String>,
    versions: Vec<Option<Version>>,
    /// Instances that forward to others of the cluster.
    caches: Vec<bool>,
    /// Own addresses of instances, from forwarder taps that show the local socket.
    aliases: HashMap<IpAddr, ReplicaId>,
    /// Own addresses of instances, as the operator states them.
    given: HashMap<IpAddr, ReplicaId>,
    /// Conversations of which nothing tells the leg: asker, server, packets.
    unplaced: BTreeMap<(IpAddr, IpAddr), u64>,
    /// Addresses that answered clients, used only where the objects tell nothing.
    answering: HashSet<IpAddr>,
    roles: HashMap<(u32, IpAddr), (Interval, Role), FixedState>,
}

impl<'a> Replicas<'a> {
    /// Reads what the origins say of their instances.
    #[must_use]
    pub fn new(knowledge: &'a dyn Knowledge, origins: &'a [Origin]) -> Self {
        let mut this = Self {
            knowledge,
            origins,
            clusters: cluster_numbers(origins),
            by_origin: Vec::new(),
            by_name: HashMap::new(),
            names: Vec::new(),
            versions: Vec::new(),
            caches: Vec::new(),
            aliases: HashMap::new(),
            given: HashMap::new(),
            unplaced: BTreeMap::new(),
            answering: HashSet::new(),
            roles: HashMap::with_hasher(FixedState::with_seed(5)),
        };
        for (index, origin) in origins.iter().enumerate() {
            let id = origin.replica.value().map(|name| this.named(this.clusters[index], name));
            if let (Some(id), Some(version)) = (id, origin.version.value()) {
                this.learn_version(id, version);
            }
            for &ip in &origin.addresses {
                let id = id.unwrap_or_else(|| this.unnamed(this.clusters[index], ip));
                this.given.insert(ip, id);
            }
            this.by_origin.push(id);
        }
        this
    }

    /// Number of the cluster an origin belongs to. With at most one named cluster everything belongs to it.
    #[must_use]
    pub fn cluster(&self, origin: OriginId) -> u32 {
        self.clusters.get(origin.0 as usize).copied().unwrap_or(0)
    }

    /// The instance's name.
    #[must_use]
    pub fn name(&self, id: ReplicaId) -> &str {
        self.names.get(id.0 as usize).map_or("", String::as_str)
    }

    /// The instance's version, if any record told it.
    #[must_use]
    pub fn version(&self, id: ReplicaId) -> Option<Version> {
        self.versions.get(id.0 as usize).copied().flatten()
    }

    /// True for a NodeLocal cache: its upstream may be any other instance, so their exchanges explain its answers too.
    #[must_use]
    pub fn is_cache(&self, id: ReplicaId) -> bool {
        self.caches.get(id.0 as usize).copied().unwrap_or(false)
    }

    /// Takes note of a version text (`1.15.0`, `CoreDNS-1.15.0`).
    pub fn learn_version(&mut self, id: ReplicaId, text: &str) {
        if let (Some(version), Some(slot)) = (parse_version(text), self.versions.get_mut(id.0 as usize)) {
            *slot = Some(version);
        }
    }

    fn named(&mut self, cluster: u32, name: &str) -> ReplicaId {
        if let Some(&id) = self.by_name.get(&(cluster, name.to_owned())) {
            return id;
        }
        let id = ReplicaId(self.names.len() as u32);
        if self.names.len() >= LEARNED_MAX {
            return ReplicaId(0);
        }
        self.names.push(name.to_owned());
        self.versions.push(None);
        self.caches.push(self.knowledge.is_node_cache(name));
        self.by_name.insert((cluster, name.to_owned()), id);
        id
    }

    fn unnamed(&mut self, cluster: u32, ip: IpAddr) -> ReplicaId {
        self.named(cluster, &format!("server {ip}"))
    }

    /// The instance named by an origin.
    #[must_use]
    pub fn of_origin(&self, origin: OriginId) -> Option<ReplicaId> {
        self.by_origin.get(origin.0 as usize).copied().flatten()
    }

    /// The instance that wrote a log line or a tap message: what the operator states, else what the record says of
    /// itself (one file may mix the lines of several), else what the item tells.
    pub fn of_server(&mut self, origin: OriginId, dns: &DnsEvent) -> Option<ReplicaId> {
        let by_origin = self.by_origin.get(origin.0 as usize).copied().flatten();
        let itself =
            dns.hints.as_deref().and_then(|hints| hints.identity.as_deref()).filter(|name| !name.is_empty());
        let id = match (by_origin, itself) {
            (Some(id), Some(name)) if self.name(id) != name && !self.is_given(origin) => {
                self.named(self.cluster(origin), name)
            }
            (Some(id), _) => id,
            (None, name) => self.named(self.cluster(origin), name?),
        };
        self.note_version(id, dns);
        Some(id)
    }

    fn is_given(&self, origin: OriginId) -> bool {
        let origin = self.origins.get(origin.0 as usize);
        origin.is_some_and(|origin| matches!(origin.replica, Known::Given(_)))
    }

    /// As [`Replicas::of_server`], but never without a number: an unnamed origin is an instance of its own.
    pub fn of_tap(&mut self, origin: OriginId, dns: &DnsEvent) -> ReplicaId {
        match self.of_server(origin, dns) {
            Some(id) => id,
            None => self.named(self.cluster(origin), &format!("origin {}", origin.0)),
        }
    }

    fn note_version(&mut self, id: ReplicaId, dns: &DnsEvent) {
        if self.version(id).is_none()
            && let Some(version) = dns.hints.as_deref().and_then(|hints| hints.version.as_deref())
        {
            self.learn_version(id, version);
        }
    }

    /// True if forwarder taps of the instance show its own socket (CoreDNS ≥ 1.14.5), false if they show the
    /// client, `None` if the version is not known.
    #[must_use]
    pub fn taps_own_socket(&self, id: ReplicaId) -> Option<bool> {
        self.version(id).map(|version| version >= (1, 14, 5))
    }

    /// A forwarder tap showed an address of the instance.
    pub fn learn_alias(&mut self, id: ReplicaId, ip: IpAddr) {
        if self.aliases.len() < LEARNED_MAX && !ip.is_unspecified() {
            self.aliases.entry(ip).or_insert(id);
        }
    }

    fn role(&mut self, cluster: u32, ip: IpAddr, at: Interval) -> Role {
        if let Some((stretch, role)) = self.roles.get(&(cluster, ip))
            && stretch.lo <= at.lo
            && at.hi <= stretch.hi
        {
            return *role;
        }
        let (role, stretch) = self.knowledge.dns_role(ip, at);
        let role = match role {
            DnsRole::Replica(name) => Role::Replica(self.named(cluster, &name)),
            DnsRole::Service => Role::Service,
            DnsRole::Other => Role::Other,
            DnsRole::Unknown => Role::Unknown,
        };
        if self.roles.len() >= LEARNED_MAX {
            self.roles.clear();
        }
        if let Some(stretch) = stretch {
            self.roles.insert((cluster, ip), (stretch, role));
        }
        role
    }

    /// The instance with an address of its own, if objects or taps name it.
    pub fn of_address(&mut self, origin: OriginId, ip: IpAddr, at: Interval) -> Option<ReplicaId> {
        if let Some(&id) = self.given.get(&ip).or_else(|| self.aliases.get(&ip)) {
            return Some(id);
        }
        match self.role(self.cluster(origin), ip, at) {
            Role::Replica(id) => Some(id),
            Role::Service | Role::Other | Role::Unknown => None,
        }
    }

    /// True if the address is known to belong to no server of the cluster's DNS.
    pub fn is_foreign(&mut self, origin: OriginId, ip: IpAddr, at: Interval) -> bool {
        !self.given.contains_key(&ip)
            && !self.aliases.contains_key(&ip)
            && self.role(self.cluster(origin), ip, at) == Role::Other
    }

    /// The leg on which a packet was seen.
    pub fn leg(&mut self, origin: OriginId, dns: &DnsEvent, at: Interval) -> Leg {
        let (Some(client), Some(server)) = (dns.client, dns.server) else { return Leg::Client };
        if let Some(leg) = self.stated_leg(origin, client.ip, server.ip) {
            return leg;
        }
        let cluster = self.cluster(origin);
        let serves = self.role(cluster, server.ip, at);
        if matches!(serves, Role::Replica(_) | Role::Service) || self.aliases.contains_key(&server.ip) {
            return Leg::Client;
        }
        match self.role(cluster, client.ip, at) {
            Role::Replica(id) => Leg::Upstream(id),
            Role::Other | Role::Service => Leg::Client,
            Role::Unknown => self.learned_leg(origin, dns, client.ip, server.ip),
        }
    }

    /// What the operator says of the item, or of an address.
    fn stated_leg(&mut self, origin: OriginId, client: IpAddr, server: IpAddr) -> Option<Leg> {
        let side = self.origins.get(origin.0 as usize).and_then(|origin| origin.leg.value());
        match (side, self.given.get(&client)) {
            (Some(Side::Client), _) => Some(Leg::Client),
            (_, Some(&id)) => Some(Leg::Upstream(id)),
            (Some(Side::Upstream), None) => {
                let named = self.of_origin(origin);
                Some(Leg::Upstream(named.unwrap_or_else(|| self.unnamed(self.cluster(origin), client))))
            }
            (None, None) => self.given.contains_key(&server).then_some(Leg::Client),
        }
    }

    fn learned_leg(&mut self, origin: OriginId, dns: &DnsEvent, client: IpAddr, server: IpAddr) -> Leg {
        if let Some(&id) = self.aliases.get(&client) {
            return Leg::Upstream(id);
        }
        if self.answering.contains(&client) {
            return Leg::Upstream(self.unnamed(self.cluster(origin), client));
        }
        if dns.vantage == Vantage::PacketResponse && self.answering.len() < LEARNED_MAX {
            self.answering.insert(server);
        }
        if self.unplaced.len() < LEARNED_MAX || self.unplaced.contains_key(&(client, server)) {
            *self.unplaced.entry((client, server)).or_insert(0) += 1;
        }
        Leg::Unplaced
    }

    /// Conversations of which nothing tells the leg: asker, server, packets.
    #[must_use]
    pub fn unplaced(&self) -> &BTreeMap<(IpAddr, IpAddr), u64> {
        &self.unplaced
    }

    /// Origins of the run.
    #[must_use]
    pub fn origins(&self) -> &'a [Origin] {
        self.origins
    }
}

/// Clusters by number. Nothing is joined across clusters; with one name at most there is only one cluster.
fn cluster_numbers(origins: &[Origin]) -> Vec<u32> {
    let mut numbers: BTreeMap<&str, u32> = BTreeMap::new();
    for origin in origins {
        if let Some(name) = origin.cluster.value() {
            let next = numbers.len() as u32 + 1;
            numbers.entry(name).or_insert(next);
        }
    }
    let single = numbers.len() <= 1;
    let number = |origin: &Origin| {
        let known = origin.cluster.value().and_then(|name| numbers.get(name.as_str()));
        if single { 0 } else { known.copied().unwrap_or(0) }
    };
    origins.iter().map(number).collect()
}

/// Reads `1.15.0`, `v1.15.0` or `CoreDNS-1.15.0`.
#[must_use]
pub fn parse_version(text: &str) -> Option<Version> {
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    let mut parts = digits.split(['.', '-', '+', ' ']).map(str::parse::<u32>);
    let major = parts.next()?.ok()?;
    let minor = parts.next()?.ok()?;
    let patch = parts.next().and_then(Result::ok).unwrap_or(0);
    Some((major, minor, patch))
}

#[cfg(test)]
mod tests {
    use truename_model::Event;

    use super::*;

    #[test]
    fn versions_are_read_with_and_without_the_name() {
        assert_eq!(parse_version("CoreDNS-1.15.0"), Some((1, 15, 0)));
        assert_eq!(parse_version("1.9.4"), Some((1, 9, 4)));
        assert_eq!(parse_version("v1.14.5-rc1"), Some((1, 14, 5)));
        assert_eq!(parse_version("CoreDNS"), None);
    }

    #[test]
    fn a_record_that_names_its_server_is_not_given_to_the_first_one_of_its_file() {
        use crate::fixture::{Small, msg};
        let knowledge = Small;
        let found = |how: &str| Known::Found("coredns-a".to_owned(), how.to_owned());
        let origin = |replica| Origin { replica, ..Origin::default() };
        let origins = [origin(found("line prefix, one of several")), origin(Known::Given("mine".to_owned()))];
        let mut replicas = Replicas::new(&knowledge, &origins);
        let mut server = |item: u32, identity: &str| {
            let record = msg(Vantage::ClientResponse, item, 1.0, "10.0.0.9:4000", 7, "a.example.");
            let record = record.identity(identity, "CoreDNS-1.15.0");
            let Event::Dns(dns) = &record.0.event else { unreachable!() };
            let id = replicas.of_server(OriginId(item), dns).unwrap();
            replicas.name(id).to_owned()
        };
        assert_eq!(server(0, "coredns-a"), "coredns-a");
        assert_eq!(server(0, "coredns-b"), "coredns-b");
        assert_eq!(server(0, ""), "coredns-a", "what says nothing is the item's");
        assert_eq!(server(1, "coredns-b"), "mine", "the operator's word counts");
    }
}
