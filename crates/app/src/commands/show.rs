//! `truename findings`, `timeline`, `explain`, `report`: what a case concluded, from its derived files or rebuilt.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;

use truename_model::{Citation, Finding, Outcome};
use truename_report::table::Leaf;
use truename_report::{Row, Shown, Style, escape, html, lines, proof, summary, table};

use crate::cli::{ExplainArgs, Grade, Output, ShowArgs};
use crate::commands::case::Opened;
use crate::exit::{Exit, Failure, judged};
use crate::terminal;

/// Most leaves looked up for a page: each costs a block of the log.
const LEAVES_MAX: usize = 5_000;

pub(crate) fn findings(args: &ShowArgs, fail_on: Option<Grade>, style: Style) -> Result<Exit, Failure> {
    let outcome = Opened::read_at(&args.case, args.at_size)?.outcome()?;
    let text = match args.output {
        Output::Table => table::findings(&outcome, style),
        Output::Json => lines::outcome_json(&outcome),
        Output::Jsonl => lines::findings_jsonl(&outcome),
        Output::Csv => lines::findings_csv(&outcome),
        Output::Timesketch => outcome.findings.iter().map(lines::finding_timesketch).collect(),
        Output::Html => return report(args, fail_on, style),
    };
    deliver(args, &text)?;
    Ok(judged(&outcome, fail_on))
}

pub(crate) fn report(args: &ShowArgs, fail_on: Option<Grade>, style: Style) -> Result<Exit, Failure> {
    let opened = Opened::read_at(&args.case, args.at_size)?;
    let outcome = opened.outcome()?;
    let text = match args.output {
        Output::Html => page(&opened, &outcome)?,
        Output::Table => summary::summary(&outcome, style),
        Output::Json => lines::outcome_json(&outcome),
        _ => return findings(args, fail_on, style),
    };
    deliver(args, &text)?;
    Ok(judged(&outcome, fail_on))
}

/// The page with the leaves of the evidence it shows.
pub(crate) fn page(opened: &Opened, outcome: &Outcome) -> Result<String, Failure> {
    let cited =
        outcome.findings.iter().flat_map(|finding| finding.evidence.iter().map(|evidence| evidence.citation));
    let mut leaves: BTreeMap<Citation, Leaf> = BTreeMap::new();
    for citation in cited.take(LEAVES_MAX) {
        if !leaves.contains_key(&citation)
            && let Some(leaf) = opened.leaf(citation)
        {
            leaves.insert(citation, leaf);
        }
    }
    let failed = |_| Failure { exit: Exit::Internal, message: "the report cannot be rendered".to_owned() };
    html::page(outcome, &opened.title(), &opened.receipt(), &leaves).map_err(failed)
}

/// The one finding whose id begins so.
fn named<'a>(outcome: &'a Outcome, id: &str) -> Result<&'a Finding, Failure> {
    let matching: Vec<_> = outcome.findings.iter().filter(|finding| finding.id.starts_with(id)).collect();
    match matching.as_slice() {
        [finding] => Ok(finding),
        [] => Err(Failure::usage(format!(
            "no finding {}; `truename findings CASE` lists them",
            escape::terminal(id)
        ))),
        _ => Err(Failure::usage(format!("{} findings begin with {id}; give more digits", matching.len()))),
    }
}

pub(crate) fn explain(args: &ExplainArgs, fail_on: Option<Grade>, style: Style) -> Result<Exit, Failure> {
    let opened = Opened::read_at(&args.show.case, args.show.at_size)?;
    let outcome = opened.outcome()?;
    let finding = named(&outcome, &args.id)?;
    let only = || {
        let incidents = outcome.incidents.iter().filter(|incident| incident.findings.contains(&finding.id));
        let (findings, incidents) = (vec![finding.clone()], incidents.cloned().collect());
        Outcome { findings, incidents, ..outcome.clone() }
    };
    let text = match args.show.output {
        Output::Table => {
            let leaves: Vec<Option<Leaf>> =
                finding.evidence.iter().map(|evidence| opened.leaf(evidence.citation)).collect();
            table::explain(finding, &leaves, style)
        }
        Output::Json => format!("{:#}\n", proofs(&opened, finding)?),
        Output::Jsonl => format!("{}\n", proofs(&opened, finding)?),
        Output::Csv => lines::findings_csv(&only()),
        Output::Timesketch => lines::finding_timesketch(finding),
        Output::Html => page(&opened, &only())?,
    };
    deliver(&args.show, &text)?;
    Ok(judged(&outcome, fail_on))
}

