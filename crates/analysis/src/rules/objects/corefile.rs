//! H08: Corefile versions compared by meaning with the last approved one, and running hashes compared between
//! replicas and with the ConfigMap.
//!
//! Enters: ConfigMap steps, the server's own hash lines; leaves: drafts that name each changed line. Deliberately
//! absent: layout, comments and order, and a return to an approved version.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use truename_cluster::corefile::{Corefile, CorefileChange, Env, ErrorKind, Hit, Topic, Turn, diff, parse};
use truename_model::object::ConfigMap;
use truename_model::{Actor, ChangeKind, Name, Nanos, Profile, RecordRef, RuleMeta, Severity};

use super::log::{Step, is_approved};
use crate::facts::Draft;
use crate::rules::bounded::limit_ns;
use crate::rules::names::{is_public, shown};

/// Writes OpenShift's map after its `DNS` resource, whose author counts.
const OPENSHIFT_OPERATOR: &str = "system:serviceaccount:openshift-dns-operator:dns-operator";
/// Kind of OpenShift's resource that configures cluster DNS.
pub(crate) const OPERATOR: &str = "DNS";
/// Kind of a write to a map of which the audit log shows no state: its body is what the request says of `data`, null
/// where nothing is kept.
pub(crate) const WRITTEN: &str = "ConfigMap";
/// Item of k3s's map that its controller rewrites whenever a node joins.
const NODE_HOSTS: &str = "NodeHosts";
/// Names tried against patterns.
const SAMPLE_MAX: usize = 1_024;

/// One version of a DNS ConfigMap.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) step: Step,
    pub(crate) text: String,
    hash: Option<String>,
    pub(crate) parsed: Option<Arc<Corefile>>,
    // Items that are no Corefile: zone files, hosts files, kube-dns's own settings.
    pub(crate) items: BTreeMap<String, String>,
}

impl Version {
    /// Reads a version.
    pub(crate) fn new(step: &Step, map: &ConfigMap) -> Self {
        let mut items = map.data.clone();
        let (text, whole) = match items.remove("Corefile") {
            Some(text) => (text, true),
            None => (snippets(&mut items), false),
        };
        let parsed = parse(&text, &Env::default()).ok().map(Arc::new);
        // Variables and imported files are the process's; without them the hash cannot be known.
        let closed = parsed.as_ref().filter(|parsed| whole && parsed.is_complete());
        let hash = closed.map(|parsed| parsed.running_hash.clone());
        Self { step: step.clone(), text, hash, parsed, items }
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.text == other.text && self.items == other.items
    }
}

/// `*.server` and `*.override` items (AKS, k3s) as one text; overrides stand in the root block, where they are imported.
fn snippets(items: &mut BTreeMap<String, String>) -> String {
    let mut take = |suffix: &str| -> String {
        let keys: Vec<String> = items.keys().filter(|key| key.ends_with(suffix)).cloned().collect();
        keys.iter().filter_map(|key| items.remove(key)).map(|text| format!("{text}\n")).collect()
    };
    let (servers, overrides) = (take(".server"), take(".override"));
    if overrides.is_empty() { servers } else { format!("{servers}.:53 {{\n{overrides}}}\n") }
}

/// What names a changed line may hijack.
pub(crate) struct Targets<'a> {
    /// The cluster zone.
    pub(crate) zone: Option<&'a Name>,
    /// Services that exist, by namespace and name: patterns are tried on them.
    pub(crate) services: Vec<Name>,
    pub(crate) profile: &'a Profile,
}

