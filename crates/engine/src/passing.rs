//! What passes in the walk, for a timeline: nothing of it is stored.

use std::collections::BTreeMap;

use truename_model::object::ChangeSource;
use truename_model::transaction::Judged;
use truename_model::{ChangeKind, ClockBasis, ClusterChange, Nanos, Observation, ObservedAt};

/// Something that passed, in order of time.
#[derive(Clone, Copy, Debug)]
pub enum Passing<'a> {
    /// A lookup with its conclusions.
    Lookup(&'a Judged),
    /// A change of an object, once, however many sources told it.
    Change(&'a OneChange<'a>),
    /// A line of the server about itself, or a known loss.
    Seen(&'a Observation),
}

/// A change as all sources together tell it.
#[derive(Clone, Debug)]
pub struct OneChange<'a> {
    /// As the source tells it that says most: who did it, or at least that something was done.
    pub change: &'a ClusterChange,
    /// Not earlier than this, API server clock.
    pub not_before: Option<Nanos>,
    /// Not later than this.
    pub not_after: Option<Nanos>,
    /// Who told it, and by which clock; in order, each once. No clock: the time of receipt bounds it.
    pub told: Vec<(ChangeSource, Option<ClockBasis>)>,
}

impl OneChange<'_> {
    /// Its place in an order of time: the latest it can have been, else the earliest.
    #[must_use]
    pub fn place(&self) -> Nanos {
        self.not_after.or(self.not_before).unwrap_or(Nanos(i64::MIN))
    }
}

/// What makes two records tell the same change: the object, and its version or that it is gone.
fn identity(change: &ClusterChange) -> (String, &str, &str, &str, &str, bool, Option<u64>) {
    let meta = &change.meta;
    let gone = change.kind == ChangeKind::Deleted;
    let version = if gone { "" } else { meta.resource_version.as_str() };
    // Nothing says that two records without version (or a deletion without UID) are one.
    let apart = if gone { meta.uid.is_empty() } else { version.is_empty() };
    let record = apart.then(|| u64::from(change.record.item) << 40 ^ change.record.ordinal);
    let kind = change.object.kind().to_owned();
    (kind, &meta.namespace, &meta.name, &meta.uid, version, gone, record)
}

/// The changes, each once, in order of [`OneChange::place`].
#[must_use]
pub fn each_once(changes: &[ClusterChange]) -> Vec<OneChange<'_>> {
    let mut groups: BTreeMap<_, Vec<&ClusterChange>> = BTreeMap::new();
    for change in changes {
        groups.entry(identity(change)).or_default().push(change);
    }
    let mut out: Vec<OneChange<'_>> = groups.into_values().filter_map(one).collect();
    out.sort_by_key(|one| (one.place(), one.change.record));
    out
}

fn one(mut group: Vec<&ClusterChange>) -> Option<OneChange<'_>> {
    // That it was listed is told only where nothing tells how it came about.
    if group.iter().any(|change| change.kind != ChangeKind::Listed) {
        group.retain(|change| change.kind != ChangeKind::Listed);
    }
    group.sort_by_key(|change| {
        (change.actor.is_none(), bounds(change).1.is_none(), bounds(change).1, change.record)
    });
    let first = *group.first()?;
    let (mut lo, mut hi) = bounds(first);
    if first.kind != ChangeKind::Listed {
        for (from, to) in group.iter().map(|change| bounds(change)) {
            let (tighter_lo, tighter_hi) = (lo.max(from), hi.into_iter().chain(to).min());
            // Clocks that contradict each other: the first source stands.
            if tighter_lo.zip(tighter_hi).is_none_or(|(lo, hi)| lo <= hi) {
                (lo, hi) = (tighter_lo, tighter_hi);
            }
        }
    }
    let mut told: Vec<(ChangeSource, Option<ClockBasis>)> = Vec::new();
    for change in &group {
        let basis = match change.at {
            ObservedAt::Known(_, basis) if change.kind != ChangeKind::Listed || change.seen_at.is_none() => {
                Some(basis)
            }
            _ => None,
        };
        if !told.contains(&(change.source, basis)) {
            told.push((change.source, basis));
        }
    }
    Some(OneChange { change: first, not_before: lo, not_after: hi, told })
}

