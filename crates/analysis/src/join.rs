//! Observations of one lookup from many vantages become one transaction; the stream needs memory for seconds, not hours.
//!
//! Enters: observations in order of time on the reference clock; leaves: lookups in order of (asked, first record) and
//! closed upstream exchanges. What vantages disagree about is kept as `dissent`. Deliberately absent: owners, verdicts.
//!
//! A lookup is keyed by (cluster, client address, port, id) and its question. It stays open for [`HOLD`] after it was
//! asked, so that a stub's second try, a slow upstream and a late log line still find it. When more than the bound are
//! open, the oldest leave early and are counted.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry as Link;
use smallvec::SmallVec;
use truename_model::time::{MILLI, SECOND};
use truename_model::{
    Body, ClockBasis, DnsEvent, Endpoint, Hints, Interval, Name, Nanos, Observation, ObservedAt, OriginId,
    Question, Rdata, RecordRef, Response, Rtype, Transaction, Transport, Vantage,
};

use crate::compare::agree;
use crate::exchange::{Closed, Exchanges};
use crate::knowledge::{ALWAYS, Knowledge};
use crate::replica::{Leg, ReplicaId, Replicas};

/// How long a lookup stays open after it was asked: two tries of a stub (5 s each) and a little.
pub const HOLD: i64 = 12 * SECOND;
/// The same query from the same vantage again after this long is a second try, before it a copy of the packet.
const AGAIN: i64 = 200 * MILLI;
/// Width of a bucket of the closing queue, as a power of two nanoseconds (67 ms).
const BUCKET_BITS: u32 = 26;
/// Bound on open lookups.
const OPEN_MAX: usize = 1 << 17;
/// Bound on distinct responses kept per lookup.
const RESPONSES_MAX: usize = 6;
/// Open lookups of one client address, port and id that are told apart by their question. A stub has one or two; who
/// sends more must not make every lookup walk over all of them.
const CROWD_MAX: usize = 64;
const NONE: u32 = u32::MAX;
/// Stands for whoever asks where nothing tells the leg.
const UNPLACED: ReplicaId = ReplicaId(u32::MAX);

/// A lookup as it leaves the join.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The lookup.
    pub transaction: Arc<Transaction>,
    /// The instance that answered, if known.
    pub replica: Option<ReplicaId>,
}

/// What leaves the join, in order.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Closed lookups by (asked, first record).
    pub lookups: Vec<Joined>,
    /// Closed exchanges by start.
    pub exchanges: Vec<Closed>,
}

/// What the join had to give up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JoinStats {
    /// Lookups that left early for want of room.
    pub evictions: u64,
    /// Exchanges that left early for want of room.
    pub exchange_evictions: u64,
    /// Server-side inner lookups merged into the lookup that caused them.
    pub inner: u64,
    /// Messages of vantages that belong to no lookup of a client (resolver, tool).
    pub unjoined: u64,
    /// Replies of upstreams to sockets without a known query.
    pub stray_replies: u64,
    /// Messages that were not looked for in other vantages: too many open lookups share their address, port and id.
    pub crowded: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Conversation {
    ip: u128,
    cluster: u32,
    port: u16,
    id: u16,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    item: u32,
    vantage: Vantage,
    count: u16,
    last: i64,
}

struct Entry {
    conversation: Conversation,
    next: u32,
    bucket: i64,
    // Lower rank is the better clock.
    asked: (u8, Interval),
    answered: Option<(u8, Interval)>,
    server: (u8, OriginId),
    replica: Option<ReplicaId>,
    on_wire: bool,
    seen: SmallVec<[Seen; 4]>,
    responses: SmallVec<[Response; 2]>,
    hints_rank: u8,
    // Made once where it stays; shared only after the lookup has closed.
    tx: Arc<Transaction>,
}

