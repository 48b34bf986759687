//! `refused`: a server refuses to answer (facts.md section 3.7, P4).
//!
//! Either the client is not allowed to ask, or the server has too many queries at once (CoreDNS `max_concurrent`). musl
//! takes REFUSED for no response and waits 5 s; glibc goes on at once.

use std::net::IpAddr;

use hashlink::LinkedHashMap;

use super::evidence::{percent, share};
use super::example::of_transaction;
use super::incidents::Incidents;
use super::remedies::{count, remedy, text};
use super::{
    Confidence, Desk, Details, Detector, FindingId, RemedyPlace, Severity, Sighting, Strength, Subject,
};
use crate::correlate::servers::ServerWindow;
use crate::correlate::{ClientId, Event, Outcome, Transaction};
use crate::dns::{Name, Rcode};

/// Servers of which the client is remembered, at most.
const MAX_SERVERS: usize = 256;

/// The rule.
#[derive(Default)]
pub(super) struct Refused {
    incidents: Incidents,
    /// Who was refused by each; `None`: several clients.
    clients: LinkedHashMap<IpAddr, Option<ClientId>>,
}

impl Detector for Refused {
    fn id(&self) -> FindingId {
        FindingId::Refused
    }

    fn event(&mut self, event: &Event, desk: &mut Desk<'_>) {
        let Event::Closed(transaction) = event else { return };
        let Transaction { parties, query, echo, outcome, .. } = transaction;
        let Outcome::Answered { response, .. } = outcome else { return };
        if response.rcode != Rcode::REFUSED || *echo || !parties.at_client() {
            return;
        }
        let Some(question) = &query.question else { return };
        let (client, server, ended) = (parties.client_id(), parties.server.ip(), transaction.ended());
        let thresholds = desk.context.thresholds;
        let unit = thresholds.repetition.unit(query.edns.is_some());
        let times =
            self.incidents.add(ended, Subject::client(client), &question.qname, unit, &thresholds.repetition);
        let window = desk.context.ground.servers.window(server, ended, thresholds.repetition.within);
        let subject = self.subject(client, server);
        let (severity, confidence) = match times.strength {
            Strength::Single => (Severity::Low, Confidence::Low),
            // A recursive resolver asks without RD (RFC 1035 section 4.1.1): it is an authoritative server that is no such
            // thing, and the resolver asks the next one.
            Strength::Repeated if !query.header.recursion_desired() => (Severity::Low, Confidence::High),
            Strength::Repeated => (Severity::Warning, Confidence::High),
        };
        let sighting = Sighting {
            id: FindingId::Refused,
            subject,
            severity,
            confidence,
            seen: (times.first, ended),
            count: u64::from(times.new),
        };
        desk.raise_widest(sighting, || details(subject, server, window, &question.qname, transaction));
    }
}

impl Refused {
    /// The client at this server while it is the only one, from then on the server.
    fn subject(&mut self, client: ClientId, server: IpAddr) -> Subject {
        if self.clients.to_back(&server).is_none() && self.clients.len() >= MAX_SERVERS {
            self.clients.pop_front();
        }
        let known = self.clients.entry(server).or_insert(Some(client));
        if *known != Some(client) {
            *known = None;
        }
        known.map_or(Subject::server(server), |client| Subject::client_of(client, server))
    }
}

fn details(
    subject: Subject,
    server: IpAddr,
    window: ServerWindow,
    name: &Name,
    transaction: &Transaction,
) -> Details {
    let (refused, of) = (window.refused, window.replies());
    let whom = subject.client.map_or("its clients".to_owned(), |client| client.address.to_string());
    // An overloaded server refuses some, an access list all.
    let all = refused >= of;
    let because = if all {
        "every response of the last minute was REFUSED, as an access list makes it"
    } else {
        "other queries were answered: a server with too many at once refuses some, or it refuses some names"
    };
    let allow = remedy(
        "Allow the client's network at the server (unbound: access-control; BIND: allow-query, allow-recursion)",
        RemedyPlace::Server,
        &[&format!("access-control: {} allow", network_of(transaction.parties.client.ip()))],
    );
    let room = remedy(
        "If the Corefile limits queries (max_concurrent; CoreDNS itself does not, kubeadm writes 1000), raise that number (2 KiB of \
         memory for each); where there is none, add none",
        RemedyPlace::Corefile,
        &["forward . /etc/resolv.conf {", "    max_concurrent 2000", "}"],
    );
    Details {
        summary: format!(
            "Server {server} refuses {} of the queries of {whom}, e.g. for {name}",
            percent(refused, of)
        ),
        because: vec![
            format!("{refused} of {of} responses of the last minute are REFUSED"),
            because.to_owned(),
        ],
        numbers: vec![
            count("refused", refused),
            count("responses", of),
            share("refused_share", refused, of),
            count("clients", window.clients),
            text("name", name.to_string()),
        ],
        example: of_transaction(transaction),
        remedies: if all { vec![allow, room] } else { vec![room, allow] },
    }
}

/// The client alone, as access lists write it.
fn network_of(client: IpAddr) -> String {
    format!("{client}/{}", if client.is_ipv4() { 32 } else { 128 })
}

#[cfg(test)]
mod tests;
