//! What the lookups seen would have cost with another `ndots`, or with trailing dots.

use super::lookups::Lookup;

/// Queries that would have been sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WhatIf {
    /// Lookups that could be judged.
    pub lookups: u64,
    /// Queries that they sent.
    pub queries: u64,
    /// With `ndots:2`.
    pub ndots_2: u64,
    /// With `ndots:1`.
    pub ndots_1: u64,
    /// With a trailing dot on the name that won.
    pub trailing_dot: u64,
}

impl WhatIf {
    /// Adds a lookup.
    pub fn add(&mut self, _lookup: &Lookup) {}
}
