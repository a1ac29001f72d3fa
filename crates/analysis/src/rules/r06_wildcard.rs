//! R06: questions with the labels `any` or `*` below the service and pod zones; R07: the version probe, alone and
//! followed by such a question.
//!
//! Enters: lookups (the names as they were asked) and the objects named `any`; leaves: drafts per name.
//! Deliberately absent: names whose wildcard labels are a real Service or Namespace of that very place.

use std::collections::BTreeSet;

use truename_model::{Judged, Name, Nanos, Object, Rcode, Rtype, RuleMeta, Severity};

use super::bounded::{Table, Tally, limit_ns};
use super::lookup;
use super::names::shown;
use super::who::Who;
use crate::facts::{Context, Draft, Fact, Rule};

/// Labels above the zone, if the name lies in the service or pod branch and one of them is a wildcard.
fn wildcard<'a>(name: &'a Name, zone: &Name) -> Option<Vec<&'a [u8]>> {
    // Most names have no wildcard label: look for one before anything is allocated.
    if !name.labels().any(|label| matches!(label, b"any" | b"*")) {
        return None;
    }
    let labels = name.labels_above(zone)?;
    let (branch, rest) = labels.split_last()?;
    let inside =
        matches!(*branch, b"svc" | b"pod") && rest.iter().any(|label| matches!(*label, b"any" | b"*"));
    inside.then_some(labels)
}

/// A search list appended to a name that already ends in the zone repeats it; the name as meant is the shorter one.
fn is_expansion(labels: &[&[u8]], zone: &Name) -> bool {
    let zone: Vec<&[u8]> = zone.labels().collect();
    labels
        .windows(zone.len() + 1)
        .any(|window| matches!(window[0], b"svc" | b"pod") && window[1..] == zone[..])
}

/// Namespaces with a Service named `any` that are kept.
const SERVICES_MAX: usize = 4_096;

/// R06.
pub(crate) struct Wildcard {
    meta: RuleMeta,
    // Namespaces with a Service named `any`, and whether there is a Namespace of that name.
    services: BTreeSet<String>,
    namespace: bool,
    asked: Table<(Who, String), (Tally, bool)>,
}

impl Wildcard {
    pub(crate) fn new(meta: RuleMeta) -> Self {
        Self { meta, services: BTreeSet::new(), namespace: false, asked: Table::new(2_048) }
    }

    /// True if every wildcard label stands for an object: somebody's own Service `any` elsewhere excuses nothing.
    fn is_real(&self, labels: &[&[u8]]) -> bool {
        let [before @ .., service, namespace, _] = labels else { return false };
        let has = |label: &[u8]| matches!(label, b"any" | b"*");
        let of_namespace = !has(namespace) || (*namespace == b"any" && self.namespace);
        let known = || std::str::from_utf8(namespace).is_ok_and(|name| self.services.contains(name));
        let of_service = !has(service) || (*service == b"any" && known());
        of_namespace && of_service && !before.iter().any(|label| has(label))
    }

    fn close(&self, ((who, name), (tally, answered)): ((Who, String), (Tally, bool)), out: &mut Vec<Draft>) {
        let severity = if answered { Severity::Critical } else { Severity::High };
        let title = format!("{} asked for the wildcard {name}", who.text());
        let mut draft = Draft::new(&self.meta.id, severity, title);
        tally.fill(&mut draft);
        draft.why = if answered {
            "The server answered it with data, as only CoreDNS before 1.9.0 or a third-party plugin does."
                .to_owned()
        } else {
            "No client library asks this; tools that enumerate a cluster do.".to_owned()
        };
        draft.subject = who.text();
        draft.workload = who.workload();
        draft.target = name;
        out.push(draft);
    }
}

impl Rule for Wildcard {
    fn meta(&self) -> &RuleMeta {
        &self.meta
    }

