//! `tcp-blocked` (facts.md section 3.1 variant d, and P6).
//!
//! A connection to port 53 is answered with RST, or not at all within 3 s, whether a truncated response led to it or the
//! client asks over TCP alone. Silent: TCP that works, however slowly.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use hashlink::LinkedHashMap;

use super::example::of_fallback;
use super::remedies::{allow_tcp, count, text};
use super::{Confidence, Desk, Details, Detector, FindingId, Packet, Severity, Sighting, Strength, Subject};
use crate::capture::frame::Timestamp;
use crate::correlate::fallback::{Attempt, Fallback, Obstacle, Then};
use crate::packet::Transport;

/// Clients and servers that are kept at most.
const MAX_PAIRS: usize = 1024;
/// Attempts of one pair that are kept at most.
const MAX_ATTEMPTS: usize = 32;
/// Attempts so close together are one lookup's: a connection for A and one for AAAA, the next try of glibc.
const SAME_LOOKUP: Duration = Duration::from_millis(900);

/// What happened between a client and a server.
#[derive(Default)]
struct Pair {
    /// When the attempts began, one per lookup.
    attempts: VecDeque<Timestamp>,
    /// The last truncated response that led to one.
    truncated: Option<Fallback>,
}

/// The rule.
#[derive(Default)]
pub(super) struct TcpBlocked {
    pairs: LinkedHashMap<Subject, Pair>,
}

impl TcpBlocked {
    fn pair(&mut self, subject: Subject) -> &mut Pair {
        if self.pairs.to_back(&subject).is_none() && self.pairs.len() >= MAX_PAIRS {
            self.pairs.pop_front();
        }
        self.pairs.entry(subject).or_insert_with(Pair::default)
    }
}

impl Detector for TcpBlocked {
    fn id(&self) -> FindingId {
        FindingId::TcpBlocked
    }

    fn fallback(&mut self, fallback: &Fallback, _desk: &mut Desk<'_>) {
        let subject = Subject::client_of(fallback.client, fallback.server.ip());
        match fallback.then {
            Then::Blocked(_) => self.pair(subject).truncated = Some(fallback.clone()),
            // It works now.
            Then::Tcp { .. } => drop(self.pairs.remove(&subject)),
            _ => {}
        }
    }

    fn attempt(&mut self, attempt: &Attempt, desk: &mut Desk<'_>) {
        let subject = Subject::client_of(attempt.client, attempt.server.ip());
        let repetition = desk.context.thresholds.repetition;
        let pair = self.pair(subject);
        let new = pair.attempts.back().is_none_or(|last| attempt.began.since(*last) >= SAME_LOOKUP);
        if new {
            if pair.attempts.len() >= MAX_ATTEMPTS {
                pair.attempts.pop_front();
            }
            pair.attempts.push_back(attempt.began);
        }
        while pair.attempts.front().is_some_and(|at| attempt.began.since(*at) > repetition.within) {
            pair.attempts.pop_front();
        }
        let times = pair.attempts.len() as u64;
        let first = pair.attempts.front().copied().unwrap_or(attempt.began);
        let mut left = times;
        if attempt.obstacle == Obstacle::Silence {
            // What did not come may have been lost by the capture.
            let until = attempt.began + desk.context.thresholds.tcp.silence;
            let lost = desk.lost(&attempt.client, first, until);
            left = times.saturating_sub(lost);
            if left == 0 {
                return desk.hold_back(FindingId::TcpBlocked, subject, times, lost);
            }
        }
        let repeated = left >= repetition.of_one_name as u64;
        let strength = if repeated { Strength::Repeated } else { Strength::Single };
        let (severity, confidence) = judge(attempt, strength);
        let seen = (attempt.began, attempt.began.max(desk.context.now));
        let sighting = Sighting {
            id: FindingId::TcpBlocked,
            subject,
            severity,
            confidence,
            seen,
            count: u64::from(new),
        };
        desk.raise(sighting, || details(attempt, times, pair.truncated.as_ref()));
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

fn details(attempt: &Attempt, times: u64, truncated: Option<&Fallback>) -> Details {
    let Attempt { client, server, syns, obstacle, after_truncation, .. } = attempt;
    let (does, how) = match obstacle {
        Obstacle::Reset => ("refuses TCP with RST", format!("SYN to {server} was answered with RST")),
        Obstacle::Silence => {
            ("does not answer TCP", format!("{syns} SYN to {server} without an answer within 3 s"))
        }
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
    let mut numbers = vec![count("attempts_in_60_s", times), count("syns", *syns)];
    numbers.extend(truncated.map(|fallback| text("qname", &fallback.question.qname)));
    Details { summary, because, numbers, example: example(attempt, truncated), remedies: allow_tcp() }
}

fn example(attempt: &Attempt, truncated: Option<&Fallback>) -> Vec<Packet> {
    let mut packets: Vec<Packet> = truncated.map(of_fallback).unwrap_or_default();
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
        Obstacle::Silence => packet(attempt.server, client, "[no answer within 3 s]".to_owned()),
    });
    packets
}

#[cfg(test)]
mod tests;
