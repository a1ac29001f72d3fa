//! Expressions of `view` (expr-lang, the part that questions of DNS need): operators, lists, CoreDNS's functions.
//!
//! Enters: text and what is known of a query. Leaves: true, false, or that it cannot be told. Deliberately absent:
//! closures, pipes, arithmetic, members.

use std::net::IpAddr;

use super::message::Ask;
use crate::corefile::policy::contains;
use crate::corefile::value::Pattern;
use crate::corefile::zone::parse_cidr;

/// Deepest nesting that is followed.
const MAX_DEPTH: usize = 32;

/// A value.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Bool(bool),
    Text(String),
    Number(i64),
    List(Vec<Value>),
}

/// What an expression may ask for besides the query: metadata by label.
pub type Labels<'m> = &'m dyn Fn(&str) -> Option<String>;

/// Whether the expression holds; `None` if it cannot be told.
#[must_use]
pub fn holds(text: &str, ask: &Ask, labels: Labels<'_>) -> Option<bool> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0, ask, labels };
    let value = parser.either()?;
    match value {
        Value::Bool(found) if parser.at == tokens.len() => Some(found),
        _ => None,
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(i64),
    Mark(&'static str),
}

const MARKS: [&str; 16] =
    ["==", "!=", "&&", "||", "<=", ">=", "<", ">", "!", "(", ")", "[", "]", ",", ".", "-"];

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '\'' || first == '"' {
            let end = rest[1..].find(first)?;
            out.push(Token::Text(rest[1..=end].to_owned()));
            rest = &rest[end + 2..];
        } else if first.is_ascii_digit() {
            let end = rest.find(|ch: char| !ch.is_ascii_digit()).unwrap_or(rest.len());
            out.push(Token::Number(rest[..end].parse().ok()?));
            rest = &rest[end..];
        } else if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|ch: char| !ch.is_ascii_alphanumeric() && ch != '_').unwrap_or(rest.len());
            out.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        } else {
            let mark = MARKS.iter().find(|mark| rest.starts_with(**mark))?;
            out.push(Token::Mark(mark));
            rest = &rest[mark.len()..];
        }
        rest = rest.trim_start();
    }
    Some(out)
}

struct Parser<'p> {
    tokens: &'p [Token],
    at: usize,
    depth: usize,
    ask: &'p Ask,
    labels: Labels<'p>,
}

