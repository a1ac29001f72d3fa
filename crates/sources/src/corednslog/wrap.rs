//! What wraps a CoreDNS line: container runtimes, kubectl, stern, log collectors, journald, syslog, klog, a terminal's
//! colours. Enters: a line; leaves: its innermost message, and what the layers around it told of time and source.
//!
//! A wrapping is a composition of layers, at most [`LAYERS_MAX`]: each is told by its first octets, takes itself off and
//! leaves the rest to the next, so a file that mixes them is read too and a bare or CRI line costs one look. The
//! outermost time wins, but a container runtime's own goes before a collector's or a journal's: it is the one clock that
//! all lines of a node share. Deliberately absent: joining of partial lines and of objects printed over several lines
//! (the decoder holds that state).

use std::borrow::Cow;
use std::fmt;

use memchr::memchr;
use truename_model::{ClockBasis, ObservedAt};

use super::envelope;
use super::stamp::Stamps;

/// Layers taken off one line; what is left then is the message.
const LAYERS_MAX: usize = 6;
/// Layers that a [`Wrapping`] names.
const NAMED_MAX: usize = 4;

/// A line without its wrappers.
#[derive(Clone, Debug)]
pub(super) struct Unwrapped<'a> {
    /// The message.
    pub(super) text: Cow<'a, [u8]>,
    /// When, by the clock that counts.
    pub(super) at: ObservedAt,
    /// Pod named by a layer.
    pub(super) pod: Option<Cow<'a, [u8]>>,
    /// The message goes on in the next line of the same stream.
    pub(super) partial: bool,
    /// True for standard error.
    pub(super) stderr: bool,
    /// klog wrote the line.
    pub(super) klog: bool,
    /// The layers.
    pub(super) wrapping: Wrapping,
}

/// One layer; in words by [`Wrapper::word`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wrapper {
    /// CRI: `TIME stdout F LINE`.
    Cri,
    /// Docker's json-file driver.
    DockerJson,
    /// `kubectl logs --timestamps` or `stern --timestamps`.
    Timestamps,
    /// `kubectl logs --prefix`.
    Prefix,
    /// stern's default, json, extjson and ppextjson outputs.
    Stern,
    /// A log collector's JSON: fluent-bit, fluentd, vector, filebeat.
    Collector,
    /// journald or syslog.
    Journal,
    /// klog, as client-go of older CoreDNS writes to standard error.
    Klog,
}

impl Wrapper {
    /// A word for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Cri => "CRI",
            Self::DockerJson => "docker json-file",
            Self::Timestamps => "kubectl --timestamps",
            Self::Prefix => "kubectl --prefix",
            Self::Stern => "stern",
            Self::Collector => "log collector's JSON",
            Self::Journal => "journald or syslog",
            Self::Klog => "klog",
        }
    }
}

/// The layers around a message, outermost first; none for the process's own output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wrapping {
    layers: [Option<Wrapper>; NAMED_MAX],
}

impl Wrapping {
    pub(super) fn push(&mut self, layer: Wrapper) {
        if let Some(free) = self.layers.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(layer);
        }
    }

    fn is_bare(self) -> bool {
        self.layers[0].is_none()
    }
}

/// `CRI in docker json-file`; `bare` without layers.
impl fmt::Display for Wrapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_bare() {
            return f.write_str("bare");
        }
        for (index, layer) in self.layers.iter().rev().flatten().enumerate() {
            f.write_str(if index == 0 { "" } else { " in " })?;
            f.write_str(layer.word())?;
        }
        Ok(())
    }
}

impl<'a> Unwrapped<'a> {
    fn bare(line: &'a [u8]) -> Self {
        Unwrapped {
            text: Cow::Borrowed(line),
            at: ObservedAt::OrderOnly,
            pod: None,
            partial: false,
            stderr: false,
            klog: false,
            wrapping: Wrapping::default(),
        }
    }

    /// Takes a layer's time, unless an outer layer gave one that counts more.
    pub(super) fn given(&mut self, at: ObservedAt) {
        let runtime = |at| matches!(at, ObservedAt::Known(_, ClockBasis::ContainerRuntime));
        let collected = matches!(self.at, ObservedAt::Known(_, ClockBasis::Journal));
        if self.at == ObservedAt::OrderOnly || (collected && runtime(at)) {
            self.at = at;
        }
    }

