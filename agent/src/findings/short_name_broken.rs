//! `short-name-broken` (facts.md section 3.8 P16).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct ShortNameBroken {}

impl Detector for ShortNameBroken {
    fn id(&self) -> FindingId {
        FindingId::ShortNameBroken
    }
}
