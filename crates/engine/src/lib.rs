//! The walk over items given as readers: split, append, decode, fold, attribute, judge, detect.
//!
//! Enters: readers and a case of the evidence log; leaves: an outcome, and what passed on the way.
//! Deliberately absent: paths, terminals, the clock (a function given by the caller stamps custody entries only).

// Layer list: a module may use only modules above it (`cargo xtask tidy`).
pub mod error;
pub mod origins;
pub mod settings;
pub mod stated;
pub mod merge;
pub mod pump;
pub mod plan;
pub mod objects;
pub mod may;
pub mod ask;
pub mod belonging;
pub mod clocks;
pub mod ingest;
pub mod replay;
pub mod timeless;
pub mod passing;
pub mod coverage;
pub mod several;
pub mod study;

pub use ask::{Inquiry, ask};
pub use error::EngineError;
pub use ingest::{Ingested, ingest};
pub use may::{Asked, may};
pub use origins::Override;
pub use passing::{OneChange, Passing};
pub use settings::{Input, Settings, read_profile};
pub use study::Study;

/// SHA-256 of some bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> truename_model::Sha256 {
    use sha2::Digest as _;
    truename_model::Sha256(sha2::Sha256::digest(bytes).into())
}
