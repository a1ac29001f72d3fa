//! The versions of one object name in order, each with bounds on when it began and ended.
//!
//! Enters: changes of one (kind, namespace, name). Leaves: entries (states and absences) whose beginnings are
//! intervals on the API server's clock, and the stretches in which an unseen version may hide. Several records of the
//! same (UID, resource version) are one state with the tightest bounds: the audit log gives the instant, the watch the
//! object. Deliberately absent: what the objects mean.

use std::sync::Arc;

use truename_model::object::{ChangeKind, ChangeSource, ClusterChange, Meta, Object, ObjectRef};
use truename_model::origin::RecordRef;
use truename_model::time::{Interval, Nanos, SECOND};

use super::coverage::Coverage;

/// The beginning of time.
pub const EVER: Nanos = Nanos(i64::MIN);
/// The end of time.
pub const NEVER: Nanos = Nanos(i64::MAX);

/// Kinds by what the model asks of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Service.
    Service,
    /// EndpointSlice.
    Slice,
    /// Legacy Endpoints.
    Endpoints,
    /// Pod.
    Pod,
    /// Node.
    Node,
    /// Namespace.
    Namespace,
    /// ConfigMap.
    ConfigMap,
    /// Workload controller.
    Controller,
    /// NetworkPolicy and kin.
    Policy,
    /// Anything else.
    Other,
}

impl Kind {
    /// The kind of an object.
    #[must_use]
    pub fn of(object: &Object) -> Self {
        match object {
            Object::Service(_) => Self::Service,
            Object::EndpointSlice(slice) if slice.legacy => Self::Endpoints,
            Object::EndpointSlice(_) => Self::Slice,
            Object::Pod(_) => Self::Pod,
            Object::Node(_) => Self::Node,
            Object::Namespace => Self::Namespace,
            Object::ConfigMap(_) => Self::ConfigMap,
            Object::Controller(..) => Self::Controller,
            Object::Policy(..) => Self::Policy,
            Object::Other(..) => Self::Other,
        }
    }

    /// False for kinds of cluster scope.
    #[must_use]
    pub fn is_namespaced(self) -> bool {
        !matches!(self, Self::Node | Self::Namespace)
    }
}

/// One version of an object, or its absence.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The version; `None`: the object did not exist.
    pub state: Option<State>,
    /// When it began to hold.
    pub began: Interval,
    /// When it ceased to hold; `hi` is [`NEVER`] if nothing says that it did.
    pub ended: Interval,
    /// It is known to have held from `began.hi` to here, inclusive.
    pub known_to: Nanos,
    /// An unseen version may have held between `known_to` and the next entry's beginning.
    pub gap_after: bool,
}

/// The content of a version.
#[derive(Clone, Debug)]
pub struct State {
    /// Metadata.
    pub meta: Arc<Meta>,
    /// Object.
    pub object: Arc<Object>,
    /// A record that tells it (the first one, by item and ordinal).
    pub record: RecordRef,
}

impl State {
    /// Reference to this version.
    #[must_use]
    pub fn object_ref(&self) -> ObjectRef {
        ObjectRef {
            kind: self.object.kind().to_owned(),
            namespace: self.meta.namespace.clone(),
            name: self.meta.name.clone(),
            uid: self.meta.uid.clone(),
            resource_version: self.meta.resource_version.clone(),
        }
    }
}

/// All versions of one object name.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// Kind.
    pub kind: Kind,
    /// Namespace; empty for cluster scope.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// In order of time; never empty.
    pub entries: Vec<Entry>,
    /// Nothing is known of this name before this instant but what coverage implies.
    pub unknown_before: Nanos,
}

impl Timeline {
    /// Entries that may have held at some instant of `window`, in order.
    pub fn within(&self, window: Interval) -> impl Iterator<Item = &Entry> + '_ {
        let first = self.entries.partition_point(|entry| entry.ended.hi < window.lo);
        self.entries[first..]
            .iter()
            .take_while(move |entry| entry.began.lo <= window.hi)
            .filter(move |entry| entry.ended.hi >= window.lo)
    }

    /// True if a version that is not in the evidence may have held at some instant of `window`.
    #[must_use]
    pub fn may_hide(&self, window: Interval) -> bool {
        if window.lo < self.unknown_before {
            return true;
        }
        let first = self.entries.partition_point(|entry| entry.ended.hi < window.lo);
        self.entries[first..].iter().take_while(|entry| entry.known_to < window.hi).any(|entry| {
            entry.gap_after && entry.ended.hi >= window.lo && entry.known_to < window.hi.min(entry.ended.hi)
        })
    }

    /// Instants at which the answer of [`Timeline::within`] or [`Timeline::may_hide`] can change.
    pub fn edges(&self) -> impl Iterator<Item = Nanos> + '_ {
        self.entries
            .iter()
            .flat_map(|entry| {
                [entry.began.lo, entry.began.hi, entry.ended.lo, entry.ended.hi, entry.known_to]
            })
            .chain([self.unknown_before])
    }
}

