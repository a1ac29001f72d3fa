//! How a plugin's stanza is read: a table of its options, run by one reader.
//!
//! Enters: tokens of a directive and its [`Schema`]; leaves: [`Stanza`]s (arguments and options with their places),
//! or the error at which CoreDNS would stop. Deliberately absent: the tables (see `registry`) and their meaning.

use super::diagnostic::{CorefileError, ErrorKind};
use super::dispenser::Dispenser;
use super::lexer::Token;
use super::order::Version;
use super::value::Kind;

/// Which words an option takes from its line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Take {
    /// None: what follows on the line is read as the next option.
    Nothing,
    /// Exactly this many, one by one; what follows is read as the next option.
    Next(usize),
    /// The rest of the line, and nothing that follows: at least, at most.
    Rest(usize, usize),
    /// The rest of the line, of which only the first words count; at least.
    Lenient(usize),
}

/// An option of a plugin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// Name; matched without case if the schema says so.
    pub name: &'static str,
    /// Words it takes.
    pub take: Take,
    /// What the words must be, in order; the last holds for all that follow. Empty: any.
    pub kinds: &'static [Kind],
    /// First CoreDNS version that knows it.
    pub since: Version,
}

/// An option that every known version has.
#[must_use]
pub const fn option(name: &'static str, take: Take, kinds: &'static [Kind]) -> Setting {
    Setting { name, take, kinds, since: Version(0, 0, 0) }
}

/// An option that came with a version.
#[must_use]
pub const fn option_since(since: Version, name: &'static str, take: Take, kinds: &'static [Kind]) -> Setting {
    Setting { name, take, kinds, since }
}

/// No upper bound on the words of a line.
pub const MANY: usize = usize::MAX;

/// What may follow a plugin's line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Body {
    /// A block with these options and no others.
    Options(&'static [Setting]),
    /// A block with these options; other lines are the plugin's own business.
    Open(&'static [Setting]),
    /// A block with anything in it is refused.
    None,
    /// The plugin does not look for one: a `{` counts as another use of the plugin, which fails.
    Absent,
    /// A block is not even looked at.
    Ignored,
}

/// How a plugin is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schema {
    /// Name of the directive.
    pub name: &'static str,
    /// Words after the name.
    pub args: (usize, usize),
    /// What they must be, as in [`Setting::kinds`].
    pub kinds: &'static [Kind],
    /// It may stand once in a server block.
    pub once: bool,
    /// Option names are compared without case.
    pub any_case: bool,
    /// The block.
    pub body: Body,
}

impl Schema {
    /// A directive with at least and at most so many words, of these kinds, and a block.
    #[must_use]
    pub const fn new(name: &'static str, args: (usize, usize), kinds: &'static [Kind], body: Body) -> Self {
        Self { name, args, kinds, once: false, any_case: false, body }
    }

    /// The same, allowed once in a server block.
    #[must_use]
    pub const fn once(self) -> Self {
        Self { once: true, ..self }
    }

    /// The same, option names in any case.
    #[must_use]
    pub const fn any_case(self) -> Self {
        Self { any_case: true, ..self }
    }
}

/// A word of a stanza's block with what it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The option's name, or the first word of an open line.
    pub name: Token,
    /// Words.
    pub args: Vec<Token>,
}

impl Entry {
    /// Texts of the words.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.args.iter().map(|token| &*token.text)
    }

    /// Text of a word; empty if it is absent.
    #[must_use]
    pub fn word(&self, at: usize) -> &str {
        self.args.get(at).map_or("", |token| &*token.text)
    }
}

/// One use of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stanza {
    /// The directive's name and place.
    pub name: Token,
    /// Words after the name.
    pub args: Vec<Token>,
    /// Options in file order.
    pub entries: Vec<Entry>,
}

impl Stanza {
    /// Options of a name, in file order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Entry> + 'a {
        self.entries.iter().filter(move |entry| entry.name.text.eq_ignore_ascii_case(name))
    }

    /// The last option of a name, which wins.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.name.text.eq_ignore_ascii_case(name))
    }

    /// True if the option is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.last(name).is_some()
    }

    /// Texts of the words after the name.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.args.iter().map(|token| &*token.text)
    }

    /// Text of a word after the name; empty if it is absent.
    #[must_use]
    pub fn word(&self, at: usize) -> &str {
        self.args.get(at).map_or("", |token| &*token.text)
    }

    /// The stanza as one line of text, for display: arguments, and options in braces.
    #[must_use]
    pub fn text(&self) -> String {
        let mut parts: Vec<&str> = vec![&self.name.text];
        parts.extend(self.words());
        if !self.entries.is_empty() {
            parts.push("{");
            for (at, entry) in self.entries.iter().enumerate() {
                if at > 0 {
                    parts.push(";");
                }
                parts.push(&entry.name.text);
                parts.extend(entry.words());
            }
            parts.push("}");
        }
        parts.join(" ")
    }
}

/// An error of kind `Invalid` at a token.
#[must_use]
pub fn invalid(token: &Token, message: impl Into<String>, next_step: impl Into<String>) -> CorefileError {
    CorefileError::at(token, ErrorKind::Invalid, message, next_step)
}

