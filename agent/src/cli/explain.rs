//! `nslookout explain`: the page of a finding, as `rustc --explain` does.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::{ExplainArgs, threshold};
use crate::findings::FindingId;

pub(super) fn run(args: &ExplainArgs) -> Result<ExitCode> {
    let text = match &args.id {
        None => table(),
        Some(id) if id == "thresholds" => threshold::table(),
        Some(id) => match id.parse::<FindingId>() {
            Ok(id) => id.page().to_owned(),
            Err(unknown) => bail!(
                "there is no finding `{}`; the nearest is `{}`, and `nslookout explain` lists them all",
                unknown.0,
                nearest(id)
            ),
        },
    };
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("failed to write to standard output")
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Every finding with what it says, by the harm it may do.
fn table() -> String {
    FindingId::ALL.iter().map(|id| format!("{:<20} {}\n", id.as_str(), id.title())).collect()
}

/// The name that takes the fewest letters to change into.
fn nearest(text: &str) -> &'static str {
    let (text, names) = (text.to_lowercase(), FindingId::ALL.map(FindingId::as_str));
    names.into_iter().min_by_key(|name| distance(&text, name)).unwrap_or_default()
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
            ("trunctated-no-tcp", "truncated-no-tcp"),
            ("searchstopped", "search-stopped"),
            ("musl", "old-musl"),
            ("SERVFAIL", "servfail"),
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
