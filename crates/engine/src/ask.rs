//! What would have been true: a question in words, answered out of a case's objects and Corefiles by `cluster::truth`.
//!
//! Enters: a reader of the log, the words that a person types, a window of time; leaves: a [`Foretelling`]. A question that
//! the evidence cannot place is an error for the person who asks. Deliberately absent: how an answer is made, search lists
//! (a name is asked as it stands on the wire), and what was really answered.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use truename_cluster::corefile::Version;
use truename_cluster::history::{CorefileHistory, History, Kind, State};
use truename_cluster::truth::foretell::{Prediction, Server};
use truename_cluster::truth::model::SERIAL;
use truename_cluster::truth::serve::{Ask, Reply, Rr, Stop};
use truename_cluster::truth::{CACHE_NS, LAG_NS, Truth};
use truename_cluster::view::as_pod;
use truename_evidence::Reader;
use truename_model::object::Pod;
use truename_model::{
    Class, ConfigLine, Explanation, Foretelling, Foretold, ForetoldRecord, Holds, Interval, Name, Nanos,
    Question, Rdata, Rtype,
};

use crate::error::EngineError;
use crate::may::place;
use crate::objects::{Folded, clusters};
use crate::settings::Settings;

/// Releases that stand for all where the evidence names no server.
const RELEASES: [Version; 4] = [Version(1, 15, 0), Version(1, 14, 4), Version(1, 9, 4), Version(1, 8, 6)];
/// Most servers and addresses of a client that are asked.
const MAX_SERVERS: usize = 8;
const MAX_CLIENTS: usize = 4;
/// Most answers that are told apart.
const MAX_ANSWERS: usize = 64;
/// The Corefile of kubeadm, as far as it shapes answers; `ZONE` stands for the cluster's domain.
const KUBEADM: &str = ".:53 {\n    errors\n    kubernetes ZONE in-addr.arpa ip6.arpa {\n        pods insecure\n        \
                       fallthrough in-addr.arpa ip6.arpa\n        ttl 30\n    }\n    forward . /etc/resolv.conf\n    \
                       cache 30\n    reload\n    loadbalance\n}\n";

/// What is asked, as typed.
#[derive(Clone, Copy, Debug)]
pub struct Inquiry<'a> {
    /// The name, absolute with or without its last dot.
    pub name: &'a str,
    /// Type: a mnemonic or `TYPE65`.
    pub rtype: &'a str,
    /// Who asks: `namespace/pod`, or the pod's name alone if only one namespace has it.
    pub pod: &'a str,
    /// When, reference clock; `None`: the last state in the evidence.
    pub at: Option<Interval>,
    /// Cluster by name, where several have such a pod.
    pub cluster: Option<&'a str>,
    /// Version of CoreDNS; `None`: those of the servers in the evidence.
    pub version: Option<&'a str>,
}

/// Answers.
///
/// # Errors
/// Those of the log, and [`EngineError::Question`] where the evidence cannot place what is asked.
pub fn ask(reader: &Reader, settings: &Settings, asked: &Inquiry<'_>) -> Result<Foretelling, EngineError> {
    let question = question(asked)?;
    let given = asked.version.map(version).transpose()?;
    let folded = clusters(reader, settings)?;
    let (cluster, (namespace, pod)) = place(&folded, asked.pod, asked.cluster)?;
    let window = asked.at.unwrap_or(Interval::at(Nanos(i64::MAX)));
    let mut open = Vec::new();
    let clients = clients(&cluster.history, (&namespace, &pod), asked.at, &mut open)?;
    let servers = servers(&cluster.history, asked.at, given, &mut open);
    let assumed = assumed(cluster, &mut open);
    let truth = Truth::new(&cluster.history, assumed.as_ref().unwrap_or(&cluster.corefiles));
    let teller = Teller { truth: &truth, question: &question, clients: &clients, servers: &servers };
    let (answers, known) = teller.tell(window);
    if !known {
        open.push("another Corefile than those in the evidence may have been in force".to_owned());
    }
    // Without a time the objects are taken for the whole of what they show.
    let whole = asked.at.is_none() && shows_all(&cluster.history, &mut open);
    let complete = whole || answers.iter().all(|(_, complete)| *complete);
    if !complete {
        open.push("objects that are not in the evidence may change the answer".to_owned());
    }
    let settled = answers.len() == 1 && known && complete;
    let mut answers: Vec<Foretold> = answers.into_iter().map(|(answer, _)| answer).collect();
    for answer in &mut answers {
        answer.holds = match answer.holds {
            Holds::True if settled => Holds::True,
            _ if settled && whole => Holds::True,
            _ => Holds::Possible,
        };
    }
    if let Some(at) = asked.at {
        let longest = truth.longest_ttl_ns(&question.name);
        let before = Interval { lo: at.lo.plus(-(longest + CACHE_NS + LAG_NS)), hi: at.hi };
        for (mut stale, _) in teller.tell(before).0 {
            if !answers.iter().any(|answer| is_alike(answer, &stale)) {
                stale.holds = Holds::Stale;
                answers.push(stale);
            }
        }
    }
    Ok(Foretelling {
        name: question.name.to_string(),
        rtype: question.rtype.to_string(),
        pod: format!("{namespace}/{pod}"),
        clients,
        cluster: cluster.name.clone(),
        at: asked.at,
        answers,
        open,
    })
}

