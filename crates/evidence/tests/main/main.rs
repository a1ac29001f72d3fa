//! Integration tests of the evidence log: life of a case, kills, tampering, hostile folders.

mod kills;
mod life;
mod support;
mod tamper;
