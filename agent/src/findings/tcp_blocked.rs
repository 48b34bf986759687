//! `tcp-blocked` (facts.md section 3.1 variant d, 3.7 P6).

use super::{Detector, FindingId};

/// The rule.
#[derive(Default)]
pub(super) struct TcpBlocked {}

impl Detector for TcpBlocked {
    fn id(&self) -> FindingId {
        FindingId::TcpBlocked
    }
}
