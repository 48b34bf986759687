//! `servers-disagree` (facts.md section 3.8, P15).
//!
//! musl asks all its servers at once and takes the first usable response: where one says NXDOMAIN and another knows the
//! name, chance decides. Known by one ID from one port to several servers at once.

use super::example::of_asks;
use super::incidents::Incidents;
use super::remedies::{remedy, text};
use super::thresholds::Race;
use super::{
    Confidence, Desk, Details, Detector, FindingId, RemedyPlace, Severity, Sighting, Strength, Subject,
};
use crate::correlate::lookups::{Answer, Ask, Candidate, Lookup, Verdict};
use crate::dns::Rcode;
use crate::packet::Transport;

/// The rule.
#[derive(Default)]
pub(super) struct ServersDisagree {
    incidents: Incidents,
}

/// One server says that the name is not there, another that it is.
struct Disagreement<'a> {
    denies: (&'a Ask, &'a Answer),
    knows: (&'a Ask, &'a Answer),
}

/// The same query at another server?
fn is_same_query(one: &Ask, other: &Ask, race: &Race) -> bool {
    let at_once = one.sent.since(other.sent).max(other.sent.since(one.sent)) < race.pair;
    at_once
        && one.server.ip() != other.server.ip()
        && (one.client_port, one.id, one.qtype) == (other.client_port, other.id, other.qtype)
        && one.transport == Transport::Udp
}

fn disagreement<'a>(candidate: &'a Candidate, race: &Race) -> Option<Disagreement<'a>> {
    let answered = || candidate.asks.iter().filter_map(|ask| Some((ask, ask.answer()?)));
    answered().filter(|(_, answer)| answer.rcode == Rcode::NXDOMAIN).find_map(|denies| {
        let knows = answered().find(|(ask, answer)| {
            answer.rcode == Rcode::NOERROR
                && matches!(answer.verdict, Verdict::Answer | Verdict::NoData)
                && is_same_query(denies.0, ask, race)
        })?;
        Some(Disagreement { denies, knows })
    })
}

impl Detector for ServersDisagree {
    fn id(&self) -> FindingId {
        FindingId::ServersDisagree
    }

    fn lookup(&mut self, lookup: &Lookup, desk: &mut Desk<'_>) {
        for candidate in &lookup.candidates {
            // Nearly all ask one server for two types.
            let Some(first) = candidate.asks.first() else { continue };
            if candidate.asks.iter().all(|ask| ask.server == first.server) {
                continue;
            }
            if let Some(found) = disagreement(candidate, &desk.context.thresholds.race) {
                self.found(lookup, candidate, &found, desk);
            }
        }
    }
}

impl ServersDisagree {
    fn found(
        &mut self,
        lookup: &Lookup,
        candidate: &Candidate,
        found: &Disagreement<'_>,
        desk: &mut Desk<'_>,
    ) {
        let subject = Subject::client(lookup.client);
        let (denied, known) = (found.denies.1, found.knows.1);
        let repetition = desk.context.thresholds.repetition;
        let times = self.incidents.add(denied.at, subject, &candidate.name, &repetition);
        let harmed = denied.at < known.at && known.verdict == Verdict::Answer;
        let (severity, confidence) = match times.strength {
            Strength::Single => (Severity::Low, Confidence::Low),
            Strength::Repeated if harmed => (Severity::High, Confidence::High),
            Strength::Repeated => (Severity::Warning, Confidence::High),
        };
        let sighting = Sighting {
            id: self.id(),
            subject,
            severity,
            confidence,
            seen: (lookup.started, denied.at.max(known.at)),
            count: u64::from(times.new),
        };
        desk.raise(sighting, || details(lookup, candidate, found, harmed));
    }
}

fn details(lookup: &Lookup, candidate: &Candidate, found: &Disagreement<'_>, harmed: bool) -> Details {
    let Disagreement { denies: (denier, denied), knows: (knower, known) } = found;
    let (client, name) = (lookup.client.address, &candidate.name);
    let effect = if harmed { "and its denial came first" } else { "and whoever is quicker is believed" };
    let summary = format!(
        "{client} asks {} and {} for {name} at once: the first denies the name, the other knows it, {effect}",
        denier.server.ip(),
        knower.server.ip()
    );
    let after = |ask: &Ask, answer: &Answer| answer.at.since(ask.sent).as_secs_f64() * 1e3;
    let because = vec![
        "the same query with one ID went from one port to several servers at once, as musl does".to_owned(),
        format!(
            "{} said {} after {:.1} ms, {} said {} after {:.1} ms",
            denier.server.ip(),
            denied.rcode,
            after(denier, denied),
            knower.server.ip(),
            known.rcode,
            after(knower, known)
        ),
    ];
    let numbers = vec![
        text("qname", name),
        text("denied_by", denier.server.ip()),
        text("known_by", knower.server.ip()),
    ];
    let keep = format!("nameserver {}", knower.server.ip());
    let remedies = vec![remedy(
        "Name only servers that know the same names: drop the one that denies it",
        RemedyPlace::ResolvConf,
        &[&keep],
    )];
    let example = of_asks(lookup, candidate.asks.iter().map(|ask| (name, ask)));
    Details { summary, because, numbers, example, remedies }
}

#[cfg(test)]
mod tests;
