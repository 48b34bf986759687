//! `truncated-no-tcp` (facts.md section 3.1, incident 0).
//!
//! A response over UDP says TC, and its client sends nothing over TCP to that server within 2 s, nor has another server's
//! whole answer. Silent: TCP in any form, tools (AD), clients that take more than 512 bytes, a capture that began after the
//! query. With the files of its image at hand also: musl 1.2.4, which does come back and reads 768 bytes of what it gets.

use hashlink::LinkedHashMap;

use super::behind;
use super::evidence::words;
use super::example::of_fallback;
use super::incidents::{Incidents, Times};
use super::remedies::{count, newer_image, remedy, text};
use super::{
    Confidence, Desk, Details, Detector, FindingId, Measure, Outlook, Remedy, RemedyPlace, Severity,
    Sighting, Strength, Subject, Thresholds,
};
use crate::capture::frame::Timestamp;
use crate::correlate::ClientId;
use crate::correlate::fallback::{Fallback, Then};
use crate::correlate::fingerprint::{Fingerprint, Stub};

/// Clients that came back over TCP which are remembered at most.
const MAX_BACK: usize = 4096;
/// Bytes of an answer that musl 1.2.4 keeps (facts.md section 1.1).
const MUSL_124_READS: usize = 768;

/// The rule.
#[derive(Default)]
pub(super) struct TruncatedNoTcp {
    incidents: Incidents,
    /// Clients that did come back over TCP some time, and when last.
    came_back: LinkedHashMap<ClientId, Timestamp>,
}

impl Detector for TruncatedNoTcp {
    fn id(&self) -> FindingId {
        FindingId::TruncatedNoTcp
    }

    fn fallback(&mut self, fallback: &Fallback, desk: &mut Desk<'_>) {
        match fallback.then {
            Then::Tcp { .. } | Then::TcpUnanswered | Then::Blocked(_) => {
                self.came_back.insert(fallback.client, fallback.truncated);
                if self.came_back.len() > MAX_BACK {
                    self.came_back.pop_front();
                }
                if let Then::Tcp { length, .. } = fallback.then
                    && is_meant(fallback, desk)
                {
                    self.cut_off(fallback, length, desk);
                }
            }
            Then::Nothing if is_meant(fallback, desk) => self.nothing(fallback, desk),
            Then::Nothing | Then::OtherServer | Then::Unknown => {}
        }
    }

    fn blind(&self, outlook: &Outlook<'_>) -> Option<String> {
        outlook.unfinished.truncated.told(
            "there is one truncated answer of which it was not seen what followed",
            "answers were truncated of which it was not seen what followed",
        )
    }
}

/// Is it a stub resolver that was promised no more than 512 bytes (RFC 1035 section 4.2.1)?
fn is_meant(fallback: &Fallback, desk: &Desk<'_>) -> bool {
    let limit = desk.context.thresholds.truncated.udp_limit;
    fallback.edns.is_none_or(|size| size <= limit)
        && !fallback.authentic_data
        && fallback.fingerprint.stub != Stub::BusyboxNslookup
        && !is_nslookup(fallback)
}

/// No getaddrinfo with random IDs and no EDNS leaves it at that: it is nslookup of BusyBox on another libc than musl, or a
/// tool.
fn is_nslookup(fallback: &Fallback) -> bool {
    let Fingerprint { stub, not_musl, .. } = fallback.fingerprint;
    fallback.edns.is_none() && stub == Stub::Unknown && not_musl
}

impl TruncatedNoTcp {
    fn nothing(&mut self, fallback: &Fallback, desk: &mut Desk<'_>) {
        let subject = Subject::client_of(fallback.client, fallback.server.ip());
        let repetition = desk.context.thresholds.repetition;
        let unit = repetition.unit(fallback.edns.is_some());
        let name = &fallback.question.qname;
        let times = self.incidents.add(fallback.truncated, subject, name, unit, &repetition);
        let thresholds = desk.context.thresholds;
        let until = fallback.truncated + thresholds.truncated.comes_back;
        let Some(strength) = times.against_losses(self.id(), subject, until, desk) else { return };
        let files = behind::files(&fallback.client, &desk.context.ground);
        let old_files = files.is_some_and(|files| files.old_musl && files.all);
        let (severity, confidence) = self.judge(fallback, strength, old_files);
        let seen = (fallback.sent, fallback.truncated);
        let count = u64::from(times.new);
        let sighting = Sighting { id: self.id(), subject, severity, confidence, seen, count };
        desk.raise(sighting, || details(fallback, &times, thresholds));
    }

