//! What the application asked for: runs of lookups by one client that walk its search list become one intent
//! (answer-truth §4.2), for glibc, musl and Go.
//!
//! Enters: judged lookups in order of asking; leaves: closed intents. A client is the pod's UID where the owner is
//! exact, else the address. Deliberately absent: lookups without time, which have no order between clients.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use smallvec::SmallVec;
use truename_model::time::{MILLI, SECOND};
use truename_model::{
    Intent, IntentOutcome, Interval, Judged, Name, Nanos, Rcode, Rtype, Transaction, Workload,
};

use crate::knowledge::{Knowledge, StubConfig};

/// Longest silence inside one intent: two tries of glibc.
const PATIENCE: i64 = 10 * SECOND;
/// After an answer the other address type still belongs to the intent this long.
const PAIR: i64 = 100 * MILLI;
/// A learned suffix is tried this soon after the cluster's last one failed.
const TYPICAL: i64 = 3 * SECOND;
/// Steps kept per intent.
const STEPS_MAX: usize = 32;
/// Open intents in all, and clients remembered.
const OPEN_MAX: usize = 1 << 16;
const CLIENTS_MAX: usize = 1 << 16;
/// Open intents of one client and name that a lookup may go on with: of a name asked in a loop, the newest.
const FILED_MAX: usize = 32;
/// A node's own suffix is believed when so many clients tried it for so many names.
const LEARN_CLIENTS: usize = 3;
const LEARN_BASES: usize = 5;
const LEARN_MAX: usize = 64;
const BUCKET_BITS: u32 = 26;
/// kubelet's default.
const NDOTS: u8 = 5;

/// How one lookup ended, as a stub sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Positive,
    /// NOERROR without a look at the sections: an answer, unless the stub goes on.
    Unseen,
    NoData,
    NxDomain,
    Failure,
    Silence,
}

#[derive(Clone, Debug)]
struct ClientKey {
    workload: Option<Arc<Workload>>,
    ip: IpAddr,
}

impl ClientKey {
    fn uid(&self) -> Option<&str> {
        self.workload.as_ref().map(|workload| workload.uid.as_str()).filter(|uid| !uid.is_empty())
    }
}

impl PartialEq for ClientKey {
    fn eq(&self, other: &Self) -> bool {
        match (self.uid(), other.uid()) {
            (Some(a), Some(b)) => a == b,
            (None, None) => self.ip == other.ip,
            _ => false,
        }
    }
}

impl Eq for ClientKey {}

impl Hash for ClientKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.uid() {
            Some(uid) => uid.hash(state),
            None => self.ip.hash(state),
        }
    }
}

/// A place in the walk: a search-list entry, or the name as given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Search(u8),
    Absolute,
}

struct Client {
    // Part of the keys under which its open intents are filed.
    id: u64,
    config: Arc<StubConfig>,
    open: u32,
    /// Open intents that are past the cluster's own suffixes.
    deep: u32,
}

/// What a lookup needs of its client.
#[derive(Clone)]
struct Asker {
    id: u64,
    config: Arc<StubConfig>,
    deep: bool,
}

/// Ways to cut a name: octets in front, and their hash as a name.
type Prefixes = SmallVec<[(usize, u64); 12]>;

/// Indexes of open intents.
type Near = SmallVec<[u32; 8]>;

/// Open intents by client and name, so that a lookup looks only at those that it may go on with: a busy client has
/// thousands open.
#[derive(Default)]
struct Files {
    filed: HashMap<u64, SmallVec<[u32; 2]>, FixedState>,
}

/// As which name an intent is filed.
#[derive(Clone, Copy)]
enum Drawer {
    Base,
    /// Its first search step, which may turn out to be a name as given.
    Tried,
}

impl Files {
    /// Two names may share a key: who reads it compares the names.
    fn key(client: u64, drawer: Drawer, name: u64) -> u64 {
        let odd = match drawer {
            Drawer::Base => 0x9e37_79b9_7f4a_7c15,
            Drawer::Tried => 0xc2b2_ae3d_27d4_eb4f,
        };
        (name ^ client.rotate_left(32)).wrapping_mul(odd)
    }

