//! dnscap's text goldens: every printed message must be one of ours, and without a filter every one of ours is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use truename_model::{Body, Flags, Name, Rdata, Record};

use super::capture::{self, Message};
use super::reasons::reason;
use crate::suite::SuiteResult;

const SUITE: &str = "dnscap";

/// Goldens that print all messages of their captures; the others were made with a filter.
const WHOLE: [&str; 8] = [
    "dns.gold",
    "dns.gold2",
    "edns.gold",
    "vlan11.gold",
    "sll2.gold",
    "dnspad.gold",
    "test10.gold",
    "test7.gold",
];
/// Goldens made with a filter of time, type or name: what they print must be ours, not the reverse.
const FILTERED: [&str; 5] = ["ether_padd.gold", "icmp.gold", "test8.gold", "test9.gold", "test14.gold"];

pub(super) fn run(dir: &Path) -> SuiteResult {
    let mut result = SuiteResult::new(SUITE);
    for gold in WHOLE.into_iter().chain(FILTERED).chain(["test_regex_match.gold"]) {
        if let Ok(text) = fs::read_to_string(dir.join(gold)) {
            compare(dir, gold, &text, &mut result);
        }
    }
    // The same packets cut into IP fragments must give the same messages.
    if let Ok(text) = fs::read_to_string(dir.join("dns.gold")) {
        compare(dir, "frags of dns.gold", &text.replace(" dns.pcap ", " frags.pcap "), &mut result);
    }
    for packed in ["dns.pcap.gz", "dns.pcap.xz", "dns.pcap.zst", "dns.pcap.lz4"] {
        if let Ok(text) = fs::read_to_string(dir.join("dns.gold")) {
            let name = format!("{packed} of dns.gold");
            compare(dir, &name, &text.replace(" dns.pcap ", &format!(" {packed} ")), &mut result);
        }
    }
    result
}

fn compare(dir: &Path, gold: &str, text: &str, result: &mut SuiteResult) {
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, message) in records(text) {
        files.entry(file).or_default().extend(message);
    }
    for (file, wanted) in files {
        let case = format!("{gold} {file}");
        if file.ends_with(".lz4") {
            result.differs(&case, reason(SUITE, "lz4"));
            continue;
        }
        // Standard input and the capture that dnscap wrote itself hold the packets of dns.pcap.
        let input = if file == "-" || file.starts_with("test.") { "dns.pcap" } else { &file };
        // The fragments were captured at other times.
        let timeless = file == "frags.pcap";
        let blank =
            |line: &String| if timeless { line.splitn(3, ' ').skip(2).collect() } else { line.clone() };
        let wanted: BTreeSet<String> = wanted.iter().map(blank).collect();
        let ours: BTreeSet<String> = match capture::capture(&dir.join(input), &[53]) {
            Ok(messages) => messages.iter().map(show).map(|line| blank(&line)).collect(),
            Err(error) => {
                result.differs(&format!("{case}: {error}"), reason(SUITE, &case));
                continue;
            }
        };
        for message in &wanted {
            if ours.contains(message) {
                result.agrees();
            } else {
                let case = format!("{case} missing {message}");
                result.differs(&case, reason(SUITE, &case));
            }
        }
        if WHOLE.contains(&gold) || gold.contains(" of dns.gold") {
            for message in ours.difference(&wanted) {
                let case = format!("{case} extra {message}");
                result.differs(&case, reason(SUITE, &case));
            }
        }
    }
}

/// The records of a golden: capture file, and the message in canonical form if the record is one.
fn records(text: &str) -> Vec<(String, Option<String>)> {
    let mut joined: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.starts_with('\t')
            && let Some(last) = joined.last_mut()
        {
            last.push_str(line);
        } else {
            joined.push(line.to_owned());
        }
    }
    joined.iter().filter_map(|record| parse(record)).collect()
}

fn parse(record: &str) -> Option<(String, Option<String>)> {
    let mut tokens = record.split_whitespace().filter(|token| *token != "\\");
    let _len = tokens.next()?.strip_prefix('[')?;
    let (date, time) = (tokens.next()?, tokens.next()?);
    let _number = tokens.next()?.strip_prefix("[#")?;
    let file = tokens.next()?.to_owned();
    // The VLAN, if there is one, and the snap length.
    while !tokens.next()?.ends_with(']') {}
    let (src, dst) = (tokens.next()?, tokens.next()?);
    if tokens.next() != Some("dns") {
        return Some((file, None));
    }
    let head = tokens.next()?;
    let mut canonical = format!("{date} {time} {src} {dst} {head}");
    for section in 0..4 {
        let count: usize = tokens.next()?.parse().ok()?;
        canonical.push_str(" |");
        let mut printed: Vec<&str> = tokens.by_ref().take(count).collect();
        if section > 0 {
            // Owner case is not kept by us outside the question.
            printed.sort_unstable();
        }
        for token in printed {
            canonical.push(' ');
            canonical.push_str(&token.to_ascii_lowercase());
        }
    }
    Some((file, Some(canonical)))
}

