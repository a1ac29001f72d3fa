//! Zone files (RFC 1035 §5), and what two programs answer from them: an authoritative server, and CoreDNS's `file`.
//!
//! Enters: text. Leaves: [`Zone`]s that can be asked. Deliberately absent: `$INCLUDE`, DNSSEC, DNAME, transfers in.

use std::collections::BTreeMap;

use truename_model::{Class, Name, Question, Rcode, Rdata, Rtype};

use super::message::{Ask, Reply, Rr, type_of};
use crate::corefile::value::{class, rtype as type_named};

/// Records of a zone.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    origin: Option<Name>,
    names: BTreeMap<Name, Vec<Rr>>,
}

/// How a lookup in a zone ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Records.
    Success,
    /// The name exists without this type.
    NoData,
    /// No such name.
    NameError,
    /// A referral.
    Delegation,
    /// The lookup failed.
    Failure,
}

impl Zone {
    /// Reads zone files one after another: a zone begins where a second SOA record stands.
    #[must_use]
    pub fn read_all(text: &str) -> Vec<Self> {
        let mut zones: Vec<Self> = Vec::new();
        for rr in records(text, &Name::root()) {
            if rr.rtype == Rtype::SOA {
                zones.push(Self { origin: Some(rr.owner.clone()), ..Self::default() });
            }
            if let Some(zone) = zones.last_mut() {
                zone.names.entry(rr.owner.clone()).or_default().push(rr);
            }
        }
        zones
    }

    /// Reads the file of one zone; `None` without an SOA record.
    #[must_use]
    pub fn read(text: &str, origin: &Name) -> Option<Self> {
        let mut zone = Self { origin: Some(origin.clone()), ..Self::default() };
        for rr in records(text, origin) {
            zone.names.entry(rr.owner.clone()).or_default().push(rr);
        }
        zone.soa().is_some().then_some(zone)
    }

    /// Its name.
    #[must_use]
    pub fn origin(&self) -> Option<&Name> {
        self.origin.as_ref()
    }

    /// Its SOA record.
    #[must_use]
    pub fn soa(&self) -> Option<&Rr> {
        self.of(self.origin.as_ref()?, Rtype::SOA).next()
    }

    /// All records.
    pub fn records(&self) -> impl Iterator<Item = &Rr> {
        self.names.values().flatten()
    }

    fn of<'a>(&'a self, name: &Name, rtype: Rtype) -> impl Iterator<Item = &'a Rr> + use<'a> {
        self.names.get(name).into_iter().flatten().filter(move |rr| rr.rtype == rtype)
    }

    fn all(&self, name: &Name, rtype: Rtype) -> Vec<Rr> {
        self.of(name, rtype).cloned().collect()
    }

    fn has_below(&self, name: &Name) -> bool {
        self.names.keys().any(|key| key != name && key.is_at_or_below(name))
    }

    fn addresses(&self, name: &Name) -> Vec<Rr> {
        self.of(name, Rtype::A).chain(self.of(name, Rtype::AAAA)).cloned().collect()
    }

    /// Names from just below the origin down to `name`.
    fn path(&self, name: &Name) -> Vec<Name> {
        let mut path = Vec::new();
        let mut at = Some(name.clone());
        while let Some(here) = at {
            if Some(&here) == self.origin.as_ref() {
                break;
            }
            at = here.parent();
            path.push(here);
        }
        path.reverse();
        path
    }

    fn extra(&self, answer: &[Rr]) -> Vec<Rr> {
        let mut targets: Vec<&Name> = Vec::new();
        for rr in answer {
            let (Rdata::Srv { target, .. } | Rdata::Mx(_, target)) = &rr.rdata else { continue };
            if self.origin.as_ref().is_some_and(|origin| target.is_at_or_below(origin))
                && !targets.contains(&target)
            {
                targets.push(target);
            }
        }
        targets.into_iter().flat_map(|target| self.addresses(target)).collect()
    }

    fn negative(&self) -> Vec<Rr> {
        let mut soa = self.soa().cloned();
        if let Some(rr) = &mut soa
            && let Rdata::Soa { numbers, .. } = &rr.rdata
        {
            rr.ttl = rr.ttl.min(numbers[4]);
            rr.least = rr.ttl;
        }
        soa.into_iter().collect()
    }
}

