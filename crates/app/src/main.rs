//! The program `truename`: parse, run, exit. Everything that touches the outside is in this crate.

mod cli;
mod exit;
mod terminal;
mod inputs;
mod rows;
mod order;
mod commands;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use exit::{Exit, Failure};

/// Records are freed on another thread than they were made on, which the system's allocator serialises.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.code() } else { Exit::Clean.code() };
        }
    };
    match run(&cli) {
        Ok(exit) => exit.code(),
        Err(failure) => {
            terminal::tell(&format!("truename: {}", truename_report::escape::terminal(&failure.message)));
            failure.exit.code()
        }
    }
}

fn run(cli: &Cli) -> Result<Exit, Failure> {
    let style = terminal::style(cli.color);
    match &cli.command {
        Command::Demo(args) => commands::demo::run(args, cli.fail_on, style),
        Command::Investigate(args) => commands::investigate::run(args, cli.fail_on, style),
        Command::Timeline(args) => commands::show::timeline(args, cli.fail_on, style),
        Command::Findings(args) => commands::show::findings(args, cli.fail_on, style),
        Command::Explain(args) => commands::show::explain(args, cli.fail_on, style),
        Command::Report(args) => commands::show::report(args, cli.fail_on, style),
        _ if cli.fail_on.is_some() => Err(Failure::usage(
            "--fail-on: this command looks at no findings; investigate, findings, report, explain, timeline and demo do",
        )),
        Command::Ask(args) => commands::ask::run(args, style),
        Command::May(args) => commands::may::run(args, style),
        Command::Verify(args) => commands::verify::run(args),
        Command::Custody(args) => commands::verify::custody(args),
        Command::Rules(args) => commands::rules::run(args),
    }
}
