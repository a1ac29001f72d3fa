//! tcpdump's text goldens: each printed DNS summary against the message that we read from the same packet.

use std::fs;
use std::path::Path;

use truename_model::{Flags, Rdata, Record, Rtype};

use super::capture::{Message, capture};
use super::reasons::reason;
use crate::suite::SuiteResult;

const SUITE: &str = "tcpdump";

pub(super) fn run(dir: &Path) -> SuiteResult {
    let mut result = SuiteResult::new(SUITE);
    let list = fs::read_to_string(dir.join("TESTLIST")).unwrap_or_default();
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let mut columns = line.split_whitespace();
        let (Some(name), Some(input), Some(output)) = (columns.next(), columns.next(), columns.next()) else {
            continue;
        };
        let options: Vec<&str> = columns.collect();
        let Ok(text) = fs::read_to_string(dir.join(output)) else { continue };
        if dir.join(input).exists() {
            compare(dir, name, input, &text, &options, &mut result);
        }
    }
    result
}

fn compare(dir: &Path, name: &str, input: &str, text: &str, options: &[&str], result: &mut SuiteResult) {
    // `-T domain` tells tcpdump the port; ours knows DNS on any port by its content.
    let port = if options.contains(&"-T") { 8053 } else { 53 };
    let ours = match capture(&dir.join(input), &[port]) {
        Ok(ours) => ours,
        Err(error) => return result.differs(&format!("{name}: {error}"), None),
    };
    let summaries: Vec<String> = records(text).iter().filter_map(|record| summary(record)).collect();
    let part = options.iter().any(|option| matches!(*option, "--skip" | "-c"));
    for (index, summary) in summaries.iter().enumerate() {
        let agrees = if part {
            ours.iter().any(|message| matches(message, summary))
        } else {
            ours.get(index).is_some_and(|message| matches(message, summary))
        };
        if agrees {
            result.agrees();
        } else {
            let have = ours.get(index).map(|message| {
                format!(
                    "{} malformed {:?} {:?}",
                    head(message),
                    message.dns.body.malformed,
                    message.dns.body.answers
                )
            });
            let case = format!("{name} message {index}: {summary}: ours {have:?}");
            result.differs(&case, reason(SUITE, &case));
        }
    }
    if !part {
        let case = format!("{name} number of messages: {} printed, ours {}", summaries.len(), ours.len());
        if summaries.len() == ours.len() {
            result.agrees();
        } else {
            result.differs(&case, reason(SUITE, &case));
        }
    }
}

/// Packets of the text: a first line and its indented second one.
fn records(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("    "), out.last_mut()) {
            // Packet numbers are right-aligned, so a first line may begin with blanks and a digit too.
            (Some(rest), Some(last)) if rest.contains(" > ") && !rest.contains(" IP") => {
                last.push(' ');
                last.push_str(rest);
            }
            _ => out.push(line.to_owned()),
        }
    }
    out
}

/// The DNS part of a packet's text, lower-cased.
fn summary(record: &str) -> Option<String> {
    let (_, rest) = record.rsplit_once(" > ").filter(|(head, _)| !head.is_empty())?;
    let (_, rest) = rest.split_once(": ")?;
    let mut rest = rest.trim_start();
    if rest.starts_with("Flags [") {
        let (_, behind) = rest.rsplit_once(", length ")?;
        rest = behind.split_once(' ')?.1;
    }
    if rest.starts_with("[udp") || rest.starts_with("[bad udp") {
        rest = rest.split_once("] ")?.1;
    }
    let is_dns = rest.starts_with("domain [") || rest.starts_with(|first: char| first.is_ascii_digit());
    (is_dns && !rest.starts_with("UDP")).then(|| rest.to_ascii_lowercase())
}

fn matches(message: &Message, summary: &str) -> bool {
    let body = &message.dns.body;
    if let Some(malformed) = expected_fault(summary) {
        let id_fits = summary.starts_with("domain") || summary.starts_with(&message.dns.id.to_string());
        return id_fits && body.malformed.is_some_and(|phrase| malformed.contains(&phrase));
    }
    let head = head(message);
    let Some(rest) = summary.strip_prefix(&head) else { return false };
    let is_response = message.dns.flags.has(Flags::QR);
    if !is_response {
        return true;
    }
    let (answers, rest) = rest.split_once(" ns: ").unwrap_or((rest, ""));
    let (authority, additional) = rest.split_once(" ar: ").unwrap_or((rest, ""));
    shows(answers, &body.answers)
        && (authority.is_empty() || shows(authority, &body.authority))
        && (additional.is_empty() || shows(additional, &body.additional))
}

