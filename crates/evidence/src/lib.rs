//! The append-only log: frames, segments, Merkle tree, checkpoints, keys, custody, gaps, verify.
//!
//! Enters: pieces of bytes with their place, custody facts, an Ed25519 key, the caller's time; leaves: a case folder
//! that can be verified offline. The log never interprets what it holds. Randomness (case id, salts, keys) is used here
//! only, and nothing that is concluded from the evidence depends on it.

// Layer list: a module may use only modules above it (`cargo xtask tidy`).
mod problem;
mod error;
mod codec;
pub mod merkle;
pub mod note;
mod folder;
mod key;
mod entry;
mod tiles;
mod log;
mod frame;
mod segment;
mod pipeline;
mod inventory;
mod reader;
mod recover;
mod receipt;
mod case;
mod verify;
pub mod fuzzing;
#[cfg(test)]
mod faults;

pub use case::{Case, Limits, NewPiece, Options, ResumePoint};
pub use entry::{
    Conclusion, FileRef, GapCause, GapEntry, ItemBegin, ItemEnd, ItemSummary, KeyEntry, LayerDigest,
    LogEntry, Loss, MAX_ENTRY, SegmentManifest,
};
pub use error::{Error, Result};
pub use frame::{Frame, Kind, MAX_PIECE, parse_payload, payload, salted_leaf};
pub use key::{OPERATOR, SigningKeyFile};
pub use merkle::Hash;
pub use note::{Checkpoint, Vkey};
pub use problem::Problem;
pub use reader::{
    Cursor, EntryProof, InclusionProof, Item, ItemId, Reader, RecordProof, StoredPiece, may_be_shown,
};
pub use receipt::Receipt;
pub use verify::{Pinning, ReceiptCheck, VerifyReport, verify};
