//! The `rewrite` plugin: questions changed before other plugins see them, answers changed on the way back.
//!
//! Enters: the words of a rule; leaves: [`RewriteRule`]s that can be applied to a question.
//! Deliberately absent: metadata values (a rule that needs one may or may not apply).

use truename_model::{Class, Name, Question, Rcode, Rtype};

use super::diagnostic::CorefileError;
use super::dispenser::Dispenser;
use super::lexer::Token;
use super::order::Version;
use super::schema::{Stanza, invalid};
use super::value::{Pattern, class, rcode, rtype, unsigned};

/// What follows a rule that applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No further rule.
    Stop,
    /// The next rule.
    Continue,
}

/// Which names a rule is for; texts in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameMatch {
    /// The whole name.
    Exact(String),
    /// Its start, not bound to labels.
    Prefix(String),
    /// Its end, not bound to labels.
    Suffix(String),
    /// Any part.
    Substring(String),
    /// A pattern.
    Regex(Pattern),
}

impl NameMatch {
    /// Whether the name (presentation form, lower case, final dot) is meant; `None` if that cannot be told.
    #[must_use]
    pub fn matches(&self, name: &str) -> Option<bool> {
        match self {
            Self::Exact(text) => Some(name == text),
            Self::Prefix(text) => Some(name.starts_with(text.as_str())),
            Self::Suffix(text) => Some(name.ends_with(text.as_str())),
            Self::Substring(text) => Some(name.contains(text.as_str())),
            Self::Regex(pattern) => pattern.matches(name),
        }
    }

    fn read(kind: &str, text: &str) -> Result<Self, String> {
        Ok(match kind {
            "exact" => Self::Exact(normal(text)),
            "prefix" => Self::Prefix(normal(text)),
            "suffix" => Self::Suffix(normal(text)),
            "substring" => Self::Substring(normal(text)),
            "regex" => Self::Regex(Pattern::compile(text)?),
            _ => return Err(format!("'{kind}' is none of exact, prefix, suffix, substring, regex")),
        })
    }

    /// The text or pattern.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Prefix(text) | Self::Suffix(text) | Self::Substring(text) => text,
            Self::Regex(pattern) => &pattern.text,
        }
    }
}

/// How names in answers are changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerRewrite {
    /// The change of the question is undone in owner names and in names inside records.
    pub auto: bool,
    /// Owner names: pattern and replacement.
    pub names: Vec<(Pattern, String)>,
    /// Names inside records (never addresses): pattern and replacement.
    pub values: Vec<(Pattern, String)>,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The question's name becomes another.
    Name {
        /// Which names.
        from: NameMatch,
        /// The new name, or what replaces the matched part; `{N}` stands for groups of a pattern.
        to: String,
        /// The replacement holds metadata labels (1.15.0 and later).
        metadata: bool,
        /// What becomes of the answer.
        answer: AnswerRewrite,
    },
    /// The question's type becomes another.
    Type(Rtype, Rtype),
    /// The question's class becomes another.
    Class(Class, Class),
    /// TTLs of the answer are kept in a range.
    Ttl {
        /// Which names.
        names: NameMatch,
        /// Least, seconds.
        min: u32,
        /// Most, seconds.
        max: u32,
    },
    /// A response code becomes another.
    Rcode {
        /// Which names.
        names: NameMatch,
        /// Code that is replaced.
        old: Rcode,
        /// Code that is sent.
        new: Rcode,
    },
    /// The target of a CNAME in the answer becomes another, which is then looked up.
    Cname {
        /// Which targets.
        from: NameMatch,
        /// New target, or what replaces the matched part.
        to: String,
    },
    /// An EDNS0 option of the query is set, replaced or removed.
    Edns0(Vec<String>),
}

/// A rule of `rewrite`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewriteRule {
    /// Line of the directive.
    pub line: u32,
    /// The rule as one line of text.
    pub text: String,
    /// What follows if it applies.
    pub mode: Mode,
    /// What it does.
    pub action: Action,
}

