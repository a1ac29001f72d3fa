//! What stands behind a name of the kubernetes plugin: `Records`, `findPods`, `findServices`, `findMultiClusterServices`.
//!
//! Enters: a name taken apart, a world. Leaves: [`Item`]s. Deliberately absent: record types.

use smallvec::SmallVec;
use truename_model::Name;
use truename_model::object::{EndpointSlice, Object, SliceEndpoint};

use super::{Era, Item, Items, Model, NameError, host_ip, is_reverse, ready};
use crate::corefile::PodMode;
use crate::history::{Kind, SERVICE_NAME, State};
use crate::names::{self, Branch, Request};
use crate::view::{as_pod, as_service, as_slice};

/// Labels of the multicluster API (sigs.k8s.io/mcs-api v1alpha1).
const IMPORT_NAME: &str = "multicluster.kubernetes.io/service-name";
const IMPORT_CLUSTER: &str = "multicluster.kubernetes.io/source-cluster";

impl<'a> Model<'_, 'a> {
    /// `Records`: what is behind a name of the forward zone.
    pub(super) fn records(&mut self, name: &Name, zone: &Name) -> Result<Items<'a>, NameError> {
        let multicluster = self.options.is_multicluster(zone) && self.era >= Era::Between;
        let zonal = self.options.zonal && !matches!(self.era, Era::Before19 | Era::UpTo194 | Era::From1144);
        let request = names::parse(name, zone, multicluster, zonal).ok_or(NameError)?;
        let Some(branch) = request.branch else { return Ok(SmallVec::new()) };
        if is_reverse(name) || !(self.wild(request.namespace) || self.exposed(request.namespace)) {
            return Err(NameError);
        }
        if multicluster && branch == Branch::Service {
            return self.imported(&request);
        }
        match branch {
            Branch::Pod => self.pods(&request),
            Branch::Service => self.services(&request),
        }
    }

    /// `findPods`: rows 14, 19, 22, 23.
    fn pods(&mut self, request: &Request<'_>) -> Result<Items<'a>, NameError> {
        if self.options.pods == PodMode::Disabled {
            return Err(NameError);
        }
        if request.service.is_empty() {
            return Ok(SmallVec::new());
        }
        let text = names::pod_label_text(request.service);
        if self.options.pods == PodMode::Verified
            && self.wild(request.service)
            && self.exposed(request.namespace)
        {
            return Ok(SmallVec::new());
        }
        let Some(ip) = host_ip(&text) else { return Err(NameError) };
        let words = |label: &[u8]| String::from_utf8_lossy(label).into_owned();
        let (label, space) = (words(request.service), words(request.namespace));
        let item = |text: String| Item {
            host: text.into(),
            port: Some(0),
            endpoint: None,
            cluster: None,
            service: "",
            namespace: "",
            pod: Some((label.clone(), space.clone())),
        };
        if self.options.pods == PodMode::Insecure {
            return Ok([item(text)].into_iter().collect());
        }
        let history = self.view.history();
        let mut found: SmallVec<[Item<'a>; 4]> = SmallVec::new();
        for state in self.view.states(history.pods_at(ip)) {
            let Some(pod) = as_pod(state) else { continue };
            let of = state.meta.namespace.as_bytes();
            let here = match self.wild(request.namespace) {
                true => self.exposed(of),
                false => of == request.namespace || self.wild(of),
            };
            let here = here && self.selected(state);
            let alive = !matches!(pod.phase.as_str(), "Succeeded" | "Failed" | "Unknown");
            let first_only = match self.era {
                Era::From115 => false,
                Era::Before19 | Era::UpTo194 | Era::From1144 | Era::Between => true,
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
    fn services(&mut self, request: &Request<'_>) -> Result<Items<'a>, NameError> {
        if request.service.is_empty() {
            return Ok(SmallVec::new());
        }
        if self.wild(request.service) || self.wild(request.namespace) {
            return self.wildcard(request);
        }
        let state = self.view.object(Kind::Service, request.namespace, request.service);
        let Some(state) = state.filter(|state| self.selected(state)) else { return Err(NameError) };
        self.service(request, state)
    }

    /// One service.
    fn service(&mut self, request: &Request<'_>, state: &'a State) -> Result<Items<'a>, NameError> {
        let Some(service) = as_service(state) else { return Err(NameError) };
        let external = service.service_type == "ExternalName";
        let headless = service.is_headless();
        if self.options.ignore_empty && !external && !headless && !self.answerable(request, state) {
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
            if !self.port_matches(request, &port.name, &port.protocol) {
                continue;
            }
            found = true;
            let number = (!service.ports.is_empty()).then_some(port.port);
            items.extend(service.cluster_ips.iter().map(|ip| Item {
                host: ip.as_str().into(),
                port: number,
                endpoint: None,
                cluster: None,
                service: &state.meta.name,
                namespace: &state.meta.namespace,
                pod: None,
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
    ) -> Result<Items<'a>, NameError> {
        let below = !request.endpoint.is_empty() || !request.port.is_empty() || !request.protocol.is_empty();
        let refused = match self.era {
            Era::From1144 | Era::From115 => below,
            Era::Before19 | Era::UpTo194 => false,
            Era::Between | Era::Unknown => below && self.view.choose(2) == 0,
        };
        if refused || host_ip(target).is_some() {
            return Err(NameError);
        }
        let (service, namespace) = (state.meta.name.as_str(), state.meta.namespace.as_str());
        let item = Item {
            host: target.into(),
            port: Some(0),
            endpoint: None,
            cluster: None,
            service,
            namespace,
            pod: None,
        };
        Ok([item].into_iter().collect())
    }

    pub(super) fn slices(&mut self, of: &State) -> SmallVec<[&'a State; 4]> {
        let (namespace, service) = (of.meta.namespace.as_bytes(), of.meta.name.as_bytes());
        if self.no_endpoints() {
            return SmallVec::new();
        }
        let history = self.view.history();
        let mut states = self.view.states(history.slices_of(namespace, service));
        self.view.whole(Kind::Slice);
        states.retain(|state| {
            let label = state.meta.labels.get(SERVICE_NAME).map_or("", String::as_str);
            as_slice(state).is_some_and(|slice| !slice.legacy)
                && label.as_bytes() == service
                && self.selected(state)
        });
        states
    }

    /// A wildcard counts the endpoints of every service for each.
    fn answerable(&mut self, request: &Request<'_>, state: &State) -> bool {
        if !self.wild(request.service) && !self.wild(request.namespace) {
            return self.has_endpoints(state);
        }
        let blind = self.no_endpoints();
        let slices = self.every(Kind::Slice);
        let any = slices.iter().filter(|state| self.selected(state)).filter_map(|state| as_slice(state));
        !blind && any.filter(|slice| !slice.legacy).any(|slice| ready(slice).next().is_some())
    }

    fn has_endpoints(&mut self, of: &State) -> bool {
        let slices = self.slices(of);
        slices.iter().filter_map(|state| as_slice(state)).any(|slice| ready(slice).next().is_some())
    }

    /// Endpoints of a headless service, or one endpoint of any service: rows 8, 9.
    fn endpoints(&mut self, request: &Request<'_>, state: &'a State) -> Result<Items<'a>, NameError> {
        let slices = self.slices(state);
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
            if !request.endpoint.is_empty() && !self.same(request.endpoint, &host) {
                continue;
            }
            for port in ports.iter().filter(|port| self.port_matches(request, &port.name, &port.protocol)) {
                items.push(Item {
                    host: text.into(),
                    port: port.port,
                    endpoint: Some(host.clone()),
                    cluster: None,
                    service: &state.meta.name,
                    namespace: &state.meta.namespace,
                    pod: None,
                });
            }
        }
    }

    /// `endpointHostname`.
    pub(super) fn hostname(&self, endpoint: &SliceEndpoint, address: &str) -> String {
        if let Some(hostname) = endpoint.hostname.as_ref().filter(|hostname| !hostname.is_empty()) {
            return hostname.clone();
        }
        let pod = endpoint.target.as_ref().map(|target| &target.name).filter(|name| name.len() < 64);
        match pod {
            Some(pod) if self.options.endpoint_pod_names && !pod.is_empty() => pod.clone(),
            _ => names::dashed(address),
        }
    }

    /// All objects of a kind that exist in this world.
    pub(super) fn every(&mut self, kind: Kind) -> SmallVec<[&'a State; 4]> {
        let history = self.view.history();
        let ids =
            (0u32..).zip(history.timelines()).filter(|(_, timeline)| timeline.kind == kind).map(|(id, _)| id);
        let found = ids.filter_map(|id| self.view.state(id)).collect();
        self.view.whole(kind);
        found
    }

    /// `wildcard`: up to 1.8 a star or the word any stands for every label (row 26).
    fn wild(&self, label: &[u8]) -> bool {
        self.era == Era::Before19 && matches!(label, b"*" | b"any")
    }

    /// `match`.
    fn same(&self, asked: &[u8], has: &str) -> bool {
        asked.eq_ignore_ascii_case(has.as_bytes()) || self.wild(asked) || self.wild(has.as_bytes())
    }

    fn port_matches(&self, request: &Request<'_>, name: &str, protocol: &str) -> bool {
        (request.port.is_empty() || self.same(request.port, name))
            && (request.protocol.is_empty() || self.same(request.protocol, protocol))
    }

    /// Every service that a name with wildcards stands for.
    fn wildcard(&mut self, request: &Request<'_>) -> Result<Items<'a>, NameError> {
        let (any_name, any_space) = (self.wild(request.service), self.wild(request.namespace));
        let mut found = (any_name && !any_space && self.exposed(request.namespace)).then(Items::new);
        for state in self.every(Kind::Service) {
            let (name, namespace) = (&state.meta.name, &state.meta.namespace);
            let fits = self.same(request.namespace, namespace) && self.same(request.service, name);
            if !fits || !self.selected(state) || (any_space && !self.exposed(namespace.as_bytes())) {
                continue;
            }
            if let Ok(items) = self.service(request, state) {
                found.get_or_insert_with(Items::new).extend(items);
            }
        }
        found.ok_or(NameError)
    }

    /// `findMultiClusterServices`.
    fn imported(&mut self, request: &Request<'_>) -> Result<Items<'a>, NameError> {
        if request.service.is_empty() {
            return Ok(Items::new());
        }
        let Some(state) = self.import(request.namespace, request.service) else { return Err(NameError) };
        let Object::Other(_, value) = &*state.object else { return Err(NameError) };
        let headless = value["type"].as_str() == Some("Headless");
        let slices = self.import_slices(state);
        let ready_here =
            slices.iter().filter_map(|slice| as_slice(slice)).any(|slice| ready(slice).next().is_some());
        if self.options.ignore_empty && !headless && !ready_here {
            return Err(NameError);
        }
        let mut items = Items::new();
        if headless || !request.endpoint.is_empty() {
            for slice in slices {
                self.import_items(request, state, slice, &mut items);
            }
            return if items.is_empty() { Err(NameError) } else { Ok(items) };
        }
        let mut found = false;
        for (name, protocol, number) in import_ports(value) {
            if !self.port_matches(request, name, protocol) {
                continue;
            }
            found = true;
            items.extend(import_ips(value).map(|ip| Item {
                host: ip.into(),
                port: number,
                endpoint: None,
                cluster: None,
                service: &state.meta.name,
                namespace: &state.meta.namespace,
                pod: None,
            }));
        }
        if found { Ok(items) } else { Err(NameError) }
    }

    pub(super) fn import(&mut self, namespace: &[u8], name: &[u8]) -> Option<&'a State> {
        let ids = self.view.history().find(Kind::Other, namespace, name);
        let found = ids.iter().filter_map(|id| self.view.state(*id)).find(|state| is_import(state));
        if found.is_none() {
            self.view.missing(Kind::Other);
        }
        found.filter(|state| self.lists_import(state))
    }

    /// The plugin lists imports by the selector of namespaces (`serviceImportListFunc`).
    pub(super) fn lists_import(&self, state: &State) -> bool {
        self.options.namespace_labels.as_ref().is_none_or(|of| of.matches(&state.meta.labels))
    }

    pub(super) fn import_slices(&mut self, of: &State) -> SmallVec<[&'a State; 4]> {
        let mut slices = self.every(Kind::Slice);
        let here = |state: &&State| {
            state.meta.namespace == of.meta.namespace
                && state.meta.labels.get(IMPORT_NAME) == Some(&of.meta.name)
        };
        slices.retain(|state| here(&&**state) && self.selected(state));
        slices
    }

    fn import_items(
        &self,
        request: &Request<'_>,
        state: &'a State,
        slice_state: &'a State,
        items: &mut Items<'a>,
    ) {
        let Some(slice) = as_slice(slice_state) else { return };
        let cluster = slice_state.meta.labels.get(IMPORT_CLUSTER).map_or("", String::as_str);
        let sentinel = [truename_model::object::SlicePort::default()];
        let ports = if slice.ports.is_empty() { &sentinel[..] } else { &slice.ports[..] };
        for (endpoint, text) in ready(slice) {
            let host = self.hostname(endpoint, text);
            let named = self.same(request.endpoint, &host) && self.same(request.cluster, cluster);
            if !request.endpoint.is_empty() && !named {
                continue;
            }
            for port in ports.iter().filter(|port| self.port_matches(request, &port.name, &port.protocol)) {
                items.push(Item {
                    host: text.into(),
                    port: port.port,
                    endpoint: Some(host.clone()),
                    cluster: Some(cluster),
                    service: &state.meta.name,
                    namespace: &state.meta.namespace,
                    pod: None,
                });
            }
        }
    }
}

/// True for a ServiceImport.
pub(super) fn is_import(state: &State) -> bool {
    matches!(&*state.object, Object::Other(kind, _) if kind.starts_with("ServiceImport"))
}

/// Addresses of a ServiceImport.
pub(super) fn import_ips(value: &serde_json::Value) -> impl Iterator<Item = &str> {
    value["ips"].as_array().into_iter().flatten().filter_map(|ip| ip.as_str())
}

/// Name, protocol and number of each port of a ServiceImport; one without any stands for "none declared".
pub(super) fn import_ports(value: &serde_json::Value) -> Vec<(&str, &str, Option<u16>)> {
    let list = value["ports"].as_array().into_iter().flatten();
    let mut ports: Vec<_> = list
        .map(|port| {
            let number = port["port"].as_u64().and_then(|number| u16::try_from(number).ok());
            (port["name"].as_str().unwrap_or(""), port["protocol"].as_str().unwrap_or("TCP"), number)
        })
        .collect();
    if ports.is_empty() {
        ports.push(("", "", None));
    }
    ports
}
