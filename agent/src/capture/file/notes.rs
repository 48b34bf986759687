//! What a pcapng file says beside its packets, for whoever can read it.

use super::window::Order;
use crate::capture::frame::{Ifindex, InterfaceKind};

/// Takes what stands beside the packets, in the order of the file.
///
/// All of it may come from anywhere: nothing may be believed that cannot be checked, and nothing may panic.
pub trait Notes {
    /// An interface is described; the answer is where its packets were seen.
    ///
    /// A section begins anew with interface 0.
    fn interface(&mut self, _description: &Description<'_>) -> Option<(Ifindex, InterfaceKind)> {
        None
    }

    /// The options of a packet whose interface has a place: did a process of that machine send it?
    fn local_socket(&mut self, _options: Options<'_>) -> Option<bool> {
        None
    }

    /// A custom block, of a private enterprise number and up to 512 KiB. Its bytes end with up to three of padding, and
    /// perhaps with options: only the writer knows where.
    fn custom(&mut self, _enterprise: u32, _bytes: &[u8]) {}
}

/// Takes no notice.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNotes;

impl Notes for NoNotes {}

/// What a file says of an interface.
#[derive(Clone, Debug)]
pub struct Description<'a> {
    /// Its number in this section.
    pub id: u32,
    /// LINKTYPE_….
    pub link_type: u32,
    /// All that is said of it.
    pub options: Options<'a>,
}

impl<'a> Description<'a> {
    /// `if_name`: as the machine called it.
    pub fn name(&self) -> Option<&'a str> {
        self.text(2)
    }

    /// `if_description`.
    pub fn description(&self) -> Option<&'a str> {
        self.text(3)
    }

    /// `opt_comment`; the first one.
    pub fn comment(&self) -> Option<&'a str> {
        self.text(1)
    }

    fn text(&self, code: u16) -> Option<&'a str> {
        let (_, value) = self.options.clone().find(|(other, _)| *other == code)?;
        std::str::from_utf8(value).ok()
    }
}

/// The options of a block: code and value, in their order, up to the first that does not fit.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    order: Order,
    rest: &'a [u8],
}

impl<'a> Options<'a> {
    pub(super) fn new(order: Order, rest: &'a [u8]) -> Self {
        Self { order, rest }
    }

    /// The values of custom options (2988, 2989, 19372, 19373) with that private enterprise number.
    pub fn custom(self, enterprise: u32) -> impl Iterator<Item = &'a [u8]> {
        let order = self.order;
        self.filter(|(code, _)| matches!(code, 2988 | 2989 | 19372 | 19373)).filter_map(move |(_, value)| {
            let (number, value) = value.split_first_chunk::<4>()?;
            (order.u32(number, 0) == enterprise).then_some(value)
        })
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.rest.split_first_chunk::<4>()?;
        let (code, length) = (self.order.u16(head, 0), usize::from(self.order.u16(head, 2)));
        // opt_endofopt
        if code == 0 {
            self.rest = &[];
            return None;
        }
        let Some(value) = rest.get(..length) else {
            self.rest = &[];
            return None;
        };
        // Some writers leave out the padding of the last one.
        self.rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    }
}
