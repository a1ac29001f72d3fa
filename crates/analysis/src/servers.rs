//! Which address belongs to which DNS server instance, told by lookups that a tap or log of the instance and a capture
//! both hold: the capture shows the address, the tap the name.
//!
//! Enters: observations of all items in any order; leaves: names by address, for addresses of which the objects say
//! nothing. Deliberately absent: addresses in front of several instances (a Service): their lookups name several.

use std::collections::BTreeMap;
use std::net::IpAddr;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::hash::BuildHasher;
use truename_model::{Event, Observation, Origin, Vantage};

/// Lookups remembered; beyond that the map stays as it is.
const LOOKUPS_MAX: usize = 1 << 16;
/// At least so many lookups must agree on an address.
const SUPPORT: u64 = 3;

/// Collects sightings of the same lookup by captures and by taps or logs.
#[derive(Debug)]
pub struct Servers {
    // By cluster and lookup: the addresses that answered it, and the instances (as origin numbers) that reported it.
    seen: HashMap<u64, Sighting, FixedState>,
    hasher: FixedState,
}

#[derive(Debug, Default)]
struct Sighting {
    addresses: SmallVec<[IpAddr; 1]>,
    origins: SmallVec<[u32; 2]>,
}

impl Default for Servers {
    fn default() -> Self {
        Self { seen: HashMap::with_hasher(FixedState::with_seed(5)), hasher: FixedState::with_seed(11) }
    }
}

impl Servers {
    /// Looks at one observation; `cluster` keeps clusters with the same addresses apart.
    pub fn observe(&mut self, observation: &Observation, cluster: Option<usize>) {
        let Event::Dns(dns) = &observation.event else { return };
        let (Some(client), Some(question)) = (dns.client, &dns.body.question) else { return };
        let key =
            self.hasher.hash_one((cluster, client, dns.id, question.name.stable_hash(), question.rtype));
        if !self.seen.contains_key(&key) && self.seen.len() >= LOOKUPS_MAX {
            return;
        }
        match (dns.vantage, dns.server) {
            (Vantage::PacketQuery | Vantage::PacketResponse, Some(server)) => {
                let addresses = &mut self.seen.entry(key).or_default().addresses;
                if !addresses.contains(&server.ip) {
                    addresses.push(server.ip);
                }
            }
            (Vantage::ClientQuery | Vantage::ClientResponse | Vantage::LogLine, _) => {
                let origins = &mut self.seen.entry(key).or_default().origins;
                if !origins.contains(&observation.origin.0) {
                    origins.push(observation.origin.0);
                }
            }
            _ => {}
        }
    }

    /// Names by address, where at least three lookups and nine of ten name the same instance.
    #[must_use]
    pub fn names(&self, origins: &[Origin]) -> BTreeMap<IpAddr, String> {
        let mut counts: BTreeMap<IpAddr, BTreeMap<&str, u64>> = BTreeMap::new();
        for sighting in self.seen.values() {
            // A retry that went to a second instance says nothing of either.
            let [address] = sighting.addresses[..] else { continue };
            let mut names: Vec<&str> = sighting
                .origins
                .iter()
                .filter_map(|origin| origins.get(*origin as usize)?.replica.value().map(String::as_str))
                .collect();
            names.sort_unstable();
            names.dedup();
            if let [name] = names[..] {
                *counts.entry(address).or_default().entry(name).or_insert(0) += 1;
            }
        }
        counts.into_iter().filter_map(|(address, names)| Some((address, agreed(&names)?))).collect()
    }
}

fn agreed(names: &BTreeMap<&str, u64>) -> Option<String> {
    let all: u64 = names.values().sum();
    let (name, most) = names.iter().max_by_key(|(_, count)| **count)?;
    (*most >= SUPPORT && most * 10 >= all * 9).then(|| (*name).to_owned())
}
