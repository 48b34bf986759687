//! Queries that wait for their response, and those that just stopped waiting.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hashlink::{DefaultHashBuilder, LinkedHashMap};

use super::copies::{Copies, Sighting, WINDOW};
use super::{Event, Limits, Observation, OrphanReason, Outcome, Parties, Sent, Stray, Transaction};
use crate::capture::frame::{Ifindex, InterfaceKind, Timestamp};
use crate::capture::vantage::{Vantage, Verdict, judge};
use crate::dns::{Message, Query, Question, Response};
use crate::maps::{Map, mix};
use crate::packet::Transport;

/// A query seen again within this time of its answer is a retransmission (facts.md section 3.0).
const CLOSED_MEMORY: Duration = Duration::from_secs(10);
/// A response this much earlier than its query still belongs to it: two CPUs may write records out of order.
const REORDERING: Duration = Duration::from_millis(10);
/// Different questions that may be open under one key (same addresses, ports and ID) at once.
const MAX_PER_KEY: usize = 16;

/// Interfaces between which a query and its response may be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scope {
    /// One pod's interface.
    Pod(Ifindex),
    /// `lo` and the node's own traffic on its uplinks.
    Node,
    /// Passing traffic on all uplinks: the response may come back by another.
    Uplinks,
    /// A file that does not say.
    File,
}

/// Responses that may still meet their query, at most: each new query looks at all of them.
const MAX_EARLY: usize = 256;

/// Connections of which a part was not seen that are remembered at most.
const MAX_BLIND: usize = 4096;

/// What a response must share with its query, the question apart (RFC 5452 section 9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    scope: Scope,
    vantage: Vantage,
    client: ([u8; 16], u16),
    server: ([u8; 16], u16),
    transport: Transport,
    id: u16,
}

impl Key {
    fn new(scope: Scope, parties: &Parties, id: u16) -> Self {
        let end = |address: SocketAddr| match address.ip() {
            IpAddr::V4(ip) => (ip.to_ipv6_mapped().octets(), address.port()),
            IpAddr::V6(ip) => (ip.octets(), address.port()),
        };
        Self {
            scope,
            vantage: parties.vantage,
            client: end(parties.client),
            server: end(parties.server),
            transport: parties.transport,
            id,
        }
    }
}

/// A query that waits.
#[derive(Debug)]
struct Open {
    parties: Parties,
    query: Query,
    asked: Asked,
    number: u64,
    first_sent: Timestamp,
    last_sent: Timestamp,
    sends: u32,
    /// Seen nearer to its client before: reported, but told apart.
    echo: bool,
    /// A second sighting in a file: waits so that it takes its own response away, and is never reported.
    copy: bool,
}

impl Open {
    fn deadline(&self, limits: &Limits) -> Timestamp {
        (self.last_sent + limits.timeout).min(self.first_sent + limits.longest)
    }

    fn end(self, outcome: Outcome, emit: &mut dyn FnMut(Event)) {
        if !self.copy {
            let Self { parties, query, asked, number, first_sent, sends, echo, .. } = self;
            let name_key = asked.name;
            emit(Event::Closed(Transaction {
                parties,
                query,
                name_key,
                number,
                first_sent,
                sends,
                echo,
                outcome,
            }));
        }
    }
}

/// Hashes of what a message asks, made once for all that look for it.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    /// Of QNAME.
    name: u64,
    /// Of the whole question.
    question: u64,
}

/// What is remembered of a transaction that ended.
#[derive(Clone, Copy, Debug)]
struct Closed {
    /// Hash of the question.
    question: u64,
    first_sent: Timestamp,
    at: Timestamp,
    answered: bool,
    /// That of a second sighting, which is never reported.
    copy: bool,
    /// Seen nearer to its client too.
    echo: bool,
}

/// What is remembered under one key: the last, and those before it where other questions had the same ID and port.
#[derive(Debug)]
struct Past {
    last: Closed,
    before: Vec<Closed>,
}

impl Past {
    /// The one with this question; the last where the message repeats none.
    fn find(&mut self, question: Option<u64>) -> Option<&mut Closed> {
        match question {
            Some(question) if self.last.question != question => {
                self.before.iter_mut().find(|closed| closed.question == question)
            }
            _ => Some(&mut self.last),
        }
    }

