//! H08: Corefile versions compared by meaning with the last approved one, and running hashes compared between
//! replicas and with the ConfigMap.
//!
//! Enters: ConfigMap steps, the server's own hash lines; leaves: drafts. Deliberately absent: layout and comments, and
//! a return to an approved version.

use std::collections::BTreeSet;

use truename_cluster::corefile::{Env, running_hash};
use truename_model::object::ConfigMap;
use truename_model::{ChangeKind, Name, Nanos, Profile, RecordRef, RuleMeta, Severity};

use super::log::{Step, is_approved};
use crate::facts::Draft;
use crate::rules::bounded::limit_ns;
use crate::rules::corefile_lines::{Line, numbered};
use crate::rules::names::is_public;

/// ConfigMaps that configure cluster DNS.
const MAPS: [&str; 5] =
    ["coredns", "coredns-custom", "node-local-dns", "kube-dns", "rke2-coredns-rke2-coredns"];

/// One version of a DNS ConfigMap.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) step: Step,
    pub(crate) text: String,
    hash: Option<String>,
    lines: Option<Vec<(u32, Line)>>,
}

/// True for a ConfigMap that this rule reads.
pub(crate) fn concerns(step: &Step) -> bool {
    step.meta.namespace == "kube-system" && MAPS.contains(&step.meta.name.as_str())
}

impl Version {
    /// Reads a version.
    pub(crate) fn new(step: &Step, map: &ConfigMap) -> Self {
        let text = match map.data.get("Corefile") {
            Some(text) => text.clone(),
            None => map.data.values().cloned().collect::<Vec<_>>().join("\n"),
        };
        // Variables and imported files are the process's; without them the hash cannot be known.
        let closed = !text.contains("{$") && !text.contains("{%") && !text.contains("import ");
        let hash = closed.then(|| running_hash(&text, &Env::default()).ok()).flatten();
        let lines = numbered(&text).ok();
        Self { step: step.clone(), text, hash, lines }
    }

    fn set(&self) -> BTreeSet<&Line> {
        self.lines.iter().flatten().map(|(_, line)| line).collect()
    }
}

/// What changed from the approved version.
struct Change<'a> {
    added: Vec<&'a Line>,
    removed: Vec<&'a Line>,
}

/// Draft for `new` against the approved version, and the numbers of its added lines.
pub(crate) fn tampered(
    meta: &RuleMeta,
    approved: &Version,
    new: &Version,
    zone: Option<&Name>,
    profile: &Profile,
) -> Option<(Draft, BTreeSet<u32>)> {
    if is_approved(new.step.actor.as_ref(), &profile.approved_requesters)
        || new
            .hash
            .as_ref()
            .is_some_and(|hash| profile.corefile_hashes.iter().any(|ok| ok.eq_ignore_ascii_case(hash)))
    {
        return None;
    }
    let title = format!("{} changed", new.step.object_ref());
    if new.lines.is_none() {
        if new.text == approved.text {
            return None;
        }
        let mut draft =
            Draft::new(&meta.id, Severity::Medium, format!("{title} into a text that CoreDNS refuses"));
        new.step.fill(&mut draft);
        draft.why =
            "The replicas keep the former configuration until they restart, and then fail.".to_owned();
        return Some((draft, BTreeSet::new()));
    }
    let (old, now) = (approved.set(), new.set());
    let change = Change {
        added: now.difference(&old).copied().collect(),
        removed: old.difference(&now).copied().collect(),
    };
    let (severity, mut reasons) = weigh(&change, zone, profile)?;
    let mut draft = Draft::new(&meta.id, severity, title);
    new.step.fill(&mut draft);
    let shown = |sign: &str, lines: &[&Line]| -> Vec<String> {
        lines.iter().take(12).map(|line| format!("{sign}{}", line.text())).collect()
    };
    reasons.dedup();
    draft.why = format!(
        "{}. Lines: {}.",
        reasons.join("; "),
        [shown("+", &change.added), shown("-", &change.removed)].concat().join(" | ")
    );
    let added: BTreeSet<&Line> = change.added.iter().copied().collect();
    let numbers = new
        .lines
        .iter()
        .flatten()
        .filter(|(_, line)| added.contains(line))
        .map(|(number, _)| *number)
        .collect();
    Some((draft, numbers))
}