    fn observe(&mut self, fact: &Fact<'_>, cx: &Context<'_>, out: &mut Vec<Draft>) {
        match fact {
            Fact::Change(change) => {
                if change.meta.name != "any" {
                    return;
                }
                match &*change.object {
                    Object::Namespace => self.namespace = true,
                    Object::Service(_) if self.services.len() < SERVICES_MAX => {
                        self.services.insert(change.meta.namespace.clone());
                    }
                    _ => {}
                }
            }
            Fact::Lookup(judged) => {
                let Some(zone) = cx.knowledge.cluster_domain() else { return };
                let name = &judged.transaction.question.name;
                let Some(labels) = wildcard(name, &zone) else { return };
                if is_expansion(&labels, &zone) || self.is_real(&labels) {
                    return;
                }
                let mut evicted = Vec::new();
                let key = (lookup::who(judged), shown(name));
                let (tally, answered) = self.asked.entry(key, Default::default, &mut evicted);
                let transaction = &judged.transaction;
                tally.add(lookup::at(transaction), lookup::record(transaction), || lookup::line(transaction));
                *answered |= is_positive(judged);
                evicted.into_iter().for_each(|entry| self.close(entry, out));
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &Context<'_>, out: &mut Vec<Draft>) {
        self.asked.drain().into_iter().for_each(|entry| self.close(entry, out));
    }

    fn evictions(&self) -> u64 {
        self.asked.evictions()
    }
}

fn is_positive(judged: &Judged) -> bool {
    judged.transaction.response.as_ref().is_some_and(|response| {
        response.rcode == Some(Rcode::NOERROR)
            && response.body.sections_seen
            && !response.body.answers.is_empty()
    })
}

#[derive(Debug, Default)]
struct Probe {
    version: Option<Nanos>,
    wildcard: Option<Nanos>,
    both: bool,
    tally: Tally,
}

/// R07.
pub(crate) struct ModeProbe {
    meta: RuleMeta,
    clients: Table<Who, Probe>,
}

impl ModeProbe {
    pub(crate) fn new(meta: RuleMeta) -> Self {
        Self { meta, clients: Table::new(1_024) }
    }

    fn close(&self, who: &Who, probe: Probe, cx: &Context<'_>, out: &mut Vec<Draft>) {
        if probe.version.is_none() {
            return;
        }
        let severity = if probe.both { Severity::Critical } else { Severity::Medium };
        let title = format!("{} asked for the version of the cluster DNS", who.text());
        let mut draft = Draft::new(&self.meta.id, severity, title);
        probe.tally.fill(&mut draft);
        draft.subject = who.text();
        draft.workload = who.workload();
        let zone = cx.knowledge.cluster_domain();
        draft.target = format!("dns-version.{}", zone.as_ref().map(shown).unwrap_or_default());
        draft.why = if probe.both {
            "A wildcard question came within seconds of it: the fingerprint of coredns-enum.".to_owned()
        } else {
            "Applications never need it.".to_owned()
        };
        out.push(draft);
    }
}

impl Rule for ModeProbe {
    fn meta(&self) -> &RuleMeta {
        &self.meta
    }

    fn observe(&mut self, fact: &Fact<'_>, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let Fact::Lookup(judged) = fact else { return };
        let question = &judged.transaction.question;
        let is_version = question.rtype == Rtype::TXT
            && question.name.labels().next().is_some_and(|label| label == b"dns-version");
        let may_be_wildcard = question.name.labels().any(|label| matches!(label, b"any" | b"*"));
        if !(is_version || may_be_wildcard) {
            return;
        }
        let Some(zone) = cx.knowledge.cluster_domain() else { return };
        let is_version =
            is_version && question.name.labels_above(&zone).is_some_and(|labels| labels.len() == 1);
        if !is_version && wildcard(&question.name, &zone).is_none() {
            return;
        }
        let Some(at) = lookup::instant(&judged.transaction) else { return };
        let mut evicted = Vec::new();
        let probe = self.clients.entry(lookup::who(judged), Probe::default, &mut evicted);
        let slot = if is_version { &mut probe.version } else { &mut probe.wildcard };
        *slot = Some(at);
        if let (Some(version), Some(wildcard)) = (probe.version, probe.wildcard) {
            probe.both |= wildcard.since(version).abs() <= limit_ns(&self.meta, "pair_secs");
        }
        if is_version || probe.version.is_some() {
            let transaction = &judged.transaction;
            probe
                .tally
                .add(lookup::at(transaction), lookup::record(transaction), || lookup::line(transaction));
        }
        evicted.into_iter().for_each(|(who, probe)| self.close(&who, probe, cx, out));
    }

    fn finish(&mut self, cx: &Context<'_>, out: &mut Vec<Draft>) {
        for (who, probe) in self.clients.drain() {
            self.close(&who, probe, cx, out);
        }
    }

    fn evictions(&self) -> u64 {
        self.clients.evictions()
    }
}
