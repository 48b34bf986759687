//! What stands in front of IP: link layers, VLAN tags, PPPoE.
//!
//! Ethernet and VLAN headers are read by pnet_packet; it has none of the others, whose few bytes are read here
//! (<https://www.tcpdump.org/linktypes.html>).

use pnet_packet::ethernet::EthernetPacket;
use pnet_packet::vlan::VlanPacket;

use super::DecodeError;
use crate::capture::frame::LinkType;

pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
pub(crate) const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
const ETHERTYPE_PPPOE: u16 = 0x8864;

/// Protocol numbers of PPP (RFC 1332 section 2, RFC 5072 section 4).
const PPP_IPV4: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;

/// VLAN tags that are followed at most; QinQ has two.
const MAX_VLAN_TAGS: usize = 2;

/// A packet of IP, as the header in front of it announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inside<'a> {
    /// Said to be IPv4.
    Ipv4(&'a [u8]),
    /// Said to be IPv6.
    Ipv6(&'a [u8]),
    /// One of them: its first bits tell which.
    Ip(&'a [u8]),
}

/// Takes off what stands in front of IP.
///
/// # Errors
///
/// The frame is too short, or holds something else; never panics, whatever the bytes are.
pub(super) fn strip(link_type: LinkType, bytes: &[u8]) -> Result<Inside<'_>, DecodeError> {
    match link_type {
        LinkType::RawIp => Ok(Inside::Ip(bytes)),
        LinkType::Ethernet => {
            let header = EthernetPacket::new(bytes).ok_or(DecodeError::Short("Ethernet"))?;
            behind(header.get_ethertype().0, &bytes[EthernetPacket::minimum_packet_size()..])
        }
        LinkType::LinuxSll => {
            let (header, rest) = bytes.split_first_chunk::<16>().ok_or(DecodeError::Short("SLL"))?;
            behind(u16::from_be_bytes([header[14], header[15]]), rest)
        }
        LinkType::LinuxSll2 => {
            let (header, rest) = bytes.split_first_chunk::<20>().ok_or(DecodeError::Short("SLL2"))?;
            behind(u16::from_be_bytes([header[0], header[1]]), rest)
        }
        LinkType::Loopback => loopback(bytes),
        LinkType::Ppp => ppp_framed(bytes),
        LinkType::PppEther => pppoe(bytes),
    }
}

/// What an ethertype announces, behind VLAN tags.
fn behind(mut ethertype: u16, mut rest: &[u8]) -> Result<Inside<'_>, DecodeError> {
    for _ in 0..MAX_VLAN_TAGS {
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
            break;
        }
        let tag = VlanPacket::new(rest).ok_or(DecodeError::Short("VLAN"))?;
        ethertype = tag.get_ethertype().0;
        rest = &rest[VlanPacket::minimum_packet_size()..];
    }
    match ethertype {
        ETHERTYPE_IPV4 => Ok(Inside::Ipv4(rest)),
        ETHERTYPE_IPV6 => Ok(Inside::Ipv6(rest)),
        ETHERTYPE_PPPOE => pppoe(rest),
        other => Err(DecodeError::NotIp(other)),
    }
}

/// An address family of the machine that wrote it, in its byte order (DLT_NULL) or the network's (DLT_LOOP).
///
/// Families are small numbers: the order is the one in which this is one. AF_INET is 2 everywhere, AF_INET6 differs:
/// 10 Linux, 23 Windows, 24 NetBSD and OpenBSD, 28 FreeBSD, 30 Darwin.
fn loopback(bytes: &[u8]) -> Result<Inside<'_>, DecodeError> {
    let (header, rest) = bytes.split_first_chunk::<4>().ok_or(DecodeError::Short("loopback"))?;
    let family = u32::from_be_bytes(*header).min(u32::from_le_bytes(*header));
    match family {
        2 => Ok(Inside::Ipv4(rest)),
        10 | 23 | 24 | 28 | 30 => Ok(Inside::Ipv6(rest)),
        other => Err(DecodeError::NotIp(u16::try_from(other).unwrap_or(u16::MAX))),
    }
}

/// PPP with or without address and control (RFC 1662 section 3.1); on serial lines also Cisco's HDLC, whose address is
/// another and whose protocol an ethertype.
fn ppp_framed(bytes: &[u8]) -> Result<Inside<'_>, DecodeError> {
    match bytes {
        [0xff, 0x03, rest @ ..] => ppp(rest),
        [0x0f | 0x8f, _, high, low, rest @ ..] => behind(u16::from_be_bytes([*high, *low]), rest),
        rest => ppp(rest),
    }
}

/// The protocol of PPP; one byte where it was agreed to be compressed: the last byte is odd (RFC 1661 sections 2 and 6.5).
fn ppp(bytes: &[u8]) -> Result<Inside<'_>, DecodeError> {
    let (protocol, rest) = match bytes {
        [low, rest @ ..] if low & 1 == 1 => (u16::from(*low), rest),
        [high, low, rest @ ..] => (u16::from_be_bytes([*high, *low]), rest),
        _ => return Err(DecodeError::Short("PPP")),
    };
    match protocol {
        PPP_IPV4 => Ok(Inside::Ipv4(rest)),
        PPP_IPV6 => Ok(Inside::Ipv6(rest)),
        other => Err(DecodeError::NotIp(other)),
    }
}

