//! `lame-nodata` (facts.md section 3.8 P7).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct LameNodata {}

impl Detector for LameNodata {
    fn id(&self) -> FindingId {
        FindingId::LameNodata
    }
}
