//! What the kubernetes plugin was told to do: its options, and the version of CoreDNS as far as it matters.
//!
//! Enters: a typed Corefile block, or nothing but a zone. Leaves: [`Options`]. Deliberately absent: other plugins.

use std::collections::BTreeSet;
use std::net::IpAddr;

use truename_model::name::Name;

use crate::corefile::{KubernetesOptions, LabelSelector, PodMode, Version};

/// Behaviour that differs between releases (`answer-truth-measured` rows 11, 21, 23).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Era {
    /// 1.8 and older: names with wildcards.
    Before19,
    /// 1.9.0 to 1.9.4.
    UpTo194,
    /// Between the measured releases: both behaviours are admissible.
    Between,
    /// 1.14.x.
    From1144,
    /// 1.15.0 and later.
    From115,
    /// Not known: every behaviour is admissible.
    Unknown,
}

impl Era {
    /// Reads `1.15.0`, `CoreDNS-1.14.4` and the like.
    #[must_use]
    pub fn of(version: Option<&str>) -> Self {
        match version.and_then(Version::parse) {
            None => Self::Unknown,
            Some(version) if version < Version(1, 9, 0) => Self::Before19,
            Some(version) if version <= Version(1, 9, 4) => Self::UpTo194,
            Some(version) if version < Version(1, 14, 4) => Self::Between,
            Some(version) if version < Version(1, 15, 0) => Self::From1144,
            Some(_) => Self::From115,
        }
    }

    /// Longest chain of aliases inside the zone (`maxCnameChainLength`).
    #[must_use]
    pub fn longest_chain(self) -> usize {
        if matches!(self, Self::Before19 | Self::UpTo194) { 7 } else { 10 }
    }
}

/// Options of one kubernetes plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Zones, reverse zones included.
    pub zones: Vec<Name>,
    /// `pods`.
    pub pods: PodMode,
    /// `endpoint_pod_names`.
    pub endpoint_pod_names: bool,
    /// `namespaces`; empty: all.
    pub namespaces: BTreeSet<String>,
    /// `namespace_labels`.
    pub namespace_labels: Option<LabelSelector>,
    /// `labels`.
    pub labels: Option<LabelSelector>,
    /// `ttl`, seconds.
    pub ttl: u32,
    /// `noendpoints`.
    pub noendpoints: bool,
    /// `ignore empty_service`.
    pub ignore_empty: bool,
    /// `zonal`.
    pub zonal: bool,
    /// `fallthrough` zones, the root meaning all; empty: none.
    pub fallthrough: Vec<Name>,
    /// `multicluster` zones.
    pub multicluster: Vec<Name>,
    /// Addresses of the server itself, where known: they decide NS answers.
    pub local_ips: Option<Vec<IpAddr>>,
}

impl Options {
    /// The plugin's defaults for `zones` (CoreDNS README: `pods disabled`, `ttl 5`).
    #[must_use]
    pub fn defaults(zones: Vec<Name>) -> Self {
        Self {
            zones,
            pods: PodMode::Disabled,
            endpoint_pod_names: false,
            namespaces: BTreeSet::new(),
            namespace_labels: None,
            labels: None,
            ttl: 5,
            noendpoints: false,
            ignore_empty: false,
            zonal: false,
            fallthrough: Vec::new(),
            multicluster: Vec::new(),
            local_ips: None,
        }
    }

    /// The options of a Corefile.
    #[must_use]
    pub fn of(stanza: &KubernetesOptions) -> Self {
        Self {
            zones: stanza.zones.clone(),
            pods: stanza.pods,
            endpoint_pod_names: stanza.endpoint_pod_names,
            namespaces: stanza.namespaces.clone(),
            namespace_labels: stanza.namespace_labels.clone(),
            labels: stanza.labels.clone(),
            ttl: stanza.ttl,
            noendpoints: !stanza.endpoints,
            ignore_empty: stanza.ignore_empty_service,
            zonal: stanza.zonal,
            fallthrough: stanza.fallthrough.0.clone(),
            multicluster: stanza.multicluster.clone(),
            local_ips: None,
        }
    }

    /// The longest zone that holds `name`.
    #[must_use]
    pub fn zone_of(&self, name: &Name) -> Option<&Name> {
        let matching = self.zones.iter().filter(|zone| name.is_at_or_below(zone));
        matching.max_by_key(|zone| zone.wire().len())
    }

    /// The first zone that is not a reverse zone: names in PTR answers end in it.
    #[must_use]
    pub fn primary_zone(&self) -> Option<&Name> {
        self.zones.iter().find(|zone| !is_reverse(zone))
    }

    /// True if a denial of `name` goes on to the next plugin instead.
    #[must_use]
    pub fn falls_through(&self, name: &Name) -> bool {
        self.fallthrough.iter().any(|zone| name.is_at_or_below(zone))
    }

    /// True if `zone` is a multicluster zone.
    #[must_use]
    pub fn is_multicluster(&self, zone: &Name) -> bool {
        self.multicluster.iter().any(|of| zone.is_at_or_below(of))
    }
}

/// True for `in-addr.arpa`, `ip6.arpa` and what lies below.
#[must_use]
pub fn is_reverse(zone: &Name) -> bool {
    let labels: Vec<&[u8]> = zone.labels().collect();
    matches!(labels[..], [.., b"in-addr" | b"ip6", b"arpa"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_fall_into_the_measured_eras() {
        for (version, era) in [
            (Some("1.9.4"), Era::UpTo194),
            (Some("CoreDNS-1.8.6"), Era::Before19),
            (Some("1.12.1"), Era::Between),
            (Some("v1.14.4"), Era::From1144),
            (Some("1.15.0"), Era::From115),
            (Some("kind"), Era::Unknown),
            (None, Era::Unknown),
        ] {
            assert_eq!(Era::of(version), era, "{version:?}");
        }
    }
}
