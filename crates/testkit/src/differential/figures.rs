//! Counts of verdicts by kind, plugin and version, and the misses.
//!
//! Enters: verdicts. Leaves: text and one line of JSON. Deliberately absent: the judgement itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

/// Which answer of a question is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The second one.
    pub hot: bool,
    /// An edit stood before it.
    pub edited: bool,
}

/// What a verdict is counted under.
pub struct Tally<'t> {
    /// Kind of question.
    pub kind: &'static str,
    /// Plugins that took part.
    pub used: &'t BTreeSet<&'static str>,
    /// Which answer.
    pub leg: Leg,
    /// Version.
    pub version: &'t str,
    /// The first version that is judged: questions are counted once.
    pub first: bool,
}

/// An answer that the model did not foretell.
#[derive(Clone, Debug)]
pub struct Miss {
    /// Seed of the cluster.
    pub seed: String,
    /// Line of the question.
    pub line: usize,
    /// Line of its section.
    pub section: usize,
    /// Version.
    pub version: String,
    /// The second answer.
    pub hot: bool,
    /// Kind of question.
    pub kind: &'static str,
    /// Corefile.
    pub corefile: String,
    /// The recorded line.
    pub text: String,
    /// What was expected, in up to four worlds.
    pub expected: Vec<String>,
    /// Plugins that took part.
    pub used: Vec<&'static str>,
}

/// Agreements and disagreements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// Agreements.
    pub agree: u64,
    /// Disagreements.
    pub disagree: u64,
}

/// All figures of a run.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Clusters.
    pub clusters: u64,
    /// Corefiles.
    pub sections: u64,
    /// Lines with a question.
    pub questions: u64,
    /// Versions judged.
    pub versions: BTreeSet<String>,
    /// Answers in agreement, the unforetellable among them not counted.
    pub agree: u64,
    /// Answers in disagreement.
    pub disagree: u64,
    /// Answers whose class was named beforehand.
    pub unforetellable: BTreeMap<&'static str, u64>,
    /// Answers not judged, by reason.
    pub not_judged: BTreeMap<String, u64>,
    /// Second answers judged.
    pub hot: u64,
    /// Answers judged after an edit.
    pub after_edit: u64,
    /// By kind of question.
    pub kinds: BTreeMap<&'static str, Pair>,
    /// By plugin that took part.
    pub plugins: BTreeMap<&'static str, Pair>,
    /// Questions by kind, each counted once.
    pub asked_kinds: BTreeMap<&'static str, u64>,
    /// Questions by plugin that took part, each counted once.
    pub asked_plugins: BTreeMap<&'static str, u64>,
    /// By version.
    pub by_version: BTreeMap<String, Pair>,
    /// Whether a version starts with a Corefile.
    pub starts: Pair,
    /// Running hash.
    pub hashes: Pair,
    /// Misses, in order, up to a bound.
    pub misses: Vec<Miss>,
    /// Corefiles on whose start, or hash, model and server differ.
    pub odd: Vec<String>,
}

/// Most misses that are kept in full.
const MAX_MISSES: usize = 2_000;

impl Figures {
    fn count(&mut self, tally: &Tally<'_>, agree: bool) {
        let add = |pair: &mut Pair| if agree { pair.agree += 1 } else { pair.disagree += 1 };
        add(self.kinds.entry(tally.kind).or_default());
        add(self.by_version.entry(tally.version.to_owned()).or_default());
        for plugin in tally.used {
            add(self.plugins.entry(plugin).or_default());
        }
        if tally.first && !tally.leg.hot {
            *self.asked_kinds.entry(tally.kind).or_default() += 1;
            tally.used.iter().for_each(|plugin| *self.asked_plugins.entry(plugin).or_default() += 1);
        }
        self.hot += u64::from(tally.leg.hot);
        self.after_edit += u64::from(tally.leg.edited);
    }

    /// An agreement.
    pub fn agree(&mut self, tally: &Tally<'_>) {
        self.agree += 1;
        self.count(tally, true);
    }

    /// A disagreement.
    pub fn disagree(&mut self, tally: &Tally<'_>, miss: Miss) {
        self.disagree += 1;
        self.count(tally, false);
        if self.misses.len() < MAX_MISSES {
            self.misses.push(miss);
        }
    }

    /// An agreement of a class that cannot be foretold in full.
    pub fn unforetellable(&mut self, class: &'static str, tally: &Tally<'_>) {
        *self.unforetellable.entry(class).or_default() += 1;
        self.count(tally, true);
    }

