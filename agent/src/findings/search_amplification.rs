//! `search-amplification` (facts.md section 3.5, incident 3).
//!
//! Most of a client's queries go to names of its search list that do not exist, before the name itself is asked and
//! found. Counted are lookups whose winner is the name itself, asked last, and no name of the cluster. Silent: the name
//! itself first, services found below the list, a server that walks the list itself, health checks of a few names, and a
//! cache on the same node that is asked seldom.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::time::Duration;

use hashlink::DefaultHashBuilder;

use super::cluster::is_cluster_name;
use super::evidence::ratio;
use super::example::of_lookup;
use super::followed::Followed;
use super::remedies::{count, dns_option, dns_search, pasted, remedy, text};
use super::thresholds::Amplification;
use super::{
    Confidence, Desk, Details, Detector, FindingId, Measure, Quantity, Remedy, RemedyPlace, Severity,
    Sighting, Subject,
};
use crate::capture::frame::Timestamp;
use crate::correlate::lookups::{Lookup, LookupOutcome};
use crate::correlate::servers::ServerWindow;
use crate::correlate::what_if::WhatIf;
use crate::dns::Name;

/// Lookups are summed by spans of this length.
const SPAN: Duration = Duration::from_secs(5);
/// Names of a client that are kept, to tell whether there are many.
const MAX_NAMES: usize = 16;
/// NodeLocal DNSCache listens there (facts.md section 3.4).
const NODE_LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 20, 10));

/// The rule.
#[derive(Default)]
pub(super) struct SearchAmplification {
    clients: Followed<Waste>,
    hasher: DefaultHashBuilder,
}

/// What one client wasted lately.
#[derive(Default)]
struct Waste {
    spans: VecDeque<Span>,
    /// What the spans count together; their other configurations are added up only when somebody wants to read them.
    total: Counts,
    /// External names that cost a walk, by their hashes, with the time of the last; the longest ago first.
    names: VecDeque<(u64, Timestamp)>,
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
    counts: Counts,
    /// Their queries with another configuration.
    what_if: WhatIf,
}

/// How many there were.
#[derive(Clone, Copy, Default)]
struct Counts {
    lookups: u64,
    queries: u64,
    /// Lookups of external names that went through the whole list first.
    walks: u64,
    /// Queries that these wasted.
    wasted: u64,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        let Self { lookups, queries, walks, wasted } = other;
        self.lookups += lookups;
        self.queries += queries;
        self.walks += walks;
        self.wasted += wasted;
    }

    /// Takes away what was added before.
    fn take(&mut self, other: &Self) {
        let Self { lookups, queries, walks, wasted } = other;
        self.lookups -= lookups;
        self.queries -= queries;
        self.walks -= walks;
        self.wasted -= wasted;
    }
}

impl Detector for SearchAmplification {
    fn id(&self) -> FindingId {
        FindingId::SearchAmplification
    }

    fn lookup(&mut self, lookup: &Lookup, desk: &mut Desk<'_>) {
        let thresholds = desk.context.thresholds.amplification;
        let walked = is_walk(lookup);
        let name = if walked { Some(self.hasher.hash_one(&lookup.base)) } else { None };
        let waste = match name {
            Some(_) => self.clients.entry(lookup, Waste::default),
            // Who never walks is not kept.
            None => self.clients.get_mut(lookup),
        };
        let Some(waste) = waste else { return };
        waste.add(lookup, name, desk.context.ground.of_lookup, thresholds.within);
        if !walked {
            return;
        }
        let sum = waste.total;
        let least = if at_node(lookup) { thresholds.lookups_at_cache } else { thresholds.lookups };
        let share = sum.wasted as f64 / sum.queries.max(1) as f64;
        if sum.lookups < least || share < thresholds.waste || waste.names.len() < thresholds.names {
            return;
        }
        let server = server(lookup);
        let load = server
            .map(|server| desk.context.ground.servers.window(server, desk.context.now, thresholds.within));
        let overload = load.is_some_and(|load| is_overloaded(load, &thresholds));
        let (id, subject) = (FindingId::SearchAmplification, Subject::client(lookup.client));
        // Those before the one that opens it were not told.
        let count = if desk.is_open(id, subject) { 1 } else { sum.walks };
        let sighting = Sighting {
            id,
            subject,
            severity: if overload { Severity::High } else { Severity::Warning },
            // What was asked in which order is no inference.
            confidence: Confidence::High,
            seen: (waste.began().unwrap_or(lookup.started), lookup.ended),
            count,
        };
        desk.raise(sighting, || details(lookup, &waste.sum(), &thresholds, load.filter(|_| overload)));
    }
}

