//! CoreDNS versions and the order of plugins in each (`plugin.cfg`): within a server block the order of plugins is
//! this one, never the file's.
//!
//! Enters: version text; leaves: comparable versions and orders. Deliberately absent: behaviour by version.

use std::fmt;
use std::sync::LazyLock;

/// A CoreDNS version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u16, pub u16, pub u16);

impl Version {
    /// The newest version whose rules are known here; stands in where the version is unknown.
    pub const NEWEST: Self = Self(1, 15, 0);
    /// Oldest version whose plugin order is known here.
    pub const OLDEST: Self = Self(1, 8, 6);
    /// Blocks inside a plugin's block (caddy 1.1.4).
    pub const NESTED_BLOCKS: Self = Self(1, 15, 0);

    /// Reads `1.14.4`, `v1.14.4`, `CoreDNS-1.14.4`, with or without a suffix such as `-eksbuild.1`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim_start_matches(|ch: char| !ch.is_ascii_digit());
        let mut parts = digits.split('.').map(|part| {
            let end = part.find(|ch: char| !ch.is_ascii_digit()).unwrap_or(part.len());
            part[..end].parse::<u16>().ok()
        });
        let version = Self(parts.next()??, parts.next()??, parts.next().flatten().unwrap_or(0));
        // Pseudo-versions of vendors (v0.0.0-2026…) carry no version.
        (version.0 > 0).then_some(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

static ORDERS: LazyLock<Vec<(Version, Vec<&'static str>)>> = LazyLock::new(|| {
    let mut orders: Vec<_> = include_str!("../../data/plugin_order.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(": "))
        .filter_map(|(version, names)| Some((Version::parse(version)?, names.split(' ').collect())))
        .collect();
    orders.sort_by_key(|(version, _)| *version);
    orders
});

/// The plugins of a version in the order in which a query passes them. A version older than the oldest known has the
/// oldest order, one newer than the newest the newest.
#[must_use]
pub fn plugin_order(version: Version) -> &'static [&'static str] {
    let at = ORDERS.partition_point(|(since, _)| *since <= version).saturating_sub(1);
    ORDERS.get(at).map(|(_, names)| names.as_slice()).unwrap_or_default()
}

/// Position of a directive in the order of a version; `None` if that version does not know it.
#[must_use]
pub fn position(directive: &str, version: Version) -> Option<usize> {
    plugin_order(version).iter().position(|name| *name == directive)
}

/// True if any known version has the directive.
#[must_use]
pub fn is_known(directive: &str) -> bool {
    ORDERS.iter().any(|(_, names)| names.contains(&directive))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_tags_banners_and_dnstap() {
        for text in ["1.14.4", "v1.14.4", "CoreDNS-1.14.4", "v1.14.4-eksbuild.3", "registry/coredns:v1.14.4"]
        {
            assert_eq!(Version::parse(text), Some(Version(1, 14, 4)), "{text}");
        }
        assert_eq!(Version::parse("v0.0.0-20260101000000-abcdef"), None);
        assert_eq!(Version::parse("latest"), None);
    }

    #[test]
    fn acl_moved_before_the_cache_in_1_14_7() {
        let before =
            |a: &str, b: &str, version| position(a, version).unwrap() < position(b, version).unwrap();
        assert!(before("acl", "rewrite", Version(1, 14, 1)));
        assert!(before("cache", "acl", Version(1, 14, 4)));
        assert!(before("acl", "cache", Version(1, 14, 7)) && before("rewrite", "acl", Version(1, 14, 7)));
        assert!(
            position("dynupdate", Version(1, 14, 7)).is_none()
                && position("dynupdate", Version(1, 15, 3)).is_some()
        );
        assert_eq!(plugin_order(Version(1, 2, 0)), plugin_order(Version::OLDEST));
        assert_eq!(plugin_order(Version(1, 15, 0)).len(), 62);
    }
}
