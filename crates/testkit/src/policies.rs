//! The evaluator of network policies against other people's: the tables of network-config-analyzer, and cyclonus on
//! random worlds.
//!
//! Enters: policies and pods as files, or a seed; leaves: how often both agree, each difference with the sentence of the
//! API that decides it. Deliberately absent: the evaluator's own tests, which lie beside it.

pub mod cast;
pub mod cyclonus;
mod topology;
mod relation;
mod golden;
pub mod tables;

#[cfg(test)]
mod tests;
