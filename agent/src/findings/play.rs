//! Packets as lines, played through all rooms; what was found comes out as lines too.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::{Change, Details, Finding, FindingId};
use crate::capture::counters::{CaptureCounters, DropReason};
use crate::capture::frame::{Frame, LinkType, Timestamp};
use crate::capture::vantage::Vantage;
use crate::dns::tests::{dotted, message, question};
use crate::engine::{Engine, EngineConfig, InsightConfig, Report};
use crate::identity::facts::{Fact, Instance, Whose};

/// Plays steps and writes down what a rule finds.
///
/// A step is `TIME WHAT …`, the time in milliseconds:
/// - `TIME ?|! PORT ID TYPE NAME [WORD …]`: a query of 10.0.0.2 or a response to it. Words: `to=`, `from=` the server's last
///   octet (53), `edns=SIZE`, `ad`, `tcp`, `tc`, `rcode=`, `answers=` addresses, `cnames=`, `soa`, `frag` in two fragments,
///   `frag=lost` the first of them alone, `host=` the client's last octet (2)./// - `TIME syn|synack|rst PORT [to=]`: a segment without data.
/// - `TIME lost COUNT`: the source says how many packets were lost so far. `TIME tick`: everything before was seen.
pub(super) struct Play {
    engine: Engine,
    id: FindingId,
    said: Vec<String>,
    /// The next sequence number of each direction of a connection.
    sequences: BTreeMap<(SocketAddr, SocketAddr), u32>,
    latest: Timestamp,
}

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

impl Play {
    pub(super) fn new(id: FindingId) -> Self {
        let engine = Engine::new(EngineConfig {
            ports: [53].into_iter().collect(),
            insight: Some(InsightConfig::default()),
            ..EngineConfig::default()
        });
        Self { engine, id, said: Vec::new(), sequences: BTreeMap::new(), latest: Timestamp::default() }
    }

    pub(super) fn steps(&mut self, steps: &[&str]) -> &mut Self {
        steps.iter().for_each(|step| self.step(step));
        self
    }

    /// What was found until now.
    pub(super) fn said(&self) -> &[String] {
        &self.said
    }

    /// The latest finding of this rule.
    pub(super) fn finding(&self) -> Finding {
        let ledger = self.engine.insight().unwrap().findings().ledger();
        ledger.all().into_iter().find(|finding| finding.id == self.id).unwrap()
    }

    /// What it says.
    pub(super) fn details(&self) -> Details {
        self.finding().details
    }

    /// Tells who stands behind 10.0.0.2, at a time in milliseconds.
    pub(super) fn learn(&mut self, millis: u64, instance: Instance) -> &mut Self {
        let time = Timestamp::from_nanos(1_000_000_000_000 + millis * 1_000_000);
        let whose = Whose { addresses: vec![[10, 0, 0, 2].into()], ..Whose::default() };
        self.engine.learn(time, &Fact::Here { whose, instance: Arc::new(instance) });
        self
    }

    /// Ends the capture.
    pub(super) fn finish(&mut self) -> &mut Self {
        self.drive(|engine, emit, latest| engine.finish(latest, emit));
        self
    }

