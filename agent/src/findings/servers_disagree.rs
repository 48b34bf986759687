//! `servers-disagree` (facts.md section 3.8 P15).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct ServersDisagree {}

impl Detector for ServersDisagree {
    fn id(&self) -> FindingId {
        FindingId::ServersDisagree
    }
}
