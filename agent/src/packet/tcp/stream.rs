//! One direction of a connection: which of its bytes are known, and which messages they hold.

use super::framing::{HEADER, Looks, PREFIX, announced, looks, split_message};
use super::pieces::{Pieces, Segment, distance};
use super::{Context, GiveUp, Placed, Seen, StreamLimits};
use crate::capture::frame::Timestamp;

/// A segment this many bytes from where the stream stands cannot belong to it: no window of a DNS connection is that
/// large.
const WILD: u32 = 16 << 20;

/// RST this many bytes from where the stream stands is none of it: one message of the largest size, and its prefix. The
/// receiver wants the very number (RFC 5961 section 3.2), but may have seen more than we.
const NEAR: u32 = 64 << 10;

/// Does the stream know where messages begin?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    /// Nothing was seen of it.
    #[default]
    New,
    /// No.
    Lost,
    /// A message seems to have begun at `next`; it tells when it is whole.
    Tentative,
    /// One begins at `next`.
    In,
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Stream {
    step: Step,
    /// SYN was seen: nothing comes before `from`.
    begun: bool,
    /// Number of the first byte that was seen.
    from: u32,
    /// The receiver has the bytes up to here: kept where nothing tells where messages begin.
    received: Option<u32>,
    /// Number of the first byte that is in no delivered message: where the next one begins.
    next: u32,
    /// What was left out last: nobody knows whether these bytes were seen before.
    skipped: Option<(u32, u32)>,
    /// Number of FIN: that of the byte behind the last.
    fin: Option<u32>,
    /// The receiver has the bytes up to here, and said so first at that time.
    acked: Option<(u32, Timestamp)>,
    /// The hole that begins at this number was seen first at that time.
    hole: Option<(u32, Timestamp)>,
    /// The bytes from `next` on: a message that is not whole yet, with its prefix.
    pending: Vec<u8>,
    /// The last segment that brought a part of `pending`.
    seen: Seen,
    /// Bytes behind holes.
    later: Pieces,
}

impl Stream {
    /// One whose bytes from `from` to `next` are known; a message begins at `next`.
    pub(super) fn known((from, next): (u32, u32)) -> Self {
        Self { step: Step::In, begun: true, from, next, ..Self::default() }
    }

    /// The first byte that was seen and the first that was not yet.
    pub(super) fn span(&self) -> Option<(u32, u32)> {
        (self.step != Step::New).then(|| (self.from, self.end()))
    }

    pub(super) fn is_new(&self) -> bool {
        self.step == Step::New
    }

    /// Does [`Stream::span`] tell all of it: does a message begin where the seen bytes end?
    pub(super) fn is_where_it_ends(&self) -> bool {
        self.step == Step::New || self.step == Step::In && self.pending.is_empty()
    }

    /// Did its SYN have the number before `from`?
    pub(super) fn begun_at(&self, from: u32) -> bool {
        self.begun && self.from == from
    }

    /// Was all of this seen before?
    pub(super) fn is_known(&self, segment: Segment<'_>) -> bool {
        self.step != Step::New
            && distance(segment.at, self.from) >= 0
            && distance(segment.end(), self.end()) <= 0
    }

    /// Nothing waits, for bytes or for time.
    pub(super) fn is_quiet(&self) -> bool {
        self.pending.capacity() == 0
            && self.later.is_empty()
            && self.fin.is_none()
            && self.acked.is_none()
            && self.hole.is_none()
    }

    /// Bytes of memory behind it.
    pub(super) fn memory(&self) -> usize {
        self.pending.capacity() + self.later.memory()
    }

    /// Number of the first byte that is not known, holes apart.
    fn end(&self) -> u32 {
        self.next.wrapping_add(self.pending.len() as u32)
    }

    fn is_in_step(&self) -> bool {
        matches!(self.step, Step::In | Step::Tentative)
    }

    /// All bytes up to FIN were seen, or left out.
    pub(super) fn is_over(&self) -> bool {
        self.fin.is_some_and(|fin| self.step == Step::New || distance(fin, self.end()) <= 0)
    }

    /// Is `number` near enough to be one of this stream?
    pub(super) fn plausible(&self, number: u32) -> bool {
        self.step == Step::New || distance(number, self.end()).unsigned_abs() <= WILD
    }

