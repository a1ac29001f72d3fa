//! Instants, intervals, and how well an instant is known. Enters: integers and RFC 3339 text; leaves: the same.
//!
//! Every instant is a count of nanoseconds since the Unix epoch, UTC, on the clock of the source that the
//! docstring names. Deliberately absent: the current time.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Nanoseconds since 1970-01-01T00:00:00Z; the clock is the source's unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nanos(pub i64);

/// One second in nanoseconds.
pub const SECOND: i64 = 1_000_000_000;
/// One millisecond in nanoseconds.
pub const MILLI: i64 = 1_000_000;

impl Nanos {
    /// Adds a signed number of nanoseconds, saturating at the ends of the range.
    #[must_use]
    pub const fn plus(self, ns: i64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// `self − other` in nanoseconds, saturating.
    #[must_use]
    pub const fn since(self, other: Self) -> i64 {
        self.0.saturating_sub(other.0)
    }

    /// Builds an instant from whole seconds and nanoseconds, `None` beyond the range.
    #[must_use]
    pub fn from_parts(secs: i64, nanos: u32) -> Option<Self> {
        secs.checked_mul(SECOND)?.checked_add(i64::from(nanos)).map(Self)
    }

    /// Parses RFC 3339 (`2026-11-22T03:55:59.901294713Z`, any offset, 0–9 fraction digits).
    #[must_use]
    pub fn parse_rfc3339(text: &[u8]) -> Option<Self> {
        let (head, rest) = text.split_at_checked(19)?;
        let digits = |range: std::ops::Range<usize>| decimal(head.get(range)?);
        let punctuation = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
        if punctuation.iter().any(|&(at, want)| head[at] != want) || !matches!(head[10], b'T' | b't' | b' ') {
            return None;
        }
        let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
        let (hour, minute, second) = (digits(11..13)?, digits(14..16)?, digits(17..19)?);
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let (fraction_ns, zone) = fraction(rest)?;
        let offset_secs = zone_offset_secs(zone)?;
        let days = days_from_civil(year, month, day);
        Self::from_parts(days * 86_400 + hour * 3_600 + minute * 60 + second - offset_secs, fraction_ns)
    }

    /// Calendar date and time of day, UTC: (year, month, day, hour, minute, second, nanosecond).
    #[must_use]
    pub fn civil(self) -> (i64, u32, u32, u32, u32, u32, u32) {
        let secs = self.0.div_euclid(SECOND);
        let nanos = self.0.rem_euclid(SECOND) as u32;
        let (year, month, day) = civil_from_days(secs.div_euclid(86_400));
        let of_day = secs.rem_euclid(86_400) as u32;
        (year, month, day, of_day / 3_600, of_day / 60 % 60, of_day % 60, nanos)
    }
}

/// RFC 3339 in UTC with nine fraction digits.
impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day, hour, minute, second, nanos) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
    }
}

/// Days since the epoch of a civil date (proleptic Gregorian). Months outside 1–12 are the caller's error.
#[must_use]
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": years begin in March, eras are 400 years.
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let of_era = y - era * 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let mp = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * mp + 2) / 5 + 1) as u32;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn decimal(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0i64, |acc, &b| b.is_ascii_digit().then(|| acc * 10 + i64::from(b - b'0')))
}

/// Splits `.123Z` into nanoseconds and the zone text.
fn fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    let Some(digits) = text.strip_prefix(b".") else { return Some((0, text)) };
    let len = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    if len == 0 || len > 9 {
        return None;
    }
    let value = decimal(&digits[..len])? as u32;
    Some((value * 10u32.pow(9 - len as u32), &digits[len..]))
}

fn zone_offset_secs(zone: &[u8]) -> Option<i64> {
    match zone {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (decimal(&[*h1, *h2])?, decimal(&[*m1, *m2])?);
            let secs = hours * 3_600 + minutes * 60;
            (hours < 24 && minutes < 60).then_some(if *sign == b'-' { -secs } else { secs })
        }
        _ => None,
    }
}

/// A closed interval of instants: `lo <= hi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Interval {
    /// Earliest possible instant.
    pub lo: Nanos,
    /// Latest possible instant; `lo <= hi`.
    pub hi: Nanos,
}

impl Interval {
    /// The interval that holds one instant.
    #[must_use]
    pub const fn at(instant: Nanos) -> Self {
        Self { lo: instant, hi: instant }
    }

    /// The interval between two instants given in any order.
    #[must_use]
    pub fn between(a: Nanos, b: Nanos) -> Self {
        Self { lo: a.min(b), hi: a.max(b) }
    }

    /// Widens both ends by `ns` nanoseconds (a skew bound).
    #[must_use]
    pub const fn widened(self, ns: i64) -> Self {
        Self { lo: self.lo.plus(-ns), hi: self.hi.plus(ns) }
    }

    /// Moves the whole interval by `ns` nanoseconds (a clock offset).
    #[must_use]
    pub const fn shifted(self, ns: i64) -> Self {
        Self { lo: self.lo.plus(ns), hi: self.hi.plus(ns) }
    }

    /// True if the two intervals share an instant.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.lo <= other.hi && other.lo <= self.hi
    }
}

/// Which clock an instant was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockBasis {
    /// The capturing kernel's time stamp of a packet.
    Packet,
    /// `query_time` or `response_time` of a dnstap message.
    Dnstap,
    /// The container runtime's line time: when the line was read, not when the query came.
    ContainerRuntime,
    /// A time inside the log line itself.
    LogLine,
    /// A journal's, syslog's or log collector's time: when it took the line.
    Journal,
    /// `stageTimestamp` or `requestReceivedTimestamp` of an audit event.
    Audit,
    /// A time field of a Kubernetes object (`creationTimestamp`, whole seconds).
    ObjectField,
    /// The time a snapshot or watch stream was taken.
    Snapshot,
    /// Derived (missing year or zone inferred); the basis is stated in the coverage.
    Inferred,
}

/// When a record was observed, as far as it can be known (design, "Time and origin").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObservedAt {
    /// The instant lies in the interval, by the named clock.
    Known(Interval, ClockBasis),
    /// Only the order inside its item is known: no attribution is possible.
    OrderOnly,
    /// Nothing is known.
    None,
}

impl ObservedAt {
    /// The interval, if one is known.
    #[must_use]
    pub fn interval(self) -> Option<Interval> {
        match self {
            Self::Known(interval, _) => Some(interval),
            Self::OrderOnly | Self::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc3339_is_read_with_any_offset_and_fraction() {
        let at = |text: &str| Nanos::parse_rfc3339(text.as_bytes()).map(|n| n.to_string());
        assert_eq!(at("1970-01-01T00:00:00Z").as_deref(), Some("1970-01-01T00:00:00.000000000Z"));
        assert_eq!(at("2026-11-22T03:55:59.9Z").as_deref(), Some("2026-11-22T03:55:59.900000000Z"));
        assert_eq!(at("2026-02-28T23:30:00-01:30").as_deref(), Some("2026-03-01T01:00:00.000000000Z"));
        for bad in [
            "2026-13-01T00:00:00Z",
            "2026-11-22T03:55:59",
            "2026-11-22T03:55:59.Z",
            "x",
            "2026-11-22T25:00:00Z",
        ] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn display_then_parse_gives_the_same_instant(ns in -1_000_000_000_000_000_000i64..4_000_000_000_000_000_000) {
            prop_assert_eq!(Nanos::parse_rfc3339(Nanos(ns).to_string().as_bytes()), Some(Nanos(ns)));
        }
    }
}
