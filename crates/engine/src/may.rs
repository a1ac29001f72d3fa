//! May this pod reach that: the question in words, answered out of a case's objects by `cluster::policy`.
//!
//! Enters: a reader of the log, the names that a person types, a window of time; leaves: a [`Permission`]. A question that
//! the objects cannot even place (no such pod, two clusters that both have it) is an error for the person who asks.
//! Deliberately absent: how policies are evaluated.

use std::collections::BTreeSet;
use std::net::IpAddr;

use truename_cluster::history::{History, Kind};
use truename_cluster::policy::{
    Answer, Endpoint, Policies, Protocol, Question, ServiceQuestion, Side, Target, When,
};
use truename_evidence::Reader;
use truename_model::{Connection, Interval, ObjectRef, Permission, PolicyReason};

use crate::error::EngineError;
use crate::objects::{Folded, clusters};
use crate::settings::Settings;

/// What is asked, as typed.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// `namespace/pod`, or the pod's name alone if only one namespace has it.
    pub pod: &'a str,
    /// `namespace/service`, a service's name (in the pod's namespace) or DNS name, `pod/namespace/name`, or an address.
    pub target: &'a str,
    /// Number or name of a port, with `/TCP`, `/UDP` or `/SCTP` behind it if wanted.
    pub port: Option<&'a str>,
    /// When, reference clock; `None`: the last state in the evidence.
    pub at: Option<Interval>,
    /// Cluster by name, where several have such a pod.
    pub cluster: Option<&'a str>,
}

/// The other end, understood.
enum Wanted {
    Service(String, String),
    Pod(String, String),
    Address(IpAddr),
}

/// A port, understood.
#[derive(Clone, Copy)]
struct Port<'a> {
    text: &'a str,
    protocol: Option<Protocol>,
}

/// Answers.
///
/// # Errors
/// Those of the log, and [`EngineError::Question`] where the evidence cannot place what is asked.
pub fn may(reader: &Reader, settings: &Settings, asked: &Asked<'_>) -> Result<Permission, EngineError> {
    let port = asked.port.map(Port::read).transpose()?;
    let folded = clusters(reader, settings)?;
    let (cluster, (namespace, pod)) = place(&folded, asked.pod, asked.cluster)?;
    let policies = Policies::new(&cluster.history);
    let when = asked.at.map_or(When::Latest, When::Within);
    let wanted = wanted(&cluster.history, &namespace, asked.target)?;
    let blank = Permission {
        pod: format!("{namespace}/{pod}"),
        target: wanted.to_string(),
        cluster: cluster.name.clone(),
        at: asked.at,
        decision: truename_model::Decision::Unknown,
        known: truename_model::Decision::Unknown,
        open: Vec::new(),
        connections: Vec::new(),
        objects: Vec::new(),
    };
    let source = (namespace.as_str(), pod.as_str());
    let mut permission = match wanted {
        Wanted::Service(of, name) => service(&policies, source, (&of, &name), port, when, blank),
        Wanted::Pod(of, name) => {
            direct(&policies, source, &Target { pod: Some((of, name)), ip: None }, port, when, blank)?
        }
        Wanted::Address(ip) => {
            direct(&policies, source, &Target { pod: None, ip: Some(ip) }, port, when, blank)?
        }
    };
    permission.objects.sort_unstable();
    permission.objects.dedup();
    Ok(permission)
}

