//! Plugins whose answers lie outside the Corefile: zone files, transfers, etcd, Nomad, clouds, dynamic updates.
//!
//! Enters: a stanza; leaves: the zones for which such a source may answer. Deliberately absent: the data.

use truename_model::Name;

use super::diagnostic::CorefileError;
use super::kubernetes::{Fallthrough, origins};
use super::lexer::Token;
use super::order::Version;
use super::schema::Take::{Lenient, Next, Nothing, Rest};
use super::schema::{Body, MANY, Schema, Setting, Stanza, invalid, option, option_since};
use super::value::{Kind, Pattern, rtype, seconds};
use super::zone::normalize_exact;

const ANY_DURATION: Kind = Kind::Duration(i64::MIN, i64::MAX);
const FALLTHROUGH: Setting = option("fallthrough", Rest(0, MANY), &[]);
const UPSTREAM: Setting = option("upstream", Rest(0, MANY), &[]);
const REFRESH: Setting = option("refresh", Next(1), &[Kind::Seconds]);

/// How each of these plugins is written.
pub const SCHEMAS: &[Schema] = &[
    Schema::new(
        "file",
        (1, MANY),
        &[],
        Body::Options(&[
            option_since(Version(1, 12, 2), "fallthrough", Rest(0, MANY), &[]),
            option("reload", Lenient(1), &[ANY_DURATION, Kind::Any]),
            option_since(Version(1, 14, 4), "reload_by_mtime", Nothing, &[]),
            UPSTREAM,
        ]),
    ),
    Schema::new(
        "auto",
        (0, MANY),
        &[],
        Body::Options(&[
            option("directory", Rest(1, 3), &[Kind::Any, Kind::Pattern, Kind::Any]),
            option("reload", Lenient(1), &[Kind::Duration(0, i64::MAX), Kind::Any]),
            UPSTREAM,
        ]),
    ),
    Schema::new(
        "secondary",
        (0, MANY),
        &[],
        Body::Options(&[
            option("transfer", Rest(2, MANY), &[Kind::OneOf(&["from"]), Kind::Target]),
            option_since(Version(1, 14, 5), "catalog", Rest(0, MANY), &[Kind::Zone]),
            option_since(Version(1, 14, 4), "fallthrough", Rest(0, MANY), &[]),
        ]),
    ),
    Schema::new(
        "etcd",
        (0, MANY),
        &[],
        Body::Options(&[
            option("stubzones", Nothing, &[]),
            FALLTHROUGH,
            option("debug", Nothing, &[]),
            option_since(Version(1, 15, 0), "no_apex_fallback", Rest(0, 0), &[]),
            option("path", Next(1), &[]),
            option("endpoint", Rest(1, MANY), &[]),
            UPSTREAM,
            option("tls", Rest(0, 3), &[]),
            option("credentials", Rest(2, 2), &[]),
            option_since(Version(1, 12, 4), "min-lease-ttl", Next(1), &[]),
            option_since(Version(1, 12, 4), "max-lease-ttl", Next(1), &[]),
        ]),
    ),
    Schema::new(
        "nomad",
        (0, MANY),
        &[],
        Body::Options(&[
            option("address", Rest(1, MANY), &[]),
            option_since(Version(1, 13, 2), "filter", Rest(1, 1), &[]),
            option("token", Rest(1, 1), &[]),
            option("ttl", Rest(1, 1), &[Kind::Int(0, 3600)]),
        ]),
    )
    .any_case(),
    Schema::new(
        "dynupdate",
        (0, 1),
        &[],
        Body::Options(&[
            option("database", Rest(1, 1), &[]),
            option("file", Rest(1, 1), &[]),
            option("allow", Rest(3, MANY), &[]),
            option("max_records", Rest(1, 1), &[Kind::Int(1, i64::MAX)]),
            option("max_bytes", Rest(1, 1), &[Kind::Int(1, i64::MAX)]),
            option("max_update_records", Rest(1, 1), &[Kind::Int(1, i64::MAX)]),
        ]),
    )
    .once(),
    Schema::new(
        "route53",
        (0, MANY),
        &[],
        Body::Options(&[
            option("aws_access_key", Lenient(2), &[]),
            option("aws_endpoint", Next(1), &[]),
            option("credentials", Rest(1, 2), &[]),
            UPSTREAM,
            FALLTHROUGH,
            REFRESH,
        ]),
    ),
    Schema::new(
        "azure",
        (0, MANY),
        &[],
        Body::Options(&[
            option("subscription", Next(1), &[]),
            option("tenant", Next(1), &[]),
            option("client", Next(1), &[]),
            option("secret", Next(1), &[]),
            option("environment", Next(1), &[]),
            option("access", Next(1), &[Kind::OneOf(&["public", "private"])]),
            FALLTHROUGH,
            option_since(Version(1, 15, 0), "refresh", Next(1), &[Kind::Seconds]),
        ]),
    ),
    Schema::new(
        "clouddns",
        (0, MANY),
        &[],
        Body::Options(&[
            option("credentials", Next(1), &[]),
            option_since(Version(1, 15, 0), "endpoint", Next(1), &[]),
            UPSTREAM,
            FALLTHROUGH,
            option_since(Version(1, 15, 0), "refresh", Next(1), &[Kind::Seconds]),
        ]),
    ),
    Schema::new(
        "erratic",
        (0, MANY),
        &[],
        Body::Options(&[
            option("drop", Rest(0, 1), &[Kind::Int(0, 0x7fff_ffff)]),
            option("delay", Rest(0, 2), &[Kind::Int(0, 0x7fff_ffff), ANY_DURATION]),
            option("truncate", Rest(0, 1), &[Kind::Int(0, 0x7fff_ffff)]),
            option("large", Nothing, &[]),
        ]),
    ),
    Schema::new("whoami", (0, 0), &[], Body::Absent),
    Schema::new(
        "grpc",
        (2, MANY),
        &[],
        Body::Options(&[
            option("except", Rest(1, MANY), &[]),
            option("tls", Rest(0, 3), &[]),
            option("tls_servername", Next(1), &[]),
            option("policy", Next(1), &[Kind::OneOf(&["random", "round_robin", "sequential"])]),
            option_since(Version(1, 12, 3), "fallthrough", Rest(0, MANY), &[]),
        ]),
    )
    .once(),
];