impl<'a> Targets<'a> {
    /// `services` as (namespace, name); beyond a bound the rest is not tried.
    pub(crate) fn new<'s>(
        zone: Option<&'a Name>,
        services: impl Iterator<Item = &'s (String, String)>,
        profile: &'a Profile,
    ) -> Self {
        let named = |namespace: &str, service: &str| {
            zone.and_then(|zone| Name::parse(&format!("{service}.{namespace}.svc.{zone}")).ok())
        };
        let known = services.take(SAMPLE_MAX).filter_map(|(namespace, service)| named(namespace, service));
        let services = named("default", "kubernetes").into_iter().chain(known).collect();
        Self { zone, services, profile }
    }

    /// The name in the cluster zone, or the public one, that the line answers for or changes.
    fn hit(&self, change: &CorefileChange) -> Option<String> {
        change.hits.iter().find_map(|hit| match hit {
            Hit::Name(name) => self.concerns(name),
            // Rewrites of types, classes and options speak of whole zones without answering for a name.
            Hit::Below(_) if change.topic == Topic::Rewrite => None,
            Hit::Below(name) => match self.zone.filter(|zone| zone.is_at_or_below(name)) {
                Some(zone) => Some(format!("everything below {}", shown(zone))),
                None => self.concerns(name),
            },
            Hit::Match(..) | Hit::Pattern(..) => {
                let caught = self.services.iter().find(|name| hit.matches(name) != Some(false));
                caught.map(shown).or_else(|| self.in_words(&change.text))
            }
        })
    }

    fn concerns(&self, name: &Name) -> Option<String> {
        let in_zone = self.zone.is_some_and(|zone| name.is_at_or_below(zone));
        (in_zone || is_public(name, self.zone, self.profile)).then(|| shown(name))
    }

    /// The first such name among the words of a text.
    fn in_words(&self, text: &str) -> Option<String> {
        text.split_whitespace().find_map(|word| {
            // Regular expressions name zones with escaped dots; addresses, paths and options are no names.
            let plain: String = word
                .replace("\\.", ".")
                .chars()
                .filter(|ch| !matches!(ch, '^' | '$' | '(' | ')' | '*' | '+' | '\\' | '?'))
                .collect();
            let plain = plain.trim_matches('.');
            let is_name = plain.contains('.')
                && plain.parse::<std::net::IpAddr>().is_err()
                && !plain.contains(['/', '{', '}']);
            Name::parse(plain).ok().filter(|_| is_name).and_then(|name| self.concerns(&name))
        })
    }
}

/// True if the version's author or its text is approved.
pub(crate) fn is_allowed(new: &Version, profile: &Profile) -> bool {
    let by_operator = |actor: &Arc<Actor>| actor.user == OPENSHIFT_OPERATOR;
    is_approved(new.step.actor.as_ref(), &profile.approved_requesters)
        || new.step.actor.as_ref().is_some_and(by_operator)
        || new
            .hash
            .as_ref()
            .is_some_and(|hash| profile.corefile_hashes.iter().any(|ok| ok.eq_ignore_ascii_case(hash)))
}

/// Draft for `new` against the approved version, and the numbers of its added lines.
pub(crate) fn tampered(
    meta: &RuleMeta,
    approved: &Version,
    new: &Version,
    targets: &Targets<'_>,
) -> Option<(Draft, BTreeSet<u32>)> {
    if is_allowed(new, targets.profile) || new.is_same(approved) {
        return None;
    }
    let mut weights = Weights::default();
    items(&approved.items, &new.items, targets, &mut weights);
    let changes = match (&approved.parsed, &new.parsed) {
        (Some(old), Some(now)) => {
            refused(old, now, &mut weights);
            diff(old, now)
        }
        (_, None) => {
            weights.say(Severity::Medium, || {
                "It became a text that CoreDNS refuses: the replicas keep the former configuration until they \
                 restart, and then fail"
                    .to_owned()
            });
            Vec::new()
        }
        (None, Some(now)) => additions(now),
    };
    changes.iter().for_each(|change| weigh(change, targets, &mut weights));
    elsewhere(&changes, &mut weights);
    let severity = weights.severity?;
    let mut draft = Draft::new(&meta.id, severity, format!("{} changed", new.step.object_ref()));
    new.step.fill(&mut draft);
    draft.why = format!("{}.", weights.reasons.join("; "));
    if !changes.is_empty() {
        let lines: Vec<String> =
            changes.iter().take(16).map(|change| line(change, &approved.text, &new.text)).collect();
        let more = if changes.len() > lines.len() { " | …" } else { "" };
        draft.why.push_str(&format!(" Lines: {}{more}.", lines.join(" | ")));
    }
    let added = changes.iter().filter(|change| change.turn == Turn::Added);
    Some((draft, added.map(|change| change.line).collect()))
}

