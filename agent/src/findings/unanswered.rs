//! `unanswered`: queries get no reply of any kind within 6 s of their last send (facts.md section 3.7, P2).
//!
//! Told apart by scope: a server that answers nobody, a client that nobody answers, some names only. Not judged: what may
//! have been lost on its way to us, a reply that another interface saw, and a client that was not heard of again after its
//! query (a pod that was shut down waits for nothing).

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hashlink::LinkedHashMap;

use super::evidence::{counted, percent, ratio, share};
use super::example::of_transaction;
use super::remedies::{count, remedy, text};
use super::{
    Confidence, Desk, Details, Detector, FindingId, Outlook, Remedy, RemedyPlace, Severity, Sighting,
    Strength, Subject, incidents,
};
use crate::capture::frame::Timestamp;
use crate::correlate::lookups::Lookup;
use crate::correlate::servers::ServerWindow;
use crate::correlate::{ClientId, Event, Outcome, Stray, Transaction};
use crate::dns::Name;

/// Clients that are followed at most; the one that was silent for longest gives way.
const MAX_CLIENTS: usize = 4096;
/// Unanswered queries of one client that are kept at most.
const MAX_FAILURES: usize = 32;
/// Replies that came to the wrong place, which are kept at most.
const MAX_STRAYS: usize = 1024;
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
    /// When it was last seen to do something.
    active: Timestamp,
}

/// A query without a reply.
struct Failure {
    sent: Timestamp,
    at: Timestamp,
    server: IpAddr,
    name: Name,
    /// Of a lookup of which no other query failed before: A and AAAA are one.
    new: bool,
}

impl Detector for Unanswered {
    fn id(&self) -> FindingId {
        FindingId::Unanswered
    }

    fn lookup(&mut self, lookup: &Lookup, _desk: &mut Desk<'_>) {
        // Of clients that have always been answered nothing is kept.
        if !self.clients.is_empty()
            && let Some(client) = self.clients.get_mut(&lookup.client)
        {
            let asks = lookup.candidates.last().and_then(|candidate| candidate.asks.last());
            client.active = client.active.max(asks.map_or(lookup.started, |ask| ask.sent));
        }
    }

