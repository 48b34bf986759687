//! The processes of the node, each looked at once and again only where it may have changed.
//!
//! A list of `/proc` names every process with the inode of its directory, which tells a process from another one that was given
//! its number. So a scan costs one list, and more for those that are new, young (a runtime moves them yet) or whose turn it
//! is. Budgeted: what a scan leaves over is done by the next one.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::Budget;
use super::cgroups::Cgroups;
use super::home;
use super::proc::{Listed, Proc, ProcessDirectory};
use crate::capture::frame::CgroupId;
use crate::identity::statement::Home;

/// More processes than that are not looked at.
pub const MOST_PROCESSES: usize = 20_000;
/// So long after it was first seen a process may still be moved to its cgroup and namespaces.
const YOUNG: Duration = Duration::from_secs(5);
/// After that it is looked at again so often.
const AGAIN: Duration = Duration::from_secs(30);
/// The budget is looked at after so many processes.
const SLICE: usize = 16;
/// Processes that are kept of a group, the oldest.
const SPEAKERS: usize = 4;
/// Groups of one pod, container or unit: one for each of its cgroups and network namespaces.
const GROUPS_OF_ONE: usize = 64;
/// Groups of all.
const GROUPS: usize = 8192;

/// Everything there is.
pub struct Table {
    proc: Arc<Proc>,
    cgroups: Cgroups,
    processes: HashMap<u32, Known>,
    places: HashMap<(String, Option<CgroupId>), Arc<Place>>,
    /// Numbers of places are never used again.
    next_place: u32,
    /// The last new process that was looked at: the next scan goes on behind it, so that none is left out for ever.
    cursor: u32,
    /// Some `/proc/PID/ns` are closed to us: namespaces are told apart by [`ProcessDirectory::namespace_by_files`].
    by_files: bool,
}

struct Known {
    inode: u64,
    first_seen: Instant,
    looked: Instant,
    /// `None`: of the kernel's own, or ended.
    body: Option<Body>,
}

#[derive(Clone, PartialEq, Eq)]
struct Body {
    start: u64,
    comm: String,
    namespace: u64,
    place: Arc<Place>,
}

/// A cgroup.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose it is.
    pub home: Home,
    /// Its number in version 2.
    pub cgroup: Option<CgroupId>,
    number: u32,
}

/// The network namespace by its inode, and the number of the place.
pub type GroupKey = (u64, u32);

/// The processes of one cgroup in one network namespace.
#[derive(Clone, Debug)]
pub struct Group {
    /// Their cgroup.
    pub place: Arc<Place>,
    /// The oldest of them.
    pub speakers: Vec<Speaker>,
}

/// A process that speaks for its group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Speaker {
    /// When it began, in clock ticks since boot.
    pub start: u64,
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub comm: String,
}

/// What a scan met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// A process came, went or moved.
    pub changed: bool,
    /// New ones are left for the next scan.
    pub unfinished: bool,
    /// There are more than [`MOST_PROCESSES`].
    pub too_many: bool,
}

impl Table {
    /// Empty.
    pub fn new(proc: Arc<Proc>, cgroups: Cgroups) -> Self {
        Self {
            proc,
            cgroups,
            processes: HashMap::new(),
            places: HashMap::new(),
            next_place: 0,
            cursor: 0,
            by_files: false,
        }
    }

    /// The network namespace of the calling thread, numbered as all others are now.
    pub fn own_namespace(&self) -> Option<u64> {
        self.namespace(&self.proc.own_thread()?).ok()
    }

    /// Looks at what is new, and with `all` at those whose turn it is.
    pub fn scan(&mut self, now: Instant, all: bool, budget: &mut Budget) -> io::Result<Scan> {
        let (listed, complete) = self.proc.list(MOST_PROCESSES)?;
        let mut scan = Scan { too_many: !complete, ..Scan::default() };
        scan.changed |= self.drop_vanished(&listed);
        let mut wanted: Vec<Listed> = listed.into_iter().filter(|one| self.wants(*one, now, all)).collect();
        // The new ones behind the cursor first, then those before it, then the known ones.
        let cursor = self.cursor;
        wanted.sort_by_key(|one| (self.processes.contains_key(&one.pid), one.pid <= cursor, one.pid));
        for (done, one) in wanted.iter().enumerate() {
            if done % SLICE == SLICE - 1 {
                budget.settle(Instant::now());
                if !budget.allows() {
                    scan.unfinished = true;
                    break;
                }
            }
            let was_closed = self.by_files;
            scan.changed |= self.look(*one, now);
            if self.by_files != was_closed {
                // All are numbered anew.
                self.processes.clear();
                scan.unfinished = true;
                break;
            }
        }
        Ok(scan)
    }

