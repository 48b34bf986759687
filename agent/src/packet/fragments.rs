//! Puts the fragments of IPv4 (RFC 791, RFC 815) and IPv6 (RFC 8200 section 4.5) packets together.
//!
//! Input: [`Fragment`] with the time and place it was seen at. Output: the [`Fate`] of each, and [`Datagram`], whole or
//! the beginning of one that will not become whole. Deliberately absent: I/O and clocks (patience is counted by the
//! watermark), and what a server port is: the caller judges the first fragment, the only one with ports.
//!
//! Memory is bounded by [`FragmentLimits`], whatever comes off the wire.

mod datagram;
mod fate;
mod past;

use std::net::IpAddr;
use std::time::Duration;

use hashlink::LinkedHashMap;

use super::{DecodeError, Fragment, Payload, parse_fragmented};
use crate::capture::frame::{Direction, Ifindex, Place, Timestamp};
pub use datagram::Datagram;
use datagram::{Added, Beginning, Open};
pub use fate::{Earlier, Fate, FragmentCounts, GiveUp, Taken};
use past::{Past, Pasts};

/// The bounds of reassembly.
#[derive(Clone, Copy, Debug)]
pub struct FragmentLimits {
    /// Datagrams that wait for a fragment at most.
    pub max_datagrams: usize,
    /// Bytes of memory that they take at most, all together.
    pub max_bytes: usize,
    /// How long a datagram waits from its earliest fragment on. Fragments of one datagram follow each other within
    /// milliseconds; the kernel of the client waits 30 s (ip-sysctl, `ipfrag_time`), but an answer is not held that long.
    /// The kernel half ascribes later fragments for as long.
    pub patience: Duration,
}

impl Default for FragmentLimits {
    fn default() -> Self {
        Self { max_datagrams: 1024, max_bytes: 8 << 20, patience: Duration::from_secs(1) }
    }
}

/// What the fragments of one datagram share; each place sees fragments of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    identification: u32,
    /// Of IPv4 only: in IPv6 the first fragment's alone counts (RFC 8200 section 4.5).
    protocol: u8,
    seen_at: Option<(Ifindex, Direction)>,
}

impl Key {
    fn new(fragment: &Fragment<'_>, place: Option<&Place>) -> Self {
        let super::FragmentKey { source, destination, identification, protocol } = fragment.key;
        Self {
            source,
            destination,
            identification,
            protocol: if source.is_ipv4() { protocol } else { 0 },
            seen_at: place.map(|place| (place.ifindex, place.direction)),
        }
    }
}

/// Where and when a fragment was seen.
#[derive(Clone, Copy, Debug)]
struct Seen {
    time: Timestamp,
    place: Option<Place>,
}

/// Datagrams that wait for fragments, and a short memory of those that no longer do.
#[derive(Debug)]
pub struct Reassembly {
    limits: FragmentLimits,
    /// The least recently touched stands first.
    open: LinkedHashMap<Key, Open>,
    /// Memory that `open` takes, in bytes.
    bytes: usize,
    /// The smallest [`Open::created`].
    earliest: Option<Timestamp>,
    pasts: Pasts,
    counts: FragmentCounts,
}

impl Reassembly {
    /// An empty one.
    pub fn new(limits: FragmentLimits) -> Self {
        Self {
            limits,
            open: LinkedHashMap::new(),
            bytes: 0,
            earliest: None,
            pasts: Pasts::new(limits.patience),
            counts: FragmentCounts::default(),
        }
    }

    /// What was not put together so far.
    pub fn counts(&self) -> FragmentCounts {
        self.counts
    }

    /// Datagrams that wait, and the memory in bytes that they take.
    pub fn held(&self) -> (usize, usize) {
        (self.open.len(), self.bytes)
    }

    /// The time before which every datagram was handed out: `watermark`, or that of the oldest that still waits.
    pub fn settled(&self, watermark: Timestamp) -> Timestamp {
        self.earliest.map_or(watermark, |earliest| earliest.min(watermark))
    }

