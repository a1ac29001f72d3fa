//! What bytes are, told by their content and never by a name. Enters: the head of a layer; leaves: container or format.
//!
//! A byte order mark, CRLF and leading blank lines are tolerated. What is not known is named by what it looks like.
//! Deliberately absent: reading beyond the head.

mod corefile;

use std::fmt;

use serde_json::Value;

use crate::corednslog;
use crate::kube::Syntax;
use crate::kube::walk::{Step, Token, walk};

/// Octets of a layer that recognition looks at.
pub const HEAD: usize = 64 << 10;

/// A container: its inside is looked at in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Container {
    /// RFC 1952, one or more members.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// The .xz file format 1.2.1.
    Xz,
    /// POSIX ustar, pax and GNU tar.
    Tar,
}

/// A format whose records are decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// CoreDNS's own output, in a wrapping.
    CoreDnsLog(corednslog::Dialect),
    /// A frame stream of dnstap messages.
    Dnstap,
    /// A packet capture.
    Pcap,
    /// A packet capture, next generation.
    PcapNg,
    /// Kubernetes objects.
    KubeObjects(Syntax),
    /// A watch stream of the API.
    KubeWatch,
    /// The API server's audit log.
    Audit,
    /// A Corefile.
    Corefile,
    /// None of these; the text says what it looks like.
    Unknown(&'static str),
}

/// The format in words.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CoreDnsLog(dialect) => return f.write_str(&dialect.phrase()),
            Self::Dnstap => "dnstap frame stream",
            Self::Pcap => "pcap",
            Self::PcapNg => "pcapng",
            Self::KubeObjects(Syntax::Json) => "Kubernetes objects, JSON",
            Self::KubeObjects(Syntax::Yaml) => "Kubernetes objects, YAML",
            Self::KubeWatch => "Kubernetes watch stream",
            Self::Audit => "API audit log",
            Self::Corefile => "Corefile",
            Self::Unknown(what) => what,
        })
    }
}

/// What a head tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recognised {
    /// Look inside.
    Container(Container),
    /// Split and decode.
    Format(Format),
}

/// Tells what a layer is from its first [`HEAD`] octets (or all, if it has fewer).
#[must_use]
pub fn recognise(head: &[u8]) -> Recognised {
    if let Some(container) = container(head) {
        return Recognised::Container(container);
    }
    let format = binary(head).unwrap_or_else(|| text(head));
    Recognised::Format(format)
}

fn container(head: &[u8]) -> Option<Container> {
    match head {
        [0x1f, 0x8b, 8, ..] => Some(Container::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Container::Zstd),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Container::Xz),
        _ if head.get(257..262) == Some(b"ustar") => Some(Container::Tar),
        _ => skippable_zstd(head),
    }
}

/// zstd may begin with skippable frames (RFC 8878 §3.1.2): they are passed to find a real one.
fn skippable_zstd(mut head: &[u8]) -> Option<Container> {
    while let [0x50..=0x5f, 0x2a, 0x4d, 0x18, a, b, c, d, rest @ ..] = head {
        let len = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        head = rest.get(len..)?;
        if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            return Some(Container::Zstd);
        }
    }
    None
}

fn binary(head: &[u8]) -> Option<Format> {
    match head {
        [0xd4, 0xc3, 0xb2, 0xa1, ..]
        | [0xa1, 0xb2, 0xc3, 0xd4, ..]
        | [0x4d, 0x3c, 0xb2, 0xa1, ..]
        | [0xa1, 0xb2, 0x3c, 0x4d, ..]
        // "Modified" pcap of Kuznetzov's patch.
        | [0x34, 0xcd, 0xb2, 0xa1, ..]
        | [0xa1, 0xb2, 0xcd, 0x34, ..] => Some(Format::Pcap),
        [0x0a, 0x0d, 0x0d, 0x0a, _, _, _, _, 0x1a, 0x2b, 0x3c, 0x4d, ..]
        | [0x0a, 0x0d, 0x0d, 0x0a, _, _, _, _, 0x4d, 0x3c, 0x2b, 0x1a, ..] => Some(Format::PcapNg),
        [0, 0, 0, 0, len @ ..] => frame_stream(len),
        _ => None,
    }
}

/// A control frame (escape already read): its length, its type, and the content type if it has one.
fn frame_stream(rest: &[u8]) -> Option<Format> {
    let word = |at: usize| Some(u32::from_be_bytes(rest.get(at..at + 4)?.try_into().ok()?));
    let (len, kind) = (word(0)?, word(4)?);
    // START and READY open a stream; ACCEPT, STOP and FINISH are seen where a capture holds one direction.
    if !(4..=512).contains(&len) || !(1..=5).contains(&kind) {
        return None;
    }
    let is_dnstap = |text: &[u8]| memchr::memmem::find(text, b"protobuf:dnstap.Dnstap").is_some();
    let fields = rest.get(8..).unwrap_or_default();
    let fields = &fields[..fields.len().min(len as usize - 4)];
    if fields.len() >= 8 && !is_dnstap(fields) {
        return Some(Format::Unknown("a frame stream of another content type than dnstap"));
    }
    Some(Format::Dnstap)
}