/// The answer of an authoritative server that serves these zones with minimal responses (Knot DNS as measured).
#[must_use]
pub fn authoritative(zones: &[Zone], ask: &Ask) -> Reply {
    let mut reply = Reply::to(ask);
    reply.cd = false;
    reply.opt = ask.edns;
    reply.spelled.clone_from(&ask.written);
    let Question { name, rtype, class } = &ask.question;
    // A DS record belongs to the parent.
    let parent = |origin: &Name| {
        *rtype == Rtype::DS
            && origin == name
            && zones.iter().any(|z| z.origin.as_ref().is_some_and(|o| o != origin && name.is_at_or_below(o)))
    };
    let held = |zone: &&Zone| {
        zone.origin.as_ref().is_some_and(|origin| name.is_at_or_below(origin) && !parent(origin))
    };
    let zone =
        zones.iter().filter(held).max_by_key(|zone| zone.origin.as_ref().map_or(0, |o| o.wire().len()));
    if matches!(*rtype, Rtype::AXFR | Rtype::IXFR) {
        reply.rcode = if (ask.tcp || *rtype == Rtype::IXFR) && matches!(*class, Class::IN | Class::ANY) {
            Rcode::NOTAUTH
        } else {
            Rcode::NOTIMP
        };
        return reply;
    }
    let Some(zone) = zone.filter(|_| *class == Class::IN || *class == Class::ANY) else {
        reply.rcode = Rcode::REFUSED;
        return reply;
    };
    reply.aa = true;
    let mut at = name.clone();
    for _ in 0..20 {
        if !zone.step(&mut at, *rtype, &mut reply) {
            break;
        }
    }
    reply.additional = zone.extra(&reply.answer);
    if matches!(*rtype, Rtype::NS | Rtype::ANY) {
        let servers = reply.answer.iter().filter_map(|rr| match &rr.rdata {
            Rdata::Ns(name) => Some(name.clone()),
            _ => None,
        });
        let servers: Vec<Name> = servers.collect();
        reply.additional.extend(servers.iter().flat_map(|name| zone.addresses(name)));
    }
    reply
}

impl Zone {
    /// One name of a chain; true if an alias leads on.
    fn step(&self, at: &mut Name, rtype: Rtype, reply: &mut Reply) -> bool {
        for cut in self.path(at) {
            let servers = self.all(&cut, Rtype::NS);
            if !(servers.is_empty() || rtype == Rtype::DS && cut == *at) {
                if reply.answer.is_empty() {
                    reply.aa = false;
                }
                reply.additional = servers.iter().flat_map(|rr| self.glue(rr)).collect();
                reply.authority = servers;
                return false;
            }
        }
        let exact = self.names.contains_key(at);
        let node = if exact { Some(at.clone()) } else { self.wildcard(at) };
        let Some(node) = node else {
            if reply.answer.is_empty() || !self.has_below(at) {
                reply.rcode = if self.has_below(at) { Rcode::NOERROR } else { Rcode::NXDOMAIN };
            }
            reply.authority = self.negative();
            return false;
        };
        let here = |mut rr: Rr| {
            rr.owner = at.clone();
            rr
        };
        if rtype == Rtype::ANY {
            // One type stands for all (RFC 8482).
            let all = self.names.get(&node).map_or(&[][..], Vec::as_slice);
            let first = all.iter().map(|rr| rr.rtype).min();
            reply.answer.extend(all.iter().filter(|rr| Some(rr.rtype) == first).cloned().map(here));
            return false;
        }
        let aliases = self.all(&node, Rtype::CNAME);
        if let (Some(alias), true) = (aliases.first(), rtype != Rtype::CNAME) {
            let alias = here(alias.clone());
            let Rdata::Cname(target) = &alias.rdata else { return false };
            let target = target.clone();
            if reply.answer.contains(&alias) {
                return false;
            }
            reply.answer.push(alias);
            let inside = self.origin.as_ref().is_some_and(|origin| target.is_at_or_below(origin));
            *at = target;
            return inside;
        }
        let records = self.all(&node, rtype);
        if records.is_empty() {
            reply.authority = self.negative();
        }
        reply.answer.extend(records.into_iter().map(here));
        false
    }