    /// The processes by namespace and cgroup, within bounds: of too many the oldest.
    pub fn groups(&self) -> BTreeMap<GroupKey, Group> {
        let mut groups: BTreeMap<GroupKey, Group> = BTreeMap::new();
        for (pid, body) in self.processes.iter().filter_map(|(pid, known)| Some((pid, known.body.as_ref()?)))
        {
            let group = groups
                .entry((body.namespace, body.place.number))
                .or_insert_with(|| Group { place: Arc::clone(&body.place), speakers: Vec::new() });
            let speaker = (body.start, *pid);
            let at = group.speakers.partition_point(|known| (known.start, known.pid) < speaker);
            if at < SPEAKERS {
                let comm = body.comm.clone();
                group.speakers.insert(at, Speaker { start: body.start, pid: *pid, comm });
                group.speakers.truncate(SPEAKERS);
            }
        }
        bounded(groups)
    }

    fn drop_vanished(&mut self, listed: &[Listed]) -> bool {
        let before = self.processes.len();
        let here: HashMap<u32, u64> = listed.iter().map(|one| (one.pid, one.inode)).collect();
        self.processes.retain(|pid, known| {
            // With another inode it may be another process, or the same whose directory was forgotten: it is looked at.
            here.get(pid).is_some_and(|inode| *inode == known.inode || known.body.is_some())
        });
        // A place that nobody is at any more may come again as another cgroup of the same name.
        self.places.retain(|_, place| Arc::strong_count(place) > 1);
        self.processes.len() != before
    }

    fn wants(&self, one: Listed, now: Instant, all: bool) -> bool {
        let Some(known) = self.processes.get(&one.pid) else { return true };
        let age = now.saturating_duration_since(known.first_seen);
        let since = now.saturating_duration_since(known.looked);
        known.inode != one.inode || (age < YOUNG && known.body.is_some()) || (all && since >= AGAIN)
    }

    /// Looks at one process; did anything change?
    fn look(&mut self, one: Listed, now: Instant) -> bool {
        let body = self.body(one.pid);
        let before = self.processes.get(&one.pid);
        if before.is_none() {
            self.cursor = one.pid;
        }
        let same_process = |known: &&Known| {
            known.inode == one.inode
                || matches!((&known.body, &body), (Some(old), Some(new)) if old.start == new.start)
        };
        let first_seen = before.filter(same_process).map_or(now, |known| known.first_seen);
        let changed = before.map_or(body.is_some(), |known| known.body != body);
        self.processes.insert(one.pid, Known { inode: one.inode, first_seen, looked: now, body });
        changed
    }

    fn body(&mut self, pid: u32) -> Option<Body> {
        let process = self.proc.process(pid)?;
        let stat = process.stat().filter(|stat| !stat.kernel)?;
        let namespace = match self.namespace(&process) {
            Ok(namespace) => namespace,
            // One that shares our namespace is told by its files as well.
            Err(error) if process.denies(&error) => match self.own_if_shared_with(&process) {
                Some(own) => own,
                None => {
                    self.by_files = true;
                    return None;
                }
            },
            Err(_) => return None,
        };
        let place = self.place(process.cgroup()?);
        Some(Body { start: stat.start, comm: stat.comm, namespace, place })
    }

    fn own_if_shared_with(&self, process: &ProcessDirectory) -> Option<u64> {
        let own = self.proc.own_thread()?;
        let shared = own.namespace_by_files().ok()? == process.namespace_by_files().ok()?;
        own.namespace().ok().filter(|_| shared)
    }

    fn namespace(&self, process: &ProcessDirectory) -> io::Result<u64> {
        if self.by_files { process.namespace_by_files() } else { process.namespace() }
    }

    fn place(&mut self, text: String) -> Arc<Place> {
        let (home, path) = home::read(&text);
        let cgroup = path.and_then(|path| self.cgroups.id(path));
        let number = self.next_place;
        let place = self.places.entry((text, cgroup)).or_insert_with(|| {
            self.next_place = number.wrapping_add(1);
            Arc::new(Place { home, cgroup, number })
        });
        Arc::clone(place)
    }
}

fn bounded(groups: BTreeMap<GroupKey, Group>) -> BTreeMap<GroupKey, Group> {
    if groups.len() <= GROUPS_OF_ONE {
        return groups;
    }
    let mut oldest: Vec<(GroupKey, Group)> = groups.into_iter().collect();
    oldest.sort_by_key(|(_, group)| group.speakers.first().map(|speaker| (speaker.start, speaker.pid)));
    let mut of_home: BTreeMap<Home, usize> = BTreeMap::new();
    let mut fits = |group: &Group| {
        // Those without a home are not one.
        if group.place.home == Home::Process {
            return true;
        }
        let count = of_home.entry(group.place.home.clone()).or_default();
        *count += 1;
        *count <= GROUPS_OF_ONE
    };
    oldest.into_iter().filter(|(_, group)| fits(group)).take(GROUPS).collect()
}
