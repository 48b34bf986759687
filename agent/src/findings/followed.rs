//! What a rule keeps of each client, found by the client's place among all clients.
//!
//! Every lookup comes by here, rule after rule: an index into a row costs one look into memory, a map that keeps its order
//! several. Bounded by the clients that are kept at all, [`MAX_CLIENTS`]; a newcomer that took the place of another client
//! finds nothing of that.
//!
//! [`MAX_CLIENTS`]: crate::correlate::clients::MAX_CLIENTS

use crate::correlate::ClientId;
use crate::correlate::lookups::Lookup;

/// One `T` for each client.
pub(super) struct Followed<T> {
    clients: Vec<Option<(ClientId, T)>>,
}

impl<T> Default for Followed<T> {
    fn default() -> Self {
        Self { clients: Vec::new() }
    }
}

impl<T> Followed<T> {
    /// What is kept of a lookup's client.
    pub(super) fn get_mut(&mut self, lookup: &Lookup) -> Option<&mut T> {
        let place = self.clients.get_mut(lookup.place as usize)?.as_mut();
        place.filter(|(client, _)| *client == lookup.client).map(|(_, kept)| kept)
    }

    /// What is kept of a lookup's client; what `new` makes where that is nothing.
    pub(super) fn entry(&mut self, lookup: &Lookup, new: impl FnOnce() -> T) -> Option<&mut T> {
        let index = lookup.place as usize;
        if self.clients.len() <= index {
            self.clients.resize_with(index + 1, || None);
        }
        let place = self.clients.get_mut(index)?;
        if place.as_ref().is_none_or(|(client, _)| *client != lookup.client) {
            *place = Some((lookup.client, new()));
        }
        place.as_mut().map(|(_, kept)| kept)
    }
}
