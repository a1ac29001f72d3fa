//! The fields of one query line and the scanners that read them. Enters: the text behind level and time; leaves: fields.
//!
//! Every field but names and metadata has an alphabet of its own, so a hostile name cannot move the others.

use std::net::IpAddr;

use memchr::{memchr, memchr3};
use truename_model::{Flags, Rcode};

/// What a line says of the response code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// The line does not show it.
    #[default]
    NotShown,
    /// `-`: no response was written (or, before CoreDNS 1.14.5, one that the plugin did not see).
    NoResponse,
    /// A code by name or number.
    Code(Rcode),
}

/// The fields that a line shows; what it does not show is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// `{remote}`; `None` also when it is no address (masked lines).
    pub client: Option<IpAddr>,
    /// `{port}`.
    pub port: Option<u16>,
    /// `{>id}`.
    pub id: Option<u16>,
    /// `{type}` as printed.
    pub rtype: Option<&'a [u8]>,
    /// `{class}` as printed.
    pub class: Option<&'a [u8]>,
    /// `{name}` as printed: presentation form with escapes.
    pub name: Option<&'a [u8]>,
    /// `{proto}`: `udp` or `tcp`.
    pub proto: Option<&'a [u8]>,
    /// `{size}`.
    pub size: Option<u32>,
    /// `{>do}`.
    pub dnssec_ok: Option<bool>,
    /// `{>bufsize}`.
    pub bufsize: Option<u16>,
    /// `{rcode}`.
    pub rcode: Outcome,
    /// `{>rflags}`.
    pub rflags: Option<Flags>,
    /// `{rsize}`.
    pub rsize: Option<u32>,
    /// `{duration}` in nanoseconds.
    pub duration_ns: Option<i64>,
    /// `{>opcode}`.
    pub opcode: Option<u8>,
    /// `{local}` as printed.
    pub local: Option<&'a [u8]>,
    /// `{/forward/upstream}`.
    pub upstream: Option<&'a [u8]>,
    /// `{/kubernetes/client-namespace}`.
    pub client_namespace: Option<&'a [u8]>,
    /// `{/kubernetes/client-pod-name}`.
    pub client_pod: Option<&'a [u8]>,
    /// `{/log/type}`.
    pub log_type: Option<&'a [u8]>,
    /// The time of CoreDNS ≤ 1.2.5, as printed between brackets.
    pub when: Option<&'a [u8]>,
    /// The line ends before the format does.
    pub cut: bool,
}

/// A place in a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// The octets up to `stop`, which is stepped over.
    ///
    /// Fields are a few octets long, so a plain loop is faster here than a search by vectors.
    #[inline]
    pub(crate) fn until(&mut self, stop: u8) -> Option<&'a [u8]> {
        let at = self.rest.iter().position(|&octet| octet == stop)?;
        let token = &self.rest[..at];
        self.rest = &self.rest[at + 1..];
        Some(token)
    }

    /// The octets up to `stop` or the end; `stop` is stepped over.
    pub(crate) fn until_or_end(&mut self, stop: u8) -> &'a [u8] {
        self.until(stop).unwrap_or_else(|| std::mem::take(&mut self.rest))
    }

    /// Steps over `literal` if it stands here.
    pub(crate) fn eat(&mut self, literal: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(literal)?;
        Some(())
    }

    /// The escaped name here: up to a raw space or quote (RFC 1035 §5.1 escapes as miekg/dns prints them).
    pub(crate) fn name(&mut self) -> Option<&'a [u8]> {
        let end = name_end(self.rest)?;
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(name)
    }
}

/// The octet offset at which the name at the start of `text` ends; `None` if it is no complete absolute name.
///
/// A raw space or quote never stands inside a printed name, so the first one closes it.
pub(crate) fn name_end(text: &[u8]) -> Option<usize> {
    let mut at = 0usize;
    while let Some(found) = memchr3(b' ', b'\\', b'"', text.get(at..)?) {
        at += found;
        if text[at] != b'\\' {
            return closed_name(text, at);
        }
        let escape = text.get(at + 1)?;
        at += if escape.is_ascii_digit() {
            let digits = text.get(at + 1..at + 4)?;
            if !digits.iter().all(u8::is_ascii_digit) {
                return None;
            }
            4
        } else {
            2
        };
    }
    closed_name(text, text.len())
}

