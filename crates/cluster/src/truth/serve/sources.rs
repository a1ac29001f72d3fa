//! Plugins that answer from what stands in the Corefile, beside it, or behind an upstream: `hosts`, `template`, `file`,
//! `forward`, `any`, `chaos`, `local`.
//!
//! Enters: a query. Leaves: what they serve. Deliberately absent: parsing of their stanzas (`corefile`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use truename_model::{Class, Name, Question, Rcode, Rdata, Rtype};

use super::message::{Ask, Reply, Rr, Served, Stop};
use super::run::Run;
use super::site::{Block, Handler};
use super::zones::{Found, Looked, Style, Zone, record, words};
use crate::corefile::forward::Forward;
use crate::corefile::hosts::{Hosts, HostsAnswer};
use crate::corefile::template::{Render, Template};
use crate::corefile::zonedata::ZoneData;
use crate::corefile::{Stanza, Version};

/// Denials behind an alias have the zone's SOA record since then.
const MODERN_FILE: Version = Version(1, 14, 5);
/// TTL of `local`, seconds.
const LOCAL_TTL: u32 = 604_800;

impl<'s> Run<'s, '_, '_> {
    pub(super) fn hosts(
        &mut self,
        hosts: &Hosts,
        block: &'s Block<'s>,
        at: usize,
        ask: &mut Ask,
    ) -> Result<Served, Stop> {
        let name = ask.question.name.clone();
        let inside = hosts.zones.iter().any(|zone| name.is_at_or_below(zone));
        if hosts.names_file && (inside || ask.question.rtype == Rtype::PTR) {
            return Err(Stop::Elsewhere("hosts".to_owned()));
        }
        // Without a named file the machine's own is read, which holds the names of the host itself.
        let told = self.site.around.files.contains_key("/etc/hosts");
        if hosts.path == "/etc/hosts"
            && !told
            && (inside || ask.question.rtype == Rtype::PTR)
            && is_of_host(&name)
        {
            return Err(Stop::Elsewhere("hosts".to_owned()));
        }
        let mut reply = Reply::to(ask);
        reply.aa = true;
        match hosts.answer(&name, ask.question.rtype) {
            HostsAnswer::Passes => return self.next(block, at + 1, ask),
            HostsAnswer::ServFail => {
                self.uses("hosts", hosts.line);
                return Ok(Served::code(Rcode::SERVFAIL));
            }
            HostsAnswer::NoData(entry) => self.uses("hosts", entry.line),
            HostsAnswer::Addresses(entries) => {
                for entry in entries {
                    self.uses("hosts", entry.line);
                    let data = match entry.address {
                        std::net::IpAddr::V4(ip) => Rdata::A(ip),
                        std::net::IpAddr::V6(ip) => Rdata::Aaaa(ip),
                    };
                    reply.answer.push(Rr::new(name.clone(), hosts.ttl, data));
                }
            }
            HostsAnswer::Names(entries) => {
                entries.iter().for_each(|entry| self.uses("hosts", entry.line));
                let plain =
                    |of: &&Name| of.labels().next() != Some(b"*") || self.site.version < Version(1, 14, 5);
                let names = entries.iter().flat_map(|entry| entry.names.iter()).filter(plain);
                reply.answer.extend(names.map(|of| Rr::new(name.clone(), hosts.ttl, Rdata::Ptr(of.clone()))));
            }
        }
        Ok(Served::wrote(reply))
    }

    pub(super) fn template(
        &mut self,
        list: &[&Template],
        block: &'s Block<'s>,
        at: usize,
        ask: &mut Ask,
    ) -> Result<Served, Stop> {
        for template in list {
            let render = template.render(&ask.question);
            if render != Render::Passes {
                self.uses("template", template.line);
            }
            match render {
                Render::Passes => {}
                Render::Maybe => return Err(Stop::Unmodelled("a template's condition".to_owned())),
                Render::ServFail => return Ok(Served::code(Rcode::SERVFAIL)),
                Render::Answers { rcode: Rcode::SERVFAIL, .. } => return Ok(Served::code(Rcode::SERVFAIL)),
                Render::Answers { rcode, answers, additional, authority } => {
                    return self.templated(rcode, [answers, additional, authority], ask);
                }
            }
        }
        self.next(block, at + 1, ask)
    }

