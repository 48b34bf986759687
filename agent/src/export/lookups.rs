//! Lookups: one line each for people, or one JSON object. The schema stands in docs/json.md.

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::json::{nanos, time};
use super::names::Names;
use super::text::{PARTY_WIDTH, clock, milliseconds, server, shorten};
use crate::correlate::lookups::{Answer, Ask, Candidate, Lookup, LookupOutcome, Reply, Verdict};
use crate::dns::Name;

/// Writes lookups.
#[derive(Clone, Debug)]
pub struct LookupLines {
    /// The zone of the times.
    pub zone: TimeZone,
    /// Width of the name's column.
    pub name_width: usize,
    /// Cut names to their column.
    pub shorten: bool,
    /// Print each candidate below the line.
    pub verbose: bool,
}

impl LookupLines {
    /// The words above the columns.
    pub fn heading(&self) -> String {
        let name = self.name_width;
        format!(
            "{:<12}  {:<15} {:<name$} {:<10} {:>6} {:>7} {:>6}  {:<19}  how",
            "time", "client", "name", "outcome", "ms", "queries", "wasted", "resolver"
        )
    }

    /// The line of a lookup; with [`Self::verbose`] its candidates below.
    pub fn line(&self, lookup: &Lookup, names: &Names) -> String {
        let width = self.name_width;
        let base = plain(&lookup.base);
        let client = names.client(&lookup.client);
        let mut line = format!(
            "{}  {:<15} {:<width$} {:<10} {:>6} {:>7} {:>6}  {:<19}  {}",
            clock(lookup.ended, &self.zone, "%H:%M:%S.%3f"),
            if self.shorten && client.contains('/') { shorten(&client, PARTY_WIDTH) } else { client },
            if self.shorten { shorten(&base, width) } else { base },
            lookup.outcome.as_str(),
            milliseconds(lookup.ended.since(lookup.started)),
            lookup.queries,
            lookup.wasted,
            lookup.fingerprint.stub.as_str(),
            how(lookup, names),
        );
        line.truncate(line.trim_end().len());
        if self.verbose {
            for candidate in &lookup.candidates {
                line.push_str(&format!("\n              {}", asked(candidate)));
            }
        }
        line
    }
}

/// Which candidate won and who answered; where it stopped, and what was left.
fn how(lookup: &Lookup, names: &Names) -> String {
    if let Some((candidate, ask)) = winner(lookup) {
        let name =
            if candidate.as_is { "as it is".to_owned() } else { format!("as {}", plain(&candidate.name)) };
        let by = ask.map_or(String::new(), |ask| format!(" by {}", asked_server(ask, names)));
        return name + &by + if lookup.autopath { ", autopath" } else { "" };
    }
    let last = lookup.candidates.last().map_or("-".into(), |candidate| plain(&candidate.name));
    match (lookup.outcome, lookup.candidates.len()) {
        (LookupOutcome::Stopped, _) => {
            let remaining: Vec<String> = lookup.remaining.iter().map(plain).collect();
            format!("at {last}; never asked: {}", remaining.join(", "))
        }
        (_, 1) => format!("asked {last}"),
        (_, asked) => format!("asked {asked} names, last {last}"),
    }
}

/// Who was asked, by name where one is known.
fn asked_server(ask: &Ask, names: &Names) -> String {
    let name = names.at(ask.server.ip()).filter(|_| ask.server.port() == 53);
    name.unwrap_or_else(|| server(ask.server))
}

/// The candidate that won, with the transaction that answered it first.
fn winner(lookup: &Lookup) -> Option<(&Candidate, Option<&Ask>)> {
    let candidate = lookup.candidates.get(lookup.winner?)?;
    let answered =
        |ask: &&Ask| matches!(&ask.reply, Reply::Answered(answer) if answer.verdict == Verdict::Answer);
    Some((candidate, candidate.asks.iter().find(answered)))
}

