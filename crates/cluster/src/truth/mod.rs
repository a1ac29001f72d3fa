//! Whether an answer was true at its time (design §2 step 9, `answer-truth` §2 and §3).
//!
//! Enters: history, Corefiles, one answer with its time. Leaves: a [`Judgement`] that names the deciding objects.
//! An answer may be as old as its TTL, the caches in front and the watch lag allow: what was implied at any moment of
//! that window is admissible; implied then but no longer is *stale*. Only a mismatch over the whole window, with
//! nothing hidden from the history, contradicts. Deliberately absent: upstreams (the caller's provenance decides what
//! a name outside the cluster gives).

pub mod options;
pub mod model;
pub mod compare;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use truename_model::name::Name;
use truename_model::object::ObjectRef;
use truename_model::rr::{Body, Class, Flags, Question, Rcode, Record, Rtype};
use truename_model::time::{Interval, Nanos, SECOND};
use truename_model::verdict::{Contradiction, Explanation, Verdict, WhyUnverifiable};

use crate::history::{CorefileHistory, History, Kind};
use crate::view::{View, always};
use compare::{Match, Seen, Tally, describe};
use model::{Datum, Model, Outcome, VERSION_TTL};
use options::{Era, Options};

/// Watch lag: from the change in the API to its effect in the server.
pub const LAG_NS: i64 = 10 * SECOND;
/// Longest stay in a cache in front of the server (CoreDNS `cache 30`, NodeLocal DNSCache).
pub const CACHE_NS: i64 = 30 * SECOND;

/// What the truth model says of one answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// A verdict.
    Verdict(Verdict),
    /// The name lies outside every kubernetes zone, or falls through: provenance decides.
    NotCluster,
    /// The cluster's part is right; the rest came from the lookup of a name outside the zone.
    Chase(Chase),
}

/// An answer whose end was looked up elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Chase {
    /// Objects behind the cluster's part.
    pub by: Arc<[ObjectRef]>,
    /// The cluster's part was right, but is no longer.
    pub stale: bool,
    /// What the cluster's part is explained by, if not by objects.
    pub explained: Option<Explanation>,
    /// The name whose lookup gave the rest.
    pub target: Name,
    /// The rest: records of the answer section.
    pub rest: Vec<Record>,
}

/// One admissible answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Possibility {
    /// What is implied.
    pub outcome: Outcome,
    /// By which objects.
    pub by: Vec<ObjectRef>,
    /// Nothing but known states was needed.
    pub grounded: bool,
}

/// All admissible answers of a window.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// These, in order of the worlds; `complete`: no other is possible.
    Answers {
        /// The distinct possibilities.
        possibilities: Vec<Possibility>,
        /// False if an object that is not in the evidence could change them.
        complete: bool,
    },
    /// The name is outside every kubernetes zone.
    NotCluster,
    /// The zone is not known.
    NoCorefile,
}

/// The kubernetes plugin of one configuration.
#[derive(Clone, Debug)]
struct Setup {
    options: Options,
    /// Read in a Corefile rather than assumed.
    known: bool,
    /// Longest extra age by `serve_stale`, nanoseconds.
    stale_ns: i64,
    /// Least TTL that a cache in the block gives, seconds.
    cache_floor: u32,
}

impl Setup {
    fn window(&self, at: Interval) -> Interval {
        Interval { lo: at.lo.plus(-self.age_ns()), hi: at.hi }
    }

    fn age_ns(&self) -> i64 {
        let ttl_ns = i64::from(self.options.ttl).saturating_mul(SECOND);
        ttl_ns.saturating_add(CACHE_NS + LAG_NS).saturating_add(self.stale_ns)
    }
}

/// The truth model over one cluster.
#[derive(Debug)]
pub struct Truth<'a> {
    history: &'a History,
    corefiles: &'a CorefileHistory,
    assumed: Option<Setup>,
}

/// Everything asked of one answer.
struct Case<'q> {
    question: &'q Question,
    seen: Seen<'q>,
    at: Interval,
    era: Era,
}

