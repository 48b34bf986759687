//! The lab: a node with pods, a cluster resolver behind a Service IP and a VPC, made of network namespaces.
//!
//! Nothing in the root namespace changes. All that it makes is named `nslookout-…`, all that it starts is recorded in
//! `target/lab/run/`, and [`Lab`] takes everything down again when it is dropped.

mod clients;
mod pods;
mod resolvers;
mod topology;

use std::fs;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Subcommand;

pub use clients::{Client, Rounds, prepare};
pub use pods::{COREDNS, INCIDENT_PODS, PODS, Pod};
pub use topology::{
    FRAGMENTED, HOST_RESOLVER, IMDS, NODE, NODE_CACHE, NODE_IP, NODE_IP6, PAIR_CONFLICT, SERVFAIL,
    SERVICE_IP, SERVICE_IP6, SLOW, VPC, VPC_RESOLVER, VPC_RESOLVER6, WRONG_SOURCE, fill,
};

use crate::setup::{self, Part};
use crate::{child, netns, shell};
use resolvers::{INCIDENT_RESOLVERS, RESOLVERS, Resolver};

/// What `cargo xtask lab` can do.
#[derive(Subcommand)]
pub enum Action {
    /// Raise the lab and leave it up; one that is up or half up is taken down first
    Up {
        /// With the pods and the resolvers of the incidents
        #[arg(long)]
        incidents: bool,
    },
    /// Take the lab down: end its resolvers, remove its namespaces and their files in /etc/netns
    Down,
    /// Say what is up and which resolvers answer
    Status,
    /// Resolve a name in a pod by every kind of client, one after the other
    Clients {
        /// A pod's name
        pod: String,
        /// The name, with a final dot or to be sought over the search list
        name: String,
    },
    /// Run a command in a pod (shop/cart), in the node (node) or in the VPC (vpc)
    Exec {
        /// A pod's name, `node` or `vpc`
        place: String,
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

/// Does what the command line asked for.
pub fn run(action: &Action) -> Result<()> {
    match action {
        Action::Up { incidents } => {
            setup::ensure(&[Part::Lab])?;
            let mut lab = Lab::up()?;
            if *incidents {
                lab.add_incidents()?;
            }
            describe();
            lab.leave_up();
            println!(
                "\ntry: cargo xtask lab exec tools/debug dig kubernetes.default +search; end: cargo xtask lab down"
            );
            Ok(())
        }
        Action::Down => down(),
        Action::Status => status(),
        Action::Clients { pod, name } => every_client(pod, name),
        Action::Exec { place, command } => exec(place, command),
    }
}

/// The lab while it is up; dropping it takes it down.
pub struct Lab {
    /// The resolvers that this process started, to be reaped.
    children: Vec<Child>,
    /// Held as long as the lab is in use, so that no other task takes it down.
    _lock: UnixListener,
    leave_up: bool,
}

impl Lab {
    /// Raises the lab and waits until every resolver answers.
    ///
    /// What an earlier lab left behind goes first. From here on Ctrl-C unwinds, so that the lab goes down in order.
    pub fn up() -> Result<Self> {
        must_be_root()?;
        let lock = lock()?;
        child::unwind_on_signals()?;
        clean().context("failed to take down the lab that was there")?;
        // The guard exists before the first namespace does: an error below takes down what there is.
        let mut lab = Self { children: Vec::new(), _lock: lock, leave_up: false };
        clients::compile(&[Client::Musl123, Client::Glibc])?;
        make_etc_netns()?;
        topology::build()?;
        lab.start(RESOLVERS)?;
        Ok(lab)
    }

    /// Adds what the incidents need: their pods, and the resolvers that answer wrongly or not at all.
    pub fn add_incidents(&mut self) -> Result<()> {
        topology::build_incidents()?;
        netns::set(NODE, &[("net/netfilter/nf_conntrack_acct", "1")])?;
        netns::nft(NODE, &topology::fill(include_str!("../lab/incidents/faults.nft"))?)?;
        self.start(INCIDENT_RESOLVERS)
    }

    /// Starts resolvers and waits until each answers.
    fn start(&mut self, resolvers: &[Resolver]) -> Result<()> {
        let first = self.children.len();
        for resolver in resolvers {
            self.children.push(resolver.start()?);
        }
        for (resolver, child) in resolvers.iter().zip(&mut self.children[first..]) {
            resolver.wait_until_it_answers(child)?;
        }
        Ok(())
    }

    /// `program` on the node: in the namespace that has the pods' wires, the uplink and lo.
    pub fn node_command(&self, program: impl AsRef<Path>) -> Command {
        netns::command(NODE, &program.as_ref().to_string_lossy())
    }

    /// `program` in the pod `namespace/name`, with the pod's own `resolv.conf`.
    pub fn pod_command(&self, pod: &str, program: impl AsRef<Path>) -> Result<Command> {
        Ok(netns::command(self.pod(pod)?.netns, &program.as_ref().to_string_lossy()))
    }

    /// The pod `namespace/name`.
    pub fn pod(&self, name: &str) -> Result<&'static Pod> {
        pods::pod_of(name)
    }

    /// The pods that are always there, the resolver's own among them ([`COREDNS`]).
    pub fn pods(&self) -> &'static [Pod] {
        PODS
    }

