//! Frames: one leaf of evidence, its place in a block, its canonical payload, its salted hash.
//!
//! Enters: pieces of records; leaves: block bytes and leaf hashes, and back. A block codes the place of a frame
//! relative to the frame before; the payload that is hashed is always complete in itself.
//! Deliberately absent: files, compression.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _, StreamCipherSeek as _};
use sha2::{Digest, Sha256};

use crate::codec::{Bytes, put_varint};
use crate::merkle::{Batch, Hash};

/// Largest piece, bytes.
pub const MAX_PIECE: usize = 1 << 20;
/// Item number of frames that carry log entries.
pub(crate) const NO_ITEM: u32 = u32::MAX;
/// Bytes of a salt.
pub(crate) const SALT: usize = 16;
/// Bytes of a payload before the evidence bytes.
const PAYLOAD_HEAD: usize = 22;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Bytes of a record.
    Record,
    /// Bytes of a record that are secret: never displayed, and redactable on their own.
    Secret,
    /// An entry of the outer log, journalled here until the log is published.
    Entry,
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it holds.
    pub kind: Kind,
    /// True if the record goes on in the item's next frame.
    pub more: bool,
    /// Item, in the order of the log.
    pub item: u32,
    /// Ordinal of the record in the item (of an entry: its index in the log).
    pub ordinal: u64,
    /// Offset of the bytes in the item's innermost layer.
    pub offset: u64,
    /// The bytes as split.
    pub bytes: &'a [u8],
}

const MORE: u8 = 4;
const SAME_ITEM: u8 = 8;
const NEXT_ORDINAL: u8 = 16;
const NEXT_OFFSET: u8 = 32;

/// Where the frame after the last one is expected.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    item: Option<u32>,
    ordinal: u64,
    offset: u64,
}

impl Place {
    fn after(frame: &Frame<'_>) -> Self {
        let ordinal = if frame.more { frame.ordinal } else { frame.ordinal.wrapping_add(1) };
        let offset = frame.offset.wrapping_add(frame.bytes.len() as u64);
        Self { item: Some(frame.item), ordinal, offset }
    }
}

/// Appends a frame to a block.
pub(crate) fn encode(out: &mut Vec<u8>, place: &mut Place, frame: &Frame<'_>) {
    let same = place.item == Some(frame.item);
    let mut flags = frame.kind as u8;
    for (set, bit) in [
        (frame.more, MORE),
        (same, SAME_ITEM),
        (same && place.ordinal == frame.ordinal, NEXT_ORDINAL),
        (same && place.offset == frame.offset, NEXT_OFFSET),
    ] {
        flags |= if set { bit } else { 0 };
    }
    out.push(flags);
    put_varint(out, frame.bytes.len() as u64);
    if flags & SAME_ITEM == 0 {
        put_varint(out, u64::from(frame.item));
    }
    if flags & NEXT_ORDINAL == 0 {
        put_varint(out, frame.ordinal);
    }
    if flags & NEXT_OFFSET == 0 {
        put_varint(out, frame.offset);
    }
    out.extend_from_slice(frame.bytes);
    *place = Place::after(frame);
}

/// The frames of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frames<'a> {
    input: Bytes<'a>,
    place: Place,
}

impl<'a> Frames<'a> {
    pub(crate) fn new(raw: &'a [u8]) -> Self {
        Self { input: Bytes::new(raw), place: Place::default() }
    }

    /// Goes on in the middle of a block.
    pub(crate) fn resume(raw: &'a [u8], at: usize, place: Place) -> Self {
        Self { input: Bytes::new(raw.get(at..).unwrap_or_default()), place }
    }

    /// Where a later [`Frames::resume`] over the same block goes on.
    pub(crate) fn position(&self, raw: &[u8]) -> (usize, Place) {
        (raw.len() - self.input.len(), self.place)
    }

    /// Next frame: `Ok(None)` at the end, `Err(())` for bytes that are no frame.
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'a>>, ()> {
        if self.input.is_empty() {
            return Ok(None);
        }
        let frame = self.decode().ok_or(())?;
        self.place = Place::after(&frame);
        Ok(Some(frame))
    }

    fn decode(&mut self) -> Option<Frame<'a>> {
        let flags = self.input.u8()?;
        let kind = match flags & 3 {
            0 => Kind::Record,
            1 => Kind::Secret,
            2 => Kind::Entry,
            _ => return None,
        };
        if flags & !(3 | MORE | SAME_ITEM | NEXT_ORDINAL | NEXT_OFFSET) != 0 {
            return None;
        }
        let len = usize::try_from(self.input.varint()?).ok().filter(|len| *len <= MAX_PIECE)?;
        let item = match flags & SAME_ITEM {
            0 => u32::try_from(self.input.varint()?).ok()?,
            _ => self.place.item?,
        };
        // Without the same item nothing before is a base to count from.
        if flags & SAME_ITEM == 0 && flags & (NEXT_ORDINAL | NEXT_OFFSET) != 0 {
            return None;
        }
        let ordinal = if flags & NEXT_ORDINAL == 0 { self.input.varint()? } else { self.place.ordinal };
        let offset = if flags & NEXT_OFFSET == 0 { self.input.varint()? } else { self.place.offset };
        let bytes = self.input.take(len)?;
        Some(Frame { kind, more: flags & MORE != 0, item, ordinal, offset, bytes })
    }
}

/// Salts of a segment: 16 bytes of a ChaCha20 keystream per leaf, so that sibling hashes in a proof cannot be guessed.
pub(crate) struct Salts {
    cipher: ChaCha20,
    buffer: [u8; SALT * 256],
    at: usize,
}