    fn at(&self, key: u64) -> &[u32] {
        self.filed.get(&key).map_or(&[], SmallVec::as_slice)
    }

    fn put(&mut self, key: u64, index: u32) {
        let filed = self.filed.entry(key).or_default();
        if filed.len() >= FILED_MAX {
            filed.remove(0);
        }
        filed.push(index);
    }

    fn remove(&mut self, key: u64, index: u32) {
        if let hashbrown::hash_map::Entry::Occupied(mut entry) = self.filed.entry(key) {
            entry.get_mut().retain(|known| *known != index);
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }
}

struct Open {
    key: ClientKey,
    // Order of starting.
    serial: u64,
    // Where it is filed.
    files: SmallVec<[u64; 3]>,
    deep: bool,
    base: Name,
    absolute_first: bool,
    /// Nothing but the name as given was asked so far, and no walk was expected.
    place: Place,
    port: u16,
    first: Interval,
    last: Interval,
    /// Last name tried.
    tried: Name,
    /// Types tried at this place, with their ends.
    here: SmallVec<[(Rtype, Class); 4]>,
    places: u32,
    answered_until: Nanos,
    resolved: Option<Place>,
    worst: Option<Class>,
    exists: bool,
    rtypes: SmallVec<[Rtype; 2]>,
    queries: u32,
    steps: Vec<Arc<Judged>>,
    deadline: i64,
}

/// The collapse.
pub struct Intents {
    clients: HashMap<ClientKey, Client, FixedState>,
    files: Files,
    // Clients and intents are numbered as they come.
    numbered: u64,
    slots: Vec<Option<Open>>,
    free: Vec<u32>,
    live: usize,
    deadlines: BTreeMap<i64, Vec<u32>>,
    learned: Vec<Name>,
    candidates: BTreeMap<Name, (BTreeSet<u64>, BTreeSet<u64>)>,
    fallback: Option<Arc<StubConfig>>,
    evictions: u64,
    open_max: usize,
}

impl Default for Intents {
    fn default() -> Self {
        Self::with_bound(OPEN_MAX)
    }
}

impl Intents {
    /// A collapse with at most `open_max` open intents.
    #[must_use]
    pub fn with_bound(open_max: usize) -> Self {
        Self {
            clients: HashMap::with_hasher(FixedState::with_seed(21)),
            files: Files::default(),
            numbered: 0,
            slots: Vec::new(),
            free: Vec::new(),
            live: 0,
            deadlines: BTreeMap::new(),
            learned: Vec::new(),
            candidates: BTreeMap::new(),
            fallback: None,
            evictions: 0,
            open_max: open_max.max(1),
        }
    }

    /// Intents closed early for want of room.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// How many intents are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.live
    }

    /// Takes one lookup; closed intents go to `out`.
    pub fn observe(&mut self, judged: &Arc<Judged>, knowledge: &dyn Knowledge, out: &mut Vec<Intent>) {
        let transaction = &judged.transaction;
        let (Some(ip), Some(asked)) = (transaction.client_ip(), transaction.asked.interval()) else { return };
        self.expire(asked.lo, out);
        let key = ClientKey { workload: judged.attribution.exact().cloned(), ip };
        let asker = self.asker(&key, asked, knowledge);
        let name = &transaction.question.name;
        let candidates = places(name, &asker.config, &self.learned);
        let prefixes: Prefixes = name.prefixes().collect();
        let index = match self.attach(&key, &asker, &prefixes, transaction, &candidates, asked) {
            Some(index) => index,
            None => self.start(&key, &asker, transaction, &candidates, asked),
        };
        self.step(&key, index, judged, asked);
        while self.live > self.open_max {
            let Some((&bucket, _)) = self.deadlines.first_key_value() else { break };
            self.evictions += 1;
            self.expire_bucket(bucket, Nanos(i64::MAX), out);
        }
    }

