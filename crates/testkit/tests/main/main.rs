//! What the recorded cases show must depend on the signal that is in them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod clocks;
mod collector;
mod crafted;
mod mutations;
mod subsets;
