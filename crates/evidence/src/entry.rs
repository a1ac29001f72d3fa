//! Entries of the signed log: what was taken into custody, sealed, lost and concluded.
//!
//! Enters and leaves: canonical JSON (fixed key order, no blanks), at most 65,535 bytes (tlog-tiles).
//! Deliberately absent: raw evidence (segments), interpretation. Times are `Nanos` of the caller's clock.

use serde::{Deserialize, Serialize};
use truename_model::{Nanos, Sha256};

use crate::error::{Error, Result};

/// Largest entry, bytes: the length in an entry bundle is a `uint16`.
pub const MAX_ENTRY: usize = 65_535;

/// A digest of one layer inside an item.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerDigest {
    /// How the layer was reached, for example `gzip` or `tar:logs/coredns.log`.
    pub layer: String,
    /// Bytes of the layer.
    pub size: u64,
    /// SHA-256 of the layer.
    pub sha256: Sha256,
}

/// Custody of an item begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemBegin {
    /// Path as the operator gave it.
    pub path: String,
    /// Path of the layers inside the file, empty for the file itself.
    pub layer: String,
    /// Bytes of the item.
    pub size: u64,
    /// SHA-256 that identifies the item; what [`crate::Case::resume_point`] looks for.
    pub sha256: Sha256,
    /// Digests of the file and the layers passed on the way, outermost first, as far as known at the start.
    pub layers: Vec<LayerDigest>,
    /// Format as recognised.
    pub format: String,
    /// When it was taken, the caller's clock.
    pub time: Nanos,
    /// Who took it.
    pub operator: String,
    /// Tool and version.
    pub tool: String,
    /// True if the file was copied to `originals/<sha256 of the file>`.
    pub original_kept: bool,
    /// Free text of the caller, for example the origin stated by the operator.
    pub note: String,
}

/// Records that were offered but not written, with their cause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// Cause, for example `not-dns` or `truncated`.
    pub cause: String,
    /// Records concerned.
    pub records: u64,
    /// Bytes concerned.
    pub bytes: u64,
    /// Byte ranges [start, end) in the innermost layer; as many as fit.
    pub ranges: Vec<(u64, u64)>,
    /// Ranges that did not fit.
    pub ranges_omitted: u64,
    /// Words for people.
    pub detail: String,
}

/// What the caller knows when an item ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemSummary {
    /// Records that the item offered, written or not.
    pub offered: u64,
    /// Losses, including what was deliberately not kept.
    pub losses: Vec<Loss>,
    /// Digests known only after reading.
    pub layers: Vec<LayerDigest>,
    /// False if the item could not be read to its end.
    pub complete: bool,
    /// When, the caller's clock.
    pub time: Nanos,
    /// Free text of the caller, for example findings about the origin's clock or the Corefile.
    pub note: String,
}

/// Custody of an item ends: the accounting identity `stored + Σ losses = offered` holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemEnd {
    /// Item number in the order of the log.
    pub item: u32,
    /// SHA-256 of the item, as at its beginning.
    pub sha256: Sha256,
    /// Records offered.
    pub offered: u64,
    /// Records written.
    pub stored: u64,
    /// Leaves written (a record of several pieces has several).
    pub pieces: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Losses.
    pub losses: Vec<Loss>,
    /// Digests known only after reading.
    pub layers: Vec<LayerDigest>,
    /// False if the item could not be read to its end.
    pub complete: bool,
    /// When, the caller's clock.
    pub time: Nanos,
    /// Free text of the caller.
    pub note: String,
}

/// A file inside `evidence/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRef {
    /// Name inside `evidence/`.
    pub file: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: Sha256,
}

/// Why evidence may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapCause {
    /// An earlier run ended without closing the log.
    UncleanStop,
    /// An input changed between two runs, or while it was read.
    InputChanged,
    /// An input could not be read.
    ReadError,
    /// A limit of the program was reached.
    Limit,
    /// Other; the detail says.
    Other,
}

/// A gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GapEntry {
    /// Cause.
    pub cause: GapCause,
    /// Item concerned.
    pub item: Option<u32>,
    /// Records known to be missing (0: none, or not known).
    pub records: u64,
    /// Words for people.
    pub detail: String,
    /// Bytes kept aside.
    pub quarantine: Option<FileRef>,
    /// When it was noticed, the caller's clock.
    pub time: Nanos,
}

