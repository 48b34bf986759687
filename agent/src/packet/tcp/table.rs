//! All connections, their bounds and their ends.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use hashlink::{LinkedHashMap, LinkedHashSet};

use super::pieces::Segment;
use super::stream::Stream;
use super::{Context, GiveUp, Placed, Reader, Seen, StreamCounts, StreamLimits};
use crate::capture::frame::{Direction, Ifindex, InterfaceKind, Place, Timestamp};
use crate::packet::{Flow, Payload, TcpHeader, Transport};

/// A connection as one interface shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    /// The lower address first.
    ends: [SocketAddr; 2],
    /// `None` in a file that does not say.
    ifindex: Option<Ifindex>,
    /// What comes from the lower address leaves by the interface. A packet that goes back by the interface it came in
    /// by is seen twice there: those are two connections.
    egress: bool,
}

impl Key {
    /// With the sender's place in `ends`.
    fn of(flow: &Flow, place: Option<&Place>) -> (Self, usize) {
        let side = usize::from(flow.source > flow.destination);
        let ends = if side == 0 { [flow.source, flow.destination] } else { [flow.destination, flow.source] };
        let (ifindex, egress) = match place {
            None => (None, false),
            // Both directions are read on their way out.
            Some(place) if place.kind == InterfaceKind::Loopback => (Some(place.ifindex), true),
            Some(place) => (Some(place.ifindex), (place.direction == Direction::Egress) == (side == 0)),
        };
        (Self { ends, ifindex, egress }, side)
    }

    fn flow(&self, side: usize) -> Flow {
        let [source, destination] = if side == 0 { self.ends } else { [self.ends[1], self.ends[0]] };
        Flow { source, destination, transport: Transport::Tcp }
    }
}

/// SYN is seen again at another interface, or sent again while the connection ends, within this time of its end; later
/// it begins a new connection, even with the same number.
const SECOND_SIGHTING: Duration = Duration::from_millis(100);

/// A segment on its way in.
struct Arrival<'a> {
    key: Key,
    side: usize,
    seen: Seen,
    header: TcpHeader,
    data: Segment<'a>,
}

/// Both directions of a connection that had data.
#[derive(Debug, Default)]
struct Connection {
    streams: [Stream; 2],
    /// When its last packet was seen.
    last: Timestamp,
    /// RST was seen.
    reset: bool,
    /// Its share of [`Streams::bytes`].
    accounted: usize,
    /// Its entry in [`Streams::due`].
    due: Option<Timestamp>,
}

impl Connection {
    fn take(&mut self, arrival: &Arrival<'_>, context: &mut Context<'_>) -> Placed {
        let Arrival { side, seen, header, data, .. } = *arrival;
        self.last = self.last.max(seen.time);
        let [low, high] = &mut self.streams;
        let (stream, other) = if side == 0 { (low, high) } else { (high, low) };
        let placed = if data.is_empty() { Placed::Control } else { stream.accept(data, context) };
        if header.ack() {
            let unseen = other.acknowledge(header.acknowledgement, seen.time);
            if unseen {
                context.unseen_by_receiver();
            }
        }
        if header.fin() && stream.close(data.end()) {
            context.unseen();
        }
        // Anybody can send RST; the receiver too looks whether its number can be right (RFC 5961 section 3.2).
        self.reset |= header.rst() && stream.may_be_reset(header.sequence);
        placed
    }

    fn is_quiet(&self) -> bool {
        self.accounted == 0 && self.due.is_none() && !self.reset && self.streams.iter().all(Stream::is_quiet)
    }

    fn is_over(&self) -> bool {
        self.reset || self.streams.iter().all(Stream::is_over)
    }

    fn memory(&self) -> usize {
        self.streams.iter().map(Stream::memory).sum()
    }
}

/// What is kept of a connection that has no data yet, or no more.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    /// Of each direction the first byte that was seen and the first that was not yet.
    spans: [Option<(u32, u32)>; 2],
    last: Timestamp,
}

/// Connections of which only [`Marks`] are kept, the longest untouched first.
#[derive(Debug, Default)]
struct Margin(LinkedHashMap<Key, Marks>);

impl Margin {
    fn put(&mut self, key: Key, marks: Marks, most: usize) {
        self.0.insert(key, marks);
        if self.0.len() > most {
            self.0.pop_front();
        }
    }

    fn expire(&mut self, idle: Duration, watermark: Timestamp) {
        while self.0.front().is_some_and(|(_, marks)| marks.last + idle < watermark) {
            self.0.pop_front();
        }
    }
}

/// The streams of all interfaces.
#[derive(Debug, Default)]
pub struct Streams {
    limits: StreamLimits,
    counts: StreamCounts,
    /// Connections that had data, the least recently used first.
    open: LinkedHashMap<Key, Connection>,
    /// Those that hold memory, the least recently used first.
    holding: LinkedHashSet<Key>,
    /// Bytes of memory that they hold.
    bytes: usize,
    /// Those with a hole, by the time when it is given up.
    due: BTreeSet<(Timestamp, Key)>,
    /// SYN was seen, but no data. Apart from the others, so that a flood of SYN leaves them alone.
    opening: Margin,
    /// Ended connections: what is sent again was seen before.
    closed: Margin,
}

