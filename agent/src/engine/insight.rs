//! The rooms behind matching: what events mean to clients, servers and interfaces, and what is wrong.

use std::net::IpAddr;
use std::time::Duration;

use super::Report;
use super::told::Told;
use crate::capture::counters::CaptureCounters;
use crate::capture::frame::Timestamp;
use crate::correlate::clients::Clients;
use crate::correlate::fallback::{Fallbacks, Followed, Segment};
use crate::correlate::linklocal::Rates;
use crate::correlate::lookups::Lookup;
use crate::correlate::resolv_conf::{ResolvConf, SearchSource};
use crate::correlate::servers::Servers;
use crate::correlate::shadow_cache::ShadowCache;
use crate::correlate::what_if::WhatIf;
use crate::correlate::{Event, Vantage};
use crate::findings::{Blind, Findings, Ground, Shown, Thresholds};
use crate::identity::facts::Fact;
use crate::identity::who::Who;
use crate::tally::LookupCounts;

/// What is configured of it.
#[derive(Clone, Debug, Default)]
pub struct InsightConfig {
    /// Numbers that the rules compare with.
    pub thresholds: Thresholds,
    /// How clients' resolvers are configured: of one address, or of all that nothing better is known of.
    pub resolv_confs: Vec<(Option<IpAddr>, ResolvConf, SearchSource)>,
    /// Addresses of VPC resolvers beside the well-known ones.
    pub vpc_resolvers: Vec<IpAddr>,
}

/// How far the watermark moves before it is looked what is due.
const TICK: Duration = Duration::from_millis(1);

/// Lookups, fallbacks, rates and findings.
pub struct Insight {
    rooms: Rooms,
    findings: Findings,
    lookups: LookupCounts,
    /// What became known by one event, kept for its room.
    known: Known,
    /// The watermark when it was last looked what is due.
    ticked: Timestamp,
}

/// Those who follow what happens; the rules look at them.
#[derive(Default)]
struct Rooms {
    clients: Clients,
    fallbacks: Fallbacks,
    rates: Rates,
    servers: Servers,
    cache: ShadowCache,
    what_if: WhatIf,
    who: Who,
    told: Told,
    /// The part in `what_if` of the lookup that was shown last.
    of_lookup: WhatIf,
}

/// What one event made known.
#[derive(Default)]
struct Known {
    followed: Vec<Followed>,
    lookups: Vec<Lookup>,
}

impl Rooms {
    /// What the rules are shown of them.
    fn ground(&self) -> Ground<'_> {
        Ground {
            servers: &self.servers,
            what_if: &self.what_if,
            of_lookup: &self.of_lookup,
            cache: self.cache.savings(),
            clients: &self.clients,
            fallbacks: &self.fallbacks,
            who: &self.who,
        }
    }

    /// Forgets what goes by a clock, after all was ended; not what was told, nor the sums of what would be saved.
    fn forget(&mut self) {
        self.clients.forget();
        self.fallbacks.forget();
        self.servers = Servers::default();
        self.cache.forget();
        self.of_lookup = WhatIf::default();
    }
}

impl Insight {
    /// With nothing known yet.
    pub(super) fn new(config: InsightConfig) -> Self {
        let fallbacks = Fallbacks::new(config.thresholds.patience());
        let mut rooms = Rooms { fallbacks, ..Rooms::default() };
        for (client, resolv_conf, source) in config.resolv_confs {
            rooms.clients.configure(client, resolv_conf, source);
        }
        rooms.rates.configure(&config.vpc_resolvers);
        rooms.cache.configure(&config.vpc_resolvers);
        Self {
            rooms,
            findings: Findings::new(config.thresholds),
            lookups: LookupCounts::default(),
            known: Known::default(),
            ticked: Timestamp::default(),
        }
    }

    /// What is known of each client.
    pub fn clients(&self) -> &Clients {
        &self.rooms.clients
    }

    /// What a node-local cache would have saved.
    pub fn cache(&self) -> &ShadowCache {
        &self.rooms.cache
    }

    /// What another configuration would have cost.
    pub fn what_if(&self) -> &WhatIf {
        &self.rooms.what_if
    }

    /// How many lookups ended, and how.
    pub fn lookups(&self) -> &LookupCounts {
        &self.lookups
    }

    /// What was found.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// Every rule that could not look, or not at everything; `queries`: how many were seen.
    pub fn blind(&self, queries: u64) -> Vec<Blind> {
        self.findings.blind(self.rooms.ground(), queries)
    }

    /// Is told who is who, from `time` on.
    pub(super) fn learn(&mut self, time: Timestamp, fact: &Fact) {
        let Rooms { who, told, clients, .. } = &mut self.rooms;
        who.learn(time, fact);
        who.forget_workloads(|_| false);
        told.learn(fact, clients);
    }

