//! Exchanges between a replica and its upstreams: forwarder taps and upstream packets joined into one.
//!
//! Enters: FORWARDER_QUERY/RESPONSE and packets of the upstream leg, in order of time; leaves: closed
//! [`UpstreamExchange`]s in order of their start, and those that belong to a lookup. A reply with a wrong id, a second
//! and different answer, and a reply to another question are kept as what they are; replies to no open question become
//! exchanges without a query (see `unasked`). Deliberately absent: verdicts.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use smallvec::SmallVec;
use truename_model::time::{MILLI, SECOND};
use truename_model::{
    DnsEvent, Endpoint, Interval, Nanos, OriginId, Question, RecordRef, Response, Transport,
    UpstreamExchange, Vantage, observation::PacketFacts,
};

use crate::compare::{agree, data_hash};
use crate::replica::ReplicaId;
use crate::unasked::{Reply, Unasked};

/// An exchange is closed this long after its query left: CoreDNS gives up after 2 s, a late answer comes within 5 s.
const HOLD: i64 = 8 * SECOND;
/// It stays findable for its lookup, and its id for late answers (30 s after the query at least), this long.
const KEEP: i64 = 32 * SECOND;
/// A tap and a packet of one exchange on one host lie at most this far apart.
const NEAR: i64 = 250 * MILLI;
/// A packet that shows that it is a copy, of another interface or another capture, comes within this time.
const COPY: i64 = 100 * MILLI;
/// One that shows nothing of the kind, as on two ports of one bridge, within this.
const COPY_UNMARKED: i64 = MILLI;
/// Width of a bucket of the closing queue, as a power of two nanoseconds (67 ms).
const BUCKET_BITS: u32 = 26;
/// Bound on exchanges held.
const OPEN_MAX: usize = 1 << 16;
/// Bound on exchanges remembered per socket, question or id.
const LIST_MAX: usize = 64;

type Map<K, V> = HashMap<K, V, FixedState>;
type List = SmallVec<[u32; 4]>;

/// A socket pair; replies are looked up by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Socket {
    local: Endpoint,
    upstream: Endpoint,
    stream: bool,
}

/// An exchange that is closed: nothing will be added to it.
#[derive(Clone, Debug)]
pub struct Closed {
    /// The instance that made it.
    pub replica: ReplicaId,
    /// What was seen.
    pub exchange: Arc<UpstreamExchange>,
}

#[derive(Debug)]
struct Slot {
    replica: ReplicaId,
    origin: OriginId,
    question: Question,
    upstream: Option<Endpoint>,
    local: Option<Endpoint>,
    stream: bool,
    client: Option<Endpoint>,
    client_id: Option<u16>,
    wire_id: Option<u16>,
    asked: Interval,
    query: Option<RecordRef>,
    tapped: bool,
    tap_times: SmallVec<[i64; 2]>,
    tap: Option<Response>,
    wire: SmallVec<[Response; 1]>,
    wire_query: Option<(u32, PacketFacts)>,
    wire_queries: u16,
    mismatched: SmallVec<[RecordRef; 4]>,
    mismatched_count: u32,
    mismatched_open: u32,
    mismatched_data: SmallVec<[(u64, u32); 2]>,
    mismatched_senders: SmallVec<[Option<Sender>; 2]>,
    wrong_question: bool,
    built: Option<Arc<UpstreamExchange>>,
}

/// Open and recently closed exchanges.
#[derive(Debug, Default)]
pub struct Exchanges {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    live: usize,
    taps: Map<(ReplicaId, u16, i64), u32>,
    sockets: Map<Socket, List>,
    by_question: Map<(ReplicaId, Question), List>,
    by_id: Map<(ReplicaId, u16), List>,
    closing: BTreeMap<i64, Vec<u32>>,
    removing: BTreeMap<i64, Vec<u32>>,
    evictions: u64,
    unasked: Unasked,
}

fn bucket_of(at: Nanos) -> i64 {
    at.0 >> BUCKET_BITS
}

fn gap(a: Interval, b: Interval) -> i64 {
    if a.overlaps(b) { 0 } else { a.lo.since(b.hi).max(b.lo.since(a.hi)) }
}

fn is_stream(transport: Transport) -> bool {
    !matches!(transport, Transport::Udp | Transport::Unknown)
}

