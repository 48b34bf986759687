//! `short-name-broken` (facts.md section 3.8 P16).
//!
//! musl asks a name with `ndots` dots or more as it is and nothing else. A short name of another namespace (`db.shop`)
//! is not found then, though the Service exists: others were seen to find it by its whole name. Silent: names that no
//! Service was seen to have, resolvers that go through the search list after the name itself, tools.

use hashlink::LinkedHashMap;

use super::cluster::service;
use super::example::of_lookup;
use super::incidents::{Incidents, Unit};
use super::remedies::{count, dns_option, pasted, remedy, text};
use super::{
    Confidence, Desk, Details, Detector, FindingId, RemedyPlace, Severity, Sighting, Strength, Subject,
};
use crate::correlate::fingerprint::Stub;
use crate::correlate::lookups::{Candidate, Lookup, LookupOutcome};
use crate::dns::Name;

/// Services that are known to exist, at most; the one that was looked up the longest ago gives way.
const MAX_SERVICES: usize = 4096;

/// The rule.
#[derive(Default)]
pub(super) struct ShortNameBroken {
    /// `NAME.NAMESPACE`, with the whole name that was found.
    services: LinkedHashMap<Name, Name>,
    incidents: Incidents,
}

impl Detector for ShortNameBroken {
    fn id(&self) -> FindingId {
        FindingId::ShortNameBroken
    }

    fn lookup(&mut self, lookup: &Lookup, desk: &mut Desk<'_>) {
        match lookup.outcome {
            LookupOutcome::Answered => {
                let winner = lookup.winner.and_then(|winner| lookup.candidates.get(winner));
                self.exists(winner.map(|winner| &winner.name));
            }
            LookupOutcome::NxDomain if is_meant(lookup) => self.not_found(lookup, desk),
            _ => {}
        }
    }
}

/// Was a short name asked as it is and nothing else, by a stub resolver that may be musl?
fn is_meant(lookup: &Lookup) -> bool {
    let [only] = lookup.candidates.as_slice() else { return false };
    let is_musl = lookup.fingerprint.stub.is_musl()
        || lookup.fingerprint.stub == Stub::Unknown && lookup.ndots.is_some() && has_domains(lookup);
    only.as_is && is_musl && is_quiet(only)
}

/// A search list that others would have gone through.
fn has_domains(lookup: &Lookup) -> bool {
    lookup.search.as_ref().is_some_and(|search| !search.is_empty())
}

/// musl sends no OPT record, and getaddrinfo no AD (facts.md section 1.3).
fn is_quiet(candidate: &Candidate) -> bool {
    candidate.asks.iter().all(|ask| ask.edns.is_none() && !ask.authentic_data)
}

/// `NAME.NAMESPACE` of `NAME.NAMESPACE` or `NAME.NAMESPACE.svc`.
fn short(base: &Name) -> Option<Name> {
    let mut labels = base.labels();
    let three = labels.nth(2);
    match (base.label_count(), three) {
        (2, _) => Some(base.clone()),
        (3, Some(label)) if label.eq_ignore_ascii_case(b"svc") => Some(base.first_labels(2)),
        _ => None,
    }
}

impl ShortNameBroken {
    fn exists(&mut self, name: Option<&Name>) {
        let Some((short, whole)) = name.and_then(|name| Some((service(name)?, name))) else { return };
        if self.services.to_back(&short).is_none() {
            self.services.insert(short, whole.clone());
            if self.services.len() > MAX_SERVICES {
                self.services.pop_front();
            }
        }
    }

    fn not_found(&mut self, lookup: &Lookup, desk: &mut Desk<'_>) {
        let Some(whole) = short(&lookup.base).and_then(|short| self.services.get(&short)) else { return };
        let repetition = desk.context.thresholds.repetition;
        let subject = Subject::client(lookup.client);
        let times = self.incidents.add(lookup.started, subject, &lookup.base, Unit::Lookup, &repetition);
        let is_musl = lookup.fingerprint.stub.is_musl();
        let (severity, confidence) = match times.strength {
            Strength::Single => (Severity::Low, Confidence::Low),
            Strength::Repeated if is_musl && lookup.ndots.is_some() => (Severity::High, Confidence::High),
            Strength::Repeated if is_musl => (Severity::High, Confidence::Medium),
            Strength::Repeated => (Severity::Warning, Confidence::Low),
        };
        let seen = (lookup.started, lookup.ended);
        let sighting = Sighting { id: self.id(), subject, severity, confidence, seen, count: 1 };
        desk.raise(sighting, || details(lookup, whole));
    }
}

fn details(lookup: &Lookup, whole: &Name) -> Details {
    let base = &lookup.base;
    let dots = base.label_count().saturating_sub(1);
    let summary = format!(
        "{} does not find {base}, though {whole} exists: musl asks a name with {dots} dots as it is, and not below its search list",
        lookup.client.address
    );
    let mut because = vec![
        format!("{base} was asked as it is: NXDOMAIN, and no name of the search list followed within 1 s"),
        format!("{whole} was found by another lookup on this node"),
    ];
    if let Some(ndots) = lookup.ndots {
        because.push(format!("its resolv.conf says ndots:{ndots}"));
    }
    let fingerprint = &lookup.fingerprint;
    if !fingerprint.because.is_empty() {
        because.push(format!(
            "the stub resolver looks like {}: {}",
            fingerprint.stub.as_str(),
            fingerprint.because
        ));
    }
    // One more than the dots of the name.
    let enough = dots + 1;
    Details {
        summary,
        because,
        numbers: vec![
            text("name", base),
            text("exists", whole),
            count("dots", dots),
            count("ndots_needed", enough),
        ],
        example: of_lookup(lookup),
        remedies: vec![
            dns_option(
                "Let names with so few dots go through the search list first",
                "ndots",
                Some(&enough.to_string()),
            ),
            remedy("Or write the whole name", RemedyPlace::Application, &[&pasted(whole)]),
        ],
    }
}

#[cfg(test)]
mod tests;
