//! The model's table: of fixed size, one place in memory per question.

use std::time::Duration;

use super::REPEATS;
use crate::capture::frame::Timestamp;

/// Sets of the table; with four entries of 32 bytes each 2 MiB in all, 65,536 entries.
const SETS: usize = 16_384;
/// Entries that a question may stand in.
const WAYS: usize = 4;

/// One question and how long its answer holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    /// Hash of the question; two questions of one hash are as likely as 2^-64.
    key: u64,
    /// Nanoseconds since the epoch.
    until: u64,
    /// Seconds; 0 where repetition says nothing.
    ttl: u32,
    /// Whose repetitions are counted.
    client: u32,
    /// How many there were since the last note.
    repeats: u32,
    /// When the last of them was, in seconds.
    last: u32,
}

/// What a repetition amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing to tell yet.
    Again,
    /// [`REPEATS`] times.
    Often,
}

/// A client that was silent for this long leaves the count of repetitions to another one.
const SILENCE: u32 = 10;

impl Entry {
    /// Does the answer still hold?
    pub(super) fn lives(&self, at: Timestamp) -> bool {
        self.until > at.as_nanos()
    }

    /// How long its answer is to be kept, in seconds.
    pub(super) fn ttl(&self) -> u32 {
        self.ttl
    }

    /// Keeps an answer that came at `at` for whole seconds, as a cache counts them.
    pub(super) fn keep(&mut self, at: Timestamp, seconds: u32, counts_repeats: bool, client: u32) {
        let second = Duration::from_secs(1).as_nanos() as u64;
        let whole = at.as_nanos() / second * second;
        self.until = whole.saturating_add(u64::from(seconds).saturating_add(1).saturating_mul(second));
        self.ttl = if counts_repeats { seconds } else { 0 };
        if self.client != client {
            self.client = client;
            self.repeats = 0;
        }
        self.last = (whole / second) as u32;
    }

    /// Notes that `client` asked while the answer held.
    pub(super) fn asked_again(&mut self, client: u32, at: Timestamp) -> Asked {
        if self.ttl == 0 {
            return Asked::Again;
        }
        let now = (at.as_nanos() / 1_000_000_000) as u32;
        if self.client != client {
            if now.saturating_sub(self.last) < SILENCE {
                return Asked::Again;
            }
            self.client = client;
            self.repeats = 0;
        }
        if now.saturating_sub(self.last) >= SILENCE {
            self.repeats = 0;
        }
        self.last = now;
        self.repeats += 1;
        if self.repeats < REPEATS {
            return Asked::Again;
        }
        self.repeats = 0;
        Asked::Often
    }
}

/// All questions that are remembered. A question's hash says where it stands, and what is over soonest gives way, so
/// that a transaction costs one look into memory.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Empty until the first question.
    sets: Vec<[Entry; WAYS]>,
}

impl Table {
    /// The entry of a question, or one that is free for it: already over at `now`.
    pub(super) fn entry(&mut self, key: u64, now: Timestamp) -> &mut Entry {
        if self.sets.is_empty() {
            self.sets.resize(SETS, [Entry::default(); WAYS]);
        }
        let index = key as usize & (SETS - 1);
        let set = &mut self.sets[index];
        let way = match set.iter().position(|entry| entry.key == key) {
            Some(way) => way,
            None => {
                let soonest = set.iter().enumerate().min_by_key(|(_, entry)| entry.until.max(now.as_nanos()));
                let way = soonest.map_or(0, |(way, _)| way);
                set[way] = Entry { key, ..Entry::default() };
                way
            }
        };
        &mut set[way]
    }

    /// Bytes that the entries take.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        std::mem::size_of_val(self.sets.as_slice())
    }
}