/// The finding with a complete proof of every record that it cites.
fn proofs(opened: &Opened, finding: &Finding) -> Result<serde_json::Value, Failure> {
    let cited = finding.evidence.iter();
    let proofs: Result<Vec<_>, Failure> =
        cited.map(|evidence| opened.record_proof(evidence.citation)).collect();
    Ok(proof::document(finding, &proofs?, &opened.vkey()))
}

pub(crate) fn timeline(args: &ShowArgs, fail_on: Option<Grade>, style: Style) -> Result<Exit, Failure> {
    let opened = Opened::read_at(&args.case, args.at_size)?;
    let mut sink = Sink::open(args)?;
    let (head, foot) = match args.output {
        Output::Csv => (lines::ROWS_CSV_HEADER.to_owned(), ""),
        Output::Html => (lines::rows_html_head(&opened.title()), lines::ROWS_HTML_FOOT),
        Output::Json => ("[\n".to_owned(), "]\n"),
        Output::Table | Output::Jsonl | Output::Timesketch => (String::new(), ""),
    };
    sink.write(&head)?;
    let mut between = "";
    let outcome = opened.rows(&mut |row| {
        let text = match args.output {
            Output::Csv => lines::row_csv(row),
            Output::Json => format!("{}{}", std::mem::replace(&mut between, ","), lines::row_jsonl(row)),
            Output::Jsonl => lines::row_jsonl(row),
            Output::Timesketch => lines::row_timesketch(row),
            Output::Html => lines::row_html(row),
            Output::Table => plain(row, style),
        };
        sink.write(&text)
    })?;
    sink.write(foot)?;
    sink.finish()?;
    Ok(judged(&outcome, fail_on))
}

/// A row for people: `≤` and `≥` mark a time that is a bound, and its other end stands last with who says so.
fn plain(row: &Row, style: Style) -> String {
    let (at, bound) = match row.shown() {
        Shown::At(at) => (format!(" {at}"), String::new()),
        Shown::NotAfter(at) => {
            let from = row.not_before.map(|from| from.to_string()).unwrap_or_default();
            let same_day = from.get(..11) == at.to_string().get(..11);
            let from = if same_day { from.get(11..).unwrap_or_default().to_owned() } else { from };
            let from = if from.is_empty() { from } else { format!("not before {from}; ") };
            (format!("≤{at}"), format!("  ({from}by {})", row.basis))
        }
        Shown::NotBefore(at) => (format!("≥{at}"), format!("  (by {})", row.basis)),
        Shown::Never => (format!(" {:30}", "no time"), String::new()),
    };
    let judged = style.heading(&format!("{:<12}", escape::terminal(&row.judged)));
    let (who, what) = (escape::terminal(&row.who), escape::terminal(&row.what));
    format!("{} {judged} {who}  {what}{}\n", style.dim(&at), style.dim(&bound))
}

/// Standard output, or a file that is never overwritten unasked.
struct Sink<'a> {
    args: &'a ShowArgs,
    file: Option<std::io::BufWriter<std::fs::File>>,
}

impl<'a> Sink<'a> {
    fn open(args: &'a ShowArgs) -> Result<Self, Failure> {
        let Some(path) = &args.file else { return Ok(Self { args, file: None }) };
        let mut options = OpenOptions::new();
        options.write(true);
        if args.clobber {
            options.create(true).truncate(true)
        } else {
            options.create_new(true)
        };
        let file = options.open(path).map_err(|error| {
            let hint = if error.kind() == std::io::ErrorKind::AlreadyExists {
                " (--clobber overwrites it)"
            } else {
                ""
            };
            Failure { exit: Exit::Internal, message: format!("write {}: {error}{hint}", path.display()) }
        })?;
        Ok(Self { args, file: Some(std::io::BufWriter::new(file)) })
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        match (&mut self.file, &self.args.file) {
            (Some(file), Some(path)) => {
                file.write_all(text.as_bytes()).map_err(|error| Failure::io("write", path, &error))
            }
            _ => terminal::print(text),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match (self.file, &self.args.file) {
            (Some(mut file), Some(path)) => file.flush().map_err(|error| Failure::io("write", path, &error)),
            _ => Ok(()),
        }
    }
}

fn deliver(args: &ShowArgs, text: &str) -> Result<(), Failure> {
    let mut sink = Sink::open(args)?;
    sink.write(text)?;
    sink.finish()
}