    fn drive(&mut self, act: impl FnOnce(&mut Engine, &mut dyn FnMut(Report<'_>), Timestamp)) {
        let Self { engine, id, said, latest, .. } = self;
        act(
            engine,
            &mut |report| {
                if let Report::Finding(change) = report {
                    let finding = change.finding();
                    if finding.id == *id {
                        said.push(line(&change));
                    }
                }
            },
            *latest,
        );
    }

    fn step(&mut self, step: &str) {
        let step = Words(step.split_whitespace().collect());
        let words = &step.0;
        let millis: f64 = words[0].parse().unwrap();
        let time = Timestamp::from_nanos(1_000_000_000_000 + (millis * 1e6) as u64);
        self.latest = self.latest.max(time);
        let server = SocketAddr::from(([10, 0, 0, step.number("to", step.number("from", 53)) as u8], 53));
        let near =
            |port: &str| SocketAddr::from(([10, 0, 0, step.number("host", 2) as u8], port.parse().unwrap()));
        match words[1] {
            "lost" => {
                let lost = words[2].parse().unwrap();
                let drops = [((Vantage::Client, DropReason::RingFull), lost)].into();
                let counters = CaptureCounters { drops, ..CaptureCounters::default() };
                self.engine.counters(time, &counters);
                self.drive(|engine, emit, _| engine.tick(time, emit));
            }
            "tick" => self.drive(|engine, emit, _| engine.tick(time, emit)),
            "syn" => self.segment(time, near(words[2]), server, SYN, &[]),
            "synack" => self.segment(time, server, near(words[2]), SYN | ACK, &[]),
            "rst" => self.segment(time, server, near(words[2]), RST | ACK, &[]),
            kind => {
                let is_query = kind == "?";
                let wire = step.wire(is_query);
                let client = near(words[2]);
                let (source, destination) = if is_query { (client, server) } else { (server, client) };
                if step.has("tcp") {
                    let framed = [&(wire.len() as u16).to_be_bytes()[..], &wire].concat();
                    self.segment(time, source, destination, ACK, &framed);
                } else {
                    self.datagram(time, source, destination, &wire, step.option("frag"), step.has("frag"));
                }
            }
        }
    }

    fn segment(
        &mut self,
        time: Timestamp,
        source: SocketAddr,
        destination: SocketAddr,
        flags: u8,
        data: &[u8],
    ) {
        let sequence = self.sequences.entry((source, destination)).or_insert(source.port().into());
        let mut bytes = Vec::new();
        bytes.extend(source.port().to_be_bytes());
        bytes.extend(destination.port().to_be_bytes());
        bytes.extend(sequence.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend(data);
        *sequence += data.len() as u32 + u32::from(flags & SYN != 0);
        self.packet(time, source, destination, 6, 0, &bytes);
    }

    fn datagram(
        &mut self,
        time: Timestamp,
        source: SocketAddr,
        destination: SocketAddr,
        data: &[u8],
        fate: Option<&str>,
        whole: bool,
    ) {
        let mut bytes = Vec::new();
        for word in [source.port(), destination.port(), 8 + data.len() as u16, 0] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(data);
        if fate.is_none() && !whole {
            return self.packet(time, source, destination, 17, 0, &bytes);
        }
        let (first, second) = bytes.split_at(bytes.len() / 16 * 8);
        self.packet(time, source, destination, 17, 0x2000, first);
        if fate.is_none() {
            self.packet(time, source, destination, 17, first.len() as u16 / 8, second);
        }
    }

    /// An IPv4 packet; `fragment` is the flags and the offset (RFC 791 section 3.1).
    fn packet(
        &mut self,
        time: Timestamp,
        source: SocketAddr,
        destination: SocketAddr,
        protocol: u8,
        fragment: u16,
        bytes: &[u8],
    ) {
        let [from, to] = [source, destination].map(|end| match end.ip() {
            std::net::IpAddr::V4(ip) => ip,
            std::net::IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        });
        let mut packet = vec![0x45, 0];
        packet.extend((20 + bytes.len() as u16).to_be_bytes());
        // Fragments of one packet share its number; the time does as well as any.
        packet.extend((time.as_nanos() as u16).to_be_bytes());
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, protocol, 0, 0]);
        packet.extend(from.octets());
        packet.extend(to.octets());
        packet.extend(bytes);
        let frame = Frame {
            time,
            place: None,
            link_type: LinkType::RawIp,
            original_length: packet.len() as u32,
            vlan: None,
            bytes: &packet,
        };
        self.drive(|engine, emit, _| {
            engine.tick(time, emit);
            engine.frame(&frame, emit);
        });
    }
}

/// The words of a step.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }

    fn option(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    fn number(&self, key: &str, default: u16) -> u16 {
        self.option(key).map_or(default, |text| text.parse().unwrap())
    }

    /// The message.
    fn wire(&self, is_query: bool) -> Vec<u8> {
        let qtype = match self.0[4] {
            "A" => 1,
            "AAAA" => 28,
            other => panic!("{other}"),
        };
        let bit = |word: &str, bit: u16| if self.has(word) { bit } else { 0 };
        let kind = if is_query { 0x0100 } else { 0x8180 };
        let flags = kind | bit("tc", 0x0200) | bit("ad", 0x0020) | self.number("rcode", 0);
        let record = |record_type: u16, data: &[u8]| {
            let mut wire = vec![0xc0, 12];
            wire.extend(record_type.to_be_bytes());
            wire.extend([0, 1, 0, 0, 0, 30]);
            wire.extend((data.len() as u16).to_be_bytes());
            wire.extend(data);
            wire
        };
        let mut parts = vec![question(dotted(self.0[5]), qtype)];
        let (cnames, answers) = (self.number("cnames", 0), self.number("answers", 0));
        parts.extend((0..cnames).map(|_| record(5, &[0xc0, 12])));
        let address: &[u8] = if qtype == 1 {
            &[192, 0, 2, 1]
        } else {
            &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
        };
        parts.extend((0..answers).map(|_| record(qtype, address)));
        let soa: &[u8] = &[0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 30];
        parts.extend(self.has("soa").then(|| record(6, soa)));
        let edns: Option<u16> = self.option("edns").map(|size| size.parse().unwrap());
        parts.extend(edns.map(|size| [&[0, 0, 41][..], &size.to_be_bytes(), &[0; 6]].concat()));
        let counts = [1, cnames + answers, u16::from(self.has("soa")), u16::from(edns.is_some())];
        message(self.0[3].parse().unwrap(), flags, counts, &parts)
    }
}

/// `opened 10.0.0.2 10.0.0.53 high/medium x2`.
fn line(change: &Change<'_>) -> String {
    let finding = change.finding();
    let client = finding.subject.client.map(|client| client.address.to_string());
    let server = finding.subject.server.map(|server| server.to_string());
    let who: Vec<String> = client.into_iter().chain(server).collect();
    format!(
        "{} {} {}/{} x{}",
        change.as_str(),
        who.join(" "),
        finding.severity.as_str(),
        finding.confidence.as_str(),
        finding.count
    )
}

/// Plays the steps to the end of the capture and compares.
#[track_caller]
pub(super) fn check(id: FindingId, steps: &[&str], expected: &[&str]) {
    let mut play = Play::new(id);
    play.steps(steps).finish();
    assert_eq!(play.said(), expected);
}
