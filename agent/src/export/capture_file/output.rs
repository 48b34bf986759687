//! One file of a recording, or standard output.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

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
            Self::Name(_) => io::ErrorKind::InvalidInput,
            Self::Create { source, .. } | Self::Write { source, .. } => source.kind(),
        }
    }
}

fn shown(path: &Path) -> String {
    if path == Path::new("-") { "to standard output".to_owned() } else { path.display().to_string() }
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

/// Where blocks and records go.
pub(super) struct Output {
    path: PathBuf,
    out: BufWriter<File>,
    written: u64,
}

impl Output {
    /// Makes or empties the file; `-` is standard output.
    pub(super) fn create(path: PathBuf) -> Result<Self, RecordError> {
        // Rust's own standard output breaks what it is given at each line feed.
        let stdout = path == Path::new("-");
        let file = if stdout {
            io::stdout().as_fd().try_clone_to_owned().map(File::from)
        } else {
            File::create(&path)
        };
        match file {
            Ok(file) => Ok(Self { path, out: BufWriter::with_capacity(BUFFER, file), written: 0 }),
            Err(source) => Err(RecordError::Create { path, source }),
        }
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
