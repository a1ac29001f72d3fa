//! The nouns of Truename, from a captured byte to a finding.
//!
//! In data order: `time` and `origin` say when and where a record was seen; `name` and `rr` are DNS;
//! `observation` is one decoded record; `object` is a change of the cluster; `transaction` joins what
//! several vantages saw of one lookup; `attribution` says who asked; `verdict` says whether the answer
//! was true; `finding` is a claim with its evidence; `profile` is what the operator approved.
//!
//! Deliberately absent: I/O, clocks, randomness, formats of sources, and any other crate of the workspace.

// Layer list: a module may use only modules above it (`cargo xtask tidy`).
pub mod time;
pub mod origin;
pub mod name;
pub mod rr;
pub mod object;
pub mod observation;
pub mod attribution;
pub mod verdict;
pub mod reach;
pub mod foretold;
pub mod transaction;
pub mod finding;
pub mod profile;

pub use attribution::{Alternative, Attribution, AttributionBasis, UnknownOwner, Workload, WorkloadKind};
pub use finding::{
    Citation, Coverage, Evidence, Finding, Incident, Outcome, RuleMeta, RuleState, Severity, SourceCoverage,
};
pub use foretold::{ConfigLine, Foretelling, Foretold, ForetoldRecord, Holds};
pub use name::{Name, NameError, NameInterner};
pub use object::{Actor, ChangeKind, ChangeSource, ClusterChange, Meta, Object, ObjectRef};
pub use observation::{
    Decoded, Diagnostic, DnsEvent, Endpoint, Event, Hints, Loss, Observation, Transport, Vantage,
};
pub use origin::{Known, Origin, OriginId, RecordRef, Sha256, Side};
pub use profile::Profile;
pub use reach::{Connection, Decision, Permission, PolicyReason};
pub use rr::{Body, Class, Edns, Flags, Opcode, Question, Rcode, Rdata, Record, Rtype};
pub use time::{ClockBasis, Interval, Nanos, ObservedAt};
pub use transaction::{Intent, IntentOutcome, Judged, Response, Transaction, UpstreamExchange};
pub use verdict::{Contradiction, Explanation, Verdict, WhyUnverifiable};
