//! Times as log lines carry them: RFC 3339, klog, syslog, Go's `log`, CLF. Enters: text; leaves: instants and the rest.
//!
//! A part that the text lacks (year, zone) comes from the decode context or is missing: nothing is assumed.

use truename_model::time::{SECOND, days_from_civil};
use truename_model::{ClockBasis, Interval, Nanos, ObservedAt};

/// Year and zone for times that lack them, and a memory of the last minute read.
#[derive(Clone, Debug, Default)]
pub(super) struct Stamps {
    zone_secs: Option<i32>,
    // Year of the newest yearless line; moves on when months go from December to January.
    year: Option<i32>,
    last_month: u32,
    minute_text: [u8; 17],
    minute: Option<i64>,
}

/// An instant found at the start of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// When, or that only the order is known.
    pub(super) at: ObservedAt,
    /// Octets of the time text.
    pub(super) len: usize,
    /// Digits of the fraction: three are CoreDNS's own, nine the runtime's.
    pub(super) fraction: usize,
}

impl Stamps {
    pub(super) fn new(zone_secs: Option<i32>, year: Option<i32>) -> Self {
        Self { zone_secs, year, ..Self::default() }
    }

    /// RFC 3339 at the start of `text`, followed by a space.
    pub(super) fn rfc3339(&mut self, text: &[u8], basis: ClockBasis) -> Option<Stamp> {
        let head = text.get(..17)?;
        if head[4] != b'-' || !matches!(head[10], b'T' | b' ') {
            return None;
        }
        let len = 17 + text[17..].iter().take(24).position(|&octet| octet == b' ')?;
        let whole = &text[..len];
        let fraction = match whole.get(19..) {
            Some([b'.', tail @ ..]) => tail.iter().take_while(|octet| octet.is_ascii_digit()).count(),
            _ => 0,
        };
        let nanos = match self.same_minute(whole) {
            Some(nanos) => nanos,
            None => {
                let nanos = Nanos::parse_rfc3339(whole).or_else(|| short_offset(whole))?;
                self.remember(whole, nanos);
                nanos
            }
        };
        let interval = if fraction == 0 { second(nanos) } else { Interval::at(nanos) };
        Some(Stamp { at: ObservedAt::Known(interval, basis), len, fraction })
    }

    /// The fast path: `YYYY-MM-DDTHH:MM:` as last time, then `SS.fffffffffZ`.
    fn same_minute(&self, whole: &[u8]) -> Option<Nanos> {
        let base = self.minute?;
        let rest = whole.strip_prefix(&self.minute_text)?;
        let [tens @ b'0'..=b'5', ones @ b'0'..=b'9', b'.', digits @ .., b'Z'] = rest else { return None };
        if digits.is_empty() || digits.len() > 9 {
            return None;
        }
        let mut nanos = 0i64;
        for &digit in digits {
            let value = digit.wrapping_sub(b'0');
            if value > 9 {
                return None;
            }
            nanos = nanos * 10 + i64::from(value);
        }
        for _ in digits.len()..9 {
            nanos *= 10;
        }
        let secs = i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
        Some(Nanos(base).plus(secs * SECOND + nanos))
    }

    fn remember(&mut self, whole: &[u8], nanos: Nanos) {
        if whole.ends_with(b"Z") && &whole[17..19] != b"60" {
            self.minute_text.copy_from_slice(&whole[..17]);
            self.minute = Some(nanos.0.div_euclid(60 * SECOND) * 60 * SECOND);
        }
    }

    /// klog `MMDD hh:mm:ss.uuuuuu`, after its level letter.
    pub(super) fn klog(&mut self, text: &[u8]) -> Option<Stamp> {
        let month = decimal(text.get(..2)?)?;
        let day = decimal(text.get(2..4)?)?;
        let (secs, nanos, len) = clock(text.get(5..)?)?;
        (text[4] == b' ').then_some(())?;
        Some(Stamp {
            at: self.yearless(month, day, secs, nanos, ClockBasis::LogLine)?,
            len: 5 + len,
            fraction: 6,
        })
    }

