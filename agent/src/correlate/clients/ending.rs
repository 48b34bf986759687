//! How a lookup comes to its end: where it stands after each response, and what it amounts to.

use std::time::Duration;

use super::open::Open;
use super::walk::Walk;
use crate::capture::frame::Timestamp;
use crate::correlate::lookups::{Ask, Candidate, Lookup, LookupOutcome, Reply, Verdict};
use crate::correlate::resolv_conf::SearchSource;
use crate::dns::{Name, RecordType};
use crate::packet::Transport;

/// What an open lookup waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The other type of a pair, another server's answer, glibc's repetition: 50 ms.
    Grace,
    /// The next candidate: 1 s (facts.md section 3.2).
    Next,
    /// TCP after a truncated response: 2 s (facts.md section 3.1).
    Tcp,
    /// The same query once more after an error: musl, which takes none for an answer, asks again after 2.5 s
    /// (facts.md section 1.1).
    Retry,
}

impl Wait {
    /// How many there are.
    pub(super) const COUNT: usize = 4;

    /// How long.
    pub(super) const fn length(self) -> Duration {
        match self {
            Self::Grace => Duration::from_millis(50),
            Self::Next => Duration::from_secs(1),
            Self::Tcp => Duration::from_secs(2),
            Self::Retry => Duration::from_secs(3),
        }
    }
}

/// Where a lookup stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// A query waits for its response.
    Waiting,
    /// It may be over after a wait.
    After(Wait),
    /// Nothing more can come.
    Over,
}

/// Why a lookup ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing more is expected.
    Over,
    /// The capture ended, or its clock: nobody knows what would have come.
    Capture,
    /// It, or one of its queries, had to give way: nobody saw what came.
    Room,
}

impl Open {
    /// Where it stands after a response came, or waiting for one ended.
    pub(super) fn stand(&self) -> Stand {
        let Some(last) = self.lookup.candidates.last() else { return Stand::Over };
        let types = Types::of(last);
        if types.open || self.burst && self.lookup.candidates.iter().any(|other| Types::of(other).open) {
            return Stand::Waiting;
        }
        if types.truncated {
            return Stand::After(Wait::Tcp);
        }
        if types.any(Verdict::ServFail) || types.any(Verdict::Error) {
            return Stand::After(Wait::Retry);
        }
        if types.any(Verdict::Answer) {
            let whole = types.is_whole() && !types.any(Verdict::NxDomain);
            let quiet = last.asks.iter().all(|ask| ask.answer().is_some_and(|answer| !answer.truncated));
            return if whole && quiet { Stand::Over } else { Stand::After(Wait::Grace) };
        }
        if types.is_negative() { Stand::After(Wait::Next) } else { Stand::After(Wait::Grace) }
    }

    /// The lookup, with what only its end tells.
    pub(super) fn end(self, end: End) -> (Lookup, Walk) {
        let Self { mut lookup, walk, burst, crowded, .. } = self;
        if end == End::Room {
            let asks = lookup.candidates.iter_mut().flat_map(|candidate| &mut candidate.asks);
            asks.filter(|ask| ask.reply == Reply::Waiting).for_each(|ask| ask.reply = Reply::Unseen);
        }
        let last = lookup.candidates.len().saturating_sub(1);
        let answers = |candidate: &Candidate| Types::of(candidate).any(Verdict::Answer);
        lookup.winner = match lookup.candidates.iter().position(answers) {
            // Of candidates that were asked one after another, what was not the last was not taken for an answer.
            Some(index) if burst || index == last => Some(index),
            Some(_) if lookup.candidates.last().is_some_and(answers) => Some(last),
            _ => None,
        };
        lookup.outcome = outcome(&lookup, crowded);
        if let Some(winner) = lookup.winner {
            let of_winner = lookup.candidates.get(winner).map_or(0, Candidate::messages);
            let kept: u32 = lookup.candidates.iter().map(Candidate::messages).sum();
            lookup.wasted = kept.saturating_sub(of_winner);
        }
        let off_list = walk.stepped && walk.position.is_none() && walk.known.search.is_some();
        lookup.source = match walk.known.source {
            SearchSource::Unknown if walk.stepped => SearchSource::Inferred,
            _ if off_list => SearchSource::Inferred,
            source => source,
        };
        lookup.search = walk.known.search.clone();
        let walked = !walk.as_is && (walk.position.is_some() || lookup.candidates.len() > 2);
        let by_itself = walked && !walk.ambiguous && !burst && end == End::Over;
        let stopped = by_itself && stops(lookup.candidates.last());
        if lookup.outcome == LookupOutcome::NoData && stopped {
            lookup.outcome = LookupOutcome::Stopped;
            lookup.remaining = remaining(&lookup, &walk);
        }
        (lookup, walk)
    }
}

