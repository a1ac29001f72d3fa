//! `cargo xtask bench truth`: what verdicts cost (`testkit::truth_bench`).
//! `cargo xtask bench investigate [EVENTS]`: the walk measured stage by stage on generated traffic, against the floor
//! (reading the same bytes, SHA-256, zstd level 1) measured in the same run. Only delivered and hashed records count.

#![allow(clippy::print_stdout, reason = "a development command prints")]
#![allow(clippy::field_reassign_with_default, reason = "figures are filled in as they are measured")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use sha2::Digest as _;
use truename_engine::{Input, Passing, Settings, Study, ingest};
use truename_evidence::{Case, Limits, Options, SigningKeyFile};
use truename_model::{Nanos, OriginId, Outcome};
use truename_sources::DecodeContext;
use truename_sources::decode::decoder;
use truename_sources::recognise::{Format, HEAD, Recognised, recognise};
use truename_sources::split::split;
use truename_testkit::generate::{Load, objects, traffic};
use truename_testkit::truth_bench;

/// The allocator of the program itself: records are freed on another thread than they were made on.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Peak resident memory is read while it is highest, so each run is a process of its own.
#[derive(Debug, Default, Serialize)]
struct Figures {
    log_lines_per_s_core: f64,
    dnstap_msgs_per_s_core: f64,
    end_to_end_events_per_s: f64,
    floor_ratio: f64,
    peak_rss_mb: f64,
    bytes_per_event: f64,
    growth_pods: f64,
}

/// Lookups between two looks at the process's CPU time.
const SAMPLE: u64 = 10_000;
const LOAD: Load = Load { events: 10_000_000, pods: 2_000, names: 20_000, exponent: 1.0, seed: 42 };

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["investigate"] => investigate(10_000_000),
        ["investigate", events] => investigate(events.parse().unwrap_or(10_000_000)),
        ["truth"] => truth(),
        ["generate", dir, events] => {
            generate(Path::new(dir), Load { events: events.parse().unwrap_or(200_000), ..LOAD }).map(|_| ())
        }
        ["decode", dir] => decode(Path::new(dir)).map(|_| ()),
        ["walk", dir, threads] => walk(Path::new(dir), threads.parse().unwrap_or(2)),
        _ => Err(io::Error::other("usage: cargo xtask bench investigate [EVENTS] | truth")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn truth() -> io::Result<()> {
    let (lines, figures) = truth_bench::run(truth_bench::Size::default(), &thread_cpu);
    lines.iter().for_each(|line| println!("{line}"));
    println!("{}", serde_json::to_string(&figures).map_err(io::Error::other)?);
    Ok(())
}

fn investigate(events: u64) -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let load = Load { events, ..LOAD };
    let (lines, messages) = generate(dir.path(), load)?;
    println!("generated {lines} log lines and {messages} dnstap messages, 2,000 pods with churn, Zipf 1.0");
    let mut figures = Figures::default();
    (figures.log_lines_per_s_core, figures.dnstap_msgs_per_s_core) = decode(dir.path())?;
    let floor = floor(dir.path())?;
    let run = child(dir.path(), 2)?;
    run.print();
    let wall = run.ingest_s + run.study_s;
    let total = lines + messages;
    figures.end_to_end_events_per_s = total as f64 / wall;
    figures.floor_ratio = wall / floor.as_secs_f64();
    figures.peak_rss_mb = run.peak_rss_mb;
    figures.bytes_per_event = run.stored_bytes as f64 / total as f64;
    println!(
        "ingest (read, split, hash, store): {:.0} events/s; study (read back, decode, join, judge, detect): {:.0} events/s",
        total as f64 / run.ingest_s,
        total as f64 / run.study_s
    );
    println!(
        "end to end {:.0} events/s in {wall:.1} s, CPU {:.1} s, peak {:.0} MB, {:.1} bytes per event at rest, {} records delivered and hashed",
        figures.end_to_end_events_per_s, run.cpu_s, run.peak_rss_mb, figures.bytes_per_event, run.records
    );
    println!(
        "floor (read, SHA-256, zstd-1 on two threads): {:.1} s, ratio {:.1}",
        floor.as_secs_f64(),
        figures.floor_ratio
    );
    figures.growth_pods = growth(events.min(2_000_000))?;
    println!("{}", serde_json::to_string(&figures).unwrap_or_default());
    Ok(())
}

/// Lines and messages decoded per second and core.
fn decode(dir: &Path) -> io::Result<(f64, f64)> {
    let lines = decode_rate(&dir.join("in/coredns.log"))?;
    let messages = decode_rate(&dir.join("in/coredns.fstrm"))?;
    println!("decode: log {:.2} M lines/s/core, dnstap {:.2} M messages/s/core", lines / 1e6, messages / 1e6);
    Ok((lines, messages))
}

