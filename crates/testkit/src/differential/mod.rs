//! The truth model against real CoreDNS: plans by seed, recordings read, and each answer judged.
//!
//! Enters: seeds, or recordings in the form of docs/formats/differential.md. Leaves: plans, figures and misses.
//! Deliberately absent: processes and network namespaces (`range/differential`).

// Layer list: a module may use only modules above it.
pub mod dice;
pub mod world;
pub mod grammar;
pub mod questions;
pub mod plan;
pub mod recording;
pub mod figures;
pub mod judge;
#[cfg(test)]
mod tests;
