//! A thread that reads files of containers, and is given up where it does not come back.
//!
//! A container may mount a filesystem that never answers. Whoever waits for it waits for ever and cannot be woken, so a
//! thread that did is left behind and another one takes its place, a few times at most.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::files::{Found, Job, read};
use super::proc::Proc;
use crate::identity::bell::Bell;

/// How long a container has to answer.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// More threads than that do not wait at once.
pub const MOST_LEFT_BEHIND: usize = 4;

/// The thread that works now, and the count of those that were left behind.
pub struct Reader {
    proc: Arc<Proc>,
    /// Rung when a job is done.
    pub done: Bell,
    worker: Option<Worker>,
    left_behind: Arc<AtomicUsize>,
}

struct Worker {
    jobs: Sender<Job>,
    found: Receiver<Found>,
    /// Since when it works.
    busy: Option<Instant>,
    /// Nobody waits for it any more.
    is_left: Arc<AtomicBool>,
}

/// What became of the job that was given last.
#[derive(Debug)]
pub enum Outcome {
    /// It is done.
    Done(Box<Found>),
    /// It takes too long, and nobody waits for it any more.
    GivenUp,
}

impl Reader {
    /// Without a thread yet.
    pub fn new(proc: Arc<Proc>) -> io::Result<Self> {
        Ok(Self { proc, done: Bell::new()?, worker: None, left_behind: Arc::default() })
    }

    /// Would it take a job?
    pub fn is_free(&self) -> bool {
        self.worker.as_ref().is_none_or(|worker| worker.busy.is_none()) && !self.is_stuck()
    }

    /// So many threads wait for filesystems that no file is read any more.
    pub fn is_stuck(&self) -> bool {
        self.left_behind.load(Ordering::Acquire) >= MOST_LEFT_BEHIND
    }

    /// Gives it a job; only when it [is free](Self::is_free).
    pub fn give(&mut self, now: Instant, job: Job) -> io::Result<()> {
        let mut worker = match self.worker.take() {
            Some(worker) => worker,
            None => self.start()?,
        };
        // A thread that ended without being left behind is replaced with the next job.
        if worker.jobs.send(job).is_ok() {
            worker.busy = Some(now);
            self.worker = Some(worker);
        }
        Ok(())
    }

    /// What became of the job, if anything did.
    pub fn outcome(&mut self, now: Instant) -> Option<Outcome> {
        self.done.heard();
        let worker = self.worker.as_mut()?;
        if let Ok(found) = worker.found.try_recv() {
            worker.busy = None;
            return Some(Outcome::Done(Box::new(found)));
        }
        if now.saturating_duration_since(worker.busy?) < PATIENCE {
            return None;
        }
        // Both before its channels close: by those the thread learns of it.
        worker.is_left.store(true, Ordering::Release);
        self.left_behind.fetch_add(1, Ordering::AcqRel);
        self.worker = None;
        Some(Outcome::GivenUp)
    }

    /// When to ask again at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        Some(self.worker.as_ref()?.busy? + PATIENCE)
    }

    fn start(&self) -> io::Result<Worker> {
        let (jobs, todo) = channel::<Job>();
        let (tell, found) = channel();
        let is_left = Arc::new(AtomicBool::new(false));
        let (proc, bell) = (Arc::clone(&self.proc), self.done.clone());
        let (left, left_behind) = (Arc::clone(&is_left), Arc::clone(&self.left_behind));
        thread::Builder::new().name("names-files".into()).stack_size(256 * 1024).spawn(move || {
            for job in todo {
                let found = read(&proc, &job);
                // What it held open may take as long to close.
                drop(job);
                if tell.send(found).is_err() {
                    break;
                }
                bell.ring();
            }
            if left.load(Ordering::Acquire) {
                left_behind.fetch_sub(1, Ordering::AcqRel);
            }
        })?;
        Ok(Worker { jobs, found, busy: None, is_left })
    }
}
