//! Whole files through recognition, layers, splitting and decoding, as the engine walks them.

// Helpers of tests may unwrap and print as tests do; clippy only sees the `#[test]` functions as tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod cases;
mod corpora;
mod walk;
