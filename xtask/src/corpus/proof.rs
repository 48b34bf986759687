//! What a recording must show before it is kept: that the scenario happened as its label says.
//!
//! Judged by the clients' own words, by the transactions that `nslookout watch` reads (which tshark's reading is compared
//! with elsewhere), and by tcpdump's filters; no finding is asked.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::child;

/// A transaction as `nslookout watch -o json` tells it.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// Who asked.
    pub client: String,
    /// From which port.
    pub client_port: u64,
    /// Whom.
    pub server: String,
    /// Over TCP.
    pub tcp: bool,
    /// The ID.
    pub id: u16,
    /// The name, with the final dot.
    pub qname: String,
    /// The type's name.
    pub qtype: String,
    /// When it was sent first, in seconds.
    pub time: f64,
    /// How often it was sent.
    pub sends: u64,
    /// `answered`, `unanswered`, …
    pub outcome: String,
    /// From the first send to the response, in seconds.
    pub latency: f64,
    /// Of the response, or empty.
    pub rcode: String,
    /// NODATA.
    pub nodata: bool,
    /// TC.
    pub truncated: bool,
    /// The size of the response.
    pub bytes: u64,
    /// The payload size in the query's OPT record.
    pub edns: Option<u64>,
    /// The types of the answer section.
    pub answers: Vec<String>,
}

impl Transaction {
    /// Reads one line of JSON.
    fn read(line: &str) -> Result<Self> {
        let object: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
        let text = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| object[name].as_u64().unwrap_or_default();
        let time: jiff::Timestamp = text("query_time").parse().unwrap_or_default();
        let answers = object["answers"].as_array().into_iter().flatten();
        Ok(Self {
            client: text("client"),
            client_port: number("client_port"),
            server: text("server"),
            tcp: text("transport") == "tcp",
            id: number("id") as u16,
            qname: text("qname"),
            qtype: text("qtype"),
            time: time.as_nanosecond() as f64 / 1e9,
            sends: number("sends"),
            outcome: text("outcome"),
            latency: number("latency_ns") as f64 / 1e9,
            rcode: text("rcode"),
            nodata: object["nodata"].as_bool().unwrap_or_default(),
            truncated: object["truncated"].as_bool().unwrap_or_default(),
            bytes: number("response_bytes"),
            edns: object["query_edns"]["udp_payload_size"].as_u64(),
            answers: answers.map(|record| record["type"].as_str().unwrap_or_default().to_owned()).collect(),
        })
    }

    /// Does it end with an address?
    pub fn found(&self) -> bool {
        self.rcode == "NOERROR" && self.answers.contains(&self.qtype)
    }

    /// Was it answered at all?
    pub fn answered(&self) -> bool {
        self.outcome == "answered"
    }
}

/// A and AAAA of one name, asked together from one port.
pub struct Pair<'a> {
    /// The A.
    pub a: &'a Transaction,
    /// The AAAA.
    pub aaaa: &'a Transaction,
}

impl Pair<'_> {
    /// How far the second ID is from the first, modulo 65536.
    pub fn step(&self) -> u16 {
        self.aaaa.id.wrapping_sub(self.a.id)
    }

    /// Do both IDs have the same high byte?
    pub fn equal_high_bytes(&self) -> bool {
        self.a.id >> 8 == self.aaaa.id >> 8
    }
}

/// A recording, before it is kept.
pub struct Recorded {
    /// The capture.
    pub pcap: PathBuf,
    /// All transactions, in the order of their first send.
    pub transactions: Vec<Transaction>,
    /// What each program of each pod wrote.
    pub outputs: Vec<String>,
}

impl Recorded {
    /// Reads the capture by `agent`.
    pub fn read(agent: &str, pcap: PathBuf, outputs: Vec<String>) -> Result<Self> {
        let mut command = Command::new(agent);
        command.args(["watch", "-o", "json", "-r"]).arg(&pcap);
        let text = child::output_within(&mut command, Duration::from_secs(60))?;
        let mut transactions: Vec<Transaction> =
            text.lines().map(Transaction::read).collect::<Result<_>>()?;
        transactions.sort_by(|one, other| one.time.total_cmp(&other.time));
        Ok(Self { pcap, transactions, outputs })
    }

    /// Lookups that gave an address, and those that did not, by the clients' own words: `NAME  MS ms  ADDRESS…`.
    pub fn lookups(&self) -> (usize, usize) {
        let lines = self.outputs.iter().flat_map(|output| output.lines());
        let results = lines.filter_map(|line| line.split_once(" ms "));
        let is_address = |text: &str| {
            text.split_whitespace().next().is_some_and(|word| word.parse::<std::net::IpAddr>().is_ok())
        };
        let (resolved, failed): (Vec<_>, Vec<_>) = results.partition(|(_, rest)| is_address(rest));
        (resolved.len(), failed.len())
    }

