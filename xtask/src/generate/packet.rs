//! Wraps payloads in UDP or TCP, IPv4 or IPv6, and Ethernet, with the checksums that a real host would send.

use std::net::IpAddr;

/// FIN flag of TCP.
pub const FIN: u8 = 0x01;
/// SYN flag of TCP.
pub const SYN: u8 = 0x02;
/// RST flag of TCP.
pub const RST: u8 = 0x04;
/// PSH flag of TCP.
pub const PSH: u8 = 0x08;
/// ACK flag of TCP.
pub const ACK: u8 = 0x10;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// One side of a conversation.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// The link address.
    pub mac: [u8; 6],
    /// The address; both ends are of one family.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// Time to live, or hop limit, where the packet was seen.
    pub ttl: u8,
}

/// The part of a TCP header that changes from segment to segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// FIN, SYN, PSH, ACK.
    pub flags: u8,
}

/// A frame with one UDP datagram.
pub fn udp(source: &Endpoint, destination: &Endpoint, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(8 + payload.len());
    datagram.extend(source.port.to_be_bytes());
    datagram.extend(destination.port.to_be_bytes());
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    let checksum = match transport_checksum(source, destination, UDP, &datagram) {
        // Zero would mean "no checksum" (RFC 768).
        0 => 0xffff,
        checksum => checksum,
    };
    datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
    ethernet(source, destination, UDP, &datagram)
}

/// A frame with one TCP segment; a SYN carries the maximum segment size.
pub fn tcp(source: &Endpoint, destination: &Endpoint, segment: Segment, payload: &[u8]) -> Vec<u8> {
    let options: &[u8] = if segment.flags & SYN != 0 { &[2, 4, 0x05, 0xb4] } else { &[] };
    let header_length = 20 + options.len();
    let mut bytes = Vec::with_capacity(header_length + payload.len());
    bytes.extend(source.port.to_be_bytes());
    bytes.extend(destination.port.to_be_bytes());
    bytes.extend(segment.sequence.to_be_bytes());
    bytes.extend(segment.acknowledgement.to_be_bytes());
    bytes.extend([(header_length as u8 / 4) << 4, segment.flags]);
    // Window 64,240; checksum and urgent pointer zero.
    bytes.extend([0xfa, 0xf0, 0, 0, 0, 0]);
    bytes.extend(options);
    bytes.extend(payload);
    let checksum = transport_checksum(source, destination, TCP, &bytes);
    bytes[16..18].copy_from_slice(&checksum.to_be_bytes());
    ethernet(source, destination, TCP, &bytes)
}

fn ethernet(source: &Endpoint, destination: &Endpoint, protocol: u8, transport: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(54 + transport.len());
    frame.extend(destination.mac);
    frame.extend(source.mac);
    match (source.address, destination.address) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend([0x08, 0x00]);
            // Identification 0 with "don't fragment" set: an atomic datagram (RFC 6864 section 4).
            frame.extend([0x45, 0]);
            frame.extend((20 + transport.len() as u16).to_be_bytes());
            frame.extend([0, 0, 0x40, 0, source.ttl, protocol, 0, 0]);
            frame.extend(from.octets());
            frame.extend(to.octets());
            let checksum = !fold(sum(&frame[14..34]));
            frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        }
        (from, to) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((transport.len() as u16).to_be_bytes());
            frame.extend([protocol, source.ttl]);
            frame.extend(octets_v6(from));
            frame.extend(octets_v6(to));
        }
    }
    frame.extend(transport);
    frame
}

fn octets_v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The checksum over the pseudo header (RFC 768, RFC 9293, RFC 8200 section 8.1) and `transport`.
fn transport_checksum(source: &Endpoint, destination: &Endpoint, protocol: u8, transport: &[u8]) -> u16 {
    let address_sum = |address: IpAddr| match address {
        IpAddr::V4(address) => sum(&address.octets()),
        IpAddr::V6(address) => sum(&address.octets()),
    };
    let pseudo = address_sum(source.address)
        + address_sum(destination.address)
        + u32::from(protocol)
        + transport.len() as u32;
    !fold(pseudo + sum(transport))
}

/// The sum of the 16-bit words of at most 64 KiB.
pub fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from))
        .fold(0, u32::wrapping_add)
}

/// The sum in 16 bits, carries added (RFC 1071); its complement is the checksum.
pub fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(address: &str, port: u16) -> Endpoint {
        Endpoint { mac: [2, 0, 0, 0, 0, 1], address: address.parse().unwrap(), port, ttl: 64 }
    }

    /// A checksum is right where the sum over all that it covers, itself included, is all ones.
    fn check(frame: &[u8], source: &Endpoint, destination: &Endpoint, protocol: u8) {
        let header = if source.address.is_ipv4() { 34 } else { 54 };
        if source.address.is_ipv4() {
            assert_eq!(fold(sum(&frame[14..34])), 0xffff);
        }
        assert_eq!(transport_checksum(source, destination, protocol, &frame[header..]), 0);
    }

    #[test]
    fn checksums_are_valid() {
        for (from, to) in [("10.0.0.1", "10.96.0.10"), ("fd00::1", "fd00:10:96::a")] {
            let (from, to) = (endpoint(from, 40_000), endpoint(to, 53));
            check(&udp(&from, &to, b"odd"), &from, &to, UDP);
            let segment = Segment { sequence: 1, acknowledgement: 2, flags: SYN | ACK };
            check(&tcp(&from, &to, segment, b""), &from, &to, TCP);
            check(&tcp(&to, &from, Segment { flags: PSH | ACK, ..segment }, b"data"), &to, &from, TCP);
        }
    }
}
