//! Where objects begin and end in a dump, without parsing it: JSON values and list items, YAML documents and items.
//!
//! Enters: bytes as they come; leaves: record ends. Total: the head and the tail of a list are records of their own,
//! and separators belong to the record that follows them. Deliberately absent: any judgement of well-formedness.

use crate::piece::{Boundary, Found};

/// Longest key remembered at the top level, octets; the key sought is `items`.
const KEY_MAX: usize = 16;

/// JSON: a record is a top-level value with its line end, or an item of a top-level list (`[…]` or `{"items":[…]}`).
///
/// A newline inside a string, or one inside a value that is followed by `{` at the start of a line, ends a damaged
/// record, so that one torn line does not swallow the rest.
#[derive(Debug, Default)]
pub struct JsonRecords {
    scanned: usize,
    depth: u32,
    string: bool,
    escape: bool,
    /// The string being read is a key of the top-level object, or may be one.
    key: Option<Vec<u8>>,
    expects_key: bool,
    items_next: bool,
    /// Depth at which list items stand; 0: no list is open.
    list: u32,
    top_is_object: bool,
    /// A top-level value has ended; only its line end is awaited.
    ended: bool,
    /// A newline inside an unfinished value was just seen.
    newline: bool,
}

impl Boundary for JsonRecords {
    fn find(&mut self, pending: &[u8]) -> Found {
        let mut at = self.scanned.min(pending.len());
        while at < pending.len() {
            if self.string {
                at = self.in_string(pending, at);
                continue;
            }
            let byte = pending[at];
            if self.ended && !byte.is_ascii_whitespace() {
                return self.record(at);
            }
            if self.newline && byte == b'{' && at > 0 {
                self.reset();
                return self.record(at);
            }
            self.newline = false;
            at += 1;
            if self.outside(byte) {
                return self.record(at);
            }
        }
        self.scanned = at;
        // While only the line end is awaited, what follows the value may still be cut off, but belongs here if it is
        // white space; so all of it is sure.
        Found::More { sure: at }
    }

    fn taken(&mut self, len: usize) {
        self.scanned = self.scanned.saturating_sub(len);
    }
}

impl JsonRecords {
    fn record(&mut self, len: usize) -> Found {
        self.scanned = 0;
        self.ended = false;
        self.newline = false;
        Found::Record(len)
    }

    fn reset(&mut self) {
        *self = Self::default();
    }

    /// Runs to the end of the string or of what is there; returns the new position.
    fn in_string(&mut self, pending: &[u8], mut at: usize) -> usize {
        while at < pending.len() {
            if self.escape {
                self.escape = false;
                at += 1;
                continue;
            }
            let Some(step) = memchr::memchr3(b'"', b'\\', b'\n', &pending[at..]) else {
                self.keep_key(&pending[at..]);
                return pending.len();
            };
            self.keep_key(&pending[at..at + step]);
            at += step + 1;
            match pending[at - 1] {
                b'\\' => {
                    self.escape = true;
                    self.key = None;
                }
                b'"' => {
                    self.string = false;
                    return at;
                }
                _ => {
                    // JSON has no raw newline in a string: the line is damaged, the next one starts afresh.
                    self.reset();
                    self.ended = true;
                    return at;
                }
            }
        }
        at
    }

    fn keep_key(&mut self, bytes: &[u8]) {
        if let Some(key) = &mut self.key {
            if key.len() + bytes.len() > KEY_MAX {
                self.key = None;
            } else {
                key.extend_from_slice(bytes);
            }
        }
    }

    /// Handles a byte outside of strings; true if the record ends after it.
    fn outside(&mut self, byte: u8) -> bool {
        match byte {
            b'"' => self.open_string(),
            b'{' | b'[' => return self.open(byte),
            b'}' | b']' => return self.close(byte),
            b':' => {
                let is_items = self.depth == 1 && self.key.as_deref() == Some(b"items");
                self.items_next = is_items && self.top_is_object;
                self.key = None;
                self.expects_key = false;
            }
            b',' if self.depth == 1 => {
                self.expects_key = true;
                self.items_next = false;
            }
            b'\n' => {
                self.newline = self.depth > 0 && self.list == 0;
                // Text outside of any value is cut at line ends.
                return self.depth == 0;
            }
            byte if byte.is_ascii_whitespace() || byte == b',' => {}
            _ => self.items_next = false,
        }
        false
    }

    fn open_string(&mut self) {
        self.string = true;
        self.escape = false;
        self.items_next = false;
        self.key = (self.depth == 1 && self.top_is_object && self.expects_key).then(Vec::new);
    }

    fn open(&mut self, byte: u8) -> bool {
        self.depth = self.depth.saturating_add(1);
        if self.depth == 1 {
            self.top_is_object = byte == b'{';
            self.expects_key = true;
            if byte == b'[' {
                self.list = 1;
                return true;
            }
        } else if self.depth == 2 && self.list == 0 && byte == b'[' && self.items_next {
            self.list = 2;
            self.items_next = false;
            return true;
        }
        self.items_next = false;
        false
    }