    /// Closes everything.
    pub fn finish(&mut self, out: &mut Vec<Intent>) {
        while let Some((&bucket, _)) = self.deadlines.first_key_value() {
            self.expire_bucket(bucket, Nanos(i64::MAX), out);
        }
    }

    fn asker(&mut self, key: &ClientKey, at: Interval, knowledge: &dyn Knowledge) -> Asker {
        if let Some(client) = self.clients.get(key) {
            return Asker { id: client.id, config: Arc::clone(&client.config), deep: client.deep > 0 };
        }
        let told = key.workload.as_ref().and_then(|workload| {
            knowledge.stub(workload, at).or_else(|| by_namespace(&workload.namespace, &domain(knowledge)))
        });
        let config = match told {
            Some(config) => Arc::new(config),
            None => {
                Arc::clone(self.fallback.get_or_insert_with(|| Arc::new(unknown_pod(&domain(knowledge)))))
            }
        };
        if self.clients.len() >= CLIENTS_MAX {
            self.clients.retain(|_, client| client.open > 0);
        }
        self.numbered += 1;
        let client = Client { id: self.numbered, config: Arc::clone(&config), open: 0, deep: 0 };
        self.clients.insert(key.clone(), client);
        Asker { id: self.numbered, config, deep: false }
    }

    /// Open intents of the client whose base is what stands in front of one of these cuts.
    fn with_base(&self, asker: &Asker, prefixes: &Prefixes, cut: impl Fn(usize) -> bool) -> Near {
        let keys = prefixes.iter().filter(|(len, _)| cut(*len));
        keys.flat_map(|(_, hash)| self.files.at(Files::key(asker.id, Drawer::Base, *hash))).copied().collect()
    }

    fn newest_first(&self, near: &mut Near) {
        let serial =
            |index: &u32| self.slots.get(*index as usize).and_then(Option::as_ref).map(|open| open.serial);
        near.sort_unstable_by_key(|index| std::cmp::Reverse(serial(index)));
    }

    /// The open intent that this lookup continues.
    fn attach(
        &mut self,
        key: &ClientKey,
        asker: &Asker,
        prefixes: &Prefixes,
        transaction: &Transaction,
        candidates: &[(usize, Place)],
        asked: Interval,
    ) -> Option<u32> {
        let near = self.with_base(asker, prefixes, |len| candidates.iter().any(|(prefix, _)| *prefix == len));
        let question = &transaction.question;
        let port = transaction.client.map_or(0, |client| client.port);
        let mut best: Option<((usize, bool, Nanos, u32), Place)> = None;
        for &index in &near {
            let Some(open) = self.slots.get(index as usize).and_then(Option::as_ref) else { continue };
            let place = candidates.iter().find(|(prefix, place)| {
                is_prefix(&open.base, &question.name, *prefix) && open.goes_on(*place, question.rtype, asked)
            });
            if let Some(&(_, place)) = place {
                let rank =
                    (open.base.wire().len(), open.place == place && open.port == port, open.last.lo, index);
                if best.as_ref().is_none_or(|(known, _)| rank > *known) {
                    best = Some((rank, place));
                }
            }
        }
        if let Some(((_, _, _, index), place)) = best {
            self.slots.get_mut(index as usize)?.as_mut()?.move_to(place);
            return Some(index);
        }
        self.rebased(asker, prefixes, transaction, candidates, asked)
            .or_else(|| self.beyond(key, asker, prefixes, transaction, asked))
    }

    /// A name with `ndots` dots that itself ends in a suffix was taken for a search step; its walk shows what it was.
    fn rebased(
        &mut self,
        asker: &Asker,
        prefixes: &Prefixes,
        transaction: &Transaction,
        candidates: &[(usize, Place)],
        asked: Interval,
    ) -> Option<u32> {
        let first = candidates.iter().find(|(_, place)| *place == Place::Search(0))?;
        let (_, hash) = prefixes.iter().find(|(len, _)| *len == first.0)?;
        let mut near = Near::from_slice(self.files.at(Files::key(asker.id, Drawer::Tried, *hash)));
        self.newest_first(&mut near);
        for index in near {
            let open = self.slots.get_mut(index as usize)?.as_mut()?;
            let fits = open.places == 1
                && !open.absolute_first
                && open.resolved.is_none()
                && is_prefix(&open.tried, &transaction.question.name, first.0)
                && dots(&open.tried) >= usize::from(asker.config.ndots)
                && asked.lo.since(open.last.hi) <= PATIENCE;
            if fits {
                open.base = open.tried.clone();
                let file = Files::key(asker.id, Drawer::Base, open.base.stable_hash());
                open.files.push(file);
                self.files.put(file, index);
                open.absolute_first = true;
                open.place = Place::Absolute;
                open.move_to(Place::Search(0));
                return Some(index);
            }
        }
        None
    }

