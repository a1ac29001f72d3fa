//! The Corefiles as the model uses them: per version and server block, the kubernetes plugin and what stands before it.
//!
//! Enters: the texts of [`CorefileHistory`]. Leaves: [`Setup`]s, and the line that explains an answer which the objects
//! do not give: a hosts entry, a template, a rewrite, autopath, dns64, an acl. Deliberately absent: plugins behind
//! kubernetes; what falls through is the caller's provenance.

use std::net::{IpAddr, Ipv4Addr};

use truename_model::name::Name;
use truename_model::object::ObjectRef;
use truename_model::rr::{Question, Rcode, Rdata, Record, Rtype};
use truename_model::verdict::Explanation;

use super::compare::Seen;
use super::options::Options;
use crate::corefile::hosts::HostsAnswer;
use crate::corefile::order::is_known;
use crate::corefile::policy::{AclAction, Dns64};
use crate::corefile::rewrite::{Action, Applied, Mode, RewriteRule};
use crate::corefile::template::TemplateAnswer;
use crate::corefile::{Corefile, Env, Plugin, ServerBlock, Transport, parse, server_for};
use crate::history::{CorefileHistory, CorefileVersion, Line, Map};

/// Most rewrite rules followed for one question.
const MAX_REWRITES: usize = 16;
const SECOND: i64 = truename_model::time::SECOND;

/// The kubernetes plugin of one configuration.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Options.
    pub options: Options,
    /// Read in a Corefile rather than assumed.
    pub known: bool,
    /// Longest extra age by `serve_stale`, nanoseconds.
    pub stale_ns: i64,
    /// Least TTL that a cache in the block gives, seconds.
    pub cache_floor: u32,
    /// Caches count TTLs down, and nothing else changes them.
    pub counts_down: bool,
}

impl Setup {
    /// Options that no Corefile tells.
    #[must_use]
    pub fn assumed(options: Options, known: bool) -> Self {
        Self { options, known, stale_ns: 0, cache_floor: 0, counts_down: true }
    }

    fn of_block(block: &ServerBlock) -> Option<Self> {
        let options = Options::of(block.kubernetes()?);
        let mut setup = Self::assumed(options, true);
        for plugin in &block.plugins {
            if let Plugin::Cache(cache) = plugin {
                // A cache raises TTLs below its minimum already on the miss (`coredns-1.15` §4).
                let floor = u32::try_from(cache.success.1 / SECOND).unwrap_or(0);
                setup.cache_floor = setup.cache_floor.max(floor);
                setup.stale_ns = setup.stale_ns.max(cache.stale.map_or(0, |stale| stale.up_to));
                setup.counts_down &= !cache.keepttl;
            }
            let changes =
                matches!(plugin, Plugin::Rewrite(rule) if matches!(rule.action, Action::Ttl { .. }));
            setup.counts_down &= !changes && !matches!(plugin, Plugin::Autopath(_));
        }
        Some(setup)
    }
}

/// One server block.
#[derive(Debug)]
pub struct Block {
    /// As parsed.
    pub server: ServerBlock,
    /// Its kubernetes plugin.
    pub setup: Option<Setup>,
}

/// One version of the Corefile.
#[derive(Debug)]
pub struct Config {
    /// The ConfigMap version.
    pub config: ObjectRef,
    text: std::sync::Arc<str>,
    // Where each line of the text stands, and the map that was imported, if one was.
    lines: Option<std::sync::Arc<[Line]>>,
    imported: Option<ObjectRef>,
    port: u16,
    corefile: Option<Corefile>,
    blocks: Vec<Block>,
}

impl Config {
    /// Reads every version of a history.
    #[must_use]
    pub fn read_all(corefiles: &CorefileHistory) -> Vec<Self> {
        corefiles.versions().iter().map(Self::read).collect()
    }

    fn read(version: &CorefileVersion) -> Self {
        let corefile = parse(&version.text, &Env::default()).ok();
        let servers = corefile.as_ref().map_or(&[][..], |corefile| &corefile.servers);
        let plain =
            servers.iter().flat_map(|server| &server.keys).filter(|key| key.transport == Transport::Dns);
        let mut ports: Vec<u16> = plain.map(|key| key.port).collect();
        ports.sort_unstable();
        let port = if ports.contains(&53) { 53 } else { ports.first().copied().unwrap_or(53) };
        let blocks = servers
            .iter()
            .map(|server| Block { setup: Setup::of_block(server), server: server.clone() })
            .collect();
        let (lines, imported) = (version.lines.clone(), version.imported.clone());
        Self {
            config: version.config.clone(),
            text: version.text.clone(),
            lines,
            imported,
            port,
            corefile,
            blocks,
        }
    }

