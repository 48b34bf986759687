//! What was found: one finding per rule and subject, open until no evidence comes for long.

use std::collections::VecDeque;
use std::time::Duration;

use hashlink::LinkedHashMap;

use super::{Change, Details, Finding, FindingId, Sighting, Subject};
use crate::capture::frame::Timestamp;

/// Findings that are open at once, at most; the one whose evidence is oldest gives way.
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

/// A finding, and when its details were written.
struct Entry {
    finding: Finding,
    written: Timestamp,
}

/// What was found and what was held back. Bounded.
pub struct Ledger {
    close_after: Duration,
    /// In the order of their last evidence.
    open: LinkedHashMap<(FindingId, Subject), Entry>,
    closed: VecDeque<Finding>,
    held_back: VecDeque<(Timestamp, HeldBack)>,
    /// Findings that gave way for want of room.
    overflow: u64,
}

impl Ledger {
    /// An empty one; a finding closes after `close_after` without evidence.
    pub(super) fn new(close_after: Duration) -> Self {
        Self {
            close_after,
            open: LinkedHashMap::new(),
            closed: VecDeque::new(),
            held_back: VecDeque::new(),
            overflow: 0,
        }
    }

    /// The open findings, the worst and surest first.
    pub fn open(&self) -> Vec<&Finding> {
        let mut findings: Vec<&Finding> = self.open.values().map(|entry| &entry.finding).collect();
        sort_by_harm(&mut findings);
        findings
    }

    /// All findings, open and closed, the worst and surest first.
    pub fn all(&self) -> Vec<&Finding> {
        let open = self.open.values().map(|entry| &entry.finding);
        let mut findings: Vec<&Finding> = open.chain(&self.closed).collect();
        sort_by_harm(&mut findings);
        findings
    }

    /// What was held back, the oldest first.
    pub fn held_back(&self) -> impl Iterator<Item = &HeldBack> {
        self.held_back.iter().map(|(_, note)| note)
    }

    /// Findings that gave way for want of room.
    pub fn overflow(&self) -> u64 {
        self.overflow
    }

    pub(super) fn raise(
        &mut self,
        now: Timestamp,
        sighting: Sighting,
        details: impl FnOnce() -> Details,
        emit: &mut dyn FnMut(&Change<'_>),
    ) {
        let Sighting { id, subject, severity, confidence, seen: (first, last), count } = sighting;
        // What was held back of it is found now.
        self.held_back.retain(|(_, note)| (note.id, note.subject) != (id, subject));
        let Some(entry) = self.open.to_back(&(id, subject)) else {
            let (first_seen, last_seen) = (first, last);
            let details = details();
            let finding = Finding {
                id,
                subject,
                severity,
                confidence,
                first_seen,
                last_seen,
                count,
                details,
                closed: None,
            };
            emit(&Change::Opened(&finding));
            self.open.insert((id, subject), Entry { finding, written: now });
            if self.open.len() > MAX_OPEN {
                self.open.pop_front();
                self.overflow += 1;
            }
            return;
        };
        let finding = &mut entry.finding;
        finding.first_seen = finding.first_seen.min(first);
        finding.last_seen = finding.last_seen.max(last);
        finding.count += count;
        let worse = severity > finding.severity || confidence > finding.confidence;
        finding.severity = finding.severity.max(severity);
        finding.confidence = finding.confidence.max(confidence);
        if worse || now.since(entry.written) >= REWRITE {
            entry.written = now;
            finding.details = details();
        }
        if worse {
            emit(&Change::Changed(finding));
        }
    }

    pub(super) fn hold_back(&mut self, now: Timestamp, note: HeldBack) {
        let same =
            |other: &&mut (Timestamp, HeldBack)| (other.1.id, other.1.subject) == (note.id, note.subject);
        if let Some(known) = self.held_back.iter_mut().find(same) {
            *known = (now, note);
            return;
        }
        self.held_back.push_back((now, note));
        if self.held_back.len() > MAX_PAST {
            self.held_back.pop_front();
        }
    }

    /// Closes what had no evidence for long.
    pub(super) fn tick(&mut self, now: Timestamp, emit: &mut dyn FnMut(&Change<'_>)) {
        // Evidence may be older than the time when it was put down, so the order is only nearly that of `last_seen`.
        let close_after = self.close_after;
        let is_over = |entry: &Entry| now.since(entry.finding.last_seen) >= close_after;
        let over: Vec<_> =
            self.open.iter().filter(|(_, entry)| is_over(entry)).map(|(key, _)| *key).collect();
        for key in over {
            let Some(Entry { mut finding, .. }) = self.open.remove(&key) else { continue };
            finding.closed = Some(now);
            emit(&Change::Closed(&finding));
            self.closed.push_back(finding);
            if self.closed.len() > MAX_PAST {
                self.closed.pop_front();
            }
        }
    }
}

/// High before warning, sure before unsure, many before few.
fn sort_by_harm(findings: &mut [&Finding]) {
    findings.sort_by(|a, b| {
        (b.severity, b.confidence, b.count, a.id, a.subject).cmp(&(
            a.severity,
            a.confidence,
            a.count,
            b.id,
            b.subject,
        ))
    });
}
