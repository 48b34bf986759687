//! What tshark reads.
//!
//! A message is what has a whole header and as many legal questions as it counts; the question's name is taken from the
//! bytes, since tshark's text of a name does not tell a dot in a label from one between labels. Quotes in ICMP errors
//! are no messages.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::LIMIT;
use super::names::{show_octets, wire_name};
use super::reading::{Ends, Message, Reading, Transaction};
use crate::child::finish_within;

/// Reassembly in full, and a query within 30 s of an open one with its ID is that one again (5 s by default: then the
/// second send of glibc would be another transaction).
const PREFERENCES: [&str; 6] = [
    "tcp.desegment_tcp_streams:TRUE",
    "tcp.reassemble_out_of_order:TRUE",
    "dns.desegment_dns_messages:TRUE",
    "ip.defragment:TRUE",
    "ipv6.defragment:TRUE",
    "dns.retransmission_timer:30",
];

/// A message with what tshark says about its transaction.
struct Told {
    message: Message,
    /// On a response: the frame of its query.
    response_to: Option<u64>,
    /// On a query that was sent before: the frame of the first one.
    first_sent_in: Option<u64>,
    /// Tshark takes it for a second sending.
    retransmission: bool,
}

/// Reads `file`.
pub fn read(file: &Path) -> Result<Reading> {
    let mut command = Command::new("tshark");
    // Two passes, since only the second one knows whether a segment is missing for good.
    command.args(["-n", "-2", "-T", "json", "--no-duplicate-keys", "-x", "-r"]).arg(file);
    command.args(PREFERENCES.iter().flat_map(|preference| ["-o", preference]));
    let finished = finish_within(&mut command, LIMIT)?;
    // A file that ends badly is read as far as it goes, by both.
    let damaged = ["appears to have been cut short", "appears to be damaged"];
    let read = finished.status.success() || damaged.iter().any(|words| finished.stderr.contains(words));
    ensure!(read, "tshark ended with {}: {}", finished.status, finished.stderr.trim());
    let packets: Vec<Value> = serde_json::from_str(&finished.stdout).context("tshark wrote no JSON")?;
    let mut frames = Vec::new();
    let mut told = Vec::new();
    for packet in &packets {
        let layers = &packet["_source"]["layers"];
        let Some(time) = epoch(layers) else {
            // A broken record header may hold no legal time; what it holds is no frame then.
            frames.push(0);
            continue;
        };
        frames.push(time);
        if layers["icmp"].is_null() && layers["icmpv6"].is_null() {
            let bytes = each(&layers["dns_raw"], |raw| raw.first().is_some_and(Value::is_array));
            told.extend(each(&layers["dns"], |_| true).zip(bytes).filter_map(|(dns, raw)| {
                Message::told(layers, dns, raw, time).map(|message| Told::new(message, dns))
            }));
        }
    }
    let transactions = transactions(&told, &frames);
    Ok(Reading { messages: told.into_iter().map(|told| told.message).collect(), transactions, frames })
}

/// The elements of `value` where it is an array that `is_list` takes for one of several things; itself otherwise.
fn each(value: &Value, is_list: impl Fn(&[Value]) -> bool) -> impl Iterator<Item = &Value> {
    match value {
        Value::Array(array) if is_list(array) => array.iter(),
        Value::Null => [].iter(),
        one => std::slice::from_ref(one).iter(),
    }
}

impl Told {
    fn new(message: Message, dns: &Value) -> Self {
        Self {
            message,
            response_to: integer(&dns["dns.response_to"]),
            first_sent_in: integer(&dns["dns.retransmit_request_in"]),
            retransmission: !dns["dns.retransmission"].is_null(),
        }
    }
}

