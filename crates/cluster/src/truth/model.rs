//! The kubernetes plugin as a function: what it answers in one possible world.
//!
//! Enters: a [`View`], [`Options`] and a question in one of the zones. Leaves: an [`Outcome`]. The order of the code
//! follows CoreDNS (`plugin/kubernetes/kubernetes.go`, `plugin/backend_lookup.go`), the behaviour the measured rows of
//! `answer-truth-measured`. Deliberately absent: caching, other plugins, upstreams: a chase that leaves the zone ends
//! in [`Records::chase`].

use std::net::IpAddr;

use smallvec::SmallVec;
use truename_model::name::Name;
use truename_model::object::{EndpointSlice, SliceEndpoint};
use truename_model::rr::{Class, Question, Rdata, Rtype};

use super::options::{Era, Options, is_reverse};
use crate::history::{Kind, SERVICE_NAME, State};
use crate::names;
use crate::view::{View, as_service, as_slice};

mod find;
mod nameserver;
mod transfer;
mod external;

pub use external::Outer;
pub use transfer::Timed;

/// TTL of `dns-version.Z`, seconds.
pub const VERSION_TTL: u32 = 28_800;

/// Owner and data of one record.
pub type Datum = (Name, Rdata);

/// A positive answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Answer section.
    pub answers: SmallVec<[Datum; 4]>,
    /// Additional section, as far as the plugin itself fills it.
    pub additional: Vec<Datum>,
    /// The alias chain ends in this name, outside the zone: whatever its lookup gives follows.
    pub chase: Option<Name>,
    /// More such names, where one owner has several aliases (slices of names, wildcards).
    pub further: Vec<Name>,
}

/// What the plugin answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "most answers are records, and a box for each costs more than the space"
)]
pub enum Outcome {
    /// Records.
    Records(Records),
    /// One or more of these; which ones depends on what is not known (the server's own addresses).
    AnyOf(Vec<Datum>),
    /// The name exists, the type does not.
    NoData,
    /// The name does not exist.
    NxDomain,
    /// The answer cannot be packed: nothing is sent (measured row 1).
    Unanswerable,
    /// The model does not judge this; the text says why.
    OutOfModel(&'static str),
}

/// `errNoItems`, `errNsNotExposed`, `errInvalidRequest`: the name does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NameError;

type Items<'a> = SmallVec<[Item<'a>; 4]>;

/// A `msg.Service`: one thing behind a name.
struct Item<'a> {
    host: std::borrow::Cow<'a, str>,
    /// `None`: CoreDNS's −1, a service or slice without ports.
    port: Option<u16>,
    endpoint: Option<String>,
    /// Cluster of a multicluster endpoint.
    cluster: Option<&'a str>,
    service: &'a str,
    namespace: &'a str,
    /// Label and namespace of a pod name, as asked for.
    pod: Option<(String, String)>,
}

/// What a host text is (`HostType`).
fn host_ip(host: &str) -> Option<IpAddr> {
    host.parse::<IpAddr>().ok().map(names::canonical)
}

/// The plugin at work in one world.
pub struct Model<'v, 'a> {
    /// The world.
    pub view: &'v mut View<'a>,
    /// Options.
    pub options: &'v Options,
    /// Release.
    pub era: Era,
    /// The question spells the zone with upper case: fixed names are compared with it as written.
    pub mixed: bool,
    /// It looked into the store of endpoints that old versions never make: CoreDNS panics.
    pub panicked: bool,
}

