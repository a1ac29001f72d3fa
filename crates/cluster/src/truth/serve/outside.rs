//! The plugin `k8s_external` (`plugin/k8s_external`).
//!
//! Enters: a query. Leaves: what it serves. Deliberately absent: which services have external addresses
//! (`truth::model::external`).

use std::net::IpAddr;

use truename_model::{Name, Rcode, Rdata, Rtype};

use super::message::{Ask, Reply, Rr, Served, Stop};
use super::run::Run;
use super::site::Block;
use crate::corefile::Version;
use crate::corefile::kubernetes::{K8sExternal, longest_zone};
use crate::truth::model::Outer;
use crate::truth::model::SERIAL;
use crate::truth::options::Era;

impl<'s> Run<'s, '_, '_> {
    pub(super) fn external(
        &mut self,
        external: &'s K8sExternal,
        block: &'s Block<'s>,
        at: usize,
        ask: &mut Ask,
    ) -> Result<Served, Stop> {
        let name = ask.question.name.clone();
        let Some(zone) = longest_zone(&external.zones, &name).cloned() else {
            return self.next(block, at + 1, ask);
        };
        let Some(options) = block.kubernetes() else { return self.next(block, at + 1, ask) };
        self.uses("k8s_external", external.line);
        let own_names = name.labels().next() == Some(b"ns1") || ask.question.rtype == Rtype::NS;
        if own_names && options.local_ips.is_none() {
            return Err(Stop::Unmodelled("the server's own addresses".to_owned()));
        }
        let mut reply = Reply::to(ask);
        // Up to 1.8 the plugin never claims authority (row 6).
        reply.aa = self.site.era != Era::Before19;
        if external.zones.contains(&name) {
            self.outer_apex(external, block, ask, &mut reply)?;
            return Ok(Served::wrote(reply));
        }
        let apex = Name::parse(&external.apex).ok();
        let below_apex = external.zones.iter().any(|zone| {
            apex.as_ref()
                .and_then(|apex| apex.joined(zone).ok())
                .is_some_and(|apex| name.is_at_or_below(&apex))
        });
        if below_apex {
            self.outer_own(external, block, ask, &zone, &mut reply)?;
            return Ok(Served::wrote(reply));
        }
        let rtype = ask.question.rtype;
        let mut model = self.model(options, false);
        let (found, rcode) = model.outer(&name, &zone, rtype, external.headless);
        if model.panicked {
            return Err(Stop::Panic);
        }
        if found.is_empty() {
            if rcode == Rcode::NXDOMAIN && external.fallthrough.passes(&name) {
                return self.next(block, at + 1, ask);
            }
            reply.rcode = rcode;
            reply.authority.push(soa(external, &zone));
            return Ok(Served::wrote(reply));
        }
        match rtype {
            Rtype::A | Rtype::AAAA => {
                reply.answer = self.outer_addresses(external, options.ttl, &found, &name, rtype, ask)?
            }
            Rtype::SRV => self.outer_srv(external, options.ttl, &found, &name, ask, &mut reply)?,
            Rtype::PTR if self.site.era != Era::Before19 => {
                let first = external.zones.first().cloned().unwrap_or_else(Name::root);
                for one in found {
                    let Ok(target) = one.name.joined(&first) else { continue };
                    push(&mut reply.answer, Rr::new(name.clone(), external.ttl, Rdata::Ptr(target)));
                }
            }
            _ => reply.authority.push(soa(external, &zone)),
        }
        if reply.answer.is_empty() {
            reply.authority = vec![soa(external, &zone)];
        }
        Ok(Served::wrote(reply))
    }

    fn outer_apex(
        &mut self,
        external: &K8sExternal,
        block: &Block<'_>,
        ask: &Ask,
        reply: &mut Reply,
    ) -> Result<(), Stop> {
        let zone = &ask.question.name;
        match ask.question.rtype {
            Rtype::SOA => reply.answer.push(soa(external, zone)),
            Rtype::NS => {
                let Some(server) = server(external, zone) else { return Ok(()) };
                reply.answer.push(Rr::new(zone.clone(), external.ttl, Rdata::Ns(server.clone())));
                for ip in self.outer_servers(external, block)? {
                    push(&mut reply.additional, Rr::new(server.clone(), external.ttl, address(ip)));
                }
            }
            _ => reply.authority.push(soa(external, zone)),
        }
        Ok(())
    }