/// How a name in an answer becomes another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameChange {
    /// This name, and names below it.
    Remap(String, String),
    /// This end, not bound to labels.
    Suffix(String, String),
    /// A pattern and its replacement; a name that does not match stays.
    Pattern(Pattern, String),
}

impl NameChange {
    /// The name afterwards; `None` if it cannot be told or is no name.
    #[must_use]
    pub fn apply(&self, name: &Name) -> Option<Name> {
        let text = name.to_string();
        let new = match self {
            Self::Remap(from, to) if text == *from => to.clone(),
            Self::Remap(from, to) => match text.strip_suffix(from.as_str()) {
                Some(head) if head.ends_with('.') => format!("{head}{to}"),
                _ => return Some(name.clone()),
            },
            Self::Suffix(from, to) => match text.strip_suffix(from.as_str()) {
                Some(head) => format!("{head}{to}"),
                None => return Some(name.clone()),
            },
            Self::Pattern(pattern, to) => match pattern.matches(&text)? {
                true => pattern.substitute(&text, to)?,
                false => return Some(name.clone()),
            },
        };
        Name::parse(&new).ok()
    }
}

/// What a rule that applied does to the answer, record by record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseChange {
    /// Owner names.
    Owner(NameChange),
    /// Names inside records.
    Value(NameChange),
    /// TTLs are kept in a range of seconds.
    Ttl(u32, u32),
    /// A response code becomes another.
    Code(Rcode, Rcode),
    /// Something that is not followed here.
    Unknown,
}

/// What a rule does to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It does not apply.
    No,
    /// It applies; the question afterwards.
    Yes(Question),
    /// Whether it applies cannot be told.
    Maybe,
    /// It applies and the result is no domain name: SERVFAIL.
    BadName(String),
}

impl RewriteRule {
    /// Patterns that the rule holds.
    #[must_use]
    pub fn pattern_count(&self) -> usize {
        let one = |names: &NameMatch| usize::from(matches!(names, NameMatch::Regex(_)));
        match &self.action {
            Action::Name { from, answer, .. } => one(from) + answer.names.len() + answer.values.len(),
            Action::Ttl { names, .. } | Action::Rcode { names, .. } => one(names),
            Action::Cname { from, .. } => one(from),
            Action::Type(..) | Action::Class(..) | Action::Edns0(_) => 0,
        }
    }

    /// Applies the rule to a question.
    #[must_use]
    pub fn apply(&self, question: &Question) -> Applied {
        let name = question.name.to_string();
        match &self.action {
            Action::Name { from, to, metadata, .. } => match from.matches(&name) {
                Some(false) => Applied::No,
                Some(true) if !metadata => renamed(question, from, &name, to),
                _ => Applied::Maybe,
            },
            Action::Type(from, to) if *from == question.rtype && from.0 > 0 && to.0 > 0 => {
                Applied::Yes(Question { rtype: *to, ..question.clone() })
            }
            Action::Class(from, to) if *from == question.class => {
                Applied::Yes(Question { class: *to, ..question.clone() })
            }
            Action::Type(..) | Action::Class(..) => Applied::No,
            Action::Ttl { names, .. } | Action::Rcode { names, .. } => match names.matches(&name) {
                Some(true) => Applied::Yes(question.clone()),
                Some(false) => Applied::No,
                None => Applied::Maybe,
            },
            Action::Cname { .. } => Applied::Yes(question.clone()),
            // Whether an EDNS0 rule is "done" depends on the query's options.
            Action::Edns0(_) => Applied::Maybe,
        }
    }
}

