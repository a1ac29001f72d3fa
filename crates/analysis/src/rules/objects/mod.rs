//! Rules about objects: H03 to H09 and H17. They share one log of changes, walked through when the evidence ends, so
//! that a version told by a watch and by the audit log counts once, with its author.
//!
//! Enters: changes; and from the stream what belongs to them: clients that got suspicious addresses, silent reverse
//! lookups, captured names, running hashes. Leaves: drafts. Deliberately absent: verdicts.

mod capture;
mod config;
mod corefile;
mod dns;
mod lineage;
mod log;
mod owners;
mod service;
mod slices;
mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use truename_cluster::history::Kind;
use truename_model::object::{ConfigMap, Controller};
use truename_model::{
    ChangeKind, ClusterChange, Diagnostic, Explanation, Interval, Judged, Name, Nanos, Object, ObservedAt,
    OriginId, Rcode, RecordRef, Response, Rtype, RuleMeta, Severity, Transaction, Vantage, Verdict,
};

use self::capture::Captures;
use self::corefile::{Running, Version};
use self::lineage::{Around, Lineages};
use self::log::{Key, Log, State, Step};
use self::slices::Orphan;
use super::bounded::{Table, Tally, limit};
use super::lookup;
use super::names::{reverse_address, shown};
use super::ranges::Ranges;
use crate::catalogue::Catalogue;
use crate::facts::{Context, Draft, Fact, Rule};

/// Addresses watched for victims.
const SUSPECTS_MAX: usize = 4_096;
/// Reverse lookups kept per address.
const REVERSE_MAX: usize = 16;
const RUNNING_MAX: usize = 4_096;
const LOSSES_MAX: usize = 4_096;
/// Around a known loss, silence means nothing, nanoseconds.
const NEAR_LOSS_NS: i64 = 5_000_000_000;

/// A reverse lookup that was not answered, or with which names.
#[derive(Debug)]
struct Reverse {
    at: Nanos,
    when: ObservedAt,
    record: Option<RecordRef>,
    names: Option<Vec<Name>>,
    client: String,
    line: String,
}

/// The metas of the rules that share the log.
struct Metas {
    h03: RuleMeta,
    h04: RuleMeta,
    h05: RuleMeta,
    h06: RuleMeta,
    h07: RuleMeta,
    h08: RuleMeta,
    h09: RuleMeta,
    h17: RuleMeta,
}

/// The rules.
pub(crate) struct ObjectRules {
    metas: Metas,
    log: Log,
    suspects: BTreeMap<IpAddr, Tally>,
    // UIDs of pods that a user made.
    hand_made: BTreeSet<String>,
    reverse: Table<IpAddr, Vec<Reverse>>,
    captures: Captures,
    // Answers that a Corefile line produced, by ConfigMap version and line.
    produced: Table<(String, u32), Tally>,
    running: Vec<Running>,
    last_seen: Vec<Option<Nanos>>,
    dangling: Table<Name, (Vec<Nanos>, Tally)>,
    losses: Vec<Nanos>,
}

impl ObjectRules {
    /// All of them; `None` if the catalogue lacks one.
    pub(crate) fn new(catalogue: &Catalogue) -> Option<Self> {
        let meta = |id: &str| catalogue.rule(id).cloned();
        let metas = Metas {
            h03: meta("H03")?,
            h04: meta("H04")?,
            h05: meta("H05")?,
            h06: meta("H06")?,
            h07: meta("H07")?,
            h08: meta("H08")?,
            h09: meta("H09")?,
            h17: meta("H17")?,
        };
        Some(Self {
            metas,
            log: Log::default(),
            suspects: BTreeMap::new(),
            hand_made: BTreeSet::new(),
            reverse: Table::new(8_192),
            captures: Captures::default(),
            produced: Table::new(1_024),
            running: Vec::new(),
            last_seen: Vec::new(),
            dangling: Table::new(8_192),
            losses: Vec::new(),
        })
    }

