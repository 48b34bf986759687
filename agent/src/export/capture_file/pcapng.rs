//! Blocks of pcapng (draft-ietf-opsawg-pcapng), appended to a buffer: little-endian, times in nanoseconds.
//!
//! Written by hand: pcap-file 2.0 knows no custom blocks, and like pcap-parser 0.17 it wants the options of each packet
//! in a vector of their own; this is a page.

use crate::capture::frame::{Direction, Timestamp};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
/// May be copied to other files by programs that do not know it.
const CUSTOM: u32 = 0x0000_0bad;

const COMMENT: u16 = 1;
/// A custom option with text, which may be copied.
const CUSTOM_TEXT: u16 = 2988;

/// A block that is being written; [`Block::end`] gives it its length.
struct Block<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    has_options: bool,
}

impl<'a> Block<'a> {
    fn begin(out: &'a mut Vec<u8>, kind: u32) -> Self {
        let start = out.len();
        out.extend_from_slice(&kind.to_le_bytes());
        // The length, once it is known.
        out.extend_from_slice(&[0; 4]);
        Self { out, start, has_options: false }
    }

    fn u16(&mut self, number: u16) {
        self.out.extend_from_slice(&number.to_le_bytes());
    }

    fn u32(&mut self, number: u32) {
        self.out.extend_from_slice(&number.to_le_bytes());
    }

    /// Bytes, filled up to a multiple of four with `padding`.
    fn padded(&mut self, bytes: &[u8], padding: u8) {
        self.out.extend_from_slice(bytes);
        self.out.resize(self.out.len() + (bytes.len().next_multiple_of(4) - bytes.len()), padding);
    }

    /// An option; what is longer than its 16 bits of length is left out.
    fn option(&mut self, code: u16, value: &[u8]) {
        let Ok(length) = u16::try_from(value.len()) else { return };
        self.u16(code);
        self.u16(length);
        self.padded(value, 0);
        self.has_options = true;
    }

    fn end(mut self) {
        if self.has_options {
            // opt_endofopt
            self.u32(0);
        }
        let length = (self.out.len() - self.start + 4) as u32;
        self.u32(length);
        self.out[self.start + 4..self.start + 8].copy_from_slice(&length.to_le_bytes());
    }
}

/// Who wrote a section, and where.
#[derive(Clone, Debug, Default)]
pub(super) struct Author {
    /// The machine's architecture.
    pub(super) hardware: String,
    /// Its operating system.
    pub(super) system: String,
    /// The program with its version.
    pub(super) application: String,
}

/// The header of a section, whose length nobody knows.
pub(super) fn section(out: &mut Vec<u8>, author: &Author) {
    let mut block = Block::begin(out, SECTION);
    block.u32(0x1a2b_3c4d);
    block.u16(1);
    block.u16(0);
    block.u32(u32::MAX);
    block.u32(u32::MAX);
    let Author { hardware, system, application } = author;
    for (code, text) in [(2, hardware), (3, system), (4, application)] {
        if !text.is_empty() {
            block.option(code, text.as_bytes());
        }
    }
    block.end();
}

/// What is said of an interface.
pub(super) struct Interface<'a> {
    /// LINKTYPE_….
    pub(super) link_type: u16,
    pub(super) snaplen: u32,
    pub(super) name: &'a str,
    pub(super) description: &'a str,
    /// Text for whoever knows the private enterprise number.
    pub(super) custom: Option<(u32, &'a str)>,
}

/// Describes an interface; the first of a section is number 0.
pub(super) fn interface(out: &mut Vec<u8>, interface: &Interface<'_>) {
    let Interface { link_type, snaplen, name, description, custom } = interface;
    let mut block = Block::begin(out, INTERFACE);
    block.u16(*link_type);
    block.u16(0);
    block.u32(*snaplen);
    for (code, text) in [(2, name), (3, description)] {
        if !text.is_empty() {
            block.option(code, text.as_bytes());
        }
    }
    // if_tsresol: nanoseconds.
    block.option(9, &[9]);
    if let Some((enterprise, text)) = custom {
        let value = [&enterprise.to_le_bytes(), text.as_bytes()].concat();
        block.option(CUSTOM_TEXT, &value);
    }
    block.end();
}

/// A packet as it is to be written: its bytes are those of `parts`, one after the other.
pub(super) struct Packet<'a> {
    pub(super) time: Timestamp,
    pub(super) parts: [&'a [u8]; 3],
    pub(super) original_length: u32,
    pub(super) direction: Option<Direction>,
    pub(super) comment: &'a [u8],
}

impl Packet<'_> {
    pub(super) fn length(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }
}

/// A packet of interface number `interface`.
pub(super) fn packet(out: &mut Vec<u8>, interface: u32, packet: &Packet<'_>) {
    let stamp = packet.time.as_nanos();
    let length = packet.length();
    let mut block = Block::begin(out, ENHANCED_PACKET);
    block.u32(interface);
    block.u32((stamp >> 32) as u32);
    block.u32(stamp as u32);
    block.u32(length as u32);
    block.u32(packet.original_length);
    for part in packet.parts {
        block.out.extend_from_slice(part);
    }
    block.out.resize(block.out.len() + (length.next_multiple_of(4) - length), 0);
    if !packet.comment.is_empty() {
        block.option(COMMENT, packet.comment);
    }
    if let Some(direction) = packet.direction {
        // epb_flags: the two lowest bits tell inbound (1) from outbound (2).
        let flags: u32 = match direction {
            Direction::Ingress => 1,
            Direction::Egress => 2,
        };
        block.option(2, &flags.to_le_bytes());
    }
    block.end();
}

/// Text for whoever knows the private enterprise number; filled up with blanks, since a block does not say where its
/// content ends.
pub(super) fn custom(out: &mut Vec<u8>, enterprise: u32, text: &str) {
    let mut block = Block::begin(out, CUSTOM);
    block.u32(enterprise);
    block.padded(text.as_bytes(), b' ');
    block.end();
}
