//! Facts of the cluster as a whole, read from its objects: domain, address ranges, DNS addresses.
//!
//! Enters: a finished history. Leaves: sorted values. Deliberately absent: guesses; what the objects do not tell is
//! left empty and asked for.

use std::collections::BTreeSet;
use std::net::IpAddr;

use truename_model::name::Name;
use truename_model::object::Object;

use super::History;
use crate::corefile::policy::contains;
use crate::corefile::zone::parse_cidr;

/// The block of an address: its first 16 bits (IPv4) or 64 bits (IPv6).
fn block(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(ip) => u64::from(u32::from(ip) >> 16),
        IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64,
    }
}

/// What the objects say of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// Cluster domain, from the kubelet's or kubeadm's ConfigMap.
    pub domain: Option<Name>,
    /// Service ranges named by kubeadm, as text.
    pub service_cidrs: BTreeSet<String>,
    /// Pod ranges of nodes and of kubeadm, as text.
    pub pod_cidrs: BTreeSet<String>,
    /// Cluster IPs of the DNS service.
    pub dns_ips: BTreeSet<IpAddr>,
    /// (namespace, name) of the DNS services.
    pub dns_services: BTreeSet<(String, String)>,
    /// Addresses of pods that serve DNS.
    pub dns_pods: BTreeSet<IpAddr>,
    /// Blocks (IPv4 /16, IPv6 /64) in which services, pods and endpoints of the cluster were seen.
    pub blocks: BTreeSet<u64>,
}

impl ClusterFacts {
    pub(super) fn gather(history: &History) -> Self {
        let mut facts = Self::default();
        for timeline in history.timelines() {
            for state in timeline.entries.iter().filter_map(|entry| entry.state.as_ref()) {
                let (meta, dns_label) =
                    (&state.meta, state.meta.labels.get("k8s-app").is_some_and(|app| app == "kube-dns"));
                facts.note_blocks(&state.object);
                match &*state.object {
                    Object::Node(node) => facts.pod_cidrs.extend(node.pod_cidrs.iter().cloned()),
                    Object::Service(service)
                        if meta.namespace == "kube-system" && (meta.name == "kube-dns" || dns_label) =>
                    {
                        let ips = service.cluster_ips.iter().filter_map(|ip| ip.parse::<IpAddr>().ok());
                        facts.dns_ips.extend(ips);
                        facts.dns_services.insert((meta.namespace.clone(), meta.name.clone()));
                    }
                    Object::Pod(pod) if dns_label => facts.dns_pods.extend(pod.ips.iter().copied()),
                    Object::ConfigMap(map) if meta.namespace == "kube-system" => {
                        map.data.values().for_each(|text| facts.read_config(text));
                    }
                    _ => {}
                }
            }
        }
        facts
    }

    fn note_blocks(&mut self, object: &Object) {
        match object {
            Object::Service(service) => {
                let ips = service.cluster_ips.iter().filter_map(|ip| ip.parse().ok());
                self.blocks.extend(ips.map(block));
            }
            Object::Pod(pod) => self.blocks.extend(pod.ips.iter().chain(&pod.host_ip).copied().map(block)),
            Object::EndpointSlice(slice) => {
                let texts = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
                self.blocks.extend(texts.filter_map(|ip| ip.parse().ok()).map(block));
            }
            Object::Node(node) => self.blocks.extend(node.addresses.iter().copied().map(block)),
            _ => {}
        }
    }

    /// True if an address lies near addresses of the cluster: an object that nobody recorded may have had it.
    #[must_use]
    pub fn is_near(&self, ip: IpAddr) -> bool {
        let named = self.pod_cidrs.iter().chain(&self.service_cidrs);
        self.blocks.contains(&block(ip))
            || named.filter_map(|text| parse_cidr(text)).any(|net| contains(net, ip))
    }

    /// Reads the lines of a kubeadm or kubelet configuration that name the domain and ranges.
    fn read_config(&mut self, text: &str) {
        for line in text.lines() {
            let Some((key, value)) = line.trim().split_once(':') else { continue };
            let value = value.trim().trim_matches('"');
            if value.is_empty() {
                continue;
            }
            match key {
                "clusterDomain" | "dnsDomain" if self.domain.is_none() => {
                    self.domain = Name::parse(value).ok()
                }
                "serviceSubnet" => self.service_cidrs.extend(value.split(',').map(str::to_owned)),
                "podSubnet" => self.pod_cidrs.extend(value.split(',').map(str::to_owned)),
                _ => {}
            }
        }
    }
}
