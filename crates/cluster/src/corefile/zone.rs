//! Zone names, server block keys and their expansion from CIDR notation (`plugin/normalize.go`, `plugin/pkg/cidr`).
//!
//! Enters: words of a Corefile; leaves: zones as [`Name`]s. Deliberately absent: which server answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use truename_model::Name;

use super::lexer::Token;

/// How a server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Plain DNS over UDP and TCP.
    Dns,
    /// DNS over TLS.
    Tls,
    /// DNS over QUIC.
    Quic,
    /// DNS over gRPC.
    Grpc,
    /// DNS over HTTPS.
    Https,
    /// DNS over HTTP/3.
    Https3,
    /// A Unix socket (targets only).
    Unix,
}

const SCHEMES: [(&str, Transport, u16); 7] = [
    ("tls://", Transport::Tls, 853),
    ("dns://", Transport::Dns, 53),
    ("quic://", Transport::Quic, 853),
    ("grpc://", Transport::Grpc, 443),
    ("https3://", Transport::Https3, 443),
    ("https://", Transport::Https, 443),
    ("unix://", Transport::Unix, 53),
];

impl Transport {
    /// Port when none is written.
    #[must_use]
    pub fn default_port(self) -> u16 {
        SCHEMES.iter().find(|(_, transport, _)| *transport == self).map_or(53, |(_, _, port)| *port)
    }

    /// Splits the scheme off a word; no scheme means DNS.
    #[must_use]
    pub fn split(word: &str) -> (Self, &str) {
        SCHEMES
            .iter()
            .find_map(|(scheme, transport, _)| Some((*transport, word.strip_prefix(scheme)?)))
            .unwrap_or((Self::Dns, word))
    }
}

/// A key of a server block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The word, with its place.
    pub token: Token,
    /// Zones it stands for (several for CIDR notation off a label boundary).
    pub zones: Vec<Name>,
    /// Port.
    pub port: u16,
    /// Transport.
    pub transport: Transport,
}

impl Key {
    /// Reads a key.
    ///
    /// # Errors
    /// A phrase that says why CoreDNS refuses the word.
    pub fn read(token: &Token) -> Result<Self, String> {
        let (transport, rest) = Transport::split(&token.text);
        let (zones, port) = split_host_port(rest)?;
        Ok(Self { token: token.clone(), zones, port: port.unwrap_or(transport.default_port()), transport })
    }
}

/// Splits `zone[:port]`; a CIDR block becomes its reverse zones (`plugin.SplitHostPort`).
///
/// # Errors
/// A phrase that says why CoreDNS refuses the word.
pub fn split_host_port(word: &str) -> Result<(Vec<Name>, Option<u16>), String> {
    let (mut host, mut port) = (word, None);
    if let Some((head, tail)) = word.rsplit_once(':') {
        if tail.is_empty() {
            return Err(format!("nothing follows the last colon of {word}"));
        }
        if let Ok(number) = tail.parse::<i64>() {
            port = Some(u16::try_from(number).map_err(|_| format!("{number} is no port"))?);
            host = head;
        }
    }
    if host.len() > 255 {
        return Err("a zone has at most 255 octets".to_owned());
    }
    let name = match Name::parse(host) {
        Ok(name) if !host.is_empty() => name,
        _ => return Err(format!("{host} is no domain name")),
    };
    match parse_cidr(host) {
        Some(_) if host.starts_with(':') || (host.starts_with('0') && host.contains(':')) => {
            Err(format!("{host} is no network"))
        }
        Some((ip, bits)) => Ok((reverse_zones(ip, bits), port)),
        None => Ok((vec![name], port)),
    }
}

/// Zones of one word, empty if CoreDNS would ignore it (`Host.NormalizeExact`).
#[must_use]
pub fn normalize_exact(word: &str) -> Vec<Name> {
    let (_, rest) = Transport::split(word);
    split_host_port(rest).map(|(zones, _)| zones).unwrap_or_default()
}

/// Parses `ADDRESS/BITS` and clears the host bits.
#[must_use]
pub fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let bits: u8 =
        (!bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit())).then(|| bits.parse().ok())??;
    match address.parse::<IpAddr>().ok()? {
        IpAddr::V4(ip) if bits <= 32 => Some((masked_v4(ip, bits).into(), bits)),
        IpAddr::V6(ip) if bits <= 128 => Some((masked_v6(ip, bits).into(), bits)),
        _ => None,
    }
}

fn masked_v4(ip: Ipv4Addr, bits: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(ip.to_bits() & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0))
}

fn masked_v6(ip: Ipv6Addr, bits: u8) -> Ipv6Addr {
    Ipv6Addr::from_bits(ip.to_bits() & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0))
}

