//! A query on its way through a server: which block takes it, and its plugins one by one (`core/dnsserver/server.go`).
//!
//! Enters: a [`Site`], a world, an [`Ask`]. Leaves: the reply. Deliberately absent: what each plugin does.

use std::collections::{BTreeMap, BTreeSet};

use truename_model::{Class, Name, Rcode, Rtype};

use super::expression;
use super::memory::Memory;
use super::message::{Ask, Reply, Served, Stop};
use super::site::{Block, Handler, Site};
use crate::corefile::PodMode;
use crate::names;
use crate::truth::model::Model;
use crate::truth::options::Options;
use crate::view::View;

/// Most lookups of a server to itself inside one another.
const MAX_DEPTH: usize = 24;

/// One query in one world.
pub struct Run<'s, 'v, 'a> {
    pub(super) site: &'s Site<'s>,
    pub(super) view: &'v mut View<'a>,
    /// What the caches hold.
    pub memory: Memory,
    /// Milliseconds on the clock of the memory.
    pub now: Option<i64>,
    /// Plugins that took part.
    pub used: BTreeSet<&'static str>,
    /// Lines of the Corefile that took part.
    pub lines: BTreeSet<u32>,
    depth: usize,
}

impl<'s, 'v, 'a> Run<'s, 'v, 'a> {
    /// A run with what the caches hold.
    pub fn new(site: &'s Site<'s>, view: &'v mut View<'a>, memory: Memory, now: Option<i64>) -> Self {
        Self { site, view, memory, now, used: BTreeSet::new(), lines: BTreeSet::new(), depth: 0 }
    }

    /// The reply that the client gets, unless it cannot be packed; `None`: nothing is sent.
    ///
    /// # Errors
    /// Why none is foretold.
    pub fn answer(&mut self, ask: &Ask) -> Result<Option<Reply>, Stop> {
        self.serve(ask.clone())
    }

    /// The server asks itself (`upstream.Lookup`).
    pub(super) fn lookup(&mut self, ask: &Ask, name: Name, rtype: Rtype) -> Result<Option<Reply>, Stop> {
        self.serve(ask.about(name, rtype))
    }

    fn serve(&mut self, ask: Ask) -> Result<Option<Reply>, Stop> {
        if self.depth >= MAX_DEPTH {
            return Err(Stop::Unmodelled("a server that asks itself without end".to_owned()));
        }
        self.depth += 1;
        let served = self.dispatch(ask);
        self.depth -= 1;
        served
    }

    fn dispatch(&mut self, mut ask: Ask) -> Result<Option<Reply>, Stop> {
        let site = self.site;
        if !site.any_class && ask.question.class != Class::IN {
            return Ok(Some(Reply::code(&ask, Rcode::REFUSED)));
        }
        let mut zone = Some(ask.question.name.clone());
        let mut parent: Option<&Block<'_>> = None;
        while let Some(here) = zone {
            for block in site.blocks.iter().filter(|block| block.zones.contains(&here)) {
                let root = here.is_root() && !ask.question.name.is_root();
                if !block.chained && !root {
                    return Ok(Some(Reply::code(&ask, Rcode::REFUSED)));
                }
                if !block.chained || !self.passes(block, &ask)? {
                    continue;
                }
                // A DS question belongs to the parent, which may be served here as well.
                if ask.question.rtype != Rtype::DS || root {
                    let block = if root { parent.unwrap_or(block) } else { block };
                    return self.chain(block, &mut ask);
                }
                parent = Some(block);
            }
            zone = here.parent();
        }
        match parent {
            Some(block) => self.chain(block, &mut ask),
            None => Ok(Some(Reply::code(&ask, Rcode::REFUSED))),
        }
    }

    fn chain(&mut self, block: &'s Block<'s>, ask: &mut Ask) -> Result<Option<Reply>, Stop> {
        match self.next(block, 0, ask) {
            Ok(served) if served.is_written() || served.reply.is_some() => Ok(served.reply),
            Ok(served) => Ok(Some(Reply::code(ask, served.rcode))),
            Err(Stop::Panic | Stop::Blank) => Ok(Some(Reply::code(ask, Rcode::SERVFAIL))),
            Err(stop) => Err(stop),
        }
    }

