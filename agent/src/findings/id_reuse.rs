//! `id-reuse` (facts.md section 3.8 P13).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct IdReuse {}

impl Detector for IdReuse {
    fn id(&self) -> FindingId {
        FindingId::IdReuse
    }
}