fn text(head: &[u8]) -> Format {
    let body = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    if head.is_empty() {
        return Format::Unknown("an empty file");
    }
    if body.is_empty() {
        return Format::Unknown("blank text");
    }
    if let Some(format) = json(body) {
        return format;
    }
    if is_kube_yaml(body) {
        return Format::KubeObjects(Syntax::Yaml);
    }
    if corefile::is_corefile(utf8_head(body)) {
        return Format::Corefile;
    }
    if let Some(dialect) = corednslog::detect(head) {
        return Format::CoreDnsLog(dialect);
    }
    Format::Unknown(looks_like(head))
}

/// Lines of a JSON text looked at before it is given up.
const JSON_LINES: usize = 32;

/// A JSON format, or `None` where the text is no JSON or JSON that the log reader must judge.
fn json(body: &[u8]) -> Option<Format> {
    if !matches!(body.first(), Some(b'{' | b'[')) {
        return None;
    }
    // The first value may be torn or of no use (a rotated file begins in the middle): later lines are tried too.
    let mut rest = body;
    for _ in 0..JSON_LINES {
        match json_value(rest) {
            // YAML documents may be written as JSON: then `---` stands between them.
            Json::Is(Format::KubeObjects(_)) if has_separator(body) => {
                return Some(Format::KubeObjects(Syntax::Yaml));
            }
            Json::Is(format) => return Some(format),
            Json::Log => return None,
            Json::Other => {}
        }
        let next = memchr::memchr(b'\n', rest)?;
        rest = rest[next..].trim_ascii_start();
        if rest.is_empty() {
            return None;
        }
    }
    None
}

enum Json {
    Is(Format),
    /// A line of a log: another reader must say whose.
    Log,
    Other,
}

/// The members of the first value that tell what it is: keys at the top, and below `event` and the list items.
#[derive(Default)]
struct Members {
    kind: Option<String>,
    api_version: Option<String>,
    event_type: Option<String>,
    keys: Vec<String>,
}

impl Members {
    fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|have| have == key)
    }
}

fn json_value(text: &[u8]) -> Json {
    let mut top = Members::default();
    let mut inner = Members::default();
    let is_array = text.first() == Some(&b'[');
    let mut ended = false;
    walk(text, &mut |path, token, range| {
        if ended {
            return;
        }
        ended = path.is_empty() && token == Token::Close;
        let value = &text[range];
        match path {
            [Step::Key(key)] if token != Token::Close => note(&mut top, key, token, value),
            [Step::Index, Step::Key(key)] if is_array && token != Token::Close => {
                note(&mut top, key, token, value)
            }
            [Step::Key(outer), Step::Index, Step::Key(key)] if outer == "items" && token != Token::Close => {
                note(&mut inner, key, token, value);
            }
            [Step::Key(outer), Step::Key(key)] if outer == "event" && token != Token::Close => {
                note(&mut inner, key, token, value);
            }
            _ => {}
        }
    });
    judge(&top, &inner)
}

fn note(members: &mut Members, key: &str, token: Token, value: &[u8]) {
    if members.keys.len() < 64 && !members.has(key) {
        members.keys.push(key.to_owned());
    }
    if token != Token::String {
        return;
    }
    let text = || Some(String::from_utf8_lossy(value).into_owned());
    match key {
        "kind" if members.kind.is_none() => members.kind = text(),
        "apiVersion" if members.api_version.is_none() => members.api_version = text(),
        "type" if members.event_type.is_none() => members.event_type = text(),
        _ => {}
    }
}

fn judge(top: &Members, inner: &Members) -> Json {
    let is_audit = |members: &Members| {
        members.api_version.as_deref().is_some_and(|version| version.starts_with("audit.k8s.io/"))
            || ["auditID", "stage", "verb"].iter().all(|key| members.has(key))
    };
    let is_event = |members: &Members| {
        let known = ["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"];
        members.has("object") && members.event_type.as_deref().is_some_and(|word| known.contains(&word))
    };
    if is_audit(top) || is_audit(inner) {
        return Json::Is(Format::Audit);
    }
    if is_event(top) || (top.has("event") && is_event(inner)) {
        return Json::Is(Format::KubeWatch);
    }
    // Docker's json-file and CoreDNS's JSON mode.
    if (top.has("log") && (top.has("stream") || top.has("time"))) || (top.has("level") && top.has("msg")) {
        return Json::Log;
    }
    let is_object = |members: &Members| members.kind.is_some() && members.api_version.is_some();
    if is_object(top) || is_object(inner) || (top.has("items") && (top.has("kind") || inner.has("metadata")))
    {
        return Json::Is(Format::KubeObjects(Syntax::Json));
    }
    Json::Other
}

