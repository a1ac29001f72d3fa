//! Files that a Corefile reads, in place: enters a text, the other items of its ConfigMap (mounted beside it, as k3s does
//! with `NodeHosts`) and those of the map mounted as `custom`; leaves the text that says the same all by itself, and where
//! each of its lines stands.
//!
//! Only an `import` that stands alone in its line is followed, of `custom/ITEM` with at most one `*`, as AKS and k3s write
//! them, and `hosts /etc/coredns/ITEM`. Deliberately absent: other folders, arguments of imports, imports inside what was
//! imported; the text keeps them, and whoever parses it sees that it is not whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::corefile::parser::MAX_TEXT;
use crate::corefile::{Env, parse};

/// Where a line stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The map and the item in it, if it is not the Corefile itself.
    pub item: Option<(Map, Arc<str>)>,
    /// Line number there, from 1.
    pub number: u32,
}

/// The map that holds an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// That of the Corefile.
    Own,
    /// The one that is imported.
    Imported,
}

/// Lines of a text with its files; one with more stays as it is, and is not whole: each costs memory beyond its octets.
const LINES_MAX: usize = 1 << 16;

/// Items of a ConfigMap.
pub(super) type Items = BTreeMap<String, String>;

/// A text and where its lines stand.
pub(super) struct Expanded {
    pub(super) text: String,
    pub(super) lines: Vec<Line>,
    // Octets and lines that may still be added.
    left: (usize, usize),
}

impl Expanded {
    fn put(&mut self, text: &str, item: Option<(Map, &Arc<str>)>, number: u32) {
        self.text.push_str(text);
        self.text.push('\n');
        self.lines.push(Line { item: item.map(|(map, item)| (map, Arc::clone(item))), number });
    }

    /// Whether these texts may be added: one that imports a large item many times must not grow without end.
    fn has_room<'t>(&mut self, texts: impl Iterator<Item = &'t str> + Clone) -> bool {
        let octets = texts.clone().map(str::len).sum();
        let lines = texts.map(|text| text.lines().count()).sum::<usize>() + 2;
        match (self.left.0.checked_sub(octets), self.left.1.checked_sub(lines)) {
            (Some(octets), Some(lines)) => self.left = (octets, lines),
            _ => return false,
        }
        true
    }
}

/// True if a text says all by itself: no files are imported, no variables of the process are used. One that cannot be
/// read does: CoreDNS refuses it.
pub(super) fn is_whole(text: &str) -> bool {
    parse(text, &Env::default()).map_or(true, |corefile| corefile.is_complete())
}

/// The text with what it imports in place of the lines that import it (`imported`, if known) and with the entries of
/// hosts files (`own` items).
pub(super) fn expand(text: &str, own: &Items, imported: Option<&Items>) -> Expanded {
    let left =
        (MAX_TEXT.saturating_sub(text.len()), LINES_MAX.saturating_sub(text.lines().take(LINES_MAX).count()));
    let mut out = Expanded { text: String::with_capacity(text.len()), lines: Vec::new(), left };
    for (number, line) in (1..).zip(text.lines()) {
        let file = hosts_file(line, own).filter(|(.., text)| out.has_room(std::iter::once(&**text)));
        if let Some((head, item, text)) = file {
            let item = Arc::from(item);
            out.put(&format!("{head} {{"), None, number);
            let entries = (1..).zip(text.lines()).filter_map(|(number, line)| Some((number, entry(line)?)));
            entries.for_each(|(number, line)| out.put(line, Some((Map::Own, &item)), number));
            if !line.trim_end().ends_with('{') {
                out.put("}", None, number);
            }
            continue;
        }
        let found = imported
            .zip(pattern(line))
            .map(|(items, pattern)| items.iter().filter(|(item, _)| fits(pattern, item)).collect::<Vec<_>>());
        match found {
            Some(found) if out.has_room(found.iter().map(|(_, text)| text.as_str())) => {
                for (item, text) in found {
                    let item = Arc::from(item.as_str());
                    let lines = (1..).zip(text.lines());
                    lines.for_each(|(number, line)| out.put(line, Some((Map::Imported, &item)), number));
                }
            }
            _ => out.put(line, None, number),
        }
    }
    out
}

/// The line of `hosts` without its file, the item that is this file, and its text.
fn hosts_file<'i>(line: &str, own: &'i Items) -> Option<(String, &'i str, &'i str)> {
    let mut words = line.split_whitespace();
    let (Some("hosts"), Some(path)) = (words.next(), words.next()) else { return None };
    let (item, text) = own.get_key_value(path.strip_prefix("/etc/coredns/")?)?;
    let zones: Vec<&str> = words.take_while(|word| *word != "{").collect();
    Some((["hosts", &zones.join(" ")].join(" ").trim_end().to_owned(), item, text))
}

/// An address and names, without the comment behind them, if a Corefile reads them as such; CoreDNS steps over lines of
/// a hosts file that are none.
fn entry(line: &str) -> Option<&str> {
    let said = line.split('#').next()?.trim_end();
    let mut words = said.split_whitespace();
    words.next()?.parse::<std::net::IpAddr>().ok()?;
    let plain =
        |word: &str| word.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"._-*".contains(&octet));
    words.all(plain).then_some(said)
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
        let Expanded { text: whole, lines, .. } = expand(text, &Items::new(), Some(&items()));
        assert_eq!(whole, ".:53 {\nany\nhosts {\n  9.9.9.9 a.\n}\n}\nz.:53 {\n}\n");
        assert!(!is_whole(text) && is_whole(&whole));
        assert_eq!(lines[3], Line { item: Some((Map::Imported, "b.override".into())), number: 2 });
        assert_eq!(lines[5], Line { item: None, number: 3 });
    }

    #[test]
    fn other_imports_stay_and_growth_is_bounded() {
        for line in ["import other/*.conf", "import custom/*/x", "import custom/a?b"] {
            let text = format!(". {{\n{line}\n}}\n");
            assert_eq!(expand(&text, &items(), Some(&items())).text, text);
            assert!(!is_whole(&text), "{line}");
        }
        let many = [("l.override".to_owned(), "\n".repeat(LINES_MAX))].into();
        let text = "import custom/*.override\n";
        assert_eq!(expand(text, &Items::new(), Some(&many)).text, text);
        let large = [("l.override".to_owned(), format!("{}\n", "x".repeat(MAX_TEXT / 2)))].into();
        let text = expand(&"import custom/*.override\n".repeat(100), &Items::new(), Some(&large)).text;
        assert!(text.len() <= MAX_TEXT + 100 && text.contains("import"));
    }

    #[test]
    fn a_hosts_file_of_the_same_map_is_read() {
        let hosts = "10.0.0.1 node-1 # {mine}\n::1 {$X}\nnonsense\n10.0.0.2 node-2\n".to_owned();
        let own = [("NodeHosts".to_owned(), hosts)].into();
        let text = "hosts /etc/coredns/NodeHosts lan {\n  ttl 60\n}\nhosts /etc/coredns/NodeHosts\nhosts /etc/hosts\n";
        let whole = expand(text, &own, None);
        let entries = "10.0.0.1 node-1\n10.0.0.2 node-2\n";
        let expected =
            format!("hosts lan {{\n{entries}  ttl 60\n}}\nhosts {{\n{entries}}}\nhosts /etc/hosts\n");
        assert_eq!(whole.text, expected);
        assert_eq!(whole.lines[2], Line { item: Some((Map::Own, "NodeHosts".into())), number: 4 });
    }
}
