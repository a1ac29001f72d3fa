//! Text from evidence, made safe to show: control characters and direction marks become visible escapes.
//!
//! Enters: any string of an object, a user or a log line; leaves: text that moves no cursor and hides nothing.
//! Deliberately absent: HTML and terminal styling, which belong to the renderers.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Longest text that a finding carries in one field, in characters; the rest is cut and said to be.
const LONGEST: usize = 4_096;

/// `text` with every control character and every bidirectional or invisible format character as `\u{…}`.
///
/// Printable text comes back unchanged, so applying it twice does no harm.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST && !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len().min(LONGEST) + 16);
    for (at, ch) in text.chars().enumerate() {
        if at >= LONGEST {
            out.push_str("… (cut)");
            break;
        }
        if is_hostile(ch) {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(ch));
        } else {
            out.push(ch);
        }
    }
    Cow::Owned(out)
}

fn is_hostile(ch: char) -> bool {
    ch.is_control()
        || matches!(ch, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Matches `text` against a glob in which `*` stands for any run of characters, an empty one included.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|head| text.strip_prefix(head)) else { return false };
    let Some(mut last) = parts.next() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(last) else { return false };
        rest = &rest[at + last.len()..];
        last = part;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_cursor_or_hides_is_shown_instead() {
        assert_eq!(escaped("a\u{1b}[31mb\u{202e}\n"), "a\\u{1b}[31mb\\u{202e}\\u{a}");
        assert_eq!(escaped("pod shop/web-1 ü <b>"), "pod shop/web-1 ü <b>");
        assert_eq!(escaped(&escaped("\u{7f}")), "\\u{7f}");
        assert!(escaped(&"x".repeat(10_000)).chars().count() < 4_200);
    }

    #[test]
    fn globs_cover_whole_texts() {
        for (pattern, text, matches) in [
            ("kube-system/coredns*", "kube-system/coredns-1-15", true),
            ("*", "", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyycd", false),
            ("alice", "alice2", false),
            ("*.example.", "a.example.", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }
}