/// The join.
pub struct Joiner<'a> {
    knowledge: &'a dyn Knowledge,
    // Boxed: an entry is several hundred octets, and moves when it closes.
    entries: Vec<Option<Box<Entry>>>,
    free: Vec<u32>,
    live: usize,
    heads: HashMap<Conversation, u32, FixedState>,
    closing: BTreeMap<i64, Vec<u32>>,
    spare: Vec<Vec<u32>>,
    now: Nanos,
    exchanges: Exchanges,
    // Conversations of which nothing tells the leg: they are lookups, and searched for races as well.
    unplaced: Exchanges,
    // The last lookup without time of each item: an inner lookup stands directly before its outer one.
    timeless: BTreeMap<u32, Joined>,
    stats: JoinStats,
    open_max: usize,
}

/// An exchange of an unplaced conversation, if it shows a race.
fn race(mut closed: Closed) -> Option<Closed> {
    let shown = &closed.exchange;
    let raced = shown.mismatched_count > 0 || shown.second.is_some() || shown.wrong_question;
    Arc::make_mut(&mut closed.exchange).unplaced = true;
    raced.then_some(closed)
}

impl<'a> Joiner<'a> {
    /// A join that asks `knowledge` which names are aliases.
    #[must_use]
    pub fn new(knowledge: &'a dyn Knowledge) -> Self {
        Self::with_bound(knowledge, OPEN_MAX)
    }

    /// A join that holds at most about `open_max` lookups.
    #[must_use]
    pub fn with_bound(knowledge: &'a dyn Knowledge, open_max: usize) -> Self {
        Self {
            knowledge,
            entries: Vec::new(),
            free: Vec::new(),
            live: 0,
            heads: HashMap::with_hasher(FixedState::with_seed(1)),
            closing: BTreeMap::new(),
            spare: Vec::new(),
            now: Nanos(i64::MIN),
            exchanges: Exchanges::default(),
            unplaced: Exchanges::default(),
            timeless: BTreeMap::new(),
            stats: JoinStats::default(),
            open_max,
        }
    }

    /// What was given up so far.
    #[must_use]
    pub fn stats(&self) -> JoinStats {
        let exchange_evictions = self.exchanges.evictions() + self.unplaced.evictions();
        let stray_replies = self.exchanges.strays();
        JoinStats { exchange_evictions, stray_replies, ..self.stats }
    }

