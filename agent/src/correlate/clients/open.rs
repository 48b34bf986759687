//! One lookup while it is open: which queries belong to it, and what came of them.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::ending::{Types, Wait};
use super::walk::{Knowledge, Step, Strength, Walk};
use crate::capture::frame::Timestamp;
use crate::correlate::fingerprint::Fingerprint;
use crate::correlate::lookups::{Answer, Ask, Candidate, Lookup, LookupOutcome, Reply, Verdict};
use crate::correlate::resolv_conf::SearchSource;
use crate::correlate::{ClientId, Parties, Sent};
use crate::dns::{Name, Question, RecordType, Response};

/// Names that are kept of one lookup: kubelet allows 32 domains (facts.md section 4).
const MAX_CANDIDATES: usize = 34;
/// Transactions that are kept of one lookup; the others are only counted.
const MAX_ASKS: usize = 96;
/// Times that are kept of one transaction; later ones take the place of the last.
const MAX_AGAIN: usize = 16;
/// Go asks again from another port after 5 s (facts.md section 3.0).
const GO_RETRY: RangeInclusive<Duration> = Duration::from_millis(4500)..=Duration::from_millis(5500);
/// A repetition that follows a response at once comes within 1 ms (facts.md section 8).
const AT_ONCE: Duration = Duration::from_millis(5);
/// A stub resolver that goes on without an answer has waited so long: from `timeout:1` of resolv.conf(5) to glibc's 5 s.
const GIVEN_UP: RangeInclusive<Duration> = Duration::from_millis(900)..=Duration::from_secs(6);

/// Where a query belongs in a lookup.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fit {
    /// To a candidate that was asked before.
    Same(usize),
    /// To the next one.
    Next(Step),
}

/// Where a transaction stands in a lookup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    candidate: u8,
    ask: u8,
}

const _: () = assert!(MAX_CANDIDATES < 256 && MAX_ASKS < 256);

/// A lookup that is not over.
#[derive(Debug)]
pub(super) struct Open {
    /// What is known of it so far.
    pub(super) lookup: Lookup,
    /// The place of its client.
    pub(super) client: u32,
    /// The hash by which it is found.
    pub(super) label: u64,
    /// Tells it from others in the same slot.
    pub(super) serial: u64,
    /// When it is over unless something comes; `None` while a query waits.
    pub(super) due: Option<Timestamp>,
    /// When something was last heard of it.
    pub(super) last: Timestamp,
    /// When it was last looked whether it hangs.
    pub(super) checked: Timestamp,
    /// How far the search list was walked.
    pub(super) walk: Walk,
    /// All candidates were asked at once (BusyBox nslookup).
    pub(super) burst: bool,
    /// There were more transactions than are kept.
    pub(super) crowded: bool,
    /// Transactions that are kept.
    asks: usize,
}

impl Open {
    /// Begins with its first query.
    pub(super) fn begin(
        client: ClientId,
        at: u32,
        sent: &Sent,
        question: &Question,
        known: Knowledge,
    ) -> Self {
        let qname = &question.qname;
        let walk = Walk::begin(qname, known);
        let base = if walk.as_is { qname.clone() } else { qname.first_labels(walk.base_labels) };
        let candidates = vec![candidate(qname, walk.as_is, sent, question.qtype)];
        let lookup = Lookup {
            client,
            place: at,
            base,
            candidates,
            winner: None,
            outcome: LookupOutcome::Waiting,
            started: sent.time,
            ended: sent.time,
            queries: 1,
            wasted: 0,
            source: SearchSource::Unknown,
            search: None,
            ndots: walk.known.ndots,
            remaining: Vec::new(),
            autopath: false,
            fingerprint: Fingerprint::default(),
        };
        Self {
            lookup,
            client: at,
            label: 0,
            serial: 0,
            due: None,
            last: sent.time,
            checked: sent.time,
            walk,
            burst: false,
            crowded: false,
            asks: 1,
        }
    }

    /// Is the query part of this lookup? With whether it comes from the port of the candidate before.
    pub(super) fn fits(&self, sent: &Sent, question: &Question) -> Option<(Fit, bool)> {
        if self.was_over(sent.time) {
            return None;
        }
        let candidates = &self.lookup.candidates;
        let same_port = |candidate: &Candidate| {
            candidate.asks.last().is_some_and(|ask| ask.client_port == sent.parties.client.port())
        };
        if let Some(index) = candidates.iter().rposition(|candidate| candidate.name == question.qname) {
            let candidate = &candidates[index];
            let fits = if index + 1 == candidates.len() {
                repeats(candidate, sent, question.qtype, self.last)
            } else {
                // Only of a burst an earlier one is still asked.
                same_port(candidate) && !candidate.asked(question.qtype)
            };
            return fits.then(|| (Fit::Same(index), same_port(candidate)));
        }
        let last = candidates.last().filter(|_| candidates.len() < MAX_CANDIDATES)?;
        let least = self.may_go_on(last, sent, same_port(last))?;
        let step = self.walk.step(&last.name, &question.qname)?;
        (step.strength >= least).then(|| (Fit::Next(step), same_port(last)))
    }

