//! The servers of a scenario: real ones, each with a configuration of its own, and a small responder for what no real
//! server does.

mod config;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::scenario::Set;
use super::zone::World;
use crate::child::{self, Running};
use crate::{netns, shell};

/// Which program answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// unbound, recursive, with the zones as its upstream.
    Unbound,
    /// BIND, recursive, with the zones as its own.
    Bind,
    /// Knot, authoritative.
    Knot,
    /// NSD, authoritative.
    Nsd,
    /// dnsmasq, which forwards to an NSD on its own loopback.
    Dnsmasq,
    /// The PowerDNS Recursor, which forwards to an NSD on its own loopback.
    Pdns,
    /// `responder.py`, which does as its rules say.
    Responder,
}

impl Kind {
    /// Its part of a capture's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unbound => "unbound",
            Self::Bind => "bind",
            Self::Knot => "knot",
            Self::Nsd => "nsd",
            Self::Dnsmasq => "dnsmasq",
            Self::Pdns => "pdns",
            Self::Responder => "responder",
        }
    }

    /// Does an NSD stand behind it?
    fn forwards(self) -> bool {
        matches!(self, Self::Dnsmasq | Self::Pdns)
    }
}

/// A server, and where clients ask it.
#[derive(Clone, Debug)]
pub struct Server {
    /// The program.
    pub kind: Kind,
    /// The address that clients ask.
    pub address: String,
    /// The node translates that address to the server's own, as kube-proxy does.
    pub service: bool,
    /// What it knows.
    pub world: World,
    /// Lines of its own configuration, after ours.
    pub extra: String,
    /// Of the responder.
    pub rules: Vec<Value>,
    /// More addresses that are there.
    pub more: Vec<String>,
    /// An address at which web pages are served too.
    pub web: Option<String>,
}

impl Server {
    /// Behind the cluster's DNS Service of this set.
    pub fn service(kind: Kind, set: Set, world: World) -> Self {
        Self::at(kind, Self::service_ip(set), world).translated()
    }

    /// The address of the cluster's DNS Service.
    pub fn service_ip(set: Set) -> &'static str {
        match set {
            Set::Tuned => "10.96.0.10",
            Set::HeldOut => "172.20.0.10",
        }
    }

    /// At an address of its own.
    pub fn at(kind: Kind, address: &str, world: World) -> Self {
        let address = address.to_owned();
        Self {
            kind,
            address,
            service: false,
            world,
            extra: String::new(),
            rules: Vec::new(),
            more: Vec::new(),
            web: None,
        }
    }

    /// The responder behind the Service.
    pub fn responder(set: Set, rules: Vec<Value>) -> Self {
        Self { rules, ..Self::service(Kind::Responder, set, World::new()) }
    }

    /// The node translates its address.
    fn translated(self) -> Self {
        Self { service: true, ..self }
    }

    /// With more lines in its configuration.
    pub fn extra(mut self, lines: impl AsRef<str>) -> Self {
        self.extra.push_str(lines.as_ref());
        self.extra.push('\n');
        self
    }

    /// With another address beside.
    pub fn also_at(mut self, address: &str) -> Self {
        self.more.push(address.to_owned());
        self
    }

    /// With a web server at an address of its own.
    pub fn with_web(mut self, address: &str) -> Self {
        self.web = Some(address.to_owned());
        self.also_at(address)
    }

    /// The address that it listens at: the `n`-th server's, from 1.
    pub fn own_address(&self, n: usize) -> String {
        if self.service { format!("10.200.0.{n}") } else { self.address.clone() }
    }

    /// Writes its files into `folder`, starts it in `netns`, and waits until it answers anything at all.
    pub fn start(&self, n: usize, netns: &str, folder: &Path) -> Result<Vec<Running>> {
        let folder = folder.join(format!("server{n}"));
        fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
        let mut running = Vec::new();
        let address = self.own_address(n);
        if self.kind.forwards() {
            // Each forwarder has a backend of its own: the ports keep two in one namespace apart.
            let behind = format!("127.0.0.1@{}", backend_port(n));
            running.push(run(Kind::Nsd, &behind, &self.world, "", &folder.join("behind"), netns)?);
        }
        let listen = format!("{address}@53");
        if self.kind == Kind::Responder {
            running.push(self.respond(&address, &folder, netns)?);
        } else {
            let extra = self.extra.replace("{dir}", &folder.to_string_lossy());
            let extra =
                if self.kind.forwards() { forward(self.kind, n, &self.world) + &extra } else { extra };
            running.push(run(self.kind, &listen, &self.world, &extra, &folder, netns)?);
        }
        if let Some(web) = &self.web {
            let mut command = netns::command(netns, "python3");
            command.args(["-m", "http.server", "80", "--bind", web, "--directory"]).arg(&folder);
            running.push(spawn(&mut command, &folder)?);
        }
        for process in &mut running {
            wait_for_answer(process, netns, &address, &folder)?;
        }
        Ok(running)
    }

    /// Starts `responder.py` with the rules.
    fn respond(&self, address: &str, folder: &Path, netns: &str) -> Result<Running> {
        let (script, rules) = (folder.join("responder.py"), folder.join("rules.json"));
        write(&script, include_str!("responder.py"))?;
        write(&rules, &serde_json::to_string_pretty(&self.rules)?)?;
        let mut command = netns::command(netns, "python3");
        command.arg("-u").arg(&script).arg(address).arg(&rules);
        spawn(&mut command, folder)
    }
}

