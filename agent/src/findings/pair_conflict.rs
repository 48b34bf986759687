//! `pair-conflict` (facts.md section 3.3): A and AAAA of one name disagree in a way that musl takes for failure.
//!
//! NXDOMAIN speaks for a name and all its types (RFC 2308, RFC 8020), so it cannot be right beside an address; RFC 4074
//! section 4.2 names it as a misbehaviour. Only musl fails on it: for others it is a defect of the server.

use std::net::IpAddr;

use hashlink::LinkedHashMap;

use super::incidents::{Incidents, Times, Unit};
use super::remedies::pasted;
use super::{
    Confidence, Desk, Details, Detector, FindingId, Measure, Quantity, Remedy, RemedyPlace, Severity,
    Sighting, Strength, Subject, example,
};
use crate::correlate::lookups::{Ask, Candidate, Lookup, Reply, Verdict};
use crate::dns::{Name, RecordType};

/// Servers of which the client that they harmed is remembered, at most.
const MAX_SERVERS: usize = 1024;

/// The rule.
#[derive(Default)]
pub(super) struct PairConflict {
    incidents: Incidents,
    /// The musl client that each server harmed last.
    harmed: LinkedHashMap<IpAddr, Subject>,
}

/// What the client was told of one type, and by which query.
#[derive(Clone, Copy)]
struct Told<'a> {
    ask: &'a Ask,
    what: What,
}

/// An answer, as far as this rule is concerned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Address,
    NxDomain,
    ServFail,
    Refused,
    Silence,
}

impl What {
    const fn words(self) -> &'static str {
        match self {
            Self::Address => "an address",
            Self::NxDomain => "NXDOMAIN",
            Self::ServFail => "SERVFAIL",
            Self::Refused => "REFUSED or another error",
            Self::Silence => "nothing at all",
        }
    }
}

/// A conflict: which type has the address, and what was said of the other.
struct Conflict<'a> {
    candidate: &'a Candidate,
    good: Told<'a>,
    bad: Told<'a>,
}

impl Detector for PairConflict {
    fn id(&self) -> FindingId {
        FindingId::PairConflict
    }

    fn lookup(&mut self, lookup: &Lookup, desk: &mut Desk<'_>) {
        for candidate in lookup.candidates.iter().filter(|candidate| is_mixed(candidate)) {
            if let Some(conflict) = conflict(candidate, desk) {
                self.found(lookup, &conflict, desk);
            }
        }
    }
}

impl PairConflict {
    fn found(&mut self, lookup: &Lookup, conflict: &Conflict<'_>, desk: &mut Desk<'_>) {
        let Conflict { candidate, good, bad } = conflict;
        let (client, server) = (lookup.client, good.ask.server.ip());
        let thresholds = desk.context.thresholds;
        let Times { count, of_name: times, strength, first, .. } = self.incidents.add(
            lookup.ended,
            Subject::client(client),
            &candidate.name,
            Unit::Lookup,
            &thresholds.repetition,
        );
        let of_one_name = thresholds.repetition.of_one_name as u64;
        // What happens once may be a race with somebody who changes the zone.
        if strength == Strength::Single {
            return;
        }
        let harmed = lookup.fingerprint.stub.is_musl();
        // That the server is wrong is said already, with whom it harms.
        let said = self.harmed.get(&server).is_some_and(|subject| desk.is_open(self.id(), *subject));
        if said && !harmed {
            return;
        }
        let subject = if harmed { Subject::client_of(client, server) } else { Subject::server(server) };
        if bad.what == What::Silence {
            // Queries of one name that get lost each time are hardly lost by chance, those of several names may be.
            if times < of_one_name {
                return;
            }
            // An answer that the capture lost is no silence of the server.
            let lost = desk.lost(&client, first, lookup.ended);
            if times < of_one_name.saturating_add(lost) {
                return desk.hold_back(FindingId::PairConflict, subject, times, lost);
            }
        }
        let is_open = desk.is_open(FindingId::PairConflict, subject);
        let sighting = Sighting {
            id: FindingId::PairConflict,
            subject,
            severity: if harmed { Severity::High } else { Severity::Low },
            confidence: match times {
                times if times >= thresholds.pair_conflict.sure as u64 => Confidence::High,
                _ => Confidence::Medium,
            },
            seen: (first.min(lookup.started), lookup.ended),
            count: if is_open { 1 } else { count },
        };
        desk.raise(sighting, || details(lookup, conflict, harmed, times));
        if harmed {
            self.harms(server, subject, desk);
        }
    }

    /// What was a defect of the server, while nobody was known to mind, is the client's incident from now on.
    fn harms(&mut self, server: IpAddr, subject: Subject, desk: &mut Desk<'_>) {
        desk.absorb(self.id(), Subject::server(server), subject);
        self.harmed.insert(server, subject);
        if self.harmed.len() > MAX_SERVERS {
            self.harmed.pop_front();
        }
    }
}

