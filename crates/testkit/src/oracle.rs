//! CoreDNS's own test tables through the truth model.
//!
//! Enters: `coredns_oracle.json` (the corpora's README tells its form). Leaves: how often the model implies what
//! CoreDNS's tests expect, each table as a Corefile of its own. Compared are return code and the sets of (owner, type,
//! data) of the answer section; the additional section as a subset; the authority of denials by owner and type.
//! Deliberately absent: what the tables do not hold, which is counted as explained, with the reason.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use truename_cluster::corefile::{Env, Version, parse};
use truename_cluster::history::{History, Kind};
use truename_cluster::names;
use truename_cluster::truth::model::Datum;
use truename_cluster::truth::serve::{Ask, Memory, Reply, Rr, Run, Site, Surroundings, Upstream};
use truename_cluster::view::View;
use truename_model::object::{ChangeKind, ChangeSource, ClusterChange};
use truename_model::rr::{Class, Question, Rcode, Rdata, Rtype};
use truename_model::time::{ClockBasis, Interval, Nanos, ObservedAt};
use truename_model::{Name, OriginId, RecordRef};

use crate::suite::SuiteResult;

/// The instant at which every table is asked.
const AT: Interval = Interval::at(Nanos(1_000_000_000));

/// Runs every table of the file; a missing file gives no cases.
#[must_use]
pub fn run(path: &Path) -> SuiteResult {
    let mut result = SuiteResult::new("coredns_oracle");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let suites: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
    for suite in &suites {
        let name = suite["suite"].as_str().unwrap_or_default().trim_start_matches("coredns/");
        let cases = suite["cases"].as_array().map_or(&[][..], Vec::as_slice);
        match name {
            "parse_request" => {
                cases.iter().for_each(|case| parse_request(case, &suite["options"], &mut result))
            }
            "services_raw" => cases.iter().for_each(|case| key_of_name(case, &mut result)),
            _ => answers(name, suite, cases, &mut result),
        }
    }
    result
}

