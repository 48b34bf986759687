//! `fragmented` (facts.md section 3.7, P5).
//!
//! Responses over UDP come in fragments: what a firewall or a tunnel drops of them is lost without a word (RFC 9715). Known
//! by the fragments themselves, not by a length. Worse where not all of a response's fragments are seen.

use super::example::of_transaction;
use super::incidents::Incidents;
use super::remedies::{count, remedy, text};
use super::{
    Confidence, Desk, Details, Detector, FindingId, RemedyPlace, Severity, Sighting, Strength, Subject,
};
use crate::correlate::{Event, Outcome, Transaction};
use crate::dns::{Question, Response};

/// The rule.
#[derive(Default)]
pub(super) struct Fragmented {
    whole: Incidents,
    lost: Incidents,
}

impl Detector for Fragmented {
    fn id(&self) -> FindingId {
        FindingId::Fragmented
    }

    fn event(&mut self, event: &Event, desk: &mut Desk<'_>) {
        let Event::Closed(transaction) = event else { return };
        let Transaction { parties, query, first_sent, echo, outcome, .. } = transaction;
        let (Outcome::Answered { response, .. }, Some(question)) = (outcome, &query.question) else { return };
        if !response.fragmented || !parties.at_client() || *echo {
            return;
        }
        let subject = Subject::client_of(parties.client_id(), parties.server.ip());
        let (repetition, ended) = (desk.context.thresholds.repetition, transaction.ended());
        let unit = repetition.unit(query.edns.is_some());
        let (severity, confidence, new) = if response.partial {
            let times = self.lost.add(ended, subject, &question.qname, unit, &repetition);
            match times.against_losses(self.id(), subject, ended, desk) {
                None => return,
                Some(Strength::Single) => (Severity::Low, Confidence::Low, times.new),
                Some(Strength::Repeated) => (Severity::High, Confidence::Medium, times.new),
            }
        } else {
            let times = self.whole.add(ended, subject, &question.qname, unit, &repetition);
            match times.strength {
                Strength::Single => (Severity::Low, Confidence::Low, times.new),
                Strength::Repeated => (Severity::Low, Confidence::High, times.new),
            }
        };
        let (id, count, seen) = (self.id(), u64::from(new), (*first_sent, ended));
        desk.raise(Sighting { id, subject, severity, confidence, seen, count }, || {
            details(transaction, question, response)
        });
    }
}

fn details(transaction: &Transaction, question: &Question, response: &Response) -> Details {
    let Transaction { parties, query, .. } = transaction;
    let fate = if response.partial { "and not all arrive" } else { "which many networks drop" };
    let summary = format!(
        "{} answers {} for {} with {} bytes over UDP in fragments, {fate}",
        parties.server.ip(),
        parties.client.ip(),
        question.qname,
        response.length
    );
    let offered = query.edns.map_or(512, |edns| edns.udp_payload_size);
    let because = vec![
        format!("the response of {} bytes came in several IP packets", response.length),
        format!("the query offered {offered} bytes by EDNS, more than fits into one packet of the path"),
    ];
    let numbers = vec![
        text("qname", &question.qname),
        count("response_bytes", response.length),
        count("offered_bytes", offered),
    ];
    let remedies = vec![
        remedy(
            "Let the server send no more than fits into one packet everywhere (DNS flag day 2020: 1232)",
            RemedyPlace::Corefile,
            &["bufsize 1232"],
        ),
        remedy(
            "The same with unbound",
            RemedyPlace::Server,
            &["server:", "edns-buffer-size: 1232", "max-udp-size: 1232"],
        ),
        remedy("Allow TCP/53: larger answers go that way then", RemedyPlace::Firewall, &[]),
    ];
    Details { summary, because, numbers, example: of_transaction(transaction), remedies }
}

#[cfg(test)]
mod tests;
