//! The Corefile language: text in, typed configuration out.