/// CPU per lookup of the stream (decode, join, attribution, verdict, rules) with 20,000 pods over that with 100, same events and exponent; uniform draws printed too.
fn growth(events: u64) -> io::Result<f64> {
    let cost = |pods: u32, exponent: f64| -> io::Result<f64> {
        let dir = tempfile::tempdir()?;
        let load = Load { events, pods, names: 20_000, exponent, seed: 7 };
        generate(dir.path(), load)?;
        let run = child(dir.path(), 1)?;
        Ok(run.stream_ns)
    };
    let (few, many, uniform) = (cost(100, 1.0)?, cost(20_000, 1.0)?, cost(20_000, 0.0)?);
    println!(
        "CPU per lookup while the stream runs: 100 pods {few:.0} ns, 20,000 pods {many:.0} ns, 20,000 pods drawn uniformly {uniform:.0} ns"
    );
    Ok(many / few)
}

fn generate(dir: &Path, load: Load) -> io::Result<(u64, u64)> {
    let input = dir.join("in");
    std::fs::create_dir_all(&input)?;
    let mut log = BufWriter::with_capacity(1 << 20, File::create(input.join("coredns.log"))?);
    let mut tap = BufWriter::with_capacity(1 << 20, File::create(input.join("coredns.fstrm"))?);
    let mut watch = BufWriter::new(File::create(input.join("watch.jsonl"))?);
    objects(load, &mut watch)?;
    traffic(load, &mut log, &mut tap)
}

fn format_of(path: &Path) -> io::Result<Format> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD as u64).read_to_end(&mut head)?;
    match recognise(&head) {
        Recognised::Format(format) => Ok(format),
        Recognised::Container(_) => Err(io::Error::other("a container")),
    }
}

/// Records decoded per second of this thread's time: splitting is not counted.
fn decode_rate(path: &Path) -> io::Result<f64> {
    let format = format_of(path)?;
    let mut decoder = decoder(&format, DecodeContext::new(0, OriginId(0)));
    let (mut out, mut spent, mut records) = (Vec::new(), Duration::ZERO, 0u64);
    let mut held: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut decode = |held: &mut Vec<(u64, Vec<u8>)>| {
        let start = thread_cpu();
        for (ordinal, bytes) in held.iter() {
            decoder.decode(*ordinal, bytes, &mut out);
            if out.len() > 4_096 {
                out.clear();
            }
        }
        spent += thread_cpu().saturating_sub(start);
        records += held.len() as u64;
        held.clear();
    };
    split(&format, &mut File::open(path)?.take(400 << 20), &mut |piece| {
        held.push((piece.ordinal, piece.bytes.to_vec()));
        if held.len() == 8_192 {
            decode(&mut held);
        }
        Ok(())
    })?;
    decode(&mut held);
    Ok(records as f64 / spent.as_secs_f64())
}

/// Reads, hashes and compresses the same bytes, hashing and compressing on two threads.
fn floor(dir: &Path) -> io::Result<Duration> {
    let start = Instant::now();
    let paths = ["in/coredns.log", "in/coredns.fstrm", "in/watch.jsonl"].map(|name| dir.join(name));
    let pass = |work: &mut dyn FnMut(&[u8]) -> io::Result<()>| -> io::Result<()> {
        let mut buffer = vec![0u8; 1 << 20];
        for path in &paths {
            let mut file = File::open(path)?;
            loop {
                let len = file.read(&mut buffer)?;
                if len == 0 {
                    break;
                }
                work(&buffer[..len])?;
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let hashing = scope.spawn(|| {
            let mut hash = sha2::Sha256::new();
            let done = pass(&mut |bytes| {
                hash.update(bytes);
                Ok(())
            });
            done.map(|()| hash.finalize()[0])
        });
        let mut encoder = zstd::Encoder::new(io::sink(), 1)?;
        pass(&mut |bytes| io::Write::write_all(&mut encoder, bytes))?;
        encoder.finish()?;
        hashing.join().map_err(|_| io::Error::other("the hashing thread"))??;
        Ok(start.elapsed())
    })
}

/// What a child process measured of itself.
#[derive(Debug, Default, Serialize, serde::Deserialize)]
struct Walked {
    ingest_s: f64,
    study_s: f64,
    cpu_s: f64,
    // CPU per lookup while the stream runs: decode, join, attribution, verdict, rules.
    stream_ns: f64,
    peak_rss_mb: f64,
    stored_bytes: u64,
    records: u64,
    lookups: u64,
    // What was concluded, so that a meaningless run is seen.
    outcome: Vec<(String, u64)>,
    notes: Vec<String>,
}

impl Walked {
    fn print(&self) {
        let share = |count: u64| count as f64 * 100.0 / self.lookups.max(1) as f64;
        let words: Vec<String> =
            self.outcome.iter().map(|(word, count)| format!("{word} {:.2} %", share(*count))).collect();
        println!("{} lookups: {}", self.lookups, words.join(", "));
        self.notes.iter().for_each(|note| println!("note: {note}"));
    }
}

/// Attribution, verdicts and what stayed open, by word; then findings by rule and evictions by table, as notes.
fn concluded(outcome: &Outcome) -> (Vec<(String, u64)>, Vec<String>) {
    let coverage = &outcome.coverage;
    let shares = [&coverage.attribution, &coverage.verdicts, &coverage.unverifiable];
    let shares = shares.into_iter().flatten().map(|(word, count)| (word.clone(), *count)).collect();
    let mut rules: BTreeMap<&str, u64> = BTreeMap::new();
    for finding in &outcome.findings {
        *rules.entry(&finding.rule).or_default() += 1;
    }
    let mut notes = coverage.notes.clone();
    notes.push(format!("findings by rule {rules:?}"));
    notes.push(format!("evictions {:?}", coverage.evictions));
    (shares, notes)
}

fn child(dir: &Path, threads: u8) -> io::Result<Walked> {
    let output = std::process::Command::new(std::env::current_exe()?)
        .arg("walk")
        .arg(dir)
        .arg(threads.to_string())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.trim()).map_err(|_| io::Error::other(format!("walk: {text}")))
}

