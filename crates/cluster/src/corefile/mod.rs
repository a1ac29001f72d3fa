//! The Corefile language (coredns/caddy 1.1.4, CoreDNS 1.8.6 to 1.15.0): text in, typed configuration out.
//!
//! Enters: Corefile text, an [`Env`] (variables and imported files given by the caller), a CoreDNS version.
//! Leaves: [`Corefile`] with spans, the running-configuration hash, and what CoreDNS would refuse.
//! Deliberately absent: files, sockets, clocks, and the zone data behind opaque plugins.

// Layer list: a module may use only modules above it.
pub mod lexer;
pub mod diagnostic;
pub mod parser;
pub mod hash;
pub mod zone;
pub mod value;
pub mod order;
pub mod dispenser;
pub mod schema;
pub mod kubernetes;
pub mod forward;
pub mod rewrite;
pub mod hosts;
pub mod template;
pub mod evidence;
pub mod policy;
pub mod zonedata;
pub mod registry;
pub mod server;
pub mod produce;
pub mod diff;
pub mod timeline;

pub use diagnostic::{CorefileError, ErrorKind};
pub use diff::{CorefileChange, Hit, Topic, Turn, diff};
pub use hash::{running_hash, running_json};
pub use kubernetes::{Fallthrough, K8sExternal, KubernetesOptions, LabelSelector, PodMode};
pub use lexer::Token;
pub use order::{Version, plugin_order};
pub use parser::{Env, ImportedFile};
pub use produce::{Effect, End, Producer, Query, Trace, answers_before_kubernetes, trace};
pub use registry::Plugin;
pub use schema::Stanza;
pub use server::{Corefile, Directive, ServerBlock, parse, parse_for, server_for, servers_for};
pub use timeline::{CorefileTimeline, Drift, Running, TextVersion};
pub use zone::{Key, Transport};

#[cfg(test)]
mod tests;
