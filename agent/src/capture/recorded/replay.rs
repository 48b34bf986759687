//! Takes what a recording says while its packets are read.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::{ENTERPRISE, InterfaceFact, Note, Reading, decode, readable, sender_of};
use crate::capture::counters::{CaptureCounters, Method, WatchedInterface};
use crate::capture::file::Options;
use crate::capture::frame::{CgroupId, Ifindex, InterfaceKind, Timestamp};
use crate::identity::facts::Fact;

/// Names of interfaces by number, as a file tells them while it is read.
#[derive(Clone, Debug, Default)]
pub struct InterfaceNames(Arc<Mutex<HashMap<Ifindex, String>>>);

impl InterfaceNames {
    /// The latest name that was told.
    pub fn get(&self, ifindex: Ifindex) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&ifindex).cloned()
    }

    fn insert(&self, ifindex: Ifindex, name: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(ifindex, name);
    }
}

/// Interfaces of which facts are kept: as many pods as a busy machine has in weeks.
const MOST_INTERFACES: usize = 16_384;

/// Facts that wait to be taken, at most; reading stops at each, so that whoever wants them takes them one by one.
const MOST_WAITING: usize = 64;

/// What a recording has said so far; empty for any other file.
#[derive(Debug, Default)]
pub struct Recorded {
    names: InterfaceNames,
    interfaces: BTreeMap<Ifindex, InterfaceFact>,
    /// The sum of the files that have ended, where several stand one behind the other, and their last time.
    before: Option<(CaptureCounters, Timestamp)>,
    latest: Option<Reading>,
    /// The latest reading was not taken yet.
    news: bool,
    /// Who is who, as far as it was not taken yet.
    facts: VecDeque<(Timestamp, Fact)>,
    /// The first thing of ours that could not be read, and how many there were.
    broken: Option<(String, u64)>,
}

impl Recorded {
    /// What was counted, all files together; `None` where no recording says anything.
    pub fn counters(&self) -> Option<CaptureCounters> {
        let mut counters = self.with_recent()?;
        counters.forget_recent();
        Some(counters)
    }

    /// The latest reading, with what was counted since the one before it; once.
    pub(in crate::capture) fn take_reading(&mut self) -> Option<(Timestamp, CaptureCounters)> {
        if !std::mem::take(&mut self.news) {
            return None;
        }
        Some((self.latest.as_ref()?.time, self.with_recent()?))
    }

    /// What became known of who is who; once.
    pub(in crate::capture) fn take_facts(&mut self) -> VecDeque<(Timestamp, Fact)> {
        std::mem::take(&mut self.facts)
    }

    /// Was a reading or a fact met that was not taken yet?
    pub(in crate::capture) fn is_news(&self) -> bool {
        self.news || !self.facts.is_empty()
    }

    fn with_recent(&self) -> Option<CaptureCounters> {
        let latest = &self.latest.as_ref()?.counters;
        let mut counters = match &self.before {
            Some((before, _)) => before.plus(latest),
            None => latest.clone(),
        };
        let watched = |fact: &InterfaceFact| {
            let (method, hooks) = fact.watched.unwrap_or((Method::PacketSocket, 0));
            WatchedInterface {
                ifindex: fact.ifindex,
                name: fact.name.clone(),
                kind: fact.kind,
                method,
                hooks,
            }
        };
        counters.interfaces = self.interfaces.values().map(watched).collect();
        Some(counters)
    }

    /// Until when was captured, whether or not a packet came; `None` where no recording says it.
    pub fn latest(&self) -> Option<Timestamp> {
        let before = self.before.as_ref().map(|(_, time)| *time);
        before.max(self.latest.as_ref().map(|reading| reading.time))
    }

    /// The names of its interfaces, now and later.
    pub fn names(&self) -> InterfaceNames {
        self.names.clone()
    }

    /// What could not be read, for a person.
    pub fn trouble(&self) -> Option<String> {
        let (what, count) = self.broken.as_ref()?;
        let more = if *count > 1 { format!(", and {} more", count - 1) } else { String::new() };
        Some(format!("a note of the recording cannot be read, so losses may be missing: {what}{more}"))
    }

    fn take(&mut self, bytes: &[u8]) -> Option<InterfaceFact> {
        match decode(bytes) {
            Ok(Some(Note::Interface(fact))) => {
                self.learn(fact.clone());
                return Some(fact);
            }
            Ok(Some(Note::Counters(reading))) => self.count(*reading),
            Ok(Some(Note::Fact(time, fact))) => {
                if self.facts.len() >= MOST_WAITING {
                    self.facts.pop_front();
                }
                self.facts.push_back((time, fact));
            }
            Ok(None) => {}
            Err(what) => self.broken.get_or_insert_with(|| (readable(what.as_bytes()), 0)).1 += 1,
        }
        None
    }

