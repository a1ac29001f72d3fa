//! Watch streams of the API. Enters: `{"type":…,"object":…}` records, with `received` beside them or around them
//! (`{"received":…,"event":{…}}`) where the recording tells it; leaves: changes and losses.
//!
//! A watch event has no time of its own. When the state began is taken from the object's own time fields (whole
//! seconds of the API server's clock) and bounded by the time of receipt. The events that list what exists already
//! look like creations: they are `Listed` until the stream shows that it is live for their kind.
//! Deliberately absent: the state of objects.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use truename_model::object::ChangeSource;
use truename_model::time::SECOND;
use truename_model::{
    ChangeKind, ClockBasis, ClusterChange, Decoded, Event, Interval, Meta, Nanos, Object, ObservedAt,
    RecordRef,
};

use crate::decoder::{DecodeContext, Decoder};
use crate::kube::decoder::{ListHead, Part, listed, read_part, second, skip};
use crate::kube::fields::{at, instant, list, text_ref};
use crate::kube::object::{Skipped, last_written, object};
use crate::kube::text::bare;

/// Slack for events under way while the record before was received, nanoseconds.
const UNDER_WAY: i64 = SECOND;
/// A creation received later than this after `creationTimestamp` was listed, not created, nanoseconds.
const LATE: i64 = 10 * SECOND;
/// How long a deletion may lie after the last known time of the stream, where nothing else bounds it, nanoseconds.
const DELETION_REACH: i64 = 60 * SECOND;
/// Kinds remembered as live.
const KINDS_MAX: usize = 256;

/// Decodes the records of one watch recording, in order.
#[derive(Debug)]
pub struct Watch {
    context: DecodeContext,
    /// Kinds for which the initial list has ended.
    live: BTreeSet<String>,
    /// When the record before was received.
    received: Option<Nanos>,
    /// The latest time in any object so far, API server clock.
    latest: Option<Nanos>,
    /// What the head of the open list says of its items.
    list: ListHead,
}

impl Watch {
    /// A decoder for one item.
    #[must_use]
    pub fn new(context: DecodeContext) -> Self {
        Self { context, live: BTreeSet::new(), received: None, latest: None, list: ListHead::default() }
    }

    fn record(&mut self, ordinal: u64, value: &Value, out: &mut Vec<Decoded>) {
        let event = at(value, &["event"]).filter(|inner| inner.is_object()).unwrap_or(value);
        let received = instant(value, &["received"]).or_else(|| instant(event, &["received"]));
        let object = at(event, &["object"]);
        match (text_ref(event, &["type"]), object) {
            (Some("BOOKMARK"), Some(object)) => {
                self.mark_live(text_ref(object, &["kind"]).unwrap_or_default());
                // Its time shows that the watch still ran: nothing changed unseen until then.
                let alive = |at| ObservedAt::Known(Interval::at(at), ClockBasis::Snapshot);
                let at = received.map_or(ObservedAt::None, alive);
                out.push(self.context.observation(ordinal, at, Event::Ignored("a bookmark of the watch")));
            }
            (Some("ERROR"), object) => out.push(self.error(ordinal, object, received)),
            (Some(word @ ("ADDED" | "MODIFIED" | "DELETED")), Some(object)) => {
                out.push(self.change(ordinal, word, object, received));
            }
            (Some(_), _) => out.push(self.context.undecodable(ordinal, "a watch event of no known type", 0)),
            (None, _) => {
                self.snapshot(ordinal, object.unwrap_or(event), received.or(self.list.received), out)
            }
        }
        self.received = received.or(self.received);
    }

    fn mark_live(&mut self, kind: &str) {
        if self.live.len() < KINDS_MAX {
            self.live.insert(kind.to_owned());
        }
    }

    /// A gone resource version (410) means that changes were missed and a new list follows.
    fn error(&mut self, ordinal: u64, status: Option<&Value>, received: Option<Nanos>) -> Decoded {
        let code = status.and_then(|status| at(status, &["code"])).and_then(Value::as_i64);
        let message = status.and_then(|status| text_ref(status, &["message"])).unwrap_or("no message");
        self.live.clear();
        let at = received.map_or(ObservedAt::OrderOnly, |at| {
            ObservedAt::Known(Interval::between(self.received.unwrap_or(at), at), ClockBasis::Snapshot)
        });
        let cause = if code == Some(410) { "watch-expired" } else { "watch-error" };
        let code = code.map_or_else(|| "no code".to_owned(), |code| code.to_string());
        self.context.loss(
            ordinal,
            at,
            cause,
            None,
            format!("the watch ended with an error ({code}): {message}"),
        )
    }

    /// A list or an object without an event around it: what existed when it was read.
    fn snapshot(&mut self, ordinal: u64, value: &Value, received: Option<Nanos>, out: &mut Vec<Decoded>) {
        let is_list = at(value, &["items"]).is_some_and(Value::is_array);
        let head = if is_list { ListHead::of(value) } else { self.list.clone() };
        let items: Vec<&Value> = if is_list { list(value, &["items"]).collect() } else { vec![value] };
        let before = out.len();
        for item in items {
            out.push(match object(item, head.kind.as_deref(), head.api_version.as_deref()) {
                Ok(known) => {
                    let written = last_written(item);
                    self.latest = self.latest.max(written).max(known.0.created);
                    let change =
                        listed(&self.context, ordinal, ChangeSource::Watch, known, written, received);
                    Decoded::Change(Box::new(change))
                }
                Err(skipped) => self.skip(ordinal, skipped),
            });
        }
        if out.len() == before {
            out.push(self.context.ignored(ordinal, "an empty list"));
        }
    }