    fn templated(
        &mut self,
        rcode: Rcode,
        sections: [Vec<Option<String>>; 3],
        ask: &Ask,
    ) -> Result<Served, Stop> {
        let mut reply = Reply::code(ask, rcode);
        reply.aa = true;
        let mut read = Vec::new();
        for section in sections {
            let mut records = Vec::new();
            for text in section {
                let text = text.ok_or_else(|| Stop::Unmodelled("an action of a template".to_owned()))?;
                match one_record(&text)? {
                    Some(rr) => records.push(rr),
                    // A record that cannot be read ends in SERVFAIL (row 46).
                    None => return Ok(Served::error(Rcode::SERVFAIL)),
                }
            }
            read.push(records);
        }
        reply.authority = read.pop().unwrap_or_default();
        reply.additional = read.pop().unwrap_or_default();
        for rr in read.pop().unwrap_or_default() {
            let alias = match &rr.rdata {
                Rdata::Cname(target) if rr.rtype == Rtype::CNAME => Some(target.clone()),
                _ => None,
            };
            reply.answer.push(rr);
            if let Some(target) = alias.filter(|_| matches!(ask.question.rtype, Rtype::A | Rtype::AAAA)) {
                let chased = self.lookup(ask, target, ask.question.rtype)?;
                reply.answer.extend(chased.into_iter().flat_map(|chased| chased.answer));
            }
        }
        Ok(Served { reply: Some(reply), rcode, failed: false })
    }

    pub(super) fn file(
        &mut self,
        zones: &[(Name, Option<Zone>)],
        data: &ZoneData,
        block: &'s Block<'s>,
        at: usize,
        ask: &mut Ask,
    ) -> Result<Served, Stop> {
        let name = ask.question.name.clone();
        let held = zones
            .iter()
            .filter(|(zone, _)| name.is_at_or_below(zone))
            .max_by_key(|(zone, _)| zone.wire().len());
        let Some((_, zone)) = held else {
            let last = at + 1 == block.handlers.len() && !block.tail;
            if last && self.site.version >= Version(1, 10, 0) {
                return Ok(Served::code(Rcode::REFUSED));
            }
            return self.next(block, at + 1, ask);
        };
        self.uses("file", data.line);
        let Some(zone) = zone else { return Ok(Served::code(Rcode::SERVFAIL)) };
        if matches!(ask.question.rtype, Rtype::AXFR | Rtype::IXFR) {
            return Ok(Served::code(Rcode::REFUSED));
        }
        let style = Style {
            asks_for_servers: self.site.version >= Version(1, 10, 0),
            sees_cuts: self.site.version >= MODERN_FILE,
        };
        let mut looked = zone.lookup(&name, ask.question.rtype, style);
        self.chase_file(zone, &mut looked, ask)?;
        let empty = looked.answer.is_empty();
        let falls = self.site.version >= Version(1, 12, 2) && data.fallthrough.passes(&name);
        if empty && matches!(looked.found, Found::NameError | Found::Success) && falls {
            return self.next(block, at + 1, ask);
        }
        // Up to 1.9.4 the cache writes its TTLs into the very records of the zone.
        let shared = self.site.version < Version(1, 10, 0)
            && block.handlers.iter().any(|of| matches!(of, Handler::Cache(_)));
        if shared {
            for rr in looked.answer.iter_mut().chain(&mut looked.authority).chain(&mut looked.additional) {
                rr.least = 0;
            }
        }
        let mut reply = Reply::to(ask);
        reply.aa = true;
        match looked.found {
            Found::Success | Found::NoData => {}
            Found::NameError => reply.rcode = Rcode::NXDOMAIN,
            Found::Delegation => reply.aa = !empty,
            Found::Failure if empty => return Ok(Served::code(Rcode::SERVFAIL)),
            Found::Failure => reply.rcode = Rcode::SERVFAIL,
        }
        (reply.answer, reply.authority, reply.additional) =
            (looked.answer, looked.authority, looked.additional);
        Ok(Served::wrote(reply))
    }

    /// `doLookup`: an alias that leaves the zone's own names is looked up by the server.
    fn chase_file(&mut self, zone: &Zone, looked: &mut Looked, ask: &Ask) -> Result<(), Stop> {
        let Some(target) = looked.target.take() else { return Ok(()) };
        let Some(found) = self.lookup(ask, target, ask.question.rtype)? else { return Ok(()) };
        looked.found = match found.rcode {
            Rcode::NXDOMAIN => Found::NameError,
            Rcode::SERVFAIL => Found::Failure,
            Rcode::NOERROR if found.answer.is_empty() => Found::NoData,
            _ => Found::Success,
        };
        looked.answer.extend(found.answer);
        let denied = matches!(looked.found, Found::NameError | Found::NoData);
        if self.site.version < MODERN_FILE {
            looked.additional.clear();
        } else if denied {
            looked.authority = zone.soa().cloned().into_iter().collect();
        }
        Ok(())
    }

