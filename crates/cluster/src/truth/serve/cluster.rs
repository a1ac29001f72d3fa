//! The plugins `kubernetes`, `transfer` and `autopath` (`plugin/kubernetes/handler.go` and `backend_lookup.go`).
//!
//! Enters: a query. Leaves: what they serve. Deliberately absent: what exists (`truth::model`).

use truename_model::{Name, Question, Rcode, Rdata, Rtype};

use super::message::{Ask, Reply, Rr, Served, Stop};
use super::run::Run;
use super::site::{Block, Handler};
use super::wrappers::looked_into;
use crate::corefile::policy::{Autopath, Transfer};
use crate::corefile::{PodMode, Version};
use crate::truth::model::{Outcome, Records, VERSION_TTL, soa_data};
use crate::truth::options::{Era, Options};

impl<'s> Run<'s, '_, '_> {
    pub(super) fn kubernetes(
        &mut self,
        (options, line): (&Options, u32),
        block: &'s Block<'s>,
        at: usize,
        ask: &mut Ask,
    ) -> Result<Served, Stop> {
        let name = ask.question.name.clone();
        let Some(zone) = options.zone_of(&name).cloned() else { return self.next(block, at + 1, ask) };
        self.uses("kubernetes", line);
        let rtype = ask.question.rtype;
        if matches!(rtype, Rtype::AXFR | Rtype::IXFR) {
            return Ok(Served::code(Rcode::REFUSED));
        }
        let question = Question { class: truename_model::Class::IN, ..ask.question.clone() };
        let mut model = self.model(options, ask.spells_zone(&zone));
        let outcome = model.answer(&question, &zone);
        if model.panicked {
            // A question for NS stands in for the server's own name when that happens.
            if rtype == Rtype::NS
                && name == zone
                && let Some(own) = own_name(&zone)
            {
                ask.question.name = own;
                ask.written = None;
            }
            return Err(Stop::Panic);
        }
        let synced = self.site.around.synced.unwrap_or_else(|| {
            let old = matches!(self.site.era, Era::Before19 | Era::UpTo194);
            !(old && options.noendpoints) || self.view.choose(2) == 0
        });
        let positive = |rcode| negative(ask, rcode, &zone, options.ttl);
        match outcome {
            Outcome::Records(records) => {
                let reply = self.positive(records, options, ask, &zone)?;
                Ok(Served::wrote(reply))
            }
            Outcome::NoData => {
                self.fake_lookup(options, ask, &zone)?;
                Ok(Served::wrote(positive(Rcode::NOERROR)))
            }
            Outcome::NxDomain if options.falls_through(&name) => self.next(block, at + 1, ask),
            // A server that has not seen the objects denies nothing (row 4).
            Outcome::NxDomain if !synced => Ok(Served::wrote(positive(Rcode::SERVFAIL))),
            Outcome::NxDomain => Ok(Served::wrote(positive(Rcode::NXDOMAIN))),
            Outcome::Unanswerable => {
                let mut reply = Reply::to(ask);
                reply.aa = true;
                reply.unpackable = true;
                Ok(Served::wrote(reply))
            }
            Outcome::AnyOf(_) => Err(Stop::Unmodelled("the server's own addresses".to_owned())),
            Outcome::OutOfModel(why) => Err(Stop::Unmodelled(why.to_owned())),
        }
    }

    /// Types without an answer of their own look for addresses, and follow aliases to see whether the name exists.
    fn fake_lookup(&mut self, options: &Options, ask: &Ask, zone: &Name) -> Result<(), Stop> {
        let own = matches!(
            ask.question.rtype,
            Rtype::A
                | Rtype::AAAA
                | Rtype::TXT
                | Rtype::CNAME
                | Rtype::PTR
                | Rtype::MX
                | Rtype::SRV
                | Rtype::SOA
        );
        if own {
            return Ok(());
        }
        let inner = ask.about(ask.question.name.clone(), Rtype::A);
        if let Outcome::Records(records) = self.model(options, false).answer(&inner.question, zone) {
            for target in records.chase.iter().chain(&records.further) {
                self.lookup(&inner, target.clone(), Rtype::A)?;
            }
        }
        Ok(())
    }

