//! How long a judgement lasts.
//!
//! Enters: the instants at which objects or Corefiles change. Leaves: the stretch around one moment in which none does.
//! Deliberately absent: what the judgement is.

use truename_model::time::{Interval, Nanos};

use crate::view::{View, always};

/// Instants around `at` at which the judgement may change.
pub(super) struct Edges {
    at: Interval,
    lo: Nanos,
    hi: Nanos,
    inside: bool,
}

impl Edges {
    pub(super) fn new(at: Interval) -> Self {
        let all = always();
        Self { at, lo: all.lo, hi: all.hi, inside: false }
    }

    /// Takes over the edges of what a view looked at; `age_ns`: they matter again when they leave the window.
    pub(super) fn add(&mut self, view: &View<'_>, age_ns: Option<i64>) {
        for edge in view.edges() {
            self.both(edge);
            if let Some(age_ns) = age_ns {
                self.both(edge.plus(age_ns));
            }
        }
    }

    /// Bounds are inclusive, so what holds up to an edge may change at it and right after it.
    pub(super) fn both(&mut self, edge: Nanos) {
        self.point(edge);
        self.point(edge.plus(1));
    }

    fn point(&mut self, at: Nanos) {
        if at <= self.at.lo {
            self.lo = self.lo.max(at);
        } else if at > self.at.hi {
            self.hi = self.hi.min(at.plus(-1));
        } else {
            self.inside = true;
        }
    }

    pub(super) fn stretch(&self) -> Option<Interval> {
        (!self.inside).then_some(Interval { lo: self.lo, hi: self.hi })
    }
}
