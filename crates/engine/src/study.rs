//! The walk over a case: objects, origins, clocks, replay, analysis, one outcome.
//!
//! Enters: a reader of the log and settings; leaves: an outcome that depends on the records, the rules and the profile
//! alone. Each cluster in the evidence is studied apart, and what belongs to none without objects.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc;

use truename_analysis::analyzer::{Analyzer, Passed, Rear};
use truename_analysis::clock::{Estimator, Offset, Offsets};
use truename_analysis::facts::Context;
use truename_analysis::knowledge::{ClusterKnowledge, Knowledge};
use truename_analysis::presence::Lookups;
use truename_analysis::servers::{Learned, Servers};
use truename_cluster::corefile::{self, Env, Plugin};
use truename_cluster::history::holes::Hole;
use truename_cluster::history::{CorefileHistory, History};
use truename_cluster::truth::Truth;
use truename_evidence::Reader;
use truename_model::{
    Attribution, ClusterChange, Diagnostic, Event, Known, Name, Nanos, Object, Observation, Origin, OriginId,
    Outcome, Sha256, UnknownOwner, transaction::Judged,
};
use truename_sources::logformat::LogFormat;
use truename_sources::recognise::Format;

use crate::belonging::{self, named};
use crate::clocks::{self, Fits};
use crate::coverage;
use crate::error::EngineError;
use crate::objects::{self, Clusters, Told};
use crate::origins::glob_matches;
use crate::passing::{OneChange, Passing, each_once};
use crate::plan::{Plan, PlanItem};
use crate::pump::Tally;
use crate::replay::{Decoding, peek, replay};
use crate::settings::Settings;
use crate::several::{self, Several};
use crate::stated;
use crate::timeless::{self, Timeless};

/// Observations of each item that the clock estimate and the origin are read from.
const PEEK: usize = 100_000;
/// So many lookups from addresses of nobody, and one of so many, are told.
const NOBODYS_MIN: u64 = 5;
const NOBODYS_SHARE: u64 = 50;
/// Holes told in words per cluster; the rest is counted.
const HOLES_TOLD: usize = 20;
/// Batches of facts that may wait for the rear half of the analysis.
const BATCHES_AHEAD: usize = 4;

/// A case about to be studied.
pub struct Study<'a> {
    reader: &'a Reader,
    settings: &'a Settings,
    plan: Plan,
}

/// Everything known before the first answer is judged.
struct Prepared {
    told: Vec<Told>,
    clusters: Clusters,
    folded: BTreeMap<usize, (History, CorefileHistory)>,
    origins: Vec<Origin>,
    found: Vec<Offset>,
    offsets: Offsets,
    // Servers that share an item.
    several: Several,
    decoding: Decoding,
    // DNS server instances by address, as the lookups themselves tell them.
    servers: Learned,
    // How the lookups fit the clock of the objects.
    fits: Fits,
    notes: Vec<String>,
}

impl<'a> Study<'a> {
    /// Plans the study of everything in the log.
    ///
    /// # Errors
    /// Those of the log.
    pub fn new(reader: &'a Reader, settings: &'a Settings) -> Result<Self, EngineError> {
        let plan = Plan::of(reader, settings)?;
        Ok(Self { reader, settings, plan })
    }

    /// Digests of the items by item number, for citing records that pass.
    #[must_use]
    pub fn digests(&self) -> Vec<Sha256> {
        self.plan.items.iter().map(|item| item.sha256).collect()
    }

