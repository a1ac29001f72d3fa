//! Join, intent, attribute, truth, detect. Pure: no clock, no files, no network.
//!
//! Enters: observations in order of time and the cluster's history; leaves: judged lookups, intents, findings.
//! Deliberately absent: decoding, storage, rendering, the current time and the environment.

// Layer list: a module may use only modules above it (`cargo xtask tidy`).
pub mod servers;
pub mod knowledge;
pub mod compare;
pub mod replica;
mod unasked;
pub mod exchange;
pub mod join;
pub mod clock;
pub mod attribute;
pub mod presence;
pub mod provenance;
pub mod intent;
pub mod facts;
pub mod text;
pub mod catalogue;
pub mod rules;
pub mod incidents;
pub mod detect;
pub mod analyzer;
#[cfg(test)]
mod fixture;
