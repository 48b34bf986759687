//! The classic format: a header of 24 bytes, then records of a header of 16 bytes and a packet.
//!
//! draft-ietf-opsawg-pcap, and libpcap's `sf-pcap.c` for what that leaves out. Micro- and nanoseconds, both byte orders,
//! and Kuznetzov's variant with 8 more bytes in front of each packet, which Linux had in the nineties.

use super::link_types;
use super::window::{Order, Stop, Window};
use super::{Flaw, LARGEST_PACKET};
use crate::capture::frame::{Frame, LinkType, Timestamp};

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
const KUZNETZOV: u32 = 0xa1b2_cd34;

/// What the header of the file says.
pub(super) struct Pcap {
    order: Order,
    link_type: LinkType,
    /// Nanoseconds of one unit of the fraction.
    unit: u64,
    /// Length of a record's header.
    header: usize,
}

/// The byte order and the number, where these are the first bytes of this format.
pub(super) fn magic(first: [u8; 4]) -> Option<(Order, u32)> {
    [(Order::Little, u32::from_le_bytes(first)), (Order::Big, u32::from_be_bytes(first))]
        .into_iter()
        .find(|(_, number)| matches!(*number, MICROSECONDS | NANOSECONDS | KUZNETZOV))
}

impl Pcap {
    /// Reads the header of the file behind its [`magic`].
    pub(super) fn open(window: &mut Window, (order, magic): (Order, u32)) -> Result<Self, Flaw> {
        let head = window.head::<24>().map_err(|_| Flaw::Header)?;
        let (major, minor) = (order.u16(head, 4), order.u16(head, 6));
        if major != 2 {
            return Err(Flaw::Version("pcap", major, minor));
        }
        // The upper bits tell of frame check sequences, which IP's own length leaves out.
        let number = order.u32(head, 20) & 0x03ff_ffff;
        let link_type = link_types::known(number).ok_or(Flaw::LinkType(number))?;
        window.take(24);
        let unit = if magic == NANOSECONDS { 1 } else { 1_000 };
        Ok(Self { order, link_type, unit, header: if magic == KUZNETZOV { 24 } else { 16 } })
    }

    /// The next packet.
    #[inline]
    pub(super) fn next<'a>(&self, window: &'a mut Window) -> Result<Frame<'a>, Stop> {
        let head = window.head::<16>()?;
        let [seconds, fraction, length, original_length] = [0, 4, 8, 12].map(|at| self.order.u32(head, at));
        if length > LARGEST_PACKET {
            let most = LARGEST_PACKET;
            return Err(
                window.broken(format!("the record claims {length} bytes, a packet has {most} at most"))
            );
        }
        let whole = self.header + length as usize;
        window.need(whole)?;
        Ok(Frame {
            time: Timestamp::from_nanos(u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * self.unit),
            place: None,
            link_type: self.link_type,
            original_length,
            vlan: None,
            bytes: window.take(whole).get(self.header..).unwrap_or_default(),
        })
    }
}
