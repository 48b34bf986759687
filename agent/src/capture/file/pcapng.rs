//! pcapng: sections of blocks, each with its kind, its length in front and behind, and what it holds.
//!
//! draft-ietf-opsawg-pcapng. A section has its own byte order and interfaces; each interface its own link type, unit of
//! time and offset. Packets are handed out; what is said beside them goes to [`Recorded`]; everything else is passed over.

use super::clock::Clock;
use super::options::Options;
use super::skipped::Skipped;
use super::window::{LARGEST_HELD, Order, Stop, Window};
use super::{Flaw, LARGEST_PACKET, link_types};
use crate::capture::frame::{Direction, Frame, Ifindex, InterfaceKind, LinkType, Place, Timestamp};
use crate::capture::recorded::{self, Recorded, readable};

/// The kind of a block that begins a section; the same in both byte orders.
pub(super) const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
/// The first edition of [`ENHANCED_PACKET`], obsolete.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
/// May be copied to other files, or not.
const CUSTOM: [u32; 2] = [0x0000_0bad, 0x4000_0bad];

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// `if_name`.
const OPTION_NAME: u16 = 2;
/// `epb_flags`; `pack_flags` of the first edition.
const OPTION_FLAGS: u16 = 2;

/// A file with more of them is no capture.
const MOST_INTERFACES: usize = 65_536;

/// What was read so far of a section.
pub(super) struct Pcapng {
    order: Order,
    interfaces: Vec<Interface>,
    /// The time of the latest packet; that of those that have none.
    latest: Timestamp,
    skipped: Skipped,
}

/// What a section says of an interface.
struct Interface {
    /// `Err`: its number, where it is not read here.
    link_type: Result<LinkType, u16>,
    clock: Clock,
    snaplen: u32,
    place: Option<(Ifindex, InterfaceKind)>,
    /// Only where the link type is not read.
    name: Box<str>,
}

impl Pcapng {
    /// Reads the first section's header.
    pub(super) fn open(window: &mut Window) -> Result<Self, Flaw> {
        let (latest, skipped) = (Timestamp::default(), Skipped::default());
        let mut this = Self { order: Order::Little, interfaces: Vec::new(), latest, skipped };
        match this.section(window) {
            Ok(()) => Ok(this),
            Err(Stop::Broken { what, .. }) => Err(Flaw::Broken(what)),
            Err(Stop::End | Stop::Cut | Stop::Later | Stop::Reading) => Err(Flaw::Header),
        }
    }

    /// The packets that were passed over, for a person.
    pub(super) fn skipped(&self) -> &Skipped {
        &self.skipped
    }

