//! The program as a person runs it: bad input by name, the same bytes on every run, killed and gone on, nothing touched
//! in silence.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod ask;
mod bad_input;
mod custody;
mod determinism;
mod kill;
mod may;
mod packets;
mod proof;
mod readme;
mod secrets;
mod support;
mod timeline;
mod unread;
