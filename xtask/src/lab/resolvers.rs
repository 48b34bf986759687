//! The lab's real resolvers: start each with its own configuration, wait until it answers, end it again.
//!
//! A daemon stays in the foreground, with its log and its process ID in `target/lab/run/`, so that a later
//! `cargo xtask lab down` finds what an earlier `up` started, even one that crashed.

mod list;

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub use list::{INCIDENT_RESOLVERS, RESOLVERS};

use super::topology;
use crate::{child, netns, shell};

/// One resolver of the lab.
pub struct Resolver {
    /// What it is called in messages and in the names of its files.
    pub name: &'static str,
    /// The program that it is.
    pub program: &'static str,
    /// Its network namespace.
    pub netns: &'static str,
    /// Its configuration, with placeholders.
    template: &'static str,
    /// What it must answer before the lab counts as up.
    probes: &'static [Probe],
}

/// A question to a resolver: the namespace that asks, the server's address, and the words for dig.
type Probe = (&'static str, &'static str, &'static [&'static str]);

/// Where logs, configurations and process IDs are.
pub fn run_dir() -> PathBuf {
    super::dir().join("run")
}

impl Resolver {
    fn file(&self, extension: &str) -> PathBuf {
        run_dir().join(format!("{}.{extension}", self.name))
    }

