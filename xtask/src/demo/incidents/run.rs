//! The clients of an incident: programs in pods, started together, each writing to a file.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::findings::Watch;
use crate::child::{self, Running};
use crate::demo::{indent, shorten};
use crate::lab::{Client, Lab, Rounds};
use crate::shell;

/// A client program in a pod.
pub struct Run {
    /// The pod's name.
    pub pod: &'static str,
    /// The line as a person would type it.
    pub typed: String,
    /// The program as it is run.
    pub command: Command,
}

impl Run {
    /// `client` looks names up in `pod`.
    pub fn of(lab: &Lab, pod: &'static str, client: Client, names: &[&str], rounds: Rounds) -> Result<Self> {
        let command = client.command(lab.pod(pod)?.netns, names, rounds);
        let times = if rounds.times > 1 { format!("   ({} times)", rounds.times) } else { String::new() };
        Ok(Self { pod, typed: format!("{}{times}", client.typed(names)), command })
    }

    /// `client`, a program of the lab's own, looks `name` up in `pod` so many seconds later.
    pub fn later(lab: &Lab, pod: &'static str, seconds: f32, client: Client, name: &str) -> Result<Self> {
        let program =
            client.program().with_context(|| format!("{} has no program of its own", client.name()))?;
        let mut command = lab.pod_command(pod, "sh")?;
        command.args(["-c", "sleep \"$0\"; exec \"$@\"", &seconds.to_string()]).arg(program).arg(name);
        Ok(Self { pod, typed: format!("sleep {seconds}; {}", client.typed(&[name])), command })
    }

    /// A shell runs `line` in `pod`.
    pub fn shell(lab: &Lab, pod: &'static str, line: &str) -> Result<Self> {
        let mut command = lab.pod_command(pod, "sh")?;
        command.args(["-c", line]);
        Ok(Self { pod, typed: line.to_owned(), command })
    }
}

/// A client that was started, and where its output goes.
pub struct Started {
    pod: &'static str,
    typed: String,
    running: Running,
    output: PathBuf,
}

impl Started {
    /// Starts the client; its output goes to a file called after `name`.
    pub fn start(run: Run, name: &str) -> Result<Self> {
        let folder = shell::workspace().join("target/lab/demo");
        fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
        let output = folder.join(format!("{name}.client"));
        let file = File::create(&output).with_context(|| format!("failed to create {}", output.display()))?;
        let mut command = run.command;
        command.stdin(Stdio::null()).stdout(file.try_clone().context("failed to share a file")?).stderr(file);
        Ok(Self { pod: run.pod, typed: run.typed, running: Running::spawn(&mut command)?, output })
    }

    /// Has it ended?
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.running.exited()?.is_some())
    }

    /// Shows what the client got.
    pub fn show(&self) -> Result<()> {
        let bytes =
            fs::read(&self.output).with_context(|| format!("failed to read {}", self.output.display()))?;
        println!("{} $ {}", self.pod, self.typed);
        indent(&shorten(&String::from_utf8_lossy(&bytes)).join("\n"));
        Ok(())
    }

    /// Shows what dnsperf counted: sent, completed, lost.
    pub fn show_statistics(&self) -> Result<()> {
        let text = fs::read_to_string(&self.output)
            .with_context(|| format!("failed to read {}", self.output.display()))?;
        for line in text.lines().filter(|line| line.contains("Queries ")) {
            indent(&format!("{}: {}", self.pod, line.trim()));
        }
        Ok(())
    }
}

/// Reads findings until all have ended; gives whether they did within `limit`.
pub fn wait_for(clients: &mut [Started], watch: &mut Watch, limit: Duration) -> Result<bool> {
    child::wait_until(limit, || {
        watch.poll()?;
        clients.iter_mut().try_fold(true, |all, client| Ok(all & client.has_ended()?))
    })
}
