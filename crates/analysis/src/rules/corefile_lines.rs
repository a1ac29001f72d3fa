//! A Corefile as a set of lines that mean something: server keys, directive, words; layout and comments do not count.
//!
//! Enters: Corefile text; leaves: lines that two versions can be compared by. Deliberately absent: plugin semantics
//! beyond the words (see the `cluster` crate).

use truename_cluster::corefile::{CorefileError, Env, lexer::starts_line, parser::parse_blocks};

/// One line of a directive, inner lines of its block included.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    /// Server keys, sorted, joined by a blank.
    pub(crate) server: String,
    /// Directive (`forward`, `hosts` …).
    pub(crate) name: String,
    /// Words after the directive's name, or of an inner line.
    pub(crate) args: Vec<String>,
    /// True for a line inside the directive's braces.
    pub(crate) inner: bool,
}

impl Line {
    /// As people read it.
    pub(crate) fn text(&self) -> String {
        let words = self.args.join(" ");
        if self.inner {
            format!("{} {{ {words} }}", self.name)
        } else {
            format!("{} {words}", self.name).trim_end().to_owned()
        }
    }
}

/// Lines with their line numbers in the text; sorted by nothing but the text's order.
pub(crate) fn numbered(text: &str) -> Result<Vec<(u32, Line)>, CorefileError> {
    let blocks = parse_blocks(text, &Env::default())?;
    let mut out = Vec::new();
    for block in &blocks.blocks {
        let mut keys: Vec<&str> = block.keys.iter().map(|key| &*key.text).collect();
        keys.sort_unstable();
        let server = keys.join(" ");
        for (name, range) in &block.order {
            let Some(tokens) = block.tokens.get(name).and_then(|tokens| tokens.get(range.clone())) else {
                continue;
            };
            let mut at = 0;
            while at < tokens.len() {
                let end = (at + 1..tokens.len())
                    .find(|&i| starts_line(&tokens[i - 1], &tokens[i]))
                    .unwrap_or(tokens.len());
                let words: Vec<String> = tokens[at..end].iter().map(|token| token.text.to_string()).collect();
                let inner = at > 0;
                let args: Vec<String> = if inner { words } else { words.into_iter().skip(1).collect() };
                let args: Vec<String> = args.into_iter().filter(|word| word != "{" && word != "}").collect();
                if !inner || !args.is_empty() {
                    out.push((
                        tokens[at].line,
                        Line { server: server.clone(), name: name.clone(), args, inner },
                    ));
                }
                at = end;
            }
        }
    }
    Ok(out)
}

/// The lines alone.
pub(crate) fn lines_of(text: &str) -> Result<Vec<Line>, CorefileError> {
    Ok(numbered(text)?.into_iter().map(|(_, line)| line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = ".:53 {\n  errors\n  hosts {\n    192.0.2.1 a.example\n    fallthrough\n  }\n  forward . 203.0.113.53\n}\n";

    #[test]
    fn layout_and_comments_do_not_count() {
        let other = "# reviewed\n.:53 {\n errors # yes\n\n hosts {\n  192.0.2.1   a.example\n  fallthrough\n }\n forward . 203.0.113.53\n}";
        assert_eq!(lines_of(PLAIN).unwrap(), lines_of(other).unwrap());
        let texts: Vec<String> = lines_of(PLAIN).unwrap().iter().map(Line::text).collect();
        assert_eq!(
            texts,
            [
                "errors",
                "hosts",
                "hosts { 192.0.2.1 a.example }",
                "hosts { fallthrough }",
                "forward . 203.0.113.53"
            ]
        );
    }

    #[test]
    fn a_broken_text_is_an_error() {
        assert!(lines_of(".:53 {\n errors\n").is_err());
    }
}
