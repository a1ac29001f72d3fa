//! The cluster's objects: every dump, watch, audit log and Corefile of the plan, decoded and grouped by cluster.
//!
//! Enters: a plan and the log; leaves: the changes of each cluster and what each item contributed. Two clusters are
//! never mixed: an item belongs to the cluster whose `kube-system` it tells of, to the one the operator names, or to
//! the only one there is; else to none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use truename_cluster::history::coverage::SESSION_NS;
use truename_cluster::history::{CorefileHistory, History, cluster_mark};
use truename_evidence::Reader;
use truename_model::time::SECOND;
use truename_model::{
    ChangeSource, ClusterChange, Event, Interval, Known, Nanos, Observation, ObservedAt, OriginId,
};
use truename_sources::DecodeContext;
use truename_sources::decode::decoder;
use truename_sources::recognise::Format;

use crate::error::EngineError;
use crate::plan::{Plan, PlanItem};
use crate::pump::{Pump, Tally};
use crate::settings::Settings;

/// Longest Corefile that is read, octets.
const COREFILE_MAX: usize = 4 << 20;

/// So many records over so much time show how often a stream is written to.
const RHYTHM_RECORDS: usize = 16;
const RHYTHM_NS: i64 = 10 * SECOND;

/// What one item told of objects.
#[derive(Debug, Default)]
pub struct Told {
    /// Changes, in record order.
    pub changes: Vec<ClusterChange>,
    /// Times of records that are no change: they show how far the item reaches.
    pub reach: Option<Interval>,
    /// Longest silence between records of an audit log that is long enough to have a rhythm, nanoseconds.
    pub rhythm: Option<i64>,
    /// Times of the records of a watch, Unix nanoseconds, in no order.
    pub times: Vec<i64>,
    /// When the stream lost changes (an expired watch).
    pub breaks: Vec<Nanos>,
    /// The text, for a Corefile.
    pub corefile: Option<Arc<str>>,
    /// Counts.
    pub tally: Tally,
}

/// Decodes every item that tells of objects; the result runs parallel to the plan.
///
/// # Errors
/// Those of the log.
pub fn read(reader: &Reader, plan: &Plan) -> Result<Vec<Told>, EngineError> {
    let items = (0u32..).zip(&plan.items);
    items
        .map(
            |(index, item)| {
                if item.tells_objects() { read_item(reader, index, item) } else { Ok(Told::default()) }
            },
        )
        .collect()
}

fn read_item(reader: &Reader, index: u32, item: &PlanItem) -> Result<Told, EngineError> {
    let mut told = Told::default();
    if item.format == Format::Corefile {
        let bytes = reader.record(item.id, 0, COREFILE_MAX)?.unwrap_or_default();
        told.tally.records = 1;
        told.corefile = Some(String::from_utf8_lossy(&bytes).into());
        return Ok(told);
    }
    let context = DecodeContext::new(index, OriginId(index));
    let mut pump = Pump::new(reader.records(item.id)?, decoder(&item.format, context));
    let mut observations: Vec<Observation> = Vec::new();
    let is_stream = matches!(item.format, Format::Audit | Format::KubeWatch);
    while pump.chunk(&mut observations, &mut told.changes)? {
        for observation in observations.drain(..) {
            reach(&mut told.reach, &observation);
            told.times.extend(observation.at.interval().filter(|_| is_stream).map(|at| at.lo.0));
            if let (Event::Loss(loss), Some(at)) = (&observation.event, observation.at.interval())
                && loss.cause.starts_with("watch-")
            {
                told.breaks.push(at.lo);
            }
        }
    }
    told.tally = pump.tally;
    if is_stream {
        let when = |change: &ClusterChange| change.seen_at.or_else(|| change.at.interval());
        told.times.extend(told.changes.iter().filter_map(when).map(|at| at.lo.0));
    }
    if item.format == Format::Audit {
        told.rhythm = rhythm(std::mem::take(&mut told.times));
    }
    for change in &told.changes {
        if let Some(at) = change.at.interval().or(change.seen_at) {
            let span = told.tally.span.get_or_insert(at);
            *span = Interval { lo: span.lo.min(at.lo), hi: span.hi.max(at.hi) };
        }
    }
    Ok(told)
}

