//! A window of bytes that moves over a file or a pipe; nothing is ever read twice, and nothing is sought.

use std::io::{self, Read};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Bytes that are held at once at most: the largest packet (256 KiB), and as much again for what describes it.
pub(super) const LARGEST_HELD: usize = 512 * 1024;
/// Bytes that are asked of the input at once; the window grows beyond only for a large block.
const USUAL: usize = 256 * 1024;

/// Why there is no next packet.
#[derive(Debug)]
pub(super) enum Stop {
    /// The input ends where a packet may begin.
    End,
    /// The input ends inside a record.
    Cut,
    /// More bytes may come, but not now.
    Later,
    /// A reading of a recording's counters was met; what follows it is read by the next call.
    Reading,
    /// The format is violated.
    Broken {
        /// Where the record begins, in bytes from the beginning of the capture (unpacked).
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
}

/// When the input may be waited for.
pub(super) enum Patience {
    /// A file on a disk: always.
    Always,
    /// A pipe: only while it has something to read.
    Ready(OwnedFd),
    /// A pipe behind a decompressor, of which nobody knows what it holds: while nothing was handed out.
    UntilFirst {
        /// A packet was handed out in this round.
        handed_out: bool,
    },
}

/// The bytes that are looked at, and where they come from.
pub(super) struct Window {
    input: Box<dyn Read + Send>,
    patience: Patience,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Where `start` stands in the input.
    offset: u64,
    /// Bytes to pass over before anything else is looked at.
    to_skip: u64,
    ended: bool,
    error: Option<io::Error>,
}

impl Window {
    /// At the beginning of `input`, which may be waited for until [`Window::set_patience`].
    pub(super) fn new(input: Box<dyn Read + Send>) -> Self {
        let buffer = vec![0; USUAL];
        let patience = Patience::Always;
        Self { input, patience, buffer, start: 0, end: 0, offset: 0, to_skip: 0, ended: false, error: None }
    }

    /// From now on.
    pub(super) fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
    }

    /// Something was handed out, or a new round begins: a decompressor may be waited for only where nothing was.
    pub(super) fn set_handed_out(&mut self, anything: bool) {
        if let Patience::UntilFirst { handed_out } = &mut self.patience {
            *handed_out = anything;
        }
    }

    /// What to wait for when [`Stop::Later`] was said; `None`: never mind.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.patience {
            Patience::Ready(fd) => Some(fd.as_fd()),
            Patience::Always | Patience::UntilFirst { .. } => None,
        }
    }

    /// Why the input could not be read to its end; once.
    pub(super) fn take_error(&mut self) -> Option<io::Error> {
        self.error.take()
    }

    /// A record that begins here and violates the format.
    pub(super) fn broken(&self, what: impl Into<String>) -> Stop {
        Stop::Broken { offset: self.offset, what: what.into() }
    }

    /// All that is held.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Reads until `count` bytes are held; at most [`LARGEST_HELD`].
    #[inline]
    pub(super) fn need(&mut self, count: usize) -> Result<(), Stop> {
        if self.to_skip == 0 && self.end - self.start >= count {
            return Ok(());
        }
        self.read_until(count)
    }

    /// The first `N` bytes.
    #[inline]
    pub(super) fn head<const N: usize>(&mut self) -> Result<&[u8; N], Stop> {
        self.need(N)?;
        self.bytes().first_chunk().ok_or(Stop::Cut)
    }

    /// Hands out `count` bytes and moves behind them; fewer where fewer are held.
    #[inline]
    pub(super) fn take(&mut self, count: usize) -> &[u8] {
        let start = self.start;
        self.start = self.end.min(start + count);
        self.offset += (self.start - start) as u64;
        &self.buffer[start..self.start]
    }

    /// Moves on by `count` bytes, however many there are, without holding them.
    pub(super) fn skip(&mut self, count: u64) {
        self.to_skip += count;
        self.pass_over();
    }

    fn pass_over(&mut self) {
        let held = (self.end - self.start) as u64;
        let passed = self.to_skip.min(held);
        self.take(passed as usize);
        self.to_skip -= passed;
    }

    #[cold]
    fn read_until(&mut self, count: usize) -> Result<(), Stop> {
        while self.to_skip > 0 || self.end - self.start < count {
            if self.ended {
                let whole = self.to_skip == 0 && self.start == self.end;
                return Err(if whole { Stop::End } else { Stop::Cut });
            }
            if !self.may_wait() {
                return Err(Stop::Later);
            }
            self.make_room(count);
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => (self.ended, self.error) = (true, Some(error)),
            }
            self.pass_over();
        }
        Ok(())
    }

    fn may_wait(&self) -> bool {
        match &self.patience {
            Patience::Always => true,
            Patience::UntilFirst { handed_out } => !handed_out,
            Patience::Ready(fd) => {
                let mut fds = [PollFd::new(fd, PollFlags::IN)];
                // A pipe that was closed at its other end is readable: it says so.
                !matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
            }
        }
    }

    /// Moves what is held to the front, and makes the window wide enough for `count` bytes.
    fn make_room(&mut self, count: usize) {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let wanted = count.min(LARGEST_HELD);
        if self.buffer.len() < wanted || self.end == self.buffer.len() {
            self.buffer.resize(LARGEST_HELD, 0);
        }
    }
}

/// The order of the bytes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The lowest first.
    Little,
    /// The highest first.
    Big,
}

impl Order {
    /// The number at `at`.
    #[inline]
    pub(super) fn u16<const N: usize>(self, bytes: &[u8; N], at: usize) -> u16 {
        let bytes = [bytes[at], bytes[at + 1]];
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    /// The number at `at`.
    #[inline]
    pub(super) fn u32<const N: usize>(self, bytes: &[u8; N], at: usize) -> u32 {
        let bytes = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }
}
