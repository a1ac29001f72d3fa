//! JSON objects that carry a line: docker's json-file, journald's export, stern, log collectors. Enters: the text of one
//! object; leaves: the line in it, and what the object tells of time and pod.
//!
//! Members are known by their names, whatever their order and whatever else is there. Deliberately absent: CoreDNS's own
//! JSON mode, which is a message and no envelope.

use std::borrow::Cow;
use std::fmt;

use memchr::memmem;
use serde::Deserialize;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use truename_model::time::SECOND;
use truename_model::{ClockBasis, Interval, Nanos, ObservedAt};

use super::wrap::{Unwrapped, Wrapper};

/// Octets in which the level of CoreDNS's JSON mode stands.
const LEVEL_WITHIN: usize = 80;

/// A value of any type, as far as it may carry a line, a name or a time.
#[derive(Clone, Debug, Default)]
enum Value<'a> {
    #[default]
    None,
    Text(Cow<'a, str>),
    Octets(Vec<u8>),
    Integer(i64),
    Float(f64),
    /// An object, written as JSON again.
    Object(String),
}

impl<'de: 'a, 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Value::None, Value::Integer))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Value::None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Value::None)
    }

    /// journald writes what is no printable UTF-8 as an array of octets.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let (mut octets, mut all) = (Vec::new(), true);
        while let Some(value) = seq.next_element::<Value<'de>>()? {
            match value {
                Value::Integer(octet @ 0..=255) => octets.push(octet as u8),
                _ => all = false,
            }
        }
        Ok(if all { Value::Octets(octets) } else { Value::None })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let object = serde_json::Map::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(serde_json::to_string(&object).map_or(Value::None, Value::Object))
    }
}

impl<'a> Value<'a> {
    fn line(self) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Text(Cow::Borrowed(text)) => Some(Cow::Borrowed(text.as_bytes())),
            Self::Text(Cow::Owned(text)) => Some(Cow::Owned(text.into_bytes())),
            Self::Octets(octets) => Some(Cow::Owned(octets)),
            Self::Object(text) => Some(Cow::Owned(text.into_bytes())),
            Self::None | Self::Integer(_) | Self::Float(_) => None,
        }
    }

    fn name(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    fn is_there(&self) -> bool {
        !matches!(self, Self::None)
    }

    fn at(&self, basis: ClockBasis) -> Option<ObservedAt> {
        let (at, width) = match self {
            Self::Text(text) if text.bytes().all(|octet| octet.is_ascii_digit()) => {
                count(text.parse().ok()?)?
            }
            Self::Text(text) => {
                let width = if text.contains('.') { 0 } else { SECOND - 1 };
                (Nanos::parse_rfc3339(text.as_bytes())?, width)
            }
            Self::Integer(value) => count(*value)?,
            // A double holds today's seconds to a quarter of a microsecond.
            Self::Float(secs) if (0.0..9e9).contains(secs) => (Nanos((secs * 1e9) as i64).plus(-500), 1_000),
            _ => return None,
        };
        Some(ObservedAt::Known(Interval { lo: at, hi: at.plus(width) }, basis))
    }
}

/// A count since 1970 of seconds, milli-, micro- or nanoseconds, told by its size; with what it leaves open.
fn count(value: i64) -> Option<(Nanos, i64)> {
    let unit = match value {
        0..100_000_000_000 => SECOND,
        100_000_000_000..100_000_000_000_000 => SECOND / 1_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000,
        100_000_000_000_000_000.. => 1,
        _ => return None,
    };
    // Below a second the clock's own grain is far under the skew that is allowed for anyway.
    Some((Nanos(value.checked_mul(unit)?), if unit == SECOND { SECOND - 1 } else { 0 }))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Named<'a> {
    #[serde(borrow)]
    name: Value<'a>,
}

/// `kubernetes` as fluent-bit, fluentd and vector (`pod_name`) or filebeat (`pod.name`) write it.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Kubernetes<'a> {
    #[serde(borrow)]
    pod_name: Value<'a>,
    #[serde(borrow)]
    pod: Named<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Envelope<'a> {
    // The line.
    #[serde(borrow)]
    log: Value<'a>,
    #[serde(borrow)]
    message: Value<'a>,
    #[serde(borrow, rename = "MESSAGE")]
    journal: Value<'a>,
    // The stream, and whether the line goes on.
    #[serde(borrow)]
    stream: Value<'a>,
    #[serde(borrow)]
    logtag: Value<'a>,
    // Times.
    #[serde(borrow)]
    time: Value<'a>,
    #[serde(borrow)]
    timestamp: Value<'a>,
    #[serde(borrow, rename = "@timestamp")]
    at_timestamp: Value<'a>,
    #[serde(borrow)]
    date: Value<'a>,
    #[serde(borrow, rename = "__REALTIME_TIMESTAMP")]
    journal_time: Value<'a>,
    // The pod.
    #[serde(borrow)]
    kubernetes: Option<Kubernetes<'a>>,
    #[serde(borrow, rename = "podName")]
    pod_name: Value<'a>,
    #[serde(borrow)]
    pod: Value<'a>,
    #[serde(borrow, rename = "CONTAINER_NAME")]
    journal_container: Value<'a>,
}

