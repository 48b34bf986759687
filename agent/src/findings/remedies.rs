//! What helps in more than one finding: the exact lines (facts.md section 3.1).

use super::{Measure, Quantity, Remedy, RemedyPlace};

/// A remedy with its lines.
pub(super) fn remedy(what: &str, place: RemedyPlace, lines: &[&str]) -> Remedy {
    Remedy { what: what.to_owned(), place, lines: lines.iter().map(|line| (*line).to_owned()).collect() }
}

/// How many, as evidence.
pub(super) fn count(name: &'static str, count: impl TryInto<u64>) -> Measure {
    Measure { name, value: Quantity::Count(count.try_into().unwrap_or(u64::MAX)) }
}

/// A text, as evidence.
pub(super) fn text(name: &'static str, text: impl ToString) -> Measure {
    Measure { name, value: Quantity::Text(text.to_string()) }
}
