//! Words as values: numbers, durations, addresses, names, codes, patterns, as CoreDNS and Go read them.
//!
//! Enters: one word; leaves: the value, or a phrase that says why CoreDNS refuses it.
//! Deliberately absent: which option takes which value (see `schema`).

use std::net::IpAddr;

use truename_model::{Class, Name, Rcode, Rtype};

use super::zone::{Transport, normalize_exact, parse_cidr};

/// Longest pattern that CoreDNS compiles (`maxRegexpLen`).
const MAX_PATTERN: usize = 10_000;
/// Bound on a compiled pattern and on its scratch memory, octets; a larger one counts as "may match".
const PATTERN_SIZE: usize = 1 << 16;

/// What a word must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Any word.
    Any,
    /// A whole number in a closed range (`strconv.Atoi`).
    Int(i64, i64),
    /// A whole number without sign that fits 32 bits.
    Unsigned,
    /// A number of at least this value.
    Float(f64),
    /// A Go duration in a closed range of nanoseconds.
    Duration(i64, i64),
    /// A number of seconds or a Go duration, above zero.
    Seconds,
    /// A percentage in a closed range: `10%`.
    Percent(i64, i64),
    /// A domain name.
    Name,
    /// A zone or network that CoreDNS can normalise.
    Zone,
    /// A network in CIDR notation.
    Network,
    /// An IP address.
    Ip,
    /// `host:port`.
    HostPort,
    /// An IP address, with or without a port.
    Target,
    /// A response code's mnemonic, any case.
    Rcode,
    /// A type's mnemonic, upper case.
    Rtype,
    /// A class's mnemonic, upper case.
    Class,
    /// A regular expression.
    Pattern,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words in any case.
    OneOfAnyCase(&'static [&'static str]),
}

impl Kind {
    /// Checks a word.
    ///
    /// # Errors
    /// A phrase that says what the word should have been.
    pub fn check(self, word: &str) -> Result<(), String> {
        let ok = match self {
            Self::Any => true,
            Self::Int(lo, hi) => return integer(word, lo, hi).map(|_| ()),
            Self::Unsigned => unsigned(word).is_some(),
            Self::Float(lo) => word.parse::<f64>().is_ok_and(|value| value >= lo),
            Self::Duration(lo, hi) => return duration_between(word, lo, hi).map(|_| ()),
            Self::Seconds => seconds(word).is_some_and(|ns| ns > 0),
            Self::Percent(lo, hi) => {
                word.strip_suffix('%').is_some_and(|digits| integer(digits, lo, hi).is_ok())
            }
            Self::Name => is_name(word),
            Self::Zone => !normalize_exact(word).is_empty(),
            Self::Network => parse_cidr(word).is_some(),
            Self::Ip => ip(word).is_some(),
            Self::HostPort => split_port(word).is_some(),
            Self::Target => target(word).is_some(),
            Self::Rcode => rcode(word).is_some(),
            Self::Rtype => rtype(word).is_some(),
            Self::Class => class(word).is_some(),
            Self::Pattern => return Pattern::check(word),
            Self::OneOf(words) => words.contains(&word),
            Self::OneOfAnyCase(words) => words.iter().any(|one| one.eq_ignore_ascii_case(word)),
        };
        if ok { Ok(()) } else { Err(format!("'{word}' is not {}", self.description())) }
    }

    /// What a word of this kind is, for messages.
    #[must_use]
    pub fn description(self) -> String {
        match self {
            Self::Any => "a word".to_owned(),
            Self::Int(lo, hi) => range_text("a whole number", lo, hi),
            Self::Unsigned => "a whole number from 0 to 4294967295".to_owned(),
            Self::Float(lo) => format!("a number from {lo}"),
            Self::Duration(..) => "a duration such as 30s in the allowed range".to_owned(),
            Self::Seconds => "a number of seconds or a duration above zero".to_owned(),
            Self::Percent(lo, hi) => format!("a percentage from {lo}% to {hi}%"),
            Self::Name => "a domain name".to_owned(),
            Self::Zone => "a zone".to_owned(),
            Self::Network => "a network such as 10.0.0.0/8".to_owned(),
            Self::Ip => "an IP address".to_owned(),
            Self::HostPort => "an address with a port, host:port".to_owned(),
            Self::Target => "an IP address with or without a port".to_owned(),
            Self::Rcode => "a response code such as NXDOMAIN".to_owned(),
            Self::Rtype => "a record type such as AAAA, in upper case".to_owned(),
            Self::Class => "a class such as IN, in upper case".to_owned(),
            Self::Pattern => "a regular expression".to_owned(),
            Self::OneOf(words) | Self::OneOfAnyCase(words) => format!("one of: {}", words.join(", ")),
        }
    }
}

