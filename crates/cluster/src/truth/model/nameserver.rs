//! The server's own names: apex NS, `ns.dns.Z` and glue (`nsAddrs`, rows 35 and 36).
//!
//! Enters: the server's own addresses, a world. Leaves: names and addresses. Deliberately absent: other names.

use std::net::IpAddr;

use truename_model::object::EndpointSlice;
use truename_model::{Name, Rdata, Rtype};

use super::{Datum, Era, Model, Outcome, Records, address_data, child, host_ip, ready};
use crate::history::{Kind, SERVICE_NAME, State};
use crate::view::{as_service, as_slice};

impl<'a> Model<'_, 'a> {
    /// `isDefaultNS`: compared as text, so the zone may follow once more.
    pub(in crate::truth) fn is_default_ns(&self, name: &Name, zone: &Name) -> bool {
        if !name.labels().take(2).eq([b"ns".as_slice(), b"dns".as_slice()]) {
            return false;
        }
        let (name, zone) = (name.to_string(), zone.to_string());
        !self.mixed && name.strip_prefix("ns.dns.").is_some_and(|rest| rest.starts_with(&zone)) && zone != "."
    }

    pub(super) fn default_ns(
        &mut self,
        name: &Name,
        zone: &Name,
        rtype: Rtype,
        into: &mut Records,
    ) -> Option<Outcome> {
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
    pub(super) fn ns(&mut self, zone: &Name) -> Outcome {
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
            out.answers.extend(out.additional);
            return Outcome::AnyOf(out.answers.into_vec());
        }
        match out.answers.is_empty() {
            true => Outcome::NoData,
            false => Outcome::Records(out),
        }
    }

    /// `nsAddrs`: names and addresses of the services whose ready slices hold the server's own addresses. The flag
    /// is false where those addresses are not known and every DNS service and pod is a candidate.
    pub(super) fn ns_addresses(&mut self, zone: &Name) -> (Vec<(Name, IpAddr)>, bool) {
        let history = self.view.history();
        let local = match &self.options.local_ips {
            Some(local) => local.clone(),
            None => history.facts().dns_pods.iter().copied().collect(),
        };
        let mut out = Vec::new();
        let mut found = false;
        let blind = self.no_endpoints();
        for ip in &local {
            for slice_state in self.view.states(history.slices_at(*ip)) {
                let Some(slice) = as_slice(slice_state).filter(|slice| !slice.legacy) else { continue };
                if blind || !self.selected(slice_state) {
                    continue;
                }
                if !ready(slice).any(|(_, text)| text == ip.to_string()) {
                    continue;
                }
                found = true;
                self.ns_of_slice(slice_state, slice, zone, &mut out);
            }
        }
        let known = self.options.local_ips.is_some();
        // Up to 1.8 slices whose service is gone do not count.
        found &= self.era != Era::Before19 || !out.is_empty();
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
