//! R05: ports of a service enumerated by SRV, and SRV on bare service names.
//!
//! Enters: intents; leaves: a draft per workload and service (ports), and one per workload (bare names).
//! Deliberately absent: SRV questions outside the cluster zone.

use std::collections::{BTreeMap, BTreeSet};

use truename_model::{Intent, Name, Nanos, ObservedAt, Rtype, RuleMeta, Severity};

use super::bounded::{Table, Tally, limit, limit_ns};
use super::lookup;
use super::names::{ClusterName, label_text, shown};
use super::who::Who;
use crate::facts::{Context, Draft, Fact, Rule};

/// Services followed per workload.
const SERVICES_MAX: usize = 1_024;
/// Ports followed per service.
const PORTS_MAX: usize = 256;

#[derive(Debug, Default)]
struct Ports {
    asked: BTreeMap<String, Nanos>,
    most: usize,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Client {
    ports: BTreeMap<String, Ports>,
    bare: BTreeMap<String, Nanos>,
    bare_most: usize,
    bare_tally: Tally,
}

/// The rule.
pub(crate) struct SrvEnumeration {
    meta: RuleMeta,
    clients: Table<Who, Client>,
}

impl SrvEnumeration {
    pub(crate) fn new(meta: RuleMeta) -> Self {
        Self { meta, clients: Table::new(512) }
    }

    fn intent(&mut self, intent: &Intent, zone: &Name, out: &mut Vec<Draft>, cx: &Context<'_>) {
        let name = lookup::meant(intent, zone);
        let Some(parsed) = ClusterName::parse(name, zone) else { return };
        let mut evicted = Vec::new();
        let client = self.clients.entry(
            Who::new(&intent.attribution, Some(intent.client)),
            Client::default,
            &mut evicted,
        );
        let step = intent.steps.first().map(|step| &step.transaction);
        let (when, record) =
            (step.map_or(ObservedAt::None, |s| lookup::at(s)), step.and_then(|s| lookup::first_record(s)));
        let at = intent.from.lo;
        match parsed {
            ClusterName::Port { port, service, namespace, .. } if port.starts_with(b"_") => {
                let service = format!("{}.{}", label_text(service), label_text(namespace));
                if client.ports.len() >= SERVICES_MAX && !client.ports.contains_key(&service) {
                    return;
                }
                let ports = client.ports.entry(service).or_default();
                ports.tally.add(when, record, || format!("SRV {}", shown(name)));
                note(&mut ports.asked, label_text(port), at, PORTS_MAX);
                ports.most = ports.most.max(recent(&ports.asked, at, limit_ns(&self.meta, "window_secs")));
            }
            ClusterName::Service { service, namespace } => {
                let service = format!("{}.{}", label_text(service), label_text(namespace));
                client.bare_tally.add(when, record, || format!("SRV {}", shown(name)));
                note(&mut client.bare, service, at, SERVICES_MAX);
                client.bare_most =
                    client.bare_most.max(recent(&client.bare, at, limit_ns(&self.meta, "bare_window_secs")));
            }
            _ => {}
        }
        for (who, client) in evicted {
            self.close(&who, client, cx, out);
        }
    }

    fn close(&self, who: &Who, client: Client, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let zone = cx.knowledge.cluster_domain();
        let zone = zone.as_ref().map(shown).unwrap_or_default();
        for (service, ports) in client.ports {
            if ports.most as f64 >= limit(&self.meta, "ports") {
                let title = format!("{} asked SRV for {} ports of {service}", who.text(), ports.asked.len());
                let why = format!("{} different ports of one service within the window.", ports.most);
                let target = format!("{service}.svc.{zone}");
                out.push(self.draft(who, Severity::High, title, why, target, ports.tally));
            }
        }
        if client.bare_most > 0 {
            let many = client.bare_most as f64 >= limit(&self.meta, "bare");
            let severity = if many { Severity::High } else { Severity::Low };
            let title = format!("{} asked SRV for {} bare service names", who.text(), client.bare.len());
            let why = format!(
                "SRV on a bare service name lists all its ports at once; clients ask for a named port. {} services \
                 within the window.",
                client.bare_most
            );
            let services: BTreeSet<&String> = client.bare.keys().collect();
            let target = match services.iter().next() {
                Some(service) if services.len() == 1 => format!("{service}.svc.{zone}"),
                _ => zone,
            };
            out.push(self.draft(who, severity, title, why, target, client.bare_tally));
        }
    }

    fn draft(
        &self,
        who: &Who,
        severity: Severity,
        title: String,
        why: String,
        target: String,
        tally: Tally,
    ) -> Draft {
        let mut draft = Draft::new(&self.meta.id, severity, title);
        tally.fill(&mut draft);
        draft.subject = who.text();
        draft.workload = who.workload();
        draft.target = target;
        draft.why = why;
        draft
    }
}

fn note(asked: &mut BTreeMap<String, Nanos>, key: String, at: Nanos, most: usize) {
    if asked.len() < most || asked.contains_key(&key) {
        asked.insert(key, at);
    }
}

fn recent(asked: &BTreeMap<String, Nanos>, at: Nanos, window_ns: i64) -> usize {
    asked.values().filter(|last| at.since(**last) <= window_ns).count()
}

impl Rule for SrvEnumeration {
    fn meta(&self) -> &RuleMeta {
        &self.meta
    }

    fn observe(&mut self, fact: &Fact<'_>, cx: &Context<'_>, out: &mut Vec<Draft>) {
        if let Fact::Intent(intent) = fact
            && intent.rtypes.contains(&Rtype::SRV)
            && let Some(zone) = cx.knowledge.cluster_domain()
        {
            self.intent(intent, &zone, out, cx);
        }
    }

    fn finish(&mut self, cx: &Context<'_>, out: &mut Vec<Draft>) {
        for (who, client) in self.clients.drain() {
            self.close(&who, client, cx, out);
        }
    }

    fn evictions(&self) -> u64 {
        self.clients.evictions()
    }
}
