//! Whether a pod may reach a Service: each of its endpoints, on the port that it is rewritten to.
//!
//! Enters: names and a window; leaves: an answer per endpoint and one for all. Endpoints come from EndpointSlices as
//! they were then; only ready ones count, unless the Service publishes the others. Deliberately absent: load balancing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use truename_model::object::{EndpointSlice, ObjectRef, Service, ServicePort, SliceEndpoint};
use truename_model::time::Interval;

use super::asof::{Answer, Policies, Question, Target, When, edges_within};
use super::decide::Decision;
use super::flow::Protocol;
use super::why::Why;
use crate::history::{Kind, SERVICE_NAME, State};
use crate::view::{View, as_service, as_slice};

/// A question about a Service.
#[derive(Clone, Copy, Debug)]
pub struct ServiceQuestion<'q> {
    /// Namespace and name of the pod that connects.
    pub source: (&'q str, &'q str),
    /// Namespace and name of the Service.
    pub service: (&'q str, &'q str),
    /// Name or number of one of its ports; `None`: all.
    pub port: Option<&'q str>,
    /// Their protocol; `None`: any.
    pub protocol: Option<Protocol>,
    /// When.
    pub when: When,
}

/// One endpoint of a Service on one of its ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Port of the Service.
    pub service_port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Address.
    pub ip: IpAddr,
    /// Port that the endpoint listens on.
    pub port: u16,
    /// Namespace and name of the pod behind it, if the slice names one.
    pub pod: Option<(String, String)>,
    /// Address of the Service that is rewritten to it, if it has one.
    pub rewritten: Option<IpAddr>,
}

/// The answer for one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// May the pod reach it?
    pub answer: Answer,
}

/// The answer for a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAnswer {
    /// The decision: allowed or denied if it is so for every endpoint.
    pub decision: Decision,
    /// The same by the versions in the evidence, whatever may be missing from it.
    pub known: Decision,
    /// What is left open for the Service as a whole.
    pub open: Vec<Why>,
    /// Endpoint by endpoint.
    pub endpoints: Vec<Reach>,
    /// The Service and slices it rests on.
    pub objects: Vec<ObjectRef>,
    /// As for each answer: the stretch around the window in which every window has the same answer.
    pub holds: Option<Interval>,
}

impl Policies<'_> {
    /// Decides for every endpoint of a Service.
    #[must_use]
    pub fn may_reach(&self, question: &ServiceQuestion<'_>) -> ServiceAnswer {
        let found = self.endpoints(question);
        let mut endpoints = Vec::new();
        for (endpoint, always) in found.endpoints {
            let target = Target { pod: endpoint.pod.clone(), ip: Some(endpoint.ip) };
            let mut answer = self.may(&Question {
                source: question.source,
                target: &target,
                service: endpoint.rewritten.map(|ip| (ip, endpoint.service_port)),
                protocol: endpoint.protocol,
                port: endpoint.port,
                when: question.when,
            });
            let changed = Why::Changed(found.edges.clone());
            if !always && !answer.open.contains(&changed) {
                answer.open.insert(0, changed);
            }
            endpoints.push(Reach { endpoint, answer });
        }
        let mut open = found.open;
        let known = overall(&endpoints, &mut open, |answer| answer.known);
        let mut decision = overall(&endpoints, &mut open, |answer| answer.decision);
        if !open.is_empty() {
            decision = Decision::Unknown;
        }
        open.sort_unstable();
        open.dedup();
        let mut each = endpoints.iter().map(|reach| reach.answer.holds);
        let holds = each.try_fold(found.holds, |all, one| {
            let (all, one) = (all?, one?);
            Some(Some(Interval { lo: all.lo.max(one.lo), hi: all.hi.min(one.hi) }))
        });
        ServiceAnswer { decision, known, open, endpoints, objects: found.objects, holds: holds.flatten() }
    }

    /// The endpoints of the asked ports in any world of the window, and whether they are there in all of them.
    fn endpoints(&self, question: &ServiceQuestion<'_>) -> Found {
        let window = question.when.window();
        let mut view = View::new(self.history(), window);
        let mut seen: BTreeMap<Endpoint, usize> = BTreeMap::new();
        let (mut open, mut worlds) = (Vec::new(), 0);
        let mut objects = Vec::new();
        while view.next_world() {
            worlds += 1;
            match world(&mut view, question) {
                Ok(endpoints) => {
                    endpoints.into_iter().for_each(|endpoint| *seen.entry(endpoint).or_default() += 1);
                }
                Err(why) if open.contains(&why) => {}
                Err(why) => open.push(why),
            }
            objects.extend(view.deciding());
        }
        objects.sort_unstable();
        objects.dedup();
        if seen.is_empty() && open.is_empty() {
            open.push(Why::NoEndpoint);
        }
        if matches!(question.when, When::Within(_)) && view.is_incomplete() {
            open.push(Why::Unseen);
        }
        let endpoints: Vec<_> =
            seen.into_iter().map(|(endpoint, count)| (endpoint, count == worlds)).collect();
        let holds = self.stretch(&view, window);
        Found { endpoints, edges: edges_within(view.edges(), window), open, objects, holds }
    }
}

