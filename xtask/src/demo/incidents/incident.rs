//! One incident: who does what, which finding must open and when, and who must stay silent.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::findings::{Change, Severity, Watch};
use super::run::Run;
use crate::lab::Lab;

/// What an incident does and what must come of it.
pub struct Incident {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What happens, in words.
    pub title: &'static str,
    /// The clients, all started at once.
    pub runs: Vec<Run>,
    /// The findings that must open.
    pub expected: Vec<Expected>,
    /// The clients about which nothing, or not this, may be found.
    pub silent: Vec<Silent>,
}

/// A finding that must open.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Its id.
    pub id: &'static str,
    /// About which pod, or the node.
    pub who: String,
    /// The client's address, as the subject must have it unless it is about the server or interface alone.
    pub client: Option<&'static str>,
    /// The server's address, likewise.
    pub server: Option<&'static str>,
    /// The interface, likewise.
    pub interface: Option<&'static str>,
    /// At least.
    pub severity: Severity,
    /// A name that the finding must tell.
    pub qname: Option<&'static str>,
    /// At most this long after the begin of the incident, which is its first symptom: the time after which the rule
    /// first holds, and what the agent may add.
    pub within: Duration,
}

/// Somebody about whom nothing may be found, but for what is said.
#[derive(Clone, Debug)]
pub struct Silent {
    /// The pod's name.
    pub who: &'static str,
    /// Its address.
    pub address: &'static str,
    /// Nothing may be found, or only this may not.
    pub what: Forbidden,
}

/// What may not be found.
#[derive(Clone, Debug)]
pub enum Forbidden {
    /// Nothing but these, each up to a severity.
    AllBut(Vec<(&'static str, Severity)>),
    /// This one.
    Only(&'static str),
}

/// One line of the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Is it as it must be?
    pub good: bool,
    /// What was looked at.
    pub text: String,
}

impl Line {
    /// A line of the verdict.
    pub fn new(good: bool, text: String) -> Self {
        Self { good, text }
    }

    /// Prints it.
    pub fn print(&self) {
        println!("{}  {}", if self.good { "PASS" } else { "FAIL" }, self.text);
    }
}

impl Expected {
    /// The finding `id` about `pod` asking `server`, of severity warning or above, within `within`.
    pub fn about(
        lab: &Lab,
        id: &'static str,
        pod: &str,
        server: &'static str,
        within: Duration,
    ) -> Result<Self> {
        let client = Some(lab.pod(pod)?.address);
        let (who, server) = (pod.to_owned(), Some(server));
        let severity = Severity::Warning;
        Ok(Self { id, who, client, server, interface: None, severity, qname: None, within })
    }

    /// The same with another least severity.
    pub fn at_least(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }

    /// The same with a name that must be told.
    pub fn naming(self, qname: &'static str) -> Self {
        Self { qname: Some(qname), ..self }
    }

    /// The first change by which this was found, among those since the begin.
    pub fn first<'a>(&self, watch: &'a Watch, since: Instant) -> Option<&'a Change> {
        watch.changes_since(since).find(|change| self.is_met_by(change))
    }

    fn is_met_by(&self, change: &Change) -> bool {
        // A subject says what the finding is about; what it leaves open is no contradiction, but all of it would be.
        let wanted = [
            (self.client, &change.client),
            (self.server, &change.server),
            (self.interface, &change.interface),
        ];
        let contradicted = wanted.iter().any(|(wanted, given)| {
            wanted.zip(given.as_deref()).is_some_and(|(wanted, given)| wanted != given)
        });
        let named = wanted.iter().any(|(wanted, given)| wanted.is_some() && given.as_deref() == *wanted);
        change.id == self.id && !change.closed && change.severity >= self.severity && !contradicted && named
    }

    /// The address that a person would look for.
    pub fn key(&self) -> &'static str {
        self.client.or(self.interface).or(self.server).unwrap_or_default()
    }

    /// The verdict, where the incident began at `since`.
    pub fn judge(&self, watch: &Watch, since: Instant) -> Line {
        let what = format!("{:<20} {:<22} at least {:?}", self.id, self.who, self.severity);
        let limit = self.within.as_secs_f32();
        let Some(change) = self.first(watch, since) else {
            let instead: Vec<&str> = watch
                .changes_since(since)
                .filter(|change| change.id == self.id)
                .map(|it| it.line.as_str())
                .collect();
            let instead =
                if instead.is_empty() { "none of this id".to_owned() } else { instead.join("\n        ") };
            return Line::new(false, format!("{what}  not found; seen: {instead}"));
        };
        let after = change.at.duration_since(since).as_secs_f32();
        let is_told = |qname: &str| {
            change.line.contains(qname) || watch.words_about(self.id, self.key()).contains(qname)
        };
        let mut missing = String::new();
        if let Some(qname) = self.qname.filter(|qname| !is_told(qname)) {
            missing += &format!("; does not name {qname}");
        }
        if !change.has_remedy {
            missing += "; does not say what to change";
        }
        let good = after <= limit && missing.is_empty();
        Line::new(good, format!("{what}  {after:.1} s after the first symptom (limit {limit} s){missing}"))
    }
}

