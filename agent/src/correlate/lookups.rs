//! What an application asked for: transactions over all candidates of the search list, folded into one lookup.
//!
//! Input: the client's events. Output: [`Lookup`]. Deliberately absent: I/O, clocks, judgement.

use std::net::SocketAddr;
use std::sync::Arc;

use super::ClientId;
use super::fingerprint::Fingerprint;
use super::resolv_conf::SearchSource;
use crate::capture::frame::Timestamp;
use crate::dns::{Name, Rcode, RecordType, Response};
use crate::packet::Transport;

/// What one stub resolver call asked: its questions over all candidates of the search list.
#[derive(Clone, Debug, PartialEq)]
pub struct Lookup {
    /// Who asked.
    pub client: ClientId,
    /// The client's place among all clients, less than [`MAX_CLIENTS`](super::clients::MAX_CLIENTS); another's once this one
    /// has to give way.
    pub place: u32,
    /// The name as the application gave it.
    pub base: Name,
    /// The names asked, in the order in which they were asked first.
    pub candidates: Vec<Candidate>,
    /// Which of them was answered.
    pub winner: Option<usize>,
    /// How it ended.
    pub outcome: LookupOutcome,
    /// When the first query was sent.
    pub started: Timestamp,
    /// When the last response came, or the wait for it ended.
    pub ended: Timestamp,
    /// Messages sent: every query as often as it was sent, over UDP and TCP.
    pub queries: u32,
    /// Those of them for candidates that did not win; 0 where none did.
    pub wasted: u32,
    /// Where the search list is known from.
    pub source: SearchSource,
    /// The search list in its order, as far as it is known; what was inferred may lack its end.
    pub search: Option<Arc<[Name]>>,
    /// `ndots` of the client, where it was told.
    pub ndots: Option<u8>,
    /// Candidates that were left when it stopped at NODATA.
    pub remaining: Vec<Name>,
    /// The server walked the search list itself (CoreDNS autopath): a synthetic CNAME from the name asked.
    pub autopath: bool,
    /// The client's stub resolver as it is known now.
    pub fingerprint: Fingerprint,
}

/// How a lookup ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LookupOutcome {
    /// With records.
    Answered,
    /// Every candidate is NXDOMAIN.
    NxDomain,
    /// The last candidate exists, without such records.
    NoData,
    /// SERVFAIL, REFUSED or another code.
    Error,
    /// No response within the time-out.
    Unanswered,
    /// At a candidate that is NODATA, with others left in the search list.
    Stopped,
    /// Its response may have come, but was not seen: in a part of a TCP stream that is missing, or for want of room to wait
    /// for it.
    Unseen,
    /// The capture ended before.
    Waiting,
}

impl LookupOutcome {
    /// As it stands in lines, labels and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::NxDomain => "nxdomain",
            Self::NoData => "nodata",
            Self::Error => "error",
            Self::Unanswered => "unanswered",
            Self::Stopped => "stopped",
            Self::Unseen => "unseen",
            Self::Waiting => "waiting",
        }
    }
}

/// One name that was asked for a lookup.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// QNAME of the first query.
    pub name: Name,
    /// The name itself, without a domain of the search list.
    pub as_is: bool,
    /// Its transactions in the order of their first send: A and AAAA, to each server, by each try and transport.
    pub asks: Vec<Ask>,
}

impl Candidate {
    /// What the client took for the answer to `qtype`: the first whole response that it could use, else the first
    /// truncated one, else the first error; `None` where it was not asked, or nothing came.
    pub fn result(&self, qtype: RecordType) -> Option<Verdict> {
        let answers = self.asks.iter().filter(|ask| ask.qtype == qtype).filter_map(Ask::answer);
        // Several servers may have been asked at once: the first to respond is heard.
        answers.min_by_key(|answer| (!answer.is_usable(), answer.truncated, answer.at)).map(|a| a.verdict)
    }

    /// Messages that were sent for it.
    pub fn messages(&self) -> u32 {
        self.asks.iter().map(Ask::messages).sum()
    }