/// What would have come after the last candidate.
fn remaining(lookup: &Lookup, walk: &Walk) -> Vec<Name> {
    let search = lookup.search.as_deref().unwrap_or_default();
    let behind = walk.position.and_then(|position| search.get(position + 1..)).unwrap_or_default();
    let mut remaining: Vec<Name> = behind.iter().filter_map(|domain| lookup.base.below(domain)).collect();
    remaining.push(lookup.base.clone());
    remaining
}

/// Is it a pair after which musl asks no more (facts.md section 1.2)? NXDOMAIN for A is no end to any version.
fn stops(last: Option<&Candidate>) -> bool {
    let Some(last) = last else { return false };
    let mut answers = last.asks.iter().filter_map(Ask::answer);
    let exists = match last.result(RecordType::A) {
        Some(verdict) => verdict == Verdict::NoData,
        None => !last.asked(RecordType::A),
    };
    // What a truncated response left out nobody knows.
    exists && !answers.any(|answer| answer.truncated)
}

fn outcome(lookup: &Lookup, crowded: bool) -> LookupOutcome {
    if lookup.winner.is_some() {
        return LookupOutcome::Answered;
    }
    let Some(last) = lookup.candidates.last() else { return LookupOutcome::Unseen };
    let types = Types::of(last);
    if types.any(Verdict::ServFail) || types.any(Verdict::Error) {
        LookupOutcome::Error
    } else if !types.is_negative() {
        silence(last, crowded)
    } else if types.any(Verdict::NoData) {
        LookupOutcome::NoData
    } else {
        LookupOutcome::NxDomain
    }
}

/// What it means that a type has no response: only a time-out says that there was none.
fn silence(candidate: &Candidate, crowded: bool) -> LookupOutcome {
    let silent = || candidate.asks.iter().filter(|ask| candidate.result(ask.qtype).is_none());
    if silent().any(|ask| ask.reply == Reply::Waiting) {
        LookupOutcome::Waiting
    } else if crowded || silent().any(|ask| ask.reply == Reply::Unseen) {
        LookupOutcome::Unseen
    } else {
        LookupOutcome::Unanswered
    }
}

/// The results of one candidate by type: A and AAAA, or the one type that it was asked for.
pub(super) struct Types {
    results: [Option<Option<Verdict>>; 2],
    /// A query waits whose type has no usable response yet.
    pub(super) open: bool,
    /// A type has only truncated responses.
    truncated: bool,
    /// It is asked for A or AAAA.
    addresses: bool,
}

/// What one type was answered, of all servers and tries.
#[derive(Clone, Copy, Default)]
struct Heard {
    asked: bool,
    waits: bool,
    usable: bool,
    /// A usable response is whole.
    whole: bool,
    over_tcp: bool,
    /// As [`Candidate::result`] has it: the least rank is heard.
    best: Option<((bool, bool, Timestamp), Verdict)>,
}

impl Heard {
    fn add(&mut self, ask: &Ask) {
        self.asked = true;
        self.over_tcp |= ask.transport == Transport::Tcp;
        self.waits |= ask.reply == Reply::Waiting;
        let Reply::Answered(answer) = &ask.reply else { return };
        let usable = answer.is_usable();
        self.usable |= usable;
        self.whole |= usable && !answer.truncated;
        let rank = (!usable, answer.truncated, answer.at);
        if self.best.is_none_or(|(best, _)| rank < best) {
            self.best = Some((rank, answer.verdict));
        }
    }
}

impl Types {
    /// In one pass: nearly all have two asks, and this is looked at with every message.
    pub(super) fn of(candidate: &Candidate) -> Self {
        let [mut others, mut aaaa] = [Heard::default(); 2];
        let mut addresses = false;
        for ask in &candidate.asks {
            addresses |= matches!(ask.qtype, RecordType::A | RecordType::AAAA);
            if ask.qtype == RecordType::AAAA { aaaa.add(ask) } else { others.add(ask) }
        }
        let heard = [others, aaaa];
        Self {
            results: heard.map(|heard| heard.asked.then_some(heard.best.map(|(_, verdict)| verdict))),
            open: heard.iter().any(|heard| heard.waits && !heard.whole),
            // A truncated response is used by some; who asks again over TCP waits for that.
            truncated: heard.iter().any(|heard| heard.usable && !heard.whole && !heard.over_tcp),
            addresses,
        }
    }

    /// One of them is this.
    pub(super) fn any(&self, verdict: Verdict) -> bool {
        self.results.iter().flatten().flatten().any(|result| *result == verdict)
    }

    /// Both of a pair are there, or the one that is asked for of another type.
    fn is_whole(&self) -> bool {
        !self.addresses || self.results.iter().all(Option::is_some)
    }

    /// All are NXDOMAIN or NODATA.
    fn is_negative(&self) -> bool {
        let negative = |result: &Option<Verdict>| matches!(result, Some(Verdict::NxDomain | Verdict::NoData));
        self.results.iter().flatten().all(negative)
    }
}
