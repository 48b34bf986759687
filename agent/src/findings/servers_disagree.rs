//! `servers-disagree` (facts.md section 3.8, P15).
//!
//! musl asks all its servers at once and takes the first usable response: where one says NXDOMAIN and another knows the
//! name, chance decides. Known by one ID from one port to several servers within 1 ms, and answers of both. Silent: servers
//! that are asked one after the other, SERVFAIL and REFUSED, which musl takes for no answer.

use std::net::SocketAddr;

use super::example::{asked, packet};
use super::incidents::Incidents;
use super::remedies::{remedy, text};
use super::{
    Confidence, Desk, Details, Detector, FindingId, RemedyPlace, Severity, Sighting, Strength, Subject,
};
use crate::correlate::fallback::{Disagreement, Said};
use crate::dns::Rcode;

/// The rule.
#[derive(Default)]
pub(super) struct ServersDisagree {
    incidents: Incidents,
}

impl Detector for ServersDisagree {
    fn id(&self) -> FindingId {
        FindingId::ServersDisagree
    }

    fn disagreement(&mut self, disagreement: &Disagreement, desk: &mut Desk<'_>) {
        let Disagreement { client, question, sent, first, second, .. } = disagreement;
        let subject = Subject::client(*client);
        let repetition = desk.context.thresholds.repetition;
        let unit = repetition.unit(false);
        let times = self.incidents.add(second.at, subject, &question.qname, unit, &repetition);
        let (severity, confidence) = match times.strength {
            Strength::Single => (Severity::Low, Confidence::Low),
            // The denial was believed.
            Strength::Repeated if first.rcode == Rcode::NXDOMAIN => (Severity::High, Confidence::High),
            Strength::Repeated => (Severity::Warning, Confidence::High),
        };
        let (id, seen, count) = (self.id(), (*sent, second.at), u64::from(times.new));
        desk.raise(Sighting { id, subject, severity, confidence, seen, count }, || details(disagreement));
    }
}

fn details(disagreement: &Disagreement) -> Details {
    let Disagreement { client, client_port, id, question, sent, first, second } = disagreement;
    let name = &question.qname;
    let denied_first = first.rcode == Rcode::NXDOMAIN;
    let (denier, knower) = if denied_first { (first, second) } else { (second, first) };
    let effect = if denied_first { "the denial came first" } else { "the answer came first this time" };
    let summary = format!(
        "{} asks {} and {} for {name} at once: one denies the name, the other knows it; {effect}",
        client.address,
        denier.server.ip(),
        knower.server.ip()
    );
    let after = |said: &Said| {
        let millis = said.at.since(*sent).as_secs_f64() * 1e3;
        format!("{} said {} after {millis:.1} ms", said.server.ip(), said.rcode)
    };
    let because = vec![
        "one query went from one port to several servers at once, as musl does, which takes the first answer"
            .to_owned(),
        format!("{}, {}", after(first), after(second)),
    ];
    let numbers = vec![
        text("qname", name),
        text("denied_by", denier.server.ip()),
        text("known_by", knower.server.ip()),
    ];
    let near = SocketAddr::new(client.address, *client_port);
    let query = asked(question.qtype, name, *id, None);
    let mut example =
        vec![packet(*sent, near, first.server, query.clone()), packet(*sent, near, second.server, query)];
    example.extend([first, second].map(|said| {
        packet(said.at, said.server, near, format!("{}, {} id {id}", said.rcode, question.qtype))
    }));
    let remedies = vec![remedy(
        "Name only servers that know the same names: drop the one that denies it",
        RemedyPlace::ResolvConf,
        &[&format!("nameserver {}", knower.server.ip())],
    )];
    Details { summary, because, numbers, example, remedies }
}

#[cfg(test)]
mod tests;
