//! What is told of fragments: the fate of each, and how many datagrams were not put together.

use super::Datagram;
use crate::packet::DecodeError;

/// Why a datagram was not put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GiveUp {
    /// A fragment was not seen in time, or not to its end.
    Incomplete,
    /// It had to give way to others.
    Evicted,
    /// Fragments overlap without being the same (RFC 5722).
    Overlap,
    /// Lengths that no sender of fragments writes.
    Inconsistent,
}

impl GiveUp {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Incomplete, Self::Evicted, Self::Overlap, Self::Inconsistent];

    /// As it stands in labels and lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::Evicted => "evicted",
            Self::Overlap => "overlap",
            Self::Inconsistent => "inconsistent",
        }
    }
}

/// What was not put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentCounts {
    /// Datagrams of servers and their clients, by [`GiveUp`].
    given_up: [u64; GiveUp::ALL.len()],
    /// Fragments whose first was never seen: nobody knows whose they are.
    pub unascribed: u64,
}

impl FragmentCounts {
    /// Datagrams given up for this reason.
    pub const fn given_up(&self, reason: GiveUp) -> u64 {
        self.given_up[reason as usize]
    }

    pub(super) fn give_up(&mut self, reason: GiveUp) {
        self.given_up[reason as usize] += 1;
    }
}

/// Fragments that came before the first one of their datagram, and so were not judged until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Earlier {
    /// Parts of it.
    pub parts: u32,
    /// Second sightings.
    pub duplicates: u32,
}

/// What became of one fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Those that this one judges too: they share its fate, duplicates apart.
    pub earlier: Earlier,
    /// That of this one.
    pub fate: Fate,
}

/// What becomes of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its datagram is nothing that the caller wants.
    Foreign,
    /// The first fragment has yet to come; a later [`Taken::earlier`] tells, or [`FragmentCounts::unascribed`].
    Undecided,
    /// It waits for others.
    Held {
        /// As the caller judged the first fragment.
        to_server: bool,
    },
    /// It was seen before.
    Duplicate {
        /// As the caller judged the first fragment.
        to_server: bool,
    },
    /// Its datagram was given up.
    Dropped {
        /// As the caller judged the first fragment.
        to_server: bool,
    },
    /// A first fragment without a transport header that can be read; the datagram is given up.
    Unreadable(DecodeError),
    /// With it no other is to be waited for.
    Complete(Datagram),
}
