//! The `forward` and `cache` plugins: what is asked upstream, and how long an answer is repeated.
//!
//! Enters: a stanza; leaves: targets, exceptions, lifetimes. Deliberately absent: what upstream answers.

use std::net::IpAddr;

use truename_model::{Name, Rcode};

use super::diagnostic::CorefileError;
use super::kubernetes::origins;
use super::lexer::Token;
use super::order::Version;
use super::schema::Take::{Lenient, Next, Rest};
use super::schema::{Body, MANY, Schema, Setting, Stanza, invalid, option, option_since};
use super::value::{Kind, duration, ip, is_name, rcode, split_port};
use super::zone::{Transport, normalize_exact};

/// One second in nanoseconds.
const SECOND: i64 = 1_000_000_000;
const ANY_DURATION: Kind = Kind::Duration(i64::MIN, i64::MAX);
const POSITIVE: Kind = Kind::Duration(0, i64::MAX);
const ANY_INT: Kind = Kind::Int(i64::MIN, i64::MAX);
const COUNT: Kind = Kind::Int(0, i64::MAX);

const FORWARD_OPTIONS: &[Setting] = &[
    option("except", Rest(1, MANY), &[]),
    option("max_fails", Next(1), &[Kind::Unsigned]),
    option_since(Version(1, 13, 2), "max_connect_attempts", Next(1), &[Kind::Unsigned]),
    option("health_check", Rest(1, MANY), &[POSITIVE, Kind::Any]),
    option("force_tcp", Rest(0, 0), &[]),
    option("prefer_udp", Rest(0, 0), &[]),
    option("tls", Rest(0, 3), &[]),
    option("tls_servername", Next(1), &[]),
    option("expire", Next(1), &[POSITIVE]),
    option_since(Version(1, 14, 3), "max_age", Next(1), &[POSITIVE]),
    option_since(Version(1, 14, 1), "max_idle_conns", Next(1), &[COUNT]),
    option_since(Version(1, 14, 5), "read_timeout", Next(1), &[Kind::Duration(1, i64::MAX)]),
    option_since(Version(1, 14, 5), "doh_method", Next(1), &[Kind::OneOf(&["POST", "GET"])]),
    option("policy", Next(1), &[Kind::OneOf(&["random", "round_robin", "sequential"])]),
    option("max_concurrent", Next(1), &[COUNT]),
    option_since(Version(1, 11, 4), "next", Rest(1, MANY), &[Kind::Rcode]),
    option_since(Version(1, 14, 4), "next_on_nodata", Rest(0, 0), &[]),
    option_since(Version(1, 12, 1), "failfast_all_unhealthy_upstreams", Rest(0, 0), &[]),
    option_since(Version(1, 13, 0), "failover", Rest(1, MANY), &[Kind::Rcode]),
    option_since(Version(1, 14, 4), "resolver", Rest(1, MANY), &[Kind::Target]),
    option_since(Version(1, 14, 6), "source_address", Next(1), &[Kind::Ip]),
];

/// How `forward` is written.
pub const FORWARD: Schema = Schema::new("forward", (2, MANY), &[], Body::Options(FORWARD_OPTIONS));

/// Where an upstream lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Upstream {
    /// A fixed address.
    Address(IpAddr),
    /// The servers of a file such as `/etc/resolv.conf`, unknown to a reader of the Corefile.
    File(String),
    /// A host name that CoreDNS resolves when it starts (1.14.4 and later).
    Host(String),
    /// A Unix socket.
    Socket(String),
}

/// A target of `forward`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The word, with its place.
    pub token: Token,
    /// How it is reached.
    pub transport: Transport,
    /// Where it lives.
    pub upstream: Upstream,
    /// Port.
    pub port: u16,
    /// TLS server name (`%name` after the address).
    pub server_name: Option<String>,
}

/// A `forward` stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Line of the directive.
    pub line: u32,
    /// Names at or below it are forwarded.
    pub from: Name,
    /// Targets in file order.
    pub targets: Vec<Target>,
    /// Zones that are not forwarded.
    pub except: Vec<Name>,
    /// `policy`: `random` unless set.
    pub policy: String,
    /// Always TCP.
    pub force_tcp: bool,
    /// UDP first even for queries over TCP.
    pub prefer_udp: bool,
    /// TLS server name for all targets.
    pub tls_servername: Option<String>,
    /// `max_concurrent`; 0: no limit.
    pub max_concurrent: i64,
    /// `max_fails`; 2 unless set.
    pub max_fails: u32,
    /// `max_age` of a connection, nanoseconds; 0: none.
    pub max_age: i64,
    /// Response codes after which the next plugin is asked.
    pub next: Vec<Rcode>,
    /// Response codes after which another target is asked.
    pub failover: Vec<Rcode>,
}

