//! Makes a bare Debian or Ubuntu machine able to build both halves, run the tests and raise the lab.
//!
//! Looks what is there first, installs only what is missing, and says what it does. Nothing is installed by hand
//! anywhere else: every other task names the parts that it needs and calls [`ensure`].

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Once;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::lab;
use crate::shell::{on_path, run};
use crate::toolchain::{self, BPF_LINKER_VERSION, BpfToolchain, Compiler};

/// A group of things that a task needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What `cargo build` needs for both halves.
    Build,
    /// Network namespaces, resolvers and clients: for the lab, the demo and the tests in namespaces.
    Lab,
    /// Stub resolvers of every kind, of which some are built here: for the incidents and the labelled captures.
    Clients,
    /// The resolvers that only the corpus is recorded with, and what packs it.
    Corpus,
    /// promtool, which checks the exposition and the rules.
    Promtool,
    /// Programs that must read our recordings, and judge what we read.
    Readers,
    /// Load generator and the tools we are measured against.
    Bench,
    /// QEMU and what goes into a guest.
    Guests,
    /// What packs the container image.
    Image,
    /// What fetches helm and the schemas of what is deployed.
    Deploy,
    /// What builds libFuzzer, whose C++ sources come with its crate.
    Fuzz,
    /// What a node of Kubernetes needs beside its own programs, and what makes images for it.
    Cluster,
    /// What builds those programs; only where they are missing.
    KubernetesBuild,
    /// What runs a container without Kubernetes.
    Container,
}

/// A program that must be there, and the Debian package that brings it.
struct Tool {
    /// Its name, or the absolute path of a file for a package that brings no program.
    program: &'static str,
    package: &'static str,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

impl Part {
    fn tools(self) -> &'static [Tool] {
        const BUILD: &[Tool] = &[tool("cc", "gcc")];
        const LAB: &[Tool] = &[
            tool("ip", "iproute2"),
            tool("tc", "iproute2"),
            tool("nft", "nftables"),
            tool("unbound", "unbound"),
            tool("dnsmasq", "dnsmasq-base"),
            tool("dig", "bind9-dnsutils"),
            tool("musl-gcc", "musl-tools"),
            tool("gcc", "gcc"),
            tool("curl", "curl"),
            tool("python3", "python3"),
            tool("tcpdump", "tcpdump"),
            tool("dnsperf", "dnsperf"),
        ];
        const CLIENTS: &[Tool] = &[
            tool("ip", "iproute2"),
            tool("gcc", "gcc"),
            tool("musl-gcc", "musl-tools"),
            tool("go", "golang-go"),
            tool("/usr/include/ares.h", "libc-ares-dev"),
            tool("node", "nodejs"),
            tool("busybox", "busybox-static"),
            tool("dig", "bind9-dnsutils"),
            tool("kdig", "knot-dnsutils"),
            tool("python3", "python3"),
        ];
        const CORPUS: &[Tool] = &[
            tool("named", "bind9"),
            tool("knotd", "knot"),
            tool("nsd", "nsd"),
            tool("pdns_recursor", "pdns-recursor"),
            tool("zstd", "zstd"),
            tool("ping", "iputils-ping"),
        ];
        const PROMTOOL: &[Tool] = &[tool("promtool", "prometheus")];
        const READERS: &[Tool] = &[tool("tcpdump", "tcpdump"), tool("tshark", "tshark")];
        const BENCH: &[Tool] = &[
            tool("ip", "iproute2"),
            tool("unbound", "unbound"),
            tool("curl", "curl"),
            tool("dnsperf", "dnsperf"),
            tool("tcpdump", "tcpdump"),
            tool("tshark", "tshark"),
            tool("dnsscope", "pdns-tools"),
            tool("bpftool", "bpftool"),
        ];
        const GUESTS: &[Tool] = &[
            tool("qemu-system-x86_64", "qemu-system-x86"),
            tool("busybox", "busybox-static"),
            tool("cpio", "cpio"),
            tool("xz", "xz-utils"),
            tool("ip", "iproute2"),
            tool("tc", "iproute2"),
            tool("dnsmasq", "dnsmasq-base"),
            tool("bpftool", "bpftool"),
        ];
        const IMAGE: &[Tool] = &[tool("buildah", "buildah"), tool("readelf", "binutils"), tool("git", "git")];
        // Node's own package brings npm; Debian's has it in one of its own.
        const DEPLOY: &[Tool] = &[
            tool("node", "nodejs"),
            tool("npm", "npm"),
            tool("python3", "python3"),
            tool("setpriv", "util-linux"),
        ];
        const FUZZ: &[Tool] = &[tool("c++", "g++")];
        const CLUSTER: &[Tool] = &[
            tool("etcd", "etcd-server"),
            tool("containerd", "containerd"),
            tool("runc", "runc"),
            tool("/usr/lib/cni/bridge", "containernetworking-plugins"),
            tool("iptables", "iptables"),
            tool("conntrack", "conntrack"),
            tool("buildah", "buildah"),
            tool("/etc/containers/policy.json", "golang-github-containers-common"),
            tool("openssl", "openssl"),
            tool("unshare", "util-linux"),
            tool("setpriv", "util-linux"),
            tool("mount", "mount"),
            tool("hostname", "hostname"),
            tool("ip", "iproute2"),
            tool("tc", "iproute2"),
        ];
        const KUBERNETES_BUILD: &[Tool] = &[
            tool("go", "golang-go"),
            tool("make", "make"),
            tool("rsync", "rsync"),
            tool("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"),
        ];
        const CONTAINER: &[Tool] = &[
            tool("podman", "podman"),
            tool("nsenter", "util-linux"),
            tool("runc", "runc"),
            tool("buildah", "buildah"),
            tool("ip", "iproute2"),
            tool("dnsmasq", "dnsmasq-base"),
            tool("dig", "bind9-dnsutils"),
        ];
        match self {
            Self::Build => BUILD,
            Self::Lab => LAB,
            Self::Clients => CLIENTS,
            Self::Corpus => CORPUS,
            Self::Promtool => PROMTOOL,
            Self::Readers => READERS,
            Self::Bench => BENCH,
            Self::Guests => GUESTS,
            Self::Image => IMAGE,
            Self::Deploy => DEPLOY,
            Self::Fuzz => FUZZ,
            Self::Cluster => CLUSTER,
            Self::KubernetesBuild => KUBERNETES_BUILD,
            Self::Container => CONTAINER,
        }
    }
}

