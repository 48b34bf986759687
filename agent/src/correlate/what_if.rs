//! What the lookups seen would have cost with another `ndots`, or with trailing dots.
//!
//! Each lookup is walked again with the answers that its candidates had. A name that was not asked counts as one that
//! does not exist, which costs most: a saving may be larger than is said, not smaller. Plain sums; no memory.

use super::lookups::{Candidate, Lookup, LookupOutcome, Verdict};
use super::search::{Given, Place, Resolver, Said, walk};
use crate::dns::{Name, RecordType};

/// Queries that would have been sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WhatIf {
    /// Lookups that could be judged: answered, or denied.
    pub lookups: u64,
    /// Queries that they sent.
    pub queries: u64,
    /// With `ndots:2`.
    pub ndots_2: u64,
    /// With `ndots:1`.
    pub ndots_1: u64,
    /// With a trailing dot on the name that won.
    pub trailing_dot: u64,
    /// Lookups for which the answer to a name that was not asked had to be supposed, for `ndots:2` or `ndots:1`.
    pub supposed: u64,
    /// Lookups that `ndots:1` would break: musl asks such a name as it is, and not below the search list.
    pub broken_by_1: u64,
    /// The same for `ndots:2`.
    pub broken_by_2: u64,
}

impl WhatIf {
    /// Of one lookup.
    pub fn of(lookup: &Lookup) -> Self {
        let mut one = Self::default();
        one.add(lookup);
        one
    }

    /// Adds a lookup.
    pub fn add(&mut self, lookup: &Lookup) {
        if !matches!(
            lookup.outcome,
            LookupOutcome::Answered | LookupOutcome::NxDomain | LookupOutcome::NoData
        ) {
            return;
        }
        let queries = u64::from(lookup.queries);
        self.lookups += 1;
        self.queries += queries;
        // Nearly all: one name, and the same one whatever is configured.
        let only = lookup.candidates.len() == 1;
        if only
            && (lookup.candidates.iter().all(|candidate| candidate.as_is) || lookup.base.label_count() == 1)
        {
            self.ndots_2 += queries;
            self.ndots_1 += queries;
            self.trailing_dot += queries;
            return;
        }
        let again = Again::new(lookup);
        let [two, one] = [2, 1].map(|ndots| again.cost(ndots));
        self.ndots_2 += two.queries;
        self.ndots_1 += one.queries;
        self.supposed += u64::from(two.supposed || one.supposed);
        self.broken_by_2 += u64::from(two.broken);
        self.broken_by_1 += u64::from(one.broken);
        self.trailing_dot += again.trailing_dot();
    }

    /// Adds what was summed apart.
    pub fn add_all(&mut self, other: &Self) {
        let Self { lookups, queries, ndots_2, ndots_1, trailing_dot, supposed, broken_by_1, broken_by_2 } =
            *other;
        self.lookups += lookups;
        self.queries += queries;
        self.ndots_2 += ndots_2;
        self.ndots_1 += ndots_1;
        self.trailing_dot += trailing_dot;
        self.supposed += supposed;
        self.broken_by_1 += broken_by_1;
        self.broken_by_2 += broken_by_2;
    }
}

/// A lookup that is walked again.
struct Again<'a> {
    lookup: &'a Lookup,
    resolver: Resolver,
    /// Each candidate by its place in the search list.
    places: Vec<Place>,
    domains: usize,
}

/// What a walk would have cost.
struct Cost {
    queries: u64,
    supposed: bool,
    broken: bool,
}

impl<'a> Again<'a> {
    fn new(lookup: &'a Lookup) -> Self {
        let labels = lookup.base.label_count();
        let search = lookup.search.as_deref().unwrap_or_default();
        let mut unlisted = search.len();
        let place = |candidate: &Candidate| {
            if candidate.as_is {
                return Place::AsIs;
            }
            let is_domain = |known: &Name| candidate.name.is_followed_by(labels, known);
            Place::Domain(search.iter().position(is_domain).unwrap_or_else(|| {
                unlisted += 1;
                unlisted - 1
            }))
        };
        let places = lookup.candidates.iter().map(place).collect();
        Self { lookup, resolver: Resolver::of(lookup.fingerprint.stub), places, domains: unlisted }
    }

    fn candidate(&self, place: Place) -> Option<&Candidate> {
        let index = self.places.iter().position(|known| *known == place)?;
        self.lookup.candidates.get(index)
    }

    /// What it costs to ask one name: as this one did, or as the first.
    fn messages(&self, place: Place) -> u64 {
        let candidate = self.candidate(place).or(self.lookup.candidates.first());
        candidate.map_or(0, |candidate| candidate.messages().into())
    }

    fn cost(&self, ndots: u8) -> Cost {
        let now = u64::from(self.lookup.queries);
        let given = Given { dots: self.lookup.base.label_count().saturating_sub(1), absolute: false };
        let as_is_first = given.dots >= usize::from(ndots);
        if as_is_first == (self.places.first() == Some(&Place::AsIs)) {
            return Cost { queries: now, supposed: false, broken: false };
        }
        let mut supposed = false;
        let walk = walk(self.resolver, given, ndots, self.domains, |place| match self.candidate(place) {
            Some(candidate) => said(candidate),
            None => {
                supposed = true;
                Said::NxDomain
            }
        });
        let broken = self.lookup.winner.is_some() && walk.found.is_none();
        let queries = walk.asked.iter().map(|place| self.messages(*place)).sum();
        // What breaks saves nothing.
        Cost { queries: if broken { now } else { queries }, supposed, broken }
    }

    fn trailing_dot(&self) -> u64 {
        let winner = self.lookup.winner.and_then(|winner| self.places.get(winner));
        self.messages(winner.copied().unwrap_or(Place::AsIs))
    }
}

/// A and AAAA taken together.
fn said(candidate: &Candidate) -> Said {
    let of = |qtype| candidate.result(qtype);
    let others = candidate.asks.first().map_or(RecordType::A, |ask| ask.qtype);
    let results = [of(RecordType::A), of(RecordType::AAAA), of(others)];
    let any = |verdict| results.contains(&Some(verdict));
    if any(Verdict::Answer) {
        Said::Answer
    } else if any(Verdict::ServFail) {
        Said::ServFail
    } else if any(Verdict::Error) {
        Said::Refused
    } else if any(Verdict::NoData) {
        Said::NoData
    } else if any(Verdict::NxDomain) {
        Said::NxDomain
    } else {
        Said::Nothing
    }
}
