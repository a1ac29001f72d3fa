//! JSON and YAML to values. Enters: a record; leaves: a value, or where reading stopped.
//!
//! YAML is read as YAML 1.2 with budgets on nodes, depth and aliases. Kubernetes' own reader is YAML 1.1: an unquoted
//! `yes` or `on` is a truth there and text here; dumps of kubectl quote such texts, hand-written files may differ.

use serde_json::Value;

/// The notation of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Syntax {
    /// JSON, whole or in lines.
    Json,
    /// YAML, one or more documents.
    Yaml,
}

/// Why a record gives no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Stable reason.
    pub reason: &'static str,
    /// Octet offset where reading stopped.
    pub offset: usize,
}

/// Longest YAML document read, octets.
const YAML_MAX: usize = 16 << 20;

/// The record without byte order mark, white space and list punctuation around it, and how many octets went before.
#[must_use]
pub fn bare(bytes: &[u8]) -> (&[u8], usize) {
    let mark = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let padding = |b: &u8| b.is_ascii_whitespace() || *b == b',';
    let lead = mark + bytes[mark..].iter().take_while(|b| padding(b)).count();
    let tail = bytes[lead..].iter().rev().take_while(|b| padding(b)).count();
    (&bytes[lead..bytes.len() - tail], lead)
}

/// Reads a JSON value; serde_json bounds the depth at 128.
///
/// # Errors
/// [`Unreadable`] names the offset.
pub fn json(bytes: &[u8]) -> Result<Value, Unreadable> {
    let (text, lead) = bare(bytes);
    serde_json::from_slice(text)
        .map_err(|error| Unreadable { reason: json_reason(&error), offset: lead + offset_of(text, &error) })
}

/// A stable phrase for an error of serde_json.
#[must_use]
pub fn json_reason(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        serde_json::error::Category::Eof => "JSON cut short",
        serde_json::error::Category::Data => "JSON of an unexpected shape",
        serde_json::error::Category::Io | serde_json::error::Category::Syntax => "not JSON",
    }
}

/// The octet offset of an error (serde_json counts lines and columns from 1).
#[must_use]
pub fn offset_of(text: &[u8], error: &serde_json::Error) -> usize {
    let line = error.line().saturating_sub(1);
    let start = match line.checked_sub(1) {
        None => 0,
        Some(nth) => memchr::memchr_iter(b'\n', text).nth(nth).map_or(0, |at| at + 1),
    };
    (start + error.column().saturating_sub(1)).min(text.len())
}

/// The text of a YAML document, and how many octets went before it.
///
/// # Errors
/// [`Unreadable`] names the offset.
pub fn document(bytes: &[u8]) -> Result<(&str, usize), Unreadable> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let lead = bytes.len() - text.len();
    // A separator at the very end begins no document.
    let text = text.strip_suffix(b"\n---").unwrap_or(text);
    if text.len() > YAML_MAX {
        return Err(Unreadable { reason: "YAML document too long", offset: YAML_MAX });
    }
    let text = std::str::from_utf8(text)
        .map_err(|error| Unreadable { reason: "YAML that is not UTF-8", offset: error.valid_up_to() })?;
    Ok((text, lead))
}

/// Reads a YAML document.
///
/// # Errors
/// [`Unreadable`] names the offset.
pub fn yaml(bytes: &[u8]) -> Result<Value, Unreadable> {
    let (text, _) = document(bytes)?;
    // Repeated keys: Kubernetes takes the last one. Excerpts of the text must not get into messages.
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let offset = error.location().map_or(0, |place| line_start(text, place.line() as usize));
        let over = is_over_budget(&error);
        Unreadable {
            reason: if over { "YAML over the budget of nodes, depth or aliases" } else { "not YAML" },
            offset,
        }
    })
}

fn is_over_budget(error: &serde_saphyr::Error) -> bool {
    use serde_saphyr::Error;
    match error.without_snippet() {
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => true,
        Error::AliasError { error, .. } => is_over_budget(error),
        _ => false,
    }
}

fn line_start(text: &str, line: usize) -> usize {
    match line.checked_sub(2) {
        None => 0,
        Some(nth) => memchr::memchr_iter(b'\n', text.as_bytes()).nth(nth).map_or(0, |at| at + 1),
    }
}
