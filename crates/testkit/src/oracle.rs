//! CoreDNS's own test tables through the truth model.
//!
//! Enters: `coredns_oracle.json` (the corpora's README tells its form). Leaves: how often the model implies what
//! CoreDNS's tests expect. Compared are return code and the sets of (owner, type, data) of the answer section; the
//! additional section as a subset; of an SOA only its names. Deliberately absent: plugins that the model leaves out;
//! their suites are counted as explained, with the reason.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use truename_cluster::corefile::PodMode;
use truename_cluster::history::{CorefileHistory, History, Kind};
use truename_cluster::names;
use truename_cluster::truth::model::{Datum, Outcome};
use truename_cluster::truth::options::Options;
use truename_cluster::truth::{Expected, Truth};
use truename_model::object::{ChangeKind, ChangeSource, ClusterChange};
use truename_model::rr::{Class, Question, Rdata, Rtype};
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

/// Suites of plugins and features that the model does not judge; it calls such answers unverifiable, never false.
fn outside(suite: &str) -> Option<&'static str> {
    match suite {
        "multicluster" => {
            Some("multicluster zones answer from ServiceImports of other clusters: state elsewhere")
        }
        "k8s_external" | "external_raw" => Some("the plugin k8s_external is not modelled: state elsewhere"),
        _ => None,
    }
}

fn answers(suite: &str, table: &Value, cases: &[Value], result: &mut SuiteResult) {
    if let Some(reason) = outside(suite) {
        cases.iter().for_each(|case| result.differs(id(case), Some(reason)));
        return;
    }
    let history = history(table["objects"].as_array().map_or(&[][..], Vec::as_slice));
    let corefiles = CorefileHistory::new();
    let truth = Truth::new(&history, &corefiles).with_options(options(&table["options"]));
    for case in cases {
        let Some(question) = question(case) else {
            result.differs(id(case), None);
            continue;
        };
        let expected = truth.admissible(&question, AT, Some("1.15.0"));
        let found = match &expected {
            Expected::Answers { possibilities, .. } => {
                possibilities.iter().any(|one| agrees(&one.outcome, case))
            }
            Expected::NotCluster | Expected::NoCorefile => false,
        };
        match found {
            true => result.agrees(),
            false => result.differs(&format!("{} {expected:?}", id(case)), reason(suite, case)),
        }
    }
}

/// Reasons for single cases, each by what the table itself lacks.
fn reason(suite: &str, case: &Value) -> Option<&'static str> {
    let positive = case["answer"].as_array().is_some_and(|answers| !answers.is_empty());
    let pinned = case["qname"].as_str().is_some_and(|name| name.contains("._zone."));
    match suite {
        "notsynced" => {
            Some("the server has not seen the objects yet: SERVFAIL is no claim and is not judged")
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
    for kind in [Kind::Service, Kind::Slice, Kind::Pod, Kind::Namespace] {
        history.declare_complete(kind, AT.widened(1));
    }
    history.finish();
    history
}

fn options(value: &Value) -> Options {
    let texts = |key: &str| -> Vec<String> {
        let list = value[key].as_array().into_iter().flatten();
        list.filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    let zones: Vec<Name> = texts("zones").iter().filter_map(|zone| Name::parse(zone).ok()).collect();
    let local: Vec<IpAddr> = texts("local_ips").iter().filter_map(|ip| ip.parse().ok()).collect();
    Options {
        pods: match value["pods"].as_str() {
            Some("insecure") => PodMode::Insecure,
            Some("verified") => PodMode::Verified,
            _ => PodMode::Disabled,
        },
        namespaces: texts("namespaces").into_iter().collect(),
        ttl: value["ttl"].as_u64().and_then(|ttl| u32::try_from(ttl).ok()).unwrap_or(5),
        ignore_empty: value["ignore_empty_service"].as_bool().unwrap_or(false),
        zonal: value["zonal"].as_bool().unwrap_or(false),
        local_ips: (!local.is_empty()).then_some(local),
        ..Options::defaults(zones)
    }
}

fn question(case: &Value) -> Option<Question> {
    let name = Name::parse(case["qname"].as_str()?).ok()?;
    Some(Question { name, rtype: Rtype::parse(case["qtype"].as_str()?)?, class: Class::IN })
}

fn agrees(outcome: &Outcome, case: &Value) -> bool {
    let rcode = case["rcode"].as_str().unwrap_or("NOERROR");
    let (answers, additional) = (section(case, "answer"), section(case, "additional"));
    match outcome {
        Outcome::NxDomain => rcode == "NXDOMAIN" && answers.is_empty(),
        Outcome::NoData => rcode == "NOERROR" && answers.is_empty(),
        Outcome::Records(records) => {
            let own: BTreeSet<String> = records.answers.iter().map(shown).collect();
            let extra: BTreeSet<String> = records.additional.iter().map(shown).collect();
            let more = records.chase.is_some();
            let same = if more { own.is_subset(&answers) } else { own == answers };
            rcode == "NOERROR" && same && additional.is_subset(&extra)
        }
        Outcome::AnyOf(_) | Outcome::Unanswerable | Outcome::OutOfModel(_) => false,
    }
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
        assert!(result.agree >= 45, "{result:?}");
    }
}
