//! Finds a compiler, `core` sources and a linker that can build the kernel half.
//!
//! Shared by `agent/build.rs` (which builds with it) and `cargo xtask setup` (which installs what is missing),
//! so that both name the same missing part with the same cure. Installs nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fmt};

/// The bpf-linker release that `setup` installs; it links against the LLVM of the compiler.
pub const BPF_LINKER_VERSION: &str = "0.13.0";

/// A complete set of tools for the target `bpfel-unknown-none`.
pub struct BpfToolchain {
    /// Who compiles.
    pub compiler: Compiler,
    /// Who links.
    pub linker: PathBuf,
}

/// A compiler that comes with the sources of `core`.
#[derive(Clone, Copy)]
pub enum Compiler {
    /// rustup's nightly with the component `rust-src`.
    Rustup,
    /// The distribution's, as Debian's `rustc-web`, `cargo-web` and `rust-web-src`.
    Distribution,
}

/// What stands between this machine and a BPF object, and the command that would change it.
#[derive(Debug)]
pub struct Missing {
    parts: Vec<String>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "no toolchain for the kernel half (target bpfel-unknown-none):")?;
        for part in &self.parts {
            writeln!(f, "  missing: {part}")?;
        }
        write!(f, "  cure: cargo xtask setup     (installs it on Debian 12 and later, and says what it does)")
    }
}

impl std::error::Error for Missing {}

impl BpfToolchain {
    /// Looks for rustup's nightly first (as aya documents), then for the distribution's compiler.
    pub fn find() -> Result<Self, Missing> {
        let mut parts = Vec::new();
        let compiler = if rustup_nightly_has_core() {
            Some(Compiler::Rustup)
        } else if distribution_has_core() {
            Some(Compiler::Distribution)
        } else {
            parts.push("a Rust compiler with the sources of `core`: rustup's nightly with rust-src, or Debian's rustc-web, cargo-web and rust-web-src".into());
            None
        };
        let linker = linker();
        if linker.is_none() {
            parts.push(format!("bpf-linker {BPF_LINKER_VERSION}, built against the compiler's LLVM"));
        }
        match (compiler, linker) {
            (Some(compiler), Some(linker)) => Ok(Self { compiler, linker }),
            _ => Err(Missing { parts }),
        }
    }
}

/// The directory that `setup` installs bpf-linker into, apart from one that the user may have for other work.
///
/// `XDG_CACHE_HOME` or `~/.cache`, then `nslookout/`; `None` without a home directory.
pub fn cache_dir() -> Option<PathBuf> {
    let cache = match env::var_os("XDG_CACHE_HOME") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => PathBuf::from(env::var_os("HOME")?).join(".cache"),
    };
    Some(cache.join("nslookout"))
}

fn linker() -> Option<PathBuf> {
    let own = cache_dir().map(|dir| dir.join(format!("bpf-linker-{BPF_LINKER_VERSION}/bin/bpf-linker")));
    let on_path = env::var_os("PATH")
        .map(|path| env::split_paths(&path).map(|dir| dir.join("bpf-linker")).collect::<Vec<_>>());
    own.into_iter().chain(on_path.into_iter().flatten()).find(|path| path.is_file())
}

fn rustup_nightly_has_core() -> bool {
    sysroot(Command::new("rustup").args(["run", "nightly", "rustc"])).is_some_and(|root| has_core(&root))
}

fn distribution_has_core() -> bool {
    Path::new("/usr/bin/cargo").exists()
        && sysroot(&mut Command::new("/usr/bin/rustc")).is_some_and(|root| has_core(&root))
}

fn sysroot(rustc: &mut Command) -> Option<PathBuf> {
    let output = rustc.args(["--print", "sysroot"]).output().ok().filter(|output| output.status.success())?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

fn has_core(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").exists()
}