/// Draft for a change whose version before is not in the evidence: only lines that hijack a name speak for
/// themselves.
pub(crate) fn tampered_unseen(
    meta: &RuleMeta,
    new: &Version,
    targets: &Targets<'_>,
) -> Option<(Draft, BTreeSet<u32>)> {
    if new.step.kind != ChangeKind::Updated || is_allowed(new, targets.profile) {
        return None;
    }
    let answers = |change: &&CorefileChange| {
        matches!(change.topic, Topic::Hosts | Topic::Template | Topic::Rewrite)
            && targets.hit(change).is_some()
    };
    let changes = additions(new.parsed.as_ref()?);
    let found: Vec<&CorefileChange> = changes.iter().filter(answers).collect();
    if found.is_empty() {
        return None;
    }
    let title = format!("{} changed", new.step.object_ref());
    let mut draft = Draft::new(&meta.id, Severity::Critical, title);
    new.step.fill(&mut draft);
    let lines: Vec<String> = found.iter().take(12).map(|change| line(change, "", &new.text)).collect();
    draft.why = format!(
        "It answers for names of the cluster or of the Internet: {}. The version before is not in the evidence.",
        lines.join(" | ")
    );
    Some((draft, found.iter().map(|change| change.line).collect()))
}

/// Everything a text says, as if it were new.
pub(crate) fn additions(now: &Corefile) -> Vec<CorefileChange> {
    parse("", &Env::default()).map(|nothing| diff(&nothing, now)).unwrap_or_default()
}

/// The worst of what changed, and why.
#[derive(Debug, Default)]
struct Weights {
    severity: Option<Severity>,
    reasons: Vec<String>,
}

impl Weights {
    fn say(&mut self, weight: Severity, reason: impl FnOnce() -> String) {
        self.severity = self.severity.max(Some(weight));
        if self.reasons.len() < 8 {
            let reason = reason();
            if !self.reasons.contains(&reason) {
                self.reasons.push(reason);
            }
        }
    }
}

/// The catalogue's weights of one changed line.
fn weigh(change: &CorefileChange, targets: &Targets<'_>, weights: &mut Weights) {
    let (plugin, at) = (&change.plugin, change.line);
    match (change.topic, change.turn) {
        (Topic::Evidence, _) if change.removes_evidence() => {
            weights.say(Severity::High, || {
                format!("`{plugin}` no longer records as before (line {at} of the old)")
            });
        }
        (_, Turn::Removed) => {
            weights.say(Severity::Medium, || {
                format!("`{plugin}` was removed or changed (line {at} of the old)")
            });
        }
        (Topic::Forward, _) if !change.text.contains("{ except ") => {
            weights.say(Severity::Critical, || format!("lookups are sent to another upstream (line {at})"));
        }
        (Topic::Zone, _) => {
            weights
                .say(Severity::Critical, || format!("a server block answers for another zone (line {at})"));
        }
        (Topic::Hosts | Topic::Template | Topic::Rewrite | Topic::ZoneData, _) => match targets.hit(change) {
            Some(name) => {
                weights.say(Severity::Critical, || format!("`{plugin}` answers for {name} (line {at})"));
            }
            None => weights.say(Severity::Medium, || format!("`{plugin}` was added (line {at})")),
        },
        (Topic::Import, _) => {
            weights.say(Severity::High, || format!("something outside the Corefile is read (line {at})"));
        }
        (Topic::Other, _) if plugin == "on" => {
            weights.say(Severity::High, || format!("`on` runs a program (line {at})"));
        }
        _ => weights.say(Severity::Medium, || format!("`{plugin}` was added or changed (line {at})")),
    }
}

/// The names of the cluster come from the API server that `kubernetes` asks: another one is another cluster.
fn elsewhere(changes: &[CorefileChange], weights: &mut Weights) {
    let of = |turn: Turn| changes.iter().filter(move |one| one.plugin == "kubernetes" && one.turn == turn);
    let before: BTreeSet<&str> = of(Turn::Removed).flat_map(|one| api_servers(&one.text)).collect();
    for change in of(Turn::Added).filter(|one| api_servers(&one.text).any(|server| !before.contains(server)))
    {
        weights.say(Severity::Critical, || {
            format!("names of the cluster are taken from another API server (line {})", change.line)
        });
    }
}

