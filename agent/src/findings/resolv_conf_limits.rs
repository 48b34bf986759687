//! `resolv-conf-limits` (facts.md section 3.8 P14).
//!
//! A client's resolv.conf has more than its reader takes. Only for clients whose resolv.conf was told. Silent: what is
//! just at the limit.

use std::time::Duration;

use hashlink::LinkedHashMap;

use super::example::of_lookup;
use super::remedies::{count, remedy, text};
use super::{
    Confidence, Desk, Details, Detector, FindingId, Measure, Outlook, Remedy, RemedyPlace, Severity,
    Sighting, Subject,
};
use crate::capture::frame::Timestamp;
use crate::correlate::ClientId;
use crate::correlate::fingerprint::{Fingerprint, Stub};
use crate::correlate::lookups::Lookup;
use crate::correlate::resolv_conf::{MAX_NAMESERVERS, ResolvConf, SearchSource};

/// Octets of a line that musl reads; a longer one it ignores as a whole (resolvconf.c, facts.md section 1.1).
const MUSL_LINE: usize = 254;
/// Domains that glibc heeds before 2.26 (MAXDNSRCH of resolv.h).
const OLD_GLIBC_DOMAINS: usize = 6;
/// Clients that are kept at most.
const MAX_CLIENTS: usize = 4096;
/// A client is looked at so often.
const AGAIN: Duration = Duration::from_secs(60);

/// The rule.
#[derive(Default)]
pub(super) struct ResolvConfLimits {
    /// When each client was looked at, and what its stub resolver seemed to be.
    clients: LinkedHashMap<ClientId, (Timestamp, Stub)>,
}

/// What is too much.
#[derive(Clone, Copy)]
enum Excess {
    /// The search line is too long for musl.
    Line(usize),
    /// Servers that nobody asks.
    Servers(usize),
    /// Domains that an old glibc leaves out.
    Domains(usize),
}

impl Detector for ResolvConfLimits {
    fn id(&self) -> FindingId {
        FindingId::ResolvConfLimits
    }

    fn lookup(&mut self, lookup: &Lookup, desk: &mut Desk<'_>) {
        // Without ndots nothing was told.
        if lookup.ndots.is_none() || !self.is_due(lookup) {
            return;
        }
        let Some((read, source)) = desk.context.ground.clients.configuration(&lookup.client) else { return };
        let excess = excess(read, &lookup.fingerprint);
        let Some((worst, severity, confidence)) =
            excess.iter().copied().max_by_key(|(_, severity, _)| *severity)
        else {
            return;
        };
        let sighting = Sighting {
            id: self.id(),
            subject: Subject::client(lookup.client),
            severity,
            confidence,
            seen: (lookup.started, lookup.ended),
            count: 1,
        };
        desk.raise(sighting, || details(lookup, read, source, worst, &excess));
    }

    fn blind(&self, _outlook: &Outlook<'_>) -> Option<String> {
        self.clients
            .is_empty()
            .then(|| "no --resolv-conf told how a client that was seen is configured".to_owned())
    }
}

impl ResolvConfLimits {
    /// Was the client not looked at for a while, or is it another than it seemed?
    fn is_due(&mut self, lookup: &Lookup) -> bool {
        let stub = lookup.fingerprint.stub;
        if let Some((at, before)) = self.clients.to_back(&lookup.client) {
            let due = *before != stub || lookup.ended.since(*at) >= AGAIN;
            if due {
                (*at, *before) = (lookup.ended, stub);
            }
            return due;
        }
        if self.clients.len() >= MAX_CLIENTS {
            self.clients.pop_front();
        }
        self.clients.insert(lookup.client, (lookup.ended, stub));
        true
    }
}

fn excess(read: &ResolvConf, fingerprint: &Fingerprint) -> Vec<(Excess, Severity, Confidence)> {
    let mut excess = Vec::new();
    if read.longest_search_line > MUSL_LINE {
        let (severity, confidence) = match fingerprint.stub {
            stub if stub.is_musl() => (Severity::High, Confidence::High),
            Stub::Unknown => (Severity::Low, Confidence::Low),
            // Others read it; the next image may not.
            _ => (Severity::Info, Confidence::High),
        };
        excess.push((Excess::Line(read.longest_search_line), severity, confidence));
    }
    if read.nameservers.len() > MAX_NAMESERVERS {
        excess.push((Excess::Servers(read.nameservers.len()), Severity::Low, Confidence::High));
    }
    if read.search.len() > OLD_GLIBC_DOMAINS && fingerprint.stub == Stub::Glibc {
        excess.push((Excess::Domains(read.search.len()), Severity::Info, Confidence::Low));
    }
    excess
}

impl Excess {
    fn because(self) -> String {
        match self {
            Self::Line(octets) => format!(
                "the search line has {octets} octets; musl ignores a line of more than {MUSL_LINE} as a whole, and searches nowhere"
            ),
            Self::Servers(servers) => {
                format!("{servers} nameserver lines; only the first {MAX_NAMESERVERS} are asked")
            }
            Self::Domains(domains) => {
                format!("{domains} search domains; glibc before 2.26 takes {OLD_GLIBC_DOMAINS}")
            }
        }
    }

    fn remedy(self) -> Remedy {
        match self {
            Self::Line(_) => remedy(
                "Shorten the search line to 254 octets, with `search` and all blanks",
                RemedyPlace::PodSpec,
                &[
                    "dnsPolicy: None",
                    "dnsConfig:",
                    "  searches: [NAMESPACE.svc.cluster.local, svc.cluster.local, cluster.local]",
                ],
            ),
            Self::Servers(_) => {
                remedy("Keep three nameserver lines, those that matter first", RemedyPlace::ResolvConf, &[])
            }
            Self::Domains(_) => remedy("Keep six search domains", RemedyPlace::ResolvConf, &[]),
        }
    }

    fn measure(self) -> Measure {
        match self {
            Self::Line(octets) => count("search_line_octets", octets),
            Self::Servers(servers) => count("nameservers", servers),
            Self::Domains(domains) => count("search_domains", domains),
        }
    }
}

fn details(
    lookup: &Lookup,
    read: &ResolvConf,
    source: SearchSource,
    worst: Excess,
    all: &[(Excess, Severity, Confidence)],
) -> Details {
    let client = lookup.client.address;
    let summary = match worst {
        Excess::Line(octets) => {
            format!(
                "{client} has a search line of {octets} octets, which musl ignores: no short name is found"
            )
        }
        Excess::Servers(servers) => {
            format!("{client} has {servers} nameservers, and asks the first {MAX_NAMESERVERS} only")
        }
        Excess::Domains(domains) => {
            format!("{client} has {domains} search domains; glibc before 2.26 takes {OLD_GLIBC_DOMAINS}")
        }
    };
    let mut numbers: Vec<Measure> = all.iter().map(|(excess, ..)| excess.measure()).collect();
    numbers.push(count("ndots", read.ndots()));
    numbers.push(text("stub_resolver", lookup.fingerprint.stub.as_str()));
    numbers.push(text("told_by", source.as_str()));
    Details {
        summary,
        because: all.iter().map(|(excess, ..)| excess.because()).collect(),
        numbers,
        example: of_lookup(lookup),
        remedies: all.iter().map(|(excess, ..)| excess.remedy()).collect(),
    }
}

#[cfg(test)]
mod tests;
