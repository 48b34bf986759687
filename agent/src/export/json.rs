//! One JSON object per line. The schema stands in docs/json.md.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::names::Names;
use crate::capture::frame::{Direction, Place, Timestamp};
use crate::correlate::{ClientId, Event, Observation, Outcome, Parties, Stray, Transaction};
use crate::dns::{Edns, EdnsOption, Message, OptionValue, Query, Question, Response};

/// The object of an event that has a line; `None` for those that are only counted.
pub fn object(event: &Event, names: &Names) -> Option<Value> {
    match event {
        Event::Closed(transaction) if !transaction.echo => Some(of_transaction(transaction, names)),
        Event::Late { stray, latency } if !stray.echo => {
            let mut object = of_stray(stray, names);
            object.insert("outcome".into(), "late".into());
            object.insert("latency_ns".into(), nanos(*latency));
            Some(Value::Object(object))
        }
        _ => None,
    }
}

/// The object of one message.
pub fn message(observation: &Observation, names: &Names) -> Value {
    let Observation { time: seen, place, flow, message, .. } = observation;
    let mut object = Map::new();
    object.insert("time".into(), time(*seen));
    add_place(&mut object, place.as_ref(), names);
    object.insert("transport".into(), flow.transport.as_str().into());
    object.insert("source".into(), flow.source.ip().to_string().into());
    object.insert("source_port".into(), flow.source.port().into());
    add_known(&mut object, "source_workload", names.object(&at(flow.source.ip(), place.as_ref(), true)));
    object.insert("destination".into(), flow.destination.ip().to_string().into());
    object.insert("destination_port".into(), flow.destination.port().into());
    let destination = at(flow.destination.ip(), place.as_ref(), false);
    add_known(&mut object, "destination_workload", names.object(&destination));
    object.insert("fragmented".into(), message.fragmented().into());
    let header = message.header();
    object.insert("id".into(), header.id.into());
    object.insert("flags".into(), header.flags.into());
    object.insert("opcode".into(), header.opcode().into());
    object.insert("counts".into(), header.counts.to_vec().into());
    add_question(&mut object, message.question());
    object.insert("bytes".into(), message.length().into());
    object.insert("edns".into(), of_edns(message.edns(), &message.options()));
    if let Message::Response(response) = message {
        object.insert("rcode".into(), response.rcode.to_string().into());
        object.insert("partial".into(), response.partial.into());
        object.insert("answers".into(), of_answers(response));
    }
    Value::Object(object)
}

/// Who it is, where that is known.
fn add_known(object: &mut Map<String, Value>, key: &str, value: Value) {
    if !value.is_null() {
        object.insert(key.into(), value);
    }
}

/// One end of a message: the pod whose interface it is stands where its packets come in.
pub(super) fn at(address: IpAddr, place: Option<&Place>, is_source: bool) -> ClientId {
    let own = place.filter(|place| is_source == (place.direction == Direction::Ingress));
    ClientId::at(own, address)
}

fn of_transaction(transaction: &Transaction, names: &Names) -> Value {
    let Transaction { parties, query, first_sent, sends, outcome, .. } = transaction;
    let mut object = of_parties(parties, names);
    object.insert("time".into(), time(transaction.ended()));
    object.insert("query_time".into(), time(*first_sent));
    add_question(&mut object, query.question.as_ref());
    add_query(&mut object, query);
    object.insert("sends".into(), (*sends).into());
    match outcome {
        Outcome::Answered { response, latency } => {
            object.insert("outcome".into(), "answered".into());
            object.insert("latency_ns".into(), nanos(*latency));
            add_response(&mut object, response);
        }
        Outcome::Unanswered { waited } => {
            object.insert("outcome".into(), "unanswered".into());
            object.insert("waited_ns".into(), nanos(*waited));
        }
        Outcome::Unseen { waited } => {
            object.insert("outcome".into(), "unseen".into());
            object.insert("waited_ns".into(), nanos(*waited));
        }
        Outcome::Waiting { waited } => {
            object.insert("outcome".into(), "waiting".into());
            object.insert("waited_ns".into(), nanos(*waited));
        }
    }
    Value::Object(object)
}

