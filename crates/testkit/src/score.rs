//! How an investigation of recorded cases compares with what really happened there (docs/formats/case.md).
//!
//! Enters: a folder of cases; leaves: counts per case and the lines that say what differs. Silence does not pass: every
//! lookup of the truth counts, whether the investigation saw it or not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use truename_engine::origins::glob_matches;
use truename_engine::{Input, Passing, Settings, Study, ingest, read_profile};
use truename_evidence::{Case, Limits, Options, SigningKeyFile};
use truename_model::transaction::Judged;
use truename_model::{Attribution, Explanation, Finding, Nanos, Outcome, Severity, Verdict, WorkloadKind};

use crate::truth_file::{CaseDir, Expected, Strength, TruthLine};

/// A lookup of the truth and of the investigation are the same within this time.
pub const SAME_LOOKUP_NS: i64 = 20 * 1_000_000_000;

/// Counts of one case or of all; the keys of the JSON line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Score {
    /// Cases.
    pub cases: u64,
    /// Lookups of the truth.
    pub lookups: u64,
    /// Expected findings that are not there.
    pub findings_missing: u64,
    /// Findings that nobody expected.
    pub findings_extra: u64,
    /// Findings of medium or higher in benign cases.
    pub benign_medium_or_higher: u64,
    /// Lookups attributed exactly, and rightly.
    pub attributed_exact: u64,
    /// Lookups with one possible owner (the base for the share of exact ones).
    pub one_owner: u64,
    /// Of those, attributed exactly.
    pub one_owner_exact: u64,
    /// Lookups left ambiguous.
    pub ambiguous: u64,
    /// Lookups attributed to nobody.
    pub unknown: u64,
    /// Lookups attributed exactly to the wrong owner.
    pub wrong_exact: u64,
    /// Answers verified, stale or explained.
    pub verified: u64,
    /// Answers left unverifiable.
    pub unverifiable: u64,
    /// Answers seen in full with objects known that are left unverifiable though more was demanded.
    pub weaker_than_possible: u64,
    /// Lies called verified, stale or explained where that is wrong.
    pub verified_but_false: u64,
    /// True answers called contradicted.
    pub false_contradicted: u64,
    /// Lies that had to be contradicted and were not.
    pub missed_contradicted: u64,
}

impl Score {
    /// Adds another score.
    pub fn add(&mut self, other: &Self) {
        let Self {
            cases,
            lookups,
            findings_missing,
            findings_extra,
            benign_medium_or_higher,
            attributed_exact,
            one_owner,
            one_owner_exact,
            ambiguous,
            unknown,
            wrong_exact,
            verified,
            unverifiable,
            weaker_than_possible,
            verified_but_false,
            false_contradicted,
            missed_contradicted,
        } = other;
        self.cases += cases;
        self.lookups += lookups;
        self.findings_missing += findings_missing;
        self.findings_extra += findings_extra;
        self.benign_medium_or_higher += benign_medium_or_higher;
        self.attributed_exact += attributed_exact;
        self.one_owner += one_owner;
        self.one_owner_exact += one_owner_exact;
        self.ambiguous += ambiguous;
        self.unknown += unknown;
        self.wrong_exact += wrong_exact;
        self.verified += verified;
        self.unverifiable += unverifiable;
        self.weaker_than_possible += weaker_than_possible;
        self.verified_but_false += verified_but_false;
        self.false_contradicted += false_contradicted;
        self.missed_contradicted += missed_contradicted;
    }

    /// The score of the full recordings alone must reach the shares of the format: at least 99 % of the lookups with one
    /// possible owner exact, at most 1 % of the answers weaker than their sources allow.
    #[must_use]
    pub fn is_strong(&self) -> bool {
        self.one_owner_exact * 100 >= self.one_owner * 99 && self.weaker_than_possible * 100 <= self.lookups
    }

    /// True if nothing is false, missing or extra.
    #[must_use]
    pub fn passes(&self) -> bool {
        let none = [
            self.findings_missing,
            self.findings_extra,
            self.benign_medium_or_higher,
            self.wrong_exact,
            self.verified_but_false,
            self.false_contradicted,
            self.missed_contradicted,
        ];
        none.iter().all(|count| *count == 0)
    }
}

