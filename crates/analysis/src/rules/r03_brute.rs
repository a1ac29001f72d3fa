//! R03: service names guessed, as many different denied names in a short time, or as a random walk that climbs.
//!
//! Enters: intents; leaves: one draft per workload. Counts names of intents, so that a search list is one try.
//! Deliberately absent: names outside the cluster zone (an application's typing errors are no reconnaissance), and lone
//! names of a client whose walks are in the evidence in part (see `walks`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smallvec::SmallVec;
use truename_model::{
    Intent, IntentOutcome, Judged, Name, Nanos, ObservedAt, Rcode, Rtype, RuleMeta, Severity,
};

use super::bounded::{Table, Tally, limit, limit_ns, ratio};
use super::lookup;
use super::names::{ClusterName, is_tld, shown};
use super::walks::Walks;
use super::who::Who;
use crate::facts::{Context, Draft, Fact, Rule};
use crate::text::escaped;

/// The walk forgets after a day without questions.
const DAY_NS: i64 = 86_400_000_000_000;

/// Names that attackers try first; a denied one counts more.
const SENSITIVE: [&str; 47] = [
    "admin",
    "alertmanager",
    "argocd",
    "cassandra",
    "cert-manager",
    "clickhouse",
    "consul",
    "crossplane",
    "dashboard",
    "dex",
    "elasticsearch",
    "etcd",
    "external-secrets",
    "flux",
    "gitlab",
    "grafana",
    "harbor",
    "istiod",
    "jenkins",
    "kafka",
    "keycloak",
    "kibana",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kubernetes-dashboard",
    "ldap",
    "longhorn",
    "minio",
    "mongo",
    "mysql",
    "nats",
    "oauth",
    "opensearch",
    "postgres",
    "prometheus",
    "rabbitmq",
    "redis",
    "registry",
    "rook-ceph",
    "secret",
    "tekton",
    "thanos",
    "tiller-deploy",
    "vault",
    "velero",
];
/// Services remembered per workload.
const KNOWN_MAX: usize = 8_192;
/// Services remembered by all workloads together: whoever floods the log with clients must not take all memory.
const KNOWN_BY_ALL_MAX: usize = 1 << 18;
/// Workloads remembered.
const CLIENTS_MAX: usize = 8_192;

#[derive(Debug, Default)]
struct Client {
    // `service.namespace` to the last contact: first contacts, and the window.
    contacted: BTreeMap<Box<[u8]>, Contact>,
    // With the names that may be steps of a walk, and without.
    all: Count,
    sure: Count,
    last: Option<Nanos>,
}

#[derive(Clone, Copy, Debug)]
struct Contact {
    at: Nanos,
    denied: bool,
    // It may be a step of a walk.
    lone: bool,
}

#[derive(Debug, Default)]
struct Count {
    walk: f64,
    alarm: Option<Alarm>,
    tally: Tally,
}

type Key = SmallVec<[u8; 128]>;

#[derive(Debug)]
struct Alarm {
    by_walk: bool,
    distinct: usize,
    ratio: f64,
    sensitive: usize,
}

/// The rule.
pub(crate) struct BruteForce {
    meta: RuleMeta,
    clients: Table<Who, Client>,
    // Services remembered now, by all clients.
    contacts: usize,
    walks: Walks,
    // Namespaces that exist: many are named like top-level domains (`shop`, `dev`), and `api.shop` means a service.
    namespaces: BTreeSet<Box<[u8]>>,
    since: Option<Nanos>,
}

impl BruteForce {
    pub(crate) fn new(meta: RuleMeta) -> Self {
        Self {
            meta,
            clients: Table::new(CLIENTS_MAX),
            contacts: 0,
            walks: Walks::new(),
            namespaces: BTreeSet::new(),
            since: None,
        }
    }

    fn intent(&mut self, intent: &Intent, zone: &Name, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let who = Who::new(&intent.attribution, Some(intent.client));
        let lone = self.walks.observe(&who, intent, zone);
        let Some(service) = service_of(intent, zone, who.namespace(), &self.namespaces) else { return };
        let denied = match intent.outcome {
            IntentOutcome::NxDomain => true,
            IntentOutcome::ResolvedAbsolute | IntentOutcome::ResolvedSearch(_) | IntentOutcome::NoData => {
                false
            }
            // Without the pod's objects nobody knows its search list: a full name that was denied looks like a walk
            // that was given up after its first step.
            IntentOutcome::Abandoned if matches!(who, Who::Address(_)) && is_denied_at_once(intent) => true,
            _ => return,
        };
        let factor = who.factor(limit(&self.meta, "node_factor"));
        let mut evicted = Vec::new();
        let client = self.clients.entry(who, Client::default, &mut evicted);
        let before = client.contacted.len();
        let contact = Contact { at: intent.from.lo, denied, lone };
        note(&self.meta, client, (&service, contact), factor, intent);
        self.contacts = (self.contacts + client.contacted.len()).saturating_sub(before);
        if self.contacts > KNOWN_BY_ALL_MAX {
            self.clients.evict(&mut evicted);
        }
        for (who, client) in evicted {
            self.contacts = self.contacts.saturating_sub(client.contacted.len());
            self.close(&who, client, cx, out);
        }
    }

