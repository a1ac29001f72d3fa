//! Each rule fires in a recorded case, and falls silent when its signal, and nothing else, is taken out of it.

use std::collections::BTreeSet;
use std::path::Path;

use truename_model::{
    Class, Diagnostic, DnsEvent, Event, Finding, Flags, Rcode, Rdata, Rtype, Severity, Vantage,
};

use truename_testkit::recording::{Recording, Shown};
use truename_testkit::truth_file::read_case;

/// What is taken out.
enum Signal {
    /// DNS messages and log lines.
    Dns(fn(&DnsEvent, &str) -> bool),
    /// Changes of the objects of these kinds that the findings name, in audit log and watches; snapshots too.
    Objects(&'static [&'static str]),
    /// Two signals that each suffice.
    Both(&'static Signal, &'static Signal),
    /// Answers that the case's truth calls lies.
    Lies,
    /// Changes of the Corefile, and what the servers say of their configuration.
    Corefile,
}

/// The forger's address in the `on-path`, `corefile-tamper` and `dns-impostor` cases.
const LIE: &str = "198.51.100.66";
/// The forger's address in the `forged-upstream` cases.
const FORGED: &str = "192.0.2.66";

fn name(dns: &DnsEvent) -> String {
    dns.body.question.as_ref().map(|question| question.name.to_string()).unwrap_or_default()
}

fn rtype(dns: &DnsEvent, wanted: &[Rtype]) -> bool {
    dns.body.question.as_ref().is_some_and(|question| wanted.contains(&question.rtype))
}

fn says(dns: &DnsEvent, address: &str) -> bool {
    dns.body.answers.iter().any(|record| matches!(&record.rdata, Rdata::A(ip) if ip.to_string() == address))
}

fn is_guess(dns: &DnsEvent) -> bool {
    // The brute force of `recon` asks for services of namespaces by word lists; every other pod asks for names of its own.
    rtype(dns, &[Rtype::A, Rtype::AAAA])
        && name(dns).ends_with(".svc.cluster.local.")
        && !name(dns).contains("shop.svc")
}

/// Rule, case, signal.
const TABLE: [(&str, &str, Signal); 29] = [
    ("R01", "recon", Signal::Dns(|dns, _| rtype(dns, &[Rtype::PTR]))),
    ("R02", "recon", Signal::Dns(|dns, _| rtype(dns, &[Rtype::PTR]))),
    ("R03", "recon", Signal::Dns(|dns, _| is_guess(dns))),
    ("R04", "recon", Signal::Dns(|dns, _| is_guess(dns))),
    ("R05", "recon", Signal::Dns(|dns, _| rtype(dns, &[Rtype::SRV]))),
    ("R06", "recon", Signal::Dns(|dns, _| name(dns).contains("any."))),
    ("R07", "recon", Signal::Dns(|dns, _| name(dns).starts_with("dns-version."))),
    (
        "R08",
        "recon",
        Signal::Dns(|dns, _| rtype(dns, &[Rtype::AXFR, Rtype::IXFR]) || name(dns).starts_with("ns.dns.")),
    ),
    ("R09", "recon", Signal::Dns(|dns, _| dns.body.question.as_ref().is_some_and(|q| q.class == Class::CH))),
    ("H01", "on-path", Signal::Lies),
    ("H02", "on-path", Signal::Dns(|dns, _| says(dns, LIE) && name(dns).starts_with("refunds."))),
    ("H03", "rogue-endpoint", Signal::Objects(&["EndpointSlice", "Endpoints"])),
    ("H04", "rogue-endpoint", Signal::Objects(&["Pod"])),
    ("H05", "dns-impostor", Signal::Objects(&["Pod", "EndpointSlice"])),
    ("H06", "rogue-endpoint", Signal::Objects(&["Service"])),
    ("H07", "externalname-drift", Signal::Objects(&["Service"])),
    ("H08", "corefile-tamper", Signal::Corefile),
    (
        "H09",
        "search-capture",
        Signal::Both(&Signal::Dns(|dns, _| is_captured(dns)), &Signal::Objects(&["Service"])),
    ),
    // The static rule: names of top-level domains, whether or not anything was captured.
    ("H09", "benign-day", Signal::Objects(&["Namespace", "Service"])),
    ("H11", "upstream-oddities", Signal::Dns(|dns, _| name(dns) == "r1.badcdn.example.")),
    ("H15", "corefile-tamper", Signal::Lies),
    ("H17", "dns-impostor", Signal::Objects(&["EndpointSlice"])),
    ("P01", "forged-upstream", Signal::Dns(|dns, file| file.contains("upstream") && says(dns, FORGED))),
    (
        "P06",
        "forged-upstream-late",
        Signal::Dns(|dns, file| {
            let late = dns.vantage == Vantage::PacketResponse && !says(dns, FORGED);
            file.contains("upstream") && late && name(dns) == "gateway.payments.example."
        }),
    ),
    (
        "P07",
        "upstream-oddities",
        Signal::Dns(|dns, _| dns.rcode == Some(Rcode::FORMERR) || is_foreign_answer(dns)),
    ),
    (
        "P11",
        "upstream-oddities",
        Signal::Dns(|dns, _| name(dns) == "pool.weather.example." && has_long_ttl(dns)),
    ),
    ("X08", "outage", Signal::Dns(|dns, _| name(dns).ends_with("victim.example."))),
    (
        "X10",
        "outage",
        Signal::Dns(|dns, _| dns.rcode == Some(Rcode::SERVFAIL) || dns.rcode.is_none() && is_reply(dns)),
    ),
    ("X11", "outage", Signal::Dns(|dns, _| !name(dns).ends_with("cluster.local."))),
];

