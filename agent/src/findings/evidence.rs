//! Shares, as numbers and in words.

use super::{Measure, Quantity};

/// A share of 1, as evidence.
pub(super) fn share(name: &'static str, part: u64, whole: u64) -> Measure {
    Measure { name, value: Quantity::Ratio(ratio(part, whole)) }
}

/// A part of a whole; 0 of nothing.
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A share as people say it.
pub(super) fn percent(part: u64, whole: u64) -> String {
    format!("{:.0} %", ratio(part, whole) * 100.0)
}
