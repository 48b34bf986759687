//! `resolv-conf-limits` (facts.md section 3.8 P14).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct ResolvConfLimits {}

impl Detector for ResolvConfLimits {
    fn id(&self) -> FindingId {
        FindingId::ResolvConfLimits
    }
}