fn is_reply(dns: &DnsEvent) -> bool {
    dns.vantage.is_response() && !dns.flags.has(Flags::QR)
}

/// The upstream of `upstream-oddities` answers one name's question with another one's.
fn is_foreign_answer(dns: &DnsEvent) -> bool {
    matches!(dns.vantage, Vantage::PacketResponse | Vantage::ForwarderResponse)
        && name(dns) == "www.other.example."
}

fn has_long_ttl(dns: &DnsEvent) -> bool {
    dns.body.answers.iter().any(|record| record.ttl > 3_600)
}

/// A public name with a suffix of the search list, answered.
fn is_captured(dns: &DnsEvent) -> bool {
    let public = ["github.com.", "example.net."].iter().any(|public| name(dns).starts_with(public));
    public
        && name(dns).ends_with("cluster.local.")
        && dns.vantage.is_response()
        && dns.rcode == Some(Rcode::NOERROR)
}

/// The rule's findings; in `search-capture` those of the captures, for the names of namespaces are a signal of their own.
fn of_rule<'a>(findings: &'a [Finding], rule: &str, case: &str) -> Vec<&'a Finding> {
    let counts = |one: &&Finding| !(case == "search-capture" && one.severity == Severity::Info);
    findings.iter().filter(|finding| finding.rule == rule).filter(counts).collect()
}

/// A bundled case's recording.
pub(crate) fn recording(case: &str) -> Recording {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases").join(case);
    Recording::of(read_case(&dir).unwrap()).unwrap()
}

fn take_out(recording: &mut Recording, signal: &Signal, found: &[&Finding]) -> usize {
    match signal {
        Signal::Dns(drops) => recording
            .without(&|shown| {
                shown.events.iter().any(|event| matches!(event, Event::Dns(dns) if drops(dns, shown.file)))
            })
            .unwrap(),
        Signal::Both(one, other) => take_out(recording, one, found) + take_out(recording, other, found),
        Signal::Lies => {
            let lies = recording.lies();
            let is_lie = |dns: &DnsEvent| {
                dns.client.is_some_and(|client| lies.contains(&(client.ip, client.port, dns.id)))
            };
            recording
                .without(&|shown| {
                    shown.events.iter().any(
                        |event| matches!(event, Event::Dns(dns) if dns.vantage.is_response() && is_lie(dns)),
                    )
                })
                .unwrap()
        }
        Signal::Objects(kinds) => {
            let named = found
                .iter()
                .flat_map(|finding| &finding.objects)
                .filter(|object| kinds.contains(&object.kind.as_str()));
            let needles: BTreeSet<String> =
                named.map(|object| format!("\"name\":\"{}\"", object.name)).collect();
            recording
                .without(&|shown| {
                    is_object_line(shown) && needles.iter().any(|needle| holds(shown.bytes, needle))
                })
                .unwrap()
        }
        Signal::Corefile => recording
            .without(&|shown| {
                let says_config = |event: &&Event| {
                    matches!(
                        event,
                        Event::Diagnostic(
                            Diagnostic::RunningConfiguration { .. } | Diagnostic::Reload { .. }
                        )
                    )
                };
                let changed = holds(shown.bytes, "\"MODIFIED\"")
                    || holds(shown.bytes, "\"verb\":\"patch\"")
                    || holds(shown.bytes, "\"verb\":\"update\"");
                is_object_line(shown) && changed && holds(shown.bytes, "Corefile")
                    || shown.events.iter().any(says_config)
            })
            .unwrap(),
    }
}

fn is_object_line(shown: &Shown<'_>) -> bool {
    shown.file.starts_with("audit") || shown.file.starts_with("watch")
}

fn holds(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[test]
fn removing_the_signal_removes_the_finding() {
    let mut wrong = Vec::new();
    for (rule, case, signal) in &TABLE {
        // Snapshots tell of objects too, but cannot be thinned record by record: both runs go without them.
        let object_rule = !matches!(signal, Signal::Dns(_) | Signal::Lies);
        let snapshot =
            |file: &str| object_rule && (file.starts_with("objects") || file.starts_with("corefile"));
        let mut recording = recording(case).without_files(&snapshot);
        let before = recording.investigate().unwrap().outcome.findings;
        let found = of_rule(&before, rule, case);
        if found.is_empty() {
            wrong.push(format!("{rule} does not fire in {case}"));
            continue;
        }
        let dropped = take_out(&mut recording, signal, &found);
        let after = recording.investigate().unwrap().outcome.findings;
        let left = of_rule(&after, rule, case);
        if dropped == 0 || !left.is_empty() {
            let shown: Vec<String> =
                left.iter().map(|f| format!("{} → {} {}", f.subject, f.target, f.why)).collect();
            wrong.push(format!(
                "{rule} in {case}: {dropped} records taken out, still {}: {shown:?}",
                left.len()
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
