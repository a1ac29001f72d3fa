//! Address ranges of the cluster as the objects and the profile tell them, and the special ranges of the RFCs.
//!
//! Enters: changes of the cluster; leaves: service, pod, node or neither. Deliberately absent: guessed masks other
//! than the /16 (IPv6 /112) around a known address, which is named as such.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use truename_model::{ClusterChange, Object, Profile};

/// An address block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cidr {
    base: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Reads `10.96.0.0/12`; bits beyond the prefix are dropped.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (base, prefix) = text.trim().split_once('/')?;
        Self::new(base.parse().ok()?, prefix.parse().ok()?)
    }

    pub(crate) fn new(base: IpAddr, prefix: u8) -> Option<Self> {
        let bits = width(base);
        (prefix <= bits).then(|| Self { base: from_number(number(base) & mask(bits, prefix), base), prefix })
    }

    #[cfg(test)]
    fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.base.is_ipv4() && number(ip) & mask(width(ip), self.prefix) == number(self.base)
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn mask(bits: u8, prefix: u8) -> u128 {
    let all = if bits == 128 { u128::MAX } else { (1 << bits) - 1 };
    all ^ all.checked_shr(u32::from(prefix)).unwrap_or(0)
}

/// The address as a number.
pub(crate) fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn from_number(value: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(u32::try_from(value).unwrap_or(0).into()),
        IpAddr::V6(_) => IpAddr::V6(value.into()),
    }
}

/// What an address belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A service range.
    Service(Cidr),
    /// A pod range.
    Pod(Cidr),
    /// A node's own address.
    Node,
    /// None of the cluster's.
    Outside,
}

/// Blocks that are searched by one look per prefix length in use.
#[derive(Clone, Debug, Default)]
struct Blocks {
    by_prefix: BTreeMap<(bool, u8), BTreeSet<u128>>,
    count: usize,
}

/// Blocks kept of one kind; more than a cluster has.
const BLOCKS_MAX: usize = 16_384;

impl Blocks {
    fn insert(&mut self, cidr: Cidr) {
        if self.count < BLOCKS_MAX {
            let set = self.by_prefix.entry((cidr.base.is_ipv4(), cidr.prefix)).or_default();
            self.count += usize::from(set.insert(number(cidr.base)));
        }
    }

    /// The widest block that holds `ip`.
    fn find(&self, ip: IpAddr) -> Option<Cidr> {
        let same_family = self.by_prefix.range((ip.is_ipv4(), 0)..=(ip.is_ipv4(), 128));
        same_family.into_iter().find_map(|((_, prefix), set)| {
            let cidr = Cidr::new(ip, *prefix)?;
            set.contains(&number(cidr.base)).then_some(cidr)
        })
    }
}

/// The cluster's ranges, learned from changes as they come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranges {
    pods: Blocks,
    services: Blocks,
    near_services: Blocks,
    near_pods: Blocks,
    nodes: BTreeSet<IpAddr>,
    profile_read: bool,
}

impl Ranges {
    /// Takes what the profile states; cheap when called again.
    pub(crate) fn read_profile(&mut self, profile: &Profile) {
        if !self.profile_read {
            self.profile_read = true;
            profile
                .pod_cidrs
                .iter()
                .filter_map(|text| Cidr::parse(text))
                .for_each(|cidr| self.pods.insert(cidr));
            profile
                .service_cidrs
                .iter()
                .filter_map(|text| Cidr::parse(text))
                .for_each(|cidr| self.services.insert(cidr));
        }
    }

    /// Takes what an object states.
    pub(crate) fn learn(&mut self, change: &ClusterChange) {
        self.learn_object(&change.object);
    }

