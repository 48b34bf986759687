//! `search-amplification` (facts.md section 3.5, incident 3).
//!
//! Most of a client's queries go to names of its search list that do not exist, before the name itself is asked and
//! found. Counted are lookups whose winner is the name itself, asked last, and no name of the cluster. Silent: the name
//! itself first, services found below the list, a server that walks the list itself, health checks of a few names, and a
//! cache on the same node that is asked seldom.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use hashlink::LinkedHashMap;

use super::cluster::is_cluster_name;
use super::example::of_lookup;
use super::remedies::{count, pasted, remedy, text};
use super::thresholds::Amplification;
use super::{
    Confidence, Desk, Details, Detector, FindingId, Measure, Quantity, Remedy, RemedyPlace, Severity,
    Sighting, Subject,
};
use crate::capture::frame::Timestamp;
use crate::correlate::ClientId;
use crate::correlate::lookups::{Lookup, LookupOutcome};
use crate::correlate::servers::ServerWindow;
use crate::correlate::what_if::WhatIf;
use crate::dns::Name;

/// Clients that are kept at most, about 1 KiB each; the one whose last lookup is the longest ago gives way.
const MAX_CLIENTS: usize = 4096;
/// Lookups are summed by spans of this length.
const SPAN: Duration = Duration::from_secs(5);
/// Names of a client that are kept, to tell whether there are many.
const MAX_NAMES: usize = 16;
/// NodeLocal DNSCache listens there (facts.md section 3.4).
const NODE_LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 20, 10));

/// The rule.
#[derive(Default)]
pub(super) struct SearchAmplification {
    clients: LinkedHashMap<ClientId, Waste>,
}

/// What one client wasted lately.
#[derive(Default)]
struct Waste {
    spans: VecDeque<Span>,
    /// External names that cost a walk, with the time of the last; the longest ago first.
    names: VecDeque<(Name, Timestamp)>,
}

/// A few seconds of one client.
#[derive(Clone, Copy, Default)]
struct Span {
    began: Timestamp,
    sum: Sum,
}

/// Lookups and what they cost.
#[derive(Clone, Copy, Default)]
struct Sum {
    lookups: u64,
    queries: u64,
    /// Lookups of external names that went through the whole list first.
    walks: u64,
    /// Queries that these wasted.
    wasted: u64,
    /// Their queries with another configuration.
    what_if: WhatIf,
}

impl Sum {
    fn add(&mut self, other: &Self) {
        self.lookups += other.lookups;
        self.queries += other.queries;
        self.walks += other.walks;
        self.wasted += other.wasted;
        self.what_if.add_all(&other.what_if);
    }
}

impl Detector for SearchAmplification {
    fn id(&self) -> FindingId {
        FindingId::SearchAmplification
    }

    fn lookup(&mut self, lookup: &Lookup, desk: &mut Desk<'_>) {
        let thresholds = desk.context.thresholds.amplification;
        let walked = is_walk(lookup);
        let waste = match self.clients.to_back(&lookup.client) {
            Some(waste) => waste,
            // Who never walks is not kept.
            None if !walked => return,
            None => {
                if self.clients.len() >= MAX_CLIENTS {
                    self.clients.pop_front();
                }
                self.clients.entry(lookup.client).or_insert_with(Waste::default)
            }
        };
        waste.add(lookup, walked, thresholds.within);
        if !walked {
            return;
        }
        let sum = waste.sum();
        let least = if at_node(lookup) { thresholds.lookups_at_cache } else { thresholds.lookups };
        let share = sum.wasted as f64 / sum.queries.max(1) as f64;
        if sum.lookups < least || share < thresholds.waste || waste.names.len() < thresholds.names {
            return;
        }
        let server = server(lookup);
        let load =
            server.map(|server| desk.context.servers.window(server, desk.context.now, thresholds.within));
        let overload = load.is_some_and(is_overloaded);
        let sighting = Sighting {
            id: FindingId::SearchAmplification,
            subject: Subject::client(lookup.client),
            severity: if overload { Severity::High } else { Severity::Warning },
            // What was asked in which order is no inference.
            confidence: Confidence::High,
            seen: (waste.began().unwrap_or(lookup.started), lookup.ended),
            count: if sum.lookups == least { sum.walks } else { 1 },
        };
        desk.raise(sighting, || details(lookup, &sum, &thresholds, load.filter(|_| overload)));
    }
}

