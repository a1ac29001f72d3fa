//! One configured server: blocks with their plugins in the order of a version, and what surrounds them.
//!
//! Enters: a typed Corefile, [`Surroundings`]. Leaves: a [`Site`]. Deliberately absent: queries.

use std::collections::BTreeMap;
use std::net::IpAddr;

use truename_model::Name;

use super::message::{Ask, Reply};
use super::zones::Zone;
use crate::corefile::forward::{Cache, Forward, Upstream as Place};
use crate::corefile::hosts::Hosts;
use crate::corefile::kubernetes::K8sExternal;
use crate::corefile::policy::{Acl, Autopath, Dns64, Header, Transfer, View as Viewer};
use crate::corefile::rewrite::RewriteRule;
use crate::corefile::template::Template;
use crate::corefile::zonedata::ZoneData;
use crate::corefile::{Corefile, Plugin, ServerBlock, Stanza, Transport, Version, order};
use crate::truth::options::{Era, Options};

/// Servers that the site forwards to.
pub trait Upstream {
    /// The answer of the server at an address and port; `None`: there is none.
    ///
    /// # Errors
    /// Why that cannot be told.
    fn exchange(&self, server: (IpAddr, u16), ask: &Ask) -> Result<Option<Reply>, String>;
}

/// `/etc/resolv.conf` of the server itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolv {
    /// Name servers.
    pub servers: Vec<IpAddr>,
    /// Search list.
    pub search: Vec<Name>,
}

impl Resolv {
    /// Reads the file; of several search lines the last counts.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut out = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    out.servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()))
                }
                Some("search") => out.search = words.filter_map(|word| Name::parse(word).ok()).collect(),
                Some("domain") => {
                    out.search = words.take(1).filter_map(|word| Name::parse(word).ok()).collect()
                }
                _ => {}
            }
        }
        out
    }
}

/// Directives that configure the server and see no query.
const SILENT: [&str; 19] = [
    "root",
    "tls",
    "proxyproto",
    "quic",
    "grpc_server",
    "https",
    "https3",
    "timeouts",
    "multisocket",
    "reload",
    "bind",
    "debug",
    "ready",
    "health",
    "pprof",
    "on",
    "startup",
    "shutdown",
    "require_opcode",
];

/// What surrounds a server.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Its own addresses; `None`: not known.
    pub own: Option<Vec<IpAddr>>,
    /// Its resolv.conf.
    pub resolv: Resolv,
    /// The search list in there is known.
    pub knows_search: bool,
    /// It had seen the objects when it began to serve; `None`: not told, which only matters where a version never does.
    pub synced: Option<bool>,
    /// Files beside the Corefile.
    pub files: BTreeMap<String, String>,
}

