//! `oversize-udp` (facts.md section 3.1 variant b).
//!
//! A response over UDP is larger than its client said it can take, and does not say TC: 512 bytes without EDNS (RFC 1035
//! section 4.2.1). musl before 1.2.4 and nslookup of BusyBox read 512 bytes and lose the rest without a word (facts.md section
//! 8.8).

use super::example::of_asks;
use super::incidents::{Incidents, Unit};
use super::remedies::{count, newer_image, remedy, text};
use super::{
    Confidence, Desk, Details, Detector, FindingId, RemedyPlace, Severity, Sighting, Strength, Subject,
};
use crate::correlate::fingerprint::Stub;
use crate::correlate::lookups::{Answer, Ask, Candidate, Lookup};
use crate::packet::Transport;

/// The rule.
#[derive(Default)]
pub(super) struct OversizeUdp {
    incidents: Incidents,
}

/// The largest response over UDP that its client takes (RFC 6891 section 6.2.3).
fn limit(ask: &Ask) -> usize {
    ask.edns.map_or(512, |size| usize::from(size).max(512))
}

/// The answer, if it is too large.
fn oversize(ask: &Ask) -> Option<&Answer> {
    let answer = ask.answer()?;
    let too_large = ask.transport == Transport::Udp && !answer.truncated && answer.length > limit(ask);
    too_large.then_some(answer)
}

impl Detector for OversizeUdp {
    fn id(&self) -> FindingId {
        FindingId::OversizeUdp
    }

    fn lookup(&mut self, lookup: &Lookup, desk: &mut Desk<'_>) {
        for candidate in &lookup.candidates {
            if let Some((ask, answer)) =
                candidate.asks.iter().find_map(|ask| oversize(ask).map(|answer| (ask, answer)))
            {
                self.found(lookup, candidate, ask, answer, desk);
            }
        }
    }
}

impl OversizeUdp {
    fn found(
        &mut self,
        lookup: &Lookup,
        candidate: &Candidate,
        ask: &Ask,
        answer: &Answer,
        desk: &mut Desk<'_>,
    ) {
        let subject = Subject::client_of(lookup.client, ask.server.ip());
        let repetition = desk.context.thresholds.repetition;
        let times = self.incidents.add(answer.at, subject, &candidate.name, Unit::Lookup, &repetition);
        let reads_512 = matches!(lookup.fingerprint.stub, Stub::MuslBefore124 | Stub::BusyboxNslookup);
        let (severity, confidence) = match times.strength {
            Strength::Single => (Severity::Low, Confidence::Low),
            Strength::Repeated if reads_512 => (Severity::Warning, lookup.fingerprint.confidence),
            // It breaks the protocol; whether this client minds is not known.
            Strength::Repeated => (Severity::Low, Confidence::Medium),
        };
        let sighting = Sighting {
            id: self.id(),
            subject,
            severity,
            confidence,
            seen: (ask.sent, answer.at),
            count: u64::from(times.new),
        };
        desk.raise(sighting, || details(lookup, candidate, ask, answer));
    }
}

fn details(lookup: &Lookup, candidate: &Candidate, ask: &Ask, answer: &Answer) -> Details {
    let Lookup { client, fingerprint, .. } = lookup;
    let limit = limit(ask);
    let server = ask.server.ip();
    let summary = format!(
        "{server} sends {} bytes over UDP for {} to {}, which takes {limit}: old stub resolvers lose the rest silently",
        answer.length, candidate.name, client.address
    );
    let mut because = vec![match ask.edns {
        Some(size) => format!("the query offered {size} bytes by EDNS"),
        None => "the query had no EDNS, so 512 bytes are the limit (RFC 1035 section 4.2.1)".to_owned(),
    }];
    because.push(format!("the response has {} bytes, and TC is not set", answer.length));
    if !fingerprint.because.is_empty() {
        because.push(format!(
            "the stub resolver looks like {}: {}",
            fingerprint.stub.as_str(),
            fingerprint.because
        ));
    }
    let numbers = vec![
        text("qname", &candidate.name),
        text("qtype", ask.qtype),
        count("response_bytes", answer.length),
        count("limit_bytes", limit),
        text("stub_resolver", fingerprint.stub.as_str()),
    ];
    let mut remedies = vec![
        remedy(
            "Let the server keep to the size that the client offers; CoreDNS up to 1.10.0 with cache did not",
            RemedyPlace::Server,
            &[],
        ),
        remedy("With CoreDNS: a current version, and", RemedyPlace::Corefile, &["bufsize 1232"]),
    ];
    remedies.extend(newer_image());
    let example = of_asks(lookup, candidate.asks.iter().map(|ask| (&candidate.name, ask)));
    Details { summary, because, numbers, example, remedies }
}

#[cfg(test)]
mod tests;
