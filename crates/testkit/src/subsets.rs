//! Evidence may only shrink claims: a recording with evidence taken out of it, compared with the whole of it.
//!
//! Enters: a recorded case; leaves: per partial recording what it claims beyond the truth or beyond the full recording.
//! Deliberately absent: what a partial recording *must* still find (the partial cases say that, docs/formats/case.md).

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use truename_model::transaction::Judged;
use truename_model::{Finding, Interval, WorkloadKind};

use crate::recording::{Recording, source_of};
use crate::score::{Compared, Key, SAME_LOOKUP_NS, key_of};
use crate::truth_file::Strength;

/// What is left of a recording, and in words what was taken out.
pub struct Partial {
    /// In words.
    pub name: String,
    /// The rest.
    pub recording: Recording,
}

/// A claim that the partial recording makes and must not make.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// What kind of claim; equal kinds are counted together.
    pub kind: String,
    /// The claim.
    pub what: String,
}

/// What an investigation says of one lookup.
#[derive(Clone, Debug)]
struct Said {
    asked: Option<Interval>,
    owner: Option<String>,
    word: &'static str,
    shown: String,
}

/// What an investigation of a recording claims.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    lookups: BTreeMap<Key, Vec<Said>>,
    findings: Vec<Finding>,
    /// Claims that the truth contradicts.
    pub false_claims: Vec<Violation>,
}

/// The full recording, investigated.
pub struct Whole {
    recording: Recording,
    claims: Claims,
}

/// The sources of a recording, in the order of docs/formats/case.md.
#[must_use]
pub fn sources(recording: &Recording) -> Vec<&'static str> {
    const ORDER: [&str; 9] = [
        "log",
        "dnstap",
        "pcap-client",
        "pcap-upstream",
        "pcap-pod",
        "audit",
        "watch",
        "corefile",
        "objects",
    ];
    let there: BTreeSet<&str> = recording.names().map(source_of).collect();
    ORDER.into_iter().filter(|word| there.contains(word)).collect()
}

/// The recording with the sources whose bit in `mask` is set.
#[must_use]
pub fn subset(recording: &Recording, mask: u32) -> Partial {
    let all = sources(recording);
    let kept: Vec<&str> =
        all.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, word)| *word).collect();
    let rest = recording.clone().without_files(&|name| !kept.contains(&source_of(name)));
    Partial { name: kept.join("+"), recording: rest }
}

/// Recordings that lack a part of one source in time, or one file of it.
///
/// # Errors
/// As [`Recording::without`].
pub fn cuts(recording: &Recording) -> io::Result<Vec<Partial>> {
    let mut out = Vec::new();
    for word in sources(recording) {
        let mut span = None::<(i64, i64)>;
        for name in recording.names().filter(|name| source_of(name) == word) {
            let Some(of) = recording.span(name)? else { continue };
            let before = span.unwrap_or((of.lo.0, of.hi.0));
            span = Some((before.0.min(of.lo.0), before.1.max(of.hi.0)));
        }
        // Objects made before the recording stretch the span of an audit log or a watch; the lookups bound it.
        let lookups = recording.case.truth.iter().map(|line| line.t_ns);
        if let (Some(lo), Some(hi), Some(_)) = (lookups.clone().min(), lookups.max(), span) {
            let middle = lo + (hi - lo) / 2;
            for (half, keeps_first) in [("first", true), ("last", false)] {
                let mut rest = recording.clone();
                rest.without(&|shown| {
                    let is_first = shown.at.is_none_or(|at| at.0 <= middle);
                    source_of(shown.file) == word && is_first != keeps_first
                })?;
                out.push(Partial { name: format!("only the {half} half of {word}"), recording: rest });
            }
        }
        let files: Vec<&str> = recording.names().filter(|name| source_of(name) == word).collect();
        for file in files.iter().filter(|_| files.len() > 1) {
            let rest = recording.clone().without_files(&|name| name == *file);
            out.push(Partial { name: format!("without {file}"), recording: rest });
        }
    }
    Ok(out)
}