    fn glue(&self, rr: &Rr) -> Vec<Rr> {
        match &rr.rdata {
            Rdata::Ns(name) => self.addresses(name),
            _ => Vec::new(),
        }
    }

    /// The wildcard that stands for a name which does not exist: at its closest encloser (RFC 4592).
    fn wildcard(&self, name: &Name) -> Option<Name> {
        if self.has_below(name) {
            return None;
        }
        let mut encloser = name.parent();
        while let Some(here) = encloser {
            if self.names.contains_key(&here) || self.has_below(&here) {
                let star = Name::parse("*").ok()?.joined(&here).ok()?;
                return self.names.contains_key(&star).then_some(star);
            }
            encloser = here.parent();
        }
        None
    }
}

/// How a version of the plugin `file` follows aliases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// NS and SOA questions behind an alias go to the server itself.
    pub asks_for_servers: bool,
    /// A target below a zone cut gives a referral.
    pub sees_cuts: bool,
}

/// What `Zone.Lookup` of CoreDNS's plugin `file` gives: sections and how it ended. An alias that leaves the zone is in
/// the last place: the server itself is asked for it.
pub struct Looked {
    /// Answer section.
    pub answer: Vec<Rr>,
    /// Authority section.
    pub authority: Vec<Rr>,
    /// Additional section.
    pub additional: Vec<Rr>,
    /// How it ended.
    pub found: Found,
    /// The name that the server has to be asked for.
    pub target: Option<Name>,
}

impl Zone {
    /// `Zone.Lookup`.
    #[must_use]
    pub fn lookup(&self, name: &Name, rtype: Rtype, style: Style) -> Looked {
        let Some(origin) = &self.origin else { return Looked::empty(Found::Failure, Vec::new()) };
        let servers = self.all(origin, Rtype::NS);
        if name == origin && rtype == Rtype::SOA {
            return Looked::full(self.all(origin, Rtype::SOA), servers, Vec::new());
        }
        if name == origin && rtype == Rtype::NS {
            let below = |rr: &&Rr| matches!(&rr.rdata, Rdata::Ns(server) if server.is_at_or_below(origin));
            let glue = servers.iter().filter(below).flat_map(|rr| self.glue(rr)).collect();
            return Looked::full(servers, Vec::new(), glue);
        }
        if let Some(referral) = self.referral(name, rtype) {
            return referral;
        }
        let soa = self.all(origin, Rtype::SOA);
        let exact = self.names.contains_key(name);
        let node = if exact { Some(name.clone()) } else { self.wildcard(name) };
        let Some(node) = node else {
            // An empty non-terminal is no error, but has the SOA record of one.
            let found = if self.has_below(name) { Found::NoData } else { Found::NameError };
            return Looked::empty(found, soa);
        };
        let here = |mut rr: Rr| {
            rr.owner = name.clone();
            rr
        };
        let aliases: Vec<Rr> = self.all(&node, Rtype::CNAME).into_iter().map(here).collect();
        if !aliases.is_empty() && rtype != Rtype::CNAME {
            return self.follow(aliases, rtype, servers, style);
        }
        let records: Vec<Rr> = self.all(&node, rtype).into_iter().map(here).collect();
        if records.is_empty() {
            return Looked::empty(Found::NoData, soa);
        }
        let extra = self.extra(&records);
        Looked::full(records, servers, extra)
    }

    fn referral(&self, name: &Name, rtype: Rtype) -> Option<Looked> {
        let cut = self
            .path(name)
            .into_iter()
            .find(|cut| self.of(cut, Rtype::NS).next().is_some() && !(rtype == Rtype::DS && cut == name))?;
        let servers = self.all(&cut, Rtype::NS);
        let below = |rr: &&Rr| matches!(&rr.rdata, Rdata::Ns(server) if server.is_at_or_below(&rr.owner));
        let glue = servers.iter().filter(below).flat_map(|rr| self.glue(rr)).collect();
        Some(Looked {
            answer: Vec::new(),
            authority: servers,
            additional: glue,
            found: Found::Delegation,
            target: None,
        })
    }

