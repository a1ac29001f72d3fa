//! Replies to sockets without an open question: a forger that sprays ports, or a forger whose query was not captured.
//!
//! Enters: packets of the upstream leg that match no exchange; leaves: exchanges without a query, one per port that got
//! several and one for the rest. Replies are gathered per question, because one reply of a kind is an accident of the
//! capture (it began late, it lost the query, it holds one direction only) and several to the same question within two
//! seconds are not: a server that caches has no reason to ask so. Deliberately absent: late answers, which
//! `exchange` knows by their id.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use smallvec::SmallVec;
use truename_model::time::SECOND;
use truename_model::{
    DnsEvent, Endpoint, Interval, Nanos, OriginId, Question, RecordRef, Transport, UpstreamExchange,
};

use crate::replica::ReplicaId;

/// Replies to one question are gathered this long.
const GATHER: i64 = 2 * SECOND;
/// Fewer replies to one question than this are an accident.
const SEVERAL: u32 = 3;
/// Bounds: questions gathered at once; per question, ports told apart and (port, id) pairs remembered.
const GROUPS_MAX: usize = 4_096;
const PORTS_MAX: usize = 256;
const PAIRS_MAX: usize = 1_024;
/// Records cited per port, and for all ports together that got few.
const CITED: usize = 16;

/// One reply: whose, which record, from where to where, when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    pub(crate) replica: ReplicaId,
    pub(crate) origin: OriginId,
    pub(crate) record: RecordRef,
    pub(crate) local: Endpoint,
    pub(crate) upstream: Endpoint,
    pub(crate) at: Interval,
}

type Key = (IpAddr, Endpoint, Question);

#[derive(Debug, Default)]
struct Port {
    at: Option<Interval>,
    count: u32,
    records: SmallVec<[RecordRef; 4]>,
}

#[derive(Debug)]
struct Group {
    first: Reply,
    question: Question,
    ports: BTreeMap<u16, Port>,
    rest: Port,
    // A packet seen on two interfaces is one reply.
    seen: BTreeSet<(u16, u16)>,
}

/// Replies that nobody asked for, gathered.
#[derive(Debug, Default)]
pub(crate) struct Unasked {
    groups: BTreeMap<i64, Vec<Group>>,
    latest: HashMap<Key, (i64, usize), FixedState>,
    live: usize,
    count: u64,
    evictions: u64,
}

impl Unasked {
    /// How many replies came.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// How many of them found no room.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Takes a reply; the bucket to be closed later, if it opened a group.
    pub(crate) fn take(
        &mut self,
        reply: Reply,
        dns: &DnsEvent,
        bucket_of: impl Fn(Nanos) -> i64,
    ) -> Option<i64> {
        self.count += 1;
        // A stream cannot be joined by a blind sender.
        let question = dns.body.question.clone().filter(|_| dns.transport == Transport::Udp)?;
        let key = (reply.local.ip, reply.upstream, question);
        if let Some(group) = self.open_group(&key, reply.at) {
            group.add(&reply, dns.id);
            return None;
        }
        if self.live >= GROUPS_MAX {
            self.evictions += 1;
            return None;
        }
        let bucket = bucket_of(reply.at.lo);
        let mut group = Group {
            first: reply,
            question: key.2.clone(),
            ports: BTreeMap::new(),
            rest: Port::default(),
            seen: BTreeSet::new(),
        };
        group.add(&reply, dns.id);
        let groups = self.groups.entry(bucket).or_default();
        groups.push(group);
        self.latest.insert(key, (bucket, groups.len() - 1));
        self.live += 1;
        Some(bucket)
    }

    fn open_group(&mut self, key: &Key, at: Interval) -> Option<&mut Group> {
        let (bucket, index) = self.latest.get(key)?;
        let group = self.groups.get_mut(bucket)?.get_mut(*index)?;
        (at.lo.since(group.first.at.lo).abs() <= GATHER).then_some(group)
    }

    /// Gives out what began in `bucket`.
    pub(crate) fn close(&mut self, bucket: i64, out: &mut dyn FnMut(ReplicaId, UpstreamExchange)) {
        let Some(groups) = self.groups.remove(&bucket) else { return };
        self.live -= groups.len();
        for group in groups {
            let key = (group.first.local.ip, group.first.upstream, group.question.clone());
            if self.latest.get(&key).is_some_and(|(known, _)| *known == bucket) {
                self.latest.remove(&key);
            }
            group.give(out);
        }
    }
}

impl Group {
    fn add(&mut self, reply: &Reply, id: u16) {
        let port = reply.local.port;
        if self.seen.len() < PAIRS_MAX && !self.seen.insert((port, id)) {
            return;
        }
        let known = self.ports.contains_key(&port) || self.ports.len() < PORTS_MAX;
        let slot = if known { self.ports.entry(port).or_default() } else { &mut self.rest };
        slot.add(Some(reply.at), 1, &[reply.record]);
    }

    fn give(mut self, out: &mut dyn FnMut(ReplicaId, UpstreamExchange)) {
        let mut whole = self.rest.count;
        self.ports.values().for_each(|port| whole = whole.saturating_add(port.count));
        if whole < SEVERAL {
            return;
        }
        for (number, port) in std::mem::take(&mut self.ports) {
            if port.count >= SEVERAL {
                out(self.first.replica, self.exchange(number, port));
            } else {
                self.rest.add(port.at, port.count, &port.records);
            }
        }
        if self.rest.count > 0 {
            let rest = std::mem::take(&mut self.rest);
            out(self.first.replica, self.exchange(0, rest));
        }
    }

    /// The replies to one port; port 0 stands for many.
    fn exchange(&self, port: u16, replies: Port) -> UpstreamExchange {
        UpstreamExchange {
            origin: self.first.origin,
            question: self.question.clone(),
            upstream: Some(self.first.upstream),
            local: Some(Endpoint { ip: self.first.local.ip, port }),
            wire_id: None,
            at: replies.at.unwrap_or(self.first.at),
            query: None,
            response: None,
            mismatched: replies.records,
            mismatched_count: replies.count,
            mismatched_open: 0,
            mismatched_like_answer: 0,
            mismatched_apart: false,
            second: None,
            wrong_question: false,
            unplaced: false,
        }
    }
}

impl Port {
    fn add(&mut self, at: Option<Interval>, count: u32, records: &[RecordRef]) {
        self.at = match (self.at, at) {
            (Some(a), Some(b)) => Some(Interval { lo: a.lo.min(b.lo), hi: a.hi.max(b.hi) }),
            (a, b) => a.or(b),
        };
        self.count = self.count.saturating_add(count);
        let room = CITED.saturating_sub(self.records.len());
        self.records.extend(records.iter().take(room).copied());
    }
}
