//! What the plugin `k8s_external` asks of the kubernetes plugin (`plugin/kubernetes/external.go`).
//!
//! Enters: a name below the external zone, a world. Leaves: [`Outer`]s. Deliberately absent: record types and the
//! zone's own names (`serve`).

use std::net::IpAddr;

use truename_model::object::Service;
use truename_model::{Name, Rcode, Rtype};

use super::{Era, Model, child, host_ip, ready};
use crate::history::Kind;
use crate::names;
use crate::view::{as_service, as_slice};

/// One thing behind an external name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outer {
    /// An address, or a name.
    pub host: String,
    /// Port; `None`: none declared.
    pub port: Option<u16>,
    /// Name in the external zone; for PTR the name without its zone.
    pub name: Name,
}

/// Addresses and names by which a service is reached from outside, as text.
pub(super) fn hosts(service: &Service) -> impl Iterator<Item = String> + '_ {
    let listed = service.external_ips.iter().chain(&service.load_balancer_ips).map(IpAddr::to_string);
    listed.chain(service.load_balancer_hosts.iter().cloned())
}

impl Model<'_, '_> {
    /// `External`: what is behind `name` below `zone`; without anything the return code says whether it exists.
    pub fn outer(&mut self, name: &Name, zone: &Name, rtype: Rtype, headless: bool) -> (Vec<Outer>, Rcode) {
        let old = self.era == Era::Before19;
        if rtype == Rtype::PTR
            && !old
            && let Some(ip) = names::reverse_address(name)
        {
            let found = self.outer_reverse(ip);
            let rcode = if found.is_empty() { Rcode::NXDOMAIN } else { Rcode::NOERROR };
            return (found, rcode);
        }
        let Some(labels) = name.labels_above(zone) else { return (Vec::new(), Rcode::SERVFAIL) };
        let [rest @ .., namespace] = labels.as_slice() else { return (Vec::new(), Rcode::SERVFAIL) };
        if !self.exposed(namespace) {
            return (Vec::new(), Rcode::NXDOMAIN);
        }
        let [rest @ .., service] = rest else { return (Vec::new(), Rcode::NOERROR) };
        let bare =
            |label: &'_ [u8]| String::from_utf8_lossy(label.strip_prefix(b"_").unwrap_or(label)).into_owned();
        let (mut port, mut protocol, mut endpoint) = (String::new(), String::new(), String::new());
        match rest {
            [] => {}
            [one] if !old => endpoint = bare(one),
            [first, second] => (port, protocol) = (bare(first), bare(second)),
            _ => return (Vec::new(), Rcode::NXDOMAIN),
        }
        let (found, rcode) =
            self.outer_service(namespace, service, [&port, &protocol, &endpoint], zone, headless);
        if rtype == Rtype::PTR && !old { (Vec::new(), rcode) } else { (found, rcode) }
    }

    fn outer_service(
        &mut self,
        namespace: &[u8],
        name: &[u8],
        [port, protocol, endpoint]: [&str; 3],
        zone: &Name,
        headless: bool,
    ) -> (Vec<Outer>, Rcode) {
        let mut rcode = Rcode::NXDOMAIN;
        let mut found = Vec::new();
        let state = self.view.object(Kind::Service, namespace, name).filter(|state| self.selected(state));
        let Some((state, service)) = state.and_then(|state| Some((state, as_service(state)?))) else {
            return (found, rcode);
        };
        let fits = |asked: &str, has: &str| asked.is_empty() || asked.eq_ignore_ascii_case(has);
        let Some(own) = child(&[&state.meta.name, &state.meta.namespace], zone) else {
            return (found, rcode);
        };
        let hosts: Vec<String> = hosts(service).collect();
        if headless && hosts.is_empty() && (service.is_headless() || !endpoint.is_empty()) {
            for slice in self.slices(state) {
                let Some(slice) = as_slice(slice) else { continue };
                let sentinel = [truename_model::object::SlicePort::default()];
                let ports = if slice.ports.is_empty() { &sentinel[..] } else { &slice.ports[..] };
                for (point, text) in ready(slice) {
                    let label = self.hostname(point, text);
                    if !endpoint.is_empty() && !endpoint.eq_ignore_ascii_case(&label) {
                        continue;
                    }
                    for of in ports.iter().filter(|of| fits(port, &of.name) && fits(protocol, &of.protocol)) {
                        if self.era != Era::UpTo194 {
                            rcode = Rcode::NOERROR;
                        }
                        let Some(name) = child(&[&label], &own) else { continue };
                        found.push(Outer { host: text.to_owned(), port: of.port, name });
                    }
                }
            }
            return (found, rcode);
        }
        let unnamed = [truename_model::object::ServicePort::default()];
        let ports = if service.ports.is_empty() { &unnamed[..] } else { &service.ports[..] };
        for host in hosts {
            for of in ports.iter().filter(|of| fits(port, &of.name) && fits(protocol, &of.protocol)) {
                rcode = Rcode::NOERROR;
                let number = (!service.ports.is_empty()).then_some(of.port);
                found.push(Outer { host: host.clone(), port: number, name: own.clone() });
            }
        }
        (found, rcode)
    }

