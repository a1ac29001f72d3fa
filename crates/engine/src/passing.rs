//! What passes in the walk, for a timeline: nothing of it is stored.

use truename_model::transaction::Judged;
use truename_model::{ClusterChange, Observation};

/// Something that passed, in order of time.
#[derive(Clone, Copy, Debug)]
pub enum Passing<'a> {
    /// A lookup with its conclusions.
    Lookup(&'a Judged),
    /// A change of an object.
    Change(&'a ClusterChange),
    /// A line of the server about itself, or a known loss.
    Seen(&'a Observation),
}
