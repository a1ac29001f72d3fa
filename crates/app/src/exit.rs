//! Exit codes and the errors of the program, by who must act. This is the one place that maps one to the other.

use std::process::ExitCode;

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
