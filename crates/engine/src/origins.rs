//! Where each item was observed: what the operator states, what its path tells, what its content tells, in that order.
//!
//! A path is custody, not content, but the kubelet's own layout (`<ns>_<pod>_<uid>/<container>/<n>.log`) names the
//! observing pod, and nothing else in a text log does. Deliberately absent: reading anything.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;
pub use truename_analysis::text::glob as glob_matches;

use truename_model::{Known, Origin, Side};

/// A statement of the operator about items (`--origin GLOB:key=value,…`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// Items whose path matches (`*` stands for any run of characters).
    pub glob: String,
    /// Cluster.
    pub cluster: Option<String>,
    /// DNS server instance.
    pub replica: Option<String>,
    /// Node.
    pub node: Option<String>,
    /// CoreDNS version.
    pub version: Option<String>,
    /// Zone of zoneless times, seconds east of UTC.
    pub zone_secs: Option<i32>,
    /// Year of times without one.
    pub year: Option<i32>,
    /// Nanoseconds to add to the item's clock.
    pub offset_ns: Option<i64>,
    /// Side of the instance on which the packets were captured.
    pub leg: Option<Side>,
    /// An address of the instance's own.
    pub address: Option<IpAddr>,
}

/// Why a statement cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "--origin {text}: {problem}; write GLOB:cluster=…,replica=…,node=…,version=…,tz=±HH:MM,year=YYYY,offset=±SECONDS,\
     leg=client|upstream,address=IP"
)]
pub struct OverrideError {
    text: String,
    problem: String,
}

impl Override {
    /// Reads `GLOB:key=value,…`.
    ///
    /// # Errors
    /// [`OverrideError`] naming the part that is off.
    pub fn parse(text: &str) -> Result<Self, OverrideError> {
        let wrong = |problem: &str| OverrideError { text: text.to_owned(), problem: problem.to_owned() };
        // The glob may hold colons (`C:`, IPv6), the assignments begin after the last colon before the first `=`.
        let equals = text.find('=').ok_or_else(|| wrong("no assignment"))?;
        let colon = text[..equals].rfind(':').ok_or_else(|| wrong("no colon after the glob"))?;
        let mut out = Self { glob: text[..colon].to_owned(), ..Self::default() };
        for part in text[colon + 1..].split(',') {
            let (key, value) = part.split_once('=').ok_or_else(|| wrong("an assignment without ="))?;
            let owned = || Some(value.to_owned());
            match key {
                "cluster" => out.cluster = owned(),
                "replica" => out.replica = owned(),
                "node" => out.node = owned(),
                "version" => out.version = owned(),
                "tz" => out.zone_secs = Some(zone(value).ok_or_else(|| wrong("tz is Z or ±HH:MM"))?),
                "year" => out.year = Some(value.parse().map_err(|_| wrong("year is a number"))?),
                "offset" => {
                    out.offset_ns = Some(seconds(value).ok_or_else(|| wrong("offset is in seconds"))?)
                }
                "leg" => out.leg = Some(side(value).ok_or_else(|| wrong("leg is client or upstream"))?),
                "address" => {
                    out.address = Some(value.parse().map_err(|_| wrong("address is an IP address"))?)
                }
                _ => return Err(wrong(&format!("unknown key {key}"))),
            }
        }
        Ok(out)
    }

    /// Lays the statement over an origin.
    pub fn apply(&self, origin: &mut Origin) {
        let set = |field: &mut Known<String>, value: &Option<String>| {
            if let Some(value) = value {
                *field = Known::Given(value.clone());
            }
        };
        set(&mut origin.cluster, &self.cluster);
        set(&mut origin.replica, &self.replica);
        set(&mut origin.node, &self.node);
        set(&mut origin.version, &self.version);
        if let Some(offset) = self.offset_ns {
            origin.clock_offset_ns = Known::Given((offset, offset));
        }
        if let Some(side) = self.leg {
            origin.leg = Known::Given(side);
        }
        origin.addresses.extend(self.address.filter(|address| !origin.addresses.contains(address)));
        if let Some(secs) = self.zone_secs {
            origin.zone_secs = Known::Given(secs);
        }
    }
}

fn zone(text: &str) -> Option<i32> {
    if text == "Z" || text == "UTC" {
        return Some(0);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    ((0..=14).contains(&hours) && (0..60).contains(&minutes)).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn side(text: &str) -> Option<Side> {
    match text {
        "client" => Some(Side::Client),
        "upstream" => Some(Side::Upstream),
        _ => None,
    }
}

fn seconds(text: &str) -> Option<i64> {
    let value: f64 = text.parse().ok()?;
    // A century bounds what an offset can mean.
    (value.abs() < 3.2e9).then_some((value * 1e9) as i64)
}

/// What the kubelet's log layout tells: (namespace, pod, uid).
#[must_use]
pub fn kubelet_log_path(path: &str) -> Option<(&str, &str, &str)> {
    path.split('/').find_map(|part| {
        let mut fields = part.split('_');
        let (namespace, pod, uid) = (fields.next()?, fields.next()?, fields.next()?);
        let plain = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        };
        (fields.next().is_none() && plain(namespace) && plain(pod) && uid.len() >= 8 && plain(uid))
            .then_some((namespace, pod, uid))
    })
}

/// The origin that a path alone tells.
#[must_use]
pub fn from_path(path: &str) -> Origin {
    let mut origin = Origin::default();
    if let Some((_, pod, _)) = kubelet_log_path(path) {
        origin.replica = Known::Found(pod.to_owned(), "kubelet log path".to_owned());
    }
    origin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_read_and_slips_named() {
        let read = Override::parse("logs/*:replica=coredns-a,tz=+01:30,offset=-3600.5").unwrap();
        assert_eq!((read.glob.as_str(), read.replica.as_deref()), ("logs/*", Some("coredns-a")));
        assert_eq!((read.zone_secs, read.offset_ns), (Some(5_400), Some(-3_600_500_000_000)));
        let read = Override::parse("*:leg=upstream,address=fd00::3").unwrap();
        assert_eq!((read.leg, read.address), (Some(Side::Upstream), "fd00::3".parse().ok()));
        for (bad, why) in [
            ("x", "no assignment"),
            ("a:b=c", "unknown key b"),
            ("a:tz=x", "tz is"),
            ("a:leg=up", "leg is"),
            ("a:address=x", "address is"),
            ("a=b", "no colon"),
        ] {
            assert!(Override::parse(bad).unwrap_err().to_string().contains(why), "{bad}");
        }
    }

    #[test]
    fn the_kubelet_layout_names_the_observing_pod() {
        let path = "pods/kube-system_coredns-7d4-x_0c9e2b1a-aaaa/coredns/0.log";
        assert_eq!(kubelet_log_path(path), Some(("kube-system", "coredns-7d4-x", "0c9e2b1a-aaaa")));
        assert_eq!(kubelet_log_path("a_b/c.log"), None);
    }
}
