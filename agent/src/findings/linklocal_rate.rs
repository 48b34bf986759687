//! `linklocal-rate` (facts.md section 3.4).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct LinkLocalRate {}

impl Detector for LinkLocalRate {
    fn id(&self) -> FindingId {
        FindingId::LinkLocalRate
    }
}