    /// Takes one fragment.
    ///
    /// `wanted` judges the first fragment, whose payload is only a beginning: does it go to a server? `None`: it is none
    /// of the caller's. `deliver` gets the beginnings of datagrams that have to give way to this one.
    pub fn take(
        &mut self,
        time: Timestamp,
        place: Option<&Place>,
        fragment: &Fragment<'_>,
        wanted: &dyn Fn(&Payload<'_>) -> Option<bool>,
        deliver: &mut dyn FnMut(Datagram),
    ) -> Taken {
        let key = Key::new(fragment, place);
        if let Some(fate) = self.pasts.fate(&key, time, fragment) {
            return Taken { earlier: Earlier::default(), fate };
        }
        let mut open = match self.remove(&key) {
            // The watermark has yet to come by, but a sender that takes so long has begun another datagram.
            Some(old) if time.since(old.created) > self.limits.patience => {
                self.give_up(key, old, time, GiveUp::Incomplete, deliver);
                self.pasts.remove(&key);
                Open::new(time)
            }
            Some(open) => open,
            None => Open::new(time),
        };
        let mut earlier = Earlier::default();
        if fragment.offset == 0 && open.beginning.is_none() {
            earlier = std::mem::take(&mut open.undecided);
            match judge(fragment, wanted) {
                Ok(Some(to_server)) => {
                    open.beginning = Some(Beginning::new(time, place, fragment, to_server));
                }
                Ok(None) => return self.close(key, time, Past::Foreign, earlier, Fate::Foreign),
                Err(error) => {
                    self.counts.give_up(GiveUp::Inconsistent);
                    let past = Past::GivenUp { to_server: true, reason: GiveUp::Inconsistent };
                    return self.close(key, time, past, earlier, Fate::Unreadable(error));
                }
            }
        }
        let fate = self.add(key, open, Seen { time, place: place.copied() }, fragment);
        self.make_room(time, deliver);
        Taken { earlier, fate }
    }

    /// Gives up what has waited too long before `watermark`; everything earlier has been taken.
    pub fn tick(&mut self, watermark: Timestamp, deliver: &mut dyn FnMut(Datagram)) {
        let patience = self.limits.patience;
        let late = |created: Timestamp| created + patience < watermark;
        if self.earliest.is_some_and(late) {
            self.give_up_those(watermark, late, deliver);
        }
        self.pasts.forget_before(watermark);
    }

    /// Gives up whatever waits, at the end of the capture, and forgets all keys.
    pub fn finish(&mut self, deliver: &mut dyn FnMut(Datagram)) {
        self.give_up_those(Timestamp::default(), |_| true, deliver);
        self.pasts.clear();
    }

    /// Adds the fragment to its datagram, which is in no list now, and puts it where it belongs.
    fn add(&mut self, key: Key, mut open: Open, seen: Seen, fragment: &Fragment<'_>) -> Fate {
        let first = open.beginning.as_ref().map(|beginning| beginning.to_server);
        let added = open.add(fragment);
        let Some(to_server) = first else {
            match added {
                Ok(Added::Duplicate) => open.undecided.duplicates += 1,
                Ok(_) => open.undecided.parts += 1,
                Err(reason) => {
                    open.undecided.parts += 1;
                    open.discard(reason);
                }
            }
            self.insert(key, open);
            return Fate::Undecided;
        };
        match added {
            Ok(Added::Part) => {
                self.insert(key, open);
                Fate::Held { to_server }
            }
            Ok(Added::Duplicate) => {
                self.insert(key, open);
                Fate::Duplicate { to_server }
            }
            Ok(Added::Last) => {
                let pieces = open.pieces_by(|start, more, bytes| self.pasts.hash(start, more, bytes));
                self.pasts.insert(key, seen.time, Past::Done { to_server, pieces });
                let Some(datagram) = open.into_complete(seen) else { return Fate::Dropped { to_server } };
                if datagram.missing > 0 {
                    self.counts.give_up(GiveUp::Incomplete);
                }
                Fate::Complete(datagram)
            }
            Err(reason) => {
                self.counts.give_up(reason);
                self.pasts.insert(key, seen.time, Past::GivenUp { to_server, reason });
                Fate::Dropped { to_server }
            }
        }
    }

    fn close(&mut self, key: Key, time: Timestamp, past: Past, earlier: Earlier, fate: Fate) -> Taken {
        self.pasts.insert(key, time, past);
        Taken { earlier, fate }
    }

    fn insert(&mut self, key: Key, open: Open) {
        self.bytes += open.cost();
        self.earliest = Some(self.earliest.map_or(open.created, |earliest| earliest.min(open.created)));
        self.open.insert(key, open);
    }

    fn remove(&mut self, key: &Key) -> Option<Open> {
        let open = self.open.remove(key)?;
        self.removed(&open);
        Some(open)
    }

    fn removed(&mut self, open: &Open) {
        self.bytes -= open.cost();
        if self.earliest == Some(open.created) {
            self.earliest = self.open.values().map(|open| open.created).min();
        }
    }

    /// Gives up the least recently touched until the bounds hold.
    fn make_room(&mut self, time: Timestamp, deliver: &mut dyn FnMut(Datagram)) {
        while self.open.len() > self.limits.max_datagrams || self.bytes > self.limits.max_bytes {
            let Some((key, open)) = self.open.pop_front() else { return };
            self.removed(&open);
            self.give_up(key, open, time, GiveUp::Evicted, deliver);
        }
    }

    fn give_up_those(
        &mut self,
        now: Timestamp,
        which: impl Fn(Timestamp) -> bool,
        deliver: &mut dyn FnMut(Datagram),
    ) {
        let mut keys: Vec<(Timestamp, Key)> = self
            .open
            .iter()
            .map(|(key, open)| (open.created, *key))
            .filter(|(time, _)| which(*time))
            .collect();
        keys.sort_by_key(|(created, _)| *created);
        for (_, key) in keys {
            if let Some(open) = self.remove(&key) {
                self.give_up(key, open, now, GiveUp::Incomplete, deliver);
            }
        }
    }

    /// Ends a datagram that is in no list any more; its beginning is delivered where it was seen.
    fn give_up(
        &mut self,
        key: Key,
        open: Open,
        now: Timestamp,
        reason: GiveUp,
        deliver: &mut dyn FnMut(Datagram),
    ) {
        let Earlier { parts, duplicates } = open.undecided;
        self.counts.unascribed += u64::from(parts) + u64::from(duplicates);
        let Some(datagram) = open.into_beginning() else { return };
        self.counts.give_up(reason);
        let to_server = datagram.to_server;
        self.pasts.insert(key, now, Past::GivenUp { to_server, reason });
        deliver(datagram);
    }
}

/// Does the datagram that begins so go to a server? `None`: it is none of the caller's.
fn judge(
    first: &Fragment<'_>,
    wanted: &dyn Fn(&Payload<'_>) -> Option<bool>,
) -> Result<Option<bool>, DecodeError> {
    match parse_fragmented(&first.key, first.hop_limit, first.bytes, first.missing) {
        Ok(payload) => Ok(wanted(&payload)),
        Err(DecodeError::NotTransport(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
