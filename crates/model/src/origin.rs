//! Where a record comes from: the item (file, or layer inside one), its ordinal there, and the origin's clock and place.
//!
//! Deliberately absent: reading anything; digests are values computed elsewhere.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A SHA-256 digest (FIPS 180-4). Shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// Parses 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 64 {
            return None;
        }
        let mut out = [0u8; 32];
        for (slot, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
            let high = (pair[0] as char).to_digit(16)?;
            let low = (pair[1] as char).to_digit(16)?;
            *slot = (high * 16 + low) as u8;
        }
        Some(Self(out))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("a digest has 64 hexadecimal digits"))
    }
}

/// One record: the item's number in the case's fixed item order and the record's ordinal inside that item.
///
/// Item numbers are local to one run; what leaves the program cites the item's SHA-256 instead (design, I3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordRef {
    /// Index of the item in this run.
    pub item: u32,
    /// Zero-based ordinal of the record in the item, counting every split record.
    pub ordinal: u64,
}

/// Index of an [`Origin`] in this run's table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OriginId(pub u32);

/// A fact about an origin, with how it came to be known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Known<T> {
    /// Read in the evidence itself; the text says where.
    Found(T, String),
    /// Stated by the operator (`--origin`).
    Given(T),
    /// Not known.
    #[default]
    Unknown,
}

impl<T> Known<T> {
    /// The value, if known.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Found(value, _) | Self::Given(value) => Some(value),
            Self::Unknown => None,
        }
    }
}

/// The side of a DNS server on which packets were captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Between clients and the server.
    Client,
    /// Between the server and its upstreams.
    Upstream,
}

/// Where the records of an item were observed (design §6). Nothing is joined across clusters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Cluster name or the UID of its `kube-system` namespace.
    pub cluster: Known<String>,
    /// DNS server instance (CoreDNS pod name, dnstap identity) that observed the records.
    pub replica: Known<String>,
    /// Node of that instance.
    pub node: Known<String>,
    /// CoreDNS version, for example `1.15.0`.
    pub version: Known<String>,
    /// Offset to add to this origin's clock to reach the reference clock, in nanoseconds: (lowest, highest).
    pub clock_offset_ns: Known<(i64, i64)>,
    /// Offset of the time zone of zoneless times, seconds east of UTC.
    pub zone_secs: Known<i32>,
    /// Side of the instance on which the item's packets were captured.
    pub leg: Known<Side>,
    /// The instance's own addresses, as the operator states them.
    pub addresses: Vec<IpAddr>,
}

/// Shared reference to an origin.
pub type OriginRef = Arc<Origin>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_survives_its_text_form_and_refuses_others() {
        let text = "485f623cc1c6e2a7011f6e764d725f61ad0c2d4a9e333d3480d874af9a77d21d";
        assert_eq!(Sha256::parse(text).map(|d| d.to_string()).as_deref(), Some(text));
        assert_eq!(Sha256::parse(&text[1..]), None);
        assert_eq!(Sha256::parse(&text.replace('4', "g")), None);
    }
}
