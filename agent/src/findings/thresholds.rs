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

/// `search-amplification` (facts.md section 3.5).
#[derive(Clone, Copy, Debug)]
pub struct Amplification {
    /// What is summed: 60 s.
    pub within: Duration,
    /// Lookups of one client: 50.
    pub lookups: u64,
    /// Share of its queries that are wasted: 0.5.
    pub waste: f64,
    /// Different names among them: 6, for health checks ask for a few.
    pub names: usize,
    /// Lookups of one client that asks a cache on its own node: 600, since there a query costs next to nothing.
    pub lookups_at_cache: u64,
}

/// What is configurable of the rules.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// A finding closes after this time without evidence: 5 minutes.
    pub close_after: Duration,
    /// How often something must happen.
    pub repetition: Repetition,
    /// Queries wasted on the search list.
    pub amplification: Amplification,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            close_after: Duration::from_secs(300),
            repetition: Repetition { of_one_name: 2, of_one_client: 3, within: Duration::from_secs(60) },
            amplification: Amplification {
                within: Duration::from_secs(60),
                lookups: 50,
                waste: 0.5,
                names: 6,
                lookups_at_cache: 600,
            },
        }
    }
}