    /// Was this type asked?
    pub fn asked(&self, qtype: RecordType) -> bool {
        self.asks.iter().any(|ask| ask.qtype == qtype)
    }
}

/// One transaction of a lookup. A query that is sent again after it was answered (glibc repeats the first of a pair, musl
/// after SERVFAIL) is an ask of its own, with the same ID and port.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Who was asked.
    pub server: SocketAddr,
    /// From which port.
    pub client_port: u16,
    /// By which protocol.
    pub transport: Transport,
    /// The message's ID.
    pub id: u16,
    /// QTYPE.
    pub qtype: RecordType,
    /// The UDP payload size of the query's OPT record, if it has one.
    pub edns: Option<u16>,
    /// AD was set in the query: a tool, not getaddrinfo (facts.md section 1.3).
    pub authentic_data: bool,
    /// When it was sent first.
    pub sent: Timestamp,
    /// When it was sent again.
    pub again: Vec<Timestamp>,
    /// What came of it.
    pub reply: Reply,
}

impl Ask {
    /// The response, if there is one.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.reply {
            Reply::Answered(answer) => Some(answer),
            _ => None,
        }
    }

    /// How often it was sent.
    pub fn messages(&self) -> u32 {
        1 + self.again.len() as u32
    }

    /// When it was sent last.
    pub fn last_sent(&self) -> Timestamp {
        self.again.last().map_or(self.sent, |again| self.sent.max(*again))
    }
}

/// What came of a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Nothing before the lookup was over, or the capture.
    Waiting,
    /// A response.
    Answered(Answer),
    /// No response until then.
    Unanswered(Timestamp),
    /// The response may have been in a part that was not seen, or there was no room to wait for it.
    Unseen,
}

/// What is kept of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When it came.
    pub at: Timestamp,
    /// What it means to the lookup.
    pub verdict: Verdict,
    /// The code itself.
    pub rcode: Rcode,
    /// Length in bytes.
    pub length: usize,
    /// TC.
    pub truncated: bool,
    /// AA.
    pub authoritative: bool,
    /// RA.
    pub recursion_available: bool,
    /// An SOA stands in the authority section.
    pub soa: bool,
    /// Records of the answer, authority and additional section, as the header says.
    pub counts: [u16; 3],
    /// It came after its query was given up.
    pub late: bool,
}

impl Answer {
    /// What is kept of `response`, which came at `at`.
    pub fn new(at: Timestamp, response: &Response, late: bool) -> Self {
        let header = &response.header;
        let [_, counts @ ..] = header.counts;
        Self {
            at,
            verdict: Verdict::new(response),
            rcode: response.rcode,
            length: response.length,
            truncated: header.truncated(),
            authoritative: header.authoritative(),
            recursion_available: header.recursion_available(),
            soa: response.authority_soa,
            counts,
            late,
        }
    }

    /// It says whether there are such records; SERVFAIL, REFUSED and their like do not.
    pub fn is_usable(&self) -> bool {
        !matches!(self.verdict, Verdict::ServFail | Verdict::Error)
    }
}

/// What a response means to a lookup (facts.md, shorthand ANS, ND, NX, SF, RF).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// NOERROR with a record of the type asked.
    Answer,
    /// NOERROR without one.
    NoData,
    /// NXDOMAIN.
    NxDomain,
    /// SERVFAIL.
    ServFail,
    /// REFUSED or any other code.
    Error,
}

impl Verdict {
    fn new(response: &Response) -> Self {
        match response.rcode {
            Rcode::NXDOMAIN => Self::NxDomain,
            Rcode::SERVFAIL => Self::ServFail,
            Rcode::NOERROR if response.is_nodata() => Self::NoData,
            // What was left out by truncation is no answer: some resolvers leave out all (facts.md section 3.1).
            Rcode::NOERROR if response.header.truncated() => {
                let qtype = response.question.as_ref().map(|question| question.qtype);
                let answered = response.answers().any(|answer| Some(answer.record_type) == qtype);
                if answered { Self::Answer } else { Self::NoData }
            }
            Rcode::NOERROR => Self::Answer,
            _ => Self::Error,
        }
    }
}
