//! Where live traffic is made: a node with a resolver and a pod that asks it, in two network namespaces of this run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::cost::Metered;
use crate::child::{self, Running, wait_until};
use crate::netns;

/// What the names of all namespaces of all runs begin with; the process ID and a role follow.
const PREFIX: &str = "nslookout-bench-";

/// The interface on the node that leads to the pod, named as Calico does.
pub const POD_LINK: &str = "cali0be0c4";

/// The resolver's address, on the node itself.
pub const SERVER: &str = "10.96.0.10";

/// A port of the same resolver that nobody watches: UDP that is not DNS to the agent.
pub const OTHER_PORT: u16 = 5300;

/// Names that the resolver knows.
const NAMES: u32 = 1_000;

/// The namespaces and the resolver; gone when dropped.
pub struct Site {
    /// The namespace of the node.
    pub node: String,
    /// The namespace of the pod.
    pub pod: String,
    resolver: Option<Running>,
    queries: PathBuf,
}

impl Site {
    /// Makes the namespaces, connects them and starts the resolver.
    pub fn up(folder: &Path) -> Result<Self> {
        remove_left_behind()?;
        let mut site = Self {
            node: namespace("node"),
            pod: namespace("pod"),
            resolver: None,
            queries: folder.join("queries.txt"),
        };
        netns::add(&site.node)?;
        netns::add(&site.pod)?;
        netns::ip(&site.node, &format!("address add {SERVER}/32 dev lo"))?;
        site.connect(POD_LINK, "10.1.0.5", &site.pod)?;
        site.start_resolver(folder)?;
        Ok(site)
    }

    /// Gives the pod namespace `pod` the address `address` behind the node's interface `link`.
    pub fn connect(&self, link: &str, address: &str, pod: &str) -> Result<()> {
        netns::ip(
            &self.node,
            &format!(
                "link add {link} type veth peer name eth0 netns {pod}\n\
             address add 169.254.1.1/32 dev {link}\n\
             link set {link} up"
            ),
        )?;
        netns::ip(
            pod,
            &format!(
                "address add {address}/32 dev eth0\n\
             link set eth0 up\n\
             route add 169.254.1.1 dev eth0\n\
             route add default via 169.254.1.1"
            ),
        )?;
        netns::ip(&self.node, &format!("route add {address}/32 dev {link}"))
    }

    fn start_resolver(&mut self, folder: &Path) -> Result<()> {
        let (mut records, mut queries) = (String::new(), String::new());
        for number in 0..NAMES {
            let name = format!("service-{number}.team-{}.svc.bench.example.", number % 50);
            records += &format!("    local-data: \"{name} 30 A 192.0.2.{}\"\n", number % 250 + 1);
            queries += &format!("{name} A\n");
        }
        std::fs::write(&self.queries, queries).context("failed to write the queries")?;
        let configuration = folder.join("unbound.conf");
        let text = format!(
            "server:\n    interface: {SERVER}@53\n    interface: {SERVER}@{OTHER_PORT}\n    interface-automatic: no\n    \
             num-threads: 1\n    do-daemonize: no\n    use-syslog: no\n    logfile: \"/dev/null\"\n    username: \"\"\n    \
             chroot: \"\"\n    pidfile: \"\"\n    so-rcvbuf: 0\n    so-sndbuf: 0\n    access-control: 10.0.0.0/8 allow\n    \
             local-zone: \"bench.example.\" static\n{records}"
        );
        std::fs::write(&configuration, text)
            .with_context(|| format!("failed to write {}", configuration.display()))?;
        let mut command = netns::command(&self.node, "unbound");
        command.arg("-c").arg(&configuration).stdout(Stdio::null()).stderr(Stdio::null());
        self.resolver = Some(Running::spawn(&mut command)?);
        let ready = wait_until(Duration::from_secs(10), || {
            Ok(self.load(53, 1, Duration::ZERO).is_ok_and(|load| load.completed > 0))
        })?;
        ensure!(
            ready,
            "unbound does not answer in {}; try: unbound -dd -c {}",
            self.node,
            configuration.display()
        );
        Ok(())
    }

