//! What the engine does with TCP: segments go into the streams, and their messages the way of whole packets.

use super::{Engine, Pass, Report, is_response, message_to_server};
use crate::capture::frame::{Frame, Place, Timestamp};
use crate::correlate::Vantage;
use crate::dns;
use crate::packet::tcp::{Placed, Reader, StreamMessage, Streams};
use crate::packet::{Flow, Payload};
use crate::tally::PacketResult;

impl Engine {
    /// A segment, and the messages that it completes.
    pub(super) fn tcp(
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

    /// Gives up what will not come any more; everything before `watermark` was seen. Gives the time before which every
    /// message was read.
    pub(super) fn tick_streams(
        &mut self,
        watermark: Timestamp,
        emit: &mut dyn FnMut(Report<'_>),
    ) -> Timestamp {
        if self.streams.as_ref().is_some_and(|streams| streams.is_due(watermark)) {
            self.with_streams(emit, |streams, reader| streams.tick(watermark, reader));
        }
        self.streams.as_ref().map_or(watermark, |streams| streams.settled(watermark))
    }

    /// Ends all streams, at the end of the capture.
    pub(super) fn finish_streams(&mut self, emit: &mut dyn FnMut(Report<'_>)) {
        self.with_streams(emit, |streams, reader| streams.finish(reader));
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
        let right_way = message_to_server(&self.engine.ports, flow, bytes) == Some(!is_response(bytes));
        right_way && looks_like_dns(bytes, length)
    }

    fn message(&mut self, message: StreamMessage<'_>) -> bool {
        let StreamMessage { time, place, flow, hop_limit, bytes, length } = message;
        let to_server = message_to_server(&self.engine.ports, &flow, bytes).unwrap_or(false);
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