/// What a `kubernetes` directive says of its API server.
fn api_servers(text: &str) -> impl Iterator<Item = &str> {
    let options = text.split(['{', '}', ';']).map(str::trim);
    options.filter(|option| option.starts_with("endpoint ") || option.starts_with("kubeconfig "))
}

/// Faults at which CoreDNS refuses to start, where there were none before.
fn refused(old: &Corefile, now: &Corefile, weights: &mut Weights) {
    let fault = now.invalid.iter().find(|error| error.kind == ErrorKind::Invalid);
    if let Some(fault) = fault.filter(|_| old.would_start()) {
        weights.say(Severity::Medium, || {
            format!("CoreDNS refuses it, so a restart fails (line {}: {})", fault.line, fault.message)
        });
    }
}

/// A changed line as people find it: sign, number, plugin, text. Lines of `forward` as they were written.
pub(crate) fn line(change: &CorefileChange, old: &str, new: &str) -> String {
    let (sign, text) = if change.turn == Turn::Added { ('+', new) } else { ('-', old) };
    let at = usize::try_from(change.line).unwrap_or(0).saturating_sub(1);
    let written = || text.lines().nth(at).map(|line| line.trim().trim_end_matches('{').trim_end().to_owned());
    let plugin = change.plugin.as_str();
    let said = match change.topic {
        // Keys stand there in clear.
        Topic::Other if plugin == "tsig" => String::new(),
        Topic::Forward | Topic::Zone => written().unwrap_or_else(|| change.text.clone()),
        _ => change.text.clone(),
    };
    let said: String = said.strip_prefix(plugin).unwrap_or(&said).trim().chars().take(200).collect();
    format!("{sign}{} {plugin} {said}", change.line).trim_end().to_owned()
}

/// Items of the map beside the Corefile.
fn items(
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
    targets: &Targets<'_>,
    weights: &mut Weights,
) {
    for key in old.keys().filter(|key| !new.contains_key(*key) && *key != NODE_HOSTS) {
        weights.say(Severity::Medium, || format!("item `{key}` was removed"));
    }
    for (key, text) in new {
        let before = old.get(key).map_or("", String::as_str);
        let known: BTreeSet<&str> = before.lines().map(str::trim).collect();
        let added = || text.lines().map(str::trim).filter(|line| !known.contains(line));
        if added().next().is_none() && old.contains_key(key) {
            continue;
        }
        if matches!(key.as_str(), "stubDomains" | "upstreamNameservers") {
            weights.say(Severity::Critical, || format!("lookups are sent to another upstream (`{key}`)"));
        } else if let Some(name) =
            added().filter(|line| !line.starts_with('#')).find_map(|l| targets.in_words(l))
        {
            weights.say(Severity::Critical, || format!("item `{key}` answers for {name}"));
        } else if key != NODE_HOSTS {
            weights.say(Severity::Medium, || format!("item `{key}` changed"));
        }
    }
}

/// H08 for OpenShift's `DNS` resource: what its operator makes a Corefile of.
pub(crate) fn operator(
    meta: &RuleMeta,
    step: &Step,
    before: &serde_json::Value,
    spec: &serde_json::Value,
    profile: &Profile,
) -> Option<Draft> {
    let differs = |key: &str| before.get(key) != spec.get(key);
    let upstream =
        ["servers", "upstreamResolvers"].into_iter().filter(|key| differs(key)).collect::<Vec<_>>();
    if upstream.is_empty() || is_approved(step.actor.as_ref(), &profile.approved_requesters) {
        return None;
    }
    let mut draft = Draft::new(&meta.id, Severity::Critical, format!("{} changed", step.object_ref()));
    step.fill(&mut draft);
    let now: Vec<String> = upstream
        .iter()
        .map(|key| {
            let text = spec.get(*key).map(ToString::to_string).unwrap_or_else(|| "nothing".to_owned());
            format!("`{key}` became {}", text.chars().take(400).collect::<String>())
        })
        .collect();
    draft.why = format!("Lookups are sent to another upstream: {}.", now.join("; "));
    Some(draft)
}

/// A running hash that a replica printed.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) replica: String,
    pub(crate) at: Nanos,
    pub(crate) record: RecordRef,
    pub(crate) algorithm: String,
    pub(crate) digest: String,
}

