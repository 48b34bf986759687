//! Turns a frame into one transport payload with its flow.
//!
//! Input: [`Frame`]. Output: [`Payload`], or a [`DecodeError`] that says what was wrong. Deliberately absent: I/O,
//! clocks, ports with a meaning, checksums (those of locally made packets are partial, facts.md section 5).

use std::net::{IpAddr, SocketAddr};

use pnet_packet::ethernet::EthernetPacket;
use pnet_packet::ipv4::Ipv4Packet;
use pnet_packet::ipv6::Ipv6Packet;
use pnet_packet::tcp::TcpPacket;
use pnet_packet::udp::UdpPacket;
use pnet_packet::vlan::VlanPacket;
use thiserror::Error;

use crate::capture::frame::{Frame, LinkType};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;

const UDP: u8 = 17;
const TCP: u8 = 6;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;

/// VLAN tags that are followed at most; QinQ has two.
const MAX_VLAN_TAGS: usize = 2;
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

/// What one packet carried above its transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// From whom to whom.
    pub flow: Flow,
    /// IPv4 TTL or IPv6 hop limit: lower in a copy that was forwarded.
    pub hop_limit: u8,
    /// The first fragment of a larger datagram; what follows is in other packets.
    pub fragment: bool,
    /// Bytes of payload that are not in `bytes`: cut off by the source, or in later fragments.
    pub missing: usize,
    /// The payload.
    pub bytes: &'a [u8],
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
    /// Neither IPv4 nor IPv6.
    #[error("not IP: ethertype 0x{0:04x}")]
    NotIp(u16),
    /// Neither UDP nor TCP.
    #[error("neither UDP nor TCP: protocol {0}")]
    NotTransport(u8),
    /// A second or later fragment: it has no ports.
    #[error("a later fragment, without ports")]
    LaterFragment,
}

/// Reads the headers of `frame` down to the transport's.
///
/// # Errors
///
/// [`DecodeError`]; never panics, whatever the bytes are.
pub fn parse<'a>(frame: &Frame<'a>) -> Result<Payload<'a>, DecodeError> {
    match frame.link_type {
        LinkType::RawIp => parse_ip(frame.bytes),
        LinkType::Ethernet => {
            let ethernet = EthernetPacket::new(frame.bytes).ok_or(DecodeError::Short("Ethernet"))?;
            let mut ethertype = ethernet.get_ethertype().0;
            let mut rest = &frame.bytes[EthernetPacket::minimum_packet_size()..];
            for _ in 0..MAX_VLAN_TAGS {
                if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
                    break;
                }
                let tag = VlanPacket::new(rest).ok_or(DecodeError::Short("VLAN"))?;
                ethertype = tag.get_ethertype().0;
                rest = &rest[VlanPacket::minimum_packet_size()..];
            }
            match ethertype {
                ETHERTYPE_IPV4 => parse_ipv4(rest),
                ETHERTYPE_IPV6 => parse_ipv6(rest),
                other => Err(DecodeError::NotIp(other)),
            }
        }
    }
}

fn parse_ip(bytes: &[u8]) -> Result<Payload<'_>, DecodeError> {
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
    fragment: bool,
    /// Bytes that the header promises and the frame lacks.
    missing: usize,
    bytes: &'a [u8],
}

fn parse_ipv4(bytes: &[u8]) -> Result<Payload<'_>, DecodeError> {
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
    if packet.get_fragment_offset() != 0 {
        return Err(DecodeError::LaterFragment);
    }
    // Bit 0 of the three flag bits is MF (RFC 791 section 3.1).
    let fragment = packet.get_flags() & 0b001 != 0;
    transport(Network {
        source: IpAddr::V4(packet.get_source()),
        destination: IpAddr::V4(packet.get_destination()),
        hop_limit: packet.get_ttl(),
        protocol: packet.get_next_level_protocol().0,
        fragment,
        missing: total.saturating_sub(bytes.len()),
        bytes: &bytes[header..total.min(bytes.len())],
    })
}

fn parse_ipv6(bytes: &[u8]) -> Result<Payload<'_>, DecodeError> {
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
    let mut rest = &bytes[header..total.min(bytes.len())];
    let mut protocol = packet.get_next_header().0;
    let mut fragment = false;
    for _ in 0..MAX_EXTENSION_HEADERS {
        let length = match protocol {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY => extension_length(rest, 8, 1)?,
            AUTHENTICATION => extension_length(rest, 4, 2)?,
            FRAGMENT => {
                let head = rest.get(..8).ok_or(DecodeError::Short("IPv6 fragment"))?;
                let offset_and_flags = u16::from_be_bytes([head[2], head[3]]);
                if offset_and_flags >> 3 != 0 {
                    return Err(DecodeError::LaterFragment);
                }
                fragment = offset_and_flags & 1 != 0;
                8
            }
            _ => break,
        };
        protocol = *rest.first().ok_or(DecodeError::Short("IPv6 extension"))?;
        rest = rest.get(length..).ok_or(DecodeError::Short("IPv6 extension"))?;
    }
    transport(Network {
        source: IpAddr::V6(packet.get_source()),
        destination: IpAddr::V6(packet.get_destination()),
        hop_limit: packet.get_hop_limit(),
        protocol,
        fragment,
        missing: total.saturating_sub(bytes.len()),
        bytes: rest,
    })
}

/// The length of an extension header that counts itself in `unit` bytes, `more` units beyond its length field.
fn extension_length(rest: &[u8], unit: usize, more: usize) -> Result<usize, DecodeError> {
    rest.get(1).map(|&length| (usize::from(length) + more) * unit).ok_or(DecodeError::Short("IPv6 extension"))
}

fn transport(network: Network<'_>) -> Result<Payload<'_>, DecodeError> {
    let (transport, source_port, destination_port, header, end, missing) = match network.protocol {
        UDP => {
            let udp = UdpPacket::new(network.bytes).ok_or(DecodeError::Short("UDP"))?;
            let header = UdpPacket::minimum_packet_size();
            let there = network.bytes.len();
            let length = match usize::from(udp.get_length()) {
                // A jumbogram, or a length that offload has yet to write.
                0 => there + network.missing,
                length if length < header => return Err(DecodeError::Inconsistent("UDP")),
                length if length > there + network.missing && !network.fragment => {
                    return Err(DecodeError::Inconsistent("UDP"));
                }
                length => length,
            };
            let end = length.min(there);
            (Transport::Udp, udp.get_source(), udp.get_destination(), header, end, length - end)
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
        fragment: network.fragment,
        missing,
        bytes: network.bytes.get(header..end).ok_or(DecodeError::Inconsistent("transport"))?,
    })
}
