//! Truncated responses and what followed: TCP, another server, nothing (RFC 7766 section 5).
//!
//! [`truncated`] keeps what waits for its verdict, [`connections`] tells which connections come about, [`recent`] which
//! queries have a whole answer already. Judged is the client's side alone, or a file that does not say.

mod connections;
mod elsewhere;
mod recent;
mod truncated;

use std::net::SocketAddr;
use std::time::Duration;

use super::fingerprint::Fingerprint;
use super::{ClientId, Event, Outcome, Sent, Transaction};
use crate::capture::frame::{Place, Timestamp};
use crate::dns::{Question, Rcode, RecordType};
use crate::packet::{Flow, TcpHeader, Transport};
use connections::{Connections, Seen, Tried};
use elsewhere::Elsewhere;
pub use recent::Asked;
use recent::Recent;
use truncated::Truncated;

/// A response with TC over UDP, and what its client did next.
#[derive(Clone, Debug, PartialEq)]
pub struct Fallback {
    /// Who asked.
    pub client: ClientId,
    /// From which port.
    pub client_port: u16,
    /// Who truncated.
    pub server: SocketAddr,
    /// What was asked.
    pub question: Question,
    /// The query's ID.
    pub id: u16,
    /// The UDP payload size of the query's OPT record, if it has one.
    pub edns: Option<u16>,
    /// AD was set in the query: a tool, not getaddrinfo (facts.md section 1.3).
    pub authentic_data: bool,
    /// When the query was sent.
    pub sent: Timestamp,
    /// When the truncated response came.
    pub truncated: Timestamp,
    /// Its length in bytes.
    pub length: usize,
    /// Its records of the type asked.
    pub answers: usize,
    /// Its CNAME records.
    pub cnames: usize,
    /// What followed.
    pub then: Then,
    /// The client's stub resolver as it is known now.
    pub fingerprint: Fingerprint,
}

/// What followed a truncated response.
#[derive(Clone, Debug, PartialEq)]
pub enum Then {
    /// The question was asked over TCP and answered.
    Tcp {
        /// From the truncated response to the answer over TCP.
        cost: Duration,
        /// Length of that answer in bytes.
        length: usize,
    },
    /// The question was asked over TCP, and not answered.
    TcpUnanswered,
    /// No connection came about.
    Blocked(Obstacle),
    /// Another server's whole answer was there already, or came; or this one's, asked again with more room by EDNS.
    OtherServer,
    /// Nothing within [`Patience::comes_back`].
    Nothing,
    /// The capture ended, or lost packets, before it could be known.
    Unknown,
}

/// How a TCP connection to a server failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// SYN was answered with RST.
    Reset,
    /// SYN was not answered.
    Silence,
}

/// A TCP connection that did not come about.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Who tried.
    pub client: ClientId,
    /// From which port.
    pub client_port: u16,
    /// To whom.
    pub server: SocketAddr,
    /// When the first SYN was sent.
    pub began: Timestamp,
    /// SYNs that were sent.
    pub syns: u32,
    /// What came of them.
    pub obstacle: Obstacle,
    /// A truncated response of this server came to the client before.
    pub after_truncation: bool,
}

/// Two servers that were asked the same at once say different things about a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Disagreement {
    /// Who asked.
    pub client: ClientId,
    /// From which port.
    pub client_port: u16,
    /// The ID of both queries.
    pub id: u16,
    /// What was asked.
    pub question: Question,
    /// When the query to the second was sent, within 1 ms of the other.
    pub sent: Timestamp,
    /// Who answered first.
    pub first: Said,
    /// Who answered then.
    pub second: Said,
}

/// What a server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Which.
    pub server: SocketAddr,
    /// NOERROR or NXDOMAIN.
    pub rcode: Rcode,
    /// When.
    pub at: Timestamp,
}

/// A question under the ID and from the port of another that is still open, to the same server.
#[derive(Clone, Debug, PartialEq)]
pub struct Reuse {
    /// Who asks.
    pub client: ClientId,
    /// From which port.
    pub client_port: u16,
    /// Whom.
    pub server: SocketAddr,
    /// The ID of both.
    pub id: u16,
    /// When the other question was sent.
    pub before: Timestamp,
    /// When this one was.
    pub sent: Timestamp,
    /// This one.
    pub question: Question,
}

/// A TCP segment between a client and a server, without its data.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// When it was seen.
    pub time: Timestamp,
    /// Where; `None` in a file that does not say.
    pub place: Option<&'a Place>,
    /// From whom to whom.
    pub flow: Flow,
    /// The destination port is the server's.
    pub to_server: bool,
    /// Its flags.
    pub header: TcpHeader,
    /// Bytes of data.
    pub data: usize,
}

/// Something that became known.
#[derive(Clone, Debug, PartialEq)]
pub enum Followed {
    /// What followed a truncated response.
    Fallback(Fallback),
    /// A connection that did not come about.
    Attempt(Attempt),
    /// Two servers that were asked at once disagree.
    Disagreement(Disagreement),
    /// Two questions are open under one ID.
    Reuse(Reuse),
}

/// How long is waited for what does not come (facts.md section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A client that comes back over TCP does so within this time: 2 s.
    pub comes_back: Duration,
    /// A SYN without an answer for so long: 3 s. Linux has sent it three times by then, at 0, 1 and 3 s (RFC 6298).
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { comes_back: Duration::from_secs(2), silence: Duration::from_secs(3) }
    }
}

