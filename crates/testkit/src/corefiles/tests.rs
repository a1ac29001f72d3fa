//! The suites over the corpora, and the Corefile language against a running CoreDNS, where they are present.

use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use truename_cluster::corefile::rewrite::ResponseChange;
use truename_cluster::corefile::{Corefile, End, Query, Version, parse_for, server_for, trace};
use truename_model::{Class, Name, Question, Rtype};

use super::*;

fn corpora() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora");
    let dir = std::env::var_os("TRUENAME_CORPORA").map_or(beside, PathBuf::from);
    dir.join("README.md").exists().then_some(dir)
}

#[test]
fn no_corefile_golden_differs_without_a_reason() {
    let Some(dir) = corpora() else { return println!("skipped: corpora absent") };
    let mut failed = Vec::new();
    for suite in run(&dir) {
        println!("{} cases {} agree {} explained {}", suite.suite, suite.cases, suite.agree, suite.explained);
        if suite.cases == 0 || suite.wrong > 0 {
            failed.push((suite.suite, suite.misses));
        }
    }
    assert!(failed.is_empty(), "wrong, or nothing to compare: {failed:#?}");
}

/// Numbers that look random and are the same in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }
}

fn coredns(version: &str) -> Option<PathBuf> {
    let home = PathBuf::from(std::env::var_os("HOME")?);
    let path = home.join(format!(".cache/truename/parts/coredns-{version}/coredns"));
    path.exists().then_some(path)
}

/// A CoreDNS on loopback, stopped when dropped.
struct Server {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
    /// The running hash that it printed; `None` if it ended instead.
    hash: Option<String>,
    /// What it printed.
    output: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = &self.folder;
    }
}

impl Server {
    /// Starts CoreDNS and waits until it serves or ends.
    fn start(binary: &PathBuf, corefile: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Corefile");
        std::fs::write(&path, corefile).unwrap();
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = Command::new(binary)
            .args(["-conf", &path.to_string_lossy(), "-dns.port", &port.to_string()])
            .env("TRUENAME_TEST_WORD", "a.example")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (send, lines) = mpsc::channel();
        let streams: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let send = send.clone();
            std::thread::spawn(move || {
                BufReader::new(stream).lines().map_while(Result::ok).for_each(|line| {
                    let _ = send.send(line);
                });
            });
        }
        drop(send);
        let (mut hash, mut output) = (None, String::new());
        // The channel closes when the process ends.
        while let Ok(line) = lines.recv_timeout(Duration::from_secs(60)) {
            output.push_str(&line);
            output.push('\n');
            if let Some((_, digest)) = line.split_once("Running configuration SHA512 = ") {
                hash = Some(digest.trim().to_owned());
            }
            // The banner comes last.
            if line.contains("linux/") || line.starts_with("CoreDNS-") {
                break;
            }
        }
        Self { child, port, folder, hash, output }
    }

    /// Asks over UDP; the response code and the answer's records as text, sorted.
    fn ask(&self, question: &Question) -> Option<(u8, Vec<String>)> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut query = vec![0x4a, 0x17, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.extend_from_slice(question.name.wire());
        query.extend_from_slice(&question.rtype.0.to_be_bytes());
        query.extend_from_slice(&question.class.0.to_be_bytes());
        socket.send_to(&query, ("127.0.0.1", self.port)).unwrap();
        let mut buffer = [0u8; 4096];
        let size = socket.recv(&mut buffer).ok()?;
        Some(answers(&buffer[..size]))
    }
}

fn read_name(message: &[u8], at: &mut usize) -> Name {
    let (mut wire, mut from, mut jumped) = (Vec::new(), *at, false);
    loop {
        let len = usize::from(message[from]);
        if len >= 0xc0 {
            if !jumped {
                *at = from + 2;
            }
            jumped = true;
            from = (len & 0x3f) << 8 | usize::from(message[from + 1]);
            continue;
        }
        wire.extend_from_slice(&message[from..=from + len]);
        from += len + 1;
        if len == 0 {
            break;
        }
    }
    if !jumped {
        *at = from;
    }
    Name::from_wire(&wire).unwrap()
}