    /// A suffix that no object names: the node's own. It is tried directly after the cluster's last one failed.
    fn beyond(
        &mut self,
        key: &ClientKey,
        asker: &Asker,
        prefixes: &Prefixes,
        transaction: &Transaction,
        asked: Interval,
    ) -> Option<u32> {
        if !asker.deep {
            return None;
        }
        let name = &transaction.question.name;
        let mut near = self.with_base(asker, prefixes, |_| true);
        self.newest_first(&mut near);
        for index in near {
            let open = self.slots.get_mut(index as usize)?.as_mut()?;
            let Place::Search(at) = open.place else { continue };
            let prefix = open.base.wire().len() - 1;
            let whole = name.wire().len() > prefix + 1 && is_prefix(&open.base, name, prefix);
            let failed = open.here.iter().all(|(_, class)| *class == Class::NxDomain);
            if !whole || !open.is_deep() || !failed || asked.lo.since(open.last.hi) > TYPICAL {
                continue;
            }
            let Some(suffix) = suffix_of(name, prefix) else { continue };
            let base = open.base.stable_hash();
            open.move_to(Place::Search(at.saturating_add(1)));
            self.learn(suffix, key, base);
            return Some(index);
        }
        None
    }

    fn learn(&mut self, suffix: Name, key: &ClientKey, base: u64) {
        if self.learned.len() >= 8 || self.learned.contains(&suffix) {
            return;
        }
        if self.candidates.len() >= LEARN_MAX && !self.candidates.contains_key(&suffix) {
            return;
        }
        let mut hasher = std::hash::DefaultHasher::new();
        key.hash(&mut hasher);
        let (clients, bases) = self.candidates.entry(suffix.clone()).or_default();
        if clients.len() < LEARN_CLIENTS {
            clients.insert(hasher.finish());
        }
        if bases.len() < LEARN_BASES {
            bases.insert(base);
        }
        if clients.len() >= LEARN_CLIENTS && bases.len() >= LEARN_BASES {
            self.candidates.remove(&suffix);
            self.learned.push(suffix);
        }
    }

