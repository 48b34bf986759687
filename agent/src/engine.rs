//! Owns the middle rooms and drives a frame or a tick through them.
//!
//! Input: [`Frame`] and the watermark. Output: [`Report`], and the counts in [`Tally`]. Deliberately absent: I/O and
//! clocks, so that a capture file, a live kernel and a test drive exactly the same code.

use std::time::Duration;

use crate::capture::frame::{Frame, Timestamp};
use crate::capture::vantage::{Verdict, judge};
use crate::correlate::{Correlator, Event, Limits, Observation, Vantage};
use crate::dns::{self, Message};
use crate::maps::Set;
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
    correlator: Correlator,
    tally: Tally,
    /// The time of the latest frame.
    latest: Timestamp,
}

impl Engine {
    /// With empty rooms.
    pub fn new(config: EngineConfig) -> Self {
        Self {
            ports: config.ports,
            messages: config.messages,
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
        let Some(to_server) = to_server(&self.ports, &payload) else { return self.tally.filtered() };
        self.tally.span(frame.time);
        let (certain, fallback) = match judge(frame.place.as_ref(), to_server) {
            Verdict::Certain(vantage) => (true, vantage),
            Verdict::NodeOrUplink => (false, Vantage::Uplink),
        };
        let mut pass = Pass { frame, payload: &payload, to_server, vantage: None, copy: false };
        let result = match payload.flow.transport {
            Transport::Udp => self.udp(&mut pass, emit),
            Transport::Tcp => self.tcp(&mut pass, emit),
        };
        let result = if pass.copy { PacketResult::Duplicate } else { result };
        let vantage = pass.vantage.unwrap_or(fallback);
        self.tally.packet(vantage, result, certain);
    }

    /// Tells the rooms that everything before `watermark` has been seen.
    pub fn tick(&mut self, watermark: Timestamp, emit: &mut dyn FnMut(Report<'_>)) {
        let Self { correlator, tally, .. } = self;
        correlator.tick(watermark, &mut |event| {
            tally.event(&event);
            emit(Report::Event(event));
        });
    }

    /// Ends what still waits, at the end of the capture.
    pub fn finish(&mut self, end: Timestamp, emit: &mut dyn FnMut(Report<'_>)) {
        let Self { correlator, tally, .. } = self;
        correlator.finish(end, &mut |event| {
            tally.event(&event);
            emit(Report::Event(event));
        });
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

    fn udp(&mut self, pass: &mut Pass<'_, '_>, emit: &mut dyn FnMut(Report<'_>)) -> PacketResult {
        let payload = pass.payload;
        let length = payload.bytes.len() + payload.missing;
        match self.message(pass, payload.bytes, length, emit) {
            // The sender wrote it right, whatever is left of it here.
            _ if payload.fragmented => PacketResult::Fragment,
            _ if payload.missing > 0 => PacketResult::Snap,
            whole => whole,
        }
    }

    /// Whole messages in one segment, each behind its two-byte length (RFC 1035 section 4.2.2), and the beginning of a
    /// response that goes on in later segments.
    fn tcp(&mut self, pass: &mut Pass<'_, '_>, emit: &mut dyn FnMut(Report<'_>)) -> PacketResult {
        let mut rest = pass.payload.bytes;
        let cut = pass.payload.missing > 0;
        if rest.is_empty() {
            return if cut { PacketResult::Snap } else { PacketResult::TcpControl };
        }
        let partial = if cut { PacketResult::Snap } else { PacketResult::TcpPartial };
        let mut result = partial;
        while let Some((prefix, behind)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*prefix));
            if length < dns::HEADER_LENGTH {
                break;
            }
            let Some(bytes) = behind.get(..length) else {
                if !pass.to_server
                    && begins_response(behind)
                    && let Ok(message) = dns::parse(behind, length)
                {
                    self.observe(pass, message, emit);
                }
                break;
            };
            // What is no message here is the middle of one: a segment may begin anywhere.
            let Ok(message) = dns::parse(bytes, length) else { break };
            result = self.observe(pass, message, emit);
            rest = &behind[length..];
        }
        // What remains of the segment belongs to a message that began or goes on elsewhere.
        if rest.is_empty() || result != PacketResult::Message { result } else { partial }
    }

    fn message(
        &mut self,
        pass: &mut Pass<'_, '_>,
        bytes: &[u8],
        length: usize,
        emit: &mut dyn FnMut(Report<'_>),
    ) -> PacketResult {
        let message = match dns::parse(bytes, length) {
            Ok(message) => message,
            Err(error) => {
                // Of a message that was cut off nobody knows whether it was malformed.
                if length == bytes.len() {
                    let flow = Some(pass.payload.flow);
                    emit(Report::Malformed { time: pass.frame.time, flow, error: error.to_string() });
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
        pass: &mut Pass<'_, '_>,
        message: Message,
        emit: &mut dyn FnMut(Report<'_>),
    ) -> PacketResult {
        // A "response" to a server or a "query" from one is no part of any transaction.
        if matches!(message, Message::Query(_)) != pass.to_server {
            return PacketResult::NotDns;
        }
        self.tally.message(&message);
        let Self { correlator, tally, messages, .. } = self;
        let observation = Observation {
            time: pass.frame.time,
            place: pass.frame.place,
            flow: pass.payload.flow,
            hop_limit: pass.payload.hop_limit,
            to_server: pass.to_server,
            fragmented: pass.payload.fragmented,
            message,
        };
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

/// Does the packet go to a server of these ports? `None`: neither of its ports is one.
pub fn to_server(ports: &Set<u16>, payload: &Payload<'_>) -> Option<bool> {
    let from = ports.contains(&payload.flow.source.port());
    let to = ports.contains(&payload.flow.destination.port());
    match (from, to) {
        (false, false) => None,
        (false, true) => Some(true),
        (true, false) => Some(false),
        // An old resolver asks from port 53: the QR bit tells, as in the kernel half.
        (true, true) if payload.flow.transport == Transport::Udp => {
            Some(payload.bytes.get(2).is_none_or(|flags| flags & 0x80 == 0))
        }
        (true, true) => Some(true),
    }
}

/// One packet on its way through the rooms.
struct Pass<'a, 'b> {
    frame: &'a Frame<'b>,
    payload: &'a Payload<'b>,
    to_server: bool,
    /// As the correlator saw it.
    vantage: Option<Vantage>,
    /// It was a second sighting.
    copy: bool,
}

/// Looks like the header and question of a response: QR set, opcode QUERY, Z clear, one question.
fn begins_response(bytes: &[u8]) -> bool {
    matches!(bytes, [_, _, flags, more, 0, 1, ..] if flags & 0xf8 == 0x80 && more & 0x40 == 0)
}
