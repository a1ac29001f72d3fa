//! Possible worlds: what may have existed in a window of time, one consistent choice after another.
//!
//! Enters: a finished history and a window. Leaves: objects as the model asks for them. Where an object had several
//! versions in the window (or a bound is uncertain), the view picks one, remembers it for this world, and offers the
//! others in later worlds. It also keeps what the answer rests on: which objects decided, whether something unseen may
//! have existed, and the instants at which any of this changes.

use smallvec::SmallVec;
use truename_model::object::{Object, ObjectRef, StringMap};
use truename_model::time::{Interval, Nanos};

use crate::history::timeline::{EVER, Entry, NEVER, State};
use crate::history::{History, Kind, TimelineId};

/// Most worlds tried for one question; beyond it nothing is denied.
pub const MAX_WORLDS: usize = 1_024;

/// One choice of a world: picked alternative, number of alternatives.
type Choice = (u16, u16);

/// What one world rests on.
#[derive(Clone, Debug)]
struct Pick<'a> {
    id: TimelineId,
    entry: Option<&'a Entry>,
}

/// A world under construction, and the bookkeeping over all worlds of a window.
#[derive(Debug)]
pub struct View<'a> {
    history: &'a History,
    window: Interval,
    script: SmallVec<[Choice; 8]>,
    cursor: usize,
    picks: SmallVec<[Pick<'a>; 8]>,
    /// In this world: something picked is not known at the window's beginning or later.
    loose: bool,
    touched: SmallVec<[TimelineId; 8]>,
    kinds: SmallVec<[Kind; 4]>,
    incomplete: bool,
    worlds: usize,
}

impl<'a> View<'a> {
    /// A view of `history` in `window`.
    #[must_use]
    pub fn new(history: &'a History, window: Interval) -> Self {
        Self {
            history,
            window,
            script: SmallVec::new(),
            cursor: 0,
            picks: SmallVec::new(),
            loose: false,
            touched: SmallVec::new(),
            kinds: SmallVec::new(),
            incomplete: false,
            worlds: 0,
        }
    }

