//! Plugins that decide who is answered and in which shape: `acl`, `view`, `autopath`, `loadbalance`, `dns64`,
//! `header`, `transfer`, `chaos`, `dnssec`.
//!
//! Enters: a stanza; leaves: typed options. Deliberately absent: plugins without effect on answers (see `registry`).

use std::net::IpAddr;

use truename_model::{Name, Rtype};

use super::diagnostic::CorefileError;
use super::kubernetes::{longest_zone, origins};
use super::order::Version;
use super::schema::Take::{Lenient, Next, Nothing, Rest};
use super::schema::{Body, Entry, MANY, Schema, Stanza, invalid, option, option_since};
use super::value::{Kind, ip, rtype};
use super::zone::parse_cidr;

/// How `acl` is written.
pub const ACL: Schema = Schema::new(
    "acl",
    (0, MANY),
    &[],
    Body::Options(&[
        option("allow", Rest(0, MANY), &[]),
        option("block", Rest(0, MANY), &[]),
        option("filter", Rest(0, MANY), &[]),
        option_since(Version(1, 10, 1), "drop", Rest(0, MANY), &[]),
    ]),
)
.any_case();

/// What an `acl` policy does with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AclAction {
    /// Goes on, no further rule is looked at.
    Allow,
    /// REFUSED.
    Block,
    /// NOERROR without records.
    Filter,
    /// No response.
    Drop,
}

/// A line of `acl`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclPolicy {
    /// Line in the Corefile.
    pub line: u32,
    /// What it does.
    pub action: AclAction,
    /// Types; empty: all.
    pub types: Vec<Rtype>,
    /// Networks of clients with prefix lengths; empty: all.
    pub networks: Vec<(IpAddr, u8)>,
}

/// An `acl` stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// Line of the directive.
    pub line: u32,
    /// Zones.
    pub zones: Vec<Name>,
    /// Policies in file order; the first that matches decides.
    pub policies: Vec<AclPolicy>,
}

impl Acl {
    /// Reads a stanza whose block serves `server` zones.
    ///
    /// # Errors
    /// The fault at which CoreDNS refuses to start.
    pub fn read(stanza: &Stanza, server: &[Name]) -> Result<Self, CorefileError> {
        let policies = stanza.entries.iter().map(acl_policy).collect::<Result<_, _>>()?;
        Ok(Self { line: stanza.name.line, zones: origins(stanza.words(), server), policies })
    }

    /// The policy that decides over a query. With an unknown client a policy bound to networks gives `Err`.
    ///
    /// # Errors
    /// The policy that may decide.
    pub fn decide(
        &self,
        name: &Name,
        kind: Rtype,
        client: Option<IpAddr>,
    ) -> Result<Option<&AclPolicy>, &AclPolicy> {
        if longest_zone(&self.zones, name).is_none() {
            return Ok(None);
        }
        for policy in &self.policies {
            if !policy.types.is_empty() && !policy.types.contains(&kind) {
                continue;
            }
            match client {
                _ if policy.networks.is_empty() => return Ok(Some(policy)),
                None => return Err(policy),
                Some(client) if policy.networks.iter().any(|network| contains(*network, client)) => {
                    return Ok(Some(policy));
                }
                Some(_) => {}
            }
        }
        Ok(None)
    }
}

/// True if the network holds the address (IPv4-mapped addresses as IPv4).
#[must_use]
pub fn contains((network, bits): (IpAddr, u8), address: IpAddr) -> bool {
    match (network, address.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

fn acl_policy(entry: &Entry) -> Result<AclPolicy, CorefileError> {
    let action = match entry.name.text.to_ascii_lowercase().as_str() {
        "allow" => AclAction::Allow,
        "block" => AclAction::Block,
        "filter" => AclAction::Filter,
        _ => AclAction::Drop,
    };
    let mut policy = AclPolicy { line: entry.name.line, action, types: Vec::new(), networks: Vec::new() };
    let section = |text: &str| ["type", "net"].into_iter().find(|word| word.eq_ignore_ascii_case(text));
    let mut rest = entry.args.as_slice();
    while let [head, tail @ ..] = rest {
        let Some(kind) = section(&head.text) else {
            return Err(invalid(
                head,
                format!("'{}' stands where type or net is expected", head.text),
                "write type or net",
            ));
        };
        let end = tail.iter().position(|token| section(&token.text).is_some()).unwrap_or(tail.len());
        let (words, next) = tail.split_at(end);
        if words.is_empty() {
            return Err(invalid(head, format!("{kind} names nothing"), "add words or remove it"));
        }
        for token in words {
            // A star stands for everything and hides the words after it.
            if &*token.text == "*" {
                if kind == "type" {
                    policy.types.clear()
                } else {
                    policy.networks.clear()
                }
                break;
            }
            if kind == "type" {
                let known = rtype(&token.text).ok_or_else(|| {
                    invalid(token, format!("'{}' is no record type", token.text), "write A, AAAA …")
                })?;
                policy.types.push(known);
            } else {
                let network = match ip(&token.text) {
                    Some(address) if !token.text.contains('/') => {
                        Some((address, if address.is_ipv4() { 32 } else { 128 }))
                    }
                    _ => parse_cidr(&token.text),
                };
                let bad = || invalid(token, format!("'{}' is no network", token.text), "write 10.0.0.0/8");
                policy.networks.push(network.ok_or_else(bad)?);
            }
        }
        rest = next;
    }
    Ok(policy)
}

/// How `view` is written.
pub const VIEW: Schema =
    Schema::new("view", (1, 1), &[], Body::Options(&[option("expr", Rest(0, MANY), &[])])).once();

/// A `view` stanza: the block declines queries for which an expression is false.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Line of the directive.
    pub line: u32,
    /// Name.
    pub name: String,
    /// Expressions (expr-lang), never evaluated here.
    pub expressions: Vec<String>,
}

impl View {
    /// Reads a stanza.
    #[must_use]
    pub fn read(stanza: &Stanza) -> Self {
        let expressions =
            stanza.all("expr").map(|entry| entry.words().collect::<Vec<_>>().join(" ")).collect();
        Self { line: stanza.name.line, name: stanza.word(0).to_owned(), expressions }
    }
}

/// How `autopath` is written.
pub const AUTOPATH: Schema = Schema::new("autopath", (1, MANY), &[], Body::Absent);

/// An `autopath` stanza: the search path is walked by the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autopath {
    /// Line of the directive.
    pub line: u32,
    /// Zones.
    pub zones: Vec<Name>,
    /// Plugin (`@kubernetes`) or file that gives the search path.
    pub source: String,
}

