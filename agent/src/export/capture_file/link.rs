//! Gives frames of several link types the one link type of their file, since libpcap reads no file with two.

use crate::capture::frame::{Direction, Frame, LinkType, Place};
use crate::packet;
use crate::packet::link::{ETHERTYPE_IPV4, ETHERTYPE_VLAN};

use super::SNAPLEN;

/// linux/if_arp.h
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_NONE: u16 = 0xfffe;

/// linux/if_packet.h: what SLL2 says of where a packet goes.
const PACKET_HOST: u8 = 0;
const PACKET_BROADCAST: u8 = 1;
const PACKET_MULTICAST: u8 = 2;
const PACKET_OUTGOING: u8 = 4;

/// Two addresses and the ethertype.
const ETHERNET_HEADER: usize = 14;
/// Both of its addresses.
const ADDRESSES: usize = 12;
/// LINKTYPE_LINUX_SLL2 (<https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html>).
const COOKED_HEADER: usize = 20;
/// A VLAN tag.
const TAG: usize = 4;

/// How all frames of a file begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// With an Ethernet header.
    Ethernet,
    /// With their IP header; only for frames that are all so.
    RawIp,
    /// As `tcpdump -i any` of old has them; only for frames that are all so.
    LinuxSll,
    /// With a header that has room for every link type: Linux cooked v2 (SLL2).
    Cooked,
}

impl Encapsulation {
    /// Keeps frames as they are that are all of one link type, where it is one that says the same in every file:
    /// the loopback's depends on the byte order, PPP has variants.
    pub const fn keeping(link_type: LinkType) -> Self {
        match link_type {
            LinkType::Ethernet => Self::Ethernet,
            LinkType::RawIp => Self::RawIp,
            LinkType::LinuxSll => Self::LinuxSll,
            LinkType::LinuxSll2 | LinkType::Loopback | LinkType::Ppp | LinkType::PppEther => Self::Cooked,
        }
    }

    /// LINKTYPE_….
    pub(super) const fn number(self) -> u16 {
        match self {
            Self::Ethernet => 1,
            Self::RawIp => 101,
            Self::LinuxSll => 113,
            Self::Cooked => 276,
        }
    }
}

/// A frame as it is to be written: a new header, and what is kept of the old bytes in two pieces around it.
pub(super) struct Wrapped<'a> {
    header: [u8; COOKED_HEADER + TAG],
    header_length: usize,
    before: &'a [u8],
    behind: &'a [u8],
    /// Length of the packet on the wire, with this header.
    pub(super) original_length: u32,
}

impl Wrapped<'_> {
    /// Its bytes, one piece after the other.
    pub(super) fn parts(&self) -> [&[u8]; 3] {
        [self.before, &self.header[..self.header_length], self.behind]
    }
}

/// Writes a header piece by piece.
struct Header {
    bytes: [u8; COOKED_HEADER + TAG],
    length: usize,
}

impl Header {
    const fn new() -> Self {
        Self { bytes: [0; COOKED_HEADER + TAG], length: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    /// Between two pieces of the frame; what a reader would not take is cut off.
    fn around<'a>(self, frame: &Frame<'a>, before: &'a [u8], behind: &'a [u8]) -> Wrapped<'a> {
        let removed = frame.bytes.len() - before.len() - behind.len();
        let original_length =
            frame.original_length.saturating_add(self.length as u32).saturating_sub(removed as u32);
        let room = (SNAPLEN as usize).saturating_sub(before.len() + self.length);
        let behind = &behind[..room.min(behind.len())];
        Wrapped { header: self.bytes, header_length: self.length, before, behind, original_length }
    }
}

/// `frame` with the header that its file wants.
pub(super) fn wrap<'a>(frame: &Frame<'a>, encapsulation: Encapsulation) -> Wrapped<'a> {
    match (encapsulation, frame.link_type) {
        (Encapsulation::Ethernet, LinkType::Ethernet) => with_tag(frame),
        (Encapsulation::Ethernet, _) => as_ethernet(frame),
        (Encapsulation::RawIp | Encapsulation::LinuxSll, _)
        | (Encapsulation::Cooked, LinkType::LinuxSll2) => Header::new().around(frame, &[], frame.bytes),
        (Encapsulation::Cooked, _) => as_cooked(frame),
    }
}

/// Puts the tag back that the kernel took out.
fn with_tag<'a>(frame: &Frame<'a>) -> Wrapped<'a> {
    let mut header = Header::new();
    match (frame.vlan, frame.bytes.split_at_checked(ADDRESSES)) {
        (Some(vlan), Some((addresses, rest))) => {
            header.push(&ETHERTYPE_VLAN.to_be_bytes());
            header.push(&vlan.to_be_bytes());
            header.around(frame, addresses, rest)
        }
        _ => header.around(frame, &[], frame.bytes),
    }
}

