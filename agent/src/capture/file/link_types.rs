//! The numbers of link types (LINKTYPE_…, <https://www.tcpdump.org/linktypes.html>).

use std::fmt;

use crate::capture::frame::LinkType;

/// The link type with that number, if it is read here.
pub(super) fn known(number: u32) -> Option<LinkType> {
    Some(match number {
        0 | 108 => LinkType::Loopback,
        1 => LinkType::Ethernet,
        9 | 50 => LinkType::Ppp,
        // 12 and 14 are DLT_RAW of most systems and of OpenBSD, written by programs that mistake it for a LINKTYPE.
        12 | 14 | 101 | 228 | 229 => LinkType::RawIp,
        51 => LinkType::PppEther,
        113 => LinkType::LinuxSll,
        276 => LinkType::LinuxSll2,
        _ => return None,
    })
}

/// A number with its name, for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named(pub u32);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match name(self.0) {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => self.0.fmt(f),
        }
    }
}

/// What a link type that is not read here is called, as libpcap describes it.
fn name(number: u32) -> Option<&'static str> {
    Some(match number {
        6 => "IEEE 802.5 Token Ring",
        7 => "ARCNET",
        8 => "SLIP",
        10 => "FDDI",
        104 => "Cisco HDLC",
        105 => "IEEE 802.11",
        107 => "Frame Relay",
        117 => "OpenBSD pflog file",
        119 => "802.11 plus Prism header",
        122 => "IP over Fibre Channel",
        127 => "802.11 plus radiotap header",
        138 => "Apple IP over IEEE 1394",
        147..=162 => "for private use",
        163 => "802.11 plus AVS header",
        166 | 204 => "PPP with direction",
        187 | 201 => "Bluetooth HCI UART transport layer",
        189 => "USB with Linux header",
        192 => "Per-Packet Information",
        195 => "IEEE 802.15.4 with FCS",
        197 => "Endace ERF header",
        220 => "USB with padded Linux header",
        227 => "CAN (SocketCAN)",
        230 => "IEEE 802.15.4 without FCS",
        231 => "D-Bus",
        239 => "Linux netfilter log messages",
        247 => "InfiniBand",
        249 => "USB with USBPcap header",
        251 => "Bluetooth Low Energy",
        252 => "Wireshark upper PDU export",
        253 => "Linux netlink",
        254 => "Bluetooth Linux monitor",
        258 => "Apple DLT_PKTAP",
        _ => return None,
    })
}

/// What to do about it.
pub(super) const NOT_READ: &str = "is not read here; record with `tcpdump -i any`, or choose another type (`tcpdump -L` lists, `-y` takes one)";
