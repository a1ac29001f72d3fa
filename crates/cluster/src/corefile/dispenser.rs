//! A cursor over the tokens of one directive, as `caddyfile/dispenser.go` of coredns/caddy 1.1.4 moves.
//!
//! Enters: the tokens that a plugin's setup sees; leaves: words in the order in which CoreDNS reads them.
//! Deliberately absent: what the words mean. The odd cases (a `}` on an option's line is an argument of an option
//! that reads the rest of its line) are kept: they decide whether CoreDNS starts.

use super::lexer::{Token, same_line};

/// The cursor. Before the first [`Dispenser::advance`] there is no current token.
#[derive(Clone, Debug)]
pub struct Dispenser<'a> {
    tokens: &'a [Token],
    // Index of the current token plus one; 0 = none yet.
    cursor: usize,
    nesting: usize,
    nested_blocks: bool,
}

impl<'a> Dispenser<'a> {
    /// A cursor in front of `tokens`. `nested_blocks`: caddy 1.1.4 and later (CoreDNS 1.14.5 and later).
    #[must_use]
    pub fn new(tokens: &'a [Token], nested_blocks: bool) -> Self {
        Self { tokens, cursor: 0, nesting: 0, nested_blocks }
    }

    /// The current token.
    #[must_use]
    pub fn current(&self) -> Option<&'a Token> {
        self.tokens.get(self.cursor.checked_sub(1)?)
    }

    fn is(&self, text: &str) -> bool {
        self.current().is_some_and(|token| &*token.text == text)
    }

    /// Loads the next token.
    pub fn advance(&mut self) -> Option<&'a Token> {
        if self.cursor >= self.tokens.len() {
            return None;
        }
        self.cursor += 1;
        self.current()
    }

    /// Loads the next token if it is on the line of the current one.
    pub fn next_arg(&mut self) -> Option<&'a Token> {
        let next = self.tokens.get(self.cursor)?;
        match self.current() {
            Some(current) if !same_line(current, next) => None,
            _ => self.advance(),
        }
    }

    /// The rest of the line up to an opening brace.
    pub fn remaining_args(&mut self) -> Vec<&'a Token> {
        let mut args = Vec::new();
        while let Some(token) = self.next_arg() {
            if &*token.text == "{" {
                self.cursor -= 1;
                break;
            }
            args.push(token);
        }
        args
    }

    /// Loads the next token of the block that opens on the current line or is open already; false at its end.
    pub fn next_block(&mut self) -> bool {
        if self.nesting > 0 {
            if self.advance().is_none() {
                return false;
            }
            if self.is("}") {
                self.nesting -= 1;
                return false;
            }
            if !self.nested_blocks || !self.is("{") {
                return true;
            }
            // A nested block opens: go through the ordinary opening below.
            self.cursor -= 1;
        }
        if self.next_arg().is_none() {
            return false;
        }
        if !self.is("{") {
            self.cursor -= 1;
            return false;
        }
        if self.advance().is_none() || self.is("}") {
            return false;
        }
        self.nesting += 1;
        true
    }

    /// How many blocks are open.
    #[must_use]
    pub fn nesting(&self) -> usize {
        self.nesting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corefile::lexer::lex;

    #[test]
    fn nested_blocks_open_and_close_as_in_caddy_1_1_4() {
        // Upstream's own trace (TestDispenser_NextBlock_MultipleLevelsOfNestedBlocks).
        let tokens = lex(
            "foobar1 {\n sub1 arg1\n sub2\n sub_foobar1 sub_foobar1_arg {\n sub3 arg3\n sub4\n }\n }\n foobar2 {\n }",
            None,
        );
        let mut d = Dispenser::new(&tokens, true);
        let mut at = |step: fn(&mut Dispenser<'_>) -> bool| (step(&mut d), d.cursor as i64 - 1, d.nesting);
        assert_eq!(at(|d| d.next_block()), (false, -1, 0));
        assert!(at(|d| d.advance().is_some()).0);
        assert_eq!(at(|d| d.next_block()), (true, 2, 1));
        assert!(at(|d| d.next_arg().is_some()).0);
        assert_eq!(at(|d| d.next_block()), (true, 4, 1));
        assert_eq!(at(|d| d.next_block()), (true, 5, 1));
        assert!(at(|d| d.next_arg().is_some()).0);
        assert_eq!(at(|d| d.next_block()), (true, 8, 2));
        assert!(at(|d| d.next_arg().is_some()).0);
        assert_eq!(at(|d| d.next_block()), (true, 10, 2));
        assert_eq!(at(|d| d.next_block()), (false, 11, 1));
        assert_eq!(at(|d| d.next_block()), (false, 12, 0));
        assert!(at(|d| d.advance().is_some()).0);
        assert_eq!(at(|d| d.next_block()), (false, 15, 0));
    }

    #[test]
    fn a_closing_brace_on_the_line_is_an_argument() {
        let tokens = lex("log . { class error }", None);
        let mut d = Dispenser::new(&tokens, true);
        d.advance();
        assert_eq!(d.remaining_args().len(), 1);
        assert!(d.next_block());
        let args: Vec<_> = d.remaining_args().iter().map(|t| t.text.to_string()).collect();
        assert_eq!(args, ["error", "}"]);
    }
}
