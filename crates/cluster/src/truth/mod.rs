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
pub mod serve;
pub mod config;
mod edges;
pub mod foretell;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_corefile;
#[cfg(test)]
mod tests_random;

use std::sync::Arc;

use truename_model::name::Name;
use truename_model::object::ObjectRef;
use truename_model::rr::{Body, Class, Flags, Question, Rcode, Rdata, Record, Rtype};
use truename_model::time::{Interval, SECOND};
use truename_model::verdict::{Contradiction, Explanation, Verdict, WhyUnverifiable};

use crate::history::{CorefileHistory, History, Kind};
use crate::view::{View, always};
use compare::{Beside, Match, Seen, Tally, describe};
use config::{Block, Config, Front, Rewritten, Setup, embedded};
use edges::Edges;
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

/// The truth model over one cluster.
#[derive(Debug)]
pub struct Truth<'a> {
    history: &'a History,
    corefiles: &'a CorefileHistory,
    configs: Vec<Config>,
    assumed: Option<Setup>,
}

/// Everything asked of one answer.
#[derive(Clone, Copy)]
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
        let domain = history.facts().domain.clone();
        let assumed = domain.map(|zone| Setup::assumed(Options::defaults(vec![zone]), false));
        Self { history, corefiles, configs: Config::read_all(corefiles), assumed }
    }

    /// Takes the cluster domain from the operator, for evidence that holds no Corefile.
    #[must_use]
    pub fn with_domain(mut self, domain: Name) -> Self {
        self.assumed = Some(Setup::assumed(Options::defaults(vec![domain]), false));
        self
    }

    /// Takes the plugin's options as given instead of any Corefile.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.configs.clear();
        self.assumed = Some(Setup::assumed(options, true));
        self
    }

    /// Forward zones of every kubernetes plugin in any version of the Corefile, else the assumed domain; sorted.
    #[must_use]
    pub fn zones(&self) -> Vec<Name> {
        let blocks = self.configs.iter().flat_map(Config::blocks);
        let setups = blocks.filter_map(|block| block.setup.as_ref()).chain(&self.assumed);
        let zones = setups.flat_map(|setup| &setup.options.zones).filter(|zone| !options::is_reverse(zone));
        let mut zones: Vec<Name> = zones.cloned().collect();
        zones.sort();
        zones.dedup();
        zones
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
        let mut edges = Edges::new(at);
        let judgement = if self.configs.is_empty() {
            match &self.assumed {
                None => unknown_zone(&question.name),
                Some(setup) => self.judge_setup(&case, setup, &mut edges),
            }
        } else {
            self.corefiles.edges().for_each(|edge| edges.both(edge));
            self.judge_configs(&case, &mut edges)
        };
        (judgement, edges.stretch())
    }

    /// Versions that may be in force; one that could not start leaves its predecessor running.
    fn in_force(&self, at: Interval) -> (std::ops::Range<usize>, bool) {
        let mut range = self.corefiles.in_force(at);
        if range.is_empty() {
            // Before the first version that is known: it is the best guess, and no ground for a denial.
            return (0..1.min(self.configs.len()), false);
        }
        while range.start > 0 && self.configs[range.start].is_broken() {
            range.start -= 1;
        }
        (range, true)
    }

    fn judge_configs(&self, case: &Case<'_>, edges: &mut Edges) -> Judgement {
        let (range, known) = self.in_force(case.at);
        let known = known && self.corefiles.is_known(case.at);
        let mut best: Option<Judgement> = None;
        for config in &self.configs[range] {
            let mut judgement = self.judge_config(case, config, edges);
            if matches!(judgement, Judgement::Verdict(Verdict::Contradicted { .. })) {
                if !known {
                    judgement = unverifiable(WhyUnverifiable::NoCorefile);
                } else if let Some(plugin) = config.foreign(&case.question.name) {
                    judgement = unverifiable(WhyUnverifiable::OutOfModel(plugin.to_owned()));
                }
            }
            if rank(&judgement) == 0 {
                return judgement;
            }
            if best.as_ref().is_none_or(|best| rank(&judgement) < rank(best)) {
                best = Some(judgement);
            }
        }
        best.unwrap_or_else(|| unverifiable(WhyUnverifiable::NoCorefile))
    }

    fn judge_config(&self, case: &Case<'_>, config: &Config, edges: &mut Edges) -> Judgement {
        let Some(block) = config.block(&case.question.name) else { return Judgement::NotCluster };
        match block.rewritten(case.question) {
            Rewritten::No => self.judge_block(case, config, block, edges),
            Rewritten::To(question, line) => {
                let body = renamed(case.seen.body, &case.question.name, &question.name);
                let seen = Seen { body: &body, ..case.seen };
                let inner = Case { question: &question, seen, ..*case };
                match self.judge_block(&inner, config, block, edges) {
                    Judgement::Verdict(Verdict::Contradicted { .. }) if !is_address(question.rtype) => {
                        unverifiable(WhyUnverifiable::OutOfModel("names inside rewritten answers".to_owned()))
                    }
                    Judgement::Verdict(
                        verdict @ (Verdict::Contradicted { .. } | Verdict::Unverifiable { .. }),
                    ) => Judgement::Verdict(verdict),
                    // The line decides which name is looked up: it explains whatever that name gives.
                    _ => explained(config.line(line)),
                }
            }
            Rewritten::Maybe => match self.judge_block(case, config, block, edges) {
                Judgement::Verdict(Verdict::Contradicted { .. }) => {
                    unverifiable(WhyUnverifiable::OutOfModel("rewrite".to_owned()))
                }
                judgement => judgement,
            },
        }
    }

    fn judge_block(&self, case: &Case<'_>, config: &Config, block: &Block, edges: &mut Edges) -> Judgement {
        let judgement = match &block.setup {
            Some(setup) => self.judge_setup(case, setup, edges),
            None => Judgement::NotCluster,
        };
        let (how, offending) = match &judgement {
            Judgement::Verdict(
                Verdict::Verified { .. } | Verdict::Stale { .. } | Verdict::Explained { .. },
            )
            | Judgement::Chase(_) => return judgement,
            Judgement::Verdict(Verdict::Contradicted { how, .. }) => (Some(*how), judgement.clone()),
            _ => (None, judgement.clone()),
        };
        if how == Some(Contradiction::TtlBeyondConfiguration) {
            let highest = case.seen.body.answers.iter().map(|record| record.ttl).max().unwrap_or(0);
            return block
                .ttl_rule(case.question, highest)
                .map_or(offending, |line| explained(config.line(line)));
        }
        match block.front(case.question, &case.seen) {
            Front::Line(line) => return explained(config.line(line)),
            Front::Elsewhere(plugin) => return unverifiable(WhyUnverifiable::StateElsewhere(plugin)),
            Front::Maybe(what) => return unverifiable(WhyUnverifiable::OutOfModel(what.to_owned())),
            Front::No => {}
        }
        if let Some(found) = self.synthesised(case, config, block, edges) {
            return found;
        }
        if let Some((old, line)) = block.rcode_rule(case.question, case.seen.rcode) {
            let was = Case { seen: Seen { rcode: old, ..case.seen }, ..*case };
            let setup = block.setup.as_ref();
            if setup.is_some_and(|setup| rank(&self.judge_setup(&was, setup, edges)) <= 1) {
                return explained(config.line(line));
            }
        }
        match (&judgement, block.data_behind(&case.question.name)) {
            (Judgement::NotCluster, Some(plugin)) => {
                unverifiable(WhyUnverifiable::StateElsewhere(plugin.to_owned()))
            }
            _ => offending,
        }
    }

    /// Answers that `autopath` and `dns64` make of others (measured rows 41, 42).
    fn synthesised(
        &self,
        case: &Case<'_>,
        config: &Config,
        block: &Block,
        edges: &mut Edges,
    ) -> Option<Judgement> {
        let setup = block.setup.as_ref()?;
        let answers = &case.seen.body.answers;
        if let Some(line) = block.autopath(&case.question.name) {
            let Some(first) = answers.first() else {
                // A denial found on the way is passed on as it is.
                return (case.seen.rcode == Rcode::NOERROR).then(|| explained(config.line(line)));
            };
            if let Rdata::Cname(target) = &first.rdata
                && first.owner == case.question.name
                && first.owner.labels().next() == target.labels().next()
            {
                let question = Question { name: target.clone(), ..case.question.clone() };
                let mut body = case.seen.body.clone();
                body.answers.remove(0);
                let rest = body.answers.clone();
                let inner = Case { question: &question, seen: Seen { body: &body, ..case.seen }, ..*case };
                return match self.judge_setup(&inner, setup, edges) {
                    Judgement::NotCluster => Some(Judgement::Chase(Chase {
                        by: Arc::from([]),
                        stale: false,
                        explained: Some(config.line(line)),
                        target: target.clone(),
                        rest,
                    })),
                    judgement if rank(&judgement) <= 1 => Some(explained(config.line(line))),
                    _ => None,
                };
            }
        }
        let dns64 = block.dns64().filter(|_| case.question.rtype == Rtype::AAAA && !answers.is_empty())?;
        let question = Question { rtype: Rtype::A, ..case.question.clone() };
        let mut body = case.seen.body.clone();
        for record in &mut body.answers {
            if let Rdata::Aaaa(ip) = record.rdata {
                let Some(ip) = embedded(dns64, ip.into()) else { continue };
                record.rdata = Rdata::A(ip);
                record.rtype = Rtype::A;
            }
        }
        let inner = Case { question: &question, seen: Seen { body: &body, ..case.seen }, ..*case };
        (rank(&self.judge_setup(&inner, setup, edges)) <= 1).then(|| explained(config.line(dns64.line)))
    }

    fn judge_setup(&self, case: &Case<'_>, setup: &Setup, edges: &mut Edges) -> Judgement {
        let Some(zone) = setup.options.zone_of(&case.question.name) else { return Judgement::NotCluster };
        let now = self.pass(case, setup, zone, case.at);
        edges.add(&now.view, None);
        if let Some(judgement) = now.matched(case, setup, false) {
            return judgement;
        }
        let age_ns = age_ns(case, setup);
        let window = Interval { lo: case.at.lo.plus(-age_ns), hi: case.at.hi };
        let whole = self.pass(case, setup, zone, window);
        edges.add(&whole.view, Some(age_ns));
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
            beside: None,
            part: false,
            fell: false,
            out_of_model: None,
            last: None,
            grounded: false,
        };
        while pass.view.next_world() {
            let mut model = Model {
                view: &mut pass.view,
                options: &setup.options,
                era: case.era,
                mixed: false,
                panicked: false,
            };
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
            let fits = matches!(found, Match::Yes | Match::Chase(..));
            let beside = if fits { case.seen.beside(&outcome, &setup.options, zone) } else { None };
            if let Some(beside) = beside {
                pass.add_beside(beside, &outcome);
            } else if fits {
                let grounded = pass.view.is_grounded();
                let better = pass.hit.as_ref().is_none_or(|hit| grounded && !hit.grounded);
                if better {
                    pass.hit = Some(Hit { by: pass.view.deciding().into(), grounded, found });
                }
                if grounded {
                    break;
                }
            }
            pass.grounded = pass.view.is_grounded();
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
        if whole.beside.as_ref().is_some_and(|found| found.what == Beside::Strange) {
            return unverifiable(WhyUnverifiable::OutOfModel("records beside the answer".to_owned()));
        }
        if whole.view.is_incomplete() && !self.is_foreign(case, now) {
            let any = self.history.timelines().iter().any(|timeline| timeline.kind == Kind::Service);
            return unverifiable(if any {
                WhyUnverifiable::OutsideHistory
            } else {
                WhyUnverifiable::NoObjects
            });
        }
        if let Some(Besides { what: Beside::False(how, expected), by, .. }) = &whole.beside {
            let (how, by, expected) = (*how, by.as_slice().into(), expected.clone());
            return Judgement::Verdict(Verdict::Contradicted { how, by, expected });
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

    /// True if no object that was not recorded can be behind the answer either: a service that has cluster IPs now,
    /// and addresses where no service or pod of the cluster ever was. Only its own earlier life could explain them,
    /// and that had its addresses from the same ranges.
    fn is_foreign(&self, case: &Case<'_>, now: &Pass<'_>) -> bool {
        if let Some(found) = &now.beside {
            return found.grounded && (found.never || self.is_foreign_glue(case, &found.by));
        }
        let Some((Outcome::Records(records), by)) = &now.last else { return false };
        let own = records.answers.iter().all(|(owner, data)| {
            *owner == case.question.name && matches!(data, Rdata::A(_) | Rdata::Aaaa(_))
        });
        let answers = &case.seen.body.answers;
        let plain = |record: &Record| matches!(record.rdata, Rdata::A(_) | Rdata::Aaaa(_));
        own && of_service(by)
            && now.grounded
            && answers.iter().all(plain)
            && answers.iter().any(|record| self.is_far(record))
    }

    /// The same of the addresses beside an SRV answer.
    fn is_foreign_glue(&self, case: &Case<'_>, by: &[ObjectRef]) -> bool {
        of_service(by) && case.seen.body.additional.iter().any(|record| self.is_far(record))
    }

    /// True for an address where no service or pod of the cluster ever was.
    fn is_far(&self, record: &Record) -> bool {
        let facts = self.history.facts();
        match record.rdata {
            Rdata::A(ip) => !facts.is_near(ip.into()),
            Rdata::Aaaa(ip) => !facts.is_near(ip.into()),
            _ => false,
        }
    }

    /// True if every configuration that may be in force in `window` gives what an upstream answers for `name` to the
    /// client as it is, and asks upstreams only for what no cache of it holds: nothing is rewritten, fetched ahead of
    /// time or served stale.
    #[must_use]
    pub fn passes_on(&self, name: &Name, window: Interval) -> bool {
        let (range, known) = self.in_force(window);
        known && self.corefiles.is_known(window) && self.configs[range].iter().all(|c| c.passes_on(name))
    }

    /// Everything that may be answered to `question` in `window`, with the objects that imply it.
    #[must_use]
    pub fn admissible(&self, question: &Question, window: Interval, version: Option<&str>) -> Expected {
        let Some(setup) = self.setup(question, window) else { return Expected::NoCorefile };
        let Some(zone) = setup.options.zone_of(&question.name) else { return Expected::NotCluster };
        let mut view = View::new(self.history, window);
        let mut possibilities: Vec<Possibility> = Vec::new();
        while view.next_world() {
            let mut model = Model {
                view: &mut view,
                options: &setup.options,
                era: Era::of(version),
                mixed: false,
                panicked: false,
            };
            let outcome = model.answer(question, zone);
            let (by, grounded) = (view.deciding(), view.is_grounded());
            if !possibilities.iter().any(|known| known.outcome == outcome && known.by == by) {
                possibilities.push(Possibility { outcome, by, grounded });
            }
        }
        Expected::Answers { possibilities, complete: !view.is_incomplete() }
    }

    /// The kubernetes plugin that serves a name in `window`: of the last version in force that has one.
    fn setup(&self, question: &Question, window: Interval) -> Option<&Setup> {
        let (range, _) = self.in_force(window);
        let blocks = self.configs[range].iter().rev().filter_map(|config| config.block(&question.name));
        blocks.filter_map(|block| block.setup.as_ref()).next().or(self.assumed.as_ref())
    }

    /// A number that differs whenever an object on which `question` depends, or the Corefile, differs in `window`.
    #[must_use]
    pub fn epoch(&self, question: &Question, window: Interval) -> u64 {
        let in_force = self.corefiles.in_force(window);
        let config = (in_force.start as u64) << 32 | in_force.end as u64;
        let Some(setup) = self.setup(question, window) else { return config };
        let Some(zone) = setup.options.zone_of(&question.name) else { return config };
        let mut view = View::new(self.history, window);
        while view.next_world() {
            let _ = Model {
                view: &mut view,
                options: &setup.options,
                era: Era::Unknown,
                mixed: false,
                panicked: false,
            }
            .answer(question, zone);
        }
        view.fingerprint() ^ config.rotate_left(17)
    }
}

/// True if a service decides, and none of its endpoints.
fn of_service(by: &[ObjectRef]) -> bool {
    !by.iter().any(|of| of.kind == "EndpointSlice") && by.iter().any(|of| of.kind == "Service")
}

/// How old an answer may be: what its TTL has counted down, a cache in front that need not count, the watch lag, and
/// what `serve_stale` adds.
///
/// Caches count the TTL down, so a positive answer with its full TTL is fresh. Where TTLs do not tell (denials,
/// options that are not known, TTLs that were raised), an answer may be as old as the TTL and a cache allow.
fn age_ns(case: &Case<'_>, setup: &Setup) -> i64 {
    let ttl = setup.options.ttl.max(setup.cache_floor);
    let shown = case.seen.body.answers.iter().map(|record| record.ttl).min();
    let counted =
        shown.filter(|_| setup.known && setup.counts_down).map(|shown| ttl.saturating_sub(shown) + 1);
    let secs = match counted {
        Some(counted) => i64::from(counted).saturating_mul(SECOND),
        None => i64::from(ttl).saturating_mul(SECOND).saturating_add(CACHE_NS),
    };
    secs.saturating_add(LAG_NS).saturating_add(setup.stale_ns)
}

/// Judgements by how much they settle: of several admissible configurations the best explains the answer.
fn rank(judgement: &Judgement) -> u8 {
    match judgement {
        Judgement::Verdict(Verdict::Verified { .. }) => 0,
        Judgement::Chase(chase) if !chase.stale => 1,
        Judgement::Verdict(Verdict::Stale { .. }) | Judgement::Chase(_) => 1,
        Judgement::Verdict(Verdict::Explained { .. }) => 2,
        Judgement::NotCluster => 3,
        Judgement::Verdict(Verdict::Unverifiable { .. }) => 4,
        Judgement::Verdict(Verdict::Contradicted { .. }) => 5,
    }
}

fn explained(by: Explanation) -> Judgement {
    Judgement::Verdict(Verdict::Explained { by })
}

fn is_address(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::A | Rtype::AAAA)
}

