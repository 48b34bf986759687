//! Writes classic pcap: Ethernet, microseconds, little-endian; the form that every tool reads.

use std::io::{self, Write};

/// LINKTYPE_ETHERNET.
const ETHERNET: u32 = 1;

/// Longer than any frame written here, and tcpdump's own default.
const SNAPLEN: u32 = 262_144;

/// A capture file that is being written.
pub struct PcapWriter<W> {
    output: W,
}

impl<W: Write> PcapWriter<W> {
    /// Writes the file header.
    pub fn new(mut output: W) -> io::Result<Self> {
        output.write_all(&0xa1b2_c3d4_u32.to_le_bytes())?;
        output.write_all(&2_u16.to_le_bytes())?;
        output.write_all(&4_u16.to_le_bytes())?;
        // Time zone and accuracy: always zero.
        output.write_all(&[0; 8])?;
        output.write_all(&SNAPLEN.to_le_bytes())?;
        output.write_all(&ETHERNET.to_le_bytes())?;
        Ok(Self { output })
    }

    /// Writes one whole frame, seen at `time_ns` since 1970.
    pub fn write(&mut self, time_ns: u64, frame: &[u8]) -> io::Result<()> {
        let mut header = [0; 16];
        let seconds = (time_ns / 1_000_000_000) as u32;
        let microseconds = (time_ns % 1_000_000_000 / 1_000) as u32;
        let length = frame.len() as u32;
        header[..4].copy_from_slice(&seconds.to_le_bytes());
        header[4..8].copy_from_slice(&microseconds.to_le_bytes());
        header[8..12].copy_from_slice(&length.to_le_bytes());
        header[12..].copy_from_slice(&length.to_le_bytes());
        self.output.write_all(&header)?;
        self.output.write_all(frame)
    }

    /// Writes out what is buffered.
    pub fn finish(mut self) -> io::Result<()> {
        self.output.flush()
    }
}
