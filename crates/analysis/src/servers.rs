//! Which address belongs to which DNS server instance, and which side of it a capture shows, told by the lookups
//! themselves: a capture shows the address, taps and logs the name.
//!
//! Enters: observations of all items in any order; leaves: names by address, and addresses that answer for the cluster,
//! for addresses of which the objects say nothing. An address that asks upstreams is known by what taps and logs show
//! at the same moment, else by its own answers, else by its sockets: a forwarder asks many names from one port, none of
//! them the cluster's own. Deliberately absent: addresses in front of several instances (a Service): their lookups name
//! several.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::hash::BuildHasher;
use truename_model::time::MILLI;
use truename_model::{DnsEvent, Event, Flags, Nanos, Observation, Origin, Question, Rcode, Vantage};

/// Lookups remembered; beyond that the map stays as it is.
const LOOKUPS_MAX: usize = 1 << 16;
/// Addresses remembered, and per asker its servers and ports.
const ADDRESSES_MAX: usize = 4_096;
const PORTS_MAX: usize = 256;
/// At least so many lookups must agree on an address.
const SUPPORT: u64 = 3;
/// So many names from one port, of so many questions in all, are a forwarder's.
const POOLED: usize = 3;
/// By how much the times of taps and packets of one host, or of a log line and its lookup, may differ.
const NEAR: i64 = 50 * MILLI;

/// Collects sightings of the same lookup by captures and by taps or logs.
#[derive(Debug)]
pub struct Servers {
    // By cluster and lookup: the addresses that answered it, and the instances (as origin numbers) that reported it.
    seen: HashMap<u64, Sighting, FixedState>,
    hasher: FixedState,
    // By cluster and question: when an instance dealt with it.
    told: HashMap<u64, SmallVec<[Told; 2]>, FixedState>,
    told_count: usize,
    // Addresses that instances name as their clients.
    clients: BTreeSet<IpAddr>,
    // Questions in packets: the asker, the question, when.
    asked: Vec<(IpAddr, u64, i64)>,
    askers: BTreeMap<IpAddr, Asker>,
    // Addresses that were asked for names of a cluster, and that answered for them.
    cluster_asked: BTreeSet<IpAddr>,
    services: BTreeSet<IpAddr>,
}

#[derive(Debug, Default)]
struct Sighting {
    addresses: SmallVec<[IpAddr; 1]>,
    origins: SmallVec<[u32; 2]>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    origin: u32,
    from: i64,
    to: i64,
}

/// An address that sends queries.
#[derive(Debug, Default)]
struct Asker {
    servers: BTreeSet<IpAddr>,
    ports: BTreeMap<u16, SmallVec<[u64; POOLED]>>,
    answers: bool,
    // Taps that show this address as the instance's own socket, by origin.
    taps: BTreeMap<u32, u64>,
}

/// What the lookups tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Instances by their own address; `server ADDRESS` where nothing names them.
    pub names: BTreeMap<IpAddr, String>,
    /// Addresses that answered for names of a cluster.
    pub services: BTreeSet<IpAddr>,
    /// Addresses that are taken for a server only because of how they use their sockets, with a server they ask.
    pub pooled: BTreeMap<IpAddr, IpAddr>,
}

impl Default for Servers {
    fn default() -> Self {
        Self {
            seen: HashMap::with_hasher(FixedState::with_seed(5)),
            hasher: FixedState::with_seed(11),
            told: HashMap::with_hasher(FixedState::with_seed(7)),
            told_count: 0,
            clients: BTreeSet::new(),
            asked: Vec::new(),
            askers: BTreeMap::new(),
            cluster_asked: BTreeSet::new(),
            services: BTreeSet::new(),
        }
    }
}

impl Servers {
    /// Looks at one observation; `cluster` keeps clusters with the same addresses apart. `placed`: the operator states on
    /// which side of the server its packets were captured.
    pub fn observe(&mut self, observation: &Observation, cluster: Option<usize>, placed: bool) {
        let Event::Dns(dns) = &observation.event else { return };
        let Some(question) = &dns.body.question else { return };
        let about = self.hasher.hash_one((cluster, question.name.stable_hash(), question.rtype));
        match dns.vantage {
            Vantage::PacketQuery | Vantage::PacketResponse => {
                self.sighted(observation, dns, question, cluster);
                if !placed {
                    self.packet(observation, dns, question, about);
                }
            }
            Vantage::ClientQuery | Vantage::ClientResponse | Vantage::LogLine => {
                self.sighted(observation, dns, question, cluster);
                if let Some(client) = dns.client.filter(|_| self.clients.len() < LOOKUPS_MAX) {
                    self.clients.insert(client.ip);
                }
                self.tell(observation, dns, about);
            }
            Vantage::ForwarderQuery | Vantage::ForwarderResponse => {
                self.tell(observation, dns, about);
                if let Some(local) = dns.client {
                    *self.asker(local.ip).taps.entry(observation.origin.0).or_default() += 1;
                }
            }
            Vantage::OtherQuery | Vantage::OtherResponse => {}
        }
    }

