//! Evidence may only shrink claims: a recording with evidence taken out of it, compared with the whole of it.
//!
//! Enters: a recorded case; leaves: per partial recording what it claims beyond the truth or beyond the full recording.
//! Deliberately absent: what a partial recording *must* still find (the partial cases say that, docs/formats/case.md).

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use truename_model::transaction::Judged;
use truename_model::{Finding, WorkloadKind};

use crate::recording::{Recording, source_of};
use crate::score::{Compared, Investigated, Key, SAME_LOOKUP_NS, key_of};
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

/// The full recording, investigated.
pub struct Whole {
    recording: Recording,
    found: Investigated,
    lookups: BTreeMap<Key, Vec<Judged>>,
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
        let found = recording.investigate()?;
        let mut lookups: BTreeMap<Key, Vec<Judged>> = BTreeMap::new();
        for judged in &found.judged {
            if let Some(key) = key_of(judged) {
                lookups.entry(key).or_default().push(judged.clone());
            }
        }
        Ok(Self { recording, found, lookups })
    }

    /// The recording.
    #[must_use]
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// What the rest of the recording claims beyond the truth, or beyond the whole of it.
    ///
    /// # Errors
    /// Whatever stopped the investigation.
    pub fn compare(&self, rest: &Recording) -> io::Result<Vec<Violation>> {
        let part = rest.investigate()?;
        let mut out = Vec::new();
        let mut compared = Compared::default();
        compared.lookups(&rest.case, &Strength::default(), &part.judged);
        // Without a table of strengths nothing is demanded; only what is false counts.
        for line in &compared.false_claims {
            let kind: String = line.split(' ').take(2).collect::<Vec<_>>().join(" ");
            out.push(Violation { kind, what: line.clone() });
        }
        part.judged.iter().for_each(|judged| self.lookup(judged, &mut out));
        part.outcome.findings.iter().for_each(|finding| self.finding(finding, &mut out));
        Ok(out)
    }

    fn lookup(&self, judged: &Judged, out: &mut Vec<Violation>) {
        let Some(key) = key_of(judged) else { return };
        let asked = judged.transaction.asked.interval();
        let same: Vec<&Judged> = self
            .lookups
            .get(&key)
            .into_iter()
            .flatten()
            .filter(|whole| match (asked, whole.transaction.asked.interval()) {
                (Some(one), Some(other)) => (one.lo.0 - other.lo.0).abs() < SAME_LOOKUP_NS,
                _ => true,
            })
            .collect();
        if let Some(uid) = owner(judged)
            && !same.iter().any(|whole| owner(whole).as_ref() == Some(&uid))
        {
            let whole = same.first().map(|whole| format!("{:?}", whole.attribution));
            out.push(Violation {
                kind: "exact beyond the whole".to_owned(),
                what: format!("{}: {uid}, the whole {whole:?}", shown(judged)),
            });
        }
        let word = judged.verdict.word();
        let is_good = |word: &str| matches!(word, "verified" | "stale");
        let against = |whole: &&&Judged| match whole.verdict.word() {
            "contradicted" => is_good(word),
            other => word == "contradicted" && other != "unverifiable",
        };
        let unknown =
            word == "contradicted" && same.iter().all(|whole| whole.verdict.word() != "contradicted");
        if unknown || (!same.is_empty() && same.iter().filter(against).count() == same.len()) {
            let whole = same.first().map(|whole| format!("{:?}", whole.verdict));
            out.push(Violation {
                kind: format!("{word} against the whole"),
                what: format!("{}: {:?}, the whole {whole:?}", shown(judged), judged.verdict),
            });
        }
    }

    fn finding(&self, finding: &Finding, out: &mut Vec<Violation>) {
        let of_rule: Vec<&Finding> =
            self.found.outcome.findings.iter().filter(|whole| whole.rule == finding.rule).collect();
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

/// Both say the same, the first perhaps with less: about the same target, or about one that the whole's reasons name.
/// or about an object that the whole's finding names (what a change prepared, where what came of it was not kept).
/// Without objects and profile R01 cannot name the range that was walked, only that it is private.
fn is_of(finding: &Finding, whole: &Finding) -> bool {
    finding.target == whole.target
        || whole.why.contains(&finding.target)
        || whole.objects.iter().any(|object| {
            finding.target == format!("{} {}", object.kind, object.name)
                || finding.target == format!("Namespace {}", object.namespace)
        })
        || (finding.rule == "R01" && finding.target == "private addresses")
}
