//! All directives: which schema reads each, and what typed plugin comes out.
//!
//! Enters: a server block's tokens; leaves: [`Plugin`]s and faults. Deliberately absent: the order of plugins.

use truename_model::Name;

use super::diagnostic::{CorefileError, ErrorKind};
use super::evidence::{DNSTAP, DnstapTap, ERRORS, Errors, LOG, LogRule};
use super::forward::{CACHE, Cache, FORWARD, Forward};
use super::hosts::{HOSTS, Hosts};
use super::kubernetes::{K8S_EXTERNAL, K8sExternal, KUBERNETES, KubernetesOptions};
use super::order::{self, Version};
use super::parser::Block;
use super::policy::{
    ACL, AUTOPATH, Acl, Autopath, CHAOS, DNS64, DNSSEC, Dns64, HEADER, Header, LOADBALANCE, LoadBalance,
    TRANSFER, Transfer, VIEW, View,
};
use super::rewrite::{self, RewriteRule};
use super::schema::Take::{Lenient, Next, Nothing, Rest};
use super::schema::{Body, MANY, Schema, Setting, Stanza, invalid, option, option_since, read};
use super::template::{TEMPLATE, Template};
use super::value::{Kind, duration, is_name, rtype, split_port};
use super::zonedata::{self, ZoneData};

/// A plugin of a server block, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the types say it")]
pub enum Plugin {
    Acl(Acl),
    Autopath(Autopath),
    Cache(Cache),
    Dns64(Dns64),
    Dnstap(DnstapTap),
    Errors(Errors),
    Forward(Forward),
    Header(Header),
    Hosts(Hosts),
    K8sExternal(K8sExternal),
    Kubernetes(KubernetesOptions),
    LoadBalance(LoadBalance),
    Log(LogRule),
    Rewrite(RewriteRule),
    Template(Template),
    Transfer(Transfer),
    View(View),
    /// A source of answers outside the Corefile.
    ZoneData(ZoneData),
    /// A known plugin without a type of its own (ready, reload, loop, bufsize, minimal, any …), as read.
    Plain(Stanza),
}

impl Plugin {
    /// Line of the directive.
    #[must_use]
    pub fn line(&self) -> u32 {
        match self {
            Self::Acl(p) => p.line,
            Self::Autopath(p) => p.line,
            Self::Cache(p) => p.line,
            Self::Dns64(p) => p.line,
            Self::Dnstap(p) => p.line,
            Self::Errors(p) => p.line,
            Self::Forward(p) => p.line,
            Self::Header(p) => p.line,
            Self::Hosts(p) => p.line,
            Self::K8sExternal(p) => p.line,
            Self::Kubernetes(p) => p.line,
            Self::LoadBalance(p) => p.line,
            Self::Log(p) => p.line,
            Self::Rewrite(p) => p.line,
            Self::Template(p) => p.line,
            Self::Transfer(p) => p.line,
            Self::View(p) => p.line,
            Self::ZoneData(p) => p.line,
            Self::Plain(p) => p.name.line,
        }
    }

    /// Name of the directive.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Acl(_) => "acl",
            Self::Autopath(_) => "autopath",
            Self::Cache(_) => "cache",
            Self::Dns64(_) => "dns64",
            Self::Dnstap(_) => "dnstap",
            Self::Errors(_) => "errors",
            Self::Forward(_) => "forward",
            Self::Header(_) => "header",
            Self::Hosts(_) => "hosts",
            Self::K8sExternal(_) => "k8s_external",
            Self::Kubernetes(_) => "kubernetes",
            Self::LoadBalance(_) => "loadbalance",
            Self::Log(_) => "log",
            Self::Rewrite(_) => "rewrite",
            Self::Template(_) => "template",
            Self::Transfer(_) => "transfer",
            Self::View(_) => "view",
            Self::ZoneData(p) => &p.plugin,
            Self::Plain(p) => &p.name.text,
        }
    }
}

const ANY_DURATION: Kind = Kind::Duration(i64::MIN, i64::MAX);
const COUNT: Kind = Kind::Int(0, i64::MAX);
const LIMIT: Setting = option("max_connections", Rest(1, 1), &[COUNT]);
const STREAMS: Setting = option("max_streams", Rest(1, 1), &[COUNT]);
const TIMEOUT: &[Kind] = &[Kind::Seconds];