    /// True if CoreDNS could not have started with it: the version before goes on.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.corefile.as_ref().is_none_or(|corefile| !corefile.would_start())
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The port on which it answers plain DNS: 53 if it has it.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The block that takes questions for `name`.
    #[must_use]
    pub fn block(&self, name: &Name) -> Option<&Block> {
        let corefile = self.corefile.as_ref()?;
        let found = server_for(corefile, name, self.port)?;
        self.blocks.iter().find(|block| block.server.line == found.line)
    }

    /// A directive of the block for `name` that CoreDNS does not have: a build with a plugin of its own, which may give
    /// any answer.
    #[must_use]
    pub fn foreign(&self, name: &Name) -> Option<&str> {
        let mut directives = self.block(name)?.server.directives.iter().map(|one| one.name.as_str());
        directives.find(|directive| !is_known(directive))
    }

    /// True if the block of `name` gives what an upstream answers as it is, and asks only for what it does not have.
    #[must_use]
    pub fn passes_on(&self, name: &Name) -> bool {
        let views = |block: &Block| block.server.plugins.iter().any(|p| matches!(p, Plugin::View(_)));
        let known = self.corefile.as_ref().is_some_and(|corefile| corefile.invalid.is_empty());
        let block = self.block(name).filter(|_| known && !self.blocks.iter().any(views));
        block.is_some_and(|block| block.server.plugins.iter().all(is_transparent))
    }

    /// All blocks.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The explanation that names a line of this version, by its number in [`Config::text`]; one that was imported
    /// with its item and its number there.
    #[must_use]
    pub fn line(&self, line: u32) -> Explanation {
        let index = usize::try_from(line).unwrap_or(0).saturating_sub(1);
        let text = self.text.lines().nth(index).unwrap_or("").trim();
        let whence = self.lines.as_ref().and_then(|lines| lines.get(index));
        let line = whence.map_or(line, |whence| whence.number);
        let Some((map, item)) = whence.and_then(|whence| whence.item.as_ref()) else {
            return Explanation::Corefile { config: self.config.clone(), line, text: text.to_owned() };
        };
        let config = match map {
            Map::Own => &self.config,
            Map::Imported => self.imported.as_ref().unwrap_or(&self.config),
        };
        Explanation::Corefile { config: config.clone(), line, text: format!("{item}: {text}") }
    }
}

/// What the plugins before kubernetes make of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Front {
    /// They do not produce it.
    No,
    /// This line produces it.
    Line(u32),
    /// One of them may produce it, but its data lie outside the Corefile: the plugin's name.
    Elsewhere(String),
    /// Something in the block may produce it, and what it does cannot be told.
    Maybe(&'static str),
}

impl Block {
    /// How the block's rewrites change a question: the question after them and the first line that changed it.
    #[must_use]
    pub fn rewritten(&self, question: &Question) -> Rewritten {
        let mut now = question.clone();
        let mut line = None;
        let mut maybe = false;
        let mut rules = self.rewrites().take(MAX_REWRITES);
        for rule in &mut rules {
            if !matches!(rule.action, Action::Name { .. } | Action::Type(..) | Action::Class(..)) {
                continue;
            }
            match rule.apply(&now) {
                Applied::No => {}
                Applied::Maybe => maybe = true,
                Applied::BadName(_) => break,
                Applied::Yes(next) => {
                    if next != now {
                        line = line.or(Some(rule.line));
                    }
                    now = next;
                    if rule.mode == Mode::Stop {
                        break;
                    }
                }
            }
        }
        match line {
            Some(line) => Rewritten::To(now, line),
            None if maybe => Rewritten::Maybe,
            None => Rewritten::No,
        }
    }

    fn rewrites(&self) -> impl Iterator<Item = &RewriteRule> {
        self.server.plugins.iter().filter_map(|plugin| match plugin {
            Plugin::Rewrite(rule) => Some(rule),
            _ => None,
        })
    }

