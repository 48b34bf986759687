//! Truncated responses that wait for their verdict.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use hashlink::LinkedHashMap;

use super::connections::Tried;
use super::{Fallback, Fingerprint, Followed, Obstacle, Then};
use crate::capture::frame::Timestamp;
use crate::correlate::{ClientId, Outcome, Parties, Transaction};
use crate::dns::{Question, Rcode, RecordType, Response};
use crate::maps::Map;

/// Truncated responses that wait at once, at most, and of one client: while there is no room new ones are not followed,
/// so that those which wait get their verdict.
const MAX_WAITING: usize = 8192;
const MAX_PER_CLIENT: usize = 32;
/// Notes of when to look at which, in each of two queues; those of which nothing is waited for any more are thrown away then.
const MAX_NOTES: usize = 4 * MAX_WAITING;
/// An answer over TCP is waited for at the longest: a query's own window is 30 s.
const LONGEST: Duration = Duration::from_secs(35);
/// Pairs of client and server of which it is known when they last had to do with TCP, at most.
const MAX_PAIRS: usize = 4096;
/// A connection so soon after a truncated response was made because of it.
const BECAUSE: Duration = Duration::from_secs(10);

/// How far the client came with TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tcp {
    /// It did not try.
    Not,
    /// It sent a SYN.
    Trying,
    /// It sent data to that server: what, is not known.
    Data,
    /// It asked the same question.
    Asked,
}

/// One that waits.
#[derive(Debug)]
struct Waiting {
    serial: u64,
    fallback: Fallback,
    tcp: Tcp,
}

/// What a client last had to do with TCP at one server.
#[derive(Clone, Copy, Debug, Default)]
struct Dealings {
    /// It sent a SYN, or data.
    tried: Timestamp,
    /// The last connection did not come about.
    failed: Option<Obstacle>,
    /// A truncated response came.
    truncated: Timestamp,
}

/// When to look at one of a client's truncated responses, by its serial.
type Note = (Timestamp, ClientId, u64);

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Truncated {
    /// By client and server, the longest unused first.
    dealings: LinkedHashMap<(ClientId, SocketAddr), Dealings>,
    /// A client's, the oldest first.
    clients: Map<ClientId, Vec<Waiting>>,
    /// When to look at which, in that order: first after `Patience::comes_back`, then after [`LONGEST`].
    first: VecDeque<Note>,
    last: VecDeque<Note>,
    /// How many wait.
    count: usize,
    serial: u64,
}

impl Truncated {
    /// A truncated response came; `whole`: another server's whole answer was there already.
    pub(super) fn add(
        &mut self,
        transaction: &Transaction,
        response: &Response,
        whole: bool,
        comes_back: Duration,
        emit: &mut dyn FnMut(Followed),
    ) {
        let Some(question) = &transaction.query.question else { return };
        let fallback = new(transaction, response, question);
        if whole {
            return emit(Followed::Fallback(Fallback { then: Then::OtherServer, ..fallback }));
        }
        let dealings = self.dealings(fallback.client, fallback.server);
        dealings.truncated = fallback.truncated;
        // glibc leaves UDP at the first TC of a pair and asks both questions over TCP: the other TC comes behind.
        let already = dealings.tried >= fallback.sent;
        if already && let Some(obstacle) = dealings.failed {
            return emit(Followed::Fallback(Fallback { then: Then::Blocked(obstacle), ..fallback }));
        }
        let tcp = if already { Tcp::Trying } else { Tcp::Not };
        let waiting = self.clients.get(&fallback.client).map_or(0, Vec::len);
        if waiting >= MAX_PER_CLIENT || self.count >= MAX_WAITING {
            return;
        }
        self.serial += 1;
        let (serial, client) = (self.serial, fallback.client);
        note(&mut self.first, &self.clients, (fallback.truncated + comes_back, client, serial));
        self.clients.entry(client).or_default().push(Waiting { serial, fallback, tcp });
        self.count += 1;
    }