    /// Addresses that a later finding may be about; which of them are, the log decides at the end.
    fn suspect(&mut self, change: &ClusterChange, cx: &Context<'_>) {
        let (step, ips): (_, Vec<IpAddr>) = match &*change.object {
            Object::EndpointSlice(slice) => {
                let addresses = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
                (Some(slice), addresses.filter_map(|text| text.parse().ok()).collect())
            }
            Object::Pod(pod) if !pod.host_network && self.is_hand_made(change) => (None, pod.ips.clone()),
            _ => return,
        };
        if let Some(slice) = step {
            let mut probe = Log::default();
            probe.push(change);
            let made = probe
                .ordered()
                .first()
                .is_none_or(|step| slices::is_made_by_controller(step, slice, cx.profile));
            if made {
                return;
            }
        }
        for ip in ips {
            if self.suspects.len() < SUSPECTS_MAX {
                self.suspects.entry(ip).or_default();
            }
        }
    }

    /// True for a pod without a controller, or with one that some user gave it.
    fn is_hand_made(&mut self, change: &ClusterChange) -> bool {
        let by_user = change.actor.as_ref().is_some_and(|actor| !log::is_own_part(actor, &change.object));
        if change.kind == ChangeKind::Created && by_user && self.hand_made.len() < SUSPECTS_MAX {
            self.hand_made.insert(change.meta.uid.clone());
        }
        let controls_none = |kind: &str| matches!(kind, "Deployment" | "CronJob");
        lineage::controller_of(&change.meta).is_none_or(|owner| controls_none(&owner.kind))
            || self.hand_made.contains(&change.meta.uid)
    }

    fn lookup(&mut self, judged: &Judged, cx: &Context<'_>) {
        let transaction = &judged.transaction;
        self.seen(transaction.origin, lookup::instant(transaction));
        if transaction.question.rtype == Rtype::PTR {
            self.reverse(judged, cx);
        }
        if let Verdict::Explained { by: Explanation::Corefile { config, line, .. } } = &judged.verdict {
            let tally = self.produced.slot((config.resource_version.clone(), *line), Tally::default);
            tally.add(lookup::at(transaction), lookup::record(transaction), || lookup::line(transaction));
            tally.victim(lookup::who(judged).text());
        }
        if self.suspects.is_empty() || transaction.rcode() != Some(Rcode::NOERROR) {
            return;
        }
        let Some(response) = &transaction.response else { return };
        for ip in response.body.addresses() {
            if let Some(tally) = self.suspects.get_mut(&ip) {
                tally.add(lookup::at(transaction), lookup::record(transaction), || lookup::line(transaction));
                tally.victim(lookup::who(judged).text());
            }
        }
    }

    /// Silent reverse lookups, and those answered with names of the cluster.
    fn reverse(&mut self, judged: &Judged, cx: &Context<'_>) {
        let transaction = &judged.transaction;
        let (Some(ip), Some(at)) =
            (reverse_address(&transaction.question.name), lookup::instant(transaction))
        else {
            return;
        };
        let names = match transaction.response.as_ref() {
            Some(response) if !is_silent(transaction, response) => {
                let zone = cx.knowledge.cluster_domain();
                let names: Vec<Name> = response
                    .body
                    .answers
                    .iter()
                    .filter_map(|record| match &record.rdata {
                        truename_model::Rdata::Ptr(name) => Some(name.clone()),
                        _ => None,
                    })
                    .filter(|name| zone.as_ref().is_some_and(|zone| name.is_at_or_below(zone)))
                    .take(8)
                    .collect();
                if names.is_empty() {
                    return;
                }
                Some(names)
            }
            _ => None,
        };
        let kept = self.reverse.slot(ip, Vec::new);
        // Silence matters more than an answer: it may push one out.
        if kept.len() >= REVERSE_MAX {
            match kept.iter().position(|one| one.names.is_some()).filter(|_| names.is_none()) {
                Some(answered) => drop(kept.remove(answered)),
                None => return,
            }
        }
        kept.push(Reverse {
            at,
            when: lookup::at(transaction),
            record: lookup::first_record(transaction),
            names,
            client: lookup::who(judged).text(),
            line: lookup::line(transaction),
        });
    }

    fn seen(&mut self, origin: OriginId, at: Option<Nanos>) {
        let index = origin.0 as usize;
        if index < 65_536 && index >= self.last_seen.len() {
            self.last_seen.resize(index + 1, None);
        }
        if let Some(slot) = self.last_seen.get_mut(index) {
            *slot = (*slot).max(at);
        }
    }

