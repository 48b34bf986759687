//! `deep-cname` (facts.md section 3.8 P11).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct DeepCname {}

impl Detector for DeepCname {
    fn id(&self) -> FindingId {
        FindingId::DeepCname
    }
}
