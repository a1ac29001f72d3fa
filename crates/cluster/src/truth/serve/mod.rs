//! A CoreDNS server as a function: the whole answer to a query in one possible world.
//!
//! Enters: a [`Site`] (Corefile, version, own addresses, files, upstreams), a [`View`] of the objects, what the caches
//! hold. Leaves: the reply with its flags, three sections and TTL bounds, or why there is none. The order of the code
//! follows CoreDNS's server and plugins; where versions differ, the version decides. Deliberately absent: sockets,
//! EDNS options, message sizes, signing.
//!
//! [`View`]: crate::view::View

// Layer list: a module may use only modules above it.
pub mod message;
pub mod zones;
pub mod expression;
pub mod site;
pub mod memory;
pub mod run;
mod cluster;
mod outside;
mod sources;
mod wrappers;
mod rewriting;
mod caching;

pub use memory::Memory;
pub use message::{Ask, Reply, Rr, Stop};
pub use run::Run;
pub use site::{Resolv, Site, Surroundings, Upstream};