    fn start(
        &mut self,
        key: &ClientKey,
        asker: &Asker,
        transaction: &Transaction,
        candidates: &[(usize, Place)],
        asked: Interval,
    ) -> u32 {
        let name = &transaction.question.name;
        let ndots = usize::from(asker.config.ndots);
        let searched = candidates.iter().find_map(|&(prefix, place)| {
            let base = (place == Place::Search(0)).then(|| base_of(name, prefix)).flatten()?;
            (dots(&base) < ndots).then_some((base, place))
        });
        let (base, place) = searched.unwrap_or_else(|| (name.clone(), Place::Absolute));
        let absolute_first = place == Place::Absolute && dots(&base) >= ndots;
        let mut files: SmallVec<[u64; 3]> =
            SmallVec::from_iter([Files::key(asker.id, Drawer::Base, base.stable_hash())]);
        if place != Place::Absolute && dots(name) >= ndots {
            files.push(Files::key(asker.id, Drawer::Tried, name.stable_hash()));
        }
        self.numbered += 1;
        let open = Open {
            key: key.clone(),
            serial: self.numbered,
            files,
            deep: false,
            base,
            absolute_first,
            place,
            port: transaction.client.map_or(0, |client| client.port),
            first: asked,
            last: asked,
            tried: name.clone(),
            here: SmallVec::new(),
            places: 1,
            answered_until: asked.lo,
            resolved: None,
            worst: None,
            exists: false,
            rtypes: SmallVec::new(),
            queries: 0,
            steps: Vec::new(),
            deadline: i64::MIN,
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        for &file in &open.files {
            self.files.put(file, index);
        }
        self.slots[index as usize] = Some(open);
        self.live += 1;
        if let Some(client) = self.clients.get_mut(key) {
            client.open += 1;
        }
        index
    }

    fn step(&mut self, key: &ClientKey, index: u32, judged: &Arc<Judged>, asked: Interval) {
        let Some(open) = self.slots.get_mut(index as usize).and_then(Option::as_mut) else { return };
        open.take(judged, asked);
        if open.is_deep() != open.deep
            && let Some(client) = self.clients.get_mut(key)
        {
            open.deep = !open.deep;
            client.deep = if open.deep { client.deep + 1 } else { client.deep.saturating_sub(1) };
        }
        let due = open.due();
        // One entry per intent: a later deadline is found when the earlier one comes up.
        if open.deadline == i64::MIN || due < open.deadline {
            open.deadline = due;
            self.deadlines.entry(due >> BUCKET_BITS).or_default().push(index);
        }
    }

    fn expire(&mut self, now: Nanos, out: &mut Vec<Intent>) {
        while let Some((&bucket, _)) = self.deadlines.first_key_value()
            && bucket < now.0 >> BUCKET_BITS
        {
            self.expire_bucket(bucket, now, out);
        }
    }

    fn expire_bucket(&mut self, bucket: i64, now: Nanos, out: &mut Vec<Intent>) {
        let mut due: Vec<u32> = self.deadlines.remove(&bucket).unwrap_or_default();
        let order =
            |open: &Open| (open.first, open.steps.first().map(|step| step.transaction.records.clone()));
        due.sort_by_cached_key(|&index| self.slots.get(index as usize).and_then(Option::as_ref).map(order));
        due.dedup();
        for index in due {
            let Some(open) = self.slots.get_mut(index as usize).and_then(Option::as_mut) else { continue };
            if open.deadline >> BUCKET_BITS != bucket {
                continue;
            }
            let later = open.due();
            if later >> BUCKET_BITS >= now.0 >> BUCKET_BITS {
                open.deadline = later;
                self.deadlines.entry(later >> BUCKET_BITS).or_default().push(index);
                continue;
            }
            self.close(index, out);
        }
    }

    fn close(&mut self, index: u32, out: &mut Vec<Intent>) {
        let Some(open) = self.slots.get_mut(index as usize).and_then(Option::take) else { return };
        self.live -= 1;
        self.free.push(index);
        for &file in &open.files {
            self.files.remove(file, index);
        }
        let mut walk = 0;
        if let Some(client) = self.clients.get_mut(&open.key) {
            client.open = client.open.saturating_sub(1);
            client.deep = client.deep.saturating_sub(u32::from(open.deep));
            walk = client.config.search.len();
        }
        if let Some(intent) = open.into_intent(walk) {
            out.push(intent);
        }
    }
}

impl Open {
    /// True if the walk may go on with `place` now.
    fn goes_on(&self, place: Place, rtype: Rtype, asked: Interval) -> bool {
        if asked.lo.since(self.last.hi.max(self.answered_until)) > PATIENCE {
            return false;
        }
        if place == self.place {
            let fresh = !self.here.iter().any(|(tried, _)| *tried == rtype);
            return fresh && (self.resolved.is_none() || asked.lo.since(self.answered_until) <= PAIR);
        }
        if self.resolved.is_some_and(|at| at != self.place)
            || self.here.iter().any(|(_, c)| *c == Class::Positive)
        {
            return false;
        }
        self.order(place) > self.order(self.place)
    }

    /// Past the cluster's own suffixes: only a node's suffix or the name as given can follow.
    fn is_deep(&self) -> bool {
        matches!(self.place, Place::Search(at) if at >= 2)
    }

