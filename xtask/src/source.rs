//! Rust files as text: where functions begin and end, which modules a crate root declares, which crate paths a file uses.
//!
//! Works on formatted code (rustfmt closes a function at the indentation where it began), which `make check` ensures.

use std::path::{Path, PathBuf};

/// A function's place and length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// File, relative to the root.
    pub(crate) file: PathBuf,
    /// Name.
    pub(crate) name: String,
    /// First line, from 1.
    pub(crate) line: usize,
    /// Lines from `fn` to the closing brace.
    pub(crate) lines: usize,
}

/// Every `.rs` file below `dir`, sorted, build outputs left out.
pub(crate) fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                open.push(path);
            } else if name.ends_with(".rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The part of a file before its unit tests.
pub(crate) fn without_tests(text: &str) -> &str {
    let inline = |at: &usize| text[*at..].lines().nth(1).is_some_and(|line| line.ends_with('{'));
    let first = text.match_indices("#[cfg(test)]\nmod ").map(|(at, _)| at).find(inline);
    first.map_or(text, |at| &text[..at])
}

/// Functions of a file, tests left out.
pub(crate) fn functions(file: &Path, text: &str) -> Vec<Function> {
    let lines: Vec<&str> = without_tests(text).lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some(name) = function_name(line.trim_start()) else { continue };
        let closing = format!("{}}}", " ".repeat(indent));
        let one_line = line.ends_with('}') || line.ends_with(';');
        let end = if one_line {
            Some(at)
        } else {
            (at..lines.len()).find(|&n| lines[n] == closing || lines[n].ends_with(';') && n == at)
        };
        if let Some(end) = end {
            found.push(Function { file: file.to_path_buf(), name, line: at + 1, lines: end - at + 1 });
        }
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let mut words = line;
    for prefix in ["pub(crate) ", "pub(super) ", "pub ", "const ", "async ", "unsafe ", "extern \"C\" "] {
        words = words.strip_prefix(prefix).unwrap_or(words);
    }
    let rest = words.strip_prefix("fn ")?;
    Some(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
}

/// Modules that a crate root declares, in order, with the line that declares each.
pub(crate) fn declared_modules(root_text: &str) -> Vec<String> {
    without_tests(root_text)
        .replace("#[cfg(test)]\nmod ", "")
        .lines()
        .filter_map(|line| {
            let line = line.strip_prefix("pub(crate) ").or_else(|| line.strip_prefix("pub ")).unwrap_or(line);
            line.strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned)
        })
        .collect()
}

/// First path segments after `crate::` in code (comments and tests left out).
pub(crate) fn crate_paths(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, line) in without_tests(text).lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for (start, _) in code.match_indices("crate::") {
            let before = code[..start].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let rest = &code[start + "crate::".len()..];
            let names: Vec<String> = match rest.strip_prefix('{') {
                Some(group) => group.split(['}', ',']).map(first_segment).collect(),
                None => vec![first_segment(rest)],
            };
            found.extend(names.into_iter().filter(|name| !name.is_empty()).map(|name| (at + 1, name)));
        }
    }
    found
}

fn first_segment(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_by_their_closing_brace() {
        let text = "impl X {\n    pub fn a(\n        x: u8,\n    ) -> u8 {\n        x\n    }\n\n    fn b() {}\n}\n#[cfg(test)]\nmod tests {\n    fn c() {\n    }\n}\n";
        let found: Vec<_> =
            functions(Path::new("f.rs"), text).into_iter().map(|f| (f.name, f.line, f.lines)).collect();
        assert_eq!(found, [("a".to_owned(), 2, 5), ("b".to_owned(), 8, 1)]);
    }

    #[test]
    fn modules_and_paths_are_read() {
        let root =
            "pub mod a;\n#[cfg(test)]\nmod fixture;\nmod b;\npub(crate) mod c;\n#[cfg(test)]\nmod tests {\n";
        assert_eq!(declared_modules(root), ["a", "b", "c"]);
        let uses = crate_paths("use crate::{a, b::C};\nlet x = crate::d::e(); // crate::f\n");
        assert_eq!(uses, [(1, "a".into()), (1, "b".into()), (2, "d".into())]);
    }
}
