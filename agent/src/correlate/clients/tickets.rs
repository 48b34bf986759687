//! Which lookup the latest transactions belong to, so that what ends needs no search.

use super::open::Place;
use super::table::Slot;

/// Transactions that are remembered; nearly all end before so many others begin. What is not known is searched for.
const PLACES: u64 = 1024;

/// One transaction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ticket {
    /// The correlator's; none is 0.
    number: u64,
    /// Its lookup, if that is still the one in this slot.
    pub(super) slot: Slot,
    /// The lookup's serial.
    pub(super) serial: u64,
    /// Where it stands in its lookup.
    pub(super) place: Place,
}

/// The latest transactions, 32 KiB of them.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    /// Empty before the first.
    tickets: Vec<Ticket>,
}

impl Tickets {
    /// Notes where a transaction belongs.
    pub(super) fn note(&mut self, number: u64, slot: Slot, serial: u64, place: Place) {
        if self.tickets.is_empty() {
            self.tickets.resize(PLACES as usize, Ticket::default());
        }
        if let Some(ticket) = self.tickets.get_mut((number % PLACES) as usize) {
            *ticket = Ticket { number, slot, serial, place };
        }
    }

    /// Where it belongs, if that is still known.
    pub(super) fn find(&self, number: u64) -> Option<Ticket> {
        self.tickets.get((number % PLACES) as usize).copied().filter(|ticket| ticket.number == number)
    }
}
