//! `search-stopped` (facts.md section 3.2).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct SearchStopped {}

impl Detector for SearchStopped {
    fn id(&self) -> FindingId {
        FindingId::SearchStopped
    }
}
