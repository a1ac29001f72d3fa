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

/// What a JSON record is to the list around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `{… "items":[` or `[`.
    Head,
    /// `], …}` or `]`.
    Tail,
    /// An item, or a value by itself.
    Value,
}

/// Reads a JSON record; the head or tail of a list is read as the list without its items.
///
/// # Errors
/// [`Unreadable`] names the offset.
pub fn read_part(bytes: &[u8]) -> Result<(Part, Value), Unreadable> {
    let (text, _) = bare(bytes);
    match text {
        [b']', ..] => {
            let whole = json(&[b"{\"items\":[", text].concat()).or_else(|_| json(&[b"[", text].concat()))?;
            Ok((Part::Tail, whole))
        }
        [.., b'['] => {
            let whole = json(&[text, b"]}"].concat()).or_else(|_| json(&[text, b"]"].concat()))?;
            Ok((Part::Head, whole))
        }
        _ => json(bytes).map(|value| (Part::Value, value)),
    }
}

impl Objects {
    /// A decoder for one item.
    #[must_use]
    pub fn new(syntax: Syntax, context: DecodeContext) -> Self {
        Self { context, syntax, list: ListHead::default() }
    }

    fn json(&mut self, ordinal: u64, bytes: &[u8], out: &mut Vec<Decoded>) {
        match read_part(bytes) {
            Ok((part, value)) => self.value(ordinal, &value, part, out),
            Err(error) => out.push(self.unreadable(ordinal, error)),
        }
    }

    fn value(&mut self, ordinal: u64, value: &Value, part: Part, out: &mut Vec<Decoded>) {
        let before = out.len();
        // The head of a YAML list ends with `items:`, which reads as null.
        if part == Part::Head || value.get("items").is_some_and(Value::is_null) {
            self.list = ListHead::of(value);
        } else if part == Part::Tail || (is_list(value) && value.get("items").is_none()) {
            self.list = ListHead::default();
        } else {
            self.objects(ordinal, value, out);
        }
        if out.len() == before {
            out.push(self.context.ignored(ordinal, "the frame of a list"));
        }
    }

    fn objects(&mut self, ordinal: u64, value: &Value, out: &mut Vec<Decoded>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| out.push(self.one(ordinal, item))),
            // Whole lists come here as one record only from YAML in flow style and from damaged dumps.
            Value::Object(fields) if fields.contains_key("items") => {
                let outer = std::mem::replace(&mut self.list, ListHead::of(value));
                list(value, &["items"]).for_each(|item| out.push(self.one(ordinal, item)));
                self.list = outer;
            }
            Value::Object(_) => out.push(self.one(ordinal, value)),
            Value::Null => {}
            _ => out.push(self.context.undecodable(ordinal, "not an object", 0)),
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
                Ok(value) => self.value(ordinal, &value, Part::Value, out),
                Err(error) => out.push(self.unreadable(ordinal, error)),
            },
        }
    }

    fn finish(&mut self, _out: &mut Vec<Decoded>) {}
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
