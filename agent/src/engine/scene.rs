//! Plays DNS over UDP to an engine, packet by packet, for the tests of what is judged.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Engine, EngineConfig, InsightConfig, Report};
use crate::capture::counters::CaptureCounters;
use crate::capture::frame::{Direction, Frame, Ifindex, InterfaceKind, LinkType, Place, Timestamp};
use crate::correlate::Event;
use crate::dns::tests::{dotted, message, question, record};
use crate::findings::{Confidence, Finding, FindingId, Severity};

/// When a scene begins, in seconds since the epoch.
const BEGIN: u64 = 1_700_000_000;

/// A time of a scene, in milliseconds from its beginning.
pub(crate) fn at(millis: f64) -> Timestamp {
    Timestamp::from_nanos(BEGIN * 1_000_000_000) + Duration::from_nanos((millis * 1e6) as u64)
}

/// What a server says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Say {
    /// One address with this TTL.
    Address(u32),
    /// NODATA with an SOA of this TTL and MINIMUM.
    NoData(u32),
    /// NXDOMAIN with such an SOA.
    NxDomain(u32),
    /// A code and nothing else.
    Code(u16),
    /// TC, without a record.
    Truncated,
}

/// Where packets are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// In a file that does not say.
    File,
    /// At the host's end of a pod's veth with this number.
    Pod(u32),
    /// On an uplink, on behalf of a pod.
    Uplink(u32),
    /// On an uplink, of the node itself.
    Node(u32),
}

/// An engine and the time.
pub(crate) struct Scene {
    pub(crate) engine: Engine,
    /// Where the next packets are seen.
    pub(crate) seen: Seen,
    /// What was told.
    pub(crate) told: Told,
}

/// What an engine told.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) events: Vec<Event>,
    /// Of findings: `opened|changed|closed ID SUBJECT SEVERITY CONFIDENCE`.
    pub(crate) findings: Vec<String>,
}

impl Scene {
    /// In a file, with rules as they are by default.
    pub(crate) fn new() -> Self {
        Self::with(InsightConfig::default())
    }

    pub(crate) fn with(insight: InsightConfig) -> Self {
        let ports = [53].into_iter().collect();
        let config = EngineConfig { ports, insight: Some(insight), ..EngineConfig::default() };
        Self { engine: Engine::new(config), seen: Seen::File, told: Told::default() }
    }

    /// A query; addresses as `10.0.0.1:1000` and `10.0.0.53`.
    pub(crate) fn ask(&mut self, millis: f64, client: &str, server: &str, id: u16, qtype: u16, name: &str) {
        let wire = message(id, 0x0100, [1, 0, 0, 0], &[question(dotted(name), qtype)]);
        self.packet(millis, true, address(client, 0), address(server, 53), &wire);
    }

    /// The response to such a query.
    pub(crate) fn answer(
        &mut self,
        millis: f64,
        (client, server): (&str, &str),
        (id, qtype, name): (u16, u16, &str),
        say: Say,
    ) {
        let asked = question(dotted(name), qtype);
        let owner = || dotted(name);
        let data: &[u8] = if qtype == 28 { &[0xfd; 16] } else { &[10, 1, 2, 3] };
        let soa = |ttl: u32| {
            let numbers = [1, 7200, 1800, 86_400, ttl].into_iter().flat_map(u32::to_be_bytes);
            record(dotted("test"), 6, 1, ttl, &[dotted("ns"), dotted("root"), numbers.collect()].concat())
        };
        let (flags, counts, parts) = match say {
            Say::Address(ttl) => (0x8180, [1, 1, 0, 0], vec![asked, record(owner(), qtype, 1, ttl, data)]),
            Say::NoData(ttl) => (0x8180, [1, 0, 1, 0], vec![asked, soa(ttl)]),
            Say::NxDomain(ttl) => (0x8183, [1, 0, 1, 0], vec![asked, soa(ttl)]),
            Say::Code(rcode) => (0x8180 | rcode, [1, 0, 0, 0], vec![asked]),
            Say::Truncated => (0x8380, [1, 0, 0, 0], vec![asked]),
        };
        let wire = message(id, flags, counts, &parts);
        self.packet(millis, false, address(client, 0), address(server, 53), &wire);
    }

    /// A query and its response 2 ms later.
    pub(crate) fn asked(
        &mut self,
        millis: f64,
        (client, server): (&str, &str),
        (id, qtype, name): (u16, u16, &str),
        say: Say,
    ) {
        self.ask(millis, client, server, id, qtype, name);
        self.answer(millis + 2.0, (client, server), (id, qtype, name), say);
    }

