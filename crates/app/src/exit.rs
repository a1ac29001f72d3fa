//! Exit codes and the errors of the program, by who must act. This is the one place that maps one to the other.

use std::process::ExitCode;

use truename_model::Outcome;

use crate::cli::Grade;

/// How the program ends (documented, stable). If several apply, the first in this order wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 6: internal or I/O error.
    Internal,
    /// 4: the evidence is not intact.
    Integrity,
    /// 3: something could not be read, or too little was covered.
    Partial,
    /// 1: a finding of at least the `--fail-on` severity.
    Findings,
    /// 2: the command line is off.
    Usage,
    /// 0.
    Clean,
}

impl Exit {
    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Clean => 0,
            Self::Findings => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Integrity => 4,
            Self::Internal => 6,
        })
    }
}

/// How a command ends that shows `outcome`: an incident or a finding that is not suppressed counts from `fail_on` up.
pub(crate) fn judged(outcome: &Outcome, fail_on: Option<Grade>) -> Exit {
    let hit = |least| {
        let loud = outcome.findings.iter().filter(|finding| finding.suppressed.is_none());
        outcome.incidents.iter().any(|incident| incident.severity >= least)
            || loud.into_iter().any(|finding| finding.severity >= least)
    };
    if fail_on.map(Grade::severity).is_some_and(hit) { Exit::Findings } else { Exit::Clean }
}

/// What went wrong, for a person: what, where, and the next step.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    pub(crate) fn io(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let shown = truename_report::escape::terminal(&path.to_string_lossy());
        Self { exit: Exit::Internal, message: format!("{what} {shown}: {error}") }
    }
}