/// Directives of which only the form is checked.
const PLAIN: &[Schema] = &[
    Schema::new("any", (0, 0), &[], Body::None),
    Schema::new("minimal", (0, 0), &[], Body::Absent),
    Schema::new("loop", (0, 0), &[], Body::Absent).once(),
    Schema::new("debug", (0, 0), &[], Body::Absent),
    Schema::new("shed", (0, 0), &[], Body::None).once(),
    Schema::new("root", (1, 1), &[], Body::Absent),
    Schema::new("on", (1, MANY), &[], Body::Absent),
    Schema::new("nsid", (0, MANY), &[], Body::Absent).once(),
    Schema::new("bufsize", (0, 1), &[Kind::Int(512, 4096)], Body::Ignored),
    Schema::new("cancel", (0, 1), &[Kind::Duration(1, i64::MAX)], Body::Ignored),
    Schema::new("multisocket", (0, 1), &[Kind::Int(1, 1024)], Body::Absent).once(),
    Schema::new("metadata", (0, MANY), &[], Body::None).once(),
    Schema::new("reload", (0, 2), &[Kind::Duration(2_000_000_000, i64::MAX), ANY_DURATION], Body::Ignored),
    Schema::new(
        "ready",
        (0, 1),
        &[Kind::HostPort],
        Body::Options(&[option_since(
            Version(1, 12, 2),
            "monitor",
            Rest(1, 1),
            &[Kind::OneOf(&["until-ready", "continuously"])],
        )]),
    )
    .once(),
    Schema::new(
        "health",
        (0, 1),
        &[Kind::HostPort],
        Body::Options(&[option("lameduck", Rest(1, 1), &[ANY_DURATION])]),
    ),
    Schema::new(
        "prometheus",
        (0, 1),
        &[Kind::HostPort],
        Body::Options(&[
            option_since(Version(1, 14, 3), "runtime_metrics", Rest(0, 0), &[]),
            option_since(Version(1, 14, 3), "tls", Rest(1, 1), &[]),
        ]),
    )
    .once(),
    Schema::new(
        "pprof",
        (0, 1),
        &[Kind::HostPort],
        Body::Options(&[option("block", Rest(0, 1), &[Kind::Int(i64::MIN, i64::MAX)])]),
    )
    .once(),
    Schema::new("bind", (1, MANY), &[], Body::Options(&[option("except", Rest(1, MANY), &[])])),
    Schema::new(
        "local",
        (0, 0),
        &[],
        Body::Options(&[option_since(
            Version(1, 14, 5),
            "localhost_prefix",
            Rest(1, 1),
            &[Kind::OneOf(&["on", "off"])],
        )]),
    ),
    Schema::new("geoip", (1, 1), &[], Body::Options(&[option("edns-subnet", Nothing, &[])])).once(),
    Schema::new("grpc_server", (0, 0), &[], Body::Options(&[LIMIT, STREAMS])),
    Schema::new(
        "https",
        (0, 0),
        &[],
        Body::Options(&[
            LIMIT,
            option_since(Version(1, 15, 0), "max_streams", Rest(1, 1), &[Kind::Int(0, 0xffff_ffff)]),
        ]),
    ),
    Schema::new("https3", (0, 0), &[], Body::Options(&[LIMIT, STREAMS])),
    Schema::new(
        "quic",
        (0, 0),
        &[],
        Body::Options(&[
            option("max_streams", Rest(1, 1), &[Kind::Int(1, i64::MAX)]),
            option("worker_pool_size", Rest(1, 1), &[Kind::Int(1, i64::MAX)]),
            option_since(Version(1, 15, 0), "max_connections", Rest(1, 1), &[COUNT]),
        ]),
    ),
    Schema::new(
        "timeouts",
        (0, 0),
        &[],
        Body::Options(&[
            option("read", Rest(1, 1), TIMEOUT),
            option("write", Rest(1, 1), TIMEOUT),
            option("idle", Rest(1, 1), TIMEOUT),
            option("maxtcpqueries", Rest(1, 1), &[Kind::Int(-1, i64::MAX)]),
        ]),
    ),
    Schema::new(
        "proxyproto",
        (0, 0),
        &[],
        Body::Options(&[
            option("allow", Rest(0, MANY), &[Kind::Network]),
            option("default", Rest(1, 1), &[Kind::OneOfAnyCase(&["use", "ignore", "reject", "skip"])]),
            option_since(
                Version(1, 14, 3),
                "udp_session_tracking",
                Rest(1, 2),
                &[ANY_DURATION, Kind::Int(1, i64::MAX)],
            ),
            option_since(Version(1, 15, 0), "tlv_metadata", Rest(0, 0), &[]),
        ]),
    ),
    Schema::new(
        "siit",
        (0, 0),
        &[],
        Body::Options(&[
            option("ipv6_prefix", Next(1), &[Kind::Network]),
            option("eam", Rest(2, 2), &[Kind::Ip]),
        ]),
    ),
    Schema::new(
        "sign",
        (1, MANY),
        &[],
        Body::Options(&[option("key", Lenient(1), &[]), option("directory", Rest(1, 1), &[])]),
    ),
    Schema::new(
        "tls",
        (0, 3),
        &[],
        Body::Options(&[
            option(
                "client_auth",
                Rest(1, 1),
                &[Kind::OneOf(&["nocert", "request", "require", "verify_if_given", "require_and_verify"])],
            ),
            option_since(Version(1, 14, 3), "keylog", Rest(1, 1), &[]),
            option_since(Version(1, 14, 7), "acme", Rest(1, MANY), &[]),
            option_since(Version(1, 14, 7), "email", Rest(1, 1), &[]),
            option_since(Version(1, 14, 7), "ca", Rest(1, 1), &[]),
            option_since(Version(1, 14, 7), "storage", Rest(1, 1), &[]),
            option_since(Version(1, 14, 7), "ca_root", Rest(1, 1), &[]),
            option_since(Version(1, 14, 7), "resolver", Rest(1, 1), &[Kind::HostPort]),
        ]),
    ),
    Schema::new(
        "trace",
        (0, 2),
        &[],
        Body::Options(&[
            option("every", Rest(1, 1), &[COUNT]),
            option("service", Rest(1, 1), &[]),
            option(
                "client_server",
                Rest(0, 1),
                &[Kind::OneOf(&[
                    "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False",
                ])],
            ),
            option("datadog_analytics_rate", Rest(0, 1), &[Kind::Float(0.0)]),
            option("zipkin_max_backlog_size", Rest(1, 1), &[Kind::Int(i64::MIN, i64::MAX)]),
            option("zipkin_max_batch_size", Rest(1, 1), &[Kind::Int(i64::MIN, i64::MAX)]),
            option("zipkin_max_batch_interval", Rest(1, 1), &[ANY_DURATION]),
        ]),
    ),
    Schema::new(
        "tsig",
        (0, MANY),
        &[],
        Body::Options(&[
            option("secret", Rest(2, 2), &[]),
            option("secrets", Rest(1, 1), &[]),
            option("require", Rest(1, MANY), &[]),
            option_since(Version(1, 14, 3), "require_opcode", Rest(1, MANY), &[]),
        ]),
    )
    .once(),
];

