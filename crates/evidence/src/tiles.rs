//! C2SP tlog-tiles: which files a log of a given size has, and what they hold.
//!
//! Enters: sizes, leaf hashes, entries; leaves: names and contents of tiles and entry bundles, parsed bundles.
//! Deliberately absent: files. Source: c2sp.org/tlog-tiles (256-wide tiles, `uint16` length before each entry).

use crate::codec::Bytes;
use crate::merkle::{self, Hash};

/// Width of a tile.
pub(crate) const WIDTH: u64 = 256;
/// Most entries of a log that is accepted.
pub(crate) const MAX_ENTRIES: u64 = 1 << 22;

/// One tile or entry bundle: level (`None` for entries), index and width (1–256).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tile {
    pub(crate) level: Option<u8>,
    pub(crate) index: u64,
    pub(crate) width: u64,
}

impl Tile {
    /// Name inside `evidence/`.
    pub(crate) fn name(&self) -> String {
        let level = self.level.map_or_else(|| "entries".to_owned(), |level| level.to_string());
        let mut index = format!("{:03}", self.index % 1000);
        let mut rest = self.index / 1000;
        while rest > 0 {
            index = format!("x{:03}/{index}", rest % 1000);
            rest /= 1000;
        }
        let partial = if self.width == WIDTH { String::new() } else { format!(".p/{}", self.width) };
        format!("tile/{level}/{index}{partial}")
    }

    /// Content of a hash tile over all leaf hashes of the log; empty for an entry bundle.
    pub(crate) fn hashes(&self, leaves: &[Hash]) -> Vec<u8> {
        let Some(level) = self.level else { return Vec::new() };
        let span = 1usize << (8 * u32::from(level));
        let start = self.index as usize * WIDTH as usize * span;
        let covered = leaves.get(start..start + self.width as usize * span).unwrap_or_default();
        covered.chunks_exact(span).flat_map(merkle::root).collect()
    }
}

/// Every tile and entry bundle of a log of `size` entries, entry bundles first.
pub(crate) fn files(size: u64) -> Vec<Tile> {
    let mut out = Vec::new();
    for level in [None, Some(0u8), Some(1), Some(2), Some(3)] {
        let nodes = size >> (8 * u32::from(level.unwrap_or(0)));
        for index in 0..nodes.div_ceil(WIDTH) {
            out.push(Tile { level, index, width: (nodes - index * WIDTH).min(WIDTH) });
        }
    }
    out
}

/// Serialises an entry bundle.
pub(crate) fn bundle<'a>(entries: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        // Entries are at most 65,535 bytes (`LogEntry::to_bytes`).
        out.extend_from_slice(&(entry.len() as u16).to_be_bytes());
        out.extend_from_slice(entry);
    }
    out
}

/// Splits an entry bundle into its entries; `None` if it does not hold exactly `width` of them.
pub(crate) fn parse_bundle(bytes: &[u8], width: u64) -> Option<Vec<&[u8]>> {
    let mut input = Bytes::new(bytes);
    let mut out = Vec::new();
    for _ in 0..width {
        let len = input.take(2)?;
        out.push(input.take(usize::from(u16::from_be_bytes([len[0], len[1]])))?);
    }
    input.is_empty().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_specification() {
        let name = |level, index, width| Tile { level, index, width }.name();
        assert_eq!(name(Some(0), 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(name(Some(1), 0, 5), "tile/1/000.p/5");
        assert_eq!(name(None, 273, 112), "tile/entries/273.p/112");
    }

    /// The example of the specification: a tree of 70,000 leaves.
    #[test]
    fn a_tree_of_70000_has_the_tiles_of_the_specification() {
        let files = files(70_000);
        let count = |level: Option<u8>| files.iter().filter(|t| t.level == level).count();
        assert_eq!((count(Some(0)), count(Some(1)), count(Some(2)), count(Some(3))), (274, 2, 1, 0));
        let last: Vec<String> = files.iter().filter(|t| t.width < WIDTH).map(Tile::name).collect();
        assert_eq!(last, ["tile/entries/273.p/112", "tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]);
    }

    #[test]
    fn a_tile_of_level_one_holds_the_roots_of_tiles_of_level_zero() {
        let leaves: Vec<Hash> = (0..600u32).map(|i| merkle::leaf_hash(&i.to_le_bytes())).collect();
        let tile = Tile { level: Some(1), index: 0, width: 2 }.hashes(&leaves);
        assert_eq!(tile[..32], merkle::root(&leaves[..256]));
        assert_eq!(tile[32..], merkle::root(&leaves[256..512]));
    }

    #[test]
    fn a_bundle_is_read_back_exactly_and_refused_otherwise() {
        let bytes = bundle([b"one".as_slice(), b"", b"three"].into_iter());
        assert_eq!(parse_bundle(&bytes, 3).unwrap(), [b"one".as_slice(), b"", b"three"]);
        assert_eq!(parse_bundle(&bytes, 2), None);
        assert_eq!(parse_bundle(&bytes[..bytes.len() - 1], 3), None);
    }
}
