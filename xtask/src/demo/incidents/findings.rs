//! The findings of a running agent: what `watch --findings` has said, and when.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::demo::agent::Agent;
use crate::lab::Lab;

/// How harmful a finding is, as the agent says it; a later one is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// `info`
    Info,
    /// `low`
    Low,
    /// `warning`
    Warning,
    /// `high`
    High,
}

impl Severity {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "info" => Some(Self::Info),
            "low" => Some(Self::Low),
            "warning" => Some(Self::Warning),
            "high" => Some(Self::High),
            _ => None,
        }
    }
}

/// A finding that opened, changed or closed.
#[derive(Clone, Debug)]
pub struct Change {
    /// When its line was there to be read.
    pub at: Instant,
    /// Its id, `truncated-no-tcp`.
    pub id: String,
    /// Did it close?
    pub closed: bool,
    /// Its severity at that moment.
    pub severity: Severity,
    /// The client's address, where the finding is about a client.
    pub client: Option<String>,
    /// The interface, where it is about one.
    pub interface: Option<String>,
    /// The server's address, where it is about a server.
    pub server: Option<String>,
    /// Does it say what to change?
    pub has_remedy: bool,
    /// The agent's own time of this change.
    pub time: Option<String>,
    /// From its last evidence to this change, by the agent's own times.
    pub since_evidence: Option<Duration>,
    /// The line as it was read.
    pub line: String,
}

impl Change {
    /// Reads one line; `None` where it is not a finding.
    fn parse(line: &str, at: Instant) -> Option<Self> {
        let object: Value = serde_json::from_str(line).ok()?;
        let subject = |member: &str| object["subject"][member].as_str().map(str::to_owned);
        Some(Self {
            at,
            id: object["finding"].as_str()?.to_owned(),
            closed: object["state"] == "closed",
            severity: Severity::parse(object["severity"].as_str()?)?,
            client: subject("client"),
            interface: subject("interface"),
            server: subject("server"),
            has_remedy: object["remedies"].as_array().is_some_and(|remedies| !remedies.is_empty()),
            time: object["time"].as_str().map(str::to_owned),
            since_evidence: between(&object["last_seen"], &object["time"]),
            line: line.to_owned(),
        })
    }
}

/// The first that closed, but for those that another finding of the same rule and client or server took in, as it opened.
fn first_closed(changes: &[Change]) -> Option<&Change> {
    let takes_in = |other: &Change, closed: &Change| {
        let same = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
        other.id == closed.id
            && !other.closed
            && (&other.client, &other.server) != (&closed.client, &closed.server)
            && (same(&other.client, &closed.client) || same(&other.server, &closed.server))
            && other.time.is_some()
            && other.time == closed.time
    };
    let is_taken_in = |closed: &Change| changes.iter().any(|other| takes_in(other, closed));
    changes.iter().find(|change| change.closed && !is_taken_in(change))
}

/// The time between two times of the agent, `None` where one is missing or they are out of order.
fn between(earlier: &Value, later: &Value) -> Option<Duration> {
    let parse = |value: &Value| value.as_str()?.parse::<jiff::Timestamp>().ok();
    Duration::try_from(parse(later)?.duration_since(parse(earlier)?)).ok()
}

/// The agents that watch for findings, one for the verdict and one for the eye.
pub struct Watch {
    json: Agent,
    text: Agent,
    changes: Vec<Change>,
    /// All that the second agent has printed.
    words: String,
}

/// How long after its last evidence a finding closes in the demo.
pub const CLOSE_AFTER: Duration = Duration::from_secs(30);

impl Watch {
    /// Starts both and waits until they listen everywhere.
    pub fn start(lab: &Lab, program: &Path, flags: &[String]) -> Result<Self> {
        let close_after = format!("{}s", CLOSE_AFTER.as_secs());
        let start = |name: &str, more: &[&str]| {
            let mut arguments = vec!["watch", "--findings", "-i", "any", "--close-after", &close_after];
            arguments.extend(more);
            arguments.extend(flags.iter().map(String::as_str));
            println!("$ nslookout {} &", arguments.join(" "));
            Agent::start(lab, program, name, &arguments)
        };
        let mut json = start("findings-json", &["-o", "json"])?;
        let mut text = start("findings", &["-v"])?;
        json.wait_until_listening()?;
        text.wait_until_listening()?;
        Ok(Self { json, text, changes: Vec::new(), words: String::new() })
    }

    /// Reads what has come since the last call.
    ///
    /// # Errors
    ///
    /// Where an agent has ended, or a line is no finding.
    pub fn poll(&mut self) -> Result<()> {
        self.json.must_run()?;
        self.text.must_run()?;
        self.read()
    }

