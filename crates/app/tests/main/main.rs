//! The program as a person runs it: bad input by name, the same bytes on every run, killed and gone on, nothing touched
//! in silence.

mod bad_input;
mod determinism;
mod kill;
mod support;
