//! Matches queries with responses and expires the unanswered.
//!
//! Input: [`Observation`], one message with its time and place, and the watermark. Output: [`Event`].
//! Deliberately absent: I/O, clocks, threads, metrics. Memory is bounded by [`Limits::max_inflight`].

mod copies;
pub mod transactions;

use std::net::SocketAddr;
use std::time::Duration;

use crate::capture::frame::{Place, Timestamp};
use crate::dns::{Edns, Message, Query, RecordType, Response};
use crate::packet::{Flow, Transport};

pub use crate::capture::vantage::Vantage;
pub use transactions::Correlator;

/// The bounds of matching.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A query is unanswered this long after its last send: 6 s, since glibc re-sends the same ID and port at 5.0 s.
    pub timeout: Duration,
    /// And at the latest this long after its first send.
    pub longest: Duration,
    /// Open queries that are kept; the oldest gives way and is counted.
    pub max_inflight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(6), longest: Duration::from_secs(30), max_inflight: 65_536 }
    }
}

/// One message as it was seen.
#[derive(Debug)]
pub struct Observation {
    /// When.
    pub time: Timestamp,
    /// Where; `None` in a file that does not say.
    pub place: Option<Place>,
    /// From whom to whom.
    pub flow: Flow,
    /// TTL or hop limit: lower in a copy that was forwarded.
    pub hop_limit: u8,
    /// Does the destination port belong to the server?
    pub to_server: bool,
    /// It came in fragments.
    pub fragmented: bool,
    /// What was said.
    pub message: Message,
}

/// Who asked whom, and from where it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parties {
    /// Whose side it was seen from.
    pub vantage: Vantage,
    /// Where; `None` in a file that does not say.
    pub place: Option<Place>,
    /// Address and port of the client.
    pub client: SocketAddr,
    /// Address and port of the server, as the client knows it.
    pub server: SocketAddr,
    /// UDP or TCP.
    pub transport: Transport,
}

/// A query with its response, or without one (RFC 9499 section 4).
#[derive(Clone, Debug, PartialEq)]
pub struct Transaction {
    /// Who asked whom.
    pub parties: Parties,
    /// What was asked.
    pub query: Query,
    /// When it was sent first.
    pub first_sent: Timestamp,
    /// How often it was sent; more than 1 is a retransmission.
    pub sends: u32,
    /// The same query was seen nearer to its client: this is the same message on its way.
    pub echo: bool,
    /// How it ended.
    pub outcome: Outcome,
}

impl Transaction {
    /// When it ended: the time of the response, or when waiting ended.
    pub fn ended(&self) -> Timestamp {
        match &self.outcome {
            Outcome::Answered { latency, .. } => self.first_sent + *latency,
            Outcome::Unanswered { waited } | Outcome::Unseen { waited } | Outcome::Waiting { waited } => {
                self.first_sent + *waited
            }
        }
    }
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A response came in time.
    Answered {
        /// What it said.
        response: Response,
        /// From the first send to the response.
        latency: Duration,
    },
    /// No response was seen within the window.
    Unanswered {
        /// From the first send to the end of the window.
        waited: Duration,
    },
    /// The window closed, but a part of the TCP stream that may have held the response was not seen.
    Unseen {
        /// From the first send to the end of the window.
        waited: Duration,
    },
    /// The capture ended while the window was still open.
    Waiting {
        /// From the first send to the end of the capture.
        waited: Duration,
    },
}

/// Why a response belongs to no waiting query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OrphanReason {
    /// No such query was seen.
    NoQuery,
    /// The query has its response already.
    Duplicate,
}

/// A response outside a transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Stray {
    /// Who answered whom.
    pub parties: Parties,
    /// When.
    pub time: Timestamp,
    /// What it said.
    pub response: Response,
    /// The same response was seen before, at another interface.
    pub echo: bool,
}

/// Something that happened between clients and servers.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A query was sent; its transaction is open now.
    Opened {
        /// Who asked whom.
        parties: Parties,
        /// QTYPE, if there is a question.
        qtype: Option<RecordType>,
        /// The OPT record, if there is one.
        edns: Option<Edns>,
    },
    /// An open query was sent again, or one that was answered less than 10 s ago.
    Retransmitted {
        /// Who asked whom.
        parties: Parties,
        /// The query was seen nearer to its client too.
        echo: bool,
    },
    /// A transaction ended.
    Closed(Transaction),
    /// A response came after its query was given up as unanswered.
    Late {
        /// The response.
        stray: Stray,
        /// From the first send to the response.
        latency: Duration,
    },
    /// A response without a waiting query.
    Orphan {
        /// The response.
        stray: Stray,
        /// Why.
        reason: OrphanReason,
    },
    /// A second sighting of the same message in a file that does not say where: folded.
    Copy,
    /// An open query had to give way to a newer one.
    Evicted {
        /// The query was seen nearer to its client too.
        echo: bool,
    },
}
