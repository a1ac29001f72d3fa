//! PacketQ's SQL goldens: the same questions asked of our messages. Rows are compared as multisets of numbers and texts.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use serde_json::Value;
use truename_model::{Flags, Name, Transport};

use super::capture::{Message, capture};
use super::reasons::reason;
use crate::suite::SuiteResult;

const SUITE: &str = "PacketQ";

/// The columns of PacketQ's `dns` table that we can fill.
struct Row {
    secs: i64,
    src: IpAddr,
    dst: IpAddr,
    src_port: u16,
    qr: bool,
    qtype: u16,
    qclass: u16,
    qname: String,
    rcode: u16,
    opcode: u8,
    rd: bool,
    edns: Option<u8>,
    size: u32,
    udp: bool,
}

fn row(message: &Message) -> Option<Row> {
    let dns = &message.dns;
    let question = dns.body.question.as_ref()?;
    let qr = dns.flags.has(Flags::QR);
    let (src, dst) = if qr { (dns.server?, dns.client?) } else { (dns.client?, dns.server?) };
    Some(Row {
        secs: message.at?.0.div_euclid(1_000_000_000),
        src: src.ip,
        dst: dst.ip,
        src_port: src.port,
        qr,
        qtype: question.rtype.0,
        qclass: question.class.0,
        qname: question.name.to_string(),
        rcode: dns.flags.rcode().0,
        opcode: dns.flags.opcode().0,
        rd: dns.flags.has(Flags::RD),
        edns: dns.body.edns.as_ref().map(|edns| edns.version),
        size: dns.size,
        udp: dns.transport == Transport::Udp,
    })
}

pub(super) fn run(dir: &Path) -> SuiteResult {
    let mut result = SuiteResult::new(SUITE);
    let rows = |file: &str| {
        capture(&dir.join(file), &[53]).map(|all| all.iter().filter_map(row).collect::<Vec<_>>())
    };
    if let Ok(sample) = rows("pcap/sample.pcap.gz") {
        for gold in ["test1.gold", "test5.gold"] {
            tables(&dir.join("src/test").join(gold), gold, &sample, &mut result);
        }
        csv(&dir.join("src/test/test2.gold"), &sample, &mut result);
    }
    for (index, file) in [(1, "src/test/dns.pcap"), (2, "src/test/dns6.pcap")] {
        if let Ok(rows) = rows(file) {
            netmasks(&dir.join("src/test/test1.gold"), index, &rows, &mut result);
        }
    }
    if let Ok(messages) = capture(&dir.join("pcap/sample-bigendian.pcap.gz"), &[53]) {
        check("test6 count of the big-endian file", messages.len() == 2, &mut result);
    }
    escapes(dir, &mut result);
    result
}

fn check(case: &str, agrees: bool, result: &mut SuiteResult) {
    if agrees {
        result.agrees();
    } else {
        result.differs(case, reason(SUITE, case));
    }
}

/// The JSON tables of a golden, in order: query and rows.
fn parse_tables(path: &Path) -> Vec<(String, Vec<Vec<Value>>)> {
    let Ok(text) = fs::read_to_string(path) else { return Vec::new() };
    let stream = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    let table = |value: Value| {
        let table = value.get(0)?;
        let query = table.get("query")?.as_str()?.to_owned();
        let rows = table.get("data")?.as_array()?.iter().filter_map(|row| row.as_array().cloned()).collect();
        Some((query, rows))
    };
    stream.map_while(Result::ok).filter_map(table).collect()
}

fn tables(path: &Path, gold: &str, rows: &[Row], result: &mut SuiteResult) {
    for (query, wanted) in parse_tables(path) {
        let Some(ours) = answer(&query, rows) else { continue };
        let case = format!("{gold} {query}");
        check(&case, canonical(&ours) == canonical(&wanted), result);
        if canonical(&ours) != canonical(&wanted)
            && let Some(last) = result.misses.last_mut()
        {
            last.push_str(&format!(" ours {:?} theirs {:?}", canonical(&ours), canonical(&wanted)));
        }
    }
}

