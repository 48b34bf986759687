//! How often something happened to a subject, by lookups: what happens once may have been anything.
//!
//! A and AAAA of a name, and what a stub resolver repeats at once, are one lookup and count once ([`Unit`]).

use std::collections::VecDeque;
use std::time::Duration;

use hashlink::LinkedHashMap;

use super::thresholds::Repetition;
use super::{Desk, FindingId, Subject};
use crate::capture::frame::Timestamp;
use crate::dns::Name;

/// Subjects that are kept at most; the one whose last incident is the longest ago gives way.
const MAX_SUBJECTS: usize = 4096;
/// Incidents of one subject that are kept at most.
const MAX_PER_SUBJECT: usize = 32;

/// How much repetition says (facts.md section 3.0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// Too seldom for an incident: a note.
    Single,
    /// Twice for the same name, or three times for one client, within a minute.
    Repeated,
}

/// What was seen of a lookup.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    /// All of it: the next one is another.
    Lookup,
    /// A message: others of the same name within this time belong to the same lookup.
    Message(Duration),
    /// A message of a stub resolver that asks anew, with a new ID from a new port, when it was not answered: Go does so
    /// after 5 s (facts.md section 3.0). Others within the first time, or that much later, belong to the same lookup.
    Anew(Duration, (Duration, Duration)),
}

impl Unit {
    /// Does a message of the same name that came so much earlier belong to the same lookup?
    pub(super) fn is_same(self, earlier: Duration) -> bool {
        match self {
            Self::Lookup => false,
            Self::Message(within) => earlier < within,
            Self::Anew(within, (from, until)) => earlier < within || earlier >= from && earlier <= until,
        }
    }
}

/// What happened to each subject lately.
#[derive(Default)]
pub(super) struct Incidents {
    subjects: LinkedHashMap<Subject, VecDeque<(Timestamp, Name)>>,
}

/// How often it happened within the time that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// Lookups of the subject.
    pub(super) count: u64,
    /// Those of them for the same name.
    pub(super) of_name: u64,
    /// What that amounts to.
    pub(super) strength: Strength,
    /// The first time that counts.
    pub(super) first: Timestamp,
    /// It is another lookup than the last one.
    pub(super) new: bool,
}

impl Incidents {
    /// Notes that it happened to `subject` with `name`.
    pub(super) fn add(
        &mut self,
        time: Timestamp,
        subject: Subject,
        name: &Name,
        unit: Unit,
        repetition: &Repetition,
    ) -> Times {
        if self.subjects.to_back(&subject).is_none() && self.subjects.len() >= MAX_SUBJECTS {
            self.subjects.pop_front();
        }
        let past = self.subjects.entry(subject).or_insert_with(VecDeque::new);
        // The clocks of two processors differ a little.
        let apart = |at: &Timestamp| time.since(*at).max(at.since(time));
        let is_same = |(at, other): &(Timestamp, Name)| other == name && unit.is_same(apart(at));
        let new = !past.iter().rev().any(is_same);
        while past.front().is_some_and(|(at, _)| time.since(*at) > repetition.within) {
            past.pop_front();
        }
        if new {
            if past.len() >= MAX_PER_SUBJECT {
                past.pop_front();
            }
            past.push_back((time, name.clone()));
        }
        let (count, of_name) = (past.len(), past.iter().filter(|(_, other)| other == name).count());
        let first = past.front().map_or(time, |(at, _)| *at);
        Times::new(count, of_name, first, new, repetition)
    }

    /// Forgets what happened to a subject.
    pub(super) fn forget(&mut self, subject: &Subject) {
        self.subjects.remove(subject);
    }

    /// Incidents that are kept of all subjects.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.subjects.values().map(VecDeque::len).sum()
    }
}

impl Times {
    fn new(count: usize, of_name: usize, first: Timestamp, new: bool, repetition: &Repetition) -> Self {
        let (count, of_name) = (count as u64, of_name as u64);
        let strength = strength(count, of_name, 0, repetition).unwrap_or(Strength::Single);
        Self { count, of_name, strength, first, new }
    }

    /// What it amounts to against the packets lost until `until`: a rule that rests on "nothing followed" may have missed
    /// as many, so that the evidence must reach the threshold and those (facts.md section 3.0). `None` where it is not even
    /// a note, which is noted.
    pub(super) fn against_losses(
        &self,
        id: FindingId,
        subject: Subject,
        until: Timestamp,
        desk: &mut Desk<'_>,
    ) -> Option<Strength> {
        let interface = subject.client.and_then(|client| client.interface);
        let lost = desk.lost_at(interface, self.first, until);
        let strength = strength(self.count, self.of_name, lost, &desk.context.thresholds.repetition);
        if strength.is_none() {
            desk.hold_back(id, subject, self.count, lost);
        }
        strength
    }
}

/// What so many lookups, so many of them for one name, amount to where so many packets were lost; `None`: nothing.
pub(super) fn strength(count: u64, of_name: u64, lost: u64, repetition: &Repetition) -> Option<Strength> {
    let reaches = |times: u64, threshold: usize| times >= lost.saturating_add(threshold as u64);
    if reaches(of_name, repetition.of_one_name) || reaches(count, repetition.of_one_client) {
        Some(Strength::Repeated)
    } else {
        reaches(count, 1).then_some(Strength::Single)
    }
}
