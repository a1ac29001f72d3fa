//! Changes of pods that a stream must have lost, shown by slices that name pods which the stream never told of.
//!
//! Enters: all changes of a cluster; leaves: holes. A watch that lost its middle looks whole by itself: versions of one
//! kind have gaps anyway, for etcd counts the writes of all kinds. But the endpoint slice controller names a pod only
//! after it saw it, so a slice of version R that names a pod unknown up to R proves a loss. Deliberately absent: slices
//! that others write, which may name what they like.

use std::collections::BTreeMap;

use truename_model::object::{ChangeSource, ClusterChange, Object};
use truename_model::time::{Interval, Nanos};

/// Who manages the slices that are believed (KEP-752).
const MANAGED_BY: (&str, &str) =
    ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io");

/// Changes of pods that are missing from an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The item.
    pub item: u32,
    /// From the last change before the loss to the first after it.
    pub span: Interval,
    /// The slice that shows it.
    pub slice: String,
    /// The pod that it names.
    pub pod: String,
}

/// The holes, by item and time; each is told once.
#[must_use]
pub fn find(changes: &[ClusterChange]) -> Vec<Hole> {
    let streams = streams(changes);
    let known = first_versions(changes);
    let mut holes: BTreeMap<(u32, Interval), Hole> = BTreeMap::new();
    for change in changes {
        let Some(at) = version(change).filter(|_| is_controlled(change)) else { continue };
        let Object::EndpointSlice(slice) = &*change.object else { continue };
        let pods = slice.endpoints.iter().filter_map(|endpoint| endpoint.target.as_ref());
        let missing = pods.filter(|pod| pod.kind == "Pod" && !pod.uid.is_empty());
        for pod in missing.filter(|pod| known.get(pod.uid.as_str()).is_none_or(|first| *first > at)) {
            for (item, stream) in &streams {
                let Some(span) = stream.around(at) else { continue };
                holes.entry((*item, span)).or_insert_with(|| Hole {
                    item: *item,
                    span,
                    slice: format!("{}/{}", change.meta.namespace, change.meta.name),
                    pod: format!("{}/{}", pod.namespace, pod.name),
                });
            }
        }
    }
    holes.into_values().collect()
}

/// An item's changes of pods after its initial list, by version.
#[derive(Default)]
struct Stream {
    listed: u64,
    live: bool,
    changes: BTreeMap<u64, Interval>,
}

impl Stream {
    /// From the last change before version `at` to the first after it; `None`: the stream does not reach so far back.
    fn around(&self, at: u64) -> Option<Interval> {
        if at <= self.listed {
            return None;
        }
        let (_, before) = self.changes.range(..at).next_back()?;
        let after = self.changes.range(at..).next().map_or(Nanos(i64::MAX), |(_, span)| span.hi);
        Some(Interval { lo: before.lo, hi: after.max(before.lo) })
    }
}

fn streams(changes: &[ClusterChange]) -> BTreeMap<u32, Stream> {
    let mut streams: BTreeMap<u32, Stream> = BTreeMap::new();
    for change in changes.iter().filter(|change| change.source != ChangeSource::Snapshot) {
        let (Object::Pod(_), Some(at)) = (&*change.object, version(change)) else { continue };
        let Some(when) = change.at.interval().or(change.seen_at) else { continue };
        let stream = streams.entry(change.record.item).or_default();
        stream.live |= change.source == ChangeSource::Audit || is_news(change);
        if !stream.live {
            stream.listed = stream.listed.max(at);
        }
        stream.changes.insert(at, when);
    }
    streams
}

/// A watch begins with what exists, told as additions.
fn is_news(change: &ClusterChange) -> bool {
    use truename_model::object::ChangeKind::{Deleted, Updated};
    matches!(change.kind, Deleted | Updated)
}

/// The first version of each pod in any source.
fn first_versions(changes: &[ClusterChange]) -> BTreeMap<&str, u64> {
    let mut first: BTreeMap<&str, u64> = BTreeMap::new();
    for change in changes.iter().filter(|change| matches!(*change.object, Object::Pod(_))) {
        let at = version(change).unwrap_or(0);
        let known = first.entry(change.meta.uid.as_str()).or_insert(at);
        *known = at.min(*known);
    }
    first
}

fn version(change: &ClusterChange) -> Option<u64> {
    change.meta.resource_version.parse().ok()
}

fn is_controlled(change: &ClusterChange) -> bool {
    change.meta.labels.get(MANAGED_BY.0).is_some_and(|value| value == MANAGED_BY.1)
}
