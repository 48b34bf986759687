//! `search-amplification` (facts.md section 3.5).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct SearchAmplification {}

impl Detector for SearchAmplification {
    fn id(&self) -> FindingId {
        FindingId::SearchAmplification
    }
}
