//! Owns the middle rooms and drives a frame or a tick through them.
//!
//! Input: [`Frame`] and the watermark. Output: [`Report`], and the counts in [`Tally`]. Deliberately absent: I/O and
//! clocks, so that a capture file, a live kernel and a test drive exactly the same code.

mod fragments;
mod insight;
#[cfg(test)]
pub(crate) mod scene;
mod streams;
mod told;

use std::time::Duration;

use crate::capture::counters::CaptureCounters;
use crate::capture::frame::{Frame, Place, Timestamp};
use crate::capture::vantage::{Verdict, judge};
use crate::correlate::fallback::Segment;
use crate::correlate::lookups::Lookup;
use crate::correlate::{Correlator, Event, Limits, Observation, Vantage};
use crate::dns::{self, Message};
use crate::findings::Change;
use crate::identity::facts::Fact;
use crate::identity::who::Who;
use crate::maps::Set;
use crate::packet::fragments::{FragmentLimits, Reassembly};
use crate::packet::tcp::{StreamLimits, Streams};
use crate::packet::{self, Flow, Packet, Payload, Transport};
use crate::tally::{MalformedKind, PacketResult, Tally, TallyLimits};

pub use insight::{Insight, InsightConfig};

/// Frames may be out of order by milliseconds; one that is this much older than the latest comes by another clock.
const CLOCK_STEP: Duration = Duration::from_secs(5);

/// What the engine is told once.
#[derive(Clone, Debug, Default)]
pub struct EngineConfig {
    /// The server ports; the others are not looked at.
    pub ports: Set<u16>,
    /// The bounds of matching.
    pub limits: Limits,
    /// The bounds of counting.
    pub tally: TallyLimits,
    /// Report every message too.
    pub messages: bool,
    /// How to judge; `None`: match and count only.
    pub insight: Option<InsightConfig>,
}

