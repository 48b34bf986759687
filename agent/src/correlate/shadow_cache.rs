//! What a node-local cache would have answered: a bounded model, fed by the real answers and their lifetimes.

use super::Event;

/// The model.
#[derive(Debug, Default)]
pub struct ShadowCache {}

/// What it would have saved so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheSavings {
    /// Queries of clients.
    pub queries: u64,
    /// Those of them that it would have answered.
    pub hits: u64,
}

impl ShadowCache {
    /// Takes an event; says whether it is a query that the cache would have answered.
    pub fn event(&mut self, _event: &Event) -> bool {
        false
    }

    /// What it would have saved so far.
    pub fn savings(&self) -> CacheSavings {
        CacheSavings::default()
    }
}