    fn read(&mut self) -> Result<()> {
        let now = Instant::now();
        for line in self.json.news()?.lines() {
            let change = Change::parse(line, now).with_context(|| {
                format!("watch --findings -o json wrote a line that is no finding: {line}")
            })?;
            self.changes.push(change);
        }
        self.words += &self.text.news()?;
        Ok(())
    }

    /// What changed at `since` or later.
    pub fn changes_since(&self, since: Instant) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(move |change| change.at >= since)
    }

    /// The first finding that closed for want of evidence, and not because another one took it in.
    pub fn first_closed(&self) -> Option<&Change> {
        first_closed(&self.changes)
    }

    /// The last that a person was told of the finding `id` about `address`: its line and those that belong to it.
    pub fn words_about(&self, id: &str, address: &str) -> String {
        last_block(&self.words, id, address)
    }

    /// Ends both agents; an error where one did not end well.
    pub fn stop(&mut self) -> Result<()> {
        for agent in [&mut self.json, &mut self.text] {
            let status = agent.stop("INT")?;
            if !status.success() {
                anyhow::bail!("watch --findings ended with {status}:\n{}", agent.stderr()?);
            }
        }
        self.read()
    }
}

/// The last block of lines of which the first has both words; a block is a line and the indented or empty ones that
/// follow. What closes is no news of what it was.
fn last_block(text: &str, id: &str, address: &str) -> String {
    let is_wanted = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.contains(&id) && words.contains(&address) && words.get(1) != Some(&"closed")
    };
    let lines: Vec<&str> = text.lines().collect();
    let Some(first) = lines.iter().rposition(|line| !line.starts_with(' ') && is_wanted(line)) else {
        return String::new();
    };
    let rest = lines[first + 1..].iter().take_while(|line| line.is_empty() || line.starts_with(' '));
    std::iter::once(&lines[first]).chain(rest).copied().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_finding_takes_in_has_not_closed_for_want_of_evidence() {
        let line = |state: &str, client: &str, second: u32| {
            let text = format!(
                r#"{{"time": "2026-01-01T00:00:{second:02}Z", "finding": "servfail", "state": "{state}", "severity": "low",
                    "subject": {{"client": {client}, "interface": null, "server": "10.0.0.53"}}, "last_seen": "2026-01-01T00:00:00Z"}}"#
            );
            Change::parse(&text, Instant::now()).unwrap()
        };
        let narrow = r#""10.1.0.5""#;
        let changes = [
            line("opened", narrow, 1),
            line("opened", "null", 2),
            line("closed", narrow, 2),
            line("closed", "null", 40),
        ];
        let closed = first_closed(&changes).unwrap();
        assert_eq!((closed.client.as_deref(), closed.since_evidence), (None, Some(Duration::from_secs(40))));
        assert!(first_closed(&changes[..3]).is_none());
        assert!(first_closed(&changes[2..3]).is_some());
    }

    #[test]
    fn a_line_is_read_as_a_change() {
        let line = r#"{"time":"2026-01-01T00:00:31Z","last_seen":"2026-01-01T00:00:00.5Z","finding":"truncated-no-tcp","state":"opened","severity":"high",
            "confidence":"medium","subject":{"client":"10.1.0.5","interface":null,"server":"10.96.0.10"},"count":2}"#;
        let change = Change::parse(line, Instant::now()).unwrap();
        assert_eq!(
            (change.id.as_str(), change.closed, change.severity),
            ("truncated-no-tcp", false, Severity::High)
        );
        assert_eq!((change.client.as_deref(), change.interface), (Some("10.1.0.5"), None));
        assert_eq!((change.since_evidence, change.has_remedy), (Some(Duration::from_millis(30_500)), false));
        assert!(Change::parse("{\"qname\":\"a.example.\"}", Instant::now()).is_none());
    }

    #[test]
    fn severities_are_in_order() {
        assert!(Severity::Info < Severity::Low && Severity::Warning < Severity::High);
    }

    #[test]
    fn a_block_is_a_line_and_what_is_indented_below_it() {
        let text = "10:00 opened a-b 10.1.0.5\n  fix: one\n10:01 opened c-d 10.1.0.5\n10:02 changed a-b 10.1.0.5\n  fix: two\n";
        assert_eq!(last_block(text, "a-b", "10.1.0.5"), "10:02 changed a-b 10.1.0.5\n  fix: two");
        assert_eq!(last_block(text, "a-b", "10.1.0.6"), "");
        assert_eq!(last_block("10:00 opened a-b 10.1.0.50\n", "a-b", "10.1.0.5"), "");
        assert_eq!(last_block("10:03 closed a-b 10.1.0.5\n", "a-b", "10.1.0.5"), "");
    }
}
