//! When it is told that the API server does not speak, and when that it does again: one line each, however often it fails.

use std::time::{Duration, Instant};

use super::error::Error;
use crate::identity::facts::Source;
use crate::identity::statement::Statement;

/// A server that spoke before has this long to come back before anybody is told: longer than it takes to start anew.
const GRACE: Duration = Duration::from_secs(10);
/// Failures that lie further apart are not one outage: a watch that is begun anew and has no news says nothing. Longer
/// than the longest pause between two attempts.
const APART: Duration = Duration::from_secs(150);

/// What was told, and since when it fails. Touches no clock: the time comes with the failure.
#[derive(Debug, Default)]
pub(super) struct Voice {
    has_spoken: bool,
    /// When the outage began, and its last failure.
    failing: Option<(Instant, Instant)>,
    /// The kind of failure that was told.
    told: Option<std::mem::Discriminant<Error>>,
}

impl Voice {
    /// Notes a failure; `true`: it is one to be told, and to begin anew after.
    ///
    /// A server that starts anew also refuses what it will allow: its rules are read after its port is open.
    pub(super) fn is_lost(&mut self, now: Instant) -> bool {
        let same = |(_, last): &(Instant, Instant)| now.duration_since(*last) < APART;
        let since = self.failing.filter(same).map_or(now, |(since, _)| since);
        self.failing = Some((since, now));
        !self.has_spoken || now.duration_since(since) >= GRACE
    }

    /// The line for a failure, unless one like it was told.
    pub(super) fn complain(&mut self, error: &Error) -> Option<Statement> {
        let kind = std::mem::discriminant(error);
        let is_new = self.told.replace(kind) != Some(kind);
        is_new.then(|| Statement::Silent(Source::Kubernetes, error.to_string()))
    }

    /// The server spoke; tells so where the contrary was told.
    pub(super) fn spoke(&mut self) -> Option<Statement> {
        self.has_spoken = true;
        self.failing = None;
        self.told.take().map(|_| Statement::Speaks(Source::Kubernetes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down() -> Error {
        Error::Unreachable { server: "10.96.0.1:443".into(), reason: "connection refused".into() }
    }

    fn forbidden() -> Error {
        Error::Forbidden { verb: "list", reason: String::new() }
    }

    #[test]
    fn an_outage_is_told_once_and_its_end_once() {
        let mut voice = Voice::default();
        let start = Instant::now();
        assert!(voice.is_lost(start), "it never spoke: told at once");
        assert!(
            matches!(voice.complain(&down()), Some(Statement::Silent(Source::Kubernetes, why)) if why.contains("refused"))
        );
        assert!(voice.is_lost(start + Duration::from_secs(1)));
        assert_eq!(voice.complain(&down()), None);
        assert_eq!(voice.spoke(), Some(Statement::Speaks(Source::Kubernetes)));
        assert_eq!(voice.spoke(), None);
    }

    #[test]
    fn a_server_that_starts_anew_is_waited_for() {
        let mut voice = Voice::default();
        voice.spoke();
        let start = Instant::now();
        assert!(!voice.is_lost(start));
        assert!(!voice.is_lost(start + GRACE / 2));
        assert!(voice.is_lost(start + GRACE));
    }

    #[test]
    fn two_short_failures_far_apart_are_no_outage() {
        let mut voice = Voice::default();
        voice.spoke();
        let start = Instant::now();
        assert!(!voice.is_lost(start));
        assert!(!voice.is_lost(start + APART));
        assert!(!voice.is_lost(start + 2 * APART));
    }

    #[test]
    fn each_reason_is_told_once() {
        let mut voice = Voice::default();
        assert!(voice.is_lost(Instant::now()));
        assert!(voice.complain(&forbidden()).is_some());
        assert_eq!(voice.complain(&forbidden()), None);
        assert!(voice.complain(&down()).is_some());
    }
}