    fn learn(&mut self, fact: InterfaceFact) {
        if self.interfaces.len() >= MOST_INTERFACES && !self.interfaces.contains_key(&fact.ifindex) {
            return;
        }
        if !fact.name.is_empty() {
            self.names.insert(fact.ifindex, fact.name.clone());
        }
        let entry = self.interfaces.entry(fact.ifindex).or_insert_with(|| fact.clone());
        // A fact that was learnt from a packet alone knows less.
        let watched = fact.watched.or(entry.watched);
        *entry = InterfaceFact { watched, ..fact };
    }

    /// Each file counts from zero; its readings replace one another.
    fn count(&mut self, reading: Reading) {
        if let Some(ended) = self.latest.take_if(|latest| latest.begun != reading.begun) {
            let (sum, until) = self.before.get_or_insert_with(Default::default);
            sum.add(&ended.counters);
            sum.forget_recent();
            *until = ended.time.max(*until);
        }
        self.latest = Some(reading);
        self.news = true;
    }

    /// Takes the options of an interface; the answer is where its packets were seen.
    pub(in crate::capture) fn interface(&mut self, options: Options<'_>) -> Option<(Ifindex, InterfaceKind)> {
        let fact = options.custom(ENTERPRISE).find_map(|text| self.take(text))?;
        Some((fact.ifindex, fact.kind))
    }

    /// Takes a custom block. Its bytes end with up to three of padding, and perhaps with options: only the writer knows
    /// where.
    pub(in crate::capture) fn custom(&mut self, enterprise: u32, bytes: &[u8]) {
        if enterprise == ENTERPRISE {
            self.take(bytes);
        }
    }
}

/// By the options of a packet: did a process of the machine that recorded it send it, and in which cgroup is it?
pub(in crate::capture) fn sender(options: Options<'_>) -> (Option<bool>, Option<CgroupId>) {
    let comments = options.filter(|(code, _)| *code == 1).map(|(_, value)| sender_of(value));
    comments
        .fold((None, None), |(local_socket, cgroup), found| (local_socket.or(found.0), cgroup.or(found.1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(begun: u64, time: u64, seen: u64) -> String {
        let [begun, time] = [begun, time].map(Timestamp::from_nanos);
        Reading { begun, time, counters: CaptureCounters { seen, ..CaptureCounters::default() } }.to_json()
    }

    #[test]
    fn readings_replace_one_another_and_files_add_up() {
        let mut recorded = Recorded::default();
        assert!(recorded.counters().is_none() && recorded.latest().is_none());
        for (begun, time, seen, sum) in
            [(1, 2, 5, 5), (1, 3, 7, 7), (3, 4, 1, 8), (3, 6, 2, 9), (6, 7, 4, 13)]
        {
            recorded.custom(ENTERPRISE, reading(begun, time, seen).as_bytes());
            assert_eq!(recorded.counters().map(|counters| counters.seen), Some(sum));
            assert_eq!(recorded.latest(), Some(Timestamp::from_nanos(time)));
        }
        // Another's block.
        recorded.custom(9, reading(9, 9, 9).as_bytes());
        assert_eq!(recorded.counters().map(|counters| counters.seen), Some(13));
    }

    #[test]
    fn facts_grow() {
        let mut recorded = Recorded::default();
        recorded.custom(ENTERPRISE, reading(1, 2, 0).as_bytes());
        let fact = |watched| InterfaceFact {
            ifindex: Ifindex(3),
            name: "cali1".into(),
            kind: InterfaceKind::Pod,
            watched,
        };
        for watched in [None, Some((Method::Clsact, 2)), None] {
            recorded.custom(ENTERPRISE, fact(watched).to_json().as_bytes());
        }
        assert_eq!(recorded.names().get(Ifindex(3)).as_deref(), Some("cali1"));
        let counters = recorded.counters().unwrap_or_default();
        assert_eq!(counters.interfaces[0].method, Method::Clsact);
    }

    #[test]
    fn trouble_is_told_once() {
        let mut recorded = Recorded::default();
        assert_eq!(recorded.trouble(), None);
        recorded.custom(ENTERPRISE, b"not of ours");
        assert_eq!(recorded.trouble(), None);
        for _ in 0..3 {
            recorded.custom(ENTERPRISE, br#"{"nslookout":1,"kind":"counters","seen":"many"}"#);
        }
        assert!(
            recorded.trouble().is_some_and(|told| told.ends_with("and 2 more")),
            "{:?}",
            recorded.trouble()
        );
    }
}