impl Streams {
    /// Without any stream.
    pub fn new(limits: StreamLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// What was not read so far.
    pub fn counts(&self) -> StreamCounts {
        self.counts
    }

    /// Connections that are followed now.
    pub fn connections(&self) -> usize {
        self.open.len()
    }

    /// Bytes of memory that hold parts of messages now.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes one segment; every message that it completes goes to `reader`.
    pub fn segment(
        &mut self,
        time: Timestamp,
        place: Option<Place>,
        payload: &Payload<'_>,
        reader: &mut dyn Reader,
    ) -> Placed {
        let Some(header) = payload.tcp else { return Placed::Control };
        let (key, side) = Key::of(&payload.flow, place.as_ref());
        // SYN counts as the byte before the first (RFC 9293 section 3.4).
        let at = header.sequence.wrapping_add(u32::from(header.syn()));
        // With RST comes at most a text for people (RFC 9293 section 3.5.3).
        let (bytes, missing) = if header.rst() { (&[][..], 0) } else { (payload.bytes, payload.missing) };
        let data = Segment { at, bytes, missing };
        let arrival =
            Arrival { key, side, seen: Seen { time, place, hop_limit: payload.hop_limit }, header, data };
        if header.syn() {
            self.begin(&arrival, reader);
        }
        match self.arrive(&arrival, reader) {
            Some(placed) => placed,
            None => self.arrive_first(&arrival, reader),
        }
    }

    /// Would [`Streams::tick`] find something to do?
    pub fn is_due(&self, watermark: Timestamp) -> bool {
        let silent = |last: Timestamp| last + self.limits.idle < watermark;
        self.due.first().is_some_and(|(due, _)| *due < watermark)
            || self.open.front().is_some_and(|(_, connection)| silent(connection.last))
            || self.opening.0.front().is_some_and(|(_, marks)| silent(marks.last))
            || self.closed.0.front().is_some_and(|(_, marks)| silent(marks.last))
    }

    /// Gives up the holes that will not be filled and the connections that fell silent; everything before `watermark`
    /// was seen.
    pub fn tick(&mut self, watermark: Timestamp, reader: &mut dyn Reader) {
        while let Some(&(due, key)) = self.due.first()
            && due < watermark
        {
            self.due.pop_first();
            let Self { open, limits, counts, .. } = self;
            if let Some(connection) = open.get_mut(&key) {
                connection.due = None;
                for (side, stream) in connection.streams.iter_mut().enumerate() {
                    let (flow, seen) = (key.flow(side), Seen::default());
                    stream.expire(
                        watermark,
                        &mut Context { limits, counts, reader, flow, seen, ending: false },
                    );
                }
                self.settle(&key, watermark, reader);
            }
        }
        let idle = self.limits.idle;
        while let Some((&key, connection)) = self.open.front()
            && connection.last + idle < watermark
        {
            self.remove(&key, Some(GiveUp::Idle), reader);
        }
        self.opening.expire(idle, watermark);
        self.closed.expire(idle, watermark);
    }

    /// The time before which every message was delivered, after [`Streams::tick`]: what stands around an open hole is
    /// as old as the hole at least, and a hole that opened earlier would be due earlier.
    pub fn settled(&self, watermark: Timestamp) -> Timestamp {
        let oldest_hole = self.due.first().map(|(due, _)| due.before(self.limits.patience));
        oldest_hole.map_or(watermark, |oldest| oldest.min(watermark))
    }

    /// Ends all streams, at the end of the capture, and forgets them.
    pub fn finish(&mut self, reader: &mut dyn Reader) {
        while let Some((&key, _)) = self.open.front() {
            self.remove(&key, None, reader);
        }
        self.opening = Margin::default();
        self.closed = Margin::default();
    }

    /// SYN: a connection begins, unless it is one that is known to have begun.
    fn begin(&mut self, arrival: &Arrival<'_>, reader: &mut dyn Reader) {
        let Arrival { key, side, seen, header, data } = arrival;
        let from = data.at;
        if let Some(connection) = self.open.get_mut(key) {
            let stream = &mut connection.streams[*side];
            if stream.begun_at(from) {
                return;
            }
            if stream.is_new() && header.ack() {
                // The answer to a SYN with data (RFC 7413).
                *stream = Stream::known((from, from));
                return;
            }
            self.remove(key, Some(GiveUp::Ended), reader);
        }
        let begun = |marks: &Marks| marks.spans[*side].is_some_and(|(begin, _)| begin == from);
        let again = |marks: &Marks| begun(marks) && seen.time <= marks.last + SECOND_SIGHTING;
        if self.closed.0.get(key).is_some_and(again) {
            return;
        }
        self.closed.0.remove(key);
        let mut marks = self.opening.0.remove(key).unwrap_or_default();
        if !begun(&marks) {
            // A client's SYN begins anew, a server's goes with the client's.
            let client = marks.spans[1 - side].filter(|_| header.ack());
            marks.spans[*side] = Some((from, from));
            marks.spans[1 - side] = client;
        }
        marks.last = seen.time;
        self.opening.put(*key, marks, self.limits.max_idle);
    }

    /// A segment of a connection that had data; `None` for any other.
    fn arrive(&mut self, arrival: &Arrival<'_>, reader: &mut dyn Reader) -> Option<Placed> {
        let Self { open, limits, counts, .. } = self;
        let connection = open.to_back(&arrival.key)?;
        let Arrival { key, side, seen, .. } = arrival;
        let mut context =
            Context { limits, counts, reader, flow: key.flow(*side), seen: *seen, ending: false };
        let placed = connection.take(arrival, &mut context);
        if !connection.is_quiet() {
            self.settle(key, seen.time, reader);
        }
        Some(placed)
    }

    /// A segment of a connection without data so far, or no more.
    fn arrive_first(&mut self, arrival: &Arrival<'_>, reader: &mut dyn Reader) -> Placed {
        let Arrival { key, side, header, data, seen } = arrival;
        if data.is_empty() {
            if header.rst() {
                self.opening.0.remove(key);
            }
            return Placed::Control;
        }
        if let Some(marks) = self.closed.0.get(key) {
            if marks.spans[*side].is_some_and(|span| Stream::known(span).is_known(*data)) {
                return Placed::Known;
            }
            self.closed.0.remove(key);
        }
        let marks = self.opening.0.remove(key).unwrap_or_default();
        let streams = marks.spans.map(|span| span.map(Stream::known).unwrap_or_default());
        let mut connection = Connection { streams, ..Connection::default() };
        let Self { limits, counts, .. } = self;
        let mut context =
            Context { limits, counts, reader, flow: key.flow(*side), seen: *seen, ending: false };
        let placed = connection.take(arrival, &mut context);
        if header.syn() && connection.is_quiet() && connection.streams.iter().all(Stream::is_where_it_ends) {
            // A SYN takes no place from others, even where it brings a whole message (RFC 7413).
            let spans = connection.streams.each_ref().map(Stream::span);
            self.opening.put(*key, Marks { spans, last: seen.time }, self.limits.max_idle);
            return placed;
        }
        while self.open.len() >= self.limits.max_connections.max(1)
            && let Some((&first, _)) = self.open.front()
        {
            self.remove(&first, Some(GiveUp::Evicted), reader);
        }
        let quiet = connection.is_quiet();
        self.open.insert(*key, connection);
        if !quiet {
            self.settle(key, seen.time, reader);
        }
        placed
    }

    /// Brings the books in order after a change, ends the connection if it is over, and keeps to the bound of memory.
    fn settle(&mut self, key: &Key, now: Timestamp, reader: &mut dyn Reader) {
        let Self { open, limits, counts, .. } = self;
        let Some(connection) = open.get_mut(key) else { return };
        for (side, stream) in connection.streams.iter_mut().enumerate() {
            if stream.is_over() {
                let (flow, seen) = (key.flow(side), Seen::default());
                let context = &mut Context { limits, counts, reader, flow, seen, ending: false };
                stream.finish(Some(GiveUp::Ended), context);
            }
        }
        if connection.is_over() {
            return self.remove(key, Some(GiveUp::Ended), reader);
        }
        let memory = connection.memory();
        self.bytes = self.bytes - connection.accounted + memory;
        connection.accounted = memory;
        if memory == 0 {
            self.holding.remove(key);
        } else if !self.holding.to_back(key) {
            self.holding.insert(*key);
        }
        let deadlines = connection.streams.each_mut().map(|stream| stream.deadline(now, &self.limits));
        let due = deadlines.into_iter().flatten().min();
        let before = std::mem::replace(&mut connection.due, due);
        if before != due {
            before.map(|before| self.due.remove(&(before, *key)));
            due.map(|due| self.due.insert((due, *key)));
        }
        while self.bytes > self.limits.max_bytes
            && let Some(&first) = self.holding.front()
        {
            self.remove(&first, Some(GiveUp::Evicted), reader);
        }
    }

    /// Ends a connection; a stream in the middle of a message is given up for `reason`.
    fn remove(&mut self, key: &Key, reason: Option<GiveUp>, reader: &mut dyn Reader) {
        let Some(mut connection) = self.open.remove(key) else { return };
        self.holding.remove(key);
        self.bytes -= connection.accounted;
        connection.due.map(|due| self.due.remove(&(due, *key)));
        let Self { limits, counts, .. } = self;
        for (side, stream) in connection.streams.iter_mut().enumerate() {
            let (flow, seen) = (key.flow(side), Seen::default());
            stream.finish(reason, &mut Context { limits, counts, reader, flow, seen, ending: false });
        }
        if connection.is_over() {
            let spans = connection.streams.each_ref().map(Stream::span);
            self.closed.put(*key, Marks { spans, last: connection.last }, limits.max_idle);
        }
    }
}

#[cfg(test)]
mod tests;
