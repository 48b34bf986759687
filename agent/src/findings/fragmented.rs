//! `fragmented` (facts.md section 3.7 P5).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct Fragmented {}

impl Detector for Fragmented {
    fn id(&self) -> FindingId {
        FindingId::Fragmented
    }
}
