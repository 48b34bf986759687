//! What could not be judged: rules that could not look, and what was still open when the capture ended.
//!
//! Input: what the rules are shown, and [`Ground`]. Output: [`Blind`], one for each rule that saw nothing it could judge,
//! and [`Unfinished`]. Of what is open only the count and the one that waited longest are kept.

use std::net::SocketAddr;
use std::time::Duration;

use super::{FindingId, Findings, Ground, Shown, Thresholds};
use crate::capture::frame::Timestamp;
use crate::correlate::fallback::Then;
use crate::correlate::{ClientId, Event, Outcome};
use crate::dns::Question;

/// A rule that could not look, or not at everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blind {
    /// Which.
    pub id: FindingId,
    /// Why, as words that may stand behind a colon.
    pub reason: String,
}

/// What a rule is shown when it is asked whether it could look.
#[derive(Clone, Copy)]
pub struct Outlook<'a> {
    /// The rooms before the rules.
    pub ground: Ground<'a>,
    /// What is configured.
    pub thresholds: &'a Thresholds,
    /// What was open at the end.
    pub unfinished: &'a Unfinished,
}

/// What was open when the capture ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unfinished {
    /// Queries that waited for a response.
    pub waiting: Open,
    /// Truncated responses of which it was not seen what followed.
    pub truncated: Open,
}

/// How many are open, and the worst.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Open {
    /// How many.
    pub count: u64,
    /// The one that was looked at for longest.
    pub worst: Option<OpenQuery>,
}

/// A query of which the end was not seen.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenQuery {
    /// Who asked.
    pub client: ClientId,
    /// Whom.
    pub server: SocketAddr,
    /// What; `None` where the query has no question.
    pub question: Option<Question>,
    /// From the query, or from its truncated response, to the end of the capture.
    pub waited: Duration,
}

impl Open {
    fn add(&mut self, query: OpenQuery) {
        self.count += 1;
        if self.worst.as_ref().is_none_or(|worst| worst.waited < query.waited) {
            self.worst = Some(query);
        }
    }

    /// `some` where there is one, `many` with the count where there are more; `None` where there is none.
    pub(super) fn told(&self, one: &str, many: &str) -> Option<String> {
        match self.count {
            0 => None,
            1 => Some(one.to_owned()),
            count => Some(format!("{count} {many}")),
        }
    }
}

impl Unfinished {
    /// Is anything open?
    pub fn is_empty(&self) -> bool {
        self.waiting.count == 0 && self.truncated.count == 0
    }

    /// Notes what is shown, if its end was not seen; only from the client's side, so that nothing counts twice.
    pub(super) fn note(&mut self, now: Timestamp, shown: Shown<'_>) {
        match shown {
            Shown::Event(Event::Closed(transaction)) => {
                if let Outcome::Waiting { waited } = transaction.outcome
                    && transaction.parties.at_client()
                    && !transaction.echo
                {
                    self.waiting.add(OpenQuery {
                        client: transaction.parties.client_id(),
                        server: transaction.parties.server,
                        question: transaction.query.question.clone(),
                        waited,
                    });
                }
            }
            Shown::Fallback(fallback) if fallback.then == Then::Unknown => self.truncated.add(OpenQuery {
                client: fallback.client,
                server: fallback.server,
                question: Some(fallback.question.clone()),
                waited: now.since(fallback.truncated),
            }),
            _ => {}
        }
    }
}

impl Findings {
    /// Every rule that could not look, or not at everything, in the order of a report; `queries`: how many were seen.
    pub fn blind(&self, ground: Ground<'_>, queries: u64) -> Vec<Blind> {
        let outlook = Outlook { ground, thresholds: &self.thresholds, unfinished: &self.unfinished };
        let reasons = self.detectors.iter().filter_map(|detector| {
            let reason =
                if queries == 0 { Some("no query was seen".to_owned()) } else { detector.blind(&outlook) };
            Some(Blind { id: detector.id(), reason: reason? })
        });
        reasons.collect()
    }

    /// What was open when the capture ended.
    pub fn unfinished(&self) -> &Unfinished {
        &self.unfinished
    }
}

#[cfg(test)]
mod tests;