/// An interface by that name that had Ethernet before and has another link type now.
fn as_ethernet<'a>(frame: &Frame<'a>) -> Wrapped<'a> {
    let link = Link::of(frame);
    let mut header = Header::new();
    header.push(&[0; ADDRESSES]);
    header.push(&link.protocol.to_be_bytes());
    header.around(frame, &[], link.payload)
}

fn as_cooked<'a>(frame: &Frame<'a>) -> Wrapped<'a> {
    let link = Link::of(frame);
    let mut header = Header::new();
    let protocol = if frame.vlan.is_some() { ETHERTYPE_VLAN } else { link.protocol };
    header.push(&protocol.to_be_bytes());
    header.push(&[0; 2]);
    header.push(&frame.place.map_or(0, |place| place.ifindex.0).to_be_bytes());
    header.push(&link.hardware.to_be_bytes());
    header.push(&[link.packet_type.unwrap_or_else(|| packet_type(frame.place.as_ref(), link.destination))]);
    header.push(&[link.source.len() as u8]);
    let mut address = [0; 8];
    address[..link.source.len()].copy_from_slice(link.source);
    header.push(&address);
    if let Some(vlan) = frame.vlan {
        header.push(&vlan.to_be_bytes());
        header.push(&link.protocol.to_be_bytes());
    }
    header.around(frame, &[], link.payload)
}

/// Where the packet goes, as a packet socket would say it.
fn packet_type(place: Option<&Place>, destination: &[u8]) -> u8 {
    match (place.map(|place| place.direction), destination) {
        (Some(Direction::Egress), _) => PACKET_OUTGOING,
        (_, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) => PACKET_BROADCAST,
        (_, [first, ..]) if first & 1 != 0 => PACKET_MULTICAST,
        _ => PACKET_HOST,
    }
}