impl RewriteRule {
    /// What the rule does to the answer after it changed `before` to `after`. Changes of several rules are applied
    /// last first.
    #[must_use]
    pub fn response(&self, before: &Question, after: &Question) -> Vec<ResponseChange> {
        let mut out = Vec::new();
        match &self.action {
            Action::Name { from, to, answer, .. } => {
                let back = match from {
                    NameMatch::Suffix(suffix) => NameChange::Suffix(to.clone(), suffix.clone()),
                    _ => NameChange::Remap(after.name.to_string(), before.name.to_string()),
                };
                if answer.auto {
                    out.extend([ResponseChange::Owner(back.clone()), ResponseChange::Value(back)]);
                }
                // Kept apart by kind: rules of both kinds touch different parts of a record.
                let change =
                    |(pattern, to): &(Pattern, String)| NameChange::Pattern(pattern.clone(), to.clone());
                out.extend(answer.names.iter().map(change).map(ResponseChange::Owner));
                out.extend(answer.values.iter().map(change).map(ResponseChange::Value));
            }
            Action::Ttl { min, max, .. } => out.push(ResponseChange::Ttl(*min, *max)),
            Action::Rcode { old, new, .. } => out.push(ResponseChange::Code(*old, *new)),
            Action::Cname { .. } | Action::Edns0(_) => out.push(ResponseChange::Unknown),
            Action::Type(..) | Action::Class(..) => {}
        }
        out
    }
}

fn renamed(question: &Question, from: &NameMatch, name: &str, to: &str) -> Applied {
    let new = match from {
        NameMatch::Exact(_) => Some(to.to_owned()),
        NameMatch::Prefix(text) => name.strip_prefix(text.as_str()).map(|rest| format!("{to}{rest}")),
        NameMatch::Suffix(text) => name.strip_suffix(text.as_str()).map(|rest| format!("{rest}{to}")),
        NameMatch::Substring(text) => Some(name.replace(text.as_str(), to)),
        NameMatch::Regex(pattern) => pattern.substitute(name, to),
    };
    let Some(new) = new else { return Applied::Maybe };
    match Name::parse(&new) {
        Ok(name) if !new.is_empty() => Applied::Yes(Question { name, ..question.clone() }),
        _ => Applied::BadName(new),
    }
}

/// Lower case with a final dot (`plugin.Name.Normalize`).
fn normal(text: &str) -> String {
    let mut lower = text.to_lowercase();
    let backslashes = lower.strip_suffix('.').map(|head| head.len() - head.trim_end_matches('\\').len());
    if backslashes.is_none_or(|count| count % 2 == 1) {
        lower.push('.');
    }
    lower
}

/// Cuts the tokens of `rewrite` into rules; a rule with fewer than two words takes those of its block as well.
#[must_use]
pub fn stanzas(tokens: &[Token], nested_blocks: bool) -> Vec<Stanza> {
    let mut dispenser = Dispenser::new(tokens, nested_blocks);
    let mut out = Vec::new();
    while let Some(name) = dispenser.advance() {
        let mut args: Vec<Token> = dispenser.remaining_args().into_iter().cloned().collect();
        if args.len() < 2 {
            while dispenser.next_block() {
                args.extend(dispenser.current().cloned());
            }
        }
        out.push(Stanza { name: name.clone(), args, entries: Vec::new() });
    }
    out
}

impl RewriteRule {
    /// Reads a rule.
    ///
    /// # Errors
    /// The fault at which CoreDNS of the version refuses to start.
    pub fn read(stanza: &Stanza, version: Version) -> Result<Self, CorefileError> {
        let words: Vec<&str> = stanza.words().collect();
        let fault = |message: String| {
            invalid(
                &stanza.name,
                message,
                "write: rewrite [continue|stop] FIELD [TYPE] FROM TO, see the plugin's page",
            )
        };
        let (mode, words) = match words.as_slice() {
            [first, rest @ ..] if first.eq_ignore_ascii_case("continue") => (Mode::Continue, rest),
            [first, rest @ ..] if first.eq_ignore_ascii_case("stop") => (Mode::Stop, rest),
            all => (Mode::Stop, all),
        };
        let Some((field, args)) = words.split_first() else {
            return Err(fault("the rule has no type".to_owned()));
        };
        let field = field.to_ascii_lowercase();
        let since = match field.as_str() {
            "cname" => Version(1, 11, 0),
            "rcode" => Version(1, 11, 3),
            _ => Version::OLDEST,
        };
        if since > version {
            return Err(fault(format!("rewrite knows '{field}' only since CoreDNS {since}")));
        }
        let action = action(&field, args, version).map_err(fault)?;
        Ok(Self { line: stanza.name.line, text: stanza.text(), mode, action })
    }
}

