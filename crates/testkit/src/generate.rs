//! Realistic traffic for benchmarks: Zipf names, ndots chains, pods with churn, as a CoreDNS log (CRI), a dnstap
//! stream, and the watch stream of the pods. The same parameters give the same bytes.

use std::io::{self, Write};
use std::net::Ipv4Addr;

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Log lines plus dnstap messages.
    pub events: u64,
    /// Pods that live at a time.
    pub pods: u32,
    /// Distinct names asked for.
    pub names: u32,
    /// Zipf exponent of names and pods; 0 draws uniformly.
    pub exponent: f64,
    /// Seed.
    pub seed: u64,
}

/// Start of the generated time, seconds since the epoch.
const START_SECS: i64 = 1_780_000_000;
/// Lookups per second of generated time.
const RATE: u64 = 2_000;
/// A pod slot is given to a new pod after this many seconds.
const CHURN_SECS: i64 = 600;

/// kubeadm's Corefile, with the log.
pub(crate) const COREFILE: &str = ".:53 {\n    log\n    errors\n    kubernetes cluster.local in-addr.arpa ip6.arpa {\n       \
pods insecure\n       fallthrough in-addr.arpa ip6.arpa\n       ttl 30\n    }\n    \
forward . 192.0.2.53\n    cache 30\n}\n";

/// xorshift64*: small, seeded, good enough for load.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator; a zero seed is replaced.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound` (which must not be 0).
    pub fn below(&mut self, bound: u32) -> u32 {
        (((self.bits() >> 32) * u64::from(bound)) >> 32) as u32
    }

    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Ranks drawn by Zipf's law through a table of cumulated weights.
#[derive(Clone, Debug)]
pub(crate) struct Zipf(Vec<f64>);

impl Zipf {
    pub(crate) fn new(n: u32, exponent: f64) -> Self {
        let mut sum = 0.0;
        let cumulated: Vec<f64> = (1..=n)
            .map(|rank| {
                sum += f64::from(rank).powf(-exponent);
                sum
            })
            .collect();
        Self(cumulated)
    }

    pub(crate) fn rank(&self, random: &mut Random) -> u32 {
        let target = random.unit() * self.0.last().copied().unwrap_or(1.0);
        self.0.partition_point(|&sum| sum < target) as u32
    }
}

/// One query and its answer, as both sources show it.
#[derive(Clone, Debug)]
struct Query {
    at_ns: i64,
    client: Ipv4Addr,
    port: u16,
    id: u16,
    name: String,
    aaaa: bool,
    // The name exists: without an address of the type asked for it is NODATA.
    exists: bool,
    answer: Option<Ipv4Addr>,
}

/// The address of a pod slot: 10.128.0.0/10 has room for all.
fn pod_address(slot: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0A80_0000 + 256 + slot)
}

fn service_address(service: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0A60_0000 + 256 + service)
}

/// Streams lookups: every intent of a pod in a namespace walks its search list, A and AAAA.
struct Lookups {
    random: Random,
    names: Zipf,
    pods: Zipf,
    count: u64,
    pending: Vec<Query>,
}

impl Lookups {
    fn new(load: Load) -> Self {
        Self {
            random: Random::new(load.seed),
            names: Zipf::new(load.names, load.exponent),
            pods: Zipf::new(load.pods, load.exponent),
            count: 0,
            pending: Vec::new(),
        }
    }

    fn next(&mut self) -> Query {
        loop {
            if let Some(query) = self.pending.pop() {
                return query;
            }
            self.intent();
        }
    }

