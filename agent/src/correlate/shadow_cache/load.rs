//! Queries to VPC resolvers in sliding windows of one second, with and without a cache.

use crate::capture::frame::Timestamp;
use crate::capture::linklocal::BUCKET;

/// Buckets of 100 ms in a window.
const WINDOW: u64 = 10;
/// Windows that are kept: a transaction is judged when it ends, up to 30 s after it began.
const KEPT: u64 = 512;

/// One second that ends with bucket `end`.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    end: u64,
    queries: u32,
    left: u32,
}

/// The windows of the last 51 s, and the busiest ones of all times.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// Empty until the first query.
    windows: Vec<Window>,
    peak: u64,
    peak_left: u64,
}

impl Load {
    /// Adds a query that was sent then; `hit`: a cache would have answered it. Gives the queries of the busiest second
    /// so far, and those of the second that would have been the busiest with a cache.
    pub(super) fn add(&mut self, sent: Timestamp, hit: bool) -> (u64, u64) {
        if self.windows.is_empty() {
            self.windows.resize(KEPT as usize, Window::default());
        }
        let bucket = sent.as_nanos() / BUCKET.as_nanos() as u64;
        for end in bucket..bucket + WINDOW {
            let window = &mut self.windows[(end % KEPT) as usize];
            if window.end < end {
                *window = Window { end, queries: 0, left: 0 };
            } else if window.end > end {
                continue;
            }
            window.queries = window.queries.saturating_add(1);
            window.left = window.left.saturating_add(u32::from(!hit));
            self.peak = self.peak.max(window.queries.into());
            self.peak_left = self.peak_left.max(window.left.into());
        }
        (self.peak, self.peak_left)
    }

    /// Forgets the windows, when the clock no longer goes with them; not the busiest.
    pub(super) fn forget(&mut self) {
        self.windows.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_second_may_begin_at_any_tenth() {
        let mut load = Load::default();
        let mut last = (0, 0);
        // 0.55 s to 1.54 s holds 100 of 100; so does no second that begins with a whole one.
        for number in 0..100 {
            last = load.add(Timestamp::from_nanos(1_000_550_000_000 + number * 9_000_000), number % 4 != 0);
        }
        assert_eq!(last, (100, 25));
        for number in 0..50 {
            last = load.add(Timestamp::from_nanos(1_100_000_000_000 + number * 100_000_000), false);
        }
        assert_eq!(last, (100, 25));
    }

    #[test]
    fn a_clock_that_was_set_back_is_not_added_to_the_past() {
        let mut load = Load::default();
        let late = Timestamp::from_nanos(5_000_000_000_000);
        assert_eq!(load.add(late, false), (1, 1));
        assert_eq!(load.add(Timestamp::from_nanos(1_000_000_000), false), (1, 1));
        assert_eq!(load.add(late, false), (2, 2));
    }

    #[test]
    fn what_was_forgotten_is_still_the_busiest() {
        let mut load = Load::default();
        let time = Timestamp::from_nanos(5_000_000_000_000);
        assert_eq!(load.add(time, false), (1, 1));
        assert_eq!(load.add(time, true), (2, 1));
        load.forget();
        assert_eq!(load.add(time, true), (2, 1));
        assert_eq!(load.add(time, false), (2, 1));
        assert_eq!(load.add(time, false), (3, 2));
    }
}