    /// `externalLookup`.
    fn follow(&self, mut answer: Vec<Rr>, rtype: Rtype, servers: Vec<Rr>, style: Style) -> Looked {
        for _ in 0..10 {
            let Some(Rdata::Cname(target)) = answer.last().map(|rr| rr.rdata.clone()) else { break };
            let done = |answer: Vec<Rr>, found: Found, target: Option<Name>| {
                let additional = self.extra(&answer);
                Looked { answer, authority: servers.clone(), additional, found, target }
            };
            if style.sees_cuts
                && let Some(referral) = self.referral(&target, rtype)
            {
                return Looked { answer, ..referral };
            }
            let of_zone =
                rtype == Rtype::NS || (rtype == Rtype::SOA && self.origin.as_ref() == Some(&target));
            if !self.names.contains_key(&target) || (style.asks_for_servers && of_zone) {
                return done(answer, Found::Success, Some(target));
            }
            let next = self.all(&target, Rtype::CNAME);
            if next.is_empty() {
                answer.extend(self.all(&target, rtype));
                return done(answer, Found::Success, None);
            }
            if next.iter().any(|rr| matches!(&rr.rdata, Rdata::Cname(to) if *to == rr.owner)) {
                return Looked::empty(Found::Failure, Vec::new());
            }
            answer.extend(next);
        }
        let additional = self.extra(&answer);
        Looked { answer, authority: servers, additional, found: Found::Success, target: None }
    }
}

impl Looked {
    fn empty(found: Found, authority: Vec<Rr>) -> Self {
        Self { answer: Vec::new(), authority, additional: Vec::new(), found, target: None }
    }

    fn full(answer: Vec<Rr>, authority: Vec<Rr>, additional: Vec<Rr>) -> Self {
        Self { answer, authority, additional, found: Found::Success, target: None }
    }
}

/// Records of a file in order; lines that cannot be read are left out.
fn records(text: &str, origin: &Name) -> Vec<Rr> {
    let (mut origin, mut ttl, mut owner) = (origin.clone(), 3_600u32, origin.clone());
    let mut out = Vec::new();
    for line in logical_lines(text) {
        let mut words = line.words.as_slice();
        match words {
            [directive, value, ..] if directive == "$ORIGIN" => {
                origin = absolute(value, &origin).unwrap_or(origin);
                continue;
            }
            [directive, value, ..] if directive == "$TTL" => {
                ttl = seconds(value).unwrap_or(ttl);
                continue;
            }
            [first, rest @ ..] if !line.indented => {
                let Some(name) = absolute(first, &origin) else { continue };
                owner = name;
                words = rest;
            }
            _ => {}
        }
        out.extend(record(&owner, words, &origin, ttl));
    }
    out
}

struct Line {
    indented: bool,
    words: Vec<String>,
}

/// Lines without comments, brackets joined; quoted words keep their quotes.
fn logical_lines(text: &str) -> Vec<Line> {
    let mut out: Vec<Line> = Vec::new();
    let (mut depth, mut open) = (0usize, false);
    for raw in text.lines() {
        let mut line = Line { indented: raw.starts_with([' ', '\t']), words: Vec::new() };
        let (mut word, mut quoted) = (String::new(), false);
        for ch in raw.chars().chain(std::iter::once(' ')) {
            match ch {
                '"' => {
                    quoted = !quoted;
                    word.push(ch);
                }
                _ if quoted => word.push(ch),
                ';' => break,
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                ' ' | '\t' => {
                    if !word.is_empty() {
                        line.words.push(std::mem::take(&mut word));
                    }
                }
                _ => word.push(ch),
            }
        }
        line.words.extend((!word.is_empty()).then_some(word));
        match out.last_mut() {
            Some(last) if open => last.words.append(&mut line.words),
            _ if line.words.is_empty() => {}
            _ => out.push(line),
        }
        open = depth > 0;
    }
    out
}

fn absolute(word: &str, origin: &Name) -> Option<Name> {
    if word == "@" {
        return Some(origin.clone());
    }
    let name = Name::parse(word).ok()?;
    if word.ends_with('.') { Some(name) } else { name.joined(origin).ok() }
}

