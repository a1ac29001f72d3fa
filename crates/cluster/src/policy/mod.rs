//! Which traffic the cluster's network policies let through.
//!
//! Enters: policy objects, pods, namespaces and nodes, as facts or out of the history; leaves: allowed, denied or
//! unknown with the rules that decide. Evaluated are NetworkPolicy, AdminNetworkPolicy, BaselineAdminNetworkPolicy and
//! ClusterNetworkPolicy by their API comments; a network plugin's own kinds make the answer unknown. An answer says what
//! the policies state, not that a plugin enforces them. Deliberately absent: meshes, firewalls, security groups.

pub mod flow;
pub mod why;
pub mod selector;
pub mod cidr;
pub mod ports;
pub mod network;
pub mod admin;
pub mod decide;
pub mod asof;
pub mod service;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod naive;

pub use asof::{Answer, Policies, Question, Target, When};
pub use decide::{Content, Decision, Policy, Ruling, Side, decide};
pub use flow::{Direction, Flow, NodeFacts, Nodes, Party, PodFacts, Protocol};
pub use service::{Endpoint, Reach, ServiceAnswer, ServiceQuestion};
pub use why::{Effect, Match, Reason, Why};