    /// The same lookup, seen by a capture and by an instance.
    fn sighted(&mut self, seen: &Observation, dns: &DnsEvent, asked: &Question, cluster: Option<usize>) {
        let Some(client) = dns.client else { return };
        let key = self.hasher.hash_one((cluster, client, dns.id, asked.name.stable_hash(), asked.rtype));
        if !self.seen.contains_key(&key) && self.seen.len() >= LOOKUPS_MAX {
            return;
        }
        let sighting = self.seen.entry(key).or_default();
        match dns.server.filter(|_| matches!(dns.vantage, Vantage::PacketQuery | Vantage::PacketResponse)) {
            Some(server) if !sighting.addresses.contains(&server.ip) => sighting.addresses.push(server.ip),
            None if !sighting.origins.contains(&seen.origin.0) => sighting.origins.push(seen.origin.0),
            _ => {}
        }
    }

    /// An instance dealt with a question, from when to when.
    fn tell(&mut self, observation: &Observation, dns: &DnsEvent, about: u64) {
        let Some(at) = observation.at.interval() else { return };
        if self.told_count >= LOOKUPS_MAX {
            return;
        }
        let lasted = dns.query_time.or(dns.duration_ns.map(|ns| Nanos(at.lo.0.saturating_sub(ns))));
        let (from, to) = (lasted.unwrap_or(at.lo).min(at.lo).plus(-NEAR).0, at.hi.plus(NEAR).0);
        self.told_count += 1;
        self.told.entry(about).or_default().push(Told { origin: observation.origin.0, from, to });
    }

    fn asker(&mut self, ip: IpAddr) -> &mut Asker {
        // A flood of forged sources shares one entry.
        let full = self.askers.len() >= ADDRESSES_MAX && !self.askers.contains_key(&ip);
        let key = if full { IpAddr::from([0, 0, 0, 0]) } else { ip };
        self.askers.entry(key).or_default()
    }

    fn packet(&mut self, observation: &Observation, dns: &DnsEvent, asked: &Question, about: u64) {
        let (Some(client), Some(server)) = (dns.client, dns.server) else { return };
        let of_cluster = asked.name.labels().skip(1).any(|label| label.eq_ignore_ascii_case(b"svc"));
        if of_cluster && self.cluster_asked.len() < ADDRESSES_MAX {
            self.cluster_asked.insert(server.ip);
        }
        if dns.vantage == Vantage::PacketResponse {
            self.asker(server.ip).answers = true;
            let authoritative = dns.flags.has(Flags::AA) && dns.rcode == Some(Rcode::NOERROR);
            if of_cluster && authoritative && self.services.len() < ADDRESSES_MAX {
                self.services.insert(server.ip);
            }
            return;
        }
        if let Some(at) = observation.at.interval().filter(|_| self.asked.len() < LOOKUPS_MAX) {
            self.asked.push((client.ip, about, at.lo.0));
        }
        let asker = self.asker(client.ip);
        if asker.servers.len() < PORTS_MAX {
            asker.servers.insert(server.ip);
        }
        if asker.ports.len() < PORTS_MAX || asker.ports.contains_key(&client.port) {
            let names = asker.ports.entry(client.port).or_default();
            let name = asked.name.stable_hash();
            if names.len() < POOLED && !names.contains(&name) {
                names.push(name);
            }
        }
    }