    /// Walks the case and concludes. `pass` is told of everything worth a row, in order of time within a cluster.
    ///
    /// # Errors
    /// Those of the log, and a profile that names what does not exist.
    pub fn conclude(&self, pass: &mut dyn FnMut(&Passing<'_>)) -> Result<Outcome, EngineError> {
        let prepared = self.prepare()?;
        let mut groups: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
        for (index, of) in prepared.clusters.of_item.iter().enumerate() {
            groups.entry(*of).or_default().push(index);
        }
        let mut outcomes = Vec::new();
        let mut tallies: BTreeMap<usize, Tally> = BTreeMap::new();
        for (cluster, items) in &groups {
            outcomes.push(self.study_group(&prepared, *cluster, items, &mut tallies, pass)?);
        }
        let mut outcome = coverage::merged(outcomes, self.settings)?;
        let notes = &mut outcome.coverage.notes;
        notes.extend(prepared.notes.iter().cloned().chain(prepared.clusters.notes.iter().cloned()));
        for (cache, count) in
            tallies.values().flat_map(|tally| &tally.evictions).filter(|(_, count)| **count > 0)
        {
            *outcome.coverage.evictions.entry(decoder_table(cache).to_owned()).or_insert(0) += *count;
        }
        notes.extend(tallies.iter().filter(|(_, tally)| tally.no_format > 0).map(|(index, tally)| {
            let (lines, path) = (tally.no_format, &self.plan.items[*index].path);
            format!(
                "{lines} lines of {path} match no known log format; add the Corefile (its `log` line) to the folder"
            )
        }));
        notes.sort();
        notes.dedup();
        outcome.coverage.unrecognised.clone_from(&self.plan.unrecognised);
        outcome.coverage.gaps.clone_from(&self.plan.gaps);
        for (index, told) in prepared.told.iter().enumerate() {
            if self.plan.items[index].tells_objects() {
                tallies.insert(index, told.tally.clone());
            }
        }
        outcome.coverage.sources =
            coverage::sources(&self.plan, &tallies, &prepared.origins, &prepared.found, &prepared.fits);
        Ok(outcome)
    }

    /// Statements of the operator that match no item: a slip in a glob must not pass in silence.
    fn unmatched_origins(&self) -> Vec<String> {
        let matches = |glob: &str| self.plan.items.iter().any(|item| glob_matches(glob, &item.path));
        let idle = self.settings.overrides.iter().filter(|statement| !matches(&statement.glob));
        idle.map(|statement| format!("--origin {}: matches no item", statement.glob)).collect()
    }

    /// What the operator's clock does to lookups that two sources saw.
    fn apart(&self, offset: &Offset) -> String {
        let path = |id: truename_model::OriginId| &self.plan.items[id.0 as usize].path;
        let seconds = (offset.bounds.0 / 2 + offset.bounds.1 / 2) as f64 / 1e9;
        let (one, other) = (path(offset.origin), path(offset.reference));
        format!(
            "--origin …:offset=… contradicts the lookups: by {} answers that both saw, {one} needs {seconds:+.1} s to \
             meet {other}; their times are taken to be as uncertain as the two differ. Leave the offset out, or state it \
             for both",
            offset.support
        )
    }

    fn hole(&self, hole: &Hole) -> String {
        let path = self.plan.items.get(hole.item as usize).map_or("", |item| item.path.as_str());
        let end = match hole.span.hi {
            Nanos(i64::MAX) => "its end".to_owned(),
            at => at.to_string(),
        };
        format!(
            "{path} lost changes of pods between {} and {end}: EndpointSlice {} names pod {}, which it never told of. \
             Nothing there rests on a pod's absence",
            hole.span.lo, hole.slice, hole.pod
        )
    }

    fn prepare(&self) -> Result<Prepared, EngineError> {
        let told = objects::read(self.reader, &self.plan)?;
        let clusters = Clusters::assign(&self.plan, &told);
        let mut notes = self.unmatched_origins();
        let mut decoding = Decoding {
            log_formats: log_formats(&told, &mut notes),
            dns_ports: self.settings.dns_ports.clone(),
            threads: self.settings.threads,
            inferred: BTreeMap::new(),
        };
        let mut origins: Vec<Origin> = self.plan.items.iter().map(|item| item.origin.clone()).collect();
        for (origin, of) in origins.iter_mut().zip(&clusters.of_item) {
            let name = of.and_then(|at| clusters.names.get(at));
            if let (Known::Unknown, Some(name)) = (&origin.cluster, name) {
                origin.cluster = Known::Found(name.clone(), "UID of the namespace kube-system".to_owned());
            }
        }
        let mut estimator = Estimator::new(&origins);
        let mut timeless = Timeless::new(&told);
        let mut servers = Servers::default();
        let mut lookups = Lookups::default();
        let mut names = several::Names::default();
        let capture = |item: &PlanItem| matches!(item.format, Format::Pcap | Format::PcapNg);
        let captures = self.plan.items.iter().any(capture);
        for (index, item) in self.plan.items.iter().enumerate().filter(|(_, item)| !item.tells_objects()) {
            let origin = &mut origins[index];
            peek(self.reader, &self.plan, &decoding, index, PEEK, &mut |observation| {
                estimator.observe(observation);
                lookups.observe(observation);
                timeless.note(index, observation);
                if captures {
                    let placed = origin.leg.value().is_some();
                    servers.observe(observation, clusters.of_item[index], placed);
                }
                learn(origin, observation, &item.format);
                names.observe(index, observation);
            })?;
        }
        let trial = timeless.trial(&decoding);
        for index in trial.inferred.keys() {
            peek(self.reader, &self.plan, &trial, *index, PEEK, &mut |observation| {
                estimator.observe(observation);
                lookups.observe(observation);
            })?;
        }
        let found = estimator.finish();
        decoding.inferred = timeless::confirmed(&trial, &found, &self.plan, &mut notes);
        let offsets = Offsets::new(&found, &origins);
        notes.extend(offsets.contradicted().iter().map(|offset| self.apart(offset)));
        let mut prepared = Prepared {
            told,
            clusters,
            folded: BTreeMap::new(),
            origins,
            found,
            offsets,
            several: Several::default(),
            decoding,
            servers: Learned::default(),
            fits: Fits::default(),
            notes,
        };
        self.fold(&mut prepared);
        self.set_apart(&mut prepared);
        let path = |item: usize| self.plan.items[item].path.as_str();
        prepared.several = Several::split(names, &mut prepared.origins, &path, &mut prepared.notes);
        prepared.servers = servers.finish(&prepared.origins);
        self.test_clocks(&lookups, &mut prepared);
        Ok(prepared)
    }

    /// Folds the objects of each cluster.
    fn fold(&self, prepared: &mut Prepared) {
        let of_item: BTreeSet<usize> = prepared.clusters.of_item.iter().flatten().copied().collect();
        for cluster in of_item {
            let own = |(index, of): (usize, &Option<usize>)| (*of == Some(cluster)).then_some(index);
            let items: Vec<usize> = prepared.clusters.of_item.iter().enumerate().filter_map(own).collect();
            let folded = objects::fold(&prepared.told, &items, &self.plan);
            prepared.folded.insert(cluster, folded);
        }
    }

    /// Clocks that the objects contradict make times as wide as the doubt.
    fn test_clocks(&self, lookups: &Lookups, prepared: &mut Prepared) {
        let known = clocks::Items {
            plan: &self.plan,
            origins: &prepared.origins,
            of_item: &prepared.clusters.of_item,
            found: &prepared.found,
        };
        prepared.fits = clocks::test(&known, lookups, &prepared.folded, &mut prepared.offsets);
        prepared.notes.append(&mut prepared.fits.notes);
    }

    /// Recordings of servers that the cluster of the objects does not have are read without these objects.
    fn set_apart(&self, prepared: &mut Prepared) {
        let mut strangers: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (cluster, (history, corefiles)) in &prepared.folded {
            let Some(servers) = belonging::Servers::of(history, corefiles) else { continue };
            for (index, item) in self.plan.items.iter().enumerate().filter(|(_, item)| !item.tells_objects())
            {
                if prepared.clusters.of_item[index] != Some(*cluster) {
                    continue;
                }
                let Some(server) = named(&item.path, &prepared.origins[index]) else { continue };
                if !servers.have(server) {
                    strangers.entry(server.to_string()).or_default().push(&item.path);
                    prepared.clusters.of_item[index] = None;
                }
            }
        }
        for index in (0..self.plan.items.len()).filter(|index| prepared.clusters.of_item[*index].is_none()) {
            if matches!(prepared.origins[index].cluster, Known::Found(..)) {
                prepared.origins[index].cluster = Known::Unknown;
            }
        }
        let notes = strangers.iter().map(|(server, paths)| {
            let (first, others) = (paths.first().copied().unwrap_or_default(), paths.len() - 1);
            let more = if others > 0 { format!(" and {others} more") } else { String::new() };
            format!(
                "{first}{more}: recorded by {server}, and the objects know no such server: another cluster, or older \
                 than the objects. Analysed without objects; --origin GLOB:cluster=NAME states that it belongs to them"
            )
        });
        prepared.notes.extend(notes);
    }

    fn study_group(
        &self,
        prepared: &Prepared,
        cluster: Option<usize>,
        items: &[usize],
        tallies: &mut BTreeMap<usize, Tally>,
        pass: &mut dyn FnMut(&Passing<'_>),
    ) -> Result<Outcome, EngineError> {
        let none = (History::new(), CorefileHistory::new());
        let (history, corefiles) = cluster.and_then(|at| prepared.folded.get(&at)).unwrap_or(&none);
        let told = corefile_domain(corefiles).or_else(|| history.facts().domain.clone());
        let (domain, contradiction) = stated::domain(told, &self.settings.profile);
        let mut truth = Truth::new(history, corefiles);
        if let Some(domain) = &domain {
            truth = truth.with_domain(domain.clone());
        }
        let knowledge =
            ClusterKnowledge::new(history, corefiles, &truth, domain).with_servers(prepared.servers.clone());
        let digests = self.digests();
        let context = Context {
            knowledge: &knowledge,
            profile: &self.settings.profile,
            origins: &prepared.origins,
            items: &digests,
        };
        let mut analyzer = Analyzer::new(context, history.changes())
            .map_err(|error| EngineError::Profile(error.to_string()))?;
        let observed: Vec<usize> =
            items.iter().copied().filter(|index| !self.plan.items[*index].tells_objects()).collect();
        let mut passage = Passage::new(history.changes(), pass);
        let mut nobodys = Nobodys::default();
        let rear = if prepared.decoding.threads > 1 { analyzer.split() } else { None };
        let (replayed, mut outcome) = with_rear(rear, |tell| {
            let replayed = replay(
                self.reader,
                &self.plan,
                &observed,
                &prepared.decoding,
                &prepared.offsets,
                &mut |batch| {
                    prepared.several.apply(batch);
                    passage.seen(batch);
                    analyzer.observe(batch, &mut |judged| {
                        nobodys.count(judged);
                        passage.lookup(judged);
                    });
                    tell(analyzer.facts());
                },
            )?;
            let (outcome, last) = analyzer.finish(&mut |judged| {
                nobodys.count(judged);
                passage.lookup(judged);
            });
            tell(last);
            Ok((replayed, outcome))
        })?;
        passage.rest();
        let notes = &mut outcome.coverage.notes;
        notes.extend(knowledge.notes());
        notes.extend(contradiction);
        notes.extend(stated::ranges(&self.settings.profile, history.facts()));
        if knowledge.cluster_domain().is_none() && !observed.is_empty() {
            notes.push(
                "the cluster domain is not in the evidence; give it as clusterDomain in a --profile"
                    .to_owned(),
            );
        }
        notes.extend(nobodys.notes(&self.plan, &prepared.several));
        notes.extend(history.holes().iter().take(HOLES_TOLD).map(|hole| self.hole(hole)));
        if let Some(more) = history.holes().len().checked_sub(HOLES_TOLD).filter(|more| *more > 0) {
            notes.push(format!("{more} more losses of changes of pods are shown by slices"));
        }
        let (late, early) = replayed.disorder;
        if late + early > 0 {
            notes.push(format!("{late} records came later than the order of their item allows, {early} were taken early for want of room"));
        }
        tallies.extend(replayed.tallies);
        Ok(outcome)
    }
}

/// Lookups from addresses that no pod held at their time, by item: a clock that runs apart from the cluster's shows so.
#[derive(Default)]
struct Nobodys {
    // (lookups, of these from addresses of nobody).
    by_origin: BTreeMap<u32, (u64, u64)>,
}

impl Nobodys {
    fn count(&mut self, judged: &Judged) {
        let counts = self.by_origin.entry(judged.transaction.origin.0).or_default();
        counts.0 += 1;
        counts.1 += u64::from(judged.attribution == Attribution::Unknown(UnknownOwner::NoneAtThatTime));
    }

    fn notes(&self, plan: &Plan, several: &Several) -> Vec<String> {
        let many = |&(all, nobody): &(u64, u64)| nobody >= NOBODYS_MIN && nobody * NOBODYS_SHARE >= all;
        let mut by_item: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for (origin, counts) in &self.by_origin {
            let sums = by_item.entry(several.item(OriginId(*origin))).or_default();
            *sums = (sums.0 + counts.0, sums.1 + counts.1);
        }
        let items = by_item.iter().filter(|(_, counts)| many(counts));
        items
            .filter_map(|(item, (all, nobody))| {
                let path = &plan.items.get(*item as usize)?.path;
                Some(format!(
                    "{path}: {nobody} of {all} lookups come from addresses that nobody held at their time. Its clock may \
                     differ from the cluster's, and then other owners are wrong as well; --origin GLOB:offset=SECONDS states it"
                ))
            })
            .collect()
    }
}

/// Runs the front half of the analysis here and the rear, if there is one, on a thread of its own.
fn with_rear<'a, T>(
    rear: Option<Rear<'a>>,
    front: impl FnOnce(&mut dyn FnMut(Vec<Passed<'a>>)) -> Result<(T, Outcome), EngineError>,
) -> Result<(T, Outcome), EngineError> {
    let Some(mut rear) = rear else { return front(&mut drop) };
    std::thread::scope(|scope| {
        let (send, told) = mpsc::sync_channel::<Vec<Passed<'a>>>(BATCHES_AHEAD);
        let behind = std::thread::Builder::new().name("detect".to_owned()).spawn_scoped(scope, move || {
            while let Ok(mut facts) = told.recv() {
                rear.take(&mut facts);
            }
            rear
        });
        let behind = behind.map_err(|_| EngineError::Worker)?;
        // A send fails only after the thread has ended, and then joining it fails too.
        let done = front(&mut |facts| drop(send.send(facts)));
        drop(send);
        let rear = behind.join().map_err(|_| EngineError::Worker)?;
        let (value, mut outcome) = done?;
        rear.finish(&mut outcome);
        Ok((value, outcome))
    })
}

/// The first zone of a `kubernetes` plugin that is not a reverse zone.
fn corefile_domain(corefiles: &CorefileHistory) -> Option<Name> {
    let reverse = Name::parse("arpa").ok()?;
    corefiles.versions().iter().find_map(|version| {
        let parsed = corefile::parse(&version.text, &Env::default()).ok()?;
        parsed.servers.iter().flat_map(|server| &server.plugins).find_map(|plugin| match plugin {
            Plugin::Kubernetes(options) => {
                options.zones.iter().find(|zone| !zone.is_at_or_below(&reverse)).cloned()
            }
            _ => None,
        })
    })
}

/// Formats that the Corefiles of the case set for the `log` plugin.
fn log_formats(told: &[Told], notes: &mut Vec<String>) -> Vec<LogFormat> {
    let maps = told.iter().flat_map(|told| &told.changes).filter_map(|change| match &*change.object {
        Object::ConfigMap(map) => map.data.get("Corefile").map(String::as_str),
        _ => None,
    });
    let texts: BTreeSet<&str> = maps.chain(told.iter().filter_map(|told| told.corefile.as_deref())).collect();
    let mut formats: BTreeSet<String> = BTreeSet::new();
    for parsed in texts.iter().filter_map(|text| corefile::parse(text, &Env::default()).ok()) {
        for plugin in parsed.servers.iter().flat_map(|server| &server.plugins) {
            if let Plugin::Log(rule) = plugin
                && rule.custom
            {
                formats.insert(rule.format.clone());
            }
        }
    }
    let mut compiled = Vec::new();
    for format in formats {
        match LogFormat::compile(&format) {
            Ok(format) => compiled.push(format),
            Err(error) => notes.push(format!("lines of the log format `{format}` stay unread: {error}")),
        }
    }
    compiled
}

/// A decoder's table in words: what it forgets is lost, or (a memo) made anew.
fn decoder_table(cache: &str) -> &'static str {
    match cache {
        "pcap-fragments" => "fragments of packets",
        "pcap-streams" => "TCP streams",
        _ => "decoder memo",
    }
}

/// What a record tells of where it was observed.
fn learn(origin: &mut Origin, observation: &Observation, format: &Format) {
    match &observation.event {
        Event::Diagnostic(Diagnostic::Version(version)) => found(&mut origin.version, version, "start line"),
        Event::Dns(dns) => {
            let Some(hints) = &dns.hints else { return };
            if let Some(identity) = hints.identity.as_deref().filter(|text| !text.is_empty()) {
                let how = if *format == Format::Dnstap { "dnstap identity" } else { "line prefix" };
                found(&mut origin.replica, identity, how);
            }
            if let Some(version) = hints.version.as_deref().and_then(|text| text.strip_prefix("CoreDNS-")) {
                found(&mut origin.version, version, "dnstap version");
            }
        }
        _ => {}
    }
}

fn found(field: &mut Known<String>, value: &str, how: &str) {
    if *field == Known::Unknown {
        *field = Known::Found(value.to_owned(), how.to_owned());
    }
}

/// Puts changes and server lines between the lookups, in order of time.
struct Passage<'a, 'p> {
    changes: VecDeque<OneChange<'a>>,
    seen: VecDeque<Observation>,
    pass: &'p mut dyn FnMut(&Passing<'_>),
}

impl<'a, 'p> Passage<'a, 'p> {
    fn new(changes: &'a [ClusterChange], pass: &'p mut dyn FnMut(&Passing<'_>)) -> Self {
        Self { changes: each_once(changes).into(), seen: VecDeque::new(), pass }
    }

    fn seen(&mut self, batch: &[Observation]) {
        let told = |event: &Event| matches!(event, Event::Diagnostic(_) | Event::Loss(_));
        self.seen.extend(batch.iter().filter(|observation| told(&observation.event)).cloned());
    }

    fn lookup(&mut self, judged: &Judged) {
        if let Some(asked) = judged.transaction.asked.interval() {
            self.until(asked.lo);
        }
        (self.pass)(&Passing::Lookup(judged));
    }

    fn until(&mut self, limit: Nanos) {
        loop {
            let change = self.changes.front().map(OneChange::place).filter(|at| *at <= limit);
            let line = self
                .seen
                .front()
                .map(|seen| seen.at.interval().map_or(Nanos(i64::MIN), |at| at.lo))
                .filter(|at| *at <= limit);
            let change_first = match (change, line) {
                (Some(change), Some(line)) => change <= line,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => return,
            };
            if change_first {
                if let Some(change) = self.changes.pop_front() {
                    (self.pass)(&Passing::Change(&change));
                }
            } else if let Some(seen) = self.seen.pop_front() {
                (self.pass)(&Passing::Seen(&seen));
            }
        }
    }

    fn rest(&mut self) {
        self.until(Nanos(i64::MAX));
    }
}
