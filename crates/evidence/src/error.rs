//! Errors, by who must act: the operator (busy, key), the machine (I/O), the investigator (integrity), the caller.
//!
//! Deliberately absent: recovery; a failed write or sync is final for the run (`Error::Stopped`).

use std::path::{Path, PathBuf};

use crate::problem::Problem;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, by who must act.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process writes this case. Wait for it, or end it.
    #[error("{path} is being written by another process (pid {pid}); wait for it to end", path = path.display())]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// Process id found in the lock file, or `unknown`.
        pid: String,
    },
    /// The machine failed; what was committed before stays valid.
    #[error("{what} {path}: {source}", path = path.display())]
    Io {
        /// What was tried, for example `write`.
        what: &'static str,
        /// The file concerned.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The case folder is not what the log says (exit code 4 of the program).
    #[error("evidence integrity: {0}")]
    Integrity(Problem),
    /// The operator's key cannot be used.
    #[error("key: {0}")]
    Key(String),
    /// The caller asked for what the format or the state of the case does not allow.
    #[error("evidence log: {0}")]
    Refused(String),
    /// An earlier write or sync of this run failed: nothing more is written.
    #[error("the evidence log stopped after an earlier failure: {0}")]
    Stopped(String),
}

impl Error {
    /// Builds an I/O error for a path.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { what, path, source }
    }

    /// Builds an integrity error.
    pub(crate) fn integrity(problem: Problem) -> Self {
        Self::Integrity(problem)
    }

    /// True if the evidence itself is at fault (exit code 4).
    #[must_use]
    pub fn is_integrity(&self) -> bool {
        matches!(self, Self::Integrity(_))
    }
}
