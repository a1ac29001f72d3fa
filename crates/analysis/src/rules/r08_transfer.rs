//! R08: zone transfers asked by clients, and the DNS server's own name looked up from a pod.
//!
//! Enters: lookups, diagnostics, Corefiles (for `transfer to`); leaves: a draft per workload and zone.
//! Deliberately absent: what the transfer gave, which no source shows.

use std::collections::BTreeSet;

use truename_cluster::corefile::{Env, Plugin, parse};
use truename_model::{
    Diagnostic, Judged, Nanos, Object, ObservedAt, Rcode, RecordRef, Rtype, RuleMeta, Severity,
};

use super::bounded::{Table, Tally};
use super::lookup;
use super::names::shown;
use super::who::Who;
use crate::facts::{Context, Draft, Fact, Rule};

#[derive(Debug, Default)]
struct Try {
    tally: Tally,
    succeeded: bool,
    from: Option<Nanos>,
    transfer: bool,
}

/// The rule.
pub(crate) struct Transfer {
    meta: RuleMeta,
    tries: Table<(Who, String), Try>,
    // Addresses that `transfer` lines name; `*` is no approval.
    peers: BTreeSet<String>,
    outgoing: Vec<(ObservedAt, RecordRef, String, u64)>,
}

/// Server lines about transfers kept.
const OUTGOING_MAX: usize = 1_024;
/// How far a server's own line may lie from the question it belongs to.
const NEAR_NS: i64 = 10_000_000_000;

impl Transfer {
    pub(crate) fn new(meta: RuleMeta) -> Self {
        Self { meta, tries: Table::new(1_024), peers: BTreeSet::new(), outgoing: Vec::new() }
    }

    fn learn(&mut self, text: &str) {
        let Ok(corefile) = parse(text, &Env::default()) else { return };
        for plugin in corefile.servers.iter().flat_map(|server| &server.plugins) {
            if let Plugin::Transfer(transfer) = plugin
                && self.peers.len() < OUTGOING_MAX
            {
                let peers = transfer.to.iter().filter(|word| word.parse::<std::net::IpAddr>().is_ok());
                self.peers.extend(peers.cloned());
            }
        }
    }

    fn lookup(&mut self, judged: &Judged, cx: &Context<'_>) -> Vec<((Who, String), Try)> {
        let transaction = &judged.transaction;
        let question = &transaction.question;
        let is_transfer = matches!(question.rtype, Rtype::AXFR | Rtype::IXFR);
        let mut evicted = Vec::new();
        if !is_transfer && !is_server_name(judged, cx) {
            return evicted;
        }
        if transaction.client_ip().is_some_and(|ip| self.peers.contains(&ip.to_string())) {
            return evicted;
        }
        let key = (lookup::who(judged), shown(&question.name));
        let entry = self.tries.entry(key, Try::default, &mut evicted);
        entry.tally.add(lookup::at(transaction), lookup::record(transaction), || lookup::line(transaction));
        entry.transfer |= is_transfer;
        entry.from = entry.from.or_else(|| lookup::instant(transaction));
        // An empty NOERROR is CoreDNS's way to say that a transfer is under way in messages of its own.
        entry.succeeded |= is_transfer && transaction.rcode() == Some(Rcode::NOERROR);
        evicted
    }

    fn close(&self, (who, zone): (Who, String), mut entry: Try, out: &mut Vec<Draft>) {
        for (when, record, named, records) in &self.outgoing {
            let near = match (when.interval(), entry.from) {
                (Some(when), Some(from)) => when.lo.since(from).abs() <= NEAR_NS,
                _ => true,
            };
            if entry.transfer && near && named.trim_end_matches('.').eq_ignore_ascii_case(&zone) {
                entry.succeeded = true;
                entry
                    .tally
                    .cite(*when, Some(*record), || format!("the server sent {records} records of {zone}"));
            }
        }
        let (severity, title, why) = if !entry.transfer {
            (Severity::Medium, format!("{} looked up the DNS server's own name", who.text()), OWN_NAME)
        } else if entry.succeeded {
            (Severity::Critical, format!("{} transferred the zone {zone}", who.text()), GIVEN)
        } else {
            (Severity::High, format!("{} tried to transfer the zone {zone}", who.text()), REFUSED)
        };
        let mut draft = Draft::new(&self.meta.id, severity, title);
        entry.tally.fill(&mut draft);
        draft.subject = who.text();
        draft.workload = who.workload();
        draft.target = zone;
        draft.why = why.to_owned();
        out.push(draft);
    }
}

const OWN_NAME: &str = "Only tools that look for a transfer ask for it (k8spider asks it first).";
const GIVEN: &str =
    "The server answered the transfer: every service, endpoint and port of the zone was given away.";
const REFUSED: &str = "The server did not give the zone, but no `transfer` line names this client.";

/// `ns.dns.Z`, A or AAAA.
fn is_server_name(judged: &Judged, cx: &Context<'_>) -> bool {
    let question = &judged.transaction.question;
    if !matches!(question.rtype, Rtype::A | Rtype::AAAA) || question.name.labels().next() != Some(b"ns") {
        return false;
    }
    let zone = cx.knowledge.cluster_domain();
    zone.and_then(|zone| question.name.labels_above(&zone).map(|labels| labels == [&b"ns"[..], b"dns"]))
        == Some(true)
}

impl Rule for Transfer {
    fn meta(&self) -> &RuleMeta {
        &self.meta
    }

    fn observe(&mut self, fact: &Fact<'_>, cx: &Context<'_>, out: &mut Vec<Draft>) {
        match fact {
            Fact::Lookup(judged) => {
                for (key, entry) in self.lookup(judged, cx) {
                    self.close(key, entry, out);
                }
            }
            Fact::Diagnostic { observation, diagnostic: Diagnostic::OutgoingTransfer { records, zone } }
                if self.outgoing.len() < OUTGOING_MAX =>
            {
                self.outgoing.push((observation.at, observation.record, zone.clone(), *records));
            }
            Fact::Change(change) => {
                if let Object::ConfigMap(map) = &*change.object {
                    map.data.values().for_each(|text| self.learn(text));
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &Context<'_>, out: &mut Vec<Draft>) {
        for (key, entry) in self.tries.drain() {
            self.close(key, entry, out);
        }
    }

    fn evictions(&self) -> u64 {
        self.tries.evictions()
    }
}