    /// Passes the query to the plugin at a place of the chain.
    pub(super) fn next(&mut self, block: &'s Block<'s>, at: usize, ask: &mut Ask) -> Result<Served, Stop> {
        let Some(handler) = block.handlers.get(at) else { return Ok(Served::error(Rcode::SERVFAIL)) };
        match handler {
            Handler::Acl(list) => self.acl(list, block, at, ask),
            Handler::Any(line) => self.any(*line, block, at, ask),
            Handler::Autopath(autopath) => self.autopath(autopath, block, at, ask),
            Handler::Cache(cache) => self.cache(cache, block, at, ask),
            Handler::Chaos(stanza) => self.chaos(stanza, block, at, ask),
            Handler::Dns64(dns64) => self.dns64(dns64, block, at, ask),
            Handler::Elsewhere(data) if data.may_answer(&ask.question.name) => {
                Err(Stop::Elsewhere(data.plugin.clone()))
            }
            Handler::Elsewhere(_) => self.next(block, at + 1, ask),
            Handler::External(external) => self.external(external, block, at, ask),
            Handler::File(zones, data) => self.file(zones, data, block, at, ask),
            Handler::Forward(forward) => self.forward(forward, block, at, ask),
            Handler::Header(header) => self.header(header, block, at, ask),
            Handler::Hosts(hosts) => self.hosts(hosts, block, at, ask),
            Handler::Kubernetes(options, line) => self.kubernetes((options, *line), block, at, ask),
            Handler::Local(prefix, line) => self.local((*prefix, *line), block, at, ask),
            Handler::Minimal(line) => self.minimal(*line, block, at, ask),
            Handler::Rewrite(rules) => self.rewrite(rules, block, at, ask),
            Handler::Template(list) => self.template(list, block, at, ask),
            Handler::Transfer(list) => self.transfer(list, block, at, ask),
            Handler::Whoami(line) => self.whoami(*line, ask),
            Handler::Unknown(name) => Err(Stop::Unmodelled(format!("plugin {name}"))),
        }
    }

    /// Notes that a line of a plugin took part.
    pub(super) fn uses(&mut self, plugin: &'static str, line: u32) {
        self.used.insert(plugin);
        self.lines.insert(line);
    }

    pub(super) fn model<'r>(&'r mut self, options: &'r Options, mixed: bool) -> Model<'r, 'a> {
        Model { view: self.view, options, era: self.site.era, mixed, panicked: false }
    }

    /// True if the block takes the query (its `view`).
    fn passes(&mut self, block: &Block<'_>, ask: &Ask) -> Result<bool, Stop> {
        let Some(view) = block.view else { return Ok(true) };
        self.uses("view", view.line);
        let known = self.labels(block, ask);
        let label = |label: &str| match label.starts_with("kubernetes/") {
            true => Some(known.get(label).cloned().unwrap_or_default()),
            false => None,
        };
        for text in &view.expressions {
            match expression::holds(text, ask, &label) {
                Some(true) => {}
                Some(false) => return Ok(false),
                None => return Err(Stop::Unmodelled(format!("the expression {text}"))),
            }
        }
        Ok(true)
    }

    /// Metadata that the kubernetes plugin of a block gives.
    fn labels(&mut self, block: &Block<'_>, ask: &Ask) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        let Some(options) = block.kubernetes().filter(|_| block.metadata) else { return out };
        if options.pods == PodMode::Verified
            && let Some(pod) = self.model(options, false).client_pod(ask.client)
        {
            out.insert("kubernetes/client-namespace".to_owned(), pod.meta.namespace.clone());
            out.insert("kubernetes/client-pod-name".to_owned(), pod.meta.name.clone());
            for (key, value) in &pod.meta.labels {
                out.insert(format!("kubernetes/client-label/{key}"), value.clone());
            }
        }
        let Some(zone) = options.zone_of(&ask.question.name) else { return out };
        let Some(request) =
            names::parse(&ask.question.name, zone, options.is_multicluster(zone), options.zonal)
        else {
            return out;
        };
        let text = |label: &[u8]| String::from_utf8_lossy(label).into_owned();
        for (label, value) in [
            ("port-name", request.port),
            ("protocol", request.protocol),
            ("endpoint", request.endpoint),
            ("service", request.service),
            ("namespace", request.namespace),
        ] {
            out.insert(format!("kubernetes/{label}"), text(value));
        }
        out
    }
}
