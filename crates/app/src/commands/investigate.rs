//! `truename investigate`: inputs into the log, the walk over the log, the conclusion into the log, the summary.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use truename_engine::{Ingested, Override, Settings, Study, ingest, read_profile, sha256};
use truename_evidence::{Case, Conclusion, Limits, Options, SigningKeyFile};
use truename_model::{Nanos, Outcome, Sha256};
use truename_report::{Style, lines, summary};

use crate::cli::{Grade, InvestigateArgs};
use crate::commands::case::{OUTCOME, Opened, failed, log_failed};
use crate::commands::show;
use crate::exit::{Exit, Failure, judged};
use crate::inputs;
use crate::terminal;

/// Largest profile read, octets.
const PROFILE_MAX: u64 = 4 << 20;
/// Default folders that may be made within one second.
const SAME_SECOND_MAX: u32 = 1_000;

/// The wall clock, for custody entries and nothing else.
pub(crate) fn now() -> Nanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

pub(crate) fn tool() -> String {
    format!("truename {}", env!("CARGO_PKG_VERSION"))
}

pub(crate) fn run(args: &InvestigateArgs, fail_on: Option<Grade>, style: Style) -> Result<Exit, Failure> {
    let settings = settings(args)?;
    let inputs = inputs::find(&args.paths, args.case.as_deref())?;
    if inputs.inputs.is_empty() {
        let paths: Vec<String> = args.paths.iter().map(|path| path.display().to_string()).collect();
        return Err(Failure::usage(format!(
            "{}: no files in it; name files or folders that hold evidence",
            paths.join(", ")
        )));
    }
    args.case.as_deref().map_or(Ok(()), refuse_foreign)?;
    let key = SigningKeyFile::load_or_create(&key_path(args)?).map_err(|error| log_failed(&error))?;
    let dir = args.case.clone().map_or_else(new_case, Ok)?;
    terminal::tell(&format!("case {}", dir.display()));
    let options = Options { now: Box::new(now), tool: tool(), limits: Limits::default() };
    let mut case = Case::open_or_create(&dir, Arc::new(key), options).map_err(|error| log_failed(&error))?;
    let settings = carried(&case, args, settings)?;
    let progress = terminal::progress(inputs.bytes);
    let taken = ingest(&mut case, &inputs.inputs, &settings, &now, &mut |octets| progress.inc(octets))
        .map_err(|error| failed(&error))?;
    progress.finish_and_clear();
    say_taken(&taken);
    let outcome = conclude(&mut case, &settings)?;
    let receipt = case.close().map_err(|error| log_failed(&error))?;
    write_derived(&dir, &outcome)?;
    terminal::print(&summary::summary(&outcome, style))?;
    terminal::print(&format!(
        "\ncase     {0}\nreport   {0}/derived/report.html\nnext     truename findings {0} · truename explain {0} ID · truename timeline {0}\nreceipt  {receipt}\n",
        dir.display()
    ))?;
    Ok(exit(args, fail_on, &outcome, &taken))
}

/// A folder that holds something else is not made a case; what a killed first run left is.
fn refuse_foreign(dir: &Path) -> Result<(), Failure> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    let ours = ["case.lock", "derived", "evidence"];
    let foreign = entries.flatten().any(|entry| !ours.iter().any(|name| entry.file_name() == *name));
    if foreign && !dir.join("evidence").is_dir() {
        let shown = dir.display();
        return Err(Failure::usage(format!(
            "{shown} holds files and is no case; name a new folder with --case"
        )));
    }
    Ok(())
}

fn settings(args: &InvestigateArgs) -> Result<Settings, Failure> {
    let overrides = args.origin.iter().map(|text| Override::parse(text)).collect::<Result<Vec<_>, _>>();
    let profile = match &args.profile {
        Some(path) => {
            let size = fs::metadata(path).map_err(|error| Failure::io("read", path, &error))?.len();
            if size > PROFILE_MAX {
                return Err(Failure::usage(format!(
                    "{}: a profile of {size} octets; {PROFILE_MAX} at most",
                    path.display()
                )));
            }
            let text = fs::read_to_string(path).map_err(|error| Failure::io("read", path, &error))?;
            read_profile(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?
        }
        None => truename_model::Profile::default(),
    };
    let user =
        std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "unknown".to_owned());
    Ok(Settings {
        operator: args.operator.clone().unwrap_or(user),
        tool: tool(),
        keep_all: args.keep_all,
        copy_originals: args.copy_originals,
        overrides: overrides.map_err(|error| Failure::usage(error.to_string()))?,
        dns_ports: [53].into_iter().chain(args.dns_port.iter().copied()).collect(),
        profile,
        threads: args.threads,
        at_size: None,
    })
}