impl Exchanges {
    /// How many exchanges were closed early for want of room.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions + self.unasked.evictions()
    }

    /// How many replies came from an upstream to a socket without an open query.
    #[must_use]
    pub fn strays(&self) -> u64 {
        self.unasked.count()
    }

    /// A forwarder tap. `local` says whether its client field is the replica's own socket.
    pub fn tap(
        &mut self,
        (replica, local): (ReplicaId, bool),
        (origin, record): (OriginId, RecordRef),
        dns: &DnsEvent,
        at: Interval,
    ) {
        let Some(question) = dns.body.question.clone() else { return };
        let is_query = dns.vantage == Vantage::ForwarderQuery;
        let asked = if is_query {
            at
        } else {
            dns.query_time.map_or(at, |time| Interval { lo: time, hi: time.plus(at.hi.since(at.lo)) })
        };
        let key = (replica, dns.id, asked.lo.0);
        let found = self.taps.get(&key).copied();
        let index = match found.or_else(|| self.untapped(replica, &question, dns, asked, local)) {
            Some(index) => index,
            None => self.insert(replica, origin, question.clone(), dns, asked),
        };
        let first = self.taps.insert(key, index).is_none();
        let Some(slot) = self.slots.get_mut(index as usize).and_then(Option::as_mut) else { return };
        if first {
            slot.tap_times.push(asked.lo.0);
        }
        if !slot.tapped {
            slot.tapped = true;
            slot.client_id = Some(dns.id);
            if local {
                slot.local = slot.local.or(dns.client);
            } else {
                slot.client = dns.client;
            }
            slot.upstream = slot.upstream.or(dns.server);
            push(self.by_id.entry((replica, dns.id)).or_default(), index);
            if let (true, Some(client), Some(upstream)) = (local, dns.client, dns.server) {
                let socket = Socket { local: client, upstream, stream: slot.stream };
                push(self.sockets.entry(socket).or_default(), index);
            }
        }
        if is_query {
            slot.query = Some(slot.query.map_or(record, |known| known.min(record)));
        } else if slot.tap.is_none() {
            slot.wrong_question |= slot.question != question;
            slot.tap = Some(response_of(record, dns, at));
        }
    }

    /// A packet exchange that this tap belongs to.
    fn untapped(
        &self,
        replica: ReplicaId,
        question: &Question,
        dns: &DnsEvent,
        asked: Interval,
        local: bool,
    ) -> Option<u32> {
        let by_socket = match (local, dns.client, dns.server) {
            (true, Some(client), Some(upstream)) => {
                self.sockets.get(&Socket { local: client, upstream, stream: is_stream(dns.transport) })
            }
            _ => None,
        };
        let list = by_socket.or_else(|| self.by_question.get(&(replica, question.clone())))?;
        let fits = |slot: &Slot| {
            !slot.tapped
                && slot.question == *question
                && (dns.server.is_none() || slot.upstream.is_none() || slot.upstream == dns.server)
                && (!local || slot.local.is_none() || dns.client.is_none() || slot.local == dns.client)
        };
        self.nearest(list, asked, fits)
    }

    fn nearest(&self, list: &List, at: Interval, fits: impl Fn(&Slot) -> bool) -> Option<u32> {
        let near = list.iter().filter_map(|&index| {
            let slot = self.slots.get(index as usize)?.as_ref()?;
            let distance = gap(slot.asked, at);
            (distance <= NEAR && fits(slot)).then_some((distance, slot.asked, index))
        });
        near.min().map(|(_, _, index)| index)
    }

    /// A packet on the upstream leg of `replica`.
    pub fn packet(
        &mut self,
        replica: ReplicaId,
        (origin, record): (OriginId, RecordRef),
        dns: &DnsEvent,
        at: Interval,
    ) {
        let (Some(local), Some(upstream)) = (dns.client, dns.server) else { return };
        let socket = Socket { local, upstream, stream: is_stream(dns.transport) };
        if dns.vantage == Vantage::PacketQuery {
            self.packet_query(replica, socket, (origin, record), dns, at);
        } else {
            self.packet_reply((replica, origin), socket, record, dns, at);
        }
    }

    fn packet_query(
        &mut self,
        replica: ReplicaId,
        socket: Socket,
        (origin, record): (OriginId, RecordRef),
        dns: &DnsEvent,
        at: Interval,
    ) {
        let Some(question) = dns.body.question.clone() else { return };
        let known = self.sockets.get(&socket).and_then(|list| {
            list.iter().rev().copied().find(|&index| {
                self.slot(index).is_some_and(|s| s.wire_id == Some(dns.id) && s.question == question)
            })
        });
        if let Some(slot) = known.and_then(|index| self.slot_mut(index)) {
            if !slot.is_copy(record.item, dns.packet, at) {
                slot.wire_queries = slot.wire_queries.saturating_add(1);
            }
            return;
        }
        let index = match self.unwired(replica, &question, socket, at) {
            Some(index) => index,
            None => self.insert(replica, origin, question, dns, at),
        };
        push(self.sockets.entry(socket).or_default(), index);
        let Some(slot) = self.slot_mut(index) else { return };
        slot.wire_id = Some(dns.id);
        slot.wire_query = dns.packet.map(|packet| (record.item, packet));
        slot.wire_queries = 1;
        slot.local = Some(socket.local);
        slot.upstream = Some(socket.upstream);
        slot.query = Some(slot.query.map_or(record, |known| known.min(record)));
    }

    /// A tapped exchange that this query packet belongs to.
    fn unwired(&self, replica: ReplicaId, question: &Question, socket: Socket, at: Interval) -> Option<u32> {
        let fits = |slot: &Slot| {
            slot.wire_id.is_none()
                && slot.question == *question
                && slot.upstream.is_none_or(|upstream| upstream == socket.upstream)
                && slot.local.is_none_or(|local| local == socket.local)
        };
        let by_socket = self.sockets.get(&socket).and_then(|list| self.nearest(list, at, fits));
        by_socket.or_else(|| self.nearest(self.by_question.get(&(replica, question.clone()))?, at, fits))
    }

    fn packet_reply(
        &mut self,
        (replica, origin): (ReplicaId, OriginId),
        socket: Socket,
        record: RecordRef,
        dns: &DnsEvent,
        at: Interval,
    ) {
        let list = self.sockets.get(&socket).map_or(&[][..], |list| list);
        let by_id = |&&index: &&u32| self.slot(index).is_some_and(|slot| slot.wire_id == Some(dns.id));
        let is_open = |&&index: &&u32| self.slot(index).is_some_and(|slot| slot.built.is_none());
        let matching = list.iter().rev().find(by_id).copied();
        let latest = list.iter().rev().find(is_open).copied();
        if let Some(slot) = matching.and_then(|index| self.slot_mut(index)) {
            slot.take_reply(response_of(record, dns, at));
        } else if let Some(slot) = latest.and_then(|index| self.slot_mut(index)) {
            slot.count_mismatch(record, dns);
        } else {
            let reply = Reply { replica, origin, record, local: socket.local, upstream: socket.upstream, at };
            if let Some(bucket) = self.unasked.take(reply, dns, bucket_of) {
                self.closing.entry(bucket).or_default();
            }
        }
    }

    fn slot(&self, index: u32) -> Option<&Slot> {
        self.slots.get(index as usize)?.as_ref()
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    fn insert(
        &mut self,
        replica: ReplicaId,
        origin: OriginId,
        question: Question,
        dns: &DnsEvent,
        asked: Interval,
    ) -> u32 {
        let slot = Slot {
            replica,
            origin,
            question: question.clone(),
            upstream: None,
            local: None,
            stream: is_stream(dns.transport),
            client: None,
            client_id: None,
            wire_id: None,
            asked,
            query: None,
            tapped: false,
            tap_times: SmallVec::new(),
            tap: None,
            wire: SmallVec::new(),
            wire_query: None,
            wire_queries: 0,
            mismatched: SmallVec::new(),
            mismatched_count: 0,
            mismatched_open: 0,
            mismatched_data: SmallVec::new(),
            mismatched_senders: SmallVec::new(),
            wrong_question: false,
            built: None,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = Some(slot);
                index
            }
            None => {
                self.slots.push(Some(slot));
                (self.slots.len() - 1) as u32
            }
        };
        self.live += 1;
        push(self.by_question.entry((replica, question)).or_default(), index);
        self.closing.entry(bucket_of(asked.lo)).or_default().push(index);
        index
    }

    /// Closes what is old enough at `now`, in order of start, and forgets what is older still.
    pub fn advance(&mut self, now: Nanos, out: &mut Vec<Closed>) {
        while let Some((&bucket, _)) = self.closing.first_key_value()
            && (bucket < bucket_of(now.plus(-HOLD)) || self.live > OPEN_MAX)
        {
            if bucket >= bucket_of(now.plus(-HOLD)) {
                self.evictions += 1;
            }
            self.close_bucket(bucket, out);
        }
        while let Some((&bucket, _)) = self.removing.first_key_value()
            && (bucket < bucket_of(now.plus(-KEEP)) || self.live > OPEN_MAX)
        {
            for index in self.removing.remove(&bucket).unwrap_or_default() {
                self.remove(index);
            }
        }
    }

    /// Closes everything.
    pub fn finish(&mut self, out: &mut Vec<Closed>) {
        while let Some((&bucket, _)) = self.closing.first_key_value() {
            self.close_bucket(bucket, out);
        }
    }

    fn close_bucket(&mut self, bucket: i64, out: &mut Vec<Closed>) {
        let mut indices = self.closing.remove(&bucket).unwrap_or_default();
        let order = |slot: &Slot| (slot.asked, slot.query, slot.tap.as_ref().map(|tap| tap.record));
        indices.sort_by_key(|&index| self.slot(index).map(order));
        for &index in &indices {
            if let Some(slot) = self.slot_mut(index) {
                out.push(Closed { replica: slot.replica, exchange: slot.build() });
            }
        }
        self.unasked.close(bucket, &mut |replica, exchange| {
            out.push(Closed { replica, exchange: Arc::new(exchange) });
        });
        self.removing.entry(bucket).or_default().extend(indices);
    }

    fn remove(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index as usize).and_then(Option::take) else { return };
        self.live -= 1;
        self.free.push(index);
        drop_from(&mut self.by_question, &(slot.replica, slot.question.clone()), index);
        if let Some(id) = slot.client_id {
            drop_from(&mut self.by_id, &(slot.replica, id), index);
            for time in &slot.tap_times {
                let key = (slot.replica, id, *time);
                if self.taps.get(&key) == Some(&index) {
                    self.taps.remove(&key);
                }
            }
        }
        if let (Some(local), Some(upstream)) = (slot.local, slot.upstream) {
            drop_from(&mut self.sockets, &Socket { local, upstream, stream: slot.stream }, index);
        }
    }

    /// Exchanges that a lookup caused: by the client's id on that replica, or, for packets alone, by question and time.
    pub fn of_lookup(
        &mut self,
        replica: ReplicaId,
        (client, id): (Option<Endpoint>, u16),
        questions: &[Question],
        window: Interval,
    ) -> Vec<Arc<UpstreamExchange>> {
        let window = window.widened(5 * MILLI);
        let mut found: SmallVec<[u32; 4]> = SmallVec::new();
        if let Some(list) = self.by_id.get(&(replica, id)) {
            found.extend(list.iter().copied().filter(|&index| {
                self.slot(index).is_some_and(|slot| {
                    window.overlaps(slot.asked)
                        && slot.client.is_none_or(|known| client.is_none_or(|asked| known == asked))
                })
            }));
        }
        for question in questions {
            let Some(list) = self.by_question.get(&(replica, question.clone())) else { continue };
            found.extend(list.iter().copied().filter(|&index| {
                self.slot(index).is_some_and(|slot| !slot.tapped && window.overlaps(slot.asked))
            }));
        }
        found.sort_unstable();
        found.dedup();
        let mut built: Vec<_> =
            found.iter().filter_map(|&index| self.slot_mut(index).map(Slot::build)).collect();
        built.sort_by_key(|exchange| (exchange.at, exchange.query));
        built
    }

    /// True if no exchange is held: lookups need not be searched for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }
}

