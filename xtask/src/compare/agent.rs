//! What `nslookout watch -o json -r FILE` reads (docs/json.md).

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::LIMIT;
use super::names::{qname_octets, rcode_number, show_octets, type_number};
use super::reading::{Ends, Message, Reading, Transaction};
use crate::child::output_within;

/// Reads `file` twice: as messages and as transactions.
pub fn read(agent: &Path, file: &Path) -> Result<Reading> {
    let messages = lines(agent, file, &["--messages"])?;
    let lines = lines(agent, file, &[])?;
    Ok(Reading {
        messages: messages.iter().map(message).collect::<Result<_>>()?,
        transactions: transactions(&lines)?,
        frames: Vec::new(),
    })
}

fn lines(agent: &Path, file: &Path, flags: &[&str]) -> Result<Vec<Value>> {
    let mut command = Command::new(agent);
    command.args(["watch", "-o", "json"]).args(flags).arg("-r").arg(file);
    let text = output_within(&mut command, LIMIT)?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))).collect()
}

fn message(object: &Value) -> Result<Message> {
    let flags = number(object, "flags")?;
    let counts = object["counts"].as_array().context("no counts")?;
    let counts: Vec<String> = counts.iter().map(Value::to_string).collect();
    let edns = &object["edns"];
    let fields = vec![
        ("flags", format!("{flags:#06x}")),
        ("opcode", number(object, "opcode")?.to_string()),
        ("counts", counts.join(" ")),
        ("qname", object["qname"].as_str().map_or("none".into(), |text| show_octets(&qname_octets(text)))),
        ("qtype", object["qtype"].as_str().map_or("none".into(), type_number)),
        ("qclass", object["qclass"].as_u64().map_or("none".into(), |class| class.to_string())),
        ("rcode", object["rcode"].as_str().map_or("none".into(), rcode_number)),
        ("edns size", edns["udp_payload_size"].as_u64().map_or("none".into(), |size| size.to_string())),
        ("edns version", edns["version"].as_u64().map_or("none".into(), |version| version.to_string())),
        ("edns DO", edns["dnssec_ok"].as_bool().map_or("none".into(), |wanted| wanted.to_string())),
        ("bytes", number(object, "bytes")?.to_string()),
    ];
    Ok(Message {
        ends: ends(object, ["source", "source_port", "destination", "destination_port"])?,
        time: time(object, "time")?,
        id: number(object, "id")? as u16,
        response: flags & 0x8000 != 0,
        gave_up: false,
        fields,
    })
}

fn transactions(objects: &[Value]) -> Result<Vec<Transaction>> {
    let mut transactions = Vec::new();
    for object in objects {
        let ends = ends(object, ["client", "client_port", "server", "server_port"])?;
        let (id, ended) = (number(object, "id")? as u16, time(object, "time")?);
        let outcome = object["outcome"].as_str().unwrap_or_default();
        if outcome == "late" {
            // The same query was told before, as unanswered.
            let query_time = ended - number(object, "latency_ns")?;
            let given_up = transactions.iter_mut().find(|transaction: &&mut Transaction| {
                (transaction.ends, transaction.id, transaction.query_time) == (ends, id, query_time)
            });
            given_up.with_context(|| format!("late without a query: {object}"))?.response_time = Some(ended);
            continue;
        }
        transactions.push(Transaction {
            ends,
            id,
            query_time: time(object, "query_time")?,
            sends: number(object, "sends")?,
            response_time: (outcome == "answered").then_some(ended),
        });
    }
    Ok(transactions)
}

fn ends(object: &Value, [source, source_port, destination, destination_port]: [&str; 4]) -> Result<Ends> {
    let end = |address: &str, port: &str| -> Result<SocketAddr> {
        let ip: IpAddr = object[address].as_str().with_context(|| format!("no {address}"))?.parse()?;
        Ok(SocketAddr::new(ip, number(object, port)? as u16))
    };
    Ok(Ends {
        tcp: object["transport"] == "tcp",
        source: end(source, source_port)?,
        destination: end(destination, destination_port)?,
    })
}

fn number(object: &Value, field: &str) -> Result<u64> {
    object[field].as_u64().with_context(|| format!("no number {field} in {object}"))
}

/// RFC 3339 to nanoseconds since 1970.
fn time(object: &Value, field: &str) -> Result<u64> {
    let text = object[field].as_str().with_context(|| format!("no {field} in {object}"))?;
    let time: jiff::Timestamp = text.parse().with_context(|| format!("no time: {text}"))?;
    Ok(time.as_nanosecond() as u64)
}