/// The cluster and the pod that are meant.
pub(crate) fn place<'f>(
    folded: &'f [Folded],
    wanted: &str,
    of: Option<&str>,
) -> Result<(&'f Folded, (String, String)), EngineError> {
    let mut found: Vec<(&Folded, (String, String))> = Vec::new();
    for cluster in folded {
        if of.is_some_and(|name| cluster.name.as_deref() != Some(name)) {
            continue;
        }
        let pods: BTreeSet<(String, String)> = match wanted.split_once('/') {
            Some((namespace, name)) => {
                let there = cluster.history.find(Kind::Pod, namespace.as_bytes(), name.as_bytes());
                there.iter().map(|_| (namespace.to_owned(), name.to_owned())).collect()
            }
            None => {
                let pods = cluster.history.timelines().iter().filter(|timeline| timeline.kind == Kind::Pod);
                pods.filter(|pod| *pod.name == *wanted)
                    .map(|pod| (pod.namespace.to_string(), pod.name.to_string()))
                    .collect()
            }
        };
        found.extend(pods.into_iter().map(|pod| (cluster, pod)));
    }
    match found.len() {
        1 => found.pop().ok_or_else(|| EngineError::Question(String::new())),
        0 => Err(EngineError::Question(format!("no pod {wanted} in the evidence; name it as NAMESPACE/POD"))),
        _ => {
            let shown = found.iter().take(8).map(|(cluster, (namespace, name))| {
                format!("{namespace}/{name} of {}", cluster.name.as_deref().unwrap_or("the cluster"))
            });
            let shown: Vec<String> = shown.collect();
            Err(EngineError::Question(format!(
                "several pods are called {wanted}: {}; name one as NAMESPACE/POD, its cluster with --cluster",
                shown.join(", ")
            )))
        }
    }
}

/// What is meant by a target.
fn wanted(history: &History, namespace: &str, text: &str) -> Result<Wanted, EngineError> {
    let wrong = || {
        EngineError::Question(format!(
            "{text} is no target; write NAMESPACE/SERVICE, SERVICE.NAMESPACE.svc, pod/NAMESPACE/POD or an address"
        ))
    };
    let own = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    if let Ok(ip) = text.parse::<IpAddr>() {
        let service = history.services_at(ip).first().map(|id| history.timeline(*id));
        return Ok(match service.filter(|timeline| timeline.kind == Kind::Service) {
            Some(timeline) => Wanted::Service(timeline.namespace.to_string(), timeline.name.to_string()),
            None => Wanted::Address(ip),
        });
    }
    let parts: Vec<&str> = text.split('/').collect();
    let (namespace, name) = match parts.as_slice() {
        [_, _] if parts.contains(&"") => return Err(wrong()),
        ["pod", namespace, name] => {
            let (namespace, name) = own(namespace, name);
            return Ok(Wanted::Pod(namespace, name));
        }
        ["svc" | "service", namespace, name] | [namespace, name] => own(namespace, name),
        [name] if !name.is_empty() => {
            let labels: Vec<&str> = name.trim_end_matches('.').split('.').collect();
            match labels.as_slice() {
                [name] => own(namespace, name),
                [name, namespace] | [name, namespace, "svc", ..] => own(namespace, name),
                _ => return Err(wrong()),
            }
        }
        _ => return Err(wrong()),
    };
    Ok(Wanted::Service(namespace, name))
}

impl<'a> Port<'a> {
    fn read(text: &'a str) -> Result<Self, EngineError> {
        let wrong = || {
            EngineError::Question(format!(
                "{text} is no port; write a number or a name, with /TCP, /UDP or /SCTP behind it if wanted"
            ))
        };
        match text.split_once('/') {
            None if !text.is_empty() => Ok(Self { text, protocol: None }),
            Some((port, protocol)) if !port.is_empty() => {
                let protocol = Protocol::parse(&protocol.to_ascii_uppercase()).ok_or_else(wrong)?;
                Ok(Self { text: port, protocol: Some(protocol) })
            }
            _ => Err(wrong()),
        }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Service(namespace, name) => write!(f, "service {namespace}/{name}"),
            Self::Pod(namespace, name) => write!(f, "pod {namespace}/{name}"),
            Self::Address(ip) => write!(f, "{ip}"),
        }
    }
}

fn service(
    policies: &Policies<'_>,
    source: (&str, &str),
    service: (&str, &str),
    port: Option<Port<'_>>,
    when: When,
    mut permission: Permission,
) -> Permission {
    let (protocol, port) = (port.and_then(|port| port.protocol), port.map(|port| port.text));
    let answer = policies.may_reach(&ServiceQuestion { source, service, port, protocol, when });
    (permission.decision, permission.known) = (answer.decision, answer.known);
    permission.open = answer.open.iter().map(ToString::to_string).collect();
    permission.objects = answer.objects;
    for reach in answer.endpoints {
        permission.connections.push(connection(&reach.endpoint, &reach.answer));
        permission.objects.extend(reach.answer.objects);
    }
    permission
}