    /// Starts the resolver; it may not answer yet.
    pub fn start(&self) -> Result<Child> {
        let config = self.file("conf");
        let hosts = run_dir().join("vpc.hosts");
        fs::create_dir_all(run_dir()).with_context(|| format!("failed to create {}", run_dir().display()))?;
        // Only for the one that reads it: written again for the next resolver, it would be empty for a moment.
        if self.template.contains("@HOSTS@") {
            fs::write(&hosts, vpc_hosts()).with_context(|| format!("failed to write {}", hosts.display()))?;
        }
        let text = topology::fill(self.template)?
            .replace("@HOSTS@", &hosts.to_string_lossy())
            .replace("@LARGE@", &large_zone());
        fs::write(&config, text).with_context(|| format!("failed to write {}", config.display()))?;

        let log = File::create(self.file("log"))
            .with_context(|| format!("failed to create {}", self.file("log").display()))?;
        let mut command = netns::command(self.netns, &self.executable()?.to_string_lossy());
        match self.program {
            "unbound" => command.args(["-d", "-c"]).arg(&config),
            "python3" => command.arg(shell::workspace().join("xtask/lab/incidents/slow.py")).arg(&config),
            _ => command.arg("--keep-in-foreground").arg(format!("--conf-file={}", config.display())),
        };
        // A group of its own: Ctrl-C at the terminal is for the task, which then takes the lab down in order.
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("failed to start {command:?}"))?;
        fs::write(self.file("pid"), child.id().to_string())
            .with_context(|| format!("failed to write {}", self.file("pid").display()))?;
        Ok(child)
    }

    /// The program to run.
    ///
    /// unbound runs from a copy: Debian's AppArmor profile of /usr/sbin/unbound lets it read /etc/unbound alone.
    fn executable(&self) -> Result<PathBuf> {
        let found = shell::find_program(self.program)
            .with_context(|| format!("{} is missing; cargo xtask setup installs it", self.program))?;
        if self.program != "unbound" {
            return Ok(found);
        }
        super::clients::make_bin_dir()?;
        let copy = super::dir().join("bin/unbound");
        let new = copy.with_extension("new");
        fs::copy(&found, &new).with_context(|| format!("failed to copy {}", found.display()))?;
        // By name and at once: an older copy may still run, and one just started may not have been read yet.
        fs::rename(&new, &copy).with_context(|| format!("failed to put {} in place", copy.display()))?;
        Ok(copy)
    }

    /// Waits until every probe is answered; an error names the resolver and ends with the last lines of its log.
    ///
    /// `child` is what [`Resolver::start`] gave.
    pub fn wait_until_it_answers(&self, child: &mut Child) -> Result<()> {
        for probe in self.probes {
            let mut said = String::new();
            let answered = child::wait_until(Duration::from_secs(10), || {
                if let Some(status) = child.try_wait().context("failed to wait for a resolver")? {
                    bail!(
                        "{} ({}) ended with {status}; its log:\n{}",
                        self.name,
                        self.program,
                        self.log_tail()
                    );
                }
                let (answered, output) = dig(probe)?;
                said = output;
                Ok(answered)
            })?;
            if !answered {
                let (asker, server, question) = probe;
                let question = question.join(" ");
                let who = format!("{} ({})", self.name, self.program);
                let said = said.trim();
                bail!(
                    "{who} does not answer dig @{server} {question} in {asker}: {said}\nits log:\n{}",
                    self.log_tail()
                );
            }
        }
        Ok(())
    }

    /// How long the first probe takes, `None` without an answer.
    pub fn probe(&self) -> Result<Option<Duration>> {
        let Some(probe) = self.probes.first() else { return Ok(None) };
        let start = Instant::now();
        Ok(dig(probe)?.0.then(|| start.elapsed()))
    }

    /// The resolver's process: the recorded one if it still is this resolver (process IDs are used again), else any
    /// that runs with our configuration, since an `up` may have been killed before it could write the record.
    pub fn pid(&self) -> Option<u32> {
        let config = self.file("conf");
        let recorded = fs::read_to_string(self.file("pid")).ok().and_then(|text| text.trim().parse().ok());
        recorded
            .filter(|&pid| is_started_with(&cmdline(pid), &config))
            .or_else(|| processes().find(|&pid| is_started_with(&cmdline(pid), &config)))
    }

    /// Ends the resolver, politely at first.
    ///
    /// Gives whether there was one to end.
    pub fn stop(&self) -> Result<bool> {
        let running = self.pid().is_some();
        for signal in ["TERM", "KILL"] {
            let Some(pid) = self.pid() else { break };
            // It may end between the look and the signal; the loop looks again.
            child::send_signal(signal, pid).ok();
            wait_until_gone(self);
        }
        if let Some(pid) = self.pid() {
            bail!("{} ({}, process {pid}) survives SIGKILL", self.name, self.program);
        }
        fs::remove_file(self.file("pid")).ok();
        Ok(running)
    }

    /// The last lines of its log, and where the rest is.
    fn log_tail(&self) -> String {
        let text = fs::read(self.file("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let tail = lines[lines.len().saturating_sub(12)..].join("\n  ");
        format!("  {tail}\n  ({})", self.file("log").display())
    }
}

/// All processes of the machine.
fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The arguments of a process, each ended by a zero byte; empty for one that has ended.
///
/// They are also empty for the moment in which `ip netns exec` replaces itself with the program, hence the second look.
fn cmdline(pid: u32) -> Vec<u8> {
    let read = || fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let is_alive = || fs::read_link(format!("/proc/{pid}/exe")).is_ok();
    let first = read();
    if !first.is_empty() || !is_alive() {
        return first;
    }
    std::thread::sleep(Duration::from_millis(5));
    read()
}

/// Is `config` named by one of the arguments, as they stand in `/proc/PID/cmdline`?
fn is_started_with(cmdline: &[u8], config: &Path) -> bool {
    let config = config.as_os_str().as_encoded_bytes();
    cmdline.split(|&byte| byte == 0).any(|argument| argument.ends_with(config))
}

/// Up to three seconds; not interruptible, since it runs while an interrupted task cleans up.
fn wait_until_gone(resolver: &Resolver) {
    let deadline = Instant::now() + Duration::from_secs(3);
    while resolver.pid().is_some() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Did dig get an answer with records in it? And what it said.
fn dig((asker, server, question): &Probe) -> Result<(bool, String)> {
    let mut command = netns::command(asker, "dig");
    command.arg(format!("@{server}")).args(["+time=1", "+tries=1", "+short"]).args(*question);
    let finished = child::finish_within(&mut command, Duration::from_secs(5))?;
    let answered = finished.status.success()
        && finished.stdout.lines().any(|line| !line.is_empty() && !line.starts_with(';'));
    Ok((answered, finished.stdout + &finished.stderr))
}

/// The outside world: a few names, and one with so many addresses that they exceed 512 bytes.
fn vpc_hosts() -> String {
    let big = (1..=59).map(|host| format!("20.111.5.{host} big.example.test\n"));
    include_str!("../../lab/vpc.hosts").lines().map(|line| format!("{line}\n")).chain(big).collect()
}

/// A name with 200 addresses, 3,244 bytes of answer: three fragments on a wire of 1,500 bytes.
fn large_zone() -> String {
    (1..=200).map(|host| format!("  local-data: \"large.example. 60 A 20.111.6.{host}\"\n")).collect()
}

/// Marks that the lab made `/etc/netns`, so that `down` knows to take it away.
pub fn etc_marker() -> PathBuf {
    run_dir().join("made-etc-netns")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_big_name_exceeds_512_bytes() {
        assert_eq!(vpc_hosts().matches("big.example.test").count(), 59);
    }

    #[test]
    fn a_process_is_ours_by_its_configuration() {
        let config = Path::new("/x/target/lab/run/vpc.conf");
        assert!(is_started_with(b"dnsmasq\0--conf-file=/x/target/lab/run/vpc.conf\0", config));
        assert!(is_started_with(b"unbound\0-d\0-c\0/x/target/lab/run/vpc.conf\0", config));
        assert!(!is_started_with(b"dnsmasq\0--conf-file=/etc/dnsmasq.conf\0", config));
        // A zombie has no arguments; there is nothing left to end.
        assert!(!is_started_with(b"", config));
    }
}