    /// A rule that sets TTLs of this name in a range that holds `ttl`.
    #[must_use]
    pub fn ttl_rule(&self, question: &Question, ttl: u32) -> Option<u32> {
        let mut rules = self.rewrites().filter(|rule| match &rule.action {
            Action::Ttl { min, max, .. } => {
                (*min..=*max).contains(&ttl) && rule.apply(question) != Applied::No
            }
            _ => false,
        });
        rules.next().map(|rule| rule.line)
    }

    /// A rule that replaced the return code.
    #[must_use]
    pub fn rcode_rule(&self, question: &Question, rcode: Rcode) -> Option<(Rcode, u32)> {
        self.rewrites().find_map(|rule| match &rule.action {
            Action::Rcode { old, new, .. } if *new == rcode && rule.apply(question) != Applied::No => {
                Some((*old, rule.line))
            }
            _ => None,
        })
    }

    /// The line of `autopath`, if it serves this name.
    #[must_use]
    pub fn autopath(&self, name: &Name) -> Option<u32> {
        self.server.plugins.iter().find_map(|plugin| match plugin {
            Plugin::Autopath(autopath) if autopath.zones.iter().any(|zone| name.is_at_or_below(zone)) => {
                Some(autopath.line)
            }
            _ => None,
        })
    }

    /// The `dns64` of the block.
    #[must_use]
    pub fn dns64(&self) -> Option<&Dns64> {
        self.server.plugins.iter().find_map(|plugin| match plugin {
            Plugin::Dns64(dns64) => Some(dns64),
            _ => None,
        })
    }

    /// Which plugin before kubernetes produces the answer. File order does not matter: CoreDNS orders plugins itself,
    /// and where several could, each explains it.
    #[must_use]
    pub fn front(&self, question: &Question, seen: &Seen<'_>) -> Front {
        let mut weak = Front::No;
        for plugin in &self.server.plugins {
            let found = match plugin {
                Plugin::Template(template) => match template.answer(question) {
                    TemplateAnswer::Passes | TemplateAnswer::ServFail => Front::No,
                    TemplateAnswer::Maybe => Front::Maybe("template"),
                    TemplateAnswer::Answers(rcode, records) => {
                        templated(template.line, rcode, &records, seen)
                    }
                },
                Plugin::Hosts(hosts) => match hosts.answer(&question.name, question.rtype) {
                    HostsAnswer::Addresses(entries) => {
                        let ips: Vec<IpAddr> = entries.iter().map(|entry| entry.address).collect();
                        let first = entries.first().map_or(hosts.line, |entry| entry.line);
                        if addresses_are(seen, &question.name, &ips) { Front::Line(first) } else { Front::No }
                    }
                    HostsAnswer::Names(entries) => {
                        let named = |record: &Record| match &record.rdata {
                            Rdata::Ptr(name) => entries.iter().find(|entry| entry.names.contains(name)),
                            _ => None,
                        };
                        let all = seen.body.answers.iter().all(|record| named(record).is_some());
                        let first = seen.body.answers.iter().find_map(named);
                        first.filter(|_| all).map_or(Front::No, |entry| Front::Line(entry.line))
                    }
                    HostsAnswer::NoData(entry) if is_nodata(seen) => Front::Line(entry.line),
                    HostsAnswer::Passes | HostsAnswer::ServFail | HostsAnswer::NoData(_) => {
                        let inside = hosts.zones.iter().any(|zone| question.name.is_at_or_below(zone));
                        // The pod's own /etc/hosts is read too where no file is named, but holds no cluster names.
                        if hosts.names_file && inside {
                            Front::Elsewhere("hosts".to_owned())
                        } else {
                            Front::No
                        }
                    }
                },
                Plugin::ZoneData(data)
                    if data.may_answer(&question.name) && before_kubernetes(&data.plugin) =>
                {
                    Front::Elsewhere(data.plugin.clone())
                }
                Plugin::Acl(acl) if is_nodata(seen) => {
                    let filters =
                        |policy: &&crate::corefile::policy::AclPolicy| policy.action == AclAction::Filter;
                    acl.policies.iter().find(filters).map_or(Front::No, |policy| Front::Line(policy.line))
                }
                Plugin::K8sExternal(external)
                    if external.zones.iter().any(|z| question.name.is_at_or_below(z)) =>
                {
                    Front::Elsewhere("k8s_external".to_owned())
                }
                _ => Front::No,
            };
            match found {
                Front::Line(_) => return found,
                Front::No => {}
                found => weak = found,
            }
        }
        weak
    }

