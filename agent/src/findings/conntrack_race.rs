//! `conntrack-race` (facts.md section 3.6, P1).
//!
//! A and AAAA leave one port together, one is answered at once, the other only after it was sent again: by musl 2.5 s
//! later, by glibc 5 s later. Plain loss makes the same shape: a query that was seen elsewhere on its way was not lost by a
//! race, and where queries without a pair are lost too, or the first half as often as the second, it is a note. Silent: both lost, the repeat lost too, separate ports, one after the other, addresses that nothing
//! translates; and a slow server, which answers the first copy late and then the second one too: that is waited for.

mod plain_loss;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hashlink::LinkedHashMap;

use self::plain_loss::PlainLoss;
use super::example::of_asks;
use super::remedies::{count, dns_option, remedy, text};
use super::thresholds::Race;
use super::{
    Confidence, Desk, Details, Detector, FindingId, Measure, Quantity, Remedy, RemedyPlace, Severity,
    Sighting, Subject,
};
use crate::capture::frame::Timestamp;
use crate::correlate::fingerprint::Stub;
use crate::correlate::lookups::{Ask, Candidate, Lookup};
use crate::correlate::{Event, OrphanReason, Parties};
use crate::packet::Transport;

/// Sightings that wait for a second answer, at most.
const MAX_WAITING: usize = 256;
/// Repeats that are kept at most.
const MAX_REPEATS: usize = 256;
/// The VPC resolver (facts.md section 4).
const VPC_RESOLVER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253);
/// Clients and servers that are kept at most.
const MAX_PAIRS: usize = 1024;
/// Times of one pair that are kept at most.
const MAX_TIMES: usize = 32;

/// A pair that lost one half.
struct Sighted {
    subject: Subject,
    /// Whose query was lost, and its ID.
    client: SocketAddr,
    server: SocketAddr,
    id: u16,
    /// The ID of the other half, while it is to be seen whether that is asked again too: glibc does.
    other: Option<u16>,
    /// The lost half was the first of the two.
    first_half: bool,
    /// The other half was seen at another interface on its way, and the lost one was not.
    proven: bool,
    /// When the lookup began, and when the lost half was answered.
    seen: (Timestamp, Timestamp),
    details: Details,
}

/// A query that was sent again.
struct Repeat {
    client: SocketAddr,
    server: SocketAddr,
    id: u16,
    at: Timestamp,
}

/// The rule.
#[derive(Default)]
pub(super) struct ConntrackRace {
    /// The latest.
    repeats: VecDeque<Repeat>,
    waiting: VecDeque<Sighted>,
    /// When it happened, by client and server.
    times: LinkedHashMap<Subject, VecDeque<Timestamp>>,
    /// What else was lost on the way to each server.
    losses: PlainLoss,
}

/// A lost half: the query, how long the client waited before it was sent again, and when it was answered.
struct Lost<'a> {
    ask: &'a Ask,
    /// The half that was answered at once.
    half: &'a Ask,
    waited: Duration,
    answered: Timestamp,
    /// The ID of the other half, where that is to be asked again too.
    other: Option<u16>,
}

/// Is it the other type from the same port at the same moment, and answered before anything was sent again?
fn is_other_half(ask: &Ask, other: &Ask, race: &Race) -> bool {
    let together = ask.sent.since(other.sent).max(other.sent.since(ask.sent)) < race.pair;
    let same =
        (ask.client_port, ask.server, ask.transport) == (other.client_port, other.server, other.transport);
    let answered = other.answer().is_some_and(|answer| answer.at.since(other.sent) < race.at_once);
    ask.qtype != other.qtype && together && same && answered && other.again.is_empty()
}