/// `count` partial recordings as chance would leave them, the same ones each time: every other file, and of one source only
/// what came before or after some moment.
///
/// # Errors
/// As [`Recording::without`].
pub fn scattered(recording: &Recording, count: u64) -> io::Result<Vec<Partial>> {
    let files: Vec<String> = recording.names().map(str::to_owned).collect();
    let words = sources(recording);
    let lookups = || recording.case.truth.iter().map(|line| line.t_ns);
    let (Some(lo), Some(hi)) = (lookups().min(), lookups().max()) else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    for round in 0..count {
        let mut state = round;
        let mut dice = || {
            // Knuth's generator (MMIX); the high bits are the good ones.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        dice();
        let kept: BTreeSet<&str> = files.iter().filter(|_| dice() % 2 == 0).map(String::as_str).collect();
        let word = words[dice() as usize % words.len()];
        let moment = lo + (hi - lo) / 8 * (1 + (dice() % 7) as i64);
        let first = dice() % 2 == 0;
        let mut rest = recording.clone().without_files(&|name| !kept.contains(name));
        rest.without(&|shown| {
            source_of(shown.file) == word && shown.at.is_some_and(|at| (at.0 <= moment) != first)
        })?;
        let half = if first { "until" } else { "from" };
        let names: Vec<&str> = kept.into_iter().collect();
        let name = format!("{}, {word} {half} {}", names.join(" "), truename_model::Nanos(moment));
        out.push(Partial { name, recording: rest });
    }
    Ok(out)
}

/// Partial recordings that lack one list of the objects, where no stream tells of them: each with the mask of its sources.
#[must_use]
pub fn single_lists(recording: &Recording) -> Vec<(u32, Partial)> {
    let all = sources(recording);
    let bit = |word: &str| all.iter().position(|known| *known == word).map_or(0, |bit| 1u32 << bit);
    let (objects, streams) = (bit("objects"), bit("audit") | bit("watch"));
    let lists: Vec<&str> = recording.names().filter(|name| source_of(name) == "objects").collect();
    let masks = (1..1u32 << all.len()).filter(|mask| mask & objects != 0 && mask & streams == 0);
    masks
        .flat_map(|mask| lists.iter().map(move |list| (mask, *list)))
        .map(|(mask, list)| {
            let part = subset(recording, mask);
            let name = format!("{} without {list}", part.name);
            (mask, Partial { name, recording: part.recording.without_files(&|file| file == list) })
        })
        .collect()
}

fn owner(judged: &Judged) -> Option<String> {
    judged.attribution.exact().map(|workload| match workload.kind {
        WorkloadKind::Node => format!("node:{}", workload.name),
        _ => workload.uid.clone(),
    })
}

fn shown(judged: &Judged) -> String {
    let transaction = &judged.transaction;
    let client =
        transaction.client.map_or_else(String::new, |client| format!("{}:{}", client.ip, client.port));
    let asked = transaction.asked.interval().map_or_else(String::new, |at| at.lo.to_string());
    format!("{asked} {client} {} {}", transaction.question.name, transaction.question.rtype)
}

impl Whole {
    /// Investigates the full recording.
    ///
    /// # Errors
    /// Whatever stopped the investigation.
    pub fn new(recording: Recording) -> io::Result<Self> {
        let claims = Claims::of(&recording)?;
        Ok(Self { recording, claims })
    }

    /// The recording.
    #[must_use]
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// What the whole claims.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// What the rest of the recording claims beyond the truth, or beyond the whole of it.
    ///
    /// # Errors
    /// Whatever stopped the investigation.
    pub fn compare(&self, rest: &Recording) -> io::Result<Vec<Violation>> {
        let part = Claims::of(rest)?;
        let beyond = part.beyond(&self.claims);
        Ok(part.false_claims.into_iter().chain(beyond).collect())
    }
}

impl Claims {
    /// Investigates a recording.
    ///
    /// # Errors
    /// Whatever stopped the investigation.
    pub fn of(recording: &Recording) -> io::Result<Self> {
        let found = recording.investigate()?;
        let mut claims = Self { findings: found.outcome.findings, ..Self::default() };
        let mut compared = Compared::default();
        // Without a table of strengths nothing is demanded; only what is false counts.
        compared.lookups(&recording.case, &Strength::default(), &found.judged);
        for line in compared.false_claims {
            let kind: String = line.split(' ').take(2).collect::<Vec<_>>().join(" ");
            claims.false_claims.push(Violation { kind, what: line });
        }
        for judged in &found.judged {
            let Some(key) = key_of(judged) else { continue };
            claims.lookups.entry(key).or_default().push(Said {
                asked: judged.transaction.asked.interval(),
                owner: owner(judged),
                word: judged.verdict.word(),
                shown: shown(judged),
            });
        }
        Ok(claims)
    }

    /// How many lookups are attributed exactly.
    #[must_use]
    pub fn exact(&self) -> usize {
        self.lookups.values().flatten().filter(|said| said.owner.is_some()).count()
    }

    /// What is claimed here and not by a recording that holds more.
    #[must_use]
    pub fn beyond(&self, more: &Self) -> Vec<Violation> {
        let mut out = Vec::new();
        for (key, said) in self.lookups.iter().flat_map(|(key, all)| all.iter().map(move |said| (key, said)))
        {
            let near = |other: &&Said| match (said.asked, other.asked) {
                (Some(one), Some(other)) => (one.lo.0 - other.lo.0).abs() < SAME_LOOKUP_NS,
                _ => true,
            };
            let mut same: Vec<&Said> = more.lookups.get(key).into_iter().flatten().filter(near).collect();
            let judged = !same.is_empty();
            if !judged {
                // The alias behind a lookup is one only where the object shows it; else it looks like a lookup of its own.
                let of_socket = more.lookups.range((key.0, key.1, key.2, String::new(), String::new())..);
                let of_socket = of_socket.take_while(|(at, _)| (at.0, at.1, at.2) == (key.0, key.1, key.2));
                same.extend(of_socket.flat_map(|(_, all)| all).filter(near));
            }
            said.named_beyond(&same, &mut out);
            said.judged_beyond(if judged { &same } else { &[] }, &mut out);
        }
        self.findings.iter().for_each(|finding| more.finding(finding, &mut out));
        out
    }

    fn finding(&self, finding: &Finding, out: &mut Vec<Violation>) {
        let of_rule: Vec<&Finding> = self
            .findings
            .iter()
            .filter(|whole| whole.rule == finding.rule || is_walk(finding, whole))
            .collect();
        let same: Vec<&&Finding> = of_rule.iter().filter(|whole| is_of(finding, whole)).collect();
        if same.iter().any(|whole| whole.severity >= finding.severity) {
            return;
        }
        let whole: Vec<String> = of_rule
            .iter()
            .map(|whole| format!("{} {} → {}", whole.severity.word(), whole.subject, whole.target))
            .take(4)
            .collect();
        let what = format!(
            "{} {} {} → {}: {} (the whole: {whole:?})",
            finding.rule,
            finding.severity.word(),
            finding.subject,
            finding.target,
            finding.why
        );
        let kind = if same.is_empty() { "finding beyond the whole" } else { "severity beyond the whole" };
        out.push(Violation { kind: format!("{kind} {}", finding.rule), what });
    }
}

impl Said {
    /// `same` is what the recording that holds more says of the same lookup.
    fn named_beyond(&self, same: &[&Self], out: &mut Vec<Violation>) {
        if self.owner.is_some() && !same.iter().any(|whole| whole.owner == self.owner) {
            let whole: Vec<&str> =
                same.iter().map(|whole| whole.owner.as_deref().unwrap_or("nobody")).collect();
            out.push(Violation {
                kind: "exact beyond the whole".to_owned(),
                what: format!("{}: {:?}, the whole {whole:?}", self.shown, self.owner),
            });
        }
    }

    fn judged_beyond(&self, same: &[&Self], out: &mut Vec<Violation>) {
        let is_good = |word: &str| matches!(word, "verified" | "stale");
        let against = |whole: &&&Self| match whole.word {
            "contradicted" => is_good(self.word),
            other => self.word == "contradicted" && other != "unverifiable",
        };
        let unknown = self.word == "contradicted" && same.iter().all(|whole| whole.word != "contradicted");
        if unknown || (!same.is_empty() && same.iter().filter(against).count() == same.len()) {
            let whole = same.first().map(|whole| whole.word);
            out.push(Violation {
                kind: format!("{} against the whole", self.word),
                what: format!("{}: {}, the whole {whole:?}", self.shown, self.word),
            });
        }
    }
}

/// Both say the same, the first perhaps with less: about the same target, or about one that the whole's reasons name,
/// or about an object that the whole's finding names (what a change prepared, where what came of it was not kept).
fn is_of(finding: &Finding, whole: &Finding) -> bool {
    finding.target == whole.target
        || whole.why.contains(&finding.target)
        || whole.objects.iter().any(|object| {
            finding.target == object.to_string()
                || finding.target == format!("Namespace {}", object.namespace)
        })
        || is_walk(finding, whole)
}

/// Without objects and profile R01 cannot name the range that was walked, only that it is private; with them it is R01 or,
/// in the range of pods, R02.
fn is_walk(finding: &Finding, whole: &Finding) -> bool {
    let is_private = finding.rule == "R01" && finding.target == "private addresses";
    is_private && matches!(whole.rule.as_str(), "R01" | "R02")
}
