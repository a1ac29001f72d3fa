//! A recorded case on disk: `case.json`, `truth.jsonl`, and the table of what each set of sources allows
//! (docs/formats/case.md). Read for scoring only; nothing of it reaches the program under test.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Most octets of a truth file.
const TRUTH_MAX: u64 = 1 << 30;

/// A finding that the scenario expects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Expected {
    /// Rule id.
    pub rule: String,
    /// Severity word.
    pub severity: String,
    /// Subject as shown.
    #[serde(default)]
    pub subject: String,
    /// Target as shown.
    #[serde(default)]
    pub target: String,
    /// How many findings the line stands for.
    #[serde(default = "one")]
    pub count: u64,
}

fn one() -> u64 {
    1
}

/// `case.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct CaseFile {
    /// Name.
    pub name: String,
    /// Source words (`log`, `dnstap`, …) as the verdict table knows them.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Expected findings.
    #[serde(default)]
    pub expect: Vec<Expected>,
    /// Name of the full case whose files this one uses.
    #[serde(default)]
    pub partial_of: Option<String>,
    /// Files of the recording that belong to it (globs); empty: all.
    #[serde(default)]
    pub files: Vec<String>,
    /// Skew of the recording's clocks, milliseconds.
    #[serde(default)]
    pub skew_ms: i64,
}

/// One line of `truth.jsonl`.
#[derive(Clone, Debug, Deserialize)]
pub struct TruthLine {
    /// When the query left the pod, nanoseconds since the epoch.
    pub t_ns: i64,
    /// UID of the pod that asked, or `node:NAME`.
    pub pod_uid: String,
    /// Client address.
    pub client: std::net::IpAddr,
    /// Client port.
    pub port: u16,
    /// Message id.
    pub id: u16,
    /// Name, lower case.
    pub name: String,
    /// Type.
    #[serde(rename = "type")]
    pub rtype: String,
    /// Owners possible within the stated skew.
    pub owners: Vec<String>,
    /// Whether the answer was true.
    #[serde(rename = "true")]
    pub is_true: bool,
    /// Kind of the lie, if it was one.
    #[serde(default)]
    pub lie: Option<String>,
    /// Class of the lookup.
    pub class: String,
    /// The recording holds query and answer.
    #[serde(default)]
    pub seen_in_full: bool,
    /// The replica that saw the question; without one only packets of the pod itself can show it.
    #[serde(default)]
    pub replica: Option<String>,
    /// Return code that the pod got.
    #[serde(default)]
    pub rcode: Option<serde_json::Value>,
    /// Number of records in the answer that the pod got.
    #[serde(default)]
    pub answers: Vec<String>,
}

/// A case with its files found.
#[derive(Clone, Debug)]
pub struct CaseDir {
    /// The file.
    pub case: CaseFile,
    /// Folder of the recording (of the full case, for a partial one).
    pub recording: PathBuf,
    /// Truth lines, in order of time.
    pub truth: Vec<TruthLine>,
    /// Own folder.
    pub dir: PathBuf,
}

fn invalid(path: &Path, what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()))
}

/// Reads a file, decompressing `NAME.zst` where `NAME` is absent.
fn read(path: &Path) -> io::Result<String> {
    let packed =
        path.with_file_name(format!("{}.zst", path.file_name().unwrap_or_default().to_string_lossy()));
    let mut text = String::new();
    if packed.is_file() {
        zstd::Decoder::new(File::open(&packed)?)?.take(TRUTH_MAX).read_to_string(&mut text)?;
    } else {
        File::open(path).map_err(|error| invalid(path, error))?.take(TRUTH_MAX).read_to_string(&mut text)?;
    }
    Ok(text)
}

/// Reads one case.
///
/// # Errors
/// The file and what is wrong with it.
pub fn read_case(dir: &Path) -> io::Result<CaseDir> {
    let path = dir.join("case.json");
    let case: CaseFile = serde_json::from_str(&read(&path)?).map_err(|error| invalid(&path, error))?;
    let full = case.partial_of.as_ref().map_or_else(|| dir.to_path_buf(), |name| dir.with_file_name(name));
    let path = full.join("truth.jsonl");
    let lines = read(&path)?;
    let truth = lines
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(&path, error))?;
    Ok(CaseDir { case, recording: full.join("recording"), truth, dir: dir.to_path_buf() })
}

/// Folders below `root` (or `root` itself) that hold a `case.json`, sorted.
///
/// # Errors
/// Those of reading the folder.
pub fn find_cases(root: &Path) -> io::Result<Vec<PathBuf>> {
    if root.join("case.json").is_file() {
        return Ok(vec![root.to_path_buf()]);
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir(root)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|dir| dir.join("case.json").is_file())
        .collect();
    found.sort();
    Ok(found)
}

/// Rules that a folder of cases must show firing (`must-fire.txt`); none if the folder does not say.
#[must_use]
pub fn must_fire(root: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(root.join("must-fire.txt")).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// Demanded verdicts by what the sources can show: `docs/formats/verdict-strength.tsv`, no part of the program.
#[derive(Clone, Debug, Default)]
pub struct Strength(Vec<Vec<String>>);

impl Strength {
    /// Reads the table; the first line names the columns, `*` matches anything, the first matching line wins.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let rows =
            text.lines().skip(1).map(|line| line.split('\t').map(|cell| cell.trim().to_owned()).collect());
        Self(rows.filter(|row: &Vec<String>| row.len() == 7).collect())
    }

    /// The verdict word demanded of a lookup in a case with these sources.
    #[must_use]
    pub fn demanded(&self, sources: &[String], line: &TruthLine) -> Option<&str> {
        let has = |word: &str| sources.iter().any(|source| source == word);
        let at_replica = line.replica.is_some() && (has("dnstap") || has("pcap-client"));
        let seen = line.seen_in_full && (at_replica || has("pcap-pod"));
        let objects = if has("watch") {
            "history"
        } else if has("objects") {
            "snapshot"
        } else if has("audit") {
            "changes"
        } else {
            "none"
        };
        let facts = [
            if seen { "full" } else { "none" },
            objects,
            if has("corefile") || has("watch") || has("objects") { "yes" } else { "no" },
            if has("pcap-upstream") {
                "packets"
            } else if has("dnstap") {
                "tapped"
            } else {
                "none"
            },
            line.class.as_str(),
            line.lie.as_deref().unwrap_or("-"),
        ];
        let fits = |row: &&Vec<String>| row.iter().zip(facts).all(|(cell, fact)| cell == "*" || cell == fact);
        self.0.iter().find(fits).and_then(|row| row.last()).map(String::as_str)
    }
}