    fn positive(
        &mut self,
        records: Records,
        options: &Options,
        ask: &Ask,
        zone: &Name,
    ) -> Result<Reply, Stop> {
        let mut reply = Reply::to(ask);
        reply.aa = true;
        let rtype = ask.question.rtype;
        let ttl = if rtype == Rtype::TXT { VERSION_TTL } else { options.ttl };
        let ttl_of = |data: &Rdata| match data {
            Rdata::Soa { .. } => options.ttl.min(300),
            _ => ttl,
        };
        let mut chased = Vec::new();
        let mut dropped: Vec<Name> = Vec::new();
        if rtype == Rtype::SRV {
            for target in &records.further {
                for kind in [Rtype::A, Rtype::AAAA] {
                    let found = self.lookup(ask, target.clone(), kind)?;
                    let again = |rr: &Rr| kind == Rtype::A || rr.rtype != Rtype::CNAME;
                    reply.additional.extend(found.into_iter().flat_map(|found| found.answer).filter(again));
                }
            }
        } else if rtype != Rtype::CNAME {
            for target in records.chase.iter().chain(&records.further) {
                match self.lookup(ask, target.clone(), rtype)? {
                    Some(found) => chased.extend(found.answer),
                    None => dropped.push(target.clone()),
                }
            }
        }
        for (owner, data) in records.answers {
            let gone = matches!(&data, Rdata::Cname(target) if dropped.contains(target));
            if !gone {
                let ttl = ttl_of(&data);
                reply.answer.push(Rr::new(owner, ttl, data));
            }
        }
        reply.answer.extend(chased);
        let extra = records.additional.into_iter().map(|(owner, data)| Rr::new(owner, options.ttl, data));
        reply.additional.extend(extra);
        if reply.answer.is_empty() {
            return Ok(negative(ask, Rcode::NOERROR, zone, options.ttl));
        }
        Ok(reply)
    }

    pub(super) fn transfer(
        &mut self,
        list: &[&Transfer],
        block: &'s Block<'s>,
        at: usize,
        ask: &mut Ask,
    ) -> Result<Served, Stop> {
        if !matches!(ask.question.rtype, Rtype::AXFR | Rtype::IXFR) {
            return self.next(block, at + 1, ask);
        }
        if !ask.tcp {
            return Ok(Served::code(Rcode::REFUSED));
        }
        let name = ask.question.name.clone();
        let zones = list.iter().flat_map(|one| one.zones.iter().map(move |zone| (zone, *one)));
        let found = zones
            .filter(|(zone, _)| name.is_at_or_below(zone))
            .max_by_key(|(zone, _)| (zone.wire().len(), *zone));
        let Some((_, transfer)) = found else { return self.next(block, at + 1, ask) };
        self.uses("transfer", transfer.line);
        let client = ask.client.to_string();
        let allowed = |to: &String| {
            to == "*" || *to == client || to.rsplit_once(':').is_some_and(|(host, _)| host == client)
        };
        if !transfer.to.iter().any(allowed) {
            return Ok(Served::wrote(Reply::code(ask, Rcode::REFUSED)));
        }
        for handler in &block.handlers {
            let records = match handler {
                Handler::File(zones, data) => {
                    zones.iter().find(|(zone, _)| *zone == name).and_then(|(_, zone)| {
                        self.uses("file", data.line);
                        Some(zone.as_ref()?.records().cloned().collect::<Vec<Rr>>())
                    })
                }
                Handler::External(external) => self.outer_transfer(external, block, &name)?,
                Handler::Kubernetes(options, line) => self.zone_transfer((options, *line), ask, &name)?,
                _ => None,
            };
            if let Some(answer) = records {
                let mut reply = Reply { answer, ..Reply::to(ask) };
                reply.aa = true;
                return Ok(Served::wrote(reply));
            }
        }
        self.next(block, at + 1, ask)
    }

    fn zone_transfer(
        &mut self,
        (options, line): (&Options, u32),
        ask: &Ask,
        name: &Name,
    ) -> Result<Option<Vec<Rr>>, Stop> {
        if options.zone_of(name).is_none() {
            return Ok(None);
        }
        self.uses("kubernetes", line);
        if options.local_ips.is_none() {
            return Err(Stop::Unmodelled("the server's own addresses".to_owned()));
        }
        let mut model = self.model(options, false);
        let (records, servers) = model.transfer(name);
        if model.panicked {
            // The panic is in a goroutine of its own, where nobody catches it.
            return Err(Stop::Dies(Box::new(None)));
        }
        let answer: Vec<Rr> =
            records.into_iter().map(|(owner, ttl, data)| Rr::new(owner, ttl, data)).collect();
        // 1.14.4 closes the transfer once for each address of its own names (row 3).
        if self.site.era == Era::From1144 && self.site.version < Version(1, 14, 5) {
            match servers {
                0 => return Err(Stop::Hangs),
                1 => {}
                _ => {
                    let reply = Reply { answer, aa: true, ..Reply::to(ask) };
                    return Err(Stop::Dies(Box::new(Some(reply))));
                }
            }
        }
        Ok(Some(answer))
    }

