//! Counts by subject, bounded, and observations in fixed buckets.

use std::fmt;
use std::hash::Hash;

use crate::capture::frame::Timestamp;
use crate::correlate::ClientId;
use crate::identity::who::WorkloadId;
use crate::maps::Map;

/// Whom a series is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// All instances of a workload.
    Workload(WorkloadId),
    /// A client or server of which only its address is known, and at a pod's interface that.
    Address(ClientId),
    /// All those that found no room.
    Other,
}

impl fmt::Display for Subject {
    /// As it stands in the label `workload`; the name of a workload is not known here.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(WorkloadId(number)) => write!(f, "~{number}"),
            Self::Address(client) => client.address.fmt(f),
            Self::Other => f.write_str("~other"),
        }
    }
}

/// What can be counted: it only grows, and what was added since a reading can be told.
pub trait Amount: Clone + Default + PartialEq {
    /// Adds another.
    fn add(&mut self, other: &Self);

    /// What was added since it was `earlier`.
    fn since(&self, earlier: &Self) -> Self;
}

impl Amount for u64 {
    fn add(&mut self, other: &Self) {
        *self += other;
    }

    fn since(&self, earlier: &Self) -> Self {
        self.saturating_sub(*earlier)
    }
}

/// The values of one metric by subject and further labels.
#[derive(Clone, Debug)]
pub struct Series<L, V = u64> {
    values: Map<(Subject, L), Entry<V>>,
    /// How often a new series found no room.
    pub overflow: u64,
}

/// One series.
#[derive(Clone, Debug, Default)]
struct Entry<V> {
    value: V,
    /// As the last scrape read it.
    read: V,
    /// When it was counted last, by the clock of the frames.
    changed: Timestamp,
}

impl<L, V> Default for Series<L, V> {
    fn default() -> Self {
        Self { values: Map::default(), overflow: 0 }
    }
}

impl<L: Copy + Eq + Hash + Ord, V: Amount> Series<L, V> {
    /// The value of one series; that of [`Subject::Other`] where `most` are there already.
    #[inline]
    pub(super) fn at(&mut self, most: usize, now: Timestamp, subject: Subject, labels: L) -> &mut V {
        let mut key = (subject, labels);
        if self.values.len() >= most && !self.values.contains_key(&key) {
            self.overflow += 1;
            key.0 = Subject::Other;
        }
        let entry = self.values.entry(key).or_default();
        entry.changed = now;
        &mut entry.value
    }

    /// Moves what was counted of subjects that are somebody else by now, so that no increment is lost and none is counted
    /// twice: what no scrape has read yet goes to the new one; what was read stays where it was read, until that leaves.
    pub(super) fn rename(&mut self, most: usize, name: &impl Fn(Subject) -> Option<Subject>) {
        let renamed = |(subject, labels): &(Subject, L)| Some((*subject, *labels, name(*subject)?));
        let moving: Vec<_> = self.values.keys().filter_map(renamed).collect();
        for (from, labels, into) in moving {
            let Some(entry) = self.values.get_mut(&(from, labels)) else { continue };
            let news = entry.value.since(&entry.read);
            let changed = entry.changed;
            entry.value = entry.read.clone();
            // The place of one that was never read is free for the other.
            let is_free = entry.value == V::default();
            if is_free {
                self.values.remove(&(from, labels));
            }
            if news != V::default() {
                let most = if is_free { usize::MAX } else { most };
                self.at(most, changed, into, labels).add(&news);
            }
        }
    }

    /// All of it was read by a scrape.
    pub(super) fn scraped(&mut self) {
        self.values.values_mut().for_each(|entry| entry.read.clone_from(&entry.value));
    }

    /// Lets go of the subjects that are `over`, but for what no scrape has read yet.
    pub(super) fn leave(&mut self, over: &impl Fn(Subject) -> bool) {
        self.values.retain(|(subject, _), entry| entry.value != entry.read || !over(*subject));
    }

    /// Every series' subject, and when it was counted last.
    pub(super) fn subjects(&self) -> impl Iterator<Item = (Subject, Timestamp)> {
        self.values.iter().map(|((subject, _), entry)| (*subject, entry.changed))
    }

    /// Number of series.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// No series yet?
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// All series in the order of their labels.
    pub fn sorted(&self) -> Vec<(Subject, L, &V)> {
        let mut all: Vec<_> =
            self.values.iter().map(|((subject, labels), entry)| (*subject, *labels, &entry.value)).collect();
        all.sort_by_key(|(subject, labels, _)| (*subject, *labels));
        all
    }
}

/// Observations in fixed buckets, cumulative only when they are read.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets<const N: usize> {
    /// Observations at most as large as the bound of that place and larger than the one before; the last is above all.
    pub counts: [u64; N],
    /// Sum of all observations, in the unit of the bounds.
    pub sum: f64,
}

impl<const N: usize> Default for Buckets<N> {
    fn default() -> Self {
        Self { counts: [0; N], sum: 0.0 }
    }
}

impl<const N: usize> Amount for Buckets<N> {
    fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self.sum += other.sum;
    }

    fn since(&self, earlier: &Self) -> Self {
        let mut rest = self.clone();
        rest.counts
            .iter_mut()
            .zip(earlier.counts)
            .for_each(|(count, less)| *count = count.saturating_sub(less));
        // Sums of the same numbers may differ in their last digit.
        rest.sum = if rest.counts.iter().all(|count| *count == 0) { 0.0 } else { rest.sum - earlier.sum };
        rest
    }
}

impl<const N: usize> Buckets<N> {
    pub(super) fn observe(&mut self, bounds: &[f64], value: f64) {
        let place = bounds.partition_point(|&bound| bound < value);
        self.counts[place.min(N - 1)] += 1;
        self.sum += value;
    }
}

/// Bounds of a duration in seconds: 0.00025 · 2^n, n = 0..15 (those of CoreDNS, so that the curves subtract).
pub const DURATION_BOUNDS: [f64; 16] = [
    0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048,
    4.096, 8.192,
];
/// Bounds of a response's size in bytes: the limits that bite.
pub const SIZE_BOUNDS: [f64; 11] =
    [128.0, 256.0, 512.0, 768.0, 1232.0, 1452.0, 2048.0, 4096.0, 8192.0, 16384.0, 65535.0];

/// Latencies in the buckets of [`DURATION_BOUNDS`].
pub type Durations = Buckets<17>;
/// Sizes in the buckets of [`SIZE_BOUNDS`].
pub type Sizes = Buckets<12>;