    /// Ends the task without taking the lab down.
    fn leave_up(mut self) {
        self.leave_up = true;
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.leave_up {
            return;
        }
        if let Err(error) = clean() {
            eprintln!("failed to take the lab down: {error:#}; try again: cargo xtask lab down");
        }
        for child in &mut self.children {
            child.try_wait().ok();
        }
    }
}

/// Where the lab's programs, logs and records are.
fn dir() -> PathBuf {
    shell::workspace().join("target/lab")
}

fn must_be_root() -> Result<()> {
    let uid = fs::metadata("/proc/self").context("failed to look at /proc/self")?.uid();
    if uid != 0 {
        bail!(
            "the lab makes network namespaces, which user {uid} may not; run it as root: sudo -E cargo xtask …"
        );
    }
    Ok(())
}

/// One task at a time: the names of namespaces are the machine's.
///
/// An abstract socket goes with its process, so nothing stale stays behind.
fn lock() -> Result<UnixListener> {
    let address = SocketAddr::from_abstract_name("nslookout-lab").context("failed to name the lab's lock")?;
    match UnixListener::bind_addr(&address) {
        Ok(lock) => Ok(lock),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            bail!("the lab is in use by another task (demo, bench or test); wait for its end")
        }
        Err(error) => Err(error).context("failed to lock the lab"),
    }
}

/// Makes `/etc/netns` where there is none, and notes that it is ours to remove.
fn make_etc_netns() -> Result<()> {
    let run_dir = resolvers::run_dir();
    fs::create_dir_all(&run_dir).with_context(|| format!("failed to create {}", run_dir.display()))?;
    if Path::new("/etc/netns").exists() {
        return Ok(());
    }
    // The note comes first: one without its folder does no harm, a folder without its note would stay.
    let marker = resolvers::etc_marker();
    fs::write(&marker, "").with_context(|| format!("failed to write {}", marker.display()))?;
    fs::create_dir("/etc/netns").context("failed to create /etc/netns")
}

/// Takes down all that is there, and gives what it was, in words.
///
/// Goes on after a failure, so that one stubborn part does not keep the others; the first error is the result.
fn clean() -> Result<Vec<String>> {
    let mut done = Vec::new();
    let mut failed = Ok(());
    let mut note = |result: Result<Option<String>>| match result {
        Ok(what) => done.extend(what),
        Err(error) if failed.is_ok() => failed = Err(error),
        Err(_) => {}
    };
    for resolver in RESOLVERS.iter().chain(INCIDENT_RESOLVERS).rev() {
        note(
            resolver
                .stop()
                .map(|ended| ended.then(|| format!("ended {} ({})", resolver.name, resolver.program))),
        );
    }
    for name in topology::namespaces() {
        note(remove_namespace(name));
        note(netns::remove_etc(name).map(|()| None));
    }
    if fs::remove_file(resolvers::etc_marker()).is_ok() {
        // Not empty where others have put files there since; then it stays.
        fs::remove_dir("/etc/netns").ok();
    }
    failed.map(|()| done)
}

