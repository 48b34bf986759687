//! `unanswered`: queries get no reply of any kind within 6 s of their last send (facts.md section 3.7, P2).
//!
//! Told apart by scope, by what was answered as much as by what was not: a server that answers nobody, a client that nobody
//! answers, a server whose place another one takes, some names only, a recursive resolver's own upstreams. Not judged: what
//! may have been lost on its way to us, a reply that another interface saw, and a client that was not heard of again after
//! its query (a pod that was shut down waits for nothing).

mod heard;
mod told;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hashlink::LinkedHashMap;

use self::heard::Heard;
use self::told::{Told, details};
use super::evidence::ratio;
use super::{
    Confidence, Context, Desk, Detector, FindingId, Outlook, Severity, Sighting, Strength, Subject, incidents,
};
use crate::capture::frame::Timestamp;
use crate::correlate::lookups::{Ask, Lookup, Reply};
use crate::correlate::{ClientId, Event, Outcome, Stray, Transaction};
use crate::dns::Name;

/// Clients that are followed at most; the one that was silent for longest gives way.
const MAX_CLIENTS: usize = 4096;
/// Unanswered queries of one client that are kept at most.
const MAX_FAILURES: usize = 32;
/// Replies that came to the wrong place, which are kept at most.
const MAX_STRAYS: usize = 1024;
/// Nameservers that a stub resolver asks at most (resolv.conf(5), MAXNS).
const MAX_NAMESERVERS: usize = 3;
/// A client that asks or asks again this long after a query was still there to hear the reply: musl asks again after
/// 2.5 s (facts.md section 1.1).
const STILL_THERE: Duration = Duration::from_secs(2);

/// The rule.
#[derive(Default)]
pub(super) struct Unanswered {
    clients: LinkedHashMap<ClientId, Client>,
    /// Replies without a query, by the clock: who was answered by whom, with which ID.
    strays: VecDeque<(Timestamp, SocketAddr, IpAddr, u16)>,
}

/// What happened to one client lately.
#[derive(Default)]
struct Client {
    failures: VecDeque<Failure>,
    /// Who answered it since the first of them.
    heard: Heard,
    /// When it was last seen to do something.
    active: Timestamp,
}

/// A query without a reply.
struct Failure {
    sent: Timestamp,
    at: Timestamp,
    server: IpAddr,
    name: Name,
    /// The same server answered for this name, before it or after.
    heard: bool,
    /// Of a lookup of which no other query to this server failed before: A and AAAA are one.
    new: bool,
}

impl Failure {
    /// How much earlier or later its query was sent.
    fn apart(&self, sent: Timestamp) -> Duration {
        self.sent.since(sent).max(sent.since(self.sent))
    }
}

impl Detector for Unanswered {
    fn id(&self) -> FindingId {
        FindingId::Unanswered
    }

    fn lookup(&mut self, lookup: &Lookup, desk: &mut Desk<'_>) {
        let asks = || lookup.candidates.iter().flat_map(|candidate| &candidate.asks);
        // Of clients that have always been answered nothing is kept.
        let client = match self.clients.get_mut(&lookup.client) {
            Some(client) => client,
            None if asks().any(|ask| matches!(ask.reply, Reply::Unanswered(_))) => self.client(lookup.client),
            None => return,
        };
        let last = asks().map(Ask::last_sent).max();
        client.active = client.active.max(last.unwrap_or(lookup.started));
        client.heard.lookup(lookup, desk.context.thresholds.repetition.within);
        for candidate in &lookup.candidates {
            for ask in candidate.asks.iter().filter(|ask| ask.answer().is_some()) {
                let same = |failure: &&mut Failure| {
                    failure.server == ask.server.ip() && failure.name == candidate.name
                };
                client.failures.iter_mut().filter(same).for_each(|failure| failure.heard = true);
            }
        }
    }

    fn event(&mut self, event: &Event, desk: &mut Desk<'_>) {
        match event {
            Event::Closed(transaction) => self.closed(transaction, desk),
            Event::Late { stray, .. } => {
                self.late(stray, desk.context.thresholds.repetition.within);
                self.stray(stray);
            }
            Event::Orphan { stray, .. } => self.stray(stray),
            Event::Opened(_) | Event::Retransmitted(_) | Event::Copy | Event::Evicted { .. } => {}
        }
    }