impl<'a> Model<'_, 'a> {
    /// The answer to `question`, whose name lies in `zone` (one of the options' zones).
    pub fn answer(&mut self, question: &Question, zone: &Name) -> Outcome {
        if question.class != Class::IN {
            return Outcome::OutOfModel("class");
        }
        if self.options.is_multicluster(zone) {
            self.view.whole(Kind::Other);
        }
        let at_apex = question.name == *zone;
        match question.rtype {
            Rtype::A | Rtype::AAAA => self.addresses(&question.name, zone, question.rtype),
            Rtype::TXT => self.txt(&question.name, zone),
            Rtype::CNAME => self.cname(&question.name, zone),
            Rtype::PTR => self.ptr(&question.name, zone),
            Rtype::SRV => self.srv(&question.name, zone),
            Rtype::SOA if at_apex => soa(zone, self.options.ttl),
            Rtype::SOA => Outcome::NoData,
            Rtype::AXFR | Rtype::IXFR => Outcome::OutOfModel("transfer"),
            // The name is compared in lower case with the zone as written.
            Rtype::NS if at_apex && !self.mixed => self.ns(zone),
            Rtype::MX => self.existence(&question.name, zone),
            // A lookup of A decides between NODATA and NXDOMAIN.
            _ => match self.addresses(&question.name, zone, Rtype::A) {
                Outcome::Records(_) | Outcome::AnyOf(_) | Outcome::NoData => Outcome::NoData,
                other => other,
            },
        }
    }

    /// True for the server's own name, whose addresses are gathered for every type.
    fn is_own(&mut self, name: &Name, zone: &Name) -> bool {
        let own = self.is_default_ns(name, zone);
        if own {
            self.no_endpoints();
        }
        own
    }

    fn existence(&mut self, name: &Name, zone: &Name) -> Outcome {
        if self.is_own(name, zone) {
            return Outcome::NoData;
        }
        match self.records(name, zone) {
            Ok(_) => Outcome::NoData,
            Err(NameError) => Outcome::NxDomain,
        }
    }

    fn addresses(&mut self, name: &Name, zone: &Name, rtype: Rtype) -> Outcome {
        let mut records = Records::default();
        let mut aliases: Vec<Datum> = Vec::new();
        match self.address_walk(name, zone, rtype, &mut aliases, &mut records) {
            Err(NameError) => Outcome::NxDomain,
            Ok(Some(outcome)) => outcome,
            Ok(None) if records.answers.is_empty() => Outcome::NoData,
            Ok(None) => Outcome::Records(records),
        }
    }

    /// `plugin.A` and `plugin.AAAA`: adds what `name` gives to `into`, aliases inside the zone followed.
    fn address_walk(
        &mut self,
        name: &Name,
        zone: &Name,
        rtype: Rtype,
        aliases: &mut Vec<Datum>,
        into: &mut Records,
    ) -> Result<Option<Outcome>, NameError> {
        if self.is_own(name, zone) {
            return Ok(self.default_ns(name, zone, rtype, into));
        }
        let items = self.records(name, zone)?;
        let mut seen: SmallVec<[IpAddr; 8]> = SmallVec::new();
        for item in &items {
            match host_ip(&item.host) {
                Some(ip) if ip.is_ipv4() == (rtype == Rtype::A) => {
                    if !seen.contains(&ip) {
                        seen.push(ip);
                        into.answers.push((name.clone(), address_data(ip)));
                    }
                }
                Some(_) => {}
                None => self.alias(name, &item.host, zone, rtype, aliases, into),
            }
        }
        Ok(None)
    }

    /// An ExternalName: measured rows 30 to 32.
    fn alias(
        &mut self,
        name: &Name,
        target: &str,
        zone: &Name,
        rtype: Rtype,
        aliases: &mut Vec<Datum>,
        into: &mut Records,
    ) {
        let Ok(target) = Name::parse(target) else { return };
        // A direct loop, or a chain too long or running in circles, adds nothing.
        let record = (name.clone(), Rdata::Cname(target.clone()));
        let known = aliases.iter().any(|(_, data)| *data == record.1);
        if target.is_at_or_below(name) || aliases.len() > self.era.longest_chain() || known {
            return;
        }
        if !target.is_at_or_below(zone) {
            into.answers.push(record);
            match into.chase {
                None => into.chase = Some(target),
                Some(_) => into.further.push(target),
            }
            return;
        }
        aliases.push(record.clone());
        let mut inner = Records::default();
        let walked = self.address_walk(&target, zone, rtype, aliases, &mut inner);
        aliases.pop();
        if matches!(walked, Ok(None)) && !inner.answers.is_empty() {
            into.answers.push(record);
            into.answers.append(&mut inner.answers);
            into.further.extend(inner.further);
            match into.chase {
                None => into.chase = inner.chase,
                Some(_) => into.further.extend(inner.chase),
            }
        }
    }

    fn cname(&mut self, name: &Name, zone: &Name) -> Outcome {
        if self.is_own(name, zone) {
            return Outcome::NoData;
        }
        let Ok(items) = self.records(name, zone) else { return Outcome::NxDomain };
        if items.is_empty() {
            return Outcome::NoData;
        }
        // Which of several comes first is the order of a Go map.
        let mixed = items.iter().any(|item| item.host != items[0].host);
        let at = if mixed && items.iter().any(|item| host_ip(&item.host).is_none()) {
            self.view.choose(items.len())
        } else {
            0
        };
        let first = &items[at.min(items.len() - 1)];
        match (host_ip(&first.host), Name::parse(&first.host)) {
            (None, Ok(target)) => one(name, Rdata::Cname(target)),
            _ => Outcome::NoData,
        }
    }

    /// Measured rows 11 and 12.
    fn txt(&mut self, name: &Name, zone: &Name) -> Outcome {
        if name.labels_above(zone).is_some_and(|labels| labels == [b"dns-version"]) {
            return one(name, Rdata::Txt(Box::from(&b"\x051.1.0"[..])));
        }
        if matches!(self.era, Era::Before19 | Era::UpTo194) {
            return Outcome::NoData;
        }
        let found = self.records(name, zone);
        if found.as_ref().is_ok_and(|items| !items.is_empty()) {
            return Outcome::NoData;
        }
        if self.options.zonal
            && found.is_ok()
            && names::parse(name, zone, false, true).is_some_and(|request| request.zonal.is_some())
        {
            return Outcome::NoData;
        }
        match self.era {
            Era::From1144 | Era::From115 => Outcome::NxDomain,
            Era::Before19 | Era::UpTo194 => Outcome::NoData,
            Era::Between | Era::Unknown => match self.view.choose(2) {
                0 => Outcome::NxDomain,
                _ => Outcome::NoData,
            },
        }
    }

    fn srv(&mut self, name: &Name, zone: &Name) -> Outcome {
        if self.is_own(name, zone) {
            return Outcome::NoData;
        }
        let Ok(mut items) = self.records(name, zone) else { return Outcome::NxDomain };
        // Hosts that are names are left out before anything is counted.
        items.retain(|item| host_ip(&item.host).is_some());
        // 100 / (100 · n) · 100, whole, at least 1: duplicates count before they are merged (row 37).
        let weight = (100 / items.len().max(1)).max(1) as u16;
        let mut records = Records::default();
        for item in &items {
            let Some(port) = item.port else { continue };
            let Some(ip) = host_ip(&item.host) else { continue };
            let Some(target) = item_name(item, zone) else { return Outcome::Unanswerable };
            let data = Rdata::Srv { priority: 0, weight, port, target: target.clone() };
            if !records.answers.iter().any(|(_, known)| *known == data) {
                records.answers.push((name.clone(), data));
            }
            let extra = (target, address_data(ip));
            if !records.additional.contains(&extra) {
                records.additional.push(extra);
            }
        }
        match records.answers.is_empty() {
            true => Outcome::NoData,
            false => Outcome::Records(records),
        }
    }

    /// PTR: services first, then endpoints; orphans included (rows 1, 24).
    fn ptr(&mut self, name: &Name, zone: &Name) -> Outcome {
        let Some(ip) = names::reverse_address(name) else {
            return self.records(name, zone).map_or(Outcome::NxDomain, |_| Outcome::NoData);
        };
        let Some(primary) = self.options.primary_zone().cloned() else {
            return Outcome::OutOfModel("no forward zone");
        };
        let history = self.view.history();
        let mut services: SmallVec<[&State; 2]> = SmallVec::new();
        let found = match self.era {
            Era::Before19 => self.every(Kind::Service),
            _ => self.view.states(history.services_at(ip)),
        };
        for state in found {
            let outer = self.era == Era::Before19;
            let has = as_service(state).is_some_and(|s| {
                s.cluster_ips.iter().any(|text| host_ip(text) == Some(ip))
                    || (outer && external::hosts(s).any(|text| text == ip.to_string()))
            });
            if has && self.selected(state) && self.exposed_for_reverse(state) {
                services.push(state);
            }
        }
        self.view.whole(Kind::Service);
        if !services.is_empty() {
            let state = services[self.view.choose(services.len())];
            return match child(&[&state.meta.name, &state.meta.namespace, "svc"], &primary) {
                Some(target) => one(name, Rdata::Ptr(target)),
                None => Outcome::Unanswerable,
            };
        }
        self.endpoint_ptr(name, ip, &primary)
    }

    fn endpoint_ptr(&mut self, name: &Name, ip: IpAddr, primary: &Name) -> Outcome {
        let history = self.view.history();
        let mut records = Records::default();
        if self.no_endpoints() {
            return Outcome::NxDomain;
        }
        for state in self.view.states(history.slices_at(ip)) {
            let Some(slice) = as_slice(state).filter(|slice| !slice.legacy) else { continue };
            if !self.selected(state) || !self.exposed_for_reverse(state) {
                continue;
            }
            let service = state.meta.labels.get(SERVICE_NAME).map_or("", String::as_str);
            for (endpoint, text) in ready(slice).filter(|(_, text)| *text == ip.to_string()) {
                let host = self.hostname(endpoint, text);
                let labels = [host.as_str(), service, &state.meta.namespace, "svc"];
                let Some(target) = child(&labels, primary) else { return Outcome::Unanswerable };
                let datum = (name.clone(), Rdata::Ptr(target));
                if !records.answers.contains(&datum) {
                    records.answers.push(datum);
                }
            }
        }
        self.view.whole(Kind::Slice);
        match records.answers.is_empty() {
            true => {
                self.view.missing(Kind::Service);
                self.view.missing(Kind::Slice);
                Outcome::NxDomain
            }
            false => Outcome::Records(records),
        }
    }

    /// The pod that a client is (`podWithIP`): any one that has the address.
    pub fn client_pod(&mut self, ip: IpAddr) -> Option<&'a State> {
        let history = self.view.history();
        let mut found: SmallVec<[&'a State; 2]> = SmallVec::new();
        for state in self.view.states(history.pods_at(ip)) {
            let Some(pod) = crate::view::as_pod(state) else { continue };
            let alive = !matches!(pod.phase.as_str(), "Succeeded" | "Failed" | "Unknown");
            let first = self.era == Era::From115 || pod.ips.first() == Some(&ip);
            if alive && first && self.selected(state) && state.meta.deleting.is_none() {
                found.push(state);
            }
        }
        self.view.whole(Kind::Pod);
        let pick = self.view.choose(found.len());
        found.get(pick).copied()
    }

    fn exposed_for_reverse(&mut self, state: &State) -> bool {
        self.options.namespaces.is_empty() || self.exposed(state.meta.namespace.as_bytes())
    }

    /// True without endpoints; up to 1.9.4 CoreDNS panics where it wants to look for some (row 4).
    fn no_endpoints(&mut self) -> bool {
        let old = matches!(self.era, Era::Before19 | Era::UpTo194);
        self.panicked |= self.options.noendpoints && old;
        self.options.noendpoints
    }

    fn selected(&self, state: &State) -> bool {
        self.options.labels.as_ref().is_none_or(|selector| selector.matches(&state.meta.labels))
    }

    fn exposed(&mut self, namespace: &[u8]) -> bool {
        let allowed = &self.options.namespaces;
        if !allowed.is_empty() && !allowed.iter().any(|name: &String| name.as_bytes() == namespace) {
            return false;
        }
        let Some(labels) = self.view.namespace(namespace) else { return false };
        match (&self.options.namespace_labels, labels) {
            (Some(selector), Some(labels)) => selector.matches(labels),
            (Some(_), None) => {
                self.view.missing(Kind::Namespace);
                false
            }
            (None, _) => true,
        }
    }
}

