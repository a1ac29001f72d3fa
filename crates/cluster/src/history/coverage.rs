//! Where the object history is complete: spans without a missed change, and instants at which everything was listed.
//!
//! Enters: the times of the changes themselves, by item and source, and spans that the engine adds for records that
//! are no change. Leaves: yes or no. A kind counts as covered only where the source shows that it is not a view of
//! one namespace: absence is a claim, and it must not rest on a partial list.

use std::collections::{BTreeMap, BTreeSet};

use truename_model::object::{ChangeSource, ClusterChange, Object};
use truename_model::time::{Interval, Nanos, SECOND};

use super::timeline::Kind;

/// What a record tells of: the kind, and for workload controllers the API's kind, for a watch of Deployments is silent
/// about ReplicaSets.
type Told = (Kind, String);

fn told(object: &Object) -> Told {
    match object {
        Object::Controller(api, _) => (Kind::Controller, api.clone()),
        other => (Kind::of(other), String::new()),
    }
}

/// Two spans of one kind closer than this are one: a rotated file goes on where the last one ended.
const JOIN_NS: i64 = SECOND;
/// A quiet stream is taken to go on for this long after its last record: the API server sends bookmarks every minute,
/// and a recording rarely ends with a change. The stated reach of every claim that rests on a stream; of one that was
/// never silent for so long, less ([`Coverage::note_rhythm`]).
pub const REACH_NS: i64 = 120 * SECOND;
/// Watches that begin within this time of each other were started by one recorder, which ended them together, nanoseconds.
pub const SESSION_NS: i64 = 30 * SECOND;

/// What one item told of one kind.
#[derive(Clone, Debug)]
struct Seen {
    first: Nanos,
    namespaces: BTreeSet<String>,
    /// Pods only: an address was seen, so status changes are recorded.
    addresses: bool,
    /// `kube-system` was created in front of our eyes: nothing is older.
    birth: bool,
}

/// Completeness of the history, per kind.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    seen: BTreeMap<(u32, ChangeSource, Told), Seen>,
    /// Whole time span of each item's records, changes or not.
    spans: BTreeMap<(u32, ChangeSource), Interval>,
    /// Longest silence of an item's stream, nanoseconds.
    rhythms: BTreeMap<u32, i64>,
    lists: BTreeMap<(u32, Told, Nanos), BTreeSet<String>>,
    declared: Vec<(Kind, Interval)>,
    /// When an item's stream is known to have lost changes.
    breaks: Vec<(u32, Interval)>,
    complete: BTreeMap<Told, Vec<Interval>>,
    listed: BTreeMap<Told, Vec<Nanos>>,
    birth: Option<Nanos>,
}

impl Coverage {
    /// Notes one change.
    pub fn note(&mut self, change: &ClusterChange) {
        let told = told(&change.object);
        let kind = told.0;
        let item = change.record.item;
        let Some(when) = change.seen_at.or_else(|| change.at.interval()) else { return };
        if change.source == ChangeSource::Snapshot {
            if change.seen_at.is_none() {
                // A dump that does not tell when it was taken lists nothing at any known instant.
                return;
            }
            let names = self.lists.entry((item, told, when.lo)).or_default();
            names.insert(change.meta.namespace.clone());
            return;
        }
        let at = change.at.interval().map_or(when.hi, |at| at.hi.max(when.hi));
        self.note_span(item, change.source, Interval::at(at));
        let seen = self.seen.entry((item, change.source, told)).or_insert_with(|| Seen {
            first: at,
            namespaces: BTreeSet::new(),
            addresses: false,
            birth: false,
        });
        seen.first = seen.first.min(at);
        if seen.namespaces.len() < 2 {
            seen.namespaces.insert(change.meta.namespace.clone());
        }
        seen.addresses |= matches!(&*change.object, Object::Pod(pod) if !pod.ips.is_empty());
        let created = change.kind == truename_model::object::ChangeKind::Created;
        let of_system = kind == Kind::Namespace && change.meta.name == "kube-system";
        seen.birth |= change.source == ChangeSource::Audit && created && of_system;
    }

