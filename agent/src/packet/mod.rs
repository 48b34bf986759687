//! Turns a frame into one transport payload with its flow, fragments into datagrams, TCP segments into messages.
//!
//! Input: [`Frame`]. Output: [`Packet`], or a [`DecodeError`] that says what was wrong; [`fragments`] and [`tcp`] take
//! those that are parts of something larger. Deliberately absent: I/O, clocks, ports with a meaning, checksums (those of
//! locally made packets are partial).

pub mod fragments;
pub(crate) mod link;
pub mod tcp;

use std::net::{IpAddr, SocketAddr};

use pnet_packet::ipv4::Ipv4Packet;
use pnet_packet::ipv6::Ipv6Packet;
use pnet_packet::tcp::TcpPacket;
use pnet_packet::udp::UdpPacket;
use thiserror::Error;

use crate::capture::frame::Frame;
use link::Inside;

const UDP: u8 = 17;
const TCP: u8 = 6;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;

/// IPv6 extension headers that are followed at most, as in the kernel half.
const MAX_EXTENSION_HEADERS: usize = 8;

/// The protocol that carried a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

impl Transport {
    /// As it stands in labels and lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// Both ends of a packet and the protocol between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Who sent the packet.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// By which protocol.
    pub transport: Transport,
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A whole packet, read down to its transport's payload.
    Payload(Payload<'a>),
    /// A part of a larger one.
    Fragment(Fragment<'a>),
}

/// What one packet carried above its transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// From whom to whom.
    pub flow: Flow,
    /// IPv4 TTL or IPv6 hop limit: lower in a copy that was forwarded.
    pub hop_limit: u8,
    /// What the TCP header says; `None` for UDP.
    pub tcp: Option<TcpHeader>,
    /// It came in fragments.
    pub fragmented: bool,
    /// Bytes of payload that are not in `bytes`: cut off by the source, or in fragments that were not seen.
    pub missing: usize,
    /// The payload.
    pub bytes: &'a [u8],
}

/// What puts a segment into its place (RFC 9293 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpHeader {
    /// Number of the first byte of the payload; of SYN itself, where it is set.
    pub sequence: u32,
    /// The next number that the sender of this segment expects; holds only with ACK.
    pub acknowledgement: u32,
    /// CWR, ECE, URG, ACK, PSH, RST, SYN, FIN from the highest bit down.
    pub flags: u8,
}

impl TcpHeader {
    /// The sender is done.
    pub const fn fin(self) -> bool {
        self.flags & 0x01 != 0
    }

    /// A connection begins; `sequence` is one below that of the first byte of data.
    pub const fn syn(self) -> bool {
        self.flags & 0x02 != 0
    }

    /// The connection is gone.
    pub const fn rst(self) -> bool {
        self.flags & 0x04 != 0
    }

    /// `acknowledgement` holds.
    pub const fn ack(self) -> bool {
        self.flags & 0x10 != 0
    }
}

/// A part of a packet that was too large for a link (RFC 791 section 3.2, RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// Which packet it belongs to.
    pub key: FragmentKey,
    /// IPv4 TTL or IPv6 hop limit.
    pub hop_limit: u8,
    /// Where in the packet's payload `bytes` stand, in bytes.
    pub offset: usize,
    /// MF: others follow.
    pub more: bool,
    /// Bytes of this fragment that the source cut off.
    pub missing: usize,
    /// Its part of the payload of IP.
    pub bytes: &'a [u8],
}

/// What the fragments of one packet share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    /// Who sent the packet.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// The sender's number of the packet; IPv4 has 16 bits.
    pub identification: u32,
    /// Protocol of what was cut up; of IPv6 the header behind the fragment header.
    pub protocol: u8,
}

/// Reads the headers at the beginning of what fragments carry: the first one, or all put together.
///
/// `missing`: bytes that the packet has behind `bytes`.
///
/// # Errors
///
/// [`DecodeError`]; never panics, whatever the bytes are.
pub fn parse_fragmented<'a>(
    key: &FragmentKey,
    hop_limit: u8,
    bytes: &'a [u8],
    missing: usize,
) -> Result<Payload<'a>, DecodeError> {
    let (protocol, bytes) = match key.source {
        IpAddr::V4(_) => (key.protocol, bytes),
        IpAddr::V6(_) => match skip_extensions(key.protocol, bytes)? {
            Extensions::Transport(protocol, rest) => (protocol, rest),
            Extensions::Fragment(..) => return Err(DecodeError::Inconsistent("IPv6 fragment")),
        },
    };
    let FragmentKey { source, destination, .. } = *key;
    transport(Network { source, destination, hop_limit, protocol, fragmented: true, missing, bytes })
}

