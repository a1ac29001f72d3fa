//! H09: names that the search list captures, seen from the objects and from the lookups.
//!
//! Enters: intents (captured, and resolved as they were given), namespaces and services; leaves: a draft per name that
//! is, or can be, captured, and one of the lowest grade per namespace or service that merely bears the name of a
//! top-level domain. Deliberately absent: captures by a wildcard of the node's own domain.

use std::collections::BTreeSet;

use std::sync::Arc;
use truename_model::{Actor, Intent, IntentOutcome, Name, ObjectRef, ObservedAt, RuleMeta, Severity};

use super::log::{State, is_controller, user_text};
use crate::facts::Draft;
use crate::rules::bounded::{Table, Tally};
use crate::rules::lookup;
use crate::rules::names::{ClusterName, is_tld, label_text, shown};
use crate::rules::who::Who;

/// Namespaces whose name alone captures names written with fewer labels (CVE-2022-2835), or special ones.
const RESERVED: [&str; 7] = ["svc", "pod", "local", "cluster", "internal", "localdomain", "arpa"];
/// Namespaces and services told of that merely have such names.
const NAMED_MAX: usize = 1_024;

#[derive(Debug)]
struct Captured {
    last: Name,
    was_absolute: bool,
    tally: Tally,
}

/// What lookups tell about captures.
pub(crate) struct Captures {
    // Names that resolved as the application gave them: what a capture takes away.
    absolute: Table<Name, ()>,
    captured: Table<Name, Captured>,
}

impl Default for Captures {
    fn default() -> Self {
        Self { absolute: Table::new(65_536), captured: Table::new(4_096) }
    }
}

impl Captures {
    /// Notes an intent.
    pub(crate) fn observe(&mut self, intent: &Intent, zone: Option<&Name>) {
        match intent.outcome {
            IntentOutcome::ResolvedAbsolute => {
                let below = zone.is_some_and(|zone| intent.base.is_at_or_below(zone));
                if !below && (2..=5).contains(&intent.base.label_count()) {
                    self.absolute.slot(intent.base.clone(), || ());
                }
            }
            IntentOutcome::Captured(_) => {
                let was_absolute = self.absolute.get(&intent.base).is_some();
                let last = intent.last.clone();
                let fresh = || Captured { last, was_absolute: false, tally: Tally::default() };
                let captured = self.captured.slot(intent.base.clone(), fresh);
                captured.was_absolute |= was_absolute;
                let step = intent.steps.last().map(|step| &step.transaction);
                let record = step.and_then(|step| lookup::record(step));
                let when = step.map_or(ObservedAt::None, |step| lookup::at(step));
                captured.tally.add(when, record, || {
                    format!("asked for {}, answered by {}", shown(&intent.base), shown(&intent.last))
                });
                captured.tally.victim(Who::new(&intent.attribution, Some(intent.client)).text());
            }
            _ => {}
        }
    }

    pub(crate) fn evictions(&self) -> u64 {
        self.absolute.evictions() + self.captured.evictions()
    }

    /// Drafts at the end; `state` is the cluster over all steps that ever held.
    pub(crate) fn finish(
        &mut self,
        meta: &RuleMeta,
        ever: &State,
        zone: Option<&Name>,
        out: &mut Vec<Draft>,
    ) {
        let mut done = BTreeSet::new();
        for (base, captured) in self.captured.drain() {
            // Without an absolute answer before, this is how short names of services look (`api.shop`).
            if !(captured.was_absolute || self.absolute.get(&base).is_some()) {
                continue;
            }
            let parsed = zone
                .and_then(|zone| ClusterName::parse(&captured.last, zone))
                .and_then(|name| name.service());
            let service = parsed.map(|(service, namespace)| (label_text(namespace), label_text(service)));
            let mut draft = Draft::new(
                &meta.id,
                Severity::Critical,
                format!("The search list captures {}", shown(&base)),
            );
            captured.tally.fill(&mut draft);
            draft.why = format!(
                "Clients that ask for {} are answered by {}, a name of the cluster; before, the public name answered.",
                shown(&base),
                shown(&captured.last)
            );
            blame(&mut draft, ever, service);
            draft.target = shown(&base);
            done.insert(base);
            out.push(draft);
        }
        self.possible(meta, ever, &done, out);
    }