    fn close(&self, who: &Who, client: Client, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let count = if self.walks.stand_alone(who) { client.all } else { client.sure };
        let Some(alarm) = count.alarm else { return };
        if who.is_infrastructure(cx.profile) {
            return;
        }
        let title = format!("{} tried {} service names that do not exist", who.text(), count.tally.count);
        let mut draft = Draft::new(&self.meta.id, Severity::High, title);
        count.tally.fill(&mut draft);
        draft.subject = who.text();
        draft.workload = who.workload();
        draft.target = cx.knowledge.cluster_domain().map(|zone| shown(&zone)).unwrap_or_default();
        draft.why = format!(
            "{} different names denied in the window, {:.0} % of what it asked there; {} of them are names that \
             attackers look for.",
            alarm.distinct,
            alarm.ratio * 100.0,
            alarm.sensitive,
        );
        if alarm.by_walk {
            draft.why.push_str(" A random walk over first contacts left the range of benign clients.");
            let wanted = self.meta.history_secs as f64;
            let have = match (self.since, draft.seen) {
                (Some(since), Some(seen)) => seen.hi.since(since) as f64 / 1e9,
                _ => 0.0,
            };
            if have < wanted {
                draft.severity = draft.severity.lowered();
                draft
                    .graded
                    .push(format!("first contacts are known for {have:.0} s only, not for seven days"));
            }
        }
        out.push(draft);
    }
}

/// One step (A, or A and AAAA), all of it denied.
fn is_denied_at_once(intent: &Intent) -> bool {
    let denied = |step: &Arc<Judged>| step.transaction.rcode() == Some(Rcode::NXDOMAIN);
    intent.queries <= 2 && !intent.steps.is_empty() && intent.steps.iter().all(denied)
}

/// The service that the application meant, as `service.namespace`.
fn service_of(intent: &Intent, zone: &Name, own: &str, known: &BTreeSet<Box<[u8]>>) -> Option<Key> {
    let pair = |(service, namespace): (&[u8], &[u8])| {
        let mut key = Key::from_slice(service);
        key.push(b'.');
        key.extend_from_slice(namespace);
        key
    };
    if let IntentOutcome::ResolvedSearch(_) = intent.outcome {
        return ClusterName::parse(&intent.last, zone)?.service().map(pair);
    }
    let meant = lookup::meant(intent, zone);
    if let Some(parsed) = ClusterName::parse(meant, zone) {
        let (service, namespace) = parsed.service()?;
        // A public name with a suffix of the search list looks like a service: `github` in namespace `com`.
        // A stub goes on with the rest of its list; who asks for one name and no more means what he asks.
        let expanded = !intent.base.is_at_or_below(zone)
            && (is_tld(service) || is_tld(namespace))
            && !is_denied_at_once(intent);
        return (!expanded || known.contains(namespace)).then(|| pair((service, namespace)));
    }
    let labels: SmallVec<[&[u8]; 4]> = intent.base.labels().take(4).collect();
    match labels.as_slice() {
        [service] => Some(pair((service, own.as_bytes()))),
        [service, namespace] if known.contains(*namespace) || !is_tld(namespace) => {
            Some(pair((service, namespace)))
        }
        [service, namespace, b"svc"] => Some(pair((service, namespace))),
        _ => None,
    }
}

/// Notes a contact, in the count of all and, unless it may be a step of a walk, in that of the sure ones.
fn note(
    meta: &RuleMeta,
    client: &mut Client,
    (service, contact): (&[u8], Contact),
    factor: f64,
    intent: &Intent,
) {
    if client.last.is_some_and(|last| contact.at.since(last) > DAY_NS) {
        (client.all.walk, client.sure.walk) = (0.0, 0.0);
    }
    client.last = Some(contact.at);
    let (fresh, first) = remember(client, service, contact, limit_ns(meta, "window_secs"));
    let Client { contacted, all, sure, .. } = client;
    let counts = [(all, true), (sure, false)];
    for (count, with_lone) in counts.into_iter().filter(|(_, with_lone)| *with_lone || !contact.lone) {
        if first {
            count.step(contact.denied);
        }
        if contact.denied && fresh {
            count.cite(service, intent);
            check(meta, count, contacted, (contact.at, with_lone), factor);
        }
    }
}