fn action(field: &str, args: &[&str], version: Version) -> Result<Action, String> {
    match field {
        "name" => name_action(args, version),
        "type" => match args {
            [from, to] => {
                let read = |word: &str| {
                    rtype(&word.to_ascii_uppercase()).ok_or_else(|| format!("'{word}' is no record type"))
                };
                Ok(Action::Type(read(from)?, read(to)?))
            }
            _ => Err("a type rule has two words".to_owned()),
        },
        "class" => match args {
            [from, to] => {
                let read = |word: &str| {
                    class(&word.to_ascii_uppercase()).ok_or_else(|| format!("'{word}' is no class"))
                };
                Ok(Action::Class(read(from)?, read(to)?))
            }
            _ => Err("a class rule has two words".to_owned()),
        },
        "ttl" => ttl_action(args, version),
        "rcode" => rcode_action(args),
        "cname" => cname_action(args, version),
        "edns0" => edns0_action(args),
        "answer" => Err("a change of the answer begins with a name rule".to_owned()),
        other => Err(format!("'{other}' is no type of rule")),
    }
}

fn name_action(args: &[&str], version: Version) -> Result<Action, String> {
    let (kind, from_text, to_text, rest) = match args {
        [] | [_] => return Err("a name rule has at least two words".to_owned()),
        [from, to] => ("exact".to_owned(), *from, *to, &[] as &[&str]),
        [kind, from, to, rest @ ..] => (kind.to_ascii_lowercase(), *from, *to, rest),
    };
    let from = NameMatch::read(&kind, from_text)?;
    let metadata = rest.first() == Some(&"metadata") && version >= Version(1, 15, 0);
    if metadata && kind != "regex" {
        return Err("metadata is for regex rules".to_owned());
    }
    let answers = &rest[usize::from(metadata)..];
    let mut answer = if answers.is_empty() { AnswerRewrite::default() } else { answer_rewrite(answers)? };
    match &from {
        // CoreDNS compiles the new name as a pattern here, and the old one stands in for its replacement.
        NameMatch::Exact(text) => {
            groups_fit(&Pattern::compile(&normal(to_text))?, text)?;
            answer.auto = true;
        }
        NameMatch::Regex(pattern) if metadata => metadata_parts(&normal(to_text), pattern)?,
        NameMatch::Regex(pattern) => groups_fit(pattern, to_text)?,
        _ => {}
    }
    Ok(Action::Name { from, to: normal(to_text), metadata, answer })
}

/// Refuses a replacement that uses more groups than the pattern has (`isValidRegexPattern`).
fn groups_fit(pattern: &Pattern, replacement: &str) -> Result<(), String> {
    let used = (0..=100).filter(|at| replacement.contains(&format!("{{{at}}}"))).count();
    match pattern.group_count() {
        Some(count) if used > count => {
            Err(format!("'{replacement}' uses more groups than '{}' has", pattern.text))
        }
        _ => Ok(()),
    }
}

fn metadata_parts(replacement: &str, pattern: &Pattern) -> Result<(), String> {
    let mut rest = replacement;
    while let Some((before, tail)) = rest.split_once('{') {
        if before.contains('}') {
            return Err("a '}' has no '{'".to_owned());
        }
        let Some((label, after)) = tail.split_once('}') else { return Err("a '{' has no '}'".to_owned()) };
        let known = match label.parse::<usize>() {
            Ok(group) => pattern.group_count().is_none_or(|count| group <= count),
            Err(_) => {
                let slash = label.find('/').filter(|&at| at > 0 && at + 1 < label.len());
                slash.is_some() && !label.contains(['{', '}'])
            }
        };
        if !known {
            return Err(format!("'{label}' is neither a group nor a metadata label"));
        }
        rest = after;
    }
    if rest.contains('}') { Err("a '}' has no '{'".to_owned()) } else { Ok(()) }
}