/// Reads every stanza of a directive until the first error, at which CoreDNS stops as well.
#[must_use]
pub fn read(schema: &Schema, tokens: &[Token], version: Version) -> (Vec<Stanza>, Option<CorefileError>) {
    let mut dispenser = Dispenser::new(tokens, version >= Version::NESTED_BLOCKS);
    let mut stanzas = Vec::new();
    while let Some(name) = dispenser.advance() {
        if schema.once && !stanzas.is_empty() {
            let error =
                invalid(name, format!("{} may stand once in a server block", schema.name), "remove one");
            return (stanzas, Some(error));
        }
        match stanza(schema, name, &mut dispenser, version) {
            Ok(stanza) => stanzas.push(stanza),
            Err(error) => return (stanzas, Some(error)),
        }
        if schema.body == Body::Ignored {
            break;
        }
    }
    (stanzas, None)
}

fn stanza(
    schema: &Schema,
    name: &Token,
    dispenser: &mut Dispenser<'_>,
    version: Version,
) -> Result<Stanza, CorefileError> {
    if &*name.text == "{" {
        return Err(invalid(
            name,
            "a block cannot open here",
            "put '{' on the directive's line, if it takes a block",
        ));
    }
    let args: Vec<Token> = dispenser.remaining_args().into_iter().cloned().collect();
    let (least, most) = schema.args;
    if args.len() < least || args.len() > most {
        return Err(count_error(name, schema.name, args.len(), least, most));
    }
    check_kinds(&args, schema.kinds)?;
    let mut entries = Vec::new();
    if schema.name == "dns64" && !args.is_empty() {
        // A prefix on the line ends the reading: CoreDNS skips the block, whatever stands in it.
        while dispenser.advance().is_some() {}
        return Ok(Stanza { name: name.clone(), args, entries });
    }
    let (settings, open) = match schema.body {
        Body::Options(settings) => (settings, false),
        Body::Open(settings) => (settings, true),
        Body::None => (&[] as &[Setting], false),
        Body::Ignored | Body::Absent => return Ok(Stanza { name: name.clone(), args, entries }),
    };
    while dispenser.next_block() {
        let Some(word) = dispenser.current() else { break };
        entries.push(entry(schema, settings, open, word, dispenser, version)?);
    }
    Ok(Stanza { name: name.clone(), args, entries })
}

fn entry(
    schema: &Schema,
    settings: &[Setting],
    open: bool,
    word: &Token,
    dispenser: &mut Dispenser<'_>,
    version: Version,
) -> Result<Entry, CorefileError> {
    let same = |setting: &&Setting| {
        if schema.any_case {
            setting.name.eq_ignore_ascii_case(&word.text)
        } else {
            setting.name == &*word.text
        }
    };
    let Some(setting) = settings.iter().find(same) else {
        if open {
            let args = dispenser.remaining_args().into_iter().cloned().collect();
            return Ok(Entry { name: word.clone(), args });
        }
        let known: Vec<&str> = settings.iter().map(|setting| setting.name).collect();
        let next = if known.is_empty() {
            "remove the block".to_owned()
        } else {
            format!("use one of: {}", known.join(", "))
        };
        return Err(invalid(word, format!("{} has no option '{}'", schema.name, word.text), next));
    };
    if setting.since > version {
        let message = format!("{} knows '{}' only since CoreDNS {}", schema.name, word.text, setting.since);
        return Err(invalid(word, message, "remove it or upgrade"));
    }
    let args = take(word, setting, dispenser)?;
    check_kinds(&args, setting.kinds)?;
    Ok(Entry { name: word.clone(), args })
}

fn take(word: &Token, setting: &Setting, dispenser: &mut Dispenser<'_>) -> Result<Vec<Token>, CorefileError> {
    match setting.take {
        Take::Nothing => Ok(Vec::new()),
        Take::Next(count) => {
            let mut args = Vec::new();
            while args.len() < count {
                match dispenser.next_arg() {
                    Some(token) => args.push(token.clone()),
                    None => return Err(count_error(word, setting.name, args.len(), count, count)),
                }
            }
            Ok(args)
        }
        Take::Rest(..) | Take::Lenient(_) => {
            let args: Vec<Token> = dispenser.remaining_args().into_iter().cloned().collect();
            let (least, most) = match setting.take {
                Take::Rest(least, most) => (least, most),
                Take::Lenient(least) => (least, usize::MAX),
                _ => (0, usize::MAX),
            };
            if args.len() < least || args.len() > most {
                return Err(count_error(word, setting.name, args.len(), least, most));
            }
            Ok(args)
        }
    }
}

fn check_kinds(args: &[Token], kinds: &[Kind]) -> Result<(), CorefileError> {
    let Some(last) = kinds.last() else { return Ok(()) };
    for (at, token) in args.iter().enumerate() {
        let kind = kinds.get(at).unwrap_or(last);
        kind.check(&token.text)
            .map_err(|message| invalid(token, message, format!("write {}", kind.description())))?;
    }
    Ok(())
}

fn count_error(token: &Token, name: &str, found: usize, least: usize, most: usize) -> CorefileError {
    let wanted = match (least, most) {
        (_, usize::MAX) => format!("at least {least}"),
        (0, 0) => "no".to_owned(),
        _ if least == most => least.to_string(),
        _ => format!("{least} to {most}"),
    };
    invalid(token, format!("{name} takes {wanted} words, found {found}"), "correct the line")
}