    fn outer_reverse(&mut self, ip: IpAddr) -> Vec<Outer> {
        let mut found = Vec::new();
        for state in self.every(Kind::Service) {
            let has =
                as_service(state).is_some_and(|service| hosts(service).any(|host| host == ip.to_string()));
            if !has || !self.selected(state) || !self.exposed_for_reverse(state) {
                continue;
            }
            if let Some(name) = child(&[&state.meta.name, &state.meta.namespace], &Name::root()) {
                found.push(Outer { host: String::new(), port: None, name });
            }
        }
        found
    }

    /// `ExternalAddress`: addresses of the zone's name server.
    pub fn outer_servers(&mut self, headless: bool) -> Vec<IpAddr> {
        let own = self.options.local_ips.clone().unwrap_or_default();
        let (mut found, mut out) = (false, Vec::new());
        let blind = self.no_endpoints();
        for ip in &own {
            let history = self.view.history();
            for slice_state in self.view.states(history.slices_at(*ip)) {
                let Some(slice) = as_slice(slice_state).filter(|slice| !slice.legacy) else { continue };
                let here = ready(slice).any(|(_, text)| text == ip.to_string());
                if blind || !here || !self.selected(slice_state) {
                    continue;
                }
                found = true;
                let label =
                    slice_state.meta.labels.get(crate::history::SERVICE_NAME).map_or("", String::as_str);
                let state =
                    self.view.object(Kind::Service, slice_state.meta.namespace.as_bytes(), label.as_bytes());
                let Some(service) = state.filter(|state| self.selected(state)).and_then(as_service) else {
                    continue;
                };
                if headless && service.is_headless() {
                    out.extend(ready(slice).filter_map(|(_, text)| host_ip(text)));
                } else {
                    out.extend(hosts(service).filter_map(|host| host_ip(&host)));
                }
            }
        }
        found &= self.era != Era::Before19 || !out.is_empty();
        if found { out } else { own }
    }

    /// `ExternalServices`: everything that a transfer of the external zone holds, with its SRV name and its service's.
    pub fn outer_all(&mut self, zone: &Name, headless: bool) -> Vec<(Outer, Option<Name>, Name)> {
        let mut out = Vec::new();
        for state in self.every(Kind::Service) {
            let Some(service) = as_service(state).filter(|_| self.selected(state)) else { continue };
            let Some(own) = child(&[&state.meta.name, &state.meta.namespace], zone) else { continue };
            let hosts: Vec<String> = hosts(service).collect();
            if headless && hosts.is_empty() && service.is_headless() {
                for slice in self.slices(state) {
                    let Some(slice) = as_slice(slice) else { continue };
                    for (point, text) in ready(slice) {
                        let Some(name) = child(&[&self.hostname(point, text)], &own) else { continue };
                        for port in &slice.ports {
                            let owner = (!port.name.is_empty())
                                .then(|| port_name(&own, &port.name, &port.protocol))
                                .flatten();
                            let one = Outer { host: text.to_owned(), port: port.port, name: name.clone() };
                            out.push((one, owner, own.clone()));
                        }
                        if slice.ports.is_empty() {
                            let one = Outer { host: text.to_owned(), port: None, name: name.clone() };
                            out.push((one, None, own.clone()));
                        }
                    }
                }
                continue;
            }
            for host in hosts {
                for port in &service.ports {
                    let owner = port_name(&own, &port.name, &port.protocol);
                    let one = Outer { host: host.clone(), port: Some(port.port), name: own.clone() };
                    out.push((one, owner, own.clone()));
                }
                if service.ports.is_empty() {
                    out.push((Outer { host, port: None, name: own.clone() }, None, own.clone()));
                }
            }
        }
        out
    }
}

fn port_name(own: &Name, port: &str, protocol: &str) -> Option<Name> {
    let labels = [format!("_{}", port.to_lowercase()), format!("_{}", protocol.to_lowercase())];
    child(&[&labels[0], &labels[1]], own)
}