impl Message {
    /// `None` where tshark found no whole message.
    fn told(layers: &Value, dns: &Value, raw: &Value, time: u64) -> Option<Self> {
        let tcp = !layers["tcp"].is_null();
        let id_at = place(&dns["dns.id_raw"])?;
        let all = hex(raw[0].as_str()?)?;
        let bytes = all.get(id_at.checked_sub(place(raw)?)?..)?;
        let (id, flags) = (integer(&dns["dns.id"])? as u16, integer(&dns["dns.flags"])?);
        let counts =
            [["queries", "zones"], ["answers", "prerequisites"], ["auth_rr", "updates"], ["add_rr", "-"]]
                .map(|names| {
                    names.iter().find_map(|name| integer(&dns[format!("dns.count.{name}").as_str()]))
                });
        let counts: Vec<u64> = counts.into_iter().collect::<Option<_>>()?;
        let question = questions(dns, bytes, id_at, counts[0])?;
        let opt = opt(dns);
        let opt_field = |name: &str| integer(&opt?[name]);
        let show = |value: Option<u64>| value.map_or("none".to_owned(), |value| value.to_string());
        let response = flags & 0x8000 != 0;
        let rcode = opt_field("dns.resp.ext_rcode").unwrap_or(0) << 4 | flags & 0xf;
        let length = if tcp {
            integer(&dns["dns.length"])?
        } else {
            integer(&last(&layers["udp"])["udp.length"])? - 8
        };
        let wants_dnssec = opt.and_then(|opt| integer(&opt["dns.resp.z"])).map(|z| z & 0x8000 != 0);
        let fields = vec![
            ("flags", format!("{flags:#06x}")),
            ("opcode", (flags >> 11 & 0xf).to_string()),
            ("counts", counts.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")),
            ("qname", question.as_ref().map_or("none".into(), |question| question.0.clone())),
            ("qtype", show(question.as_ref().map(|question| question.1))),
            ("qclass", show(question.as_ref().map(|question| question.2))),
            ("rcode", show(response.then_some(rcode))),
            ("edns size", show(opt_field("dns.rr.udp_payload_size"))),
            ("edns version", show(opt_field("dns.resp.edns0_version"))),
            ("edns DO", wants_dnssec.map_or("none".into(), |wanted| wanted.to_string())),
            ("bytes", length.to_string()),
        ];
        // An illegal record or the end of what was captured ends tshark's reading, before it looks for the query.
        let gave_up = ["_ws.malformed", "_ws.short"].iter().any(|layer| !layers[*layer].is_null());
        Some(Self { ends: ends(layers, tcp)?, time, id, response, gave_up, fields })
    }
}

/// The first of `count` questions, which must all be there and legal: name, type and class. The outer `None`: they are
/// not; the inner one: `count` is 0.
fn questions(dns: &Value, bytes: &[u8], id_at: usize, count: u64) -> Option<Option<(String, u64, u64)>> {
    let mut found: Vec<(usize, &Value)> = ["Queries", "Zone"]
        .iter()
        .filter_map(|section| dns[*section].as_object())
        .flat_map(|section| section.values().flat_map(|value| each(value, |_| true)))
        .filter_map(|question| Some((place(&question["dns.qry.name_raw"])?, question)))
        .collect();
    found.sort_by_key(|(at, _)| *at);
    let mut first = None;
    for (at, question) in &found {
        let (name, _) = wire_name(bytes, at.checked_sub(id_at)?)?;
        let (qtype, qclass) = (integer(&question["dns.qry.type"])?, integer(&question["dns.qry.class"])?);
        first.get_or_insert((show_octets(&name), qtype, qclass));
    }
    (found.len() as u64 == count).then_some(first)
}

/// The first OPT record of the additional section.
fn opt(dns: &Value) -> Option<&Value> {
    let records = dns["Additional records"].as_object()?;
    records
        .values()
        .flat_map(|value| each(value, |_| true))
        .filter(|record| integer(&record["dns.resp.type"]) == Some(41))
        .min_by_key(|record| place(&record["dns.resp.name_raw"]))
}

/// Queries with their responses, as tshark pairs them: by frame, since it has no other name for a message.
fn transactions(told: &[Told], frames: &[u64]) -> Vec<Transaction> {
    let time = |frame: u64| frames.get(frame as usize - 1).copied().unwrap_or_default();
    let mut transactions: Vec<Transaction> = Vec::new();
    for Told { message, first_sent_in, response_to, retransmission, .. } in told {
        let Message { ends, id, .. } = *message;
        let mut change = |ends: Ends, frame: u64, change: &dyn Fn(&mut Transaction)| {
            let same = |transaction: &&mut Transaction| {
                (transaction.ends, transaction.id, transaction.query_time) == (ends, id, time(frame))
            };
            if let Some(transaction) = transactions.iter_mut().rev().find(same) {
                change(transaction);
            }
        };
        match (message.response, first_sent_in, response_to) {
            (false, Some(first), _) => change(ends, *first, &|transaction| transaction.sends += 1),
            (false, None, _) => {
                let query_time = message.time;
                transactions.push(Transaction { ends, id, query_time, sends: 1, response_time: None });
            }
            (true, _, Some(query)) if !retransmission => {
                change(ends.reversed(), *query, &|transaction| {
                    transaction.response_time = Some(message.time);
                });
            }
            (true, ..) => {}
        }
    }
    transactions
}

fn ends(layers: &Value, tcp: bool) -> Option<Ends> {
    let transport = last(&layers[if tcp { "tcp" } else { "udp" }]);
    let name = if tcp { "tcp" } else { "udp" };
    let ip_name = if layers["ip"].is_null() { "ipv6" } else { "ip" };
    let ip = last(&layers[ip_name]);
    let end = |address: &str, port: &str| {
        let ip: IpAddr = ip[format!("{ip_name}.{address}").as_str()].as_str()?.parse().ok()?;
        Some(SocketAddr::new(ip, integer(&transport[format!("{name}.{port}").as_str()])? as u16))
    };
    Some(Ends { tcp, source: end("src", "srcport")?, destination: end("dst", "dstport")? })
}

/// The innermost one where a layer is there more than once.
fn last(layer: &Value) -> &Value {
    layer.as_array().and_then(|layers| layers.last()).unwrap_or(layer)
}

/// Decimal, or hexadecimal behind `0x`.
fn integer(value: &Value) -> Option<u64> {
    let text = value.as_str()?;
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Where a field stands: the second element of what `-x` adds.
fn place(raw: &Value) -> Option<usize> {
    raw[1].as_u64().map(|at| at as usize)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// `1704067200.001000000` in nanoseconds.
fn epoch(layers: &Value) -> Option<u64> {
    let (seconds, fraction) = layers["frame"]["frame.time_epoch"].as_str()?.split_once('.')?;
    Some(seconds.parse::<u64>().ok()? * 1_000_000_000 + format!("{fraction:0<9}").parse::<u64>().ok()?)
}