impl<'a> Truth<'a> {
    /// A model of the cluster that `history` and `corefiles` describe. Both must be finished.
    #[must_use]
    pub fn new(history: &'a History, corefiles: &'a CorefileHistory) -> Self {
        let assumed = history.facts().domain.clone().map(|zone| assume(Options::defaults(vec![zone]), false));
        Self { history, corefiles, assumed }
    }

    /// Takes the cluster domain from the operator, for evidence that holds no Corefile.
    #[must_use]
    pub fn with_domain(mut self, domain: Name) -> Self {
        self.assumed = Some(assume(Options::defaults(vec![domain]), false));
        self
    }

    /// Takes the plugin's options as given instead of any Corefile.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.assumed = Some(assume(options, true));
        self
    }

    /// Judges one answer. `at` is when it was given, on the API server's clock, widened by the skew.
    #[must_use]
    pub fn judge(
        &self,
        question: &Question,
        rcode: Option<Rcode>,
        flags: Flags,
        body: &Body,
        at: Interval,
        version: Option<&str>,
    ) -> Judgement {
        self.judge_epoch(question, rcode, flags, body, at, version).0
    }

    /// As [`Truth::judge`], with the stretch of time in which any answer equal to this one gets the same judgement
    /// (for an `at` that lies in it whole); `None`: do not reuse it.
    #[must_use]
    pub fn judge_epoch(
        &self,
        question: &Question,
        rcode: Option<Rcode>,
        flags: Flags,
        body: &Body,
        at: Interval,
        version: Option<&str>,
    ) -> (Judgement, Option<Interval>) {
        let rcode = match unjudged(question, rcode, body) {
            Ok(rcode) => rcode,
            Err(why) => return (unverifiable(why), Some(always())),
        };
        let case = Case { question, seen: Seen { rcode, flags, body }, at, era: Era::of(version) };
        let Some(setup) = &self.assumed else {
            return (unknown_zone(&question.name), Some(always()));
        };
        let mut edges = Edges::new(at, setup.age_ns());
        let judgement = self.judge_with(&case, setup, &mut edges);
        (judgement, edges.stretch())
    }

    fn judge_with(&self, case: &Case<'_>, setup: &Setup, edges: &mut Edges) -> Judgement {
        let Some(zone) = setup.options.zone_of(&case.question.name) else { return Judgement::NotCluster };
        let now = self.pass(case, setup, zone, case.at);
        edges.add(&now.view, false);
        if let Some(judgement) = now.matched(case, setup, false) {
            return judgement;
        }
        let whole = self.pass(case, setup, zone, setup.window(case.at));
        edges.add(&whole.view, true);
        if let Some(judgement) = whole.matched(case, setup, true) {
            return judgement;
        }
        self.mismatch(case, setup, &now, &whole)
    }

    /// Tries every world of `window` until one implies the answer.
    fn pass(&self, case: &Case<'_>, setup: &Setup, zone: &Name, window: Interval) -> Pass<'a> {
        let mut pass = Pass {
            view: View::new(self.history, window),
            tally: Tally::default(),
            hit: None,
            part: false,
            fell: false,
            out_of_model: None,
            last: None,
        };
        while pass.view.next_world() {
            let mut model = Model { view: &mut pass.view, options: &setup.options, era: case.era };
            let outcome = model.answer(case.question, zone);
            if outcome == Outcome::NxDomain && setup.options.falls_through(&case.question.name) {
                pass.fell = true;
                continue;
            }
            if let Outcome::OutOfModel(why) = outcome {
                pass.out_of_model = Some(why);
            }
            if matches!(outcome, Outcome::AnyOf(_)) {
                pass.out_of_model = pass.out_of_model.or(Some("the server's own addresses"));
            }
            let found = case.seen.against(&outcome);
            pass.part |= found == Match::Part;
            pass.tally.add(&outcome);
            if matches!(found, Match::Yes | Match::Chase(..)) {
                let grounded = pass.view.is_grounded();
                let better = pass.hit.as_ref().is_none_or(|hit| grounded && !hit.grounded);
                if better {
                    pass.hit = Some(Hit { by: pass.view.deciding().into(), grounded, found });
                }
                if grounded {
                    break;
                }
            }
            pass.last = Some((outcome, pass.view.deciding()));
        }
        pass
    }

    fn mismatch(&self, case: &Case<'_>, setup: &Setup, now: &Pass<'_>, whole: &Pass<'_>) -> Judgement {
        if let Some(why) = whole.out_of_model {
            return match why {
                "multicluster" => unverifiable(WhyUnverifiable::StateElsewhere(why.to_owned())),
                _ => unverifiable(WhyUnverifiable::OutOfModel(why.to_owned())),
            };
        }
        if whole.fell || now.fell {
            return Judgement::NotCluster;
        }
        if !setup.known {
            return unverifiable(WhyUnverifiable::NoCorefile);
        }
        if whole.view.is_incomplete() {
            let any = self.history.timelines().iter().any(|timeline| timeline.kind == Kind::Service);
            return unverifiable(if any {
                WhyUnverifiable::OutsideHistory
            } else {
                WhyUnverifiable::NoObjects
            });
        }
        if whole.part {
            return unverifiable(WhyUnverifiable::OutOfModel("a part of the expected records".to_owned()));
        }
        let Some(how) = whole.tally.how(&case.seen, case.question.rtype) else {
            return unverifiable(WhyUnverifiable::OutOfModel(
                "a denial that differs in kind only".to_owned(),
            ));
        };
        let (expected, by) = match now.last.as_ref().or(whole.last.as_ref()) {
            Some((outcome, by)) => (describe(outcome), by.clone()),
            None => (String::new(), Vec::new()),
        };
        Judgement::Verdict(Verdict::Contradicted { how, by: by.into(), expected })
    }

    /// Everything that may be answered to `question` in `window`, with the objects that imply it.
    #[must_use]
    pub fn admissible(&self, question: &Question, window: Interval, version: Option<&str>) -> Expected {
        let Some(setup) = &self.assumed else { return Expected::NoCorefile };
        let Some(zone) = setup.options.zone_of(&question.name) else { return Expected::NotCluster };
        let mut view = View::new(self.history, window);
        let mut possibilities: Vec<Possibility> = Vec::new();
        while view.next_world() {
            let mut model = Model { view: &mut view, options: &setup.options, era: Era::of(version) };
            let outcome = model.answer(question, zone);
            let (by, grounded) = (view.deciding(), view.is_grounded());
            if !possibilities.iter().any(|known| known.outcome == outcome && known.by == by) {
                possibilities.push(Possibility { outcome, by, grounded });
            }
        }
        Expected::Answers { possibilities, complete: !view.is_incomplete() }
    }

    /// A number that differs whenever an object on which `question` depends, or the Corefile, differs in `window`.
    #[must_use]
    pub fn epoch(&self, question: &Question, window: Interval) -> u64 {
        let in_force = self.corefiles.in_force(window);
        let config = (in_force.start as u64) << 32 | in_force.end as u64;
        let Some(setup) = &self.assumed else { return config };
        let Some(zone) = setup.options.zone_of(&question.name) else { return config };
        let mut view = View::new(self.history, window);
        while view.next_world() {
            let _ =
                Model { view: &mut view, options: &setup.options, era: Era::Unknown }.answer(question, zone);
        }
        view.fingerprint() ^ config.rotate_left(17)
    }
}