/// Six bytes (RFC 2516 section 4): version and type 1, code 0 for data, session, length; then PPP without framing.
fn pppoe(bytes: &[u8]) -> Result<Inside<'_>, DecodeError> {
    let (header, rest) = bytes.split_first_chunk::<6>().ok_or(DecodeError::Short("PPPoE"))?;
    match header[..2] {
        [0x11, 0] => ppp(rest),
        _ => Err(DecodeError::Inconsistent("PPPoE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found behind `header`.
    fn check(link_type: LinkType, header: &[u8], expected: &str) {
        let bytes = [header, b"packet"].concat();
        let text = match strip(link_type, &bytes) {
            Err(error) => error.to_string(),
            Ok(Inside::Ipv4(rest)) => format!("IPv4 {}", String::from_utf8_lossy(rest)),
            Ok(Inside::Ipv6(rest)) => format!("IPv6 {}", String::from_utf8_lossy(rest)),
            Ok(Inside::Ip(rest)) => format!("IP {}", String::from_utf8_lossy(rest)),
        };
        assert_eq!(text, expected, "{link_type:?} {header:02x?}");
    }

    /// With `count` bytes that mean nothing here in front.
    fn after(count: usize, protocol: &[u8]) -> Vec<u8> {
        [&vec![0xee; count], protocol].concat()
    }

    /// Every link type whose protocol is an ethertype, around `ethertypes` as tags and what they announce.
    fn check_ethertypes(ethertypes: &[u8], expected: &str) {
        check(LinkType::Ethernet, &after(12, ethertypes), expected);
        check(LinkType::LinuxSll, &after(14, ethertypes), expected);
        let (first, tags) = ethertypes.split_at(2);
        check(LinkType::LinuxSll2, &[first, &[0xee; 18], tags].concat(), expected);
        check(LinkType::Ppp, &[&[0x0f, 0], ethertypes].concat(), expected);
    }

    #[test]
    fn ethertypes_are_followed_through_two_tags() {
        check_ethertypes(&[0x08, 0x00], "IPv4 packet");
        check_ethertypes(&[0x86, 0xdd], "IPv6 packet");
        check_ethertypes(&[0x08, 0x06], "not IP: link protocol 0x0806");
        check_ethertypes(&[0x81, 0, 0, 7, 0x86, 0xdd], "IPv6 packet");
        check_ethertypes(&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 7, 0x08, 0], "IPv4 packet");
        check_ethertypes(&[0x81, 0, 0, 7, 0x81, 0, 0, 7, 0x08, 0], "IPv4 packet");
        check_ethertypes(
            &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 7, 0x81, 0, 0, 7, 8, 0],
            "not IP: link protocol 0x8100",
        );
        check_ethertypes(&[0x88, 0x64, 0x11, 0, 0, 1, 0, 8, 0, 0x21], "IPv4 packet");
        check_ethertypes(&[0x81, 0, 0, 7, 0x88, 0x64, 0x11, 0, 0, 1, 0, 8, 0, 0x57], "IPv6 packet");
        check_ethertypes(&[0x88, 0x64, 0x11, 9, 0, 1, 0, 8], "the PPPoE header contradicts itself");
    }

    #[test]
    fn address_families_are_read_in_both_orders() {
        check(LinkType::Loopback, &[2, 0, 0, 0], "IPv4 packet");
        check(LinkType::Loopback, &[0, 0, 0, 2], "IPv4 packet");
        for family in [10, 23, 24, 28, 30] {
            check(LinkType::Loopback, &[family, 0, 0, 0], "IPv6 packet");
            check(LinkType::Loopback, &[0, 0, 0, family], "IPv6 packet");
        }
        check(LinkType::Loopback, &[7, 0, 0, 0], "not IP: link protocol 0x0007");
        check(LinkType::Loopback, &[9; 4], "not IP: link protocol 0xffff");
    }

    #[test]
    fn ppp_has_many_forms() {
        for (number, expected) in [(0x21, "IPv4 packet"), (0x57, "IPv6 packet")] {
            check(LinkType::Ppp, &[0xff, 0x03, 0, number], expected);
            check(LinkType::Ppp, &[0xff, 0x03, number], expected);
            check(LinkType::Ppp, &[0, number], expected);
            check(LinkType::Ppp, &[number], expected);
            check(LinkType::PppEther, &[0x11, 0, 0, 1, 0, 8, 0, number], expected);
        }
        check(LinkType::Ppp, &[0xc0, 0x21], "not IP: link protocol 0xc021");
        check(LinkType::PppEther, &[0x11, 9, 0, 1, 0, 8], "the PPPoE header contradicts itself");
    }

    #[test]
    fn short_frames_are_told() {
        let short = |link_type: LinkType, bytes: &[u8], name: &'static str| {
            assert_eq!(strip(link_type, bytes), Err(DecodeError::Short(name)), "{link_type:?} {bytes:02x?}");
        };
        short(LinkType::Ethernet, &[0; 13], "Ethernet");
        short(LinkType::Ethernet, &[&[0; 12], &[0x81, 0, 0, 7, 8][..]].concat(), "VLAN");
        short(LinkType::LinuxSll, &[0; 15], "SLL");
        short(LinkType::LinuxSll2, &[0; 19], "SLL2");
        short(LinkType::Loopback, &[0; 3], "loopback");
        short(LinkType::Ppp, &[0xff, 0x03], "PPP");
        short(LinkType::Ppp, &[0], "PPP");
        short(LinkType::PppEther, &[0x11, 0, 0, 1, 0], "PPPoE");
    }
}
