//! What a question is asked about: a case folder, or files and folders that are read into a case for this once.
//!
//! The passing case lies in a folder of its own that goes away with it, under a key of its own: nothing of it is evidence.

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use truename_engine::{Settings, ingest};
use truename_evidence::{Case, Limits, Options, SigningKeyFile};

use crate::commands::case::{Opened, failed, log_failed};
use crate::commands::investigate::{now, say_taken, tool};
use crate::exit::{Exit, Failure};
use crate::inputs;

/// Evidence opened for a question.
pub(crate) struct Evidence {
    /// The case.
    pub(crate) opened: Opened,
    /// How the program ends: [`Exit::Partial`] if something could not be read.
    pub(crate) exit: Exit,
    /// The folder of a passing case, as long as it is asked.
    _passing: Option<TempDir>,
}

/// Opens a case folder, or reads `paths` into a passing one.
pub(crate) fn open(paths: &[String]) -> Result<Evidence, Failure> {
    let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    if let [case] = paths.as_slice()
        && case.join("evidence").is_dir()
    {
        return Ok(Evidence { opened: Opened::read(case)?, exit: Exit::Clean, _passing: None });
    }
    let failed_io = |error: std::io::Error| Failure::io("make", &std::env::temp_dir(), &error);
    let passing = tempfile::tempdir().map_err(failed_io)?;
    let dir = passing.path().join("case");
    let found = inputs::find(&paths, None)?;
    if found.inputs.is_empty() {
        return Err(Failure::usage("no files in it; name a case, or files or folders that hold objects"));
    }
    let key =
        SigningKeyFile::load_or_create(&passing.path().join("key")).map_err(|error| log_failed(&error))?;
    let options = Options { now: Box::new(now), tool: tool(), limits: Limits::default() };
    let mut case = Case::open_or_create(&dir, Arc::new(key), options).map_err(|error| log_failed(&error))?;
    let settings = Settings::from_note("").map_err(|error| failed(&error))?;
    let taken =
        ingest(&mut case, &found.inputs, &settings, &now, &mut |_| {}).map_err(|error| failed(&error))?;
    say_taken(&taken);
    case.close().map_err(|error| log_failed(&error))?;
    let exit = if taken.failed.is_empty() { Exit::Clean } else { Exit::Partial };
    Ok(Evidence { opened: Opened::read(&dir)?, exit, _passing: Some(passing) })
}