    /// How many lookups are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.live
    }

    /// Everything asked before this has left, but for latecomers.
    #[must_use]
    pub fn watermark(&self) -> Nanos {
        Nanos(((self.now.plus(-HOLD).0) >> BUCKET_BITS) << BUCKET_BITS)
    }

    /// The time of the stream has reached `now`: closes what is old enough.
    pub fn advance(&mut self, now: Nanos, out: &mut Output) {
        if now <= self.now && self.live <= self.open_max {
            return;
        }
        self.now = self.now.max(now);
        self.exchanges.advance(self.now, &mut out.exchanges);
        let mut closed = Vec::new();
        self.unplaced.advance(self.now, &mut closed);
        out.exchanges.extend(closed.into_iter().filter_map(race));
        let due = bucket_of(self.now.plus(-HOLD));
        while let Some((&bucket, _)) = self.closing.first_key_value()
            && (bucket < due || self.live > self.open_max)
        {
            self.close_bucket(bucket, bucket >= due, out);
        }
    }

    /// Takes one DNS message or log line; `observation.at` is on the reference clock.
    pub fn observe(
        &mut self,
        observation: &Observation,
        dns: &DnsEvent,
        replicas: &mut Replicas<'_>,
        out: &mut Output,
    ) {
        let Some(at) = observation.at.interval() else {
            self.timeless(observation, dns, replicas, out);
            return;
        };
        self.advance(at.lo, out);
        match dns.vantage {
            Vantage::ForwarderQuery | Vantage::ForwarderResponse => {
                let replica = replicas.of_tap(observation.origin, dns);
                let local = replicas
                    .taps_own_socket(replica)
                    .unwrap_or_else(|| !self.is_client(observation, dns, replicas));
                if let (true, Some(client)) = (local, dns.client) {
                    replicas.learn_alias(replica, client.ip);
                }
                self.exchanges.tap((replica, local), (observation.origin, observation.record), dns, at);
            }
            Vantage::PacketQuery | Vantage::PacketResponse => {
                match replicas.leg(observation.origin, dns, at) {
                    Leg::Upstream(replica) => {
                        self.exchanges.packet(replica, (observation.origin, observation.record), dns, at);
                    }
                    Leg::Client => self.lookup(observation, dns, at, replicas),
                    Leg::Unplaced => {
                        self.unplaced.packet(UNPLACED, (observation.origin, observation.record), dns, at);
                        self.lookup(observation, dns, at, replicas);
                    }
                }
            }
            Vantage::LogLine | Vantage::ClientQuery | Vantage::ClientResponse => {
                self.lookup(observation, dns, at, replicas);
            }
            Vantage::OtherQuery | Vantage::OtherResponse => self.stats.unjoined += 1,
        }
    }

    /// True if a forwarder tap of unknown version names a client that has this lookup open.
    fn is_client(&self, observation: &Observation, dns: &DnsEvent, replicas: &Replicas<'_>) -> bool {
        conversation(replicas.cluster(observation.origin), dns.client, dns.id)
            .is_some_and(|key| self.heads.contains_key(&key))
    }

    fn lookup(
        &mut self,
        observation: &Observation,
        dns: &DnsEvent,
        at: Interval,
        replicas: &mut Replicas<'_>,
    ) {
        let replica = match dns.vantage {
            Vantage::PacketQuery | Vantage::PacketResponse => {
                dns.server.and_then(|server| replicas.of_address(observation.origin, server.ip, at))
            }
            _ => replicas.of_server(observation.origin, dns),
        };
        let key = conversation(replicas.cluster(observation.origin), dns.client, dns.id);
        let index = match key.map_or(Found::None, |key| self.find(key, dns, observation)) {
            Found::Open(index) => index,
            Found::None => self.open_entry(key.unwrap_or(NOBODY), observation, dns, at),
            Found::Crowd => {
                self.stats.crowded += 1;
                self.open_entry(NOBODY, observation, dns, at)
            }
        };
        let Some(entry) = self.entries.get_mut(index as usize).and_then(Option::as_deref_mut) else { return };
        entry.add(observation, dns, at, replica);
        let bucket = bucket_of(entry.asked.1.lo);
        if bucket < entry.bucket {
            entry.bucket = bucket;
            self.queue(bucket, index);
        }
    }

    /// The open lookup of this conversation and question.
    fn find(&self, key: Conversation, dns: &DnsEvent, observation: &Observation) -> Found {
        let Some(&(mut index)) = self.heads.get(&key) else { return Found::None };
        let mut others = 0;
        while let Some(entry) = self.entries.get(index as usize).and_then(Option::as_deref) {
            let same = dns.body.question.as_ref().is_none_or(|question| entry.tx.question == *question);
            if same && !entry.is_over(observation, dns) {
                return Found::Open(index);
            }
            index = entry.next;
            others += 1;
        }
        if others < CROWD_MAX { Found::None } else { Found::Crowd }
    }

    fn open_entry(
        &mut self,
        key: Conversation,
        observation: &Observation,
        dns: &DnsEvent,
        at: Interval,
    ) -> u32 {
        let asked = asked_by(dns, at);
        let bucket = bucket_of(asked.1.lo);
        let index = self.free.pop().unwrap_or(self.entries.len() as u32);
        let next = if key == NOBODY { None } else { self.heads.insert(key, index) };
        let entry = Some(Box::new(Entry {
            conversation: key,
            next: next.unwrap_or(NONE),
            bucket,
            asked,
            answered: None,
            server: (u8::MAX, observation.origin),
            replica: None,
            on_wire: false,
            seen: SmallVec::new(),
            responses: SmallVec::new(),
            hints_rank: u8::MAX,
            tx: Arc::new(new_transaction(observation, dns)),
        }));
        match self.entries.get_mut(index as usize) {
            Some(slot) => *slot = entry,
            None => self.entries.push(entry),
        }
        self.live += 1;
        self.queue(bucket, index);
        index
    }

    fn queue(&mut self, bucket: i64, index: u32) {
        // A latecomer goes out with the next bucket to close.
        let due = if self.now.0 == i64::MIN { bucket } else { bucket.max(bucket_of(self.now.plus(-HOLD))) };
        if due != bucket
            && let Some(entry) = self.entries[index as usize].as_mut()
        {
            entry.bucket = due;
        }
        let spare = &mut self.spare;
        self.closing.entry(due).or_insert_with(|| spare.pop().unwrap_or_default()).push(index);
    }

    fn close_bucket(&mut self, bucket: i64, early: bool, out: &mut Output) {
        let mut indices = self.closing.remove(&bucket).unwrap_or_default();
        indices.retain(|&index| {
            let Some(entry) = self.entries[index as usize].as_mut() else { return false };
            let due = bucket_of(entry.asked.1.lo);
            if entry.bucket == bucket && due > bucket && !early {
                // A better clock moved it; it keeps its place in the order of asking.
                entry.bucket = due;
                let spare = &mut self.spare;
                self.closing.entry(due).or_insert_with(|| spare.pop().unwrap_or_default()).push(index);
                return false;
            }
            entry.bucket == bucket
        });
        let order = |entry: &Entry| (entry.asked.1.lo, entry.tx.records.iter().min().copied());
        indices.sort_by_cached_key(|&index| self.entries[index as usize].as_deref().map(order));
        indices.dedup();
        for &index in &indices {
            if self.entries[index as usize].is_some() {
                self.stats.evictions += u64::from(early);
                self.close(index, out);
            }
        }
        indices.clear();
        if self.spare.len() < 64 {
            self.spare.push(indices);
        }
    }

    fn close(&mut self, index: u32, out: &mut Output) {
        let Some((mut entry, mut others)) = self.take(index) else { return };
        let mut questions: SmallVec<[Question; 2]> = SmallVec::new();
        // By the log's clock, which reads the outer line last, an inner lookup may seem to begin first.
        while let Some(outer) = self.first_of(others, &|other| is_inner(other, &entry, self.knowledge)) {
            let Some((mut outer, rest)) = self.take(outer) else { break };
            others = rest;
            self.stats.inner += 1;
            questions.push(entry.tx.question.clone());
            outer.absorb(&entry);
            outer.asked.1.lo = outer.asked.1.lo.min(entry.asked.1.lo);
            entry = outer;
        }
        while let Some(inner) = self.first_of(others, &|other| is_inner(&entry, other, self.knowledge)) {
            let Some((inner, rest)) = self.take(inner) else { break };
            others = rest;
            self.stats.inner += 1;
            questions.push(inner.tx.question.clone());
            entry.absorb(&inner);
        }
        out.lookups.push(self.finished(entry, questions));
    }

    fn finished(&mut self, mut entry: Box<Entry>, mut questions: SmallVec<[Question; 2]>) -> Joined {
        let (window, replica) = (entry.window(), entry.replica);
        let transaction = entry.conclude();
        if let Some(replica) = replica
            && !self.exchanges.is_empty()
        {
            questions.push(transaction.question.clone());
            let asking = (transaction.client, transaction.id);
            transaction.upstream = self.exchanges.of_lookup(replica, asking, &questions, window);
        }
        Joined { transaction: entry.tx, replica }
    }

    /// Removes an entry and its link, and names the first that remains of its conversation.
    fn take(&mut self, index: u32) -> Option<(Box<Entry>, u32)> {
        let entry = self.entries.get_mut(index as usize)?.take()?;
        self.live -= 1;
        self.free.push(index);
        let Link::Occupied(mut link) = self.heads.entry(entry.conversation) else {
            return Some((entry, NONE));
        };
        let head = *link.get();
        if head == index {
            let next = entry.next;
            if next == NONE {
                link.remove();
            } else {
                *link.get_mut() = next;
            }
            return Some((entry, next));
        }
        let mut at = head;
        while let Some(other) = self.entries.get_mut(at as usize).and_then(Option::as_deref_mut) {
            if other.next == index {
                other.next = entry.next;
                break;
            }
            at = other.next;
        }
        Some((entry, head))
    }

    /// The first entry of a conversation that is as wanted.
    fn first_of(&self, first: u32, wanted: &dyn Fn(&Entry) -> bool) -> Option<u32> {
        let mut index = first;
        while let Some(entry) = self.entries.get(index as usize).and_then(Option::as_deref) {
            if wanted(entry) {
                return Some(index);
            }
            index = entry.next;
        }
        None
    }

    /// A lookup without time: every log line is one of its own.
    fn timeless(
        &mut self,
        observation: &Observation,
        dns: &DnsEvent,
        replicas: &mut Replicas<'_>,
        out: &mut Output,
    ) {
        if !matches!(
            dns.vantage,
            Vantage::LogLine
                | Vantage::ClientQuery
                | Vantage::ClientResponse
                | Vantage::PacketQuery
                | Vantage::PacketResponse
        ) {
            self.stats.unjoined += 1;
            return;
        }
        let mut transaction = new_transaction(observation, dns);
        transaction.records.push(observation.record);
        transaction.vantages.push(dns.vantage);
        transaction.hints.clone_from(&dns.hints);
        transaction.duration_ns = dns.duration_ns;
        transaction.response_size = dns.response_size;
        if dns.vantage.is_response() {
            transaction.response = Some(response_of(observation, dns));
        } else {
            transaction.query_flags = Some(dns.flags);
            transaction.odd_query = odd_query(dns);
        }
        let replica = replicas.of_server(observation.origin, dns);
        let mut next = Joined { transaction: Arc::new(transaction), replica };
        if let Some(before) = self.timeless.remove(&observation.record.item) {
            if follows_inner(&before.transaction, &next.transaction, self.knowledge) {
                self.stats.inner += 1;
                let records = &mut Arc::make_mut(&mut next.transaction).records;
                records.extend_from_slice(&before.transaction.records);
                records.sort_unstable();
                self.timeless.insert(observation.record.item, next);
                return;
            }
            out.lookups.push(before);
        }
        self.timeless.insert(observation.record.item, next);
    }

    /// Closes everything, in order.
    pub fn finish(&mut self, out: &mut Output) {
        self.exchanges.finish(&mut out.exchanges);
        let mut closed = Vec::new();
        self.unplaced.finish(&mut closed);
        out.exchanges.extend(closed.into_iter().filter_map(race));
        while let Some((&bucket, _)) = self.closing.first_key_value() {
            self.close_bucket(bucket, false, out);
        }
        out.lookups.extend(std::mem::take(&mut self.timeless).into_values());
    }
}

