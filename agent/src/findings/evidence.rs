//! Shares, as numbers and in words.

use std::time::Duration;

use super::{Measure, Quantity};

/// A share of 1, as evidence.
pub(super) fn share(name: &'static str, part: u64, whole: u64) -> Measure {
    Measure { name, value: Quantity::Ratio(ratio(part, whole)) }
}

/// A part of a whole; 0 of nothing.
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A length of time as people say it: `2 s`, `300 ms`.
pub(super) fn words(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        short if short < 1.0 => format!("{} ms", short * 1e3),
        long => format!("{long} s"),
    }
}

/// A share as people say it.
pub(super) fn percent(part: u64, whole: u64) -> String {
    format!("{:.0} %", ratio(part, whole) * 100.0)
}