fn walk(dir: &Path, threads: u8) -> io::Result<()> {
    let failed = |error: &dyn std::fmt::Display| io::Error::other(error.to_string());
    let inputs: Vec<Input> = ["coredns.fstrm", "coredns.log", "watch.jsonl"]
        .into_iter()
        .map(|name| {
            let path = dir.join("in").join(name);
            let size = std::fs::metadata(&path).map(|meta| meta.len()).unwrap_or(0);
            let open = move || File::open(&path).map(|file| Box::new(file) as Box<dyn Read + Send>);
            Input { label: name.to_owned(), size, open: Box::new(open) }
        })
        .collect();
    let case_dir = dir.join("case");
    let key = SigningKeyFile::load_or_create(&dir.join("key")).map_err(|error| failed(&error))?;
    let options = Options { now: Box::new(|| Nanos(0)), tool: "bench".into(), limits: Limits::default() };
    let mut case = Case::open_or_create(&case_dir, Arc::new(key), options).map_err(|error| failed(&error))?;
    let settings = Settings { dns_ports: vec![53], threads, tool: "bench".into(), ..Settings::default() };
    let start = Instant::now();
    ingest(&mut case, &inputs, &settings, &|| Nanos(0), &mut |_| {}).map_err(|error| failed(&error))?;
    let ingest_s = start.elapsed().as_secs_f64();
    let reader = case.reader().map_err(|error| failed(&error))?;
    let (mut seen, mut first, mut last) = (0u64, 0.0, 0.0);
    let start = Instant::now();
    let study = Study::new(&reader, &settings).map_err(|error| failed(&error))?;
    // The stream alone: reading the objects before it and the rules' last word after it are not per event.
    let mut pass = |passing: &Passing<'_>| {
        if matches!(passing, Passing::Lookup(_)) {
            if seen.is_multiple_of(SAMPLE) {
                last = cpu_s();
                first = if seen == 0 { last } else { first };
            }
            seen += 1;
        }
    };
    let outcome = study.conclude(&mut pass).map_err(|error| failed(&error))?;
    let sampled = seen.saturating_sub(1) / SAMPLE * SAMPLE;
    let study_s = start.elapsed().as_secs_f64();
    let records: u64 = reader.items().iter().filter_map(|item| item.end.as_ref()).map(|end| end.stored).sum();
    let (shares, notes) = concluded(&outcome);
    let walked = Walked {
        ingest_s,
        study_s,
        cpu_s: cpu_s(),
        stream_ns: (last - first) * 1e9 / sampled.max(1) as f64,
        peak_rss_mb: peak_rss_mb(),
        stored_bytes: reader.volume().1,
        records,
        lookups: outcome.coverage.lookups,
        outcome: shares,
        notes,
    };
    if outcome.coverage.lookups == 0 {
        return Err(io::Error::other("no lookup was judged"));
    }
    std::fs::remove_dir_all(&case_dir)?;
    println!("{}", serde_json::to_string(&walked).unwrap_or_default());
    Ok(())
}

/// Time that this thread was on a core (`schedstat`): other work on the machine does not count.
fn thread_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

/// User and system time of this process, seconds (`/proc/self/stat`, clock ticks of 10 ms).
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Highest resident memory of this process, megabytes (`VmHWM`).
fn peak_rss_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap_or(0.0) / 1024.0
}