/// Our names for what tcpdump marks; `None` if it marks nothing. The first mark is the fault, the rest its consequences.
fn expected_fault(summary: &str) -> Option<&'static [&'static str]> {
    if summary.starts_with("domain [length 0 < 12]") {
        return Some(&["short header"]);
    }
    let marks: [(&str, &'static [&'static str]); 4] = [
        ("<bad label type>", &["bad label type"]),
        ("<bad ptr>", &["forward pointer", "pointer loop", "pointer into the header"]),
        ("<domain name too long>", &["name too long"]),
        ("[|domain]", &["cut by the capture", "truncated record"]),
    ];
    marks
        .iter()
        .filter_map(|(mark, phrases)| summary.find(mark).map(|at| (at, *phrases)))
        .min_by_key(|(at, _)| *at)
        .map(|(_, phrases)| phrases)
}

/// Id, flags, counts and question as tcpdump prints them, lower-cased.
fn head(message: &Message) -> String {
    let dns = &message.dns;
    let body = &dns.body;
    let flags = dns.flags;
    let additional = body.additional.len() + usize::from(body.edns.is_some());
    let counts = [body.answers.len(), body.authority.len(), additional];
    let question = body.question.as_ref().map_or(String::new(), |q| format!("{}? {}", q.rtype, q.name));
    let text = if flags.has(Flags::QR) {
        let set = |bit, mark| if flags.has(bit) { mark } else { "" };
        let no_recursion = if flags.has(Flags::RA) { "" } else { "-" };
        let marks =
            format!("{}{no_recursion}{}{}", set(Flags::AA, "*"), set(Flags::TC, "|"), set(Flags::AD, "$"));
        format!("{}{}{marks} ", dns.id, rcode(dns.rcode.map_or(0, |rcode| rcode.0)))
    } else {
        let marks = format!(
            "{}{}",
            if flags.has(Flags::RD) { "+" } else { "" },
            if flags.has(Flags::CD) { "%" } else { "" }
        );
        let extra: Vec<String> = counts
            .iter()
            .zip(["a", "n", "au"])
            .filter(|(count, _)| **count > 0)
            .map(|(count, unit)| format!("[{count}{unit}]"))
            .collect();
        let extra = if extra.is_empty() { String::new() } else { format!(" {}", extra.join(" ")) };
        format!("{}{marks}{extra} {question}", dns.id)
    };
    text.to_ascii_lowercase()
}

fn rcode(code: u16) -> &'static str {
    match code {
        1 => " formerr",
        2 => " servfail",
        3 => " nxdomain",
        4 => " notimp",
        5 => " refused",
        16 => " badvers",
        23 => " badcookie",
        _ => "",
    }
}

/// True if the text shows these records, in this order, with their data and, where printed, TTL.
fn shows(text: &str, records: &[Record]) -> bool {
    let mut rest = text;
    for record in records {
        let plain = data(record);
        let timed = format!("{} [{}] {plain}", record.owner, ttl(record.ttl)).to_ascii_lowercase();
        let plain = plain.to_ascii_lowercase();
        let found = rest.find(&timed).map(|at| at + timed.len()).or_else(|| {
            let at = rest.find(&plain)?;
            // A TTL that is printed and differs is a difference.
            (!rest[..at].ends_with("] ")).then_some(at + plain.len())
        });
        match found {
            Some(end) => rest = &rest[end..],
            None => return false,
        }
    }
    true
}

fn data(record: &Record) -> String {
    let rtype = record.rtype;
    match &record.rdata {
        Rdata::A(_) | Rdata::Aaaa(_) | Rdata::Cname(_) | Rdata::Ns(_) | Rdata::Ptr(_) => {
            format!("{rtype} {}", record.rdata)
        }
        Rdata::Mx(preference, host) => format!("{rtype} {host} {preference}"),
        Rdata::Other(_) if rtype.mnemonic().is_none() => format!("type{}", rtype.0),
        _ => {
            if rtype == Rtype::SOA {
                "soa".to_owned()
            } else {
                rtype.to_string()
            }
        }
    }
}

/// tcpdump's durations: `1w2d3h4m5s`.
fn ttl(mut secs: u32) -> String {
    if secs == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, len) in [("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        if secs >= len {
            text.push_str(&format!("{}{unit}", secs / len));
            secs %= len;
        }
    }
    text
}