fn answers(message: &[u8]) -> (u8, Vec<String>) {
    let count = usize::from(message[7]);
    let mut at = 12;
    read_name(message, &mut at);
    at += 4;
    let mut out = Vec::new();
    for _ in 0..count {
        let owner = read_name(message, &mut at);
        let rtype = u16::from_be_bytes([message[at], message[at + 1]]);
        let ttl = u32::from_be_bytes([message[at + 4], message[at + 5], message[at + 6], message[at + 7]]);
        let len = usize::from(u16::from_be_bytes([message[at + 8], message[at + 9]]));
        at += 10;
        let data = &message[at..at + len];
        let text = match rtype {
            1 => std::net::Ipv4Addr::from(<[u8; 4]>::try_from(data).unwrap()).to_string(),
            28 => std::net::Ipv6Addr::from(<[u8; 16]>::try_from(data).unwrap()).to_string(),
            _ => read_name(message, &mut { at }).to_string(),
        };
        out.push(format!("{owner} {ttl} {} {text}", Rtype(rtype)));
        at += len;
    }
    out.sort();
    (message[3] & 0xf, out)
}

/// A Corefile with odd layout, quotes, snippets, imports, variables.
fn odd_corefile(dice: &mut Dice) -> String {
    let mut out = String::new();
    if dice.roll(3) == 0 {
        out.push('\u{feff}');
    }
    let noise = ["", "# <b>&amp;\n", "\n", "\t# \"quoted\n", "\r\n"];
    out.push_str("(common) {\n errors\n log . \"{remote} <{name}> & \\\"{type}\\\" ü\u{2028}\"\n}\n");
    for zone in ["a.example", "{$TRUENAME_TEST_WORD}.", ".", "10.1.0.0/15"].iter().take(1 + dice.roll(4)) {
        out.push_str(dice.pick(&noise));
        out.push_str(&format!(
            "{} {{{}\n",
            zone.replace("a.example", "b.example"),
            dice.pick(&["", " # here", "\t"])
        ));
        out.push_str(" reload 10s\n bind 127.0.0.1\n");
        for _ in 0..dice.roll(5) {
            out.push_str(dice.pick(&noise));
            out.push_str(dice.pick(&[
                " import common\n",
                " cache 30 { # c\n\tsuccess 10 20\n }\n",
                " cache{$NOTHING_AT_ALL_SET}\n",
                " template IN A {\n  answer \"{{ .Name }} 60 IN A\n 192.0.2.1\"\n  match \"a\\\\.b\" \"c\\d\"\n }\n",
                " rewrite name {$TRUENAME_TEST_WORD} {%TRUENAME_TEST_WORD%}x\n",
                " hosts {\n  192.0.2.1 x#y z\n  fallthrough\n }\n",
                " whoami#comment\n",
                " chaos \"a b\" c#d e\n",
                " nsid \"multi\nline\" {\n }\n",
            ]));
        }
        out.push_str(" whoami\n}\n");
    }
    out
}

#[test]
fn running_hashes_are_those_of_a_running_coredns() {
    let (mut started, mut refused) = (0, 0);
    for version in ["1.15.0", "1.14.4"] {
        let Some(binary) = coredns(version) else {
            println!("skipped: coredns {version} absent");
            continue;
        };
        let mut dice = Dice(0x7275_656e_616d_6531);
        let mut env = Env::default();
        env.variables.insert("TRUENAME_TEST_WORD".to_owned(), "a.example".to_owned());
        for _ in 0..24 {
            let text = odd_corefile(&mut dice);
            let known = Version::parse(version).unwrap();
            let ours = parse_for(&text, &env, known);
            let server = Server::start(&binary, &text);
            match (&ours, &server.hash) {
                (Ok(corefile), Some(hash)) => {
                    assert_eq!(&corefile.running_hash, hash, "{text}");
                    assert!(corefile.would_start(), "{text}\n{:?}", corefile.invalid);
                    started += 1;
                }
                (Ok(corefile), None) => {
                    assert!(!corefile.would_start(), "CoreDNS refuses: {text}\n{}", server.output);
                    refused += 1;
                }
                (Err(errors), hash) => {
                    assert_eq!(hash, &None, "{text}\n{errors:?}");
                    refused += 1;
                }
            }
        }
    }
    println!("running hashes: {started} equal, {refused} refused by both");
}