/// Takes an envelope off; `None` for any other JSON.
pub(super) fn open<'a>(rest: &'a [u8], out: &mut Unwrapped<'a>) -> Option<Cow<'a, [u8]>> {
    let head = &rest[..rest.len().min(LEVEL_WITHIN)];
    if rest.starts_with(b"{\"time\":\"") && memmem::find(head, b"\",\"level\":\"").is_some() {
        return None;
    }
    let Ok(envelope) = serde_json::from_slice::<Envelope<'a>>(rest) else { return uncoloured(rest) };
    envelope.open(out)
}

/// An object printed with colours is JSON only without them.
fn uncoloured(rest: &[u8]) -> Option<Cow<'_, [u8]>> {
    memmem::find(rest, b"\x1b[")?;
    super::wrap::plain(rest, b"\x1b[")
}

impl<'a> Envelope<'a> {
    /// What wrote it.
    fn wrapper(&self) -> Wrapper {
        let collected = self.kubernetes.is_some()
            || [&self.date, &self.timestamp, &self.at_timestamp, &self.logtag]
                .iter()
                .any(|value| value.is_there());
        if self.journal.is_there() {
            Wrapper::Journal
        } else if !collected && self.log.is_there() {
            Wrapper::DockerJson
        } else if !collected && (self.pod_name.is_there() || self.pod.is_there()) {
            Wrapper::Stern
        } else {
            Wrapper::Collector
        }
    }

    /// The runtime's time where the object keeps it, else that of the collector or the journal.
    fn at(&self) -> Option<ObservedAt> {
        let collected = [&self.timestamp, &self.at_timestamp, &self.date, &self.journal_time];
        self.time
            .at(ClockBasis::ContainerRuntime)
            .or_else(|| collected.iter().find_map(|value| value.at(ClockBasis::Journal)))
    }

    fn open(self, out: &mut Unwrapped<'a>) -> Option<Cow<'a, [u8]>> {
        let (wrapper, at) = (self.wrapper(), self.at());
        let lines = [self.log, self.message, self.journal];
        // Filebeat's `log` is an object beside the line, stern's `message` may be the line as an object.
        let is_line = |value: &Value<'_>| matches!(value, Value::Text(_) | Value::Octets(_));
        let found = lines.iter().position(is_line).or_else(|| lines.iter().position(Value::is_there))?;
        let line = lines.into_iter().nth(found)?.line()?;
        let kubernetes = self.kubernetes.unwrap_or_default();
        let journal_pod = self.journal_container.name().and_then(kubelet_pod);
        let pods = [kubernetes.pod_name, kubernetes.pod.name, self.pod_name, self.pod];
        let pod = pods.into_iter().find_map(Value::name).or(journal_pod);
        if let Some(pod) = pod {
            out.pod = Some(match pod {
                Cow::Borrowed(pod) => Cow::Borrowed(pod.as_bytes()),
                Cow::Owned(pod) => Cow::Owned(pod.into_bytes()),
            });
        }
        out.stderr |= matches!(&self.stream, Value::Text(stream) if stream == "stderr");
        // Docker cuts at 16 KiB: without its newline the message goes on in the next line. A collector says it as CRI does.
        out.partial |= (wrapper == Wrapper::DockerJson && !line.ends_with(b"\n"))
            || matches!(&self.logtag, Value::Text(tag) if tag == "P");
        if let Some(at) = at {
            out.given(at);
        }
        out.wrapping.push(wrapper);
        Some(without_newline(line))
    }
}

/// The pod in docker's name of a kubelet's container: `k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT`.
fn kubelet_pod(name: Cow<'_, str>) -> Option<Cow<'_, str>> {
    let pod = name.strip_prefix("k8s_")?.split('_').nth(1)?;
    Some(Cow::Owned(pod.to_owned()))
}

fn without_newline(text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let kept = text.strip_suffix(b"\n").map(|text| text.strip_suffix(b"\r").unwrap_or(text).len());
    match (text, kept) {
        (Cow::Borrowed(text), Some(len)) => Cow::Borrowed(&text[..len]),
        (Cow::Owned(mut text), Some(len)) => {
            text.truncate(len);
            Cow::Owned(text)
        }
        (text, None) => text,
    }
}
