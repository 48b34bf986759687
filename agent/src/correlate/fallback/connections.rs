//! Connections that begin: those that do not come about are told.
//!
//! A connection is of interest from its first SYN to the first sign of life of the server; then it is forgotten.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use hashlink::LinkedHashMap;

use super::Segment;
use crate::capture::frame::Timestamp;
use crate::capture::vantage::{Vantage, Verdict, judge};
use crate::correlate::ClientId;

/// Connections that begin at once, at most; the oldest gives way.
const MAX_BEGINNING: usize = 4096;
/// SYNs of the last milliseconds that are kept to recognise them at the next interface, at most.
const MAX_SYNS: usize = 64;
/// The same SYN is expected at the next interface within this time, as in [`crate::correlate`]'s matching.
const COPY: Duration = Duration::from_millis(5);

/// Whose connection, from and to which port.
type Key = (ClientId, u16, SocketAddr);

/// A connection whose server has not shown itself yet.
#[derive(Clone, Copy, Debug)]
struct Beginning {
    began: Timestamp,
    syns: u32,
    /// A SYN had data (TCP Fast Open, RFC 7413).
    data: bool,
}

/// A connection that did not come about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tried {
    pub(super) client: ClientId,
    pub(super) client_port: u16,
    pub(super) server: SocketAddr,
    /// When the first SYN was sent.
    pub(super) began: Timestamp,
    /// SYNs that were sent.
    pub(super) syns: u32,
    /// A SYN had data: a question that was never taken.
    pub(super) data: bool,
}

impl Tried {
    fn new((client, client_port, server): Key, Beginning { began, syns, data }: Beginning) -> Self {
        Self { client, client_port, server, began, syns, data }
    }
}

/// What a segment shows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen {
    /// The client tries to connect.
    Trying,
    /// The client sent data.
    Data,
    /// The server would not have it.
    Failed(Tried),
}

/// Who shows what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) client: ClientId,
    pub(super) server: SocketAddr,
    pub(super) what: Seen,
}

/// All connections that begin.
#[derive(Debug, Default)]
pub(super) struct Connections {
    /// In the order of their first SYN.
    beginning: LinkedHashMap<Key, Beginning>,
    /// When each of the last SYNs was seen first, and its number.
    syns: VecDeque<(Timestamp, u32)>,
}

impl Connections {
    /// Takes a segment; `None` where it shows nothing of interest.
    pub(super) fn segment(&mut self, segment: &Segment<'_>) -> Option<Shown> {
        let Segment { place, flow, to_server, header, data, .. } = *segment;
        let at_client =
            !matches!(judge(place, to_server), Verdict::Certain(Vantage::Server | Vantage::Uplink));
        if !at_client {
            // A forwarded SYN is the copy that a packet socket cannot tell from one of the node.
            return None;
        }
        let (near, server) =
            if to_server { (flow.source, flow.destination) } else { (flow.destination, flow.source) };
        let client = ClientId::at(place, near.ip());
        let key = (client, near.port(), server);
        let what = match (to_server, header.syn(), header.rst()) {
            (true, true, false) => {
                if !self.begin(key, segment) {
                    return None;
                }
                Seen::Trying
            }
            (true, false, false) if data > 0 => {
                self.forget(&key);
                Seen::Data
            }
            (false, false, true) => Seen::Failed(Tried::new(key, self.beginning.remove(&key)?)),
            (false, _, false) => {
                self.forget(&key);
                return None;
            }
            _ => return None,
        };
        Some(Shown { client, server, what })
    }

    /// Notes a SYN; false where it was seen just before at another interface.
    fn begin(&mut self, key: Key, segment: &Segment<'_>) -> bool {
        let (time, sequence) = (segment.time, segment.header.sequence);
        while self.syns.len() >= MAX_SYNS || self.syns.front().is_some_and(|(at, _)| time.since(*at) > COPY) {
            self.syns.pop_front();
        }
        if self.syns.iter().any(|(_, other)| *other == sequence) {
            return false;
        }
        self.syns.push_back((time, sequence));
        match self.beginning.get_mut(&key) {
            Some(beginning) => {
                beginning.syns += 1;
                beginning.data |= segment.data > 0;
            }
            None => {
                if self.beginning.len() >= MAX_BEGINNING {
                    self.beginning.pop_front();
                }
                self.beginning.insert(key, Beginning { began: time, syns: 1, data: segment.data > 0 });
            }
        }
        true
    }

    /// It came about.
    fn forget(&mut self, key: &Key) {
        if !self.beginning.is_empty() {
            self.beginning.remove(key);
        }
    }

    /// How many begin.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.beginning.len()
    }

    /// The next one that was met with `silence` for that long before `watermark`.
    pub(super) fn silent(&mut self, watermark: Timestamp, silence: Duration) -> Option<Tried> {
        let (_, Beginning { began, .. }) = self.beginning.front()?;
        if *began + silence >= watermark {
            return None;
        }
        self.beginning.pop_front().map(|(key, beginning)| Tried::new(key, beginning))
    }
}
