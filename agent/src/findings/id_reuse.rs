//! `id-reuse` (facts.md section 3.8, P13).
//!
//! One ID and port for two different questions that are open at once: their answers can be taken for each other (musl before
//! 1.2.4 could give A and AAAA one ID). Or one port and few IDs for hours: answers are easily forged (RFC 5452 section 4).
//! Silent: the same question again, one port with many IDs (c-ares).

use std::net::SocketAddr;

use hashlink::LinkedHashMap;

use super::example::{of_lookup, packet};
use super::incidents::Incidents;
use super::remedies::{count, newer_image, remedy, text};
use super::{
    Confidence, Desk, Details, Detector, FindingId, RemedyPlace, Severity, Sighting, Strength, Subject,
};
use crate::capture::frame::Timestamp;
use crate::correlate::ClientId;
use crate::correlate::fallback::Reuse;
use crate::correlate::lookups::Lookup;

/// Clients whose port is remembered at most; the one silent for longest gives way.
const MAX_CLIENTS: usize = 1024;

/// A client that keeps its port.
#[derive(Clone, Copy, Debug)]
struct Port {
    port: u16,
    since: Timestamp,
    queries: u64,
    /// Which of the last 10 bits of IDs were seen.
    ids: [u64; 16],
}

impl Port {
    fn note(&mut self, id: u16) {
        self.queries += 1;
        if let Some(word) = self.ids.get_mut(usize::from(id >> 6) % 16) {
            *word |= 1 << (id & 63);
        }
    }

    /// Different IDs among those seen, at least.
    fn ids(&self) -> u32 {
        self.ids.iter().map(|word| word.count_ones()).sum()
    }
}

/// The rule.
#[derive(Default)]
pub(super) struct IdReuse {
    incidents: Incidents,
    ports: LinkedHashMap<ClientId, Port>,
}

impl Detector for IdReuse {
    fn id(&self) -> FindingId {
        FindingId::IdReuse
    }

    fn reuse(&mut self, reuse: &Reuse, desk: &mut Desk<'_>) {
        let subject = Subject::client(reuse.client);
        let repetition = desk.context.thresholds.repetition;
        let times = self.incidents.add(reuse.sent, subject, &reuse.question.qname, &repetition);
        let (severity, confidence) = match times.strength {
            Strength::Single => (Severity::Low, Confidence::Low),
            Strength::Repeated => (Severity::Warning, Confidence::High),
        };
        let (id, seen, count) = (self.id(), (reuse.before, reuse.sent), u64::from(times.new));
        desk.raise(Sighting { id, subject, severity, confidence, seen, count }, || clashing(reuse));
    }

    fn lookup(&mut self, lookup: &Lookup, desk: &mut Desk<'_>) {
        self.fixed_port(lookup, desk);
    }
}

impl IdReuse {
    fn fixed_port(&mut self, lookup: &Lookup, desk: &mut Desk<'_>) {
        let Some(ask) = lookup.candidates.first().and_then(|candidate| candidate.asks.first()) else {
            return;
        };
        let limits = desk.context.thresholds.port;
        if self.ports.to_back(&lookup.client).is_none() && self.ports.len() >= MAX_CLIENTS {
            self.ports.pop_front();
        }
        let new = Port { port: ask.client_port, since: ask.sent, queries: 0, ids: [0; 16] };
        let port = self.ports.entry(lookup.client).or_insert_with(|| new);
        if port.port != ask.client_port {
            *port = new;
        }
        port.note(ask.id);
        let kept = ask.sent.since(port.since);
        if kept < limits.kept || port.queries < limits.queries || port.ids() > limits.ids {
            return;
        }
        let (port, subject) = (*port, Subject::client(lookup.client));
        let sighting = Sighting {
            id: self.id(),
            subject,
            severity: Severity::Low,
            confidence: Confidence::Medium,
            seen: (lookup.started, lookup.ended),
            count: 1,
        };
        desk.raise(sighting, || forgeable(lookup, &port));
    }
}

fn clashing(reuse: &Reuse) -> Details {
    let Reuse { client, client_port, server, id, before, sent, question } = reuse;
    let summary = format!(
        "{} asks for {} {} with the ID and port of another question that is open: one answer can be taken for the other",
        client.address, question.qtype, question.qname
    );
    let because = vec![
        format!(
            "ID {id} from port {client_port} to {server} was in use for {} µs",
            sent.since(*before).as_micros()
        ),
        "musl before 1.2.4 takes IDs from the clock and may give A and AAAA the same one".to_owned(),
    ];
    let numbers = vec![text("qname", &question.qname), count("id", *id), count("client_port", *client_port)];
    let near = SocketAddr::new(client.address, *client_port);
    let example = vec![
        packet(*before, near, *server, format!("[another question] id {id}")),
        packet(*sent, near, *server, format!("{}? {} id {id}", question.qtype, question.qname)),
    ];
    Details { summary, because, numbers, example, remedies: newer_image() }
}

fn forgeable(lookup: &Lookup, port: &Port) -> Details {
    let address = lookup.client.address;
    let summary = format!(
        "{address} always asks from port {} with few different IDs: answers are easily forged",
        port.port
    );
    let because = vec![format!(
        "{} lookups from one port with about {} different IDs (RFC 5452 section 4.5 asks for both to vary)",
        port.queries,
        port.ids()
    )];
    let numbers =
        vec![count("lookups", port.queries), count("ids", port.ids()), count("client_port", port.port)];
    let remedies = vec![remedy(
        "Let the resolver choose its ports: no fixed query-source port, no NAT that maps all to one",
        RemedyPlace::Application,
        &[],
    )];
    Details { summary, because, numbers, example: of_lookup(lookup), remedies }
}

#[cfg(test)]
mod tests;