impl Slot {
    /// True for the query packet seen once more, on another interface or in another capture: that is no second query.
    fn is_copy(&self, item: u32, packet: Option<PacketFacts>, at: Interval) -> bool {
        let (Some((first_item, first)), Some(packet)) = (self.wire_query, packet) else {
            return gap(self.asked, at) <= COPY_UNMARKED;
        };
        let hop = first_item != item || first.ip_ttl != packet.ip_ttl || first.mac != packet.mac;
        first.ip_id == packet.ip_id && gap(self.asked, at) <= if hop { COPY } else { COPY_UNMARKED }
    }

    fn take_reply(&mut self, reply: Response) {
        if self.built.is_some() {
            return;
        }
        let same_question = reply.body.question.as_ref().is_none_or(|q| *q == self.question);
        self.wrong_question |= !same_question;
        let known =
            self.wire.iter().any(|old| agree(old, &reply) && old.body.question == reply.body.question);
        if !known && self.wire.len() < 4 {
            self.wire.push(reply);
        }
    }

    fn count_mismatch(&mut self, record: RecordRef, dns: &DnsEvent) {
        if self.built.is_some() {
            return;
        }
        self.mismatched_count = self.mismatched_count.saturating_add(1);
        self.mismatched_open = self.mismatched_open.saturating_add(u32::from(self.wire.is_empty()));
        if self.mismatched.len() < 16 {
            self.mismatched.push(record);
        }
        let hash = data_hash(&dns.body.answers);
        let kinds = self.mismatched_data.len();
        match self.mismatched_data.iter_mut().find(|(known, _)| *known == hash) {
            Some((_, count)) => *count = count.saturating_add(1),
            None if kinds < 8 => self.mismatched_data.push((hash, 1)),
            None => {}
        }
        // Of more senders than the bound the rest count as one that is not known.
        let sender = dns.packet.map(sender_of).filter(|_| self.mismatched_senders.len() < 8);
        if !self.mismatched_senders.contains(&sender) {
            self.mismatched_senders.push(sender);
        }
    }