    /// The pairs from one port each, in order.
    pub fn pairs(&self) -> Vec<Pair<'_>> {
        self.twins().into_iter().filter(|pair| pair.a.client_port == pair.aaaa.client_port).collect()
    }

    /// A and AAAA of one name at one time, from whatever ports.
    pub fn twins(&self) -> Vec<Pair<'_>> {
        let of_type =
            |qtype: &'static str| self.transactions.iter().filter(move |one| one.qtype == qtype && !one.tcp);
        of_type("A")
            .filter_map(|a| {
                let is_twin = |aaaa: &&Transaction| {
                    (&aaaa.client, &aaaa.server, &aaaa.qname) == (&a.client, &a.server, &a.qname)
                        && (aaaa.time - a.time).abs() < 0.02
                };
                let same_port = |aaaa: &&Transaction| is_twin(aaaa) && aaaa.client_port == a.client_port;
                of_type("AAAA")
                    .find(same_port)
                    .or_else(|| of_type("AAAA").find(is_twin))
                    .map(|aaaa| Pair { a, aaaa })
            })
            .collect()
    }

    /// Packets that fit tcpdump's filter.
    pub fn packets(&self, filter: &str) -> Result<usize> {
        Ok(self.times(filter)?.len())
    }

    /// When the packets that fit tcpdump's filter were seen, in seconds.
    pub fn times(&self, filter: &str) -> Result<Vec<f64>> {
        let mut command = Command::new("tcpdump");
        command.args(["-n", "-tt", "-q", "-r"]).arg(&self.pcap).arg(filter);
        let text = child::output_within(&mut command, Duration::from_secs(60))?;
        Ok(text.lines().filter_map(|line| line.split(' ').next()?.parse().ok()).collect())
    }
}

/// The most packets within any one second.
pub fn busiest_second(times: &[f64]) -> usize {
    (0..times.len())
        .map(|n| times[n..].iter().take_while(|&&time| time < times[n] + 1.0).count())
        .max()
        .unwrap_or(0)
}

/// The most of five seconds in a row, counted from the first packet, that hold at least `limit` packets each.
pub fn seconds_over(times: &[f64], limit: usize) -> usize {
    let Some(first) = times.first() else { return 0 };
    let mut seconds: Vec<usize> = Vec::new();
    for time in times {
        let second = (time - first) as usize;
        seconds.resize(seconds.len().max(second + 1), 0);
        seconds[second] += 1;
    }
    let over = |window: &[usize]| window.iter().filter(|&&count| count >= limit).count();
    if seconds.len() < 5 { over(&seconds) } else { seconds.windows(5).map(over).max().unwrap_or(0) }
}

/// The test that a [`Proof`] makes.
type Check = Box<dyn Fn(&Recorded) -> Result<bool> + Send + Sync>;

/// One thing that a recording must show.
pub struct Proof {
    /// What, for the message when it does not.
    pub what: String,
    /// Does it?
    pub check: Check,
}

impl Proof {
    /// By any test.
    pub fn that(what: &str, check: impl Fn(&Recorded) -> Result<bool> + Send + Sync + 'static) -> Self {
        Self { what: what.to_owned(), check: Box::new(check) }
    }

    /// So many lookups or more gave none.
    pub fn failed(least: usize) -> Self {
        Self::that(&format!("{least} lookups fail"), move |recorded| Ok(recorded.lookups().1 >= least))
    }

    /// Every lookup gave an address.
    pub fn all_resolved() -> Self {
        Self::that("every lookup gives an address", |recorded| {
            let (resolved, failed) = recorded.lookups();
            Ok(resolved > 0 && failed == 0)
        })
    }

    /// So many transactions or more are of this kind.
    pub fn seen(least: usize, what: &str, is: fn(&Transaction) -> bool) -> Self {
        Self::that(&format!("{least} of: {what}"), move |recorded| {
            Ok(recorded.transactions.iter().filter(|one| is(one)).count() >= least)
        })
    }

    /// No transaction is of this kind.
    pub fn never(what: &str, is: fn(&Transaction) -> bool) -> Self {
        Self::that(&format!("none of: {what}"), move |recorded| Ok(!recorded.transactions.iter().any(is)))
    }

    /// So many packets or more fit tcpdump's filter.
    pub fn packets(least: usize, filter: &str) -> Self {
        let own = filter.to_owned();
        Self::that(
            &format!("{least} packets: {filter}"),
            move |recorded| Ok(recorded.packets(&own)? >= least),
        )
    }

    /// No packet fits tcpdump's filter.
    pub fn no_packet(filter: &str) -> Self {
        let own = filter.to_owned();
        Self::that(&format!("no packet: {filter}"), move |recorded| Ok(recorded.packets(&own)? == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_counted_by_the_second() {
        // Two seconds with 30 packets each, a pause of two, and 10 more.
        let times: Vec<f64> = (0..60)
            .map(|n| 1000.0 + f64::from(n) / 30.0)
            .chain((0..10).map(|n| 1004.0 + f64::from(n) / 100.0))
            .collect();
        assert_eq!(busiest_second(&times), 30);
        assert_eq!((seconds_over(&times, 30), seconds_over(&times, 10)), (2, 3));
        assert_eq!((busiest_second(&[]), seconds_over(&[], 1)), (0, 0));
    }
}
