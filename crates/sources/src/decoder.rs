//! The interface of every decoder: whole records enter, observations and changes leave.
//!
//! Deliberately absent: which decoder a format gets (see `decode`) and where records end (see `split`).

use truename_model::observation::Loss;
use truename_model::{Decoded, Event, Observation, ObservedAt, OriginId, RecordRef};

use crate::logformat::LogFormat;

/// What a decoder must know besides the bytes.
#[derive(Clone, Debug)]
pub struct DecodeContext {
    /// Index of the item in this run; goes into every [`RecordRef`].
    pub item: u32,
    /// The item's origin in this run's table.
    pub origin: OriginId,
    /// Custom formats of CoreDNS's `log` plugin, compiled from the Corefiles of the case.
    pub log_formats: Vec<LogFormat>,
    /// Offset of zoneless times, seconds east of UTC; `None`: not known.
    pub zone_secs: Option<i32>,
    /// Year of times without one; `None`: not known.
    pub year: Option<i32>,
    /// Ports on which packets are taken for DNS whatever they hold; on others a whole DNS message is.
    pub dns_ports: Vec<u16>,
    /// Distinct names that the decoder may remember: decoders of many items share one bound on memory.
    pub names_max: usize,
}

/// Distinct names that one decoder may remember.
pub const NAMES_MAX: usize = 1 << 17;

impl DecodeContext {
    /// A context with the defaults: no custom formats, no zone, no year, port 53.
    #[must_use]
    pub fn new(item: u32, origin: OriginId) -> Self {
        Self {
            item,
            origin,
            log_formats: Vec::new(),
            zone_secs: None,
            year: None,
            dns_ports: vec![53],
            names_max: NAMES_MAX,
        }
    }

    /// An observation of this item.
    #[must_use]
    pub fn observation(&self, ordinal: u64, at: ObservedAt, event: Event) -> Decoded {
        let record = RecordRef { item: self.item, ordinal };
        Decoded::Observation(Observation { record, at, origin: self.origin, event })
    }

    /// A record that holds nothing for us; `why` is a stable phrase.
    #[must_use]
    pub fn ignored(&self, ordinal: u64, why: &'static str) -> Decoded {
        self.observation(ordinal, ObservedAt::None, Event::Ignored(why))
    }

    /// A record that could not be read beyond `offset`; `reason` is a stable phrase.
    #[must_use]
    pub fn undecodable(&self, ordinal: u64, reason: &'static str, offset: usize) -> Decoded {
        self.observation(ordinal, ObservedAt::None, Event::Undecodable { reason, offset: offset as u64 })
    }

    /// A known loss; `cause` is a stable word.
    #[must_use]
    pub fn loss(
        &self,
        ordinal: u64,
        at: ObservedAt,
        cause: &'static str,
        count: Option<u64>,
        text: String,
    ) -> Decoded {
        self.observation(ordinal, at, Event::Loss(Loss { cause, count, text }))
    }
}

/// How one bounded cache of a decoder fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheUse {
    /// Stable name of the cache.
    pub name: &'static str,
    /// Entries held now.
    pub entries: u64,
    /// Entries given up so far because the cache was full.
    pub evictions: u64,
}

/// The bounded caches of a decoder, in a fixed order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// One entry per cache.
    pub caches: Vec<CacheUse>,
}

/// Turns whole records of one item, given in order, into observations and changes.
///
/// A decoder never panics and holds bounded state; what it gives up becomes a `Loss`.
pub trait Decoder: Send {
    /// Decodes one whole record; pushes at least one [`Decoded`].
    fn decode(&mut self, ordinal: u64, bytes: &[u8], out: &mut Vec<Decoded>);

    /// Ends the item: what was held back (open flows, partial lines) is given out or reported as lost.
    fn finish(&mut self, out: &mut Vec<Decoded>);

    /// The bounded caches.
    fn caches(&self) -> CacheStats {
        CacheStats::default()
    }
}
