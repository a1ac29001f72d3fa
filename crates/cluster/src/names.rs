//! Names of the cluster zone taken apart as CoreDNS does it (`plugin/kubernetes/parse.go`), and reverse names.
//!
//! Enters: a query name and the zone that matched it. Leaves: what it asks for. Deliberately absent: whether it exists.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use truename_model::name::Name;

/// Which branch of the zone a name is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch {
    /// `svc`.
    Service,
    /// `pod`.
    Pod,
}

/// Zone-scoped name (`us-west-2a.pin._zone.S.N.svc.Z`, CoreDNS ≥ 1.14.7 with the option `zonal`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zonal {
    /// Topology zone, in lower case; may hold dots.
    pub zone: Vec<u8>,
    /// Falls back to all endpoints if the zone has none.
    pub prefer: bool,
}

/// A parsed name. Labels are lower-case octets; an empty slice: not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request<'a> {
    /// Port of `_port._protocol`, without its underscore.
    pub port: &'a [u8],
    /// Protocol, without its underscore.
    pub protocol: &'a [u8],
    /// Endpoint label.
    pub endpoint: &'a [u8],
    /// Cluster id, in multicluster zones.
    pub cluster: &'a [u8],
    /// Service, or pod label.
    pub service: &'a [u8],
    /// Namespace.
    pub namespace: &'a [u8],
    /// Branch; `None` at the apex and at `svc.Z` and `pod.Z`, which are empty.
    pub branch: Option<Branch>,
    /// Zone-scoped part.
    pub zonal: Option<Zonal>,
}

/// Takes `name` apart below `zone`; `None`: no such name can exist (NXDOMAIN).
///
/// `multicluster`: the zone is a multicluster zone; `zonal`: the option is set.
#[must_use]
pub fn parse<'a>(name: &'a Name, zone: &Name, multicluster: bool, zonal: bool) -> Option<Request<'a>> {
    let labels = name.labels_above(zone)?;
    let mut request = Request::default();
    let (last, rest) = match labels[..] {
        [] | [b"svc" | b"pod"] => return Some(request),
        [ref rest @ .., last] => (last, rest),
    };
    request.branch = Some(match last {
        b"svc" => Branch::Service,
        b"pod" => Branch::Pod,
        _ => return None,
    });
    let [rest @ .., namespace] = rest else { return Some(request) };
    request.namespace = namespace;
    let [rest @ .., service] = rest else { return Some(request) };
    request.service = service;
    match rest {
        [] => {}
        [endpoint] => request.endpoint = endpoint,
        [first, second] => {
            if !multicluster || first.starts_with(b"_") || second.starts_with(b"_") {
                request.port = without_underscore(first);
                request.protocol = without_underscore(second);
            } else {
                request.endpoint = first;
                request.cluster = second;
            }
        }
        [zone @ .., directive, b"_zone"]
            if zonal && !multicluster && request.branch == Some(Branch::Service) =>
        {
            let prefer = match *directive {
                b"pin" => false,
                b"prefer" => true,
                _ => return None,
            };
            request.zonal = Some(Zonal { zone: zone.join(&b'.'), prefer });
        }
        _ => return None,
    }
    Some(request)
}

fn without_underscore(label: &[u8]) -> &[u8] {
    label.strip_prefix(b"_").unwrap_or(label)
}

/// The address of a full reverse name; `None` for anything else, partial reverse names included.
#[must_use]
pub fn reverse_address(name: &Name) -> Option<IpAddr> {
    let labels: Vec<&[u8]> = name.labels().collect();
    match labels[..] {
        [d, c, b, a, b"in-addr", b"arpa"] => {
            let mut octets = [0u8; 4];
            for (slot, label) in octets.iter_mut().zip([a, b, c, d]) {
                *slot = octet(label)?;
            }
            Some(Ipv4Addr::from(octets).into())
        }
        // Up to three labels too many are overlooked (`reverse6` cuts the name into groups of four).
        [ref labels @ .., b"ip6", b"arpa"] if (32..36).contains(&labels.len()) => {
            let nibbles = &labels[labels.len() - 32..];
            let mut value = 0u128;
            for label in nibbles.iter().rev() {
                let [digit] = **label else { return None };
                value = value << 4 | u128::from((digit as char).to_digit(16)?);
            }
            Some(canonical(Ipv6Addr::from(value).into()))
        }
        _ => None,
    }
}

/// Go's `net.ParseIP` refuses leading zeros, as this does.
fn octet(label: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(label).ok()?;
    let canonical = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}

/// IPv4-mapped IPv6 is IPv4 to Go's `net.IP`.
#[must_use]
pub fn canonical(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

/// The address text that a pod label stands for: dots if it has three single dashes, else colons (`findPods`).
#[must_use]
pub fn pod_label_text(label: &[u8]) -> String {
    let dashes = label.iter().filter(|&&b| b == b'-').count();
    let v4 = dashes == 3 && !label.windows(2).any(|pair| pair == b"--");
    let to = if v4 { '.' } else { ':' };
    label.iter().map(|&b| if b == b'-' { to } else { char::from(b) }).collect()
}

/// The label of an endpoint without hostname: dashes for dots and colons, and a final `0` if it would end in a dash.
#[must_use]
pub fn dashed(address: &str) -> String {
    if address.contains('.') {
        return address.replace('.', "-");
    }
    let mut text = address.replace(':', "-");
    if text.ends_with('-') {
        text.push('0');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn names_are_taken_apart_as_coredns_does() {
        let zone = name("cluster.local");
        let full = name("_http._tcp.web.shop.svc.cluster.local");
        let request = parse(&full, &zone, false, false).unwrap();
        assert_eq!((request.port, request.protocol), (&b"http"[..], &b"tcp"[..]));
        assert_eq!((request.service, request.namespace), (&b"web"[..], &b"shop"[..]));
        for (text, exists) in [
            ("cluster.local", true),
            ("svc.cluster.local", true),
            ("shop.svc.cluster.local", true),
            ("foo.cluster.local", false),
            ("a.b.c.web.shop.svc.cluster.local", false),
            ("x.1-2-3-4.shop.pod.cluster.local", true),
        ] {
            assert_eq!(parse(&name(text), &zone, false, false).is_some(), exists, "{text}");
        }
    }

    #[test]
    fn only_full_reverse_names_are_addresses() {
        let at = |text: &str| reverse_address(&name(text)).map(|ip| ip.to_string());
        assert_eq!(at("17.2.244.10.in-addr.arpa").as_deref(), Some("10.244.2.17"));
        assert_eq!(at("244.10.in-addr.arpa"), None);
        assert_eq!(at("017.2.244.10.in-addr.arpa"), None);
        let v6 = format!("{}ip6.arpa", "7.3.".to_owned() + &"0.".repeat(22) + "4.4.2.0.0.0.d.f.");
        assert_eq!(at(&v6).as_deref(), Some("fd00:244::37"));
    }

    #[test]
    fn pod_labels_are_read_by_the_number_of_dashes() {
        assert_eq!(pod_label_text(b"10-244-0-1"), "10.244.0.1");
        assert_eq!(pod_label_text(b"fd00-244-1--37"), "fd00:244:1::37");
        assert_eq!(dashed("fd00:244:1::"), "fd00-244-1--0");
    }
}
