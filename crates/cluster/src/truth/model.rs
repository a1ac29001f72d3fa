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
use crate::corefile::PodMode;
use crate::history::{Kind, SERVICE_NAME, State};
use crate::names::{self, Branch, Request};
use crate::view::{View, as_pod, as_service, as_slice};

/// Longest chain of aliases inside the zone (`maxCnameChainLength`).
const MAX_ALIASES: usize = 10;
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

/// A `msg.Service`: one thing behind a name.
struct Item<'a> {
    host: std::borrow::Cow<'a, str>,
    /// `None`: CoreDNS's −1, a service or slice without ports.
    port: Option<u16>,
    endpoint: Option<String>,
    service: &'a str,
    namespace: &'a str,
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
}

impl<'a> Model<'_, 'a> {
    /// The answer to `question`, whose name lies in `zone` (one of the options' zones).
    pub fn answer(&mut self, question: &Question, zone: &Name) -> Outcome {
        if question.class != Class::IN {
            return Outcome::OutOfModel("class");
        }
        if self.options.is_multicluster(zone) {
            return Outcome::OutOfModel("multicluster");
        }
        let at_apex = question.name == *zone;
        match question.rtype {
            Rtype::A | Rtype::AAAA => self.addresses(&question.name, zone, question.rtype),
            Rtype::TXT => self.txt(&question.name, zone),
            Rtype::CNAME => self.cname(&question.name, zone),
            Rtype::PTR => self.ptr(&question.name, zone),
            Rtype::SRV => self.srv(&question.name, zone),
            Rtype::SOA if at_apex => soa(zone),
            Rtype::SOA => Outcome::NoData,
            Rtype::AXFR | Rtype::IXFR | Rtype::ANY => Outcome::OutOfModel("transfer or ANY"),
            Rtype::NS if at_apex => self.ns(zone),
            Rtype::MX => self.existence(&question.name, zone),
            // A lookup of A decides between NODATA and NXDOMAIN.
            _ => match self.addresses(&question.name, zone, Rtype::A) {
                Outcome::Records(_) | Outcome::AnyOf(_) | Outcome::NoData => Outcome::NoData,
                other => other,
            },
        }
    }

    fn existence(&mut self, name: &Name, zone: &Name) -> Outcome {
        if is_default_ns(name, zone) {
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
        if is_default_ns(name, zone) {
            return Ok(self.default_ns(name, zone, rtype, into));
        }
        let items = self.records(name, zone)?;
        let mut seen: SmallVec<[IpAddr; 8]> = SmallVec::new();
        let fqdn = items.iter().any(|item| host_ip(&item.host).is_none() && item.endpoint.is_some());
        if fqdn {
            return Ok(Some(Outcome::OutOfModel("FQDN slice")));
        }
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
        if target.is_at_or_below(name) || aliases.len() > MAX_ALIASES || aliases.contains(&record) {
            return;
        }
        if !target.is_at_or_below(zone) {
            into.answers.push(record);
            into.chase = Some(target);
            return;
        }
        aliases.push(record.clone());
        let mut inner = Records::default();
        let walked = self.address_walk(&target, zone, rtype, aliases, &mut inner);
        aliases.pop();
        if matches!(walked, Ok(None)) && !inner.answers.is_empty() {
            into.answers.push(record);
            into.answers.append(&mut inner.answers);
            into.chase = inner.chase;
        }
    }

    fn cname(&mut self, name: &Name, zone: &Name) -> Outcome {
        if is_default_ns(name, zone) {
            return Outcome::NoData;
        }
        let Ok(items) = self.records(name, zone) else { return Outcome::NxDomain };
        let Some(first) = items.first() else { return Outcome::NoData };
        if first.endpoint.is_some() && host_ip(&first.host).is_none() {
            return Outcome::OutOfModel("FQDN slice");
        }
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
            // ≤ 1.9.4 says NODATA nearly everywhere; which names are left over was not measured.
            Era::UpTo194 | Era::Between | Era::Unknown => match self.view.choose(2) {
                0 => Outcome::NxDomain,
                _ => Outcome::NoData,
            },
        }
    }

    fn srv(&mut self, name: &Name, zone: &Name) -> Outcome {
        if is_default_ns(name, zone) {
            return Outcome::NoData;
        }
        let Ok(mut items) = self.records(name, zone) else { return Outcome::NxDomain };
        items.retain(|item| host_ip(&item.host).is_some());
        // 100 / (100 · n) · 100, whole, at least 1: duplicates count before they are merged (row 37).
        let weight = (100 / items.len().max(1)).max(1) as u16;
        let mut records = Records::default();
        for item in &items {
            let (Some(port), Some(ip)) = (item.port, host_ip(&item.host)) else { continue };
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
        let Some(ip) = names::reverse_address(name) else { return self.existence(name, zone) };
        let Some(primary) = self.options.primary_zone().cloned() else {
            return Outcome::OutOfModel("no forward zone");
        };
        let history = self.view.history();
        let mut services: SmallVec<[&State; 2]> = SmallVec::new();
        for state in self.view.states(history.services_at(ip)) {
            let has =
                as_service(state).is_some_and(|s| s.cluster_ips.iter().any(|text| host_ip(text) == Some(ip)));
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
        if self.options.noendpoints {
            return Outcome::NxDomain;
        }
        for state in self.view.states(history.slices_at(ip)) {
            let Some(slice) = as_slice(state).filter(|slice| !slice.legacy) else { continue };
            if !self.selected(state) || !self.exposed_for_reverse(state) {
                continue;
            }
            let service = state.meta.labels.get(SERVICE_NAME).map_or("", String::as_str);
            for (endpoint, text) in ready(slice).filter(|(_, text)| host_ip(text) == Some(ip)) {
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

    fn exposed_for_reverse(&mut self, state: &State) -> bool {
        self.options.namespaces.is_empty() || self.exposed(state.meta.namespace.as_bytes())
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

    /// `Records`: what is behind a name of the forward zone.
    fn records(&mut self, name: &Name, zone: &Name) -> Result<SmallVec<[Item<'a>; 4]>, NameError> {
        let request = names::parse(name, zone, false, self.options.zonal).ok_or(NameError)?;
        let Some(branch) = request.branch else { return Ok(SmallVec::new()) };
        if is_reverse(zone) || !self.exposed(request.namespace) {
            return Err(NameError);
        }
        match branch {
            Branch::Pod => self.pods(&request),
            Branch::Service => self.services(&request),
        }
    }

    /// `findPods`: rows 14, 19, 22, 23.
    fn pods(&mut self, request: &Request<'_>) -> Result<SmallVec<[Item<'a>; 4]>, NameError> {
        if self.options.pods == PodMode::Disabled {
            return Err(NameError);
        }
        if request.service.is_empty() {
            return Ok(SmallVec::new());
        }
        let text = names::pod_label_text(request.service);
        let Some(ip) = host_ip(&text) else { return Err(NameError) };
        let item = |text: String| Item {
            host: text.into(),
            port: Some(0),
            endpoint: None,
            service: "",
            namespace: "",
        };
        if self.options.pods == PodMode::Insecure {
            return Ok([item(text)].into_iter().collect());
        }
        let history = self.view.history();
        let mut found: SmallVec<[Item<'a>; 4]> = SmallVec::new();
        for state in self.view.states(history.pods_at(ip)) {
            let Some(pod) = as_pod(state) else { continue };
            let here = state.meta.namespace.as_bytes() == request.namespace && self.selected(state);
            let alive = !matches!(pod.phase.as_str(), "Succeeded" | "Failed" | "Unknown");
            let first_only = match self.era {
                Era::From115 => false,
                Era::UpTo194 | Era::From1144 | Era::Between => true,
                Era::Unknown => pod.ips.first() != Some(&ip) && self.view.choose(2) == 0,
            };
            let shown = if first_only { &pod.ips[..pod.ips.len().min(1)] } else { &pod.ips[..] };
            // The plugin compares texts, so only the API's own spelling is found.
            let spelled = shown.iter().any(|own| own.to_string() == text);
            if here && alive && state.meta.deleting.is_none() && spelled {
                found.push(item(text.clone()));
            }
        }
        self.view.whole(Kind::Pod);
        if found.is_empty() {
            self.view.missing(Kind::Pod);
            return Err(NameError);
        }
        Ok(found)
    }

    /// `findServices`.
    fn services(&mut self, request: &Request<'_>) -> Result<SmallVec<[Item<'a>; 4]>, NameError> {
        if request.service.is_empty() {
            return Ok(SmallVec::new());
        }
        let state = self.view.object(Kind::Service, request.namespace, request.service);
        let Some(state) = state.filter(|state| self.selected(state)) else { return Err(NameError) };
        let Some(service) = as_service(state) else { return Err(NameError) };
        let external = service.service_type == "ExternalName";
        let headless = service.is_headless();
        if self.options.ignore_empty && !external && !headless && !self.has_endpoints(request) {
            return Err(NameError);
        }
        if request.zonal.is_some() && !headless {
            return Err(NameError);
        }
        if external {
            return self.external(request, state, &service.external_name);
        }
        if headless || !request.endpoint.is_empty() {
            return self.endpoints(request, state);
        }
        let mut items: SmallVec<[Item<'a>; 4]> = SmallVec::new();
        let unnamed = [truename_model::object::ServicePort::default()];
        let ports = if service.ports.is_empty() { &unnamed[..] } else { &service.ports[..] };
        let mut found = false;
        for port in ports {
            if !port_matches(request, &port.name, &port.protocol) {
                continue;
            }
            found = true;
            let number = (!service.ports.is_empty()).then_some(port.port);
            items.extend(service.cluster_ips.iter().map(|ip| Item {
                host: ip.as_str().into(),
                port: number,
                endpoint: None,
                service: &state.meta.name,
                namespace: &state.meta.namespace,
            }));
        }
        if found { Ok(items) } else { Err(NameError) }
    }

    /// Rows 10, 21.
    fn external(
        &mut self,
        request: &Request<'_>,
        state: &'a State,
        target: &'a str,
    ) -> Result<SmallVec<[Item<'a>; 4]>, NameError> {
        let below = !request.endpoint.is_empty() || !request.port.is_empty() || !request.protocol.is_empty();
        let refused = match self.era {
            Era::From1144 | Era::From115 => below,
            Era::UpTo194 => false,
            Era::Between | Era::Unknown => below && self.view.choose(2) == 0,
        };
        if refused || host_ip(target).is_some() {
            return Err(NameError);
        }
        let (service, namespace) = (state.meta.name.as_str(), state.meta.namespace.as_str());
        let item = Item { host: target.into(), port: Some(0), endpoint: None, service, namespace };
        Ok([item].into_iter().collect())
    }

    fn slices(&mut self, request: &Request<'_>) -> SmallVec<[&'a State; 4]> {
        if self.options.noendpoints {
            return SmallVec::new();
        }
        let history = self.view.history();
        let mut states = self.view.states(history.slices_of(request.namespace, request.service));
        self.view.whole(Kind::Slice);
        states.retain(|state| {
            let label = state.meta.labels.get(SERVICE_NAME).map_or("", String::as_str);
            as_slice(state).is_some_and(|slice| !slice.legacy)
                && label.as_bytes() == request.service
                && self.selected(state)
        });
        states
    }

    fn has_endpoints(&mut self, request: &Request<'_>) -> bool {
        let slices = self.slices(request);
        slices.iter().filter_map(|state| as_slice(state)).any(|slice| ready(slice).next().is_some())
    }

    /// Endpoints of a headless service, or one endpoint of any service: rows 8, 9.
    fn endpoints(
        &mut self,
        request: &Request<'_>,
        state: &'a State,
    ) -> Result<SmallVec<[Item<'a>; 4]>, NameError> {
        let slices = self.slices(request);
        let mut items: SmallVec<[Item<'a>; 4]> = SmallVec::new();
        for slice in slices.iter().filter_map(|state| as_slice(state)) {
            self.slice_items(request, state, slice, true, &mut items);
        }
        let prefer = request.zonal.as_ref().is_some_and(|zonal| zonal.prefer);
        if items.is_empty() && prefer {
            for slice in slices.iter().filter_map(|state| as_slice(state)) {
                self.slice_items(request, state, slice, false, &mut items);
            }
        }
        if !items.is_empty() || request.zonal.is_some() {
            return Ok(items);
        }
        if slices.is_empty() {
            self.view.missing(Kind::Slice);
        }
        Err(NameError)
    }

    fn slice_items(
        &self,
        request: &Request<'_>,
        state: &'a State,
        slice: &'a EndpointSlice,
        by_zone: bool,
        items: &mut SmallVec<[Item<'a>; 4]>,
    ) {
        let sentinel = [truename_model::object::SlicePort::default()];
        let ports = if slice.ports.is_empty() { &sentinel[..] } else { &slice.ports[..] };
        for (endpoint, text) in ready(slice) {
            if let (Some(zonal), true) = (&request.zonal, by_zone) {
                let zone = endpoint.zone.as_deref().unwrap_or("").to_lowercase();
                if zone.as_bytes() != zonal.zone {
                    continue;
                }
            }
            let host = self.hostname(endpoint, text);
            if !request.endpoint.is_empty() && !host.as_bytes().eq_ignore_ascii_case(request.endpoint) {
                continue;
            }
            for port in ports.iter().filter(|port| port_matches(request, &port.name, &port.protocol)) {
                items.push(Item {
                    host: text.into(),
                    port: port.port,
                    endpoint: Some(host.clone()),
                    service: &state.meta.name,
                    namespace: &state.meta.namespace,
                });
            }
        }
    }

    /// `endpointHostname`.
    fn hostname(&self, endpoint: &SliceEndpoint, address: &str) -> String {
        if let Some(hostname) = endpoint.hostname.as_ref().filter(|hostname| !hostname.is_empty()) {
            return hostname.clone();
        }
        let pod = endpoint.target.as_ref().map(|target| &target.name).filter(|name| name.len() < 64);
        match pod {
            Some(pod) if self.options.endpoint_pod_names && !pod.is_empty() => pod.clone(),
            _ => names::dashed(address),
        }
    }

    fn default_ns(&mut self, name: &Name, zone: &Name, rtype: Rtype, into: &mut Records) -> Option<Outcome> {
        let (records, known) = self.ns_addresses(zone);
        let of_type = records.into_iter().filter_map(|(_, ip)| {
            (ip.is_ipv4() == (rtype == Rtype::A)).then(|| (name.clone(), address_data(ip)))
        });
        let mut data: Vec<Datum> = Vec::new();
        of_type.for_each(|datum| {
            if !data.contains(&datum) {
                data.push(datum);
            }
        });
        if !known {
            return Some(Outcome::AnyOf(data));
        }
        into.answers.extend(data);
        None
    }

    /// Rows 35, 36.
    fn ns(&mut self, zone: &Name) -> Outcome {
        let (records, known) = self.ns_addresses(zone);
        let mut out = Records::default();
        for (target, ip) in records {
            let datum = (zone.clone(), Rdata::Ns(target.clone()));
            if !out.answers.contains(&datum) {
                out.answers.push(datum);
            }
            out.additional.push((target, address_data(ip)));
        }
        if !known {
            out.answers
                .push((zone.clone(), Rdata::Ns(child(&["ns", "dns"], zone).unwrap_or_else(Name::root))));
            return Outcome::AnyOf(out.answers.into_vec());
        }
        match out.answers.is_empty() {
            true => Outcome::NoData,
            false => Outcome::Records(out),
        }
    }

    /// `nsAddrs`: names and addresses of the services whose ready slices hold the server's own addresses. The flag
    /// is false where those addresses are not known and every DNS service and pod is a candidate.
    fn ns_addresses(&mut self, zone: &Name) -> (Vec<(Name, IpAddr)>, bool) {
        let history = self.view.history();
        let local = match &self.options.local_ips {
            Some(local) => local.clone(),
            None => history.facts().dns_pods.iter().copied().collect(),
        };
        let mut out = Vec::new();
        let mut found = false;
        for ip in &local {
            for slice_state in self.view.states(history.slices_at(*ip)) {
                let Some(slice) = as_slice(slice_state).filter(|slice| !slice.legacy) else { continue };
                if self.options.noendpoints || !self.selected(slice_state) {
                    continue;
                }
                if !ready(slice).any(|(_, text)| host_ip(text) == Some(*ip)) {
                    continue;
                }
                found = true;
                self.ns_of_slice(slice_state, slice, zone, &mut out);
            }
        }
        let known = self.options.local_ips.is_some();
        if !found || !known {
            let own = child(&["ns", "dns"], zone).unwrap_or_else(Name::root);
            out.extend(local.iter().map(|ip| (own.clone(), *ip)));
        }
        if !known {
            out.extend(history.facts().dns_ips.iter().map(|ip| (Name::root(), *ip)));
        }
        (out, known)
    }

    fn ns_of_slice(
        &mut self,
        slice_state: &'a State,
        slice: &EndpointSlice,
        zone: &Name,
        out: &mut Vec<(Name, IpAddr)>,
    ) {
        let namespace = &slice_state.meta.namespace;
        let label = slice_state.meta.labels.get(SERVICE_NAME).map_or("", String::as_str);
        let state = self.view.object(Kind::Service, namespace.as_bytes(), label.as_bytes());
        let Some(service) = state.filter(|state| self.selected(state)).and_then(as_service) else { return };
        let Some(name) = child(&[label, namespace, "svc"], zone) else { return };
        if !service.is_headless() {
            out.extend(service.cluster_ips.iter().filter_map(|ip| Some((name.clone(), host_ip(ip)?))));
            return;
        }
        for (endpoint, text) in ready(slice) {
            let host = self.hostname(endpoint, text);
            if let (Some(ip), Some(name)) = (host_ip(text), child(&[&host], &name)) {
                out.push((name, ip));
            }
        }
    }
}

/// Ready endpoints with each of their addresses; `ready` absent counts as true, nothing else is looked at (row 9).
fn ready(slice: &EndpointSlice) -> impl Iterator<Item = (&SliceEndpoint, &str)> {
    let ready = slice.endpoints.iter().filter(|endpoint| endpoint.ready.unwrap_or(true));
    ready.flat_map(|endpoint| endpoint.addresses.iter().map(move |text| (endpoint, text.as_str())))
}

fn port_matches(request: &Request<'_>, name: &str, protocol: &str) -> bool {
    let same = |asked: &[u8], has: &str| asked.is_empty() || asked.eq_ignore_ascii_case(has.as_bytes());
    same(request.port, name) && same(request.protocol, protocol)
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
    if item.service.is_empty() {
        return None;
    }
    let service = [item.service, item.namespace, "svc"];
    match &item.endpoint {
        Some(endpoint) => child(&[endpoint.as_str(), service[0], service[1], service[2]], zone),
        None => child(&service, zone),
    }
}

fn is_default_ns(name: &Name, zone: &Name) -> bool {
    name.labels_above(zone).is_some_and(|labels| labels == [&b"ns"[..], b"dns"])
}

fn one(name: &Name, data: Rdata) -> Outcome {
    Outcome::Records(Records { answers: [(name.clone(), data)].into_iter().collect(), ..Records::default() })
}

fn soa(zone: &Name) -> Outcome {
    let (Some(mname), Some(rname)) = (child(&["ns", "dns"], zone), child(&["hostmaster"], zone)) else {
        return Outcome::Unanswerable;
    };
    one(zone, Rdata::Soa { mname, rname, numbers: [0; 5] })
}
