//! Cuts a stream into pieces of records, totally and with bounded memory. Enters: a reader and a rule that finds where
//! records end; leaves: pieces that concatenate to the input.
//!
//! Deliberately absent: the rules themselves (see `lines`, `dnstap`, `pcap`, `split`).

use std::io::{self, Read};

use truename_model::observation::Loss;

/// Longest piece, octets; a longer record is given out as several pieces.
pub const MAX_PIECE: usize = 1 << 20;

/// Octets asked from the reader at a time.
const CHUNK: usize = 256 << 10;

/// A piece of a record: whole, or a part of a record longer than [`MAX_PIECE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Ordinal of the record, from 0.
    pub ordinal: u64,
    /// Octet offset of the piece in the innermost layer.
    pub offset: u64,
    /// The bytes as read, at most [`MAX_PIECE`]; never empty.
    pub bytes: &'a [u8],
    /// The record continues in the next piece.
    pub more: bool,
}

/// Takes the pieces in order; its error ends the splitting.
pub type Sink<'a> = dyn FnMut(Piece<'_>) -> io::Result<()> + 'a;

/// What a splitter did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitSummary {
    /// Records given out.
    pub records: u64,
    /// Octets given out: all that the reader gave.
    pub bytes: u64,
    /// What could not be read.
    pub losses: Vec<Loss>,
}

/// What a rule says of the bytes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The record ends after so many octets (more than 0, at most all of them).
    Record(usize),
    /// The record does not end in what is there; at least the first `sure` octets belong to it.
    More {
        /// Octets that belong to the record in any case; the rest may be cut off when more is seen.
        sure: usize,
    },
}

/// Finds where records end.
pub trait Boundary {
    /// `pending` begins where the current record begins, or where its last part given out ended, and holds all that
    /// was read since. Called again with more bytes after [`Found::More`].
    fn find(&mut self, pending: &[u8]) -> Found;

    /// The first `len` octets of `pending` were given out as a part of the record.
    fn taken(&mut self, len: usize);
}

/// Splits `input` by `rule`.
///
/// # Errors
/// Only those of `sink`; a failing reader ends the input and is reported as a loss.
pub fn cut<B: Boundary>(rule: &mut B, input: &mut dyn Read, sink: &mut Sink<'_>) -> io::Result<SplitSummary> {
    let mut buffer = vec![0u8; CHUNK];
    let (mut start, mut end) = (0usize, 0usize);
    let mut out = Out { sink, summary: SplitSummary::default() };
    loop {
        while start < end {
            match rule.find(&buffer[start..end]) {
                Found::Record(len) => {
                    // A rule that misbehaves must neither loop nor overrun.
                    let len = len.clamp(1, end - start);
                    out.record(&buffer[start..start + len])?;
                    start += len;
                }
                Found::More { sure } if sure.min(end - start) > MAX_PIECE => {
                    out.part(&buffer[start..start + MAX_PIECE])?;
                    rule.taken(MAX_PIECE);
                    start += MAX_PIECE;
                }
                Found::More { .. } => break,
            }
        }
        make_room(&mut buffer, &mut start, &mut end);
        match input.read(&mut buffer[end..]) {
            Ok(0) => break,
            Ok(len) => end += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                out.summary.losses.push(read_loss(out.summary.bytes + (end - start) as u64, &error));
                break;
            }
        }
    }
    if start < end {
        out.record(&buffer[start..end])?;
    }
    Ok(out.summary)
}

/// Moves the pending bytes to the front and grows the buffer where a record needs it; the bound on look-ahead beyond a
/// sure part keeps it at a few megabytes.
fn make_room(buffer: &mut Vec<u8>, start: &mut usize, end: &mut usize) {
    if *start > 0 {
        buffer.copy_within(*start..*end, 0);
        *end -= *start;
        *start = 0;
    }
    if buffer.len() - *end < CHUNK / 2 {
        buffer.resize(*end + CHUNK, 0);
    }
}

/// The loss that a failing reader is reported as.
#[must_use]
pub fn read_loss(at: u64, error: &io::Error) -> Loss {
    let cut = error.kind() == io::ErrorKind::UnexpectedEof;
    let cause = match error.kind() {
        io::ErrorKind::UnexpectedEof => "truncated-file",
        io::ErrorKind::FileTooLarge => "expansion-cap",
        _ => "read-error",
    };
    let text = if error.kind() == io::ErrorKind::FileTooLarge {
        format!("the expansion was stopped at its bound, after {at} octets")
    } else if cut {
        format!("the input ends in the middle of something, after {at} octets")
    } else {
        format!("reading failed after {at} octets: {error}")
    };
    Loss { cause, count: None, text }
}

struct Out<'a, 'b> {
    sink: &'a mut Sink<'b>,
    summary: SplitSummary,
}

impl Out<'_, '_> {
    fn record(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while bytes.len() > MAX_PIECE {
            let (part, rest) = bytes.split_at(MAX_PIECE);
            self.part(part)?;
            bytes = rest;
        }
        self.give(bytes, false)?;
        self.summary.records += 1;
        Ok(())
    }

    fn part(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.give(bytes, true)
    }

    fn give(&mut self, bytes: &[u8], more: bool) -> io::Result<()> {
        (self.sink)(Piece { ordinal: self.summary.records, offset: self.summary.bytes, bytes, more })?;
        self.summary.bytes += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Never;

    impl Boundary for Never {
        fn find(&mut self, pending: &[u8]) -> Found {
            Found::More { sure: pending.len() }
        }

        fn taken(&mut self, _len: usize) {}
    }

    #[test]
    fn a_record_of_any_length_passes_in_bounded_pieces() {
        let len = 5 * MAX_PIECE as u64;
        let (mut total, mut last_more, mut pieces) = (0u64, true, 0);
        let summary = cut(&mut Never, &mut io::repeat(b'x').take(len), &mut |piece| {
            assert!(piece.bytes.len() <= MAX_PIECE && piece.ordinal == 0 && piece.offset == total);
            total += piece.bytes.len() as u64;
            last_more = piece.more;
            pieces += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!((summary.records, summary.bytes, total, last_more, pieces), (1, len, len, false, 5));
    }

    #[test]
    fn a_failing_reader_is_a_loss_and_what_was_read_is_kept() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::UnexpectedEof))
            }
        }
        let mut got = Vec::new();
        let summary = cut(&mut Never, &mut (&b"abc"[..]).chain(Failing), &mut |piece| {
            got.extend_from_slice(piece.bytes);
            Ok(())
        })
        .unwrap();
        assert_eq!(got, b"abc");
        assert_eq!(summary.losses[0].cause, "truncated-file");
    }
}