/// One state or deletion gathered from records, before it is placed in time.
#[derive(Clone, Debug)]
struct Draft {
    uid: String,
    rv: Option<u64>,
    rv_text: String,
    deleted: bool,
    born: bool,
    began: Interval,
    exact: bool,
    listed: bool,
    /// Last instant at which a list showed it.
    held: Option<Nanos>,
    /// Last instant at which a record showed it, by the record's own time.
    sighted: Option<Nanos>,
    state: State,
    source: ChangeSource,
}

/// Builds the timeline of one object from its changes.
#[must_use]
pub fn build(
    kind: Kind,
    namespace: Arc<str>,
    name: Arc<str>,
    changes: &[&ClusterChange],
    coverage: &Coverage,
    dumped: &Dumped,
) -> Timeline {
    let drafts = order(merge(changes, dumped));
    let born = drafts.first().is_some_and(|draft| was_born(kind, draft, coverage));
    let entries = place(kind, drafts, coverage);
    let first = entries.get(1).map_or(NEVER, |entry| entry.began.hi);
    let unknown_before = if born { EVER } else { first };
    Timeline { kind, namespace, name, entries, unknown_before }
}

/// True if the creation itself was seen: a watch tells objects that exist already as if they were just added.
fn was_born(kind: Kind, draft: &Draft, coverage: &Coverage) -> bool {
    let watched = || {
        let span = coverage.span_at(kind, draft.began.hi);
        draft.state.meta.created.zip(span).is_some_and(|(created, span)| created >= span.lo)
    };
    draft.born && (draft.source == ChangeSource::Audit || draft.exact || watched())
}

/// By item of dumps that do not say when they were taken: an instant that the dump is not older than.
pub type Dumped = std::collections::BTreeMap<u32, Nanos>;

fn draft(change: &ClusterChange, dumped: &Dumped, first: Option<u64>) -> Draft {
    let meta = &change.meta;
    let rv: Option<u64> = meta.resource_version.parse().ok();
    let mut began = Interval { lo: EVER, hi: NEVER };
    let told = change.at.interval().filter(|_| change.kind != ChangeKind::Listed);
    if let Some(at) = told {
        began = at;
    }
    let deleted = change.kind == ChangeKind::Deleted;
    if let (Some(created), false) = (meta.created, deleted) {
        // `creationTimestamp` is cut to whole seconds, so it is a lower bound.
        began.lo = began.lo.max(created);
        if change.kind == ChangeKind::Created {
            began.hi = began.hi.min(created.plus(SECOND));
        }
        began.hi = began.hi.max(began.lo);
    }
    if let (ChangeKind::Listed, Some(written)) = (change.kind, change.at.interval()) {
        // The last write that changed something: the state has held since, though an earlier one may look the same.
        began.hi = began.hi.min(written.hi.max(began.lo));
    }
    let dumped = dumped.get(&change.record.item).map(|at| Interval::at(*at));
    let untimed = change.source == ChangeSource::Snapshot && change.seen_at.is_none();
    let seen = change.seen_at.or_else(|| change.at.interval()).or(dumped);
    // The dump may be of any later day. Its state has held from the start only as long as no other is known before it.
    let is_later = untimed && change.at.interval().is_none() && rv > first;
    if let Some(seen) = seen.filter(|_| !is_later) {
        began.hi = began.hi.min(seen.hi.max(meta.created.unwrap_or(EVER)));
        began.lo = began.lo.min(began.hi);
    }
    let held = if untimed { dumped.or(seen) } else { seen };
    let held = held.filter(|_| change.source == ChangeSource::Snapshot);
    Draft {
        uid: meta.uid.clone(),
        rv,
        rv_text: meta.resource_version.clone(),
        deleted,
        born: change.kind == ChangeKind::Created,
        began,
        exact: change.source == ChangeSource::Audit && told.is_some(),
        listed: change.kind == ChangeKind::Listed,
        held: held.filter(|_| !deleted).map(|seen| seen.lo),
        sighted: change.seen_at.map(|seen| seen.lo),
        state: State { meta: change.meta.clone(), object: change.object.clone(), record: change.record },
        source: change.source,
    }
}

