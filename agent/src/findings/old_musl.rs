//! `old-musl` (facts.md sections 1.3 and 3.1, latent form).
//!
//! The stub resolver is musl before 1.2.4, by the clock in its IDs or by the files of its image. Nothing has failed yet;
//! the first answer beyond 512 bytes will. Silent until the fingerprint is certain, which takes more than ten pairs, where
//! nobody reads the files, and where the wire shows another resolver than theirs.

use std::time::Duration;

use hashlink::LinkedHashMap;

use super::behind;
use super::example::of_lookup;
use super::remedies::{count, newer_image, text};
use super::{Confidence, Desk, Details, Detector, FindingId, Outlook, Severity, Sighting, Subject};
use crate::capture::frame::Timestamp;
use crate::correlate::fingerprint::{Fingerprint, Stub};
use crate::correlate::lookups::Lookup;
use crate::correlate::{ClientId, Event, Outcome};
use crate::dns::Name;

/// Names with large answers that are kept at most; the one seen the longest ago gives way.
const MAX_NAMES: usize = 256;
/// Clients that were named lately which are kept at most.
const MAX_CLIENTS: usize = 4096;
/// A client is named again after this time: more often says nothing new.
const AGAIN: Duration = Duration::from_secs(5);
/// Names with large answers that are told.
const TOLD: usize = 5;

/// The rule.
#[derive(Default)]
pub(super) struct OldMusl {
    /// The largest answer that other clients had, over TCP or with EDNS, and who had it last.
    large: LinkedHashMap<Name, (usize, ClientId)>,
    /// When each client was named last.
    named: LinkedHashMap<ClientId, Timestamp>,
}

impl Detector for OldMusl {
    fn id(&self) -> FindingId {
        FindingId::OldMusl
    }

    fn event(&mut self, event: &Event, desk: &mut Desk<'_>) {
        if let Event::Closed(transaction) = event
            && transaction.parties.at_client()
            && let Outcome::Answered { response, .. } = &transaction.outcome
            && response.length > usize::from(desk.context.thresholds.truncated.udp_limit)
            && let Some(question) = &transaction.query.question
        {
            let before = self.large.remove(&question.qname).map_or(0, |(length, _)| length);
            let entry = (before.max(response.length), transaction.parties.client_id());
            self.large.insert(question.qname.clone(), entry);
            if self.large.len() > MAX_NAMES {
                self.large.pop_front();
            }
        }
    }

    fn lookup(&mut self, lookup: &Lookup, desk: &mut Desk<'_>) {
        let Some(known) = known(lookup, desk) else { return };
        if self.named.get(&lookup.client).is_some_and(|at| lookup.ended.since(*at) < AGAIN) {
            return;
        }
        self.named.insert(lookup.client, lookup.ended);
        if self.named.len() > MAX_CLIENTS {
            self.named.pop_front();
        }
        let sighting = Sighting {
            id: self.id(),
            subject: Subject::client(lookup.client),
            severity: Severity::Info,
            confidence: known.confidence(),
            seen: (lookup.started, lookup.ended),
            count: 1,
        };
        desk.raise(sighting, || self.details(lookup, known));
    }

    fn blind(&self, outlook: &Outlook<'_>) -> Option<String> {
        let fingerprints = outlook.ground.clients.fingerprints();
        let unsure = fingerprints.iter().filter(|(_, fingerprint)| match fingerprint.stub {
            Stub::Musl => true,
            Stub::MuslBefore124 => fingerprint.confidence < Confidence::High,
            _ => false,
        });
        match unsure.count() {
            0 => None,
            1 => Some("one client asks as musl does, and shows too few pairs of A and AAAA to be sure of its version".into()),
            count => Some(format!(
                "{count} clients ask as musl does, and show too few pairs of A and AAAA to be sure of their version"
            )),
        }
    }
}

/// What it is known by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// The wire shows it.
    Wire,
    /// The files of all containers behind the address say it.
    Files,
    /// Those of one of several containers do.
    SomeFiles,
}

impl Known {
    fn confidence(self) -> Confidence {
        match self {
            Self::Wire | Self::Files => Confidence::High,
            Self::SomeFiles => Confidence::Medium,
        }
    }

    fn because(self, lookup: &Lookup) -> String {
        match self {
            Self::Wire => lookup.fingerprint.because.to_owned(),
            Self::Files => "musl before 1.2.4 is what its processes have mapped".to_owned(),
            Self::SomeFiles => "musl before 1.2.4 is what one of its containers has mapped".to_owned(),
        }
    }
}

/// The wire needs many pairs to be sure, files tell at once; but a program with a resolver of its own has no use for that of
/// its C library, and there the wire is right.
fn known(lookup: &Lookup, desk: &Desk<'_>) -> Option<Known> {
    let Fingerprint { stub, confidence, not_musl, .. } = lookup.fingerprint;
    if stub == Stub::MuslBefore124 && confidence >= Confidence::High {
        return Some(Known::Wire);
    }
    let files = behind::files(&lookup.client, &desk.context.ground).filter(|files| files.old_musl)?;
    let other = not_musl || stub != Stub::Unknown && !stub.is_musl() && confidence > Confidence::Low;
    match (files.all, other) {
        (true, false) => Some(Known::Files),
        (true, true) => None,
        (false, _) => Some(Known::SomeFiles),
    }
}

impl OldMusl {
    fn details(&self, lookup: &Lookup, known: Known) -> Details {
        let summary = format!(
            "{} resolves names with musl before 1.2.4: the first answer of more than 512 bytes will fail",
            lookup.client.address
        );
        let others = self.large.iter().filter(|(_, (_, client))| *client != lookup.client);
        let names: Vec<String> =
            others.rev().take(TOLD).map(|(name, (length, _))| format!("{name} {length} B")).collect();
        let mut because = vec![
            known.because(lookup),
            "musl asks without EDNS, and over TCP from 1.2.4 on only (musl commit 51d4669f)".to_owned(),
        ];
        if !names.is_empty() {
            because.push(format!("other clients had answers that do not fit: {}", names.join(", ")));
        }
        let numbers = vec![
            text("stub_resolver", lookup.fingerprint.stub.as_str()),
            count("names_that_do_not_fit", names.len()),
        ];
        Details { summary, because, numbers, example: of_lookup(lookup), remedies: newer_image() }
    }
}

#[cfg(test)]
mod tests;
