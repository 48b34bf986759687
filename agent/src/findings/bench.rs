//! Plays lookups as whole frames to an engine, and writes down the findings.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Finding;
use crate::capture::counters::{CaptureCounters, DropReason};
use crate::capture::frame::{Frame, LinkType, Timestamp};
use crate::correlate::Vantage;
use crate::dns::tests::{dotted, message, question, record};
use crate::dns::{Name, RecordType};
use crate::engine::{Engine, EngineConfig, InsightConfig, Report};

/// An engine that judges, and what it told.
///
/// A step is `TIME CLIENT:PORT ID NAME TYPE=RESULT …`, the time in milliseconds, the client by its last octet: the
/// questions are sent 0.1 ms after one another with IDs `ID`, `ID` + `step=` (1) and so on, and answered 1 ms later, each after `RESULT@MS`
/// milliseconds where that is written. Results: `ans`, `nd` (with SOA), `bare` (NODATA without), `referral` (with NS), `nx`
/// (with SOA), `sf`, `rf`, `to` (nothing), `cname:N` (N aliases and an address), `loop`. Further words: `to=` the
/// server's last octet (53), `again=MS` (what gets no answer is sent again then). `TIME lost N`: the source says that it
/// has lost so many packets since it began.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    /// `opened pair-conflict low low`: state, id, severity and confidence.
    pub(crate) told: Vec<String>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let config = EngineConfig {
            ports: [53].into_iter().collect(),
            insight: Some(InsightConfig::default()),
            ..EngineConfig::default()
        };
        Self { engine: Engine::new(config), told: Vec::new() }
    }

    /// Plays the steps as one stream in the order of time, and ends 10 s later.
    pub(crate) fn play<S: AsRef<str>>(steps: &[S]) -> Self {
        let mut bench = Self::new();
        let mut inputs: Vec<(f64, Input)> = steps.iter().flat_map(|step| inputs(step.as_ref())).collect();
        inputs.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        for (millis, input) in &inputs {
            match input {
                Input::Packet(bytes) => bench.frame(at(*millis), bytes),
                Input::Lost(packets) => bench.engine.counters(at(*millis), &lost(*packets)),
            }
        }
        let end = bench.engine.latest() + Duration::from_secs(10);
        let Self { engine, told } = &mut bench;
        engine.tick(end, &mut |report| tell(&report, told));
        engine.finish(end, &mut |report| tell(&report, told));
        bench
    }

    fn frame(&mut self, time: Timestamp, bytes: &[u8]) {
        let Self { engine, told } = self;
        let original_length = bytes.len() as u32;
        let frame =
            Frame { time, place: None, link_type: LinkType::RawIp, original_length, vlan: None, bytes };
        engine.tick(time.before(Duration::from_millis(10)), &mut |report| tell(&report, told));
        engine.frame(&frame, &mut |report| tell(&report, told));
    }

    /// What it said of one rule.
    pub(crate) fn of(&self, id: &str) -> Vec<&str> {
        let mine = self.told.iter().filter(|line| line.split(' ').nth(1) == Some(id));
        mine.map(String::as_str).collect()
    }

    /// What was held back, as `id evidence lost`.
    pub(crate) fn held_back(&self) -> Vec<String> {
        let notes = self.engine.insight().unwrap().findings().ledger().held_back();
        notes.map(|note| format!("{} {} {}", note.id.as_str(), note.evidence, note.lost)).collect()
    }

    /// The findings of one rule at the end.
    pub(crate) fn findings(&self, id: &str) -> Vec<Finding> {
        let all = self.engine.insight().unwrap().findings().ledger().all();
        all.into_iter().filter(|finding| finding.id.as_str() == id).collect()
    }
}

fn tell(report: &Report<'_>, told: &mut Vec<String>) {
    if let Report::Finding(change) = report {
        let finding = change.finding();
        let (severity, confidence) = (finding.severity.as_str(), finding.confidence.as_str());
        told.push(format!("{} {} {severity} {confidence}", change.as_str(), finding.id.as_str()));
    }
}

/// A time of the bench; its zero is a time of today.
pub(crate) fn at(millis: f64) -> Timestamp {
    Timestamp::from_nanos(1_700_000_000_000_000_000 + (millis * 1e6) as u64)
}

/// What an engine is given.
enum Input {
    Packet(Vec<u8>),
    Lost(u64),
}

/// Counters of a source that has lost so many packets, nobody knows where.
fn lost(packets: u64) -> CaptureCounters {
    let drops = [((Vantage::Client, DropReason::RingFull), packets)].into();
    CaptureCounters { drops, ..CaptureCounters::default() }
}

/// What a step gives, with the times in milliseconds.
fn inputs(step: &str) -> Vec<(f64, Input)> {
    let words: Vec<&str> = step.split_whitespace().collect();
    if let [time, "lost", packets] = words.as_slice() {
        return vec![(time.parse().unwrap(), Input::Lost(packets.parse().unwrap()))];
    }
    let packets = packets(step, &words);
    packets.into_iter().map(|(millis, bytes)| (millis, Input::Packet(bytes))).collect()
}