    /// Can RST with this number be of this stream?
    pub(super) fn may_be_reset(&self, number: u32) -> bool {
        self.step == Step::New || distance(number, self.end()).unsigned_abs() <= NEAR
    }

    /// The sender is done behind the byte before `fin`. True where bytes before it were not seen, and nothing else will
    /// tell so.
    pub(super) fn close(&mut self, fin: u32) -> bool {
        if self.plausible(fin) {
            self.fin = Some(fin);
        }
        !self.is_in_step() && self.leaps_to(fin, 0)
    }

    /// Of a stream that is not in step, where only the receiver tells what there was: does this number leave out bytes
    /// that were not seen? As many as `slack` may be none.
    fn leaps_to(&mut self, number: u32, slack: i32) -> bool {
        let end = (self.step != Step::New).then(|| self.end());
        let known = match (self.received, end) {
            (Some(received), Some(end)) if distance(end, received) > 0 => Some(end),
            (None, end) => end,
            (received, _) => received,
        };
        let ahead = known.map_or(0, |known| distance(number, known));
        if known.is_none() || ahead > 0 {
            self.received = Some(number);
        }
        ahead > slack && ahead.unsigned_abs() <= WILD
    }

    /// The receiver expects `acknowledgement` next. True where it has bytes that were not seen, and nothing else will
    /// tell so.
    pub(super) fn acknowledge(&mut self, acknowledgement: u32, now: Timestamp) -> bool {
        // FIN counts as a byte.
        let last = match self.fin {
            Some(fin) if distance(acknowledgement, fin) > 0 => fin,
            _ => acknowledgement,
        };
        let ahead = distance(last, self.end());
        // One byte more may be a FIN that was not seen.
        let only_fin = ahead == 1 && self.pending.is_empty() && self.later.is_empty();
        if self.is_in_step() && ahead > 0 && ahead.unsigned_abs() <= WILD && !only_fin {
            self.acked.get_or_insert((last, now));
        }
        !self.is_in_step() && self.leaps_to(last, 1)
    }

    /// Takes a segment that has at least one byte.
    pub(super) fn accept(&mut self, segment: Segment<'_>, context: &mut Context<'_>) -> Placed {
        let before = self.step != Step::New && distance(segment.end(), self.from) <= 0;
        match self.step {
            Step::New => {
                if self.leaps_to(segment.at, 0) {
                    context.unseen();
                }
                (self.from, self.next) = (segment.at, segment.at);
                self.join(segment, context);
                Placed::New
            }
            _ if !self.plausible(segment.at) => self.wild(segment, context),
            _ if before && !self.begun => self.alone(segment, context),
            _ if distance(segment.end(), self.end()) <= 0 => self.old(segment),
            Step::Lost => {
                self.join(segment, context);
                Placed::New
            }
            _ if distance(segment.at, self.end()) <= 0 => {
                self.in_order(segment, context);
                Placed::New
            }
            _ => self.ahead(segment, context),
        }
    }

    /// A segment that ends where the stream has been already.
    fn old(&self, segment: Segment<'_>) -> Placed {
        let unknown = self.skipped.is_some_and(|(from, to)| {
            distance(segment.at, to) < 0 && distance(segment.end(), from) > 0 && distance(to, from) > 0
        });
        if unknown { Placed::New } else { Placed::Known }
    }

    /// What does not belong here: another connection on the same ports, or an attempt to disturb.
    fn wild(&mut self, segment: Segment<'_>, context: &mut Context<'_>) -> Placed {
        if matches!(looks(segment, context), Looks::Whole) {
            self.finish(Some(GiveUp::Gap), context);
            *self = Self::default();
            return self.accept(segment, context);
        }
        context.skip(segment.bytes.len());
        Placed::New
    }

    /// A segment from before the first that was seen: it came late, and is read by itself.
    fn alone(&mut self, segment: Segment<'_>, context: &mut Context<'_>) -> Placed {
        self.from = segment.at;
        if !matches!(looks(segment, context), Looks::Whole) {
            context.skip(segment.bytes.len());
            return Placed::New;
        }
        let mut rest = segment.bytes;
        while let Some((message, behind)) = split_message(rest) {
            context.deliver(context.seen, message, message.len());
            rest = behind;
        }
        Placed::New
    }