    pub(super) fn forward(
        &mut self,
        forward: &Forward,
        block: &'s Block<'s>,
        at: usize,
        ask: &mut Ask,
    ) -> Result<Served, Stop> {
        let name = &ask.question.name;
        let kept = forward.except.iter().any(|zone| name.is_at_or_below(zone)) && *name != forward.from;
        if !name.is_at_or_below(&forward.from) || kept {
            return self.next(block, at + 1, ask);
        }
        self.uses("forward", forward.line);
        let targets = self.site.targets(forward).map_err(Stop::Unmodelled)?;
        let upstream = self.site.upstream;
        let mut found = None;
        let mut sent = ask.clone();
        sent.tcp = forward.force_tcp || (ask.tcp && !forward.prefer_udp);
        for target in targets {
            found = upstream.exchange(target, &sent).map_err(Stop::Unmodelled)?;
            if found.is_some() {
                break;
            }
        }
        let Some(reply) = found else { return Ok(Served::error(Rcode::SERVFAIL)) };
        let more = matches!(block.handlers.get(at + 1), Some(Handler::Forward(_)));
        if forward.next.contains(&reply.rcode) && more {
            return self.next(block, at + 1, ask);
        }
        Ok(Served::wrote(reply))
    }

    pub(super) fn any(
        &mut self,
        line: u32,
        block: &'s Block<'s>,
        at: usize,
        ask: &mut Ask,
    ) -> Result<Served, Stop> {
        if ask.question.rtype != Rtype::ANY {
            return self.next(block, at + 1, ask);
        }
        self.uses("any", line);
        let mut reply = Reply::to(ask);
        let data: &[u8] = b"\x0dANY obsoleted\x0cSee RFC 8482";
        let mut rr = Rr::new(ask.question.name.clone(), 8_482, Rdata::Other(data.into()));
        rr.rtype = Rtype::HINFO;
        reply.answer.push(rr);
        Ok(Served::wrote(reply))
    }

    /// The client's address and, in a record of its own, its port: 0 stands for it.
    pub(super) fn whoami(&mut self, line: u32, ask: &Ask) -> Result<Served, Stop> {
        self.uses("whoami", line);
        let Question { name, class, .. } = ask.question.clone();
        let proto = if ask.tcp { "_tcp" } else { "_udp" };
        let Ok(owner) = Name::parse(proto).unwrap_or_else(|_| Name::root()).joined(&name) else {
            return Err(Stop::Unmodelled("a name too long for whoami".to_owned()));
        };
        let data = match ask.client {
            IpAddr::V4(ip) => Rdata::A(ip),
            IpAddr::V6(ip) => Rdata::Aaaa(ip),
        };
        let port = Rdata::Srv { priority: 0, weight: 0, port: 0, target: Name::root() };
        let mut reply = Reply { aa: true, ..Reply::to(ask) };
        reply.additional = vec![Rr::new(name, 0, data), Rr::new(owner, 0, port)];
        reply.additional.iter_mut().for_each(|rr| rr.class = class);
        Ok(Served::wrote(reply))
    }

    pub(super) fn chaos(
        &mut self,
        stanza: &Stanza,
        block: &'s Block<'s>,
        at: usize,
        ask: &mut Ask,
    ) -> Result<Served, Stop> {
        if ask.question.class != Class::CH || ask.question.rtype != Rtype::TXT {
            return self.next(block, at + 1, ask);
        }
        let words: Vec<&str> = stanza.words().collect();
        let text = |text: &str| {
            let mut data = vec![u8::try_from(text.len()).unwrap_or(u8::MAX)];
            data.extend(text.bytes().take(255));
            let mut rr = Rr::new(ask.question.name.clone(), 0, Rdata::Txt(data.into()));
            rr.class = Class::CH;
            rr
        };
        let answer = match ask.question.name.to_string().as_str() {
            "version.bind." | "version.server." => match words.first() {
                Some(version) => vec![text(version)],
                None => vec![text(&format!("CoreDNS-{}", self.site.version))],
            },
            "authors.bind." if words.len() > 1 => words[1..].iter().map(|word| text(word)).collect(),
            "authors.bind." | "hostname.bind." | "id.server." => {
                return Err(Stop::Unmodelled("chaos tells the host's name".to_owned()));
            }
            _ => return self.next(block, at + 1, ask),
        };
        self.uses("chaos", stanza.name.line);
        Ok(Served::wrote(Reply { answer, ..Reply::to(ask) }))
    }

