//! `truename rules`: the catalogue as data.

use std::fmt::Write as _;

use truename_analysis::catalogue::{Catalogue, CatalogueError};
use truename_model::Profile;

use crate::cli::{RulesAction, RulesArgs};
use crate::exit::{Exit, Failure};
use crate::terminal;

pub(crate) fn run(args: &RulesArgs) -> Result<Exit, Failure> {
    let failed = |error: CatalogueError| Failure { exit: Exit::Internal, message: error.to_string() };
    let catalogue = Catalogue::new(&Profile::default()).map_err(failed)?;
    let mut out = String::new();
    match &args.action {
        RulesAction::List => {
            for rule in catalogue.rules() {
                let _ = writeln!(
                    out,
                    "{:<4} {:<8} {:<10} {}",
                    rule.id,
                    rule.severity.word(),
                    rule.needs.join("|"),
                    rule.title
                );
            }
        }
        RulesAction::Show { id } => {
            let Some(rule) = catalogue.rules().find(|rule| rule.id.eq_ignore_ascii_case(id)) else {
                return Err(Failure::usage(format!("no rule {id}; `truename rules list` names them")));
            };
            let _ =
                writeln!(out, "{} {}\nseverity        at most {}", rule.id, rule.title, rule.severity.word());
            let _ = writeln!(out, "ATT&CK          {}", rule.attack.join(", "));
            let _ = writeln!(
                out,
                "needs           {} (L log, T dnstap, P packets, U packets of the upstream leg, K objects, A audit log, M server lines)",
                rule.needs.join(" or ")
            );
            let _ = writeln!(out, "history         {} s", rule.history_secs);
            for (name, value) in &rule.thresholds {
                let _ = writeln!(out, "threshold       {name} = {value}");
            }
            let _ =
                writeln!(out, "false alarm if  {}\nnext step       {}", rule.false_alarm_if, rule.next_step);
        }
    }
    terminal::print(&out)?;
    Ok(Exit::Clean)
}