    /// Takes what the correlator said.
    pub(super) fn event(&mut self, now: Timestamp, event: &Event, emit: &mut dyn FnMut(Report<'_>)) {
        if let Event::Opened(sent) = event
            && sent.parties.vantage == Vantage::Client
        {
            self.rooms.who.asked(sent.time, &sent.parties);
        }
        self.rooms.servers.event(event);
        self.rooms.rates.event(event);
        self.rooms.cache.event(event);
        let Self { rooms: Rooms { clients, fallbacks, .. }, known, .. } = self;
        fallbacks.event(event, &mut |what| known.followed.push(what));
        clients.event(event, &mut |lookup| known.lookups.push(lookup));
        self.tell(now, emit);
        for repeat in self.rooms.cache.take_repeats() {
            self.show(now, Shown::Repeat(&repeat), emit);
        }
        if !self.findings.is_ordinary(event) {
            self.show(now, Shown::Event(event), emit);
        }
    }

    /// Takes a TCP segment; only those seen from the client's side, or in a file that does not say, tell something.
    pub(super) fn segment(&mut self, segment: &Segment<'_>, emit: &mut dyn FnMut(Report<'_>)) {
        self.rooms.rates.segment(segment);
        let Self { rooms: Rooms { fallbacks, .. }, known, .. } = self;
        fallbacks.segment(segment, &mut |what| known.followed.push(what));
        self.tell(segment.time, emit);
    }

    /// Tells that everything before `watermark` was seen.
    pub(super) fn tick(&mut self, watermark: Timestamp, emit: &mut dyn FnMut(Report<'_>)) {
        // A file moves the watermark with every frame; nothing here waits for so short a time.
        if watermark.since(self.ticked) >= TICK || watermark < self.ticked {
            self.judge(watermark, emit);
        }
    }

    /// Looks what is due.
    fn judge(&mut self, watermark: Timestamp, emit: &mut dyn FnMut(Report<'_>)) {
        self.ticked = watermark;
        self.rooms.who.tick(watermark);
        let Self { rooms: Rooms { clients, fallbacks, .. }, known, .. } = self;
        fallbacks.tick(watermark, &mut |what| known.followed.push(what));
        clients.tick(watermark, &mut |lookup| known.lookups.push(lookup));
        self.tell(watermark, emit);
        let mut seconds = Vec::new();
        self.rooms.rates.tick(watermark, &mut |second| seconds.push(second));
        for second in &seconds {
            self.show(watermark, Shown::LinkLocal(second), emit);
        }
        self.findings.tick(watermark, self.rooms.ground(), &mut |change| emit(Report::Finding(*change)));
    }

    /// Ends what is still open, at the end of the capture.
    pub(super) fn finish(&mut self, end: Timestamp, emit: &mut dyn FnMut(Report<'_>)) {
        self.judge(end, emit);
        let Self { rooms: Rooms { clients, fallbacks, .. }, known, .. } = self;
        fallbacks.finish(end, &mut |what| known.followed.push(what));
        clients.finish(end, &mut |lookup| known.lookups.push(lookup));
        self.tell(end, emit);
        let mut seconds = Vec::new();
        self.rooms.rates.finish(&mut |second| seconds.push(second));
        for second in &seconds {
            self.show(end, Shown::LinkLocal(second), emit);
        }
        self.show(end, Shown::Second, emit);
        self.show(end, Shown::End, emit);
    }

    /// Begins anew after [`Self::finish`], when the clock was set back: what was found until `end` closes. What was told,
    /// what closed and the sums of lookups and savings stay.
    pub(super) fn clock_set_back(&mut self, end: Timestamp, emit: &mut dyn FnMut(Report<'_>)) {
        self.rooms.forget();
        self.findings.clock_set_back(end, &mut |change| emit(Report::Finding(*change)));
        self.ticked = Timestamp::default();
    }

    /// Is told the source's counters, about once a second.
    pub(super) fn counters(&mut self, time: Timestamp, counters: &CaptureCounters) {
        self.rooms.rates.counters(time, counters);
        self.rooms.cache.found(&counters.vpc_resolvers);
        self.findings.counters(time, counters);
    }

    /// Shows the rules what became known: what followed a truncated response before the lookup that it belongs to.
    fn tell(&mut self, now: Timestamp, emit: &mut dyn FnMut(Report<'_>)) {
        if self.known.followed.is_empty() && self.known.lookups.is_empty() {
            return;
        }
        let mut known = std::mem::take(&mut self.known);
        for what in known.followed.drain(..) {
            match what {
                Followed::Fallback(mut fallback) => {
                    fallback.fingerprint = self.rooms.clients.fingerprint(&fallback.client);
                    self.show(now, Shown::Fallback(&fallback), emit);
                }
                Followed::Attempt(attempt) => self.show(now, Shown::Attempt(&attempt), emit),
                Followed::Disagreement(what) => self.show(now, Shown::Disagreement(&what), emit),
                Followed::Reuse(reuse) => self.show(now, Shown::Reuse(&reuse), emit),
            }
        }
        for lookup in known.lookups.drain(..) {
            self.rooms.of_lookup = WhatIf::of(&lookup);
            self.rooms.what_if.add_all(&self.rooms.of_lookup);
            self.lookups.add(&lookup);
            self.show(now, Shown::Lookup(&lookup), emit);
            emit(Report::Lookup(&lookup));
        }
        self.known = known;
    }

    fn show(&mut self, now: Timestamp, shown: Shown<'_>, emit: &mut dyn FnMut(Report<'_>)) {
        self.findings.show(now, shown, self.rooms.ground(), &mut |change| emit(Report::Finding(*change)));
    }
}
