//! Each recorded answer against what the truth model says that this version with this Corefile and these objects
//! answers.
//!
//! Enters: a [`Recording`]. Leaves: [`Figures`] and [`Miss`]es. A question is judged by return code, flags, the sets of
//! records of each section and TTLs (exactly where no cache can have counted them down). Deliberately absent: EDNS
//! options and sizes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;
use truename_cluster::corefile::{Corefile, Env, ImportedFile, Version, parse_for};
use truename_cluster::history::{History, Kind};
use truename_cluster::truth::serve::memory::{Entry, Key};
use truename_cluster::truth::serve::message::ReplyKind;
use truename_cluster::truth::serve::zones::{Zone, authoritative};
use truename_cluster::truth::serve::{
    Ask, Memory, Reply, Resolv, Rr, Run, Site, Stop, Surroundings, Upstream,
};
use truename_cluster::view::View;
use truename_model::object::{ChangeKind, ChangeSource, ClusterChange};
use truename_model::rr::{Rcode, Rdata, Rtype};
use truename_model::time::{ClockBasis, Interval, Nanos, ObservedAt, SECOND};
use truename_model::{Class, Name, OriginId, Question, RecordRef};

use super::figures::{Figures, Leg, Miss, Tally};
use super::recording::{Answer, Asked, Head, Message, Recording, Section, Seen, Step};

/// Most worlds that are tried for one question.
const MAX_WORLDS: usize = 256;
/// Most worlds that are rehearsed for one question.
const MAX_REHEARSED: usize = 6;
/// Most entries of caches that are kept in doubt.
const MAX_DOUBTS: usize = 64;
/// Questions that may be on their way at the same time.
const FLIGHT: usize = 64;
/// Lag of a watch, milliseconds.
const LAG_MS: i64 = truename_cluster::truth::LAG_NS / 1_000_000;
/// The folder in which CoreDNS runs.
const FOLDER: &str = "/run/coredns";
/// The resolv.conf of a recording that names none.
const RESOLV_CONF: &str = "nameserver 203.0.113.53\n";

/// Judges one recording. `versions`: those of all recordings, for sections that name none.
pub fn judge(recording: &Recording, versions: &BTreeSet<String>, figures: &mut Figures) {
    figures.clusters += 1;
    let named = versions_of(recording);
    let versions = if named.is_empty() { versions } else { &named };
    let mut objects: Objects = Objects::default();
    recording.objects.iter().for_each(|object| objects.put(object));
    for section in &recording.sections {
        section_of(recording, section, versions, &objects, figures);
        for step in &section.steps {
            if let Step::Edit { events, .. } = step {
                events.iter().for_each(|(kind, object)| objects.apply(kind, object));
            }
        }
    }
}

/// Versions that a recording names anywhere.
#[must_use]
pub fn versions_of(recording: &Recording) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for section in &recording.sections {
        out.extend(section.head.not_started.keys().cloned());
        out.extend(section.head.running_hash.keys().cloned());
        for step in &section.steps {
            let Step::Ask(asked) = step else { continue };
            let keys = asked.cold.keys().chain(asked.hot.keys()).chain(asked.alt.keys());
            out.extend(keys.flat_map(|key| key.split(',')).map(|word| word.trim().to_owned()));
        }
    }
    out.remove("*");
    out.retain(|version| Version::parse(version).is_some());
    out
}

/// Objects by kind, namespace, name.
#[derive(Clone, Debug, Default)]
struct Objects(BTreeMap<(String, String, String), Value>);