    /// Did the last candidate end in a way after which a stub resolver asks the next? Gives how sure it must be that it
    /// is this one.
    fn may_go_on(&self, last: &Candidate, sent: &Sent, same_port: bool) -> Option<Strength> {
        let types = Types::of(last);
        if types.open {
            let given_up = last.asks.iter().all(|ask| {
                ask.reply != Reply::Waiting || GIVEN_UP.contains(&sent.time.since(ask.last_sent()))
            });
            // BusyBox nslookup asks all candidates at once, from one port.
            let burst = same_port && sent.time.since(last.asks.last()?.sent) <= Wait::Grace.length();
            return (given_up || burst).then_some(Strength::Strong);
        }
        // musl takes NXDOMAIN of either for the whole name (facts.md section 1.2).
        let lost = types.any(Verdict::NxDomain);
        if types.any(Verdict::Answer) && !lost {
            return None;
        }
        let at_once = sent.time.since(self.last) <= Wait::Grace.length();
        Some(if at_once { Strength::Weak } else { Strength::Strong })
    }

    /// Takes a query that [`Self::fits`]; gives its place, unless there are too many to keep it.
    pub(super) fn join(&mut self, fit: Fit, sent: &Sent, question: &Question) -> Option<Place> {
        self.lookup.queries += 1;
        self.last = self.last.max(sent.time);
        self.due = None;
        match fit {
            Fit::Same(index) => {
                if self.asks >= MAX_ASKS {
                    self.crowded = true;
                    return None;
                }
                let candidate = self.lookup.candidates.get_mut(index)?;
                self.asks += 1;
                candidate.asks.push(ask(sent, question.qtype));
                Some(Place { candidate: index as u8, ask: (candidate.asks.len() - 1) as u8 })
            }
            Fit::Next(step) => {
                self.next(&step, sent, question);
                Some(Place { candidate: (self.lookup.candidates.len() - 1) as u8, ask: 0 })
            }
        }
    }

    fn next(&mut self, step: &Step, sent: &Sent, question: &Question) {
        let lookup = &mut self.lookup;
        if let Some(last) = lookup.candidates.last() {
            let waiting = last.asks.iter().any(|ask| ask.reply == Reply::Waiting);
            self.burst |= waiting
                && sent.time.since(last.asks.last().map_or(sent.time, |ask| ask.sent)) < *GIVEN_UP.start();
        }
        if step.base_labels != lookup.base.label_count() || step.as_is {
            lookup.base = question.qname.first_labels(step.base_labels);
            for earlier in &mut lookup.candidates {
                earlier.as_is = earlier.name == lookup.base;
            }
            self.walk.as_is = lookup.candidates.iter().any(|candidate| candidate.as_is);
        }
        self.walk.take(step);
        self.asks += 1;
        lookup.candidates.push(candidate(&question.qname, step.as_is, sent, question.qtype));
    }

    /// The query was sent again. Is it one of this lookup?
    pub(super) fn again(&mut self, sent: &Sent, question: &Question) -> bool {
        if self.was_over(sent.time) {
            return false;
        }
        let place = self.find(&sent.parties, sent.header.id, question);
        let Some(ask) = place.and_then(|place| self.ask(place)) else { return false };
        // One that was answered before is a new transaction, and told as that too.
        let is_new = ask.sent == sent.time;
        if !is_new {
            if ask.again.len() >= MAX_AGAIN {
                ask.again.pop();
            }
            ask.again.push(sent.time);
            self.lookup.queries += 1;
            self.last = self.last.max(sent.time);
        }
        true
    }

    /// It was over before this time, though it was not yet ended.
    fn was_over(&self, time: Timestamp) -> bool {
        self.due.is_some_and(|due| time > due)
    }

    /// The place of the transaction of this lookup between these parties, the latest of them.
    pub(super) fn find(&self, parties: &Parties, id: u16, question: &Question) -> Option<Place> {
        let candidates = &self.lookup.candidates;
        let index = candidates.iter().rposition(|candidate| candidate.name == question.qname)?;
        let ask = candidates.get(index)?.asks.iter().rposition(|ask| {
            ask.id == id
                && ask.qtype == question.qtype
                && ask.client_port == parties.client.port()
                && ask.server == parties.server
                && ask.transport == parties.transport
        })?;
        Some(Place { candidate: index as u8, ask: ask as u8 })
    }

