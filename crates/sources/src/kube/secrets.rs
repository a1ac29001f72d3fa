//! Where a record holds what must never be shown: Secret data, tokens, container environments.
//!
//! Enters: a whole record; leaves: octet ranges, sorted and apart, each inside the quotes where there are quotes.
//! The ranges may hold too much, never too little; they say nothing of what is held there.

use std::collections::BTreeSet;
use std::ops::Range;

use super::object::LAST_APPLIED;
use super::walk::{Step, Token, walk};

/// Dashes looked at on one line: nested deeper there is no object.
const DASHES_MAX: usize = 16;

/// Shortest text under a key `token` that is taken for one, octets.
const TOKEN_MIN: usize = 20;

/// Secret ranges of a JSON record: an object, a list item, a watch event or an audit event.
#[must_use]
pub fn json_ranges(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut scan =
        JsonScan { bytes, frames: Vec::new(), found: Vec::new(), bodies: Vec::new(), of_secrets: false };
    walk(bytes, &mut |path, token, range| scan.visit(path, token, range));
    scan.finish()
}

/// One open object or array.
#[derive(Default)]
struct Frame {
    is_secret: bool,
    has_kind: bool,
    has_type: bool,
    has_data: bool,
    patches_env: bool,
    /// Values under `data` and `stringData`, and the annotation that repeats them.
    data: Vec<Range<usize>>,
    /// Texts under `value`.
    value: Vec<Range<usize>>,
}

struct JsonScan<'b> {
    bytes: &'b [u8],
    frames: Vec<Frame>,
    found: Vec<Range<usize>>,
    /// What is secret if the audit event is about Secrets.
    bodies: Vec<Range<usize>>,
    of_secrets: bool,
}

