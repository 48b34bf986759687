//! `nslookout diagnose -o json` beside an incident: what it found, and what it predicts.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Stage;
use crate::demo::agent::Agent;

/// Longer than any incident; the end comes by Ctrl-C.
const LONGEST: &str = "120s";

/// A diagnosis under way.
pub struct Diagnosis {
    agent: Agent,
}

/// What a diagnosis says at its end.
pub struct Report(Value);

impl Diagnosis {
    /// Starts one on these interfaces, and waits until it listens; its output goes to files called `name`.
    pub fn start(stage: &Stage, name: &str, interfaces: &[&str]) -> Result<Self> {
        let mut arguments = vec!["diagnose", "-o", "json", "--for", LONGEST];
        arguments.extend(interfaces.iter().flat_map(|interface| ["-i", interface]));
        arguments.extend(stage.flags.iter().map(String::as_str));
        println!("$ nslookout {} &", arguments.join(" "));
        let mut agent = Agent::start(stage.lab, stage.program, name, &arguments)?;
        agent.wait_until_listening()?;
        Ok(Self { agent })
    }

    /// Ends it by Ctrl-C and reads its report.
    ///
    /// # Errors
    ///
    /// Where it could not run (status 2), or its report is not one JSON document.
    pub fn finish(mut self) -> Result<Report> {
        // What has just been answered is read within moments.
        std::thread::sleep(Duration::from_millis(500));
        let status = self.agent.stop("INT")?;
        if !matches!(status.code(), Some(0 | 1)) {
            bail!("diagnose ended with {status}:\n{}", self.agent.stderr()?.trim_end());
        }
        let text = self.agent.stdout()?;
        serde_json::from_str(&text)
            .map(Report)
            .with_context(|| format!("diagnose -o json wrote no JSON document: {}", text.trim_end()))
    }
}

impl Report {
    /// A number below `what_if`, such as `["ndots_1", "queries"]`.
    ///
    /// # Errors
    ///
    /// Where the report has no such number.
    pub fn prediction(&self, path: [&str; 2]) -> Result<f64> {
        let value = &self.0["what_if"][path[0]][path[1]];
        value.as_f64().with_context(|| {
            format!("the report of diagnose predicts no {}: {}", path.join("."), self.0["what_if"])
        })
    }

    /// Was a finding of this id reported?
    pub fn has_found(&self, id: &str) -> bool {
        self.0["findings"]
            .as_array()
            .is_some_and(|findings| findings.iter().any(|finding| finding["id"] == id))
    }

    /// The stub resolver of the client with this address, `unknown` where the report says nothing of it.
    pub fn stub(&self, address: &str) -> String {
        let fingerprints = self.0["fingerprints"].as_array();
        let of_client = fingerprints.and_then(|all| all.iter().find(|one| one["client"] == address));
        of_client.and_then(|one| one["stub"].as_str()).unwrap_or("unknown").to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_is_read() {
        let report = Report(json!({
            "findings": [{"id": "servfail"}],
            "fingerprints": [{"client": "10.1.0.5", "stub": "glibc"}],
            "what_if": {"ndots_1": {"queries": 20, "of": 80}},
        }));
        assert!(report.has_found("servfail") && !report.has_found("refused"));
        assert_eq!(
            (report.stub("10.1.0.5").as_str(), report.stub("10.1.0.6").as_str()),
            ("glibc", "unknown")
        );
        assert_eq!(report.prediction(["ndots_1", "of"]).unwrap(), 80.0);
        assert!(report.prediction(["cache", "hits"]).is_err());
    }
}