fn remove_namespace(name: &str) -> Result<Option<String>> {
    if !netns::exists(name) {
        return Ok(None);
    }
    let pids = netns::pids(name)?;
    if !pids.is_empty() {
        // Not ours, so not ours to end.
        eprintln!("processes still run in {name}, which keeps it alive without its name: {pids:?}");
    }
    netns::delete(name)?;
    Ok(Some(format!("removed {name}")))
}

fn down() -> Result<()> {
    must_be_root()?;
    let _lock = lock()?;
    let done = clean()?;
    for line in &done {
        println!("{line}");
    }
    println!("{}", if done.is_empty() { "the lab was not up" } else { "the lab is down" });
    Ok(())
}

/// Who is where, as a table.
pub fn describe() {
    println!("{:<38} {:<16} {:<10} {:<14} network namespace", "pod", "interface", "address", "IPv6");
    for pod in PODS {
        println!(
            "{:<38} {:<16} {:<10} {:<14} {}",
            pod.name, pod.interface, pod.address, pod.address6, pod.netns
        );
    }
    println!("{:<38} {:<16} {:<10} {:<14} {NODE}", "the node itself", "eth0", NODE_IP, NODE_IP6);
    println!("resolvers: Service {SERVICE_IP} and {SERVICE_IP6} (unbound in {COREDNS}),");
    println!(
        "           VPC {VPC_RESOLVER} and {VPC_RESOLVER6} (dnsmasq), node's loopback {HOST_RESOLVER} (dnsmasq)"
    );
}

fn status() -> Result<()> {
    let missing: Vec<&str> = topology::namespaces().filter(|name| !netns::exists(name)).collect();
    if missing.len() == topology::namespaces().count() {
        bail!("the lab is down; cargo xtask lab up raises it");
    }
    describe();
    let mut healthy = missing.is_empty();
    for name in missing {
        println!("missing: network namespace {name}");
    }
    for resolver in RESOLVERS {
        let start = Instant::now();
        let state = match (resolver.pid(), resolver.probe()?) {
            (None, _) => "not running".into(),
            (Some(pid), None) => {
                format!("process {pid}, no answer after {:.1} s", start.elapsed().as_secs_f32())
            }
            (Some(pid), Some(took)) => format!("process {pid}, answers (dig took {} ms)", took.as_millis()),
        };
        healthy &= state.contains("answers");
        println!("{:<8} {:<8} {state}", resolver.name, resolver.program);
    }
    if !healthy {
        bail!(
            "the lab is half up; logs are in {}; cargo xtask lab up makes it anew",
            resolvers::run_dir().display()
        );
    }
    Ok(())
}

/// Resolves `name` by each client and shows what it said; a client that fails is a result, not an error.
fn every_client(pod: &str, name: &str) -> Result<()> {
    setup::ensure(&[Part::Clients])?;
    let pod = pods::pod_of(pod)?;
    if !netns::exists(pod.netns) {
        bail!("the lab is down; cargo xtask lab up raises it");
    }
    for &client in Client::ALL {
        println!("\n== {}, whose stub resolver is: {}", client.name(), client.fingerprint());
        println!("$ {}", client.typed(&[name]));
        let mut command = client.command(pod.netns, &[name], Rounds::ONE);
        // glibc waits 40 s and more where nobody answers.
        let finished = child::finish_within(&mut command, Duration::from_secs(60))?;
        print!("{}{}", finished.stdout, finished.stderr);
    }
    Ok(())
}

/// Runs a command in the standing lab, on the terminal, and ends with its status.
fn exec(place: &str, command: &[String]) -> Result<()> {
    let name = match place {
        "node" => NODE,
        "vpc" => VPC,
        pod => pods::pod_of(pod).context("a place is a pod, node or vpc")?.netns,
    };
    if !netns::exists(name) {
        bail!("the lab is down; cargo xtask lab up raises it");
    }
    let [program, arguments @ ..] = command else { bail!("no command to run in {place}") };
    let mut command = netns::command(name, program);
    command.args(arguments).env("PATH", path_with_clients());
    let status: ExitStatus = command.status().with_context(|| format!("failed to start {command:?}"))?;
    std::process::exit(status.code().unwrap_or(1));
}

/// PATH with the lab's clients in front, so that `lab exec shop/cart getaddrinfo-musl NAME` works.
fn path_with_clients() -> std::ffi::OsString {
    let mut path = dir().join("bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}
