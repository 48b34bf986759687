//! `unused-aaaa`: a client asks for AAAA all the time, and there never is one (facts.md section 3.8, P10).
//!
//! Within ten minutes about half of its queries are AAAA and 99 % of their responses hold no address. A client with a
//! global IPv6 address is left alone, and so is one that got an IPv6 address now and then: its network is dual-stack.

use std::net::IpAddr;
use std::time::Duration;

use super::evidence::{percent, ratio, share, words};
use super::followed::Followed;
use super::remedies::{count, dns_option, remedy};
use super::thresholds::UselessAaaa;
use super::{
    Confidence, Desk, Details, Detector, FindingId, Outlook, Remedy, RemedyPlace, Severity, Sighting, Subject,
};
use crate::capture::frame::Timestamp;
use crate::correlate::ClientId;
use crate::correlate::lookups::{Lookup, Reply, Verdict};
use crate::dns::RecordType;

/// The rule.
#[derive(Default)]
pub(super) struct UnusedAaaa {
    clients: Followed<Sum>,
    /// A client was followed for long enough once.
    looked: bool,
}

/// What one client asked since `since`.
struct Sum {
    since: Timestamp,
    queries: u64,
    aaaa: u64,
    /// AAAA without an address.
    empty: u64,
    /// AAAA with one.
    useful: u64,
}

impl Sum {
    fn new(since: Timestamp) -> Self {
        Self { since, queries: 0, aaaa: 0, empty: 0, useful: 0 }
    }

    fn add(&mut self, lookup: &Lookup) {
        for ask in lookup.candidates.iter().flat_map(|candidate| &candidate.asks) {
            self.queries += 1;
            if ask.qtype != RecordType::AAAA {
                continue;
            }
            self.aaaa += 1;
            let Reply::Answered(answer) = &ask.reply else { continue };
            match answer.verdict {
                Verdict::Answer => self.useful += 1,
                Verdict::NoData | Verdict::NxDomain => self.empty += 1,
                Verdict::ServFail | Verdict::Error => {}
            }
        }
    }

    /// About half of the queries, and hardly any of use.
    fn is_waste(&self, rule: &UselessAaaa) -> bool {
        let answered = self.empty + self.useful;
        self.empty >= rule.at_least
            && ratio(self.empty, answered) >= rule.share
            && ratio(self.aaaa, self.queries) >= rule.of_queries
    }
}

impl Detector for UnusedAaaa {
    fn id(&self) -> FindingId {
        FindingId::UnusedAaaa
    }

    fn lookup(&mut self, lookup: &Lookup, desk: &mut Desk<'_>) {
        if is_global(lookup.client.address) {
            return;
        }
        let rule = desk.context.thresholds.useless_aaaa;
        let Some(sum) = self.clients.entry(lookup, || Sum::new(lookup.started)) else { return };
        sum.add(lookup);
        if lookup.ended.since(sum.since) < rule.within {
            return;
        }
        self.looked = true;
        let over = std::mem::replace(sum, Sum::new(lookup.ended));
        if over.is_waste(&rule) {
            let sighting = Sighting {
                id: FindingId::UnusedAaaa,
                subject: Subject::client(lookup.client),
                severity: Severity::Info,
                confidence: Confidence::Medium,
                seen: (over.since, lookup.ended),
                count: over.empty,
            };
            desk.raise(sighting, || details(lookup.client, &over, rule.within));
        }
    }

    fn blind(&self, outlook: &Outlook<'_>) -> Option<String> {
        let minutes = outlook.thresholds.useless_aaaa.within.as_secs() / 60;
        (!self.looked).then(|| format!("no client was watched for {minutes} minutes, which it takes"))
    }
}

/// Beyond its own link and site (RFC 4291 section 2.4, RFC 4193): such a client may use what it asks for.
fn is_global(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(ip) if !ip.is_unique_local() && !ip.is_unicast_link_local() && !ip.is_loopback())
}

fn details(client: ClientId, sum: &Sum, within: Duration) -> Details {
    let answered = sum.empty + sum.useful;
    Details {
        summary: format!(
            "Client {} spends {} of its queries on AAAA, and {} of the responses hold no IPv6 address",
            client.address,
            percent(sum.aaaa, sum.queries),
            percent(sum.empty, answered)
        ),
        because: vec![
            format!("{} of {answered} AAAA responses of {} are NODATA or NXDOMAIN", sum.empty, words(within)),
            "it asks from an address that is no global IPv6 address".to_owned(),
        ],
        numbers: vec![
            count("queries", sum.queries),
            count("aaaa", sum.aaaa),
            share("aaaa_without_address", sum.empty, answered),
        ],
        example: Vec::new(),
        remedies: remedies(),
    }
}

/// facts.md section 3.8, P10. Only where nobody needs IPv6.
fn remedies() -> Vec<Remedy> {
    vec![
        remedy(
            "Ask for IPv4 alone in the application (getaddrinfo with AF_INET)",
            RemedyPlace::Application,
            &[],
        ),
        remedy("In Java", RemedyPlace::Application, &["-Djava.net.preferIPv4Stack=true"]),
        dns_option("With glibc 2.36 or newer", "no-aaaa", None),
    ]
}

#[cfg(test)]
mod tests;
