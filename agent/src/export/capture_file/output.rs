//! One file of a recording, or standard output.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::capture::file::{self, FileId};

/// Bytes that wait for a flush at most.
const BUFFER: usize = 256 * 1024;

/// Why nothing more is recorded.
#[derive(Debug, Error)]
pub enum RecordError {
    /// Nothing can be written by that name.
    #[error("{0}")]
    Name(String),
    /// The file cannot be made.
    #[error("failed to create {}: {source}", shown(path))]
    Create {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is being read.
    #[error(
        "{} is the same file as {input}, which is being read and would be lost; give -w another name",
        shown(path)
    )]
    Input {
        /// The file.
        path: PathBuf,
        /// What the input is called.
        input: String,
    },
    /// What was captured cannot be written.
    #[error("failed to write {}: {source}", shown(path))]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl RecordError {
    /// What the system said; a reader that is gone is [`io::ErrorKind::BrokenPipe`].
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Name(_) | Self::Input { .. } => io::ErrorKind::InvalidInput,
            Self::Create { source, .. } | Self::Write { source, .. } => source.kind(),
        }
    }
}

fn shown(path: &Path) -> String {
    if path == Path::new("-") { "to standard output".to_owned() } else { file::shown(path) }
}

/// How a file is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The classic one, which holds packets alone.
    Pcap,
    /// The one that holds what else is known.
    Pcapng,
}

impl Format {
    /// What the name asks for.
    pub(super) fn by_name(path: &Path) -> Self {
        if path.extension().is_some_and(|extension| extension == "pcap") { Self::Pcap } else { Self::Pcapng }
    }
}

/// The file that packets come from, which must not be written.
#[derive(Clone, Debug)]
pub struct Input {
    /// Which one it is.
    pub id: FileId,
    /// What a person calls it.
    pub name: String,
}

/// Where blocks and records go.
pub(super) struct Output {
    path: PathBuf,
    out: BufWriter<File>,
    written: u64,
}

impl Output {
    /// Makes or empties the file, unless it is the `input`; `-` is standard output.
    pub(super) fn create(path: PathBuf, input: Option<&Input>) -> Result<Self, RecordError> {
        let opened = open(&path).and_then(|file| Ok((FileId::of(&file)?, file)));
        let (id, file) = match opened {
            Ok(opened) => opened,
            Err(source) => return Err(RecordError::Create { path, source }),
        };
        if let Some(input) = input
            && Some(input.id) == id
        {
            return Err(RecordError::Input { path, input: input.name.clone() });
        }
        // Only now, so that nothing is lost by the wrong name; standard output may be appended to what is there.
        if id.is_some()
            && path != Path::new("-")
            && let Err(source) = file.set_len(0)
        {
            return Err(RecordError::Create { path, source });
        }
        Ok(Self { path, out: BufWriter::with_capacity(BUFFER, file), written: 0 })
    }

    /// Bytes that were written, flushed or not.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|source| RecordError::Write { path: self.path.clone(), source })
    }

    pub(super) fn flush(&mut self) -> Result<(), RecordError> {
        self.out.flush().map_err(|source| RecordError::Write { path: self.path.clone(), source })
    }
}

/// Opens what is to be written, as it is.
fn open(path: &Path) -> io::Result<File> {
    if path == Path::new("-") {
        // Rust's own standard output breaks what it is given at each line feed.
        return io::stdout().as_fd().try_clone_to_owned().map(File::from);
    }
    File::options().write(true).create(true).truncate(false).open(path)
}
