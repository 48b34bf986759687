//! `pair-conflict` (facts.md section 3.3).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct PairConflict {}

impl Detector for PairConflict {
    fn id(&self) -> FindingId {
        FindingId::PairConflict
    }
}
