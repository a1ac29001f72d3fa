//! Tokens of a Corefile, as `caddyfile/lexer.go` of coredns/caddy 1.1.4 cuts them.
//!
//! Enters: text; leaves: tokens with line and column. Total: every text gives tokens.
//! Deliberately absent: meaning. Two oddities of the original are kept because the hash and the grammar depend on
//! them: a `#` inside a word hides the rest of that *word* only, and a quoted token is like an unquoted one.

use std::sync::Arc;

/// A word of a Corefile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// Absolute path of the imported file; `None` for the Corefile and for snippets in it.
    pub file: Option<Arc<str>>,
    /// Line of the first character, from 1.
    pub line: u32,
    /// Column of the first character (an opening quote included), in characters from 1.
    pub col: u32,
    /// Text without the enclosing quotes.
    pub text: Arc<str>,
}

impl Token {
    /// Line breaks inside the text: the token ends that many lines below its start.
    #[must_use]
    pub fn line_breaks(&self) -> u32 {
        u32::try_from(self.text.bytes().filter(|&byte| byte == b'\n').count()).unwrap_or(u32::MAX)
    }
}

/// True if `next` starts on a later line than `previous` ends, or in another file.
#[must_use]
pub fn starts_line(previous: &Token, next: &Token) -> bool {
    previous.file != next.file || previous.line.saturating_add(previous.line_breaks()) < next.line
}

/// True if `next` starts on the line on which `previous` ends (not the negation of [`starts_line`]: a token of a
/// snippet used twice may lie *above* its predecessor).
#[must_use]
pub fn same_line(previous: &Token, next: &Token) -> bool {
    previous.file == next.file && previous.line.saturating_add(previous.line_breaks()) == next.line
}

/// Cuts `text` into tokens.
#[must_use]
pub fn lex(text: &str, file: Option<&Arc<str>>) -> Vec<Token> {
    let mut lexer = Lexer { rest: text.strip_prefix('\u{feff}').unwrap_or(text).chars(), line: 1, col: 0 };
    std::iter::from_fn(|| lexer.next_token(file)).collect()
}

struct Lexer<'a> {
    rest: std::str::Chars<'a>,
    line: u32,
    // Column of the last character read.
    col: u32,
}

impl Lexer<'_> {
    fn read(&mut self) -> Option<char> {
        let ch = self.rest.next()?;
        self.col = self.col.saturating_add(1);
        Some(ch)
    }

    fn newline(&mut self) {
        self.line = self.line.saturating_add(1);
        self.col = 0;
    }

    fn next_token(&mut self, file: Option<&Arc<str>>) -> Option<Token> {
        let mut text = String::new();
        let (mut comment, mut start) = (false, (0, 0));
        let token = |text: &str, (line, col): (u32, u32)| {
            Some(Token { file: file.cloned(), line, col, text: Arc::from(text) })
        };
        loop {
            let Some(ch) = self.read() else {
                return if text.is_empty() { None } else { token(&text, start) };
            };
            // A carriage return vanishes, even in the middle of a word.
            if ch == '\r' {
                continue;
            }
            if ch.is_whitespace() {
                if ch == '\n' {
                    self.newline();
                    comment = false;
                }
                if text.is_empty() {
                    continue;
                }
                return token(&text, start);
            }
            comment |= ch == '#';
            if comment {
                continue;
            }
            if text.is_empty() {
                start = (self.line, self.col);
                if ch == '"' {
                    return self.quoted(&mut text).then(|| token(&text, start)).flatten();
                }
            }
            text.push(ch);
        }
    }

    /// Reads up to the closing quote; false if the text ends with nothing read.
    fn quoted(&mut self, text: &mut String) -> bool {
        let mut escaped = false;
        loop {
            let Some(ch) = self.read() else { return !text.is_empty() };
            if !escaped {
                match ch {
                    '\\' => {
                        escaped = true;
                        continue;
                    }
                    '"' => return true,
                    _ => {}
                }
            }
            if ch == '\n' {
                self.newline();
            }
            // Only a quote can be escaped; any other backslash stays.
            if escaped && ch != '"' {
                text.push('\\');
            }
            text.push(ch);
            escaped = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<(u32, u32, String)> {
        lex(text, None).into_iter().map(|t| (t.line, t.col, t.text.to_string())).collect()
    }

    fn word(line: u32, col: u32, text: &str) -> (u32, u32, String) {
        (line, col, text.to_owned())
    }

    #[test]
    fn words_quotes_and_comments_are_cut_with_line_and_column() {
        assert_eq!(
            words("\u{feff}.:53 {\n  log . \"a \\\"b\\\" \\d\n c\" x # end\n\"\" }"),
            [
                word(1, 1, ".:53"),
                word(1, 6, "{"),
                word(2, 3, "log"),
                word(2, 7, "."),
                word(2, 9, "a \"b\" \\d\n c"),
                word(3, 5, "x"),
                word(4, 1, ""),
                word(4, 4, "}"),
            ]
        );
    }

    #[test]
    fn a_hash_inside_a_word_hides_the_rest_of_the_word_only() {
        assert_eq!(words("foo#bar baz\r\nqu\rx"), [word(1, 1, "foo"), word(1, 9, "baz"), word(2, 1, "qux")]);
    }

    #[test]
    fn an_open_quote_ends_with_the_text() {
        assert_eq!(words("\"a\\"), [word(1, 1, "a")]);
        assert_eq!(words("x \""), [word(1, 1, "x")]);
    }

    proptest! {
        #[test]
        fn lexing_is_total_and_lines_never_go_back(text in ".{0,400}") {
            let tokens = lex(&text, None);
            prop_assert!(tokens.windows(2).all(|pair| pair[0].line <= pair[1].line));
        }
    }
}