/// True if every kind of object that answers rest on is in the evidence.
fn shows_all(history: &History, open: &mut Vec<String>) -> bool {
    let has = |kind: Kind| history.timelines().iter().any(|timeline| timeline.kind == kind);
    let kinds = [
        (Kind::Namespace, "Namespace"),
        (Kind::Service, "Service"),
        (Kind::Slice, "EndpointSlice"),
        (Kind::Pod, "Pod"),
    ];
    let missing: Vec<&str> = kinds.iter().filter(|(kind, _)| !has(*kind)).map(|(_, name)| *name).collect();
    if !missing.is_empty() {
        open.push(format!("no {} in the evidence", missing.join(" and no ")));
    }
    missing.is_empty()
}

fn question(asked: &Inquiry<'_>) -> Result<Question, EngineError> {
    let wrong = |what: String| EngineError::Question(what);
    let name = Name::parse(asked.name).map_err(|error| {
        wrong(format!("{} is no name: {error}; write it in full, as db.shop.svc.cluster.local", asked.name))
    })?;
    let rtype = Rtype::parse(&asked.rtype.to_ascii_uppercase())
        .ok_or_else(|| wrong(format!("{} is no type; write A, AAAA, SRV, PTR or TYPE65", asked.rtype)))?;
    if matches!(rtype, Rtype::AXFR | Rtype::IXFR) {
        return Err(wrong(format!("{rtype} is a transfer, which no pod's resolver asks for")));
    }
    Ok(Question { name, rtype, class: Class::IN })
}

fn version(text: &str) -> Result<Version, EngineError> {
    Version::parse(text)
        .ok_or_else(|| EngineError::Question(format!("{text} is no version of CoreDNS; write it as 1.14.4")))
}

/// States of pods that may have existed then, in order.
fn pods(history: &History, at: Option<Interval>) -> impl Iterator<Item = (&State, &Pod)> {
    let timelines = history.timelines().iter().filter(|timeline| timeline.kind == Kind::Pod);
    let states = timelines.flat_map(move |timeline| match at {
        Some(at) => timeline.within(at).collect::<Vec<_>>(),
        None => timeline.entries.last().into_iter().collect(),
    });
    states.filter_map(|entry| entry.state.as_ref()).filter_map(|state| Some((state, as_pod(state)?)))
}

/// The addresses with which the pod asked.
fn clients(
    history: &History,
    (namespace, name): (&str, &str),
    at: Option<Interval>,
    open: &mut Vec<String>,
) -> Result<Vec<IpAddr>, EngineError> {
    let mut found: Vec<IpAddr> = Vec::new();
    let mut policies: BTreeSet<&str> = BTreeSet::new();
    let own = |(state, _): &(&State, &Pod)| state.meta.namespace == namespace && state.meta.name == name;
    for (_, pod) in pods(history, at).filter(own) {
        if let Some(ip) = pod.ips.first().filter(|ip| !found.contains(ip)) {
            found.push(*ip);
        }
        policies.insert(match pod.dns_policy.as_str() {
            "" | "ClusterFirst" if pod.host_network => "Default (it lives in its node's network)",
            "" | "ClusterFirst" | "ClusterFirstWithHostNet" => continue,
            other => other,
        });
    }
    found.truncate(MAX_CLIENTS);
    if found.is_empty() {
        return Err(EngineError::Question(format!(
            "no address of pod {namespace}/{name} is known then; ask with another --at, or without it for the last state"
        )));
    }
    for policy in policies {
        open.push(format!(
            "by its dnsPolicy {policy} this pod does not ask the cluster's servers unless told to"
        ));
    }
    Ok(found)
}

