//! Recognises the same message seen again on its way: at a bridge, behind a NAT, at the uplink.

use std::collections::VecDeque;
use std::time::Duration;

use super::Vantage;
use crate::capture::frame::{Place, Timestamp};
use crate::dns::Message;
use crate::maps::{Map, mix};
use crate::packet::Flow;

/// The same message is expected at the next interface within this time: forwarding within a node takes far less.
pub(super) const WINDOW: Duration = Duration::from_millis(5);

/// Sightings that are kept at most: 5 ms of 3 million messages a second.
const MAX_SIGHTINGS: usize = 16_384;

/// Where a message was seen last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sighting {
    pub(super) time: Timestamp,
    pub(super) flow: Flow,
    pub(super) hop_limit: u8,
    pub(super) vantage: Vantage,
    pub(super) place: Option<Place>,
}

impl Sighting {
    /// Was it seen at another interface?
    pub(super) fn elsewhere(&self, place: Option<Place>) -> bool {
        self.place.map(|place| place.ifindex) != place.map(|place| place.ifindex)
    }
}

/// The messages of the last few milliseconds.
#[derive(Default)]
pub(super) struct Copies {
    /// The last sighting of each message, by [`Copies::key`].
    sightings: Map<u64, Sighting>,
    /// All sightings in the order they came, the forgotten ones among them.
    order: VecDeque<(Timestamp, u64)>,
}

impl Copies {
    /// Notes the sighting of `message`, whose question has this hash; gives the one before it, if that was within the window.
    pub(super) fn note(&mut self, message: &Message, question: u64, sighting: Sighting) -> Option<Sighting> {
        let key = key(message, question);
        while let Some(&(time, old)) = self.order.front()
            && (sighting.time.since(time) > WINDOW || self.order.len() >= MAX_SIGHTINGS)
        {
            self.order.pop_front();
            if self.sightings.get(&old).is_some_and(|last| last.time == time) {
                self.sightings.remove(&old);
            }
        }
        self.order.push_back((sighting.time, key));
        let before = self.sightings.insert(key, sighting);
        before.filter(|before| sighting.time.since(before.time) <= WINDOW)
    }
}

/// ID, kind, question and length: NAT changes none of them.
fn key(message: &Message, question: u64) -> u64 {
    let is_query = u64::from(matches!(message, Message::Query(_)));
    mix(question, u64::from(message.header().id) | is_query << 16 | (message.length() as u64) << 17)
}