fn has_separator(body: &[u8]) -> bool {
    body.split(|b| *b == b'\n').any(|line| line.trim_ascii_end() == b"---")
}

/// `apiVersion:` and `kind:` as keys of a document or of a list item, in a text that begins as YAML does.
fn is_kube_yaml(body: &[u8]) -> bool {
    let (mut version, mut kind, mut begun) = (false, false, false);
    for line in body.split(|b| *b == b'\n') {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let line = line.strip_prefix(b"- ").unwrap_or(line);
        // Prose that quotes objects does not begin with a key.
        if !begun && !begins_yaml(line) {
            return false;
        }
        begun = true;
        version |= line.starts_with(b"apiVersion:");
        kind |= line.starts_with(b"kind:");
        if version && kind {
            return true;
        }
    }
    false
}

/// A directive, a separator, or a key.
fn begins_yaml(line: &[u8]) -> bool {
    if line.starts_with(b"---") || line.starts_with(b"%YAML") {
        return true;
    }
    let key = line.iter().take_while(|b| b.is_ascii_alphanumeric() || b"-_./\"'".contains(b)).count();
    key > 0 && line.get(key) == Some(&b':') && line.get(key + 1).is_none_or(|b| matches!(b, b' ' | b'\t'))
}

/// The head without a character cut at its end.
fn utf8_head(body: &[u8]) -> &[u8] {
    match std::str::from_utf8(body) {
        Err(error) if error.error_len().is_none() => &body[..error.valid_up_to()],
        _ => body,
    }
}

fn looks_like(head: &[u8]) -> &'static str {
    let magics: [(&[u8], &str); 9] = [
        (b"PK\x03\x04", "a zip archive"),
        (b"BZh", "a bzip2 file"),
        (b"\x04\x22\x4d\x18", "an lz4 file"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"\x7fELF", "a program (ELF)"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"%PDF-", "a PDF document"),
        (b"\x89PNG", "a PNG picture"),
        (b"PAR1", "a Parquet file"),
    ];
    if let Some((_, what)) = magics.iter().find(|(magic, _)| head.starts_with(magic)) {
        return what;
    }
    let trimmed = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return "text in UTF-16";
    }
    if head.contains(&0) {
        return "binary data of no known format";
    }
    if is_wrapped(trimmed) {
        return WRAPPED;
    }
    match trimmed.first() {
        Some(b'{' | b'[') if looks_like_json(trimmed) => "JSON of no known kind",
        Some(b'<') => "HTML or XML",
        _ if std::str::from_utf8(utf8_head(head)).is_ok() => "text of no known kind",
        _ => "binary data of no known format",
    }
}

/// What the API writes is read as it is, not out of the lines of a log.
const WRAPPED: &str = "an audit log, a watch or objects of the API, wrapped in the lines of a log";

/// True if the first line that has something inside it holds what is read when it stands alone.
fn is_wrapped(text: &[u8]) -> bool {
    let lines = text.split(|b| *b == b'\n').take(JSON_LINES);
    lines.filter_map(corednslog::innermost).any(|inner| matches!(json_value(&inner), Json::Is(_)))
}

/// What to do about a layer that is not recognised, by what it looks like; empty where there is nothing to do.
#[must_use]
pub fn next_step(looks: &str) -> &'static str {
    match looks {
        "a zip archive" | "a bzip2 file" | "an lz4 file" | "a 7z archive" | "a container nested too deep" => {
            "unpack it and give what is inside"
        }
        "text in UTF-16" => "convert it to UTF-8 (iconv -f utf-16 -t utf-8)",
        WRAPPED => "give what is inside, one object a line (jq -r .log, or cut -d' ' -f4-)",
        "JSON of no known kind" | "text of no known kind" | "HTML or XML" => {
            "if it holds a log or a dump in a form of its own, give the lines or objects inside it"
        }
        "a frame stream of another content type than dnstap" | "binary data of no known format" => {
            "if it is a capture, give it as pcap, pcapng or dnstap"
        }
        _ => "",
    }
}

fn looks_like_json(text: &[u8]) -> bool {
    let first = text.split(|b| *b == b'\n').next().unwrap_or_default();
    text.len() > 1
        && (serde_json::from_slice::<Value>(first).is_ok() || matches!(first.trim_ascii(), b"{" | b"["))
}

#[cfg(test)]
mod tests;
