//! The queries of the last moments: whom each was sent to, and which server answered it first.
//!
//! musl asks all its servers at once with one ID from one port and takes the first usable response (facts.md section 1.1),
//! so that the one of another server that is truncated harms nobody. And a response of somebody who was not asked is known
//! by the ID and port of a query to somebody else.

use std::net::SocketAddr;
use std::time::Duration;

use crate::capture::frame::Timestamp;
use crate::correlate::Parties;
use crate::dns::{Rcode, Response};
use crate::maps::{Seed, mix};

/// Places for notes, about 100 KB; a newer query may take the place of an older one.
const PLACES: usize = 1024;
/// musl sends a query to all its servers at once (musl res_msend.c).
const AT_ONCE: Duration = Duration::from_millis(1);
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
    /// It went to another server at the same time.
    parallel: bool,
    /// Something came back.
    answered: bool,
    /// The first whole answer.
    whole: Option<Whole>,
}

/// A whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) server: SocketAddr,
    pub(super) rcode: Rcode,
    pub(super) at: Timestamp,
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
    seed: Seed,
}

impl Recent {
    /// A query is sent over UDP. Gives when another question was sent to the same server under the same ID from the same
    /// port, if that is still open: the same question would have been a retransmission.
    pub(super) fn sent(&mut self, parties: &Parties, id: u16, at: Timestamp) -> Option<Timestamp> {
        if self.notes.is_empty() {
            self.notes.resize(PLACES, None);
        }
        let (place, query) = self.place(parties.client, id);
        let known = self.notes.get_mut(place)?;
        let same = known.filter(|known| known.query == query && at.since(known.at) < GOOD_FOR);
        let to_another = same.filter(|same| same.server != parties.server);
        let parallel = to_another.is_some_and(|same| same.parallel || at.since(same.at) < AT_ONCE);
        // The same query to the next server may have its answer already.
        let (answered, whole) = to_another.map_or((false, None), |same| (same.answered, same.whole));
        *known = Some(Note { query, server: parties.server, at, parallel, answered, whole });
        same.filter(|same| same.server == parties.server && !same.answered).map(|same| same.at)
    }

    /// A query has an answer. Gives the first whole answer where another server that was asked at the same time gave it.
    pub(super) fn answered(
        &mut self,
        parties: &Parties,
        response: &Response,
        id: u16,
        at: Timestamp,
    ) -> Option<Whole> {
        let (place, query) = self.place(parties.client, id);
        let known = self.notes.get_mut(place)?.as_mut().filter(|known| known.query == query)?;
        known.answered = true;
        // Only NOERROR and NXDOMAIN end a stub resolver's wait.
        let is_whole =
            !response.header.truncated() && matches!(response.rcode, Rcode::NOERROR | Rcode::NXDOMAIN);
        if !is_whole {
            return None;
        }
        let first = *known.whole.get_or_insert(Whole { server: parties.server, rcode: response.rcode, at });
        (known.parallel && first.server.ip() != parties.server.ip()).then_some(first)
    }

    /// Did another server than this one answer the same query whole?
    pub(super) fn whole_elsewhere(&self, parties: &Parties, id: u16, now: Timestamp) -> bool {
        let known = self.find(parties.client, id, now);
        known.and_then(|known| known.whole).is_some_and(|whole| whole.server.ip() != parties.server.ip())
    }

    /// The query with this ID from this address and port.
    pub(super) fn asked(&self, client: SocketAddr, id: u16, now: Timestamp) -> Option<Asked> {
        let Note { server, at, answered, .. } = *self.find(client, id, now)?;
        Some(Asked { server, at, answered })
    }

    fn find(&self, client: SocketAddr, id: u16, now: Timestamp) -> Option<&Note> {
        let (place, query) = self.place(client, id);
        let known = self.notes.get(place)?.as_ref()?;
        (known.query == query && now.since(known.at) < GOOD_FOR).then_some(known)
    }

    fn place(&self, client: SocketAddr, id: u16) -> (usize, u32) {
        let address = self.seed.address(client.ip());
        let query = mix(address, u64::from(client.port()) << 16 | u64::from(id));
        ((query >> 32) as usize % PLACES, query as u32)
    }
}
