//! `--threshold NAME=VALUE`, and the table of all thresholds.

use std::time::Duration;

use super::explain::distance;
use super::parse_duration;
use crate::findings::{Quantity, TABLE, Threshold, Thresholds};

/// A threshold that the user has set.
#[derive(Clone)]
pub(super) struct Set {
    threshold: &'static Threshold,
    value: Quantity,
}

impl Set {
    /// Sets it; it was found to fit when it was read.
    pub(super) fn apply(&self, thresholds: &mut Thresholds) {
        self.threshold.set(thresholds, &self.value);
    }
}

/// Where all thresholds are told.
const WAY_OUT: &str = "`nslookout explain thresholds` lists them all";

/// Reads `NAME=VALUE`.
pub(super) fn parse(text: &str) -> Result<Set, String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(format!("`{text}` is no NAME=VALUE; {WAY_OUT}"));
    };
    let Some(threshold) = Thresholds::named(name) else {
        return Err(format!(
            "there is no threshold `{name}`; the nearest is `{}`, and {WAY_OUT}",
            nearest(name)
        ));
    };
    let default = threshold.get(&Thresholds::default());
    let parsed = match default {
        Quantity::Count(_) => value.parse().ok().map(Quantity::Count),
        Quantity::Ratio(_) => value.parse().ok().map(Quantity::Ratio),
        Quantity::Time(_) => parse_duration(value).ok().map(Quantity::Time),
        Quantity::Text(_) => None,
    };
    let fits = |value: &Quantity| threshold.set(&mut Thresholds::default(), value);
    match parsed.filter(fits) {
        Some(value) => Ok(Set { threshold, value }),
        None => Err(format!(
            "`{value}` is no value of {name}; write {}, and {WAY_OUT}",
            kind(threshold, &default)
        )),
    }
}

/// What may be written, with an example.
fn kind(threshold: &Threshold, default: &Quantity) -> String {
    let most = threshold.most;
    match default {
        Quantity::Time(_) => {
            format!("a time up to {}, e.g. {}", written(&time(most)), written(default))
        }
        Quantity::Ratio(_) => format!("a share above 0 and up to {most}, e.g. {}", written(default)),
        _ => format!("a whole number from 1 to {most}, e.g. {}", written(default)),
    }
}

fn time(seconds: f64) -> Quantity {
    Quantity::Time(Duration::from_secs_f64(seconds))
}

/// A value as it is typed.
fn written(value: &Quantity) -> String {
    match value {
        Quantity::Count(count) => count.to_string(),
        Quantity::Ratio(share) => share.to_string(),
        Quantity::Time(time) if *time < Duration::from_secs(1) => {
            format!("{}ms", time.as_secs_f64() * 1e3)
        }
        Quantity::Time(time) => format!("{}s", time.as_secs_f64()),
        Quantity::Text(text) => text.clone(),
    }
}

fn nearest(name: &str) -> &'static str {
    let name = name.to_lowercase();
    TABLE
        .iter()
        .map(|threshold| threshold.name)
        .min_by_key(|other| distance(&name, other))
        .unwrap_or_default()
}

/// Every threshold: name, default, what it is, and where that comes from.
pub(super) fn table() -> String {
    let defaults = Thresholds::default();
    let line = |threshold: &Threshold| {
        let Threshold { name, what, source, .. } = threshold;
        format!("{name:<32} {:<6} {what} ({source})\n", written(&threshold.get(&defaults)))
    };
    let head = "Set one with --threshold NAME=VALUE; sections are those of docs/facts.md.\n\n";
    head.to_owned() + &TABLE.iter().map(line).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_threshold_can_be_set_by_its_name() {
        for threshold in TABLE {
            let default = threshold.get(&Thresholds::default());
            let other = match &default {
                Quantity::Time(time) => Quantity::Time(*time / 2),
                Quantity::Ratio(share) => Quantity::Ratio(share / 2.0),
                Quantity::Count(count) => Quantity::Count(count - 1),
                Quantity::Text(_) => unreachable!(),
            };
            let text = format!("{}={}", threshold.name, written(&other));
            let mut thresholds = Thresholds::default();
            parse(&text).unwrap_or_else(|error| panic!("{error}")).apply(&mut thresholds);
            for one in TABLE {
                let expected =
                    if one.name == threshold.name { &other } else { &one.get(&Thresholds::default()) };
                assert_eq!(one.get(&thresholds), *expected, "{} after {text}", one.name);
            }
            assert!(table().contains(&format!("{:<32} {:<6} ", threshold.name, written(&default))));
        }
    }

    #[test]
    fn what_cannot_be_set_is_told_with_a_way_out() {
        let cases = [
            (
                "linklocal.packet=5",
                "there is no threshold `linklocal.packet`; the nearest is `linklocal.packets`",
            ),
            ("linklocal.packets", "`linklocal.packets` is no NAME=VALUE"),
            ("linklocal.packets=0", "a whole number from 1 to 1000000000, e.g. 1024"),
            ("linklocal.warning=1.5", "a share above 0 and up to 1, e.g. 0.7"),
            (
                "truncated.comes-back=2",
                "`2` is no value of truncated.comes-back; write a time up to 30s, e.g. 2s",
            ),
            ("repetition.one-name=33", "a whole number from 1 to 32, e.g. 2"),
            ("linklocal.warning=NaN", "a share above 0"),
        ];
        for (text, expected) in cases {
            let error = parse(text).err().unwrap_or_default();
            assert!(error.contains(expected) && error.ends_with(WAY_OUT), "{text}: {error}");
        }
    }
}