fn range_text(what: &str, lo: i64, hi: i64) -> String {
    match (lo, hi) {
        (i64::MIN, i64::MAX) => what.to_owned(),
        (_, i64::MAX) => format!("{what} from {lo}"),
        _ => format!("{what} from {lo} to {hi}"),
    }
}

/// A whole number as `strconv.Atoi` reads it, within a closed range.
///
/// # Errors
/// A phrase that says what the word should have been.
pub fn integer(word: &str, lo: i64, hi: i64) -> Result<i64, String> {
    match word.parse::<i64>() {
        Ok(value) if (lo..=hi).contains(&value) => Ok(value),
        _ => Err(format!("'{word}' is not {}", range_text("a whole number", lo, hi))),
    }
}

/// A number without sign that fits 32 bits (`strconv.ParseUint(s, 10, 32)`).
#[must_use]
pub fn unsigned(word: &str) -> Option<u32> {
    word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse().ok()).flatten()
}

/// A Go duration (`time.ParseDuration`) in nanoseconds.
#[must_use]
pub fn duration(word: &str) -> Option<i64> {
    let (negative, mut rest) = match word.as_bytes().first()? {
        b'-' => (true, &word[1..]),
        b'+' => (false, &word[1..]),
        _ => (false, word),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0i128;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|ch: char| !ch.is_ascii_digit() && ch != '.').filter(|&at| at > 0)?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|ch: char| ch.is_ascii_digit() || ch == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        let unit_ns: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        total = total.checked_add(scaled(number, unit_ns)?)?;
        if total > i128::from(i64::MAX) + i128::from(negative) {
            return None;
        }
        rest = next;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// `12.5` times a unit.
fn scaled(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() > 19 {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut value = whole.checked_mul(unit)?;
    // Beyond 18 digits a fraction changes nothing.
    let digits = &fraction[..fraction.len().min(18)];
    if !digits.is_empty() {
        let divisor = 10i128.checked_pow(u32::try_from(digits.len()).ok()?)?;
        value = value.checked_add(digits.parse::<i128>().ok()?.checked_mul(unit)?.checked_div(divisor)?)?;
    }
    Some(value)
}

/// A Go duration within a closed range of nanoseconds.
///
/// # Errors
/// A phrase that says what the word should have been.
pub fn duration_between(word: &str, lo: i64, hi: i64) -> Result<i64, String> {
    match duration(word) {
        None => Err(format!("'{word}' is no duration such as 30s")),
        Some(ns) if ns < lo => Err(format!("the duration {word} is too short")),
        Some(ns) if ns > hi => Err(format!("the duration {word} is too long")),
        Some(ns) => Ok(ns),
    }
}

/// A bare number of seconds, or a Go duration; nanoseconds.
#[must_use]
pub fn seconds(word: &str) -> Option<i64> {
    match word.parse::<i64>() {
        Ok(secs) => secs.checked_mul(1_000_000_000),
        Err(_) => duration(word),
    }
}

/// True if miekg/dns takes the word for a domain name.
#[must_use]
pub fn is_name(word: &str) -> bool {
    !word.is_empty() && Name::parse(word).is_ok()
}

/// An IP address, an IPv6 zone cut off.
#[must_use]
pub fn ip(word: &str) -> Option<IpAddr> {
    word.rsplit_once('%').map_or(word, |(address, _)| address).parse().ok()
}

/// `host:port` as `net.SplitHostPort` splits it; brackets around the host are cut off.
#[must_use]
pub fn split_port(word: &str) -> Option<(&str, &str)> {
    if let Some(rest) = word.strip_prefix('[') {
        let (host, tail) = rest.split_once(']')?;
        let port = tail.strip_prefix(':')?;
        return (!host.contains(['[', ']']) && !port.contains([':', '[', ']'])).then_some((host, port));
    }
    let (host, port) = word.rsplit_once(':')?;
    (!host.contains([':', '[', ']']) && !port.contains(['[', ']'])).then_some((host, port))
}

/// An IP address with or without a port (`parse.HostPort`).
#[must_use]
pub fn target(word: &str) -> Option<(IpAddr, Option<u16>)> {
    let (_, word) = (Transport::Dns, word);
    match split_port(word) {
        Some((host, "")) => Some((ip(host)?, None)),
        Some((host, port)) => Some((ip(host)?, Some(port.parse().ok()?))),
        None => Some((ip(word)?, None)),
    }
}

/// A response code, any case.
#[must_use]
pub fn rcode(word: &str) -> Option<Rcode> {
    let upper = word.to_ascii_uppercase();
    match upper.as_str() {
        "NOTIMPL" => Some(Rcode::NOTIMP),
        "BADSIG" => Some(Rcode::BADVERS),
        "BADMODE" => Some(Rcode(19)),
        "BADNAME" => Some(Rcode(20)),
        "BADALG" => Some(Rcode(21)),
        "BADTRUNC" => Some(Rcode(22)),
        known => Rcode::parse(known).filter(|_| !known.starts_with("RCODE")),
    }
}

/// Types of miekg/dns that the model's registry does not name.
const MORE_TYPES: [(&str, u16); 46] = [
    ("None", 0),
    ("MD", 3),
    ("MF", 4),
    ("MB", 7),
    ("MG", 8),
    ("MR", 9),
    ("WKS", 11),
    ("MINFO", 14),
    ("AFSDB", 18),
    ("X25", 19),
    ("ISDN", 20),
    ("RT", 21),
    ("NSAP-PTR", 23),
    ("PX", 26),
    ("GPOS", 27),
    ("NXT", 30),
    ("EID", 31),
    ("NIMLOC", 32),
    ("ATMA", 34),
    ("KX", 36),
    ("APL", 42),
    ("IPSECKEY", 45),
    ("DHCID", 49),
    ("SMIMEA", 53),
    ("HIP", 55),
    ("NINFO", 56),
    ("RKEY", 57),
    ("TALINK", 58),
    ("CDNSKEY", 60),
    ("OPENPGPKEY", 61),
    ("CSYNC", 62),
    ("ZONEMD", 63),
    ("UINFO", 100),
    ("UID", 101),
    ("GID", 102),
    ("UNSPEC", 103),
    ("NID", 104),
    ("L32", 105),
    ("L64", 106),
    ("LP", 107),
    ("EUI48", 108),
    ("EUI64", 109),
    ("NXNAME", 128),
    ("MAILA", 254),
    ("AVC", 258),
    ("AMTRELAY", 260),
];

/// A type's mnemonic as miekg/dns writes it.
#[must_use]
pub fn rtype(word: &str) -> Option<Rtype> {
    if word.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return None;
    }
    let known = Rtype::parse(word).filter(|_| !word.starts_with("TYPE"));
    known.or_else(|| MORE_TYPES.iter().find(|(name, _)| *name == word).map(|(_, number)| Rtype(*number)))
}

/// A class's mnemonic as miekg/dns writes it.
#[must_use]
pub fn class(word: &str) -> Option<Class> {
    match word {
        "CS" => Some(Class(2)),
        "IN" | "CH" | "HS" | "NONE" | "ANY" => Class::parse(word),
        _ => None,
    }
}

/// A pattern of a Corefile. Go and Rust agree on the syntax but for corners; a pattern of such a corner is kept and
/// counts as "may match".
#[derive(Clone, Debug)]
pub struct Pattern {
    /// As written.
    pub text: String,
    // Over octets with ASCII classes, as in Go: names are ASCII here.
    compiled: Option<regex::bytes::Regex>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Pattern {
    /// Checks a pattern without compiling it.
    ///
    /// # Errors
    /// A phrase, for what Go refuses as well (unbalanced brackets, nothing to repeat, too long).
    pub fn check(text: &str) -> Result<(), String> {
        if text.len() > MAX_PATTERN {
            return Err(format!("a pattern has at most {MAX_PATTERN} octets"));
        }
        match regex_syntax::ast::parse::Parser::new().parse(text) {
            Err(error) if refused_by_go(error.kind()) => {
                Err(format!("'{text}' is no regular expression: {}", error.kind()))
            }
            _ => Ok(()),
        }
    }

    /// Compiles a pattern.
    ///
    /// # Errors
    /// As [`Pattern::check`].
    pub fn compile(text: &str) -> Result<Self, String> {
        Self::check(text)?;
        let mut builder = regex::bytes::RegexBuilder::new(text);
        let compiled = builder.unicode(false).size_limit(PATTERN_SIZE).dfa_size_limit(PATTERN_SIZE).build();
        Ok(Self { text: text.to_owned(), compiled: compiled.ok() })
    }

    /// Whether the pattern matches; `None` if this program cannot tell.
    #[must_use]
    pub fn matches(&self, text: &str) -> Option<bool> {
        self.compiled.as_ref().map(|pattern| pattern.is_match(text.as_bytes()))
    }

    /// Replaces `{0}`, `{1}` … of `replacement` by the groups of the first match, as rewrite does. `None` if the
    /// pattern does not match or cannot be run.
    #[must_use]
    pub fn substitute(&self, text: &str, replacement: &str) -> Option<String> {
        let groups = self.compiled.as_ref()?.captures(text.as_bytes())?;
        let mut out = replacement.to_owned();
        for (at, group) in groups.iter().enumerate() {
            let reference = format!("{{{at}}}");
            if out.contains(&reference) {
                out = out.replace(
                    &reference,
                    std::str::from_utf8(group.map_or(b"", |group| group.as_bytes())).ok()?,
                );
            }
            // Groups may hold references again; a hostile name must not grow the text without bound.
            if out.len() > 4096 {
                return None;
            }
        }
        Some(out)
    }

    /// Groups of the first match by number and by name; `None` if there is no match or it cannot be run.
    #[must_use]
    pub fn groups(&self, text: &str) -> Option<Vec<(String, String)>> {
        let pattern = self.compiled.as_ref()?;
        let groups = pattern.captures(text.as_bytes())?;
        let value = |at: usize| {
            groups
                .get(at)
                .map_or_else(String::new, |group| String::from_utf8_lossy(group.as_bytes()).into_owned())
        };
        let mut out: Vec<_> = (0..groups.len()).map(|at| (at.to_string(), value(at))).collect();
        out.extend(
            pattern.capture_names().enumerate().filter_map(|(at, name)| Some((name?.to_owned(), value(at)))),
        );
        Some(out)
    }

    /// Number of groups, the whole match not counted; `None` if this program cannot tell.
    #[must_use]
    pub fn group_count(&self) -> Option<usize> {
        self.compiled.as_ref().map(|pattern| pattern.captures_len().saturating_sub(1))
    }
}

fn refused_by_go(kind: &regex_syntax::ast::ErrorKind) -> bool {
    use regex_syntax::ast::ErrorKind as E;
    matches!(
        kind,
        E::ClassUnclosed
            | E::ClassRangeInvalid
            | E::EscapeUnexpectedEof
            | E::GroupNameDuplicate { .. }
            | E::GroupNameEmpty
            | E::GroupNameInvalid
            | E::GroupNameUnexpectedEof
            | E::GroupUnclosed
            | E::GroupUnopened
            | E::FlagUnrecognized
            | E::FlagUnexpectedEof
            | E::UnsupportedBackreference
            | E::UnsupportedLookAround
            | E::RepetitionMissing
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        assert_eq!(duration("1h2m3.5s"), Some(3_723_500_000_000));
        assert_eq!(duration("-1.5ms"), Some(-1_500_000));
        assert_eq!(duration("0"), Some(0));
        assert_eq!(duration(".5s"), Some(500_000_000));
        for bad in ["", "1", "s", "1x", "1.2.3s", "9999999999h", "-", ".s", "1s x", "µ"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn addresses_with_ports_are_split_as_go_does() {
        assert_eq!(split_port("[::1]:53"), Some(("::1", "53")));
        assert_eq!(split_port(":9153"), Some(("", "9153")));
        for bad in ["::1", "1.2.3.4", "[::1]", "a:b:c", "[::1:53"] {
            assert_eq!(split_port(bad), None, "{bad}");
        }
        assert_eq!(target("10.0.0.1:54"), Some(("10.0.0.1".parse().unwrap(), Some(54))));
        assert_eq!(target("fe80::1%eth0"), Some(("fe80::1".parse().unwrap(), None)));
        assert_eq!(target("resolver"), None);
    }

    #[test]
    fn patterns_are_refused_as_go_refuses_them() {
        for bad in ["(a", "a)", "[a", "*a", "a\\", "(?=x)", "(?P<n"] {
            assert!(Pattern::compile(bad).is_err(), "{bad}");
        }
        for good in ["(.*)\\.example\\.org", "a{", "^$", "[[:alpha:]]+", "\\pN"] {
            assert!(Pattern::compile(good).is_ok(), "{good}");
        }
        assert!(Pattern::compile(&"a".repeat(10_001)).is_err());
        // What Go reads otherwise, and what would take too much memory, may match.
        for unknown in ["\\pN", "(\\w{1000}){1000}"] {
            assert_eq!(Pattern::compile(unknown).unwrap().matches("x"), None, "{unknown}");
        }
        let pattern = Pattern::compile("(.*)\\.(\\w+)\\.").unwrap();
        assert_eq!(pattern.substitute("a.b.c.", "{2}.{1}.x").as_deref(), Some("c.a.b.x"));
    }

    #[test]
    fn codes_are_read_as_miekg_dns_spells_them() {
        assert_eq!(rcode("nxdomain"), Some(Rcode::NXDOMAIN));
        assert_eq!((rtype("aaaa"), rtype("TYPE65"), rtype("HTTPS")), (None, None, Some(Rtype::HTTPS)));
        assert_eq!(class("CS"), Some(Class(2)));
    }
}