impl Objects {
    fn key(object: &Value) -> (String, String, String) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let of = |key: &str| match &object["metadata"][key] {
            Value::Null => text(&object[key]),
            found => text(found),
        };
        (text(&object["kind"]), of("namespace"), of("name"))
    }

    fn put(&mut self, object: &Value) {
        self.0.insert(Self::key(object), object.clone());
    }

    fn apply(&mut self, kind: &str, object: &Value) {
        match kind {
            "DELETED" => {
                self.0.remove(&Self::key(object));
            }
            _ => self.put(object),
        }
    }

    /// True if a slice has a port without number: CoreDNS up to 1.9.4 dies of it (row 2).
    fn kill_old(&self, corefile: &Corefile) -> bool {
        let slices = self.0.values().filter(|object| object["kind"] == "EndpointSlice");
        let mut deadly = slices.filter(|slice| {
            slice["ports"].as_array().into_iter().flatten().any(|port| port["port"].is_null())
        });
        deadly.any(|slice| {
            let labels = slice["metadata"]["labels"].as_object().into_iter().flatten();
            let labels = labels
                .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect();
            let plugins = corefile.servers.iter().filter_map(|server| server.kubernetes());
            plugins
                .filter(|options| options.endpoints)
                .any(|options| options.labels.as_ref().is_none_or(|selector| selector.matches(&labels)))
        })
    }
}

/// The history of a section: objects listed at 0 s, the edits of step `n` at `n` s.
fn history(objects: &Objects, steps: &[Step]) -> History {
    let mut history = History::new();
    let mut ordinal = 0u64;
    let mut tell = |kind: ChangeKind, source: ChangeSource, object: &Value, at: Nanos| {
        let Ok((mut meta, object)) = truename_sources::kube::object(object, None, None) else { return };
        // Times here are steps of the recording, not the API server's.
        meta.created = None;
        ordinal += 1;
        history.fold(ClusterChange {
            record: RecordRef { item: 0, ordinal },
            origin: OriginId(0),
            kind,
            source,
            meta: Arc::new(meta),
            object: Arc::new(object),
            at: ObservedAt::Known(Interval::at(at), ClockBasis::Snapshot),
            seen_at: Some(Interval::at(at)),
            actor: None,
        });
    };
    for object in objects.0.values() {
        tell(ChangeKind::Created, ChangeSource::Watch, object, Nanos(0));
    }
    let mut current = objects.clone();
    for (at, step) in steps.iter().enumerate() {
        let Step::Edit { events, .. } = step else { continue };
        for (number, (word, object)) in events.iter().enumerate() {
            let kind = match word.as_str() {
                "ADDED" => ChangeKind::Created,
                "DELETED" => ChangeKind::Deleted,
                _ => ChangeKind::Updated,
            };
            let when = step_time(at).plus(i64::try_from(number).unwrap_or(0) * 1_000);
            // A deletion need name its object only.
            let whole = current.0.get(&Objects::key(object)).filter(|_| kind == ChangeKind::Deleted).cloned();
            tell(kind, ChangeSource::Watch, whole.as_ref().unwrap_or(object), when);
            current.apply(word, object);
        }
    }
    let span = Interval { lo: Nanos(-SECOND), hi: step_time(steps.len() + 10) };
    history.note_span(0, ChangeSource::Watch, span);
    for kind in [Kind::Service, Kind::Slice, Kind::Pod, Kind::Namespace, Kind::Other] {
        history.declare_complete(kind, span);
    }
    history.finish();
    history
}

fn step_time(step: usize) -> Nanos {
    Nanos(i64::try_from(step + 1).unwrap_or(i64::MAX / SECOND).saturating_mul(SECOND))
}

/// Upstreams of a section.
struct Served {
    zones: Vec<Zone>,
    addresses: Vec<IpAddr>,
    known: bool,
}

impl Upstream for Served {
    fn exchange(&self, (ip, port): (IpAddr, u16), ask: &Ask) -> Result<Option<Reply>, String> {
        if !self.known {
            return Err("upstream_zone is absent".to_owned());
        }
        let here = port == 53 && self.addresses.contains(&ip) && !self.zones.is_empty();
        Ok(here.then(|| authoritative(&self.zones, ask)))
    }
}