    /// Adds the time of a record of an audit log or watch stream that is no change (a read, a bookmark).
    pub fn note_span(&mut self, item: u32, source: ChangeSource, at: Interval) {
        let span = self.spans.entry((item, source)).or_insert(at);
        *span = Interval { lo: span.lo.min(at.lo), hi: span.hi.max(at.hi) };
    }

    /// States that every change of `kind` in `span` is in the evidence.
    pub fn declare(&mut self, kind: Kind, span: Interval) {
        self.declared.push((kind, span));
    }

    /// States that the stream of `item` was never silent for longer than `gap_ns`: twice that after its last record it is
    /// taken to have been cut.
    pub fn note_rhythm(&mut self, item: u32, gap_ns: i64) {
        self.rhythms.insert(item, gap_ns);
    }

    /// States that the stream of `item` lost changes around `at` (an expired watch, a hole in an audit log).
    pub fn note_break(&mut self, item: u32, at: Nanos) {
        self.breaks.push((item, Interval::at(at)));
    }

    /// States that the stream of `item` lost changes somewhere in `span`.
    pub fn note_hole(&mut self, item: u32, span: Interval) {
        self.breaks.push((item, span));
    }

    /// The end of an item's stream: that of all watches of its recorder, and the reach.
    fn stream_end(&self, item: u32, source: ChangeSource, span: Interval) -> Nanos {
        let mut end = span.hi;
        if source == ChangeSource::Watch {
            let together = |other: &Interval| other.lo.since(span.lo).saturating_abs() <= SESSION_NS;
            let watches = self.spans.iter().filter(|((_, of), _)| *of == ChangeSource::Watch);
            end = watches
                .map(|(_, other)| other)
                .filter(|other| together(other))
                .map(|other| other.hi)
                .fold(end, Nanos::max);
        }
        let broken = self.breaks.iter().any(|(of, at)| *of == item && at.hi >= span.hi);
        let reach = self.rhythms.get(&item).map_or(REACH_NS, |gap| gap.saturating_mul(2).min(REACH_NS));
        if broken { span.hi } else { end.plus(reach) }
    }

    /// Computes the spans; call after the last [`Coverage::note`].
    pub fn finish(&mut self) {
        self.complete.clear();
        self.listed.clear();
        self.birth = None;
        let mut breaks = self.breaks.clone();
        breaks.sort_unstable();
        breaks.dedup();
        for ((item, source, told), seen) in &self.seen {
            let kind = &told.0;
            let Some(span) = self.spans.get(&(*item, *source)) else { continue };
            // The absence of one ConfigMap alone is ever asked, and with a sign of its own that all are told; that of
            // policies is asked by namespace: a stream of one namespace will do for those that are known.
            let one = matches!(kind, Kind::ConfigMap | Kind::Policy) || !kind.is_namespaced();
            let wide = one || seen.namespaces.len() > 1;
            let statuses = *kind != Kind::Pod || *source != ChangeSource::Audit || seen.addresses;
            if !wide || !statuses {
                continue;
            }
            // An audit log holds requests of all kinds from its first record; a watch begins with its own list.
            let from = if *source == ChangeSource::Audit { span.lo } else { seen.first };
            let hi = self.stream_end(*item, *source, *span);
            let mut lo = from;
            for (_, at) in breaks.iter().filter(|(of, at)| of == item && at.hi >= from && at.lo <= hi) {
                // What was lost lies before the break by at most the reach of a quiet stream; nothing joins over it.
                self.complete
                    .entry(told.clone())
                    .or_default()
                    .push(Interval { lo, hi: at.lo.plus(-2 * JOIN_NS).max(lo) });
                lo = at.hi.plus(2 * JOIN_NS).max(lo);
            }
            if lo <= hi {
                self.complete.entry(told.clone()).or_default().push(Interval { lo, hi });
            }
            if *source == ChangeSource::Watch {
                self.listed.entry(told.clone()).or_default().push(seen.first);
            }
            if seen.birth {
                self.birth = Some(self.birth.map_or(span.lo, |birth| birth.min(span.lo)));
            }
        }
        for ((_, told, at), namespaces) in &self.lists {
            if !told.0.is_namespaced() || namespaces.len() > 1 {
                self.listed.entry(told.clone()).or_default().push(*at);
            }
        }
        for (kind, span) in &self.declared {
            let told = (*kind, String::new());
            self.complete.entry(told.clone()).or_default().push(*span);
            self.listed.entry(told).or_default().push(span.lo);
        }
        self.complete.values_mut().for_each(join);
        self.listed.values_mut().for_each(|instants| instants.sort_unstable());
    }