    /// The static form: objects that capture a public name that clients ask for, whether or not one was caught.
    fn possible(&mut self, meta: &RuleMeta, ever: &State, done: &BTreeSet<Name>, out: &mut Vec<Draft>) {
        let absolute: Vec<Name> = self.absolute.drain().into_iter().map(|(name, ())| name).collect();
        for name in absolute.iter().filter(|name| !done.contains(*name)) {
            let Some((severity, key, title)) = capturer(name, ever) else { continue };
            let mut draft = Draft::new(&meta.id, severity, title);
            draft.why = "The search list tries the cluster's name first.".to_owned();
            blame(&mut draft, ever, Some(key));
            draft.target = shown(name);
            out.push(draft);
        }
        shadows(meta, ever, out);
        self.named(meta, ever, out);
    }

    /// Objects that bear the name of a top-level domain or a reserved one and capture nothing that anyone asked for.
    fn named(&self, meta: &RuleMeta, ever: &State, out: &mut Vec<Draft>) {
        let guilty: BTreeSet<(String, String)> = out
            .iter()
            .filter(|draft| draft.rule == meta.id)
            .flat_map(|draft| &draft.objects)
            .map(|object| (object.namespace.clone(), object.name.clone()))
            .collect();
        let of_namespace = |name: &str| guilty.iter().any(|(namespace, _)| namespace == name);
        for name in ever.namespaces.keys().filter(|name| !is_tld_capture(&guilty, name)).take(NAMED_MAX) {
            let reserved = RESERVED.contains(&name.as_str());
            if !(reserved || is_tld(name.as_bytes())) || (reserved && of_namespace(name)) {
                continue;
            }
            let severity = if reserved { reserved_severity(name, ever) } else { Severity::Info };
            let why = if reserved {
                format!(
                    "A name that ends in `.{name}` then means a service of this namespace to every search list."
                )
            } else {
                format!(
                    "A public name below `{name}` is captured as soon as this namespace has a service of that name."
                )
            };
            let title = format!("Namespace {name} bears a name that search lists capture by");
            let key = (name.clone(), String::new());
            out.push(named_draft(meta, severity, title, why, format!("Namespace {name}"), &key, ever));
        }
        let services = ever.services.keys().filter(|key| is_tld(key.1.as_bytes()) && !guilty.contains(*key));
        for key in services.take(NAMED_MAX) {
            let target = format!("Service {}/{}", key.0, key.1);
            let title = format!("{target} bears a name that search lists capture by");
            let why = format!(
                "For pods of {} a public name below `{}` is captured as soon as an endpoint of this service has that name.",
                key.0, key.1
            );
            out.push(named_draft(meta, Severity::Info, title, why, target, key, ever));
        }
    }
}

/// True if a finding already tells of a capture by this namespace's name.
fn is_tld_capture(guilty: &BTreeSet<(String, String)>, namespace: &str) -> bool {
    guilty.iter().any(|(of, service)| of == namespace && !is_tld(service.as_bytes()))
}

/// `vault.prod.svc` is caught by an endpoint `vault` of service `prod` in namespace `svc`: a service named like a
/// namespace makes it real.
fn reserved_severity(namespace: &str, ever: &State) -> Severity {
    let caught = |key: &(String, String)| key.0 == namespace && ever.namespaces.contains_key(&key.1);
    if ever.services.keys().any(caught) { Severity::Critical } else { Severity::High }
}

fn named_draft(
    meta: &RuleMeta,
    severity: Severity,
    title: String,
    why: String,
    target: String,
    key: &(String, String),
    ever: &State,
) -> Draft {
    let mut draft = Draft::new(&meta.id, severity, title);
    draft.why = why;
    let actor = if key.1.is_empty() {
        ever.namespaces.get(&key.0).and_then(Option::as_ref)
    } else {
        ever.service_creators.get(key)
    };
    draft.subject = creator(actor).unwrap_or_else(|| target.clone());
    draft.actor = actor.cloned();
    if let Some((when, record)) = ever.first_records.get(key) {
        draft.seen = when.interval();
        draft.evidence.push((draft.seen.map(|at| at.lo), *record, target.clone()));
    }
    draft.objects.push(match ever.services.get(key) {
        Some((meta, _)) => ObjectRef {
            kind: "Service".to_owned(),
            namespace: key.0.clone(),
            name: key.1.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
        },
        None => ObjectRef { kind: "Namespace".to_owned(), name: key.0.clone(), ..ObjectRef::default() },
    });
    draft.target = target;
    draft
}