    fn add(&mut self, closed: Closed) {
        self.before.retain(|old| old.question != closed.question);
        let (older, newer) = if closed.at < self.last.at { (closed, self.last) } else { (self.last, closed) };
        self.last = newer;
        if older.question != newer.question {
            self.before.push(older);
        }
        if self.before.len() > MAX_PER_KEY {
            self.before.remove(0);
        }
    }
}

/// A response that may still meet its query.
#[derive(Debug)]
struct Early {
    scope: Scope,
    stray: Stray,
}

/// Matches the messages of all interfaces.
pub struct Correlator {
    limits: Limits,
    /// In the order of the last send, so that the oldest stands first. Nearly every key has one query.
    open: LinkedHashMap<Key, Vec<Open>>,
    /// Queries in `open`.
    inflight: usize,
    /// By the hash of their key; as many as `max_inflight` at most.
    closed: Map<u64, Past>,
    /// When what is in `closed` ended, in the order of closing; what closed again later stands here twice.
    closings: VecDeque<(Timestamp, u64)>,
    early: VecDeque<Early>,
    /// When a part of a server's TCP stream was last not seen, by client and server; the longest ago first.
    blind: LinkedHashMap<(SocketAddr, SocketAddr), Timestamp>,
    copies: Copies,
    hasher: DefaultHashBuilder,
    /// Transactions that were opened so far.
    opened: u64,
}

