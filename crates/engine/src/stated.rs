//! What the profile states of the cluster, held against what the objects say. Enters: both; leaves: the cluster domain
//! that counts, and a note for each contradiction with what was used.
//!
//! Objects are evidence, the profile fills what they leave open. Deliberately absent: whether the profile is well formed
//! (`settings`).

use std::collections::BTreeSet;
use std::net::IpAddr;

use truename_cluster::history::ClusterFacts;
use truename_model::{Name, Profile};

/// The cluster domain that counts: `told` by the objects before what the profile states.
#[must_use]
pub fn domain(told: Option<Name>, profile: &Profile) -> (Option<Name>, Option<String>) {
    let stated = profile.cluster_domain.as_deref().and_then(|text| Name::parse(text).ok());
    let note = told.as_ref().zip(stated.as_ref()).filter(|(told, stated)| told != stated).map(|(told, stated)| {
        format!("the profile states the cluster domain {stated}, the objects {told}: that of the objects is used")
    });
    (told.or(stated), note)
}

/// Notes on ranges of the profile that have nothing in common with those of the objects.
#[must_use]
pub fn ranges(profile: &Profile, facts: &ClusterFacts) -> Vec<String> {
    let servers: BTreeSet<String> =
        facts.dns_ips.iter().map(|ip| format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 })).collect();
    let mut notes = Vec::new();
    for (key, stated, told, what) in [
        ("podCidrs", &profile.pod_cidrs, &facts.pod_cidrs, "nodes and kubeadm"),
        ("serviceCidrs", &profile.service_cidrs, &facts.service_cidrs, "kubeadm"),
        ("serviceCidrs", &profile.service_cidrs, &servers, "the DNS service"),
    ] {
        for family in [true, false] {
            let of_family = |texts: &mut dyn Iterator<Item = &String>| -> Vec<Block> {
                texts.filter_map(|text| Block::parse(text)).filter(|block| block.v4 == family).collect()
            };
            let (stated, told) = (of_family(&mut stated.iter()), of_family(&mut told.iter()));
            let meet = stated.iter().any(|a| told.iter().any(|b| a.meets(b)));
            if !stated.is_empty() && !told.is_empty() && !meet {
                notes.push(format!(
                    "the profile states {key} {}, {what} say {}: they have nothing in common, both are taken for the cluster's",
                    words(&stated),
                    words(&told)
                ));
            }
        }
    }
    notes
}

/// Ranges that a note names.
const NAMED_MAX: usize = 4;

fn words(blocks: &[Block]) -> String {
    let mut named: Vec<&str> = blocks.iter().take(NAMED_MAX).map(|block| block.text.as_str()).collect();
    if blocks.len() > NAMED_MAX {
        named.push("…");
    }
    named.join(", ")
}

/// A range of addresses.
struct Block {
    text: String,
    v4: bool,
    base: u128,
    bits: u32,
}

impl Block {
    fn parse(text: &str) -> Option<Self> {
        let (ip, bits) = text.split_once('/')?;
        let (v4, base, most) = match ip.parse().ok()? {
            IpAddr::V4(ip) => (true, u128::from(ip.to_bits()) << 96, 32),
            IpAddr::V6(ip) => (false, ip.to_bits(), 128),
        };
        let bits = bits.parse().ok().filter(|bits| *bits <= most)?;
        Some(Self { text: text.to_owned(), v4, base, bits })
    }

    /// True if one lies in the other.
    fn meets(&self, other: &Self) -> bool {
        let mask = u128::MAX.checked_shl(128 - self.bits.min(other.bits)).unwrap_or(0);
        self.base & mask == other.base & mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    #[test]
    fn the_objects_domain_counts_and_a_contradiction_is_told() {
        let name = |text: &str| Name::parse(text).unwrap();
        let profile = Profile { cluster_domain: Some("corp.local".to_owned()), ..Profile::default() };
        let (used, note) = domain(Some(name("cluster.local")), &profile);
        assert_eq!(used, Some(name("cluster.local")));
        let note = note.unwrap();
        assert!(note.contains("corp.local") && note.contains("cluster.local"), "{note}");
        assert_eq!(domain(None, &profile), (Some(name("corp.local")), None));
        assert_eq!(domain(Some(name("Corp.local")), &profile).1, None, "the same name");
    }

    #[test]
    fn ranges_without_anything_in_common_are_told_per_family() {
        let facts = ClusterFacts {
            pod_cidrs: texts(&["10.244.1.0/24", "fd00:10::/64"]).into_iter().collect(),
            dns_ips: [IpAddr::from([10, 96, 0, 10])].into_iter().collect(),
            ..ClusterFacts::default()
        };
        let with = |pods: &[&str], services: &[&str]| {
            let (pod_cidrs, service_cidrs) = (texts(pods), texts(services));
            ranges(&Profile { pod_cidrs, service_cidrs, ..Profile::default() }, &facts)
        };
        assert!(with(&["10.244.0.0/16", "fd00:10::/56"], &["10.96.0.0/12"]).is_empty());
        assert!(with(&[], &[]).is_empty());
        let told = with(&["10.245.0.0/16", "fd00:10::/56"], &["172.20.0.0/16"]);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("podCidrs 10.245.0.0/16, nodes and kubeadm say 10.244.1.0/24"), "{told:?}");
        assert!(
            told[1].contains("serviceCidrs 172.20.0.0/16, the DNS service say 10.96.0.10/32"),
            "{told:?}"
        );
    }
}
