//! What is wrong with a Corefile, where, and what to do about it.
//!
//! Enters: facts found by the lexer, parser and plugin readers; leaves: one comparable value per fault.
//! Deliberately absent: severities (an audit's business).

use std::fmt;

use super::lexer::Token;

/// Who must act on the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// The text is no Corefile: braces, commas, snippets. CoreDNS refuses it before any plugin sees it.
    Syntax,
    /// An `import` that cannot be followed.
    Import,
    /// A plugin, option or value that CoreDNS of the given version refuses: the server does not start, or a
    /// reload keeps the old configuration.
    Invalid,
    /// Truename's own bound (text size, tokens after expansion, nesting), never CoreDNS's.
    Bound,
}

/// A fault of a Corefile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub struct CorefileError {
    /// Line, from 1; 0 if the fault belongs to no line.
    pub line: u32,
    /// Column in characters, from 1; 0 if the fault belongs to no column.
    pub col: u32,
    /// Imported file that holds the line; `None` for the Corefile itself.
    pub file: Option<String>,
    /// Who must act.
    pub kind: ErrorKind,
    /// What is wrong. Holds text of the Corefile: escape it before showing it.
    pub message: String,
    /// What to do next.
    pub next_step: String,
}

impl CorefileError {
    /// An error at a token.
    #[must_use]
    pub fn at(
        token: &Token,
        kind: ErrorKind,
        message: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Self {
        Self {
            line: token.line,
            col: token.col,
            file: token.file.as_deref().map(str::to_owned),
            kind,
            message: message.into(),
            next_step: next_step.into(),
        }
    }

    /// An error that belongs to no token.
    #[must_use]
    pub fn nowhere(kind: ErrorKind, message: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self { line: 0, col: 0, file: None, kind, message: message.into(), next_step: next_step.into() }
    }
}

impl fmt::Display for CorefileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
        }
        write!(f, "{}:{}: {}; {}", self.line, self.col, self.message, self.next_step)
    }
}
