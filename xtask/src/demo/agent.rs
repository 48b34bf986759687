//! The agent under the demo: two watches and a server on the lab's node, each writing to files.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::child::{self, Running};
use crate::lab::{Lab, NODE};
use crate::shell;

/// Where the server of the demo listens, inside the node's namespace.
pub const LISTEN: &str = "127.0.0.1:9953";

/// How long an agent may take to attach, and to end once asked.
const PATIENCE: Duration = Duration::from_secs(20);

/// One running agent.
pub struct Agent {
    running: Running,
    stdout: PathBuf,
    stderr: PathBuf,
    /// How much of standard output [`Agent::news`] has given.
    read: usize,
}

impl Agent {
    /// Starts `nslookout` with these arguments on the node; its output goes to files called `name`.
    pub fn start(lab: &Lab, program: &Path, name: &str, arguments: &[&str]) -> Result<Self> {
        let folder = shell::workspace().join("target/lab/demo");
        fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
        let create = |extension: &str| -> Result<(PathBuf, File)> {
            let path = folder.join(format!("{name}.{extension}"));
            let file = File::create(&path).with_context(|| format!("failed to create {}", path.display()))?;
            Ok((path, file))
        };
        let (stdout, stdout_file) = create("out")?;
        let (stderr, stderr_file) = create("err")?;
        let mut command = lab.node_command(program);
        // The demo proves what the packets alone tell: pods of the lab are addresses, and their search lists inferred.
        command
            .args(arguments)
            .args(["--identity", "none"])
            .stdin(Stdio::null())
            .stdout(stdout_file)
            .stderr(stderr_file);
        Ok(Self { running: Running::spawn(&mut command)?, stdout, stderr, read: 0 })
    }

    /// Waits for the line `listening on …`: from then on every packet is seen.
    pub fn wait_until_listening(&mut self) -> Result<()> {
        self.wait_until_ready(|agent| Ok(agent.stderr()?.contains("listening on")))
    }

    /// Waits until `/readyz` says yes.
    pub fn wait_until_served(&mut self, lab: &Lab) -> Result<()> {
        self.wait_until_ready(|_| Ok(get(lab, "/readyz").is_ok()))
    }

    fn wait_until_ready(&mut self, ready: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let is_ready = child::wait_until(PATIENCE, || {
            self.must_run()?;
            ready(self)
        })?;
        if !is_ready {
            bail!("the agent is not ready after {} s:\n{}", PATIENCE.as_secs(), self.stderr()?.trim_end());
        }
        Ok(())
    }

    /// An error if it has ended, with what it said.
    pub fn must_run(&mut self) -> Result<()> {
        if let Some(status) = self.running.exited()? {
            bail!("the agent ended by itself with {status}, saying:\n{}", self.stderr()?.trim_end());
        }
        Ok(())
    }

    /// All that it wrote to standard output so far.
    pub fn stdout(&self) -> Result<String> {
        read(&self.stdout)
    }

    /// All that it wrote to standard error so far.
    pub fn stderr(&self) -> Result<String> {
        read(&self.stderr)
    }

    /// The whole lines that came to standard output since the last call.
    pub fn news(&mut self) -> Result<String> {
        let text = self.stdout()?;
        let news = text.get(self.read..).unwrap_or_default();
        let whole = news.rfind('\n').map_or("", |end| &news[..=end]).to_owned();
        self.read += whole.len();
        Ok(whole)
    }

    /// Asks it to end by this signal, and waits for it.
    pub fn stop(&mut self, signal: &str) -> Result<ExitStatus> {
        self.running.stop_within(signal, PATIENCE)
    }
}

/// Fetches a page of the agent's server from inside the node's namespace.
pub fn get(lab: &Lab, page: &str) -> Result<String> {
    let mut curl = lab.node_command("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "5"])
        .arg(format!("http://{LISTEN}{page}"));
    child::output_within(&mut curl, Duration::from_secs(10))
        .with_context(|| format!("failed to fetch {page} in {NODE}"))
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