const TYPED: &[&Schema] = &[
    &ACL,
    &AUTOPATH,
    &CACHE,
    &CHAOS,
    &DNS64,
    &DNSSEC,
    &DNSTAP,
    &ERRORS,
    &FORWARD,
    &HEADER,
    &HOSTS,
    &K8S_EXTERNAL,
    &KUBERNETES,
    &LOADBALANCE,
    &LOG,
    &TEMPLATE,
    &TRANSFER,
    &VIEW,
];

/// The schema of a directive; `None` for `rewrite`, which has a reader of its own, and for unknown directives.
#[must_use]
pub fn schema_of(name: &str) -> Option<&'static Schema> {
    let typed = TYPED.iter().copied().find(|schema| schema.name == name);
    typed.or_else(|| zonedata::SCHEMAS.iter().chain(PLAIN).find(|schema| schema.name == name))
}

/// Most patterns kept per server block: a compiled one takes up to 64 KiB.
const MAX_PATTERNS: usize = 2_048;

fn patterns(plugin: &Plugin) -> usize {
    match plugin {
        Plugin::Template(template) => template.patterns.len(),
        Plugin::Rewrite(rule) => rule.pattern_count(),
        Plugin::Errors(errors) => errors.consolidate.len(),
        _ => 0,
    }
}

