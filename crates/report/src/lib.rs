//! One list of findings, with coverage and a timeline, to every output format.
//!
//! Enters: an [`truename_model::Outcome`], timeline rows, and evidence look-ups given as values; leaves: text.
//! Every string of the input is hostile: it passes `escape` on its way to a terminal, a CSV cell or a page.
//! Deliberately absent: files, terminals, the evidence log itself.

// Layer list: a module may use only modules above it (`cargo xtask tidy`).
pub mod escape;
pub mod row;
pub mod style;
pub mod summary;
pub mod table;
pub mod permission;
pub mod foretelling;
pub mod lines;
pub mod proof;
pub mod html;

pub use row::{Row, RowKind, Shown};
pub use style::Style;
