//! `cargo xtask e2e container`: the image under podman with the capabilities of the chart and no other.
//!
//! What is added is read from the chart as helm renders it, so that the two cannot drift apart. The agent watches a node
//! made of network namespaces, where a pod asks a resolver.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use super::verdict::Verdicts;
use crate::child::{self, Running};
use crate::kube_tools::HELMS;
use crate::setup::{self, Part};
use crate::shell::{output, workspace};
use crate::{image, netns};

const NODE: &str = "nslookout-container-node";
const POD: &str = "nslookout-container-pod";
const NAME: &str = "www.container.example";
const PATIENCE: Duration = Duration::from_secs(60);

/// What to check.
#[derive(Args, Debug, Default)]
pub struct Plan {
    /// An archive of the agent's image that is there already, instead of building one
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
}

/// Runs the checks; an error where one failed.
pub fn run(plan: &Plan) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("SKIP container: it needs root (sudo -E env \"PATH=$PATH\" cargo xtask e2e container)");
        return Ok(());
    }
    setup::ensure(&[Part::Build, Part::Container])?;
    child::unwind_on_signals()?;
    let archive = match &plan.image {
        Some(archive) => archive.clone(),
        None => image::build()?.archive,
    };
    let podman = Podman::new(&archive)?;
    let site = Site::up()?;
    let all = capabilities(&[])?;
    let without_ebpf =
        capabilities(&["capabilities.ebpf=false", "capabilities.perfmon=false", "identity.process=false"])?;
    let mut verdicts = Verdicts::default();
    verdicts.check("default", || captures(&podman, &site, &all, "ebpf"));
    verdicts.check("packet-socket", || captures(&podman, &site, &without_ebpf, "packet"));
    for missing in ["BPF", "NET_ADMIN"] {
        verdicts.check(&format!("without {missing}"), || names_what_is_missing(&podman, &all, missing));
    }
    drop(site);
    verdicts.finish("container")
}

/// What the chart's container adds to no capabilities at all, with these values.
fn capabilities(values: &[&str]) -> Result<Vec<String>> {
    let mut helm = Command::new(HELMS[0].program()?);
    helm.arg("template").arg(workspace().join("deploy/helm/nslookout"));
    helm.args(["--show-only", "templates/daemonset.yaml"]);
    for value in values {
        helm.args(["--set", value]);
    }
    added(&output(&mut helm)?).context("the chart's DaemonSet adds no capabilities")
}

/// The list below `add:` of `capabilities:` in a manifest.
fn added(manifest: &str) -> Option<Vec<String>> {
    let (_, rest) = manifest.split_once("capabilities:")?;
    ensure_all_dropped(rest)?;
    let (_, list) = rest.split_once("add:")?;
    let item = |line: &str| line.trim().strip_prefix("- ").map(str::to_owned);
    Some(list.lines().skip(1).map_while(item).collect::<Vec<_>>()).filter(|items| !items.is_empty())
}

fn ensure_all_dropped(capabilities: &str) -> Option<()> {
    capabilities.lines().take(3).any(|line| line.trim() == "drop: [ALL]").then_some(())
}

/// With these capabilities the agent sees a query of the pod and its answer, and ends well.
fn captures(podman: &Podman, site: &Site, added: &[String], capture: &str) -> Result<String> {
    let lines = podman.folder.join(format!("{capture}.json"));
    let errors = lines.with_extension("err");
    let mut command =
        podman.run(added, &["watch", "-o", "json", "--capture", capture, "--identity", "none"])?;
    let create =
        |path: &Path| fs::File::create(path).with_context(|| format!("failed to create {}", path.display()));
    command.stdin(Stdio::null()).stdout(create(&lines)?).stderr(create(&errors)?);
    let mut running = Running::spawn(&mut command)?;
    let said = || fs::read_to_string(&errors).unwrap_or_default();
    let listening = child::wait_until(PATIENCE, || {
        ensure!(running.exited()?.is_none(), "the container ended: {}", said().trim());
        Ok(said().contains("listening on"))
    })?;
    ensure!(listening, "not listening after {} s: {}", PATIENCE.as_secs(), said().trim());
    site.ask()?;
    let is_seen =
        |line: &str| line.contains(NAME) && line.contains("\"answered\"") && line.contains("\"client\"");
    let seen = child::wait_until(Duration::from_secs(10), || {
        Ok(fs::read_to_string(&lines).is_ok_and(|text| text.lines().any(is_seen)))
    })?;
    ensure!(seen, "the query was not seen: {}", said().trim());
    let status = running.stop_within("TERM", PATIENCE)?;
    ensure!(status.success(), "it ended with {status}: {}", said().trim());
    let left = site.hooks()?;
    ensure!(left.is_empty(), "left behind: {left}");
    Ok(format!("captured a pod's query by {capture} with {}, nothing left behind", added.join(" ")))
}

/// With one capability less the agent says which it lacks, in place of watching nothing.
fn names_what_is_missing(podman: &Podman, all: &[String], missing: &str) -> Result<String> {
    let less: Vec<String> = all.iter().filter(|capability| *capability != missing).cloned().collect();
    ensure!(less.len() < all.len(), "the chart does not add {missing}");
    let mut command = podman.run(&less, &["watch", "--capture", "ebpf", "--identity", "none"])?;
    let finished = child::finish_within(&mut command, PATIENCE)?;
    ensure!(!finished.status.success(), "it ran all the same");
    let wanted = format!("CAP_{missing}");
    let line = finished.stderr.lines().find(|line| line.contains(&wanted));
    let Some(line) = line else { bail!("it does not name {wanted}: {}", finished.stderr.trim()) };
    Ok(line.trim().to_owned())
}