    /// As [`Ranges::learn`].
    pub(crate) fn learn_object(&mut self, object: &Object) {
        match object {
            Object::Node(node) => {
                node.pod_cidrs
                    .iter()
                    .filter_map(|text| Cidr::parse(text))
                    .for_each(|cidr| self.pods.insert(cidr));
                if self.nodes.len() < BLOCKS_MAX {
                    self.nodes.extend(node.addresses.iter().copied());
                }
            }
            Object::Service(service) => {
                let ips = service.cluster_ips.iter().filter_map(|text| text.parse().ok());
                ips.filter_map(around_service).for_each(|cidr| self.near_services.insert(cidr));
            }
            Object::Pod(pod) if !pod.host_network => {
                pod.ips.iter().filter_map(|ip| around_pod(*ip)).for_each(|cidr| self.near_pods.insert(cidr));
            }
            Object::Other(kind, body) if kind == "ServiceCIDR" => {
                let spec = body.get("spec").unwrap_or(body);
                let texts = spec.get("cidrs").and_then(|cidrs| cidrs.as_array());
                let cidrs = texts.into_iter().flatten().filter_map(|text| Cidr::parse(text.as_str()?));
                cidrs.for_each(|cidr| self.services.insert(cidr));
            }
            _ => {}
        }
    }

    /// What `ip` belongs to: stated ranges first, then the neighbourhood of known addresses.
    pub(crate) fn place(&self, ip: IpAddr) -> Place {
        if self.nodes.contains(&ip) {
            return Place::Node;
        }
        self.services
            .find(ip)
            .map(Place::Service)
            .or_else(|| self.pods.find(ip).map(Place::Pod))
            .or_else(|| self.near_pods.find(ip).map(Place::Pod))
            .or_else(|| self.near_services.find(ip).map(Place::Service))
            .unwrap_or(Place::Outside)
    }

    /// True if an object or the profile states the range of `ip`, rather than a neighbour of it being known.
    pub(crate) fn is_stated(&self, ip: IpAddr) -> bool {
        self.services.find(ip).is_some() || self.pods.find(ip).is_some()
    }

    /// True if nothing at all is known.
    pub(crate) fn is_empty(&self) -> bool {
        [&self.pods, &self.services, &self.near_services, &self.near_pods]
            .iter()
            .all(|blocks| blocks.count == 0)
    }
}

/// The block a sweep of the service range starts from, as scanners do: /16, IPv6 /112.
fn around_service(ip: IpAddr) -> Option<Cidr> {
    Cidr::new(ip, if ip.is_ipv4() { 16 } else { 112 })
}

/// The block of a node's pods: /24, IPv6 /64.
fn around_pod(ip: IpAddr) -> Option<Cidr> {
    Cidr::new(ip, if ip.is_ipv4() { 24 } else { 64 })
}

/// Loopback, link-local with the metadata services: never the answer for a public name.
pub(crate) fn is_local_only(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => {
            ip.is_loopback() || (ip.segments()[0] & 0xffc0) == 0xfe80 || is_metadata(IpAddr::V6(ip))
        }
    }
}

/// A cloud metadata service.
pub(crate) fn is_metadata(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets() == [169, 254, 169, 254] || ip.octets() == [100, 100, 100, 200],
        IpAddr::V6(ip) => ip.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254],
    }
}

/// Not routed on the Internet (RFC 1918, 6598, 4193 and the local ones).
pub(crate) fn is_private(ip: IpAddr) -> bool {
    is_local_only(ip)
        || match ip {
            IpAddr::V4(ip) => ip.is_private() || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64),
            IpAddr::V6(ip) => (ip.segments()[0] & 0xfe00) == 0xfc00,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn blocks_hold_their_addresses_only() {
        let cidr = Cidr::parse("10.96.7.1/12").unwrap();
        assert_eq!(cidr.to_string(), "10.96.0.0/12");
        assert!(cidr.contains(ip("10.111.255.255")) && !cidr.contains(ip("10.112.0.0")));
        assert!(!cidr.contains(ip("fd00::1")) && Cidr::parse("0.0.0.0/0").unwrap().contains(ip("1.2.3.4")));
        assert!(Cidr::parse("fd00::/112").unwrap().contains(ip("fd00::ffff")));
        assert_eq!(Cidr::parse("10.0.0.0/33"), None);
    }

    #[test]
    fn special_addresses_are_told_apart() {
        assert!(
            is_local_only(ip("127.1.2.3"))
                && is_local_only(ip("fe80::1"))
                && is_local_only(ip("169.254.0.1"))
        );
        assert!(is_private(ip("100.64.0.1")) && is_private(ip("fc00::1")) && !is_private(ip("100.128.0.1")));
        assert!(is_metadata(ip("169.254.169.254")) && !is_private(ip("203.0.113.1")));
    }
}
