//! The lookups that are open, in one place: found by client and first label, ended in the order in which they fall due.
//!
//! Each lookup stands in three lists: of all, of its client, and of those whose names begin with the same label (every
//! candidate of a search list begins as the name itself does).

use std::collections::VecDeque;
use std::time::Duration;

use super::ending::Wait;
use super::open::Open;
use crate::capture::frame::Timestamp;
use crate::maps::Map;

/// Lookups that are open at once, at most: the oldest ends as it is. About 1 KiB each.
const MAX_OPEN: usize = 32_768;
/// Of one client.
const MAX_OF_CLIENT: u32 = 8192;
/// Of one client, with the same first label.
const MAX_OF_LABEL: u32 = 64;
/// Notes of one queue; those whose lookup waits for something else by now are thrown away then.
pub(super) const MAX_NOTES: usize = 4 * MAX_OPEN;
/// Whatever happens to its queries is told within 30 s (the correlator's longest wait) and a time-out; what hangs longer
/// had its query evicted.
const FORGOTTEN: Duration = Duration::from_secs(40);

/// No lookup.
const NONE: u32 = u32::MAX;

/// A lookup of the table; stale when that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot(u32);

/// Its neighbours in a list.
#[derive(Clone, Copy, Debug)]
struct Link {
    older: u32,
    newer: u32,
}

/// A list of lookups in the order of their beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    oldest: u32,
    newest: u32,
    length: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { oldest: NONE, newest: NONE, length: 0 }
    }
}

/// The lists that a lookup stands in.
#[derive(Clone, Copy)]
enum Which {
    All,
    Client,
    Label,
}

/// An open lookup with its place in the lists.
#[derive(Debug)]
struct Entry {
    open: Open,
    links: [Link; 3],
}

/// A lookup that may be over at a time, unless something came in between.
#[derive(Clone, Copy, Debug)]
struct Due {
    at: Timestamp,
    slot: u32,
    serial: u64,
}

/// The open lookups.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    all: List,
    /// By the hash of client, kind of question and first label.
    labels: Map<u64, List>,
    /// One queue for each length of wait, so that each is in order.
    due: [VecDeque<Due>; Wait::COUNT],
}