/// Is there an address, and something that failed? Nearly never: the rest is left alone at once.
fn is_mixed(candidate: &Candidate) -> bool {
    let (mut good, mut bad) = (false, false);
    for ask in &candidate.asks {
        match &ask.reply {
            Reply::Answered(answer) => match answer.verdict {
                Verdict::Answer => good = true,
                Verdict::NoData => {}
                Verdict::NxDomain | Verdict::ServFail | Verdict::Error => bad = true,
            },
            Reply::Unanswered(_) => bad = true,
            Reply::Waiting | Reply::Unseen => {}
        }
    }
    good && bad
}

/// Does one type have an address, and was the other told to fail, by the same server at the same time?
fn conflict<'a>(candidate: &'a Candidate, desk: &Desk<'_>) -> Option<Conflict<'a>> {
    let (a, aaaa) = (told(candidate, RecordType::A)?, told(candidate, RecordType::AAAA)?);
    let (good, bad) = match (a.what, aaaa.what) {
        (What::Address, What::Address) => return None,
        (What::Address, _) => (a, aaaa),
        (What::NxDomain, What::Address) => (aaaa, a),
        _ => return None,
    };
    let within = desk.context.thresholds.pair_conflict.within;
    let apart = |one, other| one > other + within || other > one + within;
    if good.ask.server != bad.ask.server || apart(good.ask.sent, bad.ask.sent) {
        return None;
    }
    // A name may be created or deleted between two answers.
    if let (What::NxDomain, Some(one), Some(other)) = (bad.what, good.ask.answer(), bad.ask.answer())
        && apart(one.at, other.at)
    {
        return None;
    }
    Some(Conflict { candidate, good, bad })
}

/// What the client took for the answer: the first whole one that it can use, else the first error, else silence. `None`
/// where this is not known, or nothing that could conflict.
fn told(candidate: &Candidate, qtype: RecordType) -> Option<Told<'_>> {
    let asks = || candidate.asks.iter().filter(|ask| ask.qtype == qtype);
    let answered = asks().filter_map(|ask| Some((ask, ask.answer()?)));
    let first = answered.min_by_key(|(_, answer)| (!answer.is_usable(), answer.truncated, answer.at));
    if let Some((ask, answer)) = first {
        let what = match answer.verdict {
            Verdict::Answer => What::Address,
            // What was cut off may hold anything.
            _ if answer.truncated => return None,
            Verdict::NoData => return None,
            Verdict::NxDomain => What::NxDomain,
            Verdict::ServFail => What::ServFail,
            Verdict::Error => What::Refused,
        };
        return Some(Told { ask, what });
    }
    let silent = asks().all(|ask| matches!(ask.reply, Reply::Unanswered(_)));
    // One packet may be lost; a query and its repetition hardly.
    let sends: u32 = asks().map(Ask::messages).sum();
    let ask = asks().next().filter(|_| silent && sends > 1)?;
    Some(Told { ask, what: What::Silence })
}

fn details(lookup: &Lookup, conflict: &Conflict<'_>, harmed: bool, times: u64) -> Details {
    let Conflict { candidate, good, bad } = conflict;
    let (client, server) = (lookup.client.address, good.ask.server.ip());
    let (name, fingerprint) = (&candidate.name, lookup.fingerprint);
    let said = format!(
        "{server} answers {} of {name} with an address and {} with {}",
        good.ask.qtype,
        bad.ask.qtype,
        bad.what.words()
    );
    let effect = match (harmed, bad.what) {
        (true, What::NxDomain) => format!("{client} (musl) takes that for a name that does not exist"),
        (true, _) => format!("{client} (musl) waits 5 s and fails"),
        (false, _) => "musl clients fail on that, others do not".to_owned(),
    };
    let mut because = vec![match bad.what {
        What::NxDomain => "NXDOMAIN speaks for all types of a name (RFC 8020): one of the answers is wrong.",
        _ => "A server that has the name for one type has to answer for the other: NOERROR without records.",
    }
    .to_owned()];
    if harmed {
        because.push(format!(
            "The client is {}, confidence {}: {}.",
            fingerprint.stub.as_str(),
            fingerprint.confidence.as_str(),
            fingerprint.because
        ));
    }
    let count = |name, number: u64| Measure { name, value: Quantity::Count(number) };
    let asks = candidate.asks.iter().map(|ask| (name, ask));
    Details {
        summary: format!("{said}; {effect}."),
        because,
        numbers: vec![count("times_for_this_name_within_a_minute", times)],
        example: example::of_asks(lookup, asks),
        remedies: remedies(name, bad.ask.qtype),
    }
}

fn remedies(name: &Name, qtype: RecordType) -> Vec<Remedy> {
    let template = ["template IN ", &qtype.to_string(), " ", &pasted(name), " {"].concat();
    let mut remedies = vec![Remedy {
        what: format!(
            "Make the server answer NOERROR without records for {qtype}, never NXDOMAIN or an error; in CoreDNS"
        ),
        place: RemedyPlace::Corefile,
        lines: vec![template, "    rcode NOERROR".into(), "}".into()],
        dns: None,
    }];
    if qtype == RecordType::AAAA {
        remedies.push(Remedy {
            what: "Ask for IPv4 alone, so that there is no AAAA query".into(),
            place: RemedyPlace::Application,
            lines: vec!["hints.ai_family = AF_INET;".into()],
            dns: None,
        });
    }
    remedies
}

#[cfg(test)]
mod tests;
