//! Where a record holds what must never be shown: Secret data, tokens, container environments.
//!
//! Enters: a whole record; leaves: octet ranges, sorted and apart, each one whole value, inside the quotes where there
//! are quotes. The ranges may hold too much, never too little; they say nothing of what is held there. What stands for
//! a range when the record is read ([`stand_in`]) keeps JSON and YAML whole.

use std::ops::Range;

use super::object::LAST_APPLIED;
use super::text::document;
use super::walk::{Step, Token, unescape, walk, walk_yaml};

/// Shortest text under a key `token` that is taken for one, octets.
const TOKEN_MIN: usize = 20;

/// Secret ranges of a JSON record: an object, a list item, a watch event or an audit event.
#[must_use]
pub fn json_ranges(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut scan = Scan::default();
    walk(bytes, &mut |path, token, range| {
        let text = unescape(&bytes[if token == Token::String { range.clone() } else { 0..0 }]);
        scan.visit(path, token, range, &text);
    });
    scan.finish()
}

/// Secret ranges of a YAML document or list item. What is no YAML may hide anything and is taken whole, as is a document
/// with an alias where a secret may stand.
#[must_use]
pub fn yaml_ranges(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut scan = Scan::default();
    let walked = document(bytes).is_ok_and(|(text, lead)| {
        walk_yaml(text, &mut |path, token, range, text| {
            scan.visit(path, token, range.start + lead..range.end + lead, text);
        })
    });
    if walked && !scan.refers { scan.finish() } else { united(std::iter::once(0..bytes.len()).collect()) }
}

/// Writes what stands for `len` octets of a secret: a number and blanks, which JSON and YAML take inside quotes and
/// outside of them. `begins` is false for the continuation of a secret.
pub fn stand_in(out: &mut Vec<u8>, len: usize, begins: bool) {
    let end = out.len() + len;
    if begins && len > 0 {
        out.push(b'1');
    }
    out.resize(end, b' ');
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

#[derive(Default)]
struct Scan {
    frames: Vec<Frame>,
    found: Vec<Range<usize>>,
    /// What is secret if the audit event is about Secrets.
    bodies: Vec<Range<usize>>,
    of_secrets: bool,
    /// An alias stands where a secret may stand.
    refers: bool,
}

impl Scan {
    fn visit(&mut self, path: &[Step<'_>], token: Token, range: Range<usize>, text: &str) {
        match token {
            Token::Open => self.frames.push(Frame::default()),
            Token::Close => self.close(),
            Token::String => {
                self.string_facts(path, text);
                self.value(path, range, text);
            }
            Token::Scalar => self.value(path, range, text),
            Token::Alias => self.refers |= path.iter().any(may_hide),
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
    fn string_facts(&mut self, path: &[Step<'_>], text: &str) {
        let [above @ .., Step::Key(key)] = path else { return };
        if key == "resource"
            && text == "secrets"
            && matches!(above, [Step::Key(parent)] if parent == "objectRef")
        {
            self.of_secrets = true;
        }
        let Some(frame) = self.frames.last_mut() else { return };
        match key.as_ref() {
            "kind" => {
                frame.has_kind = true;
                frame.is_secret |= text == "Secret";
            }
            "type" => frame.has_type = true,
            "path" => frame.patches_env |= text.contains("/env"),
            _ => {}
        }
    }

    fn value(&mut self, path: &[Step<'_>], range: Range<usize>, text: &str) {
        for (index, step) in path.iter().enumerate() {
            let (Step::Key(key), Some(frame)) = (step, self.frames.get_mut(index)) else { continue };
            match key.as_ref() {
                "data" | "stringData" => {
                    frame.has_data = true;
                    frame.data.push(range.clone());
                }
                "value" => frame.value.push(range.clone()),
                LAST_APPLIED => self.last_applied(index, &range, text),
                _ => {}
            }
        }
        if is_environment(path) || is_token(path, text) {
            self.found.push(range);
        }
    }

    /// The annotation stands two levels below its object.
    fn last_applied(&mut self, index: usize, range: &Range<usize>, text: &str) {
        if text.contains("\"env\"") {
            self.found.push(range.clone());
        }
        if let Some(frame) = index.checked_sub(2).and_then(|owner| self.frames.get_mut(owner)) {
            frame.data.push(range.clone());
        }
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

fn is_token(path: &[Step<'_>], text: &str) -> bool {
    let named = matches!(path.last(), Some(Step::Key(key)) if key == "token") && text.len() >= TOKEN_MIN;
    named || looks_like_jwt(text)
}

/// Three parts of base64url, the first a JSON object (`{"` encodes to `eyJ`).
fn looks_like_jwt(text: &str) -> bool {
    text.len() >= 60 && text.starts_with("eyJ") && text.bytes().filter(|b| *b == b'.').count() == 2
}

/// Keys below which a secret may stand.
fn may_hide(step: &Step<'_>) -> bool {
    let hiding = ["data", "stringData", "env", "value", "token", LAST_APPLIED];
    matches!(step, Step::Key(key) if hiding.contains(&key.as_ref()))
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