/// Why a frame gave no payload. Data, not failure: it is counted and the next frame is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The frame ends inside a header.
    #[error("the frame ends inside its {0} header")]
    Short(&'static str),
    /// A header contradicts itself.
    #[error("the {0} header contradicts itself")]
    Inconsistent(&'static str),
    /// Neither IPv4 nor IPv6, by the number that the link layer has for it: an ethertype, or one of PPP.
    #[error("not IP: link protocol 0x{0:04x}")]
    NotIp(u16),
    /// Neither UDP nor TCP.
    #[error("neither UDP nor TCP: protocol {0}")]
    NotTransport(u8),
}

/// Reads the headers of `frame` down to the transport's.
///
/// # Errors
///
/// [`DecodeError`]; never panics, whatever the bytes are.
pub fn parse<'a>(frame: &Frame<'a>) -> Result<Packet<'a>, DecodeError> {
    match link::strip(frame.link_type, frame.bytes)? {
        Inside::Ipv4(bytes) => parse_ipv4(bytes),
        Inside::Ipv6(bytes) => parse_ipv6(bytes),
        Inside::Ip(bytes) => parse_ip(bytes),
    }
}

/// The packet of IP in a frame, behind all that stands in front of it, and its ethertype; `None`: there is none.
pub fn network<'a>(frame: &Frame<'a>) -> Option<(u16, &'a [u8])> {
    let (ipv4, ipv6) = (0x0800, 0x86dd);
    match link::strip(frame.link_type, frame.bytes).ok()? {
        Inside::Ipv4(bytes) => Some((ipv4, bytes)),
        Inside::Ipv6(bytes) => Some((ipv6, bytes)),
        Inside::Ip(bytes) => Some((if bytes.first()? >> 4 == 6 { ipv6 } else { ipv4 }, bytes)),
    }
}

fn parse_ip(bytes: &[u8]) -> Result<Packet<'_>, DecodeError> {
    match bytes.first().map(|byte| byte >> 4) {
        Some(4) => parse_ipv4(bytes),
        Some(6) => parse_ipv6(bytes),
        Some(_) => Err(DecodeError::Inconsistent("IP")),
        None => Err(DecodeError::Short("IP")),
    }
}

/// What the IP header says about the bytes behind it.
struct Network<'a> {
    source: IpAddr,
    destination: IpAddr,
    hop_limit: u8,
    protocol: u8,
    fragmented: bool,
    /// Bytes that the header promises and the frame lacks.
    missing: usize,
    bytes: &'a [u8],
}

fn parse_ipv4(bytes: &[u8]) -> Result<Packet<'_>, DecodeError> {
    let packet = Ipv4Packet::new(bytes).ok_or(DecodeError::Short("IPv4"))?;
    let header = usize::from(packet.get_header_length()) * 4;
    if packet.get_version() != 4 || header < Ipv4Packet::minimum_packet_size() {
        return Err(DecodeError::Inconsistent("IPv4"));
    }
    if bytes.len() < header {
        return Err(DecodeError::Short("IPv4"));
    }
    // A packet that waits for segmentation offload may say 0: then the frame ends where the packet ends.
    let total = match usize::from(packet.get_total_length()) {
        0 => bytes.len(),
        total if total < header => return Err(DecodeError::Inconsistent("IPv4")),
        total => total,
    };
    let source = IpAddr::V4(packet.get_source());
    let destination = IpAddr::V4(packet.get_destination());
    let hop_limit = packet.get_ttl();
    let protocol = packet.get_next_level_protocol().0;
    let missing = total.saturating_sub(bytes.len());
    let bytes = &bytes[header..total.min(bytes.len())];
    let offset = usize::from(packet.get_fragment_offset()) * 8;
    // Bit 0 of the three flag bits is MF (RFC 791 section 3.1).
    let more = packet.get_flags() & 0b001 != 0;
    if more || offset != 0 {
        let identification = packet.get_identification().into();
        let key = FragmentKey { source, destination, identification, protocol };
        return Ok(Packet::Fragment(Fragment { key, hop_limit, offset, more, missing, bytes }));
    }
    transport(Network { source, destination, hop_limit, protocol, fragmented: false, missing, bytes })
        .map(Packet::Payload)
}

