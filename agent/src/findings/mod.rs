//! Judges lookups, fallbacks, rates and events by named rules, and keeps what was found.
//!
//! Input: what `correlate` said, and [`Context`]. Output: [`Change`]: a finding opened, changed or closed. One file per
//! rule, and one list that names them all ([`detectors`]). Deliberately absent: decoding, labels, I/O and clocks.
//!
//! A rule that rests on "nothing followed" asks [`Desk::lost`] how many packets were lost there and then, and fires only
//! where its evidence exceeds its threshold plus that; else it says so with [`Desk::hold_back`].

mod behind;
mod blind;
mod cluster;
mod conntrack_race;
mod deep_cname;
mod evidence;
mod example;
mod finding;
mod followed;
mod fragmented;
mod id_reuse;
mod incidents;
mod lame_nodata;
mod late_reply;
mod ledger;
mod linklocal_rate;
mod losses;
mod old_musl;
mod oversize_udp;
mod pages;
mod pair_conflict;
#[cfg(test)]
mod play;
mod public_leak;
mod query_storm;
mod refused;
mod remedies;
mod resolv_conf_limits;
mod search_amplification;
mod search_stopped;
mod servers_disagree;
mod servfail;
mod short_name_broken;
mod tcp_blocked;
pub mod thresholds;
mod truncated_no_tcp;
mod unanswered;
mod unused_aaaa;
mod wrong_source;

use std::time::Duration;

use crate::capture::counters::CaptureCounters;
use crate::capture::frame::{Ifindex, Timestamp};
use crate::correlate::clients::Clients;
use crate::correlate::fallback::{Attempt, Disagreement, Fallback, Fallbacks, Reuse};
use crate::correlate::linklocal::LinkLocalSecond;
use crate::correlate::lookups::Lookup;
use crate::correlate::servers::Servers;
use crate::correlate::shadow_cache::{CacheSavings, Repeat};
use crate::correlate::what_if::WhatIf;
use crate::correlate::{ClientId, Event, Outcome};
use crate::dns::Rcode;
use crate::identity::who::Who;

pub use crate::correlate::fingerprint::Confidence;
pub use blind::{Blind, Open, OpenQuery, Outlook, Unfinished};
pub use evidence::{counted, percentage};
pub use finding::{
    Change, Details, DnsChange, Finding, FindingId, Measure, Packet, Quantity, Remedy, RemedyPlace, Severity,
    Subject, UnknownFinding,
};
pub use incidents::Strength;
pub use ledger::{HeldBack, Ledger};
pub use losses::Losses;
pub use thresholds::{TABLE, Threshold, Thresholds};

/// A rule.
pub trait Detector: Send {
    /// What it finds.
    fn id(&self) -> FindingId;