    /// Names at and below the apex label, where the name server lives.
    fn outer_own(
        &mut self,
        external: &K8sExternal,
        block: &Block<'_>,
        ask: &Ask,
        zone: &Name,
        reply: &mut Reply,
    ) -> Result<(), Stop> {
        let name = &ask.question.name;
        let labels = name.labels_above(zone).unwrap_or_default();
        let missing = match labels.as_slice() {
            [_] => false,
            [first, _] => *first != b"ns1",
            _ => true,
        };
        if missing {
            reply.rcode = Rcode::NXDOMAIN;
            // `SetRcode` on the message itself lost its question.
            reply.mangled = self.site.version < Version(1, 10, 0);
            reply.authority.push(soa(external, zone));
            return Ok(());
        }
        if labels.len() == 2 {
            let addresses = self.outer_servers(external, block)?;
            let wanted = matches!(ask.question.rtype, Rtype::A | Rtype::AAAA);
            for ip in addresses.into_iter().filter(|_| wanted) {
                if ip.is_ipv4() == (ask.question.rtype == Rtype::A) {
                    push(&mut reply.answer, Rr::new(name.clone(), external.ttl, address(ip)));
                }
            }
        }
        if reply.answer.is_empty() {
            reply.authority.push(soa(external, zone));
        }
        Ok(())
    }

    fn outer_servers(&mut self, external: &K8sExternal, block: &Block<'_>) -> Result<Vec<IpAddr>, Stop> {
        let headless = external.headless && self.site.era != Era::Before19;
        let Some(options) = block.kubernetes() else { return Ok(Vec::new()) };
        let mut model = self.model(options, false);
        let found = model.outer_servers(headless);
        if model.panicked { Err(Stop::Panic) } else { Ok(found) }
    }

    fn outer_addresses(
        &mut self,
        external: &K8sExternal,
        ttl: u32,
        found: &[Outer],
        owner: &Name,
        rtype: Rtype,
        ask: &Ask,
    ) -> Result<Vec<Rr>, Stop> {
        let mut out = Vec::new();
        for one in found {
            match one.host.parse::<IpAddr>() {
                Ok(ip) if ip.is_ipv4() == (rtype == Rtype::A) => {
                    push(&mut out, Rr::new(owner.clone(), external.ttl, address(ip)));
                }
                Ok(_) => {}
                Err(_) => {
                    let Ok(target) = Name::parse(&one.host) else { continue };
                    push(&mut out, Rr::new(owner.clone(), ttl, Rdata::Cname(target.clone())));
                    let chased = self.lookup(ask, target, rtype)?;
                    chased.into_iter().flat_map(|reply| reply.answer).for_each(|rr| push(&mut out, rr));
                }
            }
        }
        Ok(out)
    }

    fn outer_srv(
        &mut self,
        external: &K8sExternal,
        ttl: u32,
        found: &[Outer],
        owner: &Name,
        ask: &Ask,
        reply: &mut Reply,
    ) -> Result<(), Stop> {
        let weight = (100 / found.len().max(1)).max(1) as u16;
        let mut looked: Vec<Name> = Vec::new();
        for one in found {
            let Some(port) = one.port else { continue };
            let ip = one.host.parse::<IpAddr>().ok();
            let target = match ip {
                Some(_) => one.name.clone(),
                None => match Name::parse(&one.host) {
                    Ok(name) => name,
                    Err(_) => continue,
                },
            };
            let data = Rdata::Srv { priority: 0, weight, port, target: target.clone() };
            // One record for each target and port.
            let known = |rr: &Rr| matches!(&rr.rdata, Rdata::Srv { port: p, target: t, .. } if *p == port && *t == target);
            if !reply.answer.iter().any(known) {
                reply.answer.push(Rr::new(owner.clone(), ttl, data));
            }
            match ip {
                Some(ip) => push(&mut reply.additional, Rr::new(target, external.ttl, address(ip))),
                None if looked.contains(&target) => {}
                None => {
                    looked.push(target.clone());
                    for kind in [Rtype::A, Rtype::AAAA] {
                        let chased = self.lookup(ask, target.clone(), kind)?;
                        chased
                            .into_iter()
                            .flat_map(|chased| chased.answer)
                            .for_each(|rr| push(&mut reply.additional, rr));
                    }
                }
            }
        }
        Ok(())
    }

    /// `Transfer` of the external zone.
    pub(super) fn outer_transfer(
        &mut self,
        external: &K8sExternal,
        block: &Block<'_>,
        name: &Name,
    ) -> Result<Option<Vec<Rr>>, Stop> {
        let Some(options) = block.kubernetes().filter(|_| external.zones.contains(name)) else {
            return Ok(None);
        };
        if self.site.era == Era::Before19 {
            return Ok(None);
        }
        self.uses("k8s_external", external.line);
        let mut out = vec![soa(external, name)];
        if let Some(server) = server(external, name) {
            out.push(Rr::new(name.clone(), external.ttl, Rdata::Ns(server.clone())));
            for ip in self.outer_servers(external, block)? {
                push(&mut out, Rr::new(server.clone(), external.ttl, address(ip)));
            }
        }
        let mut model = self.model(options, false);
        let all = model.outer_all(name, external.headless);
        if model.panicked {
            // The panic is in a goroutine of its own, where nobody catches it.
            return Err(Stop::Dies(Box::new(None)));
        }
        // An endpoint without a port gives an empty set of SRV records, of which `transfer` took the first.
        let portless = |(one, _, service): &(Outer, _, Name)| one.port.is_none() && one.name != *service;
        if self.site.version < Version(1, 14, 5) && all.iter().any(portless) {
            return Err(Stop::Panic);
        }
        outer_services(&all, (external.ttl, options.ttl), &mut out);
        Ok(Some(out))
    }
}

