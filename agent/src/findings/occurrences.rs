//! How often an incident happened to a client: what happens once may have been anything.

use std::collections::VecDeque;

use hashlink::LinkedHashMap;

use super::thresholds::Repetition;
use crate::capture::frame::Timestamp;
use crate::correlate::ClientId;
use crate::dns::Name;

/// Clients that are kept at most; the one whose last occurrence is the longest ago gives way.
const MAX_CLIENTS: usize = 4096;
/// Occurrences of one client that are kept at most.
const MAX_PER_CLIENT: usize = 32;

/// How much repetition says (facts.md section 3.0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// Too seldom for an incident: a note.
    Single,
    /// Twice for the same name, or three times for one client, within a minute.
    Repeated,
}

/// What happened to each client lately.
#[derive(Default)]
pub struct Occurrences {
    clients: LinkedHashMap<ClientId, VecDeque<(Timestamp, Name)>>,
}

impl Occurrences {
    /// Notes that it happened again, and says what that amounts to; with the time of the first one that counts.
    pub fn add(
        &mut self,
        time: Timestamp,
        client: ClientId,
        name: &Name,
        repetition: &Repetition,
    ) -> (Strength, Timestamp) {
        let past = match self.clients.to_back(&client) {
            Some(past) => past,
            None => {
                if self.clients.len() >= MAX_CLIENTS {
                    self.clients.pop_front();
                }
                self.clients.entry(client).or_insert_with(VecDeque::new)
            }
        };
        while past.front().is_some_and(|(at, _)| time.since(*at) > repetition.within)
            || past.len() >= MAX_PER_CLIENT
        {
            past.pop_front();
        }
        past.push_back((time, name.clone()));
        let same = past.iter().filter(|(_, other)| other == name).count();
        let first = past.front().map_or(time, |(at, _)| *at);
        let repeated = same >= repetition.of_one_name || past.len() >= repetition.of_one_client;
        (if repeated { Strength::Repeated } else { Strength::Single }, first)
    }

    /// How often it happened to a client, as of the last one added.
    pub fn of_client(&self, client: &ClientId) -> usize {
        self.clients.get(client).map_or(0, VecDeque::len)
    }

    /// How often it happened to a client with a name, as of the last one added.
    pub fn of_name(&self, client: &ClientId, name: &Name) -> usize {
        let past = self.clients.get(client).into_iter().flatten();
        past.filter(|(_, other)| other == name).count()
    }

    /// Occurrences that are kept of all clients.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.clients.values().map(VecDeque::len).sum()
    }
}
