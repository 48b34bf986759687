//! `public-leak` (facts.md section 3.8 P18).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct PublicLeak {}

impl Detector for PublicLeak {
    fn id(&self) -> FindingId {
        FindingId::PublicLeak
    }
}