fn section_of(
    recording: &Recording,
    section: &Section,
    versions: &BTreeSet<String>,
    objects: &Objects,
    figures: &mut Figures,
) {
    let head = &section.head;
    let history = history(objects, &section.steps);
    let upstream = Served {
        zones: Zone::read_all(&head.upstream_zone),
        addresses: head.upstreams.clone(),
        known: head.has_upstream,
    };
    figures.sections += 1;
    figures.questions += section.steps.iter().filter(|step| matches!(step, Step::Ask(_))).count() as u64;
    let mut first = true;
    for word in versions {
        let Some(version) = Version::parse(word) else { continue };
        let files = |pattern: &str, _from: Option<&str>| {
            let found = head
                .files
                .get(pattern)
                .map(|text| ImportedFile { path: format!("{FOLDER}/{pattern}"), text: text.clone() });
            found.into_iter().collect()
        };
        let env = Env { variables: head.env.clone(), files: Some(&files) };
        let corefile = parse_for(&head.corefile, &env, version);
        let starts = corefile.as_ref().is_ok_and(Corefile::would_start);
        let doomed =
            version <= Version(1, 9, 4) && corefile.as_ref().is_ok_and(|corefile| objects.kill_old(corefile));
        let refused = head.not_started.get(word);
        if refused.is_none()
            && !section
                .steps
                .iter()
                .any(|step| matches!(step, Step::Ask(asked) if Asked::of(&asked.cold, word).is_some()))
        {
            continue;
        }
        figures.start(starts && !doomed, refused, &recording.seed, section.line, word);
        if refused.is_some() {
            continue;
        }
        let Ok(corefile) = corefile else { continue };
        // Up to 1.8 the hash is an MD5 sum of the text, which says less.
        if let Some(hash) =
            head.running_hash.get(word).filter(|hash| hash.len() == corefile.running_hash.len())
        {
            figures.hash(*hash == corefile.running_hash, &recording.seed, section.line, word);
        }
        // A late start is made up for, but not by versions that wait for endpoints which they never watch (row 4).
        let never = version <= Version(1, 9, 4)
            && corefile.servers.iter().filter_map(|server| server.kubernetes()).any(|of| !of.endpoints);
        let late = never && head.unsynced.contains(word);
        let site = Site::new(&corefile, version, 53, around(head, late), &upstream);
        figures.versions.insert(word.clone());
        let mut judge = Judge {
            recording,
            section,
            word,
            site: &site,
            history: &history,
            memory: Memory::default(),
            doubts: Vec::new(),
            first: std::mem::take(&mut first),
            figures,
        };
        judge.run();
    }
}

fn around(head: &Head, late: bool) -> Surroundings {
    let mut files = head.files.clone();
    files.extend(head.hosts_file.clone().map(|text| ("/etc/hosts".to_owned(), text)));
    Surroundings {
        own: head.server_ips.clone(),
        resolv: Resolv::read(head.resolv_conf.as_deref().unwrap_or(RESOLV_CONF)),
        knows_search: head.resolv_conf.is_some(),
        files,
        synced: head.tells_sync.then_some(!late),
    }
}

/// One version's part of a section.
struct Judge<'j> {
    recording: &'j Recording,
    section: &'j Section,
    word: &'j str,
    site: &'j Site<'j>,
    history: &'j History,
    memory: Memory,
    /// What the caches may hold instead, where several worlds led to the same answer.
    doubts: Vec<(Key, Entry)>,
    /// It is the first version that is judged here.
    first: bool,
    figures: &'j mut Figures,
}

/// What one world implies.
struct World {
    result: Result<Option<Reply>, Stop>,
    memory: Memory,
    used: BTreeSet<&'static str>,
}

