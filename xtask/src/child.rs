//! Children that cannot hang: every wait has an end, and nobody outlives the task that started them.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a waiting task looks again.
const POLL: Duration = Duration::from_millis(10);

/// What a child left behind.
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All that it wrote to standard output.
    pub stdout: String,
    /// All that it wrote to standard error.
    pub stderr: String,
}

/// Runs `command` to its end and gives all that it wrote; kills it after `limit`.
pub fn finish_within(command: &mut Command, limit: Duration) -> Result<Finished> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::spawn(command)?;
    let stdout = read_aside(running.child.stdout.take());
    let stderr = read_aside(running.child.stderr.take());
    let status = running.exit_within(limit)?;
    Ok(Finished { status, stdout: collect(&stdout), stderr: collect(&stderr) })
}

/// Runs `command` and gives its standard output; an exit status other than 0 is an error with what it said.
pub fn output_within(command: &mut Command, limit: Duration) -> Result<String> {
    let finished = finish_within(command, limit)?;
    if !finished.status.success() {
        bail!("{command:?} ended with {}: {}", finished.status, finished.stderr.trim());
    }
    Ok(finished.stdout)
}

/// Reads a pipe to its end on a thread of its own, so that a child never blocks on a full one.
fn read_aside(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(mut pipe) = pipe {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).ok();
            sender.send(String::from_utf8_lossy(&bytes).into_owned()).ok();
        });
    }
    receiver
}

/// A grandchild may hold the pipe open after the child's end; its words are not worth a hang.
fn collect(receiver: &mpsc::Receiver<String>) -> String {
    receiver.recv_timeout(Duration::from_secs(1)).unwrap_or_default()
}

/// A child in the background; killed and reaped when dropped.
pub struct Running {
    /// The command line, for messages.
    what: String,
    child: Child,
}

impl Running {
    /// Starts `command`; where its output goes is the caller's choice.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let what = format!("{command:?}").replace('"', "");
        let child = command.spawn().with_context(|| format!("failed to start {what}"))?;
        Ok(Self { what, child })
    }

    /// The process ID; after `ip netns exec`, which replaces itself, that of the program.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The status of a child that has ended, `None` while it runs.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("failed to wait for {}", self.what))
    }

    /// Waits for the end by itself; an error after `limit` or when the task is interrupted.
    pub fn exit_within(&mut self, limit: Duration) -> Result<ExitStatus> {
        let mut status = None;
        wait_until(limit, || {
            status = self.exited()?;
            Ok(status.is_some())
        })
        .with_context(|| format!("while waiting for {}", self.what))?;
        status.with_context(|| format!("{} did not end within {} s", self.what, limit.as_secs_f32()))
    }

    /// Sends `signal` (`INT`, `TERM`) and waits for the end.
    pub fn stop_within(&mut self, signal: &str, limit: Duration) -> Result<ExitStatus> {
        if self.exited()?.is_none() {
            send_signal(signal, self.pid())?;
        }
        self.exit_within(limit)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Sends `signal` (`INT`, `TERM`, `KILL`) to the process; an error where it is no longer there.
pub fn send_signal(signal: &str, pid: u32) -> Result<()> {
    // The shell's own `kill` is there on every machine; /bin/kill belongs to a package that some images lack.
    let status = Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .context("failed to run sh")?;
    if !status.success() {
        bail!("failed to send SIG{signal} to process {pid}");
    }
    Ok(())
}

/// Looks again and again until `done` says yes (true) or `limit` has passed (false); an error when interrupted.
pub fn wait_until(limit: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<bool> {
    let deadline = Instant::now() + limit;
    loop {
        if done()? {
            return Ok(true);
        }
        if interrupted() {
            bail!("interrupted");
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(POLL);
    }
}

/// Set by SIGINT and SIGTERM once [`unwind_on_signals`] was called.
static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on Ctrl-C and SIGTERM end the waits of this module with an error, so that guards clean up.
///
/// A second signal ends the process at once.
pub fn unwind_on_signals() -> Result<()> {
    let flag = Arc::new(AtomicBool::new(false));
    if INTERRUPTED.set(Arc::clone(&flag)).is_err() {
        return Ok(());
    }
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // Order matters: the conditional exit looks at the flag before the second handler sets it.
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
            .context("failed to install a signal handler")?;
    }
    Ok(())
}

/// Was the task asked to end?
pub fn interrupted() -> bool {
    INTERRUPTED.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_larger_than_a_pipe_is_read_whole() {
        let finished = finish_within(
            Command::new("sh").args(["-c", "head -c 300000 /dev/zero; exit 3"]),
            Duration::from_secs(10),
        )
        .unwrap();
        assert_eq!((finished.stdout.len(), finished.status.code()), (300_000, Some(3)));
    }

    #[test]
    fn a_child_that_hangs_is_an_error_in_time() {
        let start = Instant::now();
        let error = output_within(Command::new("sleep").arg("60"), Duration::from_millis(100)).unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(5));
        assert!(format!("{error:#}").contains("did not end within"), "{error:#}");
    }

    #[test]
    fn stop_sends_the_signal_and_gives_the_status() {
        let mut command = Command::new("sh");
        // A shell that is started in the background finds INT ignored, and may not trap it then.
        command.args(["-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done"]);
        let mut running = Running::spawn(command.stdout(Stdio::piped())).unwrap();
        let mut ready = [0; 6];
        running.child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        assert_eq!(running.stop_within("TERM", Duration::from_secs(5)).unwrap().code(), Some(7));
    }
}
