//! The node's own world: namespaces of every kind that hides what a node does to its machine.
//!
//! The task starts itself again inside. Its mounts, interfaces, processes and host name are its own, its state is in a
//! tmpfs that nobody else sees, and all of it ends with the first process in there, however that one ends. What the
//! kernel keeps beyond that are the control groups, which [`remove_cgroups`] removes.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::daemon;
use crate::child::Running;
use crate::shell::run;

/// Where the node keeps everything but its logs: in memory, and gone with the mount namespace.
pub const STATE: &str = "/run/cluster";

/// The control group above those of the pods, in every hierarchy.
pub const CGROUP: &str = "nslookout-e2e";

/// Settings of the kernel that the kubelet writes at its start and that belong to the machine.
const KUBELET_SETTINGS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Folders that daemons write to by names that no flag changes.
const SHADOWED: [&str; 2] = ["/var/lib", "/var/log"];

/// The longest that all may take, `--keep` included.
const LIMIT: Duration = Duration::from_secs(2 * 3600);

/// Runs this program with `arguments` inside, to its end.
///
/// Should this process be killed, so is everything inside: each of setpriv, unshare and the shell dies with its parent.
pub fn enter(arguments: &[&str]) -> Result<()> {
    let _lock = lock()?;
    remove_cgroups().context("failed to remove the control groups of an earlier run")?;
    make_cgroups()?;
    // A copy: a build meanwhile would take the file away from under its name.
    let program = daemon::folder().join("xtask");
    fs::copy("/proc/self/exe", &program)
        .with_context(|| format!("failed to copy this program to {}", program.display()))?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork"]);
    command.args(["--kill-child", "--mount-proc", "--propagation", "private"]);
    // A shell as the first process reaps those whose parents have ended; the `exit` keeps it from replacing itself.
    command.args(["sh", "-c", "\"$0\" \"$@\"; exit $?"]).arg(program).args(arguments);
    let mut running = Running::spawn(&mut command)?;
    let status = running.exit_within(LIMIT);
    drop(running);
    remove_cgroups()?;
    if !status?.success() {
        bail!("the node ended with an error, told above");
    }
    Ok(())
}

/// One cluster at a time: the control groups have one name.
///
/// An abstract socket goes with its process, so nothing stale stays behind.
fn lock() -> Result<UnixListener> {
    let address = SocketAddr::from_abstract_name("nslookout-e2e").context("failed to name the lock")?;
    UnixListener::bind_addr(&address)
        .context("another cargo xtask e2e kubernetes runs on this machine; wait for its end")
}

/// The folder of ours in every hierarchy of control groups that is mounted.
fn cgroups() -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("failed to read /proc/self/mounts")?;
    let is_cgroup = |line: &&str| line.split(' ').nth(2).is_some_and(|kind| kind.starts_with("cgroup"));
    Ok(mounts
        .lines()
        .filter(is_cgroup)
        .filter_map(|line| Some(Path::new(line.split(' ').nth(1)?).join(CGROUP)))
        .collect())
}

/// The kubelet wants the group that it is given to be there.
fn make_cgroups() -> Result<()> {
    for folder in cgroups()? {
        fs::create_dir(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
        // Of version 1: a group starts without processors and memory, and then takes no process.
        let of_children = folder.join("cgroup.clone_children");
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let (above, own) = (folder.join("..").join(file), folder.join(file));
            if of_children.exists() && own.exists() {
                let value =
                    fs::read(&above).with_context(|| format!("failed to read {}", above.display()))?;
                fs::write(&own, value).with_context(|| format!("failed to write {}", own.display()))?;
            }
        }
    }
    Ok(())
}

/// Removes the control groups of the pods, after the last process in them.
pub fn remove_cgroups() -> Result<()> {
    // Not a wait that an interruption ends: an interrupted task cleans up too. The kernel takes a moment to let go of
    // what has just been killed.
    let deadline = Instant::now() + Duration::from_secs(20);
    for folder in cgroups()? {
        loop {
            match remove_tree(&folder) {
                Ok(()) => break,
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context("processes are still in it"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
    Ok(())
}

/// Removes a control group and those below it; their files go with them.
fn remove_tree(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(folder).with_context(|| format!("failed to remove {}", folder.display()))
}

/// Makes the inside ready for the daemons: mounts, stand-ins for settings, the host name.
///
/// Must be called inside alone.
pub fn furnish(node: &str) -> Result<()> {
    if std::process::id() > 100 {
        bail!("this is not the inside of an enclosure: the process ID is {}", std::process::id());
    }
    mount(&["--make-rshared", "/"])?;
    mount(&["-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"])?;
    for folder in ["/run/lock", "/run/netns"] {
        fs::create_dir_all(folder).with_context(|| format!("failed to create {folder}"))?;
    }
    for folder in SHADOWED {
        let layers = Path::new(STATE).join("over").join(folder.trim_start_matches('/').replace('/', "-"));
        let (upper, work) = (layers.join("upper"), layers.join("work"));
        for layer in [&upper, &work] {
            fs::create_dir_all(layer).with_context(|| format!("failed to create {}", layer.display()))?;
        }
        let options = format!("lowerdir={folder},upperdir={},workdir={}", upper.display(), work.display());
        mount(&["-t", "overlay", "-o", &options, "overlay", folder])?;
    }
    for (setting, value) in KUBELET_SETTINGS {
        let file = Path::new(STATE).join(setting.replace('/', "."));
        fs::write(&file, format!("{value}\n"))
            .with_context(|| format!("failed to write {}", file.display()))?;
        mount(&["--bind", &file.to_string_lossy(), &format!("/proc/sys/{setting}")])?;
    }
    run(Command::new("hostname").arg(node))
}

fn mount(arguments: &[&str]) -> Result<()> {
    run(Command::new("mount").args(arguments))
}