/// Stanzas of which some stop CoreDNS from starting.
const STANZAS: [&str; 44] = [
    "errors",
    "errors stderr",
    "errors {\n consolidate 5m \".* x\" warning show_first\n }",
    "errors { stacktrace }",
    "log",
    "log . { class error }",
    "log . {\n class error denial\n }",
    "log a b {\n class bad\n }",
    "cache 30",
    "cache 0",
    "cache 30 a.example {\n success 9984 30 5\n denial x\n }",
    "cache {\n prefetch 1 1m 5%\n }",
    "cache {\n serve_stale 1h verify 1s 30s 10s\n }",
    "cache {\n keepttl 1\n }",
    "whoami x",
    "any",
    "any {\n x\n }",
    "template IN A {\n match (\n }",
    "template IN a",
    "template IN A a.example {\n answer \"{{ nope }}\"\n }",
    "template ANY ANY {\n rcode nxdomain\n }",
    "rewrite name a b",
    "rewrite name regex (.*) {1}{2}",
    "rewrite name a.example b.example answer auto",
    "rewrite {\n name regex ^a$ b\n answer name b a\n }",
    "rewrite ttl a 30-10",
    "rewrite edns0 local set 0xffee {client_ip}",
    "rewrite edns0 nsid set x",
    "hosts {\n 192.0.2.1 a\n ttl 0\n }",
    "hosts {\n fallthrough\n 192.0.2.1 a\n }",
    "hosts {\n 192.0.2.1 a\n fallthrough\n }",
    "acl {\n allow type A net 10.0.0.0/8\n drop\n }",
    "acl {\n block type a\n }",
    "acl {\n allow net 10.0.0/8\n }",
    "forward . 127.0.0.1:1",
    "forward . 127.0.0.1:1 {\n policy best\n }",
    "forward . 127.0.0.1:1 {\n max_age 5s\n }",
    "dns64 64:ff9b::/97",
    "header {\n response set aa ra\n }",
    "header {\n response set zz\n }",
    "loadbalance weighted",
    "bufsize 100",
    "minimal {\n x\n }",
    "local {\n localhost_prefix off\n }",
];

#[test]
fn what_coredns_refuses_is_refused_and_nothing_else() {
    let Some(binary) = coredns("1.15.0") else { return println!("skipped: coredns 1.15.0 absent") };
    let (mut started, mut refused) = (0, 0);
    for stanza in STANZAS {
        let text = format!(". {{\n reload\n bind 127.0.0.1\n {stanza}\n}}\n");
        let ours = parse_for(&text, &Env::default(), Version(1, 15, 0));
        let accepts = ours.as_ref().is_ok_and(Corefile::would_start);
        let server = Server::start(&binary, &text);
        assert_eq!(accepts, server.hash.is_some(), "{text}\n{ours:?}\n{}", server.output);
        if accepts { started += 1 } else { refused += 1 }
    }
    println!("stanzas: {started} start, {refused} are refused, as in CoreDNS");
    assert!(started > 15 && refused > 15);
}

const LINES: [&str; 14] = [
    "rewrite name exact a.example b.example",
    "rewrite continue name suffix .c.example .b.example answer auto",
    "rewrite continue name prefix x. y.",
    "rewrite name substring mid end answer auto",
    "rewrite stop name regex ^(.*)\\.d\\.example\\.$ {1}.b.example answer auto",
    "rewrite name regex ^q\\.(.*)$ h.{1} answer name ^h\\.(.*)$ q.{1}",
    "rewrite continue ttl suffix b.example 7-20",
    "rewrite continue type AAAA A",
    "rewrite rcode exact no.example NXDOMAIN NOERROR",
    "template IN A t.example {\n  match ^(?P<n>[0-9]+)\\.t\\.example\\.$\n  answer \"{{ .Name }} 33 IN A 192.0.2.{{ .Group.n }}\"\n  fallthrough\n }",
    "template ANY ANY no.example {\n  rcode NXDOMAIN\n }",
    "template IN AAAA b.example {\n  match ^v6\n  answer \"{{ .Name }} IN AAAA 2001:db8::{{ index .Match 0 | len }}\"\n  fallthrough b.example\n }",
    "any",
    "acl {\n  filter type TXT\n  block type MX net 127.0.0.0/8\n }",
];