    /// syslog and `journalctl -o short[-precise]`: `Jun  2 12:34:56[.789012]`.
    pub(super) fn syslog(&mut self, text: &[u8]) -> Option<Stamp> {
        let month = month(text.get(..3)?)?;
        let day = match text.get(3..7)? {
            [b' ', b' ', ones, b' '] => decimal(&[*ones])?,
            [b' ', tens, ones, b' '] => decimal(&[*tens, *ones])?,
            _ => return None,
        };
        let (secs, nanos, len) = clock(text.get(7..)?)?;
        Some(Stamp {
            at: self.yearless(month, day, secs, nanos, ClockBasis::Journal)?,
            len: 7 + len,
            fraction: 0,
        })
    }

    fn yearless(
        &mut self,
        month: i64,
        day: i64,
        secs: i64,
        nanos: Option<u32>,
        basis: ClockBasis,
    ) -> Option<ObservedAt> {
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        let (Some(year), Some(zone)) = (self.year, self.zone_secs) else {
            return Some(ObservedAt::OrderOnly);
        };
        let year = if self.last_month == 12 && month == 1 { year.saturating_add(1) } else { year };
        self.year = Some(year);
        self.last_month = month as u32;
        Some(known(i64::from(year), month, day, secs - i64::from(zone), nanos, basis))
    }

    /// Go's `log`: `2018/09/21 00:09:46` in the process's zone; also with `-` and in brackets.
    pub(super) fn zoneless(&self, text: &[u8]) -> Option<Stamp> {
        let [year, month, day] = [0..4, 5..7, 8..10].map(|range| text.get(range).and_then(decimal));
        let (year, month, day) = (year?, month?, day?);
        let separator = text[4];
        if !matches!(separator, b'/' | b'-') || text[7] != separator || *text.get(10)? != b' ' {
            return None;
        }
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        let (secs, nanos, len) = clock(text.get(11..)?)?;
        let at = match self.zone_secs {
            Some(zone) => known(year, month, day, secs - i64::from(zone), nanos, ClockBasis::LogLine),
            None => ObservedAt::OrderOnly,
        };
        Some(Stamp { at, len: 11 + len, fraction: 0 })
    }
}

/// CLF `14/Jan/2019:16:05:51 +0000`.
pub(super) fn clf(text: &[u8]) -> Option<ObservedAt> {
    let [day, year] = [0..2, 7..11].map(|range| text.get(range).and_then(decimal));
    let (day, year) = (day?, year?);
    let month = month(text.get(3..6)?)?;
    let (secs, nanos, len) = clock(text.get(12..)?)?;
    let zone = text.get(12 + len..)?;
    let [b' ', sign @ (b'+' | b'-'), h1, h2, m1, m2] = zone else { return None };
    let offset = decimal(&[*h1, *h2])? * 3_600 + decimal(&[*m1, *m2])? * 60;
    let offset = if *sign == b'-' { -offset } else { offset };
    if [text[2], text[6], text[11]] != [b'/', b'/', b':'] || !(1..=31).contains(&day) {
        return None;
    }
    Some(known(year, month, day, secs - offset, nanos, ClockBasis::LogLine))
}

/// journald's short-iso and strftime's `+0000` lack the colon that RFC 3339 asks for.
fn short_offset(text: &[u8]) -> Option<Nanos> {
    let (head, zone) = text.split_at_checked(text.len().checked_sub(5)?)?;
    let [sign, h1, h2, m1, m2] = *zone else { return None };
    if !matches!(sign, b'+' | b'-') || head.len() > 35 {
        return None;
    }
    let mut buffer = [0u8; 48];
    buffer[..head.len()].copy_from_slice(head);
    buffer[head.len()..head.len() + 6].copy_from_slice(&[sign, h1, h2, b':', m1, m2]);
    Nanos::parse_rfc3339(&buffer[..head.len() + 6])
}

/// A time printed in whole seconds: any moment of that second.
fn second(nanos: Nanos) -> Interval {
    Interval { lo: nanos, hi: nanos.plus(SECOND - 1) }
}

/// `nanos`: none where whole seconds were printed.
fn known(year: i64, month: i64, day: i64, secs: i64, nanos: Option<u32>, basis: ClockBasis) -> ObservedAt {
    match Nanos::from_parts(days_from_civil(year, month, day) * 86_400 + secs, nanos.unwrap_or(0)) {
        Some(instant) if nanos.is_none() => ObservedAt::Known(second(instant), basis),
        Some(instant) => ObservedAt::Known(Interval::at(instant), basis),
        None => ObservedAt::OrderOnly,
    }
}