enum Found {
    Open(u32),
    None,
    Crowd,
}

const NOBODY: Conversation = Conversation { ip: 0, cluster: u32::MAX, port: 0, id: 0 };

fn conversation(cluster: u32, client: Option<Endpoint>, id: u16) -> Option<Conversation> {
    let client = client?;
    let ip = match client.ip {
        IpAddr::V4(v4) => Ipv6Addr::to_bits(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    Some(Conversation { ip, cluster, port: client.port, id })
}

fn bucket_of(at: Nanos) -> i64 {
    at.0 >> BUCKET_BITS
}

/// When the query was asked as this vantage tells it, with the rank of its clock.
fn asked_by(dns: &DnsEvent, at: Interval) -> (u8, Interval) {
    let before = |ns: i64| at.shifted(-ns.max(0));
    // A time that the record tells of another moment is by the same clock: as uncertain as the record's own.
    let told = |time: Nanos| Interval { lo: time.min(at.hi), hi: time.plus(at.hi.since(at.lo)).min(at.hi) };
    match (dns.vantage, dns.query_time, dns.duration_ns) {
        (Vantage::PacketQuery, _, _) => (0, at),
        (Vantage::ClientQuery, _, _) => (1, at),
        (Vantage::ClientResponse, Some(time), _) => (2, told(time)),
        (Vantage::ClientResponse, None, Some(duration)) => (3, before(duration)),
        (_, Some(time), _) => (4, told(time)),
        (Vantage::LogLine, None, Some(duration)) => (5, before(duration)),
        (Vantage::LogLine, None, None) => (6, at),
        _ => (7, at),
    }
}

fn server_rank(vantage: Vantage) -> u8 {
    match vantage {
        Vantage::ClientResponse => 0,
        Vantage::ClientQuery => 1,
        Vantage::LogLine => 2,
        _ => 3,
    }
}

/// Richest first: sections before none, the server's own view before the wire's.
fn response_rank(response: &Response) -> (bool, u8, Option<Nanos>, RecordRef) {
    let vantage = match response.vantage {
        Vantage::ClientResponse => 0,
        Vantage::PacketResponse => 1,
        _ => 2,
    };
    (!response.body.sections_seen, vantage, response.at.interval().map(|i| i.lo), response.record)
}

fn response_of(observation: &Observation, dns: &DnsEvent) -> Response {
    Response {
        record: observation.record,
        vantage: dns.vantage,
        at: observation.at,
        flags: dns.flags,
        rcode: dns.rcode,
        body: Arc::clone(&dns.body),
        server: dns.server,
        packet: dns.packet,
    }
}

fn new_transaction(observation: &Observation, dns: &DnsEvent) -> Transaction {
    let unreadable = || Question { name: Name::root(), rtype: Rtype(0), class: truename_model::Class(0) };
    Transaction {
        client: dns.client,
        id: dns.id,
        transport: dns.transport,
        question: dns.body.question.clone().unwrap_or_else(unreadable),
        query_flags: None,
        bufsize: None,
        odd_query: None,
        asked: observation.at,
        answered: ObservedAt::None,
        origin: observation.origin,
        records: SmallVec::new(),
        vantages: SmallVec::new(),
        response: None,
        dissent: None,
        upstream: Vec::new(),
        retransmissions: 0,
        duration_ns: None,
        response_size: None,
        hints: None,
    }
}

/// The query, where it says more than its question.
fn odd_query(dns: &DnsEvent) -> Option<Arc<Body>> {
    let options = dns.body.edns.as_ref().is_some_and(|edns| !edns.options.is_empty());
    (options || dns.body.qname_case.is_some()).then(|| Arc::clone(&dns.body))
}

fn clock_of(rank: u8) -> ClockBasis {
    match rank {
        0 | 7 => ClockBasis::Packet,
        1..=3 => ClockBasis::Dnstap,
        _ => ClockBasis::LogLine,
    }
}

impl Entry {
    /// On a connection the same id may serve again once it was answered; over UDP it is a second try.
    fn is_over(&self, observation: &Observation, dns: &DnsEvent) -> bool {
        if !matches!(dns.transport, Transport::Tcp | Transport::Dot | Transport::Doh | Transport::Doq) {
            return false;
        }
        let already = |seen: &&Seen| seen.item == observation.record.item && seen.vantage == dns.vantage;
        !self.responses.is_empty() && self.seen.iter().any(|seen| already(&seen))
    }

    fn add(&mut self, observation: &Observation, dns: &DnsEvent, at: Interval, replica: Option<ReplicaId>) {
        self.asked = self.asked.min(asked_by(dns, at));
        let rank = server_rank(dns.vantage);
        if (rank, observation.origin) < self.server {
            self.server = (rank, observation.origin);
            self.replica = replica.or(self.replica);
        } else {
            self.replica = self.replica.or(replica);
        }
        self.on_wire |= matches!(dns.vantage, Vantage::PacketQuery);
        self.note(observation.record.item, dns.vantage, asked_by(dns, at).1.lo);
        let tx = Arc::make_mut(&mut self.tx);
        if tx.records.len() < 32 {
            tx.records.push(observation.record);
        }
        if dns.vantage == Vantage::LogLine {
            tx.duration_ns = dns.duration_ns.or(tx.duration_ns);
            tx.response_size = dns.response_size.or(tx.response_size);
        }
        tx.bufsize = tx.bufsize.or(dns.bufsize).or_else(|| {
            (!dns.vantage.is_response()).then(|| dns.body.edns.as_ref().map_or(512, |edns| edns.udp_size))
        });
        if let Some(hints) = &dns.hints {
            let rank = hint_rank(dns.vantage, hints);
            if rank < self.hints_rank {
                self.hints_rank = rank;
                tx.hints = Some(Arc::clone(hints));
            }
        }
        if dns.vantage.is_response() {
            tx.response_size = tx.response_size.or((dns.vantage != Vantage::LogLine).then_some(dns.size));
            tx.duration_ns = tx.duration_ns.or(dns.duration_ns);
            self.respond(response_of(observation, dns), at);
        } else {
            tx.query_flags = tx.query_flags.or(Some(dns.flags));
            tx.odd_query = tx.odd_query.take().or_else(|| odd_query(dns));
        }
    }

    fn note(&mut self, item: u32, vantage: Vantage, at: Nanos) {
        match self.seen.iter_mut().find(|seen| seen.item == item && seen.vantage == vantage) {
            Some(seen) => {
                if at.0.saturating_sub(seen.last) >= AGAIN {
                    seen.count = seen.count.saturating_add(1);
                }
                seen.last = seen.last.max(at.0);
            }
            None => {
                if self.seen.len() < 16 {
                    self.seen.push(Seen { item, vantage, count: 1, last: at.0 });
                }
            }
        }
    }

    fn respond(&mut self, response: Response, at: Interval) {
        let rank = match response.vantage {
            Vantage::PacketResponse => 0,
            Vantage::ClientResponse => 1,
            _ => 5,
        };
        if response.rcode.is_some() {
            self.answered = Some(self.answered.map_or((rank, at), |known| known.min((rank, at))));
        }
        let known = |old: &Response| {
            old.vantage == response.vantage
                && old.body.sections_seen == response.body.sections_seen
                && old.rcode == response.rcode
                && agree(old, &response)
        };
        if !self.responses.iter().any(known) && self.responses.len() < RESPONSES_MAX {
            self.responses.push(response);
        }
    }

    fn retransmissions(&self) -> u16 {
        self.seen.iter().map(|seen| seen.count.saturating_sub(1)).max().unwrap_or(0)
    }

    /// From asking to answering, or to the end of patience.
    fn window(&self) -> Interval {
        let hi = self.answered.map_or(self.asked.1.hi.plus(HOLD), |(_, at)| at.hi);
        Interval { lo: self.asked.1.lo, hi: hi.max(self.asked.1.hi) }
    }

    /// Takes over the records of an inner lookup; its answer is part of the outer one.
    fn absorb(&mut self, inner: &Entry) {
        let tx = Arc::make_mut(&mut self.tx);
        let room = 32usize.saturating_sub(tx.records.len());
        tx.records.extend(inner.tx.records.iter().take(room).copied());
        if self.hints_rank > inner.hints_rank {
            tx.hints.clone_from(&inner.tx.hints);
        }
    }

    /// Fills the lookup in with what all vantages said.
    fn conclude(&mut self) -> &mut Transaction {
        let retransmissions = self.retransmissions();
        self.responses.sort_by_key(response_rank);
        let dissent = self.dissent(retransmissions).cloned().map(Box::new);
        let tx = Arc::make_mut(&mut self.tx);
        tx.retransmissions = retransmissions;
        tx.asked = ObservedAt::Known(self.asked.1, clock_of(self.asked.0));
        if let Some((rank, at)) = self.answered {
            tx.answered = ObservedAt::Known(at, clock_of(rank));
        }
        tx.origin = self.server.1;
        tx.records.sort_unstable();
        tx.records.dedup();
        tx.vantages = self.seen.iter().map(|seen| seen.vantage).collect();
        tx.vantages.sort_unstable();
        tx.vantages.dedup();
        tx.dissent = dissent;
        tx.response = self.responses.drain(..).next();
        tx
    }

    /// A response that claims something else than the chosen one, and that no second try explains.
    fn dissent(&self, retransmissions: u16) -> Option<&Response> {
        let best = self.responses.first()?;
        let others = self.responses.iter().skip(1);
        let mut contrary = others.filter(|other| !agree(best, other));
        if retransmissions == 0 {
            return contrary.next();
        }
        // With a second try the server may have answered twice: only what none of its answers says is dissent.
        let by_server = |r: &&Response| r.vantage == Vantage::ClientResponse;
        if !self.responses.iter().any(|r| by_server(&r)) {
            return None;
        }
        let servers: SmallVec<[&Response; 4]> = self.responses.iter().filter(by_server).collect();
        contrary.find(|other| {
            other.vantage == Vantage::PacketResponse && !servers.iter().any(|answer| agree(answer, other))
        })
    }
}

/// A log line that names the upstream says most; a tap that names the instance comes next.
fn hint_rank(vantage: Vantage, hints: &Hints) -> u8 {
    match vantage {
        Vantage::LogLine if hints.upstream.is_some() || hints.client_pod.is_some() => 0,
        Vantage::ClientResponse => 1,
        Vantage::ClientQuery => 2,
        _ => 3,
    }
}

/// A lookup that the server itself made while it answered `outer`: it repeats client, port and id, and was never on the
/// client's wire (answer-truth-measured §7). These a client chooses freely, so the alias must be shown: by the answer,
/// or where it was not seen by the objects of that time. Else they are two lookups.
fn is_inner(outer: &Entry, inner: &Entry, knowledge: &dyn Knowledge) -> bool {
    let (name, target) = (&outer.tx.question.name, &inner.tx.question.name);
    if inner.on_wire || target == name {
        return false;
    }
    let answered = outer.responses.iter().any(|response| has_target(response, target));
    let unseen = !outer.responses.iter().any(|response| response.body.sections_seen);
    let same_kind = inner.tx.id != 0 && inner.tx.question.rtype == outer.tx.question.rtype;
    if !answered && (!unseen || !same_kind) {
        return false;
    }
    // The log's clock lags behind the packets' by what its reader took.
    let around = outer.window().widened(if answered { SECOND } else { MILLI });
    let end = inner.answered.map_or(inner.asked.1, |(_, at)| at);
    // Without sections either could be the other's: the inner line is written first and took no longer.
    if !answered && (end.hi > outer.window().hi || inner.tx.duration_ns > outer.tx.duration_ns) {
        return false;
    }
    inner.asked.1.hi >= around.lo
        && end.lo <= around.hi
        && (answered || knowledge.is_alias(name, target, around))
}

fn has_target(response: &Response, name: &Name) -> bool {
    response.body.answers.iter().any(|record| matches!(&record.rdata, Rdata::Cname(target) if target == name))
}

/// Without times: the inner line is written directly before the outer one and took no longer.
fn follows_inner(before: &Transaction, outer: &Transaction, knowledge: &dyn Knowledge) -> bool {
    let (name, target) = (&outer.question.name, &before.question.name);
    let answered = outer.response.as_ref().is_some_and(|r| has_target(r, target));
    let unseen = outer.response.as_ref().is_some_and(|r| !r.body.sections_seen);
    before.client.is_some()
        && before.client == outer.client
        && before.id == outer.id
        && name != target
        && before.question.rtype == outer.question.rtype
        && before.duration_ns <= outer.duration_ns
        && (answered || (unseen && before.id != 0 && knowledge.is_alias(name, target, ALWAYS)))
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