fn assume(options: Options, known: bool) -> Setup {
    Setup { options, known, stale_ns: 0, cache_floor: 0 }
}

fn unverifiable(why: WhyUnverifiable) -> Judgement {
    Judgement::Verdict(Verdict::unverifiable(why))
}

/// Answers of which nothing can be said whatever the objects are.
fn unjudged(question: &Question, rcode: Option<Rcode>, body: &Body) -> Result<Rcode, WhyUnverifiable> {
    let rcode = rcode.ok_or(WhyUnverifiable::NoResponse)?;
    if body.malformed.is_some() {
        return Err(WhyUnverifiable::Damaged);
    }
    if rcode != Rcode::NOERROR && rcode != Rcode::NXDOMAIN {
        return Err(WhyUnverifiable::ServerFailure);
    }
    // A log line shows the return code but no section: NXDOMAIN with an answer section exists (an alias that ends
    // nowhere), and NOERROR says nothing of what was in it, so neither is judged.
    if !body.sections_seen {
        return Err(WhyUnverifiable::AnswerNotSeen);
    }
    if question.class != Class::IN {
        return Err(WhyUnverifiable::OutOfModel(format!("class {}", question.class)));
    }
    match question.rtype {
        Rtype::ANY | Rtype::AXFR | Rtype::IXFR => {
            Err(WhyUnverifiable::OutOfModel(format!("{} questions", question.rtype)))
        }
        _ => Ok(rcode),
    }
}

