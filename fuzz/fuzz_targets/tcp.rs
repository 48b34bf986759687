//! Segments of a known conversation in any order, cut anywhere, mixed with any bytes: nothing panics, all bounds hold,
//! and where no segment lies, every message that is put together is one of the conversation.
//!
//! The input is a byte that says whether segments may lie, and a list of segments as [`Segment::read`] takes them.
#![no_main]

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use nslookout::capture::frame::{LinkType, Timestamp};
use nslookout::packet::tcp::{Reader, StreamLimits, StreamMessage, Streams};
use nslookout::packet::{self, Flow, Packet};
use nslookout_fuzz::{MAX_INFLIGHT, engine, frame};

/// Where the numbers of both directions begin: near the end of their range, so that they wrap.
const FIRST: u32 = u32::MAX - 60;

const SYN: u8 = 0x02;

/// Bounds that a short input reaches.
const LIMITS: StreamLimits = StreamLimits {
    max_connections: 2,
    max_idle: 2,
    max_bytes_per_stream: 6_000,
    max_bytes: 16_000,
    patience: Duration::from_secs(5),
    reordering: Duration::from_millis(10),
    idle: Duration::from_secs(20),
};

fuzz_target!(|data: &[u8]| {
    let mut unstructured = Unstructured::new(data);
    let honest = unstructured.arbitrary::<u8>().is_ok_and(|mode| mode & 1 == 1);
    let talk = Talk::new();
    let mut judge = Judge { talk: &talk, honest };
    let mut streams = Streams::new(LIMITS);
    let mut engine = engine();
    let mut now = Timestamp::from_nanos(1_700_000_000_000_000_000);
    let mut frames = 0;
    while !unstructured.is_empty() {
        let Ok(segment) = Segment::read(&mut unstructured, honest) else { break };
        now = now + segment.pause;
        let watermark = now.before(Duration::from_millis(10));
        let bytes = segment.packet(&talk);
        let whole = frame(LinkType::RawIp, now, &bytes);

        let Ok(Packet::Payload(payload)) = packet::parse(&whole) else { panic!("a segment was not read") };
        streams.segment(now, None, &payload, &mut judge);
        assert!(streams.connections() <= LIMITS.max_connections, "{} connections", streams.connections());
        assert!(streams.bytes() <= LIMITS.max_bytes, "{} bytes", streams.bytes());
        streams.tick(watermark, &mut judge);
        assert!(!streams.is_due(watermark));

        // What is printed of it is the business of `pcap`.
        engine.frame(&whole, &mut |_| {});
        engine.tick(watermark, &mut |_| {});
        assert!(engine.inflight() <= MAX_INFLIGHT);
        frames += 1;
    }
    streams.finish(&mut judge);
    assert_eq!((streams.connections(), streams.bytes()), (0, 0));
    engine.finish(now + Duration::from_secs(60), &mut |_| {});
    assert_eq!((engine.inflight(), engine.tally().captured()), (0, frames));
});

/// One segment of one of four connections.
struct Segment {
    to_server: bool,
    port: u16,
    flags: u8,
    sequence: u32,
    acknowledgement: u32,
    payload: Payload,
    /// The capture took half of it.
    cut: bool,
    pause: Duration,
}

/// What a segment carries.
enum Payload {
    /// A part of the conversation: its first byte, and how many.
    Known(usize, usize),
    /// Anything.
    Bytes(Vec<u8>),
}

impl Segment {
    /// 9 bytes: who and what, flags, pause in 50 ms, begin in the stream (2, little-endian), length (2), distance of the
    /// sequence number from its right place (2); then the payload, where it is none of the conversation.
    ///
    /// An honest one stands in its right place, holds what stands there, and begins the stream only at its beginning.
    fn read(unstructured: &mut Unstructured<'_>, honest: bool) -> Result<Self> {
        let [who, mut flags, pause] = unstructured.arbitrary::<[u8; 3]>()?;
        let (begin, length): (u16, u16) = unstructured.arbitrary()?;
        let mut distance: i16 = unstructured.arbitrary()?;
        if honest {
            distance = 0;
            flags &= if begin == 0 { 0xff } else { !SYN };
        }
        let payload = if honest || who & 8 == 0 {
            Payload::Known(begin.into(), length.into())
        } else {
            let length = usize::from(length % 1500).min(unstructured.len());
            Payload::Bytes(unstructured.bytes(length)?.to_vec())
        };
        let place = FIRST.wrapping_add(begin.into()).wrapping_add_signed(distance.into());
        Ok(Self {
            to_server: who & 1 == 0,
            port: u16::from(who >> 1 & 3),
            flags,
            // SYN counts as the byte before the first (RFC 9293 section 3.4).
            sequence: place.wrapping_sub(u32::from(flags & SYN != 0)),
            acknowledgement: place.wrapping_add(u32::from(who >> 5) << 6),
            payload,
            cut: who & 16 != 0,
            pause: Duration::from_millis(u64::from(pause) * 50),
        })
    }