    /// An answer that is not judged.
    pub fn not_judged(&mut self, why: &str) {
        *self.not_judged.entry(why.to_owned()).or_default() += 1;
    }

    /// Whether a version started as foretold.
    pub fn start(
        &mut self,
        expected: bool,
        refused: Option<&String>,
        seed: &str,
        line: usize,
        version: &str,
    ) {
        if expected == refused.is_none() {
            self.starts.agree += 1;
            return;
        }
        self.starts.disagree += 1;
        let what = refused.map_or("started", String::as_str);
        self.odd.push(format!("start: seed {seed} line {line} version {version}: {what}"));
    }

    /// Whether a running hash is the one foretold.
    pub fn hash(&mut self, equal: bool, seed: &str, line: usize, version: &str) {
        if equal {
            self.hashes.agree += 1;
            return;
        }
        self.hashes.disagree += 1;
        self.odd.push(format!("hash: seed {seed} line {line} version {version}"));
    }

    /// True if nothing disagrees.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.disagree == 0 && self.starts.disagree == 0 && self.hashes.disagree == 0
    }

    /// Misses in full and the counts, for people.
    #[must_use]
    pub fn text(&self, most: usize) -> String {
        let mut out = String::new();
        for miss in self.misses.iter().take(most) {
            let leg = if miss.hot { "hot" } else { "cold" };
            let _ = writeln!(
                out,
                "miss: seed {} line {} (section at {}) version {} {leg}, {} by {}",
                miss.seed,
                miss.line,
                miss.section,
                miss.version,
                miss.kind,
                miss.used.join(" ")
            );
            let _ = writeln!(out, "  recorded: {}", miss.text);
            for expected in &miss.expected {
                let _ = writeln!(out, "  expected: {expected}");
            }
            let _ = writeln!(out, "  Corefile:\n{}", miss.corefile);
        }
        for odd in &self.odd {
            let _ = writeln!(out, "{odd}");
        }
        let table = |out: &mut String, head: &str, rows: Vec<(String, Pair)>, asked: &BTreeMap<_, u64>| {
            let _ = writeln!(out, "{head:<28} {:>9} {:>9} {:>9}", "agree", "disagree", "questions");
            for (name, pair) in rows {
                let asked = asked.get(name.as_str()).map(ToString::to_string).unwrap_or_default();
                let _ = writeln!(out, "  {name:<26} {:>9} {:>9} {asked:>9}", pair.agree, pair.disagree);
            }
        };
        let own = |map: &BTreeMap<&'static str, Pair>| {
            map.iter().map(|(name, pair)| ((*name).to_owned(), *pair)).collect()
        };
        let none = BTreeMap::new();
        table(&mut out, "kind", own(&self.kinds), &self.asked_kinds);
        table(&mut out, "plugin", own(&self.plugins), &self.asked_plugins);
        table(
            &mut out,
            "version",
            self.by_version.iter().map(|(name, pair)| (name.clone(), *pair)).collect(),
            &none,
        );
        table(
            &mut out,
            "process",
            vec![("start".to_owned(), self.starts), ("running hash".to_owned(), self.hashes)],
            &none,
        );
        for (class, count) in &self.unforetellable {
            let _ = writeln!(out, "unforetellable: {class}: {count}");
        }
        for (why, count) in &self.not_judged {
            let _ = writeln!(out, "not judged: {why}: {count}");
        }
        out
    }

    /// The last line.
    #[must_use]
    pub fn json(&self) -> Value {
        let kinds: BTreeMap<_, u64> = self.kinds.iter().map(|(kind, pair)| (*kind, pair.agree)).collect();
        let plugins: BTreeMap<_, u64> =
            self.plugins.iter().map(|(plugin, pair)| (*plugin, pair.agree)).collect();
        json!({
            "clusters": self.clusters,
            "questions": self.questions,
            "versions": self.versions,
            "agree": self.agree,
            "disagree": self.disagree,
            "unforetellable": self.unforetellable.values().sum::<u64>(),
            "not_judged": self.not_judged.values().sum::<u64>(),
            "hot": self.hot,
            "after_edit": self.after_edit,
            "corefiles": self.sections,
            "starts": { "agree": self.starts.agree, "disagree": self.starts.disagree },
            "running_hashes": { "agree": self.hashes.agree, "disagree": self.hashes.disagree },
            "kinds": kinds,
            "plugins": plugins,
            "questions_by_kind": self.asked_kinds,
            "questions_by_plugin": self.asked_plugins,
        })
    }
}
