//! What wraps a CoreDNS line: container runtimes, kubectl, journald, syslog, klog. Enters: a line; leaves: its message,
//! time and source.
//!
//! Wrappers are told line by line, so a file that mixes them is read too. The outermost runtime's time wins: it is the
//! one clock that all lines of a node share. Deliberately absent: joining of partial lines (the decoder holds that state).

use std::borrow::Cow;

use memchr::memchr;
use serde::Deserialize;
use truename_model::{ClockBasis, Nanos, ObservedAt};

use super::stamp::Stamps;

/// A line without its wrappers.
#[derive(Clone, Debug)]
pub(super) struct Unwrapped<'a> {
    /// The message.
    pub(super) text: Cow<'a, [u8]>,
    /// When, by the outermost clock.
    pub(super) at: ObservedAt,
    /// Pod named by `kubectl logs --prefix`.
    pub(super) pod: Option<&'a [u8]>,
    /// The message goes on in the next line of the same stream.
    pub(super) partial: bool,
    /// True for standard error.
    pub(super) stderr: bool,
    /// klog's level letter, if klog wrote the line.
    pub(super) klog: Option<u8>,
    /// The outermost wrapper.
    pub(super) wrapper: Wrapper,
}

/// How a line is wrapped; the outermost wrapper, in words by [`Wrapper::word`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wrapper {
    /// The process's own output.
    #[default]
    Bare,
    /// CRI: `TIME stdout F LINE`.
    Cri,
    /// Docker's json-file driver.
    DockerJson,
    /// `kubectl logs --timestamps`.
    Timestamps,
    /// `kubectl logs --prefix`.
    Prefix,
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
            Self::Bare => "bare",
            Self::Cri => "CRI",
            Self::DockerJson => "docker json-file",
            Self::Timestamps => "kubectl --timestamps",
            Self::Prefix => "kubectl --prefix",
            Self::Journal => "journald or syslog",
            Self::Klog => "klog",
        }
    }
}

#[derive(Deserialize)]
struct DockerLine<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(borrow, default)]
    time: Cow<'a, str>,
}

#[derive(Deserialize)]
struct JournalLine<'a> {
    #[serde(rename = "MESSAGE", borrow)]
    message: Cow<'a, str>,
    #[serde(rename = "__REALTIME_TIMESTAMP", borrow, default)]
    micros: Cow<'a, str>,
}

/// Takes every wrapper off `line` (without its newline).
pub(super) fn unwrap<'a>(line: &'a [u8], stamps: &mut Stamps) -> Unwrapped<'a> {
    let mut out = Unwrapped {
        text: Cow::Borrowed(line),
        at: ObservedAt::OrderOnly,
        pod: None,
        partial: false,
        stderr: false,
        klog: None,
        wrapper: Wrapper::Bare,
    };
    let mut rest = line;
    if let Some(tail) = rest.strip_prefix(b"[pod/") {
        rest = pod_prefix(tail, rest, &mut out);
    }
    match rest.first() {
        Some(b'0'..=b'9') => rest = digits(rest, stamps, &mut out),
        Some(b'{') => {
            if let Some(text) = json(rest, &mut out) {
                out.text = text;
                return out;
            }
        }
        Some(b'I' | b'W' | b'E' | b'F') => rest = klog(rest, stamps, &mut out),
        _ => {}
    }
    if out.wrapper == Wrapper::Bare || out.wrapper == Wrapper::Prefix {
        rest = journal(rest, stamps, &mut out);
    }
    rest = own_time(rest, stamps, &mut out);
    if matches!(rest.first(), Some(b'I' | b'W' | b'E' | b'F')) && out.klog.is_none() {
        rest = klog(rest, stamps, &mut out);
    }
    out.text = Cow::Borrowed(rest);
    out
}

/// `[pod/NAME/CONTAINER] `.
fn pod_prefix<'a>(tail: &'a [u8], whole: &'a [u8], out: &mut Unwrapped<'a>) -> &'a [u8] {
    let Some(close) = memchr(b']', &tail[..tail.len().min(400)]) else { return whole };
    let Some(slash) = memchr(b'/', &tail[..close]) else { return whole };
    out.pod = Some(&tail[..slash]);
    out.wrapper = Wrapper::Prefix;
    let rest = &tail[close + 1..];
    rest.strip_prefix(b" ").unwrap_or(rest)
}

