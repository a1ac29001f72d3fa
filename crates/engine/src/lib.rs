//! The walk over items given as readers: split, append, decode, fold, attribute, judge, detect.
//!
//! Enters: readers and a case of the evidence log; leaves: an outcome, and rows of the timeline as they pass.
//! Deliberately absent: paths, terminals, the clock (a function given by the caller stamps custody entries only).

// Layer list: a module may use only modules above it (`cargo xtask tidy`).
pub mod merge;
