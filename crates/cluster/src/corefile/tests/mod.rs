//! Tests of the Corefile language that cross modules; each module's own corner cases stand beside it.

mod language;
mod plugins;
mod answers;
mod changes;