impl Judge<'_> {
    fn run(&mut self) {
        let cached = self.site.plugins().contains(&"cache");
        let steps = &self.section.steps;
        let mut lo = 0usize;
        let mut edited = false;
        let mut at = 0;
        while at < steps.len() {
            if let Step::Edit { settled, .. } = &steps[at] {
                edited = true;
                // Told to all: nothing of before counts, unless a cache still holds it.
                if *settled == Some(true) {
                    lo = at + 1;
                }
                at += 1;
                continue;
            }
            let end = steps[at..]
                .iter()
                .position(|step| matches!(step, Step::Edit { .. }))
                .map_or(steps.len(), |n| at + n);
            let touched = if cached { self.rehearse(at..end, lo) } else { BTreeMap::new() };
            // Transfers are asked last, one at a time.
            let (plain, transfers): (Vec<usize>, Vec<usize>) =
                (at..end).partition(|here| !is_transfer(&steps[*here]));
            for here in plain.into_iter().chain(transfers) {
                let Step::Ask(asked) = &steps[here] else { continue };
                self.lend(here, &touched);
                self.ask(asked, here, lo, edited);
                self.memory.settle();
            }
            at = end;
        }
    }

    /// Questions of one volley are on their way together: which keys of the cache each of them looks for, and what it
    /// leaves there.
    fn rehearse(&mut self, range: std::ops::Range<usize>, lo: usize) -> Touched {
        let mut touched = BTreeMap::new();
        let mut memory = self.memory.clone();
        for here in range {
            let Step::Ask(asked) = &self.section.steps[here] else { continue };
            let worlds = self.worlds(&ask_of(asked), here, lo, &memory, asked.at, MAX_REHEARSED);
            for world in &worlds {
                for key in world.memory.touched() {
                    let entries = world.memory.entries(key).into_iter().map(|entry| (here, entry));
                    let (steps, stored) =
                        touched.entry(key.clone()).or_insert_with(|| (Vec::new(), Vec::new()));
                    if steps.last() != Some(&here) {
                        steps.push(here);
                    }
                    stored.extend(entries);
                }
            }
            if let Some(world) = worlds.into_iter().next() {
                memory = world.memory;
            }
        }
        touched
    }

    /// A question asked at the same time may be served first, and one that got no answer is asked again much later.
    fn lend(&mut self, here: usize, touched: &Touched) {
        let near = |at: usize| at != here && (at > here || here - at <= FLIGHT);
        for (key, (steps, stored)) in touched {
            if steps.contains(&here) {
                stored.iter().filter(|(at, _)| near(*at)).for_each(|(_, entry)| self.memory.lend(key, entry));
            }
        }
    }

    /// The first step from which on an edit is less than the lag of a watch ago.
    fn edits_since(&self, asked: &Asked, here: usize) -> usize {
        let recent = |step: &Step| match (step, asked.at) {
            (Step::Edit { done: Some(done), .. }, Some(at)) => at - done <= LAG_MS,
            (Step::Edit { .. }, _) => true,
            _ => false,
        };
        self.section.steps[..here].iter().position(recent).unwrap_or(here)
    }

    fn worlds(
        &self,
        ask: &Ask,
        here: usize,
        lo: usize,
        memory: &Memory,
        now: Option<i64>,
        most: usize,
    ) -> Vec<World> {
        let half = SECOND / 2;
        let window = Interval { lo: step_time(lo).plus(-half), hi: step_time(here).plus(-half) };
        let window = Interval { lo: window.lo.min(window.hi), hi: window.hi };
        let mut view = View::new(self.history, window);
        let mut memory = memory.clone();
        memory.begin();
        let mut out = Vec::new();
        while out.len() < most && view.next_world() {
            let mut run = Run::new(self.site, &mut view, memory.clone(), now);
            let result = run.answer(ask);
            let (memory, used) = (run.memory, run.used);
            out.push(World { result, memory, used });
        }
        out
    }

    fn ask(&mut self, asked: &Asked, here: usize, lo: usize, edited: bool) {
        let Some(cold) = Asked::of(&asked.cold, self.word) else { return };
        let mut ask = ask_of(asked);
        let alts = asked.alt.get(self.word).map_or(&[][..], Vec::as_slice);
        let seen: Vec<&Answer> = std::iter::once(cold).chain(alts).collect();
        if matches!(cold, Answer::Message(message) if message.cut) && !ask.tcp {
            // The answer over UDP came first, in any of its worlds, and left its trace in the caches.
            let first = self.worlds(&ask, here, lo, &self.memory, asked.at, MAX_REHEARSED);
            ask.tcp = true;
            let fits = |memory: &Memory| {
                let worlds = self.worlds(&ask, here, lo, memory, asked.at, MAX_WORLDS);
                worlds.iter().any(|world| seen.iter().any(|answer| implies(&world.result, answer, asked)))
            };
            let at = first.iter().position(|world| fits(&world.memory)).unwrap_or(0);
            self.memory = first.into_iter().nth(at).map(|world| world.memory).unwrap_or_default();
        }
        self.one(asked, &ask, here, lo, &seen, Leg { hot: false, edited });
        if let Some(hot) = Asked::of(&asked.hot, self.word) {
            self.one(asked, &ask, here, lo, &[hot], Leg { hot: true, edited });
        }
    }

    fn one(&mut self, asked: &Asked, ask: &Ask, here: usize, lo: usize, seen: &[&Answer], leg: Leg) {
        let mut worlds = self.worlds(ask, here, lo, &self.memory, asked.at, MAX_WORLDS);
        let fits = |world: &World| seen.iter().any(|answer| implies(&world.result, answer, asked));
        let mut found = worlds.iter().position(fits);
        let mut late = false;
        if found.is_none() && !self.doubts.is_empty() {
            let mut memory = self.memory.clone();
            self.doubts.iter().for_each(|(key, entry)| memory.lend(key, entry));
            let others = self.worlds(ask, here, lo, &memory, asked.at, MAX_WORLDS);
            if let Some(at) = others.iter().position(fits) {
                (worlds, found) = (others, Some(at));
            }
        }
        if found.is_none() && leg.edited {
            // A server may take in an edit later than it was told of it.
            let before =
                self.worlds(ask, here, self.edits_since(asked, here), &self.memory, asked.at, MAX_WORLDS);
            if let Some(at) = before.iter().position(fits) {
                (worlds, found, late) = (before, Some(at), true);
            }
        }
        let at = found.unwrap_or(0);
        let Some(world) = worlds.get(at) else { return };
        let kind = kind_of(asked, &world.result);
        let tally = Tally { kind, used: &world.used, leg, version: self.word, first: self.first };
        let open = worlds.iter().find_map(|world| match &world.result {
            Err(Stop::Elsewhere(plugin)) => Some(format!("the data of {plugin} lie elsewhere")),
            Err(Stop::Unmodelled(why)) => Some(why.clone()),
            _ => None,
        });
        match (found, open) {
            (Some(_), _) if late => self.figures.unforetellable("an edit taken in late", &tally),
            (Some(_), _) => match chance(&worlds, at, lo == here || !leg.edited) {
                Some(class) => self.figures.unforetellable(class, &tally),
                None => self.figures.agree(&tally),
            },
            (None, Some(why)) => self.figures.not_judged(&why),
            (None, None) if tells_of_itself(&world.used, asked) => {
                self.figures.not_judged("what an upstream tells of itself");
            }
            (None, None) => {
                let miss = Miss {
                    seed: self.recording.seed.clone(),
                    line: asked.line,
                    section: self.section.line,
                    version: self.word.to_owned(),
                    hot: leg.hot,
                    kind,
                    corefile: self.section.head.corefile.clone(),
                    text: asked.text.clone(),
                    expected: worlds.iter().take(4).map(|world| shown(&world.result)).collect(),
                    used: world.used.iter().copied().collect(),
                };
                self.figures.disagree(&tally, miss);
            }
        }
        if found.is_some() {
            self.doubt(&worlds, at, &fits, asked.at);
        }
        // A process that died begins anew.
        let died = matches!(world.result, Err(Stop::Dies(_)));
        self.memory =
            worlds.into_iter().nth(at).filter(|_| !died).map(|world| world.memory).unwrap_or_default();
    }

    /// Which of the worlds that led to the answer came about cannot be seen: what the others left is kept while it
    /// lives.
    fn doubt(&mut self, worlds: &[World], at: usize, fits: &dyn Fn(&World) -> bool, now: Option<i64>) {
        let old = |entry: &Entry| match (now, entry.stored) {
            (Some(now), Some(stored)) => now - stored > i64::from(entry.ttl).saturating_add(5) * 1_000,
            _ => false,
        };
        self.doubts.retain(|(_, entry)| !old(entry));
        let taken = &worlds[at].memory;
        for world in worlds.iter().enumerate().filter(|(other, world)| *other != at && fits(world)) {
            for key in world.1.memory.touched() {
                let known = taken.entries(key);
                for entry in world.1.memory.entries(key) {
                    let doubt = (key.clone(), entry);
                    if !known.contains(&doubt.1)
                        && self.doubts.len() < MAX_DOUBTS
                        && !self.doubts.contains(&doubt)
                    {
                        self.doubts.push(doubt);
                    }
                }
            }
        }
    }
}

