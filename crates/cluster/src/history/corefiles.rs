//! Which Corefile was in force when: the versions of the ConfigMap that holds it, or a file taken as in force always.
//!
//! Enters: changes of ConfigMaps with a `Corefile` key, Corefile texts, and the history with the map that `import` reads.
//! Leaves: the versions that may have been in force in an interval. A change reaches the server after the kubelet's sync
//! and the `reload` plugin's interval, so for a while two versions are admissible. Deliberately absent: what a Corefile
//! means.

use std::collections::BTreeSet;
use std::sync::Arc;

use truename_model::object::{ClusterChange, Object, ObjectRef};
use truename_model::time::{Interval, Nanos, SECOND};

use super::History;
use super::imports::{Items, Line, expand, is_whole};
use super::timeline::{EVER, Entry, Kind, NEVER, Timeline};

/// The map that AKS, k3s and others mount as `custom` beside the Corefile, for it to import.
const CUSTOM: &str = "coredns-custom";
/// Namespaces in which distributions keep the configuration of cluster DNS.
const SYSTEM: [&str; 2] = ["kube-system", "openshift-dns"];
/// A map that every namespace has: who lists or watches it in `kube-system` is not told of a chosen one alone.
const EVERYWHERE: &str = "kube-root-ca.crt";
/// Longest time from a change of the ConfigMap to its effect: kubelet sync and cache, then `reload` with its jitter.
pub const RELOAD_NS: i64 = 180 * SECOND;

/// One version of a Corefile.
#[derive(Clone, Debug)]
pub struct CorefileVersion {
    /// The text of the ConfigMap or file.
    pub raw: Arc<str>,
    // The text as it stands in the map is not whole.
    imports: bool,
    // Other items of the ConfigMap, if the text reads one as a file.
    own: Arc<Items>,
    /// The text with what `import` and files of `hosts` give in its place.
    pub text: Arc<str>,
    /// Where each line of `text` stands, if something was imported.
    pub lines: Option<Arc<[Line]>>,
    /// False if it imports what is not in the evidence, or uses variables of the process.
    pub whole: bool,
    /// The ConfigMap version, or kind `Corefile` for a file.
    pub config: ObjectRef,
    /// The version of the map that is imported.
    pub imported: Option<ObjectRef>,
    /// When the objects began to hold this text.
    pub began: Interval,
    /// When they ceased to.
    pub ended: Interval,
}

impl CorefileVersion {
    fn new(raw: Arc<str>, config: ObjectRef, began: Interval, ended: Interval) -> Self {
        let (text, whole) = (Arc::clone(&raw), is_whole(&raw));
        let imports = !whole;
        Self {
            raw,
            imports,
            own: Arc::default(),
            text,
            lines: None,
            whole,
            config,
            imported: None,
            began,
            ended,
        }
    }

    /// This version with files from other items of its map.
    fn beside(self, own: Items) -> Self {
        let expanded = expand(&self.raw, &own, None);
        if expanded.lines.iter().all(|line| line.item.is_none()) {
            return self;
        }
        let (text, lines) = (Arc::from(expanded.text), Some(Arc::from(expanded.lines)));
        Self { own: Arc::new(own), text, lines, ..self }
    }

    /// This version while the imported map held `items`.
    fn with(&self, imported: Option<ObjectRef>, items: &Items, (began, ended): (Interval, Interval)) -> Self {
        let expanded = expand(&self.raw, &self.own, Some(items));
        let whole = is_whole(&expanded.text);
        let (text, lines) = (Arc::from(expanded.text), Some(Arc::from(expanded.lines)));
        Self { text, lines, whole, imported, began, ended, ..self.clone() }
    }
}

