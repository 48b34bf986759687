//! What a reader found in a capture, in the form in which two readers are compared.

use std::fmt;
use std::net::SocketAddr;

/// Everything that one reader found.
#[derive(Default)]
pub struct Reading {
    /// In the order in which the reader told them.
    pub messages: Vec<Message>,
    /// Queries with what became of them, in any order.
    pub transactions: Vec<Transaction>,
    /// The time of each frame in nanoseconds since 1970, the first one's at 0; only tshark tells it.
    pub frames: Vec<u64>,
}

/// From whom to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ends {
    /// UDP otherwise.
    pub tcp: bool,
    /// Who sent it.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
}

impl Ends {
    /// The way back.
    pub fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source, ..self }
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = if self.tcp { "tcp" } else { "udp" };
        write!(f, "{transport} {} > {}", self.source, self.destination)
    }
}

/// One DNS message.
pub struct Message {
    /// Between whom.
    pub ends: Ends,
    /// When its last byte was seen, nanoseconds since 1970.
    pub time: u64,
    /// As in the header.
    pub id: u16,
    /// QR.
    pub response: bool,
    /// The reader stopped within the message, and so paired it with nothing; only tshark tells it.
    pub gave_up: bool,
    /// Everything else that is compared: name and value, the same names in the same order for both readers.
    pub fields: Vec<(&'static str, String)>,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.response { "response" } else { "query" };
        write!(f, "{kind} {:#06x} {}", self.id, self.ends)
    }
}

/// A query and what became of it.
pub struct Transaction {
    /// From client to server.
    pub ends: Ends,
    /// As in the header.
    pub id: u16,
    /// When the query was first seen, nanoseconds since 1970.
    pub query_time: u64,
    /// How often it was sent.
    pub sends: u64,
    /// When the response that answers it was seen; `None` without one.
    pub response_time: Option<u64>,
}

impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transaction {:#06x} {}", self.id, self.ends)
    }
}