fn answer_rewrite(args: &[&str]) -> Result<AnswerRewrite, String> {
    if args.len() < 2 {
        return Err("an answer rule has at least two words".to_owned());
    }
    if args.first() != Some(&"answer") {
        return Err(format!("'{}' stands where answer is expected", args.first().unwrap_or(&"")));
    }
    let mut out = AnswerRewrite::default();
    let mut rest = args;
    while !rest.is_empty() {
        if let [first, tail @ ..] = rest
            && *first == "answer"
        {
            rest = tail;
        }
        let (pairs, tail) = match rest {
            [] => return Err("answer is followed by auto, name or value".to_owned()),
            ["auto", tail @ ..] => {
                out.auto = true;
                rest = tail;
                continue;
            }
            ["name", from, to, tail @ ..] => ((&mut out.names, *from, *to), tail),
            ["value", from, to, tail @ ..] => ((&mut out.values, *from, *to), tail),
            ["name" | "value", ..] => return Err("answer name and answer value have two words".to_owned()),
            [other, ..] => return Err(format!("'{other}' is none of auto, name, value")),
        };
        let (list, from, to) = pairs;
        if list.len() >= 1_024 {
            return Err("a rule with so many answer rules is not read".to_owned());
        }
        let pattern = Pattern::compile(from)?;
        groups_fit(&pattern, to)?;
        list.push((pattern, normal(to)));
        rest = tail;
    }
    if out.auto && !out.names.is_empty() {
        return Err("answer auto excludes answer name".to_owned());
    }
    Ok(out)
}

fn ttl_action(args: &[&str], version: Version) -> Result<Action, String> {
    let (kind, name, range) = match args {
        [name, range] => ("exact".to_owned(), *name, *range),
        [kind, name, range] => (kind.to_ascii_lowercase(), *name, *range),
        _ => return Err("a ttl rule has two or three words".to_owned()),
    };
    let bad = || format!("'{range}' is no TTL and no range of TTLs");
    let (min, max) = match range.split_once('-') {
        None => {
            let ttl = unsigned(range).ok_or_else(bad)?;
            (ttl, ttl)
        }
        Some(("", "")) => return Err(bad()),
        // `strconv.Atoi` of the whole word, until ranges came.
        Some(_) if version < Version(1, 9, 0) => return Err(bad()),
        Some((low, high)) => (
            if low.is_empty() { 0 } else { unsigned(low).ok_or_else(bad)? },
            if high.is_empty() { 0x7fff_ffff } else { unsigned(high).ok_or_else(bad)? },
        ),
    };
    if min > max {
        return Err(bad());
    }
    Ok(Action::Ttl { names: NameMatch::read(&kind, name)?, min, max })
}

fn rcode_action(args: &[&str]) -> Result<Action, String> {
    let (kind, name, old, new) = match args {
        [name, old, new] => ("exact".to_owned(), *name, *old, *new),
        [kind, name, old, new] => (kind.to_ascii_lowercase(), *name, *old, *new),
        _ => return Err("an rcode rule has three or four words".to_owned()),
    };
    let read = |word: &str| match unsigned(word) {
        Some(code @ 0..=23) => Ok(Rcode(code as u16)),
        _ => rcode(word).ok_or_else(|| format!("'{word}' is no response code")),
    };
    Ok(Action::Rcode { old: read(old)?, new: read(new)?, names: NameMatch::read(&kind, name)? })
}