    /// Queries from the pod to `port` at `rate` for `time` (a single one where that is zero); waits for the end.
    pub fn load(&self, port: u16, rate: u32, time: Duration) -> Result<Load> {
        let mut command = netns::command(&self.pod, "dnsperf");
        command.args(["-s", SERVER, "-p", &port.to_string()]).arg("-d").arg(&self.queries);
        if time.is_zero() {
            command.args(["-n", "1", "-Q", "1000", "-t", "1", "-l", "1"]);
        } else {
            command.args(["-Q", &rate.to_string(), "-l", &time.as_secs().to_string()]);
            // Eight sockets as eight pods' worth of ports; room enough in flight that the rate is what limits.
            command.args(["-c", "8", "-q", "2000", "-t", "2"]);
        }
        let text = child::output_within(&mut command, time + Duration::from_secs(15))?;
        Load::parse(&text)
    }

    /// A command on the node.
    pub fn node_command(&self, program: &Path) -> Command {
        netns::command(&self.node, &program.display().to_string())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.resolver = None;
        for name in [&self.pod, &self.node] {
            netns::delete(name).ok();
        }
    }
}

/// The name of a namespace of this run.
pub fn namespace(role: &str) -> String {
    format!("{PREFIX}{}-{role}", std::process::id())
}

/// Removes the namespaces of runs that were killed before they could.
fn remove_left_behind() -> Result<()> {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return Ok(()) };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(run) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()) else { continue };
        if !Path::new("/proc").join(run).exists() {
            netns::delete(&name)?;
        }
    }
    Ok(())
}

/// What dnsperf said at its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Queries sent.
    pub sent: u64,
    /// Responses received in time.
    pub completed: u64,
    /// Queries without a response.
    pub lost: u64,
    /// Queries per second that were answered.
    pub rate: f64,
    /// Mean latency, microseconds.
    pub latency_us: f64,
    /// Largest latency, microseconds.
    pub latency_max_us: f64,
}

impl Load {
    fn parse(text: &str) -> Result<Self> {
        let after = |label: &str| {
            text.lines()
                .find_map(|line| line.trim().strip_prefix(label))
                .map(str::trim)
                .with_context(|| format!("dnsperf said no {label:?}: {text}"))
        };
        let number = |label: &str| -> Result<f64> {
            let first = after(label)?.split_whitespace().next().unwrap_or_default();
            first.parse().with_context(|| format!("{label} is {first:?}, not a number"))
        };
        let maximum = after("Average Latency (s):")?
            .rsplit_once("max ")
            .and_then(|(_, rest)| rest.trim_end_matches(')').parse::<f64>().ok())
            .unwrap_or_default();
        Ok(Self {
            sent: number("Queries sent:")? as u64,
            completed: number("Queries completed:")? as u64,
            lost: number("Queries lost:")? as u64,
            rate: number("Queries per second:")?,
            latency_us: number("Average Latency (s):")? * 1e6,
            latency_max_us: maximum * 1e6,
        })
    }
}

/// Waits until the process has written the words that say it is watching.
pub fn wait_for_listening(process: &Metered, log: &Path) -> Result<String> {
    let mut said = String::new();
    let found = wait_until(Duration::from_secs(20), || {
        said = std::fs::read_to_string(log).unwrap_or_default();
        if !Path::new("/proc").join(process.pid().to_string()).join("exe").exists() {
            bail!("it ended: {}", said.trim());
        }
        Ok(said.lines().any(|line| line.contains("listening on")))
    })?;
    ensure!(found, "no \"listening on\" within 20 s: {}", said.trim());
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::Load;

    #[test]
    fn dnsperf_is_understood() {
        let text = "Statistics:\n\n  Queries sent:         400000\n  Queries completed:    399990 (100.00%)\n  \
                    Queries lost:         10 (0.00%)\n\n  Run time (s):         10.0\n  Queries per second:   39999.0\n\n  \
                    Average Latency (s):  0.000101 (min 0.000022, max 0.004110)\n";
        let load = Load::parse(text).unwrap();
        assert_eq!((load.sent, load.completed, load.lost), (400_000, 399_990, 10));
        assert!((load.latency_us - 101.0).abs() < 0.01 && (load.latency_max_us - 4_110.0).abs() < 0.01);
    }
}
