//! `refused` (facts.md section 3.7 P4).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct Refused {}

impl Detector for Refused {
    fn id(&self) -> FindingId {
        FindingId::Refused
    }
}
