//! CoreDNS's log lines in every dialect and wrapping. Enters: lines; leaves: observations.
//!
//! A query line is one lookup seen at response time: `at` is the line's time, `query_time` lies the printed duration
//! before it. What a line does not show stays absent. Deliberately absent: answers, which no line holds.

mod bodies;
mod diag;
mod envelope;
mod json;
mod pretty;
mod stamp;
mod wrap;

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use truename_model::observation::DnsEvent;
use truename_model::{
    ClockBasis, Decoded, Diagnostic, Endpoint, Event, Flags, Hints, Interval, Nanos, ObservedAt, Rcode,
    Transport, Vantage,
};

use crate::decoder::{CacheStats, CacheUse, DecodeContext, Decoder};
use crate::lines::trimmed;
use crate::logformat::{self, Cursor, Fields, Outcome};
use json::JsonLine;
use pretty::{Fed, Pretty};
use stamp::Stamps;
use wrap::Unwrapped;

pub use crate::logformat::{LogFormat, LogFormatError};
use bodies::Asked;
pub(crate) use bodies::TextCache;
pub use wrap::{Wrapper, Wrapping};

/// Longest line joined from partial ones, octets.
const LONGEST_JOINED: usize = 1 << 20;
/// Lines in parts at a time: streams of pods that one file mixes.
const PARTIALS_MAX: usize = 16;

/// How the lines of a file look: for people only, since every line is unwrapped by what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dialect {
    /// The layers around most lines.
    pub wrapping: Wrapping,
    /// JSON mode of CoreDNS ≥ 1.15.
    pub json: bool,
}

impl Dialect {
    /// In words: `CoreDNS log (CRI)`.
    #[must_use]
    pub fn phrase(self) -> String {
        let json = if self.json { ", JSON" } else { "" };
        format!("CoreDNS log ({}{json})", self.wrapping)
    }
}

/// What one line says for recognition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    None,
    Weak,
    Text,
    Json,
}

/// Detects a CoreDNS log from the head of a text: one line that only CoreDNS writes, or mostly lines that look so.
#[must_use]
pub fn detect(head: &[u8]) -> Option<Dialect> {
    let (mut stamps, mut pretty) = (Stamps::default(), Pretty::default());
    let mut seen = Signs::default();
    for line in head.split(|&octet| octet == b'\n').filter(|line| !line.is_empty()).take(DETECT_LINES) {
        let line = trimmed(line);
        if pretty.wants(line) {
            match pretty.feed(0, line) {
                Fed::Held => continue,
                Fed::Whole(text, _) => {
                    seen.note(&wrap::unwrap(&text, &mut stamps));
                    continue;
                }
                Fed::Broken(_) => {}
            }
        }
        seen.note(&wrap::unwrap(line, &mut stamps));
    }
    seen.verdict()
}

/// What the layers of a line leave, or `None` where it has none.
#[must_use]
pub(crate) fn innermost(line: &[u8]) -> Option<Cow<'_, [u8]>> {
    let line = trimmed(line);
    let unwrapped = wrap::unwrap(line, &mut Stamps::default());
    (unwrapped.text.len() < line.len()).then_some(unwrapped.text)
}

/// Lines that detection looks at.
const DETECT_LINES: usize = 400;

/// What the innermost texts of many lines say.
#[derive(Default)]
struct Signs {
    wrappings: std::collections::BTreeMap<Wrapping, u32>,
    strong: u32,
    weak: u32,
    other: u32,
    json: bool,
}

impl Signs {
    fn note(&mut self, line: &Unwrapped<'_>) {
        let sign = sign(line);
        match sign {
            Sign::Text | Sign::Json => self.strong += 1,
            Sign::Weak => self.weak += 1,
            Sign::None => self.other += 1,
        }
        self.json |= sign == Sign::Json;
        if sign != Sign::None {
            *self.wrappings.entry(line.wrapping).or_insert(0) += 1;
        }
    }

