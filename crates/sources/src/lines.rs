//! Splits text at newlines, totally and with a bound. Enters: a reader; leaves: pieces, each line with its newline.
//!
//! Deliberately absent: what a line means; blank lines are records too, so that nothing of the input is missing.

use std::io::{self, Read};

use memchr::memchr;

use crate::piece::{Boundary, Found, Sink, SplitSummary, cut};

/// A record is a line up to and with its `\n`; the last one may lack it.
#[derive(Debug, Default)]
pub struct Lines {
    scanned: usize,
}

impl Boundary for Lines {
    fn find(&mut self, pending: &[u8]) -> Found {
        let from = self.scanned.min(pending.len());
        match memchr(b'\n', &pending[from..]) {
            Some(at) => {
                self.scanned = 0;
                Found::Record(from + at + 1)
            }
            None => {
                self.scanned = pending.len();
                Found::More { sure: pending.len() }
            }
        }
    }

    fn taken(&mut self, len: usize) {
        self.scanned = self.scanned.saturating_sub(len);
    }
}

/// Splits `input` at newlines.
///
/// # Errors
/// Only those of `sink`.
pub fn split(input: &mut dyn Read, sink: &mut Sink<'_>) -> io::Result<SplitSummary> {
    cut(&mut Lines::default(), input, sink)
}

/// The line without its newline and carriage return, and without a UTF-8 byte order mark before it.
#[must_use]
pub fn trimmed(mut line: &[u8]) -> &[u8] {
    line = line.strip_suffix(b"\n").unwrap_or(line);
    line = line.strip_suffix(b"\r").unwrap_or(line);
    line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::piece::MAX_PIECE;

    fn records(input: &[u8]) -> Vec<Vec<u8>> {
        let mut out: Vec<Vec<u8>> = Vec::new();
        split(&mut { input }, &mut |piece| {
            match out.get_mut(piece.ordinal as usize) {
                Some(record) => record.extend_from_slice(piece.bytes),
                None => out.push(piece.bytes.to_vec()),
            }
            Ok(())
        })
        .unwrap();
        out
    }

    #[test]
    fn lines_keep_their_ends() {
        assert_eq!(records(b"a\r\n\nb"), [&b"a\r\n"[..], b"\n", b"b"]);
        assert_eq!(records(b""), [&b""[..]; 0]);
        assert_eq!(trimmed(b"\xef\xbb\xbfa\r\n"), b"a");
    }

    #[test]
    fn a_line_of_exactly_one_piece_is_not_continued() {
        let mut line = vec![b'x'; MAX_PIECE];
        line.push(b'\n');
        let mut input = line.clone();
        input.extend_from_slice(b"next\n");
        assert_eq!(records(&input), [&line[..], b"next\n"]);
        let mut pieces = Vec::new();
        split(&mut &line[..MAX_PIECE], &mut |piece| {
            pieces.push(piece.more);
            Ok(())
        })
        .unwrap();
        assert_eq!(pieces, [false]);
    }
}
