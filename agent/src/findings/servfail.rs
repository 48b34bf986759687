//! `servfail` (facts.md section 3.7 P3).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct ServFail {}

impl Detector for ServFail {
    fn id(&self) -> FindingId {
        FindingId::ServFail
    }
}