    fn close(&mut self, byte: u8) -> bool {
        let at_list = self.depth == self.list;
        self.depth = self.depth.saturating_sub(1);
        if self.list > 0 && at_list && byte == b']' {
            self.list = 0;
        }
        if self.depth == 0 {
            self.list = 0;
            self.ended = true;
        }
        // An item of the list has ended.
        self.list > 0 && self.depth == self.list
    }
}

/// Octets of a YAML line that are looked at: its indentation and first characters.
const INDENT_MAX: usize = 64;

/// YAML: a record is a document (from its `---` on), or an item of a top-level sequence or of a top-level `items:`.
#[derive(Debug, Default)]
pub struct YamlRecords {
    scanned: usize,
    /// `scanned` stands at the start of a line that was not looked at yet.
    inside_line: bool,
    /// The current record has a line already.
    begun: bool,
    /// Items may follow: the last top-level line was `items:`.
    items_next: bool,
    /// Indentation of the items of the open list.
    list: Option<usize>,
}

/// What a line is to the splitter.
enum Line {
    /// Blank or a comment.
    Void,
    /// `---`.
    Separator,
    /// `- …` at an indentation.
    Item(usize),
    /// `items:` at the left margin with nothing on its line.
    Items,
    /// Any other at an indentation.
    Other(usize),
    /// More bytes are needed to tell.
    Short,
}

impl Boundary for YamlRecords {
    fn find(&mut self, pending: &[u8]) -> Found {
        let mut at = self.scanned.min(pending.len());
        loop {
            if self.inside_line {
                match memchr::memchr(b'\n', &pending[at..]) {
                    Some(end) => at += end + 1,
                    None => {
                        self.scanned = pending.len();
                        return Found::More { sure: pending.len() };
                    }
                }
                self.inside_line = false;
            }
            let line = classify(&pending[at..]);
            if matches!(line, Line::Short) {
                self.scanned = at;
                return Found::More { sure: at };
            }
            let starts = self.starts_record(&line);
            if starts && self.begun && at > 0 {
                self.scanned = 0;
                self.begun = false;
                return Found::Record(at);
            }
            self.begun |= !matches!(line, Line::Void);
            self.inside_line = true;
        }
    }

    fn taken(&mut self, len: usize) {
        self.scanned = self.scanned.saturating_sub(len);
    }
}

impl YamlRecords {
    /// True if the line begins a record; keeps track of lists.
    fn starts_record(&mut self, line: &Line) -> bool {
        match *line {
            Line::Void | Line::Short => false,
            Line::Separator => {
                self.list = None;
                self.items_next = false;
                true
            }
            Line::Item(indent) => {
                let expected = self.items_next || (!self.begun && self.list.is_none() && indent == 0);
                if expected {
                    self.list = Some(indent);
                    self.items_next = false;
                }
                self.list == Some(indent)
            }
            Line::Items => {
                // A second look at the same line after a cut must not cut again: `begun` is false then.
                let ends_list = self.list.take().is_some();
                self.items_next = true;
                ends_list
            }
            Line::Other(indent) => {
                self.items_next = false;
                // A line at or left of the dashes ends the list; it begins the tail.
                match self.list {
                    Some(list) if indent < list || indent == 0 => {
                        self.list = None;
                        true
                    }
                    _ => false,
                }
            }
        }
    }
}

fn classify(rest: &[u8]) -> Line {
    let indent = rest.iter().take(INDENT_MAX).take_while(|b| **b == b' ').count();
    let text = &rest[indent..];
    let line_end = memchr::memchr2(b'\n', b'\r', &text[..text.len().min(8)]);
    if line_end.is_none() && text.len() < 8 {
        return Line::Short;
    }
    let text = &text[..line_end.unwrap_or(8)];
    match text {
        [] | [b'#', ..] => Line::Void,
        [b'-', b'-', b'-'] | [b'-', b'-', b'-', b' ' | b'\t', ..] if indent == 0 => Line::Separator,
        [b'-'] | [b'-', b' ', ..] if indent < INDENT_MAX => Line::Item(indent),
        [b'i', b't', b'e', b'm', b's', b':', rest @ ..] if indent == 0 => {
            if rest.iter().all(|b| *b == b' ') {
                Line::Items
            } else {
                Line::Other(0)
            }
        }
        _ => Line::Other(indent),
    }
}

/// The whole input is one record.
#[derive(Debug, Default)]
pub struct Whole;

impl Boundary for Whole {
    fn find(&mut self, pending: &[u8]) -> Found {
        Found::More { sure: pending.len() }
    }

    fn taken(&mut self, _len: usize) {}
}