/// All versions of the cluster's Corefile.
#[derive(Clone, Debug, Default)]
pub struct CorefileHistory {
    // Namespace and name of ConfigMaps that hold a Corefile.
    keys: BTreeSet<(Arc<str>, Arc<str>)>,
    files: Vec<CorefileVersion>,
    versions: Vec<CorefileVersion>,
    timeline: Option<Timeline>,
    custom: Option<Timeline>,
    // Spans in which every map of `kube-system` is known.
    listed: Vec<Interval>,
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
        let named = change.meta.namespace == "kube-system" && change.meta.name == "coredns";
        // Anyone may write a map of such a name in a namespace of his own.
        let theirs = || SYSTEM.contains(&&*change.meta.namespace) && is_dns_config(&change.meta.name);
        if named || (map.data.contains_key("Corefile") && theirs()) {
            self.keys.insert((Arc::from(&*change.meta.namespace), Arc::from(&*change.meta.name)));
            return true;
        }
        false
    }

    /// Takes a Corefile given as a file: in force always, unless a ConfigMap tells more.
    pub fn add_file(&mut self, name: &str, text: Arc<str>) {
        let config = ObjectRef { kind: "Corefile".to_owned(), name: name.to_owned(), ..ObjectRef::default() };
        self.files.push(CorefileVersion::new(text, config, Interval::at(EVER), Interval::at(NEVER)));
    }

    /// Orders the versions by what `history`, which must be finished and hold the same changes, tells of the maps. Call
    /// after the last change; may be called again.
    pub fn finish(&mut self, history: &History) {
        let of = |namespace: &str, name: &str| {
            let ids = history.find(Kind::ConfigMap, namespace.as_bytes(), name.as_bytes());
            ids.first().map(|id| history.timeline(*id))
        };
        // The server reads one ConfigMap: `coredns` before names that only resemble it.
        let key = self.keys.iter().find(|(_, name)| &**name == "coredns").or(self.keys.first());
        self.timeline = key.and_then(|(namespace, name)| of(namespace, name)).cloned();
        self.custom = of("kube-system", CUSTOM).cloned();
        let all = of("kube-system", EVERYWHERE).is_some();
        self.listed = if all { history.coverage().spans(Kind::ConfigMap).to_vec() } else { Vec::new() };
        self.versions = self.timeline.as_ref().map_or_else(Vec::new, versions);
        if self.versions.is_empty() {
            self.versions.clone_from(&self.files);
        }
        let read = std::mem::take(&mut self.versions);
        self.versions = read.into_iter().flat_map(|version| self.imported(version)).collect();
    }

    /// The version for each state of the map that it imports.
    fn imported(&self, version: CorefileVersion) -> Vec<CorefileVersion> {
        if version.whole {
            return vec![version];
        }
        let Some(custom) = &self.custom else {
            return vec![version.with(None, &Items::new(), (version.began, version.ended))];
        };
        let mut out: Vec<CorefileVersion> = Vec::new();
        // Before its first state there is none; `is_known` says whether that is known.
        if let Some(first) = custom.entries.first().filter(|first| first.began.lo > version.began.lo) {
            let ended = earlier(version.ended, first.began);
            out.push(version.with(None, &Items::new(), (version.began, ended)));
        }
        let overlaps =
            |entry: &&Entry| entry.ended.hi >= version.began.lo && entry.began.lo <= version.ended.hi;
        for entry in custom.entries.iter().filter(overlaps) {
            let began = later(version.began, entry.began);
            let ended = earlier(version.ended, entry.ended);
            let (object, items) = match &entry.state {
                Some(state) => match &*state.object {
                    Object::ConfigMap(map) => (Some(state.object_ref()), map.data.clone()),
                    _ => continue,
                },
                None => (None, Items::new()),
            };
            let next = version.with(object, &items, (began, ended));
            match out.last_mut() {
                Some(last) if last.text == next.text => last.ended = next.ended,
                _ => out.push(next),
            }
        }
        if let Some(last) = out.last_mut() {
            last.ended = version.ended;
            out
        } else {
            vec![version]
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
    /// taken to be the first of its name; a file is taken as in force always. What a version imports counts as well.
    #[must_use]
    pub fn is_known(&self, at: Interval) -> bool {
        let known =
            self.timeline.as_ref().map_or(!self.versions.is_empty(), |timeline| is_known(timeline, at));
        known && self.knows_imports(at)
    }

    fn knows_imports(&self, at: Interval) -> bool {
        let versions = self.versions.get(self.in_force(at)).unwrap_or(&[]);
        let imports = versions.iter().any(|version| version.imports);
        let covers = |span: &Interval| span.lo <= at.lo.plus(-RELOAD_NS) && at.hi <= span.hi;
        versions.iter().all(|version| version.whole)
            && match &self.custom {
                _ if !imports => true,
                Some(custom) => is_known(custom, at),
                None => self.listed.iter().any(covers),
            }
    }

    /// Instants at which [`CorefileHistory::in_force`] or [`CorefileHistory::is_known`] changes.
    pub fn edges(&self) -> impl Iterator<Item = Nanos> + '_ {
        let versions = self.versions.iter().flat_map(|v| [v.began.lo, v.ended.hi.plus(RELOAD_NS).plus(1)]);
        let known = self.timeline.iter().chain(&self.custom).flat_map(known_edges);
        let listed = self.listed.iter().flat_map(|span| [span.lo.plus(RELOAD_NS), span.hi.plus(1)]);
        versions.chain(known).chain(listed)
    }
}

fn later(a: Interval, b: Interval) -> Interval {
    Interval { lo: a.lo.max(b.lo), hi: a.hi.max(b.hi) }
}

fn earlier(a: Interval, b: Interval) -> Interval {
    Interval { lo: a.lo.min(b.lo), hi: a.hi.min(b.hi) }
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
        let version = CorefileVersion::new(Arc::from(&**text), state.object_ref(), entry.began, entry.ended);
        let version = version.beside(map.data.clone());
        match out.last_mut() {
            Some(last) if last.raw == version.raw && last.text == version.text => last.ended = entry.ended,
            _ => out.push(version),
        }
    }
    out
}
