//! `conntrack-race` (facts.md section 3.6).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct ConntrackRace {}

impl Detector for ConntrackRace {
    fn id(&self) -> FindingId {
        FindingId::ConntrackRace
    }
}