const HOSTS: &str = "hosts {\n  192.0.2.10 b.example x.b.example\n  192.0.2.11 b.example\n  2001:db8::10 b.example\n  192.0.2.12 *.b.example h.w.example\n  ::ffff:192.0.2.13 y.b.example end.example\n  ttl 60\n  fallthrough t.example no.example\n }";

#[test]
fn answers_before_kubernetes_are_those_of_a_running_coredns() {
    let names = [
        "a.example",
        "b.example",
        "x.c.example",
        "c.example",
        "x.b.example",
        "y.b.example",
        "x.a.b.example",
        "mid.example",
        "b.d.example",
        "x.d.example",
        "q.w.example",
        "7.t.example",
        "t.example",
        "no.example",
        "v6.b.example",
        "10.2.0.192.in-addr.arpa",
        "11.2.0.192.in-addr.arpa",
        "other.example",
        "x.x.b.example",
    ];
    let mut dice = Dice(0x6465_6369_6465_7321);
    let (mut told, mut untold) = (0u32, 0u32);
    for version in ["1.15.0", "1.14.4"] {
        let Some(binary) = coredns(version) else {
            println!("skipped: coredns {version} absent");
            continue;
        };
        let known = Version::parse(version).unwrap();
        for _ in 0..20 {
            let mut lines: Vec<&str> = (0..1 + dice.roll(6)).map(|_| dice.pick(&LINES)).collect();
            lines.sort_unstable_by_key(|line| line.len() % 7);
            lines.dedup();
            if dice.roll(4) > 0 {
                lines.push(HOSTS);
            }
            let body: Vec<&str> = lines.iter().copied().filter(|line| !line.starts_with("acl")).collect();
            let acl = lines.iter().find(|line| line.starts_with("acl")).copied().unwrap_or("");
            let any = if body.contains(&"any") { "" } else { "any" };
            let text = format!(". {{\n reload\n bind 127.0.0.1\n {}\n {acl}\n {any}\n}}\n", body.join("\n "));
            let corefile = parse_for(&text, &Env::default(), known).unwrap();
            assert!(corefile.would_start(), "{text}\n{:?}", corefile.invalid);
            let server = Server::start(&binary, &text);
            assert!(server.hash.is_some(), "{text}\n{}", server.output);
            for name in names {
                for rtype in [Rtype::A, Rtype::AAAA, Rtype::PTR, Rtype::TXT, Rtype::MX] {
                    let question = Question { name: Name::parse(name).unwrap(), rtype, class: Class::IN };
                    let query = Query {
                        version: known,
                        client: Some("127.0.0.1".parse().unwrap()),
                        behind_kubernetes: false,
                    };
                    let block = server_for(&corefile, &question.name, 53).unwrap();
                    let trace = trace(block, &question, query);
                    let Some((rcode, records)) = trace.answer() else {
                        let recoded =
                            trace.response.iter().any(|one| matches!(one, ResponseChange::Code(..)));
                        if trace.end == End::Nobody && trace.is_certain() && !recoded {
                            // No plugin answers: SERVFAIL.
                            assert_eq!(server.ask(&question), Some((2, Vec::new())), "{question:?}\n{text}");
                            told += 1;
                        } else {
                            untold += 1;
                        }
                        continue;
                    };
                    let mut wanted: Vec<String> = records
                        .iter()
                        .map(|r| format!("{} {} {} {}", r.owner, r.ttl, r.rtype, r.rdata))
                        .collect();
                    wanted.sort();
                    let found = server.ask(&question);
                    assert_eq!(found, Some((rcode.0 as u8, wanted)), "{question:?}\n{text}\n{trace:#?}");
                    told += 1;
                }
            }
        }
    }
    println!("answers: {told} equal to CoreDNS's, {untold} not determined by the Corefile alone");
}
