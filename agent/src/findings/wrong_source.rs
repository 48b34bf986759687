//! `wrong-source` (facts.md section 3.8 P8).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct WrongSource {}

impl Detector for WrongSource {
    fn id(&self) -> FindingId {
        FindingId::WrongSource
    }
}