/// The longest silence between two records, if there are enough of them over enough time to expect another one soon.
fn rhythm(mut times: Vec<i64>) -> Option<i64> {
    times.sort_unstable();
    let (first, last) = (times.first()?, times.last()?);
    let enough = times.len() >= RHYTHM_RECORDS && last.saturating_sub(*first) >= RHYTHM_NS;
    let gaps = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
    gaps.max().filter(|_| enough)
}

/// The rhythm of each audit log, and of all watches that a recorder began together: they end together, and the quiet ones
/// tell less of when than the others do.
fn rhythms(told: &[Told], items: &[usize], plan: &Plan) -> BTreeMap<usize, i64> {
    let of = |format: Format| items.iter().copied().filter(move |index| plan.items[*index].format == format);
    let mut out: BTreeMap<usize, i64> =
        of(Format::Audit).filter_map(|index| Some((index, told[index].rhythm?))).collect();
    let first = |index: usize| told[index].times.iter().min().map(|first| (*first, index));
    let mut begun: Vec<(i64, usize)> = of(Format::KubeWatch).filter_map(first).collect();
    begun.sort_unstable();
    for session in begun.chunk_by(|a, b| b.0.saturating_sub(a.0) <= SESSION_NS) {
        let times = session.iter().flat_map(|(_, index)| &told[*index].times).copied().collect();
        if let Some(gap) = rhythm(times) {
            out.extend(session.iter().map(|(_, index)| (*index, gap)));
        }
    }
    out
}

fn reach(reach: &mut Option<Interval>, observation: &Observation) {
    let timed = matches!(observation.event, Event::Ignored(_));
    if let (true, ObservedAt::Known(at, _)) = (timed, observation.at) {
        let span = reach.get_or_insert(at);
        *span = Interval { lo: span.lo.min(at.lo), hi: span.hi.max(at.hi) };
    }
}

/// Folds the changes of some items; a Corefile given as a file is named by its digest, never by its path.
#[must_use]
pub fn fold(told: &[Told], items: &[usize], plan: &Plan) -> (History, CorefileHistory) {
    let (mut history, mut corefiles) = (History::new(), CorefileHistory::new());
    let rhythms = rhythms(told, items, plan);
    for &index in items {
        let told = &told[index];
        let source = match plan.items[index].format {
            Format::Audit => Some(ChangeSource::Audit),
            Format::KubeWatch => Some(ChangeSource::Watch),
            _ => None,
        };
        if let (Some(source), Some(reach)) = (source, told.reach) {
            history.note_span(index as u32, source, reach);
        }
        if let Some(gap) = rhythms.get(&index) {
            history.note_rhythm(index as u32, *gap);
        }
        told.breaks.iter().for_each(|at| history.note_break(index as u32, *at));
        for change in &told.changes {
            corefiles.fold(change);
            history.fold(change.clone());
        }
        if let Some(text) = &told.corefile {
            let name = plan.items[index].sha256.to_string();
            corefiles.add_file(name.get(..16).unwrap_or_default(), Arc::clone(text));
        }
    }
    history.finish();
    corefiles.finish(&history);
    (history, corefiles)
}

/// The objects of one cluster in the evidence, folded.
#[derive(Debug)]
pub struct Folded {
    /// UID of `kube-system`, or the operator's name for it; `None`: nothing names it.
    pub name: Option<String>,
    /// Objects over time.
    pub history: History,
    /// Corefiles over time.
    pub corefiles: CorefileHistory,
}

/// Decodes and folds the objects of a case, cluster by cluster.
///
/// # Errors
/// Those of the log.
pub fn clusters(reader: &Reader, settings: &Settings) -> Result<Vec<Folded>, EngineError> {
    let plan = Plan::of(reader, settings)?;
    let told = read(reader, &plan)?;
    let assigned = Clusters::assign(&plan, &told);
    let mut items: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, of) in assigned.of_item.iter().enumerate() {
        if let Some(of) = of {
            items.entry(*of).or_default().push(index);
        }
    }
    let folded = items.into_iter().map(|(of, items)| {
        let (history, corefiles) = fold(&told, &items, &plan);
        Folded { name: assigned.names.get(of).cloned(), history, corefiles }
    });
    Ok(folded.collect())
}