/// Rows as sorted texts; numbers in one spelling.
fn canonical(rows: &[Vec<Value>]) -> Vec<String> {
    let show = |value: &Value| value.as_f64().map_or(value.to_string(), |number| format!("{number:.1}"));
    let mut lines: Vec<String> =
        rows.iter().map(|row| row.iter().map(show).collect::<Vec<_>>().join(",")).collect();
    lines.sort_unstable();
    lines
}

/// Counts of rows by key, keys in the golden's column order with the count last.
fn count<'a>(rows: impl Iterator<Item = &'a Row>, key: impl Fn(&Row) -> Vec<Value>) -> Vec<Vec<Value>> {
    let mut counts: BTreeMap<String, (Vec<Value>, u64)> = BTreeMap::new();
    for row in rows {
        let key = key(row);
        counts.entry(format!("{key:?}")).or_insert((key, 0)).1 += 1;
    }
    counts
        .into_values()
        .map(|(mut key, count)| [std::mem::take(&mut key), vec![count.into()]].concat())
        .collect()
}

fn subnet(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            format!("{a}.{b}.{c}.0")
        }
        IpAddr::V6(ip) => ip.to_string(),
    }
}

fn client(row: &Row) -> String {
    if row.qr { row.dst.to_string() } else { row.src.to_string() }
}

fn tld(row: &Row) -> &str {
    row.qname.trim_end_matches('.').rsplit('.').next().unwrap_or_default()
}

fn length(row: &Row) -> usize {
    row.qname.len()
}

/// Our rows for a query of the goldens; `None` for queries about what we do not keep (ICMP).
fn answer(query: &str, rows: &[Row]) -> Option<Vec<Vec<Value>>> {
    let asked = || rows.iter().filter(|row| !row.qr);
    let answered = || rows.iter().filter(|row| row.qr);
    let root_servers = |row: &&Row| row.qname.ends_with(".root-servers.net.");
    let idn = |row: &&Row| row.qname.starts_with("xn--");
    let text = |text: &str| Value::from(text);
    let column = |prefix: &str| query.starts_with(&format!("select {prefix}"));
    let transport = |row: &Row| text(if row.udp { "udp" } else { "tcp" });
    let version = |row: &Row| text(if row.src.is_ipv6() { "IPv6" } else { "IPv4" });
    Some(if column("qname as CertainQnames") {
        count(asked().filter(root_servers), |row| vec![row.qname.clone().into(), row.qtype.into()])
    } else if column("qtype as Qtype, qname as Qname") {
        count(asked().filter(|row| row.qclass == 3), |row| vec![row.qtype.into(), row.qname.clone().into()])
    } else if column("rcode as Rcode, if(qr==1") {
        count(answered(), |row| vec![row.rcode.into(), client(row).into()])
    } else if column("'ALL' as All, if(ether_type") {
        count(asked(), |row| vec![text("ALL"), subnet(row.src).into()])
    } else if column("if(rsplit(qname,1)='de'") {
        count(asked(), |row| vec![text("non-auth-tld"), subnet(row.src).into()])
    } else if column("if(qr==1,'sent','recv')") {
        count(rows.iter(), |row| vec![text(if row.qr { "sent" } else { "recv" }), transport(row)])
    } else if column("if(ether_type==34525,'IPv6'") {
        count(asked(), |row| vec![version(row), row.qtype.into()])
    } else if column("'ALL' as All, do, edns0") {
        let opt = |row: &Row| u8::from(row.edns.is_some());
        count(asked(), |row| {
            vec![
                text("ALL"),
                0.into(),
                opt(row).into(),
                row.edns.unwrap_or(0).into(),
                0.into(),
                0.into(),
                text("clr"),
            ]
        })
    } else if column("'ALL' as All, if(edns0") {
        count(asked(), |row| vec![text("ALL"), row.edns.map_or(text("none"), Value::from)])
    } else if column("'ALL' as All, if(qname like 'xn--%'") {
        count(asked(), |row| vec![text("ALL"), text(if idn(&row) { "idn" } else { "normal" })])
    } else if column("'ALL' as All, lower(rsplit") {
        count(asked().filter(idn), |row| vec![text("ALL"), text(tld(row))])
    } else if column("'ALL' as All, if(qr==1,dst_addr") {
        count(asked().filter(root_servers), |row| vec![text("ALL"), client(row).into()])
    } else if column("'ALL' as All, opcode") {
        count(asked(), |row| vec![text("ALL"), row.opcode.into()])
    } else if column("'ALL' as All, qtype") {
        count(asked(), |row| vec![text("ALL"), row.qtype.into()])
    } else if column("qtype as Qtype, len(qname)") {
        count(asked(), |row| vec![row.qtype.into(), length(row).into()])
    } else if column("qtype as Qtype, lower(rsplit") {
        count(asked(), |row| vec![row.qtype.into(), text(tld(row))])
    } else if column("'ALL' as All, rcode") {
        count(answered(), |row| vec![text("ALL"), row.rcode.into()])
    } else if column("rcode as Rcode, msg_size") {
        count(answered(), |row| vec![row.rcode.into(), row.size.into()])
    } else if column("'ALL' as All, rd") {
        count(asked(), |row| vec![text("ALL"), u8::from(row.rd).into()])
    } else if column("if(protocol==6,'tcp'") {
        count(asked(), |row| vec![transport(row), row.qtype.into()])
    } else if column("name( 'qtype'") {
        count(rows.iter(), |row| vec![truename_model::Rtype(row.qtype).to_string().into()])
    } else {
        return None;
    })
}