    fn dealings(&mut self, client: ClientId, server: SocketAddr) -> &mut Dealings {
        let key = (client, server);
        if self.dealings.to_back(&key).is_none() && self.dealings.len() >= MAX_PAIRS {
            self.dealings.pop_front();
        }
        self.dealings.entry(key).or_insert_with(Dealings::default)
    }

    /// Those of a client that meet a condition get their verdict.
    fn end(
        &mut self,
        client: ClientId,
        condition: impl Fn(&Waiting) -> bool,
        verdict: impl Fn(&Fallback) -> Then,
        emit: &mut dyn FnMut(Followed),
    ) -> usize {
        let Some(waiting) = self.clients.get_mut(&client) else { return 0 };
        let mut ended = 0;
        for Waiting { fallback, .. } in waiting.extract_if(.., |waiting| condition(waiting)) {
            ended += 1;
            let then = verdict(&fallback);
            emit(Followed::Fallback(Fallback { then, ..fallback }));
        }
        if waiting.is_empty() {
            self.clients.remove(&client);
        }
        self.count -= ended;
        ended
    }

    /// A question was asked over TCP.
    pub(super) fn asked(&mut self, parties: &Parties, question: &Question) {
        let Some(waiting) = self.of(parties.client_id()) else { return };
        for Waiting { fallback, tcp, .. } in waiting {
            if fallback.server == parties.server && fallback.question == *question {
                *tcp = Tcp::Asked;
            }
        }
    }

    /// The client does something with TCP to that server: it sends `data` or a SYN.
    pub(super) fn tried(&mut self, time: Timestamp, client: ClientId, server: SocketAddr, data: bool) {
        let dealings = self.dealings(client, server);
        dealings.tried = time;
        dealings.failed = None;
        let Some(waiting) = self.of(client) else { return };
        let now = if data { Tcp::Data } else { Tcp::Trying };
        for Waiting { tcp, .. } in waiting.iter_mut().filter(|waiting| waiting.fallback.server == server) {
            *tcp = (*tcp).max(now);
        }
    }

    fn of(&mut self, client: ClientId) -> Option<&mut Vec<Waiting>> {
        if self.count == 0 { None } else { self.clients.get_mut(&client) }
    }

    /// A transaction over TCP ended: it may be what became of truncated ones.
    pub(super) fn closed_over_tcp(&mut self, transaction: &Transaction, emit: &mut dyn FnMut(Followed)) {
        if self.count == 0 {
            return;
        }
        let Transaction { parties, query, outcome, .. } = transaction;
        let Some(question) = &query.question else { return };
        let (at, server) = (transaction.ended(), parties.server);
        let verdict = |fallback: &Fallback| match outcome {
            Outcome::Answered { response, .. } => {
                Then::Tcp { cost: at.since(fallback.truncated), length: response.length }
            }
            Outcome::Unanswered { .. } => Then::TcpUnanswered,
            Outcome::Unseen { .. } | Outcome::Waiting { .. } => Then::Unknown,
        };
        let is_meant =
            |waiting: &Waiting| waiting.fallback.server == server && waiting.fallback.question == *question;
        self.end(parties.client_id(), is_meant, verdict, emit);
    }

    /// A whole answer came over UDP: of another server it makes up for the truncated one.
    pub(super) fn answered_whole(
        &mut self,
        transaction: &Transaction,
        response: &Response,
        emit: &mut dyn FnMut(Followed),
    ) {
        if self.count == 0 || !matches!(response.rcode, Rcode::NOERROR | Rcode::NXDOMAIN) {
            return;
        }
        let Transaction { parties, query, .. } = transaction;
        let Some(question) = &query.question else { return };
        let room = query.edns.map_or(0, |edns| edns.udp_payload_size);
        let makes_up = |waiting: &Waiting| {
            let Fallback { server, edns, truncated, .. } = &waiting.fallback;
            // Asked again with more room (RFC 6891 section 6.2.5), the same server may answer in full.
            let again = transaction.first_sent >= *truncated && room > edns.unwrap_or(512);
            (server.ip() != parties.server.ip() || again) && waiting.fallback.question == *question
        };
        self.end(parties.client_id(), makes_up, |_| Then::OtherServer, emit);
    }