impl Silent {
    /// Nothing may be found about `pod`.
    pub fn of(lab: &Lab, pod: &'static str) -> Result<Self> {
        Self::but(lab, pod, &[])
    }

    /// Nothing may be found about `pod` but these.
    ///
    /// Of a client with musl 1.2.3 it is true, and no fault of the moment, that its resolver is old.
    pub fn but(lab: &Lab, pod: &'static str, allowed: &[(&'static str, Severity)]) -> Result<Self> {
        let what = Forbidden::AllBut(allowed.to_vec());
        Ok(Self { who: pod, address: lab.pod(pod)?.address, what })
    }

    /// The finding `id` may not be found about `pod`.
    pub fn never(lab: &Lab, pod: &'static str, id: &'static str) -> Result<Self> {
        Ok(Self { who: pod, address: lab.pod(pod)?.address, what: Forbidden::Only(id) })
    }

    fn is_broken_by(&self, change: &Change) -> bool {
        let forbidden = match &self.what {
            Forbidden::AllBut(allowed) => {
                !allowed.iter().any(|(id, most)| change.id == *id && change.severity <= *most)
            }
            Forbidden::Only(id) => change.id == *id,
        };
        forbidden && !change.closed && change.client.as_deref() == Some(self.address)
    }

    /// The verdict, where the incident began at `since`.
    pub fn judge(&self, watch: &Watch, since: Instant) -> Line {
        let broken: Vec<&str> = watch
            .changes_since(since)
            .filter(|it| self.is_broken_by(it))
            .map(|it| it.line.as_str())
            .collect();
        let what = match &self.what {
            Forbidden::AllBut(allowed) if allowed.is_empty() => "nothing found".to_owned(),
            Forbidden::AllBut(allowed) => {
                let ids: Vec<&str> = allowed.iter().map(|(id, _)| *id).collect();
                format!("nothing found (may be: {})", ids.join(", "))
            }
            Forbidden::Only(id) => format!("no {id}"),
        };
        let found =
            if broken.is_empty() { String::new() } else { format!(": {}", broken.join("\n        ")) };
        Line::new(broken.is_empty(), format!("{:<20} {:<22} {what}{found}", "control", self.who))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(id: &str, client: Option<&str>, server: Option<&str>, severity: Severity) -> Change {
        Change {
            at: Instant::now(),
            id: id.to_owned(),
            closed: false,
            severity,
            client: client.map(str::to_owned),
            interface: None,
            server: server.map(str::to_owned),
            has_remedy: true,
            time: None,
            since_evidence: None,
            line: String::new(),
        }
    }

    fn expected() -> Expected {
        Expected {
            id: "servfail",
            who: "test".into(),
            client: Some("10.1.0.5"),
            server: Some("10.96.0.10"),
            interface: None,
            severity: Severity::Warning,
            qname: None,
            within: Duration::from_secs(5),
        }
    }

    #[test]
    fn a_finding_about_the_server_alone_meets_what_is_expected() {
        let warning = Severity::Warning;
        assert!(expected().is_met_by(&change("servfail", None, Some("10.96.0.10"), warning)));
        assert!(expected().is_met_by(&change(
            "servfail",
            Some("10.1.0.5"),
            Some("10.96.0.10"),
            Severity::High
        )));
        assert!(!expected().is_met_by(&change("servfail", None, None, warning)));
        assert!(!expected().is_met_by(&change("servfail", Some("10.1.0.6"), Some("10.96.0.10"), warning)));
        assert!(!expected().is_met_by(&change("servfail", None, Some("10.96.0.10"), Severity::Low)));
        assert!(!expected().is_met_by(&change("refused", None, Some("10.96.0.10"), warning)));
    }

    #[test]
    fn silence_is_about_one_client() {
        let what = Forbidden::AllBut(vec![("old-musl", Severity::Low)]);
        let silent = Silent { who: "test", address: "10.1.0.5", what };
        assert!(silent.is_broken_by(&change("servfail", Some("10.1.0.5"), None, Severity::Info)));
        assert!(!silent.is_broken_by(&change("servfail", Some("10.1.0.6"), None, Severity::High)));
        assert!(!silent.is_broken_by(&change("old-musl", Some("10.1.0.5"), None, Severity::Info)));
        assert!(silent.is_broken_by(&change("old-musl", Some("10.1.0.5"), None, Severity::High)));
    }
}