/// What was concluded from a prefix of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conclusion {
    /// Number of log entries that the analysis read.
    pub prefix: u64,
    /// Hash of the rule set (rules, thresholds, profile).
    pub rules: Sha256,
    /// SHA-256 of `findings.jsonl`.
    pub findings: Sha256,
    /// SHA-256 of `outcome.json`: coverage, incidents and findings.
    pub outcome: Sha256,
    /// Tool and version.
    pub tool: String,
    /// When, the caller's clock.
    pub time: Nanos,
    /// Free text of the caller.
    pub note: String,
}

/// A sealed segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentManifest {
    /// Segment number, from 0.
    pub segment: u64,
    /// Its file: name inside `evidence/`, size, SHA-256 (`sha256sum` checks it).
    pub file: FileRef,
    /// Leaves.
    pub leaves: u64,
    /// Leaves in the segments before.
    pub first_leaf: u64,
    /// Root of the RFC 6962 tree over its leaves.
    pub root: Sha256,
    /// Offset of its footer.
    pub footer_offset: u64,
    /// SHA-256 of its footer.
    pub footer_sha256: Sha256,
    /// Raw bytes of evidence in it.
    pub raw_bytes: u64,
}

/// The first entry of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// Origin of the log, `truename/<case id>`.
    pub origin: String,
    /// Verifier key that signs the checkpoints.
    pub vkey: String,
    /// Tool and version.
    pub tool: String,
    /// When, the caller's clock.
    pub time: Nanos,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum LogEntry {
    /// Key of the log.
    Key(KeyEntry),
    /// Custody begins.
    ItemBegin(ItemBegin),
    /// Custody ends.
    ItemEnd(ItemEnd),
    /// A segment was sealed.
    Segment(SegmentManifest),
    /// Something is missing.
    Gap(GapEntry),
    /// Something was concluded.
    Conclusion(Conclusion),
}

impl LogEntry {
    /// Canonical bytes.
    ///
    /// # Errors
    /// [`Error::Refused`] beyond 65,535 bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let bytes = serde_json::to_vec(self)
            .map_err(|e| Error::Refused(format!("an entry without text form: {e}")))?;
        if bytes.len() > MAX_ENTRY {
            return Err(Error::Refused(format!(
                "a log entry of {} bytes (at most {MAX_ENTRY})",
                bytes.len()
            )));
        }
        Ok(bytes)
    }

    /// Parses canonical bytes; any other spelling of the same entry is refused.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let entry: Self = serde_json::from_slice(bytes).ok()?;
        (entry.to_bytes().ok()? == bytes).then_some(entry)
    }
}

/// Shortens range lists until an item-end entry fits.
pub(crate) fn fit(mut end: ItemEnd) -> Result<LogEntry> {
    loop {
        let entry = LogEntry::ItemEnd(end.clone());
        if entry.to_bytes().is_ok() {
            return Ok(entry);
        }
        let Some(longest) = end.losses.iter_mut().max_by_key(|loss| loss.ranges.len()) else {
            entry.to_bytes()?;
            return Ok(entry);
        };
        if longest.ranges.is_empty() {
            entry.to_bytes()?;
        }
        let keep = longest.ranges.len() / 2;
        longest.ranges_omitted += (longest.ranges.len() - keep) as u64;
        longest.ranges.truncate(keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_one_spelling() {
        let entry = LogEntry::Gap(GapEntry {
            cause: GapCause::UncleanStop,
            item: None,
            records: 0,
            detail: "a \"quoted\" \u{1b}[31m name".into(),
            quarantine: None,
            time: Nanos(5),
        });
        let bytes = entry.to_bytes().unwrap();
        assert_eq!(LogEntry::parse(&bytes), Some(entry));
        let text = String::from_utf8(bytes).unwrap();
        for bad in [format!(" {text}"), text.replace(":0", ":00"), text.replacen('{', "{\"x\":1,", 1)] {
            assert_eq!(LogEntry::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn range_lists_are_cut_to_fit_and_say_how_many_are_missing() {
        let ranges = (0..20_000).map(|i| (i, i + 1)).collect();
        let loss = Loss { cause: "not-dns".into(), records: 20_000, ranges, ..Loss::default() };
        let LogEntry::ItemEnd(end) = fit(ItemEnd { losses: vec![loss], ..ItemEnd::default() }).unwrap()
        else {
            panic!("another entry")
        };
        assert_eq!(end.losses[0].ranges.len() as u64 + end.losses[0].ranges_omitted, 20_000);
        assert!(end.losses[0].ranges.len() > 1_000);
        let huge = ItemEnd { note: "x".repeat(70_000), ..ItemEnd::default() };
        assert!(fit(huge).is_err());
    }
}