/// Draft for a change whose version before is not in the evidence: only lines that hijack a name speak for
/// themselves.
pub(crate) fn tampered_unseen(
    meta: &RuleMeta,
    new: &Version,
    zone: Option<&Name>,
    profile: &Profile,
) -> Option<(Draft, BTreeSet<u32>)> {
    if new.step.kind != ChangeKind::Updated
        || is_approved(new.step.actor.as_ref(), &profile.approved_requesters)
    {
        return None;
    }
    let hijacks = |line: &Line| {
        matches!(line.name.as_str(), "hosts" | "template" | "rewrite")
            && line.args.iter().any(|word| hijacked(word, zone, profile).is_some())
    };
    let found: Vec<&(u32, Line)> = new.lines.iter().flatten().filter(|(_, line)| hijacks(line)).collect();
    if found.is_empty() {
        return None;
    }
    let title = format!("{} changed", new.step.object_ref());
    let mut draft = Draft::new(&meta.id, Severity::Critical, title);
    new.step.fill(&mut draft);
    let lines: Vec<String> = found.iter().take(12).map(|(_, line)| line.text()).collect();
    draft.why = format!(
        "It answers for names of the cluster or of the Internet: {}. The version before is not in the evidence.",
        lines.join(" | ")
    );
    Some((draft, found.iter().map(|(number, _)| *number).collect()))
}

/// The catalogue's weights; `None`: nothing that matters changed.
fn weigh(change: &Change<'_>, zone: Option<&Name>, profile: &Profile) -> Option<(Severity, Vec<String>)> {
    let (mut severity, mut reasons) = (None, Vec::new());
    let mut say = |weight: Severity, reason: String| {
        severity = severity.max(Some(weight));
        if reasons.len() < 8 {
            reasons.push(reason);
        }
    };
    for line in &change.added {
        match line.name.as_str() {
            "forward" | "proxy" if !line.inner => {
                say(Severity::Critical, format!("lookups are sent to another upstream ({})", line.text()));
            }
            "hosts" | "template" | "rewrite" | "file" | "auto" | "secondary" | "etcd" | "route53"
            | "alternate" => {
                let hit = line.args.iter().filter_map(|word| hijacked(word, zone, profile)).next();
                match hit {
                    Some(name) => say(Severity::Critical, format!("`{}` answers for {name}", line.name)),
                    None => say(Severity::Medium, format!("`{}` was added", line.text())),
                }
            }
            "import" | "on" => {
                say(Severity::High, format!("`{}` runs or reads something outside the Corefile", line.text()))
            }
            _ => say(Severity::Medium, format!("`{}` was added", line.text())),
        }
        let server = line
            .server
            .split(' ')
            .filter_map(|key| hijacked(key.split(':').next().unwrap_or(key), zone, profile))
            .next();
        if let Some(name) = server {
            say(Severity::Critical, format!("a server block of its own answers for {name}"));
        }
    }
    for line in &change.removed {
        match line.name.as_str() {
            "log" | "errors" | "dnstap" if !line.inner => {
                say(Severity::High, format!("`{}` no longer records", line.text()))
            }
            _ => say(Severity::Medium, format!("`{}` was removed", line.text())),
        }
    }
    severity.map(|severity| (severity, reasons))
}

/// The name in `word`, if it lies in the cluster zone or is a public one.
fn hijacked(word: &str, zone: Option<&Name>, profile: &Profile) -> Option<String> {
    // Regular expressions name zones with escaped dots; addresses and options are no names.
    let plain: String = word
        .replace("\\.", ".")
        .chars()
        .filter(|ch| !matches!(ch, '^' | '$' | '(' | ')' | '*' | '+' | '\\' | '?'))
        .collect();
    let plain = plain.trim_matches('.');
    if !plain.contains('.')
        || plain.parse::<std::net::IpAddr>().is_ok()
        || plain.contains('/')
        || plain.contains('{')
    {
        return None;
    }
    let name = Name::parse(plain).ok()?;
    let in_zone = zone.is_some_and(|zone| name.is_at_or_below(zone) && name != *zone);
    (in_zone || is_public(&name, zone, profile)).then(|| plain.to_owned())
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