impl Salts {
    /// Salts from leaf `first` on (leaf number inside the segment).
    pub(crate) fn new(seed: &[u8; 32], first: u32) -> Self {
        let mut cipher = ChaCha20::new(seed.into(), &[0u8; 12].into());
        cipher.seek(u64::from(first) * SALT as u64);
        Self { cipher, buffer: [0; SALT * 256], at: SALT * 256 }
    }

    pub(crate) fn next(&mut self) -> [u8; SALT] {
        if self.at == self.buffer.len() {
            self.buffer.fill(0);
            self.cipher.apply_keystream(&mut self.buffer);
            self.at = 0;
        }
        let mut salt = [0; SALT];
        salt.copy_from_slice(&self.buffer[self.at..self.at + SALT]);
        self.at += SALT;
        salt
    }
}

/// Canonical payload of a frame: kind, more, item, ordinal, offset (little-endian), then the bytes.
#[must_use]
pub fn payload(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(PAYLOAD_HEAD + frame.bytes.len());
    out.extend_from_slice(&payload_head(frame));
    out.extend_from_slice(frame.bytes);
    out
}

fn payload_head(frame: &Frame<'_>) -> [u8; PAYLOAD_HEAD] {
    let mut head = [0u8; PAYLOAD_HEAD];
    head[0] = frame.kind as u8;
    head[1] = u8::from(frame.more);
    head[2..6].copy_from_slice(&frame.item.to_le_bytes());
    head[6..14].copy_from_slice(&frame.ordinal.to_le_bytes());
    head[14..].copy_from_slice(&frame.offset.to_le_bytes());
    head
}

/// Parses a payload; bounded, total.
#[must_use]
pub fn parse_payload(payload: &[u8]) -> Option<Frame<'_>> {
    let mut input = Bytes::new(payload);
    let kind = match input.u8()? {
        0 => Kind::Record,
        1 => Kind::Secret,
        2 => Kind::Entry,
        _ => return None,
    };
    let more = match input.u8()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let (item, ordinal, offset) = (input.u32()?, input.u64()?, input.u64()?);
    let bytes = payload.get(PAYLOAD_HEAD..)?;
    Some(Frame { kind, more, item, ordinal, offset, bytes })
}

/// Adds the message of a leaf, `0x00 ‖ salt ‖ payload`, to those to be hashed.
pub(crate) fn add_leaf(batch: &mut Batch, salt: &[u8; SALT], frame: &Frame<'_>) {
    let mut head = [0u8; 1 + SALT + PAYLOAD_HEAD];
    head[1..=SALT].copy_from_slice(salt);
    head[1 + SALT..].copy_from_slice(&payload_head(frame));
    batch.add(&head, frame.bytes);
}

/// Leaf hash from a salt and a payload, for a check without this crate's writer.
#[must_use]
pub fn salted_leaf(salt: &[u8; SALT], payload: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0u8]);
    hasher.update(salt);
    hasher.update(payload);
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn salts_are_the_same_from_any_place() {
        let mut all = Salts::new(&[9; 32], 0);
        let list: Vec<[u8; SALT]> = (0..600).map(|_| all.next()).collect();
        for first in [0usize, 1, 3, 255, 256, 300] {
            assert_eq!(Salts::new(&[9; 32], first as u32).next(), list[first]);
        }
        assert_ne!(list[0], list[256]);
    }

    /// RFC 8439 §2.3.2 block function with counter 0 gives this keystream for the zero key (appendix A.1, vector 1).
    #[test]
    fn the_keystream_is_that_of_the_rfc() {
        let salt = Salts::new(&[0; 32], 0).next();
        assert_eq!(
            salt,
            [0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90, 0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86, 0xbd, 0x28]
        );
    }

    fn kinds() -> impl Strategy<Value = Kind> {
        prop_oneof![Just(Kind::Record), Just(Kind::Secret), Just(Kind::Entry)]
    }

    proptest! {
        #[test]
        fn a_block_gives_back_its_frames(list in prop::collection::vec(
            (kinds(), any::<bool>(), 0u32..3, any::<u64>(), any::<u64>(), any::<bool>(),
             prop::collection::vec(any::<u8>(), 0..40)), 0..40))
        {
            let (mut raw, mut place) = (Vec::new(), Place::default());
            let mut frames = Vec::new();
            for (kind, more, item, ordinal, offset, follow, bytes) in &list {
                let (ordinal, offset) =
                    if *follow { (place.ordinal, place.offset) } else { (*ordinal, *offset) };
                let frame = Frame { kind: *kind, more: *more, item: *item, ordinal, offset, bytes };
                encode(&mut raw, &mut place, &frame);
                frames.push(frame);
            }
            let mut reader = Frames::new(&raw);
            for frame in &frames {
                prop_assert_eq!(reader.next(), Ok(Some(*frame)));
                let payload = payload(frame);
                prop_assert_eq!(parse_payload(&payload), Some(*frame));
                let (mut batch, mut leaves) = (Batch::default(), Vec::new());
                add_leaf(&mut batch, &[3; SALT], frame);
                batch.digest(&mut leaves);
                prop_assert_eq!(leaves, [salted_leaf(&[3; SALT], &payload)]);
            }
            prop_assert_eq!(reader.next(), Ok(None));
        }

        #[test]
        fn any_bytes_are_read_without_panic(raw in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Frames::new(&raw);
            while let Ok(Some(_)) = reader.next() {}
        }
    }
}
