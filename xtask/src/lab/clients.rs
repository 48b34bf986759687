//! The lab's own client: one getaddrinfo program, compiled against two C libraries.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::shell;

/// A C library, and with it a stub resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Libc {
    /// musl as Debian packages it (1.2.3 on Debian 12: UDP only, no EDNS); linked statically.
    Musl,
    /// The machine's glibc.
    Glibc,
}

impl Libc {
    /// Its name, as people say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Musl => "musl",
            Self::Glibc => "glibc",
        }
    }

    fn compiler(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Musl => ("musl-gcc", &["-static"]),
            Self::Glibc => ("gcc", &[]),
        }
    }
}

/// Where the getaddrinfo program of this C library is, once [`compile`] has run.
pub fn getaddrinfo(libc: Libc) -> PathBuf {
    super::dir().join("bin").join(format!("getaddrinfo-{}", libc.name()))
}

/// Compiles the clients that are missing or older than their source.
pub fn compile() -> Result<()> {
    make_bin_dir()?;
    let source = shell::workspace().join("xtask/lab/getaddrinfo.c");
    for libc in [Libc::Musl, Libc::Glibc] {
        let program = getaddrinfo(libc);
        let modified = |path: &PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified());
        if modified(&program).is_ok_and(|built| modified(&source).is_ok_and(|written| built > written)) {
            continue;
        }
        let (compiler, flags) = libc.compiler();
        shell::run(
            Command::new(compiler).args(["-Wall", "-O1"]).args(flags).arg(&source).arg("-o").arg(&program),
        )
        .with_context(|| {
            format!("failed to compile the {} client; cargo xtask setup installs {compiler}", libc.name())
        })?;
    }
    Ok(())
}

/// Makes the folder that programs for the lab go to.
pub fn make_bin_dir() -> Result<()> {
    let folder = super::dir().join("bin");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))
}
