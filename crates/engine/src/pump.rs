//! One item's records, read from the log and decoded chunk by chunk.
//!
//! Enters: a cursor of the log and a decoder; leaves: observations, changes, and what the item contributed.
//! Whole records are put together here, up to a bound. What is secret within a record is left out of what is decoded; a
//! record withheld as a whole is decoded for why it cannot be read, and nothing that decoders keep is secret.

use std::collections::BTreeMap;

use truename_evidence::{Cursor, may_be_shown};
use truename_model::{ClusterChange, Decoded, Diagnostic, Event, Interval, Observation};
use truename_sources::Decoder;
use truename_sources::corednslog::NO_FORMAT;
use truename_sources::decode::stand_in;

use crate::error::EngineError;

/// Records decoded at a time.
const CHUNK: usize = 2_048;
/// Longest record that is decoded; a longer one stays in the log as evidence and counts as undecodable.
const RECORD_MAX: usize = 64 << 20;
/// Losses told in words per item; the rest is counted.
const LOSSES_TOLD: usize = 20;

/// What an item contributed.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Records read.
    pub records: u64,
    /// Records understood.
    pub decoded: u64,
    /// Records kept as undecodable.
    pub undecodable: u64,
    /// Lines that look like lookups and match no log format.
    pub no_format: u64,
    /// Records without anything for us, by reason.
    pub ignored: BTreeMap<&'static str, u64>,
    /// Losses in words, and how many more there are.
    pub losses: Vec<String>,
    /// Losses not told.
    pub losses_untold: u64,
    /// dnstap messages that the server's own log says it dropped.
    pub taps_dropped: u64,
    /// Lines in which the server says that nobody took its dnstap messages.
    pub taps_unread: u64,
    /// Time span by the item's clock.
    pub span: Option<Interval>,
    /// Observations of DNS or of the server that have no time.
    pub untimed: u64,
    /// Evictions of the decoder's bounded caches.
    pub evictions: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn note(&mut self, observation: &Observation) {
        match &observation.event {
            Event::Undecodable { reason, .. } => {
                self.undecodable += 1;
                self.no_format += u64::from(*reason == NO_FORMAT);
            }
            Event::Ignored(why) => *self.ignored.entry(why).or_insert(0) += 1,
            Event::Loss(loss) => self.lose(&loss.text),
            Event::Dns(_) => {}
            Event::Diagnostic(Diagnostic::DnstapDropped(count)) => {
                self.taps_dropped = self.taps_dropped.saturating_add(*count);
            }
            Event::Diagnostic(Diagnostic::DnstapNoConnection) => self.taps_unread += 1,
            Event::Diagnostic(_) => {}
        }
        if matches!(observation.event, Event::Dns(_) | Event::Diagnostic(_)) {
            self.untimed += u64::from(observation.at.interval().is_none());
        }
        if let Some(at) = observation.at.interval() {
            let span = self.span.get_or_insert(at);
            *span = Interval { lo: span.lo.min(at.lo), hi: span.hi.max(at.hi) };
        }
    }

    /// Notes a loss.
    pub fn lose(&mut self, text: &str) {
        if self.losses.len() < LOSSES_TOLD {
            self.losses.push(text.to_owned());
        } else {
            self.losses_untold += 1;
        }
    }
}

impl Tally {
    /// All losses in words, those that the server tells of itself included.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        let mut told = self.losses.clone();
        if self.losses_untold > 0 {
            told.push(format!("… and {} more losses", self.losses_untold));
        }
        if self.taps_dropped > 0 {
            told.push(format!("the server says that it dropped {} dnstap messages", self.taps_dropped));
        }
        if self.taps_unread > 0 {
            told.push(format!(
                "the server says {} times that it had no connection to its dnstap endpoint: messages were lost, their \
                 number is not told",
                self.taps_unread
            ));
        }
        told
    }
}

/// An item being read.
pub struct Pump {
    cursor: Cursor,
    decoder: Box<dyn Decoder>,
    // Parts of a record that comes in several pieces.
    parts: Vec<u8>,
    // The part before this one was secret: the next is the same value going on.
    secret: bool,
    overlong: bool,
    // Ordinal of the record last decoded: its secret pieces do not make it a new one.
    decoded: Vec<Decoded>,
    ended: bool,
    /// What the item contributed so far.
    pub tally: Tally,
}

impl Pump {
    /// Starts at the cursor's place.
    #[must_use]
    pub fn new(cursor: Cursor, decoder: Box<dyn Decoder>) -> Self {
        let (parts, decoded) = (Vec::new(), Vec::new());
        Self {
            cursor,
            decoder,
            parts,
            secret: false,
            overlong: false,
            decoded,
            ended: false,
            tally: Tally::default(),
        }
    }

    /// Decodes the next records. Returns false when the item has ended.
    ///
    /// # Errors
    /// Those of the log.
    pub fn chunk(
        &mut self,
        observations: &mut Vec<Observation>,
        changes: &mut Vec<ClusterChange>,
    ) -> Result<bool, EngineError> {
        if self.ended {
            return Ok(false);
        }
        for _ in 0..CHUNK {
            if !self.record()? {
                self.ended = true;
                self.decoder.finish(&mut self.decoded);
                for cache in self.decoder.caches().caches {
                    *self.tally.evictions.entry(cache.name).or_insert(0) += cache.evictions;
                }
                break;
            }
        }
        observations.reserve(self.decoded.len());
        for decoded in self.decoded.drain(..) {
            match decoded {
                Decoded::Change(change) => changes.push(*change),
                Decoded::Observation(observation) => {
                    self.tally.note(&observation);
                    observations.push(observation);
                }
            }
        }
        Ok(true)
    }

    /// Reads and decodes one whole record; false at the end.
    fn record(&mut self) -> Result<bool, EngineError> {
        loop {
            let Some(piece) = self.cursor.next()? else { return Ok(false) };
            let shown = may_be_shown(&piece);
            if self.parts.is_empty() && !piece.more && !self.overlong {
                self.tally.records += 1;
                self.decoder.decode(piece.ordinal, piece.bytes, &mut self.decoded);
                return Ok(true);
            }
            // A secret keeps its place, so that offsets and syntax stay whole, but not its value.
            let begins = !std::mem::replace(&mut self.secret, !shown);
            let room = RECORD_MAX.saturating_sub(self.parts.len());
            self.overlong |= piece.bytes.len() > room;
            if !self.overlong {
                if shown {
                    self.parts.extend_from_slice(piece.bytes)
                } else {
                    stand_in(&mut self.parts, piece.bytes.len(), begins)
                }
            }
            if piece.more {
                continue;
            }
            let ordinal = piece.ordinal;
            self.tally.records += 1;
            let bytes: &[u8] = if self.overlong { b"" } else { &self.parts };
            self.decoder.decode(ordinal, bytes, &mut self.decoded);
            if self.overlong {
                self.tally.lose(&format!(
                    "record {ordinal} is longer than {RECORD_MAX} octets and was not decoded"
                ));
            }
            self.parts.clear();
            self.secret = false;
            self.overlong = false;
            return Ok(true);
        }
    }
}