    fn diagnostic(
        &mut self,
        observation: &truename_model::Observation,
        diagnostic: &Diagnostic,
        cx: &Context<'_>,
    ) {
        let at = observation.at.interval().map(|at| at.lo);
        self.seen(observation.origin, at);
        let replica = cx.origin(observation.origin).and_then(|origin| origin.replica.value());
        match (diagnostic, at, replica) {
            (Diagnostic::RunningConfiguration { algorithm, digest }, Some(at), Some(replica))
                if self.running.len() < RUNNING_MAX =>
            {
                self.running.push(Running {
                    replica: replica.clone(),
                    at,
                    record: observation.record,
                    algorithm: algorithm.clone(),
                    digest: digest.clone(),
                });
            }
            (Diagnostic::DnstapDropped(_) | Diagnostic::DnstapNoConnection, Some(at), _) => self.loss(at),
            _ => {}
        }
    }

    fn loss(&mut self, at: Nanos) {
        if self.losses.len() < LOSSES_MAX {
            self.losses.push(at);
        }
    }

    /// Walks through the log.
    fn walk(&mut self, cx: &Context<'_>, out: &mut Vec<Draft>) {
        let zone = cx.knowledge.cluster_domain();
        let steps = self.log.ordered();
        let lineages = Lineages::build(&steps, cx.knowledge.history(), self.log.dropped);
        let mut walk = Walk::new(&self.metas, cx, zone.clone(), &lineages);
        for step in &steps {
            walk.step(step, &self.suspects, out);
        }
        walk.listed_pods();
        walk.close(&self.suspects, out);
        self.walked(&walk, cx, out);
        self.captures.finish(&self.metas.h09, &walk.ever, zone.as_ref(), out);
    }

    /// What needs both the walk and the stream.
    fn walked(&self, walk: &Walk<'_>, cx: &Context<'_>, out: &mut Vec<Draft>) {
        self.corefiles(walk, cx, out);
        for orphan in &walk.orphans {
            out.extend(self.orphan(orphan, walk));
        }
        for (key, (target, step)) in &walk.aliases {
            out.extend(self.dangling(key, target, step));
        }
    }

    fn corefiles(&self, walk: &Walk<'_>, cx: &Context<'_>, out: &mut Vec<Draft>) {
        for (mut draft, versions, lines) in walk.tampered.iter().cloned() {
            let mut tally = Tally::default();
            let of_version =
                |version: &String| lines.iter().map(|line| (version.clone(), *line)).collect::<Vec<_>>();
            for place in versions.iter().flat_map(of_version) {
                let Some(produced) = self.produced.get(&place) else { continue };
                draft.count += produced.count;
                produced.victims.iter().for_each(|victim| tally.victim(victim.clone()));
                draft.evidence.extend(produced.evidence.iter().take(24).cloned());
                draft.seen = match (draft.seen, produced.seen) {
                    (Some(a), Some(b)) => Some(super::bounded::join(a, b)),
                    (a, b) => a.or(b),
                };
            }
            // What stood there before the evidence may be wanted: who was given it is told, and nobody is called a victim.
            let stood = !draft.graded.is_empty();
            if !tally.victims.is_empty() {
                let (when, lines) = if stood { ("", "these") } else { (" then", "the new") };
                draft.why.push_str(&format!(
                    " Clients{when} received {} answers that {lines} lines made.",
                    draft.count - 1
                ));
            }
            if stood {
                let named: Vec<String> = tally.victims.iter().take(8).cloned().collect();
                draft.why.extend((!named.is_empty()).then(|| format!(" Among them: {}.", named.join(", "))));
                tally.victims.clear();
            }
            draft.victims.extend(tally.victims);
            out.push(draft);
        }
        let last_seen = |replica: &str| {
            let origins = cx.origins.iter().enumerate();
            let own =
                origins.filter(|(_, origin)| origin.replica.value().is_some_and(|name| name == replica));
            own.filter_map(|(index, _)| self.last_seen.get(index).copied().flatten()).max()
        };
        out.extend(corefile::diverged(
            &self.metas.h08,
            &self.running,
            &last_seen,
            &walk.versions,
            cx.profile,
        ));
    }

