//! Says who lives in which network namespace, by `/proc`: processes, their cgroups, what the files of their containers say.
//!
//! Looks at all processes at the start and every five seconds, and at new ones when a link comes or somebody asks whom
//! nobody knows. Whatever the processes of a container do, it uses a bounded share of a processor and bounded memory, waits for
//! no file of theirs, and says of them nothing that stands outside of their own names.

mod addresses;
mod budget;
mod cgroups;
mod clean;
mod contents;
mod files;
mod home;
mod libc;
mod links;
mod proc;
mod reader;
mod root;
mod schedule;
mod snapshot;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use thiserror::Error;

use self::budget::Budget;
use self::cgroups::Cgroups;
use self::contents::Contents;
use self::links::Links;
use self::proc::Proc;
use self::reader::{MOST_LEFT_BEHIND, Outcome, PATIENCE, Reader};
use self::schedule::{Due, Schedule};
use self::snapshot::Addresses;
use self::table::{Group, GroupKey, MOST_PROCESSES, Table};
use super::Teller;
use super::bell::Bell;
use super::facts::Source;
use super::statement::{Namespace, Statement};
use crate::capture::frame::Ifindex;
use crate::capture::privileges;

/// While files are being read, what they say is told together so often.
const TOGETHER: Duration = Duration::from_millis(100);
/// The inode of the first process namespace (`PROC_PID_INIT_INO` of linux/proc_ns.h).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Why processes cannot be looked at.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// There is no `/proc`.
    #[error("failed to read /proc")]
    Proc(#[source] io::Error),
    /// No thread, no descriptor.
    #[error("failed to start the thread that looks at processes")]
    Start(#[source] io::Error),
}

/// Starts the source in a thread of its own, which ends when nobody listens any more. The bell makes it look soon.
///
/// The network namespace of the calling thread counts as the node's.
pub fn start(teller: Teller, bell: Bell) -> Result<(), ProcessError> {
    let proc = Arc::new(Proc::open(Path::new("/proc")).map_err(ProcessError::Proc)?);
    let reader = Reader::new(Arc::clone(&proc)).map_err(ProcessError::Start)?;
    let run = move || {
        // In this thread: it enters another cgroup namespace.
        let cgroups = Cgroups::find(Path::new("/proc"));
        // What cannot be given up does no harm.
        let _ = privileges::keep(privileges::FOR_PROCESSES);
        Watcher::new(proc, cgroups, reader, teller, bell).run();
    };
    thread::Builder::new().name("names-processes".into()).spawn(run).map_err(ProcessError::Start)?;
    Ok(())
}

/// The source's state.
struct Watcher {
    proc: Arc<Proc>,
    table: Table,
    groups: BTreeMap<GroupKey, Group>,
    /// `None`: netlink does not speak to us.
    links: Option<Links>,
    addresses: Addresses,
    contents: Contents,
    reader: Reader,
    schedule: Schedule,
    budget: Budget,
    teller: Teller,
    bell: Bell,
    told: BTreeMap<u64, Namespace>,
    told_links: Vec<(Ifindex, String)>,
    told_blind: Option<String>,
    /// Something is known that was not told.
    news: bool,
    last_told: Instant,
    too_many: bool,
    /// The list of `/proc` failed.
    failed: Option<String>,
}

impl Watcher {
    fn new(proc: Arc<Proc>, cgroups: Cgroups, reader: Reader, teller: Teller, bell: Bell) -> Self {
        let now = Instant::now();
        Self {
            table: Table::new(Arc::clone(&proc), cgroups),
            proc,
            groups: BTreeMap::new(),
            links: Links::open().ok(),
            addresses: Addresses::default(),
            contents: Contents::default(),
            reader,
            schedule: Schedule::new(),
            budget: Budget::new(now),
            teller,
            bell,
            told: BTreeMap::new(),
            told_links: Vec::new(),
            told_blind: None,
            news: false,
            last_told: now,
            too_many: false,
            failed: None,
        }
    }

    /// Until nobody listens.
    fn run(mut self) {
        while !self.bell.is_alone() {
            let now = Instant::now();
            self.budget.settle(now);
            if self.links.as_mut().is_some_and(Links::heard) {
                self.schedule.links_changed(now);
            }
            if self.bell.heard() {
                self.schedule.unknown_asked();
            }
            self.take_files(now);
            let due = self.schedule.next();
            if self.budget.allows() && due.is_none_or(|(at, _)| at <= now) {
                self.scan(now, due.map_or(Due::All, |(_, due)| due));
            }
            self.ask_for_files(now);
            if self.news && (!self.contents.is_busy() || now >= self.last_told + TOGETHER) && !self.tell(now)
            {
                return;
            }
            self.wait();
        }
    }

    /// Waits for whatever comes first.
    fn wait(&self) {
        let now = Instant::now();
        let mut wake = self.schedule.next().map_or(now, |(at, _)| at);
        if !self.budget.allows() {
            wake = now + self.budget.wait();
        } else if self.reader.is_free()
            && let Some(next) = self.contents.next()
        {
            wake = wake.min(next);
        }
        if let Some(deadline) = self.reader.deadline() {
            wake = wake.min(deadline);
        }
        if self.news {
            wake = wake.min(self.last_told + TOGETHER);
        }
        let mut fds =
            vec![PollFd::new(&self.bell, PollFlags::IN), PollFd::new(&self.reader.done, PollFlags::IN)];
        // Without a budget even the bell waits: what it asks for could not be done.
        if !self.budget.allows() {
            fds.remove(0);
        } else if let Some(links) = &self.links {
            fds.push(PollFd::from_borrowed_fd(links.fd(), PollFlags::IN));
        }
        let longest = wake.saturating_duration_since(now).max(Duration::from_millis(1));
        let _ = poll(&mut fds, Timespec::try_from(longest).ok().as_ref());
    }

    /// Looks at processes and links.
    fn scan(&mut self, now: Instant, due: Due) {
        let scanned = self.table.scan(now, due == Due::All, &mut self.budget);
        let scan = match scanned {
            Ok(scan) => {
                self.failed = None;
                scan
            }
            Err(error) => {
                self.failed = Some(format!("/proc cannot be listed: {error}"));
                Default::default()
            }
        };
        self.too_many = scan.too_many;
        let links_changed = self.links.as_mut().is_some_and(|links| links.refresh().unwrap_or(false));
        if scan.changed {
            let groups = self.table.groups();
            self.contents.follow(&groups, now);
            self.groups = groups;
        }
        let fresh = self.contents.is_fresh(now);
        let oldest = snapshot::oldest(&self.groups);
        self.addresses.refresh(&self.proc, &oldest, now, links_changed);
        self.news |= scan.changed || links_changed || fresh || due == Due::All;
        self.schedule.scanned(now, due, scan.changed, scan.unfinished, fresh);
        // Who is new is told at once, their files when they were read.
        if self.news {
            self.last_told = now.checked_sub(TOGETHER).unwrap_or(now);
        }
    }

    /// Takes what the reader found.
    fn take_files(&mut self, now: Instant) {
        match self.reader.outcome(now) {
            Some(Outcome::Done(found)) => {
                self.budget.spend(found.cpu);
                self.news |= self.contents.take(*found);
            }
            Some(Outcome::GivenUp) => {
                self.budget.spend(PATIENCE / 100);
                self.contents.give_up(now);
                // That nothing more is read is worth a line.
                self.news = true;
            }
            None => {}
        }
    }

    fn ask_for_files(&mut self, now: Instant) {
        if !self.budget.allows() || !self.reader.is_free() {
            return;
        }
        if let Some(job) = self.contents.job(&self.proc, &self.groups, now)
            && self.reader.give(now, job).is_err()
        {
            self.contents.give_up(now);
        }
    }

    /// Tells what is different; `false`: nobody listens any more.
    fn tell(&mut self, now: Instant) -> bool {
        (self.news, self.last_told) = (false, now);
        let own = self.table.own_namespace();
        let oldest = snapshot::oldest(&self.groups);
        let links = self.links.as_mut();
        let found = snapshot::namespaces(&self.groups, &oldest, own, links, &self.addresses, &self.contents);
        let mut statements = Vec::new();
        if let Some(links) = &mut self.links {
            links.keep(&found.keys().copied().collect::<BTreeSet<u64>>());
            if links.leading_nowhere().next().is_none() {
                self.schedule.links_settled();
            }
            let all = links.all();
            if all != self.told_links {
                statements.push(Statement::Links(all.clone()));
                self.told_links = all;
            }
        }
        let gone = self.told.keys().filter(|inode| !found.contains_key(inode));
        statements.extend(gone.map(|inode| Statement::NamespaceGone(*inode)));
        let changed = found.values().filter(|one| self.told.get(&one.inode) != Some(one));
        statements.extend(changed.cloned().map(Statement::Namespace));
        self.told = found;
        statements.extend(self.blindness());
        statements.into_iter().all(|statement| self.teller.tell(statement))
    }

    /// What cannot be seen, when that is different from before.
    fn blindness(&mut self) -> Option<Statement> {
        let why = self.why_blind();
        if why == self.told_blind {
            return None;
        }
        self.told_blind.clone_from(&why);
        Some(match why {
            Some(why) => Statement::Silent(Source::Processes, why),
            None => Statement::Speaks(Source::Processes),
        })
    }

    fn why_blind(&self) -> Option<String> {
        if let Some(failed) = &self.failed {
            return Some(format!("{failed}: names come from the API server or addresses only"));
        }
        let others_unseen = self.links.as_ref().is_some_and(|links| links.leading_nowhere().next().is_some())
            && self.told.values().all(|namespace| namespace.is_node);
        if others_unseen && is_contained() {
            return Some(
                "only the processes of this container can be seen: names come from the API server or addresses \
                 only; needs hostPID"
                    .into(),
            );
        }
        if self.reader.is_stuck() {
            return Some(format!(
                "{MOST_LEFT_BEHIND} containers did not answer when their files were read: resolv.conf and C library \
                 are not read any more until one does"
            ));
        }
        if self.contents.denied {
            return Some(
                "files of containers cannot be read: their resolv.conf and C library are not known; needs \
                 CAP_SYS_PTRACE and a security profile that lets it look"
                    .into(),
            );
        }
        self.too_many.then(|| {
            format!(
                "there are more than {MOST_PROCESSES} processes: those with higher numbers are not looked at"
            )
        })
    }
}

/// Are we in a process namespace of our own, from which those of others are not seen?
fn is_contained() -> bool {
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() != FIRST_PID_NAMESPACE)
}