fn cname_action(args: &[&str], version: Version) -> Result<Action, String> {
    let (kind, from, to) = match args {
        [from, to] => ("exact".to_owned(), *from, *to),
        [kind, from, to] => (kind.to_ascii_lowercase(), *from, *to),
        _ => return Err("a cname rule has two or three words".to_owned()),
    };
    let (from, to) = (from.to_lowercase(), to.to_lowercase());
    // Only the exact form is made absolute; before 1.15.0 not even that, so that it never matched.
    let absolute = |text: &str| if version >= Version(1, 15, 0) { normal(text) } else { text.to_owned() };
    let names = match kind.as_str() {
        "exact" => return Ok(Action::Cname { from: NameMatch::Exact(absolute(&from)), to: absolute(&to) }),
        "prefix" => NameMatch::Prefix(from),
        "suffix" => NameMatch::Suffix(from),
        "substring" => NameMatch::Substring(from),
        "regex" => NameMatch::Regex(Pattern::compile(&from)?),
        other => return Err(format!("'{other}' is none of exact, prefix, suffix, substring, regex")),
    };
    Ok(Action::Cname { from: names, to })
}

fn edns0_action(args: &[&str]) -> Result<Action, String> {
    let [kind, action, ..] = args else { return Err("an edns0 rule has at least two words".to_owned()) };
    let (kind, action) = (kind.to_ascii_lowercase(), action.to_ascii_lowercase());
    if !["append", "replace", "set", "unset"].contains(&action.as_str()) {
        return Err(format!("'{action}' is none of append, replace, set, unset"));
    }
    let mut words = args;
    if action != "unset"
        && let [head @ .., "revert"] = words
    {
        words = head;
    }
    let wanted = match (kind.as_str(), action.as_str()) {
        ("local", "unset") => 3,
        ("local", _) => 4,
        ("nsid", _) | ("subnet", "unset") => 2,
        ("subnet", _) => 4,
        _ => return Err(format!("'{kind}' is none of local, nsid, subnet")),
    };
    if words.len() != wanted {
        return Err(format!("edns0 {kind} {action} has {wanted} words"));
    }
    match (kind.as_str(), words) {
        ("local", [_, _, code]) => check_code(code)?,
        ("local", [_, _, code, data]) => check_local(code, data)?,
        ("subnet", [_, _, v4, v6]) => {
            let bits = |word: &str, most: u16| go_number(word).is_some_and(|bits| bits <= most);
            if !bits(v4, 32) || !bits(v6, 128) {
                return Err("subnet takes prefix lengths up to 32 and 128".to_owned());
            }
        }
        _ => {}
    }
    Ok(Action::Edns0(args.iter().map(|word| (*word).to_owned()).collect()))
}

fn check_code(code: &str) -> Result<(), String> {
    go_number(code).map(|_| ()).ok_or_else(|| format!("'{code}' is no EDNS0 option code"))
}

fn check_local(code: &str, data: &str) -> Result<(), String> {
    check_code(code)?;
    if let Some(hex) = data.strip_prefix("0x") {
        let ok = hex.len() % 2 == 0 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        return if ok { Ok(()) } else { Err(format!("'{data}' is no hexadecimal text")) };
    }
    if let Some(variable) = data.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        const KNOWN: [&str; 7] =
            ["qname", "qtype", "client_ip", "client_port", "protocol", "server_ip", "server_port"];
        let label = variable.find('/').is_some_and(|at| at > 0 && at + 1 < variable.len());
        if !label && !KNOWN.contains(&variable) {
            return Err(format!("'{data}' is no variable"));
        }
    }
    Ok(())
}

/// A number of 16 bits in Go's literal forms (`strconv.ParseUint(s, 0, 16)`).
fn go_number(word: &str) -> Option<u16> {
    let (digits, radix) = match word.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&word[2..], 16),
        [b'0', b'b' | b'B', ..] => (&word[2..], 2),
        [b'0', b'o' | b'O', ..] => (&word[2..], 8),
        [b'0', _, ..] => (&word[1..], 8),
        _ => (word, 10),
    };
    digits
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric())
        .then(|| u16::from_str_radix(digits, radix).ok())?
}
