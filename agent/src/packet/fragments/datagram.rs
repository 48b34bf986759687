//! One datagram: the pieces that were seen of it, and how they fit together.

use super::{Earlier, GiveUp, Seen};
use crate::capture::frame::{Place, Timestamp};
use crate::packet::{DecodeError, Fragment, FragmentKey, Payload, parse_fragmented};

/// The largest packet in bytes: IPv4 counts its header, of 20 bytes at least (RFC 791 section 3.1), IPv6 does not
/// (RFC 8200 section 3).
const MAX_PACKET: usize = 65_535;
const IPV4_HEADER: usize = 20;

/// What fragments carried, put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// That of the fragment that completed it; of a datagram that was given up, that of its first fragment.
    pub time: Timestamp,
    /// Where it was seen.
    pub place: Option<Place>,
    /// The first fragment's.
    pub key: FragmentKey,
    /// The first fragment's.
    pub hop_limit: u8,
    /// As the caller judged the first fragment.
    pub to_server: bool,
    /// Bytes that are missing behind `bytes`; 1 where nobody knows how many.
    pub missing: usize,
    /// From the beginning on without a gap, with the transport header.
    pub bytes: Vec<u8>,
}

impl Datagram {
    /// Reads the headers above IP.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]: they cannot be read, or promise more than a whole datagram has.
    pub fn payload(&self) -> Result<Payload<'_>, DecodeError> {
        let payload = parse_fragmented(&self.key, self.hop_limit, &self.bytes, self.missing)?;
        if self.missing == 0 && payload.missing > 0 {
            return Err(DecodeError::Inconsistent("UDP"));
        }
        Ok(payload)
    }
}

/// What the first fragment said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning {
    time: Timestamp,
    place: Option<Place>,
    key: FragmentKey,
    hop_limit: u8,
    pub(super) to_server: bool,
}

impl Beginning {
    pub(super) fn new(time: Timestamp, place: Option<&Place>, first: &Fragment<'_>, to_server: bool) -> Self {
        Self { time, place: place.copied(), key: first.key, hop_limit: first.hop_limit, to_server }
    }

    fn datagram(self, seen: Seen, missing: usize, bytes: Vec<u8>) -> Datagram {
        let Self { key, hop_limit, to_server, .. } = self;
        let Seen { time, place } = seen;
        Datagram { time, place, key, hop_limit, to_server, missing, bytes }
    }
}

/// A piece of the datagram, in bytes.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: u32,
    /// Where it ends in the packet that the sender sent.
    end: u32,
    /// Where its bytes stand in [`Open::bytes`].
    at: u32,
    /// How many of them there are: fewer than the piece is long where the source cut it.
    held: u32,
}

impl Piece {
    fn bytes<'a>(&self, all: &'a [u8]) -> &'a [u8] {
        all.get(self.at as usize..(self.at + self.held) as usize).unwrap_or_default()
    }

    fn is_cut(&self) -> bool {
        self.held < self.end - self.start
    }
}

/// What adding a fragment changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// A part, and there is more to come.
    Part,
    /// The same as before.
    Duplicate,
    /// Nothing more is to come.
    Last,
}

/// A datagram that waits for fragments.
#[derive(Debug)]
pub(super) struct Open {
    /// The time of the fragment that came first, whichever it was.
    pub(super) created: Timestamp,
    /// Known once the first fragment was seen.
    pub(super) beginning: Option<Beginning>,
    /// Fragments that came before it.
    pub(super) undecided: Earlier,
    /// It will never be whole, for this reason.
    discarded: Option<GiveUp>,
    /// Length of the whole in bytes, known once the last fragment was seen.
    total: Option<u32>,
    /// By their start; none overlaps another.
    pieces: Vec<Piece>,
    /// The pieces' bytes in the order in which they came, which nearly always is that of the datagram.
    bytes: Vec<u8>,
}

