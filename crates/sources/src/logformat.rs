//! A custom format of CoreDNS's `log` plugin, compiled. Enters: the FORMAT text of a `log` directive; leaves: a matcher.
//!
//! Labels and literals are cut exactly as CoreDNS cuts them (`plugin/pkg/replacer`): from `}` back to the last `{`,
//! unknown labels stay literal. Formats that a line cannot be read back from are refused, never guessed.

mod fields;

use memchr::memmem;
use thiserror::Error;

pub(crate) use fields::{
    Cursor, address, common, common_into, duration, name_end, number, outcome, response_flags,
};
pub use fields::{Fields, Outcome};

/// Why a format is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LogFormatError {
    /// Two labels touch, so nothing says where the first ends.
    #[error("two labels of the log format touch: put a space between them")]
    Touching,
    /// The literal behind a name or metadata value may stand inside it.
    #[error(
        "a name or metadata value of the log format is followed by text that may be part of it: put a space behind it"
    )]
    OpenEnd,
    /// Without a name a line tells of no lookup.
    #[error("the log format has no {{name}}")]
    NoName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    Type,
    Name,
    Class,
    Proto,
    Size,
    Remote,
    Port,
    Local,
    Rcode,
    Rsize,
    Duration,
    Id,
    Opcode,
    Do,
    Bufsize,
    Rflags,
    Upstream,
    ClientNamespace,
    ClientPod,
    LogType,
    /// Metadata that Truename does not keep; `true` if its values may hold spaces.
    Other(bool),
}

const LABELS: [(&[u8], Label); 16] = [
    (b"{type}", Label::Type),
    (b"{name}", Label::Name),
    (b"{class}", Label::Class),
    (b"{proto}", Label::Proto),
    (b"{size}", Label::Size),
    (b"{remote}", Label::Remote),
    (b"{port}", Label::Port),
    (b"{local}", Label::Local),
    (b"{rcode}", Label::Rcode),
    (b"{rsize}", Label::Rsize),
    (b"{duration}", Label::Duration),
    (b"{>id}", Label::Id),
    (b"{>opcode}", Label::Opcode),
    (b"{>do}", Label::Do),
    (b"{>bufsize}", Label::Bufsize),
    (b"{>rflags}", Label::Rflags),
];

impl Label {
    fn find(text: &[u8]) -> Option<Self> {
        if let Some((_, label)) = LABELS.iter().find(|(name, _)| *name == text) {
            return Some(*label);
        }
        let key = text.strip_prefix(b"{/")?.strip_suffix(b"}")?;
        Some(match key {
            b"forward/upstream" => Self::Upstream,
            b"kubernetes/client-namespace" => Self::ClientNamespace,
            b"kubernetes/client-pod-name" => Self::ClientPod,
            b"log/type" => Self::LogType,
            // Place names hold spaces; what we do not know may.
            _ => {
                let plain: [&[u8]; 5] = [b"kubernetes/", b"forward/", b"log/", b"zone/", b"view/"];
                Self::Other(!plain.iter().any(|prefix| key.starts_with(prefix)))
            }
        })
    }

    /// True if a client or its pod chooses the octets of the value.
    fn is_free(self) -> bool {
        matches!(
            self,
            Self::Name
                | Self::Upstream
                | Self::ClientNamespace
                | Self::ClientPod
                | Self::LogType
                | Self::Other(_)
        )
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Literal(Box<[u8]>),
    Label(Label),
    /// The whole common format, read by the fast path.
    Common,
}

/// A compiled format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFormat {
    /// The format as the Corefile gives it.
    pub text: String,
    nodes: Vec<Node>,
}

impl LogFormat {
    /// Compiles the FORMAT argument of a `log` directive, quotes already taken off.
    ///
    /// # Errors
    /// [`LogFormatError`]: the format cannot be read back without guessing.
    pub fn compile(text: &str) -> Result<Self, LogFormatError> {
        let mut nodes = Vec::new();
        let combined = text.replace("{combined}", "{common} \"{>opcode}\"");
        for (index, part) in combined.split("{common}").enumerate() {
            if index > 0 {
                nodes.push(Node::Common);
            }
            cut_nodes(part.as_bytes(), &mut nodes);
        }
        check(&nodes)?;
        Ok(Self { text: text.to_owned(), nodes })
    }

