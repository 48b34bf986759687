//! Segments of a known conversation in any order, cut anywhere, mixed with any bytes: nothing panics, all bounds hold.
//!
//! The input is a list of segments, each as [`Segment::arbitrary`] reads it.
#![no_main]

use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use nslookout::capture::frame::{LinkType, Timestamp};
use nslookout_fuzz::{MAX_INFLIGHT, Screen, engine, frame};

/// Where the numbers of both directions begin: near the end of their range, so that they wrap.
const FIRST: u32 = u32::MAX - 60;

fuzz_target!(|data: &[u8]| {
    let mut unstructured = Unstructured::new(data);
    let streams = [stream(0x0100, 0), stream(0x8180, 1)];
    let (mut engine, screen) = (engine(), Screen::default());
    let mut now = Timestamp::from_nanos(1_700_000_000_000_000_000);
    let mut frames = 0;
    while !unstructured.is_empty() {
        let Ok(segment) = Segment::arbitrary(&mut unstructured) else { break };
        now = now + segment.pause;
        let bytes = segment.packet(&streams);
        engine.frame(&frame(LinkType::RawIp, now, &bytes), &mut |report| screen.show(&report));
        engine.tick(now.before(Duration::from_millis(10)), &mut |report| screen.show(&report));
        assert!(engine.inflight() <= MAX_INFLIGHT);
        frames += 1;
    }
    engine.finish(now + Duration::from_secs(60), &mut |report| screen.show(&report));
    assert_eq!(engine.inflight(), 0);
    assert_eq!(engine.tally().captured(), frames);
    screen.end(&engine);
});

/// One segment of one of four connections.
struct Segment {
    to_server: bool,
    port: u16,
    flags: u8,
    sequence: u32,
    acknowledgement: u32,
    payload: Payload,
    pause: Duration,
}

/// What a segment carries.
enum Payload {
    /// A part of the conversation: its first byte, and how many.
    Known(usize, usize),
    /// Anything.
    Bytes(Vec<u8>),
}

impl<'a> Arbitrary<'a> for Segment {
    /// 9 bytes: who and what, flags, pause in 50 ms, begin in the stream (2, little-endian), length (2), distance of the
    /// sequence number from its right place (2); then the payload, where it is none of the conversation.
    fn arbitrary(unstructured: &mut Unstructured<'a>) -> Result<Self> {
        let [who, flags, pause] = <[u8; 3]>::arbitrary(unstructured)?;
        let (begin, length) = (u16::arbitrary(unstructured)?, u16::arbitrary(unstructured)?);
        let distance = i16::arbitrary(unstructured)?;
        let payload = if who & 8 == 0 {
            Payload::Known(begin.into(), length.into())
        } else {
            let length = usize::from(length % 1500).min(unstructured.len());
            Payload::Bytes(unstructured.bytes(length)?.to_vec())
        };
        let number = FIRST.wrapping_add(begin.into()).wrapping_add_signed(distance.into());
        Ok(Self {
            to_server: who & 1 == 0,
            port: u16::from(who >> 1 & 3),
            flags,
            sequence: number,
            acknowledgement: number.wrapping_add(u32::from(who >> 4) << 5),
            payload,
            pause: Duration::from_millis(u64::from(pause) * 50),
        })
    }
}

impl Segment {
    /// An IPv4 packet with this segment.
    fn packet(&self, streams: &[Vec<u8>; 2]) -> Vec<u8> {
        let payload = match &self.payload {
            Payload::Bytes(bytes) => bytes,
            Payload::Known(begin, length) => {
                let stream = &streams[usize::from(!self.to_server)];
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
        bytes.extend(payload);
        bytes
    }
}

/// One direction of the conversation: eight messages behind their lengths (RFC 1035 section 4.2.2).
fn stream(flags: u16, answers: u16) -> Vec<u8> {
    let mut stream = Vec::new();
    for id in 1..=8_u16 {
        let mut message = Vec::new();
        for word in [id, flags, 1, answers, 0, 0] {
            message.extend(word.to_be_bytes());
        }
        message.extend(b"\x04name\x04test\x00\x00\x10\x00\x01");
        for _ in 0..answers {
            // A text as long as several segments, for every second message.
            let texts = 1 + usize::from(id % 2) * 10;
            message.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60]);
            message.extend((201 * texts as u16).to_be_bytes());
            message.extend([&[200][..], &[b't'; 200]].concat().repeat(texts));
        }
        stream.extend((message.len() as u16).to_be_bytes());
        stream.extend(message);
    }
    stream
}
