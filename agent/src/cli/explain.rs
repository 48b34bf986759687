//! `nslookout explain`: the page of a finding, as `rustc --explain` does.

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::{ExplainArgs, print, threshold};
use crate::findings::FindingId;

pub(super) fn run(args: &ExplainArgs) -> Result<ExitCode> {
    let text = match &args.id {
        None => table(),
        Some(id) if id == "thresholds" => threshold::table(),
        Some(id) => match id.parse::<FindingId>() {
            Ok(id) => id.page().to_owned(),
            Err(unknown) => match nearest(id) {
                Some(name) => bail!(
                    "there is no finding `{}`; the nearest is `{name}`, and `nslookout explain` lists them all",
                    unknown.0.escape_debug()
                ),
                None => bail!(
                    "there is no finding `{}`; `nslookout explain` lists them all",
                    unknown.0.escape_debug()
                ),
            },
        },
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Every finding with what it says, by the harm it may do.
fn table() -> String {
    FindingId::ALL.iter().map(|id| format!("{:<20} {}\n", id.as_str(), id.title())).collect()
}

/// The name that is meant, as far as that can be told: one of which whole words were written, with at most a slip in
/// each (`truncated` of `truncated-no-tcp`), or one that takes few letters to change into. `None` where all are far.
fn nearest(text: &str) -> Option<&'static str> {
    let text = text.to_lowercase();
    let words = |text: &str| -> Vec<String> { text.split(['-', '_', ' ']).map(str::to_owned).collect() };
    let names = FindingId::ALL.map(FindingId::as_str).into_iter();
    // A word of two letters or three is in too many names.
    let is_meant = |name: &str| {
        let of_name = words(name);
        words(&text).iter().all(|word| {
            word.len() > 3 && of_name.iter().any(|other| distance(word, other) * 4 <= other.len())
        })
    };
    let score = |name: &'static str| (distance(&text, name), name);
    let best = names.clone().filter(|name| is_meant(name)).map(score).min();
    // A slip in every third letter is no slip any more.
    let best = best.or_else(|| names.map(score).min().filter(|(far, name)| far * 3 <= name.len()));
    best.map(|(_, name)| name)
}

/// Letters to insert, remove or replace (Levenshtein).
pub(super) fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for letter in from.chars() {
        let mut corner = row[0];
        row[0] += 1;
        for (place, other) in to.iter().enumerate() {
            let replaced = corner + usize::from(letter != *other);
            corner = row[place + 1];
            row[place + 1] = replaced.min(row[place] + 1).min(corner + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered() {
        let cases = [
            ("trunctated-no-tcp", Some("truncated-no-tcp")),
            ("searchstopped", Some("search-stopped")),
            ("musl", Some("old-musl")),
            ("SERVFAIL", Some("servfail")),
            ("truncated", Some("truncated-no-tcp")),
            ("trunctated", Some("truncated-no-tcp")),
            ("conntrack", Some("conntrack-race")),
            ("refusd", Some("refused")),
            ("no answer", None),
            ("nope", None),
            ("x", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(nearest(text), expected, "{text}");
        }
    }

    #[test]
    fn distances_are_those_of_letters() {
        for (from, to, expected) in [("", "", 0), ("a", "", 1), ("", "abc", 3), ("kitten", "sitting", 3)] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }
}