/// One of our messages in the same form.
fn show(message: &Message) -> String {
    let dns = &message.dns;
    let is_response = dns.flags.has(Flags::QR);
    let (src, dst) = if is_response { (dns.server, dns.client) } else { (dns.client, dns.server) };
    let end = |end: Option<truename_model::Endpoint>| {
        end.map_or(String::new(), |end| format!("[{}].{}", end.ip, end.port))
    };
    let opcode = match dns.flags.opcode().0 {
        0 => "QUERY".to_owned(),
        4 => "NOTIFY".to_owned(),
        5 => "UPDATE".to_owned(),
        other => other.to_string(),
    };
    let mut line = format!(
        "{} {} {} {opcode},{},{},{}",
        capture::stamp(message.at),
        end(src),
        end(dst),
        dns.flags.rcode(),
        dns.id,
        flags(dns.flags)
    );
    let question =
        dns.body.question.iter().map(|q| format!("{},{},{}", name(&q.name), q.class, q.rtype)).collect();
    let mut additional: Vec<String> = dns.body.additional.iter().map(record).collect();
    additional.extend(edns(&dns.body));
    let sections: [Vec<String>; 4] = [
        question,
        dns.body.answers.iter().map(record).collect(),
        dns.body.authority.iter().map(record).collect(),
        additional,
    ];
    for mut section in sections {
        section.sort_unstable();
        line.push_str(" |");
        for part in section {
            line.push(' ');
            line.push_str(&part.to_ascii_lowercase());
        }
    }
    line
}

fn flags(flags: Flags) -> String {
    let table = [
        (Flags::QR, "qr"),
        (Flags::AA, "aa"),
        (Flags::TC, "tc"),
        (Flags::RD, "rd"),
        (Flags::RA, "ra"),
        (Flags::Z, "z"),
        (Flags::AD, "ad"),
        (Flags::CD, "cd"),
    ];
    let set: Vec<&str> = table.iter().filter(|(bit, _)| flags.has(*bit)).map(|(_, name)| *name).collect();
    set.join("|")
}

/// dnscap escapes as BIND does: the comma too, since it separates its fields.
fn name(name: &Name) -> String {
    name.to_string().replace(',', "\\,")
}

fn record(record: &Record) -> String {
    let data = match &record.rdata {
        Rdata::A(ip) => ip.to_string(),
        Rdata::Aaaa(ip) => ip.to_string(),
        Rdata::Cname(target) | Rdata::Ns(target) | Rdata::Ptr(target) => name(target),
        Rdata::Mx(preference, host) => format!("{preference},{}", name(host)),
        Rdata::Soa { mname, rname, numbers: [a, b, c, d, e] } => {
            format!("{},{},{a},{b},{c},{d},{e}", name(mname), name(rname))
        }
        Rdata::Srv { priority, weight, port, target } => {
            format!("{priority},{weight},{port},{}", name(target))
        }
        Rdata::Txt(bytes) | Rdata::Other(bytes) => format!("[{}]", bytes.len()),
    };
    format!("{},{},{},{},{data}", name(&record.owner), record.class, record.rtype, record.ttl)
}

/// dnscap prints the OPT record's TTL in parts; `z` is the 16 flag bits, DO among them.
fn edns(body: &Body) -> Option<String> {
    let edns = body.edns.as_ref()?;
    let len: usize = edns.options.iter().map(|(_, data)| data.len() + 4).sum();
    let done = u16::from(edns.dnssec_ok);
    let mut text = format!(
        ".,{size},{size},0,edns0[len={len},UDP={size},ver={},rcode=0,DO={done},z={}]",
        edns.version,
        done << 15,
        size = edns.udp_size
    );
    for (code, data) in &edns.options {
        match (code, &**data) {
            (8, [f1, f2, source, scope, address @ ..]) => {
                let family = u16::from(*f1) << 8 | u16::from(*f2);
                let mut octets = [0u8; 4];
                for (slot, octet) in octets.iter_mut().zip(address) {
                    *slot = *octet;
                }
                let ip = std::net::Ipv4Addr::from(octets);
                text.push_str(&format!(
                    ",edns0opt[ECS,family={family},source={source},scope={scope},addr={ip}]"
                ));
            }
            _ => text.push_str(&format!(",edns0opt[code={code},codelen={}]", data.len())),
        }
    }
    Some(text)
}
