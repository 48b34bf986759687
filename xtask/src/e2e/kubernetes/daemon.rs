//! A program of the node in the background, with its log in `target/e2e/kubernetes`.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::child::{self, Running};
use crate::shell::workspace;

/// Where the logs and the manifests of the last run are.
pub fn folder() -> PathBuf {
    workspace().join("target/e2e/kubernetes")
}

/// A running program.
pub struct Daemon {
    name: String,
    running: Running,
}

impl Daemon {
    /// Starts `command`; what it writes goes to the log of this name, after what an earlier one of the name wrote.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let log = log_of(name);
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("failed to open {}", log.display()))?;
        let errors = file.try_clone().context("failed to share a log")?;
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        Ok(Self { name: name.to_owned(), running: Running::spawn(command)? })
    }

    /// Waits until `ready`, and fails with the end of the log where the program ends or `limit` passes before.
    pub fn wait_until(&mut self, limit: Duration, mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
        let is_ready = child::wait_until(limit, || {
            if let Some(status) = self.running.exited()? {
                bail!("{} ended with {status}; its log:\n{}", self.name, self.log_tail());
            }
            ready()
        })?;
        if !is_ready {
            bail!("{} is not ready after {} s; its log:\n{}", self.name, limit.as_secs(), self.log_tail());
        }
        Ok(())
    }

    /// Sends a signal and waits for the end.
    pub fn stop(mut self, signal: &str) -> Result<()> {
        self.running.stop_within(signal, Duration::from_secs(30)).map(drop)
    }

    fn log_tail(&self) -> String {
        let text = fs::read(log_of(&self.name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(12)..].join("\n  ");
        format!("  {tail}\n  ({})", log_of(&self.name).display())
    }
}

fn log_of(name: &str) -> PathBuf {
    folder().join(format!("{name}.log"))
}