fn is_transfer(step: &Step) -> bool {
    matches!(step, Step::Ask(asked) if matches!(asked.question.rtype, Rtype::AXFR | Rtype::IXFR))
}

type Touched = BTreeMap<Key, (Vec<usize>, Vec<(usize, Entry)>)>;

/// A class of what cannot be foretold, whose condition the model named beforehand.
fn chance(worlds: &[World], at: usize, settled: bool) -> Option<&'static str> {
    match &worlds[at].result {
        Err(Stop::Dies(_)) => return Some("the server dies"),
        Err(Stop::Hangs) => return Some("the server never answers"),
        Ok(Some(reply)) if reply.unpackable => return Some("an unpackable name"),
        Ok(Some(reply)) if reply.mangled => return Some("a damaged reply"),
        _ => {}
    }
    let content = |world: &World| match &world.result {
        Ok(Some(reply)) => Some(plain(reply)),
        _ => None,
    };
    let first = content(&worlds[at]);
    let several = worlds.iter().any(|world| content(world) != first);
    (several && settled && worlds[at].memory.touched().is_empty()).then_some("a random choice")
}

/// A reply without what a cache changes.
fn plain(reply: &Reply) -> (Rcode, Vec<(Name, Rtype, Rdata)>) {
    let mut records: Vec<_> =
        reply.records().map(|rr| (rr.owner.clone(), rr.rtype, rr.rdata.clone())).collect();
    records.sort();
    records.dedup();
    (reply.rcode, records)
}