    /// Looks for a beginning of messages in a segment; `next` must be known to be no place where one begins.
    fn join(&mut self, segment: Segment<'_>, context: &mut Context<'_>) {
        match looks(segment, context) {
            Looks::Unknown => {
                self.step = Step::Lost;
                self.next = segment.end();
                context.skip(segment.bytes.len());
            }
            Looks::Whole | Looks::Begins => {
                context.counts.joined += 1;
                self.step = Step::In;
                self.next = segment.at;
                self.feed(segment.bytes, context);
                if !self.pending.is_empty() {
                    self.step = Step::Tentative;
                }
            }
        }
    }

    /// A segment that begins where the stream stands, or before, and ends behind it.
    fn in_order(&mut self, segment: Segment<'_>, context: &mut Context<'_>) {
        let mut rest = segment.after(self.end());
        loop {
            // What was seen before wins, also over what comes to fill the hole before it.
            let part = match self.later.first() {
                Some(first) => rest.before(first),
                None => rest,
            };
            self.feed(part.bytes, context);
            if part.missing > 0 && self.is_in_step() {
                self.resolve(part.end(), context);
            } else {
                self.drain(context);
            }
            rest = rest.after(self.end());
            if !self.is_in_step() || rest.is_empty() {
                return;
            }
        }
    }

    /// A segment behind a hole.
    fn ahead(&mut self, segment: Segment<'_>, context: &mut Context<'_>) -> Placed {
        let held = self.later.length() + self.pending.len();
        let room = context.limits.max_bytes_per_stream.saturating_sub(held);
        if segment.bytes.len() > room || self.later.is_full() {
            // Nobody waits for what does not fit.
            while let Some(hole_end) = self.hole_end() {
                self.resolve(hole_end, context);
            }
            if self.is_in_step() && distance(segment.at, self.end()) > 0 {
                self.resolve(segment.at, context);
            }
            return self.accept(segment, context);
        }
        if self.later.keep(segment, context.seen, self.end()) { Placed::New } else { Placed::Known }
    }

    /// Takes the pieces that lie behind a hole no more.
    fn drain(&mut self, context: &mut Context<'_>) {
        while self.is_in_step()
            && let Some(piece) = self.later.take_first(self.end())
        {
            let part = piece.segment().after(self.end());
            context.while_seen(piece.seen, |context| self.feed(part.bytes, context));
            let behind = self.later.first().map_or(part, |first| part.before(first));
            if behind.missing > 0 && self.is_in_step() {
                self.resolve(behind.end(), context);
            }
        }
        if self.step == Step::Lost {
            self.replay(context);
        }
    }

    /// Takes bytes that follow those known so far.
    fn feed(&mut self, mut bytes: &[u8], context: &mut Context<'_>) {
        while !bytes.is_empty() {
            if self.pending.is_empty()
                && let Some((message, rest)) = split_message(bytes)
            {
                self.next = self.next.wrapping_add((PREFIX + message.len()) as u32);
                context.deliver(context.seen, message, message.len());
                bytes = rest;
                continue;
            }
            bytes = self.hold(bytes);
            self.seen = self.seen.later(context.seen);
            if announced(&self.pending).is_none_or(|length| self.pending.len() < PREFIX + length) {
                continue;
            }
            let whole = std::mem::take(&mut self.pending);
            self.next = self.next.wrapping_add(whole.len() as u32);
            let message = &whole[PREFIX..];
            if self.step == Step::Tentative && !context.plausible(message, message.len()) {
                self.step = Step::Lost;
                context.skip(whole.len());
                if !bytes.is_empty() {
                    self.join(Segment { at: self.next, bytes, missing: 0 }, context);
                }
                return;
            }
            self.step = Step::In;
            let seen = std::mem::take(&mut self.seen);
            context.deliver(seen, message, message.len());
        }
    }

