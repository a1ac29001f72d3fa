//! The interval history of the cluster's objects, folded from changes in any order.
//!
//! Enters: [`ClusterChange`]s of watches, snapshots and audit logs. Leaves: timelines by kind and key, the owners of
//! addresses, coverage, and facts of the cluster (domain, ranges, DNS addresses). Deliberately absent: DNS itself.

pub mod timeline;
pub mod coverage;
pub mod holes;
pub mod owners;
mod imports;
pub mod corefiles;
mod facts;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use smallvec::SmallVec;
use truename_model::attribution::Attribution;
use truename_model::object::{ChangeSource, ClusterChange, Object};
use truename_model::time::{Interval, Nanos};

pub use corefiles::{CorefileHistory, CorefileVersion};
pub use coverage::Coverage;
pub use facts::ClusterFacts;
pub use imports::{Line, Map};
pub use timeline::{Entry, Kind, State, Timeline};

use owners::Owners;

/// Index of a timeline in [`History::timelines`].
pub type TimelineId = u32;

type ByName = HashMap<Box<[u8]>, SmallVec<[TimelineId; 2]>, FixedState>;

/// Label that ties a slice to its service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The history. [`History::fold`] everything, then [`History::finish`], then ask.
#[derive(Clone, Debug, Default)]
pub struct History {
    changes: Vec<ClusterChange>,
    coverage: Coverage,
    timelines: Vec<Timeline>,
    owners: Owners,
    names: HashMap<(Kind, Box<[u8]>), ByName, FixedState>,
    slices: HashMap<Box<[u8]>, ByName, FixedState>,
    services_by_ip: HashMap<IpAddr, SmallVec<[TimelineId; 2]>, FixedState>,
    slices_by_ip: HashMap<IpAddr, SmallVec<[TimelineId; 2]>, FixedState>,
    pods_by_ip: HashMap<IpAddr, SmallVec<[TimelineId; 2]>, FixedState>,
    facts: ClusterFacts,
    holes: Vec<holes::Hole>,
}

impl History {
    /// An empty history.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one change. Order does not matter.
    pub fn fold(&mut self, change: ClusterChange) {
        self.coverage.note(&change);
        self.changes.push(change);
    }

    /// Adds the time of a record of an audit log or watch that is no change (a read, a bookmark): the item's history
    /// is complete up to there as well.
    pub fn note_span(&mut self, item: u32, source: ChangeSource, at: Interval) {
        self.coverage.note_span(item, source, at);
    }

    /// States that the stream of `item` was never silent for longer than `gap_ns`.
    pub fn note_rhythm(&mut self, item: u32, gap_ns: i64) {
        self.coverage.note_rhythm(item, gap_ns);
    }

    /// States that the stream of `item` lost changes around `at` (an expired watch).
    pub fn note_break(&mut self, item: u32, at: Nanos) {
        self.coverage.note_break(item, at);
    }

    /// States that all changes of `kind` in `span` are in the evidence, and all objects that existed at its start.
    pub fn declare_complete(&mut self, kind: Kind, span: Interval) {
        self.coverage.declare(kind, span);
    }

    /// Orders everything and builds the indices. Call after the last change; may be called again.
    pub fn finish(&mut self) {
        self.changes.sort_by_key(|change| (change.record, change.seen_at));
        self.holes = holes::find(&self.changes);
        self.holes.iter().for_each(|hole| self.coverage.note_hole(hole.item, hole.span));
        self.coverage.finish();
        let dumped = dumped(&self.changes);
        let mut groups: BTreeMap<(Kind, String, &str, &str), Vec<&ClusterChange>> = BTreeMap::new();
        for change in &self.changes {
            let kind = Kind::of(&change.object);
            // Controllers and others share an index but not a name space.
            let api = if kind >= Kind::Controller { change.object.kind().to_owned() } else { String::new() };
            let key = (kind, api, change.meta.namespace.as_str(), change.meta.name.as_str());
            groups.entry(key).or_default().push(change);
        }
        self.timelines = groups
            .into_iter()
            .map(|((kind, _, namespace, name), changes)| {
                timeline::build(
                    kind,
                    Arc::from(namespace),
                    Arc::from(name),
                    &changes,
                    &self.coverage,
                    &dumped,
                )
            })
            .collect();
        self.index();
        self.owners = Owners::build(&self.timelines, &self.coverage);
        self.facts = ClusterFacts::gather(self);
    }