fn direct(
    policies: &Policies<'_>,
    source: (&str, &str),
    target: &Target,
    port: Option<Port<'_>>,
    when: When,
    mut permission: Permission,
) -> Result<Permission, EngineError> {
    let number = port.and_then(|port| port.text.parse::<u16>().ok()).filter(|number| *number > 0);
    let number = number.ok_or_else(|| {
        EngineError::Question("what is no service needs a port: --port NUMBER, or NUMBER/UDP".to_owned())
    })?;
    let protocol = port.and_then(|port| port.protocol).unwrap_or(Protocol::Tcp);
    let answer = policies.may(&Question { source, target, service: None, protocol, port: number, when });
    (permission.decision, permission.known) = (answer.decision, answer.known);
    let mut one = connection_to(protocol, target.ip, number, &answer);
    one.pod = target.pod.as_ref().map(|(namespace, name)| format!("{namespace}/{name}"));
    permission.connections.push(one);
    permission.objects = answer.objects;
    Ok(permission)
}

fn connection(endpoint: &Endpoint, answer: &Answer) -> Connection {
    let mut one = connection_to(endpoint.protocol, Some(endpoint.ip), endpoint.port, answer);
    one.pod = endpoint.pod.as_ref().map(|(namespace, name)| format!("{namespace}/{name}"));
    one.service = endpoint.rewritten.map(|ip| (ip, endpoint.service_port));
    one
}

fn connection_to(protocol: Protocol, ip: Option<IpAddr>, port: u16, answer: &Answer) -> Connection {
    let mut reasons: Vec<PolicyReason> = Vec::new();
    let mut otherwise: Vec<String> = Vec::new();
    for ruling in &answer.rulings {
        for reason in ruling.reasons() {
            let reason = PolicyReason {
                direction: reason.direction.as_str().to_owned(),
                policy: ObjectRef::clone(&reason.policy),
                rule: reason.rule,
                effect: reason.effect.as_str().to_owned(),
            };
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        let because = |word: &str, side: &Side| {
            let lines = side.because.iter().map(|text| format!("{word}: {text}"));
            lines.collect::<Vec<_>>()
        };
        otherwise.extend(because("egress", &ruling.egress));
        otherwise.extend(because("ingress", &ruling.ingress));
    }
    otherwise.sort();
    otherwise.dedup();
    Connection {
        protocol: protocol.as_str().to_owned(),
        ip,
        port,
        pod: None,
        service: None,
        decision: answer.decision,
        known: answer.known,
        open: answer.open.iter().map(ToString::to_string).collect(),
        reasons,
        otherwise,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        wanted(&History::new(), "shop", text).map_or_else(|error| error.to_string(), |it| it.to_string())
    }

    #[test]
    fn a_target_is_a_service_a_pod_or_an_address() {
        for text in ["shop/db", "db", "db.shop", "db.shop.svc", "db.shop.svc.cluster.local.", "svc/shop/db"] {
            assert_eq!(shown(text), "service shop/db", "{text}");
        }
        assert_eq!(shown("pod/shop/db-0"), "pod shop/db-0");
        assert_eq!(shown("2001:db8::1"), "2001:db8::1");
        for text in ["", "/", "shop/", "a.b.c", "www.example.org.", "a/b/c/d"] {
            assert!(shown(text).contains("is no target"), "{text}");
        }
    }

    #[test]
    fn a_port_may_name_its_protocol() {
        let read = |text| Port::read(text).ok().map(|port| (port.text, port.protocol));
        assert_eq!(read("53/udp"), Some(("53", Some(Protocol::Udp))));
        assert_eq!(read("dns"), Some(("dns", None)));
        assert_eq!((read(""), read("53/"), read("/TCP"), read("53/ICMP")), (None, None, None, None));
    }
}
