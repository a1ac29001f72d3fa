//! Bytes to observations: containers, splitting into records, and the decoders. Sans-I/O.
//!
//! Enters: readers of files (`layer`, `split`) and whole records (`decode`). Leaves: pieces that concatenate to the
//! input, and [`truename_model::Decoded`] values. What a format is, is told by its content, never by its name.
//! Deliberately absent: files, sockets, the clock, and any conclusion about what was decoded.

// Layer list: a module may use only modules above it (`cargo xtask tidy`).
pub mod logformat;
pub mod decoder;
pub mod piece;
pub mod lines;
pub mod wire;
pub mod corednslog;
pub mod dnstap;
pub mod pcap;
pub mod kube;
pub mod watch;
pub mod audit;
pub mod recognise;
pub mod layer;
pub mod split;
pub mod decode;

pub use decoder::{CacheStats, CacheUse, DecodeContext, Decoder, NAMES_MAX};
