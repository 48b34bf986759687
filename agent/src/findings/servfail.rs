//! `servfail`: a server answers SERVFAIL in a burst (facts.md section 3.7, P3).
//!
//! Five within 10 s, and a fifth of the server's responses, in two lookups at least: musl sends a query again up to four
//! times as soon as SERVFAIL comes, so one lookup alone may bring a dozen. Where other names of the same server are answered and all that fail stand in
//! one zone, it is that zone which is broken, and the finding says so. Not judged: single-label names at systemd-resolved,
//! which answers them so by design (c-ares#852).

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use hashlink::LinkedHashMap;

use super::evidence::{percent, ratio, share, words};
use super::example::of_transaction;
use super::remedies::{count, pasted, remedy, text};
use super::{
    Confidence, Desk, Details, Detector, FindingId, Remedy, RemedyPlace, Severity, Sighting, Subject,
};
use crate::capture::frame::Timestamp;
use crate::correlate::servers::ServerWindow;
use crate::correlate::{ClientId, Event, Outcome, Transaction};
use crate::dns::{Name, Rcode};

/// Servers that are followed at most; the one that was silent for longest gives way.
const MAX_SERVERS: usize = 256;
/// Failures of one server that are kept at most.
const MAX_FAILURES: usize = 64;

/// The rule.
#[derive(Default)]
pub(super) struct ServFail {
    servers: LinkedHashMap<IpAddr, Server>,
}

/// What failed at one server.
#[derive(Default)]
struct Server {
    failures: VecDeque<Failure>,
    /// Several clients were seen to fail: from then on the finding is about the server alone.
    shared: bool,
}

/// One name that failed for one client, by whatever types and however often it was sent at once.
struct Failure {
    time: Timestamp,
    client: ClientId,
    qname: Name,
    times: usize,
}

impl Detector for ServFail {
    fn id(&self) -> FindingId {
        FindingId::ServFail
    }

    fn event(&mut self, event: &Event, desk: &mut Desk<'_>) {
        let Event::Closed(transaction) = event else { return };
        let Transaction { parties, query, echo, outcome, .. } = transaction;
        let Outcome::Answered { response, .. } = outcome else { return };
        let Some(question) = &query.question else { return };
        let server = parties.server.ip();
        if response.rcode != Rcode::SERVFAIL
            || *echo
            || !parties.at_client()
            || is_by_design(server, &question.qname)
        {
            return;
        }
        let burst = desk.context.thresholds.servfail;
        let failure = Failure {
            time: transaction.ended(),
            client: parties.client_id(),
            qname: question.qname.clone(),
            times: 1,
        };
        let known = self.server(server);
        known.add(failure, burst.within);
        let window = desk.context.ground.servers.window(server, transaction.ended(), burst.within);
        let times: usize = known.failures.iter().map(|failure| failure.times).sum();
        if known.failures.len() < burst.lookups
            || times < burst.at_least
            || ratio(window.servfail, window.replies()) < burst.share
        {
            return;
        }
        let first = known.failures.front().map_or(transaction.first_sent, |failure| failure.time);
        let scope = known.scope(window);
        let subject = known.subject(server);
        let (severity, confidence) = scope.weight(window);
        let seen = (first, transaction.ended());
        let sighting = Sighting { id: FindingId::ServFail, subject, severity, confidence, seen, count: 1 };
        desk.raise_widest(sighting, || details(server, known, &scope, (window, burst.within), transaction));
    }
}

impl ServFail {
    fn server(&mut self, address: IpAddr) -> &mut Server {
        if self.servers.to_back(&address).is_none() && self.servers.len() >= MAX_SERVERS {
            self.servers.pop_front();
        }
        self.servers.entry(address).or_insert_with(Server::default)
    }
}

/// The addresses of systemd-resolved's stub (systemd-resolved.service(8)).
fn is_by_design(server: IpAddr, name: &Name) -> bool {
    let stub = [[127, 0, 0, 53], [127, 0, 0, 54]].map(IpAddr::from).contains(&server);
    stub && name.label_count() <= 1
}

/// What seems to be broken.
enum Scope {
    /// All that fails stands in this zone, and the server answers the rest.
    Zone(Name),
    /// All that fails stands in this zone, and nothing else was asked.
    ZoneOrServer(Name),
    /// The server.
    Server,
}

impl Scope {
    fn weight(&self, window: ServerWindow) -> (Severity, Confidence) {
        match self {
            Self::Zone(_) => (Severity::Low, Confidence::Medium),
            Self::ZoneOrServer(_) => (Severity::Warning, Confidence::Low),
            Self::Server if window.servfail * 2 >= window.replies() => (Severity::High, Confidence::High),
            Self::Server => (Severity::Warning, Confidence::High),
        }
    }
}