/// A source of answers that the Corefile does not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneData {
    /// Line of the directive.
    pub line: u32,
    /// The plugin.
    pub plugin: String,
    /// The stanza as one line of text; credentials are left out.
    pub text: String,
    /// Zones for which it may answer.
    pub zones: Vec<Name>,
    /// Where the data comes from: a path, a folder, servers; empty if the stanza does not say.
    pub source: String,
    /// Which unknown names go on.
    pub fallthrough: Fallthrough,
}

impl ZoneData {
    /// Reads a stanza whose block serves `server` zones.
    ///
    /// # Errors
    /// The fault at which CoreDNS refuses to start.
    pub fn read(stanza: &Stanza, server: &[Name]) -> Result<Self, CorefileError> {
        check(stanza, server)?;
        let plugin = stanza.name.text.to_string();
        let first = |option: &str| stanza.last(option).map(|entry| entry.word(0).to_owned());
        let (zones, source) = match plugin.as_str() {
            "file" => (origins(stanza.words().skip(1), server), Some(stanza.word(0).to_owned())),
            "auto" => (origins(stanza.words(), server), first("directory")),
            "secondary" => {
                let from =
                    stanza.last("transfer").map(|entry| entry.words().skip(1).collect::<Vec<_>>().join(" "));
                (origins(stanza.words(), server), from)
            }
            "etcd" => (origins(stanza.words(), server), first("endpoint")),
            "dynupdate" => (origins(stanza.words(), server), first("database").or(first("file"))),
            "nomad" => {
                let zone = if stanza.args.is_empty() { "service.nomad" } else { stanza.word(0) };
                (normalize_exact(zone), first("address"))
            }
            // `zone:hosted-zone-id`, `resource-group:zone`, `zone:project:hosted-zone`.
            "route53" | "clouddns" => (parts(stanza, 0), None),
            "azure" => (parts(stanza, 1), None),
            "grpc" => (
                normalize_exact(stanza.word(0)).into_iter().take(1).collect(),
                Some(stanza.word(1).to_owned()),
            ),
            _ => (vec![Name::root()], None),
        };
        Ok(Self {
            line: stanza.name.line,
            text: shown(stanza),
            zones,
            source: source.unwrap_or_default(),
            fallthrough: Fallthrough::read(stanza),
            plugin,
        })
    }

    /// True if the source may answer for the name.
    #[must_use]
    pub fn may_answer(&self, name: &Name) -> bool {
        self.zones.iter().any(|zone| name.is_at_or_below(zone))
    }
}

/// The stanza's text without the values of options that hold secrets.
fn shown(stanza: &Stanza) -> String {
    const SECRET: [&str; 4] = ["credentials", "token", "aws_access_key", "secret"];
    let mut shown = stanza.clone();
    for entry in &mut shown.entries {
        if SECRET.contains(&&*entry.name.text) {
            entry.args.clear();
        }
    }
    shown.text()
}

fn parts(stanza: &Stanza, at: usize) -> Vec<Name> {
    let zones = stanza.words().filter_map(|word| word.split(':').nth(at));
    zones.filter_map(|zone| Name::parse(zone).ok()).collect()
}

