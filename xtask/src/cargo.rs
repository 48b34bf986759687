//! cargo, and what it builds for the stages that run the agent.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{output, run, workspace};

/// The cargo that runs this program, in the folder of the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    // What the outer cargo says of this program: a build script that asks for it (ring's) would run anew whenever the
    // inner cargo is started from here and then from a shell, and with it all that stands on it.
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command
}

/// Builds the agent as it is released, once for whatever runs it, and gives where it is.
pub fn build_agent() -> Result<PathBuf> {
    build_agent_of(&workspace(), &Origin::of_workspace()?)
}

/// The only target that is built for. arm64 would need a compiler for it, and was never tried.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds the agent of another copy of the sources: static, and the same bytes wherever they lie.
///
/// In a target folder of its own, since its flags would throw away what other builds made.
pub fn build_agent_of(sources: &Path, origin: &Origin) -> Result<PathBuf> {
    let target = sources.join("target/static");
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    // The longest path last: rustc takes the last that fits.
    let mut remaps = vec![(sources.to_owned(), "/nslookout"), (target.clone(), "/nslookout/target")];
    remaps.extend(cargo_home.map(|home| (home, "/cargo")));
    let rust_flags = remaps.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    let c_flags: Vec<String> =
        remaps.iter().map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display())).collect();
    let flags: Vec<String> =
        ["-Ctarget-feature=+crt-static".to_owned()].into_iter().chain(rust_flags).collect();
    run(cargo()
        .args(["build", "--quiet", "--release", "--locked", "--package", "nslookout", "--target", TARGET])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(sources)
        .env_remove("RUSTFLAGS")
        // A cache of compiled crates could hand out what was built with another folder's flags.
        .env("RUSTC_WRAPPER", "")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env(format!("CFLAGS_{}", TARGET.replace('-', "_")), c_flags.join(" "))
        .env("NSLOOKOUT_REVISION", &origin.revision)
        .env("SOURCE_DATE_EPOCH", &origin.time))
    .with_context(|| {
        format!("failed to build the agent (static: it needs the standard library of {TARGET} and libc.a of libc6-dev)")
    })?;
    let binary = target.join(TARGET).join("release/nslookout");
    must_be_static(&binary)?;
    Ok(binary)
}

/// A scratch image has no loader: a binary that asks for one would not start, and say no more than "no such file".
fn must_be_static(binary: &Path) -> Result<()> {
    let headers = output(Command::new("readelf").args(["--program-headers", "--wide"]).arg(binary))?;
    if headers.contains("INTERP") {
        bail!("{} is not static: it asks for a loader", binary.display());
    }
    Ok(())
}

/// git in the folder of the workspace, also where that belongs to another user, as under sudo: it is only asked.
pub fn git() -> Command {
    let mut command = Command::new("git");
    command.arg("-c").arg(format!("safe.directory={}", workspace().display())).current_dir(workspace());
    command
}

/// Which state of the sources this is.
pub struct Origin {
    /// Seconds since 1970: the time that everything in the image has.
    pub time: String,
    /// The commit, with `-modified` where files differ from it.
    pub revision: String,
    /// Of the workspace.
    pub version: String,
}

impl Origin {
    /// Of this workspace, as git knows it; without a repository its revision is unknown.
    pub fn of_workspace() -> Result<Self> {
        let is_repository = workspace().join(".git").exists();
        let git =
            |arguments: &[&str]| -> Result<String> { Ok(output(git().args(arguments))?.trim().to_owned()) };
        let time = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(time) if time.parse::<u64>().is_ok() => time,
            Ok(time) => bail!("SOURCE_DATE_EPOCH is `{time}`; it must be seconds since 1970"),
            Err(_) if is_repository => git(&["log", "-1", "--format=%ct"])?,
            Err(_) => "0".to_owned(),
        };
        let version = env!("CARGO_PKG_VERSION").to_owned();
        if !is_repository {
            return Ok(Self { time, revision: "unknown".to_owned(), version });
        }
        let mut revision = git(&["rev-parse", "--short=12", "HEAD"])?;
        if !git(&["status", "--porcelain"])?.is_empty() {
            revision += "-modified";
        }
        Ok(Self { time, revision, version })
    }
}