impl Waste {
    /// Adds a lookup; `walked`: the hash of its name where it went through the whole list.
    fn add(&mut self, lookup: &Lookup, walked: Option<u64>, what_if: &WhatIf, within: Duration) {
        let now = lookup.ended;
        while let Some(over) = self.spans.front().filter(|span| now.since(span.began) > within) {
            self.total.take(&over.sum.counts);
            self.spans.pop_front();
        }
        if self.spans.back().is_none_or(|span| now.since(span.began) >= SPAN) {
            self.spans.push_back(Span { began: now, sum: Sum::default() });
        }
        let Some(Span { sum, .. }) = self.spans.back_mut() else { return };
        let (walks, wasted) = if walked.is_some() { (1, lookup.wasted.into()) } else { (0, 0) };
        let counts = Counts { lookups: 1, queries: lookup.queries.into(), walks, wasted };
        sum.counts.add(&counts);
        self.total.add(&counts);
        if let Some(base) = walked {
            sum.what_if.add_all(what_if);
            self.names.retain(|(name, at)| *name != base && now.since(*at) <= within);
            if self.names.len() >= MAX_NAMES {
                self.names.pop_front();
            }
            self.names.push_back((base, now));
        }
    }

    fn sum(&self) -> Sum {
        let mut what_if = WhatIf::default();
        self.spans.iter().for_each(|span| what_if.add_all(&span.sum.what_if));
        Sum { counts: self.total, what_if }
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

/// Does the server that is asked for it fail (facts.md section 3.5, overload)?
fn is_overloaded(load: ServerWindow, thresholds: &Amplification) -> bool {
    let failed = load.unanswered + load.servfail + load.refused;
    load.transactions >= thresholds.overload_at_least
        && ratio(failed, load.transactions) >= thresholds.overload_share
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
    let share = 100.0 * sum.counts.wasted as f64 / sum.counts.queries.max(1) as f64;
    let mut because = vec![
        format!(
            "in {} s {} of {} lookups went through the whole search list and were found as they are, last",
            thresholds.within.as_secs(),
            sum.counts.walks,
            sum.counts.lookups
        ),
        format!(
            "{} of {} queries ({share:.0} %) asked for names that do not exist",
            sum.counts.wasted, sum.counts.queries
        ),
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
        remedies: remedies(base, &sum.what_if, server(lookup)),
    }
}

fn numbers(lookup: &Lookup, sum: &Sum, suffixes: usize, dots: usize) -> Vec<Measure> {
    let mut numbers = vec![
        text("name", &lookup.base),
        count("queries_per_lookup", lookup.queries),
        count("queries_needed", lookup.queries.saturating_sub(lookup.wasted)),
        count("search_domains", suffixes),
        count("dots", dots),
        count("lookups", sum.counts.lookups),
        count("lookups_of_external_names", sum.counts.walks),
        count("queries", sum.counts.queries),
        count("wasted", sum.counts.wasted),
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
fn remedies(base: &Name, what_if: &WhatIf, server: Option<IpAddr>) -> Vec<Remedy> {
    let WhatIf { queries, ndots_2, ndots_1, broken_by_1, .. } = *what_if;
    let mut remedies = Vec::new();
    if saves(ndots_2, queries) {
        remedies.push(dns_option(
            "Ask names with two dots as they are first (ndots:1 breaks short names of other namespaces on musl)",
            "ndots",
            Some("2"),
        ));
    }
    let dot = "Write external names with a dot at their end";
    remedies.push(remedy(dot, RemedyPlace::Application, &[&pasted(base)]));
    if !saves(ndots_2, queries) && saves(ndots_1, queries) && broken_by_1 == 0 {
        remedies.push(dns_option(
            "Or ask names with one dot as they are first, unless a program of the pod asks for services of other \
             namespaces by short names: on musl those break",
            "ndots",
            Some("1"),
        ));
    }
    remedies.extend(elsewhere(server));
    remedies
}

/// What helps whatever the names are and `ndots` is.
fn elsewhere(server: Option<IpAddr>) -> Vec<Remedy> {
    let nameservers = server.map_or_else(String::new, |server| format!("  nameservers: [{server}]"));
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
        dns_search(
            "For a pod that asks for external names only, leave the search list out",
            &["dnsPolicy: None", "dnsConfig:", &nameservers],
            server.map(|server| server.to_string()).into_iter().collect(),
            Vec::new(),
            None,
        ),
    ]
}

#[cfg(test)]
mod tests;