fn check(stanza: &Stanza, server: &[Name]) -> Result<(), CorefileError> {
    let fault = |token: &Token, message: &str| Err(invalid(token, message, "correct the stanza"));
    match &*stanza.name.text {
        "secondary" if !stanza.has("transfer") => fault(&stanza.name, "secondary needs 'transfer from'"),
        "auto" => {
            for entry in stanza.all("directory").filter(|entry| entry.args.len() > 1) {
                let groups = Pattern::compile(entry.word(1)).ok().and_then(|pattern| pattern.group_count());
                if entry.args.len() == 2 || groups == Some(0) {
                    return fault(&entry.name, "directory needs a pattern with a group and a template");
                }
            }
            Ok(())
        }
        "etcd" => {
            for entry in stanza.all("min-lease-ttl").chain(stanza.all("max-lease-ttl")) {
                let word = entry.word(0).trim();
                let known = word.is_empty() || seconds(word).is_some_and(|ns| ns >= 0);
                if !known {
                    return fault(&entry.name, "a lease TTL is a number of seconds or a duration");
                }
            }
            Ok(())
        }
        "route53" => colons(stanza, 2),
        "azure" => colons(stanza, 2),
        "clouddns" => colons(stanza, 3),
        "grpc" => grpc(stanza),
        "dynupdate" => dynupdate(stanza, server),
        _ => Ok(()),
    }
}

fn colons(stanza: &Stanza, wanted: usize) -> Result<(), CorefileError> {
    for (at, token) in stanza.args.iter().enumerate() {
        let parts: Vec<&str> = token.text.splitn(wanted, ':').collect();
        if parts.len() != wanted || parts.iter().any(|part| part.is_empty()) {
            return Err(invalid(
                token,
                format!("'{}' is no zone for {}", token.text, stanza.name.text),
                "add the parts",
            ));
        }
        if stanza.args[..at].iter().any(|other| other.text == token.text) {
            return Err(invalid(token, format!("'{}' stands twice", token.text), "remove one"));
        }
    }
    Ok(())
}

fn grpc(stanza: &Stanza) -> Result<(), CorefileError> {
    let from = stanza.args.first().unwrap_or(&stanza.name);
    if normalize_exact(&from.text).is_empty() {
        return Err(invalid(from, "grpc cannot use this zone", "write a zone such as ."));
    }
    for token in stanza.args.iter().skip(1) {
        if Kind::Target.check(&token.text).is_err() && !token.text.contains('/') {
            return Err(invalid(
                token,
                format!("'{}' is no address and no file", token.text),
                "write an IP address",
            ));
        }
    }
    if stanza.args.len() > 16 {
        return Err(invalid(&stanza.name, "grpc has more than 15 targets", "remove some"));
    }
    Ok(())
}

fn dynupdate(stanza: &Stanza, server: &[Name]) -> Result<(), CorefileError> {
    let fault = |token: &Token, message: &str| Err(invalid(token, message, "see the page of dynupdate"));
    for (at, entry) in stanza.entries.iter().enumerate() {
        let again = stanza.entries[..at].iter().any(|other| other.name.text == entry.name.text);
        if again && &*entry.name.text != "allow" {
            return fault(&entry.name, "the option is given twice");
        }
    }
    if !stanza.has("file") {
        return fault(&stanza.name, "dynupdate needs 'file'");
    }
    if !stanza.has("allow") {
        return fault(&stanza.name, "dynupdate needs 'allow'");
    }
    let zones = origins(stanza.words(), server);
    let [zone] = zones.as_slice() else { return fault(&stanza.name, "dynupdate serves exactly one zone") };
    for entry in stanza.all("allow") {
        if matches!(entry.word(0).trim(), "" | "*" | "@") {
            return fault(&entry.name, "allow needs the name of a TSIG key");
        }
        let inside = match entry.word(1) {
            "*" | "@" => true,
            name => Name::parse(name).is_ok_and(|name| name.is_at_or_below(zone)),
        };
        if !inside {
            return fault(&entry.name, "the name of allow lies outside the zone");
        }
        let star = entry.words().skip(2).any(|word| word == "*");
        let types = entry.words().skip(2).all(|word| {
            let upper = word.to_ascii_uppercase();
            let number =
                upper.strip_prefix("TYPE").is_some_and(|digits| digits.parse::<u16>().is_ok_and(|n| n > 0));
            word == "*" || number || rtype(&upper).is_some()
        });
        if !types || (star && entry.args.len() != 3) {
            return fault(&entry.name, "allow ends with record types or a single *");
        }
    }
    Ok(())
}