impl Table {
    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.all.length as usize
    }

    /// The lookup in `slot`.
    pub(super) fn get_mut(&mut self, Slot(slot): Slot) -> Option<&mut Open> {
        self.entries.get_mut(slot as usize)?.as_mut().map(|entry| &mut entry.open)
    }

    /// Those whose names begin with a label, the newest first.
    pub(super) fn of_label(&self, label: u64) -> impl Iterator<Item = (Slot, &Open)> {
        let mut at = self.labels.get(&label).map_or(NONE, |list| list.newest);
        std::iter::from_fn(move || {
            let slot = at;
            let entry = self.entries.get(slot as usize)?.as_ref()?;
            at = entry.links[Which::Label as usize].older;
            Some((Slot(slot), &entry.open))
        })
    }

    /// The newest of those whose names begin with a label.
    pub(super) fn newest_of_label(&self, label: u64) -> Option<Slot> {
        self.labels.get(&label).map(|list| Slot(list.newest))
    }

    /// The lookup in `slot`, and the one before it whose names begin with the same label.
    pub(super) fn with_older(&mut self, Slot(slot): Slot) -> Option<(&mut Open, Option<Slot>)> {
        let entry = self.entries.get_mut(slot as usize)?.as_mut()?;
        let Link { older, .. } = entry.links[Which::Label as usize];
        Some((&mut entry.open, (older != NONE).then_some(Slot(older))))
    }

    /// What must give way before another lookup of this client and label begins.
    pub(super) fn surplus(&self, client: &List, label: u64) -> Option<Slot> {
        let full = |list: &List, most: u32| (list.length >= most).then_some(Slot(list.oldest));
        full(&self.all, MAX_OPEN as u32)
            .or_else(|| full(client, MAX_OF_CLIENT))
            .or_else(|| full(self.labels.get(&label)?, MAX_OF_LABEL))
    }

    /// Adds a lookup.
    pub(super) fn insert(&mut self, open: Open, client: &mut List) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            (self.entries.len() - 1) as u32
        });
        let label = open.label;
        let mut entry = Entry { open, links: [Link { older: NONE, newer: NONE }; 3] };
        let list = self.labels.entry(label).or_default();
        append(&mut self.entries, list, Which::Label, slot, &mut entry);
        append(&mut self.entries, client, Which::Client, slot, &mut entry);
        append(&mut self.entries, &mut self.all, Which::All, slot, &mut entry);
        if let Some(place) = self.entries.get_mut(slot as usize) {
            *place = Some(entry);
        }
        Slot(slot)
    }

    /// Takes a lookup out; `client` is the list of its client.
    pub(super) fn remove(&mut self, Slot(slot): Slot, client: &mut List) -> Option<Open> {
        let Entry { open, links } = self.entries.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        unlink(&mut self.entries, &mut self.all, Which::All, &links);
        unlink(&mut self.entries, client, Which::Client, &links);
        if let Some(list) = self.labels.get_mut(&open.label) {
            unlink(&mut self.entries, list, Which::Label, &links);
            if list.length == 0 {
                self.labels.remove(&open.label);
            }
        }
        Some(open)
    }

    /// Notes that the lookup in `slot` may be over after a wait.
    pub(super) fn wait(&mut self, slot: Slot, serial: u64, wait: Wait, at: Timestamp) {
        let Self { entries, due, .. } = self;
        let Some(queue) = due.get_mut(wait as usize) else { return };
        if queue.len() >= MAX_NOTES {
            queue.retain(|due| open_for(entries, due).is_some_and(|open| open.due == Some(due.at)));
        }
        queue.push_back(Due { at, slot: slot.0, serial });
    }

    /// Notes that are kept.
    #[cfg(test)]
    pub(super) fn notes(&self) -> usize {
        self.due.iter().map(VecDeque::len).sum()
    }

    /// A lookup that is over: everything before `watermark` was seen.
    pub(super) fn over(&mut self, watermark: Timestamp) -> Option<Slot> {
        for queue in &mut self.due {
            while let Some(due) = queue.front().copied().filter(|due| due.at < watermark) {
                queue.pop_front();
                let open = open_for(&self.entries, &due);
                if open.is_some_and(|open| open.due.is_some_and(|at| at < watermark)) {
                    return Some(Slot(due.slot));
                }
            }
        }
        None
    }

    /// The oldest, where nothing was heard of it for too long; else it goes behind the others once in a while.
    pub(super) fn forgotten(&mut self, watermark: Timestamp) -> Option<Slot> {
        let slot = self.all.oldest;
        let entry = self.entries.get_mut(slot as usize)?.as_mut()?;
        if watermark.since(entry.open.checked) < FORGOTTEN {
            return None;
        }
        if watermark.since(entry.open.last) >= FORGOTTEN {
            return Some(Slot(slot));
        }
        entry.open.checked = watermark;
        let mut entry = self.entries.get_mut(slot as usize)?.take()?;
        unlink(&mut self.entries, &mut self.all, Which::All, &entry.links);
        append(&mut self.entries, &mut self.all, Which::All, slot, &mut entry);
        *self.entries.get_mut(slot as usize)? = Some(entry);
        None
    }

    /// The oldest of a client.
    pub(super) fn oldest_of(&self, client: &List) -> Option<Slot> {
        (client.length > 0).then_some(Slot(client.oldest))
    }

    /// The oldest of all.
    pub(super) fn oldest(&self) -> Option<Slot> {
        self.oldest_of(&self.all)
    }
}

/// The lookup that a note is about, if that is still open.
fn open_for<'a>(entries: &'a [Option<Entry>], due: &Due) -> Option<&'a Open> {
    let entry = entries.get(due.slot as usize)?.as_ref()?;
    (entry.open.serial == due.serial).then_some(&entry.open)
}

fn link_of(entries: &mut [Option<Entry>], slot: u32, which: Which) -> Option<&mut Link> {
    entries.get_mut(slot as usize)?.as_mut()?.links.get_mut(which as usize)
}

/// Puts `entry`, which will stand in `slot`, at the end of a list.
fn append(entries: &mut [Option<Entry>], list: &mut List, which: Which, slot: u32, entry: &mut Entry) {
    entry.links[which as usize] = Link { older: list.newest, newer: NONE };
    match link_of(entries, list.newest, which) {
        Some(link) => link.newer = slot,
        None => list.oldest = slot,
    }
    list.newest = slot;
    list.length += 1;
}

/// Takes an entry with these links out of a list.
fn unlink(entries: &mut [Option<Entry>], list: &mut List, which: Which, links: &[Link; 3]) {
    let Link { older, newer } = links[which as usize];
    match link_of(entries, older, which) {
        Some(link) => link.newer = newer,
        None => list.oldest = newer,
    }
    match link_of(entries, newer, which) {
        Some(link) => link.older = older,
        None => list.newest = older,
    }
    list.length -= 1;
}
