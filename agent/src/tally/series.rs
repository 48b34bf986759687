//! Counts by subject, bounded, and observations in fixed buckets.

use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;

use crate::maps::Map;

/// Whom a series is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A client or server by its address.
    Address(IpAddr),
    /// All those that found no room.
    Other,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(ip) => ip.fmt(f),
            Self::Other => f.write_str("~other"),
        }
    }
}

/// The values of one metric by subject and further labels.
#[derive(Clone, Debug)]
pub struct Series<L, V = u64> {
    values: Map<(Subject, L), V>,
    /// How often a new series found no room.
    pub overflow: u64,
}

impl<L, V> Default for Series<L, V> {
    fn default() -> Self {
        Self { values: Map::default(), overflow: 0 }
    }
}

impl<L: Copy + Eq + Hash + Ord, V: Default> Series<L, V> {
    /// The value of one series; that of [`Subject::Other`] where `most` are there already.
    pub(super) fn at(&mut self, most: usize, subject: IpAddr, labels: L) -> &mut V {
        let mut key = (Subject::Address(subject), labels);
        if self.values.len() >= most && !self.values.contains_key(&key) {
            self.overflow += 1;
            key.0 = Subject::Other;
        }
        self.values.entry(key).or_default()
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
            self.values.iter().map(|((subject, labels), value)| (*subject, *labels, value)).collect();
        all.sort_by_key(|(subject, labels, _)| (*subject, *labels));
        all
    }
}

/// Observations in fixed buckets, cumulative only when they are read.
#[derive(Clone, Debug)]
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
