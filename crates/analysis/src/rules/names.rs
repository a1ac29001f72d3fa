//! Names as rules read them: parts of cluster names, reverse names, registrable domains, public names.
//!
//! Enters: names and the cluster domain; leaves: borrowed parts. Deliberately absent: what exists.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;
use truename_model::{Name, Profile};

/// What a name in the cluster zone is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClusterName<'a> {
    /// `S.N.svc.Z`.
    Service { service: &'a [u8], namespace: &'a [u8] },
    /// `H.S.N.svc.Z`.
    Endpoint { host: &'a [u8], service: &'a [u8], namespace: &'a [u8] },
    /// `_p._t.S.N.svc.Z` (or without underscores).
    Port { port: &'a [u8], proto: &'a [u8], service: &'a [u8], namespace: &'a [u8] },
    /// Anything else at or below Z.
    Other,
}

impl<'a> ClusterName<'a> {
    /// Reads `name` below `zone`; `None`: it lies outside.
    pub(crate) fn parse(name: &'a Name, zone: &Name) -> Option<Self> {
        if !name.is_at_or_below(zone) {
            return None;
        }
        let above = name.label_count() - zone.label_count();
        let labels: SmallVec<[&[u8]; 8]> = name.labels().take(above.min(8)).collect();
        Some(match *labels.as_slice() {
            [service, namespace, b"svc"] => Self::Service { service, namespace },
            [host, service, namespace, b"svc"] => Self::Endpoint { host, service, namespace },
            [port, proto, service, namespace, b"svc"] => Self::Port { port, proto, service, namespace },
            _ => Self::Other,
        })
    }

    /// (service, namespace), where the name has both.
    pub(crate) fn service(&self) -> Option<(&'a [u8], &'a [u8])> {
        match *self {
            Self::Service { service, namespace }
            | Self::Endpoint { service, namespace, .. }
            | Self::Port { service, namespace, .. } => Some((service, namespace)),
            Self::Other => None,
        }
    }
}

/// The address that a reverse name stands for.
pub(crate) fn reverse_address(name: &Name) -> Option<IpAddr> {
    let labels: SmallVec<[&[u8]; 34]> = name.labels().take(35).collect();
    match labels.as_slice() {
        [d, c, b, a, b"in-addr", b"arpa"] => {
            Some(Ipv4Addr::new(octet(a)?, octet(b)?, octet(c)?, octet(d)?).into())
        }
        [nibbles @ .., b"ip6", b"arpa"] if nibbles.len() == 32 => {
            let mut value = 0u128;
            for label in nibbles.iter().rev() {
                let [digit] = label else { return None };
                value = (value << 4) | u128::from((*digit as char).to_digit(16)?);
            }
            Some(Ipv6Addr::from(value).into())
        }
        _ => None,
    }
}

fn octet(label: &[u8]) -> Option<u8> {
    std::str::from_utf8(label).ok()?.parse().ok()
}

/// Where the registrable domain (one label more than the public suffix) begins in the wire form, and whether the
/// public suffix is a known one. `None` for suffixes themselves and for names with dots inside labels.
pub(crate) fn registrable(name: &Name) -> Option<(&[u8], bool)> {
    let mut text = SmallVec::<[u8; 256]>::new();
    for label in name.labels() {
        if label.contains(&b'.') {
            return None;
        }
        if !text.is_empty() {
            text.push(b'.');
        }
        text.extend_from_slice(label);
    }
    let domain = psl::domain(&text)?;
    // Each label has one octet of length in wire form and one dot (or the end) in text: the tails line up.
    let tail = domain.as_bytes().len() + 2;
    let wire = name.wire();
    Some((wire.get(wire.len().checked_sub(tail)?..)?, domain.suffix().is_known()))
}

/// The registrable domain as a name; the name itself where there is none.
pub(crate) fn registrable_name(name: &Name) -> Name {
    registrable(name).and_then(|(wire, _)| Name::from_wire(wire).ok()).unwrap_or_else(|| name.clone())
}

/// True if `label` is a top-level domain of the public suffix list.
pub(crate) fn is_tld(label: &[u8]) -> bool {
    !label.is_empty() && !label.contains(&b'.') && psl::suffix(label).is_some_and(|suffix| suffix.is_known())
}

/// A name that the Internet is expected to answer: not the cluster's, not reverse, not special, not the profile's.
pub(crate) fn is_public(name: &Name, zone: Option<&Name>, profile: &Profile) -> bool {
    let labels = name.label_count();
    if labels < 2 || zone.is_some_and(|zone| name.is_at_or_below(zone)) {
        return false;
    }
    let last = name.labels().last().unwrap_or_default();
    if matches!(last, b"arpa" | b"local" | b"localhost" | b"internal" | b"localdomain" | b"lan" | b"onion") {
        return false;
    }
    !profile.internal_zones.iter().any(|zone| Name::parse(zone).is_ok_and(|zone| name.is_at_or_below(&zone)))
}

/// A name as findings show it: escaped, without the final dot.
pub(crate) fn shown(name: &Name) -> String {
    let mut text = name.to_string();
    if text.len() > 1 {
        text.pop();
    }
    text
}

/// A label as text; names of Kubernetes objects are ASCII.
pub(crate) fn label_text(label: &[u8]) -> String {
    String::from_utf8_lossy(label).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn cluster_names_are_taken_apart() {
        let zone = name("cluster.local");
        let parse = |text: &str| ClusterName::parse(&name(text), &zone).map(|parsed| format!("{parsed:?}"));
        assert!(parse("web.shop.svc.cluster.local").unwrap().starts_with("Service"));
        assert!(parse("_http._tcp.web.shop.svc.cluster.local").unwrap().starts_with("Port"));
        assert!(parse("a.web.shop.svc.cluster.local").unwrap().starts_with("Endpoint"));
        assert_eq!(parse("cluster.local").as_deref(), Some("Other"));
        assert_eq!(parse("example.com"), None);
    }

    #[test]
    fn reverse_names_give_addresses() {
        assert_eq!(reverse_address(&name("1.0.96.10.in-addr.arpa")), Some("10.96.0.1".parse().unwrap()));
        let six = format!("1.{}0.0.d.f.ip6.arpa", "0.".repeat(27));
        assert_eq!(reverse_address(&name(&six)), Some("fd00::1".parse().unwrap()));
        for bad in ["1.0.96.in-addr.arpa", "x.0.96.10.in-addr.arpa", "256.0.96.10.in-addr.arpa", "ip6.arpa"] {
            assert_eq!(reverse_address(&name(bad)), None, "{bad}");
        }
    }

    #[test]
    fn registrable_domains_follow_the_public_suffix_list() {
        let domain = |text: &str| registrable_name(&name(text)).to_string();
        assert_eq!(domain("a.b.example.co.uk"), "example.co.uk.");
        assert_eq!(domain("x.victim.example"), "victim.example.");
        assert_eq!(domain("com"), "com.");
        assert!(
            registrable(&name("x.victim.com")).unwrap().1
                && !registrable(&name("x.victim.example")).unwrap().1
        );
        assert!(is_tld(b"com") && is_tld(b"io") && is_tld(b"shop") && !is_tld(b"billing-1"));
    }
}
