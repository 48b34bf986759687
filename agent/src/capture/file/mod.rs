//! Frames from a capture file or a pipe: pcap and pcapng, also packed by gzip or zstd.
//!
//! Input: a path or standard input. Output: [`Frame`], and lines about what could not be used. What a file is, its
//! content tells, never its name. Whatever the bytes are, nothing panics, and memory is bounded: 512 KiB of a file
//! are held at once, a window of 8 MiB for each layer of zstd (three at most), and what is said beside the packets: up to
//! 256 bytes of the name of an interface, of up to 65,536 of them in a section, and what [`super::recorded`] keeps.
//! Deliberately absent: seeking, so that a pipe is as good as a file; looking for the next good record behind a
//! broken one, which would guess.
//!
//! Both formats are read here and by no library: pcap-file 2.0 takes every stamp of pcapng for nanoseconds, whatever the
//! interface says; pcap-parser 0.17 knows neither times in powers of two nor offsets of big-endian files. Both
//! allocate for a packet's options.

mod clock;
mod error;
mod link_types;
mod options;
mod pcap;
mod pcapng;
mod skipped;
mod unpack;
mod window;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use error::{Flaw, PcapFileError};
pub use options::Options;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Drained;
use super::counters::CaptureCounters;
use super::frame::{Frame, LinkType, Timestamp};
use super::recorded::Recorded;
use crate::identity::facts::Fact;
use pcap::Pcap;
use pcapng::Pcapng;
use unpack::unpack;
use window::{Patience, Stop, Window};

/// The largest packet in bytes, as libpcap has it (MAXIMUM_SNAPLEN); a record that claims more is none.
const LARGEST_PACKET: u32 = 262_144;

/// How far the watermark of a file stays behind its latest frame: records may be slightly out of order.
pub const FILE_LAG: Duration = Duration::from_millis(10);

/// Which file on a disk it is, whatever its names are (stat(2): a device and an inode on it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Of an open file; `None`: a pipe, a terminal or a device, which loses nothing that is written to it.
    ///
    /// # Errors
    ///
    /// The system cannot tell.
    pub fn of(file: &File) -> io::Result<Option<Self>> {
        let metadata = file.metadata()?;
        Ok(metadata.is_file().then(|| Self { device: metadata.dev(), inode: metadata.ino() }))
    }
}

/// Frames from a file.
pub struct PcapFileSource {
    window: Window,
    format: Format,
    notes: Recorded,
    packing: Option<&'static str>,
    /// The file that is read, where it is one on a disk.
    id: Option<FileId>,
    /// What was wrong at the end, for a person.
    trouble: Option<String>,
    ended: bool,
    records: u64,
}

enum Format {
    Pcap(Pcap),
    Pcapng(Pcapng),
}

impl PcapFileSource {
    /// Opens `path` (`-`: standard input) and reads its header, for which it waits.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or is no capture of a link type that is read here.
    pub fn open(path: &Path) -> Result<Self, PcapFileError> {
        Self::open_until(path, &Arc::default())
    }