    /// The exchange as it stands; fixed from then on.
    fn build(&mut self) -> Arc<UpstreamExchange> {
        if let Some(built) = &self.built {
            return Arc::clone(built);
        }
        let response = self.accepted();
        let second = self.second(response.as_ref());
        let like = response.as_ref().map_or(0, |taken| {
            let hash = data_hash(&taken.body.answers);
            let same = |&&(known, _): &&(u64, u32)| known == hash;
            self.mismatched_data.iter().find(same).map_or(0, |(_, count)| *count)
        });
        let taken_from = response.as_ref().and_then(|taken| taken.packet).map(sender_of);
        let is_apart = |guesser: &Option<Sender>| guesser.is_some() && *guesser != taken_from;
        let apart = taken_from.is_some() && self.mismatched_senders.iter().all(is_apart);
        let end = response.as_ref().and_then(|taken| taken.at.interval());
        let hi = end.map_or(self.asked.hi, |end| end.hi.max(self.asked.hi));
        let exchange = Arc::new(UpstreamExchange {
            origin: self.origin,
            question: self.question.clone(),
            upstream: self.upstream,
            local: self.local,
            wire_id: self.wire_id,
            at: Interval { lo: self.asked.lo, hi },
            query: self.query,
            response,
            mismatched: std::mem::take(&mut self.mismatched),
            mismatched_count: self.mismatched_count,
            mismatched_open: self.mismatched_open,
            mismatched_like_answer: like,
            mismatched_apart: apart,
            second: second.map(Box::new),
            wrong_question: self.wrong_question,
            unplaced: false,
        });
        self.built = Some(Arc::clone(&exchange));
        exchange
    }

