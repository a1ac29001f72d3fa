//! `truename demo`: investigates the recorded incident that the program carries.

use std::fs;
use std::path::PathBuf;

use truename_report::Style;

use crate::cli::{DemoArgs, Grade, InvestigateArgs};
use crate::commands::investigate;
use crate::exit::{Exit, Failure};
use crate::terminal;

/// The recording, as a tar archive made at build time from `cases/`.
const RECORDING: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/demo.tar"));

pub(crate) fn run(args: &DemoArgs, fail_on: Option<Grade>, style: Style) -> Result<Exit, Failure> {
    let case = args.case.clone().unwrap_or_else(|| PathBuf::from("truename-demo"));
    if case.exists() {
        return Err(Failure::usage(format!(
            "{} exists; remove it or name another with --case",
            case.display()
        )));
    }
    fs::create_dir_all(&case).map_err(|error| Failure::io("make", &case, &error))?;
    let recording = case.join("recording.tar");
    fs::write(&recording, RECORDING).map_err(|error| Failure::io("write", &recording, &error))?;
    terminal::tell(
        "A real cluster DNS, recorded while a pod made itself one of its servers and lied. Nothing is sent anywhere.",
    );
    let investigate_args = InvestigateArgs {
        paths: vec![recording],
        case: Some(case.join("case")),
        profile: None,
        origin: Vec::new(),
        dns_port: Vec::new(),
        key: Some(case.join("key")),
        keep_all: false,
        copy_originals: false,
        afresh: false,
        operator: None,
        threads: 2,
        fail_coverage_below: None,
    };
    investigate::run(&investigate_args, fail_on, style)
}