    /// True if lines of this format begin with the common format.
    pub(crate) fn begins_common(&self) -> bool {
        self.nodes.first() == Some(&Node::Common)
    }

    /// Reads a line; `None` if it is not of this format.
    #[must_use]
    pub fn read<'a>(&self, line: &'a [u8]) -> Option<Fields<'a>> {
        let mut cursor = Cursor { rest: line };
        let mut fields = Fields::default();
        walk(&self.nodes, &mut cursor, &mut fields)?;
        cursor.rest.is_empty().then_some(fields)
    }

    /// Reads what stands behind the common format, for formats that begin with it.
    pub(crate) fn read_tail<'a>(&self, tail: &'a [u8], fields: &mut Fields<'a>) -> Option<()> {
        let mut cursor = Cursor { rest: tail };
        let mut more = fields.clone();
        walk(self.nodes.get(1..)?, &mut cursor, &mut more)?;
        if !cursor.rest.is_empty() {
            return None;
        }
        *fields = more;
        Some(())
    }
}

/// Cuts `text` into nodes as `parseFormat` of CoreDNS does.
fn cut_nodes(text: &[u8], nodes: &mut Vec<Node>) {
    let mut rest = text;
    while let Some(close) = rest.iter().position(|&octet| octet == b'}') {
        let open = rest[..close].iter().rposition(|&octet| octet == b'{');
        let label = open.and_then(|open| Label::find(&rest[open..=close]).map(|label| (open, label)));
        match label {
            Some((open, label)) => {
                push_literal(nodes, &rest[..open]);
                nodes.push(Node::Label(label));
            }
            None => push_literal(nodes, &rest[..=close]),
        }
        rest = &rest[close + 1..];
    }
    push_literal(nodes, rest);
}

fn push_literal(nodes: &mut Vec<Node>, text: &[u8]) {
    if text.is_empty() {
        return;
    }
    match nodes.last_mut() {
        Some(Node::Literal(before)) => *before = [before, text].concat().into_boxed_slice(),
        _ => nodes.push(Node::Literal(Box::from(text))),
    }
}

fn check(nodes: &[Node]) -> Result<(), LogFormatError> {
    let is_name = |node: &Node| matches!(node, Node::Label(Label::Name) | Node::Common);
    if !nodes.iter().any(is_name) {
        return Err(LogFormatError::NoName);
    }
    let mut spacious = 0;
    for (index, node) in nodes.iter().enumerate() {
        let Node::Label(label) = node else {
            if *node == Node::Common {
                behind_common(nodes.get(index + 1))?;
            }
            continue;
        };
        spacious += u32::from(*label == Label::Other(true));
        match nodes.get(index + 1) {
            Some(Node::Label(_) | Node::Common) => return Err(LogFormatError::Touching),
            Some(Node::Literal(next)) if label.is_free() && !ends_free(*label, next) => {
                return Err(LogFormatError::OpenEnd);
            }
            _ => {}
        }
    }
    // With two values that may hold spaces, nothing says which one a word belongs to.
    if spacious > 1 { Err(LogFormatError::OpenEnd) } else { Ok(()) }
}

/// The duration at the end of the common format is read up to a space.
fn behind_common(next: Option<&Node>) -> Result<(), LogFormatError> {
    match next {
        Some(Node::Label(_) | Node::Common) => Err(LogFormatError::Touching),
        Some(Node::Literal(text)) if text.first() != Some(&b' ') => Err(LogFormatError::OpenEnd),
        _ => Ok(()),
    }
}

/// True if `next` cannot begin inside a value of `label`.
fn ends_free(label: Label, next: &[u8]) -> bool {
    match (label, next.first()) {
        // miekg/dns escapes these octets inside names.
        (Label::Name, Some(first)) => matches!(first, b' ' | b'"' | b'\'' | b'@' | b';' | b'(' | b')'),
        (_, Some(first)) => matches!(first, b' ' | b'"' | b'|' | b',' | b'\t'),
        (_, None) => true,
    }
}

