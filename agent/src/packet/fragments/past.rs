//! A short memory of datagrams that wait no more, so that what comes later of them is known for what it is.

use std::hash::BuildHasher;
use std::time::Duration;

use hashlink::{DefaultHashBuilder, LinkedHashMap};

use super::{Fate, GiveUp, Key};
use crate::capture::frame::Timestamp;
use crate::packet::Fragment;

/// Keys that are remembered at most; the oldest is forgotten first.
const MAX_PASTS: usize = 4096;
/// Fragments of a complete datagram that are remembered at most: as many as 64 KiB make at the smallest MTU of IPv6.
const MAX_PIECES: usize = 64;

/// How a datagram ended.
#[derive(Clone, Debug)]
pub(super) enum Past {
    /// Its first fragment was none of the caller's.
    Foreign,
    /// Every fragment was seen.
    Done {
        to_server: bool,
        /// Hashes of its fragments: another fragment under the same key begins a new datagram.
        pieces: Vec<u64>,
    },
    /// Not put together.
    GivenUp { to_server: bool, reason: GiveUp },
}

/// How datagrams ended, by key, in the order of their end.
#[derive(Debug)]
pub(super) struct Pasts {
    pasts: LinkedHashMap<Key, (Timestamp, Past)>,
    memory: Duration,
    hasher: DefaultHashBuilder,
}

impl Pasts {
    /// Each is remembered for `memory`.
    pub(super) fn new(memory: Duration) -> Self {
        Self { pasts: LinkedHashMap::new(), memory, hasher: DefaultHashBuilder::default() }
    }

    /// The fate of a fragment whose datagram has ended; `None` where it belongs to none of those.
    pub(super) fn fate(&mut self, key: &Key, time: Timestamp, fragment: &Fragment<'_>) -> Option<Fate> {
        let (ended, past) = self.pasts.get(key)?;
        let fate = match past {
            _ if time.since(*ended) > self.memory => None,
            // The number is used again: a first fragment is always judged anew.
            Past::Foreign => (fragment.offset != 0).then_some(Fate::Foreign),
            Past::Done { to_server, pieces } => {
                let seen = pieces.contains(&self.hash(fragment.offset, fragment.more, fragment.bytes));
                seen.then_some(Fate::Duplicate { to_server: *to_server })
            }
            Past::GivenUp { to_server, reason } => {
                let begins = fragment.offset == 0 && matches!(reason, GiveUp::Incomplete | GiveUp::Evicted);
                (!begins).then_some(Fate::Dropped { to_server: *to_server })
            }
        };
        if fate.is_none() {
            self.pasts.remove(key);
        }
        fate
    }

    pub(super) fn insert(&mut self, key: Key, ended: Timestamp, mut past: Past) {
        if let Past::Done { pieces, .. } = &mut past {
            pieces.truncate(MAX_PIECES);
            pieces.shrink_to_fit();
        }
        self.pasts.remove(&key);
        self.pasts.insert(key, (ended, past));
        if self.pasts.len() > MAX_PASTS {
            self.pasts.pop_front();
        }
    }

    pub(super) fn remove(&mut self, key: &Key) {
        self.pasts.remove(key);
    }

    pub(super) fn forget_before(&mut self, watermark: Timestamp) {
        while self.pasts.front().is_some_and(|(_, (ended, _))| *ended + self.memory < watermark) {
            self.pasts.pop_front();
        }
    }

    pub(super) fn clear(&mut self) {
        self.pasts.clear();
    }

    /// What tells one fragment from another.
    pub(super) fn hash(&self, start: usize, more: bool, bytes: &[u8]) -> u64 {
        self.hasher.hash_one((start, more, bytes))
    }
}
