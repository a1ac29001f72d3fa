//! `import` of files in a Corefile, in place: enters a text and the items of the map mounted as `custom`; leaves the text
//! that CoreDNS reads and where each of its lines stands.
//!
//! Only imports that stand alone in their line are followed, of `custom/ITEM` with at most one `*`, as AKS and k3s write
//! them. Deliberately absent: other folders, arguments of imports, imports inside what was imported; the text keeps them,
//! and whoever parses it sees that it is not whole.

use std::collections::BTreeMap;

use crate::corefile::parser::MAX_TEXT;
use crate::corefile::{Env, parse};

/// Where a line stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The item of the imported map; `None` for the Corefile itself.
    pub item: Option<String>,
    /// Line number there, from 1.
    pub number: u32,
}

/// True if a text says all by itself: no files are imported, no variables of the process are used. One that cannot be
/// read does: CoreDNS refuses it.
pub(super) fn is_whole(text: &str) -> bool {
    parse(text, &Env::default()).map_or(true, |corefile| corefile.is_complete())
}

/// The text with imported items in place of the lines that import them.
pub(super) fn expand(text: &str, items: &BTreeMap<String, String>) -> (String, Vec<Line>) {
    let (mut out, mut lines) = (String::with_capacity(text.len()), Vec::new());
    let mut put = |text: &str, item: Option<&String>, number: u32| {
        out.push_str(text);
        out.push('\n');
        lines.push(Line { item: item.cloned(), number });
    };
    // A text that imports a large item many times must not grow without end: the rest stays, and is not whole.
    let mut left = MAX_TEXT.saturating_sub(text.len());
    for (number, line) in (1..).zip(text.lines()) {
        let fitting = |pattern| items.iter().filter(move |(item, _)| fits(pattern, item));
        let found: Option<Vec<_>> = pattern(line).map(|pattern| fitting(pattern).collect());
        let size: usize = found.iter().flatten().map(|(_, text)| text.len()).sum();
        let Some(found) = found.filter(|_| size <= left) else {
            put(line, None, number);
            continue;
        };
        left -= size;
        for (item, text) in found {
            (1..).zip(text.lines()).for_each(|(number, line)| put(line, Some(item), number));
        }
    }
    (out, lines)
}

/// The file part of an import of the folder `custom`, if the line holds nothing else.
fn pattern(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let (Some("import"), Some(path), None) = (words.next(), words.next(), words.next()) else { return None };
    let file = path.strip_prefix("/etc/coredns/").unwrap_or(path).strip_prefix("custom/")?;
    let plain = !file.contains(['/', '?', '[', ']', '\\', '"', '{', '}']);
    (plain && file.matches('*').count() <= 1).then_some(file)
}

/// Whether a glob with at most one `*` fits a file name (Go's `filepath.Match`; dots are not special there).
fn fits(pattern: &str, item: &str) -> bool {
    match pattern.split_once('*') {
        Some((head, tail)) => {
            item.len() >= head.len() + tail.len() && item.starts_with(head) && item.ends_with(tail)
        }
        None => pattern == item,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items() -> BTreeMap<String, String> {
        [("b.override", "hosts {\n  9.9.9.9 a.\n}"), ("a.override", "any"), ("z.server", "z.:53 {\n}\n")]
            .map(|(item, text)| (item.to_owned(), text.to_owned()))
            .into()
    }

    #[test]
    fn imported_items_stand_where_they_are_imported_and_lines_say_whence() {
        let text = ".:53 {\n  import custom/*.override\n}\nimport /etc/coredns/custom/*.server\n";
        let (whole, lines) = expand(text, &items());
        assert_eq!(whole, ".:53 {\nany\nhosts {\n  9.9.9.9 a.\n}\n}\nz.:53 {\n}\n");
        assert!(!is_whole(text) && is_whole(&whole));
        assert_eq!(lines[3], Line { item: Some("b.override".to_owned()), number: 2 });
        assert_eq!(lines[5], Line { item: None, number: 3 });
    }

    #[test]
    fn other_imports_stay_and_growth_is_bounded() {
        for line in ["import other/*.conf", "import custom/*/x", "import custom/a?b"] {
            let text = format!(". {{\n{line}\n}}\n");
            assert_eq!(expand(&text, &items()).0, text);
            assert!(!is_whole(&text), "{line}");
        }
        let large = [("l.override".to_owned(), "x\n".repeat(MAX_TEXT / 4))].into();
        let (text, _) = expand(&"import custom/*.override\n".repeat(100), &large);
        assert!(text.len() <= MAX_TEXT + 100 && text.contains("import"));
    }
}
