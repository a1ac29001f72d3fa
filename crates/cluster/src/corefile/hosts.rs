//! The `hosts` plugin: addresses written into the Corefile, and a file next to it.
//!
//! Enters: a stanza; leaves: inline entries that answer names. Deliberately absent: the hosts file's content, which
//! no reader of the Corefile can know.

use std::net::IpAddr;

use truename_model::{Name, Rtype};

use super::diagnostic::CorefileError;
use super::kubernetes::{Fallthrough, origins};
use super::order::Version;
use super::schema::Take::{Lenient, Nothing, Rest};
use super::schema::{Body, MANY, Schema, Stanza, invalid, option, option_since};
use super::value::Kind;
use super::zone::address_of;

/// How `hosts` is written.
pub const HOSTS: Schema = Schema::new(
    "hosts",
    (0, MANY),
    &[],
    Body::Open(&[
        option("fallthrough", Rest(0, MANY), &[]),
        option_since(Version(1, 14, 7), "fallthrough_unsupported", Rest(0, 0), &[]),
        option("no_reverse", Nothing, &[]),
        option("ttl", Lenient(1), &[Kind::Int(1, 65_535), Kind::Any]),
        option("reload", Rest(1, 1), &[Kind::Duration(0, i64::MAX)]),
    ]),
)
.once();

/// A line `ADDRESS NAME…` of the stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEntry {
    /// Line in the Corefile.
    pub line: u32,
    /// The line's text, single spaces.
    pub text: String,
    /// Address; IPv4-mapped ones as IPv4.
    pub address: IpAddr,
    /// Names within the plugin's zones.
    pub names: Vec<Name>,
}

/// A `hosts` stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    /// Line of the directive.
    pub line: u32,
    /// File that is read as well: `/etc/hosts` unless named.
    pub path: String,
    /// True if the stanza names a file: its entries may answer any name in the zones.
    pub names_file: bool,
    /// Zones.
    pub zones: Vec<Name>,
    /// Inline entries in file order.
    pub entries: Vec<HostEntry>,
    /// TTL of answers, seconds; 3600 unless set.
    pub ttl: u32,
    /// Addresses answer PTR questions.
    pub reverse: bool,
    /// Which unknown names go on; others end in SERVFAIL.
    pub fallthrough: Fallthrough,
    /// Types other than A, AAAA and PTR go on where `fallthrough` allows.
    pub fallthrough_unsupported: bool,
    /// `*.zone` stands for any one label (1.14.5 and later).
    pub wildcards: bool,
}

