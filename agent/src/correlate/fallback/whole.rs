//! Which queries had a whole answer lately: musl asks all its servers at once with one ID from one port and takes the
//! first usable response (facts.md section 1.1), so that the one of another server that is truncated harms nobody.

use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hashlink::DefaultHashBuilder;

use crate::capture::frame::Timestamp;
use crate::correlate::Parties;
use crate::dns::Rcode;

/// Places for notes, 64 KiB; a newer query may take the place of an older one.
const PLACES: usize = 4096;
/// How long a note is good for: a stub resolver waits no longer for its other servers.
const GOOD_FOR: Duration = Duration::from_secs(5);

/// A whole answer of some server.
#[derive(Clone, Copy, Debug, Default)]
struct Note {
    /// Client, port and ID, hashed.
    query: u32,
    /// The server, hashed.
    server: u32,
    /// When it came.
    at: Timestamp,
}

/// The last answers of all clients, each at the place that its hash tells.
#[derive(Debug, Default)]
pub(super) struct WholeAnswers {
    /// Empty before the first.
    notes: Vec<Note>,
    hasher: DefaultHashBuilder,
}

impl WholeAnswers {
    /// A query has a whole answer; only NOERROR and NXDOMAIN end a stub resolver's wait.
    pub(super) fn note(&mut self, parties: &Parties, id: u16, rcode: Rcode, at: Timestamp) {
        if !matches!(rcode, Rcode::NOERROR | Rcode::NXDOMAIN) {
            return;
        }
        if self.notes.is_empty() {
            self.notes.resize(PLACES, Note::default());
        }
        let (place, note) = self.place(parties.client, id, parties.server.ip(), at);
        if let Some(known) = self.notes.get_mut(place) {
            *known = note;
        }
    }

    /// Did another server than this one answer the same query whole?
    pub(super) fn elsewhere(&self, parties: &Parties, id: u16, now: Timestamp) -> bool {
        let (place, note) = self.place(parties.client, id, parties.server.ip(), now);
        self.notes.get(place).is_some_and(|known| {
            known.query == note.query && known.server != note.server && now.since(known.at) < GOOD_FOR
        })
    }

    fn place(&self, client: SocketAddr, id: u16, server: IpAddr, at: Timestamp) -> (usize, Note) {
        let query = self.hasher.hash_one((client, id));
        let place = (query >> 32) as usize % PLACES;
        (place, Note { query: query as u32, server: self.hasher.hash_one(server) as u32, at })
    }
}