    /// What all of it tells.
    #[must_use]
    pub fn finish(self, origins: &[Origin]) -> Learned {
        let mut names = self.answering(origins);
        let mut pooled = BTreeMap::new();
        let met = self.met(origins);
        for (&ip, asker) in &self.askers {
            let stated = origins.iter().any(|origin| origin.addresses.contains(&ip));
            if stated || names.contains_key(&ip) || self.clients.contains(&ip) || asker.servers.is_empty() {
                continue;
            }
            let unnamed = || format!("server {ip}");
            let by_tap = || agreed(&counted(&asker.taps, origins));
            if !asker.taps.is_empty() {
                names.insert(ip, by_tap().unwrap_or_else(unnamed));
            } else if let Some(met) =
                met.get(&ip).filter(|met| met.is_forwarder() && !self.asks_cluster(asker))
            {
                names.insert(ip, agreed(&met.names).unwrap_or_else(unnamed));
            } else if asker.answers {
                names.insert(ip, unnamed());
            } else if let Some(server) = self.pools(asker) {
                names.insert(ip, unnamed());
                pooled.insert(ip, server);
            }
        }
        Learned { names, services: self.services, pooled }
    }

    /// True if a server it asks answers for names of a cluster: then it may be any client.
    fn asks_cluster(&self, asker: &Asker) -> bool {
        asker.servers.iter().any(|server| self.services.contains(server))
    }

    /// A server that the asker asks as a forwarder does, if it asks none for names of a cluster.
    fn pools(&self, asker: &Asker) -> Option<IpAddr> {
        let of_cluster = asker.servers.iter().any(|server| self.cluster_asked.contains(server));
        let pooled = asker.ports.values().any(|names| names.len() >= POOLED);
        asker.servers.iter().next().copied().filter(|_| pooled && !of_cluster)
    }

    /// How often the questions of an asker fall into the time in which an instance dealt with the same question.
    fn met<'o>(&self, origins: &'o [Origin]) -> BTreeMap<IpAddr, Met<'o>> {
        let mut met: BTreeMap<IpAddr, Met<'o>> = BTreeMap::new();
        for (asker, about, at) in &self.asked {
            let entry = met.entry(*asker).or_default();
            entry.asked += 1;
            let told = self.told.get(about).map_or(&[][..], |told| told);
            let mut by: SmallVec<[u32; 4]> = told
                .iter()
                .filter(|told| told.from <= *at && *at <= told.to)
                .map(|told| told.origin)
                .collect();
            entry.met += u64::from(!by.is_empty());
            by.sort_unstable();
            by.dedup();
            let names: BTreeSet<&str> = by.iter().filter_map(|origin| name_of(*origin, origins)).collect();
            if let (Some(name), 1) = (names.first(), names.len()) {
                *entry.names.entry(name).or_insert(0) += 1;
            }
        }
        met
    }

    /// Names by address, where at least three lookups and nine of ten name the same instance.
    fn answering(&self, origins: &[Origin]) -> BTreeMap<IpAddr, String> {
        let mut counts: BTreeMap<IpAddr, BTreeMap<&str, u64>> = BTreeMap::new();
        for sighting in self.seen.values() {
            // A retry that went to a second instance says nothing of either.
            let [address] = sighting.addresses[..] else { continue };
            let names: BTreeSet<&str> =
                sighting.origins.iter().filter_map(|origin| name_of(*origin, origins)).collect();
            if let (Some(name), 1) = (names.first(), names.len()) {
                *counts.entry(address).or_default().entry(name).or_insert(0) += 1;
            }
        }
        counts.into_iter().filter_map(|(address, names)| Some((address, agreed(&names)?))).collect()
    }
}

/// How the questions of one asker meet what instances tell.
#[derive(Debug, Default)]
struct Met<'o> {
    asked: u64,
    met: u64,
    names: BTreeMap<&'o str, u64>,
}

impl Met<'_> {
    fn is_forwarder(&self) -> bool {
        self.met >= SUPPORT && self.met * 2 >= self.asked
    }
}

fn name_of(origin: u32, origins: &[Origin]) -> Option<&str> {
    origins.get(origin as usize)?.replica.value().map(String::as_str)
}

fn counted<'o>(by: &BTreeMap<u32, u64>, origins: &'o [Origin]) -> BTreeMap<&'o str, u64> {
    let mut names = BTreeMap::new();
    for (origin, count) in by {
        if let Some(name) = name_of(*origin, origins) {
            *names.entry(name).or_insert(0) += count;
        }
    }
    names
}

fn agreed(names: &BTreeMap<&str, u64>) -> Option<String> {
    let all: u64 = names.values().sum();
    let (name, most) = names.iter().max_by_key(|(_, count)| **count)?;
    (*most >= SUPPORT && most * 10 >= all * 9).then(|| (*name).to_owned())
}

#[cfg(test)]
#[path = "servers_tests.rs"]
mod tests;