    /// The complete span of `kind` that holds `at`, if any.
    #[must_use]
    pub fn span_at(&self, kind: Kind, at: Nanos) -> Option<Interval> {
        self.span_of(&(kind, String::new()), at)
    }

    fn span_of(&self, told: &Told, at: Nanos) -> Option<Interval> {
        let spans = self.complete.get(told)?;
        let after = spans.partition_point(|span| span.lo <= at);
        spans[..after].last().copied().filter(|span| span.hi >= at)
    }

    /// True if no object of `kind` can have existed in `window` without being known; never for workload controllers,
    /// which are told apart by [`Coverage::knows_all_workloads`].
    #[must_use]
    pub fn is_exhaustive(&self, kind: Kind, window: Interval) -> bool {
        self.covers(&(kind, String::new()), window)
    }

    /// True if no workload controller of the API's kind `api` (`ReplicaSet`) can have existed in `window` without being
    /// known.
    #[must_use]
    pub fn knows_all_workloads(&self, api: &str, window: Interval) -> bool {
        self.covers(&(Kind::Controller, api.to_owned()), window)
    }

    fn covers(&self, told: &Told, window: Interval) -> bool {
        let Some(span) = self.span_of(told, window.lo) else {
            // A single instant at which everything was listed.
            return window.lo == window.hi
                && self.listed.get(told).is_some_and(|at| at.binary_search(&window.lo).is_ok());
        };
        let listed = self.listed.get(told).is_some_and(|instants| {
            let from = instants.partition_point(|at| *at < span.lo.plus(-JOIN_NS));
            instants.get(from).is_some_and(|at| *at <= span.hi.plus(JOIN_NS))
        });
        let born = self.birth.is_some_and(|birth| birth >= span.lo.plus(-JOIN_NS) && birth <= span.hi);
        span.hi >= window.hi && (listed || born)
    }

    /// True if the records of an item reach over the whole of `window`: a stream from its first record to its end, a
    /// list at its own instant.
    #[must_use]
    pub fn reaches(&self, item: u32, source: ChangeSource, window: Interval) -> bool {
        if source == ChangeSource::Snapshot {
            let instants = self.lists.keys().filter(|(of, ..)| *of == item).map(|(.., at)| *at);
            return window.lo == window.hi && instants.into_iter().any(|at| at == window.lo);
        }
        self.reach(item, source).is_some_and(|span| span.lo <= window.lo && span.hi >= window.hi)
    }

    /// From where to where the records of a stream reach; `None` for lists.
    #[must_use]
    pub fn reach(&self, item: u32, source: ChangeSource) -> Option<Interval> {
        let span = self.spans.get(&(item, source)).filter(|_| source != ChangeSource::Snapshot)?;
        Some(Interval { lo: span.lo, hi: self.stream_end(item, source, *span) })
    }

    /// Edges of the complete spans of `kind`: a claim about absence may change only there.
    pub fn edges(&self, kind: Kind) -> impl Iterator<Item = Nanos> + '_ {
        self.complete.get(&(kind, String::new())).into_iter().flatten().flat_map(|span| [span.lo, span.hi])
    }

    /// Complete spans of `kind`, sorted.
    #[must_use]
    pub fn spans(&self, kind: Kind) -> &[Interval] {
        self.complete.get(&(kind, String::new())).map_or(&[], Vec::as_slice)
    }
}

fn join(spans: &mut Vec<Interval>) {
    spans.sort_unstable();
    let mut joined: Vec<Interval> = Vec::with_capacity(spans.len());
    for span in spans.drain(..) {
        match joined.last_mut() {
            Some(last) if span.lo <= last.hi.plus(JOIN_NS) => last.hi = last.hi.max(span.hi),
            _ => joined.push(span),
        }
    }
    *spans = joined;
}