/// The servers that the evidence shows, each with the words for it.
fn servers(
    history: &History,
    at: Option<Interval>,
    given: Option<Version>,
    open: &mut Vec<String>,
) -> Vec<(String, Server)> {
    let mut found: Vec<(String, Server)> = Vec::new();
    for (state, pod) in pods(history, at) {
        let image = pod.images.iter().find(|image| image.contains("coredns"));
        let Some(image) = image.filter(|_| pod.phase != "Succeeded" && pod.phase != "Failed") else {
            continue;
        };
        let tag = image.rsplit_once('/').map_or(image.as_str(), |(_, last)| last);
        let tag = tag.split('@').next().and_then(|tag| tag.split_once(':')).map(|(_, tag)| tag);
        let Some(version) = given.or_else(|| tag.and_then(Version::parse)) else { continue };
        let own = (!pod.ips.is_empty()).then(|| pod.ips.clone());
        let server = (
            format!("{}/{} (CoreDNS {version})", state.meta.namespace, state.meta.name),
            Server { version, own },
        );
        if !found.contains(&server) {
            found.push(server);
        }
    }
    if found.len() > MAX_SERVERS {
        open.push(format!("{} servers in the evidence; the first {MAX_SERVERS} were asked", found.len()));
        found.truncate(MAX_SERVERS);
    }
    if found.is_empty() {
        if given.is_none() {
            let releases = RELEASES.map(|version| version.to_string()).join(", ");
            open.push(format!(
                "no server's version is in the evidence: asked of CoreDNS {releases}; --coredns VERSION states it"
            ));
        }
        let versions = given.map_or(RELEASES.to_vec(), |version| vec![version]);
        let named = versions.into_iter();
        found = named.map(|version| (format!("CoreDNS {version}"), Server { version, own: None })).collect();
    }
    found
}

/// The Corefile to assume where the evidence has none.
fn assumed(cluster: &Folded, open: &mut Vec<String>) -> Option<CorefileHistory> {
    if !cluster.corefiles.versions().is_empty() {
        return None;
    }
    let domain = cluster.history.facts().domain.clone();
    let zone = domain.map_or_else(|| "cluster.local.".to_owned(), |name| name.to_string());
    open.push(format!(
        "no Corefile in the evidence: kubeadm's is assumed, with the zone {zone}; give the Corefile or its ConfigMap as well"
    ));
    let mut corefiles = CorefileHistory::new();
    corefiles.add_file("assumed", Arc::from(KUBEADM.replace("ZONE", &zone).as_str()));
    corefiles.finish(&cluster.history);
    Some(corefiles)
}

/// All that may be asked, and whom.
struct Teller<'t> {
    truth: &'t Truth<'t>,
    question: &'t Question,
    clients: &'t [IpAddr],
    servers: &'t [(String, Server)],
}

impl Teller<'_> {
    /// Distinct answers in `window`, each with whether it is complete; `false` beside them: another Corefile may be in
    /// force.
    fn tell(&self, window: Interval) -> (Vec<(Foretold, bool)>, bool) {
        let mut out: Vec<(Foretold, bool)> = Vec::new();
        let mut known = true;
        for (name, server) in self.servers {
            for client in self.clients {
                let ask = Ask::new(self.question.clone(), *client);
                let (predictions, sure) = self.truth.foretell(&ask, window, server);
                known &= sure;
                predictions.into_iter().for_each(|one| merge(&mut out, foretold(one, name)));
            }
        }
        out.sort_by_key(|(answer, _)| answer.holds);
        (out, known)
    }
}

fn merge(out: &mut Vec<(Foretold, bool)>, (new, complete): (Foretold, bool)) {
    let Some((same, all)) = out.iter_mut().find(|(known, _)| is_alike(known, &new)) else {
        if out.len() < MAX_ANSWERS {
            out.push((new, complete));
        }
        return;
    };
    *all &= complete;
    same.holds = same.holds.min(new.holds);
    add(&mut same.servers, new.servers);
    add(&mut same.objects, new.objects);
    add(&mut same.lines, new.lines);
}

fn add<T: PartialEq>(list: &mut Vec<T>, more: Vec<T>) {
    for one in more {
        if !list.contains(&one) {
            list.push(one);
        }
    }
}