/// What the inline entries say to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostsAnswer<'a> {
    /// Nothing: the question goes to the next plugin.
    Passes,
    /// Addresses of these entries, in order.
    Addresses(Vec<&'a HostEntry>),
    /// Names of these entries for a PTR question.
    Names(Vec<&'a HostEntry>),
    /// The name exists with no data of the type, by this entry.
    NoData(&'a HostEntry),
    /// The name is unknown and nothing falls through: SERVFAIL.
    ServFail,
}

impl Hosts {
    /// Reads a stanza whose block serves `server` zones.
    ///
    /// # Errors
    /// The fault at which CoreDNS refuses to start.
    pub fn read(stanza: &Stanza, server: &[Name], version: Version) -> Result<Self, CorefileError> {
        let zones = origins(stanza.words().skip(1), server);
        let mut fell_through = false;
        let mut entries = Vec::new();
        for entry in &stanza.entries {
            match &*entry.name.text {
                "fallthrough" => fell_through = true,
                "fallthrough_unsupported" | "no_reverse" | "ttl" | "reload" => {}
                _ if fell_through => {
                    let message = format!("hosts has no option '{}' after fallthrough", entry.name.text);
                    return Err(invalid(&entry.name, message, "put entries before fallthrough"));
                }
                word => {
                    let names: Vec<&str> = entry.words().collect();
                    entries.extend(host_entry(entry.name.line, word, &names, &zones));
                }
            }
        }
        if stanza.has("fallthrough_unsupported") && !fell_through {
            let message = "fallthrough_unsupported needs fallthrough";
            return Err(invalid(&stanza.name, message, "add fallthrough"));
        }
        Ok(Self {
            line: stanza.name.line,
            path: if stanza.args.is_empty() { "/etc/hosts" } else { stanza.word(0) }.to_owned(),
            names_file: !stanza.args.is_empty(),
            zones,
            entries,
            ttl: stanza.last("ttl").and_then(|entry| entry.word(0).parse().ok()).unwrap_or(3600),
            reverse: !stanza.has("no_reverse"),
            fallthrough: Fallthrough::read(stanza),
            fallthrough_unsupported: stanza.has("fallthrough_unsupported"),
            wildcards: version >= Version(1, 14, 5),
        })
    }

    /// Adds the content of the hosts file (k3s keeps it beside the Corefile as `NodeHosts`), after which nothing is
    /// left to guess. The file's entries come first in answers.
    pub fn add_file(&mut self, content: &str) {
        let mut entries = Vec::new();
        for (at, line) in content.lines().enumerate() {
            let line = line.split('#').next().unwrap_or("");
            let mut words = line.split([' ', '\t', '\u{b}', '\u{c}', '\r']).filter(|word| !word.is_empty());
            let Some(first) = words.next() else { continue };
            let number = u32::try_from(at + 1).unwrap_or(u32::MAX);
            entries.extend(host_entry(number, first, &words.collect::<Vec<_>>(), &self.zones));
        }
        entries.append(&mut self.entries);
        self.entries = entries;
        self.names_file = false;
    }

    /// What the inline entries answer; the named file may add to it.
    #[must_use]
    pub fn answer(&self, name: &Name, rtype: Rtype) -> HostsAnswer<'_> {
        let inside = self.zones.iter().any(|zone| name.is_at_or_below(zone));
        if rtype == Rtype::PTR {
            let address = if self.reverse { address_of(name) } else { None };
            let found: Vec<_> = self
                .entries
                .iter()
                .filter(|entry| {
                    Some(entry.address) == address && entry.names.iter().any(|name| !is_wildcard(name))
                })
                .collect();
            return if found.is_empty() { HostsAnswer::Passes } else { HostsAnswer::Names(found) };
        }
        if !inside {
            return HostsAnswer::Passes;
        }
        let (v4, v6) = (self.lookup(name, true), self.lookup(name, false));
        let (found, other) = match rtype {
            Rtype::A => (v4, v6.first().copied()),
            Rtype::AAAA => (v6, v4.first().copied()),
            _ if self.fallthrough_unsupported && self.fallthrough.passes(name) => return HostsAnswer::Passes,
            _ => (Vec::new(), v4.first().or(v6.first()).copied()),
        };
        match other {
            _ if !found.is_empty() => HostsAnswer::Addresses(found),
            Some(entry) => HostsAnswer::NoData(entry),
            None if self.fallthrough.passes(name) => HostsAnswer::Passes,
            None => HostsAnswer::ServFail,
        }
    }

    /// Entries of one family for a name: exact ones, else those of the wildcard above it.
    fn lookup(&self, name: &Name, v4: bool) -> Vec<&HostEntry> {
        let of = |wanted: &Name| -> Vec<&HostEntry> {
            let family = self.entries.iter().filter(|entry| entry.address.is_ipv4() == v4);
            // An entry that lists a name twice gives its address twice.
            family
                .flat_map(|entry| entry.names.iter().filter(|name| *name == wanted).map(move |_| entry))
                .collect()
        };
        if is_wildcard(name) && self.wildcards {
            return of(name);
        }
        let exact = of(name);
        if !exact.is_empty() || !self.wildcards {
            return exact;
        }
        // A name of one label has no wildcard above it.
        let Some(parent) = name.parent().filter(|parent| !parent.is_root()) else { return exact };
        Name::parse("*").and_then(|star| star.joined(&parent)).map(|wild| of(&wild)).unwrap_or_default()
    }
}

fn is_wildcard(name: &Name) -> bool {
    name.labels().next() == Some(b"*")
}

fn host_entry(line: u32, word: &str, names: &[&str], zones: &[Name]) -> Option<HostEntry> {
    let address = word.split_once('%').map_or(word, |(address, _)| address).parse::<IpAddr>().ok()?;
    let text = std::iter::once(word).chain(names.iter().copied()).collect::<Vec<_>>().join(" ");
    let names = names.iter().filter_map(|word| Name::parse(word).ok());
    let names: Vec<Name> = names.filter(|name| zones.iter().any(|zone| name.is_at_or_below(zone))).collect();
    Some(HostEntry { line, text, address: address.to_canonical(), names })
}