/// Which cluster each item belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clusters {
    /// UIDs of `kube-system`, or names given by the operator; empty if no item tells one.
    pub names: Vec<String>,
    /// Index into `names` by item; `None`: not known.
    pub of_item: Vec<Option<usize>>,
    /// What the reader must know.
    pub notes: Vec<String>,
}

impl Clusters {
    /// Assigns every item of the plan.
    #[must_use]
    pub fn assign(plan: &Plan, told: &[Told]) -> Self {
        let mut marks: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for (index, told) in told.iter().enumerate() {
            for mark in told.changes.iter().filter_map(cluster_mark) {
                marks.entry(mark).or_default().insert(index);
            }
        }
        let mut out = Self { of_item: vec![None; plan.items.len()], ..Self::default() };
        let mut named: BTreeMap<String, usize> = BTreeMap::new();
        for (uid, items) in &marks {
            let given = items.iter().find_map(|index| given_cluster(&plan.items[*index]));
            let name = given.unwrap_or(uid).to_owned();
            let at = *named.entry(name.clone()).or_insert_with(|| {
                out.names.push(name);
                out.names.len() - 1
            });
            items.iter().for_each(|index| out.of_item[*index] = Some(at));
        }
        out.place_the_rest(plan, &mut named);
        out
    }

    fn place_the_rest(&mut self, plan: &Plan, named: &mut BTreeMap<String, usize>) {
        for (index, item) in plan.items.iter().enumerate() {
            if let Some(name) = given_cluster(item) {
                let at = *named.entry(name.to_owned()).or_insert_with(|| {
                    self.names.push(name.to_owned());
                    self.names.len() - 1
                });
                self.of_item[index] = Some(at);
            }
        }
        if self.names.len() < 2 {
            // Everything belongs to the only cluster there is, known by name or not.
            self.of_item.iter_mut().for_each(|of| *of = Some(0));
            return;
        }
        let marked: Vec<(String, usize)> = plan
            .items
            .iter()
            .zip(&self.of_item)
            .filter_map(|(item, of)| Some((folder(&item.path).to_owned(), (*of)?)))
            .collect();
        for (index, item) in plan.items.iter().enumerate() {
            if self.of_item[index].is_none() {
                self.of_item[index] = nearest(folder(&item.path), &marked);
            }
        }
        self.notes.push(format!(
            "{} clusters in the evidence ({}); they are analysed apart. An item without objects belongs to the cluster \
             whose objects lie nearest in the folders; --origin GLOB:cluster=NAME states it",
            self.names.len(),
            self.names.join(", ")
        ));
        for (index, item) in plan.items.iter().enumerate().filter(|(index, _)| self.of_item[*index].is_none())
        {
            let _ = index;
            self.notes.push(format!("{}: the cluster is not known; analysed without objects. --origin GLOB:cluster=NAME states it", item.path));
        }
    }
}

fn given_cluster(item: &PlanItem) -> Option<&str> {
    match &item.origin.cluster {
        Known::Given(name) => Some(name),
        Known::Found(..) | Known::Unknown => None,
    }
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The cluster that shares the most leading folders, if exactly one does.
fn nearest(folder: &str, marked: &[(String, usize)]) -> Option<usize> {
    let shared = |other: &str| {
        folder.split('/').zip(other.split('/')).take_while(|(a, b)| a == b && !a.is_empty()).count()
    };
    let best = marked.iter().map(|(other, _)| shared(other)).max().filter(|depth| *depth > 0)?;
    let clusters: BTreeSet<usize> =
        marked.iter().filter(|(other, _)| shared(other) == best).map(|(_, of)| *of).collect();
    let mut clusters = clusters.into_iter();
    clusters.next().filter(|_| clusters.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_goes_to_the_cluster_whose_objects_lie_nearest() {
        let marked = vec![("a/objects".to_owned(), 0), ("b/objects".to_owned(), 1)];
        assert_eq!(nearest("a/logs", &marked), Some(0));
        assert_eq!(nearest("b/objects", &marked), Some(1));
        assert_eq!(nearest("c", &marked), None);
        assert_eq!(nearest("", &marked), None);
    }
}