/// The server of a table, as a Corefile.
fn corefile(suite: &str, options: &Value) -> String {
    let texts = |key: &str| -> Vec<String> {
        let list = options[key].as_array().into_iter().flatten();
        list.filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    let mut zones = texts("zones");
    if zones.is_empty() || suite == "external_raw" {
        zones = vec!["cluster.local.".to_owned()];
    }
    let mut text = format!(".:53 {{\n kubernetes {} {{\n", zones.join(" "));
    let mut put = |line: String| text.push_str(&format!("  {line}\n"));
    put(format!("pods {}", options["pods"].as_str().unwrap_or("disabled")));
    put(format!("ttl {}", options["ttl"].as_u64().unwrap_or(5)));
    for key in ["namespaces", "multicluster"] {
        let words = texts(key);
        if !words.is_empty() {
            put(format!("{key} {}", words.join(" ")));
        }
    }
    for (key, line) in [("ignore_empty_service", "ignore empty_service"), ("zonal", "zonal")] {
        if options[key].as_bool() == Some(true) {
            put(line.to_owned());
        }
    }
    text.push_str(" }\n");
    match suite {
        "k8s_external" => text.push_str(" k8s_external example.com in-addr.arpa {\n  headless\n }\n"),
        "external_raw" => {
            text.push_str(" k8s_external example.org example.com in-addr.arpa {\n  headless\n }\n")
        }
        _ => {}
    }
    text + "}\n"
}

/// The mock holds the name of a load balancer among the addresses; the API keeps it in the status.
fn name_as_ingress(object: &mut Value) {
    let first = object["spec"]["externalIPs"][0].as_str().map(str::to_owned);
    if let Some(name) = first.filter(|text| text.parse::<IpAddr>().is_err()) {
        object["spec"]["externalIPs"] = Value::Array(Vec::new());
        object["status"] = serde_json::json!({ "loadBalancer": { "ingress": [{ "hostname": name }] } });
    }
}

/// No server stands behind these tables.
struct Nobody;

impl Upstream for Nobody {
    fn exchange(&self, _: (IpAddr, u16), _: &Ask) -> Result<Option<Reply>, String> {
        Ok(None)
    }
}

fn answers(suite: &str, table: &Value, cases: &[Value], result: &mut SuiteResult) {
    let mut objects = table["objects"].as_array().cloned().unwrap_or_default();
    // The mock of these suites knows its namespace without listing it.
    if suite.contains("external") {
        objects.push(
            serde_json::json!({ "kind": "Namespace", "apiVersion": "v1", "metadata": { "name": "testns" } }),
        );
    }
    objects.iter_mut().for_each(name_as_ingress);
    let history = history(&objects);
    let options = &table["options"];
    let own = options["local_ips"].as_array().into_iter().flatten();
    let own: Vec<IpAddr> = own.filter_map(|ip| ip.as_str()?.parse().ok()).collect();
    let Ok(corefile) = parse(&corefile(suite, options), &Env::default()) else { return };
    let around = Surroundings {
        // The tables of k8s_external mock one address of the server.
        own: Some(if own.is_empty() { vec![IpAddr::from([127, 0, 0, 1])] } else { own }),
        synced: options["synced"].as_bool().or(Some(true)),
        ..Surroundings::default()
    };
    let site = Site::new(&corefile, Version::NEWEST, 53, around, &Nobody);
    for case in cases {
        let Some(question) = question(case) else {
            result.differs(id(case), None);
            continue;
        };
        let mut view = View::new(&history, AT);
        let (mut found, mut last) = (false, String::new());
        while !found && view.next_world() {
            let client = IpAddr::from([10, 240, 0, 1]);
            let reply = Run::new(&site, &mut view, Memory::default(), None)
                .answer(&Ask::new(question.clone(), client));
            found = matches!(&reply, Ok(Some(reply)) if agrees(reply, case));
            last = format!("{reply:?}");
        }
        match found {
            true => result.agrees(),
            false => result.differs(&format!("{} {last}", id(case)), reason(suite, case)),
        }
    }
}

/// Reasons for single cases, each by what the table itself lacks.
fn reason(suite: &str, case: &Value) -> Option<&'static str> {
    let positive = case["answer"].as_array().is_some_and(|answers| !answers.is_empty());
    let pinned = case["qname"].as_str().is_some_and(|name| name.contains("._zone."));
    match suite {
        "k8s_external" if positive && case["qname"].as_str() == Some("svc12.testns.example.com.") => {
            Some("the name of the load balancer was looked up in a mock")
        }
        "zonal" if positive && pinned => {
            Some("the table's endpoints lost their topology zones when it was extracted")
        }
        _ => None,
    }
}

fn id(case: &Value) -> &str {
    case["id"].as_str().unwrap_or("?")
}

fn history(objects: &[Value]) -> History {
    let mut history = History::new();
    for (ordinal, value) in (0u64..).zip(objects) {
        let Ok((meta, object)) = truename_sources::kube::object(value, None, None) else { continue };
        history.fold(ClusterChange {
            record: RecordRef { item: 0, ordinal },
            origin: OriginId(0),
            kind: ChangeKind::Listed,
            source: ChangeSource::Snapshot,
            meta: Arc::new(meta),
            object: Arc::new(object),
            at: ObservedAt::Known(AT, ClockBasis::Snapshot),
            seen_at: Some(AT),
            actor: None,
        });
    }
    for kind in [Kind::Service, Kind::Slice, Kind::Pod, Kind::Namespace, Kind::Other] {
        history.declare_complete(kind, AT.widened(1));
    }
    history.finish();
    history
}

/// The question of a case. Raw expectations of services are asked for as SRV: those records show everything in them.
fn question(case: &Value) -> Option<Question> {
    let name = Name::parse(case["qname"].as_str().or(case["Qname"].as_str())?).ok()?;
    let rtype = match case["qtype"].as_str() {
        Some(rtype) => Rtype::parse(rtype)?,
        None => Rtype::SRV,
    };
    Some(Question { name, rtype, class: Class::IN })
}

