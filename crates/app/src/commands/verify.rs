//! `truename verify` and `truename custody log`: the evidence itself, without any interpretation.

use std::fmt::Write as _;
use std::path::Path;

use truename_evidence::{Receipt, VerifyReport, Vkey, verify};
use truename_report::escape::terminal as safe;

use crate::cli::{CustodyAction, CustodyArgs, VerifyArgs};
use crate::commands::case::{Opened, log_failed};
use crate::exit::{Exit, Failure};
use crate::terminal;

pub(crate) fn run(args: &VerifyArgs) -> Result<Exit, Failure> {
    let vkey = match &args.vkey {
        Some(text) => Some(
            Vkey::parse(text).ok_or_else(|| Failure::usage("--vkey: not a verifier key (name+hash+key)"))?,
        ),
        None => None,
    };
    let receipt = match &args.receipt {
        Some(text) => Some(
            Receipt::parse(text)
                .ok_or_else(|| Failure::usage("--receipt: not the line that investigate printed"))?,
        ),
        None => None,
    };
    let report = verify(&args.case, vkey.as_ref(), receipt.as_ref()).map_err(|error| log_failed(&error))?;
    terminal::print(&told(&report))?;
    Ok(if report.is_intact() { Exit::Clean } else { Exit::Integrity })
}

fn told(report: &VerifyReport) -> String {
    let mut out = String::new();
    for problem in &report.problems {
        let _ = writeln!(out, "NOT INTACT  {}", safe(&problem.to_string()));
    }
    if report.problems_omitted > 0 {
        let _ = writeln!(out, "… and {} more", report.problems_omitted);
    }
    if report.is_intact() {
        let _ = writeln!(out, "{}", report.verdict());
    }
    let _ = writeln!(out, "{}", report.receipt_line());
    let _ = writeln!(
        out,
        "{} items, {} records, {} leaves in {} segments, {} gap entries, {} records not kept or lost, {} items unfinished",
        report.items,
        report.records,
        report.leaves,
        report.segments,
        report.gaps,
        report.lost,
        report.unfinished
    );
    out
}

pub(crate) fn custody(args: &CustodyArgs) -> Result<Exit, Failure> {
    let CustodyAction::Log { case } = &args.action;
    terminal::print(&custody_log(case)?)?;
    Ok(Exit::Clean)
}

fn custody_log(case: &Path) -> Result<String, Failure> {
    let opened = Opened::read(case)?;
    let mut out = String::new();
    for item in opened.reader().items() {
        let begin = &item.begin;
        let layer = if begin.layer.is_empty() { String::new() } else { format!(" ({})", begin.layer) };
        let _ = writeln!(
            out,
            "{} item {} {}{}  {} octets  {}",
            begin.time,
            item.id.0,
            safe(&begin.path),
            safe(&layer),
            begin.size,
            safe(&begin.format)
        );
        let _ = writeln!(
            out,
            "    sha256 {}  taken by {} with {}",
            begin.sha256,
            safe(&begin.operator),
            safe(&begin.tool)
        );
        for layer in &begin.layers {
            let name = if layer.layer.is_empty() { "the file" } else { &layer.layer };
            let _ = writeln!(out, "    {} {} octets sha256 {}", safe(name), layer.size, layer.sha256);
        }
        match &item.end {
            Some(end) => {
                let _ = writeln!(
                    out,
                    "    {} records offered, {} stored in {} leaves",
                    end.offered, end.stored, end.pieces
                );
                for loss in &end.losses {
                    let _ = writeln!(
                        out,
                        "    not kept: {} ({} records, {} octets)",
                        safe(&loss.detail),
                        loss.records,
                        loss.bytes
                    );
                }
            }
            None => out.push_str("    not ended: the run was interrupted; the same command goes on\n"),
        }
    }
    for (_, gap) in opened.reader().gaps() {
        let _ = writeln!(out, "{} gap {:?}: {}", gap.time, gap.cause, safe(&gap.detail));
    }
    for (index, conclusion) in opened.reader().conclusions() {
        let _ = writeln!(
            out,
            "{} conclusion (entry {index}) over {} entries: findings {} outcome {} rules {}",
            conclusion.time, conclusion.prefix, conclusion.findings, conclusion.outcome, conclusion.rules
        );
    }
    Ok(out)
}
