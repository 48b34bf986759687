//! From messages to what the application asked for.
//!
//! [`transactions`] matches queries with responses and expires the unanswered. Input: [`Observation`], one message with
//! its time and place, and the watermark. Output: [`Event`]. Its memory is bounded by [`Limits::max_inflight`].
//!
//! The others take events in, at the vantage nearest to the client: [`lookups`] folds transactions into lookups,
//! [`fingerprint`] tells stub resolvers apart, [`fallback`] follows truncated responses, [`linklocal`] measures what the
//! limit of a network interface counts, [`shadow_cache`] and [`what_if`] tell what would be saved, [`servers`] how each
//! server does. Deliberately absent: I/O, clocks, threads, metrics, judgement.

pub mod clients;
mod copies;
pub mod fallback;
pub mod fingerprint;
pub mod linklocal;
pub mod lookups;
pub mod resolv_conf;
pub mod search;
pub mod servers;
pub mod shadow_cache;
pub mod transactions;
pub mod what_if;

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::capture::frame::{Ifindex, Place, Timestamp};
use crate::dns::{Edns, Header, Message, Query, Question, Response};
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
    /// What was said.
    pub message: Message,
}

/// A client as it is told apart from all others: by its address, and at a workload's interface by that too, since those in
/// different networks may share an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId {
    /// The pod's interface, or the one inside an entered namespace; `None` for the node itself and in a file that does not say.
    pub interface: Option<Ifindex>,
    /// Its address.
    pub address: IpAddr,
}

impl ClientId {
    /// The client with this address whose packets are seen there.
    pub fn at(place: Option<&Place>, address: IpAddr) -> Self {
        let workload = place.filter(|place| place.is_of_workload());
        Self { interface: workload.map(|place| place.ifindex), address }
    }
}

/// One or two words in place of slices of octets: every room finds its clients by this.
impl Hash for ClientId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let interface = self.interface.map_or(0, |interface| interface.0);
        match self.address {
            IpAddr::V4(ip) => state.write_u64(u64::from(interface) << 32 | u64::from(ip.to_bits())),
            IpAddr::V6(ip) => {
                state.write_u128(ip.to_bits());
                state.write_u32(interface);
            }
        }
    }
}

impl Parties {
    /// Who asked.
    pub fn client_id(&self) -> ClientId {
        ClientId::at(self.place.as_ref(), self.client.ip())
    }

    /// Seen from the client's side, or in a file that does not say: only here a client is judged.
    pub fn at_client(&self) -> bool {
        matches!(self.vantage, Vantage::Client | Vantage::Unknown)
    }
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
    /// As in [`Sent`].
    pub name_key: u64,
    /// As in [`Sent`].
    pub number: u64,
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

/// A query on its way, once.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// Who asked whom.
    pub parties: Parties,
    /// When.
    pub time: Timestamp,
    /// The fixed part.
    pub header: Header,
    /// What was asked, if anything.
    pub question: Option<Question>,
    /// Hash of QNAME, whatever its case, seeded at random: who comes later need not hash it again. 0 without a question.
    pub name_key: u64,
    /// The transaction that it opened or belongs to, counted from 1.
    pub number: u64,
    /// The OPT record, if there is one.
    pub edns: Option<Edns>,
    /// The query was seen nearer to its client too.
    pub echo: bool,
}

impl Sent {
    fn new(
        parties: Parties,
        time: Timestamp,
        query: &Query,
        (name_key, number): (u64, u64),
        echo: bool,
    ) -> Self {
        let Query { header, question, edns, .. } = query;
        let question = question.clone();
        Self { parties, time, header: *header, question, name_key, number, edns: *edns, echo }
    }
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
    Opened(Sent),
    /// An open query was sent again, or one that was answered less than 10 s ago; the latter is opened too, before.
    Retransmitted(Sent),
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
