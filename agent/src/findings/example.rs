//! The packets of an example, in words.

use std::net::SocketAddr;

use super::Packet;
use crate::capture::frame::Timestamp;
use crate::correlate::lookups::{Answer, Ask, Lookup, Reply, Verdict};
use crate::dns::{Name, RecordType};
use crate::packet::Transport;

/// Packets of an example at most; what is between the first and the last is only counted.
const MAX_PACKETS: usize = 16;
/// Those at its end.
const LAST: usize = 4;

/// Who says something to whom.
#[derive(Clone, Copy)]
struct Ends {
    client: SocketAddr,
    server: SocketAddr,
    transport: Transport,
}

impl Ends {
    fn query(self, time: Timestamp, text: String) -> Packet {
        let Self { client, server, transport } = self;
        Packet { time, source: client, destination: server, transport, text }
    }

    fn response(self, time: Timestamp, text: String) -> Packet {
        let Self { client, server, transport } = self;
        Packet { time, source: server, destination: client, transport, text }
    }
}

/// All queries and responses of a lookup, in the order of their time.
pub(super) fn of_lookup(lookup: &Lookup) -> Vec<Packet> {
    let asks = lookup
        .candidates
        .iter()
        .flat_map(|candidate| candidate.asks.iter().map(|ask| (&candidate.name, ask)));
    of_asks(lookup, asks)
}

/// Some queries of a lookup and what came of them, in the order of their time.
pub(super) fn of_asks<'a>(lookup: &Lookup, asks: impl Iterator<Item = (&'a Name, &'a Ask)>) -> Vec<Packet> {
    let mut packets = Vec::new();
    for (name, ask) in asks {
        let client = SocketAddr::new(lookup.client.address, ask.client_port);
        let ends = Ends { client, server: ask.server, transport: ask.transport };
        packets.push(ends.query(ask.sent, asked(ask.qtype, name, ask.id, ask.edns)));
        for again in &ask.again {
            packets.push(ends.query(*again, format!("{}, again", asked(ask.qtype, name, ask.id, ask.edns))));
        }
        match &ask.reply {
            Reply::Answered(answer) => packets.push(ends.response(answer.at, answered(ask, answer))),
            Reply::Unanswered(until) => {
                packets.push(ends.response(*until, format!("[no answer to {} id {}]", ask.qtype, ask.id)));
            }
            Reply::Waiting | Reply::Unseen => {}
        }
    }
    in_order(packets)
}

/// `A? api.example. id 4711, no EDNS`.
fn asked(qtype: RecordType, name: &Name, id: u16, edns: Option<u16>) -> String {
    match edns {
        Some(size) => format!("{qtype}? {name} id {id}, EDNS {size}"),
        None => format!("{qtype}? {name} id {id}, no EDNS"),
    }
}

/// `NXDOMAIN 118 B, id 4711`.
fn answered(ask: &Ask, answer: &Answer) -> String {
    let late = if answer.late { ", late" } else { "" };
    let nodata = answer.verdict == Verdict::NoData && !answer.truncated;
    let what = match answer.rcode {
        _ if answer.truncated => "TRUNCATED".to_owned(),
        _ if nodata => "NODATA".to_owned(),
        rcode => rcode.to_string(),
    };
    format!("{what} {} B, {} id {}{late}", answer.length, ask.qtype, ask.id)
}

/// Sorted, and not too many.
fn in_order(mut packets: Vec<Packet>) -> Vec<Packet> {
    packets.sort_by_key(|packet| packet.time);
    let more = packets.len().saturating_sub(MAX_PACKETS);
    if more > 0
        && let Some(left_out) = packets.get(MAX_PACKETS - LAST - 1).cloned()
    {
        let text = format!("[{} more]", more + 1);
        let kept = MAX_PACKETS - LAST - 1;
        packets.splice(kept..packets.len() - LAST, [Packet { text, ..left_out }]);
    }
    packets
}
