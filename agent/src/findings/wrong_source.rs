//! `wrong-source` (facts.md section 3.8, P8).
//!
//! A response with the ID and port of an open query, from an address or port that was not asked (RFC 2181 section 4.1, RFC
//! 5452 section 9.1). Silent: once the query has its right answer, as behind a NAT that is seen from both sides, or where
//! any of several servers may answer.

use super::example::{of_query, of_stray};
use super::incidents::Incidents;
use super::remedies::{remedy, text};
use super::{
    Confidence, Desk, Details, Detector, FindingId, RemedyPlace, Severity, Sighting, Strength, Subject,
};
use crate::correlate::fallback::Asked;
use crate::correlate::{Event, OrphanReason, Stray};
use crate::dns::Question;
use crate::packet::Transport;

/// The rule.
#[derive(Default)]
pub(super) struct WrongSource {
    incidents: Incidents,
}

impl Detector for WrongSource {
    fn id(&self) -> FindingId {
        FindingId::WrongSource
    }

    fn event(&mut self, event: &Event, desk: &mut Desk<'_>) {
        let Event::Orphan { stray, reason: OrphanReason::NoQuery } = event else { return };
        let Stray { parties, response, time, echo } = stray;
        // What came to a pod may have passed the wire of a server on the same node before; it is no second sighting.
        let at_pod = parties.place.is_some_and(|place| place.is_of_workload());
        let judged = parties.at_client() && parties.transport == Transport::Udp && (at_pod || !echo);
        let Some(question) = response.question.as_ref().filter(|_| judged) else { return };
        let asked = desk.context.ground.fallbacks.asked(parties.client, response.header.id, *time);
        let Some(asked) = asked.filter(|asked| !asked.answered && asked.server != parties.server) else {
            return;
        };
        let subject = Subject::client_of(parties.client_id(), asked.server.ip());
        let repetition = desk.context.thresholds.repetition;
        let unit = repetition.unit(false);
        let times = self.incidents.add(*time, subject, &question.qname, unit, &repetition);
        let (severity, confidence) = match times.strength {
            Strength::Single => (Severity::Low, Confidence::Low),
            Strength::Repeated => (Severity::High, Confidence::High),
        };
        let sighting = Sighting {
            id: self.id(),
            subject,
            severity,
            confidence,
            seen: (asked.at, *time),
            count: u64::from(times.new),
        };
        desk.raise(sighting, || details(stray, question, &asked));
    }
}

fn details(stray: &Stray, question: &Question, asked: &Asked) -> Details {
    let Stray { parties, response, .. } = stray;
    let summary = format!(
        "{} asks {} for {} and is answered by {}: it must drop that, and waits until it gives up",
        parties.client.ip(),
        asked.server,
        question.qname,
        parties.server
    );
    let because = vec![
        format!(
            "the response has the ID and the port of the open query to {}, and its question",
            asked.server
        ),
        "a response must come from where the query went (RFC 2181 section 4.1)".to_owned(),
    ];
    let numbers = vec![
        text("qname", &question.qname),
        text("asked", asked.server),
        text("answered_by", parties.server),
    ];
    let query = of_query(parties, asked, question, response.header.id);
    let bind = format!("interface: {}", asked.server.ip());
    let remedies = vec![
        remedy(
            "Let clients ask the address that the server answers from",
            RemedyPlace::ResolvConf,
            &[&format!("nameserver {}", parties.server.ip())],
        ),
        remedy(
            "Or let the server listen on the address that is asked, not on all; unbound:",
            RemedyPlace::Server,
            &["server:", &bind],
        ),
    ];
    Details { summary, because, numbers, example: vec![query, of_stray(stray)], remedies }
}

#[cfg(test)]
mod tests;