    fn index(&mut self) {
        self.names.clear();
        self.slices.clear();
        self.services_by_ip.clear();
        self.slices_by_ip.clear();
        self.pods_by_ip.clear();
        for (id, timeline) in (0u32..).zip(&self.timelines) {
            let key = (timeline.kind, Box::from(timeline.namespace.as_bytes()));
            let names = self.names.entry(key).or_default();
            names.entry(Box::from(timeline.name.as_bytes())).or_default().push(id);
            for state in timeline.entries.iter().filter_map(|entry| entry.state.as_ref()) {
                match &*state.object {
                    Object::Service(service) => {
                        let ips = service.cluster_ips.iter().filter_map(|ip| ip.parse().ok());
                        ips.for_each(|ip| push(self.services_by_ip.entry(ip).or_default(), id));
                    }
                    // CoreDNS reads slices only; legacy Endpoints say nothing of its answers.
                    Object::EndpointSlice(slice) if !slice.legacy => {
                        let label = state.meta.labels.get(SERVICE_NAME).map_or("", String::as_str);
                        let of_namespace =
                            self.slices.entry(Box::from(timeline.namespace.as_bytes())).or_default();
                        push(of_namespace.entry(Box::from(label.as_bytes())).or_default(), id);
                        let texts = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
                        let ips = texts.filter_map(|ip| ip.parse().ok());
                        ips.for_each(|ip| push(self.slices_by_ip.entry(ip).or_default(), id));
                    }
                    Object::Pod(pod) => {
                        pod.ips.iter().for_each(|ip| push(self.pods_by_ip.entry(*ip).or_default(), id));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Who held `ip` through the whole of `at` (API server clock, widened by the caller's skew).
    #[must_use]
    pub fn owners(&self, ip: IpAddr, at: Interval) -> Attribution {
        self.owners.owners(ip, at, &self.coverage)
    }

    /// When nobody held `ip`, where the history would show a holder; `None` for an address that nobody ever held.
    #[must_use]
    pub fn vacancies(&self, ip: IpAddr) -> Option<Vec<Interval>> {
        self.owners.vacancies(ip)
    }

    /// The NodeLocal cache (by the name of its pod) that alone may have asked from this address then.
    #[must_use]
    pub fn node_cache(&self, ip: IpAddr, at: Interval) -> Option<&str> {
        self.owners.node_cache(ip, at)
    }

    /// True if a pod of this name ever was a NodeLocal cache.
    #[must_use]
    pub fn is_node_cache(&self, pod: &str) -> bool {
        self.owners.is_node_cache(pod)
    }

    /// The same as [`History::owners`] with the stretch of time in which every interval has this answer; `None`: do not cache.
    #[must_use]
    pub fn owner_epoch(&self, ip: IpAddr, at: Interval) -> Option<(Interval, Attribution)> {
        self.owners.epoch(ip, at)
    }

    /// All timelines, by kind, namespace, name.
    #[must_use]
    pub fn timelines(&self) -> &[Timeline] {
        &self.timelines
    }

    /// One timeline.
    #[must_use]
    pub fn timeline(&self, id: TimelineId) -> &Timeline {
        &self.timelines[id as usize]
    }

    /// Timelines of one (kind, namespace, name); more than one only for controllers and other kinds.
    #[must_use]
    pub fn find(&self, kind: Kind, namespace: &[u8], name: &[u8]) -> &[TimelineId] {
        let names = self.names.get(&KindKey(kind, namespace));
        names.and_then(|names| names.get(name)).map_or(&[], |ids| ids)
    }

    /// True if services, slices or pods of this namespace were ever seen.
    #[must_use]
    pub fn has_namespace(&self, name: &[u8]) -> bool {
        let kinds = [Kind::Service, Kind::Slice, Kind::Pod, Kind::Endpoints];
        kinds.iter().any(|kind| self.names.contains_key(&KindKey(*kind, name)))
    }

    /// Slices that carried the label of this service at any time (`b""`: no label).
    #[must_use]
    pub fn slices_of(&self, namespace: &[u8], service: &[u8]) -> &[TimelineId] {
        let names = self.slices.get(namespace);
        names.and_then(|names| names.get(service)).map_or(&[], |ids| ids)
    }

    /// Services that had this cluster IP at any time.
    #[must_use]
    pub fn services_at(&self, ip: IpAddr) -> &[TimelineId] {
        self.services_by_ip.get(&ip).map_or(&[], |ids| ids)
    }

    /// Slices that held this address at any time.
    #[must_use]
    pub fn slices_at(&self, ip: IpAddr) -> &[TimelineId] {
        self.slices_by_ip.get(&ip).map_or(&[], |ids| ids)
    }

    /// Pods that showed this address at any time.
    #[must_use]
    pub fn pods_at(&self, ip: IpAddr) -> &[TimelineId] {
        self.pods_by_ip.get(&ip).map_or(&[], |ids| ids)
    }

    /// Changes by record, whose beginning may lie in `span`.
    pub fn changes_between(&self, span: Interval) -> impl Iterator<Item = &ClusterChange> + '_ {
        self.changes
            .iter()
            .filter(move |change| change.at.interval().or(change.seen_at).is_some_and(|at| at.overlaps(span)))
    }

    /// All changes, by item and ordinal.
    #[must_use]
    pub fn changes(&self) -> &[ClusterChange] {
        &self.changes
    }

    /// Completeness by kind.
    #[must_use]
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// Losses of the streams that other objects show.
    #[must_use]
    pub fn holes(&self) -> &[holes::Hole] {
        &self.holes
    }

    /// What the objects say of the cluster as a whole.
    #[must_use]
    pub fn facts(&self) -> &ClusterFacts {
        &self.facts
    }

    /// First and last instant that the changes speak of.
    #[must_use]
    pub fn span(&self) -> Option<Interval> {
        let times = self.changes.iter().filter_map(|change| change.seen_at.or_else(|| change.at.interval()));
        times.fold(None, |span: Option<Interval>, at| {
            let span = span.unwrap_or(at);
            Some(Interval { lo: span.lo.min(at.lo), hi: span.hi.max(at.hi) })
        })
    }

    /// UIDs of `kube-system`, each with the items that tell it: more than one means two clusters in one folder.
    #[must_use]
    pub fn clusters(&self) -> BTreeMap<String, BTreeSet<u32>> {
        let mut clusters: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        for change in &self.changes {
            if let Some(uid) = cluster_mark(change) {
                clusters.entry(uid.to_owned()).or_default().insert(change.record.item);
            }
        }
        clusters
    }
}

/// How long the lists of one dump may have taken, nanoseconds.
const DUMP_NS: i64 = 5 * truename_model::time::SECOND;

/// Dumps without a time are not older than the latest time in any of their objects.
fn dumped(changes: &[ClusterChange]) -> timeline::Dumped {
    let mut dumped = timeline::Dumped::new();
    let untimed = |c: &&ClusterChange| c.source == ChangeSource::Snapshot && c.seen_at.is_none();
    for change in changes.iter().filter(untimed) {
        let written = change.at.interval().map(|at| at.lo);
        let Some(at) = written.max(change.meta.created) else { continue };
        let latest = dumped.entry(change.record.item).or_insert(at);
        *latest = at.max(*latest);
    }
    dumped.into_iter().map(|(item, at)| (item, at.plus(-DUMP_NS))).collect()
}

/// The UID of `kube-system`, which names a cluster, if this change tells it.
#[must_use]
pub fn cluster_mark(change: &ClusterChange) -> Option<&str> {
    let ours = matches!(*change.object, Object::Namespace) && change.meta.name == "kube-system";
    (ours && !change.meta.uid.is_empty()).then_some(change.meta.uid.as_str())
}

fn push(ids: &mut SmallVec<[TimelineId; 2]>, id: TimelineId) {
    if ids.last() != Some(&id) {
        ids.push(id);
    }
}

#[derive(Hash)]
struct KindKey<'a>(Kind, &'a [u8]);

impl hashbrown::Equivalent<(Kind, Box<[u8]>)> for KindKey<'_> {
    fn equivalent(&self, key: &(Kind, Box<[u8]>)) -> bool {
        self.0 == key.0 && *self.1 == *key.1
    }
}

/// An instant for tests and tools that have only whole seconds.
#[must_use]
pub fn seconds(secs: i64) -> Nanos {
    Nanos(secs.saturating_mul(truename_model::time::SECOND))
}