/// One case, compared.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// Counts.
    pub score: Score,
    /// What differs, a line each.
    pub differences: Vec<String>,
    /// Of those, what was claimed and is false.
    pub false_claims: Vec<String>,
    /// True for a full recording.
    pub full: bool,
    /// Rules whose expected finding was there.
    pub fired: BTreeSet<String>,
}

/// A finished investigation of a case.
pub struct Investigated {
    /// The outcome.
    pub outcome: Outcome,
    /// Every judged lookup.
    pub judged: Vec<Judged>,
}

/// Files of a case's recording: relative path and file.
///
/// # Errors
/// Those of reading the folder.
pub fn files(case: &CaseDir) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let mut open = vec![case.recording.clone()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir)?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let label =
                    path.strip_prefix(&case.recording).unwrap_or(&path).to_string_lossy().into_owned();
                found.push((label, path));
            }
        }
    }
    let wanted = |label: &str| {
        let plain = label.strip_suffix(".zst").unwrap_or(label);
        let full = |text: &str| format!("recording/{text}");
        case.case.files.is_empty()
            || case.case.files.iter().any(|glob| {
                [label.to_owned(), plain.to_owned(), full(label), full(plain)]
                    .iter()
                    .any(|text| glob_matches(glob, text))
            })
    };
    found.retain(|(label, _)| wanted(label));
    found.sort();
    Ok(found)
}

/// The case's files as inputs.
///
/// # Errors
/// Those of reading the folder.
pub fn inputs(case: &CaseDir) -> io::Result<Vec<Input>> {
    let files = files(case)?.into_iter().map(|(label, path)| {
        let size = fs::metadata(&path).map(|meta| meta.len()).unwrap_or(0);
        let open = move || fs::File::open(&path).map(|file| Box::new(file) as Box<dyn Read + Send>);
        Input { label, size, open: Box::new(open) }
    });
    Ok(files.collect())
}

/// Settings that a case is investigated with.
#[must_use]
pub fn settings(case: &CaseDir, threads: u8) -> Settings {
    let profile =
        fs::read_to_string(case.dir.join("profile.yaml")).ok().and_then(|text| read_profile(&text).ok());
    Settings {
        dns_ports: vec![53],
        threads,
        profile: profile.unwrap_or_default(),
        tool: "testkit".into(),
        ..Settings::default()
    }
}

/// Investigates inputs into a new case folder below `work`.
///
/// # Errors
/// Whatever stopped the investigation, in words.
pub fn investigate(inputs: &[Input], settings: &Settings, work: &Path) -> io::Result<Investigated> {
    let failed = |error: &dyn std::fmt::Display| io::Error::other(error.to_string());
    let key = SigningKeyFile::load_or_create(&work.join("key")).map_err(|error| failed(&error))?;
    let options = Options { now: Box::new(|| Nanos(0)), tool: "testkit".into(), limits: Limits::default() };
    let mut case =
        Case::open_or_create(&work.join("case"), Arc::new(key), options).map_err(|error| failed(&error))?;
    ingest(&mut case, inputs, settings, &|| Nanos(0), &mut |_| {}).map_err(|error| failed(&error))?;
    let reader = case.reader().map_err(|error| failed(&error))?;
    let mut judged = Vec::new();
    let study = Study::new(&reader, settings).map_err(|error| failed(&error))?;
    let outcome = study
        .conclude(&mut |passing| {
            if let Passing::Lookup(lookup) = passing {
                judged.push((*lookup).clone());
            }
        })
        .map_err(|error| failed(&error))?;
    Ok(Investigated { outcome, judged })
}

/// Investigates a case and compares it with its truth.
///
/// # Errors
/// Whatever stopped the investigation.
pub fn score_case(
    case: &CaseDir,
    strength: &Strength,
    full_expect: &[Expected],
    work: &Path,
) -> io::Result<Compared> {
    let investigated = investigate(&inputs(case)?, &settings(case, 2), work)?;
    let mut compared = Compared { full: case.case.partial_of.is_none(), ..Compared::default() };
    compared.score.cases = 1;
    compared.lookups(case, strength, &investigated.judged);
    compared.findings(case, full_expect, &investigated.outcome.findings);
    Ok(compared)
}

