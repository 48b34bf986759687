//! `late-reply` (facts.md section 3.8, P12).
//!
//! A response that comes after its client has stopped waiting: after the query was given up; more than 5 s after its last
//! send; after a repeat, which gets an answer of its own. Where the repeat has the same ID nobody knows which copy an
//! answer is for, so that a repeat that is answered at once is no sign (the first may have been lost). Silent: AAAA before A.

use std::time::Duration;

use hashlink::LinkedHashMap;

use super::example::{of_asks, of_stray, of_transaction};
use super::incidents::Incidents;
use super::remedies::{remedy, text};
use super::thresholds::Lateness;
use super::{
    Confidence, Desk, Details, Detector, FindingId, Measure, Packet, Quantity, RemedyPlace, Severity,
    Sighting, Strength, Subject,
};
use crate::capture::frame::Timestamp;
use crate::correlate::lookups::{Ask, Candidate, Lookup};
use crate::correlate::{Event, OrphanReason, Outcome, Parties, Transaction};
use crate::dns::Name;
use crate::packet::Transport;

/// Repeated queries that were answered which are remembered at most.
const MAX_REPEATED: usize = 1024;
/// A second answer is looked for this long.
const SECOND_ANSWER: Duration = Duration::from_secs(10);

/// The rule.
#[derive(Default)]
pub(super) struct LateReply {
    incidents: Incidents,
    /// By client, server and ID.
    repeated: LinkedHashMap<Key, Transaction>,
}

/// What tells a query from others.
type Key = (std::net::SocketAddr, std::net::SocketAddr, u16);

/// A response that came too late.
struct Late<'a> {
    subject: Subject,
    name: &'a Name,
    /// The first send.
    sent: Timestamp,
    at: Timestamp,
    /// The least and the most that the server may have taken.
    took: (Duration, Duration),
    why: &'static str,
}

impl Detector for LateReply {
    fn id(&self) -> FindingId {
        FindingId::LateReply
    }

    fn event(&mut self, event: &Event, desk: &mut Desk<'_>) {
        match event {
            Event::Late { stray, latency } if is_judged(&stray.parties) && !stray.echo => {
                let Some(question) = &stray.response.question else { return };
                let late = Late {
                    subject: subject(&stray.parties),
                    name: &question.qname,
                    sent: stray.time.before(*latency),
                    at: stray.time,
                    took: (*latency, *latency),
                    why: "the response came when nobody waits any more",
                };
                self.found(&late, desk, || vec![of_stray(stray)]);
            }
            Event::Closed(transaction) if is_judged(&transaction.parties) && !transaction.echo => {
                self.note(transaction);
            }
            Event::Orphan { stray, reason: OrphanReason::Duplicate } if is_judged(&stray.parties) => {
                let key = (stray.parties.client, stray.parties.server, stray.response.header.id);
                let Some(first) = self.repeated.remove(&key) else { return };
                let Some(question) = first.query.question.as_ref() else { return };
                if stray.time.since(first.ended()) > SECOND_ANSWER {
                    return;
                }
                let took = first.ended().since(first.first_sent);
                let late = Late {
                    subject: subject(&stray.parties),
                    name: &question.qname,
                    sent: first.first_sent,
                    at: stray.time,
                    took: (took, took),
                    why: "each copy of the query got its answer: the first came after the client had asked again",
                };
                self.found(&late, desk, || {
                    let mut packets = of_transaction(&first);
                    packets.push(of_stray(stray));
                    packets
                });
            }
            _ => {}
        }
    }

    fn lookup(&mut self, lookup: &Lookup, desk: &mut Desk<'_>) {
        let limits = desk.context.thresholds.late;
        for candidate in &lookup.candidates {
            for ask in &candidate.asks {
                let too_late = too_late(ask, limits).or_else(|| after_next(ask, candidate, limits));
                let Some((at, took, why)) = too_late else { continue };
                let subject = Subject::client_of(lookup.client, ask.server.ip());
                let late = Late { subject, name: &candidate.name, sent: ask.sent, at, took, why };
                self.found(&late, desk, || {
                    of_asks(lookup, candidate.asks.iter().map(|ask| (&candidate.name, ask)))
                });
            }
        }
    }
}