impl Server {
    /// Notes a name that failed; at once again for the same client it is no other one.
    fn add(&mut self, failure: Failure, within: Duration) {
        while self.failures.front().is_some_and(|old| failure.time.since(old.time) > within)
            || self.failures.len() >= MAX_FAILURES
        {
            self.failures.pop_front();
        }
        self.shared |= self.failures.iter().any(|old| old.client != failure.client);
        let same = |old: &&mut Failure| old.client == failure.client && old.qname == failure.qname;
        match self.failures.iter_mut().rev().find(same) {
            // Still the same attempt: musl gives up after 5 s (facts.md section 1.1).
            Some(old) if failure.time.since(old.time) < MUSL_GIVES_UP => old.times += 1,
            _ => self.failures.push_back(failure),
        }
    }

    fn subject(&self, server: IpAddr) -> Subject {
        match self.failures.back() {
            Some(last) if !self.shared => Subject::client_of(last.client, server),
            _ => Subject::server(server),
        }
    }

    /// The zone that all failing names share, if it is more than a top-level domain.
    fn scope(&self, window: ServerWindow) -> Scope {
        let mut names = self.failures.iter().map(|failure| &failure.qname);
        let Some(first) = names.next() else { return Scope::Server };
        let zone = names.fold(first.clone(), |zone, name| common_ancestor(&zone, name));
        let zone = if zone == *first { zone.parent(1) } else { zone };
        if zone.label_count() < 2 {
            return Scope::Server;
        }
        if window.replies() > window.servfail { Scope::Zone(zone) } else { Scope::ZoneOrServer(zone) }
    }
}

/// musl sends a query again at once when SERVFAIL comes, and gives up after this time.
const MUSL_GIVES_UP: Duration = Duration::from_secs(5);

/// The longest name that both stand in.
fn common_ancestor(one: &Name, other: &Name) -> Name {
    let mut labels = one.label_count().saturating_sub(other.label_count());
    while !other.is_below(&one.parent(labels)) {
        labels += 1;
    }
    one.parent(labels)
}

fn details(
    server: IpAddr,
    known: &Server,
    scope: &Scope,
    (window, within): (ServerWindow, Duration),
    transaction: &Transaction,
) -> Details {
    let ServerWindow { servfail, .. } = window;
    let of = window.replies();
    let (summary, because) = match scope {
        Scope::Zone(zone) => (
            format!(
                "Server {server} answers SERVFAIL for names in {zone}: that zone is broken, not the server"
            ),
            format!("all names that fail stand in {zone}, and {} other responses were fine", of - servfail),
        ),
        Scope::ZoneOrServer(zone) => (
            format!("Server {server} answers SERVFAIL for all names in {zone}"),
            "nothing else was asked, so it may be the zone or the server".to_owned(),
        ),
        Scope::Server => (
            format!("Server {server} answers SERVFAIL to {} of its queries", percent(servfail, of)),
            "the names that fail share no zone: the server, or what it forwards to, is at fault".to_owned(),
        ),
    };
    let mut names: Vec<String> = known.failures.iter().map(|failure| failure.qname.to_string()).collect();
    names.sort();
    names.dedup();
    names.truncate(5);
    Details {
        summary,
        because: vec![
            format!("{servfail} of {of} responses of the last {} are SERVFAIL", words(within)),
            because,
        ],
        numbers: vec![
            count("servfail", servfail),
            count("responses", of),
            share("servfail_share", servfail, of),
            count("clients", window.clients),
            text("names", names.join(", ")),
        ],
        example: of_transaction(transaction),
        remedies: remedies(scope),
    }
}

fn remedies(scope: &Scope) -> Vec<Remedy> {
    let zone = |zone: &Name| {
        remedy(
            "See what is wrong with the zone: DNSSEC signatures that have expired, or servers that do not know it \
             (lame delegation)",
            RemedyPlace::Server,
            &[
                &format!("dig +dnssec +cd -q {} -t SOA", pasted(zone)),
                &format!("dig +trace -q {} -t NS", pasted(zone)),
            ],
        )
    };
    let server = remedy(
        "Look at the server's log and at what it forwards to: CoreDNS gives up after 2 s without an answer of its \
         upstream, and keeps SERVFAIL for 5 s",
        RemedyPlace::Corefile,
        &["errors", "forward . /etc/resolv.conf", "cache 30"],
    );
    match scope {
        Scope::Zone(name) => vec![zone(name)],
        Scope::ZoneOrServer(name) => vec![zone(name), server],
        Scope::Server => vec![server],
    }
}

#[cfg(test)]
mod tests;
