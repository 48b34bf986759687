//! What was found: one finding per rule and subject, open until no evidence comes for long.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::time::Duration;

use hashlink::LinkedHashMap;

use super::{Change, Details, Finding, FindingId, Severity, Sighting, Subject};
use crate::capture::frame::Timestamp;
use crate::identity::who::Behind;

/// Findings that are open at once, at most.
const MAX_OPEN: usize = 1024;
/// Findings that closed, and notes of what was held back, that are kept at most.
const MAX_PAST: usize = 256;
/// How often the details of an open finding are written anew.
const REWRITE: Duration = Duration::from_secs(1);

/// Evidence that was not enough against the packets lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBack {
    /// What may have been found.
    pub id: FindingId,
    /// Whom it would be about.
    pub subject: Subject,
    /// How many times it seemed so.
    pub evidence: u64,
    /// Packets lost there and then.
    pub lost: u64,
}

/// One rule about one subject.
type Key = (FindingId, Subject);

/// A finding, and when its details were written.
struct Entry {
    finding: Finding,
    written: Timestamp,
}

/// What was found and what was held back. Bounded.
pub struct Ledger {
    close_after: Duration,
    /// In the order of their last evidence.
    open: LinkedHashMap<Key, Entry>,
    /// How many of them are of each severity.
    severities: [usize; Severity::ALL.len()],
    /// The latest last; where there is no room the mildest give way.
    closed: VecDeque<Finding>,
    held_back: LinkedHashMap<Key, HeldBack>,
    /// Sightings that found no room.
    crowded_out: u64,
}

impl Ledger {
    /// An empty one; a finding closes after `close_after` without evidence.
    pub(super) fn new(close_after: Duration) -> Self {
        Self {
            close_after,
            open: LinkedHashMap::new(),
            severities: Default::default(),
            closed: VecDeque::new(),
            held_back: LinkedHashMap::new(),
            crowded_out: 0,
        }
    }

    /// The open findings, the worst and surest first.
    pub fn open(&self) -> Vec<&Finding> {
        let mut findings: Vec<&Finding> = self.open.values().map(|entry| &entry.finding).collect();
        findings.sort_by(|a, b| by_harm(a, b));
        findings
    }

    /// All findings, the worst and surest first; one that closed and opened again is one, with both counts.
    pub fn all(&self) -> Vec<Finding> {
        let mut findings: LinkedHashMap<Key, Finding> = LinkedHashMap::new();
        for finding in self.closed.iter().chain(self.open.values().map(|entry| &entry.finding)) {
            let key = (finding.id, finding.subject);
            let whole = match findings.remove(&key) {
                Some(earlier) => joined(earlier, finding.clone()),
                None => finding.clone(),
            };
            findings.insert(key, whole);
        }
        let mut findings: Vec<Finding> = findings.into_iter().map(|(_, finding)| finding).collect();
        findings.sort_by(by_harm);
        findings
    }

    /// What was held back, the oldest first.
    pub fn held_back(&self) -> impl Iterator<Item = &HeldBack> {
        self.held_back.values()
    }

    /// Sightings of further findings that found no room.
    pub fn crowded_out(&self) -> u64 {
        self.crowded_out
    }

    /// Is this one open?
    pub fn is_open(&self, id: FindingId, subject: Subject) -> bool {
        self.open.contains_key(&(id, subject))
    }

    /// The open finding of a rule that already covers a subject: all of a server's clients, or of a client's servers.
    pub(super) fn covering(&self, id: FindingId, subject: Subject) -> Option<Subject> {
        let wider = [
            subject.server.filter(|_| subject.client.is_some()).map(Subject::server),
            subject.client.filter(|_| subject.server.is_some()).map(Subject::client),
        ];
        wider.into_iter().flatten().find(|wider| self.is_open(id, *wider))
    }

    /// Open findings of a rule whose subjects are parts of this one.
    pub(super) fn covered(&self, id: FindingId, subject: Subject) -> Vec<Subject> {
        let keys = self.open.iter().map(|(key, _)| *key);
        keys.filter(|(other, part)| *other == id && subject.covers(part)).map(|(_, part)| part).collect()
    }

