//! The options of pcapng: what a block says beside its content.

use super::window::Order;

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

    /// The first value with that code.
    pub fn first(mut self, code: u16) -> Option<&'a [u8]> {
        self.find_map(|(other, value)| (other == code).then_some(value))
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
