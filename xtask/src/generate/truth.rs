//! What a generated capture holds, counted as it was made: what a reader of the file must find.

use serde_json::{Value, json};

use super::message::{NOERROR, NXDOMAIN, Qtype, Response};

/// Counts of everything that was written.
///
/// A transaction is a query with its response or without one; a query sent again is the same transaction, and the
/// same question over TCP is another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// Frames of any kind.
    pub packets: u64,
    /// Of these, with IPv6.
    pub ipv6_packets: u64,
    /// Of these, with TCP.
    pub tcp_packets: u64,
    /// TCP connections, each with a handshake and an end.
    pub tcp_connections: u64,
    /// What applications asked: A and AAAA over all candidates.
    pub lookups: u64,
    /// Of these, those that walked the whole search list.
    pub search_lookups: u64,
    /// Transactions that began with a query over UDP.
    pub udp_transactions: u64,
    /// Transactions over TCP.
    pub tcp_transactions: u64,
    /// Queries sent again after 5 seconds.
    pub retransmits: u64,
    /// Responses over UDP.
    pub udp_responses: u64,
    /// Responses over TCP.
    pub tcp_responses: u64,
    /// From the first query of each transaction over UDP to its response, together, microseconds.
    pub udp_latency_us: u64,
    /// Of the transactions, those of the flood.
    pub never_answered: u64,
    /// Of the transactions, those for a name of their own.
    pub random_names: u64,
    /// Transactions for an IPv4 address.
    pub a: u64,
    /// Transactions for an IPv6 address.
    pub aaaa: u64,
    /// Transactions whose query had an OPT record.
    pub edns: u64,
    /// Responses with TC, each followed by the same question over TCP.
    pub truncated: u64,
    /// Responses without error.
    pub noerror: u64,
    /// Of these, without an address of the type asked for.
    pub nodata: u64,
    /// Responses that deny the name.
    pub nxdomain: u64,
    /// Responses of a server that failed.
    pub servfail: u64,
    /// Time of the first frame, nanoseconds since 1970.
    pub first_ns: u64,
    /// Time of the last frame.
    pub last_ns: u64,
}

impl Truth {
    /// Counts a response by what it says.
    pub fn count_response(&mut self, response: &Response) {
        match response.rcode {
            NOERROR => self.noerror += 1,
            NXDOMAIN => self.nxdomain += 1,
            _ => self.servfail += 1,
        }
        if response.rcode == NOERROR && response.soa.is_some() {
            self.nodata += 1;
        }
    }

    /// Counts a transaction by its type.
    pub fn count_qtype(&mut self, qtype: Qtype) {
        match qtype {
            Qtype::A => self.a += 1,
            Qtype::Aaaa => self.aaaa += 1,
        }
    }

    /// Queries that were paired with a response, or were not, over both transports.
    pub fn transactions(&self) -> u64 {
        self.udp_transactions + self.tcp_transactions
    }

    /// Responses over both transports; each answers another transaction.
    pub fn answered(&self) -> u64 {
        self.udp_responses + self.tcp_responses
    }

    /// Everything, with the sums that a reader prints.
    pub fn to_json(&self) -> Value {
        json!({
            "packets": self.packets,
            "ipv6_packets": self.ipv6_packets,
            "tcp_packets": self.tcp_packets,
            "tcp_connections": self.tcp_connections,
            "lookups": self.lookups,
            "search_lookups": self.search_lookups,
            "transactions": self.transactions(),
            "answered": self.answered(),
            "unanswered": self.transactions() - self.answered(),
            "query_messages": self.transactions() + self.retransmits,
            "response_messages": self.answered(),
            "retransmits": self.retransmits,
            "udp": {
                "transactions": self.udp_transactions,
                "responses": self.udp_responses,
                "latency_us": self.udp_latency_us,
            },
            "never_answered": self.never_answered,
            "random_names": self.random_names,
            "tcp": { "transactions": self.tcp_transactions, "responses": self.tcp_responses },
            "qtypes": { "A": self.a, "AAAA": self.aaaa },
            "edns_transactions": self.edns,
            "truncated": self.truncated,
            "rcodes": { "NOERROR": self.noerror, "NXDOMAIN": self.nxdomain, "SERVFAIL": self.servfail },
            "nodata": self.nodata,
            "first_ns": self.first_ns,
            "last_ns": self.last_ns,
        })
    }
}