    fn skip(&self, ordinal: u64, skipped: Skipped) -> Decoded {
        skip(&self.context, ordinal, skipped)
    }

    fn change(&mut self, ordinal: u64, word: &str, value: &Value, received: Option<Nanos>) -> Decoded {
        let (meta, object) = match object(value, None, None) {
            Ok(known) => known,
            Err(skipped) => return self.skip(ordinal, skipped),
        };
        let kind_name = object.kind().to_owned();
        if word != "ADDED" {
            self.mark_live(&kind_name);
        }
        let written = last_written(value);
        let is_live = self.live.contains(&kind_name);
        let (kind, at) = match word {
            "ADDED" if is_live && is_creation(&meta, written, received) => {
                (ChangeKind::Created, self.created(&meta, received))
            }
            "ADDED" => {
                self.note(&meta, written);
                let change =
                    listed(&self.context, ordinal, ChangeSource::Watch, (meta, object), written, received);
                return Decoded::Change(Box::new(change));
            }
            "MODIFIED" => (ChangeKind::Updated, self.updated(&meta, written, received)),
            _ => (ChangeKind::Deleted, self.deleted(&meta, value, received)),
        };
        self.note(&meta, written);
        self.finished(ordinal, kind, (meta, object), at, received)
    }

    fn note(&mut self, meta: &Meta, written: Option<Nanos>) {
        self.latest = self.latest.max(written).max(meta.created);
    }

    fn finished(
        &self,
        ordinal: u64,
        kind: ChangeKind,
        (meta, object): (Meta, Object),
        at: ObservedAt,
        received: Option<Nanos>,
    ) -> Decoded {
        Decoded::Change(Box::new(ClusterChange {
            record: RecordRef { item: self.context.item, ordinal },
            origin: self.context.origin,
            kind,
            source: ChangeSource::Watch,
            meta: Arc::new(meta),
            object: Arc::new(object),
            at,
            seen_at: received.map(Interval::at),
            actor: None,
        }))
    }

    fn created(&self, meta: &Meta, received: Option<Nanos>) -> ObservedAt {
        match meta.created {
            Some(created) => field_time(created, received),
            None => self.between_records(None, received),
        }
    }

    fn updated(&self, meta: &Meta, written: Option<Nanos>, received: Option<Nanos>) -> ObservedAt {
        match written {
            Some(written) => field_time(written, received),
            None => self.between_records(meta.created, received),
        }
    }

    /// `deletionTimestamp` less its grace is when the deletion was asked for: a lower bound of the removal.
    fn deleted(&self, meta: &Meta, value: &Value, received: Option<Nanos>) -> ObservedAt {
        let grace =
            at(value, &["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64).unwrap_or(0);
        let asked = meta.deleting.map(|at| at.plus(-grace.clamp(0, 86_400).saturating_mul(SECOND)));
        if received.is_some() {
            return self.between_records(asked.or(meta.created), received);
        }
        // The stream is in order: the removal is not before what it showed already.
        match asked.max(self.latest) {
            Some(lo) => {
                let reach = Interval { lo, hi: lo.plus(DELETION_REACH) };
                ObservedAt::Known(reach, ClockBasis::Inferred)
            }
            None => ObservedAt::OrderOnly,
        }
    }

    /// Between the record before (or a later `floor`) and this one, by the recorder's clock.
    fn between_records(&self, floor: Option<Nanos>, received: Option<Nanos>) -> ObservedAt {
        let Some(received) = received else { return ObservedAt::OrderOnly };
        let before = self.received.map(|at| at.plus(-UNDER_WAY));
        match before.max(floor) {
            Some(lo) => {
                ObservedAt::Known(Interval { lo: lo.min(received), hi: received }, ClockBasis::Snapshot)
            }
            None => ObservedAt::OrderOnly,
        }
    }
}

/// True if the object can only be as its creation left it: the latest write is the creation, and it came at once.
fn is_creation(meta: &Meta, written: Option<Nanos>, received: Option<Nanos>) -> bool {
    let Some(created) = meta.created else { return true };
    let unwritten = written.is_none_or(|written| written <= created);
    let at_once = received.is_none_or(|received| received.since(created) <= LATE);
    unwritten && at_once
}

/// A time field names the second in which the server began the write; it was over when the event was received. Writes that
/// `managedFields` does not track (bindings) come later than it says, so that only receipt bounds them from above.
fn field_time(field: Nanos, received: Option<Nanos>) -> ObservedAt {
    let mut interval = second(field);
    if let Some(received) = received.filter(|received| *received >= field) {
        interval.hi = received;
    }
    ObservedAt::Known(interval, ClockBasis::ObjectField)
}

impl Decoder for Watch {
    fn decode(&mut self, ordinal: u64, bytes: &[u8], out: &mut Vec<Decoded>) {
        if bare(bytes).0.is_empty() {
            out.push(self.context.ignored(ordinal, "blank"));
            return;
        }
        match read_part(bytes) {
            Ok((Part::Value, value)) => self.record(ordinal, &value, out),
            Ok((part, value)) => {
                self.list = if part == Part::Head { ListHead::of(&value) } else { ListHead::default() };
                out.push(self.context.ignored(ordinal, "the frame of a list"));
            }
            Err(error) => out.push(self.context.undecodable(ordinal, error.reason, error.offset)),
        }
    }

    fn finish(&mut self, _out: &mut Vec<Decoded>) {}
}

#[cfg(test)]
mod tests;