    fn intent(&mut self) {
        let (rank, slot) = (self.names.rank(&mut self.random), self.pods.rank(&mut self.random));
        let base = if rank % 4 == 3 {
            format!("host{rank}.example.com")
        } else {
            format!("svc{rank}.ns{}", rank % 50)
        };
        let own = format!("ns{}", slot % 50);
        let suffixes = [
            format!("{own}.svc.cluster.local"),
            "svc.cluster.local".into(),
            "cluster.local".into(),
            String::new(),
        ];
        let hit = if rank % 4 == 3 { 3 } else { 1 };
        let mut steps = Vec::new();
        for (step, suffix) in suffixes.iter().enumerate().take(hit + 1) {
            let name = if suffix.is_empty() { base.clone() } else { format!("{base}.{suffix}") };
            let (port, id) = (30_000 + self.random.below(30_000) as u16, self.random.below(65_536) as u16);
            for aaaa in [false, true] {
                let at_ns = START_SECS * 1_000_000_000 + (self.count * 1_000_000_000 / RATE) as i64;
                self.count += 1;
                let address = if rank % 4 == 3 {
                    Ipv4Addr::from(0xC633_6400 + rank % 256)
                } else {
                    service_address(rank)
                };
                let answer = (step == hit && !aaaa).then_some(address);
                let id = id.wrapping_add(u16::from(aaaa));
                steps.push(Query {
                    at_ns,
                    client: pod_address(slot),
                    port,
                    id,
                    name: name.clone(),
                    aaaa,
                    exists: step == hit,
                    answer,
                });
            }
        }
        steps.reverse();
        self.pending = steps;
    }
}

/// Writes the log and dnstap files with `load.events` events in all, half each (a lookup is one line and two messages,
/// so every second lookup is in the log alone). Returns (lines, messages).
///
/// # Errors
/// Those of the writers.
pub fn traffic(load: Load, log: &mut dyn Write, dnstap: &mut dyn Write) -> io::Result<(u64, u64)> {
    let (mut lines, mut messages) = (0u64, 0u64);
    let mut lookups = Lookups::new(load);
    let mut buffer = Vec::with_capacity(512);
    write_control(dnstap, 2)?;
    while lines + messages + 3 <= load.events {
        let query = lookups.next();
        write_line(&query, log)?;
        lines += 1;
        // Half of the pairs of A and AAAA, without a rhythm that search lists could fall into (Thue-Morse).
        if ((lines - 1) / 2).count_ones().is_multiple_of(2) {
            for response in [false, true] {
                encode_message(&query, response, &mut buffer);
                dnstap.write_all(&(buffer.len() as u32).to_be_bytes())?;
                dnstap.write_all(&buffer)?;
                messages += 1;
            }
        }
    }
    write_control(dnstap, 3)?;
    Ok((lines, messages))
}

fn write_line(query: &Query, out: &mut dyn Write) -> io::Result<()> {
    let at = truename_model::Nanos(query.at_ns + 300_000);
    let rtype = if query.aaaa { "AAAA" } else { "A" };
    let (rcode, size) = if query.exists { ("NOERROR", 100) } else { ("NXDOMAIN", 147) };
    writeln!(
        out,
        "{at} stdout F [INFO] {}:{} - {} \"{rtype} IN {}. udp {} false 512\" {rcode} qr,aa,rd {size} 0.000251s",
        query.client,
        query.port,
        query.id,
        query.name,
        query.name.len() + 18
    )
}

/// A Frame Streams control frame of the unidirectional form.
fn write_control(out: &mut dyn Write, kind: u32) -> io::Result<()> {
    let content = b"protobuf:dnstap.Dnstap";
    let body: Vec<u8> = if kind == 2 {
        [&kind.to_be_bytes()[..], &1u32.to_be_bytes(), &(content.len() as u32).to_be_bytes(), content]
            .concat()
    } else {
        kind.to_be_bytes().to_vec()
    };
    out.write_all(&0u32.to_be_bytes())?;
    out.write_all(&(body.len() as u32).to_be_bytes())?;
    out.write_all(&body)
}

fn encode_message(query: &Query, response: bool, out: &mut Vec<u8>) {
    let dns = encode_dns(query, response);
    let mut message = Vec::with_capacity(dns.len() + 64);
    varint_field(&mut message, 1, if response { 6 } else { 5 });
    varint_field(&mut message, 2, 1);
    varint_field(&mut message, 3, 1);
    bytes_field(&mut message, 4, &query.client.octets());
    varint_field(&mut message, 6, u64::from(query.port));
    time_fields(&mut message, 8, query.at_ns);
    if response {
        time_fields(&mut message, 12, query.at_ns + 251_000);
        bytes_field(&mut message, 14, &dns);
    } else {
        bytes_field(&mut message, 10, &dns);
    }
    out.clear();
    bytes_field(out, 1, b"coredns-1");
    bytes_field(out, 2, b"CoreDNS-1.15.0");
    bytes_field(out, 14, &message);
    varint_field(out, 15, 1);
}