    /// Moves what belongs to the pending message there, the prefix first, and gives back the rest.
    fn hold<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let held = self.pending.len();
        let whole = announced(&self.pending).map_or(PREFIX, |length| PREFIX + length);
        let (part, rest) = bytes.split_at((whole - held).min(bytes.len()));
        if held + part.len() > self.pending.capacity() {
            // A prefix alone claims no memory, and no more than the message is ever claimed.
            let wanted = (2 * self.pending.capacity()).max(held + part.len()).min(whole);
            self.pending.reserve_exact(wanted - held);
        }
        self.pending.extend_from_slice(part);
        rest
    }

    /// Where the first hole ends; none where nothing is known to come behind the known bytes.
    fn hole_end(&self) -> Option<u32> {
        let end = self.later.first().or_else(|| self.fin.filter(|&fin| distance(fin, self.end()) > 0));
        end.filter(|_| self.is_in_step())
    }

    /// The bytes up to `hole_end` will never be seen.
    fn resolve(&mut self, hole_end: u32, context: &mut Context<'_>) {
        let hole = self.end();
        let held = std::mem::take(&mut self.pending);
        (self.acked, self.hole) = (None, None);
        let message_end = announced(&held).map(|length| self.next.wrapping_add((PREFIX + length) as u32));
        let known = self.step == Step::In && self.deliver_beginning(&held, context);
        match message_end.filter(|&end| self.step == Step::In && distance(hole_end, end) <= 0) {
            Some(message_end) => {
                if !known {
                    context.give_up(GiveUp::Gap);
                }
                self.skipped = Some((hole, message_end));
                self.next = message_end;
                self.drain(context);
            }
            None => {
                match self.step {
                    Step::In => context.give_up(GiveUp::Gap),
                    _ => context.skip(held.len()),
                }
                self.skipped = Some((hole, hole_end));
                self.next = hole_end;
                self.step = Step::Lost;
                self.replay(context);
            }
        }
    }

    /// Reads the pieces anew, each by itself until one tells where messages begin.
    fn replay(&mut self, context: &mut Context<'_>) {
        for piece in self.later.take() {
            context.while_seen(piece.seen, |context| self.accept(piece.segment(), context));
        }
    }

    /// Delivers what is known of a message that will never be whole; says whether it could be read.
    fn deliver_beginning(&self, held: &[u8], context: &mut Context<'_>) -> bool {
        match (announced(held), held.get(PREFIX..)) {
            (Some(length), Some(message)) if message.len() >= HEADER => {
                context.deliver(self.seen, message, length)
            }
            _ => false,
        }
    }

    /// When to look at this stream again: once its hole is known to stay.
    pub(super) fn deadline(&mut self, now: Timestamp, limits: &StreamLimits) -> Option<Timestamp> {
        let end = self.end();
        self.hole = match (self.hole_end(), self.hole) {
            (None, _) => None,
            (Some(_), Some(hole)) if hole.0 == end => Some(hole),
            (Some(_), _) => Some((end, now)),
        };
        self.acked = self.acked.filter(|(acked, _)| self.is_in_step() && distance(*acked, end) > 0);
        let patience = self.hole.map(|(_, since)| since + limits.patience);
        let acknowledged = self.acked.map(|(_, since)| since + limits.reordering);
        [patience, acknowledged].into_iter().flatten().min()
    }

    /// Gives up the holes that will not be filled; everything before `watermark` was seen.
    pub(super) fn expire(&mut self, watermark: Timestamp, context: &mut Context<'_>) {
        let limits = context.limits;
        if let Some((acked, since)) = self.acked
            && since + limits.reordering < watermark
        {
            let first = self.later.first().filter(|&first| distance(first, acked) < 0);
            self.resolve(first.unwrap_or(acked), context);
        }
        if let Some(hole_end) = self.hole_end()
            && self.hole.is_some_and(|(at, since)| at == self.end() && since + limits.patience < watermark)
        {
            self.resolve(hole_end, context);
        }
    }

    /// Ends the stream: nothing more comes. What it holds is delivered as far as it is known.
    pub(super) fn finish(&mut self, reason: Option<GiveUp>, context: &mut Context<'_>) {
        if self.step == Step::New {
            return;
        }
        let incomplete = self.step == Step::In && !(self.pending.is_empty() && self.later.is_empty());
        if let Some(reason) = reason.filter(|_| incomplete) {
            context.give_up(reason);
        }
        let ending = std::mem::replace(&mut context.ending, true);
        while let Some(hole_end) = self.hole_end() {
            self.resolve(hole_end, context);
        }
        let held = std::mem::take(&mut self.pending);
        match self.step {
            Step::In => drop(self.deliver_beginning(&held, context)),
            _ => context.skip(held.len()),
        }
        context.ending = ending;
        self.next = self.next.wrapping_add(held.len() as u32);
        self.step = Step::Lost;
        (self.later, self.acked, self.hole) = (Pieces::default(), None, None);
    }
}
