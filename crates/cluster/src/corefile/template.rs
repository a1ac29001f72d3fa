//! The `template` plugin: answers made from the question.
//!
//! Enters: a stanza; leaves: [`Template`]s that can be asked. Deliberately absent: the full template language of Go.
//! Fields of the question and groups of the match are filled in; any other action makes the record opaque.

use std::net::{Ipv4Addr, Ipv6Addr};

use truename_model::{Class, Name, Question, Rcode, Rdata, Record, Rtype};

use super::diagnostic::{CorefileError, ErrorKind};
use super::kubernetes::{Fallthrough, longest_zone, origins};
use super::order::Version;
use super::schema::Take::{Lenient, Next, Rest};
use super::schema::{Body, MANY, Schema, Stanza, invalid, option, option_since};
use super::value::{Kind, Pattern, class, rcode, rtype};

/// Most patterns of one stanza: a compiled one takes up to 64 KiB.
const MAX_MATCHES: usize = 1_024;

/// How `template` is written.
pub const TEMPLATE: Schema = Schema::new(
    "template",
    (2, MANY),
    &[Kind::Class, Kind::Rtype, Kind::Any],
    Body::Options(&[
        option("match", Rest(1, MANY), &[Kind::Pattern]),
        option("answer", Rest(1, MANY), &[]),
        option("additional", Rest(1, MANY), &[]),
        option("authority", Rest(1, MANY), &[]),
        option_since(Version(1, 15, 0), "var", Lenient(2), &[]),
        option_since(Version(1, 15, 0), "expr", Lenient(1), &[]),
        option("rcode", Next(1), &[]),
        option_since(Version(1, 10, 1), "ederror", Rest(1, 2), &[Kind::Int(0, 65_535), Kind::Any]),
        option("fallthrough", Rest(0, MANY), &[]),
        option("upstream", Rest(0, MANY), &[]),
    ]),
);

/// A line of text that becomes a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordText {
    /// Line in the Corefile.
    pub line: u32,
    /// As written.
    pub text: String,
}

/// A `template` stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Line of the directive.
    pub line: u32,
    /// The stanza as one line of text.
    pub text: String,
    /// Class; ANY matches all.
    pub class: Class,
    /// Type; ANY matches all.
    pub rtype: Rtype,
    /// Zones.
    pub zones: Vec<Name>,
    /// Patterns, one of which must match; never empty.
    pub patterns: Vec<Pattern>,
    /// Answer records.
    pub answers: Vec<RecordText>,
    /// Authority records.
    pub authority: Vec<RecordText>,
    /// Additional records.
    pub additional: Vec<RecordText>,
    /// Response code.
    pub rcode: Rcode,
    /// Which names go on when no pattern matches.
    pub fallthrough: Fallthrough,
    /// It has `var` or `expr`: whether it matches depends on more than the question.
    pub conditional: bool,
}

/// What a template says to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateAnswer {
    /// It does not concern the question.
    Passes,
    /// Whether it matches cannot be told.
    Maybe,
    /// Zone, class and type fit, no pattern does, and nothing falls through: SERVFAIL.
    ServFail,
    /// It answers. `None` stands for a record that cannot be told.
    Answers(Rcode, Vec<Option<Record>>),
}

/// What a template makes of a question, as text; `None` stands for an action that is not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Render {
    /// It does not concern the question.
    Passes,
    /// Whether it matches cannot be told.
    Maybe,
    /// SERVFAIL.
    ServFail,
    /// It answers.
    Answers {
        /// Response code.
        rcode: Rcode,
        /// Answer section.
        answers: Vec<Option<String>>,
        /// Additional section.
        additional: Vec<Option<String>>,
        /// Authority section.
        authority: Vec<Option<String>>,
    },
}