    pub(super) fn local(
        &mut self,
        (prefix, line): (bool, u32),
        block: &'s Block<'s>,
        at: usize,
        ask: &mut Ask,
    ) -> Result<Served, Stop> {
        let name = ask.question.name.clone();
        let labels: Vec<&[u8]> = name.labels().collect();
        let localhost: &[u8] = b"localhost";
        let many = labels.len() > 1;
        let newer = self.site.version >= Version(1, 14, 5);
        let special = many
            && ((labels.first() == Some(&localhost) && prefix)
                || (newer && labels.last() == Some(&localhost)));
        let zone = local_zone(&labels);
        if !special && zone.is_none() {
            return self.next(block, at + 1, ask);
        }
        self.uses("local", line);
        let mut reply = Reply::to(ask);
        let own = |data: Rdata| Rr::new(name.clone(), LOCAL_TTL, data);
        let soa = |owner: Name| {
            let rname = Name::parse("root.localhost").unwrap_or_else(|_| Name::root());
            let numbers = [1, 0, 0, 0, LOCAL_TTL];
            Rr::new(owner, LOCAL_TTL, Rdata::Soa { mname: plain_localhost(), rname, numbers })
        };
        let zone = zone.and_then(|zone| Name::parse(zone).ok()).unwrap_or_else(|| name.clone());
        let (host, apex) = (labels == [localhost], name == zone);
        let pointer = labels.as_slice() == [&b"1"[..], b"0", b"0", b"127", b"in-addr", b"arpa"];
        match ask.question.rtype {
            Rtype::A if special || host => reply.answer.push(own(Rdata::A(Ipv4Addr::LOCALHOST))),
            Rtype::AAAA if special || host => reply.answer.push(own(Rdata::Aaaa(Ipv6Addr::LOCALHOST))),
            _ if special => reply.authority.push(soa(name.clone())),
            Rtype::SOA if apex => reply.answer.push(soa(name.clone())),
            Rtype::NS if apex => reply.answer.push(own(Rdata::Ns(plain_localhost()))),
            Rtype::PTR if pointer => reply.answer.push(own(Rdata::Ptr(plain_localhost()))),
            _ => {
                reply.authority.push(soa(if apex { name.clone() } else { zone }));
                reply.rcode = if apex || pointer { Rcode::NOERROR } else { Rcode::NXDOMAIN };
            }
        }
        Ok(Served::wrote(reply))
    }
}

fn plain_localhost() -> Name {
    Name::parse("localhost").unwrap_or_else(|_| Name::root())
}

/// The zone of `local` that holds a name.
fn local_zone(labels: &[&[u8]]) -> Option<&'static str> {
    match labels {
        [.., b"localhost"] => Some("localhost."),
        [.., b"0", b"in-addr", b"arpa"] => Some("0.in-addr.arpa."),
        [.., b"127", b"in-addr", b"arpa"] => Some("127.in-addr.arpa."),
        [.., b"255", b"in-addr", b"arpa"] => Some("255.in-addr.arpa."),
        _ => None,
    }
}

/// Names that a machine's own hosts file is likely to hold.
fn is_of_host(name: &Name) -> bool {
    let labels: Vec<&[u8]> = name.labels().collect();
    match labels.as_slice() {
        [] => false,
        [one] => one.starts_with(b"localhost") || one.starts_with(b"ip6-"),
        [.., b"127", b"in-addr", b"arpa"] => true,
        [b"1", rest @ .., b"ip6", b"arpa"] => rest.iter().all(|label| *label == b"0"),
        _ => false,
    }
}

/// A record in one line; `None` if it is no record, an error if it may be one that is not read here.
fn one_record(text: &str) -> Result<Option<Rr>, Stop> {
    let words = words(text);
    let Some((owner, rest)) = words.split_first() else { return Ok(None) };
    let Ok(owner) = Name::parse(owner) else { return Ok(None) };
    let found = record(&owner, rest, &Name::root(), 3_600);
    let known = ["A", "AAAA", "CNAME", "NS", "PTR", "MX", "SRV", "SOA", "TXT", "HINFO"];
    let readable = rest.iter().any(|word| known.contains(&word.to_ascii_uppercase().as_str()));
    match found {
        None if !readable => Err(Stop::Unmodelled("a template's record".to_owned())),
        found => Ok(found),
    }
}