fn parse_ipv6(bytes: &[u8]) -> Result<Packet<'_>, DecodeError> {
    let packet = Ipv6Packet::new(bytes).ok_or(DecodeError::Short("IPv6"))?;
    if packet.get_version() != 6 {
        return Err(DecodeError::Inconsistent("IPv6"));
    }
    let header = Ipv6Packet::minimum_packet_size();
    // 0 is a jumbogram or a packet that waits for segmentation (RFC 2675): it ends where the frame ends.
    let total = match usize::from(packet.get_payload_length()) {
        0 => bytes.len(),
        length => header + length,
    };
    let source = IpAddr::V6(packet.get_source());
    let destination = IpAddr::V6(packet.get_destination());
    let hop_limit = packet.get_hop_limit();
    let missing = total.saturating_sub(bytes.len());
    let payload = &bytes[header..total.min(bytes.len())];
    match skip_extensions(packet.get_next_header().0, payload)? {
        Extensions::Transport(protocol, bytes) => {
            let network =
                Network { source, destination, hop_limit, protocol, fragmented: false, missing, bytes };
            transport(network).map(Packet::Payload)
        }
        Extensions::Fragment(protocol, head, bytes) => {
            let offset_and_flags = u16::from_be_bytes([head[2], head[3]]);
            let identification = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
            let (offset, more) = (usize::from(offset_and_flags >> 3) * 8, offset_and_flags & 1 != 0);
            let key = FragmentKey { source, destination, identification, protocol };
            if offset == 0 && !more {
                // An atomic fragment is whole by itself (RFC 6946).
                let payload = parse_fragmented(&key, hop_limit, bytes, missing)?;
                return Ok(Packet::Payload(Payload { fragmented: false, ..payload }));
            }
            Ok(Packet::Fragment(Fragment { key, hop_limit, offset, more, missing, bytes }))
        }
    }
}

/// What stands behind the extension headers of IPv6.
enum Extensions<'a> {
    /// Neither of those that are followed: its protocol, and what begins with it.
    Transport(u8, &'a [u8]),
    /// A fragment header: the protocol behind it, itself, and what is behind.
    Fragment(u8, &'a [u8; 8], &'a [u8]),
}

/// Follows extension headers (RFC 8200 section 4) up to a fragment header, or to what is none.
fn skip_extensions(mut protocol: u8, mut rest: &[u8]) -> Result<Extensions<'_>, DecodeError> {
    for _ in 0..MAX_EXTENSION_HEADERS {
        let length = match protocol {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY => extension_length(rest, 8, 1)?,
            AUTHENTICATION => extension_length(rest, 4, 2)?,
            FRAGMENT => {
                let (head, rest) =
                    rest.split_first_chunk::<8>().ok_or(DecodeError::Short("IPv6 fragment"))?;
                return Ok(Extensions::Fragment(head[0], head, rest));
            }
            _ => break,
        };
        protocol = *rest.first().ok_or(DecodeError::Short("IPv6 extension"))?;
        rest = rest.get(length..).ok_or(DecodeError::Short("IPv6 extension"))?;
    }
    Ok(Extensions::Transport(protocol, rest))
}

/// The length of an extension header that counts itself in `unit` bytes, `more` units beyond its length field.
fn extension_length(rest: &[u8], unit: usize, more: usize) -> Result<usize, DecodeError> {
    rest.get(1).map(|&length| (usize::from(length) + more) * unit).ok_or(DecodeError::Short("IPv6 extension"))
}

