//! Records, sections and header fields of a DNS message (RFC 1035 §4, RFC 6891), decoded.
//!
//! Enters: what decoders read; leaves: comparable values. Deliberately absent: wire parsing.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::name::Name;

macro_rules! numbered {
    ($(#[$doc:meta])* $type:ident, $unknown:literal, { $($name:ident = $value:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub u16);

        #[allow(missing_docs, reason = "the names are the registry's")]
        impl $type {
            $(pub const $name: Self = Self($value);)*
        }

        impl $type {
            /// The registry's mnemonic for this number, if it has one here.
            #[must_use]
            pub fn mnemonic(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// Reads a mnemonic (any case) or the generic form with a number.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                $(if text.eq_ignore_ascii_case(stringify!($name)) { return Some(Self($value)); })*
                let (prefix, digits) = text.split_at_checked($unknown.len())?;
                prefix.eq_ignore_ascii_case($unknown).then(|| digits.parse().ok().map(Self)).flatten()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.mnemonic() {
                    Some(name) => f.pad(name),
                    None => write!(f, concat!($unknown, "{}"), self.0),
                }
            }
        }
    };
}

numbered!(
    /// RR type or question type (IANA DNS parameters; RFC 3597 form `TYPE123` for the rest).
    Rtype, "TYPE", {
        A = 1, NS = 2, CNAME = 5, SOA = 6, NULL = 10, PTR = 12, HINFO = 13, MX = 15, TXT = 16, RP = 17, SIG = 24,
        KEY = 25, AAAA = 28, LOC = 29, SRV = 33, NAPTR = 35, CERT = 37, DNAME = 39, OPT = 41, DS = 43, SSHFP = 44,
        RRSIG = 46, NSEC = 47, DNSKEY = 48, NSEC3 = 50, NSEC3PARAM = 51, TLSA = 52, CDS = 59, CDNSKEY = 60,
        SVCB = 64, HTTPS = 65, SPF = 99, TKEY = 249, TSIG = 250, IXFR = 251, AXFR = 252, MAILB = 253, ANY = 255,
        URI = 256, CAA = 257,
    }
);

numbered!(
    /// Class of a question or record.
    Class, "CLASS", { IN = 1, CH = 3, HS = 4, NONE = 254, ANY = 255 }
);

numbered!(
    /// Response code, extended by EDNS (RFC 6895).
    Rcode, "RCODE", {
        NOERROR = 0, FORMERR = 1, SERVFAIL = 2, NXDOMAIN = 3, NOTIMP = 4, REFUSED = 5, YXDOMAIN = 6, YXRRSET = 7,
        NXRRSET = 8, NOTAUTH = 9, NOTZONE = 10, BADVERS = 16, BADKEY = 17, BADTIME = 18, BADCOOKIE = 23,
    }
);

/// Operation code of a message (0 = QUERY, 4 = NOTIFY, 5 = UPDATE).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Opcode(pub u8);

/// The sixteen header bits after the id, as on the wire (RFC 1035 §4.1.1; AD and CD: RFC 4035).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Flags(pub u16);

impl Flags {
    /// Response.
    pub const QR: u16 = 0x8000;
    /// Authoritative answer.
    pub const AA: u16 = 0x0400;
    /// Truncated.
    pub const TC: u16 = 0x0200;
    /// Recursion desired.
    pub const RD: u16 = 0x0100;
    /// Recursion available.
    pub const RA: u16 = 0x0080;
    /// Reserved.
    pub const Z: u16 = 0x0040;
    /// Authentic data.
    pub const AD: u16 = 0x0020;
    /// Checking disabled.
    pub const CD: u16 = 0x0010;

    /// True if all bits of `mask` are set.
    #[must_use]
    pub const fn has(self, mask: u16) -> bool {
        self.0 & mask == mask
    }

    /// Operation code.
    #[must_use]
    pub const fn opcode(self) -> Opcode {
        Opcode(((self.0 >> 11) & 0xf) as u8)
    }

    /// Response code without the EDNS extension.
    #[must_use]
    pub const fn rcode(self) -> Rcode {
        Rcode(self.0 & 0xf)
    }
}

/// CoreDNS's spelling: `qr,aa,rd`.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = [
            (Self::QR, "qr"),
            (Self::AA, "aa"),
            (Self::TC, "tc"),
            (Self::RD, "rd"),
            (Self::RA, "ra"),
            (Self::Z, "z"),
            (Self::AD, "ad"),
            (Self::CD, "cd"),
        ];
        let set: Vec<_> = table.iter().filter(|(bit, _)| self.has(*bit)).map(|(_, name)| *name).collect();
        f.write_str(&set.join(","))
    }
}

/// The question of a message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Question {
    /// Query name, compared without case.
    pub name: Name,
    /// Query type.
    pub rtype: Rtype,
    /// Query class.
    pub class: Class,
}

