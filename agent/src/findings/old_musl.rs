//! `old-musl` (facts.md section 3.1 latent form).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct OldMusl {}

impl Detector for OldMusl {
    fn id(&self) -> FindingId {
        FindingId::OldMusl
    }
}
