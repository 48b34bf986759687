//! What else is lost on the way to a server: a race takes the second of two packets, plain loss takes any.

use std::net::IpAddr;
use std::time::Duration;

use hashlink::LinkedHashMap;

use crate::capture::frame::Timestamp;
use crate::correlate::lookups::{Ask, Candidate};
use crate::packet::Transport;

/// Servers that are kept at most.
const MAX_SERVERS: usize = 256;

/// Losses by server.
#[derive(Default)]
pub(super) struct PlainLoss {
    servers: LinkedHashMap<IpAddr, [Lost; 2]>,
}

/// Losses of one stretch of time.
#[derive(Clone, Copy, Default)]
struct Lost {
    since: Timestamp,
    /// Pairs that lost the query sent first.
    first: u64,
    /// Pairs that lost the query sent second.
    second: u64,
    /// Queries without a pair, and both of a pair.
    others: u64,
}

/// Of A and AAAA from one port one was answered before anything was sent again.
fn is_half(candidate: &Candidate) -> bool {
    let asks = &candidate.asks;
    let Some(again) = asks.iter().filter_map(|ask| ask.again.first()).min() else { return false };
    let is_pair =
        |ask: &Ask| asks.iter().any(|other| other.client_port == ask.client_port && other.qtype != ask.qtype);
    asks.iter().any(|ask| is_pair(ask) && ask.answer().is_some_and(|answer| answer.at < *again))
}

impl PlainLoss {
    /// Notes a pair that lost one half.
    pub(super) fn half(&mut self, server: IpAddr, first: bool, at: Timestamp, within: Duration) {
        let lost = self.server(server, at, within);
        if first { lost.first += 1 } else { lost.second += 1 }
    }

    /// Notes what was sent again and is no half of a pair. A half of two that left a little too far apart to be judged
    /// tells nothing: it may have raced all the same.
    pub(super) fn other(&mut self, candidate: &Candidate, within: Duration) {
        if is_half(candidate) {
            return;
        }
        for ask in candidate.asks.iter().filter(|ask| !ask.again.is_empty()) {
            if ask.transport == Transport::Udp {
                self.server(ask.server.ip(), ask.last_sent(), within).others += 1;
            }
        }
    }

    /// Why losses at a server are no race, as far as the last one to two minutes tell.
    pub(super) fn doubt(&mut self, server: IpAddr, at: Timestamp, within: Duration) -> Option<&'static str> {
        self.server(server, at, within);
        let stretches = self.servers.get(&server)?;
        let [first, second, others] = stretches.iter().fold([0, 0, 0], |[first, second, others], lost| {
            [first + lost.first, second + lost.second, others + lost.others]
        });
        let halves = first + second;
        if others * 4 >= halves {
            Some(
                "other queries to this server were sent again too: plain loss takes them as well, a race does not",
            )
        } else if first.min(second) * 4 >= halves {
            Some(
                "the first of the two was lost about as often as the second, as by plain loss; a race mostly takes the second",
            )
        } else {
            None
        }
    }

    /// The present stretch of a server; the one before is kept, older ones are not.
    fn server(&mut self, server: IpAddr, at: Timestamp, within: Duration) -> &mut Lost {
        if self.servers.to_back(&server).is_none() && self.servers.len() >= MAX_SERVERS {
            self.servers.pop_front();
        }
        let fresh = Lost { since: at, ..Lost::default() };
        let [present, before] = self.servers.entry(server).or_insert([fresh; 2]);
        if at.since(present.since) > within {
            *before = std::mem::replace(present, fresh);
        }
        present
    }
}
