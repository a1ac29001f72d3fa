//! A deviation of a case folder from its log: file, place, what it should have been, what was found.
//!
//! Deliberately absent: any reading; texts are escaped, since a case folder may be hostile.

use std::fmt;

/// One deviation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// File inside the case folder, `/`-separated, escaped for display.
    pub file: String,
    /// Byte offset in the file where it first deviates, if it can be told.
    pub offset: Option<u64>,
    /// What it should have been.
    pub expected: String,
    /// What was found.
    pub found: String,
}

impl Problem {
    /// A problem of a whole file.
    pub(crate) fn file(file: &str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { file: shown(file), offset: None, expected: expected.into(), found: found.into() }
    }

    /// A problem at a byte offset.
    pub(crate) fn at(file: &str, offset: u64, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { file: shown(file), offset: Some(offset), expected: expected.into(), found: found.into() }
    }

    /// The first difference of two contents of one file.
    pub(crate) fn difference(file: &str, expected: &[u8], found: &[u8]) -> Self {
        let at = expected.iter().zip(found).take_while(|(a, b)| a == b).count();
        let near = |bytes: &[u8]| match bytes.get(at..) {
            Some([]) | None => "end of file".to_owned(),
            Some(rest) => {
                let text: String =
                    rest.iter().take(16).flat_map(|b| b.escape_ascii()).map(char::from).collect();
                format!("\"{text}\" (file of {} bytes)", bytes.len())
            }
        };
        Self::at(file, at as u64, near(expected), near(found))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        write!(f, ": should be {}, found {}", self.expected, self.found)
    }
}

/// A file name made safe to show: control and non-ASCII characters are escaped, length bounded.
pub(crate) fn shown(name: &str) -> String {
    name.chars()
        .take(512)
        .flat_map(|c| if c.is_ascii_graphic() || c == ' ' { vec![c] } else { c.escape_default().collect() })
        .collect()
}
