//! Wakes a source that sleeps: somebody asked whom nobody knows.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// A bell that one thread rings and another one hears; a clone is the same bell.
#[derive(Clone, Debug)]
pub struct Bell(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Rung and not heard yet: a thousand unknown clients cost one call.
    rung: AtomicBool,
    /// eventfd(2), Linux 2.6.27.
    event: OwnedFd,
}

impl AsFd for Bell {
    /// Readable when it was rung.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}

impl Bell {
    /// A silent one.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self(Arc::new(Inner { rung: AtomicBool::new(false), event })))
    }

    /// Rings; never waits.
    pub fn ring(&self) {
        if !self.0.rung.swap(true, Ordering::AcqRel) {
            // It can only fail with the counter full, and then it rings already.
            let _ = rustix::io::write(&self.0.event, &1_u64.to_ne_bytes());
        }
    }

    /// Does nobody else hold it any more?
    pub fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Was it rung since the last call? Never waits.
    pub fn heard(&self) -> bool {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.0.event, &mut count);
        self.0.rung.swap(false, Ordering::AcqRel)
    }

    /// Waits until it is rung, `longest` at most; says whether it was.
    pub fn wait(&self, longest: Duration) -> bool {
        let mut fds = [PollFd::new(self, PollFlags::IN)];
        // Interrupted, it was not rung: the caller comes again.
        let _ = poll(&mut fds, Timespec::try_from(longest).ok().as_ref());
        self.heard()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    #[test]
    fn it_is_heard_once_however_often_it_was_rung() {
        let bell = Bell::new().unwrap();
        assert!(!bell.wait(Duration::ZERO));
        bell.ring();
        bell.clone().ring();
        assert!(bell.is_alone());
        assert!(bell.wait(Duration::ZERO));
        assert!(!bell.wait(Duration::ZERO));
        bell.ring();
        assert!(bell.heard());
    }

    #[test]
    fn it_wakes_whoever_waits() {
        let bell = Bell::new().unwrap();
        let there = bell.clone();
        let waits = thread::spawn(move || {
            let start = Instant::now();
            (there.wait(Duration::from_secs(20)), start.elapsed())
        });
        bell.ring();
        let (rung, took) = waits.join().unwrap();
        assert!(rung && took < Duration::from_secs(10), "{took:?}");
    }
}
