//! Frames from a plain pcap file: micro- and nanosecond stamps, both byte orders, Ethernet and raw IP.

use std::fs::File;
use std::io::{Chain, Cursor, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pcap_file::pcap::PcapReader;
use pcap_file::{DataLink, PcapError, TsResolution};
use thiserror::Error;

use super::Drained;
use super::frame::{Frame, LinkType, Timestamp};

/// Why a file cannot be read.
#[derive(Debug, Error)]
pub enum PcapFileError {
    /// It cannot be opened.
    #[error("failed to open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is no pcap file.
    #[error("{} is no pcap file{hint}", path.display())]
    NotPcap {
        /// The file.
        path: PathBuf,
        /// What it seems to be, and the way out.
        hint: &'static str,
    },
    /// Its link type is not read here.
    #[error("{}: link type {number} is not read here (Ethernet is 1, raw IP is 101)", path.display())]
    LinkType {
        /// The file.
        path: PathBuf,
        /// Its number (LINKTYPE_…).
        number: u32,
    },
}

/// Frames from a file.
pub struct PcapFileSource {
    reader: PcapReader<Chain<Cursor<Vec<u8>>, File>>,
    link_type: LinkType,
    nanoseconds: bool,
    /// What was wrong at the end, for a person.
    trouble: Option<String>,
    ended: bool,
    records: u64,
}

impl PcapFileSource {
    /// Opens `path` and reads its header.
    pub fn open(path: &Path) -> Result<Self, PcapFileError> {
        let open_error = |source| PcapFileError::Open { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(open_error)?;
        // A pipe can be read once: the first bytes are put back before the rest.
        let magic = first_bytes(&mut file).map_err(open_error)?;
        let whole = Cursor::new(magic.clone()).chain(file);
        let reader = PcapReader::new(whole)
            .map_err(|_| PcapFileError::NotPcap { path: path.to_owned(), hint: hint(&magic) })?;
        let header = reader.header();
        let link_type = match header.datalink {
            DataLink::ETHERNET => LinkType::Ethernet,
            DataLink::RAW | DataLink::IPV4 | DataLink::IPV6 | DataLink::Unknown(12 | 14) => LinkType::RawIp,
            other => return Err(PcapFileError::LinkType { path: path.to_owned(), number: other.into() }),
        };
        let nanoseconds = header.ts_resolution == TsResolution::NanoSecond;
        Ok(Self { reader, link_type, nanoseconds, trouble: None, ended: false, records: 0 })
    }

    /// Delivers up to `most` frames.
    pub fn drain(&mut self, most: usize, deliver: &mut dyn FnMut(&Frame<'_>)) -> Drained {
        for _ in 0..most {
            let record = match self.reader.next_raw_packet() {
                None => return self.end(None),
                Some(Err(PcapError::IncompleteBuffer)) => {
                    return self.end(Some("the last record is cut off".to_owned()));
                }
                Some(Err(PcapError::IoError(error))) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return self.end(Some("the last record is cut off".to_owned()));
                }
                Some(Err(error)) => return self.end(Some(error.to_string())),
                Some(Ok(record)) => record,
            };
            self.records += 1;
            let fraction = u64::from(record.ts_frac) * if self.nanoseconds { 1 } else { 1_000 };
            deliver(&Frame {
                time: Timestamp::from_nanos(u64::from(record.ts_sec) * 1_000_000_000 + fraction),
                place: None,
                link_type: self.link_type,
                original_length: record.orig_len,
                vlan: None,
                bytes: &record.data,
            });
        }
        Drained::More
    }

    fn end(&mut self, trouble: Option<String>) -> Drained {
        if !self.ended {
            self.ended = true;
            self.trouble = trouble.map(|what| format!("{what} (after {} whole records)", self.records));
        }
        Drained::Ended
    }

    /// What was wrong with the file, if anything; all that stood before it was used.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}

/// How far the watermark of a file stays behind its latest frame: records may be slightly out of order.
pub const FILE_LAG: Duration = Duration::from_millis(10);

/// Up to four bytes; a shorter file gives fewer.
fn first_bytes(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(4).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a file that is no pcap may be.
fn hint(magic: &[u8]) -> &'static str {
    match magic {
        [0x0a, 0x0d, 0x0d, 0x0a] => ", but pcapng; to convert it: tcpdump -r FILE -w FILE.pcap",
        [0x1f, 0x8b, ..] => ", but gzip; unpack it first",
        [0x28, 0xb5, 0x2f, 0xfd] => ", but zstd; unpack it first",
        [] => ": it is empty",
        _ => ": its first bytes are no pcap magic number",
    }
}