    /// H17 for one slice.
    fn orphan(&self, orphan: &Orphan, walk: &Walk<'_>) -> Option<Draft> {
        let grace = (limit(&self.metas.h17, "grace_secs") * 1e9) as i64;
        if let Some(key) = &orphan.service {
            let lived = match (orphan.step.at, orphan.until) {
                (Some(from), Some(until)) => until.since(from),
                _ => i64::MAX,
            };
            if !walk.knows_services(orphan.step.at) || walk.ever.services.contains_key(key) || lived <= grace
            {
                return None;
            }
        }
        let what = match &orphan.service {
            None => "has no service",
            Some(_) => "names a service that does not exist",
        };
        let title = format!("{} {what} and spoils reverse names", orphan.step.object_ref());
        let mut draft = Draft::new(&self.metas.h17.id, Severity::Medium, title);
        orphan.step.fill(&mut draft);
        let mut tally = Tally::default();
        for ip in &orphan.addresses {
            for reverse in
                self.reverse.get(ip).into_iter().flatten().filter(|reverse| self.is_spoilt(reverse, orphan))
            {
                tally.add(reverse.when, reverse.record, || reverse.line.clone());
                tally.victim(reverse.client.clone());
            }
        }
        draft.why = "CoreDNS cannot give a reverse name for its addresses, so whoever may write slices can switch them off.".to_owned();
        if tally.count > 0 {
            draft.severity = Severity::High;
            draft.count += tally.count;
            draft
                .why
                .push_str(&format!(" {} reverse lookups were not answered, or with its name.", tally.count));
            draft.seen = match (draft.seen, tally.seen) {
                (Some(a), Some(b)) => Some(super::bounded::join(a, b)),
                (a, b) => a.or(b),
            };
            draft.evidence.extend(tally.evidence);
            draft.victims.extend(tally.victims);
        }
        Some(draft)
    }

    fn is_spoilt(&self, reverse: &Reverse, orphan: &Orphan) -> bool {
        let after = orphan.step.at.is_none_or(|from| reverse.at >= from);
        let before = orphan.until.is_none_or(|until| reverse.at <= until.plus(60_000_000_000));
        let spoilt = match &reverse.names {
            None => !self.losses.iter().any(|loss| loss.since(reverse.at).abs() <= NEAR_LOSS_NS),
            Some(names) => orphan.service.as_ref().is_some_and(|(namespace, service)| {
                names.iter().any(|name| {
                    let mut labels = name.labels().skip(1);
                    labels.next() == Some(service.as_bytes()) && labels.next() == Some(namespace.as_bytes())
                })
            }),
        };
        after && before && spoilt
    }

    /// H07, the dangling form: the target of an alias does not exist.
    fn dangling(&self, key: &Key, target: &Name, step: &Step) -> Option<Draft> {
        let (times, tally) = self.dangling.get(target)?;
        let window = (limit(&self.metas.h07, "dangling_window_secs") * 1e9) as i64;
        let enough = (limit(&self.metas.h07, "dangling") as usize).max(1);
        let dense = times.windows(enough).any(|times| {
            times.last().zip(times.first()).is_some_and(|(last, first)| last.since(*first) <= window)
        });
        if !dense {
            return None;
        }
        let title =
            format!("Service {}/{} is an alias of {}, which does not exist", key.0, key.1, shown(target));
        let mut draft = Draft::new(&self.metas.h07.id, Severity::Medium, title);
        tally.clone().fill(&mut draft);
        draft.subject = format!("Service {}/{}", key.0, key.1);
        draft.target = draft.subject.clone();
        draft.objects.push(step.object_ref());
        draft.why = "Whoever registers the name answers for the service.".to_owned();
        Some(draft)
    }

    /// Names that the upstream denies: targets of aliases may be among them.
    fn denied(&mut self, exchange: &truename_model::UpstreamExchange) {
        let Some(response) =
            exchange.response.as_ref().filter(|response| response.rcode == Some(Rcode::NXDOMAIN))
        else {
            return;
        };
        let (times, tally) = self.dangling.slot(exchange.question.name.clone(), Default::default);
        if times.len() < 64 {
            times.push(exchange.at.lo);
        }
        tally.add(response.at, Some(response.record), || {
            format!("upstream: {} does not exist", shown(&exchange.question.name))
        });
    }
}

