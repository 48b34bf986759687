//! What is known of the files of each group of processes, and whose turn it is to be asked again.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::files::{Found, Job};
use super::proc::Proc;
use super::root::Signature;
use super::table::{Group, GroupKey, Speaker};
use crate::identity::facts::{Libc, Resolver};
use crate::identity::statement::Home;

/// A resolv.conf is looked at so often.
const FOLLOW: Duration = Duration::from_secs(10);
/// A group's first process may become another program until it is that old, and is looked at again so soon.
const FRESH: Duration = Duration::from_secs(5);
const WHILE_FRESH: Duration = Duration::from_millis(500);
/// A container whose files did not answer is left alone for so long, all its groups.
const LEFT_ALONE: Duration = Duration::from_secs(600);

/// The files of all groups.
#[derive(Default)]
pub struct Contents {
    files: BTreeMap<GroupKey, Files>,
    due: VecDeque<GroupKey>,
    /// The group that is asked now.
    asked: Option<(GroupKey, Option<Speaker>)>,
    /// Whose files did not answer, and until when they are left alone.
    hanging: BTreeMap<Home, Instant>,
    /// We were not allowed to look into the root of a container.
    pub denied: bool,
}

struct Files {
    home: Home,
    first_seen: Instant,
    next: Instant,
    signature: Option<Signature>,
    /// What its resolv.conf says.
    resolver: Option<Resolver>,
    /// The process that spoke for the group when its C library was read.
    libc_of: Option<Speaker>,
    libc: Option<Libc>,
    name: Option<String>,
    name_asked: bool,
}

impl Contents {
    /// Enters new groups and forgets those that are gone.
    pub fn follow(&mut self, groups: &BTreeMap<GroupKey, Group>, now: Instant) {
        self.files.retain(|key, _| groups.contains_key(key));
        for (key, group) in groups {
            let files = self.files.entry(*key).or_insert_with(|| Files::new(group.place.home.clone(), now));
            // Another program: its library is wanted soon, however often programs change.
            if files.libc_of.is_some() && files.libc_of.as_ref() != group.speakers.first() {
                files.next = files.next.min(now + files.pause(now));
            }
        }
        self.hanging.retain(|_, until| *until > now);
    }

    /// Did a group appear a moment ago?
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.files.values().any(|files| now.saturating_duration_since(files.first_seen) < FRESH)
    }

    /// What a group's files say: its resolver, its C library, its container's name.
    pub fn of(&self, key: GroupKey) -> (Option<Resolver>, Option<Libc>, Option<String>) {
        let files = self.files.get(&key);
        files.map_or((None, None, None), |files| {
            (files.resolver.clone(), files.libc.clone(), files.name.clone())
        })
    }

    /// When the next group is due.
    pub fn next(&self) -> Option<Instant> {
        if !self.due.is_empty() {
            return Some(Instant::now());
        }
        self.files.values().map(|files| files.next).min()
    }

    /// Are groups waiting, or is one being asked?
    pub fn is_busy(&self) -> bool {
        self.asked.is_some() || !self.due.is_empty()
    }

    /// The next job, if it is anybody's turn.
    pub fn job(&mut self, proc: &Proc, groups: &BTreeMap<GroupKey, Group>, now: Instant) -> Option<Job> {
        if self.due.is_empty() {
            let due = self.files.iter().filter(|(_, files)| files.next <= now);
            let mut due: Vec<(Instant, GroupKey)> = due.map(|(key, files)| (files.next, *key)).collect();
            due.sort();
            self.due = due.into_iter().map(|(_, key)| key).collect();
        }
        while let Some(key) = self.due.pop_front() {
            let (Some(files), Some(group)) = (self.files.get_mut(&key), groups.get(&key)) else { continue };
            files.next = now + files.pause(now);
            if self.hanging.contains_key(&blamed(&files.home)) {
                continue;
            }
            let processes = group.speakers.iter().filter_map(|speaker| {
                // Still the one that was seen, and from here on no other: see `proc`.
                let process = proc.process(speaker.pid)?;
                process.stat().is_some_and(|stat| stat.start == speaker.start).then_some(process)
            });
            let processes: Vec<_> = processes.collect();
            if processes.is_empty() {
                continue;
            }
            let first = group.speakers.first().cloned();
            let wants_name = match &files.home {
                Home::Container { runtime, id, .. } if !files.name_asked => {
                    Some((runtime.clone(), id.clone()))
                }
                _ => None,
            };
            let job = Job {
                processes,
                known: files.signature,
                wants_libc: files.libc_of.is_none() || files.libc_of != first,
                is_container: is_container(&files.home),
                wants_name,
            };
            self.asked = Some((key, first));
            return Some(job);
        }
        None
    }

    /// Takes what was found; is it news?
    pub fn take(&mut self, found: Found) -> bool {
        let Some((key, speaker)) = self.asked.take() else { return false };
        let Some(files) = self.files.get_mut(&key) else { return false };
        // Of the node's own processes a few are closed to everybody.
        self.denied |= found.denied && is_container(&files.home);
        if found.too_early {
            return false;
        }
        let before = (files.resolver.clone(), files.libc.clone(), files.name.clone());
        if let Some((resolver, signature)) = found.resolver {
            (files.resolver, files.signature) = (Some(resolver), Some(signature));
        } else if found.no_resolver {
            (files.resolver, files.signature) = (None, None);
        }
        if let Some(libc) = found.libc {
            (files.libc, files.libc_of) = (Some(libc), speaker);
        }
        files.name_asked = true;
        files.name = found.name.or_else(|| files.name.take());
        before != (files.resolver.clone(), files.libc.clone(), files.name.clone())
    }

    /// The group that was asked did not answer.
    pub fn give_up(&mut self, now: Instant) {
        let Some((key, _)) = self.asked.take() else { return };
        let Some(files) = self.files.get_mut(&key) else { return };
        files.next = now + LEFT_ALONE;
        if files.home != Home::Process {
            self.hanging.insert(blamed(&files.home), now + LEFT_ALONE);
        }
    }
}

fn is_container(home: &Home) -> bool {
    !matches!(home, Home::Unit(_) | Home::Process)
}

/// All containers of a pod answer for each other.
fn blamed(home: &Home) -> Home {
    match home {
        Home::Pod { uid, .. } => Home::Pod { uid: uid.clone(), container: None },
        other => other.clone(),
    }
}

impl Files {
    fn new(home: Home, now: Instant) -> Self {
        Self {
            home,
            first_seen: now,
            next: now,
            signature: None,
            resolver: None,
            libc_of: None,
            libc: None,
            name: None,
            name_asked: false,
        }
    }

    fn pause(&self, now: Instant) -> Duration {
        let fresh = now.saturating_duration_since(self.first_seen) < FRESH;
        if fresh { WHILE_FRESH } else { FOLLOW }
    }
}