/// True for names by which an upstream tells its version or its host.
fn tells_of_itself(used: &BTreeSet<&'static str>, asked: &Asked) -> bool {
    let Question { name, rtype, class } = &asked.question;
    let names = ["version.bind.", "version.server.", "hostname.bind.", "id.server.", "authors.bind."];
    let named = names.contains(&name.to_string().as_str());
    named && *rtype == Rtype::TXT && *class == Class::CH && used.contains("forward")
}

/// The question as it stands on the wire.
fn ask_of(asked: &Asked) -> Ask {
    let has = |word: &str| asked.flags.contains(word);
    let mut ask = Ask::new(asked.question.clone(), asked.client);
    (ask.rd, ask.ad, ask.cd, ask.dnssec) = (has("rd"), has("ad"), has("cd"), has("do"));
    ask.edns = has("do") || has("cookie") || asked.flags.iter().any(|word| word.starts_with("edns="));
    let transfer = matches!(asked.question.rtype, Rtype::AXFR | Rtype::IXFR);
    ask.tcp = has("tcp") || (transfer && !has("udp"));
    ask.written = written(&asked.written);
    ask
}

/// The name as wire octets with its case, if it has upper case.
fn written(text: &str) -> Option<Box<[u8]>> {
    if !text.bytes().any(|byte| byte.is_ascii_uppercase()) || text.contains('\\') {
        return None;
    }
    let mut out = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).ok()?);
        out.extend(label.bytes());
    }
    out.push(0);
    Some(out.into())
}