    fn blind(&self, outlook: &Outlook<'_>) -> Option<String> {
        outlook.unfinished.waiting.told(
            "one query still waited for its answer when the capture ended",
            "queries still waited for an answer when the capture ended",
        )
    }
}

impl Unanswered {
    fn client(&mut self, id: ClientId) -> &mut Client {
        if self.clients.to_back(&id).is_none() && self.clients.len() >= MAX_CLIENTS {
            self.clients.pop_front();
        }
        self.clients.entry(id).or_insert_with(Client::default)
    }

    /// An answer after all: the server is slow, which `late-reply` tells.
    fn late(&mut self, stray: &Stray, within: Duration) {
        let Stray { parties, time, response, .. } = stray;
        let Some(client) = self.clients.get_mut(&parties.client_id()) else { return };
        let (server, name) =
            (parties.server.ip(), response.question.as_ref().map(|question| &question.qname));
        client.heard.late(server, *time, within);
        client.failures.retain(|failure| failure.server != server || Some(&failure.name) != name);
    }

    fn stray(&mut self, stray: &Stray) {
        if self.strays.len() >= MAX_STRAYS {
            self.strays.pop_front();
        }
        let Stray { parties, time, response, .. } = stray;
        self.strays.push_back((*time, parties.client, parties.server.ip(), response.header.id));
    }

    fn closed(&mut self, transaction: &Transaction, desk: &mut Desk<'_>) {
        let Transaction { parties, query, echo, first_sent, sends, outcome, .. } = transaction;
        if *echo || !parties.at_client() || !matches!(outcome, Outcome::Unanswered { .. }) {
            return;
        }
        let Some(question) = &query.question else { return };
        let server = parties.server.ip();
        let elsewhere = |(at, client, from, id): &(Timestamp, SocketAddr, IpAddr, u16)| {
            at >= first_sent && (*client, *from, *id) == (parties.client, server, query.header.id)
        };
        if self.strays.iter().any(elsewhere) {
            return;
        }
        let id = parties.client_id();
        let repetition = desk.context.thresholds.repetition;
        let (name, within) = (&question.qname, repetition.within);
        let unit = repetition.unit(query.edns.is_some());
        let client = self.client(id);
        let is_same =
            |old: &Failure| old.server == server && old.name == *name && unit.is_same(old.apart(*first_sent));
        let new = !client.failures.iter().any(is_same);
        let (sent, at, name) = (*first_sent, transaction.ended(), name.clone());
        let failure = Failure { sent, at, server, name, heard: false, new };
        // The lookup may go on: what others have answered of it is in it.
        for lookup in desk.context.ground.clients.open_of(&id, question) {
            client.heard.others(lookup, within);
        }
        client.heard.silent(server, failure.at, within);
        client.add(failure, *sends, within);
        judge(id, client, server, transaction, desk);
    }
}

impl Client {
    fn add(&mut self, failure: Failure, sends: u32, within: Duration) {
        // Sent again, it waited for a reply.
        let again = if sends > 1 { STILL_THERE } else { Duration::ZERO };
        self.active = self.active.max(failure.sent + again);
        while self.failures.front().is_some_and(|old| failure.at.since(old.at) > within)
            || self.failures.len() >= MAX_FAILURES
        {
            self.failures.pop_front();
        }
        self.failures.push_back(failure);
    }

    /// Those after which the client was still there.
    fn waited_for(&self) -> impl Iterator<Item = &Failure> {
        self.failures.iter().filter(|failure| failure.sent + STILL_THERE <= self.active)
    }

    /// Those of them that went to `server`.
    fn at(&self, server: IpAddr) -> impl Iterator<Item = &Failure> {
        self.waited_for().filter(move |failure| failure.server == server)
    }
}