/// A plugin that takes part in answers.
pub(super) enum Handler<'c> {
    Acl(Vec<&'c Acl>),
    Any(u32),
    Autopath(&'c Autopath),
    Cache(&'c Cache),
    Chaos(&'c Stanza),
    Dns64(&'c Dns64),
    /// Its answers lie elsewhere.
    Elsewhere(&'c ZoneData),
    External(&'c K8sExternal),
    File(Vec<(Name, Option<Zone>)>, &'c ZoneData),
    Forward(&'c Forward),
    Header(&'c Header),
    Hosts(Box<Hosts>),
    Kubernetes(Box<Options>, u32),
    Local(bool, u32),
    Minimal(u32),
    Rewrite(Vec<&'c RewriteRule>),
    Template(Vec<&'c Template>),
    Transfer(Vec<&'c Transfer>),
    Whoami(u32),
    /// A plugin that this version of the model does not follow.
    Unknown(String),
}

/// A server block.
pub(super) struct Block<'c> {
    pub(super) zones: Vec<Name>,
    pub(super) view: Option<&'c Viewer>,
    pub(super) metadata: bool,
    /// It has any plugin at all that sees queries.
    pub(super) chained: bool,
    /// A plugin that only passes queries on stands behind `file`.
    pub(super) tail: bool,
    /// `loadbalance` stands in it, which looks into every message.
    pub(super) balanced: bool,
    pub(super) handlers: Vec<Handler<'c>>,
    pub(super) number: usize,
}

impl Block<'_> {
    pub(super) fn kubernetes(&self) -> Option<&Options> {
        self.handlers.iter().find_map(|handler| match handler {
            Handler::Kubernetes(options, _) => Some(&**options),
            _ => None,
        })
    }
}

/// A configured server on one port.
pub struct Site<'c> {
    /// Version.
    pub version: Version,
    pub(super) era: Era,
    pub(super) blocks: Vec<Block<'c>>,
    /// Other classes than IN are served.
    pub(super) any_class: bool,
    pub(super) around: Surroundings,
    pub(super) upstream: &'c dyn Upstream,
}

impl<'c> Site<'c> {
    /// The server that answers plain DNS on `port`.
    #[must_use]
    pub fn new(
        corefile: &'c Corefile,
        version: Version,
        port: u16,
        around: Surroundings,
        upstream: &'c dyn Upstream,
    ) -> Self {
        let mut site = Self {
            version,
            era: Era::of(Some(&version.to_string())),
            blocks: Vec::new(),
            any_class: false,
            around,
            upstream,
        };
        for server in &corefile.servers {
            let keys = server.keys.iter().filter(|key| key.port == port && key.transport == Transport::Dns);
            let zones: Vec<Name> = keys.flat_map(|key| key.zones.iter().cloned()).collect();
            if zones.is_empty() {
                continue;
            }
            site.any_class |= server.has("chaos") || server.has("forward");
            let number = site.blocks.len();
            let block = site.block(server, zones, number);
            site.blocks.push(block);
        }
        site
    }

    /// The plugins that take part in answers, by name.
    #[must_use]
    pub fn plugins(&self) -> Vec<&'static str> {
        let mut names: Vec<&'static str> =
            self.blocks.iter().flat_map(|block| &block.handlers).map(Handler::name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn block(&self, server: &'c ServerBlock, zones: Vec<Name>, number: usize) -> Block<'c> {
        let mut plugins: Vec<(usize, &Plugin)> = server
            .plugins
            .iter()
            .filter_map(|plugin| Some((order::position(plugin.name(), self.version)?, plugin)))
            .collect();
        plugins.sort_by_key(|(position, _)| *position);
        let mut handlers: Vec<Handler<'c>> = Vec::new();
        let mut view = None;
        for (_, plugin) in plugins {
            if let Plugin::View(found) = plugin {
                view = Some(found);
                continue;
            }
            let Some(next) = self.handler(plugin) else { continue };
            match (handlers.last_mut(), next) {
                (Some(Handler::Rewrite(rules)), Handler::Rewrite(more)) => rules.extend(more),
                (Some(Handler::Template(list)), Handler::Template(more)) => list.extend(more),
                (Some(Handler::Acl(list)), Handler::Acl(more)) => list.extend(more),
                (Some(Handler::Transfer(list)), Handler::Transfer(more)) => list.extend(more),
                (Some(Handler::File(list, _)), Handler::File(more, _)) => list.extend(more),
                (_, next) => handlers.push(next),
            }
        }
        let chained = server.directives.iter().any(|of| !SILENT.contains(&of.name.as_str()));
        let tail = ["loop", "auto", "secondary", "etcd", "grpc", "erratic", "on", "sign", "view", "nomad"];
        let tail = tail.iter().any(|name| server.has(name));
        let (metadata, balanced) = (server.has("metadata"), server.has("loadbalance"));
        Block { zones, view, metadata, chained, tail, balanced, handlers, number }
    }

    fn handler(&self, plugin: &'c Plugin) -> Option<Handler<'c>> {
        Some(match plugin {
            Plugin::Acl(acl) => Handler::Acl(vec![acl]),
            Plugin::Autopath(autopath) => Handler::Autopath(autopath),
            Plugin::Cache(cache) => Handler::Cache(cache),
            Plugin::Dns64(dns64) => Handler::Dns64(dns64),
            Plugin::Forward(forward) => Handler::Forward(forward),
            Plugin::Header(header) => Handler::Header(header),
            Plugin::Hosts(hosts) => Handler::Hosts(Box::new(self.hosts(hosts))),
            Plugin::K8sExternal(external) => Handler::External(external),
            Plugin::Kubernetes(stanza) => {
                let mut options = Options::of(stanza);
                options.local_ips = self.around.own.clone();
                Handler::Kubernetes(Box::new(options), stanza.line)
            }
            Plugin::Rewrite(rule) => Handler::Rewrite(vec![rule]),
            Plugin::Template(template) => Handler::Template(vec![template]),
            Plugin::Transfer(transfer) => Handler::Transfer(vec![transfer]),
            Plugin::ZoneData(data) => self.data(data),
            Plugin::Plain(stanza) => return plain(stanza),
            Plugin::Dnstap(_)
            | Plugin::Errors(_)
            | Plugin::LoadBalance(_)
            | Plugin::Log(_)
            | Plugin::View(_) => {
                return None;
            }
        })
    }

    fn hosts(&self, hosts: &Hosts) -> Hosts {
        let mut hosts = hosts.clone();
        if let Some(text) = self.around.files.get(&hosts.path) {
            hosts.add_file(text);
        }
        hosts
    }

    fn data(&self, data: &'c ZoneData) -> Handler<'c> {
        match data.plugin.as_str() {
            "file" => {
                let text = self.around.files.get(&data.source);
                let zone = |origin: &Name| (origin.clone(), text.and_then(|text| Zone::read(text, origin)));
                match text {
                    Some(_) => Handler::File(data.zones.iter().map(zone).collect(), data),
                    None => Handler::Elsewhere(data),
                }
            }
            "whoami" => Handler::Whoami(data.line),
            _ => Handler::Elsewhere(data),
        }
    }

    /// Addresses and ports of the targets of `forward`; an error if one cannot be told.
    pub(super) fn targets(&self, forward: &Forward) -> Result<Vec<(IpAddr, u16)>, String> {
        let mut out = Vec::new();
        for target in &forward.targets {
            match &target.upstream {
                _ if target.transport != Transport::Dns => {
                    return Err(format!("forward to {}", target.token.text));
                }
                Place::Address(ip) => out.push((*ip, target.port)),
                Place::File(path) if path == "/etc/resolv.conf" => {
                    out.extend(self.around.resolv.servers.iter().map(|ip| (*ip, 53)));
                }
                Place::File(path) => match self.around.files.get(path) {
                    Some(text) => out.extend(Resolv::read(text).servers.into_iter().map(|ip| (ip, 53))),
                    None => return Err(format!("forward to the servers of {path}")),
                },
                Place::Host(name) | Place::Socket(name) => return Err(format!("forward to {name}")),
            }
        }
        Ok(out)
    }
}

impl Handler<'_> {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Acl(_) => "acl",
            Self::Any(_) => "any",
            Self::Autopath(_) => "autopath",
            Self::Cache(_) => "cache",
            Self::Chaos(_) => "chaos",
            Self::Dns64(_) => "dns64",
            Self::Elsewhere(_) => "elsewhere",
            Self::External(_) => "k8s_external",
            Self::File(..) => "file",
            Self::Forward(_) => "forward",
            Self::Header(_) => "header",
            Self::Hosts(_) => "hosts",
            Self::Kubernetes(..) => "kubernetes",
            Self::Local(..) => "local",
            Self::Minimal(_) => "minimal",
            Self::Rewrite(_) => "rewrite",
            Self::Template(_) => "template",
            Self::Transfer(_) => "transfer",
            Self::Whoami(_) => "whoami",
            Self::Unknown(_) => "unknown",
        }
    }
}

fn plain(stanza: &Stanza) -> Option<Handler<'_>> {
    let line = stanza.name.line;
    Some(match &*stanza.name.text {
        "any" => Handler::Any(line),
        "minimal" => Handler::Minimal(line),
        "chaos" => Handler::Chaos(stanza),
        "local" => {
            let prefix = stanza.last("localhost_prefix").is_none_or(|entry| entry.word(0) != "off");
            Handler::Local(prefix, line)
        }
        other @ ("dnssec" | "sign" | "siit" | "tsig" | "erratic") => Handler::Unknown(other.to_owned()),
        _ => return None,
    })
}
