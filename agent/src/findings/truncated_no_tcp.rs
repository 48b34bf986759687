//! `truncated-no-tcp` (facts.md section 3.1).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct TruncatedNoTcp {}

impl Detector for TruncatedNoTcp {
    fn id(&self) -> FindingId {
        FindingId::TruncatedNoTcp
    }
}
