//! The packets of an example, in words.

use std::net::SocketAddr;

use super::evidence::words;
use super::{Packet, Thresholds};
use crate::capture::frame::Timestamp;
use crate::correlate::fallback::{Asked, Fallback, Obstacle, Then};
use crate::correlate::lookups::{Answer, Ask, Lookup, Reply, Verdict};
use crate::correlate::{Outcome, Parties, Sent, Stray, Transaction};
use crate::dns::{Name, Question, RecordType, Response};
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

/// A packet over UDP.
pub(super) fn packet(time: Timestamp, source: SocketAddr, destination: SocketAddr, text: String) -> Packet {
    Packet { time, source, destination, transport: Transport::Udp, text }
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

/// A truncated response, its query and what followed.
pub(super) fn of_fallback(fallback: &Fallback, thresholds: &Thresholds) -> Vec<Packet> {
    let Fallback { question, id, edns, truncated, length, .. } = fallback;
    let client = SocketAddr::new(fallback.client.address, fallback.client_port);
    let ends = Ends { client, server: fallback.server, transport: Transport::Udp };
    let records = format!("{} {}, {} CNAME", fallback.answers, question.qtype, fallback.cnames);
    let then = match &fallback.then {
        Then::Tcp { cost, length } => {
            Some(format!("[answered over TCP {} ms later, {length} B]", cost.as_millis()))
        }
        Then::TcpUnanswered => Some("[asked over TCP, no answer]".to_owned()),
        Then::Blocked(Obstacle::Reset) => Some("[TCP SYN, answered with RST]".to_owned()),
        Then::Blocked(Obstacle::Silence) => {
            Some(format!("[TCP SYN, no answer within {}]", words(thresholds.tcp.silence)))
        }
        Then::OtherServer => Some("[another server's whole answer]".to_owned()),
        Then::Nothing => Some(format!("[no TCP within {}]", words(thresholds.truncated.comes_back))),
        Then::Unknown => None,
    };
    let mut packets = vec![
        ends.query(fallback.sent, asked(question.qtype, &question.qname, *id, *edns)),
        ends.response(*truncated, format!("TRUNCATED {length} B, {records}, id {id}")),
    ];
    let last = then.map(|text| Packet { transport: Transport::Tcp, ..ends.query(*truncated, text) });
    packets.extend(last);
    packets
}

/// A query and what came of it.
pub(super) fn of_transaction(transaction: &Transaction) -> Vec<Packet> {
    let Transaction { parties, query, first_sent, sends, outcome, .. } = transaction;
    let ends = Ends { client: parties.client, server: parties.server, transport: parties.transport };
    let edns = query.edns.map(|edns| edns.udp_payload_size);
    let text = match &query.question {
        Some(question) => asked(question.qtype, &question.qname, query.header.id, edns),
        None => format!("query without a question, id {}", query.header.id),
    };
    let again = if *sends > 1 { format!(", sent {sends} times") } else { String::new() };
    let mut packets = vec![ends.query(*first_sent, text + &again)];
    packets.extend(match outcome {
        Outcome::Answered { response, .. } => Some(ends.response(transaction.ended(), said(response))),
        Outcome::Unanswered { waited } => {
            Some(ends.response(transaction.ended(), format!("[nothing for {:.0} s]", waited.as_secs_f64())))
        }
        Outcome::Unseen { .. } | Outcome::Waiting { .. } => None,
    });
    packets
}

/// A query on its way.
pub(super) fn of_sent(sent: &Sent) -> Packet {
    let Sent { parties, time, question, edns, header, .. } = sent;
    let ends = Ends { client: parties.client, server: parties.server, transport: parties.transport };
    let text = match question {
        Some(question) => {
            asked(question.qtype, &question.qname, header.id, edns.map(|edns| edns.udp_payload_size))
        }
        None => format!("query without a question, id {}", header.id),
    };
    ends.query(*time, text)
}

/// The query that somebody else answered.
pub(super) fn of_query(parties: &Parties, to: &Asked, question: &Question, id: u16) -> Packet {
    let ends = Ends { client: parties.client, server: to.server, transport: parties.transport };
    ends.query(to.at, format!("{}? {} id {id}", question.qtype, question.qname))
}

/// A response outside a transaction.
pub(super) fn of_stray(stray: &Stray) -> Packet {
    let Stray { parties, time, response, .. } = stray;
    let ends = Ends { client: parties.client, server: parties.server, transport: parties.transport };
    ends.response(*time, said(response))
}

/// `A? api.example. id 4711, no EDNS`.
pub(super) fn asked(qtype: RecordType, name: &Name, id: u16, edns: Option<u16>) -> String {
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

/// The same of a response as it was read.
fn said(response: &Response) -> String {
    let what = match response.rcode {
        _ if response.header.truncated() => "TRUNCATED".to_owned(),
        _ if response.is_nodata() => "NODATA".to_owned(),
        rcode => rcode.to_string(),
    };
    let fragments = match (response.fragmented, response.partial) {
        (true, true) => ", in fragments, not all seen",
        (true, false) => ", in fragments",
        _ => "",
    };
    format!("{what} {} B, id {}{fragments}", response.length, response.header.id)
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
