//! The observations of a set of items, decoded from the log and given out in order of time, batch by batch.
//!
//! Enters: a plan and the log; leaves: batches on the reference clock, the same ones on one thread or two. With two, a
//! worker decodes the next chunk of an item while the caller works on the last one. Observations without time come
//! last, item by item, by reading those items again.

use std::collections::BTreeMap;
use std::sync::mpsc;

use truename_analysis::clock::Offsets;
use truename_evidence::Reader;
use truename_model::{Event, Known, Observation, OriginId};
use truename_sources::decode::decoder;
use truename_sources::{DecodeContext, NAMES_MAX, logformat::LogFormat};

use crate::error::EngineError;
use crate::merge::Merge;
use crate::plan::Plan;
use crate::pump::{Pump, Tally};

/// Observations given out at a time, about.
const BATCH: usize = 4_096;
/// Distinct names that the decoders of all items remember together, but for a few of each.
const NAMES_TOGETHER: usize = 1 << 19;
/// Chunks decoded ahead, for all items together and at most for one.
const CHUNKS_AHEAD: usize = 16;
const ITEM_AHEAD: usize = 4;

/// What decoding needs besides the plan.
#[derive(Clone, Debug, Default)]
pub struct Decoding {
    /// Custom log formats of the Corefiles.
    pub log_formats: Vec<LogFormat>,
    /// Ports taken for DNS.
    pub dns_ports: Vec<u16>,
    /// 1 or 2.
    pub threads: u8,
    /// Year and zone (seconds east of UTC) inferred for items whose lines lack them, by item number.
    pub inferred: BTreeMap<usize, (i32, i32)>,
}

impl Decoding {
    fn pump(&self, reader: &Reader, plan: &Plan, index: usize) -> Result<Pump, EngineError> {
        let item = &plan.items[index];
        let number = index as u32;
        let mut context = DecodeContext::new(number, OriginId(number));
        context.log_formats.clone_from(&self.log_formats);
        context.names_max = (NAMES_TOGETHER / plan.items.len().max(1)).clamp(1 << 10, NAMES_MAX);
        context.zone_secs = match item.origin.zone_secs {
            Known::Found(secs, _) | Known::Given(secs) => Some(secs),
            Known::Unknown => None,
        };
        context.year = item.year;
        if let Some((year, zone)) = self.inferred.get(&index) {
            context.year = context.year.or(Some(*year));
            context.zone_secs = context.zone_secs.or(Some(*zone));
        }
        if !self.dns_ports.is_empty() {
            context.dns_ports.clone_from(&self.dns_ports);
        }
        Ok(Pump::new(reader.records(item.id)?, decoder(&item.format, context)))
    }
}

/// What the items contributed, and how ordered they were.
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    /// Counts by item number.
    pub tallies: BTreeMap<usize, Tally>,
    /// Observations beyond the merger's slack, and released early for want of room.
    pub disorder: (u64, u64),
}

/// Looks at the first observations of an item without keeping them.
///
/// # Errors
/// Those of the log.
pub fn peek(
    reader: &Reader,
    plan: &Plan,
    decoding: &Decoding,
    index: usize,
    limit: usize,
    look: &mut dyn FnMut(&Observation),
) -> Result<(), EngineError> {
    let mut pump = decoding.pump(reader, plan, index)?;
    let (mut observations, mut changes, mut seen) = (Vec::new(), Vec::new(), 0);
    while seen < limit && pump.chunk(&mut observations, &mut changes)? {
        seen += observations.len();
        observations.drain(..).for_each(|observation| look(&observation));
    }
    Ok(())
}

/// Gives out everything that `items` observed.
///
/// # Errors
/// Those of the log.
pub fn replay(
    reader: &Reader,
    plan: &Plan,
    items: &[usize],
    decoding: &Decoding,
    offsets: &Offsets,
    batch: &mut dyn FnMut(&mut Vec<Observation>),
) -> Result<Replayed, EngineError> {
    let pumps =
        items.iter().map(|index| decoding.pump(reader, plan, *index)).collect::<Result<Vec<_>, _>>()?;
    let mut run = Run { merge: Merge::new(items.len()), offsets, out: Vec::new(), batch };
    let tallies = if decoding.threads > 1 && !items.is_empty() {
        threaded(pumps, &mut run)?
    } else {
        direct(pumps, &mut run)?
    };
    run.flush(0);
    let mut replayed = Replayed { tallies: BTreeMap::new(), disorder: run.merge.disorder() };
    for (index, tally) in items.iter().zip(tallies) {
        if tally.untimed > 0 {
            untimed(reader, plan, *index, decoding, &mut run)?;
        }
        replayed.tallies.insert(*index, tally);
    }
    run.flush(0);
    Ok(replayed)
}

