//! What a zone transfer of a kubernetes zone holds (`plugin/kubernetes/xfr.go`, row 38).
//!
//! Enters: the name asked for, which stands in for the zone in every owner; a world. Leaves: records with their TTLs.
//! Deliberately absent: who may transfer.

use truename_model::object::{EndpointSlice, Object, ServicePort};
use truename_model::{Name, Rdata};

use super::find::{import_ips, import_ports, is_import};
use super::{Model, address_data, child, host_ip, ready, soa_data};
use crate::history::{Kind, State};
use crate::view::{as_service, as_slice};

/// One record: owner, seconds, data.
pub type Timed = (Name, u32, Rdata);

/// Port number −1 on the wire: none is declared.
const NO_PORT: u16 = u16::MAX;

impl<'a> Model<'_, 'a> {
    /// The records of a transfer of `zone`, and how many addresses the server's own names have.
    pub fn transfer(&mut self, zone: &Name) -> (Vec<Timed>, usize) {
        let ttl = self.options.ttl;
        let mut out: Vec<Timed> = Vec::new();
        if let Some(soa) = soa_data(zone, ttl) {
            out.push((zone.clone(), ttl.min(300), soa));
        }
        let (servers, _) = self.ns_addresses(zone);
        for (name, ip) in &servers {
            out.push((zone.clone(), ttl, Rdata::Ns(name.clone())));
            // The addresses are sent as they were gathered, without a TTL.
            out.push((name.clone(), 0, address_data(*ip)));
        }
        if self.options.is_multicluster(zone) {
            for state in self.every(Kind::Other) {
                if is_import(state)
                    && self.lists_import(state)
                    && self.exposed(state.meta.namespace.as_bytes())
                {
                    self.transfer_import(state, zone, &mut out);
                }
            }
        } else {
            for state in self.every(Kind::Service) {
                if self.selected(state) && self.exposed(state.meta.namespace.as_bytes()) {
                    self.transfer_service(state, zone, &mut out);
                }
            }
        }
        (out, servers.len())
    }

    fn transfer_service(&mut self, state: &'a State, zone: &Name, out: &mut Vec<Timed>) {
        let Some(service) = as_service(state) else { return };
        let Some(name) = child(&[&state.meta.name, &state.meta.namespace, "svc"], zone) else { return };
        let ttl = self.options.ttl;
        if service.service_type == "ExternalName" {
            if let (None, Ok(target)) = (host_ip(&service.external_name), Name::parse(&service.external_name))
            {
                out.push((name, ttl, Rdata::Cname(target)));
            }
            return;
        }
        if !service.is_headless() {
            let ips = service.cluster_ips.iter().filter_map(|ip| host_ip(ip));
            out.extend(ips.map(|ip| (name.clone(), ttl, address_data(ip))));
            let unnamed = [ServicePort { port: NO_PORT, ..ServicePort::default() }];
            let ports = if service.ports.is_empty() { &unnamed[..] } else { &service.ports[..] };
            for port in ports {
                out.push((name.clone(), ttl, srv(port.port, 100, &name)));
                named(&name, &port.name, &port.protocol, srv(port.port, 100, &name), ttl, out);
            }
            return;
        }
        for slice in self.slices(state) {
            if let Some(slice) = as_slice(slice) {
                self.transfer_endpoints(slice, &name, None, out);
            }
        }
    }

    fn transfer_endpoints(
        &self,
        slice: &EndpointSlice,
        name: &Name,
        _cluster: Option<&str>,
        out: &mut Vec<Timed>,
    ) {
        let ttl = self.options.ttl;
        let weight = (100 / ready(slice).count().max(1)).max(1) as u16;
        for (endpoint, text) in ready(slice) {
            let host = child(&[&self.hostname(endpoint, text)], name);
            let target = match (host_ip(text), host) {
                (Some(ip), Some(host)) => {
                    out.push((name.clone(), ttl, address_data(ip)));
                    out.push((host.clone(), ttl, address_data(ip)));
                    host
                }
                // An address that is a name gives no record, and SRV records that point to the root.
                _ => Name::root(),
            };
            for port in &slice.ports {
                let data = srv(port.port.unwrap_or(NO_PORT), weight, &target);
                named(name, &port.name, &port.protocol, data, ttl, out);
            }
        }
    }

    fn transfer_import(&mut self, state: &'a State, zone: &Name, out: &mut Vec<Timed>) {
        let Object::Other(_, value) = &*state.object else { return };
        let Some(name) = child(&[&state.meta.name, &state.meta.namespace, "svc"], zone) else { return };
        let ttl = self.options.ttl;
        let ips: Vec<_> = import_ips(value).filter_map(host_ip).collect();
        if ips.is_empty() {
            for slice in self.import_slices(state) {
                if let Some(slice) = as_slice(slice) {
                    self.transfer_endpoints(slice, &name, None, out);
                }
            }
            return;
        }
        out.extend(ips.iter().map(|ip| (name.clone(), ttl, address_data(*ip))));
        for (port, protocol, number) in import_ports(value) {
            let data = srv(number.unwrap_or(NO_PORT), 100, &name);
            out.push((name.clone(), ttl, data.clone()));
            named(&name, port, protocol, data, ttl, out);
        }
    }
}

fn srv(port: u16, weight: u16, target: &Name) -> Rdata {
    Rdata::Srv { priority: 0, weight, port, target: target.clone() }
}

/// The `_port._protocol` record of a named port.
fn named(name: &Name, port: &str, protocol: &str, data: Rdata, ttl: u32, out: &mut Vec<Timed>) {
    if port.is_empty() {
        return;
    }
    let labels = [format!("_{}", port.to_lowercase()), format!("_{}", protocol.to_lowercase())];
    if let Some(owner) = child(&[&labels[0], &labels[1]], name) {
        out.push((owner, ttl, data));
    }
}
