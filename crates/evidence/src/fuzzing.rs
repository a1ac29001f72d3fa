//! Entry for fuzzers and for their seeds run as tests: every parser of this crate over arbitrary bytes.
//!
//! Enters: any bytes; leaves: nothing, if nothing panics. Deliberately absent: files (a target for whole folders calls
//! [`crate::verify`] and [`crate::Reader::open`] on a folder that it altered).

use crate::codec::Bytes;
use crate::entry::LogEntry;
use crate::frame::{Frames, parse_payload};
use crate::note::{self, Checkpoint, Vkey};
use crate::receipt::Receipt;
use crate::segment::{Footer, Header};
use crate::tiles;

/// Runs all parsers. What one of them accepts must give the same bytes again.
pub fn parse_all(bytes: &[u8]) {
    let mut frames = Frames::new(bytes);
    while let Ok(Some(_)) = frames.next() {}
    if let Some(frame) = parse_payload(bytes) {
        assert_eq!(crate::frame::payload(&frame), bytes);
    }
    if let Some(header) = Header::parse(bytes) {
        assert_eq!(header.to_bytes(), bytes[..crate::segment::HEADER]);
    }
    for offset in [0, 124] {
        if let Some(footer) = Footer::parse(bytes, offset) {
            assert_eq!(footer.to_bytes(offset), bytes);
        }
    }
    if let Some(entry) = LogEntry::parse(bytes) {
        assert!(entry.to_bytes().is_ok_and(|again| again == bytes));
    }
    for width in [1, 3, 256] {
        if let Some(entries) = tiles::parse_bundle(bytes, width) {
            assert_eq!(tiles::bundle(entries.into_iter()), bytes);
        }
    }
    let _ = Bytes::new(bytes).varint();
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(checkpoint) = Checkpoint::parse(text) {
        assert_eq!(checkpoint.body(), text);
    }
    if let Some(vkey) = Vkey::parse(text) {
        let _ = note::open(bytes, &vkey);
    }
    let _ = note::unverified_text(bytes);
    let _ = Receipt::parse(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_pass_through_every_parser(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            parse_all(&bytes);
        }

        #[test]
        fn altered_real_bytes_pass_through_every_parser(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let header = Header { number: 1, first_leaf: 2, seed: [3; 32], origin: [4; 32], previous: [5; 32] };
            let footer = Footer { subtrees: vec![[1; 32]; 3], leaves: 700, ..Footer::default() };
            let note = "a\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONn\n";
            for mut seed in [header.to_bytes(), footer.to_bytes(124), note.as_bytes().to_vec()] {
                parse_all(&seed);
                let len = seed.len();
                seed[at.index(len)] = byte;
                parse_all(&seed);
                parse_all(&seed[..cut.index(len)]);
            }
        }
    }
}
