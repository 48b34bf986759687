//! `tcp-blocked` (facts.md section 3.1 variant d, and P6).
//!
//! A connection to port 53 is answered with RST, or not at all within 3 s, whether a truncated response led to it or the
//! client asks over TCP alone. Silent: TCP that works, however slowly.

use std::collections::VecDeque;
use std::net::SocketAddr;

use hashlink::LinkedHashMap;

use super::evidence::words;
use super::example::of_fallback;
use super::incidents::{Incidents, Times, Unit};
use super::remedies::{allow_tcp, count, text};
use super::thresholds::Repetition;
use super::{
    Confidence, Desk, Details, Detector, FindingId, Packet, Severity, Sighting, Strength, Subject, Thresholds,
};
use crate::correlate::fallback::{Attempt, Fallback, Obstacle, Then};
use crate::dns::Name;
use crate::packet::Transport;

/// Clients and servers that are kept at most.
const MAX_PAIRS: usize = 1024;
/// Connections of one pair that are kept at most, to recognise those that go on.
const MAX_SILENT: usize = 8;

/// What is known of a client and a server between two connections.
#[derive(Default)]
struct Pair {
    /// The last truncated response that led to a connection, and how often it happened with that one.
    truncated: Option<(Fallback, Times)>,
    /// Lookups that came to nothing since the last connection that is told.
    untold: u64,
    /// Ports of the last connections that truncated responses led to, and whose names those were.
    silent: VecDeque<(u16, Name)>,
}

/// The rule.
#[derive(Default)]
pub(super) struct TcpBlocked {
    pairs: LinkedHashMap<Subject, Pair>,
    /// By the name of the truncated response; all lookups over TCP alone have the root's.
    incidents: Incidents,
}

impl TcpBlocked {
    fn pair(&mut self, subject: Subject) -> &mut Pair {
        if self.pairs.to_back(&subject).is_none() && self.pairs.len() >= MAX_PAIRS {
            self.pairs.pop_front();
        }
        self.pairs.entry(subject).or_insert_with(Pair::default)
    }

    /// How often it happened, and how many of these times are new. A connection tells no name: a truncated response that
    /// led to it does, and each name is a lookup of its own, however soon one follows the other. A connection that goes on
    /// without an answer is no chance any more: each further silence counts for its name again.
    fn times(&mut self, attempt: &mut Attempt, subject: Subject, thresholds: &Thresholds) -> (Times, u64) {
        let pair = self.pair(subject);
        let untold = std::mem::take(&mut pair.untold);
        let earlier = pair.silent.iter().find(|(port, _)| *port == attempt.client_port);
        let name = match (earlier, &pair.truncated) {
            (Some((_, name)), _) => {
                attempt.after_truncation = true;
                name.clone()
            }
            (None, Some((fallback, times))) if attempt.after_truncation => {
                let times = *times;
                if pair.silent.len() >= MAX_SILENT {
                    pair.silent.pop_front();
                }
                pair.silent.push_back((attempt.client_port, fallback.question.qname.clone()));
                return (times, untold);
            }
            _ => Name::root(),
        };
        let unit = Unit::Message(thresholds.tcp.same_lookup);
        let times = self.incidents.add(attempt.began, subject, &name, unit, &thresholds.repetition);
        (times, untold + u64::from(times.new))
    }
}

impl Detector for TcpBlocked {
    fn id(&self) -> FindingId {
        FindingId::TcpBlocked
    }

    fn fallback(&mut self, fallback: &Fallback, desk: &mut Desk<'_>) {
        let subject = Subject::client_of(fallback.client, fallback.server.ip());
        match fallback.then {
            Then::Blocked(_) => {
                let Repetition { anew, .. } = desk.context.thresholds.repetition;
                let within = desk.context.thresholds.tcp.same_lookup;
                let unit = match fallback.edns {
                    Some(_) => Unit::Anew(within, anew),
                    None => Unit::Message(within),
                };
                let name = &fallback.question.qname;
                let repetition = &desk.context.thresholds.repetition;
                // By the time of the query: responses to A and AAAA may be far apart.
                let times = self.incidents.add(fallback.sent, subject, name, unit, repetition);
                let pair = self.pair(subject);
                pair.untold += u64::from(times.new);
                pair.truncated = Some((fallback.clone(), times));
            }
            // It works now.
            Then::Tcp { .. } => {
                self.pairs.remove(&subject);
                self.incidents.forget(&subject);
            }
            _ => {}
        }
    }