impl Autopath {
    /// Reads a stanza whose block serves `server` zones.
    #[must_use]
    pub fn read(stanza: &Stanza, server: &[Name]) -> Self {
        let (words, source) = match stanza.args.split_last() {
            Some((source, words)) => (words, source.text.to_string()),
            None => (&[] as &[_], String::new()),
        };
        let zones = origins(words.iter().map(|token| &*token.text), server);
        Self { line: stanza.name.line, zones, source }
    }
}

/// How `loadbalance` is written.
pub const LOADBALANCE: Schema = Schema::new(
    "loadbalance",
    (0, 2),
    &[Kind::OneOf(&["round_robin", "weighted"]), Kind::Any],
    Body::Options(&[
        option_since(Version(1, 10, 1), "reload", Rest(1, 1), &[Kind::Duration(i64::MIN, i64::MAX)]),
        option_since(Version(1, 12, 4), "prefer", Rest(0, MANY), &[Kind::Network]),
    ]),
);

/// A `loadbalance` stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalance {
    /// Line of the directive.
    pub line: u32,
    /// Weight file; `None`: round robin.
    pub weights: Option<String>,
    /// Networks whose addresses come first.
    pub prefer: Vec<(IpAddr, u8)>,
}

impl LoadBalance {
    /// Reads a stanza.
    ///
    /// # Errors
    /// The fault at which CoreDNS refuses to start.
    pub fn read(stanza: &Stanza) -> Result<Self, CorefileError> {
        let weighted = stanza.word(0) == "weighted";
        if weighted != (stanza.args.len() == 2) {
            let message = if weighted { "weighted needs a file" } else { "round_robin takes no words" };
            return Err(invalid(&stanza.name, message, "correct the line"));
        }
        if !weighted && let Some(entry) = stanza.last("reload") {
            return Err(invalid(&entry.name, "reload is for weighted", "remove it"));
        }
        Ok(Self {
            line: stanza.name.line,
            weights: weighted.then(|| stanza.word(1).to_owned()),
            prefer: stanza.all("prefer").flat_map(|entry| entry.words().filter_map(parse_cidr)).collect(),
        })
    }
}

/// How `dns64` is written.
pub const DNS64: Schema = Schema::new(
    "dns64",
    (0, 1),
    &[],
    Body::Options(&[
        option("prefix", Next(1), &[]),
        option("translate_all", Nothing, &[]),
        option_since(Version(1, 8, 7), "allow_ipv4", Nothing, &[]),
    ]),
);

/// A `dns64` stanza: AAAA answers made from A records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns64 {
    /// Line of the directive.
    pub line: u32,
    /// Prefix and its length.
    pub prefix: (IpAddr, u8),
    /// AAAA answers are made even where real ones exist.
    pub translate_all: bool,
    /// Queries over IPv4 get them as well.
    pub allow_ipv4: bool,
}

impl Dns64 {
    /// Reads a stanza.
    ///
    /// # Errors
    /// The fault at which CoreDNS refuses to start.
    pub fn read(stanza: &Stanza) -> Result<Self, CorefileError> {
        let default = (IpAddr::from([0x64, 0xff9b, 0, 0, 0, 0, 0, 0]), 96);
        let option = stanza.last("prefix").and_then(|entry| entry.args.first());
        let prefix = match stanza.args.first().or(option) {
            None => default,
            Some(token) => parse_cidr(&token.text)
                .filter(|(address, bits)| address.is_ipv6() && matches!(bits, 32 | 40 | 48 | 56 | 64 | 96))
                .ok_or_else(|| {
                    let message = format!("'{}' is no prefix for dns64", token.text);
                    invalid(token, message, "write an IPv6 network of 32, 40, 48, 56, 64 or 96 bits")
                })?,
        };
        Ok(Self {
            line: stanza.name.line,
            prefix,
            // A prefix on the line hides the options of the block.
            translate_all: stanza.args.is_empty() && stanza.has("translate_all"),
            allow_ipv4: stanza.args.is_empty() && stanza.has("allow_ipv4"),
        })
    }
}