    fn order(&self, place: Place) -> u16 {
        match (place, self.absolute_first) {
            (Place::Absolute, true) => 0,
            (Place::Absolute, false) => u16::MAX,
            (Place::Search(at), _) => u16::from(at) + 1,
        }
    }

    fn move_to(&mut self, place: Place) {
        if place != self.place {
            // The stub went on, so what looked like an answer was none for it.
            self.exists |= self.here.iter().any(|(_, class)| *class == Class::NoData);
            self.resolved = None;
            self.place = place;
            self.places += 1;
            self.here.clear();
        }
    }

    fn take(&mut self, judged: &Arc<Judged>, asked: Interval) {
        let transaction = &judged.transaction;
        let class = class_of(transaction);
        let rtype = transaction.question.rtype;
        self.here.push((rtype, class));
        self.port = transaction.client.map_or(0, |client| client.port);
        self.tried = transaction.question.name.clone();
        self.last = Interval { lo: self.last.lo.max(asked.lo), hi: self.last.hi.max(asked.hi) };
        let answered = transaction.answered.interval().map_or(asked.hi, |at| at.hi);
        self.answered_until = self.answered_until.max(answered);
        if matches!(class, Class::Positive | Class::Unseen) {
            self.resolved = Some(self.place);
        }
        self.worst = self.worst.max((class >= Class::Failure).then_some(class));
        self.exists |= class == Class::NoData;
        if let Err(at) = self.rtypes.binary_search(&rtype)
            && self.rtypes.len() < 8
        {
            self.rtypes.insert(at, rtype);
        }
        self.queries = self.queries.saturating_add(1 + u32::from(transaction.retransmissions));
        if self.steps.len() < STEPS_MAX {
            self.steps.push(Arc::clone(judged));
        }
    }

    /// When nothing more can belong to it.
    fn due(&self) -> i64 {
        let certain = self.here.iter().any(|(_, class)| *class == Class::Positive);
        let wait = if certain { PAIR } else { PATIENCE };
        self.last.hi.max(self.answered_until).0.saturating_add(wait)
    }

    fn outcome(&self, walk: usize) -> IntentOutcome {
        match self.resolved {
            Some(Place::Absolute) => return IntentOutcome::ResolvedAbsolute,
            Some(Place::Search(at)) if looks_public(&self.base) => return IntentOutcome::Captured(at),
            Some(Place::Search(at)) => return IntentOutcome::ResolvedSearch(at),
            None => {}
        }
        match self.worst {
            Some(Class::Silence) => return IntentOutcome::Timeout,
            Some(_) => return IntentOutcome::ServFail,
            None => {}
        }
        if self.exists {
            return IntentOutcome::NoData;
        }
        let walked = match self.place {
            Place::Absolute => true,
            Place::Search(at) => self.absolute_first && usize::from(at) + 1 >= walk,
        };
        if walked { IntentOutcome::NxDomain } else { IntentOutcome::Abandoned }
    }

