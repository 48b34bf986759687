//! `unused-aaaa` (facts.md section 3.8 P10).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct UnusedAaaa {}

impl Detector for UnusedAaaa {
    fn id(&self) -> FindingId {
        FindingId::UnusedAaaa
    }
}