/// Reads the plugins of a block; each fault is one at which CoreDNS of the version refuses to start.
#[must_use]
pub fn read_plugins(
    block: &Block,
    zones: &[Name],
    version: Version,
    faults: &mut Vec<CorefileError>,
) -> Vec<Plugin> {
    let mut plugins = Vec::new();
    let mut kept = 0usize;
    for (name, tokens) in &block.tokens {
        let Some(first) = tokens.first() else { continue };
        if order::position(name, version).is_none() {
            let message = if order::is_known(name) {
                format!("CoreDNS {version} has no plugin '{name}'")
            } else {
                format!("unknown directive '{name}'")
            };
            faults.push(invalid(first, message, "remove it or use a build that has it"));
            continue;
        }
        let (stanzas, fault) = match schema_of(name) {
            Some(schema) => read(schema, tokens, version),
            None => (rewrite::stanzas(tokens, version >= Version::NESTED_BLOCKS), None),
        };
        let mut fault = fault;
        for stanza in &stanzas {
            match plugin(name, stanza, zones, version) {
                Ok(plugin) => {
                    kept = kept.saturating_add(patterns(&plugin));
                    if kept > MAX_PATTERNS {
                        let message = format!("more than {MAX_PATTERNS} patterns in one server block");
                        let next_step = "the lines from here on are not judged";
                        faults.push(CorefileError::at(&stanza.name, ErrorKind::Bound, message, next_step));
                        break;
                    }
                    plugins.push(plugin);
                }
                Err(found) => {
                    fault = Some(fault.map_or(found.clone(), |first| first.min(found)));
                    break;
                }
            }
        }
        faults.extend(fault);
    }
    plugins
}

fn plugin(name: &str, stanza: &Stanza, zones: &[Name], version: Version) -> Result<Plugin, CorefileError> {
    Ok(match name {
        "acl" => Plugin::Acl(Acl::read(stanza, zones)?),
        "autopath" => Plugin::Autopath(Autopath::read(stanza, zones)),
        "cache" => Plugin::Cache(Cache::read(stanza, zones)?),
        "dns64" => Plugin::Dns64(Dns64::read(stanza)?),
        "dnstap" => Plugin::Dnstap(DnstapTap::read(stanza, version)?),
        "errors" => Plugin::Errors(Errors::read(stanza)?),
        "forward" => Plugin::Forward(Forward::read(stanza, version)?),
        "header" => Plugin::Header(Header::read(stanza, version)?),
        "hosts" => Plugin::Hosts(Hosts::read(stanza, zones, version)?),
        "k8s_external" => Plugin::K8sExternal(K8sExternal::read(stanza, zones)),
        "kubernetes" => Plugin::Kubernetes(KubernetesOptions::read(stanza, zones)?),
        "loadbalance" => Plugin::LoadBalance(LoadBalance::read(stanza)?),
        "log" => Plugin::Log(LogRule::read(stanza)),
        "rewrite" => Plugin::Rewrite(RewriteRule::read(stanza, version)?),
        "template" => Plugin::Template(Template::read(stanza, zones)?),
        "transfer" => Plugin::Transfer(Transfer::read(stanza, zones)?),
        "view" => Plugin::View(View::read(stanza)),
        _ if zonedata::SCHEMAS.iter().any(|schema| schema.name == name) => {
            Plugin::ZoneData(ZoneData::read(stanza, zones)?)
        }
        _ => {
            check_plain(name, stanza)?;
            Plugin::Plain(stanza.clone())
        }
    })
}

/// Rules of plain plugins that a table does not express.
fn check_plain(name: &str, stanza: &Stanza) -> Result<(), CorefileError> {
    let fault = |message: &str| Err(invalid(&stanza.name, message, "correct the stanza"));
    match name {
        "reload" => {
            let jitter = stanza.args.get(1).and_then(|token| duration(&token.text)).unwrap_or(0);
            if jitter != 0 && jitter < 1_000_000_000 {
                fault("the jitter is 0 or at least 1s")
            } else {
                Ok(())
            }
        }
        "timeouts" => timeouts(stanza),
        "dnssec" | "sign" => {
            let known = ["file", "directory", "aws_secretsmanager"];
            let bad = stanza.all("key").any(|entry| known.contains(&entry.word(0)) && entry.args.len() < 2);
            if bad { fault("key needs a file") } else { Ok(()) }
        }
        "quic" | "https" | "https3" | "grpc_server" => {
            let twice = ["max_connections", "max_streams", "worker_pool_size"]
                .iter()
                .any(|option| stanza.all(option).count() > 1);
            if twice { fault("an option is given twice") } else { Ok(()) }
        }
        "prometheus" if stanza.all("tls").count() > 1 => fault("tls is given twice"),
        "trace" => trace(stanza),
        "tls" => tls(stanza),
        "tsig" => tsig(stanza),
        "siit" => siit(stanza),
        _ => Ok(()),
    }
}

fn timeouts(stanza: &Stanza) -> Result<(), CorefileError> {
    if stanza.entries.is_empty() {
        return Err(invalid(&stanza.name, "timeouts sets no timeout", "add read, write or idle"));
    }
    for entry in &stanza.entries {
        let bad = if &*entry.name.text == "maxtcpqueries" {
            entry.word(0) == "0"
        } else {
            let ns = super::value::seconds(entry.word(0)).unwrap_or(0);
            !(1_000_000_000..=86_400_000_000_000).contains(&ns)
        };
        if bad {
            return Err(invalid(
                &entry.name,
                "the value is out of range",
                "write 1s to 24h, or -1 or more queries",
            ));
        }
    }
    Ok(())
}

