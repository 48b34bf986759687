//! Counts of lookups.

use crate::correlate::lookups::{Lookup, LookupOutcome};

/// Lookups that ended, and what they cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookupCounts {
    /// By outcome, in the order of [`LookupCounts::OUTCOMES`].
    ended: [u64; LookupCounts::OUTCOMES.len()],
    /// Messages sent for them.
    pub queries: u64,
    /// Those of them for candidates that did not win.
    pub wasted: u64,
}

impl LookupCounts {
    /// Every outcome, in the order of a report.
    pub const OUTCOMES: [LookupOutcome; 8] = [
        LookupOutcome::Answered,
        LookupOutcome::NxDomain,
        LookupOutcome::NoData,
        LookupOutcome::Error,
        LookupOutcome::Unanswered,
        LookupOutcome::Stopped,
        LookupOutcome::Unseen,
        LookupOutcome::Waiting,
    ];

    /// Counts a lookup.
    pub fn add(&mut self, lookup: &Lookup) {
        self.queries += u64::from(lookup.queries);
        self.wasted += u64::from(lookup.wasted);
        for (ended, outcome) in self.ended.iter_mut().zip(Self::OUTCOMES) {
            *ended += u64::from(outcome == lookup.outcome);
        }
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.ended.iter().sum()
    }

    /// Every outcome with its count.
    pub fn by_outcome(&self) -> impl Iterator<Item = (LookupOutcome, u64)> {
        Self::OUTCOMES.into_iter().zip(self.ended)
    }
}