fn packets(step: &str, words: &[&str]) -> Vec<(f64, Vec<u8>)> {
    let [time, client, id, name, rest @ ..] = words else { panic!("{step}") };
    let option = |key: &str| rest.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let begin: f64 = time.parse().unwrap();
    let client: SocketAddr = format!("10.0.0.{client}").parse().unwrap();
    let server: SocketAddr = format!("10.0.0.{}:53", option("to").unwrap_or("53")).parse().unwrap();
    let id_step: u16 = option("step").map_or(1, |step| step.parse().unwrap());
    let again: Option<f64> = option("again").map(|again| again.parse().unwrap());
    let asked = rest.iter().filter(|word| word.starts_with('A'));
    let mut packets = Vec::new();
    for (number, word) in asked.enumerate() {
        let (qtype, result) = word.split_once('=').unwrap();
        let qtype = if qtype == "A" { RecordType::A } else { RecordType::AAAA };
        let (result, delay) = result.split_once('@').unwrap_or((result, "1"));
        let (sent, id) = (begin + number as f64 * 0.1, id.parse::<u16>().unwrap() + number as u16 * id_step);
        let asks = message(id, 0x0100, [1, 0, 0, 0], &[question(dotted(name), qtype.0)]);
        packets.push((sent, udp(client, server, &asks)));
        match (response(id, name, qtype, result), again) {
            (Some(answer), _) => {
                packets.push((sent + delay.parse::<f64>().unwrap(), udp(server, client, &answer)));
            }
            (None, Some(again)) => packets.push((sent + again, udp(client, server, &asks))),
            (None, None) => {}
        }
    }
    packets
}

/// A response; `None` for none.
fn response(id: u16, name: &str, qtype: RecordType, result: &str) -> Option<Vec<u8>> {
    let owner = dotted(name);
    let address = |owner: Vec<u8>| match qtype {
        RecordType::A => record(owner, 1, 1, 60, &[192, 0, 2, 1]),
        _ => record(owner, 28, 1, 60, &[0x20; 16]),
    };
    let alias = |from: &str, to: &str| record(dotted(from), 5, 1, 60, &dotted(to));
    let soa =
        || record(dotted("test"), 6, 1, 60, &[dotted("ns.test"), dotted("h.test"), vec![0; 20]].concat());
    let (rcode, answers, authority) = match result {
        "to" => return None,
        "ans" => (0, vec![address(owner.clone())], vec![]),
        "nd" => (0, vec![], vec![soa()]),
        "bare" => (0, vec![], vec![]),
        "referral" => (0, vec![], vec![record(dotted("test"), 2, 1, 60, &dotted("ns.test"))]),
        "nx" => (3, vec![], vec![soa()]),
        "sf" => (2, vec![], vec![]),
        "rf" => (5, vec![], vec![]),
        "loop" => (0, vec![alias(name, "b.test"), alias("b.test", name), alias(name, "b.test")], vec![]),
        many => {
            let count: usize = many.strip_prefix("cname:").unwrap().parse().unwrap();
            let names: Vec<String> = (0..count).map(|number| format!("c{number}.test")).collect();
            let owners = std::iter::once(name).chain(names.iter().map(String::as_str));
            let mut chain: Vec<_> = owners.zip(&names).map(|(from, to)| alias(from, to)).collect();
            chain.push(address(dotted(names.last().unwrap())));
            (0, chain, vec![])
        }
    };
    let counts = [1, answers.len() as u16, authority.len() as u16, 0];
    let parts = [vec![question(owner, qtype.0)], answers, authority].concat();
    Some(message(id, 0x8180 | rcode, counts, &parts))
}

/// A UDP datagram in IPv4, without checksums.
fn udp(source: SocketAddr, destination: SocketAddr, message: &[u8]) -> Vec<u8> {
    let octets = |address: SocketAddr| match address.ip() {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => unreachable!(),
    };
    let length = (28 + message.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(octets(source));
    packet.extend(octets(destination));
    packet.extend(source.port().to_be_bytes());
    packet.extend(destination.port().to_be_bytes());
    packet.extend((length - 20).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(message);
    packet
}

/// Pairs by which a client shows that it is musl before 1.2.4 (facts.md section 1.3), all answered, from `millis` on.
pub(crate) fn musl_pairs(millis: u64, client: u8) -> Vec<String> {
    let pair = |number: u64| {
        format!(
            "{} {client}:{} {} n{number}.test A=ans AAAA=ans step={}",
            millis + 100 * number,
            30_000 + number,
            // Of each pair the high bytes are equal.
            256 * (number + 3),
            // By a clock.
            35 + number * 7 % 23
        )
    };
    (0..30).map(pair).collect()
}

#[test]
fn the_bench_plays_what_it_is_told() {
    let mut steps = musl_pairs(0, 5);
    steps.push("9000 5:40000 1 a.test A=to AAAA=to again=2500".into());
    let bench = Bench::play(&steps);
    let insight = bench.engine.insight().unwrap();
    assert_eq!(insight.lookups().total(), 31);
    assert_eq!(insight.lookups().queries, 64);
    let [(client, fingerprint)] = insight.clients().fingerprints().try_into().unwrap();
    assert_eq!(client.address.to_string(), "10.0.0.5");
    assert_eq!(fingerprint.stub.as_str(), "musl-before-1.2.4");
    assert_eq!(Name::from_text("a.test").unwrap().to_string(), "a.test.");
}
