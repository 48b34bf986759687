//! What became of packets that could not be used as they are, for a person.

use super::link_types::{NOT_READ, Named};

/// Link types that are told apart; a file has few.
const MOST_LINK_TYPES: usize = 16;

/// Counts of them.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    link_types: Vec<(u16, Option<Box<str>>, u64)>,
    /// Of further link types.
    others: u64,
    /// Of an interface that the section does not describe.
    pub(super) undescribed: u64,
    /// Used, but they carry no time.
    pub(super) timeless: u64,
}

impl Skipped {
    /// A packet of interface `name` (of printable characters), whose link type is not read here.
    pub(super) fn link_type(&mut self, number: u16, name: &str) {
        let full = self.link_types.len() >= MOST_LINK_TYPES;
        match self.link_types.iter_mut().find(|(other, ..)| *other == number) {
            Some((_, of, count)) => {
                *count += 1;
                // More than one interface: none is named.
                if of.as_deref().is_some_and(|of| of != name) {
                    *of = None;
                }
            }
            None if full => self.others += 1,
            None => self.link_types.push((number, Some(name.into()), 1)),
        }
    }

    /// One line for each kind.
    pub(super) fn lines(&self) -> Vec<String> {
        let packets =
            |count: u64| if count == 1 { "1 packet".to_owned() } else { format!("{count} packets") };
        let mut lines = Vec::new();
        for (number, name, count) in &self.link_types {
            let of = match name.as_deref() {
                Some(name) if !name.is_empty() => format!(" of {name}"),
                _ => String::new(),
            };
            let (packets, number) = (packets(*count), Named(u32::from(*number)));
            lines.push(format!("{packets}{of} skipped: link type {number} {NOT_READ}"));
        }
        if self.others > 0 {
            lines.push(format!("{} of further link types skipped", packets(self.others)));
        }
        if self.undescribed > 0 {
            let packets = packets(self.undescribed);
            lines.push(format!("{packets} skipped: the file does not describe their interface"));
        }
        if self.timeless > 0 {
            let packets = packets(self.timeless);
            lines.push(format!(
                "{packets} without a time: that of the packet before was taken, so times tell nothing here"
            ));
        }
        lines
    }
}