/// True if a client cannot tell them apart.
fn is_alike(one: &Foretold, other: &Foretold) -> bool {
    let content = |of: &Foretold| {
        (of.rcode.clone(), of.flags.clone(), of.answer.clone(), of.authority.clone(), of.additional.clone())
    };
    one.beyond == other.beyond && content(one) == content(other)
}

fn foretold(one: Prediction, server: &str) -> (Foretold, bool) {
    let complete = one.complete;
    let beyond = match (&one.result, &one.rest) {
        (_, Some(target)) => Some(format!("followed by what the lookup of {target} gives")),
        (Ok(Some(reply)), _) if reply.unpackable => {
            Some("nothing is sent: the answer cannot be packed".to_owned())
        }
        (Ok(Some(_)), _) => None,
        (Ok(None), _) => Some("nothing is sent".to_owned()),
        (Err(Stop::Elsewhere(plugin)), _) => {
            Some(format!("unverifiable: the data of {plugin} lie elsewhere"))
        }
        (Err(Stop::Unmodelled(why)), _) => Some(format!("unverifiable: {why}")),
        (Err(Stop::Panic | Stop::Blank), _) => Some("the server's handler panics".to_owned()),
        (Err(Stop::Dies(_)), _) => Some("the server dies of it".to_owned()),
        (Err(Stop::Hangs), _) => Some("the server never answers".to_owned()),
    };
    let reply = one.result.ok().flatten().filter(|reply| !reply.unpackable);
    let section = |of: fn(&Reply) -> &[Rr]| -> Vec<ForetoldRecord> {
        let mut records: Vec<ForetoldRecord> = reply.iter().flat_map(of).map(record).collect();
        records.sort_by(|a, b| (&a.owner, &a.rtype, &a.data).cmp(&(&b.owner, &b.rtype, &b.data)));
        records.dedup();
        records
    };
    // The order of an alias and what it leads to says more than the alphabet.
    let answer: Vec<ForetoldRecord> = {
        let mut seen = Vec::new();
        add(&mut seen, reply.iter().flat_map(|reply| reply.answer.iter()).map(record).collect());
        seen
    };
    let made = Foretold {
        holds: if one.grounded { Holds::True } else { Holds::Possible },
        rcode: reply.as_ref().map(|reply| reply.rcode.to_string()),
        flags: reply.as_ref().map(flags).unwrap_or_default(),
        answer,
        authority: section(|reply| &reply.authority),
        additional: section(|reply| &reply.additional),
        beyond,
        servers: vec![server.to_owned()],
        objects: one.by,
        lines: one.lines.into_iter().filter_map(line).collect(),
    };
    (made, complete)
}

fn flags(reply: &Reply) -> String {
    let all = [("aa", reply.aa), ("rd", reply.rd), ("ra", reply.ra)];
    let set: Vec<&str> = all.into_iter().filter(|(_, set)| *set).map(|(word, _)| word).collect();
    set.join(" ")
}

fn record(rr: &Rr) -> ForetoldRecord {
    ForetoldRecord {
        owner: rr.owner.to_string(),
        ttl: rr.ttl,
        rtype: rr.rtype.to_string(),
        data: data_text(rr),
    }
}

/// The serial of the kubernetes plugin is its clock.
fn data_text(rr: &Rr) -> String {
    match &rr.rdata {
        Rdata::Soa {
            mname,
            rname,
            numbers: [SERIAL, refresh @ 7_200, retry @ 1_800, expire @ 86_400, least],
        } => {
            format!("{mname} {rname} SERIAL {refresh} {retry} {expire} {least}")
        }
        data => data.to_string(),
    }
}

fn line(explained: Explanation) -> Option<ConfigLine> {
    match explained {
        Explanation::Corefile { config, line, text } if config.name != "assumed" => {
            Some(ConfigLine { config, line, text })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_wrong_is_told_with_what_to_write() {
        let asked = |name, rtype| Inquiry { name, rtype, pod: "a/b", at: None, cluster: None, version: None };
        for (name, rtype, wanted) in
            [("a..b", "A", "is no name"), ("a.b", "B", "is no type"), ("a.b", "axfr", "is a transfer")]
        {
            let error = question(&asked(name, rtype)).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
        assert_eq!(question(&asked("Db.shop.svc", "aaaa")).unwrap().rtype, Rtype::AAAA);
        assert!(version("new").is_err());
        assert_eq!(version("v1.14.4").unwrap(), Version(1, 14, 4));
    }
}