/// Installs what `parts` need and this machine lacks; silent and quick where nothing does.
pub fn ensure(parts: &[Part]) -> Result<()> {
    if parts.contains(&Part::Build) && BpfToolchain::find().is_err() {
        install_bpf_toolchain()?;
    }
    let mut packages: Vec<&str> = parts
        .iter()
        .flat_map(|part| part.tools())
        .filter(|tool| !on_path(tool.program))
        .map(|tool| tool.package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    if !packages.is_empty() {
        apt_install(&packages)?;
    }
    let missing: Vec<String> = parts
        .iter()
        .flat_map(|part| part.tools())
        .filter(|tool| !on_path(tool.program))
        .map(|tool| format!("{} (package {})", tool.program, tool.package))
        .collect();
    if !missing.is_empty() {
        bail!("still missing after the installation: {}", missing.join(", "));
    }
    if parts.contains(&Part::Clients) {
        lab::prepare()?;
    }
    Ok(())
}

/// Says what is there, part by part: the visible half of `cargo xtask setup`.
pub fn report() -> Result<()> {
    match BpfToolchain::find() {
        Ok(toolchain) => {
            let compiler = match toolchain.compiler {
                Compiler::Rustup => "rustup's nightly",
                Compiler::Distribution => "the distribution's rustc",
            };
            println!("kernel half: {compiler} with the sources of core, and {}", toolchain.linker.display());
        }
        Err(missing) => bail!("{missing}"),
    }
    println!("ready: cargo build, cargo xtask demo, cargo xtask test");
    Ok(())
}

/// The distribution's compiler where apt has one that is new enough, else rustup's nightly.
fn install_bpf_toolchain() -> Result<()> {
    println!(
        "setup: the toolchain of the kernel half is missing; installing it takes about 3 minutes on 2 cores"
    );
    if apt_has("rustc-web")? {
        apt_install(&[
            "rustc-web",
            "cargo-web",
            "rust-web-src",
            "zlib1g-dev",
            "libzstd-dev",
            "libxml2-dev",
            "gcc",
        ])?;
        let llvm = llvm_major(Command::new("/usr/bin/rustc").arg("-vV"))?;
        apt_install(&[&format!("llvm-{llvm}-dev"), &format!("libpolly-{llvm}-dev"), "g++"])?;
        install_bpf_linker(&llvm, &format!("/usr/lib/llvm-{llvm}"))?;
    } else if on_path("rustup") {
        run(Command::new("rustup").args(["toolchain", "install", "nightly", "--component", "rust-src"])).context(
            "rustup could not fetch nightly with rust-src, and apt has no rustc-web (Debian 12 and later have)",
        )?;
        let llvm = llvm_major(Command::new("rustup").args(["run", "nightly", "rustc", "-vV"]))?;
        apt_install(&[
            &format!("llvm-{llvm}-dev"),
            &format!("libpolly-{llvm}-dev"),
            "zlib1g-dev",
            "libzstd-dev",
            "g++",
        ])
        .with_context(|| {
            format!("bpf-linker needs LLVM {llvm}: add the repository of LLVM's Debian packages")
        })?;
        install_bpf_linker(&llvm, &format!("/usr/lib/llvm-{llvm}"))?;
    } else {
        bail!(
            "neither apt's rustc-web nor rustup is here; install rustup, then: rustup toolchain install nightly --component rust-src"
        );
    }
    BpfToolchain::find().map(|_| ()).map_err(|missing| anyhow::anyhow!("{missing}"))
}

fn install_bpf_linker(llvm: &str, prefix: &str) -> Result<()> {
    if BpfToolchain::find().is_ok() {
        return Ok(());
    }
    let cache = toolchain::cache_dir().context("no HOME: nowhere to install bpf-linker")?;
    let root = cache.join(format!("bpf-linker-{BPF_LINKER_VERSION}"));
    let temporary = cache.join("build");
    step(
        &format!("building bpf-linker {BPF_LINKER_VERSION} against LLVM {llvm} into {}", root.display()),
        || {
            run(Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
                .args(["install", "--quiet", "--locked", "bpf-linker", "--version", BPF_LINKER_VERSION])
                .args(["--no-default-features", "--features", &format!("llvm-{llvm}")])
                .arg("--root")
                .arg(&root)
                .env("CARGO_TARGET_DIR", &temporary)
                .env("LLVM_PREFIX", prefix))
        },
    )?;
    std::fs::remove_dir_all(&temporary).ok();
    Ok(())
}

/// The major LLVM version in the output of `rustc -vV`.
fn llvm_major(rustc: &mut Command) -> Result<String> {
    let output = rustc.output().with_context(|| format!("failed to run {rustc:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))
        .and_then(|version| version.split('.').next())
        .map(str::to_owned)
        .with_context(|| format!("no LLVM version in the output of {rustc:?}: {text}"))
}

fn apt_has(package: &str) -> Result<bool> {
    if !on_path("apt-get") {
        return Ok(false);
    }
    let candidate = || -> Result<bool> {
        let output = Command::new("apt-cache").args(["policy", package]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().any(|line| line.contains("Candidate:") && !line.contains("(none)")))
    };
    apt_update();
    candidate()
}

/// Fetches the package lists, once in a run: a new machine has none, or those of the day when its image was made, by
/// which an older compiler is the newest. Without a network what is there must do.
fn apt_update() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let update = step("apt-get update", || run(as_root("apt-get").args(["-qq", "update"])));
        if let Err(error) = update {
            eprintln!("setup: going on with the package lists that are here: {error:#}");
        }
    });
}