/// Where the NSD behind the `n`-th server listens.
fn backend_port(n: usize) -> usize {
    5300 + n
}

/// The lines by which a forwarder finds its backend.
fn forward(kind: Kind, n: usize, world: &World) -> String {
    let port = backend_port(n);
    if kind == Kind::Dnsmasq {
        return format!("server=127.0.0.1#{port}\n");
    }
    // One entry for each zone: below a forwarded root the recursor takes the SOA of a deeper zone for foreign.
    let zones: Vec<String> =
        world.zones.iter().map(|zone| format!("{}=127.0.0.1:{port}", zone.apex)).collect();
    format!("forward-zones={}\n", zones.join(","))
}

/// Writes the configuration of `kind` and its zone files, and starts it.
fn run(kind: Kind, listen: &str, world: &World, extra: &str, folder: &Path, netns: &str) -> Result<Running> {
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let mut zones = Vec::new();
    for (n, zone) in world.zones.iter().enumerate() {
        let file = folder.join(format!("zone{n}"));
        write(&file, &zone.text())?;
        zones.push((zone.apex.as_str(), file.to_string_lossy().into_owned()));
    }
    let (address, port) = listen.split_once('@').context("no port to listen at")?;
    let config = folder.join(if kind == Kind::Pdns { "recursor.conf" } else { "conf" });
    let at = config::Listen { address, port, folder: &folder.to_string_lossy() };
    let (program, text) = match kind {
        Kind::Unbound => ("unbound", config::unbound(&at, &zones, extra)),
        Kind::Bind => ("named", config::bind(&at, &zones, extra)),
        Kind::Knot => ("knotd", config::knot(&at, &zones, extra)),
        Kind::Nsd => ("nsd", config::nsd(&at, &zones, extra)),
        Kind::Dnsmasq => ("dnsmasq", config::dnsmasq(&at, extra)),
        Kind::Pdns => ("pdns_recursor", config::pdns(&at, extra)),
        Kind::Responder => bail!("the responder has no zones"),
    };
    write(&config, &text)?;
    let mut command = netns::command(netns, &executable(program)?);
    match kind {
        Kind::Unbound | Kind::Nsd => command.args(["-d", "-c"]).arg(&config),
        Kind::Bind => command.args(["-g", "-n", "1", "-c"]).arg(&config),
        Kind::Knot => command.arg("-c").arg(&config),
        Kind::Dnsmasq => command.arg("-k").arg(format!("--conf-file={}", config.display())),
        _ => command.arg(format!("--config-dir={}", folder.display())),
    };
    spawn(&mut command, folder)
}

/// The program to run.
///
/// unbound and named run from a copy: Debian's AppArmor profiles let those in /usr/sbin read their own folders alone.
fn executable(program: &str) -> Result<String> {
    let found = shell::find_program(program).with_context(|| format!("{program} is missing"))?;
    if !["unbound", "named"].contains(&program) {
        return Ok(found.to_string_lossy().into_owned());
    }
    let copy = super::dir().join("bin").join(program);
    if !copy.exists() {
        fs::create_dir_all(super::dir().join("bin")).context("failed to make a folder for programs")?;
        // By another name first, since several scenarios may begin at once.
        let partial = copy.with_extension(format!("{:?}", std::thread::current().id()));
        fs::copy(&found, &partial).with_context(|| format!("failed to copy {}", found.display()))?;
        fs::rename(&partial, &copy).with_context(|| format!("failed to make {}", copy.display()))?;
    }
    Ok(copy.to_string_lossy().into_owned())
}

/// Starts a server in its folder, where its log goes.
fn spawn(command: &mut Command, folder: &Path) -> Result<Running> {
    let log = File::create(folder.join("log")).context("failed to create a server's log")?;
    Running::spawn(command.current_dir(folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log))
}

/// dig's status is 0 for every reply, whatever it says.
fn wait_for_answer(process: &mut Running, netns: &str, address: &str, folder: &Path) -> Result<()> {
    let mut status = None;
    let answered = child::wait_until(Duration::from_secs(15), || {
        status = process.exited()?;
        let mut dig = netns::command(netns, "dig");
        dig.arg(format!("@{address}")).args(["+time=1", "+tries=1", "probe.example", "TXT"]);
        Ok(status.is_some() || child::finish_within(&mut dig, Duration::from_secs(5))?.status.success())
    })?;
    if !answered || status.is_some() {
        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(5).collect();
        bail!("{} does not answer: {}", folder.display(), tail.join(" | "));
    }
    Ok(())
}

/// Writes a file, or says which could not be written.
fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}