    fn into_intent(self, walk: usize) -> Option<Intent> {
        let outcome = self.outcome(walk);
        let attribution = self.steps.first()?.attribution.clone();
        Some(Intent {
            client: self.key.ip,
            attribution,
            base: self.base,
            last: self.tried,
            from: self.first,
            to: self.last,
            rtypes: self.rtypes,
            outcome,
            queries: self.queries,
            steps: self.steps,
        })
    }
}

fn class_of(transaction: &Transaction) -> Class {
    let Some(response) = &transaction.response else { return Class::Silence };
    match response.rcode {
        None => Class::Silence,
        Some(Rcode::NXDOMAIN) => Class::NxDomain,
        Some(Rcode::NOERROR) if !response.body.sections_seen => Class::Unseen,
        Some(Rcode::NOERROR) => {
            // An alias without the type behind it is NODATA to a stub.
            let wanted = transaction.question.rtype;
            let has =
                response.body.answers.iter().any(|record| record.rtype == wanted || wanted == Rtype::ANY);
            if has { Class::Positive } else { Class::NoData }
        }
        Some(_) => Class::Failure,
    }
}

/// True if the base is a name of the public tree: at least two labels below a listed suffix.
#[must_use]
pub fn looks_public(base: &Name) -> bool {
    let text = base.to_string();
    let text = text.trim_end_matches('.');
    base.label_count() >= 2 && psl::suffix(text.as_bytes()).is_some_and(|suffix| suffix.is_known())
}

fn domain(knowledge: &dyn Knowledge) -> Option<Name> {
    knowledge.cluster_domain().or_else(|| Name::parse("cluster.local").ok())
}

/// kubelet's list for a pod of `namespace` with ClusterFirst.
#[must_use]
pub fn by_namespace(namespace: &str, domain: &Option<Name>) -> Option<StubConfig> {
    let domain = domain.as_ref()?;
    if namespace.is_empty() {
        return None;
    }
    let svc = Name::parse("svc").ok()?.joined(domain).ok()?;
    let own = Name::parse(namespace).ok()?.joined(&svc).ok()?;
    Some(StubConfig { search: vec![own, svc, domain.clone()], ndots: NDOTS })
}

/// A client whose namespace is not known: the list without its first entry stands for any namespace (see [`places`]).
fn unknown_pod(domain: &Option<Name>) -> StubConfig {
    let svc = domain.as_ref().and_then(|domain| Name::parse("svc").ok()?.joined(domain).ok());
    let search = match (svc, domain) {
        (Some(svc), Some(domain)) => vec![Name::root(), svc, domain.clone()],
        _ => Vec::new(),
    };
    StubConfig { search, ndots: NDOTS }
}

/// Every way to read the name: (octets in front of the suffix, place). The root as first entry stands for the
/// namespace that the name itself shows.
fn places(name: &Name, config: &StubConfig, learned: &[Name]) -> SmallVec<[(usize, Place); 6]> {
    let mut out = SmallVec::new();
    for (at, suffix) in config.search.iter().chain(learned).enumerate() {
        let Ok(at) = u8::try_from(at) else { break };
        let prefix = if suffix.is_root() {
            config.search.get(1).and_then(|svc| before_namespace(name, svc))
        } else {
            prefix_len(name, suffix)
        };
        if let Some(prefix) = prefix.filter(|prefix| *prefix > 0) {
            out.push((prefix, Place::Search(at)));
        }
    }
    out.push((name.wire().len() - 1, Place::Absolute));
    out
}

/// Octets in front of `zone`, by whole labels.
fn prefix_len(name: &Name, zone: &Name) -> Option<usize> {
    let (wire, zone) = (name.wire(), zone.wire());
    if !wire.ends_with(zone) {
        return None;
    }
    let (mut at, target) = (0usize, wire.len() - zone.len());
    while at < target {
        at += usize::from(wire[at]) + 1;
    }
    (at == target).then_some(at)
}

/// Octets in front of `NAMESPACE.svc.DOMAIN`, whatever the namespace.
fn before_namespace(name: &Name, svc: &Name) -> Option<usize> {
    let end = prefix_len(name, svc)?;
    let (wire, mut at) = (name.wire(), 0usize);
    loop {
        let next = at + usize::from(*wire.get(at)?) + 1;
        if next >= end {
            return (next == end).then_some(at);
        }
        at = next;
    }
}

/// True if the first `prefix` octets of `name` are `base`.
fn is_prefix(base: &Name, name: &Name, prefix: usize) -> bool {
    let wire = base.wire();
    wire.len() == prefix + 1 && name.wire().len() > prefix && wire[..prefix] == name.wire()[..prefix]
}

fn base_of(name: &Name, prefix: usize) -> Option<Name> {
    let mut wire: SmallVec<[u8; 255]> = SmallVec::from_slice(name.wire().get(..prefix)?);
    wire.push(0);
    Name::from_wire(&wire).ok()
}

fn suffix_of(name: &Name, prefix: usize) -> Option<Name> {
    Name::from_wire(name.wire().get(prefix..)?).ok()
}

fn dots(name: &Name) -> usize {
    name.label_count().saturating_sub(1)
}

#[cfg(test)]
#[path = "intent_tests.rs"]
mod tests;
