//! Walks JSON or YAML without building it and tells where each value stands. Enters: bytes; leaves: calls.
//!
//! Iterative and bounded in depth ([`DEPTH_MAX`]). JSON may be cut: on damage the walk stops where it is. YAML is walked
//! whole or not at all. Deliberately absent: decoding of numbers, and following aliases.

use std::borrow::Cow;
use std::ops::Range;

use granit_parser::{Event, Options, Parser, ScalarStyle};

/// Deepest nesting walked; serde_json stops at the same depth.
pub const DEPTH_MAX: usize = 128;

/// One step of the path to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// In an object under this key.
    Key(Cow<'a, str>),
    /// In an array.
    Index,
}

/// What stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// A string; the range is that of its inside, without the quotes, escapes as written.
    String,
    /// A number, truth or null.
    Scalar,
    /// A YAML alias: what it stands for was visited where its anchor is.
    Alias,
    /// An object or array begins; the range is empty.
    Open,
    /// An object or array ends; the path is its own, the range that of the whole.
    Close,
}

/// Walks `bytes` and calls `visit(path, token, range)` in order. Returns where it stopped.
pub fn walk<'a>(bytes: &'a [u8], visit: &mut dyn FnMut(&[Step<'a>], Token, Range<usize>)) -> usize {
    let mut walker = Walker { bytes, at: 0, path: Vec::new(), open: Vec::new() };
    while walker.step(visit).is_some() {}
    walker.at
}

struct Walker<'a> {
    bytes: &'a [u8],
    at: usize,
    path: Vec<Step<'a>>,
    /// Starts of the open objects and arrays, and whether each is an object.
    open: Vec<(usize, bool)>,
}