    /// Goes on inside a layer whose content is no part of the line, but was made from it.
    fn within(&mut self, mut inner: Vec<u8>, left: usize, stamps: &mut Stamps) {
        let mut below = self.around(&inner);
        peel(&inner, left, stamps, &mut below);
        let made = match &below.text {
            // What a layer leaves is mostly the end of it: then nothing is copied.
            Cow::Borrowed(text) if inner.ends_with(text) => Err(inner.len() - text.len()),
            text => Ok(text.to_vec()),
        };
        (self.at, self.partial, self.stderr) = (below.at, below.partial, below.stderr);
        (self.klog, self.wrapping) = (below.klog, below.wrapping);
        if let Some(pod) = below.pod {
            self.pod = Some(Cow::Owned(pod.into_owned()));
        }
        let text = match made {
            Ok(text) => text,
            Err(0) => inner,
            Err(taken) => {
                inner.drain(..taken);
                inner
            }
        };
        self.text = Cow::Owned(text);
    }

    /// The same around another text.
    fn around<'b>(&self, text: &'b [u8]) -> Unwrapped<'b> {
        Unwrapped {
            text: Cow::Borrowed(text),
            at: self.at,
            pod: None,
            partial: self.partial,
            stderr: self.stderr,
            klog: self.klog,
            wrapping: self.wrapping,
        }
    }
}

/// Takes every wrapper off `line` (without its newline).
pub(super) fn unwrap<'a>(line: &'a [u8], stamps: &mut Stamps) -> Unwrapped<'a> {
    let mut out = Unwrapped::bare(line);
    peel(line, LAYERS_MAX, stamps, &mut out);
    out
}

fn peel<'a>(line: &'a [u8], bound: usize, stamps: &mut Stamps, out: &mut Unwrapped<'a>) {
    let mut rest = line;
    for left in (0..bound).rev() {
        match layer(rest, stamps, out) {
            None => break,
            Some(Cow::Borrowed(inner)) => rest = inner,
            Some(Cow::Owned(inner)) => return out.within(inner, left, stamps),
        }
    }
    out.text = Cow::Borrowed(rest);
}

/// Takes one layer off; `None`: the text is the message.
fn layer<'a>(rest: &'a [u8], stamps: &mut Stamps, out: &mut Unwrapped<'a>) -> Option<Cow<'a, [u8]>> {
    let inner = match *rest.first()? {
        // A level: most messages end the walk here.
        b'[' if matches!(rest.get(1), Some(b'A'..=b'Z')) => None,
        b'[' => bracket(rest, stamps, out),
        b'0'..=b'9' => digits(rest, stamps, out),
        b'{' => return envelope::open(rest, out),
        b'<' => priority(rest),
        0x1b => return plain(rest, b"\x1b["),
        b'#' => return plain(rest, b"#033["),
        b'I' | b'W' | b'E' | b'F' if rest.get(1).is_some_and(u8::is_ascii_digit) => klog(rest, stamps, out),
        b'J' | b'F' | b'M' | b'A' | b'S' | b'O' | b'N' | b'D' => syslog(rest, stamps, out),
        b'a'..=b'z' => stern(rest, out),
        _ => None,
    };
    inner.map(Cow::Borrowed)
}

/// `[pod/NAME/CONTAINER] ` or the time that old CoreDNS wrote, in brackets.
fn bracket<'a>(rest: &'a [u8], stamps: &Stamps, out: &mut Unwrapped<'a>) -> Option<&'a [u8]> {
    let Some(tail) = rest.strip_prefix(b"[pod/") else {
        let text = &rest[1..];
        let stamp = stamps.zoneless(text)?;
        let tail = text[stamp.len..].strip_prefix(b"] ")?;
        out.given(stamp.at);
        return Some(tail);
    };
    let close = memchr(b']', &tail[..tail.len().min(400)])?;
    let slash = memchr(b'/', &tail[..close])?;
    out.pod = Some(Cow::Borrowed(&tail[..slash]));
    out.wrapping.push(Wrapper::Prefix);
    let rest = &tail[close + 1..];
    Some(rest.strip_prefix(b" ").unwrap_or(rest))
}