/// The walk through the log: state, and what it found.
struct Walk<'a> {
    metas: &'a Metas,
    cx: &'a Context<'a>,
    zone: Option<Name>,
    lineages: &'a Lineages<'a>,
    state: State,
    // As `state`, but nothing is ever removed.
    ever: State,
    ranges: Ranges,
    removed: slices::Removed,
    selector_drafts: BTreeMap<Key, Draft>,
    controllers: BTreeMap<(String, Key), Controller>,
    operators: BTreeMap<Key, Arc<serde_json::Value>>,
    versions: Vec<Version>,
    approved: BTreeMap<Key, Version>,
    // Drafts with the versions and the lines that they are about.
    tampered: Vec<(Draft, Vec<String>, BTreeSet<u32>)>,
    // The tampered version last told of each map, and where in `tampered`.
    told: BTreeMap<Key, (Version, usize)>,
    // The last state of each map; what was written to it since that nobody saw; its first version.
    maps: BTreeMap<Key, ConfigMap>,
    unseen: BTreeMap<Key, Vec<Step>>,
    // Patches that were put into a state.
    patches: u32,
    firsts: BTreeMap<Key, Version>,
    orphans: Vec<Orphan>,
    aliases: BTreeMap<Key, (Name, Step)>,
    listed: Vec<Step>,
    // H04 drafts by the pod's UID: its address comes later than the pod.
    joined: Vec<(String, Draft)>,
    // Pods that H04 tells of, by UID: they are no measure for the next.
    accused: BTreeSet<String>,
    has_services: bool,
}

impl<'a> Walk<'a> {
    fn new(metas: &'a Metas, cx: &'a Context<'a>, zone: Option<Name>, lineages: &'a Lineages<'a>) -> Self {
        let mut ranges = Ranges::default();
        ranges.read_profile(cx.profile);
        Self {
            metas,
            cx,
            zone,
            lineages,
            state: State::default(),
            ever: State::default(),
            ranges,
            removed: BTreeMap::new(),
            selector_drafts: BTreeMap::new(),
            controllers: BTreeMap::new(),
            operators: BTreeMap::new(),
            versions: Vec::new(),
            approved: BTreeMap::new(),
            tampered: Vec::new(),
            told: BTreeMap::new(),
            maps: BTreeMap::new(),
            unseen: BTreeMap::new(),
            patches: 0,
            firsts: BTreeMap::new(),
            orphans: Vec::new(),
            aliases: BTreeMap::new(),
            listed: Vec::new(),
            joined: Vec::new(),
            accused: BTreeSet::new(),
            has_services: false,
        }
    }

    fn step(&mut self, step: &Step, suspects: &BTreeMap<IpAddr, Tally>, out: &mut Vec<Draft>) {
        self.ranges.learn_object(&step.object);
        match &*step.object {
            Object::Service(_) => self.service(step, out),
            Object::EndpointSlice(_) => self.slice(step, suspects, out),
            Object::Pod(_) => self.pod(step, out),
            Object::ConfigMap(_) => self.config(step),
            Object::Controller(kind, controller) if dns::is_server_workload(step, kind) => {
                let key = (kind.clone(), step.key());
                let before = self.controllers.get(&key);
                out.extend(dns::controller(&self.metas.h05, step, before, controller, self.cx.profile));
                self.controllers.insert(key, controller.clone());
            }
            Object::Other(kind, body) if kind == corefile::WRITTEN => self.written(step, body),
            Object::Other(kind, spec) if kind == corefile::OPERATOR => self.operator(step, spec, out),
            _ => {}
        }
        self.state.fold(step);
        if step.kind != ChangeKind::Deleted {
            self.ever.fold(step);
        }
    }

    /// True if a Service that existed then cannot be missing in the evidence.
    fn knows_services(&self, at: Option<Nanos>) -> bool {
        let Some(history) = self.cx.knowledge.history() else { return self.has_services };
        at.is_some_and(|at| history.coverage().is_exhaustive(Kind::Service, Interval::at(at)))
    }

    fn service(&mut self, step: &Step, out: &mut Vec<Draft>) {
        let Object::Service(service) = &*step.object else { return };
        self.has_services = true;
        let before = self.state.services.get(&step.key()).map(|(_, service)| service.clone());
        let profile = self.cx.profile;
        out.extend(dns::service(&self.metas.h05, step, service, &self.state, profile));
        if step.kind == ChangeKind::Deleted {
            return;
        }
        let approved = log::is_approved(step.actor.as_ref(), &profile.approved_requesters);
        if !approved {
            // Only a new ExternalName asks what the others lead to.
            let others = if service.service_type == "ExternalName" {
                self.alias_targets(&step.key())
            } else {
                Vec::new()
            };
            let around = service::Around { zone: self.zone.as_ref(), profile, targets: &others };
            out.extend(service::external_name(&self.metas.h07, step, before.as_ref(), service, &around));
        }
        if let Some(before) = before.filter(|_| !approved)
            && let Some(draft) = service::selector_removed(&self.metas.h06, step, &before, service)
        {
            if let Some(at) = step.at {
                self.removed.insert(step.key(), (at, before));
            }
            self.selector_drafts.insert(step.key(), draft);
        }
        if service.service_type == "ExternalName"
            && let Ok(target) = Name::parse(&service.external_name)
        {
            self.aliases.insert(step.key(), (target, step.clone()));
        }
    }