impl Forward {
    /// Reads a stanza.
    ///
    /// # Errors
    /// The fault at which CoreDNS of the version refuses to start.
    pub fn read(stanza: &Stanza, version: Version) -> Result<Self, CorefileError> {
        let word = |name: &str| stanza.last(name).map(|entry| entry.word(0));
        let codes = |name: &str| stanza.all(name).flat_map(|entry| entry.words().filter_map(rcode)).collect();
        let from_token = stanza.args.first().unwrap_or(&stanza.name);
        let Some(from) = normalize_exact(&from_token.text).into_iter().next() else {
            return Err(invalid(from_token, "forward cannot use this zone", "write a zone such as ."));
        };
        let targets =
            stanza.args.iter().skip(1).map(|token| target(token, version)).collect::<Result<_, _>>()?;
        let forward = Self {
            line: stanza.name.line,
            from,
            targets,
            except: stanza.all("except").flat_map(|entry| entry.words().flat_map(normalize_exact)).collect(),
            policy: word("policy").unwrap_or("random").to_owned(),
            force_tcp: stanza.has("force_tcp"),
            prefer_udp: stanza.has("prefer_udp"),
            tls_servername: word("tls_servername").map(str::to_owned),
            max_concurrent: word("max_concurrent").and_then(|text| text.parse().ok()).unwrap_or(0),
            max_fails: word("max_fails").and_then(|text| text.parse().ok()).unwrap_or(2),
            max_age: word("max_age").and_then(duration).unwrap_or(0),
            next: codes("next"),
            failover: codes("failover"),
        };
        forward.check(stanza)?;
        Ok(forward)
    }

    fn check(&self, stanza: &Stanza) -> Result<(), CorefileError> {
        let expire = stanza.last("expire").and_then(|entry| duration(entry.word(0))).unwrap_or(10 * SECOND);
        if self.max_age > 0 && self.max_age < expire {
            return Err(invalid(&stanza.name, "max_age is shorter than expire", "raise max_age"));
        }
        if self.targets.len() > 15 {
            let message = format!("forward has {} targets, more than 15", self.targets.len());
            return Err(invalid(&stanza.name, message, "remove some"));
        }
        if self.failover.contains(&Rcode::NOERROR) {
            return Err(invalid(&stanza.name, "failover cannot name NOERROR", "remove it"));
        }
        let twice = |target: &&Target| {
            matches!(target.transport, Transport::Tls | Transport::Quic) && target.server_name.is_some()
        };
        if let Some(target) = self.targets.iter().find(twice)
            && self.tls_servername.is_some()
        {
            let message = "the TLS server name is given twice";
            return Err(invalid(&target.token, message, "remove tls_servername or the %name"));
        }
        for entry in stanza.all("health_check") {
            check_health(entry.args.get(1..).unwrap_or_default())?;
        }
        Ok(())
    }

    /// True if a query for `name` is sent upstream by this stanza.
    #[must_use]
    pub fn takes(&self, name: &Name) -> bool {
        name.is_at_or_below(&self.from) && !self.except.iter().any(|zone| name.is_at_or_below(zone))
    }
}

fn check_health(options: &[Token]) -> Result<(), CorefileError> {
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match &*option.text {
            "no_rec" => {}
            "domain" => {
                let name = options.next().filter(|token| is_name(&token.text));
                if name.is_none() {
                    return Err(invalid(option, "domain needs a domain name", "add it"));
                }
            }
            other => {
                let message = format!("health_check has no option '{other}'");
                return Err(invalid(option, message, "use no_rec or domain NAME"));
            }
        }
    }
    Ok(())
}

/// Cuts `%server-name` out of `scheme://host%server-name:port`.
fn split_server_name(word: &str) -> (String, Option<String>) {
    let Some((host, zone)) = word.rsplit_once('%') else { return (word.to_owned(), None) };
    let bracket = if host.contains('[') && !host.ends_with(']') { "]" } else { "" };
    match zone.rsplit_once(':') {
        Some((name, port)) => {
            (format!("{host}{bracket}:{port}"), Some(name.trim_end_matches(']').to_owned()))
        }
        None => (format!("{host}{bracket}"), Some(zone.trim_end_matches(']').to_owned())),
    }
}

