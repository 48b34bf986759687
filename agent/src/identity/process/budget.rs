//! How much of a processor the source may use, whatever the processes of a container do.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What may be used at once, as at the start: some thousand processes.
const SAVED: Duration = Duration::from_millis(500);
/// What comes back with each second: a twentieth of a processor.
const EACH_SECOND: Duration = Duration::from_millis(50);
/// More than that is not owed: it is 40 seconds without work.
const MOST_OWED: Duration = Duration::from_secs(2);
/// Below that no work begins.
const LEAST: Duration = Duration::from_millis(5);

/// CPU time of the calling thread that is left.
#[derive(Debug)]
pub struct Budget {
    left: Duration,
    /// Used beyond what there was: it is paid back first.
    owed: Duration,
    since: Instant,
    used: Duration,
}

impl Budget {
    /// Full.
    pub fn new(now: Instant) -> Self {
        Self { left: SAVED, owed: Duration::ZERO, since: now, used: thread_cpu() }
    }

    /// Takes off what the thread used since the last call, and says what is left.
    pub fn settle(&mut self, now: Instant) -> Duration {
        let used = thread_cpu();
        self.spend(used.saturating_sub(self.used));
        self.used = used;
        let passed = now.saturating_duration_since(self.since);
        self.since = now;
        let back = passed.as_nanos() * EACH_SECOND.as_nanos() / Duration::from_secs(1).as_nanos();
        let back = Duration::from_nanos(u64::try_from(back).unwrap_or(u64::MAX));
        self.left = self.left.saturating_add(back.saturating_sub(self.owed)).min(SAVED);
        self.owed = self.owed.saturating_sub(back);
        self.left
    }

    /// Takes off what another thread used for us.
    pub fn spend(&mut self, used: Duration) {
        self.owed = self.owed.saturating_add(used.saturating_sub(self.left)).min(MOST_OWED);
        self.left = self.left.saturating_sub(used);
    }

    /// Is there enough to begin something?
    pub fn allows(&self) -> bool {
        self.left >= LEAST
    }

    /// How long until there is, if not now.
    pub fn wait(&self) -> Duration {
        LEAST.saturating_sub(self.left).saturating_add(self.owed) * 20
    }
}

/// CPU time of the calling thread.
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_comes_back_slowly() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        assert!(budget.allows());
        budget.spend(SAVED + Duration::from_millis(100));
        assert!(!budget.allows());
        // What was used too much is paid back before anything begins.
        assert_eq!(budget.wait(), Duration::from_millis(2100));
        budget.settle(start + Duration::from_secs(2));
        assert!(!budget.allows());
        let later = start + Duration::from_secs(3);
        // The test itself used some.
        assert!(budget.settle(later) <= EACH_SECOND && budget.allows());
        budget.spend(Duration::from_secs(3600));
        assert!(budget.wait() <= Duration::from_secs(41), "{:?}", budget.wait());
        assert!(budget.settle(later + Duration::from_secs(3600)) <= SAVED);
    }
}
