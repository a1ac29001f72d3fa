//! One file per verb, each from typed arguments to an exit.

pub(crate) mod ask;
pub(crate) mod case;
pub(crate) mod demo;
pub(crate) mod evidence;
pub(crate) mod investigate;
pub(crate) mod may;
pub(crate) mod rules;
pub(crate) mod show;
pub(crate) mod verify;
