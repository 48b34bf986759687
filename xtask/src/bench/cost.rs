//! What a process cost: processor time and memory as the kernel accounts them when it is reaped.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::child::{interrupted, send_signal};

/// What a finished process used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// User and system time of the process and what it waited for, seconds.
    pub cpu_seconds: f64,
    /// From start to end, seconds.
    pub wall_seconds: f64,
    /// The largest resident set, MiB.
    pub peak_mib: f64,
    /// Did it end with status 0?
    pub success: bool,
}

/// A process whose cost is asked for; killed and reaped when dropped.
pub struct Metered {
    what: String,
    child: Child,
    start: Instant,
    reaped: bool,
}

impl Metered {
    /// Starts `command`.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let what = format!("{command:?}").replace('"', "");
        // The kernel charges a program that is started with the peak of the process that starts it: it must be forgotten
        // first (proc(5), clear_refs). Where it cannot be, the figure is too large.
        std::fs::write("/proc/self/clear_refs", "5").ok();
        let start = Instant::now();
        let child = command.spawn().with_context(|| format!("failed to start {what}"))?;
        Ok(Self { what, child, start, reaped: false })
    }

    /// The process ID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Processor seconds so far, in steps of the kernel's clock tick (10 ms).
    pub fn cpu_seconds(&self) -> Result<f64> {
        let path = format!("/proc/{}/stat", self.pid());
        let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
        // The name, in parentheses, may hold spaces; utime and stime are the 14th and 15th field (proc_pid_stat(5)).
        let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: u64 = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        Ok(ticks as f64 / 100.0)
    }

    /// Sends `signal` and waits for the end.
    pub fn stop_within(self, signal: &str, limit: Duration) -> Result<Cost> {
        send_signal(signal, self.pid())?;
        self.finish_within(limit)
    }

    /// Waits for the end; an error after `limit` or when the task is interrupted.
    pub fn finish_within(mut self, limit: Duration) -> Result<Cost> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(cost) = self.reap()? {
                return Ok(cost);
            }
            if interrupted() {
                bail!("interrupted while waiting for {}", self.what);
            }
            if Instant::now() >= deadline {
                bail!("{} did not end within {} s", self.what, limit.as_secs_f32());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn reap(&mut self) -> Result<Option<Cost>> {
        let pid = libc::pid_t::try_from(self.pid()).context("a process ID out of range")?;
        let mut status = 0;
        // SAFETY: a rusage is plain integers, for which zeros are a valid value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to locals that live through the call; the child is ours and not reaped yet.
        let reaped = unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage) };
        match reaped {
            0 => Ok(None),
            found if found == pid => {
                self.reaped = true;
                let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
                Ok(Some(Cost {
                    cpu_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
                    wall_seconds: self.start.elapsed().as_secs_f64(),
                    // Linux counts in KiB (getrusage(2)).
                    peak_mib: usage.ru_maxrss as f64 / 1024.0,
                    success: libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
                }))
            }
            _ => Err(std::io::Error::last_os_error())
                .with_context(|| format!("failed to wait for {}", self.what)),
        }
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        // A reaped process ID may belong to somebody else already.
        if !self.reaped {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_of_a_busy_child_is_seen() {
        let mut command = Command::new("sh");
        command.args(["-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"]);
        let cost = Metered::spawn(&mut command).unwrap().finish_within(Duration::from_secs(20)).unwrap();
        assert!(cost.success && cost.cpu_seconds > 0.001 && cost.peak_mib > 0.1, "{cost:?}");
    }

    #[test]
    fn what_we_held_before_is_not_charged_to_a_child() {
        let held = std::hint::black_box(vec![1_u8; 400 << 20]);
        assert!(held.iter().step_by(4096).all(|byte| *byte == 1));
        drop(held);
        let cost = Metered::spawn(&mut Command::new("true")).unwrap().finish_within(Duration::from_secs(20));
        assert!(cost.unwrap().peak_mib < 300.0);
    }

    #[test]
    fn a_child_that_hangs_is_killed() {
        let metered = Metered::spawn(Command::new("sleep").arg("60")).unwrap();
        assert!(metered.finish_within(Duration::from_millis(50)).is_err());
    }
}