fn implies(result: &Result<Option<Reply>, Stop>, answer: &Answer, asked: &Asked) -> bool {
    match (result, answer) {
        (Ok(None) | Err(Stop::Hangs), Answer::Timeout) => true,
        // A stub drops an answer to another question, and waits for the end of a transfer.
        (Ok(Some(reply)), Answer::Timeout) => {
            reply.unpackable
                || reply.mangled
                || reply.question.name != asked.question.name
                || is_endless(reply)
        }
        (Ok(Some(reply)), Answer::Unparsable) => reply.mangled,
        (Ok(Some(reply)), Answer::Message(message)) => !reply.unpackable && same(reply, message, asked),
        (Err(Stop::Dies(_)), Answer::Crash) => true,
        (Err(Stop::Dies(reply)), Answer::Message(message)) => {
            reply.as_ref().as_ref().is_some_and(|reply| same(reply, message, asked))
        }
        _ => false,
    }
}

/// A transfer without its SOA record has no end.
fn is_endless(reply: &Reply) -> bool {
    let transfer = matches!(reply.question.rtype, Rtype::AXFR | Rtype::IXFR);
    let ended = reply.answer.iter().any(|rr| rr.rtype == Rtype::SOA);
    transfer && reply.rcode == Rcode::NOERROR && !reply.answer.is_empty() && !ended
}

fn same(reply: &Reply, message: &Message, asked: &Asked) -> bool {
    if reply.rcode != message.rcode || !same_flags(reply, message) {
        return false;
    }
    let question = match &message.question {
        None => !reply.mangled && reply.question == asked.question,
        Some(None) => reply.mangled,
        Some(Some((name, rtype))) => {
            // Letter case of the echo is told as a difference too.
            reply.question.name == *name && reply.question.rtype == *rtype
        }
    };
    // The messages of a transfer are recorded by their answer sections alone.
    let transfer = matches!(asked.question.rtype, Rtype::AXFR | Rtype::IXFR);
    let bare = transfer && message.authority.is_empty() && message.additional.is_empty();
    question
        && same_section(&reply.answer, &message.answer)
        && (bare || same_section(&reply.authority, &message.authority))
        && (bare || same_section(&reply.additional, &message.additional))
}

fn same_flags(reply: &Reply, message: &Message) -> bool {
    let wanted = [
        ("aa", reply.aa),
        ("tc", false),
        ("rd", reply.rd),
        ("ra", reply.ra),
        ("ad", false),
        ("cd", reply.cd),
    ];
    wanted.iter().all(|(word, set)| message.flags.contains(*word) == *set) && !message.flags.contains("z")
}

fn same_section(expected: &[Rr], seen: &[Seen]) -> bool {
    seen.iter().all(|seen| expected.iter().any(|rr| same_record(rr, seen)))
        && expected.iter().all(|rr| seen.iter().any(|seen| same_record(rr, seen)))
}

fn same_record(rr: &Rr, seen: &Seen) -> bool {
    rr.owner == seen.owner
        && rr.rtype == seen.rtype
        && rr.class == seen.class
        && (rr.least..=rr.ttl).contains(&seen.ttl)
        && match &seen.rdata {
            Some(data) => {
                rr.rdata == *data
                    || same_soa(&rr.rdata, data)
                    || (is_port_of_client(rr) && seen.rtype == Rtype::SRV)
            }
            None => rr.rdata.to_string() == seen.text,
        }
}