impl JsonScan<'_> {
    fn visit(&mut self, path: &[Step<'_>], token: Token, range: Range<usize>) {
        match token {
            Token::Open => self.frames.push(Frame::default()),
            Token::Close => self.close(),
            Token::String => {
                self.string_facts(path, &range);
                self.value(path, range);
            }
            Token::Scalar => self.value(path, range),
        }
    }

    fn close(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        // Items of a SecretList have no kind; among the kinds without one only Secrets have `type` beside `data`.
        let looks_secret = !frame.has_kind && frame.has_type && frame.has_data;
        if frame.is_secret || looks_secret {
            self.found.extend(frame.data.iter().cloned());
        }
        if frame.patches_env {
            self.found.extend(frame.value.iter().cloned());
        }
        self.bodies.extend(frame.data);
        self.bodies.extend(frame.value);
    }

    /// Notes what a text says of the object that it is in.
    fn string_facts(&mut self, path: &[Step<'_>], range: &Range<usize>) {
        let text = &self.bytes[range.clone()];
        let [above @ .., Step::Key(key)] = path else { return };
        if key == "resource"
            && text == b"secrets"
            && matches!(above, [Step::Key(parent)] if parent == "objectRef")
        {
            self.of_secrets = true;
        }
        let Some(frame) = self.frames.last_mut() else { return };
        match key.as_ref() {
            "kind" => {
                frame.has_kind = true;
                frame.is_secret |= text == b"Secret";
            }
            "type" => frame.has_type = true,
            "path" => frame.patches_env |= contains(text, b"/env"),
            _ => {}
        }
    }

    fn value(&mut self, path: &[Step<'_>], range: Range<usize>) {
        for (index, step) in path.iter().enumerate() {
            let (Step::Key(key), Some(frame)) = (step, self.frames.get_mut(index)) else { continue };
            match key.as_ref() {
                "data" | "stringData" => {
                    frame.has_data = true;
                    frame.data.push(range.clone());
                }
                "value" => frame.value.push(range.clone()),
                LAST_APPLIED => self.last_applied(index, &range),
                _ => {}
            }
        }
        if is_environment(path) || self.is_token(path, &range) {
            self.found.push(range);
        }
    }

    /// The annotation stands two levels below its object.
    fn last_applied(&mut self, index: usize, range: &Range<usize>) {
        let text = &self.bytes[range.clone()];
        if contains(text, b"\\\"env\\\"") || contains(text, b"\"env\"") {
            self.found.push(range.clone());
        }
        if let Some(frame) = index.checked_sub(2).and_then(|owner| self.frames.get_mut(owner)) {
            frame.data.push(range.clone());
        }
    }

    fn is_token(&self, path: &[Step<'_>], range: &Range<usize>) -> bool {
        let text = &self.bytes[range.clone()];
        let named = matches!(path.last(), Some(Step::Key(key)) if key == "token") && text.len() >= TOKEN_MIN;
        named || looks_like_jwt(text)
    }

    fn finish(mut self) -> Vec<Range<usize>> {
        // A record cut short has frames still open: they count as closed.
        while !self.frames.is_empty() {
            self.close();
        }
        if self.of_secrets {
            self.found.append(&mut self.bodies);
        }
        united(self.found)
    }
}

/// `… env [] value`, at any depth.
fn is_environment(path: &[Step<'_>]) -> bool {
    matches!(path, [.., Step::Key(list), Step::Index, Step::Key(key)] if list == "env" && key == "value")
}

/// Three parts of base64url, the first a JSON object (`{"` encodes to `eyJ`).
fn looks_like_jwt(text: &[u8]) -> bool {
    text.len() >= 60 && text.starts_with(b"eyJ") && text.iter().filter(|b| **b == b'.').count() == 2
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

/// Sorts ranges and joins those that touch; empty ones are dropped.
fn united(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut out: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

/// Secret ranges of a YAML document or list item, found by indentation; a document written as JSON is read as JSON, and
/// of other flow style with anything secret in it all is taken.
#[must_use]
pub fn yaml_ranges(bytes: &[u8]) -> Vec<Range<usize>> {
    if let Some(start) = flow_start(bytes) {
        let inner = &bytes[start..];
        let end = walk(inner, &mut |_, _, _| {});
        let is_json = inner[end..].iter().all(u8::is_ascii_whitespace);
        return if is_json {
            json_ranges(inner).into_iter().map(|range| range.start + start..range.end + start).collect()
        } else if is_suspect(inner) {
            std::iter::once(start..bytes.len()).collect()
        } else {
            Vec::new()
        };
    }
    let secret_at = secret_indents(bytes);
    let mut scan = YamlScan { bytes, secret_at, stack: Vec::new(), region: None, found: Vec::new() };
    for line in yaml_lines(bytes) {
        scan.line(&line);
    }
    united(scan.found)
}

/// Where a document in flow style begins.
fn flow_start(bytes: &[u8]) -> Option<usize> {
    let mut at = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    for line in bytes[at..].split_inclusive(|b| *b == b'\n') {
        let text = line.trim_ascii();
        let skipped = text.is_empty() || text.starts_with(b"#") || text == b"---";
        if !skipped {
            let blank = line.len() - line.trim_ascii_start().len();
            return matches!(text[0], b'{' | b'[').then_some(at + blank);
        }
        at += line.len();
    }
    None
}

/// True if a text in flow style may hold something secret.
fn is_suspect(text: &[u8]) -> bool {
    contains(text, b"Secret") || contains(text, b"env") || contains(text, b"token") || contains(text, b"data")
}

/// A line with content.
struct YamlLine<'a> {
    /// Columns of the dashes before the key.
    dashes: Vec<usize>,
    /// Column of the content after dashes.
    indent: usize,
    /// Indentation of the line itself.
    margin: usize,
    /// The key, if the line has one.
    key: Option<&'a str>,
    /// Octets of the value, or of the whole content where there is no key.
    value: Range<usize>,
    /// Octets of the content: key and value.
    content: Range<usize>,
}

fn yaml_lines(bytes: &[u8]) -> impl Iterator<Item = YamlLine<'_>> {
    let mut start = 0;
    bytes.split_inclusive(|b| *b == b'\n').filter_map(move |raw| {
        let at = start;
        start += raw.len();
        yaml_line(raw, at)
    })
}

fn yaml_line(raw: &[u8], at: usize) -> Option<YamlLine<'_>> {
    let text = raw.trim_ascii_end();
    let margin = text.iter().take_while(|b| **b == b' ').count();
    let mut column = margin;
    let mut dashes = Vec::new();
    while text[column..].starts_with(b"- ") && dashes.len() < DASHES_MAX {
        dashes.push(column);
        column += 1;
        column += text[column..].iter().take_while(|b| **b == b' ').count();
    }
    let content = &text[column..];
    if content.is_empty() || content.starts_with(b"#") {
        return None;
    }
    let colon = memchr::memchr_iter(b':', content)
        .find(|colon| content.get(colon + 1).is_none_or(|next| matches!(next, b' ' | b'\t')));
    let key = colon.and_then(|colon| std::str::from_utf8(&content[..colon]).ok());
    let key = key.map(|key| key.trim().trim_matches(['"', '\'']));
    let skip = if key.is_some() { colon.map_or(0, |colon| colon + 1) } else { 0 };
    let blank = content[skip..].iter().take_while(|b| **b == b' ').count();
    let value = at + column + skip + blank..at + text.len();
    let content = at + column..at + text.len();
    Some(YamlLine { dashes, indent: column, margin, key, value, content })
}

/// Columns at which `kind: Secret` stands.
fn secret_indents(bytes: &[u8]) -> BTreeSet<usize> {
    yaml_lines(bytes)
        .filter(|line| line.key == Some("kind"))
        .filter(|line| {
            let value = String::from_utf8_lossy(&bytes[line.value.clone()]);
            value.split('#').next().unwrap_or_default().trim().trim_matches(['"', '\'']) == "Secret"
        })
        .map(|line| line.indent)
        .collect()
}

struct YamlScan<'b> {
    bytes: &'b [u8],
    secret_at: BTreeSet<usize>,
    /// Open keys and dashes with their columns.
    stack: Vec<(usize, String)>,
    /// Everything indented deeper than this belongs to a secret value.
    region: Option<usize>,
    found: Vec<Range<usize>>,
}

impl YamlScan<'_> {
    fn line(&mut self, line: &YamlLine<'_>) {
        if let Some(region) = self.region {
            if line.margin > region {
                self.found.push(line.value.clone());
                return;
            }
            self.region = None;
        }
        for dash in &line.dashes {
            self.stack.retain(|(column, key)| column < dash || (column == dash && key != "-"));
            self.stack.push((*dash, "-".to_owned()));
        }
        if let Some(flow) = self.suspect_flow(line) {
            self.region = Some(line.margin);
            self.found.push(flow);
            return;
        }
        let Some(key) = line.key else { return };
        self.stack.retain(|(column, _)| *column < line.indent);
        if self.is_secret(line.indent, key) {
            self.region = Some(line.indent);
            self.found.push(line.value.clone());
        }
        self.stack.push((line.indent, key.to_owned()));
    }

    /// A collection in flow style on this line that may hold something secret.
    fn suspect_flow(&self, line: &YamlLine<'_>) -> Option<Range<usize>> {
        let is_flow = |range: &Range<usize>| matches!(self.bytes.get(range.start), Some(b'{' | b'['));
        let flow = [&line.content, &line.value].into_iter().find(|range| is_flow(range))?;
        is_suspect(&self.bytes[line.content.clone()]).then(|| flow.clone())
    }

    fn is_secret(&self, indent: usize, key: &str) -> bool {
        match key {
            "data" | "stringData" => self.secret_at.contains(&indent),
            "value" => {
                matches!(self.stack.as_slice(), [.., (_, list), (_, dash)] if list == "env" && dash == "-")
            }
            "token" => true,
            _ => key == LAST_APPLIED,
        }
    }
}