    fn alias_targets(&self, but: &Key) -> Vec<Name> {
        self.aliases.iter().filter(|(key, _)| *key != but).map(|(_, (target, _))| target.clone()).collect()
    }

    fn slice(&mut self, step: &Step, suspects: &BTreeMap<IpAddr, Tally>, out: &mut Vec<Draft>) {
        let Some(slice) = slices::slice_of(step) else { return };
        if step.kind == ChangeKind::Deleted {
            let gone = self.orphans.iter_mut().filter(|orphan| orphan.step.meta.uid == step.meta.uid);
            gone.for_each(|orphan| orphan.until = step.at);
            out.extend(slices::dns_slice(&self.metas.h05, step, slice, self.cx.profile));
            return;
        }
        let pretence = slices::pretence(step, slice, &self.state, self.lineages, &self.ranges);
        let claimed = slices::is_made_by_controller(step, slice, self.cx.profile);
        if claimed && pretence.is_none() {
            return;
        }
        let pretence = pretence.filter(|_| claimed);
        let told = |mut draft: Draft| {
            draft
                .why
                .extend(pretence.iter().map(|it| format!(" It bears a controller's label, but {}.", it.why)));
            draft
        };
        let strangers = pretence.as_ref().map(|it| it.strangers.as_slice()).unwrap_or_default();
        let injected = match strangers {
            [] => slices::injection(&self.metas.h03, step, slice, &self.state, &self.ranges, &self.removed),
            _ => slices::foreign(&self.metas.h03, step, slice, strangers),
        };
        out.extend(slices::dns_slice(&self.metas.h05, step, slice, self.cx.profile).map(told));
        if let Some((mut draft, key, ips)) = injected {
            if let Some(removal) = self.selector_drafts.get_mut(&key) {
                removal.severity = Severity::Critical;
                removal.why.push_str(&format!(" {} then put endpoints into it.", draft.target));
            }
            ips.iter().for_each(|ip| accuse(&mut draft, *ip, suspects));
            out.push(told(draft));
        }
        let known = self
            .orphans
            .iter()
            .any(|orphan| orphan.step.meta.uid == step.meta.uid && !step.meta.uid.is_empty());
        if !known {
            self.orphans.extend(slices::orphan(step, slice));
        }
    }

    fn pod(&mut self, step: &Step, out: &mut Vec<Draft>) {
        let around = Around {
            state: &self.state,
            lineages: self.lineages,
            profile: self.cx.profile,
            accused: &self.accused,
        };
        let impostor = dns::pod(&self.metas.h05, step, &around);
        let poses = impostor.is_some();
        out.extend(impostor);
        if step.kind == ChangeKind::Listed {
            self.accused.extend(poses.then(|| step.meta.uid.clone()));
            self.listed.push(step.clone());
            return;
        }
        if log::is_approved(step.person(), &self.cx.profile.approved_requesters) {
            return;
        }
        let joined = owners::joins(&self.metas.h04, step, &around);
        if poses {
            self.accused.insert(step.meta.uid.clone());
        }
        for mut draft in joined {
            self.name_author(step, &mut draft);
            self.accused.insert(step.meta.uid.clone());
            self.joined.push((step.meta.uid.clone(), draft));
        }
    }

    /// A pod's labels may be written by its creator or later; the creator is known from an earlier step.
    fn name_author(&self, step: &Step, draft: &mut Draft) {
        if step.person().is_some() {
            return;
        }
        let known = self.state.pods.get(&step.meta.namespace).and_then(|pods| pods.get(&step.meta.name));
        let creator =
            known.and_then(|pod| pod.creator.as_ref()).filter(|actor| !log::is_own_part(actor, &step.object));
        if let Some(creator) = creator {
            draft.subject = log::user_text(creator);
            draft.actor = Some(creator.clone());
        }
    }

