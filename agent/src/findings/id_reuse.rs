//! `id-reuse` (facts.md section 3.8, P13).
//!
//! One ID and port for two different questions that are open at once: their answers can be taken for each other (musl before
//! 1.2.4 could give A and AAAA one ID). Or one port and few IDs for hours: answers are easily forged (RFC 5452 section 4).
//! Silent: the same question again, one port with many IDs (c-ares).

use std::hash::BuildHasher;
use std::net::SocketAddr;

use hashlink::DefaultHashBuilder;

use super::example::{of_lookup, packet};
use super::incidents::Incidents;
use super::remedies::{count, newer_image, remedy, text};
use super::{
    Confidence, Desk, Details, Detector, FindingId, RemedyPlace, Severity, Sighting, Strength, Subject,
};
use crate::capture::frame::Timestamp;
use crate::correlate::ClientId;
use crate::correlate::fallback::Reuse;
use crate::correlate::lookups::{Ask, Lookup};

/// Places for clients, each at the one that its hash tells; one that comes to a taken place takes it.
const PLACES: usize = 1024;

/// Which of the last 10 bits of IDs were seen.
type Ids = [u64; 16];

/// The port that a client asked from last.
#[derive(Clone, Copy, Debug, Default)]
struct Port {
    /// Of the client.
    hash: u32,
    port: u16,
    /// Lookups from this port, one after the other.
    queries: u32,
    since: Timestamp,
}

/// Clients and their ports. What nearly every lookup changes is small: its client has a new port each time.
#[derive(Default)]
struct Ports {
    /// Empty before the first.
    last: Vec<Port>,
    ids: Vec<Ids>,
    hasher: DefaultHashBuilder,
}

impl Ports {
    /// Notes a lookup; gives the port and the number of different IDs, at least, where the port has been kept.
    fn note(&mut self, client: &ClientId, ask: &Ask) -> Option<(Port, u32)> {
        if self.last.is_empty() {
            self.last.resize(PLACES, Port::default());
            self.ids.resize(PLACES, Ids::default());
        }
        let hash = self.hasher.hash_one(client);
        let place = (hash >> 32) as usize % PLACES;
        let last = self.last.get_mut(place)?;
        if last.hash != hash as u32 || last.port != ask.client_port {
            *last = Port { hash: hash as u32, port: ask.client_port, queries: 1, since: ask.sent };
            return None;
        }
        last.queries = last.queries.saturating_add(1);
        let ids = self.ids.get_mut(place)?;
        if last.queries == 2 {
            *ids = Ids::default();
        }
        if let Some(word) = ids.get_mut(usize::from(ask.id >> 6) % 16) {
            *word |= 1 << (ask.id & 63);
        }
        Some((*last, ids.iter().map(|word| word.count_ones()).sum()))
    }
}

/// The rule.
#[derive(Default)]
pub(super) struct IdReuse {
    incidents: Incidents,
    ports: Ports,
}

impl Detector for IdReuse {
    fn id(&self) -> FindingId {
        FindingId::IdReuse
    }

    fn reuse(&mut self, reuse: &Reuse, desk: &mut Desk<'_>) {
        let subject = Subject::client(reuse.client);
        let repetition = desk.context.thresholds.repetition;
        let unit = repetition.unit(false);
        let times = self.incidents.add(reuse.sent, subject, &reuse.question.qname, unit, &repetition);
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
        let Some((port, ids)) = self.ports.note(&lookup.client, ask) else { return };
        if ask.sent.since(port.since) < limits.kept || port.queries < limits.queries || ids > limits.ids {
            return;
        }
        let subject = Subject::client(lookup.client);
        let sighting = Sighting {
            id: self.id(),
            subject,
            severity: Severity::Low,
            confidence: Confidence::Medium,
            seen: (lookup.started, lookup.ended),
            count: 1,
        };
        desk.raise(sighting, || forgeable(lookup, &port, ids));
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
            "ID {id} from port {client_port} to {server} was in use for {:.3} ms",
            sent.since(*before).as_secs_f64() * 1e3
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

fn forgeable(lookup: &Lookup, port: &Port, ids: u32) -> Details {
    let address = lookup.client.address;
    let summary = format!(
        "{address} always asks from port {} with few different IDs: answers are easily forged",
        port.port
    );
    let because = vec![format!(
        "{} lookups from one port with about {} different IDs (RFC 5452 section 4.5 asks for both to vary)",
        port.queries, ids
    )];
    let numbers = vec![count("lookups", port.queries), count("ids", ids), count("client_port", port.port)];
    let remedies = vec![remedy(
        "Let the resolver choose its ports: no fixed query-source port, no NAT that maps all to one",
        RemedyPlace::Application,
        &[],
    )];
    Details { summary, because, numbers, example: of_lookup(lookup), remedies }
}

#[cfg(test)]
mod tests;