/// Keeps a contact: whether the service was not asked within the window before, and whether it was never asked.
fn remember(client: &mut Client, service: &[u8], contact: Contact, window_ns: i64) -> (bool, bool) {
    let at = contact.at;
    if let Some(known) = client.contacted.get_mut(service) {
        let fresh = at.since(known.at) > window_ns || known.denied != contact.denied;
        *known = contact;
        return (fresh, false);
    }
    if client.contacted.len() >= KNOWN_MAX {
        client.contacted.retain(|_, known| at.since(known.at) <= window_ns);
    }
    if client.contacted.len() < KNOWN_MAX {
        client.contacted.insert(Box::from(service), contact);
    }
    (true, true)
}

impl Count {
    /// A first contact moves the walk (threshold random walk, Jung et al. 2004): ×4 if denied, ×0.25 if it exists.
    fn step(&mut self, denied: bool) {
        let step = if denied { 4.0 } else { 0.25 };
        self.walk = (if self.walk == 0.0 { 1.0 } else { self.walk }) * step;
        if self.walk <= 0.01 {
            self.walk = 1.0;
        }
    }

    fn cite(&mut self, service: &[u8], intent: &Intent) {
        let step = intent.steps.first().map(|step| &step.transaction);
        let when = step.map_or(ObservedAt::None, |step| lookup::at(step));
        let record = step.and_then(|step| lookup::first_record(step));
        self.tally.add(when, record, || format!("denied: {}", escaped(&String::from_utf8_lossy(service))));
    }
}

fn check(
    meta: &RuleMeta,
    count: &mut Count,
    contacted: &BTreeMap<Box<[u8]>, Contact>,
    (at, with_lone): (Nanos, bool),
    factor: f64,
) {
    let window = limit_ns(meta, "window_secs");
    let recent = || {
        let counted = move |known: &Contact| at.since(known.at) <= window && (with_lone || !known.lone);
        contacted.iter().filter(move |(_, known)| counted(known))
    };
    let denied: Vec<&[u8]> = recent().filter(|(_, known)| known.denied).map(|(key, _)| &**key).collect();
    let ratio = ratio(denied.len(), recent().count());
    let sensitive = denied.iter().filter(|service| is_sensitive(service)).count();
    let distinct = denied.len();
    let weighted = distinct as f64 + sensitive as f64 * (limit(meta, "sensitive_weight") - 1.0);
    // Sensitive words weigh more, but seven different names are the least that counts, as in the walk.
    let fast =
        weighted >= limit(meta, "distinct") * factor && ratio >= limit(meta, "nx_ratio") && distinct >= 7;
    let slow = factor <= 1.0 && count.walk >= limit(meta, "walk_alarm");
    if !(fast || slow) {
        return;
    }
    let better =
        count.alarm.as_ref().is_none_or(|alarm| (fast && alarm.by_walk) || distinct > alarm.distinct);
    if better {
        let by_walk = !fast && count.alarm.as_ref().is_none_or(|alarm| alarm.by_walk);
        count.alarm = Some(Alarm { by_walk, distinct, ratio, sensitive });
    }
}

/// The catalogue's globs, over the service's name or its namespace.
fn is_sensitive(service: &[u8]) -> bool {
    service.split(|octet| *octet == b'.').any(|name| {
        let words = || name.split(|octet| matches!(octet, b'-' | b'_'));
        let starts = |text: &[u8], word: &str| text.starts_with(word.as_bytes());
        SENSITIVE.iter().any(|word| {
            if word.contains('-') { starts(name, word) } else { words().any(|one| starts(one, word)) }
        })
    })
}

impl Rule for BruteForce {
    fn meta(&self) -> &RuleMeta {
        &self.meta
    }

    fn observe(&mut self, fact: &Fact<'_>, cx: &Context<'_>, out: &mut Vec<Draft>) {
        if let Fact::Change(change) = fact
            && self.namespaces.len() < KNOWN_MAX
            && !self.namespaces.contains(change.meta.namespace.as_bytes())
        {
            self.namespaces.insert(Box::from(change.meta.namespace.as_bytes()));
        }
        if let Fact::Intent(intent) = fact
            && intent.rtypes.iter().any(|rtype| matches!(*rtype, Rtype::A | Rtype::AAAA))
        {
            self.since = Some(self.since.map_or(intent.from.lo, |since| since.min(intent.from.lo)));
            if let Some(zone) = cx.knowledge.cluster_domain() {
                self.intent(intent, &zone, cx, out);
            }
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