/// Something to show.
#[derive(Debug)]
pub enum Report<'a> {
    /// A message as it was read, before it is matched; only where [`EngineConfig::messages`] asks for it.
    Message(&'a Observation),
    /// What happened between client and server.
    Event(&'a Event),
    /// A lookup ended.
    Lookup(&'a Lookup),
    /// A finding opened, changed or closed.
    Finding(Change<'a>),
    /// A packet to or from a server port that holds no DNS message.
    Malformed {
        /// When.
        time: Timestamp,
        /// Between whom; `None` where not even that could be read.
        flow: Option<Flow>,
        /// What was wrong.
        error: String,
    },
}

/// The rooms between capture and screen.
pub struct Engine {
    ports: Set<u16>,
    messages: bool,
    fragments: Reassembly,
    /// `None` while they are at work, since their messages go through the other rooms.
    streams: Option<Box<Streams>>,
    correlator: Correlator,
    tally: Tally,
    /// `None` where nothing is to be judged.
    insight: Option<Box<Insight>>,
    who: Who,
    /// Somebody is known since the tally was told.
    identified: bool,
    /// The time of the latest frame.
    latest: Timestamp,
}

impl Engine {
    /// With empty rooms.
    pub fn new(config: EngineConfig) -> Self {
        let defaults = StreamLimits::default();
        // The beginning of a response is still to meet its query.
        let patience = defaults.patience.min(config.limits.timeout / 2);
        Self {
            ports: config.ports,
            messages: config.messages,
            fragments: Reassembly::new(FragmentLimits::default()),
            streams: Some(Box::new(Streams::new(StreamLimits { patience, ..defaults }))),
            correlator: Correlator::new(config.limits),
            tally: Tally::new(config.tally),
            insight: config.insight.map(|insight| Box::new(Insight::new(insight))),
            who: Who::default(),
            identified: false,
            latest: Timestamp::default(),
        }
    }

    /// Is told who is who, from `time` on by the clock of the frames.
    pub fn learn(&mut self, time: Timestamp, fact: &Fact) {
        if let Some((before, now)) = self.who.learn(time, fact) {
            self.tally.renamed(before, now);
        }
        self.identified |= matches!(fact, Fact::Here { .. });
        if let Some(insight) = &mut self.insight {
            insight.learn(time, fact);
        }
    }

    /// Who stands behind clients and servers.
    pub fn who(&self) -> &Who {
        &self.who
    }

    /// All counts so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// A scrape has read all counts: those of workloads that are gone may leave now.
    pub fn scraped(&mut self) {
        self.tally.scraped();
    }

    /// Lookups, rates and findings, where they are judged.
    pub fn insight(&self) -> Option<&Insight> {
        self.insight.as_deref()
    }

    /// Is told the source's counters as they were at `time`, about once a second.
    pub fn counters(&mut self, time: Timestamp, counters: &CaptureCounters) {
        self.tally.counters(time, counters, &self.who);
        if let Some(insight) = &mut self.insight {
            insight.counters(time, counters);
        }
    }

    /// Queries that wait now.
    pub fn inflight(&self) -> usize {
        self.correlator.inflight()
    }

    /// The time of the latest frame.
    pub fn latest(&self) -> Timestamp {
        self.latest
    }

    /// Takes one frame through all rooms.
    pub fn frame(&mut self, frame: &Frame<'_>, emit: &mut dyn FnMut(Report<'_>)) {
        if frame.time + CLOCK_STEP < self.latest {
            self.clock_set_back(emit);
            self.latest = frame.time;
        }
        self.latest = self.latest.max(frame.time);
        let payload = match packet::parse(frame) {
            Ok(Packet::Payload(payload)) => payload,
            Ok(Packet::Fragment(fragment)) => return self.fragment(frame, &fragment, emit),
            Err(error) => return self.undecoded(frame, error, emit),
        };
        let Some(to_server) = to_server(&self.ports, &payload) else { return self.tally.filtered() };
        self.payload(frame, &payload, to_server, emit).count(&mut self.tally);
    }

    /// The clock was set back, or captures were joined: what waits by the old clock cannot be judged by the new. Every room
    /// ends what it holds and begins anew.
    fn clock_set_back(&mut self, emit: &mut dyn FnMut(Report<'_>)) {
        self.finish(self.latest, emit);
        self.correlator.forget();
        self.tally.clock_set_back();
        if let Some(insight) = &mut self.insight {
            insight.clock_set_back(self.latest, emit);
        }
    }

    /// Takes one payload through the rooms behind `packet`; `frame` tells its time and place.
    fn payload(
        &mut self,
        frame: &Frame<'_>,
        payload: &Payload<'_>,
        to_server: bool,
        emit: &mut dyn FnMut(Report<'_>),
    ) -> Counted {
        self.tally.span(frame.time);
        let (result, vantage) = match payload.flow.transport {
            Transport::Udp => self.udp(frame, payload, to_server, emit),
            Transport::Tcp => {
                self.segment(frame, payload, to_server, emit);
                self.tcp(frame, payload, emit)
            }
        };
        let counted = Counted::new(frame.place.as_ref(), to_server, result);
        match vantage {
            // The kernel half counted what is certain as it is here, whichever way a segment's messages go.
            Some(vantage) if !counted.certain => Counted { vantage, ..counted },
            _ => counted,
        }
    }

    /// Tells the rooms that everything before `watermark` has been seen.
    pub fn tick(&mut self, watermark: Timestamp, emit: &mut dyn FnMut(Report<'_>)) {
        // A query does not expire while a part of its answer is held for the rest.
        let watermark = self.tick_fragments(watermark, emit).min(self.tick_streams(watermark, emit));
        self.turn_over(watermark);
        let Self { correlator, tally, insight, who, .. } = self;
        correlator.tick(watermark, &mut |event| tell(&event, watermark, (tally, who), insight, emit));
        if let Some(insight) = insight {
            insight.tick(watermark, emit);
        }
    }

    /// Ends what still waits, at the end of the capture.
    pub fn finish(&mut self, end: Timestamp, emit: &mut dyn FnMut(Report<'_>)) {
        self.finish_fragments(emit);
        self.finish_streams(emit);
        self.turn_over(end);
        let Self { correlator, tally, insight, who, .. } = self;
        correlator.finish(end, &mut |event| tell(&event, end, (tally, who), insight, emit));
        if let Some(insight) = insight {
            insight.finish(end, emit);
        }
    }

    /// Counts go to those who are known by now, and leave with those who are gone.
    fn turn_over(&mut self, now: Timestamp) {
        self.who.tick(now);
        if std::mem::take(&mut self.identified) {
            self.tally.identified(&self.who);
        }
        self.tally.tick(now, &mut self.who);
    }

    /// Shows a TCP segment to the rooms that follow connections.
    fn segment(
        &mut self,
        frame: &Frame<'_>,
        payload: &Payload<'_>,
        to_server: bool,
        emit: &mut dyn FnMut(Report<'_>),
    ) {
        if let (Some(insight), Some(header)) = (&mut self.insight, payload.tcp) {
            let Payload { flow, bytes, missing, .. } = *payload;
            let data = bytes.len() + missing;
            let place = frame.place.as_ref();
            insight.segment(&Segment { time: frame.time, place, flow, to_server, header, data }, emit);
        }
    }

    fn undecoded(&mut self, frame: &Frame<'_>, error: packet::DecodeError, emit: &mut dyn FnMut(Report<'_>)) {
        // A source that cannot look inside (a file, a packet socket) delivers all sorts of packets.
        let result = match error {
            packet::DecodeError::NotIp(_) | packet::DecodeError::NotTransport(_) => {
                return self.tally.filtered();
            }
            packet::DecodeError::Short(_) | packet::DecodeError::Inconsistent(_) => PacketResult::Malformed,
        };
        let vantage = match judge(frame.place.as_ref(), true) {
            Verdict::Certain(vantage) => vantage,
            Verdict::NodeOrUplink => Vantage::Uplink,
        };
        self.tally.packet(vantage, result, true);
        self.tally.malformed(MalformedKind::Packet);
        emit(Report::Malformed { time: frame.time, flow: None, error: error.to_string() });
    }

    fn udp(
        &mut self,
        frame: &Frame<'_>,
        payload: &Payload<'_>,
        to_server: bool,
        emit: &mut dyn FnMut(Report<'_>),
    ) -> (PacketResult, Option<Vantage>) {
        let Payload { flow, hop_limit, fragmented, bytes, missing, .. } = *payload;
        let Frame { time, place, .. } = *frame;
        let mut pass =
            Pass { time, place, flow, hop_limit, fragmented, to_server, vantage: None, copy: false };
        let result = match self.message(&mut pass, bytes, bytes.len() + missing, emit) {
            _ if pass.copy => PacketResult::Duplicate,
            // The sender wrote it right, whatever is left of it here.
            _ if missing > 0 => PacketResult::Snap,
            whole => whole,
        };
        (result, pass.vantage)
    }

    fn message(
        &mut self,
        pass: &mut Pass,
        bytes: &[u8],
        length: usize,
        emit: &mut dyn FnMut(Report<'_>),
    ) -> PacketResult {
        let error = match dns::parse(bytes, length) {
            Ok(message) => return self.observe(pass, message, emit),
            Err(error) => error,
        };
        // An illegal record does not hide which query this is or answers.
        match dns::parse_despite_records(bytes) {
            Ok(message) => drop(self.observe(pass, message, emit)),
            // Of a message that was cut off nobody knows whether it was malformed.
            Err(_) if length == bytes.len() => self.malformed(pass, error, None, emit),
            Err(_) => {}
        }
        PacketResult::Malformed
    }

    /// Counts and tells what is illegal in a message, and which one it is where that can be read.
    fn malformed(
        &mut self,
        pass: &Pass,
        defect: dns::DecodeError,
        message: Option<&Message>,
        emit: &mut dyn FnMut(Report<'_>),
    ) {
        self.tally.malformed(MalformedKind::Message(defect));
        let mut error = defect.to_string();
        if let Some(message) = message {
            error.push_str(&format!(", id {}", message.header().id));
            if let Some(question) = message.question() {
                error.push_str(&format!(" {} {}", question.qtype, question.qname));
            }
        }
        emit(Report::Malformed { time: pass.time, flow: Some(pass.flow), error });
    }

    fn observe(
        &mut self,
        pass: &mut Pass,
        mut message: Message,
        emit: &mut dyn FnMut(Report<'_>),
    ) -> PacketResult {
        message.set_fragmented(pass.fragmented);
        if let Some(defect) = message.defect() {
            self.malformed(pass, defect, Some(&message), emit);
        }
        // A "response" to a server or a "query" from one is no part of any transaction.
        if matches!(message, Message::Query(_)) != pass.to_server {
            return PacketResult::NotDns;
        }
        self.tally.message(&message);
        let Self { correlator, tally, messages, insight, who, .. } = self;
        let Pass { time, place, flow, hop_limit, to_server, .. } = *pass;
        let observation = Observation { time, place, flow, hop_limit, to_server, message };
        if *messages {
            emit(Report::Message(&observation));
        }
        let copy = &mut pass.copy;
        let vantage = correlator.observe(observation, &mut |event| {
            *copy |= event == Event::Copy;
            tell(&event, time, (tally, who), insight, emit);
        });
        pass.vantage = Some(vantage);
        PacketResult::Message
    }
}

/// Takes what the correlator said through the rooms behind it.
fn tell(
    event: &Event,
    now: Timestamp,
    (tally, who): (&mut Tally, &Who),
    insight: &mut Option<Box<Insight>>,
    emit: &mut dyn FnMut(Report<'_>),
) {
    tally.event(now, event, who);
    if let Some(insight) = insight {
        insight.event(now, event, emit);
    }
    emit(Report::Event(event));
}

/// One message on its way through the rooms.
struct Pass {
    time: Timestamp,
    place: Option<Place>,
    flow: Flow,
    hop_limit: u8,
    fragmented: bool,
    to_server: bool,
    /// As the correlator saw it.
    vantage: Option<Vantage>,
    /// It was a second sighting.
    copy: bool,
}

/// Does the packet go to one of the server `ports`? `None`: neither of its ports is one.
pub fn to_server(ports: &Set<u16>, payload: &Payload<'_>) -> Option<bool> {
    let message = match payload.flow.transport {
        Transport::Udp => payload.bytes,
        // A segment may begin anywhere: of TCP each message tells for itself.
        Transport::Tcp => &[],
    };
    message_to_server(ports, &payload.flow, message)
}

/// Does the message go to one of the server `ports`? `None`: neither port of `flow` is one.
fn message_to_server(ports: &Set<u16>, flow: &Flow, message: &[u8]) -> Option<bool> {
    match (ports.contains(&flow.source.port()), ports.contains(&flow.destination.port())) {
        (false, false) => None,
        (false, true) => Some(true),
        (true, false) => Some(false),
        // An old resolver asks from port 53: the QR bit tells, as in the kernel half.
        (true, true) => Some(!is_response(message)),
    }
}

/// QR is set (RFC 1035 section 4.1.1).
fn is_response(bytes: &[u8]) -> bool {
    bytes.get(2).is_some_and(|flags| flags & 0x80 != 0)
}

/// A packet on its way into the ledger.
struct Counted {
    vantage: Vantage,
    result: PacketResult,
    /// Its place alone told the vantage.
    certain: bool,
}

impl Counted {
    /// As place and direction judge.
    fn new(place: Option<&Place>, to_server: bool, result: PacketResult) -> Self {
        match judge(place, to_server) {
            Verdict::Certain(vantage) => Self { vantage, result, certain: true },
            Verdict::NodeOrUplink => Self { vantage: Vantage::Uplink, result, certain: false },
        }
    }

    fn count(self, tally: &mut Tally) {
        tally.packet(self.vantage, self.result, self.certain);
    }
}
