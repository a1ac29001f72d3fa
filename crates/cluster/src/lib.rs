//! History, View, the DNS truth model and the Corefile language. Pure.
//!
//! Enters: `ClusterChange`s and Corefile text; leaves: who held an address, what existed, what a name must answer,
//! and the verdict on what it did answer. Deliberately absent: files, sockets, clocks, and every source format.

// Layer list: a module may use only modules above it (`cargo xtask tidy`).
pub mod corefile;
pub mod history;
#[cfg(test)]
mod fixture;
pub mod view;
pub mod policy;
pub mod names;
pub mod truth;