    /// OpenShift's `DNS` resource; the last approved state stays what the next is compared with.
    fn operator(&mut self, step: &Step, spec: &Arc<serde_json::Value>, out: &mut Vec<Draft>) {
        if step.kind == ChangeKind::Deleted {
            return;
        }
        let before = self.operators.get(&step.key());
        let found = before
            .and_then(|before| corefile::operator(&self.metas.h08, step, before, spec, self.cx.profile));
        if found.is_none() {
            self.operators.insert(step.key(), Arc::clone(spec));
        }
        out.extend(found);
    }

    /// Pods that only a listing shows, once all of the listing is known.
    fn listed_pods(&mut self) {
        let around = Around {
            state: &self.state,
            lineages: self.lineages,
            profile: self.cx.profile,
            accused: &self.accused,
        };
        for step in &self.listed {
            let drafts = owners::listed(&self.metas.h04, step, &around);
            self.joined.extend(drafts.into_iter().map(|draft| (step.meta.uid.clone(), draft)));
        }
    }

    /// Drafts that waited for what came later.
    fn close(&mut self, suspects: &BTreeMap<IpAddr, Tally>, out: &mut Vec<Draft>) {
        for (uid, mut draft) in std::mem::take(&mut self.joined) {
            let pods = self.ever.pods.values().flat_map(BTreeMap::values).filter(|pod| pod.meta.uid == uid);
            let ips: Vec<IpAddr> = pods.filter_map(|pod| pod.pod()).flat_map(|pod| pod.ips.clone()).collect();
            ips.into_iter().for_each(|ip| accuse(&mut draft, ip, suspects));
            out.push(draft);
        }
        out.extend(std::mem::take(&mut self.selector_drafts).into_values());
        self.standing();
    }
}

/// True if the server took the question and gave no reverse name: nothing written, nothing on the tap or the wire
/// (CoreDNS logs NOERROR for a reply that it then cannot pack), or an empty NOERROR.
fn is_silent(transaction: &Transaction, response: &Response) -> bool {
    let asked = transaction.vantages.iter().any(|v| matches!(v, Vantage::ClientQuery | Vantage::PacketQuery));
    let replied =
        transaction.vantages.iter().any(|v| matches!(v, Vantage::ClientResponse | Vantage::PacketResponse));
    match response.rcode {
        None => true,
        Some(Rcode::NOERROR) if response.body.sections_seen => response.body.answers.is_empty(),
        Some(Rcode::NOERROR) => asked && !replied,
        Some(_) => false,
    }
}

/// Adds who got the address as an answer.
fn accuse(draft: &mut Draft, ip: IpAddr, suspects: &BTreeMap<IpAddr, Tally>) {
    let Some(tally) = suspects.get(&ip).filter(|tally| tally.count > 0) else { return };
    draft.count += tally.count;
    draft.victims.extend(tally.victims.iter().cloned());
    draft.evidence.extend(tally.evidence.iter().take(16).cloned());
    draft.why.push_str(&format!(" {ip} was given to clients {} times.", tally.count));
}

impl Rule for ObjectRules {
    fn meta(&self) -> &RuleMeta {
        &self.metas.h03
    }

    fn observe(&mut self, fact: &Fact<'_>, cx: &Context<'_>, _: &mut Vec<Draft>) {
        match fact {
            Fact::Change(change) => {
                self.suspect(change, cx);
                self.log.push(change);
            }
            Fact::Lookup(judged) => self.lookup(judged, cx),
            Fact::Intent(intent) => self.captures.observe(intent, cx.knowledge.cluster_domain().as_ref()),
            Fact::Exchange(exchange) => self.denied(exchange),
            Fact::Diagnostic { observation, diagnostic } => self.diagnostic(observation, diagnostic, cx),
            Fact::Loss { observation, .. } => {
                if let Some(at) = observation.at.interval() {
                    self.loss(at.lo);
                }
            }
        }
    }

    fn finish(&mut self, cx: &Context<'_>, out: &mut Vec<Draft>) {
        self.walk(cx, out);
    }

    fn evictions(&self) -> u64 {
        self.reverse.evictions()
            + self.captures.evictions()
            + self.produced.evictions()
            + self.dangling.evictions()
            + self.log.dropped
    }
}