/// How `header` is written.
pub const HEADER: Schema = Schema::new(
    "header",
    (0, 0),
    &[],
    Body::Options(&[
        option_since(
            Version(1, 9, 4),
            "query",
            Rest(2, MANY),
            &[Kind::OneOfAnyCase(&["set", "clear"]), Kind::OneOfAnyCase(&["aa", "ra", "rd"])],
        ),
        option_since(
            Version(1, 9, 0),
            "response",
            Rest(2, MANY),
            &[Kind::OneOfAnyCase(&["set", "clear"]), Kind::OneOfAnyCase(&["aa", "ra", "rd"])],
        ),
        // Before 1.12.2 the block held the actions themselves, for responses.
        option("set", Rest(1, MANY), &[Kind::OneOfAnyCase(&["aa", "ra", "rd"])]),
        option("clear", Rest(1, MANY), &[Kind::OneOfAnyCase(&["aa", "ra", "rd"])]),
    ]),
)
.any_case();

/// A `header` stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Line of the directive.
    pub line: u32,
    /// Changes of the response's header: flag in lower case, and whether it is set or cleared.
    pub response: Vec<(String, bool)>,
    /// Changes of the query's header.
    pub query: Vec<(String, bool)>,
}

impl Header {
    /// Reads a stanza.
    ///
    /// # Errors
    /// The fault at which CoreDNS of the version refuses to start.
    pub fn read(stanza: &Stanza, version: Version) -> Result<Self, CorefileError> {
        let mut header = Self { line: stanza.name.line, response: Vec::new(), query: Vec::new() };
        for entry in &stanza.entries {
            let name = entry.name.text.to_ascii_lowercase();
            let bare = matches!(name.as_str(), "set" | "clear");
            if bare && version >= Version(1, 12, 2) {
                let message = format!("header has no option '{name}'");
                return Err(invalid(&entry.name, message, "write query or response in front of it"));
            }
            let words: Vec<String> = entry.words().map(str::to_ascii_lowercase).collect();
            let (action, flags) = match words.split_first() {
                Some((action, flags)) if !bare => (action.as_str(), flags),
                _ => (name.as_str(), words.as_slice()),
            };
            let list = if name == "query" { &mut header.query } else { &mut header.response };
            list.extend(flags.iter().map(|flag| (flag.clone(), action == "set")));
        }
        if header.response.is_empty() && header.query.is_empty() {
            return Err(invalid(&stanza.name, "header changes nothing", "add a rule or remove it"));
        }
        Ok(header)
    }
}

/// How `transfer` is written.
pub const TRANSFER: Schema = Schema::new(
    "transfer",
    (0, MANY),
    &[],
    Body::Options(&[
        option("to", Rest(1, MANY), &[]),
        option_since(Version(1, 14, 5), "source", Rest(1, 1), &[Kind::Ip]),
    ]),
);

/// A `transfer` stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Line of the directive.
    pub line: u32,
    /// Zones.
    pub zones: Vec<Name>,
    /// Receivers: addresses, or `*` for everyone.
    pub to: Vec<String>,
}

impl Transfer {
    /// Reads a stanza whose block serves `server` zones.
    ///
    /// # Errors
    /// The fault at which CoreDNS refuses to start.
    pub fn read(stanza: &Stanza, server: &[Name]) -> Result<Self, CorefileError> {
        let mut to = Vec::new();
        for token in stanza.all("to").flat_map(|entry| entry.args.iter()) {
            if &*token.text != "*" {
                Kind::Target
                    .check(&token.text)
                    .map_err(|message| invalid(token, message, "write an IP address or *"))?;
            }
            to.push(token.text.to_string());
        }
        if to.is_empty() {
            return Err(invalid(&stanza.name, "transfer needs 'to'", "add: to ADDRESS"));
        }
        if stanza.all("source").count() > 1 {
            return Err(invalid(&stanza.name, "source is given twice", "remove one"));
        }
        Ok(Self { line: stanza.name.line, zones: origins(stanza.words(), server), to })
    }
}

/// How `chaos` is written.
pub const CHAOS: Schema = Schema::new("chaos", (0, MANY), &[], Body::Options(&[]));

/// How `dnssec` is written.
pub const DNSSEC: Schema = Schema::new(
    "dnssec",
    (0, MANY),
    &[],
    Body::Options(&[
        option("key", Lenient(1), &[]),
        option("cache_capacity", Next(1), &[Kind::Int(i64::MIN, i64::MAX)]),
    ]),
)
.once();