    fn verdict(self) -> Option<Dialect> {
        if self.strong == 0 && self.weak <= self.other {
            return None;
        }
        let wrapping =
            self.wrappings.into_iter().max_by_key(|(_, count)| *count).map(|(wrapping, _)| wrapping)?;
        Some(Dialect { wrapping, json: self.json })
    }
}

fn sign(line: &Unwrapped<'_>) -> Sign {
    if line.text.first() == Some(&b'{') {
        let ours = JsonLine::read(&line.text)
            .is_some_and(|json| !json.plugin.is_empty() || json.msg.starts_with("CoreDNS-"));
        return if ours { Sign::Json } else { Sign::None };
    }
    let (level, text) = level(without_process(&line.text));
    let is_query = logformat::common(&mut Cursor { rest: text }).is_some();
    let plugin = level.is_some() && text.starts_with(b"plugin/");
    if is_query || plugin || text.starts_with(b"CoreDNS-") {
        return Sign::Text;
    }
    let names =
        |token: &[u8]| token.ends_with(b".") && token.iter().filter(|&&octet| octet == b'.').count() > 1;
    let tokens = text.split(|octet| matches!(octet, b' ' | b'"' | b'|' | b','));
    if level.is_some() && tokens.into_iter().any(names) { Sign::Weak } else { Sign::None }
}

/// NodeLocal's process name in front of the level (coredns#4066).
fn without_process(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"node-cache ").unwrap_or(text)
}

/// Takes `[LEVEL] ` off.
fn level(text: &[u8]) -> (Option<&[u8]>, &[u8]) {
    const LEVELS: [&[u8]; 6] = [b"[INFO] ", b"[ERROR] ", b"[WARNING] ", b"[DEBUG] ", b"[FATAL] ", b"[WARN] "];
    for level in LEVELS {
        if let Some(rest) = text.strip_prefix(level) {
            return (Some(&level[1..level.len() - 2]), rest);
        }
    }
    (None, text)
}

/// Why a line that looks like a lookup is undecodable: its format stands in a Corefile that is not in the evidence.
pub const NO_FORMAT: &str = "a lookup in no known log format";

/// True for a message that is built like a `log` line of some format: it is one name, or it has at least two of a name
/// with its final dot, an address, a return code and a type.
fn looks_like_a_lookup(body: &[u8]) -> bool {
    if body.starts_with(b"plugin/") {
        return false;
    }
    let parts = |octet: &u8| !octet.is_ascii_alphanumeric() && !matches!(octet, b'.' | b':' | b'-' | b'_');
    let is_name =
        |token: &[u8]| token.len() > 2 && token.ends_with(b".") && token[..token.len() - 1].contains(&b'.');
    let mut signs = [false; 4];
    for token in body.split(parts).filter(|token| !token.is_empty()) {
        let text = std::str::from_utf8(token).unwrap_or_default();
        let address = text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok();
        let rcode = matches!(text, "NOERROR" | "NXDOMAIN" | "SERVFAIL" | "REFUSED" | "FORMERR" | "NOTIMP");
        let rtype = matches!(
            text,
            "A" | "AAAA" | "PTR" | "SRV" | "TXT" | "MX" | "NS" | "SOA" | "CNAME" | "HTTPS" | "ANY"
        );
        for (sign, seen) in signs.iter_mut().zip([is_name(token), address, rcode, rtype]) {
            *sign |= seen;
        }
    }
    signs.iter().filter(|seen| **seen).count() > 1
        || is_name(body.trim_ascii()) && !body.trim_ascii().contains(&b' ')
}

/// What the wrappers of a line told.
#[derive(Clone, Copy)]
struct Around<'a> {
    ordinal: u64,
    at: ObservedAt,
    pod: Option<&'a [u8]>,
}

/// A message that goes on in a later line of the same stream of the same pod.
#[derive(Debug, Default)]
struct Partial {
    stderr: bool,
    pod: Option<Vec<u8>>,
    text: Vec<u8>,
    ordinal: u64,
    overlong: bool,
}