    fn event(&mut self, event: &Event, desk: &mut Desk<'_>) {
        match event {
            Event::Closed(transaction) => self.closed(transaction, desk),
            Event::Orphan { stray, .. } | Event::Late { stray, .. } => self.stray(stray),
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
        if self.clients.to_back(&id).is_none() && self.clients.len() >= MAX_CLIENTS {
            self.clients.pop_front();
        }
        let client = self.clients.entry(id).or_insert_with(Client::default);
        let repetition = desk.context.thresholds.repetition;
        let (name, unit) = (&question.qname, repetition.unit(query.edns.is_some()));
        let is_same = |old: &Failure| old.name == *name && unit.is_same(old.apart(*first_sent));
        let new = !client.failures.iter().any(is_same);
        let failure = Failure { sent: *first_sent, at: transaction.ended(), server, name: name.clone(), new };
        client.add(failure, *sends, repetition.within);
        judge(id, client, server, transaction, desk);
    }
}

impl Failure {
    /// How much earlier or later its query was sent.
    fn apart(&self, sent: Timestamp) -> Duration {
        self.sent.since(sent).max(sent.since(self.sent))
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

    /// Lookups that these belong to, each by the first of its queries.
    fn lookups(&self) -> impl Iterator<Item = &Failure> {
        self.waited_for().filter(|failure| failure.new)
    }
}

fn judge(id: ClientId, client: &Client, server: IpAddr, transaction: &Transaction, desk: &mut Desk<'_>) {
    let thresholds = desk.context.thresholds;
    let Some(last) = client.failures.back() else { return };
    let evidence = client.lookups().count() as u64;
    let of_name = client.lookups().filter(|failure| failure.name == last.name).count() as u64;
    let Some(first) = client.waited_for().map(|failure| failure.sent).min() else { return };
    let repetition = thresholds.repetition;
    let window = desk.context.ground.servers.window(server, transaction.ended(), repetition.within);
    let scope = Scope::of(client, last, window, thresholds.unanswered.others);
    let subject = match scope {
        Scope::Server => Subject::server(server),
        Scope::Client => Subject::client(id),
        Scope::Unknown | Scope::Names => Subject::client_of(id, server),
    };
    // A reply that was lost on its way to us looks as one that never came, and so does a query of a retry.
    let lost = desk.lost(&id, first, transaction.ended());
    let Some(strength) = incidents::strength(evidence, of_name, lost, &repetition) else {
        return desk.hold_back(FindingId::Unanswered, subject, evidence, lost);
    };
    let (severity, confidence) = match (strength, scope) {
        (Strength::Single, _) => (Severity::Low, Confidence::Low),
        (Strength::Repeated, Scope::Server | Scope::Client) => (Severity::High, Confidence::High),
        (Strength::Repeated, Scope::Unknown) => (Severity::High, Confidence::Medium),
        (Strength::Repeated, Scope::Names) => (Severity::Warning, Confidence::Medium),
    };
    let seen = (first, transaction.ended());
    let sighting = Sighting {
        id: FindingId::Unanswered,
        subject,
        severity,
        confidence,
        seen,
        count: u64::from(last.new),
    };
    desk.raise_widest(sighting, || details(id, client, scope, (server, window, lost), transaction));
}

/// Who is cut off from whom.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The server answers none of several clients.
    Server,
    /// Several servers do not answer this client.
    Client,
    /// The server answers, but not these.
    Names,
    /// One client and one server that does not answer it.
    Unknown,
}

impl Scope {
    fn of(client: &Client, last: &Failure, window: ServerWindow, others: f64) -> Self {
        let several_servers = client.waited_for().any(|failure| failure.server != last.server);
        let answers = ratio(window.replies(), window.transactions) > others;
        if answers {
            Self::Names
        } else if window.clients > 1 {
            Self::Server
        } else if several_servers {
            Self::Client
        } else {
            Self::Unknown
        }
    }
}

fn details(
    id: ClientId,
    client: &Client,
    scope: Scope,
    (server, window, lost): (IpAddr, ServerWindow, u64),
    transaction: &Transaction,
) -> Details {
    let ServerWindow { unanswered, transactions, clients, .. } = window;
    let whom = id.address;
    let mut names: Vec<String> = client.waited_for().map(|failure| failure.name.to_string()).collect();
    names.sort();
    names.dedup();
    names.truncate(5);
    let names = names.join(", ");
    let (summary, because) = match scope {
        Scope::Server => (
            format!("Server {server} answers nobody: {clients} clients wait in vain"),
            "none of its clients gets responses: the server is down, or the way to it is".to_owned(),
        ),
        Scope::Client => (
            format!("Client {whom} gets no response from any of its servers"),
            "it is the client's way out: a policy or a route".to_owned(),
        ),
        Scope::Names => (
            format!("Server {server} does not answer client {whom} for {names}"),
            format!(
                "other queries to it are answered ({} without a response)",
                percent(unanswered, transactions)
            ),
        ),
        Scope::Unknown => (
            format!("Client {whom} gets no response from server {server}"),
            "no other client and no other server is seen, so either may be cut off".to_owned(),
        ),
    };
    let evidence = client.waited_for().count() as u64;
    let waits = format!(
        "{} of {whom} had no response within 6 s of the last send",
        counted(evidence, "query", "queries")
    );
    let mut because = vec![waits, because];
    if lost > 0 {
        because.push(format!("{lost} packets were lost there meanwhile, which does not explain as many"));
    }
    Details {
        summary,
        because,
        numbers: vec![
            count("unanswered_of_client", evidence),
            count("unanswered_of_server", unanswered),
            count("transactions_of_server", transactions),
            share("unanswered_share", unanswered, transactions),
            count("clients", clients),
            count("lost_packets", lost),
            text("names", names),
        ],
        example: of_transaction(transaction),
        remedies: remedies(scope, server),
    }
}

/// facts.md section 3.7, P2: by scope.
fn remedies(scope: Scope, server: IpAddr) -> Vec<Remedy> {
    let ask = format!("dig @{server} . NS +tries=1");
    let is_it_up = remedy("See whether the server runs and listens", RemedyPlace::Server, &[&ask]);
    let policy = remedy(
        "Allow UDP and TCP to port 53 in the NetworkPolicy, security group or firewall between them",
        RemedyPlace::Firewall,
        &["egress:", "- ports:", "  - protocol: UDP", "    port: 53", "  - protocol: TCP", "    port: 53"],
    );
    let upstream = remedy(
        "Ask the server's own upstream for these names: a forwarder that gets no answer gives none in time",
        RemedyPlace::Server,
        &[],
    );
    let limit = remedy(
        "If it is the VPC resolver: packets beyond 1024 a second of one interface are dropped (nslookout explain \
         linklocal-rate)",
        RemedyPlace::Node,
        &[],
    );
    match scope {
        Scope::Server => vec![is_it_up, policy, limit],
        Scope::Client => vec![policy],
        Scope::Names => vec![upstream, limit],
        Scope::Unknown => vec![is_it_up, policy],
    }
}

#[cfg(test)]
mod tests;