struct Found {
    endpoints: Vec<(Endpoint, bool)>,
    edges: Vec<truename_model::Nanos>,
    open: Vec<Why>,
    objects: Vec<ObjectRef>,
    holds: Option<Interval>,
}

fn overall(endpoints: &[Reach], open: &mut Vec<Why>, of: impl Fn(&Answer) -> Decision) -> Decision {
    let mut decisions: Vec<Decision> = endpoints.iter().map(|reach| of(&reach.answer)).collect();
    decisions.sort_unstable();
    decisions.dedup();
    match decisions.as_slice() {
        [decision] => *decision,
        [] => Decision::Unknown,
        many => {
            if !many.contains(&Decision::Unknown) {
                open.push(Why::EndpointsDiffer);
            }
            Decision::Unknown
        }
    }
}

fn world(view: &mut View<'_>, question: &ServiceQuestion<'_>) -> Result<Vec<Endpoint>, Why> {
    let (namespace, name) = question.service;
    let missing = || Why::NoService(format!("{namespace}/{name}"));
    let state = view.object(Kind::Service, namespace.as_bytes(), name.as_bytes()).ok_or_else(missing)?;
    let service = as_service(state).ok_or_else(missing)?;
    if service.service_type == "ExternalName" {
        return Err(Why::External(service.external_name.clone()));
    }
    let ports: Vec<&ServicePort> = service.ports.iter().filter(|port| asked(port, question)).collect();
    if ports.is_empty() && (question.port.is_some() || question.protocol.is_some()) {
        return Err(Why::NoEndpoint);
    }
    let mut endpoints = Vec::new();
    for slice in slices(view, namespace, name) {
        let ready =
            slice.endpoints.iter().filter(|one| service.publish_not_ready || one.ready != Some(false));
        for endpoint in ready {
            endpoints.extend(ports.iter().flat_map(|port| of_port(service, port, slice, endpoint)));
        }
    }
    Ok(endpoints)
}

/// The slices of a service in this world; its Endpoints, where the evidence holds no slice of it.
fn slices<'h>(view: &mut View<'h>, namespace: &str, name: &str) -> Vec<&'h EndpointSlice> {
    let ids = view.history().slices_of(namespace.as_bytes(), name.as_bytes());
    let states = view.states(ids);
    let new = |state: &&&State| as_slice(state).is_some_and(|slice| !slice.legacy);
    let legacy = states.iter().filter(new).count() == 0 && !states.is_empty();
    // Another slice could add an endpoint.
    view.whole(if legacy { Kind::Endpoints } else { Kind::Slice });
    let of_it = |state: &&'h State| {
        legacy || state.meta.labels.get(SERVICE_NAME).is_some_and(|service| service == name)
    };
    let mine = states.into_iter().filter(of_it).filter_map(as_slice);
    mine.filter(|slice| slice.legacy == legacy).collect()
}

fn asked(port: &ServicePort, question: &ServiceQuestion<'_>) -> bool {
    question.port.is_none_or(|wanted| port.name == wanted || wanted.parse() == Ok(port.port))
        && question.protocol.is_none_or(|wanted| port.protocol == wanted.as_str())
}

/// The endpoint's addresses on the slice's port of the same name and protocol.
fn of_port(
    service: &Service,
    port: &ServicePort,
    slice: &EndpointSlice,
    endpoint: &SliceEndpoint,
) -> Vec<Endpoint> {
    let same = slice.ports.iter().find(|one| one.name == port.name && one.protocol == port.protocol);
    let Some((number, protocol)) = same.and_then(|one| one.port).zip(Protocol::parse(&port.protocol)) else {
        return Vec::new();
    };
    let target = endpoint.target.as_ref().filter(|target| target.kind == "Pod");
    let ips = endpoint.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok());
    ips.map(|ip| Endpoint {
        service_port: port.port,
        protocol,
        ip,
        port: number,
        pod: target.map(|target| (target.namespace.clone(), target.name.clone())),
        rewritten: service_address(service, ip),
    })
    .collect()
}

/// The cluster IP of the endpoint's family; a headless Service has none and nothing is rewritten.
fn service_address(service: &Service, ip: IpAddr) -> Option<IpAddr> {
    let addresses = service.cluster_ips.iter().filter_map(|text| text.parse::<IpAddr>().ok());
    addresses.into_iter().find(|address| address.is_ipv4() == ip.is_ipv4())
}
