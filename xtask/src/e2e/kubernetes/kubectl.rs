//! kubectl and helm against the cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::daemon;
use super::enclosure::STATE;
use crate::child;

/// The longest that one command may take.
const LIMIT: Duration = Duration::from_secs(180);

/// Both programs, with the configuration that makes them administrators.
pub struct Kubectl {
    program: PathBuf,
    helm: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// For the cluster that `kubeconfig` names.
    pub fn new(program: PathBuf, helm: PathBuf, kubeconfig: PathBuf) -> Self {
        Self { program, helm, kubeconfig }
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        // What both cache goes where it ends with the cluster.
        command.args(arguments).env("KUBECONFIG", &self.kubeconfig).env("HOME", STATE);
        command
    }

    /// Runs kubectl and gives what it printed.
    ///
    /// # Errors
    ///
    /// Where it fails, with what it said.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        child::output_within(&mut self.command(&self.program, arguments), LIMIT)
    }

    /// The agent's program with these arguments, in the container of its DaemonSet.
    pub fn exec_agent(&self, arguments: &[&str]) -> Command {
        let words = ["exec", "--namespace", "nslookout", "daemonset/nslookout", "--", "/nslookout"];
        self.command(&self.program, &[&words[..], arguments].concat())
    }

    /// Runs helm and gives what it printed.
    pub fn helm(&self, arguments: &[&str]) -> Result<String> {
        child::output_within(&mut self.command(&self.helm, arguments), LIMIT)
    }

    /// Objects as JSON, by the words that follow `kubectl get`.
    pub fn get(&self, arguments: &[&str]) -> Result<Value> {
        let words = [&["get", "-o", "json"], arguments].concat();
        let text = self.run(&words)?;
        serde_json::from_str(&text).with_context(|| format!("kubectl {} printed no JSON", words.join(" ")))
    }

    /// Applies a manifest, which is kept under `name` for a look.
    pub fn apply(&self, name: &str, manifest: &str) -> Result<()> {
        let path = daemon::folder().join(format!("{name}.yaml"));
        fs::write(&path, manifest).with_context(|| format!("failed to write {}", path.display()))?;
        // This server is too old to tell kubectl the schemas that it would check.
        self.run(&["apply", "--validate=false", "-f", &path.to_string_lossy()]).map(drop)
    }

    /// Looks at objects until `right` holds; an error tells what was waited for, and what was seen last.
    pub fn wait_for(
        &self,
        what: &str,
        arguments: &[&str],
        limit: Duration,
        right: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let mut last = Value::Null;
        let came = child::wait_until(limit, || {
            last = match self.get(arguments) {
                Ok(value) => value,
                Err(error) => Value::String(format!("{error:#}")),
            };
            Ok(right(&last))
        })?;
        if !came {
            bail!("{what} not within {} s; last seen: {}", limit.as_secs(), states(&last));
        }
        Ok(last)
    }
}

/// What stands in the way of pods, in a line; anything else shortened.
fn states(value: &Value) -> String {
    let Some(items) = value["items"].as_array() else {
        return value["status"].to_string().chars().take(600).collect();
    };
    let state = |item: &Value| {
        let containers = item["status"]["containerStatuses"].as_array();
        let waiting = containers.into_iter().flatten().map(|one| one["state"].to_string());
        let name = item["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        format!("{name} {} {}", item["status"]["phase"], waiting.collect::<String>())
    };
    let text: Vec<String> = items.iter().map(state).collect();
    text.join("; ").chars().take(1200).collect()
}