impl Correlator {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: LinkedHashMap::new(),
            inflight: 0,
            closed: Map::default(),
            closings: VecDeque::new(),
            early: VecDeque::new(),
            blind: LinkedHashMap::new(),
            copies: Copies::default(),
            hasher: DefaultHashBuilder::default(),
            opened: 0,
        }
    }

    /// Queries that wait for their response now.
    pub fn inflight(&self) -> usize {
        self.inflight
    }

    /// Takes one message and tells what it changed; returns the vantage it was counted at.
    pub fn observe(&mut self, observation: Observation, emit: &mut dyn FnMut(Event)) -> Vantage {
        let Observation { time, place, flow, hop_limit, to_server, message, .. } = observation;
        let verdict = judge(place.as_ref(), to_server);
        let asked = self.asked(message.question());
        // `lo` needs no memory of copies: what passes there passes nowhere else.
        let on_loopback = place.is_some_and(|place| place.kind == InterfaceKind::Loopback);
        let before = if on_loopback {
            None
        } else {
            let vantage = match verdict {
                Verdict::Certain(vantage) => vantage,
                Verdict::NodeOrUplink => Vantage::Uplink,
            };
            self.copies.note(&message, asked.question, Sighting { time, flow, hop_limit, vantage, place })
        };
        let (client, server) =
            if to_server { (flow.source, flow.destination) } else { (flow.destination, flow.source) };
        let mut parties =
            Parties { vantage: Vantage::Uplink, place, client, server, transport: flow.transport };
        match message {
            Message::Query(query) => {
                parties.vantage = match verdict {
                    Verdict::Certain(vantage) => vantage,
                    // Without a socket to look at: what no pod's interface has seen is the node's own.
                    Verdict::NodeOrUplink => match before {
                        Some(before) if before.vantage == Vantage::Client => Vantage::Uplink,
                        _ => Vantage::Client,
                    },
                };
                let seen = Seen { time, hop_limit, before, asked };
                self.query(seen, parties, query, emit);
            }
            Message::Response(response) => {
                parties.vantage = match verdict {
                    Verdict::Certain(vantage) => vantage,
                    Verdict::NodeOrUplink => self.waits_at_node(&parties, &response),
                };
                let seen = Seen { time, hop_limit, before, asked };
                let copied =
                    before.filter(|_| parties.vantage == Vantage::Unknown).map(|before| before.flow == flow);
                self.response(seen, parties, response, copied, emit);
            }
        }
        parties.vantage
    }

    /// Is told that a part of the stream from `server` to `client` was not seen at `time`: whether it held a response
    /// nobody knows.
    pub fn blind(&mut self, client: SocketAddr, server: SocketAddr, time: Timestamp) {
        self.blind.insert((client, server), time);
        if self.blind.len() > MAX_BLIND {
            self.blind.pop_front();
        }
    }

    /// Expires what waited too long before `watermark`; everything earlier has been observed.
    pub fn tick(&mut self, watermark: Timestamp, emit: &mut dyn FnMut(Event)) {
        while self.early.front().is_some_and(|early| early.stray.time + REORDERING < watermark) {
            if let Some(early) = self.early.pop_front() {
                emit(Event::Orphan { stray: early.stray, reason: OrphanReason::NoQuery });
            }
        }
        while let Some((key, opens)) = self.open.iter_mut().next() {
            let key = *key;
            let limits = self.limits;
            let expired: Vec<Open> =
                opens.extract_if(.., |open| open.deadline(&limits) < watermark).collect();
            let emptied = opens.is_empty();
            if expired.is_empty() {
                break;
            }
            if emptied {
                self.open.pop_front();
            }
            self.inflight -= expired.len();
            for open in expired {
                self.expire(key, open, emit);
            }
            if !emptied {
                break;
            }
        }
        while let Some((at, _)) = self.closings.front()
            && watermark.since(*at) > self.memory()
        {
            self.forget_first();
        }
    }

    /// Ends what still waits, at the end of the capture.
    pub fn finish(&mut self, end: Timestamp, emit: &mut dyn FnMut(Event)) {
        self.tick(end, emit);
        for early in std::mem::take(&mut self.early) {
            emit(Event::Orphan { stray: early.stray, reason: OrphanReason::NoQuery });
        }
        while let Some((_, opens)) = self.open.pop_front() {
            for open in opens {
                let waited = end.since(open.first_sent);
                open.end(Outcome::Waiting { waited }, emit);
            }
        }
        self.inflight = 0;
    }

    /// Forgets what ended, when the clock no longer goes with it.
    pub fn forget(&mut self) {
        self.closed.clear();
        self.closings.clear();
        self.blind.clear();
        self.copies = Copies::default();
    }

    fn query(&mut self, seen: Seen, parties: Parties, query: Query, emit: &mut dyn FnMut(Event)) {
        let Seen { time, hop_limit, before, asked } = seen;
        let scope = scope_of(&parties);
        let key = Key::new(scope, &parties, query.header.id);
        let in_file = parties.vantage == Vantage::Unknown;
        let limits = self.limits;
        if let Some(opens) = self.open.get_mut(&key) {
            // An old musl may give A and AAAA one ID: only the same question is the same query.
            let same = opens.iter().position(|open| open.query.question == query.question);
            if let Some(index) = same.filter(|&index| opens[index].deadline(&limits) < time) {
                // The watermark has yet to come by, but this query is another one.
                let open = opens.remove(index);
                self.inflight -= 1;
                if opens.is_empty() {
                    self.open.remove(&key);
                }
                self.expire(key, open, emit);
            } else if let Some(index) = same {
                let open = &mut opens[index];
                // No client is that quick: the same message at another interface (a bond and its port), or in a file.
                let elsewhere =
                    open.parties.place.map(|place| place.ifindex) != parties.place.map(|place| place.ifindex);
                if (in_file || elsewhere) && time.since(open.last_sent) <= WINDOW {
                    return emit(Event::Copy);
                }
                open.sends += 1;
                open.last_sent = open.last_sent.max(time);
                let (copy, echo, keys) = (open.copy, open.echo, (asked.name, open.number));
                self.open.to_back(&key);
                return emit(if copy {
                    Event::Copy
                } else {
                    Event::Retransmitted(Sent::new(parties, time, &query, keys, echo))
                });
            }
        }
        let repeated = self
            .closed
            .get_mut(&self.hasher.hash_one(key))
            .and_then(|past| past.find(Some(asked.question)))
            .is_some_and(|closed| closed.answered && time.since(closed.at) <= CLOSED_MEMORY);
        // Behind a NAT the addresses differ; a router in between has lowered the hop limit. musl, which sends one query
        // to several servers at once, sends each with the same.
        let copy = in_file
            && before.is_some_and(|before| {
                before.flow.transport == parties.transport && before.hop_limit != hop_limit
            });
        let echo = before.is_some_and(|before| match parties.vantage {
            Vantage::Uplink => before.vantage == Vantage::Client,
            Vantage::Server => matches!(before.vantage, Vantage::Client | Vantage::Uplink),
            Vantage::Client | Vantage::Unknown => false,
        });
        self.opened += 1;
        let number = self.opened;
        if copy {
            emit(Event::Copy);
        } else {
            let sent = Sent::new(parties, time, &query, (asked.name, number), echo);
            if repeated {
                emit(Event::Opened(sent.clone()));
                emit(Event::Retransmitted(sent));
            } else {
                emit(Event::Opened(sent));
            }
        }
        let (first_sent, last_sent, sends) = (time, time, 1);
        let open = Open { parties, query, asked, number, first_sent, last_sent, sends, echo, copy };
        if let Some(early) = self.take_early(scope, &open) {
            let at = early.time;
            self.remember(key, &open, at, true);
            return open.end(Outcome::Answered { latency: at.since(time), response: early.response }, emit);
        }
        self.insert(key, open, emit);
    }

    fn insert(&mut self, key: Key, open: Open, emit: &mut dyn FnMut(Event)) {
        if self.inflight >= self.limits.max_inflight {
            self.evict(emit);
        }
        let opens = self.open.entry(key).or_insert_with(Vec::new);
        if opens.len() >= MAX_PER_KEY {
            let Open { copy, echo, .. } = opens.remove(0);
            self.inflight -= 1;
            if !copy {
                emit(Event::Evicted { echo });
            }
        }
        opens.push(open);
        self.inflight += 1;
        self.open.to_back(&key);
    }

    /// Gives up the query whose last send is the longest ago.
    fn evict(&mut self, emit: &mut dyn FnMut(Event)) {
        if let Some((_, opens)) = self.open.pop_front() {
            self.inflight -= opens.len();
            for Open { echo, .. } in opens.into_iter().filter(|open| !open.copy) {
                emit(Event::Evicted { echo });
            }
        }
    }

    /// `copied`: the same response was seen just before in a file; true where its addresses were the same too.
    fn response(
        &mut self,
        seen: Seen,
        parties: Parties,
        response: Response,
        copied: Option<bool>,
        emit: &mut dyn FnMut(Event),
    ) {
        let scope = scope_of(&parties);
        let Seen { time, before, asked, .. } = seen;
        let key = Key::new(scope, &parties, response.header.id);
        while let Some(open) = self.take_open(&key, &response) {
            // Late is late, whether or not the watermark has come by already.
            if open.deadline(&self.limits) < time {
                self.expire(key, open, emit);
                continue;
            }
            self.remember(key, &open, time, true);
            let latency = time.since(open.first_sent);
            return open.end(Outcome::Answered { response, latency }, emit);
        }
        let mut stray = Stray { parties, time, response, echo: before.is_some() };
        let question = stray.response.question.as_ref().map(|_| asked.question);
        let memory = self.memory();
        let closed = self.closed.get_mut(&self.hasher.hash_one(key)).and_then(|past| past.find(question));
        match closed.filter(|closed| time.since(closed.at) <= memory) {
            Some(closed) => {
                // A pod's wire carries each message once: what another interface showed is no sighting of this one.
                let at_next_interface = !matches!(scope, Scope::Pod(_))
                    && before.is_some_and(|before| before.elsewhere(stray.parties.place));
                if closed.copy || closed.answered && (copied == Some(true) || at_next_interface) {
                    return emit(Event::Copy);
                }
                stray.echo = closed.echo;
                if closed.answered {
                    return emit(Event::Orphan { stray, reason: OrphanReason::Duplicate });
                }
                // The next one is a duplicate.
                closed.answered = true;
                let latency = time.since(closed.first_sent);
                emit(Event::Late { stray, latency });
            }
            _ if copied.is_some() => emit(Event::Copy),
            _ => {
                if self.early.len() >= MAX_EARLY
                    && let Some(first) = self.early.pop_front()
                {
                    emit(Event::Orphan { stray: first.stray, reason: OrphanReason::NoQuery });
                }
                self.early.push_back(Early { scope, stray });
            }
        }
    }

    /// Takes the waiting query that `response` answers: the same question (RFC 5452 section 9.1), in any case
    /// (RFC 4343); where the response repeats none (unbound's REFUSED does not), the oldest.
    fn take_open(&mut self, key: &Key, response: &Response) -> Option<Open> {
        let opens = self.open.get_mut(key)?;
        let index = opens.iter().position(|open| answers(response, open.query.question.as_ref()))?;
        let open = opens.remove(index);
        self.inflight -= 1;
        if opens.is_empty() {
            self.open.remove(key);
        }
        Some(open)
    }

    fn take_early(&mut self, scope: Scope, open: &Open) -> Option<Stray> {
        let index = self.early.iter().position(|early| {
            early.scope == scope
                && early.stray.parties.client == open.parties.client
                && early.stray.parties.server == open.parties.server
                && early.stray.parties.transport == open.parties.transport
                && early.stray.response.header.id == open.query.header.id
                && open.first_sent.since(early.stray.time) <= REORDERING
                && answers(&early.stray.response, open.query.question.as_ref())
        })?;
        self.early.remove(index).map(|early| early.stray)
    }

    /// Does a process of this node wait for this response, or passing traffic?
    fn waits_at_node(&self, parties: &Parties, response: &Response) -> Vantage {
        let at_node = Parties { vantage: Vantage::Client, ..*parties };
        let key = Key::new(Scope::Node, &at_node, response.header.id);
        if self.open.contains_key(&key) || self.closed.contains_key(&self.hasher.hash_one(key)) {
            Vantage::Client
        } else {
            Vantage::Uplink
        }
    }

    /// Ends a query whose deadline has passed.
    fn expire(&mut self, key: Key, open: Open, emit: &mut dyn FnMut(Event)) {
        let deadline = open.deadline(&self.limits);
        self.remember(key, &open, deadline, false);
        let waited = deadline.since(open.first_sent);
        let ends = (open.parties.client, open.parties.server);
        let unseen = open.parties.transport == Transport::Tcp
            && self.blind.get(&ends).is_some_and(|at| *at >= open.first_sent);
        open.end(if unseen { Outcome::Unseen { waited } } else { Outcome::Unanswered { waited } }, emit);
    }

    /// How long closed transactions are remembered: an unanswered query may be answered late for as long again as it
    /// may have waited.
    fn memory(&self) -> Duration {
        CLOSED_MEMORY.max(self.limits.longest)
    }

    fn remember(&mut self, key: Key, open: &Open, at: Timestamp, answered: bool) {
        let question = open.asked.question;
        let closed =
            Closed { question, first_sent: open.first_sent, at, answered, copy: open.copy, echo: open.echo };
        let key = self.hasher.hash_one(key);
        match self.closed.entry(key) {
            Entry::Occupied(mut past) => past.get_mut().add(closed),
            Entry::Vacant(place) => drop(place.insert(Past { last: closed, before: Vec::new() })),
        }
        self.closings.push_back((at, key));
        if self.closings.len() > self.limits.max_inflight {
            self.forget_first();
        }
    }

    /// Forgets what closed first, unless it closed again since.
    fn forget_first(&mut self) {
        let Some((at, key)) = self.closings.pop_front() else { return };
        if self.closed.get(&key).is_some_and(|past| past.last.at <= at) {
            self.closed.remove(&key);
        }
    }

    /// Hashes a question; what asks nothing is told from any name by its hash too.
    fn asked(&self, question: Option<&Question>) -> Asked {
        let Some(Question { qname, qtype, qclass }) = question else { return Asked::default() };
        let name = self.hasher.hash_one(qname);
        Asked { name, question: mix(name, u64::from(qtype.0) << 16 | u64::from(*qclass)) }
    }
}

/// When and how a message was seen, and the sighting before this one.
struct Seen {
    time: Timestamp,
    hop_limit: u8,
    before: Option<Sighting>,
    asked: Asked,
}

fn answers(response: &Response, question: Option<&Question>) -> bool {
    response.question.is_none() || response.question.as_ref() == question
}

fn scope_of(parties: &Parties) -> Scope {
    match (parties.vantage, parties.place) {
        (Vantage::Unknown, _) | (_, None) => Scope::File,
        (_, Some(place)) if place.is_of_workload() => Scope::Pod(place.ifindex),
        (Vantage::Client, _) => Scope::Node,
        _ => Scope::Uplinks,
    }
}

#[cfg(test)]
mod tests;
