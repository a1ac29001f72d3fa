//! The result of comparing one suite with its goldens.

use serde::Serialize;

/// How a suite fared. `cases == agree + explained + wrong`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SuiteResult {
    /// Name of the suite.
    pub suite: String,
    /// Cases compared.
    pub cases: u64,
    /// Cases that agree with the golden.
    pub agree: u64,
    /// Cases that differ for a written reason.
    pub explained: u64,
    /// Cases that differ without one.
    pub wrong: u64,
    /// A line for each case that does not agree, with its reason if it has one.
    #[serde(skip)]
    pub misses: Vec<String>,
}

impl SuiteResult {
    /// An empty result.
    #[must_use]
    pub fn new(suite: &str) -> Self {
        Self { suite: suite.to_owned(), ..Self::default() }
    }

    /// Counts an agreeing case.
    pub fn agrees(&mut self) {
        self.cases += 1;
        self.agree += 1;
    }

    /// Counts a differing case; with a reason it is explained.
    pub fn differs(&mut self, case: &str, reason: Option<&str>) {
        self.cases += 1;
        match reason {
            Some(reason) => {
                self.explained += 1;
                self.misses.push(format!("{case}: explained: {reason}"));
            }
            None => {
                self.wrong += 1;
                self.misses.push(format!("{case}: WRONG"));
            }
        }
    }
}
