//! Integration tests of the evidence log: life of a case, kills, tampering, hostile folders.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod kills;
mod life;
mod support;
mod tamper;