/// When it was answered, how long that took from the last send and from the first, and why it was too late.
type TooLate = (Timestamp, (Duration, Duration), &'static str);

/// musl hears it still until 5 s are over (facts.md section 1.1).
const STILL_HEARD: &str = "the client had asked again, and waited for long after that too";

/// After the client had given up, or long after a repeat.
fn too_late(ask: &Ask, limits: Lateness) -> Option<TooLate> {
    let answer = ask.answer().filter(|answer| !answer.late && ask.transport == Transport::Udp)?;
    let last = ask.again.iter().rev().copied().find(|again| *again <= answer.at).unwrap_or(ask.sent);
    let took = (answer.at.since(last), answer.at.since(ask.sent));
    let why = match () {
        () if took.0 > limits.given_up => "no stub resolver waits longer than 5 s by default",
        () if last > ask.sent && took.0 > limits.after_repeat => STILL_HEARD,
        () => return None,
    };
    Some((answer.at, took, why))
}

/// Go and c-ares ask again from another port, glibc the next server: what comes to the first port then is too late.
fn after_next(ask: &Ask, candidate: &Candidate, limits: Lateness) -> Option<TooLate> {
    let answer = ask.answer().filter(|answer| !answer.late && ask.transport == Transport::Udp)?;
    candidate.asks.iter().find(|next| {
        let elsewhere = next.client_port != ask.client_port || next.server != ask.server;
        let repeat = next.sent.since(ask.last_sent()) >= limits.repeat && next.sent < answer.at;
        next.qtype == ask.qtype && next.transport == Transport::Udp && elsewhere && repeat
    })?;
    let took = answer.at.since(ask.sent);
    Some((answer.at, (took, took), "the client had asked anew from another port"))
}

fn is_judged(parties: &Parties) -> bool {
    parties.at_client() && parties.transport == Transport::Udp
}

fn subject(parties: &Parties) -> Subject {
    Subject::client_of(parties.client_id(), parties.server.ip())
}

impl LateReply {
    /// Keeps a query that was sent again, in case that both copies are answered.
    fn note(&mut self, transaction: &Transaction) {
        let answered = matches!(transaction.outcome, Outcome::Answered { .. });
        if transaction.sends < 2 || !answered {
            return;
        }
        let Transaction { parties, query, .. } = transaction;
        self.repeated.insert((parties.client, parties.server, query.header.id), transaction.clone());
        if self.repeated.len() > MAX_REPEATED {
            self.repeated.pop_front();
        }
    }

    fn found(&mut self, late: &Late<'_>, desk: &mut Desk<'_>, example: impl FnOnce() -> Vec<Packet>) {
        let repetition = desk.context.thresholds.repetition;
        let unit = repetition.unit(false);
        let times = self.incidents.add(late.at, late.subject, late.name, unit, &repetition);
        let (severity, confidence) = match times.strength {
            Strength::Single => (Severity::Low, Confidence::Low),
            Strength::Repeated => (Severity::Warning, Confidence::High),
        };
        let sighting = Sighting {
            id: FindingId::LateReply,
            subject: late.subject,
            severity,
            confidence,
            seen: (late.sent, late.at),
            count: u64::from(times.new),
        };
        desk.raise(sighting, || details(late, example()));
    }
}

fn details(late: &Late<'_>, example: Vec<Packet>) -> Details {
    let Late { subject, name, took: (least, most), why, .. } = late;
    let address = |address: Option<std::net::IpAddr>| address.map(|ip| ip.to_string()).unwrap_or_default();
    let client = address(subject.client.map(|client| client.address));
    let took = match (least.as_secs_f64(), most.as_secs_f64()) {
        (least, most) if least == most => format!("{most:.1} s"),
        (least, most) => format!("{least:.1} to {most:.1} s"),
    };
    let server = address(subject.server);
    // With the same ID from the same port it may have been used.
    let summary = if *why == STILL_HEARD {
        format!("{client} gets its answer for {name} from {server} late, after {took}: it had to ask again")
    } else {
        format!("{client} gets its answer for {name} from {server} too late, after {took}")
    };
    let because = vec![(*why).to_owned()];
    let numbers = vec![
        text("qname", name),
        Measure { name: "took_at_least", value: Quantity::Time(*least) },
        Measure { name: "took_at_most", value: Quantity::Time(*most) },
    ];
    let remedies = vec![
        remedy(
            "Find out what the server waits for: an upstream that is slow or gone; CoreDNS tells by metrics",
            RemedyPlace::Corefile,
            &["prometheus :9153"],
        ),
        remedy(
            "Answer repeated questions from a cache near the client",
            RemedyPlace::Corefile,
            &["cache 30"],
        ),
    ];
    Details { summary, because, numbers, example, remedies }
}

#[cfg(test)]
mod tests;
