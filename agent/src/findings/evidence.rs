//! Numbers, packets and lines, as the rules about rates and servers write them down.

use super::{Measure, Packet, Quantity, Remedy, RemedyPlace};
use crate::correlate::{Outcome, Sent, Transaction};
use crate::dns::Question;

/// How many.
pub(super) fn count(name: &'static str, count: impl Into<u64>) -> Measure {
    Measure { name, value: Quantity::Count(count.into()) }
}

/// A share of 1; 0 of nothing.
pub(super) fn share(name: &'static str, part: u64, whole: u64) -> Measure {
    Measure { name, value: Quantity::Ratio(ratio(part, whole)) }
}

/// A name, a type, a list.
pub(super) fn text(name: &'static str, text: String) -> Measure {
    Measure { name, value: Quantity::Text(text) }
}

/// A remedy with its lines.
pub(super) fn remedy(what: &str, place: RemedyPlace, lines: &[&str]) -> Remedy {
    Remedy { what: what.to_owned(), place, lines: lines.iter().map(|line| (*line).to_owned()).collect() }
}

/// A part of a whole; 0 of nothing.
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A ratio as people say it.
pub(super) fn percent(part: u64, whole: u64) -> String {
    format!("{:.0} %", ratio(part, whole) * 100.0)
}

/// A query on its way.
pub(super) fn of_sent(sent: &Sent) -> Packet {
    Packet {
        time: sent.time,
        source: sent.parties.client,
        destination: sent.parties.server,
        transport: sent.parties.transport,
        text: asked(sent.question.as_ref(), sent.header.id),
    }
}

/// A query and what came of it.
pub(super) fn of_transaction(transaction: &Transaction) -> Vec<Packet> {
    let Transaction { parties, query, first_sent, outcome, sends, .. } = transaction;
    let (client, server, transport) = (parties.client, parties.server, parties.transport);
    let id = query.header.id;
    let again = if *sends > 1 { format!(", sent {sends} times") } else { String::new() };
    let text = asked(query.question.as_ref(), id) + &again;
    let mut packets =
        vec![Packet { time: *first_sent, source: client, destination: server, transport, text }];
    let text = match outcome {
        Outcome::Answered { response, .. } => format!("{} {} B, id {id}", response.rcode, response.length),
        Outcome::Unanswered { waited } => format!("[nothing for {:.0} s]", waited.as_secs_f64()),
        Outcome::Unseen { .. } | Outcome::Waiting { .. } => return packets,
    };
    packets.push(Packet { time: transaction.ended(), source: server, destination: client, transport, text });
    packets
}

/// `A? api.example. id 4711`.
fn asked(question: Option<&Question>, id: u16) -> String {
    match question {
        Some(Question { qname, qtype, .. }) => format!("{qtype}? {qname} id {id}"),
        None => format!("no question, id {id}"),
    }
}