/// Lines that begin with a time: CRI, `--timestamps`, journald's ISO form.
fn digits<'a>(rest: &'a [u8], stamps: &mut Stamps, out: &mut Unwrapped<'a>) -> &'a [u8] {
    let Some(mut stamp) = stamps.rfc3339(rest, ClockBasis::ContainerRuntime) else { return rest };
    let tail = &rest[stamp.len + 1..];
    let cri = match tail {
        [b's', b't', b'd', b'o', b'u', b't', b' ', after @ ..] => Some((false, after)),
        [b's', b't', b'd', b'e', b'r', b'r', b' ', after @ ..] => Some((true, after)),
        _ => None,
    };
    if let Some((stderr, after)) = cri
        && let Some(text) = cri_tag(after, out)
    {
        (out.stderr, out.at, out.wrapper) = (stderr, stamp.at, Wrapper::Cri);
        return text;
    }
    // CoreDNS 1.2.6–1.6.2 wrote its own time with milliseconds in front of the level.
    let own = stamp.fraction == 3 && tail.first() == Some(&b'[');
    if let (true, Some(interval)) = (own, stamp.at.interval()) {
        stamp.at = ObservedAt::Known(interval, ClockBasis::LogLine);
    } else if let Some(message) = journal_source(tail) {
        if let Some(interval) = stamp.at.interval() {
            stamp.at = ObservedAt::Known(interval, ClockBasis::Journal);
        }
        (out.at, out.wrapper) = (stamp.at, Wrapper::Journal);
        return message;
    } else if out.wrapper == Wrapper::Bare {
        out.wrapper = Wrapper::Timestamps;
    }
    out.at = stamp.at;
    tail
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

fn journal<'a>(rest: &'a [u8], stamps: &mut Stamps, out: &mut Unwrapped<'a>) -> &'a [u8] {
    // syslog's priority, if a file kept it.
    let text = match rest {
        [b'<', tail @ ..] => {
            memchr(b'>', &tail[..tail.len().min(5)]).map_or(rest, |close| &tail[close + 1..])
        }
        _ => rest,
    };
    if !matches!(text.first(), Some(b'J' | b'F' | b'M' | b'A' | b'S' | b'O' | b'N' | b'D')) {
        return rest;
    }
    let Some(stamp) = stamps.syslog(text) else { return rest };
    let Some(tail) = text.get(stamp.len + 1..) else { return rest };
    let Some(message) = journal_source(tail) else { return rest };
    (out.at, out.wrapper) = (stamp.at, Wrapper::Journal);
    message
}

/// The time that old CoreDNS wrote inside the line; it counts only where no runtime gave one.
fn own_time<'a>(rest: &'a [u8], stamps: &mut Stamps, out: &mut Unwrapped<'a>) -> &'a [u8] {
    if !matches!(rest.first(), Some(b'0'..=b'9' | b'[')) {
        return rest;
    }
    if let Some(stamp) = stamps.rfc3339(rest, ClockBasis::LogLine) {
        return given(out, stamp.at, rest.get(stamp.len + 1..).unwrap_or_default());
    }
    let (bracket, text) = match rest {
        [b'[', tail @ ..] => (true, tail),
        _ => (false, rest),
    };
    let Some(stamp) = stamps.zoneless(text) else { return rest };
    let tail = &text[stamp.len..];
    let tail = match (bracket, tail) {
        (true, [b']', b' ', tail @ ..]) | (false, [b' ', tail @ ..]) => tail,
        _ => return rest,
    };
    given(out, stamp.at, tail)
}

fn given<'a>(out: &mut Unwrapped<'_>, at: ObservedAt, tail: &'a [u8]) -> &'a [u8] {
    if out.at == ObservedAt::OrderOnly {
        out.at = at;
    }
    tail
}

/// `E0602 12:34:56.789012       1 reflector.go:127] MESSAGE`.
fn klog<'a>(rest: &'a [u8], stamps: &mut Stamps, out: &mut Unwrapped<'a>) -> &'a [u8] {
    let (Some(&level), Some(true)) = (rest.first(), rest.get(1).map(u8::is_ascii_digit)) else { return rest };
    let Some(stamp) = stamps.klog(&rest[1..]) else { return rest };
    let tail = &rest[1 + stamp.len..];
    let Some(close) = memchr::memmem::find(&tail[..tail.len().min(256)], b"] ") else { return rest };
    out.klog = Some(level);
    if out.wrapper == Wrapper::Bare {
        out.wrapper = Wrapper::Klog;
    }
    given(out, stamp.at, &tail[close + 2..])
}

/// Docker's json-file or a journald export; `None` for any other JSON.
fn json<'a>(rest: &'a [u8], out: &mut Unwrapped<'a>) -> Option<Cow<'a, [u8]>> {
    if rest.starts_with(b"{\"log\":") {
        let line: DockerLine<'a> = serde_json::from_slice(rest).ok()?;
        out.stderr = line.stream == "stderr";
        if let Some(nanos) = Nanos::parse_rfc3339(line.time.as_bytes()) {
            out.at = ObservedAt::Known(truename_model::Interval::at(nanos), ClockBasis::ContainerRuntime);
        }
        out.wrapper = Wrapper::DockerJson;
        // Without its newline the message goes on in the next line (16 KiB split).
        out.partial = !line.log.ends_with('\n');
        return Some(strip_newline(line.log));
    }
    if memchr::memmem::find(rest, b"\"__REALTIME_TIMESTAMP\"").is_some() {
        let line: JournalLine<'a> = serde_json::from_slice(rest).ok()?;
        let micros: Option<i64> = line.micros.parse().ok();
        if let Some(nanos) = micros.and_then(|value| value.checked_mul(1_000)) {
            out.at = ObservedAt::Known(truename_model::Interval::at(Nanos(nanos)), ClockBasis::Journal);
        }
        out.wrapper = Wrapper::Journal;
        return Some(strip_newline(line.message));
    }
    None
}

fn strip_newline(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.strip_suffix('\n').unwrap_or(text).as_bytes()),
        Cow::Owned(mut text) => {
            if text.ends_with('\n') {
                text.pop();
            }
            Cow::Owned(text.into_bytes())
        }
    }
}
