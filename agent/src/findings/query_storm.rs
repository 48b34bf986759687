//! `query-storm`: a client asks the same again and again, before the answer that it has is over (facts.md section 3.8, P9).
//!
//! Ten a second for two seconds, or half of the client's queries of a minute. Names with a TTL up to 5 s are meant to be
//! asked often, and a query that was sent again for want of an answer is one ([`Repeat`]).

use std::collections::VecDeque;
use std::time::Duration;

use hashlink::LinkedHashMap;

use super::evidence::{percent, share};
use super::remedies::{count, remedy, text};
use super::{
    Confidence, Desk, Details, Detector, FindingId, Measure, Quantity, Remedy, RemedyPlace, Severity,
    Sighting, Subject,
};
use crate::capture::frame::Timestamp;
use crate::correlate::ClientId;
use crate::correlate::lookups::Lookup;
use crate::correlate::shadow_cache::Repeat;

/// Clients that are followed at most; the one that was silent for longest gives way.
const MAX_CLIENTS: usize = 4096;
/// Notes of one client that are kept at most.
const MAX_NOTES: usize = 256;

/// The rule.
#[derive(Default)]
pub(super) struct QueryStorm {
    clients: LinkedHashMap<ClientId, Client>,
}

/// What one client asked lately.
#[derive(Default)]
struct Client {
    repeats: VecDeque<Repeat>,
    /// Queries of lookups that ended, by the ten seconds in which they did: its number since the epoch, and how many.
    queries: [(u64, u64); 8],
}

/// The slots of [`Client::queries`].
const SLOT: u64 = 10;

impl Detector for QueryStorm {
    fn id(&self) -> FindingId {
        FindingId::QueryStorm
    }

    fn lookup(&mut self, lookup: &Lookup, _desk: &mut Desk<'_>) {
        // Of clients that never repeat themselves nothing is kept.
        if !self.clients.is_empty()
            && let Some(client) = self.clients.get_mut(&lookup.client)
        {
            client.asked(lookup.ended, lookup.queries);
        }
    }

    fn repeat(&mut self, repeat: &Repeat, desk: &mut Desk<'_>) {
        let storm = desk.context.thresholds.storm;
        if self.clients.to_back(&repeat.client).is_none() && self.clients.len() >= MAX_CLIENTS {
            self.clients.pop_front();
        }
        let client = self.clients.entry(repeat.client).or_insert_with(Client::default);
        client.note(repeat, storm.within);
        let often = client.times(repeat.at, storm.span, |other| other.question == repeat.question);
        let of_name =
            client.times(repeat.at, storm.within, |other| other.question.qname == repeat.question.qname);
        let queries = client.queries(repeat.at, storm.within);
        let rate = often >= storm.per_second * storm.span.as_secs();
        let most = of_name >= storm.at_least && queries > 0 && of_name as f64 >= queries as f64 * storm.share;
        if !rate && !most {
            return;
        }
        let span = if rate { storm.span } else { storm.within };
        let sighting = Sighting {
            id: FindingId::QueryStorm,
            subject: Subject::client(repeat.client),
            severity: Severity::Low,
            // Many programs may stand behind one address, each asking now and then.
            confidence: Confidence::Medium,
            seen: (repeat.at.before(span), repeat.at),
            count: repeat.times.into(),
        };
        let times = if rate { often } else { of_name };
        desk.raise(sighting, || details(repeat, times, span, (of_name, queries)));
    }
}

impl Client {
    fn asked(&mut self, time: Timestamp, queries: u32) {
        let number = slot_of(time);
        if let Some((slot, sum)) = self.queries.get_mut((number % 8) as usize) {
            if *slot != number {
                (*slot, *sum) = (number, 0);
            }
            *sum += u64::from(queries);
        }
    }

    fn note(&mut self, repeat: &Repeat, within: Duration) {
        while self.repeats.front().is_some_and(|old| repeat.at.since(old.at) > within)
            || self.repeats.len() >= MAX_NOTES
        {
            self.repeats.pop_front();
        }
        self.repeats.push_back(repeat.clone());
    }

    /// Repetitions of that kind within `span` before `now`; those that the first note tells of were before it.
    fn times(&self, now: Timestamp, span: Duration, kind: impl Fn(&Repeat) -> bool) -> u64 {
        let recent = self.repeats.iter().rev().take_while(|repeat| now.since(repeat.at) <= span);
        let (mut sum, mut first) = (0, 0);
        for repeat in recent.filter(|repeat| kind(repeat)) {
            first = u64::from(repeat.times);
            sum += first;
        }
        sum - first
    }

    /// Queries within `span` before `now`, to ten seconds.
    fn queries(&self, now: Timestamp, span: Duration) -> u64 {
        let slots = slot_of(now.before(span))..=slot_of(now);
        self.queries.iter().filter(|(slot, _)| slots.contains(slot)).map(|(_, sum)| sum).sum()
    }
}

fn slot_of(time: Timestamp) -> u64 {
    time.as_nanos() / 1_000_000_000 / SLOT
}

fn details(repeat: &Repeat, times: u64, span: Duration, (of_name, queries): (u64, u64)) -> Details {
    let Repeat { client, question, server, ttl, .. } = repeat;
    let mut because = vec![format!(
        "{times} times within {} s it asked {server} again while an answer was still good; it is good for {ttl} s",
        span.as_secs()
    )];
    if queries > 0 {
        because.push(format!("that name makes {} of its queries", percent(of_name.min(queries), queries)));
    }
    Details {
        summary: format!(
            "Client {} asks for {} {} about {} times a second, though one answer is good for {ttl} s",
            client.address,
            question.qname,
            question.qtype,
            (times as f64 / span.as_secs_f64()).round()
        ),
        because,
        numbers: vec![
            count("repetitions", times),
            Measure { name: "within", value: Quantity::Time(span) },
            Measure { name: "ttl", value: Quantity::Time(Duration::from_secs((*ttl).into())) },
            share("share_of_queries", of_name.min(queries), queries),
            text("name", question.qname.to_string()),
        ],
        example: Vec::new(),
        remedies: remedies(),
    }
}

/// facts.md section 3.8, P9.
fn remedies() -> Vec<Remedy> {
    vec![
        remedy(
            "Keep connections open (keep-alive, a pool): then there is nothing to look up",
            RemedyPlace::Application,
            &[],
        ),
        remedy(
            "Let the application or its JVM keep answers for some seconds",
            RemedyPlace::Application,
            &["networkaddress.cache.ttl=30"],
        ),
        remedy(
            "Put a cache before the resolver: nscd in the container, NodeLocal DNSCache on the node",
            RemedyPlace::Node,
            &[],
        ),
    ]
}

#[cfg(test)]
mod tests;