/// `hh:mm:ss[.fraction]`: seconds of the day, nanoseconds where there is a fraction, octets read.
fn clock(text: &[u8]) -> Option<(i64, Option<u32>, usize)> {
    let [hour, minute, second] = [0..2, 3..5, 6..8].map(|range| text.get(range).and_then(decimal));
    let (hour, minute, second) = (hour?, minute?, second?);
    if text[2] != b':' || text[5] != b':' || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut len = 8;
    let mut nanos = None;
    if text.get(8) == Some(&b'.') {
        let digits = text[9..].iter().take(9).take_while(|octet| octet.is_ascii_digit()).count();
        nanos = Some(decimal(&text[9..9 + digits])? as u32 * 10u32.pow(9 - digits as u32));
        len = 9 + digits;
    }
    Some((hour * 3_600 + minute * 60 + second, nanos, len))
}

fn month(text: &[u8]) -> Option<i64> {
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    MONTHS.chunks_exact(3).position(|name| name == text).map(|index| index as i64 + 1)
}

/// Up to nine decimal digits.
fn decimal(text: &[u8]) -> Option<i64> {
    crate::logformat::number(text).map(i64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(at: ObservedAt) -> String {
        at.interval().map_or("order only".to_owned(), |interval| interval.lo.to_string())
    }

    #[test]
    fn rfc3339_is_the_same_by_the_fast_path_and_by_the_slow_one() {
        let mut stamps = Stamps::default();
        for text in [
            "2026-11-22T03:55:59.901294713Z ",
            "2026-11-22T03:55:07.5Z ",
            "2026-11-22T03:55:08Z ",
            "2026-11-22T04:55:58.000000001+01:00 ",
            "2026-11-22T03:56:00.123456789Z ",
            "2026-11-22T03:56:61.1Z ",
        ] {
            let want = Nanos::parse_rfc3339(text.trim_end().as_bytes());
            let got = stamps.rfc3339(text.as_bytes(), ClockBasis::LogLine);
            assert_eq!(got.and_then(|stamp| stamp.at.interval()).map(|i| i.lo), want, "{text}");
        }
        let short = stamps.rfc3339(b"2026-11-22T04:55:58+0100 x", ClockBasis::Journal).unwrap();
        assert_eq!(shown(short.at), "2026-11-22T03:55:58.000000000Z");
    }

    #[test]
    fn yearless_times_need_year_and_zone_and_cross_new_year() {
        let mut none = Stamps::new(None, Some(2026));
        assert_eq!(none.klog(b"0602 12:34:56.789012 ").unwrap().at, ObservedAt::OrderOnly);
        let mut stamps = Stamps::new(Some(3_600), Some(2026));
        assert_eq!(
            shown(stamps.klog(b"0602 12:34:56.789012 ").unwrap().at),
            "2026-06-02T11:34:56.789012000Z"
        );
        assert_eq!(shown(stamps.syslog(b"Dec 31 23:59:59 ").unwrap().at), "2026-12-31T22:59:59.000000000Z");
        assert_eq!(shown(stamps.syslog(b"Jan  1 01:00:00 ").unwrap().at), "2027-01-01T00:00:00.000000000Z");
        assert_eq!(stamps.klog(b"1302 12:34:56.789012 "), None);
    }

    #[test]
    fn old_prefixes() {
        let at = Stamps::new(Some(0), None).zoneless(b"2018/09/21 00:09:46 [ERROR]").unwrap().at;
        assert_eq!(shown(at), "2018-09-21T00:09:46.000000000Z");
        assert_eq!(shown(clf(b"14/Jan/2019:16:05:51 +0130").unwrap()), "2019-01-14T14:35:51.000000000Z");
        assert_eq!(clf(b"14/Jax/2019:16:05:51 +0130"), None);
    }

    #[test]
    fn every_prefix_of_every_time_is_read_or_refused() {
        for text in [
            "2026-11-22T03:55:59.901294713Z ",
            "2018/09/21 00:09:46 ",
            "Jan  1 01:00:00 ",
            "0602 12:34:56.789012 ",
        ] {
            for len in 0..text.len() {
                let part = &text.as_bytes()[..len];
                let mut stamps = Stamps::new(Some(0), Some(2026));
                let _ = (stamps.rfc3339(part, ClockBasis::LogLine), stamps.klog(part), stamps.syslog(part));
                let _ = (stamps.zoneless(part), clf(part));
            }
        }
    }
}