    /// A connection did not come about; gives whether a truncated response had led to it.
    pub(super) fn blocked(
        &mut self,
        tried: &Tried,
        obstacle: Obstacle,
        comes_back: Duration,
        emit: &mut dyn FnMut(Followed),
    ) -> bool {
        let Tried { client, server, began, data, .. } = *tried;
        let dealings = self.dealings(client, server);
        dealings.failed = Some(obstacle);
        let because = dealings.truncated != Timestamp::default()
            && began.since(dealings.truncated) < BECAUSE
            && dealings.truncated.since(began) < comes_back;
        let is_meant = |waiting: &Waiting| {
            // A question in a SYN that nobody took was read all the same.
            let tried = waiting.tcp == Tcp::Trying || data && waiting.tcp == Tcp::Asked;
            tried && waiting.fallback.server == server
        };
        self.end(client, is_meant, |_| Then::Blocked(obstacle), emit);
        because
    }

    /// How many wait, how many pairs are remembered, and how many notes are kept.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        (self.count, self.dealings.len(), self.first.len().max(self.last.len()))
    }

    /// Judges what has waited long enough before `watermark`.
    pub(super) fn tick(
        &mut self,
        watermark: Timestamp,
        comes_back: Duration,
        emit: &mut dyn FnMut(Followed),
    ) {
        while let Some(&(due, client, serial)) = self.first.front()
            && due < watermark
        {
            self.first.pop_front();
            let is_meant = |waiting: &Waiting| waiting.serial == serial;
            let ended = self.end(
                client,
                |waiting| is_meant(waiting) && waiting.tcp == Tcp::Not,
                |_| Then::Nothing,
                emit,
            );
            let waits = ended == 0 && self.of(client).is_some_and(|waiting| waiting.iter().any(is_meant));
            if waits {
                let later = due + LONGEST.saturating_sub(comes_back);
                note(&mut self.last, &self.clients, (later, client, serial));
            }
        }
        while let Some(&(due, client, serial)) = self.last.front()
            && due < watermark
        {
            self.last.pop_front();
            self.end(client, |waiting| waiting.serial == serial, |_| Then::Unknown, emit);
        }
    }

    /// Ends what still waits, at the end of the capture.
    pub(super) fn finish(&mut self, emit: &mut dyn FnMut(Followed)) {
        let clients: Vec<ClientId> = self.clients.keys().copied().collect();
        for client in clients {
            self.end(client, |_| true, |_| Then::Unknown, emit);
        }
        self.first.clear();
        self.last.clear();
    }
}

/// Adds to a queue of notes.
fn note(queue: &mut VecDeque<Note>, clients: &Map<ClientId, Vec<Waiting>>, note: Note) {
    if queue.len() >= MAX_NOTES {
        queue.retain(|(_, client, serial)| {
            clients.get(client).is_some_and(|waiting| waiting.iter().any(|waiting| waiting.serial == *serial))
        });
    }
    queue.push_back(note);
}

/// As far as the truncated response tells.
fn new(transaction: &Transaction, response: &Response, question: &Question) -> Fallback {
    let Transaction { parties, query, first_sent, .. } = transaction;
    let count = |wanted: RecordType| response.answers().filter(|answer| answer.record_type == wanted).count();
    Fallback {
        client: parties.client_id(),
        client_port: parties.client.port(),
        server: parties.server,
        question: question.clone(),
        id: query.header.id,
        edns: query.edns.map(|edns| edns.udp_payload_size),
        authentic_data: query.header.authentic_data(),
        sent: *first_sent,
        truncated: transaction.ended(),
        length: response.length,
        answers: count(question.qtype),
        cnames: count(RecordType::CNAME),
        then: Then::Unknown,
        fingerprint: Fingerprint::default(),
    }
}