    /// An IPv4 packet with this segment.
    fn packet(&self, talk: &Talk) -> Vec<u8> {
        let payload = match &self.payload {
            Payload::Bytes(bytes) => bytes,
            Payload::Known(begin, length) => {
                let stream = &talk.streams[usize::from(!self.to_server)];
                let begin = (*begin).min(stream.len());
                &stream[begin..(begin + length).min(stream.len())]
            }
        };
        let mut ports = [40_000 + self.port, 53];
        let mut addresses = [[10, 0, 0, 1], [10, 0, 0, 53]];
        if !self.to_server {
            ports.reverse();
            addresses.reverse();
        }
        let mut bytes = vec![0x45, 0];
        bytes.extend((40 + payload.len() as u16).to_be_bytes());
        bytes.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        bytes.extend(addresses.concat());
        bytes.extend(ports.map(u16::to_be_bytes).concat());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.acknowledgement.to_be_bytes());
        bytes.extend([0x50, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend(if self.cut { &payload[..payload.len() / 2] } else { payload });
        bytes
    }
}

/// Both directions of a conversation: eight messages each, behind their lengths (RFC 1035 section 4.2.2).
struct Talk {
    messages: [Vec<Vec<u8>>; 2],
    streams: [Vec<u8>; 2],
}

impl Talk {
    fn new() -> Self {
        let messages = [messages(0x0100, 0), messages(0x8180, 1)];
        let streams = messages.each_ref().map(|messages| {
            let prefixed = |message: &Vec<u8>| [&(message.len() as u16).to_be_bytes(), &message[..]].concat();
            messages.iter().flat_map(prefixed).collect()
        });
        Self { messages, streams }
    }

    /// Is this a message of that direction, or its beginning?
    fn knows(&self, flow: &Flow, bytes: &[u8], length: usize) -> bool {
        self.messages[usize::from(flow.destination.port() != 53)]
            .iter()
            .any(|message| message.len() == length && message.starts_with(bytes))
    }
}

fn messages(flags: u16, answers: u16) -> Vec<Vec<u8>> {
    let message = |id: u16| {
        let mut message = Vec::new();
        for word in [id, flags, 1, answers, 0, 0] {
            message.extend(word.to_be_bytes());
        }
        message.extend(b"\x04name\x04test\x00\x00\x10\x00\x01");
        for _ in 0..answers {
            // Every second message holds a text as long as several segments.
            let texts = 1 + usize::from(id % 2) * 10;
            message.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60]);
            message.extend((201 * texts as u16).to_be_bytes());
            message.extend([&[200][..], &[b't'; 200]].concat().repeat(texts));
        }
        message
    };
    (1..=8).map(message).collect()
}

/// Takes what was put together, and knows what may have been.
struct Judge<'a> {
    talk: &'a Talk,
    honest: bool,
}

impl Reader for Judge<'_> {
    fn plausible(&self, flow: &Flow, bytes: &[u8], length: usize) -> bool {
        bytes.len() >= 12 && self.talk.knows(flow, bytes, length)
    }

    fn message(&mut self, message: StreamMessage<'_>) -> bool {
        let StreamMessage { flow, bytes, length, .. } = message;
        assert!(bytes.len() <= length && length <= usize::from(u16::MAX));
        let known = self.talk.knows(&flow, bytes, length);
        assert!(known || !self.honest, "{} of {length} bytes that nobody sent: {bytes:?}", bytes.len());
        known
    }

    fn unseen(&mut self, _flow: &Flow) {}
}
