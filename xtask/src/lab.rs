//! The lab: a node with pods, a cluster resolver behind a Service IP and a VPC, made of network namespaces.
//!
//! Nothing in the root namespace changes. All that it makes is named `nslookout-…`, all that it starts is recorded in
//! `target/lab/run/`, and [`Lab`] takes everything down again when it is dropped.

mod actions;
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
use std::process::{Child, Command};

use anyhow::{Context, Result, bail};

pub use actions::{Action, describe, run};
pub use clients::{Client, Rounds, prepare, source as client_source};
pub use pods::{COREDNS, INCIDENT_PODS, PODS, Pod};
pub use topology::{
    FRAGMENTED, HOST_RESOLVER, IMDS, NODE, NODE_CACHE, NODE_IP, NODE_IP6, PAIR_CONFLICT, SERVFAIL,
    SERVICE_IP, SERVICE_IP6, SLOW, VPC, VPC_RESOLVER, VPC_RESOLVER6, WRONG_SOURCE, fill,
};

use crate::{child, netns, shell};
use resolvers::{INCIDENT_RESOLVERS, RESOLVERS, Resolver};

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
