//! Recognises the same message seen again on its way: at a bridge, behind a NAT, at the uplink.

use std::hash::BuildHasher;
use std::time::Duration;

use hashlink::{DefaultHashBuilder, LinkedHashMap};

use super::Vantage;
use crate::capture::frame::{Place, Timestamp};
use crate::dns::Message;
use crate::packet::Flow;

/// The same message is expected at the next interface within this time (design.md "Vantage").
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
    sightings: LinkedHashMap<u64, Sighting>,
    hasher: DefaultHashBuilder,
}

impl Copies {
    /// Notes the sighting of `message`; gives the one before it, if that was within the window.
    pub(super) fn note(&mut self, message: &Message, sighting: Sighting) -> Option<Sighting> {
        let key = self.key(message);
        while self.sightings.front().is_some_and(|(_, first)| sighting.time.since(first.time) > WINDOW)
            || self.sightings.len() >= MAX_SIGHTINGS
        {
            self.sightings.pop_front();
        }
        let before = self.sightings.remove(&key);
        self.sightings.insert(key, sighting);
        before.filter(|before| sighting.time.since(before.time) <= WINDOW)
    }

    /// ID, kind, question and length: NAT changes none of them.
    fn key(&self, message: &Message) -> u64 {
        let (question, length, is_query) = match message {
            Message::Query(query) => (&query.question, query.length, true),
            Message::Response(response) => (&response.question, response.length, false),
        };
        self.hasher.hash_one((message.header().id, is_query, length, question))
    }
}
