//! `public-leak` (facts.md section 3.8 P18).
//!
//! Names of the cluster, or single labels at the end of a search, are asked of a resolver in the public Internet. It
//! harms nobody's lookups, but others read the names. Silent: public names, and resolvers at private addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::cluster::is_cluster_name;
use super::example::of_asks;
use super::incidents::{Incidents, Unit};
use super::remedies::{count, dns_option, dns_policy, text};
use super::{Confidence, Desk, Details, Detector, FindingId, Severity, Sighting, Strength, Subject};
use crate::correlate::lookups::{Candidate, Lookup};

/// The rule.
#[derive(Default)]
pub(super) struct PublicLeak {
    incidents: Incidents,
}

impl Detector for PublicLeak {
    fn id(&self) -> FindingId {
        FindingId::PublicLeak
    }

    fn lookup(&mut self, lookup: &Lookup, desk: &mut Desk<'_>) {
        let leaked = lookup.candidates.iter().find_map(|candidate| {
            let server =
                candidate.asks.iter().map(|ask| ask.server.ip()).find(|server| is_public(*server))?;
            is_internal(lookup, candidate).then_some((candidate, server))
        });
        let Some((candidate, server)) = leaked else { return };
        let repetition = desk.context.thresholds.repetition;
        let client = Subject::client(lookup.client);
        let times = self.incidents.add(lookup.started, client, &candidate.name, Unit::Lookup, &repetition);
        let sighting = Sighting {
            id: self.id(),
            subject: Subject::client_of(lookup.client, server),
            severity: Severity::Info,
            confidence: if times.strength == Strength::Repeated { Confidence::High } else { Confidence::Low },
            seen: (lookup.started, lookup.ended),
            count: 1,
        };
        desk.raise(sighting, || details(lookup, candidate, server));
    }
}

/// A name that means nothing outside: one of the cluster, or one label among other candidates (an iterative resolver
/// asks for `com.` too).
fn is_internal(lookup: &Lookup, candidate: &Candidate) -> bool {
    is_cluster_name(&candidate.name, lookup.search.as_deref().unwrap_or_default())
        || candidate.name.label_count() == 1 && lookup.candidates.len() > 1
}

/// Neither private nor special (RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => is_public_v4(address),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || first == 0
        || first >= 224
        // Shared between providers and their customers (RFC 6598), also some clusters' own range.
        || first == 100 && (64..128).contains(&second)
        || first == 198 && (second == 18 || second == 19)
        || (first, second, third) == (192, 0, 0);
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // Global unicast (RFC 4291 section 2.4), documentation apart (RFC 3849).
    first & 0xe000 == 0x2000 && (first, second) != (0x2001, 0x0db8)
}

fn details(lookup: &Lookup, candidate: &Candidate, server: IpAddr) -> Details {
    let name = &candidate.name;
    let asks = candidate.asks.iter().map(|ask| (name, ask));
    Details {
        summary: format!(
            "{} asks {server}, a public resolver, for {name}, a name of the inside",
            lookup.client.address
        ),
        because: vec![
            format!("{server} is no private address (RFC 6890)"),
            format!("{name} means nothing outside: a name of the cluster, or one label"),
        ],
        numbers: vec![
            text("name", name),
            text("asked_for", &lookup.base),
            count("queries", candidate.messages()),
        ],
        example: of_asks(lookup, asks),
        remedies: vec![
            dns_policy(
                "Let the pod ask the cluster's DNS, which forwards what is not its own",
                "ClusterFirst",
                false,
                &["dnsPolicy: ClusterFirst"],
            ),
            dns_policy(
                "With hostNetwork",
                "ClusterFirstWithHostNet",
                true,
                &["hostNetwork: true", "dnsPolicy: ClusterFirstWithHostNet"],
            ),
            dns_option("Do not set ndots to 1 where glibc looks up single labels", "ndots", Some("2")),
        ],
    }
}

#[cfg(test)]
mod tests;