/// When the change was, by one record. Of something listed: when it was there to be listed.
fn bounds(change: &ClusterChange) -> (Option<Nanos>, Option<Nanos>) {
    let (at, seen) = (change.at.interval(), change.seen_at);
    match (change.kind, at, seen) {
        (ChangeKind::Listed, _, Some(seen)) => (Some(seen.lo), Some(seen.hi)),
        // The last write is no time of the list.
        (ChangeKind::Listed, at, None) => (at.map(|at| at.lo), None),
        (_, Some(at), _) => (Some(at.lo), Some(at.hi)),
        (_, None, seen) => (None, seen.map(|seen| seen.hi)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use truename_model::{Actor, Interval, Meta, Object, OriginId, RecordRef};

    fn change(
        kind: ChangeKind,
        source: ChangeSource,
        version: &str,
        at: Option<(i64, i64)>,
        seen: Option<i64>,
    ) -> ClusterChange {
        let meta =
            Meta { name: "x".into(), uid: "u".into(), resource_version: version.into(), ..Meta::default() };
        let interval = |(lo, hi)| Interval { lo: Nanos(lo), hi: Nanos(hi) };
        let basis = if source == ChangeSource::Audit { ClockBasis::Audit } else { ClockBasis::ObjectField };
        ClusterChange {
            record: RecordRef { item: source as u32, ordinal: 0 },
            origin: OriginId(0),
            kind,
            source,
            meta: Arc::new(meta),
            object: Arc::new(Object::Namespace),
            at: at.map_or(ObservedAt::OrderOnly, |at| ObservedAt::Known(interval(at), basis)),
            seen_at: seen.map(|at| Interval::at(Nanos(at))),
            actor: (source == ChangeSource::Audit).then(|| Arc::new(Actor::default())),
        }
    }

    fn told(one: &OneChange<'_>) -> (ChangeKind, Option<i64>, Option<i64>, usize) {
        (one.change.kind, one.not_before.map(|at| at.0), one.not_after.map(|at| at.0), one.told.len())
    }

    #[test]
    fn a_change_told_by_two_sources_is_one_with_the_bounds_of_both() {
        use ChangeKind::{Created, Deleted, Listed};
        use ChangeSource::{Audit, Snapshot, Watch};
        let changes = [
            change(Deleted, Watch, "9", Some((10, 49)), Some(49)),
            change(Created, Watch, "5", Some((10, 21)), Some(21)),
            change(Created, Audit, "5", Some((14, 19)), Some(19)),
            change(Deleted, Audit, "8", Some((40, 45)), Some(45)),
            change(Listed, Snapshot, "5", Some((10, 19)), Some(30)),
        ];
        let found = each_once(&changes);
        let rows: Vec<_> = found.iter().map(told).collect();
        assert_eq!(rows, [(Created, Some(14), Some(19), 2), (Deleted, Some(40), Some(45), 2)]);
        assert!(found.iter().all(|one| one.change.actor.is_some()));
    }

    #[test]
    fn what_is_known_from_one_side_only_stays_open() {
        use ChangeKind::{Deleted, Listed, Updated};
        use ChangeSource::{Snapshot, Watch};
        let changes = [
            change(Listed, Snapshot, "5", Some((10, 19)), None),
            change(Updated, Watch, "6", None, Some(30)),
            change(Listed, Snapshot, "7", None, Some(31)),
            change(Listed, Snapshot, "7", None, Some(33)),
            change(Deleted, Watch, "9", Some((10, 49)), Some(49)),
        ];
        let rows: Vec<_> = each_once(&changes).iter().map(told).collect();
        assert_eq!(
            rows,
            [
                (Listed, Some(10), None, 1),
                (Updated, None, Some(30), 1),
                (Listed, Some(31), Some(31), 1),
                (Deleted, Some(10), Some(49), 1)
            ]
        );
    }
}