/// A stretch in which a replica ran one configuration.
struct Stretch<'a> {
    running: &'a Running,
    until: Nanos,
}

/// H08 for hashes that differ between replicas, or from the ConfigMap, for too long.
pub(crate) fn diverged(
    meta: &RuleMeta,
    running: &[Running],
    last_seen: &dyn Fn(&str) -> Option<Nanos>,
    versions: &[Version],
    profile: &Profile,
) -> Vec<Draft> {
    let stretches = stretches(running, last_seen);
    let longest = limit_ns(meta, "divergence_secs");
    let mut out = Vec::new();
    for (at, a) in stretches.iter().enumerate() {
        for b in &stretches[at + 1..] {
            let comparable =
                a.running.replica != b.running.replica && a.running.algorithm == b.running.algorithm;
            let both = a.until.min(b.until).since(a.running.at.max(b.running.at));
            if comparable && a.running.digest != b.running.digest && both > longest {
                let (first, second) = (&a.running, &b.running);
                let title =
                    format!("Replicas {} and {} run different configurations", first.replica, second.replica);
                out.push(draft(
                    meta,
                    Severity::Critical,
                    title,
                    &[first, second],
                    both,
                    "ConfigMap kube-system/coredns",
                ));
            }
        }
        out.extend(against_map(meta, a, versions, longest, profile));
    }
    out
}

fn stretches<'a>(running: &'a [Running], last_seen: &dyn Fn(&str) -> Option<Nanos>) -> Vec<Stretch<'a>> {
    let mut sorted: Vec<&Running> = running.iter().collect();
    sorted.sort_by(|a, b| (&a.replica, a.at, a.record).cmp(&(&b.replica, b.at, b.record)));
    sorted
        .iter()
        .enumerate()
        .map(|(at, one)| {
            let next = sorted.get(at + 1).filter(|next| next.replica == one.replica).map(|next| next.at);
            let until = next.or_else(|| last_seen(&one.replica)).unwrap_or(one.at).max(one.at);
            Stretch { running: one, until }
        })
        .collect()
}

fn against_map(
    meta: &RuleMeta,
    stretch: &Stretch<'_>,
    versions: &[Version],
    longest: i64,
    profile: &Profile,
) -> Option<Draft> {
    let digest = &stretch.running.digest;
    let approved = profile.corefile_hashes.iter().any(|ok| ok.eq_ignore_ascii_case(digest));
    if stretch.running.algorithm != "SHA512" || approved {
        return None;
    }
    let own: Vec<&Version> = versions.iter().filter(|version| version.step.meta.name == "coredns").collect();
    own.iter().enumerate().find_map(|(at, version)| {
        let hash = version.hash.as_ref()?;
        let from = version.step.at?.max(stretch.running.at);
        let until = own.get(at + 1).and_then(|next| next.step.at).unwrap_or(stretch.until).min(stretch.until);
        let differs = !hash.eq_ignore_ascii_case(digest) && until.since(from) > longest;
        differs.then(|| {
            let title =
                format!("Replica {} does not run the ConfigMap's configuration", stretch.running.replica);
            draft(
                meta,
                Severity::High,
                title,
                &[stretch.running],
                until.since(from),
                "ConfigMap kube-system/coredns",
            )
        })
    })
}

fn draft(
    meta: &RuleMeta,
    severity: Severity,
    title: String,
    running: &[&Running],
    for_ns: i64,
    target: &str,
) -> Draft {
    let mut draft = Draft::new(&meta.id, severity, title);
    let first = running.iter().map(|one| one.at).min();
    draft.seen = first.map(|at| truename_model::Interval { lo: at, hi: at.plus(for_ns) });
    draft.subject = running.first().map(|one| format!("replica {}", one.replica)).unwrap_or_default();
    draft.target = target.to_owned();
    draft.why =
        format!("They differed for {} s, longer than kubelet and reload take.", for_ns / 1_000_000_000);
    for one in running {
        let shows = format!(
            "{} runs {} {}…",
            one.replica,
            one.algorithm,
            one.digest.chars().take(16).collect::<String>()
        );
        draft.evidence.push((Some(one.at), one.record, shows));
    }
    draft
}