/// A service named like another namespace, with an endpoint named like a service there: `redis.shop` asked in P is
/// answered by endpoint `redis` of P's service `shop`.
fn shadows(meta: &RuleMeta, ever: &State, out: &mut Vec<Draft>) {
    for (key, (service_meta, _)) in
        ever.services.iter().filter(|(key, _)| ever.namespaces.contains_key(&key.1))
    {
        if key.0 == key.1 {
            continue;
        }
        let pods = ever.pods.get(&key.0).into_iter().flat_map(|pods| pods.values());
        let hosts = pods.filter_map(|pod| pod.pod()).filter(|pod| pod.subdomain == key.1);
        let from_pods = hosts.map(|pod| pod.hostname.clone());
        let from_slices = ever.hostnames.get(key).into_iter().flatten().cloned();
        let caught: BTreeSet<String> = from_pods
            .chain(from_slices)
            .filter(|host| ever.services.contains_key(&(key.1.clone(), host.clone())))
            .collect();
        let Some(first) = caught.iter().next() else { continue };
        let name = format!("{first}.{}", key.1);
        let title = format!("Service {}/{} captures {name} for the pods of {}", key.0, key.1, key.0);
        let mut draft = Draft::new(&meta.id, Severity::High, title);
        draft.why = format!(
            "Its endpoints are named like services of namespace {}: {}.",
            key.1,
            caught.iter().take(8).cloned().collect::<Vec<_>>().join(", ")
        );
        blame(&mut draft, ever, Some(key.clone()));
        draft.seen = draft.seen.or_else(|| service_meta.created.map(truename_model::Interval::at));
        draft.target = name;
        out.push(draft);
    }
}

/// The object that would answer for a public name through the search list, and how bad that is.
fn capturer(name: &Name, ever: &State) -> Option<(Severity, (String, String), String)> {
    let labels: Vec<String> = name.labels().map(label_text).collect();
    let [before @ .., first, last] = labels.as_slice() else { return None };
    if !is_tld(last.as_bytes()) {
        return None;
    }
    // `github.com.svc.Z`: service `github` in namespace `com`, for every pod of the cluster.
    let key = (last.clone(), first.clone());
    if before.len() <= 1 && ever.services.contains_key(&key) {
        let title = format!("Namespace {last} and service {first} capture {}", shown(name));
        return Some((Severity::Critical, key, title));
    }
    if !before.is_empty() {
        return None;
    }
    // `github.com.P.svc.Z`: endpoint `github` of service `com` in P, for the pods of P.
    let holds = |namespace: &str| {
        let pods = ever.pods.get(namespace).into_iter().flat_map(|pods| pods.values());
        pods.filter_map(|pod| pod.pod()).any(|pod| pod.hostname == *first && pod.subdomain == *last)
    };
    let key = ever.services.keys().find(|key| key.1 == *last && holds(&key.0))?;
    let title = format!("Service {last} of namespace {} captures {}", key.0, shown(name));
    Some((Severity::High, key.clone(), title))
}

fn creator(actor: Option<&Arc<Actor>>) -> Option<String> {
    actor.filter(|actor| !is_controller(actor)).map(|actor| user_text(actor))
}

/// Names the author of the capturing service (or its namespace), else the object.
fn blame(draft: &mut Draft, ever: &State, service: Option<(String, String)>) {
    let Some(key) = service else {
        draft.subject = "search list".to_owned();
        return;
    };
    if let Some((when, record)) = ever.first_records.get(&key) {
        draft.seen = draft.seen.or(when.interval());
        let at = when.interval().map(|at| at.lo);
        draft.evidence.push((at, *record, format!("Service {}/{}", key.0, key.1)));
    }
    let by_service = ever.service_creators.get(&key);
    let by_namespace = ever.namespaces.get(&key.0).and_then(Option::as_ref);
    let actor = by_service.or(by_namespace);
    draft.subject = creator(actor).unwrap_or_else(|| format!("Service {}/{}", key.0, key.1));
    draft.actor = actor.cloned();
    if let Some((meta, _)) = ever.services.get(&key) {
        draft.objects.push(ObjectRef {
            kind: "Service".to_owned(),
            namespace: key.0.clone(),
            name: key.1.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
        });
    }
}