/// Lines that begin with a time: CRI, `--timestamps`, journald's ISO form, RFC 5424, CoreDNS's own.
fn digits<'a>(rest: &'a [u8], stamps: &mut Stamps, out: &mut Unwrapped<'a>) -> Option<&'a [u8]> {
    let Some(stamp) = stamps.rfc3339(rest, ClockBasis::ContainerRuntime) else {
        if let Some(text) = rest.strip_prefix(b"1 ") {
            return rfc5424(text, stamps, out);
        }
        let stamp = stamps.zoneless(rest)?;
        let tail = rest[stamp.len..].strip_prefix(b" ")?;
        out.given(stamp.at);
        return Some(tail);
    };
    let tail = rest.get(stamp.len + 1..)?;
    let cri = match tail {
        [b's', b't', b'd', b'o', b'u', b't', b' ', after @ ..] => Some((false, after)),
        [b's', b't', b'd', b'e', b'r', b'r', b' ', after @ ..] => Some((true, after)),
        _ => None,
    };
    if let Some((stderr, after)) = cri
        && let Some(text) = cri_tag(after, out)
    {
        out.stderr = stderr;
        out.given(stamp.at);
        out.wrapping.push(Wrapper::Cri);
        return Some(text);
    }
    let by = |basis| match stamp.at.interval() {
        Some(interval) => ObservedAt::Known(interval, basis),
        None => stamp.at,
    };
    // CoreDNS 1.2.6–1.6.2 wrote its own time with milliseconds in front of the level.
    if stamp.fraction == 3 && tail.first() == Some(&b'[') {
        out.given(by(ClockBasis::LogLine));
    } else if let Some(message) = journal_source(tail) {
        out.given(by(ClockBasis::Journal));
        out.wrapping.push(Wrapper::Journal);
        return Some(message);
    } else {
        out.given(stamp.at);
        out.wrapping.push(Wrapper::Timestamps);
    }
    Some(tail)
}

/// `F LINE`, `P LINE`, or tags separated by colons.
fn cri_tag<'a>(after: &'a [u8], out: &mut Unwrapped<'_>) -> Option<&'a [u8]> {
    let (tag, text) = match memchr(b' ', &after[..after.len().min(64)]) {
        Some(space) => (&after[..space], &after[space + 1..]),
        // An empty message loses its space in some runtimes.
        None => (after, &b""[..]),
    };
    match tag.split(|&octet| octet == b':').next() {
        Some(b"F") => {}
        Some(b"P") => out.partial = true,
        _ => return None,
    }
    Some(text)
}

/// `HOST IDENT[PID]: MESSAGE`: the message.
fn journal_source(text: &[u8]) -> Option<&[u8]> {
    let head = &text[..text.len().min(256)];
    let host = memchr(b' ', head)?;
    let source = &head[host + 1..];
    let colon = source.windows(2).position(|pair| pair == b": ")?;
    let ident = &source[..colon];
    let plain = |octet: &u8| octet.is_ascii_graphic() && !matches!(octet, b'"' | b'/' | b'=');
    let named =
        host > 0 && text[..host].iter().all(|o| o.is_ascii_alphanumeric() || matches!(o, b'-' | b'.' | b'_'));
    (named && !ident.is_empty() && ident.iter().all(plain)).then(|| &text[host + 1 + colon + 2..])
}

/// `Nov 25 03:00:01 HOST IDENT[PID]: MESSAGE` (RFC 3164, `journalctl -o short`).
fn syslog<'a>(rest: &'a [u8], stamps: &mut Stamps, out: &mut Unwrapped<'a>) -> Option<&'a [u8]> {
    let stamp = stamps.syslog(rest)?;
    let message = journal_source(rest.get(stamp.len + 1..)?)?;
    out.given(stamp.at);
    out.wrapping.push(Wrapper::Journal);
    Some(message)
}

/// `<30>`: syslog's priority, if a file kept it.
fn priority(rest: &[u8]) -> Option<&[u8]> {
    let close = memchr(b'>', &rest[..rest.len().min(5)])?;
    (close > 1 && rest[1..close].iter().all(u8::is_ascii_digit)).then(|| &rest[close + 1..])
}

/// `TIME HOST APP PID MSGID SD MESSAGE` behind `<PRI>1 ` (RFC 5424 §6); each field may be `-`.
fn rfc5424<'a>(text: &'a [u8], stamps: &mut Stamps, out: &mut Unwrapped<'a>) -> Option<&'a [u8]> {
    let (at, mut rest) = match text.strip_prefix(b"- ") {
        Some(rest) => (ObservedAt::OrderOnly, rest),
        None => {
            let stamp = stamps.rfc3339(text, ClockBasis::Journal)?;
            (stamp.at, text.get(stamp.len + 1..)?)
        }
    };
    // Host ≤ 255, application ≤ 48, process ≤ 128, message id ≤ 32 octets.
    for longest in [255, 48, 128, 32] {
        let end = memchr(b' ', &rest[..rest.len().min(longest + 1)])?;
        if end == 0 || !rest[..end].iter().all(u8::is_ascii_graphic) {
            return None;
        }
        rest = &rest[end + 1..];
    }
    let message = structured_data(rest)?;
    out.given(at);
    out.wrapping.push(Wrapper::Journal);
    Some(message.strip_prefix(b"\xef\xbb\xbf").unwrap_or(message))
}