/// One record from its words behind the owner: TTL and class in any order, type, data.
#[must_use]
pub fn record(owner: &Name, words: &[String], origin: &Name, mut ttl: u32) -> Option<Rr> {
    let mut words = words;
    let mut of = Class::IN;
    while let [first, rest @ ..] = words {
        if let Some(found) = seconds(first) {
            ttl = found;
        } else if let Some(found) = class(&first.to_ascii_uppercase()) {
            of = found;
        } else {
            break;
        }
        words = rest;
    }
    let [kind, data @ ..] = words else { return None };
    let rtype = type_named(&kind.to_ascii_uppercase())?;
    let rdata = data_of(rtype, data, origin)?;
    Some(Rr { owner: owner.clone(), rtype, class: of, ttl, least: ttl, rdata })
}

/// Data in presentation form; `None` if it is none of the type.
#[must_use]
pub fn data_of(rtype: Rtype, words: &[String], origin: &Name) -> Option<Rdata> {
    if let [mark, _, hex @ ..] = words
        && mark == "\\#"
    {
        return Some(Rdata::Other(octets(&hex.concat())?.into()));
    }
    let name = |at: usize| absolute(words.get(at)?, origin);
    let number = |at: usize| words.get(at)?.parse::<u16>().ok();
    let (data, wanted) = match rtype {
        Rtype::A => (Rdata::A(words.first()?.parse().ok()?), 1),
        Rtype::AAAA => (Rdata::Aaaa(words.first()?.parse().ok()?), 1),
        Rtype::CNAME => (Rdata::Cname(name(0)?), 1),
        Rtype::NS => (Rdata::Ns(name(0)?), 1),
        Rtype::PTR => (Rdata::Ptr(name(0)?), 1),
        Rtype::MX => (Rdata::Mx(number(0)?, name(1)?), 2),
        Rtype::SRV => {
            let (priority, weight, port) = (number(0)?, number(1)?, number(2)?);
            (Rdata::Srv { priority, weight, port, target: name(3)? }, 4)
        }
        Rtype::SOA => {
            let mut numbers = [0u32; 5];
            for (at, slot) in numbers.iter_mut().enumerate() {
                let word = words.get(at + 2)?;
                *slot = if word == "SERIAL" { super::super::model::SERIAL } else { seconds(word)? };
            }
            (Rdata::Soa { mname: name(0)?, rname: name(1)?, numbers }, 7)
        }
        Rtype::TXT => return Some(Rdata::Txt(strings(words)?.into())),
        Rtype::HINFO => return Some(Rdata::Other(strings(words)?.into())),
        _ => return None,
    };
    (words.len() == wanted && type_of(&data) == rtype).then_some(data)
}

/// A number of seconds: `3600`, `1h`, `1d12h`.
fn seconds(word: &str) -> Option<u32> {
    let (mut total, mut number): (u32, Option<u32>) = (0, None);
    for ch in word.chars() {
        let unit = match ch.to_ascii_lowercase() {
            digit @ '0'..='9' => {
                let digit = digit.to_digit(10)?;
                number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit)?);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    match number {
        Some(number) => total.checked_add(number),
        None => (!word.is_empty()).then_some(total),
    }
}

fn octets(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// Character strings with their lengths.
fn strings(words: &[String]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for word in words {
        let inner = word.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(word);
        let mut text = Vec::new();
        let mut rest = inner.as_bytes();
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            if byte != b'\\' {
                text.push(byte);
            } else if let Some(digits) = rest.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit))
            {
                text.push(std::str::from_utf8(digits).ok()?.parse().ok()?);
                rest = &rest[3..];
            } else if let Some((&escaped, tail)) = rest.split_first() {
                text.push(escaped);
                rest = tail;
            }
        }
        out.push(u8::try_from(text.len()).ok()?);
        out.extend(text);
    }
    Some(out)
}

/// The words of a record's data as they stand in presentation form.
#[must_use]
pub fn words(text: &str) -> Vec<String> {
    logical_lines(text).into_iter().flat_map(|line| line.words).collect()
}