/// Decoded record data; what Truename does not interpret stays as the bytes on the wire (decompressed nowhere).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rdata {
    /// IPv4 address.
    A(Ipv4Addr),
    /// IPv6 address.
    Aaaa(Ipv6Addr),
    /// Alias target (CNAME, and DNAME by its type).
    Cname(Name),
    /// Name server.
    Ns(Name),
    /// Pointer target.
    Ptr(Name),
    /// Mail exchange: preference, host.
    Mx(u16, Name),
    /// Service (RFC 2782).
    Srv {
        /// Priority.
        priority: u16,
        /// Weight.
        weight: u16,
        /// Port.
        port: u16,
        /// Target host.
        target: Name,
    },
    /// Start of authority.
    Soa {
        /// Primary server.
        mname: Name,
        /// Mailbox of the person responsible.
        rname: Name,
        /// Serial, refresh, retry, expire, minimum: seconds but for the serial.
        numbers: [u32; 5],
    },
    /// Character strings, each with its length octet, as on the wire.
    Txt(Box<[u8]>),
    /// Anything else, as on the wire.
    Other(Box<[u8]>),
}

/// One resource record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Record {
    /// Owner name.
    pub owner: Name,
    /// Type.
    pub rtype: Rtype,
    /// Class.
    pub class: Class,
    /// Time to live, seconds.
    pub ttl: u32,
    /// Data.
    pub rdata: Rdata,
}

/// Record data in presentation form; hostile octets are escaped by [`Name`] and here.
impl fmt::Display for Rdata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::A(ip) => write!(f, "{ip}"),
            Self::Aaaa(ip) => write!(f, "{ip}"),
            Self::Cname(name) | Self::Ns(name) | Self::Ptr(name) => write!(f, "{name}"),
            Self::Mx(preference, host) => write!(f, "{preference} {host}"),
            Self::Srv { priority, weight, port, target } => write!(f, "{priority} {weight} {port} {target}"),
            Self::Soa { mname, rname, numbers: [serial, refresh, retry, expire, minimum] } => {
                write!(f, "{mname} {rname} {serial} {refresh} {retry} {expire} {minimum}")
            }
            Self::Txt(strings) => write_txt(f, strings),
            Self::Other(bytes) => {
                write!(f, "\\# {} ", bytes.len())?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

fn write_txt(f: &mut fmt::Formatter<'_>, mut strings: &[u8]) -> fmt::Result {
    let mut separator = "";
    while let Some((&len, tail)) = strings.split_first() {
        let text = &tail[..tail.len().min(usize::from(len))];
        write!(f, "{separator}\"")?;
        for &octet in text {
            match octet {
                b'"' | b'\\' => write!(f, "\\{}", octet as char)?,
                b' '..=b'~' => write!(f, "{}", octet as char)?,
                _ => write!(f, "\\{octet:03}")?,
            }
        }
        f.write_str("\"")?;
        separator = " ";
        strings = &tail[text.len()..];
    }
    Ok(())
}

/// EDNS facts of a message (RFC 6891).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Edns {
    /// Requestor's UDP payload size, octets.
    pub udp_size: u16,
    /// Version.
    pub version: u8,
    /// DNSSEC OK.
    pub dnssec_ok: bool,
    /// Options as (code, data), in order.
    pub options: Vec<(u16, Box<[u8]>)>,
}

/// Everything of a message but its id and flags; shared between messages that carry the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Body {
    /// First question; `None` when QDCOUNT is 0 or it cannot be read.
    pub question: Option<Question>,
    /// Query name with the case that was on the wire, presentation form, only if it has upper case (0x20).
    pub qname_case: Option<Box<str>>,
    /// Answer section; empty is "seen and empty" only if `sections_seen`.
    pub answers: Vec<Record>,
    /// Authority section.
    pub authority: Vec<Record>,
    /// Additional section without OPT.
    pub additional: Vec<Record>,
    /// EDNS, if an OPT record was there.
    pub edns: Option<Edns>,
    /// False for sources that show no sections (the CoreDNS log, dnstap without `full`).
    pub sections_seen: bool,
    /// What is wrong with the message, if anything: a fixed phrase of the decoder.
    pub malformed: Option<&'static str>,
}

impl Body {
    /// A body that shows only its question.
    #[must_use]
    pub fn question_only(question: Question) -> Self {
        Self {
            question: Some(question),
            qname_case: None,
            answers: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
            edns: None,
            sections_seen: false,
            malformed: None,
        }
    }

    /// Addresses of the answer section, in section order.
    pub fn addresses(&self) -> impl Iterator<Item = std::net::IpAddr> + '_ {
        self.answers.iter().filter_map(|record| match record.rdata {
            Rdata::A(ip) => Some(ip.into()),
            Rdata::Aaaa(ip) => Some(ip.into()),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_and_shown_by_mnemonic_or_number() {
        assert_eq!(Rtype::parse("aaaa"), Some(Rtype::AAAA));
        assert_eq!(Rtype::parse("TYPE65280"), Some(Rtype(65280)));
        assert_eq!(Rtype(65280).to_string(), "TYPE65280");
        assert_eq!(Rtype::parse("TYPE65536"), None);
        assert_eq!(Rtype::parse("ü"), None);
        assert_eq!(Rcode::parse("NXDOMAIN"), Some(Rcode::NXDOMAIN));
    }

    #[test]
    fn flags_are_shown_as_coredns_shows_them() {
        assert_eq!(Flags(0x8583).to_string(), "qr,aa,rd,ra");
        assert_eq!(Flags(0x8583).rcode(), Rcode::NXDOMAIN);
    }

    #[test]
    fn text_records_cannot_reach_a_terminal_raw() {
        let txt = Rdata::Txt(Box::from(&b"\x05a\"\x1b[mXX"[..]));
        assert_eq!(txt.to_string(), "\"a\\\"\\027[m\" \"X\"");
    }
}