/// The answer as it was before `rewrite` put the asked name back. What else it may have renamed is left out.
fn renamed(body: &Body, asked: &Name, inner: &Name) -> Body {
    let mut body = Body { authority: Vec::new(), additional: Vec::new(), ..body.clone() };
    for record in &mut body.answers {
        if record.owner == *asked {
            record.owner = inner.clone();
        }
    }
    body
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

/// Worlds that imply the answer section, and something beside it that they do not.
#[derive(Debug)]
struct Besides {
    what: Beside,
    by: Vec<ObjectRef>,
    grounded: bool,
    /// No object could put it there: answers of this kind have no records beside them.
    never: bool,
}

/// The worlds of one window, as far as they were tried.
#[derive(Debug)]
struct Pass<'a> {
    view: View<'a>,
    tally: Tally,
    hit: Option<Hit>,
    beside: Option<Besides>,
    part: bool,
    fell: bool,
    out_of_model: Option<&'static str>,
    last: Option<(Outcome, Vec<ObjectRef>)>,
    /// The last world was known to hold.
    grounded: bool,
}

impl Pass<'_> {
    /// The mildest word of all worlds counts, and of those the first that was known to hold.
    fn add_beside(&mut self, what: Beside, outcome: &Outcome) {
        let grounded = self.view.is_grounded();
        let known = self.beside.as_ref();
        if known.is_some_and(|old| what != Beside::Strange && (old.grounded || !grounded)) {
            return;
        }
        if known.is_some_and(|old| old.what == Beside::Strange) {
            return;
        }
        let never = !matches!(outcome, Outcome::Records(records) if !records.additional.is_empty());
        self.beside = Some(Besides { what, by: self.view.deciding(), grounded, never });
    }

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

/// Owner and data of one expected record.
pub type ExpectedDatum = Datum;