fn judge(id: ClientId, client: &Client, server: IpAddr, transaction: &Transaction, desk: &mut Desk<'_>) {
    let within = desk.context.thresholds.repetition.within;
    if client.heard.is_late(server, transaction.ended(), within) {
        // What is missing yet may come as the others did.
        return;
    }
    let scope = Scope::of(client, server, transaction, &desk.context);
    // Of a client that is cut off every failure tells; of the others those at this server.
    let of_all = scope == Scope::Client;
    let judged = || client.waited_for().filter(|failure| of_all || failure.server == server);
    let Some(last) = client.failures.back() else { return };
    let lookups = || judged().filter(|failure| failure.new);
    let evidence = lookups().count() as u64;
    let of_name = lookups().filter(|failure| failure.name == last.name && !failure.heard).count() as u64;
    let Some(first) = judged().map(|failure| failure.sent).min() else { return };
    let repetition = desk.context.thresholds.repetition;
    let subject = match scope {
        Scope::Server => Subject::server(server),
        Scope::Client => Subject::client(id),
        _ => Subject::client_of(id, server),
    };
    // A reply that was lost on its way to us looks as one that never came, and so does a query of a retry.
    let lost = desk.lost(&id, first, transaction.ended());
    let Some(strength) = incidents::strength(evidence, of_name, lost, &repetition) else {
        return desk.hold_back(FindingId::Unanswered, subject, evidence, lost);
    };
    // Of a name that this server never answers, or where one in ten is missing, more than chance is to blame.
    let answered = client.heard.answered(server);
    let many = of_name >= repetition.of_one_name as u64 || evidence * 9 >= answered;
    let (severity, confidence) = match scope {
        _ if strength == Strength::Single => (Severity::Low, Confidence::Low),
        Scope::Server | Scope::Client => (Severity::High, Confidence::High),
        Scope::Unknown => (Severity::High, Confidence::Medium),
        Scope::Names if many => (Severity::Warning, Confidence::Medium),
        Scope::Spare { waits: true } => (Severity::Warning, Confidence::High),
        Scope::Spare { waits: false } => (Severity::Low, Confidence::Medium),
        Scope::Names | Scope::Upstream => (Severity::Low, Confidence::Low),
    };
    let seen = (first, transaction.ended());
    let (id_of_rule, count) = (FindingId::Unanswered, u64::from(last.new));
    let sighting = Sighting { id: id_of_rule, subject, severity, confidence, seen, count };
    let window = desk.context.ground.servers.window(server, transaction.ended(), repetition.within);
    let mut names: Vec<String> = judged().map(|failure| failure.name.to_string()).collect();
    let told = Told { client: id, server, scope, window, evidence, answered, lost };
    desk.raise_widest(sighting, || {
        names.sort();
        names.dedup();
        names.truncate(5);
        details(&told, &names.join(", "), transaction)
    });
}

/// Who is cut off from whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// The server answers none of several clients.
    Server,
    /// Several servers do not answer this client, and none does.
    Client,
    /// The server answers, but not these.
    Names,
    /// The server does not answer, and another one does in its place.
    Spare {
        /// The client waits before it hears the other one; musl asks all at once.
        waits: bool,
    },
    /// The client is no stub resolver: it asks authoritative servers, or more than resolv.conf(5) has room for.
    Upstream,
    /// One client and one server that does not answer it.
    Unknown,
}

impl Scope {
    fn of(client: &Client, server: IpAddr, transaction: &Transaction, context: &Context<'_>) -> Self {
        let Transaction { query, .. } = transaction;
        let within = context.thresholds.repetition.within;
        let window = context.ground.servers.window(server, transaction.ended(), within);
        let heard = &client.heard;
        // Only a resolver that walks the tree itself asks without RD (RFC 1035 section 4.1.1).
        let walks = !query.header.recursion_desired() || heard.servers() > MAX_NAMESERVERS;
        let of_client = client.at(server).count() as u64;
        if walks && heard.others_answer(server) {
            Self::Upstream
        } else if ratio(window.replies(), window.transactions) > context.thresholds.unanswered.others
            || heard.answered(server) > of_client
        {
            Self::Names
        } else if heard.others_answer(server) {
            Self::Spare { waits: heard.waits(server) }
        } else if window.clients > 1 {
            Self::Server
        } else if client.waited_for().any(|failure| failure.server != server) {
            Self::Client
        } else {
            Self::Unknown
        }
    }
}

#[cfg(test)]
mod tests;
