//! Shows lookups of a played sequence to the rules, for their tests.

use super::*;
use crate::capture::counters::DropReason;
use crate::correlate::Vantage;
use crate::correlate::clients::tests::lookups;
use crate::correlate::fingerprint::{Fingerprint, Stub};

/// What the rules found, in the end.
pub(super) struct Played {
    findings: Findings,
}

/// Plays `steps` (see the tests of `clients`), by stub resolvers of one kind.
pub(super) fn play<S: AsRef<str>>(stub: Stub, resolv_conf: Option<&str>, steps: &[S]) -> Played {
    play_with(stub, resolv_conf, steps, &[], |_| {})
}

/// The same with `lost` packets before each of these times in milliseconds, and lookups that are changed first.
pub(super) fn play_with<S: AsRef<str>>(
    stub: Stub,
    resolv_conf: Option<&str>,
    steps: &[S],
    lost: &[(u64, u64)],
    change: impl Fn(&mut Lookup),
) -> Played {
    let (lookups, clients) = lookups(resolv_conf, steps);
    let mut findings = Findings::new(Thresholds::default());
    for &(millis, packets) in lost {
        let drops = [((Vantage::Client, DropReason::RingFull), packets)].into();
        let counters = CaptureCounters { drops, ..CaptureCounters::default() };
        findings.counters(Timestamp::from_nanos(millis * 1_000_000), &counters);
    }
    let (servers, what_if) = (Servers::default(), WhatIf::default());
    let (fallbacks, who) = (Fallbacks::default(), Who::default());
    let ground = Ground {
        servers: &servers,
        what_if: &what_if,
        of_lookup: &what_if,
        cache: CacheSavings::default(),
        clients: &clients,
        fallbacks: &fallbacks,
        who: &who,
    };
    for mut lookup in lookups {
        lookup.fingerprint =
            Fingerprint { stub, confidence: Confidence::High, because: "it is played", not_musl: false };
        change(&mut lookup);
        let of_lookup = WhatIf::of(&lookup);
        let ground = Ground { of_lookup: &of_lookup, ..ground };
        findings.show(lookup.ended, Shown::Lookup(&lookup), ground, &mut |_| {});
    }
    Played { findings }
}

impl Played {
    /// Severity, confidence and count of a finding.
    pub(super) fn of(&self, id: FindingId) -> Option<(Severity, Confidence, u64)> {
        self.finding(id).map(|finding| (finding.severity, finding.confidence, finding.count))
    }

    /// The finding itself.
    pub(super) fn finding(&self, id: FindingId) -> Option<Finding> {
        self.findings.ledger().all().into_iter().find(|finding| finding.id == id)
    }

    /// How many times a finding was held back, and against how many lost packets.
    pub(super) fn held_back(&self, id: FindingId) -> Option<(u64, u64)> {
        self.findings.ledger().held_back().find(|note| note.id == id).map(|note| (note.evidence, note.lost))
    }
}