fn closed_name(text: &[u8], end: usize) -> Option<usize> {
    (end > 0 && text[end - 1] == b'.' && !is_escaped(text, end - 1)).then_some(end)
}

/// True if an odd number of backslashes stands before `at`.
fn is_escaped(text: &[u8], at: usize) -> bool {
    text[..at].iter().rev().take_while(|&&octet| octet == b'\\').count() % 2 == 1
}

/// A decimal number of at most nine digits.
pub(crate) fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    let mut value = 0u32;
    for &octet in text {
        let digit = octet.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u32::from(digit);
    }
    Some(value)
}

pub(crate) fn number16(text: &[u8]) -> Option<u16> {
    number(text).and_then(|value| u16::try_from(value).ok())
}

/// An address: IPv4 bare, IPv6 in brackets and perhaps with a zone.
pub(crate) fn address(text: &[u8]) -> Option<IpAddr> {
    if let Some(ip) = ipv4(text) {
        return Some(IpAddr::V4(ip.into()));
    }
    let inner = text.strip_prefix(b"[").and_then(|tail| tail.strip_suffix(b"]")).unwrap_or(text);
    let bare = memchr(b'%', inner).map_or(inner, |zone| &inner[..zone]);
    let ip: IpAddr = std::str::from_utf8(bare).ok()?.parse().ok()?;
    Some(ip.to_canonical())
}

fn ipv4(text: &[u8]) -> Option<[u8; 4]> {
    let mut octets = [0u8; 4];
    let (mut index, mut value, mut digits) = (0usize, 0u32, 0u32);
    for &octet in text {
        if octet == b'.' {
            *octets.get_mut(index)? = u8::try_from(value).ok().filter(|_| digits > 0)?;
            (index, value, digits) = (index + 1, 0, 0);
            continue;
        }
        let digit = octet.wrapping_sub(b'0');
        if digit > 9 || digits == 3 {
            return None;
        }
        (value, digits) = (value * 10 + u32::from(digit), digits + 1);
    }
    if index != 3 || digits == 0 {
        return None;
    }
    octets[3] = u8::try_from(value).ok()?;
    Some(octets)
}