/// Without any Corefile the default zone's names are the only ones that surely belong to the cluster.
fn unknown_zone(name: &Name) -> Judgement {
    let labels: Vec<&[u8]> = name.labels().collect();
    match labels[..] {
        [.., b"cluster", b"local"] => unverifiable(WhyUnverifiable::NoCorefile),
        _ => Judgement::NotCluster,
    }
}

/// A world that implies the answer.
#[derive(Debug)]
struct Hit {
    by: Arc<[ObjectRef]>,
    grounded: bool,
    found: Match,
}

/// The worlds of one window, as far as they were tried.
#[derive(Debug)]
struct Pass<'a> {
    view: View<'a>,
    tally: Tally,
    hit: Option<Hit>,
    part: bool,
    fell: bool,
    out_of_model: Option<&'static str>,
    last: Option<(Outcome, Vec<ObjectRef>)>,
}

impl Pass<'_> {
    fn matched(&self, case: &Case<'_>, setup: &Setup, stale: bool) -> Option<Judgement> {
        let hit = self.hit.as_ref()?;
        if !hit.grounded {
            return Some(unverifiable(WhyUnverifiable::OutsideHistory));
        }
        if let Some(judgement) = ttl_beyond(case, setup, &hit.by) {
            return Some(judgement);
        }
        let by = hit.by.clone();
        Some(match &hit.found {
            Match::Chase(target, rest) => {
                let (target, rest) = (target.clone(), rest.clone());
                Judgement::Chase(Chase { by, stale, explained: None, target, rest })
            }
            _ if stale => Judgement::Verdict(Verdict::Stale { by }),
            _ => Judgement::Verdict(Verdict::Verified { by }),
        })
    }
}

/// Records of the cluster's own names never outlive the `ttl` option (rows 16 and 34: per owner, not per answer).
fn ttl_beyond(case: &Case<'_>, setup: &Setup, by: &Arc<[ObjectRef]>) -> Option<Judgement> {
    if !setup.known {
        return None;
    }
    let bound = match case.question.rtype {
        Rtype::TXT => VERSION_TTL,
        _ => setup.options.ttl.max(setup.cache_floor),
    };
    let beyond = |record: &&Record| record.ttl > bound && setup.options.zone_of(&record.owner).is_some();
    let record = case.seen.body.answers.iter().find(beyond)?;
    Some(Judgement::Verdict(Verdict::Contradicted {
        how: Contradiction::TtlBeyondConfiguration,
        by: by.clone(),
        expected: format!("a TTL of at most {bound} s, not {} s", record.ttl),
    }))
}

/// Instants around `at` at which the judgement may change.
struct Edges {
    at: Interval,
    age_ns: i64,
    lo: Nanos,
    hi: Nanos,
    inside: bool,
}

impl Edges {
    fn new(at: Interval, age_ns: i64) -> Self {
        let all = always();
        Self { at, age_ns, lo: all.lo, hi: all.hi, inside: false }
    }

    fn add(&mut self, view: &View<'_>, aged: bool) {
        for edge in view.edges() {
            // Bounds are inclusive, so what holds up to an edge may change right after it, and at it.
            self.point(edge);
            self.point(edge.plus(1));
            if aged {
                self.point(edge.plus(self.age_ns));
                self.point(edge.plus(self.age_ns).plus(1));
            }
        }
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

    fn stretch(&self) -> Option<Interval> {
        (!self.inside).then_some(Interval { lo: self.lo, hi: self.hi })
    }
}

/// Owner and data of one expected record.
pub type ExpectedDatum = Datum;