/// Follows truncated responses and connections.
#[derive(Debug, Default)]
pub struct Fallbacks {
    patience: Patience,
    truncated: Truncated,
    connections: Connections,
    recent: Recent,
    elsewhere: Elsewhere,
}

impl Fallbacks {
    /// With nothing seen yet.
    pub fn new(patience: Patience) -> Self {
        Self { patience, ..Self::default() }
    }

    /// Forgets what goes by a clock; not how long to wait.
    pub fn forget(&mut self) {
        *self = Self::new(self.patience);
    }

    /// Takes an event. What is ordinary costs a note of each query over UDP and its answer.
    pub fn event(&mut self, event: &Event, emit: &mut dyn FnMut(Followed)) {
        match event {
            Event::Closed(transaction) if transaction.parties.at_client() && !transaction.echo => {
                self.closed(transaction, emit);
            }
            Event::Opened(sent) if sent.parties.at_client() && !sent.echo => match &sent.question {
                Some(question) if sent.parties.transport == Transport::Tcp => {
                    self.truncated.asked(&sent.parties, question);
                }
                Some(question) => self.sent(sent, question, emit),
                None => {}
            },
            Event::Opened(sent) if !sent.parties.at_client() => self.elsewhere.sent(sent),
            _ => {}
        }
    }

    /// Was this query seen on its way, at another interface than its client's?
    pub fn seen_elsewhere(&self, id: u16, qtype: RecordType, sent: Timestamp) -> bool {
        self.elsewhere.has(id, qtype, sent)
    }

    /// The query that a client sent with this ID from this port in the last 5 s, if it is still known.
    pub fn asked(&self, client: SocketAddr, id: u16, now: Timestamp) -> Option<Asked> {
        self.recent.asked(client, id, now)
    }

    fn sent(&mut self, sent: &Sent, question: &Question, emit: &mut dyn FnMut(Followed)) {
        let Sent { parties, time, header, .. } = sent;
        if let Some(before) = self.recent.sent(parties, header.id, *time) {
            emit(Followed::Reuse(Reuse {
                client: parties.client_id(),
                client_port: parties.client.port(),
                server: parties.server,
                id: header.id,
                before,
                sent: *time,
                question: question.clone(),
            }));
        }
    }

    fn closed(&mut self, transaction: &Transaction, emit: &mut dyn FnMut(Followed)) {
        let Transaction { parties, query, outcome, .. } = transaction;
        let Outcome::Answered { response, .. } = outcome else {
            if parties.transport == Transport::Tcp {
                self.truncated.closed_over_tcp(transaction, emit);
            }
            return;
        };
        if parties.transport == Transport::Tcp {
            return self.truncated.closed_over_tcp(transaction, emit);
        }
        let (id, at) = (query.header.id, transaction.ended());
        if response.header.truncated() {
            let whole = self.recent.whole_elsewhere(parties, id, at);
            let _ = self.recent.answered(parties, response, id, at);
            return self.truncated.add(transaction, response, whole, self.patience.comes_back, emit);
        }
        if let Some(first) = self.recent.answered(parties, response, id, at)
            && first.rcode != response.rcode
            && let Some(question) = &query.question
        {
            emit(Followed::Disagreement(Disagreement {
                client: parties.client_id(),
                client_port: parties.client.port(),
                id,
                question: question.clone(),
                sent: transaction.first_sent,
                first: Said { server: first.server, rcode: first.rcode, at: first.at },
                second: Said { server: parties.server, rcode: response.rcode, at },
            }));
        }
        self.truncated.answered_whole(transaction, response, emit);
    }

    /// Takes a TCP segment.
    pub fn segment(&mut self, segment: &Segment<'_>, emit: &mut dyn FnMut(Followed)) {
        let Some(seen) = self.connections.segment(segment) else { return };
        let (client, server) = (seen.client, seen.server);
        match seen.what {
            Seen::Trying => self.truncated.tried(segment.time, client, server, false),
            Seen::Data => self.truncated.tried(segment.time, client, server, true),
            Seen::Failed(tried) => self.failed(tried, Obstacle::Reset, emit),
        }
    }

    /// A connection did not come about.
    fn failed(&mut self, tried: Tried, obstacle: Obstacle, emit: &mut dyn FnMut(Followed)) {
        let after_truncation = self.truncated.blocked(&tried, obstacle, self.patience.comes_back, emit);
        let Tried { client, client_port, server, began, syns, .. } = tried;
        let attempt = Attempt { client, client_port, server, began, syns, obstacle, after_truncation };
        emit(Followed::Attempt(attempt));
    }

    /// Judges what has waited long enough; everything before `watermark` was seen.
    pub fn tick(&mut self, watermark: Timestamp, emit: &mut dyn FnMut(Followed)) {
        while let Some(tried) = self.connections.silent(watermark, self.patience.silence) {
            self.failed(tried, Obstacle::Silence, emit);
        }
        self.truncated.tick(watermark, self.patience.comes_back, emit);
    }

    /// Truncated responses that wait, pairs of client and server that are remembered, and connections that begin.
    #[cfg(test)]
    fn sizes(&self) -> (usize, usize, usize, usize) {
        let (waiting, pairs, notes) = self.truncated.sizes();
        (waiting, pairs, notes, self.connections.len())
    }

    /// Ends what still waits, at the end of the capture.
    pub fn finish(&mut self, end: Timestamp, emit: &mut dyn FnMut(Followed)) {
        self.tick(end, emit);
        self.truncated.finish(emit);
    }
}

#[cfg(test)]
mod tests;
