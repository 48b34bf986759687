//! Owns the middle rooms and drives a frame or a tick through them.
//!
//! Input: [`Frame`] and the watermark. Output: [`Report`], and the counts in [`Tally`]. Deliberately absent: I/O and
//! clocks, so that a capture file, a live kernel and a test drive exactly the same code.

use std::time::Duration;

use crate::capture::frame::{Frame, Place, Timestamp};
use crate::capture::vantage::{Verdict, judge};
use crate::correlate::{Correlator, Event, Limits, Observation, Vantage};
use crate::dns::{self, Message};
use crate::maps::Set;
use crate::packet::tcp::{Placed, Reader, StreamLimits, StreamMessage, Streams};
use crate::packet::{self, Flow, Fragment, Packet, Payload, Transport};
use crate::tally::{PacketResult, Tally, TallyLimits};

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
}

/// Something to show.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a report is shown at once and never kept")]
pub enum Report<'a> {
    /// A message as it was read, before it is matched; only where [`EngineConfig::messages`] asks for it.
    Message(&'a Observation),
    /// What happened between client and server.
    Event(Event),
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
    /// `None` while they are at work, since their messages go through the other rooms.
    streams: Option<Box<Streams>>,
    correlator: Correlator,
    tally: Tally,
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
            streams: Some(Box::new(Streams::new(StreamLimits { patience, ..defaults }))),
            correlator: Correlator::new(config.limits),
            tally: Tally::new(config.tally),
            latest: Timestamp::default(),
        }
    }

    /// All counts so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
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
            // The clock was set back, or captures were joined: what waits by the old clock cannot be judged by the new.
            self.finish(self.latest, emit);
            self.correlator.forget();
            self.latest = frame.time;
        }
        self.latest = self.latest.max(frame.time);
        let payload = match packet::parse(frame) {
            Ok(Packet::Payload(payload)) => Ok(payload),
            Ok(Packet::Fragment(fragment)) if fragment.offset != 0 => return self.tally.later_fragment(),
            Ok(Packet::Fragment(Fragment { key, hop_limit, bytes, missing, .. })) => {
                packet::parse_fragmented(&key, hop_limit, bytes, missing)
            }
            Err(error) => Err(error),
        };
        let payload = match payload {
            Ok(payload) => payload,
            Err(error) => return self.undecoded(frame, error, emit),
        };
        let Some(to_server) = self.to_server(&payload) else { return self.tally.filtered() };
        self.tally.span(frame.time);
        let (certain, fallback) = match judge(frame.place.as_ref(), to_server) {
            Verdict::Certain(vantage) => (true, vantage),
            Verdict::NodeOrUplink => (false, Vantage::Uplink),
        };
        let (result, vantage) = match payload.flow.transport {
            Transport::Udp => self.udp(frame, &payload, to_server, emit),
            Transport::Tcp => self.tcp(frame, &payload, emit),
        };
        // The kernel half counted what is certain as it is here, whichever way a segment's messages go.
        let vantage = vantage.filter(|_| !certain).unwrap_or(fallback);
        self.tally.packet(vantage, result, certain);
    }

    /// Tells the rooms that everything before `watermark` has been seen.
    pub fn tick(&mut self, watermark: Timestamp, emit: &mut dyn FnMut(Report<'_>)) {
        if self.streams.as_ref().is_some_and(|streams| streams.is_due(watermark)) {
            self.with_streams(emit, |streams, reader| streams.tick(watermark, reader));
        }
        let Self { correlator, tally, .. } = self;
        correlator.tick(watermark, &mut |event| {
            tally.event(&event);
            emit(Report::Event(event));
        });
    }

    /// Ends what still waits, at the end of the capture.
    pub fn finish(&mut self, end: Timestamp, emit: &mut dyn FnMut(Report<'_>)) {
        self.with_streams(emit, |streams, reader| streams.finish(reader));
        let Self { correlator, tally, .. } = self;
        correlator.finish(end, &mut |event| {
            tally.event(&event);
            emit(Report::Event(event));
        });
    }

    /// Does the packet go to a server? `None`: neither port is one.
    fn to_server(&self, payload: &Payload<'_>) -> Option<bool> {
        let from = self.ports.contains(&payload.flow.source.port());
        let to = self.ports.contains(&payload.flow.destination.port());
        match (from, to) {
            (false, false) => None,
            (false, true) => Some(true),
            (true, false) => Some(false),
            // An old resolver asks from port 53: the QR bit tells, as in the kernel half.
            (true, true) if payload.flow.transport == Transport::Udp => Some(!is_response(payload.bytes)),
            // Of TCP each message tells for itself.
            (true, true) => Some(true),
        }
    }

    /// Does a message that stood in a stream go to a server?
    fn message_to_server(&self, flow: &Flow, bytes: &[u8]) -> bool {
        let from = self.ports.contains(&flow.source.port());
        let to = self.ports.contains(&flow.destination.port());
        if from && to { !is_response(bytes) } else { to }
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
            _ if fragmented => PacketResult::Fragment,
            _ if missing > 0 => PacketResult::Snap,
            whole => whole,
        };
        (result, pass.vantage)
    }

    /// A segment, and the messages that it completes.
    fn tcp(
        &mut self,
        frame: &Frame<'_>,
        payload: &Payload<'_>,
        emit: &mut dyn FnMut(Report<'_>),
    ) -> (PacketResult, Option<Vantage>) {
        let mut read = None;
        let placed = self.with_streams(emit, |streams, reader| {
            reader.segment = Some((payload.flow, frame.place));
            let placed = streams.segment(frame.time, frame.place, payload, reader);
            read = reader.read;
            placed
        });
        let result = match (placed, read) {
            (Placed::Control, _) => PacketResult::TcpControl,
            (Placed::Known, _) => PacketResult::Duplicate,
            (Placed::New, _) if payload.missing > 0 && payload.fragmented => PacketResult::Fragment,
            (Placed::New, _) if payload.missing > 0 => PacketResult::Snap,
            (Placed::New, Some((result, _))) => result,
            (Placed::New, None) => PacketResult::TcpPartial,
        };
        (result, read.and_then(|(_, vantage)| vantage))
    }

    /// Does something with the streams, whose messages go through the other rooms.
    fn with_streams<T>(
        &mut self,
        emit: &mut dyn FnMut(Report<'_>),
        action: impl FnOnce(&mut Streams, &mut TcpReader<'_>) -> T,
    ) -> T {
        let mut streams = self.streams.take().unwrap_or_default();
        let mut reader = TcpReader { engine: self, emit, segment: None, read: None };
        let done = action(&mut streams, &mut reader);
        self.tally.streams = streams.counts();
        self.streams = Some(streams);
        done
    }

    fn message(
        &mut self,
        pass: &mut Pass,
        bytes: &[u8],
        length: usize,
        emit: &mut dyn FnMut(Report<'_>),
    ) -> PacketResult {
        let message = match dns::parse(bytes, length) {
            Ok(message) => message,
            Err(error) => {
                // Of a message that was cut off nobody knows whether it was malformed.
                if length == bytes.len() {
                    let flow = Some(pass.flow);
                    emit(Report::Malformed { time: pass.time, flow, error: error.to_string() });
                }
                // An illegal record does not hide which query this is or answers.
                if error == dns::DecodeError::Record
                    && let Ok(message) = dns::parse_despite_records(bytes)
                {
                    self.observe(pass, message, emit);
                }
                return match error {
                    dns::DecodeError::ShortHeader => PacketResult::NotDns,
                    dns::DecodeError::Question | dns::DecodeError::Record => PacketResult::Malformed,
                };
            }
        };
        self.observe(pass, message, emit)
    }

    fn observe(
        &mut self,
        pass: &mut Pass,
        message: Message,
        emit: &mut dyn FnMut(Report<'_>),
    ) -> PacketResult {
        // A "response" to a server or a "query" from one is no part of any transaction.
        if matches!(message, Message::Query(_)) != pass.to_server {
            return PacketResult::NotDns;
        }
        self.tally.message(&message);
        let Self { correlator, tally, messages, .. } = self;
        let Pass { time, place, flow, hop_limit, fragmented, to_server, .. } = *pass;
        let observation = Observation { time, place, flow, hop_limit, to_server, fragmented, message };
        if *messages {
            emit(Report::Message(&observation));
        }
        let copy = &mut pass.copy;
        let vantage = correlator.observe(observation, &mut |event| {
            *copy |= event == Event::Copy;
            tally.event(&event);
            emit(Report::Event(event));
        });
        pass.vantage = Some(vantage);
        PacketResult::Message
    }
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

/// Takes the messages out of the streams.
struct TcpReader<'a> {
    engine: &'a mut Engine,
    emit: &'a mut dyn FnMut(Report<'_>),
    /// The stream of the segment that is looked at, if it is one.
    segment: Option<(Flow, Option<Place>)>,
    /// The best that this segment brought, and whose it was.
    read: Option<(PacketResult, Option<Vantage>)>,
}

impl Reader for TcpReader<'_> {
    fn plausible(&self, flow: &Flow, bytes: &[u8], length: usize) -> bool {
        let from = self.engine.ports.contains(&flow.source.port());
        let to = self.engine.ports.contains(&flow.destination.port());
        let right_way = if is_response(bytes) { from } else { to };
        right_way && looks_like_dns(bytes, length)
    }

    fn message(&mut self, message: StreamMessage<'_>) -> bool {
        let StreamMessage { time, place, flow, hop_limit, bytes, length } = message;
        let to_server = self.engine.message_to_server(&flow, bytes);
        let fragmented = false;
        let mut pass =
            Pass { time, place, flow, hop_limit, fragmented, to_server, vantage: None, copy: false };
        let result = self.engine.message(&mut pass, bytes, length, self.emit);
        let whole = length == bytes.len();
        // What comes out of other streams at this time is no work of this segment.
        if whole && self.segment == Some((flow, place)) {
            let result = if pass.copy { PacketResult::Duplicate } else { result };
            if self.read.is_none_or(|(best, _)| best != PacketResult::Message) {
                self.read = Some((result, pass.vantage));
            }
        }
        result == PacketResult::Message
    }

    fn unseen(&mut self, flow: &Flow) {
        let Engine { ports, correlator, latest, .. } = &mut *self.engine;
        if ports.contains(&flow.source.port()) {
            correlator.blind(flow.destination, flow.source, *latest);
        }
    }
}

/// QR is set (RFC 1035 section 4.1.1).
fn is_response(bytes: &[u8]) -> bool {
    bytes.get(2).is_some_and(|flags| flags & 0x80 != 0)
}

/// Header, question and, of a whole message, all records are such as a stub or a server sends: opcode QUERY, Z clear,
/// one question, and no more records than the length has room for.
fn looks_like_dns(bytes: &[u8], length: usize) -> bool {
    /// A name of 255 bytes, QTYPE and QCLASS.
    const LONGEST_QUESTION: usize = 259;
    /// A root name, QTYPE and QCLASS.
    const SHORTEST_QUESTION: usize = 5;
    /// A root name, TYPE, CLASS, TTL and RDLENGTH.
    const SHORTEST_RECORD: usize = 11;
    let &[_, _, high, low, 0, 1, a, b, c, d, e, f, ..] = bytes else { return false };
    let records: usize =
        [[a, b], [c, d], [e, f]].map(|count| usize::from(u16::from_be_bytes(count))).iter().sum();
    high & 0x78 == 0
        && low & 0x40 == 0
        && dns::HEADER_LENGTH + SHORTEST_QUESTION + records * SHORTEST_RECORD <= length
        && (dns::parse(bytes, length).is_ok()
            || bytes.len() < length && bytes.len() < dns::HEADER_LENGTH + LONGEST_QUESTION)
}