/// Installs `packages` in the newest versions that apt offers.
pub fn apt_install(packages: &[&str]) -> Result<()> {
    if !on_path("apt-get") {
        bail!("no apt-get here; install by hand: {}", packages.join(" "));
    }
    let install = || {
        run(as_root("apt-get")
            .args(["-qq", "-y", "-o", "Dpkg::Use-Pty=0", "install", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null()))
    };
    // Daemons that a package starts by itself (unbound, prometheus) would only hold ports. The script stands in the way
    // while we live, and removes itself later should we be interrupted.
    let policy = Path::new("/usr/sbin/policy-rc.d");
    let guarded = !policy.exists() && is_root() && write_policy(policy).is_ok();
    apt_update();
    let result = step(&format!("apt-get install {}", packages.join(" ")), install);
    if guarded {
        std::fs::remove_file(policy).ok();
    }
    result.with_context(|| format!("to try it by hand: apt-get install {}", packages.join(" ")))
}

fn write_policy(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let pid = std::process::id();
    std::fs::write(path, format!("#!/bin/sh\n[ -d /proc/{pid} ] && exit 101\nrm -f \"$0\"\n"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Does `work` between two lines that say what it is and how long it took.
pub fn step(what: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("setup: {what}");
    let start = Instant::now();
    work()?;
    println!("setup: done in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// `program` as root: itself for root, through sudo for anybody else.
fn as_root(program: &str) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["--preserve-env=DEBIAN_FRONTEND", program]);
    command
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}