/// Ready endpoints with each of their addresses; `ready` absent counts as true, nothing else is looked at (row 9).
fn ready(slice: &EndpointSlice) -> impl Iterator<Item = (&SliceEndpoint, &str)> {
    let ready = slice.endpoints.iter().filter(|endpoint| endpoint.ready.unwrap_or(true));
    ready.flat_map(|endpoint| endpoint.addresses.iter().map(move |text| (endpoint, text.as_str())))
}

fn address_data(ip: IpAddr) -> Rdata {
    match ip {
        IpAddr::V4(ip) => Rdata::A(ip),
        IpAddr::V6(ip) => Rdata::Aaaa(ip),
    }
}

/// `labels` joined in front of `zone`; `None` if that is no name (an empty label, too long).
fn child(labels: &[&str], zone: &Name) -> Option<Name> {
    let head = Name::parse(&labels.join(".")).ok()?;
    let whole = labels.iter().all(|label| !label.is_empty());
    whole.then(|| head.joined(zone).ok()).flatten()
}

fn item_name(item: &Item<'_>, zone: &Name) -> Option<Name> {
    if let Some((label, namespace)) = &item.pod {
        return child(&[label, namespace, "pod"], zone);
    }
    let service = [item.service, item.namespace, "svc"];
    match (&item.endpoint, item.cluster) {
        (Some(endpoint), Some(cluster)) => {
            child(&[endpoint.as_str(), cluster, service[0], service[1], service[2]], zone)
        }
        (Some(endpoint), None) => child(&[endpoint.as_str(), service[0], service[1], service[2]], zone),
        (None, _) => child(&service, zone),
    }
}

fn one(name: &Name, data: Rdata) -> Outcome {
    Outcome::Records(Records { answers: [(name.clone(), data)].into_iter().collect(), ..Records::default() })
}

/// Serial number of the plugin's SOA: it is the time of the last change, and nobody compares it.
pub const SERIAL: u32 = 0;

/// The zone's SOA record; `None` if the names do not fit.
#[must_use]
pub fn soa_data(zone: &Name, ttl: u32) -> Option<Rdata> {
    let (mname, rname) = (child(&["ns", "dns"], zone)?, child(&["hostmaster"], zone)?);
    Some(Rdata::Soa { mname, rname, numbers: [SERIAL, 7_200, 1_800, 86_400, ttl] })
}

fn soa(zone: &Name, ttl: u32) -> Outcome {
    match soa_data(zone, ttl) {
        Some(data) => one(zone, data),
        None => Outcome::Unanswerable,
    }
}