    pub(super) fn autopath(
        &mut self,
        autopath: &Autopath,
        block: &'s Block<'s>,
        at: usize,
        ask: &mut Ask,
    ) -> Result<Served, Stop> {
        let name = ask.question.name.clone();
        if !autopath.zones.iter().any(|zone| name.is_at_or_below(zone)) {
            return self.next(block, at + 1, ask);
        }
        let Some(search) = self.search(autopath, block, ask)? else { return self.next(block, at + 1, ask) };
        let Some(first) = search.first().filter(|first| name.is_at_or_below(first)) else {
            return self.next(block, at + 1, ask);
        };
        self.uses("autopath", autopath.line);
        // The search domain itself has no base: an error (row 5).
        let Some(base) = name.without_suffix(first).filter(|base| !base.is_root()) else {
            return Ok(Served::error(Rcode::SERVFAIL));
        };
        let mut first_served: Option<Served> = None;
        for suffix in &search {
            let Ok(joined) = base.joined(suffix) else { return Ok(Served::error(Rcode::SERVFAIL)) };
            let mut inner = Ask {
                question: Question { name: joined, ..ask.question.clone() },
                // The base keeps the letter case that the client wrote, search domains have none.
                written: ask.written.as_ref().map(|written| {
                    let base = &written[..base.wire().len() - 1];
                    [base, suffix.wire()].concat().into_boxed_slice()
                }),
                ..ask.clone()
            };
            let served = self.next(block, at + 1, &mut inner).map_err(looked_into)?;
            if served.failed {
                return Ok(Served { reply: None, ..served });
            }
            first_served.get_or_insert_with(|| served.clone());
            if !served.is_written() {
                continue;
            }
            let Some(mut reply) = served.reply else {
                if self.site.version < Version(1, 15, 0) {
                    return Err(Stop::Panic);
                }
                continue;
            };
            if reply.rcode == Rcode::NXDOMAIN {
                continue;
            }
            if let Some(found) = reply.answer.iter().find(|rr| rr.owner != name).cloned() {
                let alias = Rr {
                    owner: name.clone(),
                    rtype: Rtype::CNAME,
                    rdata: Rdata::Cname(found.owner.clone()),
                    ..found
                };
                reply.answer.insert(0, alias);
            }
            reply.question.name = name;
            return Ok(Served { reply: Some(reply), rcode: served.rcode, failed: false });
        }
        Ok(first_served.unwrap_or_else(|| Served::code(Rcode::NOERROR)))
    }

    /// The client's search list as the plugin knows it; the root at its end.
    fn search(
        &mut self,
        autopath: &Autopath,
        block: &'s Block<'s>,
        ask: &Ask,
    ) -> Result<Option<Vec<Name>>, Stop> {
        let own = self.site.around.resolv.search.clone();
        if autopath.source != "@kubernetes" {
            let text = match autopath.source.as_str() {
                "/etc/resolv.conf" => Some(own),
                path => self.site.around.files.get(path).map(|text| super::site::Resolv::read(text).search),
            };
            let mut search = text.ok_or_else(|| Stop::Unmodelled(format!("autopath {}", autopath.source)))?;
            search.push(Name::root());
            return Ok(Some(search));
        }
        let Some(options) = block.kubernetes().filter(|options| options.pods == PodMode::Verified) else {
            return Ok(None);
        };
        let Some(zone) = options.zone_of(&ask.question.name).cloned() else { return Ok(None) };
        let Some(pod) = self.model(options, false).client_pod(ask.client) else { return Ok(None) };
        if !self.site.around.knows_search {
            return Err(Stop::Unmodelled("the server's own search list".to_owned()));
        }
        let svc = Name::parse("svc").ok().and_then(|svc| svc.joined(&zone).ok());
        let Some(svc) = svc else { return Ok(None) };
        let Some(first) = Name::parse(&pod.meta.namespace).ok().and_then(|label| label.joined(&svc).ok())
        else {
            return Ok(None);
        };
        let mut search = vec![first, svc, zone];
        search.extend(own);
        search.push(Name::root());
        Ok(Some(search))
    }
}

/// `ns.dns.ZONE`.
fn own_name(zone: &Name) -> Option<Name> {
    Name::parse("ns.dns").ok()?.joined(zone).ok()
}

/// A denial with the zone's SOA record (`BackendError`).
fn negative(ask: &Ask, rcode: Rcode, zone: &Name, ttl: u32) -> Reply {
    let mut reply = Reply::code(ask, rcode);
    reply.aa = true;
    match soa_data(zone, ttl) {
        Some(soa) => reply.authority.push(Rr::new(zone.clone(), ttl.min(300), soa)),
        None => reply.unpackable = true,
    }
    reply
}
