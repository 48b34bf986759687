//! What an application asked for: transactions over all candidates of the search list, folded into one lookup.
//!
//! Input: the client's events. Output: [`Lookup`]. Deliberately absent: I/O, clocks, judgement.

use std::net::SocketAddr;

use super::ClientId;
use super::fingerprint::Fingerprint;
use super::resolv_conf::SearchSource;
use crate::capture::frame::Timestamp;
use crate::dns::{Name, Rcode, RecordType};
use crate::packet::Transport;

/// What one stub resolver call asked: its questions over all candidates of the search list.
#[derive(Clone, Debug, PartialEq)]
pub struct Lookup {
    /// Who asked.
    pub client: ClientId,
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
    /// Those of them for candidates that did not win.
    pub wasted: u32,
    /// Where the search list is known from.
    pub source: SearchSource,
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
    /// No response.
    Unanswered,
    /// At a candidate that is NODATA, with others left in the search list.
    Stopped,
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
    /// What the client took for the answer to `qtype`: the first usable one, else the last that there is; `None` where
    /// it was not asked, or nothing came.
    pub fn result(&self, qtype: RecordType) -> Option<Verdict> {
        let mut verdicts =
            self.asks.iter().filter(|ask| ask.qtype == qtype).filter_map(|ask| match &ask.reply {
                Reply::Answered(answer) => Some(answer.verdict),
                _ => None,
            });
        let first = verdicts.next()?;
        let usable = |verdict: &Verdict| !matches!(verdict, Verdict::ServFail | Verdict::Error);
        if usable(&first) { Some(first) } else { verdicts.find(usable).or(Some(first)) }
    }

    /// Was this type asked?
    pub fn asked(&self, qtype: RecordType) -> bool {
        self.asks.iter().any(|ask| ask.qtype == qtype)
    }
}

/// One transaction of a lookup.
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
    /// When it was sent first.
    pub sent: Timestamp,
    /// When it was sent again.
    pub again: Vec<Timestamp>,
    /// What came of it.
    pub reply: Reply,
}

/// What came of a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Nothing yet.
    Waiting,
    /// A response.
    Answered(Answer),
    /// No response until then.
    Unanswered(Timestamp),
    /// The response may have been in a part that was not seen.
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
