//! `unanswered` (facts.md section 3.7 P2).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct Unanswered {}

impl Detector for Unanswered {
    fn id(&self) -> FindingId {
        FindingId::Unanswered
    }
}