fn transport(network: Network<'_>) -> Result<Payload<'_>, DecodeError> {
    let (transport, source_port, destination_port, tcp, header, end, missing) = match network.protocol {
        UDP => {
            let udp = UdpPacket::new(network.bytes).ok_or(DecodeError::Short("UDP"))?;
            let header = UdpPacket::minimum_packet_size();
            let there = network.bytes.len();
            let length = match usize::from(udp.get_length()) {
                // A jumbogram, or a length that offload has yet to write.
                0 => there + network.missing,
                length if length < header => return Err(DecodeError::Inconsistent("UDP")),
                length if length > there + network.missing && !network.fragmented => {
                    return Err(DecodeError::Inconsistent("UDP"));
                }
                length => length,
            };
            let end = length.min(there);
            (Transport::Udp, udp.get_source(), udp.get_destination(), None, header, end, length - end)
        }
        TCP => {
            let tcp = TcpPacket::new(network.bytes).ok_or(DecodeError::Short("TCP"))?;
            let header = usize::from(tcp.get_data_offset()) * 4;
            if header < TcpPacket::minimum_packet_size() {
                return Err(DecodeError::Inconsistent("TCP"));
            }
            if network.bytes.len() < header {
                return Err(DecodeError::Short("TCP"));
            }
            (
                Transport::Tcp,
                tcp.get_source(),
                tcp.get_destination(),
                Some(TcpHeader {
                    sequence: tcp.get_sequence(),
                    acknowledgement: tcp.get_acknowledgement(),
                    flags: tcp.get_flags(),
                }),
                header,
                network.bytes.len(),
                network.missing,
            )
        }
        other => return Err(DecodeError::NotTransport(other)),
    };
    Ok(Payload {
        flow: Flow {
            source: SocketAddr::new(network.source, source_port),
            destination: SocketAddr::new(network.destination, destination_port),
            transport,
        },
        hop_limit: network.hop_limit,
        tcp,
        fragmented: network.fragmented,
        missing,
        bytes: network.bytes.get(header..end).ok_or(DecodeError::Inconsistent("transport"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::frame::{LinkType, Timestamp};

    const DATA: &[u8] = b"twelve bytes";

    fn frame(link_type: LinkType, bytes: &[u8]) -> Frame<'_> {
        let original_length = bytes.len() as u32;
        Frame { time: Timestamp::default(), place: None, link_type, original_length, vlan: None, bytes }
    }

    /// What is said of a packet in one line: ends, hop limit, payload, and what is missing.
    fn check(link_type: LinkType, bytes: &[u8], expected: &str) {
        let payload = match parse(&frame(link_type, bytes)) {
            Ok(Packet::Payload(payload)) => Ok(payload),
            Ok(Packet::Fragment(Fragment { key, hop_limit, offset: 0, bytes, missing, .. })) => {
                parse_fragmented(&key, hop_limit, bytes, missing)
            }
            Ok(Packet::Fragment(later)) => {
                let end = if later.more { "more" } else { "last" };
                let number = later.key.identification;
                return assert_eq!(format!("later fragment of {number} at {} {end}", later.offset), expected);
            }
            Err(error) => Err(error),
        };
        let text = match payload {
            Err(error) => error.to_string(),
            Ok(payload) => {
                let Flow { source, destination, transport } = payload.flow;
                let fragment = if payload.fragmented { " fragment" } else { "" };
                let missing =
                    if payload.missing > 0 { format!(" missing {}", payload.missing) } else { String::new() };
                let data = String::from_utf8_lossy(payload.bytes);
                let hops = payload.hop_limit;
                format!(
                    "{} {source} > {destination} hops {hops} {data:?}{fragment}{missing}",
                    transport.as_str()
                )
            }
        };
        assert_eq!(text, expected, "{bytes:02x?}");
    }

    fn check_ip(bytes: &[u8], expected: &str) {
        check(LinkType::RawIp, bytes, expected);
    }

    fn udp(length: u16, data: &[u8]) -> Vec<u8> {
        [&[0x10, 0, 0, 53][..], &length.to_be_bytes(), &[0, 0], data].concat()
    }

    fn tcp(words: u8, data: &[u8]) -> Vec<u8> {
        let mut header = vec![0x10, 0, 0, 53, 0, 0, 0, 1, 0, 0, 0, 1, words << 4, 0x18, 1, 0, 0, 0, 0, 0];
        header.resize(usize::from(words.max(5)) * 4, 1);
        [&header, data].concat()
    }

    /// With `options` of whole words; `total_length` and the flags with the fragment's offset as they are given.
    fn ipv4_with(options: &[u8], total_length: u16, fragment: u16, protocol: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = vec![0x40 | (5 + options.len() / 4) as u8, 0];
        header.extend_from_slice(&total_length.to_be_bytes());
        header.extend_from_slice(&[0, 7]);
        header.extend_from_slice(&fragment.to_be_bytes());
        header.extend_from_slice(&[64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 53]);
        [&header, options, rest].concat()
    }

    fn ipv4(protocol: u8, rest: &[u8]) -> Vec<u8> {
        ipv4_with(&[], 20 + rest.len() as u16, 0, protocol, rest)
    }

    fn ipv6_with(payload_length: u16, next: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = vec![0x60, 0, 0, 0];
        header.extend_from_slice(&payload_length.to_be_bytes());
        header.extend_from_slice(&[next, 63]);
        for last in [0x01, 0x53] {
            header.extend_from_slice(&[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        [&header, rest].concat()
    }

    fn ipv6(next: u8, rest: &[u8]) -> Vec<u8> {
        ipv6_with(rest.len() as u16, next, rest)
    }

    const V4: &str = "udp 192.0.2.1:4096 > 192.0.2.53:53 hops 64 \"twelve bytes\"";
    const V6: &str = "udp [2001:db8::1]:4096 > [2001:db8::53]:53 hops 63 \"twelve bytes\"";

    #[test]
    fn both_families_are_read() {
        let v4 = ipv4(UDP, &udp(20, DATA));
        let v6 = ipv6(UDP, &udp(20, DATA));
        check_ip(&v4, V4);
        check_ip(&v6, V6);
        let ethernet = |ethertype: u16, rest: &[u8]| [&[2; 12], &ethertype.to_be_bytes()[..], rest].concat();
        check(LinkType::Ethernet, &ethernet(0x0800, &v4), V4);
        check(LinkType::Ethernet, &ethernet(0x86dd, &v6), V6);
        check(LinkType::Ethernet, &ethernet(0x0800, &v6), "the IPv4 header contradicts itself");
        check_ip(&ipv4(TCP, &tcp(5, DATA)), &V4.replace("udp", "tcp"));
        check_ip(&ipv6(TCP, &tcp(8, DATA)), &V6.replace("udp", "tcp"));
        check_ip(&ipv4(1, DATA), "neither UDP nor TCP: protocol 1");
        check_ip(&[0x50; 40], "the IP header contradicts itself");
        check_ip(&[], "the frame ends inside its IP header");
    }

    #[test]
    fn ipv4_options_are_skipped() {
        let rest = udp(20, DATA);
        for words in [1, 5, 10] {
            let options = vec![1; words * 4];
            check_ip(&ipv4_with(&options, (20 + words * 4 + 28) as u16 - 8, 0, UDP, &rest), V4);
        }
    }

    #[test]
    fn ipv6_extension_headers_are_skipped() {
        let rest = udp(20, DATA);
        let extension = |next: u8, units: u8| {
            let mut header = vec![1; 8 + usize::from(units) * 8];
            (header[0], header[1]) = (next, units);
            header
        };
        for kind in [HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS, MOBILITY] {
            check_ip(&ipv6(kind, &[extension(UDP, 0), rest.clone()].concat()), V6);
            check_ip(&ipv6(kind, &[extension(UDP, 3), rest.clone()].concat()), V6);
        }
        // The authentication header counts words of four bytes, less two (RFC 4302 section 2.2).
        let authentication = [vec![UDP, 4, 0, 0], vec![9; 20]].concat();
        check_ip(&ipv6(AUTHENTICATION, &[authentication, rest.clone()].concat()), V6);
        let chain =
            [extension(ROUTING, 0), extension(DESTINATION_OPTIONS, 1), extension(UDP, 0), rest.clone()];
        check_ip(&ipv6(HOP_BY_HOP, &chain.concat()), V6);
        let eight = [vec![extension(DESTINATION_OPTIONS, 0); 7], vec![extension(UDP, 0)]].concat().concat();
        check_ip(&ipv6(DESTINATION_OPTIONS, &[eight.clone(), rest.clone()].concat()), V6);
        let nine = [extension(DESTINATION_OPTIONS, 0), eight, rest].concat();
        check_ip(&ipv6(DESTINATION_OPTIONS, &nine), "neither UDP nor TCP: protocol 60");
        check_ip(&ipv6(HOP_BY_HOP, &[UDP, 9, 0, 0]), "the frame ends inside its IPv6 extension header");
        check_ip(&ipv6(HOP_BY_HOP, &[]), "the frame ends inside its IPv6 extension header");
        check_ip(&ipv6(59, DATA), "neither UDP nor TCP: protocol 59");
    }

    #[test]
    fn only_the_first_fragment_has_ports() {
        let first = udp(3000, DATA);
        let fragment = format!("{V4} fragment missing 2980");
        check_ip(&ipv4_with(&[], 40, 0x2000, UDP, &first), &fragment);
        check_ip(&ipv4_with(&[], 40, 0x4000, UDP, &udp(20, DATA)), V4);
        check_ip(&ipv4_with(&[], 40, 0x2001, UDP, &first), "later fragment of 7 at 8 more");
        check_ip(&ipv4_with(&[], 40, 0x0001, UDP, &first), "later fragment of 7 at 8 last");
        let behind = |offset_and_flags: u16, rest: &[u8]| {
            let [high, low] = offset_and_flags.to_be_bytes();
            [&[UDP, 0, high, low, 0, 0, 0, 7], rest].concat()
        };
        let fragment = format!("{V6} fragment missing 2980");
        check_ip(&ipv6(FRAGMENT, &behind(1, &first)), &fragment);
        // An atomic fragment (RFC 6946) is whole.
        check_ip(&ipv6(FRAGMENT, &behind(0, &udp(20, DATA))), V6);
        check_ip(&ipv6(FRAGMENT, &behind(8, &first)), "later fragment of 7 at 8 last");
        check_ip(&ipv6(FRAGMENT, &behind(9, &first)), "later fragment of 7 at 8 more");
        check_ip(&ipv6(FRAGMENT, &[UDP, 0, 0]), "the frame ends inside its IPv6 fragment header");
    }

    #[test]
    fn padding_is_no_payload() {
        let pad = |packet: Vec<u8>| [packet, vec![0; 14]].concat();
        check_ip(&pad(ipv4(UDP, &udp(20, DATA))), V4);
        check_ip(&pad(ipv6(UDP, &udp(20, DATA))), V6);
        check_ip(&pad(ipv4(TCP, &tcp(5, DATA))), &V4.replace("udp", "tcp"));
        check_ip(&pad(ipv6(TCP, &tcp(5, DATA))), &V6.replace("udp", "tcp"));
        // The UDP length counts where IP says more.
        check_ip(&ipv4(UDP, &[udp(20, DATA), vec![0; 4]].concat()), V4);
    }

    #[test]
    fn length_0_is_a_packet_that_waits_for_segmentation() {
        check_ip(&ipv4_with(&[], 0, 0, UDP, &udp(20, DATA)), V4);
        check_ip(&ipv4_with(&[], 0, 0, UDP, &udp(0, DATA)), V4);
        check_ip(&ipv4_with(&[], 0, 0, TCP, &tcp(5, DATA)), &V4.replace("udp", "tcp"));
        check_ip(&ipv6_with(0, UDP, &udp(0, DATA)), V6);
    }

    #[test]
    fn what_the_capture_cut_off_is_counted() {
        let v4 = ipv4(UDP, &udp(20, DATA));
        let cut = V4.replace("twelve bytes", "twelve");
        check_ip(&v4[..v4.len() - 6], &format!("{cut} missing 6"));
        let tcp = ipv4(TCP, &tcp(5, DATA));
        check_ip(&tcp[..tcp.len() - 6], &format!("{} missing 6", cut.replace("udp", "tcp")));
        let v6 = ipv6(UDP, &udp(20, DATA));
        check_ip(&v6[..v6.len() - 6], &format!("{} missing 6", V6.replace("twelve bytes", "twelve")));
        check_ip(&v4[..27], "the frame ends inside its UDP header");
        check_ip(&v4[..19], "the frame ends inside its IPv4 header");
        check_ip(&v6[..39], "the frame ends inside its IPv6 header");
        check_ip(&tcp[..39], "the frame ends inside its TCP header");
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        check_ip(&ipv4_with(&[], 19, 0, UDP, &udp(20, DATA)), "the IPv4 header contradicts itself");
        check_ip(&ipv4_with(&[], 27, 0, UDP, &udp(20, DATA)), "the frame ends inside its UDP header");
        let mut four_words = ipv4(UDP, &udp(20, DATA));
        four_words[0] = 0x44;
        check_ip(&four_words, "the IPv4 header contradicts itself");
        let mut fifteen_words = ipv4(UDP, &udp(20, DATA));
        fifteen_words[0] = 0x4f;
        check_ip(&fifteen_words, "the frame ends inside its IPv4 header");
        check_ip(&ipv4(UDP, &udp(7, DATA)), "the UDP header contradicts itself");
        check_ip(&ipv4(UDP, &udp(21, DATA)), "the UDP header contradicts itself");
        check_ip(&ipv6(UDP, &udp(21, DATA)), "the UDP header contradicts itself");
        check_ip(&ipv4(UDP, &udp(8, &[])), &V4.replace("twelve bytes", ""));
        check_ip(&ipv4(TCP, &tcp(4, DATA)), "the TCP header contradicts itself");
        let mut long_offset = ipv4(TCP, &tcp(5, DATA));
        long_offset[32] = 0xf0;
        check_ip(&long_offset, "the frame ends inside its TCP header");
    }
}