    fn ask(&mut self, place: Place) -> Option<&mut Ask> {
        self.lookup.candidates.get_mut(usize::from(place.candidate))?.asks.get_mut(usize::from(place.ask))
    }

    /// The query in `place` was answered.
    pub(super) fn answered(
        &mut self,
        place: Place,
        question: &Question,
        at: Timestamp,
        response: &Response,
        late: bool,
    ) -> bool {
        if self.was_over(at) {
            return false;
        }
        let Some(ask) = self.ask(place) else { return false };
        if matches!(ask.reply, Reply::Answered(_)) {
            return true;
        }
        ask.reply = Reply::Answered(Answer::new(at, response, late));
        self.lookup.ended = self.lookup.ended.max(at);
        self.last = self.last.max(at);
        if is_autopath(question, response) {
            self.autopath(&question.qname, response);
        }
        true
    }

    /// The query in `place` ended without an answer.
    pub(super) fn ended(&mut self, place: Place, at: Timestamp, reply: Reply) -> bool {
        if self.was_over(at) {
            return false;
        }
        let Some(ask) = self.ask(place) else { return false };
        ask.reply = reply;
        self.lookup.ended = self.lookup.ended.max(at);
        self.last = self.last.max(at);
        true
    }

    /// Is the first record the synthetic CNAME of a server that walked the search list itself? It leads from the name
    /// asked to the candidate that there is.
    fn autopath(&mut self, qname: &Name, response: &Response) {
        let Some(target) = response.answers().next().map(|answer| answer.data()) else { return };
        let Ok(target) = Name::from_text(&target) else { return };
        // From the name itself on, what the servers say is an alias like any other.
        let asked_as_is = self.walk.stepped && self.walk.as_is;
        let step = self.walk.step(qname, &target).filter(|step| step.strength == Strength::Strong);
        let Some(step) = step.filter(|step| !asked_as_is && (step.as_is || self.walk.position.is_some()))
        else {
            return;
        };
        self.walk.base_labels = step.base_labels;
        self.walk.as_is = false;
        self.lookup.autopath = true;
        self.lookup.base = qname.first_labels(step.base_labels);
        for candidate in &mut self.lookup.candidates {
            candidate.as_is = false;
        }
    }
}

fn candidate(qname: &Name, as_is: bool, sent: &Sent, qtype: RecordType) -> Candidate {
    let mut asks = Vec::with_capacity(2);
    asks.push(ask(sent, qtype));
    Candidate { name: qname.clone(), as_is, asks }
}

fn ask(sent: &Sent, qtype: RecordType) -> Ask {
    Ask {
        server: sent.parties.server,
        client_port: sent.parties.client.port(),
        transport: sent.parties.transport,
        id: sent.header.id,
        qtype,
        edns: sent.edns.map(|edns| edns.udp_payload_size),
        authentic_data: sent.header.authentic_data(),
        sent: sent.time,
        again: Vec::new(),
        reply: Reply::Waiting,
    }
}

/// Is it a query of the candidate that was asked last: its other type, or the same once more? `last` is when something
/// was last heard of the lookup.
fn repeats(candidate: &Candidate, sent: &Sent, qtype: RecordType, last: Timestamp) -> bool {
    let mut same = candidate.asks.iter().rev().filter(|ask| ask.qtype == qtype);
    let Some(latest) = same.next() else { return true };
    // To the next server, over TCP, from the same port, or after it was given up or failed: the ID stays. Else it is
    // chance.
    let is_repetition = |ask: &Ask| {
        ask.id == sent.header.id
            && (ask.server != sent.parties.server
                || ask.transport != sent.parties.transport
                || ask.client_port == sent.parties.client.port()
                || ask.reply != Reply::Waiting
                || sent.time.since(ask.last_sent()) >= *GIVEN_UP.start())
    };
    if is_repetition(latest) || same.any(is_repetition) {
        return true;
    }
    let at_once = sent.time.since(last) <= AT_ONCE;
    match &latest.reply {
        Reply::Waiting => GO_RETRY.contains(&sent.time.since(latest.last_sent())),
        Reply::Unanswered(_) | Reply::Unseen => false,
        Reply::Answered(answer) if !answer.is_usable() => at_once,
        // glibc repeats the pair from a new port while its buffer grows (facts.md section 8).
        Reply::Answered(_) => {
            at_once && candidate.asks.iter().filter_map(Ask::answer).any(|answer| answer.truncated)
        }
    }
}

/// May the first record of the answer be the synthetic CNAME of CoreDNS' autopath? The name asked has a domain of the
/// cluster at its end (four labels), then.
fn is_autopath(question: &Question, response: &Response) -> bool {
    response.header.counts[1] >= 2
        && question.qname.label_count() >= 5
        && response
            .answers()
            .next()
            .is_some_and(|first| first.record_type == RecordType::CNAME && first.name == question.qname)
}