fn trace(stanza: &Stanza) -> Result<(), CorefileError> {
    const PROVIDERS: [&str; 2] = ["zipkin", "datadog"];
    if stanza.args.len() == 2 && !PROVIDERS.iter().any(|one| one.eq_ignore_ascii_case(stanza.word(0))) {
        return Err(invalid(&stanza.args[0], "unknown kind of tracing endpoint", "write zipkin or datadog"));
    }
    for entry in stanza.all("datadog_analytics_rate") {
        if entry.word(0).parse::<f64>().is_ok_and(|rate| rate > 1.0) {
            return Err(invalid(&entry.name, "the rate is above 1", "write 0 to 1"));
        }
    }
    Ok(())
}

fn tls(stanza: &Stanza) -> Result<(), CorefileError> {
    let fault = |message: &str| Err(invalid(&stanza.name, message, "correct the stanza"));
    const ACME: [&str; 6] = ["acme", "email", "ca", "storage", "ca_root", "resolver"];
    if !stanza.args.is_empty() {
        let mixed = stanza.entries.iter().any(|entry| ACME.contains(&&*entry.name.text));
        return match stanza.args.len() {
            1 => fault("tls needs a certificate and a key"),
            _ if mixed => fault("options of ACME exclude certificate files"),
            _ => Ok(()),
        };
    }
    for (at, entry) in stanza.entries.iter().enumerate() {
        if !ACME.contains(&&*entry.name.text) {
            return fault("the option needs certificate files");
        }
        if stanza.entries[..at].iter().any(|other| other.name.text == entry.name.text) {
            return fault("an option is given twice");
        }
    }
    let Some(domains) = stanza.last("acme") else {
        return fault("tls needs certificate files or acme DOMAIN");
    };
    for domain in domains.words() {
        let host = domain.strip_prefix("*.").unwrap_or(domain);
        if !is_name(host) || host.contains('*') || host.parse::<std::net::IpAddr>().is_ok() {
            return fault("acme names no domain");
        }
    }
    let resolver = stanza.last("resolver").and_then(|entry| split_port(entry.word(0)));
    match resolver {
        Some((host, port))
            if host.is_empty() || port.parse::<u16>().ok().filter(|&port| port > 0).is_none() =>
        {
            fault("resolver is host:port")
        }
        _ => Ok(()),
    }
}

fn tsig(stanza: &Stanza) -> Result<(), CorefileError> {
    const OPCODES: [&str; 7] = ["all", "none", "QUERY", "IQUERY", "STATUS", "NOTIFY", "UPDATE"];
    let mut keys = std::collections::BTreeSet::new();
    for entry in &stanza.entries {
        let bad = match &*entry.name.text {
            "secret" => !keys.insert(entry.word(0).trim_end_matches('.').to_ascii_lowercase()),
            "require" if matches!(entry.word(0), "all" | "none") => false,
            "require" => entry.words().any(|word| rtype(word).is_none()),
            "require_opcode" => {
                !matches!(entry.word(0), "all" | "none") && entry.words().any(|word| !OPCODES.contains(&word))
            }
            _ => false,
        };
        if bad {
            let message = format!("tsig cannot use this '{}'", entry.name.text);
            return Err(invalid(&entry.name, message, "correct the line"));
        }
    }
    Ok(())
}

fn siit(stanza: &Stanza) -> Result<(), CorefileError> {
    for entry in &stanza.entries {
        let ok = if &*entry.name.text == "eam" {
            let (v4, v6) = (super::value::ip(entry.word(0)), super::value::ip(entry.word(1)));
            v4.is_some_and(|ip| ip.to_canonical().is_ipv4())
                && v6.is_some_and(|ip| ip.to_canonical().is_ipv6())
        } else {
            super::zone::parse_cidr(entry.word(0)).is_some_and(|(address, bits)| match address {
                std::net::IpAddr::V6(ip) => {
                    matches!(bits, 32 | 40 | 48 | 56 | 64 | 96) && ip.octets()[8] == 0
                }
                std::net::IpAddr::V4(_) => false,
            })
        };
        if !ok {
            return Err(invalid(&entry.name, "siit cannot use these addresses", "see the page of siit"));
        }
    }
    Ok(())
}
