//! What a node-local cache would have answered: a bounded model, fed by the real answers and their lifetimes.
//!
//! Input: the transactions that ended, seen at the client. Output: [`CacheSavings`], and [`Repeat`] for a client that asks
//! the same again and again. The model is one cache in front of all clients, which forwards what it does not have, as
//! unbound and NodeLocal DNSCache do:
//!
//! - an answer and a negative answer with an SOA (RFC 2308 section 5) are kept for their lifetime in whole seconds, at most
//!   a day and an hour (unbound: `cache-max-ttl`, `cache-max-negative-ttl`);
//! - a TTL of 0, NODATA without SOA, SERVFAIL and other codes, truncated and partial responses are not kept. Real caches
//!   keep SERVFAIL for some seconds (RFC 9520), so they save a little more;
//! - queries for the same that wait at the same time are one query to the server behind.
//!
//! Two stages are told apart: what is asked of the VPC resolver, and what is asked of others (CoreDNS, a local stub), which
//! may themselves ask the VPC resolver.
//!
//! Deliberately absent: I/O, clocks, judgement.

mod load;
mod table;

use std::net::IpAddr;

use super::linklocal::Services;
use super::{ClientId, Event, Outcome, Sent, Transaction};
use crate::capture::frame::Timestamp;
use crate::dns::{Question, Rcode, Response};
use crate::maps::mix;
use load::Load;
use table::{Asked, Entry, Table};

/// unbound's `cache-max-ttl`.
const LONGEST: u64 = 86_400;
/// unbound's `cache-max-negative-ttl`.
const LONGEST_NEGATIVE: u64 = 3_600;
/// A name with a TTL up to this is meant to be asked often: CoreDNS' default is 5 s (facts.md section 3.8, P9).
const SHORT: u64 = 5;
/// Notes of repetition that wait to be taken, at most.
const MAX_REPEATS: usize = 64;

/// The model.
#[derive(Debug, Default)]
pub struct ShadowCache {
    services: Services,
    table: Table,
    savings: CacheSavings,
    load: Load,
    repeats: Vec<Repeat>,
}

/// What it would have saved so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheSavings {
    /// Queries of clients that ended; a query that was sent again is one.
    pub queries: u64,
    /// Those of them that it would have answered.
    pub hits: u64,
    /// Queries over UDP to VPC resolvers within the busiest second.
    pub linklocal_peak: u64,
    /// Those that would have been left within the second that would have been the busiest.
    pub linklocal_peak_left: u64,
}

/// A client asked the same again, [`REPEATS`] times more, before the answer that it had was over.
#[derive(Clone, Debug, PartialEq)]
pub struct Repeat {
    /// Who.
    pub client: ClientId,
    /// What.
    pub question: Question,
    /// Whom, the last time.
    pub server: IpAddr,
    /// How long its answer is to be kept, in seconds.
    pub ttl: u32,
    /// How many times since the last note of it.
    pub times: u32,
    /// When the last of them was sent.
    pub at: Timestamp,
}

/// Repetitions of one question by one client that make a [`Repeat`].
pub const REPEATS: u32 = 10;

impl ShadowCache {
    /// Adds VPC resolvers beside the well-known ones.
    pub fn configure(&mut self, vpc_resolvers: &[IpAddr]) {
        self.services.add(vpc_resolvers);
    }

    /// Takes the VPC resolvers that the source knows now.
    pub fn found(&mut self, vpc_resolvers: &[IpAddr]) {
        self.services.find(vpc_resolvers);
    }

    /// Takes an event; says whether it is a query that the cache would have answered.
    pub fn event(&mut self, event: &Event) -> bool {
        let transaction = match event {
            Event::Closed(transaction) => transaction,
            Event::Opened(Sent { parties, question: Some(question), name_key, .. }) => {
                self.table.fetch(key(question, *name_key, self.services.is_resolver(parties.server.ip())));
                return false;
            }
            _ => return false,
        };
        let Transaction { parties, query, name_key, first_sent, echo, outcome, .. } = transaction;
        let Some(question) = &query.question else { return false };
        if *echo || !parties.at_client() || query.header.opcode() != 0 {
            return false;
        }
        let response = match outcome {
            Outcome::Answered { response, .. } => Some(response),
            Outcome::Unanswered { .. } => None,
            // What may have been answered says nothing.
            Outcome::Unseen { .. } | Outcome::Waiting { .. } => return false,
        };
        let to_vpc = self.services.is_resolver(parties.server.ip());
        let entry = self.table.entry(key(question, *name_key, to_vpc), *first_sent);
        let hit = entry.lives(*first_sent);
        self.savings.queries += 1;
        self.savings.hits += u64::from(hit);
        if hit {
            if entry.asked_again(client_tag(parties.client.ip()), *first_sent) == Asked::Often
                && self.repeats.len() < MAX_REPEATS
            {
                self.repeats.push(Repeat {
                    client: parties.client_id(),
                    question: question.clone(),
                    server: parties.server.ip(),
                    ttl: entry.ttl(),
                    times: REPEATS,
                    at: *first_sent,
                });
            }
        } else if let Some(response) = response {
            fill(entry, response, transaction);
        }
        if to_vpc && parties.transport == crate::packet::Transport::Udp {
            let (peak, left) = self.load.add(*first_sent, hit);
            self.savings.linklocal_peak = peak;
            self.savings.linklocal_peak_left = left;
        }
        hit
    }

    /// What it would have saved so far.
    pub fn savings(&self) -> CacheSavings {
        self.savings
    }

    /// Forgets the answers, when the clock no longer goes with them; not what was saved.
    pub fn forget(&mut self) {
        self.table = Table::default();
        self.load.forget();
    }

    /// Takes the notes of repetition since the last call.
    pub fn take_repeats(&mut self) -> Vec<Repeat> {
        std::mem::take(&mut self.repeats)
    }
}

/// What tells a question from others.
fn key(question: &Question, name_key: u64, to_vpc: bool) -> u64 {
    let Question { qtype, qclass, .. } = question;
    mix(name_key, u64::from(qtype.0) << 17 | u64::from(*qclass) << 1 | u64::from(to_vpc))
}

/// Keeps a response that a cache would keep.
fn fill(entry: &mut Entry, response: &Response, transaction: &Transaction) {
    let Some(lifetime) = response.lifetime.map(|lifetime| lifetime.as_secs()) else { return };
    if response.header.truncated() || response.partial || lifetime == 0 {
        return;
    }
    let positive = response.rcode == Rcode::NOERROR && !response.is_nodata();
    let seconds = match response.rcode {
        Rcode::NOERROR if positive => lifetime.min(LONGEST),
        Rcode::NOERROR | Rcode::NXDOMAIN => lifetime.min(LONGEST_NEGATIVE),
        _ => return,
    };
    let tag = client_tag(transaction.parties.client.ip());
    entry.keep(transaction.ended(), seconds as u32, positive && seconds > SHORT, tag);
}

/// Tells clients apart well enough to count repetitions: two of the same tag would have to ask for the same names.
fn client_tag(client: IpAddr) -> u32 {
    let bits = match client {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let folded = (bits >> 64) as u64 ^ bits as u64;
    // The golden ratio's bits spread neighbours over all values.
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

#[cfg(test)]
mod tests;