fn time_fields(out: &mut Vec<u8>, field: u32, at_ns: i64) {
    varint_field(out, field, at_ns.div_euclid(1_000_000_000) as u64);
    out.extend(varint(u64::from(field + 1) << 3 | 5));
    out.extend((at_ns.rem_euclid(1_000_000_000) as u32).to_le_bytes());
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(4);
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn varint_field(out: &mut Vec<u8>, field: u32, value: u64) {
    out.extend(varint(u64::from(field) << 3));
    out.extend(varint(value));
}

fn bytes_field(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    out.extend(varint(u64::from(field) << 3 | 2));
    out.extend(varint(bytes.len() as u64));
    out.extend_from_slice(bytes);
}

fn encode_dns(query: &Query, response: bool) -> Vec<u8> {
    let flags: u16 = if response { 0x8500 | if query.exists { 0 } else { 3 } } else { 0x0100 };
    let answers = u16::from(response && query.answer.is_some());
    // The kubernetes plugin denies with the SOA record of its zone.
    let zone = query.name.find(ZONE).filter(|_| response && query.answer.is_none());
    let mut out = Vec::with_capacity(128);
    for field in [query.id, flags, 1, answers, u16::from(zone.is_some()), 0] {
        out.extend(field.to_be_bytes());
    }
    for label in query.name.split('.') {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend((if query.aaaa { 28u16 } else { 1 }).to_be_bytes());
    out.extend(1u16.to_be_bytes());
    if let (true, Some(address)) = (response, query.answer) {
        out.extend([0xC0, 0x0C, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4]);
        out.extend(address.octets());
    }
    if let Some(at) = zone {
        // A name of one octet per character and no escapes: its place in the text is its place in the message.
        let pointer = (0xC00C + at as u16).to_be_bytes();
        let soa = [&b"\x02ns\x03dns"[..], &pointer, b"\x0ahostmaster", &pointer, &SOA_NUMBERS].concat();
        out.extend(pointer);
        out.extend([0, 6, 0, 1, 0, 0, 0, 30]);
        out.extend((soa.len() as u16).to_be_bytes());
        out.extend(soa);
    }
    out
}

const ZONE: &str = "cluster.local";
/// Serial, refresh, retry, expire, minimum.
const SOA_NUMBERS: [u8; 20] =
    [0x6a, 0x18, 0x4c, 0, 0, 0, 0x1c, 0x20, 0, 0, 7, 8, 0, 1, 0x51, 0x80, 0, 0, 0, 30];

/// Writes a watch stream (with receive times) of the namespaces, services and pods that [`traffic`] implies.
///
/// # Errors
/// Those of the writer.
pub fn objects(load: Load, out: &mut dyn Write) -> io::Result<()> {
    let before = START_SECS - 86_400;
    let names = (0..50).map(|namespace| format!("ns{namespace}"));
    for name in std::iter::once("kube-system".to_owned()).chain(names) {
        let body = "\"status\":{\"phase\":\"Active\"}".into();
        Object { kind: "Namespace", namespace: "", name, created: before, body }
            .write(out, "ADDED", before)?;
    }
    cluster_dns(before, out)?;
    for rank in (0..load.names).filter(|rank| rank % 4 != 3) {
        let ip = service_address(rank);
        let body = format!(
            "\"spec\":{{\"type\":\"ClusterIP\",\"clusterIP\":\"{ip}\",\"clusterIPs\":[\"{ip}\"],\"ports\":[{{\"name\":\"http\",\"port\":80,\"protocol\":\"TCP\"}}]}}"
        );
        let namespace = format!("ns{}", rank % 50);
        Object { kind: "Service", namespace: &namespace, name: format!("svc{rank}"), created: before, body }
            .write(out, "ADDED", before)?;
    }
    pods(load, out)
}

/// The Corefile, the cluster domain, and the service of cluster DNS.
fn cluster_dns(before: i64, out: &mut dyn Write) -> io::Result<()> {
    let maps = [
        ("coredns", "Corefile", COREFILE),
        ("kubeadm-config", "ClusterConfiguration", "networking:\n  dnsDomain: cluster.local\n"),
    ];
    for (name, key, text) in maps {
        let body = format!("\"data\":{{\"{key}\":\"{}\"}}", text.replace('\n', "\\n"));
        let (namespace, name) = ("kube-system", name.to_owned());
        Object { kind: "ConfigMap", namespace, name, created: before, body }.write(out, "ADDED", before)?;
    }
    let body = "\"spec\":{\"type\":\"ClusterIP\",\"clusterIP\":\"10.96.0.10\",\"clusterIPs\":[\"10.96.0.10\"],\
                \"selector\":{\"k8s-app\":\"kube-dns\"},\"ports\":[{\"name\":\"dns\",\"port\":53,\"protocol\":\"UDP\"}]}";
    let (namespace, name) = ("kube-system", "kube-dns".to_owned());
    Object { kind: "Service", namespace, name, created: before, body: body.to_owned() }
        .write(out, "ADDED", before)
}

/// Pods by slot; each lives [`CHURN_SECS`], then the slot's address goes to the next one.
fn pods(load: Load, out: &mut dyn Write) -> io::Result<()> {
    let end = START_SECS + (load.events / RATE) as i64 + 1;
    let mut changes: Vec<(i64, u32, i64, bool)> = Vec::new();
    for slot in 0..load.pods {
        let mut born = START_SECS - 60 - i64::from(slot % CHURN_SECS as u32);
        while born < end {
            changes.push((born, slot, born, true));
            changes.push((born + CHURN_SECS - 2, slot, born, false));
            born += CHURN_SECS;
        }
    }
    changes.sort_unstable();
    let mut listed = true;
    for (at, slot, born, added) in changes.into_iter().filter(|change| change.0 < end) {
        if listed && at >= START_SECS - 10 {
            listed = false;
            writeln!(
                out,
                "{{\"received\":\"{}\",\"type\":\"BOOKMARK\",\"object\":{{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{{\"resourceVersion\":\"{at}\",\"annotations\":{{\"k8s.io/initial-events-end\":\"true\"}}}}}}}}",
                stamp(at)
            )?;
        }
        let ip = pod_address(slot);
        let body = format!(
            "\"spec\":{{\"nodeName\":\"node-{}\"}},\"status\":{{\"phase\":\"Running\",\"podIP\":\"{ip}\",\"podIPs\":[{{\"ip\":\"{ip}\"}}]}}",
            slot % 50
        );
        let namespace = format!("ns{}", slot % 50);
        Object { kind: "Pod", namespace: &namespace, name: format!("pod{slot}-{born}"), created: born, body }
            .write(out, if added { "ADDED" } else { "DELETED" }, at)?;
    }
    Ok(())
}

struct Object<'a> {
    kind: &'a str,
    namespace: &'a str,
    name: String,
    created: i64,
    body: String,
}

impl Object<'_> {
    fn write(&self, out: &mut dyn Write, event: &str, received: i64) -> io::Result<()> {
        let Self { kind, namespace, name, created, body } = self;
        writeln!(
            out,
            "{{\"received\":\"{}\",\"type\":\"{event}\",\"object\":{{\"kind\":\"{kind}\",\"apiVersion\":\"v1\",\"metadata\":{{\"name\":\"{name}\",\"namespace\":\"{namespace}\",\"uid\":\"{kind}-{namespace}-{name}\",\"resourceVersion\":\"{received}\",\"creationTimestamp\":\"{}\"}},{body}}}}}",
            stamp(received),
            stamp(*created)
        )
    }
}

/// RFC 3339 with whole seconds.
fn stamp(secs: i64) -> String {
    let text = truename_model::Nanos(secs * 1_000_000_000).to_string();
    format!("{}Z", &text[..19])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Load = Load { events: 3_000, pods: 20, names: 100, exponent: 1.0, seed: 7 };

    #[test]
    fn the_same_parameters_give_the_same_bytes() {
        let run = || {
            let (mut log, mut tap) = (Vec::new(), Vec::new());
            let counts = traffic(SMALL, &mut log, &mut tap).unwrap();
            (counts, log, tap)
        };
        let (counts, log, _) = run();
        assert_eq!(run(), run());
        assert_eq!(log.iter().filter(|b| **b == b'\n').count() as u64, counts.0);
        assert!(counts.0 + counts.1 > 2_990 && counts.1.abs_diff(counts.0) < 3);
    }
}