impl Parser<'_> {
    fn takes(&mut self, words: &[&str]) -> bool {
        let fits = match self.tokens.get(self.at) {
            Some(Token::Mark(mark)) => words.contains(mark),
            Some(Token::Word(word)) => words.contains(&word.as_str()),
            _ => false,
        };
        self.at += usize::from(fits);
        fits
    }

    fn either(&mut self) -> Option<Value> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let mut left = self.both()?;
        while self.takes(&["||", "or"]) {
            let right = self.both()?;
            left = Value::Bool(truth(&left)? || truth(&right)?);
        }
        self.depth -= 1;
        Some(left)
    }

    fn both(&mut self) -> Option<Value> {
        let mut left = self.compared()?;
        while self.takes(&["&&", "and"]) {
            let right = self.compared()?;
            left = Value::Bool(truth(&left)? && truth(&right)?);
        }
        Some(left)
    }

    fn compared(&mut self) -> Option<Value> {
        let left = self.prefixed()?;
        let negated = matches!(self.tokens.get(self.at), Some(Token::Word(word)) if word == "not");
        self.at += usize::from(negated);
        let operator = match self.tokens.get(self.at) {
            Some(Token::Mark(mark)) if ["==", "!=", "<", ">", "<=", ">="].contains(mark) => {
                (*mark).to_owned()
            }
            Some(Token::Word(word))
                if ["in", "contains", "startsWith", "endsWith", "matches"].contains(&word.as_str()) =>
            {
                word.clone()
            }
            _ if negated => return None,
            _ => return Some(left),
        };
        self.at += 1;
        let right = self.prefixed()?;
        let found = compare(&operator, &left, &right)?;
        Some(Value::Bool(found != negated))
    }

    fn prefixed(&mut self) -> Option<Value> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let value = if self.takes(&["!", "not"]) {
            let inner = self.compared()?;
            Some(Value::Bool(!truth(&inner)?))
        } else {
            self.plain()
        };
        self.depth -= 1;
        value
    }

    fn plain(&mut self) -> Option<Value> {
        if self.takes(&["("]) {
            let inner = self.either()?;
            return self.takes(&[")"]).then_some(inner);
        }
        if self.takes(&["["]) {
            return self.list("]").map(Value::List);
        }
        let token = self.tokens.get(self.at)?.clone();
        self.at += 1;
        match token {
            Token::Text(text) => Some(Value::Text(text)),
            Token::Number(number) => Some(Value::Number(number)),
            Token::Word(word) if word == "true" || word == "false" => Some(Value::Bool(word == "true")),
            Token::Word(word) => {
                if !self.takes(&["("]) {
                    return None;
                }
                let args = self.list(")")?;
                self.call(&word, &args)
            }
            Token::Mark(_) => None,
        }
    }

    fn list(&mut self, end: &'static str) -> Option<Vec<Value>> {
        let mut out = Vec::new();
        while !self.takes(&[end]) {
            if !out.is_empty() && !self.takes(&[","]) {
                return None;
            }
            out.push(self.either()?);
        }
        Some(out)
    }

    fn call(&self, name: &str, args: &[Value]) -> Option<Value> {
        let ask = self.ask;
        Some(match (name, args) {
            ("name", []) => Value::Text(ask.question.name.to_string()),
            ("type", []) => Value::Text(ask.question.rtype.to_string()),
            ("class", []) => Value::Text(ask.question.class.to_string()),
            ("client_ip", []) => Value::Text(ask.client.to_string()),
            ("proto", []) => Value::Text(if ask.tcp { "tcp" } else { "udp" }.to_owned()),
            ("do", []) => Value::Bool(ask.dnssec),
            ("opcode", []) => Value::Number(0),
            ("server_port", []) => Value::Text("53".to_owned()),
            ("metadata", [Value::Text(label)]) => Value::Text((self.labels)(label)?),
            ("incidr", [Value::Text(ip), Value::Text(network)]) => {
                let ip: IpAddr = ip.parse().ok()?;
                Value::Bool(contains(parse_cidr(network)?, ip))
            }
            _ => return None,
        })
    }
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(found) => Some(*found),
        _ => None,
    }
}

fn compare(operator: &str, left: &Value, right: &Value) -> Option<bool> {
    Some(match (operator, left, right) {
        ("==", _, _) => left == right,
        ("!=", _, _) => left != right,
        ("<", Value::Number(a), Value::Number(b)) => a < b,
        (">", Value::Number(a), Value::Number(b)) => a > b,
        ("<=", Value::Number(a), Value::Number(b)) => a <= b,
        (">=", Value::Number(a), Value::Number(b)) => a >= b,
        ("in", value, Value::List(list)) => list.contains(value),
        ("contains", Value::Text(a), Value::Text(b)) => a.contains(b.as_str()),
        ("startsWith", Value::Text(a), Value::Text(b)) => a.starts_with(b.as_str()),
        ("endsWith", Value::Text(a), Value::Text(b)) => a.ends_with(b.as_str()),
        ("matches", Value::Text(a), Value::Text(b)) => Pattern::compile(b).ok()?.matches(a)?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use truename_model::{Class, Name, Question, Rtype};

    #[test]
    fn expressions_of_view_are_evaluated() {
        let question =
            Question { name: Name::parse("www.example.com").unwrap(), rtype: Rtype::A, class: Class::IN };
        let ask = Ask::new(question, "172.16.3.4".parse().unwrap());
        let labels = |label: &str| Some(if label == "a/b" { "x" } else { "" }.to_owned());
        for (text, wanted) in [
            ("incidr(client_ip(), '172.16.0.0/12')", Some(true)),
            ("client_ip() == '10.0.0.1' || type() in ['A', 'AAAA']", Some(true)),
            ("name() startsWith 'w' && not (type() == 'A')", Some(false)),
            ("name() matches '^www[.]'", Some(true)),
            ("metadata('a/b') == 'x' and proto() != 'tcp'", Some(true)),
            ("type() not in ['A']", Some(false)),
            ("unknown()", None),
            ("(((", None),
        ] {
            assert_eq!(holds(text, &ask, &labels), wanted, "{text}");
        }
    }
}
