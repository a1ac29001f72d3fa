//! Which Corefile was in force when: the versions of the ConfigMap that holds it, or a file taken as in force always.
//!
//! Enters: changes of ConfigMaps with a `Corefile` key, and Corefile texts. Leaves: the versions that may have been in
//! force in an interval. A change reaches the server after the kubelet's sync and the `reload` plugin's interval, so
//! for a while two versions are admissible. Deliberately absent: the Corefile language.

use std::sync::Arc;

use truename_model::object::{ChangeSource, ClusterChange, Object, ObjectRef};
use truename_model::time::{Interval, Nanos, SECOND};

use super::coverage::Coverage;
use super::timeline::{EVER, Kind, NEVER, Timeline, build};

/// Longest time from a change of the ConfigMap to its effect: kubelet sync and cache, then `reload` with its jitter.
pub const RELOAD_NS: i64 = 180 * SECOND;

/// One version of a Corefile.
#[derive(Clone, Debug)]
pub struct CorefileVersion {
    /// The text.
    pub text: Arc<str>,
    /// The ConfigMap version, or kind `Corefile` for a file.
    pub config: ObjectRef,
    /// When the object began to hold this text.
    pub began: Interval,
    /// When it ceased to.
    pub ended: Interval,
}

/// All versions of the cluster's Corefile.
#[derive(Clone, Debug, Default)]
pub struct CorefileHistory {
    changes: Vec<ClusterChange>,
    files: Vec<CorefileVersion>,
    versions: Vec<CorefileVersion>,
    timeline: Option<Timeline>,
    spans: Vec<(u32, ChangeSource, Interval)>,
}

impl CorefileHistory {
    /// An empty history.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a change if it is one of a ConfigMap that configures cluster DNS; returns whether it was.
    pub fn fold(&mut self, change: &ClusterChange) -> bool {
        let Object::ConfigMap(map) = &*change.object else { return false };
        if change.meta.namespace.is_empty() {
            // A file on its own: the decoder has no namespace to give.
            if let Some(text) = map.data.get("Corefile") {
                self.add_file(&change.meta.name, Arc::from(text.as_str()));
            }
            return map.data.contains_key("Corefile");
        }
        let ours = change.meta.namespace == "kube-system" && change.meta.name == "coredns";
        if ours || (map.data.contains_key("Corefile") && is_dns_config(&change.meta.name)) {
            self.changes.push(change.clone());
            return true;
        }
        false
    }

    /// Takes a Corefile given as a file: in force always, unless a ConfigMap tells more.
    pub fn add_file(&mut self, name: &str, text: Arc<str>) {
        let config = ObjectRef { kind: "Corefile".to_owned(), name: name.to_owned(), ..ObjectRef::default() };
        let always = |at| Interval::at(at);
        self.files.push(CorefileVersion { text, config, began: always(EVER), ended: always(NEVER) });
    }

    /// Orders the versions. Call after the last change; may be called again.
    pub fn finish(&mut self) {
        let mut coverage = Coverage::default();
        self.changes.iter().for_each(|change| coverage.note(change));
        self.spans.iter().for_each(|(item, source, at)| coverage.note_span(*item, *source, *at));
        coverage.finish();
        let mut keys: Vec<(&str, &str)> =
            self.changes.iter().map(|c| (c.meta.namespace.as_str(), c.meta.name.as_str())).collect();
        keys.sort_unstable();
        keys.dedup();
        // The server reads one ConfigMap: `coredns` before names that only resemble it.
        let key = keys.iter().find(|(_, name)| *name == "coredns").or(keys.first()).copied();
        self.timeline = key.map(|(namespace, name)| {
            let of_key = |c: &&ClusterChange| c.meta.namespace == namespace && c.meta.name == name;
            let changes: Vec<&ClusterChange> = self.changes.iter().filter(of_key).collect();
            let dumped = super::dumped(&self.changes);
            build(Kind::ConfigMap, namespace.into(), name.into(), &changes, &coverage, &dumped)
        });
        self.versions = self.timeline.as_ref().map_or_else(Vec::new, versions);
        if self.versions.is_empty() {
            self.versions.clone_from(&self.files);
        }
    }

    /// All versions, in order.
    #[must_use]
    pub fn versions(&self) -> &[CorefileVersion] {
        &self.versions
    }

    /// Indices of the versions that may have been in force at some instant of `at`: one that began earlier may still
    /// wait for its reload. Versions before the first known one are not known, so a first version counts back to its
    /// beginning only.
    #[must_use]
    pub fn in_force(&self, at: Interval) -> std::ops::Range<usize> {
        let from = self.versions.partition_point(|v| v.ended.hi.plus(RELOAD_NS) < at.lo);
        let to = self.versions.partition_point(|v| v.began.lo <= at.hi);
        from..to.max(from)
    }

    /// True if no version that is not in the evidence can have been in force at some instant of `at`. A ConfigMap is
    /// taken to be the first of its name; a file is taken as in force always.
    #[must_use]
    pub fn is_known(&self, at: Interval) -> bool {
        self.timeline.as_ref().map_or(!self.versions.is_empty(), |timeline| is_known(timeline, at))
    }

    /// Adds the time span of an item that tells of the ConfigMap (see [`super::History::note_span`]).
    pub fn note_span(&mut self, item: u32, source: ChangeSource, at: Interval) {
        self.spans.push((item, source, at));
    }

    /// Instants at which [`CorefileHistory::in_force`] or [`CorefileHistory::is_known`] changes.
    pub fn edges(&self) -> impl Iterator<Item = Nanos> + '_ {
        let versions = self.versions.iter().flat_map(|v| [v.began.lo, v.ended.hi.plus(RELOAD_NS).plus(1)]);
        let known = self.timeline.iter().flat_map(known_edges);
        versions.chain(known)
    }
}

fn created(timeline: &Timeline) -> Option<Nanos> {
    timeline.entries.iter().find_map(|entry| entry.state.as_ref()?.meta.created)
}

/// True if the ConfigMap has no unseen version in force at some instant of `at`.
#[must_use]
pub fn is_known(timeline: &Timeline, at: Interval) -> bool {
    let first = created(timeline).map_or(at.lo, |created| created.plus(SECOND));
    let from = first.max(at.lo.plus(-RELOAD_NS)).min(at.hi);
    !timeline.may_hide(Interval { lo: from, hi: at.hi })
}

/// Instants at which [`is_known`] changes.
pub fn known_edges(timeline: &Timeline) -> impl Iterator<Item = Nanos> + '_ {
    let first = created(timeline).map(|created| created.plus(SECOND));
    timeline.edges().chain(first).flat_map(|edge| [edge, edge.plus(RELOAD_NS)])
}

fn is_dns_config(name: &str) -> bool {
    name.contains("dns") && !name.contains("node-local")
}

fn versions(timeline: &Timeline) -> Vec<CorefileVersion> {
    let mut out: Vec<CorefileVersion> = Vec::new();
    for entry in &timeline.entries {
        let Some(state) = &entry.state else { continue };
        let Object::ConfigMap(map) = &*state.object else { continue };
        let Some(text) = map.data.get("Corefile") else { continue };
        match out.last_mut() {
            Some(last) if *last.text == **text => last.ended = entry.ended,
            _ => out.push(CorefileVersion {
                text: Arc::from(text.as_str()),
                config: state.object_ref(),
                began: entry.began,
                ended: entry.ended,
            }),
        }
    }
    out
}