    /// Data behind kubernetes, or in blocks without it, that may answer this name.
    #[must_use]
    pub fn data_behind(&self, name: &Name) -> Option<&str> {
        self.server.plugins.iter().find_map(|plugin| match plugin {
            Plugin::ZoneData(data) if data.may_answer(name) && data.plugin != "grpc" => {
                Some(data.plugin.as_str())
            }
            _ => None,
        })
    }
}

/// What rewrites make of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewritten {
    /// Nothing.
    No,
    /// This question, by this line.
    To(Question, u32),
    /// Perhaps something.
    Maybe,
}

/// True for a plugin that changes no data of an answer that a `forward` brought, and makes no query of its own.
fn is_transparent(plugin: &Plugin) -> bool {
    match plugin {
        Plugin::Cache(cache) => cache.prefetch == 0 && cache.stale.is_none(),
        Plugin::Dnstap(_)
        | Plugin::Errors(_)
        | Plugin::Forward(_)
        | Plugin::Header(_)
        | Plugin::Hosts(_)
        | Plugin::Kubernetes(_)
        | Plugin::LoadBalance(_)
        | Plugin::Log(_)
        | Plugin::Transfer(_) => true,
        Plugin::Plain(stanza) => TRANSPARENT.contains(&stanza.name.text.as_ref()),
        _ => false,
    }
}

/// Directives without a type of their own of which the same holds.
const TRANSPARENT: [&str; 17] = [
    "any",
    "bind",
    "bufsize",
    "cancel",
    "chaos",
    "debug",
    "health",
    "local",
    "loop",
    "minimal",
    "nsid",
    "pprof",
    "prometheus",
    "ready",
    "reload",
    "tls",
    "trace",
];

/// Plugins with data of their own that stand before kubernetes in every order (`plugin.cfg`).
fn before_kubernetes(plugin: &str) -> bool {
    matches!(plugin, "dynupdate" | "route53" | "azure" | "clouddns")
}

fn is_nodata(seen: &Seen<'_>) -> bool {
    seen.rcode == Rcode::NOERROR && seen.body.answers.is_empty()
}

fn addresses_are(seen: &Seen<'_>, owner: &Name, ips: &[IpAddr]) -> bool {
    let ip = |record: &Record| match record.rdata {
        Rdata::A(ip) => Some(IpAddr::V4(ip)),
        Rdata::Aaaa(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    };
    let answers = &seen.body.answers;
    let known = |record: &Record| record.owner == *owner && ip(record).is_some_and(|ip| ips.contains(&ip));
    seen.rcode == Rcode::NOERROR && !answers.is_empty() && answers.iter().all(known)
}

fn templated(line: u32, rcode: Rcode, records: &[Option<Record>], seen: &Seen<'_>) -> Front {
    if seen.rcode != rcode {
        return Front::No;
    }
    let Some(records) = records.iter().cloned().collect::<Option<Vec<Record>>>() else {
        return Front::Maybe("template");
    };
    let same = |a: &Record, b: &Record| a.owner == b.owner && a.rdata == b.rdata;
    let answers = &seen.body.answers;
    let all = records.iter().all(|record| answers.iter().any(|answer| same(record, answer)));
    let only = answers.iter().all(|answer| records.iter().any(|record| same(record, answer)));
    // A templated alias is followed, so more may come behind it.
    let alias = records.iter().any(|record| record.rtype == Rtype::CNAME);
    if all && (only || alias) { Front::Line(line) } else { Front::No }
}

/// The IPv4 address inside an address made by `dns64`; prefixes of 96 bits only.
#[must_use]
pub fn embedded(dns64: &Dns64, ip: IpAddr) -> Option<Ipv4Addr> {
    let ((IpAddr::V6(prefix), 96), IpAddr::V6(ip)) = (dns64.prefix, ip) else { return None };
    let (prefix, octets) = (prefix.octets(), ip.octets());
    let tail: [u8; 4] = octets[12..].try_into().ok()?;
    (prefix[..12] == octets[..12]).then(|| Ipv4Addr::from(tail))
}
