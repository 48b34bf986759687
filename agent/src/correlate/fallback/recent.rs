//! The queries of the last moments: whom each was sent to, and which server answered it whole.
//!
//! musl asks all its servers at once with one ID from one port and takes the first usable response (facts.md section 1.1),
//! so that the one of another server that is truncated harms nobody. And a response of somebody who was not asked is known
//! by the ID and port of a query to somebody else.

use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::time::Duration;

use hashlink::DefaultHashBuilder;

use crate::capture::frame::Timestamp;
use crate::correlate::Parties;
use crate::dns::Rcode;

/// Places for notes, about 130 KB; a newer query may take the place of an older one.
const PLACES: usize = 2048;
/// How long a note is good for: a stub resolver waits no longer for its servers (facts.md section 1.3).
const GOOD_FOR: Duration = Duration::from_secs(5);

/// What is known of a query.
#[derive(Clone, Copy, Debug)]
struct Note {
    /// Client, port and ID, hashed.
    query: u32,
    /// The server that it was sent to last.
    server: SocketAddr,
    /// When.
    at: Timestamp,
    /// A server that answered it whole.
    whole: Option<SocketAddr>,
}

/// A query that was sent just before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// To whom.
    pub server: SocketAddr,
    /// When.
    pub at: Timestamp,
    /// A server answered it.
    pub answered: bool,
}

/// The last queries of all clients, each at the place that its hash tells.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Empty before the first.
    notes: Vec<Option<Note>>,
    hasher: DefaultHashBuilder,
}

impl Recent {
    /// A query is sent over UDP.
    pub(super) fn sent(&mut self, parties: &Parties, id: u16, at: Timestamp) {
        if self.notes.is_empty() {
            self.notes.resize(PLACES, None);
        }
        let (place, query) = self.place(parties.client, id);
        let Some(known) = self.notes.get_mut(place) else { return };
        // The same query to the next server may have its answer already.
        let same = known.filter(|known| known.query == query && at.since(known.at) < GOOD_FOR);
        let whole = same.and_then(|known| known.whole);
        *known = Some(Note { query, server: parties.server, at, whole });
    }

    /// A query has a whole answer; only NOERROR and NXDOMAIN end a stub resolver's wait.
    pub(super) fn answered(&mut self, parties: &Parties, id: u16, rcode: Rcode) {
        if !matches!(rcode, Rcode::NOERROR | Rcode::NXDOMAIN) {
            return;
        }
        let (place, query) = self.place(parties.client, id);
        if let Some(Some(known)) = self.notes.get_mut(place)
            && known.query == query
        {
            known.whole = Some(parties.server);
        }
    }

    /// Did another server than this one answer the same query whole?
    pub(super) fn whole_elsewhere(&self, parties: &Parties, id: u16, now: Timestamp) -> bool {
        let known = self.find(parties.client, id, now);
        known.and_then(|known| known.whole).is_some_and(|server| server.ip() != parties.server.ip())
    }

    /// The query with this ID from this address and port.
    pub(super) fn asked(&self, client: SocketAddr, id: u16, now: Timestamp) -> Option<Asked> {
        let Note { server, at, whole, .. } = *self.find(client, id, now)?;
        Some(Asked { server, at, answered: whole.is_some() })
    }

    fn find(&self, client: SocketAddr, id: u16, now: Timestamp) -> Option<&Note> {
        let (place, query) = self.place(client, id);
        let known = self.notes.get(place)?.as_ref()?;
        (known.query == query && now.since(known.at) < GOOD_FOR).then_some(known)
    }

    fn place(&self, client: SocketAddr, id: u16) -> (usize, u32) {
        let query = self.hasher.hash_one((client, id));
        ((query >> 32) as usize % PLACES, query as u32)
    }
}