/// Joins records of the same version.
fn merge(changes: &[&ClusterChange], dumped: &Dumped) -> Vec<Draft> {
    let mut drafts: Vec<Draft> = Vec::with_capacity(changes.len());
    let mut at: hashbrown::HashMap<(String, String, bool), usize, foldhash::fast::FixedState> =
        hashbrown::HashMap::default();
    let mut first: hashbrown::HashMap<&str, u64, foldhash::fast::FixedState> = hashbrown::HashMap::default();
    for change in changes {
        if let Ok(version) = change.meta.resource_version.parse::<u64>() {
            let least = first.entry(change.meta.uid.as_str()).or_insert(version);
            *least = version.min(*least);
        }
    }
    for change in changes {
        let new = draft(change, dumped, first.get(change.meta.uid.as_str()).copied());
        let version = if new.deleted { String::new() } else { new.rv_text.clone() };
        if version.is_empty() && !new.deleted {
            drafts.push(new);
            continue;
        }
        match at.entry((new.uid.clone(), version, new.deleted)) {
            hashbrown::hash_map::Entry::Vacant(slot) => {
                slot.insert(drafts.len());
                drafts.push(new);
            }
            hashbrown::hash_map::Entry::Occupied(slot) => tighten(&mut drafts[*slot.get()], new),
        }
    }
    drafts
}

fn tighten(into: &mut Draft, other: Draft) {
    let both = Interval { lo: into.began.lo.max(other.began.lo), hi: into.began.hi.min(other.began.hi) };
    into.began = match (both.lo <= both.hi, into.exact, other.exact) {
        (true, _, _) => both,
        // Two clocks disagree: the API server's own record of the change binds.
        (false, false, true) => other.began,
        (false, true, false) => into.began,
        (false, _, _) => Interval { lo: both.hi, hi: both.lo },
    };
    into.exact |= other.exact;
    into.listed |= other.listed;
    into.born |= other.born;
    into.held = into.held.max(other.held);
    into.sighted = into.sighted.max(other.sighted);
    // An audited request may show less of the object than a watch or list does.
    if into.source == ChangeSource::Audit && other.source != ChangeSource::Audit {
        into.state = other.state;
        into.source = other.source;
    }
}

/// Sorts states by version where all have numbers, else by time; a deletion follows the states of its UID.
fn order(drafts: Vec<Draft>) -> Vec<Draft> {
    let numbered = drafts.iter().all(|draft| draft.deleted || draft.rv.is_some());
    let mut lives: Vec<(String, Vec<Draft>)> = Vec::new();
    for draft in drafts {
        match lives.iter_mut().find(|(uid, _)| *uid == draft.uid) {
            Some((_, life)) => life.push(draft),
            None => lives.push((draft.uid.clone(), vec![draft])),
        }
    }
    for (_, life) in &mut lives {
        life.sort_by_key(|draft| {
            let version = if numbered { draft.rv } else { None };
            (draft.deleted, version, draft.began.hi, draft.began.lo, draft.state.record)
        });
    }
    lives.sort_by_key(|(uid, life)| {
        let version = if numbered { life.iter().filter_map(|draft| draft.rv).min() } else { None };
        let created = life.iter().filter_map(|draft| draft.state.meta.created).min();
        (version, created, life.iter().map(|draft| draft.began.hi).min(), uid.clone())
    });
    lives.into_iter().flat_map(|(_, life)| drop_echoes(life)).collect()
}

/// The last state told by a deletion is news only if no other record showed the object.
fn drop_echoes(life: Vec<Draft>) -> Vec<Draft> {
    let only_deleted = life.iter().all(|draft| draft.deleted);
    let mut out = Vec::with_capacity(life.len() + 1);
    for draft in life {
        if only_deleted && !draft.state.meta.resource_version.is_empty() {
            let lo = draft.state.meta.created.unwrap_or(EVER).min(draft.began.hi);
            let last = Draft {
                deleted: false,
                born: false,
                began: Interval { lo, hi: draft.began.lo.max(lo) },
                held: None,
                ..draft.clone()
            };
            out.push(last);
        }
        out.push(draft);
    }
    out
}

