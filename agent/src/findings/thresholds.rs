//! Every number that a rule compares with, in one place, with its source.

use std::time::Duration;

/// How often something must happen to be an incident (facts.md section 3.0).
#[derive(Clone, Copy, Debug)]
pub struct Repetition {
    /// Times for the same client and name: 2.
    pub of_one_name: usize,
    /// Times for the same client: 3.
    pub of_one_client: usize,
    /// Within this time: 60 s.
    pub within: Duration,
}

/// What is configurable of the rules.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// A finding closes after this time without evidence: 5 minutes.
    pub close_after: Duration,
    /// How often something must happen.
    pub repetition: Repetition,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            close_after: Duration::from_secs(300),
            repetition: Repetition { of_one_name: 2, of_one_client: 3, within: Duration::from_secs(60) },
        }
    }
}