/// Reads a target of `forward` or `grpc`.
///
/// # Errors
/// The fault at which CoreDNS refuses the word.
pub fn target(token: &Token, version: Version) -> Result<Target, CorefileError> {
    let fault =
        |message: String| invalid(token, message, "write an IP address, a file, or (1.14.4 on) a host name");
    let (clean, server_name) = split_server_name(&token.text);
    let (transport, rest) = Transport::split(&clean);
    if rest.is_empty() {
        return Err(fault(format!("'{}' has no address", token.text)));
    }
    let done = |upstream: Upstream, port: u16| {
        let server_name = server_name.clone().filter(|name| !name.is_empty());
        Ok(Target { token: token.clone(), transport, upstream, port, server_name })
    };
    match transport {
        Transport::Unix => return done(Upstream::Socket(rest.to_owned()), 0),
        Transport::Https if rest.contains('/') => {
            return Err(fault("an HTTPS target has no path, /dns-query is implied".to_owned()));
        }
        Transport::Https3 | Transport::Grpc => {
            return Err(fault(format!("forward cannot use the protocol of '{}'", token.text)));
        }
        Transport::Quic | Transport::Https if version < Version(1, 14, 5) => {
            return Err(fault(format!("forward cannot use the protocol of '{}' before 1.14.5", token.text)));
        }
        _ => {}
    }
    let (host, port) = match split_port(rest) {
        Some((host, port)) => (host, port.parse().map_err(|_| fault(format!("'{port}' is no port")))?),
        None => (rest.trim_matches(['[', ']']), transport.default_port()),
    };
    if let Some(address) = ip(host) {
        return done(Upstream::Address(address), port);
    }
    if rest.contains('/') || (version < Version(1, 14, 4) && !rest.contains(':')) {
        return done(Upstream::File(rest.to_owned()), port);
    }
    if version >= Version(1, 14, 4) && is_name(host) {
        return done(Upstream::Host(host.to_owned()), port);
    }
    Err(fault(format!("'{}' is no address", token.text)))
}

/// How `cache` is written.
pub const CACHE: Schema = Schema::new(
    "cache",
    (0, MANY),
    &[],
    Body::Options(&[
        option("success", Lenient(1), &[ANY_INT, Kind::Int(1, i64::MAX), COUNT, Kind::Any]),
        option("denial", Lenient(1), &[ANY_INT, Kind::Int(1, i64::MAX), COUNT, Kind::Any]),
        option("prefetch", Rest(1, 3), &[COUNT, ANY_DURATION, Kind::Percent(10, 90)]),
        option(
            "serve_stale",
            Rest(0, 5),
            &[POSITIVE, Kind::OneOfAnyCase(&["immediate", "verify"]), Kind::Any],
        ),
        option_since(
            Version(1, 14, 7),
            "serve_stale_policy",
            Rest(1, 1),
            &[Kind::OneOfAnyCase(&["prefer_positive"])],
        ),
        option_since(Version(1, 9, 4), "servfail", Rest(1, 1), &[Kind::Duration(0, 300 * SECOND)]),
        option_since(
            Version(1, 9, 4),
            "disable",
            Lenient(1),
            &[Kind::OneOf(&["success", "denial"]), Kind::Any],
        ),
        option_since(Version(1, 10, 1), "keepttl", Rest(0, 0), &[]),
    ]),
)
.once();

/// `serve_stale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeStale {
    /// How long past its TTL an answer may be served, nanoseconds.
    pub up_to: i64,
    /// Upstream is asked first (`verify`).
    pub verify: bool,
    /// TTL of a stale answer, nanoseconds.
    pub ttl: i64,
}

/// A `cache` stanza. Lifetimes in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Line of the directive.
    pub line: u32,
    /// Zones that are cached.
    pub zones: Vec<Name>,
    /// Longest and shortest lifetime of a positive answer.
    pub success: (i64, i64),
    /// Longest and shortest lifetime of a denial.
    pub denial: (i64, i64),
    /// Lifetime of a server failure.
    pub servfail: i64,
    /// Prefetch after so many hits; 0: off.
    pub prefetch: i64,
    /// Stale answers, if any.
    pub stale: Option<ServeStale>,
    /// TTLs of answers are not counted down.
    pub keepttl: bool,
    /// Zones whose positive answers are not cached.
    pub no_success: Vec<Name>,
    /// Zones whose denials are not cached.
    pub no_denial: Vec<Name>,
}