/// test2: the first four columns, the sizes and the ports of one row per source and second.
fn csv(path: &Path, rows: &[Row], result: &mut SuiteResult) {
    let Ok(text) = fs::read_to_string(path) else { return };
    for line in text.lines().skip(1) {
        let columns: Vec<&str> = line.split(',').map(|column| column.trim_matches('"')).collect();
        // The constant expression holds commas, so the columns behind it are counted from the end.
        let (Some(head), Some(size)) = (columns.get(..4), columns.len().checked_sub(10)) else { continue };
        let want =
            format!("{} {} {} {} {}", head[0], head[1], head[2], head[3], columns.get(size).unwrap_or(&""));
        let port = columns.get(columns.len() - 3).and_then(|port| port.parse::<f64>().ok());
        let found = rows.iter().any(|row| {
            format!("{} {} {} {} {}", row.secs, row.dst, row.qtype, row.src, row.size) == want
                && port == Some(f64::from(row.src_port))
        });
        check(&format!("test2.gold {want}"), found, result);
    }
}

/// test1: the address pairs behind PacketQ's `netmask()`, /24 and /8 for IPv4.
fn netmasks(path: &Path, index: usize, rows: &[Row], result: &mut SuiteResult) {
    let tables = parse_tables(path);
    let Some((_, wanted)) = tables.get(index) else { return };
    let ours: Vec<Vec<Value>> =
        rows.iter().map(|row| vec![masked(row.src, 24, 48).into(), masked(row.dst, 8, 16).into()]).collect();
    let case = format!("test1.gold netmask table {index}");
    check(&case, canonical(&ours) == canonical(wanted), result);
}

fn masked(ip: IpAddr, v4: u32, v6: u32) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let kept = u32::from(ip) & (u32::MAX << (32 - v4));
            std::net::Ipv4Addr::from(kept).to_string()
        }
        IpAddr::V6(ip) => {
            let kept = u128::from(ip) & (u128::MAX << (128 - v6));
            std::net::Ipv6Addr::from(kept).to_string()
        }
    }
}

/// test8: nine names in RFC 1035 escapes; read back they must be the names on the wire, case kept beside them.
fn escapes(dir: &Path, result: &mut SuiteResult) {
    let tables = parse_tables(&dir.join("src/test/test8.gold"));
    let Ok(messages) = capture(&dir.join("pcap/sample-rfc1035escape.pcap.gz"), &[53]) else { return };
    let Some((_, wanted)) = tables.get(1) else { return };
    check("test8.gold number of names", messages.len() == wanted.len(), result);
    for (message, want) in messages.iter().zip(wanted) {
        let text = want.first().and_then(Value::as_str).unwrap_or_default();
        let body = &message.dns.body;
        let same = Name::parse(text).ok().as_ref() == body.question.as_ref().map(|question| &question.name);
        let cased = body.qname_case.as_deref().is_none_or(|cased| cased == text);
        let display = body.question.as_ref().map(|question| Name::parse(&question.name.to_string()));
        let survives = display == body.question.as_ref().map(|question| Ok(question.name.clone()));
        check(&format!("test8.gold {text}"), same && cased && survives, result);
    }
}