    /// One incident is one finding: closes that about `from`, and adds what it saw to that about `into`, which is open.
    pub(super) fn absorb(
        &mut self,
        now: Timestamp,
        id: FindingId,
        (from, into): (Subject, Subject),
        emit: &mut dyn FnMut(&Change<'_>),
    ) {
        if from == into || !self.is_open(id, into) {
            return;
        }
        let Some(Entry { finding: mut part, .. }) = self.open.remove(&(id, from)) else { return };
        self.severities[part.severity as usize] -= 1;
        let Some(Entry { finding, .. }) = self.open.get_mut(&(id, into)) else { return };
        finding.first_seen = finding.first_seen.min(part.first_seen);
        finding.last_seen = finding.last_seen.max(part.last_seen);
        finding.count += part.count;
        let worse = part.severity > finding.severity || part.confidence > finding.confidence;
        if worse {
            self.severities[finding.severity as usize] -= 1;
            finding.severity = finding.severity.max(part.severity);
            finding.confidence = finding.confidence.max(part.confidence);
            self.severities[finding.severity as usize] += 1;
            finding.changed = now;
            // As in [`joined`], the words are those of the worse one.
            finding.details = part.details.clone();
            emit(&Change::Changed(finding));
        }
        (part.changed, part.closed) = (now, Some(now));
        // It is not kept: what it saw stands in the other one.
        emit(&Change::Closed(&part));
    }

    pub(super) fn raise(
        &mut self,
        now: Timestamp,
        sighting: Sighting,
        details: impl FnOnce() -> (Details, Behind),
        emit: &mut dyn FnMut(&Change<'_>),
    ) {
        let Sighting { id, subject, severity, confidence, seen: (first, last), count } = sighting;
        let Some(entry) = self.open.to_back(&(id, subject)) else {
            return self.begin(now, sighting, details, emit);
        };
        let finding = &mut entry.finding;
        finding.first_seen = finding.first_seen.min(first);
        finding.last_seen = finding.last_seen.max(last);
        finding.count += count;
        let worse = severity > finding.severity || confidence > finding.confidence;
        // A weaker sighting does not take away the words of a stronger one.
        let as_bad = severity >= finding.severity && confidence >= finding.confidence;
        if worse || as_bad && now.since(entry.written) >= REWRITE {
            entry.written = now;
            let (details, behind) = details();
            finding.details = details;
            // Who was known stays, though the instance may be forgotten by now.
            if !behind.is_nobody() {
                finding.behind = behind;
            }
        }
        if worse {
            self.severities[finding.severity as usize] -= 1;
            finding.severity = finding.severity.max(severity);
            finding.confidence = finding.confidence.max(confidence);
            self.severities[finding.severity as usize] += 1;
            finding.changed = now;
            emit(&Change::Changed(finding));
        }
    }

    /// Opens a finding, if there is room.
    fn begin(
        &mut self,
        now: Timestamp,
        sighting: Sighting,
        details: impl FnOnce() -> (Details, Behind),
        emit: &mut dyn FnMut(&Change<'_>),
    ) {
        if self.open.len() >= MAX_OPEN && !self.make_room(now, sighting.severity, emit) {
            self.crowded_out += 1;
            return;
        }
        let Sighting { id, subject, severity, confidence, seen: (first_seen, last_seen), count } = sighting;
        // What was held back of it is found now.
        self.held_back.remove(&(id, subject));
        let ((details, behind), changed, closed) = (details(), now, None);
        let finding = Finding {
            id,
            subject,
            behind,
            severity,
            confidence,
            first_seen,
            last_seen,
            count,
            details,
            changed,
            closed,
        };
        emit(&Change::Opened(&finding));
        self.severities[severity as usize] += 1;
        self.open.insert((id, subject), Entry { finding, written: now });
    }

    /// Closes a finding that is less severe than `severity`, the one whose evidence is oldest. Where there is none the
    /// new one has to wait: if equals drove each other out, they would open and close without end.
    fn make_room(&mut self, now: Timestamp, severity: Severity, emit: &mut dyn FnMut(&Change<'_>)) -> bool {
        let least = self.severities.iter().position(|count| *count > 0).unwrap_or_default();
        if least >= severity as usize {
            return false;
        }
        let is_least = |entry: &Entry| entry.finding.severity as usize == least;
        let Some(key) = self.open.iter().find(|(_, entry)| is_least(entry)).map(|(key, _)| *key) else {
            return false;
        };
        self.close(&key, now, emit);
        true
    }

    /// Those behind the client of an open finding may be known only after it opened: then it is completed.
    pub(super) fn identify(
        &mut self,
        behind: impl Fn(&Subject) -> Behind,
        complete: impl Fn(Details, FindingId, &Subject, &Behind) -> Details,
    ) {
        let nobody = |finding: &Finding| finding.behind.is_nobody() && finding.subject.client.is_some();
        let open = self.open.iter_mut().map(|(_, entry)| &mut entry.finding);
        for finding in open.filter(|finding| nobody(finding)) {
            let behind = behind(&finding.subject);
            if !behind.is_nobody() {
                finding.details = complete(finding.details.clone(), finding.id, &finding.subject, &behind);
                finding.behind = behind;
            }
        }
    }

    pub(super) fn hold_back(&mut self, note: HeldBack) {
        let key = (note.id, note.subject);
        if self.open.contains_key(&key) {
            return;
        }
        self.held_back.remove(&key);
        self.held_back.insert(key, note);
        if self.held_back.len() > MAX_PAST {
            self.held_back.pop_front();
        }
    }

    /// Closes what had no evidence for long.
    pub(super) fn tick(&mut self, now: Timestamp, emit: &mut dyn FnMut(&Change<'_>)) {
        // Evidence may be older than the time when it was put down, so the order is only nearly that of `last_seen`.
        let close_after = self.close_after;
        let is_over = |entry: &Entry| now.since(entry.finding.last_seen) >= close_after;
        let over: Vec<Key> =
            self.open.iter().filter(|(_, entry)| is_over(entry)).map(|(key, _)| *key).collect();
        for key in over {
            self.close(&key, now, emit);
        }
    }

    /// Forgets a closed finding, of the mildest the oldest: a report and its exit status rest on the worst.
    fn forget_mildest(&mut self) {
        let mildest = self.closed.iter().enumerate().min_by_key(|(_, finding)| finding.severity);
        if let Some(place) = mildest.map(|(place, _)| place) {
            self.closed.remove(place);
        }
    }

    /// Closes all that is open, at the end of a clock.
    pub(super) fn close_all(&mut self, now: Timestamp, emit: &mut dyn FnMut(&Change<'_>)) {
        while let Some(key) = self.open.front().map(|(key, _)| *key) {
            self.close(&key, now, emit);
        }
    }

    fn close(&mut self, key: &Key, now: Timestamp, emit: &mut dyn FnMut(&Change<'_>)) {
        let Some(Entry { mut finding, .. }) = self.open.remove(key) else { return };
        self.severities[finding.severity as usize] -= 1;
        (finding.changed, finding.closed) = (now, Some(now));
        emit(&Change::Closed(&finding));
        self.closed.push_back(finding);
        if self.closed.len() > MAX_PAST {
            self.forget_mildest();
        }
    }
}

/// Two findings of one rule and subject as one, with the words of the worse and surer one.
fn joined(earlier: Finding, later: Finding) -> Finding {
    let worse = (earlier.severity, earlier.confidence) > (later.severity, later.confidence);
    Finding {
        severity: earlier.severity.max(later.severity),
        confidence: earlier.confidence.max(later.confidence),
        first_seen: earlier.first_seen.min(later.first_seen),
        last_seen: earlier.last_seen.max(later.last_seen),
        count: earlier.count + later.count,
        behind: if later.behind.is_nobody() { earlier.behind } else { later.behind },
        details: if worse { earlier.details } else { later.details },
        ..later
    }
}

/// High before warning, sure before unsure, many before few.
fn by_harm(a: &Finding, b: &Finding) -> Ordering {
    (b.severity, b.confidence, b.count, a.id, a.subject).cmp(&(
        a.severity,
        a.confidence,
        a.count,
        b.id,
        b.subject,
    ))
}
