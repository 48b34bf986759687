//! `late-reply` (facts.md section 3.8 P12).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct LateReply {}

impl Detector for LateReply {
    fn id(&self) -> FindingId {
        FindingId::LateReply
    }
}