impl Waste {
    fn add(&mut self, lookup: &Lookup, walked: bool, within: Duration) {
        let now = lookup.ended;
        while self.spans.front().is_some_and(|span| now.since(span.began) > within) {
            self.spans.pop_front();
        }
        if self.spans.back().is_none_or(|span| now.since(span.began) >= SPAN) {
            self.spans.push_back(Span { began: now, sum: Sum::default() });
        }
        let Some(Span { sum, .. }) = self.spans.back_mut() else { return };
        sum.lookups += 1;
        sum.queries += u64::from(lookup.queries);
        if walked {
            sum.walks += 1;
            sum.wasted += u64::from(lookup.wasted);
            sum.what_if.add(lookup);
            self.names.retain(|(name, at)| *name != lookup.base && now.since(*at) <= within);
            if self.names.len() >= MAX_NAMES {
                self.names.pop_front();
            }
            self.names.push_back((lookup.base.clone(), now));
        }
    }

    fn sum(&self) -> Sum {
        let mut sum = Sum::default();
        self.spans.iter().for_each(|span| sum.add(&span.sum));
        sum
    }

    fn began(&self) -> Option<Timestamp> {
        self.spans.front().map(|span| span.began)
    }
}

/// An external name that was found as it is, after all domains of the search list?
fn is_walk(lookup: &Lookup) -> bool {
    let last = lookup.candidates.len().saturating_sub(1);
    lookup.outcome == LookupOutcome::Answered
        && last > 0
        && lookup.winner == Some(last)
        && lookup.candidates.last().is_some_and(|candidate| candidate.as_is)
        && !lookup.autopath
        && !is_cluster_name(&lookup.base, lookup.search.as_deref().unwrap_or_default())
}

fn server(lookup: &Lookup) -> Option<IpAddr> {
    lookup.candidates.last()?.asks.last().map(|ask| ask.server.ip())
}

/// Does it ask a cache on its own node?
fn at_node(lookup: &Lookup) -> bool {
    server(lookup).is_some_and(|server| server.is_loopback() || server == NODE_LOCAL)
}

/// Does the server that is asked for it fail (facts.md section 3.5, overload)? One in 20 is no accident.
fn is_overloaded(load: ServerWindow) -> bool {
    let failed = load.unanswered + load.servfail + load.refused;
    load.transactions >= 100 && failed * 20 >= load.transactions
}

fn details(lookup: &Lookup, sum: &Sum, thresholds: &Amplification, failing: Option<ServerWindow>) -> Details {
    let base = &lookup.base;
    let suffixes = lookup.candidates.len().saturating_sub(1);
    let needed = lookup.queries.saturating_sub(lookup.wasted);
    let dots = base.label_count().saturating_sub(1);
    let summary = format!(
        "{} sends {} queries where {needed} suffice: {base} is asked below {suffixes} search domains first",
        lookup.client.address, lookup.queries
    );
    let share = 100.0 * sum.wasted as f64 / sum.queries.max(1) as f64;
    let mut because = vec![
        format!(
            "in {} s {} of {} lookups went through the whole search list and were found as they are, last",
            thresholds.within.as_secs(),
            sum.walks,
            sum.lookups
        ),
        format!("{} of {} queries ({share:.0} %) asked for names that do not exist", sum.wasted, sum.queries),
        match lookup.ndots {
            Some(ndots) => format!("{dots} dots in the name, ndots:{ndots}, {suffixes} search domains"),
            None => format!("{dots} dots in the name, so ndots is larger; {suffixes} search domains"),
        },
        format!(
            "with ndots:2 these lookups would have cost {} queries in place of {}, with ndots:1 {}, with trailing dots {}",
            sum.what_if.ndots_2, sum.what_if.queries, sum.what_if.ndots_1, sum.what_if.trailing_dot
        ),
    ];
    if let Some(load) = failing {
        because.push(format!(
            "the server is overloaded: of {} transactions {} were not answered, {} SERVFAIL, {} REFUSED",
            load.transactions, load.unanswered, load.servfail, load.refused
        ));
    }
    Details {
        summary,
        because,
        numbers: numbers(lookup, sum, suffixes, dots),
        example: of_lookup(lookup),
        remedies: remedies(base, &sum.what_if),
    }
}

