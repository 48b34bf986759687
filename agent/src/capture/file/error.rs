//! Why a file cannot be read, and the way out.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::link_types::{NOT_READ, Named};
use super::shown;

/// Why a file cannot be read.
#[derive(Debug, Error)]
pub enum PcapFileError {
    /// It cannot be opened.
    #[error("failed to open {}{advice}", shown(path))]
    Open {
        /// The file.
        path: PathBuf,
        /// The way out, if there is one.
        advice: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// It is a directory.
    #[error("{} is a directory; name a capture file in it", shown(path))]
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// Standard input is a keyboard.
    #[error(
        "standard input is a terminal; give it a capture: tcpdump -i any -U -w - port 53 | nslookout -r -"
    )]
    Terminal,
    /// Its content is not what is read here.
    #[error("{}{flaw}", shown(path))]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        flaw: Flaw,
    },
}

impl PcapFileError {
    /// `path` cannot be opened or read.
    pub(super) fn open(path: &Path, source: io::Error) -> Self {
        let advice = match source.kind() {
            io::ErrorKind::PermissionDenied => {
                " (its owner or root may; or let them feed it: sudo cat FILE | nslookout -r -)"
            }
            _ => "",
        };
        Self::Open { path: path.to_owned(), advice, source }
    }
}

/// What is wrong with the beginning of a capture; the text follows the name of the file.
#[derive(Debug, Error)]
pub enum Flaw {
    /// Its first bytes announce no capture.
    #[error("{} is no capture{hint}", packed(*packing))]
    NoCapture {
        /// What it may be, and the way out.
        hint: &'static str,
        /// What it was packed by.
        packing: Option<&'static str>,
    },
    /// It ends in its header.
    #[error(": the header of the capture is cut off")]
    Header,
    /// Of a version that is not read here.
    #[error(": {0} version {1}.{2} is not read here")]
    Version(&'static str, u16, u16),
    /// Of a link type that is not read here.
    #[error(": link type {number} {NOT_READ}", number = Named(*.0))]
    LinkType(u32),
    /// Its header violates the format.
    #[error(": {0}")]
    Broken(String),
    /// It cannot be read or unpacked.
    #[error(": {0}")]
    Unreadable(String),
}

impl Flaw {
    /// Reading failed in the beginning.
    pub(super) fn unreadable(packing: Option<&'static str>, error: io::Error) -> Self {
        Self::Unreadable(reading(packing, &error))
    }

    /// With the name of the file.
    pub(super) fn of(self, path: &Path) -> PcapFileError {
        PcapFileError::Content { path: path.to_owned(), flaw: self }
    }
}

/// `: what is packed by gzip in it`, in a sentence that goes on.
fn packed(packing: Option<&'static str>) -> String {
    packing.map(|packing| format!(" is {packing}, but what is packed in it")).unwrap_or_default()
}

/// Why reading ended before the input did.
pub(super) fn reading(packing: Option<&'static str>, error: &io::Error) -> String {
    match packing {
        Some(packing) if error.kind() == io::ErrorKind::UnexpectedEof => {
            format!("the {packing} data are cut off")
        }
        // The words of zstd itself, which gives no other sign.
        Some("zstd") if error.to_string().contains("too much memory") => {
            "the zstd data want a window of more than 8 MiB; unpack it: \
             zstd -dc --long=31 FILE | nslookout -r -"
                .to_owned()
        }
        Some(packing) => format!("the {packing} data are broken: {error}"),
        None => format!("failed to read: {error}"),
    }
}

/// What something that is no capture may be, by its first bytes, and the way out.
pub(super) fn hint(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => ": it is empty",
        [_] | [_, _] | [_, _, _] => ": it is too short for one",
        [0xfd, b'7', b'z', b'X', ..] => ", but xz; unpack it: xz -dc FILE | nslookout -r -",
        [b'B', b'Z', b'h', ..] => ", but bzip2; unpack it: bzip2 -dc FILE | nslookout -r -",
        [0x04, 0x22, 0x4d, 0x18, ..] => ", but lz4; unpack it: lz4 -dc FILE | nslookout -r -",
        [b'P', b'K', 3, 4, ..] => ", but zip; unpack it: unzip -p FILE | nslookout -r -",
        [b's', b'n', b'o', b'o', b'p', 0, ..]
        | [b'R', b'T', b'S', b'S', ..]
        | [b'G', b'M', b'B', b'U', ..]
        | [b'X', b'C', b'P', 0, ..] => {
            ", but of another analyser; convert it: editcap -F pcapng FILE FILE.pcapng"
        }
        text if is_text(text) => ", but text; tcpdump writes captures with -w FILE",
        _ => ": its first bytes announce neither pcap nor pcapng (both may be packed by gzip or zstd)",
    }
}

/// Could a person read it?
fn is_text(bytes: &[u8]) -> bool {
    let readable = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..);
    bytes.iter().take(256).all(readable)
}
