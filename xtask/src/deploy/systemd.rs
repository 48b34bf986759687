//! The systemd unit: what systemd says about it, and that its capabilities are enough for a user who is not root.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo::build_agent;
use crate::shell::{find_program, output, workspace};

/// Where the unit expects the program.
const PROGRAM: &str = "/usr/local/bin/nslookout";

/// Checks the unit.
///
/// # Errors
///
/// What systemd does not know in it, or that the agent cannot capture as the unit runs it.
pub fn check() -> Result<()> {
    let path = workspace().join("deploy/systemd/nslookout.service");
    let unit = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let ambient = setting(&unit, "AmbientCapabilities")?;
    if ambient != setting(&unit, "CapabilityBoundingSet")? {
        bail!("the unit has other capabilities in its ambient than in its bounding set");
    }
    systemd_takes(&unit)?;
    enough_to_capture(&ambient)
}

/// The value of a setting that is there once.
fn setting(unit: &str, name: &str) -> Result<String> {
    let values: Vec<&str> =
        unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect();
    match values.as_slice() {
        [value] => Ok((*value).to_owned()),
        _ => bail!("the unit has {} lines {name}=", values.len()),
    }
}

/// `systemd-analyze verify` ends well where it does not know a setting: whatever it says about the unit counts.
fn systemd_takes(unit: &str) -> Result<()> {
    if find_program("systemd-analyze").is_none() {
        println!("SKIP systemd unit: no systemd-analyze here");
        return Ok(());
    }
    let said = verify(unit)?;
    if !said.is_empty() {
        bail!("systemd-analyze verify: {said}");
    }
    let wrong = unit.replace("RestartSec=", "RestartSeconds=");
    if !verify(&wrong)?.contains("RestartSeconds") {
        bail!("systemd-analyze verify did not notice a misspelt setting");
    }
    println!("ok  systemd knows every setting of the unit");
    Ok(())
}

/// What systemd-analyze says about the unit, with a program that is there.
fn verify(unit: &str) -> Result<String> {
    let folder = workspace().join("target/deploy");
    let path = folder.join("nslookout.service");
    fs::write(&path, unit.replace(PROGRAM, "/bin/true"))
        .with_context(|| format!("failed to write {}", path.display()))?;
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    Ok(text.lines().filter(|line| line.contains("nslookout.service")).collect::<Vec<_>>().join("; "))
}

/// `nslookout check` as nobody, with exactly the unit's capabilities: does eBPF load?
fn enough_to_capture(capabilities: &str) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("SKIP the unit's capabilities: only root can give them to somebody else");
        return Ok(());
    }
    let program = Program::build()?;
    let list = |sign: char| {
        let names = capabilities.split_whitespace().filter_map(|name| name.strip_prefix("CAP_"));
        names.map(|name| format!(",{sign}{}", name.to_lowercase())).collect::<String>()
    };
    let said = program.check_with(&format!("-all{}", list('+')))?;
    if !said.lines().any(|line| line.starts_with("eBPF") && line.contains("yes")) {
        bail!("with {capabilities} the agent cannot load its program: {said}");
    }
    println!("ok  eBPF loads for a user without privileges who has {capabilities}");
    Ok(())
}

/// The agent, where everybody may run it.
struct Program {
    folder: PathBuf,
}

impl Program {
    fn build() -> Result<Self> {
        let agent = build_agent()?;
        let folder = std::env::temp_dir().join(format!("nslookout-unit-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
        let program = Self { folder };
        fs::copy(agent, program.folder.join("nslookout")).context("failed to copy the agent")?;
        Ok(program)
    }

    fn check_with(&self, capabilities: &str) -> Result<String> {
        let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"];
        output(
            Command::new("setpriv")
                .args(nobody)
                .args(
                    ["inh-caps", "ambient-caps", "bounding-set"].map(|set| format!("--{set}={capabilities}")),
                )
                .arg(self.folder.join("nslookout"))
                .arg("check"),
        )
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{} stays behind: {error}", self.folder.display());
        }
    }
}