/// `A NXDOMAIN, AAAA NXDOMAIN  api.example.cluster.local`.
fn asked(candidate: &Candidate) -> String {
    let asks = candidate.asks.iter().map(|ask| {
        let result = match &ask.reply {
            Reply::Waiting => "waits".to_owned(),
            Reply::Unanswered(_) => "no answer".to_owned(),
            Reply::Unseen => "not seen".to_owned(),
            Reply::Answered(answer) if answer.truncated => "TRUNCATED".to_owned(),
            Reply::Answered(answer) => match answer.verdict {
                Verdict::Answer => "ok".to_owned(),
                Verdict::NoData => "NODATA".to_owned(),
                _ => answer.rcode.to_string(),
            },
        };
        let again =
            if ask.again.is_empty() { String::new() } else { format!(" sent {} times", ask.again.len() + 1) };
        format!("{} {} {result}{again}", ask.qtype, ask.transport.as_str())
    });
    format!("{}: {}", plain(&candidate.name), asks.collect::<Vec<_>>().join(", "))
}

/// A name without its final dot.
fn plain(name: &Name) -> String {
    let text = name.to_string();
    if text.len() > 1 { text.trim_end_matches('.').to_owned() } else { text }
}

/// The object of a lookup.
pub fn object(lookup: &Lookup, names: &Names) -> Value {
    let won = winner(lookup);
    let mut object = Map::new();
    let mut add = |key: &str, value: Value| drop(object.insert(key.into(), value));
    add("time", time(lookup.ended));
    add("started", time(lookup.started));
    add("client", lookup.client.address.to_string().into());
    add("interface", lookup.client.interface.and_then(|ifindex| names.get(&ifindex).cloned()).into());
    add("client_workload", names.object(&lookup.client));
    add("name", lookup.base.to_string().into());
    add("outcome", lookup.outcome.as_str().into());
    add("duration_ns", nanos(lookup.ended.since(lookup.started)));
    add("queries", lookup.queries.into());
    add("wasted", lookup.wasted.into());
    add("winner", won.map(|(candidate, _)| candidate.name.to_string()).into());
    add("server", won.and_then(|(_, ask)| ask).map(|ask| ask.server.ip().to_string()).into());
    add("remaining", lookup.remaining.iter().map(Name::to_string).collect::<Vec<_>>().into());
    add("autopath", lookup.autopath.into());
    add("search_source", lookup.source.as_str().into());
    let search = lookup.search.as_ref().map(|search| search.iter().map(Name::to_string).collect::<Vec<_>>());
    add("search", search.into());
    add("ndots", lookup.ndots.into());
    add("stub", lookup.fingerprint.stub.as_str().into());
    add("stub_confidence", lookup.fingerprint.confidence.as_str().into());
    add("candidates", lookup.candidates.iter().map(of_candidate).collect::<Vec<_>>().into());
    Value::Object(object)
}

fn of_candidate(candidate: &Candidate) -> Value {
    json!({
        "name": candidate.name.to_string(),
        "as_is": candidate.as_is,
        "asks": candidate.asks.iter().map(of_ask).collect::<Vec<_>>(),
    })
}

fn of_ask(ask: &Ask) -> Value {
    let mut object = json!({
        "server": ask.server.ip().to_string(),
        "server_port": ask.server.port(),
        "client_port": ask.client_port,
        "transport": ask.transport.as_str(),
        "id": ask.id,
        "qtype": ask.qtype.to_string(),
        "udp_payload_size": ask.edns,
        "time": time(ask.sent),
        "sent_again": ask.again.iter().map(|again| time(*again)).collect::<Vec<_>>(),
        "outcome": match &ask.reply {
            Reply::Waiting => "waiting",
            Reply::Unanswered(_) => "unanswered",
            Reply::Unseen => "unseen",
            Reply::Answered(answer) if answer.late => "late",
            Reply::Answered(_) => "answered",
        },
    });
    if let Reply::Answered(answer) = &ask.reply {
        add_answer(&mut object, ask, answer);
    }
    object
}

fn add_answer(object: &mut Value, ask: &Ask, answer: &Answer) {
    object["latency_ns"] = nanos(answer.at.since(ask.sent));
    object["rcode"] = answer.rcode.to_string().into();
    object["nodata"] = (answer.verdict == Verdict::NoData).into();
    object["truncated"] = answer.truncated.into();
    object["authoritative"] = answer.authoritative.into();
    object["recursion_available"] = answer.recursion_available.into();
    object["soa"] = answer.soa.into();
    object["bytes"] = answer.length.into();
    object["counts"] = answer.counts.to_vec().into();
}
