//! When to look again.

use std::time::{Duration, Instant};

/// All is looked at so often, whatever happens.
const ALWAYS: Duration = Duration::from_secs(5);
/// So long after a link came or went: its namespace may get its first process later than its link.
const AFTER_LINKS: [Duration; 8] = [
    Duration::ZERO,
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
/// Two scans are at least so far apart.
const APART: Duration = Duration::from_millis(20);
/// Scans for clients whom nobody knows are so far apart, and twice as far after each that met nobody new.
const UNKNOWN: Duration = Duration::from_millis(250);
/// But never farther.
const UNKNOWN_MOST: Duration = Duration::from_secs(4);
/// While a new group's first process may still become another program.
const WHILE_FRESH: Duration = Duration::from_secs(1);

/// The next scans.
#[derive(Debug)]
pub struct Schedule {
    last: Option<Instant>,
    /// The last look at all.
    last_all: Option<Instant>,
    /// When links changed last, and which of [`AFTER_LINKS`] comes next.
    links: Option<(Instant, usize)>,
    unknown: bool,
    pause: Duration,
    fresh: bool,
    unfinished: bool,
}

/// How to scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Only what is new.
    New,
    /// All.
    All,
}

impl Schedule {
    /// The first scan is due at once.
    pub fn new() -> Self {
        Self {
            last: None,
            last_all: None,
            links: None,
            unknown: false,
            pause: UNKNOWN,
            fresh: false,
            unfinished: false,
        }
    }

    /// A link came, changed or went.
    pub fn links_changed(&mut self, now: Instant) {
        self.links = Some((now, 0));
    }

    /// Every link leads where somebody is known.
    pub fn links_settled(&mut self) {
        // The scan right after the change is made all the same.
        self.links = self.links.filter(|(_, step)| *step == 0);
    }

    /// Somebody asked whom nobody knows.
    pub fn unknown_asked(&mut self) {
        self.unknown = true;
    }

    /// A scan was made.
    pub fn scanned(&mut self, now: Instant, due: Due, news: bool, unfinished: bool, fresh: bool) {
        self.pause = if news {
            UNKNOWN
        } else if self.unknown {
            (self.pause * 2).min(UNKNOWN_MOST)
        } else {
            self.pause
        };
        self.unknown = false;
        self.last = Some(now);
        if due == Due::All {
            self.last_all = Some(now);
        }
        self.links = self.links.and_then(|(since, step)| {
            let passed = now.saturating_duration_since(since);
            let next = AFTER_LINKS.iter().skip(step + 1).position(|after| *after > passed)?;
            Some((since, step + 1 + next))
        });
        (self.unfinished, self.fresh) = (unfinished, fresh);
    }

    /// When the next scan is due, and what it looks at.
    pub fn next(&self) -> Option<(Instant, Due)> {
        let (last, last_all) = (self.last?, self.last_all?);
        let at_links = self.links.and_then(|(since, step)| Some(since + *AFTER_LINKS.get(step)?));
        let new = [
            at_links,
            self.unknown.then(|| last + self.pause),
            self.fresh.then(|| last + WHILE_FRESH),
            self.unfinished.then_some(last),
        ];
        let new = new.into_iter().flatten().min().map(|at| at.max(last + APART));
        let all = last_all + ALWAYS;
        Some(match new {
            Some(new) if new < all => (new, Due::New),
            _ => (all, Due::All),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(from: Instant, at: Instant) -> u128 {
        at.saturating_duration_since(from).as_millis()
    }

    #[test]
    fn quiet_it_looks_every_five_seconds() {
        let start = Instant::now();
        let mut schedule = Schedule::new();
        assert_eq!(schedule.next(), None);
        schedule.scanned(start, Due::All, true, false, false);
        assert_eq!(schedule.next().map(|(at, due)| (ms(start, at), due)), Some((5000, Due::All)));
    }

    #[test]
    fn after_a_link_it_looks_soon_and_again() {
        let start = Instant::now();
        let mut schedule = Schedule::new();
        schedule.scanned(start, Due::All, true, false, false);
        let change = start + Duration::from_secs(1);
        schedule.links_changed(change);
        let mut at = Vec::new();
        while let Some((next, Due::New)) = schedule.next() {
            at.push(ms(change, next));
            schedule.scanned(next, Due::New, false, false, false);
        }
        assert_eq!(at, [0, 20, 50, 100, 250, 500, 1000, 2000]);
        schedule.links_changed(change);
        schedule.links_settled();
        assert!(matches!(schedule.next(), Some((_, Due::New))), "the first look is made");
        schedule.scanned(change + Duration::from_secs(3), Due::New, true, false, false);
        schedule.links_settled();
        assert!(matches!(schedule.next(), Some((_, Due::All))));
    }

    #[test]
    fn unknown_clients_are_looked_for_less_and_less() {
        let mut now = Instant::now();
        let mut schedule = Schedule::new();
        schedule.scanned(now, Due::All, false, false, false);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            schedule.unknown_asked();
            let (next, due) = schedule.next().unwrap();
            pauses.push(ms(now, next));
            schedule.scanned(next, due, false, false, false);
            now = next;
        }
        assert_eq!(pauses[..4], [250, 500, 1000, 2000]);
        assert!(pauses[4..].iter().all(|pause| *pause <= 4000), "{pauses:?}");
        // Somebody new was found: as soon as at first.
        schedule.scanned(now, Due::New, true, false, false);
        schedule.unknown_asked();
        assert_eq!(schedule.next().map(|(at, _)| ms(now, at)), Some(250));
    }

    #[test]
    fn scans_never_follow_at_once() {
        let start = Instant::now();
        let mut schedule = Schedule::new();
        schedule.scanned(start, Due::All, true, true, false);
        assert_eq!(schedule.next().map(|(at, due)| (ms(start, at), due)), Some((20, Due::New)));
        schedule.links_changed(start);
        assert_eq!(schedule.next().map(|(at, _)| ms(start, at)), Some(20));
    }
}