    /// musl 1.2.4 asks over TCP and reads 768 bytes of the answer (variant e; musl a4ecaf89): on the wire all is well, so
    /// only the files of its image tell.
    fn cut_off(&mut self, fallback: &Fallback, length: usize, desk: &mut Desk<'_>) {
        let files = behind::files(&fallback.client, &desk.context.ground);
        if length <= MUSL_124_READS || !files.is_some_and(|files| files.musl_124 && files.all) {
            return;
        }
        let Fingerprint { stub, not_musl, .. } = fallback.fingerprint;
        if not_musl || stub != Stub::Unknown && !stub.is_musl() {
            return;
        }
        let subject = Subject::client_of(fallback.client, fallback.server.ip());
        let repetition = desk.context.thresholds.repetition;
        let unit = repetition.unit(false);
        let name = &fallback.question.qname;
        let times = self.incidents.add(fallback.truncated, subject, name, unit, &repetition);
        let Some(strength) = times.against_losses(self.id(), subject, fallback.truncated, desk) else {
            return;
        };
        // Which of its records lie behind the end is not known; those before it are used.
        let (severity, confidence) = match strength {
            Strength::Single => (Severity::Low, Confidence::Low),
            Strength::Repeated => (Severity::Warning, Confidence::Medium),
        };
        let seen = (fallback.sent, fallback.truncated);
        let sighting =
            Sighting { id: self.id(), subject, severity, confidence, seen, count: u64::from(times.new) };
        let thresholds = desk.context.thresholds;
        desk.raise(sighting, || cut_off_details(fallback, length, &times, thresholds));
    }

    /// High: no record at all, and a resolver that is known for it; low: some records are there.
    fn judge(&self, fallback: &Fallback, strength: Strength, old_files: bool) -> (Severity, Confidence) {
        let failing = fallback.answers == 0;
        let Fingerprint { stub, confidence, not_musl, .. } = fallback.fingerprint;
        let old = stub == Stub::MuslBefore124 && confidence > Confidence::Low
            || old_files && !not_musl && (stub == Stub::Unknown || stub.is_musl());
        let knows_tcp = matches!(stub, Stub::Glibc | Stub::Go | Stub::CAres | Stub::Musl124OrNewer)
            || self.came_back.contains_key(&fallback.client);
        match strength {
            Strength::Single => (Severity::Low, Confidence::Low),
            // It can, and did not: it may have been ended, or another program behind the address asked.
            Strength::Repeated if knows_tcp && !old => (Severity::Low, Confidence::Low),
            Strength::Repeated if failing && old => (Severity::High, Confidence::High),
            Strength::Repeated if failing => (Severity::High, Confidence::Medium),
            Strength::Repeated => (Severity::Warning, Confidence::Low),
        }
    }
}

fn details(fallback: &Fallback, times: &Times, thresholds: &Thresholds) -> Details {
    let Fallback { client, server, question, length, answers, cnames, fingerprint, .. } = fallback;
    let qtype = question.qtype;
    let harm = match answers {
        0 => format!("gets no {qtype} record"),
        some => format!("gets {some} of its {qtype} records and takes them for all"),
    };
    let summary = format!(
        "{} {harm} of {}: the answer of {} does not fit into UDP, and the client never asks over TCP",
        client.address,
        question.qname,
        server.ip()
    );
    let mut because = vec![
        format!("TC=1 in a response of {length} bytes with {answers} {qtype} and {cnames} CNAME records"),
        match fallback.edns {
            Some(size) => format!("the query offered {size} bytes by EDNS"),
            None => "the query had no EDNS, so 512 bytes are the limit (RFC 1035 section 4.2.1)".to_owned(),
        },
        format!(
            "no TCP to {server} within {}, and no whole answer of another server",
            words(thresholds.truncated.comes_back)
        ),
    ];
    if !fingerprint.because.is_empty() {
        because.push(format!(
            "the stub resolver looks like {}: {}",
            fingerprint.stub.as_str(),
            fingerprint.because
        ));
    }
    Details {
        summary,
        because,
        numbers: numbers(fallback, times),
        example: of_fallback(fallback, thresholds),
        remedies: remedies(),
    }
}

fn cut_off_details(fallback: &Fallback, length: usize, times: &Times, thresholds: &Thresholds) -> Details {
    let Fallback { client, server, question, .. } = fallback;
    let summary = format!(
        "{} reads {MUSL_124_READS} of the {length} bytes that {} answers for {}: what lies behind is lost",
        client.address,
        server.ip(),
        question.qname
    );
    let mut numbers = numbers(fallback, times);
    numbers.push(count("bytes_over_tcp", length));
    Details {
        summary,
        because: vec![
            format!(
                "the answer of {} bytes over UDP was truncated, that over TCP has {length}",
                fallback.length
            ),
            format!(
                "musl 1.2.4 asks over TCP, but its buffer has {MUSL_124_READS} bytes (musl commit a4ecaf89)"
            ),
        ],
        numbers,
        example: of_fallback(fallback, thresholds),
        remedies: remedies(),
    }
}

fn numbers(fallback: &Fallback, times: &Times) -> Vec<Measure> {
    let Fallback { question, length, answers, cnames, fingerprint, .. } = fallback;
    vec![
        text("qname", &question.qname),
        text("qtype", question.qtype),
        count("response_bytes", *length),
        count("answers", *answers),
        count("cnames", *cnames),
        count("lookups_within_a_minute", times.count),
        text("stub_resolver", fingerprint.stub.as_str()),
    ]
}

fn remedies() -> Vec<Remedy> {
    let mut remedies = newer_image();
    remedies.push(remedy(
        "Or make the answer smaller: fewer records, a shorter CNAME chain; `options edns0` does nothing on musl",
        RemedyPlace::Server,
        &[],
    ));
    remedies.push(remedy(
        "With CoreDNS keep its cache and a current version",
        RemedyPlace::Corefile,
        &["cache 30"],
    ));
    remedies
}

#[cfg(test)]
mod tests;
