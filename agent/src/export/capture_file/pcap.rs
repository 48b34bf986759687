//! The classic format (draft-ietf-opsawg-pcap), appended to a buffer: little-endian, times in nanoseconds.

use super::pcapng::Packet;

/// The magic number of nanoseconds.
const MAGIC: u32 = 0xa1b2_3c4d;

/// The header of a file.
pub(super) fn header(out: &mut Vec<u8>, link_type: u16, snaplen: u32) {
    for number in [MAGIC, 0x0004_0002, 0, 0, snaplen, link_type.into()] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// A packet. Its seconds are 32 unsigned bits: the year 2106.
pub(super) fn packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    let stamp = packet.time.as_nanos();
    let (seconds, nanoseconds) = ((stamp / 1_000_000_000) as u32, (stamp % 1_000_000_000) as u32);
    for number in [seconds, nanoseconds, packet.length() as u32, packet.original_length] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for part in packet.parts {
        out.extend_from_slice(part);
    }
}
