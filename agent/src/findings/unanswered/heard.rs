//! Who answered a client that waited in vain for somebody: what tells a dead server from a lost packet.

use std::net::IpAddr;
use std::time::Duration;

use crate::capture::frame::Timestamp;
use crate::correlate::lookups::{Ask, Lookup, Reply};

/// Servers of one client that are kept, at most: more than a stub resolver has.
const MAX_SERVERS: usize = 8;
/// A client that hears another server within this time did not wait for this one: musl asks all at once (facts.md section
/// 1.1), others after 1 s at the earliest.
const AT_ONCE: Duration = Duration::from_millis(900);

/// The servers of one client, at most [`MAX_SERVERS`].
#[derive(Default)]
pub(super) struct Heard {
    servers: Vec<Server>,
}

/// One server.
struct Server {
    address: IpAddr,
    /// When it was asked last.
    last: Timestamp,
    /// When counting began anew.
    since: Timestamp,
    /// Queries that it answered since then, and in the time before.
    answered: [u64; 2],
    /// How long the client waited, when this server was silent, until another one answered.
    instead: Option<Duration>,
    /// When an answer came last after its query was given up.
    late: Option<Timestamp>,
}

impl Heard {
    /// Takes a lookup that ended.
    pub(super) fn lookup(&mut self, lookup: &Lookup, within: Duration) {
        for ask in lookup.candidates.iter().flat_map(|candidate| &candidate.asks) {
            if let Some(answer) = ask.answer() {
                let server = self.server(ask.server.ip(), answer.at, within);
                let [latest, _] = &mut server.answered;
                *latest += 1;
            }
        }
        self.others(lookup, within);
    }

    /// Takes from a lookup, ended or not, who answered in whose place.
    pub(super) fn others(&mut self, lookup: &Lookup, within: Duration) {
        for candidate in &lookup.candidates {
            let silent = |ask: &&Ask| matches!(ask.reply, Reply::Unanswered(_) | Reply::Waiting);
            for ask in candidate.asks.iter().filter(silent) {
                let other = candidate.asks.iter().filter(|other| other.server.ip() != ask.server.ip());
                let answers = other.filter(|other| other.qtype == ask.qtype).filter_map(Ask::answer);
                if let Some(at) = answers.filter(|answer| answer.is_usable()).map(|answer| answer.at).min() {
                    self.server(ask.server.ip(), at, within).instead = Some(at.since(ask.sent));
                }
            }
        }
    }

    /// Notes an answer to a query that was given up.
    pub(super) fn late(&mut self, server: IpAddr, at: Timestamp, within: Duration) {
        self.server(server, at, within).late = Some(at);
    }

    /// Did such an answer come lately?
    pub(super) fn is_late(&self, server: IpAddr, now: Timestamp, within: Duration) -> bool {
        self.of(server).and_then(|server| server.late).is_some_and(|at| now.since(at) <= within)
    }

    /// Notes that a server was asked in vain.
    pub(super) fn silent(&mut self, server: IpAddr, at: Timestamp, within: Duration) {
        self.server(server, at, within);
    }

    /// Servers that were asked.
    pub(super) fn servers(&self) -> usize {
        self.servers.len()
    }

    /// Queries that a server answered in the last one to two minutes, since something was not answered.
    pub(super) fn answered(&self, server: IpAddr) -> u64 {
        self.of(server).map_or(0, |server| server.answered.iter().sum())
    }

    /// Does another server answer this client?
    pub(super) fn others_answer(&self, server: IpAddr) -> bool {
        let others = self.servers.iter().filter(|other| other.address != server);
        self.of(server).is_some_and(|server| server.instead.is_some())
            || others.map(|other| other.answered.iter().sum::<u64>()).sum::<u64>() > 0
    }

    /// Does the client wait for this server before it hears another one?
    pub(super) fn waits(&self, server: IpAddr) -> bool {
        self.of(server).and_then(|server| server.instead).is_none_or(|instead| instead > AT_ONCE)
    }

    fn of(&self, server: IpAddr) -> Option<&Server> {
        self.servers.iter().find(|known| known.address == server)
    }

    fn server(&mut self, address: IpAddr, at: Timestamp, within: Duration) -> &mut Server {
        let known = self.servers.iter().position(|known| known.address == address);
        // The one that was asked last stands last.
        let server = match known {
            Some(index) => self.servers.remove(index),
            None => Server { address, last: at, since: at, answered: [0; 2], instead: None, late: None },
        };
        if self.servers.len() >= MAX_SERVERS {
            self.servers.remove(0);
        }
        let server = self.servers.push_mut(server);
        server.last = server.last.max(at);
        if at.since(server.since) > within {
            let [latest, _] = server.answered;
            server.answered = [0, latest];
            server.since = at;
        }
        server
    }
}