/// Behind `-` or `[ID NAME="VALUE" …]…`: the message.
fn structured_data(rest: &[u8]) -> Option<&[u8]> {
    if let Some(tail) = rest.strip_prefix(b"-") {
        return if tail.is_empty() { Some(tail) } else { tail.strip_prefix(b" ") };
    }
    let (mut quoted, mut escaped, mut open) = (false, false, false);
    for (index, &octet) in rest.iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if open => quoted = !quoted,
            b'[' if !open => open = true,
            b']' if !quoted => open = false,
            b' ' if !open => return (index > 0).then(|| &rest[index + 1..]),
            _ if !open => return None,
            _ => {}
        }
    }
    None
}

/// `E0602 12:34:56.789012       1 reflector.go:127] MESSAGE`.
fn klog<'a>(rest: &'a [u8], stamps: &mut Stamps, out: &mut Unwrapped<'a>) -> Option<&'a [u8]> {
    if out.klog {
        return None;
    }
    let stamp = stamps.klog(&rest[1..])?;
    let tail = &rest[1 + stamp.len..];
    let close = memchr::memmem::find(&tail[..tail.len().min(256)], b"] ")?;
    out.klog = true;
    out.wrapping.push(Wrapper::Klog);
    out.given(stamp.at);
    Some(&tail[close + 2..])
}

/// stern's `POD CONTAINER MESSAGE` or `NAMESPACE POD CONTAINER MESSAGE`: told by a message that CoreDNS writes.
fn stern<'a>(rest: &'a [u8], out: &mut Unwrapped<'a>) -> Option<&'a [u8]> {
    let (first, tail) = label(rest)?;
    let (second, tail) = label(tail)?;
    let (pod, message) = match label(tail) {
        Some((_, message)) if begins_message(message) => (second, message),
        _ if begins_message(tail) => (first, tail),
        _ => return None,
    };
    out.pod = Some(Cow::Borrowed(pod));
    out.wrapping.push(Wrapper::Stern);
    Some(message)
}

/// The name of an object and what follows its space.
fn label(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b' ', &text[..text.len().min(254)])?;
    let name = &text[..end];
    let fits =
        |octet: &u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || matches!(octet, b'-' | b'.');
    let ends = |octet: Option<&u8>| octet.is_some_and(u8::is_ascii_alphanumeric);
    (name.iter().all(fits) && ends(name.first()) && ends(name.last())).then(|| (name, &text[end + 1..]))
}

/// How a line of CoreDNS begins: a level, a JSON object, a time or a client, klog, or its banner.
fn begins_message(text: &[u8]) -> bool {
    let level = text.first() == Some(&b'[') && text.get(1).is_some_and(u8::is_ascii_uppercase);
    let klog = matches!(text.first(), Some(b'I' | b'W' | b'E' | b'F'))
        && text.get(1..5).is_some_and(|digits| digits.iter().all(u8::is_ascii_digit));
    let time = text.get(..5).is_some_and(|head| head[..4].iter().all(u8::is_ascii_digit) && head[4] == b'-');
    let banner = [&b".:"[..], b"CoreDNS-", b"linux/", b"maxprocs: ", b"{\""];
    level || klog || time || banner.iter().any(|begin| text.starts_with(begin))
}

/// Takes the colours off that a terminal was given (`ESC [ … m`), as they are or as rsyslog writes them (`#033[`).
pub(super) fn plain<'a>(text: &'a [u8], begin: &[u8]) -> Option<Cow<'a, [u8]>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest, begin) {
        let (before, sequence) = (&rest[..at], &rest[at + begin.len()..]);
        let len = sequence.iter().take_while(|octet| octet.is_ascii_digit() || **octet == b';').count();
        out.extend_from_slice(before);
        match sequence.get(len) {
            Some(b'm') => rest = &sequence[len + 1..],
            _ => {
                out.extend_from_slice(begin);
                rest = sequence;
            }
        }
    }
    out.extend_from_slice(rest);
    // Nothing taken off: then this is no layer.
    (out.len() < text.len()).then_some(Cow::Owned(out))
}