    /// As [`PcapFileSource::open`]; a pipe ends once `stop` is set.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open_until(path: &Path, stop: &Arc<AtomicBool>) -> Result<Self, PcapFileError> {
        let named = PathBuf::from(display_name(path));
        let open_error = |source: io::Error| PcapFileError::open(&named, source);
        let file = open_file(path).map_err(open_error)?;
        if file.is_terminal() {
            return Err(PcapFileError::Terminal);
        }
        if file.metadata().map_err(open_error)?.is_dir() {
            return Err(PcapFileError::Directory { path: named });
        }
        let id = FileId::of(&file).map_err(open_error)?;
        let pipe =
            if id.is_some() { None } else { Some(file.as_fd().try_clone_to_owned().map_err(open_error)?) };
        let input: Box<dyn io::Read + Send> = match pipe {
            None => Box::new(file),
            Some(_) => Box::new(Pipe { file, stop: Arc::clone(stop) }),
        };
        let mut this = Self::read(input).map_err(|flaw| flaw.of(&named))?;
        this.id = id;
        this.window.set_patience(match (pipe, this.packing) {
            (None, _) => Patience::Always,
            (Some(fd), None) => Patience::Ready(fd),
            (Some(_), Some(_)) => Patience::UntilFirst { handed_out: false },
        });
        Ok(this)
    }

    /// Reads the header of a capture; `input` is waited for.
    ///
    /// # Errors
    ///
    /// It is no capture of a link type that is read here.
    pub fn read(input: Box<dyn io::Read + Send>) -> Result<Self, Flaw> {
        let unpacked = unpack(input).map_err(|(packing, error)| Flaw::unreadable(packing, error))?;
        let packing = unpacked.packing;
        let mut window = Window::new(unpacked.input);
        let format = match unpacked.first.first_chunk::<4>() {
            Some(first) if u32::from_be_bytes(*first) == pcapng::SECTION => {
                Pcapng::open(&mut window).map(Format::Pcapng)
            }
            Some(first) => match pcap::magic(*first) {
                Some(magic) => Pcap::open(&mut window, magic).map(Format::Pcap),
                None => {
                    // A few bytes more tell text from others; as many as a header has, for which a capture waits too.
                    let _ = window.need(24);
                    Err(Flaw::NoCapture { hint: error::hint(window.bytes()), packing })
                }
            },
            None => Err(Flaw::NoCapture { hint: error::hint(&unpacked.first), packing }),
        };
        // The header is missing because reading failed: then that is to be told.
        let format = match (format, window.take_error()) {
            (Err(_), Some(error)) => Err(Flaw::unreadable(packing, error)),
            (format, _) => format,
        }?;
        Ok(Self {
            window,
            format,
            notes: Recorded::default(),
            packing,
            id: None,
            trouble: None,
            ended: false,
            records: 0,
        })
    }

    /// Delivers up to `most` frames, and ends early where a recording tells its counters: see
    /// [`PcapFileSource::take_reading`]. A pipe that has nothing to read now is [`Drained::Empty`].
    pub fn drain(&mut self, most: usize, deliver: &mut dyn FnMut(&Frame<'_>)) -> Drained {
        if self.ended {
            return Drained::Ended;
        }
        self.window.set_handed_out(false);
        for delivered in 0..most {
            let next = match &mut self.format {
                Format::Pcap(pcap) => pcap.next(&mut self.window),
                Format::Pcapng(pcapng) => pcapng.next(&mut self.window, &mut self.notes),
            };
            match next {
                Ok(frame) => deliver(&frame),
                Err(Stop::Later) if delivered == 0 => return Drained::Empty,
                Err(Stop::Later) => break,
                Err(Stop::Reading) => return Drained::More,
                Err(stop) => return self.end(stop),
            }
            self.records += 1;
            self.window.set_handed_out(true);
        }
        Drained::More
    }

    fn end(&mut self, stop: Stop) -> Drained {
        self.ended = true;
        let what = match (stop, self.window.take_error()) {
            (_, Some(error)) => Some(error::reading(self.packing, &error)),
            (Stop::End | Stop::Later | Stop::Reading, None) => None,
            (Stop::Cut, None) => Some("the last record is cut off".to_owned()),
            (Stop::Broken { offset, what }, None) => Some(format!("broken at byte {offset}: {what}")),
        };
        self.trouble = what.map(|what| self.after_records(&what));
        Drained::Ended
    }

    fn after_records(&self, what: &str) -> String {
        let plural = if self.records == 1 { "" } else { "s" };
        format!("{what} (after {} whole record{plural})", self.records)
    }

    /// What was wrong with the file, one line each; all that stood before it was used.
    pub fn trouble(&self) -> Vec<String> {
        let skipped = match &self.format {
            Format::Pcap(_) => Vec::new(),
            Format::Pcapng(pcapng) => pcapng.skipped().lines(),
        };
        let early = (!self.ended).then(|| self.after_records("reading was ended early"));
        self.trouble.iter().cloned().chain(early).chain(skipped).chain(self.notes.trouble()).collect()
    }

    /// What a recording says beside its packets, as far as it was read.
    pub fn recorded(&self) -> &Recorded {
        &self.notes
    }

    /// What a recording counted until then, if a reading was met since the last call.
    pub fn take_reading(&mut self) -> Option<(Timestamp, CaptureCounters)> {
        self.notes.take_reading()
    }

    /// What a recording told of who is who since the last call, with the time when that was learnt.
    pub fn take_facts(&mut self) -> VecDeque<(Timestamp, Fact)> {
        self.notes.take_facts()
    }

    /// The file that is read; `None` for a pipe.
    pub fn id(&self) -> Option<FileId> {
        self.id
    }

    /// The link type of all packets; `None` for pcapng, where only all of it would tell.
    pub fn link_type(&self) -> Option<LinkType> {
        match &self.format {
            Format::Pcap(pcap) => Some(pcap.link_type()),
            Format::Pcapng(_) => None,
        }
    }

    /// What becomes readable when more can be drained; `None`: draining waits for it.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.window.fd()
    }
}

/// The link type of all packets of a file, which is read to its end for that; `None`: there are several, or it is no
/// file on a disk, and can be read but once.
pub fn one_link_type(path: &Path) -> io::Result<Option<LinkType>> {
    if path == Path::new("-") || !std::fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let Ok(mut source) = PcapFileSource::open(path) else { return Ok(None) };
    let (mut first, mut several) = (None, false);
    let mut look = |frame: &Frame<'_>| several |= *first.get_or_insert(frame.link_type) != frame.link_type;
    while source.drain(usize::MAX, &mut look) != Drained::Ended {}
    Ok(first.filter(|_| !several))
}

/// What a person calls the file.
pub fn display_name(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { shown(path) }
}

/// Does a terminal obey it instead of showing it: control characters, and those that turn the direction of writing
/// (Unicode's bidirectional algorithm, UAX 9) or are not seen?
pub fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A path on one line: what a terminal would obey, or begin a new line at, is escaped; an empty one is named.
pub fn shown(path: &Path) -> String {
    if path.as_os_str().is_empty() {
        return "the file with the empty name".to_owned();
    }
    let text = path.to_string_lossy();
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_obeyed(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// A pipe that is waited for until it is no longer wanted.
struct Pipe {
    file: File,
    stop: Arc<AtomicBool>,
}

impl io::Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let turn = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        while !self.stop.load(Ordering::Relaxed) {
            // What is neither readable nor over in this turn may be in the next; a failure, reading will tell.
            if !matches!(
                poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&turn)),
                Ok(0) | Err(rustix::io::Errno::INTR)
            ) {
                return self.file.read(buffer);
            }
        }
        Ok(0)
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    if path == Path::new("-") {
        return Ok(io::stdin().as_fd().try_clone_to_owned()?.into());
    }
    File::open(path)
}

#[cfg(test)]
mod tests;
