//! Records one scenario: raises its namespaces and servers, lets its programs run under tcpdump, looks whether it
//! happened as its label says, and keeps the capture.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::labels;
use super::proof::Recorded;
use super::scenario::{Job, Scenario, Work};
use super::site::Site;
use crate::child::{self, Running};
use crate::lab::Rounds;
use crate::{netns, shell};

/// tcpdump hands on a block of packets when it is full or a second old; those of an open block would be lost at its end.
const TAIL: Duration = Duration::from_millis(1200);

/// Records the scenario with this number, and gives the size of what was kept.
pub fn record(scenario: &Scenario, number: usize, agent: &str) -> Result<u64> {
    // Short, since a server's control socket may be in it, and the kernel allows its path 107 octets (unix(7)).
    let folder = super::dir().join("run").join(format!("{}-{number}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    for (name, text) in &scenario.files {
        fs::write(folder.join(name), text).with_context(|| format!("failed to write {name}"))?;
    }
    let pcap = folder.join("capture.pcap");
    let outputs = run(scenario, number, &folder, &pcap)?;
    let recorded = Recorded::read(agent, pcap.clone(), outputs)?;
    for proof in &scenario.proofs {
        if !(proof.check)(&recorded).with_context(|| format!("while looking for: {}", proof.what))? {
            bail!("did not happen: {} ({})", proof.what, folder.display());
        }
    }
    let size = keep(&pcap, &labels::capture(scenario))?;
    fs::remove_dir_all(&folder).with_context(|| format!("failed to remove {}", folder.display()))?;
    Ok(size)
}

/// Lets everything happen, and gives what each program said.
fn run(scenario: &Scenario, number: usize, folder: &Path, pcap: &Path) -> Result<Vec<String>> {
    let site = Site::raise(scenario, number)?;
    let mut servers = Vec::new();
    for (n, server) in scenario.servers.iter().enumerate() {
        servers.push(server.start(n + 1, &site.servers, folder)?);
    }
    let early =
        if scenario.join.is_zero() { Some(start_capture(scenario, &site, folder, pcap)?) } else { None };
    let jobs: Vec<(&str, &Job, PathBuf)> = scenario
        .pods
        .iter()
        .zip(&site.pods)
        .flat_map(|(pod, netns)| pod.jobs.iter().map(move |job| (netns.as_str(), job)))
        .enumerate()
        .map(|(n, (netns, job))| (netns, job, folder.join(format!("job{n}"))))
        .collect();
    let capture = thread::scope(|scope| {
        let running: Vec<_> = jobs
            .iter()
            .map(|(netns, job, output)| scope.spawn(|| run_job(netns, job, output, folder)))
            .collect();
        let late = early.map_or_else(
            || {
                thread::sleep(scenario.join);
                start_capture(scenario, &site, folder, pcap)
            },
            Ok,
        );
        for job in running {
            job.join().map_err(|_| anyhow::anyhow!("a program's thread broke"))??;
        }
        late
    });
    let mut capture = capture?;
    thread::sleep(scenario.linger);
    if !scenario.linger.is_zero() {
        mark_the_end(&site)?;
    }
    thread::sleep(TAIL);
    capture.stop_within("INT", Duration::from_secs(10))?;
    let said = fs::read_to_string(folder.join("tcpdump")).unwrap_or_default();
    if !said.contains("\n0 packets dropped by kernel") {
        bail!("tcpdump lost packets: {said}");
    }
    let read = |output: &PathBuf| fs::read_to_string(output).unwrap_or_default();
    Ok(jobs.iter().map(|(_, _, output)| read(output)).collect())
}

/// A ping from the first pod: a reader of a file knows no later time than that of the last packet.
fn mark_the_end(site: &Site) -> Result<()> {
    let Some(pod) = site.pods.first() else { return Ok(()) };
    let mut ping = netns::command(pod, "ping");
    ping.args(["-n", "-c", "1", "-W", "1", site.gateway]);
    child::finish_within(&mut ping, Duration::from_secs(5)).map(|_| ())
}

/// tcpdump, once it listens.
fn start_capture(scenario: &Scenario, site: &Site, folder: &Path, pcap: &Path) -> Result<Running> {
    let words = folder.join("tcpdump");
    let log = File::create(&words).context("failed to create tcpdump's log")?;
    let (netns, interface) = site.tap(scenario.tap);
    let mut command = netns::command(netns, "tcpdump");
    command.args(["-n", "-s", "0", "-B", "8192", "-Z", "root", "-i"]);
    command.arg(interface).arg("-w").arg(pcap);
    let capture = Running::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log))?;
    let listens = child::wait_until(Duration::from_secs(10), || {
        Ok(fs::read_to_string(&words).is_ok_and(|text| text.contains("listening on")))
    })?;
    if !listens {
        bail!("tcpdump does not listen");
    }
    Ok(capture)
}

/// Runs a program to its end, or to its limit; how it ended is for the proofs to judge.
fn run_job(netns: &str, job: &Job, output: &Path, folder: &Path) -> Result<()> {
    thread::sleep(job.delay);
    let mut command = command(netns, &job.work, folder);
    let file = File::create(output).with_context(|| format!("failed to create {}", output.display()))?;
    let mut running = Running::spawn(command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file))?;
    // A lookup that nobody answers may take longer than is worth waiting for: then it is ended here.
    child::wait_until(job.limit, || Ok(running.exited()?.is_some()))?;
    Ok(())
}

/// What a job runs, in its pod's namespace.
fn command(netns: &str, work: &Work, folder: &Path) -> Command {
    match work {
        Work::Lookups { client, names, times, pause, only_a } => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let rounds = Rounds { times: *times, pause: *pause };
            match client.program().filter(|_| *only_a) {
                Some(program) => {
                    let mut command = netns::command(netns, &program.to_string_lossy());
                    command.args(["-4", "-n", &times.to_string(), "-i", &pause.as_millis().to_string()]);
                    command.args(names);
                    command
                }
                None => client.command(netns, &names, rounds),
            }
        }
        Work::Program(words) => {
            let folder = folder.to_string_lossy();
            let mut words = words.iter().map(|word| word.replace("{dir}", &folder));
            let mut command = netns::command(netns, &words.next().unwrap_or_default());
            command.args(words);
            command
        }
    }
}

/// Packs the capture to where it belongs, and gives its size.
fn keep(pcap: &Path, target: &Path) -> Result<u64> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    }
    shell::run(
        Command::new("zstd").args(["-19", "--ultra", "-22", "-q", "-f"]).arg(pcap).arg("-o").arg(target),
    )?;
    let metadata = fs::metadata(target).with_context(|| format!("failed to look at {}", target.display()))?;
    Ok(metadata.len())
}
