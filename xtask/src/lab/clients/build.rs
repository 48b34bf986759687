//! Builds the lab's clients: the compilers of four C libraries, Go, and Python packages in environments of their own.
//!
//! All that is made goes to `target/lab/bin` and `target/lab/venv`; what is there and newer than its source is left alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::{Client, source};
use crate::{setup, shell};

/// A Python package of one version, in a virtual environment of its own.
pub struct Venv {
    package: &'static str,
    version: &'static str,
}

/// c-ares 1.34.9 with its Python binding.
pub const PYCARES: Venv = Venv { package: "pycares", version: "5.2.1" };
/// A C compiler that brings musl 1.2.4 (lib/libc/musl of this version of Zig).
const ZIG_MUSL_124: Venv = Venv { package: "ziglang", version: "0.11.0" };
/// A C compiler that brings musl 1.2.5.
const ZIG_MUSL_125: Venv = Venv { package: "ziglang", version: "0.13.0" };

/// Installs what the clients are made from, and makes all of them; quick where all is there.
///
/// # Errors
///
/// Where a package cannot be had or a compiler fails, with the name of the client or package that is missing.
pub fn prepare() -> Result<()> {
    for venv in [PYCARES, ZIG_MUSL_124, ZIG_MUSL_125] {
        venv.ensure()?;
    }
    compile(Client::ALL)
}

/// Makes those of these clients that are missing or older than their source.
///
/// # Errors
///
/// Where a compiler is not there or fails; [`prepare`] brings them all.
pub fn compile(clients: &[Client]) -> Result<()> {
    make_bin_dir()?;
    for &client in clients {
        let Some(program) = client.program() else { continue };
        let (mut compiler, source) = compiler(client, &program);
        if is_newer(&program, &source) {
            continue;
        }
        shell::run(&mut compiler).with_context(|| {
            format!("failed to compile the {} client; cargo xtask setup installs its compiler", client.name())
        })?;
    }
    Ok(())
}

/// Makes the folder that programs for the lab go to.
pub fn make_bin_dir() -> Result<()> {
    make_dir(&super::super::dir().join("bin"))
}

/// The command that makes `program`, and the source that it reads.
fn compiler(client: Client, program: &Path) -> (Command, PathBuf) {
    let (command, arguments, file): (Command, &[&str], &str) = match client {
        Client::Musl123 => (Command::new("musl-gcc"), &["-static"], "getaddrinfo.c"),
        Client::Musl124 => (ZIG_MUSL_124.zig(), ZIG_ARGUMENTS, "getaddrinfo.c"),
        Client::Musl125 => (ZIG_MUSL_125.zig(), ZIG_ARGUMENTS, "getaddrinfo.c"),
        Client::CAres118 => (Command::new("gcc"), &["-lcares"], "ares_getaddrinfo.c"),
        Client::Go => return go(program),
        _ => (Command::new("gcc"), &["-pthread"], "getaddrinfo.c"),
    };
    let mut command = command;
    let source = source(file);
    // Libraries come after what needs them.
    command.args(["-Wall", "-O1", "-o"]).arg(program).arg(&source).args(arguments);
    (command, source)
}

const ZIG_ARGUMENTS: &[&str] = &["-target", "x86_64-linux-musl", "-static"];

/// Go without cgo, whose resolver would be libc's, and without modules: the program is one file.
fn go(program: &Path) -> (Command, PathBuf) {
    let source = source("lookup.go");
    let mut command = Command::new("go");
    command.args(["build", "-o"]).arg(program).arg(&source);
    command.env("CGO_ENABLED", "0").env("GO111MODULE", "off");
    command.env("GOCACHE", super::super::dir().join("go-cache"));
    (command, source)
}

fn is_newer(program: &Path, source: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    modified(program).is_ok_and(|built| modified(source).is_ok_and(|written| built > written))
}

fn make_dir(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))
}

impl Venv {
    fn folder(&self) -> PathBuf {
        super::super::dir().join("venv").join(format!("{}-{}", self.package, self.version))
    }

    /// Its Python, once [`Venv::ensure`] has run.
    pub fn python(&self) -> PathBuf {
        self.folder().join("bin/python")
    }

    /// Zig as a C compiler, with its cache beside it.
    fn zig(&self) -> Command {
        let mut command = Command::new(self.python());
        command.args(["-m", "ziglang", "cc"]);
        command.env("ZIG_GLOBAL_CACHE_DIR", self.folder().join("cache"));
        command.env("ZIG_LOCAL_CACHE_DIR", self.folder().join("cache"));
        command
    }

    /// Makes the environment and installs the package, unless that was done before.
    fn ensure(&self) -> Result<()> {
        // Written last: an installation that broke off is made anew.
        let done = self.folder().join("installed");
        if done.exists() {
            return Ok(());
        }
        let what = format!("{} {}", self.package, self.version);
        setup::step(&format!("installing {what} into {}", self.folder().display()), || {
            self.create()?;
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
            shell::run(
                Command::new(self.python()).args(pip).arg(format!("{}=={}", self.package, self.version)),
            )
            .with_context(|| format!("failed to install the Python package {what}"))?;
            fs::write(&done, "").with_context(|| format!("failed to write {}", done.display()))
        })
    }

    fn create(&self) -> Result<()> {
        make_dir(&self.folder())?;
        let has_venv = Command::new("python3")
            .args(["-c", "import ensurepip, venv"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !has_venv {
            // Debian's python3 comes without it.
            setup::apt_install(&["python3-venv"])?;
        }
        shell::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(self.folder()))
            .context("failed to make a virtual environment of Python")
    }
}
