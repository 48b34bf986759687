//! A capture of what no resolver ever sent: random bytes behind no, some or all of the right headers.

use std::fs::File;
use std::io::{self, BufWriter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use crate::generate::EPOCH_NS;
use crate::generate::packet::{self, Endpoint, Segment};
use crate::generate::pcap::PcapWriter;
use crate::generate::random::Random;

/// Between two packets: 20,000 in a second, so that waiting queries reach their time-outs too.
const PAUSE_NS: u64 = 50_000;

/// Hosts that take part; the others of the address range come once.
const HOSTS: u64 = 500;

/// Writes `count` packets, the same for the same count.
pub(super) fn write(path: &Path, count: u64) -> io::Result<()> {
    let mut writer = PcapWriter::new(BufWriter::with_capacity(1 << 20, File::create(path)?))?;
    let mut random = Random::new(count);
    for number in 0..count {
        let frame = frame(&mut random);
        writer.write(EPOCH_NS + number * PAUSE_NS, &frame)?;
    }
    writer.finish()
}

fn frame(random: &mut Random) -> Vec<u8> {
    let mut frame = match random.below(20) {
        // Not even the link header is right.
        0 => bytes(random, 1_600),
        1..=9 => {
            let (source, destination) = parties(random);
            packet::udp(&source, &destination, &body(random))
        }
        _ => {
            let (source, destination) = parties(random);
            // Numbers near each other, so that segments meet.
            let [sequence, acknowledgement] = [0; 2].map(|_| random.below(8_192) as u32);
            let segment = Segment { sequence, acknowledgement, flags: random.bits() as u8 };
            packet::tcp(&source, &destination, segment, &stream(random))
        }
    };
    match random.below(10) {
        0 => make_fragment(&mut frame, random),
        // Any three bytes become others, headers included.
        1 => {
            for _ in 0..3 {
                let at = random.below(frame.len() as u64) as usize;
                if let Some(byte) = frame.get_mut(at) {
                    *byte = random.bits() as u8;
                }
            }
        }
        2 => frame.truncate(random.below(frame.len() as u64 + 1) as usize),
        _ => {}
    }
    frame
}

/// Up to `most` random bytes, often few.
fn bytes(random: &mut Random, most: u64) -> Vec<u8> {
    let most = random.below(most + 1);
    (0..random.below(most + 1)).map(|_| random.bits() as u8).collect()
}

/// Client and server, in either direction; of either family.
fn parties(random: &mut Random) -> (Endpoint, Endpoint) {
    let host = if random.chance(9_000) { random.below(HOSTS) } else { random.below(1 << 24) };
    let (client, server) = if random.chance(5_000) {
        (
            IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | host as u32)),
            IpAddr::V4(Ipv4Addr::new(10, 255, 255, 53)),
        )
    } else {
        let client = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, (host >> 16) as u16, host as u16);
        (IpAddr::V6(client), IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0xffff, 53)))
    };
    let port = 1_024 + random.below(8) as u16;
    let client = Endpoint { mac: [2; 6], address: client, port, ttl: 64 };
    let server = Endpoint { mac: [3; 6], address: server, port: 53, ttl: 62 };
    if random.chance(5_000) { (client, server) } else { (server, client) }
}

/// Random bytes, half of them behind a header with small counts.
fn body(random: &mut Random) -> Vec<u8> {
    let mut body = bytes(random, 1_200);
    if random.chance(5_000) && body.len() >= 12 {
        let flags = if random.chance(5_000) { 0x0100_u16 } else { 0x8180 };
        body[..2].copy_from_slice(&(random.below(64) as u16).to_be_bytes());
        body[2..4].copy_from_slice(&flags.to_be_bytes());
        for count in body[4..12].chunks_exact_mut(2) {
            count.copy_from_slice(&(random.below(3) as u16).to_be_bytes());
        }
        // A short label and the root: now and then a question that can be read.
        if random.chance(5_000) && body.len() >= 19 {
            body[12..19].copy_from_slice(&[1, b'a' + random.below(26) as u8, 0, 0, 1, 0, 1]);
        }
    }
    body
}

/// A body behind a length that is right, too small or too large.
fn stream(random: &mut Random) -> Vec<u8> {
    let body = body(random);
    let length = match random.below(4) {
        0 => random.bits() as u16,
        1 => body.len() as u16 * 2,
        _ => body.len() as u16,
    };
    [&length.to_be_bytes()[..], &body].concat()
}

/// Turns the IPv4 packet of a frame into a fragment of one of few packets; others stay as they are.
fn make_fragment(frame: &mut [u8], random: &mut Random) {
    if frame.len() < 34 || frame[12..14] != [0x08, 0x00] {
        return;
    }
    let identification = random.below(256) as u16;
    let offset = if random.chance(5_000) { 0 } else { random.below(200) as u16 };
    let more = if random.chance(7_000) { 0x2000 } else { 0 };
    frame[18..20].copy_from_slice(&identification.to_be_bytes());
    frame[20..22].copy_from_slice(&(offset | more).to_be_bytes());
}