impl Template {
    /// Reads a stanza whose block serves `server` zones.
    ///
    /// # Errors
    /// The fault at which CoreDNS refuses to start.
    pub fn read(stanza: &Stanza, server: &[Name]) -> Result<Self, CorefileError> {
        let records = |option: &str| -> Result<Vec<RecordText>, CorefileError> {
            let mut out = Vec::new();
            for token in stanza.all(option).flat_map(|entry| entry.args.iter()) {
                actions(&token.text).map_err(|message| invalid(token, message, "write a Go template"))?;
                out.push(RecordText { line: token.line, text: token.text.to_string() });
            }
            Ok(out)
        };
        let words: Vec<_> = stanza.all("match").flat_map(|entry| entry.args.iter()).collect();
        if let Some(token) = words.get(MAX_MATCHES) {
            let message = format!("a template with more than {MAX_MATCHES} patterns is not judged");
            return Err(CorefileError::at(token, ErrorKind::Bound, message, "split it"));
        }
        let mut patterns: Vec<Pattern> =
            words.iter().filter_map(|token| Pattern::compile(&token.text).ok()).collect();
        if patterns.is_empty() {
            patterns.extend(Pattern::compile(".*").ok());
        }
        check_variables(stanza)?;
        let mut code = Rcode::NOERROR;
        if let Some(token) = stanza.last("rcode").and_then(|entry| entry.args.first()) {
            let known =
                rcode(&token.text).filter(|_| !token.text.bytes().any(|byte| byte.is_ascii_lowercase()));
            code = known.ok_or_else(|| {
                invalid(
                    token,
                    format!("'{}' is no response code", token.text),
                    "write NXDOMAIN or another code",
                )
            })?;
        }
        Ok(Self {
            line: stanza.name.line,
            text: stanza.text(),
            class: class(stanza.word(0)).unwrap_or(Class::IN),
            rtype: rtype(stanza.word(1)).unwrap_or(Rtype::ANY),
            zones: origins(stanza.words().skip(2), server),
            patterns,
            answers: records("answer")?,
            authority: records("authority")?,
            additional: records("additional")?,
            rcode: code,
            fallthrough: Fallthrough::read(stanza),
            conditional: stanza.has("var") || stanza.has("expr"),
        })
    }

    /// What the template says to a question.
    #[must_use]
    pub fn answer(&self, question: &Question) -> TemplateAnswer {
        match self.render(question) {
            Render::Passes => TemplateAnswer::Passes,
            Render::Maybe => TemplateAnswer::Maybe,
            Render::ServFail => TemplateAnswer::ServFail,
            Render::Answers { rcode, answers, .. } => {
                let records = answers.into_iter().map(|text| text.and_then(|text| record(&text)));
                TemplateAnswer::Answers(rcode, records.collect())
            }
        }
    }

    /// What the template makes of a question, all sections as text.
    #[must_use]
    pub fn render(&self, question: &Question) -> Render {
        let Some(zone) = longest_zone(&self.zones, &question.name) else { return Render::Passes };
        let class_fits =
            self.class == Class::ANY || question.class == Class::ANY || question.class == self.class;
        let type_fits =
            self.rtype == Rtype::ANY || question.rtype == Rtype::ANY || question.rtype == self.rtype;
        if !class_fits || !type_fits {
            return Render::Passes;
        }
        let name = question.name.to_string();
        for pattern in &self.patterns {
            match pattern.matches(&name) {
                None => return Render::Maybe,
                Some(false) => continue,
                Some(true) if self.conditional => return Render::Maybe,
                Some(true) => {
                    let groups = pattern.groups(&name).unwrap_or_default();
                    return self.filled(question, &name, &zone.to_string(), &groups);
                }
            }
        }
        if self.fallthrough.passes(&question.name) { Render::Passes } else { Render::ServFail }
    }

    fn filled(&self, question: &Question, name: &str, zone: &str, groups: &[(String, String)]) -> Render {
        let class = if question.class == Class::ANY { self.class } else { question.class };
        let rtype = if question.rtype == Rtype::ANY { self.rtype } else { question.rtype };
        let field = |path: &str| match path {
            ".Name" => Some(name.to_owned()),
            ".Zone" => Some(zone.to_owned()),
            ".Class" => Some(class.to_string()),
            ".Type" => Some(rtype.to_string()),
            _ => {
                let group = path
                    .strip_prefix(".Group.")
                    .or_else(|| path.strip_prefix("index .Match "))
                    .or_else(|| path.strip_prefix("index .Group ").map(|word| word.trim_matches('"')))?;
                groups.iter().find(|(key, _)| key == group.trim()).map(|(_, value)| value.clone())
            }
        };
        let texts = |list: &[RecordText]| list.iter().map(|text| fill(&text.text, &field)).collect();
        Render::Answers {
            rcode: self.rcode,
            answers: texts(&self.answers),
            additional: texts(&self.additional),
            authority: texts(&self.authority),
        }
    }
}

/// Refuses names that expressions cannot use; the expressions themselves are not read.
fn check_variables(stanza: &Stanza) -> Result<(), CorefileError> {
    const RESERVED: [&str; 25] = [
        "and",
        "bufsize",
        "class",
        "client_ip",
        "do",
        "else",
        "false",
        "group",
        "id",
        "if",
        "in",
        "incidr",
        "let",
        "metadata",
        "name",
        "nil",
        "not",
        "opcode",
        "or",
        "port",
        "proto",
        "server_ip",
        "server_port",
        "size",
        "true",
    ];
    let mut seen = std::collections::BTreeSet::new();
    for token in stanza.all("var").filter_map(|entry| entry.args.first()) {
        let word = &*token.text;
        let form = word.starts_with(|ch: char| ch.is_ascii_alphabetic() || ch == '_')
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !form || word == "type" || RESERVED.contains(&word) || !seen.insert(word) {
            return Err(invalid(token, format!("'{word}' cannot name a variable"), "choose another name"));
        }
    }
    Ok(())
}

