//! What every check works on: the node with its resolver and its workloads, and the agent by its chart.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::chart;
use super::daemon::{self, Daemon};
use super::enclosure::{CGROUP, STATE};
use super::metrics::{self, Metrics};
use super::node::{self, Node, OUTSIDE, OUTSIDE_IP};
use super::tools::Tools;
use crate::{child, image, netns};

/// How long pods may take to run, on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The namespace and the release of the chart.
pub const RELEASE: &str = "nslookout";

/// External names, as many as a crawler has.
const SITES: usize = 20;

/// The standing scene.
pub struct Scene {
    /// The cluster.
    pub node: Node,
    /// Values that every installation has: the image, and no waiting for a registry.
    values: Vec<String>,
    /// When the last of the pods that live for a moment had ended, by the check `short-lived`.
    pub crowd_gone: Option<Instant>,
    _outside: Daemon,
}

/// The agent's image.
pub struct AgentImage {
    /// Its name without the tag.
    repository: String,
    tag: String,
    /// For containerd.
    archive: PathBuf,
}

impl AgentImage {
    /// The image in an archive, by the name that stands in it.
    pub fn in_archive(archive: &Path) -> Result<Self> {
        let name = image::reference_in(archive)?;
        let (repository, tag) = name
            .rsplit_once(':')
            .with_context(|| format!("the image in {} has no name with a tag", archive.display()))?;
        Ok(Self { repository: repository.to_owned(), tag: tag.to_owned(), archive: archive.to_owned() })
    }
}

impl Scene {
    /// Starts the node, the resolvers and the workloads, and waits until all of them run.
    pub fn set(tools: &Tools, image: &AgentImage) -> Result<Self> {
        let folder = daemon::folder().join("images");
        let mut archives: Vec<PathBuf> =
            ["pause", "musl", "glibc", "resolver"].map(|name| folder.join(format!("{name}.tar"))).to_vec();
        archives.push(image.archive.clone());
        let node = Node::start(tools, &archives)?;
        let outside = start_outside()?;
        let values =
            [("repository", &image.repository), ("tag", &image.tag), ("pullPolicy", &"Never".into())]
                .map(|(key, value)| format!("image.{key}={value}"));
        let scene = Self { node, values: values.to_vec(), crowd_gone: None, _outside: outside };
        let fill = |text: &str| text.replace("@OUTSIDE_IP@", OUTSIDE_IP).replace("@SITES@", &sites());
        scene.node.kubectl.apply("dns", &fill(include_str!("../../../e2e/dns.yaml")))?;
        scene.node.kubectl.apply("workloads", &fill(include_str!("../../../e2e/workloads.yaml")))?;
        let wanted = include_str!("../../../e2e/workloads.yaml").matches("imagePullPolicy").count() + 2;
        let running = |list: &Value| {
            let items = list["items"].as_array();
            items.into_iter().flatten().filter(|pod| pod["status"]["phase"] == "Running").count() == wanted
        };
        scene.node.kubectl.wait_for("pods running", &["pods", "-A"], PATIENCE, running)?;
        Ok(scene)
    }

    /// Installs the chart or upgrades what is installed, with these values, and waits until the agent is ready.
    ///
    /// Gives how long it took.
    pub fn install(&self, values: &[&str]) -> Result<Duration> {
        let start = Instant::now();
        let chart = chart();
        let chart = chart.to_string_lossy();
        let mut words =
            vec!["upgrade", "--install", RELEASE, &chart, "--namespace", RELEASE, "--create-namespace"];
        words.extend(["--wait", "--timeout", "120s"]);
        for value in self.values.iter().map(String::as_str).chain(values.iter().copied()) {
            words.extend(["--set", value]);
        }
        self.node.kubectl.helm(&words).with_context(|| self.agent_says())?;
        // helm calls a DaemonSet ready while as many pods as `maxUnavailable` are not, so of one node's the old one
        // may still be here, and answer.
        let words = ["rollout", "status", "daemonset/nslookout", "--namespace", RELEASE, "--timeout=120s"];
        self.node.kubectl.run(&words).with_context(|| self.agent_says())?;
        self.wait_until_served()?;
        Ok(start.elapsed())
    }

    /// Waits until `/readyz` says yes.
    pub fn wait_until_served(&self) -> Result<()> {
        let served = child::wait_until(PATIENCE, || Ok(metrics::page("/readyz").is_ok()))?;
        if !served {
            bail!("the agent is not ready after {} s: {}", PATIENCE.as_secs(), self.agent_says());
        }
        Ok(())
    }

    /// All that the agent has written; where that cannot be had, why.
    pub fn agent_says(&self) -> String {
        let words = ["logs", "--namespace", RELEASE, "daemonset/nslookout", "--tail=-1"];
        self.node.kubectl.run(&words).unwrap_or_else(|error| format!("no log of the agent: {error:#}"))
    }

    /// The agent's pod, of which there is one.
    pub fn agent_pod(&self) -> Result<Value> {
        let list = self.node.kubectl.get(&["pods", "--namespace", RELEASE])?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let alive: Vec<Value> =
            items.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect();
        match <[Value; 1]>::try_from(alive) {
            Ok([pod]) => Ok(pod),
            Err(pods) => bail!("{} pods of the agent in place of one", pods.len()),
        }
    }

    /// Waits until the metrics are `right`; an error tells what was waited for, and which workloads there are.
    pub fn wait_for_metrics(
        &self,
        what: &str,
        limit: Duration,
        right: impl Fn(&Metrics) -> bool,
    ) -> Result<(Metrics, Duration)> {
        let start = Instant::now();
        let mut last = None;
        child::wait_until(limit, || {
            last = Metrics::fetch().ok();
            Ok(last.as_ref().is_some_and(&right))
        })?;
        let Some(metrics) = last else {
            bail!("no metrics: {}", self.agent_says());
        };
        if !right(&metrics) {
            let seen = metrics.workloads().join(", ");
            bail!("{what} not within {} s; queries are counted for: {seen}", limit.as_secs());
        }
        Ok((metrics, start.elapsed()))
    }
}

/// The processes that run the agent's program in one of its pods, with this word among their arguments.
pub fn agent_processes(word: &str) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("failed to list /proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let text = |file: &str| {
            let bytes = fs::read(entry.path().join(file)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let is_agent = fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe.ends_with("nslookout"));
        if is_agent && text("cgroup").contains(CGROUP) && text("cmdline").contains(word) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// The resolver out there, of the lab's kind.
fn start_outside() -> Result<Daemon> {
    let config = PathBuf::from(STATE).join("outside.conf");
    let text = include_str!("../../../e2e/outside.dnsmasq.conf").replace("@OUTSIDE_IP@", OUTSIDE_IP);
    crate::rootfs::write(&config, &text)?;
    let mut command = netns::command(OUTSIDE, "dnsmasq");
    command.arg("--keep-in-foreground").arg(format!("--conf-file={}", config.display()));
    let mut daemon = Daemon::start("outside", &mut command)?;
    let mut dig = || {
        let mut command = Command::new("dig");
        command.args([&format!("@{}", node::OUTSIDE_IP), "+short", "+time=1", "+tries=1", "crawl.example"]);
        Ok(child::finish_within(&mut command, Duration::from_secs(5))?.stdout.contains("203.0.113.30"))
    };
    daemon.wait_until(PATIENCE, &mut dig)?;
    Ok(daemon)
}

/// `site-1.crawl.example` and so on, as a list in YAML.
fn sites() -> String {
    (1..=SITES).map(|site| format!("site-{site}.crawl.example")).collect::<Vec<_>>().join(", ")
}