    /// The history it looks at.
    #[must_use]
    pub fn history(&self) -> &'a History {
        self.history
    }

    /// Goes on to the next world; false: all worlds (or [`MAX_WORLDS`]) have been seen.
    pub fn next_world(&mut self) -> bool {
        if self.worlds > 0 {
            self.script.truncate(self.cursor);
            while self.script.last().is_some_and(|(pick, count)| pick + 1 >= *count) {
                self.script.pop();
            }
            match self.script.last_mut() {
                Some((pick, _)) => *pick += 1,
                None => return false,
            }
            if self.worlds >= MAX_WORLDS {
                self.incomplete = true;
                return false;
            }
        }
        self.worlds += 1;
        self.cursor = 0;
        self.picks.clear();
        self.loose = false;
        true
    }

    /// The world that was seen last, once more, and no other.
    #[must_use]
    pub fn again(&self) -> Self {
        let mut same = Self::new(self.history, self.window);
        same.script.clone_from(&self.script);
        same.worlds = 1;
        same
    }

    /// One of `count` alternatives that nothing in the evidence decides (a version's behaviour, a random order).
    pub fn choose(&mut self, count: usize) -> usize {
        let count = count.clamp(1, usize::from(u16::MAX)) as u16;
        if count == 1 {
            return 0;
        }
        let pick = match self.script.get(self.cursor) {
            Some((pick, _)) => *pick,
            None => {
                self.script.push((0, count));
                0
            }
        };
        self.cursor += 1;
        usize::from(pick)
    }

    /// True if this world rests on nothing but what is known to hold in the window.
    #[must_use]
    pub fn is_grounded(&self) -> bool {
        !self.loose
    }

    /// True if, in some world so far, an object that is not in the evidence could have changed the answer.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// The objects that this world rests on, in the versions picked.
    #[must_use]
    pub fn deciding(&self) -> Vec<ObjectRef> {
        let states = self.picks.iter().filter_map(|pick| pick.entry?.state.as_ref());
        let mut refs: Vec<ObjectRef> = states.map(State::object_ref).collect();
        refs.sort_unstable();
        refs.dedup();
        refs
    }

    /// Instants at which the answer may change, for the window as given.
    pub fn edges(&self) -> impl Iterator<Item = Nanos> + '_ {
        let of_timelines = self.touched.iter().flat_map(|id| self.history.timeline(*id).edges());
        let of_kinds = self.kinds.iter().flat_map(|kind| self.history.coverage().edges(*kind));
        of_timelines.chain(of_kinds)
    }

    /// A number that differs whenever the objects looked at so far, or their versions in the window, differ.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut mix = |value: u64| hash = (hash ^ value).wrapping_mul(0x0100_0000_01b3);
        for id in &self.touched {
            mix(u64::from(*id));
            for entry in self.history.timeline(*id).within(self.window) {
                mix(entry.began.hi.0 as u64);
                mix(u64::from(entry.state.is_some()));
            }
        }
        hash
    }

    /// The state of one timeline in this world; `None`: it does not exist.
    pub fn state(&mut self, id: TimelineId) -> Option<&'a State> {
        if let Some(pick) = self.picks.iter().find(|pick| pick.id == id) {
            return pick.entry.and_then(|entry| entry.state.as_ref());
        }
        let timeline = self.history.timeline(id);
        if !self.touched.contains(&id) {
            self.touched.push(id);
        }
        self.incomplete |= timeline.may_hide(self.window);
        // A window at the end of time asks for the last state that the evidence tells, whenever it began.
        let options: SmallVec<[&Entry; 4]> = match self.window.lo {
            NEVER => timeline.entries.last().into_iter().collect(),
            _ => timeline.within(self.window).collect(),
        };
        let pick = self.choose(options.len());
        let entry = options.get(pick).copied();
        self.picks.push(Pick { id, entry });
        match entry {
            Some(entry) if entry.state.is_some() => self.loose |= entry.known_to < self.window.lo,
            Some(entry) => self.absence(timeline.kind, entry),
            None => self.missing(timeline.kind),
        }
        entry.and_then(|entry| entry.state.as_ref())
    }

    /// Notes that a world rests on the absence of objects of `kind` that no record names.
    pub fn missing(&mut self, kind: Kind) {
        self.absent_in(kind, self.window);
    }

    fn absent_in(&mut self, kind: Kind, span: Interval) {
        if !self.kinds.contains(&kind) {
            self.kinds.push(kind);
        }
        let coverage = self.history.coverage();
        self.incomplete |= !coverage.is_exhaustive(kind, span);
        // The world was real if the absence is known at some moment: where the stream covers the end of the span.
        self.loose |= !coverage.is_exhaustive(kind, Interval::at(span.hi));
    }

    /// Notes that a set of objects of `kind` is taken as whole: a claim that more exist cannot be refuted otherwise.
    pub fn whole(&mut self, kind: Kind) {
        if !self.kinds.contains(&kind) {
            self.kinds.push(kind);
        }
        self.incomplete |= !self.history.coverage().is_exhaustive(kind, self.window);
    }

    fn absence(&mut self, kind: Kind, entry: &Entry) {
        if entry.began.hi == EVER {
            // Up to the last moment before the first version can have begun.
            let hi = self.window.hi.min(entry.ended.lo.max(self.window.lo));
            self.absent_in(kind, Interval { lo: self.window.lo.min(hi), hi });
        } else {
            self.loose |= entry.known_to < self.window.lo;
        }
    }

    /// The object of a kind and key in this world.
    pub fn object(&mut self, kind: Kind, namespace: &[u8], name: &[u8]) -> Option<&'a State> {
        let Some(&id) = self.history.find(kind, namespace, name).first() else {
            self.missing(kind);
            return None;
        };
        self.state(id)
    }

    /// True if the namespace exists; objects inside prove it where namespaces themselves are not in the evidence.
    pub fn namespace(&mut self, name: &[u8]) -> Option<Option<&'a StringMap>> {
        if let Some(&id) = self.history.find(Kind::Namespace, b"", name).first() {
            return self.state(id).map(|state| Some(&state.meta.labels));
        }
        let populated = self.history.has_namespace(name);
        if populated && !self.history.coverage().is_exhaustive(Kind::Namespace, self.window) {
            return Some(None);
        }
        self.missing(Kind::Namespace);
        None
    }

    /// States of all of `ids` that exist in this world.
    pub fn states(&mut self, ids: &'a [TimelineId]) -> SmallVec<[&'a State; 4]> {
        ids.iter().filter_map(|id| self.state(*id)).collect()
    }
}

/// Convenience: the object as a given variant.
macro_rules! as_kind {
    ($name:ident, $variant:ident, $type:ty) => {
        /// The object, if it is of this kind.
        #[must_use]
        pub fn $name(state: &State) -> Option<&$type> {
            match &*state.object {
                Object::$variant(value) => Some(value),
                _ => None,
            }
        }
    };
}

as_kind!(as_service, Service, truename_model::object::Service);
as_kind!(as_slice, EndpointSlice, truename_model::object::EndpointSlice);
as_kind!(as_pod, Pod, truename_model::object::Pod);

/// The whole of time.
#[must_use]
pub fn always() -> Interval {
    Interval { lo: EVER, hi: NEVER }
}