fn place(kind: Kind, drafts: Vec<Draft>, coverage: &Coverage) -> Vec<Entry> {
    let mut drafts = with_absences(drafts);
    tighten_by_neighbours(&mut drafts);
    tighten_by_coverage(kind, &mut drafts, coverage);
    let Some(first) = drafts.first() else { return Vec::new() };
    // Before its first version the name was absent; `unknown_before` and coverage say how far that is known.
    let nothing = Interval::at(EVER);
    let mut entries = Vec::with_capacity(drafts.len() + 1);
    entries.push(Entry { state: None, began: nothing, ended: first.began, known_to: EVER, gap_after: false });
    let begins: Vec<Interval> = drafts.iter().map(|draft| draft.began).collect();
    for (index, draft) in drafts.into_iter().enumerate() {
        entries.push(entry(kind, draft, begins.get(index + 1).copied(), coverage));
    }
    entries
}

fn entry(kind: Kind, draft: Draft, next: Option<Interval>, coverage: &Coverage) -> Entry {
    let held_to = match draft.held {
        // An undated dump shows a later state: the object was there, but since when in this state nothing tells.
        Some(held) if draft.began.hi == NEVER => held.max(draft.began.lo),
        held => held.map_or(draft.began.hi, |held| held.max(draft.began.hi)),
    };
    let ended = next.unwrap_or(Interval { lo: held_to, hi: NEVER });
    // From the record that shows it on, a change would have been seen.
    let sighted = draft.sighted.unwrap_or(held_to);
    let span = coverage.span_at(kind, held_to).or_else(|| coverage.span_at(kind, sighted));
    let covered_to = span.map_or(held_to, |span| span.hi.max(held_to));
    let known_to = match next {
        None => covered_to,
        Some(next) => covered_to.min(next.lo).max(draft.began.hi),
    };
    let ended = Interval { lo: if next.is_none() { known_to } else { ended.lo }, hi: ended.hi };
    let state = (!draft.deleted).then_some(draft.state);
    Entry { state, began: draft.began, ended, known_to, gap_after: covered_to < ended.hi }
}

/// A new UID under an old name implies an absence in between, if no deletion was recorded.
fn with_absences(drafts: Vec<Draft>) -> Vec<Draft> {
    let mut out: Vec<Draft> = Vec::with_capacity(drafts.len());
    for draft in drafts {
        if let Some(last) = out.last()
            && !last.deleted
            && last.uid != draft.uid
            && !draft.deleted
        {
            let lo = last.held.unwrap_or(last.began.lo);
            let hi = draft.began.hi.max(lo);
            let absence =
                Draft { deleted: true, held: None, born: false, began: Interval { lo, hi }, ..last.clone() };
            out.push(absence);
        }
        out.push(draft);
    }
    out
}

fn tighten_by_neighbours(drafts: &mut [Draft]) {
    let mut floor = EVER;
    for draft in drafts.iter_mut() {
        draft.began.lo = draft.began.lo.max(floor).min(draft.began.hi.max(floor));
        draft.began.hi = draft.began.hi.max(draft.began.lo);
        floor = draft.held.map_or(draft.began.lo, |held| held.max(draft.began.lo));
    }
    let mut ceiling = NEVER;
    for draft in drafts.iter_mut().rev() {
        draft.began.hi = draft.began.hi.min(ceiling).max(draft.began.lo);
        ceiling = draft.began.hi;
    }
}

/// Where no change can have been missed, a state that was only listed has held since that stretch began.
fn tighten_by_coverage(kind: Kind, drafts: &mut [Draft], coverage: &Coverage) {
    let mut floor = EVER;
    for draft in drafts.iter_mut() {
        if draft.listed
            && !draft.exact
            && !draft.deleted
            && let Some(span) = coverage.span_at(kind, draft.began.hi)
        {
            // The creation lies in the second that its time names.
            let created = if draft.began.lo == EVER { EVER } else { draft.began.lo.plus(SECOND) };
            let since = span.lo.max(floor).max(created);
            draft.began.hi = draft.began.hi.min(since).max(draft.began.lo);
        }
        floor = draft.began.hi;
    }
}