fn walk<'a>(nodes: &[Node], cursor: &mut Cursor<'a>, fields: &mut Fields<'a>) -> Option<()> {
    let mut index = 0;
    while let Some(node) = nodes.get(index) {
        match node {
            Node::Literal(text) => cursor.eat(text)?,
            Node::Common => {
                let before = std::mem::replace(fields, common(cursor)?);
                keep_metadata(fields, &before);
                if fields.cut {
                    return None;
                }
            }
            Node::Label(label) => {
                let next = match nodes.get(index + 1) {
                    Some(Node::Literal(next)) => Some(&**next),
                    _ => None,
                };
                read_label(*label, next, nodes.get(index + 1..), cursor, fields)?;
            }
        }
        index += 1;
    }
    Some(())
}

/// Metadata in front of `{common}` is not forgotten when the common part is read.
fn keep_metadata<'a>(fields: &mut Fields<'a>, before: &Fields<'a>) {
    fields.local = fields.local.or(before.local);
    fields.upstream = fields.upstream.or(before.upstream);
    fields.client_namespace = fields.client_namespace.or(before.client_namespace);
    fields.client_pod = fields.client_pod.or(before.client_pod);
    fields.log_type = fields.log_type.or(before.log_type);
}

fn read_label<'a>(
    label: Label,
    next: Option<&[u8]>,
    behind: Option<&[Node]>,
    cursor: &mut Cursor<'a>,
    fields: &mut Fields<'a>,
) -> Option<()> {
    if label == Label::Name {
        fields.name = Some(cursor.name()?);
        return Some(());
    }
    let end = match (label, next) {
        (_, None) => cursor.rest.len(),
        // An IPv6 address holds colons, which may be the literal behind it.
        (Label::Remote | Label::Local, Some(next)) => bracketed_end(cursor.rest, next)?,
        (Label::Other(true), Some(next)) => only_end(cursor.rest, next, behind.unwrap_or_default())?,
        (_, Some(next)) => memmem::find(cursor.rest, next)?,
    };
    let (text, rest) = cursor.rest.split_at(end);
    cursor.rest = rest;
    store(label, text, fields)
}

fn bracketed_end(text: &[u8], next: &[u8]) -> Option<usize> {
    let from = if text.first() == Some(&b'[') { memchr::memchr(b']', text)? + 1 } else { 0 };
    memmem::find(&text[from..], next).map(|at| from + at)
}

/// The one end of a value with spaces from which the rest of the line matches; `None` if several do.
fn only_end(text: &[u8], next: &[u8], behind: &[Node]) -> Option<usize> {
    let mut found = None;
    for end in memmem::find_iter(text, next).take(64) {
        let mut cursor = Cursor { rest: &text[end..] };
        let mut scratch = Fields::default();
        if walk(behind, &mut cursor, &mut scratch).is_some() && cursor.rest.is_empty() {
            if found.is_some() {
                return None;
            }
            found = Some(end);
        }
    }
    found
}

fn store<'a>(label: Label, text: &'a [u8], fields: &mut Fields<'a>) -> Option<()> {
    use fields::{boolean, mnemonic, number16, outcome};
    match label {
        Label::Type => fields.rtype = Some(mnemonic(text)?),
        Label::Class => fields.class = Some(mnemonic(text)?),
        Label::Proto => fields.proto = Some(mnemonic(text)?),
        Label::Size => fields.size = Some(number(text)?),
        Label::Remote => fields.client = address(text),
        Label::Port => fields.port = Some(number16(text)?),
        Label::Local => fields.local = Some(text),
        Label::Rcode => fields.rcode = outcome(text)?,
        Label::Rsize => fields.rsize = Some(number(text)?),
        Label::Duration => fields.duration_ns = Some(duration(text)?),
        Label::Id => fields.id = Some(number16(text)?),
        Label::Opcode => fields.opcode = Some(u8::try_from(number(text)?).ok()?),
        Label::Do => fields.dnssec_ok = Some(boolean(text)?),
        Label::Bufsize => fields.bufsize = Some(number16(text)?),
        Label::Rflags => fields.rflags = Some(response_flags(text)?),
        Label::Upstream => fields.upstream = Some(text),
        Label::ClientNamespace => fields.client_namespace = Some(text),
        Label::ClientPod => fields.client_pod = Some(text),
        Label::LogType => fields.log_type = Some(text),
        Label::Name | Label::Other(_) => {}
    }
    Some(())
}

#[cfg(test)]
mod tests;
