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
    percentage(ratio(part, whole), 0)
}

/// A share of 1 in percent with so many decimals. What is not nothing is never told as 0 %, and what is not all never as
/// 100 %: `<1 %`, `>99 %`.
pub fn percentage(ratio: f64, decimals: usize) -> String {
    let least = 0.1_f64.powi(decimals as i32);
    let percent = 100.0 * ratio;
    if percent > 0.0 && percent < least / 2.0 {
        format!("<{least:.decimals$} %")
    } else if percent < 100.0 && percent >= 100.0 - least / 2.0 {
        format!(">{:.decimals$} %", 100.0 - least)
    } else {
        format!("{percent:.decimals$} %")
    }
}

/// `1 query`, `2 queries`.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_nothing_is_not_told_as_nothing() {
        for (part, whole, expected) in [
            (0, 0, "0 %"),
            (0, 9, "0 %"),
            (1, 1_000_000, "<1 %"),
            (4, 1000, "<1 %"),
            (6, 1000, "1 %"),
            (1, 2, "50 %"),
            (994, 1000, "99 %"),
            (996, 1000, ">99 %"),
            (7, 7, "100 %"),
        ] {
            assert_eq!(percent(part, whole), expected, "{part} of {whole}");
        }
        assert_eq!(
            [0, 1, 2].map(|count| counted(count, "query", "queries")),
            ["0 queries", "1 query", "2 queries"]
        );
        assert_eq!(percentage(1e-6, 2), "<0.01 %");
        assert_eq!(percentage(0.000_06, 2), "0.01 %");
        assert_eq!(percentage(0.999_999, 1), ">99.9 %");
    }
}