/// (client, port, id, name without final dot, type): what makes a lookup.
pub type Key = (IpAddr, u16, u16, String, String);

/// What makes a lookup, if its client is known.
#[must_use]
pub fn key_of(judged: &Judged) -> Option<Key> {
    let transaction = &judged.transaction;
    let client = transaction.client?;
    let name = transaction.question.name.to_string();
    let name = name.trim_end_matches('.').to_owned();
    Some((client.ip, client.port, transaction.id, name, transaction.question.rtype.to_string()))
}

impl Compared {
    fn differs(&mut self, text: String) {
        if self.differences.len() < 400 {
            self.differences.push(text);
        }
    }

    fn claims_falsely(&mut self, text: String) {
        if self.false_claims.len() < 400 {
            self.false_claims.push(text.clone());
        }
        self.differs(text);
    }

    /// Compares judged lookups with the truth of the case.
    pub fn lookups(&mut self, case: &CaseDir, strength: &Strength, judged: &[Judged]) {
        let mut by_key: BTreeMap<Key, Vec<&Judged>> = BTreeMap::new();
        for lookup in judged {
            if let Some(key) = key_of(lookup) {
                by_key.entry(key).or_default().push(lookup);
            }
        }
        for line in &case.truth {
            let name = line.name.trim_end_matches('.').to_ascii_lowercase();
            let key = (line.client, line.port, line.id, name, line.rtype.clone());
            let near = |lookup: &&&Judged| {
                let asked = lookup.transaction.asked.interval();
                asked.is_none_or(|asked| (asked.lo.0 - line.t_ns).abs() < SAME_LOOKUP_NS)
            };
            let found: Vec<&Judged> =
                by_key.get(&key).map(|all| all.iter().filter(near).copied().collect()).unwrap_or_default();
            self.score.lookups += 1;
            self.attribution(line, &found);
            self.verdict(case, strength, line, &found);
        }
    }

    fn attribution(&mut self, line: &TruthLine, found: &[&Judged]) {
        let one = line.owners.len() == 1 && line.owners[0] != "unknown";
        self.score.one_owner += u64::from(one);
        let words = found.iter().map(|lookup| &lookup.attribution);
        let exact: Vec<String> = words
            .clone()
            .filter_map(Attribution::exact)
            .map(|workload| {
                if workload.kind == WorkloadKind::Node {
                    format!("node:{}", workload.name)
                } else {
                    workload.uid.clone()
                }
            })
            .collect();
        if let Some(wrong) = exact.iter().find(|uid| !line.owners.contains(uid)) {
            self.score.wrong_exact += 1;
            self.claims_falsely(format!(
                "WRONG EXACT {} {} {}: said {wrong}, owners {:?}",
                line.t_ns, line.client, line.name, line.owners
            ));
        } else if !exact.is_empty() {
            self.score.attributed_exact += 1;
            self.score.one_owner_exact += u64::from(one);
        } else if words.clone().any(|word| matches!(word, Attribution::Ambiguous(_))) {
            self.score.ambiguous += 1;
            if one {
                self.differs(format!(
                    "ambiguous {} {} {} owner {}",
                    Nanos(line.t_ns),
                    line.client,
                    line.name,
                    line.owners[0]
                ));
            }
        } else {
            self.score.unknown += 1;
            if one {
                let why = found
                    .first()
                    .map_or_else(|| "not seen".to_owned(), |lookup| format!("{:?}", lookup.attribution));
                self.differs(format!(
                    "unknown {} {}:{} {} {}: {why}",
                    Nanos(line.t_ns),
                    line.client,
                    line.port,
                    line.name,
                    line.rtype
                ));
            }
        }
    }