impl Open {
    pub(super) fn new(created: Timestamp) -> Self {
        Self {
            created,
            beginning: None,
            undecided: Earlier::default(),
            discarded: None,
            total: None,
            pieces: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Memory that it takes beside its own fixed size, in bytes.
    pub(super) fn cost(&self) -> usize {
        self.bytes.capacity() + self.pieces.capacity() * size_of::<Piece>()
    }

    /// Throws away what it holds, and whatever comes later of it.
    pub(super) fn discard(&mut self, reason: GiveUp) {
        self.discarded = Some(reason);
        self.pieces = Vec::new();
        self.bytes = Vec::new();
    }

    /// Puts a fragment into its place, unless it contradicts the others.
    pub(super) fn add(&mut self, fragment: &Fragment<'_>) -> Result<Added, GiveUp> {
        if let Some(reason) = self.discarded {
            return Err(reason);
        }
        let (start, end) = range_of(fragment).ok_or(GiveUp::Inconsistent)?;
        let furthest = self.pieces.last().map_or(0, |piece| piece.end);
        let contradicts = match self.total {
            Some(total) if fragment.more => end >= total,
            Some(total) => end != total,
            None => !fragment.more && furthest >= end,
        };
        if contradicts {
            return Err(GiveUp::Inconsistent);
        }
        let index = self.pieces.partition_point(|piece| piece.start < start);
        if index > 0 && self.pieces[index - 1].end > start {
            return Err(GiveUp::Overlap);
        }
        if let Some(next) = self.pieces.get(index).filter(|next| next.start < end) {
            let common = fragment.bytes.iter().zip(next.bytes(&self.bytes));
            let same =
                (next.start, next.end) == (start, end) && common.into_iter().all(|(new, old)| new == old);
            return if same { Ok(Added::Duplicate) } else { Err(GiveUp::Overlap) };
        }
        // Both fit into 32 bits: they are part of at most 64 KiB.
        let (at, held) = (self.bytes.len() as u32, fragment.bytes.len() as u32);
        self.pieces.insert(index, Piece { start, end, at, held });
        self.bytes.extend_from_slice(fragment.bytes);
        if !fragment.more {
            self.total = Some(end);
        }
        Ok(if self.is_covered() { Added::Last } else { Added::Part })
    }

    /// Every fragment was seen, though perhaps not to its end. None overlaps another, so their lengths tell.
    fn is_covered(&self) -> bool {
        let covered = || self.pieces.iter().map(|piece| piece.end - piece.start).sum::<u32>();
        self.total.is_some_and(|total| total == covered())
    }

    /// One number per piece, made of its start, whether others follow, and its bytes.
    pub(super) fn pieces_by(&self, number: impl Fn(usize, bool, &[u8]) -> u64) -> Vec<u64> {
        let more = |piece: &Piece| self.total != Some(piece.end);
        let of = |piece: &Piece| number(piece.start as usize, more(piece), piece.bytes(&self.bytes));
        self.pieces.iter().map(of).collect()
    }

    /// What was put together, with the time and place of the fragment that completed it; `None` only without the first.
    pub(super) fn into_complete(mut self, seen: Seen) -> Option<Datagram> {
        let beginning = self.beginning?;
        let (bytes, missing) = self.take_beginning();
        Some(beginning.datagram(seen, missing, bytes))
    }

    /// What was seen from the beginning on; `None` where that was not, or where nothing of it may be used.
    pub(super) fn into_beginning(mut self) -> Option<Datagram> {
        let beginning = self.beginning?;
        let (bytes, missing) = self.take_beginning();
        let seen = Seen { time: beginning.time, place: beginning.place };
        Some(beginning.datagram(seen, missing.max(1), bytes))
    }

    /// The bytes up to the first gap, and how many are missing behind them.
    fn take_beginning(&mut self) -> (Vec<u8>, usize) {
        let mut end = 0;
        let mut in_order = true;
        let mut used = 0;
        for piece in &self.pieces {
            if piece.start != end {
                break;
            }
            in_order &= piece.at == piece.start;
            used += 1;
            end = piece.start + piece.held;
            if piece.is_cut() {
                break;
            }
        }
        let missing = self.total.map_or(1, |total| total.saturating_sub(end) as usize);
        let mut bytes = std::mem::take(&mut self.bytes);
        if in_order {
            bytes.truncate(end as usize);
        } else {
            let parts: Vec<&[u8]> = self.pieces.iter().take(used).map(|piece| piece.bytes(&bytes)).collect();
            bytes = parts.concat();
        }
        (bytes, missing)
    }
}

/// From where to where in the datagram; `None` where no sender cuts like this (RFC 791 section 3.2, RFC 8200
/// section 4.5): nothing, beyond the largest packet, or a length that the next one's offset cannot follow.
fn range_of(fragment: &Fragment<'_>) -> Option<(u32, u32)> {
    let length = fragment.bytes.len() + fragment.missing;
    let end = fragment.offset + length;
    let most = if fragment.key.source.is_ipv4() { MAX_PACKET - IPV4_HEADER } else { MAX_PACKET };
    let fits = length > 0 && end <= most && (!fragment.more || length.is_multiple_of(8));
    fits.then_some((fragment.offset as u32, end as u32))
}
