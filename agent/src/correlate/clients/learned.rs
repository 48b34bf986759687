//! The search list of a client as its own lookups show it.

use std::sync::Arc;

use crate::correlate::lookups::{Candidate, Lookup};
use crate::dns::Name;

/// Domains that are learned at most: kubelet allows 32 (facts.md section 4).
const MAX_DOMAINS: usize = 32;
/// A list is given up after so many lookups that go another way, one after another: several programs with different
/// lists may stand behind one address.
const PATIENCE: u8 = 3;

/// A search list as far as it was seen.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// The domains in their order.
    pub(super) search: Option<Arc<[Name]>>,
    /// The name itself was asked after these: there are no more.
    pub(super) whole: bool,
    /// Dots of the longest name that went through the list before it was asked as it is.
    pub(super) walked_dots: Option<usize>,
    /// Lookups that went another way since the last one that did not.
    astray: u8,
}

impl Learned {
    /// Takes a lookup of more than one candidate; `base_labels` are those of the name as it was given.
    pub(super) fn learn(&mut self, lookup: &Lookup, base_labels: usize) {
        let suffixed = || lookup.candidates.iter().filter(|candidate| !candidate.as_is).take(MAX_DOMAINS);
        let count = suffixed().count();
        if count == 0 {
            return;
        }
        let last_as_is = lookup.candidates.last().is_some_and(|candidate| candidate.as_is);
        let first_as_is = lookup.candidates.first().is_some_and(|candidate| candidate.as_is);
        // As-is first: glibc goes through the whole list then, unless a domain of it answers.
        let whole = last_as_is || first_as_is && lookup.winner.is_none();
        let is_domain =
            |(domain, candidate): (&Name, &Candidate)| candidate.name.is_followed_by(base_labels, domain);
        let known = self.search.as_deref().unwrap_or_default();
        // Nearly always they are what is known.
        if known.windows(count).any(|part| part.iter().zip(suffixed()).all(is_domain)) {
            self.astray = 0;
            // They may be a part of it, and end where the list does.
            self.whole |= whole && known.last().zip(suffixed().last()).is_some_and(is_domain);
        } else {
            let domains: Vec<Name> = suffixed().map(|candidate| candidate.name.parent(base_labels)).collect();
            if !known.is_empty() && !holds(&domains, known) && self.astray + 1 < PATIENCE {
                self.astray += 1;
                return;
            }
            self.search = Some(domains.into());
            self.whole = whole;
            self.astray = 0;
            self.walked_dots = None;
        }
        if !first_as_is {
            self.walked_dots = self.walked_dots.max(Some(base_labels.saturating_sub(1)));
        }
    }
}

/// Does `part` stand in `whole` as it is?
fn holds(whole: &[Name], part: &[Name]) -> bool {
    whole.windows(part.len()).any(|window| window == part)
}