/// Reverse zones that cover a network whose host bits are clear, split at label boundaries (`cidr.Split`, `Reverse`).
#[must_use]
pub fn reverse_zones(ip: IpAddr, bits: u8) -> Vec<Name> {
    let (digit, width) = if ip.is_ipv4() { (8u8, 32u8) } else { (4, 128) };
    let mask = bits.div_ceil(digit) * digit;
    // At most 2^7 zones (IPv4) or 2^3 (IPv6).
    (0..1u128 << (mask - bits))
        .filter_map(|at| {
            let step = at.checked_shl(u32::from(width - mask)).unwrap_or(0);
            let full = match ip {
                IpAddr::V4(ip) => reverse_name(Ipv4Addr::from_bits(ip.to_bits() | step as u32).into()),
                IpAddr::V6(ip) => reverse_name(Ipv6Addr::from_bits(ip.to_bits() | step).into()),
            };
            let mut zone = full;
            for _ in 0..(width - mask) / digit {
                zone = zone.parent()?;
            }
            Some(zone)
        })
        .collect()
}

/// The reverse name of an address (RFC 1035 §3.5, RFC 3596 §2.5).
#[must_use]
pub fn reverse_name(ip: IpAddr) -> Name {
    let text = match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        IpAddr::V6(ip) => {
            let bits = ip.to_bits();
            let nibbles: String = (0..32).map(|at| format!("{:x}.", (bits >> (4 * at)) & 0xf)).collect();
            format!("{nibbles}ip6.arpa.")
        }
    };
    Name::parse(&text).unwrap_or_else(|_| Name::root())
}

/// The address that a reverse name stands for (`dnsutil.ExtractAddressFromReverse`); `None` if it is none.
#[must_use]
pub fn address_of(name: &Name) -> Option<IpAddr> {
    let labels: Vec<&str> =
        name.labels().map(|label| std::str::from_utf8(label).ok()).collect::<Option<_>>()?;
    match labels.as_slice() {
        [rest @ .., "in-addr", "arpa"] if rest.len() == 4 => {
            let text: Vec<&str> = rest.iter().rev().copied().collect();
            text.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::V4)
        }
        [rest @ .., "ip6", "arpa"] if rest.len() == 32 => {
            let mut bits = 0u128;
            for nibble in rest.iter().rev() {
                let digit = (nibble.len() == 1).then(|| u128::from_str_radix(nibble, 16).ok())??;
                bits = bits << 4 | digit;
            }
            Some(Ipv6Addr::from_bits(bits).into())
        }
        _ => None,
    }
}

/// True if `name` is at or below `in-addr.arpa` or `ip6.arpa` (`dnsutil.IsReverse`).
#[must_use]
pub fn is_reverse(name: &Name) -> bool {
    let labels: Vec<&[u8]> = name.labels().collect();
    matches!(labels.as_slice(), [.., b"in-addr" | b"ip6", b"arpa"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(word: &str) -> Vec<String> {
        split_host_port(word)
            .map(|(zones, _)| zones.iter().map(Name::to_string).collect())
            .unwrap_or_default()
    }

    #[test]
    fn networks_become_the_zones_that_coredns_serves() {
        // The table of coredns plugin/pkg/cidr.
        assert_eq!(zones("10.0.0.0/15"), ["0.10.in-addr.arpa.", "1.10.in-addr.arpa."]);
        assert_eq!(zones("10.0.0.0/16"), ["0.10.in-addr.arpa."]);
        assert_eq!(zones("192.168.1.1/23"), ["0.168.192.in-addr.arpa.", "1.168.192.in-addr.arpa."]);
        assert_eq!(zones("10.129.60.0/22").len(), 4);
        assert_eq!(zones("2001:db8::/31"), ["8.b.d.0.1.0.0.2.ip6.arpa.", "9.b.d.0.1.0.0.2.ip6.arpa."]);
        let service = zones("10.96.0.0/12");
        assert_eq!(
            (service.len(), service[0].as_str(), service[15].as_str()),
            (16, "96.10.in-addr.arpa.", "111.10.in-addr.arpa.")
        );
        assert_eq!(zones("0.0.0.0/0"), ["in-addr.arpa."]);
        assert_eq!(zones("10.1.2.3/32"), ["3.2.1.10.in-addr.arpa."]);
    }

    #[test]
    fn keys_have_zone_port_and_transport() {
        let key = |text: &str| {
            let token = Token { file: None, line: 1, col: 1, text: text.into() };
            Key::read(&token).map(|key| {
                (key.zones.iter().map(Name::to_string).collect::<Vec<_>>(), key.port, key.transport)
            })
        };
        assert_eq!(key(".:1053").unwrap(), (vec![".".to_owned()], 1053, Transport::Dns));
        assert_eq!(key("tls://Example.ORG").unwrap(), (vec!["example.org.".to_owned()], 853, Transport::Tls));
        assert_eq!(key("https3://.:8443").unwrap().1, 8443);
        for bad in ["", ":53", "a..b", "example.org:", "x:99999", "::/64"] {
            assert!(key(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reverse_names_and_addresses_are_inverse() {
        for text in ["10.96.0.1", "2001:db8::5"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(address_of(&reverse_name(ip)), Some(ip));
            assert!(is_reverse(&reverse_name(ip)));
        }
        assert_eq!(address_of(&Name::parse("1.10.in-addr.arpa.").unwrap()), None);
    }
}