/// Decodes the lines of one log, given in order.
#[derive(Debug)]
pub struct LogDecoder {
    context: DecodeContext,
    stamps: Stamps,
    questions: TextCache<Asked>,
    hints: TextCache<Arc<Hints>>,
    // Standard output and standard error of each pod are cut independently.
    partials: Vec<Partial>,
    pretty: Pretty,
    key: Vec<u8>,
}

impl LogDecoder {
    /// A decoder for one item.
    #[must_use]
    pub fn new(context: DecodeContext) -> Self {
        let stamps = Stamps::new(context.zone_secs, context.year);
        let questions = TextCache::new(context.names_max);
        Self {
            context,
            stamps,
            questions,
            hints: TextCache::new(1 << 12),
            partials: Vec::new(),
            pretty: Pretty::default(),
            key: Vec::new(),
        }
    }

    /// Holds a partial message back, or joins the last part to those before it.
    fn join<'a>(
        &mut self,
        line: Unwrapped<'a>,
        ordinal: u64,
        out: &mut Vec<Decoded>,
    ) -> Option<Unwrapped<'a>> {
        if !line.partial && self.partials.is_empty() {
            return Some(line);
        }
        let same = |held: &Partial| held.stderr == line.stderr && held.pod.as_deref() == line.pod.as_deref();
        let place = match self.partials.iter().position(same) {
            Some(place) => place,
            None if !line.partial => return Some(line),
            None => {
                if self.partials.len() >= PARTIALS_MAX {
                    let held = self.partials.remove(0);
                    out.push(self.unended(&held));
                }
                let pod = line.pod.as_deref().map(<[u8]>::to_vec);
                self.partials.push(Partial { stderr: line.stderr, pod, ..Partial::default() });
                self.partials.len() - 1
            }
        };
        let held = self.partials.get_mut(place)?;
        held.ordinal = ordinal;
        if held.text.len() + line.text.len() > LONGEST_JOINED {
            held.overlong = true;
        } else {
            held.text.extend_from_slice(&line.text);
        }
        if line.partial {
            out.push(self.context.ignored(ordinal, "partial line, goes on"));
            return None;
        }
        let whole = self.partials.remove(place);
        if whole.overlong {
            let text = format!("a line of more than {LONGEST_JOINED} octets in parts was given up");
            out.push(self.context.loss(ordinal, line.at, "partial-line", Some(1), text));
            return None;
        }
        Some(Unwrapped { text: Cow::Owned(whole.text), ..line })
    }

    fn line(&mut self, ordinal: u64, line: &[u8], out: &mut Vec<Decoded>) {
        let unwrapped = wrap::unwrap(line, &mut self.stamps);
        let Some(whole) = self.join(unwrapped, ordinal, out) else { return };
        let around = Around { ordinal, at: whole.at, pod: whole.pod.as_deref() };
        self.message(&whole.text, whole.klog, around, out);
    }

    /// A line of an object that is printed over several.
    #[cold]
    fn pretty_line(&mut self, ordinal: u64, line: &[u8], out: &mut Vec<Decoded>) {
        match self.pretty.feed(ordinal, line) {
            Fed::Held => out.push(self.context.ignored(ordinal, "part of a JSON object, goes on")),
            Fed::Whole(text, told) => self.line(told, &text, out),
            Fed::Broken(lines) => {
                out.push(self.no_object(ordinal, lines));
                self.line(ordinal, line, out);
            }
        }
    }

    fn no_object(&self, ordinal: u64, lines: u64) -> Decoded {
        let text = format!("{lines} lines begin a JSON object that has no end");
        self.context.loss(ordinal, ObservedAt::OrderOnly, "json-object", Some(lines), text)
    }

    fn unended(&self, held: &Partial) -> Decoded {
        let text = format!("the last {} octets of a line cut in parts have no end", held.text.len());
        self.context.loss(held.ordinal, ObservedAt::OrderOnly, "partial-line", Some(1), text)
    }

    fn message(&mut self, text: &[u8], klog: bool, around: Around<'_>, out: &mut Vec<Decoded>) {
        if text.iter().all(u8::is_ascii_whitespace) {
            return out.push(self.context.ignored(around.ordinal, "blank line"));
        }
        if text[0] == b'{'
            && let Some(line) = JsonLine::read(text)
        {
            return self.json(&line, around, out);
        }
        let (level, body) = level(without_process(text));
        if matches!(level, None | Some(b"INFO")) && self.query_line(body, around, out) {
            return;
        }
        if let Some((at, diagnostic)) = old_error(text) {
            let at = if around.at == ObservedAt::OrderOnly { at } else { around.at };
            return out.push(self.context.observation(around.ordinal, at, Event::Diagnostic(diagnostic)));
        }
        let informs = level == Some(b"INFO") || (level.is_none() && klog);
        match diag::read(body, level.is_some() || klog) {
            Some(Diagnostic::Other(_)) if informs && looks_like_a_lookup(body) => {
                out.push(self.context.undecodable(around.ordinal, NO_FORMAT, 0));
            }
            Some(diagnostic) => {
                out.push(self.context.observation(around.ordinal, around.at, Event::Diagnostic(diagnostic)));
            }
            None => out.push(self.context.undecodable(around.ordinal, "not a line of CoreDNS", 0)),
        }
    }

    /// Reads a query line by the common format, the formats of the case, or the combined format.
    fn query_line(&mut self, body: &[u8], around: Around<'_>, out: &mut Vec<Decoded>) -> bool {
        let mut cursor = Cursor { rest: body };
        let mut fields = Fields::default();
        if logformat::common_into(&mut cursor, &mut fields).is_none() {
            return self.custom_line(body, around, out);
        }
        let tail = cursor.rest;
        if !tail.is_empty() {
            let formats = self.context.log_formats.iter();
            let known = formats
                .filter(|format| format.begins_common())
                .any(|format| format.read_tail(tail, &mut fields).is_some());
            if !known {
                fields.opcode = combined_opcode(tail);
            }
        }
        self.lookup(&fields, around, out);
        true
    }

    fn custom_line(&mut self, body: &[u8], around: Around<'_>, out: &mut Vec<Decoded>) -> bool {
        let formats = std::mem::take(&mut self.context.log_formats);
        let fields =
            formats.iter().filter(|format| !format.begins_common()).find_map(|format| format.read(body));
        let found = fields.is_some();
        if let Some(fields) = fields {
            self.lookup(&fields, around, out);
        }
        self.context.log_formats = formats;
        found
    }

    fn lookup(&mut self, fields: &Fields<'_>, around: Around<'_>, out: &mut Vec<Decoded>) {
        let at = match (around.at, fields.when) {
            (ObservedAt::OrderOnly, Some(when)) => stamp::clf(when).unwrap_or(around.at),
            (at, _) => at,
        };
        let event = self.event(fields, at, around.pod);
        if event.body.question.is_none() {
            // Bytes that CoreDNS never prints: a lookup of nothing would be an invention.
            out.push(self.context.undecodable(around.ordinal, "a question that is none", 0));
            return;
        }
        out.push(self.context.observation(around.ordinal, at, Event::Dns(event)));
        if fields.cut {
            let text = "the line ends before its format does".to_owned();
            out.push(self.context.loss(around.ordinal, at, "line-cut", Some(1), text));
        }
    }

    fn event(&mut self, fields: &Fields<'_>, at: ObservedAt, pod: Option<&[u8]>) -> DnsEvent {
        let rcode = match fields.rcode {
            Outcome::Code(rcode) => Some(rcode),
            Outcome::NoResponse | Outcome::NotShown => None,
        };
        let opcode = u16::from(fields.opcode.unwrap_or(0) & 0xf) << 11;
        let low = rcode.map_or(0, |rcode| rcode.0 & 0xf);
        let flags = Flags(fields.rflags.unwrap_or_default().0 | opcode | low);
        let transport = match fields.proto {
            Some(b"udp") => Transport::Udp,
            Some(b"tcp") => Transport::Tcp,
            _ => Transport::Unknown,
        };
        let query_time = match (at.interval(), fields.duration_ns) {
            // A time of whole seconds is an interval, and so is when the query came.
            (Some(interval), Some(ns)) if interval.lo == interval.hi => Some(interval.lo.plus(-ns)),
            _ => None,
        };
        let server = fields.local.and_then(logformat::address).map(|ip| Endpoint { ip, port: 0 });
        DnsEvent {
            vantage: Vantage::LogLine,
            client: fields.client.map(|ip| Endpoint { ip, port: fields.port.unwrap_or(0) }),
            server,
            transport,
            id: fields.id.unwrap_or(0),
            flags,
            rcode,
            body: bodies::body(
                &mut self.questions,
                fields.rtype,
                fields.class,
                fields.name.unwrap_or_default(),
            ),
            duration_ns: fields.duration_ns,
            query_time,
            size: fields.size.unwrap_or(0),
            response_size: fields.rsize,
            bufsize: fields.bufsize,
            packet: None,
            hints: self.hints(fields, pod),
        }
    }

    fn hints(&mut self, fields: &Fields<'_>, pod: Option<&[u8]>) -> Option<Arc<Hints>> {
        let parts =
            [pod, fields.local, fields.upstream, fields.client_namespace, fields.client_pod, fields.log_type];
        if parts.iter().all(Option::is_none) {
            return None;
        }
        let Self { hints, key, .. } = self;
        key.clear();
        for part in parts {
            // Lengths keep `ab`, `c` apart from `a`, `bc`.
            let len = part.map_or(u32::MAX, |bytes| bytes.len() as u32);
            key.extend_from_slice(&len.to_be_bytes());
            key.extend_from_slice(part.unwrap_or_default());
        }
        let text = |part: Option<&[u8]>| part.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        // `-` is "not set", but for the upstream, where it says that none was asked.
        let set = |part: Option<&[u8]>| text(part.filter(|bytes| *bytes != b"-"));
        let make = || {
            Arc::new(Hints {
                identity: text(pod),
                version: None,
                upstream: text(fields.upstream),
                local: set(fields.local),
                client_namespace: set(fields.client_namespace),
                client_pod: set(fields.client_pod),
                log_type: set(fields.log_type),
                extra: None,
            })
        };
        Some(hints.get(key, make).map_or_else(make, |hints| Arc::clone(hints)))
    }

    fn json(&mut self, line: &JsonLine<'_>, mut around: Around<'_>, out: &mut Vec<Decoded>) {
        if around.at == ObservedAt::OrderOnly
            && let Some(nanos) = Nanos::parse_rfc3339(line.time.as_bytes())
        {
            around.at = ObservedAt::Known(Interval::at(nanos), ClockBasis::LogLine);
        }
        if line.plugin == "log"
            && let Some(name) = &line.qname
        {
            let name = name.as_bytes();
            if logformat::name_end(name) != Some(name.len()) {
                return out.push(self.context.undecodable(
                    around.ordinal,
                    "JSON line with an unreadable name",
                    0,
                ));
            }
            let formats = std::mem::take(&mut self.context.log_formats);
            let fields = json_fields(line, name, &formats);
            self.lookup(&fields, around, out);
            self.context.log_formats = formats;
            return;
        }
        let text = match &*line.plugin {
            "" => line.msg.to_string(),
            plugin => format!("plugin/{plugin}: {}", line.msg),
        };
        if let Some(diagnostic) = diag::read(text.as_bytes(), !line.level.is_empty()) {
            out.push(self.context.observation(around.ordinal, around.at, Event::Diagnostic(diagnostic)));
        } else {
            out.push(self.context.undecodable(around.ordinal, "not a line of CoreDNS", 0));
        }
    }
}

