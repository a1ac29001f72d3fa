//! CoreDNS's log lines in every dialect and wrapping. Enters: lines; leaves: observations.

pub use crate::logformat::LogFormat;

/// How the lines are wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialect;

/// Detects the dialect from the head of a text.
#[must_use]
pub fn detect(_head: &[u8]) -> Option<Dialect> {
    None
}