    fn verdict(&mut self, case: &CaseDir, strength: &Strength, line: &TruthLine, found: &[&Judged]) {
        let demanded = strength.demanded(&case.case.sources, line).unwrap_or("unverifiable").to_owned();
        let word = found
            .iter()
            .map(|lookup| lookup.verdict.word())
            .max_by_key(|word| rank(word))
            .unwrap_or("unverifiable");
        let detail = |found: &[&Judged]| {
            found.first().map_or_else(|| "not seen".to_owned(), |lookup| format!("{:?}", lookup.verdict))
        };
        let shown = format!(
            "{} {}:{} {} {} [{}] {:?}",
            Nanos(line.t_ns),
            line.client,
            line.port,
            line.name,
            line.rtype,
            line.class,
            line.answers
        );
        let positive = matches!(word, "verified" | "stale" | "explained");
        self.score.verified += u64::from(positive);
        self.score.unverifiable += u64::from(word == "unverifiable");
        // Naming the line of the Corefile that lies is the truth about that answer. Where several lookups of the
        // investigation stand for one of the truth, one of them calling a lie good is enough.
        let tampered = line.lie.as_deref() == Some("corefile-tamper");
        let is_good = |verdict: &Verdict| match verdict {
            Verdict::Verified { .. } | Verdict::Stale { .. } => true,
            Verdict::Explained { by } => !(tampered && matches!(by, Explanation::Corefile { .. })),
            Verdict::Unverifiable { .. } | Verdict::Contradicted { .. } => false,
        };
        if !line.is_true && found.iter().any(|lookup| is_good(&lookup.verdict)) {
            self.score.verified_but_false += 1;
            self.claims_falsely(format!("VERIFIED BUT FALSE {shown}: {}", detail(found)));
        }
        if line.is_true && word == "contradicted" {
            self.score.false_contradicted += 1;
            self.claims_falsely(format!("FALSE CONTRADICTED {shown}: {}", detail(found)));
        }
        if demanded == "contradicted" && word != "contradicted" {
            self.score.missed_contradicted += 1;
            self.differs(format!("MISSED CONTRADICTED {shown}: {}", detail(found)));
        }
        if matches!(demanded.as_str(), "verified" | "explained") && word == "unverifiable" {
            self.score.weaker_than_possible += 1;
            self.differs(format!("weaker {shown}: {}", detail(found)));
        }
    }

    fn findings(&mut self, case: &CaseDir, full_expect: &[Expected], findings: &[Finding]) {
        let mut left: Vec<&Finding> = findings.iter().collect();
        for expected in &case.case.expect {
            for _ in 0..expected.count {
                match left.iter().position(|finding| fits(expected, finding)) {
                    Some(at) => {
                        self.fired.insert(left.remove(at).rule.clone());
                    }
                    None => {
                        self.score.findings_missing += 1;
                        self.differs(format!(
                            "MISSING {} {} {} → {}",
                            expected.rule, expected.severity, expected.subject, expected.target
                        ));
                    }
                }
            }
        }
        for finding in left {
            if !self.full
                && full_expect.iter().any(|expected| {
                    expected.rule == finding.rule && severity(expected) >= Some(finding.severity)
                })
            {
                continue;
            }
            self.score.findings_extra += 1;
            self.differs(format!(
                "EXTRA {} {} {} → {} ({})",
                finding.rule,
                finding.severity.word(),
                finding.subject,
                finding.target,
                finding.title
            ));
        }
        if case.case.name.starts_with("benign") {
            self.score.benign_medium_or_higher +=
                findings.iter().filter(|f| f.severity >= Severity::Medium).count() as u64;
        }
    }
}

fn rank(word: &str) -> u8 {
    match word {
        "contradicted" => 4,
        "verified" => 3,
        "stale" => 2,
        "explained" => 1,
        _ => 0,
    }
}

fn severity(expected: &Expected) -> Option<Severity> {
    let all = [Severity::Info, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
    all.into_iter().find(|severity| severity.word() == expected.severity)
}

fn fits(expected: &Expected, finding: &Finding) -> bool {
    let matches =
        |glob: &str, text: &str| glob.is_empty() || glob_matches(&glob.to_lowercase(), &text.to_lowercase());
    expected.rule == finding.rule
        && severity(expected) == Some(finding.severity)
        && matches(&expected.subject, &finding.subject)
        && matches(&expected.target, &finding.target)
}