/// What `whoami` tells of the client's port, which no recording holds.
fn is_port_of_client(rr: &Rr) -> bool {
    matches!(&rr.rdata, Rdata::Srv { priority: 0, weight: 0, port: 0, target } if target.is_root())
}

/// An SOA record whose serial is a fixed number: `k8s_external` up to 1.8 has one.
fn same_soa(expected: &Rdata, seen: &Rdata) -> bool {
    match (expected, seen) {
        (Rdata::Soa { mname, rname, numbers }, Rdata::Soa { mname: m, rname: r, numbers: n }) => {
            mname == m
                && rname == r
                && numbers[1..] == n[1..]
                && numbers[1..4] == [7_200, 1_800, 86_400]
                && n[0] == 12_345
        }
        _ => false,
    }
}

fn shown(result: &Result<Option<Reply>, Stop>) -> String {
    let reply = match result {
        Err(stop) => return format!("{stop:?}"),
        Ok(None) => return "no answer".to_owned(),
        Ok(Some(reply)) => reply,
    };
    let mut flags = String::new();
    for (word, set) in [
        ("aa", reply.aa),
        ("rd", reply.rd),
        ("ra", reply.ra),
        ("cd", reply.cd),
        ("UNPACKABLE", reply.unpackable),
        ("MANGLED", reply.mangled),
    ] {
        if set {
            flags.push_str(word);
            flags.push(' ');
        }
    }
    let section = |list: &[Rr]| -> String {
        let one = |rr: &Rr| {
            let ttl =
                if rr.least == rr.ttl { rr.ttl.to_string() } else { format!("{}..{}", rr.least, rr.ttl) };
            format!("[{} {ttl} {} {}]", rr.owner, rr.rtype, rr.rdata)
        };
        list.iter().map(one).collect::<Vec<_>>().join(" ")
    };
    format!(
        "{} {flags}answer {} authority {} additional {}",
        reply.rcode,
        section(&reply.answer),
        section(&reply.authority),
        section(&reply.additional)
    )
}

/// The kind that a question is counted under.
fn kind_of(asked: &Asked, result: &Result<Option<Reply>, Stop>) -> &'static str {
    let rtype = asked.question.rtype;
    if matches!(rtype, Rtype::AXFR | Rtype::IXFR) {
        return "axfr";
    }
    let labels: Vec<&[u8]> = asked.question.name.labels().collect();
    let fixed = matches!(labels.as_slice(), [] | [_] | [_, _])
        || labels.starts_with(&[b"ns", b"dns"])
        || labels.first() == Some(&&b"dns-version"[..])
        || (labels.len() == 3 && matches!(labels[0], b"svc" | b"pod" | b"dns"));
    let Ok(Some(reply)) = result else { return "no answer" };
    let alias = reply.answer.iter().any(|rr| rr.rtype == Rtype::CNAME && rr.owner == asked.question.name);
    let inside = labels.iter().rev().nth(2).is_some_and(|label| *label == b"svc");
    match (reply.rcode, reply.kind(true)) {
        _ if fixed => "apex and fixed names",
        _ if labels.iter().rev().take(4).any(|label| *label == b"pod") => "pod names",
        (Rcode::NOERROR, ReplyKind::NoError) if alias && inside => "externalname",
        (Rcode::NOERROR, ReplyKind::NoError) if rtype == Rtype::SRV && !reply.answer.is_empty() => "srv",
        (Rcode::NOERROR, ReplyKind::NoError) if rtype == Rtype::PTR && !reply.answer.is_empty() => "ptr",
        (Rcode::NOERROR, ReplyKind::NoError)
            if matches!(rtype, Rtype::A | Rtype::AAAA) && !reply.answer.is_empty() =>
        {
            "positive a/aaaa"
        }
        (Rcode::NOERROR, _) if reply.answer.is_empty() => "nodata",
        (Rcode::NXDOMAIN, _) => "nxdomain",
        (Rcode::NOERROR, _) => "other positive",
        _ => "other codes",
    }
}
