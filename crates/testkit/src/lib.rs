//! Development only: generators, conformance suites against other projects' goldens, scoring of cases, benchmarks.
//!
//! Deliberately absent: anything the shipped program uses.

// Layer list: a module may use only modules above it (`cargo xtask tidy`).
pub mod suite;
pub mod corefiles;
pub mod oracle;
pub mod conformance;
pub mod generate;
pub mod truth_bench;
pub mod differential;
pub mod policies;
pub mod truth_file;
pub mod score;
pub mod recording;
pub mod subsets;
pub mod fuzzing;