struct Run<'a> {
    merge: Merge,
    offsets: &'a Offsets,
    out: Vec<Observation>,
    batch: &'a mut dyn FnMut(&mut Vec<Observation>),
}

impl Run<'_> {
    /// Takes a chunk of the merger's item `at` and gives out what is ripe.
    fn take(&mut self, at: usize, mut chunk: Vec<Observation>, ended: bool) {
        chunk.retain_mut(|observation| {
            let shown = matches!(observation.event, Event::Dns(_) | Event::Diagnostic(_) | Event::Loss(_));
            if shown && observation.at.interval().is_some() {
                self.offsets.apply(observation);
                return true;
            }
            false
        });
        self.merge.push(at, chunk);
        if ended {
            self.merge.end(at);
        }
        self.merge.release(&mut self.out);
        self.flush(BATCH);
    }

    fn flush(&mut self, at_least: usize) {
        if self.out.len() >= at_least.max(1) {
            (self.batch)(&mut self.out);
            self.out.clear();
        }
    }
}

fn direct(mut pumps: Vec<Pump>, run: &mut Run<'_>) -> Result<Vec<Tally>, EngineError> {
    let mut changes = Vec::new();
    while let Some(at) = run.merge.wants() {
        let mut chunk = Vec::new();
        let more = pumps[at].chunk(&mut chunk, &mut changes)?;
        run.take(at, chunk, !more);
    }
    Ok(pumps.into_iter().map(|pump| pump.tally).collect())
}

/// One chunk of an item, decoded: whether more may follow.
type Chunk = Result<(Vec<Observation>, bool), EngineError>;

/// A worker decodes some chunks ahead for each item; which chunk is taken next depends on the data alone.
fn threaded(mut pumps: Vec<Pump>, run: &mut Run<'_>) -> Result<Vec<Tally>, EngineError> {
    let items = pumps.len();
    // Many items share the room for chunks decoded ahead.
    let ahead = (CHUNKS_AHEAD / items.max(1)).clamp(1, ITEM_AHEAD);
    std::thread::scope(|scope| {
        let (ask, asked) = mpsc::channel::<usize>();
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..items).map(|_| mpsc::channel::<Chunk>()).unzip();
        let worker = std::thread::Builder::new().name("decode".to_owned()).spawn_scoped(scope, move || {
            let mut changes = Vec::new();
            while let Ok(at) = asked.recv() {
                let mut chunk = Vec::new();
                let done = pumps[at].chunk(&mut chunk, &mut changes).map(|more| (chunk, more));
                if senders[at].send(done).is_err() {
                    break;
                }
            }
            pumps.into_iter().map(|pump| pump.tally).collect::<Vec<_>>()
        });
        let worker = worker.map_err(|_| EngineError::Worker)?;
        // A send fails only after the worker has ended, and then its receiver fails too.
        (0..ahead).for_each(|_| {
            (0..items).for_each(|at| {
                let _ = ask.send(at);
            })
        });
        while let Some(at) = run.merge.wants() {
            let Ok(chunk) = receivers[at].recv() else { break };
            let (chunk, more) = chunk?;
            if more {
                let _ = ask.send(at);
            }
            run.take(at, chunk, !more);
        }
        drop(ask);
        worker.join().map_err(|_| EngineError::Worker)
    })
}

fn untimed(
    reader: &Reader,
    plan: &Plan,
    index: usize,
    decoding: &Decoding,
    run: &mut Run<'_>,
) -> Result<(), EngineError> {
    let mut pump = decoding.pump(reader, plan, index)?;
    let (mut chunk, mut changes) = (Vec::new(), Vec::new());
    while pump.chunk(&mut chunk, &mut changes)? {
        run.out.extend(chunk.drain(..).filter(|observation| {
            observation.at.interval().is_none()
                && matches!(observation.event, Event::Dns(_) | Event::Diagnostic(_))
        }));
        run.flush(BATCH);
    }
    Ok(())
}
