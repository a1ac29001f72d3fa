//! `truename may`: whether the network policies in force let a pod reach something.

use truename_engine::Asked;
use truename_model::{Interval, Nanos};
use truename_report::{Style, permission};

use crate::cli::{MayArgs, Told};
use crate::commands::case::failed;
use crate::commands::evidence;
use crate::exit::{Exit, Failure};
use crate::terminal;

pub(crate) fn run(args: &MayArgs, style: Style) -> Result<Exit, Failure> {
    let [paths @ .., pod, target] = args.words.as_slice() else {
        return Err(Failure::usage("may CASE POD TARGET"));
    };
    let at = args.at.as_deref().map(window).transpose()?;
    let evidence = evidence::open(paths)?;
    let settings = evidence.opened.settings()?;
    let (port, cluster) = (args.port.as_deref(), args.cluster.as_deref());
    let asked = Asked { pod, target, port, at, cluster };
    let answer =
        truename_engine::may(evidence.opened.reader(), &settings, &asked).map_err(|error| failed(&error))?;
    terminal::print(&match args.output {
        Told::Table => permission::table(&answer, style),
        Told::Json => permission::json(&answer),
    })?;
    Ok(evidence.exit)
}

/// An instant, or `FROM/TO`.
pub(crate) fn window(text: &str) -> Result<Interval, Failure> {
    let instant = |text: &str| {
        Nanos::parse_rfc3339(text.as_bytes()).ok_or_else(|| {
            Failure::usage(format!("{text} is no time; write RFC 3339, as 2026-11-22T03:55:59Z, or FROM/TO"))
        })
    };
    match text.split_once('/') {
        None => instant(text).map(Interval::at),
        Some((from, to)) => {
            let (lo, hi) = (instant(from)?, instant(to)?);
            if hi < lo {
                Err(Failure::usage(format!("{text} ends before it begins")))
            } else {
                Ok(Interval { lo, hi })
            }
        }
    }
}
