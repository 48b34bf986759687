//! `query-storm` (facts.md section 3.8 P9).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct QueryStorm {}

impl Detector for QueryStorm {
    fn id(&self) -> FindingId {
        FindingId::QueryStorm
    }
}