impl Cache {
    /// Reads a stanza whose block serves `server` zones.
    ///
    /// # Errors
    /// The fault at which CoreDNS refuses to start.
    pub fn read(stanza: &Stanza, server: &[Name]) -> Result<Self, CorefileError> {
        let (mut success, mut denial) = ((3600 * SECOND, 5 * SECOND), (1800 * SECOND, 5 * SECOND));
        let mut words = stanza.args.as_slice();
        if let [first, rest @ ..] = words
            && let Ok(ttl) = first.text.parse::<i64>()
        {
            if ttl <= 0 {
                return Err(invalid(first, "the cache TTL must be above zero", "write seconds from 1"));
            }
            (success.0, denial.0) = (ttl.saturating_mul(SECOND), ttl.saturating_mul(SECOND));
            words = rest;
        }
        lifetimes(stanza, "success", &mut success);
        lifetimes(stanza, "denial", &mut denial);
        if stanza.has("serve_stale_policy") && !stanza.has("serve_stale") {
            return Err(invalid(&stanza.name, "serve_stale_policy needs serve_stale", "add serve_stale"));
        }
        if stanza.all("serve_stale_policy").count() > 1 {
            return Err(invalid(&stanza.name, "serve_stale_policy is given twice", "remove one"));
        }
        Ok(Self {
            line: stanza.name.line,
            zones: origins(words.iter().map(|token| &*token.text), server),
            success,
            denial,
            servfail: stanza.last("servfail").and_then(|entry| duration(entry.word(0))).unwrap_or(5 * SECOND),
            prefetch: stanza.last("prefetch").and_then(|entry| entry.word(0).parse().ok()).unwrap_or(0),
            stale: stale(stanza)?,
            keepttl: stanza.has("keepttl"),
            no_success: disabled(stanza, "success"),
            no_denial: disabled(stanza, "denial"),
        })
    }

    /// True if answers for `name` may come from the cache.
    #[must_use]
    pub fn holds(&self, name: &Name) -> bool {
        self.zones.iter().any(|zone| name.is_at_or_below(zone))
    }
}

fn lifetimes(stanza: &Stanza, option: &str, pair: &mut (i64, i64)) {
    for entry in stanza.all(option) {
        let seconds = |at: usize| entry.word(at).parse::<i64>().ok().map(|secs| secs.saturating_mul(SECOND));
        pair.0 = seconds(1).unwrap_or(pair.0);
        pair.1 = seconds(2).unwrap_or(pair.1);
    }
}

fn disabled(stanza: &Stanza, which: &str) -> Vec<Name> {
    let Some(entry) = stanza.all("disable").filter(|entry| entry.word(0) == which).last() else {
        return Vec::new();
    };
    if entry.args.len() == 1 {
        return vec![Name::root()];
    }
    entry.words().skip(1).filter_map(|word| Name::parse(word).ok()).collect()
}

fn stale(stanza: &Stanza) -> Result<Option<ServeStale>, CorefileError> {
    let mut found = None;
    for entry in stanza.all("serve_stale") {
        let verify = entry.word(1).eq_ignore_ascii_case("verify");
        let part = |at: usize, whole: bool, most: i64| match entry.args.get(at) {
            None => Ok(0),
            Some(token) => match duration(&token.text) {
                Some(ns) if (0..=most).contains(&ns) && (!whole || ns % SECOND == 0) => Ok(ns),
                _ => Err(invalid(token, format!("serve_stale cannot use '{}'", token.text), "write seconds")),
            },
        };
        // verify has a timeout in front of the response TTL and the recheck interval.
        let at = if verify { 3 } else { 2 };
        if verify {
            part(2, false, i64::MAX)?;
        } else if let Some(extra) = entry.args.get(4) {
            return Err(invalid(extra, "serve_stale has too many words", "remove the last"));
        }
        let ttl = part(at, true, SECOND.saturating_mul(i64::from(u32::MAX)))?;
        part(at + 1, false, 300 * SECOND)?;
        let up_to = entry.args.first().and_then(|token| duration(&token.text)).unwrap_or(3600 * SECOND);
        found = Some(ServeStale { up_to, verify, ttl });
    }
    Ok(found)
}