    /// Everything before this time was seen.
    pub(crate) fn tick(&mut self, millis: f64) {
        let told = &mut self.told;
        self.engine.tick(at(millis), &mut |report| told.note(&report));
    }

    /// The capture ends.
    pub(crate) fn end(&mut self, millis: f64) {
        let told = &mut self.told;
        self.engine.finish(at(millis), &mut |report| told.note(&report));
    }

    /// The source tells its counters.
    pub(crate) fn counters(&mut self, millis: f64, counters: &CaptureCounters) {
        self.engine.counters(at(millis), counters);
    }

    /// The findings of one rule, open and closed.
    pub(crate) fn found(&self, id: FindingId) -> Vec<Finding> {
        let insight = self.engine.insight();
        let all = insight.map(|insight| insight.findings().ledger().all()).unwrap_or_default();
        all.into_iter().filter(|finding| finding.id == id).collect()
    }

    /// The one finding of a rule, with its severity and confidence.
    pub(crate) fn expect(&self, id: FindingId, severity: Severity, confidence: Confidence) -> Finding {
        let mut found = self.found(id);
        assert_eq!(found.len(), 1, "{id:?}: {found:#?}");
        assert_eq!((found[0].severity, found[0].confidence), (severity, confidence), "{:#?}", found[0]);
        found.remove(0)
    }

    fn packet(
        &mut self,
        millis: f64,
        to_server: bool,
        client: SocketAddr,
        server: SocketAddr,
        payload: &[u8],
    ) {
        self.tick(millis - 10.0);
        let (source, destination) = if to_server { (client, server) } else { (server, client) };
        let bytes = ip_packet(source, destination, payload);
        let frame = Frame {
            time: at(millis),
            place: place(self.seen, to_server),
            link_type: LinkType::RawIp,
            original_length: bytes.len() as u32,
            vlan: None,
            bytes: &bytes,
        };
        let told = &mut self.told;
        self.engine.frame(&frame, &mut |report| told.note(&report));
    }
}

impl Told {
    fn note(&mut self, report: &Report<'_>) {
        match report {
            Report::Event(event) => self.events.push((*event).clone()),
            Report::Finding(change) => {
                let Finding { id, subject, severity, confidence, .. } = change.finding();
                let mut whom = Vec::new();
                whom.extend(subject.client.map(|client| client.address.to_string()));
                whom.extend(subject.server.map(|server| server.to_string()));
                whom.extend(subject.interface.map(|interface| format!("if{interface}")));
                let (id, whom) = (id.as_str(), whom.join("@"));
                let (severity, confidence) = (severity.as_str(), confidence.as_str());
                self.findings.push(format!("{} {id} {whom} {severity} {confidence}", change.as_str()));
            }
            _ => {}
        }
    }
}

fn address(text: &str, port: u16) -> SocketAddr {
    text.parse().unwrap_or_else(|_| SocketAddr::new(text.parse().unwrap(), port))
}

fn place(seen: Seen, to_server: bool) -> Option<Place> {
    use Direction::{Egress, Ingress};
    let towards = |out: bool| if out { Egress } else { Ingress };
    let (ifindex, kind, direction, local_socket) = match seen {
        Seen::File => return None,
        Seen::Pod(ifindex) => (ifindex, InterfaceKind::Pod, towards(!to_server), None),
        Seen::Uplink(ifindex) => {
            (ifindex, InterfaceKind::Uplink, towards(to_server), to_server.then_some(false))
        }
        Seen::Node(ifindex) => {
            (ifindex, InterfaceKind::Uplink, towards(to_server), to_server.then_some(true))
        }
    };
    Some(Place { ifindex: Ifindex(ifindex), kind, direction, local_socket, cgroup: None })
}

/// UDP in IPv4 or IPv6, without checksums.
fn ip_packet(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let udp_length = (8 + payload.len()) as u16;
    let mut bytes = Vec::new();
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            bytes.extend([0x45, 0]);
            bytes.extend((20 + udp_length).to_be_bytes());
            bytes.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
            bytes.extend(from.octets());
            bytes.extend(to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            bytes.extend([0x60, 0, 0, 0]);
            bytes.extend(udp_length.to_be_bytes());
            bytes.extend([17, 64]);
            bytes.extend(from.octets());
            bytes.extend(to.octets());
        }
        families => unreachable!("{families:?}"),
    }
    for word in [source.port(), destination.port(), udp_length, 0] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(payload);
    bytes
}