/// The services of a transfer. Nobody is asked for names: the transfer has no server to ask (`Lookup` fails there).
fn outer_services(all: &[(Outer, Option<Name>, Name)], (ttl, inner): (u32, u32), out: &mut Vec<Rr>) {
    let mut groups: Vec<(&Name, Vec<(&Outer, u16)>)> = Vec::new();
    for (one, owner, service) in all {
        let addresses = |owner: &Name, out: &mut Vec<Rr>| match one.host.parse::<IpAddr>() {
            Ok(ip) => push(out, Rr::new(owner.clone(), ttl, address(ip))),
            Err(_) => {
                let target = Name::parse(&one.host).ok();
                push_some(out, target.map(|target| Rr::new(owner.clone(), inner, Rdata::Cname(target))));
            }
        };
        addresses(service, out);
        let srv = |target: &Name, weight: u16| {
            one.port.map(|port| Rdata::Srv { priority: 0, weight, port, target: target.clone() })
        };
        if one.name == *service {
            // The first of each owner counts, the bare one and the full one.
            let host = Name::parse(&one.host).ok().filter(|_| one.host.parse::<IpAddr>().is_err());
            let bare = host.clone().unwrap_or_else(|| service.clone());
            let full = host.map_or_else(|| service.clone(), |host| stripped(&host));
            for (owner, target) in std::iter::once((service, bare)).chain(owner.as_ref().map(|of| (of, full)))
            {
                let known = out.iter().any(|rr| rr.rtype == Rtype::SRV && rr.owner == *owner);
                let data = srv(&target, 100).filter(|_| !known);
                push_some(out, data.map(|data| Rr::new(owner.clone(), inner, data)));
            }
            continue;
        }
        addresses(&one.name, out);
        push_some(out, srv(&target_of(one), 100).map(|data| Rr::new(one.name.clone(), inner, data)));
        for group in std::iter::once(service).chain(owner) {
            let Some(port) = one.port.or(Some(0)).filter(|_| one.port.is_some() || group == service) else {
                continue;
            };
            match groups.iter_mut().find(|(of, _)| *of == group) {
                Some((_, list)) => list.push((one, port)),
                None => groups.push((group, vec![(one, port)])),
            }
        }
    }
    for (owner, list) in groups {
        let weight = (100 / list.len().max(1)).max(1) as u16;
        for (one, port) in list.iter().filter(|(one, _)| one.port.is_some()) {
            // The full name leads to the endpoint's own name, the bare one to what it stands for.
            let bare = all.iter().any(|(_, _, service)| service == owner);
            let target = if bare { target_of(one) } else { one.name.clone() };
            let data = Rdata::Srv { priority: 0, weight, port: *port, target };
            push(out, Rr::new(owner.clone(), inner, data));
        }
    }
}

/// Where an SRV record of an endpoint leads: to the endpoint's name, unless its address is a name itself.
fn target_of(one: &Outer) -> Name {
    let host = Name::parse(&one.host).ok().filter(|_| one.host.parse::<IpAddr>().is_err());
    host.unwrap_or_else(|| one.name.clone())
}

/// A target without its first two labels (`targetStrip`), unless nothing would be left.
fn stripped(host: &Name) -> Name {
    let mut at = Some(host.clone());
    for _ in 0..2 {
        at = at.and_then(|name| name.parent());
    }
    at.filter(|name| !name.is_root()).unwrap_or_else(|| host.clone())
}

fn push_some(section: &mut Vec<Rr>, rr: Option<Rr>) {
    if let Some(rr) = rr {
        push(section, rr);
    }
}

fn push(section: &mut Vec<Rr>, rr: Rr) {
    if !section.contains(&rr) {
        section.push(rr);
    }
}

fn address(ip: IpAddr) -> Rdata {
    match ip {
        IpAddr::V4(ip) => Rdata::A(ip),
        IpAddr::V6(ip) => Rdata::Aaaa(ip),
    }
}

/// `ns1.APEX.ZONE`.
fn server(external: &K8sExternal, zone: &Name) -> Option<Name> {
    Name::parse(&format!("ns1.{}", external.apex)).ok()?.joined(zone).ok()
}

fn soa(external: &K8sExternal, zone: &Name) -> Rr {
    let mname = server(external, zone).unwrap_or_else(Name::root);
    let rname =
        Name::parse(&format!("hostmaster.{}", external.apex)).ok().and_then(|name| name.joined(zone).ok());
    let rname = rname.unwrap_or_else(Name::root);
    let numbers = [SERIAL, 7_200, 1_800, 86_400, external.ttl];
    Rr::new(zone.clone(), external.ttl, Rdata::Soa { mname, rname, numbers })
}