    /// A lookup ended.
    fn lookup(&mut self, _lookup: &Lookup, _desk: &mut Desk<'_>) {}

    /// Something happened that is not ordinary ([`is_ordinary`]), from whatever vantage.
    fn event(&mut self, _event: &Event, _desk: &mut Desk<'_>) {}

    /// It became known what followed a truncated response.
    fn fallback(&mut self, _fallback: &Fallback, _desk: &mut Desk<'_>) {}

    /// A TCP connection did not come about.
    fn attempt(&mut self, _attempt: &Attempt, _desk: &mut Desk<'_>) {}

    /// Two servers that were asked at once disagree.
    fn disagreement(&mut self, _disagreement: &Disagreement, _desk: &mut Desk<'_>) {}

    /// Two questions are open under one ID and port.
    fn reuse(&mut self, _reuse: &Reuse, _desk: &mut Desk<'_>) {}

    /// A second of link-local packets is over.
    fn linklocal(&mut self, _second: &LinkLocalSecond, _desk: &mut Desk<'_>) {}

    /// A client asked the same again and again, before its answer was over.
    fn repeat(&mut self, _repeat: &Repeat, _desk: &mut Desk<'_>) {}

    /// A second of the capture is over.
    fn second(&mut self, _desk: &mut Desk<'_>) {}

    /// The capture is over: nothing that was waited for will come.
    fn end(&mut self, _desk: &mut Desk<'_>) {}

    /// Why it could not look, or not at everything, where that is so: what was not looked at is not called absent.
    fn blind(&self, _outlook: &Outlook<'_>) -> Option<String> {
        None
    }
}

/// Every rule, in the order in which a report looks through them: by the harm they may do.
fn detectors() -> Vec<Box<dyn Detector>> {
    vec![
        Box::<truncated_no_tcp::TruncatedNoTcp>::default(),
        Box::<search_stopped::SearchStopped>::default(),
        Box::<pair_conflict::PairConflict>::default(),
        Box::<linklocal_rate::LinkLocalRate>::default(),
        Box::<search_amplification::SearchAmplification>::default(),
        Box::<conntrack_race::ConntrackRace>::default(),
        Box::<tcp_blocked::TcpBlocked>::default(),
        Box::<oversize_udp::OversizeUdp>::default(),
        Box::<old_musl::OldMusl>::default(),
        Box::<unanswered::Unanswered>::default(),
        Box::<servfail::ServFail>::default(),
        Box::<refused::Refused>::default(),
        Box::<fragmented::Fragmented>::default(),
        Box::<wrong_source::WrongSource>::default(),
        Box::<short_name_broken::ShortNameBroken>::default(),
        Box::<servers_disagree::ServersDisagree>::default(),
        Box::<resolv_conf_limits::ResolvConfLimits>::default(),
        Box::<late_reply::LateReply>::default(),
        Box::<query_storm::QueryStorm>::default(),
        Box::<id_reuse::IdReuse>::default(),
        Box::<lame_nodata::LameNodata>::default(),
        Box::<deep_cname::DeepCname>::default(),
        Box::<public_leak::PublicLeak>::default(),
        Box::<unused_aaaa::UnusedAaaa>::default(),
    ]
}

/// Is it of no interest to any rule by itself? Nearly all transactions are; their lookups are looked at.
fn is_ordinary(event: &Event, thresholds: &Thresholds) -> bool {
    match event {
        Event::Opened(_) | Event::Copy | Event::Evicted { .. } => true,
        Event::Retransmitted(_) | Event::Late { .. } | Event::Orphan { .. } => false,
        Event::Closed(transaction) => match &transaction.outcome {
            Outcome::Answered { response, .. } => {
                // What fits into UDP without EDNS is no burden on anybody.
                let (udp_limit, cnames) = (thresholds.truncated.udp_limit, thresholds.deep_cname.cnames);
                matches!(response.rcode, Rcode::NOERROR | Rcode::NXDOMAIN)
                    && transaction.sends == 1
                    && !response.header.truncated()
                    && !response.fragmented
                    && response.length <= usize::from(udp_limit.min(512))
                    && usize::from(response.header.counts[1]) < cnames
                    // Aliases without an end.
                    && !(response.header.counts[1] > 1 && !response.authority_soa && response.is_nodata())
            }
            _ => false,
        },
    }
}

/// What a rule may look at beside what it is shown.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Now, by the clock of the frames.
    pub now: Timestamp,
    /// What is configured.
    pub thresholds: &'a Thresholds,
    /// The rooms before the rules.
    pub ground: Ground<'a>,
}

/// Where a rule puts down what it saw.
pub struct Desk<'a> {
    /// What it may look at.
    pub context: Context<'a>,
    losses: &'a Losses,
    ledger: &'a mut Ledger,
    emit: &'a mut dyn FnMut(&Change<'_>),
}

/// What a rule says of one sighting.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// What was found.
    pub id: FindingId,
    /// Whom it is about.
    pub subject: Subject,
    /// How bad.
    pub severity: Severity,
    /// How sure.
    pub confidence: Confidence,
    /// When the first packet of this evidence was seen, and when the last.
    pub seen: (Timestamp, Timestamp),
    /// How many times since the last sighting.
    pub count: u64,
}

impl Desk<'_> {
    /// Opens a finding, or adds to one that is open. `details` is called only where they will be kept: when it opens,
    /// grows worse or surer, and otherwise once a second at most.
    pub fn raise(&mut self, sighting: Sighting, details: impl FnOnce() -> Details) {
        let (id, subject, ground) = (sighting.id, sighting.subject, self.context.ground);
        let details = || {
            let behind = behind::of(&subject, &ground);
            (behind::complete(details(), id, &subject, &behind, &ground), behind)
        };
        self.ledger.raise(self.context.now, sighting, details, self.emit);
    }

    /// The same for a rule whose subject may widen: from a client at a server to all clients of the server, or to all
    /// servers of the client. Then the wider finding takes the narrower ones in, and later sightings of them.
    pub fn raise_widest(&mut self, sighting: Sighting, details: impl FnOnce() -> Details) {
        let (id, subject) = (sighting.id, sighting.subject);
        let subject = self.ledger.covering(id, subject).unwrap_or(subject);
        let opens = !self.is_open(id, subject);
        self.raise(Sighting { subject, ..sighting }, details);
        if opens {
            let parts = self.ledger.covered(id, subject);
            parts.into_iter().for_each(|part| self.absorb(id, part, subject));
        }
    }

    /// Closes the finding about `from`, if there is one, and adds what it saw to the open one about `into`.
    pub fn absorb(&mut self, id: FindingId, from: Subject, into: Subject) {
        self.ledger.absorb(self.context.now, id, (from, into), self.emit);
    }

    /// Is such a finding open? The sighting that opens one counts those before it, too.
    pub fn is_open(&self, id: FindingId, subject: Subject) -> bool {
        self.ledger.is_open(id, subject)
    }

    /// Packets lost at the interface of a client between two times, by the last reading before and the first after;
    /// all that were lost where the interface is not known.
    pub fn lost(&self, client: &ClientId, from: Timestamp, until: Timestamp) -> u64 {
        self.losses.between(client.interface, from, until)
    }

    /// Packets lost at an interface, or anywhere, between two times.
    pub fn lost_at(&self, interface: Option<Ifindex>, from: Timestamp, until: Timestamp) -> u64 {
        self.losses.between(interface, from, until)
    }

    /// Notes that `evidence` sightings were not enough against `lost` packets.
    pub fn hold_back(&mut self, id: FindingId, subject: Subject, evidence: u64, lost: u64) {
        self.ledger.hold_back(HeldBack { id, subject, evidence, lost });
    }
}

/// All rules and what they found.
pub struct Findings {
    detectors: Vec<Box<dyn Detector>>,
    thresholds: Thresholds,
    ledger: Ledger,
    losses: Losses,
    unfinished: Unfinished,
    /// When the rules were last told that a second is over.
    second: Timestamp,
}

/// What the rules are shown of the rooms before them.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// How each server does.
    pub servers: &'a Servers,
    /// What another configuration would have cost.
    pub what_if: &'a WhatIf,
    /// The part in it of the lookup that was shown last.
    pub of_lookup: &'a WhatIf,
    /// What a node-local cache would have saved.
    pub cache: CacheSavings,
    /// What is known of each client.
    pub clients: &'a Clients,
    /// The queries of the last moments.
    pub fallbacks: &'a Fallbacks,
    /// Who stands behind clients and servers.
    pub who: &'a Who,
}

/// What is shown to the rules.
#[derive(Clone, Copy)]
pub enum Shown<'a> {
    /// A lookup ended.
    Lookup(&'a Lookup),
    /// Something that is not ordinary happened.
    Event(&'a Event),
    /// It became known what followed a truncated response.
    Fallback(&'a Fallback),
    /// A TCP connection did not come about.
    Attempt(&'a Attempt),
    /// Two servers that were asked at once disagree.
    Disagreement(&'a Disagreement),
    /// Two questions are open under one ID and port.
    Reuse(&'a Reuse),
    /// A second of link-local packets is over.
    LinkLocal(&'a LinkLocalSecond),
    /// A client asked the same again and again.
    Repeat(&'a Repeat),
    /// A second of the capture is over.
    Second,
    /// The capture is over.
    End,
}

impl Findings {
    /// With nothing found yet.
    pub fn new(thresholds: Thresholds) -> Self {
        let ledger = Ledger::new(thresholds.close_after);
        let (losses, unfinished) = (Losses::default(), Unfinished::default());
        Self { detectors: detectors(), thresholds, ledger, losses, unfinished, second: Timestamp::default() }
    }

    /// What was found, and what was held back.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What is configured.
    pub fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// Is an event of no interest to any rule by itself? Such ones need not be shown.
    pub fn is_ordinary(&self, event: &Event) -> bool {
        is_ordinary(event, &self.thresholds)
    }

    /// Every rule by name, in the order of a report.
    pub fn ids(&self) -> impl Iterator<Item = FindingId> {
        self.detectors.iter().map(|detector| detector.id())
    }

    /// Shows something to the rules; `now` by the clock of the frames.
    pub fn show(
        &mut self,
        now: Timestamp,
        shown: Shown<'_>,
        ground: Ground<'_>,
        emit: &mut dyn FnMut(&Change<'_>),
    ) {
        self.unfinished.note(now, shown);
        let context = Context { now, thresholds: &self.thresholds, ground };
        let mut desk = Desk { context, losses: &self.losses, ledger: &mut self.ledger, emit };
        for detector in &mut self.detectors {
            match shown {
                Shown::Lookup(lookup) => detector.lookup(lookup, &mut desk),
                Shown::Event(event) => detector.event(event, &mut desk),
                Shown::Fallback(fallback) => detector.fallback(fallback, &mut desk),
                Shown::Attempt(attempt) => detector.attempt(attempt, &mut desk),
                Shown::Disagreement(what) => detector.disagreement(what, &mut desk),
                Shown::Reuse(reuse) => detector.reuse(reuse, &mut desk),
                Shown::LinkLocal(second) => detector.linklocal(second, &mut desk),
                Shown::Repeat(repeat) => detector.repeat(repeat, &mut desk),
                Shown::Second => detector.second(&mut desk),
                Shown::End => detector.end(&mut desk),
            }
        }
    }

    /// Tells that everything before `watermark` was seen: once a second the rules look around, and findings close.
    pub fn tick(&mut self, watermark: Timestamp, ground: Ground<'_>, emit: &mut dyn FnMut(&Change<'_>)) {
        if watermark.since(self.second) < Duration::from_secs(1) {
            return;
        }
        self.second = watermark;
        self.show(watermark, Shown::Second, ground, emit);
        self.ledger.identify(
            |subject| behind::of(subject, &ground),
            |details, id, subject, behind| behind::complete(details, id, subject, behind, &ground),
        );
        self.ledger.tick(watermark, emit);
    }

    /// The clock was set back: what was found until `end` closes, and the rules begin anew, since what they remember of
    /// their windows is neither past nor present now. What closed, what was held back and the thresholds stay.
    pub fn clock_set_back(&mut self, end: Timestamp, emit: &mut dyn FnMut(&Change<'_>)) {
        self.ledger.close_all(end, emit);
        self.losses.clock_set_back();
        self.detectors = detectors();
        self.second = Timestamp::default();
    }

    /// Is told the source's counters, about once a second: what was lost, and where.
    pub fn counters(&mut self, time: Timestamp, counters: &CaptureCounters) {
        self.losses.read(time, counters);
    }
}

#[cfg(test)]
pub(crate) mod bench;
#[cfg(test)]
mod played;
#[cfg(test)]
mod tests;
