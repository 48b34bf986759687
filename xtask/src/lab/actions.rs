//! `cargo xtask lab`: raise, look at, use and take down the lab by hand.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use super::resolvers::{self, INCIDENT_RESOLVERS, RESOLVERS};
use super::{
    COREDNS, Client, HOST_RESOLVER, INCIDENT_PODS, Lab, NODE, NODE_IP, NODE_IP6, PODS, Rounds, SERVICE_IP,
    SERVICE_IP6, VPC, VPC_RESOLVER, VPC_RESOLVER6, clean, lock, must_be_root, pods, topology,
};
use crate::setup::{self, Part};
use crate::{child, netns};

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
    // What the incidents add is either there, or nobody misses it.
    let with_incidents = INCIDENT_PODS.iter().any(|pod| netns::exists(pod.netns));
    let is_due = |name: &&str| with_incidents || INCIDENT_PODS.iter().all(|pod| pod.netns != *name);
    let missing: Vec<&str> =
        topology::namespaces().filter(is_due).filter(|name| !netns::exists(name)).collect();
    if missing.len() == topology::namespaces().filter(is_due).count() {
        bail!("the lab is down; cargo xtask lab up raises it");
    }
    describe();
    let mut healthy = missing.is_empty();
    for name in missing {
        println!("missing: network namespace {name}");
    }
    let more = if with_incidents { INCIDENT_RESOLVERS } else { &[] };
    for resolver in RESOLVERS.iter().chain(more) {
        let start = Instant::now();
        let state = match (resolver.pid(), resolver.probe()?) {
            (None, _) => "not running".into(),
            (Some(pid), None) => {
                format!("process {pid}, no answer after {:.1} s", start.elapsed().as_secs_f32())
            }
            (Some(pid), Some(took)) => format!("process {pid}, answers (dig took {} ms)", took.as_millis()),
        };
        healthy &= state.contains("answers");
        println!("{:<10} {:<8} {state}", resolver.name, resolver.program);
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
    let mut path = super::dir().join("bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}