    /// What the replica took: its own tap says so, else the first packet that fits.
    fn accepted(&self) -> Option<Response> {
        let Some(tap) = &self.tap else { return self.wire.first().cloned() };
        let mut taken = tap.clone();
        if let Some(packet) = self.wire.iter().find(|reply| agree(reply, tap)) {
            taken.packet = packet.packet;
            taken.server = taken.server.or(packet.server);
        }
        Some(taken)
    }

    /// A reply with other data than those taken, where one query packet was sent.
    fn second(&self, taken: Option<&Response>) -> Option<Response> {
        let taken = taken?;
        let other = self.wire.iter().find(|reply| !agree(reply, taken))?;
        let tap_alone = self.tap.is_some() && !self.wire.iter().any(|reply| agree(reply, taken));
        if tap_alone && self.client.is_some() {
            // Before 1.14.5 a tap does not show the socket: of two equal questions at once the packets may be the other's.
            return None;
        }
        // A query sent twice may be answered twice, and rotation makes the answers differ.
        (self.wire_queries <= 1).then(|| other.clone())
    }
}

/// What tells senders of packets apart: IP TTL and MAC address.
type Sender = (u8, Option<[u8; 6]>);

fn sender_of(packet: PacketFacts) -> Sender {
    (packet.ip_ttl, packet.mac)
}

fn response_of(record: RecordRef, dns: &DnsEvent, at: Interval) -> Response {
    Response {
        record,
        vantage: dns.vantage,
        at: truename_model::ObservedAt::Known(
            at,
            if dns.packet.is_some() {
                truename_model::ClockBasis::Packet
            } else {
                truename_model::ClockBasis::Dnstap
            },
        ),
        flags: dns.flags,
        rcode: dns.rcode,
        body: Arc::clone(&dns.body),
        server: dns.server,
        packet: dns.packet,
    }
}

fn push(list: &mut List, index: u32) {
    if list.contains(&index) {
        return;
    }
    if list.len() >= LIST_MAX {
        list.remove(0);
    }
    list.push(index);
}

fn drop_from<K: std::hash::Hash + Eq>(map: &mut Map<K, List>, key: &K, index: u32) {
    if let Some(list) = map.get_mut(key) {
        list.retain(|known| *known != index);
        if list.is_empty() {
            map.remove(key);
        }
    }
}