/// Functions and keywords of text/template, and CoreDNS's own.
const FUNCTIONS: [&str; 33] = [
    "and", "block", "break", "call", "continue", "define", "else", "end", "eq", "false", "ge", "gt", "html",
    "if", "index", "js", "le", "len", "lt", "ne", "nil", "not", "or", "parseInt", "print", "printf",
    "println", "range", "slice", "template", "true", "urlquery", "with",
];

/// The actions `{{ … }}` of a Go template, trimmed.
fn actions(text: &str) -> Result<Vec<&str>, String> {
    let mut rest = text;
    let mut out = Vec::new();
    while let Some((_, tail)) = rest.split_once("{{") {
        let Some((action, after)) = tail.split_once("}}") else {
            return Err(format!("'{text}' opens an action and does not close it"));
        };
        let action = action.trim_start_matches("- ").trim_end_matches(" -").trim();
        if action.is_empty() {
            return Err(format!("'{text}' holds an empty action"));
        }
        let function = action.split(|ch: char| !ch.is_ascii_alphanumeric() && ch != '_').next().unwrap_or("");
        if function.starts_with(|ch: char| ch.is_ascii_alphabetic()) && !FUNCTIONS.contains(&function) {
            return Err(format!("a template has no function '{function}'"));
        }
        out.push(action);
        rest = after;
    }
    Ok(out)
}

fn fill(text: &str, field: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, tail)) = rest.split_once("{{") {
        let (action, after) = tail.split_once("}}")?;
        if action.starts_with('-') || action.ends_with('-') {
            return None;
        }
        out.push_str(before);
        out.push_str(&field(&action.split_whitespace().collect::<Vec<_>>().join(" "))?);
        rest = after;
    }
    out.push_str(rest);
    (out.len() <= 4096).then_some(out)
}

/// Reads a record in presentation form, one line; `None` for forms that are not read here.
#[must_use]
pub fn record(text: &str) -> Option<Record> {
    if text.contains(['(', ')', ';', '$']) {
        return None;
    }
    let mut words = text.split_whitespace().peekable();
    let owner = Name::parse(words.next()?).ok()?;
    let (mut ttl, mut record_class) = (3600u32, Class::IN);
    // TTL and class come in any order, and both may be absent.
    for _ in 0..2 {
        let word = words.peek()?;
        if let Some(seconds) = ttl_of(word) {
            ttl = seconds;
        } else if let Some(found) = class(&word.to_ascii_uppercase()) {
            record_class = found;
        } else {
            break;
        }
        words.next();
    }
    let kind = rtype(&words.next()?.to_ascii_uppercase())?;
    let data: Vec<&str> = words.collect();
    let name = |at: usize| data.get(at).and_then(|word| Name::parse(word).ok());
    let number = |at: usize| data.get(at).and_then(|word| word.parse::<u16>().ok());
    let (rdata, wanted) = match kind {
        Rtype::A => (Rdata::A(data.first()?.parse::<Ipv4Addr>().ok()?), 1),
        Rtype::AAAA => (Rdata::Aaaa(data.first()?.parse::<Ipv6Addr>().ok()?), 1),
        Rtype::CNAME | Rtype::DNAME => (Rdata::Cname(name(0)?), 1),
        Rtype::NS => (Rdata::Ns(name(0)?), 1),
        Rtype::PTR => (Rdata::Ptr(name(0)?), 1),
        Rtype::MX => (Rdata::Mx(number(0)?, name(1)?), 2),
        Rtype::SRV => {
            let (priority, weight, port) = (number(0)?, number(1)?, number(2)?);
            (Rdata::Srv { priority, weight, port, target: name(3)? }, 4)
        }
        _ => return None,
    };
    (data.len() == wanted).then_some(Record { owner, rtype: kind, class: record_class, ttl, rdata })
}

/// A TTL in seconds or in BIND's units (`1h30m`).
fn ttl_of(word: &str) -> Option<u32> {
    if !word.starts_with(|ch: char| ch.is_ascii_digit()) {
        return None;
    }
    let (mut total, mut number) = (0u64, 0u64);
    for ch in word.chars() {
        let unit = match ch.to_ascii_lowercase() {
            digit @ '0'..='9' => {
                number = number.checked_mul(10)?.checked_add(u64::from(digit as u32 - u32::from('0')))?;
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        number = 0;
    }
    u32::try_from(total.checked_add(number)?).ok()
}
