//! The clocks of pcapng: each interface has its own unit of time and its own zero.

use super::options::Options;
use super::window::Order;
use crate::capture::frame::Timestamp;

const OPTION_RESOLUTION: u16 = 9;
const OPTION_OFFSET: u16 = 14;

/// Turns the stamps of an interface into nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    unit: Unit,
    /// `if_tsoffset` in nanoseconds: what is to be added.
    offset: i128,
}

/// What a stamp counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// So many nanoseconds.
    Nanoseconds(u64),
    /// Parts of a nanosecond: so many of them.
    Parts(u64),
    /// Seconds divided by that power of two.
    Binary(u32),
}

impl Clock {
    /// By the options of an interface; `None` for a unit that 64 bits cannot count in a second.
    pub(super) fn of(options: Options<'_>, order: Order) -> Option<Self> {
        let (mut unit, mut offset) = (Unit::Nanoseconds(1_000), 0);
        for (code, value) in options {
            match (code, value) {
                (OPTION_RESOLUTION, [power, ..]) => unit = Unit::of(*power)?,
                (OPTION_OFFSET, value) => {
                    let Some(bytes) = value.first_chunk::<8>() else { continue };
                    let seconds = match order {
                        Order::Little => i64::from_le_bytes(*bytes),
                        Order::Big => i64::from_be_bytes(*bytes),
                    };
                    offset = i128::from(seconds) * 1_000_000_000;
                }
                _ => {}
            }
        }
        Some(Self { unit, offset })
    }

    /// Never before the epoch, and never behind what 64 bits of nanoseconds hold (the year 2554).
    #[inline]
    pub(super) fn time(self, stamp: u64) -> Timestamp {
        let nanos = match self.unit {
            Unit::Nanoseconds(each) if self.offset == 0 => {
                return Timestamp::from_nanos(stamp.saturating_mul(each));
            }
            Unit::Nanoseconds(each) => i128::from(stamp) * i128::from(each),
            Unit::Parts(parts) => i128::from(stamp / parts),
            Unit::Binary(power) => (i128::from(stamp) * 1_000_000_000) >> power,
        };
        Timestamp::from_nanos((nanos + self.offset).clamp(0, u64::MAX.into()) as u64)
    }
}

impl Unit {
    /// `if_tsresol` (section 4.2): a negative power of ten, or of two where the highest bit is set.
    fn of(power: u8) -> Option<Self> {
        match power {
            0..=9 => Some(Self::Nanoseconds(10_u64.pow(9 - u32::from(power)))),
            10..=19 => Some(Self::Parts(10_u64.pow(u32::from(power) - 9))),
            0x80..=0xbf => Some(Self::Binary(u32::from(power & 0x7f))),
            _ => None,
        }
    }
}