/// No Service address is one of these: what goes there is not translated (facts.md section 3.6).
fn is_translated(server: IpAddr) -> bool {
    match server {
        IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_loopback(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local() && !ip.is_loopback() && ip != VPC_RESOLVER,
    }
}

/// An address that a Service or a pod may have (RFC 1918, RFC 6598, RFC 4193).
fn is_private(server: IpAddr) -> bool {
    match server {
        IpAddr::V4(ip) => ip.is_private() || matches!(ip.octets(), [100, 64..=127, ..]),
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

impl Detector for ConntrackRace {
    fn id(&self) -> FindingId {
        FindingId::ConntrackRace
    }

    fn lookup(&mut self, lookup: &Lookup, desk: &mut Desk<'_>) {
        let race = desk.context.thresholds.race;
        for candidate in &lookup.candidates {
            if candidate.asks.iter().all(|ask| ask.again.is_empty()) {
                continue;
            }
            let lost = self.lost(lookup.client.address, candidate, &race);
            let Some(lost) = lost.filter(|_| lookup.fingerprint.stub != Stub::CAres) else {
                self.losses.other(candidate, desk.context.thresholds.repetition.within);
                continue;
            };
            let elsewhere =
                |ask: &Ask| desk.context.ground.fallbacks.seen_elsewhere(ask.id, ask.qtype, ask.sent);
            if elsewhere(lost.ask) {
                // It got through: its response was lost.
                continue;
            }
            if self.waiting.len() >= MAX_WAITING {
                self.waiting.pop_front();
            }
            let proven = elsewhere(lost.half);
            self.waiting.push_back(Sighted {
                subject: Subject::client_of(lookup.client, lost.ask.server.ip()),
                client: SocketAddr::new(lookup.client.address, lost.ask.client_port),
                server: lost.ask.server,
                id: lost.ask.id,
                other: lost.other,
                first_half: lost.ask.sent < lost.half.sent,
                proven,
                seen: (lost.ask.sent, lost.answered),
                details: details(lookup, candidate, &lost, proven),
            });
        }
    }

    fn event(&mut self, event: &Event, _desk: &mut Desk<'_>) {
        match event {
            // Both copies arrived: the server was slow.
            Event::Orphan { stray, reason: OrphanReason::Duplicate } => {
                let (parties, id) = (&stray.parties, stray.response.header.id);
                self.waiting.retain(|sighted| {
                    (sighted.client, sighted.server, sighted.id) != (parties.client, parties.server, id)
                });
            }
            Event::Retransmitted(sent) if sent.parties.at_client() && !sent.echo => {
                if self.repeats.len() >= MAX_REPEATS {
                    self.repeats.pop_front();
                }
                let (Parties { client, server, .. }, id) = (sent.parties, sent.header.id);
                for sighted in &mut self.waiting {
                    sighted
                        .other
                        .take_if(|other| (sighted.client, sighted.server, *other) == (client, server, id));
                }
                self.repeats.push_back(Repeat { client, server, id, at: sent.time });
            }
            _ => {}
        }
    }

    fn second(&mut self, desk: &mut Desk<'_>) {
        let (now, wait) = (desk.context.now, desk.context.thresholds.race.second_answer);
        while let Some(sighted) = self.waiting.pop_front_if(|sighted| now.since(sighted.seen.1) >= wait) {
            self.happened(sighted, desk);
        }
    }

    fn end(&mut self, desk: &mut Desk<'_>) {
        // A second answer is not seen any more; that the first was as quick as the server is must do.
        for sighted in std::mem::take(&mut self.waiting) {
            self.happened(sighted, desk);
        }
    }
}

impl ConntrackRace {
    /// The half that was lost, if exactly one was.
    fn lost<'a>(&self, client: IpAddr, candidate: &'a Candidate, race: &Race) -> Option<Lost<'a>> {
        candidate.asks.iter().find_map(|ask| {
            let [again] = ask.again.as_slice() else { return None };
            let answer = ask.answer().filter(|answer| !answer.late && answer.at >= *again)?;
            let waited = again.since(ask.sent);
            let other = candidate.asks.iter().find(|other| is_other_half(ask, other, race))?;
            let within = |(from, until): (Duration, Duration)| waited >= from && waited <= until;
            let musl = within(race.musl);
            let glibc = within(race.glibc);
            let other_id = glibc.then_some(other.id).filter(|_| !self.is_repeated(client, other, race));
            // As quick as the server is: a slow one answers the first copy at a time that has nothing to do with the second.
            let usual = other.answer().map_or(Duration::ZERO, |answer| answer.at.since(other.sent));
            let prompt = answer.at.since(*again) <= race.prompt.max(usual * 2);
            (ask.transport == Transport::Udp && is_translated(ask.server.ip()) && (musl || glibc) && prompt)
                .then_some(Lost { ask, half: other, waited, answered: answer.at, other: other_id })
        })
    }

    /// glibc asks for both again, one after the other, though one was answered (glibc send_dg; facts.md section 1.3). c-ares
    /// repeats only what was lost. Has the half that was answered been repeated already?
    fn is_repeated(&self, client: IpAddr, other: &Ask, race: &Race) -> bool {
        let near = SocketAddr::new(client, other.client_port);
        self.repeats.iter().any(|repeat| {
            let same = (repeat.client, repeat.server, repeat.id) == (near, other.server, other.id);
            same && repeat.at.since(other.sent) >= race.glibc.0
        })
    }

    fn happened(&mut self, sighted: Sighted, desk: &mut Desk<'_>) {
        let Sighted { subject, server, other, first_half, proven, seen, mut details, .. } = sighted;
        if other.is_some() {
            return;
        }
        let thresholds = desk.context.thresholds;
        let within = thresholds.repetition.within;
        self.losses.half(server.ip(), first_half, seen.1, within);
        if self.times.to_back(&subject).is_none() && self.times.len() >= MAX_PAIRS {
            self.times.pop_front();
        }
        let times = self.times.entry(subject).or_insert_with(VecDeque::new);
        while times.front().is_some_and(|at| seen.1.since(*at) > thresholds.repetition.within)
            || times.len() >= MAX_TIMES
        {
            times.pop_front();
        }
        times.push_back(seen.1);
        let (events, first) = (times.len() as u64, times.front().copied().unwrap_or(seen.0));
        if events < thresholds.race.events {
            return;
        }
        // An answer that was not captured makes the same shape.
        let interface = subject.client.and_then(|client| client.interface);
        let lost = desk.lost_at(interface, first, seen.1);
        if events < thresholds.race.events + lost {
            return desk.hold_back(FindingId::ConntrackRace, subject, events, lost);
        }
        let doubt = self.losses.doubt(server.ip(), seen.1, within);
        let (severity, confidence) = match doubt {
            None if proven => (Severity::High, Confidence::High),
            None if is_private(server.ip()) => (Severity::High, Confidence::Medium),
            _ => (Severity::Low, Confidence::Low),
        };
        details.because.extend(doubt.map(str::to_owned));
        if !is_private(server.ip()) {
            details
                .because
                .push("no Service has such a public address: only masquerading can race here".to_owned());
        }
        details.numbers.push(count("events_within_a_minute", events));
        let id = FindingId::ConntrackRace;
        // The first ones were not told before.
        let told = desk.is_open(id, subject);
        let count = if told { 1 } else { events };
        let seen = if told { seen } else { (first.min(seen.0), seen.1) };
        desk.raise(Sighting { id, subject, severity, confidence, seen, count }, || details);
    }
}

fn details(lookup: &Lookup, candidate: &Candidate, lost: &Lost<'_>, proven: bool) -> Details {
    let Lost { ask, waited, answered, .. } = lost;
    let seconds = waited.as_secs_f64();
    let summary = format!(
        "{} waits {seconds:.1} s for {}: of A and AAAA to {} one is lost on its way and answered when sent again",
        lookup.client.address,
        candidate.name,
        ask.server.ip()
    );
    let because = vec![
        "A and AAAA left one port within 1 ms, and the other one was answered at once".to_owned(),
        format!("{} was sent again after {seconds:.3} s and answered {} ms later", ask.qtype, {
            answered.since(ask.last_sent()).as_millis()
        }),
        if proven {
            "the other half was seen at another interface on its way, and this query was not: it was lost in between"
        } else {
            "no second answer came: the query was lost, or its response"
        }
        .to_owned(),
        "two packets of one new flow race for a conntrack entry where the Service address is translated, and the loser is dropped \
         (kubernetes#56903); `conntrack -S` counts it as insert_failed"
            .to_owned(),
    ];
    let numbers = vec![
        text("qname", &candidate.name),
        text("lost_qtype", ask.qtype),
        Measure { name: "delay", value: Quantity::Time(*waited) },
    ];
    let example = of_asks(lookup, candidate.asks.iter().map(|ask| (&candidate.name, ask)));
    Details { summary, because, numbers, example, remedies: remedies() }
}

/// In the order of facts.md.
fn remedies() -> Vec<Remedy> {
    vec![
        remedy(
            "Run a kernel that resolves clashing entries; see whether insert_failed grows",
            RemedyPlace::Node,
            &["conntrack -S"],
        ),
        remedy(
            "Run NodeLocal DNSCache: it is reached without conntrack and asks upstream over TCP",
            RemedyPlace::Node,
            &["kubectl apply -f nodelocaldns.yaml"],
        ),
        dns_option(
            "With glibc: use a port of its own for each query (musl ignores this)",
            "single-request-reopen",
            None,
        ),
        remedy("With glibc: ask over TCP", RemedyPlace::ResolvConf, &["options use-vc"]),
        remedy(
            "Run one CoreDNS on each node and keep queries on it: then both packets of a pair go to the same one",
            RemedyPlace::Node,
            &[
                "kubectl -n kube-system patch service kube-dns -p '{\"spec\":{\"internalTrafficPolicy\":\"Local\"}}'",
            ],
        ),
    ]
}

#[cfg(test)]
mod tests;