fn agrees(reply: &Reply, case: &Value) -> bool {
    if case.get("Rcode").is_some() {
        return agrees_raw(reply, case);
    }
    let rcode = case["rcode"].as_str().unwrap_or("NOERROR");
    let own = |section: &[Rr]| -> BTreeSet<String> {
        section.iter().map(|rr| shown(&(rr.owner.clone(), rr.rdata.clone()))).collect()
    };
    // Of an SOA record in authority only owner and type count: the tables mock the rest.
    let types = |section: BTreeSet<String>| -> BTreeSet<String> {
        section.iter().map(|text| text.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    let denied = case["answer"].as_array().is_none_or(Vec::is_empty);
    reply.rcode.to_string() == rcode
        && own(&reply.answer) == section(case, "answer")
        && section(case, "additional").is_subset(&own(&reply.additional))
        && (!denied || types(own(&reply.authority)) == types(section(case, "authority")))
}

/// Services as `k8s_external` finds them: host, port, and the name that their key spells from the right.
fn agrees_raw(reply: &Reply, case: &Value) -> bool {
    let wanted = match case["Rcode"]["$sel"].as_str() {
        Some("dns.RcodeNameError") => Rcode::NXDOMAIN,
        _ => Rcode::NOERROR,
    };
    let mut expected = BTreeSet::new();
    for one in case["Msg"].as_array().into_iter().flatten() {
        let key = one["Key"].as_str().unwrap_or_default();
        // The test asks in one zone with names of another: the two labels of the zone are left out on both sides.
        let mut labels: Vec<&str> = key.split('/').filter(|label| !label.is_empty()).skip(3).collect();
        labels.reverse();
        let host = one["Host"].as_str().and_then(|host| host.parse::<IpAddr>().ok());
        let host = host.map_or_else(String::new, |ip| ip.to_string());
        expected.insert((labels.join("."), one["Port"].as_u64().unwrap_or(0), host));
    }
    let mut found = BTreeSet::new();
    for rr in &reply.answer {
        let Rdata::Srv { port, target, .. } = &rr.rdata else { continue };
        for extra in reply.additional.iter().filter(|extra| extra.owner == *target) {
            let text = target.to_string();
            let own = text.rsplitn(4, '.').nth(3).unwrap_or_default().to_owned();
            found.insert((own, u64::from(*port), extra.rdata.to_string()));
        }
    }
    reply.rcode == wanted && found == expected
}

/// Records as `owner TYPE data`, TTL and the numbers of an SOA left out, in lower case.
fn section(case: &Value, key: &str) -> BTreeSet<String> {
    let texts = case[key].as_array().into_iter().flatten().filter_map(Value::as_str);
    texts
        .filter_map(|text| {
            let words: Vec<&str> = text.split_whitespace().collect();
            let [owner, _ttl, "IN", rtype, data @ ..] = &words[..] else { return None };
            let data = if *rtype == "SOA" { &data[..data.len().min(2)] } else { data };
            Some(format!("{owner} {rtype} {}", data.join(" ")).to_lowercase())
        })
        .collect()
}

fn shown((owner, data): &Datum) -> String {
    let (rtype, text) = match data {
        Rdata::A(_) => ("a", data.to_string()),
        Rdata::Aaaa(_) => ("aaaa", data.to_string()),
        Rdata::Cname(_) => ("cname", data.to_string()),
        Rdata::Ns(_) => ("ns", data.to_string()),
        Rdata::Ptr(_) => ("ptr", data.to_string()),
        Rdata::Mx(..) => ("mx", data.to_string()),
        Rdata::Srv { .. } => ("srv", data.to_string()),
        Rdata::Soa { mname, rname, .. } => ("soa", format!("{mname} {rname}")),
        Rdata::Txt(_) => ("txt", data.to_string()),
        Rdata::Other(_) => ("other", data.to_string()),
    };
    format!("{owner} {rtype} {text}").to_lowercase()
}

/// `port.protocol.endpoint.cluster.service.namespace.branch` of a name, as CoreDNS's test prints it.
fn parse_request(case: &Value, options: &Value, result: &mut SuiteResult) {
    let query = case["query"].as_str().unwrap_or_default();
    let zone = options["zone"].as_str().and_then(|zone| Name::parse(zone).ok()).unwrap_or_else(Name::root);
    let Ok(name) = Name::parse(query) else {
        result.differs(id(case), Some("the query has empty labels: no message can carry it"));
        return;
    };
    let flag = |key: &str| case[key].as_bool().unwrap_or(false);
    // The invalid cases of the table are asked in a zone that they do not lie in, too.
    let parsed = names::parse(&name, &zone, flag("multicluster"), flag("zonal"));
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let found = parsed.map(|r| {
        let branch = match r.branch {
            Some(names::Branch::Service) => "svc",
            Some(names::Branch::Pod) => "pod",
            None => "",
        };
        let parts = [r.port, r.protocol, r.endpoint, r.cluster, r.service, r.namespace].map(text);
        (format!("{}.{branch}", parts.join(".")), r.zonal.map_or_else(String::new, |zonal| text(&zonal.zone)))
    });
    let expected = match flag("invalid") {
        true => None,
        false => {
            let get = |key: &str| case[key].as_str().unwrap_or_default().to_owned();
            Some((get("expected"), get("zone")))
        }
    };
    match found == expected {
        true => result.agrees(),
        false => result.differs(&format!("{} {found:?}", id(case)), None),
    }
}

/// The key under which CoreDNS finds a name: its labels from the right. The objects behind were a mock.
fn key_of_name(case: &Value, result: &mut SuiteResult) {
    let reason = "the objects behind the key were a mock that the table does not hold";
    let name = case["qname"].as_str().and_then(|name| Name::parse(name).ok());
    let keys: BTreeSet<&str> =
        case["answer"].as_array().into_iter().flatten().filter_map(|answer| answer["key"].as_str()).collect();
    let (Some(name), Some(&key)) = (name, keys.first()) else {
        result.differs(id(case), Some(reason));
        return;
    };
    let zone_labels = name.labels().skip_while(|label| *label != b"svc").skip(1);
    let zone_text: Vec<String> =
        zone_labels.map(|label| String::from_utf8_lossy(label).into_owned()).collect();
    let multicluster = zone_text.first().is_some_and(|label| label == "clusterset");
    let Some(zone) = Name::parse(&zone_text.join(".")).ok() else { return result.differs(id(case), None) };
    let Some(request) = names::parse(&name, &zone, multicluster, false) else {
        return result.differs(id(case), None);
    };
    let mut path: Vec<String> = zone_text.iter().rev().cloned().collect();
    let mut push = |label: &[u8]| path.push(String::from_utf8_lossy(label).into_owned());
    push(b"svc");
    [request.namespace, request.service].into_iter().for_each(&mut push);
    [request.cluster, request.endpoint].into_iter().filter(|label| !label.is_empty()).for_each(&mut push);
    let own = format!("/c/{}", path.join("/"));
    match () {
        () if own == key => result.agrees(),
        // A headless name: the endpoint's label comes from the mock.
        () if key.starts_with(&own) => result.differs(id(case), Some(reason)),
        () => result.differs(&format!("{} {own}", id(case)), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_agrees_with_coredns_own_tables() {
        let root = std::env::var_os("TRUENAME_CORPORA").map(std::path::PathBuf::from);
        let root =
            root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora"));
        let path = root.join("k8s_dns/extracted/coredns_oracle.json");
        if !path.exists() {
            println!("skipped: corpora absent");
            return;
        }
        let result = run(&path);
        assert_eq!(result.wrong, 0, "{:#?}", result.misses);
        assert_eq!(result.cases, 117);
        assert!(result.agree >= 100, "{result:?}");
    }
}