    /// The next packet of an interface whose link type is read.
    pub(super) fn next<'a>(
        &mut self,
        window: &'a mut Window,
        notes: &mut Recorded,
    ) -> Result<Frame<'a>, Stop> {
        loop {
            let head = window.head::<8>()?;
            let (kind, total) = (self.order.u32(head, 0), self.order.u32(head, 4));
            let found = match kind {
                SECTION => {
                    self.section(window)?;
                    continue;
                }
                ENHANCED_PACKET | PACKET => self.packet(window, kind, total)?,
                SIMPLE_PACKET => self.simple_packet(window, total)?,
                _ => None,
            };
            if let Some(found) = found {
                let block = window.take(total as usize);
                let bytes = block.get(found.from..found.from + found.length).unwrap_or_default();
                let Found { time, place, link_type, original_length, .. } = found;
                return Ok(Frame { time, place, link_type, original_length, vlan: None, bytes });
            }
            match kind {
                ENHANCED_PACKET | PACKET | SIMPLE_PACKET => {}
                INTERFACE => self.interface(window, total, notes)?,
                kind if CUSTOM.contains(&kind) => self.custom(window, total, notes)?,
                _ => self.pass(window, total)?,
            }
        }
    }

    /// The header of a section; its byte order is that of all that follows.
    fn section(&mut self, window: &mut Window) -> Result<(), Stop> {
        let head = window.head::<16>()?;
        let order = [Order::Little, Order::Big].into_iter().find(|o| o.u32(head, 8) == BYTE_ORDER_MAGIC);
        let Some(order) = order else {
            return Err(window.broken("a section has no byte-order magic"));
        };
        let (total, version) = (order.u32(head, 4), [order.u16(head, 12), order.u16(head, 14)]);
        if version[0] != 1 {
            return Err(window
                .broken(format!("pcapng version {}.{} is not read here, 1.0 is", version[0], version[1])));
        }
        self.order = order;
        self.check_length(window, total, 28)?;
        self.pass(window, total)?;
        self.interfaces.clear();
        Ok(())
    }

    fn interface(&mut self, window: &mut Window, total: u32, notes: &mut Recorded) -> Result<(), Stop> {
        self.hold(window, total, 20)?;
        if self.interfaces.len() == MOST_INTERFACES {
            return Err(window.broken(format!("a section with more than {MOST_INTERFACES} interfaces")));
        }
        let head = window.head::<16>()?;
        let (number, snaplen) = (self.order.u16(head, 8), self.order.u32(head, 12));
        let options = self.options(window, 16, total);
        let Some(clock) = Clock::of(options.clone(), self.order) else {
            return Err(window.broken("an interface with a unit of time that no clock has"));
        };
        let link_type = link_types::known(number.into()).ok_or(number);
        let name = match (link_type, options.clone().first(OPTION_NAME)) {
            (Err(_), Some(name)) => readable(name).into(),
            _ => Box::default(),
        };
        let place = notes.interface(options);
        window.take(total as usize);
        self.interfaces.push(Interface { link_type, clock, snaplen, place, name });
        Ok(())
    }

    /// Both editions of a packet with an interface and a time: they differ in the width of the interface's number.
    fn packet(&mut self, window: &mut Window, kind: u32, total: u32) -> Result<Option<Found>, Stop> {
        self.check_length(window, total, 32)?;
        let order = self.order;
        let head = window.head::<28>()?;
        let id = if kind == PACKET { order.u16(head, 8).into() } else { order.u32(head, 8) };
        let [high, low, length, original_length] = [12, 16, 20, 24].map(|at| order.u32(head, at));
        let Some(&Interface { link_type: Ok(link_type), clock, place, .. }) =
            self.interfaces.get(id as usize)
        else {
            self.pass(window, total)?;
            self.skip_of(id);
            return Ok(None);
        };
        if length > LARGEST_PACKET {
            return Err(too_long(window, length));
        }
        self.hold(window, total, 32)?;
        // The packet is padded to four bytes; the length behind it takes the last four.
        let end = 28 + (length as usize).next_multiple_of(4);
        if end + 4 > total as usize {
            return Err(
                window.broken(format!("a packet of {length} bytes does not fit into a block of {total}"))
            );
        }
        let time = clock.time(u64::from(high) << 32 | u64::from(low));
        self.latest = time;
        let place = match place {
            Some(place) => place_of(place, self.options(window, end, total), order),
            None => None,
        };
        Ok(Some(Found { time, place, link_type, original_length, from: 28, length: length as usize }))
    }

    /// A packet of the first interface, without a time; cut at that interface's snap length.
    fn simple_packet(&mut self, window: &mut Window, total: u32) -> Result<Option<Found>, Stop> {
        self.check_length(window, total, 16)?;
        let head = window.head::<12>()?;
        let original_length = self.order.u32(head, 8);
        let Some(&Interface { link_type: Ok(link_type), snaplen, .. }) = self.interfaces.first() else {
            self.pass(window, total)?;
            self.skip_of(0);
            return Ok(None);
        };
        let snaplen = if snaplen == 0 { u32::MAX } else { snaplen };
        let length = original_length.min(snaplen).min(total - 16);
        if length > LARGEST_PACKET {
            return Err(too_long(window, length));
        }
        self.hold(window, total, 16)?;
        self.skipped.timeless += 1;
        let length = length as usize;
        Ok(Some(Found { time: self.latest, place: None, link_type, original_length, from: 12, length }))
    }

    fn custom(&mut self, window: &mut Window, total: u32, notes: &mut Recorded) -> Result<(), Stop> {
        self.check_length(window, total, 16)?;
        if total as usize > LARGEST_HELD {
            return self.pass(window, total);
        }
        self.hold(window, total, 16)?;
        let head = window.head::<12>()?;
        let number = self.order.u32(head, 8);
        notes.custom(number, window.bytes().get(12..total as usize - 4).unwrap_or_default());
        window.take(total as usize);
        if notes.is_news() { Err(Stop::Reading) } else { Ok(()) }
    }

    /// Passes over a block; holds it where it can, to compare the lengths at both ends.
    fn pass(&self, window: &mut Window, total: u32) -> Result<(), Stop> {
        if total as usize > LARGEST_HELD {
            self.check_length(window, total, 12)?;
            window.skip(total.into());
        } else {
            self.hold(window, total, 12)?;
            window.take(total as usize);
        }
        Ok(())
    }

    /// Holds the whole block, of at least `least` bytes.
    #[inline]
    fn hold(&self, window: &mut Window, total: u32, least: u32) -> Result<(), Stop> {
        self.check_length(window, total, least)?;
        if total as usize > LARGEST_HELD {
            return Err(window.broken(format!("a block of {total} bytes, more than {LARGEST_HELD}")));
        }
        window.need(total as usize)?;
        let last = window.bytes().get(total as usize - 4..).and_then(<[u8]>::first_chunk::<4>);
        match last.map(|last| self.order.u32(last, 0)) {
            Some(behind) if behind == total => Ok(()),
            Some(behind) => {
                Err(window.broken(format!("a block of {total} bytes, but {behind} by the length at its end")))
            }
            None => Err(Stop::Cut),
        }
    }

    /// A block has its kind, two lengths, and comes in units of four bytes.
    #[inline]
    fn check_length(&self, window: &Window, total: u32, least: u32) -> Result<(), Stop> {
        if total < least || !total.is_multiple_of(4) {
            return Err(window.broken(format!(
                "a block of {total} bytes; its kind has {least} at least, and whole words"
            )));
        }
        Ok(())
    }

    fn options<'a>(&self, window: &'a Window, from: usize, total: u32) -> Options<'a> {
        Options::new(self.order, window.bytes().get(from..total as usize - 4).unwrap_or_default())
    }

    /// Counts a packet that was passed over.
    #[cold]
    fn skip_of(&mut self, id: u32) {
        match self.interfaces.get(id as usize) {
            Some(Interface { link_type: Err(number), name, .. }) => self.skipped.link_type(*number, name),
            _ => self.skipped.undescribed += 1,
        }
    }
}

#[cold]
fn too_long(window: &Window, length: u32) -> Stop {
    window.broken(format!("a packet claims {length} bytes, the most is {LARGEST_PACKET}"))
}

/// A packet in the block at the beginning of the window.
struct Found {
    time: Timestamp,
    place: Option<Place>,
    link_type: LinkType,
    original_length: u32,
    /// Where in the block its bytes begin, and how many there are.
    from: usize,
    length: usize,
}

/// The two lowest bits of the flags tell the direction: 1 is inbound, 2 outbound (section 4.3.1).
fn place_of((ifindex, kind): (Ifindex, InterfaceKind), options: Options<'_>, order: Order) -> Option<Place> {
    let flags = options.clone().first(OPTION_FLAGS)?.first_chunk::<4>()?;
    let direction = match order.u32(flags, 0) & 0b11 {
        1 => Direction::Ingress,
        2 => Direction::Egress,
        _ => return None,
    };
    let (local_socket, cgroup) = recorded::sender(options);
    Some(Place { ifindex, kind, direction, local_socket, cgroup })
}

#[cfg(test)]
mod tests;
