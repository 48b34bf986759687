//! `lame-nodata` (facts.md section 3.8, P7): NODATA without an SOA record, or a name that exists by one type only.
//!
//! RFC 2308 section 2.2 calls NODATA without SOA and NS its type 3; section 5 forbids to cache it. It harms nobody by
//! itself, and arms `search-stopped` and `pair-conflict`.

use std::net::IpAddr;

use super::incidents::{Incidents, Unit};
use super::remedies::pasted;
use super::{
    Confidence, Desk, Details, Detector, FindingId, Measure, Quantity, Remedy, RemedyPlace, Severity,
    Sighting, Strength, Subject, example,
};
use crate::correlate::lookups::{Answer, Ask, Candidate, Lookup, Verdict};
use crate::dns::Name;

/// The rule.
#[derive(Default)]
pub(super) struct LameNodata {
    incidents: Incidents,
}

/// What is wrong with an answer.
#[derive(Clone, Copy)]
enum Flaw<'a> {
    /// NODATA, and nothing in the authority section.
    NoAuthority(&'a Ask),
    /// NODATA by one type, NXDOMAIN by the other.
    Exists { nodata: &'a Ask, nxdomain: &'a Ask },
}

impl Flaw<'_> {
    fn server(self) -> IpAddr {
        match self {
            Self::NoAuthority(ask) | Self::Exists { nodata: ask, .. } => ask.server.ip(),
        }
    }
}

impl Detector for LameNodata {
    fn id(&self) -> FindingId {
        FindingId::LameNodata
    }

    fn lookup(&mut self, lookup: &Lookup, desk: &mut Desk<'_>) {
        for candidate in &lookup.candidates {
            let Some(flaw) = flaw(candidate) else { continue };
            let repetition = desk.context.thresholds.repetition;
            let client = Subject::client(lookup.client);
            let times = self.incidents.add(lookup.ended, client, &candidate.name, Unit::Lookup, &repetition);
            let sighting = Sighting {
                id: FindingId::LameNodata,
                subject: Subject::server(flaw.server()),
                severity: Severity::Low,
                confidence: if times.strength == Strength::Repeated {
                    Confidence::High
                } else {
                    Confidence::Low
                },
                seen: (lookup.started, lookup.ended),
                count: 1,
            };
            desk.raise(sighting, || details(lookup, candidate, flaw));
        }
    }
}

/// The answers of a candidate that cannot be right.
fn flaw(candidate: &Candidate) -> Option<Flaw<'_>> {
    let nodata = whole(candidate, Verdict::NoData).next()?;
    let nxdomain = whole(candidate, Verdict::NxDomain)
        .find(|(ask, _)| ask.server == nodata.0.server && ask.qtype != nodata.0.qtype);
    if let Some((nxdomain, _)) = nxdomain {
        return Some(Flaw::Exists { nodata: nodata.0, nxdomain });
    }
    // With an alias it is an answer that was cut off; with NS records it is a referral.
    let is_bare = |answer: &Answer| !answer.soa && answer.counts[0] == 0 && answer.counts[1] == 0;
    whole(candidate, Verdict::NoData)
        .find(|(_, answer)| is_bare(answer))
        .map(|(ask, _)| Flaw::NoAuthority(ask))
}

/// The queries that got such an answer, in full.
fn whole(candidate: &Candidate, verdict: Verdict) -> impl Iterator<Item = (&Ask, &Answer)> {
    let answers = candidate.asks.iter().filter_map(|ask| Some((ask, ask.answer()?)));
    answers.filter(move |(_, answer)| answer.verdict == verdict && !answer.truncated)
}

fn details(lookup: &Lookup, candidate: &Candidate, flaw: Flaw<'_>) -> Details {
    let (server, name) = (flaw.server(), &candidate.name);
    let (summary, because, asks) = match flaw {
        Flaw::NoAuthority(ask) => (
            format!(
                "{server} answers {} of {name} with NODATA, without the SOA record that belongs there.",
                ask.qtype
            ),
            "Without it nobody knows who says no, and nobody may cache it (RFC 2308 sections 2.2 and 5).",
            vec![ask],
        ),
        Flaw::Exists { nodata, nxdomain } => (
            format!(
                "{server} says of {name} that it exists without {} (NODATA), and that it does not exist when asked for {} (NXDOMAIN).",
                nodata.qtype, nxdomain.qtype
            ),
            "NXDOMAIN speaks for all types of a name (RFC 8020): one of the two is wrong.",
            vec![nodata, nxdomain],
        ),
    };
    Details {
        summary,
        because: vec![because.to_owned()],
        numbers: vec![Measure { name: "name", value: Quantity::Text(name.to_string()) }],
        example: example::of_asks(lookup, asks.into_iter().map(|ask| (name, ask))),
        remedies: vec![remedy(candidate)],
    }
}

/// Domains that nobody delegates (RFC 6761, RFC 6762, RFC 8375; ICANN's reservation of `internal`, 2024; RFC 6762 appendix
/// G), and those that a search list completed are the client's own.
const PRIVATE: [&str; 10] =
    ["local", "internal", "lan", "home", "corp", "private", "intranet", "test", "localdomain", "home.arpa"];

fn remedy(candidate: &Candidate) -> Remedy {
    let name = &candidate.name;
    // A name of one label has no domain but itself.
    let domain = if name.label_count() > 1 { name.parent(1) } else { name.clone() };
    let is_private = PRIVATE
        .iter()
        .filter_map(|private| Name::from_text(private).ok())
        .any(|private| name.is_below(&private));
    if candidate.as_is && !is_private {
        return Remedy {
            what: format!(
                "Tell those who run the servers of {domain}, or the forwarder in between: a defect of theirs, which no setting \
                 of this client mends"
            ),
            place: RemedyPlace::Server,
            lines: Vec::new(),
            dns: None,
        };
    }
    let zone = domain.to_string();
    Remedy {
        what: format!(
            "Forward {domain} to a server that holds it and answers NXDOMAIN for what does not exist; in dnsmasq (its local= \
             would do only where no other server holds names of that domain: it stops forwarding)"
        ),
        place: RemedyPlace::Server,
        lines: vec![format!("server=/{}/ADDRESS-OF-THAT-SERVER", pasted(&zone.trim_end_matches('.')))],
        dns: None,
    }
}

#[cfg(test)]
mod tests;
