//! Kubernetes objects as the API gives them. Enters: records of JSON or YAML; leaves: changes with [`Object`]s.
//!
//! `fields` reads values leniently, `object` builds the model's objects, `records` says where objects begin and end,
//! `walk` and `secrets` find the octets that must never be shown, `decoder` joins them.
//! Deliberately absent: histories, and any Secret: it is never held.
//!
//! [`Object`]: truename_model::Object

pub(crate) mod fields;
pub mod object;
pub mod records;
pub mod text;
pub mod walk;
pub mod secrets;
pub mod decoder;

pub use decoder::Objects;
pub use object::{Skipped, object};
pub use text::Syntax;

#[cfg(test)]
mod tests;