impl<'a> Walker<'a> {
    fn step(&mut self, visit: &mut dyn FnMut(&[Step<'a>], Token, Range<usize>)) -> Option<()> {
        self.skip_padding();
        let byte = *self.bytes.get(self.at)?;
        let in_object = self.open.last().is_some_and(|(_, object)| *object);
        match byte {
            b'}' | b']' => self.close(visit),
            b'"' if in_object && !self.after_key() => {
                let inside = self.string()?;
                let key = unescape(&self.bytes[inside]);
                self.skip_padding();
                if self.bytes.get(self.at) != Some(&b':') {
                    return None;
                }
                self.at += 1;
                self.path.push(Step::Key(key));
                Some(())
            }
            _ if in_object && !self.after_key() => None,
            _ => self.value(byte, visit),
        }
    }

    /// True if the innermost object's key was read and its value is due.
    fn after_key(&self) -> bool {
        self.path.len() == self.open.len()
    }

    fn value(&mut self, byte: u8, visit: &mut dyn FnMut(&[Step<'a>], Token, Range<usize>)) -> Option<()> {
        if self.open.last().is_some_and(|(_, object)| !object) {
            self.path.push(Step::Index);
        }
        match byte {
            b'{' | b'[' => {
                if self.open.len() >= DEPTH_MAX {
                    return None;
                }
                visit(&self.path, Token::Open, self.at..self.at);
                self.open.push((self.at, byte == b'{'));
                self.at += 1;
            }
            b'"' => {
                let inside = self.string()?;
                visit(&self.path, Token::String, inside);
                self.path.pop();
            }
            _ => {
                let len = self.bytes[self.at..].iter().take_while(|b| !ends_scalar(**b)).count();
                if len == 0 {
                    return None;
                }
                visit(&self.path, Token::Scalar, self.at..self.at + len);
                self.at += len;
                self.path.pop();
            }
        }
        Some(())
    }

    fn close(&mut self, visit: &mut dyn FnMut(&[Step<'a>], Token, Range<usize>)) -> Option<()> {
        let (start, _) = self.open.pop()?;
        // A key without value before the bracket.
        self.path.truncate(self.open.len());
        self.at += 1;
        visit(&self.path, Token::Close, start..self.at);
        self.path.pop();
        Some(())
    }

    /// Reads a string from its quote on; the range of its inside.
    fn string(&mut self) -> Option<Range<usize>> {
        let start = self.at + 1;
        let mut at = start;
        loop {
            at += memchr::memchr2(b'"', b'\\', self.bytes.get(at..)?)?;
            if self.bytes[at] == b'"' {
                self.at = at + 1;
                return Some(start..at);
            }
            at += 2;
        }
    }

    fn skip_padding(&mut self) {
        let rest = &self.bytes[self.at..];
        self.at += rest.iter().take_while(|b| b.is_ascii_whitespace() || **b == b',').count();
    }
}

fn ends_scalar(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b',' | b'}' | b']' | b'{' | b'[' | b'"' | b':')
}

/// The text of a string's inside.
pub(super) fn unescape(inside: &[u8]) -> Cow<'_, str> {
    if !inside.contains(&b'\\') {
        return String::from_utf8_lossy(inside);
    }
    let mut quoted = Vec::with_capacity(inside.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(inside);
    quoted.push(b'"');
    serde_json::from_slice::<String>(&quoted).map_or_else(|_| String::from_utf8_lossy(inside), Cow::Owned)
}

/// Walks a YAML document and calls `visit(path, token, range, text)` in order, with the text as YAML reads it. Every
/// scalar is a [`Token::String`]: its range is inside the quotes where it has quotes, and that of the lines of a block
/// scalar. False if the text is not YAML, is nested too deep, or has keys that are no scalars: the calls made do not cover
/// it then.
pub fn walk_yaml<'a>(text: &'a str, visit: &mut dyn FnMut(&[Step<'a>], Token, Range<usize>, &str)) -> bool {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut walker = YamlWalker { path: Vec::new(), open: Vec::new() };
    for event in Parser::new_from_str_with_options(text, options) {
        let Ok((event, span)) = event else { return false };
        let Some(range) = span.byte_range() else { return false };
        if walker.event(text, event, range, visit).is_none() {
            return false;
        }
    }
    true
}

struct YamlWalker<'a> {
    path: Vec<Step<'a>>,
    /// Starts of the open mappings and sequences, and whether each is a mapping.
    open: Vec<(usize, bool)>,
}

impl<'a> YamlWalker<'a> {
    fn event(
        &mut self,
        source: &str,
        event: Event<'a>,
        range: Range<usize>,
        visit: &mut dyn FnMut(&[Step<'a>], Token, Range<usize>, &str),
    ) -> Option<()> {
        let in_mapping = self.open.last().is_some_and(|(_, mapping)| *mapping);
        let key_due = in_mapping && self.path.len() < self.open.len();
        match event {
            Event::Scalar(text, ..) if key_due => self.path.push(Step::Key(text)),
            Event::Alias(_) | Event::MappingStart(..) | Event::SequenceStart(..) if key_due => return None,
            Event::Scalar(text, style, ..) => {
                self.begin();
                visit(&self.path, Token::String, inside(source, style, range), &text);
                self.path.pop();
            }
            Event::Alias(_) => {
                self.begin();
                visit(&self.path, Token::Alias, range, "");
                self.path.pop();
            }
            Event::MappingStart(..) | Event::SequenceStart(..) if self.open.len() >= DEPTH_MAX => {
                return None;
            }
            Event::MappingStart(..) | Event::SequenceStart(..) => {
                self.begin();
                visit(&self.path, Token::Open, range.start..range.start, "");
                self.open.push((range.start, matches!(event, Event::MappingStart(..))));
            }
            Event::MappingEnd | Event::SequenceEnd => {
                let (start, _) = self.open.pop()?;
                visit(&self.path, Token::Close, start..range.end, "");
                self.path.pop();
            }
            _ => {}
        }
        Some(())
    }

    fn begin(&mut self) {
        if self.open.last().is_some_and(|(_, mapping)| !mapping) {
            self.path.push(Step::Index);
        }
    }
}

/// The octets of a scalar that hold its value: without its quotes, and without white space after it.
fn inside(source: &str, style: ScalarStyle, range: Range<usize>) -> Range<usize> {
    let end = range.start + source.get(range.clone()).map_or(0, |text| text.trim_ascii_end().len());
    match style {
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted if end >= range.start + 2 => {
            range.start + 1..end - 1
        }
        _ => range.start..end,
    }
}
