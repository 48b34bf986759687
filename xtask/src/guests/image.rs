//! Packs what a guest needs into an initramfs: programs with their libraries, kernel modules, the script, the agent.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::kernel::Kernel;
use crate::rootfs::{self, copy, copy_program, write_executable};
use crate::shell::find_program;

/// What runs as process 1 of the guest.
const INIT: &str = include_str!("init.sh");

/// Modules in the order in which they can be loaded; what a kernel has built in is passed over.
const MODULES: &[&str] = &["veth", "sch_ingress", "cls_bpf"];

/// Dynamic programs that go into the guest with their libraries.
const PROGRAMS: &[&str] = &["ip", "tc", "dnsmasq", "bpftool"];

/// Builds the initramfs for `kernel` below `folder` and gives its path.
pub fn build(kernel: &Kernel, agent: &Path, folder: &Path) -> Result<PathBuf> {
    let root = folder.join("root");
    rootfs::make(
        &root,
        &["bin", "dev", "etc", "modules", "proc", "run/netns", "sys", "tmp", "usr/bin", "var"],
    )?;
    symlink("../run", root.join("var/run")).context("failed to link /var/run")?;
    write_executable(&root.join("init"), INIT)?;
    // dnsmasq looks its user up.
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").context("failed to write passwd")?;
    fs::write(root.join("etc/group"), "root:x:0:\n").context("failed to write group")?;
    let busybox = find_program("busybox").context("no busybox; cargo xtask setup says what is missing")?;
    copy(&busybox, &root.join("bin/busybox"))?;
    copy(agent, &root.join("bin/nslookout"))?;
    for program in PROGRAMS {
        copy_program(program, &root)?;
    }
    for module in MODULES {
        unpack_module(kernel, module, &root.join("modules"))?;
    }
    archive(&root, &folder.join("initramfs"))
}

/// Finds a module below the kernel's folder and puts it, decompressed, into `into`.
fn unpack_module(kernel: &Kernel, module: &str, into: &Path) -> Result<()> {
    let Some(path) = find_module(&kernel.modules, module)? else { return Ok(()) };
    let target = into.join(format!("{module}.ko"));
    if path.extension().is_none_or(|extension| extension != "xz") {
        return copy(&path, &target);
    }
    let file = fs::File::create(&target).with_context(|| format!("failed to create {}", target.display()))?;
    crate::shell::run(Command::new("xz").arg("-dc").arg(&path).stdout(file))
}

fn find_module(folder: &Path, module: &str) -> Result<Option<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        // Links (build, source) lead out of the package.
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            if let Some(found) = find_module(&path, module)? {
                return Ok(Some(found));
            }
        } else if entry
            .file_name()
            .to_str()
            .and_then(|name| name.split_once(".ko"))
            .is_some_and(|(stem, _)| stem == module)
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Writes the folder as the cpio archive that a kernel unpacks at its start.
///
/// Not compressed: an emulated processor takes longer to unpack it than the machine to load it.
fn archive(root: &Path, target: &Path) -> Result<PathBuf> {
    let mut names = Vec::new();
    list(root, Path::new("."), &mut names)?;
    let file = fs::File::create(target).with_context(|| format!("failed to create {}", target.display()))?;
    let mut cpio = Command::new("cpio")
        .args(["--create", "--format=newc", "--quiet", "--owner=0:0"])
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(file)
        .spawn()
        .context("failed to start cpio")?;
    if let Some(mut stdin) = cpio.stdin.take() {
        stdin.write_all(names.join("\n").as_bytes()).context("failed to write to cpio")?;
    }
    let status = cpio.wait().context("failed to wait for cpio")?;
    if !status.success() {
        bail!("cpio ended with {status}");
    }
    Ok(target.to_owned())
}

/// All paths below `root`, each folder before what is in it.
fn list(root: &Path, folder: &Path, names: &mut Vec<String>) -> Result<()> {
    names.push(folder.display().to_string());
    let path = root.join(folder);
    if path.is_symlink() || !path.is_dir() {
        return Ok(());
    }
    let entries = fs::read_dir(&path).with_context(|| format!("failed to list {}", path.display()))?;
    for entry in entries.filter_map(Result::ok) {
        list(root, &folder.join(entry.file_name()), names)?;
    }
    Ok(())
}