/// The typed keys, and from `msg` what only a text format shows: flags and metadata.
fn json_fields<'a>(line: &'a JsonLine<'a>, name: &'a [u8], formats: &[LogFormat]) -> Fields<'a> {
    let message = line.msg.trim_end().as_bytes();
    let mut cursor = Cursor { rest: message };
    let mut fields = match logformat::common(&mut cursor) {
        Some(mut fields) => {
            let tail = cursor.rest;
            let _ = !tail.is_empty()
                && formats
                    .iter()
                    .any(|format| format.begins_common() && format.read_tail(tail, &mut fields).is_some());
            fields
        }
        None => formats.iter().find_map(|format| format.read(message)).unwrap_or_default(),
    };
    let bytes = |text: &'a Option<Cow<'a, str>>| text.as_deref().map(str::as_bytes);
    fields.client = bytes(&line.client_ip).and_then(logformat::address).or(fields.client);
    fields.port = line.client_port.or(fields.port);
    fields.id = line.id.or(fields.id);
    fields.name = Some(name);
    fields.rtype = bytes(&line.qtype).or(fields.rtype);
    fields.class = bytes(&line.qclass).or(fields.class);
    fields.proto = bytes(&line.protocol).or(fields.proto);
    fields.opcode = line.opcode;
    fields.size = line.request_size;
    fields.dnssec_ok = line.dnssec_ok;
    fields.bufsize = line.bufsize;
    fields.rcode =
        bytes(&line.rcode).map_or(Outcome::NoResponse, |text| logformat::outcome(text).unwrap_or_default());
    fields.rsize = line.response_size;
    fields.duration_ns = line.duration_ns();
    fields.cut = false;
    fields
}

