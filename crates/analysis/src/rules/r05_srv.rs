//! R05: ports of a service enumerated by SRV, and SRV on bare service names.
//!
//! Enters: intents; leaves: one draft per workload.
//! Deliberately absent: SRV questions outside the cluster zone.

use std::collections::{BTreeMap, BTreeSet};

use truename_model::{Intent, IntentOutcome, Name, Nanos, ObservedAt, Rtype, RuleMeta, Severity};

use super::bounded::{EVIDENCE_MAX, Table, Tally, join, limit, limit_ns};
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
        let name = match intent.outcome {
            IntentOutcome::ResolvedSearch(_) => &intent.last,
            _ => &intent.base,
        };
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

    /// One finding per workload: both forms are the same search.
    fn close(&self, who: &Who, client: Client, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let zone = cx.knowledge.cluster_domain();
        let zone = zone.as_ref().map(shown).unwrap_or_default();
        let (mut tally, mut services, mut parts) = (Tally::default(), BTreeSet::new(), Vec::new());
        let swept = |ports: &Ports| ports.most as f64 >= limit(&self.meta, "ports");
        for (service, ports) in client.ports.into_iter().filter(|(_, ports)| swept(ports)) {
            parts.push(format!("{} different ports of {service} within the window.", ports.most));
            services.insert(service);
            take(&mut tally, ports.tally);
        }
        let mut severity = if services.is_empty() { Severity::Low } else { Severity::High };
        if client.bare_most > 0 {
            if client.bare_most as f64 >= limit(&self.meta, "bare") {
                severity = Severity::High;
            }
            parts.push(format!(
                "SRV on {} bare service names within the window: each lists all ports at once, while clients ask for \
                 a named port.",
                client.bare_most
            ));
            services.extend(client.bare.into_keys());
            take(&mut tally, client.bare_tally);
        }
        let Some(first) = services.iter().next() else { return };
        let target = if services.len() == 1 { format!("{first}.svc.{zone}") } else { zone };
        let title = format!("{} asked SRV to list the ports of {} services", who.text(), services.len());
        let mut draft = Draft::new(&self.meta.id, severity, title);
        tally.evidence.sort();
        tally.evidence.truncate(EVIDENCE_MAX);
        tally.fill(&mut draft);
        draft.subject = who.text();
        draft.workload = who.workload();
        draft.target = target;
        draft.why = parts.into_iter().take(16).collect::<Vec<_>>().join(" ");
        out.push(draft);
    }
}

fn take(whole: &mut Tally, part: Tally) {
    whole.count += part.count;
    whole.seen = match (whole.seen, part.seen) {
        (Some(a), Some(b)) => Some(join(a, b)),
        (a, b) => a.or(b),
    };
    whole.evidence.extend(part.evidence);
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
