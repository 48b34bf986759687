//! Queries that were seen on their way: at a server's interface or at an uplink, not at their client's.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::Sent;
use crate::capture::frame::Timestamp;
use crate::dns::RecordType;

/// Queries that are kept at most, 16 bytes each: 10 s of 1600 queries a second.
const MAX_KEPT: usize = 16_384;
/// From one interface of a node to another a query takes no longer.
const ON_ITS_WAY: Duration = Duration::from_millis(20);

/// The latest of them, in the order in which they were seen.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    queries: VecDeque<(Timestamp, u16, RecordType)>,
}

impl Elsewhere {
    /// Notes one.
    pub(super) fn sent(&mut self, sent: &Sent) {
        let Some(question) = &sent.question else { return };
        if self.queries.len() >= MAX_KEPT {
            self.queries.pop_front();
        }
        self.queries.push_back((sent.time, sent.header.id, question.qtype));
    }

    /// Was a query with this ID and type, which its client sent at `at`, seen elsewhere too? Addresses and ports are
    /// translated on the way, so they are not compared: of 1000 queries a second one in 6500 is taken for another.
    pub(super) fn has(&self, id: u16, qtype: RecordType, at: Timestamp) -> bool {
        let near = |seen: Timestamp| seen.since(at) <= ON_ITS_WAY && at.since(seen) <= ON_ITS_WAY;
        self.queries.iter().any(|&(seen, other, of)| (other, of) == (id, qtype) && near(seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correlate::Event;
    use crate::engine::scene::{Scene, Seen, at};

    #[test]
    fn what_passes_an_uplink_is_remembered() {
        let mut scene = Scene::new();
        scene.seen = Seen::Pod(4);
        scene.ask(0.0, "10.0.0.1:1000", "10.96.0.10", 7, 1, "a.test");
        scene.seen = Seen::Uplink(2);
        scene.ask(0.1, "10.0.0.1:1000", "10.96.0.10", 7, 1, "a.test");
        scene.tick(10.0);
        let mut elsewhere = Elsewhere::default();
        for event in &scene.told.events {
            if let Event::Opened(sent) = event
                && !sent.parties.at_client()
            {
                elsewhere.sent(sent);
            }
        }
        assert!(elsewhere.has(7, RecordType::A, at(0.0)));
        assert!(!elsewhere.has(7, RecordType::AAAA, at(0.0)));
        assert!(!elsewhere.has(8, RecordType::A, at(0.0)));
        assert!(!elsewhere.has(7, RecordType::A, at(2_500.0)));
    }
}