fn of_stray(stray: &Stray, names: &Names) -> Map<String, Value> {
    let mut object = of_parties(&stray.parties, names);
    object.insert("time".into(), time(stray.time));
    object.insert("id".into(), stray.response.header.id.into());
    add_question(&mut object, stray.response.question.as_ref());
    add_response(&mut object, &stray.response);
    object
}

fn of_parties(parties: &Parties, names: &Names) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("vantage".into(), parties.vantage.as_str().into());
    add_place(&mut object, parties.place.as_ref(), names);
    let [client, server] = names.objects(parties);
    object.insert("client".into(), parties.client.ip().to_string().into());
    object.insert("client_port".into(), parties.client.port().into());
    add_known(&mut object, "client_workload", client);
    object.insert("server".into(), parties.server.ip().to_string().into());
    object.insert("server_port".into(), parties.server.port().into());
    add_known(&mut object, "server_workload", server);
    object.insert("transport".into(), parties.transport.as_str().into());
    object
}

fn add_place(object: &mut Map<String, Value>, place: Option<&Place>, names: &Names) {
    if let Some(place) = place {
        object.insert("interface".into(), names.get(&place.ifindex).cloned().into());
        object.insert("ifindex".into(), place.ifindex.0.into());
        let direction = match place.direction {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        };
        object.insert("direction".into(), direction.into());
    }
}

fn add_question(object: &mut Map<String, Value>, question: Option<&Question>) {
    object.insert("qname".into(), question.map(|question| question.qname.to_string()).into());
    object.insert("qtype".into(), question.map(|question| question.qtype.to_string()).into());
    object.insert("qclass".into(), question.map(|question| question.qclass).into());
}

fn add_query(object: &mut Map<String, Value>, query: &Query) {
    object.insert("id".into(), query.header.id.into());
    object.insert("opcode".into(), query.header.opcode().into());
    object.insert("query_flags".into(), query.header.flags.into());
    object.insert("query_bytes".into(), query.length.into());
    object.insert("query_edns".into(), of_edns(query.edns, &query.options().collect::<Vec<_>>()));
}

fn add_response(object: &mut Map<String, Value>, response: &Response) {
    object.insert("rcode".into(), response.rcode.to_string().into());
    object.insert("nodata".into(), response.is_nodata().into());
    object.insert("truncated".into(), response.header.truncated().into());
    object.insert("authoritative".into(), response.header.authoritative().into());
    object.insert("response_flags".into(), response.header.flags.into());
    object.insert("response_bytes".into(), response.length.into());
    object.insert("response_edns".into(), of_edns(response.edns, &response.options().collect::<Vec<_>>()));
    object.insert("partial".into(), response.partial.into());
    object.insert("response_fragmented".into(), response.fragmented.into());
    object.insert("answers".into(), of_answers(response));
}

fn of_answers(response: &Response) -> Value {
    let answers = response.answers().map(|answer| {
        json!({
            "name": answer.name.to_string(),
            "type": answer.record_type.to_string(),
            "ttl": answer.ttl,
            "data": answer.data(),
        })
    });
    answers.collect::<Vec<_>>().into()
}

fn of_edns(edns: Option<Edns>, options: &[EdnsOption<'_>]) -> Value {
    edns.map_or(Value::Null, |edns| {
        json!({
            "udp_payload_size": edns.udp_payload_size,
            "version": edns.version,
            "dnssec_ok": edns.dnssec_ok,
            "options": options.iter().map(of_option).collect::<Vec<_>>(),
        })
    })
}

fn of_option(option: &EdnsOption<'_>) -> Value {
    let value = option.value();
    let mut object = json!({ "code": option.code, "name": option.name(), "value": value.to_string() });
    if let OptionValue::ExtendedError { code, .. } = value {
        object["info_code"] = code.into();
    }
    object
}

/// Nanoseconds.
pub(super) fn nanos(duration: std::time::Duration) -> Value {
    (duration.as_nanos() as u64).into()
}

/// RFC 3339 in UTC with nanoseconds.
pub(super) fn time(timestamp: Timestamp) -> Value {
    let time = jiff::Timestamp::from_nanosecond(i128::from(timestamp.as_nanos())).unwrap_or_default();
    format!("{time:.9}").into()
}
