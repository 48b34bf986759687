//! Bytes of a stream with their numbers, and those that wait behind holes.

use super::Seen;

/// Runs of bytes behind holes that one stream keeps at most.
const MAX_PIECES: usize = 64;

/// How far `to` lies behind `from`; sequence numbers wrap (RFC 9293 section 3.4).
pub(super) fn distance(to: u32, from: u32) -> i32 {
    to.wrapping_sub(from) as i32
}

/// Consecutive bytes of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a> {
    /// Number of the first byte.
    pub(super) at: u32,
    /// What was captured.
    pub(super) bytes: &'a [u8],
    /// Bytes behind these that were not.
    pub(super) missing: usize,
}

impl<'a> Segment<'a> {
    fn length(&self) -> usize {
        self.bytes.len() + self.missing
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length() == 0
    }

    /// Number of the byte behind the last.
    pub(super) fn end(&self) -> u32 {
        self.at.wrapping_add(self.length() as u32)
    }

    /// Without what lies before `position`.
    pub(super) fn after(self, position: u32) -> Self {
        let old = distance(position, self.at).max(0) as usize;
        let bytes = self.bytes.get(old..).unwrap_or_default();
        let missing = self.missing.saturating_sub(old.saturating_sub(self.bytes.len()));
        Self { at: self.at.wrapping_add(old as u32), bytes, missing }
    }

    /// Without what lies behind `position`.
    pub(super) fn before(self, position: u32) -> Self {
        let most = distance(position, self.at).max(0) as usize;
        let bytes: &'a [u8] = self.bytes.get(..most).unwrap_or(self.bytes);
        Self { at: self.at, bytes, missing: self.missing.min(most - bytes.len()) }
    }
}

/// Bytes behind a hole.
#[derive(Debug)]
pub(super) struct Piece {
    /// Number of the first byte.
    at: u32,
    bytes: Vec<u8>,
    /// Bytes behind these that the capture cut off.
    missing: usize,
    /// The last segment that brought a part.
    pub(super) seen: Seen,
}

impl Piece {
    pub(super) fn segment(&self) -> Segment<'_> {
        Segment { at: self.at, bytes: &self.bytes, missing: self.missing }
    }

    /// Number of the byte behind the last that is known.
    fn end(&self) -> u32 {
        self.at.wrapping_add(self.bytes.len() as u32)
    }
}

/// What one stream keeps behind its holes: in order, apart from each other.
#[derive(Debug, Default)]
pub(super) struct Pieces(Vec<Piece>);

impl Pieces {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// No more pieces are kept, however small.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MAX_PIECES
    }

    /// Number of the first byte: where the first hole ends.
    pub(super) fn first(&self) -> Option<u32> {
        self.0.first().map(|piece| piece.at)
    }

    /// All bytes.
    pub(super) fn length(&self) -> usize {
        self.0.iter().map(|piece| piece.bytes.len()).sum()
    }

    /// Bytes of memory behind them.
    pub(super) fn memory(&self) -> usize {
        let bytes: usize = self.0.iter().map(|piece| piece.bytes.capacity()).sum();
        bytes + self.0.capacity() * size_of::<Piece>()
    }

    /// Takes the first piece, if it begins at `position` or before.
    pub(super) fn take_first(&mut self, position: u32) -> Option<Piece> {
        self.first().filter(|&first| distance(first, position) <= 0)?;
        let piece = self.0.remove(0);
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
        Some(piece)
    }

    /// Takes all of them.
    pub(super) fn take(&mut self) -> Vec<Piece> {
        std::mem::take(&mut self.0)
    }

    /// Keeps the bytes of a segment that are not kept yet; says whether there were any. What was kept first wins.
    ///
    /// `position`: a number before all pieces.
    pub(super) fn keep(&mut self, segment: Segment<'_>, seen: Seen, position: u32) -> bool {
        let mut parts: Vec<Segment<'_>> = Vec::new();
        let mut rest = Segment { missing: 0, ..segment };
        for piece in &self.0 {
            let uncovered = rest.before(piece.at);
            if !uncovered.is_empty() {
                parts.push(uncovered);
            }
            rest = rest.after(piece.end());
        }
        // That bytes are missing is worth a piece too, where nobody has said so.
        let bytes_end = segment.at.wrapping_add(segment.bytes.len() as u32);
        let covers = |piece: &Piece| {
            distance(piece.at, bytes_end) <= 0 && distance(piece.segment().end(), segment.end()) >= 0
        };
        let cut = segment.missing > 0 && !self.0.iter().any(covers);
        if !rest.is_empty() || cut {
            parts.push(rest);
        }
        let new = !parts.is_empty();
        let last = parts.len();
        for (number, part) in (1..).zip(parts) {
            let missing = if cut && number == last { segment.missing } else { 0 };
            self.0.push(Piece { at: part.at, bytes: part.bytes.to_vec(), missing, seen });
        }
        self.0.sort_by_key(|piece| distance(piece.at, position));
        self.merge();
        new
    }

    /// Joins pieces without a hole between them.
    fn merge(&mut self) {
        let mut index = 0;
        while let Some(next) = self.0.get(index + 1) {
            if self.0[index].end() != next.at {
                index += 1;
                continue;
            }
            let next = self.0.remove(index + 1);
            let piece = &mut self.0[index];
            piece.bytes.extend_from_slice(&next.bytes);
            piece.missing = next.missing;
            piece.seen = piece.seen.later(next.seen);
        }
    }
}
