//! What can stop the walk, by who must act.

/// A failure of the walk.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The evidence log: damaged, not writable, or refused.
    #[error(transparent)]
    Evidence(#[from] truename_evidence::Error),
    /// An input cannot be opened or read at all.
    #[error("read {path}: {error}")]
    Input {
        /// Path as given.
        path: String,
        /// The cause.
        error: std::io::Error,
    },
    /// The decoding thread ended before its work: a slip of ours.
    #[error("the decoding thread ended before its work; please report this")]
    Worker,
    /// The profile is off.
    #[error("profile: {0}")]
    Profile(String),
    /// A question about the case that its objects cannot place; the person who asks must say more.
    #[error("{0}")]
    Question(String),
    /// The built-in rule catalogue cannot be read: a slip of ours.
    #[error("rule catalogue: {0}")]
    Catalogue(String),
}

impl EngineError {
    /// True if the evidence is not what its log says.
    #[must_use]
    pub fn is_integrity(&self) -> bool {
        matches!(self, Self::Evidence(error) if error.is_integrity())
    }
}
