//! How often something happened to a subject, each lookup counted once: A and AAAA of a name, and what a stub resolver
//! repeats at once, are one incident.

use std::collections::VecDeque;
use std::time::Duration;

use hashlink::LinkedHashMap;

use super::thresholds::Repetition;
use super::{Desk, FindingId, Strength, Subject};
use crate::capture::frame::Timestamp;
use crate::dns::Name;

/// Subjects that are kept at most; the one whose last incident is the longest ago gives way.
const MAX_SUBJECTS: usize = 4096;
/// Incidents of one subject that are kept at most.
const MAX_PER_SUBJECT: usize = 32;
/// The same name within this time is the same lookup still.
const SAME_LOOKUP: Duration = Duration::from_millis(900);

/// What happened to each subject lately.
#[derive(Default)]
pub(super) struct Incidents {
    subjects: LinkedHashMap<Subject, VecDeque<(Timestamp, Name)>>,
}

/// How often it happened within the time that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// How often.
    pub(super) count: u64,
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
        repetition: &Repetition,
    ) -> Times {
        if self.subjects.to_back(&subject).is_none() && self.subjects.len() >= MAX_SUBJECTS {
            self.subjects.pop_front();
        }
        let past = self.subjects.entry(subject).or_insert_with(VecDeque::new);
        let is_same = |(at, other): &(Timestamp, Name)| other == name && time.since(*at) < SAME_LOOKUP;
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
        let same = past.iter().filter(|(_, other)| other == name).count();
        let repeated = same >= repetition.of_one_name || past.len() >= repetition.of_one_client;
        let strength = if repeated { Strength::Repeated } else { Strength::Single };
        let first = past.front().map_or(time, |(at, _)| *at);
        Times { count: past.len() as u64, strength, first, new }
    }
}

impl Times {
    /// What it amounts to against the packets lost until `until`: a rule that rests on "nothing followed" may have missed
    /// as many. `None` where that is nothing, which is noted.
    pub(super) fn against_losses(
        &self,
        id: FindingId,
        subject: Subject,
        until: Timestamp,
        desk: &mut Desk<'_>,
    ) -> Option<Strength> {
        let interface = subject.client.and_then(|client| client.interface);
        let lost = desk.lost_at(interface, self.first, until);
        let left = self.count.saturating_sub(lost);
        if left == 0 {
            desk.hold_back(id, subject, self.count, lost);
            return None;
        }
        let enough = left >= desk.context.thresholds.repetition.of_one_name as u64;
        Some(if enough { self.strength } else { Strength::Single })
    }
}
