//! The decoder of dumps. Enters: objects, list items, list heads and tails; leaves: `Listed` changes.

use std::sync::Arc;

use serde_json::Value;
use truename_model::object::ChangeSource;
use truename_model::time::SECOND;
use truename_model::{
    ChangeKind, ClockBasis, ClusterChange, Decoded, Interval, Meta, Nanos, Object, ObservedAt, RecordRef,
};

use super::fields::{instant, list, text_ref};
use super::object::{Skipped, last_written, object};
use super::text::{Syntax, Unreadable, bare, json, yaml};
use crate::decoder::{DecodeContext, Decoder};

/// Decodes objects of dumps; remembers what the head of the list says of its items.
#[derive(Debug)]
pub struct Objects {
    context: DecodeContext,
    syntax: Syntax,
    list: ListHead,
}

/// What a list says of its items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListHead {
    /// Kind of the items (`Pod` of a `PodList`).
    pub kind: Option<String>,
    /// `apiVersion`.
    pub api_version: Option<String>,
    /// When the list was received, if the recording says so.
    pub received: Option<Nanos>,
}

impl ListHead {
    /// Reads the members of a list other than its items.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        let kind = text_ref(value, &["kind"]).and_then(|kind| kind.strip_suffix("List"));
        Self {
            kind: kind.filter(|kind| !kind.is_empty()).map(str::to_owned),
            api_version: text_ref(value, &["apiVersion"]).map(str::to_owned),
            received: instant(value, &["received"]),
        }
    }
}

/// A head (`{… "items":[`), a tail (`], …}`) or neither.
enum Part {
    Head,
    Tail,
    Value,
}

impl Objects {
    /// A decoder for one item.
    #[must_use]
    pub fn new(syntax: Syntax, context: DecodeContext) -> Self {
        Self { context, syntax, list: ListHead::default() }
    }

    fn json(&mut self, ordinal: u64, bytes: &[u8], out: &mut Vec<Decoded>) {
        let (text, _) = bare(bytes);
        let value = match part(text) {
            Part::Head => json(&[text, b"]}"].concat()).or_else(|_| json(&[text, b"]"].concat())),
            Part::Tail => json(&[b"{\"items\":[", text].concat()).or_else(|_| json(&[b"[", text].concat())),
            Part::Value => json(bytes),
        };
        match value {
            Ok(value) => self.value(ordinal, &value, matches!(part(text), Part::Head), out),
            Err(error) => out.push(self.unreadable(ordinal, error)),
        }
    }

    fn value(&mut self, ordinal: u64, value: &Value, is_head: bool, out: &mut Vec<Decoded>) {
        let before = out.len();
        // The head of a YAML list ends with `items:`, which reads as null.
        let is_head = is_head || value.get("items").is_some_and(Value::is_null);
        if is_head {
            self.list = ListHead::of(value);
        }
        match value {
            Value::Array(items) => items.iter().for_each(|item| out.push(self.one(ordinal, item))),
            Value::Object(fields) if is_list(value) || fields.contains_key("items") => {
                // Whole lists come here only as one record: from YAML without line structure, or damaged dumps.
                let head = ListHead::of(value);
                let outer = std::mem::replace(&mut self.list, head);
                list(value, &["items"]).for_each(|item| out.push(self.one(ordinal, item)));
                if !is_head && out.len() == before {
                    self.list = outer;
                }
            }
            Value::Object(_) => out.push(self.one(ordinal, value)),
            Value::Null => {}
            _ => out.push(self.context.undecodable(ordinal, "not an object", 0)),
        }
        if out.len() == before {
            out.push(self.context.ignored(ordinal, "the frame of a list"));
        }
    }

    fn one(&self, ordinal: u64, value: &Value) -> Decoded {
        let received = instant(value, &["received"]).or(self.list.received);
        match object(value, self.list.kind.as_deref(), self.list.api_version.as_deref()) {
            Ok((meta, object)) => Decoded::Change(Box::new(listed(
                &self.context,
                ordinal,
                ChangeSource::Snapshot,
                (meta, object),
                last_written(value),
                received,
            ))),
            Err(skipped) => skip(&self.context, ordinal, skipped),
        }
    }

    fn unreadable(&self, ordinal: u64, error: Unreadable) -> Decoded {
        self.context.undecodable(ordinal, error.reason, error.offset)
    }
}

impl Decoder for Objects {
    fn decode(&mut self, ordinal: u64, bytes: &[u8], out: &mut Vec<Decoded>) {
        if bare(bytes).0.is_empty() {
            out.push(self.context.ignored(ordinal, "blank"));
            return;
        }
        match self.syntax {
            Syntax::Json => self.json(ordinal, bytes, out),
            Syntax::Yaml => match yaml(bytes) {
                Ok(value) => self.value(ordinal, &value, false, out),
                Err(error) => out.push(self.unreadable(ordinal, error)),
            },
        }
    }

    fn finish(&mut self, _out: &mut Vec<Decoded>) {}
}

fn part(text: &[u8]) -> Part {
    match text {
        [b']', ..] => Part::Tail,
        [.., b'['] => Part::Head,
        _ => Part::Value,
    }
}

fn is_list(value: &Value) -> bool {
    text_ref(value, &["kind"]).is_some_and(|kind| kind == "List" || kind.ends_with("List"))
}

/// What a skipped object leaves.
#[must_use]
pub fn skip(context: &DecodeContext, ordinal: u64, skipped: Skipped) -> Decoded {
    match skipped {
        Skipped::Secret => context.ignored(ordinal, "a secret, not decoded"),
        Skipped::Irrelevant => context.ignored(ordinal, "an object kind that says nothing of DNS"),
        Skipped::NoKind => context.undecodable(ordinal, "an object without kind", 0),
        Skipped::NoName => context.undecodable(ordinal, "an object without name", 0),
    }
}

/// The second that a whole-second time names: the instant lies in it.
#[must_use]
pub fn second(instant: Nanos) -> Interval {
    Interval { lo: instant, hi: instant.plus(SECOND - 1) }
}

/// An object as a list shows it. Its state began with its last write, where the object tells it; nothing is said of
/// before.
#[must_use]
pub fn listed(
    context: &DecodeContext,
    ordinal: u64,
    source: ChangeSource,
    (meta, object): (Meta, Object),
    written: Option<Nanos>,
    received: Option<Nanos>,
) -> ClusterChange {
    let at = written.map_or(ObservedAt::None, |at| ObservedAt::Known(second(at), ClockBasis::ObjectField));
    ClusterChange {
        record: RecordRef { item: context.item, ordinal },
        origin: context.origin,
        kind: ChangeKind::Listed,
        source,
        meta: Arc::new(meta),
        object: Arc::new(object),
        at,
        seen_at: received.map(Interval::at),
        actor: None,
    }
}