/// `0.000046555s` in nanoseconds; digits beyond the ninth are cut.
pub(crate) fn duration(text: &[u8]) -> Option<i64> {
    let text = text.strip_suffix(b"s")?;
    let (whole, fraction) = match memchr(b'.', text) {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    let secs = i64::from(number(whole)?);
    let kept = &fraction[..fraction.len().min(9)];
    if !fraction.is_empty() && !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut nanos = kept.iter().fold(0i64, |sum, &digit| sum * 10 + i64::from(digit - b'0'));
    for _ in kept.len()..9 {
        nanos *= 10;
    }
    Some(secs * 1_000_000_000 + nanos)
}

/// `NXDOMAIN`, a bare number, or `-`.
pub(crate) fn outcome(text: &[u8]) -> Option<Outcome> {
    match text {
        b"NOERROR" => return Some(Outcome::Code(Rcode::NOERROR)),
        b"NXDOMAIN" => return Some(Outcome::Code(Rcode::NXDOMAIN)),
        b"-" => return Some(Outcome::NoResponse),
        // Names of miekg/dns that the model has not, or has under another name.
        b"NOTIMPL" => return Some(Outcome::Code(Rcode::NOTIMP)),
        b"DSOTYPENI" => return Some(Outcome::Code(Rcode(11))),
        b"BADSIG" => return Some(Outcome::Code(Rcode::BADVERS)),
        b"BADMODE" => return Some(Outcome::Code(Rcode(19))),
        b"BADNAME" => return Some(Outcome::Code(Rcode(20))),
        b"BADALG" => return Some(Outcome::Code(Rcode(21))),
        b"BADTRUNC" => return Some(Outcome::Code(Rcode(22))),
        _ => {}
    }
    if let Some(value) = number16(text) {
        return Some(Outcome::Code(Rcode(value)));
    }
    Rcode::parse(std::str::from_utf8(text).ok()?).map(Outcome::Code)
}

/// `qr,aa,rd`, `-` or nothing.
pub(crate) fn response_flags(text: &[u8]) -> Option<Flags> {
    let mut bits = 0u16;
    if text.is_empty() || text == b"-" {
        return Some(Flags(0));
    }
    for token in text.split(|&octet| octet == b',') {
        bits |= match token {
            b"qr" => Flags::QR,
            b"aa" => Flags::AA,
            b"tc" => Flags::TC,
            b"rd" => Flags::RD,
            b"ra" => Flags::RA,
            b"z" => Flags::Z,
            b"ad" => Flags::AD,
            b"cd" => Flags::CD,
            _ => return None,
        };
    }
    Some(Flags(bits))
}

pub(crate) fn boolean(text: &[u8]) -> Option<bool> {
    match text {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

/// A type or class as printed: letters, digits, `-`.
pub(crate) fn mnemonic(text: &[u8]) -> Option<&[u8]> {
    let fits = |octet: &u8| octet.is_ascii_alphanumeric() || *octet == b'-';
    (!text.is_empty() && text.len() <= 16 && text.iter().all(fits)).then_some(text)
}

/// Reads the common format at the cursor and leaves it behind `{duration}`.
///
/// A line that ends after its quoted part is taken with `cut` set: what stands there is evidence.
pub(crate) fn common<'a>(cursor: &mut Cursor<'a>) -> Option<Fields<'a>> {
    let mut fields = Fields::default();
    common_into(cursor, &mut fields)?;
    Some(fields)
}

/// As [`common`], into fields that are all unset: they are large, and this is the hot path.
#[inline]
pub(crate) fn common_into<'a>(cursor: &mut Cursor<'a>, fields: &mut Fields<'a>) -> Option<()> {
    let remote = cursor.until(b' ')?;
    let colon = remote.iter().rposition(|&octet| octet == b':')?;
    fields.port = Some(number16(&remote[colon + 1..])?);
    fields.client = address(&remote[..colon]);
    cursor.eat(b"- ")?;
    if cursor.rest.first() == Some(&b'[') {
        cursor.eat(b"[")?;
        fields.when = Some(cursor.until(b']')?);
        cursor.eat(b" ")?;
    }
    fields.id = Some(number16(cursor.until(b' ')?)?);
    cursor.eat(b"\"")?;
    quoted(cursor, fields)?;
    tail(cursor, fields)
}

fn quoted<'a>(cursor: &mut Cursor<'a>, fields: &mut Fields<'a>) -> Option<()> {
    fields.rtype = Some(mnemonic(cursor.until(b' ')?)?);
    fields.class = Some(mnemonic(cursor.until(b' ')?)?);
    fields.name = Some(cursor.name()?);
    cursor.eat(b" ")?;
    fields.proto = Some(mnemonic(cursor.until(b' ')?)?);
    fields.size = Some(number(cursor.until(b' ')?)?);
    fields.dnssec_ok = Some(boolean(cursor.until(b' ')?)?);
    fields.bufsize = Some(number16(cursor.until(b'"')?)?);
    Some(())
}

fn tail<'a>(cursor: &mut Cursor<'a>, fields: &mut Fields<'a>) -> Option<()> {
    if cursor.rest.is_empty() {
        fields.cut = true;
        return Some(());
    }
    cursor.eat(b" ")?;
    fields.rcode = outcome(cursor.until_or_end(b' '))?;
    if cursor.rest.is_empty() {
        fields.cut = true;
        return Some(());
    }
    fields.rflags = Some(response_flags(cursor.until_or_end(b' '))?);
    if cursor.rest.is_empty() {
        fields.cut = true;
        return Some(());
    }
    fields.rsize = Some(number(cursor.until_or_end(b' '))?);
    let token_len = cursor.rest.iter().position(|&octet| octet == b' ').unwrap_or(cursor.rest.len());
    let (token, rest) = cursor.rest.split_at(token_len);
    match duration(token) {
        Some(ns) => {
            fields.duration_ns = Some(ns);
            cursor.rest = rest;
        }
        // A cut in the middle of the number: its value is not known.
        None if rest.is_empty() => {
            fields.cut = true;
            cursor.rest = rest;
        }
        None => return None,
    }
    Some(())
}