/// What the link layer of a frame says.
struct Link<'a> {
    /// Ethertype of the payload.
    protocol: u16,
    /// ARPHRD_….
    hardware: u16,
    /// Where the packet goes, where the header says so.
    packet_type: Option<u8>,
    /// The sender's address; at most eight bytes.
    source: &'a [u8],
    /// To whom.
    destination: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Link<'a> {
    /// Of a frame that is cut off inside its header: nothing of it can be read, here or there.
    const NOTHING: Self = Self {
        protocol: ETHERTYPE_IPV4,
        hardware: ARPHRD_ETHER,
        packet_type: None,
        source: &[],
        destination: &[],
        payload: &[],
    };

    fn of(frame: &Frame<'a>) -> Self {
        match frame.link_type {
            LinkType::Ethernet => Self::of_ethernet(frame.bytes),
            LinkType::LinuxSll => Self::of_sll(frame.bytes),
            // What holds no IP is not recorded; only its first bytes may be missing.
            _ => match packet::network(frame) {
                Some((protocol, payload)) => {
                    Self { protocol, hardware: ARPHRD_NONE, payload, ..Self::NOTHING }
                }
                None => Self { hardware: ARPHRD_NONE, ..Self::NOTHING },
            },
        }
    }

    fn of_ethernet(bytes: &'a [u8]) -> Self {
        match bytes.split_at_checked(ETHERNET_HEADER) {
            Some((header, payload)) => Self {
                protocol: u16::from_be_bytes([header[12], header[13]]),
                source: &header[6..ADDRESSES],
                destination: &header[..6],
                payload,
                ..Self::NOTHING
            },
            None => Self::NOTHING,
        }
    }

    /// Packet type, ARPHRD, length of the address, address and ethertype, of 2, 2, 2, 8 and 2 bytes.
    fn of_sll(bytes: &'a [u8]) -> Self {
        let Some((header, payload)) = bytes.split_first_chunk::<16>() else { return Self::NOTHING };
        let number = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let length = usize::from(number(4)).min(8);
        Self {
            protocol: number(14),
            hardware: number(2),
            packet_type: Some(header[1]),
            source: bytes.get(6..6 + length).unwrap_or_default(),
            destination: &[],
            payload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::frame::{Ifindex, InterfaceKind, Timestamp};

    fn frame(
        link_type: LinkType,
        direction: Option<Direction>,
        vlan: Option<u16>,
        bytes: &[u8],
    ) -> Frame<'_> {
        let place = direction.map(|direction| Place {
            ifindex: Ifindex(0x0102),
            kind: InterfaceKind::Pod,
            direction,
            local_socket: None,
            cgroup: None,
        });
        let original_length = bytes.len() as u32 + 100;
        Frame { time: Timestamp::default(), place, link_type, original_length, vlan, bytes }
    }

    #[track_caller]
    fn check(frame: &Frame<'_>, encapsulation: Encapsulation, expected: &[u8]) {
        let wrapped = wrap(frame, encapsulation);
        assert_eq!(wrapped.parts().concat(), expected);
        assert_eq!(wrapped.original_length, expected.len() as u32 + 100);
    }

    const ETHERNET: &[u8] = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0payload";

    #[test]
    fn what_is_kept_is_not_touched() {
        let kept = Encapsulation::Ethernet;
        check(&frame(LinkType::Ethernet, None, None, ETHERNET), kept, ETHERNET);
        check(&frame(LinkType::Ethernet, None, None, b"short"), kept, b"short");
        let raw = Encapsulation::RawIp;
        check(&frame(LinkType::RawIp, None, None, b"\x45payload"), raw, b"\x45payload");
    }

    #[test]
    fn a_tag_that_the_kernel_took_out_comes_back() {
        let tagged = frame(LinkType::Ethernet, Some(Direction::Ingress), Some(7), ETHERNET);
        let expected = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x81\0\0\x07\x08\0payload";
        check(&tagged, Encapsulation::Ethernet, expected);
        let expected = b"\x81\0\0\0\0\0\x01\x02\0\x01\0\x06\x02\0\0\0\0\x02\0\0\0\x07\x08\0payload";
        check(&tagged, Encapsulation::Cooked, expected);
    }

    #[test]
    fn ethernet_is_cooked() {
        let expected = |direction: u8, sender: &[u8]| {
            let parts: [&[u8]; 4] =
                [b"\x08\0\0\0\0\0\x01\x02\0\x01", &[direction, 6], sender, b"\0\0payload"];
            parts.concat()
        };
        let sender = b"\x02\0\0\0\0\x02";
        for (direction, packet_type) in [(Direction::Ingress, 0), (Direction::Egress, 4)] {
            let seen = frame(LinkType::Ethernet, Some(direction), None, ETHERNET);
            check(&seen, Encapsulation::Cooked, &expected(packet_type, sender));
        }
        let to_all = [&[0xff; 6], &ETHERNET[6..]].concat();
        let seen = frame(LinkType::Ethernet, Some(Direction::Ingress), None, &to_all);
        check(&seen, Encapsulation::Cooked, &expected(1, sender));
        // Tags in the bytes stay where they are.
        let tagged = [&ETHERNET[..12], b"\x81\0\0\x07", &ETHERNET[12..]].concat();
        let seen = frame(LinkType::Ethernet, None, None, &tagged);
        let expected = b"\x81\0\0\0\0\0\0\0\0\x01\0\x06\x02\0\0\0\0\x02\0\0\0\x07\x08\0payload";
        check(&seen, Encapsulation::Cooked, expected);
    }

    /// A file may claim any length.
    #[test]
    fn lengths_stay_within_what_is_read() {
        let bytes = vec![0x45; SNAPLEN as usize];
        let seen = Frame { original_length: u32::MAX, ..frame(LinkType::RawIp, None, None, &bytes) };
        let wrapped = wrap(&seen, Encapsulation::Cooked);
        assert_eq!(wrapped.parts().concat().len(), SNAPLEN as usize);
        assert_eq!(wrapped.original_length, u32::MAX);
        let short = Frame { original_length: 0, ..frame(LinkType::Ethernet, None, None, ETHERNET) };
        assert_eq!(wrap(&short, Encapsulation::Cooked).original_length, 20 - 14);
    }

    #[test]
    fn other_files_are_cooked() {
        let cooked = b"\x08\0\0\0\0\0\0\0\x03\x04\x04\x06\0\0\0\0\0\0\0\0\x45payload";
        let sll = b"\0\x04\x03\x04\0\x06\0\0\0\0\0\0\0\0\x08\0\x45payload";
        check(&frame(LinkType::LinuxSll, None, None, sll), Encapsulation::Cooked, cooked);
        check(&frame(LinkType::LinuxSll, None, None, sll), Encapsulation::LinuxSll, sll);
        check(&frame(LinkType::LinuxSll2, None, None, cooked), Encapsulation::Cooked, cooked);
        let header = b"\x08\0\0\0\0\0\0\0\xff\xfe\0\0\0\0\0\0\0\0\0\0";
        for (link_type, bytes) in [
            (LinkType::Loopback, &b"\x02\0\0\0\x45payload"[..]),
            (LinkType::Loopback, b"\0\0\0\x02\x45payload"),
            (LinkType::Ppp, b"\xff\x03\0\x21\x45payload"),
        ] {
            let seen = frame(link_type, None, None, bytes);
            check(&seen, Encapsulation::keeping(link_type), &[header, &b"\x45payload"[..]].concat());
        }
    }

    #[test]
    fn raw_ip_is_cooked() {
        for (bytes, protocol) in [(b"\x45payload", [8, 0]), (b"\x60payload", [0x86, 0xdd])] {
            let seen = frame(LinkType::RawIp, Some(Direction::Egress), None, bytes);
            let header = [&protocol[..], b"\0\0\0\0\x01\x02\xff\xfe\x04\0\0\0\0\0\0\0\0\0"].concat();
            check(&seen, Encapsulation::Cooked, &[&header[..], bytes].concat());
            let header = [&[0; 12][..], &protocol].concat();
            check(&seen, Encapsulation::Ethernet, &[&header[..], bytes].concat());
        }
    }
}
