//! The images of the workloads, by buildah from files of this machine: two that applications are built on, and a resolver.
//!
//! What they say of themselves is true of what is in them: the versions are asked of the libraries and of dpkg.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::daemon;
use crate::child;
use crate::lab::client_source;
use crate::rootfs::{copy, copy_libraries, copy_program, make, write};
use crate::shell::{output, run};

/// Their names begin so.
pub const PREFIX: &str = "docker.io/nslookout-e2e";

/// Where Debian's musl keeps the C library, which is its loader too.
const MUSL: &str = "/lib/x86_64-linux-musl/libc.so";

/// The release of Alpine that came with musl 1.2.3.
const ALPINE: &str = "3.16.9";

/// An image and how its root is filled; it gives what runs in it.
type Recipe = (&'static str, fn(&Path) -> Result<&'static str>);

const RECIPES: [Recipe; 4] = [("pause", pause), ("musl", musl), ("glibc", glibc), ("resolver", resolver)];

/// Builds all of them, and gives their archives.
pub fn build() -> Result<Vec<PathBuf>> {
    let folder = daemon::folder().join("images");
    RECIPES.iter().map(|(name, fill)| pack(&folder, name, *fill)).collect()
}

fn pack(folder: &Path, name: &str, fill: fn(&Path) -> Result<&'static str>) -> Result<PathBuf> {
    let context = folder.join(name);
    let root = context.join("root");
    make(&root, &["etc", "tmp", "usr/bin"])?;
    let entry = fill(&root).with_context(|| format!("failed to fill the image {name}"))?;
    let recipe = context.join("Containerfile");
    fs::write(&recipe, format!("FROM scratch\nCOPY root/ /\nENTRYPOINT [\"{entry}\"]\n"))
        .with_context(|| format!("failed to write {}", recipe.display()))?;
    let image = format!("{PREFIX}/{name}:1");
    let archive = folder.join(format!("{name}.tar"));
    fs::remove_file(&archive).ok();
    buildah(
        folder,
        &["bud", "--isolation", "chroot", "--quiet", "--tag", &image, &context.to_string_lossy()],
    )?;
    buildah(folder, &["push", "--quiet", &image, &format!("docker-archive:{}:{image}", archive.display())])?;
    Ok(archive)
}

fn buildah(folder: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("buildah");
    command.args(["--storage-driver", "vfs"]);
    command.arg("--root").arg(folder.join("storage")).arg("--runroot").arg(folder.join("run"));
    child::output_within(command.args(arguments), Duration::from_secs(120)).map(drop)
}

/// What holds a pod's namespaces, and does nothing else.
fn pause(root: &Path) -> Result<&'static str> {
    let source = root.join("../pause.c");
    write(&source, "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n")?;
    run(Command::new("musl-gcc")
        .args(["-static", "-O1", "-o"])
        .arg(root.join("usr/bin/pause"))
        .arg(&source))?;
    Ok("/usr/bin/pause")
}

/// An image that looks like Alpine's: musl as the loader, and apk's record of it.
fn musl(root: &Path) -> Result<&'static str> {
    let loader = root.join("lib/ld-musl-x86_64.so.1");
    copy(Path::new(MUSL), &loader)?;
    symlink("ld-musl-x86_64.so.1", root.join("lib/libc.musl-x86_64.so.1")).context("failed to link libc")?;
    compile("musl-gcc", root)?;
    let version = musl_version(&loader)?;
    write(&root.join("etc/alpine-release"), &format!("{ALPINE}\n"))?;
    write(
        &root.join("etc/os-release"),
        &format!(
            "NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID={ALPINE}\nPRETTY_NAME=\"Alpine Linux v3.16\"\n"
        ),
    )?;
    write(
        &root.join("lib/apk/db/installed"),
        &format!(
            "P:alpine-baselayout\nV:3.2.0-r23\nA:x86_64\nT:Alpine base dir structure and init scripts\n\n\
             P:musl\nV:{version}-r3\nA:x86_64\nT:the musl c library (libc) implementation\nL:MIT\no:musl\n\
             F:lib\nR:libc.musl-x86_64.so.1\nR:ld-musl-x86_64.so.1\n\n"
        ),
    )?;
    Ok("/usr/bin/getaddrinfo")
}

/// The version that the library says of itself, on standard error and with status 1: `Version 1.2.3`.
fn musl_version(loader: &Path) -> Result<String> {
    let said = child::finish_within(&mut Command::new(loader), Duration::from_secs(5))?.stderr;
    let version = said.lines().find_map(|line| line.strip_prefix("Version "));
    version.map(str::to_owned).with_context(|| format!("{} tells no version: {said}", loader.display()))
}

/// An image that looks like Debian's: the C library with its loader, and dpkg's record of it.
fn glibc(root: &Path) -> Result<&'static str> {
    compile("gcc", root)?;
    copy_libraries(&root.join("usr/bin/getaddrinfo"), root)?;
    for file in ["etc/debian_version", "etc/os-release"] {
        copy(&Path::new("/").join(file), &root.join(file))?;
    }
    write(&root.join("etc/nsswitch.conf"), "passwd: files\ngroup: files\nhosts: files dns\n")?;
    let record = output(Command::new("dpkg-query").args(["--status", "libc6"]))?;
    write(&root.join("var/lib/dpkg/status"), &record)?;
    Ok("/usr/bin/getaddrinfo")
}

/// The lab's client, against the C library of this compiler.
fn compile(compiler: &str, root: &Path) -> Result<()> {
    let mut command = Command::new(compiler);
    command.args(["-Wall", "-O1", "-pthread", "-o"]).arg(root.join("usr/bin/getaddrinfo"));
    run(command.arg(client_source("getaddrinfo.c")))
}

/// unbound in CoreDNS' place; its configuration comes with the pod.
fn resolver(root: &Path) -> Result<&'static str> {
    copy_program("unbound", root)?;
    write(&root.join("etc/passwd"), "root:x:0:0:root:/:/bin/false\n")?;
    Ok("/usr/bin/unbound")
}
