//! Reads what libFuzzer writes: its figures, and the input that it found fault with.

/// What one run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// Inputs that were tried.
    pub executions: u64,
    per_second: u64,
    /// Edges of the program that were reached.
    coverage: u64,
    /// Edges, told apart by how often and with what they were reached.
    features: u64,
    /// Inputs that are worth keeping, and their size.
    corpus: String,
    peak_mib: u64,
    slowest_seconds: u64,
}

impl Figures {
    /// Takes the last of each figure; a run that ended badly lacks some.
    pub fn read(text: &str) -> Self {
        let stat =
            |name: &str| last_after(text, &format!("stat::{name}:")).and_then(|word| word.parse().ok());
        let number = |name: &str| last_after(text, name).and_then(|word| word.parse().ok());
        let executed = || {
            text.lines()
                .rev()
                .find_map(|line| line.strip_prefix('#')?.split_whitespace().next()?.parse().ok())
        };
        Self {
            executions: stat("number_of_executed_units").or_else(executed).unwrap_or(0),
            per_second: stat("average_exec_per_sec").or_else(|| number(" exec/s:")).unwrap_or(0),
            coverage: number(" cov:").unwrap_or(0),
            features: number(" ft:").unwrap_or(0),
            corpus: last_after(text, " corp:").unwrap_or("0").to_owned(),
            peak_mib: stat("peak_rss_mb").unwrap_or(0),
            slowest_seconds: stat("slowest_unit_time_sec").unwrap_or(0),
        }
    }

    /// As a row of a table, without the name.
    pub fn cells(&self) -> Vec<String> {
        let Self { executions, per_second, coverage, features, corpus, peak_mib, slowest_seconds } = self;
        vec![
            executions.to_string(),
            per_second.to_string(),
            coverage.to_string(),
            features.to_string(),
            corpus.clone(),
            peak_mib.to_string(),
            slowest_seconds.to_string(),
        ]
    }
}

/// The word behind the last occurrence of `name`.
fn last_after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, behind) = text.rsplit_once(name)?;
    behind.split_whitespace().next()
}

/// The file in which libFuzzer left the input.
pub(super) fn artifact(text: &str) -> Option<&str> {
    let (_, behind) = text.rsplit_once("Test unit written to ")?;
    behind.lines().next()
}

/// What was wrong: the panic, or libFuzzer's own verdict.
pub(super) fn cause(text: &str) -> String {
    let mut lines = text.lines();
    let panicked = lines.by_ref().find(|line| line.contains("panicked at"));
    match panicked {
        Some(place) => format!("{place} {}", lines.next().unwrap_or_default()),
        None => text.lines().find(|line| line.contains("ERROR: ")).unwrap_or("it ended badly").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_run_that_ended_well() {
        let text = "#2\tINITED cov: 12 ft: 13 corp: 1/1b exec/s: 0 rss: 30Mb\n\
            #999\tDONE   cov: 456 ft: 789 corp: 12/34Kb lim: 100 exec/s: 99 rss: 40Mb\n\
            stat::number_of_executed_units: 999\nstat::average_exec_per_sec:     99\n\
            stat::new_units_added:          7\nstat::slowest_unit_time_sec:    0\nstat::peak_rss_mb:              41\n";
        let figures = Figures {
            executions: 999,
            per_second: 99,
            coverage: 456,
            features: 789,
            corpus: "12/34Kb".into(),
            peak_mib: 41,
            slowest_seconds: 0,
        };
        assert_eq!(Figures::read(text), figures);
        assert_eq!(artifact(text), None);
    }

    #[test]
    fn a_crash_says_what_and_where() {
        let text = "#77\tNEW    cov: 5 ft: 6 corp: 2/3b exec/s: 1 rss: 3Mb\n\
            thread '<unnamed>' panicked at agent/src/dns.rs:1:2:\nattempt to add with overflow\n\
            ==1== ERROR: libFuzzer: deadly signal\n\
            artifact_prefix='/a/'; Test unit written to /a/crash-0123\nBase64: AA==\n";
        assert_eq!(Figures::read(text).executions, 77);
        assert_eq!(artifact(text), Some("/a/crash-0123"));
        assert_eq!(
            cause(text),
            "thread '<unnamed>' panicked at agent/src/dns.rs:1:2: attempt to add with overflow"
        );
        assert_eq!(
            cause("==1== ERROR: libFuzzer: timeout after 10 seconds\n"),
            "==1== ERROR: libFuzzer: timeout after 10 seconds"
        );
    }
}