/// What the operator stated for the last conclusion holds on, unless it is stated anew.
fn carried(case: &Case, args: &InvestigateArgs, given: Settings) -> Result<Settings, Failure> {
    let Some((_, last)) = case.conclusions().last().filter(|_| !args.afresh) else { return Ok(given) };
    let before = Settings::from_note(&last.note).map_err(|error| failed(&error))?;
    let mut settings = given;
    let mut again = Vec::new();
    if args.profile.is_none() && before.profile != settings.profile {
        settings.profile = before.profile;
        again.push("the profile (--profile replaces it)");
    }
    if args.origin.is_empty() && !before.overrides.is_empty() {
        settings.overrides = before.overrides;
        again.push("the origins (--origin replaces them)");
    }
    if args.dns_port.is_empty() && before.dns_ports != settings.dns_ports {
        settings.dns_ports = before.dns_ports;
        again.push("the DNS ports (--dns-port replaces them)");
    }
    if !again.is_empty() {
        terminal::tell(&format!(
            "of the case's last conclusion, {} hold on; --afresh does without",
            again.join(" and ")
        ));
    }
    Ok(settings)
}

/// Makes the default folder. It must be new: two runs never share a case unasked.
fn new_case() -> Result<PathBuf, Failure> {
    let (year, month, day, hour, minute, second, _) = now().civil();
    let stem = format!("truename-case-{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z");
    let mut private = fs::DirBuilder::new();
    private.mode(0o700);
    for n in 1..=SAME_SECOND_MAX {
        let dir = PathBuf::from(if n == 1 { stem.clone() } else { format!("{stem}-{n}") });
        match private.create(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Failure::io("make", &dir, &error)),
        }
    }
    Err(Failure::usage(format!("{stem} to {stem}-{SAME_SECOND_MAX} exist; name a folder with --case")))
}

fn key_path(args: &InvestigateArgs) -> Result<PathBuf, Failure> {
    if let Some(path) = &args.key {
        return Ok(path.clone());
    }
    let home = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
    let config = config
        .ok_or_else(|| Failure::usage("no HOME to keep the signing key in; name one with --key FILE"))?;
    Ok(config.join("truename").join("key"))
}

pub(crate) fn say_taken(taken: &Ingested) {
    terminal::tell(&format!("{} items taken, {} known already", taken.taken, taken.known));
    for what in &taken.failed {
        terminal::tell(&format!("not read: {}", truename_report::escape::terminal(what)));
    }
}

/// Walks the log and appends the conclusion; the prefix is what the log held before it.
fn conclude(case: &mut Case, settings: &Settings) -> Result<Outcome, Failure> {
    let reader = case.reader().map_err(|error| log_failed(&error))?;
    let study = Study::new(&reader, settings).map_err(|error| failed(&error))?;
    let outcome = study.conclude(&mut |_| {}).map_err(|error| failed(&error))?;
    let conclusion = Conclusion {
        prefix: case.log_size(),
        rules: Sha256::parse(&outcome.rule_set).unwrap_or_default(),
        findings: sha256(lines::findings_jsonl(&outcome).as_bytes()),
        outcome: sha256(lines::outcome_json(&outcome).as_bytes()),
        tool: tool(),
        time: now(),
        note: settings.to_note().map_err(|error| failed(&error))?,
    };
    case.conclude(conclusion).map_err(|error| log_failed(&error))?;
    Ok(outcome)
}

/// Writes what can be rebuilt; a failure here loses nothing.
fn write_derived(dir: &Path, outcome: &Outcome) -> Result<(), Failure> {
    let derived = dir.join("derived");
    let write = |name: &str, text: &str| {
        let path = derived.join(name);
        fs::write(&path, text).map_err(|error| Failure::io("write", &path, &error))
    };
    fs::create_dir_all(&derived).map_err(|error| Failure::io("make", &derived, &error))?;
    write(OUTCOME, &lines::outcome_json(outcome))?;
    write("findings.jsonl", &lines::findings_jsonl(outcome))?;
    write("report.html", &show::page(&Opened::read(dir)?, outcome)?)
}

fn exit(args: &InvestigateArgs, fail_on: Option<Grade>, outcome: &Outcome, taken: &Ingested) -> Exit {
    let exact = outcome.coverage.attribution.get("exact").copied().unwrap_or(0) as f64;
    let share = exact * 100.0 / (outcome.coverage.lookups.max(1)) as f64;
    let uncovered = args.fail_coverage_below.is_some_and(|least| share < least);
    let nothing = outcome.coverage.sources.is_empty();
    if nothing {
        terminal::tell("nothing in it was recognised; the summary lists what each file looks like");
    }
    if nothing || uncovered || !taken.failed.is_empty() {
        return Exit::Partial;
    }
    judged(outcome, fail_on)
}