fn numbers(lookup: &Lookup, sum: &Sum, suffixes: usize, dots: usize) -> Vec<Measure> {
    let mut numbers = vec![
        text("name", &lookup.base),
        count("queries_per_lookup", lookup.queries),
        count("queries_needed", lookup.queries.saturating_sub(lookup.wasted)),
        count("search_domains", suffixes),
        count("dots", dots),
        count("lookups", sum.lookups),
        count("lookups_of_external_names", sum.walks),
        count("queries", sum.queries),
        count("wasted", sum.wasted),
        Measure { name: "reduction", value: Quantity::Ratio(saving(&sum.what_if)) },
        count("queries_of_these", sum.what_if.queries),
        count("with_ndots_2", sum.what_if.ndots_2),
        count("with_ndots_1", sum.what_if.ndots_1),
        count("with_trailing_dots", sum.what_if.trailing_dot),
    ];
    numbers.extend(lookup.ndots.map(|ndots| count("ndots", ndots)));
    numbers
}

/// The share of the queries that is saved by `ndots:2`, or by trailing dots where that saves nothing.
fn saving(what_if: &WhatIf) -> f64 {
    let WhatIf { queries, ndots_2, trailing_dot, .. } = *what_if;
    let left = if saves(ndots_2, queries) { ndots_2 } else { trailing_dot };
    1.0 - left.min(queries) as f64 / queries.max(1) as f64
}

/// Is it worth a change? Less than nine tenths are left.
fn saves(left: u64, queries: u64) -> bool {
    left * 10 < queries * 9
}

/// In the order of facts.md, without what saves nothing by its own numbers.
fn remedies(base: &Name, what_if: &WhatIf) -> Vec<Remedy> {
    let WhatIf { queries, ndots_2, ndots_1, broken_by_1, .. } = *what_if;
    let mut remedies = Vec::new();
    if saves(ndots_2, queries) {
        remedies.push(remedy(
            "Ask names with two dots as they are first (ndots:1 breaks short names of other namespaces on musl)",
            RemedyPlace::PodSpec,
            &["dnsConfig:", "  options: [{name: ndots, value: \"2\"}]"],
        ));
    }
    let dot = "Write external names with a dot at their end";
    remedies.push(remedy(dot, RemedyPlace::Application, &[&pasted(base)]));
    if !saves(ndots_2, queries) && saves(ndots_1, queries) && broken_by_1 == 0 {
        remedies.push(remedy(
            "Or ask names with one dot as they are first, unless a program of the pod asks for services of other \
             namespaces by short names: on musl those break",
            RemedyPlace::PodSpec,
            &["dnsConfig:", "  options: [{name: ndots, value: \"1\"}]"],
        ));
    }
    remedies.extend(elsewhere());
    remedies
}

/// What helps whatever the names are and `ndots` is.
fn elsewhere() -> Vec<Remedy> {
    vec![
        remedy(
            "Let CoreDNS walk the search list itself (costs memory; not for Windows nodes)",
            RemedyPlace::Corefile,
            &["kubernetes cluster.local {", "    pods verified", "}", "autopath @kubernetes"],
        ),
        remedy(
            "Put a cache on each node (NodeLocal DNSCache), or run more replicas of CoreDNS",
            RemedyPlace::Node,
            &[],
        ),
        remedy(
            "For a pod that asks for external names only, leave the search list out",
            RemedyPlace::PodSpec,
            &["dnsPolicy: None", "dnsConfig:", "  nameservers: [ADDRESS-OF-KUBE-DNS]"],
        ),
    ]
}

#[cfg(test)]
mod tests;
