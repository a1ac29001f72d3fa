//! A custom format of CoreDNS's `log` plugin, compiled. Enters: the FORMAT text of a `log` directive; leaves: a matcher.

/// A compiled format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFormat {
    /// The format as the Corefile gives it.
    pub text: String,
}