/// ` "OPCODE"` behind the common format.
fn combined_opcode(tail: &[u8]) -> Option<u8> {
    let digits = tail.strip_prefix(b" \"")?.strip_suffix(b"\"")?;
    logformat::number(digits).and_then(|value| u8::try_from(value).ok())
}

/// `29/Nov/2017:23:16:11 +0000 [ERROR 0 kubernetes.default. A] no items found` (CoreDNS before 1.2).
fn old_error(text: &[u8]) -> Option<(ObservedAt, Diagnostic)> {
    let at = stamp::clf(text.get(..26)?)?;
    let rest = std::str::from_utf8(text.get(26..)?).ok()?.strip_prefix(" [ERROR ")?;
    let (head, message) = rest.split_once("] ")?;
    let (rcode, rest) = head.split_once(' ')?;
    let (name, rtype) = rest.rsplit_once(' ')?;
    let rcode = rcode.parse().map(|code: u16| Rcode(code).0).ok()?;
    let diagnostic = Diagnostic::QueryError {
        rcode,
        name: name.to_owned(),
        rtype: rtype.to_owned(),
        message: message.to_owned(),
    };
    Some((at, diagnostic))
}

impl Decoder for LogDecoder {
    fn decode(&mut self, ordinal: u64, bytes: &[u8], out: &mut Vec<Decoded>) {
        let line = trimmed(bytes);
        if self.pretty.wants(line) {
            return self.pretty_line(ordinal, line, out);
        }
        self.line(ordinal, line, out);
    }

    fn finish(&mut self, out: &mut Vec<Decoded>) {
        for held in std::mem::take(&mut self.partials) {
            out.push(self.unended(&held));
        }
        let lines = std::mem::take(&mut self.pretty).lines();
        if lines > 0 {
            out.push(self.no_object(0, lines));
        }
    }

    fn caches(&self) -> CacheStats {
        let of = |name, entries, evictions| CacheUse { name, entries, evictions };
        CacheStats {
            caches: vec![
                of("log-names", self.questions.entries(), self.questions.evictions),
                of("log-hints", self.hints.entries(), self.hints.evictions),
            ],
        }
    }
}

#[cfg(test)]
mod tests;
