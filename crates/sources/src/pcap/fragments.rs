//! IP reassembly (RFC 791 §3.2, RFC 8200 §4.5), bounded. Enters: fragments; leaves: whole payloads, and what was given up.
//!
//! The first octets to arrive stand, as in most hosts; that a later fragment says otherwise is reported, since it is a
//! known way to slip a forged answer in. Overlapping IPv6 fragments are dropped whole (RFC 5722).

use std::collections::BTreeMap;
use std::net::IpAddr;

use truename_model::Nanos;
use truename_model::observation::PacketFacts;
use truename_model::time::SECOND;

use super::net::{Payload, Piece};

/// Datagrams held at once.
const MAX_DATAGRAMS: usize = 512;
/// Octets of one datagram (RFC 791: 65,535 with header).
const MAX_LEN: u32 = 65_535;
/// Fragments of one datagram.
const MAX_PIECES: usize = 128;
/// Time after which a datagram is given up (RFC 8200 §4.5: 60 s), nanoseconds of the capture's clock.
const PATIENCE: i64 = 60 * SECOND;

type Key = (IpAddr, IpAddr, u8, u32);

#[derive(Debug)]
struct Pending {
    pieces: BTreeMap<u32, Vec<u8>>,
    end: Option<u32>,
    first: Option<PacketFacts>,
    overlap: bool,
    ordinal: u64,
    at: Option<Nanos>,
    tick: u64,
    missing: bool,
}

/// A reassembled payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) bytes: Vec<u8>,
    pub(super) facts: PacketFacts,
    /// Fragments disagreed about the same octets.
    pub(super) overlap: bool,
}

/// A datagram given up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GivenUp {
    /// Record of its last fragment.
    pub(super) ordinal: u64,
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) why: &'static str,
}

/// The datagrams that wait for fragments.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    pending: BTreeMap<Key, Pending>,
    tick: u64,
    pub(super) evictions: u64,
}

impl Fragments {
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Takes a fragment; gives the payload that it completes. What had to go is pushed to `lost`.
    pub(super) fn take(
        &mut self,
        payload: &Payload<'_>,
        piece: Piece,
        ordinal: u64,
        at: Option<Nanos>,
        lost: &mut Vec<GivenUp>,
    ) -> Option<Whole> {
        let key = (payload.src, payload.dst, payload.protocol, piece.id);
        self.tick += 1;
        if let (Some(old), Some(now)) = (self.pending.get(&key).and_then(|held| held.at), at)
            && now.since(old).abs() > PATIENCE
        {
            self.give_up(key, "not completed within 60 s", lost);
        }
        if !self.pending.contains_key(&key) && self.pending.len() >= MAX_DATAGRAMS {
            self.evict(lost);
        }
        let tick = self.tick;
        let held = self.pending.entry(key).or_insert_with(|| Pending::new(tick, at));
        held.ordinal = ordinal;
        held.tick = tick;
        held.missing |= payload.missing > 0;
        if !held.add(payload, piece) {
            self.give_up(key, "fragments that fit no datagram", lost);
            return None;
        }
        if held.overlap && payload.src.is_ipv6() {
            self.give_up(key, "overlapping fragments", lost);
            return None;
        }
        let whole = held.whole()?;
        self.pending.remove(&key);
        Some(whole)
    }

    /// Gives up everything, at the end of the item.
    pub(super) fn finish(&mut self, lost: &mut Vec<GivenUp>) {
        while let Some(key) = self.pending.keys().next().copied() {
            self.give_up(key, "the rest is not in the capture", lost);
        }
    }

    fn evict(&mut self, lost: &mut Vec<GivenUp>) {
        let oldest = self.pending.iter().min_by_key(|(_, held)| held.tick).map(|(key, _)| *key);
        if let Some(key) = oldest {
            self.evictions += 1;
            self.give_up(key, "too many incomplete datagrams at once", lost);
        }
    }

    fn give_up(&mut self, key: Key, why: &'static str, lost: &mut Vec<GivenUp>) {
        if let Some(held) = self.pending.remove(&key) {
            lost.push(GivenUp { ordinal: held.ordinal, src: key.0, dst: key.1, why });
        }
    }
}

impl Pending {
    fn new(tick: u64, at: Option<Nanos>) -> Self {
        Self {
            pieces: BTreeMap::new(),
            end: None,
            first: None,
            overlap: false,
            ordinal: 0,
            at,
            tick,
            missing: false,
        }
    }

    /// False if the fragment cannot belong to a datagram with the others.
    fn add(&mut self, payload: &Payload<'_>, piece: Piece) -> bool {
        let Ok(len) = u32::try_from(payload.bytes.len()) else { return false };
        let stop = piece.offset.saturating_add(len);
        if stop > MAX_LEN || self.pieces.len() >= MAX_PIECES || (piece.more && len == 0) {
            return false;
        }
        if !piece.more {
            if self.end.is_some_and(|end| end != stop) {
                return false;
            }
            self.end = Some(stop);
        }
        if self.end.is_some_and(|end| stop > end) {
            return false;
        }
        if piece.offset == 0 && self.first.is_none() {
            self.first = Some(payload.facts);
        }
        self.insert(piece.offset, payload.bytes);
        true
    }

    /// Keeps the octets that are not there yet.
    fn insert(&mut self, offset: u32, bytes: &[u8]) {
        let stop = offset + bytes.len() as u32;
        let mut at = offset;
        let around: Vec<(u32, u32, bool)> = self
            .pieces
            .range(..stop)
            .map(|(start, held)| {
                let end = start + held.len() as u32;
                let (from, to) = ((*start).max(offset), end.min(stop));
                let differs = from < to
                    && held.get((from - start) as usize..(to - start) as usize)
                        != bytes.get((from - offset) as usize..(to - offset) as usize);
                (*start, end, differs)
            })
            .filter(|(_, end, _)| *end > offset)
            .collect();
        // An exact repeat is a retransmission, not an overlap.
        self.overlap |= around.iter().any(|(_, _, differs)| *differs);
        for (start, end, _) in around {
            if at < start {
                self.keep(at, &bytes[(at - offset) as usize..(start - offset) as usize]);
            }
            at = at.max(end);
        }
        if at < stop || bytes.is_empty() {
            self.keep(at, bytes.get((at - offset) as usize..).unwrap_or_default());
        }
    }

    fn keep(&mut self, at: u32, bytes: &[u8]) {
        self.pieces.entry(at).or_insert_with(|| bytes.to_vec());
    }

    fn whole(&mut self) -> Option<Whole> {
        let (end, mut facts) = (self.end?, self.first?);
        let mut bytes = Vec::with_capacity(end as usize);
        for (start, piece) in &self.pieces {
            if *start as usize != bytes.len() {
                return None;
            }
            bytes.extend_from_slice(piece);
        }
        facts.cut |= self.missing;
        (bytes.len() == end as usize).then_some(Whole { bytes, facts, overlap: self.overlap })
    }
}
