//! `oversize-udp` (facts.md section 3.1 variant b).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct OversizeUdp {}

impl Detector for OversizeUdp {
    fn id(&self) -> FindingId {
        FindingId::OversizeUdp
    }
}