    fn attempt(&mut self, attempt: &Attempt, desk: &mut Desk<'_>) {
        let subject = Subject::client_of(attempt.client, attempt.server.ip());
        let attempt = &mut attempt.clone();
        let (times, count) = self.times(attempt, subject, desk.context.thresholds);
        let strength = match attempt.obstacle {
            Obstacle::Reset => times.strength,
            Obstacle::Silence => {
                // What did not come may have been lost by the capture.
                let until = attempt.began + desk.context.thresholds.tcp.silence;
                let Some(strength) = times.against_losses(self.id(), subject, until, desk) else { return };
                strength
            }
        };
        let (severity, confidence) = judge(attempt, strength);
        let seen = (attempt.began, attempt.began.max(desk.context.now));
        let sighting = Sighting { id: self.id(), subject, severity, confidence, seen, count };
        let thresholds = desk.context.thresholds;
        let truncated = self.pairs.get(&subject).and_then(|pair| pair.truncated.as_ref());
        desk.raise(sighting, || {
            details(attempt, times.count, truncated.map(|(fallback, _)| fallback), thresholds)
        });
    }
}

/// A client with a truncated answer in hand gets nothing; RST leaves no doubt.
fn judge(attempt: &Attempt, strength: Strength) -> (Severity, Confidence) {
    match (strength, attempt.after_truncation, attempt.obstacle) {
        (Strength::Single, ..) => (Severity::Low, Confidence::Low),
        (Strength::Repeated, true, Obstacle::Reset) => (Severity::High, Confidence::High),
        (Strength::Repeated, true, Obstacle::Silence) => (Severity::High, Confidence::High),
        (Strength::Repeated, false, Obstacle::Reset) => (Severity::Warning, Confidence::High),
        (Strength::Repeated, false, Obstacle::Silence) => (Severity::Warning, Confidence::Medium),
    }
}

fn details(attempt: &Attempt, times: u64, truncated: Option<&Fallback>, thresholds: &Thresholds) -> Details {
    let Attempt { client, server, syns, obstacle, after_truncation, .. } = attempt;
    let (does, how) = match obstacle {
        Obstacle::Reset => ("refuses TCP with RST", format!("SYN to {server} was answered with RST")),
        Obstacle::Silence => (
            "does not answer TCP",
            format!("{syns} SYN to {server} without an answer within {}", words(thresholds.tcp.silence)),
        ),
    };
    let harm = if *after_truncation {
        "answers that do not fit into UDP are lost"
    } else {
        "the client asks over TCP and gets nothing"
    };
    let summary = format!("{} cannot reach {} over TCP: it {does}; {harm}", client.address, server.ip());
    let mut because = vec![how];
    if let Some(fallback) = truncated {
        because.push(format!(
            "a response of {} bytes for {} said TC=1 before, so the client had to (RFC 7766 section 5)",
            fallback.length, fallback.question.qname
        ));
    }
    let mut numbers = vec![count("lookups_within_a_minute", times), count("syns", *syns)];
    numbers.extend(truncated.map(|fallback| text("qname", &fallback.question.qname)));
    Details {
        summary,
        because,
        numbers,
        example: example(attempt, truncated, thresholds),
        remedies: allow_tcp(),
    }
}

fn example(attempt: &Attempt, truncated: Option<&Fallback>, thresholds: &Thresholds) -> Vec<Packet> {
    let mut packets: Vec<Packet> =
        truncated.map(|fallback| of_fallback(fallback, thresholds)).unwrap_or_default();
    // What followed is told more exactly here.
    packets.truncate(2);
    let client = SocketAddr::new(attempt.client.address, attempt.client_port);
    let packet = |source, destination, text: String| Packet {
        time: attempt.began,
        source,
        destination,
        transport: Transport::Tcp,
        text,
    };
    packets.push(packet(client, attempt.server, format!("SYN, {} in all", attempt.syns)));
    packets.push(match attempt.obstacle {
        Obstacle::Reset => packet(attempt.server, client, "RST".to_owned()),
        Obstacle::Silence => {
            packet(attempt.server, client, format!("[no answer within {}]", words(thresholds.tcp.silence)))
        }
    });
    packets
}

#[cfg(test)]
mod tests;