/// podman with a storage of its own, in which the image is.
struct Podman {
    folder: PathBuf,
    reference: String,
}

impl Podman {
    fn new(archive: &Path) -> Result<Self> {
        let folder = workspace().join("target/e2e/container");
        fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
        let conf = folder.join("containers.conf");
        fs::write(&conf, include_str!("../../e2e/containers.conf"))
            .with_context(|| format!("failed to write {}", conf.display()))?;
        let podman = Self { folder, reference: image::reference_in(archive)? };
        let mut load = podman.command(Command::new("podman"));
        child::output_within(load.args(["load", "--quiet", "--input"]).arg(archive), PATIENCE)?;
        Ok(podman)
    }

    /// `podman` with what keeps it apart from the machine's own.
    fn command(&self, mut command: Command) -> Command {
        for (flag, folder) in [("--root", "storage"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            command.arg(flag).arg(self.folder.join(folder));
        }
        command.args(["--storage-driver", "vfs"]).env("CONTAINERS_CONF", self.folder.join("containers.conf"));
        command
    }

    /// The image on the node, as the chart's container is: the node's network and processes, nothing to write to.
    fn run(&self, added: &[String], arguments: &[&str]) -> Result<Command> {
        // Not `ip netns exec`, which hides the control groups behind a /sys of its own.
        let mut enter = Command::new("nsenter");
        enter.arg(format!("--net=/run/netns/{NODE}")).arg("podman");
        let mut command = self.command(enter);
        command.args([
            "run",
            "--rm",
            "--network",
            "host",
            "--pid",
            "host",
            "--read-only",
            "--read-only-tmpfs=false",
        ]);
        command.args(["--security-opt", "no-new-privileges", "--cap-drop", "all"]);
        // The profile that Debian 12 has for podman asks for CAP_SYS_ADMIN where containerd's, the chart's
        // RuntimeDefault, is content with CAP_BPF. What a profile allows is not what is tested here.
        command.args(["--security-opt", "seccomp=unconfined"]);
        for capability in added {
            command.args(["--cap-add", capability]);
        }
        command.arg(&self.reference).args(arguments);
        Ok(command)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let mut reset = self.command(Command::new("podman"));
        if let Err(error) = child::finish_within(reset.args(["rmi", "--all", "--force"]), PATIENCE) {
            eprintln!("podman's storage stays in {}: {error:#}", self.folder.display());
        }
    }
}

/// A node with one pod and a resolver; dropping it removes both.
struct Site {
    _resolver: Running,
}

impl Site {
    fn up() -> Result<Self> {
        remove()?;
        netns::add(NODE)?;
        netns::add(POD)?;
        let wires = format!(
            "link add caliecontainer1 type veth peer name eth0 netns {POD}
             addr add 10.88.0.1/24 dev caliecontainer1
             link set caliecontainer1 up"
        );
        netns::ip(NODE, &wires)?;
        netns::ip(POD, "addr add 10.88.0.2/24 dev eth0\nlink set eth0 up")?;
        let mut dnsmasq = netns::command(NODE, "dnsmasq");
        dnsmasq.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--user=root",
        ]);
        dnsmasq.args(["--pid-file=", "--listen-address=10.88.0.1", "--bind-interfaces", "--log-facility=-"]);
        dnsmasq.arg(format!("--address=/{NAME}/203.0.113.7")).stdout(Stdio::null()).stderr(Stdio::null());
        let site = Self { _resolver: Running::spawn(&mut dnsmasq)? };
        let answers = child::wait_until(Duration::from_secs(10), || Ok(site.ask().is_ok()))?;
        ensure!(answers, "the resolver does not answer: {:#}", site.ask().err().context("it does now")?);
        Ok(site)
    }

    /// The pod asks once.
    fn ask(&self) -> Result<()> {
        let mut dig = netns::command(POD, "dig");
        dig.args(["@10.88.0.1", "+short", "+tries=1", "+time=2", NAME]);
        let said = child::output_within(&mut dig, Duration::from_secs(10))?;
        ensure!(said.trim() == "203.0.113.7", "the answer is `{}`", said.trim());
        Ok(())
    }

    /// What hangs on the pod's wire by clsact. Links of tcx end with the process that holds them.
    fn hooks(&self) -> Result<String> {
        let mut tc = netns::command(NODE, "tc");
        let text = child::output_within(tc.args(["qdisc", "show"]), Duration::from_secs(5))?;
        Ok(text.lines().filter(|line| line.contains("clsact")).collect::<Vec<_>>().join(", "))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Err(error) = remove() {
            eprintln!("failed to remove the namespaces of the container's test: {error:#}");
        }
    }
}

/// Takes away what is there, also of a run that was killed.
fn remove() -> Result<()> {
    for name in [POD, NODE] {
        if netns::exists(name) {
            for pid in netns::pids(name)? {
                child::send_signal("KILL", pid).ok();
            }
            netns::delete(name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_those_that_the_manifest_adds() {
        let text = "x:\n  capabilities:\n    drop: [ALL]\n    add:\n      - BPF\n      - NET_ADMIN\n  seccompProfile: x\n";
        assert_eq!(added(text).unwrap(), ["BPF", "NET_ADMIN"]);
        assert!(added("capabilities:\n  add:\n    - BPF\n").is_none(), "all must be dropped first");
        assert!(added("capabilities:\n  drop: [ALL]\n  add:\nnext: 1\n").is_none());
    }
}
