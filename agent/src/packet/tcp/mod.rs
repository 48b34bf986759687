//! Puts TCP segments together and cuts the streams into DNS messages (RFC 1035 section 4.2.2, RFC 7766 section 8).
//!
//! Input: segments ([`Payload`](super::Payload) with time and place) and the watermark. Output: [`StreamMessage`] to a
//! [`Reader`], and [`StreamCounts`]. Deliberately absent: windows, checksums, everything of TCP that does not say which byte stands
//! where; I/O and clocks. Memory is bounded by [`StreamLimits`].
//!
//! A stream is one direction of a connection as one interface shows it. While every byte was seen it is *in step*, and
//! whatever stands behind a length is a message. A hole that nobody will fill (the capture cut the segment off, the
//! receiver has acknowledged past it, it stayed open for too long or too much waits behind it) ends the message that it
//! begins in: what is known of that message is delivered as its beginning, if the header is there. If the message
//! reaches beyond the hole, the stream goes on behind it; else the hole swallowed a length, and the stream is given up:
//! it is *lost*, as one whose beginning was not seen. A lost stream is never guessed at. It is in step again behind a
//! segment that consists of whole messages which the reader knows for such; one that begins like a message larger than
//! itself is tried, and believed once that message is whole and the reader knows it.
//!
//! The beginning of a message is delivered too when its stream ends without the rest: by FIN, RST or a new connection,
//! for want of room, after long silence, at the end of the capture. So a response whose rest was not captured still
//! answers its query.

mod framing;
mod pieces;
mod stream;
mod table;

use std::time::Duration;

use super::Flow;
use crate::capture::frame::{Place, Timestamp};

pub use table::Streams;

/// The bounds of putting together.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimits {
    /// Connections that are followed at most, both directions each; the least recently used gives way.
    pub max_connections: usize,
    /// Connections without data that are remembered at most, before their first data and after their end.
    pub max_idle: usize,
    /// Bytes of one stream that are kept at most: a whole message of 65,535 bytes, and as much out of order.
    pub max_bytes_per_stream: usize,
    /// Bytes of memory behind all streams at most.
    pub max_bytes: usize,
    /// How long a hole may stay open.
    pub patience: Duration,
    /// How much later than its acknowledgement a segment may be seen.
    pub reordering: Duration,
    /// A connection without packets for so long is forgotten.
    pub idle: Duration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            max_connections: 16_384,
            max_idle: 16_384,
            max_bytes_per_stream: 128 << 10,
            max_bytes: 16 << 20,
            patience: Duration::from_secs(5),
            reordering: Duration::from_millis(10),
            idle: Duration::from_secs(120),
        }
    }
}

/// Why a stream, or a message of it, was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GiveUp {
    /// Bytes were not captured.
    Gap,
    /// It gave way for want of room.
    Evicted,
    /// The connection ended in the middle of a message.
    Ended,
    /// Nothing came for long in the middle of a message.
    Idle,
}

impl GiveUp {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Gap, Self::Evicted, Self::Ended, Self::Idle];

    /// As it stands in labels and lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Evicted => "evicted",
            Self::Ended => "ended",
            Self::Idle => "idle",
        }
    }
}

/// What was not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounts {
    given_up: [u64; GiveUp::ALL.len()],
    /// Messages of which only the beginning was delivered.
    pub beginnings: u64,
    /// Streams that were read from a segment in their middle on, as one that consists of whole messages seemed to allow.
    pub joined: u64,
    /// Bytes that were seen while nothing told where messages begin.
    pub skipped_bytes: u64,
}

impl StreamCounts {
    /// How often a stream was given up for that reason.
    pub fn given_up(&self, reason: GiveUp) -> u64 {
        self.given_up[reason as usize]
    }
}

/// A message that stood in a stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamMessage<'a> {
    /// When the segment was seen that completed it; of a beginning, the last one that brought a part.
    pub time: Timestamp,
    /// Where; `None` in a file that does not say.
    pub place: Option<Place>,
    /// From whom to whom.
    pub flow: Flow,
    /// IPv4 TTL or IPv6 hop limit of that segment.
    pub hop_limit: u8,
    /// The message without its length prefix; any number of bytes.
    pub bytes: &'a [u8],
    /// Length of the whole message in bytes; larger than `bytes` where only its beginning is known.
    pub length: usize,
}

/// Who takes the messages, and knows one when it sees it.
pub trait Reader {
    /// Is this a DNS message, or the beginning of one where `length` is larger than `bytes`? Asked only where a stream
    /// is not in step; an answer that is yes too easily makes messages of what is none.
    fn plausible(&self, flow: &Flow, bytes: &[u8], length: usize) -> bool;

    /// Takes a message; says whether it could be read.
    fn message(&mut self, message: StreamMessage<'_>) -> bool;

    /// Is told that a part of a stream was not read, in which there may have been messages.
    fn unseen(&mut self, flow: &Flow);
}

/// What a segment brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// No data.
    Control,
    /// Only bytes that were seen before.
    Known,
    /// Bytes that were not seen before.
    New,
}

/// When and how a segment was seen.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    time: Timestamp,
    place: Option<Place>,
    hop_limit: u8,
}

impl Seen {
    /// The later of two.
    fn later(self, other: Self) -> Self {
        if other.time >= self.time { other } else { self }
    }
}

/// What a stream needs besides itself.
struct Context<'a> {
    limits: &'a StreamLimits,
    counts: &'a mut StreamCounts,
    reader: &'a mut dyn Reader,
    flow: Flow,
    seen: Seen,
    /// The stream is given up already, for one reason.
    ending: bool,
}

impl Context<'_> {
    fn deliver(&mut self, seen: Seen, bytes: &[u8], length: usize) -> bool {
        let Seen { time, place, hop_limit } = seen;
        self.counts.beginnings += u64::from(length > bytes.len());
        self.reader.message(StreamMessage { time, place, flow: self.flow, hop_limit, bytes, length })
    }

    fn plausible(&self, bytes: &[u8], length: usize) -> bool {
        self.reader.plausible(&self.flow, bytes, length)
    }

    /// Bytes of this stream were not read.
    fn unseen(&mut self) {
        self.reader.unseen(&self.flow);
    }

    /// Bytes of the stream in the other direction were not read: this one acknowledges them.
    fn unseen_by_receiver(&mut self) {
        let Flow { source, destination, transport } = self.flow;
        self.reader.unseen(&Flow { source: destination, destination: source, transport });
    }

    fn skip(&mut self, bytes: usize) {
        self.counts.skipped_bytes += bytes as u64;
        self.unseen();
    }

    fn give_up(&mut self, reason: GiveUp) {
        if !self.ending {
            self.counts.given_up[reason as usize] += 1;
        }
        // Of a connection that ended in the middle of a message, the rest was never sent.
        if reason != GiveUp::Ended {
            self.unseen();
        }
    }

    /// Does something with bytes that were seen earlier, or later, than what is looked at.
    fn while_seen<T>(&mut self, seen: Seen, action: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.seen;
        self.seen = before.later(seen);
        let done = action(self);
        self.seen = before;
        done
    }
}
