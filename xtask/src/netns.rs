//! Network namespaces by `ip netns`: make, fill, enter, remove.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Makes the namespace `name`, with its loopback up.
///
/// Addresses in it are usable at once: duplicate address detection would hold back IPv6 for two seconds, and no
/// second machine can appear on a veth.
pub fn add(name: &str) -> Result<()> {
    feed(Command::new("ip").args(["netns", "add", name]), "")?;
    set(
        name,
        &[
            ("net/ipv6/conf/all/disable_ipv6", "0"),
            ("net/ipv6/conf/default/disable_ipv6", "0"),
            ("net/ipv6/conf/all/accept_dad", "0"),
            ("net/ipv6/conf/default/accept_dad", "0"),
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
        ],
    )?;
    ip(name, "link set lo up")
}

/// Is there a namespace of this name?
pub fn exists(name: &str) -> bool {
    Path::new("/run/netns").join(name).exists()
}

/// Removes the namespace with all its interfaces; processes in it keep it alive, nameless, until they end.
pub fn delete(name: &str) -> Result<()> {
    feed(Command::new("ip").args(["netns", "delete", name]), "")
}

/// `program` in the namespace, with the files of `/etc/netns/NAME/` in place of those in `/etc`.
pub fn command(name: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", name, program]);
    command
}

/// Runs lines of ip(8) in the namespace, in one process; the first that fails is an error.
pub fn ip(name: &str, lines: &str) -> Result<()> {
    feed(Command::new("ip").args(["-n", name, "-batch", "-"]), lines)
        .with_context(|| format!("in network namespace {name}:\n{lines}"))
}

/// Loads an nftables ruleset in the namespace.
pub fn nft(name: &str, ruleset: &str) -> Result<()> {
    feed(command(name, "nft").args(["-f", "-"]), ruleset).with_context(|| {
        format!("nftables rules in {name} (they need the kernel's nf_tables and nft_nat):\n{ruleset}")
    })
}

/// Writes kernel settings, each a path below `/proc/sys`, in the namespace.
pub fn set(name: &str, settings: &[(&str, &str)]) -> Result<()> {
    let script: String =
        settings.iter().map(|(path, value)| format!("echo {value} > /proc/sys/{path} || exit 1\n")).collect();
    feed(&mut command(name, "sh"), &script)
}

/// The processes in the namespace.
pub fn pids(name: &str) -> Result<Vec<u32>> {
    let text = crate::shell::output(Command::new("ip").args(["netns", "pids", name]))?;
    Ok(text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

/// The folder whose files stand in for those of `/etc` under `ip netns exec NAME`.
pub fn etc(name: &str) -> PathBuf {
    Path::new("/etc/netns").join(name)
}

/// Gives the namespace a `resolv.conf` of its own, and a plain `nsswitch.conf` so that DNS is what is asked.
pub fn write_etc(name: &str, resolv_conf: &str) -> Result<()> {
    let folder = etc(name);
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let write = |file: &str, text: &str| {
        // `ip netns exec` binds over a file that is there, and complains about one that is not.
        if !Path::new("/etc").join(file).exists() {
            return Ok(());
        }
        let path = folder.join(file);
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
    };
    if !Path::new("/etc/resolv.conf").exists() {
        bail!(
            "/etc/resolv.conf is missing, so no namespace can have its own over it; touch /etc/resolv.conf"
        );
    }
    write("resolv.conf", resolv_conf)?;
    write("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
}

/// Takes away what [`write_etc`] made.
pub fn remove_etc(name: &str) -> Result<()> {
    let folder = etc(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("failed to remove {}", folder.display()))?;
    }
    Ok(())
}

/// Runs `command` with `input`; an error holds what it said.
fn feed(command: &mut Command, input: &str) -> Result<()> {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("failed to start {command:?}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A child that ended early says why on standard error; that is the better message.
        stdin.write_all(input.as_bytes()).ok();
    }
    let output = child.wait_with_output().with_context(|| format!("failed to wait for {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
