//! Which name of a search list comes next: tells a further candidate of a lookup from another lookup.
//!
//! Every candidate begins with the labels of the name as the application gave it. Where the list is known, the next
//! candidate is known exactly; where it is not, the shapes that search lists have must do: the name itself after or
//! before its suffixes, a suffix that is a part of the one before (Kubernetes' first three), and at last any suffix.

use std::sync::Arc;

use crate::correlate::resolv_conf::SearchSource;
use crate::dns::Name;

/// What is known of a client's search list when a lookup begins.
#[derive(Clone, Debug, Default)]
pub(super) struct Knowledge {
    /// The domains in their order.
    pub(super) search: Option<Arc<[Name]>>,
    /// Where from.
    pub(super) source: SearchSource,
    /// `ndots`, where it was told.
    pub(super) ndots: Option<u8>,
    /// Dots of the longest name that was seen to go through the list first: `ndots` is larger.
    pub(super) walked_dots: Option<usize>,
    /// The list has no more domains than these.
    pub(super) whole: bool,
}

/// How sure it is that a name is the next candidate of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strength {
    /// They begin alike, and one failed just before the other was asked.
    Weak,
    /// The search list says so, or the shape of the names.
    Strong,
}

/// A further candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Labels of the name as the application gave it.
    pub(super) base_labels: usize,
    /// It is that name.
    pub(super) as_is: bool,
    /// Its domain's place in the search list.
    pub(super) position: Option<usize>,
    /// How sure.
    pub(super) strength: Strength,
}

/// How far a lookup has come in the search list.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    /// What was known when it began.
    pub(super) known: Knowledge,
    /// Labels of the name as the application gave it, as far as is known.
    pub(super) base_labels: usize,
    /// The place of the last candidate's domain in the search list.
    pub(super) position: Option<usize>,
    /// The first candidate may be the name itself as well as the name below the first domain.
    pub(super) ambiguous: bool,
    /// The name itself was asked.
    pub(super) as_is: bool,
    /// More than one candidate was asked.
    pub(super) stepped: bool,
    /// A step was a mere guess.
    pub(super) guessed: bool,
}

impl Walk {
    /// Begins with the name that is asked first.
    pub(super) fn begin(qname: &Name, known: Knowledge) -> Self {
        let labels = qname.label_count();
        let mut walk = Self {
            known,
            base_labels: labels,
            position: None,
            ambiguous: false,
            as_is: true,
            stepped: false,
            guessed: false,
        };
        let Some(first) = walk.known.search.as_ref().and_then(|search| search.first()) else { return walk };
        let base = labels.saturating_sub(first.label_count());
        let dots = |labels: usize| labels.saturating_sub(1);
        let searched = match walk.known.ndots {
            Some(ndots) => dots(base) < usize::from(ndots),
            None => true,
        };
        if base > 0 && searched && qname.is_below(first) {
            // Hardly anybody writes a name of three labels and his own domain behind it in full.
            let long = base >= 3;
            walk.ambiguous = !long
                && match (walk.known.ndots, walk.known.walked_dots) {
                    (Some(ndots), _) => dots(labels) >= usize::from(ndots),
                    (None, walked) => walked.is_none_or(|walked| dots(labels) > walked),
                };
            walk.base_labels = base;
            walk.position = Some(0);
            walk.as_is = false;
        }
        walk
    }

    /// Does it show the client's search list? A guess does where the name itself was asked too, which tells how long it
    /// is.
    pub(super) fn is_proof(&self) -> bool {
        self.stepped && (self.as_is || !self.guessed)
    }

    /// Is `qname` the candidate after `last`?
    pub(super) fn step(&self, last: &Name, qname: &Name) -> Option<Step> {
        let common = qname.common_labels(last);
        self.as_the_list_says(last, qname, common).or_else(|| self.by_shape(last, qname, common))
    }

    /// The step was taken.
    pub(super) fn take(&mut self, step: &Step) {
        self.base_labels = step.base_labels;
        self.position = step.position.or(self.position);
        self.as_is |= step.as_is;
        self.stepped = true;
        self.ambiguous = false;
        self.guessed |= step.strength == Strength::Weak;
    }

    fn as_the_list_says(&self, last: &Name, qname: &Name, common: usize) -> Option<Step> {
        let search = self.known.search.as_ref()?;
        let base_labels = self.base_labels;
        // Before the first step the name itself may be meant, whatever it looks like.
        let begun = self.position.is_some() || self.as_is && base_labels == last.label_count();
        if !begun || common < base_labels {
            return None;
        }
        let step = |as_is, position| Some(Step { base_labels, as_is, position, strength: Strength::Strong });
        let labels = qname.label_count();
        if labels == base_labels {
            return if self.as_is { None } else { step(true, None) };
        }
        let next = self.position.map_or(0, |position| position + 1);
        let is_domain = |domain: &Name| qname.is_followed_by(base_labels, domain);
        let behind = search.get(next..)?.iter().position(is_domain)?;
        step(false, Some(next + behind))
    }

    fn by_shape(&self, last: &Name, qname: &Name, common: usize) -> Option<Step> {
        let (of_last, labels) = (last.label_count(), qname.label_count());
        let step = |base_labels: usize, as_is, strength| {
            let place = |search: &Arc<[Name]>| {
                let is_domain = |domain: &Name| qname.is_followed_by(base_labels, domain);
                search.iter().position(is_domain)
            };
            let position = if as_is { None } else { self.known.search.as_ref().and_then(place) };
            Some(Step { base_labels, as_is, position, strength })
        };
        if common == 0 {
            return None;
        }
        if common == labels {
            // The name itself, after its suffixes; what is common to those cannot be shorter.
            let fits = labels < of_last && (!self.as_is || !self.stepped) && labels <= self.base_labels;
            return if fits { step(labels, true, Strength::Strong) } else { None };
        }
        if common == of_last {
            // A suffix, after the name itself.
            let fits = self.as_is && self.base_labels == of_last;
            return if fits { step(of_last, false, Strength::Strong) } else { None };
        }
        // Another suffix.
        let base = common.min(self.base_labels);
        if base == 0 {
            return None;
        }
        if labels < of_last && last.is_below(&qname.parent(base)) {
            // One label in common at either end is little: `www.example.test` and `www.test`.
            let strength = if labels - base >= 2 { Strength::Strong } else { Strength::Weak };
            return step(base, false, strength);
        }
        let at_end = || {
            let known = self.known.search.as_ref().map_or(0, |search| search.len());
            !self.known.whole && self.position.is_none_or(|position| position + 1 == known)
        };
        if self.known.search.is_none() || at_end() { step(base, false, Strength::Weak) } else { None }
    }
}
